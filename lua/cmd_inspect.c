/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our group of inspection (74): the machine underneath, and the walk that checks
 * that memory and the run queues are as their rules say.
 */
#include "lib/bits.h"
#include "lua/control_internal.h"

static void put_memory(struct control *c, struct cbor_writer *w)
{
	static const char *const names[FRAME_STATES] = {
		[FRAME_ABSENT] = "absent", [FRAME_FREE] = "free",     [FRAME_HOST] = "host",
		[FRAME_GUEST] = "guest",   [FRAME_SHARED] = "shared", [FRAME_LEAVING] = "leaving",
	};
	unsigned long state = control_mask(c);
	struct memmgr_stats stats;
	struct cbor_mark map;

	memmgr_stats(c->cfg.machine->mm, &stats);
	control_unmask(c, state);
	cbor_put_text(w, "memory");
	map = cbor_open(w);
	command_put_uint(w, "capacity", c->cfg.machine->capacity);
	command_put_uint(w, "committed", c->cfg.machine->committed);
	for (unsigned i = 0; i < FRAME_STATES; i++)
		if (i != FRAME_ABSENT)
			command_put_uint(w, names[i], stats.frames[i] * PAGE_SIZE);
	command_put_uint(w, "cleared", stats.cleared_2m * (PAGE_SIZE << ORDER_2M) + stats.cleared_4k * PAGE_SIZE);
	cbor_close_map(w, map);
}

static void put_vms(struct control *c, struct cbor_writer *w)
{
	unsigned counts[VM_STATES] = {0};
	struct cbor_mark map;
	struct vm *vm = NULL;

	while ((vm = vm_next(c->cfg.machine, vm)))
		counts[vm->state]++;
	cbor_put_text(w, "vms");
	map = cbor_open(w);
	for (unsigned s = 0; s < VM_STATES; s++)
		if (counts[s])
			command_put_uint(w, vm_state_name((enum vm_state)s), counts[s]);
	cbor_close_map(w, map);
}

static void put_line(struct control *c, struct cbor_writer *w)
{
	struct cbor_mark map;

	cbor_put_text(w, "line");
	map = cbor_open(w);
	command_put_uint(w, "frames", c->counters.frames);
	command_put_uint(w, "dropped", c->counters.dropped);
	command_put_uint(w, "errors", c->counters.errors);
	command_put_uint(w, "lost", c->counters.lost);
	command_put_uint(w, "pushed", c->counters.pushed);
	cbor_close_map(w, map);
}

static void put_lua(struct control *c, struct cbor_writer *w)
{
	struct cbor_mark map;

	cbor_put_text(w, "lua");
	map = cbor_open(w);
	command_put_uint(w, "heap_bytes", c->shell.size);
	command_put_uint(w, "peak_bytes", MAX(c->shell.heap.peak, c->script.heap.peak));
	command_put_uint(w, "kills", c->shell.kills + c->script.kills);
	command_put_uint(w, "discards", c->shell.discards + c->script.discards);
	cbor_close_map(w, map);
}

/* Since it was asked last: figures that are to be watched, not summed. */
static void put_masked(struct control *c, struct cbor_writer *w)
{
	struct host_masked *masked = c->cfg.machine->host->masked, seen;
	struct cbor_mark map;
	unsigned long state;

	if (!masked)
		return;
	state = control_mask(c);
	seen = *masked;
	*masked = (struct host_masked){0};
	control_unmask(c, state);
	cbor_put_text(w, "masked");
	map = cbor_open(w);
	command_put_uint(w, "ticks", seen.ticks);
	command_put_uint(w, "where", seen.where);
	cbor_close_map(w, map);
}

static void put_facts(struct control *c, struct cbor_writer *w)
{
	struct cbor_mark map;

	cbor_put_text(w, "facts");
	map = cbor_open(w);
	for (unsigned i = 0; i < c->cfg.fact_count; i++)
		command_put_text(w, c->cfg.facts[i].name, c->cfg.facts[i].value);
	cbor_close_map(w, map);
}

static void put_store(struct control *c, struct cbor_writer *w)
{
	struct cbor_mark map;

	cbor_put_text(w, "store");
	map = cbor_open(w);
	cmd_store_put(c, w);
	cbor_close_map(w, map);
}

static enum status host_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	char text[ERROR_TEXT_MAX];

	(void)a;
	(void)f;
	command_put_text(w, "version", c->cfg.version);
	command_put_text(w, "build", c->cfg.build);
	command_put_text(w, "engine", c->cfg.machine->engine->name);
	if (c->cfg.processor)
		command_put_text(w, "processor", c->cfg.processor);
	command_put_uint(w, "uptime_ns", ticks_to_ns(control_ticks(c) - c->started, c->cfg.clock->hz));
	command_put_uint(w, "clock_hz", c->cfg.clock->hz);
	keystore_describe(c, text, sizeof text);
	command_put_text(w, "trust", text);
	put_memory(c, w);
	put_vms(c, w);
	put_line(c, w);
	put_lua(c, w);
	put_store(c, w);
	put_masked(c, w);
	put_facts(c, w);
	return ST_OK;
}

/* Masked for each room as a whole, but for the store, which nobody but this task touches. */
static enum status walk(struct control *c, struct error *err)
{
	const struct kvlog *kv = c->cfg.machine->files->kv;
	unsigned long state = control_mask(c);
	bool memory = memmgr_check(c->cfg.machine->mm, err), queues;

	control_unmask(c, state);
	state = control_mask(c);
	queues = sched_check(c->cfg.machine->sched);
	control_unmask(c, state);
	if (!memory)
		return ST_CORRUPT;
	if (!queues)
		return fail(err, ST_CORRUPT, "a run queue is out of order");
	return kv && !kvlog_check(kv, err) ? ST_CORRUPT : ST_OK;
}

/* An operator asks for it, or a test; what it finds is everybody's trouble. */
static enum status check_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	enum status st = walk(c, &f->error);

	(void)a;
	if (st != ST_OK) {
		events_post(&c->events, EVENT_FAULT, NULL, "check: %s", f->error.text);
		return st;
	}
	cbor_put_text(w, "checked");
	cbor_put_bool(w, true);
	return ST_OK;
}

static const struct command inspect_commands[] = {
	{.id = INSPECT_HOST, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "host", .help = "says all about the machine",
	 .apply = host_apply},
	{.id = INSPECT_CHECK, .ops = BIT(SMP_READ), .role = ROLE_OPERATOR, .name = "check",
	 .help = "walks memory, run queues and store",
	 .apply = check_apply},
};

const struct command_group inspect_group = {
	.id = GROUP_INSPECT, .name = "corbel inspect", .commands = inspect_commands,
	.count = ARRAY_SIZE(inspect_commands),
};
