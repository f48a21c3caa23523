/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers against a table of what each sector may hold, over a disk that does
 * requests in any order and loses power. A round opens the pool, compares all
 * volumes, runs requests, several at a time, among snapshots, clones, merges and
 * deletions, and is cut at a random write: any subset of the 512-byte pieces
 * written since the disk's last flush survives. Then every sector must hold what
 * it held at the last flush that was acknowledged, or something written since;
 * a snapshot, what its volume held then; nobody, what is another's.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "io/layer.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "tests/fakes/fault_disk.h"
#include "tests/model/random.h"

#define RUNS 40
#define ROUNDS 12
#define STEPS_MAX 400u
#define DISK_BYTES (8u << 20)
#define BASE_BYTES (20u << 20)
#define VOLUME_BYTES (33u << 20)  /* three leaves */
#define SECTOR 512u
#define PER_CLUSTER (LAYER_CLUSTER_BYTES / SECTOR)
#define PER_BLOCK (LAYER_BLOCK_BYTES / SECTOR)
#define HOT 8u                    /* clusters that are used, in pairs */
#define SECTORS (HOT * PER_CLUSTER)
#define VOLUMES 6u
#define SLOTS 6u
#define RECENT 12u
#define COUNT_MAX 200u

static const uint32_t hot[HOT] = {0, 1, 255, 256, 300, 301, 511, 512};

struct sector {
	uint64_t durable;
	unsigned count;
	struct { uint64_t tag, done; } recent[RECENT]; /* done: number of the event, 0: not acknowledged */
};

struct vol {
	bool there, frozen, has_base;
	char name[LAYER_NAME_MAX];
	struct layer *layer;
	struct sector sector[SECTORS];
};

struct slot {
	struct block_request r;
	struct io_segment segment[3];
	struct vol *v;       /* NULL: free */
	unsigned first, count;
	uint64_t tag, began; /* tag of the first sector written; the event when a flush was submitted */
	uint8_t *data;
};

static struct fault_disk disk;
static struct block_range range;
static struct layer_pool *pool;
static void *memory;
static size_t memory_bytes;
static uint32_t cache_pages;
static struct vol vols[VOLUMES];
static struct slot slots[SLOTS];
static struct random_state *rnd;
static uint64_t next_tag, events;
static unsigned names;
static struct layer_op op;
static struct error err;
static uint8_t zeroes[SECTOR];

static struct {
	uint64_t cuts, cuts_in_merge, cuts_in_delete, merges, deletions, clones, snapshots, full, discards,
		copied, commits, loads, taken_up;
} seen;

/* ---- the base: sector n holds tag n + 1 ---- */

static void fill(uint8_t *p, uint64_t tag)
{
	for (unsigned i = 0; i < SECTOR; i += 8)
		put_le64(p + i, tag ? tag * 0x9e3779b97f4a7c15ull + i : 0);
}

static struct { struct block_device device; struct list held; } base;

static void base_submit(struct block_device *d, struct block_request *r)
{
	(void)d;
	r->done = false;
	list_push_back(&base.held, &r->link);
}

static bool base_poll(struct block_device *d)
{
	struct block_request *r;
	struct segment_cursor c;
	uint8_t sector[SECTOR];

	(void)d;
	if (list_empty(&base.held))
		return false;
	r = list_entry(base.held.next, struct block_request, link);
	list_remove(&r->link);
	c = block_begin(r);
	for (uint64_t i = 0; i < r->count; i++) {
		fill(sector, r->lba + i + 1);
		segment_copy_to(&c, sector, SECTOR);
	}
	block_complete(r, ST_OK);
	return true;
}

static const struct block_ops base_ops = {.submit = base_submit, .poll = base_poll};

static uint64_t lba_of(unsigned sector)
{
	return (uint64_t)hot[sector / PER_CLUSTER] * PER_CLUSTER + sector % PER_CLUSTER;
}

/* ---- what may be there ---- */

static uint64_t current(const struct sector *s)
{
	return s->count ? s->recent[s->count - 1].tag : s->durable;
}

/* A write to it found no space, and may have been done in part: resolve_full() looks. */
static bool is_open(const struct sector *s)
{
	for (unsigned i = 0; i < s->count; i++)
		if (!s->recent[i].done)
			return true;
	return false;
}

static void settle(struct sector *s, uint64_t tag)
{
	s->durable = tag;
	s->count = 0;
}

