/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mClock twice. First: random trees of pools, random numbers and requests, where each pick is judged
 * by looking at everybody and comparing, and the structure is checked after each step.
 * Second: a server whose capacity goes high, low and high, with clients that always have work,
 * held against water filling: each gets min(limit, max(reservation, level * shares)),
 * with the level at which all of them together are what the server can.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "io/mclock.h"
#include "lib/bits.h"
#include "lib/clock.h"
#include "tests/model/random.h"

#define HZ 1000000000ull
#define POOLS_MAX 5u
#define CLIENTS_MAX 24u
#define STEPS 3000u
#define REQUESTS_MAX 150u

static const struct mclock_config cfg = {.hz = HZ, .request_bytes = 256 << 10, .limit_slack = HZ / 100, .burst = 2};

/* ---- everybody looked at ---- */

struct request {
	struct mclock_request r;
	bool waits;
	uint64_t bytes; /* not served yet */
	uint32_t cost;  /* of these */
};

static struct mclock_pool root, pools[POOLS_MAX];
static struct mclock_client clients[CLIENTS_MAX];
static struct request requests[REQUESTS_MAX];
static struct mclock_node *nodes[POOLS_MAX + CLIENTS_MAX];
static unsigned node_count, client_count;
static uint64_t now;

static unsigned index_of(const struct mclock_node *n)
{
	for (unsigned i = 0;; i++)
		if (nodes[i] == n)
			return i;
}

/* How many requests wait in or below each node. */
static unsigned waiting[POOLS_MAX + CLIENTS_MAX];

static void count_waiting(void)
{
	memset(waiting, 0, sizeof waiting);
	for (unsigned i = 0; i < REQUESTS_MAX; i++)
		for (const struct mclock_node *n = &requests[i].r.client->node; requests[i].waits && n->parent;
		     n = &n->parent->node)
			waiting[index_of(n)]++;
}

static uint64_t let_at(const struct mclock_node *n);

static uint64_t members_let_at(const struct mclock_node *pool)
{
	uint64_t first = MCLOCK_NEVER;

	for (unsigned i = 0; i < node_count; i++)
		if (&nodes[i]->parent->node == pool && waiting[i])
			first = MIN(first, let_at(nodes[i]));
	return first;
}

static uint64_t let_at(const struct mclock_node *n)
{
	uint64_t own = n->numbers.limit == RLS_UNLIMITED ? 0 : n->limited.at;

	return n->is_pool ? MAX(own, members_let_at(n)) : own;
}

static uint64_t due_at(const struct mclock_node *n)
{
	uint64_t first = MCLOCK_NEVER;

	if (n->numbers.reservation == 0)
		return MCLOCK_NEVER;
	if (!n->is_pool)
		return n->reserved.at;
	for (unsigned i = 0; i < node_count; i++)
		if (&nodes[i]->parent->node == n && waiting[i])
			first = MIN(first, due_at(nodes[i]));
	return MAX(n->reserved.at, MIN(first, members_let_at(n)));
}

/* Notes what each node is before a pick, and whether the pick was a right one. */
struct before {
	uint64_t due, let, turn;
	bool works;
} before[POOLS_MAX + CLIENTS_MAX];

static void note(void)
{
	count_waiting();
	for (unsigned i = 0; i < node_count; i++) {
		before[i] = (struct before){.works = waiting[i] != 0, .turn = nodes[i]->turn};
		if (before[i].works) {
			before[i].due = due_at(nodes[i]);
			before[i].let = let_at(nodes[i]);
		}
	}
}

/* @n was chosen among its siblings: was it the one? */
static void judge(const struct mclock_node *n, bool due)
{
	const struct before *chosen = &before[index_of(n)];

	for (unsigned i = 0; i < node_count; i++) {
		const struct before *b = &before[i];

		if (nodes[i]->parent != n->parent || !b->works)
			continue;
		if (b->due <= now)
			assert_true(chosen->due <= b->due);
		if (chosen->due > now && b->let <= now) /* who was let go meanwhile may have been moved on */
			assert_true((int64_t)(chosen->turn - nodes[i]->turn) <= 0);
	}
	assert_true(chosen->works && (chosen->due <= now || chosen->let <= now));
	if (!n->is_pool)
		assert_true(due == (chosen->due <= now));
}

