/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries are kept as plain structs and become CBOR when they are read or
 * written. A segment of the store holds the entries seq / AUDIT_SEGMENT of one
 * number; the one being filled is written again with each entry, which a log
 * store takes as an append. A start begins a new segment, so none is ever read
 * back to be gone on with.
 */
#include "lua/audit.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/keep.h"

#define SEGMENT_DIGITS 12
#define SCRIPT_PREFIX "script "
#define SESSION_PREFIX "session." /* of what must not wait to be written */
#define PLAIN_PREFIX "corbel " /* of our groups' names */

_Static_assert(AUDIT_RING % AUDIT_SEGMENT == 0, "a segment is whole in the ring");

static struct audit_entry *at(struct control *c, uint64_t seq)
{
	return &c->audit.ring[seq % AUDIT_RING];
}

static void segment_name(uint64_t segment, char out[KEEP_NAME_MAX])
{
	format(out, KEEP_NAME_MAX, AUDIT_FOLDER "%0*llu", SEGMENT_DIGITS, (unsigned long long)segment);
}

/* The segment's number, UINT64_MAX for a name that is none. */
static uint64_t segment_number(const char *name)
{
	uint64_t n = 0;

	name += strlen(AUDIT_FOLDER);
	if (strlen(name) != SEGMENT_DIGITS)
		return UINT64_MAX;
	for (; *name; name++) {
		if (*name < '0' || *name > '9')
			return UINT64_MAX;
		n = n * 10 + (unsigned)(*name - '0');
	}
	return n;
}

/* The first segment of the store at or behind @from; UINT64_MAX: none. */
static uint64_t next_segment(const struct control *c, uint64_t from)
{
	char after[KEEP_NAME_MAX] = "", name[KEEP_NAME_MAX];

	if (from > 0)
		segment_name(from - 1, after);
	while (keep_next(c, AUDIT_FOLDER, after, name) == ST_OK) {
		uint64_t n = segment_number(name);

		if (n != UINT64_MAX)
			return n;
		memcpy(after, name, sizeof after);
	}
	return UINT64_MAX;
}

void audit_init(struct control *c)
{
	uint64_t behind = 0, n;

	while ((n = next_segment(c, behind)) != UINT64_MAX)
		behind = n + 1;
	c->audit.first = c->audit.head = c->audit.kept = behind * AUDIT_SEGMENT;
	c->audit.stale = UINT64_MAX;
	/* The first entry need not wait. */
	c->audit.written = control_ticks(c) - ns_to_ticks(AUDIT_PAUSE_NS, c->cfg.clock->hz);
}

/* ---- writing ---- */

static bool same_again(const struct audit_entry *a, const struct audit_entry *b)
{
	return strcmp(a->who, b->who) == 0 && strcmp(a->what, b->what) == 0 && strcmp(a->on, b->on) == 0 &&
	       strcmp(a->before, b->before) == 0 && strcmp(a->after, b->after) == 0 &&
	       strcmp(a->failed, b->failed) == 0;
}

/* True when @e is a script's and does to the same thing what @a did. */
static bool script_again(const struct audit_entry *a, const struct audit_entry *e)
{
	return strncmp(e->who, SCRIPT_PREFIX, strlen(SCRIPT_PREFIX)) == 0 && strcmp(a->who, e->who) == 0 &&
	       strcmp(a->what, e->what) == 0 && strcmp(a->on, e->on) == 0 && strcmp(a->failed, e->failed) == 0;
}

/* The entry in which @e is to be counted; NULL: it is one of its own. */
static struct audit_entry *find_same(struct control *c, const struct audit_entry *e)
{
	uint64_t head = c->audit.head, since = MAX(c->audit.first, head > AUDIT_LOOK_BACK ? head - AUDIT_LOOK_BACK : 0);

	if (head > c->audit.first && same_again(at(c, head - 1), e))
		return at(c, head - 1);
	for (uint64_t s = head; s-- > since;)
		if (script_again(at(c, s), e))
			return at(c, s);
	return NULL;
}

static void count_again(struct control *c, struct audit_entry *same, const struct audit_entry *e)
{
	same->count++;
	same->time = e->time;
	same->time_ns = e->time_ns;
	memcpy(same->after, e->after, sizeof same->after);
	c->audit.stale = MIN(c->audit.stale, same->seq);
}

/* Stamps and appends @e, or counts it in an entry that is there. */
static void append(struct control *c, struct audit_entry *e)
{
	struct audit_entry *same = find_same(c, e);

	e->time = events_calendar(&c->events);
	e->time_ns = events_now(&c->events);
	e->count = 1;
	if (same) {
		count_again(c, same, e);
		return;
	}
	e->seq = c->audit.head;
	*at(c, c->audit.head++) = *e;
	c->audit.urgent |= strncmp(e->what, SESSION_PREFIX, strlen(SESSION_PREFIX)) == 0;
}

static void copy(char *out, size_t size, const char *text)
{
	log_clean(out, size, text, strlen(text));
}

