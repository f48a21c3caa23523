/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: how each kind is made and what it takes with it when it goes. A
 * volume of memory is a domain of its own, which goes with it. Readers of memory keep no
 * state, so what stands on a domain may read memory of another one; everything else stays
 * in the domain of what it stands on.
 */
#include <string.h>

#include "guest/storage_internal.h"
#include "io/partition.h"
#include "lib/assert.h"
#include "lib/format.h"
#include "lib/log.h"

#define MODELS_MAX 4u /* of a domain: each has a timer */

_Static_assert(MODELS_MAX + 2u <= IOSCHED_TIMERS_MAX, "two are the scheduler's and the domain's");

/* ---- making and unmaking ---- */

enum status storage_volume_new(struct storage *s, struct storage_domain *d, struct storage_volume **out,
			       struct error *err)
{
	void *memory;
	enum status st;

	if (s->volumes.count >= STORAGE_VOLUMES_MAX)
		return fail(err, ST_OVER_LIMIT, "there are %u volumes in use already", STORAGE_VOLUMES_MAX);
	st = storage_take(s, sizeof(struct storage_volume), "a volume", &memory, err);
	if (st != ST_OK)
		return st;
	*out = memory;
	(*out)->storage = s;
	(*out)->domain = d;
	list_init(&(*out)->poll);
	d->volumes++;
	return ST_OK;
}

void storage_volume_discard(struct storage_volume *v)
{
	struct storage_domain *d = v->domain;
	struct storage *s = v->storage;

	if (v->memory)
		storage_give(s, v->memory, v->memory_bytes);
	storage_give(s, v, sizeof *v);
	if (--d->volumes == 0 && !d->stays)
		storage_domain_destroy(d);
}

void storage_volume_place_in(struct storage_volume *v)
{
	while (v->storage->places[v->place]) /* storage_volume_new() has seen that there is one */
		v->place++;
	v->storage->places[v->place] = v;
}

enum status storage_volume_add(struct storage_volume *v, const char *name, enum volume_kind kind,
			       struct block_device *device, struct error *err)
{
	enum status st = volume_add(&v->storage->volumes, &v->volume, name, kind, device, err);

	if (st != ST_OK) {
		storage_volume_discard(v);
		return st;
	}
	storage_volume_place_in(v);
	return ST_OK;
}

/* What it stood on, if that is open for it alone. */
static void release_below(struct storage_volume *v)
{
	struct volume *below[VOLUME_BELOW_MAX];
	struct error err;
	enum status st;

	for (unsigned i = 0; i < VOLUME_BELOW_MAX; i++)
		below[i] = v->volume.below[i].volume;
	st = volume_remove(&v->volume, &err);
	ASSERT(st == ST_OK);
	for (unsigned i = 0; i < VOLUME_BELOW_MAX; i++)
		if (below[i])
			storage_volume_unused(storage_volume_of(below[i]));
}

void storage_volume_drop(struct storage_volume *v)
{
	unsigned long state;

	ASSERT(volume_users(&v->volume) == 0);
	ASSERT(v->storage->places[v->place] == v);
	v->storage->places[v->place] = NULL;
	storage_domain_poll(v, false);
	state = storage_domain_enter(v->domain);
	if (v->layer)
		layer_close(v->layer);
	if (v->volume.kind == VOLUME_MODEL)
		timerq_cancel(&v->domain->sched.timers, &v->is.model.timer);
	storage_domain_leave(v->domain, state);
	v->domain->models -= v->volume.kind == VOLUME_MODEL;
	release_below(v);
	storage_volume_discard(v);
}

/* ---- by name ---- */

enum status storage_check_new(struct storage *s, const char *name, struct error *err)
{
	struct storage_info info;
	enum status st = volume_check_name(name, err);

	if (st != ST_OK)
		return st;
	if (storage_find(s, name, &info, NULL) == ST_OK)
		return fail(err, ST_EXISTS, "there is a volume '%s' already", name);
	return ST_OK;
}

enum status storage_volume_get(struct storage *s, const char *name, struct storage_volume **out, struct error *err)
{
	struct storage_pool *p;
	struct layer_info info;
	struct volume *v;
	enum status st = volume_find(&s->volumes, name, &v, err);

