/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio block device (virtio 1.2 section 5.2). A request is read from its chain
 * once, its memory is pinned piece by piece and handed to the disk as it lies:
 * nothing is copied. It parks wherever a pin answers LATER and goes on from there.
 * A request of more pieces than there is room for is done in several rounds.
 *
 * The number of requests under way is bounded, whatever the guest asks: what is
 * above stays in its ring. So is the memory: everything is made by init.
 *
 * What a driver may rely on: without FLUSH negotiated, or with WCE = 0, a write is on
 * the medium before it completes. Errors are IOERR or UNSUPP. A thin volume that found no
 * space (ST_OVER_LIMIT) is no error to the guest: the request waits, the owner
 * is told (it pauses the VM), and virtio_blk_retry() tries again.
 */
#ifndef CORBEL_IO_VIRTIO_BLK_H
#define CORBEL_IO_VIRTIO_BLK_H

#include "io/block.h"
#include "io/coalesce.h"
#include "io/virtio.h"
#include "lib/clock.h"

/* Feature bits (5.2.3). */
#define VIRTIO_BLK_F_SIZE_MAX BIT(1)
#define VIRTIO_BLK_F_SEG_MAX BIT(2)
#define VIRTIO_BLK_F_GEOMETRY BIT(4)
#define VIRTIO_BLK_F_RO BIT(5)
#define VIRTIO_BLK_F_BLK_SIZE BIT(6)
#define VIRTIO_BLK_F_FLUSH BIT(9)
#define VIRTIO_BLK_F_TOPOLOGY BIT(10)
#define VIRTIO_BLK_F_CONFIG_WCE BIT(11)
#define VIRTIO_BLK_F_MQ BIT(12)
#define VIRTIO_BLK_F_DISCARD BIT(13)
#define VIRTIO_BLK_F_WRITE_ZEROES BIT(14)

/* Offsets in the configuration space (5.2.4). */
#define VIRTIO_BLK_CFG_CAPACITY 0 /* le64, in 512-byte sectors */
#define VIRTIO_BLK_CFG_SIZE_MAX 8
#define VIRTIO_BLK_CFG_SEG_MAX 12
#define VIRTIO_BLK_CFG_CYLINDERS 16 /* le16 */
#define VIRTIO_BLK_CFG_HEADS 18     /* u8 */
#define VIRTIO_BLK_CFG_SECTORS 19   /* u8 */
#define VIRTIO_BLK_CFG_BLK_SIZE 20
#define VIRTIO_BLK_CFG_PHYSICAL_BLOCK_EXP 24 /* u8 */
#define VIRTIO_BLK_CFG_ALIGNMENT_OFFSET 25   /* u8 */
#define VIRTIO_BLK_CFG_MIN_IO_SIZE 26        /* le16 */
#define VIRTIO_BLK_CFG_OPT_IO_SIZE 28
#define VIRTIO_BLK_CFG_WRITEBACK 32  /* u8 */
#define VIRTIO_BLK_CFG_NUM_QUEUES 34 /* le16 */
#define VIRTIO_BLK_CFG_MAX_DISCARD_SECTORS 36
#define VIRTIO_BLK_CFG_MAX_DISCARD_SEG 40
#define VIRTIO_BLK_CFG_DISCARD_SECTOR_ALIGNMENT 44
#define VIRTIO_BLK_CFG_MAX_WRITE_ZEROES_SECTORS 48
#define VIRTIO_BLK_CFG_MAX_WRITE_ZEROES_SEG 52
#define VIRTIO_BLK_CFG_WRITE_ZEROES_MAY_UNMAP 56 /* u8 */
#define VIRTIO_BLK_CFG_MAX_SECURE_ERASE_SECTORS 60
#define VIRTIO_BLK_CFG_MAX_SECURE_ERASE_SEG 64
#define VIRTIO_BLK_CFG_SECURE_ERASE_SECTOR_ALIGNMENT 68
#define VIRTIO_BLK_CFG_BYTES 72

