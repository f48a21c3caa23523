/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI bus by itself: both ways to configuration space and what is beside
 * them, sizing and moving of base address registers of each kind, decode
 * enables, windows and overlaps, capabilities, MSI-X with masks and pending bits,
 * and what random writes of every width at every offset may not change.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "guest/pc.h"
#include "guest/vpci.h"
#include "lib/bits.h"

#define HIGH_START 0x140000000ull
#define MEM_BYTES 0x4000u
#define IO_BYTES 32u
#define VECTORS 3u

/* Remembers what it was asked, answers with bytes of its own. */
struct probe {
	struct device dev;
	unsigned reads, writes, size;
	uint64_t offset, value;
};

static uint64_t probe_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct probe *p = container_of(dev, struct probe, dev);

	p->reads++;
	p->offset = offset;
	p->size = size;
	return 0xa0b0c0d0e0f01020ull + offset;
}

static void probe_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct probe *p = container_of(dev, struct probe, dev);

	p->writes++;
	p->offset = offset;
	p->size = size;
	p->value = value;
}

static const struct device_ops probe_ops = {.name = "probe", .read = probe_read, .write = probe_write, .own_lock = true};
static const struct vpci_function_ops function_ops = {.name = "test"};
static const struct vpci_ids ids = {
	.vendor = 0x1234, .device = 0x5678, .subsystem_vendor = 0x9abc, .subsystem = 0xdef0, .revision = 7, .class = 0x018000};

static struct vpci pci;
static struct bus pio, mmio;
static struct probe beside, memory, ports;
static struct vpci_function fn;
static unsigned slot;

static unsigned messages;
static struct { uint64_t address; uint32_t data; } last;

static void message(void *ctx, uint64_t address, uint32_t data)
{
	assert_ptr_equal(ctx, &pci);
	messages++;
	last.address = address;
	last.data = data;
}

static int setup(void **state)
{
	struct error err;

	(void)state;
	beside = memory = ports = (struct probe){.dev = {.ops = &probe_ops}};
	messages = 0;
	memset(&fn, 0, sizeof fn);
	bus_init(&pio, "pio", 0x10000);
	bus_init(&mmio, "mmio", UINT64_MAX);
	vpci_init(&pci, (struct vpci_high){HIGH_START, PC_PCI_HIGH_SIZE}, &beside.dev, 0x100, message, &pci);
	assert_int_equal(vpci_claim(&pci, &pio, &mmio, &err), ST_OK);
	vpci_function_init(&pci, &fn, &function_ops, &ids);
	vpci_add_bar(&fn, 0, VPCI_BAR_IO_PORTS, IO_BYTES, &ports.dev, 0x1000);
	vpci_add_msix(&fn, 1, VECTORS);
	vpci_add_bar(&fn, 2, VPCI_BAR_MEMORY64, MEM_BYTES, &memory.dev, 0);
	assert_int_equal(vpci_plug(&fn, &err), ST_OK);
	slot = fn.slot;
	return 0;
}

/* ---- accesses as a guest makes them ---- */

static uint32_t cfg(unsigned offset, unsigned size)
{
	return (uint32_t)bus_read(&mmio, PC_ECAM_BASE + slot * 8 * 4096 + offset, size);
}

static void set_cfg(unsigned offset, unsigned size, uint32_t value)
{
	bus_write(&mmio, PC_ECAM_BASE + slot * 8 * 4096 + offset, size, value);
}

static void set_bar(unsigned index, uint32_t value) { set_cfg(VPCI_BAR0 + index * 4, 4, value); }
static uint32_t bar(unsigned index) { return cfg(VPCI_BAR0 + index * 4, 4); }
static uint64_t memory_at(void) { return (bar(2) & ~0xfull) | (uint64_t)bar(3) << 32; }
static void command(unsigned value) { set_cfg(VPCI_COMMAND, 2, value); }

static void move_memory(uint64_t to)
{
	set_bar(2, (uint32_t)to);
	set_bar(3, (uint32_t)(to >> 32));
}

