/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues, the device's side (virtio 1.2 section 2.7). A descriptor is
 * taken with two loads of eight bytes, a ring's word with one; the compiler is kept
 * from repeating them. How long a chain may get is bounded by the number of
 * descriptors in its table, which ends every loop.
 *
 * The sentences given to virtq_break() are part of the interface: the log shows
 * them, and the tests compare them.
 */
#include "io/virtq.h"

#include "lib/assert.h"
#include "lib/checked.h"

/* Offsets in the two rings (2.7.6, 2.7.8). */
#define RING_FLAGS 0u
#define RING_IDX 2u
#define RING_ENTRIES 4u
#define AVAIL_BYTES 2u /* of an entry */
#define USED_BYTES 8u
/* All of a chain (2.7.5.2). */
#define CHAIN_BYTES_MAX (1ull << 32)

static const uint8_t part_align[VIRTQ_PARTS] = {16, 2, 4};

/* ---- words in memory that the guest writes too ---- */

static inline uint16_t load16(const void *p) { return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED); }
static inline void store16(void *p, uint16_t v) { __atomic_store_n((uint16_t *)p, v, __ATOMIC_RELAXED); }
static inline void store32(void *p, uint32_t v) { __atomic_store_n((uint32_t *)p, v, __ATOMIC_RELAXED); }

static inline void *avail_at(const struct virtq *q, uint32_t offset) { return virtq_at(&q->area[VIRTQ_AVAIL], offset); }
static inline void *used_at(const struct virtq *q, uint32_t offset) { return virtq_at(&q->area[VIRTQ_USED], offset); }
/* used_event of the available ring, avail_event of the used ring. */
static inline void *used_event(const struct virtq *q) { return avail_at(q, RING_ENTRIES + AVAIL_BYTES * q->size); }
static inline void *avail_event(const struct virtq *q) { return used_at(q, RING_ENTRIES + USED_BYTES * q->size); }

/* ---- enabling ---- */

/* Piece @p of @a, of which @offset bytes are known. */
static void area_add(struct virtq_area *a, const struct guest_pin *p, uint32_t offset)
{
	if (offset == 0) {
		a->first = p->va;
		a->split = p->got;
	} else {
		a->second = p->va;
	}
}

static uint32_t part_bytes(const struct virtq *q, enum virtq_part part)
{
	static const uint8_t fixed[VIRTQ_PARTS] = {0, RING_ENTRIES + 2, RING_ENTRIES + 2};
	static const uint8_t each[VIRTQ_PARTS] = {VIRTQ_DESC_BYTES, AVAIL_BYTES, USED_BYTES};

	return fixed[part] + (uint32_t)each[part] * q->size;
}

void virtq_init(struct virtq *q)
{
	struct virtq fresh = {
		.size = q->size_max, .size_max = q->size_max, .mem = q->mem, .resumed = q->resumed, .chains = q->chains};

	ASSERT(q->size_max <= VIRTQ_SIZE_MAX && q->size_max != 0 && (q->size_max & (q->size_max - 1)) == 0);
	*q = fresh;
}

void virtq_break(struct virtq *q, const char *why)
{
	if (q->state == VIRTQ_STOPPING)
		return;
	q->state = VIRTQ_BROKEN_STATE;
	if (!q->broken)
		q->broken = why;
}

static const char *setup_wrong(const struct virtq *q)
{
	if (q->size == 0 || (q->size & (q->size - 1)) != 0)
		return "the queue size is no power of two";
	if (q->size > q->size_max)
		return "the queue size is larger than the device's";
	for (unsigned part = 0; part < VIRTQ_PARTS; part++)
		if (!is_aligned(q->at[part].v, part_align[part]))
			return "a part of the queue is not aligned";
	return NULL;
}

static void resumed(struct guest_pin *p)
{
	struct virtq *q = container_of(p, struct virtq, wait);

	q->resumed(q);
}

enum pin_result virtq_wait_pin(struct virtq *q, struct guest_pin *p)
{
	enum pin_result answer;

	ASSERT(!q->waiting);
	q->wait = (struct guest_pin){.at = p->at, .bytes = p->bytes, .write = p->write, .ready = resumed};
	answer = guest_mem_pin(q->mem, &q->wait);
	q->waiting = answer == PIN_LATER;
	if (answer == PIN_NOW)
		*p = q->wait;
	return answer;
}

