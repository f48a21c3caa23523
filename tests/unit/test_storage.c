/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's storage over the real memory manager, scheduler and I/O
 * scheduler: volumes come and go with their memory; disks of VMs are served by their
 * numbers and by those of their pools, also when these change while requests
 * wait; a disk that does not interrupt is looked at; the host's own way beside them;
 * pools of layers, their operations, imports, and VMs that wait for space.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "guest/storage.h"
#include "guest/storage_internal.h"
#include "tests/fakes/fault_disk.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/no_boot.h"
#include "tests/fakes/partition_tables.h"
#include "tests/fakes/storage_rig.h"
#include "tests/fakes/vm_rig.h"

#define RAM (128ull << 20)
#define MIB (1ull << 20)
#define SECTOR 512u
#define REQUESTS 32u

static struct storage *s;
static struct error err;
static uint64_t hz = VM_RIG_HZ;

struct asked {
	struct block_request r;
	struct io_segment segment;
	uint8_t data[4096];
	bool back;
	uint64_t at; /* tick of its end */
};

static struct asked asked[2][REQUESTS];

/* ---- the machine ---- */

static int setup(void **state)
{
	(void)state;
	fake_engine.caps.virtual_interrupts = false;
	vm_rig_init(RAM);
	memset(asked, 0, sizeof asked);
	assert_int_equal(storage_create(&vm_rig.machine, &err), ST_OK);
	s = vm_rig.machine.storage;
	return 0;
}

static void destroy_vms(void)
{
	struct vm *vm;

	while ((vm = vm_next(&vm_rig.machine, NULL))) {
		if (vm->state == VM_RUNNING || vm->state == VM_PAUSED)
			assert_int_equal(vm_stop(vm, &err), ST_OK);
		assert_int_equal(vm_destroy(vm, &err), ST_OK);
	}
}

static int teardown(void **state)
{
	(void)state;
	destroy_vms();
	storage_destroy(&vm_rig.machine);
	vm_rig_fini();
	return 0;
}

static struct vm *define(const char *name, const char *volume, uint64_t limit)
{
	struct vm_config cfg = vm_rig_config(name, 4 * MIB);
	struct vm *vm;

	cfg.disk_count = 1;
	vm_disk_init(&cfg.disks[0]);
	strcpy(cfg.disks[0].name, "root");
	strcpy(cfg.disks[0].volume, volume);
	cfg.disks[0].numbers.limit = limit;
	assert_int_equal(vm_define(&vm_rig.machine, &cfg, &vm, &err), ST_OK);
	return vm;
}

static enum status open_disk(struct vm *vm, struct vm_disk_source *out)
{
	return storage_disk_ops.open(s, vm, &vm->config.disks[0], out, &err);
}

static void close_disk(struct vm_disk_source *d) { storage_disk_ops.close(s, d); }

/* ---- requests ---- */

static void came_back(struct block_request *r)
{
	struct asked *a = container_of(r, struct asked, r);

	assert_true(fake_host.mask_depth > 0);
	a->back = true;
	a->at = fake_host.ops.clock->ticks();
}

static struct asked *ask(struct vm_disk_source *d, struct asked *a, enum block_op op, uint64_t lba, uint32_t bytes)
{
	unsigned long masked = fake_host.ops.mask();

	a->segment = (struct io_segment){a->data, bytes};
	a->r = (struct block_request){.op = op, .lba = lba, .count = bytes / d->disk->sector_bytes, .segments = &a->segment,
				      .segment_count = 1, .complete = came_back};
	a->back = false;
	assert_int_equal(block_check(d->disk, &a->r, &err), ST_OK);
	if (d->backend->submit(d->backend_ctx, &a->r))
		came_back(&a->r);
	fake_host.ops.unmask(masked);
	return a;
}

static enum status do_one(struct vm_disk_source *d, enum block_op op, uint64_t lba, uint32_t bytes)
{
	struct asked *a = ask(d, &asked[0][0], op, lba, bytes);

	storage_rig_run();
	assert_true(a->back);
	return a->r.status;
}

static void put(struct vm_disk_source *d, uint64_t lba, uint8_t value)
{
	memset(asked[0][0].data, value, 4096);
	assert_int_equal(do_one(d, BLOCK_WRITE, lba, 4096), ST_OK);
}

static uint8_t get(struct vm_disk_source *d, uint64_t lba)
{
	memset(asked[0][0].data, 0xaa, 4096);
	assert_int_equal(do_one(d, BLOCK_READ, lba, 4096), ST_OK);
	for (unsigned i = 1; i < 4096; i++)
		assert_int_equal(asked[0][0].data[i], asked[0][0].data[0]);
	return asked[0][0].data[0];
}

static uint64_t memory(void)
{
	struct storage_totals t;

	storage_totals(s, &t);
	return t.memory;
}

/* ---- volumes ---- */

