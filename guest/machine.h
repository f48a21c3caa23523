/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The managers and the engine that VMs are built from, wired once by firmware's
 * main (or a test), and the table of VMs.
 */
#ifndef CORBEL_GUEST_MACHINE_H
#define CORBEL_GUEST_MACHINE_H

#include "guest/host.h"
#include "guest/pool.h"
#include "guest/trace.h"
#include "guest/vm.h"
#include "io/files.h"
#include "lib/counter.h"
#include "lib/knob.h"
#include "memmgr/memmgr.h"
#include "sched/sched.h"

#define VMS_MAX 64 /* in this version */

struct networks;
struct storage;
struct vm_disk_ops;

struct machine {
	const struct engine *engine;
	const struct host_ops *host;
	struct memmgr *mm;
	struct sched *sched;
	struct files *files;     /* scripts, images: the one view of all named blobs */
	struct vm *vms[VMS_MAX]; /* by id - 1 */
	struct pools pools;      /* pools_init() */
	const struct vm_disk_ops *disk_ops; /* where volumes come from (guest/vm_virtio.h); NULL: there are none */
	void *disk_ctx;
	struct storage *storage;   /* guest/storage.h; NULL: there is none */
	struct networks *networks; /* guest/network.h; NULL: there are none */
	uint64_t committed;      /* bytes of host memory promised to started VMs: size + overhead */
	uint64_t capacity;       /* bytes that may be promised */
	struct machine_trace trace;
	bool teardown_due;       /* some VM has work for vm_reap() */
	bool lingering;          /* some VM lingers; the control task's */
	bool pause_loops_off;    /* VMs that start now: a vcpu that spins is left alone */
	uint64_t changes;        /* rises with every change of a VM's state, and with VMs that come and go */
	/* Called at each start of a VM, before anything is built from its definition; may change that. May be NULL. */
	void (*starting)(void *ctx, struct vm *vm);
	void *starting_ctx;
	/* A sentence for the operator about what is wrong with the machine itself; the control task's. May be NULL. */
	void (*fault)(void *ctx, const char *text);
	void *fault_ctx;
};

/* Figures and settings of a struct machine: what is promised and defined, and the processors' turns. */
extern const struct counter_table machine_counters;
extern const struct knob_table machine_cpu_knobs;
/* Figures of a struct vm, and the settings of its definition that are numbers or words. */
extern const struct counter_table vm_counters;
extern const struct knob_table vm_knobs;

#endif
