/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plan and apply. The text runs in a script of its own that is kept only at the
 * end. Everything that can fail comes before everything that cannot be undone:
 *
 *	run, compare, check | define what is new (undone on failure) | write the text,
 *	then the state (the commit) | change, remove, set, swap scripts (cannot fail)
 */
#include "lua/generation.h"

#include <string.h>

#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/change.h"
#include "lua/control_internal.h"
#include "lua/genstore.h"

#define WANTED_BYTES (VMS_MAX * sizeof(struct vm_config))
#define ENCODED_MAX 6144u
#define KEY_MAX 32

/* Smallest order whose block holds @bytes. */
static unsigned order_for(uint64_t bytes)
{
	return bit_highest(bytes - 1) + 1 - PAGE_SHIFT;
}

static struct plan plan; /* the control task's; too large for its stack */

/* ---- differences ---- */

static void raw(struct cbor_value map, const char *key, const uint8_t **at, size_t *len)
{
	struct cbor_value v;

	*at = NULL;
	*len = 0;
	if (!cbor_find(map, key, &v))
		return;
	*at = v.at;
	if (cbor_check(v.at, (size_t)(v.end - v.at), len) != ST_OK)
		*len = 0;
}

static bool same(struct cbor_value a, struct cbor_value b, const char *key)
{
	const uint8_t *at_a, *at_b;
	size_t len_a, len_b;

	raw(a, key, &at_a, &len_a);
	raw(b, key, &at_b, &len_b);
	return len_a == len_b && (len_a == 0 || memcmp(at_a, at_b, len_a) == 0);
}

/* Calls @fn for each key of @in whose value differs in @other, or, with @missing alone, that @other has not. */
static void each_key(struct cbor_value in, struct cbor_value other, bool missing,
		     void (*fn)(void *ctx, const char *key), void *ctx)
{
	struct cbor_value k, v;
	struct cbor_iter it;
	char key[KEY_MAX];
	const char *text;
	size_t len;

	if (!cbor_iterate(in, &it))
		return;
	while (cbor_next_pair(&it, &k, &v)) {
		if (!cbor_get_text(k, &text, &len))
			continue;
		format(key, sizeof key, "%.*s", (int)MIN(len, sizeof key - 1), text);
		if (missing ? !cbor_find(other, key, &v) : !same(in, other, key))
			fn(ctx, key);
	}
}

static void differences(const struct vm_config *a, const struct vm_config *b, void (*fn)(void *ctx, const char *key),
			void *ctx)
{
	static uint8_t bytes[2][ENCODED_MAX];
	struct cbor_writer w[2];
	struct cbor_value v[2];

	for (unsigned i = 0; i < 2; i++) {
		cbor_writer_init(&w[i], bytes[i], ENCODED_MAX);
		define_encode(i ? b : a, &w[i]);
		ASSERT(!w[i].overflow);
		v[i] = cbor_root(bytes[i], w[i].len);
	}
	each_key(v[1], v[0], false, fn, ctx);
	each_key(v[0], v[1], true, fn, ctx);
}

/* What a new definition changes in the present one; settings that were changed since do not count. */
static void redefinition(struct control *c, struct vm *vm, const struct vm_config *cfg,
			 void (*fn)(void *ctx, const char *key), void *ctx)
{
	static struct vm_config present;

	settings_definition(c, vm, &present);
	differences(&present, cfg, fn, ctx);
}

static void note_any(void *ctx, const char *key)
{
	(void)key;
	*(bool *)ctx = true;
}

/* What a running VM's machine was built from. */
static void note_fixed(void *ctx, const char *key)
{
	char *out = ctx;

	if (strcmp(key, "on_reset") != 0 && strcmp(key, "autostart") != 0 && !out[0])
		format(out, KEY_MAX, "%s", key);
}

static void put_key(void *ctx, const char *key)
{
	cbor_put_text(ctx, key);
}

static bool at_rest(const struct vm *vm)
{
	return vm->state == VM_DEFINED || vm->state == VM_STOPPED || vm->state == VM_CRASHED;
}

static const struct vm_config *find_wanted(const char *name)
{
	for (unsigned i = 0; i < plan.wanted_count; i++)
		if (strcmp(plan.wanted[i].name, name) == 0)
			return &plan.wanted[i];
	return NULL;
}

/* The next VM after @prev that the text in force has and the new one has not. */
static struct vm *next_removed(struct control *c, const struct vm *prev)
{
	struct vm *vm = vm_next(c->cfg.machine, prev);

