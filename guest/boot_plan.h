/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a loader decided before a byte of guest memory is written: which bytes
 * go where, and how vcpu 0 starts. A loader is a function from definition,
 * files and layout to a plan: it runs, is tested and is fuzzed without a guest.
 * boot.c carries the plan out. Internal to the boot files of guest/.
 */
#ifndef CORBEL_GUEST_BOOT_PLAN_H
#define CORBEL_GUEST_BOOT_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/boot.h"
#include "guest/config.h"
#include "lib/error.h"

#define BOOT_SEGMENTS_MAX 36 /* pieces with an address of their own */
#define BOOT_REGIONS_MAX (BOOT_SEGMENTS_MAX + VM_MODULES_MAX + 4)
#define BOOT_SCRATCH_BYTES 40960u

/* Selectors of the flat segments at entry, in every protocol (those of the Linux 64-bit protocol). */
#define BOOT_CS 0x10u
#define BOOT_DS 0x18u

/* A file of the store; @name is the definition's, cleaned when it reaches a message. */
struct boot_file {
	const char *name;
	const uint8_t *data;
	uint64_t size;
};

struct boot_input {
	const struct vm_config *cfg;
	const struct guest_layout *layout;
	struct boot_file image;
	struct boot_file initrd; /* data NULL: none */
	struct boot_file modules[VM_MODULES_MAX]; /* cfg->boot.module_count of them */
};

/* [start, start + size) of guest memory; its first data_size bytes are @data, the rest stays zero as fresh RAM is. */
struct boot_region {
	uint64_t start, size;
	const void *data;
	uint64_t data_size;
	const char *what; /* for messages: "segment", "initrd"; static */
	unsigned number;
};

enum boot_mode {
	BOOT_MODE_PROTECTED, /* 32-bit, flat segments, paging off */
	BOOT_MODE_LONG,      /* 64-bit, paging on at cr3, GDT at gdt */
};

struct boot_entry {
	enum boot_mode mode;
	uint64_t rip;
	uint64_t rax, rbx, rsi;
	uint64_t cr3;      /* BOOT_MODE_LONG */
	uint64_t gdt;      /* BOOT_MODE_LONG */
	uint16_t gdt_size; /* bytes */
};

struct boot_plan {
	char image[64]; /* cleaned name of the image, for messages */
	const struct guest_layout *layout;
	struct boot_region regions[BOOT_REGIONS_MAX];
	unsigned count;
	struct boot_entry entry;
	size_t scratch_used;
	_Alignas(8) uint8_t scratch[BOOT_SCRATCH_BYTES]; /* bytes that the loader generates */
};

/* Where a piece without an address of its own may go. */
struct boot_window {
	uint64_t low, high; /* [low, high) */
	bool top_down;
};

void plan_init(struct boot_plan *plan, const char *image, const struct guest_layout *layout);

/* Puts @r where it says. ST_OVER_LIMIT: not RAM of this VM; ST_INVALID: overlap; a region of size 0 is dropped. */
enum status plan_add(struct boot_plan *plan, const struct boot_region *r, struct error *err) MUST_CHECK;

/*
 * Finds room for @r in RAM inside @w, aligned to @align (a power of two), sets r->start and adds it.
 * ST_OVER_LIMIT when there is none; @err is not written then, the caller knows what to say.
 */
enum status plan_place(struct boot_plan *plan, struct boot_region *r, uint64_t align,
		       const struct boot_window *w) MUST_CHECK;

/* Zeroed, 8-byte aligned, lives as long as the plan. Sizes are bounded by the definition's: too small is an ASSERT. */
void *plan_scratch(struct boot_plan *plan, size_t size);

/* True when [@start, @start + @size) lies in one region's memory. */
bool plan_covers(const struct boot_plan *plan, uint64_t start, uint64_t size);

/*
 * Puts an initrd as high as it goes below @limit, page-aligned: clear of where kernels grow. A sentence says
 * when it is empty or does not fit.
 */
enum status plan_place_initrd(struct boot_plan *plan, const struct boot_file *file, uint64_t limit, uint64_t *start,
			      struct error *err) MUST_CHECK;

/* A block of parameters for the kernel: in conventional memory from 64 KiB on, else above 1 MiB, below 4 GiB. */
enum status plan_place_info(struct boot_plan *plan, struct boot_region *r, struct error *err) MUST_CHECK;

/*
 * Adds the loadable segments of @elf at their physical addresses, all below 4 GiB, and sets *end to where the
 * highest ends. ST_INVALID when there is none.
 */
struct elf;
enum status plan_add_elf(struct boot_plan *plan, const struct elf *elf, uint64_t *end, struct error *err) MUST_CHECK;

/*
 * The few words of the BIOS data area that kernels read without a BIOS: the size of conventional memory, where the
 * extended BIOS data area begins, COM1. Not where the image covers it.
 */
void plan_add_bios_data(struct boot_plan *plan);

/* The plan for @in by the protocol of its definition; @plan is initialised here. */
enum status boot_make_plan(const struct boot_input *in, struct boot_plan *plan, struct error *err) MUST_CHECK;

/* The loaders. Each checks the whole image, then fills @plan, which is initialised. */
enum status boot_linux_plan(const struct boot_input *in, struct boot_plan *plan, struct error *err) MUST_CHECK;
enum status boot_pvh_plan(const struct boot_input *in, struct boot_plan *plan, struct error *err) MUST_CHECK;
enum status boot_multiboot_plan(const struct boot_input *in, struct boot_plan *plan, struct error *err) MUST_CHECK;

#endif
