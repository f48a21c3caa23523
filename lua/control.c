/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane's loop, one bounded step at a time. Replies go first, a
 * whole frame before anything else may use the line; then a request is taken;
 * console output is pushed when neither waits and little is queued in the line.
 * Nothing here waits: what cannot be done now is left for the next step.
 */
#include "lua/control.h"

#include <string.h>

#include "guest/loadfile.h"
#include "guest/network.h"
#include "guest/storage.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/cmd_net.h"
#include "lua/control_internal.h"
#include "lua/saved.h"
#include "lua/script.h"
#include "lua/volumes.h"

#define DROP_LOG_NS 1000000000ull /* one log line on dropped frames in this time */
#define PUSH_LINES_PER_STEP 4
#define PRINT_NAME_MAX 64

#define SCRIPT_ARGUMENT "script="
#define SCRIPT_DEFAULT "boot.lua"
#define SCRIPT_FOLDER "scripts/"

/* ---- start ---- */

static void on_time(struct timer *t, uint64_t now);

static void on_machine_fault(void *ctx, const char *text)
{
	control_fault(ctx, text);
}

enum status control_init(const struct control_config *cfg, struct control **out, struct error *err)
{
	struct control *c = cfg->memory;
	size_t own = align_up(sizeof *c, HEAP_ALIGN);

	if (cfg->memory_bytes < CONTROL_MEMORY_MIN)
		return fail(err, ST_NO_MEMORY, "the control plane needs %u bytes, %zu are given", CONTROL_MEMORY_MIN,
			    cfg->memory_bytes);
	memset(c, 0, sizeof *c);
	c->cfg = *cfg;
	c->started = cfg->clock->ticks();
	ring_init(&c->input, c->input_buf, INPUT_BYTES);
	wire_receiver_init(&c->rx, c->rx_buf, sizeof c->rx_buf);
	captures_init();
	events_init(&c->events, cfg->clock, cfg->machine->host->wall_clock);
	cfg->machine->fault = on_machine_fault;
	cfg->machine->fault_ctx = c;
	settings_init(c);
	c->errors_at = TIMERQ_NEVER;
	host_alarm_init(&c->wake_alarm, on_time);
	script_init(c, (uint8_t *)cfg->memory + own, cfg->memory_bytes - own);
	keystore_load(c);
	audit_init(c);
	if (cfg->machine->files->unreadable)
		events_post(&c->events, EVENT_STORE, NULL, "nothing can be written: %.180s", cfg->machine->files->why_not);
	*out = c;
	return ST_OK;
}

_Static_assert(sizeof(struct control) + 2 * INTERP_MEMORY_MIN + 64 < CONTROL_MEMORY_MIN, "the minimum is enough");

/* The name behind script= in the boot arguments, else the default; true when it was given. */
static bool script_argument(const char *args, char *out, size_t size)
{
	size_t prefix = strlen(SCRIPT_ARGUMENT);
	bool given = false;

	format(out, size, "%s", SCRIPT_DEFAULT);
	while (*args) {
		size_t len = strcspn(args, " \t\n");

		if (len > prefix && strncmp(args, SCRIPT_ARGUMENT, prefix) == 0) {
			format(out, size, "%.*s", (int)(len - prefix), args + prefix);
			given = true;
		}
		args += len;
		args += strspn(args, " \t\n");
	}
	return given;
}

/* The script as named, or in the store's folder of scripts. */
static enum status find_script(const struct control *c, const char *name, struct loaded_file *out, struct error *err)
{
	char path[VM_PATH_MAX + sizeof SCRIPT_FOLDER];
	enum status st;

	format(path, sizeof path, SCRIPT_FOLDER "%s", name);
	st = loadfile_get(c->cfg.machine, path, out, err);
	return st == ST_NOT_FOUND ? loadfile_get(c->cfg.machine, name, out, err) : st;
}

/* A layer that a text declares is there a little later, and a VM starts with all its disks. */
static bool volumes_are_made(const struct control *c)
{
	struct storage_totals totals = {.jobs = 0};

	if (c->cfg.machine->storage)
		storage_totals(c->cfg.machine->storage, &totals);
	return totals.jobs == 0;
}

static void start_by_itself(struct vm *vm)
{
	struct error err;

	if (!vm->config.autostart || vm->state != VM_DEFINED)
		return;
	if (vm_start(vm, &err) == ST_OK)
		log_info("VM %s: started", vm->config.name);
	else
		log_error("VM %s: not started: %s", vm->config.name, err.text);
}

