/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What we read from the machine's ACPI tables: processors, interrupt controllers,
 * the PM timer, reset and power-off registers, PCI configuration space, HPET. No
 * AML is interpreted; the one package that power-off needs (\_S5) is found by
 * its encoding. Pure C: tables come through struct phys_reader.
 */
#ifndef CORBEL_FIRMWARE_ACPI_H
#define CORBEL_FIRMWARE_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#include "firmware/phys.h"
#include "lib/error.h"
#include "lib/status.h"

#define ACPI_CPUS_MAX 256u
#define ACPI_IOAPICS_MAX 16u
#define ACPI_OVERRIDES_MAX 24u
#define ACPI_NMIS_MAX 16u
#define ACPI_MCFG_MAX 8u
#define ACPI_ALL_CPUS UINT32_MAX

/* MPS INTI flags, ACPI 6.4 table 5.26. */
#define ACPI_INTI_POLARITY_MASK 0x3u
#define ACPI_INTI_ACTIVE_LOW 0x3u
#define ACPI_INTI_TRIGGER_MASK 0xcu
#define ACPI_INTI_LEVEL 0xcu

#define ACPI_SPACE_MEMORY 0u
#define ACPI_SPACE_IO 1u
#define ACPI_SPACE_PCI 2u

/* Generic Address Structure, ACPI 6.4 section 5.2.3.2; address 0 = absent. */
struct acpi_address {
	uint8_t space, bits;
	uint64_t address;
};

struct acpi_cpu {
	uint32_t apic_id, uid;
	bool enabled; /* false: could be brought online later */
};

struct acpi_ioapic {
	uint8_t id;
	uint32_t address, gsi_base;
};

/* ISA interrupt @irq arrives as global interrupt @gsi. */
struct acpi_override {
	uint8_t irq;
	uint32_t gsi;
	uint16_t inti; /* ACPI_INTI_* */
};

/* Local APIC pin @lint of the CPU with @uid (or ACPI_ALL_CPUS) is an NMI. */
struct acpi_nmi {
	uint32_t uid;
	uint8_t lint;
	uint16_t inti;
};

struct acpi_mcfg {
	uint64_t base;
	uint16_t segment;
	uint8_t bus_first, bus_last;
};

struct acpi_info {
	bool present;
	uint8_t revision; /* of the RSDP: 0 = ACPI 1.0 */
	char oem[7];

	unsigned cpu_count, ioapic_count, override_count, nmi_count, mcfg_count;
	struct acpi_cpu cpu[ACPI_CPUS_MAX];
	struct acpi_ioapic ioapic[ACPI_IOAPICS_MAX];
	struct acpi_override override[ACPI_OVERRIDES_MAX];
	struct acpi_nmi nmi[ACPI_NMIS_MAX];
	struct acpi_mcfg mcfg[ACPI_MCFG_MAX];
	uint64_t lapic_address;
	bool has_8259;

	struct acpi_address pm_timer, pm1a_control, pm1b_control, reset;
	bool pm_timer_32bit;
	uint8_t reset_value;
	uint16_t sci_irq;
	uint32_t smi_command; /* port; 0 = none */
	uint8_t acpi_enable;  /* written there to leave legacy mode */
	bool s5_known;
	uint8_t s5_type_a, s5_type_b; /* SLP_TYP for power-off */

	uint64_t hpet_address; /* 0 = none */

	unsigned skipped;  /* optional tables and entries that were left out */
	struct error note; /* why the first of them was */
};

/*
 * Where the root pointer is: a copy (@rsdp_len > 0), else its address, else
 * (0) it is searched for in the BIOS areas.
 */
struct acpi_root {
	const uint8_t *rsdp;
	uint32_t rsdp_len;
	uint64_t rsdp_at;
};

/*
 * Reads everything into @out, which is cleared first. ST_NOT_FOUND: this machine
 * has no ACPI. Other errors: RSDP, root table, FADT or MADT are damaged, named
 * in @err with table and offset. MCFG and HPET are optional: damaged ones are
 * skipped and noted.
 */
enum status acpi_read(const struct phys_reader *mem, const struct acpi_root *root, struct acpi_info *out,
		      struct error *err) MUST_CHECK;

/* The override for ISA interrupt @irq, NULL when it is wired one to one, edge, active high. */
const struct acpi_override *acpi_override_of(const struct acpi_info *info, uint8_t irq);

#endif
