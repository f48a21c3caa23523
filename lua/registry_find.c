/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking up names: only tables whose place the path begins with are looked at. What is not there is answered with the
 * nearest name of the place that the path leads to. registry.c has the tables.
 */
#include "lua/registry.h"

#include <string.h>

#include "guest/network.h"
#include "guest/storage.h"
#include "guest/vm_disk.h"
#include "guest/vm_nic.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/hint.h"
#include "lua/registry_internal.h"

#define SHOWN_MAX 64

/* ---- parts of paths ---- */

/* How much of @word @text begins with. Most words differ in their first letter: a look-up walks over first letters. */
static size_t common(const char *text, size_t len, const char *word)
{
	size_t n = 0;

	while (n < len && word[n] && text[n] == word[n])
		n++;
	return n;
}

/* What follows @head and a dot in @path; NULL when it does not start so. */
static const char *after(const char *path, size_t len, const char *head)
{
	size_t n = common(path, len, head);

	return n < len && !head[n] && path[n] == '.' ? path + n + 1 : NULL;
}

static bool is(const char *text, size_t len, const char *word)
{
	return common(text, len, word) == len && !word[len];
}

/* The value of family row @row that @rest names. */
static bool find_member(const struct counter *row, const char *rest, size_t len, unsigned *out)
{
	char name[TREE_PATH_MAX];

	for (unsigned i = 0; i < row->family->count; i++) {
		if (!row->family->name(i))
			continue;
		tree_member(row, i, name);
		if (!is(rest, len, name))
			continue;
		*out = i;
		return true;
	}
	return false;
}

/* Finds @rest, which is below the table's place. */
static bool find_row(const struct tree_table *t, const char *rest, size_t len, struct tree_item *out)
{
	for (unsigned row = 0; row < registry_row_count(t); row++) {
		const char *name = registry_row_name(t, row), *member;
		unsigned value = 0;

		if (registry_row_values(t, row) == 1) {
			if (!is(rest, len, name))
				continue;
		} else {
			member = after(rest, len, name);
			if (!member ||
			    !find_member(&t->counters->rows[row], member, len - (size_t)(member - rest), &value))
				continue;
		}
		*out = (struct tree_item){.table = *t, .row = row, .member = value};
		return true;
	}
	return false;
}

/* Adds the names below the place that @path begins with, and notes the longest such place. */
static void add_names(const struct tree_table *t, const char *path, size_t len, struct hint_names *names, size_t *place_len)
{
	char place[TREE_PATH_MAX];
	size_t n = tree_place(t, place);

	if (!after(path, len, place) || n < *place_len)
		return;
	if (n > *place_len)
		names->count = 0;
	*place_len = n;
	for (unsigned row = 0; row < registry_row_count(t) && names->count < HINT_NAMES_MAX; row++)
		names->name[names->count++] = registry_row_name(t, row);
}

/* True when @path is @place, which ends in a dot, with or without something behind it. */
static bool starts_with(const char *path, const char *place)
{
	size_t len = strlen(place) - 1;

	return strncmp(path, place, len) == 0 && (path[len] == '.' || path[len] == '\0');
}

/* The component of @path behind @place. */
static void first_word(const char *path, const char *place, char word[SHOWN_MAX])
{
	size_t at = MIN(strlen(place), strlen(path));

	format(word, SHOWN_MAX, "%.*s", (int)strcspn(path + at, "."), path + at);
}

/* The VM whose name @path has before @devices; NULL: none. */
static struct vm *vm_before(struct control *c, const char *path, const char *devices)
{
	struct vm *vm = NULL;
	char place[TREE_PATH_MAX];

	while ((vm = vm_next(c->cfg.machine, vm))) {
		format(place, sizeof place, "%s.%s%s", vm_counters.group, vm->config.name, devices);
		if (strncmp(path, place, strlen(place)) == 0)
			break;
	}
	return vm;
}

