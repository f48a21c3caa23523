/* SPDX-License-Identifier: Apache-2.0 */
/* What the control plane counts of its line and of its interpreters. */
#include "lua/declare.h"

#include "lib/bits.h"
#include "lua/control_internal.h"

/* ---- the line ---- */

struct line_figures {
	struct control_counts counters;
	uint64_t uptime;
};

static void line_figures(const void *object, void *out)
{
	const struct control *c = object;

	*(struct line_figures *)out = (struct line_figures){
		.counters = c->counters,
		.uptime = control_ticks(c) - c->started,
	};
}

#define LINE(field, measure, help) \
	COUNTER(struct line_figures, counters.field, #field, COUNTER_TOTAL, measure, help)

static const struct counter line_rows[] = {
	LINE(frames, MEASURE_COUNT, "Requests that arrived whole"),
	LINE(dropped, MEASURE_COUNT, "Frames that did not"),
	LINE(errors, MEASURE_COUNT, "Requests answered with an error"),
	LINE(lost, MEASURE_BYTES, "Received bytes for which there was no room"),
	LINE(pushed, MEASURE_BYTES, "Console output pushed on the line"),
	COUNTER(struct line_figures, uptime, "uptime", COUNTER_GAUGE, MEASURE_TICKS,
		"Time since the control plane started"),
};

const struct counter_table control_counters = {
	.group = "control", .rows = line_rows, .count = ARRAY_SIZE(line_rows),
	.figures_bytes = sizeof(struct line_figures), .figures = line_figures,
};

/* ---- Lua ---- */

struct lua_figures {
	uint64_t heap, peak, kills, discards;
};

static void lua_figures(const void *object, void *out)
{
	const struct control *c = object;

	*(struct lua_figures *)out = (struct lua_figures){
		.heap = c->shell.size,
		.peak = MAX(c->shell.heap.peak, c->script.heap.peak),
		.kills = c->shell.kills + c->script.kills,
		.discards = c->shell.discards + c->script.discards,
	};
}

#define LUA(field, kind, measure, help) COUNTER(struct lua_figures, field, #field, kind, measure, help)

static const struct counter lua_rows[] = {
	LUA(heap, COUNTER_GAUGE, MEASURE_BYTES, "Memory that an interpreter has"),
	LUA(peak, COUNTER_GAUGE, MEASURE_BYTES, "The most that one has used"),
	LUA(kills, COUNTER_TOTAL, MEASURE_COUNT, "Scripts stopped because they used up their budget"),
	LUA(discards, COUNTER_TOTAL, MEASURE_COUNT, "Interpreters dropped with what ran in them"),
};

const struct counter_table lua_counters = {
	.group = "lua", .rows = lua_rows, .count = ARRAY_SIZE(lua_rows), .figures_bytes = sizeof(struct lua_figures),
	.figures = lua_figures,
};
