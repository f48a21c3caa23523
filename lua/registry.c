/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables are numbered: those of the machine in a fixed order, then two for each
 * possible VM, by id, and two for each possible pool. A cursor is table, row and value packed into one number, so
 * a page that goes on later needs no memory here, and a VM that went or came in
 * between moves nothing else.
 */
#include "lua/registry.h"

#include <string.h>

#include "guest/network.h"
#include "guest/storage.h"
#include "guest/vm_disk.h"
#include "guest/vm_nic.h"
#include "lib/addr.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/declare.h"
#include "lua/hint.h"

#define TABLES_EACH 2u /* of a VM and of a disk: counters and knobs */
#define DOMAIN_TABLES 2u
#define NETWORK_TABLES 2u
#define POOL_TABLES 4u /* and three tables of knobs */
#define VM_TABLES (TABLES_EACH * (1 + VM_DISKS_MAX + VM_NICS_MAX))
#define DISKS ".disk." /* between the name of a VM and that of its disk */
#define INTERFACES ".net."
#define SHOWN_MAX 64
#define ROW_SHIFT 8
#define TABLE_SHIFT 16

/* ---- tables ---- */

enum host_table {
	HOST_MACHINE, HOST_MEMORY, HOST_MEMORY_KNOBS, HOST_CPU, HOST_CPU_KNOBS, HOST_CONTROL, HOST_LUA, HOST_LOG_KNOBS,
	HOST_STORE,
	HOST_TABLES
};

static struct tree_table host_table(struct control *c, unsigned i)
{
	struct machine *m = c->cfg.machine;

	switch ((enum host_table)i) {
	case HOST_MACHINE:
		return (struct tree_table){.counters = &machine_counters, .object = m};
	case HOST_MEMORY:
		return (struct tree_table){.counters = &memmgr_counters, .object = m->mm};
	case HOST_MEMORY_KNOBS:
		return (struct tree_table){.knobs = &memmgr_knobs, .object = m->mm};
	case HOST_CPU:
		return (struct tree_table){.counters = &sched_counters, .object = m->sched};
	case HOST_CPU_KNOBS:
		return (struct tree_table){.knobs = &machine_cpu_knobs, .object = m};
	case HOST_CONTROL:
		return (struct tree_table){.counters = &control_counters, .object = c};
	case HOST_LUA:
		return (struct tree_table){.counters = &lua_counters, .object = c};
	case HOST_LOG_KNOBS:
		return (struct tree_table){.knobs = &log_knobs};
	case HOST_STORE:
		return (struct tree_table){.counters = &files_counters, .object = m->files};
	default:
		return (struct tree_table){0};
	}
}

/* The rooms' tables and main's: all that are no VM's. */
static unsigned fixed_tables(const struct control *c)
{
	return HOST_TABLES + c->cfg.counter_count + c->cfg.knob_count;
}

static unsigned table_count(const struct control *c)
{
	return fixed_tables(c) + VM_TABLES * VMS_MAX + POOL_TABLES * POOL_IDS + STORAGE_VOLUMES_MAX +
	       DOMAIN_TABLES * STORAGE_DOMAINS_MAX + NETWORK_TABLES * NETWORKS_MAX + NETWORK_NICS_MAX;
}

_Static_assert(VMS_MAX < BIT(TREE_OWNER_DEVICE_SHIFT) && STORAGE_VOLUMES_MAX < TREE_OWNER_NETWORK &&
		       VM_DISKS_MAX + VM_NICS_MAX < TREE_OWNER_NETWORK >> TREE_OWNER_DEVICE_SHIFT &&
		       STORAGE_DOMAINS_MAX < TREE_OWNER_NETWORK && NETWORKS_MAX < TREE_OWNER_NIC &&
		       NETWORK_NICS_MAX < TREE_OWNER_NIC,
	       "tree_owner() has place for all");

static struct tree_table disk_counters(struct vm *vm, unsigned index)
{
	return (struct tree_table){
		.counters = &vm_disk_counters, .object = &vm->disk_places[index], .vm = vm, .disk = index + 1,
	};
}

struct tree_table tree_disk_knobs(struct vm *vm, unsigned index)
{
	return (struct tree_table){
		.knobs = &vm_disk_knobs[vm->config.disks[index].unit], .object = &vm->disk_places[index], .vm = vm,
		.disk = index + 1,
	};
}

