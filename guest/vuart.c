/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16550A (National PC16550D data sheet). The transmitter is always empty: a
 * written byte is in the console before the OUT ends, and the interrupt that it
 * is empty again follows at once. The receiver takes bytes from the console
 * while it has room, so nothing is overrun but in loopback. Differences: OUT2
 * does not gate the interrupt, and modem inputs are always asserted.
 */
#include "guest/vuart.h"

#include "lib/bits.h"

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RX BIT(0)
#define IER_THRE BIT(1)
#define IER_LINE BIT(2)
#define IER_MODEM BIT(3)
#define IER_BITS MASK(3, 0)

/* Interrupt identification, highest priority first. */
#define IIR_LINE 0x06
#define IIR_RX 0x04
#define IIR_TIMEOUT 0x0c
#define IIR_THRE 0x02
#define IIR_MODEM 0x00
#define IIR_NONE 0x01
#define IIR_FIFOS 0xc0

#define FCR_ENABLE BIT(0)
#define FCR_CLEAR_RX BIT(1)
#define FCR_TRIGGER(v) ((v) >> 6)

#define LCR_DATA_BITS(v) (5u + ((v) & 3))
#define LCR_STOP BIT(2)
#define LCR_PARITY BIT(3)
#define LCR_BREAK BIT(6)
#define LCR_DLAB BIT(7)

#define MCR_DTR BIT(0)
#define MCR_RTS BIT(1)
#define MCR_OUT1 BIT(2)
#define MCR_OUT2 BIT(3)
#define MCR_LOOP BIT(4)
#define MCR_BITS MASK(4, 0)

#define LSR_DATA BIT(0)
#define LSR_OVERRUN BIT(1)
#define LSR_FRAMING BIT(3)
#define LSR_BREAK BIT(4)
#define LSR_EMPTY (BIT(5) | BIT(6)) /* THRE and TEMT */
#define LSR_FIFO_ERROR BIT(7)

#define MSR_CTS BIT(4)
#define MSR_DSR BIT(5)
#define MSR_RI BIT(6)
#define MSR_DCD BIT(7)
#define MSR_DELTA_RI BIT(2) /* trailing edge only */
#define MSR_DELTA_SHIFT 4

#define BAUD_BASE 115200u /* at divisor 1 */
#define TIMEOUT_CHARACTERS 4u

static const uint8_t trigger_levels[] = {1, 4, 8, 14};

static bool fifos_on(const struct vuart *u) { return u->fcr & FCR_ENABLE; }
static unsigned depth(const struct vuart *u) { return fifos_on(u) ? VUART_FIFO : 1; }
static unsigned trigger(const struct vuart *u) { return fifos_on(u) ? trigger_levels[FCR_TRIGGER(u->fcr)] : 1; }

/* ---- interrupts ---- */

static uint8_t identify(const struct vuart *u)
{
	if ((u->ier & IER_LINE) && u->lsr_errors)
		return IIR_LINE;
	if ((u->ier & IER_RX) && u->fifo_count >= trigger(u))
		return IIR_RX;
	if ((u->ier & IER_RX) && u->timeout_pending)
		return IIR_TIMEOUT;
	if ((u->ier & IER_THRE) && u->thre_pending)
		return IIR_THRE;
	if ((u->ier & IER_MODEM) && u->msr_deltas)
		return IIR_MODEM;
	return IIR_NONE;
}

static void update(struct vuart *u)
{
	bool line = identify(u) != IIR_NONE;

	if (line == u->line)
		return;
	u->line = line;
	irq_line_set(&u->irq, line);
}

static void transmitter_empty(struct vuart *u)
{
	if (!(u->ier & IER_THRE))
		return; /* enabling it will find the transmitter empty */
	/* The write took the interrupt back and the end of the transmission raises it: an edge. */
	u->thre_pending = false;
	update(u);
	u->thre_pending = true;
	update(u);
}

/* ---- receiver ---- */

/* Line status shows the errors of the byte that is next to be read. */
static void show_errors(struct vuart *u)
{
	if (u->fifo_count == 0 || u->fifo_errors[u->fifo_head] == 0)
		return;
	u->lsr_errors |= u->fifo_errors[u->fifo_head];
	u->fifo_errors[u->fifo_head] = 0;
	u->fifo_flagged--;
}

static void push(struct vuart *u, uint8_t byte, uint8_t errors)
{
	unsigned at = (u->fifo_head + u->fifo_count) % VUART_FIFO;

	if (u->fifo_count == depth(u)) {
		u->lsr_errors |= LSR_OVERRUN;
		if (fifos_on(u))
			return; /* the shift register is overwritten, the FIFO is not */
		at = u->fifo_head;
		u->fifo_count = 0;
	}
	u->fifo[at] = byte;
	u->fifo_errors[at] = errors;
	u->fifo_flagged += errors != 0;
	u->fifo_count++;
	show_errors(u);
}

