/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recording what the processors do: switched on, left alone for a while, switched
 * off and only then read, since the line is much slower than the machine. What the
 * machine had to overwrite meanwhile is missing at the beginning, and counted.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/bits.h"
#include "tools/chrome.h"
#include "tools/commands.h"
#include "tools/reply.h"
#include "tools/terminal.h"

#define SECONDS_DEFAULT 1.0
#define SECONDS_MIN 0.001
#define SECONDS_MAX 60.0
#define CPUS_MAX 256u
#define FIELDS 7u
#define STEP_US 50000u

struct recording {
	struct chrome_names names;
	struct chrome_event *events;
	size_t count, room;
	uint64_t from[CPUS_MAX], until[CPUS_MAX];
	unsigned cpus;
	uint64_t lost;
};

static struct recording run; /* too large for a stack */

/* ---- switching ---- */

static void take_heads(struct cbor_value reply, uint64_t heads[CPUS_MAX])
{
	struct cbor_value v;
	struct cbor_iter it;

	run.cpus = 0;
	if (!reply_list(reply, "heads", &it))
		return;
	while (run.cpus < CPUS_MAX && cbor_next(&it, &v) && cbor_get_uint(v, &heads[run.cpus]))
		run.cpus++;
}

static void take_exit_kinds(struct cbor_value reply)
{
	struct cbor_value v;
	struct cbor_iter it;
	const char *text;
	size_t len;

	if (!reply_list(reply, "exit_kinds", &it))
		return;
	for (unsigned i = 0; i < CHROME_KINDS_MAX && cbor_next(&it, &v); i++)
		if (cbor_get_text(v, &text, &len))
			snprintf(run.names.exit[i], sizeof run.names.exit[i], "%.*s", (int)len, text);
}

static enum exit_status set_trace(struct client *c, bool on, uint64_t heads[CPUS_MAX])
{
	struct cbor_value reply;
	enum exit_status st;
	struct request r;

	request_begin(&r);
	cbor_put_text(&r.w, "on");
	cbor_put_bool(&r.w, on);
	st = client_request(c, CLIENT_WRITE, GROUP_CPU, CPU_TRACE, &r, &reply);
	if (st != EXIT_OK)
		return st;
	take_heads(reply, heads);
	take_exit_kinds(reply);
	return EXIT_OK;
}

/* ---- reading ---- */

static void take_vm(struct cbor_value vm, void *ctx)
{
	uint64_t id = reply_uint(vm, "id");

	(void)ctx;
	if (id < CHROME_VMS_MAX)
		reply_text(vm, "name", run.names.vm[id], sizeof run.names.vm[id]);
}

static bool add_event(const struct chrome_event *e)
{
	struct chrome_event *more;

	if (run.count == run.room) {
		run.room = run.room ? 2 * run.room : 4096;
		more = realloc(run.events, run.room * sizeof *more);
		if (!more) {
			complain("there is no memory for %zu events", run.room);
			return false;
		}
		run.events = more;
	}
	run.events[run.count++] = *e;
	return true;
}

/* [begin, length, kind, vm, vcpu, code, detail], the last ones when the kind has them. */
static bool take_record(struct cbor_value record, unsigned cpu)
{
	uint64_t field[FIELDS] = {0};
	struct cbor_value v;
	struct cbor_iter it;

	if (!cbor_iterate(record, &it))
		return true;
	for (unsigned i = 0; i < FIELDS && cbor_next(&it, &v); i++)
		cbor_get_uint(v, &field[i]);
	return add_event(&(struct chrome_event){
		.begin_ns = field[0], .length_ns = field[1], .cpu = cpu, .kind = (unsigned)field[2],
		.vm = (unsigned)field[3], .vcpu = (unsigned)field[4], .code = field[5], .detail = field[6],
	});
}

/* One page from @from on, which is moved behind it. */
static enum exit_status read_page(struct client *c, unsigned cpu, uint64_t *from)
{
	struct cbor_value reply, record;
	enum exit_status st;
	struct cbor_iter it;
	struct request r;

