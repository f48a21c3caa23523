/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers have ten digits in file names, so that the order of names is theirs.
 * The state is CBOR: it is read with the same care as anything from outside.
 */
#include "lua/genstore.h"

#include <string.h>

#include "io/files.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"

#define FOLDER "generations/"
#define STATE_NAME FOLDER "state"
#define STATE_BYTES_MAX 128u
#define NUMBER_DIGITS 10u
#define USE_FOLDER ".use/" /* behind the number */

bool genstore_writable(const struct control *c)
{
	return c->cfg.machine->files->kv != NULL;
}

/* An origin as part of a file's name: what a name cannot have becomes '_'. */
static void file_name(uint64_t number, const char *origin, char *out, size_t size)
{
	size_t at = format(out, size, FOLDER "%010llu/", (unsigned long long)number);

	for (size_t i = 0; i + 1 < GENERATION_ORIGIN_MAX && origin[i] && at + 1 < size; i++)
		out[at++] = origin[i] > ' ' && origin[i] <= '~' && origin[i] != '/' ? origin[i] : '_';
	out[at] = '\0';
}

enum status genstore_put(struct control *c, uint64_t number, const char *origin, const char *text, size_t len,
			 struct error *err)
{
	char name[VM_PATH_MAX];

	file_name(number, origin, name, sizeof name);
	return files_put(c->cfg.machine->files, name, text, len, err);
}

enum status genstore_use_name(uint64_t number, const char *path, char out[VM_PATH_MAX], struct error *err)
{
	size_t skip = format(out, VM_PATH_MAX, FOLDER "%010llu" USE_FOLDER, (unsigned long long)number);
	size_t most = KVLOG_KEY_MAX - skip;
	struct error why = {""};

	if (strlen(path) > most)
		return fail(err, ST_INVALID, "the name %.40s... is too long to be kept with a generation: %zu bytes are "
			    "possible", path, most);
	format(out + skip, VM_PATH_MAX - skip, "%s", path);
	if (kvlog_check_key(out, &why) != ST_OK)
		return fail(err, ST_INVALID, "%.100s cannot be kept with a generation: its name has blanks or empty parts",
			    path);
	return ST_OK;
}

/* The number of a name of ours, and what is behind it: a slash or USE_FOLDER; 0 for another name. */
static uint64_t number_of(const char *name, const char **rest)
{
	const char *digits = name + strlen(FOLDER);
	uint64_t n = 0;
	unsigned i = 0;

	for (; i < NUMBER_DIGITS && digits[i] >= '0' && digits[i] <= '9'; i++)
		n = n * 10 + (uint64_t)(digits[i] - '0');
	*rest = digits + i;
	return i == NUMBER_DIGITS ? n : 0;
}

/* The next generation's file behind @after, its number and origin; false at the end. */
static bool next_file(struct control *c, const char *after, struct file *out, uint64_t *number, const char **origin)
{
	while (files_next(c->cfg.machine->files, FOLDER, after, out) == ST_OK) {
		*number = number_of(out->name, origin);
		if (*number != 0 && **origin == '/') {
			++*origin;
			return true;
		}
		after = out->name; /* not ours */
	}
	return false;
}

/* Deletes all below @prefix that the writable store has. */
static enum status delete_below(struct control *c, const char *prefix, struct error *err)
{
	struct files *files = c->cfg.machine->files;
	struct file f = {.name = ""};
	enum status st = ST_OK;

	while (st == ST_OK && files_next(files, prefix, f.name, &f) == ST_OK)
		if (f.version != 0)
			st = files_delete(files, f.name, err);
	return st;
}

static enum status delete_uses(struct control *c, uint64_t number, struct error *err)
{
	char prefix[VM_PATH_MAX];

	format(prefix, sizeof prefix, FOLDER "%010llu" USE_FOLDER, (unsigned long long)number);
	return delete_below(c, prefix, err);
}

enum status genstore_clear(struct control *c, uint64_t number, struct error *err)
{
	char prefix[VM_PATH_MAX];
	enum status st;

	format(prefix, sizeof prefix, FOLDER "%010llu/", (unsigned long long)number);
	st = delete_below(c, prefix, err);
	return st == ST_OK ? delete_uses(c, number, err) : st;
}

enum status genstore_get(struct control *c, uint64_t number, char *origin, struct loaded_file *text, struct error *err)
{
	char after[VM_PATH_MAX];
	const char *name;
	struct file f;
	uint64_t n;

	format(after, sizeof after, FOLDER "%010llu/", (unsigned long long)number);
	if (!next_file(c, after, &f, &n, &name) || n != number)
		return fail(err, ST_NOT_FOUND, "generation %llu is not kept", (unsigned long long)number);
	format(origin, GENERATION_ORIGIN_MAX, "%s", name);
	return loadfile_get(c->cfg.machine, f.name, text, err);
}

