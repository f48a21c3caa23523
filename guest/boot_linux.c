/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux bzImage by the 64-bit boot protocol, 2.12 and later: the protected-mode
 * part goes to the address that the kernel prefers (or another one when it is
 * relocatable), boot_params carries the setup header, the memory map, command
 * line, initrd and RSDP, and the kernel is entered at +0x200 in 64-bit mode on
 * page tables that map 4 GiB one to one, with rsi at boot_params.
 * Source: Linux Documentation/arch/x86/boot.rst and zero-page.rst.
 */
#include <string.h>

#include "guest/boot_plan.h"
#include "lib/assert.h"
#include "lib/checked.h"
#include "lib/x86_regs.h"

/* Setup header fields: offsets in the image, and the same in boot_params. */
#define H_SETUP_SECTS 0x1f1
#define H_SYSSIZE 0x1f4
#define H_BOOT_FLAG 0x1fe
#define H_JUMP_LENGTH 0x201
#define H_MAGIC 0x202
#define H_VERSION 0x206
#define H_TYPE_OF_LOADER 0x210
#define H_LOADFLAGS 0x211
#define H_RAMDISK_IMAGE 0x218
#define H_RAMDISK_SIZE 0x21c
#define H_CMD_LINE_PTR 0x228
#define H_INITRD_ADDR_MAX 0x22c
#define H_KERNEL_ALIGNMENT 0x230
#define H_RELOCATABLE 0x234
#define H_XLOADFLAGS 0x236
#define H_CMDLINE_SIZE 0x238
#define H_PREF_ADDRESS 0x258
#define H_INIT_SIZE 0x260
#define H_END_MIN 0x268u /* header end of protocol 2.12: handover_offset is its last field */
#define H_END_MAX 0x290u /* boot_params has other contents from here on */

#define MAGIC 0x53726448u /* "HdrS" */
#define BOOT_FLAG 0xaa55u
#define VERSION_MIN 0x20cu
#define SECTOR 512u
#define PARAGRAPH 16u
#define SETUP_SECTS_DEFAULT 4u /* when the field says 0 */
#define LOADED_HIGH BIT(0)
#define XLF_KERNEL_64 BIT(0)
#define XLF_CAN_BE_LOADED_ABOVE_4G BIT(1)
#define LOADER_UNDEFINED 0xffu
#define ENTRY_64 0x200u

/* Fields of boot_params outside of the setup header. */
#define P_ACPI_RSDP 0x070
#define P_EXT_RAMDISK_IMAGE 0x0c0
#define P_EXT_RAMDISK_SIZE 0x0c4
#define P_E820_ENTRIES 0x1e8
#define P_E820_TABLE 0x2d0
#define E820_ENTRY_SIZE 20u

#define TABLES 6u /* PML4, PDPT and one page directory for each of 4 GiB */
#define ENTRIES 512u
#define GDT_ENTRIES 5u
/* Flat segments: code for 64-bit mode at 0x10, data at 0x18. */
#define GDT_CODE64 0x00af9b000000ffffull
#define GDT_DATA 0x00cf93000000ffffull

/*
 * What the kernel reads, in one piece at the beginning of conventional memory: its decompressor clears and
 * uses the end of that memory for a moment, while it still runs on these page tables.
 */
struct linux_block {
	uint8_t params[PAGE_SIZE];
	uint64_t table[TABLES][ENTRIES];
	uint64_t gdt[GDT_ENTRIES];
	char cmdline[VM_CMDLINE_MAX];
};
_Static_assert(sizeof(struct linux_block) <= BOOT_SCRATCH_BYTES, "fits the plan");

struct bzimage {
	const uint8_t *data;
	uint64_t setup_size;   /* bytes before the protected-mode part */
	uint64_t payload_size; /* of the protected-mode part */
	uint64_t header_end;
};

static enum status truncated(const struct boot_plan *plan, const char *part, uint64_t need, uint64_t have,
			     struct error *err)
{
	return fail(err, ST_TRUNCATED, "image '%s' is truncated: %s needs %llu bytes, the file has %llu", plan->image,
		    part, (unsigned long long)need, (unsigned long long)have);
}

/* That it is a bzImage new enough to have the fields that follow. */
static enum status check_magic(const struct boot_plan *plan, const struct boot_file *image, struct error *err)
{
	const uint8_t *p = image->data;
	uint16_t version;

	if (image->size < H_VERSION + 2 || get_le16(p + H_BOOT_FLAG) != BOOT_FLAG || get_le32(p + H_MAGIC) != MAGIC)
		return fail(err, ST_UNSUPPORTED, "image '%s' is no Linux bzImage: it has no HdrS setup header",
			    plan->image);
	version = get_le16(p + H_VERSION);
	if (version < VERSION_MIN)
		return fail(err, ST_UNSUPPORTED, "image '%s': its boot protocol %u.%02u is older than 2.12",
			    plan->image, version >> 8, version & 0xff);
	if (image->size < H_END_MAX)
		return truncated(plan, "the setup header", H_END_MAX, image->size, err);
	return ST_OK;
}

