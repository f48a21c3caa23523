/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Emulation of one instruction that touched device memory: fetch, decode or find
 * it decoded, execute, advance. The cache is an array indexed by rip; an entry
 * serves only when the code size is the same and every byte of the instruction
 * in guest memory is what was decoded. The walk to those bytes is never cached:
 * a remapped page must be seen.
 */
#include "guest/insn.h"

#include <string.h>

#include "guest/insn_internal.h"
#include "guest/vcpu_internal.h"
#include "guest/vm.h"
#include "lib/format.h"
#include "lib/x86_regs.h"

#define CACHE_ENTRIES 32 /* a power of two */
#define CODE_WORDS 2
#define CS_DEFAULT_32 BIT(14) /* D: descriptor bit 54 in struct segment's access */
#define CS_LONG BIT(13)       /* L */

struct cache_entry {
	uint64_t rip;
	uint64_t bytes[CODE_WORDS]; /* the instruction, zero beyond its length */
	uint64_t masks[CODE_WORDS];
	struct insn insn;           /* length 0: empty */
	uint8_t code;               /* enum code_size */
};

uint64_t insn_cache_bytes(void) { return CACHE_ENTRIES * sizeof(struct cache_entry); }

/* ---- the mode ---- */

static enum code_size code_size(const struct cpu_mode *m)
{
	if ((m->efer & EFER_LMA) && (m->cs_access & CS_LONG))
		return CODE_64;
	return m->cs_access & CS_DEFAULT_32 ? CODE_32 : CODE_16;
}

void insn_context_init(struct insn_context *c, struct vcpu *v)
{
	c->v = v;
	c->walk_known = false;
	c->linear = INSN_NO_LINEAR;
	c->tlb[0].valid = c->tlb[1].valid = false;
	v->engine->get_mode(v, &c->cpu);
	c->code = code_size(&c->cpu);
}

/* ---- fetch ---- */

/* Host address of the code at @linear. */
static enum status code_at(struct insn_context *c, uint64_t linear, const uint8_t **out)
{
	uint32_t pf_error;
	void *page;
	gpa_t at;
	enum status st;

	if (gwalk_translate(c->v, insn_walk_mode(c), gva(linear), S2_EXEC, &at, &pf_error) != ST_OK)
		return insn_page_fault(c, linear, pf_error);
	st = gpmap_populate(c->v->vm->memory, gpa_to_gfn(at), false, &page);
	if (st == ST_OK)
		*out = (const uint8_t *)page + (at.v & PAGE_MASK);
	/* Code in device memory: nothing that anyone does on purpose. */
	return st == ST_BAD_ADDRESS ? ST_UNSUPPORTED : st;
}

/* What was fetched of the instruction: for decoding, and for the sentence when that fails. */
struct code {
	uint8_t bytes[CODE_WORDS * sizeof(uint64_t)];
	unsigned length;
};

static enum status decode_across(struct insn_context *c, uint64_t linear, struct code *code, struct insn *out)
{
	uint64_t next = (linear | PAGE_MASK) + 1;
	const uint8_t *page;
	enum status st = code_at(c, c->code == CODE_64 ? next : (uint32_t)next, &page);

	if (st != ST_OK)
		return st;
	memcpy(code->bytes + code->length, page, INSN_LENGTH_MAX - code->length);
	code->length = INSN_LENGTH_MAX;
	return insn_decode(c->code, code->bytes, code->length, out);
}

/* The instruction may end on the next page, which need not be there if it does not. */
static enum status decode_at_border(struct insn_context *c, uint64_t linear, const uint8_t *at, struct code *code,
				    struct insn *out)
{
	enum status st;

	code->length = (unsigned)(PAGE_SIZE - (linear & PAGE_MASK));
	memcpy(code->bytes, at, code->length);
	st = insn_decode(c->code, code->bytes, code->length, out);
	return st == ST_TRUNCATED ? decode_across(c, linear, code, out) : st;
}

/* ---- the cache ---- */

static struct cache_entry *cache_slot(const struct vcpu *v)
{
	return (struct cache_entry *)v->insn_cache + (v->exit.rip ^ v->exit.rip >> 5) % CACHE_ENTRIES;
}

