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
#include "lua/registry_internal.h"

#define TABLES_EACH 2u /* of a VM and of a disk: counters and knobs */
#define POOL_TABLES 4u /* and three tables of knobs */
#define VM_TABLES (TABLES_EACH * (1 + VM_DISKS_MAX + VM_NICS_MAX))
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
unsigned registry_fixed_tables(const struct control *c)
{
	return HOST_TABLES + c->cfg.counter_count + c->cfg.knob_count;
}

static unsigned table_count(const struct control *c)
{
	return registry_fixed_tables(c) + VM_TABLES * VMS_MAX + POOL_TABLES * POOL_IDS + STORAGE_VOLUMES_MAX +
	       DOMAIN_TABLES * STORAGE_DOMAINS_MAX + NETWORK_TABLES * NETWORKS_MAX + NETWORK_NICS_MAX;
}

_Static_assert(VMS_MAX < BIT(TREE_OWNER_DEVICE_SHIFT) && STORAGE_VOLUMES_MAX < TREE_OWNER_NETWORK &&
		       VM_DISKS_MAX + VM_NICS_MAX < TREE_OWNER_NETWORK >> TREE_OWNER_DEVICE_SHIFT &&
		       STORAGE_DOMAINS_MAX < TREE_OWNER_NETWORK && NETWORKS_MAX < TREE_OWNER_NIC &&
		       NETWORK_NICS_MAX < TREE_OWNER_NIC,
	       "tree_owner() has place for all");

struct tree_table registry_disk_counters(struct vm *vm, unsigned index)
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
	*out = i % TABLES_EACH ? tree_disk_knobs(vm, index) : registry_disk_counters(vm, index);
	return true;
}

struct tree_table registry_interface_counters(struct vm *vm, unsigned index)
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
	*out = i % TABLES_EACH ? tree_interface_knobs(vm, index) : registry_interface_counters(vm, index);
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

bool registry_volume_table(struct control *c, unsigned place, struct tree_table *out)
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

bool registry_domain_table(struct control *c, unsigned i, struct tree_table *out)
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

bool registry_network_table(struct control *c, unsigned i, struct tree_table *out)
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

bool registry_nic_table(struct control *c, unsigned index, struct tree_table *out)
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
		return registry_volume_table(c, i, out);
	i -= STORAGE_VOLUMES_MAX;
	if (i < DOMAIN_TABLES * STORAGE_DOMAINS_MAX)
		return registry_domain_table(c, i, out);
	i -= DOMAIN_TABLES * STORAGE_DOMAINS_MAX;
	if (i < NETWORK_TABLES * NETWORKS_MAX)
		return registry_network_table(c, i, out);
	return registry_nic_table(c, i - NETWORK_TABLES * NETWORKS_MAX, out);
}

/* Table @i; false when there is none of that number now. */
bool registry_table_at(struct control *c, unsigned i, struct tree_table *out)
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

size_t registry_row_count(const struct tree_table *t)
{
	return t->counters ? t->counters->count : t->knobs->count;
}

const char *registry_row_name(const struct tree_table *t, unsigned row)
{
	return t->counters ? t->counters->rows[row].name : t->knobs->rows[row].name;
}

unsigned registry_row_values(const struct tree_table *t, unsigned row)
{
	return t->counters ? counter_values(&t->counters->rows[row]) : 1;
}

bool tree_next_table(struct control *c, uint32_t *cursor, struct tree_table *out)
{
	for (unsigned i = *cursor; i < table_count(c); i++) {
		if (!registry_table_at(c, i, out))
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
	unsigned fixed = registry_fixed_tables(c);

	if (i < fixed)
		return registry_table_at(c, i, out);
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

		if (!registry_table_at(c, table, &t))
			continue;
		for (; row < registry_row_count(&t); row++, member = 0) {
			struct tree_item item = {.table = t, .row = row, .member = member};

			while (item.member < registry_row_values(&t, row) && !tree_shown(&item))
				item.member++;
			if (item.member >= registry_row_values(&t, row))
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
const char *registry_owner_name(const struct tree_table *t)
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
const char *registry_device_name(const struct tree_table *t)
{
	if (t->interface)
		return t->vm->config.nics[t->interface - 1].name;
	return t->disk ? t->vm->config.disks[t->disk - 1].name : "";
}

bool registry_is_device(const struct tree_table *t)
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
	format(out, TREE_INSTANCE_MAX, "%s%s%s", registry_owner_name(t), registry_is_device(t) ? "/" : "",
	       registry_device_name(t));
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

	if (registry_is_device(t))
		return format(out, TREE_PATH_MAX, "%s.%s%s%s", vm_counters.group, registry_owner_name(t), device_place(t),
			      registry_device_name(t));
	if (!tree_owner(t))
		return format(out, TREE_PATH_MAX, "%s", group);
	return format(out, TREE_PATH_MAX, "%s.%s", group, registry_owner_name(t));
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

	len += format(out + len, TREE_PATH_MAX - len, ".%s", registry_row_name(&item->table, item->row));
	if (registry_row_values(&item->table, item->row) == 1)
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

	if (!take_part(&prefix, &len, registry_is_device(t) ? vm_counters.group : group))
		return false;
	if (!tree_owner(t))
		return true;
	if (!take_part(&prefix, &len, ".") || !take_part(&prefix, &len, registry_owner_name(t)))
		return false;
	return !registry_is_device(t) ||
	       (take_part(&prefix, &len, device_place(t)) && take_part(&prefix, &len, registry_device_name(t)));
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
