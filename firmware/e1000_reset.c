/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the card comes to run: found, after a reset, again after one; and how it is seen that it does not run any more.
 *
 * The emulated card (Bochs 2.7, 82540EM) ends a reset at once and resets nothing by it, so both directions are
 * disabled first, all registers are written afterwards, and the address comes from the EEPROM where the card has not
 * loaded it by itself.
 */
#include "firmware/e1000.h"

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"

#define MS_NS 1000000ull
#define SECOND_NS 1000000000ull
#define QUIET_NS (100 * MS_NS)     /* for requests under way to end; then it is reset all the same (82574, 5.2) */
#define SETTLE_NS (20 * MS_NS)     /* its registers are left alone, and its EEPROM is read (14.6, 5.6) */
#define RESET_NS SECOND_NS         /* it has ended by then, or is tried again */
#define OPEN_NS (2 * SECOND_NS)
#define EEPROM_NS (10 * MS_NS)     /* a word */
#define SILENT_NS (2 * SECOND_NS)  /* it counts frames and gives none: it has stopped */

/* Only the first has been run, and that one in an emulator; the others are by their manuals. */
static const struct e1000_model models[] = {
	{0x100e, "Intel 82540EM", BIT(4), 8, E1000_TIPG_OF(10, 8, 6), 0, false},
	{0x100f, "Intel 82545EM", BIT(4), 8, E1000_TIPG_OF(10, 8, 6), 0, false},
	{0x10d3, "Intel 82574L", BIT(1), 2, E1000_TIPG_OF(8, 8, 7), E1000_TXDCTL_COUNT_DESC, true},
};

const struct e1000_model *e1000_model_of(uint16_t device)
{
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++)
		if (models[i].device == device)
			return &models[i];
	return NULL;
}

static uint64_t ticks_of(const struct e1000 *e, uint64_t ns) { return ns_to_ticks(ns, e->clock->hz); }

/* ---- the link ---- */

static void set_link(struct e1000 *e, bool up, uint32_t mbps)
{
	struct nic *n = &e->nic;

	if (n->up == up && n->link_mbps == mbps)
		return;
	n->up = up;
	n->link_mbps = mbps;
	n->figures.link_changes++;
	if (n->link_changed)
		n->link_changed(n);
}

static void look_at_link(struct e1000 *e, uint32_t status)
{
	static const uint32_t mbps[] = {10, 100, 1000, 1000};
	bool up = status & E1000_STATUS_LU;

	set_link(e, up, up ? mbps[E1000_STATUS_SPEED(status)] : 0);
}

/* ---- a reset, step by step ---- */

static void reset_now(struct e1000 *e, uint64_t now)
{
	e1000_write(e, E1000_CTRL, (e1000_read(e, E1000_CTRL) & ~E1000_CTRL_MASTER_DISABLE) | E1000_CTRL_RST);
	e->state = E1000_RESETTING;
	e->settled_at = now + ticks_of(e, SETTLE_NS);
	e->late_at = now + ticks_of(e, RESET_NS);
}

/* Nothing of its own begins any more; what is under way may still be written. */
static void disable(struct e1000 *e)
{
	__atomic_store_n(&e->armed, 0, __ATOMIC_RELEASE);
	e1000_write(e, E1000_IMC, UINT32_MAX);
	e1000_write(e, E1000_RCTL, 0);
	e1000_write(e, E1000_TCTL, 0);
}

static void begin(struct e1000 *e)
{
	uint64_t now = e->clock->ticks();

	disable(e);
	if (!e->model->master_disable) {
		reset_now(e, now);
		return;
	}
	e1000_write(e, E1000_CTRL, e1000_read(e, E1000_CTRL) | E1000_CTRL_MASTER_DISABLE);
	e->state = E1000_QUIETING;
	e->late_at = now + ticks_of(e, QUIET_NS);
}

