/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on whole layers. Each is a change of a record or two, made in memory
 * in one go and durable with the next commit, whatever the size of the volume; a
 * merge and a deletion are begun like that and then done by the worker, and end with
 * another commit.
 */
#include <string.h>

#include "io/layer_internal.h"
#include "io/volume.h"
#include "lib/format.h"

/* ---- records ---- */

void record_dirty(struct layer_pool *p, unsigned record)
{
	p->directory_dirty |= (uint32_t)BIT(record / RECORDS_PER_BLOCK);
	p->again = true;
}

unsigned record_children(const struct layer_pool *p, unsigned record, unsigned *last)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LAYER_MAX; i++) {
		if (!p->records[i].id || p->records[i].parent != record)
			continue;
		n++;
		*last = i;
	}
	return n;
}

unsigned record_depth(const struct layer_pool *p, unsigned record)
{
	unsigned depth = 1;

	while (p->records[record].parent != NO_RECORD && depth <= LAYER_MAX) {
		record = p->records[record].parent;
		depth++;
	}
	return depth;
}

static unsigned find_record(const struct layer_pool *p, const char *name)
{
	for (unsigned i = 0; i < LAYER_MAX; i++)
		if (p->records[i].id && strcmp(p->records[i].name, name) == 0)
			return i;
	return NO_RECORD;
}

static unsigned new_record(struct layer_pool *p, const char *name, uint64_t bytes)
{
	unsigned i = 0;

	while (p->records[i].id)
		i++;
	p->records[i] = (struct record){.id = p->super.next_layer++, .bytes = bytes, .created = p->super.generation + 1,
					.state = LAYER_LIVE, .parent = NO_RECORD};
	format(p->records[i].name, LAYER_NAME_MAX, "%s", name);
	record_dirty(p, i);
	return i;
}

static unsigned new_child(struct layer_pool *p, const char *name, unsigned parent)
{
	unsigned i = new_record(p, name, p->records[parent].bytes);

	p->records[i].parent = (uint8_t)parent;
	p->records[i].parent_id = p->records[parent].id;
	return i;
}

void make_chain(struct layer *l)
{
	unsigned record = l->chain[0];

	for (l->depth = 0; record != NO_RECORD && l->depth < LAYER_DEPTH_MAX; record = l->pool->records[record].parent)
		l->chain[l->depth++] = (uint8_t)record;
}

/* ---- the course of an operation ---- */

void layer_op_end(struct layer_pool *p, enum status st, const char *why)
{
	struct layer_op *op = p->op;

	p->op = NULL;
	p->op_state = OP_NONE;
	layer_watch(p);
	if (why)
		format(op->err.text, sizeof op->err.text, "%s", why);
	op->status = st;
	op->done = true;
	if (!p->in_begin && op->complete)
		op->complete(op);
}

static void wait_for_commit(struct layer_pool *p, enum op_state state)
{
	p->op_state = state;
	layer_watch(p);
	p->op_commit = commit_of_now(p);
	layer_commit_start(p);
}

static bool has_jobs(const struct layer_pool *p, const struct layer *l)
{
	for (unsigned i = 0; i < JOBS; i++)
		if (p->jobs[i].request && p->jobs[i].layer == l)
			return true;
	return false;
}

/*
 * Whether nothing of the layer is under way any more. What was passed on is counted for the whole pool: the parity
 * turns, and what has the one before comes to its end, for nothing joins it.
 */
static bool is_quiet(struct layer_pool *p, const struct layer *l)
{
	if (!l)
		return true;
	if (p->op_state == OP_QUIESCE && !turn_parity(p))
		return false;
	if (p->op_state == OP_QUIESCE)
		p->op_drained = false;
	p->op_state = OP_DRAIN;
	return !has_jobs(p, l) && (p->op_drained || p->flying[p->parity ^ 1] == 0);
}

/* Nothing is under way: what there is stays below, and the name goes on in a new record above it. */
static void cut_off(struct layer_pool *p)
{
	struct record *r = &p->records[p->op_record];
	struct layer *l = r->open;
	unsigned top = new_child(p, r->name, p->op_record);

	format(r->name, sizeof r->name, "%s", p->op_name);
	r->state = LAYER_FROZEN;
	record_dirty(p, p->op_record);
	if (!l)
		return;
	r->open = NULL;
	p->records[top].open = l;
	l->chain[0] = (uint8_t)top;
	forget_near(l);
	make_chain(l);
	l->held = false;
}

void layer_op_step(struct layer_pool *p)
{
	struct layer_op *op = p->op;
	struct layer *l;

	if (!op)
		return;
	if (!p->writable) {
		l = p->records[p->op_record].open;
		if (l)
			l->held = false;
		layer_op_end(p, ST_IO, p->stats.why_not);
		return;
	}
	if (p->op_state == OP_QUIESCE || p->op_state == OP_DRAIN) {
		if (!is_quiet(p, p->records[p->op_record].open))
			return;
		cut_off(p);
		wait_for_commit(p, OP_LAST_COMMIT);
	}
	if (p->op_state != OP_COMMIT && p->op_state != OP_LAST_COMMIT)
		return;
	if (p->commit.finished < p->op_commit) {
		if (p->commit.started < p->op_commit)
			layer_commit_start(p);
		return;
	}
	if (p->op_state == OP_LAST_COMMIT) {
		layer_op_end(p, ST_OK, NULL);
		return;
	}
	p->op_state = OP_WORK;
	work_start(p, p->op_record);
}

