/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler's pure parts: water-filling, heaps, tags, the windows of a limit,
 * and the functions of implicit co-scheduling.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "sched/internal.h"

#define CPU ((uint64_t)RATE_ONE)

/* ---- water-filling ---- */

static struct sched_part part[1000];

static void chain(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		part[i].next = i + 1 < count ? &part[i + 1] : NULL;
}

static struct sched_part open_part(uint64_t shares)
{
	return (struct sched_part){.cap = 256 * CPU, .shares = shares};
}

/* To a millionth of a CPU. */
static void assert_rate(uint64_t got, uint64_t want)
{
	assert_true(got + CPU / 1000000 >= want && got <= want + CPU / 1000000);
}

static void shares_alone(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		part[i] = open_part(1u << i);
	chain(3);
	fill_divide(part, 7 * CPU);
	for (unsigned i = 0; i < 3; i++)
		assert_rate(part[i].rate, CPU << i);
}

static void a_cap_is_left_to_the_others(void **state)
{
	(void)state;
	part[0] = open_part(1000);
	part[1] = (struct sched_part){.cap = CPU / 10, .shares = 1000};
	part[2] = open_part(1000);
	chain(3);
	fill_divide(part, CPU);
	assert_rate(part[1].rate, CPU / 10);
	assert_rate(part[0].rate, CPU * 45 / 100);
}

static void a_floor_is_taken_from_the_others(void **state)
{
	(void)state;
	part[0] = open_part(1000);
	part[1] = (struct sched_part){.low = CPU * 8 / 10, .cap = CPU, .shares = 1};
	part[2] = open_part(3000);
	chain(3);
	fill_divide(part, CPU);
	assert_rate(part[1].rate, CPU * 8 / 10);
	assert_rate(part[0].rate, CPU * 5 / 100);
	assert_rate(part[2].rate, CPU * 15 / 100);
}

static void outside_the_bounds_the_bounds_hold(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++)
		part[i] = (struct sched_part){.low = CPU / 4, .cap = CPU / 2, .shares = 1};
	chain(2);
	assert_true(fill_divide(part, 2 * CPU) == LEVEL_MAX);
	assert_true(part[0].rate == CPU / 2 && part[1].rate == CPU / 2);
	assert_true(fill_divide(part, CPU / 4) == 0);
	assert_true(part[0].rate == CPU / 4 && part[1].rate == CPU / 4);
	assert_true(fill_divide(NULL, CPU) == LEVEL_MAX);
}

/* Any parts: the sum is right, every rate is within its bounds, and no two that are free differ in rate by share. */
static void random_parts(void **state)
{
	uint64_t x = 88172645463325252ull;

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		unsigned count = 1 + round % (round % 50 ? 20 : 1000);
		uint64_t lows = 0, caps = 0, amount, sum = 0, level;

		for (unsigned i = 0; i < count; i++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			part[i].shares = 1 + x % (x & BIT(40) ? 1000000 : 10);
			part[i].low = x & BIT(41) ? (x >> 20) % CPU : 0;
			part[i].cap = part[i].low + (x & BIT(42) ? (x >> 10) % CPU : 256 * CPU);
			lows += part[i].low;
			caps += part[i].cap;
		}
		chain(count);
		amount = lows + (x >> 8) % MIN(caps - lows + 1, 256 * CPU);
		level = fill_divide(part, amount);
		for (unsigned i = 0; i < count; i++) {
			uint64_t free = level_rate(level, part[i].shares);

			assert_true(part[i].rate == MAX(MIN(free, part[i].cap), part[i].low));
			sum += part[i].rate;
		}
		assert_true(sum <= amount && amount - sum <= count);
	}
}

/* ---- heaps ---- */

#define HEAPED 500u
static struct heap_slot slots[HEAPED + HEAP_AHEAD + HEAP_BEHIND];
static struct sched_entity heaped[HEAPED];

/* Of @rates different rates. */
static void fill_heap(struct heap *h, enum heap_id id, unsigned rates)
{
	uint64_t x = rates;

	memset(heaped, 0, sizeof heaped);
	heap_begin(h, id, slots, HEAPED);
	for (unsigned i = 0; i < HEAPED; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		heaped[i].rate_row = (uint8_t)(i % rates);
		heap_push(h, &heaped[i], (int64_t)(x >> 40) - 5000000);
		assert_true(heap_holds(h));
	}
}

static void gives_the_least(struct heap *h)
{
	int64_t last = INT64_MIN;

	while (h->count) {
		assert_true(heap_holds(h) && h->at[0].key >= last);
		last = h->at[0].key;
		assert_true(heap_pop(h)->queue == HEAP_NONE);
	}
}

