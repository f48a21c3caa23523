/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scripts and generations: plan, apply, run, rollback, and what there is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "tools/commands.h"
#include "tools/reply.h"
#include "tools/show.h"

#define APPLY_TIMEOUT_MS 120000 /* it may start VMs, which loads their images */

static enum exit_status show(struct client *c, enum client_op op, unsigned command, struct request *r,
			     void (*print)(struct cbor_value reply))
{
	struct cbor_value reply;
	int patience = c->timeout_ms;
	enum exit_status st;

	if (op == CLIENT_WRITE)
		c->timeout_ms = MAX(patience, APPLY_TIMEOUT_MS);
	st = client_request(c, op, GROUP_POLICY, command, r, &reply);
	c->timeout_ms = patience;
	if (st != EXIT_OK)
		return st;
	if (!reply_as_json(c, reply) && print)
		print(reply);
	return EXIT_OK;
}

/* ---- what a plan says ---- */

/* @what: "vm", "pool" */
static void print_names(struct cbor_value reply, const char *key, const char *mark, const char *what)
{
	struct cbor_value v;
	struct cbor_iter it;
	const char *text;
	size_t len;

	if (!reply_list(reply, key, &it))
		return;
	while (cbor_next(&it, &v))
		if (cbor_get_text(v, &text, &len))
			printf("%s %s %.*s\n", mark, what, (int)len, text);
}

static void print_changed(struct cbor_value reply, const char *what)
{
	struct cbor_iter it, keys;
	struct cbor_value v, key;
	char name[40];
	const char *text;
	size_t len;

	if (!reply_list(reply, "changed", &it))
		return;
	while (cbor_next(&it, &v)) {
		reply_text(v, "name", name, sizeof name);
		printf("~ %s %s:", what, name);
		if (reply_list(v, "settings", &keys))
			while (cbor_next(&keys, &key))
				if (cbor_get_text(key, &text, &len))
					printf(" %.*s", (int)len, text);
		putchar('\n');
	}
}

static void print_settings(struct cbor_value reply)
{
	char path[128], value[64];
	struct cbor_iter it;
	struct cbor_value v;

	if (!reply_list(reply, "settings", &it))
		return;
	while (cbor_next(&it, &v)) {
		reply_text(v, "path", path, sizeof path);
		reply_text(v, "value", value, sizeof value);
		printf("~ %s = %s\n", path, value);
	}
}

static void print_dropped(struct cbor_value reply)
{
	struct cbor_iter it;
	struct cbor_value v;

	if (!reply_list(reply, "dropped", &it))
		return;
	while (cbor_next(&it, &v)) {
		char path[100], value[40], origin[16];

		reply_text(v, "path", path, sizeof path);
		reply_text(v, "value", value, sizeof value);
		reply_text(v, "origin", origin, sizeof origin);
		printf("- %s: back to %s, %s\n", path, value, origin);
	}
}

/* What is in the map @key. */
static void print_part(struct cbor_value reply, const char *key, const char *what)
{
	struct cbor_value part;

	if (!cbor_find(reply, key, &part))
		return;
	print_names(part, "added", "+", what);
	print_changed(part, what);
	print_names(part, "removed", "-", what);
}

static void print_plan(struct cbor_value reply)
{
	print_part(reply, "pools", "pool");
	print_part(reply, "networks", "network");
	print_names(reply, "volumes", "+", "volume");
	print_names(reply, "added", "+", "vm");
	print_changed(reply, "vm");
	print_names(reply, "removed", "-", "vm");
	print_settings(reply);
	print_dropped(reply);
	printf("%llu hooks\n", (unsigned long long)reply_uint(reply, "hooks"));
}

static const char *start_words(struct cbor_value vm, const char *error)
{
	if (error[0])
		return "not started:";
	return reply_has(vm, "waits") ? "starts when its volumes are made:" : "started";
}

static void print_applied(struct cbor_value reply)
{
	struct cbor_value v, kept;
	struct cbor_iter it;
	bool yes = true;

	print_plan(reply);
	if (reply_list(reply, "started", &it)) {
		while (cbor_next(&it, &v)) {
			char name[40], error[256];

			reply_text(v, "name", name, sizeof name);
			reply_text(v, "error", error, sizeof error);
			printf("%s %s%s%s\n", start_words(v, error), name, error[0] ? ": " : "", error);
		}
	}
	printf("generation %llu is in force\n", (unsigned long long)reply_uint(reply, "generation"));
	if (cbor_find(reply, "kept", &kept) && cbor_get_bool(kept, &yes) && !yes)
		puts("there is no writable store: it ends with this start of the machine");
}

static void print_run(struct cbor_value reply)
{
	uint64_t hooks = reply_uint(reply, "hooks");

	if (hooks)
		printf("it stays, with %llu hooks\n", (unsigned long long)hooks);
}

/* ---- a text for the machine ---- */

/* FILE of this computer, or :NAME in the store. */
static enum exit_status send_text(struct client *c, unsigned command, const char *path,
				  void (*print)(struct cbor_value reply))
{
	struct request r;

	request_begin(&r);
	if (path[0] == ':')
		request_text(&r, "file", path + 1);
	else if (!request_lua_text(&r, path))
		return EXIT_USAGE;
	return show(c, CLIENT_WRITE, command, &r, print);
}