void e1000_begin_reset(struct e1000 *e, bool stopped)
{
	if (stopped) {
		e->nic.figures.resets++;
		log_warn("nic: %s: it has stopped, and is reset", e->nic.name);
	}
	e->rearm = __atomic_load_n(&e->armed, __ATOMIC_RELAXED);
	begin(e);
}

/* A card that is gone reads as all ones, and so is never at rest. */
static bool is_at_rest(const struct e1000 *e)
{
	return !(e1000_read(e, E1000_CTRL) & E1000_CTRL_RST) && !(e1000_read(e, E1000_RCTL) & E1000_RCTL_EN) &&
	       !(e1000_read(e, E1000_TCTL) & E1000_TCTL_EN);
}

static void await_end(struct e1000 *e, uint64_t now)
{
	if (now < e->settled_at)
		return;
	if (is_at_rest(e)) {
		e->state = E1000_STOPPED;
		return;
	}
	if (now < e->late_at)
		return;
	/* What it has may still be written to, and is not touched. */
	set_link(e, false, 0);
	begin(e);
}

static void put_address(const struct e1000 *e)
{
	const uint8_t *mac = e->nic.mac;

	e1000_write(e, E1000_RAL0, get_le32(mac));
	e1000_write(e, E1000_RAH0, get_le16(mac + 4) | E1000_RAH_AV);
}

static void put_ring(const struct e1000 *e, const struct e1000_ring *r, uint32_t base)
{
	e1000_write(e, base + E1000_RING_LOW, (uint32_t)r->at.address);
	e1000_write(e, base + E1000_RING_HIGH, (uint32_t)(r->at.address >> 32));
	e1000_write(e, base + E1000_RING_LENGTH, r->count * (uint32_t)sizeof(struct e1000_descriptor));
	e1000_write(e, base + E1000_RING_HEAD, 0);
	e1000_write(e, base + E1000_RING_TAIL, 0);
}

/*
 * 14.3 to 14.5. No flow control: a neighbour's pause frames would hold up the wire for all who send by it. All groups
 * are received, so the table of multicast addresses, which no reset clears, is of no account.
 */
static void run(struct e1000 *e)
{
	e1000_rings_init(e);
	e1000_sync(e, &e->rx.at);
	e1000_sync(e, &e->tx.at);
	e1000_write(e, E1000_CTRL, E1000_CTRL_SLU | E1000_CTRL_FD);
	put_address(e);
	put_ring(e, &e->rx, E1000_RX_RING);
	put_ring(e, &e->tx, E1000_TX_RING);
	e1000_write(e, E1000_RDTR, 0);
	e1000_write(e, E1000_RADV, 0);
	e1000_write(e, E1000_RXCSUM, E1000_RXCSUM_TUOFL);
	e1000_write(e, E1000_TIPG, e->model->tipg);
	e1000_write(e, E1000_TXDCTL, e->model->txdctl);
	e1000_write(e, E1000_TCTL, E1000_TCTL_EN | E1000_TCTL_PSP | E1000_TCTL_CT | E1000_TCTL_COLD);
	e1000_write(e, E1000_RCTL, E1000_RCTL_EN | E1000_RCTL_MPE | E1000_RCTL_BAM | E1000_RCTL_SECRC |
					   (e->promiscuous ? E1000_RCTL_UPE : 0));
	e1000_write(e, E1000_RDT, e->rx.told);
	e->state = E1000_RUNNING;
	e1000_check(e, e->clock->ticks());
	if (e->rearm && e->state == E1000_RUNNING)
		e1000_arm(e);
}

void e1000_continue_reset(struct e1000 *e)
{
	uint64_t now = e->clock->ticks();

	if (e->state == E1000_QUIETING &&
	    (!(e1000_read(e, E1000_STATUS) & E1000_STATUS_MASTER_ENABLE) || now >= e->late_at))
		reset_now(e, now);
	else if (e->state == E1000_RESETTING)
		await_end(e, now);
	if (e->state == E1000_STOPPED && e->rx.descriptors && e->out_count == 0)
		run(e);
}

