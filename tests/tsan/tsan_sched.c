/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sched/ with real threads as CPUs: each runs the loop of firmware/cpuloop.c and
 * between turns does what handlers and the control task do elsewhere: wakes,
 * other numbers and attributes, figures, adding and removing. Time is one shared
 * counter. Whoever runs an entity marks it, so that one on two CPUs is seen even
 * where no access races.
 */
#include "tests/cmocka_all.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "sched/sched.h"
#include "tests/tsan/threads.h"

#define CPUS 4u
#define POOLS 5u
#define MOVED 2u /* pools more, whose places change and whose numbers do not */
#define ALL (POOLS + MOVED)
#define ENTITIES 24u
#define TURNS 6000u
#define SLICE 5000ull

struct subject {
	struct sched_entity e;
	struct lock gate;  /* like a VM's own: wakes and removal do not meet */
	bool present;      /* under the gate */
	bool leave;        /* atomic: to block at the next turn's end, and not be woken */
	unsigned on;       /* atomic: 1 + the CPU that runs it */
	unsigned held;     /* atomic: 1 + the CPU that has its hardware state */
	uint64_t used;     /* by whoever runs it */
};

static struct sched *s;
static struct sched_pool pool[ALL];
static struct subject subject[ENTITIES];
static uint64_t ticks;
static bool resched[CPUS];
static unsigned overlaps, stolen, disorder, busy_cpus; /* atomic */
static uint64_t removed_used;

static uint64_t now(void) { return __atomic_add_fetch(&ticks, 1, __ATOMIC_SEQ_CST); }
static void pass(uint64_t n) { __atomic_fetch_add(&ticks, n, __ATOMIC_SEQ_CST); }
static bool get(const bool *flag) { return __atomic_load_n(flag, __ATOMIC_ACQUIRE); }
static void set(bool *flag, bool value) { __atomic_store_n(flag, value, __ATOMIC_RELEASE); }

static void kick(void *ctx, unsigned cpu)
{
	(void)ctx;
	set(&resched[cpu], true);
}

static void put(struct sched_entity *e)
{
	struct subject *x = container_of(e, struct subject, e);

	x->used += 0; /* what the CPU wrote about it goes with it */
}

/* ---- what other parts of a hypervisor do ---- */

static struct subject *some(struct random_state *r) { return &subject[random_below(r, ENTITIES)]; }

static void wake_some(struct random_state *r)
{
	struct subject *x = some(r);

	lock_acquire(&x->gate);
	if (x->present && !get(&x->leave))
		sched_wake(s, &x->e, now());
	lock_release(&x->gate);
}

static void set_numbers(struct random_state *r)
{
	struct rls n = {random_below(r, 3) ? 0 : random_below(r, 300000), SCHED_NO_LIMIT, 1 + (uint32_t)random_below(r, 5000)};
	struct error err;

	if (random_below(r, 3) == 0)
		n.limit = n.reservation + 50000 + random_below(r, 2000000);
	/* A reservation that does not fit is refused, which is as good a race. */
	if (sched_pool_set(s, &pool[random_below(r, POOLS)], &n, &err) != ST_OK)
		return;
}

/* By one CPU, like all that changes places. The two may come to be below each other, either way round. */
static void move_some(struct random_state *r)
{
	struct sched_pool *p = &pool[POOLS + random_below(r, MOVED)], *to = random_below(r, 4) ? &pool[random_below(r, ALL)] : NULL;
	struct error err;

	if (sched_pool_move(s, p, to, &err) != ST_OK)
		return;
}

static void set_attr(struct random_state *r)
{
	struct subject *x = some(r);
	struct sched_attr attr = {
		.latency = random_below(r, 4) == 0, .gang = random_below(r, 2), .exclusive = random_below(r, 8) == 0,
	};
	struct error err;

	if (random_below(r, 2))
		cpuset_add(&attr.affinity, (unsigned)random_below(r, CPUS));
	lock_acquire(&x->gate);
	if (x->present && sched_set_attr(s, &x->e, &attr, now(), &err) != ST_OK)
		pass(1);
	lock_release(&x->gate);
}

