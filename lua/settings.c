/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All chains share one array in the order of their making, so a chain is a scan
 * of at most SETTINGS_ENTRIES_MAX places: changes are rare, and nobody reads a
 * setting through here but who asks about it (the managers have the value).
 *
 * A knob that counts at its VM's start is turned when the VM is at rest, or else
 * by vm_start() through the machine's hook; until then its chain is ahead of it.
 */
#include "lua/settings.h"

#include <string.h>

#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/settings_internal.h"

#define AT_REST (BIT(VM_DEFINED) | BIT(VM_STOPPED) | BIT(VM_CRASHED))

const char *origin_name(enum origin origin)
{
	static const char *const names[ORIGINS] = {"default", "boot", "script", "operator", "override"};

	return (unsigned)origin < ORIGINS ? names[origin] : "unknown";
}

/* ---- chains ---- */

bool setting_belongs(const struct setting_entry *e, const struct tree_item *item)
{
	return e->knob == item_knob(item) && e->owner == tree_owner(&item->table);
}

bool setting_above(const struct setting_entry *a, const struct setting_entry *b)
{
	if (a->ground != b->ground)
		return b->ground;
	return a->origin > b->origin || (a->origin == b->origin && a > b);
}

struct setting_entry *settings_top(struct settings *s, const struct tree_item *item)
{
	struct setting_entry *top = NULL;

	for (unsigned i = 0; i < s->count; i++)
		if (setting_belongs(&s->entries[i], item) && (!top || setting_above(&s->entries[i], top)))
			top = &s->entries[i];
	return top;
}

static unsigned chain_length(const struct settings *s, const struct tree_item *item)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->count; i++)
		n += setting_belongs(&s->entries[i], item);
	return n;
}

void settings_find_next_end(struct settings *s)
{
	s->next = TIMERQ_NEVER;
	s->overrides = 0;
	for (unsigned i = 0; i < s->count; i++) {
		if (s->entries[i].origin != ORIGIN_OVERRIDE)
			continue;
		s->overrides++;
		s->next = MIN(s->next, s->entries[i].expires);
	}
}

void settings_remove(struct settings *s, struct setting_entry *e)
{
	size_t at = (size_t)(e - s->entries);

	memmove(e, e + 1, (s->count - at - 1) * sizeof *e);
	s->count--;
}

static struct setting_entry *add_entry(struct settings *s, const struct tree_item *item, enum origin origin)
{
	struct setting_entry *e = &s->entries[s->count];

	ASSERT(s->count < SETTINGS_ENTRIES_MAX);
	s->count++;
	*e = (struct setting_entry){.knob = item_knob(item), .owner = (uint16_t)tree_owner(&item->table), .origin = origin};
	return e;
}

void settings_ground(const struct tree_item *item, struct setting_entry *out)
{
	const struct knob_table *t = item->table.knobs;
	const struct knob *k = item_knob(item);
	const char *where = "";

	*out = (struct setting_entry){
		.knob = k, .owner = (uint16_t)tree_owner(&item->table), .ground = true, .value = k->get(item->table.object),
	};
	if (t->given)
		out->origin = t->given(item->table.object, item->row, &where) ? ORIGIN_SCRIPT : ORIGIN_DEFAULT;
	else
		out->origin = out->value == k->otherwise ? ORIGIN_DEFAULT : ORIGIN_BOOT;
	if (out->origin == ORIGIN_SCRIPT)
		format(out->where, sizeof out->where, "%s", where);
}

/* ---- turning ---- */

static bool may_turn(const struct tree_item *item)
{
	return item_knob(item)->when == KNOB_LIVE || !item->table.vm || BIT(item->table.vm->state) & AT_REST;
}

/* Gives the knob what its chain says, and forgets a chain that is only ground again. */
static void turn(struct control *c, const struct tree_item *item)
{
	const struct knob *k = item_knob(item);
	struct setting_entry *top = settings_top(&c->settings, item);
	unsigned long state;

	if (!top)
		return;
	if (k->get(item->table.object) != top->value) {
		state = k->piecewise ? 0 : control_mask(c);
		k->set(item->table.object, top->value);
		if (!k->piecewise)
			control_unmask(c, state);
	}
	if (top->ground)
		settings_remove(&c->settings, top);
}

void settings_turn(struct control *c, const struct tree_item *item)
{
	if (may_turn(item))
		turn(c, item);
}

bool setting_item(struct control *c, const struct setting_entry *e, struct tree_item *out)
{
	struct tree_table t;
	uint32_t cursor = 0;

	while (tree_next_table(c, &cursor, &t)) {
		if (!t.knobs || tree_owner(&t) != e->owner)
			continue;
		if (e->knob < t.knobs->rows || e->knob >= t.knobs->rows + t.knobs->count)
			continue;
		*out = (struct tree_item){.table = t, .row = (unsigned)(e->knob - t.knobs->rows)};
		return true;
	}
	return false;
}

