/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two registers reach all others: select and window (82093AA data sheet, 3.0).
 */
#include "firmware/ioapic.h"

#include "firmware/paging.h"
#include "lib/bits.h"
#include "lib/log.h"
#include "lib/x86_asm.h"

#define IOAPIC_SELECT 0x00
#define IOAPIC_WINDOW 0x10
#define IOAPIC_BYTES 0x20
#define IOAPIC_VERSION 0x01
#define IOAPIC_REDIRECTION 0x10 /* two registers a line */
#define REDIRECTION_ACTIVE_LOW (1u << 13)
#define REDIRECTION_LEVEL (1u << 15)
#define REDIRECTION_MASKED (1u << 16)
#define REDIRECTION_DEST_SHIFT 24
#define XAPIC_DEST_MAX 0xfeu

#define PIC1_COMMAND 0x20
#define PIC1_DATA 0x21
#define PIC2_COMMAND 0xa0
#define PIC2_DATA 0xa1
#define ICW1_INIT_ICW4 0x11
#define ICW2_PIC1 0x20 /* vectors 32-39: only spurious ones can ever come */
#define ICW2_PIC2 0x28
#define ICW3_PIC1_CASCADE 0x04
#define ICW3_PIC2_CASCADE 0x02
#define ICW4_8086 0x01
#define PIC_MASK_ALL 0xff

struct ioapic {
	volatile uint8_t *registers;
	uint32_t gsi_base, lines;
};

static struct ioapic ioapics[ACPI_IOAPICS_MAX];
static unsigned ioapic_count;
static const struct acpi_info *tables;

static uint32_t ioapic_read(const struct ioapic *io, uint32_t reg)
{
	mmio_write32(io->registers + IOAPIC_SELECT, reg);
	return mmio_read32(io->registers + IOAPIC_WINDOW);
}

static void ioapic_write(const struct ioapic *io, uint32_t reg, uint32_t value)
{
	mmio_write32(io->registers + IOAPIC_SELECT, reg);
	mmio_write32(io->registers + IOAPIC_WINDOW, value);
}

static void mask_8259(void)
{
	out8(PIC1_COMMAND, ICW1_INIT_ICW4);
	out8(PIC2_COMMAND, ICW1_INIT_ICW4);
	out8(PIC1_DATA, ICW2_PIC1);
	out8(PIC2_DATA, ICW2_PIC2);
	out8(PIC1_DATA, ICW3_PIC1_CASCADE);
	out8(PIC2_DATA, ICW3_PIC2_CASCADE);
	out8(PIC1_DATA, ICW4_8086);
	out8(PIC2_DATA, ICW4_8086);
	out8(PIC1_DATA, PIC_MASK_ALL);
	out8(PIC2_DATA, PIC_MASK_ALL);
}

enum status ioapic_init(const struct acpi_info *acpi, struct error *err)
{
	tables = acpi;
	if (!acpi->present || acpi->has_8259)
		mask_8259();
	for (unsigned i = 0; i < acpi->ioapic_count; i++) {
		struct ioapic *io = &ioapics[ioapic_count];

		io->registers = mmio_map(hpa(acpi->ioapic[i].address), IOAPIC_BYTES);
		if (!io->registers)
			return fail(err, ST_NO_MEMORY, "I/O APIC %u: its registers at 0x%x cannot be mapped",
				    acpi->ioapic[i].id, acpi->ioapic[i].address);
		io->gsi_base = acpi->ioapic[i].gsi_base;
		io->lines = FIELD(ioapic_read(io, IOAPIC_VERSION), 23, 16) + 1;
		for (uint32_t line = 0; line < io->lines; line++)
			ioapic_write(io, IOAPIC_REDIRECTION + 2 * line, REDIRECTION_MASKED);
		ioapic_count++;
		log_info("I/O APIC %u: %u lines from %u", acpi->ioapic[i].id, io->lines, io->gsi_base);
	}
	if (ioapic_count == 0)
		log_warn("no I/O APIC: no device interrupts");
	return ST_OK;
}

static void set_line(const struct ioapic *io, uint32_t line, uint32_t low, uint32_t apic_id)
{
	ioapic_write(io, IOAPIC_REDIRECTION + 2 * line, REDIRECTION_MASKED);
	ioapic_write(io, IOAPIC_REDIRECTION + 2 * line + 1, apic_id << REDIRECTION_DEST_SHIFT);
	ioapic_write(io, IOAPIC_REDIRECTION + 2 * line, low);
}

/* The I/O APIC of ISA line @irq, and the line's number there; NULL: none has it. */
static const struct ioapic *find(uint8_t irq, uint32_t *line)
{
	const struct acpi_override *o = tables ? acpi_override_of(tables, irq) : NULL;
	uint32_t gsi = o ? o->gsi : irq;

	for (unsigned i = 0; i < ioapic_count; i++) {
		const struct ioapic *io = &ioapics[i];

		if (gsi < io->gsi_base || gsi - io->gsi_base >= io->lines)
			continue;
		*line = gsi - io->gsi_base;
		return io;
	}
	return NULL;
}

static enum status route(uint8_t irq, uint8_t vector, uint32_t apic_id, uint32_t flags)
{
	uint32_t line;
	const struct ioapic *io = find(irq, &line);

	if (apic_id > XAPIC_DEST_MAX)
		return ST_UNSUPPORTED; /* needs interrupt remapping */
	if (!io)
		return ST_NOT_FOUND;
	set_line(io, line, flags | vector, apic_id);
	return ST_OK;
}

/* What the MADT says of @irq's polarity and trigger, else @usual. */
static uint32_t flags_of(uint8_t irq, uint32_t usual)
{
	const struct acpi_override *o = tables ? acpi_override_of(tables, irq) : NULL;
	uint32_t flags = usual;

	if (o && o->inti & ACPI_INTI_POLARITY_MASK) {
		bool low = (o->inti & ACPI_INTI_POLARITY_MASK) == ACPI_INTI_ACTIVE_LOW;

		flags = (flags & ~REDIRECTION_ACTIVE_LOW) | (low ? REDIRECTION_ACTIVE_LOW : 0);
	}
	if (o && o->inti & ACPI_INTI_TRIGGER_MASK) {
		bool level = (o->inti & ACPI_INTI_TRIGGER_MASK) == ACPI_INTI_LEVEL;

		flags = (flags & ~REDIRECTION_LEVEL) | (level ? REDIRECTION_LEVEL : 0);
	}
	return flags;
}

enum status ioapic_route_isa(uint8_t irq, uint8_t vector, uint32_t apic_id)
{
	return route(irq, vector, apic_id, flags_of(irq, 0));
}

enum status ioapic_route_pci(uint8_t line, uint8_t vector, uint32_t apic_id)
{
	return route(line, vector, apic_id, flags_of(line, REDIRECTION_ACTIVE_LOW | REDIRECTION_LEVEL));
}

void ioapic_mask(uint8_t irq)
{
	uint32_t line;
	const struct ioapic *io = find(irq, &line);

	if (io)
		ioapic_write(io, IOAPIC_REDIRECTION + 2 * line, REDIRECTION_MASKED);
}
