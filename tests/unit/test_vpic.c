/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 8259A pair by its data sheet: initialisation, priorities and rotation,
 * the EOI forms, special mask, special fully nested and poll modes, spurious
 * requests, the cascade, and the edge/level registers.
 */
#include "tests/cmocka_all.h"

#include "guest/vpic.h"
#include "tests/expect_panic.h"
#include "tests/fakes/device_rig.h"

enum { CMD1, DATA1, CMD2, DATA2, ELCR1, ELCR2 };

static struct vpic pic;
static unsigned rises, falls;

static void output(void *ctx, bool level)
{
	assert_ptr_equal(ctx, &pic);
	level ? rises++ : falls++;
}

static void out(uint64_t reg, uint8_t v) { dev_out(&pic.dev, reg, v); }
static uint8_t in(uint64_t reg) { return dev_in(&pic.dev, reg); }

static void init_chip(uint64_t cmd, uint8_t icw1, uint8_t base, uint8_t icw3, uint8_t icw4)
{
	out(cmd, icw1);
	out(cmd + 1, base);
	out(cmd + 1, icw3);
	out(cmd + 1, icw4);
}

static int setup(void **state)
{
	(void)state;
	rises = falls = 0;
	vpic_init(&pic, output, &pic);
	init_chip(CMD1, 0x11, 0x30, 4, 1);
	init_chip(CMD2, 0x11, 0x38, 2, 1);
	return 0;
}

static void pulse(unsigned irq)
{
	vpic_set(&pic, irq, true);
	vpic_set(&pic, irq, false);
}

/* What the processor sees: the vector when INTR is up, else 0. */
static unsigned ack(void) { return pic.intr ? vpic_ack(&pic) : 0; }

static uint8_t isr(uint64_t cmd)
{
	out(cmd, 0x0b);
	return in(cmd);
}

static uint8_t irr(uint64_t cmd)
{
	out(cmd, 0x0a);
	return in(cmd);
}

static void power_on_asks_for_nothing(void **state)
{
	(void)state;
	vpic_init(&pic, output, &pic);
	for (unsigned irq = 0; irq < 16; irq++)
		if (irq != 2)
			vpic_set(&pic, irq, true);
	assert_false(pic.intr);
	assert_int_equal(in(DATA1), 0xff);
	assert_int_equal(in(DATA2), 0xff);
	EXPECT_PANIC(vpic_set(&pic, 2, true));
	EXPECT_PANIC(vpic_set(&pic, 16, true));
}

static void initialisation_words(void **state)
{
	(void)state;
	out(DATA1, 0xfb);
	vpic_set(&pic, 0, true);
	assert_int_equal(irr(CMD1), 0x01);
	out(CMD1, 0x11);
	assert_int_equal(pic.chips[0].imr, 0);
	out(DATA1, 0x4f); /* low three bits of the base are not kept */
	vpic_set(&pic, 5, true);
	assert_false(pic.intr); /* in the middle of it */
	out(DATA1, 0x04);
	out(DATA1, 0x01);
	assert_int_equal(in(DATA1), 0);
	assert_int_equal(ack(), 0x4d);
	assert_int_equal(irr(CMD1), 0x00); /* interrupt 0 was high before: no new edge */
	out(CMD1, 0x20);
	vpic_set(&pic, 0, false);
	vpic_set(&pic, 0, true);
	assert_int_equal(ack(), 0x48);
	/* Single, and without ICW4. */
	out(CMD2, 0x12);
	out(DATA2, 0x70);
	out(DATA2, 0x5a);
	assert_int_equal(in(DATA2), 0x5a);
	out(CMD2, 0x10);
	out(DATA2, 0x70);
	out(DATA2, 0x02);
	out(DATA2, 0xa5);
	assert_int_equal(in(DATA2), 0xa5);
	out(DATA2, 0xa6);
	assert_int_equal(in(DATA2), 0xa6);
	vpic_set(&pic, 8, true);
	out(CMD1, 0x20);
	assert_int_equal(ack(), 0x70);
	out(CMD1, 0x20);
	out(CMD2, 0x13);
	out(DATA2, 0x70);
	out(DATA2, 0x03);
	out(DATA2, 0x77);
	assert_int_equal(in(DATA2), 0x77);
	assert_true(pic.chips[1].auto_eoi);
	out(CMD2, 0x10); /* ICW4's functions are off without it */
	assert_false(pic.chips[1].auto_eoi);
}

