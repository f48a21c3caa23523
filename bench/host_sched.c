/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sched/ beside its rivals, in one program with one method. Cases that
 * bench/host.py counts by callgrind: one turn (charge and pick) among 10 to
 * 1,000 runnable entities of mixed weights on one CPU, compiled as for the machine.
 * `host_sched fair`, `drift` and `wakes` simulate instead, and print rows for bench/rivals.py.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rivals.h"

#define SLICE 50000ull /* 5 ms at 10 MHz */
#define ROUNDS 4000u
#define CASE __attribute__((noinline, noclone)) static void

static const uint32_t weights[] = {1000, 2000, 4000};
static uint64_t now;

static uint32_t weight_of(unsigned i) { return weights[i % 3]; }

static void fill(const struct rival *r, unsigned count)
{
	now = SLICE;
	r->start(SLICE);
	for (unsigned i = 0; i < count; i++)
		r->add(i, weight_of(i));
	for (unsigned i = 0; i < count; i++)
		r->wake(i, now);
}

/* ---- instructions ---- */

#define TURN(rival, count)                                                 \
	CASE case_turn_##rival##_##count(void)                             \
	{                                                                  \
		uint64_t end;                                              \
                                                                           \
		rival.charge(now, false);                                  \
		rival.pick(now, &end);                                     \
	}                                                                  \
	static void run_turn_##rival##_##count(void)                       \
	{                                                                  \
		uint64_t end;                                              \
                                                                           \
		fill(&rival, count);                                       \
		rival.pick(now, &end);                                     \
		for (unsigned i = 0; i < ROUNDS; i++) {                    \
			now = end + i % 64; /* a turn ends a little late */ \
			case_turn_##rival##_##count();                     \
			now += 10;                                         \
			end = now + SLICE;                                 \
		}                                                          \
	}

#define TURNS(rival)       \
	TURN(rival, 10)    \
	TURN(rival, 30)    \
	TURN(rival, 100)   \
	TURN(rival, 300)   \
	TURN(rival, 1000)

TURNS(ours)
TURNS(cfs)
TURNS(lottery)

#define ROW(rival, count) {"turn_" #rival "_" #count, run_turn_##rival##_##count},
#define ROWS(rival) ROW(rival, 10) ROW(rival, 30) ROW(rival, 100) ROW(rival, 300) ROW(rival, 1000)

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	ROWS(ours)
	ROWS(cfs)
	ROWS(lottery)
};

/* ---- how fair, how late ---- */

static const struct rival *const rivals[] = {&ours, &cfs, &lottery};

static double used[RIVAL_ENTITIES];

/* Greatest |received - due| of anybody at any time, in slices, over 100 rounds of all. */
static double error_of(const struct rival *r, unsigned count)
{
	uint64_t end, began, last;
	double sum = 0, most = 0;
	unsigned step = count > 100 ? 37 : 1; /* of many, some are looked at each turn */

	fill(r, count);
	began = now;
	memset(used, 0, sizeof used);
	for (unsigned i = 0; i < count; i++)
		sum += weight_of(i);
	last = began + (uint64_t)(100 * SLICE * sum / weights[0]);
	while (now < last) {
		int i = r->pick(now, &end);

		used[i] += (double)(end - now);
		now = end;
		r->charge(now, false);
		for (unsigned k = (unsigned)i, n = 0; n < count; n += step, k = (k + 37) % count) {
			double error = used[k] - (double)(now - began) * weight_of(k) / sum;

			most = error > most ? error : -error > most ? -error : most;
		}
	}
	return most / (double)SLICE;
}

/* ---- how the error goes on ---- */

#define DRIFT_ENTITIES 10u

