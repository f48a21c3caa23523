/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: a table of them, one of them, and what makes, copies and removes them. What
 * takes time is followed until it has ended, with a bar on the error stream; it goes on
 * by itself when nobody follows.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/bits.h"
#include "lib/measure.h"
#include "tools/commands.h"
#include "tools/progress.h"
#include "tools/reply.h"
#include "tools/show.h"

#define NAME_SIZE 72
#define LOOK_US 100000u   /* between two looks at a job */
#define CLUSTER_BYTES 65536u
#define RC_OTHER 1        /* for errors of jobs in JSON: the protocol's "unknown" */

/* ---- list, show ---- */

static void print_row(struct cbor_value v)
{
	char name[NAME_SIZE], kind[16], user[NAME_SIZE], below[NAME_SIZE], size[24], own[24], state[16];

	reply_text(v, "name", name, sizeof name);
	reply_text(v, "kind", kind, sizeof kind);
	reply_text(v, "user", user, sizeof user);
	reply_text(v, "state", state, sizeof state);
	reply_text(v, reply_has(v, "parent") ? "parent" : "base", below, sizeof below);
	printf("%-24s %-10s %10s %10s %-9s %-16s %s\n", name, kind, show_bytes(reply_uint(v, "bytes"), size, sizeof size),
	       reply_has(v, "own_bytes") ? show_bytes(reply_uint(v, "own_bytes"), own, sizeof own) : "",
	       state[0] ? state : reply_has(v, "divided") ? "pool" : reply_has(v, "readonly") ? "readonly" : "", below, user);
}

/* One page; @after becomes the next one's cursor, "" past the last. */
static enum exit_status list_page(struct client *c, char after[NAME_SIZE], bool *first)
{
	struct cbor_value reply, v;
	enum exit_status st;
	struct cbor_iter it;
	struct request r;

	request_begin(&r);
	if (after[0])
		request_text(&r, "after", after);
	st = client_request(c, CLIENT_READ, GROUP_VOLUME, VOLUME_CMD_LIST, &r, &reply);
	if (st != EXIT_OK)
		return st;
	reply_text(reply, "next", after, NAME_SIZE);
	if (!reply_list(reply, "volumes", &it))
		return EXIT_OK;
	while (cbor_next(&it, &v)) {
		if (c->json) {
			fputs(*first ? "{\"volumes\": [" : ", ", stdout);
			show_json(stdout, v);
		} else {
			if (*first)
				printf("%-24s %-10s %10s %10s %-9s %-16s %s\n", "volume", "kind", "size", "own", "state",
				       "stands on", "used by");
			print_row(v);
		}
		*first = false;
	}
	return EXIT_OK;
}

enum exit_status volume_list(struct client *c, int argc, char **argv)
{
	char after[NAME_SIZE] = "";
	enum exit_status st;
	bool first = true;

	(void)argc;
	(void)argv;
	do {
		st = list_page(c, after, &first);
	} while (st == EXIT_OK && after[0]);
	if (c->json && (st == EXIT_OK || !first))
		puts(first ? "{\"volumes\": []}" : "]}");
	return st;
}

enum exit_status volume_show(struct client *c, int argc, char **argv)
{
	struct cbor_value reply;
	enum exit_status st;
	struct request r;

	(void)argc;
	request_begin(&r);
	request_text(&r, "volume", argv[0]);
	st = client_request(c, CLIENT_READ, GROUP_VOLUME, VOLUME_CMD_SHOW, &r, &reply);
	if (st == EXIT_OK && !reply_as_json(c, reply))
		show_pairs(stdout, reply, 0);
	return st;
}

/* ---- jobs ---- */

static enum exit_status look(struct client *c, uint64_t job, struct cbor_value *out)
{
	struct request r;

	request_begin(&r);
	request_uint(&r, "job", job);
	return client_request(c, CLIENT_READ, GROUP_VOLUME, VOLUME_CMD_JOB, &r, out);
}