static void pick(void)
{
	struct mclock_request *r;
	struct request *of;
	uint64_t next = 0;

	note();
	r = mclock_pick(&root, now, &next);
	if (!r) {
		uint64_t first = MCLOCK_NEVER;

		for (unsigned i = 0; i < node_count; i++)
			if (nodes[i]->parent == &root && before[i].works)
				first = MIN(first, MIN(before[i].due, before[i].let));
		assert_true(first > now && next == first);
		return;
	}
	of = container_of(r, struct request, r);
	assert_true(of->waits);
	for (unsigned i = 0; i < REQUESTS_MAX; i++)
		if (requests[i].waits && requests[i].r.client == r->client)
			assert_true(requests[i].r.arrived >= r->arrived);
	for (const struct mclock_node *n = &r->client->node; n->parent; n = &n->parent->node)
		judge(n, r->by_reservation);
	of->waits = false;
}

static struct rls random_numbers(struct random_state *s, bool reserve)
{
	struct rls n = {.limit = RLS_UNLIMITED, .shares = 1 + (uint32_t)random_below(s, 2000)};

	if (reserve && random_below(s, 2))
		n.reservation = 1 + random_below(s, 3000);
	if (random_below(s, 3) == 0)
		n.limit = n.reservation + 1 + random_below(s, 2000);
	return n;
}

static enum mclock_unit random_unit(struct random_state *s) { return random_below(s, 4) ? MCLOCK_REQUESTS : MCLOCK_BYTES; }

static void grow(struct random_state *s)
{
	unsigned pool_count = (unsigned)random_below(s, POOLS_MAX + 1);

	mclock_root_init(&root, &cfg);
	memset(requests, 0, sizeof requests);
	node_count = 0;
	for (unsigned i = 0; i < pool_count; i++) {
		struct mclock_pool *above = i && random_below(s, 2) ? &pools[random_below(s, i)] : &root;
		struct rls n = random_numbers(s, true);

		mclock_pool_init(&pools[i], above, random_unit(s), &n, now);
		nodes[node_count++] = &pools[i].node;
	}
	client_count = 1 + (unsigned)random_below(s, CLIENTS_MAX);
	for (unsigned i = 0; i < client_count; i++) {
		struct mclock_pool *above = pool_count && random_below(s, 3) ? &pools[random_below(s, pool_count)] : &root;
		struct rls n = random_numbers(s, above == &root || above->node.numbers.reservation);

		mclock_client_init(&clients[i], above, random_unit(s), &n, now);
		nodes[node_count++] = &clients[i].node;
	}
	for (unsigned i = 0; i < REQUESTS_MAX; i++)
		requests[i].r.client = &clients[0];
}

static void arrive(struct random_state *s)
{
	struct request *q = &requests[random_below(s, REQUESTS_MAX)];
	struct mclock_client *c = &clients[random_below(s, client_count)];

	if (q->waits)
		return;
	q->r.bytes = random_below(s, 1 << 20);
	q->r.cost = mclock_cost(&cfg, q->r.bytes);
	q->r.arrived = now;
	if (!root.waiting && mclock_pass(c, &q->r))
		return;
	mclock_add(c, &q->r);
	q->waits = true;
}

