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
 *   GUEST    guest            pins               gfn of the first page
 *   SHARED   0                count              - (no maker yet)
 *   LEAVING  guest            link of the fifo   flush generation to wait for
 *
 * Frame numbers are 32-bit here (16 TiB); FRAME_NIL ends a list.
 *
 * Many CPUs. Three kinds of lock, taken in this order:
 *
 *   gpmap.lock    LOCK_STAGE2      a guest's map and its second-stage tables
 *   cell.lock     LOCK_MEMORY_CPU  what one CPU has of the room: see struct cell
 *   memmgr.lock   LOCK_MEMORY      buddy lists, pools of cleared blocks, lists of maps
 *
 * Every change that memmgr_check() can see is made under the calling CPU's own
 * cell, whatever else is held: who holds all cells (cells_stop()) finds a machine
 * that stands still, and sums that are exact. A frame's entry belongs to the lock
 * of the list that it is on, a guest's frame to its map, the host's to its owner.
 */
#ifndef CORBEL_MEMMGR_INTERNAL_H
#define CORBEL_MEMMGR_INTERNAL_H

#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "memmgr/memmgr.h"

#define FRAME_NIL UINT32_MAX
#define ORDERS (MEMMGR_MAX_ORDER + 1)

/*
 * A buddy is looked at while another CPU changes it: state, order and owner are
 * always written as one, so that the look sees what was before or after.
 */
struct frame {
	union {
		struct {
			uint8_t state; /* enum frame_state */
			uint8_t order;
			uint16_t owner;
		};
		uint32_t head;
	};
	uint32_t next;
	uint64_t word;
};
_Static_assert(sizeof(struct frame) == 16, "16 bytes a frame are promised");

static inline uint32_t frame_head(enum frame_state state, unsigned order, uint16_t owner)
{
	return (uint32_t)state | order << 8 | (uint32_t)owner << 16;
}

/*
 * Which part of the room holds a FREE block. Only HELD_BY_BUDDY may merge; HELD_BY_POOL is cleared, in a pool or
 * a cell; HELD_BY_CELL is in a cell, of any content; HELD_BY_TAKER is a block between lists, under a cell's lock.
 */
enum free_holder { HELD_BY_BUDDY, HELD_BY_POOL, HELD_BY_CELL, HELD_BY_CLEARING, HELD_BY_TAKER };

/* Doubly linked through the entries of FREE heads; pushed and popped in front. */
struct frame_list {
	uint32_t head;  /* who does not hold the list's lock may peek at it */
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

/* The block that a CPU's clear-ahead is working on. */
struct clearing {
	uint32_t frame; /* FRAME_NIL when none */
	enum leaf_size size;
	uint64_t done; /* pages cleared so far: the cursor */
};

/*
 * What one CPU has of the room, so that a first touch takes no lock and writes no
 * line that other guests' CPUs use: a few free frames, and its share of the sums.
 * Only its own CPU works in it, but for three visitors: who runs out of memory
 * takes the frames back, and who counts or checks stops all cells for a moment.
 */
struct cell {
	struct lock lock;
	struct frame_list cleared[LEAF_SIZES]; /* from the pools; never 1 GiB */
	struct frame_list plain;               /* 4 KiB, of any content */
	struct clearing clearing;
	/* What this CPU added to the sums, in wrap-around arithmetic: only the total over all cells means something. */
	uint64_t count[FRAME_STATES];
	uint64_t promised;
	uint64_t touched[TOUCHES];
} __attribute__((aligned(CACHE_LINE)));

#define CELL_PLAIN_ORDER 3u                        /* a cell takes plain frames by blocks of this order, */
#define CELL_PLAIN_BATCH (1u << CELL_PLAIN_ORDER)
#define CELL_PLAIN_MAX (2 * CELL_PLAIN_BATCH)      /* and gives a batch back when it has more than this */
#define CELL_CLEARED_4K 16u                        /* cleared blocks that it takes at once, */
#define CELL_CLEARED_2M 4u
#define CELL_POOL_SHARE 4u                         /* and at most one in so many of the pool's */

struct memmgr {
	/* Set at boot. */
	struct frame *table;
	uint64_t frames; /* entries of the table */
	uint8_t *direct_map;
	struct cell *cells;
	unsigned (*this_cpu)(void);
	unsigned cpus;
	uint64_t table_bytes;
	uint64_t tiled[FRAME_STATES];      /* frames by state at boot: the cells have what changed since */
	uint64_t pool_target[LEAF_SIZES];  /* set by operators at any time: __atomic */
	uint64_t leaving;                  /* frames LEAVING: __atomic, no lock */

