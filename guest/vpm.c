/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PM1 blocks and PM timer. The timer is the guest TSC at another rate; that its
 * top bit changed is noticed when someone looks, and by a timer only while that
 * would interrupt. Registers are kept byte by byte, because ACPI lets software
 * access them at any width.
 */
#include "guest/vpm.h"

#include "guest/pc.h"
#include "lib/bits.h"

#define OFFSET(port) ((port) - PC_PM_BASE)

/* ACPI 6.4 tables 4.11 to 4.13. */
#define STS_TMR BIT(0)
#define STS_GBL BIT(5)
#define STS_PWRBTN BIT(8)
#define STS_ALL (STS_TMR | STS_GBL | STS_PWRBTN)
/*
 * The RTC's event never comes (the FADT says that it is no fixed event), but its enable keeps what is written: Linux
 * reads it back and complains when it does not.
 */
#define EN_RTC BIT(10)
#define EN_ALL (STS_ALL | EN_RTC)
#define CNT_SCI_EN BIT(0)
#define CNT_BM_RLD BIT(1)
#define CNT_SLP_TYP(v) FIELD((uint64_t)(v), 12, 10)
#define CNT_SLP_EN BIT(13)
#define CNT_KEPT (CNT_BM_RLD | MASK(12, 10))

#define CARRY_SHIFT (PC_PM_TMR_BITS - 1)

static uint64_t ticks_at(const struct vpm *pm, uint64_t tsc) { return rate_ticks(&pm->rate, tsc); }

/* Notes a change of the timer's top bit, and waits for the next one only when that interrupts. */
static void settle(struct vpm *pm, uint64_t tsc)
{
	uint64_t carries = ticks_at(pm, tsc) >> CARRY_SHIFT;

	if (carries != pm->carries)
		pm->status |= STS_TMR;
	pm->carries = carries;
	if ((pm->enable & STS_TMR) && !(pm->status & STS_TMR))
		timerq_set(pm->timers, &pm->timer, rate_tsc(&pm->rate, (carries + 1) << CARRY_SHIFT));
	else
		timerq_cancel(pm->timers, &pm->timer);
	irq_line_set(&pm->sci, pm->status & pm->enable);
}

static void settle_now(struct vpm *pm) { settle(pm, vm_time_tsc(pm->time)); }

static void expired(struct timer *t, uint64_t now) { settle(container_of(t, struct vpm, timer), now); }

void vpm_power_button(struct vpm *pm)
{
	pm->status |= STS_PWRBTN;
	settle_now(pm);
}

static uint32_t pm_timer(const struct vpm *pm) { return (uint32_t)ticks_at(pm, vm_time_tsc(pm->time)); }

static uint8_t read_byte(const struct vpm *pm, uint64_t offset, uint32_t timer)
{
	switch (offset) {
	case OFFSET(PC_PM1_EVT):
		return (uint8_t)pm->status;
	case OFFSET(PC_PM1_EVT) + 1:
		return (uint8_t)(pm->status >> 8);
	case OFFSET(PC_PM1_EVT) + 2:
		return (uint8_t)pm->enable;
	case OFFSET(PC_PM1_EVT) + 3:
		return (uint8_t)(pm->enable >> 8);
	case OFFSET(PC_PM1_CNT):
		return (uint8_t)(pm->control | CNT_SCI_EN);
	case OFFSET(PC_PM1_CNT) + 1:
		return (uint8_t)(pm->control >> 8);
	default:
		if (offset < OFFSET(PC_PM_TMR))
			return 0xff;
		return (uint8_t)(timer >> 8 * (offset - OFFSET(PC_PM_TMR)));
	}
}

static uint64_t port_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct vpm *pm = container_of(dev, struct vpm, dev);
	uint32_t timer = pm_timer(pm);
	uint64_t value = 0;

	if (offset == OFFSET(PC_PM_TMR))
		return timer;
	settle_now(pm);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read_byte(pm, offset + i, timer) << 8 * i;
	return value;
}

/* SLP_TYP and SLP_EN share a byte, so that no half-written sleep type can act. */
static void write_control(struct vpm *pm, uint16_t value)
{
	pm->control = value & CNT_KEPT;
	if ((value & CNT_SLP_EN) && CNT_SLP_TYP(value) == PC_S5_SLP_TYP)
		pm->ops->power_off(pm->ctx);
}

static void write_byte(struct vpm *pm, uint64_t offset, uint8_t value)
{
	switch (offset) {
	case OFFSET(PC_PM1_EVT): /* write 1 to clear */
		pm->status &= ~value;
		break;
	case OFFSET(PC_PM1_EVT) + 1:
		pm->status &= ~(value << 8);
		break;
	case OFFSET(PC_PM1_EVT) + 2:
		pm->enable = (pm->enable & 0xff00) | (value & EN_ALL);
		break;
	case OFFSET(PC_PM1_EVT) + 3:
		pm->enable = (pm->enable & 0x00ff) | ((unsigned)value << 8 & EN_ALL);
		break;
	case OFFSET(PC_PM1_CNT):
		write_control(pm, (pm->control & 0xff00) | value);
		break;
	case OFFSET(PC_PM1_CNT) + 1:
		write_control(pm, (uint16_t)((unsigned)value << 8 | (pm->control & 0x00ff)));
		break;
	default:
		break;
	}
}

static void port_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct vpm *pm = container_of(dev, struct vpm, dev);

	settle_now(pm);
	for (unsigned i = 0; i < size; i++)
		write_byte(pm, offset + i, (uint8_t)(value >> 8 * i));
	settle_now(pm);
}

static void reset(struct device *dev)
{
	struct vpm *pm = container_of(dev, struct vpm, dev);

	pm->status = pm->enable = pm->control = 0;
	pm->carries = ticks_at(pm, vm_time_tsc(pm->time)) >> CARRY_SHIFT;
	settle_now(pm);
}

static const struct device_ops device_ops = {.name = "pm", .read = port_read, .write = port_write, .reset = reset};

void vpm_init(struct vpm *pm, const struct vm_time *time, struct timerq *timers, struct irq_line sci,
	      const struct system_ops *ops, void *ctx)
{
	*pm = (struct vpm){
		.dev = {.ops = &device_ops}, .sci = sci, .time = time, .timers = timers, .ops = ops, .ctx = ctx};
	rate_init(&pm->rate, vm_time_hz(time), PC_PM_TMR_HZ);
	timer_init(&pm->timer, expired);
	reset(&pm->dev);
}