/* The VM is about to be built: what waited for this counts now. */
static void on_start(void *ctx, struct vm *vm)
{
	struct control *c = ctx;
	struct tree_item item = {.table = {.knobs = &vm_knobs, .object = vm, .vm = vm}};

	for (item.row = 0; item.row < vm_knobs.count; item.row++)
		turn(c, &item);
	for (unsigned i = 0; i < vm->config.nic_count; i++) {
		item.table = tree_interface_knobs(vm, i);
		for (item.row = 0; item.row < item.table.knobs->count; item.row++)
			turn(c, &item);
	}
}

/* ---- changing ---- */

/* The entry that a change would take the place of: the same maker's. NULL: it needs a new one. */
static struct setting_entry *replaced_by(struct settings *s, const struct setting_change *change)
{
	enum origin origin = change->for_ns ? ORIGIN_OVERRIDE : change->origin;

	for (unsigned i = 0; i < s->count; i++) {
		struct setting_entry *e = &s->entries[i];

		if (!setting_belongs(e, &change->item) || e->ground || e->origin != origin)
			continue;
		if (origin != ORIGIN_OVERRIDE || (e->by_script == (change->origin == ORIGIN_SCRIPT) &&
						  strcmp(e->where, change->where) == 0))
			return e;
	}
	return NULL;
}

static enum status check_room(struct settings *s, const struct setting_change *change, struct error *err)
{
	unsigned more = settings_top(s, &change->item) ? 1 : 2;

	if (replaced_by(s, change))
		return ST_OK;
	if (change->for_ns && s->overrides >= SETTINGS_OVERRIDES_MAX)
		return fail(err, ST_OVER_LIMIT, "there are %u temporary overrides already: wait, or unset one",
			    SETTINGS_OVERRIDES_MAX);
	if (s->count + more > SETTINGS_ENTRIES_MAX)
		return fail(err, ST_OVER_LIMIT, "%u changes of settings are kept already: unset some",
			    SETTINGS_ENTRIES_MAX);
	return ST_OK;
}

enum status settings_check_room(struct control *c, const struct setting_change *changes, unsigned count,
				struct error *err)
{
	struct settings *s = &c->settings;
	unsigned entries = s->count, overrides = s->overrides;

	for (unsigned i = 0; i < count; i++) {
		if (replaced_by(s, &changes[i]))
			continue;
		entries += settings_top(s, &changes[i].item) ? 1 : 2;
		overrides += changes[i].for_ns != 0;
	}
	if (overrides > SETTINGS_OVERRIDES_MAX)
		return fail(err, ST_OVER_LIMIT, "there would be %u temporary overrides, at most %u are possible",
			    overrides, SETTINGS_OVERRIDES_MAX);
	if (entries > SETTINGS_ENTRIES_MAX)
		return fail(err, ST_OVER_LIMIT, "%u changes of settings would be kept, at most %u are possible", entries,
			    SETTINGS_ENTRIES_MAX);
	return ST_OK;
}

static enum status check_time(const struct setting_change *change, struct error *err)
{
	if (change->for_ns == 0)
		return ST_OK;
	if (change->for_ns < SETTINGS_FOR_MIN_NS || change->for_ns > SETTINGS_FOR_MAX_NS)
		return fail(err, ST_INVALID, "an override lasts from 1 ms to 366 days");
	return ST_OK;
}

enum status settings_check(struct control *c, const struct setting_change *change, struct error *err)
{
	const struct knob *k = item_knob(&change->item);
	struct error why = {""};
	char path[TREE_PATH_MAX];
	enum status st = knob_check(k, change->item.table.object, change->value, &why);

	if (st == ST_OK)
		st = check_time(change, &why);
	if (st == ST_OK && k->member == MEMBER_RESERVATION && change->origin == ORIGIN_SCRIPT)
		st = fail(&why, ST_DENIED, "a reservation is a floor: a definition or the operator sets it");
	if (st == ST_OK)
		st = check_room(&c->settings, change, &why);
	if (st == ST_OK)
		return ST_OK;
	tree_path(&change->item, path);
	return fail(err, st, "%s: %.140s", path, why.text);
}