	if (st == ST_OK) {
		*out = storage_volume_of(v);
		return ST_OK;
	}
	st = storage_layer_find(s, name, &p, &info, err);
	if (st == ST_OK)
		st = storage_check_whole(s, name, err);
	return st == ST_OK ? storage_layer_open(s, p, &info, false, out, err) : st;
}

void storage_volume_unused(struct storage_volume *v)
{
	if (v->volume.kind == VOLUME_LAYER && volume_users(&v->volume) == 0)
		storage_volume_drop(v);
}

/* Reading it needs no lock, whoever else does. */
static bool is_memory(const struct storage_volume *v)
{
	return v->volume.kind == VOLUME_RAM || v->volume.kind == VOLUME_BLOB;
}

/* ---- memory ---- */

/* A volume in a domain of its own. */
static enum status new_alone(struct storage *s, const char *name, struct storage_volume **out, struct error *err)
{
	struct storage_domain *d;
	enum status st = storage_check_new(s, name, err);

	if (st == ST_OK)
		st = storage_domain_create(s, name, &d, err);
	if (st != ST_OK)
		return st;
	st = storage_volume_new(s, d, out, err);
	if (st != ST_OK)
		storage_domain_destroy(d);
	return st;
}

enum status storage_add_ram(struct storage *s, const char *name, uint64_t bytes, struct error *err)
{
	struct storage_volume *v;
	enum status st;

	if (bytes == 0 || bytes > STORAGE_RAM_MAX || !is_aligned(bytes, PAGE_SIZE))
		return fail(err, ST_INVALID, "a volume of memory has a multiple of 4 KiB up to %llu MiB, not %llu bytes",
			    STORAGE_RAM_MAX >> 20, (unsigned long long)bytes);
	st = new_alone(s, name, &v, err);
	if (st != ST_OK)
		return st;
	st = storage_take(s, bytes, name, &v->memory, err);
	if (st == ST_OK) {
		v->memory_bytes = bytes;
		st = volume_ram_init(&v->is.ram, v->memory, bytes, BLOCK_SECTOR_MIN, name, err);
	}
	if (st != ST_OK) {
		storage_volume_discard(v);
		return st;
	}
	return storage_volume_add(v, name, VOLUME_RAM, &v->is.ram.device, err);
}

enum status storage_add_blob(struct storage *s, const char *name, const char *file, struct error *err)
{
	struct storage_volume *v;
	struct file f;
	enum status st;

	if (!s->machine->files)
		return fail(err, ST_NOT_FOUND, "this machine has no store");
	st = files_find(s->machine->files, file, &f, err);
	if (st != ST_OK)
		return st;
	if (!f.data)
		return fail(err, ST_UNSUPPORTED, "%.100s is in the writable store, where it may change: import it", f.name);
	st = new_alone(s, name, &v, err);
	if (st != ST_OK)
		return st;
	st = volume_blob_init(&v->is.blob, f.data, f.size, name, err);
	if (st != ST_OK) {
		storage_volume_discard(v);
		return st;
	}
	return storage_volume_add(v, name, VOLUME_BLOB, &v->is.blob.device, err);
}

/* ---- models ---- */

/* Known by its name, and standing on @base; or gone. */
static enum status add_on(struct storage_volume *v, const char *name, enum volume_kind kind,
			  struct block_device *device, struct storage_volume *base, enum volume_mode mode,
			  struct error *err)
{
	enum status st = storage_volume_add(v, name, kind, device, err);

	if (st != ST_OK)
		return st;
	st = volume_stand_on(&v->volume, &base->volume, mode, err);
	if (st != ST_OK)
		storage_volume_drop(v);
	return st;
}

