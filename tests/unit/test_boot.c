/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot plans carried out in a whole VM: real store, memory manager and devices
 * under the fake engine. Guest memory is read back through gmem, the entry state
 * from the engine, and compared with what each protocol's document asks for.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/boot.h"
#include "guest/gmem.h"
#include "lib/x86_regs.h"
#include "tests/fakes/boot_rig.h"
#include "tests/fakes/vm_rig.h"

#define REGULAR 0100644u

static struct {
	char *bytes;
	size_t len, max;
	struct store store;
	struct files files;
} archive;

static void add_file(const char *name, const void *data, size_t size)
{
	char *p = archive.bytes + archive.len;

	if (archive.len + size + 512 > archive.max)
		fail_msg("the archive is full");
	p += sprintf(p, "070701%08X%08X%08X%08X%08X%08X%08zX%08X%08X%08X%08X%08zX%08X", 1u, REGULAR, 0u, 0u, 1u, 0u,
		     size, 0u, 0u, 0u, 0u, strlen(name) + 1, 0u);
	memcpy(p, name, strlen(name) + 1);
	archive.len = ((size_t)(p - archive.bytes) + strlen(name) + 1 + 3) & ~(size_t)3;
	memcpy(archive.bytes + archive.len, data, size);
	archive.len = (archive.len + size + 3) & ~(size_t)3;
}

/* A machine whose store holds a small kernel for each protocol. */
static void set_up(uint64_t host_ram, size_t archive_bytes)
{
	vm_rig_init(host_ram);
	archive.max = archive_bytes;
	archive.len = 0;
	archive.bytes = calloc(1, archive_bytes);
	assert_non_null(archive.bytes);
}

static void seal(void)
{
	struct error err;

	add_file("TRAILER!!!", "", 0);
	if (store_open(&archive.store, archive.bytes, archive.len, &err) != ST_OK)
		fail_msg("%s", err.text);
	files_init(&archive.files, &archive.store, "a test");
	vm_rig.machine.files = &archive.files;
}

static void tear_down(void)
{
	vm_rig_fini();
	free(archive.bytes);
}

static struct vm *define(enum boot_protocol protocol, const char *image, uint64_t bytes)
{
	struct vm_config cfg = vm_rig_config("vm", bytes);
	struct error err;
	struct vm *vm;

	cfg.boot.protocol = protocol;
	snprintf(cfg.boot.image, sizeof cfg.boot.image, "%s", image);
	snprintf(cfg.boot.cmdline, sizeof cfg.boot.cmdline, "one two");
	if (vm_define(&vm_rig.machine, &cfg, &vm, &err) != ST_OK)
		fail_msg("%s", err.text);
	return vm;
}

static void start(struct vm *vm)
{
	struct error err;

	if (vm_start(vm, &err) != ST_OK)
		fail_msg("%s", err.text);
}

static void assert_memory_is(struct vm *vm, uint64_t at, const void *expected, size_t len)
{
	uint8_t page[PAGE_SIZE];

	for (size_t done = 0; done < len; done += sizeof page) {
		size_t part = MIN(len - done, sizeof page);

		assert_int_equal(gmem_read(vm, gpa(at + done), page, part), ST_OK);
		if (memcmp(page, (const uint8_t *)expected + done, part) != 0)
			fail_msg("guest memory differs near 0x%llx", (unsigned long long)(at + done));
	}
}

static void assert_text_at(struct vm *vm, uint64_t at, const char *expected)
{
	char text[64] = "";

	assert_int_equal(gmem_read(vm, gpa(at), text, sizeof text - 1), ST_OK);
	assert_string_equal(text, expected);
}

static uint64_t number_at(struct vm *vm, uint64_t at, unsigned bytes)
{
	uint64_t v = 0;

	assert_int_equal(gmem_read(vm, gpa(at), &v, bytes), ST_OK);
	return v;
}

static uint64_t reg(struct vm *vm, enum engine_reg r)
{
	return fake(vm->vcpus[0])->regs[r];
}

