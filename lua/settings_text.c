/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the site's text makes of settings: the values that go with a generation,
 * and the grounds that a VM's definition gives. settings.c has the chains.
 */
#include <string.h>

#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/settings_internal.h"

/* ---- a generation's ---- */

void settings_drop_generation(struct control *c)
{
	struct settings *s = &c->settings;

	for (unsigned i = 0; i < s->count;) {
		struct setting_entry dropped = s->entries[i];
		struct tree_item item;

		if (!dropped.generation || dropped.origin != ORIGIN_SCRIPT) {
			i++;
			continue;
		}
		settings_remove(s, &s->entries[i]);
		if (setting_item(c, &dropped, &item))
			settings_turn(c, &item);
		i = 0; /* a ground may have gone with it */
	}
}

static bool of_generation(const struct setting_entry *e)
{
	return e->generation && e->origin == ORIGIN_SCRIPT;
}

bool settings_next_of_generation(struct control *c, unsigned *cursor, struct tree_item *out)
{
	struct settings *s = &c->settings;

	while (*cursor < s->count) {
		const struct setting_entry *e = &s->entries[(*cursor)++];

		if (of_generation(e) && setting_item(c, e, out))
			return true;
	}
	return false;
}

/* The ground that the definition @cfg makes; nobody else sees the VM with it. */
static void ground_in(struct control *c, const struct tree_item *item, const struct vm_config *cfg,
		      struct setting_entry *out)
{
	static struct vm_config kept; /* too large for the stack */
	unsigned long masked = control_mask(c);

	kept = item->table.vm->config;
	item->table.vm->config = *cfg;
	settings_ground(item, out);
	item->table.vm->config = kept;
	control_unmask(c, masked);
}

void settings_without_generation(struct control *c, const struct tree_item *item, const struct vm_config *cfg,
				 struct setting_entry *out)
{
	const struct settings *s = &c->settings;
	const struct setting_entry *top = NULL;

	for (unsigned i = 0; i < s->count; i++) {
		const struct setting_entry *e = &s->entries[i];

		if (setting_belongs(e, item) && !of_generation(e) && (!top || setting_above(e, top)))
			top = e;
	}
	ASSERT(top); /* at least the ground */
	if (top->ground && cfg)
		ground_in(c, item, cfg, out);
	else
		*out = *top;
}

/* ---- definitions ---- */

void settings_definition(struct control *c, struct vm *vm, struct vm_config *out)
{
	const struct settings *s = &c->settings;
	uint64_t live[SETTINGS_ENTRIES_MAX];
	unsigned long masked = control_mask(c);

	for (unsigned i = 0; i < s->count; i++) {
		const struct setting_entry *e = &s->entries[i];

		if (!e->ground || e->vm != vm->id)
			continue;
		live[i] = e->knob->get(vm);
		e->knob->set(vm, e->value);
	}
	*out = vm->config;
	for (unsigned i = 0; i < s->count; i++)
		if (s->entries[i].ground && s->entries[i].vm == vm->id)
			s->entries[i].knob->set(vm, live[i]);
	control_unmask(c, masked);
}

static void forget_scripts_changes(struct settings *s, unsigned id)
{
	for (unsigned i = 0; i < s->count;) {
		const struct setting_entry *e = &s->entries[i];

		if (e->vm == id && !e->ground && (e->origin == ORIGIN_SCRIPT || e->by_script))
			settings_remove(s, &s->entries[i]);
		else
			i++;
	}
}

static struct setting_entry *ground_of(struct settings *s, const struct tree_item *item)
{
	for (unsigned i = 0; i < s->count; i++)
		if (setting_belongs(&s->entries[i], item) && s->entries[i].ground)
			return &s->entries[i];
	return NULL;
}

/* The chain of one setting of a VM that was defined anew. */
static void reground(struct control *c, const struct tree_item *item)
{
	struct setting_entry *ground = ground_of(&c->settings, item);
	const struct knob *k = item_knob(item);
	struct error err;

	if (!ground)
		return;
	settings_ground(item, ground);
	if (knob_check(k, item->table.object, settings_top(&c->settings, item)->value, &err) != ST_OK) {
		log_warn("VM %s: what was set for %s is forgotten, the new definition rules it out: %s",
			 item->table.vm->config.name, k->name, err.text);
		settings_reset(c, item);
	} else {
		settings_turn(c, item);
	}
}

void settings_redefined(struct control *c, struct vm *vm)
{
	struct tree_item item = {.table = {.knobs = &vm_knobs, .object = vm, .vm = vm}};

	forget_scripts_changes(&c->settings, vm->id);
	for (item.row = 0; item.row < vm_knobs.count; item.row++)
		reground(c, &item);
	settings_find_next_end(&c->settings);
}

void settings_forget_vm(struct control *c, unsigned id)
{
	struct settings *s = &c->settings;

	for (unsigned i = 0; i < s->count;) {
		if (id != 0 && s->entries[i].vm == id)
			settings_remove(s, &s->entries[i]);
		else
			i++;
	}
	settings_find_next_end(s);
}
