/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who there is: the scheduler's own beginning, entities that come and go, and
 * their attributes. Cold paths under the tree's lock; a CPU's lock is taken below
 * it for the one entity or queue in question.
 */
#include "sched/internal.h"

#include "lib/format.h"

/* ---- the beginning ---- */

static uint64_t aligned(uint64_t bytes)
{
	return align_up(bytes, 64);
}

static uint64_t heap_bytes(unsigned entities_max)
{
	return aligned((entities_max + HEAP_AHEAD + HEAP_BEHIND) * sizeof(struct heap_slot));
}

uint64_t sched_bytes(unsigned cpus, unsigned entities_max)
{
	return aligned(sizeof(struct sched)) + cpus * (aligned(sizeof(struct sched_cpu)) + 3 * heap_bytes(entities_max));
}

static void init_cpu(struct sched *s, unsigned cpu, struct heap_slot *slots)
{
	struct sched_cpu *c = &s->cpu[cpu];
	uint64_t each = heap_bytes(s->entities_max) / sizeof(struct heap_slot);

	*c = (struct sched_cpu){.id = cpu, .cursor = cpu, .resting = 1, .due_at = NEVER};
	lock_init(&c->lock, LOCK_SCHED_CPU);
	lock_init(&c->core_lock, LOCK_SCHED_CORE);
	heap_begin(&c->ready, HEAP_READY, slots, s->entities_max);
	heap_begin(&c->future, HEAP_FUTURE, slots + each, s->entities_max);
	heap_begin(&c->parked, HEAP_PARKED, slots + 2 * each, s->entities_max);
}

static void init_topology(struct sched *s, const struct sched_config *cfg)
{
	for (unsigned i = 0; i < s->cpus; i++) {
		s->core_of[i] = cfg->core_of ? cfg->core_of[i] : (uint16_t)i;
		s->llc_of[i] = cfg->llc_of ? cfg->llc_of[i] : 0;
		cpuset_add(&s->mask[ANYWHERE].cpus, i);
	}
	s->mask[ANYWHERE].users = 1;
	s->masks = 1;
}

static void init_root(struct sched *s)
{
	struct sched_pool *root = &s->root;

	root->numbers = (struct rls){
		.reservation = (uint64_t)s->cpus * SCHED_ONE_CPU, .limit = SCHED_NO_LIMIT, .shares = SCHED_SHARES_DEFAULT,
	};
	root->limit_ticks = NO_LIMIT_TICKS;
	root->guess = (uint64_t)s->cpus * RATE_ONE;
	format(root->name, sizeof root->name, "root");
	list_init(&root->leaves);
	list_push_back(&s->pools, &root->node);
	pool_set_counted(root);
}

struct sched *sched_init(void *storage, const struct sched_config *cfg)
{
	struct sched *s = storage;
	uint64_t heaps = 3 * heap_bytes(cfg->entities_max);
	char *slots;

	ASSERT(cfg->cpus >= 1 && cfg->cpus <= SCHED_MAX_CPUS && cfg->slice > 0 && cfg->entities_max > 0 && cfg->kick);
	ASSERT(is_aligned((uintptr_t)storage, 64));
	*s = (struct sched){
		.slice = cfg->slice, .cpus = cfg->cpus, .entities_max = cfg->entities_max,
		.tick = cfg->tick ? cfg->tick : MAX(cfg->slice / 5, 1),
		.window = cfg->limit_window ? cfg->limit_window : 20 * cfg->slice,
		.skew = cfg->skew ? cfg->skew : 2 * cfg->slice,
		.separate_cores = cfg->separate_cores, .off = cfg->off, .kick = cfg->kick, .ctx = cfg->ctx,
	};
	lock_init(&s->lock, LOCK_SCHED);
	list_init(&s->pools);
	list_init(&s->restricted);
	s->cpu = (struct sched_cpu *)((char *)storage + aligned(sizeof(struct sched)));
	slots = (char *)(s->cpu + cfg->cpus);
	init_topology(s, cfg);
	init_root(s);
	for (unsigned i = 0; i < s->cpus; i++)
		init_cpu(s, i, (struct heap_slot *)(slots + i * heaps));
	return s;
}

/* ---- exclusive cores ---- */

static bool is_free_core(const struct sched *s, const struct cpuset *set, unsigned cpu)
{
	if (!cpuset_has(set, cpu))
		return false;
	for (unsigned i = 0; i < s->cpus; i++) {
		if (s->core_of[i] == s->core_of[cpu] && peek(&s->owner[i]))
			return false;
	}
	return true;
}

