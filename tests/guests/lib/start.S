/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start-up of the test guests: entered in 32-bit mode by multiboot 1 or by PVH,
 * it maps 4 GiB one to one, switches to 64-bit mode and calls guest_start(magic,
 * info). With FLAT defined the multiboot header carries load addresses, so that
 * the same guest also works as a raw binary.
 */
#include "lib/x86_regs.h"

#define MB_MAGIC 0x1badb002
#define MB_FLAGS_ELF 0x00000003  /* page-aligned modules, memory information */
#define MB_FLAGS_FLAT 0x00010003 /* and the address fields are valid */
#define PVH_NOTE 18

#define STACK_BYTES 0x8000
#define PDE_FLAGS 0x83 /* present, writable, 2 MiB */
#define TABLE_FLAGS 3
#define GIB_MAPPED 4
#define CODE64 0x08
#define DATA 0x10

	.section .header, "a"
	.balign 4
multiboot_header:
	.long MB_MAGIC
#ifdef FLAT
	.long MB_FLAGS_FLAT, -(MB_MAGIC + MB_FLAGS_FLAT)
	.long multiboot_header, image_start, image_data_end, image_end, multiboot_start
#else
	.long MB_FLAGS_ELF, -(MB_MAGIC + MB_FLAGS_ELF)
#endif

	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 8, PVH_NOTE
	.asciz "Xen"
	.quad pvh_start

	.text
	.code32
	.globl multiboot_start, pvh_start
pvh_start:
	movl	(%ebx), %eax	/* start_info begins with its own magic */
multiboot_start:
	cli
	cld
	movl	$stack_end, %esp
	movl	%eax, %edi	/* arguments of guest_start */
	movl	%ebx, %esi

	movl	$(page_pdpt + TABLE_FLAGS), page_pml4
	movl	$(page_dirs + TABLE_FLAGS), %eax
	movl	$page_pdpt, %edx
	movl	$GIB_MAPPED, %ecx
1:	movl	%eax, (%edx)
	addl	$0x1000, %eax
	addl	$8, %edx
	decl	%ecx
	jnz	1b
	movl	$PDE_FLAGS, %eax
	movl	$page_dirs, %edx
	movl	$(GIB_MAPPED * 512), %ecx
2:	movl	%eax, (%edx)
	addl	$0x200000, %eax
	addl	$8, %edx
	decl	%ecx
	jnz	2b

	movl	%cr4, %eax
	orl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$page_pml4, %eax
	movl	%eax, %cr3
	movl	$MSR_IA32_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$(CR0_PG | CR0_WP | CR0_PE), %eax
	movl	%eax, %cr0
	lgdt	gdt_ptr
	ljmp	$CODE64, $start64

	.code64
start64:
	movw	$DATA, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	%ax, %fs
	movw	%ax, %gs
	movl	%edi, %edi
	movl	%esi, %esi
	movq	$stack_end, %rsp
	xorl	%ebp, %ebp
	call	guest_start
3:	cli
	hlt
	jmp	3b

/* One stub a vector, 16 bytes apart, each leaving vector and error code (0 where there is none) on the stack. */
	.set	HAS_ERROR_CODE, 0x00227d00 /* 8, 10-14, 17, 21 */
	.balign 16
	.globl	trap_stubs
trap_stubs:
	.set	i, 0
	.rept	256
	.balign 16
	.if	i > 31 || ((HAS_ERROR_CODE >> (i & 31)) & 1) == 0
	pushq	$0
	.endif
	pushq	$i
	jmp	trap_common
	.set	i, i + 1
	.endr

trap_common:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rbx
	pushq	%rbp
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	cld
	movq	%rsp, %rdi
	movq	%rsp, %rbp
	andq	$-16, %rsp
	call	trap
	movq	%rbp, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rbp
	popq	%rbx
	popq	%rdx
	popq	%rcx
	popq	%rax
	addq	$16, %rsp
	iretq

	.section .rodata
	.balign 8
gdt:	.quad	0
	.quad	0x00af9b000000ffff	/* 64-bit code */
	.quad	0x00cf93000000ffff	/* data */
gdt_end:
gdt_ptr:
	.word	gdt_end - gdt - 1
	.quad	gdt

	.section .bss
	.balign 4096
	.globl	page_pml4, page_pdpt
page_pml4:
	.skip	4096
page_pdpt:
	.skip	4096
page_dirs:
	.skip	4096 * GIB_MAPPED
	.balign 16
	.skip	STACK_BYTES
stack_end:

	.section .note.GNU-stack, "", @progbits
