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
.macro ENTER instruction
	push %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, HW_HOST_RSP(%rsi)
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

	.globl vmx_enter_resume
	.type vmx_enter_resume, @function
vmx_enter_resume:
	ENTER vmresume
	.size vmx_enter_resume, . - vmx_enter_resume

	.globl vmx_enter_launch
	.type vmx_enter_launch, @function
vmx_enter_launch:
	ENTER vmlaunch
	.size vmx_enter_launch, . - vmx_enter_launch

/* HOST_RIP. RSP = &hw->vcpu. */
	.balign 16
	.globl vmx_exit_entry
	.type vmx_exit_entry, @function
vmx_exit_entry:
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
	mov HW_HOST_RSP - HW_VCPU(%rsp), %rsp
	RESTORE_HOST
	jmp vmx_exited
	.size vmx_exit_entry, . - vmx_exit_entry

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

	.section .note.GNU-stack, "", @progbits
