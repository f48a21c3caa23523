/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a block request (virtio 1.2 section 5.2.6): pin the status byte, read
 * the header, then by its type: pin the data and hand it to the disk, in as many
 * rounds as it takes; read ranges and hand them over one by one; or answer at once.
 * Each step can be where it stops, for memory, for the disk or because the
 * budget is spent, and is then where it goes on.
 *
 * What is wrong with a request ends it with IOERR, or UNSUPP as 5.2.6.2 has it; only without a
 * status byte to write that to is the device broken.
 */
#include "io/virtio_blk_internal.h"

#include "lib/assert.h"
#include "lib/checked.h"

/* Of a request whose header was not read. */
#define TYPE_UNKNOWN UINT32_MAX

enum turn {
	TURN_ON,    /* the next step */
	TURN_WAIT,  /* somebody else has it */
	TURN_TIRED, /* the budget is spent */
	TURN_END,   /* with its result */
};

static enum turn end_with(struct blk_request *r, uint8_t result)
{
	r->result = result;
	return TURN_END;
}

static enum turn next_step(struct blk_request *r, enum blk_step step)
{
	r->step = step;
	return TURN_ON;
}

static struct virtio_device *device_of(const struct blk_request *r) { return &r->blk->device; }

/* ---- taking and letting go ---- */

/* Do the chain's buffers lie in at most BLK_SMALL pages, counted one by one? */
static bool is_small(const struct virtq_chain *c, unsigned count)
{
	uint64_t pages = 0;

	/* However they lie. */
	if (likely((c->readable_bytes + c->writable_bytes) / PAGE_SIZE + 2 * count <= BLK_SMALL))
		return true;
	for (unsigned i = 0; i < count; i++) {
		pages += ((c->buffers[i].at.v & PAGE_MASK) + c->buffers[i].bytes + PAGE_MASK) >> PAGE_SHIFT;
		if (pages > BLK_SMALL)
			return false;
	}
	return true;
}

static void give_room(struct blk_request *r, struct blk_room *room)
{
	r->room = room;
	r->chain.buffers = room ? room->buffers : r->buffers;
	r->segments = room ? room->segments : r->small.segments;
	r->held = room ? room->held : r->small.held;
	r->pieces_max = room ? BLK_PIECES : BLK_SMALL;
}

struct blk_request *blk_take(struct virtio_blk *b, unsigned queue, const struct virtq_chain *c)
{
	struct blk_request *r = list_entry(b->free.next, struct blk_request, link);
	unsigned count = (unsigned)c->readable + c->writable;
	struct blk_room *room = NULL;

	if (!is_small(c, count)) {
		if (list_empty(&b->rooms))
			return NULL;
		room = list_entry(b->rooms.next, struct blk_room, link);
		list_remove(&room->link);
	}
	list_remove(&r->link);
	r->chain = *c;
	give_room(r, room);
	for (unsigned i = 0; i < count; i++)
		r->chain.buffers[i] = c->buffers[i];
	r->queue = (uint16_t)queue;
	r->step = BLK_STATUS;
	r->type = TYPE_UNKNOWN;
	r->copied = 0;
	r->durable = false;
	r->written = 0;
	r->pieces = 0;
	r->pinned_bytes = 0;
	r->status_va = NULL;
	r->place = BLK_READY;
	return r;
}

/* Inlined, as the two after it: each ends nearly every request. */
__attribute__((always_inline)) static inline void unpin_pieces(struct blk_request *r, bool write)
{
	const struct guest_mem *mem = &device_of(r)->mem;

	for (unsigned i = 0; i < r->pieces; i++) {
		struct guest_pin p; /* what unpin() looks at, no more */

		p.at = r->held[i].at;
		p.cookie = r->held[i].cookie;
		p.va = r->segments[i].data;
		p.bytes = p.got = r->segments[i].bytes;
		p.write = write;
		guest_mem_unpin(mem, &p);
	}
	r->pieces = 0;
	r->pinned_bytes = 0;
}

__attribute__((always_inline)) static inline void unpin_all(struct blk_request *r)
{
	struct guest_pin p;

	if (unlikely(r->pieces != 0))
		unpin_pieces(r, r->type == VIRTIO_BLK_T_IN);
	if (!r->status_va)
		return;
	p.at = r->status.at;
	p.cookie = r->status.cookie;
	p.va = r->status_va;
	p.bytes = p.got = 1;
	p.write = true;
	guest_mem_unpin(&device_of(r)->mem, &p);
	r->status_va = NULL;
}

