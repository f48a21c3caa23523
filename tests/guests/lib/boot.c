/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads what the loader left, multiboot 1 or PVH, into one shape, and keeps
 * copies: a guest may then use all memory.
 */
#include "tests/guests/lib/guest.h"

#include <string.h>

#include "tests/guests/lib/trap.h"

#define MULTIBOOT_MAGIC 0x2badb002u
#define PVH_MAGIC 0x336ec578u

#define MB_CMDLINE BIT(2)
#define MB_MODULES BIT(3)
#define MB_MMAP BIT(6)

struct mb_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	uint32_t mmap_length, mmap_addr;
};

struct mb_module {
	uint32_t start, end, cmdline, reserved;
};

struct mb_range {
	uint32_t entry_size;
	uint64_t start, size;
	uint32_t type;
} __attribute__((packed));

struct pvh_info {
	uint32_t magic, version, flags, modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

struct pvh_module {
	uint64_t start, size, cmdline, reserved;
};

struct pvh_range {
	uint64_t start, size;
	uint32_t type, reserved;
};

#define PIC_MASTER_DATA 0x21
#define PIC_SLAVE_DATA 0xa1
#define PIC_MASK_ALL 0xff

#define CMDLINE_MAX 2048
#define MODULE_CMDLINE_MAX 128

struct boot_facts boot;
static char cmdline[CMDLINE_MAX];
static char module_cmdline[MODULES_MAX][MODULE_CMDLINE_MAX];

/* The loader's own bytes. */
static void note_info(uint64_t start, uint64_t size)
{
	if (start && start + size > boot.info_end)
		boot.info_end = start + size;
}

static const char *copy_text(char *out, size_t size, uint64_t from)
{
	const char *s = (const char *)from;
	size_t i = 0;

	for (; from && i + 1 < size && s[i]; i++)
		out[i] = s[i];
	out[i] = '\0';
	note_info(from, i + 1);
	return out;
}

static void add_range(uint64_t start, uint64_t size, uint32_t type)
{
	if (boot.ranges < RANGES_MAX)
		boot.map[boot.ranges++] = (struct range){start, size, type};
}

static void add_module(uint64_t start, uint64_t size, uint64_t text)
{
	unsigned i = boot.modules_count;

	if (i == MODULES_MAX)
		return;
	boot.modules[i].start = start;
	boot.modules[i].size = size;
	boot.modules[i].cmdline = copy_text(module_cmdline[i], MODULE_CMDLINE_MAX, text);
	boot.modules_count++;
}

static void read_multiboot(const struct mb_info *info)
{
	const struct mb_module *modules = (const struct mb_module *)(uint64_t)info->mods_addr;
	uint64_t at = info->mmap_addr;

	boot.protocol = "multiboot";
	note_info((uint64_t)info, sizeof *info);
	note_info(at, info->mmap_length);
	note_info((uint64_t)modules, info->mods_count * sizeof *modules);
	copy_text(cmdline, sizeof cmdline, info->flags & MB_CMDLINE ? info->cmdline : 0);
	for (unsigned i = 0; (info->flags & MB_MODULES) && i < info->mods_count; i++)
		add_module(modules[i].start, modules[i].end - modules[i].start, modules[i].cmdline);
	while ((info->flags & MB_MMAP) && at < (uint64_t)info->mmap_addr + info->mmap_length) {
		const struct mb_range *r = (const struct mb_range *)at;

		add_range(r->start, r->size, r->type);
		at += r->entry_size + sizeof r->entry_size;
	}
}

static void read_pvh(const struct pvh_info *info)
{
	const struct pvh_module *modules = (const struct pvh_module *)info->modlist;
	const struct pvh_range *map = (const struct pvh_range *)info->memmap;

	boot.protocol = "pvh";
	note_info((uint64_t)info, sizeof *info);
	note_info((uint64_t)map, info->memmap_entries * sizeof *map);
	note_info((uint64_t)modules, info->modules * sizeof *modules);
	boot.rsdp = info->rsdp;
	copy_text(cmdline, sizeof cmdline, info->cmdline);
	for (unsigned i = 0; i < info->modules; i++)
		add_module(modules[i].start, modules[i].size, modules[i].cmdline);
	for (unsigned i = 0; info->version >= 1 && i < info->memmap_entries; i++)
		add_range(map[i].start, map[i].size, map[i].type);
}

void guest_start(uint32_t magic, uint64_t info)
{
	console_init();
	trap_init();
	/* Firmware may have left the PICs delivering to vectors that are exceptions now. */
	out8(PIC_MASTER_DATA, PIC_MASK_ALL);
	out8(PIC_SLAVE_DATA, PIC_MASK_ALL);
	boot.cmdline = cmdline;
	if (magic == MULTIBOOT_MAGIC)
		read_multiboot((const struct mb_info *)info);
	else if (magic == PVH_MAGIC)
		read_pvh((const struct pvh_info *)info);
	else
		fail_with("entered with magic 0x%x", magic);
	guest_main();
	finish(EXIT_PASS);
}

/* The text after "KEY=" of a word on the command line, or after a whole word when @key ends in none. */
static const char *find_word(const char *key, bool with_value)
{
	size_t len = strlen(key);

	for (const char *s = boot.cmdline; *s; s++) {
		bool starts = s == boot.cmdline || s[-1] == ' ';

		if (!starts || memcmp(s, key, strnlen(s, len)) != 0 || strnlen(s, len) != len)
			continue;
		if (with_value ? s[len] == '=' : s[len] == '\0' || s[len] == ' ')
			return s + len;
	}
	return NULL;
}

bool option_word(const char *word)
{
	return find_word(word, false) != NULL;
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return 16;
}

uint64_t option(const char *key, uint64_t otherwise)
{
	const char *s = find_word(key, true);
	int base = 10;
	uint64_t v = 0;

	if (!s)
		return otherwise;
	s++;
	if (s[0] == '0' && s[1] == 'x') {
		base = 16;
		s += 2;
	}
	for (; digit_of(*s) < base; s++)
		v = v * (uint64_t)base + (uint64_t)digit_of(*s);
	return v;
}
