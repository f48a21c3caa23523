/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMs by what they use, like esxtop: two samples of the counters make rates,
 * the busiest is first, and keys choose another order. On a terminal it goes on
 * until q; anywhere else it prints one plain table.
 */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "lib/bits.h"
#include "tools/catalog.h"
#include "tools/commands.h"
#include "tools/reply.h"
#include "tools/show.h"
#include "tools/terminal.h"

#define SECONDS_DEFAULT 2.0
#define SECONDS_MIN 0.1
#define SECONDS_MAX 3600.0
#define WIDTH_DEFAULT 80
#define HEIGHT_DEFAULT 24
#define NAME_WIDTH 10      /* at 80 columns; a wider terminal gives it more */
#define OTHER_COLUMNS 70   /* all but the name */
#define LINE_MAX_CHARS 512
#define KEY_CTRL_C 3
#define OWN_POOLS 2u       /* the machine's own */
#define PPM_OF_PERCENT 10000.0

struct row {
	char name[40], state[16];
	double cpu, waited, blocked, costopped, limited; /* percent of one processor */
	double exits, migrations; /* a second */
	uint64_t present, uptime_ns;
};

/* A pool: of all VMs in it and below. */
struct pool_row {
	char name[40];
	double cpu, waited, limited; /* percent of one processor */
	uint64_t entitled, allowed, vms;
};

/* A disk of a VM that runs. */
struct disk_row {
	char name[64]; /* "VM/DISK" */
	double reads, writes, flushes; /* a second */
	double read, written;          /* bytes a second */
	double latency_ms, throttled;  /* mean of the requests that ended; percent of the time of one that waits */
	uint64_t in_flight;
};

/* A volume: of all who use it. */
struct volume_row {
	char name[64];
	double requests, bytes;             /* a second */
	double latency_ms, queued_ms, service_ms; /* mean of the requests that ended */
	double throttled;                   /* percent of the time of one that waits */
	uint64_t p50_ns, p99_ns;            /* of those that ended in between */
	uint64_t free, space;               /* of its pool of layers */
};

/* An interface of a VM that runs; seen from the VM. */
struct nic_row {
	char name[64]; /* "VM/INTERFACE" */
	double sent, received, sent_bytes, received_bytes, drops; /* a second */
	double throttled; /* percent of the time of one frame that waits for its limit on the uplink */
	bool up;
};

/* One of the machine's. */
struct wire_row {
	char name[64];
	double sent, received, sent_bytes, received_bytes, missed; /* a second */
	uint64_t link; /* bytes a second */
	bool up;
};

enum order { BY_CPU, BY_READY, BY_COSTOP, BY_WAIT, BY_LIMIT, BY_MIGRATIONS, BY_MEMORY, BY_EXITS, BY_UPTIME, BY_NAME };

static const struct {
	char key;
	const char *title;
} orders[] = {
	[BY_CPU] = {'c', "%USED"}, [BY_READY] = {'r', "%RDY"}, [BY_COSTOP] = {'s', "%CSTP"}, [BY_WAIT] = {'w', "%WAIT"},
	[BY_LIMIT] = {'l', "%LMT"}, [BY_MIGRATIONS] = {'g', "MIG"}, [BY_MEMORY] = {'m', "PRESENT"},
	[BY_EXITS] = {'e', "EXITS/s"}, [BY_UPTIME] = {'u', "UPTIME"}, [BY_NAME] = {'n', "NAME"},
};

struct view {
	struct catalog cat;
	struct sample samples[2];
	unsigned now;          /* which of them is the newer */
	struct row rows[CATALOG_TABLES_MAX];
	unsigned count;
	struct pool_row pools[CATALOG_TABLES_MAX]; /* as the machine lists them */
	unsigned pool_count;
	struct disk_row disks[CATALOG_TABLES_MAX];
	unsigned disk_count;
	struct volume_row volumes[CATALOG_TABLES_MAX]; /* that were used in between */
	unsigned volume_count;
	struct nic_row nics[CATALOG_TABLES_MAX];
	unsigned nic_count;
	struct wire_row wires[CATALOG_TABLES_MAX];
	unsigned wire_count;
	double host_cpu;       /* percent of all processors */
	enum order order;
	double seconds;
};

