/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether two CPUs' TSCs agree: a ping-pong through one cache line. Host time is
 * the TSC of whatever CPU reads it, so a vcpu that moves would see time jump by
 * the difference.
 */
#ifndef CORBEL_FIRMWARE_TSCSYNC_H
#define CORBEL_FIRMWARE_TSCSYNC_H

#include <stdbool.h>
#include <stdint.h>

#define TSCSYNC_ROUNDS 32u

/* One exchange: the boot CPU's TSC before and after, the other one's in between. */
struct tscsync_round {
	uint64_t before, there, after;
};

/* What the rounds prove: the other TSC is ahead (behind, when negative) by at least so many ticks; 0: nothing. */
int64_t tscsync_skew(const struct tscsync_round *rounds, unsigned count);

/*
 * Both sides, masked, one other CPU at a time: the boot CPU's fills @rounds of TSCSYNC_ROUNDS. False when the partner
 * does not answer within @limit ticks.
 */
bool tscsync_ask(struct tscsync_round *rounds, uint64_t limit);
bool tscsync_answer(uint64_t limit);

#endif