/* A flush that was submitted at event @began is done. */
static void all_durable(struct vol *v, uint64_t began)
{
	for (unsigned i = 0; i < SECTORS; i++) {
		struct sector *s = &v->sector[i];
		unsigned last = 0;

		for (unsigned k = 0; k < s->count; k++)
			if (s->recent[k].done && s->recent[k].done < began)
				last = k + 1;
		if (!last)
			continue;
		s->durable = s->recent[last - 1].tag;
		memmove(s->recent, s->recent + last, (s->count - last) * sizeof s->recent[0]);
		s->count -= last;
	}
}

/* ---- requests ---- */

static bool overlaps(const struct vol *v, unsigned first, unsigned count)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (slots[i].v == v && slots[i].count && first < slots[i].first + slots[i].count &&
		    slots[i].first < first + count)
			return true;
	return false;
}

static void check_read(const struct slot *s)
{
	for (unsigned i = 0; i < s->count; i++) {
		const struct sector *want = &s->v->sector[s->first + i];
		uint8_t sector[SECTOR];

		if (is_open(want))
			continue;
		fill(sector, current(want));
		if (memcmp(s->data + 7 + i * SECTOR, sector, SECTOR) != 0)
			fail_msg("%s: sector %llu is not what was written", s->v->name, (unsigned long long)lba_of(s->first + i));
	}
}

/* Whether the @i-th sector of @s is changed: a discard changes whole blocks. */
static bool covers(const struct slot *s, enum block_op kind, unsigned i)
{
	uint64_t start = lba_of(s->first), block = (start + i) / PER_BLOCK * PER_BLOCK;

	return kind != BLOCK_DISCARD || (block >= start && block + PER_BLOCK <= start + s->count);
}

static void complete(struct block_request *r)
{
	struct slot *s = container_of(r, struct slot, r);
	bool good = r->status == ST_OK;

	events++;
	if (!good && !disk.dead && r->status != ST_OVER_LIMIT)
		fail_msg("%s: operation %u ends with %s: %s", s->v->name, r->op, status_name(r->status), err.text);
	seen.full += r->status == ST_OVER_LIMIT;
	if (good && r->op == BLOCK_READ)
		check_read(s);
	else if (good && r->op == BLOCK_FLUSH)
		all_durable(s->v, s->began);
	/* What found no space may have been done in part: resolve_full() looks. */
	for (unsigned i = 0; good && r->op != BLOCK_READ && r->op != BLOCK_FLUSH && i < s->count; i++) {
		struct sector *at = &s->v->sector[s->first + i];

		if (covers(s, r->op, i))
			at->recent[at->count - 1].done = events;
	}
	s->v = NULL;
}

static bool has_room(const struct vol *v, unsigned first, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (v->sector[first + i].count == RECENT)
			return false;
	return true;
}

static void note_write(struct slot *s, enum block_op kind)
{
	for (unsigned i = 0; i < s->count; i++) {
		struct sector *at = &s->v->sector[s->first + i];

		if (!covers(s, kind, i))
			continue;
		at->recent[at->count].tag = kind == BLOCK_WRITE ? s->tag + i : 0;
		at->recent[at->count++].done = 0;
	}
}

/* Memory in three pieces of odd sizes. */
static void make_request(struct slot *s, enum block_op kind)
{
	uint32_t bytes = s->count * SECTOR, cut = 1 + (uint32_t)random_below(rnd, bytes - 1);

	s->segment[0] = (struct io_segment){s->data, 7};
	s->segment[1] = (struct io_segment){s->data + 7, cut};
	s->segment[2] = (struct io_segment){s->data + 7 + cut, bytes - cut};
	s->r = (struct block_request){.op = kind, .lba = lba_of(s->first), .count = s->count, .segments = s->segment + 1,
				      .segment_count = 2, .complete = complete, .error = &err, .unmap = random_below(rnd, 2)};
	if (random_below(rnd, 2)) {
		/* Or the first segment begins before the request. */
		s->segment[1] = (struct io_segment){s->data, 7 + cut};
		s->r.skip = 7;
	}
}

static void submit(struct slot *s, enum block_op kind)
{
	struct block_device *d = layer_device(s->v->layer);

	if (block_check(d, &s->r, &err) != ST_OK)
		fail_msg("%s", err.text);
	seen.discards += kind == BLOCK_DISCARD;
	d->ops->submit(d, &s->r);
	if (s->r.done)
		complete(&s->r);
}

