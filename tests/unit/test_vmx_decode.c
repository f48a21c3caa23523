/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every exit reason to its kind, and the fields of those that carry some.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "lib/x86_regs.h"
#include "memmgr/stage2.h"
#include "vmx/decode.h"

static struct exit decode(const struct exit_raw *raw)
{
	struct exit out;

	memset(&out, 0xee, sizeof out);
	exit_decode(raw, &out);
	assert_int_equal(out.rip, raw->rip);
	return out;
}

#define DECODE(...) decode(&(struct exit_raw){__VA_ARGS__})

/* Reasons whose kind needs nothing but the instruction's length. */
static const struct {
	uint32_t reason;
	enum exit_kind kind;
} plain[] = {
	{VMEXIT_CPUID, EXIT_CPUID},       {VMEXIT_HLT, EXIT_HLT},           {VMEXIT_RDMSR, EXIT_RDMSR},
	{VMEXIT_WRMSR, EXIT_WRMSR},       {VMEXIT_VMCALL, EXIT_HYPERCALL},  {VMEXIT_XSETBV, EXIT_XSETBV},
	{VMEXIT_WBINVD, EXIT_WBINVD},     {VMEXIT_INVD, EXIT_WBINVD},       {VMEXIT_PAUSE, EXIT_PAUSE},
	{VMEXIT_VMXON, EXIT_UNDEFINED},   {VMEXIT_VMXOFF, EXIT_UNDEFINED},  {VMEXIT_VMLAUNCH, EXIT_UNDEFINED},
	{VMEXIT_VMREAD, EXIT_UNDEFINED},  {VMEXIT_VMWRITE, EXIT_UNDEFINED}, {VMEXIT_VMCLEAR, EXIT_UNDEFINED},
	{VMEXIT_INVEPT, EXIT_UNDEFINED},  {VMEXIT_INVVPID, EXIT_UNDEFINED}, {VMEXIT_GETSEC, EXIT_UNDEFINED},
	{VMEXIT_MWAIT, EXIT_UNDEFINED},   {VMEXIT_MONITOR, EXIT_UNDEFINED}, {VMEXIT_RDPMC, EXIT_UNDEFINED},
	{VMEXIT_VMFUNC, EXIT_UNDEFINED},  {VMEXIT_ENCLS, EXIT_UNDEFINED},
};

static void instructions(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++) {
		struct exit e = DECODE(.reason = plain[i].reason, .length = 3, .rip = 0x1000);

		assert_int_equal(e.kind, plain[i].kind);
		assert_int_equal(e.length, 3);
		assert_int_equal(decode_rows[plain[i].reason].needs, NEED_LENGTH);
	}
}

static void msr_index_is_ecx(void **state)
{
	(void)state;
	assert_int_equal(DECODE(.reason = VMEXIT_RDMSR, .rcx = 0x1ffffffffull).u.msr.index, 0xffffffff);
	/* A trap-like x2APIC write: the WRMSR is done, its registers are intact. */
	struct exit e = DECODE(.reason = VMEXIT_APIC_WRITE, .qualification = 0x3f0, .rcx = MSR_X2APIC_SELF_IPI);
	assert_int_equal(e.kind, EXIT_WRMSR);
	assert_int_equal(e.length, 0);
	assert_int_equal(e.u.msr.index, MSR_X2APIC_SELF_IPI);
}

static void io(void **state)
{
	struct exit e = DECODE(.reason = VMEXIT_IO, .length = 1, .qualification = 0x3f8ull << 16 | QUAL_IO_IN);

	(void)state;
	assert_int_equal(e.kind, EXIT_IO);
	assert_int_equal(e.u.io.port, 0x3f8);
	assert_int_equal(e.u.io.size, 1);
	assert_true(e.u.io.in && !e.u.io.string && !e.u.io.rep);
	e = DECODE(.reason = VMEXIT_IO, .length = 2, .linear = 0xffff888000001000, .instruction_info = 2 << 7,
		   .qualification = 0xffffull << 16 | QUAL_IO_STRING | QUAL_IO_REP | 3);
	assert_int_equal(e.u.io.port, 0xffff);
	assert_int_equal(e.u.io.size, 4);
	assert_true(!e.u.io.in && e.u.io.string && e.u.io.rep);
	assert_int_equal(e.u.io.linear, 0xffff888000001000);
	assert_int_equal(e.u.io.address_size, 8);
	assert_int_equal(DECODE(.reason = VMEXIT_IO, .qualification = QUAL_IO_STRING).u.io.address_size, 2);
	assert_int_equal(DECODE(.reason = VMEXIT_IO, .qualification = QUAL_IO_STRING, .instruction_info = 1 << 7)
				 .u.io.address_size, 4);
}

