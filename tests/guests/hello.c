/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads back what multiboot 1 hands over: magic, command line, memory, modules
 * with their strings and the sum of their bytes. Ends with code 0, or 1 when the
 * magic is wrong.
 */
#include "tests/guests/lib/guest.h"

#define MAGIC 0x2badb002u
#define HAS_MEMORY (1u << 0)
#define HAS_CMDLINE (1u << 2)
#define HAS_MODULES (1u << 3)

static uint32_t sum(const struct multiboot_module *m)
{
	uint32_t total = 0;

	for (const uint8_t *p = (const uint8_t *)m->start; p < (const uint8_t *)m->end; p++)
		total += *p;
	return total;
}

void guest_main(uint32_t magic, const struct multiboot_info *info)
{
	const struct multiboot_module *modules = (const struct multiboot_module *)info->mods_addr;

	if (magic != MAGIC) {
		put("hello: wrong magic ");
		put_hex(magic);
		put("\n");
		finish(1);
	}
	put("hello: command line [");
	put(info->flags & HAS_CMDLINE ? (const char *)info->cmdline : "");
	put("]\nhello: upper memory ");
	put_dec(info->flags & HAS_MEMORY ? info->mem_upper : 0);
	put(" KiB\n");
	for (uint32_t i = 0; (info->flags & HAS_MODULES) && i < info->mods_count; i++) {
		put("hello: module [");
		put((const char *)modules[i].string);
		put("] bytes ");
		put_dec(modules[i].end - modules[i].start);
		put(" sum ");
		put_dec(sum(&modules[i]));
		put("\n");
	}
	put("hello: done\n");
}