static struct view view; /* too large for a stack */
static enum order sort_order;

/* ---- figures ---- */

static const struct sample *newer(void)
{
	return &view.samples[view.now];
}

static const struct sample *older(void)
{
	return &view.samples[1 - view.now];
}

static uint64_t value(const struct sample *s, const char *group, const char *instance, const char *name)
{
	return sample_value(&view.cat, sample_find(s, group, instance), name);
}

/* What @name has risen by since the older sample; all of it when the VM has started again in between. */
static uint64_t risen(const char *group, const char *instance, const char *name)
{
	uint64_t now = value(newer(), group, instance, name), before = value(older(), group, instance, name);

	return now >= before ? now - before : now;
}

static double elapsed_ns(void)
{
	uint64_t ns = risen("control", "", "uptime");

	return ns > 0 ? (double)ns : 1;
}

static void state_name(const struct sample_table *t, char *out, size_t size)
{
	const struct catalog_row *row = catalog_find(&view.cat, t->group, "state");
	uint64_t state = sample_value(&view.cat, t, "state");

	snprintf(out, size, "%.*s", (int)size - 1, row && state < row->name_count ? row->names[state] : "?");
}

static void take_row(const struct sample_table *t, double ns)
{
	struct row *r = &view.rows[view.count++];
	const char *name = t->instance;

	*r = (struct row){
		.cpu = 100 * (double)risen("vm", name, "cpu.used") / ns,
		.waited = 100 * (double)risen("vm", name, "cpu.waited") / ns,
		.blocked = 100 * (double)risen("vm", name, "cpu.blocked") / ns,
		.costopped = 100 * (double)risen("vm", name, "cpu.costopped") / ns,
		.limited = 100 * (double)risen("vm", name, "cpu.limited") / ns,
		.migrations = 1e9 * (double)risen("vm", name, "cpu.migrations") / ns,
		.exits = 1e9 * (double)risen("vm", name, "exits") / ns,
		.present = sample_value(&view.cat, t, "mem.present"),
		.uptime_ns = sample_value(&view.cat, t, "uptime"),
	};
	memcpy(r->name, name, MIN(strlen(name) + 1, sizeof r->name));
	r->name[sizeof r->name - 1] = '\0';
	state_name(t, r->state, sizeof r->state);
}

static void take_pool(const struct sample_table *t, double ns)
{
	struct pool_row *r = &view.pools[view.pool_count++];
	const char *name = t->instance;

	*r = (struct pool_row){
		.cpu = 100 * (double)risen("pool", name, "cpu.used") / ns,
		.waited = 100 * (double)risen("pool", name, "cpu.waited") / ns,
		.limited = 100 * (double)risen("pool", name, "cpu.limited") / ns,
		.entitled = sample_value(&view.cat, t, "cpu.entitled"),
		.allowed = sample_value(&view.cat, t, "cpu.allowed"),
		.vms = sample_value(&view.cat, t, "vms"),
	};
	memcpy(r->name, name, MIN(strlen(name) + 1, sizeof r->name));
	r->name[sizeof r->name - 1] = '\0';
}

static double rate(const char *name, const char *counter, double ns)
{
	return 1e9 * (double)risen("vm.disk", name, counter) / ns;
}

static void take_disk(const struct sample_table *t, double ns)
{
	struct disk_row *r = &view.disks[view.disk_count++];
	const char *name = t->instance;
	uint64_t ended = risen("vm.disk", name, "reads") + risen("vm.disk", name, "writes") +
			 risen("vm.disk", name, "flushes") + risen("vm.disk", name, "discards") +
			 risen("vm.disk", name, "write_zeroes");

	*r = (struct disk_row){
		.reads = rate(name, "reads", ns), .writes = rate(name, "writes", ns), .flushes = rate(name, "flushes", ns),
		.read = rate(name, "read", ns), .written = rate(name, "written", ns),
		.latency_ms = ended ? (double)risen("vm.disk", name, "time.latency") / (double)ended / 1e6 : 0,
		.throttled = 100 * (double)risen("vm.disk", name, "time.throttled") / ns,
		.in_flight = sample_value(&view.cat, t, "in_flight"),
	};
	memcpy(r->name, name, MIN(strlen(name) + 1, sizeof r->name));
	r->name[sizeof r->name - 1] = '\0';
}