/* Makes @r free, and queues that found nothing go on. */
__attribute__((always_inline)) static inline void release(struct blk_request *r)
{
	struct virtio_blk *b = r->blk;

	if (r->room)
		list_push_front(&b->rooms, &r->room->link);
	r->room = NULL;
	r->place = BLK_FREE;
	list_push_front(&b->free, &r->link);
	for (uint32_t left = b->starved; unlikely(left != 0); left &= left - 1)
		virtio_resume(&b->device, bit_lowest(left));
}

static void let_go(struct blk_request *r)
{
	uint16_t queue = r->queue, head = r->chain.head;

	unpin_all(r);
	release(r);
	virtio_drop(device_of(r), queue, head);
}

__attribute__((always_inline)) static inline void count(struct blk_request *r)
{
	struct virtio_blk_figures *f = &r->blk->figures;

	switch (r->type) {
	case VIRTIO_BLK_T_IN:
		f->reads++;
		break;
	case VIRTIO_BLK_T_OUT:
		f->writes++;
		break;
	case VIRTIO_BLK_T_FLUSH:
		f->flushes++;
		break;
	case VIRTIO_BLK_T_DISCARD:
		f->discards++;
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		f->write_zeroes++;
		break;
	}
	if (likely(r->result == VIRTIO_BLK_S_OK))
		return;
	f->errors += r->result == VIRTIO_BLK_S_IOERR;
	f->unsupported += r->result == VIRTIO_BLK_S_UNSUPP;
}

/*
 * vIC: another completion comes in this queue, and that one will do for this too; true. Else *@gap says how soon the
 * driver is to hear of it. What was told before, and not so soon, is asked after.
 */
__attribute__((always_inline)) static inline bool hold_back(struct virtio_blk *b, unsigned queue, uint64_t *gap)
{
	const struct coalesce_settings *set = &b->cfg.coalesce;
	struct blk_queue *state = &b->state[queue];
	uint32_t moving = (uint32_t)b->queues[queue].ring.in_flight - state->idle;
	uint64_t hz;
	bool interrupt;

	*gap = 0;
	if (set->policy == COALESCE_OFF || moving < set->cif_min) {
		coalesce_complete_few(&state->coalesce);
		virtio_nudge(&b->device, 0);
		return false;
	}
	hz = b->cfg.clock->hz;
	interrupt = coalesce_complete(&state->coalesce, set, moving, b->cfg.clock->ticks(), hz);
	*gap = coalesce_gap(&state->coalesce, set, moving, hz);
	virtio_nudge(&b->device, *gap);
	b->figures.held += !interrupt;
	return !interrupt;
}

/* @r stands still until somebody else does something: no completion need come that would make up for one held back. */
static void stand_still(struct blk_request *r)
{
	r->blk->state[r->queue].idle++;
	virtio_nudge(&r->blk->device, 0);
	if (r->blk->cfg.coalesce.policy != COALESCE_OFF)
		blk_tell(r->blk, r->queue, 0);
}

__attribute__((always_inline)) static inline void finish(struct blk_request *r)
{
	struct virtio_blk *b = r->blk;
	uint16_t queue = r->queue, head = r->chain.head;
	uint32_t written = r->written;
	uint64_t gap;
	bool held = hold_back(b, queue, &gap);

	/* Bytes from the first writable one on (2.7.8.2): the status byte counts when all before it were written. */
	if (written == r->chain.writable_bytes - 1)
		written++;
	count(r);
	*(volatile uint8_t *)r->status_va = r->result;
	unpin_all(r);
	release(r);
	virtio_push(&b->device, queue, head, written);
	if (!held)
		blk_tell(b, queue, gap);
}

void blk_ready(struct blk_request *r)
{
	r->place = BLK_READY;
	list_push_back(&r->blk->state[r->queue].ready, &r->link);
}

