/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Emulation of one instruction that touched device memory: fetch, decode or find
 * it decoded, execute, advance.
 *
 * Two small caches make the usual case short, and neither is ever believed: a
 * code page serves when CR3 and each page-table entry on the way to it are what
 * they were, a decoded instruction when its bytes in guest memory are those that
 * were decoded. All of that is looked at in guest memory each time, which is
 * cheaper than a walk and a decode. So a guest that patches or remaps its code
 * is never run by an old copy.
 */
#include "guest/insn.h"

#include <string.h>

#include "guest/insn_internal.h"
#include "guest/machine.h"
#include "guest/vcpu_internal.h"
#include "guest/vm.h"
#include "guest/vm_devices.h"
#include "lib/format.h"
#include "lib/x86_regs.h"

#define DECODED_ENTRIES 32 /* powers of two */
#define CODE_PAGES 8
#define CODE_WORDS 2       /* an instruction, as 64-bit words */
#define CODE_BYTES (CODE_WORDS * sizeof(uint64_t))
#define CS_DEFAULT_32 BIT(14) /* D: descriptor bit 54 in struct segment's access */
#define CS_LONG BIT(13)       /* L */

/* Where a page of 64-bit code is in host memory, as long as the walk to it has not changed. */
struct code_page {
	uint64_t linear, cr3;
	uint64_t generation; /* of the guest's memory: @page and @path's addresses hang on it */
	const uint8_t *page; /* NULL: empty */
	struct walk_path path;
};

/* An instruction of 64-bit code. */
struct decoded {
	uint64_t bytes[CODE_WORDS]; /* zero beyond its length */
	uint64_t masks[CODE_WORDS]; /* all ones: never matches */
	struct insn insn;
};

struct insn_cache {
	struct code_page pages[CODE_PAGES];
	struct decoded decoded[DECODED_ENTRIES];
};

uint64_t insn_cache_bytes(void) { return sizeof(struct insn_cache); }

/* ---- the mode ---- */

static inline enum code_size code_size(uint64_t efer, uint16_t cs_access)
{
	if ((efer & EFER_LMA) && (cs_access & CS_LONG))
		return CODE_64;
	return cs_access & CS_DEFAULT_32 ? CODE_32 : CODE_16;
}

void insn_context_init(struct insn_context *c, struct vcpu *v)
{
	c->v = v;
	v->engine->get_mode(v, &c->cpu);
	c->code = code_size(c->cpu.efer, c->cpu.cs_access);
	c->linear = INSN_NO_LINEAR;
	c->tlb[0].valid = c->tlb[1].valid = false;
}

/* ---- code pages ---- */

static inline struct code_page *page_slot(const struct vcpu *v)
{
	struct insn_cache *cache = v->insn_cache;

	return &cache->pages[(v->exit.rip >> PAGE_SHIFT) % CODE_PAGES];
}

/*
 * The generation by a plain load, five instructions less than by an atomic one: another CPU that takes pages away
 * just now has to wait for this one's next entry before their frames are free.
 */
static inline bool page_holds(const struct code_page *p, const struct vcpu *v, const struct code_mode *m)
{
	return p->linear == (v->exit.rip & ~PAGE_MASK) && p->page && p->cr3 == m->cr3 &&
	       code_size(m->efer, m->cs_access) == CODE_64 &&
	       p->generation == *v->vm->memory_generation &&
	       gwalk_unchanged(&p->path);
}

/* Host address of the code at @linear. */
static enum status code_at(struct insn_context *c, uint64_t linear, struct walk_path *path, const uint8_t **out)
{
	uint32_t pf_error;
	gpa_t at;

	if (gwalk_translate(c->v, &c->cpu, gva(linear), S2_EXEC, path, &at, &pf_error) != ST_OK)
		return insn_page_fault(c, linear, pf_error);
	*out = gwalk_memory(c->v, at.v);
	/* Code in device memory: nothing that anyone does on purpose. */
	return *out ? ST_OK : ST_UNSUPPORTED;
}

/* 64-bit code has one paging format, whose walk can be kept. */
static enum status page_fill(struct insn_context *c, struct code_page *p)
{
	uint64_t rip = c->v->exit.rip;
	const uint8_t *at;
	enum status st;

