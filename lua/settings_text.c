/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the site's text makes of settings: the values that go with a generation,
 * and the grounds that a VM's definition gives. settings.c has the chains.
 */
#include <string.h>

#include "guest/vm_disk.h"
#include "guest/vm_nic.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/define.h"
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
	struct vm *vm = item->table.vm;
	struct vm_disk_place disk = {.vm = vm};
	struct vm_nic_place nic = {.vm = vm};
	struct tree_item there = *item;
	unsigned long masked = control_mask(c);

	if (item->table.disk) {
		disk.index = vm_disk_index(cfg, vm->config.disks[item->table.disk - 1].name);
		ASSERT(disk.index < cfg->disk_count);
		there.table.object = &disk;
	} else if (item->table.interface) {
		nic.index = vm_nic_index(cfg, vm->config.nics[item->table.interface - 1].name);
		ASSERT(nic.index < cfg->nic_count);
		there.table.object = &nic;
	}
	kept = vm->config;
	vm->config = *cfg;
	settings_ground(&there, out);
	vm->config = kept;
	control_unmask(c, masked);
}

static void ground_in_pool(const struct tree_item *item, const struct pool_config *cfg, struct setting_entry *out)
{
	struct pool copy = {.config = *cfg};
	struct tree_item of_copy = *item;

	of_copy.table.object = &copy;
	settings_ground(&of_copy, out);
}

/* A network's object is not for copying: the definition is asked for what it gives. */
static void ground_in_network(const struct tree_item *item, const struct network_config *cfg, struct setting_entry *out)
{
	bool given = cfg->given & BIT(item->row);

	if (define_network_value(cfg, item_knob(item)->name, &out->value))
		out->origin = given ? ORIGIN_SCRIPT : ORIGIN_DEFAULT;
	format(out->where, sizeof out->where, "%s", given ? cfg->origin : "");
}

void settings_without_generation(struct control *c, const struct tree_item *item, const struct settings_next *next,
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
	*out = *top;
	if (top->ground && next->vm)
		ground_in(c, item, next->vm, out);
	else if (top->ground && next->pool)
		ground_in_pool(item, next->pool, out);
	else if (top->ground && next->network)
		ground_in_network(item, next->network, out);
}

/* ---- definitions ---- */

/* What the settings of @owner were before any change, into the copy @object of it that no manager knows. */
static void put_grounds(const struct settings *s, unsigned owner, void *object)
{
	for (unsigned i = 0; i < s->count; i++)
		if (s->entries[i].ground && s->entries[i].owner == owner)
			s->entries[i].knob->set(object, s->entries[i].value);
}

/* Goes when its maker's text does, which is with a new definition. */
static bool is_scripts(const struct setting_entry *e)
{
	return !e->ground && (e->origin == ORIGIN_SCRIPT || e->by_script);
}

/* What will stay above a new definition, into such a copy: entries of a chain come in any order. */
static void put_lasting(const struct settings *s, unsigned owner, void *object)
{
	for (unsigned i = 0; i < s->count; i++) {
		const struct setting_entry *e = &s->entries[i], *top = NULL;

		if (e->owner != owner || !e->ground)
			continue;
		for (unsigned j = 0; j < s->count; j++) {
			const struct setting_entry *other = &s->entries[j];

			if (other->owner == owner && other->knob == e->knob && !other->ground && !is_scripts(other) &&
			    (!top || setting_above(other, top)))
				top = other;
		}
		if (top)
			e->knob->set(object, top->value);
	}
}

/* A VM of the same definition that is not built: what is set in it reaches no manager. Too large for the stack. */
static struct vm *vm_copy(const struct vm_config *cfg)
{
	static struct vm copy;

	copy.config = *cfg;
	return &copy;
}

/* What a device of a VM is called in owners: tree_owner() of its tables. */
static unsigned disk_owner(const struct vm *vm, unsigned index)
{
	return (index + 1) << TREE_OWNER_DEVICE_SHIFT | vm->id;
}

static unsigned interface_owner(const struct vm *vm, unsigned index)
{
	return disk_owner(vm, VM_DISKS_MAX + index);
}

