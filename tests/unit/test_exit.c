/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each kind of exit does to registers, rip, devices and the VM; control
 * register and XCR0 rules case by case; what stops a VM and with which words.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/cpuid.h"
#include "guest/gmem.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (4ull << 20)
#define RIP 0x1000
#define LENGTH 3
#define ACCESS_CODE64 0xa09b
#define ACCESS_CODE32 0xc09b

static struct vm *vm;
static struct vcpu *v;

static int setup(void **state)
{
	(void)state;
	memset(&fake_pc, 0, sizeof fake_pc);
	vm_rig_init(RAM);
	vm = vm_rig_start("a", GUEST_BYTES);
	v = vm->vcpus[0];
	v->engine->load(v);
	fake(v)->regs[REG_RIP] = RIP;
	fake(v)->segments[SEG_CS] = (struct segment){.limit = 0xffffffff, .access = ACCESS_CODE32};
	v->requests = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_rig_fini();
	return 0;
}

static enum disposition dispatch(struct exit e)
{
	e.rip = fake(v)->regs[REG_RIP];
	e.length = LENGTH;
	v->exit = e;
	return exit_dispatch(v);
}

static void advanced(bool yes) { assert_int_equal(fake(v)->regs[REG_RIP], yes ? RIP + LENGTH : RIP); }

static void raised(uint8_t vector)
{
	assert_true(v->exception_pending);
	assert_int_equal(v->exception.vector, vector);
	assert_true(v->requests & REQ_EVENT);
	advanced(false);
}

static void crashed(const char *part)
{
	assert_int_equal(vm->state, VM_CRASHED);
	if (!strstr(vm->report, part))
		fail_msg("\"%.80s\" does not say \"%s\"", vm->report, part);
	advanced(false);
}

/* ---- tables ---- */

static void cpuid(void **state)
{
	(void)state;
	v->gpr[GPR_RAX] = 0x40000000;
	assert_int_equal(dispatch((struct exit){.kind = EXIT_CPUID}), RESUME);
	assert_int_equal(v->gpr[GPR_RBX], 0x62726f43);
	advanced(true);
}

static void rdmsr_and_wrmsr(void **state)
{
	(void)state;
	v->gpr[GPR_RAX] = v->gpr[GPR_RDX] = ~0ull;
	assert_int_equal(dispatch((struct exit){.kind = EXIT_RDMSR, .u.msr.index = MSR_IA32_BIOS_SIGN_ID}), RESUME);
	assert_int_equal(v->gpr[GPR_RAX], 0);
	assert_int_equal(v->gpr[GPR_RDX], 1);
	advanced(true);
	fake(v)->regs[REG_RIP] = RIP;
	v->gpr[GPR_RAX] = 0xffffffff00000000 | MEMTYPE_WP; /* the upper halves do not count */
	v->gpr[GPR_RDX] = 0xffffffff00000000;
	assert_int_equal(dispatch((struct exit){.kind = EXIT_WRMSR, .u.msr.index = MSR_IA32_MTRR_DEF_TYPE}), RESUME);
	assert_int_equal(v->msr.mtrr_def_type, MEMTYPE_WP);
	advanced(true);
}

/* What a WRMSR exit makes of the APIC, its vcpu's requests and windows, and whether it is #GP. */
struct after_write {
	uint8_t page[PAGE_SIZE];
	struct vlapic lapic;
	uint64_t requests;
	bool gp, irq_window, want_irq;
};

static void write_apic(bool by_exit, uint32_t index, uint64_t value, struct after_write *out)
{
	memset(out, 0, sizeof *out);
	fake(v)->regs[REG_RIP] = RIP;
	v->requests = 0;
	v->exception_pending = v->irq_window = fake(v)->want_irq = false;
	if (by_exit) {
		v->gpr[GPR_RAX] = (uint32_t)value;
		v->gpr[GPR_RDX] = value >> 32;
		assert_int_equal(dispatch((struct exit){.kind = EXIT_WRMSR, .u.msr.index = index}), RESUME);
		advanced(!v->exception_pending);
		out->gp = v->exception_pending;
	} else {
		out->gp = msr_write(v, index, value) != ST_OK;
	}
	memcpy(out->page, v->lapic.page, PAGE_SIZE);
	out->lapic = v->lapic;
	out->requests = v->requests & ~(REQ_RECOMPUTE | (out->gp ? REQ_EVENT : 0));
	out->irq_window = v->irq_window;
	out->want_irq = fake(v)->want_irq;
}

