/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux by the 64-bit protocol: a small bzImage built by the documented offsets
 * and Debian's own. The tests walk the page tables, the GDT and boot_params as
 * the processor and the kernel would, from the memory image alone.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "tests/fakes/boot_rig.h"

#define SETUP_SECTS 3u
#define SETUP_BYTES ((SETUP_SECTS + 1) * 512u)
#define PAYLOAD 4096u
#define SIZE (SETUP_BYTES + PAYLOAD)

static uint8_t image[SIZE];

static void sample(struct boot_rig *rig)
{
	memset(image, 0, sizeof image);
	for (unsigned i = 0; i < PAYLOAD; i++)
		image[SETUP_BYTES + i] = (uint8_t)(i * 5 + 3);
	image[0x1f1] = SETUP_SECTS;
	put_le32(image + 0x1f4, PAYLOAD / 16);
	put_le16(image + 0x1fe, 0xaa55);
	put_le16(image + 0x200, 0x66eb); /* jump: the header ends at 0x268 */
	memcpy(image + 0x202, "HdrS", 4);
	put_le16(image + 0x206, 0x20f);
	image[0x211] = 1;
	put_le32(image + 0x22c, 0x7fffffff);
	put_le32(image + 0x230, 0x200000);
	image[0x234] = 1;
	put_le16(image + 0x236, 0x3);
	put_le32(image + 0x238, 255);
	put_le64(image + 0x258, 0x1000000);
	put_le32(image + 0x260, 0x300000);
	boot_rig_init(rig, BOOT_LINUX, 64 * BOOT_RIG_MIB);
	boot_rig_image(rig, image, sizeof image);
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

/* 4-level translation; fails the test where nothing is mapped writable. */
static uint64_t walk(const struct boot_rig *rig, uint64_t linear)
{
	uint64_t table = rig->plan.entry.cr3;

	for (int level = 3; level >= 0; level--) {
		unsigned shift = 12 + 9 * (unsigned)level;
		uint64_t entry = get_le64(rig->ram + table + ((linear >> shift) % 512) * 8);

		if ((entry & 3) != 3)
			fail_msg("0x%llx is not mapped", (unsigned long long)linear);
		table = entry & MASK(51, 12);
		if (level > 0 && (entry & BIT(7)))
			return (table & ~MASK(shift - 1, 0)) | (linear & MASK(shift - 1, 0));
	}
	return table | (linear & 0xfff);
}

static void processor_state_is_as_documented(void **state)
{
	static const uint64_t probes[] = {0, 0x1000, 0x1fffff, 0x1000200, 0x3fffffff, 0x40000000, 0xc0000000,
					  0xfee00000, 0xffffffff};
	struct boot_rig rig;
	uint64_t code, data;

	(void)state;
	sample(&rig);
	must_load(&rig);
	assert_int_equal(rig.plan.entry.mode, BOOT_MODE_LONG);
	assert_int_equal(rig.plan.entry.rip, 0x1000200);
	assert_memory_equal(rig.ram + 0x1000000, image + SETUP_BYTES, PAYLOAD);
	for (unsigned i = 0; i < ARRAY_SIZE(probes); i++)
		assert_int_equal(walk(&rig, probes[i]), probes[i]);
	assert_int_equal(rig.plan.entry.gdt_size, 40);
	code = get_le64(rig.ram + rig.plan.entry.gdt + 0x10);
	data = get_le64(rig.ram + rig.plan.entry.gdt + 0x18);
	assert_int_equal(code >> 40 & 0xff, 0x9b); /* execute, read */
	assert_int_equal(code >> 52 & 0xf, 0xa);   /* G, L */
	assert_int_equal(data >> 40 & 0xff, 0x93); /* read, write */
	assert_int_equal(data >> 52 & 0xf, 0xc);
	boot_rig_free(&rig);
}

static void boot_params_are_complete(void **state)
{
	static uint8_t initrd[12345];
	struct boot_rig rig;
	const uint8_t *p;
	uint64_t ramdisk;

	(void)state;
	memset(initrd, 0x3c, sizeof initrd);
	sample(&rig);
	boot_rig_cmdline(&rig, "console=ttyS0");
	boot_rig_initrd(&rig, initrd, sizeof initrd);
	must_load(&rig);
	p = rig.ram + rig.plan.entry.rsi;
	assert_memory_equal(p + 0x212, image + 0x212, 6);
	assert_memory_equal(p + 0x22c, image + 0x22c, 0x268 - 0x22c);
	assert_int_equal(p[0x210], 0xff);
	assert_int_equal(p[0x1ef], 0); /* sentinel */
	assert_string_equal((char *)rig.ram + get_le32(p + 0x228), "console=ttyS0");
	assert_int_equal(get_le32(p + 0x0c8), 0);
	ramdisk = get_le32(p + 0x218);
	assert_int_equal(ramdisk, (64 * BOOT_RIG_MIB - sizeof initrd) & ~4095ull);
	assert_int_equal(get_le32(p + 0x21c), sizeof initrd);
	assert_int_equal(get_le32(p + 0x0c0), 0);
	assert_memory_equal(rig.ram + ramdisk, initrd, sizeof initrd);
	assert_int_equal(get_le64(p + 0x070), 0xe0000);
	assert_int_equal(p[0x1e8], rig.layout.count);
	for (unsigned i = 0; i < rig.layout.count; i++) {
		assert_int_equal(get_le64(p + 0x2d0 + i * 20), rig.layout.map[i].start);
		assert_int_equal(get_le64(p + 0x2d8 + i * 20), rig.layout.map[i].size);
		assert_int_equal(get_le32(p + 0x2e0 + i * 20), rig.layout.map[i].type);
	}
	/* Nothing of ours at the end of conventional memory: the decompressor's trampoline goes there. */
	assert_true(rig.plan.entry.cr3 + 6 * 4096 < 0x80000 && rig.plan.entry.rsi < 0x80000);
	boot_rig_free(&rig);
}

static void kernels_move_when_they_can(void **state)
{
	struct boot_rig rig;

	(void)state;
	sample(&rig);
	rig.cfg.memory.size = 8 * BOOT_RIG_MIB;
	assert_int_equal(boot_rig_plan(&rig), ST_OK);
	assert_null(boot_rig_violation(&rig));
	assert_int_equal(rig.plan.entry.rip, 0x200200);
	image[0x234] = 0;
	must_refuse(&rig, ST_OVER_LIMIT, "needs 3072 KiB of memory at a fixed address, more than a VM of 8192 KiB has");
	image[0x234] = 1;
	rig.cfg.memory.size = 4 * BOOT_RIG_MIB;
	must_refuse(&rig, ST_OVER_LIMIT, "needs 3072 KiB of memory, more than a VM of 4096 KiB has");
}

static void initrd_limits_hold(void **state)
{
	static uint8_t initrd[4096];
	struct boot_rig rig;

	(void)state;
	sample(&rig);
	boot_rig_initrd(&rig, initrd, sizeof initrd);
	rig.cfg.memory.size = 8192 * BOOT_RIG_MIB;
	assert_int_equal(boot_rig_plan(&rig), ST_OK);
	assert_int_equal(rig.plan.regions[1].start, 0xc0000000 - 4096);
	put_le16(image + 0x236, 1); /* may not be above initrd_addr_max */
	assert_int_equal(boot_rig_plan(&rig), ST_OK);
	assert_int_equal(rig.plan.regions[1].start, 0x7ffff000);
	put_le32(image + 0x22c, 0x37ffffff);
	assert_int_equal(boot_rig_plan(&rig), ST_OK);
	assert_int_equal(rig.plan.regions[1].start, 0x37fff000);
	put_le32(image + 0x22c, 0xffff);
	must_refuse(&rig, ST_OVER_LIMIT, "initrd 'initrd' of 4096 bytes does not fit");
	boot_rig_initrd(&rig, initrd, 0);
	must_refuse(&rig, ST_INVALID, "initrd 'initrd' is empty");
}

/* Below 4 GiB there is no room: the kernel allows more, so it goes above. */
static void a_large_initrd_goes_high(void **state)
{
	static uint8_t byte;
	struct boot_rig rig;

	(void)state;
	sample(&rig);
	rig.cfg.memory.size = 8192 * BOOT_RIG_MIB;
	boot_rig_initrd(&rig, &byte, 0xc0000000); /* only planned, never read */
	assert_int_equal(boot_rig_plan(&rig), ST_OK);
	assert_null(boot_rig_violation(&rig));
	assert_int_equal(rig.plan.regions[1].start, 0x240000000 - 0xc0000000);
	assert_int_equal(get_le32(rig.plan.scratch + 0x0c0), 1);
	assert_int_equal(get_le32(rig.plan.scratch + 0x218), 0x80000000);
	assert_int_equal(get_le32(rig.plan.scratch + 0x21c), 0xc0000000);
}

static void command_lines_are_bounded(void **state)
{
	struct boot_rig rig;
	char line[400];

	(void)state;
	sample(&rig);
	memset(line, 'x', sizeof line);
	line[255] = '\0';
	boot_rig_cmdline(&rig, line);
	assert_int_equal(boot_rig_plan(&rig), ST_OK);
	line[255] = 'x';
	line[256] = '\0';
	boot_rig_cmdline(&rig, line);
	must_refuse(&rig, ST_OVER_LIMIT, "the command line has 256 characters, the kernel takes 255");
}

static void headers_are_checked(void **state)
{
	static const struct {
		unsigned at, bytes;
		uint64_t value;
		enum status status;
		const char *words;
	} patches[] = {
		{0x202, 1, 'h', ST_UNSUPPORTED, "image 'kernel' is no Linux bzImage"},
		{0x1fe, 2, 0, ST_UNSUPPORTED, "is no Linux bzImage"},
		{0x206, 2, 0x20b, ST_UNSUPPORTED, "its boot protocol 2.11 is older than 2.12"},
		{0x206, 2, 0x104, ST_UNSUPPORTED, "its boot protocol 1.04 is older than 2.12"},
		{0x211, 1, 0, ST_UNSUPPORTED, "is a zImage"},
		{0x236, 2, 2, ST_UNSUPPORTED, "is a 32-bit kernel"},
		{0x230, 4, 0, ST_CORRUPT, "kernel_alignment 0x0"},
		{0x230, 4, 0x300000, ST_CORRUPT, "kernel_alignment 0x300000 is no power of two"},
		{0x201, 1, 0x65, ST_CORRUPT, "its setup header ends at 0x267"},
		{0x1f1, 1, 1, ST_OK, ""},
		{0x1f1, 1, 4, ST_TRUNCATED, "setup and protected-mode code needs 6656 bytes, the file has 6144"},
		{0x1f1, 1, 0, ST_TRUNCATED, "needs 6656 bytes"}, /* 0 means 4 */
		{0x1f4, 4, 257, ST_TRUNCATED, "is truncated"},
		{0x1f4, 4, UINT32_MAX, ST_TRUNCATED, "is truncated"},
		{0x1f4, 4, 32, ST_CORRUPT, "syssize 32 leaves no room"},
		{0x258, 8, UINT64_MAX, ST_OK, ""}, /* moved instead */
		{0x258, 8, 0x90000, ST_OK, ""},
		{0x260, 4, UINT32_MAX, ST_OVER_LIMIT, "needs 4194304 KiB"},
		{0x238, 4, 0, ST_OK, ""},
	};
	struct boot_rig rig;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(patches); i++) {
		sample(&rig);
		memcpy(image + patches[i].at, &patches[i].value, patches[i].bytes);
		must_refuse(&rig, patches[i].status, patches[i].words);
		if (patches[i].status == ST_OK)
			assert_null(boot_rig_violation(&rig));
	}
}

