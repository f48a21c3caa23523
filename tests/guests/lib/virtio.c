/* SPDX-License-Identifier: Apache-2.0 */
/* See virtio.h. */
#include "tests/guests/lib/virtio.h"

#include <string.h>

#include "lib/bits.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define CONFIG_ENABLE 0x80000000u
#define SLOTS 32u
#define VENDOR 0x1af4u
#define DEVICE_BASE 0x1040u

#define PCI_COMMAND 0x04u
#define PCI_BAR0 0x10u
#define PCI_CAPABILITIES 0x34u
#define COMMAND_IO_MEMORY_MASTER 0x0407u /* and no INTx */
#define CAP_VENDOR 0x09u
#define CAP_MSIX 0x11u
#define MSIX_ENABLE BIT(31) /* of the word that the capability begins with */
#define MSI_ADDRESS 0xfee00000u
#define MSI_ID_SHIFT 12
#define BAR_MAP_BYTES 0x200000u /* no capability here leads further into a BAR */

enum { CFG_COMMON = 1, CFG_NOTIFY, CFG_ISR, CFG_DEVICE };

/* struct virtio_pci_common_cfg (4.1.4.3) */
#define COMMON_DEVICE_SELECT 0u
#define COMMON_OFFERED 4u
#define COMMON_DRIVER_SELECT 8u
#define COMMON_ACCEPTED 12u
#define COMMON_STATUS 20u
#define COMMON_QUEUE_SELECT 22u
#define COMMON_QUEUE_SIZE 24u
#define COMMON_QUEUE_VECTOR 26u
#define COMMON_QUEUE_ENABLE 28u
#define COMMON_QUEUE_NOTIFY_OFF 30u
#define COMMON_QUEUE_DESC 32u
#define COMMON_QUEUE_AVAIL 40u
#define COMMON_QUEUE_USED 48u

#define STATUS_ACKNOWLEDGE 1u
#define STATUS_DRIVER 2u
#define STATUS_DRIVER_OK 4u
#define STATUS_FEATURES_OK 8u
#define F_VERSION_1 BIT(32)

static uint32_t config_read(unsigned slot, unsigned offset)
{
	out32(CONFIG_ADDRESS, CONFIG_ENABLE | slot << 11 | (offset & 0xfcu));
	return in32(CONFIG_DATA) >> (offset & 3) * 8;
}

static void config_write(unsigned slot, unsigned offset, uint32_t value)
{
	out32(CONFIG_ADDRESS, CONFIG_ENABLE | slot << 11 | offset);
	out32(CONFIG_DATA, value);
}

static volatile void *at(const struct virtio_region *r, unsigned offset)
{
	CHECK(!r->port && r->at, "virtio: a register is not in memory");
	return (volatile uint8_t *)r->at + offset;
}
static volatile uint8_t *at8(struct virtio_function *f, unsigned offset) { return at(&f->common, offset); }
static volatile uint16_t *at16(struct virtio_function *f, unsigned offset) { return at(&f->common, offset); }
static volatile uint32_t *at32(struct virtio_function *f, unsigned offset) { return at(&f->common, offset); }

static struct virtio_region bar(unsigned slot, unsigned index)
{
	uint32_t low = config_read(slot, PCI_BAR0 + index * 4);
	struct virtio_region r = {.port = low & 1, .at = low & ~0xfull};

	if (r.port) {
		r.at = low & ~3ull;
		return r;
	}
	if ((low & 6) == 4)
		r.at |= (uint64_t)config_read(slot, PCI_BAR0 + index * 4 + 4) << 32;
	if (r.at >> 32)
		map_identity(r.at, BAR_MAP_BYTES);
	return r;
}

/* The first of each kind is the one that the device prefers (4.1.4). */
static void take_capability(struct virtio_function *f, unsigned cap)
{
	unsigned kind = config_read(f->slot, cap + 3) & 0xff;
	struct virtio_region *out = kind == CFG_COMMON ? &f->common : kind == CFG_NOTIFY ? &f->notify
				    : kind == CFG_DEVICE ? &f->device : NULL;

	if (!out || out->at)
		return;
	*out = bar(f->slot, config_read(f->slot, cap + 4) & 0xff);
	out->at += config_read(f->slot, cap + 8);
	if (kind == CFG_NOTIFY)
		f->notify_step = config_read(f->slot, cap + 16);
}