void settings_apply(struct control *c, const struct setting_change *change)
{
	struct settings *s = &c->settings;
	struct setting_entry *e = replaced_by(s, change);

	if (e) /* a renewed one is the newest */
		settings_remove(s, e);
	if (!settings_top(s, &change->item))
		settings_ground(&change->item, add_entry(s, &change->item, ORIGIN_DEFAULT));
	e = add_entry(s, &change->item, change->for_ns ? ORIGIN_OVERRIDE : change->origin);
	e->value = change->value;
	e->by_script = change->origin == ORIGIN_SCRIPT;
	e->generation = change->generation;
	if (change->for_ns)
		e->expires = control_ticks(c) + ns_to_ticks(change->for_ns, c->cfg.clock->hz);
	memcpy(e->where, change->where, sizeof e->where);
	memcpy(e->why, change->why, sizeof e->why);
	s->changes++;
	settings_find_next_end(s);
	settings_turn(c, &change->item);
}

void settings_reset(struct control *c, const struct tree_item *item)
{
	struct settings *s = &c->settings;

	for (unsigned i = 0; i < s->count;) {
		if (setting_belongs(&s->entries[i], item) && !s->entries[i].ground)
			settings_remove(s, &s->entries[i]);
		else
			i++;
	}
	s->changes++;
	settings_find_next_end(s);
	settings_turn(c, item);
}

/* ---- reading ---- */

void settings_state(struct control *c, const struct tree_item *item, struct setting_state *out)
{
	struct setting_entry ground, *top = settings_top(&c->settings, item);

	if (!top) {
		settings_ground(item, &ground);
		top = &ground;
	}
	*out = (struct setting_state){
		.value = item_knob(item)->get(item->table.object), .next_value = top->value, .origin = top->origin,
	};
	out->pending = out->value != out->next_value;
}

/* Below a ground that somebody chose lies the declaration's default, if there is one. */
static unsigned add_default(struct setting_entry *out, unsigned n)
{
	const struct setting_entry *ground = &out[n - 1];
	const struct knob *k = ground->knob;

	if (ground->origin == ORIGIN_DEFAULT || (k->type == KNOB_NUMBER && k->otherwise < k->min))
		return n;
	out[n] = (struct setting_entry){
		.knob = k, .owner = ground->owner, .ground = true, .value = k->otherwise, .origin = ORIGIN_DEFAULT,
	};
	return n + 1;
}

unsigned settings_chain(struct control *c, const struct tree_item *item, struct setting_entry out[SETTINGS_CHAIN_MAX])
{
	struct settings *s = &c->settings;
	unsigned count = chain_length(s, item), n = 0;
	const struct setting_entry *last = NULL;

	if (count == 0) {
		settings_ground(item, &out[0]);
		return add_default(out, 1);
	}
	while (n < count && n < SETTINGS_CHAIN_MAX - 1) { /* each time the highest below the last */
		const struct setting_entry *next = NULL;

		for (unsigned i = 0; i < s->count; i++) {
			const struct setting_entry *e = &s->entries[i];

			if (!setting_belongs(e, item) || (last && !setting_above(last, e)) || e == last)
				continue;
			if (!next || setting_above(e, next))
				next = e;
		}
		ASSERT(next); /* the order is total */
		out[n++] = *next;
		last = next;
	}
	return add_default(out, n);
}

/* ---- time ---- */

void settings_init(struct control *c)
{
	c->settings = (struct settings){.next = TIMERQ_NEVER};
	c->cfg.machine->starting = on_start;
	c->cfg.machine->starting_ctx = c;
}

static void end_override(struct control *c, struct setting_entry *e)
{
	struct setting_entry ended = *e;
	struct tree_item item;
	struct setting_state now;
	char path[TREE_PATH_MAX], text[KNOB_TEXT_MAX];

	settings_remove(&c->settings, e);
	c->settings.expired++;
	if (!setting_item(c, &ended, &item))
		return;
	settings_turn(c, &item);
	settings_state(c, &item, &now);
	tree_path(&item, path);
	events_post(&c->events, EVENT_OVERRIDE_EXPIRED, item.table.vm, "%s: %s counts again", path,
		    knob_text(ended.knob, now.next_value, text));
	log_info("setting %s: an override is over, %s counts again%s", path, knob_text(ended.knob, now.next_value, text),
		 now.pending ? " from the next start on" : "");
}

bool settings_step(struct control *c)
{
	struct settings *s = &c->settings;
	uint64_t ticks;
	bool any = false;

	if (s->next == TIMERQ_NEVER)
		return false;
	ticks = control_ticks(c);
	if (ticks < s->next)
		return false;
	for (unsigned i = 0; i < s->count;) {
		struct setting_entry *e = &s->entries[i];

		if (e->origin != ORIGIN_OVERRIDE || ticks < e->expires) {
			i++;
			continue;
		}
		end_override(c, e);
		any = true;
		i = 0; /* a ground may have gone with it */
	}
	settings_find_next_end(s);
	return any;
}
