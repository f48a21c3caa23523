/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 256 entry stubs and the way back. Each stub is 16 bytes, so the gate of
 * vector n is at trap_stubs + 16 n and no table of addresses is needed. The frame
 * that they build is struct trap_frame.
 *
 * The CPU aligns RSP to 16 before it pushes five words; with error code, vector
 * and 15 registers that is 22 words, so C is called on an aligned stack.
 */
#include "lib/x86_regs.h"

#define VEC_ERROR_CODES                                                                \
	(BIT(VEC_DF) | BIT(VEC_TS) | BIT(VEC_NP) | BIT(VEC_SS) | BIT(VEC_GP) | BIT(VEC_PF) | \
	 BIT(VEC_AC) | BIT(VEC_CP))

	.text
	.balign 16
	.globl trap_stubs
trap_stubs:
	.set vector, 0
	.rept VEC_COUNT
	.balign 16
	.if vector < 32
	.if ((VEC_ERROR_CODES >> vector) & 1) == 0
	pushq $0
	.endif
	.else
	pushq $0
	.endif
	pushq $vector
	jmp trap_common
	.set vector, vector + 1
	.endr

	.balign 16
	.type trap_common, @function
trap_common:
	cld
	pushq %rax
	pushq %rbx
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %rbp
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, %rdi
	call trap_dispatch
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rbp
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rbx
	popq %rax
	addq $16, %rsp /* vector and error code */
	iretq
