/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capability MSRs as a processor model gave them, for tests of the VT-x engine's
 * pure parts.
 */
#ifndef CORBEL_TESTS_FAKES_VMX_CAPS_H
#define CORBEL_TESTS_FAKES_VMX_CAPS_H

#include "lib/x86_regs.h"
#include "vmx/ctrl.h"

/* Read on the emulator's corei7_icelake_u. */
static const struct vmx_caps icelake_caps = {
	.vmx = true,
	.feature_control = FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX_OUTSIDE_SMX,
	.basic = 0x00d8100000000004,
	.misc = 0x600401e0,
	.pin = 0x0000007f00000016,
	.proc = 0xfff9fffe04006172,
	.exit = 0x007fffff00036dfb,
	.entry = 0x0000ffff000011fb,
	.proc2 = 0x02977fff00000000,
	.cr0_fixed0 = 0x80000021,
	.cr0_fixed1 = 0xffffffff,
	.cr4_fixed0 = 0x2000,
	.cr4_fixed1 = 0x772fff,
	.ept_vpid = 0x00000f0106334141,
	.phys_bits = 40,
};

#endif
