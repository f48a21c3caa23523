/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disks of VMs: a client for each, which a virtio-blk device submits to. A VM
 * that a full volume has paused goes on by itself when its pool has gained space.
 */
#include <string.h>

#include "guest/platform.h"
#include "guest/storage_internal.h"
#include "guest/vm_internal.h"
#include "lib/format.h"
#include "lib/log.h"

#define SPACE_ROOM 16u /* clusters, or blocks of metadata, with which it is worth trying once */

static bool submit(void *ctx, struct block_request *r) { return storage_client_submit(ctx, r); }

static bool cancel(void *ctx, struct block_request *r)
{
	struct storage_client *c = ctx;

	return iosched_cancel(&c->io, r);
}

static const struct virtio_blk_backend_ops backend = {.submit = submit, .cancel = cancel};

static enum status open_disk(void *ctx, struct vm *vm, const struct vm_disk *disk, struct vm_disk_source *out,
			     struct error *err)
{
	struct storage *s = ctx;
	struct storage_volume *v;
	struct storage_client *c;
	char who[STORAGE_WHO_MAX];
	enum status st = storage_volume_get(s, disk->volume, &v, err);

	if (st != ST_OK)
		return st;
	format(who, sizeof who, "VM %s", vm->config.name);
	st = storage_client_open(v, disk->read_only ? VOLUME_READ : VOLUME_WRITE, who, VM_DISK_REQUESTS, &c, err);
	if (st != ST_OK) {
		storage_volume_unused(v);
		return st;
	}
	storage_client_serve(c, vm, (unsigned)(disk - vm->config.disks));
	*out = (struct vm_disk_source){&backend, c, &c->shown, c};
	return ST_OK;
}

static void close_disk(void *ctx, struct vm_disk_source *source)
{
	(void)ctx;
	storage_client_close(source->handle);
}

static void disk_figures(void *ctx, struct vm_disk_source *source, struct iosched_figures *out)
{
	const struct storage_client *c = source->handle;

	if (storage_disk_figures(ctx, c->vm, c->disk, out) != ST_OK)
		*out = (struct iosched_figures){.waiting = 0};
}

/* Changed numbers are seen by storage_step(). */
const struct vm_disk_ops storage_disk_ops = {.open = open_disk, .close = close_disk, .figures = disk_figures};

/* ---- space ---- */

/*
 * Whether it is worth trying again. What had been freed before the VM was seen paused counts once; after that only what
 * comes.
 */
static bool has_space(struct storage_client *c, const struct layer_pool_stats *now)
{
	uint64_t space = now->clusters_free + now->meta_blocks_free, then = c->space_then;

	c->space_then = space;
	if (c->starved)
		return space > then;
	c->starved = true;
	return now->clusters_free >= SPACE_ROOM && now->meta_blocks_free >= SPACE_ROOM;
}

static void resume(struct vm *vm, const char *volume)
{
	struct error err;

	if (vm_resume(vm, &err) == ST_OK)
		log_info("VM %s goes on: volume %s has space again", vm->config.name, volume);
	else
		log_error("VM %s stays paused though volume %s has space again: %s", vm->config.name, volume, err.text);
}

static void look_at(struct storage_client *c)
{
	struct layer_pool_stats stats;
	unsigned long state;

	if (!c->vm || !c->vm->paused_full || c->vm->state != VM_PAUSED || !c->volume->layer)
		return;
	state = storage_domain_enter(c->domain);
	layer_pool_stats(c->volume->pool->pool, &stats);
	storage_domain_leave(c->domain, state);
	if (has_space(c, &stats))
		resume(c->vm, c->volume->volume.name);
}

void storage_resume_starved(struct storage *s)
{
	for (unsigned i = 0; i < STORAGE_DOMAINS_MAX; i++) {
		if (!s->domains[i])
			continue;
		list_for_each(it, &s->domains[i]->pools.members)
			look_at(storage_client_of(it));
	}
}

/* ---- size ---- */

void storage_volume_resized(struct storage_volume *v)
{
	list_for_each(it, &v->domain->pools.members) {
		struct storage_client *c = storage_client_of(it);
		struct virtio_blk *blk;
		unsigned long masked;

		if (c->volume != v)
			continue;
		masked = storage_mask(v->storage);
		c->shown.sectors = v->volume.device->sectors;
		blk = c->vm && platform_virtio(c->vm) ? vm_virtio_disk(platform_virtio(c->vm), c->disk) : NULL;
		if (blk)
			virtio_blk_resized(blk);
		storage_unmask(v->storage, masked);
	}
}