static void memory_comes_and_goes(void **state)
{
	uint64_t before = memory(), promised = vm_rig.machine.committed;
	struct storage_info info;

	(void)state;
	assert_int_equal(storage_add_ram(s, "scratch", 0, &err), ST_INVALID);
	assert_int_equal(storage_add_ram(s, "scratch", MIB + 512, &err), ST_INVALID);
	assert_int_equal(storage_add_ram(s, "-scratch", MIB, &err), ST_INVALID);
	assert_int_equal(storage_add_ram(s, "scratch", MIB, &err), ST_OK);
	assert_int_equal(storage_add_ram(s, "scratch", MIB, &err), ST_EXISTS);
	assert_true(memory() >= before + MIB);
	assert_int_equal(vm_rig.machine.committed - promised, memory() - before);
	assert_int_equal(storage_find(s, "scratch", &info, &err), ST_OK);
	assert_true(info.bytes == MIB && info.kind == VOLUME_RAM && !info.read_only && info.users == 0);
	assert_int_equal(storage_next(s, "", &info), ST_OK);
	assert_string_equal(info.name, "scratch");
	assert_int_equal(storage_next(s, "scratch", &info), ST_NOT_FOUND);
	assert_int_equal(storage_remove(s, "scratch", &err), ST_OK);
	assert_int_equal(storage_remove(s, "scratch", &err), ST_NOT_FOUND);
	assert_int_equal(memory(), before);
	assert_int_equal(vm_rig.machine.committed, promised);
}

static void what_does_not_fit_is_not_admitted(void **state)
{
	uint64_t before = memory();

	(void)state;
	vm_rig.machine.capacity = vm_rig.machine.committed + 2 * MIB;
	assert_int_equal(storage_add_ram(s, "large", 4 * MIB, &err), ST_NOT_ADMITTED);
	assert_non_null(strstr(err.text, "large"));
	assert_int_equal(memory(), before);
	vm_rig.machine.capacity = vm_rig.machine.committed;
	assert_int_equal(storage_add_ram(s, "small", PAGE_SIZE, &err), ST_NOT_ADMITTED);
	assert_int_equal(memory(), before);
}

static void a_vm_has_its_volume_for_itself(void **state)
{
	struct vm_disk_source a, b;
	struct storage_info info;
	struct vm *one, *two;

	(void)state;
	assert_int_equal(storage_add_ram(s, "data", MIB, &err), ST_OK);
	one = define("one", "data", RLS_UNLIMITED);
	two = define("two", "data", RLS_UNLIMITED);
	assert_int_equal(open_disk(define("lost", "nothing", RLS_UNLIMITED), &a), ST_NOT_FOUND);
	assert_non_null(strstr(err.text, "nothing"));
	assert_int_equal(open_disk(one, &a), ST_OK);
	assert_int_equal(open_disk(two, &b), ST_BUSY);
	assert_non_null(strstr(err.text, "VM one"));
	assert_int_equal(storage_remove(s, "data", &err), ST_BUSY);
	put(&a, 8, 0x5a);
	assert_int_equal(get(&a, 8), 0x5a);
	assert_int_equal(storage_find(s, "data", &info, &err), ST_OK);
	assert_string_equal(info.user, "VM one");
	close_disk(&a);
	/* Together, if nobody writes. */
	one->config.disks[0].read_only = two->config.disks[0].read_only = true;
	assert_int_equal(open_disk(one, &a), ST_OK);
	assert_int_equal(open_disk(two, &b), ST_OK);
	assert_true(a.disk->read_only);
	assert_int_equal(get(&b, 8), 0x5a);
	close_disk(&a);
	close_disk(&b);
	assert_int_equal(storage_remove(s, "data", &err), ST_OK);
}

static void figures_outlive_their_user(void **state)
{
	struct iosched_figures f;
	struct vm_disk_source d;
	struct vm *vm;

	(void)state;
	assert_int_equal(storage_add_ram(s, "data", MIB, &err), ST_OK);
	vm = define("one", "data", RLS_UNLIMITED);
	assert_int_equal(storage_disk_figures(s, vm, 0, &f), ST_BAD_STATE);
	assert_int_equal(open_disk(vm, &d), ST_OK);
	put(&d, 0, 1);
	put(&d, 8, 2);
	(void)get(&d, 0);
	assert_int_equal(storage_disk_figures(s, vm, 0, &f), ST_OK);
	assert_true(f.requests[BLOCK_WRITE] == 2 && f.requests[BLOCK_READ] == 1 && f.bytes_written == 8192);
	f.bytes_written = 0;
	storage_disk_ops.figures(s, &d, &f);
	assert_true(f.requests[BLOCK_WRITE] == 2 && f.requests[BLOCK_READ] == 1 && f.bytes_written == 8192);
	close_disk(&d);
	assert_int_equal(storage_figures(s, "data", &f, &err), ST_OK);
	assert_true(f.requests[BLOCK_WRITE] == 2 && f.requests[BLOCK_READ] == 1 && f.bytes_written == 8192);
}