/* Up to where a request took of a hundred @part, by what the histogram has gained. */
static uint64_t percentile(const struct sample_table *t, const struct sample_table *before, unsigned part)
{
	const struct catalog_row *row = catalog_find(&view.cat, t->group, "latency");
	uint64_t all = 0, below = 0;
	unsigned count = row ? catalog_values(row) : 0;

	if (!row || !row->bounds || row->at + count > t->count)
		return 0;
	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned i = 0; i < count; i++) {
			uint64_t now = t->values[row->at + i];
			uint64_t then = before && row->at + i < before->count ? before->values[row->at + i] : 0;
			uint64_t gained = now >= then ? now - then : now;

			if (pass == 0) {
				all += gained;
				continue;
			}
			below += gained;
			if (gained && below * 100 >= all * part)
				return row->bounds[MIN(i, count - 2)];
		}
	}
	return 0;
}

static void take_volume(const struct sample_table *t, double ns)
{
	static const char *const ops[] = {"reads", "writes", "flushes", "discards", "write_zeroes"};
	struct volume_row *r = &view.volumes[view.volume_count];
	const struct sample_table *before = sample_find(older(), "volume", t->instance);
	const char *name = t->instance;
	uint64_t ended = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
		ended += risen("volume", name, ops[i]);
	if (ended == 0)
		return;
	*r = (struct volume_row){
		.requests = 1e9 * (double)ended / ns,
		.bytes = 1e9 * (double)(risen("volume", name, "read") + risen("volume", name, "written")) / ns,
		.latency_ms = (double)risen("volume", name, "time.latency") / (double)ended / 1e6,
		.queued_ms = (double)risen("volume", name, "time.queued") / (double)ended / 1e6,
		.service_ms = (double)risen("volume", name, "time.service") / (double)ended / 1e6,
		.throttled = 100 * (double)risen("volume", name, "time.throttled") / ns,
		.p50_ns = percentile(t, before, 50), .p99_ns = percentile(t, before, 99),
		.free = sample_value(&view.cat, t, "space.free"), .space = sample_value(&view.cat, t, "space.size"),
	};
	memcpy(r->name, name, MIN(strlen(name) + 1, sizeof r->name));
	r->name[sizeof r->name - 1] = '\0';
	view.volume_count++;
}

/* What the counter has risen by, all its values together, in a second. */
static double all_rate(const struct sample_table *t, const char *name, double ns)
{
	const struct sample_table *before = sample_find(older(), t->group, t->instance);
	const struct catalog_row *row = catalog_find(&view.cat, t->group, name);
	unsigned count = row ? catalog_values(row) : 0;
	uint64_t now = 0, then = 0;

	if (!row || row->at + count > t->count)
		return 0;
	for (unsigned i = 0; i < count; i++) {
		now += t->values[row->at + i];
		then += before && row->at + i < before->count ? before->values[row->at + i] : 0;
	}
	return 1e9 * (double)(now >= then ? now - then : now) / ns;
}

static void take_nic(const struct sample_table *t, double ns)
{
	struct nic_row *r = &view.nics[view.nic_count++];

	*r = (struct nic_row){
		.sent = all_rate(t, "tx.frames", ns), .received = all_rate(t, "rx.frames", ns),
		.sent_bytes = all_rate(t, "tx.bytes", ns), .received_bytes = all_rate(t, "rx.bytes", ns),
		.drops = all_rate(t, "tx.drops", ns) + all_rate(t, "rx.drops", ns),
		.throttled = all_rate(t, "uplink.throttled", ns) / 1e7, .up = sample_value(&view.cat, t, "up") != 0,
	};
	memcpy(r->name, t->instance, MIN(strlen(t->instance) + 1, sizeof r->name));
	r->name[sizeof r->name - 1] = '\0';
}

