/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's PCI bus 0 (PCI Local Bus 3.0): up to 32 functions with type 0
 * headers, reached through ports 0xcf8/0xcfc and through ECAM (PCI Firmware 3.2,
 * 4.1). A function is a block of bytes with a mask of those bits that the guest
 * may write, so that an access of any width at any offset has one meaning; what
 * a write changed (decoding, base addresses, MSI-X) is derived from the bytes
 * afterwards.
 *
 * The host bridge claims three fixed windows of the VM's buses, and forwards what
 * falls into them to the base address registers that lie there; what the guest
 * moves out of the windows is decoded by nobody. So the VM's buses never change
 * while it runs. A register's base is one word, which says also that it is off:
 * a look-up takes no lock, and sees each register where it was or where it is.
 *
 * Configuration space is under the VM's lock. What lies behind a base address
 * register is called without it, by several vcpus at once.
 */
#ifndef CORBEL_GUEST_VPCI_H
#define CORBEL_GUEST_VPCI_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/bus.h"
#include "guest/device.h"
#include "lib/error.h"
#include "lib/lock.h"

#define VPCI_SLOTS 32u
#define VPCI_BARS 6u
#define VPCI_CONFIG_BYTES 256u
#define VPCI_ECAM_FUNCTION_BYTES 4096u /* ECAM gives each function so much; what is beyond its 256 bytes reads 0 */
#define VPCI_DECODES_MAX 64u           /* base address registers on the bus, of memory and of ports each */
#define VPCI_HINTS 32u                 /* a power of two */
#define VPCI_VECTORS_MAX 64u           /* MSI-X vectors of a function */
#define VPCI_IO_BAR_MAX 256u           /* PCI 3.0, 6.2.5.1 */
#define VPCI_PORTS_LEN 8u              /* of the device `ports`: 0xcf8..0xcff */

/* Type 0 header (PCI 3.0, 6.1). */
#define VPCI_VENDOR 0x00u
#define VPCI_DEVICE 0x02u
#define VPCI_COMMAND 0x04u
#define VPCI_COMMAND_IO BIT(0)
#define VPCI_COMMAND_MEMORY BIT(1)
#define VPCI_COMMAND_MASTER BIT(2)
#define VPCI_COMMAND_INTX_OFF BIT(10)
#define VPCI_STATUS 0x06u
#define VPCI_STATUS_CAPABILITIES BIT(4)
#define VPCI_REVISION 0x08u
#define VPCI_CLASS 0x09u /* interface, subclass, class */
#define VPCI_HEADER_TYPE 0x0eu
#define VPCI_BAR0 0x10u
#define VPCI_BAR_IO BIT(0)
#define VPCI_BAR_64 BIT(2)
#define VPCI_SUBSYSTEM_VENDOR 0x2cu
#define VPCI_SUBSYSTEM 0x2eu
#define VPCI_CAPABILITIES 0x34u
#define VPCI_INTERRUPT_LINE 0x3cu
#define VPCI_INTERRUPT_PIN 0x3du
#define VPCI_HEADER_BYTES 0x40u /* capabilities follow */

/* MSI-X capability (PCI 3.0, 6.8.2). */
#define VPCI_CAP_MSIX 0x11u
#define VPCI_CAP_VENDOR 0x09u
#define VPCI_MSIX_BYTES 12u
#define VPCI_MSIX_CONTROL 2u /* offset in the capability */
#define VPCI_MSIX_TABLE 4u
#define VPCI_MSIX_PBA 8u
#define VPCI_MSIX_ENABLE BIT(15)
#define VPCI_MSIX_MASK_ALL BIT(14)
#define VPCI_MSIX_ENTRY 16u /* bytes of the table for each vector: address, upper half, data, control */
#define VPCI_MSIX_ENTRY_MASKED BIT(0)
#define VPCI_MSIX_PBA_AT 2048u /* in the region that holds both */
#define VPCI_MSIX_REGION 4096u

