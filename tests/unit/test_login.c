/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Login, sessions and keys with time moved by hand: the back-off curve, stale and
 * replayed answers, idleness, restarts, a store that fails, a machine without
 * entropy. What goes over the wire is tests/control/test_session.py's.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "lib/bits.h"
#include "lua/keep.h"
#include "tests/fakes/control_rig.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/signer.h"

#define MIB (1ull << 20)
#define SECOND_NS 1000000000ull
#define THUMBPRINT_AT 10 /* in an answer: behind the tag, three heads and the protected header */

enum { ALICE, BOB, MALLORY };

static struct control *c;
static struct error err;

static int setup(void **state)
{
	(void)state;
	control_rig_init(64 * MIB);
	c = control_rig.control;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	control_rig_fini();
	return 0;
}

static void pass_ns(uint64_t ns)
{
	hand_clock_advance(ns_to_ticks(ns, c->cfg.clock->hz));
}

static void restart(bool keep)
{
	control_rig_restart(keep);
	c = control_rig.control;
}

/* ---- keys ---- */

static struct key key_named(const char *name, enum role role, unsigned who)
{
	struct key key = {.role = role, .public = signer_key(who)};

	snprintf(key.name, sizeof key.name, "%s", name);
	return key;
}

static void enroll(const char *name, enum role role, unsigned who)
{
	struct key key = key_named(name, role, who);

	c->keys_next = c->keys;
	assert_int_equal(keyring_add(&c->keys_next, &key, &err), ST_OK);
	assert_int_equal(keystore_commit(c, &err), ST_OK);
}

static void trust(bool on)
{
	c->keys_next = c->keys;
	c->keys_next.trust = on;
	assert_int_equal(keystore_commit(c, &err), ST_OK);
}

/* ---- answers ---- */

static uint8_t answer[SIGNED_MAX];
static size_t answer_len;

/* Signs for the challenge that is open. */
static void sign_answer(unsigned who)
{
	uint8_t payload[LOGIN_PAYLOAD_MAX];

	answer_len = signer_sign(who, payload, login_payload(c->keys.machine, c->login.nonce, payload), answer);
}

static void challenge(void)
{
	const uint8_t *nonce;

	assert_int_equal(login_challenge(c, &nonce, &err), ST_OK);
	assert_ptr_equal(nonce, c->login.nonce);
}

static enum status log_in(unsigned who)
{
	challenge();
	sign_answer(who);
	return login_answer(c, answer, answer_len, &err);
}

static void assert_refused(const char *why)
{
	assert_int_equal(login_answer(c, answer, answer_len, &err), ST_DENIED);
	assert_string_equal(err.text, why);
	assert_false(c->session.logged_in);
	pass_ns(LOGIN_BACKOFF_MAX_NS);
}

/* ---- login ---- */

static void a_line_without_keys_is_its_holders(void **state)
{
	char text[200];

	(void)state;
	assert_int_equal(c->session.role, ROLE_OWNER);
	assert_false(c->session.logged_in);
	keystore_describe(c, text, sizeof text);
	assert_string_equal(text, "WHOEVER IS AT THE SERIAL LINE OWNS THIS MACHINE: no key is enrolled");
	enroll("alice", ROLE_OWNER, ALICE);
	assert_int_equal(c->session.role, ROLE_OWNER);
	trust(false);
	assert_int_equal(c->session.role, ROLE_NONE);
}

static void a_right_answer_begins_a_session(void **state)
{
	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	enroll("bob", ROLE_OPERATOR, BOB);
	trust(false);
	assert_int_equal(log_in(BOB), ST_OK);
	assert_int_equal(c->session.role, ROLE_OPERATOR);
	assert_string_equal(c->session.who, "bob");
	/* the next login takes over */
	assert_int_equal(log_in(ALICE), ST_OK);
	assert_int_equal(c->session.role, ROLE_OWNER);
	assert_string_equal(c->session.who, "alice");
	session_end(c, ENDED_LOGOUT);
	assert_int_equal(c->session.role, ROLE_NONE);
	assert_string_equal(c->session.who, "line");
}

