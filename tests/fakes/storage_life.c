/* SPDX-License-Identifier: Apache-2.0 */
/* See storage_life.h. */
#include "tests/fakes/storage_life.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/storage.h"
#include "guest/storage_internal.h"
#include "io/virtio_blk.h"
#include "lib/bits.h"
#include "tests/fakes/fault_disk.h"
#include "tests/fakes/partition_tables.h"
#include "tests/fakes/virtio_driver.h"
#include "tests/fakes/vm_rig.h"

#define RAM (48ull << 20)
#define SECTOR 512u
#define RAW_FIRST 64u
#define RAW_SECTORS 2048u
#define POOL_FIRST 2176u
#define POOL_SECTORS 8448u
#define DISK_SECTORS (POOL_FIRST + POOL_SECTORS + 64u)
#define RAW "disk0:1"
#define POOL "disk0:2"

#define ZONES 12u         /* of a volume; each is one request's at a time */
#define ZONE_SECTORS 20u
#define ZONE_STRIDE 137u  /* they lie across blocks and clusters */
#define SINCE_MAX 12u
#define VOLUMES 9u        /* the first is the raw partition */
#define USERS 3u
#define ZEROES 0x80000000u /* in a value: the sector reads as zeroes */

#define GUEST_PAGES 48u
#define RING_AT 0x1000u
#define RING_SIZE 64u
#define SLOT_AT(i) (0x4000u + 0x40u * (i))   /* header, status */
#define DATA_AT(i) (0x8000u + 0x2a00u * (i)) /* of one request */
#define FLUSH_SLOT ZONES

/* What a sector may hold: each number stands for one content. */
struct sector {
	uint32_t durable, now;
	uint32_t since[SINCE_MAX]; /* written after what is durable, and maybe on the medium, the last ones */
	uint32_t at_flush;         /* what the flush that is under way makes durable */
	uint8_t count;
	bool any;                  /* more than there is room for in since */
	bool unknown;              /* what reads find is one of those, but not known which */
	bool flushing;             /* at_flush holds */
};

enum making { HERE, BEING_MADE, BEING_REMOVED };

struct vol {
	char name[VOLUME_NAME_MAX];  /* "": none */
	enum making making;
	bool frozen;
	struct sector sectors[ZONES][ZONE_SECTORS];
};

struct ask {
	bool busy;
	uint32_t type, value;
	unsigned zone, first, count;
	bool through;
};

struct user {
	struct vm *vm;
	struct vol *on;             /* NULL: its device is not there */
	struct vm_disk_source source;
	struct fake_guest_mem mem;
	struct virtio_blk *blk;
	void *memory;
	struct driver drv;
	struct driver_ring ring;
	struct ask asks[ZONES + 1];
	bool through, starved;
};

struct job {
	uint32_t number;            /* 0: none */
	enum storage_op op;
	struct vol *vol, *made;
};

static struct life_source choices;
static struct life_figures figures;
static struct storage *s;
static struct fault_disk disk;
static struct vol vols[VOLUMES];
static struct user users[USERS];
static struct job job;
static uint32_t last_value;
static unsigned last_name;

static uint64_t below(uint64_t n) { return choices.below(choices.ctx, n); }
static bool once_in(unsigned n) { return below(n) == 0; }

