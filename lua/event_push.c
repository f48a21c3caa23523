/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line's room is the pace: an event is taken from the ring when its first
 * line is built. A text that is longer than a line goes on in further ones;
 * should the ring come round meanwhile, the event counts as missed.
 */
#include "lua/event_push.h"

#include <string.h>

#include "lib/bits.h"
#include "lua/control_internal.h"

#define TEXT_HEAD_MAX 2 /* header of a text of at most 255 bytes */
#define MORE_BYTES 1
#define TIME_BYTES 9    /* of a number, at most */

bool event_wanted(const struct control *c, const struct event_record *e, uint64_t kinds)
{
	const struct rights *r = &c->session.rights;

	return (kinds & BIT(e->kind)) && (!rights_limited(r) || (e->vm && rights_on(r, e->vm_name)));
}

void event_push_begin(struct control *c, uint64_t from, uint64_t kinds, uint64_t credit)
{
	struct event_push *p = &c->event_push;
	size_t text_at = p->on && p->cursor == from ? p->text_at : 0;

	*p = (struct event_push){.on = true, .cursor = from, .kinds = kinds, .credit = credit, .text_at = text_at};
}

void event_push_end(struct control *c)
{
	c->event_push.on = false;
}

static void build(struct control *c, const struct cbor_writer *w)
{
	c->line_len = wire_push_line(w->buf, w->len, c->line);
}

static void push_missed(struct control *c, uint64_t missed, struct cbor_writer *w)
{
	struct cbor_mark mark = cbor_open(w);

	cbor_put_uint(w, PUSH_EVENTS_MISSED);
	cbor_put_uint(w, missed);
	cbor_put_uint(w, c->event_push.cursor);
	cbor_close_array(w, mark);
	build(c, w);
}

/* One line of @e from text_at on; true when that was its last. */
static bool push_event(struct control *c, const struct event_record *e, struct cbor_writer *w)
{
	struct event_push *p = &c->event_push;
	const char *text = e->text + p->text_at;
	struct cbor_mark mark = cbor_open(w);
	bool first = p->text_at == 0, more;
	size_t len;

	cbor_put_uint(w, first ? PUSH_EVENT : PUSH_EVENT_TEXT);
	cbor_put_uint(w, e->seq);
	if (first) {
		cbor_put_uint(w, e->time_ns);
		cbor_put_text(w, event_kind_name(e->kind));
		cbor_put_uint(w, e->vm);
		cbor_put_text(w, e->vm_name);
	}
	/* The array's own header is put in front when it is closed: one byte. */
	len = MIN(strlen(text), w->size - w->len - 1 - TEXT_HEAD_MAX - MORE_BYTES - (first ? TIME_BYTES : 0));
	more = text[len] != '\0';
	cbor_put_text_n(w, text, len);
	cbor_put_bool(w, more);
	if (first)
		cbor_put_uint(w, e->time);
	cbor_close_array(w, mark);
	build(c, w);
	p->text_at = more ? p->text_at + len : 0;
	return !more;
}

/* The event that is due: at the cursor or behind it, of a kind that is wanted. *missed as events_next() says. */
static const struct event_record *find_due(struct control *c, uint64_t *behind, uint64_t *missed)
{
	struct event_push *p = &c->event_push;
	const struct event_record *e;

	*behind = p->cursor;
	*missed = 0;
	while ((e = events_next(&c->events, behind, missed)) && *missed == 0 && !event_wanted(c, e, p->kinds))
		p->cursor = *behind;
	return e;
}

bool event_push_step(struct control *c)
{
	struct event_push *p = &c->event_push;
	const struct event_record *e;
	uint8_t body[WIRE_PUSH_MAX];
	uint64_t behind, missed;
	struct cbor_writer w;

	if (!p->on || p->credit == 0)
		return false;
	cbor_writer_init(&w, body, sizeof body);
	e = find_due(c, &behind, &missed);
	if (missed) {
		p->cursor += missed;
		p->text_at = 0;
		push_missed(c, missed, &w);
		return true;
	}
	if (!e)
		return false;
	if (push_event(c, e, &w)) {
		p->cursor = behind;
		if (p->credit != UINT64_MAX)
			p->credit--;
	}
	return true;
}
