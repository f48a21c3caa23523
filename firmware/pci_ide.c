/* SPDX-License-Identifier: Apache-2.0 */
/* Source: PCI IDE Controller Specification 1.0 (the programming interface byte). */
#include "firmware/pci_ide.h"

#include "firmware/pci.h"
#include "lib/log.h"

#define IDE_BAR 4u
#define IDE_PRIMARY_NATIVE 0x01u
#define IDE_SECONDARY_NATIVE 0x04u
#define IDE_BUS_MASTER 0x80u

/* Its bus master's ports, 0: it is something else, or has none. */
static uint16_t look_at(const struct pci_function *f)
{
	char name[PCI_NAME_MAX];
	uint16_t base;

	if (f->class != PCI_CLASS_IDE || !(f->interface & IDE_BUS_MASTER) ||
	    f->interface & (IDE_PRIMARY_NATIVE | IDE_SECONDARY_NATIVE))
		return 0;
	base = pci_port_bar(f, IDE_BAR);
	if (!base)
		return 0;
	pci_command(f, 0, PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	pci_name(f, name);
	log_info("disk: bus master at 0x%x (PCI %s, %04x:%04x)", base, name, f->vendor, f->id);
	return base;
}

uint16_t pci_ide_find(void)
{
	struct pci_walk walk = {.by = &pci_ports};
	struct pci_function f;
	uint16_t base = 0;

	while (!base && pci_next(&walk, &f))
		base = look_at(&f);
	return base;
}