static void read_figures(struct random_state *r)
{
	struct sched_figures f;
	struct sched_cpu_stats c;
	struct sched_levels levels;

	sched_pool_stats(s, &pool[random_below(r, ALL)], &f);
	sched_pool_levels(s, &pool[random_below(r, ALL)], &levels);
	sched_cpu_stats(s, (unsigned)random_below(r, CPUS), &c);
	pass(1 + (f.used + c.busy + levels.allowed) % 2);
}

static void set_slice(struct random_state *r)
{
	sched_set_slice(s, SLICE / 2 + random_below(r, SLICE));
	sched_set_switches(s, random_below(r, 8) ? 0 : (unsigned)random_below(r, 512));
	sched_set_separate_cores(s, random_below(r, 2));
}

/* The walker, while all others go on. */
static void check(struct random_state *r)
{
	if (random_below(r, 8) == 0 && !sched_check(s))
		__atomic_fetch_add(&disorder, 1, __ATOMIC_RELAXED);
}

static void (*const elsewhere[])(struct random_state *) = {
	wake_some, wake_some, wake_some, wake_some, wake_some, wake_some, set_numbers, set_attr, read_figures, set_slice,
	check,
};

/* ---- coming and going ---- */

static void add(struct subject *x, struct random_state *r)
{
	struct sched_attr attr = {.gang = random_below(r, 2)};
	struct error err;

	memset(&x->e, 0, sizeof x->e);
	x->e.put = put;
	set(&x->leave, false);
	x->used = 0;
	lock_acquire(&x->gate);
	x->present = sched_add(s, &x->e, &pool[random_below(r, ALL)], "vcpu", &attr, now(), &err) == ST_OK;
	if (x->present)
		sched_wake(s, &x->e, now());
	lock_release(&x->gate);
}

/* The control task makes sure that its turns end, looks again and again without a lock, and takes it apart. */
static void replace_one(struct subject **leaving, struct random_state *r)
{
	struct subject *x = *leaving;

	if (!x) {
		x = *leaving = some(r);
		set(&x->leave, true);
		lock_acquire(&x->gate); /* no wake is under way any more */
		lock_release(&x->gate);
		return;
	}
	lock_acquire(&x->gate);
	if (x->present)
		x->present = !sched_remove(s, &x->e);
	lock_release(&x->gate);
	if (x->present)
		return;
	removed_used += x->used;
	add(x, r);
	*leaving = NULL;
}

/* ---- a CPU ---- */

struct cpu {
	unsigned id;
	struct subject *holds;
};

static void let_go(struct cpu *c)
{
	c->holds->e.put(&c->holds->e);
	__atomic_store_n(&c->holds->held, 0, __ATOMIC_RELAXED);
	sched_release(s, c->id, &c->holds->e);
	c->holds = NULL;
}

static void take_hold(struct cpu *c, struct subject *x)
{
	unsigned before = __atomic_exchange_n(&x->held, c->id + 1, __ATOMIC_RELAXED);

	if (before && before != c->id + 1)
		__atomic_fetch_add(&stolen, 1, __ATOMIC_RELAXED);
	c->holds = x;
}

static void run(struct subject *x, struct thread *t)
{
	uint64_t ran = random_below(&t->random, 2 * SLICE);

	if (__atomic_exchange_n(&x->on, t->cpu + 1, __ATOMIC_RELAXED))
		__atomic_fetch_add(&overlaps, 1, __ATOMIC_RELAXED);
	x->used += ran;
	x->e.progress += ran;
	pass(ran);
	if (random_below(&t->random, 8) == 0)
		sched_yield_to(s, t->cpu, NULL);
	__atomic_store_n(&x->on, 0, __ATOMIC_RELAXED);
}

/* Another is picked, or somebody waits for what this CPU holds. */
static struct subject *choose(struct cpu *c)
{
	uint64_t end;
	struct sched_entity *e = sched_pick(s, c->id, now(), &end);

	if (c->holds && (e ? e != &c->holds->e : __atomic_load_n(&c->holds->e.release_due, __ATOMIC_RELAXED)))
		let_go(c);
	if (!e)
		return NULL;
	take_hold(c, container_of(e, struct subject, e));
	return c->holds;
}

