/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's ACPI tables, taken apart as a kernel does: from the RSDP down,
 * every length and checksum, every field by its offset in the specification,
 * and the resources of the DSDT's devices against guest/pc.h.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/acpi_tables.h"
#include "guest/config.h"
#include "guest/pc.h"
#include "lib/bits.h"

#define BASE 0xe0000u
#define FACS_AT 0xff000u
#define HIGH_START 0x1c0000000ull

static uint8_t image[ACPI_TABLES_BYTES];
static size_t used;

static void build(unsigned vcpus)
{
	memset(image, 0xee, sizeof image);
	used = acpi_tables_fill(image, BASE, FACS_AT, vcpus, (struct vpci_high){HIGH_START, PC_PCI_HIGH_SIZE});
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s = (uint8_t)(s + *p++);
	return s;
}

/* The table at guest address @at, whole and sealed. */
static const uint8_t *table(uint64_t at, const char *signature)
{
	const uint8_t *p = image + (at - BASE);

	assert_true(at >= BASE && at + 36 <= BASE + used);
	assert_memory_equal(p, signature, 4);
	assert_true(at + get_le32(p + 4) <= BASE + used);
	assert_int_equal(sum(p, get_le32(p + 4)), 0);
	assert_memory_equal(p + 10, "CORBEL", 6);
	return p;
}

static void rsdp_leads_to_the_tables(void **state)
{
	static const char *const names[] = {"FACP", "APIC", "MCFG", "SSDT"};
	const uint8_t *rsdt, *xsdt;

	(void)state;
	build(1);
	assert_memory_equal(image, "RSD PTR ", 8);
	assert_int_equal(image[15], 2);
	assert_int_equal(get_le32(image + 20), 36);
	assert_int_equal(sum(image, 20), 0);
	assert_int_equal(sum(image, 36), 0);
	rsdt = table(get_le32(image + 16), "RSDT");
	xsdt = table(get_le64(image + 24), "XSDT");
	assert_int_equal(get_le32(rsdt + 4), 36 + 4 * 4);
	assert_int_equal(get_le32(xsdt + 4), 36 + 4 * 8);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(get_le32(rsdt + 36 + i * 4), get_le64(xsdt + 36 + i * 8));
		table(get_le64(xsdt + 36 + i * 8), names[i]);
	}
}

static const uint8_t *find(const char *signature, unsigned index)
{
	const uint8_t *xsdt = image + (get_le64(image + 24) - BASE);

	return table(get_le64(xsdt + 36 + index * 8), signature);
}

/* A generic address of system I/O space. */
static void check_register(const uint8_t *gas, unsigned port, unsigned bytes, unsigned access)
{
	assert_int_equal(gas[0], 1);
	assert_int_equal(gas[1], bytes * 8);
	assert_int_equal(gas[2], 0);
	assert_int_equal(gas[3], access);
	assert_int_equal(get_le64(gas + 4), port);
}

static void fadt_describes_the_fixed_hardware(void **state)
{
	static const uint8_t zero[24];
	const uint8_t *f;

	(void)state;
	build(1);
	f = find("FACP", 0);
	assert_int_equal(get_le32(f + 4), 276);
	assert_true(f[8] == 6 && f[131] == 4);
	assert_int_equal(get_le32(f + 36), FACS_AT);
	assert_int_equal(get_le64(f + 132), FACS_AT);
	assert_int_equal(get_le32(f + 40), get_le64(f + 140));
	assert_int_equal(get_le16(f + 46), 9);
	assert_memory_equal(f + 48, zero, 8); /* no SMI port: ACPI mode is permanent */
	assert_int_equal(get_le32(f + 56), PC_PM1_EVT);
	assert_int_equal(get_le32(f + 64), PC_PM1_CNT);
	assert_int_equal(get_le32(f + 76), PC_PM_TMR);
	assert_true(f[88] == 4 && f[89] == 2 && f[90] == 0 && f[91] == 4 && f[92] == 0);
	check_register(f + 148, PC_PM1_EVT, 4, 2);
	check_register(f + 172, PC_PM1_CNT, 2, 2);
	check_register(f + 208, PC_PM_TMR, 4, 3);
	assert_true(get_le16(f + 96) > 100 && get_le16(f + 98) > 1000);
	assert_int_equal(f[108], 0x32);
	assert_int_equal(get_le16(f + 109), 0x5); /* legacy devices, no VGA, no 8042 */
	/* WBINVD, PROC_C1, SLP_BUTTON, FIX_RTC, TMR_VAL_EXT, RESET_REG_SUP; PWR_BUTTON clear */
	assert_int_equal(get_le32(f + 112), 0x565);
	check_register(f + 116, 0xcf9, 1, 1);
	assert_int_equal(f[128], 6);
	assert_memory_equal(f + 160, zero, 12);
	assert_memory_equal(f + 268, "Corbel\0\0", 8);
	table(get_le64(f + 140), "DSDT");
}

