/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry: names, places, and one transaction (regroup) through which every
 * change goes to the managers. A pool is a page of host memory that is promised
 * like a VM's definition. VMs name their pool in their definition, running or
 * not, so a pool that is named stays.
 */
#include "guest/pool.h"

#include <string.h>

#include "guest/machine.h"
#include "guest/vm_cpu.h"
#include "lib/addr.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/checked.h"
#include "lib/format.h"
#include "lib/log.h"

_Static_assert(sizeof(struct pool) <= PAGE_SIZE, "a pool has a page");
_Static_assert(ARRAY_SIZE(((struct regroup *)0)->changes) == POOLS_MAX + VMS_MAX, "room for all there can be");

/* ---- rules that need no machine ---- */

void pool_config_init(struct pool_config *cfg)
{
	*cfg = (struct pool_config){.cpu.numbers = {.limit = RLS_UNLIMITED, .shares = RLS_SHARES_DEFAULT},
				    .io.numbers = {.limit = RLS_UNLIMITED, .shares = RLS_SHARES_DEFAULT},
				    .net.numbers = {.limit = RLS_UNLIMITED, .shares = RLS_SHARES_DEFAULT}};
}

static struct config_head head_of(const struct pool_config *cfg)
{
	return (struct config_head){.kind = "pool", .name = cfg->name, .origin = cfg->origin};
}

#define refuse(cfg, err, st, ...) config_refuse(head_of(cfg), err, st, __VA_ARGS__)

static enum status check_names(const struct pool_config *cfg, struct error *err)
{
	enum status st = config_check_name(head_of(cfg), err);

	if (st != ST_OK)
		return st;
	if (!config_ends(cfg->parent, sizeof cfg->parent))
		return refuse(cfg, err, ST_INVALID, "parent is longer than %d characters", VM_NAME_MAX - 1);
	if (strcmp(cfg->name, POOL_ROOT) == 0 || strcmp(cfg->name, POOL_SYSTEM) == 0)
		return refuse(cfg, err, ST_EXISTS, "the name is that of a pool of the machine's own");
	if (strcmp(cfg->name, cfg->parent) == 0)
		return refuse(cfg, err, ST_INVALID, "it cannot be its own parent");
	return ST_OK;
}

static enum status check_io_numbers(const struct pool_config *cfg, struct error *err)
{
	const struct rls *n = &cfg->io.numbers;
	const char *unit;

	if ((unsigned)cfg->io.unit >= VM_DISK_UNITS)
		return refuse(cfg, err, ST_INVALID, "unit %u of its numbers for disks is unknown", (unsigned)cfg->io.unit);
	unit = vm_disk_unit_names[cfg->io.unit];
	if (n->shares < 1 || n->shares > RLS_SHARES_MAX)
		return refuse(cfg, err, ST_INVALID, "%s.shares is %u, it can be 1 to %u", unit, n->shares, RLS_SHARES_MAX);
	if (n->limit == 0)
		return refuse(cfg, err, ST_INVALID, "%s.limit is 0: nothing in it would ever read or write", unit);
	if (n->reservation > n->limit)
		return refuse(cfg, err, ST_INVALID, "%s.reservation (%llu) is above %s.limit (%llu)", unit,
			      (unsigned long long)n->reservation, unit, (unsigned long long)n->limit);
	if (n->reservation > VM_DISK_RATE_MAX || (n->limit > VM_DISK_RATE_MAX && n->limit != RLS_UNLIMITED))
		return refuse(cfg, err, ST_OVER_LIMIT, "%s.reservation or %s.limit is above %llu", unit, unit,
			      VM_DISK_RATE_MAX);
	return ST_OK;
}

enum status pool_config_check(const struct pool_config *cfg, struct error *err)
{
	enum status st = check_names(cfg, err);

	if (st == ST_OK)
		st = config_check_numbers(head_of(cfg), &cfg->cpu.numbers, err);
	if (st == ST_OK)
		st = check_io_numbers(cfg, err);
	return st == ST_OK ? config_check_rates(head_of(cfg), "", &cfg->net.numbers, err) : st;
}

/* ---- the table ---- */

static void init_own(struct machine *m, unsigned id, const char *name, struct sched_pool *node)
{
	struct pool *p = &m->pools.own[id - 1];

	*p = (struct pool){.machine = m, .id = (uint16_t)id, .cpu = node};
	pool_config_init(&p->config);
	p->config.cpu.numbers = node->numbers;
	format(p->config.name, sizeof p->config.name, "%s", name);
	m->pools.at[id - 1] = p;
}