/* Is the memory BAR's first word at @at? */
static bool answers(uint64_t at)
{
	unsigned before = memory.reads;
	uint64_t value = bus_read(&mmio, at, 4);

	assert_true(memory.reads == before ? value == UINT32_MAX : value == 0xe0f01020);
	return memory.reads != before;
}

static bool port_answers(unsigned at)
{
	unsigned before = ports.reads;

	(void)bus_read(&pio, at, 2);
	return ports.reads != before;
}

static unsigned find_cap(uint8_t id)
{
	unsigned at = cfg(VPCI_CAPABILITIES, 1);

	while (at && cfg(at, 1) != id)
		at = cfg(at + 1, 1);
	return at;
}

/* ---- configuration space ---- */

static void header_says_what_it_is(void **state)
{
	(void)state;
	assert_int_equal(cfg(0, 4), 0x56781234);
	assert_int_equal(cfg(VPCI_REVISION, 4), 0x01800007);
	assert_int_equal(cfg(VPCI_SUBSYSTEM_VENDOR, 4), 0xdef09abc);
	assert_int_equal(cfg(VPCI_HEADER_TYPE, 1), 0);
	assert_int_equal(cfg(VPCI_INTERRUPT_PIN, 1), 0);
	assert_int_equal(cfg(VPCI_STATUS, 2), VPCI_STATUS_CAPABILITIES);
	assert_int_equal(cfg(VPCI_COMMAND, 2), VPCI_COMMAND_IO | VPCI_COMMAND_MEMORY);
	/* What is beyond the 256 bytes is there, and empty: no extended capabilities. */
	assert_int_equal(cfg(0x100, 4), 0);
	assert_int_equal(cfg(0xffc, 4), 0);
	/* The host bridge is in slot 0; a function other than 0, or another slot, is nobody. */
	assert_int_equal(bus_read(&mmio, PC_ECAM_BASE + VPCI_CLASS, 4) & 0xffffff, 0x060000);
	assert_int_equal(bus_read(&mmio, PC_ECAM_BASE + 4096, 4), UINT32_MAX);
	assert_int_equal(bus_read(&mmio, PC_ECAM_BASE + (slot + 1) * 8 * 4096, 4), UINT32_MAX);
}

static void ports_lead_to_the_same_bytes(void **state)
{
	(void)state;
	bus_write(&pio, 0xcf8, 4, 0x80000000 | slot << 11 | VPCI_SUBSYSTEM_VENDOR);
	assert_int_equal(bus_read(&pio, 0xcf8, 4), 0x80000000 | slot << 11 | VPCI_SUBSYSTEM_VENDOR);
	assert_int_equal(bus_read(&pio, 0xcfc, 4), 0xdef09abc);
	assert_int_equal(bus_read(&pio, 0xcfe, 2), 0xdef0);
	assert_int_equal(bus_read(&pio, 0xcff, 1), 0xde);
	/* Bits that the register does not have stay 0. */
	bus_write(&pio, 0xcf8, 4, 0xff000003 | slot << 11 | VPCI_COMMAND);
	assert_int_equal(bus_read(&pio, 0xcf8, 4), 0x80000000 | slot << 11 | VPCI_COMMAND);
	bus_write(&pio, 0xcfc, 2, VPCI_COMMAND_MASTER);
	assert_int_equal(cfg(VPCI_COMMAND, 2), VPCI_COMMAND_MASTER);
	/* Another bus, another function. */
	bus_write(&pio, 0xcf8, 4, 0x80010000 | slot << 11);
	assert_int_equal(bus_read(&pio, 0xcfc, 4), UINT32_MAX);
	bus_write(&pio, 0xcf8, 4, 0x80000100 | slot << 11);
	assert_int_equal(bus_read(&pio, 0xcfc, 4), UINT32_MAX);
	bus_write(&pio, 0xcfc, 4, 0);
	assert_int_equal(beside.reads + beside.writes, 0);
}