/* Pins the rest of @part, of which @offset bytes are pinned. */
static enum pin_result start_part(struct virtq *q, enum virtq_part part)
{
	uint32_t bytes = part_bytes(q, part);

	while (q->part_pinned < bytes) {
		struct guest_pin p = {.at = gpa(q->at[part].v + q->part_pinned), .bytes = bytes - q->part_pinned,
				      .write = part == VIRTQ_USED};
		enum pin_result answer = virtq_wait_pin(q, &p);

		if (answer != PIN_NOW)
			return answer;
		area_add(&q->area[part], &p, q->part_pinned);
		q->pins[q->pin_count++] = p;
		q->part_pinned += p.got;
	}
	return PIN_NOW;
}

enum pin_result virtq_start(struct virtq *q)
{
	const char *wrong = setup_wrong(q);

	ASSERT(q->state == VIRTQ_OFF || q->state == VIRTQ_STARTING);
	if (q->waiting)
		return PIN_LATER;
	if (wrong) {
		virtq_break(q, wrong);
		return PIN_FAIL;
	}
	q->state = VIRTQ_STARTING;
	for (; q->part < VIRTQ_PARTS; q->part++, q->part_pinned = 0) {
		enum pin_result answer = start_part(q, q->part);

		if (answer == PIN_FAIL)
			virtq_break(q, "a part of the queue lies outside memory");
		if (answer != PIN_NOW)
			return answer;
	}
	q->state = VIRTQ_ON;
	return PIN_NOW;
}

bool virtq_stop(struct virtq *q)
{
	q->state = VIRTQ_STOPPING;
	if (q->waiting && guest_mem_cancel(q->mem, &q->wait))
		q->waiting = false;
	if (q->waiting || q->in_flight != 0)
		return false;
	for (unsigned i = 0; i < q->pin_count; i++)
		guest_mem_unpin(q->mem, &q->pins[i]);
	virtq_init(q);
	return true;
}

/* ---- chains ---- */

/* The table that is being walked: the queue's own, or an indirect one. */
struct table {
	struct virtq_area area;
	uint32_t count;
	bool indirect;
};

struct desc {
	uint64_t at;
	uint32_t bytes;
	uint16_t flags, next;
};

_Static_assert(sizeof(struct desc) == VIRTQ_DESC_BYTES, "a descriptor, 2.7.5");

/* Not repeated by the compiler, and at any alignment. */
static inline uint64_t load64(const void *p)
{
	typedef uint64_t __attribute__((aligned(1), may_alias)) any64;

	return *(const volatile any64 *)p;
}

static void fetch_bytes(const struct virtq_area *a, uint32_t offset, uint8_t *out)
{
	for (uint32_t i = 0; i < VIRTQ_DESC_BYTES; i++)
		out[i] = *(const volatile uint8_t *)virtq_at(a, offset + i);
}

/* The one look at descriptor @index. An indirect table need not be aligned, so a descriptor may lie in two pages. */
static inline struct desc fetch(const struct table *t, uint32_t index)
{
	uint32_t offset = index * VIRTQ_DESC_BYTES;
	struct desc d;

	if (likely(offset + VIRTQ_DESC_BYTES <= t->area.split || offset >= t->area.split)) {
		const uint8_t *p = virtq_at(&t->area, offset);
		uint64_t words[2] = {load64(p), load64(p + 8)};

		__builtin_memcpy(&d, words, sizeof d);
	} else {
		fetch_bytes(&t->area, offset, (uint8_t *)&d);
	}
	return d;
}

/* A chain on its way from the guest's tables into a virtq_chain. */
struct walk {
	struct table table;
	struct guest_pin pins[2]; /* of the indirect table */
	unsigned pinned;
	const char *wrong;        /* once the walk has ended: NULL when it is sound */
};

static void leave_table(struct virtq *q, struct walk *w)
{
	for (; w->pinned > 0; w->pinned--)
		guest_mem_unpin(q->mem, &w->pins[w->pinned - 1]);
}

