/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our group of events (71). Reading takes a cursor, and with `wait` the answer
 * comes when there is something or the time is over: less than two seconds, the
 * patience of stock clients. Whoever knows the third marker has events pushed
 * (event_push.c). The ring knows no readers: a cursor that has been overtaken
 * learns how many events it missed.
 */
#include "lua/event_push.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"

#define WAIT_MAX_MS 1900u
#define WAIT_DEFAULT_MS 1500u /* with from, for clients that say nothing */
#define ENTRY_MAX 300u        /* bytes that one event takes in a reply, at most */
#define NS_PER_MS 1000000ull

#define ALL_KINDS (UINT64_MAX >> (64 - EVENT_KINDS))

_Static_assert(EVENT_KINDS < 64, "a set of kinds is one word");
/* Keys and heads take 70 bytes. */
_Static_assert(sizeof(struct event_record) + 70 < ENTRY_MAX, "an event fits its part of a reply");

/* ---- arguments ---- */

static bool add_pattern(const char *text, size_t len, uint64_t *kinds)
{
	char pattern[32];
	bool any = false;

	if (len >= sizeof pattern || memchr(text, '\0', len))
		return false;
	format(pattern, sizeof pattern, "%.*s", (int)len, text);
	for (unsigned k = 0; k < EVENT_KINDS; k++) {
		if (event_matches(pattern, (enum event_kind)k)) {
			*kinds |= BIT(k);
			any = true;
		}
	}
	return any;
}

static enum status one_pattern(struct cbor_value v, uint64_t *kinds, struct failure *f)
{
	char shown[40];
	const char *text;
	size_t len;

	if (!cbor_get_text(v, &text, &len))
		return fail(&f->error, ST_INVALID, "kinds takes names of events, or one, not %s",
			    cbor_type_name(cbor_type_of(v)));
	if (add_pattern(text, len, kinds))
		return ST_OK;
	return fail(&f->error, ST_INVALID, "there is no kind of event called %s",
		    log_clean(shown, sizeof shown, text, len));
}

/* A text or a list of texts: "vm.crashed", "vm", "*". */
static enum status take_kinds(const struct arg_value *arg, uint64_t *kinds, struct failure *f)
{
	enum status st = ST_OK;
	struct cbor_iter it;
	struct cbor_value v;

	*kinds = arg->given ? 0 : ALL_KINDS;
	if (!arg->given)
		return ST_OK;
	if (cbor_type_of(arg->value) != CBOR_ARRAY || !cbor_iterate(arg->value, &it))
		return one_pattern(arg->value, kinds, f);
	while (st == ST_OK && cbor_next(&it, &v))
		st = one_pattern(v, kinds, f);
	if (st == ST_OK && *kinds == 0)
		return fail(&f->error, ST_INVALID, "kinds is an empty list: no event would be there");
	return st;
}

/* Checks what reading and pushing have in common. */
static enum status check_place(const struct control *c, const struct command_args *a, struct failure *f)
{
	uint64_t kinds;

	if (a->from.given && a->last.given)
		return fail(&f->error, ST_INVALID, "give from or last, not both");
	if (a->from.given && a->from.value > c->events.head)
		return fail(&f->error, ST_INVALID,
			    "from is %llu, but the next event is number %llu: the machine was started again since",
			    (unsigned long long)a->from.value, (unsigned long long)c->events.head);
	return take_kinds(&a->kinds, &kinds, f);
}

static uint64_t start_of(const struct control *c, const struct command_args *a, uint64_t otherwise)
{
	if (a->from.given)
		return a->from.value;
	if (a->last.given)
		return MAX(c->events.head - MIN(a->last.value, c->events.head), events_oldest(&c->events));
	return otherwise;
}

/* ---- reading ---- */

static void put_event(const struct event_record *e, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w);

	command_put_uint(w, "seq", e->seq);
	command_put_uint(w, "time_ns", e->time_ns);
	if (e->time)
		command_put_uint(w, "time", e->time);
	command_put_text(w, "kind", event_kind_name(e->kind));
	if (e->vm) {
		command_put_uint(w, "vm", e->vm);
		command_put_text(w, "name", e->vm_name);
	}
	if (e->text[0])
		command_put_text(w, "text", e->text);
	cbor_close_map(w, map);
}

/* The page of @p; returns how many events are in it. */
static unsigned put_page(struct control *c, struct event_poll *p, struct cbor_writer *w)
{
	const struct event_record *e;
	struct cbor_mark list;
	unsigned n = 0;

	cbor_put_text(w, "events");
	list = cbor_open(w);
	while (n < p->max && command_fits(w, ENTRY_MAX) && (e = events_next(&c->events, &p->cursor, &p->missed))) {
		if (!event_wanted(c, e, p->kinds))
			continue;
		put_event(e, w);
		n++;
	}
	cbor_close_array(w, list);
	command_put_uint(w, "next", p->cursor);
	command_put_uint(w, "head", c->events.head);
	command_put_uint(w, "now_ns", events_now(&c->events));
	if (p->missed)
		command_put_uint(w, "missed", p->missed);
	return n;
}

