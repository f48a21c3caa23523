/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MSR allow-list as two switches, read and write. A value is checked whole
 * before anything changes. Values that the hardware must hold (syscall and
 * segment bases, PAT, speculation control) go to the engine; the local APIC has
 * its own; the rest is storage, or a constant that describes this machine.
 *
 * TSC and TSC_ADJUST move one number per vcpu, the distance of its TSC from
 * vm_time. The APIC counts in vm_time, so that a TSC deadline is translated
 * where it passes through here; nothing else knows that a guest may shift its TSC.
 */
#include "guest/msr.h"

#include "guest/cpuid.h"
#include "guest/gwalk.h"
#include "guest/vcpu_internal.h"
#include "guest/vm.h"
#include "lib/x86_regs.h"

/* Only IA32_PLATFORM_ID and IA32_BIOS_SIGN_ID: slot 0, and an update level that is not "none loaded". */
#define PLATFORM_ID_VALUE 0
#define BIOS_SIGN_VALUE BIT(32)
#define PLATFORM_INFO_VALUE 0 /* no programmable ratios, no CPUID faulting */
#define MTRRCAP_VALUE (MTRR_VARIABLE_COUNT | MTRRCAP_FIX | MTRRCAP_WC)
#define MISC_ENABLE_VALUE (MISC_ENABLE_BTS_UNAVAIL | MISC_ENABLE_PEBS_UNAVAIL)
#define MISC_ENABLE_WRITABLE MISC_ENABLE_FAST_STRING
#define MTRR_TYPES_FIXED_WB 0x0606060606060606ull

#define FIXED_A0000 2 /* index of the fixed register that covers the legacy video area */
#define HOLE_START 0xc0000000ull
#define HOLE_SIZE 0x40000000ull

/* What a PC's firmware hands over: everything WB but the video area and the hole below 4 GiB. */
void msr_reset(struct vcpu *v)
{
	struct msr_state *s = &v->msr;

	*s = (struct msr_state){.misc_enable = MISC_ENABLE_VALUE};
	if (v->engine->caps.fast_strings)
		s->misc_enable |= MISC_ENABLE_FAST_STRING;
	s->mtrr_def_type = MEMTYPE_WB | MTRR_DEF_FE | MTRR_DEF_E;
	for (unsigned i = 0; i < MTRR_FIXED_COUNT; i++)
		s->mtrr_fixed[i] = MTRR_TYPES_FIXED_WB;
	s->mtrr_fixed[FIXED_A0000] = 0;
	s->mtrr_variable[0].base = HOLE_START | MEMTYPE_UC;
	s->mtrr_variable[0].mask = MTRR_PHYSMASK_VALID; /* completed by msr_settle(), which knows the address width */
}

void msr_settle(struct vcpu *v)
{
	v->msr.mtrr_variable[0].mask = (v->vm->cpuid->physical_mask & ~(HOLE_SIZE - 1)) | MTRR_PHYSMASK_VALID;
}

/* ---- checks ---- */

static bool is_memory_type(uint64_t type)
{
	return type <= MEMTYPE_WB && (BIT(type) & (BIT(MEMTYPE_UC) | BIT(MEMTYPE_WC) | BIT(MEMTYPE_WT) |
						   BIT(MEMTYPE_WP) | BIT(MEMTYPE_WB)));
}

static bool is_pat(uint64_t value)
{
	for (unsigned i = 0; i < 64; i += 8) {
		uint64_t type = value >> i & 0xff;

		if (!is_memory_type(type) && type != MEMTYPE_UC_MINUS)
			return false;
	}
	return true;
}

static bool are_memory_types(uint64_t value)
{
	for (unsigned i = 0; i < 64; i += 8) {
		if (!is_memory_type(value >> i & 0xff))
			return false;
	}
	return true;
}

static enum status gp_unless(bool legal) { return legal ? ST_OK : ST_INVALID; }

/* ---- MTRRs ---- */

