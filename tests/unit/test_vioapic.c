/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The IO-APIC: registers, edges and levels, masks, remote IRR and both ways of
 * EOI, with the messages it sends recorded.
 */
#include "tests/cmocka_all.h"

#include "guest/vioapic.h"
#include "lib/bits.h"
#include "lib/x86_regs.h"
#include "tests/expect_panic.h"

#define MASKED 0x10000ull
#define LEVEL 0x8000ull
#define REMOTE_IRR 0x4000ull

static struct vioapic io;
static struct apic_message last;
static unsigned sent;
static bool accepted;

static bool deliver(void *ctx, const struct apic_message *msg)
{
	assert_ptr_equal(ctx, &sent);
	last = *msg;
	sent++;
	return accepted;
}

static int setup(void **state)
{
	(void)state;
	sent = 0;
	accepted = true;
	vioapic_init(&io, deliver, &sent);
	return 0;
}

static void put(uint64_t offset, uint32_t v) { io.dev.ops->write(&io.dev, offset, 4, v); }
static uint32_t take(uint64_t offset) { return (uint32_t)io.dev.ops->read(&io.dev, offset, 4); }

static uint32_t reg(uint8_t index)
{
	put(0, index);
	return take(0x10);
}

static void set_reg(uint8_t index, uint32_t v)
{
	put(0, index);
	put(0x10, v);
}

static void set_entry(unsigned pin, uint64_t v)
{
	set_reg((uint8_t)(0x11 + 2 * pin), (uint32_t)(v >> 32));
	set_reg((uint8_t)(0x10 + 2 * pin), (uint32_t)v);
}

static uint64_t entry(unsigned pin)
{
	return (uint64_t)reg((uint8_t)(0x11 + 2 * pin)) << 32 | reg((uint8_t)(0x10 + 2 * pin));
}

static void registers(void **state)
{
	(void)state;
	assert_int_equal(reg(1), 0x00170020);
	assert_int_equal(reg(0), PC_IOAPIC_ID << 24);
	set_reg(0, 0xffffffff);
	assert_int_equal(reg(0), 0x0f000000);
	assert_int_equal(reg(2), 0x0f000000);
	set_reg(1, 0);
	set_reg(2, 0);
	assert_int_equal(reg(1), 0x00170020);
	for (unsigned pin = 0; pin < 24; pin++)
		assert_true(entry(pin) == MASKED);
	assert_int_equal(reg(0x40), 0xffffffff);
	assert_int_equal(reg(0x0f), 0xffffffff);
	set_reg(0x40, 0);
	assert_int_equal(take(0), 0x40);
	set_entry(23, UINT64_MAX);
	assert_true(entry(23) == 0xff0000000001afffull);
	assert_int_equal(take(0x20), 0xffffffff);
	assert_int_equal(take(4), 0xffffffff);
	/* The select register is a byte; the window is not written by less than a dword. */
	io.dev.ops->write(&io.dev, 0, 1, 0x3e);
	io.dev.ops->write(&io.dev, 0x10, 1, 0);
	assert_true(entry(23) == 0xff0000000001afffull);
	vioapic_set(&io, 0, true);
	vioapic_set(&io, 20, true);
	io.dev.ops->reset(&io.dev);
	assert_int_equal(take(0), 0);
	assert_true(entry(23) == MASKED);
	set_entry(0, LEVEL | 0x40); /* no input is active any more */
	set_entry(20, LEVEL | 0x40);
	assert_int_equal(sent, 0);
	assert_int_equal(reg(0), PC_IOAPIC_ID << 24);
}

static void edges_send_once(void **state)
{
	(void)state;
	set_entry(4, 0x0300000000000834ull);
	assert_int_equal(sent, 0);
	vioapic_set(&io, 4, true);
	assert_int_equal(sent, 1);
	assert_true(last.vector == 0x34 && last.dest == 3 && last.logical && !last.level);
	assert_true(last.delivery == APIC_DELIVERY_FIXED);
	vioapic_set(&io, 4, true);
	assert_int_equal(sent, 1);
	vioapic_set(&io, 4, false);
	assert_int_equal(sent, 1);
	vioapic_set(&io, 4, true);
	assert_int_equal(sent, 2);
	assert_true(entry(4) == 0x0300000000000834ull); /* no remote IRR for edges */
	vioapic_eoi(&io, 0x34);
	assert_int_equal(sent, 2);
}

static void a_masked_edge_is_lost(void **state)
{
	(void)state;
	set_entry(4, MASKED | 0x34);
	vioapic_set(&io, 4, true);
	set_entry(4, 0x34);
	assert_int_equal(sent, 0);
	vioapic_set(&io, 4, true);
	assert_int_equal(sent, 0);
	vioapic_set(&io, 4, false);
	vioapic_set(&io, 4, true);
	assert_int_equal(sent, 1);
}