static void random_place(struct slot *s)
{
	static const unsigned sizes[] = {1, 3, 8, 16, 40, 128, 200};
	unsigned n = sizes[random_below(rnd, ARRAY_SIZE(sizes))];

	/* Pairs of clusters are neighbours: requests may cross from one to the other. */
	s->first = (unsigned)random_below(rnd, SECTORS);
	if (random_below(rnd, 2))
		s->first = s->first / PER_BLOCK * PER_BLOCK;
	s->count = MIN(MIN(n, COUNT_MAX), 2 * PER_CLUSTER - s->first % (2 * PER_CLUSTER));
}

static void do_request(void)
{
	static const enum block_op kinds[] = {BLOCK_READ, BLOCK_READ, BLOCK_WRITE, BLOCK_WRITE, BLOCK_WRITE, BLOCK_WRITE,
					      BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES};
	struct slot *s = &slots[random_below(rnd, SLOTS)];
	struct vol *v = &vols[random_below(rnd, VOLUMES)];
	enum block_op kind = kinds[random_below(rnd, ARRAY_SIZE(kinds))];

	if (s->v || !v->there || !v->layer || (v->frozen && kind != BLOCK_READ))
		return;
	random_place(s);
	if (overlaps(v, s->first, s->count) || (kind != BLOCK_READ && kind != BLOCK_FLUSH && !has_room(v, s->first, s->count)))
		return;
	s->v = v;
	s->tag = next_tag;
	s->began = ++events;
	make_request(s, kind);
	if (kind == BLOCK_FLUSH) {
		s->count = 0;
		s->r.count = 0;
	} else if (kind == BLOCK_WRITE) {
		next_tag += s->count;
		for (unsigned i = 0; i < s->count; i++)
			fill(s->data + 7 + i * SECTOR, s->tag + i);
	}
	if (kind != BLOCK_READ && kind != BLOCK_FLUSH)
		note_write(s, kind);
	submit(s, kind);
}

/* ---- time ---- */

static unsigned pick(void *ctx, unsigned count)
{
	(void)ctx;
	return (unsigned)random_below(rnd, count);
}

static void poll_some(unsigned times)
{
	while (times-- > 0)
		layer_pool_poll(pool);
}

static void drain(void)
{
	for (unsigned i = 0; !layer_pool_is_idle(pool) && !disk.dead; i++) {
		layer_pool_poll(pool);
		if (i > 100000)
			fail_msg("requests do not end");
	}
}

/* What a write left that found no space: read it. */
static void resolve_full(struct vol *v)
{
	struct block_range all = {layer_device(v->layer), 0, VOLUME_BYTES / SECTOR};
	uint8_t got[SECTOR], want[SECTOR];

	for (unsigned i = 0; i < SECTORS && !disk.dead; i++) {
		struct sector *s = &v->sector[i];
		bool found = false;

		if (!is_open(s))
			continue;
		if (block_run(&all, BLOCK_READ, lba_of(i), 1, got, &err) != ST_OK)
			return;
		for (unsigned k = s->count + 1; k-- > 0 && !found;) {
			uint64_t tag = k ? s->recent[k - 1].tag : s->durable;

			fill(want, tag);
			found = memcmp(want, got, SECTOR) == 0;
			if (found && k < s->count) {
				/* The old is what is current: as if it had been written again. */
				for (unsigned m = k; m < s->count; m++)
					s->recent[m].done = 0;
				if (s->count < RECENT) {
					s->recent[s->count].tag = tag;
					s->recent[s->count++].done = ++events;
				}
			} else if (found) {
				s->recent[k - 1].done = ++events;
			}
		}
		if (!found)
			fail_msg("%s: sector %llu holds what nobody wrote", v->name, (unsigned long long)lba_of(i));
	}
}

/* ---- operations ---- */

static bool finish(enum status began)
{
	if (began != ST_OK)
		return false;
	for (unsigned i = 0; !op.done && !disk.dead; i++) {
		if (random_below(rnd, 3) == 0)
			do_request();
		layer_pool_poll(pool);
		if (i > 200000)
			fail_msg("an operation does not end");
	}
	if (op.done && op.status != ST_OK && !disk.dead && op.status != ST_OVER_LIMIT)
		fail_msg("an operation ends with %s: %s", status_name(op.status), op.err.text);
	return op.done && op.status == ST_OK;
}