static void set_owner(struct sched *s, unsigned cpu, const struct sched_entity *owner)
{
	for (unsigned i = 0; i < s->cpus; i++) {
		if (s->core_of[i] == s->core_of[cpu])
			poke(&s->owner[i], owner);
	}
}

/* The sum of reservations directly below the root, which the CPUs left must offer. */
static enum status still_fits(struct sched *s, struct error *err)
{
	uint64_t sum = 0, offered;

	if (s->exclusive >= s->cpus)
		return fail(err, ST_NOT_ADMITTED, "the last core cannot be exclusive");
	list_for_each(it, &s->pools) {
		const struct sched_pool *p = list_entry(it, struct sched_pool, node);

		sum += p->parent == &s->root ? p->numbers.reservation : 0;
	}
	offered = (uint64_t)(s->cpus - s->exclusive) * SCHED_ONE_CPU;
	if (sum <= offered)
		return affinity_admit(s, err);
	return fail(err, ST_NOT_ADMITTED, "reservations of %llu ppm would not fit the %llu ppm beside exclusive cores",
		    (unsigned long long)sum, (unsigned long long)offered);
}

/* Moves READY entities that may not stay on @c any more. */
static void evict_heap(struct sched *s, struct sched_cpu *c, struct heap *h)
{
	for (struct heap_at it = heap_walk(h); it.e;) {
		struct sched_entity *e = it.e;
		int64_t lag = lag_of(c, e);

		if (may_run_on(s, e, c->id)) {
			heap_step(h, &it);
			continue;
		}
		cpu_dequeue(c, e);
		cpu_leave(c, e);
		cpu_place(s, c, e, lag, false);
		it = heap_walk(h); /* the heap has changed, and the lock may have been dropped */
	}
}

static void evict(struct sched *s, unsigned cpu)
{
	struct sched_cpu *c = &s->cpu[cpu];

	lock_acquire(&c->lock);
	evict_heap(s, c, &c->ready);
	evict_heap(s, c, &c->future);
	evict_heap(s, c, &c->parked);
	lock_release(&c->lock);
	sched_kick(s, cpu);
}

static unsigned threads_of_core(const struct sched *s, unsigned cpu)
{
	unsigned count = 0;

	for (unsigned i = 0; i < s->cpus; i++)
		count += s->core_of[i] == s->core_of[cpu];
	return count;
}

/*
 * The core of @cpu, for @e alone, if all that is promised still fits the others. Judged before it is made known: who is
 * confined to that core must never find, not for a moment, that he may run nowhere.
 */
static enum status claim_core(struct sched *s, const struct sched_entity *e, unsigned cpu, struct error *err)
{
	unsigned count = threads_of_core(s, cpu);
	enum status st;

	poke(&s->exclusive, s->exclusive + count);
	s->claimant = e;
	s->claimed = s->core_of[cpu];
	st = still_fits(s, err);
	s->claimant = NULL;
	if (st)
		poke(&s->exclusive, s->exclusive - count);
	else
		set_owner(s, cpu, e);
	return st;
}

/*
 * Takes a core for @e out of @allowed, of several the one that it had last, so that a change of something else moves
 * nobody and a change that is undone finds what it left; *only becomes the one CPU of it that @e is to run on.
 */
static enum status take_core(struct sched *s, const struct sched_entity *e, const struct cpuset *allowed,
			     struct cpuset *only, struct error *err)
{
	enum status st = fail(err, ST_NOT_ADMITTED, "no core is free to be exclusive");

	for (unsigned i = s->cpus + 1; i-- > 0 && st;) {
		unsigned cpu = i < s->cpus ? i : e->core - 1;

		if (cpu >= s->cpus || !is_free_core(s, allowed, cpu))
			continue;
		st = claim_core(s, e, cpu, err);
		if (!st) {
			*only = (struct cpuset){{0}};
			cpuset_add(only, cpu);
		}
	}
	return st;
}

static void give_core_back(struct sched *s, const struct sched_entity *e)
{
	for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
		if (peek(&s->owner[cpu]) == e) {
			poke(&s->owner[cpu], NULL);
			poke(&s->exclusive, s->exclusive - 1);
			sched_kick(s, cpu); /* others may use it now */
		}
	}
}

/* The one that it had before a change that was refused: nobody took it meanwhile. */
static void take_core_again(struct sched *s, const struct sched_entity *e, unsigned mask)
{
	for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
		if (cpuset_has(&s->mask[mask].cpus, cpu)) {
			poke(&s->exclusive, s->exclusive + threads_of_core(s, cpu));
			set_owner(s, cpu, e);
			return;
		}
	}
}

