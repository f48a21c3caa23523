/* SPDX-License-Identifier: Apache-2.0 */
/*
 * now: what the machine is like at this moment, read where it is. Nothing is
 * copied ahead: a VM is a small userdata that knows its name, made once and kept,
 * and each field is fetched from the C structs when it is asked for. Figures that
 * take a walk are fetched once for each VM and run of a hook.
 *
 * Sizes and times are quantities, to be compared with MiB(64) or sec(5); where a
 * name ends in _ns or _bytes, it is a plain number.
 */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lib/bits.h"
#include "lua/api.h"
#include "lua/control_internal.h"

#define VM_TYPE "corbel.vm"
#define NOW_KEY "corbel.now"
#define SECONDS_PER_DAY 86400u
#define FIRST_WEEKDAY 3u /* 1970-01-01 was a Thursday; Monday is 0 */

struct vm_view {
	struct control *c;
	uint16_t id; /* where it was found last */
	char name[VM_NAME_MAX];
};

static struct control *control_of(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(1));
}

static int push_bytes(lua_State *L, uint64_t n)
{
	return api_push_quantity(L, (int64_t)n, UNIT_BYTES);
}

static int push_time(lua_State *L, uint64_t ns)
{
	return api_push_quantity(L, (int64_t)ns, UNIT_TIME);
}

static int push_count(lua_State *L, uint64_t n)
{
	lua_pushinteger(L, (lua_Integer)n);
	return 1;
}

static int push_text(lua_State *L, const char *text)
{
	lua_pushstring(L, text);
	return 1;
}

static int push_flag(lua_State *L, bool b)
{
	lua_pushboolean(L, b);
	return 1;
}

/* ---- one VM ---- */

/* NULL when it is gone. */
static struct vm *vm_of(struct vm_view *view)
{
	struct vm *vm = vm_by_id(view->c->cfg.machine, view->id);

	if (!vm || strcmp(vm->config.name, view->name) != 0)
		vm = vm_find(view->c->cfg.machine, view->name);
	if (vm)
		view->id = vm->id;
	return vm;
}

static const struct vm_info *info_of(struct control *c, const struct vm *vm)
{
	struct view_cache *cache = &c->view;

	if (cache->stamp != c->view_stamp || cache->vm != vm->id) {
		vm_info(vm, &cache->info);
		cache->stamp = c->view_stamp;
		cache->vm = vm->id;
	}
	return &cache->info;
}

static struct vm_outcome outcome_of(const struct vm *vm)
{
	struct vm_outcome is;

	vm_outcome(vm, &is);
	return is;
}

#define VM_FIELD(name) static int vm_##name(lua_State *L, struct control *c, const struct vm *vm)
#define OWN_FIELD(name, push) VM_FIELD(name) { (void)c; return push; }
#define INFO_FIELD(name, push, field) VM_FIELD(name) { return push(L, info_of(c, vm)->field); }

OWN_FIELD(id, push_count(L, vm->id))
OWN_FIELD(name, push_text(L, vm->config.name))
OWN_FIELD(state, push_text(L, vm_state_name(vm->state)))
OWN_FIELD(reason, push_text(L, vm_reason_name(outcome_of(vm).reason)))
OWN_FIELD(running, push_flag(L, vm->state == VM_RUNNING))
OWN_FIELD(exit_code, push_count(L, outcome_of(vm).exit_code))
OWN_FIELD(starts, push_count(L, vm->starts))
OWN_FIELD(pool, push_text(L, vm->config.pool[0] ? vm->config.pool : POOL_ROOT))
OWN_FIELD(autostart, push_flag(L, vm->config.autostart))
OWN_FIELD(origin, push_text(L, vm->config.origin))
OWN_FIELD(memory, push_bytes(L, vm->config.memory.size))
OWN_FIELD(memory_bytes, push_count(L, vm->config.memory.size))
OWN_FIELD(reservation, push_bytes(L, vm->config.memory.reservation))
OWN_FIELD(printed_bytes, push_count(L, vm->console.out.head))
INFO_FIELD(present, push_bytes, memory_present)
INFO_FIELD(present_bytes, push_count, memory_present)
INFO_FIELD(overhead, push_bytes, overhead)
INFO_FIELD(cpu, push_time, cpu_ns)
INFO_FIELD(cpu_ns, push_count, cpu_ns)
INFO_FIELD(uptime, push_time, uptime_ns)
INFO_FIELD(uptime_ns, push_count, uptime_ns)
INFO_FIELD(exits, push_count, exits)

