/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib/ between CPUs: a ring's two ends, and locks of several ranks, taken in
 * turn, two of a rank at once, and by whoever does not wait.
 */
#include "tests/cmocka_all.h"

#include <sched.h>

#include "lib/ring.h"
#include "tests/tsan/threads.h"

/* ---- ring ---- */

#define RING_BYTES 64u
#define STREAM_BYTES 200000u

struct stream {
	struct ring ring;
	uint8_t buf[RING_BYTES];
	unsigned wrong; /* bytes that came changed, lost or out of order; the consumer's */
};

static uint8_t byte_at(uint32_t i) { return (uint8_t)(i * 2654435761u >> 24); }

static void produce(struct thread *t, struct stream *s)
{
	for (uint32_t at = 0; at < STREAM_BYTES;) {
		uint8_t piece[RING_BYTES];
		uint32_t len = 1 + (uint32_t)random_below(&t->random, RING_BYTES);

		len = len < STREAM_BYTES - at ? len : STREAM_BYTES - at;
		for (uint32_t i = 0; i < len; i++)
			piece[i] = byte_at(at + i);
		len = (uint32_t)ring_write(&s->ring, piece, len);
		at += len;
		if (!len)
			sched_yield();
	}
}

static void consume(struct thread *t, struct stream *s)
{
	for (uint32_t at = 0; at < STREAM_BYTES;) {
		uint8_t piece[RING_BYTES];
		size_t len = ring_read(&s->ring, piece, 1 + random_below(&t->random, RING_BYTES));

		for (size_t i = 0; i < len; i++)
			s->wrong += piece[i] != byte_at(at + (uint32_t)i);
		at += (uint32_t)len;
		if (!len)
			sched_yield();
	}
}

static void one_end(struct thread *t)
{
	if (t->cpu == 0)
		produce(t, t->ctx);
	else
		consume(t, t->ctx);
}

static void a_ring_between_two_cpus(void **state)
{
	static struct stream s;

	(void)state;
	ring_init(&s.ring, s.buf, sizeof s.buf);
	threads_run(2, 1, false, one_end, &s);
	assert_int_equal(s.wrong, 0);
	assert_int_equal(ring_used(&s.ring), 0);
}

/* ---- locks ---- */

#define CPUS 4u
#define STEPS 5000u

struct account {
	struct lock lock;
	uint64_t sum; /* under the lock */
};

static struct account queue[CPUS], tree; /* of two queues the lower index first */

static void move_between_queues(struct random_state *r)
{
	unsigned a = (unsigned)random_below(r, CPUS), b = (unsigned)random_below(r, CPUS);
	unsigned first = a < b ? a : b, second = a < b ? b : a;

	lock_acquire(&queue[first].lock);
	if (first != second)
		lock_acquire_next(&queue[second].lock);
	queue[a].sum--;
	queue[b].sum++;
	if (first != second)
		lock_release(&queue[second].lock);
	lock_release(&queue[first].lock);
}

static void take_all_in_order(struct random_state *r)
{
	unsigned cpu = (unsigned)random_below(r, CPUS);

	lock_acquire(&tree.lock);
	lock_acquire(&queue[cpu].lock);
	queue[cpu].sum--;
	tree.sum++;
	lock_release(&tree.lock); /* not the last one taken */
	lock_release(&queue[cpu].lock);
}

static void take_without_waiting(struct random_state *r)
{
	unsigned cpu = (unsigned)random_below(r, CPUS);

	if (!lock_try(&queue[cpu].lock))
		return;
	if (lock_try(&tree.lock)) { /* against the order */
		tree.sum--;
		queue[cpu].sum++;
		lock_release(&tree.lock);
	}
	lock_release(&queue[cpu].lock);
}

static void use_locks(struct thread *t)
{
	void (*const ways[])(struct random_state *) = {move_between_queues, take_all_in_order, take_without_waiting};

	for (unsigned i = 0; i < STEPS; i++)
		ways[random_below(&t->random, 3)](&t->random);
}

static void locks_of_several_ranks(void **state)
{
	uint64_t sum;

	(void)state;
	for (unsigned delays = 0; delays < 2; delays++) {
		lock_init(&tree.lock, LOCK_SCHED);
		tree.sum = 0;
		for (unsigned cpu = 0; cpu < CPUS; cpu++) {
			lock_init(&queue[cpu].lock, LOCK_SCHED_CPU);
			queue[cpu].sum = STEPS;
		}
		threads_run(CPUS, 7, delays, use_locks, NULL);
		sum = tree.sum;
		for (unsigned cpu = 0; cpu < CPUS; cpu++)
			sum += queue[cpu].sum;
		assert_true(sum == (uint64_t)CPUS * STEPS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ring_between_two_cpus),
		cmocka_unit_test(locks_of_several_ranks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
