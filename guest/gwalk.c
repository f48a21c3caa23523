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

static enum paging paging_of(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	if (!(cr0 & CR0_PG))
		return PAGING_NONE;
	if (efer & EFER_LMA)
		return PAGING_4LEVEL;
	return cr4 & CR4_PAE ? PAGING_PAE : PAGING_32;
}

void gwalk_mode(const struct vcpu *v, const struct cpu_mode *cpu, struct walk_mode *out)
{
	const struct cpuid_table *t = v->vm->cpuid;

	*out = (struct walk_mode){
		.paging = paging_of(cpu->cr0, cpu->cr4, cpu->efer),
		.cr3 = cpu->cr3,
		.reserved = MASK(51, 0) & ~t->physical_mask,
		.cpl = (unsigned)SEGMENT_DPL(cpu->ss_access),
		.wp = cpu->cr0 & CR0_WP,
		.nxe = cpu->efer & EFER_NXE,
		.smep = cpu->cr4 & CR4_SMEP,
		.smap_checked = (cpu->cr4 & CR4_SMAP) && !(cpu->rflags & RFLAGS_AC),
		.pse = cpu->cr4 & CR4_PSE,
		.page1gb = t->extended[1].edx & CPUID_E1D_PAGE1GB,
	};
}

/* What has been learnt on the way down. */
struct walk {
	struct vcpu *v;
	const struct walk_mode *m;
	uint64_t table;   /* guest-physical address of the current table */
	uint64_t entry;
	bool user, write, nx;
	uint32_t fault;   /* PF_P and PF_RSVD of the error code so far */
};

/* Reads the entry at @at; a table where there is no RAM reads as all ones. */
static uint64_t read_entry(struct vcpu *v, uint64_t at, unsigned size)
{
	void *page = gpmap_va(v->vm->memory, gpa_to_gfn(gpa(at)));

	if (unlikely(!page) && gpmap_populate(v->vm->memory, gpa_to_gfn(gpa(at)), false, &page) != ST_OK)
		return UINT64_MAX;
	page = (uint8_t *)page + (at & PAGE_MASK);
	return size == 8 ? get_le64(page) : get_le32(page);
}

static bool bad(struct walk *w, uint32_t bits)
{
	w->fault = bits;
	return false;
}

static bool take_entry(struct walk *w, uint64_t at, unsigned size, uint64_t reserved)
{
	w->entry = read_entry(w->v, at, size);
	if (!(w->entry & PTE_P))
		return bad(w, 0);
	if (w->entry & reserved)
		return bad(w, PF_P | PF_RSVD);
	w->user &= !!(w->entry & PTE_U);
	w->write &= !!(w->entry & PTE_W);
	w->nx |= size == 8 && (w->entry & PTE_NX);
	return true;
}

/* ---- 8-byte entries: 4-level and PAE ---- */

/* Leaf at @shift above 12: the address bits below it are reserved, but for the PAT bit. */
static bool large_leaf(struct walk *w, unsigned shift, gva_t linear, gpa_t *out)
{
	if (w->entry & MASK(shift - 1, 13))
		return bad(w, PF_P | PF_RSVD);
	*out = gpa((w->entry & PTE_ADDR_MASK & ~MASK(shift - 1, 0)) | (linear.v & MASK(shift - 1, 0)));
	return true;
}

/* Reserved bits of an entry at @shift whose PS bit has a meaning only at 30 and 21. */
static uint64_t reserved_at(const struct walk_mode *m, unsigned shift)
{
	uint64_t bits = m->reserved | (m->nxe ? 0 : PTE_NX);

	if (m->paging == PAGING_PAE)
		bits |= HIGH_RESERVED;
	if (shift == 39 || (shift == 30 && !m->page1gb))
		bits |= PTE_PS;
	return bits;
}

