/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations that take time. Those on layers are the pool's, which goes on by itself
 * and tells when it is done. An import is one that creates a layer, and then copies
 * into it a piece at a time (io/volume_copy.h), like any other user of both volumes: what it may
 * take from others is the I/O schedulers' business. Whatever goes wrong, the half-made layer is
 * deleted again; when it is the power, the layer itself says that it is not whole (LAYER_FILLING).
 */
#include <string.h>

#include "guest/storage_internal.h"
#include "lib/format.h"

#define STEPS_MAX 16u /* of a job in one round of the control task */

const char *storage_op_name(enum storage_op op)
{
	static const char *const names[STORAGE_OPS] = {"create", "clone", "snapshot", "merge", "delete", "resize", "import"};

	return names[op];
}

/* ---- the table ---- */

static bool is_active(const struct storage_job *j) { return j->phase != JOB_FREE && j->phase != JOB_DONE; }

/* A free place, else that of the job that ended first begun. */
static struct storage_job *place_for(struct storage *s)
{
	struct storage_job *best = NULL;

	for (unsigned i = 0; i < STORAGE_JOBS_MAX; i++) {
		struct storage_job *j = &s->jobs[i];

		if (!is_active(j) && (!best || j->info.job < best->info.job))
			best = j;
	}
	return best;
}

enum status storage_job(struct storage *s, uint32_t job, struct storage_job_info *out)
{
	for (unsigned i = 0; i < STORAGE_JOBS_MAX; i++) {
		if (s->jobs[i].phase == JOB_FREE || s->jobs[i].info.job != job)
			continue;
		*out = s->jobs[i].info;
		return ST_OK;
	}
	return ST_NOT_FOUND;
}

enum status storage_next_job(struct storage *s, uint32_t job, struct storage_job_info *out)
{
	const struct storage_job *next = NULL;

	for (unsigned i = 0; i < STORAGE_JOBS_MAX; i++) {
		const struct storage_job *j = &s->jobs[i];

		if (j->phase != JOB_FREE && j->info.job > job && (!next || j->info.job < next->info.job))
			next = j;
	}
	if (!next)
		return ST_NOT_FOUND;
	*out = next->info;
	return ST_OK;
}

enum status storage_check_whole(struct storage *s, const char *name, struct error *err)
{
	for (unsigned i = 0; i < STORAGE_JOBS_MAX; i++) {
		const struct storage_job *j = &s->jobs[i];

		if (is_active(j) && j->info.order.op == STORAGE_IMPORT && strcmp(j->info.order.name, name) == 0)
			return fail(err, ST_BUSY, "volume '%s' is still being imported", name);
	}
	return ST_OK;
}

/* ---- the pool's operations ---- */

/* Under the lock of the domain, on any CPU. */
static void op_ended(struct layer_op *op)
{
	container_of(op, struct storage_job, op)->storage->machine->host->notify();
}

typedef enum status pool_call(struct storage_job *j, struct error *err);

static enum status call_order(struct storage_job *j, struct error *err)
{
	const struct storage_order *o = &j->info.order;
	struct layer_pool *p = j->pool->pool;

	switch (o->op) {
	case STORAGE_CREATE: return layer_create(p, o->name, o->bytes, o->base[0] ? o->base : NULL, &j->op, err);
	case STORAGE_IMPORT: return layer_create_filling(p, o->name, align_up(j->bytes, LAYER_BLOCK_BYTES), &j->op, err);
	case STORAGE_CLONE: return layer_clone(p, o->volume, o->name, &j->op, err);
	case STORAGE_SNAPSHOT: return layer_snapshot(p, o->volume, o->name, &j->op, err);
	case STORAGE_MERGE: return layer_merge(p, o->volume, &j->op, err);
	case STORAGE_RESIZE: return layer_resize(p, o->volume, o->bytes, &j->op, err);
	default: return layer_delete(p, o->volume, &j->op, err);
	}
}

/* Of an import. */
static enum status call_complete(struct storage_job *j, struct error *err)
{
	return layer_complete(j->pool->pool, j->info.order.name, &j->op, err);
}

