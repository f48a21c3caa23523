/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text runs in a script of its own with every write recorded, and what it
 * wants is compared with what is: definitions by their encoding, key by key. What is
 * in the way is found here, so that little can fail when the plan is carried out.
 */
#include "lua/genplan.h"

#include <string.h>

#include "guest/vm_disk.h"
#include "guest/vm_nic.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lua/control_internal.h"
#include "lua/gennets.h"
#include "lua/genpools.h"
#include "lua/volumes.h"

#define WANTED_BYTES (VMS_MAX * sizeof(struct vm_config))
#define ENCODED_MAX 12288u
#define KEY_MAX 32

struct plan genplan;

/* Smallest order whose block holds @bytes. */
static unsigned order_for(uint64_t bytes)
{
	return bit_highest(bytes - 1) + 1 - PAGE_SHIFT;
}
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

/* What a running VM's machine was built from: all but what genplan_take_live() takes. */
static void note_fixed(void *ctx, const char *key)
{
	static const char *const live[] = {"on_reset", "autostart", "pool", "cpu", "mem", "disk", "net"};
	char *out = ctx;

	for (unsigned i = 0; i < ARRAY_SIZE(live); i++)
		if (strcmp(key, live[i]) == 0)
			return;
	if (!out[0])
		format(out, KEY_MAX, "%s", key);
}

/* All but what the guest was told of its device. */
static void take_live_nic(struct vm_nic *nic, const struct vm_nic *from)
{
	struct vm_nic kept = *nic;

	*nic = *from;
	memcpy(nic->mac, kept.mac, sizeof nic->mac);
	nic->queues = kept.queues;
	nic->mtu = kept.mtu;
}

void genplan_take_live(struct vm_config *cfg, const struct vm_config *from)
{
	unsigned count = cfg->cpu.count;

	cfg->on_reset = from->on_reset;
	cfg->autostart = from->autostart;
	cfg->given = from->given;
	memcpy(cfg->origin, from->origin, sizeof cfg->origin);
	memcpy(cfg->pool, from->pool, sizeof cfg->pool);
	cfg->cpu = from->cpu;
	cfg->cpu.count = count;
	cfg->memory.balloon = from->memory.balloon;
	for (unsigned i = 0; i < cfg->disk_count; i++) {
		cfg->disks[i].numbers = from->disks[i].numbers;
		cfg->disks[i].coalesce = from->disks[i].coalesce;
		cfg->disks[i].given = from->disks[i].given;
	}
	for (unsigned i = 0; i < cfg->nic_count; i++)
		take_live_nic(&cfg->nics[i], &from->nics[i]);
}

static void put_key(void *ctx, const char *key)
{
	cbor_put_text(ctx, key);
}

bool genplan_at_rest(const struct vm *vm)
{
	return vm->state == VM_DEFINED || vm->state == VM_STOPPED || vm->state == VM_CRASHED;
}

static const struct vm_config *find_wanted(const char *name)
{
	for (unsigned i = 0; i < genplan.wanted_count; i++)
		if (strcmp(genplan.wanted[i].name, name) == 0)
			return &genplan.wanted[i];
	return NULL;
}

struct vm *genplan_next_removed(struct control *c, const struct vm *prev)
{
	struct vm *vm = vm_next(c->cfg.machine, prev);

	while (vm && (!c->generation.owned[vm->id] || find_wanted(vm->config.name)))
		vm = vm_next(c->cfg.machine, vm);
	return vm;
}

static bool same_disk(const struct vm_disk *a, const struct vm_disk *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->volume, b->volume) == 0 && strcmp(a->serial, b->serial) == 0 &&
	       a->read_only == b->read_only && a->queues == b->queues && a->unit == b->unit;
}

static bool same_nic(const struct vm_nic *a, const struct vm_nic *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->network, b->network) == 0 &&
	       memcmp(a->mac, b->mac, sizeof a->mac) == 0 && a->queues == b->queues && a->mtu == b->mtu;
}

