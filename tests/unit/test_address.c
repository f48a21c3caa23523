/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses as text, both ways: what RFC 4291 and 5952 allow, what only looks like it, and every cut of a good one. */
#include "tests/cmocka_all.h"

#include <string.h>

#include "lib/bits.h"
#include "lua/address.h"

static void macs(void **state)
{
	static const uint8_t want[] = {0x52, 0x54, 0x00, 0xab, 0xCD, 0xef};
	static const char *const good[] = {"52:54:00:ab:cd:ef", "52-54-00-AB-CD-EF", "52:54:00:aB:Cd:eF"};
	static const char *const bad[] = {
		"",			  "52:54:00:ab:cd",    "52:54:00:ab:cd:ef:", "52:54:00:ab:cd:e",   "52:54:00:ab:cd:eg",
		"52:54:00-ab:cd:ef", "5254.00ab.cdef",    "525400abcdef",	     "52.54.00.ab.cd.ef", "52:54:00:ab:cd: f",
		"5:254:00:ab:cd:ef", "52:54:00:ab:cd:ef0",
	};
	uint8_t mac[NET_MAC_BYTES];
	char text[ADDRESS_MAC_TEXT];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_true(address_read_mac(good[i], strlen(good[i]), mac));
		assert_memory_equal(mac, want, sizeof want);
		assert_string_equal(address_mac_text(mac, text), "52:54:00:ab:cd:ef");
	}
	memset(mac, 7, sizeof mac);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_false(address_read_mac(bad[i], strlen(bad[i]), mac));
		assert_int_equal(mac[0], 7);
	}
}

static void ips(void **state)
{
	static const struct {
		const char *text, *written;
	} rows[] = {
		{"10.0.0.5", "10.0.0.5"},
		{"0.0.0.0", "0.0.0.0"},
		{"255.255.255.255", "255.255.255.255"},
		{"::", "::"},
		{"::1", "::1"},
		{"1::", "1::"},
		{"fe80::1", "fe80::1"},
		{"FE80:0:0:0:0:0:0:1", "fe80::1"},
		{"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
		{"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"}, /* one group is not shortened */
		{"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
		{"1:0:0:2:0:0:0:3", "1:0:0:2::3"}, /* the longest run */
		{"1:0:0:2:0:0:3:4", "1::2:0:0:3:4"}, /* the first of equals */
		{"2001:0db8::0001", "2001:db8::1"},
		{"::ffff:10.1.2.3", "::ffff:a01:203"},
		{"1:2:3:4:5:6:10.1.2.3", "1:2:3:4:5:6:a01:203"},
		{"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
	};
	struct net_ip ip, again;
	char text[ADDRESS_IP_TEXT];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		memset(&ip, 0x5a, sizeof ip);
		assert_true(address_read_ip(rows[i].text, strlen(rows[i].text), &ip));
		assert_string_equal(address_ip_text(&ip, text), rows[i].written);
		assert_int_equal(ip.v6, strchr(rows[i].text, ':') != NULL);
		assert_true(address_read_ip(text, strlen(text), &again));
		assert_memory_equal(ip.bytes, again.bytes, sizeof ip.bytes);
	}
}

static void what_is_no_ip(void **state)
{
	static const char *const bad[] = {
		"",	     "10.0.0",     "10.0.0.5.6",	"10.0.0.256",		  "10.0.0.05",		"10.0.0.5/24",	    "10..0.5",
		"10.0.0.5 ", " 10.0.0.5",  "1000.0.0.5",	":",			  ":::",		":1",		    "1:",
		"1:2",	     "::1::",	   "1::2::3",	"1:2:3:4:5:6:7:8:9",	  "1:2:3:4:5:6:7:8::", "12345::",	    "g::",
		"fe80::1%1", "::10.0.0",   "10.0.0.5::", "1:2:3:4:5:6:7:10.1.2.3", "::1:",		"1:2:3:4::5:6:7:8", "localhost",
	};
	struct net_ip ip = {.bytes = {9}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (address_read_ip(bad[i], strlen(bad[i]), &ip))
			fail_msg("%s was taken for an address", bad[i]);
		assert_int_equal(ip.bytes[0], 9);
	}
}

/* Whatever is read at some length reads nothing behind it: the sanitizers see to that. */
static void every_cut(void **state)
{
	static const char text[] = "1:2:3:4:5:6:255.255.255.255";
	struct net_ip ip;

	(void)state;
	for (size_t len = 0; len < sizeof text; len++) {
		char *copy = test_malloc(len + 1);

		memcpy(copy, text, len);
		(void)address_read_ip(copy, len, &ip);
		(void)address_read_mac(copy, len, ip.bytes);
		test_free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(macs),
		cmocka_unit_test(ips),
		cmocka_unit_test(what_is_no_ip),
		cmocka_unit_test(every_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
