/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of VMs and their lifecycle. A state changes in one function, by one
 * table that says from where each action is legal and where it leads. A VM that
 * leaves the running state by itself only changes state and asks for teardown;
 * the control task takes it apart later, where waiting and logging are allowed.
 */
#include "guest/vm.h"

#include <string.h>

#include "guest/platform.h"
#include "guest/vm_cpu.h"
#include "guest/vm_devices.h"
#include "guest/vm_internal.h"
#include "guest/vm_virtio.h"
#include "lib/assert.h"
#include "lib/checked.h"
#include "lib/format.h"
#include "lib/log.h"

#define TAKE_OFF_NS 1000000000ull /* who has not left its CPU by then is on one that is stuck */
#define QUIESCE_NS 1000000000ull  /* a disk that is well has ended what it was asked by then */

/* ---- states ---- */

enum vm_action { DO_START, DO_RUN, DO_ABANDON, DO_PAUSE, DO_RESUME, DO_STOP, DO_END, DO_CRASH, DO_PRESS, DO_DESTROY };

#define FROM(state) (1u << (state))
#define AT_REST (FROM(VM_DEFINED) | FROM(VM_STOPPED) | FROM(VM_CRASHED))
#define AS_BEFORE VM_STATES /* the state that vm->before remembers */
#define UNCHANGED (VM_STATES + 1)

static const struct {
	const char *done; /* "it cannot be ..." */
	unsigned from;    /* states in which it is legal */
	unsigned to;
} actions[] = {
	[DO_START] = {"started", AT_REST, VM_LOADING},
	[DO_RUN] = {"run", FROM(VM_LOADING), VM_RUNNING},
	[DO_ABANDON] = {"abandoned", FROM(VM_LOADING), AS_BEFORE},
	[DO_PAUSE] = {"paused", FROM(VM_RUNNING), VM_PAUSED},
	[DO_RESUME] = {"resumed", FROM(VM_PAUSED), VM_RUNNING},
	[DO_STOP] = {"stopped", FROM(VM_RUNNING) | FROM(VM_PAUSED), VM_STOPPED},
	/* A vcpu may come to its end in the turn that a pause waits for. */
	[DO_END] = {"ended", FROM(VM_RUNNING) | FROM(VM_PAUSED), VM_STOPPED},
	[DO_CRASH] = {"crashed", FROM(VM_RUNNING) | FROM(VM_PAUSED), VM_CRASHED},
	[DO_PRESS] = {"shut down by its power button", FROM(VM_RUNNING), UNCHANGED},
	[DO_DESTROY] = {"destroyed", AT_REST, UNCHANGED},
};

const char *vm_state_name(enum vm_state state)
{
	static const char *const names[VM_STATES] = {"defined", "loading", "running", "paused", "stopped", "crashed"};

	return (unsigned)state < VM_STATES ? names[state] : "unknown";
}

bool vm_starts_again(const struct vm *vm)
{
	return __atomic_load_n(&vm->state, __ATOMIC_ACQUIRE) == VM_STOPPED && vm->restart_due;
}

const char *vm_state_words(const struct vm *vm)
{
	return vm_starts_again(vm) ? "stopped and about to start again" : vm_state_name(vm->state);
}

/*
 * What ends a VM says why before it says that: whoever sees the one sees the other, and nothing moves after that but by
 * the control task.
 */
void vm_outcome(const struct vm *vm, struct vm_outcome *out)
{
	enum vm_state state = __atomic_load_n(&vm->state, __ATOMIC_ACQUIRE);

	*out = (struct vm_outcome){.state = state};
	if (state != VM_STOPPED && state != VM_CRASHED)
		return;
	out->reason = vm->reason;
	out->exit_code = vm->exit_code;
}

const char *vm_report(const struct vm *vm)
{
	return __atomic_load_n(&vm->report_whole, __ATOMIC_ACQUIRE) ? vm->report : "";
}

const char *vm_reason_name(enum vm_reason reason)
{
	static const char *const names[] = {"none", "operator", "power-off", "reset", "debug-exit", "crash"};

	return (unsigned)reason < ARRAY_SIZE(names) ? names[reason] : "unknown";
}

