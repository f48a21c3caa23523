/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the loader to C. Two loaders enter here in 32-bit protected mode without
 * paging: multiboot2 (ELF entry point, EAX = magic, EBX = information) and PVH
 * (address in the ELF note, EBX = start_info). Both paths build the same first
 * page tables: the low 4 GiB one to one, because whatever the loader passes lies
 * there, and the first GiB again at -2 GiB, where the image is linked. paging.c
 * then makes the real tables, and these are gone.
 *
 * Loaders zero what the ELF file does not hold (.bss), as the ELF rules say.
 * Sources: Multiboot2 Specification 2.0 sections 3.1 and 3.3; Xen
 * docs/misc/pvh.pandoc; SDM 3A:9.8.5 (switching to IA-32e mode).
 */
#include "firmware/bootinfo.h"
#include "lib/x86_regs.h"

#define MB2_HEADER_MAGIC 0xe85250d6
#define MB2_ARCH_I386 0
#define MB2_TAG_END 0
#define MB2_TAG_REQUEST 1
#define MB2_TAG_MODULE_ALIGN 6
#define XEN_ELFNOTE_PHYS32_ENTRY 18

#define BOOT_CODE32 0x08
#define BOOT_DATA 0x10
#define BOOT_CODE64 0x18

#define TABLE_BYTES 4096
#define IDENTITY_GIB 4
#define BOOT_STACK_BYTES 16384
#define HIGH_PML4_SLOT 511
#define HIGH_PDPT_SLOT 510
#define COM1_DATA 0x3f8
#define COM1_LCR 0x3fb
#define COM1_LSR 0x3fd
#define LCR_8N1 0x03
#define LSR_THRE 0x20

	.section .boot.header, "a"
	.balign 8
mb2_header:
	.long MB2_HEADER_MAGIC, MB2_ARCH_I386, mb2_end - mb2_header
	.long -(MB2_HEADER_MAGIC + MB2_ARCH_I386 + (mb2_end - mb2_header))
	/* Refuse to start where no memory map can be given. */
	.balign 8
	.short MB2_TAG_REQUEST, 0
	.long 12, MB2_INFO_MEMMAP
	.balign 8
	.short MB2_TAG_MODULE_ALIGN, 0
	.long 8
	.balign 8
	.short MB2_TAG_END, 0
	.long 8
mb2_end:

	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 8, XEN_ELFNOTE_PHYS32_ENTRY
	.asciz "Xen"
	.quad pvh_entry

	.section .boot.text, "ax"
	.code32
	.globl multiboot2_entry
multiboot2_entry:
	cli
	cld
	movl $boot_stack_top, %esp
	cmpl $MB2_MAGIC, %eax
	movl $no_loader_text, %esi
	jne stop
	movl $BOOT_MULTIBOOT2, %edi
	jmp enter_long_mode

	.globl pvh_entry
pvh_entry:
	cli
	cld
	movl $boot_stack_top, %esp
	movl $BOOT_PVH, %edi

/* EDI = enum boot_protocol, EBX = what the loader passed. */
enter_long_mode:
	movl %ebx, %ebp
	movl $CPUID_EXT_MAX, %eax
	cpuid
	movl $no_long_mode_text, %esi
	cmpl $CPUID_EXT_FEATURES, %eax
	jb stop
	movl $CPUID_EXT_FEATURES, %eax
	cpuid
	testl $CPUID_E1D_LM, %edx
	jz stop

	/* 4 GiB of 2 MiB pages in four page directories that lie side by side. */
	movl $boot_pd, %ebx
	movl $(PTE_P | PTE_W | PTE_PS), %eax
	movl $(IDENTITY_GIB * 512), %ecx
1:	movl %eax, (%ebx)
	addl $0x200000, %eax
	addl $8, %ebx
	loop 1b

	movl $(boot_pd + (PTE_P | PTE_W)), %eax
	xorl %ecx, %ecx
2:	movl %eax, boot_pdpt_low(, %ecx, 8)
	addl $TABLE_BYTES, %eax
	incl %ecx
	cmpl $IDENTITY_GIB, %ecx
	jb 2b
	movl $(boot_pd + (PTE_P | PTE_W)), boot_pdpt_high + 8 * HIGH_PDPT_SLOT
	movl $(boot_pdpt_low + (PTE_P | PTE_W)), boot_pml4
	movl $(boot_pdpt_high + (PTE_P | PTE_W)), boot_pml4 + 8 * HIGH_PML4_SLOT

	movl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $boot_pml4, %eax
	movl %eax, %cr3
	movl $MSR_IA32_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl $(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE), %eax
	movl %eax, %cr0
	lgdt boot_gdt_ptr
	ljmp $BOOT_CODE64, $long_mode_entry

/* Prints the text at ESI on COM1, if one is there, and halts. */
stop:
	movw $COM1_LCR, %dx
	movb $LCR_8N1, %al
	outb %al, %dx
	movw $COM1_LSR, %dx
	movl $0x100000, %ecx /* bound of the wait for the transmitter */
3:	inb %dx, %al
	testb $LSR_THRE, %al
	loopz 3b
	lodsb
	testb %al, %al
	jz 4f
	movw $COM1_DATA, %dx
	outb %al, %dx
	jmp stop
4:	hlt
	jmp 4b

	.code64
long_mode_entry:
	movl $BOOT_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	/* The upper halves are undefined after the switch. */
	movl %edi, %edi
	movl %ebp, %esi
	movq $boot_stack_high_top, %rsp
	xorl %ebp, %ebp /* the backtrace ends here */
	movq $boot_main, %rax
	call *%rax
	ud2

	.section .boot.text
no_loader_text:
	.asciz "corbel: not started by a multiboot2 loader\r\n"
no_long_mode_text:
	.asciz "corbel: this processor has no 64-bit mode\r\n"
	.balign 8
boot_gdt:
	.quad 0
	.quad 0x00cf9b000000ffff /* 32-bit code, flat */
	.quad 0x00cf93000000ffff /* data, flat */
	.quad 0x00af9b000000ffff /* 64-bit code */
boot_gdt_end:
boot_gdt_ptr:
	.short boot_gdt_end - boot_gdt - 1
	.long boot_gdt

	.section .boot.bss, "aw", @nobits
	.balign TABLE_BYTES
	.globl boot_pml4, boot_pdpt_low, boot_pd /* used again by smp.c */
boot_pml4:
	.skip TABLE_BYTES
boot_pdpt_low:
	.skip TABLE_BYTES
boot_pdpt_high:
	.skip TABLE_BYTES
boot_pd:
	.skip TABLE_BYTES * IDENTITY_GIB
	.skip 512
boot_stack_top:

	.bss
	.balign 16
	.globl boot_stack_bottom, boot_stack_high_top
boot_stack_bottom:
	.skip BOOT_STACK_BYTES
boot_stack_high_top:
