/* SPDX-License-Identifier: Apache-2.0 */
/* See fake_e1000.h. */
#include "tests/fakes/fake_e1000.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"

#define TICKS_PER_LOOK 10u
#define RESET_TICKS 1000u /* 100 us */
#define HANDS_OFF_TICKS 10u /* 1 us after a reset has begun */

struct fake_e1000 fake_e1000;

static uint32_t registers[E1000_REGISTER_BYTES / 4];
static uint8_t *before; /* memory as it was when the driver stopped the card, and what the card has written since */
static uint64_t reset_at;

#define REG(r) registers[(r) / 4]

static void broken(const char *what)
{
	fprintf(stderr, "fake_e1000: %s\n", what);
	abort();
}

static uint64_t clock_ticks(void) { return fake_e1000.ticks += TICKS_PER_LOOK; }
const struct clock fake_e1000_clock = {.ticks = clock_ticks, .hz = 10000000};

/* ---- memory ---- */

static uint8_t *reach(uint64_t at, uint32_t bytes)
{
	uint64_t offset = at - fake_e1000.memory_at;

	if (offset >= fake_e1000.memory_bytes || bytes > fake_e1000.memory_bytes - offset)
		broken("memory that is not the driver's");
	return fake_e1000.memory + offset;
}

static void put(uint64_t at, const void *data, uint32_t bytes)
{
	memcpy(reach(at, bytes), data, bytes);
	if (before)
		memcpy(before + (at - fake_e1000.memory_at), data, bytes);
}

static void remember(void)
{
	if (before || !fake_e1000.memory)
		return;
	before = malloc(fake_e1000.memory_bytes);
	memcpy(before, fake_e1000.memory, fake_e1000.memory_bytes);
}

static void compare(void)
{
	if (before && memcmp(before, fake_e1000.memory, fake_e1000.memory_bytes) != 0)
		broken("memory was changed before the reset was over");
}

static void forget(void)
{
	free(before);
	before = NULL;
}

/* ---- rings ---- */

static unsigned ring_count(uint32_t ring) { return REG(ring + E1000_RING_LENGTH) / sizeof(struct e1000_descriptor); }

static uint64_t descriptor_at(uint32_t ring, unsigned index)
{
	uint64_t base = (uint64_t)REG(ring + E1000_RING_HIGH) << 32 | REG(ring + E1000_RING_LOW);

	return base + index * sizeof(struct e1000_descriptor);
}

static struct e1000_descriptor descriptor(uint32_t ring, unsigned index)
{
	struct e1000_descriptor d;

	memcpy(&d, reach(descriptor_at(ring, index), sizeof d), sizeof d);
	return d;
}

static unsigned between(uint32_t ring)
{
	unsigned n = ring_count(ring);

	return n ? (REG(ring + E1000_RING_TAIL) + n - REG(ring + E1000_RING_HEAD)) % n : 0;
}

static unsigned behind_head(uint32_t ring, unsigned behind)
{
	return (REG(ring + E1000_RING_HEAD) + behind) % ring_count(ring);
}

static void advance(uint32_t ring, unsigned count) { REG(ring + E1000_RING_HEAD) = behind_head(ring, count); }

/* ---- interrupts ---- */

bool fake_e1000_line(void) { return (REG(E1000_ICR) & REG(E1000_IMS)) != 0; }
void fake_e1000_cause(uint32_t causes) { REG(E1000_ICR) |= causes; }

/* ---- sending ---- */

void fake_e1000_tx_write_back(unsigned behind)
{
	unsigned index = behind_head(E1000_TX_RING, behind);
	struct e1000_descriptor d = descriptor(E1000_TX_RING, index);

	d.word |= E1000_DESC_DD;
	put(descriptor_at(E1000_TX_RING, index) + 8, &d.word, sizeof d.word);
}

static void send_one(void)
{
	struct fake_e1000_frame *f = &fake_e1000.sent[fake_e1000.sent_count++ % FAKE_E1000_SENT];
	struct e1000_descriptor d = descriptor(E1000_TX_RING, REG(E1000_TX_RING + E1000_RING_HEAD));

	if (fake_e1000.mad && !(d.word & E1000_TX_EOP)) {
		advance(E1000_TX_RING, 1);
		return;
	}
	f->bytes = E1000_DESC_LENGTH(d.word);
	if ((d.word & (E1000_TX_EOP | E1000_TX_IFCS | E1000_TX_RS)) != (E1000_TX_EOP | E1000_TX_IFCS | E1000_TX_RS))
		broken("a frame that has no end, no check sequence or no answer");
	if (f->bytes < 60 || f->bytes > E1000_FRAME_MAX)
		broken("a frame to be sent of a length that no wire takes");
	memcpy(f->data, reach(d.address, f->bytes), f->bytes);
	fake_e1000_tx_write_back(0);
	advance(E1000_TX_RING, 1);
	fake_e1000_cause(E1000_INT_TXDW);
}