void blk_abandon(struct blk_request *r)
{
	struct virtio_blk *b = r->blk;
	bool ours = true;

	switch (r->place) {
	case BLK_READY:
		list_remove(&r->link);
		break;
	case BLK_NO_SPACE:
		list_remove(&r->link);
		b->figures.waiting_for_space--;
		b->state[r->queue].idle--;
		break;
	case BLK_PARKED:
		ours = guest_mem_cancel(&b->device.mem, &r->pin);
		b->state[r->queue].idle -= ours;
		break;
	case BLK_AT_DISK:
		ours = !r->block.done && b->cfg.backend->cancel && b->cfg.backend->cancel(b->cfg.backend_ctx, &r->block);
		b->figures.in_flight -= ours;
		break;
	default:
		return;
	}
	if (ours)
		let_go(r);
}

/* ---- guest memory ---- */

/* What @r waited for may be had. */
static void on_ready(struct guest_pin *p)
{
	struct blk_request *r = container_of(p, struct blk_request, pin);
	struct virtio_device *d = device_of(r);

	lock_acquire(&d->lock);
	r->blk->state[r->queue].idle--;
	if (virtio_stopping(d, r->queue)) {
		let_go(r);
	} else {
		blk_ready(r);
		virtio_resume(d, r->queue);
	}
	lock_release(&d->lock);
}

/* Asks for r->pin, whose at and bytes are set. */
__attribute__((always_inline)) static inline enum pin_result ask(struct blk_request *r, bool write)
{
	enum pin_result answer;

	r->pin.write = write;
	r->pin.ready = on_ready;
	answer = guest_mem_pin(&device_of(r)->mem, &r->pin);
	if (unlikely(answer == PIN_LATER)) {
		r->place = BLK_PARKED;
		r->blk->figures.parked++;
		stand_still(r);
	}
	return answer;
}

/* Copies @bytes between r->at and @ours, as far as memory is there; r->copied says how far. */
static enum pin_result copy(struct blk_request *r, uint8_t *ours, uint16_t bytes, bool write)
{
	while (r->copied < bytes) {
		enum pin_result answer;

		virtq_piece(&r->at, &r->pin);
		r->pin.bytes = MIN(r->pin.bytes, (uint32_t)(bytes - r->copied));
		answer = ask(r, write);
		if (answer != PIN_NOW)
			return answer;
		memcpy(write ? r->pin.va : ours + r->copied, write ? ours + r->copied : r->pin.va, r->pin.got);
		guest_mem_unpin(&device_of(r)->mem, &r->pin);
		r->copied = (uint16_t)(r->copied + r->pin.got);
		virtq_advance(&r->at, r->pin.got);
	}
	r->copied = 0;
	return PIN_NOW;
}

static enum turn not_now(struct blk_request *r, enum pin_result answer)
{
	return answer == PIN_LATER ? TURN_WAIT : end_with(r, VIRTIO_BLK_S_IOERR);
}

/* ---- from the chain to the disk ---- */

static uint32_t scale_of(const struct virtio_blk *b) { return b->cfg.disk->sector_bytes / VIRTIO_BLK_SECTOR; }
static uint64_t capacity_of(const struct virtio_blk *b) { return get_le64(b->config + VIRTIO_BLK_CFG_CAPACITY); }

__attribute__((always_inline)) static inline enum turn begin_data(struct blk_request *r)
{
	const struct virtio_blk *b = r->blk;
	bool in = r->type == VIRTIO_BLK_T_IN;
	uint64_t sectors, more = in ? r->at.left : r->chain.writable_bytes - 1;

	if (in) {
		r->at = virtq_writable(&r->chain);
		r->at.left--; /* the status byte */
	}
	sectors = r->at.left / VIRTIO_BLK_SECTOR;
	if (more != 0 || r->at.left % VIRTIO_BLK_SECTOR != 0 || !range_fits(r->sector, sectors, capacity_of(b)) ||
	    !is_aligned(r->sector | sectors, scale_of(b)))
		return end_with(r, VIRTIO_BLK_S_IOERR);
	if (!in && b->cfg.disk->read_only)
		return end_with(r, VIRTIO_BLK_S_IOERR);
	r->round = r->at;
	return sectors == 0 ? end_with(r, VIRTIO_BLK_S_OK) : next_step(r, BLK_GATHER);
}

static enum turn begin_ranges(struct blk_request *r)
{
	const struct virtio_blk *b = r->blk;
	uint64_t feature = r->type == VIRTIO_BLK_T_DISCARD ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES;