/* Those of a generation that was applied while their layers were made; true when one was started now. */
static bool start_waiting(struct control *c)
{
	struct vm *vm = NULL;
	bool started = false;

	if (!c->starts_wait)
		return false;
	c->starts_wait = false;
	while ((vm = vm_next(c->cfg.machine, vm))) {
		if (!c->start_later[vm->id])
			continue;
		if (volumes_are_coming(c, vm)) {
			c->starts_wait = true;
			continue;
		}
		c->start_later[vm->id] = false;
		start_by_itself(vm);
		started = true;
	}
	return started;
}

/* VMs that start by themselves, once; true when that was done now. */
static bool start_automatic(struct control *c)
{
	struct vm *vm = NULL;

	if (!c->start_due || !volumes_are_made(c))
		return false;
	c->start_due = false;
	while ((vm = vm_next(c->cfg.machine, vm)))
		start_by_itself(vm);
	return true;
}

/* The seed's script, or the one that the boot arguments name. */
static void run_seed_script(struct control *c, const char *name)
{
	struct loaded_file file = {0};
	char shown[PRINT_NAME_MAX];
	struct script *script;
	struct error err;
	enum status st;

	log_clean(shown, sizeof shown, name, strlen(name));
	st = find_script(c, name, &file, &err);
	if (st == ST_OK)
		st = policy_load(c, shown, file.data, file.size, &script, &err);
	loadfile_drop(c->cfg.machine, &file);
	generation_own_all(c);
	if (st != ST_OK) {
		log_error("script %s: %s", shown, err.text);
		return;
	}
	script->of_generation = true;
	policy_keep(c, script);
}

void control_run_boot_script(struct control *c)
{
	char name[VM_PATH_MAX];
	struct error err;

	/* Whoever names a script at the loader's prompt wants that one: a way out of a bad generation. */
	if (script_argument(c->cfg.args, name, sizeof name) || !generation_boot(c))
		run_seed_script(c, name);
	if (saved_read(c, "", 0, &err) != ST_OK)
		log_error("saved settings cannot be read: %s", err.text);
	c->start_due = true;
	(void)start_automatic(c);
}

/* ---- in ---- */

size_t control_rx(struct control *c, const void *data, size_t len)
{
	size_t taken = ring_write(&c->input, data, len);

	c->counters.lost += len - taken;
	return taken;
}

/* Begins to send the reply that is in c->reply behind @h. */
static void send_reply(struct control *c, const struct smp_header *request, const struct cbor_writer *w)
{
	struct smp_header h = *request;

	h.version = MIN(h.version, SMP_VERSIONS - 1);
	h.op++;
	h.length = (uint16_t)w->len;
	smp_header_write(&h, c->reply);
	wire_send_begin(&c->tx, c->reply, SMP_HEADER_BYTES + w->len);
	c->sending = true;
}

void control_reply_begin(struct control *c, struct cbor_writer *w)
{
	cbor_writer_init(w, c->reply + SMP_HEADER_BYTES, sizeof c->reply - SMP_HEADER_BYTES);
}

static void send_error(struct control *c, const struct smp_header *request, struct smp_error e)
{
	struct cbor_writer w;

	control_reply_begin(c, &w);
	smp_put_error(&w, request, &e);
	c->counters.errors++;
	send_reply(c, request, &w);
}

