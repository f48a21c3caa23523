/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VM's I/O worker: what its devices have to do beyond the piece that an exit
 * may take. It is an entity of the scheduler's in the VM's own pool, so that the
 * work is charged to whom it is for, and waits its turn among the VM's vcpus. A
 * turn does bounded steps, interrupts are let in between them.
 *
 * Devices ask by setting a bit, which takes no lock; the worker serves those that
 * have asked in turn, one step each.
 */
#ifndef CORBEL_GUEST_VM_IO_H
#define CORBEL_GUEST_VM_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "sched/sched.h"

#define VM_IO_WORKS_MAX 64u

struct vm;

/* Something that may have work; embedded in its owner. */
struct vm_io_work {
	/* A bounded step, about 20,000 instructions; true when there is more to do. Masked, no lock held. */
	bool (*step)(struct vm_io_work *w);
	struct vm_io *io;
	unsigned index;
};

struct vm_io {
	struct vm *vm;
	struct sched_entity entity;
	uint64_t asked;             /* BIT(index) of those that have work; atomic */
	bool off;                   /* taken off: a turn does nothing; atomic */
	unsigned next;              /* whose turn it is */
	unsigned count;
	struct vm_io_work *works[VM_IO_WORKS_MAX];
	uint64_t steps, asks;       /* so far; asks is atomic */
};

void vm_io_init(struct vm_io *io, struct vm *vm);
/* Adds @w, with step set; before the VM runs. ST_OVER_LIMIT. */
MUST_CHECK enum status vm_io_add(struct vm_io *io, struct vm_io_work *w);
/*
 * @w has work: its step will be called. While the worker is off the control task is told instead. Any CPU, masked;
 * locks before LOCK_SCHED may be held.
 */
void vm_io_ask(struct vm_io_work *w);

/*
 * Puts the worker into the VM's pool, and wakes it if somebody has asked meanwhile; the statuses of sched_add().
 * Masked. Taken off it does nothing until it is put back: what is asked meanwhile is kept. Control task, interrupts
 * enabled.
 */
MUST_CHECK enum status vm_io_start(struct vm_io *io, struct error *err);
/* False: the CPU that has it does not let go of it before host tick @until; it does nothing more, and may be tried
 * again. */
MUST_CHECK bool vm_io_take_off(struct vm_io *io, uint64_t until);

#endif