static enum status check_action(const struct vm *vm, enum vm_action action, struct error *err)
{
	char legal[64];
	size_t used = 0;

	if (actions[action].from & FROM(vm->state))
		return ST_OK;
	legal[0] = 0;
	for (unsigned s = 0; s < VM_STATES; s++) {
		if (actions[action].from & FROM(s))
			used += format(legal + used, sizeof legal - used, "%s%s", used ? " or " : "",
				       vm_state_name((enum vm_state)s));
	}
	return fail(err, ST_BAD_STATE, "VM %s is %s and cannot be %s: it must be %s", vm->config.name,
		    vm_state_words(vm), actions[action].done, legal);
}

/* A vcpu's CPU may change a VM's state while the control task changes another's. */
static void note_change(struct machine *m)
{
	__atomic_fetch_add(&m->changes, 1, __ATOMIC_RELEASE);
}

/* The only writer of vm->state, with the VM's lock held. */
static void transition(struct vm *vm, enum vm_action action)
{
	unsigned to = actions[action].to;

	ASSERT(actions[action].from & FROM(vm->state));
	if (action == DO_START)
		vm->before = vm->state;
	if (to != UNCHANGED)
		__atomic_store_n(&vm->state, to == AS_BEFORE ? vm->before : (enum vm_state)to, __ATOMIC_RELEASE);
	note_change(vm->machine);
}

/* ---- the table ---- */

struct vm *vm_by_id(struct machine *m, unsigned id)
{
	return id >= 1 && id <= VMS_MAX ? m->vms[id - 1] : NULL;
}

struct vm *vm_next(struct machine *m, const struct vm *prev)
{
	for (unsigned i = prev ? prev->id : 0; i < VMS_MAX; i++) {
		if (m->vms[i])
			return m->vms[i];
	}
	return NULL;
}

struct vm *vm_find(struct machine *m, const char *name)
{
	for (struct vm *vm = vm_next(m, NULL); vm; vm = vm_next(m, vm)) {
		if (strcmp(vm->config.name, name) == 0)
			return vm;
	}
	return NULL;
}

static enum status free_slot(const struct machine *m, unsigned *out, struct error *err)
{
	for (unsigned i = 0; i < VMS_MAX; i++) {
		if (!m->vms[i]) {
			*out = i;
			return ST_OK;
		}
	}
	return fail(err, ST_OVER_LIMIT, "there are %d VMs already, the most that this version holds", VMS_MAX);
}

/* struct vm is followed by the console's input ring; the output log has a block of its own. */
#define VM_BLOCK_BYTES (sizeof(struct vm) + CONSOLE_INPUT_BYTES)

uint64_t vm_definition_bytes(void)
{
	return (PAGE_SIZE << order_of(VM_BLOCK_BYTES)) + (PAGE_SIZE << order_of(CONSOLE_LOG_BYTES));
}

static enum status alloc_definition(struct machine *m, struct vm **vm, void **log)
{
	hfn_t block, log_block;
	enum status st = memmgr_alloc_zero(m->mm, order_of(VM_BLOCK_BYTES), &block);

	if (st != ST_OK)
		return st;
	st = memmgr_alloc(m->mm, order_of(CONSOLE_LOG_BYTES), &log_block);
	if (st != ST_OK) {
		memmgr_free(m->mm, block, order_of(VM_BLOCK_BYTES));
		return st;
	}
	*vm = memmgr_va(m->mm, block);
	*log = memmgr_va(m->mm, log_block);
	return ST_OK;
}

static void free_definition(struct machine *m, struct vm *vm)
{
	memmgr_free(m->mm, memmgr_hfn(m->mm, vm->console.out.buf), order_of(CONSOLE_LOG_BYTES));
	memmgr_free(m->mm, memmgr_hfn(m->mm, vm), order_of(VM_BLOCK_BYTES));
}

