/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration space: how functions are built, how the two ways to it lead to a
 * function's bytes, and what is derived from them after a write. Nothing here
 * depends on the width of an access or on the order in which a guest writes: the
 * sizing of a base address register, for one, is no case of its own, but what
 * comes of bits that cannot be written.
 */
#include "guest/vpci.h"

#include "guest/pc.h"
#include "guest/vpci_internal.h"
#include "lib/addr.h"
#include "lib/assert.h"

#define ABSENT UINT32_MAX

/* 0xcf8 (PCI 3.0, 3.2.2.3.2). */
#define ADDRESS_ENABLE BIT(31)
#define ADDRESS_WRITABLE (ADDRESS_ENABLE | MASK(23, 2))
#define PORT_DATA 4u

#define ECAM_OFFSET(at) ((unsigned)FIELD(at, 11, 0))
#define ECAM_FUNCTION(at) ((unsigned)FIELD(at, 14, 12))
#define ECAM_SLOT(at) ((unsigned)FIELD(at, 19, 15))

/* The generic host bridge that other virtual machines have too; it has no registers of its own. */
static const struct vpci_ids bridge_ids = {.vendor = 0x1b36, .device = 0x0008, .class = 0x060000};
static const struct vpci_function_ops bridge_ops = {.name = "host bridge"};

/* ---- functions ---- */

void vpci_function_init(struct vpci *bus, struct vpci_function *f, const struct vpci_function_ops *ops,
			const struct vpci_ids *ids)
{
	f->bus = bus;
	f->ops = ops;
	f->cap_end = VPCI_HEADER_BYTES;
	put_le16(f->config + VPCI_VENDOR, ids->vendor);
	put_le16(f->config + VPCI_DEVICE, ids->device);
	f->config[VPCI_REVISION] = ids->revision;
	for (unsigned i = 0; i < 3; i++)
		f->config[VPCI_CLASS + i] = (uint8_t)(ids->class >> (i * 8));
	put_le16(f->config + VPCI_SUBSYSTEM_VENDOR, ids->subsystem_vendor);
	put_le16(f->config + VPCI_SUBSYSTEM, ids->subsystem);
	put_le16(f->writable + VPCI_COMMAND, VPCI_COMMAND_MASTER | VPCI_COMMAND_INTX_OFF);
	/* No pin, so that it says nothing; software keeps in it what it likes. */
	f->writable[VPCI_INTERRUPT_LINE] = UINT8_MAX;
}

static struct vpci_decode *new_decode(struct vpci_function *f, enum vpci_bar_kind kind)
{
	struct vpci_decodes *all = &f->bus->spaces[kind == VPCI_BAR_IO_PORTS ? VPCI_IO : VPCI_MEMORY];

	ASSERT(all->count < VPCI_DECODES_MAX);
	return &all->all[all->count++];
}

static bool size_fits(enum vpci_bar_kind kind, uint64_t size)
{
	if (size == 0 || (size & (size - 1)))
		return false;
	return kind == VPCI_BAR_IO_PORTS ? size >= 4 && size <= VPCI_IO_BAR_MAX : size >= PAGE_SIZE && size <= BIT(31);
}

void vpci_add_bar(struct vpci_function *f, unsigned index, enum vpci_bar_kind kind, uint64_t size, struct device *dev,
		  uint64_t dev_offset)
{
	static const uint8_t type[] = {
		[VPCI_BAR_IO_PORTS] = VPCI_BAR_IO, [VPCI_BAR_MEMORY32] = 0, [VPCI_BAR_MEMORY64] = VPCI_BAR_64};
	uint8_t *reg = f->config + VPCI_BAR0 + index * 4, *writable = f->writable + VPCI_BAR0 + index * 4;

	ASSERT(index + (kind == VPCI_BAR_MEMORY64) < VPCI_BARS && !f->bars[index] && size_fits(kind, size));
	put_le32(reg, type[kind]);
	put_le32(writable, (uint32_t)-size);
	if (kind == VPCI_BAR_MEMORY64)
		put_le32(writable + 4, UINT32_MAX);
	f->writable[VPCI_COMMAND] |= (uint8_t)(kind == VPCI_BAR_IO_PORTS ? VPCI_COMMAND_IO : VPCI_COMMAND_MEMORY);
	f->bars[index] = new_decode(f, kind);
	*f->bars[index] = (struct vpci_decode){
		.base = VPCI_NOWHERE, .size = size, .dev = dev, .dev_offset = dev_offset};
}

unsigned vpci_add_capability(struct vpci_function *f, uint8_t id, unsigned size)
{
	unsigned at = f->cap_end;

	ASSERT(size >= 2 && at + size <= VPCI_CONFIG_BYTES);
	f->config[at] = id;
	f->config[f->cap_last ? f->cap_last + 1 : VPCI_CAPABILITIES] = (uint8_t)at;
	f->config[VPCI_STATUS] |= VPCI_STATUS_CAPABILITIES;
	f->cap_last = at;
	f->cap_end = (unsigned)align_up(at + size, 4);
	return at;
}

