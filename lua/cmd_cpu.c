/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our group of processors (67): what each has done and where it is in the machine,
 * the trace of who had it when, and the pools that share them.
 */
#include "guest/machine.h"
#include "lib/bits.h"
#include "lua/cmd_pool.h"
#include "lua/control_internal.h"

#define CPU_MAX_BYTES 160u   /* of one processor in a list */
#define RECORD_MAX_BYTES 48u /* of one record: seven numbers, two of 9 bytes, one of 5 at most when it is no address */
#define RECORDS_AT_ONCE 32u

/* ---- processors ---- */

static void put_cpu(struct control *c, unsigned i, struct cbor_writer *w)
{
	struct machine *m = c->cfg.machine;
	unsigned long state = control_mask(c);
	struct sched_cpu_stats stats;
	struct host_place place;
	struct cbor_mark map;

	sched_cpu_stats(m->sched, i, &stats);
	control_unmask(c, state);
	map = cbor_open(w);
	command_put_uint(w, "cpu", i);
	command_put_uint(w, "busy_ns", ticks_to_ns(stats.busy, c->cfg.clock->hz));
	command_put_uint(w, "idle_ns", ticks_to_ns(stats.idle, c->cfg.clock->hz));
	command_put_uint(w, "ready", stats.ready);
	command_put_uint(w, "rate", stats.rate);
	command_put_uint(w, "pulled", stats.pulled);
	if (m->host->cpu_place) {
		m->host->cpu_place(i, &place);
		command_put_uint(w, "apic_id", place.apic_id);
		command_put_uint(w, "core", place.core);
		command_put_uint(w, "cache", place.llc);
		command_put_uint(w, "package", place.package);
	}
	cbor_close_map(w, map);
}

static enum status list_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	const struct host_ops *host = c->cfg.machine->host;
	unsigned i = a->from.given ? (unsigned)MIN(a->from.value, SCHED_MAX_CPUS) : 0;
	struct cbor_mark list;

	(void)f;
	command_put_uint(w, "now_ns", ticks_to_ns(control_ticks(c) - c->started, c->cfg.clock->hz));
	cbor_put_text(w, "cpus");
	list = cbor_open(w);
	while (host->cpu_at(i) && command_fits(w, CPU_MAX_BYTES))
		put_cpu(c, i++, w);
	cbor_close_array(w, list);
	if (host->cpu_at(i))
		command_put_uint(w, "next", i);
	return ST_OK;
}

/* ---- the trace ---- */

static void put_exit_kinds(struct cbor_writer *w)
{
	struct cbor_mark list;

	cbor_put_text(w, "exit_kinds");
	list = cbor_open(w);
	for (unsigned i = 0; i < EXIT_KINDS; i++)
		cbor_put_text(w, exit_kind_name((enum exit_kind)i));
	cbor_close_array(w, list);
}

static enum status trace_decode(struct control *c, struct command_args *a, struct failure *f)
{
	bool on;

	(void)c;
	if (a->op == SMP_READ && a->on.given)
		return fail(&f->error, ST_INVALID, "reading takes no argument on");
	if (a->op == SMP_WRITE && !(a->on.given && cbor_get_bool(a->on.value, &on)))
		return fail(&f->error, ST_INVALID, "trace needs the argument on, true or false");
	return ST_OK;
}

static enum status trace_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct machine *m = c->cfg.machine;
	enum status st = ST_OK;
	struct cbor_mark list;
	bool on;

	if (a->op == SMP_WRITE && cbor_get_bool(a->on.value, &on))
		st = machine_trace_set(m, on, &f->error);
	if (st != ST_OK)
		return st;
	cbor_put_text(w, "on");
	cbor_put_bool(w, m->trace.on);
	command_put_uint(w, "now_ns", ticks_to_ns(control_ticks(c) - c->started, c->cfg.clock->hz));
	cbor_put_text(w, "heads");
	list = cbor_open(w);
	for (unsigned i = 0; i < m->trace.cpus; i++)
		cbor_put_uint(w, cputrace_head(machine_trace_ring(m, i)));
	cbor_close_array(w, list);
	put_exit_kinds(w);
	return ST_OK;
}

/* ---- its records ---- */

static uint64_t since_start_ns(const struct control *c, uint64_t ticks)
{
	return ticks > c->started ? ticks_to_ns(ticks - c->started, c->cfg.clock->hz) : 0;
}

static void put_record(const struct control *c, const struct cputrace_record *r, struct cbor_writer *w)
{
	struct cbor_mark list = cbor_open(w);
	uint64_t begin = since_start_ns(c, r->begin), end = since_start_ns(c, r->end);

	cbor_put_uint(w, begin);
	cbor_put_uint(w, end > begin ? end - begin : 0);
	cbor_put_uint(w, r->kind);
	cbor_put_uint(w, r->vm);
	cbor_put_uint(w, r->vcpu);
	if (r->kind != CPUTRACE_WAKE)
		cbor_put_uint(w, r->code);
	if (r->kind == CPUTRACE_EXIT)
		cbor_put_uint(w, r->detail);
	cbor_close_array(w, list);
}

static enum status records_decode(struct control *c, struct command_args *a, struct failure *f)
{
	const struct machine *m = c->cfg.machine;

	if (!m->trace.rings)
		return fail(&f->error, ST_BAD_STATE, "nothing has been recorded: switch the trace on first");
	if (a->cpu.value >= m->trace.cpus)
		return fail(&f->error, ST_NOT_FOUND, "there is no CPU %llu, the last is %u", (unsigned long long)a->cpu.value,
			    m->trace.cpus - 1);
	return ST_OK;
}