	while (vm && (!c->generation.owned[vm->id] || find_wanted(vm->config.name)))
		vm = vm_next(c->cfg.machine, vm);
	return vm;
}

static enum status check_changed(struct control *c, struct vm *vm, const struct vm_config *cfg, struct error *err)
{
	char key[KEY_MAX] = "";

	if (at_rest(vm))
		return ST_OK;
	redefinition(c, vm, cfg, note_fixed, key);
	if (!key[0])
		return ST_OK;
	return fail(err, ST_BAD_STATE, "VM %s (%.64s): %s differs, and it is %s: stop it first", cfg->name, cfg->origin,
		    key, vm_state_name(vm->state));
}

static enum status compare(struct control *c, struct error *err)
{
	unsigned added = 0, removed = 0, there = 0;
	enum status st = ST_OK;

	for (unsigned i = 0; i < plan.wanted_count && st == ST_OK; i++) {
		plan.vms[i] = vm_find(c->cfg.machine, plan.wanted[i].name);
		plan.changed[i] = false;
		added += plan.vms[i] == NULL;
		if (!plan.vms[i])
			continue;
		redefinition(c, plan.vms[i], &plan.wanted[i], note_any, &plan.changed[i]);
		if (plan.changed[i])
			st = check_changed(c, plan.vms[i], &plan.wanted[i], err);
	}
	for (struct vm *vm = next_removed(c, NULL); vm && st == ST_OK; vm = next_removed(c, vm)) {
		removed++;
		if (!at_rest(vm))
			st = fail(err, ST_BAD_STATE, "VM %s is not in the text, and it is %s: stop it first",
				  vm->config.name, vm_state_name(vm->state));
	}
	for (struct vm *vm = vm_next(c->cfg.machine, NULL); vm; vm = vm_next(c->cfg.machine, vm))
		there++;
	/* What goes makes no room for what comes: it goes last, when nothing can fail any more. */
	if (st == ST_OK && there + added > VMS_MAX)
		st = fail(err, ST_OVER_LIMIT, "%u VMs are there and %u are new, but this version has %d", there, added,
			  VMS_MAX);
	return st;
}

/* What the text sets must be there afterwards, and all of it must fit. */
static enum status check_settings(struct control *c, struct error *err)
{
	for (unsigned i = 0; i < plan.setting_count; i++) {
		const struct vm *vm = plan.settings[i].item.table.vm;

		if (vm && c->generation.owned[vm->id] && !find_wanted(vm->config.name))
			return fail(err, ST_INVALID, "%s: a setting of VM %s, which is not in the text any more",
				    plan.settings[i].where, vm->config.name);
	}
	return settings_check_room(c, plan.settings, plan.setting_count, err);
}

/* ---- running the text ---- */

static enum status take_wanted(struct control *c, hfn_t *frame, struct error *err)
{
	unsigned long masked = control_mask(c);
	enum status st = memmgr_alloc(c->cfg.machine->mm, order_for(WANTED_BYTES), frame);

	control_unmask(c, masked);
	if (st != ST_OK)
		return fail(err, st, "there is no memory for a plan");
	plan.wanted = memmgr_va(c->cfg.machine->mm, *frame);
	return ST_OK;
}

static void give_wanted(struct control *c)
{
	unsigned long masked = control_mask(c);

	memmgr_free(c->cfg.machine->mm, memmgr_hfn(c->cfg.machine->mm, plan.wanted), order_for(WANTED_BYTES));
	control_unmask(c, masked);
	plan.wanted = NULL;
}

enum status generation_record(struct control *c, const struct setting_change *change, struct error *err)
{
	(void)c;
	if (plan.setting_count == PLAN_SETTINGS_MAX)
		return fail(err, ST_OVER_LIMIT, "a text sets at most %u settings", PLAN_SETTINGS_MAX);
	plan.settings[plan.setting_count] = *change;
	plan.settings[plan.setting_count++].generation = true;
	return ST_OK;
}

/* The change of @item for good that will count, when the plan has one. */
static const struct setting_change *find_recorded(const struct tree_item *item)
{
	for (unsigned i = plan.setting_count; i > 0; i--) {
		const struct setting_change *change = &plan.settings[i - 1];

		if (change->for_ns == 0 && item_knob(&change->item) == item_knob(item) &&
		    change->item.table.object == item->table.object)
			return change;
	}
	return NULL;
}

