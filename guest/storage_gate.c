/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control task's synchronous way to a device that others use as well: the
 * writable store on a partition, the opening of a pool, the reading of a partition
 * table. The gate looks like the device to block_run(), and passes what it
 * is asked through the domain's scheduler, on a request of its own: the caller's lies on a
 * stack, and may not be touched any more once it is done.
 *
 * A pool that is opened may take up work that had been interrupted, by requests that come back
 * by a call: these are to be the domain's own, so they wait here until the gate is taken
 * away, and then go to the device.
 */
#include <string.h>

#include "guest/storage_internal.h"
#include "lib/assert.h"

static struct storage_gate *gate_of(struct block_device *device)
{
	return container_of(device, struct storage_gate, device);
}

/* On any CPU. From here on the request is the waiting task's. */
static void hand_back(struct storage_gate *g)
{
	struct block_request *r = g->of;

	r->status = g->own.status;
	g->of = NULL;
	__atomic_store_n(&r->done, true, __ATOMIC_RELEASE);
}

static void came_back(struct block_request *own)
{
	struct storage_gate *g = container_of(own, struct storage_gate, own);
	const struct host_ops *host = g->client->volume->storage->machine->host;

	hand_back(g);
	host->notify();
}

static void submit(struct block_device *device, struct block_request *r)
{
	struct storage_gate *g = gate_of(device);
	unsigned long masked;

	r->done = false;
	if (r->complete) {
		list_push_back(&g->deferred, &r->link);
		return;
	}
	ASSERT(!g->of);
	g->of = r;
	g->own = *r;
	g->own.complete = came_back;
	masked = storage_mask(g->client->volume->storage);
	if (storage_client_submit(g->client, &g->own))
		hand_back(g);
	storage_unmask(g->client->volume->storage, masked);
}

/* The worker does it as well; the task that waits need not wait for a turn of it. */
static bool poll(struct block_device *device)
{
	struct storage_gate *g = gate_of(device);
	unsigned long masked = storage_mask(g->client->volume->storage);
	bool moved = storage_domain_step(g->client->domain);

	storage_unmask(g->client->volume->storage, masked);
	return moved;
}

static const struct block_ops ops = {.submit = submit, .poll = poll};

enum status storage_gate_open(struct storage_volume *v, enum volume_mode mode, const char *who,
			      struct storage_gate **out, struct error *err)
{
	struct storage *s = v->storage;
	struct storage_gate *g;
	void *memory;
	enum status st = storage_take(s, sizeof *g, v->volume.name, &memory, err);

	if (st != ST_OK)
		return st;
	g = memory;
	st = storage_client_open(v, mode, who, 1, &g->client, err);
	if (st != ST_OK) {
		storage_give(s, g, sizeof *g);
		return st;
	}
	list_init(&g->deferred);
	g->device = g->client->shown;
	g->device.ops = &ops;
	*out = g;
	return ST_OK;
}

/* The lock is held, and nothing is inside a submit() of the device. */
static void hand_over(struct storage_gate *g)
{
	struct block_device *device = g->client->volume->volume.device;

	while (!list_empty(&g->deferred)) {
		struct block_request *r = list_entry(g->deferred.next, struct block_request, link);

		list_remove(&r->link);
		device->ops->submit(device, r);
		if (r->done)
			r->complete(r);
	}
}

void storage_gate_release(struct storage_gate *g, struct volume_part *part)
{
	struct storage_volume *v = g->client->volume;
	struct storage_domain *d = v->domain;
	unsigned long state = storage_domain_enter(d);

	if (part)
		part->range.device = v->volume.device;
	hand_over(g);
	storage_domain_leave(d, state);
	ASSERT(!g->of);
	storage_client_close(g->client);
	storage_give(v->storage, g, sizeof *g);
}

static bool has_some_of(const struct volume *v, const struct volume *disk, uint64_t first, uint64_t count)
{
	const struct volume_part *p = &storage_volume_of((struct volume *)v)->is.part;

	return v->kind == VOLUME_PARTITION && volume_stands_on(v, disk) && p->range.first < first + count &&
	       first < p->range.first + p->range.count;
}

/* Opened for writing by @who, they are nobody else's. */
static enum status take_partitions(struct storage *s, struct volume *disk, uint64_t first, uint64_t count, const char *who,
				   struct error *err)
{
	for (struct volume *v = volume_next(&s->volumes, NULL); v; v = volume_next(&s->volumes, v)) {
		struct storage_client *c;
		enum status st;

		if (!has_some_of(v, disk, first, count))
			continue;
		st = storage_client_open(storage_volume_of(v), VOLUME_WRITE, who, 1, &c, err);
		if (st != ST_OK)
			return st;
	}
	return ST_OK;
}

enum status storage_host_range(struct storage *s, const char *volume, uint64_t first, uint64_t count, const char *who,
			       struct block_device **out, struct error *err)
{
	struct storage_gate *g;
	struct volume *v;
	enum status st = volume_find(&s->volumes, volume, &v, err);

	if (st == ST_OK)
		st = take_partitions(s, v, first, count, who, err);
	if (st == ST_OK)
		st = storage_gate_open(storage_volume_of(v), VOLUME_SHARE, who, &g, err);
	if (st == ST_OK)
		*out = &g->device;
	return st;
}
