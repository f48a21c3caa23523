/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes are tried before they are made: numbers and places as a plan, attributes
 * by giving the scheduler the new ones and then the old ones again, which it had
 * admitted. Between that and the change itself nobody else changes anything,
 * because all of it is the control task's.
 */
#include "guest/vm_cpu.h"

#include <string.h>

#include "guest/vm_internal.h"
#include "lib/assert.h"
#include "lib/format.h"
#include "lib/log.h"

static enum status refuse(const struct vm *vm, enum status st, const struct error *why, struct error *err)
{
	return fail(err, st, "VM %s: cpu: %.150s", vm->config.name, why->text);
}

static struct sched_attr attributes(const struct vm_config *cfg)
{
	return (struct sched_attr){
		.affinity.word[0] = cfg->cpu.affinity, .exclusive = cfg->cpu.exclusive, .latency = cfg->cpu.latency,
		.gang = cfg->cpu.count > 1,
	};
}

/* CPUs that are named must be there: a typing error is none that is meant for another machine. */
static enum status check_affinity(const struct vm *vm, const struct vm_config *cfg, struct error *err)
{
	uint64_t left = cfg->cpu.affinity;

	for (; left; left &= left - 1) {
		unsigned cpu = bit_lowest(left);

		if (!vm->machine->host->cpu_at(cpu))
			return fail(err, ST_INVALID, "its affinity names CPU %u, which is not there", cpu);
	}
	return ST_OK;
}

/* The scheduler's node of the pool that @cfg names; NULL: the root. */
static enum status find_parent(const struct vm *vm, const struct vm_config *cfg, struct sched_pool **out, struct error *err)
{
	struct pool *p;
	enum status st = ST_OK;

	*out = NULL;
	if (!cfg->pool[0])
		return ST_OK;
	st = pool_named(vm->machine, cfg->pool, &p, err);
	if (st == ST_OK)
		*out = p->cpu;
	return st;
}

/* ---- coming and going ---- */

enum status vm_cpu_enter(struct vm *vm, struct error *err)
{
	struct machine *m = vm->machine;
	struct error why = {""};
	enum status st = check_affinity(vm, &vm->config, &why);
	struct sched_pool *parent = NULL;
	unsigned long state;

	if (st == ST_OK)
		st = find_parent(vm, &vm->config, &parent, &why);
	state = vm_mask(vm);
	if (st == ST_OK)
		st = sched_pool_add(m->sched, &vm->pool, parent, vm->config.name, &vm->config.cpu.numbers, &why);
	vm_unmask(vm, state);
	return st == ST_OK ? ST_OK : refuse(vm, st, &why, err);
}

void vm_cpu_leave(struct vm *vm)
{
	unsigned long state = vm_mask(vm);
	struct error err;
	enum status st;

	if (vm_cpu_entered(vm)) {
		st = sched_pool_remove(vm->machine->sched, &vm->pool, &err);
		ASSERT(st == ST_OK); /* its vcpus have been taken off */
		vm->pool.name[0] = '\0';
	}
	vm_unmask(vm, state);
}

/* What the scheduler's traces call it. */
static void name_vcpu(const struct vcpu *v, char name[SCHED_NAME_MAX])
{
	const struct vm *vm = v->vm;

	if (vm->vcpu_count == 1)
		format(name, SCHED_NAME_MAX, "%s", vm->config.name);
	else
		format(name, SCHED_NAME_MAX, "%.*s/%u", SCHED_NAME_MAX - 4, vm->config.name, v->id);
}

static enum status add_vcpu(struct vcpu *v, struct error *err)
{
	struct vm *vm = v->vm;
	struct sched_attr attr = attributes(&vm->config);
	unsigned long state = vm_mask(vm);
	char name[SCHED_NAME_MAX];
	enum status st;

	name_vcpu(v, name);
	st = sched_add(vm->machine->sched, &v->entity, &vm->pool, name, &attr, vm->machine->host->clock->ticks(), err);
	vm_unmask(vm, state);
	return st;
}

static void take_vcpu_off(struct vcpu *v)
{
	unsigned long state = vm_mask(v->vm);
	bool gone = sched_remove(v->vm->machine->sched, &v->entity);

	ASSERT(gone); /* nobody has woken it */
	vm_unmask(v->vm, state);
}

