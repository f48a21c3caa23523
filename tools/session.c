/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A login is made as docs/protocol.md section 7 says: the machine's challenge
 * becomes the payload of a COSE_Sign1. The key is read before the challenge is
 * asked for, since somebody may have to type its passphrase.
 */
#include "tools/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/bits.h"
#include "tools/keyfile.h"
#include "tools/reply.h"
#include "tools/show.h"

#define PAYLOAD_MAX 256
#define MESSAGE_MAX 512
#define COSE_SIGN1_TAG 18
#define COSE_KID 4
#define NS_PER_S 1000000000ull
#define TIME_MAX 24
#define NAME_MAX 48
#define TEXT_MAX 96

static const uint8_t es256[] = {0xa1, 0x01, 0x26}; /* the protected header: {1: -7} */

/* ---- login ---- */

/* The four values of the challenge, in the order in which they are signed. False when one is missing. */
static bool make_payload(struct cbor_value challenge, struct cbor_writer *w)
{
	static const char *const names[] = {"protocol", "machine", "line", "nonce"};
	struct cbor_mark list = cbor_open(w);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct cbor_value v;
		size_t used;

		if (!cbor_find(challenge, names[i], &v) || cbor_check(v.at, (size_t)(v.end - v.at), &used) != ST_OK)
			return false;
		cbor_put_raw(w, v.at, used);
	}
	cbor_close_array(w, list);
	return !w->overflow;
}

/* The Sig_structure of RFC 9052 section 4.4, signed. */
static bool sign(const struct keyfile *key, const struct cbor_writer *payload, uint8_t signature[KEYFILE_SIGNATURE])
{
	uint8_t structure[MESSAGE_MAX];
	struct cbor_writer w;
	struct cbor_mark list;

	cbor_writer_init(&w, structure, sizeof structure);
	list = cbor_open(&w);
	cbor_put_text(&w, "Signature1");
	cbor_put_bytes(&w, es256, sizeof es256);
	cbor_put_bytes(&w, "", 0);
	cbor_put_bytes(&w, payload->buf, payload->len);
	cbor_close_array(&w, list);
	return !w.overflow && keyfile_sign(key, structure, w.len, signature);
}

/* The whole message; false after a sentence. */
static bool make_message(const struct keyfile *key, struct cbor_value challenge, struct cbor_writer *w)
{
	uint8_t bytes[PAYLOAD_MAX], signature[KEYFILE_SIGNATURE], point[KEYFILE_POINT], thumbprint[KEYFILE_THUMBPRINT];
	struct cbor_writer payload;
	struct cbor_mark list, map;

	cbor_writer_init(&payload, bytes, sizeof bytes);
	if (!make_payload(challenge, &payload)) {
		complain("the machine's challenge cannot be read");
		return false;
	}
	if (!sign(key, &payload, signature))
		return false;
	keyfile_point(key, point);
	keyfile_thumbprint(point, thumbprint);
	cbor_put_tag(w, COSE_SIGN1_TAG);
	list = cbor_open(w);
	cbor_put_bytes(w, es256, sizeof es256);
	map = cbor_open(w);
	cbor_put_int(w, COSE_KID);
	cbor_put_bytes(w, thumbprint, sizeof thumbprint);
	cbor_close_map(w, map);
	cbor_put_bytes(w, payload.buf, payload.len);
	cbor_put_bytes(w, signature, sizeof signature);
	cbor_close_array(w, list);
	return !w->overflow;
}

/* Challenge, answer; *reply says who we are now. */
static enum exit_status answer(struct client *c, const struct keyfile *key, struct cbor_value *reply)
{
	uint8_t message[MESSAGE_MAX];
	struct cbor_writer w;
	struct request r;
	enum exit_status st;

	request_begin(&r);
	st = client_request(c, CLIENT_WRITE, GROUP_SESSION, SESSION_CHALLENGE, &r, reply);
	if (st != EXIT_OK)
		return st;
	cbor_writer_init(&w, message, sizeof message);
	if (!make_message(key, *reply, &w))
		return EXIT_USAGE;
	request_begin(&r);
	request_bytes(&r, "message", message, w.len);
	return client_request(c, CLIENT_WRITE, GROUP_SESSION, SESSION_LOGIN, &r, reply);
}