/* Up to @room records from *from on, or as many as fit. False: there are no more now, or no room. */
static bool put_records(struct control *c, const struct cputrace *ring, uint64_t *from, uint64_t *lost, uint64_t room,
			struct cbor_writer *w)
{
	static struct cputrace_record records[RECORDS_AT_ONCE]; /* the control task's */
	uint64_t wanted = *from;
	size_t count = cputrace_read(ring, from, records, (size_t)MIN(room, RECORDS_AT_ONCE));

	*lost += *from > wanted ? *from - wanted : 0;
	for (size_t i = 0; i < count; i++) {
		if (!command_fits(w, RECORD_MAX_BYTES))
			return false;
		put_record(c, &records[i], w);
		++*from;
	}
	return count > 0;
}

static enum status records_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	const struct cputrace *ring = machine_trace_ring(c->cfg.machine, (unsigned)a->cpu.value);
	uint64_t from = a->from.value, lost = 0, left = a->max.given ? a->max.value : UINT64_MAX, before;
	struct cbor_mark list;

	(void)f;
	cbor_put_text(w, "records");
	list = cbor_open(w);
	do {
		before = from;
		if (!put_records(c, ring, &from, &lost, left, w))
			break;
		left -= MIN(left, from - before);
	} while (left > 0);
	cbor_close_array(w, list);
	command_put_uint(w, "next", from);
	command_put_uint(w, "head", cputrace_head(ring));
	command_put_uint(w, "lost", lost);
	return ST_OK;
}

/* ---- the table; pools are in cmd_pool.c ---- */

static const struct arg list_args[] = {{"from", ARG_NUMBER, ARG_OF(from), false}};
static const struct arg trace_args[] = {{"on", ARG_VALUE, ARG_OF(on), false}};
static const struct arg records_args[] = {
	{"cpu", ARG_NUMBER, ARG_OF(cpu), true},
	{"from", ARG_NUMBER, ARG_OF(from), false},
	{"max", ARG_NUMBER, ARG_OF(max), false},
};

static const struct arg pools_args[] = {{"after", ARG_NUMBER, ARG_OF(after), false}, {"max", ARG_NUMBER, ARG_OF(max), false}};
static const struct arg pool_args[] = {{"name", ARG_TEXT, ARG_OF(name), true}};
static const struct arg create_args[] = {
	{"name", ARG_TEXT, ARG_OF(name), true},
	{"config", ARG_VALUE, ARG_OF(config), false},
	{"origin", ARG_TEXT, ARG_OF(origin), false},
};
static const struct arg set_args[] = {
	{"name", ARG_TEXT, ARG_OF(name), true},
	{"config", ARG_VALUE, ARG_OF(config), true},
};
static const struct arg move_args[] = {
	{"name", ARG_TEXT, ARG_OF(name), false},
	{"id", ARG_NUMBER, ARG_OF(id), false},
	{"pool", ARG_TEXT, ARG_OF(pool), true},
};

#define ARGS(rows) .args = rows, .arg_count = ARRAY_SIZE(rows)

static const struct command cpu_commands[] = {
	{.id = CPU_LIST, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "list", .help = "lists the processors",
	 ARGS(list_args), .apply = list_apply},
	{.id = CPU_TRACE, .ops = BIT(SMP_READ) | BIT(SMP_WRITE), .role = ROLE_OBSERVER, .write_role = ROLE_OPERATOR,
	 .name = "trace", .help = "says whether it is recorded what processors do, and switches that", ARGS(trace_args),
	 .decode = trace_decode, .apply = trace_apply},
	{.id = CPU_RECORDS, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "records",
	 .help = "reads what was recorded of one processor", ARGS(records_args), .decode = records_decode,
	 .apply = records_apply},
	{.id = CPU_POOL_LIST, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "pools", .help = "lists the pools",
	 ARGS(pools_args), .decode = pool_list_decode, .apply = pool_list_apply},
	{.id = CPU_POOL_SHOW, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "pool", .help = "says all about a pool",
	 ARGS(pool_args), .decode = pool_show_decode, .apply = pool_show_apply},
	{.id = CPU_POOL_CREATE, .ops = BIT(SMP_WRITE), .role = ROLE_OPERATOR, .name = "create-pool", .help = "makes a pool",
	 ARGS(create_args), .decode = pool_create_decode, .apply = pool_create_apply},
	{.id = CPU_POOL_SET, .ops = BIT(SMP_WRITE), .role = ROLE_OPERATOR, .name = "set-pool",
	 .help = "changes a pool's place and numbers", ARGS(set_args), .decode = pool_set_decode, .apply = pool_set_apply},
	{.id = CPU_POOL_REMOVE, .ops = BIT(SMP_WRITE), .role = ROLE_OPERATOR, .name = "remove-pool",
	 .help = "removes a pool that nothing is in", ARGS(pool_args), .decode = pool_remove_decode,
	 .apply = pool_remove_apply},
	{.id = CPU_POOL_MOVE, .ops = BIT(SMP_WRITE), .role = ROLE_OPERATOR, .target = TARGET_VM, .checks_rights = true,
	 .name = "move", .help = "moves a VM into another pool", ARGS(move_args), .decode = pool_move_decode,
	 .apply = pool_move_apply},
};

const struct command_group cpu_group = {
	.id = GROUP_CPU, .name = "corbel cpu", .commands = cpu_commands, .count = ARRAY_SIZE(cpu_commands),
};
