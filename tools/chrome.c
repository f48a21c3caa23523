/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times are microseconds with three decimals, from the earliest event on: viewers
 * hold them in doubles. One event a line, so that the file can be searched.
 */
#include "tools/chrome.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/show.h"

#define PROCESS 1
#define NS_PER_US 1000u

static int by_time(const void *a, const void *b)
{
	const struct chrome_event *x = a, *y = b;

	if (x->begin_ns != y->begin_ns)
		return x->begin_ns < y->begin_ns ? -1 : 1;
	if (x->cpu != y->cpu)
		return x->cpu < y->cpu ? -1 : 1;
	if (x->kind != y->kind) /* a turn lies around its exits */
		return x->kind < y->kind ? -1 : 1;
	if (x->length_ns != y->length_ns)
		return x->length_ns > y->length_ns ? -1 : 1;
	return 0;
}

static void put_text(FILE *out, const char *text)
{
	show_json_string(out, text, strlen(text));
}

/* alpha/0 */
static void who(const struct chrome_event *e, const struct chrome_names *names, char *out, size_t size)
{
	if (e->vm == 0)
		snprintf(out, size, "control");
	else if (e->vm < CHROME_VMS_MAX && names->vm[e->vm][0])
		snprintf(out, size, "%s/%u", names->vm[e->vm], e->vcpu);
	else
		snprintf(out, size, "VM %u/%u", e->vm, e->vcpu);
}

static void put_metadata(FILE *out, unsigned cpus)
{
	fprintf(out, "{\"ph\": \"M\", \"pid\": %d, \"name\": \"process_name\", \"args\": {\"name\": \"Corbel\"}}", PROCESS);
	for (unsigned i = 0; i < cpus; i++)
		fprintf(out, ",\n{\"ph\": \"M\", \"pid\": %d, \"tid\": %u, \"name\": \"thread_name\", "
			"\"args\": {\"name\": \"CPU %u\"}}", PROCESS, i, i);
}

static void put_us(FILE *out, const char *key, uint64_t ns)
{
	fprintf(out, ", \"%s\": %" PRIu64 ".%03u", key, ns / NS_PER_US, (unsigned)(ns % NS_PER_US));
}

static void put_turn(FILE *out, const struct chrome_event *e, const char *name)
{
	fputs("\"ph\": \"X\", \"cat\": \"turn\", \"name\": ", out);
	put_text(out, name);
	put_us(out, "dur", e->length_ns);
	fprintf(out, ", \"args\": {\"end\": \"%s\"}", e->code == CPUTRACE_BLOCKED ? "blocked" : "gave way");
}

static void put_exit(FILE *out, const struct chrome_event *e, const char *name, const struct chrome_names *names)
{
	const char *kind = e->code < CHROME_KINDS_MAX && names->exit[e->code][0] ? names->exit[e->code] : "exit";

	fputs("\"ph\": \"X\", \"cat\": \"exit\", \"name\": ", out);
	put_text(out, kind);
	put_us(out, "dur", e->length_ns);
	fputs(", \"args\": {\"guest\": ", out);
	put_text(out, name);
	fprintf(out, ", \"detail\": \"0x%" PRIx64 "\"}", e->detail);
}

static void put_wake(FILE *out, const char *name)
{
	fputs("\"ph\": \"i\", \"s\": \"t\", \"cat\": \"wake\", \"name\": \"wake\", \"args\": {\"guest\": ", out);
	put_text(out, name);
	fputc('}', out);
}

static void put_event(FILE *out, const struct chrome_event *e, uint64_t start, const struct chrome_names *names)
{
	char name[64];

	who(e, names, name, sizeof name);
	fputs(",\n{", out);
	if (e->kind == CPUTRACE_TURN)
		put_turn(out, e, name);
	else if (e->kind == CPUTRACE_EXIT)
		put_exit(out, e, name, names);
	else
		put_wake(out, name);
	fprintf(out, ", \"pid\": %d, \"tid\": %u", PROCESS, e->cpu);
	put_us(out, "ts", e->begin_ns - start);
	fputc('}', out);
}

void chrome_write(FILE *out, struct chrome_event *events, size_t count, unsigned cpus, const struct chrome_names *names)
{
	if (count > 0)
		qsort(events, count, sizeof *events, by_time);
	fputs("{\"displayTimeUnit\": \"ns\", \"traceEvents\": [\n", out);
	put_metadata(out, cpus);
	for (size_t i = 0; i < count; i++)
		if (events[i].kind < CPUTRACE_KINDS)
			put_event(out, &events[i], events[0].begin_ns, names);
	fputs("\n]}\n", out);
}
