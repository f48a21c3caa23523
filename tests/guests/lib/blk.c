/* SPDX-License-Identifier: Apache-2.0 */
/* See blk.h. Registers and structures are those of virtio 1.2, 4.1.4, and of PCI 3.0, 6.1 and 6.8.2. */
#include "tests/guests/lib/blk.h"

#include <string.h>

#include "lib/bits.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"

/* PCI by the first configuration mechanism. */
#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define PCI_ENABLE BIT(31)
#define PCI_SLOTS 32u
#define PCI_COMMAND 0x04u
#define PCI_COMMAND_ALL 0x7u /* ports, memory, master */
#define PCI_BAR0 0x10u
#define PCI_CAPABILITIES 0x34u
#define PCI_BLOCK 0x10421af4u

#define CAP_MSIX 0x11u
#define CAP_VENDOR 0x09u
#define CFG_COMMON 1u
#define CFG_NOTIFY 2u
#define CFG_DEVICE 4u
#define MSIX_ENABLE BIT(31)
#define MSI_ADDRESS 0xfee00000u
#define APIC_ID_SHIFT 24 /* of an xAPIC's register */
#define MSI_ID_SHIFT 12

/* The common configuration. */
enum {
	C_DEVICE_SELECT = 0, C_DEVICE_FEATURES = 4, C_DRIVER_SELECT = 8, C_DRIVER_FEATURES = 12, C_STATUS = 20,
	C_QUEUE_SELECT = 22, C_QUEUE_SIZE = 24, C_QUEUE_VECTOR = 26, C_QUEUE_ENABLE = 28, C_QUEUE_DESC = 32,
	C_QUEUE_DRIVER = 40, C_QUEUE_DEVICE = 48
};
#define STATUS_ACKNOWLEDGE 1u
#define STATUS_DRIVER 2u
#define STATUS_DRIVER_OK 4u
#define STATUS_FEATURES_OK 8u
#define F_INDIRECT BIT(28)
#define F_VERSION_1 BIT(32)

#define DESC_NEXT 1u
#define DESC_WRITE 2u
#define DESC_INDIRECT 4u
#define USED_NO_NOTIFY 1u

/* ---- PCI ---- */

static uint32_t pci_read(unsigned slot, unsigned reg)
{
	out32(PCI_ADDRESS, (uint32_t)PCI_ENABLE | slot << 11 | (reg & ~3u));
	return in32(PCI_DATA);
}

static void pci_write(unsigned slot, unsigned reg, uint32_t value)
{
	out32(PCI_ADDRESS, (uint32_t)PCI_ENABLE | slot << 11 | reg);
	out32(PCI_DATA, value);
}

static uint8_t pci_read8(unsigned slot, unsigned reg) { return (uint8_t)(pci_read(slot, reg) >> (reg & 3) * 8); }

static bool find(unsigned index, unsigned *slot)
{
	for (*slot = 0; *slot < PCI_SLOTS; ++*slot)
		if (pci_read(*slot, 0) == PCI_BLOCK && index-- == 0)
			return true;
	return false;
}

static uint64_t bar(unsigned slot, unsigned number, bool *ports)
{
	uint32_t low = pci_read(slot, PCI_BAR0 + 4 * number);
	uint64_t at;

	*ports = low & 1;
	if (*ports)
		return low & ~3u;
	at = low & ~15u;
	if (low & 4)
		at |= (uint64_t)pci_read(slot, PCI_BAR0 + 4 * number + 4) << 32;
	if (at >> 32)
		map_identity(at, 0x10000);
	return at;
}

static void take_notify(struct blk *b, uint64_t at, bool ports)
{
	if (b->notify_port || b->notify)
		return; /* the first of a kind is the best: 4.1.4.1 */
	if (ports)
		b->notify_port = (uint16_t)at;
	else
		b->notify = (volatile uint8_t *)at;
}

