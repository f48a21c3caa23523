/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests of the engine's self-test, position-independent and copied to guest
 * address SELFTEST_CODE. Each ends with a 32-bit write of 0 (passed) or of a
 * number that tells where it failed to port SELFTEST_PORT. Interrupt handlers use
 * the IDT that selftest.c builds; RDI holds a test's argument.
 */
#include "vmx/selftest.h"

	.section .rodata.selftest_guest, "a"

.macro GUEST name
	.balign 16
	.globl selftest_\name
selftest_\name:
.endm
.macro GUEST_END name
	.globl selftest_\name\()_end
selftest_\name\()_end:
.endm

/* Ends the guest with the value in EAX. */
.macro REPORT
	mov $SELFTEST_PORT, %edx
	out %eax, (%dx)
	ud2
.endm

/* Real mode, as after reset but at our own address: CPUID is answered with EBX = 0x12345678. */
	.code16
GUEST real
	mov $0, %eax
	cpuid
	cmp $0x12345678, %ebx
	mov $1, %eax
	jne 1f
	mov $0, %eax
1:	REPORT
GUEST_END real

	.code64
/* Every general register survives an exit that changes only EAX, EBX, ECX, EDX. */
GUEST registers
	mov $0x1111111111111111, %rsi
	mov $0x2222222222222222, %rdi
	mov $0x3333333333333333, %rbp
	mov $0x8888888888888888, %r8
	mov $0x9999999999999999, %r9
	mov $0xaaaaaaaaaaaaaaaa, %r10
	mov $0xbbbbbbbbbbbbbbbb, %r11
	mov $0xcccccccccccccccc, %r12
	mov $0xdddddddddddddddd, %r13
	mov $0xeeeeeeeeeeeeeeee, %r14
	mov $0xffffffffffff1234, %r15
	cpuid
	cmp $0x12345678, %ebx
	mov $1, %eax
	jne 1f
	mov $2, %eax
	mov $0x1111111111111111, %rbx
	cmp %rbx, %rsi
	jne 1f
	add %rbx, %rbx
	cmp %rbx, %rdi
	jne 1f
	mov $0x3333333333333333, %rbx
	cmp %rbx, %rbp
	jne 1f
	mov $0x8888888888888888, %rbx
	cmp %rbx, %r8
	jne 1f
	mov $0x1111111111111111, %rcx
	add %rcx, %rbx
	cmp %rbx, %r9
	jne 1f
	add %rcx, %rbx
	cmp %rbx, %r10
	jne 1f
	add %rcx, %rbx
	cmp %rbx, %r11
	jne 1f
	add %rcx, %rbx
	cmp %rbx, %r12
	jne 1f
	add %rcx, %rbx
	cmp %rbx, %r13
	jne 1f
	add %rcx, %rbx
	cmp %rbx, %r14
	jne 1f
	mov $0xffffffffffff1234, %rbx
	cmp %rbx, %r15
	jne 1f
	xor %eax, %eax
1:	REPORT
GUEST_END registers

/* Ticks of one CPUID round trip, less an empty pair of RDTSC, as the result. */
GUEST cost
	mov $16, %r10d
1:	rdtsc
	mov %eax, %r8d
	rdtsc
	sub %r8d, %eax
	mov %eax, %r9d
	rdtsc
	mov %eax, %r8d
	cpuid
	rdtsc
	sub %r8d, %eax
	sub %r9d, %eax
	dec %r10d
	jnz 1b
	REPORT
GUEST_END cost

/* Writes and reads pages that are not mapped yet: each first touch is an exit, the value is kept. */
GUEST touch
	mov $SELFTEST_HOLE, %rbx
	mov $8, %ecx
1:	mov %rbx, (%rbx)
	add $4096, %rbx
	loop 1b
	mov $SELFTEST_HOLE, %rbx
	mov $8, %ecx
	mov $1, %eax
2:	cmp %rbx, (%rbx)
	jne 3f
	add $4096, %rbx
	loop 2b
	xor %eax, %eax
3:	REPORT
GUEST_END touch

/* Reads a page, lets the host exchange the frame behind it (VMCALL), and must see the new bytes. */
GUEST remap
	mov $SELFTEST_HOLE, %rbx
	mov (%rbx), %r8
	vmcall
	mov (%rbx), %r9
	mov $1, %eax
	cmp %r8, %r9
	je 1f
	xor %eax, %eax
1:	REPORT
GUEST_END remap

/* Interrupts off for good: only the bound of the entry ends this; the host then moves RIP to the label. */
GUEST spin
	cli
