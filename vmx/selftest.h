/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's self-test: small guests run straight on struct engine, without
 * the machine of guest/, so that a fault of the engine shows as such. Runs on
 * the real (or emulated) processor, behind the boot argument selftest=vmx.
 */
#ifndef CORBEL_VMX_SELFTEST_H
#define CORBEL_VMX_SELFTEST_H

/* Guest-physical layout, and what the guests and the host agree on. */
#define SELFTEST_PML4 0x1000
#define SELFTEST_PDPT 0x2000
#define SELFTEST_GDT 0x3000
#define SELFTEST_IDT 0x4000
#define SELFTEST_CODE 0x5000
#define SELFTEST_HANDLERS 0x6000
#define SELFTEST_STACK 0x8000
#define SELFTEST_BYTES 0x10000
#define SELFTEST_HOLE 0x100000
#define SELFTEST_PORT 0xf4
#define SELFTEST_VECTOR 0x41

#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stdint.h>

struct memmgr;

/*
 * Runs every test, one log line each, and returns true when all pass. vmx_cpu_init() has
 * succeeded on this CPU. Interrupts masked; takes well under a second. @irq handles a physical
 * interrupt that arrives meanwhile, as if through the IDT.
 */
bool vmx_selftest(struct memmgr *mm, void (*irq)(uint8_t vector));

#endif
#endif