static bool log_in_again(struct client *c)
{
	struct cbor_value reply;

	return answer(c, c->key, &reply) == EXIT_OK;
}

static void forget_key(struct client *c)
{
	keyfile_free(c->key);
	c->key = NULL;
	c->log_in = NULL;
}

static enum exit_status log_in(struct client *c, const char *path, struct cbor_value *reply)
{
	struct keyfile *key = keyfile_read_private(path);
	enum exit_status st = key ? answer(c, key, reply) : EXIT_USAGE;

	forget_key(c);
	if (st == EXIT_OK) {
		c->key = key;
		c->log_in = log_in_again;
	} else {
		keyfile_free(key);
	}
	return st;
}

enum exit_status session_log_in(struct client *c, const char *path)
{
	struct cbor_value reply;

	return log_in(c, path, &reply);
}

void session_log_out(struct client *c)
{
	struct cbor_value reply;
	struct request r;
	bool json = c->json;

	forget_key(c);
	c->quiet = true;
	c->json = false;
	request_begin(&r);
	(void)client_request(c, CLIENT_WRITE, GROUP_SESSION, SESSION_LOGOUT, &r, &reply);
	c->quiet = false;
	c->json = json;
}

void session_greet(struct client *c)
{
	struct cbor_value reply;
	enum exit_status st;
	char text[TEXT_MAX * 2];
	struct request r;

	c->quiet = true;
	request_begin(&r);
	st = client_request(c, CLIENT_READ, GROUP_SESSION, SESSION_WHOAMI, &r, &reply);
	c->quiet = false;
	if (st == EXIT_DENIED)
		puts("A login is needed: login FILE, where FILE is the private key.");
	if (st != EXIT_OK || reply_has(reply, "name"))
		return;
	reply_text(reply, "trust", text, sizeof text);
	show_clean(stdout, text, strlen(text));
	putchar('\n');
}

/* ---- who is there ---- */

enum exit_status session_login(struct client *c, int argc, char **argv)
{
	struct cbor_value reply;
	enum exit_status st = log_in(c, argv[0], &reply);

	(void)argc;
	if (st == EXIT_OK && !reply_as_json(c, reply))
		show_pairs(stdout, reply, 0);
	return st;
}

enum exit_status session_logout(struct client *c, int argc, char **argv)
{
	struct request r;

	(void)argc;
	(void)argv;
	forget_key(c);
	request_begin(&r);
	return request_show(c, CLIENT_WRITE, GROUP_SESSION, SESSION_LOGOUT, &r);
}

enum exit_status session_whoami(struct client *c, int argc, char **argv)
{
	struct request r;

	(void)argc;
	(void)argv;
	request_begin(&r);
	return request_show(c, CLIENT_READ, GROUP_SESSION, SESSION_WHOAMI, &r);
}

/* ---- keys ---- */

static void print_hex(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		printf("%02x", bytes[i]);
}

enum exit_status session_keygen(struct client *c, int argc, char **argv)
{
	uint8_t point[KEYFILE_POINT], thumbprint[KEYFILE_THUMBPRINT];

	(void)argc;
	if (!keyfile_make(argv[0], point))
		return EXIT_USAGE;
	keyfile_thumbprint(point, thumbprint);
	fputs(c->json ? "{\"thumbprint\": \"" : "thumbprint ", stdout);
	print_hex(thumbprint, sizeof thumbprint);
	puts(c->json ? "\"}" : "");
	return EXIT_OK;
}

static void key_row(struct cbor_value key, void *ctx)
{
	char name[NAME_MAX], role[NAME_MAX], vm[NAME_MAX];
	const uint8_t *bytes = NULL;
	struct client *c = ctx;
	struct cbor_value v;
	struct cbor_iter it;
	const char *text;
	size_t len = 0;

	if (reply_as_json(c, key))
		return;
	reply_text(key, "name", name, sizeof name);
	reply_text(key, "role", role, sizeof role);
	printf("%-20s %-9s ", name, role);
	if (cbor_find(key, "thumbprint", &v) && cbor_get_bytes(v, &bytes, &len))
		print_hex(bytes, MIN(len, 8u));
	for (bool any = reply_list(key, "vms", &it); any && cbor_next(&it, &v);) {
		if (!cbor_get_text(v, &text, &len))
			continue;
		snprintf(vm, sizeof vm, " %.*s", (int)MIN(len, sizeof vm - 2), text);
		show_clean(stdout, vm, strlen(vm));
	}
	putchar('\n');
}

