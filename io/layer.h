/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copy-on-write volumes in a pool. A pool is a range of a block device (a
 * partition); its layers are volumes that store what was written to them and take
 * the rest from their parent, another layer, or from a base outside the pool, or
 * read as zeroes. Space is taken in clusters of 64 KiB when something is
 * written, but copied and kept valid by 4 KiB: a 4 KiB write never copies 64. A
 * clone or a snapshot is a new record in the directory, whatever the volume's size.
 *
 * No metadata is overwritten in place: a commit writes what has changed to free
 * blocks, flushes, and then writes one of two superblocks, so at each moment the
 * medium holds one whole state, and all checksums hang from that superblock. What
 * is free is found out when a pool is opened, by reading all metadata, which checks it as
 * well. docs/storage.md has the format bit by bit and the reasoning.
 *
 * Requests park and resume; nothing waits. All calls into a pool belong to the domain of
 * its device (io/block.h). Opening and formatting are the control task's and synchronous.
 * No allocation: all memory is given when the pool is opened.
 */
#ifndef CORBEL_IO_LAYER_H
#define CORBEL_IO_LAYER_H

#include "io/block.h"

#define LAYER_CLUSTER_BYTES 65536u
#define LAYER_BLOCK_BYTES 4096u
#define LAYER_MAX 64u                 /* layers of a pool */
#define LAYER_DEPTH_MAX 8u            /* layers of a chain, the top one included */
#define LAYER_NAME_MAX 64u            /* with the NUL; names as of volumes */
#define LAYER_BYTES_MAX (1ull << 40)  /* of one layer */
#define LAYER_POOL_BYTES_MIN (4ull << 20)
#define LAYER_CACHE_MIN 32u           /* metadata pages held in memory */
#define LAYER_CACHE_MAX 8192u

struct layer_pool;
struct layer;

/* ---- pools: synchronous, the control task's ---- */

/* Bytes of memory that a pool on @range takes with @cache_pages in memory; 0: the range is too small or too large. */
size_t layer_pool_memory(const struct block_range *range, uint32_t cache_pages);

/* Writes an empty pool over whatever is there. @id is random and tells pools apart. */
enum status layer_pool_format(const struct block_range *range, uint64_t id, struct error *err) MUST_CHECK;

/*
 * Opens the pool on @range. @memory, aligned to 4096 and of layer_pool_memory() bytes, is the pool's until it
 * is not used any more. All metadata is read: 16 bytes for each cluster in use, and more. ST_NOT_FOUND: no pool is
 * there. ST_CORRUPT: neither superblock is good, or what hangs from the better one contradicts itself; the
 * sentence says where. ST_UNSUPPORTED: incompatible features. With unknown features of the read-only kind, or a
 * read-only device, it is opened for reading. Merges and deletions that were under way go on by themselves.
 */
enum status layer_pool_open(const struct block_range *range, void *memory, size_t memory_bytes, uint32_t cache_pages,
			    struct layer_pool **out, struct error *err) MUST_CHECK;

/*
 * A bounded step of all that is under way, the device below included; true when something moved. Operations
 * and parked requests go on by completions as well, but one that works in memory alone needs polls.
 */
bool layer_pool_poll(struct layer_pool *p);
/* No request, operation or commit is under way; requests that were passed on to a base are not known here. */
bool layer_pool_is_idle(const struct layer_pool *p);

struct layer_pool_stats {
	uint64_t id, generation;
	uint64_t clusters, clusters_free;       /* of 64 KiB */
	uint64_t meta_blocks, meta_blocks_free; /* of 4 KiB */
	uint32_t layers;
	bool writable;
	char why_not[ERROR_TEXT_MAX];           /* when not writable */
	/* since it was opened */
	uint64_t commits, commit_blocks;        /* metadata blocks written, superblocks included */
	uint64_t page_loads, parked;            /* metadata pages read; requests not passed on at once */
	uint64_t copied_blocks;                 /* 4 KiB blocks read from below in order to be written */
	uint64_t full;                          /* requests that found no space */
};
void layer_pool_stats(const struct layer_pool *p, struct layer_pool_stats *out);

/* Takes in what the range has gained at its end. @range begins where the pool's does. ST_INVALID: it is smaller. */
enum status layer_pool_grow(struct layer_pool *p, const struct block_range *range, struct error *err) MUST_CHECK;

/* Walks all that is in memory and says what breaks a rule; for tests. */
bool layer_pool_check(const struct layer_pool *p, struct error *err);

/* ---- layers ---- */

