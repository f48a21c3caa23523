/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's storage: who owns the volumes (io/volume.h), and the domains in which
 * they are used. A domain is what is slow in one place: the disks of one channel, or a
 * piece of memory that stands for one, and all that stands on it; it has one I/O
 * scheduler (io/iosched.h) with one lock, and a worker, an entity of the pool `system`, that
 * does what timers, interrupts and layers leave to be done, in bounded steps. A disk of a
 * VM is a client of its volume's domain, below a copy of the tree of pools, with
 * the numbers of its definition.
 *
 * Volumes come from four places: firmware adds the disks that it finds, and their
 * partitions; the operator adds memory, models, files of the store and qcow2 images, which
 * live until the machine does not; pools, on a volume each, have layers, which are
 * kept; layers are opened by whoever uses them first and closed by the last.
 * A name means one volume, wherever it is.
 *
 * Memory comes from the host's frames and counts with what is promised (machine.committed), before anything is
 * made: what does not fit is ST_NOT_ADMITTED.
 *
 * All calls are the control task's, interrupts enabled, unless said otherwise.
 */
#ifndef CORBEL_GUEST_STORAGE_H
#define CORBEL_GUEST_STORAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/iosched.h"
#include "io/layer.h"
#include "io/model.h"
#include "io/volume.h"
#include "lib/counter.h"
#include "lib/error.h"
#include "lib/knob.h"

#define STORAGE_DOMAINS_MAX 64u
#define STORAGE_VOLUMES_MAX 256u   /* known at a time: layers count while somebody uses them */
#define STORAGE_POOLS_MAX 8u
#define STORAGE_JOBS_MAX 8u
#define STORAGE_RAM_MAX (1ull << 30)
#define STORAGE_WHO_MAX 64u        /* "VM web", with the NUL */

struct machine;
struct storage;
struct storage_domain;
struct vm;

/* Makes it and gives it to @m (disk_ops, storage); @m outlives it. ST_NO_MEMORY, ST_NOT_ADMITTED. */
MUST_CHECK enum status storage_create(struct machine *m, struct error *err);
/* Nothing is open and no job is under way (ASSERT): for tests. */
void storage_destroy(struct machine *m);

/* What the control task does in each of its rounds, bounded; true when there is more at once. host_ops.notify() asks
 * for a round. */
bool storage_step(struct storage *s);

/*
 * Definitions have changed: the numbers of running VMs' disks and of pools, and the places of both in the tree, are
 * read again, and count from now on, for requests that wait already as well.
 */
void storage_changed(struct storage *s);

/* ---- disks ---- */

/*
 * A domain for disks that share a channel. As long as they do not interrupt, the worker looks at them over and over
 * while something is under way. ST_OVER_LIMIT, ST_NO_MEMORY, ST_NOT_ADMITTED.
 */
MUST_CHECK enum status storage_add_domain(struct storage *s, const char *name, struct storage_domain **out,
					  struct error *err);
/* From now on storage_interrupt() is called when they want to be looked at; time-outs are looked for all the same. */
void storage_has_interrupts(struct storage_domain *d);
/*
 * @device, for good, as volume @name, and its partitions as NAME:1 and so on; a partition that holds a pool is
 * opened as one. A table that cannot be read is told in the log, and the disk has no partitions. Nobody else uses the
 * device any more but through storage_host_range().
 */
MUST_CHECK enum status storage_add_disk(struct storage *s, struct storage_domain *in, const char *name,
					struct block_device *device, struct error *err);
/* A device of the domain wants to be looked at. Any CPU, masked, locks before LOCK_SCHED may be held. */
void storage_interrupt(struct storage_domain *d);

/*
 * For the host's own use of @count sectors of the disk @volume from @first on, by block_run() (the store): a device for
 * the control task alone, with the disk's addresses, whose requests go through the domain's scheduler like a VM's. A
 * partition that has some of these sectors is @who's from now on. For good. ST_BUSY: somebody has the disk, or such a
 * partition.
 */
MUST_CHECK enum status storage_host_range(struct storage *s, const char *volume, uint64_t first, uint64_t count,
					  const char *who, struct block_device **out, struct error *err);