static const char *table_wrong(const struct virtq *q, const struct walk *w, const struct desc *d)
{
	uint64_t end;

	if (!q->indirect)
		return "an indirect table without the feature";
	if (w->table.indirect)
		return "an indirect table in an indirect table";
	if (d->flags & VIRTQ_DESC_F_NEXT)
		return "an indirect table that is not the last of its chain";
	if (d->bytes == 0 || d->bytes % VIRTQ_DESC_BYTES != 0)
		return "an indirect table of an odd size";
	if (d->bytes > VIRTQ_SIZE_MAX * VIRTQ_DESC_BYTES)
		return "an indirect table that is too large";
	if (add_overflows(d->at, d->bytes, &end))
		return "an indirect table outside memory";
	return NULL;
}

/* Goes on in the table that @d refers to. False: the walk ends, with LATER when nothing is wrong. */
static bool enter_table(struct virtq *q, struct walk *w, const struct desc *d)
{
	w->wrong = table_wrong(q, w, d);
	if (w->wrong)
		return false;
	w->table = (struct table){.count = d->bytes / VIRTQ_DESC_BYTES, .indirect = true};
	for (uint32_t done = 0; done < d->bytes; w->pinned++) {
		struct guest_pin *p = &w->pins[w->pinned];
		enum pin_result answer;

		*p = (struct guest_pin){.at = gpa(d->at + done), .bytes = d->bytes - done};
		answer = virtq_wait_pin(q, p);
		if (answer != PIN_NOW) {
			w->wrong = answer == PIN_FAIL ? "an indirect table outside memory" : NULL;
			return false;
		}
		area_add(&w->table.area, p, done);
		done += p->got;
	}
	return true;
}

static inline const char *add_buffer(struct virtq_chain *c, const struct desc *d)
{
	uint32_t count = (uint32_t)c->readable + c->writable;
	uint64_t end;

	if (unlikely(d->bytes == 0))
		return "a buffer of no bytes";
	if (unlikely(add_overflows(d->at, d->bytes, &end)))
		return "a buffer that wraps around";
	if (unlikely(count >= c->room))
		return "a chain longer than the device takes";
	c->buffers[count] = (struct virtq_buffer){gpa(d->at), d->bytes};
	if (d->flags & VIRTQ_DESC_F_WRITE) {
		c->writable++;
		c->writable_bytes += d->bytes;
	} else if (unlikely(c->writable != 0)) {
		return "a readable buffer after a writable one";
	} else {
		c->readable++;
		c->readable_bytes += d->bytes;
	}
	return NULL;
}

/* Follows the chain from its head. True when it is whole and sound; else see w->wrong. */
static bool walk_chain(struct virtq *q, struct virtq_chain *c, struct walk *w)
{
	uint32_t index = c->head, left = w->table.count;

	for (;;) {
		struct desc d = fetch(&w->table, index);

		if (unlikely(d.flags & VIRTQ_DESC_F_INDIRECT)) {
			if (!enter_table(q, w, &d))
				return false;
			index = 0;
			left = w->table.count;
			continue;
		}
		w->wrong = add_buffer(c, &d);
		if (unlikely(w->wrong))
			return false;
		if (!(d.flags & VIRTQ_DESC_F_NEXT))
			break;
		index = d.next;
		if (unlikely(index >= w->table.count))
			w->wrong = "a chain that leaves its table";
		else if (unlikely(--left == 0))
			w->wrong = "a chain with a loop";
		if (unlikely(w->wrong))
			return false;
	}
	if (unlikely(c->readable_bytes + c->writable_bytes > CHAIN_BYTES_MAX))
		w->wrong = "a chain of more than 4 GiB";
	return !w->wrong;
}

static enum virtq_result broken(struct virtq *q, const char *why)
{
	virtq_break(q, why);
	return VIRTQ_BROKEN;
}

static inline uint64_t *busy_word(struct virtq *q, uint16_t head) { return &q->busy[head / 64]; }

enum virtq_result virtq_pop(struct virtq *q, struct virtq_chain *c)
{
	uint16_t ready, head;
	struct walk w;
	bool whole;

	if (unlikely(q->state != VIRTQ_ON || q->waiting))
		return q->state == VIRTQ_ON || q->state == VIRTQ_STARTING ? VIRTQ_LATER : VIRTQ_BROKEN;
	ready = (uint16_t)(load16(avail_at(q, RING_IDX)) - q->next_avail);
	if (ready == 0)
		return VIRTQ_EMPTY;
	if (unlikely(ready > q->size))
		return broken(q, "the available index jumps");
	/* What the index announces was written before it (2.7.13.3). */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	head = load16(avail_at(q, RING_ENTRIES + AVAIL_BYTES * (q->next_avail & (q->size - 1u))));
	if (unlikely(head >= q->size))
		return broken(q, "a chain that begins outside the table");
	if (unlikely(*busy_word(q, head) & BIT(head % 64)))
		return broken(q, "a chain that is in use already");

