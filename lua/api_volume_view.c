/* SPDX-License-Identifier: Apache-2.0 */
/*
 * now.volume: the volumes that are known, layers while somebody uses them. Each
 * field is the counter of that name (guest/storage_declare.c), read when it is asked for.
 */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "guest/storage.h"
#include "lib/bits.h"
#include "lua/api.h"
#include "lua/api_view.h"
#include "lua/control_internal.h"

static uint64_t counted(struct control *c, const void *thing, const char *name)
{
	struct tree_figures figures = {.table = NULL};
	struct tree_item item = {.table = {.counters = &storage_volume_counters, .object = (void *)thing, .volume = 1}};

	while (strcmp(item_counter(&item)->name, name) != 0)
		item.row++;
	return tree_counter(c, &item, &figures);
}

#define VOLUME_FIELD(field, push, counter) \
	static int push_##field(lua_State *L, struct control *c, const void *thing) \
	{ \
		return push(L, counted(c, thing, counter)); \
	}
VOLUME_FIELD(size, view_push_bytes, "size")
VOLUME_FIELD(users, view_push_count, "users")
VOLUME_FIELD(reads, view_push_count, "reads")
VOLUME_FIELD(writes, view_push_count, "writes")
VOLUME_FIELD(flushes, view_push_count, "flushes")
VOLUME_FIELD(read, view_push_bytes, "read")
VOLUME_FIELD(written, view_push_bytes, "written")
VOLUME_FIELD(failed, view_push_count, "failed")
VOLUME_FIELD(waiting, view_push_count, "queue.waiting")
VOLUME_FIELD(at_device, view_push_count, "queue.at_device")
VOLUME_FIELD(queued_ns, view_push_count, "time.queued")
VOLUME_FIELD(throttled_ns, view_push_count, "time.throttled")
VOLUME_FIELD(service_ns, view_push_count, "time.service")
VOLUME_FIELD(latency_ns, view_push_count, "time.latency")
VOLUME_FIELD(p50, view_push_time, "latency_p50")
VOLUME_FIELD(p99, view_push_time, "latency_p99")
VOLUME_FIELD(space, view_push_bytes, "space.size")
VOLUME_FIELD(free, view_push_bytes, "space.free")
VOLUME_FIELD(missed, view_push_count, "space.missed")

static const struct view_field fields[] = {
	{"free", push_free}, {"latency_ns", push_latency_ns}, {"reads", push_reads}, {"writes", push_writes},
	{"flushes", push_flushes}, {"read", push_read}, {"written", push_written}, {"failed", push_failed},
	{"waiting", push_waiting}, {"at_device", push_at_device}, {"queued_ns", push_queued_ns},
	{"throttled_ns", push_throttled_ns}, {"service_ns", push_service_ns}, {"p50", push_p50},
	{"p99", push_p99}, {"size", push_size}, {"users", push_users}, {"space", push_space},
	{"missed", push_missed},
};

/* By number: its place, from 1 on. */
static const void *by_id(struct machine *m, unsigned id)
{
	return m->storage ? storage_volume_at(m->storage, id - 1) : NULL;
}

static const void *from(struct machine *m, unsigned id)
{
	const void *v = NULL;

	while (!v && id <= STORAGE_VOLUMES_MAX)
		v = by_id(m, id++);
	return v;
}

static unsigned id_of(const void *thing) { return storage_volume_place(thing) + 1; }
static const void *next(struct machine *m, const void *prev) { return from(m, prev ? id_of(prev) + 1 : 1); }
static const char *name_of(const void *thing) { return storage_volume_name(thing); }

static const void *find(struct machine *m, const char *name)
{
	const void *v = next(m, NULL);

	while (v && strcmp(name_of(v), name) != 0)
		v = next(m, v);
	return v;
}

void api_push_volumes(lua_State *L, struct control *c)
{
	static const struct view_kind kind = {
		.type = "corbel.volume", .what = "volume", .fields = fields, .field_count = ARRAY_SIZE(fields), .find = find,
		.by_id = by_id, .next = next, .name = name_of, .id = id_of,
	};

	view_push_all(L, c, &kind);
}