__attribute__((noreturn, format(printf, 1, 2)))
static void wrong(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

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

static uint64_t lba_of(unsigned zone, unsigned i) { return zone * ZONE_STRIDE + i; }

/* The value that is there, of those that may be; aborts when it is none of them. */
static uint32_t value_of(const struct vol *v, const struct sector *c, const uint8_t *data, uint64_t lba)
{
	if (holds(data, c->durable, lba))
		return c->durable;
	for (unsigned i = 0; i < c->count; i++)
		if (holds(data, c->since[i], lba))
			return c->since[i];
	for (uint32_t value = 1; c->any && value <= last_value; value++)
		if (holds(data, value, lba))
			return value;
	if (c->any && holds(data, ZEROES, lba))
		return ZEROES;
	wrong("sector %llu of %s holds neither %u, which is durable, nor one of %u written since, the last %u: %016llx",
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

/* ---- volumes ---- */

static struct vol *free_vol(void)
{
	for (unsigned i = 1; i < VOLUMES; i++)
		if (!vols[i].name[0])
			return &vols[i];
	return NULL;
}

static struct vol *some_vol(void)
{
	struct vol *v = &vols[below(VOLUMES)];

	return v->name[0] ? v : &vols[0];
}

static struct user *user_of(const struct vol *v)
{
	for (unsigned i = 0; i < USERS; i++)
		if (users[i].on == v)
			return &users[i];
	return NULL;
}

static struct vol *new_vol(const struct vol *like)
{
	struct vol *v = free_vol();

	if (!v)
		return NULL;
	*v = like ? *like : (struct vol){.making = HERE};
	v->making = BEING_MADE;
	v->frozen = false;
	snprintf(v->name, sizeof v->name, "%.*s%u", (int)(last_name * 7 % 19 + 1), "some-volume-or-other", last_name);
	last_name++;
	return v;
}

/* ---- the device of a user ---- */

static void is_full(void *ctx) { ((struct user *)ctx)->starved = true; }

static void bring_up(struct user *u)
{
	uint64_t features = u->drv.device->offered;

	if (once_in(3))
		features &= ~VIRTIO_BLK_F_FLUSH;
	if (driver_negotiate(&u->drv, features) != 0x0b)
		wrong("features are refused");
	driver_ring_init(&u->ring, &u->mem, RING_AT, RING_SIZE);
	driver_queue(&u->drv, 0, &u->ring);
	driver_ok(&u->drv);
	if (once_in(3))
		driver_set_config(&u->drv, VIRTIO_BLK_CFG_WRITEBACK, 1, 0);
	u->through = driver_config(&u->drv, VIRTIO_BLK_CFG_WRITEBACK, 1) == 0;
	u->starved = false;
}

static void plug(struct user *u, struct vol *v)
{
	struct virtio_blk_config cfg = {.serial = "life", .queues = 1, .requests = 1 + (unsigned)below(8), .large = 1,
					.no_space = is_full, .no_space_ctx = u};
	struct vm_disk *d = &u->vm->config.disks[0];
	struct error err;

	memcpy(d->volume, v->name, sizeof v->name);
	d->read_only = v->frozen;
	if (storage_disk_ops.open(s, u->vm, d, &u->source, &err) != ST_OK) {
		/* Somebody else has it, or it is just being deleted; or nothing of the disk can be read. */
		return;
	}
	fake_guest_mem_init(&u->mem, GUEST_PAGES, below(1 << 20));
	u->mem.later = (unsigned)below(40);
	u->mem.too_late = (unsigned)below(60);
	cfg.mem = u->mem.mem;
	cfg.backend = u->source.backend;
	cfg.backend_ctx = u->source.backend_ctx;
	cfg.disk = u->source.disk;
	u->memory = aligned_alloc(64, align_up(virtio_blk_bytes(&cfg), 64));
	if (virtio_blk_init(u->memory, &cfg, &u->blk, &err) != ST_OK)
		wrong("no device: %s", err.text);
	driver_attach(&u->drv, virtio_blk_device(u->blk));
	memset(u->asks, 0, sizeof u->asks);
	u->on = v;
	bring_up(u);
}

/* ---- what happens outside ---- */

static void world(void)
{
	enum sched_end end;

	switch (below(4)) {
	case 0:
		fake_host_advance(1 + below(VM_RIG_HZ / 2000));
		break;
	case 1:
		(void)vm_rig_turn(&end);
		break;
	case 2:
		(void)storage_step(s);
		break;
	default:
		for (unsigned i = 0; i < USERS; i++) {
			if (!users[i].on)
				continue;
			fake_guest_mem_answer(&users[i].mem, 4);
			driver_work(&users[i].drv);
			fake_guest_mem_move(&users[i].mem);
		}
	}
}

/* The same, all of it at once. */
static void go_on(void)
{
	enum sched_end end;

	fake_host_advance(VM_RIG_HZ / 5000);
	(void)storage_step(s);
	while (vm_rig_turn(&end))
		continue;
	for (unsigned i = 0; i < USERS; i++) {
		if (!users[i].on)
			continue;
		fake_guest_mem_answer(&users[i].mem, 99);
		driver_work(&users[i].drv);
	}
}

/* ---- requests ---- */

static bool writes(const struct ask *a) { return a->type == VIRTIO_BLK_T_OUT || a->type == VIRTIO_BLK_T_WRITE_ZEROES; }

static void put_data(struct user *u, const struct ask *a, uint64_t at)
{
	uint64_t lba = lba_of(a->zone, a->first);
	uint8_t sector[SECTOR];

	if (a->type == VIRTIO_BLK_T_WRITE_ZEROES) {
		put_le64(sector, lba);
		put_le32(sector + 8, a->count);
		put_le32(sector + 12, (uint32_t)below(2));
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
	uint64_t data = DATA_AT(slot) + 8 * below(60);
	uint32_t bytes = a->type == VIRTIO_BLK_T_FLUSH ? 0 :
			 a->type == VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_RANGE_BYTES : a->count * SECTOR;
	uint16_t d = (uint16_t)(slot * 3);
	uint8_t header[16] = {0};

	put_le32(header, a->type);
	put_le64(header + 8, a->type == VIRTIO_BLK_T_WRITE_ZEROES ? 0 : lba_of(a->zone, a->first));
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
	figures.requests++;
}

static void ask_zone(struct user *u)
{
	static const uint32_t types[] = {VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES};
	unsigned zone = (unsigned)below(ZONES);
	struct ask *a = &u->asks[zone];

	if (a->busy)
		return;
	*a = (struct ask){.busy = true, .type = types[below(ARRAY_SIZE(types))], .zone = zone, .through = u->through};
	if (u->on->frozen)
		a->type = VIRTIO_BLK_T_IN;
	if (a->type == VIRTIO_BLK_T_WRITE_ZEROES && !virtio_has(u->drv.device, VIRTIO_BLK_F_WRITE_ZEROES))
		a->type = VIRTIO_BLK_T_OUT;
	a->count = 1 + (unsigned)below(ZONE_SECTORS);
	a->first = (unsigned)below(ZONE_SECTORS - a->count + 1);
	if (writes(a))
		a->value = ++last_value | (a->type == VIRTIO_BLK_T_OUT ? 0 : ZEROES);
	for (unsigned i = 0; writes(a) && i < a->count; i++)
		may_become(&u->on->sectors[zone][a->first + i], a->value);
	send(u, zone);
}

static void ask_flush(struct user *u)
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
			c->flushing = !c->unknown && !(w->busy && writes(w) && i - w->first < w->count);
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
		uint64_t lba = lba_of(a->zone, a->first + i);

		fake_guest_mem_read(&u->mem, get_le64(at) + i * SECTOR, data, SECTOR);
		if (!c->unknown && !holds(data, c->now, lba))
			wrong("sector %llu of %s does not read as %u: %016llx", (unsigned long long)lba, u->on->name, c->now,
			      (unsigned long long)get_le64(data));
		c->now = value_of(u->on, c, data, lba);
	}
	figures.reads++;
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
	figures.flushes += ok;
}

static void ended(struct user *u, unsigned slot)
{
	struct ask *a = &u->asks[slot];
	uint8_t status;

	if (!a->busy)
		wrong("chain %u ends, which was not under way", slot);
	a->busy = false;
	fake_guest_mem_read(&u->mem, SLOT_AT(slot) + 0x20, &status, 1);
	if (status > VIRTIO_BLK_S_UNSUPP)
		wrong("chain %u ends with status %u", slot, status);
	figures.failed += status != VIRTIO_BLK_S_OK;
	if (a->type == VIRTIO_BLK_T_FLUSH)
		flush_ended(u->on, status == VIRTIO_BLK_S_OK);
	else if (writes(a))
		write_ended(u, a, status == VIRTIO_BLK_S_OK);
	else if (status == VIRTIO_BLK_S_OK)
		read_ended(u, a);
}

static void collect(struct user *u)
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
		else if (a->busy && writes(a))
			write_ended(u, a, false);
		a->busy = false;
	}
}

