/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entry of the test guests, by multiboot 1: header, stack, our own GDT (the
 * loader's may be gone), an IDT for the 32 exceptions, then guest_main().
 * attempt_enter() and attempt_leave() are a setjmp and longjmp of six registers.
 */
#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 3 /* modules on page boundaries, memory information */
#define CODE 8
#define DATA 16

	.section .multiboot, "a"
	.balign 4
	.long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

	.text
	.globl _start
_start:
	cli
	cld
	mov $stack_top, %esp
	push %ebx
	push %eax
	lgdt gdt_pointer
	ljmp $CODE, $1f
1:	mov $DATA, %ecx
	mov %ecx, %ds
	mov %ecx, %es
	mov %ecx, %fs
	mov %ecx, %gs
	mov %ecx, %ss
	call idt_setup
	call guest_main
	push $0
	call finish

/* One stub a vector: pushes a zero where the processor pushes no error code. */
	.macro stub vector
	.balign 16
	.if (\vector == 8) || ((\vector >= 10) && (\vector <= 14)) || (\vector == 17) || (\vector == 21)
	.else
	push $0
	.endif
	push $\vector
	jmp common
	.endm

	.balign 16
	.globl exception_stubs
exception_stubs:
	.irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, \
		16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	stub \vector
	.endr

common:
	pop %eax			/* vector; then error code, eip, cs, eflags */
	mov 4(%esp), %edx
	push %edx
	push %eax
	call exception

/* int attempt_enter(uint32_t saved[6]): 0 now, what attempt_leave() is given later. */
	.globl attempt_enter
attempt_enter:
	mov 4(%esp), %eax
	mov %ebx, 0(%eax)
	mov %esi, 4(%eax)
	mov %edi, 8(%eax)
	mov %ebp, 12(%eax)
	mov %esp, 16(%eax)
	mov (%esp), %ecx
	mov %ecx, 20(%eax)
	xor %eax, %eax
	ret

/* void attempt_leave(const uint32_t saved[6], int result) */
	.globl attempt_leave
attempt_leave:
	mov 4(%esp), %edx
	mov 8(%esp), %eax
	mov 0(%edx), %ebx
	mov 4(%edx), %esi
	mov 8(%edx), %edi
	mov 12(%edx), %ebp
	mov 16(%edx), %esp
	mov 20(%edx), %ecx
	mov %ecx, (%esp)
	ret

	.section .rodata
	.balign 8
gdt:
	.quad 0
	.quad 0x00cf9b000000ffff
	.quad 0x00cf93000000ffff
gdt_pointer:
	.word . - gdt - 1
	.long gdt

	.bss
	.balign 16
	.skip 16384
stack_top:

	.section .note.GNU-stack, "", @progbits
