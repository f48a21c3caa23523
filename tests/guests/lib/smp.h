/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Further processors of a test guest: who is there by the MADT, starting them by
 * INIT and start-up messages, and a function for each to run.
 */
#ifndef CORBEL_TESTS_GUESTS_SMP_H
#define CORBEL_TESTS_GUESTS_SMP_H

#define SMP_STACKS 64u /* a power of two; more starts than that use them again */
#define SMP_STACK_BYTES 0x2000

#ifndef __ASSEMBLER__

#include <stdint.h>

#define SMP_CPUS_MAX 16u

/* How many enabled processors the MADT lists, and their APIC ids in its order. */
unsigned smp_count(uint32_t ids[SMP_CPUS_MAX]);
/*
 * Sends INIT and a start-up message to APIC id @id, and a second one when the first has no effect: @fn(@arg) runs
 * there, interrupts off, on a fresh stack.
 */
void smp_start(uint32_t id, void (*fn)(uint64_t arg), uint64_t arg);
/* One more start-up message, which a processor that runs ignores. */
void smp_send_startup(uint32_t id);
/* The calling processor's APIC id, by CPUID. */
uint32_t smp_id(void);

#endif
#endif