static enum status check_new(struct machine *m, const struct vm_config *cfg, unsigned *slot, struct error *err)
{
	enum status st = vm_config_check(cfg, err);
	const struct vm *other;
	struct error why = {""};
	struct pool *pool;

	if (st != ST_OK)
		return st;
	other = vm_find(m, cfg->name);
	if (other)
		return fail(err, ST_EXISTS, "VM %s exists already%s%s%s", cfg->name,
			    other->config.origin[0] ? " (defined at " : "", other->config.origin,
			    other->config.origin[0] ? ")" : "");
	if (cfg->pool[0]) {
		st = pool_named(m, cfg->pool, &pool, &why);
		if (st != ST_OK)
			return fail(err, st, "VM %s: pool: %.150s", cfg->name, why.text);
	}
	st = free_slot(m, slot, err);
	if (st != ST_OK)
		return st;
	if (!range_fits(m->committed, vm_definition_bytes(), m->capacity))
		return fail(err, ST_NOT_ADMITTED, "VM %s: its definition needs %llu bytes, %llu of %llu are promised",
			    cfg->name, (unsigned long long)vm_definition_bytes(), (unsigned long long)m->committed,
			    (unsigned long long)m->capacity);
	return ST_OK;
}

enum status vm_define(struct machine *m, const struct vm_config *cfg, struct vm **out, struct error *err)
{
	struct vm *vm;
	void *log;
	unsigned slot = 0;
	unsigned long masked;
	enum status st = check_new(m, cfg, &slot, err);

	if (st != ST_OK)
		return st;
	masked = m->host->mask();
	st = alloc_definition(m, &vm, &log);
	m->host->unmask(masked);
	if (st != ST_OK)
		return fail(err, st, "VM %s: no host memory for its definition", cfg->name);
	vm->machine = m;
	vm->id = (uint16_t)(slot + 1);
	vm->config = *cfg;
	for (unsigned i = 0; i < VM_DISKS_MAX; i++)
		vm->disk_places[i] = (struct vm_disk_place){.vm = vm, .index = i};
	for (unsigned i = 0; i < VM_NICS_MAX; i++)
		vm->nic_places[i] = (struct vm_nic_place){.vm = vm, .index = i};
	lock_init(&vm->lock, LOCK_VM);
	vm_io_init(&vm->io, vm);
	console_init(&vm->console, log, vm + 1);
	m->committed += vm_definition_bytes();
	m->vms[slot] = vm;
	note_change(m);
	*out = vm;
	return ST_OK;
}

enum status vm_destroy(struct vm *vm, struct error *err)
{
	struct machine *m = vm->machine;
	enum status st = check_action(vm, DO_DESTROY, err);
	unsigned long masked;

	if (st == ST_OK)
		st = vm_release(vm, err);
	if (st != ST_OK)
		return st;
	m->vms[vm->id - 1] = NULL;
	note_change(m);
	m->committed -= vm_definition_bytes();
	masked = m->host->mask();
	free_definition(m, vm);
	m->host->unmask(masked);
	return ST_OK;
}

/* ---- the vcpus' side ---- */

static const enum vm_action action_of[] = {
	[REASON_POWER_OFF] = DO_END,
	[REASON_RESET] = DO_END,
	[REASON_DEBUG_EXIT] = DO_END,
	[REASON_CRASH] = DO_CRASH,
};

bool vm_end(struct vm *vm, enum vm_reason reason, uint32_t code)
{
	/* What a dying guest does after its end changes nothing. */
	if (!(actions[action_of[reason]].from & FROM(vm->state)))
		return false;
	vm->reason = reason;
	vm->exit_code = code;
	vm->restart_due = reason == REASON_RESET && vm->config.on_reset == ON_RESET_RESTART;
	transition(vm, action_of[reason]);
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		vcpu_request(vm->vcpus[i], REQ_PAUSE);
	return true;
}

void vm_post_teardown(struct vm *vm)
{
	struct machine *m = vm->machine;

	__atomic_store_n(&vm->teardown_due, true, __ATOMIC_RELEASE);
	__atomic_store_n(&m->teardown_due, true, __ATOMIC_RELEASE);
	note_change(m);
	m->host->notify();
}

