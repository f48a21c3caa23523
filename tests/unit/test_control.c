/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane's loop where the wire alone cannot see it: a line with
 * little room, what waits for what, credit, definitions
 * that fail halfway, and the command table itself.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "lib/bits.h"
#include "tests/fakes/control_rig.h"

#define MIB (1ull << 20)

static int setup(void **state)
{
	(void)state;
	control_rig_init(64 * MIB);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	control_rig_fini();
	return 0;
}

/* ---- requests ---- */

static uint8_t body[SMP_BODY_MAX];
static struct cbor_writer args;
static struct cbor_mark args_map;

static void begin_args(void)
{
	cbor_writer_init(&args, body + SMP_HEADER_BYTES, sizeof body - SMP_HEADER_BYTES);
	args_map = cbor_open(&args);
}

static void request(enum smp_op op, unsigned group, unsigned command)
{
	struct smp_header h = {.version = 1, .op = op, .group = (uint16_t)group, .command = (uint8_t)command};

	cbor_close_map(&args, args_map);
	h.length = (uint16_t)args.len;
	smp_header_write(&h, body);
	control_rig_request(body, SMP_HEADER_BYTES + args.len);
}

static void request_on(enum smp_op op, unsigned group, unsigned command, const char *name)
{
	begin_args();
	command_put_text(&args, "name", name);
	request(op, group, command);
}

struct seen {
	unsigned frames, pushes;
	struct cbor_value reply; /* of the last frame */
	uint8_t last_push[WIRE_PUSH_MAX];
	size_t last_push_len;
};

static uint8_t frame[WIRE_BODY_MAX];

/* Parses what the line took, and empties it. */
static struct seen take_line(void)
{
	struct wire_receiver rx;
	struct seen s = {0};

	wire_receiver_init(&rx, frame, sizeof frame);
	for (size_t i = 0; i < control_rig.line_len; i++) {
		enum wire_event event = wire_receive(&rx, control_rig.line[i]);

		if (event == WIRE_FRAME) {
			s.frames++;
			s.reply = cbor_root(frame + SMP_HEADER_BYTES, rx.len - SMP_HEADER_BYTES);
		} else if (event == WIRE_PUSHED) {
			s.pushes++;
			memcpy(s.last_push, rx.push, rx.push_len);
			s.last_push_len = rx.push_len;
		} else {
			assert_int_equal(event, WIRE_NOTHING);
		}
	}
	control_rig.line_len = 0;
	return s;
}

static uint64_t reply_uint(const struct seen *s, const char *key)
{
	struct cbor_value v;
	uint64_t n = UINT64_MAX;

	if (!cbor_find(s->reply, key, &v) || !cbor_get_uint(v, &n))
		fail_msg("no %s in the reply", key);
	return n;
}

/* ---- room on the line ---- */

static void reply_goes_out_as_room_allows(void **state)
{
	char text[2001];
	struct seen s;

	(void)state;
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	control_rig.room = 300; /* two lines at a time */
	begin_args();
	command_put_text(&args, "d", text);
	request(SMP_WRITE, GROUP_OS, 0);
	for (unsigned rounds = 0; rounds < 100; rounds++) {
		static uint8_t all[8192];
		static size_t len;

		assert_true(control_rig.line_len <= 300);
		memcpy(all + len, control_rig.line, control_rig.line_len);
		len += control_rig.line_len;
		if (control_rig.line_len == 0) {
			memcpy(control_rig.line, all, len);
			control_rig.line_len = len;
			break;
		}
		control_rig.line_len = 0;
		control_step(control_rig.control);
	}
	s = take_line();
	assert_int_equal(s.frames, 1);
}

/* The next request waits until the reply before it is out. */
static void one_reply_at_a_time(void **state)
{
	(void)state;
	control_rig.room = 0;
	begin_args();
	request(SMP_READ, GROUP_OS, 6);
	begin_args();
	request(SMP_READ, GROUP_OS, 6);
	assert_int_equal(control_rig.writes, 0);
	assert_int_equal(control_rig.control->counters.frames, 1);
	control_rig.room = CONTROL_RIG_LINE;
	control_rig_settle(100);
	assert_int_equal(control_rig.control->counters.frames, 2);
	assert_int_equal(take_line().frames, 2);
}

