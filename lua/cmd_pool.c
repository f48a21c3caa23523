/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools over the wire. Numbers that `set` changes are settings, as pool.NAME.cpu.shares
 * are: they have an origin, and are taken back by unset; what the command adds is
 * that several, and the place, are checked as they are together.
 */
#include "lua/cmd_pool.h"

#include <string.h>

#include "guest/vm_cpu.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/change.h"
#include "lua/control_internal.h"
#include "lua/pools.h"

#define ENTRY_MAX 320u /* bytes that one pool takes in a list, at most */
#define MEMBER_MAX (VM_NAME_MAX + 3u)

/* ---- reading ---- */

static uint64_t as_ns(const struct control *c, uint64_t ticks)
{
	return ticks_to_ns(ticks, c->cfg.clock->hz);
}

static void put_cpu(const struct control *c, const struct pool *p, const struct pool_info *info, struct cbor_writer *w)
{
	const struct rls *n = &p->cpu->numbers;
	struct cbor_mark map;

	cbor_put_text(w, "cpu");
	map = cbor_open(w);
	command_put_uint(w, "shares", n->shares);
	if (n->reservation)
		command_put_uint(w, "reservation", n->reservation);
	if (n->limit != RLS_UNLIMITED)
		command_put_uint(w, "limit", n->limit);
	command_put_uint(w, "entitled", info->entitled);
	command_put_uint(w, "allowed", info->allowed);
	command_put_uint(w, "used_ns", as_ns(c, info->used));
	command_put_uint(w, "ready_ns", as_ns(c, info->waited));
	command_put_uint(w, "limited_ns", as_ns(c, info->limited));
	cbor_close_map(w, map);
}

/* The pairs of a pool, in an open map. */
static void put_pool(const struct control *c, const struct pool *p, struct cbor_writer *w)
{
	struct pool_info info;

	pool_info(p, &info);
	command_put_uint(w, "id", p->id);
	command_put_text(w, "name", p->config.name);
	if (pool_parent(p))
		command_put_text(w, "parent", pool_parent(p)->config.name);
	if (pool_is_own(p)) {
		cbor_put_text(w, "own");
		cbor_put_bool(w, true);
	}
	put_cpu(c, p, &info, w);
	command_put_uint(w, "vm_count", info.vms);
	command_put_uint(w, "pool_count", info.pools);
}

enum status pool_list_decode(struct control *c, struct command_args *a, struct failure *f)
{
	(void)c;
	if (a->max.given && a->max.value == 0)
		return fail(&f->error, ST_INVALID, "max is 0: a page holds one pool at least");
	return ST_OK;
}

enum status pool_list_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	uint64_t max = a->max.given ? a->max.value : POOL_IDS, shown = 0, last = 0;
	struct cbor_mark list, map;
	struct pool *p = NULL;
	bool more = false;

	(void)f;
	command_put_uint(w, "now_ns", as_ns(c, control_ticks(c) - c->started));
	cbor_put_text(w, "pools");
	list = cbor_open(w);
	while ((p = pool_next(c->cfg.machine, p))) {
		if (a->after.given && p->id <= a->after.value)
			continue;
		more = shown == max || !command_fits(w, ENTRY_MAX);
		if (more)
			break;
		map = cbor_open(w);
		put_pool(c, p, w);
		cbor_close_map(w, map);
		last = p->id;
		shown++;
	}
	cbor_close_array(w, list);
	if (more)
		command_put_uint(w, "next", last);
	return ST_OK;
}

static bool is_in(const struct vm *vm, const struct pool *p)
{
	return strcmp(vm->config.pool, p->id == POOL_OWN_ROOT ? "" : p->config.name) == 0;
}

/* A pool is named by its name or its id. */
static enum status find(struct control *c, const struct command_args *a, struct pool **out, struct failure *f)
{
	return pools_find(c, a->name.text, a->name.len, out, &f->error);
}

enum status pool_show_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct pool *p;

	return find(c, a, &p, f);
}

