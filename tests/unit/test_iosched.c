/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O scheduler over a model of a slow disk, on a clock set by hand: what goes
 * straight through, who goes first when it is contended, limits that wait for their
 * time, the bound that follows a latency, who is told and with which locks held.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "io/iosched.h"
#include "io/model.h"
#include "io/volume.h"
#include "tests/expect_panic.h"
#include "tests/fakes/hand_clock.h"
#include "tests/model/random.h"

#define HZ 1000000000ull
#define BYTES (1u << 20)
#define CLIENTS 4u
#define SLOTS 32u
#define SECTORS 8u /* of a request: 4 KiB */

static const struct clock *clock_by_hand;
static struct volume_ram ram;
static uint8_t memory[BYTES];
static struct model slow;
static struct iosched s;
static struct iosched_client clients[CLIENTS];
static struct iosched_slot slots[CLIENTS][SLOTS];
static uint64_t wake, wakes;

static struct job {
	struct block_request r;
	struct io_segment segment;
	uint8_t data[SECTORS * 512];
	unsigned client;
	bool under_way;
} jobs[CLIENTS * SLOTS];
static unsigned told[CLIENTS];
static bool again; /* who is told submits again */

static uint64_t now(void)
{
	return clock_by_hand->ticks();
}

static void on_wake(void *ctx, uint64_t at)
{
	assert_ptr_equal(ctx, &s);
	assert_true(lock_is_mine(&s.lock));
	wake = at;
	wakes++;
}

static void submit(struct job *j);

static void on_done(struct block_request *r)
{
	struct job *j = container_of(r, struct job, r);

	assert_false(lock_is_mine(&s.lock));
	assert_true(j->under_way && r->done && r->status == ST_OK);
	j->under_way = false;
	told[j->client]++;
	if (again)
		submit(j);
}

static void submit(struct job *j)
{
	j->segment = (struct io_segment){j->data, sizeof j->data};
	j->r = (struct block_request){.op = BLOCK_READ,
				      .lba = (uint64_t)(j - jobs) * SECTORS % (BYTES / 512),
				      .count = SECTORS,
				      .segments = &j->segment,
				      .segment_count = 1,
				      .complete = on_done};
	j->under_way = true;
	if (iosched_submit(&clients[j->client], &j->r)) {
		assert_true(j->r.done);
		j->under_way = false;
		told[j->client]++;
	}
}

/* @count jobs of client @c, its first ones that are not under way. */
static void submit_some(unsigned c, unsigned count)
{
	for (unsigned i = 0; i < SLOTS && count; i++) {
		struct job *j = &jobs[c * SLOTS + i];

		if (j->under_way)
			continue;
		j->client = c;
		submit(j);
		count--;
	}
	assert_int_equal(count, 0);
}

/* Lets @ticks pass, as the machine would: the scheduler is called when it asked to be. */
static void pass_time(uint64_t ticks)
{
	uint64_t end = now() + ticks;

	while (wake <= end) {
		hand_clock_set(MAX(wake, now()));
		wake = TIMERQ_NEVER;
		iosched_run(&s);
		assert_true(iosched_check(&s));
	}
	hand_clock_set(end);
}

static struct rls numbers(uint64_t reservation, uint64_t limit, uint32_t shares)
{
	return (struct rls){.reservation = reservation, .limit = limit ? limit : RLS_UNLIMITED, .shares = shares};
}

static void begin(unsigned i, struct rls n, struct block_device *d, struct mclock_pool *pool)
{
	iosched_client_begin(&clients[i], &s, pool, d, MCLOCK_REQUESTS, &n, slots[i], SLOTS);
}

static int setup(void **state)
{
	struct error err;

	(void)state;
	clock_by_hand = hand_clock_init(HZ);
	hand_clock_set(HZ);
	wake = TIMERQ_NEVER;
	wakes = 0;
	again = false;
	memset(jobs, 0, sizeof jobs);
	memset(told, 0, sizeof told);
	assert_int_equal(volume_ram_init(&ram, memory, BYTES, 512, "memory", &err), ST_OK);
	iosched_init(&s, &(struct iosched_config){
				 .clock = clock_by_hand, .wake_at = on_wake, .ctx = &s, .request_bytes = 256 << 10});
	assert_int_equal(model_init(&slow, &ram.device, &(struct model_config){.service_ns = 1000000, .depth = 1},
				    clock_by_hand, &s.timers, "slow", &err),
			 ST_OK);
	return 0;
}

static void set_depth(uint32_t depth_max, uint64_t latency_ns)
{
	struct iosched_settings set;

	iosched_settings_init(&set);
	set.depth_max = depth_max;
	set.latency_ns = latency_ns;
	assert_int_equal(iosched_set(&s, &set, NULL), ST_OK);
}

static void drain(void)
{
	again = false;
	pass_time(100 * HZ);
	for (unsigned i = 0; i < CLIENTS * SLOTS; i++)
		assert_false(jobs[i].under_way);
}

