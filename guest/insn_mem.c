/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operands in guest memory. The access that faulted has its translation in the
 * exit; any other part of an operand (the second page, the other end of a MOVS)
 * goes by the guest's page tables and may be RAM or a device. A write is
 * translated whole before its first byte is stored, so that a page fault leaves
 * nothing half done.
 */
#include <string.h>

#include "guest/insn_internal.h"
#include "guest/vcpu_internal.h"
#include "guest/vm.h"
#include "guest/vm_devices.h"
#include "lib/x86_regs.h"

enum status insn_page_fault(struct insn_context *c, uint64_t linear, uint32_t pf_error)
{
	c->v->engine->set_reg(c->v, REG_CR2, linear);
	vcpu_raise(c->v, VEC_PF, true, pf_error);
	return ST_BAD_ADDRESS;
}

static enum status not_canonical(struct insn_context *c)
{
	vcpu_raise(c->v, VEC_GP, true, 0);
	return ST_BAD_ADDRESS;
}

/* ---- addresses ---- */

uint64_t insn_segment_linear(struct insn_context *c, enum segment_reg seg, uint64_t offset)
{
	struct segment s;

	if (c->code == CODE_64 && seg != SEG_FS && seg != SEG_GS)
		return offset;
	c->v->engine->get_segment(c->v, seg, &s);
	return c->code == CODE_64 ? s.base + offset : (uint32_t)(s.base + offset);
}

uint64_t insn_linear(struct insn_context *c, const struct insn *insn, uint64_t extra)
{
	uint64_t offset = (uint64_t)insn->disp + extra;

	if (insn->base == BASE_RIP)
		offset += c->v->exit.rip + insn->length;
	else if (insn->base != NO_REG)
		offset += vcpu_get_gpr(c->v, insn->base);
	if (insn->index != NO_REG)
		offset += vcpu_get_gpr(c->v, insn->index) << insn->scale;
	return insn_segment_linear(c, (enum segment_reg)insn->segment, offset & insn_mask(insn->address_size));
}

/* ---- pieces that lie in one page ---- */

static bool in_one_page(uint64_t linear, unsigned size) { return (linear & PAGE_MASK) + size <= PAGE_SIZE; }

/* The access that the processor has translated already. */
static bool is_the_fault(const struct insn_context *c, uint64_t linear, unsigned size)
{
	return linear == c->linear && in_one_page(linear, size);
}

static enum status translate(struct insn_context *c, uint64_t linear, unsigned access, gpa_t *out)
{
	unsigned slot = access & S2_WRITE ? 1 : 0;
	uint64_t page = linear & ~PAGE_MASK;
	uint32_t pf_error;

	if (!c->tlb[slot].valid || c->tlb[slot].page != page) {
		gpa_t at;

		if (c->code == CODE_64 && !gwalk_canonical(linear))
			return not_canonical(c);
		if (gwalk_translate(c->v, &c->cpu, gva(linear), access, NULL, &at, &pf_error) != ST_OK)
			return insn_page_fault(c, linear, pf_error);
		c->tlb[slot].page = page;
		c->tlb[slot].gpa = gpa(at.v & ~PAGE_MASK);
		c->tlb[slot].valid = true;
	}
	*out = gpa(c->tlb[slot].gpa.v | (linear & PAGE_MASK));
	return ST_OK;
}

static bool is_bus_size(unsigned size) { return size == 1 || size == 2 || size == 4 || size == 8; }

static uint64_t read_device(struct insn_context *c, gpa_t at, unsigned size)
{
	uint64_t value = 0;

	if (is_bus_size(size))
		return vcpu_mmio_read(c->v, at.v, size);
	for (unsigned i = 0; i < size; i++)
		value |= vcpu_mmio_read(c->v, at.v + i, 1) << i * 8;
	return value;
}

