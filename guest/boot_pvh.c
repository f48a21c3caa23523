/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PVH direct boot: an ELF kernel with a note (owner "Xen", type 18) that names
 * its 32-bit entry point; ebx points at a start_info block of version 1 with
 * command line, memory map, modules and the RSDP. It is the shortest way into
 * an uncompressed Linux, and what several unikernels offer.
 * Source: Xen's public "x86/HVM direct boot ABI" and its start_info layout.
 */
#include <string.h>

#include "guest/boot_plan.h"
#include "guest/elf.h"
#include "lib/assert.h"

#define NOTE_OWNER "Xen"
#define NOTE_PHYS32_ENTRY 18u

#define START_MAGIC 0x336ec578u
#define START_VERSION 1u

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr;
	uint64_t memmap_paddr;
	uint32_t memmap_entries, reserved;
};
_Static_assert(sizeof(struct start_info) == 56, "start_info version 1");

struct modlist_entry {
	uint64_t paddr, size, cmdline_paddr, reserved;
};

struct memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved; /* types as in E820 */
};
_Static_assert(sizeof(struct memmap_entry) == 24, "start_info memory map entry");

/* Everything that the kernel reads, in one piece. */
struct pvh_block {
	struct start_info info;
	struct modlist_entry initrd;
	struct memmap_entry map[E820_MAX];
	char cmdline[VM_CMDLINE_MAX];
};

/* The note's value is an address of 4 bytes, or of 8 in 64-bit kernels. */
static enum status find_entry(const struct boot_plan *plan, const struct elf *elf, uint64_t *out, struct error *err)
{
	uint64_t len;
	const uint8_t *note = elf_note(elf, NOTE_OWNER, NOTE_PHYS32_ENTRY, &len);

	if (!note)
		return fail(err, ST_UNSUPPORTED, "image '%s' is no PVH kernel: it has no ELF note of Xen type %u",
			    plan->image, NOTE_PHYS32_ENTRY);
	if (len != 4 && len != 8)
		return fail(err, ST_CORRUPT, "image '%s': its PVH entry note has %llu bytes, not 4 or 8", plan->image,
			    (unsigned long long)len);
	*out = len == 8 ? get_le64(note) : get_le32(note);
	return ST_OK;
}

static enum status plan_image(struct boot_plan *plan, const struct boot_file *image, uint64_t *end, struct error *err)
{
	struct elf elf;
	enum status st = elf_open(&elf, plan->image, image->data, image->size, err);

	if (st == ST_OK)
		st = find_entry(plan, &elf, &plan->entry.rip, err);
	if (st == ST_OK)
		st = plan_add_elf(plan, &elf, end, err);
	if (st == ST_OK && !plan_covers(plan, plan->entry.rip, 1))
		return fail(err, ST_CORRUPT, "image '%s': its PVH entry point 0x%llx lies outside of what is loaded",
			    plan->image, (unsigned long long)plan->entry.rip);
	return st;
}

static void fill_block(struct pvh_block *b, uint64_t at, const struct boot_input *in)
{
	const struct guest_layout *l = in->layout;

	_Static_assert(sizeof b->cmdline == sizeof in->cfg->boot.cmdline, "a command line always fits");
	memcpy(b->cmdline, in->cfg->boot.cmdline, sizeof b->cmdline);
	for (unsigned i = 0; i < l->count; i++)
		b->map[i] = (struct memmap_entry){l->map[i].start, l->map[i].size, l->map[i].type, 0};
	b->info.magic = START_MAGIC;
	b->info.version = START_VERSION;
	b->info.cmdline_paddr = at + offsetof(struct pvh_block, cmdline);
	b->info.memmap_paddr = at + offsetof(struct pvh_block, map);
	b->info.memmap_entries = l->count;
	b->info.rsdp_paddr = l->acpi_tables.v;
	if (!in->initrd.data)
		return;
	b->info.nr_modules = 1;
	b->info.modlist_paddr = at + offsetof(struct pvh_block, initrd);
}

enum status boot_pvh_plan(const struct boot_input *in, struct boot_plan *plan, struct error *err)
{
	struct pvh_block *b = plan_scratch(plan, sizeof *b);
	struct boot_region r = {.size = sizeof *b, .data = b, .data_size = sizeof *b, .what = "start info"};
	uint64_t end = 0;
	enum status st = plan_image(plan, &in->image, &end, err);

	if (st == ST_OK && in->initrd.data) {
		st = plan_place_initrd(plan, &in->initrd, LAYOUT_MMIO_START, &b->initrd.paddr, err);
		b->initrd.size = in->initrd.size;
	}
	if (st == ST_OK)
		st = plan_place_info(plan, &r, err);
	if (st != ST_OK)
		return st;
	fill_block(b, r.start, in);
	plan->entry.mode = BOOT_MODE_PROTECTED;
	plan->entry.rbx = r.start;
	return ST_OK;
}