/* Memory answers at once: nobody waits, no timer is set, and the figures say so. */
static void test_straight(void **state)
{
	struct iosched_figures f;

	(void)state;
	memset(memory + 4096, 0x5a, 4096);
	begin(0, numbers(0, 0, 1000), &ram.device, NULL);
	submit_some(0, 2);
	assert_int_equal(told[0], 2);
	assert_int_equal(jobs[1].data[17], 0x5a);
	iosched_figures(&clients[0], &f);
	assert_true(f.requests[BLOCK_READ] == 2 && f.bytes_read == 8192 && f.straight == 2);
	assert_true(f.queued == 0 && f.at_device == 0 && f.waiting == 0 && wakes == 0);
	iosched_client_end(&clients[0]);
}

/* Three that always have work get the slow disk by their shares; no more than the bound are at it. */
static void test_shares(void **state)
{
	struct iosched_figures f;
	unsigned sum;

	(void)state;
	set_depth(2, 0);
	for (unsigned i = 0; i < 3; i++)
		begin(i, numbers(0, 0, 1000u << i), &slow.device, NULL);
	again = true;
	for (unsigned i = 0; i < 3; i++)
		submit_some(i, 8);
	assert_true(s.at_device == 2);
	pass_time(10 * HZ);
	sum = told[0] + told[1] + told[2];
	assert_in_range(sum, 9990, 10001);
	for (unsigned i = 0; i < 3; i++)
		assert_in_range(told[i] * 7 * 100 / sum, (1u << i) * 99, (1u << i) * 101);
	iosched_figures(&clients[2], &f);
	assert_true(f.queued / f.requests[BLOCK_READ] > 8 * HZ / 1000 && f.throttled == 0);
	assert_true(f.service / f.requests[BLOCK_READ] <= 2 * HZ / 1000 &&
		    f.service / f.requests[BLOCK_READ] > HZ / 1000);
	drain();
}

/* A limit is kept to the request, by a timer and not by anybody's polling; what it cost is counted. */
static void test_limit(void **state)
{
	struct iosched_figures f;

	(void)state;
	begin(0, numbers(0, 100, 1000), &ram.device, NULL);
	again = true;
	submit_some(0, 4);
	pass_time(5 * HZ);
	assert_in_range(told[0], 499, 503);
	assert_in_range(wakes, 490, 1100);
	iosched_figures(&clients[0], &f);
	assert_true(f.throttled > 4 * f.queued / 5 && f.queued > 0);
	drain();
}

/* A reservation is met while two others flood the disk; with none it would not be. */
static void test_reservation(void **state)
{
	(void)state;
	set_depth(1, 0);
	for (unsigned with = 0; with < 2; with++) {
		begin(0, numbers(with ? 300 : 0, 0, 1), &slow.device, NULL);
		for (unsigned i = 1; i < 3; i++)
			begin(i, numbers(0, 0, 10000), &slow.device, NULL);
		again = true;
		for (unsigned i = 0; i < 3; i++)
			submit_some(i, 16);
		pass_time(HZ / 2);
		memset(told, 0, sizeof told);
		pass_time(HZ);
		if (with)
			assert_in_range(told[0], 299, 302);
		else
			assert_in_range(told[0], 0, 3);
		drain();
		for (unsigned i = 0; i < 3; i++)
			iosched_client_end(&clients[i]);
	}
}

/* A pool's limit holds for its members together. */
static void test_pool_limit(void **state)
{
	struct mclock_pool pool;
	struct rls n = numbers(0, 200, 1000);

	(void)state;
	iosched_pool_begin(&s, &pool, NULL, MCLOCK_REQUESTS, &n);
	begin(0, numbers(0, 0, 1000), &ram.device, &pool);
	begin(1, numbers(0, 0, 3000), &ram.device, &pool);
	again = true;
	submit_some(0, 8);
	submit_some(1, 8);
	pass_time(4 * HZ);
	assert_in_range(told[0] + told[1], 798, 804);
	assert_in_range(told[0], 196, 206);
	n.limit = 400; /* at once */
	memset(told, 0, sizeof told);
	iosched_pool_set(&s, &pool, MCLOCK_REQUESTS, &n);
	pass_time(4 * HZ);
	assert_in_range(told[0] + told[1], 1590, 1606);
	drain();
	iosched_client_end(&clients[0]);
	iosched_client_end(&clients[1]);
	iosched_pool_end(&s, &pool);
}

/* The bound settles where the disk's latency is the operator's, and not lower than what keeps the disk busy. */
static void test_latency(void **state)
{
	struct iosched_figures before, after;
	struct error err;
	uint64_t count;

	(void)state;
	assert_int_equal(model_set(&slow, &(struct model_config){.service_ns = 1000000, .depth = 4}, &err), ST_OK);
	set_depth(64, 4000000);
	begin(0, numbers(0, 0, 1000), &slow.device, NULL);
	again = true;
	submit_some(0, SLOTS);
	pass_time(5 * HZ);
	iosched_figures(&clients[0], &before);
	pass_time(5 * HZ);
	iosched_figures(&clients[0], &after);
	count = after.requests[BLOCK_READ] - before.requests[BLOCK_READ];
	assert_in_range(count, 19900, 20001); /* 4 at a time, 1 ms each: nothing is lost */
	assert_in_range((after.service - before.service) / count, 3200000, 4800000);
	assert_in_range(s.depth, 13, 20);
	set_depth(64, 0); /* without a target everything goes to the disk */
	pass_time(HZ);
	assert_int_equal(s.at_device, SLOTS);
	drain();
}

