/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Emulated device accesses: each row is an instruction's bytes with its state
 * before and after, in 64, 32 and 16-bit code, first decoded and then from the
 * cache; then page crossings, faults, self-modifying code, bounds of REP, and
 * string I/O.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/gmem.h"
#include "guest/insn.h"
#include "guest/insn_internal.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/guest_tables.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (4ull << 20)
#define CODE 0x10000ull     /* guest-physical and linear */
#define DATA 0x20000ull
#define TABLES 0x100000ull
#define OTHER_TABLES 0x200000ull
#define UNTOUCHED 0x300000ull
#define DEV FAKE_PC_MMIO    /* linear too */

#define ACCESS_CODE64 0xa09b
#define ACCESS_CODE32 0xc09b
#define ACCESS_CODE16 0x009b
#define ACCESS_DATA32 0xc093
#define FLAT 0xffffffffu

static struct vm *vm;
static struct vcpu *v;
static struct guest_tables tables;
static uint8_t *dev; /* the device's bytes */

static void set_mode(enum code_size mode)
{
	struct fake_vcpu *f = fake(v);
	uint16_t cs = mode == CODE_64 ? ACCESS_CODE64 : mode == CODE_32 ? ACCESS_CODE32 : ACCESS_CODE16;

	f->regs[REG_CR0] = CR0_PE | CR0_ET | (mode == CODE_64 ? CR0_PG | CR0_WP : 0);
	f->regs[REG_CR4] = mode == CODE_64 ? CR4_PAE : 0;
	f->regs[REG_EFER] = mode == CODE_64 ? EFER_LME | EFER_LMA | EFER_NXE : 0;
	f->regs[REG_CR3] = tables.root;
	f->regs[REG_RFLAGS] = RFLAGS_FIXED1;
	f->segments[SEG_CS] = (struct segment){.limit = FLAT, .selector = 8, .access = cs};
	for (unsigned s = SEG_ES; s <= SEG_GS; s++) {
		if (s != SEG_CS)
			f->segments[s] = (struct segment){.limit = FLAT, .selector = 16, .access = ACCESS_DATA32};
	}
}

static int setup(void **state)
{
	(void)state;
	memset(&fake_pc, 0, sizeof fake_pc);
	vm_rig_init(RAM);
	vm = vm_rig_start("a", GUEST_BYTES);
	v = vm->vcpus[0];
	v->engine->load(v);
	dev = vm->platform->memory;
	tables_init(&tables, vm, TABLES);
	for (uint64_t a = 0; a < GUEST_BYTES; a += PAGE_SIZE)
		tables_map_4level(&tables, a, a, 12, PTE_P | PTE_W | PTE_U);
	tables_map_4level(&tables, DEV, DEV, 12, PTE_P | PTE_W | PTE_U);
	set_mode(CODE_64);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_rig_fini();
	return 0;
}

static void put_code(uint64_t at, const void *bytes, unsigned length)
{
	assert_int_equal(gmem_write(vm, gpa(at), bytes, length), ST_OK);
}

/* The exit that the processor reports for the access at @linear, which maps to @at. */
static void fault(uint64_t rip, uint64_t linear, uint64_t at)
{
	fake(v)->regs[REG_RIP] = rip;
	v->exit = (struct exit){
		.kind = EXIT_FAULT, .rip = rip,
		.u.fault = {.gpa = gpa(at), .access = S2_READ, .linear_valid = true, .linear = linear}};
}

/* By the way that exits take, which looks into the caches first; the VM must live on. */
static enum status emulate_exit(uint64_t linear)
{
	fault(CODE, linear, linear);
	v->exception_pending = false;
	assert_int_equal(insn_mmio_exit(v), RESUME);
	return v->exception_pending ? ST_BAD_ADDRESS : ST_OK;
}

static enum status emulate(uint64_t linear)
{
	struct error err = {{0}};
	enum status st;

	fault(CODE, linear, linear);
	st = insn_emulate_mmio(v, &err);
	if (st == ST_UNSUPPORTED)
		assert_true(err.text[0] != 0);
	return st;
}

/* ---- one instruction, before and after ---- */

enum { M16 = CODE_16, M32 = CODE_32, M64 = CODE_64 };
#define KEEP 0x1122334455667788ull /* what registers hold when a row does not say */
#define ALL_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)
#define C RFLAGS_CF
#define P RFLAGS_PF
#define A RFLAGS_AF
#define Z RFLAGS_ZF
#define S RFLAGS_SF
#define O RFLAGS_OF

struct row {
	const char *what;
	uint8_t mode, length;
	uint8_t code[15];
	uint8_t reg;            /* the one that matters */
	uint64_t reg_in, reg_out;
	uint64_t mem_in, mem_out; /* 8 bytes at DEV + 0x10 */
	uint64_t flags_in, flags_out;
};