static void madt_describes_the_interrupt_wiring(void **state)
{
	static const uint8_t expected[] = {
		1, 12, 0, 0, 0x00, 0x00, 0xc0, 0xfe, 0, 0, 0, 0, /* IO-APIC 0 at 0xfec00000 from GSI 0 */
		2, 10, 0, 0, 2, 0, 0, 0, 0, 0,                   /* ISA 0 is GSI 2 */
		2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0,                /* ISA 9: active high, level */
		4, 6, 0xff, 0, 0, 1,                             /* LINT1 is NMI everywhere */
	};
	const uint8_t *m;

	(void)state;
	for (unsigned vcpus = 1; vcpus <= VM_VCPUS_MAX; vcpus += 5) {
		build(vcpus);
		m = find("APIC", 1);
		assert_int_equal(get_le32(m + 36), 0xfee00000);
		assert_int_equal(get_le32(m + 40), 1);
		assert_int_equal(get_le32(m + 4), 44 + vcpus * 8 + sizeof expected);
		for (unsigned i = 0; i < vcpus; i++) {
			const uint8_t *l = m + 44 + i * 8;

			assert_true(l[0] == 0 && l[1] == 8 && l[2] == i && l[3] == i && get_le32(l + 4) == 1);
		}
		assert_memory_equal(m + 44 + vcpus * 8, expected, sizeof expected);
	}
}

static void mcfg_says_where_bus_0_is(void **state)
{
	static const uint8_t zero[8];
	const uint8_t *m;

	(void)state;
	build(1);
	m = find("MCFG", 2);
	assert_int_equal(get_le32(m + 4), 60);
	assert_memory_equal(m + 36, zero, 8);
	assert_int_equal(get_le64(m + 44), PC_ECAM_BASE);
	assert_memory_equal(m + 52, zero, 8); /* segment 0, bus 0 to bus 0 */
}

/* Name (\PCHB, ...) and Name (\PCHL, ...), and no more. */
static void ssdt_has_the_window_above_4g(void **state)
{
	const uint8_t *s;

	(void)state;
	build(1);
	s = find("SSDT", 3);
	assert_int_equal(get_le32(s + 4), 36 + 2 * 15);
	assert_memory_equal(s + 36, "\x08\\PCHB\x0e", 7);
	assert_int_equal(get_le64(s + 43), HIGH_START);
	assert_memory_equal(s + 51, "\x08\\PCHL\x0e", 7);
	assert_int_equal(get_le64(s + 58), PC_PCI_HIGH_SIZE);
}

static void facs_is_as_specified(void **state)
{
	uint8_t facs[ACPI_FACS_BYTES];

	(void)state;
	memset(facs, 0xee, sizeof facs);
	acpi_facs_fill(facs);
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(get_le32(facs + 4), 64);
	assert_int_equal(facs[32], 2);
	assert_int_equal(sum(facs + 8, 24) | sum(facs + 33, 31), 0);
}

static const uint8_t *dsdt(size_t *len)
{
	const uint8_t *p;

	build(1);
	p = table(get_le64(find("FACP", 0) + 140), "DSDT");
	*len = get_le32(p + 4);
	return p;
}

static bool contains(const uint8_t *p, size_t len, const void *what, size_t size)
{
	for (size_t i = 0; i + size <= len; i++) {
		if (memcmp(p + i, what, size) == 0)
			return true;
	}
	return false;
}

/* The small resource descriptor of a fixed range of ports (ACPI 6.4.2.5). */
static bool claims_ports(const uint8_t *p, size_t len, unsigned first, unsigned count)
{
	uint8_t io[8] = {0x47, 1, 0, 0, 0, 0, 0, (uint8_t)count};

	put_le16(io + 2, (uint16_t)first);
	put_le16(io + 4, (uint16_t)first);
	return contains(p, len, io, sizeof io);
}

/* The small resource descriptor of one ISA interrupt, without flags (6.4.2.1). */
static bool claims_irq(const uint8_t *p, size_t len, unsigned irq)
{
	uint8_t d[3] = {0x22, 0, 0};

	put_le16(d + 1, (uint16_t)(1u << irq));
	return contains(p, len, d, sizeof d);
}

