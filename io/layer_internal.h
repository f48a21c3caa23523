/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool of layers from inside. The map of a layer is a tree of pages of 4 KiB with
 * 256 entries each: a root, nodes, leaves; a leaf's entry is one cluster. Pages are
 * held in a cache and found by the page above, which knows where in the cache each
 * of its children is: a look-up with everything in memory is three loads.
 *
 * What changes, and who may:
 *   a leaf      by jobs, unless it is part of a commit that has not written it yet;
 *   root, node  only by the commit, which enters where a child went, and by a deletion;
 *   directory   records in memory by operations; encoded by the commit.
 */
#ifndef CORBEL_IO_LAYER_INTERNAL_H
#define CORBEL_IO_LAYER_INTERNAL_H

#include "io/layer.h"
#include "io/space.h"
#include "lib/assert.h"
#include "lib/bits.h"

/* ---- the medium (docs/storage.md) ---- */

#define SUPER_MAGIC 0x3152594c4c425243ull /* "CRBLLYR1" */
#define SUPER_BYTES 512u
#define SUPER_SLOTS 2u
#define META_FIRST 16u       /* blocks: the first cluster has the superblocks alone */
#define META_BLOCKS_MIN 64u
#define META_SHARE 256u      /* of so many blocks of the range one is for metadata */
#define CLUSTER_BLOCKS (LAYER_CLUSTER_BYTES / LAYER_BLOCK_BYTES)
#define ALL_BLOCKS 0xffffu    /* of a cluster, a bit each */
#define FANOUT 256u
#define RECORD_BYTES 256u
#define RECORDS_PER_BLOCK (LAYER_BLOCK_BYTES / RECORD_BYTES)
#define DIRECTORY_BLOCKS (LAYER_MAX / RECORDS_PER_BLOCK)

#define FEATURE_FILLING BIT(0) /* incompatible: a layer is being filled (LAYER_FILLING) */

#define FEATURES_READ_ONLY_COMPATIBLE 0ull
#define FEATURES_INCOMPATIBLE FEATURE_FILLING

/* Where a page is: 0 and 0 and 0: nowhere, and nothing is below. Blocks are counted from 1 at META_FIRST. */
struct node_entry {
	uint32_t block, crc;
	uint64_t generation; /* of the superblock that it came with */
};

struct leaf_entry {
	uint32_t cluster;    /* counted from 1; 0: none */
	uint16_t valid;      /* a bit for each 4 KiB block: it is here */
	uint16_t zero;       /* it reads as zeroes, whatever is below */
	uint64_t checksum;   /* of the cluster's content; 0: none is kept */
};

_Static_assert(sizeof(struct node_entry) == 16 && sizeof(struct leaf_entry) == 16, "entries of the medium");
_Static_assert(FANOUT * sizeof(struct leaf_entry) == LAYER_BLOCK_BYTES, "a page is a block");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "pages are used as they lie on the medium");

struct super {
	uint64_t compatible, read_only_compatible, incompatible;
	uint64_t id, generation, next_layer;
	uint32_t meta_blocks, clusters;
	struct node_entry directory[DIRECTORY_BLOCKS];
};

#define NO_RECORD 0xffu

struct record {
	uint64_t id;     /* 0: the place is free */
	uint64_t parent_id, bytes, created;
	enum layer_state state;
	struct node_entry root;
	char name[LAYER_NAME_MAX], base[LAYER_NAME_MAX];
	/* found out */
	uint8_t parent;  /* record, NO_RECORD: none */
	uint16_t page;   /* its root in the cache, 0: not there */
	uint32_t clusters;
	struct layer *open;
};

/* ---- memory ---- */

enum page_kind { PAGE_ROOT, PAGE_NODE, PAGE_LEAF };
enum page_state { PAGE_FREE, PAGE_LOADING, PAGE_READY };

struct page {
	union {
		void *bytes;
		struct node_entry *node;
		struct leaf_entry *leaf;
	};
	uint16_t *child;    /* of a root or node: pages, 0: not in memory */
	uint16_t above;     /* page, 0 for a root */
	uint16_t place;     /* among the entries above */
	uint16_t children;  /* in memory */
	uint8_t record;
	uint8_t kind, state;
	uint8_t committing; /* enum committing */
	bool dirty;         /* belongs to the next commit */
	bool used;          /* since the hand went by */
};

