/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF files of any bytes: what the reader hands out lies inside the file, and
 * the PVH loader, which takes ELF and nothing else, refuses or plans by the rules.
 */
#include <stdlib.h>

#include "guest/elf.h"
#include "lib/checked.h"
#include "tests/fakes/boot_fuzz.h"

static void check_reader(const uint8_t *data, uint64_t size)
{
	const uint8_t *note;
	struct elf_segment s;
	uint64_t len;
	struct elf e;

	if (elf_open(&e, "image", data, size, NULL) != ST_OK)
		return;
	for (unsigned i = 0; i < e.header_count; i++) {
		elf_segment(&e, i, &s);
		if (s.type == ELF_PT_LOAD && (!range_fits(s.offset, s.file_size, size) || s.file_size > s.mem_size ||
					      s.paddr + s.mem_size < s.paddr))
			abort();
	}
	note = elf_note(&e, "Xen", 18, &len);
	if (note && (note < data || !range_fits((uint64_t)(note - data), len, size)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= BOOT_FUZZ_PREFIX)
		check_reader(data + BOOT_FUZZ_PREFIX, size - BOOT_FUZZ_PREFIX);
	return boot_fuzz_one(BOOT_PVH, data, size);
}