	p->page = NULL;
	st = code_at(c, rip, &p->path, &at);
	if (st != ST_OK)
		return st;
	p->page = at - (rip & PAGE_MASK);
	p->linear = rip & ~PAGE_MASK;
	p->cr3 = c->cpu.cr3;
	p->generation = c->v->walk_pages.generation;
	return ST_OK;
}

/* ---- decoding ---- */

/* What was fetched of the instruction: for decoding, and for the sentence when that fails. */
struct code {
	uint8_t bytes[CODE_BYTES];
	unsigned length;
};

static inline struct decoded *decoded_slot(const struct vcpu *v)
{
	struct insn_cache *cache = v->insn_cache;

	return &cache->decoded[(v->exit.rip ^ v->exit.rip >> 5) % DECODED_ENTRIES];
}

/* Decoding is a function of the bytes alone: whose they are does not matter. */
static inline bool is_decoded(const struct decoded *d, const uint8_t *at)
{
	return (get_le64(at) & d->masks[0]) == d->bytes[0] && (get_le64(at + 8) & d->masks[1]) == d->bytes[1] &&
	       d->insn.length != 0;
}

static void keep_bytes(struct decoded *d, const struct code *code)
{
	unsigned length = d->insn.length;

	d->masks[0] = length >= 8 ? UINT64_MAX : insn_mask(length);
	d->masks[1] = length > 8 ? insn_mask(length - 8) : 0;
	d->bytes[0] = get_le64(code->bytes) & d->masks[0];
	d->bytes[1] = get_le64(code->bytes + 8) & d->masks[1];
}

/* One fetch: the bytes that are decoded are those that are kept. */
static enum status decode_kept(struct decoded *d, const uint8_t *at, struct code *code)
{
	enum status st;

	put_le64(code->bytes, get_le64(at));
	put_le64(code->bytes + 8, get_le64(at + 8));
	code->length = INSN_LENGTH_MAX;
	st = insn_decode(CODE_64, code->bytes, code->length, &d->insn);
	if (st != ST_OK)
		d->insn.length = 0;
	else
		keep_bytes(d, code);
	return st;
}

static enum status decode_across(struct insn_context *c, uint64_t linear, struct code *code, struct insn *out)
{
	uint64_t next = (linear | PAGE_MASK) + 1;
	const uint8_t *page;
	enum status st = code_at(c, c->code == CODE_64 ? next : (uint32_t)next, NULL, &page);

	if (st != ST_OK)
		return st;
	memcpy(code->bytes + code->length, page, INSN_LENGTH_MAX - code->length);
	code->length = INSN_LENGTH_MAX;
	return insn_decode(c->code, code->bytes, code->length, out);
}

/* At @linear, whose host address is @at; the instruction may end on the next page, which need not be there if not. */
static enum status decode_once(struct insn_context *c, uint64_t linear, const uint8_t *at, struct code *code,
			       struct insn *out)
{
	enum status st;

	code->length = (unsigned)MIN(INSN_LENGTH_MAX, PAGE_SIZE - (linear & PAGE_MASK));
	memcpy(code->bytes, at, code->length);
	st = insn_decode(c->code, code->bytes, code->length, out);
	return st == ST_TRUNCATED && code->length < INSN_LENGTH_MAX ? decode_across(c, linear, code, out) : st;
}

/* The whole of it, for what is not found decoded; *insn lives in @own or in the cache. */
static enum status decode_anew(struct insn_context *c, struct code *code, struct insn *own, const struct insn **insn)
{
	const struct code_mode m = {c->cpu.cr3, c->cpu.efer, c->cpu.cs_access};
	struct code_page *p = page_slot(c->v);
	uint64_t rip = c->v->exit.rip, linear = (uint32_t)(c->cpu.cs_base + rip);
	const uint8_t *at;
	enum status st = ST_OK;