/* ---- its health ---- */

static void count(struct e1000 *e)
{
	static const uint32_t damaged[] = {E1000_CRCERRS, E1000_RXERRC, E1000_RLEC, E1000_RUC,
					   E1000_RFC,	  E1000_ROC,	E1000_RJC};

	for (unsigned i = 0; i < ARRAY_SIZE(damaged); i++)
		e->nic.figures.rx_errors += e1000_read(e, damaged[i]);
	e->nic.figures.rx_missed += e1000_read(e, E1000_MPC);
}

/* Whether the next descriptor is not back although one behind it is. */
static bool has_gap(const struct e1000_ring *r)
{
	if (r->next == r->told || e1000_word(r, r->next) & E1000_DESC_DD)
		return false;
	for (unsigned i = r->next; i != r->told; i = e1000_after(r, i))
		if (e1000_word(r, i) & E1000_DESC_DD)
			return true;
	return false;
}

/* Twice in a row: by the second look whatever was on its way is there. */
static bool skips(struct e1000 *e)
{
	bool before = e->gap;

	e->gap = has_gap(&e->rx);
	if (!before || !e->gap)
		return false;
	e->nic.figures.bad_descriptors++;
	return true;
}

/* It has counted frames as received, has buffers, and nothing has come back since. */
static bool is_silent(struct e1000 *e, uint64_t now)
{
	const struct e1000_ring *r = &e->rx;
	bool counted = e1000_read(e, E1000_GPRC) != 0;
	bool gives = e->rx_returned != e->rx_frames || r->next == r->told || e1000_word(r, r->next) & E1000_DESC_DD;

	e->rx_frames = e->rx_returned;
	if (gives)
		e->silent_since = 0;
	else if (counted && e->silent_since == 0)
		e->silent_since = now;
	return e->silent_since != 0 && now - e->silent_since >= ticks_of(e, SILENT_NS);
}

void e1000_check(struct e1000 *e, uint64_t now)
{
	uint32_t status = e1000_read(e, E1000_STATUS);

	__atomic_store_n(&e->causes, 0, __ATOMIC_RELAXED);
	e->check_at = now + ticks_of(e, NIC_POLL_NS);
	if (status == UINT32_MAX) {
		e1000_begin_reset(e, true); /* it is gone: the reset will not end */
		return;
	}
	count(e);
	look_at_link(e, status);
	e1000_sync(e, &e->rx.at);
	if (skips(e) || is_silent(e, now)) {
		e1000_begin_reset(e, true);
		return;
	}
	/* What was given for a link that is gone is not for the one that comes. */
	if (!e->nic.up && e->tx.oldest != e->tx.next)
		e1000_begin_reset(e, false);
}

/* ---- its beginning ---- */

static bool read_eeprom(const struct e1000 *e, unsigned word, uint16_t *out)
{
	uint64_t late = e->clock->ticks() + ticks_of(e, EEPROM_NS);
	uint32_t v;

	e1000_write(e, E1000_EERD, word << e->model->eerd_address_shift | E1000_EERD_START);
	do {
		v = e1000_read(e, E1000_EERD);
		if (v != UINT32_MAX && v & e->model->eerd_done) {
			*out = (uint16_t)(v >> E1000_EERD_DATA_SHIFT);
			return true;
		}
	} while (e->clock->ticks() < late);
	return false;
}

static bool is_address(const uint8_t *mac)
{
	static const uint8_t none[NET_MAC_BYTES];

	return !net_is_group(mac) && memcmp(mac, none, sizeof(none)) != 0;
}

