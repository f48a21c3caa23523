/* SPDX-License-Identifier: Apache-2.0 */
/* See storage_life.h: guests with virtio-blk devices, their requests, and what each answer may be. */
#include "tests/fakes/storage_life_internal.h"

#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "tests/fakes/vm_rig.h"

#define GUEST_PAGES 48u
#define RING_AT 0x1000u
#define RING_SIZE 64u
#define SLOT_AT(i) (0x4000u + 0x40u * (i))   /* header, status */
#define DATA_AT(i) (0x8000u + 0x2a00u * (i)) /* of one request */
#define FLUSH_SLOT ZONES

/* ---- content ---- */

static void fill(uint8_t *out, uint32_t value, uint64_t lba)
{
	for (unsigned i = 0; i < SECTOR / 8; i++)
		put_le64(out + 8 * i, value == 0 || value & ZEROES ? 0 : (value * 0x9e3779b97f4a7c15ull ^ lba << 40) + i);
}

static bool holds(const uint8_t *data, uint32_t value, uint64_t lba)
{
	uint8_t want[SECTOR];

	fill(want, value, lba);
	return memcmp(data, want, SECTOR) == 0;
}

uint64_t life_lba_of(unsigned zone, unsigned i) { return zone * ZONE_STRIDE + i; }

uint32_t life_value_of(const struct vol *v, const struct sector *c, const uint8_t *data, uint64_t lba)
{
	if (holds(data, c->durable, lba))
		return c->durable;
	for (unsigned i = 0; i < c->count; i++)
		if (holds(data, c->since[i], lba))
			return c->since[i];
	for (uint32_t value = 1; c->any && value <= life.last_value; value++)
		if (holds(data, value, lba))
			return value;
	if (c->any && holds(data, ZEROES, lba))
		return ZEROES;
	life_wrong("sector %llu of %s holds neither %u, which is durable, nor one of %u written since, the last %u: "
		   "%016llx",
		   (unsigned long long)lba, v->name, c->durable, c->count, c->now, (unsigned long long)get_le64(data));
}

static void may_become(struct sector *c, uint32_t value)
{
	if (c->count == SINCE_MAX) {
		memmove(c->since, c->since + 1, (SINCE_MAX - 1) * sizeof c->since[0]);
		c->count--;
		c->any = true;
	}
	c->since[c->count++] = value;
}

static void make_durable(struct sector *c, uint32_t value)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < c->count; i++)
		if ((c->since[i] & ~ZEROES) > (value & ~ZEROES))
			c->since[kept++] = c->since[i];
	c->count = (uint8_t)kept;
	c->any = false;
	c->durable = value;
}

/* ---- the device of a user ---- */

static void is_full(void *ctx) { ((struct user *)ctx)->starved = true; }

void life_bring_up(struct user *u)
{
	uint64_t features = u->drv.device->offered;

	if (life_once_in(3))
		features &= ~VIRTIO_BLK_F_FLUSH;
	if (driver_negotiate(&u->drv, features) != 0x0b)
		life_wrong("features are refused");
	driver_ring_init(&u->ring, &u->mem, RING_AT, RING_SIZE);
	driver_queue(&u->drv, 0, &u->ring);
	driver_ok(&u->drv);
	if (life_once_in(3))
		driver_set_config(&u->drv, VIRTIO_BLK_CFG_WRITEBACK, 1, 0);
	u->through = driver_config(&u->drv, VIRTIO_BLK_CFG_WRITEBACK, 1) == 0;
	u->starved = false;
}

void life_plug(struct user *u, struct vol *v)
{
	struct virtio_blk_config cfg = {.serial = "life", .queues = 1, .requests = 1 + (unsigned)life_below(8), .large = 1,
					.no_space = is_full, .no_space_ctx = u};
	struct vm_disk *d = &u->vm->config.disks[0];
	struct error err;

	memcpy(d->volume, v->name, sizeof v->name);
	d->read_only = v->frozen;
	if (storage_disk_ops.open(life.storage, u->vm, d, &u->source, &err) != ST_OK) {
		/* Somebody else has it, or it is just being deleted; or nothing of the disk can be read. */
		return;
	}
	fake_guest_mem_init(&u->mem, GUEST_PAGES, life_below(1 << 20));
	u->mem.later = (unsigned)life_below(40);
	u->mem.too_late = (unsigned)life_below(60);
	cfg.mem = u->mem.mem;
	cfg.backend = u->source.backend;
	cfg.backend_ctx = u->source.backend_ctx;
	cfg.disk = u->source.disk;
	u->memory = aligned_alloc(64, align_up(virtio_blk_bytes(&cfg), 64));
	if (virtio_blk_init(u->memory, &cfg, &u->blk, &err) != ST_OK)
		life_wrong("no device: %s", err.text);
	driver_attach(&u->drv, virtio_blk_device(u->blk));
	memset(u->asks, 0, sizeof u->asks);
	u->on = v;
	life_bring_up(u);
}

/* ---- what happens outside ---- */