static void levels_wait_for_their_eoi(void **state)
{
	(void)state;
	set_entry(9, LEVEL | 0x51);
	vioapic_set(&io, 9, true);
	assert_int_equal(sent, 1);
	assert_true(last.level && last.dest == 0 && !last.logical);
	assert_true(entry(9) == (LEVEL | REMOTE_IRR | 0x51));
	vioapic_set(&io, 9, true);
	vioapic_set(&io, 9, false);
	vioapic_set(&io, 9, true);
	assert_int_equal(sent, 1);
	vioapic_eoi(&io, 0x52);
	assert_int_equal(sent, 1);
	vioapic_eoi(&io, 0x51); /* still active: again */
	assert_int_equal(sent, 2);
	vioapic_set(&io, 9, false);
	vioapic_eoi(&io, 0x51);
	assert_int_equal(sent, 2);
	assert_true(entry(9) == (LEVEL | 0x51));
	vioapic_eoi(&io, 0x51); /* nothing to end */
	vioapic_set(&io, 9, true);
	assert_int_equal(sent, 3);
	vioapic_set(&io, 9, false);
	put(0x40, 0x51); /* EOI register */
	assert_true(entry(9) == (LEVEL | 0x51));
	set_entry(10, LEVEL | 0x60); /* was never active */
	assert_int_equal(sent, 3);
}

static void levels_and_masks(void **state)
{
	(void)state;
	set_entry(9, MASKED | LEVEL | 0x51);
	vioapic_set(&io, 9, true);
	assert_int_equal(sent, 0);
	set_entry(9, LEVEL | 0x51); /* unmasked while active */
	assert_int_equal(sent, 1);
	set_reg(0x22, MASKED | LEVEL | 0x51); /* masked while in service: remote IRR stays */
	assert_true(entry(9) == (MASKED | LEVEL | REMOTE_IRR | 0x51));
	vioapic_eoi(&io, 0x51);
	assert_int_equal(sent, 1);
	assert_true(entry(9) == (MASKED | LEVEL | 0x51));
	set_reg(0x22, LEVEL | 0x51);
	assert_int_equal(sent, 2);
	set_reg(0x22, MASKED | 0x51); /* the detour by edge mode clears a stuck remote IRR */
	assert_true(entry(9) == (MASKED | 0x51));
	set_reg(0x22, LEVEL | 0x51);
	assert_int_equal(sent, 3);
}

static void shared_vector_ends_both(void **state)
{
	(void)state;
	set_entry(9, LEVEL | 0x51);
	set_entry(10, LEVEL | 0x51);
	vioapic_set(&io, 10, true);
	vioapic_set(&io, 9, true);
	assert_int_equal(sent, 2);
	vioapic_set(&io, 9, false);
	vioapic_eoi(&io, 0x51); /* 10 is still active, and was not touched by 9 */
	assert_int_equal(sent, 3);
	assert_true(entry(9) == (LEVEL | 0x51));
	assert_true(entry(10) == (LEVEL | REMOTE_IRR | 0x51));
}

static void first_and_last_input(void **state)
{
	(void)state;
	set_entry(0, LEVEL | 0x51);
	set_entry(23, LEVEL | 0x52);
	vioapic_set(&io, 0, true);
	vioapic_set(&io, 23, true);
	assert_int_equal(sent, 2);
	vioapic_eoi(&io, 0x51);
	assert_int_equal(sent, 3);
	assert_int_equal(last.vector, 0x51);
	vioapic_eoi(&io, 0x52);
	assert_int_equal(sent, 4);
	assert_int_equal(last.vector, 0x52);
}

static void nobody_accepts(void **state)
{
	(void)state;
	accepted = false;
	set_entry(9, LEVEL | 0x51);
	vioapic_set(&io, 9, true);
	assert_int_equal(sent, 1);
	assert_true(entry(9) == (LEVEL | 0x51)); /* no EOI will come: not in service */
	accepted = true;
	set_reg(0x23, 0x01000000); /* another destination: tried again at once */
	assert_int_equal(sent, 2);
	assert_int_equal(last.dest, 1);
	assert_true(entry(9) == (1ull << 56 | LEVEL | REMOTE_IRR | 0x51));
}

static void destinations_and_delivery_modes(void **state)
{
	(void)state;
	set_entry(1, 0xff00000000000130ull);
	vioapic_set(&io, 1, true);
	assert_int_equal(last.dest, 0xffffffff);
	assert_true(last.delivery == APIC_DELIVERY_LOWEST);
	set_entry(2, LEVEL | 0x400); /* an NMI has no EOI */
	vioapic_set(&io, 2, true);
	assert_true(last.delivery == APIC_DELIVERY_NMI && !last.level);
	assert_true(entry(2) == (LEVEL | 0x400));
	sent = 0;
	vioapic_set(&io, 2, true);
	set_entry(2, LEVEL | 0x400);
	assert_int_equal(sent, 0);
	EXPECT_PANIC(vioapic_set(&io, 24, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(registers, setup),
		cmocka_unit_test_setup(edges_send_once, setup),
		cmocka_unit_test_setup(a_masked_edge_is_lost, setup),
		cmocka_unit_test_setup(levels_wait_for_their_eoi, setup),
		cmocka_unit_test_setup(levels_and_masks, setup),
		cmocka_unit_test_setup(shared_vector_ends_both, setup),
		cmocka_unit_test_setup(first_and_last_input, setup),
		cmocka_unit_test_setup(nobody_accepts, setup),
		cmocka_unit_test_setup(destinations_and_delivery_modes, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
