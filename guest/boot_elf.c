/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF segments into a boot plan. Kernels are linked for an address space of
 * their own and loaded at physical addresses, so p_paddr counts. The protocols
 * that start an ELF kernel enter it in 32-bit mode: everything is below 4 GiB.
 */
#include "guest/boot_plan.h"
#include "guest/elf.h"
#include "lib/bits.h"

static enum status add_segment(struct boot_plan *plan, const struct elf *elf, const struct elf_segment *s, unsigned i,
			       struct error *err)
{
	struct boot_region r = {.start = s->paddr, .size = s->mem_size, .data = elf->data + s->offset,
				.data_size = s->file_size, .what = "segment", .number = i};

	if (s->paddr + s->mem_size > LAYOUT_HIGH_START)
		return fail(err, ST_UNSUPPORTED, "image '%s': segment %u is to be loaded above 4 GiB, at 0x%llx",
			    plan->image, i, (unsigned long long)s->paddr);
	return plan_add(plan, &r, err);
}

enum status plan_add_elf(struct boot_plan *plan, const struct elf *elf, uint64_t *end, struct error *err)
{
	uint64_t highest = 0;

	for (unsigned i = 0; i < elf->header_count; i++) {
		struct elf_segment s;
		enum status st;

		elf_segment(elf, i, &s);
		if (s.type != ELF_PT_LOAD || s.mem_size == 0)
			continue;
		st = add_segment(plan, elf, &s, i, err);
		if (st != ST_OK)
			return st;
		highest = MAX(highest, s.paddr + s.mem_size);
	}
	if (highest == 0)
		return fail(err, ST_INVALID, "image '%s' has nothing to load", plan->image);
	*end = highest;
	return ST_OK;
}
