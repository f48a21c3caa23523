/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happened: the machine's ring of events read to its end, and with -f
 * pushed from there on. The number of the next event is kept, so that a line
 * that drops costs none but those that the ring itself has lost, which are
 * counted. Times of the machine's clock are shown in the operator's.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/bits.h"
#include "tools/commands.h"
#include "tools/reply.h"
#include "tools/show.h"
#include "tools/terminal.h"

#define CREDIT 64u
#define RENEW_S 5
#define STEP_MS 200
#define TEXT_MAX 256
#define NS_PER_S 1000000000ull

struct event {
	uint64_t seq, time_ns, time, vm; /* time: seconds since 1970 UTC by the machine's clock, 0: it has none */
	char kind[32], name[40], text[TEXT_MAX];
};

struct follow {
	struct client *c;
	char **kinds;
	int kind_count;
	uint64_t next;      /* number of the event to come */
	uint64_t zero_ns;   /* the operator's clock when the machine's was 0 */
	unsigned used;      /* of the credit */
	bool place_known;
	struct event event; /* being pushed, its text in pieces */
	bool partial;
};

static uint64_t wall_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void put_kinds(struct request *r, const struct follow *f)
{
	struct cbor_mark list;

	if (f->kind_count == 0)
		return;
	cbor_put_text(&r->w, "kinds");
	list = cbor_open(&r->w);
	for (int i = 0; i < f->kind_count; i++)
		cbor_put_text(&r->w, f->kinds[i]);
	cbor_close_array(&r->w, list);
}

/* ---- showing ---- */

static void show_text(const struct follow *f, const struct event *e)
{
	/* The machine's clock, as in the audit log; else this computer's. */
	time_t seconds = (time_t)(e->time ? e->time : (f->zero_ns + e->time_ns) / NS_PER_S);
	char when[32] = "-";
	struct tm utc;

	if (gmtime_r(&seconds, &utc))
		strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
	printf("%-20s %6llu.%03u  ", when, (unsigned long long)(e->time_ns / NS_PER_S),
	       (unsigned)(e->time_ns % NS_PER_S / 1000000));
	show_clean(stdout, e->kind, strlen(e->kind));
	if (e->vm) {
		putchar(' ');
		show_clean(stdout, e->name, strlen(e->name));
	}
	if (e->text[0]) {
		fputs(": ", stdout);
		show_clean(stdout, e->text, strlen(e->text));
	}
	putchar('\n');
}

static void show_member(const char *key, const char *text)
{
	printf(", \"%s\": ", key);
	show_json_string(stdout, text, strlen(text));
}

static void show_event(const struct follow *f, const struct event *e)
{
	if (!f->c->json) {
		show_text(f, e);
		fflush(stdout);
		return;
	}
	printf("{\"seq\": %llu, \"time_ns\": %llu", (unsigned long long)e->seq, (unsigned long long)e->time_ns);
	if (e->time)
		printf(", \"time\": %llu", (unsigned long long)e->time);
	show_member("kind", e->kind);
	if (e->vm) {
		printf(", \"vm\": %llu", (unsigned long long)e->vm);
		show_member("name", e->name);
	}
	if (e->text[0])
		show_member("text", e->text);
	puts("}");
	fflush(stdout);
}

static void show_missed(const struct follow *f, uint64_t missed)
{
	if (missed == 0)
		return;
	if (f->c->json)
		printf("{\"missed\": %llu}\n", (unsigned long long)missed);
	else
		printf("[%llu events were missed]\n", (unsigned long long)missed);
	fflush(stdout);
}

/* ---- reading what is there ---- */

static void show_entry(const struct follow *f, struct cbor_value entry)
{
	struct event e = {
		.seq = reply_uint(entry, "seq"), .time_ns = reply_uint(entry, "time_ns"), .time = reply_uint(entry, "time"),
		.vm = reply_uint(entry, "vm"),
	};

	reply_text(entry, "kind", e.kind, sizeof e.kind);
	reply_text(entry, "name", e.name, sizeof e.name);
	reply_text(entry, "text", e.text, sizeof e.text);
	show_event(f, &e);
}

/* One page; *more is false with the last. */
static enum exit_status read_page(struct follow *f, bool *more)
{
	struct cbor_value reply, entry;
	enum exit_status st;
	struct cbor_iter it;
	struct request r;

	request_begin(&r);
	if (f->place_known)
		request_uint(&r, "from", f->next);
	request_uint(&r, "wait", 0);
	put_kinds(&r, f);
	st = client_request(f->c, CLIENT_READ, GROUP_EVENTS, EVENTS_READ, &r, &reply);
	if (st != EXIT_OK)
		return st;
	f->zero_ns = wall_ns() - reply_uint(reply, "now_ns");
	show_missed(f, reply_uint(reply, "missed"));
	if (reply_list(reply, "events", &it))
		while (cbor_next(&it, &entry))
			show_entry(f, entry);
	f->next = reply_uint(reply, "next");
	f->place_known = true;
	*more = f->next < reply_uint(reply, "head");
	return EXIT_OK;
}

static enum exit_status read_all(struct follow *f)
{
	enum exit_status st;
	bool more = false;

	do {
		st = read_page(f, &more);
	} while (st == EXIT_OK && more);
	return st;
}

/* ---- following ---- */

/* The next element of a pushed array, by kind; nothing when it is of another. */
static uint64_t take_uint(struct cbor_iter *it)
{
	struct cbor_value v;
	uint64_t n = 0;

	if (cbor_next(it, &v))
		cbor_get_uint(v, &n);
	return n;
}