static void input_beyond_its_buffer_is_refused(void **state)
{
	static uint8_t noise[INPUT_BYTES + 100];

	(void)state;
	memset(noise, 'n', sizeof noise);
	assert_int_equal(control_rx(control_rig.control, noise, sizeof noise), INPUT_BYTES);
	assert_int_equal(control_rig.control->counters.lost, 100);
	control_rig_settle(100);
	begin_args();
	request(SMP_READ, GROUP_OS, 6);
	assert_int_equal(take_line().frames, 1);
}

static void reset_waits_until_the_line_is_idle(void **state)
{
	(void)state;
	control_rig.unsent = 1;
	begin_args();
	request(SMP_WRITE, GROUP_OS, 5);
	assert_int_equal(take_line().frames, 1);
	control_rig_settle(10);
	assert_int_equal(control_rig.resets, 0);
	control_rig.unsent = 0;
	control_rig_settle(10);
	assert_true(control_rig.resets > 0);
}

/* ---- pushed lines ---- */

static struct vm *start_vm(void)
{
	struct vm_config cfg = vm_rig_config("a", 2 * MIB);
	struct error err;
	struct vm *vm;

	cfg.boot.protocol = BOOT_MULTIBOOT;
	assert_int_equal(vm_define(&vm_rig.machine, &cfg, &vm, &err), ST_OK);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	return vm;
}

static struct vm *attached_vm(void)
{
	struct vm *vm = start_vm();

	request_on(SMP_WRITE, GROUP_CONSOLE, CONSOLE_ATTACH, "a");
	assert_int_equal(take_line().frames, 1);
	return vm;
}

static void print(struct vm *vm, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bytelog_putc(&vm->console.out, (uint8_t)('a' + i % 26));
		if (vm->console.output)
			vm->console.output(vm->console.output_ctx);
	}
}

static void pushes_keep_the_line_nearly_empty(void **state)
{
	struct vm *vm = attached_vm();

	(void)state;
	print(vm, 5000);
	control_rig.unsent = (size_t)-1; /* queued is what the line holds */
	control_rig_settle(1000);
	assert_true(control_rig.line_len > CONTROL_PUSH_AHEAD - WIRE_LINE_MAX);
	assert_true(control_rig.line_len <= CONTROL_PUSH_AHEAD + WIRE_LINE_MAX);
	assert_true(take_line().pushes >= 4);
	control_rig_settle(1000);
	assert_true(take_line().pushes >= 4);
}

static void less_than_a_line_waits_for_an_idle_line(void **state)
{
	struct vm *vm = attached_vm();
	unsigned notified = fake_host.notifies;

	(void)state;
	control_rig.unsent = 10;
	print(vm, 5);
	assert_int_equal(fake_host.notifies, notified); /* nothing can be done now */
	control_rig_settle(100);
	assert_int_equal(take_line().pushes, 0);
	control_rig.unsent = 0;
	print(vm, 1);
	assert_int_equal(fake_host.notifies, notified + 1);
	control_rig_settle(100);
	assert_int_equal(take_line().pushes, 1);
}

static void detached_consoles_wake_nobody(void **state)
{
	struct vm *vm = attached_vm();
	unsigned notified;

	(void)state;
	request_on(SMP_WRITE, GROUP_CONSOLE, CONSOLE_DETACH, "a");
	notified = fake_host.notifies;
	print(vm, 100);
	assert_int_equal(fake_host.notifies, notified);
	assert_null(vm->console.output);
	control_rig_settle(100);
	assert_int_equal(take_line().pushes, 0);
}