/* Fixed-range register by MSR number, NULL when it is none. */
static uint64_t *mtrr_fixed(struct vcpu *v, uint32_t index)
{
	uint64_t *fixed = v->msr.mtrr_fixed;

	if (index == MSR_IA32_MTRR_FIX64K_00000)
		return &fixed[0];
	if (index - MSR_IA32_MTRR_FIX16K_80000 < 2)
		return &fixed[1 + index - MSR_IA32_MTRR_FIX16K_80000];
	if (index - MSR_IA32_MTRR_FIX4K_C0000 < 8)
		return &fixed[3 + index - MSR_IA32_MTRR_FIX4K_C0000];
	return NULL;
}

static bool is_mtrr_variable(uint32_t index)
{
	return index - MSR_IA32_MTRR_PHYSBASE0 < 2 * MTRR_VARIABLE_COUNT;
}

static uint64_t *mtrr_variable(struct vcpu *v, uint32_t index)
{
	unsigned n = (index - MSR_IA32_MTRR_PHYSBASE0) / 2;

	return index & 1 ? &v->msr.mtrr_variable[n].mask : &v->msr.mtrr_variable[n].base;
}

/* SDM 3A 11.11.2.3, figure 11-7. */
static bool mtrr_variable_legal(const struct vcpu *v, uint32_t index, uint64_t value)
{
	uint64_t address = v->vm->cpuid->physical_mask & ~PAGE_MASK;

	if (index & 1)
		return !(value & ~(address | MTRR_PHYSMASK_VALID));
	return !(value & ~(address | MTRR_PHYSBASE_TYPE_MASK)) && is_memory_type(value & MTRR_PHYSBASE_TYPE_MASK);
}

static enum status read_mtrr(struct vcpu *v, uint32_t index, uint64_t *out)
{
	const uint64_t *at = is_mtrr_variable(index) ? mtrr_variable(v, index) : mtrr_fixed(v, index);

	if (!at)
		return ST_NOT_FOUND;
	*out = *at;
	return ST_OK;
}

static enum status write_mtrr(struct vcpu *v, uint32_t index, uint64_t value)
{
	uint64_t *at = is_mtrr_variable(index) ? mtrr_variable(v, index) : mtrr_fixed(v, index);
	bool legal;

	if (!at)
		return ST_NOT_FOUND;
	legal = is_mtrr_variable(index) ? mtrr_variable_legal(v, index, value) : are_memory_types(value);
	if (legal)
		*at = value;
	return gp_unless(legal);
}

static enum status write_mtrr_def_type(struct vcpu *v, uint64_t value)
{
	bool legal = !(value & ~(MTRR_DEF_TYPE_MASK | MTRR_DEF_FE | MTRR_DEF_E)) &&
		     is_memory_type(value & MTRR_DEF_TYPE_MASK);

	if (legal)
		v->msr.mtrr_def_type = value;
	return gp_unless(legal);
}

/* ---- time ---- */

static enum status set_tsc_adjust(struct vcpu *v, uint64_t adjust)
{
	uint64_t deadline;
	/* An armed deadline is a value of the guest's TSC: it stays where the guest put it. */
	bool armed = msr_read(v, MSR_IA32_TSC_DEADLINE, &deadline) == ST_OK && deadline != 0;

	v->msr.tsc_adjust = adjust;
	v->engine->set_tsc_offset(v, v->vm->time.offset + adjust);
	pvtime_tsc_moved(v);
	return armed ? msr_write(v, MSR_IA32_TSC_DEADLINE, deadline) : ST_OK;
}

static enum status write_tsc(struct vcpu *v, uint64_t value)
{
	return set_tsc_adjust(v, value - vm_time_tsc(&v->vm->time));
}

static enum status read_deadline(struct vcpu *v, uint64_t *out)
{
	enum status st = vlapic_read_msr(&v->lapic, MSR_IA32_TSC_DEADLINE, out);

	if (st == ST_OK && *out != 0)
		*out += v->msr.tsc_adjust;
	return st;
}

/* Guest TSC value @tsc in vm_time; what has passed is now, what is beyond the counter its end. */
static uint64_t to_vm_time(const struct vcpu *v, uint64_t tsc)
{
	uint64_t now = vm_time_tsc(&v->vm->time), shifted = now + v->msr.tsc_adjust;

	if (tsc <= shifted)
		return MAX(now, 1);
	return tsc - shifted < UINT64_MAX - now ? now + (tsc - shifted) : UINT64_MAX - 1;
}

