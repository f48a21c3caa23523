/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupt controllers as a test guest drives them: the local APIC in both
 * modes by one set of calls, the IO-APIC, the PICs, the PIT. Registers are named
 * by their xAPIC offsets (APIC_REG_*).
 */
#ifndef CORBEL_TESTS_GUESTS_APIC_H
#define CORBEL_TESTS_GUESTS_APIC_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/x86_regs.h"

#define APIC_SPURIOUS 0xffu

enum apic_mode { APIC_OFF, APIC_XAPIC, APIC_X2APIC };

/*
 * Switches, back from x2APIC by way of off (where an emulator may stay off for good); masks every local vector,
 * TPR 0, software-enabled unless off.
 */
void apic_set_mode(enum apic_mode mode);
/* Set before a processor takes another mode than the others: each call asks then which one it is in. */
extern bool apic_modes_differ;
uint32_t apic_read(unsigned reg);
void apic_write(unsigned reg, uint32_t value);
/* Sends @vector to this processor by the ICR's shorthand, which knows no other delivery mode (SDM 3A, table 10-3). */
void apic_send_self(uint8_t vector);
/* Sends @icr (vector, delivery mode) to the processor with APIC id @dest. */
void apic_send(uint32_t dest, uint32_t icr);
static inline void apic_eoi(void) { apic_write(APIC_REG_EOI, 0); }

/* APIC id of this processor. */
uint32_t apic_id(void);

/* Routes IO-APIC input @gsi to @vector of this processor (edge, high; or level, high); 0 masks it. */
void ioapic_route(unsigned gsi, uint8_t vector, bool level);

/* To the processor with APIC id @id instead. */
void ioapic_send_to(unsigned gsi, uint32_t id);

/* Both 8259s: vectors @base.. and @base + 8.., everything masked. */
void pic_init(uint8_t base);
void pic_mask(uint16_t mask); /* bit n: ISA interrupt n is masked */
void pic_eoi(unsigned irq);

#define PIT_HZ 1193182u

/* Channel 0 in mode 2, @count PIT ticks a period. */
void pit_periodic(uint16_t count);
/* TSC ticks that channel 2 takes for @count PIT ticks in mode 0. */
uint64_t pit_measure(uint16_t count);

#endif
