/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one CPU makes another do: come out of HLT or a guest (kick), tell where it
 * is (NMI), stop for good (NMI). Nothing here takes a lock, and each wait has a bound.
 */
#ifndef CORBEL_FIRMWARE_IPI_H
#define CORBEL_FIRMWARE_IPI_H

#include <stdbool.h>

#include "firmware/percpu.h"

/* What another CPU wants of this one's NMI handler: bits of percpu.nmi_wanted. */
enum nmi_want {
	NMI_TELL = 1, /* its record is for whoever asked, not for its own log */
	NMI_STOP = 2, /* halt for good */
	NMI_RESET = 4, /* reset the machine */
};

/* Takes the kick's vector. Once, before other CPUs are started. */
void ipi_init(void);

/*
 * Interrupts CPU @cpu, and nothing else: a sleeping one wakes, a guest's run ends, and it looks at whatever the
 * caller has set before. Masked; any lock may be held. To oneself: nothing.
 */
void cpu_kick(unsigned cpu);

/* Fills CPU @cpu's NMI record with where it is. False when it did not take the NMI within 10 ms. Not to oneself. */
bool ipi_ask_where(unsigned cpu);

/* Stops all CPUs but this one, for a report. Those that do not stop within 10 ms go on. */
void ipi_stop_others(void);

/*
 * For the boot CPU: stops the others, but has the last of them call @reset, which resets the machine and does not
 * return. Returns when there is no other one, it has been stopped before, or it has not done so within @us
 * microseconds.
 */
void ipi_reset_elsewhere(void (*reset)(void), unsigned us);

/* On the NMI's stack: what is wanted of this CPU; the record has been filled. True: no more to be done with it. */
bool ipi_nmi(void);

#endif