void vpci_add_msix(struct vpci_function *f, unsigned index, unsigned vectors)
{
	unsigned cap = vpci_add_capability(f, VPCI_CAP_MSIX, VPCI_MSIX_BYTES);

	vpci_msix_init(f, vectors);
	f->msix.cap = cap;
	put_le16(f->config + cap + VPCI_MSIX_CONTROL, (uint16_t)(vectors - 1));
	put_le16(f->writable + cap + VPCI_MSIX_CONTROL, VPCI_MSIX_ENABLE | VPCI_MSIX_MASK_ALL);
	put_le32(f->config + cap + VPCI_MSIX_TABLE, index);
	put_le32(f->config + cap + VPCI_MSIX_PBA, VPCI_MSIX_PBA_AT | index);
	vpci_add_bar(f, index, VPCI_BAR_MEMORY32, VPCI_MSIX_REGION, &f->msix.dev, 0);
}

enum status vpci_plug(struct vpci_function *f, struct error *err)
{
	struct vpci *bus = f->bus;
	unsigned slot = 0;
	enum status st;

	while (slot < VPCI_SLOTS && bus->slots[slot])
		slot++;
	if (slot == VPCI_SLOTS)
		return fail(err, ST_OVER_LIMIT, "PCI function %s: all %u slots are taken", f->ops->name, VPCI_SLOTS);
	st = vpci_place(bus, f, err);
	if (st != ST_OK)
		return st;
	f->slot = slot;
	bus->slots[slot] = f;
	f->config[VPCI_COMMAND] |= f->writable[VPCI_COMMAND] & (VPCI_COMMAND_IO | VPCI_COMMAND_MEMORY);
	vpci_decode_update(f);
	return ST_OK;
}

/* ---- accesses ---- */

static uint32_t function_read(struct vpci_function *f, unsigned offset, unsigned size)
{
	uint32_t value = 0;

	if (f->ops->config_read)
		f->ops->config_read(f, offset, size);
	for (unsigned i = 0; i < size && offset + i < VPCI_CONFIG_BYTES; i++)
		value |= (uint32_t)f->config[offset + i] << (i * 8);
	return value;
}

static void function_write(struct vpci_function *f, unsigned offset, unsigned size, uint32_t value)
{
	bool command = vpci_overlaps(offset, size, VPCI_COMMAND, 2);

	for (unsigned i = 0; i < size && offset + i < VPCI_CONFIG_BYTES; i++) {
		uint8_t mask = f->writable[offset + i], *byte = &f->config[offset + i];

		*byte = (uint8_t)((*byte & ~mask) | (value >> (i * 8) & mask));
	}
	if (command || vpci_overlaps(offset, size, VPCI_BAR0, VPCI_BARS * 4))
		vpci_decode_update(f);
	if (command || (f->msix.cap && vpci_overlaps(offset, size, f->msix.cap, VPCI_MSIX_BYTES)))
		vpci_msix_update(f);
	if (f->ops->config_written)
		f->ops->config_written(f, offset, size);
}

/* Accesses that are not aligned may cross what has a meaning of its own: byte by byte each has one. */
uint32_t vpci_config_read(struct vpci *bus, unsigned slot, unsigned offset, unsigned size)
{
	struct vpci_function *f = slot < VPCI_SLOTS ? bus->slots[slot] : NULL;
	uint32_t value = 0;

	if (!f)
		return ABSENT;
	if (is_aligned(offset, size))
		return function_read(f, offset, size);
	for (unsigned i = 0; i < size; i++)
		value |= function_read(f, offset + i, 1) << (i * 8);
	return value;
}

void vpci_config_write(struct vpci *bus, unsigned slot, unsigned offset, unsigned size, uint32_t value)
{
	struct vpci_function *f = slot < VPCI_SLOTS ? bus->slots[slot] : NULL;

	if (!f)
		return;
	if (is_aligned(offset, size)) {
		function_write(f, offset, size, value);
		return;
	}
	for (unsigned i = 0; i < size; i++)
		function_write(f, offset + i, 1, value >> (i * 8) & UINT8_MAX);
}

/* ---- 0xcf8..0xcff ---- */

/* The slot that 0xcf8 names, VPCI_SLOTS for none that can be. */
static unsigned named_slot(const struct vpci *bus)
{
	bool here = FIELD(bus->address, 23, 16) == 0 && FIELD(bus->address, 10, 8) == 0;

	return here ? (unsigned)FIELD(bus->address, 15, 11) : VPCI_SLOTS;
}