	struct lock lock __attribute__((aligned(CACHE_LINE))); /* over all that follows */
	struct frame_list free[ORDERS];    /* the buddy allocator's */
	uint32_t free_orders;              /* BIT(order) of the lists that are not empty */
	uint32_t searching;                /* CPUs that look through the cells for memory: nothing is cached meanwhile */
	struct frame_list pool[LEAF_SIZES];
	uint64_t clearing[LEAF_SIZES];     /* blocks in the cells' clearing */
	uint64_t stocked[LEAF_SIZES];      /* those and the pool's: who is idle looks at it without the lock; __atomic */
	struct list maps;                  /* struct gpmap.node */
	struct list leaving_maps;          /* struct gpmap.leaving_node, those with a frame leaving */
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
/* Moves the block to another state and counts it in @c; ASSERTs that the change is one of the legal ones. */
void frame_change(struct memmgr *mm, struct cell *c, uint32_t frame, enum frame_state to, uint16_t owner,
		  uint64_t word);
/* The same for the change that a first touch makes, of a block just taken. */
static inline void frame_give_guest(struct memmgr *mm, struct cell *c, uint32_t frame, unsigned order, uint16_t owner,
				    uint64_t first)
{
	struct frame *f = &mm->table[frame];

	ASSERT(f->head == frame_head(FRAME_FREE, order, HELD_BY_TAKER));
	c->count[FRAME_FREE] -= BIT(order);
	c->count[FRAME_GUEST] += BIT(order);
	__atomic_store_n(&f->head, frame_head(FRAME_GUEST, order, owner), __ATOMIC_RELAXED);
	f->next = 0;
	f->word = first;
}
/* How often the GUEST block at @frame is pinned. */
static inline uint32_t frame_pins(const struct memmgr *mm, uint32_t frame) { return mm->table[frame].next; }
/* Makes the FREE region at @frame one block of @order, held by @holder, on no list. */
void frame_shape(struct memmgr *mm, uint32_t frame, unsigned order, enum free_holder holder);
/* Splits a GUEST block, which is not pinned, into blocks of @order; each gets its gfn. */
void frame_split_guest(struct memmgr *mm, uint32_t frame, unsigned order);
void frame_list_init(struct frame_list *list);
/* Shapes a FREE block and puts it on a list. */
void frame_list_push(struct memmgr *mm, struct frame_list *list, uint32_t frame, unsigned order,
		     enum free_holder holder);
void frame_list_remove(struct memmgr *mm, struct frame_list *list, uint32_t frame);
/* Moves the first @count blocks, of at least as many, to @to, which is empty. Their holder stays. */
void frame_list_move(struct memmgr *mm, struct frame_list *from, struct frame_list *to, uint32_t count);
static inline bool frame_list_peek(const struct frame_list *list)
{
	return __atomic_load_n(&list->head, __ATOMIC_RELAXED) != FRAME_NIL;
}
/* Takes the block pushed last, which is then HELD_BY_TAKER; FRAME_NIL when there is none. */
uint32_t frame_list_pop(struct memmgr *mm, struct frame_list *list);
void frame_fifo_init(struct frame_fifo *fifo);
void frame_fifo_push(struct memmgr *mm, struct frame_fifo *fifo, uint32_t frame);
uint32_t frame_fifo_pop(struct memmgr *mm, struct frame_fifo *fifo);

/* ---- buddy.c: under memmgr.lock ---- */

void buddy_init(struct memmgr *mm);
/* Takes a FREE block of 2^@order off the lists, still FREE; FRAME_NIL when there is none. */
uint32_t buddy_take(struct memmgr *mm, unsigned order);
/* Gives a FREE block that is on no list back, merged with its free buddies. */
void buddy_give(struct memmgr *mm, uint32_t frame, unsigned order);
/* Puts a FREE block on its list as it stands; at boot, when neighbours are not known yet. */
void buddy_seed(struct memmgr *mm, uint32_t frame, unsigned order);

/* ---- clear.c ---- */

void clear_init(struct memmgr *mm, const struct memmgr_config *cfg);
/* Gives a block of the pools to the buddy allocator, which lacks one of @order; false when none is left. */
bool clear_give_up(struct memmgr *mm, unsigned order);
/* Gives the block that @c is clearing back. Both locks are held. */
void clear_abandon(struct memmgr *mm, struct cell *c);
static inline void clear_block(struct memmgr *mm, uint32_t frame, unsigned order)
{
	memset(frame_va(mm, frame), 0, PAGE_SIZE << order);
}

/* After the pool of @size, or the number of blocks being cleared for it, has changed. Under memmgr.lock. */
static inline void clear_note(struct memmgr *mm, enum leaf_size size)
{
	__atomic_store_n(&mm->stocked[size], mm->pool[size].count + mm->clearing[size], __ATOMIC_RELAXED);
}

/* ---- cell.c ---- */

void cells_init(struct memmgr *mm);
/* The calling CPU's cell, locked. */
static inline struct cell *cell_lock(struct memmgr *mm)
{
	struct cell *c = &mm->cells[mm->this_cpu()];

	lock_acquire(&c->lock);
	return c;
}
static inline void cell_unlock(struct cell *c) { lock_release(&c->lock); }
/* Stops all CPUs at the next change that they would make, and holds memmgr.lock. No cell is held on entry. */
void cells_stop(struct memmgr *mm);
void cells_go(struct memmgr *mm);
/* The sums; exact while the cells are stopped. */
uint64_t cells_count(const struct memmgr *mm, enum frame_state state);
uint64_t cells_promised(const struct memmgr *mm);
/* Fills @c's empty list of cleared blocks from the pool and takes the first; FRAME_NIL when the pool is empty. */
uint32_t cell_refill_cleared(struct memmgr *mm, struct cell *c, enum leaf_size size);
/* Takes a cleared block, still FREE; FRAME_NIL when there is none. */
static inline uint32_t cell_take_cleared(struct memmgr *mm, struct cell *c, enum leaf_size size)
{
	uint32_t frame = frame_list_pop(mm, &c->cleared[size]);

	return likely(frame != FRAME_NIL) ? frame : cell_refill_cleared(mm, c, size);
}
/* Whether cell_take_cleared() of the calling CPU would find one: a hint, no lock is held. */
static inline bool cell_has_cleared(const struct memmgr *mm, enum leaf_size size)
{
	return frame_list_peek(&mm->cells[mm->this_cpu()].cleared[size]) || frame_list_peek(&mm->pool[size]);
}
/*
 * Takes a FREE block of any content from wherever there is one: cell, allocator, cleared pools, the other CPUs'
 * cells. FRAME_NIL when memory is out. May open @c for a moment: what is done under it must be whole before.
 */
uint32_t block_take(struct memmgr *mm, struct cell *c, unsigned order);
/* Gives a FREE block, HELD_BY_TAKER, back. */
void block_give(struct memmgr *mm, struct cell *c, uint32_t frame, unsigned order);
/* Gives all that @cpu's cell holds to the buddy allocator. No cell is held. */
void cell_reclaim(struct memmgr *mm, unsigned cpu);

/* ---- gpmap.c, populate.c, pin.c, leave.c ---- */

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

/*
 * Entries change under the map's lock and are read without: a reader sees a page
 * that was there a moment ago, whose frame cannot be another's yet (memmgr.h says
 * until when). A chunk, once it stands in the directory, stays until the release.
 */
struct gpmap {
	/* Hardly ever written: what other vcpus read without the lock. */
	struct memmgr *mm;
	const struct stage2_ops *ops;
	struct stage2 *s2;
	uint64_t gfn_limit;
	uint64_t generation; /* pages taken from the guest so far; __atomic */
	bool releasing;      /* __atomic outside the lock */
	uint8_t order;       /* of this block itself */
	uint16_t owner;