enum status pool_show_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct cbor_mark list;
	struct pool *p;
	enum status st = find(c, a, &p, f);

	if (st != ST_OK)
		return st;
	put_pool(c, p, w);
	if (p->config.origin[0])
		command_put_text(w, "origin", p->config.origin);
	cbor_put_text(w, "config");
	define_encode_pool(&p->config, w);
	cbor_put_text(w, "vms");
	list = cbor_open(w);
	for (struct vm *vm = vm_next(c->cfg.machine, NULL); vm && command_fits(w, MEMBER_MAX); vm = vm_next(c->cfg.machine, vm))
		if (is_in(vm, p))
			cbor_put_text(w, vm->config.name);
	cbor_close_array(w, list);
	cbor_put_text(w, "pools");
	list = cbor_open(w);
	for (struct pool *q = pool_next(c->cfg.machine, NULL); q && command_fits(w, MEMBER_MAX); q = pool_next(c->cfg.machine, q))
		if (pool_parent(q) == p)
			cbor_put_text(w, q->config.name);
	cbor_close_array(w, list);
	return ST_OK;
}

/* ---- create ---- */

/* An empty map, for a config that is not given. */
static struct cbor_value config_of(const struct command_args *a)
{
	static const uint8_t empty[] = {0xa0};

	return a->config.given ? a->config.value : cbor_root(empty, sizeof empty);
}

static enum status read_new(struct control *c, const struct command_args *a, struct pool_config *out, struct failure *f)
{
	char origin[VM_PATH_MAX] = "";
	struct define_source src = {.name = a->name.text, .name_len = a->name.len, .origin = origin};

	(void)c;
	if (a->origin.given)
		log_clean(origin, sizeof origin, a->origin.text, a->origin.len);
	return define_decode_pool(&src, config_of(a), NULL, out, &f->error);
}

enum status pool_create_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct pool_config cfg;

	return read_new(c, a, &cfg, f);
}

/* What the machine refuses, it refuses here: nothing has been done then. */
enum status pool_create_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct pool_config cfg;
	struct pool *p;
	enum status st = read_new(c, a, &cfg, f);

	if (st == ST_OK)
		st = pools_define(c, &cfg, &p, &f->error);
	if (st != ST_OK)
		return st;
	command_put_uint(w, "id", p->id);
	command_put_text(w, "name", p->config.name);
	return ST_OK;
}

/* ---- set ---- */

/* Which of its numbers a request has, by the rows of their tables. */
struct given {
	uint32_t cpu, io, net;
};

/* What the pool is to be. */
static enum status read_set(struct control *c, const struct command_args *a, struct pool **p, struct pool_config *out,
			    struct given *given, struct failure *f)
{
	struct pool_config from;
	struct define_source src;
	enum status st = find(c, a, p, f);

	if (st != ST_OK)
		return st;
	if (pool_is_own(*p))
		return fail(&f->error, ST_DENIED, "pool %s is the machine's own", (*p)->config.name);
	from = (*p)->config;
	from.given = from.io.given = from.net.given = 0;
	src = (struct define_source){.name = a->name.text, .name_len = a->name.len, .origin = (*p)->config.origin};
	st = define_decode_pool(&src, config_of(a), &from, out, &f->error);
	if (st == ST_OK)
		st = pools_usable(c, out->parent, &f->error);
	if (st != ST_OK)
		return st;
	if (out->io.unit != (*p)->config.io.unit)
		return fail(&f->error, ST_INVALID, "pool %s: its disks are counted in %s: only a new definition changes that",
			    (*p)->config.name, vm_disk_unit_names[(*p)->config.io.unit]);
	*given = (struct given){out->given, out->io.given, out->net.given};
	out->given = (*p)->config.given;
	out->io.given = (*p)->config.io.given;
	out->net.given = (*p)->config.net.given;
	return pool_check(*p, out, &f->error);
}

static struct setting_change change_of(struct pool *p, const struct knob_table *t, unsigned row,
				       const struct pool_config *to)
{
	struct pool copy = {.config = *to};
	struct setting_change change = {
		.item = {.table = {.knobs = t, .object = p, .pool = p}, .row = row}, .origin = ORIGIN_OPERATOR,
	};

	change.value = t->rows[row].get(&copy);
	return change;
}

static enum status check_room(struct control *c, struct pool *p, const struct pool_config *to, const struct given *given,
			      struct failure *f)
{
	static struct setting_change changes[32]; /* the control task's; too large for its stack */
	const struct knob_table *io = &pool_io_knobs[to->io.unit];
	unsigned count = 0;

	for (unsigned row = 0; row < pool_knobs.count; row++)
		if (given->cpu & BIT(row))
			changes[count++] = change_of(p, &pool_knobs, row, to);
	for (unsigned row = 0; row < io->count; row++)
		if (given->io & BIT(row))
			changes[count++] = change_of(p, io, row, to);
	for (unsigned row = 0; row < pool_net_knobs.count; row++)
		if (given->net & BIT(row))
			changes[count++] = change_of(p, &pool_net_knobs, row, to);
	return settings_check_room(c, changes, count, &f->error);
}