/* The four-character clock starts anew with each byte that comes or is read. */
static void restart_timeout(struct vuart *u)
{
	u->timeout_pending = false;
	if (fifos_on(u) && (u->ier & IER_RX) && u->fifo_count > 0 && u->fifo_count < trigger(u))
		timerq_set(u->timers, &u->timer, vm_time_tsc(u->time) + u->timeout_ticks);
	else if (timer_is_set(&u->timer))
		timerq_cancel(u->timers, &u->timer);
}

static void timed_out(struct timer *t, uint64_t now)
{
	struct vuart *u = container_of(t, struct vuart, timer);

	(void)now;
	u->timeout_pending = true;
	update(u);
}

static void fill_from_console(struct vuart *u)
{
	uint8_t byte;

	if (u->mcr & MCR_LOOP)
		return;
	while (u->fifo_count < depth(u) && console_getc(u->con, &byte))
		push(u, byte, 0);
}

void vuart_input(struct vuart *u)
{
	fill_from_console(u);
	restart_timeout(u);
	update(u);
}

static uint8_t read_data(struct vuart *u)
{
	uint8_t byte = u->fifo[u->fifo_head];

	if (u->fifo_count == 0)
		return 0;
	u->fifo_head = (u->fifo_head + 1) % VUART_FIFO;
	u->fifo_count--;
	show_errors(u);
	vuart_input(u);
	return byte;
}

static void empty_fifo(struct vuart *u)
{
	u->fifo_head = u->fifo_count = u->fifo_flagged = 0;
	memset(u->fifo_errors, 0, sizeof u->fifo_errors);
}

static void loop_back(struct vuart *u, uint8_t byte, uint8_t errors)
{
	push(u, byte, errors);
	restart_timeout(u);
	update(u);
}

/* ---- modem ---- */