enum exit_status policy_plan(struct client *c, int argc, char **argv)
{
	(void)argc;
	return send_text(c, POLICY_PLAN, argv[0], print_plan);
}

enum exit_status policy_apply(struct client *c, int argc, char **argv)
{
	(void)argc;
	return send_text(c, POLICY_APPLY, argv[0], print_applied);
}

enum exit_status policy_run(struct client *c, int argc, char **argv)
{
	(void)argc;
	return send_text(c, POLICY_RUN, argv[0], print_run);
}

enum exit_status policy_stop(struct client *c, int argc, char **argv)
{
	struct request r;

	(void)argc;
	request_begin(&r);
	request_text(&r, "name", argv[0]);
	return show(c, CLIENT_WRITE, POLICY_STOP, &r, NULL);
}

enum exit_status policy_rollback(struct client *c, int argc, char **argv)
{
	char *end;
	unsigned long long number = strtoull(argv[0], &end, 10);
	struct request r;

	(void)argc;
	if (*end || end == argv[0]) {
		complain("rollback takes the number of a generation, not %s", argv[0]);
		return EXIT_USAGE;
	}
	request_begin(&r);
	request_uint(&r, "number", number);
	return show(c, CLIENT_WRITE, POLICY_ROLLBACK, &r, print_applied);
}

/* ---- what there is ---- */

static void print_scripts(struct cbor_value reply)
{
	struct cbor_iter it;
	struct cbor_value v;

	printf("%-24s %-9s %10s %5s %11s %9s %9s\n", "script", "state", "generation", "hooks", "quarantined", "heap",
	       "peak");
	if (!reply_list(reply, "scripts", &it))
		return;
	while (cbor_next(&it, &v)) {
		char name[72], state[16], used[24], peak[24];

		reply_text(v, "name", name, sizeof name);
		reply_text(v, "state", state, sizeof state);
		printf("%-24s %-9s %10llu %5llu %11llu %9s %9s\n", name, state,
		       (unsigned long long)reply_uint(v, "generation"), (unsigned long long)reply_uint(v, "hooks"),
		       (unsigned long long)reply_uint(v, "quarantined"),
		       show_bytes(reply_uint(v, "heap_used"), used, sizeof used),
		       show_bytes(reply_uint(v, "heap_peak"), peak, sizeof peak));
	}
}

static void print_hooks(struct cbor_value reply)
{
	struct cbor_iter it;
	struct cbor_value v;

	printf("%3s  %-24s %-20s %8s %8s %10s\n", "", "where", "when", "runs", "failures", "most steps");
	if (!reply_list(reply, "hooks", &it))
		return;
	while (cbor_next(&it, &v)) {
		char where[56], when[40], period[24];
		struct cbor_value q;
		bool quarantined = false;

		reply_text(v, "where", where, sizeof where);
		reply_text(v, "event", when, sizeof when);
		if (!when[0])
			snprintf(when, sizeof when, "every %s", show_ns(reply_uint(v, "period_ns"), period, sizeof period));
		if (cbor_find(v, "quarantined", &q))
			cbor_get_bool(q, &quarantined);
		printf("%3llu  %-24s %-20s %8llu %8llu %10llu%s\n", (unsigned long long)reply_uint(v, "number"), where,
		       when, (unsigned long long)reply_uint(v, "runs"), (unsigned long long)reply_uint(v, "failures"),
		       (unsigned long long)reply_uint(v, "most_steps"), quarantined ? "  quarantined" : "");
	}
}

enum exit_status policy_scripts(struct client *c, int argc, char **argv)
{
	struct request r;

	request_begin(&r);
	if (argc == 0)
		return show(c, CLIENT_READ, POLICY_SCRIPTS, &r, print_scripts);
	request_text(&r, "name", argv[0]);
	return show(c, CLIENT_READ, POLICY_HOOKS, &r, print_hooks);
}

static void print_generations(struct cbor_value reply)
{
	uint64_t current = reply_uint(reply, "current"), good = reply_uint(reply, "good");
	struct cbor_iter it;
	struct cbor_value v;

	if (current == 0)
		puts("in force: the seed's boot.lua");
	if (!reply_list(reply, "generations", &it))
		return;
	while (cbor_next(&it, &v)) {
		uint64_t n = reply_uint(v, "number");
		char origin[64], size[24];

		reply_text(v, "origin", origin, sizeof origin);
		printf("%5llu  %-32s %10s%s%s\n", (unsigned long long)n, origin,
		       show_bytes(reply_uint(v, "size"), size, sizeof size), n == current ? "  in force" : "",
		       n == good ? "  good" : "");
	}
}

enum exit_status policy_generations(struct client *c, int argc, char **argv)
{
	struct request r;

	(void)argc;
	(void)argv;
	request_begin(&r);
	return show(c, CLIENT_READ, POLICY_GENERATIONS, &r, print_generations);
}
