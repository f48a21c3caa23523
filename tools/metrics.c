/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All samples of one metric stand together under its HELP and TYPE, as the format
 * wants it, so the walk is over the declarations and within each over the tables.
 * A state becomes one sample for each word, 1 for the one that holds; a histogram
 * counts up to each bound, and has its sum from another counter of its table.
 */
#include "tools/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "tools/commands.h"
#include "tools/show.h"

#define NS_PER_S 1000000000ull
#define METRIC_MAX 160

static void append(char *out, const char *text)
{
	size_t len = strlen(out);

	for (; *text && len + 1 < METRIC_MAX; text++)
		out[len++] = *text == '.' || *text == '-' ? '_' : *text;
	out[len] = '\0';
}

static bool ends_in(const char *text, const char *end)
{
	size_t len = strlen(text), n = strlen(end);

	return len >= n && strcmp(text + len - n, end) == 0;
}

/* corbel_vm_cpu_used_seconds_total */
static void metric_name(const struct catalog_row *row, char out[METRIC_MAX])
{
	out[0] = '\0';
	append(out, "corbel_");
	append(out, row->group);
	append(out, "_");
	append(out, row->name);
	if (strcmp(row->unit, "bytes") == 0 && !ends_in(out, "_bytes"))
		append(out, "_bytes");
	else if (strcmp(row->unit, "ns") == 0)
		append(out, "_seconds");
	else if (strcmp(row->unit, "ppm") == 0)
		append(out, "_ppm");
	else if (strcmp(row->unit, "bytes/s") == 0)
		append(out, "_bytes_per_second");
	if (row->kind == CATALOG_TOTAL)
		append(out, "_total");
}

/* Help and label values: backslash and newline are escaped, in labels quotes too. */
static void write_escaped(FILE *out, const char *text, bool label)
{
	for (; *text; text++) {
		if (*text == '\n')
			fputs("\\n", out);
		else if (*text == '\\' || (label && *text == '"'))
			fprintf(out, "\\%c", *text);
		else
			fputc(*text, out);
	}
}

static void write_label(FILE *out, const char *name, const char *value, bool *any)
{
	fprintf(out, "%s%s=\"", *any ? "," : "{", name);
	write_escaped(out, value, true);
	fputc('"', out);
	*any = true;
}

/* Of table "vm.disk", "alpha/root": vm="alpha",disk="root". */
static void write_instance(FILE *out, const struct sample_table *t, bool *any)
{
	const char *group = t->group, *instance = t->instance;

	while (*instance) {
		char name[sizeof t->group], value[sizeof t->instance];
		int last = !strchr(instance, '/'), len = last ? (int)strlen(group) : (int)strcspn(group, ".");

		snprintf(name, sizeof name, "%.*s", len, group);
		snprintf(value, sizeof value, "%.*s", (int)strcspn(instance, "/"), instance);
		write_label(out, name, value, any);
		group += len + (group[len] == '.');
		instance += strlen(value) + !last;
	}
}

static void write_value(FILE *out, const struct catalog_row *row, uint64_t value)
{
	if (strcmp(row->unit, "ns") == 0)
		fprintf(out, "%llu.%09llu\n", (unsigned long long)(value / NS_PER_S),
			(unsigned long long)(value % NS_PER_S));
	else
		fprintf(out, "%llu\n", (unsigned long long)value);
}

static void write_sample(FILE *out, const struct catalog_row *row, const char *metric, const struct sample_table *t,
			 const char *member, uint64_t value)
{
	bool any = false;

	fputs(metric, out);
	write_instance(out, t, &any);
	if (member)
		write_label(out, row->label, member, &any);
	fputs(any ? "} " : " ", out);
	write_value(out, row, value);
}

static void write_bucket(FILE *out, const char *metric, const struct sample_table *t, const char *bound, uint64_t count)
{
	bool any = false;

	fprintf(out, "%s_bucket", metric);
	write_instance(out, t, &any);
	write_label(out, "le", bound, &any);
	fprintf(out, "} %llu\n", (unsigned long long)count);
}