static bool is_done(struct cbor_value job)
{
	struct cbor_value v;
	bool done = false;

	return cbor_find(job, "done", &v) && cbor_get_bool(v, &done) && done;
}

/* How a job ended, in the way of all replies. */
static enum exit_status ended(struct client *c, struct cbor_value job)
{
	char why[256];

	reply_text(job, "error", why, sizeof why);
	if (!why[0]) {
		(void)reply_as_json(c, job);
		return EXIT_OK;
	}
	if (c->json)
		show_json_error(RC_OTHER, why, strlen(why));
	complain("%s", why);
	return EXIT_REFUSED;
}

/* Imports count bytes, the others clusters. */
static enum exit_status follow(struct client *c, uint64_t job, const char *what, bool bytes)
{
	uint64_t unit = bytes ? 1 : CLUSTER_BYTES, at = 0;
	struct progress bar;
	bool begun = false;

	for (;;) {
		struct cbor_value reply;
		enum exit_status st = look(c, job, &reply);
		uint64_t total;

		if (st != EXIT_OK)
			return st;
		total = reply_uint(reply, "steps_total");
		at = reply_uint(reply, "steps");
		if (total > 0 && !begun) {
			progress_begin(&bar, what, at * unit, total * unit, !c->json && !c->quiet);
			begun = true;
		}
		if (begun)
			progress_show(&bar, MIN(at, total) * unit);
		if (is_done(reply)) {
			if (begun)
				progress_end(&bar, MIN(at, total) * unit);
			return ended(c, reply);
		}
		usleep(LOOK_US);
	}
}

/* Sends @r; follows the job that it began, if any. */
static enum exit_status run(struct client *c, unsigned command, struct request *r, const char *what)
{
	struct cbor_value reply;
	enum exit_status st = client_request(c, CLIENT_WRITE, GROUP_VOLUME, command, r, &reply);

	if (st != EXIT_OK)
		return st;
	if (reply_has(reply, "job"))
		return follow(c, reply_uint(reply, "job"), what, command == VOLUME_CMD_IMPORT);
	(void)reply_as_json(c, reply);
	return EXIT_OK;
}

static enum exit_status simple(struct client *c, unsigned command, const char *volume, const char *name, const char *pool)
{
	struct request r;

	request_begin(&r);
	request_text(&r, "volume", volume);
	if (name)
		request_text(&r, "name", name);
	if (pool)
		request_text(&r, "pool", pool);
	return run(c, command, &r, name ? name : volume);
}

enum exit_status volume_clone(struct client *c, int argc, char **argv)
{
	(void)argc;
	return simple(c, VOLUME_CMD_CLONE, argv[0], argv[1], NULL);
}

enum exit_status volume_snapshot(struct client *c, int argc, char **argv)
{
	(void)argc;
	return simple(c, VOLUME_CMD_SNAPSHOT, argv[0], argv[1], NULL);
}

enum exit_status volume_merge(struct client *c, int argc, char **argv)
{
	(void)argc;
	return simple(c, VOLUME_CMD_MERGE, argv[0], NULL, NULL);
}

enum exit_status volume_import(struct client *c, int argc, char **argv)
{
	return simple(c, VOLUME_CMD_IMPORT, argv[0], argv[1], argc > 2 ? argv[2] : NULL);
}

enum exit_status volume_delete(struct client *c, int argc, char **argv)
{
	enum exit_status st = EXIT_OK;

	for (int i = 0; i < argc && st == EXIT_OK; i++)
		st = simple(c, VOLUME_CMD_DELETE, argv[i], NULL, NULL);
	return st;
}

enum exit_status volume_format(struct client *c, int argc, char **argv)
{
	struct request r;

	request_begin(&r);
	request_text(&r, "volume", argv[0]);
	if (argc > 1)
		request_text(&r, "confirm", argv[1]);
	return run(c, VOLUME_CMD_FORMAT, &r, argv[0]);
}

