/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpio "newc" reader (magic 070701, and 070702 with its byte sums). Every entry
 * is a 110-byte header of 13 eight-digit hexadecimal fields, the name with its
 * NUL, and the data; name and data are each padded to 4 bytes counted from the
 * archive's start; an entry called TRAILER!!! ends it. The archive is walked
 * once and checked whole at opening; find and next walk it again, because a
 * store holds tens of files, not thousands, and needs no index then.
 * Source: cpio(5), "New ASCII format".
 */
#include "io/store.h"

#include <string.h>

#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/checked.h"
#include "lib/log.h"

#define MAGIC_LEN 6u
#define FIELD_LEN 8u
#define HEADER_LEN 110u
#define PAD 4u

/* Fields in archive order. */
enum field {
	F_INO, F_MODE, F_UID, F_GID, F_NLINK, F_MTIME, F_SIZE, F_DEVMAJOR, F_DEVMINOR,
	F_RDEVMAJOR, F_RDEVMINOR, F_NAMESIZE, F_CHECK, F_COUNT
};
_Static_assert(MAGIC_LEN + F_COUNT * FIELD_LEN == HEADER_LEN, "newc header");

#define MODE_TYPE_MASK 0170000u
#define MODE_REGULAR 0100000u

static const char trailer[] = "TRAILER!!!";

struct entry {
	uint32_t field[F_COUNT];
	bool has_sum;
	const char *name;    /* NUL-terminated inside the archive, "./" skipped */
	size_t name_len;     /* without the NUL */
	const uint8_t *data;
	size_t next;         /* offset of the following header */
};

static bool hex_field(const uint8_t *p, uint32_t *out)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < FIELD_LEN; i++) {
		uint8_t c = p[i];
		uint32_t digit;

		if (c >= '0' && c <= '9')
			digit = (uint32_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			digit = (uint32_t)((c | 0x20) - 'a') + 10;
		else
			return false;
		v = v << 4 | digit;
	}
	*out = v;
	return true;
}

/* What is wrong with an entry, for a sentence; NULL: nothing. */
static const char *parse_header(const uint8_t *p, struct entry *e)
{
	if (memcmp(p, "07070", 5) != 0 || (p[5] != '1' && p[5] != '2'))
		return "has no cpio newc magic";
	e->has_sum = p[5] == '2';
	for (unsigned i = 0; i < F_COUNT; i++) {
		if (!hex_field(p + MAGIC_LEN + i * FIELD_LEN, &e->field[i]))
			return "has a header field that is not hexadecimal";
	}
	return NULL;
}

/* Takes the name at @p of e->field[F_NAMESIZE] bytes, which lie inside the archive. */
static const char *parse_name(const char *p, struct entry *e)
{
	size_t size = e->field[F_NAMESIZE];

	if (size == 0 || p[size - 1] != '\0' || memchr(p, '\0', size) != p + size - 1)
		return "has a name that is not one NUL-terminated string";
	if (size - 1 > 2 && p[0] == '.' && p[1] == '/') {
		p += 2;
		size -= 2;
	}
	if (size > sizeof ((struct blob *)0)->name)
		return "has a name that is too long";
	e->name = p;
	e->name_len = size - 1;
	return NULL;
}

static bool sum_matches(const struct entry *e)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < e->field[F_SIZE]; i++)
		sum += e->data[i];
	return sum == e->field[F_CHECK];
}

/*
 * Reads the entry whose header is at @offset; on failure @fault says what is wrong with it.
 * Sizes are 32-bit fields and offsets are below the archive's size, so the sums fit 64 bits.
 */
static enum status read_entry(const struct store *s, size_t offset, struct entry *e, const char **fault)
{
	uint64_t name_at = (uint64_t)offset + HEADER_LEN, data_at;

	*fault = "is cut off in its header";
	if (!range_fits(offset, HEADER_LEN, s->size))
		return ST_TRUNCATED;
	*fault = parse_header(s->image + offset, e);
	if (*fault)
		return ST_CORRUPT;
	*fault = "is cut off in its name";
	if (!range_fits(name_at, e->field[F_NAMESIZE], s->size))
		return ST_TRUNCATED;
	*fault = parse_name((const char *)s->image + name_at, e);
	if (*fault)
		return ST_CORRUPT;
	/* Padding may be missing at the very end. */
	data_at = MIN(align_up(name_at + e->field[F_NAMESIZE], PAD), (uint64_t)s->size);
	*fault = "is cut off in its data";
	if (!range_fits(data_at, e->field[F_SIZE], s->size))
		return ST_TRUNCATED;
	e->data = s->image + data_at;
	e->next = (size_t)MIN(align_up(data_at + e->field[F_SIZE], PAD), (uint64_t)s->size);
	return ST_OK;
}

