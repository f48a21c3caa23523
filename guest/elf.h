/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one reader of ELF files, 32- and 64-bit little-endian x86 executables.
 * Opening checks every program header against the file; what is handed out
 * afterwards lies inside it. Source: System V ABI, chapters 4 and 5.
 */
#ifndef CORBEL_GUEST_ELF_H
#define CORBEL_GUEST_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

#define ELF_PT_LOAD 1u
#define ELF_PT_NOTE 4u

struct elf {
	const uint8_t *data; /* the file; owned by the caller, outlives this */
	uint64_t size;
	bool is64;
	uint64_t entry;
	uint64_t headers;      /* offset of the program headers */
	unsigned header_size;  /* of one */
	unsigned header_count;
};

struct elf_segment {
	uint32_t type;
	uint64_t offset, file_size; /* inside the file for PT_LOAD and PT_NOTE */
	uint64_t vaddr, paddr, mem_size, align; /* no sum of these wraps for PT_LOAD; file_size <= mem_size */
};

/* True when @data begins like an ELF file. */
bool elf_magic(const void *data, uint64_t size);
/*
 * ST_TRUNCATED, ST_CORRUPT, ST_UNSUPPORTED (big-endian, other machine, no executable) with a sentence
 * about image @name, which is clean.
 */
enum status elf_open(struct elf *e, const char *name, const void *data, uint64_t size, struct error *err) MUST_CHECK;
/* Program header @i < e->header_count. */
void elf_segment(const struct elf *e, unsigned i, struct elf_segment *out);
/* Contents of the first note of @type whose owner is @owner; NULL for none. They lie inside the file. */
const uint8_t *elf_note(const struct elf *e, const char *owner, uint32_t type, uint64_t *len);

#endif
