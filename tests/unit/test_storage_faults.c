/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks in trouble, through storage, its I/O schedulers and their workers: one that fails reads, writes or flushes,
 * that answers with garbage, late or not at all, or that is gone. The VM that has it is told so, and what neighbours
 * get of their disks, and how soon, stays as it was. And an import that the power fails in, at each of its writes.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/storage.h"
#include "guest/storage_internal.h"
#include "tests/fakes/fault_disk.h"
#include "tests/fakes/no_boot.h"
#include "tests/fakes/partition_tables.h"
#include "tests/fakes/storage_rig.h"
#include "tests/fakes/vm_rig.h"
#include "tests/model/random.h"

#define RAM (128ull << 20)
#define MIB (1ull << 20)
#define SECTOR 512u
#define DISK_BYTES (8 * MIB)
#define PART_FIRST 2048u
#define PART_SECTORS 4096u
#define BLOCK 4096u
#define DEPTH 12u  /* requests of a user at a time */
#define AT_DEVICE 4u

static struct storage *s;
static struct error err;
static const uint64_t hz = VM_RIG_HZ;

struct asked {
	struct block_request r;
	struct io_segment segment;
	uint8_t data[BLOCK];
	bool back;
	uint64_t began, ended; /* ticks */
};

/* A VM that asks for as much as it can. */
struct user {
	struct vm_disk_source disk;
	enum block_op op;
	struct asked asked[DEPTH];
	unsigned answers, failed;
	uint64_t worst; /* ticks */
};

enum { BAD, BESIDE, FAR, USERS }; /* on the disk in trouble, on it as well, on another one */
static struct user users[USERS];
static struct fault_disk disk, other;

/* ---- the machine ---- */

static int setup(void **state)
{
	(void)state;
	fake_engine.caps.virtual_interrupts = false;
	vm_rig_init(RAM);
	memset(users, 0, sizeof users);
	fault_disk_init(&disk, DISK_BYTES, SECTOR);
	fault_disk_init(&other, DISK_BYTES, SECTOR);
	assert_int_equal(storage_create(&vm_rig.machine, &err), ST_OK);
	s = vm_rig.machine.storage;
	return 0;
}

static int teardown(void **state)
{
	struct vm *vm;

	(void)state;
	while ((vm = vm_next(&vm_rig.machine, NULL)))
		assert_int_equal(vm_destroy(vm, &err), ST_OK);
	storage_destroy(&vm_rig.machine);
	fault_disk_fini(&disk);
	fault_disk_fini(&other);
	vm_rig_fini();
	return 0;
}

static uint64_t now(void) { return fake_host.ops.clock->ticks(); }

static struct vm *define(const char *name, const char *volume)
{
	struct vm_config cfg = vm_rig_config(name, 4 * MIB);
	struct vm *vm;

	cfg.disk_count = 1;
	vm_disk_init(&cfg.disks[0]);
	strcpy(cfg.disks[0].name, "root");
	strcpy(cfg.disks[0].volume, volume);
	assert_int_equal(vm_define(&vm_rig.machine, &cfg, &vm, &err), ST_OK);
	return vm;
}

static void open_for(struct user *u, const char *name, const char *volume)
{
	struct vm *vm = define(name, volume);

	assert_int_equal(storage_disk_ops.open(s, vm, &vm->config.disks[0], &u->disk, &err), ST_OK);
}

static void add_disk(const char *domain, const char *name, struct fault_disk *d)
{
	struct storage_domain *in;

	assert_int_equal(storage_add_domain(s, domain, &in, &err), ST_OK);
	assert_int_equal(storage_add_disk(s, in, name, &d->device, &err), ST_OK);
}

/* ---- requests ---- */

static void came_back(struct block_request *r)
{
	struct asked *a = container_of(r, struct asked, r);

	a->back = true;
	a->ended = now();
}

