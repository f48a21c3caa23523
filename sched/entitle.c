/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What everybody is due: the tree of pools, water-filled from the root down with
 * what has demand at the moment. A change of demand marks the division as old;
 * the next CPU that picks makes a new one, at most once a tick, and each CPU
 * takes the new rates up before its next pick. Until then who wakes gets the rate
 * that his pool would give him at the old level.
 *
 * A rate is absolute, a part of a CPU, so reservation and limit are bounds of it
 * and tags are in time: a deadline met is a reservation kept.
 */
#include "sched/internal.h"

#include "lib/clock.h"

/* ---- one pass over the tree ---- */

static uint64_t limit_rate(const struct sched *s, const struct sched_pool *p)
{
	if (p->numbers.limit == SCHED_NO_LIMIT || !is_on(s, SCHED_OFF_LIMIT))
		return UINT64_MAX;
	return rate_of_ppm(p->numbers.limit);
}

static void offer(struct sched_pool *parent, struct sched_part *part)
{
	part->next = parent->parts;
	parent->parts = part;
}

/* When only some of its leaves take part, they have their part of the reservation. */
static uint64_t reserved_rate(const struct sched_pool *p)
{
	uint64_t rate = rate_of_ppm(p->numbers.reservation), demand = demand_noted(p);

	return p->wanting && p->wanting < demand ? rate * p->wanting / demand : rate;
}

/* The leaves of a pool, that also may have pools below it, take part as one. */
static void bound_leaves(struct sched_pool *p)
{
	struct sched_part *part = &p->leaf_part;

	*part = (struct sched_part){
		.low = p->fixed,
		.cap = p->fixed + (uint64_t)p->free_leaves * RATE_ONE,
		.shares = (uint64_t)p->wanting * SCHED_SHARES_DEFAULT,
	};
	if (p->wanting)
		offer(p, part);
}

/* Children come after their parents in the list: backwards, a pool's parts are complete when it is reached. */
static void bound_pools(struct sched *s)
{
	list_for_each(it, &s->pools)
		list_entry(it, struct sched_pool, node)->parts = NULL;
	for (struct list *it = s->pools.prev; it != &s->pools; it = it->prev) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);
		uint64_t low = 0, cap = 0;

		bound_leaves(p);
		for (const struct sched_part *part = p->parts; part; part = part->next) {
			low += part->low;
			cap += part->cap;
		}
		cap = MAX(MIN(cap, limit_rate(s, p)), low);
		p->part = (struct sched_part){
			.low = MIN(cap, MAX(low, reserved_rate(p))), .cap = cap, .shares = p->numbers.shares,
		};
		if (p->parent && cap)
			offer(p->parent, &p->part);
	}
}

/* What a pool would get at its parent's level if all its leaves wanted. */
static uint64_t guess(const struct sched *s, const struct sched_pool *p, const struct sched_pool *parent, uint64_t level)
{
	uint64_t most = MIN((uint64_t)p->below * RATE_ONE, limit_rate(s, p)), most_of_parent = peek(&parent->guess);

	if (!parent->parts)
		return MIN(most, most_of_parent);
	return MIN(MAX(level_rate(level, p->numbers.shares), MIN(rate_of_ppm(p->numbers.reservation), most)), most);
}

/* What is promised to a pool, by its own reservation or as its part of what is to the one above; then to each leaf. */
static void set_floor(struct sched_pool *p)
{
	const struct sched_pool *above = p->parent;
	uint64_t leaves;

	p->floor = above ? MIN(reserved_rate(p), p->rate) : 0;
	if (above && above->floor && above->rate)
		p->floor = MAX(p->floor, mul_div(above->floor, MIN(p->rate, above->rate), above->rate));
	leaves = p->floor && p->wanting ? mul_div(p->floor, MIN(p->leaf_part.rate, p->rate), MAX(p->rate, 1)) / p->wanting : 0;
	poke(&p->leaf_floor, (uint32_t)MIN(leaves, RATE_ONE));
}