const char *generation_recorded(struct control *c, const struct tree_item *item)
{
	const struct setting_change *change = find_recorded(item);

	(void)c;
	return change ? change->where : "";
}

static enum status collect(struct control *c, const char *origin, const char *text, size_t len, struct error *err)
{
	enum status st;

	c->pending = plan.wanted;
	c->pending_max = VMS_MAX;
	c->pending_count = 0;
	c->collect = true;
	c->planning = true;
	st = policy_load(c, origin, text, len, &plan.script, err);
	c->collect = false;
	c->planning = false;
	plan.wanted_count = c->pending_count;
	c->pending = c->own_pending;
	c->pending_max = DEFINE_MAX;
	c->pending_count = 0;
	return st;
}

/* Runs the text, with what generation @from holds or, for 0, the store's files, and compares. On success drop_plan()
 * ends it. */
static enum status make_plan(struct control *c, uint64_t from, const char *origin, const char *text, size_t len,
			     struct error *err)
{
	enum status st;
	hfn_t frame;

	if (c->policy.running || plan.wanted)
		return fail(err, ST_BAD_STATE, "a script cannot plan or apply: that is the operator's");
	if (len > GENERATION_TEXT_MAX)
		return fail(err, ST_OVER_LIMIT, "the text has %zu bytes, at most %u are possible", len,
			    GENERATION_TEXT_MAX);
	plan = (struct plan){.script = NULL};
	st = take_wanted(c, &frame, err);
	if (st != ST_OK)
		return st;
	genuse_begin(c, from);
	st = collect(c, origin, text, len, err);
	if (st == ST_OK)
		st = compare(c, err);
	if (st == ST_OK)
		st = check_settings(c, err);
	if (st == ST_OK)
		return ST_OK;
	if (plan.script)
		policy_drop(c, plan.script);
	give_wanted(c);
	return st;
}

static void drop_plan(struct control *c)
{
	if (plan.script)
		policy_drop(c, plan.script);
	give_wanted(c);
}

/* ---- saying it ---- */

static void put_changed(struct control *c, struct cbor_writer *w, unsigned i)
{
	struct cbor_mark map = cbor_open(w), list;

	command_put_text(w, "name", plan.wanted[i].name);
	cbor_put_text(w, "settings");
	list = cbor_open(w);
	redefinition(c, plan.vms[i], &plan.wanted[i], put_key, w);
	cbor_close_array(w, list);
	cbor_close_map(w, map);
}

static void put_settings(struct cbor_writer *w)
{
	struct cbor_mark list;

	cbor_put_text(w, "settings");
	list = cbor_open(w);
	for (unsigned i = 0; i < plan.setting_count; i++) {
		const struct setting_change *change = &plan.settings[i];
		char path[TREE_PATH_MAX], value[KNOB_TEXT_MAX];
		struct cbor_mark map = cbor_open(w);

		tree_path(&change->item, path);
		command_put_text(w, "path", path);
		command_put_text(w, "value", knob_text(item_knob(&change->item), change->value, value));
		cbor_close_map(w, map);
	}
	cbor_close_array(w, list);
}

/* A setting that the text in force sets and the new one does not, with what counts then. */
static void put_dropped_one(const struct tree_item *item, const struct setting_entry *after, struct cbor_writer *w)
{
	char path[TREE_PATH_MAX], value[KNOB_TEXT_MAX];
	struct cbor_mark map = cbor_open(w);

	tree_path(item, path);
	command_put_text(w, "path", path);
	command_put_text(w, "value", knob_text(item_knob(item), after->value, value));
	command_put_text(w, "origin", origin_name(after->origin));
	cbor_close_map(w, map);
}

/* Settings of VMs that go with the text go with them. */
static void put_dropped(struct control *c, struct cbor_writer *w)
{
	struct setting_entry after;
	struct tree_item item;
	struct cbor_mark list;
	unsigned cursor = 0;

	cbor_put_text(w, "dropped");
	list = cbor_open(w);
	while (settings_next_of_generation(c, &cursor, &item)) {
		const struct vm *vm = item.table.vm;
		const struct vm_config *cfg = vm ? find_wanted(vm->config.name) : NULL;

		if (find_recorded(&item) || (vm && c->generation.owned[vm->id] && !cfg))
			continue;
		settings_without_generation(c, &item, cfg, &after);
		put_dropped_one(&item, &after, w);
	}
	cbor_close_array(w, list);
}

