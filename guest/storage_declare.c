/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counters of volumes, and the counters and knobs of domains. A volume's are of
 * all who use it together, and of those who did: what one VM has of it is counted at its disk
 * (guest/vm_disk.c). A layer is in the tree while somebody uses it.
 */
#include <string.h>

#include "guest/storage_internal.h"
#include "lib/assert.h"
#include "lib/bits.h"

/* ---- latencies ---- */

uint64_t storage_percentile(const uint64_t buckets[IOSCHED_LATENCY_BUCKETS], unsigned part)
{
	uint64_t all = 0, below = 0;
	unsigned i;

	for (i = 0; i < IOSCHED_LATENCY_BUCKETS; i++)
		all += buckets[i];
	if (all == 0)
		return 0;
	for (i = 0; i + 1 < IOSCHED_LATENCY_BUCKETS; i++) {
		below += buckets[i];
		if (below * 100 >= all * part)
			break;
	}
	return BIT(i);
}

static const char *bucket_name(unsigned i)
{
	static const char *const names[IOSCHED_LATENCY_BUCKETS] = {
		"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19",
		"20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31",
	};

	return names[i];
}

const struct counter_family storage_latency_buckets = {
	.label = "bucket", .count = IOSCHED_LATENCY_BUCKETS, .name = bucket_name,
};

/* ---- volumes ---- */

struct volume_figures {
	struct iosched_figures sched;
	uint64_t size, users;
	uint64_t latency, p50, p99;           /* ticks */
	uint64_t space, space_free, full;     /* of the pool of layers that it holds, or is in */
};

static void add_space(const struct storage_volume *v, struct volume_figures *f)
{
	struct layer_pool_stats pool;
	unsigned long state;

	if (!v->pool || !v->pool->on)
		return;
	state = storage_domain_enter(v->domain);
	layer_pool_stats(v->pool->pool, &pool);
	storage_domain_leave(v->domain, state);
	f->space = pool.clusters * LAYER_CLUSTER_BYTES;
	f->space_free = pool.clusters_free * LAYER_CLUSTER_BYTES;
	f->full = pool.full;
}

static void volume_figures(const void *object, void *out)
{
	struct storage_volume *v = (struct storage_volume *)object;
	const struct block_device *device = v->volume.device;
	struct volume_figures *f = out;

	memset(f, 0, sizeof *f);
	storage_volume_figures(v, &f->sched);
	f->size = device->sectors * device->sector_bytes;
	f->users = volume_users(&v->volume);
	f->latency = f->sched.queued + f->sched.service;
	f->p50 = storage_percentile(f->sched.latency, 50);
	f->p99 = storage_percentile(f->sched.latency, 99);
	add_space(v, f);
}

#define VOLUME(field, name, kind, measure, help) COUNTER(struct volume_figures, field, name, kind, measure, help)

static const struct counter volume_rows[] = {
	VOLUME(size, "size", COUNTER_GAUGE, MEASURE_BYTES, "How large it is"),
	VOLUME(users, "users", COUNTER_GAUGE, MEASURE_COUNT, "Who has it open: VMs, volumes, the host"),
	VOLUME(sched.requests[BLOCK_READ], "reads", COUNTER_TOTAL, MEASURE_COUNT, "Reads of all its users that ended"),
	VOLUME(sched.requests[BLOCK_WRITE], "writes", COUNTER_TOTAL, MEASURE_COUNT, "Writes that ended"),
	VOLUME(sched.requests[BLOCK_FLUSH], "flushes", COUNTER_TOTAL, MEASURE_COUNT, "Flushes that ended"),
	VOLUME(sched.requests[BLOCK_DISCARD], "discards", COUNTER_TOTAL, MEASURE_COUNT, "Discards that ended"),
	VOLUME(sched.requests[BLOCK_WRITE_ZEROES], "write_zeroes", COUNTER_TOTAL, MEASURE_COUNT,
	       "Requests to write zeroes that ended"),
	VOLUME(sched.bytes_read, "read", COUNTER_TOTAL, MEASURE_BYTES, "What was read"),
	VOLUME(sched.bytes_written, "written", COUNTER_TOTAL, MEASURE_BYTES, "What was written"),
	VOLUME(sched.failed, "failed", COUNTER_TOTAL, MEASURE_COUNT, "Requests that failed"),
	VOLUME(sched.waiting, "queue.waiting", COUNTER_GAUGE, MEASURE_COUNT, "Requests that are not at the device yet"),
	VOLUME(sched.at_device, "queue.at_device", COUNTER_GAUGE, MEASURE_COUNT, "And those at the device"),
	VOLUME(sched.straight, "queue.straight", COUNTER_TOTAL, MEASURE_COUNT, "Requests that waited for nobody"),
	VOLUME(sched.by_reservation, "queue.by_reservation", COUNTER_TOTAL, MEASURE_COUNT,
	       "Requests whose turn came because a reservation was due"),
	VOLUME(sched.queued, "time.queued", COUNTER_TOTAL, MEASURE_TICKS,
	       "Time of all requests together until they went to the device"),
	VOLUME(sched.throttled, "time.throttled", COUNTER_TOTAL, MEASURE_TICKS, "Of that, until a limit let them"),
	VOLUME(sched.service, "time.service", COUNTER_TOTAL, MEASURE_TICKS, "Time of all requests together at the device"),
	VOLUME(latency, "time.latency", COUNTER_TOTAL, MEASURE_TICKS, "Both together, from arrival to end"),
	COUNTER_HISTOGRAM_OF(struct volume_figures, sched.latency, "latency", &storage_latency_buckets, "time.latency",
			     "Requests by the time from arrival to end"),
	VOLUME(p50, "latency_p50", COUNTER_GAUGE, MEASURE_TICKS,
	       "Half of the requests ended within this time; a power of two in ticks"),
	VOLUME(p99, "latency_p99", COUNTER_GAUGE, MEASURE_TICKS, "Of a hundred requests 99 ended within this time"),
	VOLUME(space, "space.size", COUNTER_GAUGE, MEASURE_BYTES,
	       "What the pool of layers has that it holds, or is a layer of; 0: neither"),
	VOLUME(space_free, "space.free", COUNTER_GAUGE, MEASURE_BYTES, "And what of that nobody has"),
	VOLUME(full, "space.missed", COUNTER_TOTAL, MEASURE_COUNT, "Times that a request found no space in the pool"),
};