	struct lock lock __attribute__((aligned(CACHE_LINE))); /* over all that follows; sums also under the cell's */
	struct frame_fifo leaving;
	uint64_t ram_pages, present_pages;
	uint64_t leaves[LEAF_SIZES];
	uint64_t chunks;     /* frames taken for chunks */
	uint64_t headroom;   /* frames promised for chunks and stage-2 tables */
	uint64_t pins;       /* of all its leaves together */
	uint64_t cursor;     /* gfn at which the release goes on */
	struct list node, leaving_node; /* under memmgr.lock */
	uint64_t dir[];
};

static inline uint64_t gp_entry(enum gp_state state, unsigned order, uint32_t frame)
{
	return (uint64_t)frame << PAGE_SHIFT | order << 4 | state;
}
static inline enum gp_state gp_state(uint64_t entry) { return (enum gp_state)FIELD(entry, 3, 0); }
static inline unsigned gp_order(uint64_t entry) { return (unsigned)FIELD(entry, 8, 4); }
static inline uint32_t gp_frame(uint64_t entry) { return (uint32_t)(entry >> PAGE_SHIFT); }

/* What an entry names is whole before the entry is seen. */
static inline uint64_t gp_load(const uint64_t *slot) { return __atomic_load_n(slot, __ATOMIC_ACQUIRE); }
static inline void gp_store(uint64_t *slot, uint64_t entry) { __atomic_store_n(slot, entry, __ATOMIC_RELEASE); }

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
	uint64_t entry = gp_load(dir);

