/* SPDX-License-Identifier: Apache-2.0 */
/* What the writable store counts, all zeroes where there is none. */
#include <string.h>

#include "io/files.h"
#include "lib/bits.h"

#define ROW(field, name, kind, measure, text) COUNTER(struct kvlog_stats, field, name, kind, measure, text)

static void copy_stats(const void *object, void *out)
{
	const struct files *f = object;

	memset(out, 0, sizeof(struct kvlog_stats));
	if (f && f->kv)
		kvlog_stats(f->kv, out);
}

static const struct counter counters[] = {
	ROW(writable, "writable", COUNTER_GAUGE, MEASURE_COUNT, "Whether the store takes writes: 1 or 0"),
	ROW(size_bytes, "size", COUNTER_GAUGE, MEASURE_BYTES, "What files and their records may take"),
	ROW(used_bytes, "used", COUNTER_GAUGE, MEASURE_BYTES, "What files and their records take"),
	ROW(garbage_bytes, "garbage", COUNTER_GAUGE, MEASURE_BYTES, "What was superseded and is not won back yet"),
	ROW(keys, "keys", COUNTER_GAUGE, MEASURE_COUNT, "Names in the writable store"),
	ROW(streams, "streams", COUNTER_GAUGE, MEASURE_COUNT, "Files being written now"),
	ROW(generation, "generation", COUNTER_TOTAL, MEASURE_COUNT, "Superblocks written since the store was made"),
	ROW(damaged_bytes, "damaged", COUNTER_TOTAL, MEASURE_BYTES, "What could not be read as records"),
	ROW(damaged_keys, "damaged_keys", COUNTER_GAUGE, MEASURE_COUNT, "Names with a part that is lost"),
	ROW(reads, "reads", COUNTER_TOTAL, MEASURE_COUNT, "Read requests to the disk"),
	ROW(writes, "writes", COUNTER_TOTAL, MEASURE_COUNT, "Write requests to the disk"),
	ROW(flushes, "flushes", COUNTER_TOTAL, MEASURE_COUNT, "Flush requests to the disk"),
	ROW(read_bytes, "read", COUNTER_TOTAL, MEASURE_BYTES, "Bytes read from the disk"),
	ROW(written_bytes, "written", COUNTER_TOTAL, MEASURE_BYTES, "Bytes written to the disk"),
	ROW(put_bytes, "put", COUNTER_TOTAL, MEASURE_BYTES, "Bytes of files that were stored"),
	ROW(moved_bytes, "moved", COUNTER_TOTAL, MEASURE_BYTES, "Bytes that compaction wrote again"),
};
_Static_assert(sizeof(struct kvlog_stats) <= COUNTER_FIGURES_MAX, "the figures fit");

const struct counter_table files_counters = {
	.group = "host.store", .rows = counters, .count = ARRAY_SIZE(counters),
	.figures_bytes = sizeof(struct kvlog_stats), .figures = copy_stats,
};