static enum status init_model(struct storage_volume *v, struct storage_volume *base, const struct model_config *cfg,
			      const char *name, struct error *err)
{
	struct storage_domain *d = v->domain;
	unsigned long state;
	enum status st;

	if (d->models == MODELS_MAX)
		return fail(err, ST_OVER_LIMIT, "domain %s has %u models already", d->name, MODELS_MAX);
	state = storage_domain_enter(d);
	st = model_init(&v->is.model, base->volume.device, cfg, v->storage->machine->host->clock, &d->sched.timers, name,
			err);
	storage_domain_leave(d, state);
	if (st != ST_OK)
		return st;
	d->models++;
	iosched_works_on(&d->sched, v->is.model.device.at_once);
	return ST_OK;
}

static enum status add_model(struct storage *s, struct storage_volume *base, const char *name,
			     const struct model_config *cfg, struct error *err)
{
	struct storage_volume *v;
	enum status st = storage_volume_new(s, base->domain, &v, err);

	if (st != ST_OK)
		return st;
	st = init_model(v, base, cfg, name, err);
	if (st != ST_OK) {
		storage_volume_discard(v);
		return st;
	}
	st = storage_volume_add(v, name, VOLUME_MODEL, &v->is.model.device, err);
	if (st != ST_OK) {
		base->domain->models--;
		return st;
	}
	st = volume_stand_on(&v->volume, &base->volume, base->volume.device->read_only ? VOLUME_READ : VOLUME_WRITE, err);
	if (st != ST_OK)
		storage_volume_drop(v);
	return st;
}

enum status storage_add_model(struct storage *s, const char *name, const char *base, const struct model_config *cfg,
			      struct error *err)
{
	struct storage_volume *below;
	enum status st = storage_check_new(s, name, err);

	if (st == ST_OK)
		st = storage_volume_get(s, base, &below, err);
	if (st != ST_OK)
		return st;
	st = add_model(s, below, name, cfg, err);
	if (st != ST_OK)
		storage_volume_unused(below);
	return st;
}

enum status storage_set_model(struct storage *s, const char *name, const struct model_config *cfg, struct error *err)
{
	struct storage_volume *v;
	struct volume *found;
	unsigned long state;
	enum status st = volume_find(&s->volumes, name, &found, err);

	if (st != ST_OK)
		return st;
	if (found->kind != VOLUME_MODEL)
		return fail(err, ST_INVALID, "volume '%s' is no model", name);
	v = storage_volume_of(found);
	state = storage_domain_enter(v->domain);
	st = model_set(&v->is.model, cfg, err);
	storage_domain_leave(v->domain, state);
	iosched_works_on(&v->domain->sched, v->is.model.device.at_once);
	return st;
}

/* ---- images ---- */

/* Where the image on @base will be: with it, or where @in is. */
static enum status image_domain(struct storage *s, struct storage_volume *base, const char *in,
				struct storage_domain **out, struct error *err)
{
	struct volume *other;
	enum status st;

	*out = base->domain;
	if (!in)
		return ST_OK;
	st = volume_find(&s->volumes, in, &other, err);
	if (st != ST_OK)
		return st;
	if (storage_volume_of(other)->domain != base->domain && !is_memory(base))
		return fail(err, ST_UNSUPPORTED, "volume '%s' is in another domain than '%s', and is not memory",
			    base->volume.name, in);
	*out = storage_volume_of(other)->domain;
	return ST_OK;
}

/* Reads the header through a gate; then the image has the device for itself. */
static enum status open_image(struct storage_volume *v, struct storage_volume *base, const char *name, struct error *err)
{
	struct storage *s = v->storage;
	struct storage_gate *g;
	struct block_range range;
	enum status st = storage_take(s, sizeof(struct qcow2), name, &v->memory, err);

	if (st != ST_OK)
		return st;
	v->memory_bytes = sizeof(struct qcow2);
	st = storage_gate_open(base, VOLUME_READ, name, &g, err);
	if (st != ST_OK)
		return st;
	range = (struct block_range){&g->device, 0, g->device.sectors};
	st = volume_part_init(&v->is.part, &range, base->volume.name, err);
	if (st == ST_OK)
		st = qcow2_open(v->memory, &v->is.part.device, name, err);
	storage_gate_release(g, &v->is.part);
	return st;
}

static enum status add_image(struct storage *s, struct storage_domain *d, struct storage_volume *base, const char *name,
			     struct error *err)
{
	struct storage_volume *v;
	enum status st = storage_volume_new(s, d, &v, err);

