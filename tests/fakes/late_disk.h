/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk behind virtio-blk that answers when the test says so, in any order, and
 * touches the memory of a request at that moment and not before: memory that was let
 * go too early is caught. It has a write cache, so that what a guest was told is durable
 * can be held against what is.
 */
#ifndef CORBEL_TESTS_LATE_DISK_H
#define CORBEL_TESTS_LATE_DISK_H

#include "io/virtio_blk.h"
#include "tests/model/random.h"

struct late_disk {
	struct block_device device; /* what it is; its ops are not used */
	uint8_t *view, *platter;    /* what reads see; what a power cut leaves */
	struct list held;
	struct random_state random;
	bool at_once;      /* answers inside submit() */
	bool cancellable;
	bool nosy;         /* submit() notices that another request is done, and says so from within */
	unsigned too_late; /* percent of those that cannot be cancelled all the same */
	/* The n-th request from now on ends with fail_with, and all after it as long as fail_more is set; 0: none. */
	uint64_t fail_at;
	bool fail_more;
	enum status fail_with;
	uint64_t submitted[BLOCK_OP_COUNT], cancelled;
	unsigned holding;
	struct block_request last; /* as it was submitted */
};

void late_disk_init(struct late_disk *d, uint64_t sectors, uint32_t sector_bytes);
void late_disk_fini(struct late_disk *d);
extern const struct virtio_blk_backend_ops late_disk_ops; /* ctx: struct late_disk */
/* Ends up to @most of those held, any of them; how many it was. */
unsigned late_disk_end(struct late_disk *d, unsigned most);

#endif
