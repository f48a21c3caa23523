/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IO-APIC (82093AA data sheet, 3.0; EOI register: ICH9 data sheet 13.5). An
 * edge sends once, and not at all while its entry is masked; a level sends when
 * it is active, unmasked and not yet accepted (remote IRR), and again after the
 * EOI if it is still active.
 */
#include "guest/vioapic.h"

#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/x86_regs.h"

#define REG_SELECT 0x00u
#define REG_WINDOW 0x10u
#define REG_EOI 0x40u

#define INDEX_ID 0x00u
#define INDEX_VERSION 0x01u
#define INDEX_ARBITRATION 0x02u
#define INDEX_TABLE 0x10u
#define VERSION_VALUE (0x20u | (PC_GSI_COUNT - 1) << 16)
#define ID_SHIFT 24

/* A redirection entry has the low 17 bits of a LINT entry, and the destination on top. */
#define ENTRY_LOGICAL BIT(11)
#define ENTRY_READ_ONLY (APIC_LVT_PENDING | APIC_LVT_REMOTE_IRR)
#define ENTRY_LOW_WRITABLE (MASK(16, 0) & ~ENTRY_READ_ONLY)
#define ENTRY_HIGH_WRITABLE MASK(63, 56)
#define DEST_BROADCAST 0xffu

/* Level-triggered in effect: NMI, INIT and the like are edges whatever their entry says (82093AA 3.2.4). */
static bool is_level(uint64_t entry)
{
	uint64_t delivery = entry & APIC_LVT_DELIVERY_MASK;

	return (entry & APIC_LVT_LEVEL) && (delivery == APIC_DELIVERY_FIXED || delivery == APIC_DELIVERY_LOWEST);
}

static void send(struct vioapic *io, unsigned pin)
{
	uint64_t entry = io->entries[pin];
	uint8_t dest = (uint8_t)FIELD(entry, 63, 56);
	struct apic_message msg = {
		.dest = dest == DEST_BROADCAST ? UINT32_MAX : dest,
		.logical = entry & ENTRY_LOGICAL,
		.level = is_level(entry),
		.vector = (uint8_t)entry,
		.delivery = entry & APIC_LVT_DELIVERY_MASK,
	};

	/* Not accepted by anyone: no EOI would come, so the input stays free to try again. */
	if (io->deliver(io->ctx, &msg) && msg.level)
		io->entries[pin] |= APIC_LVT_REMOTE_IRR;
}

/* Sends if an active level input now may. */
static void evaluate_level(struct vioapic *io, unsigned pin)
{
	uint64_t entry = io->entries[pin];

	if (is_level(entry) && (io->asserted & BIT(pin)) && !(entry & (APIC_LVT_MASKED | APIC_LVT_REMOTE_IRR)))
		send(io, pin);
}

void vioapic_set(struct vioapic *io, unsigned gsi, bool level)
{
	bool rises;

	ASSERT(gsi < PC_GSI_COUNT);
	rises = level && !(io->asserted & BIT(gsi));
	if (!level) {
		io->asserted &= ~BIT(gsi);
		return;
	}
	io->asserted |= BIT(gsi);
	if (is_level(io->entries[gsi]))
		evaluate_level(io, gsi);
	else if (rises && !(io->entries[gsi] & APIC_LVT_MASKED))
		send(io, gsi);
}

void vioapic_eoi(struct vioapic *io, uint8_t vector)
{
	for (unsigned pin = 0; pin < PC_GSI_COUNT; pin++) {
		if (!(io->entries[pin] & APIC_LVT_REMOTE_IRR) || (uint8_t)io->entries[pin] != vector)
			continue;
		io->entries[pin] &= ~APIC_LVT_REMOTE_IRR;
		evaluate_level(io, pin);
	}
}

/* ---- registers ---- */

static uint32_t read_index(const struct vioapic *io, uint8_t index)
{
	unsigned pin = (index - INDEX_TABLE) / 2;

	switch (index) {
	case INDEX_ID:
	case INDEX_ARBITRATION:
		return (uint32_t)io->id << ID_SHIFT;
	case INDEX_VERSION:
		return VERSION_VALUE;
	default:
		if (index < INDEX_TABLE || pin >= PC_GSI_COUNT)
			return UINT32_MAX;
		return (uint32_t)(io->entries[pin] >> (index & 1 ? 32 : 0));
	}
}

static void write_entry(struct vioapic *io, unsigned pin, bool high, uint32_t value)
{
	uint64_t entry = io->entries[pin];

	if (high) {
		entry = (entry & MASK(31, 0)) | ((uint64_t)value << 32 & ENTRY_HIGH_WRITABLE);
	} else {
		entry = (entry & ~ENTRY_LOW_WRITABLE) | (value & ENTRY_LOW_WRITABLE);
		/* An edge has nothing to wait for; older systems clear a stuck remote IRR by this detour. */
		if (!is_level(entry))
			entry &= ~APIC_LVT_REMOTE_IRR;
	}
	io->entries[pin] = entry;
	evaluate_level(io, pin);
}

static void write_index(struct vioapic *io, uint8_t index, uint32_t value)
{
	unsigned pin = (index - INDEX_TABLE) / 2;

	if (index == INDEX_ID)
		io->id = (uint8_t)FIELD(value, 27, 24);
	else if (index >= INDEX_TABLE && pin < PC_GSI_COUNT)
		write_entry(io, pin, index & 1, value);
}

static uint64_t mmio_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct vioapic *io = container_of(dev, struct vioapic, dev);

	(void)size;
	switch (offset) {
	case REG_SELECT:
		return io->select;
	case REG_WINDOW:
		return read_index(io, io->select);
	default:
		return UINT64_MAX;
	}
}

/* The window takes 32-bit writes only; the select register is one byte, written at any width. */
static void mmio_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct vioapic *io = container_of(dev, struct vioapic, dev);

	if (offset == REG_SELECT)
		io->select = (uint8_t)value;
	else if (offset == REG_WINDOW && size >= 4)
		write_index(io, io->select, (uint32_t)value);
	else if (offset == REG_EOI)
		vioapic_eoi(io, (uint8_t)value);
}

static void reset(struct device *dev)
{
	struct vioapic *io = container_of(dev, struct vioapic, dev);

	for (unsigned pin = 0; pin < PC_GSI_COUNT; pin++)
		io->entries[pin] = APIC_LVT_MASKED;
	io->asserted = 0;
	io->select = 0;
	io->id = PC_IOAPIC_ID;
}

static const struct device_ops ops = {.name = "ioapic", .read = mmio_read, .write = mmio_write, .reset = reset};

void vioapic_init(struct vioapic *io, bool (*deliver)(void *ctx, const struct apic_message *msg), void *ctx)
{
	*io = (struct vioapic){.dev = {.ops = &ops}, .deliver = deliver, .ctx = ctx};
	reset(&io->dev);
}