static enum status read_decode(struct control *c, struct command_args *a, struct failure *f)
{
	if (a->max.given && a->max.value == 0)
		return fail(&f->error, ST_INVALID, "max is 0: a read takes one event at least");
	if (a->wait.value > WAIT_MAX_MS)
		return fail(&f->error, ST_INVALID, "wait is %llu ms, at most %u are possible: read again",
			    (unsigned long long)a->wait.value, WAIT_MAX_MS);
	return check_place(c, a, f);
}

static enum status read_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	uint64_t wait_ms = a->wait.given ? a->wait.value : a->from.given ? WAIT_DEFAULT_MS : 0;
	struct event_poll *p = &c->poll_asked;
	struct cbor_checkpoint start = cbor_save(w);
	enum status st;

	*p = (struct event_poll){
		.cursor = start_of(c, a, events_oldest(&c->events)), .max = a->max.given ? a->max.value : UINT64_MAX,
		.deadline = control_ticks(c) + ns_to_ticks(wait_ms * NS_PER_MS, c->cfg.clock->hz),
	};
	st = take_kinds(&a->kinds, &p->kinds, f);
	if (st != ST_OK || put_page(c, p, w) > 0 || wait_ms == 0 || a->from_script)
		return st;
	cbor_restore(w, start); /* what was looked at and missed so far is in @p */
	return later_reply(f, LATER_EVENTS);
}

static void poll_begin(struct control *c)
{
	c->poll = c->poll_asked;
}

static enum status poll_step(struct control *c, bool last, bool *busy, struct cbor_writer *w, struct failure *f)
{
	(void)busy;
	(void)f;
	if (put_page(c, &c->poll, w) > 0 || last || control_ticks(c) >= c->poll.deadline)
		return ST_OK;
	return ST_AGAIN;
}

static uint64_t poll_deadline(const struct control *c)
{
	return c->poll.deadline;
}

const struct later_ops events_later = {.begin = poll_begin, .step = poll_step, .deadline = poll_deadline};

/* ---- pushing ---- */

static enum status attach_decode(struct control *c, struct command_args *a, struct failure *f)
{
	if (a->credit.given && a->credit.value == 0)
		return fail(&f->error, ST_INVALID, "credit is 0: nothing could be pushed");
	return check_place(c, a, f);
}

static enum status attach_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct event_push *p = &c->event_push;
	bool moves = a->from.given || a->last.given || !p->on;
	uint64_t kinds;
	enum status st = take_kinds(&a->kinds, &kinds, f);

	if (st != ST_OK)
		return st;
	event_push_begin(c, moves ? start_of(c, a, c->events.head) : p->cursor, kinds,
			 a->credit.given ? a->credit.value : UINT64_MAX);
	command_put_uint(w, "next", p->cursor);
	command_put_uint(w, "oldest", events_oldest(&c->events));
	command_put_uint(w, "head", c->events.head);
	command_put_uint(w, "now_ns", events_now(&c->events));
	return ST_OK;
}

static enum status detach_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)a;
	(void)w;
	(void)f;
	event_push_end(c);
	return ST_OK;
}

static enum status kinds_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct cbor_mark list;

	(void)c;
	(void)a;
	(void)f;
	cbor_put_text(w, "kinds");
	list = cbor_open(w);
	for (unsigned k = 0; k < EVENT_KINDS; k++)
		cbor_put_text(w, event_kind_name((enum event_kind)k));
	cbor_close_array(w, list);
	return ST_OK;
}

/* ---- the table ---- */

static const struct arg read_args[] = {
	{"from", ARG_NUMBER, ARG_OF(from), false},
	{"last", ARG_NUMBER, ARG_OF(last), false},
	{"kinds", ARG_VALUE, ARG_OF(kinds), false},
	{"max", ARG_NUMBER, ARG_OF(max), false},
	{"wait", ARG_NUMBER, ARG_OF(wait), false},
};
static const struct arg attach_args[] = {
	{"from", ARG_NUMBER, ARG_OF(from), false},
	{"last", ARG_NUMBER, ARG_OF(last), false},
	{"kinds", ARG_VALUE, ARG_OF(kinds), false},
	{"credit", ARG_NUMBER, ARG_OF(credit), false},
};

static const struct command events_commands[] = {
	{
		.id = EVENTS_READ, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "read",
		.help = "reads what happened, and waits a moment when nothing did", .args = read_args,
		.arg_count = ARRAY_SIZE(read_args), .decode = read_decode, .apply = read_apply,
	},
	{
		.id = EVENTS_ATTACH, .ops = BIT(SMP_WRITE), .role = ROLE_OBSERVER, .unaudited = true, .name = "attach",
		.help = "pushes events on the line", .args = attach_args, .arg_count = ARRAY_SIZE(attach_args),
		.decode = attach_decode, .apply = attach_apply,
	},
	{
		.id = EVENTS_DETACH, .ops = BIT(SMP_WRITE), .role = ROLE_OBSERVER, .unaudited = true, .name = "detach",
		.help = "ends the push", .apply = detach_apply,
	},
	{
		.id = EVENTS_KINDS, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "kinds",
		.help = "lists the kinds of events", .apply = kinds_apply,
	},
};

const struct command_group events_group = {
	.id = GROUP_EVENTS, .name = "corbel events", .commands = events_commands, .count = ARRAY_SIZE(events_commands),
};