static void put_plan(struct control *c, struct cbor_writer *w)
{
	struct cbor_mark list;

	cbor_put_text(w, "added");
	list = cbor_open(w);
	for (unsigned i = 0; i < plan.wanted_count; i++)
		if (!plan.vms[i])
			cbor_put_text(w, plan.wanted[i].name);
	cbor_close_array(w, list);
	cbor_put_text(w, "changed");
	list = cbor_open(w);
	for (unsigned i = 0; i < plan.wanted_count; i++)
		if (plan.changed[i])
			put_changed(c, w, i);
	cbor_close_array(w, list);
	cbor_put_text(w, "removed");
	list = cbor_open(w);
	for (struct vm *vm = next_removed(c, NULL); vm; vm = next_removed(c, vm))
		cbor_put_text(w, vm->config.name);
	cbor_close_array(w, list);
	put_settings(w);
	put_dropped(c, w);
	command_put_uint(w, "hooks", plan.script->hook_count);
}

enum status generation_plan(struct control *c, const char *origin, const char *text, size_t len,
			    struct cbor_writer *w, struct error *err)
{
	enum status st = make_plan(c, 0, origin, text, len, err);

	if (st != ST_OK)
		return st;
	put_plan(c, w);
	drop_plan(c);
	return ST_OK;
}

/* ---- doing it ---- */

static void undefine(struct control *c, unsigned count)
{
	struct error err;

	for (unsigned i = 0; i < count; i++)
		if (!plan.vms[i] && vm_destroy(vm_find(c->cfg.machine, plan.wanted[i].name), &err) != ST_OK)
			log_error("VM %s: cannot take its definition back: %s", plan.wanted[i].name, err.text);
}

static enum status define_new(struct control *c, struct error *err)
{
	for (unsigned i = 0; i < plan.wanted_count; i++) {
		enum status st = ST_OK;
		struct vm *vm;

		if (!plan.vms[i])
			st = vm_define(c->cfg.machine, &plan.wanted[i], &vm, err);
		if (st == ST_OK)
			continue;
		undefine(c, i);
		return st;
	}
	return ST_OK;
}

static void redefine(struct control *c, struct vm *vm, const struct vm_config *cfg)
{
	unsigned long masked = control_mask(c);

	if (at_rest(vm)) {
		vm->config = *cfg;
	} else { /* the rest is equal, or what the machine was built with by an operator's setting */
		vm->config.on_reset = cfg->on_reset;
		vm->config.autostart = cfg->autostart;
		vm->config.given = cfg->given;
		memcpy(vm->config.origin, cfg->origin, sizeof vm->config.origin);
	}
	control_unmask(c, masked);
	settings_redefined(c, vm);
	log_info("VM %s: defined anew (%s)", cfg->name, cfg->origin);
}

static void remove_old(struct control *c)
{
	struct vm *vm = next_removed(c, NULL);
	struct error err;

	while (vm) {
		struct vm *next = next_removed(c, vm);
		unsigned id = vm->id;

		log_info("VM %s: removed", vm->config.name);
		push_forget(c, id);
		settings_forget_vm(c, id);
		c->generation.owned[id] = false;
		if (vm_destroy(vm, &err) != ST_OK)
			log_error("%s", err.text); /* it was at rest a moment ago */
		vm = next;
	}
}

static void swap_scripts(struct control *c, uint64_t number)
{
	for (unsigned i = 0; i < SCRIPTS_MAX; i++) {
		struct script *s = &c->policy.scripts[i];

		if (s->state != SCRIPT_FREE && s != plan.script && s->of_generation && c->policy.running != s)
			policy_unload(c, s);
	}
	plan.script->of_generation = true;
	plan.script->generation = number;
	policy_keep(c, plan.script);
	plan.script = NULL;
}

/* Everything that cannot fail. */
static void commit(struct control *c, uint64_t number, const char *origin)
{
	remove_old(c);
	for (unsigned i = 0; i < plan.wanted_count; i++) {
		struct vm *vm = vm_find(c->cfg.machine, plan.wanted[i].name);

		if (plan.changed[i])
			redefine(c, vm, &plan.wanted[i]);
		else if (!plan.vms[i])
			log_info("VM %s: defined (%s)", vm->config.name, vm->config.origin);
		c->generation.owned[vm->id] = true;
	}
	settings_drop_generation(c);
	for (unsigned i = 0; i < plan.setting_count; i++)
		change_apply(c, &plan.settings[i]);
	swap_scripts(c, number);
	c->generation.judged_at = control_ticks(c) + ns_to_ticks(GENERATION_TRIAL_NS, c->cfg.clock->hz);
	events_post(&c->events, EVENT_GENERATION_APPLIED, NULL, "%llu, %s", (unsigned long long)number, origin);
	log_info("generation %llu is in force: %s", (unsigned long long)number, origin);
}