void pools_init(struct machine *m, struct sched_pool *system)
{
	init_own(m, POOL_OWN_ROOT, POOL_ROOT, sched_root(m->sched));
	if (system)
		init_own(m, POOL_OWN_SYSTEM, POOL_SYSTEM, system);
}

struct pool *pool_by_id(struct machine *m, unsigned id)
{
	return id >= 1 && id <= POOL_IDS ? m->pools.at[id - 1] : NULL;
}

struct pool *pool_next(struct machine *m, const struct pool *prev)
{
	for (unsigned i = prev ? prev->id : 0; i < POOL_IDS; i++)
		if (m->pools.at[i])
			return m->pools.at[i];
	return NULL;
}

struct pool *pool_find(struct machine *m, const char *name)
{
	for (struct pool *p = pool_next(m, NULL); p; p = pool_next(m, p))
		if (strcmp(p->config.name, name) == 0)
			return p;
	return NULL;
}

enum status pool_named(struct machine *m, const char *name, struct pool **out, struct error *err)
{
	struct pool *p = name[0] ? pool_find(m, name) : pool_by_id(m, POOL_OWN_ROOT);
	char shown[VM_NAME_MAX];

	if (!p)
		return fail(err, ST_NOT_FOUND, "there is no pool called %s",
			    log_clean(shown, sizeof shown, name, strlen(name)));
	if (p->id == POOL_OWN_SYSTEM)
		return fail(err, ST_DENIED, "pool %s is for the host's own tasks alone", p->config.name);
	*out = p;
	return ST_OK;
}

struct pool *pool_parent(const struct pool *p)
{
	if (p->id == POOL_OWN_ROOT)
		return NULL;
	return p->config.parent[0] ? pool_find(p->machine, p->config.parent) : pool_by_id(p->machine, POOL_OWN_ROOT);
}

bool pool_below(const struct pool *p, const struct pool *top)
{
	while (p && p != top)
		p = pool_parent(p);
	return p != NULL;
}

/* ---- many at once ---- */

static void add_change(struct regroup *r, struct sched_pool *node, const struct pool *parent, const struct rls *cpu)
{
	ASSERT(r->count < ARRAY_SIZE(r->changes));
	r->changes[r->count++] = (struct sched_change){.pool = node, .parent = parent ? parent->cpu : NULL, .numbers = *cpu};
}

void regroup_pool(struct regroup *r, struct pool *p, struct pool *parent, const struct rls *cpu)
{
	add_change(r, p->cpu, parent, cpu);
}

void regroup_vm(struct regroup *r, struct vm *vm, struct pool *parent, const struct rls *cpu)
{
	if (vm_cpu_entered(vm))
		add_change(r, &vm->pool, parent, cpu);
}

/* Masked for the commit, and then for a pool at a time: each is short however many there are. */
static void commit_changes(struct machine *m, const struct sched_change *changes, unsigned count)
{
	unsigned long masked = m->host->mask();
	bool more;

	sched_pool_commit(m->sched, changes, count);
	m->host->unmask(masked);
	do {
		masked = m->host->mask();
		more = sched_pool_settle(m->sched);
		m->host->unmask(masked);
	} while (more);
}

enum status pools_change(struct machine *m, const struct sched_change *changes, unsigned count, bool commit,
			 struct error *err)
{
	enum status st = sched_pool_plan(m->sched, changes, count, err);

	if (st == ST_OK && commit)
		commit_changes(m, changes, count);
	return st;
}

enum status regroup_run(struct machine *m, const struct regroup *r, bool commit, struct error *err)
{
	return pools_change(m, r->changes, r->count, commit, err);
}

/* ---- one ---- */

static unsigned depth_of(const struct pool *p)
{
	unsigned depth = 0;

	for (p = pool_parent(p); p; p = pool_parent(p))
		depth++;
	return depth;
}

/* Of a pool and what is below it. */
static unsigned levels_of(struct pool *top)
{
	unsigned deepest = 0, own = depth_of(top);

	for (struct pool *p = pool_next(top->machine, NULL); p; p = pool_next(top->machine, p))
		if (pool_below(p, top))
			deepest = MAX(deepest, depth_of(p) - own);
	return deepest + 1;
}