/* Part of the commit under way: not to be changed until it has been written. */
enum committing { NOT_COMMITTING, COMMITTING, COMMITTING_WRITES };

enum turn { GO, WAIT, END };

enum phase {
	PHASE_NEXT,   /* looks what the next piece is */
	PHASE_MOVED,  /* the data of a piece has been read or written */
	PHASE_FILL,   /* the rest of a partly written block has been read */
	PHASE_MARK,   /* new blocks are written, and become valid */
	/* of the worker */
	PHASE_MERGE, PHASE_MERGE_READ, PHASE_MERGE_WRITTEN, PHASE_DELETE
};

struct job {
	struct list link;             /* idle or busy */
	struct layer_pool *pool;
	struct layer *layer;          /* NULL: the worker */
	struct block_request *request;
	struct segment_cursor memory;   /* of what is left */
	uint64_t at, left;            /* bytes of the volume */
	enum phase phase;
	uint16_t locked;              /* blocks that nobody else changes meanwhile, of cluster index of record */
	uint8_t record;
	uint32_t index;
	uint64_t piece;               /* bytes under way */
	uint16_t blocks;              /* to become valid */
	uint16_t loading;             /* page */
	bool busy;                    /* io is under way */
	bool flying;                  /* io reads or writes clusters */
	uint8_t parity;
	enum status status;           /* of END */
	struct block_request io;
	struct io_segment segment;
	uint8_t *buffer;              /* LAYER_BLOCK_BYTES */
	struct error err;
};

/* Leaves of a layer's own that were used last, found without a walk. */
#define NEAR 16u
#define NO_LEAF UINT32_MAX
struct near {
	uint32_t number;              /* of the leaf: cluster / FANOUT; NO_LEAF: none */
	struct leaf_entry *leaf;
};

struct layer {
	struct block_device device;
	struct layer_pool *pool;
	struct near near[NEAR];
	struct block_device *base;
	uint32_t depth;
	uint8_t chain[LAYER_DEPTH_MAX]; /* records, the top first */
	bool is_open;
	bool held;                    /* nothing new is begun: a snapshot waits for what is under way */
};

#define JOBS 16u
#define COMMIT_WRITES 8u

enum commit_state { COMMIT_IDLE, COMMIT_PAGES, COMMIT_FLUSH, COMMIT_SUPER, COMMIT_LAST_FLUSH };

struct commit_write {
	struct block_request io;
	struct io_segment segment;
	struct layer_pool *pool;
	uint16_t page;                /* 0: a block of the directory, the superblock or none */
	bool busy;
};

struct commit {
	enum commit_state state;
	bool nothing_new;             /* no metadata has changed: a flush is all */
	bool wanted;                  /* another one is to follow */
	enum page_kind kind;          /* being written: leaves, then nodes, then roots */
	uint32_t hand;
	uint32_t directory;           /* blocks of it to be written, a bit each */
	unsigned writing;
	struct list flushes;          /* requests that it ends */
	struct commit_write write[COMMIT_WRITES];
	uint8_t *super, *blocks[DIRECTORY_BLOCKS];
	uint64_t started, finished;   /* commits, counted */
	struct error err;
};

/* What a commit sets free: clusters, and with META_BIT blocks of metadata. */
#define META_BIT BIT(31)
#define FREED_BY_JOBS 1024u
struct freed {
	uint32_t *piece;
	uint32_t count, clusters;
};

enum op_state { OP_NONE, OP_QUIESCE, OP_DRAIN, OP_COMMIT, OP_WORK, OP_LAST_COMMIT };