	if (!virtio_has(&b->device, feature))
		return end_with(r, VIRTIO_BLK_S_UNSUPP);
	if (b->cfg.disk->read_only || r->at.left == 0 || r->at.left % VIRTIO_BLK_RANGE_BYTES != 0 ||
	    r->at.left > VIRTIO_BLK_RANGES * VIRTIO_BLK_RANGE_BYTES)
		return end_with(r, VIRTIO_BLK_S_IOERR);
	r->ranges = (uint8_t)(r->at.left / VIRTIO_BLK_RANGE_BYTES);
	r->range = 0;
	return next_step(r, BLK_RANGES);
}

static enum turn begin_id(struct blk_request *r)
{
	if (r->chain.writable_bytes - 1 < VIRTIO_BLK_ID_BYTES)
		return end_with(r, VIRTIO_BLK_S_IOERR);
	r->at = virtq_writable(&r->chain);
	return next_step(r, BLK_ID);
}

__attribute__((always_inline)) static inline enum turn take_header(struct blk_request *r)
{
	r->type = get_le32(r->header);
	r->sector = get_le64(r->header + 8);
	switch (r->type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		return begin_data(r);
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return begin_ranges(r);
	case VIRTIO_BLK_T_GET_ID:
		return begin_id(r);
	case VIRTIO_BLK_T_FLUSH:
		if (virtio_has(device_of(r), VIRTIO_BLK_F_FLUSH))
			return next_step(r, BLK_SUBMIT);
		return end_with(r, VIRTIO_BLK_S_UNSUPP);
	default:
		return end_with(r, VIRTIO_BLK_S_UNSUPP);
	}
}

static enum turn read_header(struct blk_request *r)
{
	enum pin_result answer = copy(r, r->header, VIRTIO_BLK_HEADER_BYTES, false);

	return answer == PIN_NOW ? take_header(r) : not_now(r, answer);
}

/* Drivers keep header and status side by side: when they share a page, that is pinned already. */
static bool header_beside_status(struct blk_request *r)
{
	const struct virtq_buffer *first = &r->chain.buffers[0];
	uint64_t in_page = first->at.v & PAGE_MASK;
	const uint8_t *page;

	if ((first->at.v ^ r->status.at.v) >> PAGE_SHIFT != 0 || first->bytes < VIRTIO_BLK_HEADER_BYTES ||
	    in_page > PAGE_SIZE - VIRTIO_BLK_HEADER_BYTES)
		return false;
	page = r->status_va - (r->status.at.v & PAGE_MASK);
	memcpy(r->header, page + in_page, VIRTIO_BLK_HEADER_BYTES);
	virtq_advance(&r->at, VIRTIO_BLK_HEADER_BYTES);
	return true;
}

static enum turn pin_status(struct blk_request *r)
{
	const struct virtq_chain *c = &r->chain;
	const struct virtq_buffer *last = &c->buffers[c->readable + c->writable - 1];
	enum pin_result answer;

	r->pin.at = gpa(last->at.v + last->bytes - 1);
	r->pin.bytes = 1;
	answer = ask(r, true);
	if (answer == PIN_LATER)
		return TURN_WAIT;
	if (answer == PIN_FAIL) {
		let_go(r);
		virtio_break(&r->blk->device, "a block request whose status byte lies outside memory");
		return TURN_WAIT;
	}
	r->status = (struct blk_held){r->pin.at, r->pin.cookie};
	r->status_va = r->pin.va;
	if (c->readable_bytes < VIRTIO_BLK_HEADER_BYTES)
		return end_with(r, VIRTIO_BLK_S_IOERR);
	r->at = virtq_readable(c);
	return header_beside_status(r) ? take_header(r) : next_step(r, BLK_HEADER);
}

static enum turn write_id(struct blk_request *r)
{
	enum pin_result answer = copy(r, (uint8_t *)r->blk->cfg.serial, VIRTIO_BLK_ID_BYTES, true);

	if (answer != PIN_NOW)
		return not_now(r, answer);
	r->written = VIRTIO_BLK_ID_BYTES;
	return end_with(r, VIRTIO_BLK_S_OK);
}

/* ---- ranges ---- */