static void reset(struct user *u)
{
	driver_status(&u->drv, 0);
	for (unsigned i = 0; driver_read_status(&u->drv) != 0; i++) {
		go_on();
		if (i == 100000)
			wrong("a reset of the device of %s does not end", u->on->name);
	}
	collect(u);
	forget(u);
}

static void unplug(struct user *u)
{
	reset(u);
	if (u->mem.pins)
		wrong("%llu pins are left", (unsigned long long)u->mem.pins);
	storage_disk_ops.close(s, &u->source);
	fake_guest_mem_fini(&u->mem);
	free(u->memory);
	u->on = NULL;
}

/* All that is under way ends: nothing was forgotten, but what waits for space. */
static void quiesce(struct user *u)
{
	for (unsigned i = 0; u->on && is_busy(u) && !u->starved; i++) {
		go_on();
		collect(u);
		if (i == 100000)
			wrong("a request to %s does not end", u->on->name);
	}
}

/* ---- operations ---- */

static void began(enum storage_op op, enum status st, uint32_t number, struct vol *v, struct vol *made)
{
	figures.jobs++;
	if (st != ST_OK) {
		if (made)
			made->name[0] = '\0';
		return;
	}
	job = (struct job){number, op, v, made};
	if (op == STORAGE_MERGE || op == STORAGE_DELETE)
		v->making = BEING_REMOVED;
}

