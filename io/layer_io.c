/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to a layer. What lies in one cluster, in blocks that are all the same
 * layer's, goes straight to the device below with another address: no state is
 * kept but a count. All else gets a job, of which there are a few for a pool; a job goes
 * piece by piece, each the longest run that has one source or one target, and is taken up
 * again at the start of its phase after every wait, so nothing that it saw before
 * is relied upon. A job that changes blocks of a cluster has these to itself, and the
 * whole cluster if it may free it. Requests beyond the jobs wait in order.
 */
#include <string.h>

#include "io/layer_internal.h"
#include "lib/format.h"

#define KICKS_MAX 64u

/* ---- straight through ---- */

static __attribute__((noinline)) void complete_watched(struct layer_pool *p, struct block_request *r)
{
	if (r->complete)
		r->complete(r);
	pool_kick(p);
}

static inline void came_back(struct block_request *r, unsigned parity)
{
	struct layer_pool *p = r->above.ctx;

	r->complete = r->above.complete;
	p->flying[parity]--;
	if (unlikely(p->watching))
		complete_watched(p, r);
	else if (r->complete)
		r->complete(r);
}

void came_back_even(struct block_request *r) { came_back(r, 0); }
void came_back_odd(struct block_request *r) { came_back(r, 1); }

/* To the device below, at @lba. It is counted until it comes back: what it uses must not get another owner. */
static inline void pass_to_cluster(struct layer *l, struct block_request *r, uint64_t lba)
{
	struct layer_pool *p = l->pool;
	struct block_device *d = p->device;

	r->lba = lba;
	if (p->immediate) {
		d->ops->submit(d, r);
		return;
	}
	r->above.complete = r->complete;
	r->above.ctx = p;
	r->complete = p->came_back;
	++*p->flying_now;
	d->ops->submit(d, r);
	if (unlikely(r->done)) {
		p = r->above.ctx;
		r->complete = r->above.complete;
		--*p->flying_now;
	}
}

/* The blocks from the first to the last, by both. */
#define FROM_TO(first, last) ((uint16_t)((2u << (last)) - (1u << (first))))
#define ROW(first)                                                                                                \
	{                                                                                                          \
		FROM_TO(first, 0), FROM_TO(first, 1), FROM_TO(first, 2), FROM_TO(first, 3), FROM_TO(first, 4),      \
		FROM_TO(first, 5), FROM_TO(first, 6), FROM_TO(first, 7), FROM_TO(first, 8), FROM_TO(first, 9),      \
		FROM_TO(first, 10), FROM_TO(first, 11), FROM_TO(first, 12), FROM_TO(first, 13), FROM_TO(first, 14), \
		FROM_TO(first, 15)                                                                                  \
	}
static const uint16_t from_to[CLUSTER_BLOCKS][CLUSTER_BLOCKS] = {
	ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7),
	ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14), ROW(15),
};

/* The common case at its shortest: one cluster, whose leaf was used not long ago. */
static inline bool pass_quickly(struct layer *l, struct block_request *r)
{
	const struct layer_pool *p = l->pool;
	const struct leaf_entry *e;
	const struct near *near;
	uint64_t offset = r->lba & p->cluster_mask, last = offset + r->count - 1;
	uint32_t index;

	if (unlikely(last > p->cluster_mask) || unlikely(r->op > BLOCK_WRITE))
		return false;
	index = (uint32_t)(r->lba >> p->cluster_shift);
	near = &l->near[index / FANOUT % NEAR];
	if (unlikely(near->number != index / FANOUT))
		return false;
	e = &near->leaf[index % FANOUT];
	if (e->valid != ALL_BLOCKS &&
	    from_to[offset >> p->block_shift][last >> p->block_shift] & ~(unsigned)e->valid)
		return false;
	pass_to_cluster(l, r, p->cluster_zero + ((uint64_t)e->cluster << p->cluster_shift) + offset);
	return true;
}

/* Nothing in the layers: the base's, or zeroes. */
static bool pass_to_base(struct layer *l, struct block_request *r, uint64_t bytes)
{
	struct block_device *base = l->base;
	struct segment_cursor c;

	if (base && (base->sector_bytes != l->device.sector_bytes || r->lba + r->count > base->sectors))
		return false;
	if (base) {
		base->ops->submit(base, r);
		return true;
	}
	c = block_begin(r);
	segment_clear(&c, bytes);
	r->status = ST_OK;
	r->done = true;
	return true;
}

