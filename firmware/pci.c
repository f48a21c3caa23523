/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buses are walked in the order of their numbers: a bridge has a lower one than what is behind it, so the last bus to
 * look at is known in time.
 */
#include "firmware/pci.h"

#include "lib/bits.h"
#include "lib/format.h"

#define PCI_FUNCTIONS 8u

#define PCI_ID 0x00
#define PCI_COMMAND 0x04
#define PCI_STATUS_CLEAR 0xffff0000u /* the upper half of that register is cleared where 1 is written */
#define PCI_CLASS 0x08
#define PCI_HEADER 0x0c
#define PCI_HEADER_FUNCTIONS 0x00800000u
#define PCI_HEADER_TYPE(v) FIELD(v, 22, 16)
#define PCI_HEADER_BRIDGE 1u
#define PCI_BAR 0x10
#define PCI_BARS 6u
#define PCI_BAR_IO 0x1u
#define PCI_BAR_IO_MASK 0xfffcu
#define PCI_BAR_WIDE(v) (FIELD(v, 2, 1) == 2)
#define PCI_BAR_MEMORY_MASK 0xfffffff0u
#define PCI_BUSES 0x18 /* of a bridge */
#define PCI_BUSES_LAST(v) ((unsigned)FIELD(v, 23, 16))
#define PCI_INTERRUPT 0x3c
#define PCI_INTERRUPT_LINE(v) ((uint8_t)(v))
#define PCI_INTERRUPT_PIN(v) FIELD(v, 15, 8)
#define ISA_LINES 16u

static uint32_t place(const struct pci_function *f, unsigned reg)
{
	return (uint32_t)f->bus << 16 | (uint32_t)f->device << 11 | (uint32_t)f->function << 8 | reg;
}

uint32_t pci_read(const struct pci_function *f, unsigned reg) { return f->by->read(place(f, reg)); }

void pci_write(const struct pci_function *f, unsigned reg, uint32_t value) { f->by->write(place(f, reg), value); }

/* What the walk goes on with behind the function at @at, whose header is @header. */
static void go_on(struct pci_walk *w, const struct pci_function *f, uint32_t header)
{
	if (f->function == 0 && !(header & PCI_HEADER_FUNCTIONS))
		w->at += PCI_FUNCTIONS - 1;
	if (PCI_HEADER_TYPE(header) == PCI_HEADER_BRIDGE)
		w->last_bus = MAX(w->last_bus, PCI_BUSES_LAST(pci_read(f, PCI_BUSES)));
}

bool pci_next(struct pci_walk *w, struct pci_function *out)
{
	while (w->at >> 8 <= w->last_bus) {
		struct pci_function f = {.by = w->by, .bus = (uint8_t)(w->at >> 8), .device = w->at >> 3 & 31,
					 .function = w->at & 7};
		uint32_t id = pci_read(&f, PCI_ID), class;

		w->at++;
		if (id == UINT32_MAX) {
			w->at += f.function == 0 ? PCI_FUNCTIONS - 1 : 0;
			continue;
		}
		class = pci_read(&f, PCI_CLASS);
		f.class = (uint16_t)(class >> 16);
		f.interface = (uint8_t)(class >> 8);
		f.vendor = (uint16_t)id;
		f.id = (uint16_t)(id >> 16);
		go_on(w, &f, pci_read(&f, PCI_HEADER));
		*out = f;
		return true;
	}
	return false;
}

void pci_command(const struct pci_function *f, uint32_t change, uint32_t to)
{
	uint32_t command = pci_read(f, PCI_COMMAND) & ~PCI_STATUS_CLEAR;

	pci_write(f, PCI_COMMAND, (command & ~change) | to);
}

static uint32_t bar_at(const struct pci_function *f, unsigned bar) { return pci_read(f, PCI_BAR + 4 * bar); }

uint16_t pci_port_bar(const struct pci_function *f, unsigned bar)
{
	uint32_t v = bar_at(f, bar);

	return v & PCI_BAR_IO ? (uint16_t)(v & PCI_BAR_IO_MASK) : 0;
}

uint64_t pci_memory_bar(const struct pci_function *f, unsigned bar)
{
	uint32_t v = bar_at(f, bar);
	uint64_t high = PCI_BAR_WIDE(v) && bar + 1 < PCI_BARS ? bar_at(f, bar + 1) : 0;

	return v & PCI_BAR_IO ? 0 : high << 32 | (v & PCI_BAR_MEMORY_MASK);
}

uint8_t pci_line(const struct pci_function *f)
{
	uint32_t v = pci_read(f, PCI_INTERRUPT);
	uint8_t line = PCI_INTERRUPT_LINE(v);

	return PCI_INTERRUPT_PIN(v) == 0 || line == 0 || line >= ISA_LINES ? PCI_NO_LINE : line;
}

void pci_name(const struct pci_function *f, char out[PCI_NAME_MAX])
{
	format(out, PCI_NAME_MAX, "%02x:%02x.%u", f->bus, f->device, f->function);
}