static void attach_with_credit(uint64_t credit)
{
	begin_args();
	command_put_text(&args, "name", "a");
	command_put_uint(&args, "credit", credit);
	request(SMP_WRITE, GROUP_CONSOLE, CONSOLE_ATTACH);
	assert_int_equal(take_line().frames, 1);
}

/* A client that vanished costs what it asked for, and no more. */
static void credit_bounds_what_is_pushed(void **state)
{
	struct vm *vm = start_vm();
	uint64_t pushed = 0;

	(void)state;
	for (unsigned round = 1; round <= 3; round++) {
		attach_with_credit(100);
		print(vm, 1000);
		for (unsigned i = 0; i < 20; i++) {
			control_rig_settle(100);
			take_line();
		}
		pushed += 100;
		assert_int_equal(control_rig.control->counters.pushed, pushed);
	}
	assert_int_equal(control_rig.control->attached[vm->id].next, 300); /* it goes on where it was */
}

/* Sequence numbers beyond 32 bits still fit a line. */
static void largest_pushed_line_fits(void **state)
{
	struct vm *vm = attached_vm();
	struct cbor_value root;
	struct seen s;
	size_t used;

	(void)state;
	vm->console.out.head = UINT64_MAX - 100000;
	control_rig.control->attached[vm->id].next = vm->console.out.head;
	print(vm, 500);
	control_rig_settle(1000);
	s = take_line();
	assert_true(s.pushes >= 6);
	root = cbor_root(s.last_push, s.last_push_len);
	assert_int_equal(cbor_check(s.last_push, s.last_push_len, &used), ST_OK);
	assert_int_equal(cbor_count(root), 4);
}

static void a_vm_that_goes_closes_its_console(void **state)
{
	struct vm *vm = attached_vm();
	struct error err;
	struct seen s;

	(void)state;
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	control_rig_settle(100);
	s = take_line();
	assert_memory_equal(s.last_push, "\x84\x02\x01\x67stopped\x68operator", s.last_push_len);
	request_on(SMP_WRITE, GROUP_VM, VM_DESTROY, "a");
	s = take_line();
	assert_int_equal(s.frames, 1);
	assert_memory_equal(s.last_push, "\x82\x01\x01", s.last_push_len);
}

/* ---- a guest that resets itself ---- */

/* One command as a script runs it: the moment between a reset and the next start is over when the line is read. */
static enum status run_on(unsigned id, enum smp_op op, const char *name, struct cbor_value *reply, struct failure *f)
{
	static uint8_t answer[SMP_BODY_MAX];
	struct command_request req = {
		.group = command_group_find(GROUP_VM), .command = command_find(GROUP_VM, id), .op = op, .from_script = true,
	};
	struct cbor_writer w;
	enum status st;

	begin_args();
	command_put_text(&args, "name", name);
	cbor_close_map(&args, args_map);
	req.args = cbor_root(body + SMP_HEADER_BYTES, args.len);
	cbor_writer_init(&w, answer, sizeof answer);
	st = command_run(control_rig.control, &req, &w, f);
	*reply = cbor_root(answer, w.len);
	return st;
}

static void a_vm_about_to_start_again_can_be_stopped(void **state)
{
	struct vm *vm = attached_vm();
	struct cbor_value reply, v;
	struct failure f;
	struct seen s;
	bool again = false;

	(void)state;
	vm_event(vm, REASON_RESET, 0);
	assert_int_equal(run_on(VM_INFO, SMP_READ, "a", &reply, &f), ST_OK);
	assert_true(cbor_find(reply, "starts_again", &v) && cbor_get_bool(v, &again) && again);
	assert_int_equal(run_on(VM_PAUSE, SMP_WRITE, "a", &reply, &f), ST_BAD_STATE);
	assert_string_equal(f.error.text, "VM a is stopped and about to start again: pause needs it running");
	assert_int_equal(run_on(VM_POWER, SMP_WRITE, "a", &reply, &f), ST_BAD_STATE);
	while (push_step(control_rig.control))
		;
	assert_int_equal(run_on(VM_STOP, SMP_WRITE, "a", &reply, &f), ST_OK);
	assert_int_equal(run_on(VM_INFO, SMP_READ, "a", &reply, &f), ST_OK);
	assert_false(cbor_find(reply, "starts_again", &v));
	/* Who heard of the reset hears of the stop too. */
	control_rig_settle(100);
	s = take_line();
	assert_memory_equal(s.last_push, "\x84\x02\x01\x67stopped\x68operator", s.last_push_len);
	assert_int_equal(vm->state, VM_STOPPED);
	assert_int_equal(vm->starts, 1);
	assert_int_equal(run_on(VM_STOP, SMP_WRITE, "a", &reply, &f), ST_BAD_STATE);
	assert_string_equal(f.error.text, "VM a is stopped: stop needs it running or paused");
}