/* The short ways of an exit end as the long one does, from whatever state. */
static void same_by_exit(uint32_t index, uint64_t value)
{
	static uint8_t page[PAGE_SIZE];
	static struct after_write exit, plain;
	struct vlapic before = v->lapic;

	memcpy(page, v->lapic.page, PAGE_SIZE);
	write_apic(true, index, value, &exit);
	memcpy(v->lapic.page, page, PAGE_SIZE);
	v->lapic = before;
	write_apic(false, index, value, &plain);
	if (memcmp(&exit, &plain, sizeof exit) != 0)
		fail_msg("WRMSR %x, %llx is something else by an exit", index, (unsigned long long)value);
}

static void apic_writes_by_exits(void **state)
{
	static const uint64_t vectors[] = {0, 1, 15, 16, 0x41, 0x81, 0xff, 0x100, 0x1041};
	static const uint32_t registers[] = {MSR_X2APIC_EOI, MSR_X2APIC_SELF_IPI, MSR_X2APIC_ICR};

	(void)state;
	v->cpu->vcpu = v; /* in its turn */
	for (unsigned round = 0; round < 6; round++) {
		if (round == 0)
			assert_int_equal(msr_write(v, MSR_IA32_APIC_BASE, v->lapic.base_msr | APIC_BASE_EXTD), ST_OK);
		if (round == 1)
			assert_int_equal(msr_write(v, MSR_X2APIC_SVR, APIC_SVR_ENABLE | 0xff), ST_OK);
		if (round == 2)
			fake(v)->regs[REG_RFLAGS] |= RFLAGS_IF;
		if (round == 3)
			vlapic_post(&v->lapic, 0x77, true);
		if (round == 4)
			assert_int_equal(vlapic_take(&v->lapic), 0xff);
		for (unsigned r = 0; r < ARRAY_SIZE(registers); r++) {
			for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++) {
				same_by_exit(registers[r], vectors[i]);
				same_by_exit(registers[r], vectors[i] | APIC_ICR_SELF);
				same_by_exit(registers[r], vectors[i] | APIC_ICR_SELF | APIC_ICR_ASSERT);
			}
			for (unsigned bit = 0; bit < 64; bit++)
				same_by_exit(registers[r], 0x81 | APIC_ICR_SELF | BIT(bit));
		}
	}
	v->cpu->vcpu = NULL;
}

static void an_msr_that_does_not_exist(void **state)
{
	(void)state;
	v->gpr[GPR_RAX] = 7;
	assert_int_equal(dispatch((struct exit){.kind = EXIT_RDMSR, .u.msr.index = 0x12345}), RESUME);
	raised(VEC_GP);
	assert_int_equal(v->gpr[GPR_RAX], 7);
	assert_true(v->exception.has_error && v->exception.error == 0);
	v->exception_pending = false;
	assert_int_equal(dispatch((struct exit){.kind = EXIT_WRMSR, .u.msr.index = 0x12345}), RESUME);
	raised(VEC_GP);
	assert_int_equal(vm->denied_msrs, 2);
}

static void an_unknown_hypercall(void **state)
{
	(void)state;
	assert_int_equal(dispatch((struct exit){.kind = EXIT_HYPERCALL}), RESUME);
	assert_int_equal((int64_t)v->gpr[GPR_RAX], -1000);
	advanced(true);
}

/* ---- ports ---- */

static enum disposition io(uint16_t port, unsigned size, bool in)
{
	return dispatch((struct exit){.kind = EXIT_IO, .u.io = {.port = port, .size = (uint8_t)size, .in = in}});
}

static void in_merges_by_size(void **state)
{
	static const struct { unsigned size; uint64_t want; } sizes[] = {
		{1, 0x11223344556677a1}, {2, 0x112233445566b2a1}, {4, 0xd4c3b2a1}};

	(void)state;
	memcpy(vm->platform->ports, "\xa1\xb2\xc3\xd4", 4);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		v->gpr[GPR_RAX] = 0x1122334455667788;
		fake(v)->regs[REG_RIP] = RIP;
		assert_int_equal(io(FAKE_PC_PORT, sizes[i].size, true), RESUME);
		assert_true(v->gpr[GPR_RAX] == sizes[i].want);
		advanced(true);
	}
}

static void out_takes_the_low_part(void **state)
{
	(void)state;
	v->gpr[GPR_RAX] = 0x1122334455667788;
	assert_int_equal(io(FAKE_PC_PORT, 2, false), RESUME);
	assert_int_equal(get_le32(vm->platform->ports), 0x7788);
	advanced(true);
}

