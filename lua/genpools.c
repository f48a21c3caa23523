/* SPDX-License-Identifier: Apache-2.0 */
/* See genpools.h. There is one plan at a time, the control task's. */
#include "lua/genpools.h"

#include <string.h>

#include "guest/vm_cpu.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/hint.h"
#include "lua/pools.h"

static struct {
	struct pool_config wanted[POOLS_MAX];
	unsigned count;
	struct pool *pools[POOLS_MAX]; /* for each wanted: the pool of that name */
	bool fresh[POOLS_MAX];         /* made for this plan */
	bool changed[POOLS_MAX];       /* there, and it differs */
	struct regroup there, back;    /* what is done to what runs, and what takes it back */
} plan;

_Static_assert(POOLS_MAX + POOL_IDS <= HINT_NAMES_MAX, "all that there may be, for advice");

/* ---- what the text wants ---- */

void genpools_begin(void)
{
	plan.count = 0;
	plan.there.count = plan.back.count = 0;
}

static const struct pool_config *find_wanted(const char *name)
{
	for (unsigned i = 0; i < plan.count; i++)
		if (strcmp(plan.wanted[i].name, name) == 0)
			return &plan.wanted[i];
	return NULL;
}

bool genpools_wants(const char *name)
{
	return find_wanted(name) != NULL;
}

const struct pool_config *genpools_wanted(const struct pool *p)
{
	return find_wanted(p->config.name);
}

enum status genpools_collect(struct control *c, const struct pool_config *cfg, struct error *err)
{
	const struct pool_config *first = find_wanted(cfg->name);

	(void)c;
	if (first)
		return fail(err, ST_EXISTS, "pool %s (%.64s) is already defined (%.64s)", cfg->name, cfg->origin,
			    first->origin);
	if (plan.count == POOLS_MAX)
		return fail(err, ST_OVER_LIMIT, "pool %s (%.64s): there can be %u pools in this version", cfg->name,
			    cfg->origin, POOLS_MAX);
	plan.wanted[plan.count++] = *cfg;
	return ST_OK;
}

/* ---- comparing ---- */

static bool goes(const struct control *c, const struct pool *p)
{
	return c->generation.owned_pools[p->id] && !find_wanted(p->config.name);
}

static struct pool *next_removed(struct control *c, const struct pool *prev)
{
	struct pool *p = pool_next(c->cfg.machine, prev);

	while (p && !goes(c, p))
		p = pool_next(c->cfg.machine, p);
	return p;
}

/* Will there be such a pool, for others to be in? */
static bool will_be(struct control *c, const char *name)
{
	const struct pool *p = name[0] ? pool_find(c->cfg.machine, name) : NULL;

	if (!name[0] || find_wanted(name))
		return true;
	return p && p->id != POOL_OWN_SYSTEM && !goes(c, p);
}

/* @what: "VM web (site.lua:3): pool" */
static enum status no_such_pool(struct control *c, const char *what, const char *name, struct error *err)
{
	char shown[VM_NAME_MAX], advice[HINT_TEXT_MAX];
	struct hint_names names = {.count = 0};

	for (unsigned i = 0; i < plan.count; i++)
		names.name[names.count++] = plan.wanted[i].name;
	for (struct pool *p = pool_next(c->cfg.machine, NULL); p; p = pool_next(c->cfg.machine, p))
		if (will_be(c, p->config.name))
			names.name[names.count++] = p->config.name;
	log_clean(shown, sizeof shown, name, strlen(name));
	if (strcmp(name, POOL_SYSTEM) == 0)
		return fail(err, ST_DENIED, "%s: pool %s is for the host's own tasks alone", what, POOL_SYSTEM);
	hint_nearest_name(shown, "", &names, advice, sizeof advice);
	return fail(err, ST_NOT_FOUND, "%s: there is no pool called %s%s", what, shown, advice);
}

static enum status check_parents(struct control *c, struct error *err)
{
	char what[VM_NAME_MAX + 96];