static void write_device(struct insn_context *c, gpa_t at, unsigned size, uint64_t value)
{
	if (is_bus_size(size)) {
		vcpu_mmio_write(c->v, at.v, size, value);
		return;
	}
	for (unsigned i = 0; i < size; i++)
		vcpu_mmio_write(c->v, at.v + i, 1, value >> i * 8);
}

static enum status read_piece(struct insn_context *c, gpa_t at, unsigned size, uint64_t *out)
{
	void *page;
	enum status st = gpmap_populate(c->v->vm->memory, gpa_to_gfn(at), &page);

	*out = 0;
	if (st == ST_OK)
		memcpy(out, (uint8_t *)page + (at.v & PAGE_MASK), size);
	else if (st == ST_BAD_ADDRESS)
		*out = read_device(c, at, size);
	return st == ST_BAD_ADDRESS ? ST_OK : st;
}

static enum status write_piece(struct insn_context *c, gpa_t at, unsigned size, uint64_t value)
{
	void *page;
	enum status st = gpmap_populate(c->v->vm->memory, gpa_to_gfn(at), &page);

	if (st == ST_OK)
		memcpy((uint8_t *)page + (at.v & PAGE_MASK), &value, size);
	else if (st == ST_BAD_ADDRESS)
		write_device(c, at, size, value);
	return st == ST_BAD_ADDRESS ? ST_OK : st;
}

/* ---- operands ---- */

/* Bytes of an operand at @linear that lie in its first page, and the address of the rest. */
static unsigned first_part(const struct insn_context *c, uint64_t linear, unsigned size, uint64_t *rest)
{
	unsigned first = (unsigned)MIN(size, PAGE_SIZE - (linear & PAGE_MASK));

	*rest = c->code == CODE_64 ? linear + first : (uint32_t)(linear + first);
	return first;
}

static enum status read_slow(struct insn_context *c, uint64_t linear, unsigned size, uint64_t *out)
{
	uint64_t rest, low = 0, high = 0;
	unsigned first = first_part(c, linear, size, &rest);
	gpa_t at, at_rest = gpa(0);
	enum status st = translate(c, linear, S2_READ, &at);

	if (st == ST_OK && first < size)
		st = translate(c, rest, S2_READ, &at_rest);
	if (st == ST_OK)
		st = read_piece(c, at, first, &low);
	if (st == ST_OK && first < size)
		st = read_piece(c, at_rest, size - first, &high);
	if (st == ST_OK)
		*out = first < size ? low | high << first * 8 : low;
	return st;
}

enum status insn_read(struct insn_context *c, uint64_t linear, unsigned size, uint64_t *out)
{
	if (likely(is_the_fault(c, linear, size))) {
		*out = vcpu_mmio_read(c->v, c->gpa.v, size);
		return ST_OK;
	}
	return read_slow(c, linear, size, out);
}

static enum status translate_both(struct insn_context *c, uint64_t linear, unsigned size, gpa_t at[2], unsigned *first)
{
	uint64_t rest;
	enum status st = translate(c, linear, S2_WRITE, &at[0]);

	*first = first_part(c, linear, size, &rest);
	if (st == ST_OK && *first < size)
		st = translate(c, rest, S2_WRITE, &at[1]);
	return st;
}

enum status insn_check_write(struct insn_context *c, uint64_t linear, unsigned size)
{
	unsigned first;
	gpa_t at[2];

	return is_the_fault(c, linear, size) ? ST_OK : translate_both(c, linear, size, at, &first);
}

enum status insn_write(struct insn_context *c, uint64_t linear, unsigned size, uint64_t value)
{
	unsigned first;
	gpa_t at[2];
	enum status st;

	if (likely(is_the_fault(c, linear, size))) {
		vcpu_mmio_write(c->v, c->gpa.v, size, value);
		return ST_OK;
	}
	st = translate_both(c, linear, size, at, &first);
	if (st == ST_OK)
		st = write_piece(c, at[0], first, value);
	if (st == ST_OK && first < size)
		st = write_piece(c, at[1], size - first, value >> first * 8);
	return st;
}