static void write_plain(FILE *out, const struct catalog_row *row, const char *metric, const char *suffix,
			const struct sample_table *t, uint64_t value)
{
	char name[METRIC_MAX + 8];

	snprintf(name, sizeof name, "%s%s", metric, suffix);
	write_sample(out, row, name, t, NULL, value);
}

/* Bounds of less than the unit's smallest part apart are one. */
static void write_histogram(FILE *out, const struct catalog *cat, const struct catalog_row *row, const char *metric,
			    const struct sample_table *t)
{
	static const struct catalog_row count = {.kind = CATALOG_GAUGE};
	const struct catalog_row *sum = catalog_find(cat, row->group, row->sum);
	uint64_t below = 0;

	for (unsigned i = 0; i + 1 < row->name_count; i++) {
		char bound[32];

		below += t->values[row->at + i];
		if (i + 2 < row->name_count && row->bounds[i + 1] == row->bounds[i])
			continue;
		snprintf(bound, sizeof bound, "%llu.%09llu", (unsigned long long)(row->bounds[i] / NS_PER_S),
			 (unsigned long long)(row->bounds[i] % NS_PER_S));
		write_bucket(out, metric, t, bound, below);
	}
	below += t->values[row->at + row->name_count - 1];
	write_bucket(out, metric, t, "+Inf", below);
	write_plain(out, sum ? sum : row, metric, "_sum", t, sum ? sample_value(cat, t, row->sum) : 0);
	write_plain(out, &count, metric, "_count", t, below);
}

static void write_table(FILE *out, const struct catalog *cat, const struct catalog_row *row, const char *metric,
			const struct sample_table *t)
{
	if (row->at + catalog_values(row) > t->count)
		return;
	if (row->kind == CATALOG_HISTOGRAM && row->bounds) {
		write_histogram(out, cat, row, metric, t);
		return;
	}
	if (row->name_count == 0) {
		write_sample(out, row, metric, t, NULL, t->values[row->at]);
		return;
	}
	for (unsigned i = 0; i < row->name_count; i++) {
		uint64_t value = row->kind == CATALOG_STATE ? t->values[row->at] == i : t->values[row->at + i];

		if (row->names[i][0])
			write_sample(out, row, metric, t, row->names[i], value);
	}
}

void metrics_write(FILE *out, const struct catalog *cat, const struct sample *sample)
{
	for (unsigned i = 0; i < cat->count; i++) {
		const struct catalog_row *row = &cat->rows[i];
		char metric[METRIC_MAX];

		metric_name(row, metric);
		fprintf(out, "# HELP %s ", metric);
		write_escaped(out, row->help, false);
		fprintf(out, "\n# TYPE %s %s\n", metric,
			row->kind == CATALOG_TOTAL ? "counter" : row->kind == CATALOG_HISTOGRAM ? "histogram" : "gauge");
		for (unsigned t = 0; t < sample->count; t++)
			if (strcmp(sample->tables[t].group, row->group) == 0)
				write_table(out, cat, row, metric, &sample->tables[t]);
	}
}

/* With --json: {"metrics": TEXT}, one value on one line as everywhere. */
static void print_json(const struct catalog *cat, const struct sample *sample)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return;
	metrics_write(out, cat, sample);
	fclose(out);
	fputs("{\"metrics\": ", stdout);
	show_json_string(stdout, text, len);
	puts("}");
	free(text);
}

enum exit_status metrics_print(struct client *c, int argc, char **argv)
{
	static struct catalog cat;
	static struct sample sample;
	enum exit_status st = catalog_read(c, &cat);

	(void)argc;
	(void)argv;
	if (st == EXIT_OK)
		st = sample_read(c, NULL, &sample);
	if (st != EXIT_OK)
		return st;
	if (c->json)
		print_json(&cat, &sample);
	else
		metrics_write(stdout, &cat, &sample);
	sample_free(&sample);
	return EXIT_OK;
}