	for (unsigned i = 0; i < plan.count; i++) {
		const struct pool_config *cfg = &plan.wanted[i];

		if (will_be(c, cfg->parent))
			continue;
		format(what, sizeof what, "pool %s (%.64s): parent", cfg->name, cfg->origin);
		return no_such_pool(c, what, cfg->parent, err);
	}
	for (struct pool *p = pool_next(c->cfg.machine, NULL); p; p = pool_next(c->cfg.machine, p))
		if (!goes(c, p) && !find_wanted(p->config.name) && !will_be(c, p->config.parent))
			return fail(err, ST_BUSY, "pool %s is not in the text, but pool %s, which is the operator's, is in it",
				    p->config.parent, p->config.name);
	return ST_OK;
}

static const struct vm_config *wanted_vm(const struct vm *vm)
{
	for (unsigned i = 0; i < genplan.wanted_count; i++)
		if (strcmp(genplan.wanted[i].name, vm->config.name) == 0)
			return &genplan.wanted[i];
	return NULL;
}

static enum status check_vms(struct control *c, struct error *err)
{
	char what[VM_NAME_MAX + 96];

	for (unsigned i = 0; i < genplan.wanted_count; i++) {
		const struct vm_config *cfg = &genplan.wanted[i];

		if (will_be(c, cfg->pool))
			continue;
		format(what, sizeof what, "VM %s (%.64s): pool", cfg->name, cfg->origin);
		return no_such_pool(c, what, cfg->pool, err);
	}
	for (struct vm *vm = vm_next(c->cfg.machine, NULL); vm; vm = vm_next(c->cfg.machine, vm))
		if (!c->generation.owned[vm->id] && !wanted_vm(vm) && !will_be(c, vm->config.pool))
			return fail(err, ST_BUSY, "pool %s is not in the text, but VM %s, which is the operator's, is in it",
				    vm->config.pool, vm->config.name);
	return ST_OK;
}

static bool same_numbers(const struct rls *x, const struct rls *y)
{
	return x->shares == y->shares && x->reservation == y->reservation && x->limit == y->limit;
}

static bool same_io(const struct pool_config *a, const struct pool_config *b)
{
	return a->io.unit == b->io.unit && same_numbers(&a->io.numbers, &b->io.numbers);
}

static bool same(const struct pool_config *a, const struct pool_config *b)
{
	return strcmp(a->parent, b->parent) == 0 && same_numbers(&a->cpu.numbers, &b->cpu.numbers) && same_io(a, b) &&
	       same_numbers(&a->net.numbers, &b->net.numbers);
}

static enum status compare(struct control *c, struct error *err)
{
	enum status st = check_parents(c, err);

	for (unsigned i = 0; i < plan.count && st == ST_OK; i++) {
		struct pool_config present;

		plan.pools[i] = pool_find(c->cfg.machine, plan.wanted[i].name);
		plan.fresh[i] = false;
		plan.changed[i] = false;
		if (!plan.pools[i])
			continue;
		settings_pool_definition(c, plan.pools[i], &present);
		plan.changed[i] = !same(&present, &plan.wanted[i]);
	}
	return st == ST_OK ? check_vms(c, err) : st;
}

/* ---- trying ---- */

/* Empty and without numbers, below the root: nobody gets more or less by it. */
static enum status make_new(struct control *c, struct error *err)
{
	for (unsigned i = 0; i < plan.count; i++) {
		struct pool_config bare;
		enum status st;

		if (plan.pools[i])
			continue;
		pool_config_init(&bare);
		memcpy(bare.name, plan.wanted[i].name, sizeof bare.name);
		memcpy(bare.origin, plan.wanted[i].origin, sizeof bare.origin);
		st = pool_define(c->cfg.machine, &bare, &plan.pools[i], err);
		if (st != ST_OK)
			return st;
		plan.fresh[i] = true;
	}
	return ST_OK;
}

void genpools_drop(struct control *c)
{
	struct error err;

	(void)c;
	for (unsigned i = 0; i < plan.count; i++) {
		if (!plan.fresh[i])
			continue;
		plan.fresh[i] = false;
		if (pool_remove(plan.pools[i], &err) != ST_OK)
			log_error("%s", err.text); /* nobody can have come into it */
	}
	plan.count = 0;
}