static void faults(void **state)
{
	struct exit e = DECODE(.reason = VMEXIT_EPT_VIOLATION, .qualification = 0x181, .gpa = 0xfee00000,
			       .linear = 0x1234, .length = 0);

	(void)state;
	assert_int_equal(e.kind, EXIT_FAULT);
	assert_int_equal(e.length, 0);
	assert_int_equal(e.u.fault.gpa.v, 0xfee00000);
	assert_int_equal(e.u.fault.access, S2_READ);
	assert_true(e.u.fault.linear_valid && !e.u.fault.during_delivery);
	assert_int_equal(e.u.fault.linear, 0x1234);
	e = DECODE(.reason = VMEXIT_EPT_VIOLATION, .qualification = 0x6, .linear = 0x1234,
		   .idt_info = INTR_VALID | 0x30e);
	assert_int_equal(e.u.fault.access, S2_WRITE | S2_EXEC);
	assert_true(!e.u.fault.linear_valid && e.u.fault.during_delivery);
	assert_int_equal(e.u.fault.linear, 0);
	assert_false(decode_rows[VMEXIT_EPT_VIOLATION].needs & NEED_LENGTH);
	assert_true(decode_rows[VMEXIT_EPT_VIOLATION].needs & NEED_VECTORING);
}

static void exceptions_and_nmi(void **state)
{
	struct exit e = DECODE(.reason = VMEXIT_EXCEPTION_NMI, .intr_info = INTR_VALID | INTR_NMI | VEC_NMI);

	(void)state;
	assert_int_equal(e.kind, EXIT_NMI);
	e = DECODE(.reason = VMEXIT_EXCEPTION_NMI,
		   .intr_info = INTR_VALID | INTR_HARD_EXCEPTION | INTR_ERROR_CODE | VEC_AC, .intr_error = 0,
		   .qualification = 7);
	assert_int_equal(e.kind, EXIT_EXCEPTION);
	assert_int_equal(e.u.exception.vector, VEC_AC);
	assert_true(e.u.exception.has_error);
	e = DECODE(.reason = VMEXIT_EXCEPTION_NMI, .intr_info = INTR_VALID | INTR_HARD_EXCEPTION | VEC_DB,
		   .intr_error = 5, .qualification = DR6_BS);
	assert_int_equal(e.u.exception.vector, VEC_DB);
	assert_false(e.u.exception.has_error);
	assert_int_equal(e.u.exception.error, 0);
	assert_int_equal(e.u.exception.qualification, DR6_BS);
}

static void host_events(void **state)
{
	(void)state;
	assert_int_equal(DECODE(.reason = VMEXIT_EXTERNAL_INTERRUPT, .intr_info = INTR_VALID | 0xec).u.irq.vector,
			 0xec);
	assert_int_equal(DECODE(.reason = VMEXIT_PREEMPTION_TIMER).kind, EXIT_TIMER);
	assert_int_equal(DECODE(.reason = VMEXIT_INTERRUPT_WINDOW).kind, EXIT_IRQ_WINDOW);
	assert_int_equal(DECODE(.reason = VMEXIT_NMI_WINDOW).kind, EXIT_NMI_WINDOW);
	assert_int_equal(DECODE(.reason = VMEXIT_TRIPLE_FAULT).kind, EXIT_TRIPLE_FAULT);
	assert_int_equal(DECODE(.reason = VMEXIT_INIT).kind, EXIT_INIT);
	assert_int_equal(DECODE(.reason = VMEXIT_SIPI, .qualification = 0x9f).u.startup.vector, 0x9f);
	assert_int_equal(DECODE(.reason = VMEXIT_VIRTUAL_EOI, .qualification = 0x31).u.eoi.vector, 0x31);
	assert_int_equal(DECODE(.reason = VMEXIT_TPR_BELOW).kind, EXIT_TPR_BELOW);
	assert_int_equal(DECODE(.reason = VMEXIT_TASK_SWITCH).kind, EXIT_TASK_SWITCH);
}

