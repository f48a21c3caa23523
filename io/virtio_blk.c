/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device (virtio 1.2 section 5.2): features, configuration space, its
 * queues. Several queues share the requests and the room of the device; one that
 * found none is gone on with when some is free again. Geometry, SIZE_MAX and secure
 * erase are not offered: their fields are there and read 0.
 */
#include "io/virtio_blk_internal.h"

#include <string.h>

#include "lib/assert.h"

/* Bounds of one segment of a discard and of a write-zeroes, in sectors of 512 bytes: 1 GiB, 32 MiB. */
#define DISCARD_SECTORS_MAX (1u << 21)
#define ZERO_SECTORS_MAX (1u << 16)

bool blk_writethrough(const struct virtio_blk *b)
{
	if (virtio_has(&b->device, VIRTIO_BLK_F_CONFIG_WCE))
		return b->config[VIRTIO_BLK_CFG_WRITEBACK] == 0;
	return !virtio_has(&b->device, VIRTIO_BLK_F_FLUSH);
}

/* ---- work ---- */

void blk_tell_now(struct virtio_blk *b, unsigned index)
{
	if (!b->state[index].notify)
		return;
	b->state[index].notify = false;
	b->figures.kicks_held += !virtio_notify_after(&b->device, index, b->state[index].gap);
}

/* Takes the queue's next chain: a request that is ready and in no list. NULL: return *@why. */
static struct blk_request *next_chain(struct virtio_blk *b, struct virtq *ring, unsigned index, unsigned *budget,
				      enum virtio_progress *why)
{
	struct virtq_chain c;
	struct blk_request *r;

	*why = VIRTIO_IDLE;
	if (unlikely(b->starved != 0))
		b->starved &= (uint32_t)~BIT(index);
	if (virtq_is_empty(ring))
		return NULL;
	*why = VIRTIO_BLOCKED;
	if (list_empty(&b->free)) {
		b->starved |= (uint32_t)BIT(index);
		return NULL;
	}
	c.buffers = b->scratch;
	c.room = VIRTIO_BLK_QUEUE_SIZE;
	switch (virtq_pop(ring, &c)) {
	case VIRTQ_CHAIN:
		break;
	case VIRTQ_LATER:
		return NULL;
	default:
		*why = VIRTIO_IDLE;
		return NULL;
	}
	*budget -= BLK_POP_COST + BLK_BUFFER_COST * ((uint32_t)c.readable + c.writable);
	if (c.writable == 0) {
		virtq_drop(ring, c.head);
		virtio_break(&b->device, "a block request without a status byte");
		return NULL;
	}
	r = blk_take(b, index, &c);
	if (!r) {
		virtq_unpop(ring, &c);
		b->starved |= (uint32_t)BIT(index);
	}
	return r;
}

static enum virtio_progress go_on(struct virtio_blk *b, unsigned index, unsigned *budget)
{
	struct virtq *ring = &b->queues[index].ring;
	struct list *ready = &b->state[index].ready;
	enum virtio_progress why;

	while (virtio_running(&b->device)) {
		struct blk_request *r;

		if (!list_empty(ready)) {
			r = list_entry(ready->next, struct blk_request, link);
			list_remove(&r->link);
		} else if (*budget < BLK_POP_MAX) {
			return VIRTIO_MORE;
		} else {
			r = next_chain(b, ring, index, budget, &why);
			if (!r)
				return why;
		}
		if (blk_advance(r, budget))
			return VIRTIO_MORE;
	}
	return VIRTIO_BLOCKED;
}

static enum virtio_progress work(struct virtio_device *d, unsigned index, unsigned *budget)
{
	struct virtio_blk *b = blk_of(d);
	enum virtio_progress progress;

	b->working = true;
	progress = go_on(b, index, budget);
	b->working = false;
	blk_tell_now(b, index);
	if (b->taken || __atomic_load_n(&b->done, __ATOMIC_RELAXED))
		blk_collect(d);
	return progress;
}

static void stop(struct virtio_device *d, unsigned index)
{
	struct virtio_blk *b = blk_of(d);

	for (unsigned i = 0; i < b->cfg.requests; i++)
		if (b->requests[i].place != BLK_FREE && b->requests[i].queue == index)
			blk_abandon(&b->requests[i]);
	b->state[index].notify = false;
	b->starved &= (uint32_t)~BIT(index);
}

/* ---- configuration ---- */

static bool features_ok(struct virtio_device *d, uint64_t accepted)
{
	/* 5.2.5.2: a driver that cannot flush has no use for a cache. */
	blk_of(d)->config[VIRTIO_BLK_CFG_WRITEBACK] = (accepted & VIRTIO_BLK_F_FLUSH) != 0;
	return true;
}