/* Its parent is there, not below it (@p NULL: it is new), and not too deep. */
static enum status check_place(struct machine *m, struct pool *p, const struct pool_config *cfg, struct pool **parent,
			       struct error *err)
{
	struct error why = {""};
	enum status st = pool_named(m, cfg->parent, parent, &why);

	if (st != ST_OK)
		return refuse(cfg, err, st, "parent: %.120s", why.text);
	if (p && pool_below(*parent, p))
		return refuse(cfg, err, ST_INVALID, "its parent %s is below it: that would be a loop", cfg->parent);
	if (depth_of(*parent) + (p ? levels_of(p) : 1) > POOL_DEPTH_MAX)
		return refuse(cfg, err, ST_OVER_LIMIT, "pools nest at most %u deep", POOL_DEPTH_MAX);
	return ST_OK;
}

static enum status check_new(struct machine *m, const struct pool_config *cfg, struct pool **parent, unsigned *slot,
			     struct error *err)
{
	enum status st = pool_config_check(cfg, err);

	if (st != ST_OK)
		return st;
	if (pool_find(m, cfg->name))
		return refuse(cfg, err, ST_EXISTS, "there is a pool of that name%s%s%s",
			      pool_find(m, cfg->name)->config.origin[0] ? " (defined at " : "",
			      pool_find(m, cfg->name)->config.origin,
			      pool_find(m, cfg->name)->config.origin[0] ? ")" : "");
	for (*slot = POOL_OWN_COUNT; *slot < POOL_IDS && m->pools.at[*slot]; ++*slot)
		;
	if (*slot == POOL_IDS)
		return refuse(cfg, err, ST_OVER_LIMIT, "there are %u pools already, the most that this version holds",
			      POOLS_MAX);
	if (!range_fits(m->committed, PAGE_SIZE, m->capacity))
		return refuse(cfg, err, ST_NOT_ADMITTED, "there is no memory for it: %llu of %llu bytes are promised",
			      (unsigned long long)m->committed, (unsigned long long)m->capacity);
	return check_place(m, NULL, cfg, parent, err);
}

static struct pool *allocate(struct machine *m)
{
	unsigned long masked = m->host->mask();
	hfn_t frame;
	enum status st = memmgr_alloc_zero(m->mm, 0, &frame);

	m->host->unmask(masked);
	return st == ST_OK ? memmgr_va(m->mm, frame) : NULL;
}

static void give_back(struct machine *m, struct pool *p)
{
	unsigned long masked = m->host->mask();

	memmgr_free(m->mm, memmgr_hfn(m->mm, p), 0);
	m->host->unmask(masked);
}

enum status pool_define(struct machine *m, const struct pool_config *cfg, struct pool **out, struct error *err)
{
	struct error why = {""};
	struct pool *p, *parent;
	unsigned long masked;
	unsigned slot = 0;
	enum status st = check_new(m, cfg, &parent, &slot, err);

	if (st != ST_OK)
		return st;
	p = allocate(m);
	if (!p)
		return refuse(cfg, err, ST_NO_MEMORY, "no host memory for it");
	*p = (struct pool){.machine = m, .id = (uint16_t)(slot + 1), .config = *cfg, .cpu = &p->cpu_node};
	masked = m->host->mask();
	st = sched_pool_add(m->sched, p->cpu, parent->cpu, cfg->name, &cfg->cpu.numbers, &why);
	m->host->unmask(masked);
	if (st != ST_OK) {
		give_back(m, p);
		return refuse(cfg, err, st, "cpu: %.150s", why.text);
	}
	m->pools.at[slot] = p;
	m->committed += PAGE_SIZE;
	*out = p;
	return ST_OK;
}

static enum status change(struct pool *p, const struct pool_config *cfg, bool commit, struct error *err)
{
	static struct regroup r; /* the control task's; large for its stack */
	struct error why = {""};
	struct pool *parent;
	enum status st = pool_config_check(cfg, err);

	if (st != ST_OK)
		return st;
	st = check_place(p->machine, p, cfg, &parent, err);
	if (st != ST_OK)
		return st;
	r.count = 0;
	regroup_pool(&r, p, parent, &cfg->cpu.numbers);
	st = regroup_run(p->machine, &r, commit, &why);
	return st == ST_OK ? ST_OK : refuse(cfg, err, st, "cpu: %.150s", why.text);
}

enum status pool_check(struct pool *p, const struct pool_config *cfg, struct error *err)
{
	return change(p, cfg, false, err);
}

