/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout behind memmgr.h; nobody outside this room includes it.
 *
 * The machine is tiled by naturally aligned blocks of 2^order frames. Only the
 * first frame of a block, its head, has a valid table entry; the others are
 * never read. So a 1 GiB block changes hands by one write, and a 4 TiB table
 * needs no clearing at boot. What makes it sound: a block's buddy address is
 * always a head, for a block that had it inside would hold the first one too.
 *
 * What a head holds, by state:
 *
 *   state    owner            next               word
 *   ABSENT   0                -                  -
 *   FREE     enum free_holder link of its list   link back
 *   HOST     0                -                  -
 *   GUEST    guest            -                  gfn of the first page
 *   SHARED   0                count              - (no maker yet)
 *   LEAVING  guest            link of the fifo   flush generation to wait for
 *
 * Frame numbers are 32-bit here (16 TiB); FRAME_NIL ends a list.
 */
#ifndef CORBEL_MEMMGR_INTERNAL_H
#define CORBEL_MEMMGR_INTERNAL_H

#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/list.h"
#include "memmgr/memmgr.h"

#define FRAME_NIL UINT32_MAX
#define ORDERS (MEMMGR_MAX_ORDER + 1)

struct frame {
	uint8_t state; /* enum frame_state */
	uint8_t order;
	uint16_t owner;
	uint32_t next;
	uint64_t word;
};
_Static_assert(sizeof(struct frame) == 16, "16 bytes a frame are promised");

/*
 * Which part of the room holds a FREE block. Only HELD_BY_BUDDY may merge;
 * HELD_BY_TAKER is a block between lists, and never seen between two calls.
 */
enum free_holder { HELD_BY_BUDDY, HELD_BY_POOL, HELD_BY_CLEARING, HELD_BY_TAKER };

/* Doubly linked through the entries of FREE heads; pushed and popped in front. */
struct frame_list {
	uint32_t head;
	uint32_t count; /* blocks */
};

/* Singly linked through the entries of LEAVING heads. */
struct frame_fifo {
	uint32_t head, tail;
	uint64_t frames;
};

/* The sizes of a leaf: index of pools and counters. */
enum leaf_size { LEAF_4K, LEAF_2M, LEAF_1G, LEAF_SIZES };
extern const uint8_t leaf_order[LEAF_SIZES];

/* How a guest's first touch was served. */
enum touch { TOUCH_INLINE, TOUCH_POOL, TOUCH_2M, TOUCH_1G, TOUCHES };

/* The block that clear-ahead is working on. */
struct clearing {
	uint32_t frame; /* FRAME_NIL when none */
	enum leaf_size size;
	uint64_t done; /* pages cleared so far: the cursor */
};

struct memmgr {
	struct frame *table;
	uint64_t frames; /* entries of the table */
	uint8_t *direct_map;
	uint64_t count[FRAME_STATES]; /* frames by state */
	uint64_t promised;
	uint64_t table_bytes;

	struct frame_list free[ORDERS]; /* the buddy allocator's */
	uint32_t free_orders;           /* BIT(order) of the lists that are not empty */

	struct frame_list pool[LEAF_SIZES];
	uint64_t pool_target[LEAF_SIZES];
	struct clearing clearing;

	struct list maps;         /* struct gpmap.node */
	struct list leaving_maps; /* struct gpmap.leaving_node, those with a frame leaving */
	uint64_t touched[TOUCHES];
};

static inline void *frame_va(const struct memmgr *mm, uint32_t frame)
{
	return mm->direct_map + ((uint64_t)frame << PAGE_SHIFT);
}

/* ---- frame.c: the only writer of the table ---- */

static inline const struct frame *frame_get(const struct memmgr *mm, uint32_t frame) { return &mm->table[frame]; }

/* Tiles [@start, @end) with blocks of @state; at boot only. FREE blocks are left on no list. */
void frame_tile(struct memmgr *mm, uint64_t start, uint64_t end, enum frame_state state,
		void (*each)(struct memmgr *mm, uint32_t frame, unsigned order));
/* Moves the block to another state; ASSERTs that the change is one of the legal ones. */
void frame_change(struct memmgr *mm, uint32_t frame, enum frame_state to, uint16_t owner, uint64_t word);
/* Makes the FREE region at @frame one block of @order, held by @holder, on no list. */
void frame_shape(struct memmgr *mm, uint32_t frame, unsigned order, enum free_holder holder);
/* Splits a GUEST block into blocks of @order; each gets its gfn. */
void frame_split_guest(struct memmgr *mm, uint32_t frame, unsigned order);
void frame_list_init(struct frame_list *list);
/* Shapes a FREE block and puts it on a list. */
void frame_list_push(struct memmgr *mm, struct frame_list *list, uint32_t frame, unsigned order,
		     enum free_holder holder);
void frame_list_remove(struct memmgr *mm, struct frame_list *list, uint32_t frame);
/* Takes the block pushed last, which is then HELD_BY_TAKER; FRAME_NIL when there is none. */
uint32_t frame_list_pop(struct memmgr *mm, struct frame_list *list);
void frame_fifo_init(struct frame_fifo *fifo);
void frame_fifo_push(struct memmgr *mm, struct frame_fifo *fifo, uint32_t frame);
uint32_t frame_fifo_pop(struct memmgr *mm, struct frame_fifo *fifo);

/* ---- buddy.c ---- */

void buddy_init(struct memmgr *mm);
/* Takes a FREE block of 2^@order off the lists, still FREE; FRAME_NIL when there is none. */
uint32_t buddy_take(struct memmgr *mm, unsigned order);
/* Gives a FREE block that is on no list back, merged with its free buddies. */
void buddy_give(struct memmgr *mm, uint32_t frame, unsigned order);
/* Puts a FREE block on its list as it stands; at boot, when neighbours are not known yet. */
void buddy_seed(struct memmgr *mm, uint32_t frame, unsigned order);