	if (gp_state(entry) != GP_CHUNK)
		return dir;
	return &gpmap_chunk(map, entry)[gfn & (CHUNK_PAGES - 1)];
}
/* The entry there. */
static inline uint64_t gpmap_lookup(const struct gpmap *map, uint64_t gfn)
{
	uint64_t entry = gp_load(&map->dir[gfn >> CHUNK_SHIFT]);

	return gp_state(entry) == GP_CHUNK ? gp_load(&gpmap_chunk(map, entry)[gfn & (CHUNK_PAGES - 1)]) : entry;
}
/* The frame behind @gfn, whose entry is GP_PRESENT. A directory entry names the first frame of its 2 MiB. */
static inline uint32_t gpmap_frame(uint64_t entry, uint64_t gfn)
{
	uint64_t within = gp_order(entry) == ORDER_4K ? 0 : gfn & (CHUNK_PAGES - 1);

	return gp_frame(entry) + (uint32_t)within;
}

enum leaf_size leaf_size_of(unsigned order);
/* Takes a frame for a chunk, all GP_ABSENT or else to be filled by the caller; false when memory is out. */
bool gpmap_chunk_take(struct gpmap *map, bool absent, uint32_t *out);
/* Puts it into the directory entry @dir; a cell is held. */
static inline void gpmap_chunk_link(struct gpmap *map, uint64_t *dir, uint32_t chunk)
{
	map->chunks++;
	gp_store(dir, gp_entry(GP_CHUNK, 0, chunk));
}
/* Frees a chunk that is in no directory. */
void gpmap_chunk_free(struct gpmap *map, uint32_t chunk);
/* gpmap_populate() for who holds the map's lock. */
enum status gpmap_populate_locked(struct gpmap *map, gfn_t gfn, void **va);
/* pin.c: is the leaf over @gfn_at, which is present, pinned? The map is locked. */
bool gpmap_is_pinned(const struct gpmap *map, uint64_t gfn_at);
/* Frees at most @blocks blocks of the map whose flush is complete; returns how many. The map is locked. */
uint64_t gpmap_drain(struct gpmap *map, uint64_t blocks);

#endif
