/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a map of arguments to a command that ran: each key is looked up in the
 * command's rows and stored by kind; then the VM or console that it names is
 * found, its state checked, and decode and apply are called. In our own groups
 * an unknown key is an error; standard groups ignore it, as their servers do.
 */
#include "lua/command.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"

#define SHOWN_MAX 40
#define REPLY_ENDS 32 /* what closing the open containers may add */

static const struct command_group *const groups[] = {
	&os_group, &image_group, &stat_group, &settings_group, &file_group, &shell_group, &enum_group, &session_group,
	&vm_group, &cpu_group, &volume_group, &net_group, &policy_group, &events_group, &console_group, &inspect_group,
	&tree_group, &store_group,
};

const struct command_group *command_group_at(size_t i)
{
	return i < ARRAY_SIZE(groups) ? groups[i] : NULL;
}

const struct command_group *command_group_find(unsigned id)
{
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		if (groups[i]->id == id)
			return groups[i];
	return NULL;
}

const struct command *command_find(unsigned group, unsigned id)
{
	const struct command_group *g = command_group_find(group);

	for (size_t i = 0; g && i < g->count; i++)
		if (g->commands[i].id == id)
			return &g->commands[i];
	return NULL;
}

enum role command_role(const struct command *cmd, enum smp_op op)
{
	enum role role = op == SMP_WRITE && cmd->write_role ? cmd->write_role : cmd->role;

	return role == ROLE_UNSET ? ROLE_OWNER : role;
}

/* ---- arguments ---- */

static const struct arg *find_arg(const struct command *cmd, struct cbor_value key)
{
	for (size_t i = 0; i < cmd->arg_count; i++)
		if (cbor_is_text(key, cmd->args[i].key))
			return &cmd->args[i];
	return NULL;
}

static enum status wrong_type(const struct arg *arg, struct cbor_value v, struct failure *f)
{
	static const char *const wanted[] = {
		[ARG_TEXT] = "text", [ARG_NUMBER] = "a whole number", [ARG_BOOL] = "true or false",
		[ARG_DATA] = "text or a byte string", [ARG_VALUE] = "a value",
	};

	return fail(&f->error, ST_INVALID, "%s takes %s, not %s", arg->key, wanted[arg->kind],
		    cbor_type_name(cbor_type_of(v)));
}

static enum status store_arg(const struct arg *arg, struct cbor_value v, struct command_args *a, struct failure *f)
{
	void *at = (char *)a + arg->offset;
	struct arg_number *number = at;
	struct arg_value *value = at;
	struct arg_text *text = at;
	bool good = true;

	switch (arg->kind) {
	case ARG_DATA:
		if (cbor_get_bytes(v, (const uint8_t **)&text->text, &text->len)) {
			text->given = true;
			break;
		}
		/* fall through */
	case ARG_TEXT:
		text->given = good = cbor_get_text(v, &text->text, &text->len);
		break;
	case ARG_NUMBER:
		number->given = good = cbor_get_uint(v, &number->value);
		break;
	case ARG_BOOL:
		good = cbor_get_bool(v, at);
		break;
	case ARG_VALUE:
		*value = (struct arg_value){.value = v, .given = true};
		break;
	}
	return good ? ST_OK : wrong_type(arg, v, f);
}

static enum status unknown_key(const struct command *cmd, struct cbor_value key, struct failure *f)
{
	char shown[SHOWN_MAX];
	const char *text;
	size_t len;

	if (!cbor_get_text(key, &text, &len))
		return fail(&f->error, ST_INVALID, "an argument's name is %s, not text",
			    cbor_type_name(cbor_type_of(key)));
	return fail(&f->error, ST_INVALID, "%s takes no argument %s", cmd->name,
		    log_clean(shown, sizeof shown, text, len));
}

static enum status decode_args(const struct command_request *req, struct command_args *a, struct failure *f)
{
	const struct command *cmd = req->command;
	struct cbor_value key, value;
	struct cbor_iter it;
	uint64_t seen = 0;

	if (!cbor_iterate(req->args, &it))
		return fail(&f->error, ST_INVALID, "the arguments are not a map");
	while (cbor_next_pair(&it, &key, &value)) {
		const struct arg *arg = find_arg(cmd, key);
		enum status st = ST_OK;

		if (!arg && req->group->id < SMP_USER_GROUPS)
			continue;
		if (!arg)
			return unknown_key(cmd, key, f);
		if (seen & BIT(arg - cmd->args))
			return fail(&f->error, ST_INVALID, "%s is given twice", arg->key);
		seen |= BIT(arg - cmd->args);
		st = store_arg(arg, value, a, f);
		if (st != ST_OK)
			return st;
	}
	for (size_t i = 0; i < cmd->arg_count; i++)
		if (cmd->args[i].required && !(seen & BIT(i)))
			return fail(&f->error, ST_INVALID, "%s needs the argument %s", cmd->name, cmd->args[i].key);
	return ST_OK;
}

/* ---- what a request is about ---- */

static enum status find_by_name(struct machine *m, const struct arg_text *name, enum target target, struct vm **out,
				struct failure *f)
{
	char text[VM_NAME_MAX], shown[SHOWN_MAX];

	if (target == TARGET_CONSOLE && name->len == strlen(LOG_CONSOLE_NAME) &&
	    memcmp(name->text, LOG_CONSOLE_NAME, name->len) == 0) {
		*out = NULL;
		return ST_OK;
	}
	if (name->len < sizeof text && !memchr(name->text, '\0', name->len)) {
		struct vm *vm;

		memcpy(text, name->text, name->len);
		text[name->len] = '\0';
		vm = vm_find(m, text);
		if (vm) {
			*out = vm;
			return ST_OK;
		}
	}
	return fail(&f->error, ST_NOT_FOUND, "there is no VM called %s",
		    log_clean(shown, sizeof shown, name->text, name->len));
}

