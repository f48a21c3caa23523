/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers for the two loader protocols. Each field is fetched by its offset with
 * get_le32/64 from a range whose length has been checked, never through a
 * struct laid over foreign bytes, so alignment and truncation need no thought.
 *
 * Sources: Multiboot2 Specification 2.0 section 3.6; Xen
 * public/arch-x86/hvm/start_info.h.
 */
#include "firmware/bootinfo.h"

#include <string.h>

#include "firmware/text.h"
#include "lib/bits.h"

/* Multiboot2: 3.4 basic tags structure. */
#define MB2_HEADER_BYTES 8u
#define MB2_TAG_BYTES 8u
#define MB2_TAG_ALIGN 8u
#define MB2_INFO_MAX (1u << 20)
#define MB2_MODULE_STRING 16u
#define MB2_MEMMAP_ENTRIES 16u
#define MB2_MEMMAP_ENTRY_MIN 24u

/* struct hvm_start_info. */
#define PVH_V0_BYTES 40u
#define PVH_V1_BYTES 56u
#define PVH_VERSION 4u
#define PVH_MODULE_COUNT 12u
#define PVH_MODULES 16u
#define PVH_CMDLINE 24u
#define PVH_RSDP 32u
#define PVH_MEMMAP 40u
#define PVH_MEMMAP_COUNT 48u
#define PVH_MODULE_BYTES 32u
#define PVH_MEMMAP_BYTES 24u

#define E820_RAM 1u
#define E820_ACPI 3u
#define E820_NVS 4u
#define E820_UNUSABLE 5u

static enum memmap_type type_of_e820(uint32_t type)
{
	switch (type) {
	case E820_RAM:
		return MEMMAP_RAM;
	case E820_ACPI:
		return MEMMAP_ACPI;
	case E820_NVS:
		return MEMMAP_NVS;
	case E820_UNUSABLE:
		return MEMMAP_UNUSABLE;
	default:
		return MEMMAP_RESERVED;
	}
}

static enum status add_range(struct boot_info *out, uint64_t start, uint64_t len, uint32_t e820_type, struct error *err)
{
	if (out->range_count == BOOT_RANGES_MAX)
		return fail(err, ST_OVER_LIMIT, "boot information: more than %d memory ranges", BOOT_RANGES_MAX);
	out->range[out->range_count++] = (struct memmap_range){start, len, type_of_e820(e820_type)};
	return ST_OK;
}

/* The next free module, or NULL with the error told. */
static struct loaded_module *add_module(struct boot_info *out, struct error *err)
{
	if (out->module_count == BOOT_MODULES_MAX) {
		(void)fail(err, ST_OVER_LIMIT, "boot information: more than %d modules", BOOT_MODULES_MAX);
		return NULL;
	}
	return &out->module[out->module_count++];
}

/* Copies a string of at most @max bytes; cut to @size - 1. False when it has no end within @max. */
static bool copy_bounded(char *to, size_t size, const char *from, size_t max)
{
	return text_copy(to, size, from, max) < max;
}

/* ---- multiboot2 ---- */

static enum status mb2_cmdline(struct boot_info *out, const uint8_t *tag, uint32_t size, struct error *err)
{
	const char *text = (const char *)tag + MB2_TAG_BYTES;
	size_t max = size - MB2_TAG_BYTES;

	if (text_length(text, max) >= sizeof(out->cmdline))
		return fail(err, ST_OVER_LIMIT, "multiboot2: command line longer than %zu bytes",
			    sizeof(out->cmdline) - 1);
	if (!copy_bounded(out->cmdline, sizeof(out->cmdline), text, max))
		return fail(err, ST_CORRUPT, "multiboot2: command line without end");
	return ST_OK;
}

static enum status mb2_module(struct boot_info *out, const uint8_t *tag, uint32_t size, struct error *err)
{
	uint32_t start, end;
	struct loaded_module *m;

	if (size <= MB2_MODULE_STRING)
		return fail(err, ST_TRUNCATED, "multiboot2: module tag of %u bytes", size);
	start = get_le32(tag + 8);
	end = get_le32(tag + 12);
	if (end < start)
		return fail(err, ST_CORRUPT, "multiboot2: module from 0x%x to 0x%x", start, end);
	m = add_module(out, err);
	if (!m)
		return ST_OVER_LIMIT;
	m->start = start;
	m->len = end - start;
	if (!copy_bounded(m->args, sizeof(m->args), (const char *)tag + MB2_MODULE_STRING, size - MB2_MODULE_STRING))
		return fail(err, ST_CORRUPT, "multiboot2: module string without end");
	return ST_OK;
}

