/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools of layers, and layers as volumes: those are known to the table only while
 * somebody uses them, for an open layer cannot be deleted. A pool is opened through a gate,
 * since others may use its domain meanwhile; from then on it belongs to the domain.
 */
#include <string.h>

#include "guest/storage_internal.h"
#include "lib/assert.h"
#include "lib/format.h"
#include "lib/log.h"

#define CACHE_PAGES 1024u /* metadata in memory: maps 4 GiB of clusters at once */

/* ---- pools ---- */

bool storage_pool_is_busy(const struct storage_pool *p)
{
	const struct storage *s = p->on->storage;

	for (unsigned i = 0; i < STORAGE_JOBS_MAX; i++)
		if (s->jobs[i].pool == p && s->jobs[i].phase != JOB_FREE && s->jobs[i].phase != JOB_DONE)
			return true;
	return false;
}

enum status storage_pool_named(struct storage *s, const char *volume, struct storage_pool **out, struct error *err)
{
	struct storage_pool *found = NULL;

	for (unsigned i = 0; i < STORAGE_POOLS_MAX; i++) {
		struct storage_pool *p = &s->pools[i];

		if (!p->on || (volume[0] && strcmp(p->on->volume.name, volume) != 0))
			continue;
		if (found)
			return fail(err, ST_INVALID, "there are several pools: which one?");
		found = p;
	}
	if (!found)
		return volume[0] ? fail(err, ST_NOT_FOUND, "there is no pool on a volume '%s'", volume) :
				   fail(err, ST_NOT_FOUND, "there is no pool");
	*out = found;
	return ST_OK;
}

static struct storage_pool *free_pool(struct storage *s)
{
	for (unsigned i = 0; i < STORAGE_POOLS_MAX; i++)
		if (!s->pools[i].on)
			return &s->pools[i];
	return NULL;
}

/* On @p->part, which stands on a gate. What the pool begins by itself waits there. */
static enum status open_part(struct storage_pool *p, struct storage *s, const char *name, struct error *err)
{
	struct block_range range = {&p->part.device, 0, p->part.device.sectors};
	enum status st;

	p->memory_bytes = layer_pool_memory(&range, CACHE_PAGES);
	if (p->memory_bytes == 0)
		return fail(err, ST_NOT_FOUND, "volume '%s' is too small or too large for a pool", name);
	st = storage_take(s, p->memory_bytes, name, &p->memory, err);
	if (st != ST_OK)
		return st;
	st = layer_pool_open(&range, p->memory, p->memory_bytes, CACHE_PAGES, &p->pool, err);
	if (st != ST_OK)
		storage_give(s, p->memory, p->memory_bytes);
	return st;
}

/* By a gate that has the volume for dividing; @id not NULL: an empty one first. */
static enum status open_through(struct storage_pool *p, struct storage_volume *v, struct storage_gate *g,
				const uint64_t *id, struct error *err)
{
	struct block_range all = {&g->device, 0, g->device.sectors}, range;
	enum status st = volume_part_init(&p->part, &all, v->volume.name, err);

	range = (struct block_range){&p->part.device, 0, p->part.device.sectors};
	if (st == ST_OK && id)
		st = layer_pool_format(&range, *id, err);
	if (st == ST_OK)
		st = open_part(p, v->storage, v->volume.name, err);
	if (st != ST_OK)
		return st;
	/* Beside the gate, which goes: the same mode goes together. */
	st = volume_open(&v->volume, VOLUME_SHARE, "a pool", &p->user, err);
	ASSERT(st == ST_OK);
	p->on = v;
	v->pool = p;
	return ST_OK;
}

/* The partition may have become larger since the pool was made, or opened last. */
static void take_new_space(struct storage_pool *p)
{
	struct block_range all = {&p->part.device, 0, p->part.device.sectors};
	unsigned long state = storage_domain_enter(p->on->domain);
	struct layer_pool_stats before, after;
	struct error err;
	enum status st;

	layer_pool_stats(p->pool, &before);
	st = before.writable ? layer_pool_grow(p->pool, &all, &err) : ST_OK;
	layer_pool_stats(p->pool, &after);
	storage_domain_leave(p->on->domain, state);
	if (st != ST_OK)
		log_warn("volume %s: its pool cannot take the space that is new: %s", p->on->volume.name, err.text);
	else if (after.clusters > before.clusters)
		log_info("volume %s: its pool has grown from %llu to %llu KiB", p->on->volume.name,
			 (unsigned long long)before.clusters * (LAYER_CLUSTER_BYTES >> 10),
			 (unsigned long long)after.clusters * (LAYER_CLUSTER_BYTES >> 10));
}

