/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two faces of the local APIC's registers: memory at VLAPIC_BASE in xAPIC
 * mode (SDM 3A 11.4.1) and MSRs 0x800-0x83f in x2APIC mode (11.12.1). Both come
 * down to one read and one write of a register; what differs is who may touch
 * which register, and what a wrong access does: an error bit in ESR, or #GP.
 */
#include "guest/vlapic_internal.h"

#include "lib/assert.h"

/* Version 0x15, entries 0..5 of the local vector table, EOI broadcast can be suppressed. */
#define VERSION 0x15u
#define LVT_MAX_ENTRY 5u
#define VERSION_SUPPRESS_EOI BIT(24)

#define SVR_RESET 0xffu
#define SVR_BITS MASK(9, 0)
#define ICR_X2APIC_RESERVED (MASK(31, 20) | MASK(17, 16) | BIT(13))
#define REGS_END 0x400u

/* One bit for each register, by its x2APIC number. */
#define REG(offset) BIT((offset) >> 4)
#define REGS8(offset) (0xffull << ((offset) >> 4))
#define REGS_LVT                                                                                  \
	(REG(APIC_REG_LVT_TIMER) | REG(APIC_REG_LVT_THERMAL) | REG(APIC_REG_LVT_PMC) |            \
	 REG(APIC_REG_LVT_LINT0) | REG(APIC_REG_LVT_LINT1) | REG(APIC_REG_LVT_ERROR))
#define REGS_STATE (REGS8(APIC_REG_ISR) | REGS8(APIC_REG_TMR) | REGS8(APIC_REG_IRR))

static const uint64_t x2apic_readable = REG(APIC_REG_ID) | REG(APIC_REG_VERSION) | REG(APIC_REG_TPR) |
	REG(APIC_REG_PPR) | REG(APIC_REG_LDR) | REG(APIC_REG_SVR) | REGS_STATE | REG(APIC_REG_ESR) |
	REG(APIC_REG_ICR_LOW) | REGS_LVT | REG(APIC_REG_TIMER_INITIAL) | REG(APIC_REG_TIMER_CURRENT) |
	REG(APIC_REG_TIMER_DIVIDE);
static const uint64_t x2apic_writable = REG(APIC_REG_TPR) | REG(APIC_REG_EOI) | REG(APIC_REG_SVR) |
	REG(APIC_REG_ESR) | REG(APIC_REG_ICR_LOW) | REGS_LVT | REG(APIC_REG_TIMER_INITIAL) |
	REG(APIC_REG_TIMER_DIVIDE) | REG(APIC_REG_SELF_IPI);
/* xAPIC: accesses to any other register set ESR's illegal-register bit. EOI reads 0, read-only ones ignore writes. */
static const uint64_t xapic_known = REG(APIC_REG_ID) | REG(APIC_REG_VERSION) | REG(APIC_REG_TPR) |
	REG(APIC_REG_APR) | REG(APIC_REG_PPR) | REG(APIC_REG_EOI) | REG(APIC_REG_RRD) | REG(APIC_REG_LDR) |
	REG(APIC_REG_DFR) | REG(APIC_REG_SVR) | REGS_STATE | REG(APIC_REG_ESR) | REG(APIC_REG_ICR_LOW) |
	REG(APIC_REG_ICR_HIGH) | REGS_LVT | REG(APIC_REG_TIMER_INITIAL) | REG(APIC_REG_TIMER_CURRENT) |
	REG(APIC_REG_TIMER_DIVIDE);

/* The bits of a 32-bit register that are not reserved; read-only bits count as known. */
static uint32_t known_bits(uint32_t reg)
{
	switch (reg) {
	case APIC_REG_TPR:
	case APIC_REG_SELF_IPI:
		return (uint32_t)MASK(7, 0);
	case APIC_REG_SVR:
		return (uint32_t)(SVR_BITS | APIC_SVR_SUPPRESS_EOI);
	case APIC_REG_LVT_TIMER:
		return (uint32_t)(APIC_LVT_VECTOR_MASK | APIC_LVT_PENDING | APIC_LVT_MASKED | APIC_TIMER_MODE_MASK);
	case APIC_REG_LVT_ERROR:
		return (uint32_t)(APIC_LVT_VECTOR_MASK | APIC_LVT_PENDING | APIC_LVT_MASKED);
	case APIC_REG_LVT_THERMAL:
	case APIC_REG_LVT_PMC:
		return (uint32_t)(APIC_LVT_VECTOR_MASK | APIC_LVT_DELIVERY_MASK | APIC_LVT_PENDING | APIC_LVT_MASKED);
	case APIC_REG_LVT_LINT0:
	case APIC_REG_LVT_LINT1:
		return (uint32_t)(APIC_LVT_VECTOR_MASK | (MASK(16, 8) & ~BIT(11)));
	case APIC_REG_TIMER_DIVIDE:
		return 0xb;
	case APIC_REG_EOI:
	case APIC_REG_ESR:
		return 0; /* x2APIC: only 0 may be written */
	default:
		return UINT32_MAX;
	}
}