static bool read_number(const char *option, const char *text, enum measure measure, uint64_t *out)
{
	static const char *const examples[MEASURES] = {
		[MEASURE_COUNT] = "a number", [MEASURE_BYTES] = "a size such as 64MiB", [MEASURE_NS] = "a time such as 5ms",
	};

	if (measure_parse(measure, text, strlen(text), out))
		return true;
	complain("%s takes %s, not %s", option, examples[measure], text);
	return false;
}

enum exit_status volume_resize(struct client *c, int argc, char **argv)
{
	struct request r;
	uint64_t bytes;

	(void)argc;
	if (!read_number("resize", argv[1], MEASURE_BYTES, &bytes))
		return EXIT_USAGE;
	request_begin(&r);
	request_text(&r, "volume", argv[0]);
	request_uint(&r, "bytes", bytes);
	return run(c, VOLUME_CMD_RESIZE, &r, argv[0]);
}

static void print_job(struct cbor_value entry, void *ctx)
{
	char op[16], volume[NAME_SIZE], name[NAME_SIZE], error[128];
	uint64_t steps = reply_uint(entry, "steps"), total = reply_uint(entry, "steps_total");

	(void)ctx;
	reply_text(entry, "op", op, sizeof op);
	reply_text(entry, "volume", volume, sizeof volume);
	reply_text(entry, "name", name, sizeof name);
	reply_text(entry, "error", error, sizeof error);
	printf("%5llu  %-9s %-24s %-24s %3llu%%  %s\n", (unsigned long long)reply_uint(entry, "job"), op, volume, name,
	       (unsigned long long)(is_done(entry) && !error[0] ? 100 : total ? MIN(steps, total) * 100 / total : 0),
	       is_done(entry) ? error[0] ? error : "done" : "under way");
}

struct json_list {
	bool first;
};

static void print_json_job(struct cbor_value entry, void *ctx)
{
	struct json_list *list = ctx;

	fputs(list->first ? "" : ", ", stdout);
	show_json(stdout, entry);
	list->first = false;
}

enum exit_status volume_jobs(struct client *c, int argc, char **argv)
{
	struct json_list json = {.first = true};
	struct page_list pages = {
		.group = GROUP_VOLUME, .command = VOLUME_CMD_JOBS, .key = "jobs", .each = c->json ? print_json_job : print_job,
		.ctx = &json,
	};
	enum exit_status st;

	(void)argc;
	(void)argv;
	if (c->json)
		fputs("{\"jobs\": [", stdout);
	else
		printf("%5s  %-9s %-24s %-24s\n", "job", "what", "volume", "name");
	st = page_list_read(c, &pages);
	if (c->json)
		puts("]}");
	return st;
}

enum exit_status volume_cancel(struct client *c, int argc, char **argv)
{
	struct request r;
	uint64_t job;

	(void)argc;
	if (!read_number("cancel", argv[0], MEASURE_COUNT, &job))
		return EXIT_USAGE;
	request_begin(&r);
	request_uint(&r, "job", job);
	return run(c, VOLUME_CMD_CANCEL, &r, argv[0]);
}

/* ---- create, set ---- */

/* How an option's value is sent: as text, or as a number of its measure. */
struct option {
	const char *word, *key;
	bool text;
	enum measure measure;
	bool of_model; /* inside the map model */
};

static const struct option create_options[] = {
	{"--ram", "ram", false, MEASURE_BYTES, false},     {"--blob", "blob", true, 0, false},
	{"--qcow2", "qcow2", true, 0, false},              {"--beside", "beside", true, 0, false},
	{"--layer", "layer", true, 0, false},              {"--size", "size", false, MEASURE_BYTES, false},
	{"--base", "base", true, 0, false},                {"--model", "base", true, 0, true},
	{"--iops-max", "iops_max", false, MEASURE_COUNT, true}, {"--service", "service", false, MEASURE_NS, true},
	{"--depth", "depth", false, MEASURE_COUNT, true},
};