enum exit_status session_key_list(struct client *c, int argc, char **argv)
{
	struct page_list list = {.group = GROUP_SESSION, .command = SESSION_KEYS, .key = "keys", .each = key_row, .ctx = c};

	(void)argc;
	(void)argv;
	if (!c->json)
		printf("%-20s %-9s %-16s %s\n", "name", "role", "thumbprint", "VMs");
	return page_list_read(c, &list);
}

enum exit_status session_key_add(struct client *c, int argc, char **argv)
{
	uint8_t point[KEYFILE_POINT];
	struct cbor_mark list;
	struct request r;

	if (!keyfile_read_public(argv[2], point))
		return EXIT_USAGE;
	request_begin(&r);
	request_text(&r, "name", argv[0]);
	request_text(&r, "role", argv[1]);
	request_bytes(&r, "key", point, sizeof point);
	if (argc > 3) {
		cbor_put_text(&r.w, "vms");
		list = cbor_open(&r.w);
		for (int i = 3; i < argc; i++)
			cbor_put_text(&r.w, argv[i]);
		cbor_close_array(&r.w, list);
	}
	return request_show(c, CLIENT_WRITE, GROUP_SESSION, SESSION_ENROLL, &r);
}

enum exit_status session_key_remove(struct client *c, int argc, char **argv)
{
	struct request r;

	(void)argc;
	request_begin(&r);
	request_text(&r, "name", argv[0]);
	return request_show(c, CLIENT_WRITE, GROUP_SESSION, SESSION_REVOKE, &r);
}

enum exit_status session_trust(struct client *c, int argc, char **argv)
{
	struct request r;

	request_begin(&r);
	if (argc == 0)
		return request_show(c, CLIENT_READ, GROUP_SESSION, SESSION_TRUST, &r);
	if (strcmp(argv[0], "on") != 0 && strcmp(argv[0], "off") != 0) {
		complain("trust is on or off, not %s", argv[0]);
		return EXIT_USAGE;
	}
	cbor_put_text(&r.w, "on");
	cbor_put_bool(&r.w, strcmp(argv[0], "on") == 0);
	return request_show(c, CLIENT_WRITE, GROUP_SESSION, SESSION_TRUST, &r);
}

/* ---- audit ---- */

/* " NAME: text" when there is one. */
static void audit_text(struct cbor_value entry, const char *key, const char *before)
{
	char text[TEXT_MAX];

	reply_text(entry, key, text, sizeof text);
	if (!text[0])
		return;
	fputs(before, stdout);
	show_clean(stdout, text, strlen(text));
}

static void audit_row(struct cbor_value entry, void *ctx)
{
	time_t when = (time_t)reply_uint(entry, "time");
	uint64_t ns = reply_uint(entry, "time_ns");
	char time_text[TIME_MAX] = "-", who[NAME_MAX], what[NAME_MAX];
	const struct client *c = ctx;
	struct tm tm;

	if (reply_as_json(c, entry))
		return;
	if (when && gmtime_r(&when, &tm))
		strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	reply_text(entry, "who", who, sizeof who);
	reply_text(entry, "what", what, sizeof what);
	printf("%6llu  %-20s %6llu.%03u  %-12s %-16s", (unsigned long long)reply_uint(entry, "seq"), time_text,
	       (unsigned long long)(ns / NS_PER_S), (unsigned)(ns % NS_PER_S / 1000000), who, what);
	audit_text(entry, "on", " ");
	if (reply_has(entry, "before") || reply_has(entry, "after")) {
		audit_text(entry, "before", "  was ");
		audit_text(entry, "after", "  now ");
	}
	audit_text(entry, "failed", "  REFUSED: ");
	if (reply_has(entry, "count"))
		printf("  (%llu times)", (unsigned long long)reply_uint(entry, "count"));
	putchar('\n');
}

enum exit_status session_audit(struct client *c, int argc, char **argv)
{
	const struct page_list list = {
		.group = GROUP_SESSION, .command = SESSION_AUDIT, .key = "entries", .cursor = "from",
		.first = argc > 0 ? strtoull(argv[0], NULL, 10) : 0, .each = audit_row, .ctx = c,
	};

	return page_list_read(c, &list);
}