static struct vol *free_vol(void)
{
	for (unsigned i = 0; i < VOLUMES; i++)
		if (!vols[i].there)
			return &vols[i];
	return NULL;
}

static void open_vol(struct vol *v)
{
	if (layer_open(pool, v->name, v->has_base ? &base.device : NULL, &v->layer, &err) != ST_OK)
		fail_msg("%s", err.text);
}

/* Until nothing of @v is under way; what a base has, the pool does not know of. */
static void wait_for(const struct vol *v)
{
	for (unsigned i = 0; i < SLOTS; i++)
		while (slots[i].v == v && !disk.dead)
			layer_pool_poll(pool);
}

static void close_vol(struct vol *v)
{
	wait_for(v);
	drain();
	if (disk.dead || !v->layer)
		return;
	layer_close(v->layer);
	v->layer = NULL;
}

/* Of any length: a snapshot's may be shorter than its volume's. */
static void new_name(struct vol *v)
{
	snprintf(v->name, sizeof v->name, "%.*s%u", (int)(names * 5 % 17 + 1), "a-volume-of-mine.", names);
	names++;
}

static void do_create(void)
{
	struct vol *v = free_vol();

	if (!v)
		return;
	memset(v, 0, sizeof *v);
	v->has_base = random_below(rnd, 2);
	new_name(v);
	for (unsigned i = 0; v->has_base && i < SECTORS; i++)
		settle(&v->sector[i], lba_of(i) < BASE_BYTES / SECTOR ? lba_of(i) + 1 : 0);
	v->there = true; /* perhaps, should the power fail now */
	if (finish(layer_create(pool, v->name, VOLUME_BYTES, v->has_base ? "base" : NULL, &op, &err)))
		open_vol(v);
	else if (!disk.dead)
		v->there = false;
}

/* A volume whose content is known, with what its requests may have left open resolved. */
static struct vol *quiet_vol(bool frozen)
{
	struct vol *v = &vols[random_below(rnd, VOLUMES)];

	if (!v->there || v->frozen != frozen || !v->layer)
		return NULL;
	wait_for(v);
	if (!disk.dead)
		resolve_full(v);
	return disk.dead ? NULL : v;
}

static void do_snapshot(void)
{
	struct vol *v = quiet_vol(false), *s = free_vol();
	uint64_t began = ++events;
	char name[LAYER_NAME_MAX];
	enum status st;

	if (!v || !s)
		return;
	*s = *v;
	s->layer = NULL;
	s->frozen = true;
	new_name(s);
	strcpy(name, s->name);
	st = layer_snapshot(pool, v->name, name, &op, &err);
	if (st != ST_OK && st != ST_OVER_LIMIT)
		fail_msg("%s", err.text);
	/* Writes that come while it waits may be in it or not: none come to this volume. */
	for (unsigned i = 0; st == ST_OK && !op.done && !disk.dead && i < 100000; i++)
		layer_pool_poll(pool);
	if (st == ST_OK && op.done && op.status == ST_OK) {
		all_durable(s, began);
		all_durable(v, began);
		open_vol(s);
		seen.snapshots++;
	} else if (!disk.dead || st != ST_OK) {
		s->there = false;
	}
}

static void do_clone(void)
{
	struct vol *from = quiet_vol(true), *v = free_vol();

	if (!from || !v)
		return;
	*v = *from;
	v->layer = NULL;
	v->frozen = false;
	new_name(v);
	if (finish(layer_clone(pool, from->name, v->name, &op, &err))) {
		open_vol(v);
		seen.clones++;
	} else if (!disk.dead) {
		v->there = false;
	}
}

static unsigned children(const struct vol *v)
{
	struct layer_info info;

	return layer_find(pool, v->name, &info, &err) == ST_OK ? info.children : 99;
}

static void do_delete_or_merge(bool merge)
{
	struct vol *v = &vols[random_below(rnd, VOLUMES)];
	enum status st;

	if (!v->there || children(v) != merge || (merge && !v->frozen) || disk.dead)
		return;
	close_vol(v);
	if (disk.dead)
		return;
	st = merge ? layer_merge(pool, v->name, &op, &err) : layer_delete(pool, v->name, &op, &err);
	if (st != ST_OK)
		fail_msg("%s", err.text);
	if (finish(st)) {
		v->there = false;
		seen.merges += merge;
		seen.deletions += !merge;
	} else if (disk.dead) {
		seen.cuts_in_merge += merge;
		seen.cuts_in_delete += !merge;
		v->there = false; /* it goes on, or has not begun: see compare_all() */
	}
}

