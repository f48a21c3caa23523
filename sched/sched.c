/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Round robin, one first-come queue per CPU. Every operation but the check is
 * O(1). An entity stays on its home CPU.
 *
 * Accounting is exact: each CPU's time is cut at the calls, every piece goes to
 * the entity that ran or to idle, so that the sums are the machine's. A CPU's
 * clock never goes back, even when a wake from another CPU reads a counter that
 * is a little behind. Each CPU's part has its own lock and cache lines.
 *
 * An entity that nobody waits for gets a long turn; the first wake that ends
 * this solitude asks for a new choice, so that nobody waits longer than the
 * slices of those in front.
 */
#include "sched/sched.h"

#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/format.h"

#define CACHE_LINE 64

struct sched_cpu {
	struct lock lock;    /* of all below, and of the entities that are at home here */
	struct list ready;   /* sched_entity.node, longest waiting first */
	struct list members; /* sched_entity.member */
	struct sched_entity *running;
	unsigned ready_count, member_count;
	bool long_turn;		/* the running entity was told the cap, not a slice */
	bool begun;		/* the times below are set */
	uint64_t started, now;	/* first and latest time seen */
	uint64_t since;		/* when the present turn or idle time began */
	uint64_t busy, idle;	/* before since */
	uint64_t departed_used; /* used by entities that were removed */
} __attribute__((aligned(CACHE_LINE)));

struct sched {
	uint64_t slice;
	unsigned cpus;
	void (*kick)(void *ctx, unsigned cpu);
	void *ctx;
	struct sched_cpu cpu[];
};

uint64_t sched_bytes(unsigned cpus)
{
	return sizeof(struct sched) + cpus * sizeof(struct sched_cpu);
}

struct sched *sched_init(void *storage, const struct sched_config *cfg)
{
	struct sched *s = storage;

	ASSERT(is_aligned((uintptr_t)storage, CACHE_LINE));
	ASSERT(cfg->cpus >= 1 && cfg->cpus <= SCHED_MAX_CPUS && cfg->slice > 0 && cfg->kick);
	*s = (struct sched){.slice = cfg->slice, .cpus = cfg->cpus, .kick = cfg->kick, .ctx = cfg->ctx};
	for (unsigned i = 0; i < cfg->cpus; i++) {
		s->cpu[i] = (struct sched_cpu){0};
		lock_init(&s->cpu[i].lock, LOCK_SCHED_CPU);
		list_init(&s->cpu[i].ready);
		list_init(&s->cpu[i].members);
	}
	return s;
}

static struct sched_cpu *cpu_of(struct sched *s, unsigned cpu)
{
	ASSERT(cpu < s->cpus);
	return &s->cpu[cpu];
}

/* The CPU's time at a call that was told @now. */
static uint64_t advance(struct sched_cpu *c, uint64_t now)
{
	if (!c->begun) {
		c->begun = true;
		c->started = c->since = c->now = now;
	}
	if (now > c->now)
		c->now = now;
	return c->now;
}

static void enqueue(struct sched_cpu *c, struct sched_entity *e)
{
	e->state = SCHED_READY;
	e->since = c->now;
	list_push_back(&c->ready, &e->node);
	c->ready_count++;
}

static void dequeue(struct sched_cpu *c, struct sched_entity *e)
{
	list_remove(&e->node);
	c->ready_count--;
	e->waited += c->now - e->since;
}

/* A guess, since others may come and go meanwhile. */
static unsigned emptiest(const struct sched *s)
{
	unsigned best = 0;

	for (unsigned i = 1; i < s->cpus; i++)
		if (__atomic_load_n(&s->cpu[i].member_count, __ATOMIC_RELAXED) <
		    __atomic_load_n(&s->cpu[best].member_count, __ATOMIC_RELAXED))
			best = i;
	return best;
}

