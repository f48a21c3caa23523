/* SPDX-License-Identifier: Apache-2.0 */
/* A missing field reads as nothing: a newer or older machine is no reason to stop. */
#include "tools/reply.h"

#include <stdio.h>

#include "lib/bits.h"
#include "tools/show.h"

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

enum exit_status page_list_read(struct client *c, const struct page_list *list)
{
	uint64_t after = 0;

	do {
		struct cbor_value reply, entry;
		enum exit_status st;
		struct cbor_iter it;
		struct request r;

		request_begin(&r);
		if (list->fill)
			list->fill(&r, list->ctx);
		if (after)
			request_uint(&r, "after", after);
		st = client_request(c, CLIENT_READ, list->group, list->command, &r, &reply);
		if (st != EXIT_OK)
			return st;
		if (reply_list(reply, list->key, &it))
			while (cbor_next(&it, &entry))
				list->each(entry, list->ctx);
		after = reply_uint(reply, "next");
	} while (after != 0);
	return EXIT_OK;
}
