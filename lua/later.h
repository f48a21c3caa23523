/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies that come later: a request that waits for an event, or for a long
 * computation, leaves its header here and the line goes on serving others. Each
 * kind waits once: a second request of a kind takes the place of the first, which is
 * answered at that moment with what there is, so that a client that died waiting
 * is in nobody's way. A repetition of the first changes nothing.
 */
#ifndef CORBEL_LUA_LATER_H
#define CORBEL_LUA_LATER_H

#include <stdbool.h>

#include "lua/command.h"

enum later_kind { LATER_NONE, LATER_EVENTS, LATER_DIGEST, LATER_IMAGE, LATER_KINDS };

/* One request that waits. */
struct later {
	bool on;
	struct smp_header request;
	uint32_t crc; /* of its frame: the same one again is a repetition, which waits with it */
};

/* What a kind does. What apply asked for is taken over by begin; step puts the reply's pairs, or ST_AGAIN. */
struct later_ops {
	void (*begin)(struct control *c);
	/* @last: there is no more time, ST_AGAIN is no answer. *busy: call again at once. */
	enum status (*step)(struct control *c, bool last, bool *busy, struct cbor_writer *w, struct failure *f);
	/* When it is to be looked at again at the latest, in ticks; NULL: no time ends it. */
	uint64_t (*deadline)(const struct control *c);
};

extern const struct later_ops events_later, digest_later, image_later;

/* For an apply: the reply to this request comes later. */
MUST_CHECK enum status later_reply(struct failure *f, enum later_kind kind);

/* A command said so: @h, of the frame just received, waits from here on; one of its kind that waited is answered. */
void later_begin(struct control *c, const struct smp_header *h, enum later_kind kind);
/* Looks at what waits while no reply is on its way. True when there is more to do at once. */
bool later_step(struct control *c);
/* Has the task woken in time for what waits. */
void later_wake(struct control *c);
/* Nobody waits any more: the session ended. */
void later_forget(struct control *c);

#endif