	*insn = own;
	if (c->code != CODE_64) {
		st = code_at(c, linear, NULL, &at);
		return st == ST_OK ? decode_once(c, linear, at, code, own) : st;
	}
	if (!page_holds(p, c->v, &m))
		st = page_fill(c, p);
	if (st != ST_OK)
		return st;
	at = p->page + (rip & PAGE_MASK);
	if ((rip & PAGE_MASK) > PAGE_SIZE - CODE_BYTES)
		return decode_once(c, rip, at, code, own);
	*insn = &decoded_slot(c->v)->insn;
	return decode_kept(decoded_slot(c->v), at, code);
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

/*
 * Does the operand begin where the fault was? Asked where the fault may be that of its second page. FS and GS have a
 * base, and the engine has RSP: those go the long way.
 */
static bool begins_at_fault(const struct vcpu *v, const struct insn *insn)
{
	uint64_t linear = (uint64_t)insn->disp;

	if (insn->segment > SEG_DS || insn->base == GPR_RSP)
		return false;
	if (insn->base == BASE_RIP)
		linear += v->exit.rip + insn->length;
	else if (insn->base != NO_REG)
		linear += v->gpr[insn->base];
	if (insn->index != NO_REG)
		linear += v->gpr[insn->index] << insn->scale;
	return (linear & insn_mask(insn->address_size)) == v->exit.u.fault.linear;
}

/*
 * A plain MOV of 64-bit code of which the exit says all: where it goes, and that it starts there. A fault in the middle
 * of an operand is at the start of a page. What reaches into the next page goes the long way.
 */
static inline bool is_simple(struct vcpu *v, const struct insn *insn)
{
	uint64_t offset = v->exit.u.fault.gpa.v & PAGE_MASK;

	return insn->plain && offset + insn->size <= PAGE_SIZE && (likely(offset != 0) || begins_at_fault(v, insn));
}

static inline enum disposition move(struct vcpu *v, const struct insn *insn)
{
	uint64_t at = v->exit.u.fault.gpa.v, value;

	if (insn->form == FORM_REG_MEM) {
		value = vcpu_mmio_read(v, at, insn->size);
		if (unlikely(insn->reg_size < 4))
			value |= vcpu_get_gpr(v, insn->reg) & ~insn_mask(insn->reg_size);
		vcpu_set_gpr(v, insn->reg, value);
	} else {
		vcpu_mmio_write(v, at, insn->size, insn->form == FORM_MEM_IMM ? insn->imm : vcpu_get_gpr(v, insn->reg));
	}
	vcpu_replan(v);
	v->exit.length = insn->length;
	return v->engine->advance(v);
}

/* @insn is NULL when it must be fetched and decoded. */
static enum status emulate(struct vcpu *v, const struct insn *insn, struct error *err)
{
	struct insn_context c;
	struct code code;
	struct insn own;
	enum status st = ST_OK;

	code.length = 0;
	insn_context_init(&c, v);
	c.linear = v->exit.u.fault.linear;
	c.gpa = v->exit.u.fault.gpa;
	if (!insn)
		st = decode_anew(&c, &code, &own, &insn);
	if (st == ST_OK && c.code == CODE_64 && is_simple(v, insn)) {
		move(v, insn);
		return ST_OK;
	}
	if (st == ST_OK)
		st = execute(&c, insn);
	return st == ST_OK || st == ST_BAD_ADDRESS ? st : refuse(v, st, &code, err);
}

enum status insn_emulate_mmio(struct vcpu *v, struct error *err) { return emulate(v, NULL, err); }

static __attribute__((noinline)) enum disposition emulate_exit(struct vcpu *v, const struct insn *insn)
{
	struct error err;
	enum status st = emulate(v, insn, &err);

	if (st != ST_OK && st != ST_BAD_ADDRESS)
		return vcpu_crash(v, "%s", err.text);
	vcpu_replan(v);
	return RESUME;
}

/* False when it cannot be decoded: the long way has the words for it. */
static __attribute__((noinline)) bool decode_here(struct decoded *d, const uint8_t *at)
{
	struct code code;

	return decode_kept(d, at, &code) == ST_OK;
}

enum disposition insn_mmio_exit(struct vcpu *v)
{
	const struct code_page *p;
	struct decoded *d;
	struct code_mode m;
	uint64_t offset;
	const uint8_t *at;

	/* First, so that nothing has to be kept across the call. */
	v->engine->get_code(v, &m);
	p = page_slot(v);
	d = decoded_slot(v);
	offset = v->exit.rip & PAGE_MASK;
	if (unlikely(!page_holds(p, v, &m) || offset > PAGE_SIZE - CODE_BYTES))
		return emulate_exit(v, NULL);
	at = p->page + offset;
	if (unlikely(!is_decoded(d, at)) && !decode_here(d, at))
		return emulate_exit(v, NULL);
	return likely(is_simple(v, &d->insn)) ? move(v, &d->insn) : emulate_exit(v, &d->insn);
}
