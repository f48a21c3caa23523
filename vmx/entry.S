/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world switch: a loop. It loads the guest's registers, enters, and at the
 * exit saves them again, calls vmx_exited() on the host's stack, and goes round
 * while that answers RESUME and nobody has posted a request. The host's
 * callee-saved registers are saved once, outside: between two entries they hold
 * whatever the guest left in them, which C code preserves and never looks at.
 *
 * HOST_RSP is constant for a vcpu: it points at a slot that holds the vcpu's
 * address, with room below for one push and the host's real stack pointer above
 * (vmx/internal.h, struct vmx_vcpu). So no entry writes the VMCS for it. The few
 * instructions until RSP is the host's stack again run masked; NMI and machine
 * check are on IST stacks.
 */
#include "vmx/asm.h"

	.text

/* The host's frame: RBP, then five registers, then the vcpu on top, which keeps calls aligned. */
.macro SAVE_HOST
	push %rbp
	mov %rsp, %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	push %rdi
	mov %rsp, HW_HOST_RSP(%rsi)
.endm

.macro RESTORE_HOST
	pop %rdi
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
.endm

/* RBP of the host's frame, for backtraces. */
.macro SET_FRAME
	lea 48(%rsp), %rbp
.endm

/* RDI = struct vcpu, gpr[] first; its own value is the last to be loaded. */
.macro LOAD_GUEST
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

/*
 * enum disposition vmx_loop(struct vcpu *, struct vmx_vcpu *): enters until an exit's handler answers something
 * other than RESUME (0), or there are requests; returns that answer.
 */
ENTRY_POINT vmx_loop
	SAVE_HOST

	/* RDI = the vcpu, RSI = hw: bound the entry by the preemption timer. */
enter:
	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	mov %rax, VCPU_ENTERED(%rdi)
	mov VCPU_DEADLINE(%rdi), %rdx
	sub %rax, %rdx
	/* Too far off, in the past (it wraps), or there is work (the limit is 0 then). */
	cmp HW_SHORT_LIMIT(%rsi), %rdx
	jae enter_long
	mov HW_TIMER_SHIFT(%rsi), %ecx
	shr %cl, %rdx
	mov $FIELD_PREEMPTION_TIMER, %eax
	vmwrite %rdx, %rax
resume:
	LOAD_GUEST
	vmresume
	jmp entry_refused

/* HOST_RIP without mitigations. */
	.balign 16
ENTRY_POINT vmx_exit_entry
	SAVE_GUEST
	mov HW_HOST_RSP - HW_VCPU(%rsp), %rsp
	SET_FRAME
exited:
	call vmx_exited
answered:
	test %eax, %eax
	jnz leave
	mov (%rsp), %rdi
	mov VCPU_HW(%rdi), %rsi
	cmpq $0, VCPU_REQUESTS(%rdi)
	je enter
leave:
	RESTORE_HOST
	ret

enter_long:
	call vmx_enter_long
	mov (%rsp), %rdi
	test $ENTER_GUARDED, %eax
	jnz 1f
	test $ENTER_LAUNCH, %eax
	jz resume
	LOAD_GUEST
	vmlaunch
	jmp entry_refused
	/* Last before the entry, so that nothing of the host's refills the buffers. No flag changes in between. */
1:	mov VCPU_HW(%rdi), %rsi
	test $ENTER_LAUNCH, %eax
	jnz 3f
	testl $GUARD_VERW, HW_GUARD(%rsi)
	LOAD_GUEST
	jz 2f
	verw verw_selector(%rip)
2:	vmresume
	jmp entry_refused
3:	testl $GUARD_VERW, HW_GUARD(%rsi)
	LOAD_GUEST
	jz 4f
	verw verw_selector(%rip)
4:	vmlaunch

/*
 * VMfail: the instruction after VMLAUNCH or VMRESUME was reached. The stack is the
 * host's; the vcpu is on top of it, every register holds a value of the guest's.
 * gpr[] is unchanged.
 */
entry_refused:
	mov (%rsp), %rdi
	SET_FRAME
	call vmx_entry_refused
	jmp answered
	.size vmx_loop, . - vmx_loop

/*
 * HOST_RIP with mitigations. The speculation controls come before anything that
 * predicts; no RET and no indirect branch runs until the return stack is ours.
 */
	.balign 16
ENTRY_POINT vmx_exit_entry_guarded
	SAVE_GUEST
	mov HW_GUARD - HW_VCPU(%rsp), %esi
	test $GUARD_SPEC_CTRL, %esi
	jz 1f
	mov $MSR_SPEC_CTRL, %ecx
	test $GUARD_SPEC_PASSED, %esi
	jz 0f
	rdmsr
	mov %eax, HW_SPEC_CTRL - HW_VCPU(%rsp)
0:	mov vmx_host_spec_ctrl(%rip), %eax
	xor %edx, %edx
	wrmsr
1:	mov HW_HOST_RSP - HW_VCPU(%rsp), %rsp
	test $GUARD_RSB_FULL, %esi
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
	/* Nothing of the guest's is left to speculate with; RDI was overwritten. */
6:	xor %eax, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	xor %esi, %esi
	xor %r8d, %r8d
	xor %r9d, %r9d
	xor %r10d, %r10d
	xor %r11d, %r11d
	xor %ebx, %ebx
	xor %r12d, %r12d
	xor %r13d, %r13d
	xor %r14d, %r14d
	xor %r15d, %r15d
	SET_FRAME
	jmp exited
	.size vmx_exit_entry_guarded, . - vmx_exit_entry_guarded

	.section .rodata
	.balign 2
verw_selector:
	.word 0 /* VERW clears the buffers whatever the selector */

	.section .note.GNU-stack, "", @progbits
