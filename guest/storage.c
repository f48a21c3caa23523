/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What storage is made of, its memory, and what it says of itself. Lists are
 * walked: a machine has tens of volumes, and only its operator asks.
 */
#include "guest/storage.h"

#include <string.h>

#include "guest/machine_memory.h"
#include "guest/storage_internal.h"
#include "lib/assert.h"
#include "lib/format.h"
#include "lib/log.h"

/* ---- memory ---- */

enum status storage_take(struct storage *s, uint64_t bytes, const char *what, void **out, struct error *err)
{
	enum status st = machine_take(s->machine, bytes, what, out, err);

	if (st == ST_OK)
		s->totals.memory += machine_block_bytes(bytes);
	return st;
}

void storage_give(struct storage *s, void *memory, uint64_t bytes)
{
	s->totals.memory -= machine_block_bytes(bytes);
	machine_give(s->machine, memory, bytes);
}

/* ---- life ---- */

enum status storage_create(struct machine *m, struct error *err)
{
	struct storage *s;
	void *memory;
	enum status st = machine_take(m, sizeof *s, "storage", &memory, err);

	if (st != ST_OK)
		return st;
	s = memory;
	s->machine = m;
	s->totals.memory = machine_block_bytes(sizeof *s);
	volumes_init(&s->volumes);
	m->storage = s;
	m->disk_ops = &storage_disk_ops;
	m->disk_ctx = s;
	return ST_OK;
}

/* What is built upon others was added after them. */
static void remove_all(struct storage *s)
{
	while (!list_empty(&s->volumes.all)) {
		struct volume *v = list_entry(s->volumes.all.prev, struct volume, link);

		ASSERT(volume_users(v) == 0);
		storage_volume_drop(storage_volume_of(v));
	}
}

void storage_destroy(struct machine *m)
{
	struct storage *s = m->storage;
	struct error err;

	for (unsigned i = 0; i < STORAGE_JOBS_MAX; i++)
		ASSERT(s->jobs[i].phase == JOB_FREE || s->jobs[i].phase == JOB_DONE);
	for (unsigned i = 0; i < STORAGE_POOLS_MAX; i++)
		if (s->pools[i].on && storage_close_pool(s, s->pools[i].on->volume.name, &err) != ST_OK)
			panic("storage: %s", err.text);
	remove_all(s);
	for (unsigned i = 0; i < STORAGE_DOMAINS_MAX; i++)
		if (s->domains[i])
			storage_domain_destroy(s->domains[i]);
	ASSERT(s->totals.memory == machine_block_bytes(sizeof *s));
	m->storage = NULL;
	m->disk_ops = NULL;
	machine_give(m, s, sizeof *s);
}

void storage_changed(struct storage *s)
{
	for (unsigned i = 0; i < STORAGE_DOMAINS_MAX; i++)
		if (s->domains[i])
			storage_domain_follow(s->domains[i]);
}

bool storage_step(struct storage *s)
{
	storage_changed(s);
	storage_resume_starved(s);
	return storage_jobs_step(s);
}

/* ---- what there is ---- */

static void describe_layer(const struct storage_pool *p, const struct layer_info *info, struct storage_info *out)
{
	format(out->pool, sizeof out->pool, "%s", p->on->volume.name);
	format(out->parent, sizeof out->parent, "%s", info->parent);
	format(out->base, sizeof out->base, "%s", info->base);
	out->state = info->state;
	out->own_bytes = info->own_bytes;
	out->children = info->children;
	out->depth = info->depth;
	out->bytes = info->bytes;
	out->read_only = info->state != LAYER_LIVE;
}

static void describe(const struct storage_volume *v, struct storage_info *out)
{
	const struct block_device *d = v->volume.device;

	*out = (struct storage_info){
		.kind = v->volume.kind, .bytes = d->sectors * d->sector_bytes, .sector_bytes = d->sector_bytes,
		.read_only = d->read_only, .is_pool = storage_holds_pool(v), .users = volume_users(&v->volume),
	};
	format(out->name, sizeof out->name, "%s", v->volume.name);
	format(out->domain, sizeof out->domain, "%s", v->domain->name);
	if (out->users)
		format(out->user, sizeof out->user, "%s",
		       list_entry(v->volume.users.next, struct volume_user, link)->who);
}

/* One that nobody uses is known to its pool alone. */
static void describe_closed(const struct storage_pool *p, const struct layer_info *info, struct storage_info *out)
{
	*out = (struct storage_info){.kind = VOLUME_LAYER, .sector_bytes = p->part.device.sector_bytes};
	format(out->name, sizeof out->name, "%s", info->name);
	format(out->domain, sizeof out->domain, "%s", p->on->domain->name);
	describe_layer(p, info, out);
}

enum status storage_find(struct storage *s, const char *name, struct storage_info *out, struct error *err)
{
	struct storage_pool *p;
	struct layer_info info;
	struct volume *v;
	enum status st;

	if (volume_find(&s->volumes, name, &v, err) == ST_OK) {
		describe(storage_volume_of(v), out);
		if (v->kind == VOLUME_LAYER && storage_layer_find(s, name, &p, &info, NULL) == ST_OK)
			describe_layer(p, &info, out);
		return ST_OK;
	}
	st = storage_layer_find(s, name, &p, &info, err);
	if (st == ST_OK)
		describe_closed(p, &info, out);
	return st;
}

