/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of networks as people write them: 52:54:00:12:34:56, 10.0.0.5, fe80::1. Written in one way (RFC 5952),
 * read in all that the standards allow (RFC 4291, 2.2), but for zones and prefixes, which are no part of an address.
 */
#ifndef CORBEL_LUA_ADDRESS_H
#define CORBEL_LUA_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "io/net_switch.h"

#define ADDRESS_MAC_TEXT 18 /* with the NUL */
#define ADDRESS_IP_TEXT 40

/* Six pairs of hexadecimal digits with ':' or '-' between them. False: something else, and @mac is as before. */
bool address_read_mac(const char *text, size_t len, uint8_t mac[NET_MAC_BYTES]);
/* An IPv4 or IPv6 address. The bytes of @out that it does not have are 0. */
bool address_read_ip(const char *text, size_t len, struct net_ip *out);

/* Return @out. */
const char *address_mac_text(const uint8_t mac[NET_MAC_BYTES], char out[ADDRESS_MAC_TEXT]);
const char *address_ip_text(const struct net_ip *ip, char out[ADDRESS_IP_TEXT]);

#endif
