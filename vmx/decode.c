/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The meaning of each VM exit (SDM volume 3, sections 27.2.1 to 27.2.5 and
 * appendix C). An instruction that the guest's machine does not have becomes
 * EXIT_UNDEFINED; a reason that no control of ours can cause stays EXIT_UNKNOWN,
 * which stops the VM. The instruction length of an EPT violation is undefined
 * and never read.
 */
#include "vmx/decode.h"

#include "lib/x86_regs.h"

#define PLAIN(kind) {(kind), NEED_LENGTH}

const struct decode_row decode_rows[DECODE_ROWS] = {
	[VMEXIT_EXCEPTION_NMI] = {EXIT_EXCEPTION, NEED_INTERRUPTION | NEED_QUALIFICATION | NEED_VECTORING},
	[VMEXIT_EXTERNAL_INTERRUPT] = {EXIT_IRQ, NEED_INTERRUPTION},
	[VMEXIT_TRIPLE_FAULT] = {EXIT_TRIPLE_FAULT, 0},
	[VMEXIT_INIT] = {EXIT_INIT, 0},
	[VMEXIT_SIPI] = {EXIT_STARTUP, NEED_QUALIFICATION},
	[VMEXIT_INTERRUPT_WINDOW] = {EXIT_IRQ_WINDOW, 0},
	[VMEXIT_NMI_WINDOW] = {EXIT_NMI_WINDOW, 0},
	[VMEXIT_TASK_SWITCH] = {EXIT_TASK_SWITCH, NEED_LENGTH | NEED_QUALIFICATION | NEED_VECTORING},
	[VMEXIT_CPUID] = PLAIN(EXIT_CPUID),
	[VMEXIT_GETSEC] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_HLT] = PLAIN(EXIT_HLT),
	[VMEXIT_INVD] = PLAIN(EXIT_WBINVD),
	[VMEXIT_RDPMC] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_RSM] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_VMCALL] = PLAIN(EXIT_HYPERCALL),
	[VMEXIT_VMCLEAR] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_VMLAUNCH] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_VMPTRLD] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_VMPTRST] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_VMREAD] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_VMRESUME] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_VMWRITE] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_VMXOFF] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_VMXON] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_CR_ACCESS] = {EXIT_CR_ACCESS, NEED_LENGTH | NEED_QUALIFICATION},
	[VMEXIT_MOV_DR] = {EXIT_DR_ACCESS, NEED_LENGTH | NEED_QUALIFICATION},
	[VMEXIT_IO] = {EXIT_IO, NEED_LENGTH | NEED_QUALIFICATION | NEED_STRING},
	[VMEXIT_RDMSR] = PLAIN(EXIT_RDMSR),
	[VMEXIT_WRMSR] = PLAIN(EXIT_WRMSR),
	[VMEXIT_ENTRY_GUEST_STATE] = {EXIT_ENTRY_FAILED, NEED_QUALIFICATION},
	[VMEXIT_ENTRY_MSR_LOAD] = {EXIT_ENTRY_FAILED, NEED_QUALIFICATION},
	[VMEXIT_ENTRY_MACHINE_CHECK] = {EXIT_ENTRY_FAILED, NEED_QUALIFICATION},
	[VMEXIT_MWAIT] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_MONITOR] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_PAUSE] = PLAIN(EXIT_PAUSE),
	[VMEXIT_TPR_BELOW] = {EXIT_TPR_BELOW, 0},
	[VMEXIT_VIRTUAL_EOI] = {EXIT_EOI, NEED_QUALIFICATION},
	[VMEXIT_EPT_VIOLATION] = {EXIT_FAULT, NEED_QUALIFICATION | NEED_ADDRESS | NEED_VECTORING},
	[VMEXIT_EPT_MISCONFIG] = {EXIT_UNKNOWN, NEED_ADDRESS},
	[VMEXIT_INVEPT] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_INVVPID] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_VMFUNC] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_PREEMPTION_TIMER] = {EXIT_TIMER, 0},
	[VMEXIT_WBINVD] = PLAIN(EXIT_WBINVD),
	[VMEXIT_XSETBV] = PLAIN(EXIT_XSETBV),
	[VMEXIT_APIC_WRITE] = {EXIT_WRMSR, NEED_QUALIFICATION},
	[VMEXIT_ENCLS] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_ENCLV] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_XSAVES] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_XRSTORS] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_PCONFIG] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_UMWAIT] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_TPAUSE] = PLAIN(EXIT_UNDEFINED),
	[VMEXIT_LOADIWKEY] = PLAIN(EXIT_UNDEFINED),
};