/* ---- reads ---- */

/* Arbitration priority by the formula of SDM 3A 11.6.2.4; nothing arbitrates by it any more. */
static uint32_t read_apr(const struct vlapic *l)
{
	uint32_t tpr = vlapic_reg(l, APIC_REG_TPR) & 0xff;
	int irr = vlapic_highest_irr(l), isr = vlapic_highest_isr(l);
	uint32_t irr_class = irr < 0 ? 0 : (uint32_t)irr & 0xf0, isr_class = isr < 0 ? 0 : (uint32_t)isr & 0xf0;

	if ((tpr & 0xf0) >= irr_class && (tpr & 0xf0) > isr_class)
		return tpr;
	return MAX(tpr & isr_class, irr_class);
}

static uint32_t read_reg(struct vlapic *l, uint32_t reg)
{
	switch (reg) {
	case APIC_REG_PPR:
		return vlapic_ppr(l);
	case APIC_REG_APR:
		return read_apr(l);
	case APIC_REG_TIMER_CURRENT:
		return vlapic_timer_current(l);
	default:
		return vlapic_reg(l, reg);
	}
}

/* ---- writes ---- */

static void mask_lvts(struct vlapic *l)
{
	static const uint32_t others[] = {APIC_REG_LVT_THERMAL, APIC_REG_LVT_PMC, APIC_REG_LVT_LINT0,
					  APIC_REG_LVT_LINT1, APIC_REG_LVT_ERROR};

	for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
		vlapic_set_reg(l, others[i], vlapic_reg(l, others[i]) | (uint32_t)APIC_LVT_MASKED);
	vlapic_timer_write_lvt(l, vlapic_reg(l, APIC_REG_LVT_TIMER) | (uint32_t)APIC_LVT_MASKED);
}

static void write_svr(struct vlapic *l, uint32_t value)
{
	vlapic_set_reg(l, APIC_REG_SVR, value);
	/* First: what falls due at this moment is lost when it is off. */
	vlapic_publish(l);
	if (!(value & APIC_SVR_ENABLE))
		mask_lvts(l);
	l->ops->changed(l->ctx);
}

/* While the APIC is disabled by software the mask bits are set and stay so (SDM 3A 11.4.7.2). */
static void write_lvt(struct vlapic *l, uint32_t reg, uint32_t value)
{
	value &= ~(APIC_LVT_PENDING | APIC_LVT_REMOTE_IRR);
	if (!vlapic_enabled(l))
		value |= APIC_LVT_MASKED;
	if (reg == APIC_REG_LVT_TIMER)
		vlapic_timer_write_lvt(l, value);
	else
		vlapic_set_reg(l, reg, value);
	if (reg == APIC_REG_LVT_LINT0)
		l->ops->changed(l->ctx); /* the 8259's request may have become visible */
}

/* A register whose write has an effect, or is kept; @value has no reserved bit set. */
static void write_reg(struct vlapic *l, uint32_t reg, uint32_t value)
{
	switch (reg) {
	case APIC_REG_EOI:
		vlapic_eoi(l, -1);
		break;
	case APIC_REG_TPR:
		vlapic_set_reg(l, reg, value);
		l->ops->changed(l->ctx);
		break;
	case APIC_REG_SVR:
		write_svr(l, value);
		break;
	case APIC_REG_ESR:
		vlapic_set_reg(l, reg, l->errors);
		l->errors = 0;
		break;
	case APIC_REG_LVT_TIMER:
	case APIC_REG_LVT_THERMAL:
	case APIC_REG_LVT_PMC:
	case APIC_REG_LVT_LINT0:
	case APIC_REG_LVT_LINT1:
	case APIC_REG_LVT_ERROR:
		write_lvt(l, reg, value);
		break;
	case APIC_REG_TIMER_INITIAL:
		vlapic_timer_write_initial(l, value);
		break;
	case APIC_REG_TIMER_DIVIDE:
		vlapic_timer_write_divide(l, value);
		break;
	case APIC_REG_SELF_IPI:
		vlapic_send_ipi(l, APIC_ICR_SELF | value);
		break;
	default: /* read-only */
		break;
	}
}