enum status pool_set_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct pool_config to;
	struct given given;
	struct pool *p;
	enum status st = read_set(c, a, &p, &to, &given, f);

	return st == ST_OK ? check_room(c, p, &to, &given, f) : st;
}

static void set_place(struct control *c, struct pool *p, const struct pool_config *to)
{
	struct pool_config moved = p->config;
	struct error err;

	if (strcmp(p->config.parent, to->parent) == 0)
		return;
	memcpy(moved.parent, to->parent, sizeof moved.parent);
	audit_change(c, p->config.parent[0] ? p->config.parent : POOL_ROOT, to->parent[0] ? to->parent : POOL_ROOT);
	if (pool_change(p, &moved, &err) != ST_OK) /* by itself it is a part of what was checked */
		log_error("%s", err.text);
}

/* Rows are in the order shares, reservation, limit: a limit that stays above the present reservation goes first. */
static void set_table(struct control *c, struct pool *p, const struct pool_config *to, const struct knob_table *t,
		      uint32_t given, bool limit_first)
{
	for (unsigned i = 0; i < t->count; i++) {
		unsigned row = limit_first ? (unsigned)t->count - 1 - i : i;
		struct setting_change change;

		if (!(given & BIT(row)))
			continue;
		change = change_of(p, t, row, to);
		change_apply(c, &change);
	}
}

static void set_numbers(struct control *c, struct pool *p, const struct pool_config *to, const struct given *given)
{
	const struct pool_config *now = &p->config;

	set_table(c, p, to, &pool_knobs, given->cpu, to->cpu.numbers.limit >= now->cpu.numbers.reservation);
	set_table(c, p, to, &pool_io_knobs[to->io.unit], given->io, to->io.numbers.limit >= now->io.numbers.reservation);
	set_table(c, p, to, &pool_net_knobs, given->net, to->net.numbers.limit >= now->net.numbers.reservation);
}

/* Every step between is admitted: less is promised before it moves, more afterwards. */
enum status pool_set_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct pool_config to;
	struct given given;
	struct pool *p;
	enum status st = read_set(c, a, &p, &to, &given, f);
	bool less;

	if (st != ST_OK)
		return st;
	less = to.cpu.numbers.reservation < p->config.cpu.numbers.reservation;
	audit_on(c, p->config.name, strlen(p->config.name));
	if (less)
		set_numbers(c, p, &to, &given);
	set_place(c, p, &to);
	if (!less)
		set_numbers(c, p, &to, &given);
	pools_changed(c, p);
	put_pool(c, p, w);
	return ST_OK;
}

/* ---- remove, move ---- */

enum status pool_remove_decode(struct control *c, struct command_args *a, struct failure *f)
{
	return pool_show_decode(c, a, f);
}

enum status pool_remove_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct pool *p;
	enum status st = find(c, a, &p, f);

	(void)w;
	return st == ST_OK ? pools_remove(c, p, &f->error) : st;
}

/* The pool's name, NUL-terminated. */
static enum status read_target(struct control *c, const struct command_args *a, char out[VM_NAME_MAX], struct failure *f)
{
	struct pool *p;
	enum status st = pools_find(c, a->pool.text, a->pool.len, &p, &f->error);

	if (st == ST_OK)
		st = pools_usable(c, p->config.name, &f->error);
	if (st == ST_OK)
		format(out, VM_NAME_MAX, "%s", p->config.name);
	return st;
}

/* It takes from those in the one pool and gives to those in the other: a key that is limited to VMs has no say in it. */
enum status pool_move_decode(struct control *c, struct command_args *a, struct failure *f)
{
	char name[VM_NAME_MAX];

	if (!a->from_script && !session_may(c, NULL))
		return fail(&f->error, ST_DENIED, "move is not for the key %s, which is limited to VMs", c->session.who);
	return read_target(c, a, name, f);
}

enum status pool_move_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	char name[VM_NAME_MAX], before[VM_NAME_MAX];
	enum status st = read_target(c, a, name, f);

	(void)w;
	format(before, sizeof before, "%s", a->vm->config.pool[0] ? a->vm->config.pool : POOL_ROOT);
	if (st == ST_OK)
		st = vm_cpu_move(a->vm, name, &f->error);
	if (st != ST_OK)
		return st;
	audit_change(c, before, name);
	log_info("VM %s: moved from pool %s to %s", a->vm->config.name, before, name);
	return ST_OK;
}
