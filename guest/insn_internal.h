/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An instruction in the few words that executing it takes, and the parts of
 * emulation: decoding (insn_decode.c), operands in guest memory (insn_mem.c),
 * execution (insn_exec.c, insn_alu.c), string forms (insn_string.c).
 */
#ifndef CORBEL_GUEST_INSN_INTERNAL_H
#define CORBEL_GUEST_INSN_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/gwalk.h"
#include "guest/vcpu.h"
#include "lib/error.h"

#define INSN_LENGTH_MAX 15

enum insn_op {
	INSN_NONE,
	INSN_MOV,
	INSN_MOVZX,
	INSN_MOVSX,
	INSN_XCHG,
	/* Arithmetic: order of the opcode's bits 5..3. */
	INSN_ADD, INSN_OR, INSN_ADC, INSN_SBB, INSN_AND, INSN_SUB, INSN_XOR, INSN_CMP,
	INSN_TEST,
	/* Order of the immediate form's ModRM.reg bits 1..0. */
	INSN_BT, INSN_BTS, INSN_BTR, INSN_BTC,
	INSN_MOVS, INSN_STOS, INSN_LODS,
};

enum insn_form { FORM_MEM_REG, FORM_REG_MEM, FORM_MEM_IMM, FORM_STRING };

#define NO_REG 0xff
#define BASE_RIP 0xfe

struct insn {
	uint8_t op;           /* enum insn_op */
	uint8_t form;         /* enum insn_form */
	uint8_t length;       /* bytes of the instruction */
	uint8_t size;         /* bytes of the memory operand: 1, 2, 4, 8 */
	uint8_t reg_size;     /* bytes of the register operand */
	uint8_t reg;          /* register operand */
	bool reg_high;        /* AH, CH, DH, BH: bits 15..8 of reg - 4 */
	uint8_t address_size; /* bytes: 2, 4, 8 */
	uint8_t segment;      /* enum segment_reg of the (first) memory operand */
	uint8_t base, index;  /* general registers, NO_REG, BASE_RIP */
	uint8_t scale;        /* shift of the index */
	bool rep;
	bool plain;           /* a MOV or MOVZX that needs nothing but a register or immediate and the faulting address */
	int64_t disp;
	uint64_t imm;         /* sign-extended as the form wants it */
};

enum code_size { CODE_16, CODE_32, CODE_64 };

/*
 * Decodes @bytes, of which @length are there. ST_TRUNCATED: more bytes are needed; ST_UNSUPPORTED: not an
 * instruction, or one that is not on the list.
 */
enum status insn_decode(enum code_size mode, const uint8_t *bytes, unsigned length, struct insn *out);

/* What one emulation works with. */
struct insn_context {
	struct vcpu *v;
	struct cpu_mode cpu;      /* the engine's registers that decide meaning */
	enum code_size code;
	uint64_t linear;          /* of the access that faulted, and where it went; INSN_NO_LINEAR for none */
	gpa_t gpa;
	struct { uint64_t page; gpa_t gpa; bool valid; } tlb[2]; /* last page read, last page written */
};

#define INSN_NO_LINEAR UINT64_MAX

/* Linear address of @insn's memory operand, @extra bytes further. */
uint64_t insn_linear(struct insn_context *c, const struct insn *insn, uint64_t extra);
/* Adds a segment's base and wraps as the mode does. */
uint64_t insn_segment_linear(struct insn_context *c, enum segment_reg seg, uint64_t offset);
/*
 * Reads or writes an operand, in RAM or in device memory, across pages too. ST_BAD_ADDRESS: the guest's page fault
 * is queued and nothing was written. ST_NO_MEMORY: the host has none.
 */
enum status insn_read(struct insn_context *c, uint64_t linear, unsigned size, uint64_t *out);
enum status insn_write(struct insn_context *c, uint64_t linear, unsigned size, uint64_t value);
/* Fails like insn_write() would, without writing: for operands that are read, changed and written. */
enum status insn_check_write(struct insn_context *c, uint64_t linear, unsigned size);

/* Executes a decoded instruction but for rip. */
enum status insn_execute(struct insn_context *c, const struct insn *insn);
/* The string forms; *again when steps are left, so that the instruction must be entered again. */
enum status insn_execute_string(struct insn_context *c, const struct insn *insn, bool *again);

/* Result of an arithmetic or logical @op on @a and @b of @size bytes; the six status bits of *rflags follow. */
uint64_t insn_alu(enum insn_op op, uint64_t a, uint64_t b, unsigned size, uint64_t *rflags);

/* For the instruction at which @v exited, with no faulting address yet. */
void insn_context_init(struct insn_context *c, struct vcpu *v);
/* Queues the guest's page fault at @linear; ST_BAD_ADDRESS. */
enum status insn_page_fault(struct insn_context *c, uint64_t linear, uint32_t pf_error);

static inline uint64_t insn_mask(unsigned size) { return size == 8 ? UINT64_MAX : (1ull << size * 8) - 1; }
/* General register @n as an operand or address of @size bytes, and its update (32-bit ones clear the upper half). */
uint64_t insn_get_reg(struct insn_context *c, unsigned n, unsigned size);
void insn_set_reg(struct insn_context *c, unsigned n, unsigned size, uint64_t value);

#endif
