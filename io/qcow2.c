/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A read of an image: the entry of the first table, that of the second, the data.
 * What lies in one cluster, with both entries in memory, is passed on to the file
 * with another address; all else gets a job, which begins its piece anew after each
 * block of a table that had to be read.
 */
#include "io/qcow2.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/checked.h"
#include "lib/format.h"
#include "lib/log.h"

#define SECTOR 512u
#define REQUEST_BYTES_MAX (1u << 20)

/* Header, big-endian. */
#define MAGIC 0x514649fbu
enum {
	H_MAGIC = 0, H_VERSION = 4, H_BACKING_AT = 8, H_BACKING_BYTES = 16, H_CLUSTER_BITS = 20, H_SIZE = 24, H_CRYPT = 32,
	H_L1_ENTRIES = 36, H_L1_AT = 40, H_V2_BYTES = 72, H_INCOMPATIBLE = 72, H_BYTES = 100, H_COMPRESSION = 104,
	H_V3_BYTES = 104
};
#define CLUSTER_BITS_MIN 9u
#define CLUSTER_BITS_MAX 21u
#define BACKING_MAX 1023u
#define SIZE_MAX_BYTES (1ull << 56)
/* Incompatible features. Dirty reference counts are none of a reader's business. */
#define FEATURE_DIRTY BIT(0)
#define FEATURE_CORRUPT BIT(1)
#define FEATURE_EXTERNAL_DATA BIT(2)
#define FEATURE_COMPRESSION BIT(3)
#define FEATURE_EXTENDED_L2 BIT(4)

/* Entries. */
#define ENTRY_OFFSET MASK(55, 9)
#define ENTRY_COPIED BIT(63)
#define L2_COMPRESSED BIT(62)
#define L2_ZERO BIT(0) /* version 3 */

enum turn { GO, WAIT, END };

static uint64_t cluster_bytes(const struct qcow2 *q) { return BIT(q->cluster_bits); }

/* ---- entries ---- */

/* What is wrong with an entry, NULL: nothing. */
static const char *entry_fault(const struct qcow2 *q, uint64_t e, uint64_t flags)
{
	uint64_t at = e & ENTRY_OFFSET;

	if (e & ~(ENTRY_OFFSET | ENTRY_COPIED | flags))
		return "an entry has reserved bits set";
	if (at & (cluster_bytes(q) - 1))
		return "an entry points into the middle of a cluster";
	if (at && at >= q->file_bytes)
		return "an entry points behind the file's end";
	return NULL;
}

static struct qcow2_block *place_of(struct qcow2 *q, uint64_t number)
{
	/* Tables are walked in order: neighbours go to neighbours. */
	return &q->blocks[number % QCOW2_BLOCKS];
}

/* The entry at byte @at of the file, when its block is in memory. */
static bool peek(struct qcow2 *q, uint64_t at, uint64_t *out)
{
	const struct qcow2_block *b = place_of(q, at / QCOW2_BLOCK_BYTES);

	if (b->loading || b->number != at / QCOW2_BLOCK_BYTES + 1)
		return false;
	*out = get_be64(b->bytes + at % QCOW2_BLOCK_BYTES);
	return true;
}

static uint64_t l1_place(const struct qcow2 *q, uint64_t at)
{
	return q->l1_at + (at >> (2 * q->cluster_bits - 3)) * 8;
}

static uint64_t l2_place(const struct qcow2 *q, uint64_t l2, uint64_t at)
{
	return l2 + (at >> q->cluster_bits & (cluster_bytes(q) / 8 - 1)) * 8;
}

/* Where the cluster with byte @at is; 0: it reads as zeroes. False: not in memory, or not to be had: a job finds out. */
static bool find_quickly(struct qcow2 *q, uint64_t at, uint64_t *out)
{
	uint64_t e;

	if (!peek(q, l1_place(q, at), &e) || entry_fault(q, e, 0))
		return false;
	if (e & ENTRY_OFFSET) {
		if (!peek(q, l2_place(q, e & ENTRY_OFFSET, at), &e) || e & (L2_COMPRESSED | L2_ZERO) || entry_fault(q, e, 0))
			return false;
	}
	*out = e & ENTRY_OFFSET;
	return true;
}

/* ---- jobs ---- */

static void kick(struct qcow2 *q);
static void run_job(struct qcow2_job *j);

static void end_job(struct qcow2_job *j, enum status st)
{
	struct block_request *r = j->request;

	j->request = NULL;
	j->q->again = true;
	r->status = st;
	r->done = true;
	if (r != j->q->submitting && r->complete)
		r->complete(r);
}