static void a_heap_gives_the_least(void **state)
{
	static const unsigned rates[] = {1, 3, HEAP_ROWS};
	struct heap h;

	(void)state;
	for (unsigned r = 0; r < ARRAY_SIZE(rates); r++) {
		fill_heap(&h, HEAP_READY, rates[r]);
		for (unsigned i = 0; i < HEAPED; i += 3) {
			heap_remove(&h, &heaped[i]);
			assert_true(heap_holds(&h) && heaped[i].queue == HEAP_NONE);
		}
		gives_the_least(&h);
	}
	fill_heap(&h, HEAP_PARKED, 1);
	assert_true(h.rows == HEAPED);
	for (unsigned i = 0; i < h.rows; i++)
		h.at[i].key = -h.at[i].key;
	heap_mend(&h);
	gives_the_least(&h);
}

/* Equals that come in order stand in one row; all are met on a walk, once. */
static void who_comes_in_order_stands_in_a_row(void **state)
{
	struct heap h;
	struct sched_entity *all;
	unsigned met = 0;

	(void)state;
	memset(heaped, 0, sizeof heaped);
	heap_begin(&h, HEAP_FUTURE, slots, HEAPED);
	for (unsigned i = 0; i < 100; i++) {
		heaped[i].rate_row = (uint8_t)(i & 1);
		heap_push(&h, &heaped[i], i);
	}
	assert_true(h.rows == 2 && h.count == 100 && heap_holds(&h));
	heap_for_each(it, &h) {
		assert_true(it.passed == met++ && it.e->key >= 0);
		it.e->key = -1 - it.e->key;
	}
	assert_true(met == 100);
	for (all = heap_take_all(&h); all; all = all->behind, met--)
		assert_true(all->key < 0 && all->queue == HEAP_NONE);
	assert_true(met == 0 && h.count == 0 && h.rows == 0);
}

/* What comes in at the top takes the place of what leaves: as many as before, in order. */
static void an_exchange_is_a_push_and_a_pop(void **state)
{
	struct heap h;
	uint64_t x = 1;
	struct sched_entity *out = &heaped[100];

	(void)state;
	memset(heaped, 0, sizeof heaped);
	heap_begin(&h, HEAP_FUTURE, slots, 101);
	for (unsigned i = 0; i < 100; i++)
		heap_push(&h, &heaped[i], (int64_t)i * 7 % 100);
	for (unsigned i = 0; i < 1000; i++) {
		struct sched_entity *in = out;
		int64_t least = h.at[0].key;

		x = x * 6364136223846793005ull + 1442695040888963407ull;
		in->rate_row = (uint8_t)(x >> 20 & 7);
		out = heap_exchange(&h, in, (int64_t)(x >> 58) + least);
		assert_true(out != in && out->queue == HEAP_NONE && in->queue == HEAP_FUTURE);
		assert_true(h.count == 100 && heap_holds(&h) && h.at[0].key >= least);
	}
}

/* ---- tags ---- */

static void tags_are_time(void **state)
{
	struct sched_cpu c = {.now = 10000, .omega = 1000};
	struct sched_entity e = {.eligible = 8000, .left = 100};
	struct sched s = {.slice = 1000, .cpus = 2};

	(void)state;
	set_rate(&s, &e, RATE_ONE / 4);
	assert_true(virtual_now(&c) == 9000);
	assert_true(lag_of(&c, &e) == 250);
	assert_true(deadline_of(&e) == 8400);
	e.eligible = 9400;
	assert_true(lag_of(&c, &e) == -100);
	assert_true(stretch(-100, RATE_ONE / 4) == -400 && stretch(7, RATE_ONE) == 7);
	/* Who is due nearly a whole CPU of several goes before others: he could not make good what they take. */
	e.eligible = 8000;
	set_rate(&s, &e, RATE_ONE);
	assert_true(deadline_of(&e) == 7100);
	s.cpus = 1;
	set_rate(&s, &e, RATE_ONE - 1);
	assert_true(deadline_of(&e) == 8100);
	set_rate(&s, &e, RATE_ONE / 4);
	/* Nothing overflows at the ends of the ranges. */
	assert_true(stretch(INT64_MAX, RATE_MIN) == TIME_CAP * (int64_t)(RATE_ONE / RATE_MIN));
	e.eligible = INT64_MIN / 2;
	assert_true(lag_of(&c, &e) == TIME_CAP);
}

/* ---- limits ---- */