/* rbx points at DEV, rsi holds 4, so that [rbx+16], [rbx+rsi*4] and moffs reach DEV + 0x10. */
static const struct row rows[] = {
	/* moves */
	{"mov %eax,0x10(%rbx)", M64, 3, {0x89, 0x43, 0x10}, GPR_RAX, KEEP, KEEP, ~0ull, 0xffffffff55667788, 0, 0},
	{"mov %rax,(%rbx,%rsi,4)", M64, 4, {0x48, 0x89, 0x04, 0xb3}, GPR_RAX, KEEP, KEEP, 0, KEEP, 0, 0},
	{"mov %ax,0x10(%rbx)", M64, 4, {0x66, 0x89, 0x43, 0x10}, GPR_RAX, KEEP, KEEP, 0, 0x7788, 0, 0},
	{"mov %al,0x10(%rbx)", M64, 3, {0x88, 0x43, 0x10}, GPR_RAX, KEEP, KEEP, 0, 0x88, 0, 0},
	{"mov %ah,0x10(%rbx)", M64, 3, {0x88, 0x63, 0x10}, GPR_RAX, KEEP, KEEP, 0, 0x77, 0, 0},
	{"mov %spl via rex", M64, 4, {0x40, 0x88, 0x6b, 0x10}, GPR_RBP, KEEP, KEEP, 0, 0x88, 0, 0},
	{"mov %r9d,0x10(%rbx)", M64, 4, {0x44, 0x89, 0x4b, 0x10}, GPR_R9, KEEP, KEEP, 0, 0x55667788, 0, 0},
	{"mov 0x10(%rbx),%eax", M64, 3, {0x8b, 0x43, 0x10}, GPR_RAX, KEEP, 0x89abcdef, 0x0123456789abcdef, 0x0123456789abcdef, 0, 0},
	{"mov 0x10(%rbx),%rax", M64, 4, {0x48, 0x8b, 0x43, 0x10}, GPR_RAX, KEEP, 0x0123456789abcdef, 0x0123456789abcdef, 0x0123456789abcdef, 0, 0},
	{"mov 0x10(%rbx),%ax", M64, 4, {0x66, 0x8b, 0x43, 0x10}, GPR_RAX, KEEP, 0x112233445566cdef, 0xcdef, 0xcdef, 0, 0},
	{"mov 0x10(%rbx),%al", M64, 3, {0x8a, 0x43, 0x10}, GPR_RAX, KEEP, 0x11223344556677ef, 0xef, 0xef, 0, 0},
	{"mov 0x10(%rbx),%ch", M64, 3, {0x8a, 0x6b, 0x10}, GPR_RCX, KEEP, 0x112233445566ef88, 0xef, 0xef, 0, 0},
	{"movl $imm", M64, 7, {0xc7, 0x43, 0x10, 0x78, 0x56, 0x34, 0x92}, GPR_RAX, 0, 0, ~0ull, 0xffffffff92345678, 0, 0},
	{"movq $imm", M64, 8, {0x48, 0xc7, 0x43, 0x10, 0x78, 0x56, 0x34, 0x92}, GPR_RAX, 0, 0, 0, 0xffffffff92345678, 0, 0},
	{"movb $imm", M64, 4, {0xc6, 0x43, 0x10, 0x9a}, GPR_RAX, 0, 0, 0, 0x9a, 0, 0},
	{"movw $imm", M64, 6, {0x66, 0xc7, 0x43, 0x10, 0x34, 0x92}, GPR_RAX, 0, 0, 0, 0x9234, 0, 0},
	{"movabs moffs64,%eax", M64, 9, {0xa1, 0x10, 0, 0, 0xd0, 0, 0, 0, 0}, GPR_RAX, KEEP, 0x89abcdef, 0x89abcdef, 0x89abcdef, 0, 0},
	{"movabs %rax,moffs64", M64, 10, {0x48, 0xa3, 0x10, 0, 0, 0xd0, 0, 0, 0, 0}, GPR_RAX, KEEP, KEEP, 0, KEEP, 0, 0},
	{"movnti %rax", M64, 5, {0x48, 0x0f, 0xc3, 0x43, 0x10}, GPR_RAX, KEEP, KEEP, 0, KEEP, 0, 0},
	{"movzbl", M64, 4, {0x0f, 0xb6, 0x43, 0x10}, GPR_RAX, KEEP, 0xfe, 0xfe, 0xfe, 0, 0},
	{"movzwq", M64, 5, {0x48, 0x0f, 0xb7, 0x43, 0x10}, GPR_RAX, KEEP, 0xfedc, 0xfedc, 0xfedc, 0, 0},
	{"movzbw", M64, 5, {0x66, 0x0f, 0xb6, 0x43, 0x10}, GPR_RAX, KEEP, 0x11223344556600fe, 0xfe, 0xfe, 0, 0},
	{"movsbl", M64, 4, {0x0f, 0xbe, 0x43, 0x10}, GPR_RAX, KEEP, 0xfffffffe, 0xfe, 0xfe, 0, 0},
	{"movsbq", M64, 5, {0x48, 0x0f, 0xbe, 0x43, 0x10}, GPR_RAX, KEEP, 0xfffffffffffffffe, 0xfe, 0xfe, 0, 0},
	{"movswl", M64, 4, {0x0f, 0xbf, 0x43, 0x10}, GPR_RAX, KEEP, 0xfffffedc, 0xfedc, 0xfedc, 0, 0},
	{"movslq", M64, 4, {0x48, 0x63, 0x43, 0x10}, GPR_RAX, KEEP, 0xffffffff89abcdef, 0x89abcdef, 0x89abcdef, 0, 0},
	{"xchg %eax", M64, 3, {0x87, 0x43, 0x10}, GPR_RAX, KEEP, 0x89abcdef, 0x89abcdef, 0x55667788, 0, 0},
	{"lock xchg %ah", M64, 4, {0xf0, 0x86, 0x63, 0x10}, GPR_RAX, KEEP, 0x112233445566ef88, 0xef, 0x77, 0, 0},
	/* arithmetic: flags */
	{"addl %eax,mem", M64, 3, {0x01, 0x43, 0x10}, GPR_RAX, 1, 1, 0xffffffff, 0, 0, C | Z | P | A},
	{"addl mem,%eax", M64, 3, {0x03, 0x43, 0x10}, GPR_RAX, 0x7fffffff, 0x80000000, 1, 1, 0, S | O | P | A},
	{"adcb", M64, 3, {0x10, 0x43, 0x10}, GPR_RAX, 0x7f, 0x7f, 0x80, 0, C, C | Z | P | A},
	{"sbbb", M64, 3, {0x18, 0x43, 0x10}, GPR_RAX, 0, 0, 0, 0xff, C, C | S | P | A},
	{"subl $imm8", M64, 4, {0x83, 0x6b, 0x10, 0xff}, GPR_RAX, 0, 0, 0, 1, 0, C | A},
	{"subq %rax", M64, 4, {0x48, 0x29, 0x43, 0x10}, GPR_RAX, 1, 1, 0x8000000000000000, 0x7fffffffffffffff, 0, O | P | A},
	{"cmpl $imm32", M64, 7, {0x81, 0x7b, 0x10, 0xef, 0xcd, 0xab, 0x89}, GPR_RAX, 0, 0, 0x89abcdef, 0x89abcdef, C, Z | P},
	{"cmpw mem,%ax", M64, 4, {0x66, 0x3b, 0x43, 0x10}, GPR_RAX, 1, 1, 2, 2, 0, C | S | P | A},
	{"andl %eax", M64, 3, {0x21, 0x43, 0x10}, GPR_RAX, 0xf0, 0xf0, 0x1ff, 0xf0, C | O, P},
	{"andb $imm", M64, 4, {0x80, 0x63, 0x10, 0x80}, GPR_RAX, 0, 0, 0xff, 0x80, 0, S},
	{"orl $imm8", M64, 4, {0x83, 0x4b, 0x10, 0x01}, GPR_RAX, 0, 0, 0x80000000, 0x80000001, 0, S},
	{"or mem,%r8", M64, 4, {0x4c, 0x0b, 0x43, 0x10}, GPR_R8, 0xf0, 0xff, 0x0f, 0x0f, C, P},
	{"xorw", M64, 4, {0x66, 0x31, 0x43, 0x10}, GPR_RAX, 0xffff, 0xffff, 0xffff, 0, 0, Z | P},
	{"testl %eax", M64, 3, {0x85, 0x43, 0x10}, GPR_RAX, 0x80000000, 0x80000000, 0x80000000, 0x80000000, 0, S | P},
	{"testb $imm", M64, 4, {0xf6, 0x43, 0x10, 0x20}, GPR_RAX, 0, 0, 0x60, 0x60, 0, 0},
	{"testl $imm", M64, 7, {0xf7, 0x43, 0x10, 1, 0, 0, 0}, GPR_RAX, 0, 0, 2, 2, 0, Z | P},
	/* bits: only CF changes */
	{"btl $5", M64, 5, {0x0f, 0xba, 0x63, 0x10, 5}, GPR_RAX, 0, 0, 0x20, 0x20, Z, C | Z},
	{"btsl $37", M64, 5, {0x0f, 0xba, 0x6b, 0x10, 37}, GPR_RAX, 0, 0, 0, 0x20, C | S, S},
	{"btrq $63", M64, 6, {0x48, 0x0f, 0xba, 0x73, 0x10, 63}, GPR_RAX, 0, 0, ~0ull, ~0ull >> 1, 0, C},
	{"btcw $0", M64, 6, {0x66, 0x0f, 0xba, 0x7b, 0x10, 0}, GPR_RAX, 0, 0, 1, 0, 0, C},
	{"lock bts %eax", M64, 5, {0xf0, 0x0f, 0xab, 0x43, 0x10}, GPR_RAX, 31, 31, 0, 0x80000000, 0, 0},
	/* 32-bit code */
	{"mov %eax,0x10(%ebx)", M32, 3, {0x89, 0x43, 0x10}, GPR_RAX, 0x55667788, 0x55667788, 0, 0x55667788, 0, 0},
	{"mov moffs32,%eax", M32, 5, {0xa1, 0x10, 0, 0, 0xd0}, GPR_RAX, 1, 0x89abcdef, 0x89abcdef, 0x89abcdef, 0, 0},
	{"mov disp32,%ecx", M32, 6, {0x8b, 0x0d, 0x10, 0, 0, 0xd0}, GPR_RCX, 1, 0x89abcdef, 0x89abcdef, 0x89abcdef, 0, 0},
	{"movw in 32-bit code", M32, 4, {0x66, 0x8b, 0x43, 0x10}, GPR_RAX, 0x55667788, 0x5566cdef, 0xcdef, 0xcdef, 0, 0},
	{"inc is not rex", M32, 3, {0x03, 0x43, 0x10}, GPR_RAX, 2, 3, 1, 1, 0, P},
	{"mov %bh", M32, 3, {0x88, 0x63, 0x10}, GPR_RAX, 0x1200, 0x1200, 0, 0x12, 0, 0},
	/* 16-bit code with 32-bit addresses, as firmware and unreal mode use it */
	{"addr32 mov %ax", M16, 4, {0x67, 0x89, 0x43, 0x10}, GPR_RAX, 0x55667788, 0x55667788, 0, 0x7788, 0, 0},
	{"addr32 data32 mov", M16, 5, {0x67, 0x66, 0x8b, 0x43, 0x10}, GPR_RAX, 1, 0x89abcdef, 0x89abcdef, 0x89abcdef, 0, 0},
};