struct layer_pool {
	/* What every request needs. */
	uint32_t cluster_shift;       /* sectors of a cluster, as a shift */
	uint32_t cluster_mask;
	uint32_t block_shift;         /* sectors of a block */
	uint64_t cluster_zero;        /* sector of the device where cluster 0 would be */
	void (*came_back)(struct block_request *r); /* of the parity */
	uint32_t *flying_now;
	struct block_device *device;  /* range.device */
	bool immediate;               /* it does not need to be counted what is under way */
	bool watching;                /* something waits for requests to come back */
	struct block_range range;
	unsigned sector_shift;
	uint64_t data_first;          /* bytes of the range where cluster 1 is */
	struct super super;
	struct space meta, clusters;
	struct page *pages;           /* [0] is none */
	uint32_t page_count, hand;
	uint32_t owed;                /* pages for which a commit will still take a block */
	struct record records[LAYER_MAX];
	uint32_t directory_dirty;
	struct layer layers[LAYER_MAX];
	struct job jobs[JOBS], worker;
	struct list idle, busy;
	struct list waiting;          /* requests without a job */
	struct list flushes;          /* for the next commit */
	struct commit commit;
	struct freed freed[2];
	unsigned freed_now;           /* the one that jobs add to */
	bool limbo;                   /* the other is durable, and waits for requests passed on before */
	bool turned;                  /* since then: those have the other parity */
	uint32_t flying[2];           /* data requests under way, by parity */
	unsigned parity;
	struct layer_op *op;
	enum op_state op_state;
	uint64_t op_commit;           /* the commit that an operation waits for */
	bool op_drained;              /* all that was passed on before OP_DRAIN is back */
	char op_name[LAYER_NAME_MAX];
	uint8_t op_record;
	bool in_begin;                /* within the call that began the operation */
	uint8_t work;                 /* record that the worker is at, NO_RECORD: none */
	bool work_yields;             /* until the next poll */
	bool work_failed;             /* it is not taken up again unasked */
	uint32_t work_index;
	struct block_request *submitting;
	bool kicking, again;
	bool writable;
	struct layer_pool_stats stats;
};

/* ---- layer_format.c ---- */

void layer_super_encode(const struct super *s, uint8_t *p);
/* ST_NOT_FOUND: it does not say that it is one; ST_CORRUPT; ST_UNSUPPORTED. */
enum status layer_super_decode(const uint8_t *p, struct super *out);
void layer_record_encode(const struct record *r, uint8_t *p);
/* What is wrong with it, NULL: nothing. */
const char *layer_record_decode(const uint8_t *p, const struct super *s, struct record *out);
const char *node_fault(const struct node_entry *e, const struct super *s);
const char *leaf_fault(const struct leaf_entry *e, const struct super *s);
/* What is wrong with a page, NULL: nothing. */
const char *layer_page_fault(const void *bytes, enum page_kind kind, const struct super *s);
uint32_t page_crc(const void *bytes);

/* ---- addresses ---- */

static inline uint64_t meta_lba(const struct layer_pool *p, uint32_t block)
{
	return p->range.first + (((uint64_t)META_FIRST + block - 1) * LAYER_BLOCK_BYTES >> p->sector_shift);
}

static inline uint64_t cluster_lba(const struct layer_pool *p, uint32_t cluster, uint32_t offset)
{
	return p->cluster_zero + ((uint64_t)cluster << p->cluster_shift) + (offset >> p->sector_shift);
}

/* ---- layer_pool.c, layer_walk.c: synchronous ---- */

enum status pool_io(const struct block_range *range, enum block_op op, uint64_t byte, void *data, uint32_t bytes,
		    struct error *err) MUST_CHECK;
/* Reads all metadata of a pool in which everything is free yet. ST_CORRUPT says where. */
enum status pool_walk(struct layer_pool *p, struct error *err) MUST_CHECK;

/* ---- layer_cache.c ---- */

enum found { FOUND, ABSENT, MISSING };

/* The entry of cluster @index, when all pages on the way are in memory. */
static inline enum found find_entry(struct layer_pool *p, const struct record *r, uint32_t index, struct leaf_entry **out)
{
	const struct page *at = &p->pages[r->page];
	uint32_t place = index / (FANOUT * FANOUT), next;

	if (!r->page)
		return r->root.block ? MISSING : ABSENT;
	next = at->child[place];
	if (!next)
		return at->node[place].block ? MISSING : ABSENT;
	at = &p->pages[next];
	place = index / FANOUT % FANOUT;
	next = at->child[place];
	if (!next)
		return at->node[place].block ? MISSING : ABSENT;
	p->pages[next].used = true;
	*out = &p->pages[next].leaf[index % FANOUT];
	return FOUND;
}

enum want {
	LOOK,   /* the leaf if there is one */
	CHANGE, /* likewise, and it is about to be changed */
	MAKE    /* likewise, and it is made when there is none */
};

/*
 * The leaf of cluster @index of @record; *out is NULL when there is none and none was wanted. WAIT: it is being
 * loaded, or a commit must end first; END: j->status says why it cannot be had.
 */