/* ---- numbers ---- */

/* How many of @count reads, all asked for now, have ended after @ms. */
static unsigned ended(const struct asked *a, unsigned count)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++)
		n += a[i].back;
	return n;
}

static void ask_many(struct vm_disk_source *d, struct asked *a)
{
	for (unsigned i = 0; i < REQUESTS; i++)
		(void)ask(d, &a[i], BLOCK_READ, 8 * i, 4096);
}

static void a_limit_holds_and_may_change(void **state)
{
	struct vm_disk_source d;
	uint64_t start;
	struct vm *vm;

	(void)state;
	assert_int_equal(storage_add_ram(s, "data", MIB, &err), ST_OK);
	vm = define("one", "data", 100);
	assert_int_equal(open_disk(vm, &d), ST_OK);
	start = fake_host.ops.clock->ticks();
	ask_many(&d, asked[0]);
	/* 100 a second: 10 more in each 100 ms, by the alarm alone. */
	storage_rig_run_until(start + hz / 10);
	assert_in_range(ended(asked[0], REQUESTS), 10, 13);
	vm->config.disks[0].numbers.limit = 1000;
	storage_changed(s);
	fake_host_advance(start + hz / 10 - fake_host.ops.clock->ticks());
	storage_rig_run_until(start + hz / 10 + hz / 100);
	assert_in_range(ended(asked[0], REQUESTS), 19, 25);
	storage_rig_run();
	assert_int_equal(ended(asked[0], REQUESTS), REQUESTS);
	assert_true(asked[0][REQUESTS - 1].at < start + hz / 10 + hz / 40);
	close_disk(&d);
}

static void define_pool(const char *name, const char *parent, uint64_t limit)
{
	struct pool_config cfg;
	struct pool *p;

	pool_config_init(&cfg);
	strcpy(cfg.name, name);
	strcpy(cfg.parent, parent);
	cfg.io.numbers.limit = limit;
	assert_int_equal(pool_define(&vm_rig.machine, &cfg, &p, &err), ST_OK);
}

static void a_pool_is_limited_as_a_whole(void **state)
{
	struct pool *outer, *inner;
	struct vm_disk_source a, b;
	struct pool_config moved;
	uint64_t start;
	struct vm *one, *two;

	(void)state;
	assert_int_equal(storage_add_ram(s, "base", MIB, &err), ST_OK);
	define_pool("outer", "", 100);
	define_pool("inner", "outer", RLS_UNLIMITED);
	outer = pool_find(&vm_rig.machine, "outer");
	inner = pool_find(&vm_rig.machine, "inner");
	one = define("one", "base", RLS_UNLIMITED);
	two = define("two", "base", RLS_UNLIMITED);
	strcpy(one->config.pool, "inner");
	strcpy(two->config.pool, "outer");
	one->config.disks[0].read_only = two->config.disks[0].read_only = true;
	assert_int_equal(open_disk(one, &a), ST_OK);
	assert_int_equal(open_disk(two, &b), ST_OK);
	start = fake_host.ops.clock->ticks();
	ask_many(&a, asked[0]);
	ask_many(&b, asked[1]);
	storage_rig_run_until(start + hz / 10);
	assert_in_range(ended(asked[0], REQUESTS) + ended(asked[1], REQUESTS), 10, 14);
	assert_true(ended(asked[0], REQUESTS) >= 4 && ended(asked[1], REQUESTS) >= 4);

	/* The inner pool leaves the outer one, with what waits in it: nothing holds it back. */
	moved = inner->config;
	moved.parent[0] = '\0';
	assert_int_equal(pool_change(inner, &moved, &err), ST_OK);
	storage_rig_run_until(start + hz / 10);
	assert_int_equal(ended(asked[0], REQUESTS), REQUESTS);
	assert_true(ended(asked[1], REQUESTS) < REQUESTS);

	/* And the other VM goes to the root. */
	two->config.pool[0] = '\0';
	storage_rig_run_until(start + hz / 10);
	assert_int_equal(ended(asked[1], REQUESTS), REQUESTS);
	assert_int_equal(pool_remove(outer, &err), ST_OK);
	one->config.pool[0] = '\0';
	storage_changed(s);
	close_disk(&a);
	close_disk(&b);
}

