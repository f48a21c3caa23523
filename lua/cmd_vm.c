/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our group of VMs (65): what there is, and the operator's verbs on it. The
 * verbs are guest/vm.h's; legal states are in the table, so that the sentence
 * for a wrong one is made in one place.
 */
#include <string.h>

#include "guest/vm_disk.h"
#include "guest/vm_nic.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/address.h"
#include "lua/control_internal.h"
#include "lua/pools.h"
#include "lua/saved.h"

#define LIST_ENTRY_MAX 256   /* bytes that one VM takes in a list, at most */
#define REPORT_CHUNK 4096u

#define STATES_IDLE (BIT(VM_DEFINED) | BIT(VM_STOPPED) | BIT(VM_CRASHED))
#define STATES_ALIVE (BIT(VM_RUNNING) | BIT(VM_PAUSED))

/* ---- list, info, report ---- */

/* Why it is no longer running, when that says more than the state. */
static void put_state(const struct vm *vm, struct cbor_writer *w)
{
	struct vm_outcome is;

	vm_outcome(vm, &is);
	command_put_text(w, "state", vm_state_name(is.state));
	if (is.reason != REASON_NONE)
		command_put_text(w, "reason", vm_reason_name(is.reason));
	if (is.reason == REASON_DEBUG_EXIT)
		command_put_uint(w, "exit_code", is.exit_code);
}

static void put_list_entry(const struct vm *vm, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w);
	struct vm_usage usage;

	vm_usage(vm, &usage);
	command_put_uint(w, "id", vm->id);
	command_put_text(w, "name", vm->config.name);
	put_state(vm, w);
	command_put_uint(w, "size", vm->config.memory.size);
	command_put_uint(w, "present", usage.memory_present);
	command_put_uint(w, "cpu_ns", usage.cpu_ns);
	command_put_uint(w, "uptime_ns", usage.uptime_ns);
	command_put_uint(w, "starts", vm->starts);
	cbor_close_map(w, map);
}

static enum status list_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	uint64_t max = a->max.given ? a->max.value : VMS_MAX, shown = 0, last = 0;
	struct cbor_mark list;
	struct vm *vm = NULL;
	bool more = false;

	(void)f;
	cbor_put_text(w, "vms");
	list = cbor_open(w);
	while ((vm = vm_next(c->cfg.machine, vm))) {
		if (a->after.given && vm->id <= a->after.value)
			continue;
		more = shown == max || !command_fits(w, LIST_ENTRY_MAX);
		if (more)
			break;
		put_list_entry(vm, w);
		last = vm->id;
		shown++;
	}
	cbor_close_array(w, list);
	if (more)
		command_put_uint(w, "next", last);
	return ST_OK;
}

static enum status list_decode(struct control *c, struct command_args *a, struct failure *f)
{
	(void)c;
	if (a->max.given && a->max.value == 0)
		return fail(&f->error, ST_INVALID, "max is 0: a page holds one VM at least");
	return ST_OK;
}

static void put_exits(const struct vm_info *info, struct cbor_writer *w)
{
	struct cbor_mark map;

	cbor_put_text(w, "exits_by_kind");
	map = cbor_open(w);
	for (unsigned kind = 0; kind < EXIT_KINDS; kind++)
		if (info->exits_by_kind[kind])
			command_put_uint(w, exit_kind_name((enum exit_kind)kind), info->exits_by_kind[kind]);
	cbor_close_map(w, map);
}

static void put_memory(const struct vm *vm, const struct vm_info *info, struct cbor_writer *w)
{
	struct cbor_mark map;

	cbor_put_text(w, "memory");
	map = cbor_open(w);
	command_put_uint(w, "size", vm->config.memory.size);
	command_put_uint(w, "present", info->memory_present);
	command_put_uint(w, "overhead", info->overhead);
	cbor_close_map(w, map);
}

static void put_cpu(const struct vm_info *info, struct cbor_writer *w)
{
	const struct vm_cpu_info *cpu = &info->cpu;
	struct cbor_mark map;

	cbor_put_text(w, "cpu");
	map = cbor_open(w);
	command_put_uint(w, "ready_ns", info->waited_ns);
	command_put_uint(w, "blocked_ns", cpu->blocked_ns);
	command_put_uint(w, "limited_ns", cpu->limited_ns);
	command_put_uint(w, "costopped_ns", cpu->costopped_ns);
	command_put_uint(w, "turns", cpu->dispatches);
	command_put_uint(w, "migrations", cpu->migrations);
	command_put_uint(w, "wakes", cpu->wakes);
	command_put_uint(w, "wake_p50_ns", cpu->wake_p50_ns);
	command_put_uint(w, "wake_p99_ns", cpu->wake_p99_ns);
	command_put_uint(w, "entitled", cpu->entitled);
	command_put_uint(w, "allowed", cpu->allowed);
	cbor_close_map(w, map);
}

