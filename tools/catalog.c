/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table's values come flat in the order of its rows, those of a counter with
 * many values one behind another; each row remembers where its own begin.
 */
#include "tools/catalog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/reply.h"

unsigned catalog_values(const struct catalog_row *row)
{
	return row->name_count && row->kind != CATALOG_STATE ? row->name_count : 1;
}

static void read_names(struct cbor_value declaration, struct catalog_row *row)
{
	struct cbor_value name;
	struct cbor_iter it;
	const char *text;
	size_t len;

	if (!reply_list(declaration, "names", &it))
		return;
	row->names = calloc(CATALOG_NAMES_MAX, sizeof *row->names);
	while (row->names && row->name_count < CATALOG_NAMES_MAX && cbor_next(&it, &name)) {
		if (!cbor_get_text(name, &text, &len))
			break;
		snprintf(row->names[row->name_count++], sizeof *row->names, "%.*s", (int)len, text);
	}
}

static void read_bounds(struct cbor_value declaration, struct catalog_row *row)
{
	struct cbor_value bound;
	struct cbor_iter it;

	reply_text(declaration, "sum", row->sum, sizeof row->sum);
	row->bounds = calloc(CATALOG_NAMES_MAX, sizeof *row->bounds);
	if (!row->bounds || !reply_list(declaration, "bounds", &it))
		return;
	for (unsigned i = 0; i + 1 < row->name_count && cbor_next(&it, &bound); i++)
		cbor_get_uint(bound, &row->bounds[i]);
}

static bool read_kind(struct cbor_value declaration, enum catalog_kind *out)
{
	static const char *const kinds[] = {"total", "gauge", "state", "histogram"};
	char kind[16];

	reply_text(declaration, "kind", kind, sizeof kind);
	for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if (strcmp(kind, kinds[i]) != 0)
			continue;
		*out = (enum catalog_kind)i;
		return true;
	}
	return false; /* a setting */
}

/* Where the values of a further row of @group begin. */
static unsigned next_place(const struct catalog *cat, const char *group)
{
	for (unsigned i = cat->count; i-- > 0;)
		if (strcmp(cat->rows[i].group, group) == 0)
			return cat->rows[i].at + catalog_values(&cat->rows[i]);
	return 0;
}

static void take_declaration(struct cbor_value d, void *ctx)
{
	struct catalog *cat = ctx;
	struct catalog_row *row = &cat->rows[cat->count];
	enum catalog_kind kind;

	if (cat->count == CATALOG_ROWS_MAX || !read_kind(d, &kind))
		return;
	*row = (struct catalog_row){.kind = kind};
	reply_text(d, "group", row->group, sizeof row->group);
	reply_text(d, "name", row->name, sizeof row->name);
	reply_text(d, "unit", row->unit, sizeof row->unit);
	reply_text(d, "label", row->label, sizeof row->label);
	reply_text(d, "help", row->help, sizeof row->help);
	read_names(d, row);
	if (kind == CATALOG_HISTOGRAM)
		read_bounds(d, row);
	row->at = next_place(cat, row->group);
	cat->count++;
}

enum exit_status catalog_read(struct client *c, struct catalog *out)
{
	struct page_list list = {
		.group = GROUP_TREE, .command = TREE_DESCRIBE, .key = "declarations", .each = take_declaration, .ctx = out,
	};

	out->count = 0;
	return page_list_read(c, &list);
}

/* ---- samples ---- */

struct sampling {
	struct sample *out;
	const char *group;
};

static void fill_group(struct request *r, void *ctx)
{
	const struct sampling *s = ctx;

	if (s->group)
		request_text(r, "group", s->group);
}

static void add_value(struct sample_table *t, unsigned max, struct cbor_value v)
{
	uint64_t n = 0;

	if (t->count < max && cbor_get_uint(v, &n))
		t->values[t->count++] = n;
}

static void read_values(struct cbor_value list, struct sample_table *t, unsigned max)
{
	struct cbor_value v, inner;
	struct cbor_iter it, many;

	if (!cbor_iterate(list, &it))
		return;
	while (cbor_next(&it, &v)) {
		if (cbor_type_of(v) != CBOR_ARRAY || !cbor_iterate(v, &many)) {
			add_value(t, max, v);
			continue;
		}
		while (cbor_next(&many, &inner))
			add_value(t, max, inner);
	}
}

static void copy_text(struct cbor_value v, char *out, size_t size)
{
	const char *text = "";
	size_t len = 0;

	cbor_get_text(v, &text, &len);
	snprintf(out, size, "%.*s", (int)len, text);
}

/* [group, instance, [values]] */
static void take_table(struct cbor_value entry, void *ctx)
{
	const unsigned max = CATALOG_ROWS_MAX + 2 * CATALOG_NAMES_MAX;
	struct sampling *s = ctx;
	struct sample_table *t = &s->out->tables[s->out->count];
	struct cbor_value group, instance, values;
	struct cbor_iter it;

	if (s->out->count == CATALOG_TABLES_MAX || !cbor_iterate(entry, &it) || !cbor_next(&it, &group) ||
	    !cbor_next(&it, &instance) || !cbor_next(&it, &values))
		return;
	*t = (struct sample_table){.values = calloc(max, sizeof(uint64_t))};
	if (!t->values)
		return;
	copy_text(group, t->group, sizeof t->group);
	copy_text(instance, t->instance, sizeof t->instance);
	read_values(values, t, max);
	s->out->count++;
}

void sample_free(struct sample *s)
{
	for (unsigned i = 0; i < s->count; i++)
		free(s->tables[i].values);
	s->count = 0;
}

enum exit_status sample_read(struct client *c, const char *group, struct sample *out)
{
	struct sampling run = {.out = out, .group = group};
	struct page_list list = {
		.group = GROUP_TREE, .command = TREE_VALUES, .key = "values", .fill = fill_group, .each = take_table,
		.ctx = &run,
	};

	sample_free(out);
	return page_list_read(c, &list);
}

/* ---- looking up ---- */

const struct catalog_row *catalog_find(const struct catalog *cat, const char *group, const char *name)
{
	for (unsigned i = 0; i < cat->count; i++)
		if (strcmp(cat->rows[i].group, group) == 0 && strcmp(cat->rows[i].name, name) == 0)
			return &cat->rows[i];
	return NULL;
}

const struct sample_table *sample_find(const struct sample *s, const char *group, const char *instance)
{
	for (unsigned i = 0; i < s->count; i++)
		if (strcmp(s->tables[i].group, group) == 0 && strcmp(s->tables[i].instance, instance) == 0)
			return &s->tables[i];
	return NULL;
}

uint64_t sample_value(const struct catalog *cat, const struct sample_table *t, const char *name)
{
	const struct catalog_row *row = t ? catalog_find(cat, t->group, name) : NULL;

	return row && row->at < t->count ? t->values[row->at] : 0;
}