static enum status mb2_memmap(struct boot_info *out, const uint8_t *tag, uint32_t size, struct error *err)
{
	uint32_t entry_size;

	if (size < MB2_MEMMAP_ENTRIES)
		return fail(err, ST_TRUNCATED, "multiboot2: memory map tag of %u bytes", size);
	entry_size = get_le32(tag + 8);
	if (entry_size < MB2_MEMMAP_ENTRY_MIN || entry_size % 8 != 0)
		return fail(err, ST_CORRUPT, "multiboot2: memory map entries of %u bytes", entry_size);
	for (uint32_t at = MB2_MEMMAP_ENTRIES; size - at >= entry_size; at += entry_size) {
		const uint8_t *e = tag + at;
		enum status st = add_range(out, get_le64(e), get_le64(e + 8), get_le32(e + 16), err);

		if (st != ST_OK)
			return st;
	}
	return ST_OK;
}

static void mb2_rsdp(struct boot_info *out, const uint8_t *tag, uint32_t size)
{
	uint32_t len = MIN(size - MB2_TAG_BYTES, BOOT_RSDP_MAX);

	/* Both the old and the new tag may be there: the longer copy is the newer one. */
	if (len <= out->rsdp_len)
		return;
	memcpy(out->rsdp, tag + MB2_TAG_BYTES, len);
	out->rsdp_len = len;
}

static enum status mb2_tag(struct boot_info *out, const uint8_t *tag, uint32_t size, struct error *err)
{
	switch (get_le32(tag)) {
	case MB2_INFO_CMDLINE:
		return mb2_cmdline(out, tag, size, err);
	case MB2_INFO_LOADER:
		(void)copy_bounded(out->loader, sizeof(out->loader), (const char *)tag + MB2_TAG_BYTES,
				   size - MB2_TAG_BYTES);
		return ST_OK;
	case MB2_INFO_MODULE:
		return mb2_module(out, tag, size, err);
	case MB2_INFO_MEMMAP:
		return mb2_memmap(out, tag, size, err);
	case MB2_INFO_ACPI_OLD:
	case MB2_INFO_ACPI_NEW:
		mb2_rsdp(out, tag, size);
		return ST_OK;
	default:
		return ST_OK;
	}
}

static enum status read_multiboot2(const struct phys_reader *mem, uint64_t at, struct boot_info *out, struct error *err)
{
	const uint8_t *info = phys_map(mem, at, MB2_HEADER_BYTES);
	uint32_t total;

	if (!info)
		return fail(err, ST_BAD_ADDRESS, "multiboot2: information at 0x%llx cannot be read",
			    (unsigned long long)at);
	total = get_le32(info);
	if (total < MB2_HEADER_BYTES + MB2_TAG_BYTES || total > MB2_INFO_MAX)
		return fail(err, ST_CORRUPT, "multiboot2: information of %u bytes", total);
	info = phys_map(mem, at, total);
	if (!info)
		return fail(err, ST_TRUNCATED, "multiboot2: information of %u bytes cannot be read", total);
	for (uint32_t pos = MB2_HEADER_BYTES; total - pos >= MB2_TAG_BYTES;) {
		uint32_t size = get_le32(info + pos + 4);
		enum status st;

		if (size < MB2_TAG_BYTES || size > total - pos)
			return fail(err, ST_CORRUPT, "multiboot2: tag at offset %u claims %u bytes", pos, size);
		if (get_le32(info + pos) == MB2_INFO_END)
			return ST_OK;
		st = mb2_tag(out, info + pos, size, err);
		if (st != ST_OK)
			return st;
		if (align_up(size, MB2_TAG_ALIGN) > total - pos)
			break;
		pos += (uint32_t)align_up(size, MB2_TAG_ALIGN);
	}
	return fail(err, ST_TRUNCATED, "multiboot2: information of %u bytes has no end tag", total);
}

/* ---- PVH ---- */

/*
 * Copies the NUL-terminated string at @at, byte by byte because its length is
 * not known. False when a byte cannot be read or the string does not fit.
 */
