/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers are read twice until both readings agree and no update is under way
 * (the MC146818 changes them together once a second, for up to 2 ms).
 */
#include "firmware/wallclock.h"

#include <string.h>

#include "firmware/tsc.h"
#include "lib/bits.h"
#include "lib/x86_asm.h"

#define CMOS_INDEX 0x70
#define CMOS_DATA 0x71
#define REG_SECOND 0x00
#define REG_MINUTE 0x02
#define REG_HOUR 0x04
#define REG_DAY 0x07
#define REG_MONTH 0x08
#define REG_YEAR 0x09
#define REG_STATUS_A 0x0a
#define REG_STATUS_B 0x0b
#define STATUS_A_UPDATING BIT(7)
#define TRIES 100u
#define TRY_US 100u
#define UNKNOWN 946684800ull /* 2000-01-01 */

static uint64_t at_boot = UNKNOWN; /* seconds since 1970 when host_uptime_us() was 0 */

static uint8_t cmos(uint8_t reg)
{
	out8(CMOS_INDEX, reg);
	return in8(CMOS_DATA);
}

static void read_registers(struct rtc_registers *r)
{
	*r = (struct rtc_registers){cmos(REG_SECOND), cmos(REG_MINUTE), cmos(REG_HOUR), cmos(REG_DAY),
				    cmos(REG_MONTH),  cmos(REG_YEAR),	cmos(REG_STATUS_B)};
}

static bool read_settled(struct rtc_registers *r)
{
	struct rtc_registers again;

	for (unsigned i = 0; i < TRIES; i++) {
		if (!(cmos(REG_STATUS_A) & STATUS_A_UPDATING)) {
			read_registers(r);
			read_registers(&again);
			if (memcmp(r, &again, sizeof(again)) == 0)
				return true;
		}
		host_delay_us(TRY_US);
	}
	return false;
}

enum status wallclock_init(struct error *err)
{
	struct rtc_registers r;
	uint64_t now;
	enum status st;

	if (!read_settled(&r))
		return fail(err, ST_IO, "real-time clock: it never settles");
	st = rtc_to_seconds(&r, &now, err);
	if (st == ST_OK)
		at_boot = now - host_uptime_us() / 1000000;
	return st;
}

uint64_t wallclock_seconds(void) { return at_boot + host_uptime_us() / 1000000; }