static void check_row(const struct row *r, const char *pass, enum status (*run)(uint64_t linear))
{
	uint64_t flags;

	memcpy(dev + 0x10, &r->mem_in, 8);
	for (unsigned i = 0; i < GPR_COUNT; i++)
		v->gpr[i] = KEEP;
	v->gpr[r->reg] = r->reg_in;
	v->gpr[GPR_RBX] = DEV;
	v->gpr[GPR_RSI] = 4;
	fake(v)->regs[REG_RFLAGS] = RFLAGS_FIXED1 | r->flags_in;
	put_code(CODE, r->code, r->length);
	if (run(DEV + 0x10) != ST_OK)
		fail_msg("%s (%s): refused", r->what, pass);
	flags = fake(v)->regs[REG_RFLAGS];
	if (v->gpr[r->reg] != r->reg_out || get_le64(dev + 0x10) != r->mem_out ||
	    flags != (RFLAGS_FIXED1 | r->flags_out))
		fail_msg("%s (%s): register %llx memory %llx flags %llx", r->what, pass,
			 (unsigned long long)v->gpr[r->reg], (unsigned long long)get_le64(dev + 0x10),
			 (unsigned long long)flags);
	if (fake(v)->regs[REG_RIP] != CODE + r->length)
		fail_msg("%s (%s): rip %llx", r->what, pass, (unsigned long long)fake(v)->regs[REG_RIP]);
	for (unsigned i = 0; i < GPR_COUNT; i++) {
		if (i != r->reg && i != GPR_RBX && i != GPR_RSI && i != GPR_RSP)
			assert_true(v->gpr[i] == KEEP);
	}
}

