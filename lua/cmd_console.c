/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our group of consoles (72): every VM's, by the VM's name or id, and the
 * hypervisor's log as console 0, "corbel". Output is read by sequence number,
 * whether anybody was there when it was written or not, or pushed live.
 */
#include "lib/bits.h"
#include "lua/control_internal.h"

#define READ_MAX 4096u
#define READ_DEFAULT 2048u
#define LIST_ENTRY_MAX 128

static void put_console(struct control *c, const struct vm *vm, struct cbor_writer *w)
{
	const struct bytelog *log = console_log(c, vm);
	struct cbor_mark map = cbor_open(w);
	unsigned id = vm ? vm->id : LOG_CONSOLE;

	command_put_uint(w, "id", id);
	command_put_text(w, "name", vm ? vm->config.name : LOG_CONSOLE_NAME);
	command_put_uint(w, "oldest", bytelog_oldest(log));
	command_put_uint(w, "head", log->head);
	cbor_put_text(w, "attached");
	cbor_put_bool(w, c->attached[id].on && !c->attached[id].closing);
	cbor_close_map(w, map);
}

static enum status list_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct cbor_mark list;
	struct vm *vm = NULL;
	bool more = false;
	unsigned last = 0;

	(void)f;
	cbor_put_text(w, "consoles");
	list = cbor_open(w);
	if (!a->after.given)
		put_console(c, NULL, w);
	while ((vm = vm_next(c->cfg.machine, vm))) {
		if (a->after.given && vm->id <= a->after.value)
			continue;
		more = !command_fits(w, LIST_ENTRY_MAX);
		if (more)
			break;
		put_console(c, vm, w);
		last = vm->id;
	}
	cbor_close_array(w, list);
	if (more)
		command_put_uint(w, "next", last);
	return ST_OK;
}

/* Where reading starts: at from, or last bytes before the end, or at the oldest byte. */
static uint64_t start_of(const struct bytelog *log, const struct command_args *a)
{
	if (a->from.given)
		return a->from.value;
	if (a->last.given && a->last.value < log->head)
		return log->head - a->last.value;
	return 0;
}

static enum status read_decode(struct control *c, struct command_args *a, struct failure *f)
{
	(void)c;
	if (a->from.given && a->last.given)
		return fail(&f->error, ST_INVALID, "read takes from or last, not both");
	if (a->max.given && a->max.value == 0)
		return fail(&f->error, ST_INVALID, "max is 0: a read takes one byte at least");
	return ST_OK;
}

/* As text: for clients that cannot show byte strings. */
static void put_as_text(struct cbor_writer *w, uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((data[i] < ' ' && data[i] != '\n' && data[i] != '\r' && data[i] != '\t') || data[i] > '~')
			data[i] = '?';
	cbor_put_text_n(w, (const char *)data, len);
}

static enum status read_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	const struct bytelog *log = console_log(c, a->vm);
	uint64_t wanted = start_of(log, a), next = wanted;
	size_t max = a->max.given && a->max.value < READ_MAX ? (size_t)a->max.value : READ_MAX, len;
	uint8_t data[READ_MAX];

	(void)f;
	if (!a->max.given)
		max = READ_DEFAULT;
	len = console_read(c, a->vm, &next, data, max);
	command_put_uint(w, "id", a->console);
	command_put_uint(w, "seq", next - len);
	cbor_put_text(w, "data");
	if (a->as_text)
		put_as_text(w, data, len);
	else
		cbor_put_bytes(w, data, len);
	command_put_uint(w, "next", next);
	command_put_uint(w, "head", log->head);
	if (a->from.given && next - len > wanted)
		command_put_uint(w, "lost", next - len - wanted);
	return ST_OK;
}

static enum status attach_decode(struct control *c, struct command_args *a, struct failure *f)
{
	(void)c;
	if (a->from.given && a->last.given)
		return fail(&f->error, ST_INVALID, "attach takes from or last, not both");
	if (a->credit.given && a->credit.value == 0)
		return fail(&f->error, ST_INVALID, "credit is 0: nothing could be pushed");
	return ST_OK;
}

static enum status attach_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	const struct bytelog *log = console_log(c, a->vm);
	const struct attachment *at = &c->attached[a->console];
	uint64_t from = at->on ? at->next : log->head;

	(void)f;
	if (a->from.given || a->last.given)
		from = start_of(log, a);
	from = MAX(MIN(from, log->head), bytelog_oldest(log));
	push_attach(c, a->console, from, a->credit.given ? a->credit.value : UINT64_MAX);
	command_put_uint(w, "id", a->console);
	command_put_uint(w, "seq", from);
	command_put_uint(w, "oldest", bytelog_oldest(log));
	command_put_uint(w, "head", log->head);
	return ST_OK;
}

static enum status detach_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)w;
	(void)f;
	push_detach(c, a->console);
	return ST_OK;
}

