/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stays attached: a console, and the log with -f. The machine pushes output
 * from a sequence number on; we keep the number that we expect next, print each
 * byte once, and say how many were lost. The attachment has credit for some KiB
 * and is renewed from where we are when half of it is used, so that a corbelctl
 * that dies leaves no flood behind; and every few seconds, so that one that
 * shares its line with another misses nothing when that one leaves.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "tools/commands.h"
#include "tools/reply.h"
#include "tools/show.h"
#include "tools/terminal.h"

#define CREDIT 16384u
#define RENEW_S 5
#define BACKLOG_DEFAULT 4096u
#define LOG_ALL 65536u
#define LEAVE_KEY 0x1d /* Ctrl-] */
#define TYPED_MAX 256
#define SILENCE_MS 1000 /* after the end of an input that is no terminal */
#define RETRY_MS 50     /* when the guest takes no more input */

struct live {
	struct client *c;
	const char *name;
	uint64_t id;       /* of the console, known once attached */
	uint64_t expected; /* sequence number of the next byte */
	uint64_t renewed_at; /* sequence number: what came since is off the credit */
	bool attached, gone;
	bool raw;          /* its bytes go to the terminal as they are */
	bool lasting;      /* a line that drops is opened again */
	long long renewed, heard; /* ms */
	unsigned short columns, rows; /* that the guest was told */
};

static long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