static void what_configures_nothing_goes_beside(void **state)
{
	(void)state;
	bus_write(&pio, 0xcf8, 4, slot << 11);
	assert_int_equal(bus_read(&pio, 0xcfc, 4), 0xe0f01020 + 0x104);
	bus_write(&pio, 0xcfd, 1, 5);
	assert_true(beside.offset == 0x105 && beside.size == 1 && beside.value == 5);
	bus_write(&pio, 0xcf8, 4, 0x80000000 | slot << 11);
	bus_write(&pio, 0xcf9, 1, 6);
	assert_true(beside.offset == 0x101 && beside.value == 6 && beside.writes == 2);
	assert_int_equal(bus_read(&pio, 0xcf8, 4), 0x80000000 | slot << 11);
}

static void any_width_at_any_place_reads_the_same(void **state)
{
	(void)state;
	for (unsigned at = 0; at < 0x200; at++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			uint64_t wide = bus_read(&mmio, PC_ECAM_BASE + slot * 8 * 4096 + at, size);

			for (unsigned i = 0; i < size; i++)
				assert_int_equal(wide >> (i * 8) & 0xff, cfg(at + i, 1));
		}
	}
}

/* Nothing but what is meant to change does, whatever is written, wherever and how wide. */
static void writes_everywhere_are_harmless(void **state)
{
	uint8_t before[4096];

	(void)state;
	srand(1);
	for (unsigned i = 0; i < sizeof before; i++)
		before[i] = (uint8_t)cfg(i, 1);
	for (unsigned n = 0; n < 200000; n++) {
		unsigned size = 1u << rand() % 4;

		bus_write(&mmio, PC_ECAM_BASE + (slot * 8 * 4096 + (unsigned)rand() % (n % 2 ? 0x100 : 0x1000)), size,
			  (uint64_t)rand() << 33 ^ (uint64_t)rand() << 11 ^ (unsigned)rand());
		(void)answers(memory_at() & ~(uint64_t)(MEM_BYTES - 1));
	}
	for (unsigned i = 0; i < sizeof before; i++) {
		uint8_t writable = i < VPCI_CONFIG_BYTES ? fn.writable[i] : 0;

		assert_int_equal(before[i] & ~writable, cfg(i, 1) & ~writable);
	}
	/* And it can still be put in order. */
	command(VPCI_COMMAND_MEMORY);
	move_memory(PC_PCI_LOW_START + 0x100000);
	assert_true(answers(PC_PCI_LOW_START + 0x100000));
}

/* ---- base address registers ---- */

static void sizing_tells_kind_and_size(void **state)
{
	static const uint32_t want[VPCI_BARS] = {
		0xffffffff - IO_BYTES + 2, 0xfffff000, 0xffffffff - MEM_BYTES + 5, 0xffffffff, 0, 0};

	(void)state;
	for (unsigned i = 0; i < VPCI_BARS; i++) {
		uint32_t old = bar(i);

		set_bar(i, UINT32_MAX);
		assert_int_equal(bar(i), want[i]);
		set_bar(i, old);
		assert_int_equal(bar(i), old);
	}
	assert_true(answers(memory_at()));
	/* Byte by byte it is the same. */
	for (unsigned i = 0; i < VPCI_BARS * 4; i++)
		set_cfg(VPCI_BAR0 + i, 1, 0xff);
	for (unsigned i = 0; i < VPCI_BARS; i++)
		assert_int_equal(bar(i), want[i]);
}

static void start_up_places_all_inside_the_windows(void **state)
{
	(void)state;
	assert_true(memory_at() >= PC_PCI_LOW_START && memory_at() + MEM_BYTES <= PC_PCI_LOW_START + PC_PCI_LOW_SIZE);
	assert_true(is_aligned(memory_at(), MEM_BYTES) && bar(1) >= PC_PCI_LOW_START && is_aligned(bar(1), 4096));
	assert_true(memory_at() + MEM_BYTES <= bar(1) || bar(1) + 4096 <= memory_at());
	assert_true((bar(0) & 3) == 1 && (bar(0) & ~3u) >= PC_PCI_IO_START);
	assert_true(answers(memory_at()));
	assert_true(port_answers(bar(0) & ~3u));
	assert_int_equal(ports.offset, 0x1000);
}

