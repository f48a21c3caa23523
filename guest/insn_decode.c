/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From bytes to struct insn. Zydis, built in its minimal mode, finds prefixes,
 * length, sizes and fields and refuses what is no instruction; what is left
 * here is to say which of those instructions we execute and where their operands
 * are. A pure function of the bytes and the code size.
 */
#include <Zydis/Decoder.h>
#include <string.h>

#include "guest/insn_internal.h"
#include "lib/bits.h"

/* What ZydisDecoderInit() would make of each mode. */
#define DECODER(machine, stack)                                                               \
	{                                                                                     \
		.machine_mode = (machine), .stack_width = (stack),                            \
		.decoder_mode = {[ZYDIS_DECODER_MODE_MINIMAL] = ZYAN_TRUE,                    \
				 [ZYDIS_DECODER_MODE_MPX] = ZYAN_TRUE,                        \
				 [ZYDIS_DECODER_MODE_CET] = ZYAN_TRUE,                        \
				 [ZYDIS_DECODER_MODE_LZCNT] = ZYAN_TRUE,                      \
				 [ZYDIS_DECODER_MODE_TZCNT] = ZYAN_TRUE,                      \
				 [ZYDIS_DECODER_MODE_CLDEMOTE] = ZYAN_TRUE},                  \
	}

static const ZydisDecoder decoders[] = {
	[CODE_16] = DECODER(ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16),
	[CODE_32] = DECODER(ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32),
	[CODE_64] = DECODER(ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64),
};

/* ---- which operation, and where its operands are ---- */

static enum insn_op op_of(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_MOVNTI: return INSN_MOV;
	case ZYDIS_MNEMONIC_MOVZX: return INSN_MOVZX;
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD: return INSN_MOVSX;
	case ZYDIS_MNEMONIC_XCHG: return INSN_XCHG;
	case ZYDIS_MNEMONIC_ADD: return INSN_ADD;
	case ZYDIS_MNEMONIC_OR: return INSN_OR;
	case ZYDIS_MNEMONIC_ADC: return INSN_ADC;
	case ZYDIS_MNEMONIC_SBB: return INSN_SBB;
	case ZYDIS_MNEMONIC_AND: return INSN_AND;
	case ZYDIS_MNEMONIC_SUB: return INSN_SUB;
	case ZYDIS_MNEMONIC_XOR: return INSN_XOR;
	case ZYDIS_MNEMONIC_CMP: return INSN_CMP;
	case ZYDIS_MNEMONIC_TEST: return INSN_TEST;
	case ZYDIS_MNEMONIC_BT: return INSN_BT;
	case ZYDIS_MNEMONIC_BTS: return INSN_BTS;
	case ZYDIS_MNEMONIC_BTR: return INSN_BTR;
	case ZYDIS_MNEMONIC_BTC: return INSN_BTC;
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSD: /* also an SSE move: the opcode map tells */
	case ZYDIS_MNEMONIC_MOVSQ: return INSN_MOVS;
	case ZYDIS_MNEMONIC_STOSB:
	case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_STOSD:
	case ZYDIS_MNEMONIC_STOSQ: return INSN_STOS;
	case ZYDIS_MNEMONIC_LODSB:
	case ZYDIS_MNEMONIC_LODSW:
	case ZYDIS_MNEMONIC_LODSD:
	case ZYDIS_MNEMONIC_LODSQ: return INSN_LODS;
	default: return INSN_NONE;
	}
}

/*
 * Opcodes that name memory in ModRM, in an absolute offset, or a string; anything else of a listed mnemonic (MOV to a
 * segment, XCHG with rAX, ...) is refused. SDM 2D appendix A, tables.
 */
#define IS_FORM 0x80
#define IS_MOFFS 0x40
#define MR (IS_FORM | FORM_MEM_REG)
#define RM (IS_FORM | FORM_REG_MEM)
#define MI (IS_FORM | FORM_MEM_IMM)
#define ST (IS_FORM | FORM_STRING)
#define ALU(base) [(base)] = MR, [(base) + 1] = MR, [(base) + 2] = RM, [(base) + 3] = RM