static enum status call_delete(struct storage_job *j, struct error *err)
{
	return layer_delete(j->pool->pool, j->info.order.name, &j->op, err);
}

static enum status begin_op(struct storage_job *j, pool_call *call, struct error *err)
{
	struct storage_domain *d = j->pool->on->domain;
	unsigned long state = storage_domain_enter(d);
	enum status st;

	j->op = (struct layer_op){.complete = op_ended};
	st = call(j, err);
	storage_domain_leave(d, state);
	storage_domain_ask_masked(d);
	return st;
}

/* ---- ends ---- */

static void finish(struct storage_job *j, enum status st)
{
	j->info.status = st;
	j->info.done = true;
	j->phase = JOB_DONE;
	j->pool = NULL;
	j->storage->machine->host->notify(); /* who waits for the pool is looked at again */
	j->told = false;
	j->storage->ended++;
}

bool storage_next_ended(struct storage *s, struct storage_job_info *out)
{
	for (unsigned i = 0; s->ended && i < STORAGE_JOBS_MAX; i++) {
		struct storage_job *j = &s->jobs[i];

		if (j->phase != JOB_DONE || j->told)
			continue;
		j->told = true;
		*out = j->info;
		return true;
	}
	s->ended = 0;
	return false;
}

static void release_copy(struct storage_job *j)
{
	if (j->to)
		storage_gate_release(j->to, NULL);
	if (j->from)
		storage_gate_release(j->from, NULL);
	if (j->buffer)
		storage_give(j->storage, j->buffer, VOLUME_COPY_BYTES);
	j->to = j->from = NULL;
	j->buffer = NULL;
}

/* The copy ends with @st: what there is of it is to be deleted. */
static void spoil(struct storage_job *j, enum status st, const char *why)
{
	j->info.status = st;
	format(j->info.why, sizeof j->info.why, "%s", why);
	release_copy(j);
	j->phase = JOB_SPOILT;
}

static void add_still_there(struct storage_job *j, const struct error *why)
{
	size_t len = MIN(strlen(j->info.why), (size_t)100);

	format(j->info.why + len, sizeof j->info.why - len, "; what was copied is still there: %.100s", why->text);
}

/* The pool's other operations, which may go on beside a copy, come first. */
static bool begin_undo(struct storage_job *j)
{
	struct error err = {""};
	enum status st = begin_op(j, call_delete, &err);

	if (st == ST_BUSY)
		return false;
	j->phase = JOB_UNDO;
	if (st == ST_OK)
		return true;
	add_still_there(j, &err);
	finish(j, j->info.status);
	return true;
}

static bool begin_complete(struct storage_job *j)
{
	struct error err = {""};
	enum status st = begin_op(j, call_complete, &err);

	if (st == ST_BUSY)
		return false;
	if (st == ST_OK)
		j->phase = JOB_COMPLETE;
	else
		spoil(j, st, err.text);
	return true;
}

/* ---- the copy ---- */

/* Nobody else has it: storage_check_whole(). */
static enum status open_target(struct storage_job *j, struct error *err)
{
	struct storage_volume *v;
	struct storage_pool *p;
	struct layer_info info;
	enum status st = storage_layer_find(j->storage, j->info.order.name, &p, &info, err);

	if (st == ST_OK)
		st = storage_layer_open(j->storage, p, &info, true, &v, err);
	if (st != ST_OK)
		return st;
	st = storage_gate_open(v, VOLUME_WRITE, "an import", &j->to, err);
	if (st != ST_OK)
		storage_volume_unused(v);
	return st;
}

static enum status open_copy(struct storage_job *j, struct error *err)
{
	enum status st = open_target(j, err);

	if (st == ST_OK)
		st = storage_take(j->storage, VOLUME_COPY_BYTES, "an import", &j->buffer, err);
	return st == ST_OK ? volume_copy_begin(&j->copy, &j->from->device, &j->to->device, j->buffer, err) : st;
}