static void instructions_do_what_the_manual_says(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		set_mode((enum code_size)rows[i].mode);
		check_row(&rows[i], "decoded", emulate);
		check_row(&rows[i], "cached", emulate);
		check_row(&rows[i], "short", emulate_exit);
	}
}

static void addresses_take_every_form(void **state)
{
	static const struct {
		const char *what;
		uint8_t mode, length;
		uint8_t code[12];
		uint8_t reg;
		uint64_t value; /* of that register; the access reaches DEV + 0x10 */
	} forms[] = {
		{"(%r13)", M64, 4, {0x41, 0x8b, 0x45, 0x00}, GPR_R13, DEV + 0x10},
		{"-0x10(%r12)", M64, 5, {0x41, 0x8b, 0x44, 0x24, 0xf0}, GPR_R12, DEV + 0x20},
		{"disp32(%rbp)", M64, 6, {0x8b, 0x85, 0, 1, 0, 0}, GPR_RBP, DEV - 0xf0},
		{"(,%r9,8)+disp32", M64, 8, {0x42, 0x8b, 0x04, 0xcd, 0x00, 0x00, 0, 0x50}, GPR_R9, (DEV - 0x50000000 + 0x10) / 8},
		{"0(%eax) in 64-bit code", M64, 3, {0x67, 0x8b, 0x00}, GPR_RAX, 0xffff0000d0000010},
		{"%fs:(%rax)", M64, 3, {0x64, 0x8b, 0x00}, GPR_RAX, 0x10},
		{"%ds: is ignored", M64, 3, {0x3e, 0x8b, 0x00}, GPR_RAX, DEV + 0x10},
		{"%gs:(%eax)", M32, 3, {0x65, 0x8b, 0x00}, GPR_RAX, 0x8},
		{"(%ebp) uses %ss", M32, 3, {0x8b, 0x45, 0x00}, GPR_RBP, DEV + 0x10 - 0x1000},
		{"wraps at 4 GiB", M32, 6, {0x8b, 0x86, 0x10, 0, 0, 0xf0}, GPR_RSI, 0xe0000000},
		{"disp16 in 16-bit code", M16, 4, {0x64, 0xa1, 0x10, 0x00}, GPR_RBX, 0},
		{"(%bx,%si)", M16, 3, {0x64, 0x8b, 0x00}, GPR_RBX, 0x10},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
		set_mode((enum code_size)forms[i].mode);
		fake(v)->segments[SEG_FS].base = DEV;
		fake(v)->segments[SEG_GS].base = DEV + 8;
		fake(v)->segments[SEG_SS].base = 0x1000;
		memset(v->gpr, 0, sizeof v->gpr);
		v->gpr[forms[i].reg] = forms[i].value;
		put_le32(dev + 0x10, 0xfeed0000 + i);
		put_code(CODE, forms[i].code, forms[i].length);
		/* Were the computed address another one, the page tables would decide, and not the exit. */
		if (emulate(DEV + 0x10) != ST_OK)
			fail_msg("%s refused", forms[i].what);
		if ((uint16_t)v->gpr[GPR_RAX] != (uint16_t)i)
			fail_msg("%s read %llx", forms[i].what, (unsigned long long)v->gpr[GPR_RAX]);
		assert_int_equal(fake(v)->regs[REG_RIP], CODE + forms[i].length);
	}
	assert_int_equal(fake_pc.reads, ARRAY_SIZE(forms));
}

static void rip_relative(void **state)
{
	uint8_t code[] = {0x8b, 0x05, 0, 0, 0, 0}; /* mov disp(%rip),%eax */

	(void)state;
	tables_map_4level(&tables, 0x40000000, DEV, 12, PTE_P | PTE_W);
	put_le32(code + 2, (uint32_t)(0x40000010 - CODE - sizeof code));
	put_code(CODE, code, sizeof code);
	put_le32(dev + 0x10, 77);
	fault(CODE, 0x40000010, DEV + 0x10);
	assert_int_equal(insn_emulate_mmio(v, NULL), ST_OK);
	assert_int_equal(v->gpr[GPR_RAX], 77);
}

/* ---- bits beyond the operand ---- */

static void a_bit_number_in_a_register_reaches_far(void **state)
{
	static const uint8_t bts[] = {0x0f, 0xab, 0x43, 0x10}; /* bts %eax,0x10(%rbx) */

	(void)state;
	put_code(CODE, bts, sizeof bts);
	memset(dev, 0, 64);
	v->gpr[GPR_RBX] = DEV;
	v->gpr[GPR_RAX] = 35; /* the next dword */
	assert_int_equal(emulate(DEV + 0x14), ST_OK);
	assert_int_equal(get_le32(dev + 0x14), 8);
	v->gpr[GPR_RAX] = (uint32_t)-1; /* the one before */
	assert_int_equal(emulate(DEV + 0xc), ST_OK);
	assert_int_equal(get_le32(dev + 0xc), 0x80000000);
}

/* ---- what is refused ---- */