void life_world(void)
{
	enum sched_end end;

	switch (life_below(4)) {
	case 0:
		fake_host_advance(1 + life_below(VM_RIG_HZ / 2000));
		break;
	case 1:
		(void)vm_rig_turn(&end);
		break;
	case 2:
		(void)storage_step(life.storage);
		break;
	default:
		for (unsigned i = 0; i < USERS; i++) {
			if (!life.users[i].on)
				continue;
			fake_guest_mem_answer(&life.users[i].mem, 4);
			driver_work(&life.users[i].drv);
			fake_guest_mem_move(&life.users[i].mem);
		}
	}
}

/* The same, all of it at once. */
void life_go_on(void)
{
	enum sched_end end;

	fake_host_advance(VM_RIG_HZ / 5000);
	(void)storage_step(life.storage);
	while (vm_rig_turn(&end))
		continue;
	for (unsigned i = 0; i < USERS; i++) {
		if (!life.users[i].on)
			continue;
		fake_guest_mem_answer(&life.users[i].mem, 99);
		driver_work(&life.users[i].drv);
	}
}

/* ---- requests ---- */

bool life_writes(const struct ask *a) { return a->type == VIRTIO_BLK_T_OUT || a->type == VIRTIO_BLK_T_WRITE_ZEROES; }

static void put_data(struct user *u, const struct ask *a, uint64_t at)
{
	uint64_t lba = life_lba_of(a->zone, a->first);
	uint8_t sector[SECTOR];

	if (a->type == VIRTIO_BLK_T_WRITE_ZEROES) {
		put_le64(sector, lba);
		put_le32(sector + 8, a->count);
		put_le32(sector + 12, (uint32_t)life_below(2));
		fake_guest_mem_write(&u->mem, at, sector, VIRTIO_BLK_RANGE_BYTES);
	}
	for (unsigned i = 0; a->type == VIRTIO_BLK_T_OUT && i < a->count; i++) {
		fill(sector, a->value, lba + i);
		fake_guest_mem_write(&u->mem, at + i * SECTOR, sector, SECTOR);
	}
}

static void send(struct user *u, unsigned slot)
{
	const struct ask *a = &u->asks[slot];
	uint64_t data = DATA_AT(slot) + 8 * life_below(60);
	uint32_t bytes = a->type == VIRTIO_BLK_T_FLUSH ? 0 :
			 a->type == VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_RANGE_BYTES : a->count * SECTOR;
	uint16_t d = (uint16_t)(slot * 3);
	uint8_t header[16] = {0};

	put_le32(header, a->type);
	put_le64(header + 8, a->type == VIRTIO_BLK_T_WRITE_ZEROES ? 0 : life_lba_of(a->zone, a->first));
	if (a->type == VIRTIO_BLK_T_FLUSH)
		put_le64(header + 8, 0);
	fake_guest_mem_write(&u->mem, SLOT_AT(slot), header, sizeof header);
	fake_guest_mem_fill(&u->mem, SLOT_AT(slot) + 0x20, 0xee, 1);
	put_le64(header + 8, data);
	fake_guest_mem_write(&u->mem, SLOT_AT(slot) + 0x28, header + 8, 8); /* the guest's own note */
	if (bytes)
		put_data(u, a, data);
	driver_desc(&u->ring, d, SLOT_AT(slot), 16, VIRTQ_DESC_F_NEXT, (uint16_t)(bytes ? d + 1 : d + 2));
	driver_desc(&u->ring, (uint16_t)(d + 1), data, bytes,
		    (uint16_t)(VIRTQ_DESC_F_NEXT | (a->type == VIRTIO_BLK_T_IN ? VIRTQ_DESC_F_WRITE : 0)), (uint16_t)(d + 2));
	driver_desc(&u->ring, (uint16_t)(d + 2), SLOT_AT(slot) + 0x20, 1, VIRTQ_DESC_F_WRITE, 0);
	driver_offer(&u->ring, d);
	driver_kick(&u->drv, 0);
	life.figures.requests++;
}

void life_ask_zone(struct user *u)
{
	static const uint32_t types[] = {VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES};
	unsigned zone = (unsigned)life_below(ZONES);
	struct ask *a = &u->asks[zone];

	if (a->busy)
		return;
	*a = (struct ask){.busy = true, .type = types[life_below(ARRAY_SIZE(types))], .zone = zone, .through = u->through};
	if (u->on->frozen)
		a->type = VIRTIO_BLK_T_IN;
	if (a->type == VIRTIO_BLK_T_WRITE_ZEROES && !virtio_has(u->drv.device, VIRTIO_BLK_F_WRITE_ZEROES))
		a->type = VIRTIO_BLK_T_OUT;
	a->count = 1 + (unsigned)life_below(ZONE_SECTORS);
	a->first = (unsigned)life_below(ZONE_SECTORS - a->count + 1);
	if (life_writes(a))
		a->value = ++life.last_value | (a->type == VIRTIO_BLK_T_OUT ? 0 : ZEROES);
	for (unsigned i = 0; life_writes(a) && i < a->count; i++)
		may_become(&u->on->sectors[zone][a->first + i], a->value);
	send(u, zone);
}