void work_ended(struct job *j)
{
	struct layer_pool *p = j->pool;

	p->work = NO_RECORD;
	j->locked = 0;
	p->work_failed |= j->status != ST_OK;
	layer_commit_start(p);
	p->again = true;
	if (p->op_state != OP_WORK)
		return;
	if (j->status != ST_OK)
		layer_op_end(p, j->status, j->err.text);
	else
		wait_for_commit(p, OP_LAST_COMMIT);
}

/* ---- beginning one ---- */

static enum status may_begin(const struct layer_pool *p, const char *new_name, struct error *err)
{
	enum status st;
	unsigned free = 0;

	if (p->op)
		return fail(err, ST_BUSY, "another operation on layers is under way");
	if (p->work != NO_RECORD)
		return fail(err, ST_BUSY, "layer '%s' is still being %s", p->records[p->work].name,
			    p->records[p->work].state == LAYER_MERGING ? "merged" : "deleted");
	if (!p->writable)
		return fail(err, ST_DENIED, "the pool is read-only: %.180s", p->stats.why_not);
	if (!new_name)
		return ST_OK;
	st = volume_check_name(new_name, err);
	if (st != ST_OK)
		return st;
	if (find_record(p, new_name) != NO_RECORD)
		return fail(err, ST_EXISTS, "there is a layer '%s' already", new_name);
	for (unsigned i = 0; i < LAYER_MAX; i++)
		free += p->records[i].id == 0;
	if (!free || !has_reserve(p, 1))
		return fail(err, ST_OVER_LIMIT, free ? "the pool has no space for metadata" : "the pool has %u layers already",
			    LAYER_MAX);
	return ST_OK;
}

static enum status find_in_state(const struct layer_pool *p, const char *name, enum layer_state state, unsigned *out,
				 struct error *err)
{
	static const char *const states[] = {
		[LAYER_LIVE] = "a live volume", [LAYER_FROZEN] = "a snapshot", [LAYER_MERGING] = "being merged",
		[LAYER_DELETING] = "being deleted", [LAYER_FILLING] = "an unfinished import"};

	*out = find_record(p, name);
	if (*out == NO_RECORD)
		return fail(err, ST_NOT_FOUND, "there is no layer of that name");
	if (p->records[*out].state != state)
		return fail(err, ST_BAD_STATE, "layer '%s' is %s, not %s", name, states[p->records[*out].state], states[state]);
	return ST_OK;
}

static enum status begin(struct layer_pool *p, struct layer_op *op, unsigned record, enum op_state state)
{
	op->done = false;
	op->status = ST_OK;
	op->err.text[0] = '\0';
	op->steps = 0;
	p->op = op;
	p->op_record = (uint8_t)record;
	if (state == OP_QUIESCE)
		p->op_state = state;
	else
		wait_for_commit(p, state);
	layer_watch(p);
	p->in_begin = true;
	pool_kick(p);
	p->in_begin = false;
	return ST_OK;
}

static enum status create(struct layer_pool *p, const char *name, uint64_t bytes, const char *base, enum layer_state state,
			  struct layer_op *op, struct error *err)
{
	enum status st = may_begin(p, name, err);
	unsigned record;

	if (st == ST_OK && base)
		st = volume_check_name(base, err);
	if (st != ST_OK)
		return st;
	if (bytes == 0 || bytes > LAYER_BYTES_MAX || bytes % LAYER_BLOCK_BYTES)
		return fail(err, ST_INVALID, "a layer has a multiple of %u bytes, at most %llu, not %llu", LAYER_BLOCK_BYTES,
			    LAYER_BYTES_MAX, (unsigned long long)bytes);
	record = new_record(p, name, bytes);
	p->records[record].state = state;
	if (base)
		format(p->records[record].base, LAYER_NAME_MAX, "%s", base);
	op->steps_total = 0;
	return begin(p, op, record, OP_LAST_COMMIT);
}

enum status layer_create(struct layer_pool *p, const char *name, uint64_t bytes, const char *base, struct layer_op *op,
			 struct error *err)
{
	return create(p, name, bytes, base, LAYER_LIVE, op, err);
}

enum status layer_create_filling(struct layer_pool *p, const char *name, uint64_t bytes, struct layer_op *op,
				 struct error *err)
{
	return create(p, name, bytes, NULL, LAYER_FILLING, op, err);
}

/* The commit flushes what was written before its superblock says so. */
enum status layer_complete(struct layer_pool *p, const char *name, struct layer_op *op, struct error *err)
{
	enum status st = may_begin(p, NULL, err);
	unsigned record;

