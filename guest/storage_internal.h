/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage from inside. Tables and volumes are the control task's alone; what workers,
 * interrupts and VMs' CPUs touch is a domain's scheduler, its list of what is to be polled,
 * and its pools, all under the scheduler's lock.
 */
#ifndef CORBEL_GUEST_STORAGE_INTERNAL_H
#define CORBEL_GUEST_STORAGE_INTERNAL_H

#include "guest/machine.h"
#include "guest/pool_copy.h"
#include "guest/storage.h"
#include "guest/vm_virtio.h"
#include "guest/worker.h"
#include "io/qcow2.h"
#include "io/volume_copy.h"

extern const struct vm_disk_ops storage_disk_ops;

struct storage_volume;

struct storage_domain {
	struct storage *storage;
	char name[VOLUME_NAME_MAX];
	struct iosched sched;
	struct worker worker;       /* its alarm is set under the lock of sched */
	bool stays;                 /* also without volumes: of the host's disks */
	bool polled;                /* devices that do not interrupt */
	bool looks;                 /* something in it goes on by polls alone; atomic */
	struct timer look;          /* of the host's disks, with something under way; in sched.timers */
	struct list polls;          /* storage_volume.poll, under the lock */
	unsigned volumes, models;
	struct pool_copies pools;   /* its members are the clients */
};

/* A pool of layers, on a volume. */
struct storage_pool {
	struct storage_volume *on;  /* NULL: the place is free */
	struct volume_user user;
	struct volume_part part;    /* what the pool knows as its device: all of the volume */
	struct layer_pool *pool;
	void *memory;
	uint64_t memory_bytes;
};

struct storage_volume {
	struct volume volume;
	struct storage *storage;
	struct storage_domain *domain;
	struct list poll;           /* of domain->polls; on no list: needs none */
	struct storage_pool *pool;  /* that it is a layer of, or that lies on it */
	struct layer *layer;        /* of a layer */
	struct iosched_figures gone; /* of users that have closed it */
	unsigned place;             /* among storage.places, from its name on */
	void *memory;               /* of RAM, and of a qcow2 image */
	uint64_t memory_bytes;
	union {
		struct volume_part part;
		struct volume_ram ram;
		struct volume_blob blob;
		struct model model;
	} is;
};

/* One use of a volume. */
struct storage_client {
	struct pool_member member;  /* of domain->pools */
	struct storage_volume *volume;
	struct storage_domain *domain;
	struct volume_user user;
	struct block_device shown;  /* the volume's, as this user may use it */
	struct iosched_client io;
	struct vm *vm;              /* and the number of its disk; NULL: the host */
	unsigned disk;
	bool starved;               /* its VM was seen paused for want of space, */
	uint64_t space_then;        /* with so much of it */
	char who[STORAGE_WHO_MAX];
	uint64_t bytes;             /* of memory, with the slots */
	struct iosched_slot slots[];
};

/* A device for the control task over a client: see storage_gate.c. */
struct storage_gate {
	struct block_device device;
	struct storage_client *client;
	struct block_request own;   /* what the client is asked for @of */
	struct block_request *of;   /* NULL: nothing is under way */
	struct list deferred;       /* requests that come back by a call: see storage_gate_release() */
};

enum storage_phase {
	JOB_FREE,
	JOB_WAITING, /* a creation behind others of the same pool, which does one operation at a time */
	JOB_OPERATION, /* the pool's */
	JOB_COPY, /* of an import */
	JOB_COPIED, /* the layer is to be said to be whole, when the pool does nothing else */
	JOB_COMPLETE, /* that is under way */
	JOB_SPOILT, /* what was imported is to be deleted, likewise */
	JOB_UNDO, /* that is under way */
	JOB_DONE
};

struct storage_job {
	struct storage *storage;
	struct storage_job_info info;
	enum storage_phase phase;
	struct storage_pool *pool;  /* whose operation it is */
	struct layer_op op;
	/* Of an import. */
	struct storage_gate *from, *to;
	void *buffer;
	struct volume_copy copy;
	bool cancelled;
	bool told;                  /* by storage_next_ended() */
	uint64_t bytes;
};

struct storage {
	struct machine *machine;
	struct volumes volumes;
	struct storage_domain *domains[STORAGE_DOMAINS_MAX];
	struct storage_volume *places[STORAGE_VOLUMES_MAX]; /* those that have a name */
	struct storage_pool pools[STORAGE_POOLS_MAX];
	struct storage_job jobs[STORAGE_JOBS_MAX];
	uint32_t last_job;
	unsigned ended;             /* jobs that storage_next_ended() has not told of */
	struct storage_totals totals; /* memory, volumes and clients of them */
	uint64_t bytes;             /* of itself */
};

static inline struct storage_client *storage_client_of(struct list *link)
{
	return container_of(container_of(link, struct pool_member, link), struct storage_client, member);
}

/* ---- memory: storage.c ---- */

/* Cleared, from the host's frames, promised first; @what for the sentence. Given back by the same number of bytes. */
MUST_CHECK enum status storage_take(struct storage *s, uint64_t bytes, const char *what, void **out, struct error *err);
void storage_give(struct storage *s, void *memory, uint64_t bytes);
static inline unsigned long storage_mask(const struct storage *s) { return s->machine->host->mask(); }
static inline void storage_unmask(const struct storage *s, unsigned long state) { s->machine->host->unmask(state); }
static inline struct storage_volume *storage_volume_of(struct volume *v)
{
	return container_of(v, struct storage_volume, volume);
}

