/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file is read, changed and written as a whole: it is bounded by the number
 * of entries that there can be, and a whole put is what the store does atomically.
 */
#include "lua/saved.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/keep.h"

#define SAVED_NAME FILES_OWN "settings"
#define LINE_MAX_BYTES (TREE_PATH_MAX + KNOB_TEXT_MAX)
#define SAVED_MAX (SETTINGS_ENTRIES_MAX * LINE_MAX_BYTES)

/* The control task's; too large for its stack. */
static struct {
	char text[SAVED_MAX];
	size_t len;
} file, old;

/* One line of the file, cut in two. */
struct line {
	const char *path, *value;
	size_t path_len, value_len, len;
};

/* The line at @text; false at the end, or for one that is no line of ours. */
static bool next_line(const char *text, size_t left, struct line *out)
{
	const char *end = memchr(text, '\n', left), *blank = end ? memchr(text, ' ', (size_t)(end - text)) : NULL;

	if (!blank)
		return false;
	*out = (struct line){
		.path = text, .path_len = (size_t)(blank - text), .value = blank + 1,
		.value_len = (size_t)(end - blank) - 1, .len = (size_t)(end - text) + 1,
	};
	return true;
}

/* True when @path is @prefix or below it. */
static bool below(const char *path, size_t path_len, const char *prefix, size_t len)
{
	if (len == 0)
		return true;
	return path_len >= len && memcmp(path, prefix, len) == 0 && (path_len == len || path[len] == '.');
}

static enum status read_file(struct control *c, struct error *err)
{
	enum status st = keep_read(c, SAVED_NAME, old.text, sizeof old.text, &old.len, err);

	if (st != ST_OK)
		old.len = 0;
	return st == ST_NOT_FOUND ? ST_OK : st;
}

/* ---- writing ---- */

static void keep_line(const char *text, size_t len)
{
	if (len > sizeof file.text - file.len)
		return; /* only with lines of settings that are no more: there is room for all that can be */
	memcpy(file.text + file.len, text, len);
	file.len += len;
}

/* What was kept of other settings than those that are written anew. */
static void keep_others(const char *prefix, size_t len)
{
	struct line line;

	for (size_t at = 0; next_line(old.text + at, old.len - at, &line); at += line.len)
		if (!below(line.path, line.path_len, prefix, len))
			keep_line(line.path, line.len);
}

/* The operator's lasting value of @item; false when there is none. */
static bool operators_value(struct control *c, const struct tree_item *item, uint64_t *out)
{
	static struct setting_entry chain[SETTINGS_CHAIN_MAX]; /* the control task's; too large for its stack */
	unsigned count = settings_chain(c, item, chain);

	for (unsigned i = 0; i < count; i++) {
		if (chain[i].origin != ORIGIN_OPERATOR)
			continue;
		*out = chain[i].value;
		return true;
	}
	return false;
}

static void write_lines(struct control *c, const char *prefix, size_t len, unsigned *settings)
{
	char path[TREE_PATH_MAX], value[KNOB_TEXT_MAX], line[LINE_MAX_BYTES + 2];
	struct tree_item item;
	uint32_t cursor = 0;
	uint64_t v;

	while (tree_next(c, &cursor, &item)) {
		if (!item_knob(&item) || !tree_below(&item, prefix, len))
			continue;
		++*settings;
		if (!operators_value(c, &item, &v))
			continue;
		tree_path(&item, path);
		keep_line(line, format(line, sizeof line, "%s %s\n", path, knob_text(item_knob(&item), v, value)));
	}
}

enum status saved_write(struct control *c, const char *prefix, size_t len, struct error *err)
{
	unsigned settings = 0;
	char shown[TREE_PATH_MAX];
	enum status st = read_file(c, err);

	if (st != ST_OK)
		return st;
	file.len = 0;
	keep_others(prefix, len);
	write_lines(c, prefix, len, &settings);
	if (settings == 0)
		return fail(err, ST_NOT_FOUND, "there is no setting below %s",
			    log_clean(shown, sizeof shown, prefix, len));
	return keep_write(c, SAVED_NAME, file.text, file.len, err);
}

/* ---- reading ---- */

static enum status set_line(struct control *c, const struct line *line, struct error *err)
{
	struct setting_change change = {.origin = ORIGIN_OPERATOR, .why = "saved"};
	enum status st = tree_find(c, line->path, line->path_len, &change.item, err);

	if (st == ST_OK && !item_knob(&change.item))
		st = fail(err, ST_INVALID, "it is a counter");
	if (st == ST_OK)
		st = knob_parse(item_knob(&change.item), line->value, line->value_len, &change.value, err);
	if (st == ST_OK)
		st = settings_check(c, &change, err);
	if (st == ST_OK)
		settings_apply(c, &change);
	return st;
}

enum status saved_read(struct control *c, const char *prefix, size_t len, struct error *err)
{
	char shown[TREE_PATH_MAX];
	struct line line;
	enum status st = read_file(c, err);

	for (size_t at = 0; st == ST_OK && next_line(old.text + at, old.len - at, &line); at += line.len) {
		struct error why;

		if (!below(line.path, line.path_len, prefix, len) || set_line(c, &line, &why) == ST_OK)
			continue;
		log_warn("saved setting %s: %s", log_clean(shown, sizeof shown, line.path, line.path_len), why.text);
	}
	return st;
}