void vm_want_pause(struct vm *vm)
{
	struct machine *m = vm->machine;

	__atomic_store_n(&vm->pause_due, true, __ATOMIC_RELEASE);
	__atomic_store_n(&m->teardown_due, true, __ATOMIC_RELEASE);
	m->host->notify();
}

void vm_disk_failed(struct vm *vm, unsigned index)
{
	struct machine *m = vm->machine;

	if (__atomic_fetch_or(&vm->disks_failing, (uint32_t)BIT(index), __ATOMIC_ACQ_REL) & BIT(index))
		return;
	note_change(m);
	m->host->notify();
}

void vm_event_locked(struct vm *vm, enum vm_reason reason, uint32_t code)
{
	if (vm_end(vm, reason, code))
		vm_post_teardown(vm);
}

void vm_event(struct vm *vm, enum vm_reason reason, uint32_t code)
{
	lock_acquire(&vm->lock);
	vm_event_locked(vm, reason, code);
	lock_release(&vm->lock);
}

/* ---- commands ---- */

/* Wakes the vcpus, which are on their queues, and lets time go on. The lock is held. */
static void set_running(struct vm *vm)
{
	struct machine *m = vm->machine;

	vm_time_resume(&vm->time);
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		struct vcpu *v = vm->vcpus[i];

		m->engine->load(v);
		m->engine->set_tsc_offset(v, vm->time.offset + v->msr.tsc_adjust);
		/* It may run on any CPU. */
		m->engine->put(v);
	}
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		struct vcpu *v = vm->vcpus[i];

		/* Who waits for a start-up message has nothing to do; it may have come just now. */
		if (!v->waiting || (__atomic_load_n(&v->requests, __ATOMIC_SEQ_CST) & REQ_MAIL))
			vcpu_request(v, REQ_EVENT);
	}
}

/* The worker of devices that have none would only be in others' way. */
static enum status add_entities(struct vm *vm, struct error *err)
{
	unsigned long masked = vm_mask(vm);
	struct error why = {""};
	enum status st = vm->io.count ? vm_io_start(&vm->io, &why) : ST_OK;

	vm_unmask(vm, masked);
	if (st != ST_OK)
		return fail(err, st, "VM %s: its I/O worker: %.150s", vm->config.name, why.text);
	return vm_cpu_add_vcpus(vm, err);
}

static void change(struct vm *vm, enum vm_action action)
{
	unsigned long state = vm_lock(vm);

	transition(vm, action);
	vm_unlock(vm, state);
}

enum status vm_start(struct vm *vm, struct error *err)
{
	enum status st = check_action(vm, DO_START, err);
	unsigned long state;

	if (st == ST_OK)
		st = vm_release(vm, err);
	if (st != ST_OK)
		return st;
	if (vm->machine->starting)
		vm->machine->starting(vm->machine->starting_ctx, vm);
	change(vm, DO_START);
	st = vm_build(vm, err);
	if (st == ST_OK)
		st = add_entities(vm, err);
	if (st != ST_OK) {
		vm_abandon(vm);
		change(vm, DO_ABANDON);
		return st;
	}
	state = vm_lock(vm);
	transition(vm, DO_RUN);
	vm->reason = REASON_NONE;
	vm->exit_code = 0;
	vm->denied_msrs = 0;
	vm->report[0] = 0;
	vm->report_whole = false;
	vm->starts++;
	vm->started_at = vm->machine->host->clock->ticks();
	set_running(vm);
	vm_unlock(vm, state);
	return ST_OK;
}

/* A guest that resets itself is stopped until the control task starts it again: who stops it then wants it to stay so. */
static void take_restart_back(struct vm *vm)
{
	vm->restart_due = false;
	vm->reason = REASON_OPERATOR;
	note_change(vm->machine);
}

enum status vm_stop(struct vm *vm, struct error *err)
{
	unsigned long state = vm_lock(vm);
	bool again = vm_starts_again(vm);
	enum status st = again ? ST_OK : check_action(vm, DO_STOP, err);

