/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues (virtio 1.2 section 2.7), the device's side. The three parts
 * lie in guest memory, which the guest may write at any moment: each word is
 * fetched once, checked, and only the copy is used. What no sound driver does
 * (a loop, an index that jumps, an indirect table in an indirect table) makes
 * the queue BROKEN with a sentence that says what; what points outside memory is
 * found when the device pins it.
 *
 * The parts are pinned, page by page, while the queue is enabled, so that pop
 * and push never wait; only an indirect table may have to be brought in first.
 * No locking: whoever owns the queue serialises (LOCK_DEVICE).
 */
#ifndef CORBEL_IO_VIRTQ_H
#define CORBEL_IO_VIRTQ_H

#include "io/guest_mem.h"
#include "lib/assert.h"
#include "lib/bits.h"

/* Our own bound on the queue size and on a chain, indirect or not: a power of two. */
#define VIRTQ_SIZE_MAX 256u
#define VIRTQ_DESC_BYTES 16u

/* Flags of a descriptor (2.7.5). */
#define VIRTQ_DESC_F_NEXT BIT(0)
#define VIRTQ_DESC_F_WRITE BIT(1)
#define VIRTQ_DESC_F_INDIRECT BIT(2)
/* Flags of the two rings (2.7.6, 2.7.8). */
#define VIRTQ_AVAIL_F_NO_INTERRUPT BIT(0)
#define VIRTQ_USED_F_NO_NOTIFY BIT(0)

enum virtq_part { VIRTQ_DESC, VIRTQ_AVAIL, VIRTQ_USED, VIRTQ_PARTS };

enum virtq_state {
	VIRTQ_OFF,      /* not enabled; nothing pinned */
	VIRTQ_STARTING, /* enabled, but not all of it is pinned yet */
	VIRTQ_ON,
	VIRTQ_BROKEN_STATE, /* enabled and of no use until it is reset: see broken */
	VIRTQ_STOPPING, /* being reset; something is still under way */
};

/*
 * A part of the ring: at most two pages of it, which need not be neighbours. Byte n lies at first + n when n is below
 * split, else at second + n: second is that much less than where the second page's bytes begin.
 */
struct virtq_area {
	uintptr_t first, second;
	uint32_t split;
};

/* One buffer of a chain: the descriptor as it was fetched. Never of 0 bytes, and it does not wrap around. */
struct virtq_buffer {
	gpa_t at;
	uint32_t bytes;
	uint16_t flags, next; /* of no meaning to a device */
};
_Static_assert(sizeof(struct virtq_buffer) == VIRTQ_DESC_BYTES, "2.7.5");

/* A chain that was popped. The device's, with an array of its own, until it pushes @head. */
struct virtq_chain {
	struct virtq_buffer *buffers; /* readable ones first, then writable ones */
	uint16_t room;                /* of buffers, set by whoever pops; a longer chain breaks the queue */
	uint16_t head;
	uint16_t readable, writable;  /* how many */
	uint64_t readable_bytes, writable_bytes; /* together at most 4 GiB */
};

struct virtq {
	/* Set by the transport before enabling (virtio.h); checked then. */
	gpa_t at[VIRTQ_PARTS];
	uint16_t size;
	/* Set by the device's owner, once. */
	uint16_t size_max;
	const struct guest_mem *mem;
	void (*resumed)(struct virtq *q); /* what was LATER is there: clear waiting, call again. Masked, no lock held */
	/* Of the negotiated features, before enabling. */
	bool event_idx, indirect;

	enum virtq_state state;
	const char *broken; /* why, static text; NULL when it is not */
	struct virtq_area area[VIRTQ_PARTS];
	uint16_t *avail_idx, *used_idx;
	bool flat; /* each part lies in one piece, as it nearly always does */
	uint16_t next_avail; /* free-running, as in the rings: the next to pop */
	uint16_t next_used;  /* the next to push */
	uint16_t signalled;  /* next_used when the driver was last looked after: it need not be told of older ones */
	uint16_t in_flight;  /* popped, not pushed or dropped */
	bool busy[VIRTQ_SIZE_MAX]; /* heads in flight */

	struct guest_pin pins[2 * VIRTQ_PARTS]; /* the parts, in order, a piece per page */
	uint8_t pin_count;
	uint8_t part;         /* enum virtq_part: those below are pinned whole, of this one part_pinned bytes */
	uint32_t part_pinned;
	struct guest_pin wait; /* the one thing the queue, or its device on its behalf, waits for */
	bool waiting;
};

enum virtq_result {
	VIRTQ_CHAIN,
	VIRTQ_EMPTY,
	VIRTQ_LATER,  /* resumed() will be called: pop again then */
	VIRTQ_BROKEN, /* and stays so until it is stopped */
};

/* Power-on state: size is size_max, no addresses, off. Keeps size_max, mem, resumed. */
void virtq_init(struct virtq *q);

/*
 * Checks size and alignment, pins the parts and begins at index 0 (2.7). PIN_NOW: state is ON. PIN_LATER: state is
 * STARTING, resumed() will be called, call again then. PIN_FAIL: state is broken, with the reason.
 */
enum pin_result virtq_start(struct virtq *q);

/*
 * Takes the next chain into @c, whose buffers and room are set. Each descriptor is read once. On anything but CHAIN
 * the contents of @c mean nothing and the chain stays where it was.
 */
enum virtq_result virtq_pop(struct virtq *q, struct virtq_chain *c);
/* One chain that goes back: what the used ring says of it (2.7.8). */
struct virtq_used {
	uint32_t head, written;
};
/*
 * The short way for queues whose chains are mostly one writable buffer each: takes those that come next and are that,
 * until they have @bytes together, or are @most; how many. Of buffer i, at at[i], list[i].written bytes are needed: all
 * that it has, but of the last. It stops before whatever is not so simple: virtq_pop() says what there is then.
 */
