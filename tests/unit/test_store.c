/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: archives written here entry by entry, read back, then broken in
 * every place that can break. Each cut of a good archive must be refused, and
 * the archive sits at the very end of its allocation, so that ASan sees a read
 * past it.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/store.h"
#include "lib/bits.h"

#define REGULAR 0100644u
#define DIRECTORY 0040755u

struct archive {
	char bytes[16384];
	size_t len;
};

static void pad(struct archive *a)
{
	while (a->len % 4)
		a->bytes[a->len++] = 0;
}

static void entry_raw(struct archive *a, const char *magic, unsigned mode, unsigned nlink, const char *name,
		      const void *data, size_t size, unsigned sum)
{
	a->len += (size_t)sprintf(a->bytes + a->len, "%s%08X%08x%08X%08X%08X%08X%08zX%08X%08X%08X%08X%08zX%08X", magic,
				  1u, mode, 0u, 0u, nlink, 0u, size, 0u, 0u, 0u, 0u, strlen(name) + 1, sum);
	memcpy(a->bytes + a->len, name, strlen(name) + 1);
	a->len += strlen(name) + 1;
	pad(a);
	if (size)
		memcpy(a->bytes + a->len, data, size);
	a->len += size;
	pad(a);
}

static void entry(struct archive *a, unsigned mode, const char *name, const char *data)
{
	entry_raw(a, "070701", mode, 1, name, data, strlen(data), 0);
}

static void sample(struct archive *a)
{
	memset(a, 0, sizeof *a);
	entry(a, DIRECTORY, "scripts", "");
	entry(a, REGULAR, "scripts/boot.lua", "vm 'a'");
	entry(a, REGULAR, "./kernel", "0123456789");
	entry(a, REGULAR, "empty", "");
	entry(a, 0, "TRAILER!!!", "");
}

/* Opens a copy of exactly @len bytes, so that the byte after it is poisoned. */
static enum status open_copy(const struct archive *a, size_t len, struct store *s, struct error *err, char **copy)
{
	*copy = malloc(len ? len : 1);
	assert_non_null(*copy);
	memcpy(*copy, a->bytes, len);
	return store_open(s, *copy, len, err);
}

static void assert_refused(const struct archive *a, enum status expected, const char *words)
{
	struct store s = {.files = 77};
	struct error err;
	char *copy;
	enum status st = open_copy(a, a->len, &s, &err, &copy);

	if (st != expected || !strstr(err.text, words))
		fail_msg("got %s, \"%s\"; wanted \"%s\"", status_name(st), st == ST_OK ? "" : err.text, words);
	assert_int_equal(s.files, 77);
	free(copy);
}

static void finds_and_iterates(void **state)
{
	struct archive a;
	struct store s;
	struct blob b;
	struct error err;
	size_t cursor = 0;
	char *copy;

	(void)state;
	sample(&a);
	assert_int_equal(open_copy(&a, a.len, &s, &err, &copy), ST_OK);
	assert_int_equal(s.files, 3);
	assert_int_equal(store_find(&s, "scripts/boot.lua", &b, &err), ST_OK);
	assert_int_equal(b.size, 6);
	assert_memory_equal(b.data, "vm 'a'", 6);
	assert_string_equal(b.name, "scripts/boot.lua");
	assert_int_equal(store_find(&s, "kernel", &b, &err), ST_OK);
	assert_memory_equal(b.data, "0123456789", 10);
	assert_int_equal(store_find(&s, "empty", &b, &err), ST_OK);
	assert_int_equal(b.size, 0);

	assert_int_equal(store_find(&s, "kern", &b, &err), ST_NOT_FOUND);
	assert_string_equal(err.text, "there is no file 'kern' in the store");
	assert_int_equal(store_find(&s, "scripts", &b, &err), ST_NOT_FOUND);
	assert_int_equal(store_find(&s, "TRAILER!!!", &b, NULL), ST_NOT_FOUND);
	assert_int_equal(store_find(&s, "a\x1b[2J", &b, &err), ST_NOT_FOUND);
	assert_null(strchr(err.text, '\x1b'));

	const char *order[] = {"scripts/boot.lua", "kernel", "empty"};
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
		assert_int_equal(store_next(&s, &cursor, &b), ST_OK);
		assert_string_equal(b.name, order[i]);
	}
	assert_int_equal(store_next(&s, &cursor, &b), ST_NOT_FOUND);
	assert_int_equal(store_next(&s, &cursor, &b), ST_NOT_FOUND);
	free(copy);
}

static void every_cut_is_refused(void **state)
{
	struct archive a;
	struct store s;
	struct error err;
	char *copy;
	size_t whole;

	(void)state;
	sample(&a);
	/* The padding after the trailer's name is not needed to know that the archive is whole. */
	for (whole = a.len; a.bytes[whole - 1] != '!'; whole--)
		;
	whole++;
	for (size_t len = 0; len < whole; len++) {
		enum status st = open_copy(&a, len, &s, &err, &copy);

		if (st != ST_TRUNCATED)
			fail_msg("cut at %zu of %zu: %s", len, whole, status_name(st));
		free(copy);
	}
	assert_int_equal(open_copy(&a, whole, &s, &err, &copy), ST_OK);
	free(copy);
}