static const struct option set_options[] = {
	{"--depth", "depth_max", false, MEASURE_COUNT, false},
	{"--latency", "latency_ns", false, MEASURE_NS, false},
	{"--burst", "burst", false, MEASURE_COUNT, false},
};

struct given {
	const struct option *option;
	const char *text;
	uint64_t number;
};

#define GIVEN_MAX 16

/* Reads pairs of an option and its value; their number, or -1 after a sentence. */
static int read_options(const struct option *options, size_t count, int argc, char **argv, struct given out[GIVEN_MAX])
{
	int n = 0;

	for (int i = 0; i < argc; i += 2) {
		const struct option *o = NULL;

		for (size_t j = 0; j < count; j++)
			if (strcmp(argv[i], options[j].word) == 0)
				o = &options[j];
		if (!o || i + 1 == argc || n == GIVEN_MAX) {
			complain(o ? "%s needs a value" : "there is no option %s here", argv[i]);
			return -1;
		}
		out[n] = (struct given){.option = o, .text = argv[i + 1]};
		if (!o->text && !read_number(o->word, argv[i + 1], o->measure, &out[n].number))
			return -1;
		n++;
	}
	return n;
}

static void put_given(struct request *r, const struct given *g)
{
	if (g->option->text)
		request_text(r, g->option->key, g->text);
	else
		request_uint(r, g->option->key, g->number);
}

static bool has(const struct given *given, int count, const char *word)
{
	for (int i = 0; i < count; i++)
		if (strcmp(given[i].option->word, word) == 0)
			return true;
	return false;
}

/* One of the options that say what kind of volume it is. */
static bool says_what(const struct given *given, int count)
{
	static const char *const words[] = {"--ram", "--blob", "--qcow2", "--layer", "--model"};
	bool any = false;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		any |= has(given, count, words[i]);
	return any;
}

static void put_config(struct request *r, const struct given *given, int count)
{
	struct cbor_mark map, model;
	bool any = false;

	cbor_put_text(&r->w, "config");
	map = cbor_open(&r->w);
	for (int i = 0; i < count; i++) {
		any |= given[i].option->of_model;
		if (!given[i].option->of_model)
			put_given(r, &given[i]);
	}
	/* A size alone is that of a layer, of the one pool that there is. */
	if (has(given, count, "--size") && !says_what(given, count))
		request_text(r, "layer", "");
	if (any) {
		cbor_put_text(&r->w, "model");
		model = cbor_open(&r->w);
		for (int i = 0; i < count; i++)
			if (given[i].option->of_model)
				put_given(r, &given[i]);
		cbor_close_map(&r->w, model);
	}
	cbor_close_map(&r->w, map);
}

enum exit_status volume_create(struct client *c, int argc, char **argv)
{
	struct given given[GIVEN_MAX];
	int count = read_options(create_options, ARRAY_SIZE(create_options), argc - 1, argv + 1, given);
	struct request r;

	if (count < 0)
		return EXIT_USAGE;
	request_begin(&r);
	request_text(&r, "name", argv[0]);
	put_config(&r, given, count);
	return run(c, VOLUME_CMD_CREATE, &r, argv[0]);
}

enum exit_status volume_set(struct client *c, int argc, char **argv)
{
	struct given given[GIVEN_MAX];
	int count = read_options(set_options, ARRAY_SIZE(set_options), argc - 1, argv + 1, given);
	struct request r;

	if (count < 0)
		return EXIT_USAGE;
	request_begin(&r);
	request_text(&r, "volume", argv[0]);
	for (int i = 0; i < count; i++)
		put_given(&r, &given[i]);
	return run(c, VOLUME_CMD_SET, &r, argv[0]);
}
