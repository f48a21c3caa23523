/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's files by name: ls and rm. A colon in front of a name, as cp wants
 * it, is taken off here too.
 */
#include <stdio.h>
#include <string.h>

#include "tools/commands.h"
#include "tools/copy.h"
#include "tools/reply.h"
#include "tools/show.h"

#define NAME_SIZE 257

const char *file_name(const char *word)
{
	return word + (word[0] == ':');
}

struct listing {
	struct client *c;
	const char *prefix;
	char after[NAME_SIZE];
	unsigned shown;
};

static void list_row(struct listing *l, struct cbor_value file)
{
	char name[NAME_SIZE], size[24];

	if (l->c->json) {
		fputs(l->shown++ ? ", " : "", stdout);
		show_json(stdout, file);
		return;
	}
	reply_text(file, "name", name, sizeof name);
	printf("%10s  ", show_bytes(reply_uint(file, "size"), size, sizeof size));
	show_clean(stdout, name, strlen(name));
	puts(reply_has(file, "seed") ? "  (seed)" : "");
}

static enum exit_status list_page(struct listing *l)
{
	struct cbor_value reply, file;
	enum exit_status st;
	struct cbor_iter it;
	struct request r;

	request_begin(&r);
	if (l->prefix)
		request_text(&r, "prefix", l->prefix);
	if (l->after[0])
		request_text(&r, "after", l->after);
	st = client_request(l->c, CLIENT_READ, GROUP_STORE, STORE_LIST, &r, &reply);
	if (st != EXIT_OK)
		return st;
	if (reply_list(reply, "files", &it))
		while (cbor_next(&it, &file))
			list_row(l, file);
	reply_text(reply, "next", l->after, sizeof l->after);
	return EXIT_OK;
}

enum exit_status files_list(struct client *c, int argc, char **argv)
{
	struct listing l = {.c = c, .prefix = argc > 0 ? file_name(argv[0]) : NULL};
	enum exit_status st;

	if (c->json)
		fputs("{\"files\": [", stdout);
	do {
		st = list_page(&l);
	} while (st == EXIT_OK && l.after[0]);
	if (c->json)
		puts("]}");
	return st;
}

/* The reply to a request of the group, as it is. */
static enum exit_status show_reply(struct client *c, enum client_op op, unsigned command, struct request *r)
{
	struct cbor_value reply;
	enum exit_status st = client_request(c, op, GROUP_STORE, command, r, &reply);

	if (st == EXIT_OK && !reply_as_json(c, reply))
		show_pairs(stdout, reply, 0);
	return st;
}

enum exit_status files_store_info(struct client *c, int argc, char **argv)
{
	struct request r;

	(void)argc;
	(void)argv;
	request_begin(&r);
	return show_reply(c, CLIENT_READ, STORE_INFO, &r);
}

enum exit_status files_store_format(struct client *c, int argc, char **argv)
{
	struct request r;

	request_begin(&r);
	if (argc > 0)
		request_text(&r, "confirm", argv[0]);
	return show_reply(c, CLIENT_WRITE, STORE_FORMAT, &r);
}

enum exit_status files_remove(struct client *c, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		struct cbor_value reply;
		enum exit_status st;
		struct request r;

		request_begin(&r);
		request_text(&r, "name", file_name(argv[i]));
		st = client_request(c, CLIENT_WRITE, GROUP_STORE, STORE_DELETE, &r, &reply);
		if (st != EXIT_OK)
			return st;
		if (c->json)
			puts("{}");
	}
	return EXIT_OK;
}
