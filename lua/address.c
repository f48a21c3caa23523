/* SPDX-License-Identifier: Apache-2.0 */
/* See address.h. An IPv6 address is read as up to eight groups, with the place of its "::" noted. */
#include "lua/address.h"

#include <string.h>

#include "lib/format.h"

#define IP4_BYTES 4u
#define IP6_BYTES 16u
#define IP6_GROUPS 8u
#define GROUP_DIGITS 4u
#define NOWHERE UINT32_MAX

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool address_read_mac(const char *text, size_t len, uint8_t mac[NET_MAC_BYTES])
{
	uint8_t read[NET_MAC_BYTES];

	if (len != ADDRESS_MAC_TEXT - 1 || (text[2] != ':' && text[2] != '-'))
		return false;
	for (unsigned i = 0; i < NET_MAC_BYTES; i++) {
		const char *pair = text + i * 3u;
		int high = hex_digit(pair[0]), low = hex_digit(pair[1]);

		if (high < 0 || low < 0 || (i > 0 && pair[-1] != text[2]))
			return false;
		read[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(mac, read, sizeof read);
	return true;
}

/* Four decimal numbers; a leading zero would be octal to some who read it, so it is refused. */
static bool read_ip4(const char *text, size_t len, uint8_t out[IP4_BYTES])
{
	size_t at = 0;

	for (unsigned i = 0; i < IP4_BYTES; i++) {
		unsigned value = 0, digits = 0;

		if (i > 0 && (at == len || text[at++] != '.'))
			return false;
		for (; at < len && text[at] >= '0' && text[at] <= '9' && digits < 3; at++, digits++)
			value = value * 10 + (unsigned)(text[at] - '0');
		if (digits == 0 || value > 255 || (digits > 1 && text[at - digits] == '0'))
			return false;
		out[i] = (uint8_t)value;
	}
	return at == len;
}

/* One group of hexadecimal digits at *at. */
static bool read_group(const char *text, size_t len, size_t *at, uint8_t out[2])
{
	unsigned value = 0, digits = 0;

	for (; *at < len && hex_digit(text[*at]) >= 0; ++*at, digits++) {
		if (digits == GROUP_DIGITS)
			return false;
		value = value << 4 | (unsigned)hex_digit(text[*at]);
	}
	out[0] = (uint8_t)(value >> 8);
	out[1] = (uint8_t)value;
	return digits > 0;
}

/* What was read, with the gap in it opened. */
static bool open_gap(uint8_t bytes[IP6_BYTES], unsigned groups, unsigned gap)
{
	unsigned behind = 2 * (groups - gap);

	if (gap == NOWHERE)
		return groups == IP6_GROUPS;
	if (groups == IP6_GROUPS) /* it would stand for nothing */
		return false;
	memmove(bytes + IP6_BYTES - behind, bytes + 2u * gap, behind);
	memset(bytes + 2u * gap, 0, IP6_BYTES - behind - 2u * gap);
	return true;
}

static bool read_ip6(const char *text, size_t len, uint8_t out[IP6_BYTES])
{
	unsigned groups = 0, gap = NOWHERE;
	size_t at = 0;

	if (len >= 2 && text[0] == ':' && text[1] == ':') {
		gap = 0;
		at = 2;
	}
	while (at < len) {
		if (groups + 2 <= IP6_GROUPS && read_ip4(text + at, len - at, out + 2u * groups)) {
			groups += 2;
			break;
		}
		if (groups == IP6_GROUPS || !read_group(text, len, &at, out + 2u * groups))
			return false;
		groups++;
		if (at == len)
			break;
		if (text[at++] != ':' || at == len)
			return false;
		if (text[at] != ':')
			continue;
		if (gap != NOWHERE)
			return false;
		gap = groups;
		at++;
	}
	return open_gap(out, groups, gap);
}

bool address_read_ip(const char *text, size_t len, struct net_ip *out)
{
	struct net_ip ip = {.v6 = false};

	if (!read_ip4(text, len, ip.bytes)) {
		ip = (struct net_ip){.v6 = true};
		if (!read_ip6(text, len, ip.bytes))
			return false;
	}
	*out = ip;
	return true;
}

const char *address_mac_text(const uint8_t mac[NET_MAC_BYTES], char out[ADDRESS_MAC_TEXT])
{
	format(out, ADDRESS_MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	return out;
}

/* Of at least two groups of zeros, the longest run, the first of equals (RFC 5952, 4.2). */
static unsigned longest_gap(const uint8_t bytes[IP6_BYTES], unsigned *length)
{
	unsigned best = NOWHERE, run = 0;

	*length = 1;
	for (unsigned i = 0; i < IP6_GROUPS; i++) {
		run = bytes[2 * i] == 0 && bytes[2 * i + 1] == 0 ? run + 1 : 0;
		if (run <= *length)
			continue;
		*length = run;
		best = i + 1 - run;
	}
	return best;
}

const char *address_ip_text(const struct net_ip *ip, char out[ADDRESS_IP_TEXT])
{
	unsigned length, gap;
	size_t at = 0;

	if (!ip->v6) {
		format(out, ADDRESS_IP_TEXT, "%u.%u.%u.%u", ip->bytes[0], ip->bytes[1], ip->bytes[2], ip->bytes[3]);
		return out;
	}
	gap = longest_gap(ip->bytes, &length);
	for (unsigned i = 0; i < IP6_GROUPS; i++) {
		if (i == gap) {
			at += format(out + at, ADDRESS_IP_TEXT - at, "::");
			i += length - 1;
			continue;
		}
		at += format(out + at, ADDRESS_IP_TEXT - at, "%s%x", at > 0 && out[at - 1] != ':' ? ":" : "",
			     (unsigned)ip->bytes[2 * i] << 8 | ip->bytes[2 * i + 1]);
	}
	return out;
}
