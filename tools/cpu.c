/* SPDX-License-Identifier: Apache-2.0 */
/* The processors as a table. */
#include <stdio.h>

#include "tools/commands.h"
#include "tools/reply.h"
#include "tools/show.h"

#define PPM_OF_PERCENT 10000.0

static void put_row(struct cbor_value cpu, void *ctx)
{
	uint64_t busy = reply_uint(cpu, "busy_ns"), idle = reply_uint(cpu, "idle_ns");
	char busy_text[24], idle_text[24];
	double percent = busy + idle > 0 ? 100.0 * (double)busy / (double)(busy + idle) : 0;

	(void)ctx;
	printf("%3llu %10s %10s %5.1f%% %6llu %5.0f%% %6llu %8llu %5llu %5llu %8llu\n",
	       (unsigned long long)reply_uint(cpu, "cpu"), show_ns(busy, busy_text, sizeof busy_text),
	       show_ns(idle, idle_text, sizeof idle_text), percent,
	       (unsigned long long)reply_uint(cpu, "ready"), (double)reply_uint(cpu, "rate") / PPM_OF_PERCENT,
	       (unsigned long long)reply_uint(cpu, "pulled"), (unsigned long long)reply_uint(cpu, "apic_id"),
	       (unsigned long long)reply_uint(cpu, "core"), (unsigned long long)reply_uint(cpu, "cache"),
	       (unsigned long long)reply_uint(cpu, "package"));
}

enum exit_status cpu_list(struct client *c, int argc, char **argv)
{
	const struct page_list list = {
		.group = GROUP_CPU, .command = CPU_LIST, .key = "cpus", .cursor = "from", .each = put_row,
	};

	(void)argc;
	(void)argv;
	if (!c->json)
		printf("%3s %10s %10s %6s %6s %6s %6s %8s %5s %5s %8s\n", "cpu", "busy", "idle", "busy", "ready", "due",
		       "pulled", "apic-id", "core", "cache", "package");
	return page_list_show(c, &list);
}
