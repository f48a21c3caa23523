/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot 1: images built here are planned, carried out on a flat memory and
 * the result is read again by offset, as a kernel would. Then everything that
 * can be wrong with an image, one thing at a time, each with its sentence.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "tests/fakes/boot_rig.h"

#define LOAD 1u /* PT_LOAD */
#define KERNEL_AT 0x100000ull
#define MAX_IMAGE 65536

static uint8_t image[MAX_IMAGE];

static void put_header(uint8_t *at, uint32_t flags)
{
	put_le32(at, 0x1badb002);
	put_le32(at + 4, flags);
	put_le32(at + 8, 0u - 0x1badb002u - flags);
}

/* A segment's bytes: the header first, then a pattern. */
static const uint8_t *text(uint32_t flags)
{
	static uint8_t bytes[5000];

	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7 + 1);
	put_header(bytes, flags);
	return bytes;
}

static struct boot_rig_segment code(void)
{
	return (struct boot_rig_segment){.type = LOAD, .vaddr = KERNEL_AT, .paddr = KERNEL_AT, .data = text(3),
				    .file_size = 5000, .mem_size = 20000};
}

static void simple_elf(struct boot_rig *rig, bool is64)
{
	struct boot_rig_segment s = code();

	boot_rig_init(rig, BOOT_MULTIBOOT, 16 * BOOT_RIG_MIB);
	boot_rig_image(rig, image, boot_rig_elf(image, sizeof image, is64, KERNEL_AT + 0x20, &s, 1));
}

static void must_load(struct boot_rig *rig)
{
	if (!boot_rig_load(rig))
		fail_msg("%s", rig->err.text);
}

static void must_refuse(struct boot_rig *rig, enum status expected, const char *words)
{
	enum status st = boot_rig_plan(rig);

	if (st != expected || !strstr(rig->err.text, words))
		fail_msg("got %s, \"%s\"; wanted %s with \"%s\"", status_name(st), rig->err.text,
			 status_name(expected), words);
}

static const char *string_at(const struct boot_rig *rig, uint64_t field)
{
	return (const char *)rig->ram + get_le32(rig->ram + field);
}

static void elf_is_loaded_and_entered(void **state)
{
	struct boot_rig rig;

	(void)state;
	for (int is64 = 0; is64 < 2; is64++) {
		simple_elf(&rig, is64);
		must_load(&rig);
		assert_memory_equal(rig.ram + KERNEL_AT, text(3), 5000);
		assert_int_equal(rig.ram[KERNEL_AT + 5000], 0);
		assert_int_equal(rig.plan.entry.mode, BOOT_MODE_PROTECTED);
		assert_int_equal(rig.plan.entry.rip, KERNEL_AT + 0x20);
		assert_int_equal(rig.plan.entry.rax, 0x2badb002);
		assert_int_equal(rig.plan.count, 3);
		assert_int_equal(get_le16(rig.ram + 0x40e), 0x9fc0);
		assert_int_equal(get_le16(rig.ram + 0x413), 639);
		boot_rig_free(&rig);
	}
}

/* Reads the information block with the specification's offsets. */
static void information_is_complete(void **state)
{
	struct boot_rig rig;
	uint64_t mbi, map;
	unsigned entries = 0;

	(void)state;
	simple_elf(&rig, false);
	boot_rig_cmdline(&rig, "seed=1 quiet");
	must_load(&rig);
	mbi = rig.plan.entry.rbx;
	assert_int_equal(get_le32(rig.ram + mbi), BIT(0) | BIT(2) | BIT(6) | BIT(9));
	assert_int_equal(get_le32(rig.ram + mbi + 4), 639);
	assert_int_equal(get_le32(rig.ram + mbi + 8), 15 * 1024);
	assert_string_equal(string_at(&rig, mbi + 16), "seed=1 quiet");
	assert_string_equal(string_at(&rig, mbi + 64), "Corbel");
	map = get_le32(rig.ram + mbi + 48);
	for (uint64_t at = 0; at < get_le32(rig.ram + mbi + 44); entries++) {
		const uint8_t *e = rig.ram + map + at;

		assert_int_equal(get_le64(e + 4), rig.layout.map[entries].start);
		assert_int_equal(get_le64(e + 12), rig.layout.map[entries].size);
		assert_int_equal(get_le32(e + 20), rig.layout.map[entries].type);
		at += get_le32(e) + 4;
	}
	assert_int_equal(entries, rig.layout.count);
	/* Clear of the first 64 KiB, of the end of conventional memory and of what lies behind the kernel. */
	assert_true(mbi >= 0x10000 && map + get_le32(rig.ram + mbi + 44) < 0x80000);
	boot_rig_free(&rig);
}