static void note_fixed_nic(const struct vm_config *present, const struct vm_config *cfg, char key[KEY_MAX])
{
	if (!key[0] && present->nic_count != cfg->nic_count)
		format(key, KEY_MAX, "net");
	for (unsigned i = 0; !key[0] && i < cfg->nic_count; i++)
		if (!same_nic(&present->nics[i], &cfg->nics[i]))
			format(key, KEY_MAX, "net.%s", cfg->nics[i].name);
}

/* What keys that are live have in them that is not. */
static void note_fixed_part(struct control *c, struct vm *vm, const struct vm_config *cfg, char key[KEY_MAX])
{
	static struct vm_config present;

	settings_definition(c, vm, &present);
	if (present.cpu.count != cfg->cpu.count)
		format(key, KEY_MAX, "cpu.count");
	else if (present.memory.size != cfg->memory.size || present.memory.reservation != cfg->memory.reservation)
		format(key, KEY_MAX, "mem.size");
	else if (present.disk_count != cfg->disk_count)
		format(key, KEY_MAX, "disk");
	for (unsigned i = 0; !key[0] && i < cfg->disk_count; i++)
		if (!same_disk(&present.disks[i], &cfg->disks[i]))
			format(key, KEY_MAX, "disk.%s", cfg->disks[i].name);
	note_fixed_nic(&present, cfg, key);
}

static enum status check_changed(struct control *c, struct vm *vm, const struct vm_config *cfg, struct error *err)
{
	char key[KEY_MAX] = "";

	if (genplan_at_rest(vm))
		return ST_OK;
	redefinition(c, vm, cfg, note_fixed, key);
	if (!key[0])
		note_fixed_part(c, vm, cfg, key);
	if (!key[0])
		return ST_OK;
	return fail(err, ST_BAD_STATE, "VM %s (%.64s): %s differs, and it is %s: stop it first", cfg->name, cfg->origin,
		    key, vm_state_name(vm->state));
}

static enum status compare(struct control *c, struct error *err)
{
	unsigned added = 0, removed = 0, there = 0;
	enum status st = ST_OK;

