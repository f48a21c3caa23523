/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C against the vectors of RFC 3720, B.4, and against its definition, bit
 * by bit, at every length and alignment up to a few words.
 */
#include "tests/cmocka_all.h"

#include "lib/bits.h"
#include "lib/crc32c.h"

#define POLYNOMIAL_REFLECTED 0x82f63b78u

static uint32_t by_definition(const uint8_t *p, size_t len)
{
	uint32_t crc = ~0u;

	while (len--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL_REFLECTED : 0);
	}
	return ~crc;
}

static void published_vectors(void **state)
{
	uint8_t data[32];

	(void)state;
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	memset(data, 0, sizeof data);
	assert_int_equal(crc32c(0, data, sizeof data), 0x8a9136aa);
	memset(data, 0xff, sizeof data);
	assert_int_equal(crc32c(0, data, sizeof data), 0x62a8ab43);
	for (unsigned i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, data, sizeof data), 0x46dd794e);
}

static void agrees_with_the_definition_and_continues(void **state)
{
	uint8_t data[80];

	(void)state;
	for (unsigned i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 37 + 11);
	assert_int_equal(crc32c(0, data, 0), 0);
	for (unsigned from = 0; from < 8; from++) {
		for (unsigned len = 0; from + len <= sizeof data; len++) {
			uint32_t whole = by_definition(data + from, len);

			assert_int_equal(crc32c(0, data + from, len), whole);
			assert_int_equal(crc32c(crc32c(0, data + from, len / 3), data + from + len / 3, len - len / 3), whole);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_vectors),
		cmocka_unit_test(agrees_with_the_definition_and_continues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
