/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio memory balloon (virtio 1.2 section 5.5): the guest gives pages away
 * (inflate), asks for them back (deflate) and, when asked, tells what its memory is
 * used for. What is done with the pages and how many are wanted is not decided here:
 * that is memory policy, behind struct virtio_balloon_ops.
 */
#ifndef CORBEL_IO_VIRTIO_BALLOON_H
#define CORBEL_IO_VIRTIO_BALLOON_H

#include "io/virtio_job.h"

/* Feature bits (5.5.3). */
#define VIRTIO_BALLOON_F_MUST_TELL_HOST BIT(0)
#define VIRTIO_BALLOON_F_STATS_VQ BIT(1)
#define VIRTIO_BALLOON_F_DEFLATE_ON_OOM BIT(2)

/* Offsets in the configuration space (5.5.4). */
#define VIRTIO_BALLOON_CFG_NUM_PAGES 0
#define VIRTIO_BALLOON_CFG_ACTUAL 4
#define VIRTIO_BALLOON_CFG_BYTES 8

/* Tags of statistics (5.5.6.4). */
enum virtio_balloon_stat {
	VIRTIO_BALLOON_S_SWAP_IN,
	VIRTIO_BALLOON_S_SWAP_OUT,
	VIRTIO_BALLOON_S_MAJFLT,
	VIRTIO_BALLOON_S_MINFLT,
	VIRTIO_BALLOON_S_MEMFREE,
	VIRTIO_BALLOON_S_MEMTOT,
	VIRTIO_BALLOON_S_AVAIL,
	VIRTIO_BALLOON_S_CACHES,
	VIRTIO_BALLOON_S_HTLB_PGALLOC,
	VIRTIO_BALLOON_S_HTLB_PGFAIL,
	VIRTIO_BALLOON_STATS
};
#define VIRTIO_BALLOON_STAT_BYTES 10
#define VIRTIO_BALLOON_PAGE_COST_MAX 16000u

#define VIRTIO_BALLOON_QUEUE_SIZE 128u
enum { VIRTIO_BALLOON_INFLATE, VIRTIO_BALLOON_DEFLATE, VIRTIO_BALLOON_STATSQ, VIRTIO_BALLOON_QUEUES };

/* The memory side. The device's lock is held; a call is bounded and takes at most locks below LOCK_DEVICE. */
struct virtio_balloon_ops {
	/* The guest gives page @f away, any number: it need not be RAM, or new to the balloon. False: not taken. */
	bool (*inflate)(void *ctx, gfn_t f);
	/* It wants @f back, likewise. */
	void (*deflate)(void *ctx, gfn_t f);
	/* New statistics are there: @present has a bit for each tag that the guest gave. May be NULL. */
	void (*stats)(void *ctx, const uint64_t values[VIRTIO_BALLOON_STATS], uint32_t present);
	/* The driver changed what it says is in the balloon. May be NULL. */
	void (*actual)(void *ctx, uint32_t pages);
	unsigned page_cost; /* of inflate or deflate at most, in host instructions: up to VIRTIO_BALLOON_PAGE_COST_MAX */
};

/* A queue's chain that is being read, and the part of a record that has been. */
struct virtio_balloon_list {
	struct virtio_job job;
	struct virtq_buffer buffers[VIRTIO_BALLOON_QUEUE_SIZE];
	uint8_t part[VIRTIO_BALLOON_STAT_BYTES];
	uint8_t part_bytes;
};

struct virtio_balloon {
	struct virtio_device device;
	struct virtio_queue queues[VIRTIO_BALLOON_QUEUES];
	const struct virtio_balloon_ops *ops;
	void *ctx;
	uint8_t config[VIRTIO_BALLOON_CFG_BYTES];
	struct virtio_balloon_list lists[VIRTIO_BALLOON_QUEUES];
	bool stats_held;  /* the guest's one statistics buffer is here, in lists[STATSQ], for the next question */
	bool stats_wanted; /* asked while it was not */
	uint64_t values[VIRTIO_BALLOON_STATS];
	uint32_t present;
	uint64_t inflated, deflated, refused; /* pages since power-on */
};

/* @b stays with the caller. */
void virtio_balloon_init(struct virtio_balloon *b, const struct guest_mem *mem, const struct virtio_balloon_ops *ops,
			 void *ctx);
/* How many pages the host wants in the balloon. Takes the device's lock; interrupts masked. */
void virtio_balloon_target(struct virtio_balloon *b, uint32_t pages);
/* How many the driver says are in it. */
uint32_t virtio_balloon_actual(const struct virtio_balloon *b);
/* Asks for statistics; stats() comes when the guest answers. Takes the device's lock; interrupts masked. */
void virtio_balloon_ask(struct virtio_balloon *b);

#endif