static void step(struct random_state *s)
{
	struct request *q = &requests[random_below(s, REQUESTS_MAX)];
	struct mclock_node *n = nodes[random_below(s, node_count)];
	struct rls numbers;

	now += random_below(s, 4) ? random_below(s, HZ / 2000) : random_below(s, HZ / 20);
	switch (random_below(s, 16)) {
	case 0:
		if (q->waits) {
			mclock_cancel(&q->r, now);
			q->waits = false;
		}
		break;
	case 1:
		numbers = random_numbers(s, n->numbers.reservation != 0);
		mclock_set(n, random_unit(s), &numbers, now);
		break;
	case 2 ... 8:
		arrive(s);
		break;
	default:
		pick();
	}
	assert_true(mclock_check(&root));
}

static void random_life(struct random_state *s)
{
	now = 1 + random_below(s, HZ * 100);
	grow(s);
	for (unsigned i = 0; i < STEPS; i++)
		step(s);
	for (unsigned i = 0; i < REQUESTS_MAX; i++)
		if (requests[i].waits)
			mclock_cancel(&requests[i].r, now);
	for (unsigned i = node_count; i-- > 0;)
		mclock_leave(nodes[i]);
	assert_true(root.waiting == 0 && !root.reserved.top && !root.ready.top && !root.limited.top);
}

static void test_random_life(void **state)
{
	(void)state;
	random_runs(12, random_life);
}

/* ---- water filling ---- */

#define FLOWS_MAX 8u
#define QUEUE 16u
#define WINDOWS 5u

static struct flow {
	struct mclock_client client;
	struct mclock_request queue[QUEUE];
	struct rls numbers;
	uint64_t served;
} flows[FLOWS_MAX];
static unsigned flow_count;

static double level_gives(unsigned i, double level)
{
	const struct rls *n = &flows[i].numbers;
	double by_shares = level * n->shares, least = (double)n->reservation;

	by_shares = by_shares > least ? by_shares : least;
	return n->limit != RLS_UNLIMITED && by_shares > (double)n->limit ? (double)n->limit : by_shares;
}

