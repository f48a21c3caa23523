/* SPDX-License-Identifier: Apache-2.0 */
/* What the control plane counts of its line and of its interpreters. */
#include "lua/declare.h"

#include "lib/bits.h"
#include "lua/control_internal.h"
#include "lua/state.h"

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
	uint64_t scripts, hooks_run, hooks_failed, quarantined, abandoned, overshoot, generation;
};

static void lua_figures(const void *object, void *out)
{
	const struct control *c = object;
	uint64_t scripts = 0;

	for (unsigned i = 0; i < SCRIPTS_MAX; i++)
		scripts += c->policy.scripts[i].state == SCRIPT_READY;
	*(struct lua_figures *)out = (struct lua_figures){
		.heap = c->shell.size,
		.peak = MAX(c->shell.heap.peak, c->script.heap.peak),
		.kills = c->shell.kills + c->script.kills,
		.discards = c->shell.discards + c->script.discards,
		.scripts = scripts,
		.hooks_run = c->policy.hooks_run,
		.hooks_failed = c->policy.hooks_failed,
		.quarantined = c->policy.quarantined,
		.abandoned = c->policy.abandoned,
		.overshoot = interp_worst_overshoot(),
		.generation = c->generation.current,
	};
}

#define LUA(field, kind, measure, help) COUNTER(struct lua_figures, field, #field, kind, measure, help)

static const struct counter lua_rows[] = {
	LUA(heap, COUNTER_GAUGE, MEASURE_BYTES, "Memory that an interpreter has"),
	LUA(peak, COUNTER_GAUGE, MEASURE_BYTES, "The most that one has used"),
	LUA(kills, COUNTER_TOTAL, MEASURE_COUNT, "Scripts stopped because they used up their budget"),
	LUA(discards, COUNTER_TOTAL, MEASURE_COUNT, "Interpreters dropped with what ran in them"),
	LUA(scripts, COUNTER_GAUGE, MEASURE_COUNT, "Scripts that stay, with hooks"),
	LUA(hooks_run, COUNTER_TOTAL, MEASURE_COUNT, "Calls of hooks"),
	LUA(hooks_failed, COUNTER_TOTAL, MEASURE_COUNT, "Of these, those that failed"),
	LUA(quarantined, COUNTER_TOTAL, MEASURE_COUNT, "Hooks that failed too often and are not called any more"),
	LUA(abandoned, COUNTER_TOTAL, MEASURE_COUNT, "Scripts left for good because they did not return"),
	LUA(overshoot, COUNTER_GAUGE, MEASURE_TICKS, "The longest that one went on beyond its budget"),
	LUA(generation, COUNTER_GAUGE, MEASURE_COUNT, "The generation in force, 0 for the seed's script"),
};

const struct counter_table lua_counters = {
	.group = "lua", .rows = lua_rows, .count = ARRAY_SIZE(lua_rows), .figures_bytes = sizeof(struct lua_figures),
	.figures = lua_figures,
};