1:	jmp 1b
	xor %eax, %eax
	REPORT
GUEST_END spin

/* Waits with interrupts off, then on, for vector SELFTEST_VECTOR, whose handler counts in R15. */
GUEST interrupt
	xor %r15d, %r15d
	vmcall
	mov $100, %ecx
1:	loop 1b
	mov $1, %eax
	test %r15d, %r15d
	jnz 3f
	sti
	mov $100, %ecx
2:	loop 2b
	mov $2, %eax
	cmp $1, %r15d
	jne 3f
	xor %eax, %eax
3:	REPORT
GUEST_END interrupt

/* Self-IPI and EOI through the x2APIC MSRs without an exit; the host counts. */
GUEST self_ipi
	xor %r15d, %r15d
	sti
	mov $10, %r14d
1:	mov $SELFTEST_VECTOR, %eax
	xor %edx, %edx
	mov $0x83f, %ecx
	wrmsr
	nop
	dec %r14d
	jnz 1b
	mov $1, %eax
	cmp $10, %r15d
	jne 2f
	xor %eax, %eax
2:	REPORT
GUEST_END self_ipi

/* A completed instruction under single-step owes a #DB: the handler for vector 1 counts in R14. */
GUEST step
	xor %r14d, %r14d
	pushf
	orl $0x100, (%rsp)
	popf
	cpuid
	pushf
	andl $~0x100, (%rsp)
	popf
	mov $1, %eax
	/* after CPUID, PUSHF, AND, POPF */
	cmp $4, %r14d
	jne 1f
	xor %eax, %eax
1:	REPORT
GUEST_END step

/* An instruction of VMX: the host answers EXIT_UNDEFINED with #UD, whose handler counts in R13 and skips it. */
GUEST undefined
	xor %r13d, %r13d
	vmxoff
	mov $1, %eax
	cmp $1, %r13d
	jne 1f
	xor %eax, %eax
1:	REPORT
GUEST_END undefined

/* XMM15 and the MSRs keep their value while another vcpu (RDI = 1 or 2) runs in between. */
GUEST switch
	movq %rdi, %xmm15
	mov $0xc0000082, %ecx
	mov %edi, %eax
	xor %edx, %edx
	wrmsr
	mov %rdi, %dr0
	vmcall
	movq %xmm15, %rbx
	mov $1, %eax
	cmp %rbx, %rdi
	jne 1f
	mov $0xc0000082, %ecx
	rdmsr
	mov %eax, %ebx
	mov $2, %eax
	cmp %ebx, %edi
	jne 1f
	mov %dr0, %rbx
	mov $3, %eax
	cmp %rbx, %rdi
	jne 1f
	xor %eax, %eax
1:	REPORT
GUEST_END switch

/*
 * Two NMIs are posted while the first one's handler runs with NMIs blocked: the second comes after its
 * IRET, not before. The handler counts in R12 and notes in R11 when it was entered nested.
 */
GUEST nmi
	xor %r12d, %r12d
	xor %r11d, %r11d
	xor %r10d, %r10d
	vmcall
	nop
	mov $1, %eax
	cmp $2, %r12d
	jne 1f
	mov %r11d, %eax
1:	REPORT
GUEST_END nmi

/* Never runs: its entry is refused. */
GUEST refused
	xor %eax, %eax
	REPORT
GUEST_END refused

/* Interrupt handlers, copied to SELFTEST_HANDLERS; selftest.c points the IDT at the labels. */
GUEST handlers
	.globl selftest_handler_db, selftest_handler_ud, selftest_handler_vector, selftest_handler_nmi
selftest_handler_nmi:
	inc %r12d
	or %r10d, %r11d
	mov $1, %r10d
	cmp $1, %r12d
	jne 1f
	vmcall /* the second NMI is posted now */
	nop
1:	xor %r10d, %r10d
	iretq
selftest_handler_db:
	inc %r14d
	iretq
selftest_handler_ud:
	inc %r13d
	addq $3, (%rsp)
	iretq
selftest_handler_vector:
	inc %r15d
	push %rax
	push %rcx
	push %rdx
	mov $0x80b, %ecx
	xor %eax, %eax
	xor %edx, %edx
	cmp $0, %rsi /* RSI = 1: an APIC of its own takes the EOI */
	je 1f
	wrmsr
1:	pop %rdx
	pop %rcx
	pop %rax
	iretq
GUEST_END handlers

	.section .note.GNU-stack, "", @progbits