static void each_wrong_answer_has_its_reason(void **state)
{
	struct p256_key alice = signer_key(ALICE);
	uint8_t payload[LOGIN_PAYLOAD_MAX];
	size_t len;

	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	trust(false);
	answer_len = 0;
	assert_refused("no challenge is open: ask for one first, each is good once");

	challenge();
	sign_answer(MALLORY);
	assert_refused("no key of that identifier is enrolled");

	challenge();
	sign_answer(ALICE);
	answer[answer_len - 1] ^= 1;
	assert_refused("the signature is wrong");

	/* Mallory claims to be Alice */
	challenge();
	sign_answer(MALLORY);
	cose_key_thumbprint(&alice, answer + THUMBPRINT_AT);
	assert_refused("the signature is wrong");

	challenge();
	len = login_payload((const uint8_t[MACHINE_ID_BYTES]){1}, c->login.nonce, payload);
	answer_len = signer_sign(ALICE, payload, len, answer);
	assert_refused("the answer is for another machine");

	challenge();
	len = login_payload(c->keys.machine, c->login.nonce, payload);
	payload[2]++; /* the protocol's name */
	answer_len = signer_sign(ALICE, payload, len, answer);
	assert_refused("the answer is for another protocol than corbel-login-1");

	challenge();
	len = login_payload(c->keys.machine, c->login.nonce, payload);
	memcpy(memmem(payload, len, "serial", 6), "SERIAL", 6);
	answer_len = signer_sign(ALICE, payload, len, answer);
	assert_refused("the answer is for another line than serial");

	challenge();
	answer_len = signer_sign(ALICE, "\xa0", 1, answer);
	assert_refused("what was signed is not the answer to a challenge");

	challenge();
	answer_len = signer_sign(ALICE, "\x81\x01", 2, answer);
	assert_refused("what was signed is not the answer to a challenge");
	assert_int_equal(log_in(ALICE), ST_OK);
}

static void an_answer_is_good_once(void **state)
{
	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	trust(false);
	assert_int_equal(log_in(ALICE), ST_OK);
	session_end(c, ENDED_LOGOUT);
	assert_refused("no challenge is open: ask for one first, each is good once");
	/* recorded, and sent again to the next challenge */
	challenge();
	assert_refused("the answer is to another challenge: each is good once");
	/* after a reset the nonces are others, even with the same entropy at hand */
	assert_int_equal(log_in(ALICE), ST_OK);
	pass_ns(1000);
	control_rig.entropy = 0;
	restart(true);
	challenge();
	assert_refused("the answer is to another challenge: each is good once");
}

static void a_failed_answer_uses_the_challenge_up(void **state)
{
	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	trust(false);
	challenge();
	sign_answer(ALICE);
	answer[answer_len - 1] ^= 1;
	assert_refused("the signature is wrong");
	answer[answer_len - 1] ^= 1;
	assert_refused("no challenge is open: ask for one first, each is good once");
}

static void a_challenge_is_good_for_a_minute(void **state)
{
	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	trust(false);
	challenge();
	sign_answer(ALICE);
	pass_ns(LOGIN_CHALLENGE_NS);
	assert_int_equal(login_answer(c, answer, answer_len, &err), ST_OK);
	session_end(c, ENDED_LOGOUT);
	challenge();
	sign_answer(ALICE);
	pass_ns(LOGIN_CHALLENGE_NS + 1000000);
	assert_refused("the challenge is stale: it was good for 60 s");
}

static void the_backoff_curve(void **state)
{
	static const uint64_t seconds[] = {0, 1, 2, 4, 8, 16, 32, 64, 64, 64};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(seconds); i++)
		assert_int_equal(login_backoff_ns(i), seconds[i] * SECOND_NS);
	assert_int_equal(login_backoff_ns(UINT32_MAX), LOGIN_BACKOFF_MAX_NS);
}

static void failures_cost_time(void **state)
{
	const uint8_t *nonce;

	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	trust(false);
	for (unsigned n = 1; n < 10; n++) {
		uint64_t wait = login_backoff_ns(n);

		assert_int_equal(log_in(MALLORY), ST_DENIED);
		pass_ns(wait - SECOND_NS / 2);
		assert_int_equal(login_challenge(c, &nonce, &err), ST_BUSY);
		assert_int_equal(login_answer(c, answer, answer_len, &err), ST_BUSY);
		assert_int_equal(c->login.failures, n); /* to be told to wait is no failure */
		pass_ns(SECOND_NS / 2 + 1000000);
	}
	assert_int_equal(log_in(ALICE), ST_OK);
	session_end(c, ENDED_LOGOUT);
	/* forgotten with the success */
	assert_int_equal(log_in(MALLORY), ST_DENIED);
	pass_ns(SECOND_NS + 1000000);
	assert_int_equal(log_in(ALICE), ST_OK);
}