static void take_wire(const struct sample_table *t, double ns)
{
	struct wire_row *r = &view.wires[view.wire_count++];

	*r = (struct wire_row){
		.sent = all_rate(t, "tx.frames", ns), .received = all_rate(t, "rx.frames", ns),
		.sent_bytes = all_rate(t, "tx.bytes", ns), .received_bytes = all_rate(t, "rx.bytes", ns),
		.missed = all_rate(t, "rx.missed", ns), .link = sample_value(&view.cat, t, "link"),
		.up = sample_value(&view.cat, t, "up") != 0,
	};
	memcpy(r->name, t->instance, MIN(strlen(t->instance) + 1, sizeof r->name));
	r->name[sizeof r->name - 1] = '\0';
}

static double key_of(const struct row *r)
{
	switch (sort_order) {
	case BY_CPU:
		return r->cpu;
	case BY_READY:
		return r->waited;
	case BY_COSTOP:
		return r->costopped;
	case BY_WAIT:
		return r->blocked;
	case BY_LIMIT:
		return r->limited;
	case BY_MIGRATIONS:
		return r->migrations;
	case BY_MEMORY:
		return (double)r->present;
	case BY_EXITS:
		return r->exits;
	case BY_UPTIME:
		return (double)r->uptime_ns;
	default:
		return 0;
	}
}

