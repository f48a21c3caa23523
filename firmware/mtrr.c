/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SDM 3A:11.11.2 and 11.11.4.1 (precedence): fixed ranges hold below 1 MiB when
 * enabled; among variable ranges UC wins, then WT over WB; other mixtures are
 * undefined and taken as UC here, which makes the check fail and be seen.
 */
#include "firmware/mtrr.h"

#include "lib/bits.h"

#define FIXED_LIMIT 0x100000u
#define FIXED_64K_LIMIT 0x80000u
#define FIXED_16K_LIMIT 0xc0000u
#define FIXED_16K_INDEX 1u
#define FIXED_4K_INDEX 3u

const uint32_t mtrr_fixed_msr[MTRR_FIXED_COUNT] = {
	MSR_IA32_MTRR_FIX64K_00000, MSR_IA32_MTRR_FIX16K_80000, MSR_IA32_MTRR_FIX16K_A0000, MSR_IA32_MTRR_FIX4K_C0000,
	MSR_IA32_MTRR_FIX4K_C8000,  MSR_IA32_MTRR_FIX4K_D0000,  MSR_IA32_MTRR_FIX4K_D8000,  MSR_IA32_MTRR_FIX4K_E0000,
	MSR_IA32_MTRR_FIX4K_E8000,  MSR_IA32_MTRR_FIX4K_F0000,  MSR_IA32_MTRR_FIX4K_F8000,
};

/* One fixed MSR holds eight types, a byte each. */
static unsigned fixed_type(const struct mtrr_state *m, uint64_t at, uint64_t *end)
{
	uint64_t base = 0, unit = 0x10000;
	unsigned index = 0, slot;

	if (at >= FIXED_16K_LIMIT) {
		base = FIXED_16K_LIMIT;
		unit = 0x1000;
		index = FIXED_4K_INDEX;
	} else if (at >= FIXED_64K_LIMIT) {
		base = FIXED_64K_LIMIT;
		unit = 0x4000;
		index = FIXED_16K_INDEX;
	}
	slot = (unsigned)((at - base) / unit);
	*end = align_down(at, unit) + unit;
	return (uint8_t)(m->fixed[index + slot / 8] >> (slot % 8 * 8));
}

static unsigned combine(unsigned a, unsigned b)
{
	if (a == b)
		return a;
	if ((a == MEMTYPE_WT && b == MEMTYPE_WB) || (a == MEMTYPE_WB && b == MEMTYPE_WT))
		return MEMTYPE_WT;
	return MEMTYPE_UC;
}

/*
 * Lowers *end, which lies above @at, to the next address at which variable range
 * (@base, @mask) begins or ends. A mask with holes (allowed, never seen) changes
 * at any multiple of its lowest bit.
 */
static void next_edge(uint64_t at, uint64_t base, uint64_t mask, uint64_t address_bits, uint64_t *end)
{
	uint64_t size = BIT(bit_lowest(mask));
	uint64_t start = base & mask;

	if ((mask | (size - 1)) != (address_bits | (PAGE_SIZE - 1)))
		*end = MIN(*end, align_down(at, size) + size);
	else if (at < start)
		*end = MIN(*end, start);
	else if (at < start + size)
		*end = MIN(*end, start + size);
}

static unsigned variable_type(const struct mtrr_state *m, uint64_t at, uint64_t *end)
{
	uint64_t address_bits = MASK(m->phys_bits - 1, PAGE_SHIFT);
	unsigned type = MEMTYPE_UC;
	bool hit = false;

	*end = UINT64_MAX;
	for (unsigned i = 0; i < m->variable_count; i++) {
		uint64_t mask = m->variable[i].mask & address_bits;
		unsigned t = (unsigned)(m->variable[i].base & MTRR_PHYSBASE_TYPE_MASK);

		if (!(m->variable[i].mask & MTRR_PHYSMASK_VALID))
			continue;
		if (mask != 0)
			next_edge(at, m->variable[i].base, mask, address_bits, end);
		if ((at & mask) != (m->variable[i].base & mask))
			continue;
		type = hit ? combine(type, t) : t;
		hit = true;
	}
	return hit ? type : (unsigned)(m->def_type & MTRR_DEF_TYPE_MASK);
}

unsigned mtrr_type(const struct mtrr_state *m, uint64_t at, uint64_t *end)
{
	uint64_t ignored;

	if (!end)
		end = &ignored;
	if (!(m->def_type & MTRR_DEF_E)) {
		*end = UINT64_MAX;
		return MEMTYPE_UC;
	}
	if (at < FIXED_LIMIT && (m->def_type & MTRR_DEF_FE) && (m->cap & MTRRCAP_FIX))
		return fixed_type(m, at, end);
	return variable_type(m, at, end);
}

static const char *type_name(unsigned type)
{
	static const char *const names[] = {
		[MEMTYPE_UC] = "uncached", [MEMTYPE_WC] = "write-combining", [MEMTYPE_WT] = "write-through",
		[MEMTYPE_WP] = "write-protected", [MEMTYPE_WB] = "write-back",
	};

	return type < ARRAY_SIZE(names) && names[type] ? names[type] : "of a reserved type";
}

enum status mtrr_check_ram(const struct mtrr_state *m, const struct memmap *map, struct error *err)
{
	for (unsigned i = 0; i < map->count; i++) {
		const struct memmap_entry *e = &map->entry[i];
		uint64_t end;

		if (e->type == MEMMAP_RESERVED || e->type == MEMMAP_UNUSABLE)
			continue;
		for (uint64_t at = e->start; at < e->end; at = end) {
			unsigned type = mtrr_type(m, at, &end);

			if (type != MEMTYPE_WB)
				return fail(err, ST_INVALID, "MTRRs: %s from 0x%llx to 0x%llx is %s",
					    memmap_type_name(e->type), (unsigned long long)at,
					    (unsigned long long)MIN(end, e->end), type_name(type));
		}
	}
	return ST_OK;
}

static bool differ(uint32_t cpu, const char *what, unsigned index, uint64_t a, uint64_t b, struct error *err)
{
	(void)fail(err, ST_INVALID, "MTRRs: %s %u is 0x%llx on cpu %u but 0x%llx on the boot cpu", what, index,
		   (unsigned long long)b, cpu, (unsigned long long)a);
	return false;
}

bool mtrr_same(const struct mtrr_state *first, const struct mtrr_state *other, uint32_t cpu, struct error *err)
{
	if (first->cap != other->cap)
		return differ(cpu, "capability register", 0, first->cap, other->cap, err);
	if (first->def_type != other->def_type)
		return differ(cpu, "default type", 0, first->def_type, other->def_type, err);
	for (unsigned i = 0; i < MTRR_FIXED_COUNT; i++)
		if (first->fixed[i] != other->fixed[i])
			return differ(cpu, "fixed range register", i, first->fixed[i], other->fixed[i], err);
	for (unsigned i = 0; i < first->variable_count; i++) {
		const struct mtrr_variable *a = &first->variable[i], *b = &other->variable[i];

		if (a->base != b->base)
			return differ(cpu, "variable base", i, a->base, b->base, err);
		if (a->mask != b->mask)
			return differ(cpu, "variable mask", i, a->mask, b->mask, err);
	}
	return true;
}