static void every_cut_is_refused(void **state)
{
	struct boot_rig rig;

	(void)state;
	sample(&rig);
	for (uint64_t len = 0; len < SIZE - 15; len += len < 1100 || len > SIZE - 60 ? 1 : 53) {
		uint8_t *copy = malloc(len ? len : 1);

		assert_non_null(copy);
		memcpy(copy, image, len);
		boot_rig_image(&rig, copy, len);
		if (boot_rig_plan(&rig) == ST_OK)
			fail_msg("cut at %llu was taken", (unsigned long long)len);
		assert_non_null(strstr(rig.err.text, "image 'kernel' is "));
		free(copy);
	}
}

/* memtest86+ is such: syssize is rounded up, the file is not. */
static void a_last_paragraph_may_be_short(void **state)
{
	struct boot_rig rig;
	uint8_t *copy = malloc(SIZE - 15);

	(void)state;
	sample(&rig);
	assert_non_null(copy);
	memcpy(copy, image, SIZE - 15);
	boot_rig_image(&rig, copy, SIZE - 15);
	must_load(&rig);
	assert_memory_equal(rig.ram + 0x1000000, image + SETUP_BYTES, PAYLOAD - 15);
	assert_int_equal(rig.ram[0x1000000 + PAYLOAD - 15], 0);
	boot_rig_free(&rig);
	free(copy);
}