/* Highest first; equal ones by name, so that the view stands still. */
static int compare(const void *a, const void *b)
{
	double ka = key_of(a), kb = key_of(b);

	if (ka != kb)
		return ka < kb ? 1 : -1;
	return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

static void compute(void)
{
	double ns = elapsed_ns(), busy = (double)risen("host.cpu", "", "busy"), idle = (double)risen("host.cpu", "", "idle");

	view.count = view.pool_count = view.disk_count = view.volume_count = view.nic_count = view.wire_count = 0;
	view.host_cpu = busy + idle > 0 ? 100 * busy / (busy + idle) : 0;
	for (unsigned i = 0; i < newer()->count; i++) {
		if (strcmp(newer()->tables[i].group, "vm") == 0)
			take_row(&newer()->tables[i], ns);
		else if (strcmp(newer()->tables[i].group, "pool") == 0)
			take_pool(&newer()->tables[i], ns);
		else if (strcmp(newer()->tables[i].group, "vm.disk") == 0)
			take_disk(&newer()->tables[i], ns);
		else if (strcmp(newer()->tables[i].group, "volume") == 0)
			take_volume(&newer()->tables[i], ns);
		else if (strcmp(newer()->tables[i].group, "vm.net") == 0)
			take_nic(&newer()->tables[i], ns);
		else if (strcmp(newer()->tables[i].group, "nic") == 0)
			take_wire(&newer()->tables[i], ns);
	}
	sort_order = view.order;
	qsort(view.rows, view.count, sizeof view.rows[0], compare);
}

static enum exit_status sample_again(struct client *c)
{
	view.now = 1 - view.now;
	return sample_read(c, NULL, &view.samples[view.now]);
}

/* ---- drawing ---- */

struct screen {
	unsigned width, height;
	bool live; /* escape sequences, and lines that end in CR LF */
};

/* One line, cut to the width. */
__attribute__((format(printf, 4, 5)))
static void put_line(FILE *out, const struct screen *s, bool strong, const char *fmt, ...)
{
	char line[LINE_MAX_CHARS];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (len >= 0 && s->live && (unsigned)len > s->width)
		line[s->width] = '\0';
	if (s->live)
		fprintf(out, "%s%s%s\x1b[K\r\n", strong ? "\x1b[7m" : "", line, strong ? "\x1b[0m" : "");
	else
		fprintf(out, "%s\n", line);
}

static void put_head(FILE *out, const struct screen *s)
{
	char uptime[24], free_bytes[24], committed[24], capacity[24];
	unsigned running = 0;

	for (unsigned i = 0; i < view.count; i++)
		running += strcmp(view.rows[i].state, "running") == 0;
	show_ns(value(newer(), "control", "", "uptime"), uptime, sizeof uptime);
	show_bytes(value(newer(), "host.mem", "", "free"), free_bytes, sizeof free_bytes);
	show_bytes(value(newer(), "host", "", "committed"), committed, sizeof committed);
	show_bytes(value(newer(), "host", "", "capacity"), capacity, sizeof capacity);
	put_line(out, s, false, "up %s, %u VMs, %u running, CPU %.1f%% busy, %llu waiting", uptime, view.count, running,
		 view.host_cpu, (unsigned long long)value(newer(), "host.cpu", "", "ready"));
	put_line(out, s, false, "memory: %s promised of %s, %s free", committed, capacity, free_bytes);
}

/* Lines that the pools take: none where the machine has only its own. */
static unsigned pool_lines(void)
{
	return view.pool_count > OWN_POOLS ? view.pool_count + 1 : 0;
}

static void put_pools(FILE *out, const struct screen *s)
{
	if (pool_lines() == 0)
		return;
	put_line(out, s, true, "%-20s %4s %6s %5s %5s %9s %9s", "POOL", "VMS", "%USED", "%RDY", "%LMT", "ENTITLED",
		 "ALLOWED");
	for (unsigned i = 0; i < view.pool_count; i++) {
		const struct pool_row *r = &view.pools[i];

		put_line(out, s, false, "%-20.20s %4llu %6.1f %5.1f %5.1f %8.1f%% %8.1f%%", r->name,
			 (unsigned long long)r->vms, r->cpu, r->waited, r->limited, (double)r->entitled / PPM_OF_PERCENT,
			 (double)r->allowed / PPM_OF_PERCENT);
	}
}

/* At most half of a screen goes to disks, so that the VMs stay in sight. */
static unsigned disk_lines(const struct screen *s)
{
	unsigned lines = view.disk_count ? view.disk_count + 1 : 0;

	return s->live ? MIN(lines, s->height / 2) : lines;
}

static void put_disks(FILE *out, const struct screen *s)
{
	unsigned lines = disk_lines(s);

	if (lines == 0)
		return;
	put_line(out, s, true, "%-24s %8s %8s %7s %11s %11s %7s %5s %4s", "DISK", "READ/s", "WRITE/s", "FLUSH/s", "READ B/s",
		 "WRITE B/s", "LAT ms", "%THR", "ACT");
	for (unsigned i = 0; i + 1 < lines; i++) {
		const struct disk_row *r = &view.disks[i];
		char read[24], written[24];

		put_line(out, s, false, "%-24.24s %8.0f %8.0f %7.0f %11s %11s %7.2f %5.1f %4llu", r->name, r->reads, r->writes,
			 r->flushes, show_bytes((uint64_t)r->read, read, sizeof read),
			 show_bytes((uint64_t)r->written, written, sizeof written), r->latency_ms, r->throttled,
			 (unsigned long long)r->in_flight);
	}
}

/* Likewise a quarter to volumes. */
static unsigned volume_lines(const struct screen *s)
{
	unsigned lines = view.volume_count ? view.volume_count + 1 : 0;

	return s->live ? MIN(lines, s->height / 4) : lines;
}

static void put_volumes(FILE *out, const struct screen *s)
{
	unsigned lines = volume_lines(s);

	if (lines == 0)
		return;
	put_line(out, s, true, "%-24s %8s %11s %7s %7s %7s %9s %9s %5s %9s", "VOLUME", "REQ/s", "B/s", "LAT ms", "QUE ms",
		 "SVC ms", "P50", "P99", "%THR", "FREE");
	for (unsigned i = 0; i + 1 < lines; i++) {
		const struct volume_row *r = &view.volumes[i];
		char bytes[24], p50[24], p99[24], free_text[24];

		put_line(out, s, false, "%-24.24s %8.0f %11s %7.2f %7.2f %7.2f %9s %9s %5.1f %9s", r->name, r->requests,
			 show_bytes((uint64_t)r->bytes, bytes, sizeof bytes), r->latency_ms, r->queued_ms, r->service_ms,
			 show_ns(r->p50_ns, p50, sizeof p50), show_ns(r->p99_ns, p99, sizeof p99), r->throttled,
			 r->space ? show_bytes(r->free, free_text, sizeof free_text) : "-");
	}
}

/* Likewise a quarter to interfaces, the machine's behind the VMs'. */
static unsigned nic_lines(const struct screen *s)
{
	unsigned lines = view.nic_count ? view.nic_count + view.wire_count + 1 : 0;

	return s->live ? MIN(lines, s->height / 4) : lines;
}

/* Bits a second as the wire's people write them: "12.5M". */
static const char *bit_rate(double bytes, char out[16])
{
	static const char units[] = " kMGT";
	double bits = 8 * bytes;
	unsigned unit = 0;

	for (; bits >= 1000 && units[unit + 1]; unit++)
		bits /= 1000;
	snprintf(out, 16, unit ? "%.1f%c" : "%.0f", bits, units[unit]);
	return out;
}

static void put_nics(FILE *out, const struct screen *s)
{
	unsigned lines = nic_lines(s);
	char sent[16], received[16];

	if (lines == 0)
		return;
	put_line(out, s, true, "%-24s %-4s %9s %8s %9s %8s %8s %5s", "INTERFACE", "LINK", "SENT/s", "bit/s", "RECV/s", "bit/s",
		 "DROP/s", "%THR");
	for (unsigned i = 0; i + 1 < lines; i++) {
		const struct nic_row *r = &view.nics[i];
		const struct wire_row *w = &view.wires[i - MIN(i, view.nic_count)];

		if (i < view.nic_count)
			put_line(out, s, false, "%-24.24s %-4s %9.0f %8s %9.0f %8s %8.0f %5.1f", r->name, r->up ? "up" : "down",
				 r->sent, bit_rate(r->sent_bytes, sent), r->received, bit_rate(r->received_bytes, received),
				 r->drops, r->throttled);
		else
			put_line(out, s, false, "%-24.24s %-4s %9.0f %8s %9.0f %8s %8.0f", w->name, w->up ? "up" : "down",
				 w->sent, bit_rate(w->sent_bytes, sent), w->received, bit_rate(w->received_bytes, received),
				 w->missed);
	}
}

static void put_rows(FILE *out, const struct screen *s)
{
	int name_width = s->live && s->width > OTHER_COLUMNS + NAME_WIDTH ? (int)MIN(s->width - OTHER_COLUMNS, 32u)
									 : NAME_WIDTH;
	unsigned taken = 5 + pool_lines() + disk_lines(s) + volume_lines(s) + nic_lines(s);
	unsigned fit = s->live && s->height > taken ? s->height - taken : CATALOG_TABLES_MAX;
	unsigned shown = MIN(view.count, fit);

	put_line(out, s, true, "%-*s %-7s %6s %5s %5s %5s %5s %4s %8s %7s %8s", name_width, "NAME", "STATE",
		 orders[BY_CPU].title, orders[BY_READY].title, orders[BY_COSTOP].title, orders[BY_WAIT].title,
		 orders[BY_LIMIT].title, orders[BY_MIGRATIONS].title, orders[BY_MEMORY].title, orders[BY_EXITS].title,
		 orders[BY_UPTIME].title);
	for (unsigned i = 0; i < shown; i++) {
		const struct row *r = &view.rows[i];
		char present[24], uptime[24];

		put_line(out, s, false, "%-*.*s %-7s %6.1f %5.1f %5.1f %5.0f %5.1f %4.0f %8s %7.0f %8s", name_width,
			 name_width, r->name, r->state, r->cpu, r->waited, r->costopped, r->blocked, r->limited,
			 r->migrations, show_bytes(r->present, present, sizeof present), r->exits,
			 show_ns(r->uptime_ns, uptime, sizeof uptime));
	}
	if (shown < view.count)
		put_line(out, s, false, "... and %u more", view.count - shown);
	put_pools(out, s);
	put_disks(out, s);
	put_volumes(out, s);
	put_nics(out, s);
}

/* The whole view in one write, so that nothing flickers. */
static void draw(const struct screen *s)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return;
	if (s->live)
		fputs("\x1b[H", out);
	put_head(out, s);
	put_rows(out, s);
	if (s->live)
		fprintf(out, "c r s w l g m e u n: order, now %s; q: quit\x1b[K\x1b[J", orders[view.order].title);
	fclose(out);
	fwrite(text, 1, len, stdout);
	fflush(stdout);
	free(text);
}