void sched_add(struct sched *s, struct sched_entity *e, const char *name, unsigned cpu, uint64_t now)
{
	struct sched_cpu *c;

	if (cpu == SCHED_ANY_CPU)
		cpu = emptiest(s);
	c = cpu_of(s, cpu);
	ASSERT(e->state == SCHED_DETACHED);
	lock_acquire(&c->lock);
	*e = (struct sched_entity){
		.run = e->run, .put = e->put, .state = SCHED_BLOCKED, .cpu = cpu, .since = advance(c, now)};
	format(e->name, sizeof e->name, "%s", name);
	list_init(&e->node);
	list_push_back(&c->members, &e->member);
	c->member_count++;
	lock_release(&c->lock);
}

bool sched_remove(struct sched *s, struct sched_entity *e)
{
	struct sched_cpu *c = cpu_of(s, e->cpu);

	ASSERT(e->state != SCHED_DETACHED);
	lock_acquire(&c->lock);
	if (e->state == SCHED_RUNNING || e->held) {
		/* Told once: interrupts that come faster than they are handled would keep the CPU from letting go. */
		if (!e->release_due)
			s->kick(s->ctx, e->cpu);
		__atomic_store_n(&e->release_due, true, __ATOMIC_RELAXED);
		lock_release(&c->lock);
		return false;
	}
	if (e->state == SCHED_READY)
		dequeue(c, e);
	list_remove(&e->member);
	c->member_count--;
	c->departed_used += e->used;
	e->state = SCHED_DETACHED;
	lock_release(&c->lock);
	return true;
}

void sched_wake(struct sched *s, struct sched_entity *e, uint64_t now)
{
	struct sched_cpu *c = cpu_of(s, e->cpu);

	lock_acquire(&c->lock);
	if (e->state == SCHED_RUNNING)
		e->wake_pending = true;
	if (e->state == SCHED_BLOCKED) {
		advance(c, now);
		enqueue(c, e);
		if (!c->running || c->long_turn)
			s->kick(s->ctx, e->cpu);
	}
	lock_release(&c->lock);
}

void sched_release(struct sched *s, unsigned cpu, struct sched_entity *e)
{
	struct sched_cpu *c = cpu_of(s, cpu);

	lock_acquire(&c->lock);
	ASSERT(e->held && e->cpu == cpu && e->state != SCHED_RUNNING);
	e->held = e->release_due = false;
	lock_release(&c->lock);
}

/* Gives the time since the last cut to the running entity, or to idle. */
static void cut(struct sched_cpu *c, uint64_t now)
{
	uint64_t elapsed = advance(c, now) - c->since;

	if (c->running) {
		c->running->used += elapsed;
		c->busy += elapsed;
	} else {
		c->idle += elapsed;
	}
	c->since = c->now;
}

static uint64_t add_capped(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static struct sched_entity *pick(struct sched *s, struct sched_cpu *c, uint64_t now, uint64_t *slice_end)
{
	struct sched_entity *e;

	ASSERT(!c->running);
	cut(c, now);
	*slice_end = UINT64_MAX;
	if (list_empty(&c->ready))
		return NULL;
	e = list_entry(c->ready.next, struct sched_entity, node);
	dequeue(c, e);
	e->state = SCHED_RUNNING;
	e->held = true;
	e->since = c->now;
	e->dispatches++;
	c->running = e;
	c->long_turn = list_empty(&c->ready);
	*slice_end = add_capped(c->now, c->long_turn ? s->slice * SCHED_ALONE_SLICES : s->slice);
	return e;
}

struct sched_entity *sched_pick(struct sched *s, unsigned cpu, uint64_t now, uint64_t *slice_end)
{
	struct sched_cpu *c = cpu_of(s, cpu);
	struct sched_entity *e;

	lock_acquire(&c->lock);
	e = pick(s, c, now, slice_end);
	lock_release(&c->lock);
	return e;
}

static void charge(struct sched_cpu *c, uint64_t now, enum sched_end end)
{
	struct sched_entity *e = c->running;

	ASSERT(e && e->state == SCHED_RUNNING);
	cut(c, now);
	c->running = NULL;
	if (end == SCHED_END_READY || e->wake_pending) {
		enqueue(c, e);
	} else {
		e->state = SCHED_BLOCKED;
		e->since = c->now;
	}
	e->wake_pending = false;
}

void sched_charge(struct sched *s, unsigned cpu, uint64_t now, enum sched_end end)
{
	struct sched_cpu *c = cpu_of(s, cpu);

	lock_acquire(&c->lock);
	charge(c, now, end);
	lock_release(&c->lock);
}

bool sched_others_ready(const struct sched *s, unsigned cpu)
{
	ASSERT(cpu < s->cpus);
	return __atomic_load_n(&s->cpu[cpu].ready_count, __ATOMIC_RELAXED) > 0;
}

void sched_cpu_stats(const struct sched *s, unsigned cpu, struct sched_cpu_stats *out)
{
	const struct sched_cpu *c = &s->cpu[cpu];
	uint64_t open = c->now - c->since;

	ASSERT(cpu < s->cpus);
	*out = (struct sched_cpu_stats){
		.busy = c->busy + (c->running ? open : 0),
		.idle = c->idle + (c->running ? 0 : open),
		.ready = c->ready_count,
	};
}

uint64_t sched_slice(const struct sched *s)
{
	return s->slice;
}

void sched_set_slice(struct sched *s, uint64_t ticks)
{
	ASSERT(ticks > 0);
	s->slice = ticks;
}

/* ---- counters ---- */

struct figures {
	uint64_t cpus, busy, idle, ready;
};

static void sum_cpus(const void *object, void *out)
{
	const struct sched *s = object;
	struct figures sum = {.cpus = s->cpus};

	for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
		struct sched_cpu_stats one;

		sched_cpu_stats(s, cpu, &one);
		sum.busy += one.busy;
		sum.idle += one.idle;
		sum.ready += one.ready;
	}
	*(struct figures *)out = sum;
}