static uint8_t modem_inputs(uint8_t mcr)
{
	if (!(mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (uint8_t)((mcr & MCR_RTS ? MSR_CTS : 0) | (mcr & MCR_DTR ? MSR_DSR : 0) | (mcr & MCR_OUT1 ? MSR_RI : 0) |
			 (mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void write_mcr(struct vuart *u, uint8_t value)
{
	uint8_t before = modem_inputs(u->mcr), after = modem_inputs(value);
	uint8_t changed = (before ^ after) >> MSR_DELTA_SHIFT;

	if (!(before & MSR_RI))
		changed &= ~MSR_DELTA_RI;
	u->msr_deltas |= changed;
	u->mcr = value;
	vuart_input(u); /* bytes may have waited for the end of a loopback test */
}

/* ---- registers ---- */

/* Bits on the line for one character: start, data, parity, stop; one and a half stop bits count as two. */
static unsigned character_bits(uint8_t lcr)
{
	return 1 + LCR_DATA_BITS(lcr) + !!(lcr & LCR_PARITY) + (lcr & LCR_STOP ? 2 : 1);
}

static void set_format(struct vuart *u)
{
	uint64_t bits = TIMEOUT_CHARACTERS * character_bits(u->lcr) * MAX(u->divisor, 1u);

	u->timeout_ticks = bits * vm_time_hz(u->time) / BAUD_BASE;
}

static void write_data(struct vuart *u, uint8_t byte)
{
	byte &= MASK(LCR_DATA_BITS(u->lcr) - 1, 0);
	if (u->mcr & MCR_LOOP)
		loop_back(u, byte, 0);
	else
		console_putc(u->con, byte);
	transmitter_empty(u);
}

static void write_ier(struct vuart *u, uint8_t value)
{
	/* Enabled while the transmitter is empty, which it always is: interrupts at once. */
	if (value & ~u->ier & IER_THRE)
		u->thre_pending = true;
	u->ier = value & IER_BITS;
	if (!u->timeout_pending)
		restart_timeout(u);
	update(u);
}

static void write_fcr(struct vuart *u, uint8_t value)
{
	bool toggled = (u->fcr ^ value) & FCR_ENABLE;

	u->fcr = value & FCR_ENABLE ? value & (MASK(7, 6) | FCR_ENABLE) : 0;
	if (toggled || (value & FCR_ENABLE && value & FCR_CLEAR_RX))
		empty_fifo(u);
	vuart_input(u); /* there is room again, or a higher trigger level */
}

static void write_lcr(struct vuart *u, uint8_t value)
{
	bool break_starts = value & ~u->lcr & LCR_BREAK;

	u->lcr = value;
	set_format(u);
	if (break_starts && (u->mcr & MCR_LOOP))
		loop_back(u, 0, LSR_BREAK | LSR_FRAMING);
}

static void write_divisor(struct vuart *u, unsigned shift, uint8_t byte)
{
	u->divisor = (uint16_t)((u->divisor & ~(0xffu << shift)) | (unsigned)byte << shift);
	set_format(u);
}

static uint8_t read_iir(struct vuart *u)
{
	uint8_t id = identify(u);

	if (id == IIR_THRE) {
		u->thre_pending = false;
		update(u);
	}
	return id | (fifos_on(u) ? IIR_FIFOS : 0);
}

static uint8_t lsr_now(const struct vuart *u) { return LSR_EMPTY | (u->fifo_count > 0 ? LSR_DATA : 0); }

static uint8_t read_lsr_errors(struct vuart *u)
{
	uint8_t lsr = lsr_now(u) | u->lsr_errors;

	if (fifos_on(u) && ((u->lsr_errors & ~LSR_OVERRUN) || u->fifo_flagged > 0))
		lsr |= LSR_FIFO_ERROR;
	u->lsr_errors = 0;
	update(u);
	return lsr;
}

static uint8_t read_lsr(struct vuart *u)
{
	return u->lsr_errors == 0 && u->fifo_flagged == 0 ? lsr_now(u) : read_lsr_errors(u);
}

static uint8_t read_msr(struct vuart *u)
{
	uint8_t msr = modem_inputs(u->mcr) | u->msr_deltas;

	u->msr_deltas = 0;
	update(u);
	return msr;
}

static uint8_t read_reg(struct vuart *u, uint64_t offset)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch (offset) {
	case REG_LSR:
		return read_lsr(u);
	case REG_DATA:
		return dlab ? (uint8_t)u->divisor : read_data(u);
	case REG_IER:
		return dlab ? (uint8_t)(u->divisor >> 8) : u->ier;
	case REG_IIR_FCR:
		return read_iir(u);
	case REG_LCR:
		return u->lcr;
	case REG_MCR:
		return u->mcr;
	case REG_MSR:
		return read_msr(u);
	default:
		return u->scr;
	}
}

static void write_reg(struct vuart *u, uint64_t offset, uint8_t value)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch (offset) {
	case REG_DATA:
		if (dlab)
			write_divisor(u, 0, value);
		else
			write_data(u, value);
		break;
	case REG_IER:
		if (dlab)
			write_divisor(u, 8, value);
		else
			write_ier(u, value);
		break;
	case REG_IIR_FCR:
		write_fcr(u, value);
		break;
	case REG_LCR:
		write_lcr(u, value);
		break;
	case REG_MCR:
		write_mcr(u, value & MCR_BITS);
		break;
	case REG_SCR:
		u->scr = value;
		break;
	default: /* line and modem status: for factory tests */
		break;
	}
}

static __attribute__((noinline)) uint64_t read_regs(struct vuart *u, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read_reg(u, offset + i) << 8 * i;
	return value;
}

static uint64_t port_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct vuart *u = container_of(dev, struct vuart, dev);

	/* A guest that polls reads nothing else: it shall not pay for the rest. */
	if (likely(offset == REG_LSR && size == 1 && u->lsr_errors == 0 && u->fifo_flagged == 0))
		return lsr_now(u);
	return read_regs(u, offset, size);
}

static void port_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct vuart *u = container_of(dev, struct vuart, dev);

	for (unsigned i = 0; i < size; i++)
		write_reg(u, offset + i, (uint8_t)(value >> 8 * i));
}

/* 115200 baud and 8n1, as firmware leaves it; bytes that were received are gone, typed ones are not. */
static void reset(struct device *dev)
{
	struct vuart *u = container_of(dev, struct vuart, dev);

	timerq_cancel(u->timers, &u->timer);
	u->ier = u->fcr = u->mcr = u->scr = u->lsr_errors = u->msr_deltas = 0;
	u->lcr = 3;
	u->divisor = 1;
	u->thre_pending = u->timeout_pending = false;
	empty_fifo(u);
	set_format(u);
	update(u);
}

static const struct device_ops ops = {.name = "uart", .read = port_read, .write = port_write, .reset = reset};

void vuart_init(struct vuart *u, struct console *con, const struct vm_time *time, struct timerq *timers,
		struct irq_line irq)
{
	*u = (struct vuart){.dev = {.ops = &ops}, .irq = irq, .time = time, .timers = timers, .con = con};
	timer_init(&u->timer, timed_out);
	reset(&u->dev);
	vuart_input(u);
}