static enum turn fault(struct qcow2_job *j, enum status st, const char *why)
{
	block_end(j->request, st, "%s: byte %llu: %s", j->q->device.name, (unsigned long long)j->at, why);
	j->request->done = false;
	end_job(j, st);
	return END;
}

static void io_complete(struct block_request *r)
{
	struct qcow2_job *j = container_of(r, struct qcow2_job, io);

	j->busy = false;
	run_job(j);
	kick(j->q);
}

/* Reads @bytes of the file from @at; to @to, or to the request's memory when that is NULL. */
static enum turn job_io(struct qcow2_job *j, uint64_t at, uint64_t bytes, void *to)
{
	struct block_device *d = j->q->base;
	struct segment_cursor c = j->memory;

	while (!to && c.left > 1 && c.skip == c.segment->bytes)
		c = (struct segment_cursor){c.segment + 1, c.left - 1, 0};
	j->segment = (struct io_segment){to, (uint32_t)bytes};
	j->io = (struct block_request){.op = BLOCK_READ, .lba = at / SECTOR, .count = bytes / SECTOR,
				       .segments = to ? &j->segment : c.segment, .segment_count = to ? 1 : c.left,
				       .skip = to ? 0 : c.skip, .complete = io_complete, .error = j->request->error};
	j->busy = true;
	d->ops->submit(d, &j->io);
	if (!j->io.done)
		return WAIT;
	j->busy = false;
	return GO;
}

/* The entry at byte @at; its block is read if need be. */
static enum turn get_entry(struct qcow2_job *j, uint64_t at, uint64_t *out)
{
	struct qcow2 *q = j->q;
	uint64_t number = at / QCOW2_BLOCK_BYTES, first = number * QCOW2_BLOCK_BYTES;
	struct qcow2_block *b = place_of(q, number);
	uint64_t there = MIN(q->file_bytes - first, (uint64_t)QCOW2_BLOCK_BYTES);

	if (peek(q, at, out))
		return GO;
	if (b->loading)
		return WAIT;
	b->loading = true;
	b->number = number + 1;
	j->loading = b;
	memset(b->bytes + there, 0, QCOW2_BLOCK_BYTES - there);
	if (job_io(j, first, there, b->bytes) == WAIT)
		return WAIT;
	b->loading = false;
	j->loading = NULL;
	if (j->io.status != ST_OK)
		b->number = 0;
	if (j->io.status != ST_OK) {
		end_job(j, j->io.status);
		return END;
	}
	*out = get_be64(b->bytes + at % QCOW2_BLOCK_BYTES);
	return GO;
}

static enum turn find_table(struct qcow2_job *j)
{
	struct qcow2 *q = j->q;
	uint64_t e;
	enum turn t = j->has_table ? GO : get_entry(j, l1_place(q, j->at), &e);
	const char *why;

	if (t != GO || j->has_table)
		return t;
	why = entry_fault(q, e, 0);
	if (!why && !range_fits(e & ENTRY_OFFSET, cluster_bytes(q), q->file_bytes))
		why = "a table ends behind the file's end";
	if (why)
		return fault(j, ST_CORRUPT, why);
	j->table = e & ENTRY_OFFSET;
	j->has_table = true;
	return GO;
}

static enum turn find_cluster(struct qcow2_job *j, uint64_t *out)
{
	struct qcow2 *q = j->q;
	uint64_t e, zero = q->version >= 3 ? L2_ZERO : 0;
	enum turn t = find_table(j);
	const char *why;

	*out = 0;
	if (t != GO || !j->table)
		return t;
	t = get_entry(j, l2_place(q, j->table, j->at), &e);
	if (t != GO)
		return t;
	if (e & L2_COMPRESSED)
		return fault(j, ST_UNSUPPORTED, "the cluster is compressed; qemu-img convert makes an image without that");
	why = entry_fault(q, e, zero);
	if (why)
		return fault(j, ST_CORRUPT, why);
	*out = e & zero ? 0 : e & ENTRY_OFFSET;
	return GO;
}

static void advance(struct qcow2_job *j)
{
	segment_advance(&j->memory, j->piece);
	j->at += j->piece;
	j->left -= j->piece;
	j->moving = j->has_table = false;
}

static enum turn step(struct qcow2_job *j)
{
	struct qcow2 *q = j->q;
	struct segment_cursor c;
	uint64_t cluster, at, there;
	enum turn t;