	c->head = head;
	c->readable = c->writable = 0;
	c->readable_bytes = c->writable_bytes = 0;
	w.table = (struct table){q->area[VIRTQ_DESC], q->size, false};
	w.pinned = 0;
	whole = walk_chain(q, c, &w);
	leave_table(q, &w);
	if (unlikely(!whole))
		return w.wrong ? broken(q, w.wrong) : VIRTQ_LATER;
	q->next_avail++;
	q->in_flight++;
	q->chains++;
	*busy_word(q, head) |= BIT(head % 64);
	return VIRTQ_CHAIN;
}

void virtq_drop(struct virtq *q, uint16_t head)
{
	ASSERT(head < VIRTQ_SIZE_MAX && (*busy_word(q, head) & BIT(head % 64)));
	*busy_word(q, head) &= ~BIT(head % 64);
	q->in_flight--;
}

void virtq_unpop(struct virtq *q, const struct virtq_chain *c)
{
	virtq_drop(q, c->head);
	q->next_avail--;
	q->chains--;
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t written)
{
	uint32_t entry = RING_ENTRIES + USED_BYTES * (q->next_used & (q->size - 1u));

	virtq_drop(q, head);
	if (unlikely(q->state != VIRTQ_ON))
		return;
	store32(used_at(q, entry), head);
	store32(used_at(q, entry + 4), written);
	q->next_used++;
	/* The driver takes the entry once it sees the index (2.7.8.2). */
	__atomic_store_n((uint16_t *)used_at(q, RING_IDX), q->next_used, __ATOMIC_RELEASE);
}

/* ---- who is told when ---- */

/* The other side's wish was written before it looked at our index, or it sees our index: 2.7.10, 2.7.13.4.1. */
static inline void full_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

bool virtq_interrupt_wanted(struct virtq *q)
{
	uint16_t old = q->signalled, event;

	if (q->state != VIRTQ_ON || old == q->next_used)
		return false;
	q->signalled = q->next_used;
	full_fence();
	if (!q->event_idx)
		return !(load16(avail_at(q, RING_FLAGS)) & VIRTQ_AVAIL_F_NO_INTERRUPT);
	event = load16(used_event(q));
	/* Is entry @event among old .. next_used - 1? Modulo 2^16. */
	return (uint16_t)(q->next_used - event - 1) < (uint16_t)(q->next_used - old);
}

void virtq_kicks_off(struct virtq *q)
{
	/* With event indices nothing need be written: the driver kicks when it passes avail_event, which stays behind. */
	if (q->state == VIRTQ_ON && !q->event_idx)
		store16(used_at(q, RING_FLAGS), VIRTQ_USED_F_NO_NOTIFY);
}

bool virtq_kicks_on(struct virtq *q)
{
	if (q->state != VIRTQ_ON)
		return false;
	if (q->event_idx)
		store16(avail_event(q), q->next_avail);
	else
		store16(used_at(q, RING_FLAGS), 0);
	full_fence();
	return load16(avail_at(q, RING_IDX)) != q->next_avail;
}

/* ---- the memory of a chain ---- */

struct virtq_cursor virtq_readable(const struct virtq_chain *c)
{
	return (struct virtq_cursor){c->buffers, 0, c->readable_bytes};
}

struct virtq_cursor virtq_writable(const struct virtq_chain *c)
{
	return (struct virtq_cursor){c->buffers + c->readable, 0, c->writable_bytes};
}

void virtq_advance(struct virtq_cursor *at, uint64_t bytes)
{
	ASSERT(bytes <= at->left);
	at->left -= bytes;
	bytes += at->skip;
	for (; at->left != 0 && bytes >= at->buffer->bytes; at->buffer++)
		bytes -= at->buffer->bytes;
	at->skip = (uint32_t)bytes;
}

void virtq_piece(const struct virtq_cursor *at, struct guest_pin *p)
{
	p->at = gpa(at->buffer->at.v + at->skip);
	p->bytes = (uint32_t)MIN(at->buffer->bytes - at->skip, at->left);
}