static void start_one(struct control *c, struct vm *vm, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w);
	struct error err = {""};

	(void)c;
	command_put_text(w, "name", vm->config.name);
	if (vm_start(vm, &err) == ST_OK)
		log_info("VM %s: started", vm->config.name);
	else
		log_error("VM %s: not started: %s", vm->config.name, err.text);
	if (err.text[0])
		command_put_text(w, "error", err.text);
	cbor_close_map(w, map);
}

/* New VMs that start by themselves. One that does not is reported; the generation stays. */
static void start_new(struct control *c, struct cbor_writer *w)
{
	struct cbor_mark list;

	cbor_put_text(w, "started");
	list = cbor_open(w);
	for (unsigned i = 0; i < plan.wanted_count; i++)
		if (!plan.vms[i] && plan.wanted[i].autostart)
			start_one(c, vm_find(c->cfg.machine, plan.wanted[i].name), w);
	cbor_close_array(w, list);
}

/* The text and what it uses. A number that was never in force may have remains, of another origin. */
static enum status keep_texts(struct control *c, uint64_t number, const char *origin, const char *text, size_t len,
			      struct error *err)
{
	struct error ignored;
	enum status st = genstore_clear(c, number, err);

	if (st == ST_OK)
		st = genuse_keep(c, number, err);
	if (st == ST_OK)
		st = genstore_put(c, number, origin, text, len, err);
	/* In a full store the remains would be in the way of those who make room. */
	if (st != ST_OK && genstore_clear(c, number, &ignored) != ST_OK)
		log_warn("generation %llu: its remains stay: %s", (unsigned long long)number, ignored.text);
	return st;
}

/* Writes the texts, unless they are there, and the state; nothing without a writable store. */
static enum status keep(struct control *c, uint64_t number, const char *origin, const char *text, size_t len,
			struct error *err)
{
	struct generation_state next = c->generation;
	bool fresh = number > c->generation.newest;
	enum status st = ST_OK;

	if (c->booting) /* it is there, and its tries are counted */
		return ST_OK;
	next.current = number;
	next.newest = MAX(next.newest, number);
	next.tries = 0;
	if (genstore_writable(c)) {
		if (fresh)
			st = keep_texts(c, number, origin, text, len, err);
		if (st == ST_OK)
			st = genstore_put_state(c, &next, err);
	}
	if (st != ST_OK)
		return st;
	c->generation = next;
	return ST_OK;
}

static enum status put_in_force(struct control *c, uint64_t number, const char *origin, const char *text, size_t len,
				struct cbor_writer *w, struct error *err)
{
	uint64_t from = number > c->generation.newest ? 0 : number;
	enum status st = make_plan(c, from, origin, text, len, err);

	if (st != ST_OK)
		return st;
	st = define_new(c, err);
	if (st == ST_OK) {
		st = keep(c, number, origin, text, len, err);
		if (st != ST_OK)
			undefine(c, plan.wanted_count);
	}
	if (st != ST_OK) {
		drop_plan(c);
		return st;
	}
	command_put_uint(w, "generation", number);
	cbor_put_text(w, "kept");
	cbor_put_bool(w, genstore_writable(c));
	put_plan(c, w);
	commit(c, number, origin);
	start_new(c, w);
	drop_plan(c);
	genstore_prune(c, &c->generation);
	return ST_OK;
}

enum status generation_apply(struct control *c, const char *origin, const char *text, size_t len,
			     struct cbor_writer *w, struct error *err)
{
	return put_in_force(c, c->generation.newest + 1, origin, text, len, w, err);
}

enum status generation_rollback(struct control *c, uint64_t number, struct cbor_writer *w, struct error *err)
{
	char origin[GENERATION_ORIGIN_MAX];
	struct loaded_file file = {0};
	enum status st = ST_OK;

	if (number > c->generation.newest) /* and not what an apply that failed may have left */
		st = fail(err, ST_NOT_FOUND, "generation %llu is not kept", (unsigned long long)number);
	if (st == ST_OK)
		st = genstore_get(c, number, origin, &file, err);
	if (st == ST_OK)
		st = put_in_force(c, number, origin, file.data, file.size, w, err);
	loadfile_drop(c->cfg.machine, &file);
	return st;
}