static enum status find_target(struct machine *m, const struct command *cmd, struct command_args *a, struct failure *f)
{
	enum status st = ST_OK;

	if (cmd->target == TARGET_NONE)
		return ST_OK;
	if (a->name.given == a->id.given)
		return fail(&f->error, ST_INVALID, "%s needs either name or id", cmd->name);
	if (a->name.given)
		st = find_by_name(m, &a->name, cmd->target, &a->vm, f);
	else if (a->id.value != 0 || cmd->target == TARGET_VM)
		a->vm = a->id.value <= UINT16_MAX ? vm_by_id(m, (unsigned)a->id.value) : NULL;
	if (st != ST_OK)
		return st;
	if (!a->vm && a->id.given && (a->id.value != 0 || cmd->target == TARGET_VM))
		return fail(&f->error, ST_NOT_FOUND, "there is no VM with id %llu", (unsigned long long)a->id.value);
	a->console = a->vm ? a->vm->id : 0;
	return ST_OK;
}

/* A key that is limited to VMs acts on those, and on nothing that is the whole machine's. */
static enum status check_rights(const struct control *c, const struct command_request *req,
				const struct command_args *a, struct failure *f)
{
	bool changes = req->op == SMP_WRITE && command_role(req->command, req->op) >= ROLE_OPERATOR;

	if (req->from_script || req->command->checks_rights)
		return ST_OK;
	if (a->vm && !session_may(c, a->vm))
		return fail(&f->error, ST_DENIED, "the key %s has no rights on VM %s", c->session.who, a->vm->config.name);
	if (req->command->target == TARGET_NONE && changes && !session_may(c, NULL))
		return fail(&f->error, ST_DENIED, "%s is not for the key %s, which is limited to VMs", req->command->name,
			    c->session.who);
	return ST_OK;
}

static enum status check_state(const struct command *cmd, const struct vm *vm, struct failure *f)
{
	char wanted[64] = "";
	size_t len = 0;

	if (cmd->states == 0 || !vm || cmd->states & BIT(vm->state))
		return ST_OK;
	if (cmd->states & STATE_STARTS_AGAIN && vm_starts_again(vm))
		return ST_OK;
	for (unsigned s = 0; s < VM_STATES && len < sizeof wanted; s++)
		if (cmd->states & BIT(s))
			len += format(wanted + len, sizeof wanted - len, "%s%s", len ? " or " : "",
				      vm_state_name((enum vm_state)s));
	return fail(&f->error, ST_BAD_STATE, "VM %s is %s: %s needs it %s", vm->config.name, vm_state_words(vm),
		    cmd->name, wanted);
}

/* ---- running ---- */

static enum status check_role(const struct control *c, const struct command_request *req, struct failure *f)
{
	enum role least = command_role(req->command, req->op);

	if (req->from_script || session_is(c, least))
		return ST_OK;
	if (c->session.role == ROLE_NONE)
		return fail(&f->error, ST_DENIED, "%s needs a login as %s", req->command->name, role_name(least));
	return fail(&f->error, ST_DENIED, "%s needs the role %s, this session is %s", req->command->name,
		    role_name(least), role_name(c->session.role));
}

static enum status decode(struct control *c, const struct command_request *req,
			  struct command_args *a, struct failure *f)
{
	enum status st = decode_args(req, a, f);

	if (st == ST_OK)
		st = find_target(c->cfg.machine, req->command, a, f);
	if (st == ST_OK && a->vm)
		audit_on(c, a->vm->config.name, strlen(a->vm->config.name));
	if (st == ST_OK)
		st = check_rights(c, req, a, f);
	if (st == ST_OK)
		st = check_state(req->command, a->vm, f);
	if (st == ST_OK && req->command->decode)
		st = req->command->decode(c, a, f);
	return st;
}

/* Writes the reply of a command that was decoded; takes it back when it fails. */
static enum status apply(struct control *c, const struct command_request *req, struct command_args *a,
			 struct cbor_writer *w, struct failure *f)
{
	struct cbor_checkpoint start = cbor_save(w);
	struct cbor_mark map = cbor_open(w);
	enum status st = req->command->apply(c, a, w, f);

	cbor_close_map(w, map);
	if (st == ST_OK && w->overflow) {
		f->reply_too_long = true;
		st = fail(&f->error, ST_OVER_LIMIT, "the reply does not fit into %u bytes", SMP_BODY_MAX);
	}
	if (st != ST_OK)
		cbor_restore(w, start);
	return st;
}

enum status command_run(struct control *c, const struct command_request *req, struct cbor_writer *w, struct failure *f)
{
	struct command_args a = {.from_script = req->from_script, .op = req->op};
	struct audit_entry entry, *outer;
	enum status st;

	*f = (struct failure){.group_rc = -1};
	outer = audit_command_begin(c, &entry);
	st = check_role(c, req, f);
	if (st == ST_OK)
		st = decode(c, req, &a, f);
	if (st == ST_OK)
		st = apply(c, req, &a, w, f);
	audit_command_end(c, req, &a, st, &f->error);
	c->audit.running = outer;
	return st;
}

bool command_fits(const struct cbor_writer *w, size_t max)
{
	return !w->overflow && w->size - w->len >= max + REPLY_ENDS;
}
