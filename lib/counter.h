/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters, declared once. The room that owns a number has a const table that
 * says its name, unit, meaning and place in a struct of figures which the room
 * fills in one go; everything that shows the number reads the table. Nothing is
 * registered at run time, and counting itself knows nothing of this: an exit path
 * adds to a plain uint64_t.
 */
#ifndef CORBEL_LIB_COUNTER_H
#define CORBEL_LIB_COUNTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/measure.h"

enum counter_kind {
	COUNTER_TOTAL, /* only rises, but begins anew with its owner */
	COUNTER_GAUGE, /* rises and falls */
	COUNTER_STATE, /* an index into the family's names */
	COUNTER_HISTOGRAM, /* of ticks: value i of the family counts what took 2^(i-1) to 2^i - 1 of them, the last all above */
};

/* One counter of many values: an array in the figures, with a name for each place. */
struct counter_family {
	const char *label; /* what the names are, for exporters: "kind" */
	unsigned count;
	const char *(*name)(unsigned i); /* NULL: that place is not shown */
};

struct counter {
	const char *name;   /* dotted, below its table's place: "cpu.used" */
	const char *help;   /* one sentence without a full stop */
	enum counter_kind kind;
	enum measure measure; /* of a histogram, of what it counts */
	uint16_t offset;    /* in the figures */
	uint8_t bytes;      /* of one value: 1, 2, 4 or 8 */
	const struct counter_family *family; /* NULL: one value. With COUNTER_STATE one value too */
	const char *sum;    /* of a histogram: the counter of its table that sums up what it counts */
};

struct counter_table {
	const char *group;  /* "vm", "host.mem": what the documents and the exporter call it */
	const struct counter *rows;
	size_t count;
	size_t figures_bytes; /* at most COUNTER_FIGURES_MAX */
	/* Fills the struct of figures of @object. Called with interrupts masked; bounded, allocates nothing. */
	void (*figures)(const void *object, void *out);
	bool piecewise;     /* figures() takes too long for that: it masks by itself, piece by piece */
};

#define COUNTER_FIGURES_MAX 1152u

#define COUNTER(type, field, path, what, unit, text)                                                \
	{                                                                                            \
		.name = (path), .help = (text), .kind = (what), .measure = (unit),                    \
		.offset = offsetof(type, field), .bytes = sizeof(((type *)0)->field),                  \
	}
#define COUNTER_OF(type, field, path, what, unit, members, text)                                    \
	{                                                                                            \
		.name = (path), .help = (text), .kind = (what), .measure = (unit),                    \
		.offset = offsetof(type, field), .bytes = sizeof(((type *)0)->field[0]),               \
		.family = (members),                                                                  \
	}

#define COUNTER_HISTOGRAM_OF(type, field, path, members, total, text)                                \
	{                                                                                            \
		.name = (path), .help = (text), .kind = COUNTER_HISTOGRAM, .measure = MEASURE_TICKS,   \
		.offset = offsetof(type, field), .bytes = sizeof(((type *)0)->field[0]),               \
		.family = (members), .sum = (total),                                                   \
	}

/* How many values @row has: 1, or the family's. */
static inline unsigned counter_values(const struct counter *row)
{
	return row->family && row->kind != COUNTER_STATE ? row->family->count : 1;
}

/* Value @member of @row in figures that its table filled, in the row's own measure. */
uint64_t counter_value(const struct counter *row, const void *figures, unsigned member);

#endif