/* ---- definitions ---- */

static void define_text(const char *text)
{
	begin_args();
	command_put_text(&args, "text", text);
	request(SMP_WRITE, GROUP_VM, VM_DEFINE);
}

#define VM_TEXT(name) "vm '" name "' { boot = multiboot { image = 'kernel' }, mem = { size = MiB(2) } } "

/* The machine can hold two of three: none is left. */
static void definitions_that_fail_halfway_are_taken_back(void **state)
{
	struct memmgr_stats before, after;
	uint64_t each;
	struct seen s;

	(void)state;
	define_text(VM_TEXT("probe"));
	each = vm_rig.machine.committed;
	request_on(SMP_WRITE, GROUP_VM, VM_DESTROY, "probe");
	take_line();
	memmgr_stats(vm_rig.machine.mm, &before);
	vm_rig.machine.capacity = 2 * each + each / 2;
	define_text(VM_TEXT("a") VM_TEXT("b") VM_TEXT("c"));
	s = take_line();
	assert_int_equal(s.frames, 1);
	assert_true(cbor_find(s.reply, "err", &s.reply));
	assert_int_equal(reply_uint(&s, "rc"), SMP_NO_MEMORY);
	assert_null(vm_next(&vm_rig.machine, NULL));
	assert_int_equal(vm_rig.machine.committed, 0);
	memmgr_stats(vm_rig.machine.mm, &after);
	assert_memory_equal(&before.frames, &after.frames, sizeof before.frames);
	vm_rig.machine.capacity = 3 * each;
	define_text(VM_TEXT("a") VM_TEXT("b") VM_TEXT("c"));
	take_line();
	assert_non_null(vm_find(&vm_rig.machine, "c"));
}

/* The engine fails at each creation in turn: the sentence comes, the VM stays as it was. */
static void a_start_that_fails_anywhere_changes_nothing(void **state)
{
	unsigned failures = 0;

	(void)state;
	define_text(VM_TEXT("a"));
	take_line();
	for (unsigned nth = 1;; nth++) {
		struct cbor_value err;
		struct seen s;

		fake_fail_create(nth);
		request_on(SMP_WRITE, GROUP_VM, VM_START, "a");
		s = take_line();
		assert_int_equal(s.frames, 1);
		if (!cbor_find(s.reply, "err", &err))
			break;
		assert_int_equal(vm_find(&vm_rig.machine, "a")->state, VM_DEFINED);
		failures++;
	}
	fake_fail_create(0);
	assert_true(failures >= 2);
	assert_int_equal(vm_find(&vm_rig.machine, "a")->state, VM_RUNNING);
}

/* ---- the table ---- */

static void every_command_is_complete(void **state)
{
	const struct command_group *g;
	int last = -1;

	(void)state;
	for (size_t i = 0; (g = command_group_at(i)); i++) {
		assert_true((int)g->id > last); /* in order, once */
		last = g->id;
		assert_ptr_equal(command_group_find(g->id), g);
		for (size_t j = 0; j < g->count; j++) {
			const struct command *cmd = &g->commands[j];

			assert_non_null(cmd->name);
			assert_non_null(cmd->help);
			assert_non_null(cmd->apply);
			assert_true(cmd->ops != 0);
			assert_ptr_equal(command_find(g->id, cmd->id), cmd);
			assert_true(cmd->arg_count <= 64);
			assert_true(cmd->target == TARGET_NONE || cmd->arg_count >= 2);
			assert_int_not_equal(cmd->role, ROLE_UNSET); /* every row says who may */
		}
	}
	assert_null(command_group_find(63));
	assert_null(command_find(GROUP_VM, 200));
}