static void config_write(struct virtio_device *d, uint32_t offset, unsigned bytes, uint64_t value)
{
	if (offset == VIRTIO_BLK_CFG_WRITEBACK && bytes == 1 && virtio_has(d, VIRTIO_BLK_F_CONFIG_WCE) &&
	    (d->status & VIRTIO_STATUS_FEATURES_OK))
		blk_of(d)->config[VIRTIO_BLK_CFG_WRITEBACK] = (value & 0xff) != 0;
}

static void reset(struct virtio_device *d) { blk_of(d)->config[VIRTIO_BLK_CFG_WRITEBACK] = 1; }

static void set_capacity(struct virtio_blk *b)
{
	const struct block_device *disk = b->cfg.disk;

	put_le64(b->config + VIRTIO_BLK_CFG_CAPACITY, disk->sectors * (disk->sector_bytes / VIRTIO_BLK_SECTOR));
}

/* Of a discard or write-zeroes, in sectors of 512 bytes: ours or the disk's bound. */
static uint32_t clear_max(const struct block_device *disk, uint32_t ours)
{
	uint64_t scale = disk->sector_bytes / VIRTIO_BLK_SECTOR;

	return disk->max_clear == 0 ? ours : (uint32_t)MIN(ours, disk->max_clear * scale);
}

static void set_config(struct virtio_blk *b)
{
	const struct block_device *disk = b->cfg.disk;
	uint32_t scale = disk->sector_bytes / VIRTIO_BLK_SECTOR;
	uint32_t block = MAX(disk->block_bytes, disk->sector_bytes) / disk->sector_bytes;
	uint8_t *c = b->config;

	set_capacity(b);
	put_le32(c + VIRTIO_BLK_CFG_SEG_MAX, VIRTIO_BLK_SEGMENTS);
	put_le32(c + VIRTIO_BLK_CFG_BLK_SIZE, disk->sector_bytes);
	c[VIRTIO_BLK_CFG_PHYSICAL_BLOCK_EXP] = (uint8_t)bit_highest(block);
	put_le16(c + VIRTIO_BLK_CFG_MIN_IO_SIZE, (uint16_t)block);
	c[VIRTIO_BLK_CFG_WRITEBACK] = 1;
	put_le16(c + VIRTIO_BLK_CFG_NUM_QUEUES, (uint16_t)b->cfg.queues);
	if (disk->discard) {
		put_le32(c + VIRTIO_BLK_CFG_MAX_DISCARD_SECTORS, clear_max(disk, DISCARD_SECTORS_MAX));
		put_le32(c + VIRTIO_BLK_CFG_MAX_DISCARD_SEG, VIRTIO_BLK_RANGES);
		put_le32(c + VIRTIO_BLK_CFG_DISCARD_SECTOR_ALIGNMENT, MAX(disk->discard_sectors, 1) * scale);
	}
	if (disk->write_zeroes) {
		put_le32(c + VIRTIO_BLK_CFG_MAX_WRITE_ZEROES_SECTORS, clear_max(disk, ZERO_SECTORS_MAX));
		put_le32(c + VIRTIO_BLK_CFG_MAX_WRITE_ZEROES_SEG, VIRTIO_BLK_RANGES);
		c[VIRTIO_BLK_CFG_WRITE_ZEROES_MAY_UNMAP] = disk->discard;
	}
}

static uint64_t features(const struct virtio_blk *b)
{
	const struct block_device *disk = b->cfg.disk;

	return VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_TOPOLOGY |
	       VIRTIO_BLK_F_CONFIG_WCE | (b->cfg.queues > 1 ? VIRTIO_BLK_F_MQ : 0) |
	       (disk->read_only ? VIRTIO_BLK_F_RO : 0) | (disk->discard ? VIRTIO_BLK_F_DISCARD : 0) |
	       (disk->write_zeroes ? VIRTIO_BLK_F_WRITE_ZEROES : 0);
}

static const struct virtio_device_ops blk_ops = {.features_ok = features_ok,
						 .config_write = config_write,
						 .work = work,
						 .stop = stop,
						 .collect = blk_collect,
						 .reset = reset};

/* ---- making it ---- */

static size_t requests_at(void) { return align_up(sizeof(struct virtio_blk), CACHE_LINE); }
static size_t rooms_at(const struct virtio_blk_config *cfg)
{
	return requests_at() + align_up(sizeof(struct blk_request) * cfg->requests, CACHE_LINE);
}