static enum status input_decode(struct control *c, struct command_args *a, struct failure *f)
{
	(void)c;
	if (!a->vm)
		return fail(&f->error, ST_UNSUPPORTED, "the log takes no input");
	if (a->vm->state != VM_RUNNING && a->vm->state != VM_PAUSED)
		return fail(&f->error, ST_BAD_STATE, "VM %s is %s: its console takes no input", a->vm->config.name,
			    vm_state_name(a->vm->state));
	return ST_OK;
}

static enum status input_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)c;
	(void)f;
	command_put_uint(w, "taken", vm_console_input(a->vm, a->data.text, a->data.len));
	return ST_OK;
}

/* A terminal is larger than this nowhere, and 0 is one that nobody knows. */
static enum status size_decode(struct control *c, struct command_args *a, struct failure *f)
{
	(void)c;
	if (!a->vm)
		return fail(&f->error, ST_UNSUPPORTED, "the log has no size");
	if (a->columns.value > UINT16_MAX || a->rows.value > UINT16_MAX)
		return fail(&f->error, ST_INVALID, "a terminal of %llu columns and %llu rows is not possible: at most %u each",
			    (unsigned long long)a->columns.value, (unsigned long long)a->rows.value, UINT16_MAX);
	return ST_OK;
}

static enum status size_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)c, (void)w, (void)f;
	vm_console_size(a->vm, (uint16_t)a->columns.value, (uint16_t)a->rows.value);
	return ST_OK;
}

#define TARGET_ARGS {"name", ARG_TEXT, ARG_OF(name), false}, {"id", ARG_NUMBER, ARG_OF(id), false}

static const struct arg list_args[] = {{"after", ARG_NUMBER, ARG_OF(after), false}};
static const struct arg target_args[] = {TARGET_ARGS};
static const struct arg read_args[] = {
	TARGET_ARGS,
	{"from", ARG_NUMBER, ARG_OF(from), false},
	{"last", ARG_NUMBER, ARG_OF(last), false},
	{"max", ARG_NUMBER, ARG_OF(max), false},
	{"text", ARG_BOOL, ARG_OF(as_text), false},
};
static const struct arg attach_args[] = {
	TARGET_ARGS,
	{"from", ARG_NUMBER, ARG_OF(from), false},
	{"last", ARG_NUMBER, ARG_OF(last), false},
	{"credit", ARG_NUMBER, ARG_OF(credit), false},
};
static const struct arg size_args[] = {
	TARGET_ARGS, {"columns", ARG_NUMBER, ARG_OF(columns), true}, {"rows", ARG_NUMBER, ARG_OF(rows), true}};
static const struct arg input_args[] = {TARGET_ARGS, {"data", ARG_DATA, ARG_OF(data), true}};

static const struct command console_commands[] = {
	{
		.id = CONSOLE_LIST, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "list", .help = "lists the consoles",
		.args = list_args, .arg_count = ARRAY_SIZE(list_args), .apply = list_apply,
	},
	{
		.id = CONSOLE_READ, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .target = TARGET_CONSOLE, .name = "read",
		.help = "reads what a console printed", .args = read_args, .arg_count = ARRAY_SIZE(read_args),
		.decode = read_decode, .apply = read_apply,
	},
	{
		.id = CONSOLE_ATTACH, .ops = BIT(SMP_WRITE), .role = ROLE_OBSERVER, .unaudited = true,
		.target = TARGET_CONSOLE, .name = "attach",
		.help = "pushes a console's output on the line", .args = attach_args,
		.arg_count = ARRAY_SIZE(attach_args), .decode = attach_decode, .apply = attach_apply,
	},
	{
		.id = CONSOLE_DETACH, .ops = BIT(SMP_WRITE), .role = ROLE_OBSERVER, .unaudited = true,
		.target = TARGET_CONSOLE, .name = "detach",
		.help = "ends the push", .args = target_args, .arg_count = ARRAY_SIZE(target_args),
		.apply = detach_apply,
	},
	{
		.id = CONSOLE_INPUT, .ops = BIT(SMP_WRITE), .role = ROLE_OPERATOR, .target = TARGET_CONSOLE, .name = "input",
		.help = "types into a VM's console", .args = input_args, .arg_count = ARRAY_SIZE(input_args),
		.decode = input_decode, .apply = input_apply,
	},
	{
		.id = CONSOLE_SIZE, .ops = BIT(SMP_WRITE), .role = ROLE_OPERATOR, .unaudited = true,
		.target = TARGET_CONSOLE, .name = "size", .help = "tells a VM how large the terminal at its console is",
		.args = size_args, .arg_count = ARRAY_SIZE(size_args), .decode = size_decode, .apply = size_apply,
	},
};

const struct command_group console_group = {
	.id = GROUP_CONSOLE, .name = "corbel console", .commands = console_commands,
	.count = ARRAY_SIZE(console_commands),
};