static void a_moved_register_answers_where_it_is(void **state)
{
	const uint64_t places[] = {PC_PCI_LOW_START + 0x10000000, PC_PCI_LOW_START + PC_PCI_LOW_SIZE - MEM_BYTES,
				   HIGH_START, HIGH_START + PC_PCI_HIGH_SIZE - MEM_BYTES, PC_PCI_LOW_START};
	uint64_t old = memory_at();

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		move_memory(places[i]);
		assert_false(answers(old));
		assert_true(answers(places[i]));
		(void)bus_read(&mmio, places[i] + MEM_BYTES - 8, 8);
		assert_true(memory.offset == MEM_BYTES - 8 && memory.size == 8);
		bus_write(&mmio, places[i] + 0x123, 1, 0x45);
		assert_true(memory.offset == 0x123 && memory.value == 0x45);
		old = places[i];
	}
	set_bar(0, 0xfe00);
	assert_true(port_answers(0xfe00) && port_answers(0xfe00 + IO_BYTES - 2));
	assert_false(port_answers(0xfe00 + IO_BYTES));
	assert_false(port_answers(0xfe00 - 2));
}

static void outside_the_windows_nobody_decodes(void **state)
{
	static const uint64_t places[] = {0, 0x1000000, 0xe0100000, 0xfec00000, 0xfee00000, 0x100000000, 0xffffffffffffc000};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		uint64_t old = memory_at();

		move_memory(places[i]);
		assert_false(answers(places[i]));
		assert_false(answers(old));
	}
	/* Over ECAM: that stays what it is. */
	move_memory(PC_ECAM_BASE);
	assert_int_equal(cfg(0, 4), 0x56781234);
	set_bar(0, 0x3f8);
	assert_false(port_answers(0x3f8));
	move_memory(HIGH_START);
	assert_true(answers(HIGH_START));
}

static void the_command_register_switches_decoding(void **state)
{
	uint64_t at = memory_at();

	(void)state;
	command(VPCI_COMMAND_IO);
	assert_false(answers(at));
	assert_true(port_answers(bar(0) & ~3u));
	command(VPCI_COMMAND_MEMORY);
	assert_true(answers(at));
	assert_false(port_answers(bar(0) & ~3u));
	command(0);
	assert_false(answers(at));
	assert_false(port_answers(bar(0) & ~3u));
	/* What is moved while it is off is there when it comes on. */
	move_memory(HIGH_START + 0x10000);
	assert_false(answers(HIGH_START + 0x10000));
	command(0xffff);
	assert_true(answers(HIGH_START + 0x10000));
	assert_int_equal(cfg(VPCI_COMMAND, 2), VPCI_COMMAND_IO | VPCI_COMMAND_MEMORY | VPCI_COMMAND_MASTER | VPCI_COMMAND_INTX_OFF);
	/* A register that is off hits nothing near the ends of the address space. */
	command(0);
	assert_int_equal(bus_read(&pio, PC_PCI_IO_START, 4), UINT32_MAX);
}

static void of_two_in_one_place_the_first_answers(void **state)
{
	(void)state;
	set_bar(1, HIGH_START & UINT32_MAX);
	move_memory(PC_PCI_LOW_START + 0x8000);
	set_bar(1, PC_PCI_LOW_START + 0x8000);
	assert_int_equal(bus_read(&mmio, PC_PCI_LOW_START + 0x8000 + 12, 4), VPCI_MSIX_ENTRY_MASKED);
	assert_int_equal(memory.reads, 0);
	/* The rest of the larger one is its own. */
	(void)bus_read(&mmio, PC_PCI_LOW_START + 0x9000, 4);
	assert_int_equal(memory.offset, 0x1000);
	set_bar(1, PC_PCI_LOW_START + 0x80000);
	assert_true(answers(PC_PCI_LOW_START + 0x8000));
}