static struct storage_order order_of_kind(enum storage_op op, const struct vol *v, const struct vol *made)
{
	struct storage_order o = {.op = op, .bytes = lba_of(ZONES, 0) * SECTOR / 4096 * 4096 + 4096};

	if (op == STORAGE_RESIZE)
		o.bytes += below(64) * 4096;
	if (op != STORAGE_CREATE)
		memcpy(o.volume, v->name, sizeof o.volume);
	if (made)
		memcpy(o.name, made->name, sizeof o.name);
	return o;
}

/* Of a snapshot: those that are being written have one content or the other. */
static void blur(struct vol *v, const struct user *u)
{
	for (unsigned zone = 0; u && zone < ZONES; zone++) {
		const struct ask *a = &u->asks[zone];

		for (unsigned i = 0; a->busy && writes(a) && i < a->count; i++)
			v->sectors[zone][a->first + i].unknown = true;
	}
	for (unsigned zone = 0; zone < ZONES; zone++)
		for (unsigned i = 0; i < ZONE_SECTORS; i++)
			v->sectors[zone][i].flushing = false;
}

/* A copy has what is read there now, and all of it, or is not whole. */
static void becomes_durable(struct vol *v)
{
	for (unsigned zone = 0; zone < ZONES; zone++)
		for (unsigned i = 0; i < ZONE_SECTORS; i++) {
			struct sector *c = &v->sectors[zone][i];

			if (!c->unknown)
				*c = (struct sector){.durable = c->now, .now = c->now};
		}
}

static void operate(void)
{
	static const enum storage_op ops[] = {STORAGE_CREATE, STORAGE_SNAPSHOT, STORAGE_SNAPSHOT, STORAGE_CLONE, STORAGE_MERGE,
					      STORAGE_MERGE, STORAGE_DELETE, STORAGE_RESIZE, STORAGE_IMPORT};
	enum storage_op op = ops[below(ARRAY_SIZE(ops))];
	struct vol *v = op == STORAGE_IMPORT ? &vols[0] : some_vol(), *made = NULL;
	struct storage_order o;
	struct error err;
	uint32_t number;
	enum status st;

	if (job.number || (v == &vols[0] && op != STORAGE_CREATE && op != STORAGE_IMPORT))
		return;
	if (op == STORAGE_CREATE || op == STORAGE_SNAPSHOT || op == STORAGE_CLONE || op == STORAGE_IMPORT) {
		made = new_vol(op == STORAGE_CREATE ? NULL : v);
		if (!made)
			return;
		blur(made, user_of(v));
	}
	if (op == STORAGE_IMPORT)
		becomes_durable(made);
	o = order_of_kind(op, v, made);
	st = storage_begin(s, &o, &number, &err);
	if (made)
		made->frozen = op == STORAGE_SNAPSHOT;
	began(op, st, number, v, made);
}

static void look_at_job(void)
{
	struct storage_job_info info;

	if (!job.number)
		return;
	if (storage_job(s, job.number, &info) != ST_OK)
		wrong("job %u is not known", job.number);
	if (!info.done)
		return;
	figures.jobs_done += info.status == ST_OK;
	if (info.status == ST_OK && job.made)
		job.made->making = HERE;
	if (info.status == ST_OK && (job.op == STORAGE_MERGE || job.op == STORAGE_DELETE))
		job.vol->name[0] = '\0';
	job.number = 0;
}

static void end_job(void)
{
	for (unsigned i = 0; job.number; i++) {
		go_on();
		look_at_job();
		if (i == 200000)
			wrong("operation %s does not end", storage_op_name(job.op));
	}
}

/* ---- power ---- */

static void switch_on(void)
{
	struct storage_domain *d;
	struct error err;

	if (storage_create(&vm_rig.machine, &err) != ST_OK)
		wrong("no storage: %s", err.text);
	s = vm_rig.machine.storage;
	if (storage_add_domain(s, "ide0", &d, &err) != ST_OK || storage_add_disk(s, d, "disk0", &disk.device, &err) != ST_OK)
		wrong("no disk: %s", err.text);
}

