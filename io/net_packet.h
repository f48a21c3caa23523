/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The headers of a packet as they lie in memory, big-endian: where their fields are. For what reads and makes them in
 * net_frame.c and net_cut.c, and for tests.
 */
#ifndef CORBEL_IO_NET_PACKET_H
#define CORBEL_IO_NET_PACKET_H

/* IEEE 802.3, 802.1Q */
#define ETHERNET_TYPE 12u
#define ETHERTYPE_IPV4 0x0800u
#define ETHERTYPE_ARP 0x0806u
#define ETHERTYPE_TAG 0x8100u
#define ETHERTYPE_SERVICE_TAG 0x88a8u
#define ETHERTYPE_IPV6 0x86ddu

/* RFC 791, 3.1 */
#define IPV4_BYTES 20u /* without options */
#define IPV4_PLAIN 0x45u /* the first byte: version, and a header without options */
#define IPV4_LENGTH 2u
#define IPV4_ID 4u
#define IPV4_FRAGMENT 6u
#define IPV4_FRAGMENT_MASK 0x3fffu /* more follow, or not the first */
#define IPV4_PROTOCOL 9u
#define IPV4_CHECKSUM 10u
#define IPV4_SOURCE 12u
#define IPV4_ADDRESSES_BYTES 8u
#define IP_PACKET_MAX 65535u

/* RFC 8200, 3 and 4 */
#define IPV6_BYTES 40u
#define IPV6_LENGTH 4u
#define IPV6_NEXT 6u
#define IPV6_SOURCE 8u
#define IPV6_ADDRESSES_BYTES 32u
#define IPV6_EXTENSION_UNIT 8u /* of their length, the first not counted */
#define IPV6_SEGMENTS_LEFT 3u  /* of a routing header */

/* IANA, protocol numbers */
#define PROTOCOL_HOP_BY_HOP 0u
#define PROTOCOL_TCP 6u
#define PROTOCOL_UDP 17u
#define PROTOCOL_ROUTING 43u
#define PROTOCOL_DESTINATION 60u

/* RFC 9293, 3.1 */
#define TCP_BYTES 20u /* without options */
#define TCP_SEQUENCE 4u
#define TCP_OFFSET 12u
#define TCP_FLAGS 13u
#define TCP_FIN 0x01u
#define TCP_PSH 0x08u
#define TCP_CWR 0x80u
#define TCP_CHECKSUM 16u

/* RFC 768 */
#define UDP_BYTES 8u
#define UDP_CHECKSUM 6u

/* RFC 826, of IPv4 addresses on Ethernet */
#define ARP_BYTES 28u
#define ARP_PROTOCOL 2u
#define ARP_HARDWARE_BYTES 4u
#define ARP_PROTOCOL_BYTES 5u

#endif
