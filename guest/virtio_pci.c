/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers of the transport (virtio 1.2, 4.1.4). They are a table: a field is its
 * place and two small functions. Reads may have any width, since a part of a
 * field's value is harmless; a write counts only as the field's own width (4.1.3.1
 * asks drivers for no other), so that half a write never means anything. All is
 * under the device's lock, which a kick takes once.
 */
#include "guest/virtio_pci.h"

#include "io/virtio.h"
#include "lib/addr.h"
#include "lib/assert.h"
#include "lib/bits.h"

#define VENDOR 0x1af4u
#define DEVICE_BASE 0x1040u
#define SUBSYSTEM 0x1100u  /* 4.1.2.1: 0x40 or higher */
#define REVISION 1u        /* not a transitional device */

/* struct virtio_pci_cap (4.1.4). */
enum cfg_type { CFG_COMMON = 1, CFG_NOTIFY, CFG_ISR, CFG_DEVICE, CFG_PCI };
#define CAP_LEN 2u
#define CAP_TYPE 3u
#define CAP_BAR 4u
#define CAP_OFFSET 8u
#define CAP_LENGTH 12u
#define CAP_BYTES 16u
#define CAP_MULTIPLIER 16u /* of CFG_NOTIFY */
#define CAP_DATA 16u       /* of CFG_PCI */
#define CAP_LONG_BYTES 20u

#define COMMON_BYTES 60u   /* up to queue_reset (4.1.4.3) */
#define ISR_BYTES 1u

/* Work of one turn of the worker at this device. */
#define STEP_BUDGET VIRTIO_INLINE_BUDGET

static uint32_t class_of(uint32_t id)
{
	switch (id) {
	case VIRTIO_ID_NET:
		return 0x020000; /* Ethernet */
	case VIRTIO_ID_BLOCK:
		return 0x018000; /* mass storage, of another kind */
	case VIRTIO_ID_CONSOLE:
		return 0x078000; /* communication, of another kind */
	default:
		return 0xff0000; /* in no class */
	}
}

/* ---- the common configuration ---- */

static struct virtio_queue *selected(const struct virtio_pci *p) { return virtio_queue(p->dev, p->queue_select); }

static uint32_t get_device_select(struct virtio_pci *p) { return p->device_select; }
static void set_device_select(struct virtio_pci *p, uint32_t value) { p->device_select = value; }
static uint32_t get_features(struct virtio_pci *p) { return virtio_features(p->dev, p->device_select); }
static uint32_t get_driver_select(struct virtio_pci *p) { return p->driver_select; }
static void set_driver_select(struct virtio_pci *p, uint32_t value) { p->driver_select = value; }
static uint32_t get_accepted(struct virtio_pci *p) { return virtio_accepted(p->dev, p->driver_select); }
static void set_accepted(struct virtio_pci *p, uint32_t value) { virtio_accept(p->dev, p->driver_select, value); }

/* A vector that is not there cannot be had, which the driver learns by reading it back (4.1.5.1.2). */
static uint16_t usable_vector(const struct virtio_pci *p, uint32_t value)
{
	return value < p->function.msix.count ? (uint16_t)value : VIRTIO_NO_VECTOR;
}

static uint32_t get_config_vector(struct virtio_pci *p) { return p->dev->config_vector; }
static void set_config_vector(struct virtio_pci *p, uint32_t value) { p->dev->config_vector = usable_vector(p, value); }
static uint32_t get_queue_count(struct virtio_pci *p) { return p->dev->queue_count; }
static uint32_t get_status(struct virtio_pci *p) { return virtio_status(p->dev); }
static void set_status(struct virtio_pci *p, uint32_t value) { virtio_set_status(p->dev, (uint8_t)value); }
static uint32_t get_generation(struct virtio_pci *p) { return p->dev->config_generation; }
static uint32_t get_queue_select(struct virtio_pci *p) { return p->queue_select; }
static void set_queue_select(struct virtio_pci *p, uint32_t value) { p->queue_select = (uint16_t)value; }