static void ask(struct vm_disk_source *d, struct asked *a, enum block_op op, uint64_t lba)
{
	unsigned long masked = fake_host.ops.mask();

	a->segment = (struct io_segment){a->data, BLOCK};
	a->r = (struct block_request){.op = op, .lba = lba, .count = op == BLOCK_FLUSH ? 0 : BLOCK / SECTOR,
				      .segments = &a->segment, .segment_count = op == BLOCK_FLUSH ? 0 : 1, .complete = came_back};
	a->back = false;
	a->began = now();
	if (d->backend->submit(d->backend_ctx, &a->r))
		came_back(&a->r);
	fake_host.ops.unmask(masked);
}

static enum status do_one(struct vm_disk_source *d, enum block_op op, uint64_t lba, uint8_t *data)
{
	static struct asked a;

	memcpy(a.data, data, BLOCK);
	ask(d, &a, op, lba);
	storage_rig_run();
	assert_true(a.back);
	memcpy(data, a.data, BLOCK);
	return a.r.status;
}

static void collect(struct user *u, bool again)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		struct asked *a = &u->asked[i];

		if (!a->back)
			continue;
		u->answers++;
		u->failed += a->r.status != ST_OK;
		u->worst = MAX(u->worst, a->ended - a->began);
		a->back = false;
		if (again)
			ask(&u->disk, a, u->op, 8 * i);
	}
}

static void pass(void)
{
	storage_rig_run_until(now() + hz / 10000);
	fake_host_advance(hz / 10000);
}

static void begin_all(void)
{
	for (unsigned k = 0; k < USERS; k++)
		for (unsigned i = 0; i < DEPTH; i++)
			ask(&users[k].disk, &users[k].asked[i], users[k].op, 8 * i);
}

/* All go on for @ticks. */
static void flood(uint64_t ticks)
{
	uint64_t end = now() + ticks;

	for (unsigned k = 0; k < USERS; k++) {
		users[k].answers = users[k].failed = 0;
		users[k].worst = 0;
	}
	while (now() < end) {
		pass();
		for (unsigned k = 0; k < USERS; k++)
			collect(&users[k], true);
	}
}

/* Nobody asks any more; what is under way comes back. */
static void end_all(void)
{
	pass();
	for (unsigned i = 0; i < 2000; i++) {
		for (unsigned k = 0; k < USERS; k++)
			collect(&users[k], false);
		pass();
	}
	for (unsigned k = 0; k < USERS; k++)
		storage_disk_ops.close(s, &users[k].disk);
}

/* ---- disks in trouble ---- */

static void fail_reads(void)
{
	disk.bad_first = PART_FIRST;
	disk.bad_count = PART_SECTORS;
}
static void fail_writes(void)
{
	fail_reads();
	disk.bad_writes = true;
}
static void fail_flushes(void) { disk.fail_flushes = true; }
static void fill_with_garbage(void) { disk.garbage = true; }
static void answer_late(void) { disk.late = true; }
static void go_away(void) { disk.gone = true; }

static const struct trouble {
	void (*begin)(void);
	enum block_op op;   /* what the VM asks for that has it */
	enum status status; /* that it gets */
	bool whole;         /* the whole disk: who is beside has it too */
	bool silent;        /* nothing is answered */
} troubles[] = {
	{fail_reads, BLOCK_READ, ST_IO, false, false},     {fail_writes, BLOCK_WRITE, ST_IO, false, false},
	{fail_flushes, BLOCK_FLUSH, ST_IO, false, false},  {fill_with_garbage, BLOCK_READ, ST_OK, false, false},
	{answer_late, BLOCK_READ, ST_OK, true, true},      {go_away, BLOCK_READ, ST_IO, true, false},
};

