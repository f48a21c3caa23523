/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory in segments, as devices are given it: the data of a disk's request, a frame on its way. Who may write to it
 * meanwhile is said where the list comes from.
 */
#ifndef CORBEL_IO_SEGMENT_H
#define CORBEL_IO_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

/* Host memory, of any size and alignment. */
struct io_segment {
	void *data;
	uint32_t bytes;
};

/* A place in a list of segments. */
struct segment_cursor {
	const struct io_segment *segment;
	uint32_t left; /* segments from here on */
	uint32_t skip; /* bytes of the first that are passed over */
};

/* The next piece of at most @most bytes that lies in one segment; its size, 0 at the end. */
uint32_t segment_next(struct segment_cursor *c, uint64_t most, uint8_t **data);
/* Passes over @bytes. */
void segment_advance(struct segment_cursor *c, uint64_t bytes);
/* Moves the cursor over @bytes, copying; false when the segments end before. */
bool segment_copy_from(struct segment_cursor *c, void *to, uint64_t bytes);
bool segment_copy_to(struct segment_cursor *c, const void *from, uint64_t bytes);
bool segment_clear(struct segment_cursor *c, uint64_t bytes);

#endif