/* Of the selected queue; where there is none all reads 0 (4.1.4.3.1), and nothing is kept. */
static uint32_t get_size(struct virtio_pci *p)
{
	const struct virtio_queue *q = selected(p);

	return q ? q->ring.size : 0;
}

static void set_size(struct virtio_pci *p, uint32_t value)
{
	struct virtio_queue *q = selected(p);

	if (q)
		virtio_queue_set_size(q, (uint16_t)value);
}

static uint32_t get_vector(struct virtio_pci *p)
{
	const struct virtio_queue *q = selected(p);

	return q ? q->vector : VIRTIO_NO_VECTOR;
}

static void set_vector(struct virtio_pci *p, uint32_t value)
{
	struct virtio_queue *q = selected(p);

	if (q)
		q->vector = usable_vector(p, value);
}

static uint32_t get_enable(struct virtio_pci *p)
{
	const struct virtio_queue *q = selected(p);

	return q && virtio_queue_enabled(q);
}

static void set_enable(struct virtio_pci *p, uint32_t value)
{
	struct virtio_queue *q = selected(p);

	if (q && value == 1)
		virtio_queue_enable(q);
}

static uint32_t get_notify_off(struct virtio_pci *p) { return selected(p) ? p->queue_select : 0; }

static uint32_t get_reset(struct virtio_pci *p)
{
	const struct virtio_queue *q = selected(p);

	return q && virtio_queue_resetting(q);
}

static void set_reset(struct virtio_pci *p, uint32_t value)
{
	struct virtio_queue *q = selected(p);

	if (q && value == 1)
		virtio_queue_reset(q);
}

static uint32_t get_address(struct virtio_pci *p, enum virtq_part part, unsigned half)
{
	const struct virtio_queue *q = selected(p);

	return q ? virtio_queue_address(q, part, half) : 0;
}

static void set_address(struct virtio_pci *p, enum virtq_part part, unsigned half, uint32_t value)
{
	struct virtio_queue *q = selected(p);

	if (q)
		virtio_queue_set_address(q, part, half, value);
}

#define ADDRESS_HALF(name, part, half)                                                                            \
	static uint32_t get_##name(struct virtio_pci *p) { return get_address(p, part, half); }                   \
	static void set_##name(struct virtio_pci *p, uint32_t value) { set_address(p, part, half, value); }
ADDRESS_HALF(desc, VIRTQ_DESC, 0)
ADDRESS_HALF(desc_high, VIRTQ_DESC, 1)
ADDRESS_HALF(avail, VIRTQ_AVAIL, 0)
ADDRESS_HALF(avail_high, VIRTQ_AVAIL, 1)
ADDRESS_HALF(used, VIRTQ_USED, 0)
ADDRESS_HALF(used_high, VIRTQ_USED, 1)

/* struct virtio_pci_common_cfg. Drivers write 64-bit fields as two halves (4.1.3.1). */
static const struct field {
	uint8_t offset, bytes;
	uint32_t (*get)(struct virtio_pci *p);
	void (*set)(struct virtio_pci *p, uint32_t value); /* NULL: cannot be written */
} fields[] = {
	{0, 4, get_device_select, set_device_select},
	{4, 4, get_features, NULL},
	{8, 4, get_driver_select, set_driver_select},
	{12, 4, get_accepted, set_accepted},
	{16, 2, get_config_vector, set_config_vector},
	{18, 2, get_queue_count, NULL},
	{20, 1, get_status, set_status},
	{21, 1, get_generation, NULL},
	{22, 2, get_queue_select, set_queue_select},
	{24, 2, get_size, set_size},
	{26, 2, get_vector, set_vector},
	{28, 2, get_enable, set_enable},
	{30, 2, get_notify_off, NULL},
	{32, 4, get_desc, set_desc},
	{36, 4, get_desc_high, set_desc_high},
	{40, 4, get_avail, set_avail},
	{44, 4, get_avail_high, set_avail_high},
	{48, 4, get_used, set_used},
	{52, 4, get_used_high, set_used_high},
	/* 56: queue_notify_data, which NOTIF_CONFIG_DATA would have; it is not offered */
	{58, 2, get_reset, set_reset},
};