static void modules_follow_the_kernel(void **state)
{
	static uint8_t first[9000], second[3];
	struct boot_rig rig;
	const uint8_t *m;

	(void)state;
	memset(first, 0xa5, sizeof first);
	memset(second, 0x5a, sizeof second);
	simple_elf(&rig, false);
	boot_rig_module(&rig, first, sizeof first, "first module");
	boot_rig_module(&rig, second, sizeof second, "");
	boot_rig_module(&rig, second, 0, "nothing");
	must_load(&rig);
	assert_true(get_le32(rig.ram + rig.plan.entry.rbx) & BIT(3));
	assert_int_equal(get_le32(rig.ram + rig.plan.entry.rbx + 20), 3);
	m = rig.ram + get_le32(rig.ram + rig.plan.entry.rbx + 24);
	assert_int_equal(get_le32(m), 0x105000);
	assert_int_equal(get_le32(m + 4), 0x105000 + sizeof first);
	assert_string_equal((char *)rig.ram + get_le32(m + 8), "first module");
	assert_memory_equal(rig.ram + get_le32(m), first, sizeof first);
	assert_int_equal(get_le32(m + 16), 0x108000);
	assert_memory_equal(rig.ram + get_le32(m + 16), second, sizeof second);
	assert_int_equal(get_le32(m + 32), get_le32(m + 36));
	assert_string_equal((char *)rig.ram + get_le32(m + 40), "nothing");
	boot_rig_free(&rig);
}

/* A kernel linked high and loaded low: the entry is translated by its segment. */
static void high_half_entry_is_physical(void **state)
{
	struct boot_rig_segment s = code();
	struct boot_rig rig;

	(void)state;
	s.vaddr = 0xffffffff80100000ull;
	boot_rig_init(&rig, BOOT_MULTIBOOT, 16 * BOOT_RIG_MIB);
	boot_rig_image(&rig, image, boot_rig_elf(image, sizeof image, true, s.vaddr + 0x40, &s, 1));
	must_load(&rig);
	assert_int_equal(rig.plan.entry.rip, KERNEL_AT + 0x40);
	boot_rig_free(&rig);
	/* An entry that is physical already stays. */
	boot_rig_image(&rig, image, boot_rig_elf(image, sizeof image, true, KERNEL_AT + 0x44, &s, 1));
	must_load(&rig);
	assert_int_equal(rig.plan.entry.rip, KERNEL_AT + 0x44);
	boot_rig_free(&rig);
}

/* flat: 64 bytes of something, the header, the kernel; loaded from 32 bytes before the header on. */
static uint64_t flat_image(uint32_t load_end, uint32_t bss_end)
{
	for (unsigned i = 0; i < 4096; i++)
		image[i] = (uint8_t)(i * 3);
	put_header(image + 64, 0x10003);
	put_le32(image + 76, 0x200020);
	put_le32(image + 80, 0x200000);
	put_le32(image + 84, load_end);
	put_le32(image + 88, bss_end);
	put_le32(image + 92, 0x200100);
	return 4096;
}

static void flat_images_load_by_their_header(void **state)
{
	struct boot_rig rig;

	(void)state;
	boot_rig_init(&rig, BOOT_MULTIBOOT, 16 * BOOT_RIG_MIB);
	boot_rig_image(&rig, image, flat_image(0x200800, 0x202000));
	must_load(&rig);
	assert_memory_equal(rig.ram + 0x200000, image + 32, 0x800);
	assert_int_equal(rig.ram[0x200801], 0);
	assert_int_equal(rig.plan.entry.rip, 0x200100);
	assert_int_equal(rig.plan.regions[0].size, 0x2000);
	boot_rig_free(&rig);
	boot_rig_image(&rig, image, flat_image(0, 0)); /* all of the file, no bss */
	must_load(&rig);
	assert_memory_equal(rig.ram + 0x200000, image + 32, 4096 - 32);
	assert_int_equal(rig.plan.regions[0].size, 4096 - 32);
	boot_rig_free(&rig);
}