/* A step; true when another one would not only wait. */
static bool copy_on(struct storage_job *j)
{
	enum status st = volume_copy_step(&j->copy);

	j->info.steps = j->copy.at;
	if (st == ST_AGAIN)
		return j->copy.state == COPY_READ || j->copy.r.done;
	if (st != ST_OK) {
		spoil(j, st, j->copy.err.text[0] ? j->copy.err.text : status_name(st));
		return true;
	}
	release_copy(j);
	j->phase = JOB_COPIED;
	return true;
}

static void begin_copy(struct storage_job *j)
{
	struct error err = {""};
	enum status st = open_copy(j, &err);

	j->info.steps = 0;
	j->info.steps_total = j->bytes;
	if (j->cancelled)
		spoil(j, ST_BUSY, "it was cancelled");
	else if (st != ST_OK)
		spoil(j, st, err.text);
	else
		j->phase = JOB_COPY;
}

/* ---- steps ---- */

static void resized(struct storage_job *j)
{
	struct volume *v;

	if (volume_find(&j->storage->volumes, j->info.order.volume, &v, NULL) == ST_OK)
		storage_volume_resized(storage_volume_of(v));
}

static void op_done(struct storage_job *j, enum status st, const struct error *why)
{
	if (j->phase == JOB_UNDO) {
		if (st != ST_OK)
			add_still_there(j, why);
		finish(j, j->info.status);
		return;
	}
	if (j->phase == JOB_COMPLETE && st != ST_OK) {
		spoil(j, st, why->text);
		return;
	}
	if (st != ST_OK) {
		format(j->info.why, sizeof j->info.why, "%s", why->text);
		release_copy(j);
		finish(j, st);
		return;
	}
	if (j->info.order.op == STORAGE_IMPORT && j->phase == JOB_OPERATION) {
		begin_copy(j);
		return;
	}
	if (j->info.order.op == STORAGE_RESIZE)
		resized(j);
	finish(j, ST_OK);
}

static bool look_at_op(struct storage_job *j)
{
	struct storage_domain *d = j->pool->on->domain;
	unsigned long state = storage_domain_enter(d);
	bool done = j->op.done;

	if (j->phase == JOB_OPERATION && j->info.order.op != STORAGE_IMPORT) {
		/* Passes over what is empty are steps too. */
		j->info.steps_total = j->op.steps_total;
		j->info.steps = done ? j->op.steps_total : MIN(j->op.steps, j->op.steps_total);
	}
	storage_domain_leave(d, state);
	if (done)
		op_done(j, j->op.status, &j->op.err);
	return done;
}

/* ---- beginning one ---- */

static bool makes_new(enum storage_op op)
{
	return op == STORAGE_CREATE || op == STORAGE_CLONE || op == STORAGE_SNAPSHOT || op == STORAGE_IMPORT;
}

static enum status check_order(struct storage_job *j, struct error *err)
{
	const struct storage_order *o = &j->info.order;
	struct storage *s = j->storage;
	struct storage_info other;
	struct layer_info info;
	enum status st = ST_OK;

	if (o->op >= STORAGE_OPS)
		return fail(err, ST_INVALID, "%u is no operation", (unsigned)o->op);
	if (makes_new(o->op))
		st = storage_check_new(s, o->name, err);
	if (st != ST_OK)
		return st;
	if (o->op == STORAGE_CREATE || o->op == STORAGE_IMPORT)
		return storage_pool_named(s, o->pool, &j->pool, err);
	st = storage_check_whole(s, o->volume, err);
	if (st != ST_OK)
		return st;
	st = storage_layer_find(s, o->volume, &j->pool, &info, err);
	if (st == ST_NOT_FOUND && storage_find(s, o->volume, &other, NULL) == ST_OK)
		return fail(err, ST_UNSUPPORTED, "volume '%s' is no layer, but %s: there is no %s of it", o->volume,
			    volume_kind_name(other.kind), storage_op_name(o->op));
	return st;
}

/* What is imported is the import's until it ends. */
static enum status open_source(struct storage_job *j, struct error *err)
{
	struct storage_volume *v;
	enum status st = storage_volume_get(j->storage, j->info.order.volume, &v, err);

