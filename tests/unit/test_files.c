/* SPDX-License-Identifier: Apache-2.0 */
/* The one view: what lies over what, and what is said where there is no writable store. */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/files.h"
#include "tests/fakes/fault_disk.h"

#define DISK_BYTES (1024u * 1024)

static struct fault_disk disk;
static struct block_range range;
static void *memory;
static size_t memory_bytes;
static struct store seed;
static struct files files;
static struct error err;
static struct file file;
static char archive[2048];

/* A newc entry (cpio(5)); returns its length. */
static size_t entry(char *out, const char *name, unsigned mode, const char *data)
{
	const unsigned fields[13] = {1, mode, 0, 0, 1, 0, (unsigned)strlen(data), 0, 0, 0, 0, (unsigned)strlen(name) + 1, 0};
	size_t at = 6;

	memcpy(out, "070701", at);
	for (unsigned i = 0; i < 13; i++, at += 8)
		snprintf(out + at, 9, "%08X", fields[i]);
	memcpy(out + at, name, strlen(name) + 1);
	at += strlen(name) + 1;
	while (at % 4)
		out[at++] = 0;
	memcpy(out + at, data, strlen(data));
	for (at += strlen(data); at % 4; at++)
		out[at] = 0;
	return at;
}

static int setup(void **state)
{
	static const char *const names[] = {"m", "z/last", "a name with blanks", "b"};
	size_t len = 0;
	bool formatted;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		len += entry(archive + len, names[i], 0100644, "seed");
	len += entry(archive + len, "TRAILER!!!", 0, "");
	assert_int_equal(store_open(&seed, archive, len, &err), ST_OK);
	fault_disk_init(&disk, DISK_BYTES, 512);
	range = fault_disk_range(&disk);
	memory_bytes = kvlog_memory_bytes(&range);
	memory = aligned_alloc(64, memory_bytes);
	files_init(&files, &seed, "nobody has looked");
	assert_int_equal(files_mount(&files, &range, 7, memory, memory_bytes, &formatted, &err), ST_OK);
	assert_true(formatted);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(memory);
	fault_disk_fini(&disk);
	return 0;
}

static void assert_content(const char *name, const char *text)
{
	char buf[64];
	size_t got;

	assert_int_equal(files_find(&files, name, &file, &err), ST_OK);
	assert_string_equal(file.name, name);
	assert_int_equal(file.size, strlen(text));
	assert_int_equal(files_read(&files, &file, 0, buf, sizeof buf, &got, &err), ST_OK);
	assert_int_equal(got, strlen(text));
	assert_memory_equal(buf, text, got);
}

static void listed_as(const char *prefix, const char *const *names, unsigned count)
{
	unsigned n = 0;

	file.name[0] = '\0';
	for (; files_next(&files, prefix, file.name, &file) == ST_OK; n++) {
		assert_true(n < count);
		assert_string_equal(file.name, names[n]);
	}
	assert_int_equal(n, count);
}

static void the_writable_lies_over_the_seed(void **state)
{
	static const char *const before[] = {"a name with blanks", "b", "m", "z/last"};
	static const char *const after[] = {"a", "a name with blanks", "b", "m", "z", "z/last", "z/later"};
	static const char *const below[] = {"z/last", "z/later"};

	(void)state;
	listed_as("", before, 4);
	assert_int_equal(files_put(&files, "m", "mine", 4, &err), ST_OK);
	assert_int_equal(files_put(&files, "a", "", 0, &err), ST_OK);
	assert_int_equal(files_put(&files, "z", "zz", 2, &err), ST_OK);
	assert_int_equal(files_put(&files, "z/later", "z", 1, &err), ST_OK);
	listed_as("", after, 7);
	listed_as("z/", below, 2);
	listed_as("q", NULL, 0);
	assert_content("m", "mine");
	assert_content("b", "seed");
	assert_content("a name with blanks", "seed"); /* which no name in the writable store could be */
	assert_int_equal(files_delete(&files, "m", &err), ST_OK);
	assert_content("m", "seed");
	assert_int_equal(files_delete(&files, "m", &err), ST_DENIED);
	assert_string_equal(err.text, "'m' came with the loader and cannot be deleted");
	assert_int_equal(files_delete(&files, "n\x1b", &err), ST_INVALID);
	assert_int_equal(files_delete(&files, "n", &err), ST_NOT_FOUND);
	assert_int_equal(files_find(&files, "n\x1b", &file, &err), ST_NOT_FOUND);
	assert_string_equal(err.text, "there is no file 'n?' in the store");
}

