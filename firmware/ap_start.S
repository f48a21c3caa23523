/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a start-up IPI to C. A CPU begins in real mode at the first byte of a page
 * below 1 MiB, goes to protected mode, then to 64-bit mode on page tables that map
 * this page and the image alone, and leaves for the image's text, where it takes
 * the host's tables and its own stack.
 *
 * The code is data where it is linked: smp.c copies it. It finds its data by the
 * page's address, which is in CS (then in EBX and R8). A CPU whose APIC id is not the one
 * that is wanted now answers a start-up IPI that was given up long ago: it halts,
 * rather than run on another one's stack.
 * Source: SDM 3A:8.4 (MP initialization), 9.8.5 (switching to IA-32e mode).
 */
#include "firmware/ap_start.h"
#include "lib/x86_regs.h"

#define CR0_RUN (CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE) /* caches on: CD and NW are set after INIT */

	.section .rodata
	.balign 16
	.globl ap_page_start, ap_page_end, ap_page_gdt, ap_page_gdt_end, ap_page_protected, ap_page_long
	.code16
ap_page_start:
	cli
	cld
	movw %cs, %ax
	movw %ax, %ds
	movzwl %ax, %ebx
	shll $4, %ebx
	lgdtl AP_GDT_POINTER
	movl $CR0_RUN, %eax
	movl %eax, %cr0
	ljmpl *AP_FAR32

	.code32
ap_page_protected:
	movl $AP_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $CR4_PAE, %eax
	movl %eax, %cr4
	movl AP_TABLES(%ebx), %eax
	movl %eax, %cr3
	movl $MSR_IA32_EFER, %ecx
	movl $(EFER_LME | EFER_NXE), %eax /* the image's data is not executable */
	xorl %edx, %edx
	wrmsr
	movl $(CR0_PG | CR0_RUN), %eax
	movl %eax, %cr0
	ljmpl *AP_FAR64(%ebx)

	.code64
ap_page_long:
	movl %ebx, %r8d
	/* Leaf 0Bh has the id of 32 bits, where there is one. */
	xorl %eax, %eax
	cpuid
	cmpl $CPUID_TOPOLOGY, %eax
	jb 1f
	movl $CPUID_TOPOLOGY, %eax
	xorl %ecx, %ecx
	cpuid
	testl %ebx, %ebx
	jnz 2f
1:	movl $CPUID_FEATURES, %eax
	cpuid
	shrl $24, %ebx
	movl %ebx, %edx
2:	cmpl AP_APIC_ID(%r8), %edx
	jne 3f
	jmp *AP_ENTRY(%r8)
3:	cli
	hlt
	jmp 3b

	.balign 8
ap_page_gdt:
	.quad 0
	.quad 0x00cf9b000000ffff /* 32-bit code, flat */
	.quad 0x00cf93000000ffff /* data, flat */
	.quad 0x00af9b000000ffff /* 64-bit code */
ap_page_gdt_end:
ap_page_end:

	.globl ap_parked_start, ap_parked_end
	.code16
ap_parked_start:
	cli
	hlt
	jmp ap_parked_start
ap_parked_end:

/* R8 = the page. It is mapped no more once CR3 is the host's. */
	.text
	.code64
	.globl ap_entry
	.type ap_entry, @function
ap_entry:
	movq AP_ROOT(%r8), %rax
	movq AP_STACK(%r8), %rdx
	movq AP_PERCPU(%r8), %rdi
	movq %rax, %cr3
	movq %rdx, %rsp
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	xorl %ebp, %ebp /* the backtrace ends here */
	call ap_main
	ud2
	.size ap_entry, . - ap_entry

	.section .note.GNU-stack, "", @progbits