static void refused(const void *code, unsigned length, const char *part)
{
	struct error err;

	put_code(CODE, code, length);
	fault(CODE, DEV + 0x10, DEV + 0x10);
	v->gpr[GPR_RBX] = DEV;
	assert_int_equal(insn_emulate_mmio(v, &err), ST_UNSUPPORTED);
	if (!strstr(err.text, part))
		fail_msg("\"%s\" does not say \"%s\"", err.text, part);
	assert_int_equal(fake(v)->regs[REG_RIP], CODE);
	assert_int_equal(fake_pc.reads + fake_pc.writes, 0);
}

static void what_is_not_listed_is_named(void **state)
{
	static const uint8_t movaps[] = {0x0f, 0x28, 0x43, 0x10};
	static const uint8_t push[] = {0xff, 0x73, 0x10};
	static const uint8_t vmovups[] = {0xc5, 0xf8, 0x10, 0x43, 0x10};
	static const uint8_t mov_seg[] = {0x8e, 0x5b, 0x10};
	static const uint8_t junk[] = {0xff, 0xff, 0xff, 0xff};
	static const uint8_t regs[] = {0x89, 0xc3};
	static const uint8_t movsd[] = {0xf2, 0x0f, 0x10, 0x43, 0x10};
	static const uint8_t prefixes[] = {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66};

	(void)state;
	refused(movaps, sizeof movaps, "(0f 28 43 10");
	refused(push, sizeof push, "ff 73 10");
	refused(vmovups, sizeof vmovups, "c5 f8 10 43 10");
	refused(mov_seg, sizeof mov_seg, "8e 5b 10");
	refused(junk, sizeof junk, "ff ff ff ff");
	refused(regs, sizeof regs, "89 c3");
	refused(movsd, sizeof movsd, "f2 0f 10 43 10");
	refused(prefixes, sizeof prefixes, "66 66 66");
	refused(prefixes, sizeof prefixes, "0xd0000010");
}

static void code_in_device_memory_is_refused(void **state)
{
	struct error err;

	(void)state;
	fault(DEV, DEV + 0x10, DEV + 0x10);
	assert_int_equal(insn_emulate_mmio(v, &err), ST_UNSUPPORTED);
	assert_non_null(strstr(err.text, "in device memory"));
}

static void a_fetch_that_faults_is_the_guests_page_fault(void **state)
{
	(void)state;
	fault(0x7000000, DEV, DEV);
	assert_int_equal(insn_emulate_mmio(v, NULL), ST_BAD_ADDRESS);
	assert_true(v->exception_pending);
	assert_int_equal(v->exception.vector, VEC_PF);
	assert_int_equal(v->exception.error, PF_I);
	assert_int_equal(fake(v)->regs[REG_CR2], 0x7000000);
}

/* ---- the cache ---- */

/*
 * Code at CODE loads what is 5 into eax, and is then changed by its caller into a store of 9. Both go by the caches:
 * once to fill them, once to use them.
 */
static const uint8_t load_code[] = {0x8b, 0x43, 0x10}, store_code[] = {0x89, 0x43, 0x10};

static void loads_5(void)
{
	v->gpr[GPR_RBX] = DEV;
	for (unsigned i = 0; i < 2; i++) {
		v->gpr[GPR_RAX] = 0;
		put_le32(dev + 0x10, 5);
		assert_int_equal(emulate_exit(DEV + 0x10), ST_OK);
		assert_int_equal(v->gpr[GPR_RAX], 5);
	}
}

static void stores_9(void)
{
	for (unsigned i = 0; i < 2; i++) {
		v->gpr[GPR_RAX] = 9;
		put_le32(dev + 0x10, 5);
		assert_int_equal(emulate_exit(DEV + 0x10), ST_OK);
		assert_int_equal(get_le32(dev + 0x10), 9);
	}
}

static void changed_code_is_seen(void **state)
{
	(void)state;
	put_code(CODE, load_code, sizeof load_code);
	loads_5();
	put_code(CODE, store_code, sizeof store_code);
	stores_9();
}

static void put_both(void)
{
	put_code(CODE, load_code, sizeof load_code);
	put_code(DATA, store_code, sizeof store_code);
}

static uint64_t entry_of(struct guest_tables *t, unsigned shift)
{
	uint64_t entry;

	assert_int_equal(gmem_read(vm, gpa(tables_entry_4level(t, CODE, shift)), &entry, sizeof entry), ST_OK);
	return entry;
}

/* Another table is hung in at each level of the walk in turn, under the same CR3. */
static void remapped_code_is_seen(void **state)
{
	struct guest_tables other;

	(void)state;
	put_both();
	tables_init(&other, vm, OTHER_TABLES);
	tables_map_4level(&other, CODE, DATA, 12, PTE_P);
	for (unsigned shift = 12; shift <= 39; shift += 9) {
		uint64_t at = tables_entry_4level(&tables, CODE, shift), old = entry_of(&tables, shift),
			 new = entry_of(&other, shift);

		loads_5();
		assert_int_equal(gmem_write(vm, gpa(at), &new, sizeof new), ST_OK);
		stores_9();
		assert_int_equal(gmem_write(vm, gpa(at), &old, sizeof old), ST_OK);
	}
	loads_5();
}

static void code_of_another_process_is_not_ours(void **state)
{
	struct guest_tables other;

	(void)state;
	put_both();
	tables_init(&other, vm, OTHER_TABLES);
	tables_map_4level(&other, CODE, DATA, 12, PTE_P);
	loads_5();
	fake(v)->regs[REG_CR3] = other.root;
	stores_9();
	fake(v)->regs[REG_CR3] = tables.root;
	loads_5();
}

