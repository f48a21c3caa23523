/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The room's counters and knobs. What of memory is whose comes straight from the
 * frame table's sums, so the gauges add up to the machine.
 */
#include "lib/bits.h"
#include "memmgr/internal.h"

#define BLOCKS_4K_MAX BIT(20) /* 4 GiB; more than is free is never cleared */
#define BLOCKS_2M_MAX BIT(16)
#define BLOCKS_1G_MAX BIT(10)

static void figures(const void *object, void *out)
{
	memmgr_stats(object, out);
}

#define STAT(field, name, kind, measure, help) COUNTER(struct memmgr_stats, field, name, kind, measure, help)
#define FRAMES(state, name, help) STAT(frames[state], name, COUNTER_GAUGE, MEASURE_PAGES, help)

static const struct counter rows[] = {
	FRAMES(FRAME_FREE, "free", "Host memory that nobody has, cleared blocks included"),
	FRAMES(FRAME_HOST, "host", "Host memory that the hypervisor has"),
	FRAMES(FRAME_GUEST, "guest", "Host memory that guests have"),
	FRAMES(FRAME_SHARED, "shared", "Host memory that guests share, read-only"),
	FRAMES(FRAME_LEAVING, "leaving", "Host memory taken from guests whose translations are not flushed yet"),
	STAT(promised, "promised", COUNTER_GAUGE, MEASURE_PAGES, "Memory that running guests may still touch"),
	STAT(table_bytes, "table", COUNTER_GAUGE, MEASURE_BYTES, "Size of the frame table"),
	STAT(cleared_4k, "cleared.4k", COUNTER_GAUGE, MEASURE_COUNT, "Pages of 4 KiB cleared ahead"),
	STAT(cleared_2m, "cleared.2m", COUNTER_GAUGE, MEASURE_COUNT, "Blocks of 2 MiB cleared ahead"),
	STAT(cleared_1g, "cleared.1g", COUNTER_GAUGE, MEASURE_COUNT, "Blocks of 1 GiB cleared ahead"),
	STAT(fault_4k_pool, "touched.4k", COUNTER_TOTAL, MEASURE_COUNT,
	     "First touches answered with a page cleared ahead"),
	STAT(fault_4k_inline, "touched.4k_inline", COUNTER_TOTAL, MEASURE_COUNT,
	     "First touches for which a page had to be cleared"),
	STAT(fault_2m, "touched.2m", COUNTER_TOTAL, MEASURE_COUNT, "First touches answered with 2 MiB"),
	STAT(fault_1g, "touched.1g", COUNTER_TOTAL, MEASURE_COUNT, "First touches answered with 1 GiB"),
};

const struct counter_table memmgr_counters = {
	.group = "host.mem", .rows = rows, .count = ARRAY_SIZE(rows), .figures_bytes = sizeof(struct memmgr_stats),
	.figures = figures,
};

/* ---- knobs ---- */

static uint64_t target(const void *mm, enum leaf_size size)
{
	return __atomic_load_n(&((const struct memmgr *)mm)->pool_target[size], __ATOMIC_RELAXED);
}

/* Idle CPUs read it at any time. */
static void set_target(void *mm, enum leaf_size size, uint64_t blocks)
{
	__atomic_store_n(&((struct memmgr *)mm)->pool_target[size], blocks, __ATOMIC_RELAXED);
}

static uint64_t get_4k(const void *mm) { return target(mm, LEAF_4K); }
static void set_4k(void *mm, uint64_t blocks) { set_target(mm, LEAF_4K, blocks); }
static uint64_t get_2m(const void *mm) { return target(mm, LEAF_2M); }
static void set_2m(void *mm, uint64_t blocks) { set_target(mm, LEAF_2M, blocks); }
static uint64_t get_1g(const void *mm) { return target(mm, LEAF_1G); }
static void set_1g(void *mm, uint64_t blocks) { set_target(mm, LEAF_1G, blocks); }

/* A lower target is reached as guests take what is there; nothing is given back for it. */
static const struct knob knobs[] = {
	{
		.name = "clear_ahead.4k", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .max = BLOCKS_4K_MAX,
		.otherwise = MEMMGR_CLEAR_AHEAD_4K, .get = get_4k, .set = set_4k,
		.help = "Pages of 4 KiB that idle time keeps cleared for first touches",
	},
	{
		.name = "clear_ahead.2m", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .max = BLOCKS_2M_MAX,
		.otherwise = MEMMGR_CLEAR_AHEAD_2M, .get = get_2m, .set = set_2m,
		.help = "Blocks of 2 MiB that idle time keeps cleared for first touches",
	},
	{
		.name = "clear_ahead.1g", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .max = BLOCKS_1G_MAX,
		.otherwise = 0, .get = get_1g, .set = set_1g,
		.help = "Blocks of 1 GiB that idle time keeps cleared for first touches",
	},
};

const struct knob_table memmgr_knobs = {.group = "host.mem", .rows = knobs, .count = ARRAY_SIZE(knobs)};