size_t virtio_blk_bytes(const struct virtio_blk_config *cfg)
{
	return rooms_at(cfg) + align_up(sizeof(struct blk_room) * cfg->large, CACHE_LINE);
}

static enum status check_config(const struct virtio_blk_config *cfg, struct error *err)
{
	const struct block_device *disk = cfg->disk;

	if (cfg->queues < 1 || cfg->queues > VIRTIO_BLK_QUEUES_MAX)
		return fail(err, ST_INVALID, "%u queues for %s: 1 to %u", cfg->queues, disk->name, VIRTIO_BLK_QUEUES_MAX);
	if (cfg->coalesce.policy != COALESCE_OFF && !cfg->clock)
		return fail(err, ST_INVALID, "%s: interrupts are to be held back, and there is no clock", disk->name);
	if (cfg->requests < 1 || cfg->large < 1)
		return fail(err, ST_INVALID, "%s needs room for at least one request, and one large one", disk->name);
	if (disk->sector_bytes < BLOCK_SECTOR_MIN || disk->sector_bytes > BLOCK_SECTOR_MAX)
		return fail(err, ST_INVALID, "%s has sectors of %u bytes: %u to %u", disk->name, disk->sector_bytes,
			    BLOCK_SECTOR_MIN, BLOCK_SECTOR_MAX);
	return ST_OK;
}

enum status virtio_blk_init(void *memory, const struct virtio_blk_config *cfg, struct virtio_blk **out,
			    struct error *err)
{
	struct virtio_blk *b = memory;
	struct blk_room *rooms = (struct blk_room *)((uint8_t *)memory + rooms_at(cfg));
	enum status st = check_config(cfg, err);

	if (st != ST_OK)
		return st;
	memset(memory, 0, virtio_blk_bytes(cfg));
	b->cfg = *cfg;
	b->requests = (struct blk_request *)((uint8_t *)memory + requests_at());
	list_init(&b->free);
	list_init(&b->rooms);
	list_init(&b->no_space);
	b->taken_end = &b->taken;
	for (unsigned i = 0; i < cfg->requests; i++) {
		b->requests[i].blk = b;
		list_push_back(&b->free, &b->requests[i].link);
	}
	for (unsigned i = 0; i < cfg->large; i++)
		list_push_back(&b->rooms, &rooms[i].link);
	for (unsigned i = 0; i < cfg->queues; i++) {
		list_init(&b->state[i].ready);
		coalesce_init(&b->state[i].coalesce);
		b->queues[i].ring.size_max = VIRTIO_BLK_QUEUE_SIZE;
	}
	set_config(b);
	b->device = (struct virtio_device){
		.ops = &blk_ops, .id = VIRTIO_ID_BLOCK, .mem = cfg->mem, .offered = features(b),
		.queues = b->queues, .queue_count = cfg->queues, .config = b->config, .config_bytes = VIRTIO_BLK_CFG_BYTES};
	virtio_init(&b->device);
	*out = b;
	return ST_OK;
}

struct virtio_device *virtio_blk_device(struct virtio_blk *b) { return &b->device; }

void virtio_blk_resized(struct virtio_blk *b)
{
	lock_acquire(&b->device.lock);
	set_capacity(b);
	virtio_config_changed(&b->device);
	lock_release(&b->device.lock);
}

/* What the old settings held back is told: the new ones owe nothing. */
void virtio_blk_set_coalesce(struct virtio_blk *b, const struct coalesce_settings *set)
{
	lock_acquire(&b->device.lock);
	b->cfg.coalesce = *set;
	if (!b->cfg.clock)
		b->cfg.coalesce.policy = COALESCE_OFF;
	if (virtio_running(&b->device))
		for (unsigned i = 0; i < b->cfg.queues; i++)
			blk_tell(b, i, 0);
	lock_release(&b->device.lock);
}

void virtio_blk_retry(struct virtio_blk *b)
{
	lock_acquire(&b->device.lock);
	b->figures.waiting_for_space = 0;
	list_for_each_safe(it, &b->no_space) {
		struct blk_request *r = list_entry(it, struct blk_request, link);

		list_remove(it);
		b->state[r->queue].idle--;
		blk_ready(r);
		virtio_resume(&b->device, r->queue);
	}
	lock_release(&b->device.lock);
}

void virtio_blk_figures(struct virtio_blk *b, struct virtio_blk_figures *out)
{
	lock_acquire(&b->device.lock);
	*out = b->figures;
	out->interrupts = b->device.interrupts;
	lock_release(&b->device.lock);
}
