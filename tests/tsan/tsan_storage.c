/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage between CPUs: three that submit for their VMs and look at what comes back, one that has the domains' workers
 * and all timers, and the control task, which snapshots, merges and deletes what they use, changes their numbers and
 * reads their figures. And a VM's I/O worker, asked by many and taken off and put back meanwhile. What was written is
 * read, nothing is lost, and ThreadSanitizer sees every access.
 */
#include "tests/cmocka_all.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "guest/storage_internal.h"
#include "guest/vm_internal.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/fault_disk.h"
#include "tests/fakes/vm_rig.h"
#include "tests/tsan/threads.h"

#define RAM (96ull << 20)
#define MIB (1ull << 20)
#define TICK 2000u         /* between two looks at the clock */
#define CPUS 5u
#define CONTROL 0u
#define WORKER 1u
#define USERS (CPUS - 2)
#define TIMERS 64u
#define ROUNDS 250u        /* of a user: a write, a read of it, now and then a flush */
#define BLOCK 4096u
#define BLOCKS 40u         /* of a user */
#define OPERATIONS 30u

static struct host_cpu cpus[THREADS_MAX];
static struct timer *slots[THREADS_MAX][TIMERS];
static uint64_t ticks;
static unsigned notified, working;
static struct storage *s;
static struct fault_disk disk;
static struct vm_disk_source source[USERS];
static struct vm *vms[USERS];
static struct error err;

/* ---- a host of several CPUs ---- */

static uint64_t read_ticks(void) { return __atomic_add_fetch(&ticks, TICK, __ATOMIC_RELAXED); }
static const struct clock clock_of_all = {.ticks = read_ticks, .hz = VM_RIG_HZ};
static struct host_cpu *this_cpu(void) { return &cpus[thread_self()->cpu]; }
static unsigned long mask(void) { return 0; }
static void unmask(unsigned long state) { (void)state; }
static void poll(void) {}
static void timers_changed(void) {}
static void notify(void) { __atomic_fetch_add(&notified, 1, __ATOMIC_RELAXED); }

static void make_host(void)
{
	memset(&fake_pc, 0, sizeof fake_pc);
	vm_rig_init(RAM);
	fake_host.ops.clock = &clock_of_all;
	fake_host.ops.this_cpu = this_cpu;
	fake_host.ops.mask = mask;
	fake_host.ops.unmask = unmask;
	fake_host.ops.poll = poll;
	fake_host.ops.timers_changed = timers_changed;
	fake_host.ops.notify = notify;
	for (unsigned i = 0; i < THREADS_MAX; i++)
		host_cpu_init(&cpus[i], i, slots[i], TIMERS);
}

static bool others_work(void) { return __atomic_load_n(&working, __ATOMIC_ACQUIRE) != 0; }
static void comes_to_its_end(void) { __atomic_fetch_sub(&working, 1, __ATOMIC_RELEASE); }

/* ---- disks ---- */

struct ask {
	struct block_request r;
	struct io_segment segment;
	uint8_t data[BLOCK];
	bool back; /* atomic */
};

static void came_back(struct block_request *r)
{
	__atomic_store_n(&container_of(r, struct ask, r)->back, true, __ATOMIC_RELEASE);
}

static void finish_one(struct ask *a, struct vm_disk_source *d, enum block_op op, uint64_t block)
{
	a->segment = (struct io_segment){a->data, BLOCK};
	a->r = (struct block_request){.op = op, .lba = block * (BLOCK / 512), .count = op == BLOCK_FLUSH ? 0 : BLOCK / 512,
				      .segments = &a->segment, .segment_count = 1, .complete = came_back};
	a->back = false;
	if (d->backend->submit(d->backend_ctx, &a->r))
		a->back = true;
	while (!__atomic_load_n(&a->back, __ATOMIC_ACQUIRE))
		sched_yield();
	assert_int_equal(a->r.status, ST_OK);
}