static void what_straddles_an_end_goes_by_bytes(void **state)
{
	uint64_t at = PC_PCI_LOW_START + 0x400000;

	(void)state;
	move_memory(at);
	assert_int_equal(bus_read(&mmio, at - 2, 4), 0x2120ffffu);
	assert_true(memory.reads == 2 && memory.size == 1 && memory.offset == 1);
	bus_write(&mmio, at + MEM_BYTES - 1, 2, 0x7788);
	assert_true(memory.writes == 1 && memory.offset == MEM_BYTES - 1 && memory.value == 0x88);
	assert_int_equal(mmio.misses, 3);
}

static void the_function_reaches_its_own_bars(void **state)
{
	(void)state;
	command(0);
	assert_int_equal(vpci_bar_read(&fn, 2, 8, 4), 0xe0f01020 + 8);
	vpci_bar_write(&fn, 0, 4, 2, 0x1ffff);
	assert_true(ports.offset == 0x1004 && ports.value == 0xffff);
	assert_int_equal(vpci_bar_read(&fn, 2, MEM_BYTES, 1), 0xff);
	assert_int_equal(vpci_bar_read(&fn, 2, MEM_BYTES - 2, 4), UINT32_MAX);
	assert_int_equal(vpci_bar_read(&fn, 2, 2, 4), UINT32_MAX);
	assert_int_equal(vpci_bar_read(&fn, 2, UINT64_MAX - 1, 2), 0xffff);
	assert_int_equal(vpci_bar_read(&fn, 3, 0, 4), UINT32_MAX);
	assert_int_equal(vpci_bar_read(&fn, 200, 0, 4), UINT32_MAX);
	vpci_bar_write(&fn, 5, 0, 4, 1);
	assert_int_equal(memory.reads, 1);
}

static void the_bus_is_full_some_time(void **state)
{
	static struct vpci_function more[VPCI_SLOTS];
	struct error err;
	unsigned n = 0;

	(void)state;
	memset(more, 0, sizeof more);
	for (;; n++) {
		vpci_function_init(&pci, &more[n], &function_ops, &ids);
		vpci_add_bar(&more[n], 0, VPCI_BAR_MEMORY32, 4096, &memory.dev, 0);
		if (vpci_plug(&more[n], &err) != ST_OK)
			break;
	}
	assert_int_equal(n, VPCI_SLOTS - 2);
	assert_non_null(strstr(err.text, "test: all 32 slots"));
}

static void a_window_is_full_some_time(void **state)
{
	static struct vpci_function large[2];
	struct error err;

	(void)state;
	memset(large, 0, sizeof large);
	for (unsigned i = 0; i < 2; i++) {
		vpci_function_init(&pci, &large[i], &function_ops, &ids);
		vpci_add_bar(&large[i], 5, VPCI_BAR_MEMORY32, BIT(28), &memory.dev, 0);
		assert_int_equal(vpci_plug(&large[i], &err), i ? ST_OVER_LIMIT : ST_OK);
	}
	assert_non_null(strstr(err.text, "test: no room for 0x10000000 bytes of its BAR 5"));
	assert_null(pci.slots[slot + 2]);
}

static void the_high_window_follows_the_ram(void **state)
{
	struct vpci_high w = vpci_high_window(0, BIT(40));

	(void)state;
	assert_true(w.start == BIT(32) && w.length == PC_PCI_HIGH_SIZE);
	w = vpci_high_window(BIT(30) + 4096, BIT(40));
	assert_true(w.start == BIT(32) + 2 * BIT(30));
	w = vpci_high_window(BIT(40) - BIT(32) - PC_PCI_HIGH_SIZE, BIT(40));
	assert_true(w.start + w.length == BIT(40));
	w = vpci_high_window(BIT(40) - BIT(32) - PC_PCI_HIGH_SIZE + 4096, BIT(40));
	assert_int_equal(w.length, 0);
	w = vpci_high_window(0, BIT(32));
	assert_int_equal(w.length, 0);
}

