/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of locks, asserted: each CPU writes down what it holds. A random
 * moment before each acquisition, drawn from a seed, makes an emulator that steps its
 * CPUs in turn try other interleavings; the same seed tries the same ones.
 */
#include "lib/lock.h"

#ifdef CORBEL_LOCK_CHECKS

#include <stddef.h>

#include "lib/assert.h"

#define DELAY_MASK 63u /* the longest wait, in pauses */

static struct lock_context shared;
static struct lock_context *(*context_of_caller)(void);
static void (*while_waiting)(void);

void lock_set_context(struct lock_context *(*fn)(void))
{
	context_of_caller = fn;
	if (!fn)
		shared = (struct lock_context){0};
}

static struct lock_context *context(void)
{
	return context_of_caller ? context_of_caller() : &shared;
}

/* Marsaglia's xorshift, 32 bits: "Xorshift RNGs", 2003. */
static uint32_t next_random(uint32_t x)
{
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x;
}

static void wait_a_moment(struct lock_context *c)
{
	if (!c->seed)
		return;
	c->seed = next_random(c->seed);
	for (uint32_t n = c->seed & DELAY_MASK; n; n--)
		__builtin_ia32_pause();
}

void lock_note_acquire(const struct lock *l, bool same_rank)
{
	struct lock_context *c = context();

	for (unsigned i = 0; i < c->depth; i++) {
		if (c->held[i] == l)
			panic("a lock of rank %u is taken twice", l->rank);
		if (!same_rank && c->held[i]->rank >= l->rank)
			panic("a lock of rank %u is taken under one of rank %u", l->rank, c->held[i]->rank);
	}
	ASSERT(l->rank && c->depth < LOCK_DEPTH_MAX);
	c->held[c->depth++] = l;
	wait_a_moment(c);
}

void lock_note_release(const struct lock *l)
{
	struct lock_context *c = context();
	unsigned i = c->depth;

	/* Not always the last one taken. */
	while (i && c->held[i - 1] != l)
		i--;
	if (!i)
		panic("a lock of rank %u is released by a CPU that does not hold it", l->rank);
	for (; i < c->depth; i++)
		c->held[i - 1] = c->held[i];
	c->depth--;
}

void lock_set_waiting(void (*fn)(void))
{
	while_waiting = fn;
}

void lock_note_waiting(void)
{
	if (while_waiting)
		while_waiting();
}

bool lock_is_mine(const struct lock *l)
{
	const struct lock_context *c = context();

	for (unsigned i = 0; i < c->depth; i++)
		if (c->held[i] == l)
			return true;
	return false;
}

#endif