static void an_absent_port_reads_all_ones(void **state)
{
	(void)state;
	v->gpr[GPR_RAX] = 0;
	assert_int_equal(io(0x5678, 1, true), RESUME);
	assert_int_equal(v->gpr[GPR_RAX], 0xff);
	assert_int_equal(io(0x5678, 4, false), RESUME);
	assert_int_equal(vm->pio.misses, 2);
}

/* ---- memory ---- */

static enum disposition fault(uint64_t at, unsigned access, bool delivery, bool linear)
{
	return dispatch((struct exit){.kind = EXIT_FAULT,
				      .u.fault = {.gpa = gpa(at), .access = access, .linear = at, .linear_valid = linear,
						  .during_delivery = delivery}});
}

static void a_first_touch_is_populated(void **state)
{
	(void)state;
	assert_null(gpmap_va(vm->memory, gfn(0x123)));
	assert_int_equal(fault(0x123456, S2_WRITE, false, true), RESUME);
	assert_non_null(gpmap_va(vm->memory, gfn(0x123)));
	advanced(false);
}

static void a_hole_reads_all_ones(void **state)
{
	static const uint8_t load[] = {0x8b, 0x03}; /* mov (%ebx),%eax */

	(void)state;
	assert_int_equal(gmem_write(vm, gpa(RIP), load, sizeof load), ST_OK);
	v->gpr[GPR_RBX] = 0xe0000000;
	assert_int_equal(fault(0xe0000000, S2_READ, false, true), RESUME);
	assert_int_equal(v->gpr[GPR_RAX], 0xffffffff);
	assert_int_equal(vm->mmio.misses, 1);
	assert_int_equal(fake(v)->regs[REG_RIP], RIP + 2);
}

static void a_fetch_from_a_hole_ends_the_vm(void **state)
{
	(void)state;
	assert_int_equal(fault(0xe0000000, S2_EXEC, false, true), STOP);
	crashed("instruction fetch from guest-physical 0xe0000000, where there is no memory");
}

static void event_delivery_into_a_hole_ends_the_vm(void **state)
{
	(void)state;
	assert_int_equal(fault(0xe0000000, S2_WRITE, true, true), STOP);
	crashed("event delivery touched guest-physical 0xe0000000");
}

static void page_tables_in_a_hole_end_the_vm(void **state)
{
	(void)state;
	assert_int_equal(fault(0xe0000000, S2_READ, false, false), STOP);
	crashed("a page walk reached guest-physical 0xe0000000");
}

static void an_instruction_that_is_not_emulated_ends_the_vm(void **state)
{
	static const uint8_t movaps[] = {0x0f, 0x28, 0x03};

	(void)state;
	assert_int_equal(gmem_write(vm, gpa(RIP), movaps, sizeof movaps), ST_OK);
	assert_int_equal(fault(0xe0000000, S2_READ, false, true), STOP);
	crashed("(0f 28 03");
}

/* ---- the host's and the unsupported ---- */

static void wbinvd_is_a_no_op(void **state)
{
	(void)state;
	assert_int_equal(dispatch((struct exit){.kind = EXIT_WBINVD}), RESUME);
	advanced(true);
}

/* Which siblings make it give way: test_vcpus. */
static void pause_without_siblings_goes_on(void **state)
{
	(void)state;
	vm_rig_start("b", GUEST_BYTES);
	v->engine->load(v);
	assert_int_equal(dispatch((struct exit){.kind = EXIT_PAUSE}), RESUME);
	advanced(true);
}

static void absent_instructions_are_undefined(void **state)
{
	(void)state;
	assert_int_equal(dispatch((struct exit){.kind = EXIT_UNDEFINED}), RESUME);
	raised(VEC_UD);
	assert_false(v->exception.has_error);
}

static void exceptions_are_reflected(void **state)
{
	(void)state;
	assert_int_equal(dispatch((struct exit){.kind = EXIT_EXCEPTION,
						.u.exception = {.vector = VEC_PF, .has_error = true, .error = PF_W,
								.qualification = 0x1234000}}), RESUME);
	raised(VEC_PF);
	assert_int_equal(v->exception.error, PF_W);
	assert_int_equal(fake(v)->regs[REG_CR2], 0x1234000);
}