static void plug(const struct trouble *t)
{
	struct iosched_settings set;

	table_mbr_entry(disk.view, 0, 0x83, PART_FIRST, PART_SECTORS);
	table_mbr_entry(disk.view, 1, 0x83, PART_FIRST + PART_SECTORS, PART_SECTORS);
	memset(other.view, 0x3c, DISK_BYTES);
	add_disk("ide0", "disk0", &disk);
	add_disk("ide1", "disk2", &other);
	open_for(&users[BAD], "bad", "disk0:1");
	open_for(&users[BESIDE], "beside", "disk0:2");
	open_for(&users[FAR], "far", "disk2");
	users[BAD].op = t->op;
	users[BESIDE].op = users[FAR].op = BLOCK_READ;
	assert_int_equal(storage_get_settings(s, "disk0", &set, &err), ST_OK);
	set.depth_max = AT_DEVICE;
	assert_int_equal(storage_set_settings(s, "disk0", &set, &err), ST_OK);
}

/* As many answers as before, none later by more than 1 ms, and none of them an error. */
static void assert_unharmed(unsigned who, const struct user before[USERS])
{
	const struct user *u = &users[who], *then = &before[who];

	assert_true(then->answers > 100);
	assert_in_range(u->answers * 100 / then->answers, 95, 105);
	assert_true(u->worst <= then->worst + hz / 1000);
	assert_int_equal(u->failed, 0);
}

static void try_trouble(const struct trouble *t)
{
	static struct user before[USERS];

	plug(t);
	begin_all();
	flood(hz / 10);
	memcpy(before, users, sizeof before);
	assert_int_equal(users[BAD].failed + users[BESIDE].failed + users[FAR].failed, 0);
	t->begin();
	flood(hz / 50); /* what was under way before */
	flood(hz / 10);
	assert_unharmed(FAR, before);
	assert_int_equal(users[FAR].asked[0].data[0], 0x3c);
	if (!t->whole)
		assert_unharmed(BESIDE, before);
	if (t->silent)
		assert_int_equal(users[BAD].answers + users[BESIDE].answers, 0);
	else
		assert_int_equal(users[BAD].failed, t->status == ST_OK ? 0 : users[BAD].answers);
	assert_true(t->silent || users[BAD].answers > 100);
	/* It comes to itself, and all that waited is answered. */
	disk.late = disk.gone = disk.garbage = disk.fail_flushes = false;
	disk.bad_count = 0;
	flood(hz / 50);
	flood(hz / 10);
	for (unsigned k = 0; k < USERS; k++)
		assert_unharmed(k, before);
	end_all();
}

static void neighbours_of_a_disk_in_trouble(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(troubles); i++) {
		try_trouble(&troubles[i]);
		(void)teardown(state);
		(void)setup(state);
	}
}

/* ---- power that fails in an import ---- */

#define IMAGE (512u << 10)
static const uint64_t written[] = {0, 5, 40, 127}; /* blocks of the image that are not zeroes */

static void content(uint64_t block, uint8_t out[BLOCK])
{
	memset(out, 0, BLOCK);
	for (unsigned i = 0; i < ARRAY_SIZE(written); i++)
		if (written[i] == block)
			memset(out, (int)(0x10 + i), BLOCK);
}

static enum status open_named(struct vm *vm, const char *volume, struct vm_disk_source *out)
{
	strcpy(vm->config.disks[0].volume, volume);
	return storage_disk_ops.open(s, vm, &vm->config.disks[0], out, &err);
}

static void make_image(struct vm *vm)
{
	struct vm_disk_source d;
	uint8_t data[BLOCK];

	assert_int_equal(storage_add_ram(s, "image", IMAGE, &err), ST_OK);
	assert_int_equal(open_named(vm, "image", &d), ST_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(written); i++) {
		content(written[i], data);
		assert_int_equal(do_one(&d, BLOCK_WRITE, written[i] * (BLOCK / SECTOR), data), ST_OK);
	}
	storage_disk_ops.close(s, &d);
}

static void assert_whole(struct vm *vm)
{
	uint8_t data[BLOCK], want[BLOCK];
	struct vm_disk_source d;

	assert_int_equal(open_named(vm, "copy", &d), ST_OK);
	for (uint64_t block = 0; block < IMAGE / BLOCK; block++) {
		content(block, want);
		assert_int_equal(do_one(&d, BLOCK_READ, block * (BLOCK / SECTOR), data), ST_OK);
		assert_memory_equal(data, want, BLOCK);
	}
	storage_disk_ops.close(s, &d);
}