enum layer_state {
	LAYER_LIVE = 1,  /* may be written to */
	LAYER_FROZEN,    /* a snapshot */
	LAYER_MERGING,   /* its blocks go to its one child */
	LAYER_DELETING,
	LAYER_FILLING    /* a copy that is not whole yet; when nobody copies any more, it can only be deleted */
};

struct layer_info {
	char name[LAYER_NAME_MAX], parent[LAYER_NAME_MAX], base[LAYER_NAME_MAX]; /* "": none */
	uint64_t bytes;     /* of the volume */
	uint64_t own_bytes; /* of the clusters that it has itself */
	enum layer_state state;
	unsigned children, depth;
	bool is_open;
};

/* The layer numbered @index or a later one, of 0 .. LAYER_MAX - 1; *next is for the next call. ST_NOT_FOUND: no more. */
enum status layer_list(const struct layer_pool *p, unsigned index, struct layer_info *out, unsigned *next) MUST_CHECK;
enum status layer_find(const struct layer_pool *p, const char *name, struct layer_info *out,
		       struct error *err) MUST_CHECK;

/*
 * Opens a layer; its device is layer_device(). A frozen one is read-only. @base: the device of the base that info
 * names, NULL when it has none; it is only read, and stays. ST_BUSY: it is open; ST_BAD_STATE: it is being merged
 * or deleted; ST_INVALID: the base is not what info says, or its sectors are larger than the pool's.
 */
enum status layer_open(struct layer_pool *p, const char *name, struct block_device *base, struct layer **out,
		       struct error *err) MUST_CHECK;
/* The same of one that is being filled (LAYER_FILLING), by who fills it. It has no base. */
enum status layer_open_filling(struct layer_pool *p, const char *name, struct layer **out, struct error *err) MUST_CHECK;
/* No request is under way any more. */
void layer_close(struct layer *l);
struct block_device *layer_device(struct layer *l);

/* ---- operations ---- */

/*
 * One at a time for a pool. Owned by the pool from begin until done. The text of @err is the reason when @status is not
 * ST_OK. What is done is durable.
 */
struct layer_op {
	void (*complete)(struct layer_op *op); /* may be NULL; as of a block request, never from inside the call that begins */
	bool done;
	enum status status;
	struct error err;
	uint64_t steps, steps_total; /* progress: clusters */
};

/*
 * All begin an operation or say at once why not: ST_BUSY: another one is under way; ST_DENIED: the pool is
 * read-only; ST_INVALID, ST_EXISTS, ST_NOT_FOUND: a name or a size; ST_OVER_LIMIT: LAYER_MAX, LAYER_DEPTH_MAX or
 * no space for metadata; ST_BAD_STATE: the layer's state does not allow it.
 */

/* A new volume of @bytes, a multiple of 4 KiB. @base names what it reads from where nothing was written; NULL: zeroes. */
enum status layer_create(struct layer_pool *p, const char *name, uint64_t bytes, const char *base, struct layer_op *op,
			 struct error *err) MUST_CHECK;
/*
 * Likewise without a base, and not whole before layer_complete(): until then only layer_open_filling() opens it, also
 * when the power fails in between.
 */
enum status layer_create_filling(struct layer_pool *p, const char *name, uint64_t bytes, struct layer_op *op,
				 struct error *err) MUST_CHECK;
/* What was written to it until now is all: it is a live volume, once all of that is durable. */
enum status layer_complete(struct layer_pool *p, const char *name, struct layer_op *op, struct error *err) MUST_CHECK;
/* What @name is now stays as @snapshot, frozen; @name goes on above it, also while it is open. */
enum status layer_snapshot(struct layer_pool *p, const char *name, const char *snapshot, struct layer_op *op,
			   struct error *err) MUST_CHECK;
/* A new volume @name with the content of the snapshot @from. */
enum status layer_clone(struct layer_pool *p, const char *from, const char *name, struct layer_op *op,
			struct error *err) MUST_CHECK;
/* Frees all that @name has. It is not open and has no children. */
enum status layer_delete(struct layer_pool *p, const char *name, struct layer_op *op, struct error *err) MUST_CHECK;
/* The snapshot @name goes, its one child takes over what it needs of it, also while it is open. */
enum status layer_merge(struct layer_pool *p, const char *name, struct layer_op *op, struct error *err) MUST_CHECK;
/* Makes a live volume larger; an open one at once. */
enum status layer_resize(struct layer_pool *p, const char *name, uint64_t bytes, struct layer_op *op,
			 struct error *err) MUST_CHECK;

#endif
