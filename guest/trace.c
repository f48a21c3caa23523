/* SPDX-License-Identifier: Apache-2.0 */
/* Rings come from the host's memory, a block for each CPU; all are made, or none. */
#include "guest/trace.h"

#include <string.h>

#include "guest/machine.h"
#include "lib/bits.h"

#define RING_BYTES ((uint64_t)PAGE_SIZE << TRACE_RING_ORDER)
#define RING_RECORDS (RING_BYTES / sizeof(struct cputrace_record))
/* The rings' heads, of as many CPUs as can be. */
#define HEADS_ORDER 2u

_Static_assert(((uint64_t)PAGE_SIZE << HEADS_ORDER) >= SCHED_MAX_CPUS * sizeof(struct cputrace), "all in one block");

static unsigned cpu_count(const struct machine *m)
{
	unsigned n = 0;

	while (m->host->cpu_at(n))
		n++;
	return n;
}

static void *take(struct machine *m, unsigned order)
{
	unsigned long state = m->host->mask();
	enum status st;
	hfn_t frame;

	st = memmgr_alloc(m->mm, order, &frame);
	m->host->unmask(state);
	return st == ST_OK ? memmgr_va(m->mm, frame) : NULL;
}

static void give(struct machine *m, void *block, unsigned order)
{
	unsigned long state = m->host->mask();

	memmgr_free(m->mm, memmgr_hfn(m->mm, block), order);
	m->host->unmask(state);
}

void machine_trace_free(struct machine *m)
{
	struct machine_trace *t = &m->trace;

	if (!t->rings)
		return;
	while (t->cpus > 0)
		give(m, t->rings[--t->cpus].slots, TRACE_RING_ORDER);
	give(m, t->rings, HEADS_ORDER);
	*t = (struct machine_trace){.rings = NULL};
}

static enum status make_rings(struct machine *m, struct error *err)
{
	struct machine_trace *t = &m->trace;
	unsigned cpus = cpu_count(m);

	t->rings = take(m, HEADS_ORDER);
	while (t->rings && t->cpus < cpus) {
		void *storage = take(m, TRACE_RING_ORDER);

		if (!storage)
			break;
		cputrace_init(&t->rings[t->cpus++], storage, RING_RECORDS);
	}
	if (t->rings && t->cpus == cpus)
		return ST_OK;
	machine_trace_free(m);
	return fail(err, ST_NO_MEMORY, "there is no memory for the traces of %u CPUs, %llu KiB each", cpus,
		    (unsigned long long)RING_BYTES / 1024);
}

enum status machine_trace_set(struct machine *m, bool on, struct error *err)
{
	struct machine_trace *t = &m->trace;
	enum status st = on && !t->rings ? make_rings(m, err) : ST_OK;

	if (st != ST_OK)
		return st;
	for (unsigned i = 0; i < t->cpus; i++)
		__atomic_store_n(&m->host->cpu_at(i)->trace, on ? &t->rings[i] : NULL, __ATOMIC_RELEASE);
	t->on = on;
	return ST_OK;
}

const struct cputrace *machine_trace_ring(const struct machine *m, unsigned i)
{
	return i < m->trace.cpus ? &m->trace.rings[i] : NULL;
}

void trace_turn(struct cputrace *t, uint16_t vm, unsigned vcpu, uint64_t begin, uint64_t end, enum sched_end why)
{
	const struct cputrace_record r = {
		.begin = begin, .end = end, .vm = vm, .vcpu = (uint8_t)vcpu, .kind = CPUTRACE_TURN,
		.code = why == SCHED_END_BLOCKED ? CPUTRACE_BLOCKED : CPUTRACE_YIELDED,
	};

	cputrace_add(t, &r);
}

void trace_wake(struct cputrace *t, uint16_t vm, unsigned vcpu, uint64_t now)
{
	const struct cputrace_record r = {.begin = now, .end = now, .vm = vm, .vcpu = (uint8_t)vcpu, .kind = CPUTRACE_WAKE};

	cputrace_add(t, &r);
}
