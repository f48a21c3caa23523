/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The making and unmaking of a VM's machine. Making is a list of steps in the
 * order in which they need each other; each leaves a mark in struct vm, and
 * vm_abandon() undoes exactly what is marked, so that a failure anywhere needs
 * no unwinding of its own. The small parts live in one arena that is dropped
 * whole. All of it runs in the control task: manager and engine calls are
 * masked one at a time, and long ones go by budget.
 */
#include <string.h>

#include "guest/boot.h"
#include "guest/cpuid.h"
#include "guest/platform.h"
#include "guest/vm_cpu.h"
#include "guest/vm_devices.h"
#include "guest/vm_internal.h"
#include "lib/assert.h"
#include "lib/checked.h"

#define RELEASE_PAGES 128 /* pages taken from a guest in one masked step */

/* ---- admission ---- */

static uint64_t arena_bytes(const struct vm_config *cfg)
{
	uint64_t bytes = vcpu_bytes() * cfg->cpu.count + platform_bytes(cfg) + sizeof(struct cpuid_table) + PAGE_SIZE;

	return PAGE_SIZE << order_of(bytes);
}

/* The map covers the hole below 4 GiB too. */
static uint64_t map_pages(uint64_t ram_bytes)
{
	return ram_bytes <= LAYOUT_MMIO_START ? ram_bytes / PAGE_SIZE
					      : (ram_bytes - LAYOUT_MMIO_START + LAYOUT_HIGH_START) / PAGE_SIZE;
}

uint64_t vm_overhead_bytes(const struct machine *m, const struct vm_config *cfg)
{
	uint64_t pages = cfg->memory.size / PAGE_SIZE;

	return arena_bytes(cfg) + gpmap_overhead_bytes(map_pages(cfg->memory.size), pages) +
	       m->engine->overhead_bytes(pages, cfg->cpu.count);
}

static enum status admit(struct vm *vm, struct error *err)
{
	struct machine *m = vm->machine;
	uint64_t size = vm->config.memory.size, overhead = vm_overhead_bytes(m, &vm->config);

	if (!range_fits(m->committed, size + overhead, m->capacity))
		return fail(err, ST_NOT_ADMITTED,
			    "VM %s needs %llu bytes of memory and %llu of overhead, but %llu of %llu are promised",
			    vm->config.name, (unsigned long long)size, (unsigned long long)overhead,
			    (unsigned long long)m->committed, (unsigned long long)m->capacity);
	vm->committed = size + overhead;
	m->committed += vm->committed;
	return ST_OK;
}

/* ---- making ---- */

static enum status no_machine(const struct vm *vm, enum status st, struct error *err)
{
	return fail(err, st, "VM %s: its machine could not be made: %s", vm->config.name, status_name(st));
}

static enum status make_arena(struct vm *vm)
{
	struct machine *m = vm->machine;
	uint64_t bytes = arena_bytes(&vm->config);
	unsigned long masked;
	hfn_t frame;
	enum status st;

	masked = vm_mask(vm);
	st = memmgr_alloc(m->mm, order_of(bytes), &frame);
	vm_unmask(vm, masked);
	if (st != ST_OK)
		return st;
	vm->arena_frame = frame;
	vm->arena_order = order_of(bytes);
	arena_init(&vm->arena, memmgr_va(m->mm, frame), bytes);
	return ST_OK;
}

static enum status add_ram(struct vm *vm, const struct guest_layout *layout)
{
	enum status st = gpmap_add_ram(vm->memory, gfn(0), layout->ram_low / PAGE_SIZE);

	if (st != ST_OK || layout->ram_high == 0)
		return st;
	return gpmap_add_ram(vm->memory, gpa_to_gfn(gpa(LAYOUT_HIGH_START)), layout->ram_high / PAGE_SIZE);
}

static enum status make_memory(struct vm *vm, const struct guest_layout *layout)
{
	struct machine *m = vm->machine;
	unsigned long masked = vm_mask(vm);
	enum status st = m->engine->vm_create(vm);

	if (st == ST_OK)
		st = gpmap_create(m->mm, vm->id, map_pages(vm->config.memory.size), m->engine->stage2, vm->stage2, &vm->memory);
	if (st == ST_OK) {
		vm->memory_generation = gpmap_generation(vm->memory);
		st = add_ram(vm, layout);
	}
	vm_unmask(vm, masked);
	return st;
}

static enum status make_vcpu(struct vm *vm, unsigned i)
{
	unsigned long masked = vm_mask(vm);
	void *storage = arena_alloc(&vm->arena, vcpu_bytes(), PAGE_SIZE);
	enum status st;

	ASSERT(storage);
	vm->vcpus[i] = vcpu_init(storage, vm, i);
	st = vm->machine->engine->vcpu_create(vm->vcpus[i]);
	if (st == ST_OK)
		vm->vcpu_count = i + 1;
	vm_unmask(vm, masked);
	return st;
}

