/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ends its machine in the way that the command line names: "off" by ACPI S5,
 * "reset" by the FADT's reset register, "kbd" by the keyboard controller, "fast"
 * by port 0x92; "button" sleeps until the power button is pressed and then goes
 * off as an operating system would.
 */
#include "tests/guests/lib/acpi.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "power";

#define VECTOR_SCI 0x71
#define PM1_ENABLE 2 /* behind the status register */
#define KBD_COMMAND 0x64
#define KBD_RESET 0xfe
#define FAST_A20 0x92
#define FAST_RESET 0x01

static volatile bool pressed;

static void power_off(void)
{
	const struct acpi_fixed *f = acpi_fixed();

	print("power: off by SLP_TYP %u at port 0x%x\n", f->s5, f->pm1_cnt);
	out16(f->pm1_cnt, (uint16_t)(f->s5 << ACPI_PM1_SLP_TYP_SHIFT | ACPI_PM1_SLP_EN));
}

static void on_sci(struct trap_frame *f)
{
	uint16_t status = in16(acpi_fixed()->pm1_evt);

	(void)f;
	if (status & ACPI_PWRBTN) {
		pressed = true;
		out16(acpi_fixed()->pm1_evt, ACPI_PWRBTN);
	}
	apic_eoi();
}

static void wait_for_button(void)
{
	const struct acpi_fixed *f = acpi_fixed();

	CHECK(in16(f->pm1_cnt) & ACPI_PM1_SCI_EN, "the machine is not in ACPI mode");
	apic_set_mode(APIC_XAPIC);
	set_handler(VECTOR_SCI, on_sci);
	ioapic_route(f->sci, VECTOR_SCI, true);
	out16(f->pm1_evt, ACPI_PWRBTN);
	out16((uint16_t)(f->pm1_evt + PM1_ENABLE), ACPI_PWRBTN);
	print("power: waiting for the button\n");
	while (!pressed)
		halt();
	print("power: pressed\n");
	power_off();
}

void guest_main(void)
{
	if (option_word("button"))
		wait_for_button();
	if (option_word("off"))
		power_off();
	if (option_word("reset")) {
		print("power: reset by port 0x%x\n", acpi_fixed()->reset_port);
		out8(acpi_fixed()->reset_port, acpi_fixed()->reset_value);
	}
	if (option_word("kbd"))
		out8(KBD_COMMAND, KBD_RESET);
	if (option_word("fast"))
		out8(FAST_A20, FAST_RESET);
	fail_with("is still there");
}
