/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The IDE function of a PC's chipset on PCI: whether it has a bus master, and where.
 */
#ifndef CORBEL_FIRMWARE_PCI_IDE_H
#define CORBEL_FIRMWARE_PCI_IDE_H

#include <stdint.h>

/*
 * First port of the bus master registers, the primary channel's, of the first function whose channels are at the
 * legacy ports; it may master the bus from now on. 0: there is none.
 */
uint16_t pci_ide_find(void);

#endif