unsigned fake_e1000_tx_held(void) { return between(E1000_TX_RING); }

void fake_e1000_send(unsigned count)
{
	while (count-- > 0)
		send_one();
}

static void look_at_tail(void)
{
	if (!(REG(E1000_TCTL) & E1000_TCTL_EN))
		return;
	if (REG(E1000_TDT) >= ring_count(E1000_TX_RING))
		broken("a tail behind the ring's end");
	if (fake_e1000.holds || !fake_e1000.link)
		return;
	fake_e1000_send(between(E1000_TX_RING));
}

/* ---- receiving ---- */

unsigned fake_e1000_rx_free(void) { return between(E1000_RX_RING); }
void fake_e1000_rx_advance(unsigned count) { advance(E1000_RX_RING, count); }

void fake_e1000_rx_write(unsigned behind, uint64_t word, const void *data, uint32_t bytes)
{
	unsigned index = behind_head(E1000_RX_RING, behind);
	struct e1000_descriptor d = descriptor(E1000_RX_RING, index);

	if (bytes > 0)
		put(d.address, data, MIN(bytes, E1000_BUFFER));
	put(descriptor_at(E1000_RX_RING, index) + 8, &word, sizeof word);
}

static bool is_for_us(const uint8_t *data)
{
	uint32_t rctl = REG(E1000_RCTL);
	uint8_t mac[8];

	put_le32(mac, REG(E1000_RAL0));
	put_le32(mac + 4, REG(E1000_RAH0));
	if (rctl & E1000_RCTL_UPE || (data[0] & 1 && rctl & E1000_RCTL_MPE))
		return true;
	return REG(E1000_RAH0) & E1000_RAH_AV && memcmp(mac, data, NET_MAC_BYTES) == 0;
}

bool fake_e1000_receive(const void *data, uint32_t bytes)
{
	if (!(REG(E1000_RCTL) & E1000_RCTL_EN) || !is_for_us(data))
		return false;
	if (between(E1000_RX_RING) == 0) {
		REG(E1000_MPC)++;
		fake_e1000_cause(E1000_INT_RXO);
		return false;
	}
	REG(E1000_GPRC)++;
	if (fake_e1000.silent)
		return true;
	fake_e1000_rx_write(0, bytes | E1000_DESC_DD | E1000_RX_EOP | fake_e1000.rx_status, data, bytes);
	advance(E1000_RX_RING, 1);
	fake_e1000_cause(E1000_INT_RXT0);
	return true;
}

/* ---- reset ---- */

static void load_address(void)
{
	REG(E1000_RAL0) = (uint32_t)fake_e1000.eeprom[0] | (uint32_t)fake_e1000.eeprom[1] << 16;
	REG(E1000_RAH0) = fake_e1000.eeprom[2] | E1000_RAH_AV;
}

static void status(void)
{
	REG(E1000_STATUS) = (fake_e1000.link ? E1000_STATUS_LU : 0) | fake_e1000.speed << 6 | E1000_STATUS_MASTER_ENABLE;
}

void fake_e1000_set_link(bool up, uint32_t speed)
{
	fake_e1000.link = up;
	fake_e1000.speed = speed;
	status();
	fake_e1000_cause(E1000_INT_LSC);
	look_at_tail();
}

static void end_reset(void)
{
	compare();
	fake_e1000.reset_until = 0;
	REG(E1000_CTRL) &= ~E1000_CTRL_RST;
	if (fake_e1000.resets_nothing)
		return;
	memset(registers, 0, sizeof registers);
	status();
	if (fake_e1000.loads_address)
		load_address();
}

static void begin_reset(void)
{
	if ((REG(E1000_RCTL) & E1000_RCTL_EN && !fake_e1000.stuck_enabled) || REG(E1000_TCTL) & E1000_TCTL_EN)
		broken("a reset in the middle of its work");
	if (fake_e1000.model->master_disable && REG(E1000_STATUS) & E1000_STATUS_MASTER_ENABLE && !fake_e1000.masters)
		broken("a reset with requests under way");
	fake_e1000.resets++;
	reset_at = fake_e1000.ticks;
	fake_e1000.reset_until = fake_e1000.ticks + RESET_TICKS;
}