static enum status make_pool(struct storage *s, const char *volume, const uint64_t *id, struct error *err)
{
	struct storage_pool *p = free_pool(s);
	struct storage_gate *g;
	struct volume *v;
	enum status st = volume_find(&s->volumes, volume, &v, err);

	if (st != ST_OK)
		return st;
	if (!p)
		return fail(err, ST_OVER_LIMIT, "there are %u pools already", STORAGE_POOLS_MAX);
	if (volume_users(v))
		return fail(err, ST_BUSY, "volume '%s' is in use by %s", volume,
			    list_entry(v->users.next, struct volume_user, link)->who);
	st = storage_gate_open(storage_volume_of(v), VOLUME_SHARE, "a pool", &g, err);
	if (st != ST_OK)
		return st;
	st = open_through(p, storage_volume_of(v), g, id, err);
	storage_gate_release(g, &p->part);
	if (st != ST_OK)
		return st;
	storage_domain_poll(storage_volume_of(v), true);
	take_new_space(p);
	storage_domain_ask_masked(storage_volume_of(v)->domain);
	return ST_OK;
}

enum status storage_open_pool(struct storage *s, const char *volume, struct error *err)
{
	return make_pool(s, volume, NULL, err);
}

enum status storage_format_pool(struct storage *s, const char *volume, uint64_t id, struct error *err)
{
	return make_pool(s, volume, &id, err);
}

static bool is_idle(struct storage_pool *p)
{
	unsigned long state = storage_domain_enter(p->on->domain);
	bool idle = layer_pool_is_idle(p->pool);

	storage_domain_leave(p->on->domain, state);
	return idle;
}

/* Commits that are under way end soon. */
static enum status check_unused(struct storage *s, struct storage_pool *p, struct error *err)
{
	const char *name = p->on->volume.name;

	if (storage_pool_is_busy(p))
		return fail(err, ST_BUSY, "an operation on the pool of volume '%s' is under way", name);
	for (struct volume *v = volume_next(&s->volumes, NULL); v; v = volume_next(&s->volumes, v))
		if (storage_volume_of(v)->pool == p && v->kind == VOLUME_LAYER)
			return fail(err, ST_BUSY, "layer '%s' of the pool of volume '%s' is in use", v->name, name);
	for (unsigned tries = 0; !is_idle(p); tries++) {
		unsigned long masked = storage_mask(s);
		bool moved = storage_domain_step(p->on->domain);

		storage_unmask(s, masked);
		if (!moved && tries > 1000)
			return fail(err, ST_BUSY, "the pool of volume '%s' still works", name);
	}
	return ST_OK;
}

enum status storage_close_pool(struct storage *s, const char *volume, struct error *err)
{
	struct storage_volume *v;
	struct storage_pool *p;
	unsigned long state;
	enum status st = storage_pool_named(s, volume, &p, err);

	if (st == ST_OK)
		st = check_unused(s, p, err);
	if (st != ST_OK)
		return st;
	v = p->on;
	storage_domain_poll(v, v->volume.kind == VOLUME_DISK || v->volume.kind == VOLUME_QCOW2);
	state = storage_domain_enter(v->domain);
	v->pool = NULL;
	p->on = NULL;
	storage_domain_leave(v->domain, state);
	volume_close(&p->user);
	storage_give(s, p->memory, p->memory_bytes);
	*p = (struct storage_pool){.on = NULL};
	return ST_OK;
}

enum status storage_pool_stats(struct storage *s, const char *volume, struct layer_pool_stats *out, struct error *err)
{
	struct storage_pool *p;
	unsigned long state;
	enum status st = storage_pool_named(s, volume, &p, err);

	if (st != ST_OK)
		return st;
	state = storage_domain_enter(p->on->domain);
	layer_pool_stats(p->pool, out);
	storage_domain_leave(p->on->domain, state);
	return ST_OK;
}

const char *storage_next_pool(struct storage *s, unsigned index, unsigned *next)
{
	for (; index < STORAGE_POOLS_MAX; index++) {
		if (!s->pools[index].on)
			continue;
		*next = index + 1;
		return s->pools[index].on->volume.name;
	}
	return NULL;
}

/* ---- layers ---- */