static void what_ends_a_vm_says_so(void **state)
{
	static const struct { enum exit_kind kind; const char *words; } ends[] = {
		{EXIT_UNKNOWN, "exit of unknown kind"}, {EXIT_TRIPLE_FAULT, "triple fault"},
		{EXIT_TASK_SWITCH, "task switch is not supported"}, {EXIT_DR_ACCESS, "debug register access is not supported"},
		{EXIT_INIT, "init signal is not supported"}, {EXIT_STARTUP, "start-up ipi is not supported"},
		{EXIT_ENTRY_FAILED, "fake could not enter the guest"}};

	for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
		assert_int_equal(dispatch((struct exit){.kind = ends[i].kind}), STOP);
		crashed(ends[i].words);
		assert_int_equal(vm->reason, REASON_CRASH);
		teardown(state);
		setup(state);
	}
}

static void every_kind_has_a_name(void **state)
{
	(void)state;
	for (unsigned k = 0; k < EXIT_KINDS; k++) {
		assert_non_null(exit_kind_name((enum exit_kind)k));
		assert_true(k == EXIT_UNKNOWN || strcmp(exit_kind_name((enum exit_kind)k), "unknown exit"));
	}
	assert_string_equal(exit_kind_name(EXIT_KINDS), "unknown exit");
}

/* ---- control registers ---- */

static void state_is(uint64_t cr0, uint64_t cr4, uint64_t efer, uint64_t cr3, uint16_t cs)
{
	struct fake_vcpu *f = fake(v);

	f->regs[REG_CR0] = cr0;
	f->regs[REG_CR4] = cr4;
	f->regs[REG_EFER] = efer;
	f->regs[REG_CR3] = cr3;
	f->segments[SEG_CS].access = cs;
	f->regs[REG_RIP] = RIP;
	v->exception_pending = false;
}

/* True when the write was accepted. */
static bool write_cr(unsigned cr, uint64_t value)
{
	v->gpr[GPR_RCX] = value;
	assert_int_equal(dispatch((struct exit){.kind = EXIT_CR_ACCESS,
						.u.cr = {.cr = (uint8_t)cr, .gpr = GPR_RCX, .write = true}}), RESUME);
	if (v->exception_pending)
		raised(VEC_GP);
	else
		advanced(true);
	return !v->exception_pending;
}

#define PROT CR0_PE
#define LONG (CR0_PE | CR0_PG)

static void cr0_rules(void **state)
{
	static const struct {
		uint64_t cr0, cr4, efer;
		uint16_t cs;
		uint64_t value;
		bool legal;
	} cases[] = {
		{0, 0, 0, ACCESS_CODE32, CR0_PE, true},
		{0, 0, 0, ACCESS_CODE32, CR0_PG, false},                          /* PG without PE */
		{0, 0, 0, ACCESS_CODE32, CR0_NW, false},                          /* NW without CD */
		{0, 0, 0, ACCESS_CODE32, CR0_NW | CR0_CD, true},
		{PROT, 0, EFER_LME, ACCESS_CODE32, LONG, false},                  /* long mode without PAE */
		{PROT, CR4_PAE, EFER_LME, ACCESS_CODE32, LONG, true},
		{PROT, CR4_PAE, EFER_LME, ACCESS_CODE64, LONG, false},            /* with CS.L */
		{PROT, 0, 0, ACCESS_CODE32, LONG, true},
		{LONG, CR4_PAE, EFER_LME | EFER_LMA, ACCESS_CODE64, PROT, false}, /* leaving from 64-bit code */
		{LONG, CR4_PAE, EFER_LME | EFER_LMA, ACCESS_CODE32, PROT, true},
		{LONG, CR4_PAE | CR4_PCIDE, EFER_LME | EFER_LMA, ACCESS_CODE32, PROT, false},
		{LONG, CR4_PAE, EFER_LME | EFER_LMA, ACCESS_CODE64, LONG | BIT(32), false},
		{LONG, CR4_PAE, EFER_LME | EFER_LMA, ACCESS_CODE64, LONG | CR0_WP | CR0_NE | CR0_AM, true},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		state_is(cases[i].cr0, cases[i].cr4, cases[i].efer, 0, cases[i].cs);
		if (write_cr(0, cases[i].value) != cases[i].legal)
			fail_msg("case %u", i);
		if (cases[i].legal)
			assert_int_equal(fake(v)->regs[REG_CR0], cases[i].value | CR0_ET);
		else
			assert_int_equal(fake(v)->regs[REG_CR0], cases[i].cr0);
	}
	/* Reserved bits below 32 are ignored. */
	state_is(PROT, 0, 0, 0, ACCESS_CODE32);
	assert_true(write_cr(0, PROT | BIT(7) | BIT(15)));
	assert_int_equal(fake(v)->regs[REG_CR0], PROT | CR0_ET);
}