/* The settings of the domain that @volume is in. */
MUST_CHECK enum status storage_get_settings(struct storage *s, const char *volume, struct iosched_settings *out,
					    struct error *err);
MUST_CHECK enum status storage_set_settings(struct storage *s, const char *volume, const struct iosched_settings *set,
					    struct error *err);

/* ---- volumes that are there as long as the machine runs ---- */

/* Memory, cleared: a multiple of 4 KiB up to STORAGE_RAM_MAX; takes the next power of two. A domain of its own. */
MUST_CHECK enum status storage_add_ram(struct storage *s, const char *name, uint64_t bytes, struct error *err);
/* A file of the read-only store; in the writable one it may change, and is not taken (ST_UNSUPPORTED). */
MUST_CHECK enum status storage_add_blob(struct storage *s, const char *name, const char *file, struct error *err);
/* A slow disk over @base, in the domain of @base, which it has for itself. */
MUST_CHECK enum status storage_add_model(struct storage *s, const char *name, const char *base,
					 const struct model_config *cfg, struct error *err);
/* Other numbers for a model, at once. */
MUST_CHECK enum status storage_set_model(struct storage *s, const char *name, const struct model_config *cfg,
					 struct error *err);
/*
 * The image on @base, read-only. It is in the domain of @base, or, when that is memory, in the domain of the
 * volume @in (NULL: of @base): where the pool is whose layers are to stand on it.
 */
MUST_CHECK enum status storage_add_qcow2(struct storage *s, const char *name, const char *base, const char *in,
					 struct error *err);
/*
 * One of the four above, with its memory and the pool on it. ST_BUSY with who uses it, or how many layers are in the
 * pool; ST_DENIED: disks and partitions stay.
 */
MUST_CHECK enum status storage_remove(struct storage *s, const char *name, struct error *err);

/* ---- pools of layers ---- */

/* Writes an empty pool over all of @volume, and opens it. ST_BUSY: the volume is in use, or is a pool already. */
MUST_CHECK enum status storage_format_pool(struct storage *s, const char *volume, uint64_t id, struct error *err);
/*
 * Opens the pool on @volume, for which the volume is divided until storage_close_pool(). What the volume has gained at
 * its end since then is the pool's.
 */
MUST_CHECK enum status storage_open_pool(struct storage *s, const char *volume, struct error *err);
/* ST_BUSY: one of its layers is in use, or an operation is under way. */
MUST_CHECK enum status storage_close_pool(struct storage *s, const char *volume, struct error *err);
MUST_CHECK enum status storage_pool_stats(struct storage *s, const char *volume, struct layer_pool_stats *out,
					  struct error *err);
/* The pool's volume numbered @index or a later one; *next is for the next call. NULL: no more. */
const char *storage_next_pool(struct storage *s, unsigned index, unsigned *next);

/* ---- operations that take time ---- */

enum storage_op {
	STORAGE_CREATE,   /* @name of @bytes in @pool, over @base ("": zeroes) */
	STORAGE_CLONE,    /* @name, with the content of the snapshot @volume */
	STORAGE_SNAPSHOT, /* what @volume is now stays as @name */
	STORAGE_MERGE,    /* the snapshot @volume goes into its one child */
	STORAGE_DELETE,   /* the layer @volume */
	STORAGE_RESIZE,   /* @volume to @bytes */
	STORAGE_IMPORT,   /* @name in @pool, as large as @volume and with a copy of its content; not its zeroes */
	STORAGE_OPS
};
/* "create", ... */
const char *storage_op_name(enum storage_op op);

struct storage_order {
	enum storage_op op;
	char volume[VOLUME_NAME_MAX], name[VOLUME_NAME_MAX];
	char pool[VOLUME_NAME_MAX]; /* its volume; "": the only one there is */
	char base[VOLUME_NAME_MAX];
	uint64_t bytes;
};

/*
 * Begins it, or says why not: ST_NOT_FOUND, ST_EXISTS, ST_INVALID: names and sizes; ST_BUSY: in use, or another
 * operation on the pool is under way (a creation waits for it); ST_OVER_LIMIT: too many jobs; and see io/layer.h. A job
 * that has ended is known until its place is needed.
 */
