/* SPDX-License-Identifier: Apache-2.0 */
/* See storage_life.h: volumes and what an operator does with them, power cuts, and the course of a life. */
#include "tests/fakes/storage_life_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fakes/partition_tables.h"
#include "tests/fakes/vm_rig.h"

#define RAM (48ull << 20)
#define RAW_FIRST 64u
#define RAW_SECTORS 2048u
#define POOL_FIRST 2176u
#define POOL_SECTORS 8448u
#define DISK_SECTORS (POOL_FIRST + POOL_SECTORS + 64u)
#define RAW "disk0:1"
#define POOL "disk0:2"

struct life life;

uint64_t life_below(uint64_t n) { return life.source.below(life.source.ctx, n); }
bool life_once_in(unsigned n) { return life_below(n) == 0; }

__attribute__((noreturn, format(printf, 1, 2)))
void life_wrong(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

/* ---- volumes ---- */

static struct vol *free_vol(void)
{
	for (unsigned i = 1; i < VOLUMES; i++)
		if (!life.vols[i].name[0])
			return &life.vols[i];
	return NULL;
}

static struct vol *some_vol(void)
{
	struct vol *v = &life.vols[life_below(VOLUMES)];

	return v->name[0] ? v : &life.vols[0];
}

static struct user *user_of(const struct vol *v)
{
	for (unsigned i = 0; i < USERS; i++)
		if (life.users[i].on == v)
			return &life.users[i];
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
	snprintf(v->name, sizeof v->name, "%.*s%u", (int)(life.last_name * 7 % 19 + 1), "some-volume-or-other", life.last_name);
	life.last_name++;
	return v;
}

/* ---- operations ---- */

static void began(enum storage_op op, enum status st, uint32_t number, struct vol *v, struct vol *made)
{
	life.figures.jobs++;
	if (st != ST_OK) {
		if (made)
			made->name[0] = '\0';
		return;
	}
	life.job = (struct life_job){number, op, v, made};
	if (op == STORAGE_MERGE || op == STORAGE_DELETE)
		v->making = BEING_REMOVED;
}

static struct storage_order order_of_kind(enum storage_op op, const struct vol *v, const struct vol *made)
{
	struct storage_order o = {.op = op, .bytes = life_lba_of(ZONES, 0) * SECTOR / 4096 * 4096 + 4096};

	if (op == STORAGE_RESIZE)
		o.bytes += life_below(64) * 4096;
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

		for (unsigned i = 0; a->busy && life_writes(a) && i < a->count; i++)
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
	enum storage_op op = ops[life_below(ARRAY_SIZE(ops))];
	struct vol *v = op == STORAGE_IMPORT ? &life.vols[0] : some_vol(), *made = NULL;
	struct storage_order o;
	struct error err;
	uint32_t number;
	enum status st;

	if (life.job.number || (v == &life.vols[0] && op != STORAGE_CREATE && op != STORAGE_IMPORT))
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
	st = storage_begin(life.storage, &o, &number, &err);
	if (made)
		made->frozen = op == STORAGE_SNAPSHOT;
	began(op, st, number, v, made);
}

static void look_at_job(void)
{
	struct storage_job_info info;

	if (!life.job.number)
		return;
	if (storage_job(life.storage, life.job.number, &info) != ST_OK)
		life_wrong("job %u is not known", life.job.number);
	if (!info.done)
		return;
	life.figures.jobs_done += info.status == ST_OK;
	if (info.status == ST_OK && life.job.made)
		life.job.made->making = HERE;
	if (info.status == ST_OK && (life.job.op == STORAGE_MERGE || life.job.op == STORAGE_DELETE))
		life.job.vol->name[0] = '\0';
	life.job.number = 0;
}

static void end_job(void)
{
	for (unsigned i = 0; life.job.number; i++) {
		life_go_on();
		look_at_job();
		if (i == 200000)
			life_wrong("operation %s does not end", storage_op_name(life.job.op));
	}
}

/* ---- power ---- */

static void switch_on(void)
{
	struct storage_domain *d;
	struct error err;

	if (storage_create(&vm_rig.machine, &err) != ST_OK)
		life_wrong("no storage: %s", err.text);
	life.storage = vm_rig.machine.storage;
	if (storage_add_domain(life.storage, "ide0", &d, &err) != ST_OK || storage_add_disk(life.storage, d, "disk0", &life.disk.device, &err) != ST_OK)
		life_wrong("no disk: %s", err.text);
}

static void switch_off(void)
{
	for (unsigned i = 0; i < USERS; i++)
		if (life.users[i].on)
			life_unplug(&life.users[i]);
	end_job();
	for (unsigned i = 0; i < 2000; i++)
		life_go_on(); /* commits that are under way */
	storage_destroy(&vm_rig.machine);
}

static bool keep(void *ctx)
{
	(void)ctx;
	return life_once_in(2);
}

static struct io_segment segment;
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

	segment = (struct io_segment){out, SECTOR};
	back = from->backend->submit(from->backend_ctx, &r);
	fake_host.ops.unmask(masked);
	for (unsigned i = 0; !back; i++) {
		life_go_on();
		if (i == 100000)
			life_wrong("a read of %s does not end", name);
	}
	if (r.status != ST_OK)
		life_wrong("sector %llu of %s cannot be read after a cut", (unsigned long long)lba, name);
}