	if (again) {
		take_restart_back(vm);
	} else if (st == ST_OK) {
		vm->reason = REASON_OPERATOR;
		transition(vm, DO_STOP);
	}
	vm_unlock(vm, state);
	if (again)
		log_info("VM %s was about to start again after a reset, and stays stopped", vm->config.name);
	return st == ST_OK ? vm_release(vm, err) : st;
}

static bool take_off(struct vcpu *v, uint64_t until)
{
	if (!vcpu_take_off(v, until))
		return false;
	v->used_before += v->entity.figures.used;
	v->waited_before += v->entity.figures.waited;
	v->entity.figures.used = v->entity.figures.waited = 0;
	return true;
}

static void tell_fault(struct machine *m, const struct error *err)
{
	log_error("%s", err->text);
	if (m->fault)
		m->fault(m->fault_ctx, err->text);
}

/* What vm->held_by says keeps a VM from being taken apart. Nobody is told twice. */
static enum status note_held(struct vm *vm, bool known, struct error *err)
{
	vm->machine->lingering = true;
	(void)fail(err, ST_BUSY, "VM %s is %s, but %s", vm->config.name, vm_state_name(vm->state), vm->held_by);
	if (!known)
		tell_fault(vm->machine, err);
	return ST_BUSY;
}

/* A CPU does not let go of @vcpu, NULL: of the VM's worker. */
static enum status note_cpu(struct vm *vm, const struct vcpu *vcpu, struct error *err)
{
	bool known = vm->lingers;
	unsigned cpu = vcpu ? vcpu->cpu->id : __atomic_load_n(&vm->io.entity.cpu, __ATOMIC_RELAXED);
	size_t n = format(vm->held_by, sizeof vm->held_by, "CPU %u is stuck and does not let go of its ", cpu);

	if (vcpu)
		format(vm->held_by + n, sizeof vm->held_by - n, "vcpu %u", vcpu->id);
	else
		format(vm->held_by + n, sizeof vm->held_by - n, "I/O worker");
	vm->lingers = true;
	return note_held(vm, known, err);
}

enum status vm_take_off(struct vm *vm, struct error *err)
{
	const struct clock *clock = vm->machine->host->clock;
	unsigned long state = vm_mask(vm);
	uint64_t until = clock->ticks() + (vm->lingers ? 0 : ns_to_ticks(TAKE_OFF_NS, clock->hz));
	const struct vcpu *held = NULL;
	bool worker_off;

	for (unsigned i = 0; i < vm->vcpu_count; i++)
		vcpu_request(vm->vcpus[i], REQ_PAUSE);
	vm_unmask(vm, state);
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		if (!take_off(vm->vcpus[i], until) && !held)
			held = vm->vcpus[i];
	}
	worker_off = vm_io_take_off(&vm->io, until);
	if (held || !worker_off)
		return note_cpu(vm, held, err);
	vm->lingers = false;
	vm->held_by[0] = '\0';
	return ST_OK;
}

enum status vm_quiesce(struct vm *vm, struct error *err)
{
	const struct clock *clock = vm->machine->host->clock;
	uint64_t until = clock->ticks() + (vm->disk_lingers ? 0 : ns_to_ticks(QUIESCE_NS, clock->hz));
	const struct vm_disk *held;
	bool known = vm->disk_lingers;

	vm->disk_lingers = !platform_quiesce(vm, until, &held);
	if (!vm->disk_lingers) {
		vm->held_by[0] = '\0';
		return ST_OK;
	}
	/* Nothing but disks takes time of its own; what a network has comes with the turn of the network's worker. */
	if (held)
		format(vm->held_by, sizeof vm->held_by,
		       "its disk %s has not come back with what is under way in its memory: volume %.40s", held->name,
		       held->volume);
	else
		format(vm->held_by, sizeof vm->held_by,
		       "a network has not come back with a frame in its memory");
	return note_held(vm, known, err);
}