static void switch_off(void)
{
	for (unsigned i = 0; i < USERS; i++)
		if (users[i].on)
			unplug(&users[i]);
	end_job();
	for (unsigned i = 0; i < 2000; i++)
		go_on(); /* commits that are under way */
	storage_destroy(&vm_rig.machine);
}

static bool keep(void *ctx)
{
	(void)ctx;
	return once_in(2);
}

static struct block_segment segment;
static bool back;
static void came_back(struct block_request *r)
{
	(void)r;
	back = true;
}

static void read_sector(struct vm_disk_source *from, uint64_t lba, uint8_t *out, const char *name)
{
	struct block_request r = {.op = BLOCK_READ, .lba = lba, .count = 1, .segments = &segment, .segment_count = 1,
				  .complete = came_back};
	unsigned long masked = fake_host.ops.mask();

	segment = (struct block_segment){out, SECTOR};
	back = from->backend->submit(from->backend_ctx, &r);
	fake_host.ops.unmask(masked);
	for (unsigned i = 0; !back; i++) {
		go_on();
		if (i == 100000)
			wrong("a read of %s does not end", name);
	}
	if (r.status != ST_OK)
		wrong("sector %llu of %s cannot be read after a cut", (unsigned long long)lba, name);
}

/* What there is now is known, and durable: the power was gone. */
static void check_vol(struct vol *v)
{
	struct vm_disk *d = &users[0].vm->config.disks[0];
	struct vm_disk_source from;
	uint8_t data[SECTOR];
	struct error err;

	memcpy(d->volume, v->name, sizeof v->name);
	d->read_only = true;
	if (storage_disk_ops.open(s, users[0].vm, d, &from, &err) != ST_OK)
		wrong("%s cannot be opened after a cut: %s", v->name, err.text);
	for (unsigned zone = 0; zone < ZONES; zone++)
		for (unsigned i = 0; i < ZONE_SECTORS; i++) {
			struct sector *c = &v->sectors[zone][i];
			uint32_t value;

			read_sector(&from, lba_of(zone, i), data, v->name);
			value = value_of(v, c, data, lba_of(zone, i));
			*c = (struct sector){.durable = value, .now = value};
			figures.checked++;
		}
	storage_disk_ops.close(s, &from);
}

/* What is left of an import that the power failed in: nobody opens it, and it can be deleted. */
static void check_half(struct vol *v)
{
	struct storage_order o = {.op = STORAGE_DELETE};
	struct vm_disk *d = &users[0].vm->config.disks[0];
	struct vm_disk_source from;
	struct error err;
	uint32_t number;
	enum status st;

	memcpy(d->volume, v->name, sizeof v->name);
	if (v->making == HERE)
		wrong("%s was imported, and is not whole after a cut", v->name);
	if (storage_disk_ops.open(s, users[0].vm, d, &from, &err) != ST_BAD_STATE)
		wrong("%s is not whole, and can be opened", v->name);
	memcpy(o.volume, v->name, sizeof o.volume);
	/* Merges and deletions that the power failed in go on first. */
	for (unsigned i = 0; (st = storage_begin(s, &o, &number, &err)) == ST_BUSY && i < 10000; i++)
		go_on();
	if (st != ST_OK)
		wrong("%s is not whole, and cannot be deleted: %s", v->name, err.text);
	job = (struct job){number, STORAGE_DELETE, v, NULL};
	end_job();
	figures.halves++;
}

static void check_all(void)
{
	struct storage_info info;
	struct error err;

	for (unsigned i = 0; i < VOLUMES; i++) {
		struct vol *v = &vols[i];
		bool there;

		if (!v->name[0])
			continue;
		there = storage_find(s, v->name, &info, &err) == ST_OK;
		if (there && i > 0 && info.state == LAYER_FILLING)
			check_half(v);
		if (there && i > 0 && info.state != LAYER_LIVE && info.state != LAYER_FROZEN)
			there = false; /* on its way */
		if (!there && v->making == HERE)
			wrong("%s is gone after a cut: %s", v->name, err.text);
		if (!there) {
			v->name[0] = '\0';
			continue;
		}
		v->making = HERE;
		v->frozen = i > 0 && info.state == LAYER_FROZEN;
		check_vol(v);
	}
}