MUST_CHECK enum status storage_begin(struct storage *s, const struct storage_order *order, uint32_t *job,
				     struct error *err);
/* Ends an import: what has been copied is deleted. ST_BAD_STATE: it has ended, or is none. */
MUST_CHECK enum status storage_cancel(struct storage *s, uint32_t job, struct error *err);

struct storage_job_info {
	uint32_t job;               /* its number, from 1 on */
	struct storage_order order;
	bool done;
	enum status status;         /* once done */
	char why[ERROR_TEXT_MAX];   /* when it failed */
	uint64_t steps, steps_total; /* progress; bytes of an import, clusters of others; total 0: not known */
};
MUST_CHECK enum status storage_job(struct storage *s, uint32_t job, struct storage_job_info *out);
/* The job after @job in the order of their beginning (0: the first); ST_NOT_FOUND at the end. */
MUST_CHECK enum status storage_next_job(struct storage *s, uint32_t job, struct storage_job_info *out);

/* A job that has ended, and of which this has not told before. False: there is none. */
bool storage_next_ended(struct storage *s, struct storage_job_info *out);

/* ---- what there is ---- */

struct storage_info {
	char name[VOLUME_NAME_MAX];
	enum volume_kind kind;
	char domain[VOLUME_NAME_MAX];
	uint64_t bytes;
	uint32_t sector_bytes;
	bool read_only, is_pool;
	unsigned users;
	char user[STORAGE_WHO_MAX]; /* the first of them, "": none */
	/* Of a layer. */
	char pool[VOLUME_NAME_MAX], parent[VOLUME_NAME_MAX], base[VOLUME_NAME_MAX];
	enum layer_state state;
	uint64_t own_bytes;
	unsigned children, depth;
};

/*
 * The volume behind @after ("": the first) in the order of the list: volumes, then each pool's layers. ST_NOT_FOUND at
 * the end, or when @after is gone.
 */
MUST_CHECK enum status storage_next(struct storage *s, const char *after, struct storage_info *out);
MUST_CHECK enum status storage_find(struct storage *s, const char *name, struct storage_info *out, struct error *err);

/* All that has been done for users of @name since it is known, those that have closed it included; in host ticks. */
MUST_CHECK enum status storage_figures(struct storage *s, const char *name, struct iosched_figures *out,
				       struct error *err);
/* The same of disk @index of @vm, since it has opened it. ST_BAD_STATE: it is not open. */
MUST_CHECK enum status storage_disk_figures(struct storage *s, const struct vm *vm, unsigned index,
					    struct iosched_figures *out);

/* ---- for the tree of counters and settings ---- */

struct storage_volume;

/* Volume or domain number @place, below the bounds above; NULL: there is none. Each keeps its place while it is there. */
struct storage_volume *storage_volume_at(struct storage *s, unsigned place);
const char *storage_volume_name(const struct storage_volume *v);
unsigned storage_volume_place(const struct storage_volume *v);
struct storage_domain *storage_domain_at(struct storage *s, unsigned place);
const char *storage_domain_name(const struct storage_domain *d);
/* The domain that volume @name is in, and its place. */
MUST_CHECK enum status storage_domain_of(struct storage *s, const char *name, unsigned *place, struct error *err);

/* Of a struct storage_volume, a struct storage_domain. They take locks of their own. */
extern const struct counter_table storage_volume_counters;
extern const struct counter_table storage_domain_counters;
extern const struct knob_table storage_domain_knobs;

/* iosched_figures.latency as a family: names of its places. */
extern const struct counter_family storage_latency_buckets;
/* Within how many ticks @part of a hundred requests ended, a power of two; 0: there were none. */
uint64_t storage_percentile(const uint64_t buckets[IOSCHED_LATENCY_BUCKETS], unsigned part);

struct storage_totals {
	uint64_t memory;            /* bytes of host memory that storage has taken */
	unsigned domains, volumes, pools, clients, jobs;
	uint64_t turns;             /* of workers */
};
void storage_totals(const struct storage *s, struct storage_totals *out);

#endif
