/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other CPUs: started one after the other at boot, checked against the boot
 * CPU, then let go into their loops together. A CPU that does not answer, or that differs,
 * is named in the log and left out; the machine runs with the others.
 */
#ifndef CORBEL_FIRMWARE_SMP_H
#define CORBEL_FIRMWARE_SMP_H

#include <stddef.h>
#include <stdint.h>

#include "firmware/acpi.h"
#include "firmware/mtrr.h"
#include "firmware/percpu.h"
#include "lib/addr.h"
#include "lib/error.h"

/* What starting them needs. */
struct smp_config {
	const struct acpi_info *acpi;
	const struct mtrr_state *mtrr; /* of the boot CPU; NULL: the processor has none */
	hpa_t page;                    /* below 1 MiB, ours; 0: there is none, and the boot CPU stays alone */
	const char *args;              /* boot arguments: cpus=N, and those of selftest.h */
	/* Zeroed memory, page aligned, for good; NULL when there is none. */
	void *(*alloc)(size_t bytes);
	/* Makes the calling CPU ready to run guests; on each CPU, last of all. Its error is a reason to leave it out. */
	enum status (*join)(struct error *err);
};

/*
 * Starts every enabled CPU of the MADT. On the boot CPU, interrupts masked, after tsc_calibrate(). When it returns
 * cpu_count is what it stays, and those CPUs wait.
 */
void smp_start(const struct smp_config *cfg);

/* Lets the others go: each calls @loop on its own stack, masked, with its timer set up. After host_timer_init(). */
void smp_release(void (*loop)(void));

/* "4 of 4 in use; 1 package, 4 cores, ...; APIC ids 0-3"; static storage, after smp_start(). */
const char *smp_describe(void);

/* By CPU index: the lowest index of a CPU of the same core, and of the same last-level cache. After smp_start(). */
const uint16_t *smp_core_of(void);
const uint16_t *smp_llc_of(void);

/* ---- for ap.c ---- */

enum cpu_start {
	START_NONE,
	START_SENT,     /* boot CPU: the IPI is under way */
	START_ARRIVED,  /* other CPU: in C, being set up */
	START_MEASURE,  /* other CPU: ready to compare TSCs */
	START_MEASURED, /* boot CPU: they agree */
	START_READY,    /* other CPU: waits to be let go */
	START_REFUSED,  /* either: left out; the sentence is in smp.verdict */
	START_GIVEN_UP, /* boot CPU: it did not answer */
	START_GO,       /* boot CPU: into the loop */
};

struct smp {
	struct smp_config cfg;
	struct error verdict; /* of the one CPU that is being started */
	void (*loop)(void);
};
extern struct smp smp;

#define SMP_CHECKS_MS 1000u /* from its arrival to its readiness a CPU may take so long */

static inline enum cpu_start smp_state(const struct percpu *p)
{
	return (enum cpu_start)__atomic_load_n(&p->start, __ATOMIC_ACQUIRE);
}

static inline void smp_set_state(struct percpu *p, enum cpu_start state)
{
	__atomic_store_n(&p->start, (uint32_t)state, __ATOMIC_RELEASE);
}

/* Only when it was @from. */
bool smp_change_state(struct percpu *p, enum cpu_start from, enum cpu_start to);

/* Called by ap_start.S on the CPU's own stack and the host's page tables. */
__attribute__((noreturn)) void ap_main(struct percpu *p);

#endif