static struct screen find_screen(void)
{
	struct screen s = {.width = WIDTH_DEFAULT, .height = HEIGHT_DEFAULT, .live = true};
	struct winsize w;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 && w.ws_row > 0) {
		s.width = MIN((unsigned)w.ws_col, (unsigned)LINE_MAX_CHARS - 1);
		s.height = w.ws_row;
	}
	return s;
}

/* ---- --json ---- */

static void print_json_volumes(void)
{
	fputs(", \"volumes\": [", stdout);
	for (unsigned i = 0; i < view.volume_count; i++) {
		const struct volume_row *r = &view.volumes[i];

		printf("%s{\"name\": ", i ? ", " : "");
		show_json_string(stdout, r->name, strlen(r->name));
		printf(", \"requests_per_s\": %.3f, \"bytes_per_s\": %.3f, \"latency_ms\": %.6f", r->requests, r->bytes,
		       r->latency_ms);
		printf(", \"queued_ms\": %.6f, \"service_ms\": %.6f, \"throttled_percent\": %.3f", r->queued_ms, r->service_ms,
		       r->throttled);
		printf(", \"p50_ns\": %llu, \"p99_ns\": %llu", (unsigned long long)r->p50_ns, (unsigned long long)r->p99_ns);
		printf(", \"space\": %llu, \"free\": %llu}", (unsigned long long)r->space, (unsigned long long)r->free);
	}
	fputs("]", stdout);
}

