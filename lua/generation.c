/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan (genplan.c) is carried out: its script is kept only at the end. Everything
 * that can fail comes before everything that cannot be undone:
 *
 *	run, compare, check | make volumes and networks, define what is new, regroup what runs (undone on failure) |
 *	write the text, then the state (the commit) | change, remove, set, swap scripts
 *	(cannot fail)
 */
#include "lua/generation.h"

#include <string.h>

#include "guest/vm_balloon.h"
#include "guest/vm_cpu.h"
#include "guest/vm_disk.h"
#include "guest/vm_nic.h"
#include "lib/bits.h"
#include "lib/log.h"
#include "lua/change.h"
#include "lua/control_internal.h"
#include "lua/gennets.h"
#include "lua/genplan.h"
#include "lua/genpools.h"
#include "lua/genstore.h"
#include "lua/volumes.h"

enum status generation_plan(struct control *c, const char *origin, const char *text, size_t len,
			    struct cbor_writer *w, struct error *err)
{
	enum status st = genplan_make(c, 0, origin, text, len, err);

	if (st != ST_OK)
		return st;
	genplan_put(c, w);
	genplan_drop(c);
	return ST_OK;
}

/* ---- doing it ---- */

static void undefine(struct control *c, unsigned count)
{
	struct error err;

	for (unsigned i = 0; i < count; i++)
		if (!genplan.vms[i] && vm_destroy(vm_find(c->cfg.machine, genplan.wanted[i].name), &err) != ST_OK)
			log_error("VM %s: cannot take its definition back: %s", genplan.wanted[i].name, err.text);
}

static enum status define_new(struct control *c, struct error *err)
{
	for (unsigned i = 0; i < genplan.wanted_count; i++) {
		enum status st = ST_OK;
		struct vm *vm;

		if (!genplan.vms[i])
			st = vm_define(c->cfg.machine, &genplan.wanted[i], &vm, err);
		if (st == ST_OK)
			continue;
		undefine(c, i);
		return st;
	}
	return ST_OK;
}

static void redefine(struct control *c, struct vm *vm, const struct vm_config *cfg)
{
	unsigned long masked;

	settings_redefining(c, vm, cfg);
	masked = control_mask(c);
	if (genplan_at_rest(vm)) {
		vm->config = *cfg;
	} else { /* the rest is equal, or what the machine was built with by an operator's setting */
		genplan_take_live(&vm->config, cfg);
	}
	control_unmask(c, masked);
	settings_redefined(c, vm);
	vm_cpu_changed(vm); /* the scheduler has it already, with what lies above the definition */
	masked = control_mask(c);
	vm_disks_changed(vm);
	vm_nics_changed(vm);
	vm_balloon_changed(vm);
	control_unmask(c, masked);
	log_info("VM %s: defined anew (%s)", cfg->name, cfg->origin);
}

static void remove_old(struct control *c)
{
	struct vm *vm = genplan_next_removed(c, NULL);
	struct error err;

	while (vm) {
		struct vm *next = genplan_next_removed(c, vm);
		unsigned id = vm->id;

		log_info("VM %s: removed", vm->config.name);
		push_forget(c, id);
		settings_forget(c, id);
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

		if (s->state != SCRIPT_FREE && s != genplan.script && s->of_generation && c->policy.running != s)
			policy_unload(c, s);
	}
	genplan.script->of_generation = true;
	genplan.script->generation = number;
	policy_keep(c, genplan.script);
	genplan.script = NULL;
}

/* Everything that cannot fail. */
static void commit(struct control *c, uint64_t number, const char *origin)
{
	genpools_commit(c);
	gennets_commit(c);
	remove_old(c);
	genplan_follow_devices();
	for (unsigned i = 0; i < genplan.wanted_count; i++) {
		struct vm *vm = vm_find(c->cfg.machine, genplan.wanted[i].name);

		if (genplan.changed[i])
			redefine(c, vm, &genplan.wanted[i]);
		else if (!genplan.vms[i])
			log_info("VM %s: defined (%s)", vm->config.name, vm->config.origin);
		c->generation.owned[vm->id] = true;
	}
	genpools_remove_old(c);
	gennets_remove_old(c);
	settings_drop_generation(c);
	for (unsigned i = 0; i < genplan.setting_count; i++)
		change_apply(c, &genplan.settings[i]);
	swap_scripts(c, number);
	c->generation.judged_at = control_ticks(c) + ns_to_ticks(GENERATION_TRIAL_NS, c->cfg.clock->hz);
	events_post(&c->events, EVENT_GENERATION_APPLIED, NULL, "%llu, %s", (unsigned long long)number, origin);
	log_info("generation %llu is in force: %s", (unsigned long long)number, origin);
}