static enum status find_in(struct storage_pool *p, const char *name, struct layer_info *out)
{
	unsigned long state = storage_domain_enter(p->on->domain);
	enum status st = layer_find(p->pool, name, out, NULL);

	storage_domain_leave(p->on->domain, state);
	return st;
}

enum status storage_layer_find(struct storage *s, const char *name, struct storage_pool **pool, struct layer_info *out,
			       struct error *err)
{
	for (unsigned i = 0; i < STORAGE_POOLS_MAX; i++) {
		if (!s->pools[i].on || find_in(&s->pools[i], name, out) != ST_OK)
			continue;
		*pool = &s->pools[i];
		return ST_OK;
	}
	return volume_check_name(name, err) == ST_OK ? fail(err, ST_NOT_FOUND, "there is no volume '%s'", name) : ST_INVALID;
}

/* What the chain of @info stands on outside the pool; "": nothing. */
static void base_name(struct storage_pool *p, const struct layer_info *info, char out[LAYER_NAME_MAX])
{
	struct layer_info at = *info;

	for (unsigned i = 0; i < LAYER_DEPTH_MAX && at.parent[0]; i++) {
		struct layer_info above = at;

		if (find_in(p, above.parent, &at) != ST_OK)
			break;
	}
	format(out, LAYER_NAME_MAX, "%s", at.base);
}

/* A base keeps no state of its own, or is in the domain of the pool. */
enum status storage_layer_base(struct storage *s, struct storage_pool *p, const char *name,
			       struct storage_volume **out, struct error *err)
{
	struct storage_volume *base;
	struct volume *v;
	enum status st;

	*out = NULL;
	if (!name[0])
		return ST_OK;
	st = volume_find(&s->volumes, name, &v, err);
	if (st != ST_OK)
		return st;
	base = storage_volume_of(v);
	if (v->kind == VOLUME_LAYER)
		return fail(err, ST_UNSUPPORTED, "'%s' is a layer: make a clone of a snapshot of it", name);
	if (base->domain != p->on->domain && v->kind != VOLUME_RAM && v->kind != VOLUME_BLOB)
		return fail(err, ST_UNSUPPORTED, "volume '%s' is in the domain %s, the pool in %s: a base is memory or beside it",
			    name, base->domain->name, p->on->domain->name);
	*out = base;
	return ST_OK;
}

static enum status stand(struct storage_volume *v, struct storage_volume *base, struct error *err)
{
	enum status st = volume_stand_on(&v->volume, &v->pool->on->volume, VOLUME_SHARE, err);

	return st == ST_OK && base ? volume_stand_on(&v->volume, &base->volume, VOLUME_READ, err) : st;
}

static enum status open_on(struct storage_volume *v, const char *name, struct storage_volume *base, bool filling,
			   struct error *err)
{
	unsigned long state = storage_domain_enter(v->domain);
	struct layer_pool *p = v->pool->pool;
	enum status st = filling ? layer_open_filling(p, name, &v->layer, err) :
				   layer_open(p, name, base ? base->volume.device : NULL, &v->layer, err);

	storage_domain_leave(v->domain, state);
	return st;
}

static void close_again(struct storage_volume *v)
{
	unsigned long state = storage_domain_enter(v->domain);

	layer_close(v->layer);
	storage_domain_leave(v->domain, state);
	v->layer = NULL;
}

enum status storage_layer_open(struct storage *s, struct storage_pool *p, const struct layer_info *info, bool filling,
			       struct storage_volume **out, struct error *err)
{
	struct storage_volume *v, *base;
	char below[LAYER_NAME_MAX];
	enum status st;

	base_name(p, info, below);
	st = storage_layer_base(s, p, below, &base, err);
	if (st == ST_OK)
		st = storage_volume_new(s, p->on->domain, &v, err);
	if (st != ST_OK)
		return st;
	v->pool = p;
	st = open_on(v, info->name, base, filling, err);
	if (st != ST_OK) {
		storage_volume_discard(v);
		return st;
	}
	st = volume_add(&s->volumes, &v->volume, info->name, VOLUME_LAYER, layer_device(v->layer), err);
	if (st != ST_OK) {
		close_again(v);
		storage_volume_discard(v);
		return st;
	}
	storage_volume_place_in(v);
	st = stand(v, base, err);
	if (st != ST_OK) {
		storage_volume_drop(v);
		return st;
	}
	*out = v;
	return ST_OK;
}