static bool cache_hit(const struct insn_context *c, const struct cache_entry *e, const uint8_t *at)
{
	return e->rip == c->v->exit.rip && e->code == c->code && e->insn.length != 0 &&
	       (get_le64(at) & e->masks[0]) == e->bytes[0] && (get_le64(at + 8) & e->masks[1]) == e->bytes[1];
}

/* Of one fetch: the bytes that were decoded are those that are kept. */
static void cache_fill(const struct insn_context *c, struct cache_entry *e, const struct code *code)
{
	unsigned length = e->insn.length;

	e->rip = c->v->exit.rip;
	e->code = (uint8_t)c->code;
	for (unsigned i = 0; i < CODE_WORDS; i++) {
		unsigned bytes = MIN(8, length);

		e->masks[i] = bytes ? insn_mask(8) >> (64 - 8 * bytes) : 0;
		e->bytes[i] = get_le64(code->bytes + 8 * i) & e->masks[i];
		length -= bytes;
	}
}

static enum status decode_cached(struct insn_context *c, const uint8_t *at, struct code *code, const struct insn **out)
{
	struct cache_entry *e = cache_slot(c->v);
	enum status st;

	if (likely(cache_hit(c, e, at))) {
		*out = &e->insn;
		return ST_OK;
	}
	memcpy(code->bytes, at, sizeof code->bytes);
	code->length = INSN_LENGTH_MAX;
	st = insn_decode(c->code, code->bytes, code->length, &e->insn);
	if (st != ST_OK) {
		e->insn.length = 0;
		return st;
	}
	cache_fill(c, e, code);
	*out = &e->insn;
	return ST_OK;
}

/* ---- the whole ---- */

static enum status refuse(const struct vcpu *v, enum status st, const struct code *code, struct error *err)
{
	char hex[3 * INSN_LENGTH_MAX + 1] = "";
	size_t used = 0;

	if (st != ST_UNSUPPORTED && st != ST_TRUNCATED)
		return fail(err, st, "emulation at rip 0x%llx failed: %s", (unsigned long long)v->exit.rip,
			    status_name(st));
	for (unsigned i = 0; i < code->length; i++)
		used += format(hex + used, sizeof hex - used, "%s%02x", i ? " " : "", code->bytes[i]);
	return fail(err, ST_UNSUPPORTED, "the instruction at rip 0x%llx (%s) touches 0x%llx, no memory, and is not emulated",
		    (unsigned long long)v->exit.rip, code->length ? hex : "in device memory",
		    (unsigned long long)v->exit.u.fault.gpa.v);
}

static enum status execute(struct insn_context *c, const struct insn *insn)
{
	struct vcpu *v = c->v;
	bool again = false;
	enum status st;

	st = insn->form == FORM_STRING ? insn_execute_string(c, insn, &again) : insn_execute(c, insn);
	if (st != ST_OK || again)
		return st;
	v->exit.length = insn->length;
	v->engine->advance(v);
	return ST_OK;
}

enum status insn_emulate_mmio(struct vcpu *v, struct error *err)
{
	struct insn_context c;
	struct code code;
	struct insn decoded;
	const struct insn *insn = &decoded;
	const uint8_t *at;
	uint64_t linear;
	enum status st;

	code.length = 0;
	insn_context_init(&c, v);
	c.linear = v->exit.u.fault.linear;
	c.gpa = v->exit.u.fault.gpa;
	linear = c.code == CODE_64 ? v->exit.rip : (uint32_t)(c.cpu.cs_base + v->exit.rip);
	st = code_at(&c, linear, &at);
	if (st == ST_OK)
		st = PAGE_SIZE - (linear & PAGE_MASK) >= sizeof code.bytes ? decode_cached(&c, at, &code, &insn)
									   : decode_at_border(&c, linear, at, &code, &decoded);
	if (st == ST_OK)
		st = execute(&c, insn);
	if (st == ST_OK || st == ST_BAD_ADDRESS)
		return st;
	return refuse(v, st, &code, err);
}
