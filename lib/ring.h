/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded byte FIFO, one producer and one consumer, safe between an interrupt
 * handler and a task on one CPU or between two CPUs. Free-running 32-bit
 * indexes; size is a power of two. A full ring refuses bytes and counts them.
 * Several producers, or several consumers, are serialised by their owner.
 */
#ifndef CORBEL_LIB_RING_H
#define CORBEL_LIB_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring {
	uint8_t *buf;       /* owned by the creator */
	uint32_t size;      /* power of two */
	uint32_t head;      /* written by the producer */
	uint32_t tail;      /* written by the consumer */
	uint64_t dropped;   /* bytes refused because full */
};

void ring_init(struct ring *r, void *buf, uint32_t size);
static inline uint32_t ring_used(const struct ring *r)
{
	return __atomic_load_n(&r->head, __ATOMIC_ACQUIRE) - __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
}
static inline uint32_t ring_free(const struct ring *r) { return r->size - ring_used(r); }

/* Puts one byte; false (and counted) when full. */
bool ring_put(struct ring *r, uint8_t byte);
/* Takes one byte; false when empty. */
bool ring_get(struct ring *r, uint8_t *byte);
/* Puts up to @len bytes without counting what did not fit; returns how many. */
size_t ring_write(struct ring *r, const void *data, size_t len);
size_t ring_read(struct ring *r, void *out, size_t max);

#endif
