/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the three files of the CBOR codec share: an item's head is one byte
 * (major type, additional information) and up to eight bytes of argument,
 * RFC 8949 section 3. For them alone.
 */
#ifndef CORBEL_LUA_CBOR_HEAD_H
#define CORBEL_LUA_CBOR_HEAD_H

#include "lib/bits.h"
#include "lua/cbor.h"

#define MAJOR_UINT 0u
#define MAJOR_NEGATIVE 1u
#define MAJOR_BYTES 2u
#define MAJOR_TEXT 3u
#define MAJOR_ARRAY 4u
#define MAJOR_MAP 5u
#define MAJOR_TAG 6u
#define MAJOR_SIMPLE 7u

/* Additional information (the low five bits of the first byte). */
#define INFO_1_BYTE 24u
#define INFO_2_BYTES 25u
#define INFO_4_BYTES 26u
#define INFO_8_BYTES 27u
#define INFO_INDEFINITE 31u

#define SIMPLE_FALSE 20u
#define SIMPLE_TRUE 21u
#define SIMPLE_NULL 22u
#define SIMPLE_UNDEFINED 23u
#define SIMPLE_FIRST_LONG 32u /* simple values below this have no two-byte form */

#define BREAK 0xffu
#define HEAD_MAX 9

struct cbor_head {
	unsigned major, info;
	uint64_t value;       /* the argument; 0 for an indefinite length */
	const uint8_t *after; /* first byte behind the head */
};

/*
 * Reads the head at @at: ST_TRUNCATED, or ST_CORRUPT for a reserved encoding. Inline, with nothing that takes its
 * address, so that the head stays in registers: reading is little else than this.
 */
MUST_CHECK static inline __attribute__((always_inline)) enum status
cbor_head_read(const uint8_t *at, const uint8_t *end, struct cbor_head *out)
{
	size_t room = (size_t)(end - at), bytes = 0;
	unsigned info;
	uint64_t value;

	if (unlikely(at >= end))
		return ST_TRUNCATED;
	info = *at & 0x1f;
	value = info;
	if (info >= INFO_1_BYTE) {
		bytes = (size_t)1 << (info & 3);
		if (info > INFO_8_BYTES) {
			if (info != INFO_INDEFINITE)
				return ST_CORRUPT;
			bytes = 0;
			value = 0;
		} else if (unlikely(bytes >= room)) {
			return ST_TRUNCATED;
		} else if (info == INFO_8_BYTES) {
			value = get_be64(at + 1);
		} else if (info == INFO_4_BYTES) {
			value = get_be32(at + 1);
		} else {
			value = info == INFO_2_BYTES ? get_be16(at + 1) : at[1];
		}
	}
	*out = (struct cbor_head){.major = *at >> 5, .info = info, .value = value, .after = at + 1 + bytes};
	return ST_OK;
}

_Static_assert((INFO_1_BYTE & 3) == 0 && (INFO_8_BYTES & 3) == 3, "the low bits are the argument's size");

static inline bool cbor_head_indefinite(const struct cbor_head *h)
{
	return h->info == INFO_INDEFINITE;
}

static inline bool cbor_is_break(const uint8_t *at, const uint8_t *end)
{
	return at < end && *at == BREAK;
}

#endif