static void use(struct thread *t)
{
	struct vm_disk_source *d = &source[t->cpu - 2];
	uint8_t version[BLOCKS] = {0};
	static struct ask asks[USERS];
	struct ask *a = &asks[t->cpu - 2];

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned block = (unsigned)random_below(&t->random, BLOCKS);

		if (random_below(&t->random, 2)) {
			memset(a->data, ++version[block], BLOCK);
			finish_one(a, d, BLOCK_WRITE, block);
		}
		memset(a->data, 0xee, BLOCK);
		finish_one(a, d, BLOCK_READ, block);
		for (unsigned k = 0; k < BLOCK; k += 512)
			assert_int_equal(a->data[k], version[block]);
		if (i % 16 == 0)
			finish_one(a, d, BLOCK_FLUSH, 0);
	}
}

static void work(void)
{
	for (unsigned i = 0; i < CPUS; i++) {
		lock_acquire(&cpus[i].timers_lock);
		timerq_run(&cpus[i].timers, read_ticks());
		lock_release(&cpus[i].timers_lock);
	}
	for (unsigned i = 0; i < 2; i++)
		(void)storage_domain_step(s->domains[i]);
	sched_yield();
}

/* ---- the control task ---- */

static void must(enum status st)
{
	if (st != ST_OK)
		fail_msg("%s: %s", status_name(st), err.text);
}

static uint32_t began(enum storage_op op, const char *volume, const char *name)
{
	struct storage_order o = {.op = op, .bytes = MIB};
	uint32_t job;

	strcpy(o.volume, volume);
	strcpy(o.name, name);
	return storage_begin(s, &o, &job, &err) == ST_OK ? job : 0;
}

static void until_done(uint32_t job)
{
	struct storage_job_info info = {.done = false};

	while (job && !info.done) {
		(void)storage_step(s);
		assert_int_equal(storage_job(s, job, &info), ST_OK);
		sched_yield();
	}
}

static void operate(struct thread *t)
{
	struct iosched_figures f;
	struct storage_info info;
	char name[16];

	for (unsigned i = 0; i < OPERATIONS; i++) {
		snprintf(name, sizeof name, "s%u", i);
		until_done(began(STORAGE_SNAPSHOT, "a", name));
		until_done(began(STORAGE_CLONE, name, "clone"));
		vms[random_below(&t->random, USERS)]->config.disks[0].numbers.shares = 1 + (uint32_t)random_below(&t->random, 999);
		storage_changed(s);
		for (unsigned k = 0; k < USERS; k++)
			storage_disk_ops.figures(s, &source[k], &f);
		must(storage_find(s, name, &info, &err));
		until_done(began(STORAGE_DELETE, "clone", ""));
		until_done(began(STORAGE_MERGE, name, ""));
	}
}

static void body(struct thread *t)
{
	if (t->cpu == WORKER) {
		while (others_work())
			work();
		return;
	}
	if (t->cpu == CONTROL)
		operate(t);
	else
		use(t);
	comes_to_its_end();
}

/* ---- the test ---- */

/* Before there are threads, and when they are gone. */
static void alone(uint32_t job)
{
	struct storage_job_info info = {.done = false};

	while (!info.done) {
		work();
		(void)storage_step(s);
		assert_int_equal(storage_job(s, job, &info), ST_OK);
	}
	assert_int_equal(info.status, ST_OK);
}

static void open_for(unsigned i, const char *volume)
{
	static const char *const names[USERS] = {"one", "two", "three"};
	struct vm_config cfg = vm_rig_config(names[i], MIB);

	cfg.disk_count = 1;
	vm_disk_init(&cfg.disks[0]);
	strcpy(cfg.disks[0].name, "d");
	strcpy(cfg.disks[0].volume, volume);
	must(vm_define(&vm_rig.machine, &cfg, &vms[i], &err));
	must(storage_disk_ops.open(s, vms[i], &vms[i]->config.disks[0], &source[i], &err));
}