static enum status write_deadline(struct vcpu *v, uint64_t value)
{
	if (unlikely(v->msr.tsc_adjust != 0) && value != 0)
		value = to_vm_time(v, value);
	vlapic_timer_write_deadline(&v->lapic, value);
	return ST_OK;
}

/* ---- the engine's ---- */

static enum status write_efer(struct vcpu *v, uint64_t value)
{
	const struct engine *engine = v->engine;
	uint64_t old = engine->get_reg(v, REG_EFER);

	if (value & ~v->vm->cpuid->efer_allowed)
		return ST_INVALID;
	if (((value ^ old) & EFER_LME) && (engine->get_reg(v, REG_CR0) & CR0_PG))
		return ST_INVALID;
	engine->set_reg(v, REG_EFER, (value & ~EFER_LMA) | (old & EFER_LMA));
	return ST_OK;
}

static enum status write_if(struct vcpu *v, uint32_t index, uint64_t value, bool legal)
{
	return legal ? v->engine->set_msr(v, index, value) : ST_INVALID;
}

static enum status read_if(struct vcpu *v, uint32_t index, uint64_t *out, bool legal)
{
	return legal ? v->engine->get_msr(v, index, out) : ST_INVALID;
}

static bool has_rdtscp(const struct vcpu *v)
{
	return v->vm->cpuid->extended[1].edx & CPUID_E1D_RDTSCP;
}

static bool has_xss(const struct vcpu *v) { return v->vm->cpuid->xsave[1].eax & CPUID_D1A_XSAVES; }

/* An engine without the register has it at 0. */
static enum status write_debugctl(struct vcpu *v, uint64_t value)
{
	enum status st = write_if(v, MSR_IA32_DEBUGCTL, value, !(value & ~DEBUGCTL_BTF));

	return st == ST_NOT_FOUND ? gp_unless(value == 0) : st;
}

/* ---- the list ---- */

static enum status constant(uint64_t *out, uint64_t value)
{
	*out = value;
	return ST_OK;
}

/* The rarer registers: whatever read() does not list. */
static enum status read_other(struct vcpu *v, uint32_t index, uint64_t *out)
{
	const struct cpuid_table *t = v->vm->cpuid;

	switch (index) {
	case MSR_IA32_P5_MC_ADDR:
	case MSR_IA32_P5_MC_TYPE:
	case MSR_IA32_MCG_CAP:
	case MSR_IA32_MCG_STATUS:
		return constant(out, 0);
	case MSR_IA32_PLATFORM_ID:
		return constant(out, PLATFORM_ID_VALUE);
	case MSR_PLATFORM_INFO:
		return constant(out, PLATFORM_INFO_VALUE);
	case MSR_IA32_BIOS_SIGN_ID:
		return constant(out, BIOS_SIGN_VALUE);
	case MSR_IA32_FEATURE_CONTROL:
		return constant(out, FEATURE_CONTROL_LOCK);
	case MSR_IA32_MTRRCAP:
		return constant(out, MTRRCAP_VALUE);
	case MSR_IA32_ARCH_CAPABILITIES:
		*out = t->arch_capabilities;
		return gp_unless(t->arch_capabilities_shown);
	case MSR_IA32_SPEC_CTRL:
		return read_if(v, index, out, t->spec_ctrl_allowed != 0);
	case MSR_IA32_TSC_AUX:
		return read_if(v, index, out, has_rdtscp(v));
	case MSR_IA32_XSS:
		*out = 0;
		return gp_unless(has_xss(v));
	case MSR_IA32_DEBUGCTL:
		return v->engine->get_msr(v, index, out) == ST_OK ? ST_OK : constant(out, 0);
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_STEAL_TIME:
		return pvtime_read_msr(v, index, out);
	default:
		return read_mtrr(v, index, out);
	}
}

