/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration space by two ports: PCI Local Bus Specification 3.0, 3.2.2.3.2. */
#include "firmware/pci.h"
#include "lib/x86_asm.h"

#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define PCI_ENABLE 0x80000000u

static uint32_t read(uint32_t at)
{
	out32(PCI_ADDRESS, PCI_ENABLE | at);
	return in32(PCI_DATA);
}

static void write(uint32_t at, uint32_t value)
{
	out32(PCI_ADDRESS, PCI_ENABLE | at);
	out32(PCI_DATA, value);
}

const struct pci_access pci_ports = {read, write};
