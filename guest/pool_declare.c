/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counters and the knobs of a pool. As with a VM, a new value has to pass the
 * definition's own rules, on a copy, and then the managers' admission.
 */
#include <string.h>

#include "guest/machine.h"
#include "lib/bits.h"

#define CPU_PPM_MAX (SCHED_MAX_CPUS * (uint64_t)SCHED_ONE_CPU)

static void figures(const void *object, void *out)
{
	pool_info(object, out);
}

#define POOL(field, name, kind, measure, help) COUNTER(struct pool_info, field, name, kind, measure, help)

static const struct counter counter_rows[] = {
	POOL(vms, "vms", COUNTER_GAUGE, MEASURE_COUNT, "VMs directly in it"),
	POOL(pools, "pools", COUNTER_GAUGE, MEASURE_COUNT, "Pools directly in it"),
	POOL(entitled, "cpu.entitled", COUNTER_GAUGE, MEASURE_PPM, "What it gets when everybody wants all he can use"),
	POOL(allowed, "cpu.allowed", COUNTER_GAUGE, MEASURE_PPM, "What it gets at present, with what is lent"),
	POOL(used, "cpu.used", COUNTER_TOTAL, MEASURE_TICKS, "Time that VMs in it, and in pools below it, ran"),
	POOL(waited, "cpu.waited", COUNTER_TOTAL, MEASURE_TICKS, "Time that their processors were ready, but not run"),
	POOL(limited, "cpu.limited", COUNTER_TOTAL, MEASURE_TICKS, "Time that they were held back by a limit"),
	POOL(costopped, "cpu.costopped", COUNTER_TOTAL, MEASURE_TICKS,
	     "Time that they were held back until their siblings had caught up"),
	POOL(turns, "cpu.turns", COUNTER_TOTAL, MEASURE_COUNT, "Their turns on a processor"),
	POOL(migrations, "cpu.migrations", COUNTER_TOTAL, MEASURE_COUNT, "Their turns on another processor than the last"),
	POOL(wakes, "cpu.wakes", COUNTER_TOTAL, MEASURE_COUNT, "Times that one of them woke"),
};

const struct counter_table pool_counters = {
	.group = "pool", .rows = counter_rows, .count = ARRAY_SIZE(counter_rows), .figures_bytes = sizeof(struct pool_info),
	.figures = figures, .piecewise = true,
};

_Static_assert(sizeof(struct pool_info) <= COUNTER_FIGURES_MAX, "registries have that much room");

static enum status check_with(const struct pool *p, void (*change)(struct pool_config *cfg, uint64_t value), uint64_t value,
			      struct error *err)
{
	struct pool_config after = p->config;

	change(&after, value);
	return pool_check(pool_by_id(p->machine, p->id), &after, err);
}

