/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device's parts, for virtio_blk.c (the device) and virtio_blk_request.c
 * (the life of a request) alone.
 *
 * A request is at one place at a time: free; in its queue's ready list, to be gone on
 * with by work(); parked, its pin belongs to the memory side; at the disk; or in the
 * list of those that wait for space. Everything is under the device's lock.
 */
#ifndef CORBEL_IO_VIRTIO_BLK_INTERNAL_H
#define CORBEL_IO_VIRTIO_BLK_INTERNAL_H

#include "io/virtio_blk.h"

/* Buffers of a chain, and pieces of host memory, that each request has room for; more need a struct blk_room. */
#define BLK_SMALL 8u
#define BLK_PIECES 256u

/* What is needed to unpin a piece, besides its segment. */
struct blk_held {
	gpa_t at;
	uint64_t cookie;
};

/* Room for a large request. A sector in the smallest buffers has at most two pieces for each of them. */
struct blk_room {
	struct list link; /* while free */
	struct virtq_buffer buffers[VIRTIO_BLK_QUEUE_SIZE];
	struct io_segment segments[BLK_PIECES];
	struct blk_held held[BLK_PIECES];
};
_Static_assert(BLK_PIECES >= 2 * VIRTIO_BLK_QUEUE_SIZE, "a sector in any framing fits");

enum blk_step {
	BLK_STATUS, /* pin the status byte: it stays pinned, so that the end never waits */
	BLK_HEADER, /* read the 16 bytes, unless they lie in the same page and were read with that */
	BLK_ID,     /* write the serial number */
	BLK_RANGES, /* read what is to be discarded or zeroed */
	BLK_GATHER, /* pin as much of the data as there is room for */
	BLK_SUBMIT, /* hand it, or the next range, or a flush, to the disk */
	BLK_DISK,   /* it is there */
};

enum blk_place { BLK_FREE, BLK_READY, BLK_PARKED, BLK_AT_DISK, BLK_NO_SPACE };

struct blk_range {
	uint64_t sector; /* of 512 bytes */
	uint32_t sectors, flags;
};
_Static_assert(sizeof(struct blk_range) == VIRTIO_BLK_RANGE_BYTES, "5.2.6");

struct blk_small {
	struct io_segment segments[BLK_SMALL];
	struct blk_held held[BLK_SMALL];
};

struct blk_request {
	struct block_request block;
	struct virtio_blk *blk;
	struct list link; /* free, ready or waiting for space */
	enum blk_place place;
	enum blk_step step;
	struct blk_request *next_done; /* in virtio_blk.done */
	uint16_t queue;
	uint16_t copied;       /* of the header, the ranges or the id: bytes so far */
	bool durable;          /* the last step: a flush that the driver did not ask for */
	uint8_t ranges, range; /* how many, and which is next */
	uint8_t result;        /* for the status byte */
	uint32_t type;
	uint64_t sector;  /* of 512 bytes: the next of the data */
	uint32_t written; /* data bytes that are in guest memory */
	struct virtq_chain chain;
	struct virtq_cursor at;    /* what is not pinned yet of the data */
	struct virtq_cursor round; /* where the pieces that are pinned begin */
	struct blk_held status;    /* the status byte */
	uint8_t *status_va;        /* NULL until it is pinned */
	struct guest_pin pin;      /* the question asked last */
	struct blk_room *room;     /* NULL: the small one */
	struct io_segment *segments;
	struct blk_held *held;
	uint32_t pieces, pieces_max;
	uint64_t pinned_bytes;
	uint8_t header[VIRTIO_BLK_HEADER_BYTES];
	struct virtq_buffer buffers[BLK_SMALL];
	union {
		struct blk_small small;
		struct blk_range list[VIRTIO_BLK_RANGES];
	};
};

struct blk_queue {
	struct list ready;
	struct coalesce coalesce;
	uint16_t idle; /* of those in flight: parked, or waiting for space */
	bool notify;   /* pushed, and the driver is to be told */
	uint64_t gap;  /* with notify: coalesce_gap() */
};

struct virtio_blk {
	struct virtio_device device;
	struct virtio_blk_config cfg;
	struct virtio_queue queues[VIRTIO_BLK_QUEUES_MAX];
	struct blk_queue state[VIRTIO_BLK_QUEUES_MAX];
	uint8_t config[VIRTIO_BLK_CFG_BYTES];
	struct blk_request *requests; /* cfg.requests of them */
	struct list free, rooms, no_space;
	/*
	 * Done at the disk, the last first. Whoever tells us may hold this device's lock (it is in submit()), or
	 * another's, so nobody waits for a lock there: who finds it taken leaves the request here and has
	 * virtio_work() called. Atomic.
	 */
	struct blk_request *done;
	struct blk_request *taken, **taken_end; /* those that the holder of the lock has, the first first */
	uint32_t starved; /* queues with something in the ring for which there was no room */
	bool working;     /* in work(): it tells the driver at its end */
	struct virtq_buffer scratch[VIRTIO_BLK_QUEUE_SIZE]; /* a chain before its size is known */
	struct virtio_blk_figures figures;
};

/* Host instructions: what a step takes at most, and what it usually takes. */
#define BLK_POP_MAX 6000u
#define BLK_COLLECT_MAX 16u /* requests */
#define BLK_POP_COST 200u
#define BLK_BUFFER_COST 30u
#define BLK_STEP_MAX 3000u
#define BLK_PIN_COST 500u
#define BLK_SUBMIT_COST 700u
#define BLK_PIECE_COST 50u
_Static_assert(BLK_STEP_MAX + BLK_PIECES * BLK_PIECE_COST < VIRTIO_INLINE_BUDGET - 200, "each step fits a turn");

static inline struct virtio_blk *blk_of(struct virtio_device *d) { return container_of(d, struct virtio_blk, device); }

/* Takes a request for the chain that was popped into the scratch. NULL: there is no room. */
struct blk_request *blk_take(struct virtio_blk *b, unsigned queue, const struct virtq_chain *c);
/* Goes on with @r, which is ready and in no list, until it ends or waits. True: the budget is spent, it is in the list. */
bool blk_advance(struct blk_request *r, unsigned *budget);
/* Calls @r back if that can be done now; otherwise it is dropped when it comes. */
void blk_abandon(struct blk_request *r);
/* Puts @r into its queue's ready list, to be gone on with. */
void blk_ready(struct blk_request *r);
/* Tells the driver of what it is to be told of. */
void blk_tell_now(struct virtio_blk *b, unsigned index);
/* Tells the driver of what was pushed into queue @index, or has work() do so at its end; @gap: coalesce_gap(). */
static inline void blk_tell(struct virtio_blk *b, unsigned index, uint64_t gap)
{
	struct blk_queue *state = &b->state[index];

	state->gap = state->notify ? MIN(state->gap, gap) : gap;
	state->notify = true;
	if (!b->working)
		blk_tell_now(b, index);
}
/* Takes in what is done at the disk, so much that the lock is not held for long; virtio_work() comes for the rest. */
void blk_collect(struct virtio_device *d);
/* True: writes wait for the medium (5.2.6.2). */
bool blk_writethrough(const struct virtio_blk *b);

#endif