/* Counters of a disk that an operator looks at first; all of them are below vm.NAME.disk.DISK. */
static const char *const disk_words[] = {
	"reads", "writes", "read", "written", "errors", "in_flight", "waiting_for_space",
};

static void put_disk(struct control *c, const struct vm *vm, unsigned index, struct cbor_writer *w)
{
	const struct counter_table *t = &vm_disk_counters;
	_Alignas(8) uint8_t figures[COUNTER_FIGURES_MAX];
	struct cbor_mark map = cbor_open(w);
	unsigned long masked;

	command_put_text(w, "volume", vm->config.disks[index].volume);
	masked = control_mask(c);
	t->figures(&vm->disk_places[index], figures);
	control_unmask(c, masked);
	for (size_t i = 0; i < ARRAY_SIZE(disk_words); i++)
		for (size_t row = 0; row < t->count; row++)
			if (strcmp(t->rows[row].name, disk_words[i]) == 0)
				command_put_uint(w, disk_words[i], counter_value(&t->rows[row], figures, 0));
	cbor_close_map(w, map);
}

static void put_disks(struct control *c, const struct vm *vm, struct cbor_writer *w)
{
	struct cbor_mark map;

	if (vm->config.disk_count == 0)
		return;
	cbor_put_text(w, "disks");
	map = cbor_open(w);
	for (unsigned i = 0; i < vm->config.disk_count; i++) {
		cbor_put_text(w, vm->config.disks[i].name);
		put_disk(c, vm, i, w);
	}
	cbor_close_map(w, map);
}

/* Counters of an interface, below vm.NAME.net.INTERFACE, and what info calls them. */
static const struct nic_word {
	const char *name, *key;
} nic_words[] = {
	{"tx.frames", "sent_frames"}, {"tx.bytes", "sent_bytes"}, {"rx.frames", "received_frames"},
	{"rx.bytes", "received_bytes"},
};

static void put_nic(struct control *c, const struct vm *vm, unsigned index, struct cbor_writer *w)
{
	const struct vm_nic *nic = &vm->config.nics[index];
	const struct counter_table *t = &vm_nic_counters;
	_Alignas(8) uint8_t figures[COUNTER_FIGURES_MAX];
	char text[ADDRESS_MAC_TEXT];
	uint8_t mac[NET_MAC_BYTES];
	struct cbor_mark map = cbor_open(w);
	unsigned long masked;

	vm_nic_mac(&vm->config, nic, mac);
	command_put_text(w, "network", nic->network);
	command_put_text(w, "mac", address_mac_text(mac, text));
	masked = control_mask(c);
	t->figures(&vm->nic_places[index], figures);
	control_unmask(c, masked);
	for (size_t i = 0; i < ARRAY_SIZE(nic_words); i++)
		for (size_t row = 0; row < t->count; row++)
			if (strcmp(t->rows[row].name, nic_words[i].name) == 0)
				command_put_uint(w, nic_words[i].key, counter_value(&t->rows[row], figures, 0));
	cbor_close_map(w, map);
}

static void put_nics(struct control *c, const struct vm *vm, struct cbor_writer *w)
{
	struct cbor_mark map;

	if (vm->config.nic_count == 0)
		return;
	cbor_put_text(w, "nics");
	map = cbor_open(w);
	for (unsigned i = 0; i < vm->config.nic_count; i++) {
		cbor_put_text(w, vm->config.nics[i].name);
		put_nic(c, vm, i, w);
	}
	cbor_close_map(w, map);
}