/* What they tell of themselves. */
static void describe_vcpus(struct vm *vm)
{
	unsigned long masked = vm_mask(vm);

	vm->cpuid = arena_alloc(&vm->arena, sizeof *vm->cpuid, sizeof(uint64_t));
	ASSERT(vm->cpuid);
	vm->machine->engine->load(vm->vcpus[0]);
	cpuid_build(vm);
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		msr_settle(vm->vcpus[i]);
	vm_unmask(vm, masked);
}

static enum status make_machine(struct vm *vm, const struct guest_layout *layout, struct error *err)
{
	enum status st = make_memory(vm, layout);

	vm_time_init(&vm->time, vm->machine->host->clock);
	vm->wall_msr = 0;
	vm->tsc_apart = false;
	for (unsigned i = 0; i < vm->config.cpu.count && st == ST_OK; i++)
		st = make_vcpu(vm, i);
	if (st != ST_OK)
		return no_machine(vm, st, err);
	describe_vcpus(vm);
	return ST_OK;
}

static enum status make_devices(struct vm *vm, struct error *err)
{
	unsigned long masked = vm_mask(vm);
	enum status st;

	vm_buses_init(vm);
	vm_io_init(&vm->io, vm);
	timerq_init(&vm->timers, vm->timer_slots, VM_TIMERS_MAX);
	vm->timers_told = TIMERQ_NEVER;
	vm_enter_devices(vm);
	st = platform_create(vm, err);
	if (st == ST_OK) {
		platform_reset(vm);
		vlapic_virtual_wire(&vm->vcpus[0]->lapic);
	}
	vm_leave_devices(vm);
	vm_unmask(vm, masked);
	return st;
}

static enum status load_image(struct vm *vm, const struct guest_layout *layout, struct error *err)
{
	enum status st = ST_OK;

	if (vm->config.acpi)
		st = acpi_build(vm, layout, err);
	return st == ST_OK ? boot_load(vm, layout, err) : st;
}

enum status vm_build(struct vm *vm, struct error *err)
{
	struct guest_layout layout;
	enum status st = layout_build(&vm->config, &layout, err);

	if (st != ST_OK)
		return st;
	st = admit(vm, err);
	if (st != ST_OK)
		return st;
	st = vm_cpu_enter(vm, err);
	if (st != ST_OK)
		return st;
	st = make_arena(vm);
	if (st != ST_OK)
		return no_machine(vm, st, err);
	st = make_machine(vm, &layout, err);
	if (st != ST_OK)
		return st;
	st = make_devices(vm, err);
	if (st == ST_OK)
		st = platform_plug(vm, err);
	return st == ST_OK ? load_image(vm, &layout, err) : st;
}

/* ---- unmaking ---- */

static void release_vcpus(struct vm *vm)
{
	struct machine *m = vm->machine;
	unsigned long masked = vm_mask(vm);

	if (vm->state == VM_CRASHED && vm->vcpu_count > 1)
		vm_report_siblings(vm);
	for (unsigned i = 0; i < VM_VCPUS_MAX; i++) {
		struct vcpu *v = vm->vcpus[i];

		if (!v)
			continue;
		if (v->hw) {
			m->engine->put(v);
			m->engine->vcpu_destroy(v);
		}
		vm->vcpus[i] = NULL;
	}
	vm->vcpu_count = 0;
	vm_unmask(vm, masked);
}

static void release_memory(struct vm *vm)
{
	enum status st;

	if (!vm->memory)
		return;
	do {
		unsigned long masked = vm_mask(vm);

		st = gpmap_release_step(vm->memory, RELEASE_PAGES);
		if (st == ST_OK)
			gpmap_destroy(vm->memory);
		vm_unmask(vm, masked);
	} while (st == ST_AGAIN);
	ASSERT(st == ST_OK); /* what devices had pinned they gave back in platform_stop() */
	vm->memory = NULL;
}

static void release_rest(struct vm *vm)
{
	struct machine *m = vm->machine;
	unsigned long masked = vm_mask(vm);

	if (vm->hw)
		m->engine->vm_destroy(vm);
	vm->hw = NULL;
	vm->stage2 = NULL;
	if (vm->arena.base)
		memmgr_free(m->mm, vm->arena_frame, vm->arena_order);
	vm->arena = (struct arena){0};
	vm->platform = NULL;
	vm->cpuid = NULL;
	vm->console.input = NULL;
	m->committed -= vm->committed;
	vm->committed = 0;
	vm_unmask(vm, masked);
}

void vm_abandon(struct vm *vm)
{
	unsigned long masked;
	bool off = vm_io_take_off(&vm->io, UINT64_MAX); /* it is off, or nobody has asked anything of it yet */

	ASSERT(off);
	platform_stop(vm);
	masked = vm_mask(vm);
	vm_keep_figures(vm);
	vm_unmask(vm, masked);
	release_vcpus(vm);
	vm_cpu_leave(vm);
	release_memory(vm);
	release_rest(vm);
	__atomic_store_n(&vm->teardown_due, false, __ATOMIC_RELAXED);
	vm->restart_due = false;
}

enum status vm_release(struct vm *vm, struct error *err)
{
	enum status st = vm_take_off(vm, err);

	if (st == ST_OK)
		st = vm_quiesce(vm, err);
	if (st == ST_OK)
		vm_abandon(vm);
	return st;
}
