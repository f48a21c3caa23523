/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See vm_disk.h. As with the processors, a new value has to pass the definition's
 * own rules, on a copy; the I/O scheduler takes whatever those allow.
 */
#include "guest/vm_disk.h"

#include <string.h>

#include "guest/machine.h"
#include "guest/platform.h"
#include "guest/storage.h"
#include "guest/vm_virtio.h"
#include "lib/assert.h"
#include "lib/bits.h"

const struct vm_disk *vm_disk_at(const struct vm_disk_place *p)
{
	ASSERT(p->index < p->vm->config.disk_count);
	return &p->vm->config.disks[p->index];
}

unsigned vm_disk_index(const struct vm_config *cfg, const char *name)
{
	unsigned i = 0;

	while (i < cfg->disk_count && strcmp(cfg->disks[i].name, name) != 0)
		i++;
	return i;
}

const struct vm_disk_place *vm_disk_find(const struct vm *vm, const char *name, size_t len)
{
	for (unsigned i = 0; i < vm->config.disk_count; i++) {
		const char *own = vm->config.disks[i].name;

		if (strlen(own) == len && memcmp(own, name, len) == 0)
			return &vm->disk_places[i];
	}
	return NULL;
}

/* A VM that is not built has nobody to tell: its disks are opened with what the definition says then. */
static void changed(struct vm *vm, unsigned index)
{
	struct vm_virtio *v = platform_virtio(vm);

	if (v)
		vm_virtio_renumber(v, index);
}

void vm_disks_changed(struct vm *vm)
{
	for (unsigned i = 0; i < vm->config.disk_count; i++)
		changed(vm, i);
}

/* ---- counters ---- */

/* What the table has: vm_disk_figures, and what follows from it. */
struct disk_figures {
	struct vm_disk_figures is;
	uint64_t latency;      /* ticks, of all requests together */
	uint64_t p50, p99;     /* ticks: an upper bound, a power of two */
};

static void read_figures(const struct vm_disk_place *p, struct vm_virtio *v, struct vm_disk_figures *out)
{
	struct virtio_blk *blk = vm_virtio_disk(v, p->index);

	memset(out, 0, sizeof *out);
	if (!blk)
		return;
	virtio_blk_figures(blk, &out->blk);
	vm_virtio_figures(v, p->index, &out->sched);
}

bool vm_disk_is_full(const struct vm *vm, unsigned index)
{
	struct vm_virtio *v = platform_virtio(vm);
	struct virtio_blk *blk = v ? vm_virtio_disk(v, index) : NULL;
	struct virtio_blk_figures f;

	if (!blk)
		return false;
	virtio_blk_figures(blk, &f);
	return f.waiting_for_space != 0;
}

void vm_disks_keep_figures(struct vm *vm)
{
	struct vm_virtio *v = platform_virtio(vm);

	for (unsigned i = 0; v && i < vm->config.disk_count; i++) {
		struct vm_disk_figures *kept = &vm->last_disks[i];

		read_figures(&vm->disk_places[i], v, kept);
		memcpy(vm->last_disk_names[i], vm->config.disks[i].name, VM_DISK_NAME_MAX);
		/* Nothing is under way any more. */
		kept->blk.in_flight = kept->blk.waiting_for_space = 0;
		kept->sched.waiting = kept->sched.at_device = 0;
	}
	for (unsigned i = vm->config.disk_count; v && i < VM_DISKS_MAX; i++)
		vm->last_disk_names[i][0] = '\0';
}

/* Of a VM that is not built: what the disk of that name did in its last start, wherever it was then. */
static void last_figures(const struct vm_disk_place *p, struct vm_disk_figures *out)
{
	const char *name = vm_disk_at(p)->name;

	for (unsigned i = 0; i < VM_DISKS_MAX; i++) {
		if (strcmp(p->vm->last_disk_names[i], name) != 0)
			continue;
		*out = p->vm->last_disks[i];
		return;
	}
}