	for (unsigned i = 0; i < genplan.wanted_count && st == ST_OK; i++) {
		genplan.vms[i] = vm_find(c->cfg.machine, genplan.wanted[i].name);
		genplan.changed[i] = false;
		added += genplan.vms[i] == NULL;
		if (!genplan.vms[i])
			continue;
		redefinition(c, genplan.vms[i], &genplan.wanted[i], note_any, &genplan.changed[i]);
		if (genplan.changed[i])
			st = check_changed(c, genplan.vms[i], &genplan.wanted[i], err);
	}
	for (struct vm *vm = genplan_next_removed(c, NULL); vm && st == ST_OK; vm = genplan_next_removed(c, vm)) {
		removed++;
		if (!genplan_at_rest(vm))
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

/* True when @item is of a disk that @cfg does not have, or counts in another unit; or of such an interface. */
static bool device_is_gone(const struct tree_item *item, const struct vm_config *cfg)
{
	const struct vm_config *is = item->table.vm ? &item->table.vm->config : NULL;
	const struct vm_disk *disk;
	unsigned at;

	if (item->table.interface)
		return vm_nic_index(cfg, is->nics[item->table.interface - 1].name) == cfg->nic_count;
	if (!item->table.disk)
		return false;
	disk = &is->disks[item->table.disk - 1];
	at = vm_disk_index(cfg, disk->name);
	return at == cfg->disk_count || cfg->disks[at].unit != disk->unit;
}

static void follow_device(struct tree_table *t, const struct vm_config *cfg)
{
	const struct vm_config *is = &t->vm->config;

	if (t->disk) {
		t->disk = vm_disk_index(cfg, is->disks[t->disk - 1].name) + 1;
		t->object = &t->vm->disk_places[t->disk - 1];
	} else {
		t->interface = vm_nic_index(cfg, is->nics[t->interface - 1].name) + 1;
		t->object = &t->vm->nic_places[t->interface - 1];
	}
}

void genplan_follow_devices(void)
{
	for (unsigned i = 0; i < genplan.setting_count; i++) {
		struct tree_table *t = &genplan.settings[i].item.table;
		const struct vm_config *cfg = t->disk || t->interface ? find_wanted(t->vm->config.name) : NULL;

		if (cfg)
			follow_device(t, cfg);
	}
}

/* @item is of a network of the text in force that the new one has not. */
static bool network_is_gone(struct control *c, const struct tree_item *item)
{
	return item->table.network && c->generation.owned_networks[item->table.network - 1] &&
	       !gennets_wanted(network_config_of(item->table.object)->name);
}

/* What the text sets must be there afterwards, and all of it must fit. */
static enum status check_settings(struct control *c, struct error *err)
{
	for (unsigned i = 0; i < genplan.setting_count; i++) {
		const struct vm *vm = genplan.settings[i].item.table.vm;
		const struct pool *p = genplan.settings[i].item.table.pool;

		if (p && c->generation.owned_pools[p->id] && !genpools_wants(p->config.name))
			return fail(err, ST_INVALID, "%s: a setting of pool %s, which is not in the text any more",
				    genplan.settings[i].where, p->config.name);
		if (network_is_gone(c, &genplan.settings[i].item))
			return fail(err, ST_INVALID, "%s: a setting of network %s, which is not in the text any more",
				    genplan.settings[i].where,
				    network_config_of(genplan.settings[i].item.table.object)->name);
		if (vm && c->generation.owned[vm->id] && !find_wanted(vm->config.name))
			return fail(err, ST_INVALID, "%s: a setting of VM %s, which is not in the text any more",
				    genplan.settings[i].where, vm->config.name);
		if (vm && find_wanted(vm->config.name) &&
		    device_is_gone(&genplan.settings[i].item, find_wanted(vm->config.name)))
			return fail(err, ST_INVALID, "%s: a setting of a %s of VM %s, which the text does not have like that",
				    genplan.settings[i].where,
				    genplan.settings[i].item.table.disk ? "disk" : "network interface", vm->config.name);
	}
	return settings_check_room(c, genplan.settings, genplan.setting_count, err);
}

/* ---- running the text ---- */

static enum status take_wanted(struct control *c, hfn_t *frame, struct error *err)
{
	unsigned long masked = control_mask(c);
	enum status st = memmgr_alloc(c->cfg.machine->mm, order_for(WANTED_BYTES), frame);

	control_unmask(c, masked);
	if (st != ST_OK)
		return fail(err, st, "there is no memory for a plan");
	genplan.wanted = memmgr_va(c->cfg.machine->mm, *frame);
	return ST_OK;
}

static void give_wanted(struct control *c)
{
	unsigned long masked = control_mask(c);

	memmgr_free(c->cfg.machine->mm, memmgr_hfn(c->cfg.machine->mm, genplan.wanted), order_for(WANTED_BYTES));
	control_unmask(c, masked);
	genplan.wanted = NULL;
}

enum status generation_record(struct control *c, const struct setting_change *change, struct error *err)
{
	(void)c;
	if (genplan.setting_count == PLAN_SETTINGS_MAX)
		return fail(err, ST_OVER_LIMIT, "a text sets at most %u settings", PLAN_SETTINGS_MAX);
	genplan.settings[genplan.setting_count] = *change;
	genplan.settings[genplan.setting_count++].generation = true;
	return ST_OK;
}

/* The change of @item for good that will count, when the plan has one. */
static const struct setting_change *find_recorded(const struct tree_item *item)
{
	for (unsigned i = genplan.setting_count; i > 0; i--) {
		const struct setting_change *change = &genplan.settings[i - 1];

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

	c->pending = genplan.wanted;
	c->pending_max = VMS_MAX;
	c->pending_count = 0;
	c->collect = true;
	c->planning = true;
	st = policy_load(c, origin, text, len, &genplan.script, err);
	c->collect = false;
	c->planning = false;
	genplan.wanted_count = c->pending_count;
	c->pending = NULL;
	c->pending_max = c->pending_count = 0;
	return st;
}

enum status genplan_make(struct control *c, uint64_t from, const char *origin, const char *text, size_t len,
			 struct error *err)
{
	enum status st;
	hfn_t frame;

	if (c->policy.running || genplan.wanted)
		return fail(err, ST_BAD_STATE, "a script cannot plan or apply: that is the operator's");
	if (len > GENERATION_TEXT_MAX)
		return fail(err, ST_OVER_LIMIT, "the text has %zu bytes, at most %u are possible", len,
			    GENERATION_TEXT_MAX);
	genplan = (struct plan){.script = NULL};
	st = take_wanted(c, &frame, err);
	if (st != ST_OK)
		return st;
	genuse_begin(c, from);
	genpools_begin();
	volumes_begin();
	gennets_begin();
	st = collect(c, origin, text, len, err);
	if (st == ST_OK)
		st = compare(c, err);
	if (st == ST_OK)
		st = check_settings(c, err);
	if (st == ST_OK)
		st = gennets_make(c, err);
	if (st == ST_OK)
		st = genpools_make(c, err);
	if (st == ST_OK)
		return ST_OK;
	if (genplan.script)
		policy_drop(c, genplan.script);
	give_wanted(c);
	return st;
}

void genplan_drop(struct control *c)
{
	genpools_drop(c);
	if (genplan.script)
		policy_drop(c, genplan.script);
	give_wanted(c);
}

/* ---- saying it ---- */

static void put_changed(struct control *c, struct cbor_writer *w, unsigned i)
{
	struct cbor_mark map = cbor_open(w), list;

	command_put_text(w, "name", genplan.wanted[i].name);
	cbor_put_text(w, "settings");
	list = cbor_open(w);
	redefinition(c, genplan.vms[i], &genplan.wanted[i], put_key, w);
	cbor_close_array(w, list);
	cbor_close_map(w, map);
}

static void put_settings(struct cbor_writer *w)
{
	struct cbor_mark list;

	cbor_put_text(w, "settings");
	list = cbor_open(w);
	for (unsigned i = 0; i < genplan.setting_count; i++) {
		const struct setting_change *change = &genplan.settings[i];
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
	struct settings_next next;
	struct tree_item item;
	struct cbor_mark list;
	unsigned cursor = 0;

	cbor_put_text(w, "dropped");
	list = cbor_open(w);
	while (settings_next_of_generation(c, &cursor, &item)) {
		const struct vm *vm = item.table.vm;
		const struct pool *p = item.table.pool;
		const struct vm_config *cfg = vm ? find_wanted(vm->config.name) : NULL;

		if (find_recorded(&item) || (vm && c->generation.owned[vm->id] && !cfg) ||
		    (p && c->generation.owned_pools[p->id] && !genpools_wants(p->config.name)) ||
		    (cfg && device_is_gone(&item, cfg)) || network_is_gone(c, &item))
			continue;
		next = (struct settings_next){
			.vm = cfg, .pool = p ? genpools_wanted(p) : NULL,
			.network = item.table.network ? gennets_wanted(network_config_of(item.table.object)->name) : NULL,
		};
		settings_without_generation(c, &item, &next, &after);
		put_dropped_one(&item, &after, w);
	}
	cbor_close_array(w, list);
}

void genplan_put(struct control *c, struct cbor_writer *w)
{
	struct cbor_mark list;

	cbor_put_text(w, "added");
	list = cbor_open(w);
	for (unsigned i = 0; i < genplan.wanted_count; i++)
		if (!genplan.vms[i])
			cbor_put_text(w, genplan.wanted[i].name);
	cbor_close_array(w, list);
	cbor_put_text(w, "changed");
	list = cbor_open(w);
	for (unsigned i = 0; i < genplan.wanted_count; i++)
		if (genplan.changed[i])
			put_changed(c, w, i);
	cbor_close_array(w, list);
	cbor_put_text(w, "removed");
	list = cbor_open(w);
	for (struct vm *vm = genplan_next_removed(c, NULL); vm; vm = genplan_next_removed(c, vm))
		cbor_put_text(w, vm->config.name);
	cbor_close_array(w, list);
	genpools_put(c, w);
	gennets_put(c, w);
	volumes_put_new(c, w);
	put_settings(w);
	put_dropped(c, w);
	command_put_uint(w, "hooks", genplan.script->hook_count);
}