enum status vm_cpu_add_vcpus(struct vm *vm, struct error *err)
{
	struct error why = {""};
	enum status st = ST_OK;
	unsigned n = 0;

	for (; n < vm->vcpu_count && st == ST_OK; n++)
		st = add_vcpu(vm->vcpus[n], &why);
	if (st == ST_OK)
		return ST_OK;
	for (n--; n-- > 0;) /* without the one that failed */
		take_vcpu_off(vm->vcpus[n]);
	return refuse(vm, st, &why, err);
}

/* ---- changing ---- */

static bool is_same(const struct sched_attr *a, const struct sched_attr *b)
{
	return memcmp(&a->affinity, &b->affinity, sizeof a->affinity) == 0 && a->exclusive == b->exclusive &&
	       a->latency == b->latency && a->gang == b->gang;
}

/* Masked for each by itself: what is promised to all is added up. */
static enum status set_attributes_of(struct vcpu *v, const struct vm_config *cfg, struct error *err)
{
	struct sched_attr attr = attributes(cfg);
	unsigned long state;
	enum status st;

	attr.gang = v->vm->vcpu_count > 1;
	if (__atomic_load_n(&v->entity.state, __ATOMIC_RELAXED) == SCHED_DETACHED || is_same(&attr, &v->entity.attr))
		return ST_OK;
	state = vm_mask(v->vm);
	st = sched_set_attr(v->vm->machine->sched, &v->entity, &attr, v->host->clock->ticks(), err);
	vm_unmask(v->vm, state);
	return st;
}

static enum status set_attributes(struct vm *vm, const struct vm_config *cfg, struct error *err)
{
	enum status st = ST_OK;

	for (unsigned i = 0; i < vm->vcpu_count && st == ST_OK; i++)
		st = set_attributes_of(vm->vcpus[i], cfg, err);
	return st;
}

/* Back to what is in force: through the states that were admitted on the way there, so in reverse order. */
static enum status reset_attributes(struct vm *vm, struct error *err)
{
	enum status st = ST_OK;

	for (unsigned i = vm->vcpu_count; i-- > 0 && st == ST_OK;)
		st = set_attributes_of(vm->vcpus[i], &vm->config, err);
	return st;
}

/* What was in force is admitted again. Should it be refused all the same, the machine goes on with what there is. */
static void note_put_back(const struct vm *vm, enum status back, const struct error *why)
{
	if (back != ST_OK)
		log_error("VM %s: its CPU settings could not be put back: %s", vm->config.name, why->text);
}

enum status vm_cpu_set_attributes(struct vm *vm, const struct vm_config *cfg, struct error *err)
{
	enum status st = check_affinity(vm, cfg, err), back;
	struct error none;

	if (st != ST_OK)
		return st;
	st = set_attributes(vm, cfg, err);
	if (st != ST_OK) {
		back = reset_attributes(vm, &none);
		note_put_back(vm, back, &none);
	}
	return st;
}

void vm_cpu_reset_attributes(struct vm *vm)
{
	struct error why;

	note_put_back(vm, reset_attributes(vm, &why), &why);
}

/* With its place. Nothing is done about what is so already. */
static enum status set_numbers(struct vm *vm, const struct vm_config *cfg, bool commit, struct error *err)
{
	struct sched *s = vm->machine->sched;
	struct sched_change change = {.pool = &vm->pool, .numbers = cfg->cpu.numbers};
	enum status st = find_parent(vm, cfg, &change.parent, err);

	if (st != ST_OK)
		return st;
	if (rls_same(&vm->pool.numbers, &change.numbers) && vm->pool.parent == (change.parent ? change.parent : sched_root(s)))
		return ST_OK;
	return pools_change(vm->machine, &change, 1, commit, err);
}

static enum status set_all(struct vm *vm, const struct vm_config *cfg, struct error *err)
{
	enum status st = set_numbers(vm, cfg, true, err);

	return st == ST_OK ? set_attributes(vm, cfg, err) : st;
}

/* One that does not run is held against what is promised now; it may still be refused when it starts. */
static enum status try_at_rest(struct vm *vm, const struct vm_config *cfg, struct error *err)
{
	static struct sched_pool probe; /* the control task's */
	struct sched_pool *parent;
	enum status st = find_parent(vm, cfg, &parent, err), removed;
	unsigned long state;
	struct error none;