static const uint8_t forms_primary[256] = {
	ALU(0x00), ALU(0x08), ALU(0x10), ALU(0x18), ALU(0x20), ALU(0x28), ALU(0x30), ALU(0x38),
	[0x63] = RM, [0x80] = MI, [0x81] = MI, [0x83] = MI, [0x84] = MR, [0x85] = MR, [0x86] = MR, [0x87] = MR,
	[0x88] = MR, [0x89] = MR, [0x8a] = RM, [0x8b] = RM,
	[0xa0] = RM | IS_MOFFS, [0xa1] = RM | IS_MOFFS, [0xa2] = MR | IS_MOFFS, [0xa3] = MR | IS_MOFFS,
	[0xa4] = ST, [0xa5] = ST, [0xaa] = ST, [0xab] = ST, [0xac] = ST, [0xad] = ST,
	[0xc6] = MI, [0xc7] = MI, [0xf6] = MI, [0xf7] = MI,
};
static const uint8_t forms_0f[256] = {
	[0xa3] = MR, [0xab] = MR, [0xb3] = MR, [0xbb] = MR, [0xc3] = MR,
	[0xb6] = RM, [0xb7] = RM, [0xbe] = RM, [0xbf] = RM, [0xba] = MI,
};

static uint8_t form_of(const ZydisDecodedInstruction *z)
{
	if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return 0;
	if (z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT)
		return forms_primary[z->opcode];
	return z->opcode_map == ZYDIS_OPCODE_MAP_0F ? forms_0f[z->opcode] : 0;
}

/* ---- sizes and registers ---- */

/* The source of an extending move is smaller than its operand size. */
static unsigned memory_size(const ZydisDecodedInstruction *z, enum insn_op op)
{
	if (op != INSN_MOVZX && op != INSN_MOVSX)
		return z->operand_width / 8;
	if (z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT)
		return MIN(4, z->operand_width / 8); /* MOVSXD */
	return z->opcode & 1 ? 2 : 1;
}

static unsigned with_rex(unsigned field, unsigned rex_bit) { return field | rex_bit << 3; }

static void set_register(const ZydisDecodedInstruction *z, bool moffs, struct insn *out)
{
	bool rex = z->attributes & ZYDIS_ATTRIB_HAS_REX;

	out->reg_size = (uint8_t)(z->operand_width / 8);
	out->reg = moffs ? GPR_RAX : (uint8_t)with_rex(z->raw.modrm.reg, z->raw.rex.R);
	if (out->reg_size == 1 && !rex && out->reg >= GPR_RSP && out->reg <= GPR_RDI) {
		out->reg_high = true;
		out->reg -= GPR_RSP;
	}
}

/* ---- addresses ---- */

/* 16-bit ModRM forms, SDM 2A table 2-1. */
static void set_address_16(const ZydisDecodedInstruction *z, struct insn *out)
{
	static const struct { uint8_t base, index; } forms[] = {
		{GPR_RBX, GPR_RSI}, {GPR_RBX, GPR_RDI}, {GPR_RBP, GPR_RSI}, {GPR_RBP, GPR_RDI},
		{GPR_RSI, NO_REG}, {GPR_RDI, NO_REG}, {GPR_RBP, NO_REG}, {GPR_RBX, NO_REG},
	};

	if (z->raw.modrm.mod == 0 && z->raw.modrm.rm == 6)
		return; /* disp16 alone */
	out->base = forms[z->raw.modrm.rm].base;
	out->index = forms[z->raw.modrm.rm].index;
}

static void set_address_sib(const ZydisDecodedInstruction *z, struct insn *out)
{
	unsigned index = with_rex(z->raw.sib.index, z->raw.rex.X);

	if (index != GPR_RSP) { /* 100b without REX.X: no index */
		out->index = (uint8_t)index;
		out->scale = z->raw.sib.scale;
	}
	if (z->raw.sib.base != GPR_RBP || z->raw.modrm.mod != 0)
		out->base = (uint8_t)with_rex(z->raw.sib.base, z->raw.rex.B);
}