/* What there is now is known, and durable: the power was gone. */
static void check_vol(struct vol *v)
{
	struct vm_disk *d = &life.users[0].vm->config.disks[0];
	struct vm_disk_source from;
	uint8_t data[SECTOR];
	struct error err;

	memcpy(d->volume, v->name, sizeof v->name);
	d->read_only = true;
	if (storage_disk_ops.open(life.storage, life.users[0].vm, d, &from, &err) != ST_OK)
		life_wrong("%s cannot be opened after a cut: %s", v->name, err.text);
	for (unsigned zone = 0; zone < ZONES; zone++)
		for (unsigned i = 0; i < ZONE_SECTORS; i++) {
			struct sector *c = &v->sectors[zone][i];
			uint32_t value;

			read_sector(&from, life_lba_of(zone, i), data, v->name);
			value = life_value_of(v, c, data, life_lba_of(zone, i));
			*c = (struct sector){.durable = value, .now = value};
			life.figures.checked++;
		}
	storage_disk_ops.close(life.storage, &from);
}

/* What is left of an import that the power failed in: nobody opens it, and it can be deleted. */
static void check_half(struct vol *v)
{
	struct storage_order o = {.op = STORAGE_DELETE};
	struct vm_disk *d = &life.users[0].vm->config.disks[0];
	struct vm_disk_source from;
	struct error err;
	uint32_t number;
	enum status st;

	memcpy(d->volume, v->name, sizeof v->name);
	if (v->making == HERE)
		life_wrong("%s was imported, and is not whole after a cut", v->name);
	if (storage_disk_ops.open(life.storage, life.users[0].vm, d, &from, &err) != ST_BAD_STATE)
		life_wrong("%s is not whole, and can be opened", v->name);
	memcpy(o.volume, v->name, sizeof o.volume);
	/* Merges and deletions that the power failed in go on first. */
	for (unsigned i = 0; (st = storage_begin(life.storage, &o, &number, &err)) == ST_BUSY && i < 10000; i++)
		life_go_on();
	if (st != ST_OK)
		life_wrong("%s is not whole, and cannot be deleted: %s", v->name, err.text);
	life.job = (struct life_job){number, STORAGE_DELETE, v, NULL};
	end_job();
	life.figures.halves++;
}