	if (st != ST_OK)
		return st;
	st = open_image(v, base, name, err);
	if (st != ST_OK) {
		storage_volume_discard(v);
		return st;
	}
	st = add_on(v, name, VOLUME_QCOW2, &((struct qcow2 *)v->memory)->device, base, VOLUME_READ, err);
	if (st == ST_OK)
		storage_domain_poll(v, true);
	return st;
}

enum status storage_add_qcow2(struct storage *s, const char *name, const char *base, const char *in, struct error *err)
{
	struct storage_volume *below;
	struct storage_domain *d = NULL;
	enum status st = storage_check_new(s, name, err);

	if (st == ST_OK)
		st = storage_volume_get(s, base, &below, err);
	if (st != ST_OK)
		return st;
	/* A user for as long as it takes: the gate's end would close a layer. */
	st = below->volume.kind == VOLUME_LAYER ?
		     fail(err, ST_UNSUPPORTED, "volume '%s' is a layer: an image is not read from one", base) :
		     image_domain(s, below, in, &d, err);
	if (st == ST_OK)
		st = add_image(s, d, below, name, err);
	if (st != ST_OK)
		storage_volume_unused(below);
	return st;
}

/* ---- disks ---- */

static enum status add_partition(struct storage_volume *disk, const struct partition *part, struct error *err)
{
	struct block_range range = {disk->volume.device, part->range.first, part->range.count};
	struct storage *s = disk->storage;
	char name[VOLUME_NAME_MAX];
	struct storage_volume *v;
	enum status st;

	format(name, sizeof name, "%.59s:%u", disk->volume.name, part->number);
	st = storage_check_new(s, name, err);
	if (st == ST_OK)
		st = storage_volume_new(s, disk->domain, &v, err);
	if (st != ST_OK)
		return st;
	st = volume_part_init(&v->is.part, &range, name, err);
	if (st != ST_OK) {
		storage_volume_discard(v);
		return st;
	}
	st = add_on(v, name, VOLUME_PARTITION, &v->is.part.device, disk, VOLUME_SHARE, err);
	if (st != ST_OK)
		return st;
	st = storage_open_pool(s, name, err);
	return st == ST_NOT_FOUND ? ST_OK : st; /* most are no pools */
}

static bool overlaps(const struct volume *disk, const struct partition *part, const struct volume **with)
{
	for (const struct volume *v = volume_next(disk->in, NULL); v; v = volume_next(disk->in, v)) {
		const struct block_range *r = &storage_volume_of((struct volume *)v)->is.part.range;

		if (v->kind != VOLUME_PARTITION || !volume_stands_on(v, disk) ||
		    r->first >= part->range.first + part->range.count || part->range.first >= r->first + r->count)
			continue;
		*with = v;
		return true;
	}
	return false;
}

/* What is wrong with a disk is told, and no more: others have theirs. */
static void read_table(struct storage_volume *disk, struct block_device *through, uint8_t *buffer)
{
	const struct volume *other;
	struct partition part = {.number = 0};
	struct error err;
	enum status st;

	while ((st = partition_next(through, buffer, part.number + 1, &part, &err)) == ST_OK) {
		if (overlaps(&disk->volume, &part, &other))
			log_warn("volume %s: its partition %u is left out: it overlaps %s", disk->volume.name, part.number,
				 other->name);
		else if (add_partition(disk, &part, &err) != ST_OK)
			log_warn("volume %s: partition %u: %s", disk->volume.name, part.number, err.text);
	}
	if (st != ST_NOT_FOUND)
		log_warn("volume %s: its partitions end here: %s", disk->volume.name, err.text);
}

static void add_partitions(struct storage_volume *disk)
{
	struct storage_gate *g;
	struct error err;
	void *buffer;

	if (storage_gate_open(disk, VOLUME_SHARE, "the partition table", &g, &err) != ST_OK) {
		log_warn("volume %s has no partitions: %s", disk->volume.name, err.text);
		return;
	}
	if (storage_take(disk->storage, BLOCK_SECTOR_MAX, disk->volume.name, &buffer, &err) == ST_OK) {
		read_table(disk, &g->device, buffer);
		storage_give(disk->storage, buffer, BLOCK_SECTOR_MAX);
	}
	storage_gate_release(g, NULL);
}