enum turn get_leaf(struct job *j, unsigned record, uint32_t index, enum want want, struct page **out);
/* The first leaf at or behind *index, which moves there, or a node whose last leaf was passed; NULL: no more. */
enum turn next_leaf(struct job *j, unsigned record, uint32_t *index, struct page **out);
/* A page that has been read: checks it and puts it in its place. */
enum turn end_load(struct job *j);
void layer_mark_dirty(struct layer_pool *p, struct page *page);
/* Takes a page and its block away from its parent, or root from its record. Nothing is below it. */
void layer_drop_page(struct layer_pool *p, struct page *page);
/* Entry of @page in what is above it. */
struct node_entry *entry_of(struct layer_pool *p, const struct page *page);
/* Blocks that metadata may still take, beside those that it owes. */
bool has_reserve(const struct layer_pool *p, uint32_t pages);
void layer_free_page(struct layer_pool *p, struct page *page);
void forget_near(struct layer *l);

/* ---- layer_commit.c ---- */

/* Begins a commit, or sees to it that one follows. */
void layer_commit_start(struct layer_pool *p);
void layer_commit_step(struct layer_pool *p);
/* The next commit to begin: what is changed now is durable once commit.finished has this number. */
static inline uint64_t commit_of_now(const struct layer_pool *p) { return p->commit.started + 1; }
/* Room for @pieces in the list of what the next commit frees. */
static inline bool has_freed_room(const struct layer_pool *p, uint32_t pieces)
{
	return p->freed[p->freed_now].count + pieces <= FREED_BY_JOBS;
}
void layer_free_cluster(struct layer_pool *p, uint32_t cluster);
void layer_free_block(struct layer_pool *p, struct freed *list, uint32_t block);
/* Sees to it that requests that come back make others go on, if there are any that wait for them. */
void layer_watch(struct layer_pool *p);
/*
 * Requests passed on from now on are counted apart from those before; false: some of the parity that is to be
 * used are still under way.
 */
bool turn_parity(struct layer_pool *p);
/* Puts what no request uses any more back. */
void end_limbo(struct layer_pool *p);
/* A commit could free something, or one is under way that will. */
bool may_free(const struct layer_pool *p);
/* From now on nothing is written: what the medium holds is not known any more. */
void pool_fails(struct layer_pool *p, const char *why);

/* ---- layer_io.c ---- */

void layer_submit(struct block_device *device, struct block_request *r);
void came_back_even(struct block_request *r);
void came_back_odd(struct block_request *r);
bool layer_poll(struct block_device *device);
bool layer_cancel(struct block_device *device, struct block_request *r);
/* Everything that can go on goes on. */
void pool_kick(struct layer_pool *p);
void layer_end_request(struct layer_pool *p, struct block_request *r, enum status st);
enum turn layer_end_job(struct job *j, enum status st, const char *why);
/* Reads or writes 4 KiB or request memory; GO when it is done already. */
enum turn layer_job_io(struct job *j, struct block_device *d, enum block_op op, uint64_t lba, uint64_t bytes, bool own_buffer,
		 void *data);
/* The same with data of a cluster: seen by who frees clusters. */
enum turn cluster_io(struct job *j, enum block_op op, uint32_t cluster, uint32_t offset, uint64_t bytes, bool own_buffer);
/* True when nobody else has any of the blocks of a cluster: they are @j's then until its locked is 0. */
bool lock_blocks(struct job *j, unsigned record, uint32_t index, uint16_t blocks);
void layer_run_job(struct job *j);

/* ---- layer_data.c: steps of a job ---- */

enum turn read_next_piece(struct job *j);
enum turn write_next_piece(struct job *j);
enum turn clear_next_piece(struct job *j);
/* The rest of a partly written block is in the buffer. */
enum turn store_filled(struct job *j);
enum turn mark_blocks(struct job *j);
/* @bytes of the request are done. */
void advance_job(struct job *j, uint64_t bytes);

/* ---- layer_work.c ---- */

enum turn work_step(struct job *j);
/* Begins, or takes up again, what the record's state says. */
void work_start(struct layer_pool *p, unsigned record);
void work_ended(struct job *j);

/* ---- layer_admin.c ---- */

void layer_op_step(struct layer_pool *p);
void layer_op_end(struct layer_pool *p, enum status st, const char *why);
void make_chain(struct layer *l);
unsigned record_children(const struct layer_pool *p, unsigned record, unsigned *last);
unsigned record_depth(const struct layer_pool *p, unsigned record);
void record_dirty(struct layer_pool *p, unsigned record);

#endif
