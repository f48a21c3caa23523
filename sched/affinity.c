/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where entities may run, and what that does to their rates. Affinities in use
 * are kept once each, with which contains which. When those who are confined to a
 * set of CPUs are due more than it has, the set is a bottleneck: it is divided
 * among them by itself, as a machine of its own with the same tree, smaller sets in
 * it first if that makes bottlenecks of them, and the rest of the machine is divided
 * again around that. For sets that are disjoint or nested this ends at the weighted max-min division
 * (Bertsekas & Gallager, "Data Networks", 6.5.2); of sets that overlap without one
 * containing the other, unions are looked at as well, as long as there are few.
 */
#include "sched/internal.h"

#define ROUNDS_MAX 8u
#define UNIONS_MAX 64u /* of overlapping affinities that are looked at */

/* Sums of neighbouring bits, pairs, nibbles: the builtin would be a library call on a CPU without POPCNT. */
static unsigned ones(uint64_t v)
{
	v -= v >> 1 & 0x5555555555555555;
	v = (v & 0x3333333333333333) + (v >> 2 & 0x3333333333333333);
	v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return (unsigned)(v * 0x0101010101010101 >> 56);
}

unsigned cpus_count(const struct cpuset *set)
{
	unsigned count = 0;

	for (unsigned i = 0; i < CPUSET_WORDS; i++)
		count += ones(set->word[i]);
	return count;
}

static bool is_subset(const struct cpuset *a, const struct cpuset *b)
{
	for (unsigned i = 0; i < CPUSET_WORDS; i++) {
		if (a->word[i] & ~b->word[i])
			return false;
	}
	return true;
}

static bool intersect(const struct cpuset *a, const struct cpuset *b)
{
	for (unsigned i = 0; i < CPUSET_WORDS; i++) {
		if (a->word[i] & b->word[i])
			return true;
	}
	return false;
}

/* Without the cores that somebody has for itself. */
static unsigned usable_cpus(const struct sched *s, const struct cpuset *set)
{
	unsigned count = 0;

	if (!s->exclusive)
		return cpus_count(set);
	for (unsigned cpu = 0; cpu < s->cpus; cpu++)
		count += cpuset_has(set, cpu) && !peek(&s->owner[cpu]) && !(s->claimant && s->core_of[cpu] == s->claimed);
	return count;
}

/* ---- the table of masks ---- */

static bool in_use(const struct mask *m)
{
	return m->users || m->is_union;
}

static bool is_same(const struct cpuset *a, const struct cpuset *b)
{
	return is_subset(a, b) && is_subset(b, a);
}

/* Nothing is within @gone any more, nor it within anything. */
static void unrelate(struct sched *s, unsigned gone)
{
	memset(s->mask[gone].within, 0, sizeof s->mask[gone].within);
	for (unsigned i = 1; i < s->masks; i++)
		s->mask[i].within[gone / 64] &= ~BIT(gone % 64);
}

static void relate(struct sched *s, unsigned fresh)
{
	struct mask *m = &s->mask[fresh];

	for (unsigned i = 1; i < s->masks; i++) {
		struct mask *other = &s->mask[i];

		if (!in_use(other))
			continue;
		if (is_subset(&other->cpus, &m->cpus))
			m->within[i / 64] |= BIT(i % 64);
		if (is_subset(&m->cpus, &other->cpus))
			other->within[fresh / 64] |= BIT(fresh % 64);
	}
}

/* The mask of exactly @cpus that is in use; 0: none. */
static unsigned find_mask(const struct sched *s, const struct cpuset *cpus)
{
	for (unsigned i = 1; i < s->masks; i++) {
		if (in_use(&s->mask[i]) && is_same(&s->mask[i].cpus, cpus))
			return i;
	}
	return 0;
}

/* A new one; 0: the table is full. Its users are the caller's to count. */
static unsigned add_mask(struct sched *s, const struct cpuset *cpus)
{
	unsigned place = 1;

	while (place < s->masks && in_use(&s->mask[place]))
		place++;
	if (place == SCHED_MASKS_MAX)
		return 0;
	s->masks = MAX(s->masks, place + 1);
	s->mask[place].cpus = *cpus;
	return place;
}