void life_ask_flush(struct user *u)
{
	struct ask *a = &u->asks[FLUSH_SLOT];

	if (a->busy || !virtio_has(u->drv.device, VIRTIO_BLK_F_FLUSH) || u->on->frozen)
		return;
	*a = (struct ask){.busy = true, .type = VIRTIO_BLK_T_FLUSH};
	for (unsigned zone = 0; zone < ZONES; zone++)
		for (unsigned i = 0; i < ZONE_SECTORS; i++) {
			struct sector *c = &u->on->sectors[zone][i];
			const struct ask *w = &u->asks[zone];

			c->at_flush = c->now;
			c->flushing = !c->unknown && !(w->busy && life_writes(w) && i - w->first < w->count);
		}
	send(u, FLUSH_SLOT);
}

/* ---- answers ---- */

static void read_ended(struct user *u, const struct ask *a)
{
	uint8_t data[SECTOR], at[8];

	fake_guest_mem_read(&u->mem, SLOT_AT(a->zone) + 0x28, at, 8);
	for (unsigned i = 0; i < a->count; i++) {
		struct sector *c = &u->on->sectors[a->zone][a->first + i];
		uint64_t lba = life_lba_of(a->zone, a->first + i);

		fake_guest_mem_read(&u->mem, get_le64(at) + i * SECTOR, data, SECTOR);
		if (!c->unknown && !holds(data, c->now, lba))
			life_wrong("sector %llu of %s does not read as %u: %016llx", (unsigned long long)lba, u->on->name, c->now,
			      (unsigned long long)get_le64(data));
		c->now = life_value_of(u->on, c, data, lba);
	}
	life.figures.reads++;
}

static void write_ended(struct user *u, const struct ask *a, bool ok)
{
	for (unsigned i = 0; i < a->count; i++) {
		struct sector *c = &u->on->sectors[a->zone][a->first + i];

		c->unknown = !ok;
		if (!ok)
			continue;
		c->now = a->value;
		if (a->through)
			make_durable(c, a->value);
	}
}

static void flush_ended(struct vol *v, bool ok)
{
	for (unsigned zone = 0; zone < ZONES; zone++)
		for (unsigned i = 0; i < ZONE_SECTORS; i++) {
			struct sector *c = &v->sectors[zone][i];

			/* Meanwhile one may have been written through the cache. */
			if (ok && c->flushing && (c->at_flush & ~ZEROES) > (c->durable & ~ZEROES))
				make_durable(c, c->at_flush);
			c->flushing = false;
		}
	life.figures.flushes += ok;
}

static void ended(struct user *u, unsigned slot)
{
	struct ask *a = &u->asks[slot];
	uint8_t status;

	if (!a->busy)
		life_wrong("chain %u ends, which was not under way", slot);
	a->busy = false;
	fake_guest_mem_read(&u->mem, SLOT_AT(slot) + 0x20, &status, 1);
	if (status > VIRTIO_BLK_S_UNSUPP)
		life_wrong("chain %u ends with status %u", slot, status);
	life.figures.failed += status != VIRTIO_BLK_S_OK;
	if (a->type == VIRTIO_BLK_T_FLUSH)
		flush_ended(u->on, status == VIRTIO_BLK_S_OK);
	else if (life_writes(a))
		write_ended(u, a, status == VIRTIO_BLK_S_OK);
	else if (status == VIRTIO_BLK_S_OK)
		read_ended(u, a);
}

void life_collect(struct user *u)
{
	uint32_t head, written;

	while (driver_used(&u->ring, &head, &written)) {
		driver_used_event(&u->ring, u->ring.seen);
		ended(u, head / 3);
	}
}

static bool is_busy(const struct user *u)
{
	for (unsigned i = 0; i <= ZONES; i++)
		if (u->asks[i].busy)
			return true;
	return false;
}

/* What was under way may have been done, or not. */
static void forget(struct user *u)
{
	for (unsigned i = 0; i <= ZONES; i++) {
		struct ask *a = &u->asks[i];

		if (a->busy && a->type == VIRTIO_BLK_T_FLUSH)
			flush_ended(u->on, false);
		else if (a->busy && life_writes(a))
			write_ended(u, a, false);
		a->busy = false;
	}
}

void life_reset(struct user *u)
{
	driver_status(&u->drv, 0);
	for (unsigned i = 0; driver_read_status(&u->drv) != 0; i++) {
		life_go_on();
		if (i == 100000)
			life_wrong("a reset of the device of %s does not end", u->on->name);
	}
	life_collect(u);
	forget(u);
}

void life_unplug(struct user *u)
{
	life_reset(u);
	if (u->mem.pins)
		life_wrong("%llu pins are left", (unsigned long long)u->mem.pins);
	storage_disk_ops.close(life.storage, &u->source);
	fake_guest_mem_fini(&u->mem);
	free(u->memory);
	u->on = NULL;
}

/* All that is under way ends: nothing was forgotten, but what waits for space. */
void life_quiesce(struct user *u)
{
	for (unsigned i = 0; u->on && is_busy(u) && !u->starved; i++) {
		life_go_on();
		life_collect(u);
		if (i == 100000)
			life_wrong("a request to %s does not end", u->on->name);
	}
}