static bool is_data(const struct vpci *bus, uint64_t offset)
{
	return offset >= PORT_DATA && (bus->address & ADDRESS_ENABLE);
}

static bool is_address(uint64_t offset, unsigned size) { return offset == 0 && size == 4; }

static unsigned named_register(const struct vpci *bus, uint64_t offset)
{
	return (unsigned)(FIELD(bus->address, 7, 2) * 4 + (offset - PORT_DATA));
}

static uint64_t ports_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct vpci *bus = container_of(dev, struct vpci, ports);

	if (is_address(offset, size))
		return bus->address;
	if (is_data(bus, offset))
		return vpci_config_read(bus, named_slot(bus), named_register(bus, offset), size);
	return bus->beside->ops->read(bus->beside, bus->beside_offset + offset, size);
}

static void ports_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct vpci *bus = container_of(dev, struct vpci, ports);

	if (is_address(offset, size))
		bus->address = (uint32_t)(value & ADDRESS_WRITABLE);
	else if (is_data(bus, offset))
		vpci_config_write(bus, named_slot(bus), named_register(bus, offset), size, (uint32_t)value);
	else
		bus->beside->ops->write(bus->beside, bus->beside_offset + offset, size, value);
}

static const struct device_ops ports_ops = {.name = "pci ports", .read = ports_read, .write = ports_write};

/* ---- ECAM ---- */

/* By bytes where an access is not aligned or too wide for a register. */
static bool whole(uint64_t offset, unsigned size) { return size <= 4 && is_aligned(offset, size); }

static uint64_t ecam_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct vpci *bus = container_of(dev, struct vpci, ecam);
	uint64_t value = 0;

	if (whole(offset, size))
		return ECAM_FUNCTION(offset) ? ABSENT : vpci_config_read(bus, ECAM_SLOT(offset), ECAM_OFFSET(offset), size);
	for (unsigned i = 0; i < size; i++)
		value |= (ecam_read(dev, offset + i, 1) & UINT8_MAX) << (i * 8);
	return value;
}

static void ecam_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct vpci *bus = container_of(dev, struct vpci, ecam);

	if (!whole(offset, size)) {
		for (unsigned i = 0; i < size; i++)
			ecam_write(dev, offset + i, 1, value >> (i * 8) & UINT8_MAX);
		return;
	}
	if (ECAM_FUNCTION(offset) == 0)
		vpci_config_write(bus, ECAM_SLOT(offset), ECAM_OFFSET(offset), size, (uint32_t)value);
}

static const struct device_ops ecam_ops = {.name = "pci ecam", .read = ecam_read, .write = ecam_write};
_Static_assert(PC_ECAM_SIZE == VPCI_SLOTS * 8 * VPCI_ECAM_FUNCTION_BYTES, "one bus of 32 slots of 8 functions");

/* ---- the bus ---- */

void vpci_init(struct vpci *bus, struct vpci_high high, struct device *beside, uint64_t beside_offset,
	       void (*message)(void *ctx, uint64_t address, uint32_t data), void *ctx)
{
	enum status st;

	memset(bus, 0, sizeof *bus);
	bus->ports.ops = &ports_ops;
	bus->ecam.ops = &ecam_ops;
	bus->beside = beside;
	bus->beside_offset = beside_offset;
	bus->message = message;
	bus->ctx = ctx;
	vpci_windows_init(bus, high);
	vpci_function_init(bus, &bus->bridge, &bridge_ops, &bridge_ids);
	st = vpci_plug(&bus->bridge, NULL);
	ASSERT(st == ST_OK);
}

enum status vpci_claim(struct vpci *bus, struct bus *pio, struct bus *mmio, struct error *err)
{
	const struct { struct bus *on; uint64_t start, length; struct device *dev; } ranges[] = {
		{pio, PC_PORT_PCI_CONFIG, VPCI_PORTS_LEN, &bus->ports},
		{pio, bus->io.start, bus->io.length, &bus->io.dev},
		{mmio, PC_ECAM_BASE, PC_ECAM_SIZE, &bus->ecam},
		{mmio, bus->low.start, bus->low.length, &bus->low.dev},
		{mmio, bus->high.start, bus->high.length, &bus->high.dev},
	};

	bus->io.misses = &pio->misses;
	bus->low.misses = bus->high.misses = &mmio->misses;
	for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
		enum status st;

		if (ranges[i].length == 0)
			continue;
		st = bus_add(ranges[i].on, ranges[i].start, ranges[i].length, ranges[i].dev, 0);
		if (st != ST_OK)
			return fail(err, st, "%s cannot have %s range 0x%llx..0x%llx: %s", ranges[i].dev->ops->name,
				    ranges[i].on->name, (unsigned long long)ranges[i].start,
				    (unsigned long long)(ranges[i].start + ranges[i].length - 1), status_name(st));
	}
	return ST_OK;
}
