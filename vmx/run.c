/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Into the guest and back: the one exit path. entry.S is its loop: it bounds an
 * entry by the preemption timer and enters, or asks vmx_enter_long() first when
 * there is work; an exit comes to vmx_exited(), where all of its VMCS reads are,
 * and from there by a tail call to the handlers. Both short ways are a few dozen
 * instructions and touch three fields; whatever is rare hangs on hw->work or on
 * the needs of the exit reason.
 */
#include "lib/x86_asm.h"
#include "vmx/asm.h"
#include "vmx/decode.h"
#include "vmx/internal.h"
#include "vmx/vmx_asm.h"

_Static_assert(offsetof(struct vmx_vcpu, vcpu) == HW_VCPU, "entry.S");
_Static_assert(offsetof(struct vmx_vcpu, host_rsp) == HW_HOST_RSP, "entry.S");
_Static_assert(offsetof(struct vmx_vcpu, guard) == HW_GUARD && MSR_SPEC_CTRL == MSR_IA32_SPEC_CTRL, "entry.S");
_Static_assert(offsetof(struct vmx_vcpu, timer_shift) == HW_TIMER_SHIFT, "entry.S");
_Static_assert(offsetof(struct vmx_vcpu, spec_ctrl.value) == HW_SPEC_CTRL, "entry.S");
_Static_assert(offsetof(struct vmx_vcpu, short_limit) == HW_SHORT_LIMIT, "entry.S");
_Static_assert(offsetof(struct vcpu, requests) == VCPU_REQUESTS && offsetof(struct vcpu, hw) == VCPU_HW, "entry.S");
_Static_assert(offsetof(struct vcpu, deadline) == VCPU_DEADLINE && offsetof(struct vcpu, entered) == VCPU_ENTERED,
	       "entry.S");
_Static_assert(VMCS_PREEMPTION_TIMER == FIELD_PREEMPTION_TIMER && RESUME == 0, "entry.S");
_Static_assert(offsetof(struct vcpu, gpr) == 0 && GPR(GPR_RDI) == 56 && GPR(GPR_R15) == 120, "entry.S");
_Static_assert(VMCS_HOST_RSP == FIELD_HOST_RSP, "entry.S");

/* ---- entry ---- */

/*
 * Time until @deadline as the preemption timer counts it, which exits at once for 0 and reaches no
 * further than its 32 bits.
 */
static uint64_t timer_value(const struct vmx_vcpu *hw, uint64_t deadline)
{
	uint64_t now = rdtsc();
	uint64_t left = deadline > now ? deadline - now : 0;

	return MIN(left, hw->timer_limit) >> hw->timer_shift;
}

static void bound_entry(struct vmx_vcpu *hw, uint64_t deadline)
{
	if (hw->work & WORK_ARM_TIMER)
		vmx.host->arm_timer(deadline);
	else
		vmwrite(VMCS_PREEMPTION_TIMER, timer_value(hw, deadline));
}

static void flush(struct vmx_vcpu *hw)
{
	if (hw->work & WORK_FLUSH_EPT)
		ept_sync(&hw->vmx_vm->stage2, (unsigned)hw->cpu);
	if (!(hw->work & WORK_FLUSH_VPID))
		return;
	if (!invvpid(INVVPID_SINGLE, hw->vpid, 0))
		panic("INVVPID of %u failed", hw->vpid);
	CHECK_NOTE(check_invvpid(&hw->check, hw->cpu));
}

/* From entry.S. The long way in; each bit of work is rare, or the price of a missing feature. ENTER_* bits. */
unsigned vmx_enter_long(struct vcpu *vcpu)
{
	const uint32_t once = WORK_LAUNCH | WORK_FLUSH_EPT | WORK_FLUSH_VPID;
	struct vmx_vcpu *hw = hw_of(vcpu);
	bool launch = hw->work & WORK_LAUNCH;

	/* The guest's CPUID is built after its VMCS. */
	if (launch)
		vmcs_writen(VMCS_CR4_MASK, ~guest_owned_cr4(vcpu->vm));
	flush(hw);
	if (hw->work & WORK_RVI)
		event_hold_virtual_interrupt(hw);
	if (hw->work & WORK_TPR)
		event_watch_tpr(hw);
	bound_entry(hw, vcpu->deadline);
	drop_work(hw, once);
	if (hw->work & WORK_GUARD)
		guard_before_entry(hw);
	if (CHECKING)
		audit_entry(hw, launch);
	return (launch ? ENTER_LAUNCH : 0) | (hw->work & WORK_GUARD ? ENTER_GUARDED : 0);
}

enum disposition vmx_run(struct vcpu *vcpu, enum disposition (*exited)(struct vcpu *vcpu))
{
	struct vmx_vcpu *hw = hw_of(vcpu);