void generation_list(struct control *c, struct cbor_writer *w)
{
	command_put_uint(w, "current", c->generation.current);
	command_put_uint(w, "good", c->generation.good);
	cbor_put_text(w, "on_trial");
	cbor_put_bool(w, c->generation.judged_at != 0);
	cbor_put_text(w, "kept");
	cbor_put_bool(w, genstore_writable(c));
	genstore_put_list(c, w);
}

/* ---- over a start ---- */

void generation_own_all(struct control *c)
{
	for (struct vm *vm = vm_next(c->cfg.machine, NULL); vm; vm = vm_next(c->cfg.machine, vm))
		c->generation.owned[vm->id] = true;
}

/* Which one to bring up: the present one, the good one before it, or none. */
static uint64_t choose(struct control *c)
{
	const struct generation_state *g = &c->generation;
	uint64_t chosen = g->current;

	if (g->current != g->good && g->tries > 0)
		chosen = g->good;
	else if (g->current == g->good && g->tries >= GENERATION_TRIES)
		chosen = 0;
	if (chosen == g->current)
		return chosen;
	events_post(&c->events, EVENT_GENERATION_FELL_BACK, NULL, "from %llu to %llu", (unsigned long long)g->current,
		    (unsigned long long)chosen);
	log_warn("generation %llu did not become good: back to %llu%s", (unsigned long long)g->current,
		 (unsigned long long)chosen, chosen ? "" : ", the seed's script");
	return chosen;
}

static bool bring_up(struct control *c, uint64_t number)
{
	static uint8_t ignored[SMP_BODY_MAX]; /* what a client would be told */
	char origin[GENERATION_ORIGIN_MAX];
	struct loaded_file file = {0};
	uint64_t tries = c->generation.tries;
	struct cbor_writer w;
	struct error err;
	enum status st;

	cbor_writer_init(&w, ignored, sizeof ignored);
	st = genstore_get(c, number, origin, &file, &err);
	if (st == ST_OK) {
		c->generation.current = number;
		c->generation.tries = tries + 1;
		st = genstore_put_state(c, &c->generation, &err);
		if (st != ST_OK) /* a store that cannot be written is no reason not to start */
			log_error("generation %llu: %s", (unsigned long long)number, err.text);
		c->booting = true;
		st = put_in_force(c, number, origin, file.data, file.size, &w, &err);
		c->booting = false;
	}
	loadfile_drop(c->cfg.machine, &file);
	if (st != ST_OK)
		log_error("generation %llu: %s", (unsigned long long)number, err.text);
	return st == ST_OK;
}

bool generation_boot(struct control *c)
{
	uint64_t number;

	if (!genstore_get_state(c, &c->generation) || c->generation.current == 0)
		return false;
	number = choose(c);
	if (number == 0)
		return false;
	if (number != c->generation.current)
		c->generation.tries = 0;
	if (bring_up(c, number))
		return true;
	/* Its text fails here and now: the good one, without another start in between. */
	if (c->generation.good == 0 || c->generation.good == number)
		return false;
	c->generation.tries = 0;
	events_post(&c->events, EVENT_GENERATION_FELL_BACK, NULL, "from %llu to %llu", (unsigned long long)number,
		    (unsigned long long)c->generation.good);
	return bring_up(c, c->generation.good);
}

static bool script_is_well(const struct control *c)
{
	for (unsigned i = 0; i < SCRIPTS_MAX; i++) {
		const struct script *s = &c->policy.scripts[i];

		if (s->of_generation && s->state == SCRIPT_ABANDONED)
			return false;
	}
	return true;
}

void generation_step(struct control *c)
{
	struct generation_state *g = &c->generation;
	struct error err;

	if (g->judged_at == 0)
		return;
	if (control_ticks(c) < g->judged_at) {
		control_wake_at(c, g->judged_at);
		return;
	}
	g->judged_at = 0;
	if (!script_is_well(c)) {
		log_warn("generation %llu has lost its script: it is not good", (unsigned long long)g->current);
		return;
	}
	g->good = g->current;
	g->tries = 0;
	if (genstore_writable(c) && genstore_put_state(c, g, &err) != ST_OK)
		log_error("generation %llu: %s", (unsigned long long)g->current, err.text);
	log_info("generation %llu is good", (unsigned long long)g->current);
}