	request_begin(&r);
	request_uint(&r, "cpu", cpu);
	request_uint(&r, "from", *from);
	request_uint(&r, "max", run.until[cpu] - *from);
	st = client_request(c, CLIENT_READ, GROUP_CPU, CPU_RECORDS, &r, &reply);
	if (st != EXIT_OK)
		return st;
	run.lost += reply_uint(reply, "lost");
	if (!reply_list(reply, "records", &it))
		return EXIT_REFUSED;
	while (cbor_next(&it, &record))
		if (!take_record(record, cpu))
			return EXIT_REFUSED;
	*from = MAX(*from + 1, reply_uint(reply, "next")); /* it always gets on */
	return EXIT_OK;
}

static enum exit_status read_all(struct client *c)
{
	enum exit_status st = EXIT_OK;

	for (unsigned i = 0; i < run.cpus; i++)
		for (uint64_t from = run.from[i]; from < run.until[i] && st == EXIT_OK;)
			st = read_page(c, i, &from);
	return st;
}

static enum exit_status read_vms(struct client *c)
{
	struct page_list list = {.group = GROUP_VM, .command = VM_LIST, .key = "vms", .each = take_vm};

	return page_list_read(c, &list);
}

/* ---- the whole ---- */

static void wait_for(double seconds)
{
	for (double left = seconds * 1e6; left > 0 && !terminal_interrupted(); left -= STEP_US)
		usleep((useconds_t)MIN(left, (double)STEP_US));
}

/* Once it is on, it is switched off again, whatever happens in between. */
static enum exit_status record(struct client *c, double seconds)
{
	enum exit_status st = read_vms(c);

	if (st == EXIT_OK)
		st = set_trace(c, true, run.from);
	if (st != EXIT_OK)
		return st;
	terminal_catch();
	wait_for(seconds);
	terminal_release();
	st = set_trace(c, false, run.until);
	if (st == EXIT_OK)
		st = read_all(c);
	return st == EXIT_OK ? read_vms(c) : st; /* those that came meanwhile have names too */
}

static enum exit_status write_file(const char *path)
{
	FILE *out = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
	bool good;

	if (!out) {
		complain("cannot write %s", path);
		return EXIT_USAGE;
	}
	chrome_write(out, run.events, run.count, run.cpus, &run.names);
	good = fflush(out) == 0 && !ferror(out);
	if (out != stdout)
		good = fclose(out) == 0 && good;
	if (!good)
		complain("cannot write %s", path);
	return good ? EXIT_OK : EXIT_USAGE;
}

static void tell(const struct client *c, const char *path)
{
	if (c->json && strcmp(path, "-") != 0)
		printf("{\"events\": %zu, \"lost\": %" PRIu64 ", \"cpus\": %u}\n", run.count, run.lost, run.cpus);
	else if (strcmp(path, "-") != 0)
		printf("%zu events on %u CPUs; open the file in ui.perfetto.dev or chrome://tracing\n", run.count, run.cpus);
	if (run.lost > 0)
		fprintf(stderr, "corbelctl: %" PRIu64 " earlier events did not fit into the machine's trace\n", run.lost);
}

enum exit_status trace_record(struct client *c, int argc, char **argv)
{
	double seconds = SECONDS_DEFAULT;
	enum exit_status st;
	char *end = "";

	if (argc > 1)
		seconds = strtod(argv[1], &end);
	if (argc > 2 || *end || !(seconds >= SECONDS_MIN && seconds <= SECONDS_MAX)) {
		complain("usage: sched trace FILE [SECONDS], from 0.001 to 60 seconds");
		return EXIT_USAGE;
	}
	run = (struct recording){.events = NULL};
	st = record(c, seconds);
	if (st == EXIT_OK)
		st = write_file(argv[0]);
	if (st == EXIT_OK)
		tell(c, argv[0]);
	free(run.events);
	return st;
}
