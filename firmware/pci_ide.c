/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources: PCI Local Bus Specification 3.0, 3.2.2.3.2 (mechanism 1), 6.1 and 6.2.5.1;
 * PCI IDE Controller Specification 1.0 (the programming interface byte).
 */
#include "firmware/pci_ide.h"

#include "lib/bits.h"
#include "lib/log.h"
#include "lib/x86_asm.h"

#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define PCI_ENABLE 0x80000000u
#define PCI_DEVICES 32u
#define PCI_FUNCTIONS 8u

#define PCI_ID 0x00
#define PCI_COMMAND 0x04
#define PCI_COMMAND_IO 0x0001u
#define PCI_COMMAND_MASTER 0x0004u
#define PCI_STATUS_CLEAR 0xffff0000u /* the upper half of that register is cleared where 1 is written */
#define PCI_CLASS 0x08
#define PCI_CLASS_IDE 0x0101u
#define PCI_HEADER 0x0c
#define PCI_HEADER_FUNCTIONS 0x00800000u
#define PCI_BAR4 0x20
#define PCI_BAR_IO 0x1u
#define PCI_BAR_IO_MASK 0xfffcu

#define IDE_PRIMARY_NATIVE 0x01u
#define IDE_SECONDARY_NATIVE 0x04u
#define IDE_BUS_MASTER 0x80u

static void choose(unsigned device, unsigned function, unsigned reg)
{
	out32(PCI_ADDRESS, PCI_ENABLE | device << 11 | function << 8 | reg);
}

static uint32_t pci_read(unsigned device, unsigned function, unsigned reg)
{
	choose(device, function, reg);
	return in32(PCI_DATA);
}

static void pci_write(unsigned device, unsigned function, unsigned reg, uint32_t value)
{
	choose(device, function, reg);
	out32(PCI_DATA, value);
}

/* Its bus master's ports, 0: it is something else, or has none. */
static uint16_t look_at(unsigned device, unsigned function)
{
	uint32_t class = pci_read(device, function, PCI_CLASS), bar, command;
	uint8_t interface = (uint8_t)(class >> 8);

	if (class >> 16 != PCI_CLASS_IDE || !(interface & IDE_BUS_MASTER) ||
	    interface & (IDE_PRIMARY_NATIVE | IDE_SECONDARY_NATIVE))
		return 0;
	bar = pci_read(device, function, PCI_BAR4);
	if (!(bar & PCI_BAR_IO) || !(bar & PCI_BAR_IO_MASK))
		return 0;
	command = pci_read(device, function, PCI_COMMAND);
	pci_write(device, function, PCI_COMMAND,
		  (command & ~PCI_STATUS_CLEAR) | PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	log_info("disk: bus master at 0x%x (PCI 00:%02x.%u, %04x:%04x)", (unsigned)(bar & PCI_BAR_IO_MASK), device, function,
		 pci_read(device, function, PCI_ID) & 0xffff, pci_read(device, function, PCI_ID) >> 16);
	return (uint16_t)(bar & PCI_BAR_IO_MASK);
}

uint16_t pci_ide_find(void)
{
	for (unsigned device = 0; device < PCI_DEVICES; device++) {
		unsigned functions = pci_read(device, 0, PCI_HEADER) & PCI_HEADER_FUNCTIONS ? PCI_FUNCTIONS : 1;

		if (pci_read(device, 0, PCI_ID) == UINT32_MAX)
			continue;
		for (unsigned f = 0; f < functions; f++) {
			uint16_t base = look_at(device, f);

			if (base)
				return base;
		}
	}
	return 0;
}
