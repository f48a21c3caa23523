/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI Specification 6.4, sections 4.8.3.6 (reset register) and 4.8.3.2 (PM1
 * control). The other ways are older than ACPI and documented by convention.
 */
#include "firmware/power.h"

#include "firmware/ipi.h"
#include "firmware/paging.h"
#include "firmware/tsc.h"
#include "lib/bits.h"
#include "lib/x86_asm.h"

#define RESET_WAIT_US 50000u
#define ELSEWHERE_WAIT_US (4 * RESET_WAIT_US) /* for all the ways there are */
#define PM1_SCI_EN BIT(0)
#define PM1_SLP_TYP_SHIFT 10
#define PM1_SLP_TYP_MASK MASK(12, 10)
#define PM1_SLP_EN BIT(13)
#define ENABLE_TRIES 300u
#define ENABLE_STEP_US 1000u
#define PCI_RESET_PORT 0xcf9
#define PCI_RESET_HARD 0x02
#define PCI_RESET_GO 0x06
#define KBC_COMMAND 0x64
#define KBC_INPUT_FULL 0x02
#define KBC_PULSE_RESET 0xfe
#define KBC_TRIES 10000u

static struct {
	const struct acpi_info *acpi;
	volatile uint8_t *reset_register; /* when it is in memory */
	uint16_t shutdown_port;
} power;

void power_init(const struct acpi_info *acpi, uint16_t shutdown_port)
{
	power.acpi = acpi;
	power.shutdown_port = shutdown_port;
	if (acpi->reset.address != 0 && acpi->reset.space == ACPI_SPACE_MEMORY)
		power.reset_register = mmio_map(hpa(acpi->reset.address), 1);
}

static void reset_by_acpi(void)
{
	const struct acpi_address *r = &power.acpi->reset;

	if (power.reset_register)
		*power.reset_register = power.acpi->reset_value;
	else if (r->address != 0 && r->space == ACPI_SPACE_IO)
		out8((uint16_t)r->address, power.acpi->reset_value);
	else
		return;
	host_delay_us(RESET_WAIT_US);
}

static void reset_by_keyboard_controller(void)
{
	for (unsigned i = 0; i < KBC_TRIES && (in8(KBC_COMMAND) & KBC_INPUT_FULL); i++)
		cpu_pause();
	out8(KBC_COMMAND, KBC_PULSE_RESET);
	host_delay_us(RESET_WAIT_US);
}

/* An exception without a usable IDT, twice over, shuts the processor down; boards reset on that. */
__attribute__((noreturn)) static void triple_fault(void)
{
	const struct descriptor_ptr none = {0};

	lidt(&none);
	for (;;)
		__asm__ volatile("ud2");
}

__attribute__((noreturn)) static void reset_by_any_means(void)
{
	if (power.acpi)
		reset_by_acpi();
	out8(PCI_RESET_PORT, PCI_RESET_HARD);
	out8(PCI_RESET_PORT, PCI_RESET_GO);
	host_delay_us(RESET_WAIT_US);
	reset_by_keyboard_controller();
	triple_fault();
}

/*
 * No guest runs on while the machine goes. To a chip set all CPUs are the same, but Bochs' clock stands still after a
 * reset by the boot CPU of several until that one has executed as much as it had before, for which its BIOS does not
 * wait: its loop for a turn ends at an instruction count, which a reset sets back.
 */
void host_reset(void)
{
	cli();
	if (this_cpu()->id == 0)
		ipi_reset_elsewhere(reset_by_any_means, ELSEWHERE_WAIT_US);
	ipi_stop_others();
	reset_by_any_means();
}

/* The chip set ignores SLP_EN until the machine is in ACPI mode. */
static void enter_acpi_mode(uint16_t pm1a)
{
	const struct acpi_info *a = power.acpi;

	if ((in16(pm1a) & PM1_SCI_EN) || a->smi_command == 0 || a->acpi_enable == 0)
		return;
	out8((uint16_t)a->smi_command, a->acpi_enable);
	for (unsigned i = 0; i < ENABLE_TRIES && !(in16(pm1a) & PM1_SCI_EN); i++)
		host_delay_us(ENABLE_STEP_US);
}

static void sleep_by(const struct acpi_address *control, uint8_t type)
{
	uint16_t port = (uint16_t)control->address, value;

	if (control->address == 0 || control->space != ACPI_SPACE_IO)
		return;
	value = in16(port) & (uint16_t)~PM1_SLP_TYP_MASK;
	value |= (uint16_t)(((unsigned)type << PM1_SLP_TYP_SHIFT) & PM1_SLP_TYP_MASK);
	out16(port, value);
	out16(port, value | PM1_SLP_EN);
}

static void power_off_by_acpi(void)
{
	const struct acpi_info *a = power.acpi;

	if (!a->s5_known || a->pm1a_control.space != ACPI_SPACE_IO || a->pm1a_control.address == 0)
		return;
	enter_acpi_mode((uint16_t)a->pm1a_control.address);
	sleep_by(&a->pm1a_control, a->s5_type_a);
	sleep_by(&a->pm1b_control, a->s5_type_b);
	host_delay_us(RESET_WAIT_US);
}

void host_power_off(void)
{
	static const char word[] = "Shutdown";

	cli();
	ipi_stop_others();
	if (power.acpi)
		power_off_by_acpi();
	for (unsigned i = 0; power.shutdown_port && i < sizeof(word) - 1; i++)
		out8(power.shutdown_port, (uint8_t)word[i]);
	for (;;)
		hlt();
}
