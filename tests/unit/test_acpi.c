/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI tables: a good set of each revision, each table damaged, each length cut,
 * each byte flipped (never a wrong access, and nothing accepted whose checksum is wrong).
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>

#include "firmware/acpi.h"
#include "lib/bits.h"
#include "tests/fakes/acpi_tables.h"
#include "tests/fakes/phys_buffer.h"

static struct acpi_fake fake;
static struct acpi_info info;
static struct error err;

/* Reads a copy of the first @len bytes; the root pointer by address. */
static enum status read_cut(uint32_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct phys_buffer b = {.base = ACPI_FAKE_BASE, .bytes = copy, .len = len};
	struct phys_reader mem = phys_buffer_reader(&b);
	struct acpi_root root = {.rsdp_at = ACPI_FAKE_BASE + fake.rsdp};
	enum status st;

	memcpy(copy, fake.bytes, len);
	st = acpi_read(&mem, &root, &info, &err);
	free(copy);
	return st;
}

static enum status read_all(void)
{
	return read_cut(fake.end);
}

static void expect_everything(void)
{
	assert_true(info.present);
	assert_string_equal(info.oem, "CORBEL");
	assert_int_equal(info.cpu_count, 2);
	assert_int_equal(info.cpu[0].apic_id, 0);
	assert_true(info.cpu[0].enabled);
	assert_int_equal(info.cpu[1].apic_id, 257);
	assert_int_equal(info.cpu[1].uid, 7);
	assert_false(info.cpu[1].enabled);
	assert_int_equal(info.lapic_address, 0xfee00000);
	assert_true(info.has_8259);
	assert_int_equal(info.ioapic_count, 1);
	assert_int_equal(info.ioapic[0].address, 0xfec00000);
	assert_int_equal(acpi_override_of(&info, 0)->gsi, 2);
	assert_int_equal(acpi_override_of(&info, 9)->inti, 0x0f);
	assert_null(acpi_override_of(&info, 4));
	assert_int_equal(info.nmi_count, 1);
	assert_int_equal(info.nmi[0].uid, ACPI_ALL_CPUS);
	assert_int_equal(info.nmi[0].lint, 1);
	assert_int_equal(info.pm_timer.address, 0x608);
	assert_true(info.pm_timer_32bit);
	assert_int_equal(info.pm1a_control.address, 0x604);
	assert_int_equal(info.reset.address, 0xcf9);
	assert_int_equal(info.reset_value, 6);
	assert_int_equal(info.smi_command, 0xb2);
	assert_true(info.s5_known);
	assert_int_equal(info.s5_type_a, 5);
	assert_int_equal(info.s5_type_b, 1);
	assert_int_equal(info.mcfg_count, 1);
	assert_int_equal(info.mcfg[0].base, 0xb0000000);
	assert_int_equal(info.mcfg[0].segment, 1);
	assert_int_equal(info.mcfg[0].bus_last, 0xff);
	assert_int_equal(info.hpet_address, 0xfed00000);
	assert_int_equal(info.skipped, 0);
}

static void both_revisions(void **state)
{
	(void)state;
	acpi_fake_build(&fake, true);
	assert_int_equal(read_all(), ST_OK);
	expect_everything();
	assert_int_equal(info.revision, 2);
	acpi_fake_build(&fake, false);
	assert_int_equal(read_all(), ST_OK);
	expect_everything();
	assert_int_equal(info.revision, 0);
}

static void root_pointer(void **state)
{
	struct phys_buffer b = {.base = ACPI_FAKE_BASE, .bytes = fake.bytes, .len = sizeof(fake.bytes)};
	struct phys_reader mem = phys_buffer_reader(&b);
	struct acpi_root copy, searched = {0};

	(void)state;
	acpi_fake_build(&fake, true);
	copy = (struct acpi_root){.rsdp = fake.bytes + fake.rsdp, .rsdp_len = 36};
	assert_int_equal(acpi_read(&mem, &copy, &info, &err), ST_OK);
	copy.rsdp_len = 20;
	assert_int_equal(acpi_read(&mem, &copy, &info, &err), ST_TRUNCATED);
	copy.rsdp_len = 19;
	assert_int_equal(acpi_read(&mem, &copy, &info, &err), ST_TRUNCATED);
	/* The search wants the whole BIOS area readable. */
	assert_int_equal(acpi_read(&mem, &searched, &info, &err), ST_NOT_FOUND);
	assert_non_null(strstr(err.text, "RSDP"));
	fake.bytes[fake.rsdp + 8]++;
	assert_int_equal(read_all(), ST_CORRUPT);
	acpi_fake_build(&fake, true);
	fake.bytes[fake.rsdp + 33]++; /* only the extended checksum covers it */
	assert_int_equal(read_all(), ST_CORRUPT);
	assert_non_null(strstr(err.text, "extended"));
}

