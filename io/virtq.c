/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues, the device's side (virtio 1.2 section 2.7). A descriptor is
 * taken with two loads of eight bytes (byte by byte where it lies in two pages), a
 * ring's word with one; the compiler is kept from repeating them. How long a chain may
 * get is bounded by the number of descriptors in its table, which ends every loop.
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

static inline uint32_t load32(const void *p) { return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED); }
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
		a->first = a->second = (uintptr_t)p->va;
		a->split = p->got;
	} else {
		a->second = (uintptr_t)p->va - offset;
	}
}

static uint32_t part_bytes(const struct virtq *q, enum virtq_part part)
{
	static const uint8_t fixed[VIRTQ_PARTS] = {0, RING_ENTRIES + 2, RING_ENTRIES + 2};
	static const uint8_t each[VIRTQ_PARTS] = {VIRTQ_DESC_BYTES, AVAIL_BYTES, USED_BYTES};

	return fixed[part] + (uint32_t)each[part] * q->size;
}

static void resumed(struct guest_pin *p)
{
	struct virtq *q = container_of(p, struct virtq, wait);

	q->resumed(q);
}

void virtq_init(struct virtq *q)
{
	struct virtq fresh = {.size = q->size_max, .size_max = q->size_max, .mem = q->mem, .resumed = q->resumed,
			      .wait.ready = resumed};

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

enum pin_result virtq_wait_pin(struct virtq *q, struct guest_pin *p)
{
	enum pin_result answer = virtq_pin(q, p->at, p->bytes, p->write);

	if (likely(answer == PIN_NOW)) {
		p->got = q->wait.got;
		p->va = q->wait.va;
		p->cookie = q->wait.cookie;
	}
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
	q->avail_idx = avail_at(q, RING_IDX);
	q->used_idx = used_at(q, RING_IDX);
	q->flat = q->pin_count == VIRTQ_PARTS;
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

/* Not repeated by the compiler, and at any alignment. */
static inline uint64_t load64(const void *p)
{
	typedef uint64_t __attribute__((aligned(1), may_alias)) any64;

	return *(const volatile any64 *)p;
}

/* A descriptor as two words: the address; the length, the flags and the next. */
struct words {
	uint64_t at, rest;
};
#define REST_FLAGS_SHIFT 32
#define REST_NEXT_SHIFT 48

/* The one look at descriptor @index of a table that lies in one piece. */
static inline struct words look_flat(struct virtq_area table, uint64_t index)
{
	const uint64_t *p = (const uint64_t *)(table.first + index * VIRTQ_DESC_BYTES);

	return (struct words){load64(p), load64(p + 1)};
}

/* The same for a table in two pages. An indirect one need not be aligned, so that a descriptor may lie in both. */
static inline struct words look_split(struct virtq_area table, uint64_t index)
{
	uint32_t offset = (uint32_t)index * VIRTQ_DESC_BYTES;
	uint8_t bytes[VIRTQ_DESC_BYTES];

	if (likely(offset + VIRTQ_DESC_BYTES <= table.split || offset >= table.split)) {
		const uint64_t *p = virtq_at(&table, offset);

		return (struct words){load64(p), load64(p + 1)};
	}
	for (uint32_t i = 0; i < VIRTQ_DESC_BYTES; i++)
		bytes[i] = *(const volatile uint8_t *)virtq_at(&table, offset + i);
	return (struct words){get_le64(bytes), get_le64(bytes + 8)};
}

/* A chain on its way from the guest's tables into a virtq_chain. */
struct walk {
	struct virtq_chain *chain; /* readable and readable_bytes are set once kind is */
	struct virtq_buffer *out;  /* the next place */
	uint64_t bytes;            /* of all so far */
	uint32_t kind;             /* VIRTQ_DESC_F_WRITE once one was seen */
	uint32_t room;             /* places when the table was entered */
};

/* What a walk through one table ends with: NULL when the chain ends there, else what is wrong, or one of these two. */
static const char at_table[] = "an indirect table", is_later[] = "memory that comes later";

static const char *table_wrong(const struct virtq *q, const struct virtq_buffer *d)
{
	uint64_t end;

	if (!q->indirect)
		return "an indirect table without the feature";
	if (d->flags & VIRTQ_DESC_F_NEXT)
		return "an indirect table that is not the last of its chain";
	if (d->bytes == 0 || d->bytes % VIRTQ_DESC_BYTES != 0)
		return "an indirect table of an odd size";
	if (d->bytes > VIRTQ_SIZE_MAX * VIRTQ_DESC_BYTES)
		return "an indirect table that is too large";
	if (add_overflows(d->at.v, d->bytes, &end))
		return "an indirect table outside memory";
	return NULL;
}

/* The readable ones end here. */
static inline void begin_writable(struct walk *w)
{
	w->chain->readable = (uint16_t)(w->out - w->chain->buffers);
	w->chain->readable_bytes = w->bytes;
	w->kind = VIRTQ_DESC_F_WRITE;
}

/* A descriptor that is not of the kind of those before it. NULL, or what is wrong, or at_table. */
static inline const char *change_kind(struct walk *w, uint32_t flags)
{
	if (flags & VIRTQ_DESC_F_INDIRECT)
		return at_table;
	if (w->kind == VIRTQ_DESC_F_WRITE)
		return "a readable buffer after a writable one";
	begin_writable(w);
	return NULL;
}

/*
 * Follows the chain from descriptor @index of a table of @count. In one piece, and inlined, so that what it counts
 * stays in registers: this is what a request costs in the ring. *@last: the descriptor that it did not take.
 */
__attribute__((always_inline)) static inline const char *
walk_table(struct walk *w, struct virtq_area table, uint64_t count, uint64_t index,
	   struct words (*look)(struct virtq_area, uint64_t), struct words *last)
{
	/* A step takes a descriptor and a place: whichever there is less of ends a loop. */
	struct virtq_buffer *end = w->out + MIN(w->room, count);

	while (likely(w->out != end)) {
		struct words d = look(table, index);
		uint32_t flags = (uint32_t)(d.rest >> REST_FLAGS_SHIFT), bytes = (uint32_t)d.rest;
		const char *wrong;

		if (unlikely((flags ^ w->kind) & (VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_INDIRECT))) {
			wrong = change_kind(w, flags);
			if (unlikely(wrong)) {
				last->at = d.at;
				last->rest = d.rest;
				return wrong;
			}
		}
		if (unlikely(d.at + bytes <= d.at))
			return bytes == 0 ? "a buffer of no bytes" : "a buffer that wraps around";
		put_le64(w->out, d.at);
		put_le64((uint8_t *)w->out + sizeof d.at, d.rest);
		w->out++;
		w->bytes += bytes;
		if (!(flags & VIRTQ_DESC_F_NEXT))
			return NULL;
		index = d.rest >> REST_NEXT_SHIFT;
		if (unlikely(index >= count))
			return "a chain that leaves its table";
	}
	return w->room <= count ? "a chain longer than the device takes" : "a chain with a loop";
}

static const char *walk_split(struct walk *w, const struct virtq_area *table, uint64_t count, uint64_t index,
			      struct words *last)
{
	return walk_table(w, *table, count, index, look_split, last);
}

/* All descriptors are taken. NULL, or what is wrong with the chain. */
static inline const char *end_walk(struct walk *w)
{
	struct virtq_chain *c = w->chain;

	if (unlikely(w->kind == 0))
		begin_writable(w);
	c->writable = (uint16_t)(w->out - c->buffers - c->readable);
	c->writable_bytes = w->bytes - c->readable_bytes;
	return likely(w->bytes <= CHAIN_BYTES_MAX) ? NULL : "a chain of more than 4 GiB";
}

/* A piece of a table is not to be had. */
static const char *table_not_pinned(enum pin_result answer)
{
	return answer == PIN_FAIL ? "an indirect table outside memory" : is_later;
}

/* The table @d lies in two pages, of which the first is pinned by q->wait. */
__attribute__((noinline)) static const char *walk_two_pages(struct virtq *q, struct walk *w, const struct virtq_buffer *d)
{
	struct guest_pin first = q->wait;
	struct guest_pin second = {.at = gpa(d->at.v + first.got), .bytes = d->bytes - first.got};
	enum pin_result answer = virtq_wait_pin(q, &second);
	const char *wrong = table_not_pinned(answer);
	struct virtq_area area;
	struct words last;

	if (answer == PIN_NOW) {
		ASSERT(second.got == second.bytes);
		area_add(&area, &first, 0);
		area_add(&area, &second, first.got);
		wrong = walk_split(w, &area, d->bytes / VIRTQ_DESC_BYTES, 0, &last);
		wrong = wrong ? wrong : end_walk(w);
		guest_mem_unpin(q->mem, &second);
	}
	guest_mem_unpin(q->mem, &first);
	return wrong;
}

/* In one page, as nearly all are: pinned by q->wait, of which nobody else has need until it is unpinned. */
static NOINLINE const char *walk_one_page(struct virtq *q, const struct walk *w, uint32_t bytes)
{
	struct virtq_area area = {.first = (uintptr_t)q->wait.va};
	struct walk here = *w;
	struct words last;
	const char *wrong = walk_table(&here, area, bytes / VIRTQ_DESC_BYTES, 0, look_flat, &last);

	if (likely(!wrong))
		wrong = end_walk(&here);
	guest_mem_unpin(q->mem, &q->wait);
	return wrong;
}

/* And to the chain's end, for a table is the last of it. */
__attribute__((noinline)) static const char *walk_indirect(struct virtq *q, struct walk *w, const struct words *from)
{
	struct virtq_buffer d;
	enum pin_result answer;
	const char *wrong;

	__builtin_memcpy(&d, from, sizeof d);
	wrong = table_wrong(q, &d);
	if (unlikely(wrong))
		return wrong;
	answer = virtq_pin(q, d.at, d.bytes, false);
	if (unlikely(answer != PIN_NOW))
		return table_not_pinned(answer);
	wrong = likely(q->wait.got == d.bytes) ? walk_one_page(q, w, d.bytes) : walk_two_pages(q, w, &d);
	return wrong == at_table ? "an indirect table in an indirect table" : wrong;
}

/* NULL, or why the chain is not to be had. */
static inline const char *walk_chain(struct virtq *q, struct virtq_chain *c, uint64_t head, uint64_t size)
{
	const struct virtq_area *table = &q->area[VIRTQ_DESC];
	struct walk w = {.chain = c, .out = c->buffers, .room = c->room};
	struct words d;
	const char *wrong;

	if (likely(q->flat)) {
		wrong = walk_table(&w, *table, size, head, look_flat, &d);
	} else {
		struct walk slow = w;

		wrong = walk_split(&slow, table, size, head, &d);
		w = slow;
	}
	if (unlikely(wrong == at_table)) {
		struct walk rest = w;

		rest.room = c->room - (uint32_t)(w.out - c->buffers);
		return walk_indirect(q, &rest, &d);
	}
	return unlikely(wrong) ? wrong : end_walk(&w);
}

static enum virtq_result broken(struct virtq *q, const char *why)
{
	virtq_break(q, why);
	return VIRTQ_BROKEN;
}

static enum virtq_result not_ready(struct virtq *q, uint16_t ready)
{
	if (q->state == VIRTQ_STARTING || (q->state == VIRTQ_ON && q->waiting))
		return VIRTQ_LATER;
	if (q->state != VIRTQ_ON)
		return VIRTQ_BROKEN;
	return ready == 0 ? VIRTQ_EMPTY : broken(q, "the available index jumps");
}

static enum virtq_result not_popped(struct virtq *q, uint16_t head, const char *wrong)
{
	q->busy[head] = false;
	return wrong == is_later ? VIRTQ_LATER : broken(q, wrong);
}

static inline uint64_t next_head(const struct virtq *q, uint64_t entry)
{
	if (likely(q->flat))
		return load16((const void *)(q->area[VIRTQ_AVAIL].first + RING_ENTRIES + AVAIL_BYTES * entry));
	return load16(avail_at(q, RING_ENTRIES + AVAIL_BYTES * (uint32_t)entry));
}

enum virtq_result virtq_pop(struct virtq *q, struct virtq_chain *c)
{
	uint64_t size = q->size, head;
	uint16_t ready = 0;
	const char *wrong;

	if (likely(q->state == VIRTQ_ON && !q->waiting))
		/* What the index announces was written before it (2.7.13.3). */
		ready = (uint16_t)(__atomic_load_n(q->avail_idx, __ATOMIC_ACQUIRE) - q->next_avail);
	/* 1 .. size? */
	if (unlikely((uint16_t)(ready - 1) >= size))
		return not_ready(q, ready);
	head = next_head(q, q->next_avail & (size - 1));
	if (unlikely(head >= size))
		return broken(q, "a chain that begins outside the table");
	if (unlikely(q->busy[head]))
		return broken(q, "a chain that is in use already");
	q->busy[head] = true;
	c->head = (uint16_t)head;
	wrong = walk_chain(q, c, head, size);
	if (unlikely(wrong))
		return not_popped(q, c->head, wrong);
	q->next_avail++;
	q->in_flight++;
	return VIRTQ_CHAIN;
}

/* Is a descriptor a chain of its own, and writable? @flags: and whatever is above them. */
static inline bool is_single(uint32_t flags)
{
	return (flags & (VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_INDIRECT)) == VIRTQ_DESC_F_WRITE;
}

unsigned virtq_pop_singles(struct virtq *q, struct virtq_used *list, gpa_t *at, unsigned most, uint64_t bytes)
{
	const uint8_t *table = (const uint8_t *)q->area[VIRTQ_DESC].first;
	const uint16_t *entries = (const uint16_t *)(q->area[VIRTQ_AVAIL].first + RING_ENTRIES);
	uint64_t mask = q->size - 1u, first = q->next_avail, got = 0, count = 0;
	uint16_t ready;

	if (unlikely(q->state != VIRTQ_ON || q->waiting || !q->flat))
		return 0;
	ready = (uint16_t)(__atomic_load_n(q->avail_idx, __ATOMIC_ACQUIRE) - q->next_avail);
	if (unlikely(ready > q->size))
		return 0;
	for (most = MIN(most, ready); count < most && got < bytes; count++) {
		uint64_t head = load16(&entries[(first + count) & mask]);
		const uint8_t *d = table + VIRTQ_DESC_BYTES * head;
		uint64_t from;
		uint32_t has;

		if (unlikely(head > mask || q->busy[head]))
			break;
		from = load64(d);
		has = load32(d + sizeof from);
		if (unlikely(!is_single(load32(d + sizeof from + sizeof has)) || from + has <= from))
			break;
		q->busy[head] = true;
		at[count].v = from;
		list[count] = (struct virtq_used){(uint32_t)head, has};
		got += has;
	}
	if (likely(got > bytes))
		list[count - 1].written -= (uint32_t)(got - bytes);
	q->next_avail = (uint16_t)(first + count);
	q->in_flight = (uint16_t)(q->in_flight + count);
	return (unsigned)count;
}

static inline void drop(struct virtq *q, uint16_t head)
{
	bool *busy = &q->busy[head % VIRTQ_SIZE_MAX];

	ASSERT(*busy);
	*busy = false;
	q->in_flight--;
}

void virtq_drop(struct virtq *q, uint16_t head) { drop(q, head); }

void virtq_unpop(struct virtq *q, const struct virtq_chain *c)
{
	virtq_drop(q, c->head);
	q->next_avail--;
}

__attribute__((noinline)) static void store_split(struct virtq *q, uint32_t entry, uint32_t head, uint32_t written)
{
	store32(used_at(q, entry), head);
	store32(used_at(q, entry + 4), written);
}

/* Into entry @index, free-running, of the used ring. */
static inline void store_used(struct virtq *q, uint16_t index, uint32_t head, uint32_t written)
{
	uint64_t at = RING_ENTRIES + USED_BYTES * (uint64_t)(index & (q->size - 1u));

	if (likely(q->flat))
		put_le64((void *)(q->area[VIRTQ_USED].first + at), head | (uint64_t)written << 32);
	else
		store_split(q, (uint32_t)at, head, written);
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t written)
{
	drop(q, head);
	if (unlikely(q->state != VIRTQ_ON))
		return;
	store_used(q, q->next_used, head, written);
	/* The driver takes the entry once it sees the index (2.7.8.2). */
	__atomic_store_n(q->used_idx, ++q->next_used, __ATOMIC_RELEASE);
}

static NOINLINE uint16_t push_each(struct virtq *q, const struct virtq_used *list, unsigned count)
{
	uint16_t at = q->next_used;

	for (unsigned i = 0; i < count; i++) {
		ASSERT(q->busy[list[i].head % VIRTQ_SIZE_MAX]);
		q->busy[list[i].head % VIRTQ_SIZE_MAX] = false;
		if (q->state == VIRTQ_ON)
			store_used(q, at++, list[i].head, list[i].written);
	}
	return at;
}

/* The same for a ring whose parts lie in one piece each, and that is on. */
static inline uint16_t push_flat(struct virtq *q, const struct virtq_used *list, unsigned count)
{
	uint8_t *ring = (uint8_t *)q->area[VIRTQ_USED].first + RING_ENTRIES;
	uint64_t at = q->next_used, mask = q->size - 1u;

	_Static_assert(sizeof *list == USED_BYTES, "2.7.8");
	for (unsigned i = 0; i < count; i++, at++) {
		uint64_t entry = get_le64(&list[i]);

		ASSERT(q->busy[entry % VIRTQ_SIZE_MAX]);
		q->busy[entry % VIRTQ_SIZE_MAX] = false;
		put_le64(ring + USED_BYTES * (at & mask), entry);
	}
	return (uint16_t)at;
}

void virtq_push_several(struct virtq *q, const struct virtq_used *list, unsigned count)
{
	bool flat = q->flat && q->state == VIRTQ_ON;
	uint16_t at = likely(flat) ? push_flat(q, list, count) : push_each(q, list, count);

	q->in_flight = (uint16_t)(q->in_flight - count);
	if (unlikely(q->state != VIRTQ_ON))
		return;
	q->next_used = at;
	__atomic_store_n(q->used_idx, at, __ATOMIC_RELEASE);
}

/* ---- who is told when ---- */

/*
 * Each side writes its own word, then looks at the other's: with both in one total order, one of the two sees what
 * the other wrote (2.7.10, 2.7.13.4.1). Returns after @v is in *@p for all to see.
 */
static inline void announce(void *p, uint16_t v) { (void)__atomic_exchange_n((uint16_t *)p, v, __ATOMIC_SEQ_CST); }
static inline uint16_t look_at(const void *p) { return __atomic_load_n((const uint16_t *)p, __ATOMIC_SEQ_CST); }

bool virtq_interrupt_wanted(struct virtq *q)
{
	uint16_t old = q->signalled, event;

	if (q->state != VIRTQ_ON || old == q->next_used)
		return false;
	q->signalled = q->next_used;
	announce(q->used_idx, q->next_used); /* once more, for its order */
	if (!q->event_idx)
		return !(look_at(avail_at(q, RING_FLAGS)) & VIRTQ_AVAIL_F_NO_INTERRUPT);
	event = look_at(used_event(q));
	/* Is entry @event among old .. next_used - 1? Modulo 2^16. */
	return (uint16_t)(q->next_used - event - 1) < (uint16_t)(q->next_used - old);
}

void virtq_set_no_notify(struct virtq *q)
{
	if (q->state == VIRTQ_ON)
		store16(used_at(q, RING_FLAGS), VIRTQ_USED_F_NO_NOTIFY);
}

bool virtq_kicks_on_beyond(struct virtq *q, uint16_t ready)
{
	uint16_t seen = (uint16_t)(q->next_avail + ready);

	if (q->state != VIRTQ_ON)
		return false;
	if (q->event_idx)
		announce(avail_event(q), seen);
	else
		announce(used_at(q, RING_FLAGS), 0);
	return look_at(q->avail_idx) != seen;
}

/* ---- the memory of a chain ---- */

void virtq_advance_over(struct virtq_cursor *at, uint64_t bytes)
{
	ASSERT(bytes <= at->left);
	at->left -= bytes;
	bytes += at->skip;
	for (; at->left != 0 && bytes >= at->buffer->bytes; at->buffer++)
		bytes -= at->buffer->bytes;
	at->skip = (uint32_t)bytes;
}