static void debian_bzimage_loads(void **state)
{
	struct boot_rig rig;
	uint64_t size = 0, setup;
	uint8_t *bz = boot_rig_read_dep("guests/vmlinuz", &size);

	(void)state;
	if (!bz)
		fail_msg("no guests/vmlinuz below $CORBEL_DEPS: make deps");
	boot_rig_init(&rig, BOOT_LINUX, 128 * BOOT_RIG_MIB);
	boot_rig_image(&rig, bz, size);
	boot_rig_cmdline(&rig, "console=ttyS0 quiet");
	must_load(&rig);
	setup = (bz[0x1f1] + 1u) * 512u;
	assert_int_equal(rig.plan.entry.rip, get_le64(bz + 0x258) + 0x200);
	assert_memory_equal(rig.ram + rig.plan.entry.rip - 0x200, bz + setup, get_le32(bz + 0x1f4) * 16ull);
	boot_rig_free(&rig);
	free(bz);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(processor_state_is_as_documented),
		cmocka_unit_test(boot_params_are_complete),
		cmocka_unit_test(kernels_move_when_they_can),
		cmocka_unit_test(initrd_limits_hold),
		cmocka_unit_test(a_large_initrd_goes_high),
		cmocka_unit_test(command_lines_are_bounded),
		cmocka_unit_test(headers_are_checked),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(a_last_paragraph_may_be_short),
		cmocka_unit_test(debian_bzimage_loads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
