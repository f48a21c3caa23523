/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layout constants that entry.S needs; run.c asserts that they match the structs.
 */
#ifndef CORBEL_VMX_ASM_LAYOUT_H
#define CORBEL_VMX_ASM_LAYOUT_H

#define HW_VCPU 32     /* struct vmx_vcpu.vcpu: HOST_RSP points here */
#define HW_HOST_RSP 40 /* struct vmx_vcpu.host_rsp */
#define HW_GUARD 48    /* struct vmx_vcpu.guard */

#define HW_TIMER_SHIFT 56 /* struct vmx_vcpu.timer_shift */
#define HW_SPEC_CTRL 60   /* struct vmx_vcpu.spec_ctrl.value */
#define HW_SHORT_LIMIT 80 /* struct vmx_vcpu.short_limit */

#define GPR(n) (8 * (n))  /* struct vcpu.gpr, at offset 0 */
#define VCPU_REQUESTS 176 /* struct vcpu.requests */
#define VCPU_HW 184       /* struct vcpu.hw */
#define VCPU_DEADLINE 192 /* struct vcpu.deadline */
#define VCPU_ENTERED 200  /* struct vcpu.entered */

#define FIELD_HOST_RSP 0x6c14
#define FIELD_PREEMPTION_TIMER 0x482e

/* How vmx_enter_long() wants the guest entered: these bits. */
#define ENTER_LAUNCH 1
#define ENTER_GUARDED 2

/* Bits of struct vmx_vcpu.guard. */
#define GUARD_VERW 1
#define GUARD_RSB_LITE 2
#define GUARD_RSB_FULL 4
#define GUARD_SPEC_CTRL 8
#define GUARD_SPEC_PASSED 16
#define RSB_ENTRIES 32
#define MSR_SPEC_CTRL 0x48

#endif
