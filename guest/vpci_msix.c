/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X (PCI 3.0, 6.8.2): a table of messages in the function's own memory, and a
 * pending bit for each. Interrupts are raised by whichever CPU completes a
 * request, while vcpus mask and rewrite entries: each entry has a lock, which is
 * held until the message is posted, so that after a mask was written none comes
 * any more, and none is ever made of an old address and new data. The function's
 * own state (off, masked, on) is one word. Who changes it then visits all entries:
 * a raise that held an entry's lock before has left its pending bit to be found,
 * and one that comes after sees the new state.
 *
 * A function that may not master the bus sends nothing: its messages are writes.
 */
#include "guest/vpci_internal.h"

#include "lib/assert.h"

#define ENTRY_ADDRESS 0u
#define ENTRY_UPPER 4u
#define ENTRY_DATA 8u
#define ENTRY_CONTROL 12u

_Static_assert(VPCI_VECTORS_MAX * VPCI_MSIX_ENTRY <= VPCI_MSIX_PBA_AT && VPCI_VECTORS_MAX <= 64, "one word of pending bits");

/* ---- sending ---- */

/* The entry's lock is held. May its message be sent? */
static inline bool is_open(const struct vpci_function *f, const struct vpci_vector *v)
{
	return likely(!(v->control & VPCI_MSIX_ENTRY_MASKED) &&
		      __atomic_load_n(&f->msix.state, __ATOMIC_RELAXED) == VPCI_MSIX_ON);
}

/* False: whom it is for was not made to look. */
static inline bool send(struct vpci_function *f, const struct vpci_vector *v, uint64_t gap)
{
	const struct vpci *bus = f->bus;

	__atomic_fetch_add(&f->msix.sent, 1, __ATOMIC_RELAXED);
	if (gap != 0 && bus->message_after)
		return bus->message_after(bus->ctx, v->address, v->data, gap);
	bus->message(bus->ctx, v->address, v->data);
	return true;
}

static void send_if_due(struct vpci_function *f, struct vpci_vector *v)
{
	if (!v->pending || !is_open(f, v))
		return;
	v->pending = false;
	(void)send(f, v, 0);
}

bool vpci_raise_after(struct vpci_function *f, unsigned vector, uint64_t gap)
{
	struct vpci_vector *v;
	bool told = true;

	if (unlikely(vector >= f->msix.count))
		return true;
	v = &f->msix.vectors[vector];
	lock_acquire(&v->lock);
	if (is_open(f, v)) {
		/* What was pending goes with it. */
		v->pending = false;
		told = send(f, v, gap);
	} else if (__atomic_load_n(&f->msix.state, __ATOMIC_RELAXED) != VPCI_MSIX_OFF) {
		v->pending = true;
		__atomic_fetch_add(&f->msix.held, 1, __ATOMIC_RELAXED);
	}
	lock_release(&v->lock);
	return told;
}

void vpci_raise(struct vpci_function *f, unsigned vector) { (void)vpci_raise_after(f, vector, 0); }

bool vpci_nudge(struct vpci_function *f, uint64_t gap) { return !f->bus->nudge || f->bus->nudge(f->bus->ctx, gap); }

static enum vpci_msix_state state_of(const struct vpci_function *f)
{
	uint16_t control = get_le16(f->config + f->msix.cap + VPCI_MSIX_CONTROL);

	if (!(control & VPCI_MSIX_ENABLE))
		return VPCI_MSIX_OFF;
	if ((control & VPCI_MSIX_MASK_ALL) || !(get_le16(f->config + VPCI_COMMAND) & VPCI_COMMAND_MASTER))
		return VPCI_MSIX_MASKED;
	return VPCI_MSIX_ON;
}

void vpci_msix_update(struct vpci_function *f)
{
	struct vpci_msix *m = &f->msix;
	enum vpci_msix_state state;

	if (!m->cap)
		return;
	state = state_of(f);
	if (state == __atomic_load_n(&m->state, __ATOMIC_RELAXED))
		return;
	__atomic_store_n(&m->state, state, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < m->count; i++) {
		struct vpci_vector *v = &m->vectors[i];

		lock_acquire(&v->lock);
		if (state == VPCI_MSIX_OFF)
			v->pending = false;
		send_if_due(f, v);
		lock_release(&v->lock);
	}
}