static enum status info_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct vm_info info;

	(void)f;
	vm_info(a->vm, &info);
	command_put_uint(w, "id", a->vm->id);
	command_put_text(w, "name", a->vm->config.name);
	put_state(a->vm, w);
	if (vm_starts_again(a->vm)) {
		cbor_put_key(w, "starts_again");
		cbor_put_bool(w, true);
	}
	if (a->vm->held_by[0])
		command_put_text(w, "held_by", a->vm->held_by);
	command_put_text(w, "origin", a->vm->config.origin);
	cbor_put_text(w, "config");
	define_encode(&a->vm->config, w);
	put_memory(a->vm, &info, w);
	command_put_uint(w, "starts", a->vm->starts);
	command_put_uint(w, "cpu_ns", info.cpu_ns);
	command_put_uint(w, "uptime_ns", info.uptime_ns);
	put_cpu(&info, w);
	command_put_uint(w, "exits", info.exits);
	put_exits(&info, w);
	put_disks(c, a->vm, w);
	put_nics(c, a->vm, w);
	command_put_uint(w, "injected", info.injected);
	command_put_uint(w, "denied_msrs", info.denied_msrs);
	command_put_uint(w, "bus_misses", info.bus_misses);
	command_put_uint(w, "report_bytes", strlen(vm_report(a->vm)));
	return ST_OK;
}

/* The report may quote the guest (instruction bytes, strings): only printable text and newlines leave here. */
static void put_clean(struct cbor_writer *w, const char *text, size_t len)
{
	char clean[REPORT_CHUNK];

	for (size_t i = 0; i < len; i++)
		clean[i] = (text[i] >= ' ' && text[i] <= '~') || text[i] == '\n' ? text[i] : '?';
	cbor_put_text_n(w, clean, len);
}

static enum status report_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	size_t total = strlen(vm_report(a->vm));
	size_t from = a->offset.value < total ? (size_t)a->offset.value : total;
	size_t len = MIN(total - from, REPORT_CHUNK);

	(void)c;
	(void)f;
	cbor_put_text(w, "text");
	put_clean(w, vm_report(a->vm) + from, len);
	command_put_uint(w, "total", total);
	if (from + len < total)
		command_put_uint(w, "next", from + len);
	return ST_OK;
}

/* ---- define ---- */

static const struct vm_config *find_pending(const struct control *c, const char *name)
{
	for (unsigned i = 0; i < c->pending_count; i++)
		if (strcmp(c->pending[i].name, name) == 0)
			return &c->pending[i];
	return NULL;
}

/* Two definitions of one name: names both places. */
static enum status refuse_second(const struct vm_config *first, const struct vm_config *second, struct error *err)
{
	return fail(err, ST_EXISTS, "VM %s (%.64s) is already defined (%.64s)", second->name,
		    second->origin[0] ? second->origin : "now", first->origin[0] ? first->origin : "earlier");
}

static unsigned free_places(const struct machine *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < VMS_MAX; i++)
		n += m->vms[i] == NULL;
	return n;
}

enum status vm_decode_definition(struct control *c, const struct define_source *src, struct cbor_value settings,
				 struct vm_config *out, struct error *err)
{
	const struct vm_config *other;
	struct vm_config cfg;
	struct error why;
	struct vm *vm;
	enum status st = define_decode(src, settings, &cfg, err);

	if (st != ST_OK)
		return st;
	if (strcmp(cfg.name, LOG_CONSOLE_NAME) == 0)
		return fail(err, ST_EXISTS, "VM %s: the name is that of the hypervisor's log among the consoles",
			    cfg.name);
	vm = c->planning ? NULL : vm_find(c->cfg.machine, cfg.name);
	other = vm ? &vm->config : find_pending(c, cfg.name);
	if (other)
		return refuse_second(other, &cfg, err);
	if (!c->planning && cfg.pool[0]) {
		st = pools_usable(c, cfg.pool, &why);
		if (st != ST_OK)
			return fail(err, st, "VM %s%s%.64s%s: pool: %.120s", cfg.name, cfg.origin[0] ? " (" : "", cfg.origin,
				    cfg.origin[0] ? ")" : "", why.text);
	}
	if (!c->planning && free_places(c->cfg.machine) <= c->pending_count)
		return fail(err, ST_OVER_LIMIT, "VM %s: there are %d VMs already, which is all this version has",
			    cfg.name, VMS_MAX);
	*out = cfg;
	return ST_OK;
}

/* What operators saved for a VM of that name counts from its definition on. */
static void recall_settings(struct control *c, const char *name)
{
	char place[TREE_PATH_MAX];
	struct error err;
	size_t len = format(place, sizeof place, "vm.%s", name);

	if (saved_read(c, place, len, &err) != ST_OK)
		log_error("VM %s: its saved settings cannot be read: %s", name, err.text);
}

