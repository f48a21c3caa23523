/* SPDX-License-Identifier: Apache-2.0 */
/* The processors as a table; with --json the replies' lists as one. */
#include <stdio.h>

#include "tools/commands.h"
#include "tools/reply.h"
#include "tools/show.h"

#define PPM_OF_PERCENT 10000.0

static void put_row(struct cbor_value cpu)
{
	uint64_t busy = reply_uint(cpu, "busy_ns"), idle = reply_uint(cpu, "idle_ns");
	char busy_text[24], idle_text[24];
	double percent = busy + idle > 0 ? 100.0 * (double)busy / (double)(busy + idle) : 0;

	printf("%3llu %10s %10s %5.1f%% %6llu %5.0f%% %6llu %8llu %5llu %5llu %8llu\n",
	       (unsigned long long)reply_uint(cpu, "cpu"), show_ns(busy, busy_text, sizeof busy_text),
	       show_ns(idle, idle_text, sizeof idle_text), percent,
	       (unsigned long long)reply_uint(cpu, "ready"), (double)reply_uint(cpu, "rate") / PPM_OF_PERCENT,
	       (unsigned long long)reply_uint(cpu, "pulled"), (unsigned long long)reply_uint(cpu, "apic_id"),
	       (unsigned long long)reply_uint(cpu, "core"), (unsigned long long)reply_uint(cpu, "cache"),
	       (unsigned long long)reply_uint(cpu, "package"));
}

static enum exit_status page(struct client *c, uint64_t *from, bool *first)
{
	struct cbor_value reply, cpu;
	enum exit_status st;
	struct cbor_iter it;
	struct request r;

	request_begin(&r);
	request_uint(&r, "from", *from);
	st = client_request(c, CLIENT_READ, GROUP_CPU, CPU_LIST, &r, &reply);
	if (st != EXIT_OK)
		return st;
	*from = reply_uint(reply, "next");
	if (!reply_list(reply, "cpus", &it))
		return EXIT_OK;
	while (cbor_next(&it, &cpu)) {
		if (c->json) {
			fputs(*first ? "" : ", ", stdout);
			show_json(stdout, cpu);
		} else {
			put_row(cpu);
		}
		*first = false;
	}
	return EXIT_OK;
}

enum exit_status cpu_list(struct client *c, int argc, char **argv)
{
	enum exit_status st;
	uint64_t from = 0;
	bool first = true;

	(void)argc;
	(void)argv;
	if (c->json)
		fputs("{\"cpus\": [", stdout);
	else
		printf("%3s %10s %10s %6s %6s %6s %6s %8s %5s %5s %8s\n", "cpu", "busy", "idle", "busy", "ready", "due",
		       "pulled", "apic-id", "core", "cache", "package");
	do {
		st = page(c, &from, &first);
	} while (st == EXIT_OK && from != 0);
	if (c->json)
		fputs("]}\n", stdout);
	return st;
}
