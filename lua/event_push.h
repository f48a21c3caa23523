/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events onto the management line, in lines of the third marker like console
 * output (push.c), for a client that asked. Each line is one CBOR array:
 *
 *	[3, seq, time_ns, kind, vm, name, text, more]  an event; vm is 0 and name "" when it is about none
 *	[4, seq, text, more]                           its text goes on, while more is true
 *	[5, missed, next]                              so many were overwritten before they could be pushed
 *
 * For lua/ alone; what waits in struct control for a reader by polling is here too.
 */
#ifndef CORBEL_LUA_EVENT_PUSH_H
#define CORBEL_LUA_EVENT_PUSH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct control;
struct event_record;

/* A read that waits for an event: cmd_events.c. */
struct event_poll {
	uint64_t cursor, max;
	uint64_t missed;   /* events that were overwritten behind the cursor it began with */
	uint64_t deadline; /* ticks */
	uint64_t kinds;    /* BIT(enum event_kind) */
};

struct event_push {
	bool on;
	uint64_t kinds;
	uint64_t cursor;
	uint64_t credit;   /* events that may still be pushed before the client asks again */
	size_t text_at;    /* of the event at the cursor: what of its text is out */
};

/* True for an event of @kinds that the session may know of: a key limited to VMs hears of those alone. */
bool event_wanted(const struct control *c, const struct event_record *e, uint64_t kinds);
/* From event @from on; @credit: events, UINT64_MAX for no bound. */
void event_push_begin(struct control *c, uint64_t from, uint64_t kinds, uint64_t credit);
void event_push_end(struct control *c);
/* Builds at most one line into c->line; false when there is nothing to push. */
bool event_push_step(struct control *c);

#endif
