/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our group of sessions (64): login and logout, the keys that may log in, whether
 * the line is trusted without any, and the audit log. Keys are changed on a copy
 * that decode makes and apply writes: what is believed is what is stored.
 */
#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/keep.h"

#define LIST_ENTRY_MAX 512 /* bytes that one key takes in a list, at most */
#define MESSAGE_MAX 1024u  /* a login's COSE_Sign1 */
#define SHOWN_MAX 40

/* ---- bytes, or the same in hexadecimal for clients that only have text ---- */

static int hex_digit(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if (ch >= 'a' && ch <= 'f')
		return ch - 'a' + 10;
	return ch >= 'A' && ch <= 'F' ? ch - 'A' + 10 : -1;
}

static bool decode_hex(const char *text, size_t len, uint8_t *out)
{
	if (len % 2)
		return false;
	for (size_t i = 0; i < len; i += 2) {
		int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);

		if (high < 0 || low < 0)
			return false;
		*out++ = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* The bytes of @v, copied to @buf when they came as text. */
static enum status take_bytes(struct cbor_value v, const char *key, uint8_t buf[MESSAGE_MAX], const uint8_t **out,
			      size_t *len, struct failure *f)
{
	const char *text;

	if (cbor_get_bytes(v, out, len))
		return ST_OK;
	if (!cbor_get_text(v, &text, len))
		return fail(&f->error, ST_INVALID, "%s takes a byte string, or text in hexadecimal, not %s", key,
			    cbor_type_name(cbor_type_of(v)));
	if (*len / 2 > MESSAGE_MAX || !decode_hex(text, *len, buf))
		return fail(&f->error, ST_INVALID, "%s is text, but not at most %u bytes in hexadecimal", key, MESSAGE_MAX);
	*out = buf;
	*len /= 2;
	return ST_OK;
}

/* ---- who, login, logout ---- */

static void put_rights(const struct rights *r, struct cbor_writer *w)
{
	struct cbor_mark list;

	if (!rights_limited(r))
		return;
	cbor_put_text(w, "vms");
	list = cbor_open(w);
	for (unsigned i = 0; i < r->count; i++)
		cbor_put_text(w, r->vm[i]);
	cbor_close_array(w, list);
}

static void put_session(const struct control *c, struct cbor_writer *w)
{
	command_put_text(w, "role", role_name(c->session.role));
	if (c->session.logged_in)
		command_put_text(w, "name", c->session.who);
	put_rights(&c->session.rights, w);
}

static enum status whoami_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	char text[ERROR_TEXT_MAX];

	(void)a;
	(void)f;
	put_session(c, w);
	keystore_describe(c, text, sizeof text);
	command_put_text(w, "trust", text);
	return ST_OK;
}

static enum status challenge_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	const uint8_t *nonce;
	enum status st = login_challenge(c, &nonce, &f->error);

	(void)a;
	if (st != ST_OK)
		return st;
	command_put_text(w, "protocol", LOGIN_PROTOCOL);
	cbor_put_text(w, "machine");
	cbor_put_bytes(w, c->keys.machine, sizeof c->keys.machine);
	command_put_text(w, "line", LOGIN_LINE);
	cbor_put_text(w, "nonce");
	cbor_put_bytes(w, nonce, LOGIN_NONCE_BYTES);
	return ST_OK;
}

static enum status login_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	uint8_t buf[MESSAGE_MAX];
	const uint8_t *message;
	enum status st;
	size_t len;

	st = take_bytes(a->message.value, "message", buf, &message, &len, f);
	if (st == ST_OK)
		st = login_answer(c, message, len, &f->error);
	if (st == ST_OK)
		put_session(c, w);
	return st;
}

static enum status logout_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	(void)a;
	(void)f;
	session_end(c, ENDED_LOGOUT);
	put_session(c, w);
	return ST_OK;
}

/* ---- keys ---- */

static void put_key(const struct key *key, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w);

	command_put_text(w, "name", key->name);
	command_put_text(w, "role", role_name(key->role));
	put_rights(&key->rights, w);
	cbor_put_text(w, "thumbprint");
	cbor_put_bytes(w, key->thumbprint, sizeof key->thumbprint);
	if (key->added)
		command_put_uint(w, "added", key->added);
	cbor_close_map(w, map);
}

static enum status keys_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	uint64_t i = a->after.given ? a->after.value : 0;
	struct cbor_mark list;

	(void)f;
	cbor_put_text(w, "keys");
	list = cbor_open(w);
	for (; i < c->keys.count && command_fits(w, LIST_ENTRY_MAX); i++)
		put_key(&c->keys.key[i], w);
	cbor_close_array(w, list);
	if (i < c->keys.count)
		command_put_uint(w, "next", i);
	return ST_OK;
}

static enum status take_rights(const struct command_args *a, struct rights *out, struct failure *f)
{
	struct cbor_iter it;
	struct cbor_value v;
	const char *text;
	size_t len;