static void turn(struct cpu *c, struct thread *t)
{
	struct subject *x = choose(c);
	bool leaves;

	if (!x) {
		sched_yield();
		return;
	}
	run(x, t);
	leaves = get(&x->leave);
	sched_charge(s, c->id, now(), leaves || random_below(&t->random, 3) ? SCHED_END_BLOCKED : SCHED_END_READY);
}

static void cpu_loop(struct thread *t)
{
	struct cpu c = {.id = t->cpu};
	struct subject *leaving = NULL;
	unsigned running;

	for (unsigned i = 0; i < TURNS; i++) {
		set(&resched[t->cpu], false);
		turn(&c, t);
		elsewhere[random_below(&t->random, ARRAY_SIZE(elsewhere))](&t->random);
		if (t->cpu == 0)
			replace_one(&leaving, &t->random);
		if (t->cpu == 0 && i % 8 == 0)
			move_some(&t->random);
		(void)sched_others_ready(s, t->cpu);
	}
	running = __atomic_sub_fetch(&busy_cpus, 1, __ATOMIC_ACQ_REL);
	/* Until nobody wants anything: so that at the end all is blocked and accounted. */
	while (running) {
		if (choose(&c))
			sched_charge(s, c.id, now(), SCHED_END_BLOCKED);
		running = __atomic_load_n(&busy_cpus, __ATOMIC_ACQUIRE);
		sched_yield();
	}
	while (choose(&c))
		sched_charge(s, c.id, now(), SCHED_END_BLOCKED);
}

static void start(uint64_t seed)
{
	static const uint16_t core_of[CPUS] = {0, 0, 1, 1};
	struct sched_config cfg = {.cpus = CPUS, .entities_max = ENTITIES, .slice = SLICE, .core_of = core_of, .kick = kick};
	struct random_state r = random_seed(seed);
	struct rls n = {0, SCHED_NO_LIMIT, SCHED_SHARES_DEFAULT};
	struct error err;

	memset(pool, 0, sizeof pool);
	memset(subject, 0, sizeof subject);
	overlaps = stolen = disorder = 0;
	removed_used = 0;
	busy_cpus = CPUS;
	s = sched_init(aligned_alloc(64, (sched_bytes(CPUS, ENTITIES) + 63) / 64 * 64), &cfg);
	for (unsigned i = 0; i < ALL; i++)
		assert_int_equal(sched_pool_add(s, &pool[i], i > 2 ? &pool[0] : NULL, "pool", &n, &err), ST_OK);
	for (unsigned i = 0; i < ENTITIES; i++) {
		lock_init(&subject[i].gate, LOCK_VM);
		add(&subject[i], &r);
		assert_true(subject[i].present);
	}
}

/* All CPUs have stopped: every tick that ran is charged to somebody, and to the right one as far as can be seen. */
static void check_sums(void)
{
	struct sched_figures all, one;
	uint64_t busy = 0, used = 0, ran = removed_used;

	for (unsigned i = 0; i < ENTITIES; i++) {
		ran += subject[i].used;
		if (!subject[i].present)
			continue;
		sched_stats(s, &subject[i].e, &one);
		assert_true(one.used >= subject[i].used); /* the scheduler counts what the loop itself takes as well */
		used += one.used;
	}
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		struct sched_cpu_stats c;

		sched_cpu_stats(s, cpu, &c);
		busy += c.busy;
	}
	sched_pool_stats(s, sched_root(s), &all);
	if (all.used != busy || used > busy || ran > busy)
		fail_msg("entities ran %llu and were charged %llu; CPUs %llu; the root %llu", (unsigned long long)ran,
			 (unsigned long long)used, (unsigned long long)busy, (unsigned long long)all.used);
}

static void cpus_over_one_scheduler(void **state)
{
	const char *seeds = getenv("MODEL_RUNS");
	uint64_t last = seeds ? strtoull(seeds, NULL, 0) : 3;

	(void)state;
	for (uint64_t seed = 1; seed <= last; seed++) {
		fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
		start(seed);
		threads_run(CPUS, seed, seed % 2, cpu_loop, NULL);
		assert_int_equal(overlaps, 0);
		assert_int_equal(stolen, 0);
		assert_int_equal(disorder, 0);
		assert_true(sched_check(s));
		check_sums();
		free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(cpus_over_one_scheduler)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
