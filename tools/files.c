/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's files by name: ls and rm. A colon in front of a name, as cp wants
 * it, is taken off here too.
 */
#include <stdio.h>
#include <string.h>

#include "tools/commands.h"
#include "tools/reply.h"
#include "tools/show.h"

#define NAME_SIZE 257

/* A name in the store as it is typed, less the colon that marks it. */
static char *file_name(char *word)
{
	return word + (word[0] == ':');
}

static void put_prefix(struct request *r, void *ctx)
{
	const char *prefix = ctx;

	if (prefix)
		request_text(r, "prefix", prefix);
}

static void list_row(struct cbor_value file, void *ctx)
{
	char name[NAME_SIZE], size[24];

	(void)ctx;
	reply_text(file, "name", name, sizeof name);
	printf("%10s  ", show_bytes(reply_uint(file, "size"), size, sizeof size));
	show_clean(stdout, name, strlen(name));
	puts(reply_has(file, "seed") ? "  (seed)" : "");
}

enum exit_status files_list(struct client *c, int argc, char **argv)
{
	const struct page_list list = {
		.group = GROUP_STORE, .command = STORE_LIST, .key = "files", .fill = put_prefix, .each = list_row,
		.ctx = argc > 0 ? file_name(argv[0]) : NULL,
	};

	return page_list_show(c, &list);
}

enum exit_status files_store_info(struct client *c, int argc, char **argv)
{
	struct request r;

	(void)argc;
	(void)argv;
	request_begin(&r);
	return request_show(c, CLIENT_READ, GROUP_STORE, STORE_INFO, &r);
}

enum exit_status files_store_format(struct client *c, int argc, char **argv)
{
	struct request r;

	request_begin(&r);
	if (argc > 0)
		request_text(&r, "confirm", argv[0]);
	return request_show(c, CLIENT_WRITE, GROUP_STORE, STORE_FORMAT, &r);
}

enum exit_status files_remove(struct client *c, int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		argv[i] = file_name(argv[i]);
	return request_each(c, GROUP_STORE, STORE_DELETE, argc, argv);
}