/* The path leads to a VM's disks, or interfaces: suggests one of them. False when it does not, or its device is there. */
static bool unknown_device(struct control *c, const char *path, bool disks, struct error *err)
{
	const char *devices = disks ? DISKS : INTERFACES;
	struct hint_names names = {.count = 0};
	char advice[HINT_TEXT_MAX], place[TREE_PATH_MAX], word[SHOWN_MAX];
	struct vm *vm = vm_before(c, path, devices);

	if (!vm)
		return false;
	format(place, sizeof place, "%s.%s%s", vm_counters.group, vm->config.name, devices);
	first_word(path, place, word);
	for (unsigned i = 0; disks && i < vm->config.disk_count; i++)
		names.name[names.count++] = vm->config.disks[i].name;
	for (unsigned i = 0; !disks && i < vm->config.nic_count; i++)
		names.name[names.count++] = vm->config.nics[i].name;
	hint_nearest_name(word, place, &names, advice, sizeof advice);
	fail(err, ST_NOT_FOUND, "%s: VM %s has no %s called %s%s", path, vm->config.name,
	     disks ? "disk" : "network interface", word, advice);
	return true;
}

/* No VM's name leads the path: suggests one. */
static enum status unknown_vm(struct control *c, const char *path, struct error *err)
{
	struct hint_names names = {.count = 0};
	char advice[HINT_TEXT_MAX], word[SHOWN_MAX];
	struct vm *vm = NULL;

	first_word(path, "vm.", word);
	while ((vm = vm_next(c->cfg.machine, vm)) && names.count < HINT_NAMES_MAX)
		names.name[names.count++] = vm->config.name;
	hint_nearest_name(word, "vm.", &names, advice, sizeof advice);
	return fail(err, ST_NOT_FOUND, "%s: there is no VM called %s%s", path, word, advice);
}

static enum status unknown_pool(struct control *c, const char *path, struct error *err)
{
	struct hint_names names = {.count = 0};
	char advice[HINT_TEXT_MAX], word[SHOWN_MAX];
	struct pool *p = NULL;

	first_word(path, "pool.", word);
	while ((p = pool_next(c->cfg.machine, p)) && names.count < HINT_NAMES_MAX)
		names.name[names.count++] = p->config.name;
	hint_nearest_name(word, "pool.", &names, advice, sizeof advice);
	return fail(err, ST_NOT_FOUND, "%s: there is no pool called %s%s", path, word, advice);
}

/* Likewise of a volume or a domain. */
static enum status unknown_storage(struct control *c, const char *path, bool volume, struct error *err)
{
	struct storage *s = c->cfg.machine->storage;
	const char *place = volume ? "volume." : "domain.";
	struct hint_names names = {.count = 0};
	char advice[HINT_TEXT_MAX], word[SHOWN_MAX];

	first_word(path, place, word);
	for (unsigned i = 0; s && i < STORAGE_VOLUMES_MAX && names.count < HINT_NAMES_MAX; i++) {
		struct storage_volume *v = volume ? storage_volume_at(s, i) : NULL;
		struct storage_domain *d = volume ? NULL : storage_domain_at(s, i);

		if (v || d)
			names.name[names.count++] = v ? storage_volume_name(v) : storage_domain_name(d);
	}
	hint_nearest_name(word, place, &names, advice, sizeof advice);
	return fail(err, ST_NOT_FOUND, "%s: %s %s%s", path,
		    volume ? "nobody uses a volume called" : "storage has no domain called", word, advice);
}

/* Likewise of a network, or of one of the machine's interfaces. */
static enum status unknown_network(struct control *c, const char *path, bool network, struct error *err)
{
	const char *place = network ? "network." : "nic.";
	struct machine *m = c->cfg.machine;
	struct hint_names names = {.count = 0};
	char advice[HINT_TEXT_MAX], word[SHOWN_MAX];

	first_word(path, place, word);
	for (const struct network *n = network_next(m, NULL); network && n; n = network_next(m, n))
		names.name[names.count++] = network_config_of(n)->name;
	for (unsigned i = 0; !network && networks_nic(m, i); i++)
		names.name[names.count++] = networks_nic(m, i)->name;
	hint_nearest_name(word, place, &names, advice, sizeof advice);
	return fail(err, ST_NOT_FOUND, "%s: there is no network%s called %s%s", path, network ? "" : " interface", word,
		    advice);
}