static const struct field *field_at(uint64_t offset)
{
	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
		if (offset - fields[i].offset < fields[i].bytes)
			return &fields[i];
	return NULL;
}

static uint64_t common_read(struct virtio_pci *p, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	for (unsigned done = 0; done < size;) {
		const struct field *f = field_at(offset + done);
		unsigned skip = f ? (unsigned)(offset + done - f->offset) : 0;

		if (f)
			value |= (uint64_t)(f->get(p) >> (skip * 8)) << (done * 8);
		done += f ? f->bytes - skip : 1;
	}
	return value;
}

static void common_write(struct virtio_pci *p, uint64_t offset, unsigned size, uint64_t value)
{
	const struct field *f = field_at(offset);

	if (f && f->offset == offset && f->bytes == size && f->set)
		f->set(p, (uint32_t)value);
}

/* ---- the memory BAR ---- */

/* Reading takes the bits back (4.1.4.5.1). */
static uint64_t isr_read(struct virtio_pci *p, uint64_t offset)
{
	uint8_t isr = offset == 0 ? p->isr : 0;

	if (offset == 0)
		p->isr = 0;
	return isr;
}

static uint64_t locked_read(struct virtio_pci *p, uint64_t offset, unsigned size)
{
	uint64_t at = offset % VIRTIO_PCI_REGION;

	switch (offset - at) {
	case VIRTIO_PCI_COMMON_AT:
		return common_read(p, at, size);
	case VIRTIO_PCI_ISR_AT:
		return isr_read(p, at);
	case VIRTIO_PCI_DEVICE_AT:
		return virtio_config_read(p->dev, (uint32_t)at, size);
	default: /* what notifies cannot be read */
		return 0;
	}
}

static void locked_write(struct virtio_pci *p, uint64_t offset, unsigned size, uint64_t value)
{
	uint64_t at = offset % VIRTIO_PCI_REGION;

	switch (offset - at) {
	case VIRTIO_PCI_COMMON_AT:
		common_write(p, at, size, value);
		break;
	case VIRTIO_PCI_DEVICE_AT:
		virtio_config_write(p->dev, (uint32_t)at, size, value);
		break;
	case VIRTIO_PCI_NOTIFY_AT:
		p->kicks_memory++;
		virtio_kick(p->dev, (unsigned)(at / VIRTIO_PCI_NOTIFY_STEP));
		break;
	default:
		break;
	}
}

static uint64_t memory_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct virtio_pci *p = container_of(dev, struct virtio_pci, memory);
	uint64_t value;

	lock_acquire(&p->dev->lock);
	value = locked_read(p, offset, size);
	lock_release(&p->dev->lock);
	return value;
}

static void memory_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio_pci *p = container_of(dev, struct virtio_pci, memory);

	lock_acquire(&p->dev->lock);
	locked_write(p, offset, size, value);
	lock_release(&p->dev->lock);
}

static const struct device_ops memory_ops = {
	.name = "virtio", .read = memory_read, .write = memory_write, .own_lock = true};

/* ---- the I/O BAR: notify ---- */

static uint64_t ports_read(struct device *dev, uint64_t offset, unsigned size)
{
	(void)dev, (void)offset, (void)size;
	return 0;
}

/* What is written is the queue's number once more; the address has said it. */
static void ports_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio_pci *p = container_of(dev, struct virtio_pci, ports);

	(void)size, (void)value;
	lock_acquire(&p->dev->lock);
	p->kicks_port++;
	virtio_kick(p->dev, (unsigned)(offset / VIRTIO_PCI_NOTIFY_STEP));
	lock_release(&p->dev->lock);
}

static const struct device_ops ports_ops = {
	.name = "virtio notify", .read = ports_read, .write = ports_write, .own_lock = true};

/* ---- access by configuration space (4.1.4.9) ---- */

