/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Roles are compared, never listed: what an operator may do an owner may too.
 * Idleness is looked at when a request comes and when a step is made: nothing
 * has to wake up to end a session that nobody uses.
 */
#include "lua/session.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/keys.h"

static const char *const role_names[ROLES] = {
	[ROLE_NONE] = "none", [ROLE_OBSERVER] = "observer", [ROLE_OPERATOR] = "operator", [ROLE_OWNER] = "owner",
};

const char *role_name(enum role role)
{
	return (unsigned)role < ROLES && role_names[role] ? role_names[role] : "unset";
}

enum role role_from_name(const char *text, size_t len)
{
	for (enum role r = ROLE_OBSERVER; r < ROLES; r++)
		if (strlen(role_names[r]) == len && memcmp(role_names[r], text, len) == 0)
			return r;
	return ROLE_UNSET;
}

bool rights_limited(const struct rights *r)
{
	return r->count > 0;
}

bool rights_on(const struct rights *r, const char *vm_name)
{
	for (unsigned i = 0; i < r->count; i++)
		if (strcmp(r->vm[i], vm_name) == 0)
			return true;
	return r->count == 0;
}

bool session_is(const struct control *c, enum role least)
{
	return c->session.role >= (least == ROLE_UNSET ? ROLE_OWNER : least);
}

bool session_may(const struct control *c, const struct vm *vm)
{
	return vm ? rights_on(&c->session.rights, vm->config.name) : !rights_limited(&c->session.rights);
}

bool session_may_write(const struct control *c, const char *name)
{
	static const char *const owners[] = {"scripts/", "generations/"};
	size_t len = strlen(name), suffix = strlen(".lua");

	if (session_is(c, ROLE_OWNER))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(owners); i++)
		if (strncmp(name, owners[i], strlen(owners[i])) == 0)
			return false;
	return len < suffix || strcmp(name + len - suffix, ".lua") != 0;
}

void session_reset(struct control *c)
{
	c->session = (struct session){
		.role = login_line_trusted(c) ? ROLE_OWNER : ROLE_NONE, .who = "line", .last = control_ticks(c),
	};
}

/* Nothing goes out any more that a session has asked for. */
static void hush(struct control *c)
{
	for (unsigned id = 0; id <= VMS_MAX; id++)
		push_detach(c, id);
	event_push_end(c);
	later_forget(c);
}

void session_begin(struct control *c, const struct key *key)
{
	session_end(c, ENDED_REPLACED);
	c->session = (struct session){
		.role = key->role, .logged_in = true, .rights = key->rights, .last = control_ticks(c),
	};
	memcpy(c->session.who, key->name, sizeof c->session.who);
	hush(c); /* what the trusted line had attached is not this key's */
}

void session_end(struct control *c, enum session_end why)
{
	static const char *const reasons[] = {
		[ENDED_LOGOUT] = "logout", [ENDED_LINE_DROPPED] = "the line dropped", [ENDED_IDLE] = "idle",
		[ENDED_REPLACED] = "another login", [ENDED_REVOKED] = "its key was removed",
	};

	if (!c->session.logged_in)
		return;
	audit_note(c, c->session.who, "session.end", "", reasons[why]);
	log_info("management: the session of %s ended: %s", c->session.who, reasons[why]);
	session_reset(c);
	hush(c);
}

void session_tick(struct control *c)
{
	uint64_t quiet = control_ticks(c) - c->session.last;

	if (c->session.logged_in && ticks_to_ns(quiet, c->cfg.clock->hz) > SESSION_IDLE_NS)
		session_end(c, ENDED_IDLE);
}

void session_touch(struct control *c)
{
	session_tick(c);
	c->session.last = control_ticks(c);
}