static void a_file_that_changes_under_way(void **state)
{
	struct file old;
	char buf[8];
	size_t got;

	(void)state;
	assert_int_equal(files_put(&files, "x", "old", 3, &err), ST_OK);
	assert_int_equal(files_find(&files, "x", &old, &err), ST_OK);
	assert_int_equal(files_put(&files, "x", "new", 3, &err), ST_OK);
	assert_int_equal(files_read(&files, &old, 0, buf, 3, &got, &err), ST_NOT_FOUND);
	assert_int_equal(files_delete(&files, "x", &err), ST_OK);
	assert_int_equal(files_read(&files, &old, 0, buf, 3, &got, &err), ST_NOT_FOUND);
	assert_int_equal(files_find(&files, "b", &old, &err), ST_OK);
	assert_int_equal(files_read(&files, &old, 2, buf, 8, &got, &err), ST_OK);
	assert_int_equal(got, 2);
	assert_int_equal(files_read(&files, &old, 5, buf, 1, &got, &err), ST_INVALID);
}

static void streams_and_mounting_again(void **state)
{
	struct kvlog_put *p;
	bool formatted;

	(void)state;
	assert_int_equal(files_put_begin(&files, "up/load", 4, &p, &err), ST_OK);
	assert_int_equal(kvlog_put_append(p, "load", 4, &err), ST_OK);
	assert_int_equal(kvlog_put_commit(p, &err), ST_OK);
	files_init(&files, &seed, "not yet");
	assert_int_equal(files_mount(&files, &range, 8, memory, memory_bytes, &formatted, &err), ST_OK);
	assert_false(formatted);
	assert_content("up/load", "load");
}

static void made_anew(void **state)
{
	struct kvlog_stats s;

	(void)state;
	assert_int_equal(files_put(&files, "z/later", "old", 3, &err), ST_OK);
	assert_int_equal(files_check_format(&files, &err), ST_OK);
	assert_int_equal(files_format(&files, 9, &err), ST_OK);
	kvlog_stats(files.kv, &s);
	assert_true(s.writable && s.id == 9 && s.keys == 0);
	assert_int_equal(files_find(&files, "z/later", &file, &err), ST_NOT_FOUND);
	assert_content("m", "seed");

	/* A disk that fails leaves no store, and says why; one that has come back takes one. */
	disk.fail_from = disk.requests + 1;
	disk.fail_count = 1000;
	assert_int_equal(files_format(&files, 10, &err), ST_IO);
	assert_null(files.kv);
	assert_true(files.unreadable);
	assert_string_equal(files.why_not, err.text);
	assert_int_equal(files_put(&files, "a", "x", 1, &err), ST_DENIED);
	disk.fail_from = disk.fail_count = 0;
	assert_int_equal(files_format(&files, 11, &err), ST_OK);
	assert_false(files.unreadable);
	assert_int_equal(files_put(&files, "a", "x", 1, &err), ST_OK);

	disk.device.read_only = true;
	assert_int_equal(files_check_format(&files, &err), ST_DENIED);
	assert_content("a", "x");
	files_init(&files, &seed, "nobody has looked");
	assert_int_equal(files_check_format(&files, &err), ST_NOT_FOUND);
	assert_string_equal(err.text, "there is nothing to format: nobody has looked");
}

static void without_a_writable_store(void **state)
{
	static const char *const names[] = {"a name with blanks", "b", "m", "z/last"};
	struct kvlog_put *p;
	bool formatted;

	(void)state;
	memset(disk.view, 1, 8192);
	files_init(&files, &seed, "nobody has looked");
	assert_int_equal(files_put(&files, "x", "", 0, &err), ST_DENIED);
	assert_string_equal(err.text, "there is no writable store: nobody has looked");
	assert_int_equal(files_mount(&files, &range, 8, memory, memory_bytes, &formatted, &err), ST_CORRUPT);
	assert_false(formatted);
	listed_as("", names, 4);
	assert_int_equal(files_put_begin(&files, "x", 0, &p, &err), ST_DENIED);
	assert_non_null(strstr(err.text, "there is no writable store: fault disk: neither superblock"));
	assert_int_equal(files_delete(&files, "x", &err), ST_DENIED);
	assert_int_equal(files_delete(&files, "b", &err), ST_DENIED);
	files_init(&files, NULL, "nor a seed");
	listed_as("", NULL, 0);
	assert_int_equal(files_find(&files, "b", &file, &err), ST_NOT_FOUND);
}

int main(void)
{
#define WITH_FILES(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_FILES(the_writable_lies_over_the_seed),
		WITH_FILES(a_file_that_changes_under_way),
		WITH_FILES(streams_and_mounting_again),
		WITH_FILES(made_anew),
		WITH_FILES(without_a_writable_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