static void flat_headers_are_checked(void **state)
{
	struct boot_rig rig;

	(void)state;
	boot_rig_init(&rig, BOOT_MULTIBOOT, 16 * BOOT_RIG_MIB);
	boot_rig_image(&rig, image, flat_image(0x202000, 0));
	must_refuse(&rig, ST_TRUNCATED, "image 'kernel' is truncated: its header states 8192 bytes, 4064 are there");
	boot_rig_image(&rig, image, flat_image(0x200000, 0));
	must_refuse(&rig, ST_CORRUPT, "out of order");
	boot_rig_image(&rig, image, flat_image(0x200800, 0x200400));
	must_refuse(&rig, ST_CORRUPT, "out of order");
	flat_image(0x200800, 0);
	put_le32(image + 76, 0x200000 + 65); /* the header would be before the file */
	must_refuse(&rig, ST_CORRUPT, "lies outside of what is to be loaded");
	flat_image(0x200800, 0);
	put_le32(image + 92, 0x300000);
	must_refuse(&rig, ST_CORRUPT, "entry point 0x300000 lies outside");
	flat_image(0x200800, 0x9000000);
	must_refuse(&rig, ST_OVER_LIMIT, "where a VM of 16 MiB has no usable memory");
	flat_image(0, 0);
	boot_rig_image(&rig, image, 64 + 31);
	must_refuse(&rig, ST_TRUNCATED, "multiboot header is cut off");
}

static void headers_are_searched_as_specified(void **state)
{
	struct boot_rig rig;

	(void)state;
	boot_rig_init(&rig, BOOT_MULTIBOOT, 16 * BOOT_RIG_MIB);
	memset(image, 0, sizeof image);
	boot_rig_image(&rig, image, sizeof image);
	must_refuse(&rig, ST_UNSUPPORTED, "image 'kernel' is no multiboot kernel: its first 8192 bytes hold no header");
	put_header(image + 8192 - 8, 3); /* not wholly inside */
	must_refuse(&rig, ST_UNSUPPORTED, "no multiboot kernel");
	put_header(image + 10, 3); /* not aligned */
	must_refuse(&rig, ST_UNSUPPORTED, "no multiboot kernel");
	memset(image, 0, sizeof image);
	put_header(image + 16, 3);
	put_le32(image + 24, 5); /* checksum */
	must_refuse(&rig, ST_UNSUPPORTED, "no multiboot kernel");
	put_header(image + 8192 - 12, 3);
	must_refuse(&rig, ST_UNSUPPORTED, "is no ELF file");
	put_header(image + 8192 - 12, 0x8003);
	must_refuse(&rig, ST_UNSUPPORTED, "features that do not exist: flags 0x8000");
	boot_rig_image(&rig, image, 0);
	must_refuse(&rig, ST_UNSUPPORTED, "its first 0 bytes");
}

static void a_video_wish_is_no_obstacle(void **state)
{
	struct boot_rig_segment s = code();
	struct boot_rig rig;

	(void)state;
	s.data = text(7);
	boot_rig_init(&rig, BOOT_MULTIBOOT, 16 * BOOT_RIG_MIB);
	boot_rig_image(&rig, image, boot_rig_elf(image, sizeof image, false, KERNEL_AT, &s, 1));
	must_load(&rig);
	assert_false(get_le32(rig.ram + rig.plan.entry.rbx) & (BIT(11) | BIT(12)));
	boot_rig_free(&rig);
}