enum status genstore_put_state(struct control *c, const struct generation_state *g, struct error *err)
{
	uint8_t bytes[STATE_BYTES_MAX];
	struct cbor_writer w;
	struct cbor_mark map;

	cbor_writer_init(&w, bytes, sizeof bytes);
	map = cbor_open(&w);
	command_put_uint(&w, "current", g->current);
	command_put_uint(&w, "good", g->good);
	command_put_uint(&w, "newest", g->newest);
	command_put_uint(&w, "tries", g->tries);
	cbor_close_map(&w, map);
	return files_put(c->cfg.machine->files, STATE_NAME, bytes, w.len, err);
}

static bool read_number(struct cbor_value map, const char *key, uint64_t *out)
{
	struct cbor_value v;

	return cbor_find(map, key, &v) && cbor_get_uint(v, out);
}

bool genstore_get_state(struct control *c, struct generation_state *g)
{
	struct generation_state read = *g;
	uint8_t bytes[STATE_BYTES_MAX];
	struct cbor_value v;
	struct error err = {""};
	size_t len, used;
	struct file f;

	if (files_find(c->cfg.machine->files, STATE_NAME, &f, &err) != ST_OK)
		return false;
	if (files_read(c->cfg.machine->files, &f, 0, bytes, sizeof bytes, &len, &err) != ST_OK) {
		log_error("generations: %s", err.text);
		return false;
	}
	v = cbor_root(bytes, len);
	if (len < f.size || cbor_check(bytes, len, &used) != ST_OK || used != len ||
	    cbor_type_of(v) != CBOR_MAP || !read_number(v, "current", &read.current) ||
	    !read_number(v, "good", &read.good) || !read_number(v, "newest", &read.newest) ||
	    !read_number(v, "tries", &read.tries) || read.current > read.newest || read.good > read.newest) {
		log_error("generations: %s is damaged", STATE_NAME);
		return false;
	}
	*g = read;
	return true;
}

static bool is_there(struct control *c, uint64_t number)
{
	char prefix[VM_PATH_MAX];
	struct file f;

	format(prefix, sizeof prefix, FOLDER "%010llu/", (unsigned long long)number);
	return files_next(c->cfg.machine->files, prefix, "", &f) == ST_OK;
}

/* Texts used by generations that are gone: a power cut may have come between the two. */
static void prune_uses(struct control *c)
{
	char after[VM_PATH_MAX] = "";
	struct error err;
	struct file f;

	while (files_next(c->cfg.machine->files, FOLDER, after, &f) == ST_OK) {
		const char *rest;
		uint64_t n = number_of(f.name, &rest);

		format(after, sizeof after, "%s", f.name);
		if (n == 0 || strncmp(rest, USE_FOLDER, strlen(USE_FOLDER)) != 0 || is_there(c, n))
			continue;
		if (delete_uses(c, n, &err) != ST_OK) {
			log_warn("what generation %llu used cannot be deleted: %s", (unsigned long long)n, err.text);
			return;
		}
	}
}

void genstore_prune(struct control *c, const struct generation_state *g)
{
	char after[VM_PATH_MAX] = "";
	const char *origin;
	unsigned count = 0;
	struct error err;
	struct file f;
	uint64_t n;

	while (next_file(c, after, &f, &n, &origin)) {
		count++;
		format(after, sizeof after, "%s", f.name);
	}
	after[0] = '\0';
	while (count > GENERATIONS_KEPT && next_file(c, after, &f, &n, &origin)) {
		format(after, sizeof after, "%s", f.name);
		if (n == g->current || n == g->good)
			continue;
		if (files_delete(c->cfg.machine->files, f.name, &err) != ST_OK) {
			log_warn("generation %llu cannot be deleted: %s", (unsigned long long)n, err.text);
			return;
		}
		count--;
	}
	prune_uses(c);
}

void genstore_put_list(struct control *c, struct cbor_writer *w)
{
	char after[VM_PATH_MAX] = "";
	struct cbor_mark list, map;
	const char *origin;
	struct file f;
	uint64_t n;

	cbor_put_text(w, "generations");
	list = cbor_open(w);
	while (next_file(c, after, &f, &n, &origin)) {
		format(after, sizeof after, "%s", f.name);
		if (n > c->generation.newest) /* remains: it never was in force */
			continue;
		map = cbor_open(w);
		command_put_uint(w, "number", n);
		command_put_text(w, "origin", origin);
		command_put_uint(w, "size", f.size);
		cbor_close_map(w, map);
	}
	cbor_close_array(w, list);
}
