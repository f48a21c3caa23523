/* SPDX-License-Identifier: Apache-2.0 */
/* See blk.h. */
#include "tests/guests/lib/blk.h"

#include <string.h>

#include "lib/bits.h"
#include "tests/guests/lib/guest.h"

#define CONFIG_CAPACITY 0u

_Static_assert(BLK_SLOTS == 32 && BLK_SLOTS * BLK_DESCS <= VIRTIO_RING_SIZE, "a bit and a chain for each slot");

bool blk_open(struct blk *b, unsigned index, uint8_t vector, uint64_t features)
{
	memset(b, 0, sizeof *b);
	if (!virtio_find(&b->function, VIRTIO_BLOCK, index))
		return false;
	virtio_begin(&b->function, features);
	virtio_queue(&b->function, 0, &b->ring, vector);
	b->free = UINT32_MAX;
	virtio_ready(&b->function);
	b->sectors = virtio_config32(&b->function, CONFIG_CAPACITY) |
		     (uint64_t)virtio_config32(&b->function, CONFIG_CAPACITY + 4) << 32;
	return true;
}

unsigned blk_free(const struct blk *b) { return b->free ? bit_lowest(b->free) : BLK_SLOTS; }

/* Its descriptors, in @table; the first is number @first of where the chain lies. */
static void chain(struct virtio_desc *table, unsigned first, struct blk_slot *s, void *data, uint32_t bytes, bool in)
{
	unsigned n = 0;

	table[n++] = (struct virtio_desc){(uint64_t)&s->header, sizeof s->header, VIRTIO_DESC_NEXT, (uint16_t)(first + 1)};
	if (bytes)
		table[n++] = (struct virtio_desc){(uint64_t)data, bytes,
						  (uint16_t)(VIRTIO_DESC_NEXT | (in ? VIRTIO_DESC_WRITE : 0)),
						  (uint16_t)(first + 2)};
	table[n++] = (struct virtio_desc){(uint64_t)&s->status, 1, VIRTIO_DESC_WRITE, 0};
}

/* Header, data that the device writes when @in, status. */
static void offer(struct blk *b, unsigned slot, void *data, uint32_t bytes, bool in)
{
	struct blk_slot *s = &b->slots[slot];
	unsigned head = slot * BLK_DESCS;

	s->status = BLK_NOT_DONE;
	b->free &= ~(1u << slot);
	if (b->function.features & VIRTIO_F_INDIRECT) {
		chain(s->table, 0, s, data, bytes, in);
		b->ring.desc[head] = (struct virtio_desc){(uint64_t)s->table, (bytes ? BLK_DESCS : BLK_DESCS - 1) * sizeof s->table[0],
							  VIRTIO_DESC_INDIRECT, 0};
	} else {
		chain(&b->ring.desc[head], head, s, data, bytes, in);
	}
	virtio_offer(&b->ring, (uint16_t)head);
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

unsigned blk_take(struct blk *b)
{
	uint32_t head;
	unsigned slot;

	if (!virtio_used(&b->ring, &head))
		return BLK_SLOTS;
	slot = head / BLK_DESCS;
	CHECK(head % BLK_DESCS == 0 && slot < BLK_SLOTS && !(b->free & 1u << slot), "head %u has ended, which was not under way", head);
	CHECK(b->slots[slot].status != BLK_NOT_DONE, "slot %u has ended without a status", slot);
	b->free |= 1u << slot;
	return slot;
}

/* Interrupts are off but while it sleeps, so none is lost between looking and sleeping. */
unsigned blk_wait(struct blk *b)
{
	unsigned slot;

	while ((slot = blk_take(b)) == BLK_SLOTS)
		if (!virtio_has_come(&b->ring))
			halt();
	return slot;
}
