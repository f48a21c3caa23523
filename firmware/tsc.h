/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host time: the TSC, calibrated against a timer of known rate. CPUID leaf 15h
 * is compared but never believed.
 */
#ifndef CORBEL_FIRMWARE_TSC_H
#define CORBEL_FIRMWARE_TSC_H

#include <stdint.h>

#include "firmware/acpi.h"
#include "lib/clock.h"
#include "lib/error.h"

/* Ticks are TSC values; hz is 0 until tsc_calibrate() has returned. */
extern struct clock host_clock;

/*
 * Measures the TSC rate against the ACPI PM timer, or the PIT where there is
 * none or it stands still; three times, the median holds. Takes about 30 ms.
 * ST_IO when neither timer runs.
 */
enum status tsc_calibrate(const struct acpi_info *acpi, struct error *err) MUST_CHECK;

/* Microseconds since the first call to tsc_mark_boot(); 0 before calibration. For log stamps. */
unsigned long long host_uptime_us(void);
void tsc_mark_boot(void);

/* Waits for about @us by the TSC; a bounded number of turns before calibration. Boot and reset only. */
void host_delay_us(uint64_t us);

#endif
