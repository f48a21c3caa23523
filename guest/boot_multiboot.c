/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot 1: unikernels, test programs and old kernels. The image is found by
 * a header in its first 8 KiB; it is ELF (32-bit, or 64-bit with its 32-bit
 * entry below 4 GiB, as GRUB takes it) or flat with load addresses in the
 * header. Modules go page-aligned behind the kernel, where kernels with small
 * early page tables still reach them; the information block goes to the end of
 * conventional memory. The command line is passed exactly as defined: the name
 * of the image is not put before it (specification, 3.3).
 * Source: Multiboot Specification 0.6.96.
 */
#include <string.h>

#include "guest/boot_plan.h"
#include "guest/elf.h"
#include "lib/assert.h"
#include "lib/checked.h"

#define SEARCH_BYTES 8192u
#define HEADER_MAGIC 0x1badb002u
#define ENTRY_MAGIC 0x2badb002u

/* Header fields, byte offsets. */
#define H_FLAGS 4
#define H_CHECKSUM 8
#define H_MIN_SIZE 12u
#define H_HEADER_ADDR 12
#define H_LOAD_ADDR 16
#define H_LOAD_END_ADDR 20
#define H_BSS_END_ADDR 24
#define H_ENTRY_ADDR 28
#define H_ADDRESS_SIZE 32u

/*
 * Flags 0-15 must be understood. The video mode of bit 2 is a preference that a loader without video leaves
 * unanswered (its information flags stay clear), as GRUB does on a machine without a display.
 */
#define FLAG_ALIGN_MODULES BIT(0)
#define FLAG_MEMORY_INFO BIT(1)
#define FLAG_VIDEO_MODE BIT(2)
#define FLAGS_REQUIRED_MASK 0xffffull
#define FLAGS_KNOWN (FLAG_ALIGN_MODULES | FLAG_MEMORY_INFO | FLAG_VIDEO_MODE)
#define FLAG_ADDRESSES BIT(16)

/* Information block. */
#define INFO_MEMORY BIT(0)
#define INFO_CMDLINE BIT(2)
#define INFO_MODULES BIT(3)
#define INFO_MMAP BIT(6)
#define INFO_LOADER_NAME BIT(9)

struct mb_info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper; /* KiB */
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr;
	uint32_t drives_length, drives_addr;
	uint32_t config_table;
	uint32_t boot_loader_name;
	uint32_t apm_table;
	uint32_t vbe_control_info, vbe_mode_info;
	uint16_t vbe_mode, vbe_interface_seg, vbe_interface_off, vbe_interface_len;
	uint32_t framebuffer[7];
};
_Static_assert(sizeof(struct mb_info) == 116, "multiboot information");

struct mb_module {
	uint32_t start, end, string, reserved;
};

struct mb_mmap {
	uint32_t size; /* of what follows */
	uint32_t addr[2], len[2];
	uint32_t type;
};
_Static_assert(sizeof(struct mb_mmap) == 24, "multiboot memory map entry");

/* Everything that the kernel reads, in one piece: pointers stay inside it. */
struct mb_block {
	struct mb_info info;
	struct mb_module modules[VM_MODULES_MAX];
	struct mb_mmap mmap[E820_MAX];
	char loader[8];
	char cmdline[VM_CMDLINE_MAX];
	char strings[VM_MODULES_MAX][VM_PATH_MAX];
};
_Static_assert(sizeof(struct mb_block) <= BOOT_SCRATCH_BYTES, "fits the plan");

struct mb_header {
	uint64_t offset; /* in the image */
	const uint8_t *p;
	uint32_t flags;
};

static bool header_at(const uint8_t *p)
{
	return get_le32(p) == HEADER_MAGIC &&
	       get_le32(p) + get_le32(p + H_FLAGS) + get_le32(p + H_CHECKSUM) == 0;
}

static enum status find_header(const struct boot_plan *plan, const struct boot_file *image, struct mb_header *h,
			       struct error *err)
{
	uint64_t end = MIN(image->size, SEARCH_BYTES);

	for (uint64_t at = 0; at + H_MIN_SIZE <= end; at += 4) {
		if (!header_at(image->data + at))
			continue;
		h->offset = at;
		h->p = image->data + at;
		h->flags = get_le32(h->p + H_FLAGS);
		return ST_OK;
	}
	return fail(err, ST_UNSUPPORTED, "image '%s' is no multiboot kernel: its first %llu bytes hold no header",
		    plan->image, (unsigned long long)end);
}