/* Sends @cmd's request as a session of @role; true when it was refused for that. */
static bool is_denied(enum role role, const struct command_group *g, const struct command *cmd, enum smp_op op)
{
	struct cbor_value rc;
	struct seen s;
	uint64_t n = 0;

	control_rig.control->session.role = role;
	begin_args();
	request(op, g->id, cmd->id);
	s = take_line();
	assert_int_equal(s.frames, 1);
	control_rig.control->reset_due = false;
	return cbor_find(s.reply, "rc", &rc) && cbor_get_uint(rc, &n) && n == SMP_DENIED;
}

static void every_command_is_refused_below_its_role(void **state)
{
	static const enum smp_op ops[] = {SMP_READ, SMP_WRITE};
	const struct command_group *g;

	(void)state;
	for (size_t i = 0; (g = command_group_at(i)); i++) {
		for (size_t j = 0; j < g->count * ARRAY_SIZE(ops); j++) {
			const struct command *cmd = &g->commands[j / ARRAY_SIZE(ops)];
			enum smp_op op = ops[j % ARRAY_SIZE(ops)];

			for (enum role r = ROLE_NONE; cmd->ops & BIT(op) && r <= ROLE_OWNER; r++)
				assert_int_equal(is_denied(r, g, cmd, op), r < command_role(cmd, op));
		}
	}
}

/* A write may ask for more than the read beside it; a row that says nothing is the owner's. */
static void a_write_may_have_its_own_role(void **state)
{
	const struct command both = {.role = ROLE_OBSERVER, .write_role = ROLE_OWNER}, unset = {.name = "x"};

	(void)state;
	assert_int_equal(command_role(&both, SMP_READ), ROLE_OBSERVER);
	assert_int_equal(command_role(&both, SMP_WRITE), ROLE_OWNER);
	assert_int_equal(command_role(&unset, SMP_READ), ROLE_OWNER);
}

static void too_little_memory_is_an_error(void **state)
{
	struct control_config cfg = control_rig.control->cfg;
	struct control *other = NULL;
	struct error err;

	(void)state;
	cfg.memory_bytes = CONTROL_MEMORY_MIN - 1;
	assert_int_equal(control_init(&cfg, &other, &err), ST_NO_MEMORY);
	assert_null(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reply_goes_out_as_room_allows, setup, teardown),
		cmocka_unit_test_setup_teardown(one_reply_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(input_beyond_its_buffer_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_waits_until_the_line_is_idle, setup, teardown),
		cmocka_unit_test_setup_teardown(pushes_keep_the_line_nearly_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(less_than_a_line_waits_for_an_idle_line, setup, teardown),
		cmocka_unit_test_setup_teardown(detached_consoles_wake_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(credit_bounds_what_is_pushed, setup, teardown),
		cmocka_unit_test_setup_teardown(largest_pushed_line_fits, setup, teardown),
		cmocka_unit_test_setup_teardown(a_vm_that_goes_closes_its_console, setup, teardown),
		cmocka_unit_test_setup_teardown(a_vm_about_to_start_again_can_be_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(definitions_that_fail_halfway_are_taken_back, setup, teardown),
		cmocka_unit_test_setup_teardown(a_start_that_fails_anywhere_changes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(every_command_is_complete, setup, teardown),
		cmocka_unit_test_setup_teardown(every_command_is_refused_below_its_role, setup, teardown),
		cmocka_unit_test_setup_teardown(a_write_may_have_its_own_role, setup, teardown),
		cmocka_unit_test_setup_teardown(too_little_memory_is_an_error, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
