/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A keyring read back is checked like one from outside: whoever can write the
 * disk can write it, and a damaged one must not be half believed.
 */
#include "lua/keys.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/cbor.h"

#define FORMAT_VERSION 1
#define SHOWN_MAX 40

void keyring_init(struct keyring *k)
{
	memset(k, 0, sizeof *k);
	k->trust = true;
}

/* ---- finding ---- */

const struct key *keyring_find(const struct keyring *k, const char *name, size_t len)
{
	for (unsigned i = 0; i < k->count; i++)
		if (strlen(k->key[i].name) == len && memcmp(k->key[i].name, name, len) == 0)
			return &k->key[i];
	return NULL;
}

const struct key *keyring_find_thumbprint(const struct keyring *k, const uint8_t *thumbprint, size_t len)
{
	for (unsigned i = 0; len == COSE_THUMBPRINT_BYTES && i < k->count; i++)
		if (memcmp(k->key[i].thumbprint, thumbprint, len) == 0)
			return &k->key[i];
	return NULL;
}

unsigned keyring_owners(const struct keyring *k)
{
	unsigned n = 0;

	for (unsigned i = 0; i < k->count; i++)
		n += k->key[i].role == ROLE_OWNER;
	return n;
}

/* ---- changing ---- */

static bool name_good(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._@-";
	size_t len = strspn(name, allowed);

	/* "line" is what the log calls a session without a login. */
	return len > 0 && name[len] == '\0' && memchr("._@-", name[0], 4) == NULL && strcmp(name, "line") != 0;
}

static enum status check(const struct key *key, struct error *err)
{
	if (!name_good(key->name))
		return fail(err, ST_INVALID, "%.31s is no name for a key: it is made of a-z, 0-9 and . _ @ - inside, "
			    "at most %u characters, and not \"line\"", key->name, KEY_NAME_MAX - 1);
	if (key->role < ROLE_OBSERVER || key->role > ROLE_OWNER)
		return fail(err, ST_INVALID, "a key's role is observer, operator or owner");
	if (key->rights.count > RIGHTS_VMS_MAX)
		return fail(err, ST_OVER_LIMIT, "a key can be limited to %u VMs at most", RIGHTS_VMS_MAX);
	if (key->role == ROLE_OWNER && rights_limited(&key->rights))
		return fail(err, ST_INVALID, "an owner cannot be limited to VMs");
	return ST_OK;
}

enum status keyring_add(struct keyring *k, const struct key *key, struct error *err)
{
	struct key new = *key;
	const struct key *same;
	enum status st = check(key, err);

	if (st != ST_OK)
		return st;
	cose_key_thumbprint(&new.public, new.thumbprint);
	if (keyring_find(k, new.name, strlen(new.name)))
		return fail(err, ST_EXISTS, "there is a key called %s already", new.name);
	same = keyring_find_thumbprint(k, new.thumbprint, sizeof new.thumbprint);
	if (same)
		return fail(err, ST_EXISTS, "this key is enrolled already, as %s", same->name);
	if (k->count == KEYS_MAX)
		return fail(err, ST_OVER_LIMIT, "there are %u keys already, which is all this version has", KEYS_MAX);
	k->key[k->count++] = new;
	return ST_OK;
}

enum status keyring_remove(struct keyring *k, const char *name, size_t len, struct error *err)
{
	const struct key *key = keyring_find(k, name, len);
	char shown[SHOWN_MAX];
	size_t at;

	if (!key)
		return fail(err, ST_NOT_FOUND, "there is no key called %s", log_clean(shown, sizeof shown, name, len));
	if (key->role == ROLE_OWNER && keyring_owners(k) == 1 && !k->trust)
		return fail(err, ST_BAD_STATE, "%s is the last owner's key and the line is not trusted: nobody could "
			    "log in as owner any more", key->name);
	at = (size_t)(key - k->key);
	memmove(&k->key[at], &k->key[at + 1], (k->count - at - 1) * sizeof k->key[0]);
	memset(&k->key[--k->count], 0, sizeof k->key[0]);
	return ST_OK;
}

/* ---- as bytes ---- */

static void put_key(struct cbor_writer *w, const struct key *key)
{
	uint8_t public[COSE_KEY_BYTES];
	struct cbor_mark map = cbor_open(w), list;

	cbor_put_text(w, "name");
	cbor_put_text(w, key->name);
	cbor_put_text(w, "role");
	cbor_put_text(w, role_name(key->role));
	cbor_put_text(w, "key");
	cose_key_encode(&key->public, public);
	cbor_put_raw(w, public, sizeof public);
	cbor_put_text(w, "added");
	cbor_put_uint(w, key->added);
	if (rights_limited(&key->rights)) {
		cbor_put_text(w, "vms");
		list = cbor_open(w);
		for (unsigned i = 0; i < key->rights.count; i++)
			cbor_put_text(w, key->rights.vm[i]);
		cbor_close_array(w, list);
	}
	cbor_close_map(w, map);
}