static void note_back(struct sched_pool *node)
{
	plan.back.changes[plan.back.count++] =
		(struct sched_change){.pool = node, .parent = node->parent, .numbers = node->numbers};
}

static struct pool *pool_of(struct control *c, const char *name)
{
	return pool_find(c->cfg.machine, name[0] ? name : POOL_ROOT);
}

/* Runs, or is paused, and is to be something else. */
static bool is_live(unsigned i)
{
	return genplan.vms[i] && genplan.changed[i] && !genplan_at_rest(genplan.vms[i]);
}

/* What a VM that runs will be: what it was built with, and what can be changed as it will count. The control task's. */
static const struct vm_config *live_config(struct control *c, unsigned i)
{
	static struct vm_config after, live;

	settings_after(c, genplan.vms[i], &genplan.wanted[i], &after);
	live = genplan.vms[i]->config;
	genplan_take_live(&live, &after);
	return &live;
}

static void collect_pools(struct control *c)
{
	struct pool_config after;

	for (unsigned i = 0; i < plan.count; i++) {
		if (!plan.fresh[i] && !plan.changed[i])
			continue;
		settings_pool_after(c, plan.pools[i], &plan.wanted[i], &after);
		note_back(plan.pools[i]->cpu);
		regroup_pool(&plan.there, plan.pools[i], pool_of(c, plan.wanted[i].parent), &after.cpu.numbers);
	}
	for (struct pool *p = next_removed(c, NULL); p; p = next_removed(c, p)) {
		static const struct rls nothing = {.limit = RLS_UNLIMITED, .shares = RLS_SHARES_DEFAULT};

		note_back(p->cpu);
		regroup_pool(&plan.there, p, NULL, &nothing);
	}
}

static enum status collect_vms(struct control *c, struct error *err)
{
	for (unsigned i = 0; i < genplan.wanted_count; i++) {
		const struct vm_config *live;
		enum status st;

		if (!is_live(i))
			continue;
		live = live_config(c, i);
		st = vm_config_check(live, err);
		if (st != ST_OK)
			return st;
		note_back(&genplan.vms[i]->pool);
		regroup_vm(&plan.there, genplan.vms[i], pool_of(c, live->pool), &live->cpu.numbers);
	}
	return ST_OK;
}

/* Affinity and classes of those before @count as they were, by the way they came: each step was admitted. */
static void attributes_back(unsigned count)
{
	while (count-- > 0)
		if (is_live(count))
			vm_cpu_reset_attributes(genplan.vms[count]);
}

/* Places and numbers as they were. Should that be refused, the machine goes on with what there is. */
static void numbers_back(struct control *c)
{
	struct error why;

	if (regroup_run(c->cfg.machine, &plan.back, true, &why) != ST_OK)
		log_error("what was promised could not be put back: %s", why.text);
}

static enum status attributes_there(struct control *c, struct error *err)
{
	for (unsigned i = 0; i < genplan.wanted_count; i++) {
		const struct vm_config *live;
		struct error why;
		enum status st;

		if (!is_live(i))
			continue;
		live = live_config(c, i);
		if (vm_cpu_same_attributes(live, &genplan.vms[i]->config))
			continue;
		st = vm_cpu_set_attributes(genplan.vms[i], live, &why);
		if (st == ST_OK)
			continue;
		attributes_back(i);
		return fail(err, st, "VM %s (%.64s): cpu: %.120s", genplan.wanted[i].name, genplan.wanted[i].origin, why.text);
	}
	return ST_OK;
}

static enum status numbers_there(struct control *c, bool commit, struct error *err)
{
	struct error why = {""};
	enum status st = regroup_run(c->cfg.machine, &plan.there, commit, &why);

	return st == ST_OK ? ST_OK : fail(err, st, "cpu: %.200s", why.text);
}

enum status genpools_make(struct control *c, struct error *err)
{
	enum status st = compare(c, err);

