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
 * When fewer than cif_min are in flight every completion interrupts, so the last one always does. No lock:
 * a queue's owner has its own.
 */
#ifndef CORBEL_IO_COALESCE_H
#define CORBEL_IO_COALESCE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"

enum coalesce_policy { COALESCE_OFF, COALESCE_VIC, COALESCE_CIF };

struct coalesce_settings {
	enum coalesce_policy policy;
	uint32_t iops_min; /* completions a second below which each interrupts; not used by COALESCE_CIF */
	uint32_t cif_min;  /* commands in flight below which each interrupts: 2 .. COALESCE_CIF_MIN_MAX */
	uint32_t epoch_ms; /* how often the ratio is looked at: 1 .. COALESCE_EPOCH_MAX_MS */
	uint32_t gap_us;   /* between two IPIs for the same vcpu, 0: none; see coalesce_may_kick() */
};
#define COALESCE_CIF_MIN_MAX 256u
#define COALESCE_EPOCH_MAX_MS 10000u
#define COALESCE_GAP_MAX_US 1000u

struct coalesce {
	uint32_t count_up, skip_up; /* of skip_up completions count_up interrupt */
	uint32_t counter;	    /* place in such a round, from 1 on */
	uint32_t completed;	    /* in this epoch */
	uint64_t epoch_began;	    /* host ticks; 0: never yet */
	uint64_t kicked_at;	    /* host ticks of the last IPI */
	uint64_t completions, interrupts, held_kicks;
};

/* The paper's numbers: 2,000 IOPS, 4 in flight, 200 ms, 100 us. */
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

/*
 * The interrupt is posted, and the vcpu that takes it runs on another CPU: true when an IPI is to be sent to make it
 * look. False: the last one was less than gap_us ago, and the vcpu's next exit is soon enough. Not asked for a vcpu
 * that is halted.
 */
bool coalesce_may_kick(struct coalesce *c, const struct coalesce_settings *set, uint64_t now, uint64_t hz);

#endif