/* Where the capability points, as long as its length is one that a register can have. */
static bool access_place(const struct virtio_pci *p, unsigned *bar, uint32_t *offset, uint32_t *length)
{
	const uint8_t *cap = p->function.config + p->access_cap;

	*bar = cap[CAP_BAR];
	*offset = get_le32(cap + CAP_OFFSET);
	*length = get_le32(cap + CAP_LENGTH);
	return *length == 1 || *length == 2 || *length == 4;
}

static bool touches_data(const struct virtio_pci *p, unsigned offset, unsigned size)
{
	unsigned data = p->access_cap + CAP_DATA;

	return offset < data + 4 && data < offset + size;
}

static void config_read(struct vpci_function *f, unsigned offset, unsigned size)
{
	struct virtio_pci *p = container_of(f, struct virtio_pci, function);
	uint32_t at, length;
	unsigned bar;

	if (touches_data(p, offset, size) && access_place(p, &bar, &at, &length))
		put_le32(f->config + p->access_cap + CAP_DATA, (uint32_t)vpci_bar_read(f, bar, at, length));
}

static void config_written(struct vpci_function *f, unsigned offset, unsigned size)
{
	struct virtio_pci *p = container_of(f, struct virtio_pci, function);
	uint32_t at, length;
	unsigned bar;

	if (touches_data(p, offset, size) && access_place(p, &bar, &at, &length))
		vpci_bar_write(f, bar, at, length, get_le32(f->config + p->access_cap + CAP_DATA));
}

static const struct vpci_function_ops function_ops = {
	.name = "virtio", .config_read = config_read, .config_written = config_written};

/* ---- what the device asks ---- */

/*
 * The interrupt bits are for drivers that look at them; with MSI-X on, the queues' bit stays 0 (4.1.4.5.1). A change of
 * the configuration shows in its generation.
 */
static void note_interrupt(struct virtio_pci *p)
{
	if (p->generation != p->dev->config_generation)
		p->isr |= VIRTIO_PCI_ISR_CONFIG;
	else if (__atomic_load_n(&p->function.msix.state, __ATOMIC_RELAXED) == VPCI_MSIX_OFF)
		p->isr |= VIRTIO_PCI_ISR_QUEUE;
	p->generation = p->dev->config_generation;
}

static void interrupt(void *ctx, uint16_t vector)
{
	struct virtio_pci *p = ctx;

	note_interrupt(p);
	(void)vpci_raise_after(&p->function, vector, 0);
}

static bool interrupt_after(void *ctx, uint16_t vector, uint64_t gap)
{
	struct virtio_pci *p = ctx;

	note_interrupt(p);
	return vpci_raise_after(&p->function, vector, gap);
}

static bool nudge(void *ctx, uint64_t gap)
{
	struct virtio_pci *p = ctx;

	return vpci_nudge(&p->function, gap);
}

static void defer(void *ctx)
{
	struct virtio_pci *p = ctx;

	vm_io_ask(&p->work);
}

/* Whoever stops the VM may wait for a reset's end. */
static const struct virtio_transport_ops transport_ops = {
	.interrupt = interrupt, .interrupt_after = interrupt_after, .nudge = nudge, .defer = defer, .reset_done = defer};

static bool step(struct vm_io_work *w)
{
	struct virtio_pci *p = container_of(w, struct virtio_pci, work);

	return virtio_step(p->dev, STEP_BUDGET);
}

/* ---- making ---- */

static unsigned add_cap(struct virtio_pci *p, enum cfg_type type, unsigned size, unsigned bar, uint32_t offset,
			uint32_t length)
{
	unsigned at = vpci_add_capability(&p->function, VPCI_CAP_VENDOR, size);
	uint8_t *cap = p->function.config + at;

	cap[CAP_LEN] = (uint8_t)size;
	cap[CAP_TYPE] = (uint8_t)type;
	cap[CAP_BAR] = (uint8_t)bar;
	put_le32(cap + CAP_OFFSET, offset);
	put_le32(cap + CAP_LENGTH, length);
	return at;
}

