/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One reply is on its way at a time, so what waits is looked at only between
 * replies; a reply that is due a moment later than it might be hurts nobody.
 */
#include "lua/later.h"

#include "lib/crc32.h"
#include "lua/control_internal.h"

static const struct later_ops *const kinds[LATER_KINDS] = {
	[LATER_EVENTS] = &events_later,
	[LATER_DIGEST] = &digest_later,
	[LATER_IMAGE] = &image_later,
};

enum status later_reply(struct failure *f, enum later_kind kind)
{
	f->later = kind;
	return ST_AGAIN;
}

/* True when it was answered. */
static bool step(struct control *c, enum later_kind kind, bool last, bool *busy)
{
	struct later *l = &c->later[kind];
	struct failure f = {.group_rc = -1};
	struct cbor_writer w;
	struct cbor_mark map;
	enum status st;

	control_reply_begin(c, &w);
	map = cbor_open(&w);
	st = kinds[kind]->step(c, last, busy, &w, &f);
	if (st == ST_AGAIN && !last)
		return false;
	cbor_close_map(&w, map);
	l->on = false;
	control_reply_end(c, &l->request, st, &w, &f);
	return true;
}

void later_begin(struct control *c, const struct smp_header *h, enum later_kind kind)
{
	uint32_t crc = crc32(0, c->rx_buf, c->rx.len);
	bool busy = false;

	if (c->later[kind].on && c->later[kind].crc == crc)
		return;
	if (c->later[kind].on)
		step(c, kind, true, &busy);
	kinds[kind]->begin(c);
	c->later[kind] = (struct later){.on = true, .request = *h, .crc = crc};
}

bool later_step(struct control *c)
{
	bool busy = false;

	for (int kind = LATER_NONE + 1; kind < LATER_KINDS && !c->sending; kind++)
		if (c->later[kind].on && step(c, (enum later_kind)kind, false, &busy))
			return true;
	return busy;
}

void later_wake(struct control *c)
{
	for (int kind = LATER_NONE + 1; kind < LATER_KINDS; kind++)
		if (c->later[kind].on && kinds[kind]->deadline)
			control_wake_at(c, kinds[kind]->deadline(c));
}

void later_forget(struct control *c)
{
	for (int kind = LATER_NONE + 1; kind < LATER_KINDS; kind++)
		c->later[kind].on = false;
}