static void sentences_name_entry_and_offset(void **state)
{
	struct archive a;

	(void)state;
	sample(&a);
	a.len = 504 + 109;
	assert_refused(&a, ST_TRUNCATED, "the entry at offset 504, after 'empty', is cut off in its header");
	sample(&a);
	a.bytes[5] = '7';
	assert_refused(&a, ST_CORRUPT, "the entry at offset 0, after '(start)', has no cpio newc magic");
	sample(&a);
	a.bytes[20] = 'g';
	assert_refused(&a, ST_CORRUPT, "not hexadecimal");
	sample(&a);
	memcpy(a.bytes + 6 + 11 * 8, "00000000", 8);
	assert_refused(&a, ST_CORRUPT, "not one NUL-terminated string");
	sample(&a);
	a.bytes[110 + 3] = '\0';
	assert_refused(&a, ST_CORRUPT, "not one NUL-terminated string");
	sample(&a);
	memcpy(a.bytes + 6 + 6 * 8, "FFFFFFFF", 8);
	assert_refused(&a, ST_TRUNCATED, "is cut off in its data");
	sample(&a);
	memcpy(a.bytes + 6 + 11 * 8, "FFFFFFFF", 8);
	assert_refused(&a, ST_TRUNCATED, "is cut off in its name");
	memset(&a, 0, sizeof a);
	entry(&a, REGULAR, "only", "data");
	assert_refused(&a, ST_TRUNCATED, "ends after 'only' without its trailer");
}

static void names_have_limits(void **state)
{
	struct archive a;
	struct store s;
	struct error err;
	char name[300];
	char *copy;

	(void)state;
	memset(name, 'n', sizeof name);
	memset(&a, 0, sizeof a);
	name[255] = '\0';
	entry(&a, REGULAR, name, "x");
	entry(&a, 0, "TRAILER!!!", "");
	assert_int_equal(open_copy(&a, a.len, &s, &err, &copy), ST_OK);
	free(copy);
	memset(&a, 0, sizeof a);
	name[255] = 'n';
	name[256] = '\0';
	entry(&a, REGULAR, name, "x");
	entry(&a, 0, "TRAILER!!!", "");
	assert_refused(&a, ST_CORRUPT, "too long");
	memset(&a, 0, sizeof a);
	entry(&a, REGULAR, "", "x");
	entry(&a, 0, "TRAILER!!!", "");
	assert_refused(&a, ST_CORRUPT, "offset 0 has no name");
}

static void sums_and_links(void **state)
{
	struct archive a;
	struct store s;
	struct error err;
	char *copy;

	(void)state;
	memset(&a, 0, sizeof a);
	entry_raw(&a, "070702", REGULAR, 1, "f", "\x01\xff", 2, 0x100);
	entry_raw(&a, "070702", 0, 1, "TRAILER!!!", "", 0, 0);
	assert_int_equal(open_copy(&a, a.len, &s, &err, &copy), ST_OK);
	free(copy);
	memset(&a, 0, sizeof a);
	entry_raw(&a, "070702", REGULAR, 1, "f", "\x01\xff", 2, 0x101);
	assert_refused(&a, ST_CORRUPT, "'f' at offset 0 does not match its checksum");
	memset(&a, 0, sizeof a);
	entry_raw(&a, "070701", REGULAR, 2, "link", "", 0, 0);
	assert_refused(&a, ST_UNSUPPORTED, "'link' at offset 0 is a hard link");
}

static void a_name_is_there_once(void **state)
{
	static struct archive many;
	struct archive a;
	struct store s;
	struct error err;
	char name[16];
	char *copy;

	(void)state;
	sample(&a);
	a.len = 504; /* before the trailer */
	entry(&a, DIRECTORY, "kernel", ""); /* no file */
	entry(&a, REGULAR, "kernel", "other");
	entry(&a, 0, "TRAILER!!!", "");
	assert_refused(&a, ST_EXISTS, "'kernel' is in the archive twice, the second time at offset 624");

	memset(&many, 0, sizeof many);
	for (unsigned i = 0; i < 64; i++) {
		snprintf(name, sizeof name, "%u", i);
		entry(&many, REGULAR, name, "");
	}
	entry(&many, 0, "TRAILER!!!", "");
	assert_int_equal(open_copy(&many, many.len, &s, &err, &copy), ST_OK);
	assert_int_equal(s.files, 64);
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_and_iterates),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(sentences_name_entry_and_offset),
		cmocka_unit_test(names_have_limits),
		cmocka_unit_test(sums_and_links),
		cmocka_unit_test(a_name_is_there_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