static bool disk_table(struct vm *vm, unsigned i, struct tree_table *out)
{
	unsigned index = i / TABLES_EACH;

	if (index >= vm->config.disk_count)
		return false;
	*out = i % TABLES_EACH ? tree_disk_knobs(vm, index) : disk_counters(vm, index);
	return true;
}

static struct tree_table interface_counters(struct vm *vm, unsigned index)
{
	return (struct tree_table){
		.counters = &vm_nic_counters, .object = &vm->nic_places[index], .vm = vm, .interface = index + 1,
	};
}

struct tree_table tree_interface_knobs(struct vm *vm, unsigned index)
{
	return (struct tree_table){
		.knobs = &vm_nic_knobs, .object = &vm->nic_places[index], .vm = vm, .interface = index + 1,
	};
}

static bool interface_table(struct vm *vm, unsigned i, struct tree_table *out)
{
	unsigned index = i / TABLES_EACH;

	if (index >= vm->config.nic_count)
		return false;
	*out = i % TABLES_EACH ? tree_interface_knobs(vm, index) : interface_counters(vm, index);
	return true;
}

static bool vm_table(struct control *c, unsigned i, struct tree_table *out)
{
	struct vm *vm = vm_by_id(c->cfg.machine, i / VM_TABLES + 1);

	i %= VM_TABLES;
	if (!vm)
		return false;
	if (i >= TABLES_EACH * (1 + VM_DISKS_MAX))
		return interface_table(vm, i - TABLES_EACH * (1 + VM_DISKS_MAX), out);
	if (i >= TABLES_EACH)
		return disk_table(vm, i - TABLES_EACH, out);
	*out = (struct tree_table){.object = vm, .vm = vm};
	if (i)
		out->knobs = &vm_knobs;
	else
		out->counters = &vm_counters;
	return true;
}

/* The machine's own have no settings. */
static bool pool_table(struct control *c, unsigned i, struct tree_table *out)
{
	struct pool *p = pool_by_id(c->cfg.machine, i / POOL_TABLES + 1);

	i %= POOL_TABLES;
	if (!p || (i && pool_is_own(p)))
		return false;
	*out = (struct tree_table){.object = p, .pool = p};
	if (i == 0)
		out->counters = &pool_counters;
	else
		out->knobs = i == 1 ? &pool_knobs : i == 2 ? &pool_io_knobs[p->config.io.unit] : &pool_net_knobs;
	return true;
}

static bool volume_table(struct control *c, unsigned place, struct tree_table *out)
{
	struct storage *s = c->cfg.machine->storage;
	struct storage_volume *v = s ? storage_volume_at(s, place) : NULL;

	if (!v)
		return false;
	*out = (struct tree_table){.counters = &storage_volume_counters, .object = v, .volume = place + 1};
	return true;
}

struct tree_table tree_domain_knobs(struct control *c, unsigned place)
{
	return (struct tree_table){
		.knobs = &storage_domain_knobs, .object = storage_domain_at(c->cfg.machine->storage, place),
		.domain = place + 1,
	};
}

static bool domain_table(struct control *c, unsigned i, struct tree_table *out)
{
	struct storage *s = c->cfg.machine->storage;
	unsigned place = i / DOMAIN_TABLES;

	if (!s || !storage_domain_at(s, place))
		return false;
	*out = tree_domain_knobs(c, place);
	if (i % DOMAIN_TABLES)
		return true;
	out->knobs = NULL;
	out->counters = &storage_domain_counters;
	return true;
}

struct tree_table tree_network_knobs(struct control *c, unsigned place)
{
	return (struct tree_table){
		.knobs = &network_knobs, .object = network_at(c->cfg.machine, place), .network = place + 1,
	};
}

static bool network_table(struct control *c, unsigned i, struct tree_table *out)
{
	unsigned place = i / NETWORK_TABLES;

	if (!network_at(c->cfg.machine, place))
		return false;
	*out = tree_network_knobs(c, place);
	if (i % NETWORK_TABLES)
		return true;
	out->knobs = NULL;
	out->counters = &network_counters;
	return true;
}

static bool nic_table(struct control *c, unsigned index, struct tree_table *out)
{
	struct nic *nic = networks_nic(c->cfg.machine, index);

	if (!nic)
		return false;
	*out = (struct tree_table){.counters = &network_nic_counters, .object = nic, .nic = index + 1};
	return true;
}