/* Checks all before any is begun: what cannot be done is not done by halves. */
static uint8_t judge_ranges(const struct blk_request *r)
{
	const struct virtio_blk *b = r->blk;
	bool discard = r->type == VIRTIO_BLK_T_DISCARD;
	uint32_t known = discard ? 0 : VIRTIO_BLK_RANGE_UNMAP;
	uint32_t most = get_le32(b->config + (discard ? VIRTIO_BLK_CFG_MAX_DISCARD_SECTORS :
							VIRTIO_BLK_CFG_MAX_WRITE_ZEROES_SECTORS));
	uint8_t result = VIRTIO_BLK_S_OK;

	for (unsigned i = 0; i < r->ranges; i++) {
		const struct blk_range *g = &r->list[i];

		if (g->flags & ~known)
			return VIRTIO_BLK_S_UNSUPP;
		if (g->sectors > most || !range_fits(g->sector, g->sectors, capacity_of(b)) ||
		    (!discard && (g->sector | g->sectors) % scale_of(b) != 0))
			result = VIRTIO_BLK_S_IOERR;
	}
	return result;
}

static enum turn read_ranges(struct blk_request *r)
{
	enum pin_result answer = copy(r, (uint8_t *)r->list, (uint16_t)(r->ranges * VIRTIO_BLK_RANGE_BYTES), false);
	uint8_t result;

	if (answer != PIN_NOW)
		return not_now(r, answer);
	result = judge_ranges(r);
	return result == VIRTIO_BLK_S_OK ? next_step(r, BLK_SUBMIT) : end_with(r, result);
}

/* The next range in sectors of the disk. A discard is rounded inwards: it is advice. False: none is left. */
static bool next_range(struct blk_request *r, uint64_t *lba, uint64_t *sectors)
{
	uint32_t scale = scale_of(r->blk);

	for (; r->range < r->ranges; r->range++) {
		const struct blk_range *g = &r->list[r->range];
		uint64_t first = (g->sector + scale - 1) / scale, end = (g->sector + g->sectors) / scale;

		if (first >= end)
			continue;
		*lba = first;
		*sectors = end - first;
		return true;
	}
	return false;
}

/* ---- data ---- */

static uint64_t round_max(const struct virtio_blk *b)
{
	return (uint64_t)b->cfg.disk->max_count * b->cfg.disk->sector_bytes;
}

/* Comes with something left to gather, and goes with TURN_TIRED or TURN_WAIT only so. */
static enum turn gather(struct blk_request *r, unsigned *budget)
{
	bool in = r->type == VIRTIO_BLK_T_IN;
	uint64_t most = round_max(r->blk);

	for (;;) {
		enum pin_result answer;

		*budget -= BLK_PIN_COST;
		virtq_piece(&r->at, &r->pin);
		answer = ask(r, in);
		if (answer != PIN_NOW)
			return not_now(r, answer);
		r->segments[r->pieces] = (struct io_segment){r->pin.va, r->pin.got};
		r->held[r->pieces++] = (struct blk_held){r->pin.at, r->pin.cookie};
		r->pinned_bytes += r->pin.got;
		virtq_advance(&r->at, r->pin.got);
		if (r->at.left == 0 || r->pieces == r->pieces_max || r->pinned_bytes >= most)
			break;
		if (*budget < BLK_STEP_MAX)
			return TURN_TIRED;
	}
	/* What is behind the last whole sector is pinned in vain, and again in the next round. */
	r->pinned_bytes = align_down(MIN(r->pinned_bytes, most), r->blk->cfg.disk->sector_bytes);
	return next_step(r, BLK_SUBMIT);
}

/* ---- at the disk ---- */

static void on_complete(struct block_request *block);

/* What follows is inlined up to finish(): a request that the disk does at once goes through all of it. */

