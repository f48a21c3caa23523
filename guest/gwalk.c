/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest page tables (SDM 3A chapter 4), read through the guest map. One loop
 * serves the three formats: a level has a shift, an index width and a set of
 * reserved bits; permissions accumulate and are judged once at the end
 * (4.6), reserved bits at each entry (4.7).
 *
 * Emulation follows an access that the processor has just translated by itself,
 * so that accessed bits are set already and protection keys have passed.
 */
#include "guest/gwalk.h"

#include "guest/cpuid.h"
#include "guest/gmem.h"
#include "guest/vm.h"
#include "lib/x86_regs.h"

#define SEGMENT_DPL(access) FIELD(access, 6, 5)
#define PDE32_LARGE_ADDR MASK(31, 22)
#define PDE32_LARGE_HIGH MASK(20, 13) /* address bits 39..32 (PSE-36) */
#define PDE32_LARGE_RSVD BIT(21)
#define PDPTE_ADDR_PAE MASK(31, 5)
#define HIGH_RESERVED MASK(62, 52)

/* What has been learnt on the way down: the AND of all entries, and the OR. */
struct walk {
	struct vcpu *v;
	const struct cpu_mode *cpu;
	uint64_t reserved; /* bits that must be 0 in every 8-byte entry */
	uint64_t all, any;
	uint32_t fault;    /* PF_P and PF_RSVD of the error code so far */
};

/* ---- memory ---- */

/*
 * Walks go through the same few pages again and again: their host addresses are kept as long as memory management
 * takes nothing from the guest.
 */
static __attribute__((noinline)) const uint8_t *memory_anew(struct vcpu *v, uint64_t number)
{
	void *page;

	if (gpmap_populate(v->vm->memory, gfn(number), &page) != ST_OK)
		return NULL;
	v->walk_pages.page[number % WALK_PAGES] = (struct walk_page){number, page};
	return page;
}

/* Whoever walks has called walk_begin() since memory management last ran. */
static inline const uint8_t *memory_at(struct vcpu *v, uint64_t at)
{
	uint64_t number = at >> PAGE_SHIFT;
	const struct walk_page *p = &v->walk_pages.page[number % WALK_PAGES];
	const uint8_t *page = p->page;

	if (unlikely(p->gfn != number || !page))
		page = memory_anew(v, number);
	return page ? page + (at & PAGE_MASK) : NULL;
}

static inline void walk_begin(struct vcpu *v)
{
	uint64_t generation = __atomic_load_n(v->vm->memory_generation, __ATOMIC_ACQUIRE);

	if (unlikely(v->walk_pages.generation != generation))
		v->walk_pages = (struct walk_pages){.generation = generation};
}

const uint8_t *gwalk_memory(struct vcpu *v, uint64_t at)
{
	walk_begin(v);
	return memory_at(v, at);
}

/* ---- what goes wrong ---- */

static bool bad(struct walk *w, uint32_t bits)
{
	w->fault = bits;
	return false;
}

/* A table where there is no RAM reads as all ones: present, with reserved bits set. */
static bool out_of_memory(struct walk *w) { return bad(w, PF_P | PF_RSVD); }

static bool not_usable(struct walk *w, uint64_t entry) { return bad(w, entry & PTE_P ? PF_P | PF_RSVD : 0); }

/* ---- 8-byte entries: 4-level and PAE ---- */

/* An entry above the last level with PS set: a leaf at @shift 30 and 21, whose low address bits are reserved. */
static bool large_leaf(struct walk *w, uint64_t entry, unsigned shift, gva_t linear, gpa_t *out)
{
	bool has_1g = w->v->vm->cpuid->extended[1].edx & CPUID_E1D_PAGE1GB;

	if (shift == 39 || (shift == 30 && !has_1g) || (entry & MASK(shift - 1, 13)))
		return bad(w, PF_P | PF_RSVD);
	*out = gpa((entry & PTE_ADDR_MASK & ~MASK(shift - 1, 0)) | (linear.v & MASK(shift - 1, 0)));
	return true;
}

static bool walk_wide(struct walk *w, uint64_t table, unsigned shift, gva_t linear, struct walk_path *path, gpa_t *out)
{
	path->levels = 0;
	for (;; shift -= 9) {
		const void *at = memory_at(w->v, table + ((linear.v >> shift & 0x1ff) << 3));
		uint64_t entry;

		if (unlikely(!at))
			return out_of_memory(w);
		entry = get_le64(at);
		path->entry[path->levels] = at;
		path->value[path->levels++] = entry;
		if (unlikely((entry & (w->reserved | PTE_P)) != PTE_P))
			return not_usable(w, entry);
		w->all &= entry;
		w->any |= entry;
		if (shift == PAGE_SHIFT)
			break;
		if (entry & PTE_PS)
			return large_leaf(w, entry, shift, linear, out);
		table = entry & PTE_ADDR_MASK;
	}
	*out = gpa((path->value[path->levels - 1] & PTE_ADDR_MASK) | (linear.v & PAGE_MASK));
	return true;
}