/* A snapshot's volume, or a merge's child, has its name all the time; what was being removed may be on its way still. */
static void cut(void)
{
	disk.cut_at = disk.writes + 1 + below(40);
	for (unsigned i = 0; !disk.dead && i < 400; i++) {
		struct user *u = &users[below(USERS)];

		if (u->on)
			ask_zone(u);
		if (u->on && once_in(4))
			ask_flush(u);
		world();
		for (unsigned n = 0; n < USERS; n++)
			if (users[n].on)
				collect(&users[n]);
		look_at_job();
	}
	disk.dead = true;
	switch_off();
	fault_disk_power_on(&disk, keep, NULL);
	figures.cuts++;
	switch_on();
	check_all();
}

/* ---- a life ---- */

static void trouble(void)
{
	switch (below(5)) {
	case 0:
		disk.fail_from = disk.requests + 1 + below(20);
		disk.fail_count = 1 + below(3);
		break;
	case 1:
		disk.bad_first = RAW_FIRST + below(RAW_SECTORS);
		disk.bad_count = below(16);
		break;
	case 2:
		disk.fail_flushes = true;
		break;
	default:
		disk.fail_from = disk.bad_count = 0;
		disk.fail_flushes = false;
	}
}

static void give_space(struct user *u)
{
	unsigned long masked;

	figures.starved += u->starved;
	u->starved = false;
	masked = fake_host.ops.mask();
	virtio_blk_retry(u->blk);
	fake_host.ops.unmask(masked);
}

static void use(struct user *u)
{
	if (!u->on)
		plug(u, some_vol());
	else if (once_in(100))
		unplug(u);
	else if (once_in(60)) {
		reset(u);
		bring_up(u);
	} else if (u->starved)
		give_space(u);
	else if (once_in(8))
		ask_flush(u);
	else
		ask_zone(u);
}

/* An import may be ended. */
static void think_better(void)
{
	struct error err;

	if (job.number && storage_cancel(s, job.number, &err) == ST_OK && job.op != STORAGE_IMPORT)
		wrong("a %s was ended", storage_op_name(job.op));
}

static void step(void)
{
	uint64_t what = below(200);
	struct user *u = &users[below(USERS)];

	if (what < 70)
		use(u);
	else if (what < 160)
		world();
	else if (what < 180)
		look_at_job();
	else if (what < 190)
		operate();
	else if (what < 194)
		quiesce(u);
	else if (what < 196 && once_in(6))
		trouble();
	else if (what == 196 && once_in(2))
		think_better();
	else if (what == 199 && once_in(3))
		cut();
	for (unsigned i = 0; i < USERS; i++)
		if (users[i].on)
			collect(&users[i]);
}

static void begin(void)
{
	struct error err;

	vm_rig_init(RAM);
	fault_disk_init(&disk, (uint64_t)DISK_SECTORS * SECTOR, SECTOR);
	table_mbr_entry(disk.view, 0, 0x83, RAW_FIRST, RAW_SECTORS);
	table_mbr_entry(disk.view, 1, 0x83, POOL_FIRST, POOL_SECTORS);
	memcpy(disk.platter, disk.view, SECTOR);
	memset(vols, 0, sizeof vols);
	memset(users, 0, sizeof users);
	memset(&job, 0, sizeof job);
	last_value = 0;
	last_name = 0;
	snprintf(vols[0].name, sizeof vols[0].name, "%s", RAW);
	switch_on();
	if (storage_format_pool(s, POOL, 99, &err) != ST_OK)
		wrong("no pool: %s", err.text);
	for (unsigned i = 0; i < USERS; i++) {
		static const char *const names[USERS] = {"a", "b", "c"};
		struct vm_config cfg = vm_rig_config(names[i], 1 << 20);

		cfg.disk_count = 1;
		vm_disk_init(&cfg.disks[0]);
		strcpy(cfg.disks[0].name, "d");
		strcpy(cfg.disks[0].volume, RAW);
		if (vm_define(&vm_rig.machine, &cfg, &users[i].vm, &err) != ST_OK)
			wrong("no VM: %s", err.text);
	}
}

void storage_life(const struct life_source *source, unsigned steps, struct life_figures *out)
{
	choices = *source;
	figures = (struct life_figures){0};
	begin();
	for (unsigned i = 0; i < steps; i++)
		step();
	cut();
	switch_off();
	fault_disk_fini(&disk);
	vm_rig_fini();
	*out = figures;
}