/* Memory management took a page and gave another: addresses that were kept are wrong now. */
static void code_and_tables_may_lie_elsewhere_on_the_host(void **state)
{
	const uint64_t taken[] = {CODE, tables_entry_4level(&tables, CODE, 12) & ~PAGE_MASK};
	static uint8_t page[PAGE_SIZE];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(taken); i++) {
		const void *was = gpmap_va(vm->memory, gpa_to_gfn(gpa(taken[i])));
		uint64_t before = *vm->memory_generation;

		put_code(CODE, load_code, sizeof load_code);
		loads_5();
		assert_int_equal(gmem_read(vm, gpa(taken[i]), page, sizeof page), ST_OK);
		assert_int_equal(gpmap_remove(vm->memory, gpa_to_gfn(gpa(taken[i]))), ST_OK);
		assert_int_not_equal(*vm->memory_generation, before);
		/* The frame goes to another page, and is cleared for it. */
		assert_int_equal(gmem_write(vm, gpa(UNTOUCHED + i * PAGE_SIZE), page, 1), ST_OK);
		assert_int_equal(gmem_write(vm, gpa(taken[i]), page, sizeof page), ST_OK);
		assert_ptr_not_equal(gpmap_va(vm->memory, gpa_to_gfn(gpa(taken[i]))), was);
		put_code(CODE, store_code, sizeof store_code);
		stores_9();
	}
}

/* What is no simple move goes from the caches to the long way. */
static void other_forms_are_found_decoded_too(void **state)
{
	static const uint8_t add[] = {0x83, 0x43, 0x10, 0x01};

	(void)state;
	v->gpr[GPR_RBX] = DEV;
	put_le32(dev + 0x10, 5);
	put_code(CODE, add, sizeof add);
	for (unsigned i = 1; i < 4; i++) {
		assert_int_equal(emulate_exit(DEV + 0x10), ST_OK);
		assert_int_equal(get_le32(dev + 0x10), 5 + i);
	}
}

static void the_same_bytes_mean_something_else_in_another_mode(void **state)
{
	static const uint8_t code[] = {0x48, 0x89, 0x43, 0x10}; /* 32-bit: dec %eax */

	(void)state;
	v->gpr[GPR_RBX] = DEV;
	v->gpr[GPR_RAX] = KEEP;
	put_code(CODE, code, sizeof code);
	assert_int_equal(emulate(DEV + 0x10), ST_OK);
	assert_true(get_le64(dev + 0x10) == KEEP);
	set_mode(CODE_32);
	assert_int_equal(emulate(DEV + 0x10), ST_UNSUPPORTED);
	set_mode(CODE_64);
	assert_int_equal(emulate(DEV + 0x10), ST_OK);
}

/* ---- page borders ---- */

static void an_instruction_may_cross_a_page(void **state)
{
	static const uint8_t code[] = {0xc7, 0x43, 0x10, 0x78, 0x56, 0x34, 0x12};
	struct error err;

	(void)state;
	/* The two pages are apart in guest-physical memory. */
	tables_map_4level(&tables, CODE + PAGE_SIZE, DATA, 12, PTE_P);
	v->gpr[GPR_RBX] = DEV;
	for (unsigned before = 1; before < sizeof code; before++) {
		uint64_t rip = CODE + PAGE_SIZE - before;

		put_code(rip, code, before);
		put_code(DATA, code + before, (unsigned)sizeof code - before);
		memset(dev, 0, 32);
		fault(rip, DEV + 0x10, DEV + 0x10);
		assert_int_equal(insn_emulate_mmio(v, &err), ST_OK);
		assert_int_equal(get_le32(dev + 0x10), 0x12345678);
		assert_int_equal(fake(v)->regs[REG_RIP], rip + sizeof code);
	}
}

static void the_next_page_is_asked_for_only_when_needed(void **state)
{
	static const uint8_t code[] = {0x8b, 0x43, 0x10, 0xc7};
	struct error err;

	(void)state;
	tables_map_4level(&tables, CODE + PAGE_SIZE, 0, 12, 0);
	v->gpr[GPR_RBX] = DEV;
	put_code(CODE + PAGE_SIZE - 3, code, 3);
	fault(CODE + PAGE_SIZE - 3, DEV + 0x10, DEV + 0x10);
	assert_int_equal(insn_emulate_mmio(v, &err), ST_OK);
	put_code(CODE + PAGE_SIZE - 1, code + 3, 1);
	fault(CODE + PAGE_SIZE - 1, DEV + 0x10, DEV + 0x10);
	assert_int_equal(insn_emulate_mmio(v, &err), ST_BAD_ADDRESS);
	assert_int_equal(fake(v)->regs[REG_CR2], CODE + PAGE_SIZE);
	assert_int_equal(v->exception.error, PF_I);
}

static void an_operand_may_cross_into_a_device(void **state)
{
	static const uint8_t store[] = {0x48, 0x89, 0x03}, load[] = {0x48, 0x8b, 0x0b};
	uint64_t ram = 0;

	(void)state;
	tables_map_4level(&tables, DEV - PAGE_SIZE, DATA, 12, PTE_P | PTE_W);
	v->gpr[GPR_RBX] = DEV - 3;
	v->gpr[GPR_RAX] = 0x8877665544332211;
	put_code(CODE, store, 3);
	/* The processor reports the page that has no memory. */
	assert_int_equal(emulate(DEV), ST_OK);
	assert_int_equal(gmem_read(vm, gpa(DATA + PAGE_SIZE - 3), &ram, 3), ST_OK);
	assert_int_equal(ram, 0x332211);
	assert_true((get_le64(dev) & 0xffffffffff) == 0x8877665544);
	put_code(CODE, load, 3);
	for (unsigned i = 0; i < 2; i++) {
		v->gpr[GPR_RCX] = 0;
		assert_int_equal(emulate_exit(DEV), ST_OK);
		assert_true(v->gpr[GPR_RCX] == 0x8877665544332211);
	}
}

