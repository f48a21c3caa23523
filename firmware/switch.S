/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stack switches. Only what the System V ABI makes the callee keep is saved; RFLAGS
 * is not, because both sides run with interrupts masked here and DF is clear.
 */
	.text

/* void task_switch_stack(uint64_t *save, uint64_t load); SAVED_REGISTERS in task.c counts the pushes. */
	.globl task_switch_stack
	.type task_switch_stack, @function
task_switch_stack:
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdi)
	movq %rsi, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret

/* noreturn void stack_continue(uint64_t top, void (*fn)(void)): fn on a new stack, for good. */
	.globl stack_continue
	.type stack_continue, @function
stack_continue:
	movq %rdi, %rsp
	xorl %ebp, %ebp /* backtraces end here */
	pushq $0
	pushq $0
	call *%rsi
	ud2