/* Of the tables behind the machine's own. */
static bool owned_table(struct control *c, unsigned i, struct tree_table *out)
{
	if (i < VM_TABLES * VMS_MAX)
		return vm_table(c, i, out);
	i -= VM_TABLES * VMS_MAX;
	if (i < POOL_TABLES * POOL_IDS)
		return pool_table(c, i, out);
	i -= POOL_TABLES * POOL_IDS;
	if (i < STORAGE_VOLUMES_MAX)
		return volume_table(c, i, out);
	i -= STORAGE_VOLUMES_MAX;
	if (i < DOMAIN_TABLES * STORAGE_DOMAINS_MAX)
		return domain_table(c, i, out);
	i -= DOMAIN_TABLES * STORAGE_DOMAINS_MAX;
	if (i < NETWORK_TABLES * NETWORKS_MAX)
		return network_table(c, i, out);
	return nic_table(c, i - NETWORK_TABLES * NETWORKS_MAX, out);
}

/* Table @i; false when there is none of that number now. */
static bool table_at(struct control *c, unsigned i, struct tree_table *out)
{
	if (i < HOST_TABLES) {
		*out = host_table(c, i);
		return true;
	}
	i -= HOST_TABLES;
	if (i < c->cfg.counter_count) {
		*out = (struct tree_table){.counters = c->cfg.counters[i].table, .object = c->cfg.counters[i].object};
		return true;
	}
	i -= c->cfg.counter_count;
	if (i < c->cfg.knob_count) {
		*out = (struct tree_table){.knobs = c->cfg.knobs[i].table, .object = c->cfg.knobs[i].object};
		return true;
	}
	return owned_table(c, i - c->cfg.knob_count, out);
}

static size_t row_count(const struct tree_table *t)
{
	return t->counters ? t->counters->count : t->knobs->count;
}

static const char *row_name(const struct tree_table *t, unsigned row)
{
	return t->counters ? t->counters->rows[row].name : t->knobs->rows[row].name;
}

static unsigned row_values(const struct tree_table *t, unsigned row)
{
	return t->counters ? counter_values(&t->counters->rows[row]) : 1;
}

bool tree_next_table(struct control *c, uint32_t *cursor, struct tree_table *out)
{
	for (unsigned i = *cursor; i < table_count(c); i++) {
		if (!table_at(c, i, out))
			continue;
		*cursor = i + 1;
		return true;
	}
	return false;
}

bool tree_kind(struct control *c, unsigned i, struct tree_table *out)
{
	static const struct tree_table kinds[] = {
		{.counters = &vm_counters}, {.knobs = &vm_knobs}, {.counters = &vm_disk_counters},
		{.knobs = &vm_disk_knobs[VM_DISK_IOPS]}, {.knobs = &vm_disk_bandwidth_knobs},
		{.counters = &vm_nic_counters}, {.knobs = &vm_nic_knobs},
		{.counters = &pool_counters}, {.knobs = &pool_knobs}, {.knobs = &pool_io_knobs[VM_DISK_IOPS]},
		{.knobs = &pool_io_knobs[VM_DISK_BYTES]}, {.knobs = &pool_net_knobs},
		{.counters = &storage_volume_counters}, {.counters = &storage_domain_counters},
		{.knobs = &storage_domain_knobs}, {.counters = &network_counters}, {.knobs = &network_knobs},
		{.counters = &network_nic_counters},
	};
	unsigned fixed = fixed_tables(c);

	if (i < fixed)
		return table_at(c, i, out);
	i -= fixed;
	if (i >= ARRAY_SIZE(kinds))
		return false;
	*out = kinds[i];
	return true;
}

/* ---- the walk ---- */

static uint32_t pack(unsigned table, unsigned row, unsigned member)
{
	return table << TABLE_SHIFT | row << ROW_SHIFT | member;
}

bool tree_shown(const struct tree_item *item)
{
	const struct counter *counter = item_counter(item);

	if (!counter || counter_values(counter) == 1)
		return true;
	return counter->family->name(item->member) != NULL;
}