/* @e has come to have a core: others leave it. */
static void move_into_core(struct sched *s, struct sched_entity *e)
{
	for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
		if (peek(&s->owner[cpu]) != e)
			continue;
		if (cpuset_has(&s->mask[e->mask].cpus, cpu))
			e->core = cpu + 1;
		evict(s, cpu);
	}
}

/* ---- attributes ---- */

/* What an affinity and the wish for a core come to, a mask; nothing is left behind on failure. */
static enum status claim(struct sched *s, const struct sched_entity *e, const struct sched_attr *attr, unsigned *mask,
			 struct error *err)
{
	struct cpuset set = cpus_count(&attr->affinity) ? attr->affinity : s->mask[ANYWHERE].cpus;
	enum status st = affinity_use(s, &set, mask, err);

	if (st || !attr->exclusive)
		return st;
	affinity_unuse(s, *mask);
	st = take_core(s, e, &set, &set, err);
	if (st)
		return st;
	st = affinity_use(s, &set, mask, err);
	if (st)
		give_core_back(s, e);
	return st;
}

static void restrict_to(struct sched *s, struct sched_entity *e, unsigned mask)
{
	list_remove(&e->restricted);
	poke(&e->mask, mask);
	poke(&e->pinned_rate, 0);
	if (mask != ANYWHERE)
		list_push_back(&s->restricted, &e->restricted);
}

static unsigned first_home(struct sched *s, const struct sched_entity *e)
{
	for (unsigned i = 0; i < s->cpus; i++) {
		unsigned cpu = (s->entities + i) % s->cpus;

		if (may_run_on(s, e, cpu))
			return cpu;
	}
	return 0;
}

static enum status enter(struct sched *s, struct sched_entity *e, const struct sched_attr *attr, struct error *err)
{
	unsigned mask;
	enum status st = claim(s, e, attr, &mask, err);

	if (st)
		return st;
	restrict_to(s, e, mask);
	e->pool->leaf_count++;
	st = affinity_admit(s, err);
	if (!st)
		return ST_OK;
	e->pool->leaf_count--;
	restrict_to(s, e, ANYWHERE);
	give_core_back(s, e);
	affinity_unuse(s, mask);
	return st;
}

/* That it asks for at a time. */
static uint64_t most_of(const struct sched_attr *attr) { return attr->request ? attr->request : UINT64_MAX; }

/* All but the state, which a wake that comes too early may be looking at. */
static void begin(struct sched_entity *e, struct sched_pool *pool, const struct sched_attr *attr)
{
	const struct sched_entity fresh = {.run = e->run, .put = e->put, .pool = pool, .attr = *attr, .request = most_of(attr)};
	const size_t after = offsetof(struct sched_entity, state) + sizeof e->state;

	memcpy(e, &fresh, offsetof(struct sched_entity, state));
	memcpy((char *)e + after, (const char *)&fresh + after, sizeof fresh - after);
}

enum status sched_add(struct sched *s, struct sched_entity *e, struct sched_pool *pool, const char *name,
		      const struct sched_attr *attr, uint64_t now, struct error *err)
{
	static const struct sched_attr plain;
	enum status st;
	struct sched_cpu *c;

	ASSERT(e->state == SCHED_DETACHED);
	attr = attr ? attr : &plain;
	lock_acquire(&s->lock);
	begin(e, pool ? pool : &s->root, attr);
	list_init(&e->leaf);
	list_init(&e->restricted);
	st = s->entities < s->entities_max ? enter(s, e, attr, err)
					   : fail(err, ST_NO_MEMORY, "more than %u entities to be scheduled", s->entities_max);
	if (!st) {
		format(e->name, sizeof e->name, "%s", name);
		s->entities++;
		list_push_back(&e->pool->leaves, &e->leaf);
		set_rate(s, e, RATE_MIN);
		poke(&e->cpu, first_home(s, e));
		c = &s->cpu[e->cpu];
		lock_acquire(&c->lock);
		e->since = cpu_advance(c, now);
		poke(&e->state, SCHED_BLOCKED);
		gang_join(e);
		lock_release(&c->lock);
		division_stale(s);
		if (attr->exclusive)
			move_into_core(s, e);
	}
	lock_release(&s->lock);
	return st;
}

