/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI transport of virtio 1.2 (4.1), modern only, over the device of
 * io/virtio.h. Interrupts are MSI-X alone: there is no interrupt pin. Each queue
 * has a notify address of its own, twice: one in a memory BAR and one in an I/O
 * BAR. Drivers take the first of several structures of a kind (4.1.4.1), and the
 * ports come first: such an exit names port, width and length by itself, where a
 * memory access has to be decoded.
 */
#ifndef CORBEL_GUEST_VIRTIO_PCI_H
#define CORBEL_GUEST_VIRTIO_PCI_H

#include "guest/vm_io.h"
#include "guest/vpci.h"

struct virtio_device;

/* Regions of the memory BAR. */
#define VIRTIO_PCI_COMMON_AT 0x0000u
#define VIRTIO_PCI_ISR_AT 0x1000u
#define VIRTIO_PCI_DEVICE_AT 0x2000u
#define VIRTIO_PCI_NOTIFY_AT 0x3000u
#define VIRTIO_PCI_REGION 0x1000u
#define VIRTIO_PCI_BAR_BYTES 0x4000u
#define VIRTIO_PCI_NOTIFY_STEP 4u /* bytes between the notify addresses of two queues */

#define VIRTIO_PCI_ISR_QUEUE BIT(0)
#define VIRTIO_PCI_ISR_CONFIG BIT(1)

/* Base address registers. */
#define VIRTIO_PCI_IO_BAR 0u   /* notify */
#define VIRTIO_PCI_MSIX_BAR 1u
#define VIRTIO_PCI_MEMORY_BAR 4u

struct virtio_pci {
	struct vpci_function function;
	struct virtio_device *dev;
	struct device memory, ports; /* behind the memory and the I/O BAR */
	/* What follows is under the device's lock. */
	unsigned access_cap;         /* offset of the configuration access capability (4.1.4.9) */
	uint32_t device_select, driver_select; /* which 32 feature bits; any value */
	uint16_t queue_select;
	uint8_t isr;                 /* VIRTIO_PCI_ISR_* */
	uint8_t generation;          /* of the configuration, when its interrupt bit was set last */
	uint64_t kicks_port, kicks_memory;
	struct vm_io_work work;
};

/*
 * Makes of the zeroed @p a function of @bus for @dev, which is initialised, and gives @dev its transport: it interrupts
 * by MSI-X and leaves work to @io. ST_OVER_LIMIT with a sentence when bus or worker have no room.
 */
MUST_CHECK enum status virtio_pci_plug(struct virtio_pci *p, struct vpci *bus, struct vm_io *io,
				       struct virtio_device *dev, struct error *err);

#endif
