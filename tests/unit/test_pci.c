/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk through PCI: functions, bridges, holes, and a bridge that says nonsense; what a function's registers say of
 * its addresses and its interrupt.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "firmware/pci.h"
#include "lib/bits.h"

#define AT(bus, device, function) ((bus) << 8 | (device) << 3 | (function))
#define FUNCTIONS_MAX 16u
#define WORDS 64u

static struct {
	unsigned at;
	uint32_t reg[WORDS];
} functions[FUNCTIONS_MAX];
static unsigned function_count, looks;

static uint32_t *find(uint32_t at)
{
	static uint32_t nothing;

	looks++;
	assert_int_equal(at & 0xff000003, 0);
	for (unsigned i = 0; i < function_count; i++)
		if (functions[i].at == at >> 8)
			return &functions[i].reg[(at & 0xff) / 4];
	nothing = UINT32_MAX;
	return &nothing;
}

static uint32_t read_config(uint32_t at) { return *find(at); }
static void write_config(uint32_t at, uint32_t v) { *find(at) = v; }
static const struct pci_access access = {read_config, write_config};

static uint32_t *add(unsigned at, uint32_t id, uint32_t class, bool many)
{
	uint32_t *reg = functions[function_count].reg;

	functions[function_count++].at = at;
	reg[0] = id;
	reg[2] = class << 8;
	reg[3] = many ? 0x800000 : 0;
	return reg;
}

static void add_bridge(unsigned at, uint32_t last_bus)
{
	uint32_t *reg = add(at, 0x12348086, 0x060400, false);

	reg[3] |= 0x10000;
	reg[6] = last_bus << 16 | (at >> 8) << 0;
}

static int setup(void **state)
{
	(void)state;
	memset(functions, 0, sizeof functions);
	function_count = looks = 0;
	return 0;
}

/* Names of all that are found. */
static const char *walk(char *out, size_t size)
{
	struct pci_walk w = {.by = &access};
	struct pci_function f;

	out[0] = '\0';
	while (pci_next(&w, &f)) {
		char name[PCI_NAME_MAX];

		pci_name(&f, name);
		assert_true(strlen(out) + strlen(name) + 2 < size);
		strncat(out, name, size - strlen(out) - 1);
		strncat(out, " ", size - strlen(out) - 1);
	}
	assert_false(pci_next(&w, &f));
	return out;
}

static void all_are_found(void **state)
{
	char names[200];

	(void)state;
	assert_string_equal(walk(names, sizeof names), "");
	assert_int_equal(looks, 32);
	add(AT(0, 0, 0), 0x12378086, 0x060000, false);
	add(AT(0, 0, 3), 0x00010001, 0, false); /* a ghost: function 0 says there is one alone */
	add(AT(0, 1, 0), 0x70008086, 0x060100, true);
	add(AT(0, 1, 1), 0x70108086, 0x010180, true);
	add(AT(0, 1, 7), 0x71138086, 0x068000, true);
	add(AT(0, 2, 1), 0x00020002, 0, false); /* there is no function 0 */
	add_bridge(AT(0, 3, 0), 3);
	add(AT(0, 31, 0), 0x100e8086, 0x020000, false);
	add(AT(1, 0, 0), 0x10d38086, 0x020000, false);
	add_bridge(AT(1, 4, 0), 3);
	add(AT(3, 31, 0), 0x100f8086, 0x020000, true);
	add(AT(3, 31, 7), 0x100f8086, 0x020000, true);
	add(AT(4, 0, 0), 0x100f8086, 0x020000, false); /* behind nothing */
	assert_string_equal(walk(names, sizeof names),
			    "00:00.0 00:01.0 00:01.1 00:01.7 00:03.0 00:1f.0 01:00.0 01:04.0 03:1f.0 03:1f.7 ");
}

static void a_bridge_that_says_nonsense(void **state)
{
	char names[100];

	(void)state;
	add_bridge(AT(0, 0, 0), 255);
	add_bridge(AT(255, 31, 0), 255);
	add_bridge(AT(255, 30, 0), 0);
	assert_string_equal(walk(names, sizeof names), "00:00.0 ff:1e.0 ff:1f.0 ");
	assert_in_range(looks, 256 * 32, 256 * 32 + 100);
}

static void what_a_function_is(void **state)
{
	struct pci_walk w = {.by = &access};
	struct pci_function f;
	uint32_t *reg = add(AT(0, 2, 0), 0x100e8086, 0x020055, false);

	(void)state;
	assert_true(pci_next(&w, &f));
	assert_int_equal(f.vendor, 0x8086);
	assert_int_equal(f.id, 0x100e);
	assert_int_equal(f.class, PCI_CLASS_ETHERNET);
	assert_int_equal(f.interface, 0x55);
	/* Status bits are not cleared by a change of the command. */
	reg[1] = 0xffff0007;
	pci_command(&f, PCI_COMMAND_MASTER, PCI_COMMAND_MEMORY);
	assert_int_equal(reg[1], 0x0003);
	pci_command(&f, 0, PCI_COMMAND_MASTER);
	assert_int_equal(reg[1], 0x0007);
}

static void where_its_registers_are(void **state)
{
	struct pci_walk w = {.by = &access};
	struct pci_function f;
	uint32_t *bar = add(AT(0, 2, 0), 0x100e8086, 0x020000, false) + 4;

	(void)state;
	assert_true(pci_next(&w, &f));
	assert_int_equal(pci_memory_bar(&f, 0), 0);
	assert_int_equal(pci_port_bar(&f, 0), 0);
	bar[0] = 0xc0000008; /* 32 bits, prefetchable */
	bar[1] = 0x0000c041; /* ports */
	assert_int_equal(pci_memory_bar(&f, 0), 0xc0000000);
	assert_int_equal(pci_port_bar(&f, 0), 0);
	assert_int_equal(pci_memory_bar(&f, 1), 0);
	assert_int_equal(pci_port_bar(&f, 1), 0xc040);
	bar[2] = 0xd0000004; /* 64 bits */
	bar[3] = 0x12;
	assert_int_equal(pci_memory_bar(&f, 2), 0x12d0000000);
	bar[5] = 0xe0000004; /* and no room for the other half */
	assert_int_equal(pci_memory_bar(&f, 5), 0xe0000000);
}

static void its_interrupt(void **state)
{
	static const struct {
		uint32_t reg;
		uint8_t line;
	} cases[] = {
		{0x0109, 9}, {0x010b, 11}, {0x040f, 15}, {0x0009, PCI_NO_LINE}, {0x01ff, PCI_NO_LINE}, {0x0110, PCI_NO_LINE}, {0x0100, PCI_NO_LINE},
	};
	struct pci_walk w = {.by = &access};
	struct pci_function f;
	uint32_t *reg = add(AT(0, 2, 0), 0x100e8086, 0x020000, false);

	(void)state;
	assert_true(pci_next(&w, &f));
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		reg[15] = cases[i].reg;
		assert_int_equal(pci_line(&f), cases[i].line);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(all_are_found, setup),
		cmocka_unit_test_setup(a_bridge_that_says_nonsense, setup),
		cmocka_unit_test_setup(what_a_function_is, setup),
		cmocka_unit_test_setup(where_its_registers_are, setup),
		cmocka_unit_test_setup(its_interrupt, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
