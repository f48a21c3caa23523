/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PVH: start_info read again by offset from the memory image, Debian's own
 * vmlinux, and the ways in which an image can be wrong.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "tests/fakes/boot_rig.h"

#define ENTRY 0x1000040u

static uint8_t image[65536], notes[64];
static uint8_t text[3000];

/* A kernel at 16 MiB with an entry note of @note_bytes. */
static void sample(struct boot_rig *rig, unsigned note_bytes, uint64_t entry)
{
	struct boot_rig_segment s[2] = {
		{.type = 1, .vaddr = 0xffffffff81000000ull, .paddr = 0x1000000, .data = text, .file_size = sizeof text,
		 .mem_size = 100000},
		{.type = 4, .data = notes},
	};
	uint8_t value[16] = {0};

	memset(text, 0x90, sizeof text);
	put_le64(value, entry);
	s[1].file_size = s[1].mem_size = boot_rig_note(notes, "Xen", 18, value, note_bytes);
	boot_rig_init(rig, BOOT_PVH, 32 * BOOT_RIG_MIB);
	boot_rig_image(rig, image, boot_rig_elf(image, sizeof image, true, 0x1000000, s, 2));
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

static void start_info_is_complete(void **state)
{
	static uint8_t initrd[10000];
	struct boot_rig rig;
	const uint8_t *info, *module, *map;

	(void)state;
	memset(initrd, 0x77, sizeof initrd);
	sample(&rig, 8, ENTRY);
	boot_rig_cmdline(&rig, "console=ttyS0 quiet");
	boot_rig_initrd(&rig, initrd, sizeof initrd);
	must_load(&rig);
	assert_int_equal(rig.plan.entry.mode, BOOT_MODE_PROTECTED);
	assert_int_equal(rig.plan.entry.rip, ENTRY);
	assert_memory_equal(rig.ram + 0x1000000, text, sizeof text);
	info = rig.ram + rig.plan.entry.rbx;
	assert_int_equal(get_le32(info), 0x336ec578);
	assert_int_equal(get_le32(info + 4), 1);
	assert_int_equal(get_le32(info + 8), 0);
	assert_int_equal(get_le32(info + 12), 1);
	assert_string_equal((char *)rig.ram + get_le64(info + 24), "console=ttyS0 quiet");
	assert_int_equal(get_le64(info + 32), 0xe0000);
	assert_int_equal(get_le32(info + 48), rig.layout.count);
	module = rig.ram + get_le64(info + 16);
	assert_int_equal(get_le64(module + 8), sizeof initrd);
	assert_int_equal(get_le64(module), (32 * BOOT_RIG_MIB - sizeof initrd) & ~4095ull);
	assert_memory_equal(rig.ram + get_le64(module), initrd, sizeof initrd);
	map = rig.ram + get_le64(info + 40);
	for (unsigned i = 0; i < rig.layout.count; i++) {
		assert_int_equal(get_le64(map + i * 24), rig.layout.map[i].start);
		assert_int_equal(get_le64(map + i * 24 + 8), rig.layout.map[i].size);
		assert_int_equal(get_le32(map + i * 24 + 16), rig.layout.map[i].type);
		assert_int_equal(get_le32(map + i * 24 + 20), 0);
	}
	boot_rig_free(&rig);
}

static void without_initrd_and_acpi_there_is_no_pointer(void **state)
{
	struct boot_rig rig;
	const uint8_t *info;

	(void)state;
	sample(&rig, 4, ENTRY);
	rig.cfg.acpi = false;
	must_load(&rig);
	info = rig.ram + rig.plan.entry.rbx;
	assert_int_equal(rig.plan.entry.rip, ENTRY);
	assert_int_equal(get_le32(info + 12), 0);
	assert_int_equal(get_le64(info + 16), 0);
	assert_int_equal(get_le64(info + 32), 0);
	assert_string_equal((char *)rig.ram + get_le64(info + 24), "");
	boot_rig_free(&rig);
}

static void wrong_notes_are_refused(void **state)
{
	struct boot_rig rig;

	(void)state;
	sample(&rig, 6, ENTRY);
	must_refuse(&rig, ST_CORRUPT, "image 'kernel': its PVH entry note has 6 bytes, not 4 or 8");
	sample(&rig, 8, 0x100001000000ull);
	must_refuse(&rig, ST_CORRUPT, "entry point 0x100001000000 lies outside");
	sample(&rig, 4, 0xfff000);
	must_refuse(&rig, ST_CORRUPT, "entry point 0xfff000 lies outside");
	sample(&rig, 4, ENTRY);
	notes[8] = 17;
	memcpy(image + rig.in.image.size - 20, notes, 20);
	must_refuse(&rig, ST_UNSUPPORTED, "is no PVH kernel: it has no ELF note of Xen type 18");
}

static void memory_must_suffice(void **state)
{
	static uint8_t initrd[16 * 1024 * 1024];
	struct boot_rig rig;

	(void)state;
	sample(&rig, 8, ENTRY);
	rig.cfg.memory.size = 16 * BOOT_RIG_MIB;
	must_refuse(&rig, ST_OVER_LIMIT, "segment 0 needs 100000 bytes at 0x1000000, where a VM of 16 MiB");
	sample(&rig, 8, ENTRY);
	boot_rig_initrd(&rig, initrd, sizeof initrd);
	must_refuse(&rig, ST_OVER_LIMIT, "of 16777216 bytes does not fit beside image 'kernel' in a VM of 32 MiB");
	boot_rig_initrd(&rig, initrd, 0);
	must_refuse(&rig, ST_INVALID, "initrd 'initrd' is empty");
}

/* The initrd stays below the device hole even when most RAM is above. */
static void initrds_stay_low(void **state)
{
	static uint8_t initrd[5000];
	struct boot_rig rig;

	(void)state;
	sample(&rig, 8, ENTRY);
	rig.cfg.memory.size = 16384 * BOOT_RIG_MIB;
	boot_rig_initrd(&rig, initrd, sizeof initrd);
	assert_int_equal(boot_rig_plan(&rig), ST_OK);
	assert_null(boot_rig_violation(&rig));
	assert_int_equal(rig.plan.regions[1].start, 0xc0000000 - 8192);
}

/* Debian's kernel: every loadable byte of the file is in memory where its headers say, read here by hand. */
static void debian_vmlinux_loads_whole(void **state)
{
	struct boot_rig rig;
	uint64_t size = 0, loads = 0;
	uint8_t *vmlinux = boot_rig_read_dep("guests/vmlinux", &size);

	(void)state;
	if (!vmlinux)
		fail_msg("no guests/vmlinux below $CORBEL_DEPS: make deps");
	boot_rig_init(&rig, BOOT_PVH, 128 * BOOT_RIG_MIB);
	boot_rig_image(&rig, vmlinux, size);
	must_load(&rig);
	for (unsigned i = 0; i < get_le16(vmlinux + 56); i++) {
		const uint8_t *ph = vmlinux + get_le64(vmlinux + 32) + i * 56;

		if (get_le32(ph) != 1)
			continue;
		loads++;
		assert_memory_equal(rig.ram + get_le64(ph + 24), vmlinux + get_le64(ph + 8), get_le64(ph + 32));
	}
	assert_true(loads >= 3);
	/* An entry of this kernel begins with cld. */
	assert_int_equal(rig.ram[rig.plan.entry.rip], 0xfc);
	boot_rig_free(&rig);
	free(vmlinux);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_info_is_complete),
		cmocka_unit_test(without_initrd_and_acpi_there_is_no_pointer),
		cmocka_unit_test(wrong_notes_are_refused),
		cmocka_unit_test(memory_must_suffice),
		cmocka_unit_test(initrds_stay_low),
		cmocka_unit_test(debian_vmlinux_loads_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
