/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio block device as a small kernel drives it (virtio 1.2, chapters 2 and 5.2), on virtio.h: one queue, up to
 * BLK_SLOTS requests under way at a time. With VIRTIO_F_INDIRECT each has a table of its own, without it three
 * descriptors of the ring's; with VIRTIO_F_EVENT_IDX an interrupt is asked for with each completion. Written from the
 * specification.
 */
#ifndef CORBEL_TESTS_GUESTS_BLK_H
#define CORBEL_TESTS_GUESTS_BLK_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/guests/lib/virtio.h"

#define BLK_SLOTS 32u
#define BLK_SECTOR 512u
#define BLK_DESCS 3u /* of a request: header, data, status */

/* Features (5.2.3) that blk_open() may be asked for, besides those of virtio.h. */
#define BLK_F_RO (1ull << 5)
#define BLK_F_FLUSH (1ull << 9)
#define BLK_F_DISCARD (1ull << 13)
#define BLK_F_WRITE_ZEROES (1ull << 14)

enum blk_type { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, BLK_DISCARD = 11, BLK_WRITE_ZEROES = 13 };
enum blk_status { BLK_OK, BLK_IOERR, BLK_UNSUPP, BLK_NOT_DONE = 0xff };

struct blk_range {
	uint64_t sector;
	uint32_t count, flags;
};

struct blk_slot {
	struct virtio_desc table[BLK_DESCS];
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header;
	struct blk_range range;
	volatile uint8_t status;
} __attribute__((aligned(16)));

struct blk {
	struct virtio_ring ring;
	struct virtio_function function;
	struct blk_slot slots[BLK_SLOTS];
	uint64_t sectors; /* of 512 bytes */
	uint32_t free;    /* slots, by bit */
};

/*
 * The block device at place @index of those on the bus, reset and made ready with those of @features that it offers
 * (function.features); its completions come as @vector to this processor. False: there is none. Ends the guest when the
 * device breaks a rule.
 */
bool blk_open(struct blk *b, unsigned index, uint8_t vector, uint64_t features);
/* A free slot, or BLK_SLOTS. */
unsigned blk_free(const struct blk *b);
/* Puts a request into free slot @slot; @data of @bytes is the device's until blk_take() has it back. */
void blk_ask(struct blk *b, unsigned slot, enum blk_type type, uint64_t sector, void *data, uint32_t bytes);
/* A discard, or zeroes, of @count sectors. */
void blk_ask_range(struct blk *b, unsigned slot, enum blk_type type, uint64_t sector, uint32_t count);
/* The device sees what was asked for; it is kicked if it wants to be. */
static inline void blk_kick(struct blk *b)
{
	if (virtio_show(&b->ring))
		virtio_kick(&b->function, 0);
}
/* Slot of the next request that has ended, BLK_SLOTS when there is none now. */
unsigned blk_take(struct blk *b);
/* The same; sleeps until there is one. The vector's handler has nothing to do but to end the interrupt. */
unsigned blk_wait(struct blk *b);

#endif
