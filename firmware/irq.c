/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plain table: vectors are handed out at boot and stay. One for all CPUs.
 */
#include "firmware/irq.h"

#include "firmware/apic.h"
#include "firmware/ioapic.h"
#include "firmware/percpu.h"
#include "firmware/tsc.h"
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
static struct irq_shared shared[ISA_LINES];
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
	if (isa_taken[irq] || shared[irq].users)
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

/* ---- lines that are shared ---- */

static void run_shared(void *arg)
{
	struct irq_shared *s = arg;
	unsigned line = (unsigned)(s - shared);

	if (!irq_shared_run(s, host_clock.ticks(), host_clock.hz))
		return;
	ioapic_mask((uint8_t)line);
	log_error("interrupt line %u: it comes on and on, and nobody has done it: masked", line);
}

static enum status route_shared(uint8_t line, const char *name)
{
	uint8_t vector;
	enum status st = irq_allocate(name, run_shared, &shared[line], &vector);

	if (st != ST_OK)
		return st;
	st = ioapic_route_pci(line, vector, this_cpu()->apic_id);
	if (st != ST_OK)
		handlers[vector].fn = NULL;
	return st;
}

enum status irq_request_pci(uint8_t line, const char *name, irq_shared_handler fn, void *arg)
{
	struct irq_shared *s = &shared[line];
	enum status st = ST_OK;

	ASSERT(line < ISA_LINES);
	if (isa_taken[line])
		return ST_BUSY;
	/* Before it is routed: what comes at once finds it. */
	if (!irq_shared_add(s, fn, arg))
		return ST_NO_MEMORY;
	if (s->users == 1)
		st = route_shared(line, name);
	if (st != ST_OK)
		s->users--;
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