static enum status check_header(const struct boot_plan *plan, const struct boot_file *image,
				const struct mb_header *h, struct error *err)
{
	uint64_t unknown = h->flags & FLAGS_REQUIRED_MASK & ~FLAGS_KNOWN;

	if (unknown)
		return fail(err, ST_UNSUPPORTED,
			    "image '%s' requires multiboot features that do not exist: flags 0x%llx", plan->image,
			    (unsigned long long)unknown);
	if ((h->flags & FLAG_ADDRESSES) && !range_fits(h->offset, H_ADDRESS_SIZE, image->size))
		return fail(err, ST_TRUNCATED, "image '%s' is truncated: its multiboot header is cut off", plan->image);
	return ST_OK;
}

/* A flat image: the header says what part of the file goes where. All values are 32-bit, so sums fit. */
static enum status plan_flat(struct boot_plan *plan, const struct boot_file *image, const struct mb_header *h,
			     uint64_t *end, struct error *err)
{
	uint64_t header = get_le32(h->p + H_HEADER_ADDR), load = get_le32(h->p + H_LOAD_ADDR);
	uint64_t load_end = get_le32(h->p + H_LOAD_END_ADDR), bss_end = get_le32(h->p + H_BSS_END_ADDR);
	struct boot_region r = {.start = load, .what = "segment"};
	uint64_t offset;

	if (header < load || header - load > h->offset)
		return fail(err, ST_CORRUPT, "image '%s': its multiboot header lies outside of what is to be loaded",
			    plan->image);
	offset = h->offset - (header - load);
	if (load_end == 0)
		load_end = load + (image->size - offset);
	if (load_end <= load || (bss_end != 0 && bss_end < load_end))
		return fail(err, ST_CORRUPT, "image '%s': the load addresses in its multiboot header are out of order",
			    plan->image);
	if (load_end - load > image->size - offset)
		return fail(err, ST_TRUNCATED, "image '%s' is truncated: its header states %llu bytes, %llu are there",
			    plan->image, (unsigned long long)(load_end - load),
			    (unsigned long long)(image->size - offset));
	r.data = image->data + offset;
	r.data_size = load_end - load;
	r.size = MAX(bss_end, load_end) - load;
	*end = load + r.size;
	plan->entry.rip = get_le32(h->p + H_ENTRY_ADDR);
	return plan_add(plan, &r, err);
}

/* e_entry is an address of the kernel's own space where a segment maps it, else physical. */
static uint64_t physical_entry(const struct elf *elf)
{
	for (unsigned i = 0; i < elf->header_count; i++) {
		struct elf_segment s;

		elf_segment(elf, i, &s);
		if (s.type == ELF_PT_LOAD && elf->entry >= s.vaddr && elf->entry - s.vaddr < s.mem_size)
			return elf->entry - s.vaddr + s.paddr;
	}
	return elf->entry;
}

static enum status plan_elf(struct boot_plan *plan, const struct boot_file *image, uint64_t *end, struct error *err)
{
	struct elf elf;
	enum status st = elf_open(&elf, plan->image, image->data, image->size, err);

	if (st != ST_OK)
		return st;
	plan->entry.rip = physical_entry(&elf);
	return plan_add_elf(plan, &elf, end, err);
}

static enum status plan_image(struct boot_plan *plan, const struct boot_file *image, uint64_t *end, struct error *err)
{
	struct mb_header h = {0};
	enum status st = find_header(plan, image, &h, err);

	if (st == ST_OK)
		st = check_header(plan, image, &h, err);
	if (st != ST_OK)
		return st;
	if (h.flags & FLAG_ADDRESSES)
		st = plan_flat(plan, image, &h, end, err);
	else
		st = plan_elf(plan, image, end, err);
	if (st == ST_OK && !plan_covers(plan, plan->entry.rip, 1))
		return fail(err, ST_CORRUPT, "image '%s': its entry point 0x%llx lies outside of what is loaded",
			    plan->image, (unsigned long long)plan->entry.rip);
	return st;
}

