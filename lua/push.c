/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Console output onto the management line, in lines of its own (marker 05 0c):
 * whoever did not ask skips them, and a guest's bytes are never raw on the line.
 * Each line is one CBOR array, so that no guest can forge another:
 *
 *	[0, console, seq, bytes]     output from sequence number seq on
 *	[1, console]                 the console is gone with its VM
 *	[2, console, state, reason]  its VM changed state
 *
 * Attached consoles take turns, a line each. A reader that is too slow loses the
 * oldest bytes alone, and sees it from the sequence numbers. A guest prints a
 * byte at a time: less than a full line waits until the management line is idle
 * (Nagle's rule, RFC 896), or each byte would cost twenty.
 */
#include "lib/bits.h"
#include "lib/lock.h"
#include "lua/control_internal.h"

#define OUTPUT_HEAD_MAX 18 /* array, kind, console, sequence number and string header in CBOR, at most */
#define OUTPUT_MAX (WIRE_PUSH_MAX - OUTPUT_HEAD_MAX)

const struct bytelog *console_log(const struct control *c, const struct vm *vm)
{
	return vm ? &vm->console.out : c->cfg.log;
}

static size_t log_read(const struct control *c, uint64_t *seq, void *out, size_t max)
{
	struct lock *lock = c->cfg.log_lock;
	size_t len;

	if (lock)
		lock_acquire(lock);
	len = bytelog_read(c->cfg.log, seq, out, max);
	if (lock)
		lock_release(lock);
	return len;
}

size_t console_read(const struct control *c, struct vm *vm, uint64_t *seq, void *out, size_t max)
{
	unsigned long state = control_mask(c);
	size_t len = vm ? console_read_output(&vm->console, seq, out, max) : log_read(c, seq, out, max);

	control_unmask(c, state);
	return len;
}

static bool line_idle(const struct control *c)
{
	return c->cfg.line.queued(c->cfg.line.ctx) == 0;
}

/*
 * The guest wrote something, and somebody listens. Any context. While the line is busy nobody needs to hear of it:
 * the control task is woken when it drains.
 */
static void on_output(void *ctx)
{
	const struct control *c = ctx;

	if (line_idle(c))
		c->cfg.machine->host->notify();
}

static void listen(struct control *c, unsigned id, bool on)
{
	struct vm *vm = id ? vm_by_id(c->cfg.machine, id) : NULL;
	unsigned long state;

	if (!vm)
		return;
	state = control_mask(c);
	console_listen(&vm->console, on ? on_output : NULL, c);
	control_unmask(c, state);
}

void push_attach(struct control *c, unsigned id, uint64_t from, uint64_t credit)
{
	struct vm *vm = id ? vm_by_id(c->cfg.machine, id) : NULL;
	struct attachment *at = &c->attached[id];
	struct vm_outcome is = {.state = VM_RUNNING};

	if (!at->on || at->closing) {
		if (vm)
			vm_outcome(vm, &is);
		*at = (struct attachment){
			.on = true,
			.state = is.state,
			.reason = is.reason,
			.starts = vm ? vm->starts : 0,
		};
		listen(c, id, true);
	}
	at->next = from;
	at->credit = credit;
}

void push_detach(struct control *c, unsigned id)
{
	if (c->attached[id].on)
		listen(c, id, false);
	c->attached[id].on = false;
}

void push_forget(struct control *c, unsigned id)
{
	if (c->attached[id].on)
		c->attached[id].closing = true;
}

static void build(struct control *c, const struct cbor_writer *w)
{
	c->line_len = wire_push_line(w->buf, w->len, c->line);
}

/* Opens the array that every pushed line is. */
static struct cbor_mark begin(struct cbor_writer *w, enum push_kind kind, unsigned id)
{
	struct cbor_mark mark = cbor_open(w);

	cbor_put_uint(w, kind);
	cbor_put_uint(w, id);
	return mark;
}

static void push_closed(struct control *c, unsigned id, struct cbor_writer *w)
{
	struct cbor_mark mark = begin(w, PUSH_CLOSED, id);

	cbor_close_array(w, mark);
	c->attached[id] = (struct attachment){0};
	build(c, w);
}

/* A VM's state at one moment: what it had printed by then is in its console. */
struct moment {
	struct vm_outcome is;
	uint64_t starts;
};

static struct moment moment_of(const struct vm *vm)
{
	struct moment m = {.starts = vm->starts};

	vm_outcome(vm, &m.is);
	return m;
}

static void push_state(struct control *c, unsigned id, const struct moment *m, struct attachment *at,
		       struct cbor_writer *w)
{
	struct cbor_mark mark = begin(w, PUSH_STATE, id);

	at->state = m->is.state;
	at->reason = m->is.reason;
	at->starts = m->starts;
	cbor_put_text(w, vm_state_name(m->is.state));
	cbor_put_text(w, vm_reason_name(m->is.reason));
	cbor_close_array(w, mark);
	build(c, w);
}

enum progress { NOTHING, LATER, PUSHED };

/* A few bytes wait until the line is idle: more may come to go with them. */
static enum progress push_output(struct control *c, struct vm *vm, struct attachment *at, struct cbor_writer *w)
{
	uint8_t data[OUTPUT_MAX];
	uint64_t next = at->next;
	size_t max = MIN(sizeof data, at->credit), len = console_read(c, vm, &next, data, max);
	struct cbor_mark mark;

	if (len == 0)
		return NOTHING;
	if (len < max && !line_idle(c))
		return LATER;
	mark = begin(w, PUSH_OUTPUT, vm ? vm->id : LOG_CONSOLE);
	cbor_put_uint(w, next - len);
	cbor_put_bytes(w, data, len);
	cbor_close_array(w, mark);
	at->next = next;
	if (at->credit != UINT64_MAX)
		at->credit -= len;
	c->counters.pushed += len;
	build(c, w);
	return PUSHED;
}

/* What is due of console @id, output before news of a state that came after it: so the state is looked at first. */
static bool push_one(struct control *c, unsigned id)
{
	struct attachment *at = &c->attached[id];
	struct vm *vm = id ? vm_by_id(c->cfg.machine, id) : NULL;
	uint8_t body[WIRE_PUSH_MAX];
	enum progress output;
	struct cbor_writer w;
	struct moment m = {.starts = 0};

	if (!at->on)
		return false;
	cbor_writer_init(&w, body, sizeof body);
	if (at->closing || (id && !vm)) {
		push_closed(c, id, &w);
		return true;
	}
	if (vm)
		m = moment_of(vm);
	output = push_output(c, vm, at, &w);
	if (output != NOTHING || !vm || (m.is.state == at->state && m.is.reason == at->reason && m.starts == at->starts))
		return output == PUSHED;
	push_state(c, id, &m, at, &w);
	return true;
}

bool push_step(struct control *c)
{
	for (unsigned i = 0; i <= VMS_MAX; i++) {
		unsigned id = (c->push_turn + i) % (VMS_MAX + 1);

		if (push_one(c, id)) {
			c->push_turn = (id + 1) % (VMS_MAX + 1);
			return true;
		}
	}
	return false;
}
