/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The producer publishes bytes by a release store of head, the consumer returns
 * room by a release store of tail; each reads the other's index with acquire.
 * Indexes run freely and wrap at 2^32, which the power-of-two size divides.
 */
#include "lib/ring.h"

#include "lib/assert.h"

void ring_init(struct ring *r, void *buf, uint32_t size)
{
	ASSERT(size != 0 && (size & (size - 1)) == 0);
	*r = (struct ring){.buf = buf, .size = size};
}

bool ring_put(struct ring *r, uint8_t byte)
{
	if (ring_write(r, &byte, 1) == 1)
		return true;
	r->dropped++;
	return false;
}

bool ring_get(struct ring *r, uint8_t *byte)
{
	return ring_read(r, byte, 1) == 1;
}

size_t ring_write(struct ring *r, const void *data, size_t len)
{
	const uint8_t *in = data;
	uint32_t head = r->head; /* ours alone to write */
	uint32_t room = ring_free(r); /* once: it may grow while we look */
	size_t n = MIN(len, room);

	for (size_t i = 0; i < n; i++)
		r->buf[(head + i) & (r->size - 1)] = in[i];
	__atomic_store_n(&r->head, head + (uint32_t)n, __ATOMIC_RELEASE);
	return n;
}

size_t ring_read(struct ring *r, void *out, size_t max)
{
	uint8_t *to = out;
	uint32_t tail = r->tail;
	uint32_t used = ring_used(r);
	size_t n = MIN(max, used);

	for (size_t i = 0; i < n; i++)
		to[i] = r->buf[(tail + i) & (r->size - 1)];
	__atomic_store_n(&r->tail, tail + (uint32_t)n, __ATOMIC_RELEASE);
	return n;
}