/* ---- capabilities and MSI-X ---- */

static void capabilities_are_a_list(void **state)
{
	unsigned a, b, msix = find_cap(VPCI_CAP_MSIX);

	(void)state;
	assert_true(msix >= VPCI_HEADER_BYTES && cfg(msix + 1, 1) == 0);
	a = vpci_add_capability(&fn, VPCI_CAP_VENDOR, 5);
	b = vpci_add_capability(&fn, 0x55, 2);
	assert_int_equal(find_cap(VPCI_CAP_VENDOR), a);
	assert_int_equal(find_cap(0x55), b);
	assert_true(is_aligned(a, 4) && b == a + 8 && cfg(b + 1, 1) == 0);
	assert_int_equal(cfg(msix + 2, 2), VECTORS - 1);
	assert_int_equal(cfg(msix + 4, 4), 1);
	assert_int_equal(cfg(msix + 8, 4), VPCI_MSIX_PBA_AT | 1);
}

static uint64_t entry(unsigned vector) { return (bar(1) & ~0xfull) + vector * 16; }
static uint64_t pending(void) { return bus_read(&mmio, (bar(1) & ~0xfull) + VPCI_MSIX_PBA_AT, 8); }
static void control(unsigned value) { set_cfg(find_cap(VPCI_CAP_MSIX) + 2, 2, value); }

static void program(unsigned vector, uint64_t address, uint32_t data, uint32_t mask)
{
	bus_write(&mmio, entry(vector) + 12, 4, 1);
	bus_write(&mmio, entry(vector), 4, (uint32_t)address);
	bus_write(&mmio, entry(vector) + 4, 4, (uint32_t)(address >> 32));
	bus_write(&mmio, entry(vector) + 8, 4, data);
	bus_write(&mmio, entry(vector) + 12, 4, mask);
}

static void on(void)
{
	command(VPCI_COMMAND_MEMORY | VPCI_COMMAND_MASTER);
	control(VPCI_MSIX_ENABLE);
}

static void a_raised_vector_sends_its_message(void **state)
{
	(void)state;
	on();
	program(1, 0xfee01000, 0x4041, 0);
	vpci_raise(&fn, 1);
	assert_true(messages == 1 && last.address == 0xfee01000 && last.data == 0x4041);
	vpci_raise(&fn, 1);
	assert_int_equal(messages, 2);
	assert_int_equal(pending(), 0);
	vpci_raise(&fn, VECTORS);
	vpci_raise(&fn, 0xffff);
	assert_int_equal(messages, 2);
	/* As it comes, all are masked. */
	vpci_raise(&fn, 0);
	assert_int_equal(messages, 2);
	assert_int_equal(pending(), 1);
}

static void a_masked_vector_waits(void **state)
{
	(void)state;
	on();
	program(2, 0x1fee00000, 0x55, 1);
	for (unsigned i = 0; i < 3; i++)
		vpci_raise(&fn, 2);
	assert_int_equal(messages, 0);
	assert_int_equal(pending(), 4);
	assert_int_equal(fn.msix.held, 3);
	bus_write(&mmio, entry(2) + 12, 4, 0);
	assert_true(messages == 1 && last.address == 0x1fee00000 && last.data == 0x55);
	assert_int_equal(pending(), 0);
	/* Pending bits cannot be written. */
	bus_write(&mmio, (bar(1) & ~0xfull) + VPCI_MSIX_PBA_AT, 8, UINT64_MAX);
	assert_int_equal(pending(), 0);
}