	if (!a->vms.given)
		return ST_OK;
	if (cbor_type_of(a->vms.value) != CBOR_ARRAY || cbor_count(a->vms.value) == 0 ||
	    !cbor_iterate(a->vms.value, &it))
		return fail(&f->error, ST_INVALID, "vms takes a list of names, not an empty one");
	if (cbor_count(a->vms.value) > RIGHTS_VMS_MAX)
		return fail(&f->error, ST_OVER_LIMIT, "a key can be limited to %u VMs at most", RIGHTS_VMS_MAX);
	while (cbor_next(&it, &v)) {
		if (!cbor_get_text(v, &text, &len) || len == 0 || len >= VM_NAME_MAX || memchr(text, '\0', len))
			return fail(&f->error, ST_INVALID, "vms takes names of VMs");
		log_clean(out->vm[out->count++], VM_NAME_MAX, text, len);
	}
	return ST_OK;
}

static enum status enroll_decode(struct control *c, struct command_args *a, struct failure *f)
{
	const struct host_ops *host = c->cfg.machine->host;
	struct key key = {.added = host->wall_clock ? host->wall_clock() : 0};
	uint8_t buf[MESSAGE_MAX];
	const uint8_t *bytes;
	enum status st;
	size_t len;

	if (a->name.len >= sizeof key.name || memchr(a->name.text, '\0', a->name.len))
		return fail(&f->error, ST_INVALID, "a key's name has at most %zu characters", sizeof key.name - 1);
	memcpy(key.name, a->name.text, a->name.len);
	key.role = role_from_name(a->role.text, a->role.len);
	if (key.role == ROLE_UNSET)
		return fail(&f->error, ST_INVALID, "role takes observer, operator or owner");
	st = take_rights(a, &key.rights, f);
	if (st == ST_OK)
		st = take_bytes(a->key.value, "key", buf, &bytes, &len, f);
	if (st == ST_OK)
		st = cose_key_decode(bytes, len, &key.public, &f->error);
	c->keys_next = c->keys;
	return st == ST_OK ? keyring_add(&c->keys_next, &key, &f->error) : st;
}

/* True is "this outlives a reset". */
static void put_kept(const struct control *c, struct cbor_writer *w)
{
	cbor_put_text(w, "kept");
	cbor_put_bool(w, keep_lasts(c));
}

static enum status enroll_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	enum status st = keystore_commit(c, &f->error);
	const struct key *key;

	if (st != ST_OK)
		return st;
	key = keyring_find(&c->keys, a->name.text, a->name.len);
	audit_change(c, "", role_name(key->role));
	log_info("management: key %s enrolled as %s", key->name, role_name(key->role));
	cbor_put_text(w, "thumbprint");
	cbor_put_bytes(w, key->thumbprint, sizeof key->thumbprint);
	put_kept(c, w);
	return ST_OK;
}

static enum status revoke_decode(struct control *c, struct command_args *a, struct failure *f)
{
	const struct key *key = keyring_find(&c->keys, a->name.text, a->name.len);

	if (key)
		audit_change(c, role_name(key->role), "");
	c->keys_next = c->keys;
	return keyring_remove(&c->keys_next, a->name.text, a->name.len, &f->error);
}

static enum status revoke_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	enum status st = keystore_commit(c, &f->error);
	char shown[SHOWN_MAX];

	if (st != ST_OK)
		return st;
	log_info("management: key %s removed", log_clean(shown, sizeof shown, a->name.text, a->name.len));
	put_kept(c, w);
	if (c->session.logged_in && !keyring_find(&c->keys, c->session.who, strlen(c->session.who)))
		session_end(c, ENDED_REVOKED);
	return ST_OK;
}

/* ---- trust ---- */

static const char *on_off(bool on)
{
	return on ? "on" : "off";
}

static enum status trust_decode(struct control *c, struct command_args *a, struct failure *f)
{
	bool on;

	if (a->op == SMP_READ)
		return a->on.given ? fail(&f->error, ST_INVALID, "on is for writing trust") : ST_OK;
	if (!a->on.given || !cbor_get_bool(a->on.value, &on))
		return fail(&f->error, ST_INVALID, "trust needs on, which is true or false");
	/* Only a login shows that a key works, and that somebody has it. */
	if (!on && (!c->session.logged_in || c->session.role != ROLE_OWNER))
		return fail(&f->error, ST_BAD_STATE, "log in with an owner's key first: that shows that it works");
	c->keys_next = c->keys;
	c->keys_next.trust = on;
	return ST_OK;
}

static enum status trust_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	bool before = c->keys.trust;
	enum status st = a->op == SMP_WRITE ? keystore_commit(c, &f->error) : ST_OK;
	char text[ERROR_TEXT_MAX];

	if (st != ST_OK)
		return st;
	keystore_describe(c, text, sizeof text);
	if (a->op == SMP_WRITE) {
		audit_change(c, on_off(before), on_off(c->keys.trust));
		log_info("management: %s", text);
	}
	cbor_put_text(w, "on");
	cbor_put_bool(w, login_line_trusted(c));
	command_put_text(w, "trust", text);
	if (a->op == SMP_WRITE)
		put_kept(c, w);
	return ST_OK;
}