/* ---- clear.c ---- */

void clear_init(struct memmgr *mm, const struct memmgr_config *cfg);
static inline bool clear_ready(const struct memmgr *mm, enum leaf_size size)
{
	return mm->pool[size].head != FRAME_NIL;
}
/* Takes a cleared block, still FREE; FRAME_NIL when the pool is empty. */
static inline uint32_t clear_take(struct memmgr *mm, enum leaf_size size)
{
	return frame_list_pop(mm, &mm->pool[size]);
}
/* Puts a cleared block that nobody wrote to back. */
void clear_put_back(struct memmgr *mm, enum leaf_size size, uint32_t frame);
/* Gives a block to the buddy allocator, which lacks one of @order; false when none is left. */
bool clear_give_up(struct memmgr *mm, unsigned order);
static inline void clear_block(struct memmgr *mm, uint32_t frame, unsigned order)
{
	memset(frame_va(mm, frame), 0, PAGE_SIZE << order);
}

/* Takes a FREE block from the buddy allocator or, last, from the cleared pools; FRAME_NIL when memory is out. */
static inline uint32_t block_take(struct memmgr *mm, unsigned order)
{
	uint32_t frame = buddy_take(mm, order);

	/* Each turn returns one cleared block to the allocator, so this ends. */
	while (unlikely(frame == FRAME_NIL) && clear_give_up(mm, order))
		frame = buddy_take(mm, order);
	return frame;
}

/* ---- gpmap.c, populate.c, leave.c ---- */

/*
 * One 64-bit entry per 2 MiB of guest space in the directory and, where that
 * says GP_CHUNK, one per page in a chunk of 512. GP_ABSENT is 0, so that a
 * cleared frame is a chunk of absent RAM. Other states of a page (shared,
 * ballooned, compressed, swapped) will be further values here.
 *
 *   bits 3:0 state, 8:4 order of the leaf (GP_PRESENT), 63:12 frame (GP_PRESENT, GP_CHUNK)
 */
enum gp_state { GP_ABSENT, GP_NONE, GP_PRESENT, GP_CHUNK };

#define CHUNK_SHIFT ORDER_2M
#define CHUNK_PAGES BIT(CHUNK_SHIFT)
_Static_assert(CHUNK_PAGES * sizeof(uint64_t) == PAGE_SIZE, "a chunk is one frame");

struct gpmap {
	struct memmgr *mm;
	const struct stage2_ops *ops;
	struct stage2 *s2;
	struct list node, leaving_node;
	struct frame_fifo leaving;
	uint64_t gfn_limit;
	uint64_t ram_pages, present_pages;
	uint64_t leaves[LEAF_SIZES];
	uint64_t chunks;   /* frames taken for chunks */
	uint64_t headroom; /* frames promised for chunks and stage-2 tables */
	uint64_t cursor;   /* gfn at which the release goes on */
	uint64_t generation; /* pages taken from the guest so far */
	bool releasing;
	uint8_t order;     /* of this block itself */
	uint16_t owner;
	uint64_t dir[];
};

static inline uint64_t gp_entry(enum gp_state state, unsigned order, uint32_t frame)
{
	return (uint64_t)frame << PAGE_SHIFT | order << 4 | state;
}
static inline enum gp_state gp_state(uint64_t entry) { return (enum gp_state)FIELD(entry, 3, 0); }
static inline unsigned gp_order(uint64_t entry) { return (unsigned)FIELD(entry, 8, 4); }
static inline uint32_t gp_frame(uint64_t entry) { return (uint32_t)(entry >> PAGE_SHIFT); }

static inline uint64_t gpmap_dir_count(const struct gpmap *map)
{
	return (map->gfn_limit + CHUNK_PAGES - 1) >> CHUNK_SHIFT;
}
/* The chunk that a GP_CHUNK directory entry names. */
static inline uint64_t *gpmap_chunk(const struct gpmap *map, uint64_t dir_entry)
{
	return frame_va(map->mm, gp_frame(dir_entry));
}
/* Where the entry stands that decides about @gfn (< gfn_limit): never GP_CHUNK. */
static inline uint64_t *gpmap_slot(const struct gpmap *map, uint64_t gfn)
{
	uint64_t *dir = (uint64_t *)&map->dir[gfn >> CHUNK_SHIFT];

	if (gp_state(*dir) != GP_CHUNK)
		return dir;
	return &gpmap_chunk(map, *dir)[gfn & (CHUNK_PAGES - 1)];
}
static inline uint64_t gpmap_lookup(const struct gpmap *map, uint64_t gfn) { return *gpmap_slot(map, gfn); }
/* The frame behind @gfn, whose entry is GP_PRESENT. A directory entry names the first frame of its 2 MiB. */
static inline uint32_t gpmap_frame(uint64_t entry, uint64_t gfn)
{
	uint64_t within = gp_order(entry) == ORDER_4K ? 0 : gfn & (CHUNK_PAGES - 1);

	return gp_frame(entry) + (uint32_t)within;
}

enum leaf_size leaf_size_of(unsigned order);
/* Takes a frame for a chunk, all GP_ABSENT or else to be filled by the caller; false when memory is out. */
bool gpmap_chunk_take(struct gpmap *map, bool absent, uint32_t *out);
void gpmap_chunk_free(struct gpmap *map, uint32_t chunk);
/* Frees at most @blocks blocks of the map whose flush is complete; returns how many. */
uint64_t gpmap_drain(struct gpmap *map, uint64_t blocks);

#endif
