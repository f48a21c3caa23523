/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page that other CPUs start in: code (ap_start.S) from its beginning, what
 * the code needs to know at AP_PARAMS. Shared by assembler and C; smp.c fills it
 * for one CPU after the other.
 */
#ifndef CORBEL_FIRMWARE_AP_START_H
#define CORBEL_FIRMWARE_AP_START_H

/* Selectors of its GDT. */
#define AP_CODE32 0x08
#define AP_DATA 0x10
#define AP_CODE64 0x18

#define AP_PARAMS 0x800
#define AP_GDT_POINTER (AP_PARAMS + 0)
#define AP_FAR32 (AP_PARAMS + 8)
#define AP_FAR64 (AP_PARAMS + 16)
#define AP_TABLES (AP_PARAMS + 24)
#define AP_APIC_ID (AP_PARAMS + 28)
#define AP_ROOT (AP_PARAMS + 32)
#define AP_STACK (AP_PARAMS + 40)
#define AP_PERCPU (AP_PARAMS + 48)
#define AP_ENTRY (AP_PARAMS + 56)

#ifndef __ASSEMBLER__

#include <stddef.h>
#include <stdint.h>

/* Where a far jump goes: m16:32. */
struct far_pointer {
	uint32_t offset;
	uint16_t selector, unused;
};

struct ap_params {
	uint16_t gdt_limit;      /* LGDT operand */
	uint32_t gdt_base;
	uint16_t unused;
	struct far_pointer far32, far64; /* into the page, physical */
	uint32_t tables;         /* CR3 for the first steps, below 4 GiB */
	uint32_t apic_id;        /* of the CPU that is meant: any other that comes here stops */
	uint64_t root;           /* the host's CR3 */
	uint64_t stack, percpu;  /* RSP and RDI at */
	uint64_t entry;          /* an address in the image's text */
} __attribute__((packed));
_Static_assert(offsetof(struct ap_params, gdt_limit) + AP_PARAMS == AP_GDT_POINTER, "ap_start.S");
_Static_assert(offsetof(struct ap_params, gdt_base) == 2, "SDM 3A:3.5.1");
_Static_assert(offsetof(struct ap_params, far32) + AP_PARAMS == AP_FAR32, "ap_start.S");
_Static_assert(offsetof(struct ap_params, far64) + AP_PARAMS == AP_FAR64, "ap_start.S");
_Static_assert(offsetof(struct ap_params, tables) + AP_PARAMS == AP_TABLES, "ap_start.S");
_Static_assert(offsetof(struct ap_params, apic_id) + AP_PARAMS == AP_APIC_ID, "ap_start.S");
_Static_assert(offsetof(struct ap_params, root) + AP_PARAMS == AP_ROOT, "ap_start.S");
_Static_assert(offsetof(struct ap_params, stack) + AP_PARAMS == AP_STACK, "ap_start.S");
_Static_assert(offsetof(struct ap_params, percpu) + AP_PARAMS == AP_PERCPU, "ap_start.S");
_Static_assert(offsetof(struct ap_params, entry) + AP_PARAMS == AP_ENTRY, "ap_start.S");

/* ap_start.S: the code to be copied, and offsets in it. */
extern const uint8_t ap_page_start[], ap_page_end[];
extern const uint8_t ap_page_gdt[], ap_page_gdt_end[], ap_page_protected[], ap_page_long[];
/* Stands in the page when no CPU is being started: whoever comes late halts. */
extern const uint8_t ap_parked_start[], ap_parked_end[];

void ap_entry(void);

#endif
#endif