static void bad_segments_are_named(void **state)
{
	struct boot_rig_segment s[2] = {code(), code()};
	struct boot_rig rig;

	(void)state;
	boot_rig_init(&rig, BOOT_MULTIBOOT, 16 * BOOT_RIG_MIB);
	s[1].paddr = KERNEL_AT + 19999;
	boot_rig_image(&rig, image, boot_rig_elf(image, sizeof image, false, KERNEL_AT, s, 2));
	must_refuse(&rig, ST_INVALID, "segment 0 and segment 1 overlap at 0x104e1f");
	s[1].paddr = 0xa0000;
	boot_rig_image(&rig, image, boot_rig_elf(image, sizeof image, false, KERNEL_AT, s, 2));
	must_refuse(&rig, ST_OVER_LIMIT, "segment 1 needs 20000 bytes at 0xa0000");
	s[1].paddr = 0x100001000ull;
	boot_rig_image(&rig, image, boot_rig_elf(image, sizeof image, true, KERNEL_AT, s, 2));
	must_refuse(&rig, ST_UNSUPPORTED, "segment 1 is to be loaded above 4 GiB");
	boot_rig_image(&rig, image, boot_rig_elf(image, sizeof image, false, 0x300000, s, 1));
	must_refuse(&rig, ST_CORRUPT, "entry point 0x300000 lies outside");
	s[0].type = 0;
	boot_rig_image(&rig, image, boot_rig_elf(image, sizeof image, false, KERNEL_AT, s, 1));
	must_refuse(&rig, ST_INVALID, "has nothing to load");
}

static void what_does_not_fit_is_refused(void **state)
{
	static uint8_t big[3 * 1024 * 1024];
	struct boot_rig rig;

	(void)state;
	simple_elf(&rig, false);
	rig.cfg.memory.size = 4 * BOOT_RIG_MIB;
	boot_rig_module(&rig, big, sizeof big, "");
	must_refuse(&rig, ST_OVER_LIMIT, "module 0 of 3145728 bytes does not fit in 4 MiB");
	simple_elf(&rig, false);
	rig.cfg.memory.size = 1 * BOOT_RIG_MIB;
	must_refuse(&rig, ST_OVER_LIMIT, "segment 0 needs 20000 bytes at 0x100000, where a VM of 1 MiB");
}

/* A kernel that fills conventional memory gets its information above 1 MiB, and no BIOS data area over itself. */
static void information_moves_when_low_memory_is_taken(void **state)
{
	struct boot_rig_segment s = {.type = LOAD, .vaddr = 0x400, .paddr = 0x400, .data = text(3), .file_size = 5000,
				.mem_size = 0x9f000};
	struct boot_rig rig;

	(void)state;
	boot_rig_init(&rig, BOOT_MULTIBOOT, 16 * BOOT_RIG_MIB);
	boot_rig_image(&rig, image, boot_rig_elf(image, sizeof image, false, 0x1020, &s, 1));
	must_load(&rig);
	assert_true(rig.plan.entry.rbx >= 0x100000);
	assert_memory_equal(rig.ram + 0x400, text(3), 5000);
	boot_rig_free(&rig);
	s.mem_size = 0x90c00;
	boot_rig_image(&rig, image, boot_rig_elf(image, sizeof image, false, 0x1020, &s, 1));
	must_load(&rig);
	assert_true(rig.plan.entry.rbx >= 0x91000 && rig.plan.entry.rbx < 0x9fc00);
	boot_rig_free(&rig);
}

/* Every prefix of a good image is refused, none is read past its end (ASan watches the copy). */
static void every_cut_is_refused(void **state)
{
	struct boot_rig rig;
	uint64_t whole;

	(void)state;
	simple_elf(&rig, true);
	whole = rig.in.image.size;
	for (uint64_t len = 0; len < whole; len += len < 300 ? 1 : 97) {
		uint8_t *copy = malloc(len ? len : 1);

		assert_non_null(copy);
		memcpy(copy, image, len);
		boot_rig_image(&rig, copy, len);
		if (boot_rig_plan(&rig) == ST_OK)
			fail_msg("cut at %llu of %llu was taken", (unsigned long long)len, (unsigned long long)whole);
		assert_non_null(strstr(rig.err.text, "image 'kernel'"));
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elf_is_loaded_and_entered),
		cmocka_unit_test(information_is_complete),
		cmocka_unit_test(modules_follow_the_kernel),
		cmocka_unit_test(high_half_entry_is_physical),
		cmocka_unit_test(flat_images_load_by_their_header),
		cmocka_unit_test(flat_headers_are_checked),
		cmocka_unit_test(headers_are_searched_as_specified),
		cmocka_unit_test(a_video_wish_is_no_obstacle),
		cmocka_unit_test(bad_segments_are_named),
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(information_moves_when_low_memory_is_taken),
		cmocka_unit_test(every_cut_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
