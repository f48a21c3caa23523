/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control-register writes. Each register has one predicate that says whether
 * the whole new value is legal in the present state; a value that passes goes to
 * the engine, which derives what hangs on it. Sources: SDM 3A 2.5 (bits and
 * their conditions), 4.1.2 (changing paging modes), 2.6 and 1:13.3 (XCR0).
 */
#include "guest/creg.h"

#include "guest/cpuid.h"
#include "guest/vcpu_internal.h"
#include "guest/vm.h"
#include "lib/x86_regs.h"

#define CR0_DEFINED \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define CR0_LMSW (CR0_PE | CR0_MP | CR0_EM | CR0_TS)
#define CS_LONG BIT(13) /* descriptor bit 53 in struct segment's access */

static uint64_t reg(struct vcpu *v, enum engine_reg r) { return v->engine->get_reg(v, r); }

static bool in_64bit_code(struct vcpu *v)
{
	struct segment cs;

	if (!(reg(v, REG_EFER) & EFER_LMA))
		return false;
	v->engine->get_segment(v, SEG_CS, &cs);
	return cs.access & CS_LONG;
}

/* ---- CR0 ---- */

static bool may_set_pg(struct vcpu *v)
{
	struct segment cs;

	if (!(reg(v, REG_EFER) & EFER_LME))
		return true;
	v->engine->get_segment(v, SEG_CS, &cs);
	return (reg(v, REG_CR4) & CR4_PAE) && !(cs.access & CS_LONG);
}

static bool may_clear_pg(struct vcpu *v) { return !(reg(v, REG_CR4) & CR4_PCIDE) && !in_64bit_code(v); }

static bool cr0_legal(struct vcpu *v, uint64_t old, uint64_t value)
{
	if (value >> 32)
		return false;
	if ((value & CR0_PG) && !(value & CR0_PE))
		return false;
	if ((value & CR0_NW) && !(value & CR0_CD))
		return false;
	if ((value & ~old) & CR0_PG)
		return may_set_pg(v);
	if ((old & ~value) & CR0_PG)
		return may_clear_pg(v);
	return true;
}

static bool write_cr0(struct vcpu *v, uint64_t value)
{
	if (!cr0_legal(v, reg(v, REG_CR0), value))
		return false;
	v->engine->set_reg(v, REG_CR0, (value & CR0_DEFINED) | CR0_ET);
	return true;
}

/* ---- CR3, CR4 ---- */

static bool write_cr3(struct vcpu *v, uint64_t value)
{
	if (reg(v, REG_CR4) & CR4_PCIDE)
		value &= ~CR3_NO_FLUSH;
	if ((reg(v, REG_EFER) & EFER_LMA) && (value & ~v->vm->cpuid->physical_mask & ~MASK(11, 0)))
		return false;
	v->engine->set_reg(v, REG_CR3, value);
	return true;
}

static bool cr4_legal(struct vcpu *v, uint64_t old, uint64_t value)
{
	bool long_mode = reg(v, REG_EFER) & EFER_LMA;

	if (value & ~v->vm->cpuid->cr4_allowed)
		return false;
	if (long_mode && !(value & CR4_PAE))
		return false;
	if ((value & ~old) & CR4_PCIDE)
		return long_mode && !(reg(v, REG_CR3) & CR3_PCID_MASK);
	return true;
}

static bool write_cr4(struct vcpu *v, uint64_t value)
{
	if (!cr4_legal(v, reg(v, REG_CR4), value))
		return false;
	v->engine->set_reg(v, REG_CR4, value);
	return true;
}

static bool write_cr8(struct vcpu *v, uint64_t value)
{
	if (value & ~MASK(3, 0))
		return false;
	vlapic_set_cr8(&v->lapic, (uint8_t)value);
	return true;
}

/* ---- dispatch ---- */

static bool write(struct vcpu *v, unsigned cr, uint64_t value)
{
	if (!in_64bit_code(v))
		value = (uint32_t)value;
	switch (cr) {
	case 0:
		return write_cr0(v, value);
	case 3:
		return write_cr3(v, value);
	case 4:
		return write_cr4(v, value);
	default:
		return write_cr8(v, value);
	}
}

static uint64_t read(struct vcpu *v, unsigned cr)
{
	switch (cr) {
	case 0:
		return reg(v, REG_CR0);
	case 3:
		return reg(v, REG_CR3);
	case 4:
		return reg(v, REG_CR4);
	default:
		return vlapic_get_cr8(&v->lapic);
	}
}

static bool access(struct vcpu *v)
{
	const struct exit *e = &v->exit;
	uint64_t cr0;

	if (e->u.cr.clts)
		return write_cr0(v, reg(v, REG_CR0) & ~CR0_TS);
	if (e->u.cr.lmsw) {
		/* LMSW can set PE but never clear it. */
		cr0 = reg(v, REG_CR0);
		return write_cr0(v, (cr0 & ~(CR0_LMSW & ~CR0_PE)) | (e->u.cr.lmsw_value & CR0_LMSW));
	}
	if (e->u.cr.write)
		return write(v, e->u.cr.cr, vcpu_get_gpr(v, e->u.cr.gpr));
	vcpu_set_gpr(v, e->u.cr.gpr, read(v, e->u.cr.cr));
	return true;
}

static bool cr_exists(unsigned cr) { return cr == 0 || cr == 3 || cr == 4 || cr == 8; }

enum disposition creg_access(struct vcpu *v)
{
	if (!v->exit.u.cr.clts && !v->exit.u.cr.lmsw && !cr_exists(v->exit.u.cr.cr))
		vcpu_raise(v, VEC_UD, false, 0);
	else if (access(v))
		v->engine->advance(v);
	else
		vcpu_raise(v, VEC_GP, true, 0);
	return RESUME;
}

/* ---- XCR0 ---- */

static bool xcr0_legal(const struct vcpu *v, uint64_t value)
{
	if ((value & ~v->vm->cpuid->xcr0_allowed) || !(value & XCR0_X87))
		return false;
	if ((value & XCR0_AVX) && !(value & XCR0_SSE))
		return false;
	if ((value & XCR0_AVX512) && ((value & XCR0_AVX512) != XCR0_AVX512 || !(value & XCR0_AVX)))
		return false;
	return true;
}

enum disposition creg_xsetbv(struct vcpu *v)
{
	uint64_t value = v->gpr[GPR_RDX] << 32 | (uint32_t)v->gpr[GPR_RAX];

	if ((uint32_t)v->gpr[GPR_RCX] != 0 || !xcr0_legal(v, value)) {
		vcpu_raise(v, VEC_GP, true, 0);
		return RESUME;
	}
	v->engine->set_reg(v, REG_XCR0, value);
	v->engine->advance(v);
	return RESUME;
}