static enum status read(struct vcpu *v, uint32_t index, uint64_t *out)
{
	if (index - MSR_X2APIC_FIRST <= MSR_X2APIC_LAST - MSR_X2APIC_FIRST)
		return vlapic_read_msr(&v->lapic, index, out);
	switch (index) {
	case MSR_IA32_APIC_BASE:
		return constant(out, v->lapic.base_msr);
	case MSR_IA32_TSC:
		return constant(out, vm_time_tsc(&v->vm->time) + v->msr.tsc_adjust);
	case MSR_IA32_TSC_ADJUST:
		return constant(out, v->msr.tsc_adjust);
	case MSR_IA32_TSC_DEADLINE:
		return read_deadline(v, out);
	case MSR_IA32_MISC_ENABLE:
		return constant(out, v->msr.misc_enable);
	case MSR_IA32_MTRR_DEF_TYPE:
		return constant(out, v->msr.mtrr_def_type);
	case MSR_IA32_EFER:
		return constant(out, v->engine->get_reg(v, REG_EFER));
	case MSR_IA32_PAT:
	case MSR_IA32_SYSENTER_CS:
	case MSR_IA32_SYSENTER_ESP:
	case MSR_IA32_SYSENTER_EIP:
	case MSR_IA32_STAR:
	case MSR_IA32_LSTAR:
	case MSR_IA32_CSTAR:
	case MSR_IA32_FMASK:
	case MSR_IA32_FS_BASE:
	case MSR_IA32_GS_BASE:
	case MSR_IA32_KERNEL_GS_BASE:
		return v->engine->get_msr(v, index, out);
	default:
		return read_other(v, index, out);
	}
}

static enum status write_other(struct vcpu *v, uint32_t index, uint64_t value)
{
	const struct cpuid_table *t = v->vm->cpuid;

	switch (index) {
	case MSR_IA32_P5_MC_ADDR:
	case MSR_IA32_P5_MC_TYPE:
	case MSR_IA32_MCG_STATUS:
		return gp_unless(value == 0);
	case MSR_IA32_BIOS_SIGN_ID: /* written before CPUID to read the update level */
		return ST_OK;
	case MSR_IA32_MISC_ENABLE:
		if ((value ^ MISC_ENABLE_VALUE) & ~MISC_ENABLE_WRITABLE)
			return ST_INVALID;
		v->msr.misc_enable = value;
		return ST_OK;
	case MSR_IA32_MTRR_DEF_TYPE:
		return write_mtrr_def_type(v, value);
	case MSR_IA32_SPEC_CTRL:
		return write_if(v, index, value, t->spec_ctrl_allowed && !(value & ~t->spec_ctrl_allowed));
	case MSR_IA32_PRED_CMD:
		return write_if(v, index, value, t->pred_cmd_shown && !(value & ~PRED_CMD_IBPB));
	case MSR_IA32_FLUSH_CMD:
		return write_if(v, index, value, t->flush_cmd_shown && !(value & ~FLUSH_CMD_L1D));
	case MSR_IA32_XSS: /* no supervisor component is offered */
		return gp_unless(has_xss(v) && value == 0);
	case MSR_IA32_DEBUGCTL:
		return write_debugctl(v, value);
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_STEAL_TIME:
		return pvtime_write_msr(v, index, value);
	default:
		return write_mtrr(v, index, value);
	}
}

static enum status write(struct vcpu *v, uint32_t index, uint64_t value)
{
	if (index - MSR_X2APIC_FIRST <= MSR_X2APIC_LAST - MSR_X2APIC_FIRST)
		return vlapic_write_msr(&v->lapic, index, value);
	switch (index) {
	case MSR_IA32_APIC_BASE:
		return vlapic_write_msr(&v->lapic, index, value);
	case MSR_IA32_TSC_DEADLINE:
		return write_deadline(v, value);
	case MSR_IA32_TSC:
		return write_tsc(v, value);
	case MSR_IA32_TSC_ADJUST:
		return set_tsc_adjust(v, value);
	case MSR_IA32_EFER:
		return write_efer(v, value);
	case MSR_IA32_PAT:
		return write_if(v, index, value, is_pat(value));
	case MSR_IA32_SYSENTER_ESP:
	case MSR_IA32_SYSENTER_EIP:
	case MSR_IA32_LSTAR:
	case MSR_IA32_CSTAR:
	case MSR_IA32_FS_BASE:
	case MSR_IA32_GS_BASE:
	case MSR_IA32_KERNEL_GS_BASE:
		return write_if(v, index, value, gwalk_canonical(value));
	case MSR_IA32_FMASK:
		return write_if(v, index, value, value >> 32 == 0);
	case MSR_IA32_TSC_AUX:
		return write_if(v, index, value, has_rdtscp(v) && value >> 32 == 0);
	case MSR_IA32_SYSENTER_CS:
	case MSR_IA32_STAR:
		return v->engine->set_msr(v, index, value);
	default:
		return write_other(v, index, value);
	}
}