/* Off the queue of its CPU, which is locked. */
static void detach(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	if (e->state == SCHED_READY) {
		if (e->queue != HEAP_NONE) {
			cpu_dequeue(c, e);
			cpu_leave(c, e);
		}
		count_demand(s, e, -1);
	}
	gang_leave(e);
	poke(&e->state, SCHED_DETACHED);
}

/* What the tree knows of it. */
static void forget(struct sched *s, struct sched_entity *e)
{
	for (unsigned i = 0; i < e->pool->counted.count; i++)
		figures_add(&e->pool->counted.in[i]->departed, &e->figures);
	give_core_back(s, e);
	affinity_unuse(s, e->mask);
	list_remove(&e->restricted);
	list_remove(&e->leaf);
	e->pool->leaf_count--;
	s->entities--;
	division_stale(s);
}

bool sched_remove(struct sched *s, struct sched_entity *e)
{
	struct sched_cpu *c;
	bool free;

	lock_acquire(&s->lock);
	c = cpu_lock_home(s, e);
	ASSERT(e->state != SCHED_DETACHED);
	free = e->state != SCHED_RUNNING && !peek(&e->held);
	if (free) {
		cpu_close_account(c, e);
		detach(s, c, e);
	} else {
		cpu_want_release(s, c, e);
	}
	lock_release(&c->lock);
	if (free)
		forget(s, e);
	lock_release(&s->lock);
	return free;
}

/* Follows a change of where it may run: at once, or when its CPU has put it. */
static void follow(struct sched *s, struct sched_cpu *c, struct sched_entity *e)
{
	int64_t lag = lag_of(c, e);

	if (may_run_on(s, e, c->id))
		return;
	if (peek(&e->held))
		cpu_want_release(s, c, e);
	if (e->state == SCHED_READY && e->queue != HEAP_NONE) {
		cpu_dequeue(c, e);
		cpu_leave(c, e);
		cpu_place(s, c, e, lag, false);
	}
}

static void apply(struct sched *s, struct sched_entity *e, const struct sched_attr *attr, unsigned mask)
{
	struct sched_cpu *c = cpu_lock_home(s, e);
	bool active = e->state == SCHED_READY || e->state == SCHED_RUNNING;

	/* An exclusive core's demand is not part of the division. */
	if (active)
		count_demand(s, e, -1);
	restrict_to(s, e, mask);
	gang_leave(e);
	e->attr = *attr;
	e->request = most_of(attr);
	gang_join(e);
	if (active)
		count_demand(s, e, 1);
	follow(s, c, e);
	lock_release(&c->lock);
}

/*
 * Would all that is promised fit if @e had @attr and @mask? Judged before it has: CPUs follow at once what they see,
 * and one that waits somewhere must not be sent off to where it may not be after all.
 */
static enum status judge(struct sched *s, const struct sched_entity *e, const struct sched_attr *attr, unsigned mask,
			 struct error *err)
{
	enum status st;

	s->judged = e;
	s->judged_mask = mask;
	s->judged_exclusive = attr->exclusive;
	st = affinity_admit(s, err);
	s->judged = NULL;
	return st;
}

/* The mask that comes of @attr, with a core if that is wanted; nothing is left behind on failure. */
static enum status claim_admitted(struct sched *s, struct sched_entity *e, const struct sched_attr *attr, unsigned *mask,
				  struct error *err)
{
	enum status st = claim(s, e, attr, mask, err);

	if (st)
		return st;
	st = judge(s, e, attr, *mask, err);
	if (st) {
		give_core_back(s, e);
		affinity_unuse(s, *mask);
	}
	return st;
}

enum status sched_set_attr(struct sched *s, struct sched_entity *e, const struct sched_attr *attr, uint64_t now,
			   struct error *err)
{
	unsigned mask, before = e->mask;
	enum status st;

	(void)now;
	lock_acquire(&s->lock);
	/* An exclusive core that it has is given back first, so that it can be had again. */
	if (e->attr.exclusive)
		give_core_back(s, e);
	st = claim_admitted(s, e, attr, &mask, err);
	if (!st) {
		apply(s, e, attr, mask);
		affinity_unuse(s, before);
	} else if (e->attr.exclusive) {
		take_core_again(s, e, before);
	}
	/* Also one that it keeps: others may have come there meanwhile. */
	if (e->attr.exclusive)
		move_into_core(s, e);
	division_stale(s);
	/* Its CPU looks whether it may stay, or an idle one may have it. */
	if (!st)
		sched_kick(s, peek(&e->cpu));
	lock_release(&s->lock);
	return st;
}