static void a_pools_limit_may_change(void **state)
{
	struct vm_disk_source d;
	struct pool *p;
	uint64_t start;
	struct vm *vm;

	(void)state;
	assert_int_equal(storage_add_ram(s, "data", MIB, &err), ST_OK);
	define_pool("edge", "", 100);
	p = pool_find(&vm_rig.machine, "edge");
	vm = define("one", "data", RLS_UNLIMITED);
	strcpy(vm->config.pool, "edge");
	assert_int_equal(open_disk(vm, &d), ST_OK);
	start = fake_host.ops.clock->ticks();
	ask_many(&d, asked[0]);
	storage_rig_run_until(start + hz / 20);
	assert_in_range(ended(asked[0], REQUESTS), 5, 8);
	p->config.io.numbers.limit = RLS_UNLIMITED;
	storage_rig_run_until(start + hz / 20);
	assert_int_equal(ended(asked[0], REQUESTS), REQUESTS);
	close_disk(&d);
	vm->config.pool[0] = '\0';
}

/* ---- slow disks ---- */

static void a_model_is_as_slow_as_it_says(void **state)
{
	struct model_config cfg = {.iops_max = 0, .service_ns = 10000000, .depth = 1};
	struct vm_disk_source d;
	uint64_t start;
	struct vm *vm;

	(void)state;
	assert_int_equal(storage_add_ram(s, "fast", MIB, &err), ST_OK);
	assert_int_equal(storage_add_model(s, "slow", "fast", &(struct model_config){.depth = 0}, &err), ST_INVALID);
	assert_int_equal(storage_add_model(s, "slow", "fast", &cfg, &err), ST_OK);
	assert_int_equal(storage_remove(s, "fast", &err), ST_BUSY);
	vm = define("one", "slow", RLS_UNLIMITED);
	assert_int_equal(open_disk(vm, &d), ST_OK);
	start = fake_host.ops.clock->ticks();
	ask_many(&d, asked[0]);
	storage_rig_run();
	assert_int_equal(ended(asked[0], REQUESTS), REQUESTS);
	assert_in_range(asked[0][REQUESTS - 1].at - start, REQUESTS * hz / 100, REQUESTS * hz / 100 + hz / 1000);
	cfg.service_ns = 1000000;
	assert_int_equal(storage_set_model(s, "slow", &cfg, &err), ST_OK);
	assert_int_equal(storage_set_model(s, "fast", &cfg, &err), ST_INVALID);
	start = fake_host.ops.clock->ticks();
	ask_many(&d, asked[0]);
	storage_rig_run();
	assert_in_range(asked[0][REQUESTS - 1].at - start, REQUESTS * hz / 1000, REQUESTS * hz / 1000 + hz / 1000);
	close_disk(&d);
	assert_int_equal(storage_remove(s, "slow", &err), ST_OK);
	assert_int_equal(storage_remove(s, "fast", &err), ST_OK);
}

/* ---- host disks ---- */

#define DISK_BYTES (16 * MIB)
#define DISK_SECTORS (DISK_BYTES / SECTOR)
#define PART_FIRST 2048u
#define PART_SECTORS 4096u

static struct fault_disk disk;

static void add_disk(void)
{
	struct storage_domain *d;

	fault_disk_init(&disk, DISK_BYTES, SECTOR);
	table_gpt(disk.view, DISK_SECTORS, SECTOR, 128, PART_FIRST, PART_FIRST + PART_SECTORS - 1);
	memcpy(disk.platter, disk.view, DISK_BYTES);
	assert_int_equal(storage_add_domain(s, "ide0", &d, &err), ST_OK);
	assert_int_equal(storage_add_disk(s, d, "disk0", &disk.device, &err), ST_OK);
}

static int teardown_disk(void **state)
{
	(void)teardown(state);
	fault_disk_fini(&disk);
	return 0;
}

static void partitions_are_volumes(void **state)
{
	struct vm_disk_source d;
	struct storage_info info;
	struct vm *vm;

	(void)state;
	add_disk();
	assert_int_equal(storage_find(s, "disk0", &info, &err), ST_OK);
	assert_true(info.kind == VOLUME_DISK && info.bytes == DISK_BYTES);
	assert_int_equal(storage_find(s, "disk0:1", &info, &err), ST_OK);
	assert_true(info.kind == VOLUME_PARTITION && info.bytes == (uint64_t)PART_SECTORS * SECTOR);
	assert_string_equal(info.domain, "ide0");
	/* The table's sixth entry has the same sectors. */
	assert_int_equal(storage_find(s, "disk0:6", &info, &err), ST_NOT_FOUND);
	assert_int_equal(storage_remove(s, "disk0:1", &err), ST_DENIED);
	vm = define("one", "disk0:1", RLS_UNLIMITED);
	assert_int_equal(open_disk(vm, &d), ST_OK);
	/* The disk tells nobody: the worker's looks bring it back. */
	put(&d, 16, 0x77);
	assert_int_equal(disk.view[(PART_FIRST + 16) * SECTOR], 0x77);
	assert_int_equal(get(&d, 16), 0x77);
	/* A VM's disk is not the whole of it, while a part is somebody's. */
	strcpy(vm->config.disks[0].volume, "disk0");
	assert_int_equal(open_disk(vm, &(struct vm_disk_source){0}), ST_BUSY);
	close_disk(&d);
}