/* True when some name is below @path. */
static bool is_place(struct control *c, const char *path, size_t len)
{
	struct tree_item item;
	uint32_t cursor = 0;

	while (len > 0 && tree_next(c, &cursor, &item))
		if (tree_below(&item, path, len))
			return true;
	return false;
}

/* The places that are not a VM's, for a path that begins with none. */
static void add_places(struct control *c, struct hint_names *names)
{
	struct tree_table t;
	uint32_t cursor = 0;

	while (tree_next_table(c, &cursor, &t) && names->count < HINT_NAMES_MAX)
		if (!tree_owner(&t))
			names->name[names->count++] = t.counters ? t.counters->group : t.knobs->group;
}

/* True when the place of that length at the start of @path is that of one of a VM's @devices. */
static bool ends_at_device(const char *path, size_t place_len, const char *devices)
{
	const char *at = strstr(path, devices);

	return at && place_len > (size_t)(at - path);
}

static enum status unknown(struct control *c, const char *path, size_t len, struct error *err)
{
	struct hint_names names = {.count = 0};
	struct hint_keys keys;
	char advice[HINT_TEXT_MAX], place[TREE_PATH_MAX], clean[SHOWN_MAX];
	const char *rest, *last;
	size_t place_len = 0;
	struct tree_table t;
	uint32_t cursor = 0;

	while (tree_next_table(c, &cursor, &t))
		add_names(&t, path, len, &names, &place_len);
	log_clean(clean, sizeof clean, path, len);
	if (is_place(c, path, len))
		return fail(err, ST_NOT_FOUND, "%s is no counter or setting, but has some below it", clean);
	if (!ends_at_device(clean, place_len, DISKS) && unknown_device(c, clean, true, err))
		return ST_NOT_FOUND;
	if (!ends_at_device(clean, place_len, INTERFACES) && unknown_device(c, clean, false, err))
		return ST_NOT_FOUND;
	if (place_len == 0 && starts_with(clean, "vm."))
		return unknown_vm(c, clean, err);
	if (place_len == 0 && starts_with(clean, "pool."))
		return unknown_pool(c, clean, err);
	if (place_len == 0 && (starts_with(clean, "volume.") || starts_with(clean, "domain.")))
		return unknown_storage(c, clean, starts_with(clean, "volume."), err);
	if (place_len == 0 && (starts_with(clean, "network.") || starts_with(clean, "nic.")))
		return unknown_network(c, clean, starts_with(clean, "network."), err);
	if (place_len == 0)
		add_places(c, &names);
	place[0] = '\0';
	if (place_len > 0 && place_len < sizeof clean)
		format(place, sizeof place, "%.*s.", (int)place_len, clean);
	rest = clean + (strlen(place) <= strlen(clean) ? strlen(place) : 0);
	last = strrchr(rest, '.') ? strrchr(rest, '.') + 1 : rest;
	keys = hint_keys_of(&names);
	if (!hint_other_word(last, &keys, advice, sizeof advice))
		hint_nearest(rest, place, &keys, advice, sizeof advice);
	return fail(err, ST_NOT_FOUND, "there is no %s%s", clean, advice);
}

/* The item of @table, or of @table with @knobs in place of its counters, that @name, behind the place, means. */
static bool find_in(const struct tree_table *table, const struct knob_table *knobs, const char *name, size_t len,
		    struct tree_item *out)
{
	const char *instance = registry_is_device(table) ? registry_device_name(table) : registry_owner_name(table);
	const char *rest = after(name, len, instance);
	size_t rest_len = rest ? len - (size_t)(rest - name) : 0;
	struct tree_table t = *table;

	if (!rest)
		return false;
	if (find_row(&t, rest, rest_len, out))
		return true;
	t.counters = NULL;
	t.knobs = knobs;
	return knobs && find_row(&t, rest, rest_len, out);
}