static void fixed_priority_and_nesting(void **state)
{
	(void)state;
	vpic_set(&pic, 4, true);
	vpic_set(&pic, 6, true);
	assert_int_equal(rises, 1);
	assert_int_equal(falls, 0);
	assert_int_equal(ack(), 0x34);
	assert_int_equal(falls, 1);
	assert_int_equal(ack(), 0); /* 6 waits for 4 */
	assert_int_equal(isr(CMD1), 0x10);
	assert_int_equal(irr(CMD1), 0x40);
	vpic_set(&pic, 1, true);
	assert_int_equal(ack(), 0x31);
	assert_int_equal(isr(CMD1), 0x12);
	out(CMD1, 0x20); /* ends the highest */
	assert_int_equal(isr(CMD1), 0x10);
	out(CMD1, 0x64); /* specific */
	assert_int_equal(ack(), 0x36);
	out(CMD1, 0x20);
	out(CMD1, 0x20); /* nothing in service */
	assert_int_equal(ack(), 0);
	assert_int_equal(isr(CMD1), 0);
	vpic_set(&pic, 4, true); /* already high: no edge */
	assert_int_equal(ack(), 0);
}

static void mask_holds_and_keeps(void **state)
{
	(void)state;
	out(DATA1, 0x10);
	vpic_set(&pic, 4, true);
	assert_false(pic.intr);
	assert_int_equal(irr(CMD1), 0x10);
	out(DATA1, 0x00);
	assert_int_equal(rises, 1);
	out(DATA1, 0x10);
	assert_int_equal(falls, 1);
	out(DATA1, 0x00);
	assert_int_equal(ack(), 0x34);
}

static void cascade(void **state)
{
	(void)state;
	vpic_set(&pic, 12, true);
	assert_int_equal(irr(CMD1), 0x04);
	assert_int_equal(ack(), 0x3c);
	assert_int_equal(isr(CMD1), 0x04);
	assert_int_equal(isr(CMD2), 0x10);
	vpic_set(&pic, 3, true);
	assert_int_equal(ack(), 0); /* below the cascade */
	vpic_set(&pic, 9, true);
	assert_int_equal(ack(), 0); /* higher in the slave, but the master does not nest its own input 2 */
	out(CMD2, 0x20);
	out(CMD1, 0x20);
	assert_int_equal(ack(), 0x39); /* the slave's 9 comes before the master's 3 */
	out(CMD2, 0x20);
	out(CMD1, 0x20);
	assert_int_equal(ack(), 0x33);
	out(CMD1, 0x20);
	assert_int_equal(ack(), 0);
}

static void slave_requests_queue_behind_each_other(void **state)
{
	(void)state;
	init_chip(CMD1, 0x11, 0x30, 4, 3); /* automatic EOI in both */
	init_chip(CMD2, 0x11, 0x38, 2, 3);
	vpic_set(&pic, 8, true);
	vpic_set(&pic, 14, true);
	vpic_set(&pic, 15, true);
	rises = 0;
	assert_int_equal(ack(), 0x38);
	assert_int_equal(rises, 1); /* the output falls and rises for the next one */
	assert_int_equal(ack(), 0x3e);
	assert_int_equal(ack(), 0x3f);
	assert_int_equal(ack(), 0);
	assert_int_equal(isr(CMD1) | isr(CMD2), 0);
}

static void special_fully_nested(void **state)
{
	(void)state;
	init_chip(CMD1, 0x11, 0x30, 4, 0x11);
	vpic_set(&pic, 12, true);
	assert_int_equal(ack(), 0x3c);
	vpic_set(&pic, 9, true);
	assert_int_equal(ack(), 0x39);
	vpic_set(&pic, 13, true);
	assert_int_equal(ack(), 0); /* the slave's own order holds */
	assert_int_equal(isr(CMD2), 0x12);
}

