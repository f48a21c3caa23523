/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See the header. Guest memory is calloc'ed, so that what a plan does not write
 * is zero, as it is in a fresh guest.
 */
#include "tests/fakes/boot_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void boot_rig_init(struct boot_rig *rig, enum boot_protocol protocol, uint64_t size)
{
	memset(rig, 0, sizeof *rig);
	snprintf(rig->cfg.name, sizeof rig->cfg.name, "vm");
	snprintf(rig->cfg.boot.image, sizeof rig->cfg.boot.image, "kernel");
	rig->cfg.boot.protocol = protocol;
	rig->cfg.memory.size = size;
	rig->cfg.acpi = true;
	rig->ram_size = size;
	rig->in.cfg = &rig->cfg;
	rig->in.layout = &rig->layout;
	rig->in.image.name = "kernel";
	rig->in.initrd.name = "initrd";
}

void boot_rig_free(struct boot_rig *rig)
{
	free(rig->ram);
	rig->ram = NULL;
}

void boot_rig_image(struct boot_rig *rig, const void *data, uint64_t size)
{
	rig->in.image.data = data;
	rig->in.image.size = size;
}

void boot_rig_initrd(struct boot_rig *rig, const void *data, uint64_t size)
{
	rig->in.initrd.data = data;
	rig->in.initrd.size = size;
}

void boot_rig_module(struct boot_rig *rig, const void *data, uint64_t size, const char *cmdline)
{
	unsigned i = rig->cfg.boot.module_count++;

	rig->in.modules[i] = (struct boot_file){.name = "module", .data = data, .size = size};
	snprintf(rig->cfg.boot.modules[i].cmdline, sizeof rig->cfg.boot.modules[i].cmdline, "%s", cmdline);
}

void boot_rig_cmdline(struct boot_rig *rig, const char *text)
{
	snprintf(rig->cfg.boot.cmdline, sizeof rig->cfg.boot.cmdline, "%s", text);
}

enum status boot_rig_plan(struct boot_rig *rig)
{
	enum status st = layout_build(&rig->cfg, &rig->layout, &rig->err);

	if (st != ST_OK)
		return st;
	memset(&rig->err, 0, sizeof rig->err);
	return boot_make_plan(&rig->in, &rig->plan, &rig->err);
}

static bool offered(uint64_t size, uint64_t start, uint64_t end)
{
	uint64_t low = size < 0xc0000000ull ? size : 0xc0000000ull;

	if (end <= 0x9fc00)
		return true;
	if (start >= 0x100000 && end <= low)
		return true;
	return start >= 0x100000000ull && end <= 0x100000000ull + (size - low);
}

const char *boot_rig_violation(const struct boot_rig *rig)
{
	const struct boot_plan *p = &rig->plan;
	bool entry_inside = false;

	for (unsigned i = 0; i < p->count; i++) {
		const struct boot_region *r = &p->regions[i];

		if (r->size == 0 || r->start + r->size < r->start || r->data_size > r->size)
			return "a piece has impossible sizes";
		if (!offered(rig->cfg.memory.size, r->start, r->start + r->size))
			return "a piece lies outside of the RAM that the map offers";
		for (unsigned j = 0; j < i; j++) {
			const struct boot_region *o = &p->regions[j];

			if (r->start < o->start + o->size && o->start < r->start + r->size)
				return "two pieces overlap";
		}
		if (p->entry.rip >= r->start && p->entry.rip < r->start + r->size)
			entry_inside = true;
	}
	return entry_inside ? NULL : "the entry point is in no piece";
}

bool boot_rig_load(struct boot_rig *rig)
{
	const char *violation;

	if (boot_rig_plan(rig) != ST_OK)
		return false;
	violation = boot_rig_violation(rig);
	if (violation) {
		snprintf(rig->err.text, sizeof rig->err.text, "violation: %s", violation);
		return false;
	}
	rig->ram = calloc(1, rig->ram_size);
	for (unsigned i = 0; rig->ram && i < rig->plan.count; i++) {
		const struct boot_region *r = &rig->plan.regions[i];

		if (r->start + r->size <= rig->ram_size)
			memcpy(rig->ram + r->start, r->data, r->data_size);
	}
	return rig->ram != NULL;
}

void *boot_rig_read_file(const char *path, uint64_t *size)
{
	FILE *f = fopen(path, "rb");
	char *data = NULL;
	long len;

	if (!f)
		return NULL;
	if (fseek(f, 0, SEEK_END) == 0 && (len = ftell(f)) > 0 && fseek(f, 0, SEEK_SET) == 0) {
		data = malloc((size_t)len);
		if (data && fread(data, 1, (size_t)len, f) != (size_t)len) {
			free(data);
			data = NULL;
		}
		*size = (uint64_t)len;
	}
	fclose(f);
	return data;
}

void *boot_rig_read_dep(const char *name, uint64_t *size)
{
	const char *deps = getenv("CORBEL_DEPS");
	char path[512];

	snprintf(path, sizeof path, "%s/%s", deps ? deps : "build/deps", name);
	return boot_rig_read_file(path, size);
}

/* Appends a little-endian number of @bytes. */
static void put(uint8_t **p, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		*(*p)++ = (uint8_t)(v >> (8 * i));
}

static void put_program_header(uint8_t **p, bool is64, const struct boot_rig_segment *s, uint64_t offset)
{
	unsigned w = is64 ? 8 : 4;

	put(p, s->type, 4);
	if (is64)
		put(p, 7, 4);
	put(p, offset, w);
	put(p, s->vaddr, w);
	put(p, s->paddr, w);
	put(p, s->file_size, w);
	put(p, s->mem_size, w);
	if (!is64)
		put(p, 7, 4);
	put(p, 4, w);
}

uint64_t boot_rig_elf(uint8_t *out, uint64_t max, bool is64, uint64_t entry, const struct boot_rig_segment *segments,
		      unsigned count)
{
	unsigned w = is64 ? 8 : 4, header = is64 ? 64 : 52, ph = is64 ? 56 : 32;
	uint64_t at = header + (uint64_t)count * ph;
	uint8_t *p = out;

	memset(out, 0, max);
	memcpy(p, "\177ELF", 4);
	p[4] = is64 ? 2 : 1;
	p[5] = p[6] = 1;
	p += 16;
	put(&p, 2, 2);             /* ET_EXEC */
	put(&p, is64 ? 62 : 3, 2); /* EM_X86_64, EM_386 */
	put(&p, 1, 4);
	put(&p, entry, w);
	put(&p, header, w);
	put(&p, 0, w);
	put(&p, 0, 4);
	put(&p, header, 2);
	put(&p, ph, 2);
	put(&p, count, 2);
	p = out + header;
	for (unsigned i = 0; i < count; i++) {
		at = (at + 15) & ~15ull;
		if (at + segments[i].file_size > max)
			abort();
		put_program_header(&p, is64, &segments[i], at);
		memcpy(out + at, segments[i].data, segments[i].file_size);
		at += segments[i].file_size;
	}
	return at;
}

uint64_t boot_rig_note(uint8_t *out, const char *owner, uint32_t type, const void *desc, uint32_t size)
{
	uint32_t name = (uint32_t)strlen(owner) + 1;
	uint8_t *p = out;

	put(&p, name, 4);
	put(&p, size, 4);
	put(&p, type, 4);
	memset(p, 0, (name + 3) & ~3u);
	memcpy(p, owner, name);
	p += (name + 3) & ~3u;
	memset(p, 0, (size + 3) & ~3u);
	memcpy(p, desc, size);
	p += (size + 3) & ~3u;
	return (uint64_t)(p - out);
}