/* The machine's "VM/DISK" in two members. */
static void print_json_disks(void)
{
	fputs("], \"disks\": [", stdout);
	for (unsigned i = 0; i < view.disk_count; i++) {
		const struct disk_row *r = &view.disks[i];
		size_t vm = strcspn(r->name, "/");
		const char *disk = r->name + vm + (r->name[vm] == '/');

		printf("%s{\"vm\": ", i ? ", " : "");
		show_json_string(stdout, r->name, vm);
		fputs(", \"disk\": ", stdout);
		show_json_string(stdout, disk, strlen(disk));
		printf(", \"reads_per_s\": %.3f, \"writes_per_s\": %.3f, \"flushes_per_s\": %.3f", r->reads, r->writes,
		       r->flushes);
		printf(", \"read_bytes_per_s\": %.3f, \"written_bytes_per_s\": %.3f", r->read, r->written);
		printf(", \"latency_ms\": %.6f, \"throttled_percent\": %.3f, \"in_flight\": %llu}", r->latency_ms,
		       r->throttled, (unsigned long long)r->in_flight);
	}
	fputs("]", stdout);
}

static void print_json_rates(double sent, double received, double sent_bytes, double received_bytes)
{
	printf(", \"sent_per_s\": %.3f, \"received_per_s\": %.3f, \"sent_bytes_per_s\": %.3f, "
	       "\"received_bytes_per_s\": %.3f",
	       sent, received, sent_bytes, received_bytes);
}

static void print_json_nics(void)
{
	fputs(", \"interfaces\": [", stdout);
	for (unsigned i = 0; i < view.nic_count; i++) {
		const struct nic_row *r = &view.nics[i];
		size_t vm = strcspn(r->name, "/");
		const char *name = r->name + vm + (r->name[vm] == '/');

		printf("%s{\"vm\": ", i ? ", " : "");
		show_json_string(stdout, r->name, vm);
		fputs(", \"interface\": ", stdout);
		show_json_string(stdout, name, strlen(name));
		print_json_rates(r->sent, r->received, r->sent_bytes, r->received_bytes);
		printf(", \"drops_per_s\": %.3f, \"throttled_percent\": %.3f, \"up\": %s}", r->drops, r->throttled,
		       r->up ? "true" : "false");
	}
	fputs("], \"nics\": [", stdout);
	for (unsigned i = 0; i < view.wire_count; i++) {
		const struct wire_row *r = &view.wires[i];

		printf("%s{\"name\": ", i ? ", " : "");
		show_json_string(stdout, r->name, strlen(r->name));
		print_json_rates(r->sent, r->received, r->sent_bytes, r->received_bytes);
		printf(", \"missed_per_s\": %.3f, \"link\": %llu, \"up\": %s}", r->missed, (unsigned long long)r->link,
		       r->up ? "true" : "false");
	}
	fputs("]", stdout);
}