static void take_capabilities(struct virtio_function *f)
{
	for (unsigned cap = config_read(f->slot, PCI_CAPABILITIES) & 0xfc; cap; cap = config_read(f->slot, cap + 1) & 0xfc) {
		unsigned id = config_read(f->slot, cap) & 0xff;

		if (id == CAP_VENDOR)
			take_capability(f, cap);
		if (id == CAP_MSIX) {
			uint32_t table = config_read(f->slot, cap + 4);

			f->msix_cap = cap;
			f->msix_table = bar(f->slot, table & 7).at + (table & ~7u);
		}
	}
}

bool virtio_find(struct virtio_function *f, unsigned type, unsigned index)
{
	for (unsigned slot = 1; slot < SLOTS; slot++) {
		if (config_read(slot, 0) != (VENDOR | (DEVICE_BASE + type) << 16) || index-- != 0)
			continue;
		*f = (struct virtio_function){.slot = slot};
		config_write(slot, PCI_COMMAND, COMMAND_IO_MEMORY_MASTER);
		take_capabilities(f);
		CHECK(f->common.at && f->notify.at && f->device.at && f->msix_table, "virtio: a capability is missing");
		return true;
	}
	return false;
}

static uint64_t offered(struct virtio_function *f)
{
	uint64_t low;

	*at32(f, COMMON_DEVICE_SELECT) = 0;
	low = *at32(f, COMMON_OFFERED);
	*at32(f, COMMON_DEVICE_SELECT) = 1;
	return low | (uint64_t)*at32(f, COMMON_OFFERED) << 32;
}

void virtio_begin(struct virtio_function *f, uint64_t features)
{
	*at8(f, COMMON_STATUS) = 0;
	while (*at8(f, COMMON_STATUS) != 0)
		cpu_pause();
	*at8(f, COMMON_STATUS) = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
	f->features = offered(f) & (features | F_VERSION_1);
	CHECK(f->features & F_VERSION_1, "virtio: the device is not a modern one");
	*at32(f, COMMON_DRIVER_SELECT) = 0;
	*at32(f, COMMON_ACCEPTED) = (uint32_t)f->features;
	*at32(f, COMMON_DRIVER_SELECT) = 1;
	*at32(f, COMMON_ACCEPTED) = (uint32_t)(f->features >> 32);
	*at8(f, COMMON_STATUS) = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK;
	CHECK(*at8(f, COMMON_STATUS) & STATUS_FEATURES_OK, "virtio: the features were refused");
}

static void put64(struct virtio_function *f, unsigned offset, const volatile void *p)
{
	*at32(f, offset) = (uint32_t)(uintptr_t)p;
	*at32(f, offset + 4) = (uint32_t)((uintptr_t)p >> 32);
}

static void msix_entry(struct virtio_function *f, unsigned index, uint8_t vector)
{
	volatile uint32_t *entry = (volatile uint32_t *)(f->msix_table + index * 16);

	entry[0] = MSI_ADDRESS | apic_id() << MSI_ID_SHIFT;
	entry[1] = 0;
	entry[2] = vector;
	entry[3] = 0;
	config_write(f->slot, f->msix_cap, config_read(f->slot, f->msix_cap) | (uint32_t)MSIX_ENABLE);
}

void virtio_queue(struct virtio_function *f, unsigned index, struct virtio_ring *ring, uint8_t vector)
{
	memset(ring, 0, sizeof *ring);
	ring->events = f->features & VIRTIO_F_EVENT_IDX;
	msix_entry(f, index, vector);
	*at16(f, COMMON_QUEUE_SELECT) = (uint16_t)index;
	CHECK(*at16(f, COMMON_QUEUE_SIZE) >= VIRTIO_RING_SIZE, "virtio: the queue is too short");
	*at16(f, COMMON_QUEUE_SIZE) = VIRTIO_RING_SIZE;
	*at16(f, COMMON_QUEUE_VECTOR) = (uint16_t)index;
	CHECK(*at16(f, COMMON_QUEUE_VECTOR) == index, "virtio: no vector");
	put64(f, COMMON_QUEUE_DESC, ring->desc);
	put64(f, COMMON_QUEUE_AVAIL, ring->avail);
	put64(f, COMMON_QUEUE_USED, ring->used);
	f->kicks[index] = f->notify;
	f->kicks[index].at += (uint64_t)*at16(f, COMMON_QUEUE_NOTIFY_OFF) * f->notify_step;
	*at16(f, COMMON_QUEUE_ENABLE) = 1;
}

void virtio_ready(struct virtio_function *f)
{
	*at8(f, COMMON_STATUS) = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK;
}

uint32_t virtio_config32(const struct virtio_function *f, unsigned offset)
{
	return *(volatile uint32_t *)at(&f->device, offset);
}
