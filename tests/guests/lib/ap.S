/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a further processor begins: in real mode at the page that its start-up
 * message named, to which smp_start() has copied the first part of this file. It
 * goes to 64-bit mode in one step, takes a number and a stack, and calls
 * smp_enter(number).
 */
#include "lib/x86_regs.h"
#include "tests/guests/lib/smp.h"

#define CODE64 0x08
#define DATA 0x10

	.section .rodata
	.balign 8
	.globl	smp_trampoline, smp_trampoline_end
	.code16
smp_trampoline:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	trampoline_gdt - smp_trampoline
	movl	$page_pml4, %eax
	movl	%eax, %cr3
	movl	%cr4, %eax
	orl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$MSR_IA32_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	$(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_PE), %eax
	movl	%eax, %cr0
	ljmpl	$CODE64, $start64
	.balign 4
trampoline_gdt:
	.word	gdt_end - gdt - 1
	.long	gdt
smp_trampoline_end:

	.text
	.code64
start64:
	movw	$DATA, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	%ax, %fs
	movw	%ax, %gs
	movl	$1, %edi
	lock xaddl %edi, smp_entered
	leal	1(%rdi), %eax
	andl	$(SMP_STACKS - 1), %eax
	incl	%eax
	imull	$SMP_STACK_BYTES, %eax, %eax
	leaq	smp_stacks(%rax), %rsp
	xorl	%ebp, %ebp
	call	smp_enter
1:	cli
	hlt
	jmp	1b

	.section .rodata
	.balign 8
gdt:	.quad	0
	.quad	0x00af9b000000ffff	/* 64-bit code */
	.quad	0x00cf93000000ffff	/* data */
gdt_end:

	.section .bss
	.balign 16
	.globl	smp_entered
smp_entered:
	.long	0
	.balign 16
smp_stacks:
	.skip	SMP_STACKS * SMP_STACK_BYTES

	.section .note.GNU-stack, "", @progbits