void audit_note(struct control *c, const char *who, const char *what, const char *on, const char *failed)
{
	struct audit_entry e = {.seq = 0};

	copy(e.who, sizeof e.who, who);
	copy(e.what, sizeof e.what, what);
	copy(e.on, sizeof e.on, on);
	copy(e.failed, sizeof e.failed, failed);
	append(c, &e);
}

struct audit_entry *audit_command_begin(struct control *c, struct audit_entry *entry)
{
	struct audit_entry *outer = c->audit.running;

	memset(entry, 0, sizeof *entry);
	c->audit.running = entry;
	return outer;
}

void audit_on(struct control *c, const char *text, size_t len)
{
	log_clean(c->audit.running->on, AUDIT_TEXT_MAX, text, len);
}

void audit_change(struct control *c, const char *before, const char *after)
{
	copy(c->audit.running->before, AUDIT_TEXT_MAX, before);
	copy(c->audit.running->after, AUDIT_TEXT_MAX, after);
}

void audit_setting(struct control *c, const char *script, const char *path, const char *before, const char *after)
{
	struct audit_entry e = {.seq = 0};

	/* A setting's own command; what a line at the prompt sets is an entry beside the line's. */
	if (!script[0] && c->audit.running && !c->audit.running->on[0]) {
		audit_on(c, path, strlen(path));
		audit_change(c, before, after);
		return;
	}
	if (script[0])
		format(e.who, sizeof e.who, SCRIPT_PREFIX "%s", script);
	else
		copy(e.who, sizeof e.who, c->session.who);
	copy(e.what, sizeof e.what, "settings.set");
	copy(e.on, sizeof e.on, path);
	copy(e.before, sizeof e.before, before);
	copy(e.after, sizeof e.after, after);
	append(c, &e);
}

static const char *plain_name(const struct command_group *g)
{
	size_t prefix = strlen(PLAIN_PREFIX);

	return strncmp(g->name, PLAIN_PREFIX, prefix) == 0 ? g->name + prefix : g->name;
}

void audit_command_end(struct control *c, const struct command_request *req, const struct command_args *a,
		       enum status st, const struct error *err)
{
	struct audit_entry *e = c->audit.running;

	/* What was refused for what it says has changed nothing; what was refused for who said it is of interest. */
	if (req->op != SMP_WRITE || req->command->unaudited || (st != ST_OK && st != ST_DENIED))
		return;
	if (req->from_script)
		format(e->who, sizeof e->who, SCRIPT_PREFIX "%s", c->script_name);
	else
		copy(e->who, sizeof e->who, c->session.who);
	format(e->what, sizeof e->what, "%s.%s", plain_name(req->group), req->command->name);
	if (!e->on[0] && a->name.given)
		audit_on(c, a->name.text, a->name.len);
	if (st != ST_OK)
		copy(e->failed, sizeof e->failed, err->text);
	append(c, e);
}

/* ---- as CBOR ---- */

static void put_text(struct cbor_writer *w, const char *key, const char *text)
{
	if (text[0])
		command_put_text(w, key, text);
}

static void put_entry(struct cbor_writer *w, const struct audit_entry *e)
{
	struct cbor_mark map = cbor_open(w);

	command_put_uint(w, "seq", e->seq);
	if (e->time)
		command_put_uint(w, "time", e->time);
	command_put_uint(w, "time_ns", e->time_ns);
	command_put_text(w, "who", e->who);
	command_put_text(w, "what", e->what);
	put_text(w, "on", e->on);
	put_text(w, "before", e->before);
	put_text(w, "after", e->after);
	put_text(w, "failed", e->failed);
	if (e->count > 1)
		command_put_uint(w, "count", e->count);
	cbor_close_map(w, map);
}

/* Writes the segment that holds @seq, up to the newest entry. */
static enum status write_segment(struct control *c, uint64_t seq, struct error *err)
{
	uint64_t segment = seq / AUDIT_SEGMENT, end = MIN((segment + 1) * AUDIT_SEGMENT, c->audit.head);
	char name[KEEP_NAME_MAX];
	struct cbor_writer w;
	struct cbor_mark list;

	cbor_writer_init(&w, c->audit.blob, sizeof c->audit.blob);
	list = cbor_open(&w);
	for (uint64_t s = MAX(segment * AUDIT_SEGMENT, c->audit.first); s < end; s++)
		put_entry(&w, at(c, s));
	cbor_close_array(&w, list);
	segment_name(segment, name);
	return keep_write(c, name, c->audit.blob, w.len, err);
}

/* A new segment pushes out the oldest. */
static void drop_old_segments(struct control *c, uint64_t segment)
{
	uint64_t oldest = next_segment(c, 0);
	char name[KEEP_NAME_MAX];
	struct error ignored;

	if (oldest == UINT64_MAX || oldest + AUDIT_SEGMENTS > segment)
		return;
	segment_name(oldest, name);
	if (keep_delete(c, name, &ignored) != ST_OK)
		c->audit.lost++;
}

