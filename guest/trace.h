/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all CPUs do, recorded from when an operator asks for it until he says that
 * it is enough: who has each CPU and for how long, every exit of a guest, and who
 * is woken from where. Each CPU has a ring (lib/cputrace.h), made at the first such
 * request and kept from then on: a CPU may still be writing its last record when
 * recording is switched off. The short trace in struct vcpu is another thing: it is
 * always on, and a crash report prints it.
 */
#ifndef CORBEL_GUEST_TRACE_H
#define CORBEL_GUEST_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/host.h"
#include "lib/cputrace.h"
#include "lib/error.h"
#include "sched/sched.h"

#define TRACE_RING_ORDER 5u   /* of each CPU's ring: 128 KiB, 4096 records */

struct machine;

struct machine_trace {
	struct cputrace *rings; /* one for each CPU, NULL: never recorded */
	unsigned cpus;
	bool on;
};

/* Switches recording on all CPUs. ST_NO_MEMORY when there is none for the rings. In the control task. */
MUST_CHECK enum status machine_trace_set(struct machine *m, bool on, struct error *err);
/* Gives the rings back, when no CPU runs anything any more: for tests. */
void machine_trace_free(struct machine *m);
/* CPU @i's ring; NULL when there is none. */
const struct cputrace *machine_trace_ring(const struct machine *m, unsigned i);

/* Where @c records; NULL: nowhere. */
static inline struct cputrace *trace_of(const struct host_cpu *c)
{
	return __atomic_load_n(&c->trace, __ATOMIC_ACQUIRE);
}

/* By the CPU of @t, masked: a turn from @begin to @end, of a vcpu or (@vm 0) of a task. */
void trace_turn(struct cputrace *t, uint16_t vm, unsigned vcpu, uint64_t begin, uint64_t end, enum sched_end why);
void trace_wake(struct cputrace *t, uint16_t vm, unsigned vcpu, uint64_t now);

#endif
