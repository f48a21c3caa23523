/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What time it is: the board's battery-backed clock, read once, then the TSC.
 * Guests get it as the start of their own clocks.
 */
#ifndef CORBEL_FIRMWARE_WALLCLOCK_H
#define CORBEL_FIRMWARE_WALLCLOCK_H

#include <stdint.h>

#include "lib/error.h"
#include "lib/status.h"

/* The MC146818's registers of date and time, as read. */
struct rtc_registers {
	uint8_t second, minute, hour, day, month, year;
	uint8_t status_b; /* format bits */
};

/*
 * Seconds since 1970 UTC that @r says, years 70 to 99 in the last century. ST_INVALID names the register that
 * holds no date. Pure.
 */
enum status rtc_to_seconds(const struct rtc_registers *r, uint64_t *out, struct error *err) MUST_CHECK;

/* Reads the clock; after tsc_calibrate(). ST_IO when it never settles. The clock is taken to be in UTC. */
enum status wallclock_init(struct error *err) MUST_CHECK;

/* Seconds since 1970 UTC now; 2000-01-01 plus the uptime when the clock could not be read. Any context. */
uint64_t wallclock_seconds(void);

#endif