/* A paused VM's vcpus leave their CPUs; then its time stands. */
static enum status freeze(struct vm *vm, struct error *err)
{
	enum status st = vm_take_off(vm, err);
	unsigned long state;

	if (st != ST_OK)
		return st;
	state = vm_lock(vm);
	if (vm->state == VM_PAUSED)
		vm_time_pause(&vm->time);
	else
		st = fail(err, ST_BAD_STATE, "VM %s ended by itself (%s) while it was being paused", vm->config.name,
			  vm_reason_name(vm->reason));
	vm_unlock(vm, state);
	return st;
}

enum status vm_pause(struct vm *vm, struct error *err)
{
	unsigned long state = vm_lock(vm);
	enum status st = check_action(vm, DO_PAUSE, err);

	if (st == ST_OK) {
		transition(vm, DO_PAUSE);
		vm->paused_full = false;
	}
	vm_unlock(vm, state);
	if (st != ST_OK)
		return st;
	return freeze(vm, err);
}

enum status vm_resume(struct vm *vm, struct error *err)
{
	enum status st = check_action(vm, DO_RESUME, err);
	bool take_worker = false;
	unsigned long state;

	if (st == ST_OK && vm->lingers)
		st = freeze(vm, err);
	if (st != ST_OK)
		return st;
	state = vm_lock(vm);
	st = check_action(vm, DO_RESUME, err);
	if (st == ST_OK) {
		st = add_entities(vm, err);
		take_worker = st != ST_OK;
	}
	if (st == ST_OK) {
		transition(vm, DO_RESUME);
		vm->paused_full = false;
		set_running(vm);
	}
	vm_unlock(vm, state);
	if (take_worker)
		vm->lingers = !vm_io_take_off(&vm->io, 0);
	if (st == ST_OK)
		platform_resumed(vm);
	return st;
}

enum status vm_power_button(struct vm *vm, struct error *err)
{
	unsigned long masked = vm_mask(vm);
	enum status st;

	vm_enter_devices(vm);
	st = check_action(vm, DO_PRESS, err);
	if (st == ST_OK)
		platform_power_button(vm);
	vm_leave_devices(vm);
	vm_unmask(vm, masked);
	return st;
}

size_t vm_console_input(struct vm *vm, const void *data, size_t len)
{
	unsigned long masked = vm_mask(vm);
	size_t taken;

	vm_enter_devices(vm);
	taken = console_input(&vm->console, data, len);
	vm_leave_devices(vm);
	vm_unmask(vm, masked);
	return taken;
}

void vm_console_size(struct vm *vm, uint16_t columns, uint16_t rows)
{
	struct vm_virtio *v = platform_virtio(vm);
	unsigned long masked = vm_mask(vm);

	vm->console.columns = columns;
	vm->console.rows = rows;
	if (v)
		vm_virtio_console_size(v);
	vm_unmask(vm, masked);
}

/* ---- what left by itself ---- */

static void log_end(const struct vm *vm)
{
	const char *report = vm_report(vm), *end = strchr(report, '\n');
	int length = end ? (int)(end - report) : 0;

	if (vm->reason == REASON_CRASH)
		log_warn("VM %s crashed: %.*s", vm->config.name, length, report);
	else
		log_info("VM %s ended: %s, code %u%s", vm->config.name, vm_reason_name(vm->reason), vm->exit_code,
			 vm->restart_due ? ", starting again" : "");
}

static void reap(struct vm *vm)
{
	struct error err;
	bool again = vm->restart_due, known = vm->lingers || vm->disk_lingers;

	if (!known)
		log_end(vm);
	if (vm_release(vm, &err) != ST_OK)
		return; /* told, and looked at again */
	if (known)
		log_info("VM %s: what held it has let go of it", vm->config.name);
	if (again && vm_start(vm, &err) != ST_OK)
		log_error("VM %s did not start again: %s", vm->config.name, err.text);
}

/* It may have ended meanwhile, or been paused by an operator: then there is nothing to do. */
static void pause_full(struct vm *vm)
{
	struct error err;

	if (vm->state != VM_RUNNING || vm_pause(vm, &err) != ST_OK)
		return;
	vm->paused_full = true;
	log_warn("VM %s is paused: a volume of its disks is full; it goes on when there is space", vm->config.name);
}