static const struct {
	const char *name;
	int (*push)(lua_State *L, struct control *c, const struct vm *vm);
} vm_fields[] = {
	{"state", vm_state},         {"running", vm_running},
	{"cpu_ns", vm_cpu_ns},       {"name", vm_name},
	{"id", vm_id},               {"reason", vm_reason},
	{"exit_code", vm_exit_code}, {"starts", vm_starts},
	{"autostart", vm_autostart}, {"origin", vm_origin},
	{"memory", vm_memory},       {"memory_bytes", vm_memory_bytes},
	{"reservation", vm_reservation}, {"present", vm_present},
	{"present_bytes", vm_present_bytes}, {"overhead", vm_overhead},
	{"cpu", vm_cpu},             {"uptime", vm_uptime},
	{"uptime_ns", vm_uptime_ns}, {"exits", vm_exits},
	{"printed_bytes", vm_printed_bytes}, {"pool", vm_pool},
};

static int vm_index(lua_State *L)
{
	struct vm_view *view = luaL_checkudata(L, 1, VM_TYPE);
	const char *key = luaL_checkstring(L, 2);
	const struct vm *vm = vm_of(view);

	for (size_t i = 0; i < ARRAY_SIZE(vm_fields); i++) {
		if (strcmp(vm_fields[i].name, key) != 0)
			continue;
		if (vm)
			return vm_fields[i].push(L, view->c, vm);
		if (strcmp(key, "name") == 0)
			return push_text(L, view->name);
		lua_pushnil(L); /* it was destroyed */
		return 1;
	}
	return luaL_error(L, "a VM has no field %s", key);
}

static int vm_tostring(lua_State *L)
{
	const struct vm_view *view = luaL_checkudata(L, 1, VM_TYPE);

	lua_pushfstring(L, "VM %s", view->name);
	return 1;
}

static int read_only(lua_State *L)
{
	return luaL_error(L, "now is for reading");
}

const char *api_vm_name(lua_State *L, int index)
{
	const struct vm_view *view = luaL_testudata(L, index, VM_TYPE);

	return view ? view->name : NULL;
}

/* Pushes the view of @vm: the one in the table at upvalue 2, or a new one. */
static int push_view(lua_State *L, struct control *c, const struct vm *vm)
{
	struct vm_view *view;

	lua_rawgeti(L, lua_upvalueindex(2), vm->id);
	view = lua_touserdata(L, -1);
	if (view && strcmp(view->name, vm->config.name) == 0)
		return 1;
	lua_pop(L, 1);
	view = lua_newuserdatauv(L, sizeof *view, 0);
	*view = (struct vm_view){.c = c, .id = vm->id};
	memcpy(view->name, vm->config.name, sizeof view->name);
	luaL_setmetatable(L, VM_TYPE);
	lua_pushvalue(L, -1);
	lua_rawseti(L, lua_upvalueindex(2), vm->id);
	return 1;
}

/* ---- now.vm ---- */

static int vms_index(lua_State *L)
{
	struct control *c = control_of(L);
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
	const struct vm *vm = name ? vm_find(c->cfg.machine, name) : NULL;

	if (vm)
		return push_view(L, c, vm);
	lua_pushnil(L);
	return 1;
}

static int vms_len(lua_State *L)
{
	struct vm *vm = NULL;
	lua_Integer n = 0;

	while ((vm = vm_next(control_of(L)->cfg.machine, vm)))
		n++;
	lua_pushinteger(L, n);
	return 1;
}

/* The iterator's state is the id of the last one, so VMs may come and go meanwhile. */
static int vms_next(lua_State *L)
{
	struct control *c = control_of(L);
	const char *last = lua_tostring(L, 2);
	const struct vm *vm = last ? vm_find(c->cfg.machine, last) : NULL;

	if (last && !vm)
		return 0;
	vm = vm_next(c->cfg.machine, vm);
	if (!vm)
		return 0;
	lua_pushstring(L, vm->config.name);
	push_view(L, c, vm);
	return 2;
}

static int vms_pairs(lua_State *L)
{
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_pushvalue(L, lua_upvalueindex(2));
	lua_pushcclosure(L, vms_next, 2);
	lua_pushvalue(L, 1);
	lua_pushnil(L);
	return 3;
}

/* ---- now.host ---- */

static uint64_t uptime_ns(struct control *c)
{
	return ticks_to_ns(control_ticks(c) - c->started, c->cfg.clock->hz);
}

static uint64_t free_bytes(struct control *c)
{
	unsigned long state = control_mask(c);
	struct memmgr_stats stats;

	memmgr_stats(c->cfg.machine->mm, &stats);
	control_unmask(c, state);
	return stats.frames[FRAME_FREE] * PAGE_SIZE;
}

static uint64_t busy_ns(struct control *c, bool idle)
{
	unsigned long state = control_mask(c);
	struct sched_cpu_stats stats;

	sched_cpu_stats(c->cfg.machine->sched, 0, &stats);
	control_unmask(c, state);
	return ticks_to_ns(idle ? stats.idle : stats.busy, c->cfg.clock->hz);
}

