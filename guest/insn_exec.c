/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Execution of what insn_decode() lets through: moves, exchanges, arithmetic and
 * bit operations between a register or immediate and one memory operand. A LOCK
 * prefix needs nothing: device accesses are atomic towards the one vcpu that
 * makes them. Flags: SDM 1 appendix A, and volume 2 for each instruction.
 */
#include "guest/insn_internal.h"

#include "guest/vcpu_internal.h"
#include "lib/assert.h"
#include "lib/x86_regs.h"

#define STATUS_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/* ---- registers ---- */

uint64_t insn_get_reg(struct insn_context *c, unsigned n, unsigned size)
{
	return vcpu_get_gpr(c->v, n) & insn_mask(size);
}

void insn_set_reg(struct insn_context *c, unsigned n, unsigned size, uint64_t value)
{
	uint64_t keep = size >= 4 ? 0 : ~insn_mask(size);

	vcpu_set_gpr(c->v, n, (vcpu_get_gpr(c->v, n) & keep) | (value & insn_mask(size)));
}

static uint64_t get_operand(struct insn_context *c, const struct insn *insn)
{
	if (insn->reg_high)
		return c->v->gpr[insn->reg] >> 8 & 0xff;
	return insn_get_reg(c, insn->reg, insn->reg_size);
}

static void set_operand(struct insn_context *c, const struct insn *insn, uint64_t value)
{
	uint64_t *gpr = &c->v->gpr[insn->reg];

	if (insn->reg_high)
		*gpr = (*gpr & ~MASK(15, 8)) | (value & 0xff) << 8;
	else
		insn_set_reg(c, insn->reg, insn->reg_size, value);
}

/* ---- arithmetic ---- */

static uint64_t parity_flag(uint64_t result)
{
	return __builtin_parity((unsigned)(result & 0xff)) ? 0 : RFLAGS_PF;
}

/* @carries and @overflows: the bit that counts is the sign bit of the operand size. */
static uint64_t status_flags(uint64_t result, unsigned size, uint64_t carries, uint64_t overflows, uint64_t half)
{
	uint64_t sign = 1ull << (size * 8 - 1);

	return (carries & sign ? RFLAGS_CF : 0) | (overflows & sign ? RFLAGS_OF : 0) | (half & RFLAGS_AF) |
	       (result & sign ? RFLAGS_SF : 0) | ((result & insn_mask(size)) == 0 ? RFLAGS_ZF : 0) | parity_flag(result);
}

_Static_assert(RFLAGS_AF == 0x10, "AF is the carry out of bit 3: bit 4 of a ^ b ^ result");

uint64_t insn_alu(enum insn_op op, uint64_t a, uint64_t b, unsigned size, uint64_t *rflags)
{
	uint64_t carry_in = (op == INSN_ADC || op == INSN_SBB) && (*rflags & RFLAGS_CF);
	uint64_t r, flags;

	switch (op) {
	case INSN_ADD:
	case INSN_ADC:
		r = a + b + carry_in;
		flags = status_flags(r, size, (a & b) | ((a | b) & ~r), (a ^ r) & (b ^ r), a ^ b ^ r);
		break;
	case INSN_SUB:
	case INSN_SBB:
	case INSN_CMP:
		r = a - b - carry_in;
		flags = status_flags(r, size, (~a & b) | ((~a | b) & r), (a ^ b) & (a ^ r), a ^ b ^ r);
		break;
	case INSN_AND:
	case INSN_TEST:
		r = a & b;
		flags = status_flags(r, size, 0, 0, 0);
		break;
	case INSN_OR:
		r = a | b;
		flags = status_flags(r, size, 0, 0, 0);
		break;
	default:
		ASSERT(op == INSN_XOR);
		r = a ^ b;
		flags = status_flags(r, size, 0, 0, 0);
		break;
	}
	*rflags = (*rflags & ~STATUS_FLAGS) | flags;
	return r & insn_mask(size);
}

static void set_rflags(struct insn_context *c, uint64_t rflags)
{
	if (rflags != c->cpu.rflags)
		c->v->engine->set_reg(c->v, REG_RFLAGS, rflags);
	c->cpu.rflags = rflags;
}

static bool keeps_operand(unsigned op) { return op == INSN_CMP || op == INSN_TEST || op == INSN_BT; }

/* memory = memory op other */
static enum status alu_to_memory(struct insn_context *c, const struct insn *insn, uint64_t linear, uint64_t other)
{
	uint64_t rflags = c->cpu.rflags, value;
	enum status st = ST_OK;

