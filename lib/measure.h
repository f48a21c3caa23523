/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a number counts. Counters and knobs carry one of these, so that every face
 * of them (the wire, Lua, the operator's command, the exporter) shows the same
 * number in its own way, and none has to guess from a name.
 */
#ifndef CORBEL_LIB_MEASURE_H
#define CORBEL_LIB_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum measure {
	MEASURE_COUNT, /* things */
	MEASURE_BYTES,
	MEASURE_PAGES, /* of 4 KiB; shown as bytes */
	MEASURE_NS,
	MEASURE_TICKS, /* of the host's clock; shown as nanoseconds */
	MEASURE_PPM,   /* millionths of one processor; people write percent of one */
	MEASURE_RATE,  /* bytes a second of a network; people write Mbit/s */
	MEASURES
};

/* The unit in which it is shown: "", "bytes", "ns", "ppm" or "bytes/s"; static storage. */
const char *measure_unit(enum measure m);

/*
 * Reads a number as a person writes it: decimal digits, and behind them, with or without a blank, a
 * unit of the measure (B KiB MiB GiB TiB; ns us ms s min h; ppm %; B/s kbit/s Mbit/s Gbit/s). False for
 * anything else and for what exceeds 64 bits.
 */
bool measure_parse(enum measure m, const char *text, size_t len, uint64_t *out);

/* The largest unit that gives a whole number: "128 MiB", "5 ms", "17". Always NUL-terminated; returns @buf. */
const char *measure_format(enum measure m, uint64_t value, char *buf, size_t size);

#endif
