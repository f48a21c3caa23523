/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32 against its published check value, bit by bit by its definition, and in pieces. */
#include "tests/cmocka_all.h"

#include "lib/crc32.h"

/* The definition: one bit at a time. */
static uint32_t slow(const uint8_t *p, size_t len)
{
	uint32_t crc = 0xffffffff;

	while (len--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
	}
	return ~crc;
}

static void known_values(void **state)
{
	(void)state;
	assert_int_equal(crc32(0, "", 0), 0);
	assert_int_equal(crc32(0, "123456789", 9), 0xcbf43926);
	assert_int_equal(crc32(0, "a", 1), 0xe8b7be43);
}

static void any_length_in_any_pieces(void **state)
{
	uint8_t data[300];

	(void)state;
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 167 + 13);
	for (size_t len = 0; len <= sizeof data; len += 7) {
		assert_int_equal(crc32(0, data, len), slow(data, len));
		for (size_t cut = 0; cut <= len; cut += 31)
			assert_int_equal(crc32(crc32(0, data, cut), data + cut, len - cut), slow(data, len));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_values),
		cmocka_unit_test(any_length_in_any_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