/* A line of our own between the guest's; the terminal may be raw. */
__attribute__((format(printf, 2, 3)))
static void note(const struct live *l, const char *fmt, ...)
{
	va_list ap;

	if (l->c->json)
		return;
	fputs("\r\n[", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	fputs("]\r\n", stdout);
	fflush(stdout);
}

static void print_output(struct live *l, uint64_t seq, const uint8_t *data, size_t len)
{
	l->heard = now_ms();
	if (seq > l->expected)
		note(l, "%llu bytes were lost", (unsigned long long)(seq - l->expected));
	if (seq < l->expected) { /* a part was seen before */
		uint64_t seen = l->expected - seq;

		data += seen;
		len -= (size_t)seen;
		seq += seen;
	}
	l->expected = seq + len;
	if (l->c->json)
		return;
	if (l->raw)
		fwrite(data, 1, len, stdout);
	else
		show_clean(stdout, (const char *)data, len);
	fflush(stdout);
}

static void print_state(const struct live *l, struct cbor_iter *it)
{
	const char *state = "", *reason = "";
	size_t state_len = 0, reason_len = 0;
	struct cbor_value v;

	if (cbor_next(it, &v))
		cbor_get_text(v, &state, &state_len);
	if (cbor_next(it, &v))
		cbor_get_text(v, &reason, &reason_len);
	if (reason_len == 4 && memcmp(reason, "none", 4) == 0)
		reason_len = 0;
	note(l, "%s is %.*s%s%.*s", l->name, (int)state_len, state, reason_len ? ": " : "", (int)reason_len, reason);
}

/* Called by the client for each pushed line. */
static void on_push(void *ctx, const uint8_t *body, size_t len)
{
	struct cbor_value root = cbor_root(body, len), v;
	uint64_t kind, id, seq;
	struct live *l = ctx;
	const uint8_t *data;
	struct cbor_iter it;
	size_t used, data_len;

	if (cbor_check(body, len, &used) != ST_OK || cbor_type_of(root) != CBOR_ARRAY || !cbor_iterate(root, &it))
		return;
	if (!cbor_next(&it, &v) || !cbor_get_uint(v, &kind) || !cbor_next(&it, &v) || !cbor_get_uint(v, &id))
		return;
	if (!l->attached || id != l->id)
		return;
	if (kind == PUSH_OUTPUT) {
		if (!cbor_next(&it, &v) || !cbor_get_uint(v, &seq) || !cbor_next(&it, &v) ||
		    !cbor_get_bytes(v, &data, &data_len) || seq + data_len <= l->expected)
			return;
		print_output(l, seq, data, data_len);
	}
	if (reply_as_json(l->c, root))
		fflush(stdout);
	else if (kind == PUSH_STATE)
		print_state(l, &it);
	l->gone |= kind == PUSH_CLOSED;
}

/*
 * Attaches from @backlog bytes before the end; the next times renews the credit, and the place too when @place says
 * so (which repeats what is on its way).
 */
static enum exit_status attach(struct live *l, uint64_t backlog, bool place)
{
	struct cbor_value reply, v;
	uint64_t head;
	enum exit_status st;
	struct request r;

	request_begin(&r);
	request_text(&r, "name", l->name);
	request_uint(&r, "credit", CREDIT);
	if (l->attached && place)
		request_uint(&r, "from", l->expected);
	if (!l->attached)
		request_uint(&r, "last", backlog);
	l->c->repeatable = true;
	st = client_request(l->c, CLIENT_WRITE, GROUP_CONSOLE, CONSOLE_ATTACH, &r, &reply);
	l->c->repeatable = false;
	l->renewed_at = l->expected;
	if (st == EXIT_OK && l->attached && cbor_find(reply, "head", &v) && cbor_get_uint(v, &head) &&
	    head < l->expected) {
		note(l, "%s begins anew", l->name);
		l->expected = 0;
		return attach(l, 0, true);
	}
	if (st != EXIT_OK || l->attached)
		return st;
	if (cbor_find(reply, "id", &v))
		cbor_get_uint(v, &l->id);
	if (cbor_find(reply, "seq", &v))
		cbor_get_uint(v, &l->expected);
	l->attached = true;
	l->renewed_at = l->expected;
	return EXIT_OK;
}

static void detach(struct live *l)
{
	struct cbor_value reply;
	struct request r;

	if (l->gone)
		return;
	request_begin(&r);
	request_text(&r, "name", l->name);
	client_request(l->c, CLIENT_WRITE, GROUP_CONSOLE, CONSOLE_DETACH, &r, &reply);
}

/* The one attachment that there is at a time; pushed lines go to it. */
static struct live *begin(struct client *c, const char *name, bool raw)
{
	static struct live live;

	live = (struct live){.c = c, .name = name, .raw = raw, .heard = now_ms(), .renewed = now_ms()};
	c->pushed = on_push;
	c->pushed_ctx = &live;
	return &live;
}

/* Waits for the line, and for the input too unless @input is -1. False: the line is gone. */
static bool wait_any(struct live *l, int input, bool *typed)
{
	struct pollfd fds[2] = {{.fd = l->c->fd, .events = POLLIN}, {.fd = input, .events = POLLIN}};

	if (poll(fds, 2, RETRY_MS * 4) < 0 && errno != EINTR)
		return false;
	*typed = fds[1].revents != 0;
	return client_poll(l->c);
}

static enum exit_status renew_when_due(struct live *l)
{
	if (now_ms() - l->renewed >= RENEW_S * 1000) {
		l->renewed = now_ms();
		return attach(l, 0, true);
	}
	return l->expected - l->renewed_at < CREDIT / 2 ? EXIT_OK : attach(l, 0, false);
}

/* The line is gone: opens it again and goes on where it was, as often as it takes. */
static enum exit_status carry_on(struct live *l)
{
	enum exit_status st = EXIT_UNREACHABLE;
	bool raw = terminal_is_raw();

	terminal_restore(); /* Ctrl-C ends the attempts */
	while (st == EXIT_UNREACHABLE && client_reconnect(l->c, 0))
		st = attach(l, 0, true);
	if (raw)
		terminal_raw();
	l->renewed = now_ms();
	return terminal_interrupted() ? EXIT_OK : st;
}

/* ---- console ---- */

/* Sends what was typed; the guest may take it in parts. */
static enum exit_status type(struct live *l, const uint8_t *data, size_t len)
{
	while (len > 0 && !l->gone && !terminal_interrupted()) {
		struct cbor_value reply, v;
		enum exit_status st;
		uint64_t taken = 0;
		struct request r;

		request_begin(&r);
		request_text(&r, "name", l->name);
		request_bytes(&r, "data", data, len);
		st = client_request(l->c, CLIENT_WRITE, GROUP_CONSOLE, CONSOLE_INPUT, &r, &reply);
		if (st != EXIT_OK)
			return st;
		if (cbor_find(reply, "taken", &v))
			cbor_get_uint(v, &taken);
		data += taken;
		len -= (size_t)taken;
		if (len > 0)
			usleep(RETRY_MS * 1000);
	}
	return EXIT_OK;
}

/* Takes what the operator typed. *open becomes false at the end of the input or with the leave key. */
static enum exit_status take_input(struct live *l, bool *open, bool *leave)
{
	uint8_t typed[TYPED_MAX];
	ssize_t n = read(STDIN_FILENO, typed, sizeof typed);
	const uint8_t *key;
	enum exit_status st;

	if (n <= 0) {
		*open = n < 0 && errno == EINTR;
		return EXIT_OK;
	}
	key = isatty(STDIN_FILENO) ? memchr(typed, LEAVE_KEY, (size_t)n) : NULL;
	st = type(l, typed, key ? (size_t)(key - typed) : (size_t)n);
	*leave = key != NULL;
	/* A VM that is stopped takes no input; the console stays, it may start again. */
	return st == EXIT_REFUSED ? EXIT_OK : st;
}

/* The guest is told how large the terminal is, when that has changed. Not every key may tell it, and none has to. */
static void tell_size(struct live *l)
{
	struct cbor_value reply;
	struct winsize size;
	struct request r;
	bool quiet = l->c->quiet, json = l->c->json;

	if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 ||
	    (size.ws_col == l->columns && size.ws_row == l->rows))
		return;
	l->columns = size.ws_col;
	l->rows = size.ws_row;
	request_begin(&r);
	request_text(&r, "name", l->name);
	request_uint(&r, "columns", size.ws_col);
	request_uint(&r, "rows", size.ws_row);
	l->c->quiet = true;
	l->c->json = false;
	(void)!client_request(l->c, CLIENT_WRITE, GROUP_CONSOLE, CONSOLE_SIZE, &r, &reply);
	l->c->quiet = quiet;
	l->c->json = json;
}

