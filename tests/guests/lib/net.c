/* SPDX-License-Identifier: Apache-2.0 */
/* See net.h. */
#include "tests/guests/lib/net.h"

#include <string.h>

#include "lib/bits.h"
#include "tests/guests/lib/guest.h"

enum { RX, TX };

_Static_assert(NET_TX == 32 && NET_TX <= VIRTIO_RING_SIZE, "a bit and a descriptor for each slot");
_Static_assert(sizeof(struct net_header) == 12, "5.1.6");

static void post(struct net *n, uint16_t page)
{
	n->rx.desc[page] = (struct virtio_desc){(uint64_t)n->pages[page], NET_PAGE, VIRTIO_DESC_WRITE, 0};
	virtio_offer(&n->rx, page);
	n->posted++;
}

void net_show_buffers(struct net *n)
{
	if (n->posted && virtio_show(&n->rx))
		virtio_kick(&n->function, RX);
	n->posted = 0;
}

bool net_open(struct net *n, unsigned index, uint8_t rx_vector, uint8_t tx_vector, uint64_t features)
{
	memset(n, 0, sizeof *n);
	if (!virtio_find(&n->function, VIRTIO_NET, index))
		return false;
	virtio_begin(&n->function, features);
	virtio_queue(&n->function, RX, &n->rx, rx_vector);
	virtio_queue(&n->function, TX, &n->tx, tx_vector);
	n->free = UINT32_MAX;
	virtio_ready(&n->function);
	for (unsigned i = 0; i < NET_MAC; i++)
		n->mac[i] = (uint8_t)(virtio_config32(&n->function, i & ~3u) >> (i & 3) * 8);
	for (uint16_t page = 0; page < NET_RX; page++)
		post(n, page);
	net_show_buffers(n);
	return true;
}

bool net_receive(struct net *n, struct net_frame *f)
{
	uint32_t page, bytes;

	if (!virtio_used_bytes(&n->rx, &page, &bytes))
		return false;
	CHECK(page < NET_RX && bytes > sizeof(struct net_header) && bytes <= NET_PAGE, "page %u came with %u bytes", page, bytes);
	*f = (struct net_frame){
		.header = (const struct net_header *)n->pages[page], .data = n->pages[page] + sizeof(struct net_header),
		.here = bytes - (uint32_t)sizeof(struct net_header), .bytes = bytes - (uint32_t)sizeof(struct net_header), .buffers = 1,
	};
	f->pages[0] = (uint16_t)page;
	CHECK(f->header->num_buffers >= 1 && f->header->num_buffers <= NET_PIECES, "a frame in %u buffers", f->header->num_buffers);
	while (f->buffers < f->header->num_buffers) {
		CHECK(virtio_used_bytes(&n->rx, &page, &bytes), "buffer %u of %u has not come", f->buffers, f->header->num_buffers);
		CHECK(page < NET_RX && bytes > 0 && bytes <= NET_PAGE, "page %u came with %u bytes", page, bytes);
		f->pages[f->buffers++] = (uint16_t)page;
		f->bytes += bytes;
	}
	return true;
}

void net_give_back(struct net *n, const struct net_frame *f)
{
	for (unsigned i = 0; i < f->buffers; i++)
		post(n, f->pages[i]);
}

unsigned net_free(const struct net *n) { return n->free ? bit_lowest(n->free) : NET_TX; }

void net_reap(struct net *n)
{
	uint32_t slot;

	while (virtio_used(&n->tx, &slot)) {
		CHECK(slot < NET_TX && !(n->free & 1u << slot), "frame %u has been sent, which was not under way", slot);
		n->free |= 1u << slot;
	}
	/* As far away as an index can be. */
	n->tx.avail->used_event = (uint16_t)(n->tx.seen - 1);
}

bool net_ask_reaped(struct net *n)
{
	uint16_t half = (uint16_t)(n->tx.seen + (uint16_t)(n->tx.offered - n->tx.seen) / 2);

	n->tx.avail->used_event = half;
	__sync_synchronize();
	return (uint16_t)(n->tx.used->index - n->tx.seen) > (uint16_t)(half - n->tx.seen);
}

void net_send(struct net *n, unsigned slot, uint32_t head_bytes, const void *payload, uint32_t bytes)
{
	struct net_slot *s = &n->slots[slot];
	uint64_t at = (uint64_t)payload;
	unsigned count = 2;

	n->free &= ~(1u << slot);
	s->table[0] = (struct virtio_desc){(uint64_t)&s->header, sizeof s->header, VIRTIO_DESC_NEXT, 1};
	s->table[1] = (struct virtio_desc){(uint64_t)s->head, head_bytes, 0, 0};
	for (uint32_t piece; bytes; bytes -= piece, at += piece, count++) {
		CHECK(count < NET_PIECES, "too large a frame");
		piece = MIN(bytes, NET_PAGE - (uint32_t)(at % NET_PAGE));
		s->table[count - 1].flags = VIRTIO_DESC_NEXT;
		s->table[count - 1].next = (uint16_t)count;
		s->table[count] = (struct virtio_desc){at, piece, 0, 0};
	}
	CHECK(n->function.features & VIRTIO_F_INDIRECT, "the device has no indirect tables");
	n->tx.desc[slot] = (struct virtio_desc){(uint64_t)s->table, count * (uint32_t)sizeof s->table[0], VIRTIO_DESC_INDIRECT, 0};
	virtio_offer(&n->tx, (uint16_t)slot);
}