static void the_function_mask_holds_all(void **state)
{
	(void)state;
	on();
	program(0, 0xfee00000, 1, 0);
	program(1, 0xfee00000, 2, 0);
	program(2, 0xfee00000, 3, 1);
	control(VPCI_MSIX_ENABLE | VPCI_MSIX_MASK_ALL);
	for (unsigned i = 0; i < VECTORS; i++)
		vpci_raise(&fn, i);
	assert_int_equal(messages, 0);
	assert_int_equal(pending(), 7);
	control(VPCI_MSIX_ENABLE);
	assert_int_equal(messages, 2);
	assert_int_equal(pending(), 4);
	bus_write(&mmio, entry(2) + 12, 4, 0);
	assert_true(messages == 3 && last.data == 3);
}

static void without_mastering_the_bus_nothing_is_sent(void **state)
{
	(void)state;
	on();
	program(0, 0xfee00000, 9, 0);
	command(VPCI_COMMAND_MEMORY);
	vpci_raise(&fn, 0);
	assert_int_equal(messages, 0);
	assert_int_equal(pending(), 1);
	command(VPCI_COMMAND_MEMORY | VPCI_COMMAND_MASTER);
	assert_true(messages == 1 && last.data == 9);
}

static void switched_off_it_forgets(void **state)
{
	(void)state;
	on();
	program(0, 0xfee00000, 9, 1);
	vpci_raise(&fn, 0);
	assert_int_equal(pending(), 1);
	control(0);
	assert_int_equal(pending(), 0);
	vpci_raise(&fn, 0);
	control(VPCI_MSIX_ENABLE);
	bus_write(&mmio, entry(0) + 12, 4, 0);
	assert_int_equal(messages, 0);
}

static void the_table_has_dwords_and_pairs(void **state)
{
	(void)state;
	on();
	bus_write(&mmio, entry(1), 8, 0x11fee0100full);
	assert_true(bus_read(&mmio, entry(1), 8) == 0x11fee0100cull);
	bus_write(&mmio, entry(1) + 8, 8, 0xffffffff00001234ull);
	assert_true(bus_read(&mmio, entry(1) + 8, 8) == 0x100001234ull);
	/* Less than a dword is not written, and read as a part of it. */
	bus_write(&mmio, entry(1) + 12, 1, 0);
	bus_write(&mmio, entry(1) + 8, 2, 0);
	assert_true(bus_read(&mmio, entry(1) + 8, 8) == 0x100001234ull);
	assert_int_equal(bus_read(&mmio, entry(1) + 9, 1), 0x12);
	/* Behind the last entry there is nothing. */
	bus_write(&mmio, entry(VECTORS), 8, UINT64_MAX);
	assert_int_equal(bus_read(&mmio, entry(VECTORS), 8), 0);
	assert_int_equal(bus_read(&mmio, entry(0) + 4088, 8), 0);
	/* Data and mask in one write: the message has the new data. */
	vpci_raise(&fn, 1);
	bus_write(&mmio, entry(1) + 8, 8, 0x77);
	assert_true(messages == 1 && last.data == 0x77);
}

#define CASE(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(header_says_what_it_is),
		CASE(ports_lead_to_the_same_bytes),
		CASE(what_configures_nothing_goes_beside),
		CASE(any_width_at_any_place_reads_the_same),
		CASE(writes_everywhere_are_harmless),
		CASE(sizing_tells_kind_and_size),
		CASE(start_up_places_all_inside_the_windows),
		CASE(a_moved_register_answers_where_it_is),
		CASE(outside_the_windows_nobody_decodes),
		CASE(the_command_register_switches_decoding),
		CASE(of_two_in_one_place_the_first_answers),
		CASE(what_straddles_an_end_goes_by_bytes),
		CASE(the_function_reaches_its_own_bars),
		CASE(the_bus_is_full_some_time),
		CASE(a_window_is_full_some_time),
		CASE(the_high_window_follows_the_ram),
		CASE(capabilities_are_a_list),
		CASE(a_raised_vector_sends_its_message),
		CASE(a_masked_vector_waits),
		CASE(the_function_mask_holds_all),
		CASE(without_mastering_the_bus_nothing_is_sent),
		CASE(switched_off_it_forgets),
		CASE(the_table_has_dwords_and_pairs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
