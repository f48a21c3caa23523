/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMP's header, the codes that our statuses become, and the form an error takes
 * for each protocol version and kind of group.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "lua/smp.h"

static void header_there_and_back(void **state)
{
	static const uint8_t echo[] = {0x0a, 0, 0, 0x0a, 0, 0, 0x2a, 0};
	struct smp_header h = {0};
	uint8_t out[SMP_HEADER_BYTES];

	(void)state;
	assert_false(smp_header_read(echo, 7, &h));
	assert_true(smp_header_read(echo, 8, &h));
	assert_int_equal(h.version, 1);
	assert_int_equal(h.op, SMP_WRITE);
	assert_int_equal(h.length, 10);
	assert_int_equal(h.group, 0);
	assert_int_equal(h.sequence, 0x2a);
	assert_int_equal(h.command, 0);
	h.op = SMP_WRITE_REPLY;
	h.group = 0x1234;
	smp_header_write(&h, out);
	assert_memory_equal(out, "\x0b\0\0\x0a\x12\x34\x2a\0", 8);
	assert_true(smp_header_read((const uint8_t *)"\xfb\xff\xff\xff\xff\xff\xff\xff", 8, &h));
	assert_int_equal(h.version, 3);
	assert_int_equal(h.op, 3);
}

static void every_status_has_a_code(void **state)
{
	(void)state;
	assert_int_equal(smp_rc_of(ST_OK), SMP_OK);
	for (enum status st = ST_OK + 1; st < ST_COUNT; st++) {
		assert_int_not_equal(smp_rc_of(st), SMP_OK);
		assert_true(smp_rc_of(st) <= SMP_TOO_NEW);
	}
	assert_int_equal(smp_rc_of(ST_COUNT), SMP_UNKNOWN);
	assert_int_equal(smp_rc_of(ST_NOT_FOUND), SMP_NO_ENTRY);
	assert_int_equal(smp_rc_of(ST_BAD_STATE), SMP_BAD_STATE);
}

static void assert_error(unsigned version, uint16_t group, struct smp_error e, const char *want, size_t len)
{
	struct smp_header h = {.version = version, .group = group};
	struct cbor_writer w;
	uint8_t out[100];

	cbor_writer_init(&w, out, sizeof out);
	smp_put_error(&w, &h, &e);
	assert_int_equal(w.len, len);
	assert_memory_equal(out, want, len);
}

static void error_forms(void **state)
{
	struct smp_error ours = {.rc = SMP_NO_ENTRY, .group_rc = SMP_NO_ENTRY, .why = "no"};
	struct smp_error standard = {.rc = SMP_INVALID, .group_rc = 4, .why = "no"};
	struct smp_error protocol = {.rc = SMP_NOT_SUPPORTED, .group_rc = -1, .why = "no"};
	struct smp_error bare = {.rc = SMP_NOT_SUPPORTED, .group_rc = -1};

	(void)state;
	/* version 1: plain rc and the sentence, for every group */
	assert_error(0, 65, ours, "\xa2\x62rc\x05\x63rsn\x62no", 12);
	assert_error(0, 10, standard, "\xa2\x62rc\x03\x63rsn\x62no", 12);
	/* version 2: err; in a standard group with exactly the documented keys */
	assert_error(1, 65, ours, "\xa2\x63" "err\xa2\x65group\x18\x41\x62rc\x05\x63rsn\x62no", 25);
	assert_error(1, 10, standard, "\xa1\x63" "err\xa2\x65group\x0a\x62rc\x04", 17);
	/* trouble with the protocol itself: plain rc in both */
	assert_error(1, 10, protocol, "\xa2\x62rc\x08\x63rsn\x62no", 12);
	assert_error(1, 10, bare, "\xa1\x62rc\x08", 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_there_and_back),
		cmocka_unit_test(every_status_has_a_code),
		cmocka_unit_test(error_forms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