	if (st == ST_OK)
		st = make_new(c, err);
	if (st == ST_OK) {
		collect_pools(c);
		st = collect_vms(c, err);
	}
	if (st == ST_OK)
		st = numbers_there(c, false, err);
	if (st == ST_OK)
		st = attributes_there(c, err);
	if (st == ST_OK)
		attributes_back(genplan.wanted_count);
	else
		genpools_drop(c);
	return st;
}

/* ---- doing ---- */

enum status genpools_do(struct control *c, struct error *err)
{
	enum status st = numbers_there(c, true, err);

	if (st != ST_OK)
		return st;
	st = attributes_there(c, err);
	if (st == ST_OK)
		return ST_OK;
	numbers_back(c);
	return st;
}

void genpools_undo(struct control *c)
{
	attributes_back(genplan.wanted_count);
	numbers_back(c);
}

/* A pool's definition changes; the managers have its numbers already. */
static void redefine(struct control *c, unsigned i)
{
	struct pool *p = plan.pools[i];
	unsigned long masked = control_mask(c);

	p->config = plan.wanted[i];
	control_unmask(c, masked);
	settings_pool_redefined(c, p);
	pool_changed(p);
}

void genpools_commit(struct control *c)
{
	for (unsigned i = 0; i < plan.count; i++) {
		c->generation.owned_pools[plan.pools[i]->id] = true;
		if (!plan.fresh[i] && !plan.changed[i])
			continue;
		redefine(c, i);
		if (plan.fresh[i])
			pools_come(c, plan.pools[i]);
		else
			pools_changed(c, plan.pools[i]);
		plan.fresh[i] = false;
	}
}

/* All of them are below the root by now, and empty. */
void genpools_remove_old(struct control *c)
{
	struct pool *p = next_removed(c, NULL);
	struct error err;

	for (struct pool *q = p; q; q = next_removed(c, q))
		q->config.parent[0] = '\0';
	while (p) {
		struct pool *next = next_removed(c, p);

		if (pools_remove(c, p, &err) != ST_OK)
			log_error("%s", err.text);
		p = next;
	}
}

/* ---- saying it ---- */

static void put_changed(struct control *c, struct cbor_writer *w, unsigned i)
{
	struct cbor_mark map = cbor_open(w), list;
	struct pool_config present;

	settings_pool_definition(c, plan.pools[i], &present);
	command_put_text(w, "name", plan.wanted[i].name);
	cbor_put_text(w, "settings");
	list = cbor_open(w);
	if (strcmp(present.parent, plan.wanted[i].parent) != 0)
		cbor_put_text(w, "parent");
	if (!same_numbers(&present.cpu.numbers, &plan.wanted[i].cpu.numbers))
		cbor_put_text(w, "cpu");
	if (!same_io(&present, &plan.wanted[i]))
		cbor_put_text(w, vm_disk_unit_names[plan.wanted[i].io.unit]);
	if (!same_numbers(&present.net.numbers, &plan.wanted[i].net.numbers))
		cbor_put_text(w, "mbps");
	cbor_close_array(w, list);
	cbor_close_map(w, map);
}

static bool anything(struct control *c)
{
	for (unsigned i = 0; i < plan.count; i++)
		if (plan.fresh[i] || plan.changed[i])
			return true;
	return next_removed(c, NULL) != NULL;
}

void genpools_put(struct control *c, struct cbor_writer *w)
{
	struct cbor_mark map, list;

	if (!anything(c))
		return;
	cbor_put_text(w, "pools");
	map = cbor_open(w);
	cbor_put_text(w, "added");
	list = cbor_open(w);
	for (unsigned i = 0; i < plan.count; i++)
		if (plan.fresh[i])
			cbor_put_text(w, plan.wanted[i].name);
	cbor_close_array(w, list);
	cbor_put_text(w, "changed");
	list = cbor_open(w);
	for (unsigned i = 0; i < plan.count; i++)
		if (plan.changed[i])
			put_changed(c, w, i);
	cbor_close_array(w, list);
	cbor_put_text(w, "removed");
	list = cbor_open(w);
	for (struct pool *p = next_removed(c, NULL); p; p = next_removed(c, p))
		cbor_put_text(w, p->config.name);
	cbor_close_array(w, list);
	cbor_close_map(w, map);
}
