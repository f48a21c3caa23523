/* SPDX-License-Identifier: Apache-2.0 */
/* See irq_shared.h. All are asked, each time: several may have interrupted at once. */
#include "firmware/irq_shared.h"

#include "lib/clock.h"

#define MS_NS 1000000ull

bool irq_shared_add(struct irq_shared *s, irq_shared_handler fn, void *arg)
{
	if (s->users == IRQ_SHARERS_MAX)
		return false;
	s->user[s->users].fn = fn;
	s->user[s->users].arg = arg;
	s->users++;
	return true;
}

bool irq_shared_run(struct irq_shared *s, uint64_t now, uint64_t hz)
{
	bool any = false;

	for (unsigned i = 0; i < s->users; i++)
		any |= s->user[i].fn(s->user[i].arg);
	if (any || now - s->nobodys_at > ns_to_ticks(IRQ_APART_MS * MS_NS, hz))
		s->nobodys = 0;
	s->nobodys_at = now;
	return !any && ++s->nobodys == IRQ_NOBODYS_MAX;
}