#define FIGURE(field, kind, measure, help) COUNTER(struct figures, field, #field, kind, measure, help)

static const struct counter rows[] = {
	FIGURE(cpus, COUNTER_GAUGE, MEASURE_COUNT, "Processors in use"),
	FIGURE(busy, COUNTER_TOTAL, MEASURE_TICKS, "Time that processors ran something"),
	FIGURE(idle, COUNTER_TOTAL, MEASURE_TICKS, "Time that processors had nothing to run"),
	FIGURE(ready, COUNTER_GAUGE, MEASURE_COUNT, "What waits for a processor now"),
};

const struct counter_table sched_counters = {
	.group = "host.cpu", .rows = rows, .count = ARRAY_SIZE(rows), .figures_bytes = sizeof(struct figures),
	.figures = sum_cpus,
};

/* ---- check ---- */

/* The queue holds READY entities of this CPU, longest waiting first. */
static bool check_queue(const struct sched_cpu *c, unsigned cpu)
{
	uint64_t last = 0;
	unsigned count = 0;

	list_for_each(it, &c->ready) {
		const struct sched_entity *e = list_entry(it, struct sched_entity, node);

		if (e->state != SCHED_READY || e->cpu != cpu || e->since < last || e->since > c->now)
			return false;
		if (++count > c->ready_count)
			return false;
		last = e->since;
	}
	return count == c->ready_count;
}

static bool check_cpu(const struct sched_cpu *c, unsigned cpu)
{
	uint64_t used = c->departed_used;
	unsigned ready = 0, running = 0;

	list_for_each(it, &c->members) {
		const struct sched_entity *e = list_entry(it, struct sched_entity, member);

		if (e->cpu != cpu || e->state == SCHED_DETACHED || (e->state == SCHED_RUNNING) != (e == c->running))
			return false;
		if ((e->wake_pending && e->state != SCHED_RUNNING) || (!e->held && e->state == SCHED_RUNNING))
			return false;
		if (list_empty(&e->node) == (e->state == SCHED_READY))
			return false;
		ready += e->state == SCHED_READY;
		running += e->state == SCHED_RUNNING;
		used += e->used;
	}
	return ready == c->ready_count && running == (c->running != NULL) && used == c->busy &&
	       c->busy + c->idle == c->since - c->started && c->since <= c->now;
}

bool sched_check(const struct sched *s)
{
	for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
		if (!check_queue(&s->cpu[cpu], cpu) || !check_cpu(&s->cpu[cpu], cpu))
			return false;
	}
	return true;
}
