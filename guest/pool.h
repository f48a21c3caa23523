/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools, which group VMs and other pools: a name, a place below another pool or
 * below the root, which is the machine, and the three numbers of each manager
 * (lib/rls.h). Every manager has a tree of its own in which a pool is one node; this is
 * where the nodes of one pool meet, so that they always have one name and one
 * place. Of such managers this version has the scheduler, and storage and networks, which copy the tree
 * (guest/pool_copy.h) for each domain of disks (guest/storage.h) and each uplink (guest/network.h) and admit any
 * numbers. Another one adds its numbers to struct pool_config, its node to struct pool and its part to regroup.
 *
 * The registry and all calls are the control task's.
 */
#ifndef CORBEL_GUEST_POOL_H
#define CORBEL_GUEST_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/config.h"
#include "lib/counter.h"
#include "lib/knob.h"
#include "sched/sched.h"

#define POOLS_MAX 32u                        /* in this version, besides the machine's own */
#define POOL_DEPTH_MAX (SCHED_DEPTH_MAX - 2u) /* below the root: a VM in it is a level too */
#define POOL_ROOT "root"                     /* the machine's own: all that is, */
#define POOL_SYSTEM "system"                 /* and the host's tasks */

enum { POOL_OWN_ROOT = 1, POOL_OWN_SYSTEM, POOL_OWN_COUNT = 2, POOL_IDS = POOL_OWN_COUNT + POOLS_MAX };

struct machine;
struct vm;

/* What a pool is, as its definition says: plain data, checked by pool_config_check(). */
struct pool_config {
	char name[VM_NAME_MAX];   /* as a VM's */
	char parent[VM_NAME_MAX]; /* "": the root */
	char origin[VM_PATH_MAX]; /* "file:line" of the definition, for messages */
	struct {
		struct rls numbers; /* ppm of one CPU, limit RLS_UNLIMITED for none */
	} cpu;
	struct {
		enum vm_disk_unit unit; /* of the numbers, as of a disk (guest/config.h) */
		struct rls numbers;     /* of all disks below it, in each domain of storage by itself */
		uint32_t given;         /* BIT(row) of pool_io_knobs[unit] that the definition gave */
	} io;
	struct {
		struct rls numbers; /* mbps: bytes a second of all interfaces below it, at each uplink by itself */
		uint32_t given;     /* BIT(row) of pool_net_knobs that the definition gave */
	} net;
	uint32_t given;           /* BIT(row) of pool_knobs that the definition gave; the others are defaults */
};

struct pool {
	struct machine *machine;
	uint16_t id;               /* 1 to POOL_IDS, stable for life; the machine's own first */
	struct pool_config config;
	struct sched_pool *cpu;    /* the scheduler's node: cpu_node, or what is the machine's own */
	struct sched_pool cpu_node;
};

/* The machine's: by id - 1. */
struct pools {
	struct pool own[POOL_OWN_COUNT];
	struct pool *at[POOL_IDS];
};

struct pool_info {
	uint64_t vms, pools;  /* directly in it */
	uint64_t entitled, allowed; /* ppm of one CPU, now (sched/sched.h) */
	uint64_t used, waited, limited, costopped; /* ticks, of all below it, also what has left; a limit above counts too */
	uint64_t turns, migrations, wakes;
};

/* The machine's own pools; @system: the scheduler's of the host's tasks, NULL when there is none. */
void pools_init(struct machine *m, struct sched_pool *system);

/* Defaults for everything but the name. */
void pool_config_init(struct pool_config *cfg);
/* Every rule that needs no machine. The sentence names the pool, its origin and the setting. */
MUST_CHECK enum status pool_config_check(const struct pool_config *cfg, struct error *err);

struct pool *pool_find(struct machine *m, const char *name);
struct pool *pool_by_id(struct machine *m, unsigned id);
/* Next pool in id order after @prev (NULL: the first); NULL at the end. */
struct pool *pool_next(struct machine *m, const struct pool *prev);
/* The machine's own pools can be neither changed nor removed, and hold no VMs that name them. */
static inline bool pool_is_own(const struct pool *p) { return p->id <= POOL_OWN_COUNT; }
/* The pool that @name means as a parent or as a VM's pool; "" and "root" are the root. ST_NOT_FOUND, ST_DENIED. */
MUST_CHECK enum status pool_named(struct machine *m, const char *name, struct pool **out, struct error *err);
/* True when @p is @top or below it. */
bool pool_below(const struct pool *p, const struct pool *top);
/* The pool above, NULL for the root. */
struct pool *pool_parent(const struct pool *p);

/*
 * Makes a pool, and admits it with every manager. ST_EXISTS, ST_INVALID, ST_NOT_FOUND (its parent), ST_OVER_LIMIT (too
 * many, too deep), ST_NOT_ADMITTED with the sum that does not fit, ST_NO_MEMORY.
 */
MUST_CHECK enum status pool_define(struct machine *m, const struct pool_config *cfg, struct pool **out, struct error *err);
/* Would @cfg, of the same name, be admitted in place of the present one? Changes nothing. */
MUST_CHECK enum status pool_check(struct pool *p, const struct pool_config *cfg, struct error *err);
/* Gives it another place and other numbers, all of it or nothing. */
MUST_CHECK enum status pool_change(struct pool *p, const struct pool_config *cfg, struct error *err);
/* The config's numbers have changed to what was checked. Not masked. */
void pool_changed(struct pool *p);
/* ST_BUSY while it has VMs, running or not, or pools: the sentence names one. Else the pointer is dead. */
MUST_CHECK enum status pool_remove(struct pool *p, struct error *err);

void pool_info(const struct pool *p, struct pool_info *out);

/* ---- many at once ---- */

/* Pools and VMs that are to be elsewhere, or to have other numbers: admitted as they are together. Zeroed at first. */
struct regroup {
	struct sched_change changes[POOLS_MAX + 64];
	unsigned count;
};

/* Each pool, and each VM, at most once. @parent NULL: the root. */
void regroup_pool(struct regroup *r, struct pool *p, struct pool *parent, const struct rls *cpu);
/* One that is built; others have nothing that managers know. */
void regroup_vm(struct regroup *r, struct vm *vm, struct pool *parent, const struct rls *cpu);
/*
 * All of it, or nothing. @commit false: says only whether. Configs are the caller's. Not masked: it masks itself, for
 * short sections.
 */
MUST_CHECK enum status regroup_run(struct machine *m, const struct regroup *r, bool commit, struct error *err);
/* The same for changes that the caller has put together. */
MUST_CHECK enum status pools_change(struct machine *m, const struct sched_change *changes, unsigned count, bool commit,
				    struct error *err);

extern const struct counter_table pool_counters;
extern const struct knob_table pool_knobs;
extern const struct knob_table pool_io_knobs[VM_DISK_UNITS]; /* a pool has that of its unit */
extern const struct knob_table pool_net_knobs;

#endif
