/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's address space (docs/firmware.md has the picture):
 *   ffff800000000000  direct map of RAM, 4 TiB, write-back, never executable,
 *                     the image's text and rodata read-only here too
 *   ffffc00000000000  device window: uncached registers, and read-only views of
 *                     tables that lie outside RAM
 *   ffffd00000000000  stacks, each above an unmapped page
 *   ffffffff80000000  the image: text RX, rodata R, data RW, each without the rest
 * Nothing else is mapped: no page 0, no identity map, no user page. Changes are
 * made by the boot CPU with interrupts masked. What is mapped later is seen by all CPUs without a flush, because
 * nothing was there before; only stacks are unmapped, and a host task's is in no other CPU's translations.
 */
#ifndef CORBEL_FIRMWARE_PAGING_H
#define CORBEL_FIRMWARE_PAGING_H

#include <stdbool.h>
#include <stdint.h>

#include "firmware/memmap.h"
#include "firmware/phys.h"
#include "lib/addr.h"
#include "lib/error.h"
#include "lib/status.h"

#define DIRECT_MAP_BASE 0xffff800000000000ull
#define DIRECT_MAP_BYTES (4ull << 40)
#define WINDOW_BASE 0xffffc00000000000ull
#define WINDOW_BYTES (1ull << 30)
#define STACKS_BASE 0xffffd00000000000ull
#define STACKS_BYTES (1ull << 30)

/*
 * Builds the tables with memory from @map, which must outlive paging (it is
 * consulted by the self-check), and switches to them. The loader's identity map
 * is gone afterwards. RAM beyond 4 TiB is left out of the direct map: the caller
 * must not hand it out.
 */
enum status paging_init(struct memmap *map, struct error *err) MUST_CHECK;

/* Host virtual address of RAM in the direct map; RAM and ACPI pages only. */
static inline void *direct_map(hpa_t at)
{
	return (void *)(DIRECT_MAP_BASE + at.v);
}

/*
 * From where single frames for tables and stacks come, and where they go back:
 * the memory map until this is called, memory management from then on. @get
 * returns false when it has none; contents are undefined.
 */
void paging_set_frame_source(bool (*get)(hpa_t *frame), void (*put)(hpa_t frame));

/*
 * Maps device registers uncached, for ever. Ranges mapped before are reused. The
 * address has the offset in its page that @at has. NULL when the window or memory is full.
 */
volatile void *mmio_map(hpa_t at, uint64_t len);

/* Reads tables anywhere in physical memory: the direct map, or a read-only view in the window. */
extern const struct phys_reader phys_window;

/* Maps one fresh frame at @va (stack window), RW and not executable. */
enum status paging_map_stack_page(uint64_t va) MUST_CHECK;
/* Unmaps it and gives the frame back. */
void paging_unmap_stack_page(uint64_t va);

/*
 * Walks the live tables and checks every rule above; false with the first
 * violation in @err. *leaves (may be NULL): how many leaves were seen.
 */
bool paging_selfcheck(struct error *err, unsigned *leaves);

/* Bytes taken for page tables. */
uint64_t paging_table_bytes(void);

#endif