static void a_disk_that_fails_says_so(void **state)
{
	struct vm_disk_source d;

	(void)state;
	add_disk();
	assert_int_equal(open_disk(define("one", "disk0:1", RLS_UNLIMITED), &d), ST_OK);
	disk.bad_first = PART_FIRST + 8;
	disk.bad_count = 1;
	assert_int_equal(do_one(&d, BLOCK_READ, 8, 4096), ST_IO);
	assert_int_equal(do_one(&d, BLOCK_READ, 16, 4096), ST_OK);
	close_disk(&d);
}

static void the_host_goes_beside_vms(void **state)
{
	struct block_device *mine;
	struct vm_disk_source d;
	uint8_t sector[SECTOR];
	struct block_range range;
	struct vm *vm;

	(void)state;
	add_disk();
	vm = define("one", "disk0:1", RLS_UNLIMITED);
	assert_int_equal(storage_host_range(s, "disk0", PART_FIRST, 8, "the store", &mine, &err), ST_OK);
	assert_int_equal(open_disk(vm, &d), ST_BUSY);
	assert_non_null(strstr(err.text, "the store"));
	range = (struct block_range){mine, PART_FIRST, 8};
	memset(sector, 0x3c, sizeof sector);
	assert_int_equal(block_run(&range, BLOCK_WRITE, 3, 1, sector, &err), ST_OK);
	assert_int_equal(disk.view[(PART_FIRST + 3) * SECTOR + 9], 0x3c);
	disk.bad_first = PART_FIRST + 3;
	disk.bad_count = 1;
	assert_int_equal(block_run(&range, BLOCK_READ, 3, 1, sector, &err), ST_IO);
	assert_non_null(strstr(err.text, disk.device.name));
	disk.bad_count = 0;
	assert_int_equal(block_run(&range, BLOCK_READ, 8, 1, sector, &err), ST_INVALID);
	assert_int_equal(fake_host.mask_depth, 0);
	/* For good, but for tests. */
	for (struct volume *v = volume_next(&s->volumes, NULL); v; v = volume_next(&s->volumes, v))
		while (volume_users(v) && v->kind == VOLUME_PARTITION)
			storage_client_close(container_of(list_entry(v->users.next, struct volume_user, link),
							  struct storage_client, user));
	storage_gate_release(container_of(mine, struct storage_gate, device), NULL);
}

/* ---- layers ---- */

static void make_pool(uint64_t bytes)
{
	assert_int_equal(storage_add_ram(s, "store", bytes, &err), ST_OK);
	assert_int_equal(storage_open_pool(s, "store", &err), ST_NOT_FOUND);
	assert_int_equal(storage_format_pool(s, "store", 0x1234, &err), ST_OK);
}

static void layers_are_made_cloned_and_deleted(void **state)
{
	struct vm_disk_source d, other;
	struct storage_info info;
	struct vm *vm, *two;

	(void)state;
	make_pool(8 * MIB);
	assert_int_equal(storage_rig_order(STORAGE_CREATE, "", "web", 16 * MIB, &err), ST_OK);
	assert_int_equal(storage_rig_order(STORAGE_CREATE, "", "web", 16 * MIB, &err), ST_EXISTS);
	assert_int_equal(storage_rig_order(STORAGE_CREATE, "", "store", 16 * MIB, &err), ST_EXISTS);
	assert_int_equal(storage_rig_order(STORAGE_DELETE, "none", "", 0, &err), ST_NOT_FOUND);
	vm = define("one", "web", RLS_UNLIMITED);
	assert_int_equal(open_disk(vm, &d), ST_OK);
	put(&d, 0, 1);
	assert_int_equal(storage_rig_order(STORAGE_DELETE, "web", "", 0, &err), ST_BUSY);
	assert_int_equal(storage_rig_order(STORAGE_SNAPSHOT, "web", "web@1", 0, &err), ST_OK);
	put(&d, 0, 2);
	assert_int_equal(storage_rig_order(STORAGE_CLONE, "web@1", "test", 0, &err), ST_OK);
	two = define("two", "test", RLS_UNLIMITED);
	assert_int_equal(open_disk(two, &other), ST_OK);
	assert_int_equal(get(&other, 0), 1);
	assert_int_equal(get(&d, 0), 2);
	assert_int_equal(storage_find(s, "test", &info, &err), ST_OK);
	assert_string_equal(info.parent, "web@1");
	assert_string_equal(info.pool, "store");
	assert_string_equal(info.user, "VM two");
	assert_int_equal(storage_rig_order(STORAGE_MERGE, "web@1", "", 0, &err), ST_BAD_STATE);
	close_disk(&other);
	assert_int_equal(storage_rig_order(STORAGE_DELETE, "test", "", 0, &err), ST_OK);
	assert_int_equal(storage_rig_order(STORAGE_MERGE, "web@1", "", 0, &err), ST_OK);
	assert_int_equal(get(&d, 0), 2);
	assert_int_equal(storage_close_pool(s, "store", &err), ST_BUSY);
	close_disk(&d);
	assert_int_equal(storage_remove(s, "store", &err), ST_BUSY);
	assert_non_null(strstr(err.text, "a pool with 1 "));
	assert_int_equal(storage_close_pool(s, "store", &err), ST_OK);
	assert_int_equal(storage_find(s, "web", &info, &err), ST_NOT_FOUND);
	assert_int_equal(storage_open_pool(s, "store", &err), ST_OK);
	assert_int_equal(open_disk(vm, &d), ST_OK);
	assert_int_equal(get(&d, 0), 2);
	close_disk(&d);
	/* An empty pool goes with its volume. */
	assert_int_equal(storage_rig_order(STORAGE_DELETE, "web", "", 0, &err), ST_OK);
	assert_int_equal(storage_remove(s, "store", &err), ST_OK);
	assert_int_equal(storage_find(s, "store", &info, &err), ST_NOT_FOUND);
}