static void take_text(struct cbor_iter *it, char *out, size_t size)
{
	const char *text = "";
	struct cbor_value v;
	size_t len = 0;

	if (cbor_next(it, &v))
		cbor_get_text(v, &text, &len);
	snprintf(out, size, "%.*s", (int)MIN(len, size - 1), text);
}

static bool take_bool(struct cbor_iter *it)
{
	struct cbor_value v;
	bool yes = false;

	return cbor_next(it, &v) && cbor_get_bool(v, &yes) && yes;
}

static void take_event(struct follow *f, uint64_t seq, struct cbor_iter *it)
{
	struct event *e = &f->event;

	*e = (struct event){.seq = seq, .time_ns = take_uint(it)};
	take_text(it, e->kind, sizeof e->kind);
	e->vm = take_uint(it);
	take_text(it, e->name, sizeof e->name);
	take_text(it, e->text, sizeof e->text);
}

/* What stands behind the first piece of its text. */
static void take_time(struct follow *f, struct cbor_iter *it)
{
	f->event.time = take_uint(it);
}

static void take_more(struct follow *f, struct cbor_iter *it)
{
	size_t len = strlen(f->event.text);

	take_text(it, f->event.text + len, sizeof f->event.text - len);
}

static void finish_event(struct follow *f)
{
	f->used++;
	if (f->event.seq < f->next)
		return; /* came twice: the line was shared, or opened again */
	f->next = f->event.seq + 1;
	show_event(f, &f->event);
}

/* Called by the client for each pushed line. */
static void on_push(void *ctx, const uint8_t *body, size_t len)
{
	struct cbor_value root = cbor_root(body, len);
	struct follow *f = ctx;
	struct cbor_iter it;
	uint64_t kind, seq;
	size_t used;

	if (cbor_check(body, len, &used) != ST_OK || cbor_type_of(root) != CBOR_ARRAY || !cbor_iterate(root, &it))
		return;
	kind = take_uint(&it);
	seq = take_uint(&it);
	if (kind == PUSH_EVENTS_MISSED) {
		show_missed(f, seq);
		f->next = take_uint(&it);
		f->partial = false;
	} else if (kind == PUSH_EVENT) {
		take_event(f, seq, &it);
		f->partial = take_bool(&it);
		take_time(f, &it);
		if (!f->partial)
			finish_event(f);
	} else if (kind == PUSH_EVENT_TEXT && f->partial && f->event.seq == seq) {
		take_more(f, &it);
		f->partial = take_bool(&it);
		if (!f->partial)
			finish_event(f);
	}
}

static enum exit_status attach(struct follow *f)
{
	struct cbor_value reply;
	enum exit_status st;
	struct request r;

	request_begin(&r);
	request_uint(&r, "from", f->next);
	request_uint(&r, "credit", CREDIT);
	put_kinds(&r, f);
	f->c->repeatable = true;
	st = client_request(f->c, CLIENT_WRITE, GROUP_EVENTS, EVENTS_ATTACH, &r, &reply);
	f->c->repeatable = false;
	f->used = 0;
	if (st == EXIT_OK)
		f->zero_ns = wall_ns() - reply_uint(reply, "now_ns");
	return st;
}

/* After the line was gone. A machine that was started again counts from 0. */
static enum exit_status carry_on(struct follow *f)
{
	enum exit_status st = EXIT_UNREACHABLE;

	while (st == EXIT_UNREACHABLE && client_reconnect(f->c, 0)) {
		struct cbor_value reply;
		struct request r;

		request_begin(&r);
		request_uint(&r, "last", 0);
		st = client_request(f->c, CLIENT_READ, GROUP_EVENTS, EVENTS_READ, &r, &reply);
		if (st == EXIT_OK && reply_uint(reply, "head") < f->next)
			f->next = 0;
		if (st == EXIT_OK)
			st = attach(f);
	}
	return terminal_interrupted() ? EXIT_OK : st;
}

static enum exit_status step(struct follow *f, time_t *renewed)
{
	struct pollfd p = {.fd = f->c->fd, .events = POLLIN};

	if ((poll(&p, 1, STEP_MS) < 0 && errno != EINTR) || !client_poll(f->c))
		return EXIT_UNREACHABLE;
	if (f->used < CREDIT / 2 && time(NULL) - *renewed < RENEW_S)
		return EXIT_OK;
	*renewed = time(NULL);
	return f->partial ? EXIT_OK : attach(f);
}

static enum exit_status follow(struct follow *f)
{
	time_t renewed = time(NULL);
	struct cbor_value reply;
	enum exit_status st;
	struct request r;

	f->c->pushed = on_push;
	f->c->pushed_ctx = f;
	f->c->patient = true;
	terminal_catch();
	st = attach(f);
	while (st == EXIT_OK && !terminal_interrupted()) {
		st = step(f, &renewed);
		if (st == EXIT_UNREACHABLE)
			st = carry_on(f);
	}
	request_begin(&r);
	if (st == EXIT_OK && f->c->fd >= 0)
		client_request(f->c, CLIENT_WRITE, GROUP_EVENTS, EVENTS_DETACH, &r, &reply);
	terminal_release();
	f->c->patient = false;
	f->c->pushed = NULL;
	return st;
}

enum exit_status events_show(struct client *c, int argc, char **argv)
{
	bool stay = argc > 0 && strcmp(argv[0], "-f") == 0;
	struct follow f = {.c = c, .kinds = argv + stay, .kind_count = argc - stay};
	enum exit_status st;

	if (f.kind_count > 0 && f.kinds[0][0] == '-') {
		complain("usage: events [-f] [KIND...]");
		return EXIT_USAGE;
	}
	st = read_all(&f);
	return st == EXIT_OK && stay ? follow(&f) : st;
}
