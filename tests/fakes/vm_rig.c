/* SPDX-License-Identifier: Apache-2.0 */
/* See vm_rig.h. */
#include "tests/fakes/vm_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fakes/sched_rig.h"

struct vm_rig vm_rig;

static void stop(const char *what, const char *why)
{
	fprintf(stderr, "vm_rig: %s: %s\n", what, why);
	abort();
}

static uint64_t free_frames(void)
{
	struct memmgr_stats stats;

	memmgr_stats(vm_rig.machine.mm, &stats);
	return stats.frames[FRAME_FREE];
}

static uint64_t frames_at_start;

static void kick(void *ctx, unsigned cpu)
{
	(void)ctx;
	(void)cpu;
	fake_host.cpu.need_resched = true;
}

#define VM_RIG_ENTITIES 96u

/* Of the host's tasks, of which there are none here. */
static void add_system_pool(void)
{
	static struct sched_pool system;
	static const struct rls numbers = {.limit = RLS_UNLIMITED, .shares = RLS_SHARES_DEFAULT};
	struct error err;

	if (sched_pool_add(vm_rig.machine.sched, &system, NULL, POOL_SYSTEM, &numbers, &err) != ST_OK)
		stop("system pool", err.text);
	pools_init(&vm_rig.machine, &system);
}

void vm_rig_init(uint64_t ram_bytes)
{
	const struct sched_config cfg = {.cpus = 1, .entities_max = VM_RIG_ENTITIES, .slice = VM_RIG_SLICE, .kick = kick};

	memset(&vm_rig, 0, sizeof vm_rig);
	fake_host_init(VM_RIG_HZ);
	fake_host.ops.clock->ticks();
	vm_rig.ram = ram_map(ram_bytes);
	vm_rig.sched_storage = aligned_alloc(HOST_CACHE_LINE, sched_bytes(1, VM_RIG_ENTITIES));
	vm_rig.machine = (struct machine){
		.engine = &fake_engine,
		.host = &fake_host.ops,
		.mm = ram_memmgr(&vm_rig.ram, 0, 0, 0),
		.sched = sched_init(vm_rig.sched_storage, &cfg),
		.capacity = ram_bytes,
	};
	add_system_pool();
	frames_at_start = free_frames();
}

void vm_rig_remove_pools(void)
{
	struct machine *m = &vm_rig.machine;
	struct error err;
	bool any;

	do {
		any = false;
		for (unsigned id = POOL_IDS; id > POOL_OWN_COUNT; id--)
			any |= pool_by_id(m, id) && pool_remove(pool_by_id(m, id), &err) == ST_OK;
	} while (any);
}

static void destroy_all(void)
{
	struct machine *m = &vm_rig.machine;
	struct error err;
	struct vm *vm;

	while ((vm = vm_next(m, NULL))) {
		if ((vm->state == VM_RUNNING || vm->state == VM_PAUSED) && vm_stop(vm, &err) != ST_OK)
			stop("vm_stop", err.text);
		if (vm_destroy(vm, &err) != ST_OK)
			stop("vm_destroy", err.text);
	}
	vm_rig_remove_pools();
}

void vm_rig_fini(void)
{
	destroy_all();
	machine_trace_free(&vm_rig.machine);
	ram_check(vm_rig.machine.mm);
	if (!sched_check(vm_rig.machine.sched))
		stop("sched_check", "does not hold");
	if (vm_rig.machine.committed != 0)
		stop("committed", "not 0 without VMs");
	if (fake_live() != 0)
		stop("engine", "objects left");
	if (free_frames() != frames_at_start)
		stop("memory", "frames lost");
	if (fake_host.mask_depth != 0)
		stop("interrupts", "left masked");
	ram_unmap(&vm_rig.ram);
	free(vm_rig.sched_storage);
}

struct vm_config vm_rig_config(const char *name, uint64_t bytes)
{
	struct vm_config cfg;

	vm_config_init(&cfg);
	snprintf(cfg.name, sizeof cfg.name, "%s", name);
	strcpy(cfg.origin, "test:1");
	strcpy(cfg.boot.image, "kernel");
	cfg.memory.size = cfg.memory.reservation = bytes;
	return cfg;
}

struct vm *vm_rig_start(const char *name, uint64_t bytes) { return vm_rig_start_with(name, bytes, 1); }

struct vm *vm_rig_start_with(const char *name, uint64_t bytes, unsigned vcpus)
{
	struct vm_config cfg = vm_rig_config(name, bytes);
	struct error err;
	struct vm *vm;

	cfg.cpu.count = vcpus;
	if (vm_define(&vm_rig.machine, &cfg, &vm, &err) != ST_OK)
		stop("vm_define", err.text);
	if (vm_start(vm, &err) != ST_OK)
		stop("vm_start", err.text);
	return vm;
}

struct sched_entity *vm_rig_turn(enum sched_end *end)
{
	const struct clock *clock = fake_host.ops.clock;
	struct sched *s = vm_rig.machine.sched;
	unsigned long masked = fake_host.ops.mask();
	struct sched_entity *e;
	uint64_t slice_end;

	if (fake_host.cpu.timers.next <= clock->ticks())
		timerq_run(&fake_host.cpu.timers, clock->ticks());
	fake_host.cpu.need_resched = false;
	e = sched_pick(s, 0, clock->ticks(), &slice_end);
	if (e) {
		*end = e->run(e, slice_end);
		sched_rig_end(s, 0, e, clock->ticks(), *end);
	}
	fake_host.ops.unmask(masked);
	return e;
}

enum disposition vm_rig_turn_of(struct vcpu *v, const struct fake_step *script, unsigned steps, uint64_t slice)
{
	struct sched *s = vm_rig.machine.sched;
	unsigned long masked = fake_host.ops.mask();
	uint64_t cap, now = fake_host.ops.clock->ticks();
	struct sched_entity *e;
	enum disposition d;

	fake_play(v, script, steps);
	if (v->entity.state == SCHED_BLOCKED)
		sched_wake(s, &v->entity, now);
	while ((e = sched_pick(s, 0, now, &cap)) != &v->entity) {
		if (!e)
			stop("sched_pick", v->entity.name);
		sched_rig_end(s, 0, e, now, SCHED_END_BLOCKED);
	}
	fake_host.cpu.need_resched = false;
	d = vcpu_run(v, now + slice);
	sched_rig_end(s, 0, e, fake_host.ops.clock->ticks(), d == YIELD ? SCHED_END_READY : SCHED_END_BLOCKED);
	fake_host.ops.unmask(masked);
	return d;
}