static double level_of(double capacity)
{
	double low = 0, high = capacity;

	for (unsigned round = 0; round < 200; round++) {
		double middle = (low + high) / 2, sum = 0;

		for (unsigned i = 0; i < flow_count; i++)
			sum += level_gives(i, middle);
		if (sum < capacity)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static void offer(struct flow *f, struct mclock_request *r)
{
	r->arrived = now;
	r->cost = MCLOCK_COST_ONE;
	mclock_add(&f->client, r);
}

/* A server that does @capacity requests a second, one after the other. */
static void serve(uint64_t capacity, uint64_t ticks)
{
	uint64_t end = now + ticks, next;

	for (unsigned i = 0; i < flow_count; i++)
		flows[i].served = 0;
	while (now < end) {
		struct mclock_request *r = mclock_pick(&root, now, &next);

		if (!r) {
			now = MIN(next, end);
			continue;
		}
		now += HZ / capacity;
		for (unsigned i = 0; i < flow_count; i++)
			if (r->client == &flows[i].client) {
				flows[i].served++;
				offer(&flows[i], r);
			}
	}
}

static void judge_window(uint64_t capacity)
{
	double level = level_of((double)capacity);

	for (unsigned i = 0; i < flow_count; i++) {
		double due = level_gives(i, level), off = (double)flows[i].served - due;
		double bar = due / 100 > 2 ? due / 100 : 2;

		off = off < 0 ? -off : off;
		if (off > bar)
			fail_msg("flow %u of %u got %llu, due %.1f (reservation %llu, limit %lld, shares %u) of %llu", i,
				 flow_count, (unsigned long long)flows[i].served, due,
				 (unsigned long long)flows[i].numbers.reservation, (long long)flows[i].numbers.limit,
				 flows[i].numbers.shares, (unsigned long long)capacity);
	}
}

static void water_filling(struct random_state *s)
{
	uint64_t low = 300 + random_below(s, 500), high = low * (2 + random_below(s, 5)), left = low * 8 / 10;
	const uint64_t capacities[] = {high, low, high};

	now = 1 + random_below(s, HZ);
	mclock_root_init(&root, &cfg);
	flow_count = 2 + (unsigned)random_below(s, FLOWS_MAX - 1);
	for (unsigned i = 0; i < flow_count; i++) {
		struct rls n = {.limit = RLS_UNLIMITED, .shares = 1 + (uint32_t)random_below(s, 20)};

		if (random_below(s, 2)) {
			n.reservation = 1 + random_below(s, left);
			left -= n.reservation - 1;
		}
		if (random_below(s, 3) == 0)
			n.limit = n.reservation + 20 + random_below(s, low);
		flows[i].numbers = n;
		mclock_client_init(&flows[i].client, &root, MCLOCK_REQUESTS, &n, now);
		for (unsigned j = 0; j < QUEUE; j++)
			offer(&flows[i], &flows[i].queue[j]);
	}
	for (unsigned phase = 0; phase < ARRAY_SIZE(capacities); phase++) {
		/* The step was in the middle of a window, which is not judged. */
		if (phase > 0)
			serve(capacities[phase], HZ / 2);
		for (unsigned w = 0; w < WINDOWS; w++) {
			serve(capacities[phase], HZ);
			judge_window(capacities[phase]);
		}
	}
}

static void test_water_filling(void **state)
{
	(void)state;
	random_runs(200, water_filling);
}

/* ---- in parts ---- */

static uint64_t served[CLIENTS_MAX];

/* A part of it was served, or all: what is left stands first of its client's, at its price. */
static void judge_part(struct request *q)
{
	struct mclock_request *r = &q->r;
	uint64_t part = r->part && r->part < q->bytes ? r->part : q->bytes;

	assert_true(r->left == q->bytes - part);
	q->waits = r->left > 0;
	served[r->client - clients] += part;
	if (!q->waits)
		return;
	assert_true(r->bytes == r->left && r->client->requests.next == &r->link);
	assert_true(r->cost < q->cost && llabs((long long)(mul_div(q->cost, r->left, q->bytes) - r->cost)) <= 1);
	q->bytes = r->left;
	q->cost = r->cost;
}

/* Requests of any size, served at once or in parts of any: shares are by bytes all the same. */
static void random_parts(struct random_state *s)
{
	uint64_t next, all = 0;

	now = HZ;
	mclock_root_init(&root, &cfg);
	memset(requests, 0, sizeof requests);
	memset(served, 0, sizeof served);
	for (unsigned i = 0; i < 3; i++)
		mclock_client_init(&clients[i], &root, MCLOCK_BYTES, &(struct rls){.limit = RLS_UNLIMITED, .shares = 1000u << i},
				   now);
	for (unsigned turn = 0; turn < 40000; turn++) {
		for (unsigned i = 0; i < 12; i++) {
			struct request *q = &requests[i];

			if (q->waits)
				continue;
			q->bytes = 60 + random_below(s, random_below(s, 2) ? 1500 : 65000);
			q->cost = (uint32_t)q->bytes * 16;
			q->r = (struct mclock_request){.arrived = now, .bytes = q->bytes, .cost = q->cost,
						       .part = random_below(s, 2) ? 1 + random_below(s, 3000) : 0};
			mclock_add(&clients[i % 3], &q->r);
			q->waits = true;
		}
		now += random_below(s, 10000);
		judge_part(container_of(mclock_pick(&root, now, &next), struct request, r));
		assert_true(mclock_check(&root));
	}
	for (unsigned i = 0; i < 3; i++)
		all += served[i];
	for (unsigned i = 0; i < 3; i++)
		assert_in_range(served[i] * 7000 / all, (1000u << i) * 98 / 100, (1000u << i) * 102 / 100);
	for (unsigned i = 0; i < 12; i++)
		if (requests[i].waits)
			mclock_cancel(&requests[i].r, now);
}

static void test_parts(void **state)
{
	(void)state;
	random_runs(5, random_parts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts),
		cmocka_unit_test(test_random_life), cmocka_unit_test(test_water_filling)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