/* ---- xAPIC: memory ---- */

/* The page's bytes 4..15 of each register are never written: they read 0. */
static uint64_t mmio_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct vlapic *l = container_of(dev, struct vlapic, dev);
	uint32_t reg = (uint32_t)offset & ~(APIC_REG_STEP - 1);
	unsigned byte = (unsigned)offset & (APIC_REG_STEP - 1);
	uint64_t value;

	if (l->mode != VLAPIC_XAPIC)
		return ~0ull;
	if (reg >= REGS_END || !(xapic_known & REG(reg))) {
		vlapic_error(l, APIC_ESR_ILLEGAL_REG);
		return 0;
	}
	if (byte >= 4)
		return 0;
	value = (uint64_t)read_reg(l, reg) >> 8 * byte;
	return size >= 8 ? value : value & MASK(8 * size - 1, 0);
}

static void xapic_write(struct vlapic *l, uint32_t reg, uint32_t value)
{
	switch (reg) {
	case APIC_REG_LDR:
		vlapic_set_reg(l, reg, value & 0xff000000u);
		vlapic_publish(l);
		break;
	case APIC_REG_DFR:
		vlapic_set_reg(l, reg, value | 0x0fffffffu);
		vlapic_publish(l);
		break;
	case APIC_REG_ICR_HIGH:
		vlapic_set_reg(l, reg, value & 0xff000000u);
		break;
	case APIC_REG_ICR_LOW: {
		uint32_t dest = vlapic_reg(l, APIC_REG_ICR_HIGH) >> 24;

		value &= ~(ICR_X2APIC_RESERVED | APIC_ICR_BUSY);
		vlapic_set_reg(l, reg, value);
		vlapic_send_ipi(l, (uint64_t)(dest == 0xff ? UINT32_MAX : dest) << 32 | value);
		break;
	}
	case APIC_REG_EOI: /* any value will do */
	case APIC_REG_ESR:
		write_reg(l, reg, 0);
		break;
	default:
		write_reg(l, reg, value & known_bits(reg));
		break;
	}
}

/* Only aligned 32-bit writes are defined; what else comes is dropped. */
static void mmio_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct vlapic *l = container_of(dev, struct vlapic, dev);

	if (l->mode != VLAPIC_XAPIC || size < 4 || !is_aligned(offset, APIC_REG_STEP))
		return;
	if (offset >= REGS_END || !(xapic_known & REG(offset)))
		vlapic_error(l, APIC_ESR_ILLEGAL_REG);
	else
		xapic_write(l, (uint32_t)offset, (uint32_t)value);
}

const struct device_ops vlapic_mmio_ops = {.name = "lapic", .read = mmio_read, .write = mmio_write};

/* ---- x2APIC: MSRs ---- */

static enum status read_x2apic(struct vlapic *l, uint32_t index, uint64_t *out)
{
	uint32_t number = index - MSR_X2APIC_FIRST;
	uint32_t reg = number << 4;

	if (l->mode != VLAPIC_X2APIC || number >= 64 || !(x2apic_readable & BIT(number)))
		return ST_INVALID;
	*out = reg == APIC_REG_ICR_LOW ? get_le64(l->page + reg) : read_reg(l, reg);
	return ST_OK;
}

static enum status write_x2apic_icr(struct vlapic *l, uint64_t value)
{
	if (value & ICR_X2APIC_RESERVED)
		return ST_INVALID;
	value &= ~APIC_ICR_BUSY;
	put_le64(l->page + APIC_REG_ICR_LOW, value);
	vlapic_send_ipi(l, value);
	return ST_OK;
}

static enum status write_x2apic(struct vlapic *l, uint32_t index, uint64_t value)
{
	uint32_t number = index - MSR_X2APIC_FIRST;
	uint32_t reg = number << 4;

	if (l->mode != VLAPIC_X2APIC || number >= 64 || !(x2apic_writable & BIT(number)))
		return ST_INVALID;
	if (reg == APIC_REG_ICR_LOW)
		return write_x2apic_icr(l, value);
	if (value & ~(uint64_t)known_bits(reg))
		return ST_INVALID;
	write_reg(l, reg, (uint32_t)value);
	return ST_OK;
}

/* ---- IA32_APIC_BASE ---- */