static void divide_pool(struct sched *s, struct sched_pool *p)
{
	uint64_t level = fill_divide(p->parts, p->rate), leaves;

	bool mixed = p->parts && (p->parts != &p->leaf_part || p->parts->next);

	poke(&p->leaf_guess, mixed ? (uint32_t)MAX(MIN(level_rate(level, SCHED_SHARES_DEFAULT), RATE_ONE), RATE_MIN) : 0);
	p->part.shares = level; /* kept for the children's guesses; not a part any more */
	leaves = p->wanting ? p->leaf_part.rate - MIN(p->fixed, p->leaf_part.rate) : 0;
	poke(&p->leaf_rate, p->free_leaves ? (uint32_t)MAX(MIN(leaves / p->free_leaves, RATE_ONE), RATE_MIN) : 0);
	set_floor(p);
	poke(&p->reserved, p->parent && p->numbers.reservation && p->rate <= p->part.low + p->wanting);
	poke(&p->strict, (p->parent && p->parent->strict) || p->rate + p->wanting >= limit_rate(s, p));
}

void divide_tree(struct sched *s, uint64_t capacity)
{
	bound_pools(s);
	list_for_each(it, &s->pools) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);

		if (p->parent) {
			poke(&p->guess, guess(s, p, p->parent, p->parent->part.shares));
			poke(&p->rate, p->part.cap ? p->part.rate : 0);
		} else {
			poke(&p->guess, capacity);
			poke(&p->rate, MIN(p->part.cap, capacity));
		}
		divide_pool(s, p);
	}
}

/* ---- a division ---- */

static uint64_t capacity_of(const struct sched *s)
{
	return (uint64_t)(s->cpus - s->exclusive) * RATE_ONE;
}

/* Entitled: as if every leaf wanted all it can use. Only numbers and leaves change it. */
static void divide_for_all(struct sched *s)
{
	for (struct list *it = s->pools.prev; it != &s->pools; it = it->prev) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);

		p->wanting = p->free_leaves = p->leaf_count;
		p->fixed = 0;
		p->below = p->leaf_count;
	}
	for (struct list *it = s->pools.prev; it != &s->pools; it = it->prev) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);

		if (p->parent)
			p->parent->below += p->below;
	}
	divide_tree(s, capacity_of(s));
	list_for_each(it, &s->pools) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);

		poke(&p->entitled, p->rate);
	}
}

uint32_t note_demand(struct sched *s, struct sched_pool *p)
{
	uint64_t word = peek(&p->demand);

	while (word >> 32 != (uint32_t)word) {
		uint64_t noted = word << 32 | (uint32_t)word;

		if (__atomic_compare_exchange_n(&p->demand, &word, noted, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
			__atomic_fetch_sub(&s->stale, STALE_POOL, __ATOMIC_RELAXED);
			break;
		}
	}
	return (uint32_t)word;
}

static void note_demands(struct sched *s)
{
	list_for_each(it, &s->pools) {
		struct sched_pool *p = list_entry(it, struct sched_pool, node);

		p->wanting = p->free_leaves = note_demand(s, p);
		p->fixed = 0;
	}
}

/*
 * Who leaves with a debt or a claim leaves the others, in sum, owed that much or ahead by it. On a machine without idle
 * time nothing ever evens that out, so half of it is taken off everybody's tags at each division (EEVDF does the same
 * at once: Stoica and Abdel-Wahab, 1995, section 3).
 */
static int64_t mean_lag(struct sched *s, uint64_t now)
{
	int64_t behind = 0;
	uint64_t rate = 0;

	if (s->root.rate + s->root.wanting < capacity_of(s))
		return 0;
	for (unsigned i = 0; i < s->cpus; i++) {
		const struct sched_cpu *c = &s->cpu[i];

		if (peek(&s->owner[i]))
			continue;
		behind += cpu_behind(c, now);
		rate += peek(&c->rate);
	}
	list_for_each(it, &s->pools) {
		const struct sched_pool *p = list_entry(it, struct sched_pool, node);

		/* Siblings will take it over. */
		if (demand_noted(p))
			behind -= (int64_t)peek(&p->gang.debt);
	}
	return rate > RATE_MIN ? clamp_time(behind / 2, TIME_CAP) * (int64_t)RATE_ONE / (int64_t)rate : 0;
}

void division_stale(struct sched *s)
{
	s->numbers_changed = true;
	__atomic_fetch_or(&s->stale, STALE_NUMBERS, __ATOMIC_RELEASE);
}

void division_kick(struct sched *s)
{
	for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
		struct sched_cpu *c = &s->cpu[cpu];

		lock_acquire(&c->lock);
		if (c->parked.count)
			sched_kick(s, cpu);
		lock_release(&c->lock);
	}
}

