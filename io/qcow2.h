/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images in the qcow2 format, versions 2 and 3, as read-only volumes: as the base
 * of a layer, or to be imported. Any cluster size is read, and images with
 * internal snapshots (their live state). Not read: images with a backing file, which
 * are named and refused when opened (`qemu-img convert` makes one of the two),
 * encrypted ones, those with an external data file or extended entries, and those
 * marked corrupt; compressed clusters fail when they are read.
 *
 * Every field is checked before it is used, and what entries point to each time, for
 * tables are not read as a whole: blocks of them are held in a small cache. Reference
 * counts are not looked at, a reader needs none.
 *
 * Source: QEMU, docs/interop/qcow2.txt (the format's specification).
 */
#ifndef CORBEL_IO_QCOW2_H
#define CORBEL_IO_QCOW2_H

#include "io/block.h"

#define QCOW2_BLOCKS 64u
#define QCOW2_BLOCK_BYTES 4096u
#define QCOW2_JOBS 8u

struct qcow2;

/* A piece of a table in memory. */
struct qcow2_block {
	uint64_t number; /* of the file, from 1; 0: none */
	bool loading;
	uint8_t bytes[QCOW2_BLOCK_BYTES];
};

/* A request that could not simply be passed on. */
struct qcow2_job {
	struct qcow2 *q;
	struct block_request *request; /* NULL: free */
	struct segment_cursor memory;
	uint64_t at, left, piece;      /* bytes of the image */
	bool has_table;                /* kept, or jobs could push out each other's blocks for ever: */
	uint64_t table;                /* the second table of the piece, 0: none */
	struct qcow2_block *loading;   /* by this job */
	bool busy, moving;             /* io is under way; it is data */
	struct block_request io;
	struct io_segment segment;
};

struct qcow2 {
	struct block_device device;
	struct block_device *base;
	unsigned cluster_bits, version;
	uint64_t bytes, file_bytes, l1_at;
	uint32_t l1_entries;
	struct list waiting;
	struct block_request *submitting;
	bool kicking, again;
	struct qcow2_job jobs[QCOW2_JOBS];
	struct qcow2_block blocks[QCOW2_BLOCKS];
};

/*
 * Opens the image on @base, of sectors of 512 bytes, which stays; the control task's, synchronous. @q is the caller's
 * memory. ST_NOT_FOUND: no qcow2 image; ST_UNSUPPORTED: see above, the sentence says what; ST_CORRUPT: a
 * field contradicts the format or the file.
 */
enum status qcow2_open(struct qcow2 *q, struct block_device *base, const char *name, struct error *err) MUST_CHECK;

#endif