static void step(void)
{
	unsigned what = (unsigned)random_below(rnd, 200);

	if (what < 3)
		do_create();
	else if (what < 8)
		do_snapshot();
	else if (what < 11)
		do_clone();
	else if (what < 15)
		do_delete_or_merge(true);
	else if (what < 17)
		do_delete_or_merge(false);
	else if (what < 130)
		do_request();
	else
		poll_some(1 + (unsigned)random_below(rnd, 8));
}

/* ---- comparing ---- */

static void compare_sector(struct vol *v, unsigned i, const uint8_t *got)
{
	struct sector *s = &v->sector[i];
	uint64_t candidates[RECENT + 1];
	uint8_t want[SECTOR];

	candidates[0] = s->durable;
	for (unsigned k = 0; k < s->count; k++)
		candidates[k + 1] = s->recent[k].tag;
	for (unsigned k = 0; k <= s->count; k++) {
		fill(want, candidates[k]);
		if (memcmp(want, got, SECTOR) == 0) {
			settle(s, candidates[k]);
			return;
		}
	}
	fail_msg("%s: sector %llu (%u) holds neither what was flushed nor what was written since: tag %llu, %u since", v->name,
		 (unsigned long long)lba_of(i), i, (unsigned long long)s->durable, s->count);
}

static void compare(struct vol *v)
{
	static uint8_t got[PER_CLUSTER * SECTOR];
	struct block_range all = {layer_device(v->layer), 0, VOLUME_BYTES / SECTOR};

	for (unsigned i = 0; i < SECTORS; i++) {
		if (i % PER_CLUSTER == 0 && block_run(&all, BLOCK_READ, lba_of(i), PER_CLUSTER, got, &err) != ST_OK)
			fail_msg("%s: %s", v->name, err.text);
		compare_sector(v, i, got + i % PER_CLUSTER * SECTOR);
	}
	/* Nothing was ever written here. */
	if (block_run(&all, BLOCK_READ, (VOLUME_BYTES - LAYER_BLOCK_BYTES) / SECTOR, 1, got, &err) != ST_OK ||
	    memcmp(got, zeroes, SECTOR) != 0)
		fail_msg("%s: something is where nothing was written", v->name);
}

static bool is_known(const char *name)
{
	for (unsigned i = 0; i < VOLUMES; i++)
		if (vols[i].there && strcmp(vols[i].name, name) == 0)
			return true;
	return false;
}

/* Layers that an operation has left that the power failed in; they go, so that the table and the pool agree. */
static void remove_unknown(void)
{
	struct layer_info info;
	unsigned next = 0;
	enum status st;

	while (layer_list(pool, next, &info, &next) == ST_OK) {
		if (is_known(info.name))
			continue;
		st = info.children == 1 ? layer_merge(pool, info.name, &op, &err) : layer_delete(pool, info.name, &op, &err);
		if (st != ST_OK)
			fail_msg("%s: %s", info.name, err.text);
		while (!op.done)
			layer_pool_poll(pool);
		if (op.status != ST_OK)
			fail_msg("%s: %s", info.name, op.err.text);
		next = 0;
	}
}

static void compare_all(void)
{
	struct layer_info info;

	for (unsigned i = 0; i < VOLUMES; i++) {
		struct vol *v = &vols[i];

		if (!v->there)
			continue;
		v->layer = NULL;
		if (layer_find(pool, v->name, &info, &err) != ST_OK) {
			/* Only what was being made may be missing. */
			if (strcmp(op.err.text, v->name) != 0)
				fail_msg("volume %s is gone", v->name);
			v->there = false;
			continue;
		}
		v->frozen = info.state != LAYER_LIVE;
		open_vol(v);
		compare(v);
	}
}

/* ---- rounds ---- */

static bool keep(void *ctx) { return random_below(rnd, 100) < *(unsigned *)ctx; }

static void cut(void)
{
	static const unsigned chances[] = {0, 100, 50, 90, 10};
	unsigned chance = chances[random_below(rnd, ARRAY_SIZE(chances))];
	struct layer_pool_stats stats;

	layer_pool_stats(pool, &stats);
	seen.commits += stats.commits;
	seen.loads += stats.page_loads;
	seen.copied += stats.copied_blocks;
	seen.cuts += disk.dead;
	disk.dead = true;
	fault_disk_power_on(&disk, keep, &chance);
	list_init(&base.held);
	for (unsigned i = 0; i < SLOTS; i++)
		slots[i].v = NULL;
	memset(memory, 0xa5, memory_bytes); /* nothing of it may be relied upon */
}

