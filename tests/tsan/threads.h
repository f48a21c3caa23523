/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that stand for CPUs. Each has a number, locks of its own to hold
 * and a random sequence; all start at once, so that short tests race too.
 * ThreadSanitizer sees an unordered pair of accesses whenever it comes to pass,
 * so what a test must do is make every pair of operations meet.
 */
#ifndef CORBEL_TESTS_TSAN_THREADS_H
#define CORBEL_TESTS_TSAN_THREADS_H

#include "lib/lock.h"
#include "tests/model/random.h"

#define THREADS_MAX 16u

struct thread {
	unsigned cpu;
	struct random_state random;
	struct lock_context locks;
	void *ctx;
};

/*
 * Runs @body(thread) on @count threads and waits for all. @delays: locks are
 * taken after a random moment, which varies who comes first.
 */
void threads_run(unsigned count, uint64_t seed, bool delays, void (*body)(struct thread *t), void *ctx);

/* The calling thread; one of number 0 outside of threads_run(). */
struct thread *thread_self(void);

#endif