struct vpci;
struct vpci_function;

enum vpci_space { VPCI_MEMORY, VPCI_IO, VPCI_SPACES };
enum vpci_bar_kind { VPCI_BAR_IO_PORTS, VPCI_BAR_MEMORY32, VPCI_BAR_MEMORY64 };

/* A base address register as look-ups see it. */
struct vpci_decode {
	uint64_t base;        /* of what it decodes; VPCI_NOWHERE: nothing. Atomic; the rest does not change */
	uint64_t size;        /* a power of two */
	struct device *dev;   /* sees offsets from the base on; locks for itself, whatever its own_lock says */
	uint64_t dev_offset;
};
#define VPCI_NOWHERE UINT64_MAX

/* All registers of one address space. */
struct vpci_decodes {
	struct vpci_decode all[VPCI_DECODES_MAX];
	unsigned count;
	unsigned hint_shift;
	uint8_t hints[VPCI_HINTS]; /* index of the one that was found last, by hash of the address; any value is a good one */
	uint64_t next;             /* where vpci_plug() places the next one */
};

/* What the host bridge forwards of one address space. */
struct vpci_window {
	struct device dev;
	uint64_t start, length;    /* 0 bytes: there is none */
	struct vpci_decodes *decodes;
	uint64_t *misses;          /* of the VM's bus that it is on: accesses to nothing; atomic */
};

/* One entry of a function's MSI-X table. */
struct vpci_vector {
	struct lock lock;  /* LOCK_VECTOR; over all of it, and while its message is posted */
	uint32_t control;
	uint64_t address;
	uint32_t data;
	bool pending;      /* raised while it, or the function, was masked */
};

struct vpci_msix {
	struct device dev;   /* table at 0, pending bits at VPCI_MSIX_PBA_AT */
	unsigned count;
	unsigned cap;        /* offset of the capability; 0: there is none */
	uint32_t state;      /* enum vpci_msix_state; atomic */
	uint64_t sent, held; /* messages, and those that waited for an unmask; atomic */
	struct vpci_vector vectors[VPCI_VECTORS_MAX];
};
enum vpci_msix_state { VPCI_MSIX_OFF, VPCI_MSIX_MASKED, VPCI_MSIX_ON };

struct vpci_function_ops {
	const char *name;
	/* The guest is about to read, or has written, @size bytes at @offset of the configuration space. May be NULL. */
	void (*config_read)(struct vpci_function *f, unsigned offset, unsigned size);
	void (*config_written)(struct vpci_function *f, unsigned offset, unsigned size);
};

struct vpci_function {
	struct vpci *bus;
	const struct vpci_function_ops *ops;
	unsigned slot;
	unsigned cap_last, cap_end;      /* offset of the last capability, and where the next one goes */
	struct vpci_decode *bars[VPCI_BARS]; /* NULL: none, or the upper half of the one before */
	struct vpci_msix msix;
	uint8_t config[VPCI_CONFIG_BYTES];
	uint8_t writable[VPCI_CONFIG_BYTES]; /* bits that the guest may write */
};

struct vpci_ids {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint8_t revision;
	uint32_t class; /* class, subclass, interface: 0x018000 is a mass storage controller */
};

struct vpci {
	struct device ports, ecam;        /* under the VM's lock, as is what follows but decodes and vectors */
	struct device *beside;            /* who has what of 0xcf8..0xcff is no configuration access (0xcf9) */
	uint64_t beside_offset;
	uint32_t address;                 /* 0xcf8 */
	struct vpci_function *slots[VPCI_SLOTS];
	struct vpci_function bridge;      /* slot 0 */
	struct vpci_decodes spaces[VPCI_SPACES];
	struct vpci_window io, low, high; /* ports, memory below and above 4 GiB */
	/* A function's interrupt message, by whichever CPU raised it, with the vector's lock held. */
	void (*message)(void *ctx, uint64_t address, uint32_t data);
	/* What vpci_raise_after() and vpci_nudge() call; set by the owner. NULL: messages are always urgent. */
	bool (*message_after)(void *ctx, uint64_t address, uint32_t data, uint64_t gap);
	bool (*nudge)(void *ctx, uint64_t gap);
	void *ctx;
};