static void withdrawn_requests_are_spurious(void **state)
{
	(void)state;
	vpic_set(&pic, 4, true);
	vpic_set(&pic, 4, false);
	assert_false(pic.intr);
	assert_int_equal(vpic_ack(&pic), 0x37);
	assert_int_equal(isr(CMD1), 0);
	/* In the slave: the master has taken its input 2. */
	pulse(12);
	assert_int_equal(vpic_ack(&pic), 0x37);
	vpic_set(&pic, 12, true);
	pic.chips[1].irr = 0; /* falls between the two acknowledge pulses */
	assert_int_equal(vpic_ack(&pic), 0x3f);
	assert_int_equal(isr(CMD1), 0x04);
	assert_int_equal(isr(CMD2), 0);
}

static void rotation(void **state)
{
	(void)state;
	out(CMD1, 0xc3); /* 3 is lowest: the order is 4 5 6 7 0 1 2 3 */
	for (unsigned i = 0; i < 8; i++)
		if (i != 2)
			vpic_set(&pic, i, true);
	assert_int_equal(ack(), 0x34);
	out(CMD1, 0x20);
	assert_int_equal(ack(), 0x35);
	out(CMD1, 0xa0); /* rotate on non-specific EOI: 5 is lowest */
	assert_int_equal(pic.chips[0].top, 6);
	assert_int_equal(ack(), 0x36);
	out(CMD1, 0xe1); /* rotate on specific EOI of 1, which is not in service: 1 is lowest */
	assert_int_equal(isr(CMD1), 0x40);
	assert_int_equal(ack(), 0x33);
	assert_int_equal(isr(CMD1), 0x48);
	out(CMD1, 0x40); /* no operation */
	assert_int_equal(isr(CMD1), 0x48);
	out(CMD1, 0xa0); /* nothing in service changes nothing but once */
	assert_int_equal(isr(CMD1), 0x40);
	assert_int_equal(pic.chips[0].top, 4);
}

static void automatic_eoi_and_its_rotation(void **state)
{
	(void)state;
	init_chip(CMD1, 0x11, 0x30, 4, 3);
	out(CMD1, 0x80);
	vpic_set(&pic, 0, true);
	vpic_set(&pic, 1, true);
	assert_int_equal(ack(), 0x30);
	assert_int_equal(isr(CMD1), 0);
	assert_int_equal(pic.chips[0].top, 1);
	pulse(0);
	vpic_set(&pic, 0, true);
	assert_int_equal(ack(), 0x31); /* 0 went to the end of the line */
	assert_int_equal(ack(), 0x30);
	out(CMD1, 0x00);
	vpic_set(&pic, 5, true);
	assert_int_equal(ack(), 0x35);
	assert_int_equal(pic.chips[0].top, 1);
}

static void special_mask_mode(void **state)
{
	(void)state;
	vpic_set(&pic, 1, true);
	assert_int_equal(ack(), 0x31);
	vpic_set(&pic, 6, true);
	assert_int_equal(ack(), 0);
	out(DATA1, 0x02);
	assert_int_equal(ack(), 0);
	out(CMD1, 0x68); /* set special mask mode: the masked in-service 1 holds nobody back */
	assert_int_equal(ack(), 0x36);
	out(CMD1, 0x20); /* means 6, not the masked 1 */
	assert_int_equal(isr(CMD1), 0x02);
	out(CMD1, 0x28); /* bit 6 clear: no change of the mode */
	assert_true(pic.chips[0].special_mask);
	out(CMD1, 0x48);
	assert_false(pic.chips[0].special_mask);
	out(CMD1, 0x28);
	assert_false(pic.chips[0].special_mask);
	out(CMD1, 0x20);
	assert_int_equal(isr(CMD1), 0);
}

static void poll(void **state)
{
	(void)state;
	out(DATA1, 0xfb);
	out(DATA1, 0x00);
	vpic_set(&pic, 4, true);
	out(CMD1, 0x0c);
	assert_int_equal(in(CMD1), 0x84);
	assert_false(pic.intr);
	assert_int_equal(in(CMD1), 0); /* one read only: IRR again */
	assert_int_equal(isr(CMD1), 0x10);
	vpic_set(&pic, 0, true);
	out(CMD1, 0x0f); /* and leaves ISR to be read after it */
	assert_int_equal(in(CMD1), 0x80);
	assert_int_equal(in(CMD1), 0x11);
	out(CMD1, 0x08); /* neither: the choice stays */
	assert_int_equal(in(CMD1), 0x11);
	out(CMD1, 0x20);
	out(CMD1, 0x0c);
	assert_int_equal(in(CMD1), 0);
	out(CMD1, 0x0c);
	assert_int_equal(in(DATA1), 0); /* by either address */
	assert_int_equal(in(DATA1), 0x00);
	out(CMD1, 0x20);
	vpic_set(&pic, 14, true);
	out(CMD2, 0x0c);
	assert_int_equal(in(CMD2), 0x86);
	assert_int_equal(irr(CMD1), 0); /* the slave asks no more */
	assert_int_equal(isr(CMD2), 0x40);
}

