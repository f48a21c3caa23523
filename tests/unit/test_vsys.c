/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reset ports, POST code and debug exit: what resets, and above all what does
 * not, though it comes close.
 */
#include "tests/cmocka_all.h"

#include "guest/pc.h"
#include "guest/vdebug.h"
#include "guest/vsys.h"
#include "lib/bits.h"
#include "tests/fakes/device_rig.h"

#define CF9 (VSYS_CONFIG + 1)

static struct vsys sys;
static struct vdebug debug;
static unsigned resets, exits, offs;
static uint32_t code;

static void on_power_off(void *ctx) { (void)ctx, offs++; }
static void on_reset(void *ctx) { assert_ptr_equal(ctx, &resets), resets++; }
static void on_exit_code(void *ctx, uint32_t c) { assert_ptr_equal(ctx, &exits), exits++, code = c; }
static const struct system_ops ops = {on_power_off, on_reset, on_exit_code};

static int setup(void **state)
{
	(void)state;
	resets = exits = offs = 0;
	vsys_init(&sys, &ops, &resets);
	vdebug_init(&debug, &ops, &exits);
	return 0;
}

static void reset_control(void **state)
{
	(void)state;
	dev_out(&sys.dev, CF9, 0x02); /* choose the kind */
	assert_int_equal(resets, 0);
	assert_int_equal(dev_in(&sys.dev, CF9), 0x02);
	dev_out(&sys.dev, CF9, PC_RESET_VALUE);
	assert_int_equal(resets, 1);
	dev_out(&sys.dev, CF9, PC_RESET_VALUE); /* bit 2 does not rise */
	assert_int_equal(resets, 1);
	dev_out(&sys.dev, CF9, 0xf0);
	assert_int_equal(dev_in(&sys.dev, CF9), 0x00);
	dev_out(&sys.dev, CF9, 0x0e);
	assert_int_equal(resets, 2);
	assert_int_equal(dev_in(&sys.dev, CF9), 0x0e);
	sys.dev.ops->reset(&sys.dev);
	dev_out(&sys.dev, CF9, PC_RESET_VALUE); /* by ACPI's reset register: one write */
	assert_int_equal(resets, 3);
}

static void pci_configuration_accesses_do_not_reset(void **state)
{
	(void)state;
	sys.dev.ops->write(&sys.dev, VSYS_CONFIG, 4, 0x8000fffc);
	sys.dev.ops->write(&sys.dev, VSYS_CONFIG, 2, 0xffff);
	sys.dev.ops->write(&sys.dev, CF9, 2, 0xffff);
	sys.dev.ops->write(&sys.dev, VSYS_CONFIG + 4, 4, 0xffffffff);
	assert_int_equal(resets, 0);
	assert_true((uint32_t)sys.dev.ops->read(&sys.dev, VSYS_CONFIG, 4) == 0xffffffff);
	assert_true((uint32_t)sys.dev.ops->read(&sys.dev, VSYS_CONFIG + 4, 4) == 0xffffffff);
	assert_int_equal(sys.dev.ops->read(&sys.dev, CF9, 2) & 0xffff, 0xffff);
	assert_int_equal(dev_in(&sys.dev, CF9), 0);
}

static void fast_a20(void **state)
{
	(void)state;
	assert_int_equal(dev_in(&sys.dev, VSYS_FAST_A20), 0x02);
	dev_out(&sys.dev, VSYS_FAST_A20, 0x00);
	assert_int_equal(dev_in(&sys.dev, VSYS_FAST_A20), 0x00);
	assert_int_equal(resets, 0);
	dev_out(&sys.dev, VSYS_FAST_A20, 0x03);
	assert_int_equal(resets, 1);
	dev_out(&sys.dev, VSYS_FAST_A20, 0x03);
	assert_int_equal(resets, 1);
	sys.dev.ops->reset(&sys.dev);
	assert_int_equal(dev_in(&sys.dev, VSYS_FAST_A20), 0x02);
	dev_out(&sys.dev, VSYS_FAST_A20, 0x01);
	assert_int_equal(resets, 2);
}

static void there_is_no_keyboard_controller(void **state)
{
	(void)state;
	assert_int_equal(dev_in(&sys.dev, VSYS_KBD_DATA), 0xff);
	assert_int_equal(dev_in(&sys.dev, VSYS_KBD_CMD), 0xff);
	dev_out(&sys.dev, VSYS_KBD_CMD, 0xd1);
	dev_out(&sys.dev, VSYS_KBD_DATA, 0xfe); /* right value, wrong port */
	dev_out(&sys.dev, VSYS_KBD_CMD, 0xfc);
	assert_int_equal(resets, 0);
	dev_out(&sys.dev, VSYS_KBD_CMD, PC_KBD_CMD_RESET);
	assert_int_equal(resets, 1);
}

static void post_code(void **state)
{
	(void)state;
	dev_out(&sys.dev, VSYS_POST, 0x5a);
	assert_int_equal(dev_in(&sys.dev, VSYS_POST), 0x5a);
	sys.dev.ops->reset(&sys.dev);
	assert_int_equal(dev_in(&sys.dev, VSYS_POST), 0);
	assert_int_equal(resets, 0);
}

static void debug_exit_takes_a_dword(void **state)
{
	(void)state;
	debug.dev.ops->write(&debug.dev, 0, 1, 1);
	debug.dev.ops->write(&debug.dev, 0, 2, 1);
	debug.dev.ops->write(&debug.dev, 2, 2, 1);
	debug.dev.ops->write(&debug.dev, 1, 1, 1);
	assert_int_equal(exits, 0);
	assert_true((uint32_t)debug.dev.ops->read(&debug.dev, 0, 4) == 0xffffffff);
	debug.dev.ops->write(&debug.dev, 0, 4, 0xdeadbeef);
	assert_int_equal(exits, 1);
	assert_true(code == 0xdeadbeef);
	assert_int_equal(resets + offs, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(reset_control, setup),
		cmocka_unit_test_setup(pci_configuration_accesses_do_not_reset, setup),
		cmocka_unit_test_setup(fast_a20, setup),
		cmocka_unit_test_setup(there_is_no_keyboard_controller, setup),
		cmocka_unit_test_setup(post_code, setup),
		cmocka_unit_test_setup(debug_exit_takes_a_dword, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
