/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI functions and their configuration space. The boot firmware has numbered buses and given out addresses and
 * interrupt lines; nothing here does that. Pure C: how registers are reached is passed in.
 *
 * Sources: PCI Local Bus Specification 3.0, 3.2.2.3.2 and chapter 6; PCI-to-PCI Bridge Architecture
 * Specification 1.2, 3.2.
 */
#ifndef CORBEL_FIRMWARE_PCI_H
#define CORBEL_FIRMWARE_PCI_H

#include <stdbool.h>
#include <stdint.h>

#define PCI_COMMAND_IO 0x0001u
#define PCI_COMMAND_MEMORY 0x0002u
#define PCI_COMMAND_MASTER 0x0004u

#define PCI_CLASS_IDE 0x0101u
#define PCI_CLASS_ETHERNET 0x0200u

#define PCI_NO_LINE 0xffu
#define PCI_NAME_MAX 8u

/* To configuration space: bus << 16, device << 11, function << 8, and the register, a multiple of 4. */
struct pci_access {
	uint32_t (*read)(uint32_t at);
	void (*write)(uint32_t at, uint32_t value);
};

/* By the first mechanism, which every PC has: two ports, that one CPU at a time may use. Boot only, on the boot CPU. */
extern const struct pci_access pci_ports;

struct pci_function {
	const struct pci_access *by;
	uint8_t bus, device, function;
	uint8_t interface;   /* of its class */
	uint16_t class;      /* PCI_CLASS_* */
	uint16_t vendor, id;
};

/* Zeroed at the beginning but for @by. */
struct pci_walk {
	const struct pci_access *by;
	unsigned at, last_bus;
};

/* The next function of the machine; false: there are no more. */
bool pci_next(struct pci_walk *w, struct pci_function *out);

/* 32 bits at @reg, a multiple of 4. */
uint32_t pci_read(const struct pci_function *f, unsigned reg);
void pci_write(const struct pci_function *f, unsigned reg, uint32_t value);

/* Its PCI_COMMAND_* of @change become those of @to. */
void pci_command(const struct pci_function *f, uint32_t change, uint32_t to);

/* The first port, or the address, that @bar has been given; 0: none, or it is of the other kind. */
uint16_t pci_port_bar(const struct pci_function *f, unsigned bar);
uint64_t pci_memory_bar(const struct pci_function *f, unsigned bar);

/* The ISA line that its interrupt was routed to, PCI_NO_LINE: to none. */
uint8_t pci_line(const struct pci_function *f);

/* "00:02.0" */
void pci_name(const struct pci_function *f, char out[PCI_NAME_MAX]);

#endif