/* The functions of the knob cpu.@name. */
#define CPU_KNOB(name, type)                                                                                     \
	static uint64_t get_cpu_##name(const void *p) { return ((const struct pool *)p)->config.cpu.numbers.name; } \
	static void change_cpu_##name(struct pool_config *cfg, uint64_t v) { cfg->cpu.numbers.name = (type)v; }     \
	static enum status check_cpu_##name(const void *p, uint64_t value, struct error *err)                        \
	{                                                                                                           \
		return check_with(p, change_cpu_##name, value, err);                                                  \
	}                                                                                                           \
	static void set_cpu_##name(void *p, uint64_t value)                                                          \
	{                                                                                                           \
		change_cpu_##name(&((struct pool *)p)->config, value);                                                \
		pool_changed(p);                                                                                      \
	}

CPU_KNOB(shares, uint32_t)
CPU_KNOB(reservation, uint64_t)
CPU_KNOB(limit, uint64_t)

#define CPU_FUNCTIONS(name) .get = get_cpu_##name, .check = check_cpu_##name, .set = set_cpu_##name, .piecewise = true

static const struct knob knob_rows[] = {
	{
		.name = "cpu.shares", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .member = MEMBER_SHARES, .min = 1,
		.max = RLS_SHARES_MAX, .otherwise = RLS_SHARES_DEFAULT, CPU_FUNCTIONS(shares),
		.help = "Its weight among what is beside it, where others want the processors too",
	},
	{
		.name = "cpu.reservation", .type = KNOB_NUMBER, .measure = MEASURE_PPM, .member = MEMBER_RESERVATION,
		.max = CPU_PPM_MAX, CPU_FUNCTIONS(reservation),
		.help = "What all in it get in any case, in parts of one processor; those below share it out",
	},
	{
		.name = "cpu.limit", .type = KNOB_NUMBER, .measure = MEASURE_PPM, .member = MEMBER_LIMIT, .min = 1,
		.max = CPU_PPM_MAX, .none = true, .otherwise = KNOB_NONE, CPU_FUNCTIONS(limit),
		.help = "What all in it together get at most, in parts of one processor",
	},
};

/* ---- for storage, which looks at them by itself ---- */

/* The functions of the knob that is @name of the three numbers, whatever they count. */
#define IO_KNOB(name, type)                                                                                      \
	static uint64_t get_io_##name(const void *p) { return ((const struct pool *)p)->config.io.numbers.name; }  \
	static void change_io_##name(struct pool_config *cfg, uint64_t v) { cfg->io.numbers.name = (type)v; }       \
	static enum status check_io_##name(const void *p, uint64_t value, struct error *err)                         \
	{                                                                                                           \
		return check_with(p, change_io_##name, value, err);                                                   \
	}                                                                                                           \
	static void set_io_##name(void *p, uint64_t value) { change_io_##name(&((struct pool *)p)->config, value); }

IO_KNOB(shares, uint32_t)
IO_KNOB(reservation, uint64_t)
IO_KNOB(limit, uint64_t)

#define IO_FUNCTIONS(name) .get = get_io_##name, .check = check_io_##name, .set = set_io_##name

/* The same rows for both units, in the order of those for the processors. */
#define IO_ROWS(prefix, unit, what)                                                                              \
	{                                                                                                           \
		{                                                                                                    \
			.name = prefix ".shares", .type = KNOB_NUMBER, .measure = MEASURE_COUNT,                       \
			.member = MEMBER_SHARES, .min = 1, .max = RLS_SHARES_MAX, .otherwise = RLS_SHARES_DEFAULT,     \
			IO_FUNCTIONS(shares), .help = "Its weight at each device among what is beside it, in " what,   \
		},                                                                                                   \
		{                                                                                                    \
			.name = prefix ".reservation", .type = KNOB_NUMBER, .measure = unit,                           \
			.member = MEMBER_RESERVATION, .max = VM_DISK_RATE_MAX, IO_FUNCTIONS(reservation),              \
			.help = "What all in it get of each device in any case, in " what " a second",                 \
		},                                                                                                   \
		{                                                                                                    \
			.name = prefix ".limit", .type = KNOB_NUMBER, .measure = unit, .member = MEMBER_LIMIT,         \
			.min = 1, .max = VM_DISK_RATE_MAX, .none = true, .otherwise = KNOB_NONE,                       \
			IO_FUNCTIONS(limit), .help = "What all in it together get of each device at most, in " what " a second", \
		},                                                                                                   \
	}

static const struct knob iops_rows[] = IO_ROWS("iops", MEASURE_COUNT, "requests");
static const struct knob bandwidth_rows[] = IO_ROWS("bandwidth", MEASURE_BYTES, "bytes");

static bool io_given(const void *object, size_t row, const char **where)
{
	const struct pool *p = object;

	*where = p->config.origin;
	return (p->config.io.given & BIT(row)) != 0;
}

#define IO_TABLE(table) {.group = "pool", .rows = (table), .count = ARRAY_SIZE(table), .given = io_given}

const struct knob_table pool_io_knobs[VM_DISK_UNITS] = {
	[VM_DISK_IOPS] = IO_TABLE(iops_rows), [VM_DISK_BYTES] = IO_TABLE(bandwidth_rows),
};

/* ---- for networks, which look at them by themselves too ---- */

#define NET_KNOB(name, type)                                                                                     \
	static uint64_t get_net_##name(const void *p) { return ((const struct pool *)p)->config.net.numbers.name; } \
	static void change_net_##name(struct pool_config *cfg, uint64_t v) { cfg->net.numbers.name = (type)v; }     \
	static enum status check_net_##name(const void *p, uint64_t value, struct error *err)                        \
	{                                                                                                           \
		return check_with(p, change_net_##name, value, err);                                                  \
	}                                                                                                           \
	static void set_net_##name(void *p, uint64_t value) { change_net_##name(&((struct pool *)p)->config, value); }

NET_KNOB(shares, uint32_t)
NET_KNOB(reservation, uint64_t)
NET_KNOB(limit, uint64_t)

#define NET_FUNCTIONS(name) .get = get_net_##name, .check = check_net_##name, .set = set_net_##name

static const struct knob net_rows[] = {
	{
		.name = "mbps.shares", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .member = MEMBER_SHARES, .min = 1,
		.max = RLS_SHARES_MAX, .otherwise = RLS_SHARES_DEFAULT, NET_FUNCTIONS(shares),
		.help = "Its weight at each uplink among what is beside it",
	},
	{
		.name = "mbps.reservation", .type = KNOB_NUMBER, .measure = MEASURE_RATE, .member = MEMBER_RESERVATION,
		.max = VM_NIC_RATE_MAX, NET_FUNCTIONS(reservation),
		.help = "What all in it get to send by each uplink in any case, in bytes a second",
	},
	{
		.name = "mbps.limit", .type = KNOB_NUMBER, .measure = MEASURE_RATE, .member = MEMBER_LIMIT,
		.min = VM_NIC_RATE_MIN, .max = VM_NIC_RATE_MAX, .none = true, .otherwise = KNOB_NONE, NET_FUNCTIONS(limit),
		.help = "What all in it together get to send by each uplink at most, in bytes a second",
	},
};

static bool net_given(const void *object, size_t row, const char **where)
{
	const struct pool *p = object;

	*where = p->config.origin;
	return (p->config.net.given & BIT(row)) != 0;
}

const struct knob_table pool_net_knobs = {
	.group = "pool", .rows = net_rows, .count = ARRAY_SIZE(net_rows), .given = net_given,
};

/* ---- the whole ---- */

static bool given(const void *object, size_t row, const char **where)
{
	const struct pool *p = object;

	*where = p->config.origin;
	return (p->config.given & BIT(row)) != 0;
}

const struct knob_table pool_knobs = {
	.group = "pool", .rows = knob_rows, .count = ARRAY_SIZE(knob_rows), .given = given,
};

_Static_assert(ARRAY_SIZE(knob_rows) <= 32, "pool_config.given has a bit for each");
