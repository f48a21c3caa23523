/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cheap checks come first, the signature last. Nonces come from HMAC_DRBG
 * (NIST SP 800-90A) with fresh entropy mixed in for each, so that what an earlier
 * memory dump shows says nothing about the next.
 */
#include "lua/login.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/log.h"
#include "lua/control_internal.h"

#define SEED_BYTES 48u /* 256 bits of strength and a nonce, SP 800-90A section 8.6.7 */
#define SECOND_NS 1000000000ull
#define PAYLOAD_ITEMS 4

uint64_t login_backoff_ns(unsigned failures)
{
	if (failures == 0)
		return 0;
	return failures > 6 ? LOGIN_BACKOFF_MAX_NS : SECOND_NS << (failures - 1);
}

size_t login_payload(const uint8_t machine[MACHINE_ID_BYTES], const uint8_t nonce[LOGIN_NONCE_BYTES],
		     uint8_t out[LOGIN_PAYLOAD_MAX])
{
	struct cbor_writer w;
	struct cbor_mark list;

	cbor_writer_init(&w, out, LOGIN_PAYLOAD_MAX);
	list = cbor_open(&w);
	cbor_put_text(&w, LOGIN_PROTOCOL);
	cbor_put_bytes(&w, machine, MACHINE_ID_BYTES);
	cbor_put_text(&w, LOGIN_LINE);
	cbor_put_bytes(&w, nonce, LOGIN_NONCE_BYTES);
	cbor_close_array(&w, list);
	return w.len;
}

bool login_line_trusted(const struct control *c)
{
	return c->trust_boot || (c->keys.trust && !c->keys_trouble[0]);
}

static uint64_t since_ns(const struct control *c, uint64_t ticks)
{
	return ticks_to_ns(control_ticks(c) - ticks, c->cfg.clock->hz);
}

static enum status check_backoff(const struct control *c, struct error *err)
{
	uint64_t wait = login_backoff_ns(c->login.failures), waited = since_ns(c, c->login.failed);

	if (waited >= wait)
		return ST_OK;
	return fail(err, ST_BUSY, "%u logins failed in a row: try again in %llu ms", c->login.failures,
		    (unsigned long long)((wait - waited) / 1000000 + 1));
}

/* ---- the challenge ---- */

/* Mixes fresh entropy into the generator. */
static enum status reseed(struct control *c, struct error *err)
{
	uint64_t ticks = control_ticks(c);
	uint8_t seed[SEED_BYTES] = {0};
	enum status st = c->cfg.entropy ? c->cfg.entropy(seed, sizeof seed, err) :
					  fail(err, ST_IO, "no source of entropy: there is none");

	if (st != ST_OK && !login_line_trusted(c))
		return st;
	if (!c->login.seeded)
		br_hmac_drbg_init(&c->login.drbg, &br_sha256_vtable, LOGIN_PROTOCOL, sizeof LOGIN_PROTOCOL);
	c->login.seeded = true;
	br_hmac_drbg_update(&c->login.drbg, seed, sizeof seed);
	/* No secret, but no two challenges are alike even without entropy. */
	br_hmac_drbg_update(&c->login.drbg, &ticks, sizeof ticks);
	memset(seed, 0, sizeof seed);
	return ST_OK;
}

enum status login_challenge(struct control *c, const uint8_t **nonce, struct error *err)
{
	enum status st = check_backoff(c, err);

	if (st == ST_OK)
		st = reseed(c, err);
	if (st != ST_OK)
		return st;
	br_hmac_drbg_generate(&c->login.drbg, c->login.nonce, sizeof c->login.nonce);
	c->login.open = true;
	c->login.issued = control_ticks(c);
	*nonce = c->login.nonce;
	return ST_OK;
}

/* ---- the answer ---- */

/* Why @payload is not the one that was to be signed. */
static enum status explain_payload(const struct control *c, const uint8_t *payload, size_t len, struct error *err)
{
	struct cbor_value item[PAYLOAD_ITEMS];
	struct cbor_iter it;
	const uint8_t *bytes;
	size_t used;

	if (cbor_check(payload, len, &used) != ST_OK || used != len ||
	    cbor_type_of(cbor_root(payload, len)) != CBOR_ARRAY || !cbor_iterate(cbor_root(payload, len), &it))
		return fail(err, ST_DENIED, "what was signed is not the answer to a challenge");
	for (int i = 0; i < PAYLOAD_ITEMS; i++)
		if (!cbor_next(&it, &item[i]))
			return fail(err, ST_DENIED, "what was signed is not the answer to a challenge");
	if (!cbor_is_text(item[0], LOGIN_PROTOCOL))
		return fail(err, ST_DENIED, "the answer is for another protocol than " LOGIN_PROTOCOL);
	if (!cbor_get_bytes(item[1], &bytes, &used) || used != MACHINE_ID_BYTES ||
	    memcmp(bytes, c->keys.machine, used) != 0)
		return fail(err, ST_DENIED, "the answer is for another machine");
	if (!cbor_is_text(item[2], LOGIN_LINE))
		return fail(err, ST_DENIED, "the answer is for another line than " LOGIN_LINE);
	return fail(err, ST_DENIED, "the answer is to another challenge: each is good once");
}

static enum status check_payload(const struct control *c, const struct cose_sign1 *m, struct error *err)
{
	uint8_t want[LOGIN_PAYLOAD_MAX];
	size_t len = login_payload(c->keys.machine, c->login.nonce, want);

	if (m->payload_len == len && memcmp(m->payload, want, len) == 0)
		return ST_OK;
	return explain_payload(c, m->payload, m->payload_len, err);
}

static enum status check_answer(const struct control *c, const void *message, size_t len, const struct key **out,
				struct error *err)
{
	struct cose_sign1 m;
	const struct key *key;
	enum status st;

	if (!c->login.open)
		return fail(err, ST_DENIED, "no challenge is open: ask for one first, each is good once");
	if (since_ns(c, c->login.issued) > LOGIN_CHALLENGE_NS)
		return fail(err, ST_DENIED, "the challenge is stale: it was good for %llu s",
			    (unsigned long long)(LOGIN_CHALLENGE_NS / SECOND_NS));
	st = cose_sign1_parse(message, len, &m, err);
	if (st == ST_OK)
		st = check_payload(c, &m, err);
	if (st != ST_OK)
		return st;
	key = m.kid ? keyring_find_thumbprint(&c->keys, m.kid, m.kid_len) : NULL;
	if (!key)
		return fail(err, ST_DENIED, "no key of that identifier is enrolled");
	if (!cose_sign1_verify(&m, "", 0, &key->public))
		return fail(err, ST_DENIED, "the signature is wrong");
	*out = key;
	return ST_OK;
}

enum status login_answer(struct control *c, const void *message, size_t len, struct error *err)
{
	const struct key *key = NULL;
	enum status st = check_backoff(c, err);

	if (st != ST_OK)
		return st;
	st = check_answer(c, message, len, &key, err);
	c->login.open = false;
	if (st != ST_OK) {
		c->login.failures++;
		c->login.failed = control_ticks(c);
		log_warn("management: a login failed: %s", err->text);
		events_post(&c->events, EVENT_LOGIN_FAILED, NULL, "%s", err->text);
		audit_note(c, c->session.who, "session.login", "", err->text);
		return st;
	}
	c->login.failures = 0;
	session_begin(c, key);
	log_info("management: %s logged in as %s", key->name, role_name(key->role));
	events_post(&c->events, EVENT_LOGIN, NULL, "%s, %s", key->name, role_name(key->role));
	audit_note(c, key->name, "session.login", role_name(key->role), "");
	return ST_OK;
}
