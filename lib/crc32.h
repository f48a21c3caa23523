/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32 of IEEE 802.3, as in Ethernet, gzip (RFC 1952) and zip: polynomial
 * 0x04C11DB7, reflected. What SMP's file group calls "crc32". What we store is
 * guarded by the better crc32c.
 */
#ifndef CORBEL_LIB_CRC32_H
#define CORBEL_LIB_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what @crc is one of, 0 for nothing, with @len bytes more. Of "123456789": 0xcbf43926. */
uint32_t crc32(uint32_t crc, const void *data, size_t len);

#endif