enum status pool_change(struct pool *p, const struct pool_config *cfg, struct error *err)
{
	enum status st = change(p, cfg, true, err);

	if (st == ST_OK)
		p->config = *cfg;
	return st;
}

void pool_changed(struct pool *p)
{
	struct sched_change change = {.pool = p->cpu, .numbers = p->config.cpu.numbers};
	struct error err;

	/* A copy that no manager knows, or one that has them already. */
	if (!p->cpu || rls_same(&p->cpu->numbers, &change.numbers))
		return;
	change.parent = p->cpu->parent;
	/* Each of several changes was checked by itself: together they may be too much. */
	if (pools_change(p->machine, &change, 1, true, &err) != ST_OK)
		log_error("pool %s: its CPU numbers do not count: %s", p->config.name, err.text);
}

/* What keeps it: a VM or a pool that names it. */
static enum status check_empty(struct pool *p, struct error *err)
{
	struct machine *m = p->machine;

	for (struct vm *vm = vm_next(m, NULL); vm; vm = vm_next(m, vm))
		if (strcmp(vm->config.pool, p->config.name) == 0)
			return fail(err, ST_BUSY, "pool %s cannot be removed: VM %s is in it", p->config.name, vm->config.name);
	for (struct pool *other = pool_next(m, NULL); other; other = pool_next(m, other))
		if (strcmp(other->config.parent, p->config.name) == 0)
			return fail(err, ST_BUSY, "pool %s cannot be removed: pool %s is in it", p->config.name,
				    other->config.name);
	return ST_OK;
}

enum status pool_remove(struct pool *p, struct error *err)
{
	struct machine *m = p->machine;
	unsigned long masked;
	enum status st;

	if (pool_is_own(p))
		return fail(err, ST_DENIED, "pool %s is the machine's own", p->config.name);
	st = check_empty(p, err);
	if (st != ST_OK)
		return st;
	masked = m->host->mask();
	st = sched_pool_remove(m->sched, p->cpu, err);
	m->host->unmask(masked);
	ASSERT(st == ST_OK); /* nobody names it, so nobody is below it */
	m->pools.at[p->id - 1] = NULL;
	m->committed -= PAGE_SIZE;
	give_back(m, p);
	return ST_OK;
}

/* ---- figures ---- */

typedef void figures_fn(struct sched *s, const struct sched_pool *p, struct sched_figures *out);

static void add_figures(struct machine *m, const struct sched_pool *node, figures_fn *read, struct pool_info *out)
{
	unsigned long masked = m->host->mask();
	struct sched_figures f;

	read(m->sched, node, &f);
	m->host->unmask(masked);
	out->used += f.used;
	out->waited += f.waited;
	out->limited += f.limited;
	out->costopped += f.costopped;
	out->turns += f.dispatches;
	out->migrations += f.migrations;
	out->wakes += f.wakes;
}

static void add_pools(const struct pool *top, struct pool_info *out)
{
	struct machine *m = top->machine;

	add_figures(m, top->cpu, sched_pool_left_stats, out);
	for (struct pool *p = pool_next(m, NULL); p; p = pool_next(m, p)) {
		out->pools += pool_parent(p) == top;
		if (pool_below(p, top))
			add_figures(m, p->cpu, sched_pool_own_stats, out);
	}
}

static void add_vms(const struct pool *top, struct pool_info *out)
{
	struct machine *m = top->machine;

	for (struct vm *vm = vm_next(m, NULL); vm; vm = vm_next(m, vm)) {
		const struct pool *in = vm->config.pool[0] ? pool_find(m, vm->config.pool) : pool_by_id(m, POOL_OWN_ROOT);

		out->vms += in == top;
		if (vm_cpu_entered(vm) && pool_below(in, top))
			add_figures(m, &vm->pool, sched_pool_own_stats, out);
	}
}

/* Masked a VM at a time: a pool may have very many. Each number by itself is right, at a moment of its own. */
void pool_info(const struct pool *p, struct pool_info *out)
{
	struct machine *m = p->machine;
	unsigned long masked;
	struct sched_levels levels;

	*out = (struct pool_info){0};
	add_pools(p, out);
	add_vms(p, out);
	masked = m->host->mask();
	sched_pool_levels(m->sched, p->cpu, &levels);
	m->host->unmask(masked);
	out->entitled = levels.entitled;
	out->allowed = levels.allowed;
}
