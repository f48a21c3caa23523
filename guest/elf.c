/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header fields are read by offset from tables for the two classes, so that
 * there is one code path and no unaligned struct access.
 */
#include "guest/elf.h"

#include <string.h>

#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/checked.h"

#define EI_CLASS 4
#define EI_DATA 5
#define EI_VERSION 6
#define EI_NIDENT 16
#define CLASS_32 1
#define CLASS_64 2
#define DATA_LSB 1
#define VERSION_CURRENT 1

#define ET_EXEC 2
#define EM_386 3
#define EM_X86_64 62
#define E_TYPE 16
#define E_MACHINE 18

/* Where things are in each class's headers; @word is the size of an address. */
struct class_layout {
	unsigned word;
	unsigned header_size, e_entry, e_phoff, e_phentsize, e_phnum;
	unsigned phdr_size, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align;
};

static const struct class_layout class32 = {
	.word = 4, .header_size = 52, .e_entry = 24, .e_phoff = 28, .e_phentsize = 42, .e_phnum = 44,
	.phdr_size = 32, .p_offset = 4, .p_vaddr = 8, .p_paddr = 12, .p_filesz = 16, .p_memsz = 20, .p_align = 28,
};

static const struct class_layout class64 = {
	.word = 8, .header_size = 64, .e_entry = 24, .e_phoff = 32, .e_phentsize = 54, .e_phnum = 56,
	.phdr_size = 56, .p_offset = 8, .p_vaddr = 16, .p_paddr = 24, .p_filesz = 32, .p_memsz = 40, .p_align = 48,
};

#define NOTE_HEADER 12u /* namesz, descsz, type */
#define PHNUM_ESCAPE 0xffffu

static const struct class_layout *layout_of(const struct elf *e)
{
	return e->is64 ? &class64 : &class32;
}

static uint64_t word(const struct class_layout *c, const uint8_t *p)
{
	return c->word == 8 ? get_le64(p) : get_le32(p);
}

bool elf_magic(const void *data, uint64_t size)
{
	return size >= 4 && memcmp(data, "\177ELF", 4) == 0;
}

/* The identification: what is wrong with it, NULL for nothing. */
static const char *check_ident(struct elf *e)
{
	if (!elf_magic(e->data, e->size) || e->size < EI_NIDENT)
		return "is no ELF file";
	if (e->data[EI_CLASS] != CLASS_32 && e->data[EI_CLASS] != CLASS_64)
		return "is an ELF file of an unknown class";
	if (e->data[EI_DATA] != DATA_LSB || e->data[EI_VERSION] != VERSION_CURRENT)
		return "is an ELF file that is not little-endian of version 1";
	e->is64 = e->data[EI_CLASS] == CLASS_64;
	return NULL;
}

static const char *check_header(struct elf *e)
{
	const struct class_layout *c = layout_of(e);
	uint16_t machine = get_le16(e->data + E_MACHINE);

	if (machine != EM_X86_64 && (machine != EM_386 || e->is64))
		return "is an ELF file for another processor than x86";
	if (get_le16(e->data + E_TYPE) != ET_EXEC)
		return "is no statically linked executable (ET_EXEC)";
	e->entry = word(c, e->data + c->e_entry);
	e->headers = word(c, e->data + c->e_phoff);
	e->header_size = get_le16(e->data + c->e_phentsize);
	e->header_count = get_le16(e->data + c->e_phnum);
	if (e->header_count == 0 || e->header_count == PHNUM_ESCAPE)
		return "is an ELF file without program headers";
	if (e->header_size < c->phdr_size)
		return "is an ELF file whose program headers are too small";
	return NULL;
}

static bool sum_wraps(const struct elf *e, uint64_t start, uint64_t size)
{
	uint64_t end;

	return add_overflows(start, size, &end) || (!e->is64 && end > BIT(32));
}

/* What is wrong with a segment's numbers, NULL for nothing. */
static const char *check_segment(const struct elf *e, const struct elf_segment *s)
{
	if (s->type != ELF_PT_LOAD && s->type != ELF_PT_NOTE)
		return NULL;
	if (!range_fits(s->offset, s->file_size, e->size))
		return "is cut off";
	if (s->type == ELF_PT_NOTE)
		return NULL;
	if (s->file_size > s->mem_size)
		return "has more bytes in the file than in memory";
	if (sum_wraps(e, s->vaddr, s->mem_size) || sum_wraps(e, s->paddr, s->mem_size))
		return "ends past the address space";
	return NULL;
}

enum status elf_open(struct elf *e, const char *name, const void *data, uint64_t size, struct error *err)
{
	struct elf found = {.data = data, .size = size};
	const char *fault = check_ident(&found);
	struct elf_segment s;

	if (fault)
		return fail(err, ST_UNSUPPORTED, "image '%s' %s", name, fault);
	if (size < layout_of(&found)->header_size)
		return fail(err, ST_TRUNCATED, "image '%s' is truncated: its ELF header is cut off", name);
	fault = check_header(&found);
	if (fault)
		return fail(err, ST_UNSUPPORTED, "image '%s' %s", name, fault);
	if (!range_fits(found.headers, (uint64_t)found.header_size * found.header_count, size))
		return fail(err, ST_TRUNCATED, "image '%s' is truncated: its program headers are cut off", name);
	for (unsigned i = 0; i < found.header_count; i++) {
		elf_segment(&found, i, &s);
		fault = check_segment(&found, &s);
		if (fault)
			return fail(err, ST_TRUNCATED, "image '%s' is truncated or damaged: segment %u %s", name, i,
				    fault);
	}
	*e = found;
	return ST_OK;
}

void elf_segment(const struct elf *e, unsigned i, struct elf_segment *out)
{
	const struct class_layout *c = layout_of(e);
	const uint8_t *p = e->data + e->headers + (uint64_t)i * e->header_size;

	ASSERT(i < e->header_count);
	out->type = get_le32(p);
	out->offset = word(c, p + c->p_offset);
	out->vaddr = word(c, p + c->p_vaddr);
	out->paddr = word(c, p + c->p_paddr);
	out->file_size = word(c, p + c->p_filesz);
	out->mem_size = word(c, p + c->p_memsz);
	out->align = word(c, p + c->p_align);
}

/* Name and contents are each padded to @align (4, or 8 when the segment says so), counted from the note. */
static const uint8_t *find_note(const uint8_t *p, uint64_t left, uint64_t align, const char *owner, uint32_t type,
				uint64_t *len)
{
	uint64_t owner_size = strlen(owner) + 1;

	while (left >= NOTE_HEADER) {
		uint64_t name_size = get_le32(p), size = get_le32(p + 4);
		uint64_t at = align_up(NOTE_HEADER + name_size, align), next = align_up(at + size, align);

		if (!range_fits(at, size, left))
			return NULL;
		if (get_le32(p + 8) == type && name_size == owner_size &&
		    memcmp(p + NOTE_HEADER, owner, owner_size) == 0) {
			*len = size;
			return p + at;
		}
		if (next >= left)
			return NULL;
		p += next;
		left -= next;
	}
	return NULL;
}

const uint8_t *elf_note(const struct elf *e, const char *owner, uint32_t type, uint64_t *len)
{
	for (unsigned i = 0; i < e->header_count; i++) {
		struct elf_segment s;
		const uint8_t *found;

		elf_segment(e, i, &s);
		if (s.type != ELF_PT_NOTE)
			continue;
		found = find_note(e->data + s.offset, s.file_size, s.align == 8 ? 8 : 4, owner, type, len);
		if (found)
			return found;
	}
	return NULL;
}