static void start_one(struct control *c, struct vm *vm, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w);
	struct error err = {""};

	command_put_text(w, "name", vm->config.name);
	if (volumes_are_coming(c, vm)) {
		c->start_later[vm->id] = c->starts_wait = true;
		cbor_put_text(w, "waits");
		cbor_put_bool(w, true);
	} else if (vm_start(vm, &err) == ST_OK)
		log_info("VM %s: started", vm->config.name);
	else
		log_error("VM %s: not started: %s", vm->config.name, err.text);
	if (err.text[0])
		command_put_text(w, "error", err.text);
	cbor_close_map(w, map);
}

/* New VMs that start by themselves, when their volumes are there. One that does not is reported; the generation stays. */
static void start_new(struct control *c, struct cbor_writer *w)
{
	struct cbor_mark list;

	cbor_put_text(w, "started");
	list = cbor_open(w);
	for (unsigned i = 0; i < genplan.wanted_count; i++)
		if (!genplan.vms[i] && genplan.wanted[i].autostart)
			start_one(c, vm_find(c->cfg.machine, genplan.wanted[i].name), w);
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

/* And then the texts: what runs is as it was when they cannot be kept. */
static enum status change_running(struct control *c, uint64_t number, const char *origin, const char *text, size_t len,
				  struct error *err)
{
	enum status st = genpools_do(c, err);

	if (st != ST_OK)
		return st;
	st = keep(c, number, origin, text, len, err);
	if (st != ST_OK)
		genpools_undo(c);
	return st;
}

/* What is new, and what runs; neither on failure. */
static enum status define_and_change(struct control *c, uint64_t number, const char *origin, const char *text, size_t len,
				     struct error *err)
{
	enum status st = define_new(c, err);

	if (st != ST_OK)
		return st;
	st = change_running(c, number, origin, text, len, err);
	if (st != ST_OK)
		undefine(c, genplan.wanted_count);
	return st;
}

/* What VMs stand on before them; nothing of it stays on failure. */
static enum status do_all(struct control *c, uint64_t number, const char *origin, const char *text, size_t len,
			  struct error *err)
{
	enum status st = volumes_do(c, err);

	if (st != ST_OK)
		return st;
	st = gennets_do(c, err);
	if (st == ST_OK) {
		st = define_and_change(c, number, origin, text, len, err);
		if (st != ST_OK)
			gennets_undo(c);
	}
	if (st != ST_OK)
		volumes_undo_all(c);
	return st;
}

static enum status put_in_force(struct control *c, uint64_t number, const char *origin, const char *text, size_t len,
				struct cbor_writer *w, struct error *err)
{
	uint64_t from = number > c->generation.newest ? 0 : number;
	enum status st = genplan_make(c, from, origin, text, len, err);

	if (st != ST_OK)
		return st;
	st = do_all(c, number, origin, text, len, err);
	if (st != ST_OK) {
		genplan_drop(c);
		return st;
	}
	command_put_uint(w, "generation", number);
	cbor_put_text(w, "kept");
	cbor_put_bool(w, genstore_writable(c));
	genplan_put(c, w);
	commit(c, number, origin);
	start_new(c, w);
	genplan_drop(c);
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
	for (struct pool *p = pool_next(c->cfg.machine, NULL); p; p = pool_next(c->cfg.machine, p))
		c->generation.owned_pools[p->id] = !pool_is_own(p);
	for (struct network *n = network_next(c->cfg.machine, NULL); n; n = network_next(c->cfg.machine, n))
		c->generation.owned_networks[network_place(n)] = true;
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