#define LARGE_SECTORS 20480u

/* A partition that was made larger, as its table says at the next start. */
static void a_pool_takes_what_its_partition_has_gained(void **state)
{
	struct block_range before = {&disk.device, PART_FIRST, LARGE_SECTORS / 4 * 3};
	struct layer_pool_stats stats;
	struct storage_domain *d;

	(void)state;
	fault_disk_init(&disk, DISK_BYTES, SECTOR);
	table_gpt(disk.view, DISK_SECTORS, SECTOR, 128, PART_FIRST, PART_FIRST + LARGE_SECTORS - 1);
	assert_int_equal(layer_pool_format(&before, 7, &err), ST_OK);
	assert_int_equal(storage_add_domain(s, "ide0", &d, &err), ST_OK);
	assert_int_equal(storage_add_disk(s, d, "disk0", &disk.device, &err), ST_OK);
	storage_rig_run();
	assert_int_equal(storage_pool_stats(s, "disk0:1", &stats, &err), ST_OK);
	assert_true(stats.clusters * LAYER_CLUSTER_BYTES > LARGE_SECTORS / 4 * 3 * SECTOR);
	assert_int_equal(stats.clusters_free, stats.clusters);
	assert_true(stats.commits > 0);
	/* And has it from then on. */
	assert_int_equal(storage_close_pool(s, "disk0:1", &err), ST_OK);
	assert_int_equal(storage_open_pool(s, "disk0:1", &err), ST_OK);
	storage_rig_run();
	assert_int_equal(storage_pool_stats(s, "disk0:1", &stats, &err), ST_OK);
	assert_int_equal(stats.commits, 0);
}

/* A text that declares several layers begins them in one go: a pool does one operation at a time. */
static void creations_wait_for_each_other(void **state)
{
	static const char *const names[] = {"a", "b", "c", "b"};
	struct storage_order o = {.op = STORAGE_CREATE, .bytes = MIB};
	struct storage_job_info info;
	struct storage_totals totals;
	uint32_t job[ARRAY_SIZE(names)], busy;
	struct storage_domain *d;

	(void)state;
	fault_disk_init(&disk, DISK_BYTES, SECTOR);
	assert_int_equal(storage_add_domain(s, "ide0", &d, &err), ST_OK);
	assert_int_equal(storage_add_disk(s, d, "disk0", &disk.device, &err), ST_OK);
	assert_int_equal(storage_format_pool(s, "disk0", 0x1234, &err), ST_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		strcpy(o.name, names[i]);
		assert_int_equal(storage_begin(s, &o, &job[i], &err), ST_OK);
	}
	storage_totals(s, &totals);
	assert_int_equal(totals.jobs, ARRAY_SIZE(names));
	/* What takes long waits for nobody. */
	o.op = STORAGE_SNAPSHOT;
	strcpy(o.volume, "a");
	assert_int_not_equal(storage_begin(s, &o, &busy, &err), ST_OK);
	storage_rig_run();
	for (unsigned i = 0; i < 3; i++) {
		struct storage_info volume;

		assert_int_equal(storage_job(s, job[i], &info), ST_OK);
		assert_true(info.done && info.status == ST_OK);
		assert_int_equal(storage_find(s, names[i], &volume, &err), ST_OK);
	}
	assert_int_equal(storage_job(s, job[3], &info), ST_OK);
	assert_true(info.done && info.status == ST_EXISTS);
	assert_non_null(strstr(info.why, "'b'"));
}