static void cr4_rules(void **state)
{
	static const struct {
		uint64_t cr0, cr4, efer, cr3, value;
		bool legal;
	} cases[] = {
		{PROT, 0, 0, 0, CR4_PAE | CR4_PGE, true},
		{PROT, 0, 0, 0, CR4_VMXE, false},
		{PROT, 0, 0, 0, CR4_SMXE, false},
		{PROT, 0, 0, 0, CR4_LA57, false},
		{PROT, 0, 0, 0, CR4_CET, false},
		{PROT, 0, 0, 0, CR4_PKS, false},
		{PROT, 0, 0, 0, CR4_PCIDE | CR4_PAE, false},
		{LONG, CR4_PAE, EFER_LME | EFER_LMA, 0, 0, false}, /* PAE off in long mode */
		{LONG, CR4_PAE, EFER_LME | EFER_LMA, 0x1000, CR4_PAE | CR4_PCIDE, true},
		{LONG, CR4_PAE, EFER_LME | EFER_LMA, 0x1001, CR4_PAE | CR4_PCIDE, false},
		{LONG, CR4_PAE | CR4_PCIDE, EFER_LME | EFER_LMA, 0x1001, CR4_PAE | CR4_PCIDE | CR4_SMEP, true},
		{LONG, CR4_PAE, EFER_LME | EFER_LMA, 0, CR4_PAE | CR4_OSXSAVE | CR4_PKE | CR4_UMIP, true},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		state_is(cases[i].cr0, cases[i].cr4, cases[i].efer, cases[i].cr3, ACCESS_CODE64);
		if (write_cr(4, cases[i].value) != cases[i].legal)
			fail_msg("case %u", i);
		assert_int_equal(fake(v)->regs[REG_CR4], cases[i].legal ? cases[i].value : cases[i].cr4);
	}
}

static void cr3_and_cr8(void **state)
{
	(void)state;
	state_is(LONG, CR4_PAE, EFER_LME | EFER_LMA, 0, ACCESS_CODE64);
	assert_true(write_cr(3, 0x1000));
	assert_int_equal(fake(v)->regs[REG_CR3], 0x1000);
	state_is(LONG, CR4_PAE, EFER_LME | EFER_LMA, 0, ACCESS_CODE64);
	assert_false(write_cr(3, BIT(40)));
	state_is(LONG, CR4_PAE, EFER_LME | EFER_LMA, 0, ACCESS_CODE64);
	assert_false(write_cr(3, CR3_NO_FLUSH));
	state_is(LONG, CR4_PAE | CR4_PCIDE, EFER_LME | EFER_LMA, 0, ACCESS_CODE64);
	assert_true(write_cr(3, CR3_NO_FLUSH | 0x2005));
	assert_int_equal(fake(v)->regs[REG_CR3], 0x2005);
	state_is(LONG, CR4_PAE, EFER_LME | EFER_LMA, 0, ACCESS_CODE64);
	assert_true(write_cr(8, 7));
	assert_int_equal(vlapic_get_cr8(&v->lapic), 7);
	state_is(LONG, CR4_PAE, EFER_LME | EFER_LMA, 0, ACCESS_CODE64);
	assert_false(write_cr(8, 16));
}

static void code_of_32_bits_writes_32_bits(void **state)
{
	(void)state;
	state_is(PROT, 0, 0, 0, ACCESS_CODE32);
	assert_true(write_cr(0, 0xffffffff00000000 | PROT | CR0_WP));
	assert_int_equal(fake(v)->regs[REG_CR0], PROT | CR0_WP | CR0_ET);
}

static void reading_control_registers(void **state)
{
	static const struct { uint8_t cr; enum engine_reg reg; } regs[] = {{0, REG_CR0}, {3, REG_CR3}, {4, REG_CR4}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		state_is(1, 2, 0, 3, ACCESS_CODE32);
		dispatch((struct exit){.kind = EXIT_CR_ACCESS, .u.cr = {.cr = regs[i].cr, .gpr = GPR_RSP}});
		assert_int_equal(fake(v)->regs[REG_RSP], fake(v)->regs[regs[i].reg]);
		advanced(true);
	}
	vlapic_set_cr8(&v->lapic, 5);
	dispatch((struct exit){.kind = EXIT_CR_ACCESS, .u.cr = {.cr = 8, .gpr = GPR_R15}});
	assert_int_equal(v->gpr[GPR_R15], 5);
	state_is(1, 2, 0, 3, ACCESS_CODE32);
	dispatch((struct exit){.kind = EXIT_CR_ACCESS, .u.cr = {.cr = 2, .gpr = GPR_RAX}});
	raised(VEC_UD);
}

