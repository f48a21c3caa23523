/* SPDX-License-Identifier: Apache-2.0 */
/* A missing field reads as nothing: a newer or older machine is no reason to stop. */
#include "tools/reply.h"

#include <stdio.h>
#include <string.h>

#include "lib/bits.h"
#include "tools/show.h"

#define CURSOR_MAX 300 /* of a file's name in CBOR, the longest that there is */

void reply_text(struct cbor_value map, const char *key, char *out, size_t size)
{
	struct cbor_value v;
	const char *text = "";
	size_t len = 0;

	if (cbor_find(map, key, &v))
		cbor_get_text(v, &text, &len);
	snprintf(out, size, "%.*s", (int)MIN(len, size - 1), text);
}

uint64_t reply_uint(struct cbor_value map, const char *key)
{
	struct cbor_value v;
	uint64_t n = 0;

	if (cbor_find(map, key, &v))
		cbor_get_uint(v, &n);
	return n;
}

bool reply_has(struct cbor_value map, const char *key)
{
	struct cbor_value v;

	return cbor_find(map, key, &v);
}

bool reply_list(struct cbor_value map, const char *key, struct cbor_iter *it)
{
	struct cbor_value v;

	return cbor_find(map, key, &v) && cbor_type_of(v) == CBOR_ARRAY && cbor_iterate(v, it);
}

bool reply_as_json(const struct client *c, struct cbor_value v)
{
	if (!c->json)
		return false;
	show_json(stdout, v);
	putchar('\n');
	return true;
}

enum exit_status request_show(struct client *c, enum client_op op, unsigned group, unsigned command, struct request *r)
{
	struct cbor_value reply;
	enum exit_status st = client_request(c, op, group, command, r, &reply);

	if (st == EXIT_OK && !reply_as_json(c, reply))
		show_pairs(stdout, reply, 0);
	return st;
}

enum exit_status request_do(struct client *c, unsigned group, unsigned command, struct request *r)
{
	struct cbor_value reply;
	enum exit_status st = client_request(c, CLIENT_WRITE, group, command, r, &reply);

	if (st == EXIT_OK)
		(void)reply_as_json(c, reply);
	return st;
}

enum exit_status request_each(struct client *c, unsigned group, unsigned command, int argc, char **argv)
{
	enum exit_status st = EXIT_OK;

	for (int i = 0; i < argc && st == EXIT_OK; i++) {
		struct request r;

		request_begin(&r);
		request_text(&r, "name", argv[i]);
		st = request_do(c, group, command, &r);
	}
	return st;
}

/* ---- lists ---- */

/* Where the next page begins: a number or a name, kept as the machine said it. */
struct cursor {
	uint8_t item[CURSOR_MAX];
	size_t len; /* 0: there is no further page */
};

static void cursor_set(struct cursor *cursor, uint64_t first)
{
	struct cbor_writer w;

	cbor_writer_init(&w, cursor->item, sizeof cursor->item);
	if (first)
		cbor_put_uint(&w, first);
	cursor->len = w.len;
}

static void cursor_take(struct cursor *cursor, struct cbor_value reply)
{
	struct cbor_value next;
	size_t len;

	cursor->len = 0;
	if (!cbor_find(reply, "next", &next) || cbor_check(next.at, (size_t)(next.end - next.at), &len) != ST_OK ||
	    len > sizeof cursor->item)
		return;
	memcpy(cursor->item, next.at, len);
	cursor->len = len;
}

static enum exit_status read_pages(struct client *c, const struct page_list *list,
				   void (*each)(struct cbor_value entry, void *ctx), void *ctx)
{
	struct cursor cursor;

	cursor_set(&cursor, list->first);
	do {
		struct cbor_value reply, entry;
		enum exit_status st;
		struct cbor_iter it;
		struct request r;

		request_begin(&r);
		if (list->fill)
			list->fill(&r, list->ctx);
		if (cursor.len) {
			cbor_put_text(&r.w, list->cursor ? list->cursor : "after");
			cbor_put_raw(&r.w, cursor.item, cursor.len);
		}
		st = client_request(c, CLIENT_READ, list->group, list->command, &r, &reply);
		if (st != EXIT_OK)
			return st;
		if (reply_list(reply, list->key, &it))
			while (cbor_next(&it, &entry))
				each(entry, ctx);
		cursor_take(&cursor, reply);
	} while (cursor.len);
	return EXIT_OK;
}

enum exit_status page_list_read(struct client *c, const struct page_list *list)
{
	return read_pages(c, list, list->each, list->ctx);
}

struct json_rows {
	const char *key;
	unsigned shown;
};

/* The object is opened by its first entry: of a list that was refused only the error is printed. */
static void json_row(struct cbor_value entry, void *ctx)
{
	struct json_rows *rows = ctx;

	if (rows->shown++)
		fputs(", ", stdout);
	else
		printf("{\"%s\": [", rows->key);
	show_json(stdout, entry);
}

enum exit_status page_list_show(struct client *c, const struct page_list *list)
{
	struct json_rows rows = {.key = list->key};
	enum exit_status st;

	if (!c->json)
		return page_list_read(c, list);
	st = read_pages(c, list, json_row, &rows);
	if (rows.shown)
		puts("]}");
	else if (st == EXIT_OK)
		printf("{\"%s\": []}\n", rows.key);
	return st;
}