/* Where disk @index of @vm is in @cfg, counted in the same unit; disk_count: nowhere. */
static unsigned new_place(const struct vm *vm, unsigned index, const struct vm_config *cfg)
{
	const struct vm_disk *disk = &vm->config.disks[index];
	unsigned at = vm_disk_index(cfg, disk->name);

	return at < cfg->disk_count && cfg->disks[at].unit == disk->unit ? at : cfg->disk_count;
}

/* What the owner @owner, of a device of @vm, becomes with @cfg; 0: it is not there. */
static unsigned new_owner(const struct vm *vm, unsigned owner, const struct vm_config *cfg)
{
	unsigned index = tree_owner_device(owner) - 1, at;

	if (index < VM_DISKS_MAX) {
		at = new_place(vm, index, cfg);
		return at < cfg->disk_count ? disk_owner(vm, at) : 0;
	}
	at = vm_nic_index(cfg, vm->config.nics[index - VM_DISKS_MAX].name);
	return at < cfg->nic_count ? interface_owner(vm, at) : 0;
}

static void warn_forgotten(const struct vm *vm, const struct setting_entry *e)
{
	unsigned index = tree_owner_device(e->owner) - 1;
	bool disk = index < VM_DISKS_MAX;

	log_warn("what was set for vm.%s.%s.%s.%s is forgotten: the new definition has no such", vm->config.name,
		 disk ? "disk" : "net", disk ? vm->config.disks[index].name : vm->config.nics[index - VM_DISKS_MAX].name,
		 e->knob->name);
}

/* @owner is a device of @vm. */
static bool is_device_of(unsigned owner, const struct vm *vm)
{
	return !(owner & TREE_OWNER_OTHERS) && tree_owner_device(owner) != 0 &&
	       (owner & (BIT(TREE_OWNER_DEVICE_SHIFT) - 1)) == vm->id;
}

void settings_redefining(struct control *c, const struct vm *vm, const struct vm_config *cfg)
{
	struct settings *s = &c->settings;

	for (unsigned i = 0; i < s->count;) {
		struct setting_entry *e = &s->entries[i];
		unsigned owner;

		if (!is_device_of(e->owner, vm)) {
			i++;
			continue;
		}
		owner = new_owner(vm, e->owner, cfg);
		if (owner) {
			e->owner = (uint16_t)owner;
			i++;
			continue;
		}
		if (e->origin == ORIGIN_OPERATOR)
			warn_forgotten(vm, e);
		settings_remove(s, e);
	}
	settings_find_next_end(s);
}

void settings_definition(struct control *c, struct vm *vm, struct vm_config *out)
{
	struct vm *copy = vm_copy(&vm->config);

	put_grounds(&c->settings, vm->id, copy);
	for (unsigned i = 0; i < vm->config.disk_count; i++) {
		struct vm_disk_place place = {.vm = copy, .index = i};

		put_grounds(&c->settings, disk_owner(vm, i), &place);
	}
	for (unsigned i = 0; i < vm->config.nic_count; i++) {
		struct vm_nic_place place = {.vm = copy, .index = i};

		put_grounds(&c->settings, interface_owner(vm, i), &place);
	}
	*out = copy->config;
}

void settings_after(struct control *c, const struct vm *vm, const struct vm_config *cfg, struct vm_config *out)
{
	struct vm *copy = vm_copy(cfg);

	put_lasting(&c->settings, vm->id, copy);
	for (unsigned i = 0; i < vm->config.disk_count; i++) {
		struct vm_disk_place place = {.vm = copy, .index = new_place(vm, i, cfg)};

		if (place.index < cfg->disk_count)
			put_lasting(&c->settings, disk_owner(vm, i), &place);
	}
	for (unsigned i = 0; i < vm->config.nic_count; i++) {
		struct vm_nic_place place = {.vm = copy, .index = vm_nic_index(cfg, vm->config.nics[i].name)};

		if (place.index < cfg->nic_count)
			put_lasting(&c->settings, interface_owner(vm, i), &place);
	}
	*out = copy->config;
}