static bool is_trailer(const struct entry *e)
{
	return e->name_len == sizeof trailer - 1 && memcmp(e->name, trailer, sizeof trailer - 1) == 0;
}

static bool is_regular(const struct entry *e)
{
	return (e->field[F_MODE] & MODE_TYPE_MASK) == MODE_REGULAR;
}

/* One of several links whose data another entry carries. */
static bool is_empty_link(const struct entry *e)
{
	return e->field[F_NLINK] > 1 && e->field[F_SIZE] == 0;
}

static bool same_name(const struct entry *a, const struct entry *b)
{
	return a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0;
}

/* Whether a regular file before @offset has the name of @e. All that lies there has been checked. */
static bool is_double(const struct store *s, const struct entry *e, size_t offset)
{
	struct entry other = {.next = 0};
	const char *fault;

	while (other.next < offset && read_entry(s, other.next, &other, &fault) == ST_OK)
		if (is_regular(&other) && same_name(&other, e))
			return true;
	return false;
}

static enum status check_regular(const struct store *s, const struct entry *e, size_t offset, struct error *err)
{
	char name[sizeof ((struct blob *)0)->name];

	log_clean(name, sizeof name, e->name, e->name_len);
	if (e->name_len == 0)
		return fail(err, ST_CORRUPT, "store: the entry at offset %zu has no name", offset);
	if (is_empty_link(e))
		return fail(err, ST_UNSUPPORTED,
			    "store: '%s' at offset %zu is a hard link without data; archive a copy instead", name,
			    offset);
	if (e->has_sum && !sum_matches(e))
		return fail(err, ST_CORRUPT, "store: the data of '%s' at offset %zu does not match its checksum", name,
			    offset);
	if (s->files == STORE_FILES_MAX)
		return fail(err, ST_OVER_LIMIT, "store: '%s' is one too many, an archive has at most %u files", name,
			    STORE_FILES_MAX);
	if (is_double(s, e, offset))
		return fail(err, ST_EXISTS, "store: '%s' is in the archive twice, the second time at offset %zu", name,
			    offset);
	return ST_OK;
}

enum status store_open(struct store *s, const void *image, size_t size, struct error *err)
{
	struct store opened = {.image = image, .size = size};
	char last[sizeof ((struct blob *)0)->name] = "(start)";
	struct entry e;
	size_t offset = 0;

	for (;; offset = e.next) {
		const char *fault;
		enum status st = read_entry(&opened, offset, &e, &fault);

		if (offset == size)
			return fail(err, ST_TRUNCATED, "store: the archive ends after '%s' without its trailer", last);
		if (st != ST_OK)
			return fail(err, st, "store: the entry at offset %zu, after '%s', %s", offset, last, fault);
		if (is_trailer(&e))
			break;
		log_clean(last, sizeof last, e.name, e.name_len);
		if (!is_regular(&e))
			continue;
		st = check_regular(&opened, &e, offset, err);
		if (st != ST_OK)
			return st;
		opened.files++;
	}
	*s = opened;
	return ST_OK;
}

static void fill_blob(const struct entry *e, struct blob *out)
{
	out->data = e->data;
	out->size = e->field[F_SIZE];
	memcpy(out->name, e->name, e->name_len);
	out->name[e->name_len] = '\0';
}

/* The next regular file from @cursor on; false at the trailer. The archive was checked when opened. */
static bool next_regular(const struct store *s, size_t *cursor, struct entry *e)
{
	for (;;) {
		const char *fault;
		enum status st = read_entry(s, *cursor, e, &fault);

		ASSERT(st == ST_OK);
		if (is_trailer(e))
			return false;
		*cursor = e->next;
		if (is_regular(e))
			return true;
	}
}

enum status store_find(const struct store *s, const char *name, struct blob *out, struct error *err)
{
	char clean[sizeof out->name];
	size_t cursor = 0, len = strlen(name);
	struct entry e;

	while (s->files > 0 && next_regular(s, &cursor, &e)) {
		if (e.name_len == len && memcmp(e.name, name, len) == 0) {
			fill_blob(&e, out);
			return ST_OK;
		}
	}
	return fail(err, ST_NOT_FOUND, "there is no file '%s' in the store",
		    log_clean(clean, sizeof clean, name, len));
}

enum status store_next(const struct store *s, size_t *cursor, struct blob *out)
{
	struct entry e;

	if (s->files == 0 || !next_regular(s, cursor, &e))
		return ST_NOT_FOUND;
	fill_blob(&e, out);
	return ST_OK;
}