/* Those that a stuck CPU or a disk has something of: whoever finds that it goes on wakes the control task. */
static void reap_lingering(struct machine *m)
{
	if (likely(!m->lingering))
		return;
	m->lingering = false;
	for (struct vm *vm = vm_next(m, NULL); vm; vm = vm_next(m, vm)) {
		if ((vm->lingers || vm->disk_lingers) && vm->state != VM_PAUSED)
			reap(vm);
	}
}

bool vm_reap(struct machine *m)
{
	reap_lingering(m);
	/* Cleared first: an event that comes meanwhile sets it again. */
	if (!__atomic_exchange_n(&m->teardown_due, false, __ATOMIC_ACQ_REL))
		return false;
	for (struct vm *vm = vm_next(m, NULL); vm; vm = vm_next(m, vm)) {
		if (__atomic_exchange_n(&vm->pause_due, false, __ATOMIC_ACQ_REL))
			pause_full(vm);
		if (__atomic_load_n(&vm->teardown_due, __ATOMIC_ACQUIRE) && !vm->lingers && !vm->disk_lingers) {
			reap(vm);
			__atomic_store_n(&m->teardown_due, true, __ATOMIC_RELEASE); /* one VM a call: others may wait */
			return true;
		}
	}
	return false;
}

/* ---- information ---- */

static void add_vcpu(const struct vcpu *v, struct vm_info *out)
{
	out->waited_ns += ticks_to_ns(v->waited_before + v->entity.figures.waited, v->host->clock->hz);
	out->injected += v->injected;
	for (unsigned k = 0; k < EXIT_KINDS; k++) {
		out->exits_by_kind[k] += v->exits[k];
		out->exits += v->exits[k];
	}
}

/* Of a VM that is built. */
static void count_usage(const struct vm *vm, struct vm_usage *out)
{
	struct gpmap_stats pages;

	gpmap_stats(vm->memory, &pages);
	*out = (struct vm_usage){.memory_present = pages.present_pages * PAGE_SIZE, .uptime_ns = vm_time_ns(&vm->time)};
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		const struct vcpu *v = vm->vcpus[i];

		out->cpu_ns += ticks_to_ns(v->used_before + v->entity.figures.used, v->host->clock->hz);
	}
}

static void count(const struct vm *vm, struct vm_info *out)
{
	struct vm_usage usage;

	count_usage(vm, &usage);
	*out = (struct vm_info){
		.memory_present = usage.memory_present,
		.cpu_ns = usage.cpu_ns,
		.uptime_ns = usage.uptime_ns,
		.denied_msrs = vm->denied_msrs,
		.bus_misses = vm->pio.misses + vm->mmio.misses,
	};
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		add_vcpu(vm->vcpus[i], out);
	vm_cpu_figures(vm, &out->cpu);
}

/* What the vcpus count on their CPUs is read as it is at the moment: each number by itself is right. */
void vm_usage(const struct vm *vm, struct vm_usage *out)
{
	unsigned long masked = vm_mask(vm);

	if (vm->memory)
		count_usage(vm, out);
	else
		*out = (struct vm_usage){.cpu_ns = vm->last.cpu_ns, .uptime_ns = vm->last.uptime_ns};
	vm_unmask(vm, masked);
}

void vm_info(const struct vm *vm, struct vm_info *out)
{
	uint64_t built = vm_overhead_bytes(vm->machine, &vm->config);
	unsigned long masked = vm_mask(vm);

	if (vm->memory)
		count(vm, out);
	else
		*out = vm->last;
	out->overhead = vm_definition_bytes() + built;
	vm_unmask(vm, masked);
}

void vm_keep_figures(struct vm *vm)
{
	/* A start that failed has come to nothing. */
	if (!vm->memory || vm->state == VM_LOADING)
		return;
	count(vm, &vm->last);
	vm->last.memory_present = 0;
}