	hw->exited = exited;
	/* After a request to flush, which may be any of those that brought us here. */
	if (unlikely(ept_stale(&hw->vmx_vm->stage2, (unsigned)hw->cpu)))
		add_work(hw, WORK_FLUSH_EPT);
	return vmx_loop(vcpu, hw);
}

/* ---- exit ---- */

static void read_raw(struct exit_raw *raw, unsigned needs)
{
	if (needs & NEED_LENGTH)
		raw->length = vmcs_read32(VMCS_EXIT_INSTRUCTION_LENGTH);
	if (needs & NEED_QUALIFICATION)
		raw->qualification = vmcs_readn(VMCS_EXIT_QUALIFICATION);
	if (needs & NEED_INTERRUPTION) {
		raw->intr_info = vmcs_read32(VMCS_EXIT_INTR_INFO);
		if (raw->intr_info & INTR_ERROR_CODE)
			raw->intr_error = vmcs_read32(VMCS_EXIT_INTR_ERROR);
	}
	if (needs & NEED_ADDRESS) {
		raw->gpa = vmcs_read64(VMCS_GUEST_PHYSICAL_ADDRESS);
		raw->linear = vmcs_readn(VMCS_GUEST_LINEAR_ADDRESS);
	}
	if (needs & NEED_VECTORING) {
		raw->idt_info = vmcs_read32(VMCS_IDT_VECTORING_INFO);
		if (raw->idt_info & INTR_VALID)
			raw->idt_error = vmcs_read32(VMCS_IDT_VECTORING_ERROR);
	}
	if ((needs & NEED_STRING) && (raw->qualification & QUAL_IO_STRING)) {
		raw->linear = vmcs_readn(VMCS_GUEST_LINEAR_ADDRESS);
		raw->instruction_info = vmcs_read32(VMCS_EXIT_INSTRUCTION_INFO);
	}
}

static void note_exception(const struct exit *exit)
{
	if (exit->u.exception.vector == VEC_MC)
		__asm__ volatile("int $18"); /* the host's machine check: its handler reports and stops */
	if (exit->u.exception.vector == VEC_DB)
		debugreg_note_exception(exit->u.exception.qualification);
}

/* An IRET whose completion this exit undid had unblocked NMIs (27.2.3). */
static bool nmi_unblocking_undone(const struct exit_raw *raw, const struct exit *exit)
{
	if (raw->idt_info & INTR_VALID)
		return false;
	if (exit->kind == EXIT_FAULT)
		return raw->qualification & QUAL_EPT_NMI_UNBLOCKING;
	return exit->kind == EXIT_EXCEPTION && exit->u.exception.vector != VEC_DF &&
	       (raw->intr_info & INTR_NMI_UNBLOCKING);
}

RARE static void exited_with_details(struct vcpu *vcpu, uint64_t reason)
{
	struct exit_raw raw = {
		.reason = (uint32_t)reason,
		.rip = vmcs_readn(VMCS_GUEST_RIP),
		.rcx = vcpu->gpr[GPR_RCX],
	};

	read_raw(&raw, decode_row_of(raw.reason).needs);
	exit_decode(&raw, &vcpu->exit);
	if (nmi_unblocking_undone(&raw, &vcpu->exit))
		event_block_nmi(hw_of(vcpu));
	if (vcpu->exit.kind == EXIT_IRQ)
		event_take_back(hw_of(vcpu));
	if (vcpu->exit.kind == EXIT_EXCEPTION)
		note_exception(&vcpu->exit);
	/* An exception that cut a delivery short takes its place; anything else lets it happen again. */
	else if ((raw.idt_info & INTR_VALID) && vcpu->exit.kind != EXIT_TASK_SWITCH &&
		 !event_take_back_cut_short(hw_of(vcpu), raw.idt_info))
		event_restage(raw.idt_info, raw.idt_error);
}

/*
 * Length and address of the instruction, straight to memory. VMREAD stores 64 bits: the length's upper
 * half falls into rip, which is written right after.
 */
static inline void read_instruction(struct vcpu *vcpu)
{
	_Static_assert(offsetof(struct exit, length) + sizeof vcpu->exit.length == offsetof(struct exit, rip),
		       "adjacent");
#ifdef CORBEL_DEBUG
	vcpu->exit.length = vmcs_read32(VMCS_EXIT_INSTRUCTION_LENGTH);
	vcpu->exit.rip = vmcs_readn(VMCS_GUEST_RIP);
#else
	__asm__ volatile("vmread %2, %0\n\tvmread %3, %1"
			 : "=m"(vcpu->exit.length), "=m"(vcpu->exit.rip)
			 : "r"((uint64_t)VMCS_EXIT_INSTRUCTION_LENGTH), "r"((uint64_t)VMCS_GUEST_RIP)
			 : "cc");
#endif
}

