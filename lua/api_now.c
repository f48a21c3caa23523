/* SPDX-License-Identifier: Apache-2.0 */
/*
 * now: what the machine is like at this moment, read where it is (lua/api_view.h).
 * Figures that take a walk are fetched once for each VM and run of a hook.
 *
 * Sizes and times are quantities, to be compared with MiB(64) or sec(5); where a
 * name ends in _ns or _bytes, it is a plain number.
 */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "lib/bits.h"
#include "lua/api.h"
#include "lua/api_view.h"
#include "lua/control_internal.h"

#define NOW_KEY "corbel.now"
#define SECONDS_PER_DAY 86400u
#define FIRST_WEEKDAY 3u /* 1970-01-01 was a Thursday; Monday is 0 */

/* ---- now.vm ---- */

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

#define VM_FIELD(name, push) \
	static int vm_##name(lua_State *L, struct control *c, const void *thing) \
	{ \
		const struct vm *vm = thing; \
\
		(void)c; \
		return push; \
	}
VM_FIELD(id, view_push_count(L, vm->id))
VM_FIELD(state, view_push_text(L, vm_state_name(vm->state)))
VM_FIELD(reason, view_push_text(L, vm_reason_name(outcome_of(vm).reason)))
VM_FIELD(running, view_push_flag(L, vm->state == VM_RUNNING))
VM_FIELD(exit_code, view_push_count(L, outcome_of(vm).exit_code))
VM_FIELD(starts, view_push_count(L, vm->starts))
VM_FIELD(pool, view_push_text(L, vm->config.pool[0] ? vm->config.pool : POOL_ROOT))
VM_FIELD(autostart, view_push_flag(L, vm->config.autostart))
VM_FIELD(origin, view_push_text(L, vm->config.origin))
VM_FIELD(memory, view_push_bytes(L, vm->config.memory.size))
VM_FIELD(memory_bytes, view_push_count(L, vm->config.memory.size))
VM_FIELD(reservation, view_push_bytes(L, vm->config.memory.reservation))
VM_FIELD(printed_bytes, view_push_count(L, vm->console.out.head))
VM_FIELD(present, view_push_bytes(L, info_of(c, vm)->memory_present))
VM_FIELD(present_bytes, view_push_count(L, info_of(c, vm)->memory_present))
VM_FIELD(overhead, view_push_bytes(L, info_of(c, vm)->overhead))
VM_FIELD(cpu, view_push_time(L, info_of(c, vm)->cpu_ns))
VM_FIELD(cpu_ns, view_push_count(L, info_of(c, vm)->cpu_ns))
VM_FIELD(uptime, view_push_time(L, info_of(c, vm)->uptime_ns))
VM_FIELD(uptime_ns, view_push_count(L, info_of(c, vm)->uptime_ns))
VM_FIELD(exits, view_push_count(L, info_of(c, vm)->exits))

/* The ones that hooks ask for most come first. */
static const struct view_field vm_fields[] = {
	{"state", vm_state},         {"running", vm_running},
	{"cpu_ns", vm_cpu_ns},       {"id", vm_id},
	{"reason", vm_reason},       {"exit_code", vm_exit_code},
	{"starts", vm_starts},       {"autostart", vm_autostart},
	{"origin", vm_origin},       {"memory", vm_memory},
	{"memory_bytes", vm_memory_bytes}, {"reservation", vm_reservation},
	{"present", vm_present},     {"present_bytes", vm_present_bytes},
	{"overhead", vm_overhead},   {"cpu", vm_cpu},
	{"uptime", vm_uptime},       {"uptime_ns", vm_uptime_ns},
	{"exits", vm_exits},         {"printed_bytes", vm_printed_bytes},
	{"pool", vm_pool},
};

static const void *find(struct machine *m, const char *name)
{
	return vm_find(m, name);
}

static const void *by_id(struct machine *m, unsigned id)
{
	return vm_by_id(m, id);
}

static const void *next(struct machine *m, const void *prev)
{
	return vm_next(m, prev);
}

static const char *name_of(const void *thing)
{
	return ((const struct vm *)thing)->config.name;
}

static unsigned id_of(const void *thing)
{
	return ((const struct vm *)thing)->id;
}

static const struct view_kind vm_kind = {
	.type = "corbel.vm", .what = "VM", .fields = vm_fields, .field_count = ARRAY_SIZE(vm_fields), .find = find,
	.by_id = by_id, .next = next, .name = name_of, .id = id_of,
};

const char *api_vm_name(lua_State *L, int index)
{
	return view_name(L, index, &vm_kind);
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

/* Of all processors together. */
static uint64_t busy_ns(struct control *c, bool idle)
{
	const struct machine *m = c->cfg.machine;
	uint64_t ticks = 0;

	for (unsigned i = 0; m->host->cpu_at(i); i++) {
		unsigned long state = control_mask(c);
		struct sched_cpu_stats stats;

		sched_cpu_stats(m->sched, i, &stats);
		control_unmask(c, state);
		ticks += idle ? stats.idle : stats.busy;
	}
	return ticks_to_ns(ticks, c->cfg.clock->hz);
}

/* Pushes nil where the machine has no calendar. */
static int push_clock(lua_State *L, const struct control *c, uint64_t divisor, uint64_t modulus, uint64_t offset)
{
	uint64_t (*wall_clock)(void) = c->cfg.machine->host->wall_clock;

	if (wall_clock)
		return view_push_count(L, (wall_clock() / divisor + offset) % modulus);
	lua_pushnil(L);
	return 1;
}

#define HOST_FIELD(name, push) static int host_##name(lua_State *L, struct control *c) { return push; }
HOST_FIELD(uptime, view_push_time(L, uptime_ns(c)))
HOST_FIELD(uptime_ns, view_push_count(L, uptime_ns(c)))
HOST_FIELD(free, view_push_bytes(L, free_bytes(c)))
HOST_FIELD(free_bytes, view_push_count(L, free_bytes(c)))
HOST_FIELD(capacity, view_push_bytes(L, c->cfg.machine->capacity))
HOST_FIELD(committed, view_push_bytes(L, c->cfg.machine->committed))
HOST_FIELD(capacity_bytes, view_push_count(L, c->cfg.machine->capacity))
HOST_FIELD(committed_bytes, view_push_count(L, c->cfg.machine->committed))
HOST_FIELD(busy_ns, view_push_count(L, busy_ns(c, false)))
HOST_FIELD(idle_ns, view_push_count(L, busy_ns(c, true)))
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

/* Pushes a userdata that cannot be written, whose __index is what is on top of the stack. */
static void push_proxy(lua_State *L)
{
	lua_newuserdatauv(L, 0, 0);
	lua_createtable(L, 0, 3);
	lua_rotate(L, -3, -1);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, view_read_only);
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
	lua_createtable(L, 0, 4);
	view_push_all(L, c, &vm_kind);
	lua_setfield(L, -2, "vm");
	api_push_pools(L, c);
	lua_setfield(L, -2, "pool");
	api_push_volumes(L, c);
	lua_setfield(L, -2, "volume");
	lua_pushlightuserdata(L, c);
	lua_pushcclosure(L, host_index, 1);
	push_proxy(L);
	lua_setfield(L, -2, "host");
	push_proxy(L); /* now itself: four fields, and nothing can be added */
	lua_pushvalue(L, -1);
	lua_setfield(L, LUA_REGISTRYINDEX, NOW_KEY);
	lua_setglobal(L, "now");
}