static void drop_unions(struct sched *s)
{
	for (unsigned i = 1; i < s->masks; i++) {
		if (!s->mask[i].is_union)
			continue;
		s->mask[i].is_union = false;
		if (!s->mask[i].users)
			unrelate(s, i);
	}
	while (s->masks > 1 && !in_use(&s->mask[s->masks - 1]))
		s->masks--;
}

/* False when there is no room for more of them. */
static bool add_union(struct sched *s, const struct cpuset *a, const struct cpuset *b, unsigned *unions)
{
	struct cpuset both = *a;
	unsigned mask;

	for (unsigned i = 0; i < CPUSET_WORDS; i++)
		both.word[i] |= b->word[i];
	if (find_mask(s, &both) || is_same(&both, &s->mask[ANYWHERE].cpus))
		return true;
	mask = *unions < UNIONS_MAX ? add_mask(s, &both) : 0;
	if (!mask)
		return false;
	s->mask[mask].is_union = true;
	relate(s, mask);
	(*unions)++;
	return true;
}

/*
 * Sets that overlap without one containing the other can be a bottleneck together though none is one alone: their
 * unions, and the unions' unions, are looked at like masks. A few overlapping sets have a few of them; of many, the
 * first ones are taken.
 */
static void find_unions(struct sched *s)
{
	unsigned unions = 0;

	drop_unions(s);
	for (unsigned i = 2; i < s->masks; i++) {
		for (unsigned k = 1; k < i; k++) {
			const struct mask *a = &s->mask[i], *b = &s->mask[k];

			if (in_use(a) && in_use(b) && intersect(&a->cpus, &b->cpus) && !add_union(s, &a->cpus, &b->cpus, &unions))
				return;
		}
	}
}

enum status affinity_use(struct sched *s, const struct cpuset *cpus, unsigned *mask, struct error *err)
{
	struct cpuset all = s->mask[ANYWHERE].cpus;
	unsigned place;

	if (!is_subset(cpus, &all))
		return fail(err, ST_INVALID, "the affinity names a CPU that is not there; CPUs are 0 to %u", s->cpus - 1);
	if (cpus_count(cpus) == 0 || is_subset(&all, cpus)) {
		*mask = ANYWHERE;
		return ST_OK;
	}
	place = find_mask(s, cpus);
	if (place && s->mask[place].users) {
		s->mask[place].users++;
		*mask = place;
		return ST_OK;
	}
	drop_unions(s);
	place = add_mask(s, cpus);
	if (!place)
		return fail(err, ST_NO_MEMORY, "more than %u different affinities", SCHED_MASKS_MAX - 1);
	s->mask[place].users = 1;
	relate(s, place);
	find_unions(s);
	*mask = place;
	return ST_OK;
}

void affinity_unuse(struct sched *s, unsigned mask)
{
	if (mask == ANYWHERE)
		return;
	ASSERT(s->mask[mask].users);
	if (--s->mask[mask].users)
		return;
	unrelate(s, mask);
	find_unions(s);
}

/* ---- bottlenecks ---- */

static bool counts(const struct sched_entity *e)
{
	unsigned state = peek(&e->state);

	return (state == SCHED_READY || state == SCHED_RUNNING) && !e->attr.exclusive;
}

static struct sched_entity *restricted_entry(struct list *it)
{
	return list_entry(it, struct sched_entity, restricted);
}

/* The sum over all masks within @m of one of their scratch fields. */
static uint64_t sum_within(const struct sched *s, const struct mask *m, size_t field)
{
	uint64_t sum = 0;

	for (unsigned w = 0; w < MASK_WORDS; w++) {
		for (uint64_t bits = m->within[w]; bits; bits &= bits - 1)
			sum += *(const uint64_t *)((const char *)&s->mask[w * 64 + bit_lowest(bits)] + field);
	}
	return sum;
}

/* Of what @e is due, what a reservation promises. */
static uint64_t promised_to(const struct sched_entity *e)
{
	const struct sched_pool *p = e->pool;
	uint64_t demand = demand_noted(p);

	if (!p->parent || !p->numbers.reservation || !demand)
		return 0;
	return MIN(rate_of_ppm(p->numbers.reservation) / demand, RATE_ONE);
}

