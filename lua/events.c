/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring is indexed by the record's number, so a cursor is a number too and
 * needs no registration: a reader that goes away leaves nothing behind.
 */
#include "lua/events.h"

#include <stdarg.h>
#include <string.h>

#include "guest/vm.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"

_Static_assert((EVENTS_MAX & (EVENTS_MAX - 1)) == 0, "numbers become places by a mask");

static const char *const names[EVENT_KINDS] = {
	[EVENT_VM_DEFINED] = "vm.defined",
	[EVENT_VM_RUNNING] = "vm.running",
	[EVENT_VM_PAUSED] = "vm.paused",
	[EVENT_VM_STOPPED] = "vm.stopped",
	[EVENT_VM_CRASHED] = "vm.crashed",
	[EVENT_VM_DESTROYED] = "vm.destroyed",
	[EVENT_POOL_DEFINED] = "pool.defined",
	[EVENT_POOL_CHANGED] = "pool.changed",
	[EVENT_POOL_REMOVED] = "pool.removed",
	[EVENT_NETWORK_DEFINED] = "network.defined",
	[EVENT_NETWORK_CHANGED] = "network.changed",
	[EVENT_NETWORK_REMOVED] = "network.removed",
	[EVENT_VOLUME_DEFINED] = "volume.defined",
	[EVENT_VOLUME_REMOVED] = "volume.removed",
	[EVENT_VOLUME_DONE] = "volume.done",
	[EVENT_VOLUME_FAILED] = "volume.failed",
	[EVENT_VOLUME_FULL] = "volume.full",
	[EVENT_VOLUME_SPACE] = "volume.space",
	[EVENT_VOLUME_ERROR] = "volume.error",
	[EVENT_SCRIPT_LOADED] = "script.loaded",
	[EVENT_SCRIPT_ENDED] = "script.ended",
	[EVENT_SCRIPT_ABANDONED] = "script.abandoned",
	[EVENT_HOOK_FAILED] = "hook.failed",
	[EVENT_HOOK_QUARANTINED] = "hook.quarantined",
	[EVENT_GENERATION_APPLIED] = "generation.applied",
	[EVENT_GENERATION_FELL_BACK] = "generation.fell_back",
	[EVENT_OVERRIDE_SET] = "override.set",
	[EVENT_OVERRIDE_EXPIRED] = "override.expired",
	[EVENT_FAULT] = "fault",
	[EVENT_LOGIN] = "login",
	[EVENT_LOGIN_FAILED] = "login.failed",
	[EVENT_STORE] = "store",
	[EVENT_ALERT] = "alert",
};

void events_init(struct events *e, const struct clock *clock, uint64_t (*calendar)(void))
{
	memset(e, 0, sizeof *e);
	e->clock = clock;
	e->calendar = calendar;
	e->started = clock->ticks();
}

uint64_t events_now(const struct events *e)
{
	return ticks_to_ns(e->clock->ticks() - e->started, e->clock->hz);
}

uint64_t events_calendar(const struct events *e)
{
	return e->calendar ? e->calendar() : 0;
}

void events_post_about(struct events *e, enum event_kind kind, unsigned id, const char *name, const char *text)
{
	struct event_record *at = &e->ring[e->head & (EVENTS_MAX - 1)];

	ASSERT((unsigned)kind < EVENT_KINDS);
	*at = (struct event_record){
		.seq = e->head, .time_ns = events_now(e), .time = events_calendar(e), .kind = kind,
		.vm = (uint16_t)id,
	};
	format(at->vm_name, sizeof at->vm_name, "%s", name);
	log_clean(at->text, sizeof at->text, text, strlen(text));
	e->head++;
}

void events_post(struct events *e, enum event_kind kind, const struct vm *vm, const char *fmt, ...)
{
	char text[EVENT_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	format_v(text, sizeof text, fmt, ap);
	va_end(ap);
	events_post_about(e, kind, vm ? vm->id : 0, vm ? vm->config.name : "", text);
}

uint64_t events_oldest(const struct events *e)
{
	return e->head > EVENTS_MAX ? e->head - EVENTS_MAX : 0;
}

const struct event_record *events_next(const struct events *e, uint64_t *cursor, uint64_t *missed)
{
	uint64_t oldest = events_oldest(e);

	if (*cursor < oldest) {
		*missed += oldest - *cursor;
		*cursor = oldest;
	}
	if (*cursor >= e->head)
		return NULL;
	return &e->ring[(*cursor)++ & (EVENTS_MAX - 1)];
}

const char *event_kind_name(enum event_kind kind)
{
	return (unsigned)kind < EVENT_KINDS ? names[kind] : "unknown";
}

bool event_matches(const char *pattern, enum event_kind kind)
{
	const char *name = event_kind_name(kind);
	size_t len = strlen(pattern);

	if (strcmp(pattern, "*") == 0 || strcmp(pattern, name) == 0)
		return true;
	return len > 0 && strncmp(pattern, name, len) == 0 && name[len] == '.';
}

bool event_pattern_good(const char *pattern)
{
	for (unsigned k = 0; k < EVENT_KINDS; k++)
		if (event_matches(pattern, (enum event_kind)k))
			return true;
	return false;
}