/* Nobody here wants anything, and everybody else idles: whoever wakes next will see whether anything has changed. */
static bool is_at_rest(const struct sched *s, const struct sched_cpu *c)
{
	if (peek(&c->rate))
		return false;
	for (unsigned w = 0; w <= (s->cpus - 1) / 64; w++) {
		uint64_t others = s->mask[ANYWHERE].cpus.word[w] & ~(w == c->id / 64 ? BIT(c->id % 64) : 0);

		if (others & ~peek(&s->idle[w]))
			return false;
	}
	return true;
}

void divide_stale(struct sched *s, const struct sched_cpu *c, uint64_t now)
{
	uint64_t stale = peek(&s->stale);
	bool waits = !(stale & STALE_NUMBERS) && peek(&s->epoch);

	if (!(stale & STALE_FLAGS) && is_at_rest(s, c))
		return;
	if (waits && (int64_t)(now - peek(&s->divided)) < (int64_t)s->tick)
		return;
	/* Who else holds it makes a division, or changes the tree and asks for one. */
	if (!lock_try(&s->lock))
		return;
	__atomic_fetch_and(&s->stale, ~STALE_FLAGS, __ATOMIC_ACQ_REL);
	if (s->numbers_changed) {
		divide_for_all(s);
		poke(&s->numbers_epoch, s->epoch + 1);
	}
	s->numbers_changed = false;
	note_demands(s);
	divide_tree(s, capacity_of(s));
	affinity_settle(s, capacity_of(s));
	poke(&s->divided, now);
	poke(&s->shift, mean_lag(s, now));
	__atomic_store_n(&s->epoch, s->epoch + 1, __ATOMIC_RELEASE);
	lock_release(&s->lock);
}

/* ---- rates of entities ---- */

uint32_t rate_guessed(const struct sched_entity *e)
{
	const struct sched_pool *p = e->pool;
	uint64_t rate_now = peek(&p->rate), pool_guess = peek(&p->guess), demand = demand_of(p);
	/* Each is read once: a division that others make may set it to 0 between two looks, and nothing divides by 0. */
	uint32_t guess = peek(&p->leaf_guess), own = peek(&e->pinned_rate), rate;

	if (e->attr.exclusive)
		return RATE_ONE;
	rate = (uint32_t)MAX(MIN(MAX(rate_now, pool_guess) / MAX(demand, 1u), RATE_ONE), RATE_MIN);
	if (guess)
		rate = guess;
	return own ? MIN(rate, own) : rate;
}

/*
 * Who wakes among more than the last division knows has a rate at once, so that it can run, but its siblings have all
 * that the pool was due then: only what the pool is due beyond that is its own until the next division. The rest is an
 * advance, or a VM whose vcpus wake and block several times a tick would get more than its part.
 */
static uint32_t advance_of(const struct sched_entity *e)
{
	const struct sched_pool *p = e->pool;
	uint64_t rate = peek(&p->rate), guess = peek(&p->guess), had = demand_noted(p), demand = demand_of(p);
	uint64_t pinned = peek(&e->pinned_rate), own;

	if (e->attr.exclusive || peek(&p->leaf_guess))
		return 0;
	if (demand <= had) {
		own = pinned ? pinned : peek(&p->leaf_rate);
	} else {
		rate += (demand - had - 1) * RATE_ONE;
		own = !pinned && guess > rate ? guess - rate : 0;
	}
	return e->rate - (uint32_t)MIN(own, e->rate);
}

void begin_advance(const struct sched *s, struct sched_entity *e, uint64_t now)
{
	set_rate(s, e, rate_guessed(e));
	e->advance = advance_of(e);
	e->advanced_at = now;
	e->advanced_in = peek(&s->epoch);
}

