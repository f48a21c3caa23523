/* SPDX-License-Identifier: Apache-2.0 */
/* Threads on a barrier, each with the lock context that the ranks are checked by. */
#include "tests/tsan/threads.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>

static struct thread outside = {.random = {1}};
static _Thread_local struct thread *self = &outside;
static pthread_barrier_t start;
static void (*work)(struct thread *t);

struct thread *thread_self(void)
{
	return self;
}

static struct lock_context *my_locks(void)
{
	return &self->locks;
}

static void give_way(void)
{
	sched_yield();
}

static void *enter(void *arg)
{
	self = arg;
	pthread_barrier_wait(&start);
	work(self);
	return NULL;
}

void threads_run(unsigned count, uint64_t seed, bool delays, void (*body)(struct thread *t), void *ctx)
{
	struct thread thread[THREADS_MAX] = {{0}};
	pthread_t handle[THREADS_MAX];

	assert(count <= THREADS_MAX);
	lock_set_context(my_locks);
	lock_set_waiting(give_way);
	work = body;
	pthread_barrier_init(&start, NULL, count);
	for (unsigned i = 0; i < count; i++) {
		thread[i] = (struct thread){.cpu = i, .random = random_seed(seed * THREADS_MAX + i), .ctx = ctx};
		thread[i].locks.seed = delays ? (uint32_t)random_next(&thread[i].random) | 1 : 0;
		if (pthread_create(&handle[i], NULL, enter, &thread[i]) != 0)
			abort();
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(handle[i], NULL);
	pthread_barrier_destroy(&start);
}