/* Whether @r could be passed on as it is; then it was. */
static bool pass_on(struct layer *l, struct block_request *r)
{
	struct layer_pool *p = l->pool;
	uint64_t at = r->lba << p->sector_shift, bytes = r->count << p->sector_shift;
	uint32_t offset = at % LAYER_CLUSTER_BYTES, index = (uint32_t)(at / LAYER_CLUSTER_BYTES);
	unsigned blocks, depth = r->op == BLOCK_READ ? l->depth : 1;

	if (offset + bytes > LAYER_CLUSTER_BYTES || (r->op == BLOCK_WRITE && !p->writable))
		return false;
	blocks = (2u << (offset + (uint32_t)bytes - 1) / LAYER_BLOCK_BYTES) - (1u << offset / LAYER_BLOCK_BYTES);
	for (unsigned i = 0; i < depth; i++) {
		const struct record *record = &p->records[l->chain[i]];
		struct leaf_entry *e;
		enum found found = find_entry(p, record, index, &e);

		if (found == MISSING)
			return false;
		if (found == ABSENT)
			continue;
		if (i == 0 && p->writable)
			l->near[index / FANOUT % NEAR] = (struct near){index / FANOUT, e - index % FANOUT};
		if ((e->valid & blocks) == blocks) {
			pass_to_cluster(l, r, cluster_lba(p, e->cluster, offset));
			return true;
		}
		if ((e->valid | e->zero) & blocks)
			return false;
	}
	return r->op == BLOCK_READ && pass_to_base(l, r, bytes);
}

/* ---- jobs: what they are made of ---- */

void layer_end_request(struct layer_pool *p, struct block_request *r, enum status st)
{
	r->status = st;
	r->done = true;
	/* What ends inside its own submit() is seen there. */
	if (r != p->submitting && r->complete)
		r->complete(r);
}

enum turn layer_end_job(struct job *j, enum status st, const char *why)
{
	if (why)
		format(j->err.text, sizeof j->err.text, "%s", why);
	j->status = st;
	return END;
}

static bool has_locked(const struct job *j, unsigned record, uint32_t index, uint16_t blocks)
{
	return (j->locked & blocks) && j->record == record && j->index == index;
}

bool lock_blocks(struct job *j, unsigned record, uint32_t index, uint16_t blocks)
{
	const struct layer_pool *p = j->pool;

	if (j->locked && j->record == record && j->index == index)
		return true;
	j->locked = 0;
	list_for_each(it, &p->busy)
		if (has_locked(list_entry(it, struct job, link), record, index, blocks))
			return false;
	if (has_locked(&p->worker, record, index, blocks))
		return false;
	j->locked = blocks;
	j->record = (uint8_t)record;
	j->index = index;
	return true;
}

static void io_over(struct job *j)
{
	j->busy = false;
	if (j->flying)
		j->pool->flying[j->parity]--;
	j->flying = false;
	j->pool->again |= j->pool->limbo;
}

static void io_complete(struct block_request *r)
{
	struct job *j = container_of(r, struct job, io);

	io_over(j);
	layer_run_job(j);
	pool_kick(j->pool);
}

enum turn layer_job_io(struct job *j, struct block_device *d, enum block_op op, uint64_t lba, uint64_t bytes, bool own_buffer,
		 void *data)
{
	struct segment_cursor c = j->memory;

	/* The cursor may stand at a segment's end; a request's begins inside one. */
	if (!own_buffer)
		while (c.left > 1 && c.skip == c.segment->bytes)
			c = (struct segment_cursor){c.segment + 1, c.left - 1, 0};
	j->segment = (struct io_segment){data, (uint32_t)bytes};
	j->io = (struct block_request){
		.op = op, .lba = lba, .count = bytes / d->sector_bytes, .segments = own_buffer ? &j->segment : c.segment,
		.segment_count = own_buffer ? 1 : c.left, .skip = own_buffer ? 0 : c.skip, .complete = io_complete,
		.error = &j->err,
	};
	j->busy = true;
	d->ops->submit(d, &j->io);
	if (!j->io.done)
		return WAIT;
	io_over(j);
	return GO;
}

enum turn cluster_io(struct job *j, enum block_op op, uint32_t cluster, uint32_t offset, uint64_t bytes, bool own_buffer)
{
	struct layer_pool *p = j->pool;

	j->flying = true;
	j->parity = (uint8_t)p->parity;
	p->flying[p->parity]++;
	return layer_job_io(j, p->range.device, op, cluster_lba(p, cluster, offset), bytes, own_buffer, j->buffer);
}

/* ---- the course of a job ---- */

static enum turn next_piece(struct job *j)
{
	if (j->left == 0)
		return layer_end_job(j, ST_OK, NULL);
	if (j->request->op == BLOCK_READ)
		return read_next_piece(j);
	if (!j->pool->writable)
		return layer_end_job(j, ST_IO, j->pool->stats.why_not);
	return j->request->op == BLOCK_WRITE ? write_next_piece(j) : clear_next_piece(j);
}

static enum turn step_job(struct job *j)
{
	bool moved = j->phase == PHASE_MOVED || j->phase == PHASE_FILL || j->phase == PHASE_MARK;

