/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O scheduling without an emulator. Cases that bench/host.py counts by callgrind, compiled as for the
 * machine: one decision among 10 to 1,000 clients that always have work, ours beside its rivals; and what a
 * request pays that stands behind nobody. `host_io phases` simulates a disk that gets slow and fast again
 * instead, and prints rows for bench/iorivals.py.
 */
#include <stdio.h>
#include <string.h>

#include "bench/io_rivals.h"
#include "io/iosched.h"
#include "lib/assert.h"

#define HZ 1000000000ull
#define ROUNDS 4000u
#define CASE __attribute__((noinline, noclone)) static void

static uint64_t now;

/* A third has reservations, a third limits, and shares differ. */
static struct rls numbers_of(unsigned i)
{
	struct rls n = {.limit = RLS_UNLIMITED, .shares = 1000 * (1 + i % 4)};

	if (i % 3 == 0)
		n.reservation = 20;
	if (i % 3 == 1)
		n.limit = 150;
	return n;
}

static void fill(const struct io_rival *r, unsigned count)
{
	now = HZ;
	r->start(HZ);
	for (unsigned i = 0; i < count; i++) {
		struct rls n = numbers_of(i);

		r->add(i, &n, now);
	}
}

/* ---- a decision ---- */

#define DECISION(rival, count)                                                             \
	CASE case_decision_##rival##_##count(void)                                         \
	{                                                                                  \
		uint64_t next;                                                             \
		int i = rival.pick(now, &next);                                            \
                                                                                           \
		ASSERT(i >= 0);                                                            \
		rival.again((unsigned)i, now);                                             \
	}                                                                                  \
	static void run_decision_##rival##_##count(void)                                   \
	{                                                                                  \
		uint64_t next;                                                             \
                                                                                           \
		fill(&rival, count);                                                       \
		for (unsigned i = 0; i < 4 * count; i++, now += HZ / (100 * count)) {      \
			int one = rival.pick(now, &next); /* until everybody has his place */ \
                                                                                           \
			if (one >= 0)                                                      \
				rival.again((unsigned)one, now);                           \
		}                                                                          \
		for (unsigned i = 0; i < ROUNDS; i++, now += HZ / (100 * count))           \
			case_decision_##rival##_##count();                                 \
	}

#define DECISIONS(rival)       \
	DECISION(rival, 10)    \
	DECISION(rival, 30)    \
	DECISION(rival, 100)   \
	DECISION(rival, 300)   \
	DECISION(rival, 1000)

DECISIONS(io_ours)
DECISIONS(io_scan)
DECISIONS(io_bucket)

/* ---- a request that stands behind nobody ---- */

static uint64_t ticks(void) { return now; }
static const struct clock test_clock = {.ticks = ticks, .hz = HZ};

static void at_once(struct block_device *d, struct block_request *r)
{
	(void)d;
	r->status = ST_OK;
	r->done = true;
}

static const struct block_ops instant_ops = {.submit = at_once};
static struct block_device instant = {.ops = &instant_ops, .sector_bytes = 512, .max_count = 1024, .sectors = 1 << 20};
static struct iosched domain;
static struct iosched_client client;
static struct iosched_slot slots[8];
static struct block_request request;

CASE case_io_alone_direct(void)
{
	instant.ops->submit(&instant, &request);
	ASSERT(request.done);
}

CASE case_io_alone_scheduled(void)
{
	bool done = iosched_submit(&client, &request);

	ASSERT(done);
}

static void no_wake(void *ctx, uint64_t at)
{
	(void)ctx;
	(void)at;
}

static void prepare(void)
{
	struct rls n = {.reservation = 100, .limit = RLS_UNLIMITED, .shares = 1000};

	now = HZ;
	iosched_init(&domain, &(struct iosched_config){.clock = &test_clock, .wake_at = no_wake, .request_bytes = 256 << 10});
	iosched_client_begin(&client, &domain, NULL, &instant, MCLOCK_REQUESTS, &n, slots, 8);
	request = (struct block_request){.op = BLOCK_READ, .count = 8};
}

static void run_io_alone_direct(void)
{
	prepare();
	for (unsigned i = 0; i < ROUNDS; i++)
		case_io_alone_direct();
}

static void run_io_alone_scheduled(void)
{
	prepare();
	for (unsigned i = 0; i < ROUNDS; i++, now += HZ / 10000)
		case_io_alone_scheduled();
}

#define ROW(rival, count) {"decision_" #rival "_" #count, run_decision_##rival##_##count},
#define ROWS(rival) ROW(rival, 10) ROW(rival, 30) ROW(rival, 100) ROW(rival, 300) ROW(rival, 1000)

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	ROWS(io_ours)
	ROWS(io_scan)
	ROWS(io_bucket)
	{"io_alone_direct", run_io_alone_direct},
	{"io_alone_scheduled", run_io_alone_scheduled},
};

/* ---- a disk that gets slow ---- */

static const struct io_rival *const rivals[] = {&io_ours, &io_scan, &io_bucket};

/* Requests a second of five clients in each tenth of a second; the disk does 2,000 a second, 500, and 2,000 again. */
static void phases(void)
{
	static const struct rls five[] = {
		{.limit = RLS_UNLIMITED, .shares = 1000}, {.limit = RLS_UNLIMITED, .shares = 2000},
		{.reservation = 250, .limit = RLS_UNLIMITED, .shares = 1000}, {.limit = 200, .shares = 4000},
		{.limit = RLS_UNLIMITED, .shares = 1000}, /* away in the first two seconds */
	};
	uint64_t next, end, began = HZ;

	for (unsigned r = 0; r < 3; r++) {
		now = began;
		rivals[r]->start(HZ);
		for (unsigned i = 0; i < 4; i++)
			rivals[r]->add(i, &five[i], now);
		for (unsigned tenth = 0; tenth < 90; tenth++) {
			uint64_t capacity = tenth / 30 == 1 ? 500 : 2000;
			unsigned served[5] = {0};

			if (tenth == 20)
				rivals[r]->add(4, &five[4], now);
			for (end = began + (tenth + 1) * (HZ / 10); now < end;) {
				int i = rivals[r]->pick(now, &next);

				if (i < 0) {
					now = next < end ? next : end;
					continue;
				}
				served[i]++;
				now += HZ / capacity;
				rivals[r]->again((unsigned)i, now);
			}
			printf("%s,%.1f", rivals[r]->name, (tenth + 1) / 10.0);
			for (unsigned i = 0; i < 5; i++)
				printf(",%u", served[i] * 10);
			printf("\n");
		}
	}
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "phases")) {
		phases();
		return 0;
	}
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		if (argc < 2) {
			printf("%s\n", cases[i].name);
		} else if (!strcmp(argv[1], cases[i].name)) {
			cases[i].run();
			printf("rounds %u\n", ROUNDS);
			return 0;
		}
	}
	return argc < 2 ? 0 : 1;
}