	if (j->loading) {
		j->loading->loading = false;
		if (j->io.status != ST_OK)
			j->loading->number = 0;
		j->loading = NULL;
		q->again = true;
	}
	if (j->io.done && j->io.status != ST_OK) {
		end_job(j, j->io.status);
		return END;
	}
	if (j->moving)
		advance(j);
	if (j->left == 0) {
		end_job(j, ST_OK);
		return END;
	}
	t = find_cluster(j, &cluster);
	if (t != GO)
		return t;
	j->piece = MIN(j->left, cluster_bytes(q) - (j->at & (cluster_bytes(q) - 1)));
	j->piece = MIN(j->piece, (uint64_t)q->base->max_count * SECTOR);
	at = cluster + (j->at & (cluster_bytes(q) - 1));
	j->moving = true;
	/* A file may end within its last cluster: zeroes are behind. */
	there = cluster && at < q->file_bytes ? MIN(j->piece, q->file_bytes - at) : 0;
	if (there > 0) {
		j->piece = there;
		return job_io(j, at, there, NULL);
	}
	c = j->memory;
	segment_clear(&c, j->piece);
	j->io.done = false;
	return GO;
}

static void run_job(struct qcow2_job *j)
{
	enum turn t = GO;

	while (!j->busy && t == GO)
		t = step(j);
}

static struct qcow2_job *free_job(struct qcow2 *q)
{
	for (unsigned i = 0; i < QCOW2_JOBS; i++)
		if (!q->jobs[i].request)
			return &q->jobs[i];
	return NULL;
}

static void begin(struct qcow2 *q, struct block_request *r)
{
	struct qcow2_job *j = free_job(q);

	*j = (struct qcow2_job){.q = q, .request = r, .memory = block_begin(r), .at = r->lba * SECTOR,
				.left = r->count * SECTOR};
	run_job(j);
}

static void kick(struct qcow2 *q)
{
	q->again = true;
	if (q->kicking)
		return;
	q->kicking = true;
	while (q->again) {
		q->again = false;
		for (unsigned i = 0; i < QCOW2_JOBS; i++)
			if (q->jobs[i].request && !q->jobs[i].busy)
				run_job(&q->jobs[i]);
		if (!list_empty(&q->waiting) && free_job(q)) {
			struct block_request *r = list_entry(q->waiting.next, struct block_request, link);

			list_remove(&r->link);
			begin(q, r);
			q->again = true;
		}
	}
	q->kicking = false;
}

/* ---- block_ops ---- */

static bool pass_on(struct qcow2 *q, struct block_request *r)
{
	uint64_t at = r->lba * SECTOR, bytes = r->count * SECTOR, offset = at & (cluster_bytes(q) - 1), cluster;

	if (offset + bytes > cluster_bytes(q) || r->count > q->base->max_count || !find_quickly(q, at, &cluster) || !cluster ||
	    !range_fits(cluster + offset, bytes, q->file_bytes))
		return false;
	r->lba = (cluster + offset) / SECTOR;
	q->base->ops->submit(q->base, r);
	return true;
}

static void submit(struct block_device *device, struct block_request *r)
{
	struct qcow2 *q = container_of(device, struct qcow2, device);
	struct block_request *outer = q->submitting;

	r->done = false;
	if (r->op != BLOCK_READ) {
		block_end(r, r->op == BLOCK_FLUSH ? ST_OK : ST_DENIED, "%s is read-only", device->name);
		return;
	}
	if (pass_on(q, r))
		return;
	q->submitting = r;
	if (list_empty(&q->waiting) && free_job(q))
		begin(q, r);
	else
		list_push_back(&q->waiting, &r->link);
	q->submitting = outer;
}

static bool poll(struct block_device *device)
{
	struct qcow2 *q = container_of(device, struct qcow2, device);
	bool moved = q->base->ops->poll(q->base) || q->again;

	if (q->again)
		kick(q);
	return moved;
}

static const struct block_ops ops = {.submit = submit, .poll = poll};

/* ---- opening ---- */

/* The backing file's name goes into the sentence. */
static enum status refuse_backing(struct qcow2 *q, uint64_t at, uint32_t len, struct error *err)
{
	struct block_range all = {q->base, 0, q->base->sectors};
	uint8_t sector[SECTOR];
	char clean[128];

	if (len > BACKING_MAX || !range_fits(at, len, q->file_bytes))
		return fail(err, ST_CORRUPT, "%s: the backing file's name is not inside the file", q->device.name);
	len = (uint32_t)MIN(len, SECTOR - at % SECTOR);
	if (block_run(&all, BLOCK_READ, at / SECTOR, 1, sector, err) != ST_OK)
		return ST_IO;
	return fail(err, ST_UNSUPPORTED, "%s: it has a backing file, '%s'; qemu-img convert makes one image of the two",
		    q->device.name, log_clean(clean, sizeof clean, (const char *)sector + at % SECTOR, len));
}

static enum status check_features(const struct qcow2 *q, const uint8_t *h, struct error *err)
{
	uint64_t features = get_be64(h + H_INCOMPATIBLE), len = get_be32(h + H_BYTES);
	const char *name = q->device.name;