static void check_flat_segments(struct vm *vm, unsigned code_access)
{
	static const enum segment_reg data[] = {SEG_DS, SEG_ES, SEG_SS};
	const struct segment *s = fake(vm->vcpus[0])->segments;

	assert_true(s[SEG_CS].base == 0 && s[SEG_CS].limit == UINT32_MAX && s[SEG_CS].access == code_access);
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		const struct segment *d = &s[data[i]];

		assert_true(d->base == 0 && d->limit == UINT32_MAX && d->access == 0xc093);
	}
	/* A busy 32- or 64-bit TSS, without which no virtualised CPU enters. */
	assert_true(s[SEG_TR].access == 0x8b && s[SEG_TR].limit == 0x67);
	assert_true(s[SEG_LDTR].access & SEGMENT_UNUSABLE);
}

static void check_protected_mode(struct vm *vm, uint64_t rip)
{
	assert_int_equal(reg(vm, REG_RIP), rip);
	assert_int_equal(reg(vm, REG_CR0) & (CR0_PE | CR0_PG), CR0_PE);
	assert_int_equal(reg(vm, REG_CR4), 0);
	assert_int_equal(reg(vm, REG_EFER), 0);
	assert_int_equal(reg(vm, REG_RFLAGS), 2);
	check_flat_segments(vm, 0xc09b);
}

static void multiboot_enters_protected_mode(void **state)
{
	static uint8_t text[5000], image[8192], module[6000];
	struct boot_rig_segment s = {.type = 1, .vaddr = 0x100000, .paddr = 0x100000, .data = text,
				     .file_size = sizeof text, .mem_size = 9000};
	struct vm *vm;
	uint64_t mbi, mods;

	(void)state;
	memset(text, 0x5c, sizeof text);
	memset(module, 0xc5, sizeof module);
	memcpy(text, "\x02\xb0\xad\x1b\x03\x00\x00\x00\xfb\x4f\x52\xe4", 12);
	set_up(64 << 20, 1 << 20);
	add_file("kernel", image, boot_rig_elf(image, sizeof image, false, 0x100020, &s, 1));
	add_file("data", module, sizeof module);
	seal();
	vm = define(BOOT_MULTIBOOT, "kernel", 8 << 20);
	vm->config.boot.module_count = 1;
	strcpy(vm->config.boot.modules[0].image, "data");
	strcpy(vm->config.boot.modules[0].cmdline, "the data");
	start(vm);
	check_protected_mode(vm, 0x100020);
	assert_int_equal(vm->vcpus[0]->gpr[GPR_RAX], 0x2badb002);
	mbi = vm->vcpus[0]->gpr[GPR_RBX];
	assert_memory_is(vm, 0x100000, text, sizeof text);
	assert_text_at(vm, number_at(vm, mbi + 16, 4), "one two");
	mods = number_at(vm, mbi + 24, 4);
	assert_memory_is(vm, number_at(vm, mods, 4), module, sizeof module);
	assert_text_at(vm, number_at(vm, mods + 8, 4), "the data");
	tear_down();
}

/* Debian's kernel whole, and the tables beside it. */
static void pvh_loads_debians_kernel(void **state)
{
	uint64_t size = 0, info, rsdp;
	uint8_t *vmlinux = boot_rig_read_dep("guests/vmlinux", &size);
	struct vm *vm;

	(void)state;
	if (!vmlinux)
		fail_msg("no guests/vmlinux below $CORBEL_DEPS: make deps");
	set_up(256 << 20, size + (1 << 20));
	add_file("guests/vmlinux", vmlinux, size);
	add_file("initrd", "initrd bytes", 12);
	seal();
	vm = define(BOOT_PVH, "guests/vmlinux", 128 << 20);
	strcpy(vm->config.boot.initrd, "initrd");
	start(vm);
	check_protected_mode(vm, reg(vm, REG_RIP));
	assert_int_equal(number_at(vm, reg(vm, REG_RIP), 1), 0xfc); /* cld */
	for (unsigned i = 0; i < get_le16(vmlinux + 56); i++) {
		const uint8_t *ph = vmlinux + get_le64(vmlinux + 32) + i * 56;

		if (get_le32(ph) == 1)
			assert_memory_is(vm, get_le64(ph + 24), vmlinux + get_le64(ph + 8), get_le64(ph + 32));
	}
	info = vm->vcpus[0]->gpr[GPR_RBX];
	assert_int_equal(number_at(vm, info, 4), 0x336ec578);
	assert_text_at(vm, number_at(vm, info + 24, 8), "one two");
	assert_text_at(vm, number_at(vm, number_at(vm, info + 16, 8), 8), "initrd bytes");
	rsdp = number_at(vm, info + 32, 8);
	assert_memory_is(vm, rsdp, "RSD PTR ", 8);
	assert_memory_is(vm, number_at(vm, rsdp + 24, 8), "XSDT", 4);
	assert_memory_is(vm, 0xff000, "FACS", 4);
	free(vmlinux);
	tear_down();
}