static void take_structure(struct blk *b, unsigned slot, unsigned cap)
{
	unsigned type = pci_read8(slot, cap + 3), number = pci_read8(slot, cap + 4);
	bool ports;
	uint64_t at;

	if (type != CFG_COMMON && type != CFG_NOTIFY && type != CFG_DEVICE)
		return;
	at = bar(slot, number, &ports) + pci_read(slot, cap + 8);
	if (type == CFG_NOTIFY)
		take_notify(b, at, ports);
	else if (type == CFG_COMMON)
		b->common = (volatile uint8_t *)at;
	else
		b->device = (volatile uint8_t *)at;
}

/* Table entry 0 is the queue's. */
static void take_msix(unsigned slot, unsigned cap, uint8_t vector)
{
	uint32_t where = pci_read(slot, cap + 4);
	bool ports;
	volatile uint32_t *entry = (volatile uint32_t *)(bar(slot, where & 7, &ports) + (where & ~7u));

	CHECK(!ports, "the MSI-X table lies in ports");
	entry[0] = MSI_ADDRESS | apic_read(APIC_REG_ID) >> APIC_ID_SHIFT << MSI_ID_SHIFT;
	entry[1] = 0;
	entry[2] = vector;
	entry[3] = 0;
	pci_write(slot, cap, pci_read(slot, cap) | (uint32_t)MSIX_ENABLE);
}

static void take_capabilities(struct blk *b, unsigned slot, uint8_t vector)
{
	for (unsigned cap = pci_read8(slot, PCI_CAPABILITIES); cap; cap = pci_read8(slot, cap + 1)) {
		if (pci_read8(slot, cap) == CAP_VENDOR)
			take_structure(b, slot, cap);
		else if (pci_read8(slot, cap) == CAP_MSIX)
			take_msix(slot, cap, vector);
	}
	CHECK(b->common && b->device && (b->notify || b->notify_port), "a virtio structure is missing");
}

/* ---- the device ---- */

static void put8(struct blk *b, unsigned at, unsigned v) { b->common[at] = (uint8_t)v; }
static void put16(struct blk *b, unsigned at, unsigned v) { *(volatile uint16_t *)(b->common + at) = (uint16_t)v; }
static void put32(struct blk *b, unsigned at, uint64_t v) { *(volatile uint32_t *)(b->common + at) = (uint32_t)v; }
static uint32_t read32(struct blk *b, unsigned at) { return *(volatile uint32_t *)(b->common + at); }

static void put_address(struct blk *b, unsigned at, const void *p)
{
	put32(b, at, (uint64_t)p);
	put32(b, at + 4, (uint64_t)p >> 32);
}

