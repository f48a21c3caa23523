/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world switch. vmx_enter_* are tail calls of run(): they save the host's
 * callee-saved registers, load the guest's, and enter. The exit saves the guest's
 * registers, restores the host's, and jumps to vmx_exited(), whose return is the
 * return of run(). No host register value crosses otherwise.
 *
 * HOST_RSP is constant for a vcpu: it points at a slot that holds the vcpu's
 * address, with room below for one push and the host's real stack pointer above
 * (vmx/internal.h, struct vmx_vcpu). So no entry writes the VMCS for it. The few
 * instructions until RSP is the host's stack again run masked; NMI and machine
 * check are on IST stacks.
 */
#include "vmx/asm.h"

	.text

/* RDI = struct vcpu (gpr[] first), RSI = struct vmx_vcpu. */
.macro ENTER instruction guarded=0
	push %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, HW_HOST_RSP(%rsi)
	.if \guarded
	testl $GUARD_VERW, HW_GUARD(%rsi) /* no flag changes until the jump */
	.endif
	mov GPR(0)(%rdi), %rax
	mov GPR(1)(%rdi), %rcx
	mov GPR(2)(%rdi), %rdx
	mov GPR(3)(%rdi), %rbx
	mov GPR(5)(%rdi), %rbp
	mov GPR(6)(%rdi), %rsi
	mov GPR(8)(%rdi), %r8
	mov GPR(9)(%rdi), %r9
	mov GPR(10)(%rdi), %r10
	mov GPR(11)(%rdi), %r11
	mov GPR(12)(%rdi), %r12
	mov GPR(13)(%rdi), %r13
	mov GPR(14)(%rdi), %r14
	mov GPR(15)(%rdi), %r15
	mov GPR(7)(%rdi), %rdi
	.if \guarded
	jz 1f
	verw verw_selector(%rip) /* last, so that nothing of the host's refills the buffers */
1:
	.endif
	\instruction
	jmp entry_refused
.endm

.macro RESTORE_HOST
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
.endm

/* RSP = &hw->vcpu; afterwards RDI = the vcpu, and gpr[] is filled. */
.macro SAVE_GUEST
	push %rdi
	mov 8(%rsp), %rdi
	mov %rax, GPR(0)(%rdi)
	mov %rcx, GPR(1)(%rdi)
	mov %rdx, GPR(2)(%rdi)
	mov %rbx, GPR(3)(%rdi)
	mov %rbp, GPR(5)(%rdi)
	mov %rsi, GPR(6)(%rdi)
	mov %r8, GPR(8)(%rdi)
	mov %r9, GPR(9)(%rdi)
	mov %r10, GPR(10)(%rdi)
	mov %r11, GPR(11)(%rdi)
	mov %r12, GPR(12)(%rdi)
	mov %r13, GPR(13)(%rdi)
	mov %r14, GPR(14)(%rdi)
	mov %r15, GPR(15)(%rdi)
	popq GPR(7)(%rdi)
.endm

.macro ENTRY_POINT name
	.globl \name
	.type \name, @function
\name:
.endm

ENTRY_POINT vmx_enter_resume
	ENTER vmresume
	.size vmx_enter_resume, . - vmx_enter_resume

ENTRY_POINT vmx_enter_launch
	ENTER vmlaunch
	.size vmx_enter_launch, . - vmx_enter_launch

ENTRY_POINT vmx_enter_resume_guarded
	ENTER vmresume, 1
	.size vmx_enter_resume_guarded, . - vmx_enter_resume_guarded

ENTRY_POINT vmx_enter_launch_guarded
	ENTER vmlaunch, 1
	.size vmx_enter_launch_guarded, . - vmx_enter_launch_guarded

/* HOST_RIP without mitigations. */
	.balign 16
ENTRY_POINT vmx_exit_entry
	SAVE_GUEST
	mov HW_HOST_RSP - HW_VCPU(%rsp), %rsp
	RESTORE_HOST
	jmp vmx_exited
	.size vmx_exit_entry, . - vmx_exit_entry

/*
 * HOST_RIP with mitigations. The speculation controls come before anything that
 * predicts; no RET and no indirect branch runs until the return stack is ours.
 */
	.balign 16
ENTRY_POINT vmx_exit_entry_guarded
	SAVE_GUEST
	mov HW_GUARD - HW_VCPU(%rsp), %esi
	mov HW_HOST_RSP - HW_VCPU(%rsp), %rsp
	test $GUARD_SPEC_CTRL, %esi
	jz 1f
	mov $MSR_SPEC_CTRL, %ecx
	mov vmx_host_spec_ctrl(%rip), %eax
	xor %edx, %edx
	wrmsr
1:	test $GUARD_RSB_FULL, %esi
	jz 4f
	/* Every entry of the return stack predicts the INT3 behind one of these calls. */
	mov $RSB_ENTRIES / 2, %eax
2:	call 3f
	int3
3:	call 3f
	int3
3:	add $16, %rsp
	dec %eax
	jnz 2b
	lfence
4:	test $GUARD_RSB_LITE, %esi
	jz 6f
	call 5f
	int3
5:	add $8, %rsp
	lfence
	/* RBX, RBP, R12 to R15 are overwritten below, RDI was. */
6:	xor %eax, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	xor %esi, %esi
	xor %r8d, %r8d
	xor %r9d, %r9d
	xor %r10d, %r10d
	xor %r11d, %r11d
	RESTORE_HOST
	jmp vmx_exited
	.size vmx_exit_entry_guarded, . - vmx_exit_entry_guarded

/*
 * VMfail: the instruction after VMLAUNCH or VMRESUME was reached. The stack is the
 * host's; the vcpu is found by way of the HOST_RSP field, because every register
 * holds a value of the guest's. gpr[] is unchanged.
 */
entry_refused:
	mov $FIELD_HOST_RSP, %eax
	vmread %rax, %rax
	mov (%rax), %rdi
	RESTORE_HOST
	jmp vmx_entry_refused

	.section .rodata
	.balign 2
verw_selector:
	.word 0 /* VERW clears the buffers whatever the selector */

	.section .note.GNU-stack, "", @progbits