static void the_wait_is_said(void **state)
{
	const uint8_t *nonce;

	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	trust(false);
	assert_int_equal(log_in(MALLORY), ST_DENIED);
	assert_int_equal(login_challenge(c, &nonce, &err), ST_BUSY);
	assert_string_equal(err.text, "1 logins failed in a row: try again in 1001 ms");
}

/* ---- entropy ---- */

static void without_entropy_there_is_no_challenge(void **state)
{
	const uint8_t *nonce;

	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	trust(false);
	challenge();
	control_rig.no_entropy = true;
	assert_int_equal(login_challenge(c, &nonce, &err), ST_IO);
	assert_string_equal(err.text, "no source of entropy: told to fail");
	/* whoever is at a trusted line has nothing to prove */
	trust(true);
	assert_int_equal(log_in(ALICE), ST_OK);
}

static void challenges_differ(void **state)
{
	uint8_t first[LOGIN_NONCE_BYTES];

	(void)state;
	challenge();
	memcpy(first, c->login.nonce, sizeof first);
	control_rig.entropy = 0;
	challenge();
	assert_memory_not_equal(first, c->login.nonce, sizeof first);
}

/* ---- the session's end ---- */

static void silence_ends_a_session(void **state)
{
	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	trust(false);
	assert_int_equal(log_in(ALICE), ST_OK);
	for (int i = 0; i < 3; i++) {
		pass_ns(SESSION_IDLE_NS);
		session_touch(c); /* a request */
		assert_true(c->session.logged_in);
	}
	push_attach(c, 0, 0, 100);
	pass_ns(SESSION_IDLE_NS + 1000000);
	control_step(c);
	assert_false(c->session.logged_in);
	assert_int_equal(c->session.role, ROLE_NONE);
	assert_false(c->attached[0].on);
}

/* The request that comes after the silence is not the session's any more. */
static void a_late_request_finds_the_session_ended(void **state)
{
	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	trust(false);
	assert_int_equal(log_in(ALICE), ST_OK);
	pass_ns(SESSION_IDLE_NS + 1000000);
	session_touch(c);
	assert_int_equal(c->session.role, ROLE_NONE);
}

static void a_dropped_line_ends_a_session_and_its_challenge(void **state)
{
	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	trust(false);
	assert_int_equal(log_in(ALICE), ST_OK);
	push_attach(c, 0, 0, 100);
	challenge();
	sign_answer(ALICE);
	control_line_dropped(c);
	assert_int_equal(c->session.role, ROLE_NONE);
	assert_false(c->attached[0].on);
	assert_refused("no challenge is open: ask for one first, each is good once");
}

/* What a session asked for is nobody's when it ends, in whatever way. */
static void nothing_is_pushed_after_the_end(void **state)
{
	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	trust(false);
	for (int way = 0; way < 2; way++) {
		assert_int_equal(log_in(ALICE), ST_OK);
		event_push_begin(c, 0, UINT32_MAX, UINT64_MAX);
		c->later[LATER_EVENTS].on = true;
		push_attach(c, 0, 0, 100);
		if (way == 0)
			session_end(c, ENDED_LOGOUT);
		else
			assert_int_equal(log_in(ALICE), ST_OK);
		assert_false(c->event_push.on);
		assert_false(c->later[LATER_EVENTS].on);
		assert_false(c->attached[0].on);
	}
}

/* A power cut right after a login does not hide it; a burst of other changes waits for its second. */
static void logins_are_in_the_store_at_once(void **state)
{
	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	trust(false);
	control_rig_settle(100);
	audit_note(c, "alice", "vm.start", "a", "");
	control_rig_settle(100);
	assert_int_equal(c->audit.kept, c->audit.head);
	audit_note(c, "alice", "vm.stop", "a", "");
	control_rig_settle(100);
	assert_int_equal(c->audit.kept, c->audit.head - 1);
	assert_int_equal(log_in(ALICE), ST_OK);
	control_rig_settle(100);
	assert_int_equal(c->audit.kept, c->audit.head);
	audit_note(c, "alice", "vm.start", "a", "");
	pass_ns(AUDIT_PAUSE_NS);
	control_rig_settle(100);
	assert_int_equal(c->audit.kept, c->audit.head);
}

/* A trusted line has no session that could end. */
static void a_dropped_line_that_is_trusted_stays_as_it_is(void **state)
{
	(void)state;
	push_attach(c, 0, 0, 100);
	control_line_dropped(c);
	assert_int_equal(c->session.role, ROLE_OWNER);
	assert_true(c->attached[0].on);
	push_detach(c, 0);
}