/* Pushes nil where the machine has no calendar. */
static int push_clock(lua_State *L, const struct control *c, uint64_t divisor, uint64_t modulus, uint64_t offset)
{
	uint64_t (*wall_clock)(void) = c->cfg.machine->host->wall_clock;

	if (wall_clock)
		return push_count(L, (wall_clock() / divisor + offset) % modulus);
	lua_pushnil(L);
	return 1;
}

#define HOST_FIELD(name, push) static int host_##name(lua_State *L, struct control *c) { return push; }
HOST_FIELD(uptime, push_time(L, uptime_ns(c)))
HOST_FIELD(uptime_ns, push_count(L, uptime_ns(c)))
HOST_FIELD(free, push_bytes(L, free_bytes(c)))
HOST_FIELD(free_bytes, push_count(L, free_bytes(c)))
HOST_FIELD(capacity, push_bytes(L, c->cfg.machine->capacity))
HOST_FIELD(committed, push_bytes(L, c->cfg.machine->committed))
HOST_FIELD(capacity_bytes, push_count(L, c->cfg.machine->capacity))
HOST_FIELD(committed_bytes, push_count(L, c->cfg.machine->committed))
HOST_FIELD(busy_ns, push_count(L, busy_ns(c, false)))
HOST_FIELD(idle_ns, push_count(L, busy_ns(c, true)))
HOST_FIELD(time, push_clock(L, c, 1, INT64_MAX, 0))
HOST_FIELD(second, push_clock(L, c, 1, 60, 0))
HOST_FIELD(minute, push_clock(L, c, 60, 60, 0))
HOST_FIELD(hour, push_clock(L, c, 3600, 24, 0))
HOST_FIELD(weekday, push_clock(L, c, SECONDS_PER_DAY, 7, FIRST_WEEKDAY))

static const struct {
	const char *name;
	int (*push)(lua_State *L, struct control *c);
} host_fields[] = {
	{"uptime", host_uptime},       {"uptime_ns", host_uptime_ns},
	{"free", host_free},           {"free_bytes", host_free_bytes},
	{"capacity", host_capacity},   {"capacity_bytes", host_capacity_bytes},
	{"committed", host_committed}, {"committed_bytes", host_committed_bytes},
	{"busy_ns", host_busy_ns},     {"idle_ns", host_idle_ns},
	{"time", host_time},           {"second", host_second},
	{"minute", host_minute},       {"hour", host_hour},
	{"weekday", host_weekday},
};

static int host_index(lua_State *L)
{
	const char *key = luaL_checkstring(L, 2);

	for (size_t i = 0; i < ARRAY_SIZE(host_fields); i++)
		if (strcmp(host_fields[i].name, key) == 0)
			return host_fields[i].push(L, control_of(L));
	return luaL_error(L, "the host has no field %s", key);
}

/* ---- making them ---- */

/* Pushes a userdata without content whose metatable has @methods, with control and the table of views as upvalues. */
static void push_proxy(lua_State *L, struct control *c, const luaL_Reg *methods)
{
	lua_newuserdatauv(L, 0, 0);
	lua_newtable(L);
	lua_pushlightuserdata(L, c);
	lua_newtable(L);
	luaL_setfuncs(L, methods, 2);
	lua_pushcfunction(L, read_only);
	lua_setfield(L, -2, "__newindex");
	lua_pushliteral(L, "view");
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
}

void api_push_now(lua_State *L)
{
	lua_getfield(L, LUA_REGISTRYINDEX, NOW_KEY);
}

void api_open_now(lua_State *L, struct control *c)
{
	static const luaL_Reg vms_methods[] = {
		{"__index", vms_index}, {"__len", vms_len}, {"__pairs", vms_pairs}, {NULL, NULL},
	};
	static const luaL_Reg vm_methods[] = {
		{"__index", vm_index}, {"__newindex", read_only}, {"__tostring", vm_tostring}, {NULL, NULL},
	};
	static const luaL_Reg host_methods[] = {{"__index", host_index}, {NULL, NULL}};

	luaL_newmetatable(L, VM_TYPE);
	luaL_setfuncs(L, vm_methods, 0);
	lua_pushliteral(L, "view");
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);

	lua_newuserdatauv(L, 0, 0); /* now itself: three fields, and nothing can be added */
	lua_createtable(L, 0, 3);
	lua_createtable(L, 0, 3);
	push_proxy(L, c, vms_methods);
	lua_setfield(L, -2, "vm");
	api_push_pools(L, c);
	lua_setfield(L, -2, "pool");
	push_proxy(L, c, host_methods);
	lua_setfield(L, -2, "host");
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, read_only);
	lua_setfield(L, -2, "__newindex");
	lua_pushliteral(L, "view");
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
	lua_pushvalue(L, -1);
	lua_setfield(L, LUA_REGISTRYINDEX, NOW_KEY);
	lua_setglobal(L, "now");
}