/* Trouble with the protocol itself: no command ran. */
__attribute__((format(printf, 4, 5)))
static void send_refusal(struct control *c, const struct smp_header *request, enum smp_rc rc, const char *fmt, ...)
{
	char why[ERROR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	format_v(why, sizeof why, fmt, ap);
	va_end(ap);
	send_error(c, request, (struct smp_error){.rc = rc, .group_rc = -1, .why = why});
}

/* A command refused: with the group's own code, ours being the common ones. */
static void send_failure(struct control *c, const struct smp_header *request, enum status st, const struct failure *f)
{
	struct smp_error e = {.rc = smp_rc_of(st), .group_rc = f->group_rc, .why = f->error.text};

	if (f->reply_too_long)
		e.rc = SMP_TOO_BIG;
	else if (st == ST_DENIED)
		e.group_rc = -1; /* no group has a code for it: the common one, as stock servers answer */
	else if (e.group_rc < 0 && request->group >= SMP_USER_GROUPS)
		e.group_rc = (int)e.rc;
	send_error(c, request, e);
}

void control_line_dropped(struct control *c)
{
	c->login.open = false;
	session_end(c, ENDED_LINE_DROPPED);
}

void control_fault(struct control *c, const char *text)
{
	events_post(&c->events, EVENT_FAULT, NULL, "%s", text);
}

/* Finds the command of @h, or refuses. */
static bool find_command(struct control *c, const struct smp_header *h, struct command_request *out)
{
	out->group = command_group_find(h->group);
	if (!out->group) {
		send_refusal(c, h, SMP_NOT_SUPPORTED, "there is no group %u", h->group);
		return false;
	}
	out->command = command_find(h->group, h->command);
	if (!out->command) {
		send_refusal(c, h, SMP_NOT_SUPPORTED, "group %u has no command %u", h->group, h->command);
		return false;
	}
	if (!(out->command->ops & BIT(h->op))) {
		send_refusal(c, h, SMP_NOT_SUPPORTED, "%s is a %s request", out->command->name,
			     h->op == SMP_READ ? "write" : "read");
		return false;
	}
	return true;
}

/* The payload as a checked map; no payload is an empty map. */
static bool check_payload(struct control *c, const struct smp_header *h, const uint8_t *payload, size_t len,
			  struct cbor_value *out)
{
	static const uint8_t empty_map[] = {0xa0};
	enum status st = ST_OK;
	size_t used = 0;

	if (h->length != len) {
		send_refusal(c, h, SMP_CORRUPT, "the header says %u bytes of payload, %zu came", h->length, len);
		return false;
	}
	if (len == 0) {
		*out = cbor_root(empty_map, sizeof empty_map);
		return true;
	}
	st = cbor_check(payload, len, &used);
	if (st != ST_OK) {
		send_refusal(c, h, SMP_INVALID, "the payload is not CBOR: %s", status_name(st));
		return false;
	}
	*out = cbor_root(payload, used);
	if (used == len && cbor_type_of(*out) == CBOR_MAP)
		return true;
	send_refusal(c, h, SMP_INVALID, "the payload is not one map");
	return false;
}

void control_reply_end(struct control *c, const struct smp_header *h, enum status st, const struct cbor_writer *w,
		       const struct failure *f)
{
	if (st == ST_OK)
		send_reply(c, h, w);
	else
		send_failure(c, h, st, f);
}

static void run_request(struct control *c, const struct smp_header *h, struct command_request *req)
{
	struct cbor_writer w;
	struct failure f;
	enum status st;

	control_reply_begin(c, &w);
	st = command_run(c, req, &w, &f);
	if (st == ST_AGAIN && f.later)
		later_begin(c, h, (enum later_kind)f.later);
	else
		control_reply_end(c, h, st, &w, &f);
}

static void take_frame(struct control *c)
{
	struct command_request req = {.from_script = false};
	struct smp_header h;

	c->counters.frames++;
	if (!smp_header_read(c->rx_buf, c->rx.len, &h))
		return;
	if (h.op != SMP_READ && h.op != SMP_WRITE) /* a reply, or nothing that can be answered */
		return;
	if (h.version >= SMP_VERSIONS) {
		send_refusal(c, &h, SMP_TOO_NEW, "version field %u is newer than 1", h.version);
		return;
	}
	session_touch(c);
	req.op = (enum smp_op)h.op;
	if (!find_command(c, &h, &req))
		return;
	if (check_payload(c, &h, c->rx_buf + SMP_HEADER_BYTES, c->rx.len - SMP_HEADER_BYTES, &req.args))
		run_request(c, &h, &req);
}

/* A frame that is not one: counted, and now and then logged. */
static void drop_frame(struct control *c, enum wire_event event)
{
	uint64_t ticks = control_ticks(c);
	struct smp_header h;

	c->counters.dropped++;
	if (c->counters.dropped == 1 || ticks_to_ns(ticks - c->drop_logged, c->cfg.clock->hz) >= DROP_LOG_NS) {
		c->drop_logged = ticks;
		log_warn("management: dropped a frame: %s (%llu so far)", wire_event_text(event),
			 (unsigned long long)c->counters.dropped);
	}
	/* One that arrived whole but is too long has a header that can be answered. */
	if (event == WIRE_OVERSIZED && smp_header_read(c->rx_buf, SMP_HEADER_BYTES, &h) &&
	    (h.op == SMP_READ || h.op == SMP_WRITE))
		send_refusal(c, &h, SMP_NO_MEMORY, "a request of %zu bytes is too long, at most %u are possible",
			     c->rx.len, SMP_BODY_MAX);
}

/* Takes received bytes until a request is answered or none is left; true when it did something. */
static bool receive(struct control *c)
{
	bool any = false;
	uint8_t byte;

	while (!c->sending && ring_get(&c->input, &byte)) {
		enum wire_event event = wire_receive(&c->rx, byte);

		any = true;
		if (event == WIRE_FRAME)
			take_frame(c);
		else if (event >= WIRE_OVERSIZED)
			drop_frame(c, event);
	}
	return any;
}

/* ---- out ---- */

/* Hands the built line to the line's owner; false when it does not take it yet. */
static bool flush_line(struct control *c)
{
	if (c->line_len == 0)
		return true;
	if (c->cfg.line.room(c->cfg.line.ctx) < c->line_len)
		return false;
	c->cfg.line.write(c->cfg.line.ctx, c->line, c->line_len);
	c->line_len = 0;
	return true;
}

/* Sends what it can of the reply; false when the line is full. */
static bool send(struct control *c)
{
	while (flush_line(c)) {
		if (!c->sending)
			return true;
		c->line_len = wire_send_line(&c->tx, c->line);
		if (c->line_len == 0)
			c->sending = false;
	}
	return false;
}

/* Pushes lines while little waits in the line, events before output; true when one went out. */
static bool push(struct control *c)
{
	bool any = false;

	for (int i = 0; i < PUSH_LINES_PER_STEP; i++) {
		if (c->cfg.line.queued(c->cfg.line.ctx) > CONTROL_PUSH_AHEAD || !flush_line(c) ||
		    (!event_push_step(c) && !push_step(c)))
			break;
		any = true;
		flush_line(c);
	}
	return any;
}

/* ---- time ---- */

/* The host timer's: any context. */
static void on_time(struct timer *t, uint64_t now)
{
	const struct control *c = container_of(t, struct control, wake_alarm.timer);

	(void)now;
	c->cfg.machine->host->notify();
}

void control_wake_at(struct control *c, uint64_t ticks)
{
	c->wake_at = MIN(c->wake_at, ticks);
}

static void arm(struct control *c)
{
	const struct host_ops *host = c->cfg.machine->host;
	unsigned long state = control_mask(c);

	if (!timer_is_set(&c->wake_alarm.timer) || c->wake_alarm.timer.deadline != c->wake_at)
		host_alarm_set(host, &c->wake_alarm, c->wake_at);
	control_unmask(c, state);
}

/* One hook, and what it did as events for the next; then the time to be woken at is known. */
static bool run_policies(struct control *c)
{
	bool more;

	c->wake_at = TIMERQ_NEVER;
	more = policy_step(c);
	generation_step(c);
	later_wake(c);
	audit_wake(c);
	control_wake_at(c, c->settings.next);
	control_wake_at(c, c->errors_at);
	if (!more && (c->wake_at != TIMERQ_NEVER || timer_is_set(&c->wake_alarm.timer)))
		arm(c);
	return more;
}

/* What does not need the line, and waits for none. */
static bool keep_house(struct control *c)
{
	bool more = settings_step(c);

	session_tick(c);
	watch_vms(c);
	more |= vm_reap(c->cfg.machine);
	if (c->cfg.machine->storage)
		more |= storage_step(c->cfg.machine->storage);
	if (c->cfg.machine->networks)
		more |= networks_step(c->cfg.machine);
	more |= start_automatic(c) || start_waiting(c);
	upload_tick(c, &c->upload);
	upload_tick(c, &c->slots.upload);
	watch_vms(c);
	return run_policies(c) || more;
}

bool control_step(struct control *c)
{
	bool more = keep_house(c);

	if (!send(c))
		return more; /* the line is full: woken when it drains */
	if (c->reset_due) {
		if (audit_flush(c))
			return true;
		if (c->cfg.line.queued(c->cfg.line.ctx) == 0)
			c->cfg.reset();
		return false;
	}
	more |= receive(c);
	more |= later_step(c);
	if (!send(c))
		return more;
	more |= push(c);
	more |= audit_step(c);
	if (!more)
		more = cmd_store_step(c);
	return more || ring_used(&c->input) > 0;
}