/* Layers are listed with their pools, whether they are open or not. */
static struct volume *next_volume(const struct storage *s, const struct volume *v)
{
	do
		v = volume_next(&s->volumes, v);
	while (v && v->kind == VOLUME_LAYER);
	return (struct volume *)v;
}

static enum status next_layer(struct storage *s, unsigned pool, unsigned index, struct storage_info *out)
{
	for (; pool < STORAGE_POOLS_MAX; pool++, index = 0) {
		struct storage_pool *p = &s->pools[pool];
		struct layer_info info;
		unsigned long state;
		enum status st;

		if (!p->on)
			continue;
		state = storage_domain_enter(p->on->domain);
		st = layer_list(p->pool, index, &info, &index);
		storage_domain_leave(p->on->domain, state);
		if (st == ST_OK)
			return storage_find(s, info.name, out, NULL);
	}
	return ST_NOT_FOUND;
}

static enum status behind_layer(struct storage *s, const char *after, struct storage_info *out)
{
	for (unsigned i = 0; i < STORAGE_POOLS_MAX; i++) {
		struct storage_pool *p = &s->pools[i];
		unsigned index = 0;
		struct layer_info info;

		while (p->on) {
			unsigned long state = storage_domain_enter(p->on->domain);
			enum status st = layer_list(p->pool, index, &info, &index);

			storage_domain_leave(p->on->domain, state);
			if (st != ST_OK)
				break;
			if (strcmp(info.name, after) == 0)
				return next_layer(s, i, index, out);
		}
	}
	return ST_NOT_FOUND;
}

enum status storage_next(struct storage *s, const char *after, struct storage_info *out)
{
	struct volume *v = NULL;

	if (after[0] && (volume_find(&s->volumes, after, &v, NULL) != ST_OK || v->kind == VOLUME_LAYER))
		return behind_layer(s, after, out);
	v = next_volume(s, v);
	if (!v)
		return next_layer(s, 0, 0, out);
	describe(storage_volume_of(v), out);
	return ST_OK;
}

void storage_totals(const struct storage *s, struct storage_totals *out)
{
	*out = s->totals;
	out->volumes = s->volumes.count;
	out->domains = out->pools = out->jobs = 0;
	out->turns = 0;
	for (unsigned i = 0; i < STORAGE_DOMAINS_MAX; i++) {
		if (!s->domains[i])
			continue;
		out->domains++;
		out->turns += s->domains[i]->worker.turns;
	}
	for (unsigned i = 0; i < STORAGE_POOLS_MAX; i++)
		out->pools += s->pools[i].on != NULL;
	for (unsigned i = 0; i < STORAGE_JOBS_MAX; i++)
		out->jobs += s->jobs[i].phase != JOB_FREE && s->jobs[i].phase != JOB_DONE;
}

/* ---- figures ---- */

static void add_figures(struct iosched_figures *to, const struct iosched_figures *f)
{
	for (unsigned i = 0; i < BLOCK_OP_COUNT; i++)
		to->requests[i] += f->requests[i];
	for (unsigned i = 0; i < IOSCHED_LATENCY_BUCKETS; i++)
		to->latency[i] += f->latency[i];
	to->bytes_read += f->bytes_read;
	to->bytes_written += f->bytes_written;
	to->failed += f->failed;
	to->queued += f->queued;
	to->throttled += f->throttled;
	to->service += f->service;
	to->by_reservation += f->by_reservation;
	to->straight += f->straight;
	to->waiting += f->waiting;
	to->at_device += f->at_device;
}

static void client_figures(struct storage_client *c, struct iosched_figures *out)
{
	unsigned long masked = storage_mask(c->domain->storage);

	iosched_figures(&c->io, out);
	storage_unmask(c->domain->storage, masked);
}

void storage_client_keep_figures(struct storage_client *c)
{
	struct iosched_figures f;

	client_figures(c, &f);
	add_figures(&c->volume->gone, &f);
}

void storage_volume_figures(struct storage_volume *v, struct iosched_figures *out)
{
	*out = v->gone;
	list_for_each(it, &v->domain->pools.members) {
		struct storage_client *c = storage_client_of(it);
		struct iosched_figures f;

		if (c->volume != v)
			continue;
		client_figures(c, &f);
		add_figures(out, &f);
	}
}

enum status storage_figures(struct storage *s, const char *name, struct iosched_figures *out, struct error *err)
{
	struct storage_info info;
	struct volume *found;

	if (volume_find(&s->volumes, name, &found, NULL) != ST_OK) {
		enum status st = storage_find(s, name, &info, err);

		if (st == ST_OK) /* a layer that nobody uses */
			*out = (struct iosched_figures){.failed = 0};
		return st;
	}
	storage_volume_figures(storage_volume_of(found), out);
	return ST_OK;
}

enum status storage_disk_figures(struct storage *s, const struct vm *vm, unsigned index, struct iosched_figures *out)
{
	for (unsigned i = 0; i < STORAGE_DOMAINS_MAX; i++) {
		if (!s->domains[i])
			continue;
		list_for_each(it, &s->domains[i]->pools.members) {
			struct storage_client *c = storage_client_of(it);

			if (c->vm != vm || c->disk != index)
				continue;
			client_figures(c, out);
			return ST_OK;
		}
	}
	return ST_BAD_STATE;
}