struct vpci_high {
	uint64_t start, length; /* 0 bytes: the guest's addresses do not reach */
};
/* The window above 4 GiB, of a guest with @ram_high bytes of RAM there whose physical addresses are below @limit. */
struct vpci_high vpci_high_window(uint64_t ram_high, uint64_t limit);

/* The empty bus with its host bridge. @beside has those accesses of 0xcf8..0xcff that configure nothing. */
void vpci_init(struct vpci *bus, struct vpci_high high, struct device *beside, uint64_t beside_offset,
	       void (*message)(void *ctx, uint64_t address, uint32_t data), void *ctx);
/* Claims ports, ECAM and windows on the VM's buses. The statuses of bus_add(). */
MUST_CHECK enum status vpci_claim(struct vpci *bus, struct bus *pio, struct bus *mmio, struct error *err);

/* ---- building a function, before the VM runs ---- */

/* Makes the zeroed @f a function of @bus, with nothing but its ids; both outlive the VM's run. */
void vpci_function_init(struct vpci *bus, struct vpci_function *f, const struct vpci_function_ops *ops,
			const struct vpci_ids *ids);
/*
 * Base address register @index (a 64-bit one takes the next too) of @size bytes, a power of two: from 4 KiB on for
 * memory, 4 to VPCI_IO_BAR_MAX for ports. @dev is called without the VM's lock.
 */
void vpci_add_bar(struct vpci_function *f, unsigned index, enum vpci_bar_kind kind, uint64_t size, struct device *dev,
		  uint64_t dev_offset);
/* A capability of @size bytes, its two header bytes included, none of them writable; its offset. */
unsigned vpci_add_capability(struct vpci_function *f, uint8_t id, unsigned size);
/* MSI-X with @vectors, table and pending bits in memory BAR @index, which it makes. */
void vpci_add_msix(struct vpci_function *f, unsigned index, unsigned vectors);
/*
 * Puts it into the next free slot, decoding, its base address registers inside the windows as firmware would have
 * placed them. ST_OVER_LIMIT: no slot, or no room in a window.
 */
MUST_CHECK enum status vpci_plug(struct vpci_function *f, struct error *err);

/* ---- at run time ---- */

/*
 * Sends the message of @vector, or keeps it pending while it is masked; lost while MSI-X is off, and for a vector that
 * there is not. Any CPU, masked; a lock of LOCK_IO or before may be held.
 */
void vpci_raise(struct vpci_function *f, unsigned vector);
/*
 * The same, but a processor that runs on another CPU is kicked for it only if the last such kick is @gap host ticks
 * ago. False: it was not, and looks at its next exit, or when vpci_nudge() says so.
 */
bool vpci_raise_after(struct vpci_function *f, unsigned vector, uint64_t gap);
/* Kicks those who still have such a message before them, under the same condition; false: some still have. */
bool vpci_nudge(struct vpci_function *f, uint64_t gap);

/*
 * An access to what BAR @index of @f decodes, wherever that is and whether it decodes or not; all ones, or nothing,
 * where the BAR has no such bytes. @size 1, 2, 4.
 */
uint64_t vpci_bar_read(struct vpci_function *f, unsigned index, uint64_t offset, unsigned size);
void vpci_bar_write(struct vpci_function *f, unsigned index, uint64_t offset, unsigned size, uint64_t value);

/* Reads and writes of configuration space as by ECAM, for tests and tools. @size 1, 2, 4. */
uint32_t vpci_config_read(struct vpci *bus, unsigned slot, unsigned offset, unsigned size);
void vpci_config_write(struct vpci *bus, unsigned slot, unsigned offset, unsigned size, uint32_t value);

#endif
