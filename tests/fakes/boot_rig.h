/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bench for the boot loaders: a definition, files and a layout in, the plan
 * out, and the plan carried out on a flat array that stands for guest memory.
 * What any plan must satisfy is checked here without the planner's own code.
 */
#ifndef CORBEL_TESTS_FAKES_BOOT_RIG_H
#define CORBEL_TESTS_FAKES_BOOT_RIG_H

#include "guest/boot_plan.h"

#define BOOT_RIG_MIB (1ull << 20)

struct boot_rig {
	struct vm_config cfg;
	struct guest_layout layout;
	struct boot_input in;
	struct boot_plan plan;
	struct error err;
	uint8_t *ram; /* guest memory from 0, after boot_rig_load() */
	uint64_t ram_size;
};

/* @size: bytes of guest memory. */
void boot_rig_init(struct boot_rig *rig, enum boot_protocol protocol, uint64_t size);
void boot_rig_free(struct boot_rig *rig);
void boot_rig_image(struct boot_rig *rig, const void *data, uint64_t size);
void boot_rig_initrd(struct boot_rig *rig, const void *data, uint64_t size);
void boot_rig_module(struct boot_rig *rig, const void *data, uint64_t size, const char *cmdline);
void boot_rig_cmdline(struct boot_rig *rig, const char *text);

/* Runs the protocol's loader on a fresh plan. */
enum status boot_rig_plan(struct boot_rig *rig);
/* NULL when the plan keeps the rules: pieces in offered RAM, disjoint, entry inside one. Else what is wrong. */
const char *boot_rig_violation(const struct boot_rig *rig);
/* Plans, checks and carries out into rig->ram; false with the reason in rig->err. */
bool boot_rig_load(struct boot_rig *rig);

/* Reads a whole file; NULL when it is not there. The caller frees it. */
void *boot_rig_read_file(const char *path, uint64_t *size);
/* Below the directory of third-party pieces: $CORBEL_DEPS, else build/deps. */
void *boot_rig_read_dep(const char *name, uint64_t *size);

/* ---- ELF files to order ---- */

struct boot_rig_segment {
	uint32_t type;
	uint64_t vaddr, paddr;
	const void *data;
	uint64_t file_size, mem_size;
};

/*
 * Writes an ELF file of class 32 or 64 into @out of @max bytes; segment contents follow the headers, each at
 * the next multiple of 16. Returns its size.
 */
uint64_t boot_rig_elf(uint8_t *out, uint64_t max, bool is64, uint64_t entry, const struct boot_rig_segment *segments,
		      unsigned count);
/* One note into @out (padded to 4); returns its size. */
uint64_t boot_rig_note(uint8_t *out, const char *owner, uint32_t type, const void *desc, uint32_t size);

#endif