static void a_window_gives_out_what_it_has(void **state)
{
	struct sched s = {.window = 1000};
	struct sched_pool outer = {.limit_ticks = 300}, inner = {.parent = &outer, .limit_ticks = 200};
	struct sched_entity e = {.pool = &inner}, f = {.pool = &outer};

	(void)state;
	outer.limited = &outer;
	inner.limited = &inner;
	assert_true(limit_take(&s, &e, 5000, 150) == 150);
	assert_true(limit_take(&s, &f, 5000, 100) == 100);
	assert_true(limit_take(&s, &f, 5000, 100) == 50); /* the outer one is used up */
	e.grant = 150;
	limit_settle(&s, &e, 20, 5020); /* gives 130 back to both */
	assert_true(limit_take(&s, &e, 5000, 1000) == 130); /* the outer one has 130, the inner 180 */
	assert_true(limit_take(&s, &e, 5100, 1) == 0);
	assert_true(limit_take(&s, &e, 5950, 100) == 0);
	assert_true(limit_take(&s, &e, 6000, 1000) == 200); /* a new window */
	assert_true(limit_window_end(&s, 6000) == 7000);
}

static void a_turn_ends_with_its_window(void **state)
{
	struct sched s = {.window = 1000};
	struct sched_pool p = {.limit_ticks = 300};
	struct sched_entity e = {.pool = &p};

	(void)state;
	p.limited = &p;
	assert_true(limit_take(&s, &e, 5950, 100) == 50);
	/* What comes late is of a window that has gone. */
	assert_true(limit_take(&s, &e, 6000, 300) == 300);
	e.granted_in = 5;
	e.grant = 50;
	limit_settle(&s, &e, 0, 6000);
	assert_true(limit_take(&s, &e, 6500, 1) == 0);
	/* A turn that ends late takes what it ran of the next window out of that. */
	assert_true(limit_take(&s, &e, 7950, 100) == 50);
	limit_settle(&s, &e, 57, 8007);
	assert_true(limit_take(&s, &e, 8007, 1000) == 293);
}

/* The rest of the window has its part of the new limit, whatever was used under the old one. */
static void a_new_limit_counts_from_its_change_on(void **state)
{
	struct sched s = {.window = 1000};
	struct sched_pool p = {.limit_ticks = 300};
	struct sched_entity e = {.pool = &p};

	(void)state;
	p.limited = &p;
	assert_true(limit_take(&s, &e, 5000, 300) == 300);
	p.limit_ticks = 100;
	limit_changed(&p);
	limit_settle(&s, &e, 290, 5290); /* of the old one */
	assert_true(limit_take(&s, &e, 5600, 1000) == 40);
	assert_true(limit_take(&s, &e, 6000, 1000) == 100);
}

/* ---- implicit co-scheduling ---- */

static void catching_up_grows_with_the_logarithm(void **state)
{
	(void)state;
	assert_true(cosched_catch_up(500, 1000) == 500);
	assert_true(cosched_catch_up(2000, 1000) == 2000);
	assert_true(cosched_catch_up(2001, 1000) == 1500);
	assert_true(cosched_catch_up(4000, 1000) == 1500);
	assert_true(cosched_catch_up(4001, 1000) == 2000);
	assert_true(cosched_catch_up(1000000, 1000) == 5500); /* 2^9 T < 1000 T <= 2^10 T */
	assert_true(cosched_catch_up(UINT64_MAX, 1000) < 64 * 1000);
}

static void the_bonus_is_bounded(void **state)
{
	(void)state;
	assert_true(cosched_bonus(0, 1000) == 0);
	assert_true(cosched_bonus(1, 1000) == 250);
	for (unsigned n = 1; n < SCHED_GANG_MAX; n++)
		assert_true(cosched_bonus(n + 1, 1000) >= cosched_bonus(n, 1000) && cosched_bonus(n, 1000) < 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares_alone), cmocka_unit_test(a_cap_is_left_to_the_others),
		cmocka_unit_test(a_floor_is_taken_from_the_others), cmocka_unit_test(outside_the_bounds_the_bounds_hold),
		cmocka_unit_test(random_parts), cmocka_unit_test(a_heap_gives_the_least),
		cmocka_unit_test(an_exchange_is_a_push_and_a_pop),
		cmocka_unit_test(who_comes_in_order_stands_in_a_row), cmocka_unit_test(tags_are_time),
		cmocka_unit_test(a_window_gives_out_what_it_has), cmocka_unit_test(a_turn_ends_with_its_window),
		cmocka_unit_test(a_new_limit_counts_from_its_change_on),
		cmocka_unit_test(catching_up_grows_with_the_logarithm), cmocka_unit_test(the_bonus_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