/* ST_NOT_FOUND is no register of ours: counted. For the guest both are #GP. */
static enum status refused(struct vcpu *v, enum status st)
{
	if (st == ST_NOT_FOUND)
		__atomic_fetch_add(&v->vm->denied_msrs, 1, __ATOMIC_RELAXED);
	return ST_INVALID;
}

static enum disposition raise_gp(struct vcpu *v, enum status st)
{
	(void)refused(v, st);
	vcpu_raise(v, VEC_GP, true, 0);
	return RESUME;
}

enum status msr_read(struct vcpu *v, uint32_t index, uint64_t *out)
{
	uint64_t value = 0;
	enum status st = read(v, index, &value);

	if (st != ST_OK)
		return refused(v, st);
	*out = value;
	return ST_OK;
}

enum status msr_write(struct vcpu *v, uint32_t index, uint64_t value)
{
	enum status st = write(v, index, value);

	return st == ST_OK ? ST_OK : refused(v, st);
}

static inline enum disposition give(struct vcpu *v, uint64_t value)
{
	v->gpr[GPR_RAX] = (uint32_t)value;
	v->gpr[GPR_RDX] = value >> 32;
	return v->engine->advance(v);
}

/* Out of line: what is only stored then needs no stack frame. */
static __attribute__((noinline)) enum disposition read_exit(struct vcpu *v)
{
	uint64_t value = 0;
	enum status st = read(v, v->exit.u.msr.index, &value);

	return st == ST_OK ? give(v, value) : raise_gp(v, st);
}

enum disposition msr_exit_read(struct vcpu *v)
{
	switch (v->exit.u.msr.index) {
	case MSR_IA32_APIC_BASE:
		return give(v, v->lapic.base_msr);
	case MSR_IA32_TSC_ADJUST:
		return give(v, v->msr.tsc_adjust);
	case MSR_IA32_MISC_ENABLE:
		return give(v, v->msr.misc_enable);
	default:
		return read_exit(v);
	}
}

/* A handler may have set a timer, or woken another entity. */
static inline enum disposition written(struct vcpu *v)
{
	vcpu_replan(v);
	return v->engine->advance(v);
}

static __attribute__((noinline)) enum disposition write_exit(struct vcpu *v, uint32_t index, uint64_t value)
{
	enum status st = likely(index == MSR_IA32_TSC_DEADLINE) ? write_deadline(v, value) : write(v, index, value);

	return likely(st == ST_OK) ? written(v) : raise_gp(v, st);
}

/* The x2APIC registers that come with every interrupt, before all others. */
static __attribute__((noinline)) enum disposition x2apic_exit(struct vcpu *v, uint32_t index, uint64_t value)
{
	struct vlapic *l = &v->lapic;

	if (index == MSR_X2APIC_SELF_IPI && value >= VECTORS_ILLEGAL && value <= UINT8_MAX)
		vlapic_post(l, (uint8_t)value, false);
	else if (index == MSR_X2APIC_ICR && vlapic_is_to_itself(value))
		vlapic_post_itself(l, value);
	else if (index == MSR_X2APIC_EOI && value == 0)
		vlapic_eoi(l, -1);
	else
		return write_exit(v, index, value);
	return written(v);
}

enum disposition msr_exit_write(struct vcpu *v)
{
	uint64_t value = v->gpr[GPR_RDX] << 32 | (uint32_t)v->gpr[GPR_RAX];
	uint32_t index = v->exit.u.msr.index;

	if (v->lapic.mode != VLAPIC_X2APIC || index - MSR_X2APIC_FIRST > MSR_X2APIC_LAST - MSR_X2APIC_FIRST)
		return write_exit(v, index, value);
	if (index == MSR_X2APIC_EOI && value == 0 && vlapic_end(&v->lapic))
		return v->engine->advance(v);
	return x2apic_exit(v, index, value);
}