/* Sets up what is to be done next. False: nothing is. */
__attribute__((always_inline)) static inline bool prepare(struct blk_request *r)
{
	static const uint8_t ops[] = {
		[VIRTIO_BLK_T_IN] = BLOCK_READ, [VIRTIO_BLK_T_OUT] = BLOCK_WRITE, [VIRTIO_BLK_T_FLUSH] = BLOCK_FLUSH,
		[VIRTIO_BLK_T_DISCARD] = BLOCK_DISCARD, [VIRTIO_BLK_T_WRITE_ZEROES] = BLOCK_WRITE_ZEROES};
	struct block_request *block = &r->block;

	block->op = r->durable ? BLOCK_FLUSH : (enum block_op)ops[r->type];
	block->unmap = false;
	block->skip = 0;
	block->complete = on_complete;
	block->error = NULL;
	block->done = false;
	if (block->op == BLOCK_FLUSH)
		return true;
	if (block->op == BLOCK_DISCARD || block->op == BLOCK_WRITE_ZEROES) {
		block->unmap = r->range < r->ranges && (r->list[r->range].flags & VIRTIO_BLK_RANGE_UNMAP);
		return next_range(r, &block->lba, &block->count);
	}
	block->lba = r->sector / scale_of(r->blk);
	block->count = r->pinned_bytes / r->blk->cfg.disk->sector_bytes;
	block->segments = r->segments;
	block->segment_count = r->pieces;
	return true;
}

/* The disk may have changed since the request was read. What it is made of is ours, so that most need only a look. */
__attribute__((always_inline)) static inline enum status check(const struct block_device *disk, const struct block_request *block)
{
	bool moves = block->op == BLOCK_READ || (block->op == BLOCK_WRITE && !disk->read_only);

	if (moves && block->count != 0 && range_fits(block->lba, block->count, disk->sectors))
		return ST_OK;
	return block_check(disk, block, NULL);
}

/* True: it is done already. */
__attribute__((always_inline)) static inline bool submit(struct blk_request *r)
{
	struct virtio_blk *b = r->blk;
	struct block_request *block = &r->block;

	block->status = check(b->cfg.disk, block);
	if (block->status != ST_OK)
		return true;
	r->place = BLK_AT_DISK;
	r->step = BLK_DISK;
	b->figures.in_flight++;
	if (!b->cfg.backend->submit(b->cfg.backend_ctx, block))
		return false;
	b->figures.in_flight--;
	r->place = BLK_READY;
	return true;
}

static enum turn wait_for_space(struct blk_request *r)
{
	struct virtio_blk *b = r->blk;
	bool first = list_empty(&b->no_space);
	bool data = !r->durable && (r->type == VIRTIO_BLK_T_IN || r->type == VIRTIO_BLK_T_OUT);

	/* It may take long: its memory is not kept from anybody meanwhile. */
	unpin_pieces(r, r->type == VIRTIO_BLK_T_IN);
	if (data)
		r->at = r->round;
	r->step = data ? BLK_GATHER : BLK_SUBMIT;
	r->place = BLK_NO_SPACE;
	list_push_back(&b->no_space, &r->link);
	b->figures.waiting_for_space++;
	stand_still(r);
	if (first && b->cfg.no_space)
		b->cfg.no_space(b->cfg.no_space_ctx);
	return TURN_WAIT;
}

/* All that was asked for is done; is it also durable? */
static inline enum turn done(struct blk_request *r)
{
	bool writes = r->type == VIRTIO_BLK_T_OUT || r->type == VIRTIO_BLK_T_WRITE_ZEROES ||
		      r->type == VIRTIO_BLK_T_DISCARD;

	if (r->durable || !writes || !r->blk->cfg.disk->volatile_cache || !blk_writethrough(r->blk))
		return end_with(r, VIRTIO_BLK_S_OK);
	r->durable = true;
	return next_step(r, BLK_SUBMIT);
}

__attribute__((always_inline)) static inline enum turn after_data(struct blk_request *r)
{
	uint64_t bytes = r->pinned_bytes;
	bool in = r->type == VIRTIO_BLK_T_IN;

	unpin_pieces(r, in);
	if (in) {
		r->written += (uint32_t)bytes;
		r->blk->figures.read_bytes += bytes;
	} else {
		r->blk->figures.written_bytes += bytes;
	}
	r->sector += bytes / VIRTIO_BLK_SECTOR;
	virtq_advance(&r->round, bytes);
	if (r->round.left == 0)
		return done(r);
	r->at = r->round;
	return next_step(r, BLK_GATHER);
}

