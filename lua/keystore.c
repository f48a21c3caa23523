/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyring between the store and the control plane. A machine without keys is
 * its holder's: whoever is at the serial line. Keys that are there but cannot be
 * read close the machine instead; the boot argument trust=line, which takes the
 * boot medium to give, opens it again.
 */
#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"
#include "lua/keep.h"

#define KEYS_NAME FILES_OWN "keys"
#define TRUST_ARGUMENT "trust=line"

/* True when @word stands among the boot arguments. */
static bool has_argument(const char *args, const char *word)
{
	while (*args) {
		size_t len = strcspn(args, " \t\n");

		if (len == strlen(word) && memcmp(args, word, len) == 0)
			return true;
		args += len;
		args += strspn(args, " \t\n");
	}
	return false;
}

/* An identity, random where that can be had: it keeps a login for one machine from being one for another. */
static void make_identity(struct control *c)
{
	uint64_t ticks = control_ticks(c);
	struct error err;

	if (c->cfg.entropy && c->cfg.entropy(c->keys.machine, sizeof c->keys.machine, &err) == ST_OK)
		return;
	memset(c->keys.machine, 0, sizeof c->keys.machine);
	memcpy(c->keys.machine, &ticks, sizeof ticks);
}

static void read_keys(struct control *c)
{
	struct error err;
	size_t len;
	enum status st = keep_read(c, KEYS_NAME, c->keys_blob, sizeof c->keys_blob, &len, &err);

	keyring_init(&c->keys);
	/* A store that is there and cannot be opened may have keys in it. */
	if (c->cfg.machine->files->unreadable)
		st = fail(&err, ST_CORRUPT, "%.200s", c->cfg.machine->files->why_not);
	if (st == ST_OK)
		st = keyring_decode(c->keys_blob, len, &c->keys, &err);
	if (st == ST_OK)
		return;
	make_identity(c);
	if (st != ST_NOT_FOUND)
		format(c->keys_trouble, sizeof c->keys_trouble, "%.200s", err.text);
}

void keystore_load(struct control *c)
{
	char text[ERROR_TEXT_MAX];

	c->trust_boot = has_argument(c->cfg.args, TRUST_ARGUMENT);
	read_keys(c);
	session_reset(c);
	keystore_describe(c, text, sizeof text);
	log_at(login_line_trusted(c) || c->keys_trouble[0] ? LOG_WARN : LOG_INFO, "management: %s", text);
}

enum status keystore_commit(struct control *c, struct error *err)
{
	size_t len = keyring_encode(&c->keys_next, c->keys_blob);
	/* Without a store it is for this start alone; with one that cannot be written, the old keys would come back. */
	bool store = c->cfg.machine->files->kv != NULL;
	enum status st = store ? keep_write(c, KEYS_NAME, c->keys_blob, len, err) : ST_OK;

	if (st != ST_OK)
		return st;
	c->keys = c->keys_next;
	c->keys_trouble[0] = '\0';
	if (!c->session.logged_in)
		session_reset(c);
	return ST_OK;
}

bool keystore_is_own(const struct control *c)
{
	struct kvlog *kv = c->cfg.machine->files->kv;
	struct kvlog_info info;

	if (kv)
		return kvlog_stat(kv, KEYS_NAME, &info, NULL) == ST_OK;
	return c->keys.count > 0 && !c->keys_trouble[0];
}

enum status keystore_store_made(struct control *c, bool own, struct error *err)
{
	if (c->keys_trouble[0]) {
		c->keys_trouble[0] = '\0';
		read_keys(c);
		if (!c->session.logged_in)
			session_reset(c);
		return ST_OK;
	}
	c->keys_next = c->keys;
	return own ? keystore_commit(c, err) : ST_OK;
}

#define NO_LOGIN "WHOEVER IS AT THE SERIAL LINE OWNS THIS MACHINE"

void keystore_describe(const struct control *c, char *out, size_t size)
{
	if (c->trust_boot)
		format(out, size, NO_LOGIN ": the boot argument " TRUST_ARGUMENT " says so");
	else if (c->keys_trouble[0])
		format(out, size, "nobody can log in, the keys cannot be read: %s", c->keys_trouble);
	else if (c->keys.trust && c->keys.count == 0)
		format(out, size, NO_LOGIN ": no key is enrolled");
	else if (c->keys.trust)
		format(out, size, NO_LOGIN ": it is set to trust the line (%u keys are enrolled)", c->keys.count);
	else
		format(out, size, "a login is needed (%u keys are enrolled)", c->keys.count);
}