	if (j->loading)
		return end_load(j);
	if (j->layer == NULL)
		return work_step(j);
	if (moved && j->io.status != ST_OK)
		return layer_end_job(j, j->io.status, NULL);
	switch (j->phase) {
	case PHASE_MOVED:
		advance_job(j, j->piece);
		return GO;
	case PHASE_FILL:
		return store_filled(j);
	case PHASE_MARK:
		return mark_blocks(j);
	default:
		return next_piece(j);
	}
}

static void finish_job(struct job *j)
{
	struct block_request *r = j->request;
	enum status st = j->status;

	if (st != ST_OK && r->error)
		*r->error = j->err;
	j->locked = 0;
	j->request = NULL;
	list_remove(&j->link);
	list_push_front(&j->pool->idle, &j->link);
	j->pool->again = true;
	layer_end_request(j->pool, r, st);
}

void layer_run_job(struct job *j)
{
	enum turn t = GO;

	while (!j->busy && t == GO)
		t = step_job(j);
	if (t != END)
		return;
	if (j->layer)
		finish_job(j);
	else
		work_ended(j);
}

static void begin_job(struct layer *l, struct block_request *r)
{
	struct layer_pool *p = l->pool;
	struct job *j = list_entry(p->idle.next, struct job, link);
	uint8_t *buffer = j->buffer;

	list_remove(&j->link);
	*j = (struct job){.pool = p, .layer = l, .request = r, .memory = block_begin(r), .at = r->lba << p->sector_shift,
			  .left = r->count << p->sector_shift, .phase = PHASE_NEXT, .buffer = buffer};
	list_push_back(&p->busy, &j->link);
	layer_run_job(j);
}

/* ---- requests ---- */

static void flush(struct layer *l, struct block_request *r)
{
	struct layer_pool *p = l->pool;

	if (!p->writable && p->stats.why_not[0] && !l->device.read_only) {
		block_end(r, ST_IO, "%s", p->stats.why_not);
		return;
	}
	if (!p->writable) {
		block_end(r, ST_OK, "%s", "");
		return;
	}
	if (p->owed == 0 && !p->directory_dirty && p->commit.state == COMMIT_IDLE) {
		p->range.device->ops->submit(p->range.device, r);
		return;
	}
	list_push_back(&p->flushes, &r->link);
	layer_commit_start(p);
	p->again = true;
}

static __attribute__((noinline)) void submit_slowly(struct layer *l, struct block_request *r)
{
	struct layer_pool *p = l->pool;
	struct block_request *outer = p->submitting;

	r->done = false;
	if (r->op <= BLOCK_WRITE && !l->held && pass_on(l, r))
		return;
	p->submitting = r;
	p->stats.parked++;
	if (r->op == BLOCK_FLUSH) {
		flush(l, r);
	} else if (list_empty(&p->waiting) && !list_empty(&p->idle) && !l->held) {
		begin_job(l, r);
	} else {
		r->above.ctx = l;
		list_push_back(&p->waiting, &r->link);
	}
	if (p->again)
		pool_kick(p);
	p->submitting = outer;
}

void layer_submit(struct block_device *device, struct block_request *r)
{
	struct layer *l = container_of(device, struct layer, device);

	/* The device below clears done, if it gets that far. */
	if (unlikely(!pass_quickly(l, r)))
		submit_slowly(l, r);
}

bool layer_cancel(struct block_device *device, struct block_request *r)
{
	struct layer_pool *p = container_of(device, struct layer, device)->pool;
	const struct list *lists[] = {&p->waiting, &p->flushes};

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
		list_for_each(it, lists[i]) {
			if (it != &r->link)
				continue;
			list_remove(it);
			return true;
		}
	}
	return false;
}

static void begin_waiting(struct layer_pool *p)
{
	list_for_each_safe(it, &p->waiting) {
		struct block_request *r = list_entry(it, struct block_request, link);
		struct layer *l = r->above.ctx;

		if (list_empty(&p->idle))
			return;
		if (l->held)
			continue;
		list_remove(&r->link);
		begin_job(l, r);
		/* Its end may have changed the list. */
		p->again = true;
		return;
	}
}

static void run_busy(struct layer_pool *p)
{
	for (unsigned i = 0; i < JOBS; i++)
		if (p->jobs[i].request && !p->jobs[i].busy)
			layer_run_job(&p->jobs[i]);
}

void pool_kick(struct layer_pool *p)
{
	p->again = true;
	if (p->kicking)
		return;
	p->kicking = true;
	for (unsigned i = 0; p->again && i < KICKS_MAX; i++) {
		p->again = false;
		end_limbo(p);
		run_busy(p);
		begin_waiting(p);
		layer_commit_step(p);
		layer_op_step(p);
		if (p->work != NO_RECORD && !p->work_yields)
			layer_run_job(&p->worker);
	}
	p->kicking = false;
}

bool layer_poll(struct block_device *device)
{
	return layer_pool_poll(container_of(device, struct layer, device)->pool);
}
