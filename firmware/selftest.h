/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks that a booted machine runs on itself, and faults on demand, for the
 * system tests: boot arguments `selftest` and `fault=ud|pf|wx|stack|df|nmi|stuck|panic`.
 */
#ifndef CORBEL_FIRMWARE_SELFTEST_H
#define CORBEL_FIRMWARE_SELFTEST_H

/*
 * Runs what @args ask for; selftest also runs in CORBEL_DEBUG builds. Call once
 * devices are up and before host_timer_init(), interrupts masked. Faults do not return, NMIs do.
 */
void selftest_run(const char *args);

#endif
