/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tap between CPUs: several write, one reads. Each record that comes out is one that somebody wrote, whole; each
 * writer's come in its order; and what did not come was counted as lost.
 */
#include "tests/cmocka_all.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "io/net_tap.h"
#include "tests/tsan/threads.h"

#define WRITERS 3u
#define FRAMES 3000u
#define BYTES_MAX 700u

struct scene {
	struct net_tap tap;
	uint8_t ring[4096];
	unsigned running; /* writers; atomic */
	uint64_t next[WRITERS + 1], read, wrong; /* the reader's */
};

static void write_some(struct thread *t, struct scene *s)
{
	uint8_t bytes[BYTES_MAX];
	struct io_segment segment = {.data = bytes};
	struct net_frame f = {.segments = &segment, .segment_count = 1};

	for (uint64_t i = 0; i < FRAMES; i++) {
		f.bytes = segment.bytes = 14 + (uint32_t)random_below(&t->random, BYTES_MAX - 14);
		memset(bytes, (int)(t->cpu ^ i), f.bytes);
		f.head_bytes = (uint16_t)(f.bytes < NET_HEAD_MAX ? f.bytes : NET_HEAD_MAX);
		memcpy(f.head, bytes, f.head_bytes);
		f.fetched = f.head_bytes;
		net_tap_write(&s->tap, &f, true, (uint64_t)t->cpu << 32 | i);
		if (i % 4 == 0)
			sched_yield(); /* so that the ring is not full all the time */
	}
	__atomic_fetch_sub(&s->running, 1, __ATOMIC_RELEASE);
}

static void take(struct scene *s, const struct net_tap_record *r, const uint8_t *data)
{
	uint32_t writer = (uint32_t)(r->at >> 32), i = (uint32_t)r->at;

	s->read++;
	if (writer == 0 || writer > WRITERS || i < s->next[writer] || r->kept != r->bytes) {
		s->wrong++;
		return;
	}
	s->next[writer] = i + 1;
	for (uint32_t k = 0; k < r->kept; k++)
		s->wrong += data[k] != (uint8_t)(writer ^ i);
}

static void read_all(struct scene *s)
{
	struct net_tap_record r;
	uint8_t data[BYTES_MAX];

	for (;;) {
		bool over = __atomic_load_n(&s->running, __ATOMIC_ACQUIRE) == 0;

		if (net_tap_read(&s->tap, &r, data))
			take(s, &r, data);
		else if (over)
			return;
		else
			sched_yield();
	}
}

static void body(struct thread *t)
{
	if (t->cpu == 0)
		read_all(t->ctx);
	else
		write_some(t, t->ctx);
}

static void several_writers(void **state)
{
	static struct scene s;

	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		memset(&s, 0, sizeof s);
		net_tap_init(&s.tap, s.ring, sizeof s.ring, BYTES_MAX);
		s.running = WRITERS;
		threads_run(WRITERS + 1, seed, seed & 1, body, &s);
		assert_int_equal(s.wrong, 0);
		assert_int_equal(s.tap.seen, WRITERS * FRAMES);
		assert_int_equal(s.read + s.tap.lost, WRITERS * FRAMES);
		assert_true(s.read > 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(several_writers)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