/* What is being made, and may be missing afterwards, is marked by its name in op.err. */
static const char *in_the_making(void)
{
	for (unsigned i = 0; i < VOLUMES; i++)
		if (vols[i].there && !vols[i].layer)
			return vols[i].name;
	return "";
}

static void open_pool(void)
{
	if (layer_pool_open(&range, memory, memory_bytes, cache_pages, &pool, &err) != ST_OK)
		fail_msg("not opened after a cut: %s", err.text);
}

static void one_round(void)
{
	unsigned steps = 1 + (unsigned)random_below(rnd, STEPS_MAX);
	char making[LAYER_NAME_MAX];

	open_pool();
	compare_all();
	seen.taken_up += !layer_pool_is_idle(pool);
	drain();
	remove_unknown();
	disk.cut_at = disk.writes + 1 + random_below(rnd, 2 * steps);
	for (unsigned i = 0; i < steps && !disk.dead; i++) {
		step();
		if (!disk.dead && !layer_pool_check(pool, &err))
			fail_msg("%s", err.text);
	}
	strcpy(making, in_the_making());
	cut();
	strcpy(op.err.text, making);
}

static void run(struct random_state *r)
{
	rnd = r;
	fault_disk_init(&disk, DISK_BYTES, SECTOR);
	disk.device.max_count = 65536 / SECTOR;
	disk.pick = pick;
	range = fault_disk_range(&disk);
	base.device = (struct block_device){.ops = &base_ops, .name = "base", .sector_bytes = SECTOR, .max_count = 2048,
					    .sectors = BASE_BYTES / SECTOR, .read_only = true};
	list_init(&base.held);
	cache_pages = LAYER_CACHE_MIN + (uint32_t)random_below(r, 40);
	memory_bytes = layer_pool_memory(&range, cache_pages);
	memory = aligned_alloc(4096, align_up(memory_bytes, 4096));
	memset(vols, 0, sizeof vols);
	next_tag = 1u << 30;
	op = (struct layer_op){.complete = NULL};
	for (unsigned i = 0; i < SLOTS; i++)
		slots[i] = (struct slot){.data = malloc(COUNT_MAX * SECTOR + 7)};
	assert_int_equal(layer_pool_format(&range, random_next(r), &err), ST_OK);
	for (unsigned i = 0; i < ROUNDS; i++)
		one_round();
	open_pool();
	compare_all();
	for (unsigned i = 0; i < SLOTS; i++)
		free(slots[i].data);
	free(memory);
	fault_disk_fini(&disk);
}

static void random_operations_and_cuts(void **state)
{
	(void)state;
	random_runs(RUNS, run);
	/* What the runs must have been through to mean anything. */
	if (!getenv("MODEL_SEED") && !getenv("MODEL_RUNS")) {
		assert_true(seen.cuts > 80 && seen.cuts_in_merge > 15 && seen.cuts_in_delete > 8 && seen.taken_up > 0);
		assert_true(seen.merges > 80 && seen.clones > 40 && seen.snapshots > 150 && seen.full > 5);
		assert_true(seen.discards > 1000 && seen.copied > 4000 && seen.loads > 4000);
	} else {
		fprintf(stderr,
			"cuts %llu (merge %llu, delete %llu), merges %llu, deletions %llu, clones %llu, "
			"snapshots %llu, full %llu, discards %llu, copied %llu, commits %llu, loads %llu, again %llu\n",
			(unsigned long long)seen.cuts, (unsigned long long)seen.cuts_in_merge,
			(unsigned long long)seen.cuts_in_delete, (unsigned long long)seen.merges,
			(unsigned long long)seen.deletions, (unsigned long long)seen.clones, (unsigned long long)seen.snapshots,
			(unsigned long long)seen.full, (unsigned long long)seen.discards, (unsigned long long)seen.copied,
			(unsigned long long)seen.commits, (unsigned long long)seen.loads, (unsigned long long)seen.taken_up);
	}
}

static void give_up(const char *text)
{
	fprintf(stderr, "%s\n", text);
	abort();
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(random_operations_and_cuts)};

	panic_set_handler(give_up);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