	if (features & FEATURE_CORRUPT)
		return fail(err, ST_CORRUPT, "%s: the image is marked corrupt; qemu-img check -r all mends it", name);
	if (features & FEATURE_EXTERNAL_DATA)
		return fail(err, ST_UNSUPPORTED, "%s: its data is in another file", name);
	if (features & FEATURE_EXTENDED_L2)
		return fail(err, ST_UNSUPPORTED, "%s: it has extended entries (subclusters)", name);
	if (features & ~(FEATURE_DIRTY | FEATURE_COMPRESSION))
		return fail(err, ST_UNSUPPORTED, "%s: it needs features that are not known here: 0x%llx", name,
			    (unsigned long long)features);
	if (len < H_V3_BYTES || len % 8 || len > cluster_bytes(q))
		return fail(err, ST_CORRUPT, "%s: a header of %llu bytes", name, (unsigned long long)len);
	return ST_OK;
}

/* The size of the image and its first table. */
static enum status check_tables(struct qcow2 *q, const uint8_t *h, struct error *err)
{
	uint64_t bytes = get_be64(h + H_SIZE), l1_at = get_be64(h + H_L1_AT);
	uint32_t entries = get_be32(h + H_L1_ENTRIES);
	unsigned reach = 2 * q->cluster_bits - 3; /* one entry's, in bits */

	if (bytes == 0 || bytes > SIZE_MAX_BYTES || bytes % SECTOR)
		return fail(err, ST_CORRUPT, "%s: an image of %llu bytes", q->device.name, (unsigned long long)bytes);
	if (((bytes - 1) >> reach) + 1 > entries)
		return fail(err, ST_CORRUPT, "%s: the first table has %u entries, too few for %llu bytes", q->device.name,
			    entries, (unsigned long long)bytes);
	if (l1_at == 0 || l1_at & (cluster_bytes(q) - 1) || !range_fits(l1_at, (uint64_t)entries * 8, q->file_bytes))
		return fail(err, ST_CORRUPT, "%s: the first table is not inside the file", q->device.name);
	q->bytes = bytes;
	q->l1_at = l1_at;
	q->l1_entries = entries;
	return ST_OK;
}

static enum status take_header(struct qcow2 *q, const uint8_t *h, struct error *err)
{
	const char *name = q->device.name;
	uint32_t bits = get_be32(h + H_CLUSTER_BITS);
	enum status st = ST_OK;

	if (get_be32(h + H_MAGIC) != MAGIC)
		return fail(err, ST_NOT_FOUND, "%s is no qcow2 image", name);
	q->version = get_be32(h + H_VERSION);
	if (q->version != 2 && q->version != 3)
		return fail(err, ST_UNSUPPORTED, "%s: version %u of the format", name, q->version);
	if (bits < CLUSTER_BITS_MIN || bits > CLUSTER_BITS_MAX)
		return fail(err, ST_CORRUPT, "%s: clusters of 2 to the %u bytes", name, bits);
	q->cluster_bits = bits;
	if (get_be32(h + H_CRYPT) != 0)
		return fail(err, ST_UNSUPPORTED, "%s: it is encrypted", name);
	if (get_be64(h + H_BACKING_AT) != 0)
		return refuse_backing(q, get_be64(h + H_BACKING_AT), get_be32(h + H_BACKING_BYTES), err);
	if (q->version == 3)
		st = check_features(q, h, err);
	return st == ST_OK ? check_tables(q, h, err) : st;
}

enum status qcow2_open(struct qcow2 *q, struct block_device *base, const char *name, struct error *err)
{
	struct block_range all = {base, 0, base->sectors};
	uint8_t header[SECTOR];
	enum status st;

	memset(q, 0, sizeof *q);
	q->base = base;
	q->file_bytes = base->sectors * SECTOR;
	list_init(&q->waiting);
	format(q->device.name, sizeof q->device.name, "%s", name);
	if (base->sector_bytes != SECTOR)
		return fail(err, ST_UNSUPPORTED, "%s has sectors of %u bytes, an image is read in sectors of %u",
			    base->name, base->sector_bytes, SECTOR);
	st = block_run(&all, BLOCK_READ, 0, 1, header, err);
	if (st == ST_OK)
		st = take_header(q, header, err);
	if (st != ST_OK)
		return st;
	q->device.ops = &ops;
	q->device.sector_bytes = SECTOR;
	q->device.max_count = REQUEST_BYTES_MAX / SECTOR;
	q->device.sectors = q->bytes / SECTOR;
	q->device.read_only = true;
	q->device.hooks = base->hooks;
	q->device.relax = base->relax;
	return ST_OK;
}