static void search_in_bios_area(void **state)
{
	uint8_t *area = calloc(1, 0x20000);
	struct phys_buffer b = {.base = ACPI_FAKE_BASE, .bytes = area, .len = 0x20000};
	struct phys_reader mem = phys_buffer_reader(&b);
	struct acpi_root searched = {0};

	(void)state;
	acpi_fake_build(&fake, true);
	memcpy(area, fake.bytes, sizeof(fake.bytes));
	assert_int_equal(acpi_read(&mem, &searched, &info, &err), ST_OK);
	free(area);
}

static void required_tables(void **state)
{
	const struct {
		uint32_t *at;
		const char *name;
	} required[] = {{&fake.madt, "APIC"}, {&fake.fadt, "FACP"}, {&fake.root, "XSDT"}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(required); i++) {
		acpi_fake_build(&fake, true);
		fake.bytes[*required[i].at + 10]++;
		assert_int_equal(read_all(), ST_CORRUPT);
		assert_non_null(strstr(err.text, required[i].name));
		assert_non_null(strstr(err.text, "checksum"));
		acpi_fake_build(&fake, true);
		put_le32(fake.bytes + *required[i].at + 4, 35);
		assert_int_equal(read_all(), ST_CORRUPT);
		put_le32(fake.bytes + *required[i].at + 4, 0x100000);
		assert_int_equal(read_all(), ST_TRUNCATED);
	}
	acpi_fake_build(&fake, true);
	memcpy(fake.bytes + fake.madt, "XXXX", 4);
	acpi_fake_checksum(&fake, fake.madt);
	assert_int_equal(read_all(), ST_NOT_FOUND);
	assert_non_null(strstr(err.text, "MADT"));
}

static void optional_tables(void **state)
{
	(void)state;
	acpi_fake_build(&fake, true);
	fake.bytes[fake.mcfg + 10]++;
	put_le32(fake.bytes + fake.hpet + 4, 40);
	acpi_fake_checksum(&fake, fake.hpet);
	assert_int_equal(read_all(), ST_OK);
	assert_int_equal(info.skipped, 2);
	assert_non_null(strstr(info.note.text, "MCFG"));
	assert_int_equal(info.mcfg_count, 0);
	assert_int_equal(info.hpet_address, 0);

	acpi_fake_build(&fake, true);
	fake.bytes[fake.dsdt + 40]++;
	assert_int_equal(read_all(), ST_OK);
	assert_false(info.s5_known);
	assert_non_null(strstr(info.note.text, "DSDT"));
}

static void madt_entries(void **state)
{
	(void)state;
	acpi_fake_build(&fake, true);
	fake.bytes[fake.madt + 45] = 0; /* an entry of no length would loop for ever */
	acpi_fake_checksum(&fake, fake.madt);
	assert_int_equal(read_all(), ST_CORRUPT);
	assert_non_null(strstr(err.text, "offset 44"));
	fake.bytes[fake.madt + 45] = 7; /* shorter than its type */
	acpi_fake_checksum(&fake, fake.madt);
	assert_int_equal(read_all(), ST_CORRUPT);
	fake.bytes[fake.madt + 45] = 200; /* past the end */
	acpi_fake_checksum(&fake, fake.madt);
	assert_int_equal(read_all(), ST_CORRUPT);
}

/* ---- a MADT of its own, behind the other tables ---- */

#define MADT_ENTRIES 44u

static uint32_t own_madt;