static void clts_and_lmsw(void **state)
{
	(void)state;
	state_is(PROT | CR0_TS, 0, 0, 0, ACCESS_CODE32);
	dispatch((struct exit){.kind = EXIT_CR_ACCESS, .u.cr = {.clts = true}});
	assert_int_equal(fake(v)->regs[REG_CR0], PROT | CR0_ET);
	advanced(true);
	state_is(PROT, 0, 0, 0, ACCESS_CODE32);
	dispatch((struct exit){.kind = EXIT_CR_ACCESS, .u.cr = {.lmsw = true, .lmsw_value = 0xfff0 | CR0_TS | CR0_MP}});
	assert_int_equal(fake(v)->regs[REG_CR0], PROT | CR0_TS | CR0_MP | CR0_ET); /* PE stays */
	state_is(0, 0, 0, 0, ACCESS_CODE32);
	dispatch((struct exit){.kind = EXIT_CR_ACCESS, .u.cr = {.lmsw = true, .lmsw_value = CR0_PE}});
	assert_int_equal(fake(v)->regs[REG_CR0], CR0_PE | CR0_ET);
}

/* ---- XSETBV ---- */

static bool xsetbv(uint32_t ecx, uint64_t value)
{
	fake(v)->regs[REG_RIP] = RIP;
	v->exception_pending = false;
	v->gpr[GPR_RCX] = 0xdead00000000 | ecx;
	v->gpr[GPR_RAX] = (uint32_t)value;
	v->gpr[GPR_RDX] = value >> 32;
	assert_int_equal(dispatch((struct exit){.kind = EXIT_XSETBV}), RESUME);
	if (!v->exception_pending)
		assert_true(fake(v)->regs[REG_XCR0] == value);
	return !v->exception_pending;
}

static void xcr0_rules(void **state)
{
	uint64_t base = XCR0_X87 | XCR0_SSE;

	(void)state;
	assert_true(xsetbv(0, XCR0_X87));
	assert_true(xsetbv(0, base));
	assert_true(xsetbv(0, base | XCR0_AVX));
	assert_true(xsetbv(0, base | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU));
	assert_false(xsetbv(1, base));
	assert_false(xsetbv(0, XCR0_SSE));
	assert_false(xsetbv(0, XCR0_X87 | XCR0_AVX));
	assert_false(xsetbv(0, base | XCR0_AVX512));
	assert_false(xsetbv(0, base | XCR0_AVX | XCR0_OPMASK));
	assert_false(xsetbv(0, base | XCR0_BNDREG | XCR0_BNDCSR));
	assert_false(xsetbv(0, base | XCR0_TILECFG | XCR0_TILEDATA));
	assert_false(xsetbv(0, base | BIT(63)));
	vm->cpuid->xcr0_allowed = base;
	assert_false(xsetbv(0, base | XCR0_AVX));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(cpuid),
		T(rdmsr_and_wrmsr),
		T(apic_writes_by_exits),
		T(an_msr_that_does_not_exist),
		T(an_unknown_hypercall),
		T(in_merges_by_size),
		T(out_takes_the_low_part),
		T(an_absent_port_reads_all_ones),
		T(a_first_touch_is_populated),
		T(a_hole_reads_all_ones),
		T(a_fetch_from_a_hole_ends_the_vm),
		T(event_delivery_into_a_hole_ends_the_vm),
		T(page_tables_in_a_hole_end_the_vm),
		T(an_instruction_that_is_not_emulated_ends_the_vm),
		T(wbinvd_is_a_no_op),
		T(pause_without_siblings_goes_on),
		T(absent_instructions_are_undefined),
		T(exceptions_are_reflected),
		T(what_ends_a_vm_says_so),
		T(every_kind_has_a_name),
		T(cr0_rules),
		T(cr4_rules),
		T(cr3_and_cr8),
		T(code_of_32_bits_writes_32_bits),
		T(reading_control_registers),
		T(clts_and_lmsw),
		T(xcr0_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
