/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small parts for reading replies: fields of a map by name, lists that come in
 * pages, and a whole reply as JSON where that was asked for. Commands whose reply
 * needs no more than that are one call.
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

/* Sends @r and shows its reply: with --json as it is, else its pairs by name. */
enum exit_status request_show(struct client *c, enum client_op op, unsigned group, unsigned command, struct request *r);
/* Writes @r, whose reply is shown only with --json. */
enum exit_status request_do(struct client *c, unsigned group, unsigned command, struct request *r);
/* The same on each name in @argv; the first failure ends it. */
enum exit_status request_each(struct client *c, unsigned group, unsigned command, int argc, char **argv);

/*
 * Reads a list page by page: @fill puts the request's own arguments, and @each takes every entry of the array @key,
 * which is valid only within the call. Stops at the first trouble, which has been explained.
 */
struct page_list {
	unsigned group, command;
	const char *key;
	const char *cursor; /* the argument that takes the reply's "next"; NULL: "after" */
	uint64_t first;     /* its value for the first page; 0: none */
	void (*fill)(struct request *r, void *ctx); /* may be NULL */
	void (*each)(struct cbor_value entry, void *ctx);
	void *ctx;
};
enum exit_status page_list_read(struct client *c, const struct page_list *list);
/* The same for people; with --json it prints the whole list as one object instead, its entries as they are. */
enum exit_status page_list_show(struct client *c, const struct page_list *list);

#endif
