/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks that a booted machine runs on itself, and faults on demand, for the
 * system tests: boot arguments `selftest` and `fault=ud|pf|wx|stack|df|nmi|stuck|hang|panic`, with
 * `fault-cpu=N|all` on that CPU.
 */
#ifndef CORBEL_FIRMWARE_SELFTEST_H
#define CORBEL_FIRMWARE_SELFTEST_H

/*
 * Runs what @args ask for; selftest also runs in CORBEL_DEBUG builds. Call once
 * devices are up and before host_timer_init(), interrupts masked. Faults do not return, NMIs do.
 */
void selftest_run(const char *args);

/* fault=mtrr or skew on this CPU: it comes to differ from the boot CPU. While it starts, before it is compared. */
void selftest_spoil_cpu(const char *args);

/*
 * On each CPU before its loop: the page tables' rules once more, with selftest; and the fault on the CPU that
 * fault-cpu=N names, or on all; with fault-after=MS so much later, on one.
 */
void selftest_run_cpu(const char *args);

struct machine;
/* selftest=flush: a task that takes a page from the first VM while it runs (selftest_flush.c). After cpuloop_init(). */
void selftest_start_flush(const char *args, struct machine *m);
/* selftest=nic: a task that asks the emulator's gateway by the first interface (selftest_nic.c). Likewise. */
void selftest_start_nic(const char *args);

#endif