	if (st == ST_OK)
		st = find_in_state(p, name, LAYER_FILLING, &record, err);
	if (st != ST_OK)
		return st;
	p->records[record].state = LAYER_LIVE;
	record_dirty(p, record);
	op->steps_total = 0;
	return begin(p, op, record, OP_LAST_COMMIT);
}

static enum status check_depth(const struct layer_pool *p, unsigned record, struct error *err)
{
	if (record_depth(p, record) < LAYER_DEPTH_MAX)
		return ST_OK;
	return fail(err, ST_OVER_LIMIT, "layer '%s' stands on %u others already, %u are the most; merge some",
		    p->records[record].name, record_depth(p, record) - 1, LAYER_DEPTH_MAX - 1);
}

enum status layer_snapshot(struct layer_pool *p, const char *name, const char *snapshot, struct layer_op *op,
			   struct error *err)
{
	enum status st = may_begin(p, snapshot, err);
	unsigned record;

	if (st == ST_OK)
		st = find_in_state(p, name, LAYER_LIVE, &record, err);
	if (st == ST_OK)
		st = check_depth(p, record, err);
	if (st != ST_OK)
		return st;
	format(p->op_name, sizeof p->op_name, "%s", snapshot);
	if (p->records[record].open) {
		p->records[record].open->held = true;
		forget_near(p->records[record].open);
	}
	op->steps_total = 0;
	return begin(p, op, record, OP_QUIESCE);
}

enum status layer_clone(struct layer_pool *p, const char *from, const char *name, struct layer_op *op, struct error *err)
{
	enum status st = may_begin(p, name, err);
	unsigned record;

	if (st == ST_OK)
		st = find_in_state(p, from, LAYER_FROZEN, &record, err);
	if (st == ST_OK)
		st = check_depth(p, record, err);
	if (st != ST_OK)
		return st;
	op->steps_total = 0;
	return begin(p, op, new_child(p, name, record), OP_LAST_COMMIT);
}

static enum status begin_work(struct layer_pool *p, unsigned record, enum layer_state state, struct layer_op *op)
{
	op->steps_total = p->records[record].clusters;
	p->records[record].state = state;
	record_dirty(p, record);
	return begin(p, op, record, OP_COMMIT);
}

enum status layer_delete(struct layer_pool *p, const char *name, struct layer_op *op, struct error *err)
{
	enum status st = may_begin(p, NULL, err);
	unsigned record = find_record(p, name), child;

	if (st != ST_OK)
		return st;
	if (record == NO_RECORD)
		return fail(err, ST_NOT_FOUND, "there is no layer of that name");
	if (p->records[record].open)
		return fail(err, ST_BUSY, "layer '%s' is in use", name);
	if (p->records[record].state == LAYER_MERGING)
		return fail(err, ST_BAD_STATE, "layer '%s' is being merged", name);
	if (record_children(p, record, &child) > 0)
		return fail(err, ST_BAD_STATE, "layer '%s' stands on '%s'; a snapshot with one child is merged, not deleted",
			    p->records[child].name, name);
	return begin_work(p, record, LAYER_DELETING, op);
}

enum status layer_merge(struct layer_pool *p, const char *name, struct layer_op *op, struct error *err)
{
	enum status st = may_begin(p, NULL, err);
	unsigned record = find_record(p, name), child, n;

	/* One that has failed is taken up again. */
	if (st == ST_OK && (record == NO_RECORD || p->records[record].state != LAYER_MERGING))
		st = find_in_state(p, name, LAYER_FROZEN, &record, err);
	if (st != ST_OK)
		return st;
	if (p->records[record].open)
		return fail(err, ST_BUSY, "layer '%s' is in use", name);
	n = record_children(p, record, &child);
	if (n != 1)
		return fail(err, ST_BAD_STATE, "layer '%s' has %u children; only into one can it be merged", name, n);
	return begin_work(p, record, LAYER_MERGING, op);
}

enum status layer_resize(struct layer_pool *p, const char *name, uint64_t bytes, struct layer_op *op, struct error *err)
{
	enum status st = may_begin(p, NULL, err);
	unsigned record;

	if (st == ST_OK)
		st = find_in_state(p, name, LAYER_LIVE, &record, err);
	if (st != ST_OK)
		return st;
	if (bytes < p->records[record].bytes || bytes > LAYER_BYTES_MAX || bytes % LAYER_BLOCK_BYTES)
		return fail(err, ST_INVALID, "layer '%s' has %llu bytes and can become larger, in steps of %u, up to %llu", name,
			    (unsigned long long)p->records[record].bytes, LAYER_BLOCK_BYTES, LAYER_BYTES_MAX);
	p->records[record].bytes = bytes;
	if (p->records[record].open)
		p->records[record].open->device.sectors = bytes >> p->sector_shift;
	record_dirty(p, record);
	op->steps_total = 0;
	return begin(p, op, record, OP_LAST_COMMIT);
}