unsigned virtq_pop_singles(struct virtq *q, struct virtq_used *list, gpa_t *at, unsigned most, uint64_t bytes);
/* Would a pop now say EMPTY? */
static inline bool virtq_is_empty(const struct virtq *q)
{
	return q->state == VIRTQ_ON && !q->waiting &&
	       __atomic_load_n(q->avail_idx, __ATOMIC_RELAXED) == q->next_avail;
}
/* Puts the chain that was popped last, of those not put back yet, back; it is read anew. */
void virtq_unpop(struct virtq *q, const struct virtq_chain *c);
/* Gives chain @head back to the driver. @written: bytes from the first writable byte on that the device did write. */
void virtq_push(struct virtq *q, uint16_t head, uint32_t written);
/* The same for @count chains, 1 .. size, of which the driver sees all or none yet. */
void virtq_push_several(struct virtq *q, const struct virtq_used *list, unsigned count);
static inline void virtq_push_all(struct virtq *q, const struct virtq_used *list, unsigned count)
{
	if (count == 1)
		virtq_push(q, (uint16_t)list->head, list->written);
	else
		virtq_push_several(q, list, count);
}
/* Forgets chain @head without a trace in guest memory: the queue is being stopped. */
void virtq_drop(struct virtq *q, uint16_t head);

/*
 * After pushing: does the driver want to be told? (2.7.7, 2.7.10.) Asking counts as telling: who is answered true
 * interrupts. Who means to hold the interrupt back does not ask; the next question covers what went before.
 */
bool virtq_interrupt_wanted(struct virtq *q);
/* Asks the driver not to kick: somebody is looking at the queue anyway. */
void virtq_set_no_notify(struct virtq *q);
static inline void virtq_kicks_off(struct virtq *q)
{
	/* With event indices nothing need be written: the driver kicks when it passes avail_event, which stays behind. */
	if (!q->event_idx)
		virtq_set_no_notify(q);
}
/*
 * Asks it to kick again, when there are more than the @ready chains that were seen and do not suffice. True: something
 * came in meanwhile, for which no kick will come: go on popping.
 */
bool virtq_kicks_on_beyond(struct virtq *q, uint16_t ready);
static inline bool virtq_kicks_on(struct virtq *q) { return virtq_kicks_on_beyond(q, 0); }

/*
 * Pins @p (at, bytes and write are set) as the queue's one wait. On PIN_LATER resumed() will be called, and @p is the
 * caller's all the while. Only while waiting is false.
 */
enum pin_result virtq_wait_pin(struct virtq *q, struct guest_pin *p);

/* The same by the queue's own pin, q->wait: at PIN_NOW it has what was found until the next such call, or a pop. */
static ALWAYS_INLINE enum pin_result virtq_pin(struct virtq *q, gpa_t at, uint32_t bytes, bool write)
{
	enum pin_result answer;

	ASSERT(!q->waiting);
	q->wait.at = at;
	q->wait.bytes = bytes;
	q->wait.write = write;
	answer = guest_mem_pin(q->mem, &q->wait);
	if (unlikely(answer == PIN_LATER))
		q->waiting = true;
	return answer;
}

/* Marks the queue as beyond use; @why is static text. The first reason stays. */
void virtq_break(struct virtq *q, const char *why);
/*
 * Begins to stop: takes back what it waits for, if that can be had back. True: nothing is under way any more, the
 * parts are unpinned and the state is as after virtq_init() but for size and addresses, which are at their defaults.
 * False: chains are in flight or resumed() is about to be called: drop them, then call again.
 */
bool virtq_stop(struct virtq *q);

/* ---- the memory of a chain ---- */

/* A place in a list of buffers, and an end. */
struct virtq_cursor {
	const struct virtq_buffer *buffer; /* the chain's */
	uint32_t skip; /* bytes of it that are passed over; less than it has, unless left is 0 */
	uint64_t left; /* bytes from here to the end */
};

/* All that is readable, all that is writable of @c. */
static inline struct virtq_cursor virtq_readable(const struct virtq_chain *c)
{
	return (struct virtq_cursor){c->buffers, 0, c->readable_bytes};
}
static inline struct virtq_cursor virtq_writable(const struct virtq_chain *c)
{
	return (struct virtq_cursor){c->buffers + c->readable, 0, c->writable_bytes};
}

void virtq_advance_over(struct virtq_cursor *at, uint64_t bytes);
/* Moves on by @bytes, at most left. */
static inline void virtq_advance(struct virtq_cursor *at, uint64_t bytes)
{
	if (bytes == at->left) {
		at->left = 0;
	} else if (at->skip + bytes == at->buffer->bytes) {
		at->buffer++;
		at->skip = 0;
		at->left -= bytes;
	} else {
		virtq_advance_over(at, bytes);
	}
}

/* The largest piece at the place: sets at and bytes of @p, which reach to the end of its buffer at most. left is not 0. */
static inline void virtq_piece(const struct virtq_cursor *at, struct guest_pin *p)
{
	uint32_t rest = at->buffer->bytes - at->skip;

	p->at = gpa(at->buffer->at.v + at->skip);
	p->bytes = rest < at->left ? rest : (uint32_t)at->left;
}

/* Byte @offset of @a, the host's view. Elements never straddle the split, but those of the used ring (two words). */
static inline void *virtq_at(const struct virtq_area *a, uint32_t offset)
{
	return (void *)((offset < a->split ? a->first : a->second) + offset);
}

#endif