static enum status check_features(const struct boot_plan *plan, const uint8_t *p, struct error *err)
{
	uint32_t align = get_le32(p + H_KERNEL_ALIGNMENT);

	if (!(p[H_LOADFLAGS] & LOADED_HIGH))
		return fail(err, ST_UNSUPPORTED, "image '%s' is a zImage, to be loaded low; a bzImage is needed",
			    plan->image);
	if (!(get_le16(p + H_XLOADFLAGS) & XLF_KERNEL_64))
		return fail(err, ST_UNSUPPORTED, "image '%s' is a 32-bit kernel: it has no 64-bit entry point",
			    plan->image);
	if (align == 0 || (align & (align - 1)))
		return fail(err, ST_CORRUPT, "image '%s': its kernel_alignment 0x%x is no power of two", plan->image,
			    align);
	return ST_OK;
}

static enum status check_sizes(const struct boot_plan *plan, const struct boot_file *image, struct bzimage *out,
			       struct error *err)
{
	const uint8_t *p = image->data;
	unsigned sects = p[H_SETUP_SECTS] ? p[H_SETUP_SECTS] : SETUP_SECTS_DEFAULT;

	out->data = p;
	out->setup_size = (uint64_t)(sects + 1) * SECTOR;
	out->payload_size = (uint64_t)get_le32(p + H_SYSSIZE) * PARAGRAPH;
	out->header_end = H_MAGIC + p[H_JUMP_LENGTH];
	if (out->header_end < H_END_MIN || out->header_end > out->setup_size)
		return fail(err, ST_CORRUPT, "image '%s': its setup header ends at 0x%llx", plan->image,
			    (unsigned long long)out->header_end);
	if (out->payload_size <= ENTRY_64)
		return fail(err, ST_CORRUPT, "image '%s': its syssize %llu leaves no room for the 64-bit entry point",
			    plan->image, (unsigned long long)out->payload_size / PARAGRAPH);
	/* syssize counts whole paragraphs, and not every kernel's file is padded to the last one's end. */
	if (!range_fits(out->setup_size, out->payload_size - (PARAGRAPH - 1), image->size))
		return truncated(plan, "setup and protected-mode code", out->setup_size + out->payload_size,
				 image->size, err);
	out->payload_size = MIN(out->payload_size, image->size - out->setup_size);
	return ST_OK;
}

static enum status parse(const struct boot_plan *plan, const struct boot_file *image, struct bzimage *out,
			 struct error *err)
{
	enum status st = check_magic(plan, image, err);

	if (st == ST_OK)
		st = check_features(plan, image->data, err);
	if (st == ST_OK)
		st = check_sizes(plan, image, out, err);
	return st;
}

/* At pref_address, or, when that is taken or not there and the kernel can move, the lowest place above 1 MiB. */
static enum status place_kernel(struct boot_plan *plan, const struct bzimage *k, uint64_t *load, struct error *err)
{
	static const struct boot_window extended = {.low = LAYOUT_EXTENDED_START, .high = LAYOUT_MMIO_START};
	uint64_t init_size = MAX((uint64_t)get_le32(k->data + H_INIT_SIZE), k->payload_size);
	struct boot_region r = {.start = get_le64(k->data + H_PREF_ADDRESS), .size = init_size,
				.data = k->data + k->setup_size, .data_size = k->payload_size, .what = "kernel"};
	enum status st = ST_OVER_LIMIT;

	if (r.start >= LAYOUT_EXTENDED_START && range_fits(r.start, r.size, LAYOUT_MMIO_START))
		st = plan_add(plan, &r, NULL);
	if (st != ST_OK && k->data[H_RELOCATABLE])
		st = plan_place(plan, &r, get_le32(k->data + H_KERNEL_ALIGNMENT), &extended);
	if (st != ST_OK)
		return fail(err, ST_OVER_LIMIT, "image '%s' needs %llu KiB of memory%s, more than a VM of %llu KiB has",
			    plan->image, (unsigned long long)align_up(init_size, 1024) >> 10,
			    k->data[H_RELOCATABLE] ? "" : " at a fixed address",
			    (unsigned long long)(plan->layout->ram_low + plan->layout->ram_high) >> 10);
	*load = r.start;
	return ST_OK;
}

static enum status place_initrd(struct boot_plan *plan, const struct boot_input *in, uint8_t *params,
				struct error *err)
{
	uint64_t limit = (uint64_t)get_le32(params + H_INITRD_ADDR_MAX) + 1, start = 0;
	enum status st;