/* Request types and status (5.2.6). */
#define VIRTIO_BLK_T_IN 0
#define VIRTIO_BLK_T_OUT 1
#define VIRTIO_BLK_T_FLUSH 4
#define VIRTIO_BLK_T_GET_ID 8
#define VIRTIO_BLK_T_DISCARD 11
#define VIRTIO_BLK_T_WRITE_ZEROES 13
#define VIRTIO_BLK_S_OK 0
#define VIRTIO_BLK_S_IOERR 1
#define VIRTIO_BLK_S_UNSUPP 2
#define VIRTIO_BLK_HEADER_BYTES 16
#define VIRTIO_BLK_ID_BYTES 20
#define VIRTIO_BLK_RANGE_BYTES 16 /* one segment of a discard or write-zeroes */
#define VIRTIO_BLK_RANGE_UNMAP BIT(0)

#define VIRTIO_BLK_SECTOR 512u
#define VIRTIO_BLK_QUEUE_SIZE 128u
#define VIRTIO_BLK_SEGMENTS 126u /* seg_max: a chain has two more */
#define VIRTIO_BLK_RANGES 16u    /* of one discard or write-zeroes */
#define VIRTIO_BLK_QUEUES_MAX 16u

/* What takes the requests: an I/O scheduler's client, or a disk. */
struct virtio_blk_backend_ops {
	/*
	 * Takes @r, which fits the disk (block_check). Never refuses. Called with the device's lock held. True: it is
	 * done on return. False: r->complete is called later, masked, on any CPU, with no lock of rank LOCK_IO or later
	 * held. Completions of other requests may be told from within, even of this device: complete never waits for
	 * the device's lock.
	 */
	bool (*submit)(void *ctx, struct block_request *r);
	/* Takes @r back if nothing has begun on it: true, and complete is not called. May be NULL. */
	bool (*cancel)(void *ctx, struct block_request *r);
};

struct virtio_blk_config {
	struct guest_mem mem;
	const struct virtio_blk_backend_ops *backend;
	void *backend_ctx;
	const struct block_device *disk; /* what it is: sizes and abilities. Looked at by init and virtio_blk_resized() */
	char serial[VIRTIO_BLK_ID_BYTES]; /* padded with NUL, without one when it is full */
	unsigned queues;   /* 1 .. VIRTIO_BLK_QUEUES_MAX */
	unsigned requests; /* at once, over all queues: at least 1 */
	unsigned large;    /* of those, how many may have many pieces at a time (10 KiB of memory each): at least 1 */
	struct coalesce_settings coalesce; /* which completions interrupt; COALESCE_OFF: all that the driver wants to hear of */
	const struct clock *clock;         /* NULL: without one it stays off */
	void (*no_space)(void *ctx); /* the disk is full: a request waits. Masked, device's lock held; once until retry */
	void *no_space_ctx;
	void (*failed)(void *ctx); /* a request has failed at the disk, not by what was asked. Likewise; may be NULL */
	void *failed_ctx;
};

struct virtio_blk_figures {
	uint64_t reads, writes, flushes, discards, write_zeroes; /* ended, those that failed included */
	uint64_t read_bytes, written_bytes;
	uint64_t errors, unsupported;
	uint64_t parked;    /* times that a request waited for memory */
	uint64_t held;      /* completions for which no interrupt was sent at once */
	uint64_t interrupts; /* sent; with those for the configuration */
	uint64_t kicks_held; /* of those, sent to a processor of the guest that was not made to look at once */
	uint32_t in_flight; /* at the disk now */
	uint32_t waiting_for_space;
};

struct virtio_blk;

/* Bytes of memory that virtio_blk_init() needs, 64-byte aligned. */
size_t virtio_blk_bytes(const struct virtio_blk_config *cfg);
/*
 * Makes the device in @memory, which stays with the caller and outlives it. ST_INVALID with a sentence when @cfg is out
 * of range or the disk's sectors are larger than it can serve.
 */
enum status virtio_blk_init(void *memory, const struct virtio_blk_config *cfg, struct virtio_blk **out,
			    struct error *err) MUST_CHECK;
struct virtio_device *virtio_blk_device(struct virtio_blk *b);

/* The disk changed its size: the driver is told. Takes the device's lock; interrupts masked. */
void virtio_blk_resized(struct virtio_blk *b);
/* Other settings count from now on. Takes the device's lock; interrupts masked. */
void virtio_blk_set_coalesce(struct virtio_blk *b, const struct coalesce_settings *set);
/* Space was added: what waits for it is tried again. Takes the device's lock; interrupts masked. */
void virtio_blk_retry(struct virtio_blk *b);
/* Takes the device's lock; interrupts masked. */
void virtio_blk_figures(struct virtio_blk *b, struct virtio_blk_figures *out);

#endif