static void a_layer_grows_while_it_is_used(void **state)
{
	struct vm_disk_source d;

	(void)state;
	make_pool(8 * MIB);
	assert_int_equal(storage_rig_order(STORAGE_CREATE, "", "web", MIB, &err), ST_OK);
	assert_int_equal(open_disk(define("one", "web", RLS_UNLIMITED), &d), ST_OK);
	assert_int_equal(d.disk->sectors, MIB / SECTOR);
	assert_int_equal(storage_rig_order(STORAGE_RESIZE, "web", "", 2 * MIB, &err), ST_OK);
	assert_int_equal(d.disk->sectors, 2 * MIB / SECTOR);
	put(&d, 2 * MIB / SECTOR - 8, 9);
	close_disk(&d);
}

static void the_list_has_everything_once(void **state)
{
	static const char *const names[] = {"store", "extra", "a", "b"};
	struct storage_info info = {.name = ""};
	struct vm_disk_source d;
	unsigned n = 0;

	(void)state;
	make_pool(8 * MIB);
	assert_int_equal(storage_add_ram(s, "extra", MIB, &err), ST_OK);
	assert_int_equal(storage_rig_order(STORAGE_CREATE, "", "a", MIB, &err), ST_OK);
	assert_int_equal(storage_rig_order(STORAGE_CREATE, "", "b", MIB, &err), ST_OK);
	assert_int_equal(open_disk(define("one", "b", RLS_UNLIMITED), &d), ST_OK);
	while (storage_next(s, info.name, &info) == ST_OK) {
		assert_true(n < ARRAY_SIZE(names));
		assert_string_equal(info.name, names[n]);
		assert_int_equal(info.is_pool, n == 0);
		n++;
	}
	assert_int_equal(n, ARRAY_SIZE(names));
	close_disk(&d);
}

static void an_import_copies_what_is_there(void **state)
{
	struct vm_disk_source d;
	struct storage_info info;
	struct vm *vm;

	(void)state;
	make_pool(8 * MIB);
	assert_int_equal(storage_add_ram(s, "image", 4 * MIB, &err), ST_OK);
	vm = define("one", "image", RLS_UNLIMITED);
	assert_int_equal(open_disk(vm, &d), ST_OK);
	put(&d, 0, 0x11);
	put(&d, 4 * MIB / SECTOR - 8, 0x22);
	assert_int_equal(storage_rig_order(STORAGE_IMPORT, "image", "copy", 0, &err), ST_BUSY);
	close_disk(&d);
	assert_int_equal(storage_rig_order(STORAGE_IMPORT, "image", "copy", 0, &err), ST_OK);
	assert_int_equal(storage_find(s, "copy", &info, &err), ST_OK);
	assert_int_equal(info.bytes, 4 * MIB);
	assert_int_equal(info.own_bytes, 2 * LAYER_CLUSTER_BYTES); /* not the zeroes between */
	assert_int_equal(info.users, 0);
	strcpy(vm->config.disks[0].volume, "copy");
	assert_int_equal(open_disk(vm, &d), ST_OK);
	assert_int_equal(get(&d, 0), 0x11);
	assert_int_equal(get(&d, 8), 0);
	assert_int_equal(get(&d, 4 * MIB / SECTOR - 8), 0x22);
	close_disk(&d);
}

static void an_import_that_fails_leaves_nothing(void **state)
{
	struct storage_order o = {.op = STORAGE_IMPORT, .volume = "disk0:1", .name = "copy"};
	struct storage_job_info info;
	struct storage_info volume;
	uint64_t before;
	uint32_t job;

	(void)state;
	make_pool(8 * MIB);
	add_disk();
	before = memory();
	memset(disk.view + PART_FIRST * SECTOR, 0x99, MIB);
	disk.bad_first = PART_FIRST + PART_SECTORS / 2 + 100;
	disk.bad_count = 8;
	assert_int_equal(storage_rig_order(STORAGE_IMPORT, "disk0:1", "copy", 0, &err), ST_IO);
	assert_true(err.text[0] != '\0');
	assert_int_equal(storage_find(s, "copy", &volume, &err), ST_NOT_FOUND);
	assert_int_equal(memory(), before);

	/* The operator thinks better of it. */
	disk.bad_count = 0;
	assert_int_equal(storage_begin(s, &o, &job, &err), ST_OK);
	for (unsigned i = 0; i < 20; i++) {
		enum sched_end end;

		(void)storage_step(s);
		(void)vm_rig_turn(&end);
		fake_host_advance(hz / 1000);
	}
	assert_int_equal(storage_job(s, job, &info), ST_OK);
	assert_true(!info.done && info.steps_total == PART_SECTORS * SECTOR && info.steps > 0 && info.steps < info.steps_total);
	assert_int_equal(storage_close_pool(s, "store", &err), ST_BUSY);
	assert_int_equal(storage_cancel(s, job, &err), ST_OK);
	storage_rig_run();
	assert_int_equal(storage_job(s, job, &info), ST_OK);
	assert_true(info.done && info.status == ST_BUSY);
	assert_int_equal(storage_cancel(s, job, &err), ST_BAD_STATE);
	assert_int_equal(storage_find(s, "copy", &volume, &err), ST_NOT_FOUND);
	assert_int_equal(memory(), before);
}