/* @out is zero. */
static void figures_of(const struct vm_disk_place *p, struct vm_disk_figures *out)
{
	struct vm_virtio *v = platform_virtio(p->vm);

	if (v)
		read_figures(p, v, out);
	else
		last_figures(p, out);
}

uint64_t vm_disk_errors(const struct vm *vm, unsigned index)
{
	struct vm_disk_figures f;

	memset(&f, 0, sizeof f);
	figures_of(&vm->disk_places[index], &f);
	return f.blk.errors;
}

static void figures(const void *object, void *out)
{
	struct disk_figures *f = out;

	memset(f, 0, sizeof *f);
	figures_of(object, &f->is);
	f->latency = f->is.sched.queued + f->is.sched.service;
	f->p50 = storage_percentile(f->is.sched.latency, 50);
	f->p99 = storage_percentile(f->is.sched.latency, 99);
}

#define DISK(field, name, kind, measure, help) COUNTER(struct disk_figures, field, name, kind, measure, help)

static const struct counter counter_rows[] = {
	DISK(is.blk.reads, "reads", COUNTER_TOTAL, MEASURE_COUNT, "Reads that ended in this start"),
	DISK(is.blk.writes, "writes", COUNTER_TOTAL, MEASURE_COUNT, "Writes that ended"),
	DISK(is.blk.flushes, "flushes", COUNTER_TOTAL, MEASURE_COUNT, "Flushes that ended"),
	DISK(is.blk.discards, "discards", COUNTER_TOTAL, MEASURE_COUNT, "Discards that ended"),
	DISK(is.blk.write_zeroes, "write_zeroes", COUNTER_TOTAL, MEASURE_COUNT, "Requests to write zeroes that ended"),
	DISK(is.blk.read_bytes, "read", COUNTER_TOTAL, MEASURE_BYTES, "What the guest read"),
	DISK(is.blk.written_bytes, "written", COUNTER_TOTAL, MEASURE_BYTES, "What the guest wrote"),
	DISK(is.blk.errors, "errors", COUNTER_TOTAL, MEASURE_COUNT, "Requests that the guest was told have failed"),
	DISK(is.blk.unsupported, "unsupported", COUNTER_TOTAL, MEASURE_COUNT,
	     "Requests that the guest was told are not supported"),
	DISK(is.blk.parked, "parked", COUNTER_TOTAL, MEASURE_COUNT, "Times that a request waited for the guest's memory"),
	DISK(is.blk.interrupts, "interrupts_sent", COUNTER_TOTAL, MEASURE_COUNT, "Interrupts sent to the guest"),
	DISK(is.blk.held, "interrupts_saved", COUNTER_TOTAL, MEASURE_COUNT,
	     "Requests for whose end no interrupt was sent at once"),
	DISK(is.blk.kicks_held, "kicks_saved", COUNTER_TOTAL, MEASURE_COUNT,
	     "Interrupts for which a processor of the guest was not made to look at once"),
	DISK(is.blk.in_flight, "in_flight", COUNTER_GAUGE, MEASURE_COUNT, "Requests of the guest under way now"),
	DISK(is.blk.waiting_for_space, "waiting_for_space", COUNTER_GAUGE, MEASURE_COUNT,
	     "Requests that wait until the volume has space"),
	DISK(is.sched.waiting, "queue.waiting", COUNTER_GAUGE, MEASURE_COUNT, "Of those under way, those not at the device yet"),
	DISK(is.sched.at_device, "queue.at_device", COUNTER_GAUGE, MEASURE_COUNT, "And those at the device"),
	DISK(is.sched.straight, "queue.straight", COUNTER_TOTAL, MEASURE_COUNT, "Requests that waited for nobody"),
	DISK(is.sched.by_reservation, "queue.by_reservation", COUNTER_TOTAL, MEASURE_COUNT,
	     "Requests whose turn came because a reservation was due"),
	DISK(is.sched.failed, "queue.failed", COUNTER_TOTAL, MEASURE_COUNT, "Requests that the volume failed"),
	DISK(is.sched.queued, "time.queued", COUNTER_TOTAL, MEASURE_TICKS,
	     "Time of all requests together until they went to the device"),
	DISK(is.sched.throttled, "time.throttled", COUNTER_TOTAL, MEASURE_TICKS,
	     "Of that, until a limit let them: the disk's own or a pool's"),
	DISK(is.sched.service, "time.service", COUNTER_TOTAL, MEASURE_TICKS, "Time of all requests together at the device"),
	DISK(latency, "time.latency", COUNTER_TOTAL, MEASURE_TICKS, "Both together, from arrival to end"),
	COUNTER_HISTOGRAM_OF(struct disk_figures, is.sched.latency, "latency", &storage_latency_buckets, "time.latency",
			     "Requests by the time from arrival to end"),
	DISK(p50, "latency_p50", COUNTER_GAUGE, MEASURE_TICKS,
	     "Half of the requests ended within this time; a power of two in ticks"),
	DISK(p99, "latency_p99", COUNTER_GAUGE, MEASURE_TICKS, "Of a hundred requests 99 ended within this time"),
};

