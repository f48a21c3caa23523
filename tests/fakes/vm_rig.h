/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole machine for tests of guest/: real memory manager and scheduler over a
 * piece of host memory, the fake engine and host, and a CPU loop of one turn at
 * a time. The platform comes from the library or from fake_pc.h.
 */
#ifndef CORBEL_TESTS_VM_RIG_H
#define CORBEL_TESTS_VM_RIG_H

#include "guest/machine.h"
#include "tests/fakes/fake_engine.h"
#include "tests/fakes/fake_host.h"
#include "tests/fakes/ram.h"

#define VM_RIG_HZ 50000000ull
#define VM_RIG_SLICE 500000ull /* ticks of a turn */

struct vm_rig {
	struct ram ram;
	struct machine machine;
	void *sched_storage;
};

extern struct vm_rig vm_rig;

/* @ram_bytes of host memory, all of which may be promised. */
void vm_rig_init(uint64_t ram_bytes);
/* Destroys every VM; aborts unless every byte came back and memmgr_check() and sched_check() hold. */
void vm_rig_fini(void);

/* Removes those that nothing is in any more, however they are below each other. */
void vm_rig_remove_pools(void);
/* A definition that passes: a Linux guest with @bytes of RAM. */
struct vm_config vm_rig_config(const char *name, uint64_t bytes);
/* Defines and starts it; aborts on failure. */
struct vm *vm_rig_start(const char *name, uint64_t bytes);
struct vm *vm_rig_start_with(const char *name, uint64_t bytes, unsigned vcpus);
/* One turn of the CPU loop: the entity that ran and how it ended, or NULL when nothing was ready. */
struct sched_entity *vm_rig_turn(enum sched_end *end);
/*
 * One turn of @v, of @slice ticks at most, in which the engine plays @script. Whoever else is ready sleeps until its
 * own; aborts when @v is not to be had.
 */
enum disposition vm_rig_turn_of(struct vcpu *v, const struct fake_step *script, unsigned steps, uint64_t slice);

#endif
