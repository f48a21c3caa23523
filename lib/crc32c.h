/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C, Castagnoli's polynomial 0x1EDC6F41, reflected: the checksum of iSCSI
 * (RFC 3720, B.4), SCTP and many file systems. It finds every burst of up to 32
 * bits and, in records up to the size of ours, every change of up to three bits.
 */
#ifndef CORBEL_LIB_CRC32C_H
#define CORBEL_LIB_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what @crc is one of, 0 for nothing, with @len bytes more. Of "123456789": 0xe3069283. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