const struct counter_table vm_disk_counters = {
	.group = VM_DISK_GROUP, .rows = counter_rows, .count = ARRAY_SIZE(counter_rows),
	.figures_bytes = sizeof(struct disk_figures), .figures = figures,
};

_Static_assert(sizeof(struct disk_figures) <= COUNTER_FIGURES_MAX, "registries have that much room");

/* ---- knobs ---- */

static struct vm_disk *disk_of(const struct vm_disk_place *p) { return &p->vm->config.disks[p->index]; }

static enum status check_with(const struct vm_disk_place *p, void (*change)(struct vm_disk *disk, uint64_t value),
			      uint64_t value, struct error *err)
{
	static struct vm_config after; /* the control task's; too large for its stack */

	after = p->vm->config;
	change(&after.disks[p->index], value);
	return vm_config_check(&after, err);
}

/* The functions of the knob that is @field of struct @part of a disk. */
#define DISK_KNOB(part, field, type)                                                                        \
	static uint64_t get_##field(const void *p) { return disk_of(p)->part.field; }                          \
	static void change_##field(struct vm_disk *disk, uint64_t value) { disk->part.field = (type)value; }   \
	static enum status check_##field(const void *p, uint64_t value, struct error *err)                      \
	{                                                                                                      \
		return check_with(p, change_##field, value, err);                                                \
	}                                                                                                      \
	static void set_##field(void *object, uint64_t value)                                                   \
	{                                                                                                      \
		struct vm_disk_place *p = object;                                                                \
                                                                                                           \
		change_##field(disk_of(p), value);                                                               \
		changed(p->vm, p->index);                                                                        \
	}

DISK_KNOB(numbers, shares, uint32_t)
DISK_KNOB(numbers, reservation, uint64_t)
DISK_KNOB(numbers, limit, uint64_t)
DISK_KNOB(coalesce, policy, unsigned)
DISK_KNOB(coalesce, iops_min, uint32_t)
DISK_KNOB(coalesce, cif_min, uint32_t)
DISK_KNOB(coalesce, epoch_ns, uint64_t)
DISK_KNOB(coalesce, gap_ns, uint64_t)

#define KNOB_FUNCTIONS(field) .get = get_##field, .check = check_##field, .set = set_##field

/* The same rows for both units. */
#define KNOB_ROWS(prefix, unit, what)                                                                       \
	{                                                                                                      \
		{                                                                                                \
			.name = prefix ".shares", .type = KNOB_NUMBER, .measure = MEASURE_COUNT,                   \
			.member = MEMBER_SHARES, .min = 1, .max = RLS_SHARES_MAX, .otherwise = RLS_SHARES_DEFAULT, \
			KNOB_FUNCTIONS(shares), .help = "Its weight where others want the device too, in " what,   \
		},                                                                                               \
		{                                                                                                \
			.name = prefix ".reservation", .type = KNOB_NUMBER, .measure = unit,                       \
			.member = MEMBER_RESERVATION, .max = VM_DISK_RATE_MAX, KNOB_FUNCTIONS(reservation),        \
			.help = "What it gets in any case, in " what " a second",                                  \
		},                                                                                               \
		{                                                                                                \
			.name = prefix ".limit", .type = KNOB_NUMBER, .measure = unit, .member = MEMBER_LIMIT,     \
			.min = 1, .max = VM_DISK_RATE_MAX, .none = true, .otherwise = KNOB_NONE,                   \
			KNOB_FUNCTIONS(limit), .help = "What it gets at most, in " what " a second",               \
		},                                                                                               \
		INTERRUPT_ROWS                                                                                   \
	}

/* Of io/coalesce.h; the defaults are those of coalesce_settings_init(). */
#define INTERRUPT_ROWS \
	{ \
		.name = "interrupts.policy", \
		.type = KNOB_CHOICE, \
		.names = coalesce_policy_names, \
		.otherwise = COALESCE_VIC, \
		KNOB_FUNCTIONS(policy), \
		.help = "Which completions interrupt: all (off), by requests in flight and rate (vic), or by " \
			"requests in flight alone (cif)", \
	}, \
		{ \
			.name = "interrupts.iops_min", \
			.type = KNOB_NUMBER, \
			.max = COALESCE_IOPS_MIN_MAX, \
			.otherwise = COALESCE_IOPS_MIN_DEFAULT, \
			KNOB_FUNCTIONS(iops_min), \
			.help = "Completions a second below which each interrupts, with vic", \
		}, \
		{ \
			.name = "interrupts.cif_min", \
			.type = KNOB_NUMBER, \
			.min = 2, \
			.max = COALESCE_CIF_MIN_MAX, \
			.otherwise = COALESCE_CIF_MIN_DEFAULT, \
			KNOB_FUNCTIONS(cif_min), \
			.help = "Requests in flight below which each interrupts", \
		}, \
		{ \
			.name = "interrupts.epoch", \
			.type = KNOB_NUMBER, \
			.measure = MEASURE_NS, \
			.min = COALESCE_EPOCH_MIN_NS, \
			.max = COALESCE_EPOCH_MAX_NS, \
			.otherwise = COALESCE_EPOCH_DEFAULT_NS, \
			KNOB_FUNCTIONS(epoch_ns), \
			.help = "How often the ratio is chosen anew", \
		}, \
		{ \
			.name = "interrupts.gap", \
			.type = KNOB_NUMBER, \
			.measure = MEASURE_NS, \
			.max = COALESCE_GAP_MAX_NS, \
			.otherwise = COALESCE_GAP_DEFAULT_NS, \
			KNOB_FUNCTIONS(gap_ns), \
			.help = "How far apart a processor of the guest on another CPU is made to look, while " \
				"completions are held back", \
		},

static const struct knob iops_rows[] = KNOB_ROWS("iops", MEASURE_COUNT, "requests");
static const struct knob bandwidth_rows[] = KNOB_ROWS("bandwidth", MEASURE_BYTES, "bytes");

static bool given(const void *object, size_t row, const char **where)
{
	const struct vm_disk_place *p = object;

	*where = p->vm->config.origin;
	return (vm_disk_at(p)->given & BIT(row)) != 0;
}

#define KNOB_TABLE(table) {.group = VM_DISK_GROUP, .rows = (table), .count = ARRAY_SIZE(table), .given = given}

const struct knob_table vm_disk_knobs[VM_DISK_UNITS] = {
	[VM_DISK_IOPS] = KNOB_TABLE(iops_rows), [VM_DISK_BYTES] = KNOB_TABLE(bandwidth_rows),
};

#define NUMBERS 3 /* rows that come before those that both have */

const struct knob_table vm_disk_bandwidth_knobs = {
	.group = VM_DISK_GROUP, .rows = bandwidth_rows, .count = NUMBERS, .given = given,
};

_Static_assert(RLS_UNLIMITED == KNOB_NONE, "no limit is none");