static void control_and_debug_registers(void **state)
{
	struct exit e = DECODE(.reason = VMEXIT_CR_ACCESS, .length = 3, .qualification = 4 | 11 << 8);

	(void)state;
	assert_int_equal(e.kind, EXIT_CR_ACCESS);
	assert_true(e.u.cr.cr == 4 && e.u.cr.gpr == 11 && e.u.cr.write && !e.u.cr.clts && !e.u.cr.lmsw);
	e = DECODE(.reason = VMEXIT_CR_ACCESS, .qualification = 8 | 1 << 4);
	assert_true(e.u.cr.cr == 8 && !e.u.cr.write);
	e = DECODE(.reason = VMEXIT_CR_ACCESS, .qualification = 2 << 4);
	assert_true(e.u.cr.clts && !e.u.cr.write);
	e = DECODE(.reason = VMEXIT_CR_ACCESS, .qualification = 3 << 4 | 0xfff1ull << 16);
	assert_true(e.u.cr.lmsw && e.u.cr.lmsw_value == 0xfff1);
	e = DECODE(.reason = VMEXIT_MOV_DR, .qualification = 7 | 2 << 8);
	assert_true(e.kind == EXIT_DR_ACCESS && e.u.dr.dr == 7 && e.u.dr.gpr == 2 && e.u.dr.write);
	assert_false(DECODE(.reason = VMEXIT_MOV_DR, .qualification = 6 | QUAL_DR_FROM).u.dr.write);
}

static void entry_failures(void **state)
{
	struct exit e = DECODE(.reason = VMEXIT_ENTRY_FAILURE | VMEXIT_ENTRY_GUEST_STATE, .qualification = 4);

	(void)state;
	assert_int_equal(e.kind, EXIT_ENTRY_FAILED);
	assert_int_equal(e.u.raw.hw_reason, VMEXIT_ENTRY_GUEST_STATE);
	assert_int_equal(e.u.raw.qualification, 4);
}

static void the_unknown_stays_unknown(void **state)
{
	struct exit e = DECODE(.reason = VMEXIT_EPT_MISCONFIG, .gpa = 0x5000, .qualification = 9);

	(void)state;
	assert_int_equal(e.kind, EXIT_UNKNOWN);
	assert_int_equal(e.u.raw.qualification, 0x5000);
	for (uint32_t reason = 0; reason < 0x200; reason++) {
		struct decode_row row = decode_row_of(reason);

		assert_true(row.kind < EXIT_KINDS);
		if (reason >= VMEXIT_COUNT)
			assert_int_equal(row.kind, EXIT_UNKNOWN);
	}
	e = DECODE(.reason = 0x1ff, .qualification = 7);
	assert_int_equal(e.kind, EXIT_UNKNOWN);
	assert_int_equal(e.u.raw.raw, 0x1ff);
	assert_int_equal(e.u.raw.qualification, 7);
	/* No control of ours can cause these; they must not advance anything. */
	assert_int_equal(decode_row_of(VMEXIT_MONITOR_TRAP).kind, EXIT_UNKNOWN);
	assert_int_equal(decode_row_of(VMEXIT_RDTSC).kind, EXIT_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(instructions),
		cmocka_unit_test(msr_index_is_ecx),
		cmocka_unit_test(io),
		cmocka_unit_test(faults),
		cmocka_unit_test(exceptions_and_nmi),
		cmocka_unit_test(host_events),
		cmocka_unit_test(control_and_debug_registers),
		cmocka_unit_test(entry_failures),
		cmocka_unit_test(the_unknown_stays_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
