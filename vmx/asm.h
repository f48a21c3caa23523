/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layout constants that entry.S needs; run.c asserts that they match the structs.
 */
#ifndef CORBEL_VMX_ASM_LAYOUT_H
#define CORBEL_VMX_ASM_LAYOUT_H

#define HW_VCPU 32     /* struct vmx_vcpu.vcpu: HOST_RSP points here */
#define HW_HOST_RSP 40 /* struct vmx_vcpu.host_rsp */
#define HW_GUARD 48    /* struct vmx_vcpu.guard */

#define GPR(n) (8 * (n)) /* struct vcpu.gpr, at offset 0 */

#define FIELD_HOST_RSP 0x6c14

/* Bits of struct vmx_vcpu.guard. */
#define GUARD_VERW 1
#define GUARD_RSB_LITE 2
#define GUARD_RSB_FULL 4
#define GUARD_SPEC_CTRL 8
#define RSB_ENTRIES 32
#define MSR_SPEC_CTRL 0x48

#endif