const struct counter_table storage_volume_counters = {
	.group = "volume", .rows = volume_rows, .count = ARRAY_SIZE(volume_rows),
	.figures_bytes = sizeof(struct volume_figures), .figures = volume_figures, .piecewise = true,
};

_Static_assert(sizeof(struct volume_figures) <= COUNTER_FIGURES_MAX, "registries have that much room");

struct storage_volume *storage_volume_at(struct storage *s, unsigned place)
{
	return place < STORAGE_VOLUMES_MAX ? s->places[place] : NULL;
}

unsigned storage_volume_place(const struct storage_volume *v) { return v->place; }
const char *storage_volume_name(const struct storage_volume *v) { return v->volume.name; }

/* ---- domains ---- */

struct domain_figures {
	uint64_t depth, at_device, volumes, turns;
};

static void domain_figures(const void *object, void *out)
{
	struct storage_domain *d = (struct storage_domain *)object;
	unsigned long state = storage_domain_enter(d);

	*(struct domain_figures *)out = (struct domain_figures){
		.depth = d->sched.depth, .at_device = d->sched.at_device, .volumes = d->volumes, .turns = d->worker.turns,
	};
	storage_domain_leave(d, state);
}

#define DOMAIN(field, name, kind, help) COUNTER(struct domain_figures, field, name, kind, MEASURE_COUNT, help)

static const struct counter domain_rows[] = {
	DOMAIN(volumes, "volumes", COUNTER_GAUGE, "Volumes in it that are known: layers while somebody uses them"),
	DOMAIN(depth, "depth", COUNTER_GAUGE, "Requests that may be at the device now"),
	DOMAIN(at_device, "at_device", COUNTER_GAUGE, "Those that are there"),
	DOMAIN(turns, "turns", COUNTER_TOTAL, "Turns of its worker on a processor"),
};

const struct counter_table storage_domain_counters = {
	.group = "domain", .rows = domain_rows, .count = ARRAY_SIZE(domain_rows),
	.figures_bytes = sizeof(struct domain_figures), .figures = domain_figures,
};

struct storage_domain *storage_domain_at(struct storage *s, unsigned place)
{
	return place < STORAGE_DOMAINS_MAX ? s->domains[place] : NULL;
}

const char *storage_domain_name(const struct storage_domain *d) { return d->name; }

/* The control task alone changes them: it may read them without the lock. */
static const struct iosched_settings *settings_of(const void *object)
{
	return &((const struct storage_domain *)object)->sched.settings;
}

static void give(void *object, const struct iosched_settings *set)
{
	struct storage_domain *d = object;
	unsigned long masked = storage_mask(d->storage);
	enum status st = iosched_set(&d->sched, set, NULL);

	storage_unmask(d->storage, masked);
	ASSERT(st == ST_OK); /* within what the knob takes */
}

#define DOMAIN_KNOB(field, type)                                                                            \
	static uint64_t get_##field(const void *object) { return settings_of(object)->field; }                 \
	static void set_##field(void *object, uint64_t value)                                                   \
	{                                                                                                      \
		struct iosched_settings set = *settings_of(object);                                             \
                                                                                                           \
		set.field = (type)value;                                                                         \
		give(object, &set);                                                                              \
	}

DOMAIN_KNOB(depth_max, uint32_t)
DOMAIN_KNOB(latency_ns, uint64_t)
DOMAIN_KNOB(burst, uint32_t)

static const struct knob domain_knob_rows[] = {
	{
		.name = "depth_max", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .max = IOSCHED_DEPTH_MAX,
		.get = get_depth_max, .set = set_depth_max,
		.help = "Requests that may be at the device at a time; 0: twice what it works on at once, at least 4",
	},
	{
		.name = "latency", .type = KNOB_NUMBER, .measure = MEASURE_NS, .max = IOSCHED_LATENCY_MAX_NS,
		.get = get_latency_ns, .set = set_latency_ns,
		.help = "The device's latency to aim at, by fewer requests at a time; 0: none is aimed at",
	},
	{
		.name = "burst", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .max = IOSCHED_BURST_MAX,
		.otherwise = IOSCHED_BURST_DEFAULT, .get = get_burst, .set = set_burst,
		.help = "Requests by which who was idle may be ahead of others when it comes back",
	},
};

const struct knob_table storage_domain_knobs = {
	.group = "domain", .rows = domain_knob_rows, .count = ARRAY_SIZE(domain_knob_rows),
};
