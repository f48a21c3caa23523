/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio block device as a small kernel drives it (virtio 1.2, chapters 2, 4.1 and
 * 5.2): found on PCI bus 0, one queue, MSI-X, an indirect table for each request. Up to
 * BLK_SLOTS requests are under way at a time. Written from the specification.
 */
#ifndef CORBEL_TESTS_GUESTS_BLK_H
#define CORBEL_TESTS_GUESTS_BLK_H

#include <stdbool.h>
#include <stdint.h>

#define BLK_SLOTS 16u      /* of a queue as large; a power of two */
#define BLK_SECTOR 512u

/* Features (5.2.3, 6) that blk_open() may be asked for. */
#define BLK_F_RO (1ull << 5)
#define BLK_F_FLUSH (1ull << 9)
#define BLK_F_DISCARD (1ull << 13)
#define BLK_F_WRITE_ZEROES (1ull << 14)

enum blk_type { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, BLK_DISCARD = 11, BLK_WRITE_ZEROES = 13 };
enum blk_status { BLK_OK, BLK_IOERR, BLK_UNSUPP, BLK_NOT_DONE = 0xff };

struct blk_desc {
	uint64_t at;
	uint32_t bytes;
	uint16_t flags, next;
};

struct blk_range {
	uint64_t sector;
	uint32_t count, flags;
};

struct blk_slot {
	struct blk_desc table[3];
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header;
	struct blk_range range;
	volatile uint8_t status;
} __attribute__((aligned(16)));

struct blk {
	struct blk_desc desc[BLK_SLOTS];
	struct {
		uint16_t flags, index, ring[BLK_SLOTS];
	} avail;
	struct {
		uint16_t flags, index;
		struct {
			uint32_t head, written;
		} ring[BLK_SLOTS];
	} used __attribute__((aligned(4)));
	struct blk_slot slots[BLK_SLOTS];
	uint64_t features, sectors; /* accepted; of 512 bytes */
	uint32_t free;              /* slots, by bit */
	uint16_t offered, seen;
	volatile uint8_t *common, *device, *notify;
	uint16_t notify_port;       /* 0: by memory */
} __attribute__((aligned(16)));

/*
 * The block device at place @index of those on the bus, reset and made ready with those of @features that it offers;
 * its completions come as @vector to this processor. False: there is none. Ends the guest when the device breaks a
 * rule.
 */
bool blk_open(struct blk *b, unsigned index, uint8_t vector, uint64_t features);
/* A free slot, or BLK_SLOTS. */
unsigned blk_free(const struct blk *b);
/* Puts a request into free slot @slot; @data of @bytes is the device's until blk_take() has it back. */
void blk_ask(struct blk *b, unsigned slot, enum blk_type type, uint64_t sector, void *data, uint32_t bytes);
/* A discard, or zeroes, of @count sectors. */
void blk_ask_range(struct blk *b, unsigned slot, enum blk_type type, uint64_t sector, uint32_t count);
/* The device sees what was asked for. */
void blk_kick(struct blk *b);
/* Slot of the next request that has ended, BLK_SLOTS when there is none now. */
unsigned blk_take(struct blk *b);
/* The same; sleeps until there is one. The vector's handler has nothing to do but to end the interrupt. */
unsigned blk_wait(struct blk *b);

#endif