/* Among the disks and the interfaces of @vm, whose name @name begins with. */
static bool find_in_devices(struct vm *vm, const char *name, size_t len, struct tree_item *out)
{
	const char *rest = after(name, len, vm->config.name);
	size_t rest_len = rest ? len - (size_t)(rest - name) : 0;
	const char *disk = rest ? after(rest, rest_len, "disk") : NULL, *nic = rest ? after(rest, rest_len, "net") : NULL;
	struct tree_table t;

	for (unsigned i = 0; disk && i < vm->config.disk_count; i++) {
		t = registry_disk_counters(vm, i);
		if (find_in(&t, tree_disk_knobs(vm, i).knobs, disk, len - (size_t)(disk - name), out))
			return true;
	}
	for (unsigned i = 0; nic && i < vm->config.nic_count; i++) {
		t = registry_interface_counters(vm, i);
		if (find_in(&t, &vm_nic_knobs, nic, len - (size_t)(nic - name), out))
			return true;
	}
	return false;
}

/* Among the VMs: only the tables of one whose name the path begins with are looked at. */
static bool find_in_vms(struct control *c, const char *path, size_t len, struct tree_item *out)
{
	const char *name = after(path, len, vm_counters.group);
	struct vm *vm = NULL;

	while (name && (vm = vm_next(c->cfg.machine, vm)))
		if (find_in(&(struct tree_table){.counters = &vm_counters, .object = vm, .vm = vm}, &vm_knobs, name,
			    len - (size_t)(name - path), out) ||
		    find_in_devices(vm, name, len - (size_t)(name - path), out))
			return true;
	return false;
}

static bool find_in_pools(struct control *c, const char *path, size_t len, struct tree_item *out)
{
	const char *name = after(path, len, pool_counters.group);
	struct pool *p = NULL;

	while (name && (p = pool_next(c->cfg.machine, p))) {
		struct tree_table t = {.counters = &pool_counters, .object = p, .pool = p};
		size_t rest = len - (size_t)(name - path);

		if (find_in(&t, pool_is_own(p) ? NULL : &pool_knobs, name, rest, out))
			return true;
		if (!pool_is_own(p) && (find_in(&t, &pool_io_knobs[p->config.io.unit], name, rest, out) ||
					find_in(&t, &pool_net_knobs, name, rest, out)))
			return true;
	}
	return false;
}

/* Among volumes and domains. */
static bool find_in_storage(struct control *c, const char *path, size_t len, struct tree_item *out)
{
	const char *volume = after(path, len, storage_volume_counters.group);
	const char *domain = after(path, len, storage_domain_counters.group);
	struct tree_table t;

	for (unsigned i = 0; volume && i < STORAGE_VOLUMES_MAX; i++)
		if (registry_volume_table(c, i, &t) && find_in(&t, NULL, volume, len - (size_t)(volume - path), out))
			return true;
	for (unsigned i = 0; domain && i < STORAGE_DOMAINS_MAX; i++)
		if (registry_domain_table(c, i * DOMAIN_TABLES, &t) &&
		    find_in(&t, &storage_domain_knobs, domain, len - (size_t)(domain - path), out))
			return true;
	return false;
}

/* Among networks and the machine's interfaces. */
static bool find_in_networks(struct control *c, const char *path, size_t len, struct tree_item *out)
{
	const char *network = after(path, len, network_counters.group);
	const char *nic = after(path, len, network_nic_counters.group);
	struct tree_table t;

	for (unsigned i = 0; network && i < NETWORKS_MAX; i++)
		if (registry_network_table(c, i * NETWORK_TABLES, &t) &&
		    find_in(&t, &network_knobs, network, len - (size_t)(network - path), out))
			return true;
	for (unsigned i = 0; nic && registry_nic_table(c, i, &t); i++)
		if (find_in(&t, NULL, nic, len - (size_t)(nic - path), out))
			return true;
	return false;
}

enum status tree_find(struct control *c, const char *path, size_t len, struct tree_item *out, struct error *err)
{
	struct tree_table t;

	for (unsigned i = 0; i < registry_fixed_tables(c) && registry_table_at(c, i, &t); i++) {
		const char *group = t.counters ? t.counters->group : t.knobs->group;
		const char *rest = after(path, len, group);

		if (rest && find_row(&t, rest, len - (size_t)(rest - path), out))
			return ST_OK;
	}
	if (find_in_vms(c, path, len, out) || find_in_pools(c, path, len, out) || find_in_storage(c, path, len, out) ||
	    find_in_networks(c, path, len, out))
		return ST_OK;
	return unknown(c, path, len, err);
}