enum status storage_add_disk(struct storage *s, struct storage_domain *in, const char *name,
			     struct block_device *device, struct error *err)
{
	struct storage_volume *v;
	enum status st = storage_check_new(s, name, err);

	if (st == ST_OK)
		st = storage_volume_new(s, in, &v, err);
	if (st == ST_OK)
		st = storage_volume_add(v, name, VOLUME_DISK, device, err);
	if (st != ST_OK)
		return st;
	iosched_works_on(&in->sched, device->at_once);
	storage_domain_poll(v, true);
	add_partitions(v);
	return ST_OK;
}

/* ---- the rest ---- */

/* A pool goes with its volume when there is nothing in it to lose. */
static enum status close_empty_pool(struct storage *s, const char *name, struct error *err)
{
	struct layer_pool_stats stats;
	enum status st = storage_pool_stats(s, name, &stats, err);

	if (st == ST_OK && stats.layers > 0)
		return fail(err, ST_BUSY, "volume '%s' holds a pool with %u layer%s: delete %s first", name,
			    stats.layers, stats.layers == 1 ? "" : "s", stats.layers == 1 ? "it" : "them");
	return st == ST_OK ? storage_close_pool(s, name, err) : st;
}

enum status storage_remove(struct storage *s, const char *name, struct error *err)
{
	struct volume *v;
	enum status st = volume_find(&s->volumes, name, &v, err);

	if (st != ST_OK)
		return st;
	if (v->kind == VOLUME_DISK || v->kind == VOLUME_PARTITION)
		return fail(err, ST_DENIED, "volume '%s' is a %s of the machine: it stays", name, volume_kind_name(v->kind));
	if (v->kind == VOLUME_LAYER)
		return fail(err, ST_DENIED, "volume '%s' is a layer, which is deleted", name);
	if (storage_holds_pool(storage_volume_of(v)))
		st = close_empty_pool(s, name, err);
	if (st != ST_OK)
		return st;
	if (!list_empty(&v->users))
		return fail(err, ST_BUSY, "volume '%s' is in use by %s", name,
			    list_entry(v->users.next, struct volume_user, link)->who);
	storage_volume_drop(storage_volume_of(v));
	return ST_OK;
}

static enum status domain_named(struct storage *s, const char *volume, struct storage_domain **out, struct error *err)
{
	struct storage_pool *p;
	struct layer_info info;
	struct volume *v;
	enum status st = volume_find(&s->volumes, volume, &v, err);

	if (st == ST_OK) {
		*out = storage_volume_of(v)->domain;
		return ST_OK;
	}
	st = storage_layer_find(s, volume, &p, &info, err);
	if (st == ST_OK)
		*out = p->on->domain;
	return st;
}

enum status storage_get_settings(struct storage *s, const char *volume, struct iosched_settings *out, struct error *err)
{
	struct storage_domain *d;
	unsigned long state;
	enum status st = domain_named(s, volume, &d, err);

	if (st != ST_OK)
		return st;
	state = storage_domain_enter(d);
	*out = d->sched.settings;
	storage_domain_leave(d, state);
	return ST_OK;
}

enum status storage_set_settings(struct storage *s, const char *volume, const struct iosched_settings *set,
				 struct error *err)
{
	struct storage_domain *d;
	unsigned long masked;
	enum status st = domain_named(s, volume, &d, err);

	if (st != ST_OK)
		return st;
	masked = storage_mask(s);
	st = iosched_set(&d->sched, set, err);
	storage_unmask(s, masked);
	return st;
}

enum status storage_domain_of(struct storage *s, const char *name, unsigned *place, struct error *err)
{
	struct storage_domain *d;
	enum status st = domain_named(s, name, &d, err);

	for (unsigned i = 0; st == ST_OK && i < STORAGE_DOMAINS_MAX; i++)
		if (s->domains[i] == d)
			*place = i;
	return st;
}