enum status vm_apply_definitions(struct control *c, const struct vm_config *cfg, unsigned count, struct error *err)
{
	for (unsigned i = 0; i < count; i++) {
		struct error ignored;
		struct vm *vm;
		enum status st = vm_define(c->cfg.machine, &cfg[i], &vm, err);

		if (st == ST_OK)
			continue;
		while (i-- > 0) { /* the machine ran out of something: take back what was defined */
			vm = vm_find(c->cfg.machine, cfg[i].name);
			if (vm && vm_destroy(vm, &ignored) != ST_OK)
				log_error("VM %s: cannot take its definition back: %s", cfg[i].name, ignored.text);
		}
		return st;
	}
	for (unsigned i = 0; i < count; i++)
		recall_settings(c, cfg[i].name);
	return ST_OK;
}

/* The label of a definition for messages, cleaned. */
static void copy_origin(const struct arg_text *origin, const char *otherwise, char out[VM_PATH_MAX])
{
	if (origin->given)
		log_clean(out, VM_PATH_MAX, origin->text, origin->len);
	else
		format(out, VM_PATH_MAX, "%s", otherwise);
}

static enum status decode_config(struct control *c, const struct command_args *a, struct failure *f)
{
	char origin[VM_PATH_MAX];
	struct define_source src = {
		.name = a->name.text, .name_len = a->name.len, .origin = origin, .units = false,
	};
	enum status st;

	copy_origin(&a->origin, "", origin);
	st = vm_decode_definition(c, &src, a->config.value, &c->pending[0], &f->error);
	if (st == ST_OK)
		c->pending_count = 1;
	return st;
}

/* ---- what is being defined: 16 definitions are too much to keep a place for ---- */

#define PENDING_BYTES (DEFINE_MAX * sizeof(struct vm_config))
#define PENDING_ORDER (bit_highest(PENDING_BYTES - 1) + 1 - PAGE_SHIFT)

static enum status take_pending(struct control *c, struct error *err)
{
	unsigned long masked = control_mask(c);
	hfn_t frame;
	enum status st = memmgr_alloc(c->cfg.machine->mm, PENDING_ORDER, &frame);

	control_unmask(c, masked);
	if (st != ST_OK)
		return fail(err, st, "there is no memory for a definition");
	c->pending = memmgr_va(c->cfg.machine->mm, frame);
	c->pending_max = DEFINE_MAX;
	c->pending_count = 0;
	return ST_OK;
}

static void give_pending(struct control *c)
{
	unsigned long masked = control_mask(c);

	memmgr_free(c->cfg.machine->mm, memmgr_hfn(c->cfg.machine->mm, c->pending), PENDING_ORDER);
	control_unmask(c, masked);
	c->pending = NULL;
	c->pending_max = c->pending_count = 0;
}

static enum status decode_all(struct control *c, const struct command_args *a, struct failure *f)
{
	char origin[VM_PATH_MAX];
	enum status st;

	if (a->config.given)
		return decode_config(c, a, f);
	copy_origin(&a->origin, "define", origin);
	audit_on(c, origin, strlen(origin));
	st = script_collect(c, a->text.text, a->text.len, origin, &f->error);
	if (st == ST_OK && c->pending_count == 0)
		return fail(&f->error, ST_INVALID, "%s: the text defines no VM", origin);
	return st;
}

static enum status define_decode_args(struct control *c, struct command_args *a, struct failure *f)
{
	enum status st;

	if (a->text.given == a->config.given)
		return fail(&f->error, ST_INVALID, "define needs either text, or name and config");
	if (a->config.given != a->name.given)
		return fail(&f->error, ST_INVALID, "define takes name together with config");
	st = take_pending(c, &f->error);
	if (st != ST_OK)
		return st;
	st = decode_all(c, a, f);
	if (st != ST_OK)
		give_pending(c);
	return st;
}

static enum status define_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	enum status st = vm_apply_definitions(c, c->pending, c->pending_count, &f->error);
	struct cbor_mark list;

	(void)a;
	if (st != ST_OK) {
		give_pending(c);
		return st;
	}
	cbor_put_text(w, "vms");
	list = cbor_open(w);
	for (unsigned i = 0; i < c->pending_count; i++) {
		const struct vm *vm = vm_find(c->cfg.machine, c->pending[i].name);
		struct cbor_mark map = cbor_open(w);

		command_put_uint(w, "id", vm->id);
		command_put_text(w, "name", vm->config.name);
		cbor_close_map(w, map);
		log_info("VM %s: defined (%s)", vm->config.name,
			 vm->config.origin[0] ? vm->config.origin : "by request");
	}
	cbor_close_array(w, list);
	give_pending(c);
	return ST_OK;
}

