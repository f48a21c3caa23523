/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which completions interrupt the guest (I. Ahmad, A. Gulati, A. Mashtizadeh, "vIC: Interrupt
 * Coalescing for Virtual Machine Storage Device IO", USENIX ATC 2011). A completion of a
 * storage device is always an answer: as long as commands are in flight another completion
 * will come, so an interrupt can be left out without a timer that would make up for it. The more
 * are in flight (CIF), and only when they come fast (IOPS), the smaller is the ratio of interrupts to
 * completions:
 *
 *	IOPS < iops_min or CIF < cif_min  1      CIF < 3 cif_min  3/4      else  2 cif_min / CIF
 *	CIF < 2 cif_min                   4/5    CIF < 4 cif_min  2/3      (with cif_min = 4: 8 / CIF)
 *
 * The policy COALESCE_CIF looks at CIF alone (the same authors' first form of it, "Improving
 * Performance with Interrupt Coalescing for Virtual Machine Disk IO in VMware ESX Server", VPACT 2009).
 *
 * The ratio goes by what is in flight as the guest knows it, those that it has not been told of included: with a
 * steady number of them it is steady too. When fewer than cif_min really are in flight every completion interrupts,
 * so the last one always does. No lock: a queue's owner has its own.
 */
#ifndef CORBEL_IO_COALESCE_H
#define CORBEL_IO_COALESCE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

enum coalesce_policy { COALESCE_OFF, COALESCE_VIC, COALESCE_CIF, COALESCE_POLICIES };

struct coalesce_settings {
	unsigned policy;   /* enum coalesce_policy */
	uint32_t iops_min; /* completions a second below which each interrupts; not used by COALESCE_CIF */
	uint32_t cif_min;  /* commands in flight below which each interrupts: 2 .. COALESCE_CIF_MIN_MAX */
	uint64_t epoch_ns; /* how often the ratio is looked at: COALESCE_EPOCH_MIN_NS .. COALESCE_EPOCH_MAX_NS */
	uint64_t gap_ns;   /* between two IPIs for the same vcpu, 0: none, .. COALESCE_GAP_MAX_NS */
};
extern const char *const coalesce_policy_names[]; /* by number; NULL at the end */
/* The paper's numbers. */
#define COALESCE_IOPS_MIN_DEFAULT 2000u
#define COALESCE_CIF_MIN_DEFAULT 4u
#define COALESCE_EPOCH_DEFAULT_NS 200000000ull
#define COALESCE_GAP_DEFAULT_NS 100000ull
#define COALESCE_CIF_MIN_MAX 256u
#define COALESCE_IOPS_MIN_MAX 1000000000u
#define COALESCE_EPOCH_MIN_NS 1000000ull
#define COALESCE_EPOCH_MAX_NS 10000000000ull
#define COALESCE_GAP_MAX_NS 1000000ull

struct coalesce {
	uint32_t count_up, skip_up; /* of skip_up completions count_up interrupt */
	uint32_t counter;	    /* place in such a round, from 1 on */
	uint32_t held;		    /* since the last that interrupted: in flight as the guest knows it */
	uint32_t completed;	    /* in this epoch */
	uint64_t epoch_began;	    /* host ticks; 0: never yet */
	uint64_t completions, interrupts;
};

/* COALESCE_VIC with the defaults above. */
void coalesce_settings_init(struct coalesce_settings *set);
/* ST_INVALID names what is out of range. */
enum status coalesce_check(const struct coalesce_settings *set, struct error *err) MUST_CHECK;
void coalesce_init(struct coalesce *c);

/*
 * A command was completed at host tick @now (of @hz a second), when @in_flight commands were on their way, it among
 * them. True: the guest is to be interrupted, for this one and those before that were held.
 */
bool coalesce_complete(struct coalesce *c, const struct coalesce_settings *set, uint32_t in_flight, uint64_t now,
		       uint64_t hz);

/* The same with fewer than cif_min in flight, when it is the guest's whatever the time is. */
static inline void coalesce_complete_few(struct coalesce *c)
{
	c->completions++;
	c->interrupts++;
	c->completed++;
	c->counter = 1;
	c->held = 0;
}

/*
 * How long ago, in ticks of @hz, the last IPI must be that a vcpu on another CPU was sent for an interrupt of this
 * kind, so that another one is sent now; until then the vcpu's next exit, or a later completion, is soon enough. 0: at
 * once, as for the last ones in flight, behind which nothing may come. Asked after coalesce_complete(), with the same
 * @in_flight.
 */
uint64_t coalesce_gap(const struct coalesce *c, const struct coalesce_settings *set, uint32_t in_flight, uint64_t hz);

#endif