struct decode_row decode_row_of(uint32_t reason)
{
	uint32_t basic = reason & VMEXIT_BASIC_MASK;

	if (basic >= VMEXIT_COUNT)
		return (struct decode_row){EXIT_UNKNOWN, NEED_QUALIFICATION};
	if (decode_rows[basic].kind == EXIT_UNKNOWN)
		return (struct decode_row){EXIT_UNKNOWN, decode_rows[basic].needs | NEED_QUALIFICATION};
	return decode_rows[basic];
}

static void decode_exception(const struct exit_raw *raw, struct exit *out)
{
	bool has_error = raw->intr_info & INTR_ERROR_CODE;

	if ((raw->intr_info & INTR_TYPE_MASK) == INTR_NMI) {
		out->kind = EXIT_NMI;
		return;
	}
	out->u.exception.vector = (uint8_t)(raw->intr_info & INTR_VECTOR_MASK);
	out->u.exception.has_error = has_error;
	out->u.exception.error = has_error ? raw->intr_error : 0;
	out->u.exception.qualification = raw->qualification;
}

static void decode_string(const struct exit_raw *raw, struct exit *out)
{
	out->u.io.string = true;
	out->u.io.rep = raw->qualification & QUAL_IO_REP;
	out->u.io.linear = raw->linear;
	out->u.io.address_size = (uint8_t)INFO_ADDRESS_SIZE(raw->instruction_info);
}

static void decode_cr(const struct exit_raw *raw, struct exit *out)
{
	uint64_t q = raw->qualification, type = QUAL_CR_TYPE(q);

	out->u.cr.cr = QUAL_CR_NUMBER(q);
	out->u.cr.gpr = QUAL_CR_GPR(q);
	out->u.cr.write = type == CR_TYPE_TO_CR;
	out->u.cr.clts = type == CR_TYPE_CLTS;
	out->u.cr.lmsw = type == CR_TYPE_LMSW;
	out->u.cr.lmsw_value = out->u.cr.lmsw ? QUAL_CR_LMSW_DATA(q) : 0;
}

static void decode_unknown(const struct exit_raw *raw, struct exit *out)
{
	out->u.raw.raw = raw->reason;
	out->u.raw.hw_reason = raw->reason & VMEXIT_BASIC_MASK;
	/* For an EPT misconfiguration the address tells more than the qualification, which is undefined. */
	out->u.raw.qualification = out->u.raw.hw_reason == VMEXIT_EPT_MISCONFIG ? raw->gpa : raw->qualification;
}

/* The union for the kind in @out. */
static void decode_details(const struct exit_raw *raw, struct exit *out)
{
	uint64_t q = raw->qualification;

	switch (out->kind) {
	case EXIT_RDMSR:
	case EXIT_WRMSR:
		out->u.msr.index = (uint32_t)raw->rcx;
		return;
	case EXIT_IO:
		decode_io(out, q);
		if (q & QUAL_IO_STRING)
			decode_string(raw, out);
		return;
	case EXIT_FAULT:
		decode_fault(out, q, raw->gpa, raw->linear);
		out->u.fault.during_delivery = raw->idt_info & INTR_VALID;
		return;
	case EXIT_EXCEPTION:
		decode_exception(raw, out);
		return;
	case EXIT_IRQ:
		out->u.irq.vector = (uint8_t)(raw->intr_info & INTR_VECTOR_MASK);
		return;
	case EXIT_EOI:
		out->u.eoi.vector = (uint8_t)q;
		return;
	case EXIT_STARTUP:
		out->u.startup.vector = (uint8_t)q;
		return;
	case EXIT_CR_ACCESS:
		decode_cr(raw, out);
		return;
	case EXIT_DR_ACCESS:
		out->u.dr.dr = QUAL_DR_NUMBER(q);
		out->u.dr.gpr = QUAL_DR_GPR(q);
		out->u.dr.write = !(q & QUAL_DR_FROM);
		return;
	case EXIT_UNKNOWN:
	case EXIT_ENTRY_FAILED:
		decode_unknown(raw, out);
		return;
	default:
		return;
	}
}

void exit_decode(const struct exit_raw *raw, struct exit *out)
{
	struct decode_row row = decode_row_of(raw->reason);

	*out = (struct exit){
		.kind = raw->reason & VMEXIT_ENTRY_FAILURE ? EXIT_ENTRY_FAILED : (enum exit_kind)row.kind,
		.length = raw->length,
		.rip = raw->rip,
	};
	/*
	 * A virtualised x2APIC write that the processor hands over (29.5) is trap-like: rip is past the WRMSR
	 * already and ECX, EDX:EAX are intact, so it is a WRMSR of length 0.
	 */
	decode_details(raw, out);
}