/* Nobody takes it for what it is not; it goes, and its name is free. */
static void assert_half(struct vm *vm)
{
	struct vm_disk_source d;

	assert_int_equal(open_named(vm, "copy", &d), ST_BAD_STATE);
	assert_non_null(strstr(err.text, "delete it"));
	assert_int_equal(storage_rig_order(STORAGE_SNAPSHOT, "copy", "s", 2 * MIB, &err), ST_BAD_STATE);
	assert_int_equal(storage_rig_order(STORAGE_CLONE, "copy", "s", 2 * MIB, &err), ST_BAD_STATE);
	assert_int_equal(storage_rig_order(STORAGE_RESIZE, "copy", "", 2 * MIB, &err), ST_BAD_STATE);
	assert_int_equal(storage_rig_order(STORAGE_DELETE, "copy", "", 2 * MIB, &err), ST_OK);
}

static bool keep(void *ctx)
{
	return ctx ? random_below(ctx, 2) : true;
}

static void power_fails(bool (*survives)(void *ctx), void *ctx)
{
	disk.dead = true;
	storage_destroy(&vm_rig.machine);
	fault_disk_power_on(&disk, survives, ctx);
	assert_int_equal(storage_create(&vm_rig.machine, &err), ST_OK);
	s = vm_rig.machine.storage;
	add_disk("ide0", "disk0", &disk);
}

struct ends {
	unsigned none, half, whole;
};

static void fresh_disk(void)
{
	storage_destroy(&vm_rig.machine);
	fault_disk_power_on(&disk, keep, NULL);
	memset(disk.view, 0, DISK_BYTES);
	table_mbr_entry(disk.view, 0, 0x83, PART_FIRST, DISK_BYTES / SECTOR - PART_FIRST);
	memcpy(disk.platter, disk.view, DISK_BYTES);
	assert_int_equal(storage_create(&vm_rig.machine, &err), ST_OK);
	s = vm_rig.machine.storage;
	add_disk("ide0", "disk0", &disk);
}

/* The power fails at write @n of an import; false: it was over before. */
static bool import_until(unsigned n, struct random_state *r, struct vm *vm, struct ends *ends)
{
	struct storage_info info;
	enum status st;
	bool cut;

	fresh_disk();
	assert_int_equal(storage_format_pool(s, "disk0:1", n, &err), ST_OK);
	make_image(vm);
	disk.cut_at = disk.writes + n;
	st = storage_rig_order(STORAGE_IMPORT, "image", "copy", 2 * MIB, &err);
	cut = disk.dead;
	assert_true(cut || st == ST_OK);
	/* Its last write is a superblock's: what is said to be done is done. */
	power_fails(keep, r);
	if (storage_find(s, "copy", &info, &err) != ST_OK) {
		ends->none++;
		assert_int_not_equal(st, ST_OK);
	} else if (info.state == LAYER_FILLING) {
		ends->half++;
		assert_int_not_equal(st, ST_OK);
		assert_half(vm);
	} else {
		ends->whole++;
		assert_whole(vm);
	}
	storage_rig_run();
	return cut;
}

static void the_power_fails_in_an_import(void **state)
{
	struct ends ends = {0, 0, 0};
	struct vm *vm = define("one", "image");
	struct random_state r = random_seed(11);

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		unsigned n = 1;

		/* All of what was not flushed is there, or some. */
		while (import_until(n, round ? &r : NULL, vm, &ends))
			n++;
		assert_true(n > 8);
	}
	assert_true(ends.none > 3 && ends.half > 10 && ends.whole > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(neighbours_of_a_disk_in_trouble, setup, teardown),
		cmocka_unit_test_setup_teardown(the_power_fails_in_an_import, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