static enum vlapic_mode mode_of(uint64_t base)
{
	if (!(base & APIC_BASE_EN))
		return VLAPIC_DISABLED;
	return base & APIC_BASE_EXTD ? VLAPIC_X2APIC : VLAPIC_XAPIC;
}

/* SDM 3A 11.12.5, figure 11-27: x2APIC is reached from xAPIC only and left to disabled only. */
static bool is_legal_transition(enum vlapic_mode from, uint64_t base)
{
	enum vlapic_mode to = mode_of(base);

	if ((base & (APIC_BASE_EN | APIC_BASE_EXTD)) == APIC_BASE_EXTD)
		return false;
	if (to == VLAPIC_X2APIC)
		return from != VLAPIC_DISABLED;
	return to == VLAPIC_DISABLED || from != VLAPIC_X2APIC;
}

/* Id, logical id and the ICR's upper half look different in the two modes. */
static void set_mode_regs(struct vlapic *l)
{
	bool x2apic = l->mode == VLAPIC_X2APIC;

	vlapic_set_reg(l, APIC_REG_ID, x2apic ? l->id : l->id << 24);
	vlapic_set_reg(l, APIC_REG_LDR, x2apic ? (l->id >> 4) << 16 | 1u << (l->id & 0xf) : 0);
	vlapic_set_reg(l, APIC_REG_DFR, x2apic ? 0 : UINT32_MAX);
	vlapic_set_reg(l, APIC_REG_ICR_HIGH, 0);
	put_le64(l->page + APIC_REG_ICR_LOW, 0);
	vlapic_publish(l);
}

static enum status write_base(struct vlapic *l, uint64_t value)
{
	enum vlapic_mode mode = mode_of(value);

	/* The page cannot be moved: no system that we know does. */
	if ((value & ~(APIC_BASE_BSP | APIC_BASE_EN | APIC_BASE_EXTD)) != APIC_BASE_DEFAULT ||
	    !is_legal_transition(l->mode, value))
		return ST_INVALID;
	l->base_msr = value;
	if (mode == l->mode)
		return ST_OK;
	l->mode = mode;
	if (mode == VLAPIC_DISABLED) {
		vlapic_timer_stop(l);
		vlapic_reset_regs(l);
	} else {
		set_mode_regs(l);
	}
	l->ops->mode_changed(l->ctx, mode);
	l->ops->changed(l->ctx);
	return ST_OK;
}

/* ---- MSRs, most frequent first ---- */

enum status vlapic_write_msr(struct vlapic *l, uint32_t index, uint64_t value)
{
	if (index == MSR_X2APIC_EOI && l->mode == VLAPIC_X2APIC && value == 0) {
		vlapic_eoi(l, -1);
		return ST_OK;
	}
	if (index == MSR_IA32_TSC_DEADLINE) {
		vlapic_timer_write_deadline(l, value);
		return ST_OK;
	}
	if (index == MSR_IA32_APIC_BASE)
		return write_base(l, value);
	return write_x2apic(l, index, value);
}

enum status vlapic_read_msr(struct vlapic *l, uint32_t index, uint64_t *out)
{
	switch (index) {
	case MSR_IA32_TSC_DEADLINE:
		*out = vlapic_timer_read_deadline(l);
		return ST_OK;
	case MSR_IA32_APIC_BASE:
		*out = l->base_msr;
		return ST_OK;
	default:
		return read_x2apic(l, index, out);
	}
}

/* ---- reset ---- */

void vlapic_reset_regs(struct vlapic *l)
{
	memset(l->page, 0, VLAPIC_SIZE);
	l->irr_words = l->isr_words = l->tmr_words = 0;
	l->errors = 0;
	set_mode_regs(l);
	vlapic_set_reg(l, APIC_REG_VERSION,
		       (uint32_t)(VERSION | LVT_MAX_ENTRY << APIC_VERSION_MAX_LVT_SHIFT | VERSION_SUPPRESS_EOI));
	vlapic_set_reg(l, APIC_REG_SVR, SVR_RESET);
	mask_lvts(l);
	vlapic_publish(l);
}

void vlapic_virtual_wire(struct vlapic *l)
{
	vlapic_set_reg(l, APIC_REG_SVR, (uint32_t)(SVR_RESET | APIC_SVR_ENABLE));
	vlapic_set_reg(l, APIC_REG_LVT_LINT0, (uint32_t)APIC_DELIVERY_EXTINT);
	vlapic_set_reg(l, APIC_REG_LVT_LINT1, (uint32_t)APIC_DELIVERY_NMI);
	vlapic_publish(l);
	l->ops->changed(l->ctx);
}