/* ---- restarts ---- */

static void keys_outlive_a_restart(void **state)
{
	uint8_t machine[MACHINE_ID_BYTES];

	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	enroll("bob", ROLE_OBSERVER, BOB);
	trust(false);
	memcpy(machine, c->keys.machine, sizeof machine);
	assert_int_equal(log_in(ALICE), ST_OK);
	restart(true);
	assert_int_equal(c->session.role, ROLE_NONE);
	assert_memory_equal(c->keys.machine, machine, sizeof machine);
	assert_int_equal(c->keys.count, 2);
	assert_int_equal(log_in(BOB), ST_OK);
	assert_int_equal(c->session.role, ROLE_OBSERVER);
	/* without the store it is a machine that nobody has owned yet */
	restart(false);
	assert_int_equal(c->keys.count, 0);
	assert_int_equal(c->session.role, ROLE_OWNER);
}

static void the_boot_argument_opens_the_line(void **state)
{
	char text[200];

	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	trust(false);
	control_rig.args = "script=x trust=line ";
	restart(true);
	assert_int_equal(c->session.role, ROLE_OWNER);
	keystore_describe(c, text, sizeof text);
	assert_non_null(strstr(text, "the boot argument trust=line"));
	control_rig.args = "trust=lines xtrust=line";
	restart(true);
	assert_int_equal(c->session.role, ROLE_NONE);
}

static uint8_t blob[KEYRING_BYTES_MAX];

static void restart_with_keys(const void *data, size_t len)
{
	assert_int_equal(keep_write(c, "system/keys", data, len, &err), ST_OK);
	restart(true);
}

/* Every cut of the blob, and every byte changed: none opens the machine. */
static void damaged_keys_close_the_machine(void **state)
{
	size_t len;

	(void)state;
	enroll("alice", ROLE_OWNER, ALICE);
	trust(false);
	assert_int_equal(keep_read(c, "system/keys", blob, sizeof blob, &len, &err), ST_OK);
	for (size_t i = 0; i < len; i++) {
		uint8_t was = blob[i];

		blob[i] = 0xff;
		restart_with_keys(blob, len);
		blob[i] = was;
		if (c->session.role != ROLE_NONE)
			fail_msg("byte %zu of the keys, damaged, opens the machine", i);
	}
	for (size_t cut = 0; cut < len; cut++) {
		restart_with_keys(blob, cut);
		assert_int_equal(c->session.role, ROLE_NONE);
		assert_true(c->keys_trouble[0] != '\0');
	}
	/* the way back in: the boot argument, and new keys over the damaged ones */
	control_rig.args = "trust=line";
	restart_with_keys("\xff", 1);
	assert_int_equal(c->session.role, ROLE_OWNER);
	enroll("bob", ROLE_OWNER, BOB);
	control_rig.args = "";
	restart(true);
	assert_int_equal(c->keys.count, 1);
	assert_int_equal(c->session.role, ROLE_OWNER); /* new keyrings trust */
}

static void a_store_that_fails_changes_nothing(void **state)
{
	struct key key = key_named("alice", ROLE_OWNER, ALICE);

	(void)state;
	control_rig.disk.fail_writes = true;
	c->keys_next = c->keys;
	assert_int_equal(keyring_add(&c->keys_next, &key, &err), ST_OK);
	for (int i = 0; i < 2; i++)
		assert_int_equal(keystore_commit(c, &err), ST_IO);
	assert_int_equal(c->keys.count, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_line_without_keys_is_its_holders),
		T(a_right_answer_begins_a_session),
		T(each_wrong_answer_has_its_reason),
		T(an_answer_is_good_once),
		T(a_failed_answer_uses_the_challenge_up),
		T(a_challenge_is_good_for_a_minute),
		cmocka_unit_test(the_backoff_curve),
		T(failures_cost_time),
		T(the_wait_is_said),
		T(without_entropy_there_is_no_challenge),
		T(challenges_differ),
		T(silence_ends_a_session),
		T(a_late_request_finds_the_session_ended),
		T(a_dropped_line_ends_a_session_and_its_challenge),
		T(nothing_is_pushed_after_the_end),
		T(logins_are_in_the_store_at_once),
		T(a_dropped_line_that_is_trusted_stays_as_it_is),
		T(keys_outlive_a_restart),
		T(the_boot_argument_opens_the_line),
		T(damaged_keys_close_the_machine),
		T(a_store_that_fails_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