static void sum_wants(struct sched *s)
{
	for (unsigned i = 0; i < s->masks; i++)
		s->mask[i].wanted = s->mask[i].taken = s->mask[i].promised = 0;
	list_for_each(it, &s->restricted) {
		const struct sched_entity *e = restricted_entry(it);

		if (!counts(e))
			continue;
		if (e->pinned_rate)
			s->mask[e->mask].taken += e->pinned_rate;
		else
			s->mask[e->mask].wanted += e->pool->leaf_rate;
		if (!e->pinned_rate)
			s->mask[e->mask].promised += promised_to(e);
	}
}

/* What is left on the CPUs of a mask. */
static uint64_t left_on(const struct sched *s, const struct mask *m)
{
	uint64_t all = (uint64_t)usable_cpus(s, &m->cpus) * RATE_ONE, fixed = sum_within(s, m, offsetof(struct mask, taken));

	return all > fixed ? all - fixed : 0;
}

/* What is there for the leaves confined to mask @i: what is left on it, and on wider ones beside what those promise. */
static uint64_t room_on(const struct sched *s, unsigned i)
{
	const struct mask *m = &s->mask[i];
	uint64_t room = left_on(s, m), own = sum_within(s, m, offsetof(struct mask, promised));

	for (unsigned k = 1; k < s->masks; k++) {
		const struct mask *wide = &s->mask[k];
		uint64_t left, others;

		if (k == i || !(wide->within[i / 64] >> (i % 64) & 1))
			continue;
		left = left_on(s, wide);
		others = sum_within(s, wide, offsetof(struct mask, promised)) - own;
		room = MIN(room, left > others ? left - others : 0);
	}
	return room;
}

static bool is_within(const struct sched *s, unsigned inner, unsigned outer)
{
	return s->mask[outer].within[inner / 64] >> (inner % 64) & 1;
}

/* By what its leaves were due in the last pass over the tree. A little over is rounding. */
static bool is_overloaded(const struct sched *s, unsigned i)
{
	uint64_t wanted = in_use(&s->mask[i]) ? sum_within(s, &s->mask[i], offsetof(struct mask, wanted)) : 0, left;

	if (!wanted)
		return false;
	left = room_on(s, i);
	return wanted > left + (left >> 12) + RATE_MIN;
}

/* A few masks of all. */
struct choice {
	uint64_t bits[MASK_WORDS];
};

static bool is_chosen(const struct choice *c, unsigned i) { return c->bits[i / 64] >> (i % 64) & 1; }
static void choose(struct choice *c, unsigned i) { c->bits[i / 64] |= BIT(i % 64); }

/* Takes one out of it; 0: there is none. */
static unsigned next_chosen(struct choice *c)
{
	for (unsigned w = 0; w < MASK_WORDS; w++) {
		uint64_t bits = c->bits[w];

		c->bits[w] &= bits - 1;
		if (bits)
			return w * 64 + bit_lowest(bits);
	}
	return 0;
}

static bool is_within_chosen(const struct sched *s, unsigned i, const struct choice *among)
{
	for (unsigned k = 1; k < s->masks; k++) {
		if (k != i && is_chosen(among, k) && is_within(s, i, k))
			return true;
	}
	return false;
}

/* Adds the masks within @outer, or all, that are overloaded and in no other such one, but not twice. False: none are. */
static bool add_overloaded(const struct sched *s, unsigned outer, const struct choice *seen, struct choice *out)
{
	struct choice found = {{0}};
	bool any = false;

	for (unsigned i = 1; i < s->masks; i++) {
		if (i == outer || (outer != ANYWHERE && !is_within(s, i, outer)) || !is_overloaded(s, i))
			continue;
		choose(&found, i);
		any = true;
	}
	for (unsigned i = 1; any && i < s->masks; i++) {
		if (is_chosen(&found, i) && !is_chosen(seen, i) && !is_within_chosen(s, i, &found))
			choose(out, i);
	}
	return any;
}

/* Divides @room among the leaves that are confined to @mask, as if that were the machine. */
static void divide_mask(struct sched *s, unsigned mask, uint64_t room)
{
	list_for_each(it, &s->pools) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);

		p->wanting = p->free_leaves = 0;
		p->fixed = 0;
	}
	list_for_each(it, &s->restricted) {
		const struct sched_entity *e = restricted_entry(it);

		if (counts(e) && !e->pinned_rate && is_within(s, e->mask, mask)) {
			e->pool->wanting++;
			e->pool->free_leaves++;
		}
	}
	divide_tree(s, room);
}