static bool pvh_string(const struct phys_reader *mem, uint64_t at, char *to, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		const char *c = phys_map(mem, at + i, 1);

		to[i] = c ? *c : '\0';
		if (!c)
			return false;
		if (*c == '\0')
			return true;
	}
	to[size - 1] = '\0';
	return false;
}

static enum status pvh_modules(const struct phys_reader *mem, const uint8_t *info, struct boot_info *out,
			       struct error *err)
{
	uint32_t count = get_le32(info + PVH_MODULE_COUNT);
	uint64_t list = get_le64(info + PVH_MODULES);

	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *e = phys_map(mem, list + (uint64_t)i * PVH_MODULE_BYTES, PVH_MODULE_BYTES);
		struct loaded_module *m;

		if (!e)
			return fail(err, ST_BAD_ADDRESS, "PVH start_info: module %u at 0x%llx cannot be read", i,
				    (unsigned long long)list);
		m = add_module(out, err);
		if (!m)
			return ST_OVER_LIMIT;
		m->start = get_le64(e);
		m->len = get_le64(e + 8);
		m->args[0] = '\0';
		/* The words are only a name for the log: a cut or unreadable one does no harm. */
		if (get_le64(e + 16) != 0)
			(void)pvh_string(mem, get_le64(e + 16), m->args, sizeof(m->args));
	}
	return ST_OK;
}

static enum status pvh_memmap(const struct phys_reader *mem, const uint8_t *info, struct boot_info *out,
			      struct error *err)
{
	uint64_t at = get_le64(info + PVH_MEMMAP);
	uint32_t count = get_le32(info + PVH_MEMMAP_COUNT);

	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *e = phys_map(mem, at + (uint64_t)i * PVH_MEMMAP_BYTES, PVH_MEMMAP_BYTES);
		enum status st;

		if (!e)
			return fail(err, ST_BAD_ADDRESS, "PVH start_info: entry %u of the memory map cannot be read",
				    i);
		st = add_range(out, get_le64(e), get_le64(e + 8), get_le32(e + 16), err);
		if (st != ST_OK)
			return st;
	}
	return ST_OK;
}

static enum status read_pvh(const struct phys_reader *mem, uint64_t at, struct boot_info *out, struct error *err)
{
	const uint8_t *info = phys_map(mem, at, PVH_V0_BYTES);
	uint64_t cmdline;
	enum status st;

	if (!info)
		return fail(err, ST_BAD_ADDRESS, "PVH start_info at 0x%llx cannot be read", (unsigned long long)at);
	if (get_le32(info) != PVH_MAGIC)
		return fail(err, ST_CORRUPT, "PVH start_info: magic 0x%x instead of 0x%x", get_le32(info), PVH_MAGIC);
	if (get_le32(info + PVH_VERSION) < 1)
		return fail(err, ST_UNSUPPORTED, "PVH start_info: version 0 has no memory map");
	info = phys_map(mem, at, PVH_V1_BYTES);
	if (!info)
		return fail(err, ST_TRUNCATED, "PVH start_info: shorter than its version says");
	out->rsdp_at = get_le64(info + PVH_RSDP);
	cmdline = get_le64(info + PVH_CMDLINE);
	if (cmdline != 0 && !pvh_string(mem, cmdline, out->cmdline, sizeof(out->cmdline)))
		return fail(err, ST_OVER_LIMIT, "PVH start_info: command line unreadable or longer than %zu bytes",
			    sizeof(out->cmdline) - 1);
	st = pvh_modules(mem, info, out, err);
	return st == ST_OK ? pvh_memmap(mem, info, out, err) : st;
}

enum status bootinfo_read(const struct phys_reader *mem, unsigned protocol, hpa_t at, struct boot_info *out,
			  struct error *err)
{
	enum status st;

	memset(out, 0, sizeof(*out));
	out->protocol = protocol;
	switch (protocol) {
	case BOOT_MULTIBOOT2:
		st = read_multiboot2(mem, at.v, out, err);
		break;
	case BOOT_PVH:
		st = read_pvh(mem, at.v, out, err);
		break;
	default:
		return fail(err, ST_UNSUPPORTED, "boot information: unknown protocol %u", protocol);
	}
	if (st == ST_OK && out->range_count == 0)
		return fail(err, ST_NOT_FOUND, "boot information: the loader gave no memory map");
	return st;
}