static void begin_madt(void)
{
	acpi_fake_build(&fake, true);
	own_madt = fake.end;
	memset(fake.bytes + own_madt, 0, MADT_ENTRIES);
	memcpy(fake.bytes + own_madt, "APIC", 4);
	fake.end += MADT_ENTRIES;
}

static void add_apic(uint8_t id, uint32_t flags)
{
	uint8_t *e = fake.bytes + fake.end;

	e[0] = 0;
	e[1] = 8;
	e[2] = e[3] = id;
	put_le32(e + 4, flags);
	fake.end += e[1];
}

static void add_x2apic(uint32_t id, uint32_t uid, uint32_t flags)
{
	uint8_t *e = fake.bytes + fake.end;

	memset(e, 0, 16);
	e[0] = 9;
	e[1] = 16;
	put_le32(e + 4, id);
	put_le32(e + 8, flags);
	put_le32(e + 12, uid);
	fake.end += e[1];
}

static enum status read_madt(void)
{
	assert_true(fake.end <= ACPI_FAKE_BYTES);
	put_le32(fake.bytes + own_madt + 4, fake.end - own_madt);
	acpi_fake_checksum(&fake, own_madt);
	put_le64(fake.bytes + fake.root + 36 + 8, ACPI_FAKE_BASE + own_madt);
	acpi_fake_checksum(&fake, fake.root);
	return read_all();
}

#define ENABLED 1u
#define ONLINE_CAPABLE 2u

/* More processors than there is room for; ids that need 32 bits. */
static void many_processors(void **state)
{
	(void)state;
	begin_madt();
	for (unsigned i = 0; i < 100; i++)
		add_apic((uint8_t)i, ENABLED);
	for (unsigned i = 100; i < ACPI_CPUS_MAX + 5; i++)
		add_x2apic(0x10000 + i, i, ENABLED);
	assert_int_equal(read_madt(), ST_OK);
	assert_int_equal(info.cpu_count, ACPI_CPUS_MAX);
	assert_int_equal(info.cpu[99].apic_id, 99);
	assert_int_equal(info.cpu[100].apic_id, 0x10000 + 100);
	assert_int_equal(info.cpu[255].uid, 255);
	assert_int_equal(info.skipped, 5);
	assert_non_null(strstr(info.note.text, "processors"));
}

/* Which of them may be started: enabled ones; those that could be brought online are listed only. */
static void processor_flags(void **state)
{
	(void)state;
	begin_madt();
	add_apic(0, ENABLED);
	add_apic(1, 0);
	add_apic(2, ONLINE_CAPABLE);
	add_x2apic(300, 3, ENABLED | ONLINE_CAPABLE);
	add_x2apic(301, 4, 0);
	add_x2apic(302, 5, ONLINE_CAPABLE);
	assert_int_equal(read_madt(), ST_OK);
	assert_int_equal(info.cpu_count, 4);
	assert_true(info.cpu[0].enabled);
	assert_int_equal(info.cpu[1].apic_id, 2);
	assert_false(info.cpu[1].enabled);
	assert_int_equal(info.cpu[2].apic_id, 300);
	assert_true(info.cpu[2].enabled);
	assert_false(info.cpu[3].enabled);
	assert_int_equal(info.skipped, 0);
}

/* Listed as both kinds of local APIC: one processor, which is enabled when either entry says so. */
static void listed_twice(void **state)
{
	(void)state;
	begin_madt();
	add_apic(0, ENABLED);
	add_apic(4, ONLINE_CAPABLE);
	add_x2apic(0, 0, ENABLED);
	add_x2apic(4, 4, ENABLED);
	add_x2apic(0, 0, 0);
	assert_int_equal(read_madt(), ST_OK);
	assert_int_equal(info.cpu_count, 2);
	assert_true(info.cpu[0].enabled);
	assert_true(info.cpu[1].enabled);
	assert_int_equal(info.skipped, 0);
}

/* An entry of a type that nobody reads, such as a vendor's. */
static void add_other(uint8_t type, uint8_t len)
{
	memset(fake.bytes + fake.end, 0xa5, len);
	fake.bytes[fake.end] = type;
	fake.bytes[fake.end + 1] = len;
	fake.end += len;
}