bool tree_next(struct control *c, uint32_t *cursor, struct tree_item *out)
{
	unsigned table = *cursor >> TABLE_SHIFT, row = *cursor >> ROW_SHIFT & 0xff, member = *cursor & 0xff;

	for (; table < table_count(c); table++, row = member = 0) {
		struct tree_table t;

		if (!table_at(c, table, &t))
			continue;
		for (; row < row_count(&t); row++, member = 0) {
			struct tree_item item = {.table = t, .row = row, .member = member};

			while (item.member < row_values(&t, row) && !tree_shown(&item))
				item.member++;
			if (item.member >= row_values(&t, row))
				continue;
			*out = item;
			*cursor = pack(table, row, item.member + 1);
			return true;
		}
	}
	return false;
}

/* ---- names ---- */

/* Of the VM, the pool and so on; "": the machine. */
static const char *owner_name(const struct tree_table *t)
{
	if (t->network)
		return network_config_of(t->object)->name;
	if (t->nic)
		return ((const struct nic *)t->object)->name;
	if (t->volume)
		return storage_volume_name(t->object);
	if (t->domain)
		return storage_domain_name(t->object);
	return t->vm ? t->vm->config.name : t->pool ? t->pool->config.name : "";
}

/* Of the VM's disk or interface; "": its own table, or no VM's. */
static const char *device_name(const struct tree_table *t)
{
	if (t->interface)
		return t->vm->config.nics[t->interface - 1].name;
	return t->disk ? t->vm->config.disks[t->disk - 1].name : "";
}

static bool is_device(const struct tree_table *t)
{
	return t->disk || t->interface;
}

/* What stands between the VM's name and the device's. */
static const char *device_place(const struct tree_table *t)
{
	return t->interface ? INTERFACES : DISKS;
}

/* Neither name has a slash; both may have dots. */
const char *tree_instance(const struct tree_table *t, char out[TREE_INSTANCE_MAX])
{
	format(out, TREE_INSTANCE_MAX, "%s%s%s", owner_name(t), is_device(t) ? "/" : "", device_name(t));
	return out;
}

static unsigned tree_device(const struct tree_table *t)
{
	return t->interface ? VM_DISKS_MAX + t->interface : t->disk;
}

unsigned tree_owner(const struct tree_table *t)
{
	if (t->volume)
		return TREE_OWNER_VOLUME | (t->volume - 1);
	if (t->domain)
		return TREE_OWNER_DOMAIN | (t->domain - 1);
	if (t->network)
		return TREE_OWNER_NETWORK | (t->network - 1);
	if (t->nic)
		return TREE_OWNER_NETWORK | TREE_OWNER_NIC | (t->nic - 1);
	if (t->pool)
		return TREE_OWNER_POOL | t->pool->id;
	return t->vm ? tree_device(t) << TREE_OWNER_DEVICE_SHIFT | t->vm->id : 0;
}

size_t tree_place(const struct tree_table *t, char *out)
{
	const char *group = t->counters ? t->counters->group : t->knobs->group;

	if (is_device(t))
		return format(out, TREE_PATH_MAX, "%s.%s%s%s", vm_counters.group, owner_name(t), device_place(t),
			      device_name(t));
	if (!tree_owner(t))
		return format(out, TREE_PATH_MAX, "%s", group);
	return format(out, TREE_PATH_MAX, "%s.%s", group, owner_name(t));
}

size_t tree_member(const struct counter *row, unsigned member, char *out)
{
	size_t len = format(out, TREE_PATH_MAX, "%s", row->family->name(member));

	for (size_t i = 0; i < len && i < TREE_PATH_MAX; i++)
		if (out[i] == ' ')
			out[i] = '_';
	return len;
}

size_t tree_path(const struct tree_item *item, char *out)
{
	size_t len = tree_place(&item->table, out);
	char member[TREE_PATH_MAX];

	len += format(out + len, TREE_PATH_MAX - len, ".%s", row_name(&item->table, item->row));
	if (row_values(&item->table, item->row) == 1)
		return len;
	tree_member(item_counter(item), item->member, member);
	return len + format(out + len, TREE_PATH_MAX - len, ".%s", member);
}

/* What @text, of *len bytes, has in common with @part at its start is taken off; false when they differ there. */
static bool take_part(const char **text, size_t *len, const char *part)
{
	size_t n = strlen(part), common = MIN(*len, n);

	if (memcmp(*text, part, common) != 0)
		return false;
	*text += common;
	*len -= common;
	return true;
}