/* All that its users have done, those that have closed it included. */
void storage_volume_figures(struct storage_volume *v, struct iosched_figures *out);

/* ---- domains and their clients: storage_domain.c ---- */

MUST_CHECK enum status storage_domain_create(struct storage *s, const char *name, struct storage_domain **out,
					     struct error *err);
/* Nothing is in it. */
void storage_domain_destroy(struct storage_domain *d);
/* The worker will look. Any CPU, masked. */
void storage_domain_ask(struct storage_domain *d);
/* The same by the control task. */
static inline void storage_domain_ask_masked(struct storage_domain *d)
{
	unsigned long state = storage_mask(d->storage);

	storage_domain_ask(d);
	storage_unmask(d->storage, state);
}
/* What a turn of the worker does; true when something moved. Masked, no lock. */
bool storage_domain_step(struct storage_domain *d);
/* Around calls into its devices and pools by the control task, which takes interrupts away. */
unsigned long storage_domain_enter(struct storage_domain *d);
void storage_domain_leave(struct storage_domain *d, unsigned long state);
/* @v goes on by polls from now on, or no more. */
void storage_domain_poll(struct storage_volume *v, bool poll);

/*
 * Opens @v for @who; its requests go through the domain's scheduler, @slots of them at a time, without reservation and
 * limit, below the root. Closed by storage_client_close(). As volume_open(), and ST_NO_MEMORY, ST_NOT_ADMITTED.
 */
MUST_CHECK enum status storage_client_open(struct storage_volume *v, enum volume_mode mode, const char *who,
					   unsigned slots, struct storage_client **out, struct error *err);
/* A layer that nobody uses any more is closed with it. */
void storage_client_close(struct storage_client *c);
/* Its numbers, and those of its place, are now those of disk @index of @vm. */
void storage_client_serve(struct storage_client *c, struct vm *vm, unsigned index);
/* As iosched_submit(), by any CPU, masked. */
bool storage_client_submit(struct storage_client *c, struct block_request *r);
/* What it has done is its volume's, when it goes. */
void storage_client_keep_figures(struct storage_client *c);
/* Copies of pools and numbers follow what is defined. */
void storage_domain_follow(struct storage_domain *d);

/* ---- the control task's synchronous way: storage_gate.c ---- */

MUST_CHECK enum status storage_gate_open(struct storage_volume *v, enum volume_mode mode, const char *who,
					 struct storage_gate **out, struct error *err);
/*
 * Closes it; what was submitted with complete set meanwhile, and waits, is handed to the volume's device. Before,
 * under the domain's lock, @part (NULL: none) is made to stand on that device.
 */
void storage_gate_release(struct storage_gate *g, struct volume_part *part);

/* ---- volumes: storage_volume.c, storage_layer.c ---- */

/* Memory for a volume of @d, not known by a name yet. */
MUST_CHECK enum status storage_volume_new(struct storage *s, struct storage_domain *d, struct storage_volume **out,
					  struct error *err);
/* Before it has a name. */
void storage_volume_discard(struct storage_volume *v);
/* Gives it a name; on failure it is given back. */
MUST_CHECK enum status storage_volume_add(struct storage_volume *v, const char *name, enum volume_kind kind,
					  struct block_device *device, struct error *err);
/* It has a name now: gives it its place. */
void storage_volume_place_in(struct storage_volume *v);
/* With its memory, from domain and table. Nobody uses it. */
void storage_volume_drop(struct storage_volume *v);
/* Nothing else has @name: ST_EXISTS, ST_INVALID. */
MUST_CHECK enum status storage_check_new(struct storage *s, const char *name, struct error *err);
/*
 * The volume called @name; a layer is opened for it. Who does not open it calls storage_volume_unused().
 */
MUST_CHECK enum status storage_volume_get(struct storage *s, const char *name, struct storage_volume **out,
					  struct error *err);
/* A layer that nobody uses is closed. */
void storage_volume_unused(struct storage_volume *v);
/* The pool that has layer @name; ST_NOT_FOUND. */
MUST_CHECK enum status storage_layer_find(struct storage *s, const char *name, struct storage_pool **pool,
					  struct layer_info *out, struct error *err);
MUST_CHECK enum status storage_layer_open(struct storage *s, struct storage_pool *p, const struct layer_info *info, bool filling,
					  struct storage_volume **out, struct error *err);
/*
 * The volume that a layer of @p may stand on; *out NULL when @name is "". It is memory, or in the pool's domain, and no
 * layer: ST_UNSUPPORTED.
 */
MUST_CHECK enum status storage_layer_base(struct storage *s, struct storage_pool *p, const char *name,
					  struct storage_volume **out, struct error *err);
/* The pool on @volume ("": the only one). */
MUST_CHECK enum status storage_pool_named(struct storage *s, const char *volume, struct storage_pool **out,
					  struct error *err);
/* Whether @v is what a pool's bytes are on. */
static inline bool storage_holds_pool(const struct storage_volume *v) { return v->pool && v->pool->on == v; }
/* Whether an operation on it is under way. */
bool storage_pool_is_busy(const struct storage_pool *p);
/* Its device has grown: those who use it are told. */
void storage_volume_resized(struct storage_volume *v);
/* VMs that were paused for want of space, and have some now, go on. */
void storage_resume_starved(struct storage *s);

/* ---- operations: storage_job.c ---- */

/* ST_BUSY: @name is a layer that an import has not filled yet. */
MUST_CHECK enum status storage_check_whole(struct storage *s, const char *name, struct error *err);
/* A bounded step of each; true when one can go on at once. */
bool storage_jobs_step(struct storage *s);

#endif
