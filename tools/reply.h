/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small parts for reading replies: fields of a map by name, lists that come in
 * pages, and a whole reply as JSON where that was asked for.
 */
#ifndef CORBEL_TOOLS_REPLY_H
#define CORBEL_TOOLS_REPLY_H

#include "tools/client.h"

/* Text of @key in @map into @out, cut to @size; "" when there is none. */
void reply_text(struct cbor_value map, const char *key, char *out, size_t size);
/* Number of @key in @map; 0 when there is none. */
uint64_t reply_uint(struct cbor_value map, const char *key);
bool reply_has(struct cbor_value map, const char *key);
/* Starts on the array @key of @map; false when there is none. */
bool reply_list(struct cbor_value map, const char *key, struct cbor_iter *it);
/* With --json prints @v as one line of JSON and is true; else it is the caller's to show it. */
bool reply_as_json(const struct client *c, struct cbor_value v);

/*
 * Reads a list page by page: @fill puts the request's own arguments, and @each takes every entry of the array @key,
 * which is valid only within the call. Stops at the first trouble, which has been explained.
 */
struct page_list {
	unsigned group, command;
	const char *key;
	void (*fill)(struct request *r, void *ctx); /* may be NULL */
	void (*each)(struct cbor_value entry, void *ctx);
	void *ctx;
};
enum exit_status page_list_read(struct client *c, const struct page_list *list);

#endif