/* As the card has loaded it, else by hand. */
static bool find_address(struct e1000 *e)
{
	uint32_t high = e1000_read(e, E1000_RAH0);
	uint8_t mac[NET_MAC_BYTES];
	uint16_t word;

	put_le32(mac, e1000_read(e, E1000_RAL0));
	put_le16(mac + 4, (uint16_t)high);
	if (!(high & E1000_RAH_AV) || !is_address(mac)) {
		for (unsigned i = 0; i < E1000_EEPROM_ADDRESS_WORDS; i++) {
			if (!read_eeprom(e, i, &word))
				return false;
			put_le16(mac + 2 * i, word);
		}
	}
	memcpy(e->nic.mac, mac, sizeof(mac));
	return is_address(mac);
}

enum status e1000_open(struct e1000 *e, const struct e1000_model *model, const struct e1000_io *io,
		       const struct clock *clock, const char *where, struct error *err)
{
	uint64_t late = clock->ticks() + ns_to_ticks(OPEN_NS, clock->hz);

	*e = (struct e1000){.model = model, .io = *io, .clock = clock};
	e->nic.ops = &e1000_ops;
	e->nic.max_frame = E1000_FRAME_MAX;
	format(e->nic.what, sizeof(e->nic.what), "%s at %s", model->name, where);
	begin(e);
	while (e->state != E1000_STOPPED && clock->ticks() < late)
		e1000_continue_reset(e);
	if (e->state != E1000_STOPPED)
		return fail(err, ST_IO, "%s: it does not end its reset", e->nic.what);
	if (!find_address(e))
		return fail(err, ST_IO, "%s: it has no address", e->nic.what);
	return ST_OK;
}

/* ---- its memory ---- */

static enum status map_one(struct e1000 *e, void *data, uint32_t bytes, enum dma_direction direction,
			   struct dma_mapping *out)
{
	enum status st = e->dma.ops->map(e->dma.ctx, data, bytes, direction, UINT64_MAX, out);

	if (st != ST_OK || out->bytes == bytes)
		return st;
	e->dma.ops->unmap(e->dma.ctx, out);
	return ST_BAD_ADDRESS;
}

static void unmap_ring(struct e1000 *e, struct e1000_ring *r, unsigned buffers)
{
	while (buffers > 0)
		e->dma.ops->unmap(e->dma.ctx, &r->buffer[--buffers]);
	e->dma.ops->unmap(e->dma.ctx, &r->at);
}

/* A ring is a page, and no buffer crosses one: each is a piece of its own. */
static enum status map_ring(struct e1000 *e, struct e1000_ring *r, void *ring, uint8_t *buffers, unsigned count,
			    enum dma_direction direction)
{
	enum status st = map_one(e, ring, E1000_RING_BYTES, DMA_FROM_DEVICE, &r->at);

	if (st != ST_OK)
		return st;
	for (unsigned i = 0; i < count; i++) {
		st = map_one(e, buffers + i * E1000_BUFFER, E1000_BUFFER, direction, &r->buffer[i]);
		if (st != ST_OK) {
			unmap_ring(e, r, i);
			return st;
		}
	}
	r->descriptors = ring;
	r->buffers = buffers;
	r->count = count;
	return ST_OK;
}

enum status e1000_start(struct e1000 *e, const struct dma *dma, void *memory, struct error *err)
{
	uint8_t *at = memory, *buffers = at + 2 * E1000_RING_BYTES;
	enum status st;

	e->dma = *dma;
	st = map_ring(e, &e->rx, at, buffers, E1000_RX, DMA_FROM_DEVICE);
	if (st != ST_OK)
		return fail(err, st, "%s: it cannot reach its memory", e->nic.what);
	st = map_ring(e, &e->tx, at + E1000_RING_BYTES, buffers + E1000_RX * E1000_BUFFER, E1000_TX, DMA_TO_DEVICE);
	if (st != ST_OK) {
		unmap_ring(e, &e->rx, E1000_RX);
		e->rx = (struct e1000_ring){.descriptors = NULL};
		return fail(err, st, "%s: it cannot reach its memory", e->nic.what);
	}
	e1000_continue_reset(e);
	e->nic.figures.link_changes = 0; /* what it is found with is no change */
	return ST_OK;
}
