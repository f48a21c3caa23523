/* SPDX-License-Identifier: Apache-2.0 */
/*
 * String instructions: MOVS, STOS and LODS with device memory at an end, and
 * INS and OUTS. A repeated one does a bounded number of steps, updates its
 * registers as the processor does between iterations, and is entered again for
 * the rest, so that no count a guest chooses holds the CPU.
 */
#include "guest/insn_internal.h"

#include "guest/insn.h"
#include "guest/vcpu_internal.h"
#include "guest/vm.h"
#include "guest/vm_devices.h"
#include "lib/x86_regs.h"

/* At up to about 200 instructions a step an exit stays far below 20,000. */
#define STEPS_MAX 64

/* ---- registers that move ---- */

static uint64_t count_of(struct insn_context *c, bool rep, unsigned address_size)
{
	return rep ? insn_get_reg(c, GPR_RCX, address_size) : 1;
}

/* Moves rSI or rDI by one element, in the width of addresses, in the direction of DF. */
static void step(struct insn_context *c, unsigned reg, unsigned address_size, unsigned size)
{
	uint64_t by = c->cpu.rflags & RFLAGS_DF ? -(uint64_t)size : size;

	insn_set_reg(c, reg, address_size, insn_get_reg(c, reg, address_size) + by);
}

static void count_down(struct insn_context *c, bool rep, unsigned address_size)
{
	if (rep)
		insn_set_reg(c, GPR_RCX, address_size, insn_get_reg(c, GPR_RCX, address_size) - 1);
}

/* ---- MOVS, STOS, LODS ---- */

static uint64_t source(struct insn_context *c, const struct insn *insn)
{
	return insn_segment_linear(c, (enum segment_reg)insn->segment, insn_get_reg(c, GPR_RSI, insn->address_size));
}

static uint64_t destination(struct insn_context *c, unsigned address_size)
{
	return insn_segment_linear(c, SEG_ES, insn_get_reg(c, GPR_RDI, address_size));
}

static enum status one_movs(struct insn_context *c, const struct insn *insn)
{
	uint64_t to = destination(c, insn->address_size), value;
	enum status st = insn_check_write(c, to, insn->size);

	if (st == ST_OK)
		st = insn_read(c, source(c, insn), insn->size, &value);
	if (st == ST_OK)
		st = insn_write(c, to, insn->size, value);
	if (st == ST_OK) {
		step(c, GPR_RSI, insn->address_size, insn->size);
		step(c, GPR_RDI, insn->address_size, insn->size);
	}
	return st;
}

static enum status one_stos(struct insn_context *c, const struct insn *insn)
{
	uint64_t value = insn_get_reg(c, GPR_RAX, insn->size);
	enum status st = insn_write(c, destination(c, insn->address_size), insn->size, value);

	if (st == ST_OK)
		step(c, GPR_RDI, insn->address_size, insn->size);
	return st;
}

static enum status one_lods(struct insn_context *c, const struct insn *insn)
{
	uint64_t value;
	enum status st = insn_read(c, source(c, insn), insn->size, &value);

	if (st == ST_OK) {
		insn_set_reg(c, GPR_RAX, insn->size, value);
		step(c, GPR_RSI, insn->address_size, insn->size);
	}
	return st;
}

static enum status one(struct insn_context *c, const struct insn *insn)
{
	switch (insn->op) {
	case INSN_MOVS: return one_movs(c, insn);
	case INSN_STOS: return one_stos(c, insn);
	default: return one_lods(c, insn);
	}
}

enum status insn_execute_string(struct insn_context *c, const struct insn *insn, bool *again)
{
	uint64_t count = count_of(c, insn->rep, insn->address_size);
	enum status st;

	for (unsigned i = 0; i < STEPS_MAX && count; i++, count--) {
		st = one(c, insn);
		if (st != ST_OK)
			return st;
		count_down(c, insn->rep, insn->address_size);
	}
	*again = count != 0;
	return ST_OK;
}

/* ---- INS, OUTS ---- */

/*
 * The engine gives the linear address of the first element; the others follow rSI or rDI, which wrap in the width of
 * addresses below a base that stays. Segment limits are not looked at: the worst is that a guest gets its own data.
 */
static uint64_t element(struct insn_context *c, unsigned reg, unsigned address_size, uint64_t base)
{
	uint64_t linear = base + insn_get_reg(c, reg, address_size);

	return c->code == CODE_64 ? linear : (uint32_t)linear;
}

static enum status one_io(struct insn_context *c, unsigned reg, uint64_t linear)
{
	const struct exit *e = &c->v->exit;
	struct vm *vm = c->v->vm;
	unsigned size = e->u.io.size;
	enum status st;
	uint64_t value;

	if (e->u.io.in) {
		st = insn_check_write(c, linear, size);
		if (st == ST_OK)
			st = insn_write(c, linear, size, vm_port_read(vm, e->u.io.port, size));
	} else {
		st = insn_read(c, linear, size, &value);
		if (st == ST_OK)
			vm_port_write(vm, e->u.io.port, size, value);
	}
	if (st == ST_OK)
		step(c, reg, e->u.io.address_size, size);
	return st;
}

enum status insn_string_io(struct vcpu *v, struct error *err)
{
	const struct exit *e = &v->exit;
	unsigned reg = e->u.io.in ? GPR_RDI : GPR_RSI, width = e->u.io.address_size;
	struct insn_context c;
	uint64_t count, base;
	enum status st = ST_OK;

	insn_context_init(&c, v);
	count = count_of(&c, e->u.io.rep, width);
	base = e->u.io.linear - insn_get_reg(&c, reg, width);
	for (unsigned i = 0; i < STEPS_MAX && count && st == ST_OK; i++) {
		st = one_io(&c, reg, element(&c, reg, width, base));
		if (st != ST_OK)
			break;
		count_down(&c, e->u.io.rep, width);
		count--;
	}
	if (st == ST_OK && count == 0)
		v->engine->advance(v);
	if (st != ST_OK && st != ST_BAD_ADDRESS)
		return fail(err, st, "string access to port 0x%x failed: %s", e->u.io.port, status_name(st));
	return st;
}