/* The disk has answered. */
__attribute__((always_inline)) static inline enum turn after_disk(struct blk_request *r)
{
	enum status st = r->block.status;

	if (st == ST_OVER_LIMIT)
		return wait_for_space(r);
	if ((st == ST_IO || st == ST_CORRUPT) && r->blk->cfg.failed)
		r->blk->cfg.failed(r->blk->cfg.failed_ctx);
	if (st != ST_OK)
		return end_with(r, st == ST_UNSUPPORTED ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR);
	if (r->durable || r->type == VIRTIO_BLK_T_FLUSH)
		return done(r);
	if (r->type == VIRTIO_BLK_T_IN || r->type == VIRTIO_BLK_T_OUT)
		return after_data(r);
	r->range++;
	return next_step(r, BLK_SUBMIT);
}

static enum turn go_to_disk(struct blk_request *r, unsigned *budget)
{
	/* It may be done at once, and then its pieces are unpinned. */
	if (*budget < BLK_STEP_MAX + r->pieces * BLK_PIECE_COST)
		return TURN_TIRED;
	*budget -= BLK_SUBMIT_COST + r->pieces * BLK_PIECE_COST;
	if (!prepare(r))
		return done(r);
	return submit(r) ? after_disk(r) : TURN_WAIT;
}

/* @r is done at the disk. The next round is left to work(): this may be an interrupt, or another VM's CPU time. */
static void take_in(struct blk_request *r)
{
	struct virtio_device *d = device_of(r);
	enum turn turn;

	r->blk->figures.in_flight--;
	r->place = BLK_READY;
	if (virtio_stopping(d, r->queue)) {
		let_go(r);
		return;
	}
	turn = after_disk(r);
	if (turn == TURN_ON && r->durable) /* short, and the driver waits for it */
		turn = prepare(r) && submit(r) ? after_disk(r) : TURN_WAIT;
	if (turn == TURN_END) {
		finish(r);
	} else if (turn == TURN_ON) {
		blk_ready(r);
		virtio_resume(d, r->queue);
	}
}

/* Puts what is done behind what was taken before, in the order in which it was done. */
static void take_done(struct virtio_blk *b)
{
	struct blk_request *r = __atomic_exchange_n(&b->done, NULL, __ATOMIC_ACQUIRE), *in_order = NULL, *last = r;

	while (r) {
		struct blk_request *next = r->next_done;

		r->next_done = in_order;
		in_order = r;
		r = next;
	}
	*b->taken_end = in_order;
	if (last)
		b->taken_end = &last->next_done;
}

void blk_collect(struct virtio_device *d)
{
	struct virtio_blk *b = blk_of(d);

	if (__atomic_load_n(&b->done, __ATOMIC_RELAXED))
		take_done(b);
	for (unsigned n = 0; n < BLK_COLLECT_MAX && b->taken; n++) {
		struct blk_request *r = b->taken;

		b->taken = r->next_done;
		if (!b->taken)
			b->taken_end = &b->taken;
		take_in(r);
	}
	if (b->taken || __atomic_load_n(&b->done, __ATOMIC_RELAXED))
		d->transport->defer(d->transport_ctx);
}

static void on_complete(struct block_request *block)
{
	struct blk_request *r = container_of(block, struct blk_request, block);
	struct virtio_blk *b = r->blk;

	r->next_done = __atomic_load_n(&b->done, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&b->done, &r->next_done, r, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		continue;
	if (lock_try(&b->device.lock)) {
		blk_collect(&b->device);
		lock_release(&b->device.lock);
	} else {
		b->device.transport->defer(b->device.transport_ctx);
	}
}

/* ---- */

static enum turn step(struct blk_request *r, unsigned *budget)
{
	if (*budget < BLK_STEP_MAX)
		return TURN_TIRED;
	switch (r->step) {
	case BLK_GATHER:
		return gather(r, budget);
	case BLK_SUBMIT:
		return go_to_disk(r, budget);
	default:
		break;
	}
	*budget -= BLK_PIN_COST;
	switch (r->step) {
	case BLK_STATUS:
		return pin_status(r);
	case BLK_HEADER:
		return read_header(r);
	case BLK_RANGES:
		return read_ranges(r);
	default:
		ASSERT(r->step == BLK_ID);
		return write_id(r);
	}
}

bool blk_advance(struct blk_request *r, unsigned *budget)
{
	enum turn turn;

	do
		turn = step(r, budget);
	while (turn == TURN_ON);
	if (turn == TURN_END)
		finish(r);
	if (turn == TURN_TIRED)
		list_push_front(&r->blk->state[r->queue].ready, &r->link);
	return turn == TURN_TIRED;
}