static void add_notify(struct virtio_pci *p, unsigned bar, uint32_t offset, uint32_t length)
{
	unsigned at = add_cap(p, CFG_NOTIFY, CAP_LONG_BYTES, bar, offset, length);

	put_le32(p->function.config + at + CAP_MULTIPLIER, VIRTIO_PCI_NOTIFY_STEP);
}

static void add_access(struct virtio_pci *p)
{
	unsigned at = add_cap(p, CFG_PCI, CAP_LONG_BYTES, 0, 0, 0);
	uint8_t *writable = p->function.writable + at;

	p->access_cap = at;
	writable[CAP_BAR] = UINT8_MAX;
	put_le32(writable + CAP_OFFSET, UINT32_MAX);
	put_le32(writable + CAP_LENGTH, UINT32_MAX);
	put_le32(writable + CAP_DATA, UINT32_MAX);
}

static uint64_t round_up_to_power(uint64_t v) { return BIT(bit_highest(2 * v - 1)); }

static void add_bars(struct virtio_pci *p)
{
	struct vpci_function *f = &p->function;
	uint32_t notify = p->dev->queue_count * VIRTIO_PCI_NOTIFY_STEP;

	_Static_assert(VIRTIO_QUEUES_MAX * VIRTIO_PCI_NOTIFY_STEP <= VPCI_IO_BAR_MAX, "a notify port for each queue");
	_Static_assert(VIRTIO_QUEUES_MAX + 1 <= VPCI_VECTORS_MAX, "a vector for each queue, and one for the configuration");
	p->memory.ops = &memory_ops;
	p->ports.ops = &ports_ops;
	vpci_add_bar(f, VIRTIO_PCI_IO_BAR, VPCI_BAR_IO_PORTS, round_up_to_power(notify), &p->ports, 0);
	vpci_add_msix(f, VIRTIO_PCI_MSIX_BAR, p->dev->queue_count + 1);
	vpci_add_bar(f, VIRTIO_PCI_MEMORY_BAR, VPCI_BAR_MEMORY64, VIRTIO_PCI_BAR_BYTES, &p->memory, 0);
	add_cap(p, CFG_COMMON, CAP_BYTES, VIRTIO_PCI_MEMORY_BAR, VIRTIO_PCI_COMMON_AT, COMMON_BYTES);
	add_notify(p, VIRTIO_PCI_IO_BAR, 0, notify);
	add_notify(p, VIRTIO_PCI_MEMORY_BAR, VIRTIO_PCI_NOTIFY_AT, notify);
	add_cap(p, CFG_ISR, CAP_BYTES, VIRTIO_PCI_MEMORY_BAR, VIRTIO_PCI_ISR_AT, ISR_BYTES);
	if (p->dev->config_bytes)
		add_cap(p, CFG_DEVICE, CAP_BYTES, VIRTIO_PCI_MEMORY_BAR, VIRTIO_PCI_DEVICE_AT, p->dev->config_bytes);
	add_access(p);
}

enum status virtio_pci_plug(struct virtio_pci *p, struct vpci *bus, struct vm_io *io, struct virtio_device *dev,
			    struct error *err)
{
	const struct vpci_ids ids = {
		.vendor = VENDOR, .device = (uint16_t)(DEVICE_BASE + dev->id), .subsystem_vendor = VENDOR,
		.subsystem = SUBSYSTEM, .revision = REVISION, .class = class_of(dev->id),
	};

	p->dev = dev;
	p->work.step = step;
	if (vm_io_add(io, &p->work) != ST_OK)
		return fail(err, ST_OVER_LIMIT, "more than %u devices for one I/O worker", VM_IO_WORKS_MAX);
	vpci_function_init(bus, &p->function, &function_ops, &ids);
	add_bars(p);
	dev->transport = &transport_ops;
	dev->transport_ctx = p;
	p->generation = dev->config_generation;
	return vpci_plug(&p->function, err);
}