	if (st != ST_OK)
		return st;
	st = storage_gate_open(v, VOLUME_READ, "an import", &j->from, err);
	if (st != ST_OK) {
		storage_volume_unused(v);
		return st;
	}
	j->bytes = j->from->device.sectors * j->from->device.sector_bytes;
	return ST_OK;
}

static enum status begin(struct storage_job *j, struct error *err)
{
	const struct storage_order *o = &j->info.order;
	struct storage_volume *base;
	enum status st = check_order(j, err);

	if (st == ST_OK && o->op == STORAGE_CREATE)
		st = storage_layer_base(j->storage, j->pool, o->base, &base, err);
	if (st == ST_OK && o->op == STORAGE_IMPORT)
		st = open_source(j, err);
	if (st != ST_OK)
		return st;
	st = begin_op(j, call_order, err);
	if (st != ST_OK)
		release_copy(j);
	return st;
}

/* ---- all of them ---- */

/* A creation does not take long, and texts declare several layers: it waits for its pool's other operations. */
static bool is_to_wait(const struct storage_job *j, enum status st)
{
	const struct storage *s = j->storage;

	if (st != ST_BUSY || j->info.order.op != STORAGE_CREATE)
		return false;
	for (unsigned i = 0; i < STORAGE_JOBS_MAX; i++)
		if (&s->jobs[i] != j && s->jobs[i].pool == j->pool && is_active(&s->jobs[i]))
			return true;
	return false;
}

static bool try_waiting(struct storage_job *j)
{
	struct error err = {""};
	enum status st = begin(j, &err);

	if (is_to_wait(j, st))
		return false;
	if (st == ST_OK) {
		j->phase = JOB_OPERATION;
		return true;
	}
	format(j->info.why, sizeof j->info.why, "%s", err.text);
	finish(j, st);
	return true;
}

static bool step(struct storage_job *j)
{
	switch (j->phase) {
	case JOB_FREE:
	case JOB_DONE: return false;
	case JOB_WAITING: return try_waiting(j);
	case JOB_OPERATION:
	case JOB_COMPLETE:
	case JOB_UNDO: return look_at_op(j);
	case JOB_COPY: return copy_on(j);
	case JOB_COPIED: return begin_complete(j);
	case JOB_SPOILT: return begin_undo(j);
	}
	return false;
}

bool storage_jobs_step(struct storage *s)
{
	bool more = false;

	for (unsigned i = 0; i < STORAGE_JOBS_MAX; i++) {
		unsigned steps = 0;

		while (steps < STEPS_MAX && step(&s->jobs[i]))
			steps++;
		more |= steps == STEPS_MAX;
	}
	return more;
}

enum status storage_begin(struct storage *s, const struct storage_order *order, uint32_t *job, struct error *err)
{
	struct storage_job *j = place_for(s);
	enum status st;

	if (!j)
		return fail(err, ST_OVER_LIMIT, "there are %u operations under way", STORAGE_JOBS_MAX);
	*j = (struct storage_job){.storage = s, .info = {.order = *order}};
	st = begin(j, err);
	if (st != ST_OK && !is_to_wait(j, st))
		return st;
	j->info.job = ++s->last_job;
	j->phase = st == ST_OK ? JOB_OPERATION : JOB_WAITING;
	*job = j->info.job;
	s->machine->host->notify(); /* it may have ended inside */
	return ST_OK;
}

enum status storage_cancel(struct storage *s, uint32_t job, struct error *err)
{
	for (unsigned i = 0; i < STORAGE_JOBS_MAX; i++) {
		struct storage_job *j = &s->jobs[i];

		if (j->phase == JOB_FREE || j->info.job != job)
			continue;
		if (!is_active(j) || j->phase > JOB_COPY || j->info.order.op != STORAGE_IMPORT)
			return fail(err, ST_BAD_STATE, "operation %u has ended, or is no import", job);
		j->cancelled = true;
		if (j->phase == JOB_COPY)
			(void)volume_copy_cancel(&j->copy); /* it ends with the request that is under way */
		s->machine->host->notify();
		return ST_OK;
	}
	return fail(err, ST_NOT_FOUND, "there is no operation %u", job);
}
