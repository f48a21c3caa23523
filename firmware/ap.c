/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CPU's own part in its start: what the boot CPU did in several steps, and
 * comparing itself with it. Until it is ready it touches nothing that others do:
 * the boot CPU waits for it.
 */
#include "firmware/apic.h"
#include "firmware/cpu.h"
#include "firmware/selftest.h"
#include "firmware/smp.h"
#include "firmware/tsc.h"
#include "firmware/tscsync.h"
#include "firmware/watchdog.h"
#include "lib/x86_asm.h"

__attribute__((noreturn)) static void stop_here(void)
{
	for (;;) {
		cli();
		hlt();
	}
}

static enum status compare_memory_types(struct error *err)
{
	struct mtrr_state mine;

	if (!smp.cfg.mtrr)
		return ST_OK;
	mtrr_read(&mine, the_cpu.phys_bits);
	return mtrr_same(smp.cfg.mtrr, &mine, this_cpu()->id, err) ? ST_OK : ST_UNSUPPORTED;
}

static void find_place(struct percpu *p)
{
	struct topology_source s;

	topology_read(&s);
	topology_place(&s, &p->place);
}

/* The boot CPU judges: the state after MEASURE is its answer. False: it has refused us, or is gone. */
static bool compare_time(struct percpu *p)
{
	const uint64_t limit = ns_to_ticks(SMP_CHECKS_MS * 1000000ull, host_clock.hz);

	smp_set_state(p, START_MEASURE);
	if (!tscsync_answer(limit))
		return false;
	while (smp_state(p) == START_MEASURE)
		cpu_pause();
	return smp_state(p) == START_MEASURED;
}

static enum status check_in(struct percpu *p, struct error *err)
{
	enum status st = cpu_enable_same(err);

	if (st == ST_OK) {
		selftest_spoil_cpu(smp.cfg.args);
		st = compare_memory_types(err);
	}
	if (st == ST_OK)
		st = apic_init_cpu(smp.cfg.acpi, err);
	if (st != ST_OK)
		return st;
	find_place(p);
	if (!compare_time(p))
		stop_here();
	return smp.cfg.join(err);
}

void ap_main(struct percpu *p)
{
	cpu_load_tables(p);
	if (!smp_change_state(p, START_SENT, START_ARRIVED))
		stop_here();
	if (check_in(p, &smp.verdict) != ST_OK) {
		smp_set_state(p, START_REFUSED);
		stop_here();
	}
	smp_set_state(p, START_READY);
	while (smp_state(p) != START_GO)
		sti_hlt_cli();
	host_timer_init_cpu();
	watchdog_start();
	selftest_run_cpu(smp.cfg.args);
	smp.loop();
	stop_here();
}
