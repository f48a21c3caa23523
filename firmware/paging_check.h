/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of the host's address space, checked on any page tables. Pure C: on
 * the machine it walks the live tables, in tests tables that break each rule.
 */
#ifndef CORBEL_FIRMWARE_PAGING_CHECK_H
#define CORBEL_FIRMWARE_PAGING_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "firmware/memmap.h"
#include "firmware/ptab.h"
#include "lib/error.h"

/* [start, end) of virtual or physical addresses. */
struct span {
	uint64_t start, end;
};

struct paging_rules {
	struct span direct, window, stacks;
	struct span text, rodata, data; /* of the image, linked addresses */
	uint64_t image_offset;          /* linked minus physical address, for text, rodata and data */
	struct span boot_text;          /* physical: entry code, read-only as well */
	const struct memmap *map;
};

/*
 * Checks every leaf of @t: none writable and executable, none for user mode,
 * executable only in the image's text, each region with its attributes, no
 * writable alias of text or rodata anywhere, RAM write-back only, devices
 * uncached, nothing outside the regions. False with the first violation in @err.
 */
bool paging_check(const struct ptab *t, const struct paging_rules *rules, struct error *err, unsigned *leaves);

#endif