/* ---- verbs ---- */

typedef enum status (*vm_verb)(struct vm *vm, struct error *err);

static enum status run_verb(vm_verb verb, struct command_args *a, struct failure *f)
{
	enum status st = verb(a->vm, &f->error);

	if (st != ST_OK && !f->error.text[0])
		return fail(&f->error, st, "VM %s: %s", a->vm->config.name, status_name(st));
	return st;
}

static enum status start_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)c;
	(void)w;
	return run_verb(vm_start, a, f);
}

static enum status stop_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)c;
	(void)w;
	return run_verb(vm_stop, a, f);
}

static enum status pause_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)c;
	(void)w;
	return run_verb(vm_pause, a, f);
}

static enum status resume_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)c;
	(void)w;
	return run_verb(vm_resume, a, f);
}

static enum status power_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)c;
	(void)w;
	return run_verb(vm_power_button, a, f);
}

static enum status destroy_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	unsigned id = a->vm->id;
	enum status st = run_verb(vm_destroy, a, f);

	(void)w;
	if (st == ST_OK) {
		push_forget(c, id);
		c->generation.owned[id] = false;
		settings_forget(c, id);
	}
	return st;
}

/* ---- the table ---- */

static const struct arg target_args[] = {
	{"name", ARG_TEXT, ARG_OF(name), false},
	{"id", ARG_NUMBER, ARG_OF(id), false},
};
static const struct arg list_args[] = {
	{"after", ARG_NUMBER, ARG_OF(after), false},
	{"max", ARG_NUMBER, ARG_OF(max), false},
};
static const struct arg report_args[] = {
	{"name", ARG_TEXT, ARG_OF(name), false},
	{"id", ARG_NUMBER, ARG_OF(id), false},
	{"offset", ARG_NUMBER, ARG_OF(offset), false},
};
static const struct arg define_args[] = {
	{"text", ARG_TEXT, ARG_OF(text), false},
	{"name", ARG_TEXT, ARG_OF(name), false},
	{"config", ARG_VALUE, ARG_OF(config), false},
	{"origin", ARG_TEXT, ARG_OF(origin), false},
};

#define VERB(number, verb, legal, function, text)                                                  \
	{                                                                                           \
		.id = (number), .ops = BIT(SMP_WRITE), .role = ROLE_OPERATOR, .states = (legal), .target = TARGET_VM,        \
		.name = (verb), .help = (text), .args = target_args, .arg_count = ARRAY_SIZE(target_args), \
		.apply = (function),                                                                  \
	}

static const struct command vm_commands[] = {
	{
		.id = VM_LIST, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "list",
		.help = "lists the VMs", .args = list_args, .arg_count = ARRAY_SIZE(list_args),
		.decode = list_decode, .apply = list_apply,
	},
	{
		.id = VM_DEFINE, .ops = BIT(SMP_WRITE), .role = ROLE_OPERATOR, .name = "define",
		.help = "defines VMs, all or none", .args = define_args, .arg_count = ARRAY_SIZE(define_args),
		.decode = define_decode_args,
		.apply = define_apply,
	},
	VERB(VM_START, "start", STATES_IDLE, start_apply, "starts a VM"),
	VERB(VM_STOP, "stop", STATES_ALIVE | STATE_STARTS_AGAIN, stop_apply, "stops a VM at once, like pulling the plug"),
	VERB(VM_PAUSE, "pause", BIT(VM_RUNNING), pause_apply, "takes a VM off the CPU; its time stands still"),
	VERB(VM_RESUME, "resume", BIT(VM_PAUSED), resume_apply, "lets a paused VM go on"),
	VERB(VM_DESTROY, "destroy", STATES_IDLE, destroy_apply, "forgets a VM that does not run"),
	{
		.id = VM_INFO, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .target = TARGET_VM, .name = "info",
		.help = "says all about a VM", .args = target_args, .arg_count = ARRAY_SIZE(target_args),
		.apply = info_apply,
	},
	VERB(VM_POWER, "power", BIT(VM_RUNNING), power_apply, "presses a VM's power button"),
	{
		.id = VM_REPORT, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .target = TARGET_VM, .name = "report",
		.help = "reads a VM's crash report", .args = report_args, .arg_count = ARRAY_SIZE(report_args),
		.apply = report_apply,
	},
};

const struct command_group vm_group = {
	.id = GROUP_VM, .name = "corbel vm", .commands = vm_commands, .count = ARRAY_SIZE(vm_commands),
};