void end_advance(struct sched_entity *e, uint64_t now)
{
	int64_t had = clamp_time((int64_t)(now - MIN(e->advanced_at, now)), TIME_CAP);

	if (!e->advance)
		return;
	e->eligible = later(e->eligible, stretch_of(e, (uint64_t)served(had, e->advance)));
	e->advance = 0;
}

/* A new division knows of it, unless that is from before its wake and only taken up now. */
static void end_advance_in(const struct sched *s, struct sched_entity *e)
{
	if (e->advance && peek(&s->epoch) != e->advanced_in)
		end_advance(e, peek(&s->divided));
}

uint32_t rate_of(const struct sched_entity *e)
{
	uint32_t own = peek(&e->pinned_rate), leaf = peek(&e->pool->leaf_rate);

	if (e->attr.exclusive)
		return RATE_ONE;
	return own ? own : leaf ? leaf : rate_guessed(e);
}

/*
 * A lag is of the rate, which may be far above what is reserved, and is not owed for ever: it is cut, and shifted with
 * everybody's. So the reservation has an account of its own, made up at divisions from what has been used: this is
 * what @e is short of it by now, counted from whenever it had most.
 */
static int64_t short_of_promise(struct sched_entity *e, uint64_t now, int64_t most)
{
	uint64_t used = e->figures.used, before = e->promised_used;
	int64_t due = served(clamp_time((int64_t)(now - e->promised_at), TIME_CAP), e->floor), had = (int64_t)(used - before);

	e->promised = e->floor ? MIN(MAX(e->promised + due - had, 0), most) : 0;
	e->promised_at = now;
	e->promised_used = used;
	e->floor = peek(&e->pool->leaf_floor);
	return e->promised;
}

/*
 * The lag that it had at virtual time @at stays, the clock runs at another rate from then on. What it is owed is cut to
 * @most, and what it had too many too; but who is yielded to comes to two slices and its turn by right (cosched.c), and
 * has to pay all of it, or a VM that spins would have more than its part.
 */
static void change_rate(const struct sched *s, struct sched_entity *e, uint32_t rate, int64_t at, int64_t most)
{
	int64_t lag = clamp_time(served(apart(at, e->eligible), e->rate), TIME_CAP), cut;

	cut = MAX(MIN(lag, most), in_gang(e) ? MIN(-3 * (int64_t)peek(&s->slice), -most) : -most);
	if (rate == e->rate && cut == lag && lag == lag_forgiven(e, lag))
		return;
	if (e->advance)
		e->advance = (uint32_t)MAX((int64_t)e->advance + rate - e->rate, 0);
	set_rate(s, e, rate);
	e->eligible = apart(at, stretch(lag_forgiven(e, cut), rate));
}

void entity_adopt(struct sched *s, const struct sched_cpu *c, struct sched_entity *e)
{
	if (c->epoch == __atomic_load_n(&s->epoch, __ATOMIC_ACQUIRE))
		return;
	end_advance_in(s, e);
	change_rate(s, e, rate_of(e), virtual_at(c, MIN(peek(&s->divided), c->now)), TIME_CAP);
}

/* Nobody is left short by more than a slice and what the queue makes of it. */
static void keep_promise(struct sched *s, const struct sched_cpu *c, struct sched_entity *e)
{
	int64_t slice = (int64_t)peek(&s->slice), owed = short_of_promise(e, c->now, 4 * slice) - slice;

	if (owed > lag_of(c, e))
		e->eligible = apart(virtual_now(c), stretch(owed, e->rate));
}

static void adopt_rates(struct sched *s, struct sched_cpu *c, const struct heap *h, int64_t at, uint64_t *rate, int64_t *behind)
{
	heap_for_each(it, h) {
		struct sched_entity *e = it.e;
		bool promised = e->floor | peek(&e->pool->leaf_floor);

		end_advance_in(s, e);
		change_rate(s, e, rate_of(e), at, (int64_t)peek(&s->slice) * (peek(&e->pool->reserved) ? 4 : 1));
		if (unlikely(promised))
			keep_promise(s, c, e);
		*rate += e->rate;
		*behind += lag_of(c, e);
	}
}

