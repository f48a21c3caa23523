/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The IO-APIC: 24 inputs to interrupt messages (Intel 82093AA, with the EOI
 * register and version 0x20 of the ICH family). It knows no local APIC: it hands
 * each message to deliver(), and is told of EOIs of level-triggered vectors.
 */
#ifndef CORBEL_GUEST_VIOAPIC_H
#define CORBEL_GUEST_VIOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/device.h"
#include "guest/pc.h"

struct apic_message {
	uint32_t dest;     /* APIC id or logical destination; all ones: everybody */
	bool logical;
	bool level;
	uint8_t vector;
	uint64_t delivery; /* APIC_DELIVERY_* */
};

struct vioapic {
	struct device dev;
	uint64_t entries[PC_GSI_COUNT]; /* redirection table as the guest reads it */
	uint32_t asserted;              /* inputs that are active now */
	uint8_t select;                 /* IOREGSEL */
	uint8_t id;
	/* True when some local APIC took the message. */
	bool (*deliver)(void *ctx, const struct apic_message *msg);
	void *ctx;
};

void vioapic_init(struct vioapic *io, bool (*deliver)(void *ctx, const struct apic_message *msg), void *ctx);
/* Input @gsi is (not) active. Polarity is the guest's and the wiring's agreement: it is kept, not applied. */
void vioapic_set(struct vioapic *io, unsigned gsi, bool level);
/* Some local APIC, or the guest by the EOI register, ended the level-triggered @vector. */
void vioapic_eoi(struct vioapic *io, uint8_t vector);

#endif
