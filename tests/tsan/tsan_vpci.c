/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI bus between CPUs: some move a function's registers and switch decoding,
 * under the lock that stands for the VM's, while others access what they decode,
 * raise interrupts, and mask, rewrite and read entries of the MSI-X table without
 * it. A device must never see an offset that it does not have, a message never
 * be made of an old address and new data, none come while its entry is
 * masked, and none be lost.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "guest/pc.h"
#include "guest/vpci.h"
#include "lib/bits.h"
#include "tests/tsan/threads.h"

#define CPUS 4u
#define STEPS 20000u
#define BYTES 0x4000u
#define VECTORS 2u
#define PLACES 4u
#define HIGH_START 0x140000000ull

#define REQUIRE(condition)             \
	do {                           \
		if (!(condition))      \
			abort();       \
	} while (0)

static struct vpci pci;
static struct bus pio, mmio;
static struct vpci_function fn;
static struct lock config_lock;
static struct device memory, beside;
static uint64_t hits, sent[VECTORS], raised[VECTORS];
static bool masked_now[VECTORS]; /* between the write of the mask and that of its end; atomic */

static uint64_t device_read(struct device *dev, uint64_t offset, unsigned size)
{
	REQUIRE(dev != &memory || (offset < BYTES && size <= BYTES - offset));
	__atomic_fetch_add(&hits, 1, __ATOMIC_RELAXED);
	return offset;
}

static void device_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	(void)value;
	(void)device_read(dev, offset, size);
}

static const struct device_ops device_ops = {.name = "test", .read = device_read, .write = device_write, .own_lock = true};
static const struct vpci_function_ops function_ops = {.name = "test"};

/* Address and data of a message always agree, and name the vector. */
static void message(void *ctx, uint64_t address, uint32_t data)
{
	unsigned vector = data & 0xff;

	(void)ctx;
	REQUIRE(vector < VECTORS && (address >> 12 & 0xff) == (data >> 8 & 0xff));
	REQUIRE(!__atomic_load_n(&masked_now[vector], __ATOMIC_ACQUIRE));
	__atomic_fetch_add(&sent[vector], 1, __ATOMIC_RELAXED);
}

static uint64_t config_at(unsigned offset) { return PC_ECAM_BASE + fn.slot * 0x8000 + offset; }

static void set_config(unsigned offset, unsigned size, uint64_t value)
{
	lock_acquire(&config_lock);
	bus_write(&mmio, config_at(offset), size, value);
	lock_release(&config_lock);
}

static uint64_t place(unsigned n) { return n % 2 ? HIGH_START + n * 0x100000 : PC_PCI_LOW_START + 0x1000000 + n * 0x2000; }

/* By halves, as a guest must. */
static void move(struct thread *t)
{
	uint64_t to = place((unsigned)random_below(&t->random, PLACES));

	set_config(VPCI_BAR0 + 8, 4, to & UINT32_MAX);
	set_config(VPCI_BAR0 + 12, 4, to >> 32);
	if (random_below(&t->random, 8) == 0)
		set_config(VPCI_COMMAND, 2, random_below(&t->random, 2) ? 0x0006 : 0x0004);
}

static void touch(struct thread *t)
{
	uint64_t at = place((unsigned)random_below(&t->random, PLACES)) + random_below(&t->random, BYTES + 8) - 4;

	if (random_below(&t->random, 2))
		(void)bus_read(&mmio, at, 1u << random_below(&t->random, 4));
	else
		bus_write(&mmio, at, 1u << random_below(&t->random, 4), 1);
}

/* Each vector is programmed by one CPU; anybody raises it. The table is reached as the function itself would. */
static void program(struct thread *t, unsigned vector)
{
	uint32_t to = (uint32_t)random_below(&t->random, 256);
	uint64_t entry = vector * VPCI_MSIX_ENTRY;

	vpci_bar_write(&fn, 1, entry + 12, 4, 1);
	__atomic_store_n(&masked_now[vector], true, __ATOMIC_RELEASE);
	vpci_bar_write(&fn, 1, entry, 4, 0xfee00000 | to << 12);
	vpci_bar_write(&fn, 1, entry + 8, 4, to << 8 | vector);
	__atomic_store_n(&masked_now[vector], false, __ATOMIC_RELEASE);
	vpci_bar_write(&fn, 1, entry + 12, 4, 0);
}

static void mask_all(struct thread *t)
{
	(void)t;
	set_config(fn.msix.cap + 2, 2, VPCI_MSIX_ENABLE | VPCI_MSIX_MASK_ALL);
	set_config(fn.msix.cap + 2, 2, VPCI_MSIX_ENABLE);
}

static void everything(struct thread *t)
{
	for (unsigned i = 0; i < STEPS; i++) {
		unsigned vector = (unsigned)random_below(&t->random, VECTORS);

		switch (random_below(&t->random, 8)) {
		case 0:
			if (t->cpu == 0)
				move(t);
			else if (t->cpu <= VECTORS)
				program(t, t->cpu - 1);
			else
				mask_all(t);
			break;
		case 1:
			(void)vpci_bar_read(&fn, 1, VPCI_MSIX_PBA_AT, 4);
			break;
		case 2:
		case 3:
			__atomic_fetch_add(&raised[vector], 1, __ATOMIC_RELAXED);
			vpci_raise(&fn, vector);
			break;
		default:
			touch(t);
		}
	}
}

static void all_at_once(void **state)
{
	static const struct vpci_ids ids = {.vendor = 0x1234, .device = 0x5678};
	struct error err;

	(void)state;
	memory.ops = beside.ops = &device_ops;
	lock_init(&config_lock, LOCK_VM);
	bus_init(&pio, "pio", 0x10000);
	bus_init(&mmio, "mmio", UINT64_MAX);
	vpci_init(&pci, (struct vpci_high){HIGH_START, PC_PCI_HIGH_SIZE}, &beside, 0, message, NULL);
	assert_int_equal(vpci_claim(&pci, &pio, &mmio, &err), ST_OK);
	vpci_function_init(&pci, &fn, &function_ops, &ids);
	vpci_add_msix(&fn, 1, VECTORS);
	vpci_add_bar(&fn, 2, VPCI_BAR_MEMORY64, BYTES, &memory, 0);
	assert_int_equal(vpci_plug(&fn, &err), ST_OK);
	set_config(VPCI_COMMAND, 2, 0x0006);
	set_config(fn.msix.cap + 2, 2, VPCI_MSIX_ENABLE);
	for (unsigned i = 0; i < VECTORS; i++)
		vpci_bar_write(&fn, 1, i * VPCI_MSIX_ENTRY + 8, 8, i);
	for (unsigned i = 0; i < VECTORS; i++)
		vpci_bar_write(&fn, 1, i * VPCI_MSIX_ENTRY, 4, 0xfee00000);
	threads_run(CPUS, 1, true, everything, NULL);
	/* All that is left pending may go now, once for however often it was raised. */
	set_config(VPCI_COMMAND, 2, 0x0006);
	set_config(fn.msix.cap + 2, 2, VPCI_MSIX_ENABLE);
	assert_int_equal(vpci_bar_read(&fn, 1, VPCI_MSIX_PBA_AT, 4), 0);
	for (unsigned i = 0; i < VECTORS; i++)
		assert_true(sent[i] > 0 && sent[i] <= raised[i]);
	assert_true(hits > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(all_at_once)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