void settings_pool_definition(struct control *c, const struct pool *p, struct pool_config *out)
{
	struct pool copy = {.config = p->config};

	put_grounds(&c->settings, TREE_OWNER_POOL | p->id, &copy);
	*out = copy.config;
}

void settings_pool_after(struct control *c, const struct pool *p, const struct pool_config *cfg, struct pool_config *out)
{
	struct pool copy = {.config = *cfg};

	put_lasting(&c->settings, TREE_OWNER_POOL | p->id, &copy);
	*out = copy.config;
}

static void forget_scripts_changes(struct settings *s, unsigned owner)
{
	for (unsigned i = 0; i < s->count;) {
		if (s->entries[i].owner == owner && is_scripts(&s->entries[i]))
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

/* The chain of one setting of what was defined anew. */
static void reground(struct control *c, const struct tree_item *item)
{
	struct setting_entry *ground = ground_of(&c->settings, item);
	const struct knob *k = item_knob(item);
	char path[TREE_PATH_MAX];
	struct error err;

	if (!ground)
		return;
	settings_ground(item, ground);
	if (knob_check(k, item->table.object, settings_top(&c->settings, item)->value, &err) != ST_OK) {
		tree_path(item, path);
		log_warn("what was set for %s is forgotten, the new definition rules it out: %s", path, err.text);
		settings_reset(c, item);
	} else {
		settings_turn(c, item);
	}
}

static void redefined(struct control *c, struct tree_item *item)
{
	forget_scripts_changes(&c->settings, tree_owner(&item->table));
	for (item->row = 0; item->row < item->table.knobs->count; item->row++)
		reground(c, item);
	settings_find_next_end(&c->settings);
}

void settings_redefined(struct control *c, struct vm *vm)
{
	struct tree_item item = {.table = {.knobs = &vm_knobs, .object = vm, .vm = vm}};

	redefined(c, &item);
	for (unsigned i = 0; i < vm->config.disk_count; i++) {
		item.table = tree_disk_knobs(vm, i);
		redefined(c, &item);
	}
	for (unsigned i = 0; i < vm->config.nic_count; i++) {
		item.table = tree_interface_knobs(vm, i);
		redefined(c, &item);
	}
}

void settings_network_redefined(struct control *c, const struct network *n)
{
	struct tree_item item = {.table = tree_network_knobs(c, network_place(n))};

	redefined(c, &item);
}

static bool is_in(const struct knob *k, const struct knob_table *t)
{
	return k >= t->rows && k < t->rows + t->count;
}

/* What is in none of the three tables: its disks are counted in another unit now. */
static void forget_others(struct settings *s, unsigned owner, const struct knob_table *const tables[3])
{
	for (unsigned i = 0; i < s->count;) {
		const struct knob *k = s->entries[i].knob;
		bool there = is_in(k, tables[0]) || is_in(k, tables[1]) || is_in(k, tables[2]);

		if (s->entries[i].owner == owner && !there)
			settings_remove(s, &s->entries[i]);
		else
			i++;
	}
}

void settings_pool_redefined(struct control *c, struct pool *p)
{
	const struct knob_table *const tables[] = {&pool_knobs, &pool_io_knobs[p->config.io.unit], &pool_net_knobs};
	struct tree_item item = {.table = {.object = p, .pool = p}};

	forget_others(&c->settings, TREE_OWNER_POOL | p->id, tables);
	for (unsigned i = 0; i < ARRAY_SIZE(tables); i++) {
		item.table.knobs = tables[i];
		redefined(c, &item);
	}
}

/* A VM's disks and interfaces go with it. */
static bool is_of(unsigned entry, unsigned owner)
{
	return entry == owner ||
	       (!(entry & TREE_OWNER_OTHERS) && (entry & (BIT(TREE_OWNER_DEVICE_SHIFT) - 1)) == owner);
}

void settings_forget(struct control *c, unsigned owner)
{
	struct settings *s = &c->settings;

	for (unsigned i = 0; i < s->count;) {
		if (owner != 0 && is_of(s->entries[i].owner, owner))
			settings_remove(s, &s->entries[i]);
		else
			i++;
	}
	settings_find_next_end(s);
}