static void negotiate(struct blk *b, uint64_t wanted)
{
	uint64_t offered;

	put32(b, C_DEVICE_SELECT, 0);
	offered = read32(b, C_DEVICE_FEATURES);
	put32(b, C_DEVICE_SELECT, 1);
	offered |= (uint64_t)read32(b, C_DEVICE_FEATURES) << 32;
	CHECK((offered & (F_VERSION_1 | F_INDIRECT)) == (F_VERSION_1 | F_INDIRECT), "it offers 0x%llx",
	      (unsigned long long)offered);
	b->features = offered & (wanted | F_VERSION_1 | F_INDIRECT);
	put32(b, C_DRIVER_SELECT, 0);
	put32(b, C_DRIVER_FEATURES, b->features);
	put32(b, C_DRIVER_SELECT, 1);
	put32(b, C_DRIVER_FEATURES, b->features >> 32);
	put8(b, C_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
	CHECK(b->common[C_STATUS] & STATUS_FEATURES_OK, "the features are refused");
}

static void make_queue(struct blk *b)
{
	put16(b, C_QUEUE_SELECT, 0);
	put16(b, C_QUEUE_SIZE, BLK_SLOTS);
	put16(b, C_QUEUE_VECTOR, 0);
	put_address(b, C_QUEUE_DESC, b->desc);
	put_address(b, C_QUEUE_DRIVER, &b->avail);
	put_address(b, C_QUEUE_DEVICE, &b->used);
	put16(b, C_QUEUE_ENABLE, 1);
}

bool blk_open(struct blk *b, unsigned index, uint8_t vector, uint64_t features)
{
	unsigned slot;

	if (!find(index, &slot))
		return false;
	memset(b, 0, sizeof *b);
	pci_write(slot, PCI_COMMAND, PCI_COMMAND_ALL);
	take_capabilities(b, slot, vector);
	put8(b, C_STATUS, 0);
	while (b->common[C_STATUS] != 0)
		cpu_pause();
	put8(b, C_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	negotiate(b, features);
	make_queue(b);
	b->free = (1u << BLK_SLOTS) - 1;
	put8(b, C_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
	b->sectors = ((volatile uint32_t *)b->device)[0] | (uint64_t)((volatile uint32_t *)b->device)[1] << 32;
	return true;
}

unsigned blk_free(const struct blk *b) { return b->free ? bit_lowest(b->free) : BLK_SLOTS; }

/* A chain: header, data that the device writes when @in, status. */
static void offer(struct blk *b, unsigned slot, void *data, uint32_t bytes, bool in)
{
	struct blk_slot *s = &b->slots[slot];
	unsigned n = 0;

	s->status = BLK_NOT_DONE;
	s->table[n++] = (struct blk_desc){(uint64_t)&s->header, sizeof s->header, DESC_NEXT, 1};
	if (bytes)
		s->table[n++] = (struct blk_desc){(uint64_t)data, bytes, (uint16_t)(DESC_NEXT | (in ? DESC_WRITE : 0)), 2};
	s->table[n++] = (struct blk_desc){(uint64_t)&s->status, 1, DESC_WRITE, 0};
	b->desc[slot] = (struct blk_desc){(uint64_t)s->table, n * sizeof s->table[0], DESC_INDIRECT, 0};
	b->free &= ~(1u << slot);
	b->avail.ring[b->offered++ % BLK_SLOTS] = (uint16_t)slot;
}

void blk_ask(struct blk *b, unsigned slot, enum blk_type type, uint64_t sector, void *data, uint32_t bytes)
{
	b->slots[slot].header.type = type;
	b->slots[slot].header.sector = sector;
	offer(b, slot, data, bytes, type == BLK_IN);
}

void blk_ask_range(struct blk *b, unsigned slot, enum blk_type type, uint64_t sector, uint32_t count)
{
	struct blk_slot *s = &b->slots[slot];

	s->range = (struct blk_range){sector, count, 0};
	s->header.type = type;
	s->header.sector = 0;
	offer(b, slot, &s->range, sizeof s->range, false);
}

void blk_kick(struct blk *b)
{
	__atomic_store_n(&b->avail.index, b->offered, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&b->used.flags, __ATOMIC_RELAXED) & USED_NO_NOTIFY)
		return;
	if (b->notify_port)
		out16(b->notify_port, 0);
	else
		*(volatile uint16_t *)b->notify = 0;
}

unsigned blk_take(struct blk *b)
{
	unsigned slot;

	if (__atomic_load_n(&b->used.index, __ATOMIC_ACQUIRE) == b->seen)
		return BLK_SLOTS;
	slot = b->used.ring[b->seen++ % BLK_SLOTS].head;
	CHECK(slot < BLK_SLOTS && !(b->free & 1u << slot), "slot %u has ended, which was not under way", slot);
	CHECK(b->slots[slot].status != BLK_NOT_DONE, "slot %u has ended without a status", slot);
	b->free |= 1u << slot;
	return slot;
}

/* Interrupts are off but while it sleeps, so none is lost between looking and sleeping. */
unsigned blk_wait(struct blk *b)
{
	unsigned slot;

	while ((slot = blk_take(b)) == BLK_SLOTS)
		halt();
	return slot;
}
