/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between configuration space (vpci.c), the way from an address to a base address
 * register (vpci_window.c) and MSI-X (vpci_msix.c).
 */
#ifndef CORBEL_GUEST_VPCI_INTERNAL_H
#define CORBEL_GUEST_VPCI_INTERNAL_H

#include "guest/vpci.h"
#include "lib/bits.h"

/* After command or base address registers of @f were written: what its BARs decode now. */
void vpci_decode_update(struct vpci_function *f);
/* After command or message control of @f were written: sends what is pending and may go. */
void vpci_msix_update(struct vpci_function *f);
/* Table and pending bits as after power-on. */
void vpci_msix_init(struct vpci_function *f, unsigned vectors);

void vpci_windows_init(struct vpci *bus, struct vpci_high high);
/* Gives the BARs of @f places in the windows. */
MUST_CHECK enum status vpci_place(struct vpci *bus, struct vpci_function *f, struct error *err);

static inline bool vpci_overlaps(unsigned offset, unsigned size, unsigned start, unsigned length)
{
	return offset < start + length && start < offset + size;
}

#endif