static void a_layer_stands_on_memory_of_another_domain(void **state)
{
	struct storage_order o = {.op = STORAGE_CREATE, .name = "top", .base = "image", .bytes = MIB};
	struct vm_disk_source d;
	struct storage_info info;
	struct vm *vm;
	uint32_t job;

	(void)state;
	make_pool(8 * MIB);
	assert_int_equal(storage_add_ram(s, "image", MIB, &err), ST_OK);
	vm = define("one", "image", RLS_UNLIMITED);
	assert_int_equal(open_disk(vm, &d), ST_OK);
	put(&d, 24, 0x42);
	close_disk(&d);
	assert_int_equal(storage_begin(s, &o, &job, &err), ST_OK);
	storage_rig_run();
	strcpy(vm->config.disks[0].volume, "top");
	assert_int_equal(open_disk(vm, &d), ST_OK);
	assert_int_equal(get(&d, 24), 0x42);
	put(&d, 24, 0x43);
	assert_int_equal(storage_remove(s, "image", &err), ST_BUSY);
	assert_int_equal(storage_find(s, "image", &info, &err), ST_OK);
	assert_string_equal(info.user, "top");
	close_disk(&d);
	assert_int_equal(storage_remove(s, "image", &err), ST_OK);
	assert_int_equal(open_disk(vm, &d), ST_NOT_FOUND);
	assert_non_null(strstr(err.text, "image"));
}

/* ---- space ---- */

static const struct fake_step halt[] = {{.exit = {.kind = EXIT_HLT}}};

static void a_full_volume_gets_space_and_its_vm_goes_on(void **state)
{
	struct vm_disk_source d, other;
	struct vm *vm, *fat;
	uint64_t lba = 0;

	(void)state;
	make_pool(4 * MIB);
	assert_int_equal(storage_rig_order(STORAGE_CREATE, "", "fat", 64 * MIB, &err), ST_OK);
	assert_int_equal(storage_rig_order(STORAGE_CREATE, "", "thin", 64 * MIB, &err), ST_OK);
	fat = define("fat", "fat", RLS_UNLIMITED);
	assert_int_equal(open_disk(fat, &other), ST_OK);
	while (do_one(&other, BLOCK_WRITE, lba, 4096) == ST_OK)
		lba += LAYER_CLUSTER_BYTES / SECTOR;
	assert_true(lba > 16 * LAYER_CLUSTER_BYTES / SECTOR);
	close_disk(&other);

	vm = vm_rig_start("thin", 4 * MIB);
	fake_play(vm->vcpus[0], halt, ARRAY_SIZE(halt));
	strcpy(vm->config.disks[0].volume, "thin");
	vm_disk_init(&vm->config.disks[0]);
	strcpy(vm->config.disks[0].volume, "thin");
	assert_int_equal(open_disk(vm, &d), ST_OK);
	assert_int_equal(do_one(&d, BLOCK_WRITE, 0, 4096), ST_OVER_LIMIT);
	vm_want_pause(vm); /* as its virtio device would */
	(void)vm_reap(&vm_rig.machine);
	assert_int_equal(vm->state, VM_PAUSED);
	storage_rig_run();
	assert_int_equal(vm->state, VM_PAUSED);
	assert_int_equal(storage_rig_order(STORAGE_DELETE, "fat", "", 0, &err), ST_OK);
	storage_rig_run();
	assert_int_equal(vm->state, VM_RUNNING);
	assert_int_equal(do_one(&d, BLOCK_WRITE, 0, 4096), ST_OK);

	/* A pause of the operator's is his. */
	assert_int_equal(vm_pause(vm, &err), ST_OK);
	storage_rig_run();
	assert_int_equal(vm->state, VM_PAUSED);
	close_disk(&d);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define D(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown_disk)
	const struct CMUnitTest tests[] = {
		T(memory_comes_and_goes), T(what_does_not_fit_is_not_admitted), T(a_vm_has_its_volume_for_itself),
		T(figures_outlive_their_user), T(a_limit_holds_and_may_change), T(a_pool_is_limited_as_a_whole),
		T(a_pools_limit_may_change), T(a_model_is_as_slow_as_it_says), D(partitions_are_volumes),
		D(a_disk_that_fails_says_so), D(the_host_goes_beside_vms),
		T(layers_are_made_cloned_and_deleted), D(creations_wait_for_each_other), T(a_layer_grows_while_it_is_used),
		D(a_pool_takes_what_its_partition_has_gained), T(the_list_has_everything_once), T(an_import_copies_what_is_there),
		D(an_import_that_fails_leaves_nothing), T(a_layer_stands_on_memory_of_another_domain),
		T(a_full_volume_gets_space_and_its_vm_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
