/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a counter from its room's figures, by width. */
#include "lib/counter.h"

#include "lib/assert.h"
#include "lib/bits.h"

uint64_t counter_value(const struct counter *row, const void *figures, unsigned member)
{
	const uint8_t *at = (const uint8_t *)figures + row->offset + (size_t)member * row->bytes;

	ASSERT(member < counter_values(row));
	switch (row->bytes) {
	case 1:
		return *at;
	case 2:
		return get_le16(at);
	case 4:
		return get_le32(at);
	default:
		return get_le64(at);
	}
}