static bool walk_wide(struct walk *w, unsigned shift, gva_t linear, gpa_t *out)
{
	for (;; shift -= 9) {
		uint64_t at = w->table + ((linear.v >> shift & 0x1ff) << 3);

		if (!take_entry(w, at, 8, reserved_at(w->m, shift)))
			return false;
		if (shift == PAGE_SHIFT) {
			*out = gpa((w->entry & PTE_ADDR_MASK) | (linear.v & PAGE_MASK));
			return true;
		}
		if (w->entry & PTE_PS)
			return large_leaf(w, shift, linear, out);
		w->table = w->entry & PTE_ADDR_MASK;
	}
}

/* The four PDPTEs have no permission bits (SDM 3A table 4-8). */
static bool walk_pae(struct walk *w, gva_t linear, gpa_t *out)
{
	uint64_t at = (w->m->cr3 & PDPTE_ADDR_PAE) + ((linear.v >> 30 & 3) << 3);

	w->entry = read_entry(w->v, at, 8);
	if (!(w->entry & PTE_P))
		return bad(w, 0);
	w->table = w->entry & PTE_ADDR_MASK;
	return walk_wide(w, 21, linear, out);
}

/* ---- 4-byte entries ---- */

static bool walk_32(struct walk *w, gva_t linear, gpa_t *out)
{
	uint64_t at = (w->m->cr3 & MASK(31, 12)) + ((linear.v >> 22 & 0x3ff) << 2);

	if (!take_entry(w, at, 4, 0))
		return false;
	if (w->m->pse && (w->entry & PTE_PS)) {
		if (w->entry & PDE32_LARGE_RSVD)
			return bad(w, PF_P | PF_RSVD);
		*out = gpa((w->entry & PDE32_LARGE_ADDR) | FIELD(w->entry, 20, 13) << 32 | (linear.v & MASK(21, 0)));
		return true;
	}
	at = (w->entry & MASK(31, 12)) + ((linear.v >> 12 & 0x3ff) << 2);
	if (!take_entry(w, at, 4, 0))
		return false;
	*out = gpa((w->entry & MASK(31, 12)) | (linear.v & PAGE_MASK));
	return true;
}

/* ---- permissions ---- */

/* SDM 3A 4.6.1. */
static bool permitted(const struct walk *w, unsigned access)
{
	const struct walk_mode *m = w->m;
	bool user_mode = m->cpl == 3;

	if (user_mode && !w->user)
		return false;
	if (access & S2_EXEC)
		return !w->nx && !(m->smep && !user_mode && w->user);
	if (!user_mode && w->user && m->smap_checked)
		return false;
	if ((access & S2_WRITE) && !w->write)
		return !user_mode && !m->wp;
	return true;
}

static bool walk_tables(struct walk *w, gva_t linear, gpa_t *out)
{
	switch (w->m->paging) {
	case PAGING_4LEVEL:
		w->table = w->m->cr3 & PTE_ADDR_MASK;
		return walk_wide(w, 39, linear, out);
	case PAGING_PAE:
		return walk_pae(w, linear, out);
	default:
		return walk_32(w, linear, out);
	}
}

enum status gwalk_translate(struct vcpu *v, const struct walk_mode *m, gva_t linear, unsigned access, gpa_t *out,
			    uint32_t *pf_error)
{
	struct walk w = {.v = v, .m = m, .user = true, .write = true};
	gpa_t at;

	if (m->paging == PAGING_NONE) {
		*out = gpa((uint32_t)linear.v);
		return ST_OK;
	}
	if (walk_tables(&w, linear, &at)) {
		if (permitted(&w, access)) {
			*out = at;
			return ST_OK;
		}
		w.fault = PF_P;
	}
	*pf_error = w.fault | (access & S2_WRITE ? PF_W : 0) | (m->cpl == 3 ? PF_U : 0) |
		    ((access & S2_EXEC) && (m->nxe || m->smep) ? PF_I : 0);
	return ST_BAD_ADDRESS;
}

enum status gmem_translate(struct vcpu *vcpu, gva_t linear, unsigned access, gpa_t *out, uint32_t *pf_error)
{
	struct cpu_mode cpu;
	struct walk_mode m;

	vcpu->engine->get_mode(vcpu, &cpu);
	gwalk_mode(vcpu, &cpu, &m);
	return gwalk_translate(vcpu, &m, linear, access, out, pf_error);
}