size_t keyring_encode(const struct keyring *k, uint8_t out[KEYRING_BYTES_MAX])
{
	struct cbor_mark map, list;
	struct cbor_writer w;

	cbor_writer_init(&w, out, KEYRING_BYTES_MAX);
	map = cbor_open(&w);
	cbor_put_text(&w, "v");
	cbor_put_uint(&w, FORMAT_VERSION);
	cbor_put_text(&w, "trust");
	cbor_put_bool(&w, k->trust);
	cbor_put_text(&w, "machine");
	cbor_put_bytes(&w, k->machine, sizeof k->machine);
	cbor_put_text(&w, "keys");
	list = cbor_open(&w);
	for (unsigned i = 0; i < k->count; i++)
		put_key(&w, &k->key[i]);
	cbor_close_array(&w, list);
	cbor_close_map(&w, map);
	return w.len;
}

static bool copy_text(struct cbor_value map, const char *name, char *out, size_t size)
{
	struct cbor_value v;
	const char *text;
	size_t len;

	if (!cbor_find(map, name, &v) || !cbor_get_text(v, &text, &len) || len >= size || memchr(text, '\0', len))
		return false;
	memcpy(out, text, len);
	out[len] = '\0';
	return true;
}

static bool get_rights(struct cbor_value map, struct rights *out)
{
	struct cbor_value list, v;
	struct cbor_iter it;
	const char *text;
	size_t len;

	if (!cbor_find(map, "vms", &list))
		return true;
	if (cbor_type_of(list) != CBOR_ARRAY || cbor_count(list) == 0 || !cbor_iterate(list, &it))
		return false;
	while (cbor_next(&it, &v)) {
		if (!cbor_get_text(v, &text, &len) || out->count == RIGHTS_VMS_MAX || len >= VM_NAME_MAX || len == 0 ||
		    memchr(text, '\0', len))
			return false;
		memcpy(out->vm[out->count], text, len);
		out->vm[out->count++][len] = '\0';
	}
	return true;
}

static enum status get_key(struct cbor_value map, struct keyring *k, struct error *err)
{
	struct key key = {.role = ROLE_UNSET};
	char role[16];
	struct cbor_value v;
	size_t used;
	enum status st;

	if (!copy_text(map, "name", key.name, sizeof key.name) || !copy_text(map, "role", role, sizeof role) ||
	    !cbor_find(map, "key", &v) || cbor_check(v.at, (size_t)(v.end - v.at), &used) != ST_OK)
		return fail(err, ST_CORRUPT, "key %u has no name, role or key", k->count + 1);
	key.role = role_from_name(role, strlen(role));
	st = cose_key_decode(v.at, used, &key.public, err);
	if (st != ST_OK)
		return ST_CORRUPT;
	if (!cbor_find(map, "added", &v) || !cbor_get_uint(v, &key.added) || !get_rights(map, &key.rights))
		return fail(err, ST_CORRUPT, "key %s has no date, or no list of VMs", key.name);
	return keyring_add(k, &key, err) == ST_OK ? ST_OK : ST_CORRUPT;
}

/* What is not in the list of keys. */
static enum status get_head(struct cbor_value map, struct keyring *k, struct cbor_value *keys, struct error *err)
{
	const uint8_t *machine;
	struct cbor_value v;
	uint64_t version;
	size_t len;

	if (!cbor_find(map, "v", &v) || !cbor_get_uint(v, &version))
		return fail(err, ST_CORRUPT, "there is no version");
	if (version != FORMAT_VERSION)
		return fail(err, ST_UNSUPPORTED, "format %llu is not known", (unsigned long long)version);
	if (!cbor_find(map, "trust", &v) || !cbor_get_bool(v, &k->trust))
		return fail(err, ST_CORRUPT, "it does not say whether the line is trusted");
	if (!cbor_find(map, "machine", &v) || !cbor_get_bytes(v, &machine, &len) || len != sizeof k->machine)
		return fail(err, ST_CORRUPT, "there is no machine's identity");
	memcpy(k->machine, machine, len);
	if (!cbor_find(map, "keys", keys) || cbor_type_of(*keys) != CBOR_ARRAY)
		return fail(err, ST_CORRUPT, "there is no list of keys");
	return ST_OK;
}

enum status keyring_decode(const void *data, size_t len, struct keyring *out, struct error *err)
{
	struct cbor_value keys, v;
	struct cbor_iter it;
	struct keyring k;
	enum status st;
	size_t used;

	keyring_init(&k);
	if (cbor_check(data, len, &used) != ST_OK || used != len || cbor_type_of(cbor_root(data, len)) != CBOR_MAP)
		return fail(err, ST_CORRUPT, "it is not one CBOR map");
	st = get_head(cbor_root(data, len), &k, &keys, err);
	if (st != ST_OK)
		return st;
	if (!cbor_iterate(keys, &it))
		return fail(err, ST_CORRUPT, "there is no list of keys");
	while (st == ST_OK && cbor_next(&it, &v))
		st = get_key(v, &k, err);
	if (st == ST_OK)
		*out = k;
	return st;
}