	if (!in->initrd.data)
		return ST_OK;
	if (get_le16(params + H_XLOADFLAGS) & XLF_CAN_BE_LOADED_ABOVE_4G)
		limit = UINT64_MAX;
	/* Below 4 GiB if it fits, whatever the kernel allows: early code maps no more. */
	st = plan_place_initrd(plan, &in->initrd, MIN(limit, LAYOUT_HIGH_START), &start, NULL);
	if (st != ST_OK)
		st = plan_place_initrd(plan, &in->initrd, limit, &start, err);
	if (st != ST_OK)
		return st;
	put_le32(params + H_RAMDISK_IMAGE, (uint32_t)start);
	put_le32(params + P_EXT_RAMDISK_IMAGE, (uint32_t)(start >> 32));
	put_le32(params + H_RAMDISK_SIZE, (uint32_t)in->initrd.size);
	put_le32(params + P_EXT_RAMDISK_SIZE, (uint32_t)(in->initrd.size >> 32));
	return ST_OK;
}

static enum status check_cmdline(const struct boot_plan *plan, const uint8_t *p, const char *cmdline,
				 struct error *err)
{
	uint32_t max = get_le32(p + H_CMDLINE_SIZE);
	size_t len = strlen(cmdline);

	if (len > max)
		return fail(err, ST_OVER_LIMIT, "image '%s': the command line has %zu characters, the kernel takes %u",
			    plan->image, len, max);
	return ST_OK;
}

static void fill_memory_map(uint8_t *params, const struct guest_layout *l)
{
	params[P_E820_ENTRIES] = (uint8_t)l->count;
	for (unsigned i = 0; i < l->count; i++) {
		uint8_t *e = params + P_E820_TABLE + i * E820_ENTRY_SIZE;

		put_le64(e, l->map[i].start);
		put_le64(e + 8, l->map[i].size);
		put_le32(e + 16, l->map[i].type);
	}
}

static void copy_header(uint8_t *params, const struct bzimage *k)
{
	memcpy(params + H_SETUP_SECTS, k->data + H_SETUP_SECTS, MIN(k->header_end, H_END_MAX) - H_SETUP_SECTS);
	params[H_TYPE_OF_LOADER] = LOADER_UNDEFINED;
}

/* 4 GiB one to one by 2 MiB pages, which every 64-bit processor has; @at is the block's address. */
static void fill_tables(struct linux_block *b, uint64_t at)
{
	uint64_t tables = at + offsetof(struct linux_block, table);

	b->table[0][0] = (tables + PAGE_SIZE) | PTE_P | PTE_W;
	for (unsigned d = 0; d < TABLES - 2; d++) {
		b->table[1][d] = (tables + (2 + d) * PAGE_SIZE) | PTE_P | PTE_W;
		for (unsigned i = 0; i < ENTRIES; i++)
			b->table[2 + d][i] = ((uint64_t)(d * ENTRIES + i) << 21) | PTE_P | PTE_W | PTE_PS;
	}
	b->gdt[BOOT_CS / 8] = GDT_CODE64;
	b->gdt[BOOT_DS / 8] = GDT_DATA;
}

static void set_entry(struct boot_entry *e, uint64_t load, uint64_t block)
{
	e->mode = BOOT_MODE_LONG;
	e->rip = load + ENTRY_64;
	e->rsi = block + offsetof(struct linux_block, params);
	e->cr3 = block + offsetof(struct linux_block, table);
	e->gdt = block + offsetof(struct linux_block, gdt);
	e->gdt_size = sizeof ((struct linux_block *)0)->gdt;
}

enum status boot_linux_plan(const struct boot_input *in, struct boot_plan *plan, struct error *err)
{
	static const struct boot_window low = {.low = PAGE_SIZE, .high = LAYOUT_LOW_END};
	struct linux_block *b = plan_scratch(plan, sizeof *b);
	struct boot_region r = {.size = sizeof *b, .data = b, .data_size = sizeof *b, .what = "boot parameters"};
	struct bzimage k;
	uint64_t load = 0;
	enum status st = parse(plan, &in->image, &k, err);

	if (st == ST_OK)
		st = check_cmdline(plan, k.data, in->cfg->boot.cmdline, err);
	if (st == ST_OK)
		st = place_kernel(plan, &k, &load, err);
	if (st != ST_OK)
		return st;
	copy_header(b->params, &k);
	st = place_initrd(plan, in, b->params, err);
	if (st != ST_OK)
		return st;
	/* The kernel and the initrd are above 1 MiB, so low memory is empty. */
	st = plan_place(plan, &r, PAGE_SIZE, &low);
	ASSERT(st == ST_OK);
	fill_memory_map(b->params, in->layout);
	put_le64(b->params + P_ACPI_RSDP, in->layout->acpi_tables.v);
	memcpy(b->cmdline, in->cfg->boot.cmdline, sizeof b->cmdline);
	put_le32(b->params + H_CMD_LINE_PTR, (uint32_t)(r.start + offsetof(struct linux_block, cmdline)));
	fill_tables(b, r.start);
	set_entry(&plan->entry, load, r.start);
	return ST_OK;
}