static void check_all(void)
{
	struct storage_info info;
	struct error err;

	for (unsigned i = 0; i < VOLUMES; i++) {
		struct vol *v = &life.vols[i];
		bool there;

		if (!v->name[0])
			continue;
		there = storage_find(life.storage, v->name, &info, &err) == ST_OK;
		if (there && i > 0 && info.state == LAYER_FILLING)
			check_half(v);
		if (there && i > 0 && info.state != LAYER_LIVE && info.state != LAYER_FROZEN)
			there = false; /* on its way */
		if (!there && v->making == HERE)
			life_wrong("%s is gone after a cut: %s", v->name, err.text);
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
	life.disk.cut_at = life.disk.writes + 1 + life_below(40);
	for (unsigned i = 0; !life.disk.dead && i < 400; i++) {
		struct user *u = &life.users[life_below(USERS)];

		if (u->on)
			life_ask_zone(u);
		if (u->on && life_once_in(4))
			life_ask_flush(u);
		life_world();
		for (unsigned n = 0; n < USERS; n++)
			if (life.users[n].on)
				life_collect(&life.users[n]);
		look_at_job();
	}
	life.disk.dead = true;
	switch_off();
	fault_disk_power_on(&life.disk, keep, NULL);
	life.figures.cuts++;
	switch_on();
	check_all();
}

/* ---- a life ---- */

static void trouble(void)
{
	switch (life_below(5)) {
	case 0:
		life.disk.fail_from = life.disk.requests + 1 + life_below(20);
		life.disk.fail_count = 1 + life_below(3);
		break;
	case 1:
		life.disk.bad_first = RAW_FIRST + life_below(RAW_SECTORS);
		life.disk.bad_count = life_below(16);
		break;
	case 2:
		life.disk.fail_flushes = true;
		break;
	default:
		life.disk.fail_from = life.disk.bad_count = 0;
		life.disk.fail_flushes = false;
	}
}

static void give_space(struct user *u)
{
	unsigned long masked;

	life.figures.starved += u->starved;
	u->starved = false;
	masked = fake_host.ops.mask();
	virtio_blk_retry(u->blk);
	fake_host.ops.unmask(masked);
}

static void use(struct user *u)
{
	if (!u->on)
		life_plug(u, some_vol());
	else if (life_once_in(100))
		life_unplug(u);
	else if (life_once_in(60)) {
		life_reset(u);
		life_bring_up(u);
	} else if (u->starved)
		give_space(u);
	else if (life_once_in(8))
		life_ask_flush(u);
	else
		life_ask_zone(u);
}

/* An import may be ended. */
static void think_better(void)
{
	struct error err;

	if (life.job.number && storage_cancel(life.storage, life.job.number, &err) == ST_OK && life.job.op != STORAGE_IMPORT)
		life_wrong("a %s was ended", storage_op_name(life.job.op));
}

static void step(void)
{
	uint64_t what = life_below(200);
	struct user *u = &life.users[life_below(USERS)];

	if (what < 70)
		use(u);
	else if (what < 160)
		life_world();
	else if (what < 180)
		look_at_job();
	else if (what < 190)
		operate();
	else if (what < 194)
		life_quiesce(u);
	else if (what < 196 && life_once_in(6))
		trouble();
	else if (what == 196 && life_once_in(2))
		think_better();
	else if (what == 199 && life_once_in(3))
		cut();
	for (unsigned i = 0; i < USERS; i++)
		if (life.users[i].on)
			life_collect(&life.users[i]);
}

static void begin(void)
{
	struct error err;

	vm_rig_init(RAM);
	fault_disk_init(&life.disk, (uint64_t)DISK_SECTORS * SECTOR, SECTOR);
	table_mbr_entry(life.disk.view, 0, 0x83, RAW_FIRST, RAW_SECTORS);
	table_mbr_entry(life.disk.view, 1, 0x83, POOL_FIRST, POOL_SECTORS);
	memcpy(life.disk.platter, life.disk.view, SECTOR);
	memset(life.vols, 0, sizeof life.vols);
	memset(life.users, 0, sizeof life.users);
	memset(&life.job, 0, sizeof life.job);
	life.last_value = 0;
	life.last_name = 0;
	snprintf(life.vols[0].name, sizeof life.vols[0].name, "%s", RAW);
	switch_on();
	if (storage_format_pool(life.storage, POOL, 99, &err) != ST_OK)
		life_wrong("no pool: %s", err.text);
	for (unsigned i = 0; i < USERS; i++) {
		static const char *const names[USERS] = {"a", "b", "c"};
		struct vm_config cfg = vm_rig_config(names[i], 1 << 20);

		cfg.disk_count = 1;
		vm_disk_init(&cfg.disks[0]);
		strcpy(cfg.disks[0].name, "d");
		strcpy(cfg.disks[0].volume, RAW);
		if (vm_define(&vm_rig.machine, &cfg, &life.users[i].vm, &err) != ST_OK)
			life_wrong("no VM: %s", err.text);
	}
}

void storage_life(const struct life_source *source, unsigned steps, struct life_figures *out)
{
	life.source = *source;
	life.figures = (struct life_figures){0};
	begin();
	for (unsigned i = 0; i < steps; i++)
		step();
	cut();
	switch_off();
	fault_disk_fini(&life.disk);
	vm_rig_fini();
	*out = life.figures;
}