/* IN and OUT. */
static bool exited_by_io(struct vcpu *vcpu)
{
	uint64_t qualification = vmcs_readn(VMCS_EXIT_QUALIFICATION);

	if (qualification & QUAL_IO_STRING)
		return false;
	vcpu->exit.kind = EXIT_IO;
	read_instruction(vcpu);
	decode_io(&vcpu->exit, qualification);
	return true;
}

/* A touch of memory that is not mapped, or of a device. */
static bool exited_by_fault(struct vcpu *vcpu)
{
	uint64_t qualification = vmcs_readn(VMCS_EXIT_QUALIFICATION);

	if ((vmcs_read32(VMCS_IDT_VECTORING_INFO) & INTR_VALID) || (qualification & QUAL_EPT_NMI_UNBLOCKING))
		return false;
	vcpu->exit.kind = EXIT_FAULT;
	vcpu->exit.length = 0;
	vcpu->exit.rip = vmcs_readn(VMCS_GUEST_RIP);
	decode_fault(&vcpu->exit, qualification, vmcs_read64(VMCS_GUEST_PHYSICAL_ADDRESS),
		     vmcs_readn(VMCS_GUEST_LINEAR_ADDRESS));
	return true;
}

/* An interrupt window, the end of an entry's time: nothing to know but where. */
static bool exited_between(struct vcpu *vcpu, enum exit_kind kind)
{
	vcpu->exit.kind = kind;
	vcpu->exit.length = 0;
	vcpu->exit.rip = vmcs_readn(VMCS_GUEST_RIP);
	return true;
}

__attribute__((noinline)) static enum disposition exited_by_timer(struct vcpu *vcpu)
{
	(void)exited_between(vcpu, EXIT_TIMER);
	event_take_back(hw_of(vcpu));
	return hw_of(vcpu)->exited(vcpu);
}

/* What the shortest way does not know. */
__attribute__((noinline)) static enum disposition exited_otherwise(struct vcpu *vcpu, uint64_t reason)
{
	if (!(reason == VMEXIT_INTERRUPT_WINDOW && exited_between(vcpu, EXIT_IRQ_WINDOW)) &&
	    !(reason == VMEXIT_EPT_VIOLATION && exited_by_fault(vcpu)) &&
	    !(reason == VMEXIT_IO && exited_by_io(vcpu))) {
		if (reason == VMEXIT_PREEMPTION_TIMER)
			return exited_by_timer(vcpu);
		exited_with_details(vcpu, reason);
	}
	return hw_of(vcpu)->exited(vcpu);
}

/* From entry.S, on the host's stack. */
enum disposition vmx_exited(struct vcpu *vcpu)
{
	uint64_t reason = vmread(VMCS_EXIT_REASON);
	const struct decode_row *row = &decode_rows[reason % DECODE_ROWS];

	if (CHECKING)
		audit_exit();
	/* Reasons with flag bits, and those beyond the table, fall on rows that are not plain. */
	if (unlikely(row->needs != NEED_LENGTH))
		return exited_otherwise(vcpu, reason);
	vcpu->exit.kind = row->kind;
	read_instruction(vcpu);
	/* Only RDMSR and WRMSR look at it; storing it always is cheaper than asking. */
	vcpu->exit.u.msr.index = (uint32_t)vcpu->gpr[GPR_RCX];
	return hw_of(vcpu)->exited(vcpu);
}

/* From entry.S: the instruction failed (VMfail), the guest has not run. */
enum disposition vmx_entry_refused(struct vcpu *vcpu)
{
	struct vmx_vcpu *hw = hw_of(vcpu);

	guard_entry_refused(hw);
	hw->failed_instruction = vmcs_read32(VMCS_INSTRUCTION_ERROR);
	vcpu->exit = (struct exit){
		.kind = EXIT_ENTRY_FAILED,
		.rip = vmcs_readn(VMCS_GUEST_RIP),
		.u.raw.hw_reason = hw->failed_instruction,
	};
	return hw->exited(vcpu);
}

/* ---- completion ---- */

/* A single-stepped instruction that we completed owes its #DB trap (26.3.1.5). */
RARE static void owe_single_step(const struct vcpu *vcpu)
{
	event_settle_shadow(vcpu);
	if (!(vmcs_read64(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF))
		vmcs_writen(VMCS_GUEST_PENDING_DEBUG, vmcs_readn(VMCS_GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
}

enum disposition vmx_advance(struct vcpu *vcpu)
{
	vmcs_writen(VMCS_GUEST_RIP, vcpu->exit.rip + vcpu->exit.length);
	if (unlikely(vmcs_readn(VMCS_GUEST_RFLAGS) & RFLAGS_TF))
		owe_single_step(vcpu);
	return RESUME;
}
