/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head is looked at once it is whole, by the ELF reader that guests' kernels
 * go through; what that reader would touch is first found to lie in the head.
 */
#include "lua/image.h"

#include <string.h>

#include "guest/elf.h"
#include "lib/bits.h"
#include "lib/checked.h"
#include "lib/log.h"

#define ELF64_HEADER 64u
#define E_PHOFF 32
#define E_PHENTSIZE 54
#define E_PHNUM 56
#define ELF64_PHDR 56u
#define PVH_OWNER "Xen"
#define PVH_TYPE 18u /* XEN_ELFNOTE_PHYS32_ENTRY */
#define NOTE_BYTES (IMAGE_VERSION_MAX + SHA256_BYTES)

enum status image_begin(struct image_reader *r, uint64_t size, enum image_fault *fault, struct error *err)
{
	if (size < ELF64_HEADER) {
		*fault = IMAGE_TOO_SMALL;
		return fail(err, ST_INVALID, "an image of %llu bytes has no room for an ELF header",
			    (unsigned long long)size);
	}
	if (size > IMAGE_BYTES_MAX) {
		*fault = IMAGE_TOO_LARGE;
		return fail(err, ST_OVER_LIMIT, "an image of %llu bytes is too large, at most %u are possible",
			    (unsigned long long)size, IMAGE_BYTES_MAX);
	}
	r->size = size;
	r->at = 0;
	r->head_read = false;
	br_sha256_init(&r->file);
	br_sha256_init(&r->stamped);
	return ST_OK;
}

static enum status not_ours(enum image_fault *fault, struct error *err, const char *why)
{
	*fault = IMAGE_NOT_OURS;
	return fail(err, ST_INVALID, "this is no image of Corbel: it %s", why);
}

/* What elf_open() and elf_note() will read lies in the head. */
static const char *check_head(const struct image_reader *r, size_t head)
{
	uint64_t offset = get_le64(r->head + E_PHOFF);
	unsigned size = get_le16(r->head + E_PHENTSIZE), count = get_le16(r->head + E_PHNUM);

	if (!elf_magic(r->head, head))
		return "is no ELF file";
	if (size != ELF64_PHDR || !range_fits(offset, (uint64_t)size * count, head))
		return "has no program headers of ELF64 near its start";
	return NULL;
}

static const char *check_notes(const struct elf *e, size_t head)
{
	for (unsigned i = 0; i < e->header_count; i++) {
		struct elf_segment s;

		elf_segment(e, i, &s);
		if (s.type == ELF_PT_NOTE && !range_fits(s.offset, s.file_size, head))
			return "has notes that are not near its start";
	}
	return NULL;
}

static bool printable(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

static enum status read_head(struct image_reader *r, size_t head, enum image_fault *fault, struct error *err)
{
	const uint8_t *ours, *pvh;
	const char *why = check_head(r, head);
	uint64_t len, pvh_len;
	struct elf e;

	if (why)
		return not_ours(fault, err, why);
	if (elf_open(&e, "upload", r->head, r->size, err) != ST_OK) {
		*fault = IMAGE_NOT_OURS;
		return ST_INVALID;
	}
	why = e.is64 ? check_notes(&e, head) : "is no ELF64 file";
	if (why)
		return not_ours(fault, err, why);
	pvh = elf_note(&e, PVH_OWNER, PVH_TYPE, &pvh_len);
	ours = elf_note(&e, IMAGE_NOTE_OWNER, IMAGE_NOTE_TYPE, &len);
	if (!pvh || !ours || len != NOTE_BYTES)
		return not_ours(fault, err, pvh ? "has no note of Corbel" : "has no PVH entry note");
	memcpy(r->info.version, ours, IMAGE_VERSION_MAX);
	if (r->info.version[0] == '\0' || r->info.version[IMAGE_VERSION_MAX - 1] != '\0' || !printable(r->info.version))
		return not_ours(fault, err, "says no version");
	r->stamp_at = (size_t)(ours - r->head) + IMAGE_VERSION_MAX;
	memcpy(r->info.hash, r->head + r->stamp_at, SHA256_BYTES);
	return ST_OK;
}

/* The head into the hashes: into one of them without the stamp. */
static void hash_head(struct image_reader *r, size_t head)
{
	br_sha256_update(&r->file, r->head, head);
	memset(r->head + r->stamp_at, 0, SHA256_BYTES);
	br_sha256_update(&r->stamped, r->head, head);
	r->head_read = true;
}

enum status image_add(struct image_reader *r, const void *data, size_t len, enum image_fault *fault, struct error *err)
{
	size_t head = (size_t)MIN(r->size, IMAGE_HEAD_BYTES), take = 0;
	const uint8_t *p = data;
	enum status st;

	if (r->at < head) {
		take = MIN(len, head - (size_t)r->at);
		memcpy(r->head + r->at, p, take);
	}
	r->at += len;
	if (r->at < head)
		return ST_OK;
	if (!r->head_read) {
		st = read_head(r, head, fault, err);
		if (st != ST_OK)
			return st;
		hash_head(r, head);
	}
	br_sha256_update(&r->file, p + take, len - take);
	br_sha256_update(&r->stamped, p + take, len - take);
	return ST_OK;
}

enum status image_end(struct image_reader *r, uint8_t sha[SHA256_BYTES], enum image_fault *fault, struct error *err)
{
	uint8_t stamp[SHA256_BYTES];

	br_sha256_out(&r->file, sha);
	br_sha256_out(&r->stamped, stamp);
	if (memcmp(stamp, r->info.hash, sizeof stamp) == 0)
		return ST_OK;
	*fault = IMAGE_BAD_HASH;
	return fail(err, ST_CORRUPT, "the image's hash is not the one that it is stamped with: it is damaged");
}

static unsigned long number(const char **text)
{
	unsigned long n = 0;

	while (**text >= '0' && **text <= '9' && n < 100000000)
		n = n * 10 + (unsigned long)(*(*text)++ - '0');
	if (**text == '.')
		++*text;
	return n;
}

int image_compare_versions(const char *a, const char *b)
{
	for (int part = 0; part < 3; part++) {
		unsigned long x = number(&a), y = number(&b);

		if (x != y)
			return x < y ? -1 : 1;
	}
	return 0;
}