/* ---- audit ---- */

static enum status audit_decode(struct control *c, struct command_args *a, struct failure *f)
{
	(void)c;
	if (a->max.given && a->max.value == 0)
		return fail(&f->error, ST_INVALID, "max is 0: a page holds one entry at least");
	return ST_OK;
}

static enum status audit_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	uint64_t oldest = audit_oldest(c), from = a->from.given ? a->from.value : oldest, next;
	struct cbor_mark list;
	bool more;

	(void)f;
	cbor_put_text(w, "entries");
	list = cbor_open(w);
	more = audit_read(c, from, a->max.given ? a->max.value : UINT64_MAX, w, &next);
	cbor_close_array(w, list);
	command_put_uint(w, "oldest", oldest);
	command_put_uint(w, "head", c->audit.head);
	if (more)
		command_put_uint(w, "next", next);
	return ST_OK;
}

/* ---- the table ---- */

static const struct arg login_args[] = {{"message", ARG_VALUE, ARG_OF(message), true}};
static const struct arg keys_args[] = {{"after", ARG_NUMBER, ARG_OF(after), false}};
static const struct arg enroll_args[] = {
	{"name", ARG_TEXT, ARG_OF(name), true},
	{"role", ARG_TEXT, ARG_OF(role), true},
	{"key", ARG_VALUE, ARG_OF(key), true},
	{"vms", ARG_VALUE, ARG_OF(vms), false},
};
static const struct arg revoke_args[] = {{"name", ARG_TEXT, ARG_OF(name), true}};
static const struct arg trust_args[] = {{"on", ARG_VALUE, ARG_OF(on), false}};
static const struct arg audit_args[] = {
	{"from", ARG_NUMBER, ARG_OF(from), false},
	{"max", ARG_NUMBER, ARG_OF(max), false},
};

static const struct command session_commands[] = {
	{
		.id = SESSION_WHOAMI, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "whoami",
		.help = "says who is logged in, and whether the line is trusted", .apply = whoami_apply,
	},
	{
		.id = SESSION_CHALLENGE, .ops = BIT(SMP_WRITE), .role = ROLE_NONE, .unaudited = true,
		.name = "challenge", .help = "asks for what a login is to sign", .apply = challenge_apply,
	},
	{
		.id = SESSION_LOGIN, .ops = BIT(SMP_WRITE), .role = ROLE_NONE, .unaudited = true, .name = "login",
		.help = "begins a session", .args = login_args, .arg_count = ARRAY_SIZE(login_args),
		.apply = login_apply,
	},
	{
		.id = SESSION_LOGOUT, .ops = BIT(SMP_WRITE), .role = ROLE_OBSERVER, .unaudited = true, .name = "logout",
		.help = "ends the session", .apply = logout_apply,
	},
	{
		.id = SESSION_KEYS, .ops = BIT(SMP_READ), .role = ROLE_OWNER, .name = "keys",
		.help = "lists the keys that may log in", .args = keys_args, .arg_count = ARRAY_SIZE(keys_args),
		.apply = keys_apply,
	},
	{
		.id = SESSION_ENROLL, .ops = BIT(SMP_WRITE), .role = ROLE_OWNER, .name = "enroll",
		.help = "lets a key log in", .args = enroll_args, .arg_count = ARRAY_SIZE(enroll_args),
		.decode = enroll_decode, .apply = enroll_apply,
	},
	{
		.id = SESSION_REVOKE, .ops = BIT(SMP_WRITE), .role = ROLE_OWNER, .name = "revoke",
		.help = "removes a key", .args = revoke_args, .arg_count = ARRAY_SIZE(revoke_args),
		.decode = revoke_decode, .apply = revoke_apply,
	},
	{
		.id = SESSION_TRUST, .ops = BIT(SMP_READ) | BIT(SMP_WRITE), .role = ROLE_OBSERVER,
		.write_role = ROLE_OWNER, .name = "trust", .help = "says or sets whether the serial line needs no login",
		.args = trust_args, .arg_count = ARRAY_SIZE(trust_args), .decode = trust_decode, .apply = trust_apply,
	},
	{
		.id = SESSION_AUDIT, .ops = BIT(SMP_READ), .role = ROLE_OWNER, .name = "audit",
		.help = "reads who did what", .args = audit_args, .arg_count = ARRAY_SIZE(audit_args),
		.decode = audit_decode, .apply = audit_apply,
	},
};

const struct command_group session_group = {
	.id = GROUP_SESSION, .name = "corbel session", .commands = session_commands, .count = ARRAY_SIZE(session_commands),
};