static void test_cancel(void **state)
{
	(void)state;
	set_depth(1, 0);
	begin(0, numbers(0, 0, 1000), &slow.device, NULL);
	submit_some(0, 4);
	assert_true(iosched_cancel(&clients[0], &jobs[2].r)); /* waits for its turn */
	jobs[2].under_way = false;
	assert_false(iosched_cancel(&clients[0], &jobs[2].r)); /* and is not here any more */
	EXPECT_PANIC(iosched_client_end(&clients[0]));
	s.lock = (struct lock){.rank = LOCK_IO}; /* as the panic left it */
	lock_note_release(&s.lock);
	drain();
	assert_int_equal(told[0], 3);
	iosched_client_end(&clients[0]);
}

/* What is at a device without an operator's word is little more than it works on, so that the order is ours. */
static void test_bound_by_the_device(void **state)
{
	(void)state;
	assert_int_equal(s.depth, 64);
	iosched_works_on(&s, 1);
	assert_int_equal(s.depth, 4);
	iosched_works_on(&s, 3);
	assert_int_equal(s.depth, 6);
	iosched_works_on(&s, 0);
	assert_int_equal(s.depth, 6);
	set_depth(5, 0);
	assert_int_equal(s.depth, 5);
	iosched_hold(&s);
	set_depth(7, 0);
	iosched_works_on(&s, 200);
	assert_int_equal(s.depth, 0);
	iosched_let_go(&s);
	assert_int_equal(s.depth, 7);
	set_depth(0, 0);
	assert_int_equal(s.depth, 256);
	set_depth(0, 1000);
	iosched_works_on(&s, 201);
	assert_int_equal(s.depth, 256);
}

static void test_settings(void **state)
{
	struct iosched_settings set;
	struct error err;

	(void)state;
	iosched_settings_init(&set);
	set.depth_max = 257;
	assert_int_equal(iosched_set(&s, &set, &err), ST_INVALID);
	assert_string_equal(err.text, "depth_max is 257, it can be 256 at most");
	iosched_settings_init(&set);
	set.latency_ns = 60000000001;
	assert_int_equal(iosched_set(&s, &set, &err), ST_INVALID);
	iosched_settings_init(&set);
	set.burst = 1001;
	assert_int_equal(iosched_set(&s, &set, &err), ST_INVALID);
	assert_string_equal(err.text, "burst is 1001 requests, it can be 1000 at most");
}

/* Random clients, numbers, cancellations and times: each request ends once, or is taken back. */
static void random_life(struct random_state *r)
{
	unsigned submitted = 0, taken = 0, ended = 0;

	setup(NULL);
	set_depth(1 + (uint32_t)random_below(r, 6), random_below(r, 2) ? 3000000 : 0);
	for (unsigned i = 0; i < CLIENTS; i++)
		begin(i, numbers(random_below(r, 100), 0, 1 + (uint32_t)random_below(r, 3000)),
		      random_below(r, 2) ? &slow.device : &ram.device, NULL);
	for (unsigned step = 0; step < 3000; step++) {
		struct job *j = &jobs[random_below(r, CLIENTS * SLOTS)];
		struct rls n =
			numbers(random_below(r, 100), 100 + random_below(r, 2000), 1 + (uint32_t)random_below(r, 3000));

		j->client = (unsigned)(j - jobs) / SLOTS;
		if (random_below(r, 20) == 0)
			iosched_client_set(&clients[j->client], random_below(r, 2) ? MCLOCK_BYTES : MCLOCK_REQUESTS,
					   &n);
		else if (!j->under_way)
			submit(j), submitted++;
		else if (random_below(r, 8) == 0 && iosched_cancel(&clients[j->client], &j->r))
			j->under_way = false, taken++;
		pass_time(random_below(r, HZ / 500));
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct rls n = numbers(0, 0, 1000);

		iosched_client_set(&clients[i], MCLOCK_REQUESTS, &n);
	}
	drain();
	for (unsigned i = 0; i < CLIENTS; i++) {
		ended += told[i];
		iosched_client_end(&clients[i]);
	}
	assert_int_equal(ended + taken, submitted);
	assert_true(taken > 0 && s.at_device == 0 && s.root.waiting == 0);
}

static void test_random_life(void **state)
{
	(void)state;
	random_runs(5, random_life);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_straight, setup),	 cmocka_unit_test_setup(test_shares, setup),
		cmocka_unit_test_setup(test_limit, setup),	 cmocka_unit_test_setup(test_reservation, setup),
		cmocka_unit_test_setup(test_pool_limit, setup),	 cmocka_unit_test_setup(test_latency, setup),
		cmocka_unit_test_setup(test_cancel, setup),	 cmocka_unit_test_setup(test_bound_by_the_device, setup),
		cmocka_unit_test_setup(test_settings, setup),	 cmocka_unit_test_setup(test_random_life, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
