/* SPDX-License-Identifier: Apache-2.0 */
/* One clock for the process, as struct clock's function takes no context. */
#include "tests/fakes/hand_clock.h"

static volatile uint64_t hand_ticks; /* a signal may come in between */

static uint64_t read_ticks(void) { return hand_ticks; }

static struct clock hand_clock = {.ticks = read_ticks, .hz = 1};

const struct clock *hand_clock_init(uint64_t hz)
{
	hand_ticks = 0;
	hand_clock.hz = hz;
	return &hand_clock;
}

void hand_clock_set(uint64_t ticks) { hand_ticks = ticks; }
void hand_clock_advance(uint64_t ticks) { hand_ticks += ticks; }
