/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's network interfaces: those on PCI that there is a driver for, in the order in which they are found.
 */
#ifndef CORBEL_FIRMWARE_NIC_H
#define CORBEL_FIRMWARE_NIC_H

#include <stdbool.h>
#include <stddef.h>

#include "io/dma.h"
#include "io/nic.h"

#define NICS_MAX 4u

/*
 * Looks for interfaces, which stay, and starts them, with memory of @alloc: zeroed, aligned to a page, in reach of
 * @dma, NULL when there is none. Boot only: it waits for them, two seconds at most for one that does not answer, and
 * lets interrupts come to see whether theirs do. What is found is logged.
 */
void nic_probe(const struct dma *dma, void *(*alloc)(size_t bytes));
/* The interface at @index of those found, NULL: no more. */
struct nic *nic_at(unsigned index);
/* Whether it interrupts; else nic_ops.interrupts is without effect, and its owner polls. */
bool nic_has_interrupts(unsigned index);

#endif