static enum exit_status console_loop(struct live *l)
{
	bool open = true, leave = false, typed;
	enum exit_status st = EXIT_OK;

	while (st == EXIT_OK && !leave && !l->gone && !terminal_interrupted()) {
		typed = false;
		tell_size(l);
		if (!wait_any(l, open ? STDIN_FILENO : -1, &typed))
			st = EXIT_UNREACHABLE;
		if (st == EXIT_OK && typed)
			st = take_input(l, &open, &leave);
		if (!open && now_ms() - l->heard > SILENCE_MS)
			break;
		if (st == EXIT_OK)
			st = renew_when_due(l);
		if (st == EXIT_UNREACHABLE && l->lasting)
			st = carry_on(l);
	}
	return st;
}

enum exit_status live_console(struct client *c, int argc, char **argv)
{
	uint64_t backlog = argc > 1 ? strtoull(argv[1], NULL, 0) : BACKLOG_DEFAULT;
	struct live *l = begin(c, argv[0], !c->json);
	enum exit_status st = attach(l, backlog, false);

	if (st != EXIT_OK)
		return st;
	if (isatty(STDIN_FILENO))
		note(l, "console of %s, Ctrl-] leaves", l->name);
	terminal_raw();
	terminal_catch();
	l->lasting = c->patient = isatty(STDIN_FILENO);
	st = console_loop(l);
	c->patient = false;
	terminal_restore();
	if (l->gone)
		note(l, "%s is gone", l->name);
	else if (isatty(STDIN_FILENO))
		note(l, "left %s", l->name);
	if (st != EXIT_UNREACHABLE)
		detach(l);
	terminal_release();
	c->pushed = NULL;
	return st;
}

/* ---- log ---- */

/* Reads the log from its oldest byte to its end. */
static enum exit_status log_once(struct client *c)
{
	uint64_t from = 0, head = 1;

	while (from < head) {
		struct cbor_value reply, v;
		const uint8_t *data = NULL;
		enum exit_status st;
		struct request r;
		size_t len = 0;
		bool shown;

		request_begin(&r);
		request_text(&r, "name", "corbel");
		request_uint(&r, "from", from);
		st = client_request(c, CLIENT_READ, GROUP_CONSOLE, CONSOLE_READ, &r, &reply);
		if (st != EXIT_OK)
			return st;
		shown = reply_as_json(c, reply);
		if (cbor_find(reply, "data", &v) && cbor_get_bytes(v, &data, &len) && !shown)
			show_clean(stdout, (const char *)data, len);
		if (!cbor_find(reply, "next", &v) || !cbor_get_uint(v, &from) || !cbor_find(reply, "head", &v) ||
		    !cbor_get_uint(v, &head) || len == 0)
			break;
	}
	return EXIT_OK;
}

static enum exit_status log_follow(struct client *c)
{
	struct live *l = begin(c, "corbel", false);
	enum exit_status st = attach(l, LOG_ALL, false);
	bool typed;

	terminal_catch();
	c->patient = true;
	while (st == EXIT_OK && !terminal_interrupted()) {
		st = wait_any(l, -1, &typed) ? renew_when_due(l) : EXIT_UNREACHABLE;
		if (st == EXIT_UNREACHABLE)
			st = carry_on(l);
	}
	c->patient = false;
	if (st == EXIT_OK)
		detach(l);
	terminal_release();
	c->pushed = NULL;
	return st;
}

enum exit_status live_log(struct client *c, int argc, char **argv)
{
	if (argc == 0)
		return log_once(c);
	if (argc == 1 && strcmp(argv[0], "-f") == 0)
		return log_follow(c);
	complain("usage: log [-f]");
	return EXIT_USAGE;
}