static void half_an_operand_is_never_written(void **state)
{
	static const uint8_t store[] = {0x48, 0x89, 0x03};

	(void)state;
	memset(dev, 0, PAGE_SIZE);
	tables_map_4level(&tables, DEV + PAGE_SIZE, 0, 12, 0);
	v->gpr[GPR_RBX] = DEV + PAGE_SIZE - 4;
	v->gpr[GPR_RAX] = ~0ull;
	put_code(CODE, store, 3);
	assert_int_equal(emulate_exit(DEV + PAGE_SIZE - 4), ST_BAD_ADDRESS);
	assert_int_equal(get_le32(dev + PAGE_SIZE - 4), 0);
	assert_int_equal(v->exception.vector, VEC_PF);
	assert_int_equal(v->exception.error, PF_W);
	assert_int_equal(fake(v)->regs[REG_CR2], DEV + PAGE_SIZE);
}

/* ---- strings ---- */

static void set_string(uint64_t rsi, uint64_t rdi, uint64_t rcx)
{
	v->gpr[GPR_RSI] = rsi;
	v->gpr[GPR_RDI] = rdi;
	v->gpr[GPR_RCX] = rcx;
}

static void movs_copies_between_memory_and_device(void **state)
{
	static const uint8_t movsl[] = {0xf3, 0xa5}, movsb[] = {0xa4};
	uint32_t words[4] = {1, 2, 3, 4}, back[4];

	(void)state;
	assert_int_equal(gmem_write(vm, gpa(DATA), words, sizeof words), ST_OK);
	set_string(DATA, DEV + 0x40, 4);
	put_code(CODE, movsl, 2);
	assert_int_equal(emulate(DEV + 0x40), ST_OK);
	assert_memory_equal(dev + 0x40, words, sizeof words);
	assert_int_equal(v->gpr[GPR_RSI], DATA + 16);
	assert_int_equal(v->gpr[GPR_RDI], DEV + 0x50);
	assert_int_equal(v->gpr[GPR_RCX], 0);
	assert_int_equal(fake(v)->regs[REG_RIP], CODE + 2);
	/* And back, downwards. */
	fake(v)->regs[REG_RFLAGS] |= RFLAGS_DF;
	set_string(DEV + 0x4c, DATA + 0x10c, 4);
	assert_int_equal(emulate(DEV + 0x4c), ST_OK);
	assert_int_equal(gmem_read(vm, gpa(DATA + 0x100), back, sizeof back), ST_OK);
	assert_memory_equal(back, words, sizeof words);
	assert_int_equal(v->gpr[GPR_RSI], DEV + 0x3c);
	/* One step without REP leaves rcx alone; device to device works. */
	fake(v)->regs[REG_RFLAGS] &= ~RFLAGS_DF;
	set_string(DEV + 0x40, DEV + 0x80, 77);
	put_code(CODE, movsb, 1);
	assert_int_equal(emulate(DEV + 0x40), ST_OK);
	assert_int_equal(dev[0x80], 1);
	assert_int_equal(v->gpr[GPR_RCX], 77);
}

static void stos_and_lods(void **state)
{
	static const uint8_t stosq[] = {0xf3, 0x48, 0xab}, lodsw[] = {0x66, 0xad};

	(void)state;
	v->gpr[GPR_RAX] = KEEP;
	set_string(0, DEV + 0x40, 2);
	put_code(CODE, stosq, 3);
	assert_int_equal(emulate(DEV + 0x40), ST_OK);
	assert_true(get_le64(dev + 0x48) == KEEP);
	put_code(CODE, lodsw, 2);
	set_string(DEV + 0x42, 0, 9);
	assert_int_equal(emulate(DEV + 0x42), ST_OK);
	assert_true(v->gpr[GPR_RAX] == 0x1122334455665566);
	assert_int_equal(v->gpr[GPR_RSI], DEV + 0x44);
}

static void a_long_rep_goes_in_bounded_steps(void **state)
{
	static const uint8_t stosb[] = {0xf3, 0xaa};
	unsigned exits = 0;

	(void)state;
	v->gpr[GPR_RAX] = 0x5a;
	set_string(0, DEV, 1000);
	put_code(CODE, stosb, 2);
	while (v->gpr[GPR_RCX]) {
		unsigned before = fake_pc.writes;

		assert_int_equal(emulate(v->gpr[GPR_RDI]), ST_OK);
		assert_true(fake_pc.writes - before <= 64);
		exits++;
	}
	assert_int_equal(exits, 16);
	assert_int_equal(fake_pc.writes, 1000);
	assert_int_equal(dev[999], 0x5a);
	assert_int_equal(dev[1000], 0);
	assert_int_equal(fake(v)->advances, 1);
}

static void a_rep_of_nothing_does_nothing(void **state)
{
	static const uint8_t stosb[] = {0xf3, 0xaa};

	(void)state;
	set_string(0, DEV, 0);
	put_code(CODE, stosb, 2);
	assert_int_equal(emulate(DEV), ST_OK);
	assert_int_equal(fake_pc.writes, 0);
	assert_int_equal(fake(v)->regs[REG_RIP], CODE + 2);
}

static void a_fault_in_a_rep_keeps_what_is_done(void **state)
{
	static const uint8_t movsb[] = {0xf3, 0xa4};

	(void)state;
	tables_map_4level(&tables, DATA + PAGE_SIZE, 0, 12, 0);
	set_string(DATA + PAGE_SIZE - 3, DEV, 10);
	put_code(CODE, movsb, 2);
	assert_int_equal(emulate(DEV), ST_BAD_ADDRESS);
	assert_int_equal(v->gpr[GPR_RCX], 7);
	assert_int_equal(v->gpr[GPR_RSI], DATA + PAGE_SIZE);
	assert_int_equal(v->gpr[GPR_RDI], DEV + 3);
	assert_int_equal(fake(v)->regs[REG_CR2], DATA + PAGE_SIZE);
	assert_int_equal(v->exception.error, 0);
	assert_int_equal(fake(v)->regs[REG_RIP], CODE);
}