/* By their new tags; who is put before others keeps the key for that. */
static void queue_again(struct sched_cpu *c, struct sched_entity *all)
{
	while (all) {
		struct sched_entity *e = all;

		all = e->behind;
		e->behind = NULL;
		if (is_boosted(e))
			heap_push(&c->ready, e, e->key);
		else if (e->eligible > virtual_now(c))
			heap_push(&c->future, e, e->eligible);
		else
			heap_push(&c->ready, e, deadline_of(e));
	}
}

/* @numbers: limits may have changed, and whoever has used up a window under an old one may ask again. */
static void set_keys(struct sched_cpu *c, bool numbers)
{
	struct sched_entity *ready = heap_take_all(&c->ready), *future = heap_take_all(&c->future);

	queue_again(c, ready);
	queue_again(c, future);
	for (unsigned i = 0; i < c->parked.count; i++) {
		struct heap_slot *slot = &c->parked.at[i];

		if (slot->e->park == PARK_PACE)
			slot->key = peek(&slot->e->pool->strict) ? later(slot->e->eligible, c->omega) : 0;
		else if (slot->e->park == PARK_WINDOW && numbers)
			slot->key = 0;
	}
	heap_mend(&c->parked);
}

static void keep_reserved_in(struct heap *h, int64_t by)
{
	heap_for_each(it, h) {
		struct sched_entity *e = it.e;

		if (by > 0 && peek(&e->pool->reserved))
			e->eligible = apart(e->eligible, by);
	}
}

/* Tags are to be shifted by @by; what a reservation promises is not given up for others. */
static void keep_reserved(struct sched_cpu *c, int64_t by)
{
	keep_reserved_in(&c->ready, by);
	keep_reserved_in(&c->future, by);
	keep_reserved_in(&c->parked, by);
}

/*
 * What cannot be evened out, because affinity holds it where it is, is forgotten: beyond two slices a CPU's whole queue
 * is shifted.
 */
static void forget(struct sched *s, struct sched_cpu *c, uint64_t rate, int64_t *behind)
{
	int64_t most = 2 * (int64_t)peek(&s->slice), excess, by;

	if (*behind <= most && *behind >= -most)
		return;
	excess = *behind - (*behind > 0 ? most : -most);
	if (rate < RATE_MIN)
		return;
	by = clamp_time(excess, TIME_CAP) * (int64_t)RATE_ONE / (int64_t)rate;
	c->omega = later(c->omega, by);
	keep_reserved(c, by);
	*behind -= excess;
}

/*
 * When the division was made, or when those who are here came to an empty CPU after that: what they were owed before
 * they were there is nothing.
 */
static uint64_t adopted_at(const struct sched *s, const struct sched_cpu *c)
{
	uint64_t divided = peek(&s->divided);

	return MIN((int64_t)(c->peopled - divided) > 0 ? c->peopled : divided, c->now);
}

void cpu_adopt(struct sched *s, struct sched_cpu *c)
{
	uint64_t epoch = __atomic_load_n(&s->epoch, __ATOMIC_ACQUIRE), rate = 0;
	int64_t behind = 0, at = virtual_now(c);
	bool numbers = c->epoch < peek(&s->numbers_epoch);

	ASSERT(!c->running && !c->back);
	if (epoch != c->epoch) {
		c->omega = later(c->omega, peek(&s->shift));
		keep_reserved(c, peek(&s->shift));
		at = virtual_at(c, adopted_at(s, c));
	}
	c->epoch = epoch;
	c->charges = (int)(CHARGES_PER_SUM + CHARGES_PER_ENTITY * (c->ready.count + c->future.count + c->parked.count));
	adopt_rates(s, c, &c->ready, at, &rate, &behind);
	adopt_rates(s, c, &c->future, at, &rate, &behind);
	adopt_rates(s, c, &c->parked, at, &rate, &behind);
	forget(s, c, rate, &behind);
	set_keys(c, numbers);
	poke(&c->rate, rate);
	poke(&c->behind, behind);
	poke(&c->behind_at, c->now);
	poke(&c->busy_then, cpu_busy(c, c->now));
	cpu_publish(c);
}