/* As many as there is room for, in their order; in between others that do not count and are not told of. */
static void a_full_machine(void **state)
{
	(void)state;
	begin_madt();
	for (unsigned i = 0; i < ACPI_CPUS_MAX; i++) {
		add_x2apic(3 * i, i, i % 2 ? ENABLED : ENABLED | ONLINE_CAPABLE);
		if (i % 8 == 1)
			add_apic((uint8_t)(3 * (i / 8)), ENABLED); /* listed before */
		if (i % 8 == 3)
			add_x2apic(0x20000 + i, i, 0);
		if (i % 16 == 5)
			add_other((uint8_t)(0x80 + i / 16), (uint8_t)(2 + i % 7));
	}
	assert_int_equal(read_madt(), ST_OK);
	assert_int_equal(info.cpu_count, ACPI_CPUS_MAX);
	for (unsigned i = 0; i < ACPI_CPUS_MAX; i++) {
		assert_int_equal(info.cpu[i].apic_id, 3 * i);
		assert_int_equal(info.cpu[i].uid, i);
		assert_true(info.cpu[i].enabled);
	}
	assert_int_equal(info.skipped, 0);
	add_apic(3 * 7, ENABLED);
	add_x2apic(0x30000, 300, 0);
	assert_int_equal(read_madt(), ST_OK);
	assert_int_equal(info.skipped, 0);
	add_x2apic(0x30000, 300, ENABLED);
	assert_int_equal(read_madt(), ST_OK);
	assert_int_equal(info.cpu_count, ACPI_CPUS_MAX);
	assert_int_equal(info.skipped, 1);
}

/* Entries of any type and length with anything in them: read within the table, or refused by their place. */
static void garbage(void **state)
{
	static const uint8_t types[] = {0, 1, 2, 3, 4, 5, 9, 10, 11, 0x7f, 0x80, 0xff};
	uint64_t x = 88172645463325252ull;
	unsigned read = 0;

	(void)state;
	for (unsigned n = 0; n < 2000; n++) {
		begin_madt();
		add_apic(0, ENABLED);
		for (unsigned i = 0; i < n % 400 && fake.end + 256 < ACPI_FAKE_BYTES; i++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			add_other(types[x % ARRAY_SIZE(types)], (uint8_t)((x >> 8) % 24 + (n % 4 ? 16 : 0)));
			for (unsigned at = 2; at < 24; at++)
				fake.bytes[fake.end - at] ^= (uint8_t)(x >> at);
		}
		if (read_madt() != ST_OK) {
			assert_non_null(strstr(err.text, "MADT"));
			continue;
		}
		read++;
		assert_in_range(info.cpu_count, 1, ACPI_CPUS_MAX);
		for (unsigned i = 0; i < info.cpu_count; i++) {
			for (unsigned k = 0; k < i; k++)
				assert_int_not_equal(info.cpu[i].apic_id, info.cpu[k].apic_id);
		}
	}
	assert_in_range(read, 1, 1999);
}

static void every_cut_and_flip(void **state)
{
	(void)state;
	acpi_fake_build(&fake, true);
	for (uint32_t len = 0; len < fake.root + 36; len++)
		assert_int_not_equal(read_cut(len), ST_OK);
	for (uint32_t i = 0; i < fake.end; i++)
		for (unsigned bit = 0; bit < 8; bit += 3) {
			fake.bytes[i] ^= (uint8_t)BIT(bit);
			if (read_all() == ST_OK && i >= fake.madt + 4 && i < fake.mcfg - 16)
				fail_msg("flipped MADT byte 0x%x was accepted", i - fake.madt);
			fake.bytes[i] ^= (uint8_t)BIT(bit);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_revisions),  cmocka_unit_test(root_pointer),
		cmocka_unit_test(search_in_bios_area), cmocka_unit_test(required_tables),
		cmocka_unit_test(optional_tables), cmocka_unit_test(madt_entries),
		cmocka_unit_test(many_processors), cmocka_unit_test(processor_flags),
		cmocka_unit_test(listed_twice),    cmocka_unit_test(a_full_machine),
		cmocka_unit_test(garbage),         cmocka_unit_test(every_cut_and_flip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