/* The four PDPTEs have no permission bits (SDM 3A table 4-8). */
static bool walk_pae(struct walk *w, gva_t linear, struct walk_path *path, gpa_t *out)
{
	const void *at = memory_at(w->v, (w->cpu->cr3 & PDPTE_ADDR_PAE) + ((linear.v >> 30 & 3) << 3));

	if (!at)
		return out_of_memory(w);
	if (!(get_le64(at) & PTE_P))
		return bad(w, 0);
	if (!walk_wide(w, get_le64(at) & PTE_ADDR_MASK, 21, linear, path, out))
		return false;
	path->levels = 0; /* the PDPTE is not in it */
	return true;
}

/* ---- 4-byte entries ---- */

static bool take_entry_32(struct walk *w, uint64_t at, uint32_t *entry)
{
	const void *memory = memory_at(w->v, at);

	if (!memory)
		return out_of_memory(w);
	*entry = get_le32(memory);
	if (!(*entry & PTE_P))
		return bad(w, 0);
	w->all &= *entry;
	return true;
}

static bool walk_32(struct walk *w, gva_t linear, gpa_t *out)
{
	uint32_t entry;

	if (!take_entry_32(w, (w->cpu->cr3 & MASK(31, 12)) + ((linear.v >> 22 & 0x3ff) << 2), &entry))
		return false;
	if ((w->cpu->cr4 & CR4_PSE) && (entry & PTE_PS)) {
		if (entry & PDE32_LARGE_RSVD)
			return bad(w, PF_P | PF_RSVD);
		*out = gpa((entry & PDE32_LARGE_ADDR) | FIELD(entry, 20, 13) << 32 | (linear.v & MASK(21, 0)));
		return true;
	}
	if (!take_entry_32(w, (entry & MASK(31, 12)) + ((linear.v >> 12 & 0x3ff) << 2), &entry))
		return false;
	*out = gpa((entry & MASK(31, 12)) | (linear.v & PAGE_MASK));
	return true;
}

/* ---- permissions ---- */

static inline bool user_mode(const struct cpu_mode *cpu) { return SEGMENT_DPL(cpu->ss_access) == 3; }

static bool data_permitted(const struct walk *w, unsigned access)
{
	const struct cpu_mode *cpu = w->cpu;

	if (user_mode(cpu)) {
		if (!(w->all & PTE_U))
			return false;
		return !(access & S2_WRITE) || (w->all & PTE_W);
	}
	if ((w->all & PTE_U) && (cpu->cr4 & CR4_SMAP) && !(cpu->rflags & RFLAGS_AC))
		return false;
	return !(access & S2_WRITE) || (w->all & PTE_W) || !(cpu->cr0 & CR0_WP);
}

/* SDM 3A 4.6.1. */
static inline bool permitted(const struct walk *w, unsigned access)
{
	if (!(access & S2_EXEC))
		return data_permitted(w, access);
	if (w->any & PTE_NX)
		return false;
	return user_mode(w->cpu) ? w->all & PTE_U : !((w->all & PTE_U) && (w->cpu->cr4 & CR4_SMEP));
}

static uint32_t error_code(const struct walk *w, unsigned access)
{
	bool fetch_bit = (w->cpu->efer & EFER_NXE) || (w->cpu->cr4 & CR4_SMEP);

	return w->fault | (access & S2_WRITE ? PF_W : 0) | (user_mode(w->cpu) ? PF_U : 0) |
	       ((access & S2_EXEC) && fetch_bit ? PF_I : 0);
}

/* ---- the walk ---- */

static void pad(struct walk_path *path)
{
	for (unsigned i = path->levels; i < WALK_LEVELS; i++)
		path->entry[i] = &path->value[i];
}

static bool walk_tables(struct walk *w, gva_t linear, struct walk_path *path, gpa_t *out)
{
	if (w->cpu->efer & EFER_LMA)
		return walk_wide(w, w->cpu->cr3 & PTE_ADDR_MASK, 39, linear, path, out);
	path->levels = 0;
	if (!(w->cpu->cr4 & CR4_PAE))
		return walk_32(w, linear, out);
	w->reserved |= HIGH_RESERVED;
	return walk_pae(w, linear, path, out);
}

enum status gwalk_translate(struct vcpu *v, const struct cpu_mode *cpu, gva_t linear, unsigned access,
			    struct walk_path *path, gpa_t *out, uint32_t *pf_error)
{
	struct walk w = {.v = v, .cpu = cpu, .reserved = v->vm->cpuid->pte_reserved, .all = UINT64_MAX};
	struct walk_path unwanted;
	gpa_t at;

	if (!path)
		path = &unwanted;
	if (!(cpu->cr0 & CR0_PG)) {
		path->levels = 0;
		*out = gpa((uint32_t)linear.v);
		return ST_OK;
	}
	if (!(cpu->efer & EFER_NXE))
		w.reserved |= PTE_NX;
	walk_begin(v);
	if (walk_tables(&w, linear, path, &at)) {
		if (likely(permitted(&w, access))) {
			pad(path);
			*out = at;
			return ST_OK;
		}
		w.fault = PF_P;
	}
	*pf_error = error_code(&w, access);
	return ST_BAD_ADDRESS;
}

enum status gmem_translate(struct vcpu *vcpu, gva_t linear, unsigned access, gpa_t *out, uint32_t *pf_error)
{
	struct cpu_mode cpu;

	vcpu->engine->get_mode(vcpu, &cpu);
	return gwalk_translate(vcpu, &cpu, linear, access, NULL, out, pf_error);
}