	if (!keeps_operand(insn->op))
		st = insn_check_write(c, linear, insn->size);
	if (st == ST_OK)
		st = insn_read(c, linear, insn->size, &value);
	if (st != ST_OK)
		return st;
	value = insn_alu((enum insn_op)insn->op, value, other & insn_mask(insn->size), insn->size, &rflags);
	if (!keeps_operand(insn->op))
		st = insn_write(c, linear, insn->size, value);
	if (st == ST_OK)
		set_rflags(c, rflags);
	return st;
}

/* register = register op memory */
static enum status alu_to_register(struct insn_context *c, const struct insn *insn, uint64_t linear)
{
	uint64_t rflags = c->cpu.rflags, value;
	enum status st = insn_read(c, linear, insn->size, &value);

	if (st != ST_OK)
		return st;
	value = insn_alu((enum insn_op)insn->op, get_operand(c, insn), value, insn->size, &rflags);
	if (!keeps_operand(insn->op))
		set_operand(c, insn, value);
	set_rflags(c, rflags);
	return ST_OK;
}

/* ---- bits ---- */

/* A bit number in a register reaches beyond the operand: whole operands away, in both directions. */
static enum status bit_operation(struct insn_context *c, const struct insn *insn)
{
	unsigned bits = insn->size * 8u, shift = 64 - bits;
	bool by_register = insn->form == FORM_MEM_REG;
	int64_t number = by_register ? (int64_t)(get_operand(c, insn) << shift) >> shift : (int64_t)insn->imm;
	uint64_t away = by_register ? (uint64_t)(number >> bit_lowest(bits)) * insn->size : 0;
	uint64_t bit = 1ull << ((uint64_t)number & (bits - 1)), value;
	uint64_t linear = insn_linear(c, insn, away);
	enum status st = ST_OK;

	if (!keeps_operand(insn->op))
		st = insn_check_write(c, linear, insn->size);
	if (st == ST_OK)
		st = insn_read(c, linear, insn->size, &value);
	if (st != ST_OK)
		return st;
	set_rflags(c, (c->cpu.rflags & ~RFLAGS_CF) | (value & bit ? RFLAGS_CF : 0));
	switch (insn->op) {
	case INSN_BTS: return insn_write(c, linear, insn->size, value | bit);
	case INSN_BTR: return insn_write(c, linear, insn->size, value & ~bit);
	case INSN_BTC: return insn_write(c, linear, insn->size, value ^ bit);
	default: return ST_OK;
	}
}

/* ---- moves ---- */

static enum status exchange(struct insn_context *c, const struct insn *insn, uint64_t linear)
{
	uint64_t value;
	enum status st = insn_check_write(c, linear, insn->size);

	if (st == ST_OK)
		st = insn_read(c, linear, insn->size, &value);
	if (st == ST_OK)
		st = insn_write(c, linear, insn->size, get_operand(c, insn));
	if (st == ST_OK)
		set_operand(c, insn, value);
	return st;
}

static enum status load(struct insn_context *c, const struct insn *insn, uint64_t linear)
{
	unsigned shift = 64 - insn->size * 8u;
	uint64_t value;
	enum status st = insn_read(c, linear, insn->size, &value);

	if (st != ST_OK)
		return st;
	if (insn->op == INSN_MOVSX)
		value = (uint64_t)((int64_t)(value << shift) >> shift);
	set_operand(c, insn, value);
	return ST_OK;
}

enum status insn_execute(struct insn_context *c, const struct insn *insn)
{
	uint64_t linear;

	if (insn->op >= INSN_BT && insn->op <= INSN_BTC)
		return bit_operation(c, insn);
	linear = insn_linear(c, insn, 0);
	switch (insn->op) {
	case INSN_MOVZX:
	case INSN_MOVSX:
		return load(c, insn, linear);
	case INSN_MOV:
		if (insn->form == FORM_REG_MEM)
			return load(c, insn, linear);
		return insn_write(c, linear, insn->size, insn->form == FORM_MEM_IMM ? insn->imm : get_operand(c, insn));
	case INSN_XCHG:
		return exchange(c, insn, linear);
	default:
		if (insn->form == FORM_REG_MEM)
			return alu_to_register(c, insn, linear);
		return alu_to_memory(c, insn, linear, insn->form == FORM_MEM_IMM ? insn->imm : get_operand(c, insn));
	}
}
