/* SPDX-License-Identifier: Apache-2.0 */
/* Host time as a variable: tests set it, and nothing passes by itself. */
#ifndef CORBEL_TESTS_HAND_CLOCK_H
#define CORBEL_TESTS_HAND_CLOCK_H

#include "lib/clock.h"

/* Set to tick 0 at @hz; hand it to whoever wants a struct clock. */
const struct clock *hand_clock_init(uint64_t hz);
void hand_clock_set(uint64_t ticks);
void hand_clock_advance(uint64_t ticks);

#endif
