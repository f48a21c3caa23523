/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ELF reader: what it hands out for both classes, each header field broken
 * by itself, and notes between others. Files sit at the end of their
 * allocation, so that ASan sees a read past them.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "guest/elf.h"
#include "lib/bits.h"
#include "tests/fakes/boot_rig.h"

static uint8_t file[8192];
static const uint8_t contents[100] = {1, 2, 3};

static uint64_t sample(bool is64)
{
	struct boot_rig_segment s[] = {
		{.type = 1, .vaddr = 0x80100000, .paddr = BIT(20), .data = contents, .file_size = 100, .mem_size = 200},
		{.type = 6, .vaddr = 1, .paddr = UINT32_MAX, .data = contents, .file_size = 4, .mem_size = 2},
		{.type = 1, .vaddr = 0x80200000, .paddr = 0x200000, .data = contents, .file_size = 0, .mem_size = 4096},
	};

	return boot_rig_elf(file, sizeof file, is64, 0x80100010, s, 3);
}

static void both_classes_read_the_same(void **state)
{
	(void)state;
	for (int is64 = 0; is64 < 2; is64++) {
		uint64_t size = sample(is64);
		struct elf e;
		struct elf_segment s;

		assert_true(elf_magic(file, size));
		assert_int_equal(elf_open(&e, "k", file, size, NULL), ST_OK);
		assert_int_equal(e.is64, is64);
		assert_int_equal(e.entry, 0x80100010);
		assert_int_equal(e.header_count, 3);
		elf_segment(&e, 0, &s);
		assert_true(s.type == ELF_PT_LOAD && s.vaddr == 0x80100000 && s.paddr == 0x100000);
		assert_true(s.file_size == 100 && s.mem_size == 200 && s.align == 4);
		assert_memory_equal(file + s.offset, contents, 100);
		elf_segment(&e, 2, &s);
		assert_true(s.type == ELF_PT_LOAD && s.paddr == 0x200000 && s.file_size == 0 && s.mem_size == 4096);
	}
}

static void refused(uint64_t size, enum status expected, const char *words)
{
	struct elf e = {.entry = 99};
	struct error err;
	enum status st = elf_open(&e, "k", file, size, &err);

	if (st != expected || !strstr(err.text, words) || e.entry != 99)
		fail_msg("got %s, \"%s\"; wanted \"%s\"", status_name(st), st == ST_OK ? "" : err.text, words);
}

struct patch {
	unsigned at32, at64, bytes;
	uint64_t value;
	enum status status;
	const char *words;
};