static void print_json(void)
{
	printf("{\"cpu_percent\": %.3f, \"vms\": [", view.host_cpu);
	for (unsigned i = 0; i < view.count; i++) {
		const struct row *r = &view.rows[i];

		printf("%s{\"name\": ", i ? ", " : "");
		show_json_string(stdout, r->name, strlen(r->name));
		fputs(", \"state\": ", stdout);
		show_json_string(stdout, r->state, strlen(r->state));
		printf(", \"used_percent\": %.3f, \"ready_percent\": %.3f, \"costop_percent\": %.3f, "
		       "\"wait_percent\": %.3f, \"limited_percent\": %.3f, \"migrations_per_s\": %.3f",
		       r->cpu, r->waited, r->costopped, r->blocked, r->limited, r->migrations);
		printf(", \"present\": %llu, \"exits_per_s\": %.3f, \"uptime_ns\": %llu}", (unsigned long long)r->present,
		       r->exits, (unsigned long long)r->uptime_ns);
	}
	fputs("], \"pools\": [", stdout);
	for (unsigned i = 0; i < view.pool_count; i++) {
		const struct pool_row *r = &view.pools[i];

		printf("%s{\"name\": ", i ? ", " : "");
		show_json_string(stdout, r->name, strlen(r->name));
		printf(", \"used_percent\": %.3f, \"ready_percent\": %.3f, \"limited_percent\": %.3f", r->cpu, r->waited,
		       r->limited);
		printf(", \"entitled\": %llu, \"allowed\": %llu, \"vms\": %llu}", (unsigned long long)r->entitled,
		       (unsigned long long)r->allowed, (unsigned long long)r->vms);
	}
	print_json_disks();
	print_json_volumes();
	print_json_nics();
	puts("}");
}

/* ---- the loop ---- */

static bool take_key(char key)
{
	for (unsigned i = 0; i < ARRAY_SIZE(orders); i++)
		if (orders[i].key == key)
			view.order = (enum order)i;
	return key != 'q' && key != KEY_CTRL_C;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Waits for the next sample's time; keys count at once. False: leave. */
static bool wait_for_keys(void)
{
	double end = now_s() + view.seconds;

	while (!terminal_interrupted()) {
		struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
		int left = (int)((end - now_s()) * 1000);
		struct screen s;
		char key;

		if (left <= 0)
			return true;
		if (poll(&p, 1, left) <= 0)
			continue;
		if (read(STDIN_FILENO, &key, 1) <= 0 || !take_key(key))
			return false;
		compute();
		s = find_screen();
		draw(&s);
	}
	return false;
}

/* The first view is what has been used since the start: there is nothing older to compare with. */
static enum exit_status live(struct client *c)
{
	enum exit_status st = EXIT_OK;

	terminal_raw();
	terminal_catch();
	fputs("\x1b[?1049h\x1b[?25l", stdout); /* the alternate screen, without a cursor */
	do {
		struct screen s = find_screen();

		st = sample_again(c);
		if (st != EXIT_OK)
			break;
		compute();
		draw(&s);
	} while (wait_for_keys());
	fputs("\x1b[?25h\x1b[?1049l", stdout);
	fflush(stdout);
	terminal_restore();
	terminal_release();
	return st;
}

static enum exit_status once(struct client *c)
{
	struct screen s = {.width = LINE_MAX_CHARS - 1, .height = HEIGHT_DEFAULT, .live = false};
	enum exit_status st = sample_again(c);

	if (st != EXIT_OK)
		return st;
	usleep((useconds_t)(view.seconds * 1e6));
	st = sample_again(c);
	if (st != EXIT_OK)
		return st;
	compute();
	if (c->json)
		print_json();
	else
		draw(&s);
	return EXIT_OK;
}

static bool read_seconds(const char *text, double *out)
{
	char *end;
	double n = strtod(text, &end);

	if (*end || end == text || !(n >= SECONDS_MIN && n <= SECONDS_MAX)) {
		complain("top takes seconds, from 0.1 to 3600, not %s", text);
		return false;
	}
	*out = n;
	return true;
}

enum exit_status top_run(struct client *c, int argc, char **argv)
{
	enum exit_status st;

	view.order = BY_CPU;
	view.seconds = SECONDS_DEFAULT;
	if (argc > 0 && !read_seconds(argv[0], &view.seconds))
		return EXIT_USAGE;
	st = catalog_read(c, &view.cat);
	if (st != EXIT_OK)
		return st;
	st = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !c->json ? live(c) : once(c);
	sample_free(&view.samples[0]);
	sample_free(&view.samples[1]);
	return st;
}
