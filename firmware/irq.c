/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plain table: vectors are handed out at boot and stay. One for all CPUs.
 */
#include "firmware/irq.h"

#include "firmware/apic.h"
#include "firmware/ioapic.h"
#include "firmware/percpu.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/log.h"

#define VECTOR_SPURIOUS 0xff
#define VECTOR_LAST 0xfe
#define VECTOR_FIRST 0x30 /* below: the masked 8259's */
#define ISA_LINES 16

struct handler {
	irq_handler fn;
	void *arg;
	const char *name;
	bool told; /* an interrupt of nobody's has been reported */
};

static struct handler handlers[VEC_COUNT];
static bool isa_taken[ISA_LINES];

enum status irq_allocate(const char *name, irq_handler fn, void *arg, uint8_t *vector)
{
	for (unsigned v = VECTOR_LAST; v >= VECTOR_FIRST; v--) {
		struct handler *h = &handlers[v];

		if (h->fn)
			continue;
		*h = (struct handler){.fn = fn, .arg = arg, .name = name};
		*vector = (uint8_t)v;
		return ST_OK;
	}
	return ST_NO_MEMORY;
}

enum status irq_request_isa(uint8_t irq, const char *name, irq_handler fn, void *arg)
{
	uint8_t vector;
	enum status st;

	ASSERT(irq < ISA_LINES);
	if (isa_taken[irq])
		return ST_BUSY;
	st = irq_allocate(name, fn, arg, &vector);
	if (st != ST_OK)
		return st;
	st = ioapic_route_isa(irq, vector, this_cpu()->apic_id);
	isa_taken[irq] = st == ST_OK;
	if (st != ST_OK)
		handlers[vector].fn = NULL;
	return st;
}

void irq_dispatch(uint8_t vector)
{
	struct handler *h = &handlers[vector];

	/* A spurious interrupt is not in service: SDM 3A:10.9. */
	if (vector == VECTOR_SPURIOUS)
		return;
	if (h->fn)
		h->fn(h->arg);
	else if (!h->told) {
		h->told = true;
		log_warn("interrupt on vector 0x%x, which nobody has", vector);
	}
	apic_eoi();
}