/* Page-aligned, behind the kernel when there is room, else anywhere above 1 MiB. */
static enum status place_module(struct boot_plan *plan, const struct boot_file *file, unsigned number,
				uint64_t kernel_end, struct mb_module *out, struct error *err)
{
	struct boot_region r = {.size = file->size, .data = file->data, .data_size = file->size, .what = "module",
				.number = number};
	struct boot_window w = {.low = MAX(kernel_end, LAYOUT_EXTENDED_START), .high = LAYOUT_MMIO_START};
	enum status st = plan_place(plan, &r, PAGE_SIZE, &w);

	w.low = LAYOUT_EXTENDED_START;
	if (st != ST_OK)
		st = plan_place(plan, &r, PAGE_SIZE, &w);
	if (st != ST_OK)
		return fail(err, ST_OVER_LIMIT, "image '%s': module %u of %llu bytes does not fit in %llu MiB",
			    plan->image, number, (unsigned long long)file->size,
			    (unsigned long long)(plan->layout->ram_low >> 20));
	out->start = (uint32_t)r.start;
	out->end = (uint32_t)(r.start + file->size);
	return ST_OK;
}

static void fill_mmap(struct mb_block *b, const struct guest_layout *l)
{
	for (unsigned i = 0; i < l->count; i++) {
		b->mmap[i].size = sizeof b->mmap[i] - sizeof b->mmap[i].size;
		put_le64(b->mmap[i].addr, l->map[i].start);
		put_le64(b->mmap[i].len, l->map[i].size);
		b->mmap[i].type = l->map[i].type;
	}
	b->info.mmap_length = (uint32_t)(l->count * sizeof b->mmap[0]);
	b->info.mem_lower = (uint32_t)(LAYOUT_LOW_END >> 10);
	b->info.mem_upper = (uint32_t)((l->ram_low - LAYOUT_EXTENDED_START) >> 10);
}

/* Addresses inside the block, once its place is known. */
static void fill_pointers(struct mb_block *b, uint32_t at, unsigned modules)
{
	b->info.flags = (uint32_t)(INFO_MEMORY | INFO_CMDLINE | INFO_MMAP | INFO_LOADER_NAME);
	b->info.cmdline = at + offsetof(struct mb_block, cmdline);
	b->info.mmap_addr = at + offsetof(struct mb_block, mmap);
	b->info.boot_loader_name = at + offsetof(struct mb_block, loader);
	if (modules == 0)
		return;
	b->info.flags |= (uint32_t)INFO_MODULES;
	b->info.mods_count = modules;
	b->info.mods_addr = at + offsetof(struct mb_block, modules);
	for (unsigned i = 0; i < modules; i++)
		b->modules[i].string = at + (uint32_t)offsetof(struct mb_block, strings[i]);
}

static void fill_strings(struct mb_block *b, const struct vm_config *cfg)
{
	_Static_assert(sizeof b->cmdline == sizeof cfg->boot.cmdline, "a command line always fits");
	_Static_assert(sizeof b->strings[0] == sizeof cfg->boot.modules[0].cmdline, "and a module's");

	memcpy(b->loader, "Corbel", sizeof "Corbel");
	memcpy(b->cmdline, cfg->boot.cmdline, sizeof b->cmdline);
	for (unsigned i = 0; i < cfg->boot.module_count; i++)
		memcpy(b->strings[i], cfg->boot.modules[i].cmdline, sizeof b->strings[i]);
}

enum status boot_multiboot_plan(const struct boot_input *in, struct boot_plan *plan, struct error *err)
{
	struct mb_block *b = plan_scratch(plan, sizeof *b);
	struct boot_region r = {.size = sizeof *b, .data = b, .data_size = sizeof *b, .what = "boot information"};
	unsigned modules = in->cfg->boot.module_count;
	uint64_t end = 0;
	enum status st = plan_image(plan, &in->image, &end, err);

	for (unsigned i = 0; st == ST_OK && i < modules; i++)
		st = place_module(plan, &in->modules[i], i, end, &b->modules[i], err);
	if (st == ST_OK)
		st = plan_place_info(plan, &r, err);
	if (st != ST_OK)
		return st;
	fill_mmap(b, plan->layout);
	fill_strings(b, in->cfg);
	fill_pointers(b, (uint32_t)r.start, modules);
	plan->entry.mode = BOOT_MODE_PROTECTED;
	plan->entry.rax = ENTRY_MAGIC;
	plan->entry.rbx = r.start;
	return ST_OK;
}