bool audit_flush(struct control *c)
{
	uint64_t seq = MIN(c->audit.kept, c->audit.stale);
	struct error err;

	if (seq >= c->audit.head || !keep_lasts(c))
		return false;
	/* More than the ring was written since: what fell out is gone. */
	if (c->audit.head - seq > AUDIT_RING)
		seq = c->audit.head - AUDIT_RING;
	if (write_segment(c, seq, &err) != ST_OK) {
		if (c->audit.lost++ == 0)
			log_error("audit: an entry is not in the store: %s", err.text);
	} else {
		drop_old_segments(c, seq / AUDIT_SEGMENT);
	}
	seq = MIN((seq / AUDIT_SEGMENT + 1) * AUDIT_SEGMENT, c->audit.head);
	c->audit.kept = MAX(c->audit.kept, seq);
	c->audit.stale = c->audit.stale < seq ? UINT64_MAX : c->audit.stale;
	c->audit.written = control_ticks(c);
	c->audit.urgent = c->audit.urgent && c->audit.kept < c->audit.head;
	return true;
}

/* When something is to be written, in ticks; UINT64_MAX: there is nothing. */
static uint64_t due(const struct control *c)
{
	const struct audit *a = &c->audit;
	uint64_t hz = c->cfg.clock->hz;

	if (!keep_lasts(c))
		return UINT64_MAX;
	if (a->urgent || a->head - a->kept >= AUDIT_SEGMENT)
		return 0; /* a burst: before the ring comes round */
	if (a->kept < a->head)
		return a->written + ns_to_ticks(AUDIT_PAUSE_NS, hz);
	return a->stale != UINT64_MAX ? a->written + ns_to_ticks(AUDIT_COUNT_NS, hz) : UINT64_MAX;
}

bool audit_step(struct control *c)
{
	return control_ticks(c) >= due(c) && audit_flush(c);
}

void audit_wake(struct control *c)
{
	uint64_t when = due(c);

	if (when != UINT64_MAX)
		control_wake_at(c, when);
}

/* ---- reading ---- */

static uint64_t oldest_in_memory(const struct control *c)
{
	return MAX(c->audit.first, c->audit.head > AUDIT_RING ? c->audit.head - AUDIT_RING : 0);
}

uint64_t audit_oldest(const struct control *c)
{
	uint64_t segment = next_segment(c, 0);

	return segment == UINT64_MAX ? oldest_in_memory(c) : MIN(segment * AUDIT_SEGMENT, oldest_in_memory(c));
}

void audit_store_made(struct control *c)
{
	c->audit.kept = oldest_in_memory(c);
	c->audit.stale = UINT64_MAX;
	c->audit.urgent = true;
}

/* One entry of the page; false when it is full. */
struct page {
	struct cbor_writer *w;
	uint64_t from, max, shown, next;
};

static bool page_takes(struct page *p, size_t bytes)
{
	return p->shown < p->max && command_fits(p->w, bytes);
}

/* The entries of a segment of the store; false when the page is full. */
static bool read_segment(struct control *c, uint64_t segment, struct page *p)
{
	struct cbor_value list, e, v;
	char name[KEEP_NAME_MAX];
	struct cbor_iter it;
	struct error ignored;
	size_t len, used;
	uint64_t seq;

	segment_name(segment, name);
	/* What is damaged is passed over: the rest of the log must stay readable. */
	if (keep_read(c, name, c->audit.blob, sizeof c->audit.blob, &len, &ignored) != ST_OK ||
	    cbor_check(c->audit.blob, len, &used) != ST_OK)
		return true;
	list = cbor_root(c->audit.blob, used);
	if (cbor_type_of(list) != CBOR_ARRAY || !cbor_iterate(list, &it))
		return true;
	while (cbor_next(&it, &e)) {
		if (cbor_type_of(e) != CBOR_MAP || !cbor_find(e, "seq", &v) || !cbor_get_uint(v, &seq) || seq < p->from ||
		    cbor_check(e.at, (size_t)(e.end - e.at), &used) != ST_OK)
			continue;
		if (!page_takes(p, used))
			return false;
		cbor_put_raw(p->w, e.at, used);
		p->shown++;
		p->next = p->from = seq + 1;
	}
	return true;
}

bool audit_read(struct control *c, uint64_t from, uint64_t max, struct cbor_writer *w, uint64_t *next)
{
	uint64_t memory = oldest_in_memory(c);
	struct page p = {.w = w, .from = from, .max = max, .next = from};
	bool room = true;

	for (uint64_t s = from / AUDIT_SEGMENT; room && p.from < memory;) {
		s = next_segment(c, s);
		if (s == UINT64_MAX || s * AUDIT_SEGMENT >= memory)
			break;
		room = read_segment(c, s++, &p);
	}
	if (room)
		p.from = MAX(p.from, memory);
	for (; room && p.from < c->audit.head; p.from++) {
		room = page_takes(&p, AUDIT_ENTRY_BYTES);
		if (!room)
			break;
		put_entry(w, at(c, p.from));
		p.shown++;
		p.next = p.from + 1;
	}
	*next = p.next;
	return !room;
}