static void make_storage(void)
{
	const struct model_config slow = {.service_ns = 20000, .depth = 4};
	struct storage_domain *d;

	must(storage_create(&vm_rig.machine, &err));
	s = vm_rig.machine.storage;
	fault_disk_init(&disk, 12 * MIB, 512);
	must(storage_add_domain(s, "ide0", &d, &err));
	must(storage_add_disk(s, d, "disk0", &disk.device, &err));
	must(storage_format_pool(s, "disk0", 5, &err));
	must(storage_add_ram(s, "ram", MIB, &err));
	must(storage_add_model(s, "slow", "ram", &slow, &err));
	alone(began(STORAGE_CREATE, "", "a"));
	alone(began(STORAGE_CREATE, "", "b"));
	open_for(0, "a");
	open_for(1, "b");
	open_for(2, "slow");
}

static void disks_and_operations(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		make_host();
		make_storage();
		working = CPUS - 1;
		threads_run(CPUS, seed, seed % 2, body, NULL);
		for (unsigned i = 0; i < 100; i++)
			work();
		for (unsigned i = 0; i < USERS; i++)
			storage_disk_ops.close(s, &source[i]);
		for (unsigned i = 0; i < 100; i++)
			work();
		storage_destroy(&vm_rig.machine);
		fault_disk_fini(&disk);
		vm_rig_fini();
	}
}

/* ---- a VM's worker ---- */

#define WORKS 4u
#define ASKS 2000u
#define PAUSES 60u

static struct worked {
	struct vm_io_work work;
	unsigned asked, seen; /* atomic */
} works[WORKS];
static struct vm *vm;

static bool step(struct vm_io_work *w)
{
	struct worked *mine = container_of(w, struct worked, work);

	__atomic_store_n(&mine->seen, __atomic_load_n(&mine->asked, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
	return false;
}

static enum status plug(struct vm *of)
{
	for (unsigned i = 0; i < WORKS; i++) {
		works[i] = (struct worked){.work = {.step = step}};
		if (vm_io_add(&of->io, &works[i].work) != ST_OK)
			return ST_OVER_LIMIT;
	}
	return ST_OK;
}

/* Each is seen before it asks again, however often the worker was off meanwhile. */
static void ask(struct thread *t)
{
	struct worked *mine = &works[t->cpu - 2];

	for (unsigned i = 1; i <= ASKS; i++) {
		__atomic_store_n(&mine->asked, i, __ATOMIC_RELEASE);
		vm_io_ask(&mine->work);
		while (__atomic_load_n(&mine->seen, __ATOMIC_ACQUIRE) != i)
			sched_yield();
	}
}

static void take_turns(void)
{
	struct sched *sched = vm_rig.machine.sched;

	while (others_work()) {
		uint64_t slice;
		struct sched_entity *e = sched_pick(sched, 0, read_ticks(), &slice);
		enum sched_end end;

		if (!e) {
			sched_yield();
			continue;
		}
		/* The vcpu has nothing to do. */
		end = e == &vm->io.entity ? e->run(e, slice) : SCHED_END_BLOCKED;
		sched_charge(sched, 0, read_ticks(), end);
		sched_release(sched, 0, e);
	}
}

static void worker_body(struct thread *t)
{
	if (t->cpu == WORKER) {
		take_turns();
		return;
	}
	for (unsigned i = 0; t->cpu == CONTROL && i < PAUSES; i++) {
		must(vm_pause(vm, &err));
		sched_yield();
		must(vm_resume(vm, &err));
	}
	if (t->cpu != CONTROL)
		ask(t);
	comes_to_its_end();
}

static void a_worker_that_is_taken_off(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 2; seed++) {
		make_host();
		fake_pc.plug = plug;
		vm = vm_rig_start("a", 4 * MIB);
		working = CPUS - 1;
		threads_run(CPUS, seed, seed % 2, worker_body, NULL);
		for (unsigned i = 0; i < CPUS - 2; i++)
			assert_int_equal(works[i].seen, ASKS);
		vm_rig_fini();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disks_and_operations),
		cmocka_unit_test(a_worker_that_is_taken_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