/* SDM 2A 2.1.5, 2.2.1.6. */
static void set_address(const ZydisDecodedInstruction *z, struct insn *out)
{
	unsigned rm = z->raw.modrm.rm;

	if (z->address_width == 16)
		set_address_16(z, out);
	else if (rm == GPR_RSP)
		set_address_sib(z, out);
	else if (z->raw.modrm.mod != 0 || rm != GPR_RBP)
		out->base = (uint8_t)with_rex(rm, z->raw.rex.B);
	else if (z->machine_mode == ZYDIS_MACHINE_MODE_LONG_64)
		out->base = BASE_RIP;
}

static uint8_t default_segment(const struct insn *insn)
{
	return insn->base == GPR_RBP || insn->base == GPR_RSP ? SEG_SS : SEG_DS;
}

static void set_prefixes(const ZydisDecodedInstruction *z, struct insn *out)
{
	bool long_mode = z->machine_mode == ZYDIS_MACHINE_MODE_LONG_64;

	out->segment = out->form == FORM_STRING ? SEG_DS : default_segment(out);
	for (unsigned i = 0; i < z->raw.prefix_count; i++) {
		switch (z->raw.prefixes[i].value) {
		case 0x26: case 0x2e: case 0x36: case 0x3e: /* ignored in 64-bit code */
			if (!long_mode)
				out->segment = (z->raw.prefixes[i].value >> 3) & 3;
			break;
		case 0x64: out->segment = SEG_FS; break;
		case 0x65: out->segment = SEG_GS; break;
		case 0xf2:
		case 0xf3: out->rep = out->form == FORM_STRING; break;
		default: break;
		}
	}
}

_Static_assert(SEG_ES == 0 && SEG_CS == 1 && SEG_SS == 2 && SEG_DS == 3, "order of the override prefixes");

/* ---- the whole ---- */

/* Immediates are sign-extended to the operand but for the bit number of the BT group. */
static uint64_t immediate(const ZydisDecodedInstruction *z, enum insn_op op)
{
	unsigned shift = 64 - z->raw.imm[0].size;

	if (z->raw.imm[0].size == 0)
		return 0;
	if (op >= INSN_BT && op <= INSN_BTC)
		return z->raw.imm[0].value.u & 0xff;
	return (uint64_t)((int64_t)(z->raw.imm[0].value.u << shift) >> shift);
}

static bool is_plain(const struct insn *insn)
{
	if (insn->form == FORM_STRING || insn->reg_high)
		return false;
	return insn->op == INSN_MOV || (insn->op == INSN_MOVZX && insn->form == FORM_REG_MEM);
}

static enum status translate(const ZydisDecodedInstruction *z, struct insn *out)
{
	enum insn_op op = op_of(z->mnemonic);
	uint8_t form = form_of(z);
	bool moffs = form & IS_MOFFS;

	*out = (struct insn){.op = (uint8_t)op, .length = z->length, .base = NO_REG, .index = NO_REG};
	if (op == INSN_NONE || !form)
		return ST_UNSUPPORTED;
	out->form = form & ~(IS_FORM | IS_MOFFS);
	out->size = (uint8_t)memory_size(z, op);
	out->address_size = z->address_width / 8;
	if (out->form != FORM_STRING) {
		if (!moffs && z->raw.modrm.mod == 3)
			return ST_UNSUPPORTED; /* no memory operand */
		set_register(z, moffs, out);
		out->disp = z->raw.disp.value;
		if (!moffs)
			set_address(z, out);
	}
	set_prefixes(z, out);
	out->imm = immediate(z, op);
	out->plain = is_plain(out);
	return ST_OK;
}

enum status insn_decode(enum code_size mode, const uint8_t *bytes, unsigned length, struct insn *out)
{
	ZydisDecodedInstruction z;
	ZyanStatus st = ZydisDecoderDecodeInstruction(&decoders[mode], NULL, bytes, length, &z);

	if (st == ZYDIS_STATUS_NO_MORE_DATA)
		return ST_TRUNCATED;
	if (!ZYAN_SUCCESS(st))
		return ST_UNSUPPORTED;
	return translate(&z, out);
}