static void every_field_is_checked(void **state)
{
	static const struct patch patches[] = {
		{0, 0, 1, 0x7e, ST_UNSUPPORTED, "image 'k' is no ELF file"},
		{4, 4, 1, 3, ST_UNSUPPORTED, "unknown class"},
		{5, 5, 1, 2, ST_UNSUPPORTED, "not little-endian"},
		{6, 6, 1, 0, ST_UNSUPPORTED, "not little-endian of version 1"},
		{16, 16, 2, 3, ST_UNSUPPORTED, "no statically linked executable"},
		{18, 18, 2, 40, ST_UNSUPPORTED, "another processor"},
		{44, 56, 2, 0, ST_UNSUPPORTED, "without program headers"},
		{44, 56, 2, 0xffff, ST_UNSUPPORTED, "without program headers"},
		{44, 56, 2, 1000, ST_TRUNCATED, "its program headers are cut off"},
		{42, 54, 2, 31, ST_UNSUPPORTED, "too small"},
		{28, 32, 4, 0xfffffff0, ST_TRUNCATED, "its program headers are cut off"},
		/* the first program header: offset, vaddr, paddr, filesz, memsz */
		{52 + 4, 64 + 8, 4, 0xffffff00, ST_TRUNCATED, "segment 0 is cut off"},
		{52 + 16, 64 + 32, 4, 8000, ST_TRUNCATED, "segment 0 is cut off"},
		{52 + 20, 64 + 40, 4, 99, ST_TRUNCATED, "segment 0 has more bytes in the file than in memory"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(patches) * 2; i++) {
		const struct patch *p = &patches[i / 2];
		uint64_t size = sample(i % 2);

		memcpy(file + (i % 2 ? p->at64 : p->at32), &p->value, p->bytes);
		refused(size, p->status, p->words);
	}
}

static void addresses_do_not_wrap(void **state)
{
	uint64_t size = sample(false);

	(void)state;
	put_le32(file + 52 + 12, UINT32_MAX - 198);
	refused(size, ST_TRUNCATED, "segment 0 ends past the address space");
	put_le32(file + 52 + 12, UINT32_MAX - 199);
	assert_int_equal(elf_open(&(struct elf){0}, "k", file, size, NULL), ST_OK);
	size = sample(true);
	put_le64(file + 64 + 16, UINT64_MAX - 100);
	refused(size, ST_TRUNCATED, "segment 0 ends past the address space");
	sample(true);
	put_le64(file + 64 + 24, UINT64_MAX - 100);
	refused(size, ST_TRUNCATED, "segment 0 ends past the address space");
	/* A 64-bit file of the 32-bit processor is nonsense, the reverse is x32 or a boot stub. */
	sample(true);
	put_le16(file + 18, 3);
	refused(size, ST_UNSUPPORTED, "another processor");
	size = sample(false);
	put_le16(file + 18, 62);
	assert_int_equal(elf_open(&(struct elf){0}, "k", file, size, NULL), ST_OK);
}

static void every_cut_is_refused(void **state)
{
	uint64_t whole = sample(true);
	struct elf e;

	(void)state;
	assert_int_equal(elf_open(&e, "k", file, whole, NULL), ST_OK);
	/* The last segment is empty, so the file's last byte is that of the first segment. */
	for (uint64_t len = 0; len < e.headers + 3 * 56 + 16; len++) {
		uint8_t *copy = malloc(len ? len : 1);

		assert_non_null(copy);
		memcpy(copy, file, len);
		assert_int_not_equal(elf_open(&e, "k", copy, len, NULL), ST_OK);
		free(copy);
	}
}

/* @notes become the only PT_NOTE of a file whose copy ends with them. */
static const uint8_t *look_up(const uint8_t *notes, uint64_t size, const char *owner, uint32_t type, uint64_t *len,
			      uint8_t **copy)
{
	struct boot_rig_segment s = {.type = 4, .data = notes, .file_size = size, .mem_size = size};
	uint64_t total = boot_rig_elf(file, sizeof file, true, 0, &s, 1);
	struct elf e;

	*copy = malloc(total);
	assert_non_null(*copy);
	memcpy(*copy, file, total);
	assert_int_equal(elf_open(&e, "k", *copy, total, NULL), ST_OK);
	return elf_note(&e, owner, type, len);
}

static void notes_are_found_among_others(void **state)
{
	uint8_t notes[256], *copy;
	uint64_t size = 0, len = 0;
	const uint8_t *found;

	(void)state;
	size += boot_rig_note(notes + size, "GNU", 18, "abc", 3);
	size += boot_rig_note(notes + size, "Xen", 17, "12345", 5);
	size += boot_rig_note(notes + size, "Xenon", 18, "xx", 2);
	size += boot_rig_note(notes + size, "Xen", 18, "\x78\x56\x34\x12", 4);
	found = look_up(notes, size, "Xen", 18, &len, &copy);
	assert_non_null(found);
	assert_int_equal(len, 4);
	assert_int_equal(get_le32(found), 0x12345678);
	free(copy);
	assert_null(look_up(notes, size, "Xen", 19, &len, &copy));
	free(copy);
	/* Cut anywhere, the note is found whole or not at all. */
	for (uint64_t cut = 1; cut < size; cut++) {
		assert_null(look_up(notes, size - cut, "Xen", 18, &len, &copy));
		free(copy);
	}
	/* Sizes that would wrap a 32-bit sum. */
	put_le32(notes, UINT32_MAX);
	assert_null(look_up(notes, size, "Xen", 18, &len, &copy));
	free(copy);
	put_le32(notes, 4);
	put_le32(notes + 4, UINT32_MAX - 2);
	assert_null(look_up(notes, size, "Xen", 18, &len, &copy));
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_classes_read_the_same), cmocka_unit_test(every_field_is_checked),
		cmocka_unit_test(addresses_do_not_wrap),      cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(notes_are_found_among_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