/* True when names below the table's place can begin with @prefix. Most tables fail here, before any name is made. */
static bool place_fits(const struct tree_table *t, const char *prefix, size_t len)
{
	const char *group = t->counters ? t->counters->group : t->knobs->group;

	if (!take_part(&prefix, &len, is_device(t) ? vm_counters.group : group))
		return false;
	if (!tree_owner(t))
		return true;
	if (!take_part(&prefix, &len, ".") || !take_part(&prefix, &len, owner_name(t)))
		return false;
	return !is_device(t) || (take_part(&prefix, &len, device_place(t)) && take_part(&prefix, &len, device_name(t)));
}

bool tree_below(const struct tree_item *item, const char *prefix, size_t len)
{
	char path[TREE_PATH_MAX];
	size_t path_len;

	if (len == 0)
		return true;
	if (!place_fits(&item->table, prefix, len))
		return false;
	path_len = tree_path(item, path);
	return path_len >= len && memcmp(path, prefix, len) == 0 && (path[len] == '.' || path[len] == '\0');
}

/* ---- looking up ---- */

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
	for (unsigned row = 0; row < row_count(t); row++) {
		const char *name = row_name(t, row), *member;
		unsigned value = 0;

		if (row_values(t, row) == 1) {
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

/* The names of one place, for advice on a wrong one. */
#define NAMES_MAX 96
struct names {
	const char *name[NAMES_MAX];
	size_t count;
};

static const char *name_key(const void *rows, size_t i)
{
	return ((const struct names *)rows)->name[i];
}

/* Adds the names below the place that @path begins with, and notes the longest such place. */
static void add_names(const struct tree_table *t, const char *path, size_t len, struct names *names, size_t *place_len)
{
	char place[TREE_PATH_MAX];
	size_t n = tree_place(t, place);

	if (!after(path, len, place) || n < *place_len)
		return;
	if (n > *place_len)
		names->count = 0;
	*place_len = n;
	for (unsigned row = 0; row < row_count(t) && names->count < NAMES_MAX; row++)
		names->name[names->count++] = row_name(t, row);
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
	struct names names = {.count = 0};
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
	hint_nearest(word, place, &(struct hint_keys){name_key, &names, names.count}, advice, sizeof advice);
	fail(err, ST_NOT_FOUND, "%s: VM %s has no %s called %s%s", path, vm->config.name,
	     disks ? "disk" : "network interface", word, advice);
	return true;
}

/* No VM's name leads the path: suggests one. */
static enum status unknown_vm(struct control *c, const char *path, struct error *err)
{
	struct names names = {.count = 0};
	char advice[HINT_TEXT_MAX], word[SHOWN_MAX];
	struct vm *vm = NULL;

	first_word(path, "vm.", word);
	while ((vm = vm_next(c->cfg.machine, vm)) && names.count < NAMES_MAX)
		names.name[names.count++] = vm->config.name;
	hint_nearest(word, "vm.", &(struct hint_keys){name_key, &names, names.count}, advice, sizeof advice);
	return fail(err, ST_NOT_FOUND, "%s: there is no VM called %s%s", path, word, advice);
}

static enum status unknown_pool(struct control *c, const char *path, struct error *err)
{
	struct names names = {.count = 0};
	char advice[HINT_TEXT_MAX], word[SHOWN_MAX];
	struct pool *p = NULL;

	first_word(path, "pool.", word);
	while ((p = pool_next(c->cfg.machine, p)) && names.count < NAMES_MAX)
		names.name[names.count++] = p->config.name;
	hint_nearest(word, "pool.", &(struct hint_keys){name_key, &names, names.count}, advice, sizeof advice);
	return fail(err, ST_NOT_FOUND, "%s: there is no pool called %s%s", path, word, advice);
}

/* Likewise of a volume or a domain. */
static enum status unknown_storage(struct control *c, const char *path, bool volume, struct error *err)
{
	struct storage *s = c->cfg.machine->storage;
	const char *place = volume ? "volume." : "domain.";
	struct names names = {.count = 0};
	char advice[HINT_TEXT_MAX], word[SHOWN_MAX];

	first_word(path, place, word);
	for (unsigned i = 0; s && i < STORAGE_VOLUMES_MAX && names.count < NAMES_MAX; i++) {
		struct storage_volume *v = volume ? storage_volume_at(s, i) : NULL;
		struct storage_domain *d = volume ? NULL : storage_domain_at(s, i);

		if (v || d)
			names.name[names.count++] = v ? storage_volume_name(v) : storage_domain_name(d);
	}
	hint_nearest(word, place, &(struct hint_keys){name_key, &names, names.count}, advice, sizeof advice);
	return fail(err, ST_NOT_FOUND, "%s: %s %s%s", path,
		    volume ? "nobody uses a volume called" : "storage has no domain called", word, advice);
}

/* Likewise of a network, or of one of the machine's interfaces. */
static enum status unknown_network(struct control *c, const char *path, bool network, struct error *err)
{
	const char *place = network ? "network." : "nic.";
	struct machine *m = c->cfg.machine;
	struct names names = {.count = 0};
	char advice[HINT_TEXT_MAX], word[SHOWN_MAX];

	first_word(path, place, word);
	for (const struct network *n = network_next(m, NULL); network && n; n = network_next(m, n))
		names.name[names.count++] = network_config_of(n)->name;
	for (unsigned i = 0; !network && networks_nic(m, i); i++)
		names.name[names.count++] = networks_nic(m, i)->name;
	hint_nearest(word, place, &(struct hint_keys){name_key, &names, names.count}, advice, sizeof advice);
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
static void add_places(struct control *c, struct names *names)
{
	struct tree_table t;
	uint32_t cursor = 0;

	while (tree_next_table(c, &cursor, &t) && names->count < NAMES_MAX)
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
	struct names names = {.count = 0};
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
	if (!hint_other_word(last, &(struct hint_keys){name_key, &names, names.count}, advice, sizeof advice))
		hint_nearest(rest, place, &(struct hint_keys){name_key, &names, names.count}, advice, sizeof advice);
	return fail(err, ST_NOT_FOUND, "there is no %s%s", clean, advice);
}

/* The item of @table, or of @table with @knobs in place of its counters, that @name, behind the place, means. */
static bool find_in(const struct tree_table *table, const struct knob_table *knobs, const char *name, size_t len,
		    struct tree_item *out)
{
	const char *instance = is_device(table) ? device_name(table) : owner_name(table);
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
		t = disk_counters(vm, i);
		if (find_in(&t, tree_disk_knobs(vm, i).knobs, disk, len - (size_t)(disk - name), out))
			return true;
	}
	for (unsigned i = 0; nic && i < vm->config.nic_count; i++) {
		t = interface_counters(vm, i);
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
		if (volume_table(c, i, &t) && find_in(&t, NULL, volume, len - (size_t)(volume - path), out))
			return true;
	for (unsigned i = 0; domain && i < STORAGE_DOMAINS_MAX; i++)
		if (domain_table(c, i * DOMAIN_TABLES, &t) &&
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
		if (network_table(c, i * NETWORK_TABLES, &t) &&
		    find_in(&t, &network_knobs, network, len - (size_t)(network - path), out))
			return true;
	for (unsigned i = 0; nic && nic_table(c, i, &t); i++)
		if (find_in(&t, NULL, nic, len - (size_t)(nic - path), out))
			return true;
	return false;
}

enum status tree_find(struct control *c, const char *path, size_t len, struct tree_item *out, struct error *err)
{
	struct tree_table t;

	for (unsigned i = 0; i < fixed_tables(c) && table_at(c, i, &t); i++) {
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

/* ---- values ---- */

void tree_read_figures(struct control *c, const struct tree_table *t, struct tree_figures *f)
{
	unsigned long state;

	if (f->table == t->counters && f->object == t->object)
		return;
	f->table = t->counters;
	f->object = t->object;
	state = t->counters->piecewise ? 0 : control_mask(c);
	t->counters->figures(t->object, f->bytes);
	if (!t->counters->piecewise)
		control_unmask(c, state);
}

uint64_t tree_counter(struct control *c, const struct tree_item *item, struct tree_figures *f)
{
	const struct counter *row = item_counter(item);
	uint64_t value;

	tree_read_figures(c, &item->table, f);
	value = counter_value(row, f->bytes, item->member);
	if (row->kind == COUNTER_HISTOGRAM)
		return value;
	switch (row->measure) {
	case MEASURE_PAGES:
		return value * PAGE_SIZE;
	case MEASURE_TICKS:
		return ticks_to_ns(value, c->cfg.clock->hz);
	default:
		return value;
	}
}
