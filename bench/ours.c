/* SPDX-License-Identifier: Apache-2.0 */
/* sched/ behind the face that its rivals have: each entity is a VM of one vcpu, with a pool of its own. */
#include "bench/rivals.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "lib/assert.h"
#include "sched/sched.h"

static struct {
	struct sched *s;
	void *storage;
	struct sched_pool pool[RIVAL_ENTITIES];
	struct sched_entity entity[RIVAL_ENTITIES];
	bool kicked;
} q;

static void kick(void *ctx, unsigned cpu)
{
	(void)ctx, (void)cpu;
	q.kicked = true;
}

static void start(uint64_t slice)
{
	struct sched_config cfg = {.cpus = 1, .entities_max = RIVAL_ENTITIES, .slice = slice, .kick = kick};

	free(q.storage);
	memset(&q, 0, sizeof q);
	q.storage = aligned_alloc(64, (sched_bytes(1, RIVAL_ENTITIES) + 63) / 64 * 64);
	ASSERT(q.storage);
	q.s = sched_init(q.storage, &cfg);
}

static void add(unsigned i, uint32_t weight)
{
	struct rls numbers = {.limit = SCHED_NO_LIMIT, .shares = weight};
	struct error err;

	if (sched_pool_add(q.s, &q.pool[i], NULL, "vm", &numbers, &err) != ST_OK ||
	    sched_add(q.s, &q.entity[i], &q.pool[i], "vcpu", NULL, 0, &err) != ST_OK)
		panic("entity %u is refused", i);
}

static bool wake(unsigned i, uint64_t now)
{
	q.kicked = false;
	sched_wake(q.s, &q.entity[i], now);
	return q.kicked;
}

static int pick(uint64_t now, uint64_t *slice_end)
{
	struct sched_entity *e = sched_pick(q.s, 0, now, slice_end);

	return e ? (int)(e - q.entity) : -1;
}

static void charge(uint64_t now, bool blocks)
{
	sched_charge(q.s, 0, now, blocks ? SCHED_END_BLOCKED : SCHED_END_READY);
}

const struct rival ours = {"Corbel", start, add, wake, pick, charge};