static void dsdt_agrees_with_the_machine(void **state)
{
	static const uint8_t s5[] = {0x08, '_',  'S',           '5',  '_',           0x12, 0x08,
				     0x04, 0x0a, PC_S5_SLP_TYP, 0x0a, PC_S5_SLP_TYP, 0,    0};
	static const struct { unsigned first, count; } ports[] = {
		{PC_PORT_COM1, 8}, {PC_PORT_RTC, 2}, {PC_PORT_PIT, 4}, {PC_PORT_PIC_MASTER, 2}, {PC_PORT_PIC_SLAVE, 2},
		{PC_PORT_PIC_ELCR, 2}, {PC_PM_BASE, PC_PM_LEN},
	};
	static const unsigned irqs[] = {PC_IRQ_COM1, PC_IRQ_RTC, PC_IRQ_PIT, PC_IRQ_CASCADE};
	size_t len;
	const uint8_t *p = dsdt(&len);

	(void)state;
	assert_true(contains(p, len, s5, sizeof s5));
	for (unsigned i = 0; i < ARRAY_SIZE(ports); i++)
		assert_true(claims_ports(p, len, ports[i].first, ports[i].count));
	for (unsigned i = 0; i < ARRAY_SIZE(irqs); i++)
		assert_true(claims_irq(p, len, irqs[i]));
	/* EISA ids PNP0501, PNP0B00, PNP0100 are numbers of four bytes, 41 d0 hi lo; PNP0000 is one of two. */
	assert_true(contains(p, len, "\x0c\x41\xd0\x05\x01", 5) && contains(p, len, "\x0c\x41\xd0\x0b\x00", 5));
	assert_true(contains(p, len, "\x0c\x41\xd0\x01\x00", 5) && contains(p, len, "\x0b\x41\xd0", 3));
}

/* The large descriptor of a fixed range that a bridge forwards (ACPI 6.4.3.5): addresses of @width bytes. */
static bool forwards(const uint8_t *p, size_t len, unsigned width, uint8_t kind, uint64_t min, uint64_t max,
		     uint64_t length)
{
	const uint64_t fields[] = {0, min, max, 0, length};
	uint8_t d[5 * 8];

	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
		memcpy(d + i * width, &fields[i], width);
	for (size_t i = 0; i + 6 + 5 * width <= len; i++) {
		/* tag, length, kind of resource, flags, flags of the kind */
		bool tag = p[i] == (width == 2 ? 0x88 : width == 4 ? 0x87 : 0x8a) && p[i + 3] == kind;

		if (tag && (p[i + 4] & 0x0d) == 0x0c && memcmp(p + i + 6, d, 5 * width) == 0)
			return true;
	}
	return false;
}

static void the_host_bridge_forwards_its_windows(void **state)
{
	static const uint8_t ecam[12] = {0x86, 9, 0, 1, 0, 0, 0, 0xe0, 0, 0, 0x10, 0};
	size_t len;
	const uint8_t *p = dsdt(&len);

	(void)state;
	/* PNP0A08, compatible with PNP0A03 */
	assert_true(contains(p, len, "\x0c\x41\xd0\x0a\x08", 5) && contains(p, len, "\x0c\x41\xd0\x0a\x03", 5));
	assert_true(forwards(p, len, 2, 2, 0, 0, 1)); /* bus 0 */
	assert_true(forwards(p, len, 2, 1, PC_PCI_IO_START, PC_PCI_IO_START + PC_PCI_IO_SIZE - 1, PC_PCI_IO_SIZE));
	assert_true(forwards(p, len, 4, 0, PC_PCI_LOW_START, PC_PCI_LOW_START + PC_PCI_LOW_SIZE - 1, PC_PCI_LOW_SIZE));
	assert_true(contains(p, len, "PCHB", 4) && contains(p, len, "PCHL", 4));
	/* And configuration space is somebody's (Memory32Fixed). */
	_Static_assert(PC_ECAM_BASE == 0xe0000000 && PC_ECAM_SIZE == 0x100000, "as in the descriptor");
	assert_true(contains(p, len, ecam, sizeof ecam));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rsdp_leads_to_the_tables),
		cmocka_unit_test(fadt_describes_the_fixed_hardware),
		cmocka_unit_test(madt_describes_the_interrupt_wiring),
		cmocka_unit_test(mcfg_says_where_bus_0_is),
		cmocka_unit_test(ssdt_has_the_window_above_4g),
		cmocka_unit_test(facs_is_as_specified),
		cmocka_unit_test(dsdt_agrees_with_the_machine),
		cmocka_unit_test(the_host_bridge_forwards_its_windows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