static void linux_enters_long_mode(void **state)
{
	uint64_t size = 0, params;
	uint8_t *bz = boot_rig_read_dep("guests/vmlinuz", &size);
	const struct segment *gdtr;
	struct vm *vm;
	gpa_t at;
	uint32_t pf;

	(void)state;
	if (!bz)
		fail_msg("no guests/vmlinuz below $CORBEL_DEPS: make deps");
	set_up(256 << 20, size + (1 << 20));
	add_file("vmlinuz", bz, size);
	seal();
	vm = define(BOOT_LINUX, "vmlinuz", 128 << 20);
	vm->config.acpi = false;
	start(vm);
	assert_int_equal(reg(vm, REG_RIP), get_le64(bz + 0x258) + 0x200);
	assert_int_equal(reg(vm, REG_CR0) & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
	assert_int_equal(reg(vm, REG_CR4), CR4_PAE);
	assert_int_equal(reg(vm, REG_EFER), EFER_LME | EFER_LMA);
	assert_int_equal(reg(vm, REG_RFLAGS) & RFLAGS_IF, 0);
	check_flat_segments(vm, 0xa09b);
	assert_memory_is(vm, reg(vm, REG_RIP) - 0x200, bz + (bz[0x1f1] + 1) * 512, get_le32(bz + 0x1f4) * 16ull);
	params = vm->vcpus[0]->gpr[GPR_RSI];
	assert_int_equal(number_at(vm, params + 0x202, 4), 0x53726448);
	assert_int_equal(number_at(vm, params + 0x70, 8), 0);
	assert_text_at(vm, number_at(vm, params + 0x228, 4), "one two");
	gdtr = &fake(vm->vcpus[0])->segments[SEG_GDTR];
	assert_int_equal(number_at(vm, gdtr->base + 0x10, 8), 0xaf9b000000ffff);
	assert_int_equal(gdtr->limit, 39);
	/* The guest's own page walk agrees with the tables. */
	vm->machine->engine->load(vm->vcpus[0]);
	assert_int_equal(gmem_translate(vm->vcpus[0], gva(0xfee00123), S2_READ, &at, &pf), ST_OK);
	assert_int_equal(at.v, 0xfee00123);
	free(bz);
	tear_down();
}

static void refused(struct vm *vm, enum status expected, const char *words)
{
	struct error err = {{0}};
	enum status st = vm_start(vm, &err);

	if (st != expected || !strstr(err.text, words))
		fail_msg("got %s, \"%s\"; wanted \"%s\"", status_name(st), err.text, words);
	assert_int_equal(vm->state, VM_DEFINED);
	if (vm_destroy(vm, &err) != ST_OK)
		fail_msg("%s", err.text);
}

static void bad_images_leave_nothing_behind(void **state)
{
	struct vm *vm;

	(void)state;
	set_up(64 << 20, 1 << 20);
	add_file("text", "hello", 5);
	seal();
	refused(define(BOOT_LINUX, "nowhere", 8 << 20), ST_NOT_FOUND, "no file 'nowhere' in the store");
	refused(define(BOOT_LINUX, "text", 8 << 20), ST_UNSUPPORTED, "image 'text' is no Linux bzImage");
	refused(define(BOOT_PVH, "text", 8 << 20), ST_UNSUPPORTED, "image 'text' is no ELF file");
	refused(define(BOOT_MULTIBOOT, "text", 8 << 20), ST_UNSUPPORTED, "image 'text' is no multiboot kernel");
	vm = define(BOOT_PVH, "text", 8 << 20);
	strcpy(vm->config.boot.initrd, "gone");
	refused(vm, ST_NOT_FOUND, "no file 'gone' in the store");
	tear_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(multiboot_enters_protected_mode), cmocka_unit_test(pvh_loads_debians_kernel),
		cmocka_unit_test(linux_enters_long_mode),          cmocka_unit_test(bad_images_leave_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