	if (st != ST_OK)
		return st;
	state = vm_mask(vm);
	st = sched_pool_add(vm->machine->sched, &probe, parent, cfg->name, &cfg->cpu.numbers, err);
	if (st == ST_OK) {
		removed = sched_pool_remove(vm->machine->sched, &probe, &none);
		ASSERT(removed == ST_OK);
	}
	vm_unmask(vm, state);
	return st;
}

static enum status try_running(struct vm *vm, const struct vm_config *cfg, struct error *err)
{
	enum status st, back;
	struct error none;

	/* What else could stand in the way is known without doing it. */
	if (vm_cpu_same_attributes(cfg, &vm->config))
		return set_numbers(vm, cfg, false, err);
	st = set_all(vm, cfg, err);
	back = reset_attributes(vm, &none);
	if (back == ST_OK)
		back = set_numbers(vm, &vm->config, true, &none);
	note_put_back(vm, back, &none);
	return st;
}

enum status vm_cpu_check(struct vm *vm, const struct vm_config *cfg, struct error *err)
{
	enum status st = check_affinity(vm, cfg, err);

	if (st != ST_OK)
		return st;
	return vm_cpu_entered(vm) ? try_running(vm, cfg, err) : try_at_rest(vm, cfg, err);
}

void vm_cpu_changed(struct vm *vm)
{
	struct error err;

	/* Each of several changes was checked by itself: together they may be too much. */
	if (vm_cpu_entered(vm) && set_all(vm, &vm->config, &err) != ST_OK)
		log_error("VM %s: its CPU numbers do not count: %s", vm->config.name, err.text);
}

enum status vm_cpu_move(struct vm *vm, const char *pool, struct error *err)
{
	static struct vm_config after; /* the control task's; too large for its stack */
	struct error why = {""};
	enum status st;

	after = vm->config;
	format(after.pool, sizeof after.pool, "%s", strcmp(pool, POOL_ROOT) == 0 ? "" : pool);
	st = vm_cpu_entered(vm) ? set_numbers(vm, &after, true, &why) : try_at_rest(vm, &after, &why);
	if (st == ST_OK)
		memcpy(vm->config.pool, after.pool, sizeof after.pool);
	return st == ST_OK ? ST_OK : refuse(vm, st, &why, err);
}

/* ---- figures ---- */

/* The latency, in ticks, that @permille of the wakes stayed below: the end of the bucket where that many are reached. */
static uint64_t quantile(const uint64_t buckets[SCHED_WAKE_BUCKETS], unsigned permille)
{
	uint64_t all = 0, seen = 0;

	for (unsigned i = 0; i < SCHED_WAKE_BUCKETS; i++)
		all += buckets[i];
	for (unsigned i = 0; i < SCHED_WAKE_BUCKETS && all > 0; i++) {
		seen += buckets[i];
		if (seen * 1000 >= all * permille)
			return BIT(i) - 1;
	}
	return 0;
}

void vm_cpu_figures(const struct vm *vm, struct vm_cpu_info *out)
{
	struct sched *s = vm->machine->sched;
	uint64_t hz = vm->machine->host->clock->hz;
	struct sched_levels levels;
	struct sched_figures f;

	if (!vm_cpu_entered(vm)) {
		*out = (struct vm_cpu_info){0};
		return;
	}
	sched_pool_stats(s, &vm->pool, &f);
	sched_pool_levels(s, &vm->pool, &levels);
	*out = (struct vm_cpu_info){
		.blocked_ns = ticks_to_ns(f.blocked, hz), .limited_ns = ticks_to_ns(f.limited, hz),
		.costopped_ns = ticks_to_ns(f.costopped, hz), .dispatches = f.dispatches, .migrations = f.migrations,
		.wakes = f.wakes, .costops = f.costops, .wake_ns = ticks_to_ns(f.wake_ticks, hz),
		.wake_p50_ns = ticks_to_ns(quantile(f.wake_latency, 500), hz),
		.wake_p99_ns = ticks_to_ns(quantile(f.wake_latency, 990), hz),
		.entitled = levels.entitled, .allowed = levels.allowed,
	};
	memcpy(out->wake_latency, f.wake_latency, sizeof out->wake_latency);
}