/* ---- the table ---- */

static uint32_t entry_get(const struct vpci_vector *v, unsigned field)
{
	switch (field) {
	case ENTRY_ADDRESS:
		return (uint32_t)v->address;
	case ENTRY_UPPER:
		return (uint32_t)(v->address >> 32);
	case ENTRY_DATA:
		return v->data;
	default:
		return v->control;
	}
}

static void entry_set(struct vpci_vector *v, unsigned field, uint32_t value)
{
	switch (field) {
	case ENTRY_ADDRESS:
		v->address = (v->address & MASK(63, 32)) | (value & MASK(31, 2));
		break;
	case ENTRY_UPPER:
		v->address = (v->address & MASK(31, 0)) | (uint64_t)value << 32;
		break;
	case ENTRY_DATA:
		v->data = value;
		break;
	default:
		v->control = value & VPCI_MSIX_ENTRY_MASKED;
		break;
	}
}

static uint32_t table_read(struct vpci_function *f, uint64_t offset)
{
	struct vpci_vector *v = &f->msix.vectors[offset / VPCI_MSIX_ENTRY];
	uint32_t value;

	lock_acquire(&v->lock);
	value = entry_get(v, offset % VPCI_MSIX_ENTRY);
	lock_release(&v->lock);
	return value;
}

/* One entry's fields from @offset on, of which a wide access writes two. */
static void table_write(struct vpci_function *f, uint64_t offset, unsigned size, uint64_t value)
{
	struct vpci_vector *v = &f->msix.vectors[offset / VPCI_MSIX_ENTRY];
	unsigned field = offset % VPCI_MSIX_ENTRY;

	lock_acquire(&v->lock);
	for (unsigned i = 0; i < size; i += 4)
		entry_set(v, field + i, (uint32_t)(value >> (i * 8)));
	send_if_due(f, v);
	lock_release(&v->lock);
}

/* As they were at some moment of the read, each for itself. */
static uint64_t pending_bits(struct vpci_function *f)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < f->msix.count; i++) {
		lock_acquire(&f->msix.vectors[i].lock);
		bits |= (uint64_t)f->msix.vectors[i].pending << i;
		lock_release(&f->msix.vectors[i].lock);
	}
	return bits;
}

static uint64_t dword_read(struct vpci_function *f, uint64_t at)
{
	if (at < f->msix.count * VPCI_MSIX_ENTRY)
		return table_read(f, at);
	if (at - VPCI_MSIX_PBA_AT < sizeof(uint64_t))
		return (uint32_t)(pending_bits(f) >> (at - VPCI_MSIX_PBA_AT) * 8);
	return 0;
}

/* Accesses are aligned (vpci_window.c). Those of less than a dword are undefined: such reads see a part of it. */
static uint64_t msix_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct vpci_function *f = container_of(dev, struct vpci_function, msix.dev);
	uint64_t at = align_down(offset, 4), value = dword_read(f, at) >> (offset - at) * 8;

	return size == 8 ? value | dword_read(f, at + 4) << 32 : value;
}

static void msix_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct vpci_function *f = container_of(dev, struct vpci_function, msix.dev);

	if (size >= 4 && offset < f->msix.count * VPCI_MSIX_ENTRY)
		table_write(f, offset, size, value);
}

static const struct device_ops msix_ops = {.name = "msi-x", .read = msix_read, .write = msix_write, .own_lock = true};

void vpci_msix_init(struct vpci_function *f, unsigned vectors)
{
	ASSERT(vectors >= 1 && vectors <= VPCI_VECTORS_MAX);
	f->msix.dev.ops = &msix_ops;
	f->msix.count = vectors;
	for (unsigned i = 0; i < vectors; i++) {
		lock_init(&f->msix.vectors[i].lock, LOCK_VECTOR);
		f->msix.vectors[i].control = VPCI_MSIX_ENTRY_MASKED;
	}
}