static void a_source_that_is_not_canonical_is_a_protection_fault(void **state)
{
	static const uint8_t movsb[] = {0xa4};

	(void)state;
	set_string(0x0001000000000000, DEV, 1);
	put_code(CODE, movsb, 1);
	assert_int_equal(emulate(DEV), ST_BAD_ADDRESS);
	assert_int_equal(v->exception.vector, VEC_GP);
}

static void address_size_bounds_what_moves(void **state)
{
	static const uint8_t addr32[] = {0x67, 0xf3, 0xaa}; /* addr32 rep stosb */

	(void)state;
	set_string(0, 0xaaaa000000000000 | (DEV + 2), 0xbbbb000000000002);
	put_code(CODE, addr32, 3);
	assert_int_equal(emulate(DEV + 2), ST_OK);
	assert_int_equal(v->gpr[GPR_RDI], DEV + 4);
	assert_int_equal(v->gpr[GPR_RCX], 0);
}

/* ---- INS and OUTS ---- */

static enum status string_io(bool in, unsigned size, bool rep, uint64_t linear)
{
	struct error err;

	fake(v)->regs[REG_RIP] = CODE;
	v->exit = (struct exit){.kind = EXIT_IO, .rip = CODE, .length = 2,
				.u.io = {.port = FAKE_PC_PORT, .size = (uint8_t)size, .in = in, .string = true, .rep = rep,
					 .linear = linear, .address_size = 8}};
	return insn_string_io(v, &err);
}

static void ins_and_outs_move_between_port_and_memory(void **state)
{
	uint8_t bytes[3] = {0}, out[3] = {7, 8, 9};

	(void)state;
	vm->platform->ports[0] = 0x42;
	set_string(0, DATA, 3);
	assert_int_equal(string_io(true, 1, true, DATA), ST_OK);
	assert_int_equal(gmem_read(vm, gpa(DATA), bytes, 3), ST_OK);
	assert_int_equal(bytes[2], 0x42);
	assert_int_equal(v->gpr[GPR_RDI], DATA + 3);
	assert_int_equal(fake(v)->regs[REG_RIP], CODE + 2);
	assert_int_equal(gmem_write(vm, gpa(DATA), out, 3), ST_OK);
	set_string(DATA, 0, 3);
	assert_int_equal(string_io(false, 1, true, DATA), ST_OK);
	assert_int_equal(vm->platform->ports[0], 9);
	assert_int_equal(fake_pc.writes, 3);
	assert_int_equal(v->gpr[GPR_RCX], 0);
}

static void a_long_outs_goes_in_bounded_steps(void **state)
{
	unsigned exits = 0;

	(void)state;
	set_string(DATA, 0, 200);
	while (v->gpr[GPR_RCX]) {
		assert_int_equal(string_io(false, 1, true, v->gpr[GPR_RSI]), ST_OK);
		exits++;
	}
	assert_int_equal(exits, 4);
	assert_int_equal(fake_pc.writes, 200);
	assert_int_equal(fake(v)->advances, 1);
}

static void ins_into_a_read_only_page_faults_before_the_port_is_read(void **state)
{
	(void)state;
	tables_map_4level(&tables, DATA, DATA, 12, PTE_P);
	set_string(0, DATA, 1);
	assert_int_equal(string_io(true, 1, false, DATA), ST_BAD_ADDRESS);
	assert_int_equal(fake_pc.reads, 0);
	assert_int_equal(v->exception.vector, VEC_PF);
	assert_int_equal(v->exception.error, PF_P | PF_W);
}

static void outs_across_pages(void **state)
{
	uint32_t word = 0x04030201;

	(void)state;
	tables_map_4level(&tables, DATA + PAGE_SIZE, DATA + 2 * PAGE_SIZE, 12, PTE_P);
	assert_int_equal(gmem_write(vm, gpa(DATA + PAGE_SIZE - 1), &word, 1), ST_OK);
	word >>= 8;
	assert_int_equal(gmem_write(vm, gpa(DATA + 2 * PAGE_SIZE), &word, 1), ST_OK);
	set_string(DATA + PAGE_SIZE - 1, 0, 1);
	assert_int_equal(string_io(false, 2, false, DATA + PAGE_SIZE - 1), ST_OK);
	assert_int_equal(vm->platform->ports[0], 1);
	assert_int_equal(vm->platform->ports[1], 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(instructions_do_what_the_manual_says),
		T(addresses_take_every_form),
		T(rip_relative),
		T(a_bit_number_in_a_register_reaches_far),
		T(what_is_not_listed_is_named),
		T(code_in_device_memory_is_refused),
		T(a_fetch_that_faults_is_the_guests_page_fault),
		T(changed_code_is_seen),
		T(remapped_code_is_seen),
		T(code_of_another_process_is_not_ours),
		T(code_and_tables_may_lie_elsewhere_on_the_host),
		T(other_forms_are_found_decoded_too),
		T(the_same_bytes_mean_something_else_in_another_mode),
		T(an_instruction_may_cross_a_page),
		T(the_next_page_is_asked_for_only_when_needed),
		T(an_operand_may_cross_into_a_device),
		T(half_an_operand_is_never_written),
		T(movs_copies_between_memory_and_device),
		T(stos_and_lods),
		T(a_long_rep_goes_in_bounded_steps),
		T(a_rep_of_nothing_does_nothing),
		T(a_fault_in_a_rep_keeps_what_is_done),
		T(a_source_that_is_not_canonical_is_a_protection_fault),
		T(address_size_bounds_what_moves),
		T(ins_and_outs_move_between_port_and_memory),
		T(a_long_outs_goes_in_bounded_steps),
		T(ins_into_a_read_only_page_faults_before_the_port_is_read),
		T(outs_across_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