static void level_inputs(void **state)
{
	(void)state;
	out(ELCR1, 0xff);
	out(ELCR2, 0xff);
	assert_int_equal(in(ELCR1), 0xf8);
	assert_int_equal(in(ELCR2), 0xde);
	vpic_set(&pic, 11, true);
	assert_int_equal(ack(), 0x3b);
	out(CMD2, 0x20);
	out(CMD1, 0x20);
	assert_int_equal(ack(), 0x3b); /* still high: again */
	vpic_set(&pic, 11, false);
	out(CMD2, 0x20);
	out(CMD1, 0x20);
	assert_int_equal(ack(), 0);
	/* Initialisation forgets edges, not levels. */
	vpic_set(&pic, 5, true);
	vpic_set(&pic, 1, true);
	init_chip(CMD1, 0x11, 0x30, 4, 1);
	assert_int_equal(irr(CMD1), 0x20);
	assert_int_equal(in(ELCR1), 0xf8);
	vpic_set(&pic, 5, false);
	/* An input that is high when it becomes a level counts. */
	out(ELCR1, 0);
	vpic_set(&pic, 6, true);
	assert_int_equal(ack(), 0x36);
	out(CMD1, 0x20);
	assert_int_equal(ack(), 0);
	out(ELCR1, 0x40);
	assert_int_equal(ack(), 0x36);
	/* ICW1 may make all inputs of a chip levels. */
	init_chip(CMD2, 0x19, 0x38, 2, 1);
	vpic_set(&pic, 8, true);
	out(CMD1, 0x20);
	out(CMD1, 0x20);
	vpic_set(&pic, 6, false);
	assert_int_equal(ack(), 0x38);
	out(CMD2, 0x20);
	out(CMD1, 0x20);
	assert_int_equal(ack(), 0x38);
}

static void wide_accesses_are_two_bytes(void **state)
{
	(void)state;
	pic.dev.ops->write(&pic.dev, CMD1, 2, 0x5a0b);
	assert_int_equal(in(DATA1), 0x5a);
	vpic_set(&pic, 0, true);
	assert_int_equal(ack(), 0x30);
	assert_int_equal(pic.dev.ops->read(&pic.dev, CMD1, 2), 0x5a01);
	pic.dev.ops->write(&pic.dev, ELCR1, 2, 0x0408);
	assert_int_equal(pic.dev.ops->read(&pic.dev, ELCR1, 2), 0x0408);
}

static void reset_masks_everything(void **state)
{
	(void)state;
	vpic_set(&pic, 0, true);
	assert_int_equal(rises, 1);
	pic.dev.ops->reset(&pic.dev);
	assert_int_equal(falls, 1);
	assert_false(pic.intr);
	assert_int_equal(in(DATA1), 0xff);
	assert_int_equal(irr(CMD1) | isr(CMD1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(power_on_asks_for_nothing, setup),
		cmocka_unit_test_setup(initialisation_words, setup),
		cmocka_unit_test_setup(fixed_priority_and_nesting, setup),
		cmocka_unit_test_setup(mask_holds_and_keeps, setup),
		cmocka_unit_test_setup(cascade, setup),
		cmocka_unit_test_setup(slave_requests_queue_behind_each_other, setup),
		cmocka_unit_test_setup(special_fully_nested, setup),
		cmocka_unit_test_setup(withdrawn_requests_are_spurious, setup),
		cmocka_unit_test_setup(rotation, setup),
		cmocka_unit_test_setup(automatic_eoi_and_its_rotation, setup),
		cmocka_unit_test_setup(special_mask_mode, setup),
		cmocka_unit_test_setup(poll, setup),
		cmocka_unit_test_setup(level_inputs, setup),
		cmocka_unit_test_setup(wide_accesses_are_two_bytes, setup),
		cmocka_unit_test_setup(reset_masks_everything, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