/* What the greatest |received - due| of anybody is as time goes by: a row for each slice of 50 rounds. */
static void print_drift_of(const struct rival *r)
{
	uint64_t end, began, last;
	double sum = 0, most;

	fill(r, DRIFT_ENTITIES);
	began = now;
	memset(used, 0, sizeof used);
	for (unsigned i = 0; i < DRIFT_ENTITIES; i++)
		sum += weight_of(i);
	last = began + (uint64_t)(50 * SLICE * sum / weights[0]);
	while (now < last) {
		int i = r->pick(now, &end);

		used[i] += (double)(end - now);
		now = end;
		r->charge(now, false);
		most = 0;
		for (unsigned k = 0; k < DRIFT_ENTITIES; k++) {
			double error = used[k] - (double)(now - began) * weight_of(k) / sum;

			most = error > most ? error : -error > most ? -error : most;
		}
		printf("%s %.2f %.3f\n", r->name, (double)(now - began) / (double)SLICE, most / (double)SLICE);
	}
}

/* ---- how late ---- */

/* xorshift64 */
static uint64_t draw(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x >> 20;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

#define WAKES 2000u
static uint64_t late[WAKES];

/*
 * One entity of the usual weight that wakes at random times, twice in a round of all, and works a hundredth of
 * a slice, beside burners.
 */
static void latencies_of(const struct rival *r, unsigned count)
{
	uint64_t end = 0, x = 88172645463325252ull, wakes_at, woke = 0, work = SLICE / 100;
	unsigned sleeper = count - 1, n = 0;
	bool awake = false;
	int running = -1;

	fill(r, count - 1);
	r->add(sleeper, weights[0]);
	wakes_at = now + draw(&x) % (2 * count * SLICE);
	while (n < WAKES) {
		running = r->pick(now, &end);
		if (running == (int)sleeper) {
			late[n++] = now - woke;
			now += work;
			r->charge(now, true);
			awake = false;
			wakes_at = now + 1 + draw(&x) % (2 * count * SLICE);
			continue;
		}
		if (!awake && wakes_at < end) {
			now = woke = wakes_at;
			awake = true;
			if (!r->wake(sleeper, now))
				now = end;
		} else {
			now = end;
		}
		r->charge(now, false);
	}
	qsort(late, WAKES, sizeof late[0], compare);
}

static void print_fair(void)
{
	static const unsigned counts[] = {3, 10, 30, 100, 300, 1000};

	for (unsigned c = 0; c < sizeof counts / sizeof counts[0]; c++) {
		for (unsigned i = 0; i < sizeof rivals / sizeof rivals[0]; i++) {
			double error = error_of(rivals[i], counts[c]);

			latencies_of(rivals[i], counts[c]);
			printf("%s %u %.3f %.3f %.3f %.3f\n", rivals[i]->name, counts[c], error,
			       (double)late[WAKES / 2] / (double)SLICE, (double)late[WAKES * 99 / 100] / (double)SLICE,
			       (double)late[WAKES - 1] / (double)SLICE);
		}
	}
}

/* How many of the wakes among so many ran within a 64th of a slice, a 32nd, and so on; the last of all buckets is open. */
#define BUCKETS 12u

static void print_wakes_of(const struct rival *r, unsigned count)
{
	unsigned in[BUCKETS] = {0};

	latencies_of(r, count);
	for (unsigned i = 0; i < WAKES; i++) {
		unsigned b = 0;

		while (b < BUCKETS - 1 && late[i] > SLICE / 64 << b)
			b++;
		in[b]++;
	}
	printf("%s", r->name);
	for (unsigned b = 0; b < BUCKETS; b++)
		printf(" %.4f", (double)in[b] / WAKES);
	printf("\n");
}

static void for_each_rival(const char *what)
{
	for (unsigned i = 0; i < sizeof rivals / sizeof rivals[0]; i++) {
		if (strcmp(what, "drift") == 0)
			print_drift_of(rivals[i]);
		else
			print_wakes_of(rivals[i], 30);
	}
}

int main(int argc, char **argv)
{
	if (argc > 1 && (strcmp(argv[1], "drift") == 0 || strcmp(argv[1], "wakes") == 0))
		for_each_rival(argv[1]);
	if (argc > 1 && strcmp(argv[1], "fair") == 0)
		print_fair();
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		if (argc == 1)
			printf("%s\n", cases[i].name);
		else if (strcmp(argv[1], cases[i].name) == 0) {
			cases[i].run();
			printf("rounds %u\n", ROUNDS);
		}
	}
	return 0;
}