/* Makes what they have got their rates. */
static void pin(struct sched *s, unsigned mask)
{
	list_for_each(it, &s->restricted) {
		struct sched_entity *e = restricted_entry(it);

		if (!e->pinned_rate && is_within(s, e->mask, mask) && e->pool->leaf_rate)
			poke(&e->pinned_rate, e->pool->leaf_rate);
	}
}

/* The tree again, with the leaves that have rates of their own as they are. */
static void divide_around(struct sched *s, uint64_t capacity)
{
	list_for_each(it, &s->pools) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);

		p->wanting = p->free_leaves = demand_noted(p);
		p->fixed = 0;
	}
	list_for_each(it, &s->restricted) {
		const struct sched_entity *e = restricted_entry(it);

		if (!counts(e) || !e->pinned_rate || !e->pool->free_leaves)
			continue;
		e->pool->free_leaves--;
		e->pool->fixed += e->pinned_rate;
	}
	divide_tree(s, capacity);
}

/*
 * One round over disjoint bottlenecks. What is overloaded as a part of the machine is full before the machine is;
 * divided by itself, what is overloaded in it is full before that: so each is followed inwards to where nothing more
 * is. False when there was none.
 */
static bool settle_round(struct sched *s, uint64_t capacity)
{
	struct choice todo = {{0}}, seen = {{0}};
	struct cpuset done = {{0}};
	unsigned mask;

	if (!add_overloaded(s, ANYWHERE, &seen, &todo))
		return false;
	while ((mask = next_chosen(&todo)) != 0) {
		if (intersect(&s->mask[mask].cpus, &done))
			continue;
		choose(&seen, mask);
		divide_mask(s, mask, room_on(s, mask));
		sum_wants(s);
		if (add_overloaded(s, mask, &seen, &todo))
			continue;
		pin(s, mask);
		sum_wants(s);
		for (unsigned i = 0; i < CPUSET_WORDS; i++)
			done.word[i] |= s->mask[mask].cpus.word[i];
	}
	divide_around(s, capacity);
	return true;
}

void affinity_settle(struct sched *s, uint64_t capacity)
{
	if (list_empty(&s->restricted))
		return;
	list_for_each(it, &s->restricted)
		poke(&restricted_entry(it)->pinned_rate, 0);
	for (unsigned round = 0; round < ROUNDS_MAX; round++) {
		sum_wants(s);
		if (!settle_round(s, capacity))
			break;
	}
}

/* ---- admission ---- */

static enum status admit_mask(struct sched *s, const struct mask *m, struct error *err)
{
	uint64_t offered = (uint64_t)usable_cpus(s, &m->cpus) * SCHED_ONE_CPU;
	uint64_t sum = sum_within(s, m, offsetof(struct mask, reserved));

	if (!offered)
		return fail(err, ST_NOT_ADMITTED, "the CPUs of an affinity belong to others exclusively");
	if (sum > offered)
		return fail(err, ST_NOT_ADMITTED, "reservations of %llu ppm would be confined to %u CPUs, which offer %llu ppm",
			    (unsigned long long)sum, (unsigned)(offered / SCHED_ONE_CPU), (unsigned long long)offered);
	return ST_OK;
}

static void count_reserved(struct sched *s, const struct sched_entity *e, unsigned mask)
{
	struct mask *m = &s->mask[mask];

	m->in_common = true;
	/* The root's reservation is the machine itself: its own leaves have none. */
	m->reserved += e->pool->parent ? numbers_then(e->pool)->reservation / e->pool->leaf_count : 0;
}

enum status affinity_admit(struct sched *s, struct error *err)
{
	enum status st = ST_OK;

	for (unsigned i = 0; i < s->masks; i++) {
		s->mask[i].reserved = 0;
		s->mask[i].in_common = false;
	}
	list_for_each(it, &s->restricted) {
		const struct sched_entity *e = restricted_entry(it);

		if (!e->attr.exclusive && e != s->claimant && e != s->judged)
			count_reserved(s, e, e->mask);
	}
	if (s->judged && s->judged_mask != ANYWHERE && !s->judged_exclusive)
		count_reserved(s, s->judged, s->judged_mask);
	for (unsigned i = 1; i < s->masks && !st; i++)
		st = s->mask[i].in_common ? admit_mask(s, &s->mask[i], err) : ST_OK;
	return st;
}