/* ---- registers ---- */

static void tick(void)
{
	fake_e1000.accesses++;
	if (fake_e1000.reset_until == 0)
		return;
	if (fake_e1000.ticks < reset_at + HANDS_OFF_TICKS)
		broken("an access within a microsecond of a reset");
	if (fake_e1000.ticks >= fake_e1000.reset_until && !fake_e1000.stuck_in_reset)
		end_reset();
}

static bool is_statistic(uint32_t reg) { return reg >= E1000_CRCERRS && reg < E1000_CRCERRS + 0x100; }

static uint32_t read_eerd(void)
{
	uint32_t v = REG(E1000_EERD), word = v >> fake_e1000.model->eerd_address_shift & 0x3f;

	if (fake_e1000.no_eeprom || !(v & E1000_EERD_START))
		return v;
	return (uint32_t)fake_e1000.eeprom[word] << E1000_EERD_DATA_SHIFT | fake_e1000.model->eerd_done;
}

static uint32_t read_register(void *ctx, uint32_t reg)
{
	uint32_t v = REG(reg);

	(void)ctx;
	tick();
	if (fake_e1000.gone)
		return UINT32_MAX;
	if (reg == E1000_EERD)
		return read_eerd();
	v = REG(reg);
	if (reg == E1000_ICR)
		fake_e1000.icr_reads++;
	if (reg == E1000_ICR || is_statistic(reg))
		REG(reg) = 0;
	if ((reg == E1000_CTRL && v & E1000_CTRL_RST) || (reg == E1000_RCTL && v & E1000_RCTL_EN))
		compare();
	return v;
}

static void write_ctrl(uint32_t v)
{
	REG(E1000_CTRL) = v;
	if (v & E1000_CTRL_MASTER_DISABLE && fake_e1000.model->master_disable && !fake_e1000.masters)
		REG(E1000_STATUS) &= ~E1000_STATUS_MASTER_ENABLE;
	if (v & E1000_CTRL_RST)
		begin_reset();
}

/* From here on, until it is let receive again, what is in memory is compared. */
static void write_rctl(uint32_t v)
{
	if (v & E1000_RCTL_EN && !(REG(E1000_RCTL) & E1000_RCTL_EN))
		forget();
	if (!(v & E1000_RCTL_EN) && REG(E1000_RCTL) & E1000_RCTL_EN)
		remember();
	REG(E1000_RCTL) = v | (fake_e1000.stuck_enabled ? REG(E1000_RCTL) & E1000_RCTL_EN : 0);
}

static void write_register(void *ctx, uint32_t reg, uint32_t v)
{
	(void)ctx;
	tick();
	if (fake_e1000.gone)
		return;
	if (reg == E1000_CTRL)
		write_ctrl(v);
	else if (reg == E1000_RCTL)
		write_rctl(v);
	else if (reg == E1000_IMS)
		REG(E1000_IMS) |= v;
	else if (reg == E1000_IMC)
		REG(E1000_IMS) &= ~v;
	else if (reg == E1000_ICS)
		REG(E1000_ICR) |= v;
	else
		REG(reg) = v;
	if (reg == E1000_TDT) {
		fake_e1000.tdt_writes++;
		look_at_tail();
	}
	if (reg == E1000_RDT && v >= ring_count(E1000_RX_RING))
		broken("a tail behind the ring's end");
	fake_e1000.rdt_writes += reg == E1000_RDT;
}

const struct e1000_io fake_e1000_io = {.read = read_register, .write = write_register};

uint32_t fake_e1000_register(uint32_t reg) { return REG(reg); }

void fake_e1000_init(void)
{
	memset(registers, 0, sizeof registers);
	fake_e1000 = (struct fake_e1000){
		.model = e1000_model_of(0x100e),
		.eeprom = {0x5452, 0x1200, 0x5634},
		.loads_address = true,
		.link = true,
		.speed = 2,
		.sent = calloc(FAKE_E1000_SENT, sizeof(struct fake_e1000_frame)),
	};
	status();
	load_address();
}

void fake_e1000_fini(void)
{
	forget();
	free(fake_e1000.sent);
}
