/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies to others on a shared line, and old ones, are passed over: a reply is
 * ours when group, command and sequence are. The sequence starts at random, so
 * that two clients of one line seldom take the same.
 */
#include "tools/client.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/bits.h"
#include "tools/show.h"
#include "tools/target.h"
#include "tools/terminal.h"

#define HEADER_BYTES 8
#define VERSION_2 (1u << 3)
#define USER_GROUPS 64u
#define RC_DENIED 11
#define WHY_MAX 256
#define REPEAT_MS 2000 /* a request that may be sent twice is, after this long without its reply */
#define MENDS_MAX 5    /* how often one read opens its line again */
#define BACK_OFF_MS 200 /* before the first attempt to connect again, */
#define BACK_OFF_MAX_MS 5000 /* and at most, after doubling */

void complain(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	fputs("corbelctl: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs(terminal_is_raw() ? "\r\n" : "\n", stderr);
	va_end(ap);
}

static long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

bool client_open(struct client *c, const char *target)
{
	char why[WHY_MAX];
	struct timespec t;

	c->target = target;
	c->fd = target_open(target, c->timeout_ms, why, sizeof why);
	if (c->fd < 0) {
		if (!c->quiet)
			complain("%s", why);
		return false;
	}
	clock_gettime(CLOCK_REALTIME, &t);
	c->sequence = (uint8_t)(t.tv_nsec >> 10 ^ getpid());
	wire_receiver_init(&c->rx, c->body, sizeof c->body);
	c->in_at = c->in_len = 0;
	return true;
}

void client_close(struct client *c)
{
	if (c->fd >= 0)
		target_close(c->fd);
	c->fd = -1;
}

/* ---- requests ---- */

void request_begin(struct request *r)
{
	cbor_writer_init(&r->w, r->payload, sizeof r->payload);
	r->map = cbor_open(&r->w);
}

void request_text(struct request *r, const char *key, const char *value)
{
	cbor_put_text(&r->w, key);
	cbor_put_text(&r->w, value);
}

void request_uint(struct request *r, const char *key, uint64_t value)
{
	cbor_put_text(&r->w, key);
	cbor_put_uint(&r->w, value);
}

void request_bytes(struct request *r, const char *key, const void *data, size_t len)
{
	cbor_put_text(&r->w, key);
	cbor_put_bytes(&r->w, data, len);
}

/* ---- the line ---- */

static bool lost(struct client *c, const char *why)
{
	snprintf(c->why, sizeof c->why, "%s", why);
	if (!c->quiet && !c->patient)
		complain("lost %s: %s", c->target, why);
	return false;
}

/* write(), without the signal that a closed socket sends. */
static ssize_t write_some(int fd, const uint8_t *data, size_t len)
{
	ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

	return n < 0 && errno == ENOTSOCK ? write(fd, data, len) : n;
}

/* Writes all of @data before the deadline. */
static bool write_all(struct client *c, const uint8_t *data, size_t len, long long deadline)
{
	while (len > 0) {
		ssize_t n = write_some(c->fd, data, len);
		struct pollfd p = {.fd = c->fd, .events = POLLOUT};

		if (n > 0) {
			data += n;
			len -= (size_t)n;
			continue;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return lost(c, strerror(errno));
		if (now_ms() >= deadline)
			return lost(c, "it takes nothing more");
		poll(&p, 1, (int)(deadline - now_ms()));
	}
	return true;
}

static bool send_body(struct client *c, const uint8_t *body, size_t len, long long deadline)
{
	uint8_t line[WIRE_LINE_MAX];
	struct wire_sender s;
	size_t n;

	wire_send_begin(&s, body, len);
	while ((n = wire_send_line(&s, line)) > 0)
		if (!write_all(c, line, n, deadline))
			return false;
	return true;
}

/* True when the frame in c->body answers what @want (group, sequence, command, as in the header) asked. */
static bool is_reply(const struct client *c, const uint8_t *want, unsigned op)
{
	return c->rx.len >= HEADER_BYTES && (c->body[0] & 7) == op + 1 && memcmp(c->body + 4, want + 4, 4) == 0;
}

/* Reads what is there into c->in, which is used up. 1: something, 0: nothing yet, -1: the line is gone (explained). */
static int fill(struct client *c)
{
	ssize_t n = read(c->fd, c->in, sizeof c->in);

	c->in_at = 0;
	c->in_len = n > 0 ? (size_t)n : 0;
	if (n > 0)
		return 1;
	if (n == 0)
		return lost(c, "the other end closed the line"), -1;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	return lost(c, strerror(errno)), -1;
}

/*
 * Takes bytes until a reply to @want is whole (1) or none are left (0); -1: the line is gone. What is behind the
 * reply stays in c->in, so that the reply's buffer is not touched until the next call.
 */
static int take(struct client *c, const uint8_t *want, unsigned op)
{
	for (;;) {
		enum wire_event event;

		if (c->in_at == c->in_len) {
			int got = fill(c);

			if (got <= 0)
				return got;
		}
		event = wire_receive(&c->rx, c->in[c->in_at++]);
		c->damaged |= event >= WIRE_OVERSIZED;
		if (event == WIRE_PUSHED && c->pushed)
			c->pushed(c->pushed_ctx, c->rx.push, c->rx.push_len);
		if (event == WIRE_FRAME && want && is_reply(c, want, op))
			return 1;
	}
}

bool client_poll(struct client *c)
{
	return take(c, NULL, 0) >= 0;
}

/* 1: the reply is there; 0: not by the deadline, or, for who may @repeat, it came damaged; -1: the line is gone. */
static int wait_reply(struct client *c, const uint8_t *want, unsigned op, bool repeat, long long deadline)
{
	c->damaged = false;
	for (;;) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		long long left = deadline - now_ms();
		int got = take(c, want, op);

		if (got != 0)
			return got;
		if (left <= 0 || (repeat && c->damaged))
			return 0;
		poll(&p, 1, (int)left);
	}
}

/* Sends a request, again and again if that does no harm, until its reply is there. */
static bool exchange_once(struct client *c, const uint8_t *body, size_t len, unsigned op)
{
	bool repeat = op == CLIENT_READ || c->repeatable;
	long long deadline = now_ms() + c->timeout_ms;

	for (;;) {
		long long until = repeat ? MIN(deadline, now_ms() + REPEAT_MS) : deadline;
		int got = send_body(c, body, len, deadline) ? wait_reply(c, body, op, repeat, until) : -1;

		if (got != 0)
			return got > 0;
		if (now_ms() < deadline)
			continue;
		snprintf(c->why, sizeof c->why, "it does not answer");
		if (!c->quiet && !c->patient)
			complain("%s does not answer", c->target);
		return false;
	}
}

/* The same over a line that may drop under a read. */
static bool exchange(struct client *c, const uint8_t *body, size_t len, unsigned op)
{
	for (int mended = 0; !exchange_once(c, body, len, op); mended++)
		if (!c->mends || op != CLIENT_READ || mended == MENDS_MAX || !client_reconnect(c, c->timeout_ms))
			return false;
	return true;
}

/* Explains the error in @map, if it is one. */
static enum exit_status judge(struct client *c, struct cbor_value map)
{
	struct cbor_value err, value;
	const char *why = "";
	size_t len = 0;
	uint64_t rc = 0;

	if (cbor_find(map, "err", &err)) {
		if (!cbor_find(err, "rc", &value) || !cbor_get_uint(value, &rc))
			rc = 1;
	} else if (cbor_find(map, "rc", &value)) {
		cbor_get_uint(value, &rc);
	}
	if (rc == 0)
		return EXIT_OK;
	if (cbor_find(map, "rsn", &value))
		cbor_get_text(value, &why, &len);
	if (c->json)
		show_json_error(rc, why, len);
	if (!c->quiet) {
		fputs("corbelctl: ", stderr);
		if (len)
			show_clean(stderr, why, len);
		else
			fprintf(stderr, "the machine refused with code %llu", (unsigned long long)rc);
		fputs(terminal_is_raw() ? "\r\n" : "\n", stderr);
	}
	return rc == RC_DENIED ? EXIT_DENIED : EXIT_REFUSED;
}

enum exit_status client_request(struct client *c, enum client_op op, unsigned group, unsigned command,
				struct request *r, struct cbor_value *out)
{
	uint8_t body[HEADER_BYTES + sizeof r->payload]; /* opening a line again sends requests of its own */
	size_t used;

	cbor_close_map(&r->w, r->map);
	if (r->w.overflow) {
		complain("the request is too long");
		return EXIT_USAGE;
	}
	/* In version 2 the standard groups refuse with a number alone, in version 1 with a sentence. */
	body[0] = (uint8_t)((group < USER_GROUPS ? 0 : VERSION_2) | op);
	body[1] = 0;
	put_be16(body + 2, (uint16_t)r->w.len);
	put_be16(body + 4, (uint16_t)group);
	body[6] = c->sequence++;
	body[7] = (uint8_t)command;
	memcpy(body + HEADER_BYTES, r->payload, r->w.len);
	if (!exchange(c, body, HEADER_BYTES + r->w.len, op))
		return EXIT_UNREACHABLE;
	*out = cbor_root(c->body + HEADER_BYTES, c->rx.len - HEADER_BYTES);
	if (cbor_check(c->body + HEADER_BYTES, c->rx.len - HEADER_BYTES, &used) != ST_OK ||
	    cbor_type_of(*out) != CBOR_MAP) {
		complain("%s sent a reply that is not CBOR", c->target);
		return EXIT_UNREACHABLE;
	}
	return judge(c, *out);
}

/* ---- reconnecting ---- */

/* Waits; false when the operator interrupted. */
static bool wait_ms(int ms)
{
	poll(NULL, 0, ms);
	return !terminal_interrupted();
}

static bool try_again(struct client *c)
{
	struct cbor_value reply;
	struct request r;

	client_close(c);
	c->fd = target_open(c->target, c->timeout_ms, c->why, sizeof c->why);
	if (c->fd < 0)
		return false;
	c->in_at = c->in_len = 0;
	wire_receiver_init(&c->rx, c->body, sizeof c->body);
	request_begin(&r);
	request_text(&r, "d", "again");
	/* A login ended with the line. */
	return client_request(c, CLIENT_READ, GROUP_OS, OS_ECHO, &r, &reply) == EXIT_OK && (!c->log_in || c->log_in(c));
}

bool client_reconnect(struct client *c, int limit_ms)
{
	int back_off = BACK_OFF_MS, timeout_ms = c->timeout_ms;
	long long end = now_ms() + limit_ms;
	bool patient = c->patient, mends = c->mends, again = false;

	if (!c->quiet)
		complain("lost %s: %s; trying again", c->target, c->why);
	c->patient = true;
	c->mends = false;
	c->timeout_ms = MIN(timeout_ms, REPEAT_MS);
	while (!again && wait_ms(back_off) && (limit_ms == 0 || now_ms() < end)) {
		again = try_again(c);
		back_off = MIN(2 * back_off, BACK_OFF_MAX_MS);
	}
	c->timeout_ms = timeout_ms;
	c->patient = patient;
	c->mends = mends;
	if (!c->quiet && again)
		complain("%s answers again", c->target);
	else if (!c->quiet && !terminal_interrupted())
		complain("gave up: %s", c->why);
	return again;
}
