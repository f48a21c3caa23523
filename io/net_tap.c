/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records one behind the other in a ring of bytes, addressed by how many were written and read so far: a record that
 * reaches the ring's end goes on at its beginning (see net_tap.h). A record is written whole or not at all.
 */
#include "io/net_tap.h"

#include <string.h>

#include "lib/assert.h"
#include "lib/bits.h"

_Static_assert(sizeof(struct net_tap_record) == 24, "a record has no holes: it is written as it lies in memory");
_Static_assert(NET_TAP_SNAP_MAX == NET_BYTES_MAX, "any frame can be kept whole");

void net_tap_init(struct net_tap *t, void *ring, uint32_t ring_bytes, uint32_t snap)
{
	ASSERT(ring_bytes > 0 && (ring_bytes & (ring_bytes - 1)) == 0 && snap <= NET_TAP_SNAP_MAX);
	*t = (struct net_tap){.ring = ring, .ring_bytes = ring_bytes, .snap = snap};
	lock_init(&t->lock, LOCK_NET_PORT);
}

/* Puts @bytes behind what was put before, at *head, which moves. */
static void put(struct net_tap *t, uint64_t *head, const void *data, uint32_t bytes)
{
	uint32_t at = (uint32_t)*head & (t->ring_bytes - 1), first = MIN(bytes, t->ring_bytes - at);

	memcpy(t->ring + at, data, first);
	memcpy(t->ring, (const uint8_t *)data + first, bytes - first);
	*head += bytes;
}

static void get(const struct net_tap *t, uint64_t *tail, void *data, uint32_t bytes)
{
	uint32_t at = (uint32_t)*tail & (t->ring_bytes - 1), first = MIN(bytes, t->ring_bytes - at);

	memcpy(data, t->ring + at, first);
	memcpy((uint8_t *)data + first, t->ring, bytes - first);
	*tail += bytes;
}

/* The first @bytes of @f: its head, then its segments behind what the head stands for. */
static void put_frame(struct net_tap *t, uint64_t *head, const struct net_frame *f, uint32_t bytes)
{
	struct segment_cursor c = {.segment = f->segments, .left = f->segment_count};
	uint32_t n = MIN(bytes, f->head_bytes);
	uint8_t *at;

	put(t, head, f->head, n);
	bytes -= n;
	if (bytes == 0)
		return;
	segment_advance(&c, f->fetched);
	while ((n = segment_next(&c, bytes, &at)) > 0) {
		put(t, head, at, n);
		bytes -= n;
	}
}

void net_tap_write(struct net_tap *t, const struct net_frame *f, bool sent, uint64_t now)
{
	struct net_tap_record r = {.at = now, .bytes = f->bytes, .kept = MIN(f->bytes, t->snap), .sent = sent};
	uint64_t head;

	lock_acquire(&t->lock);
	t->seen++;
	head = t->head;
	if (sizeof r + r.kept > t->ring_bytes - (head - t->tail)) {
		t->lost++;
	} else {
		put(t, &head, &r, sizeof r);
		put_frame(t, &head, f, r.kept);
		t->head += sizeof r + r.kept;
	}
	lock_release(&t->lock);
}

bool net_tap_read(struct net_tap *t, struct net_tap_record *r, void *data)
{
	bool any;

	lock_acquire(&t->lock);
	any = t->head != t->tail;
	if (any) {
		get(t, &t->tail, r, sizeof *r);
		get(t, &t->tail, data, r->kept);
	}
	lock_release(&t->lock);
	return any;
}
