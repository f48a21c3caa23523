/* SPDX-License-Identifier: Apache-2.0 */
/* See segment.h. */
#include "io/segment.h"

#include <string.h>

#include "lib/bits.h"

uint32_t segment_next(struct segment_cursor *c, uint64_t most, uint8_t **data)
{
	uint32_t n;

	while (c->left > 0 && c->skip == c->segment->bytes) {
		c->segment++;
		c->left--;
		c->skip = 0;
	}
	if (c->left == 0 || most == 0)
		return 0;
	n = (uint32_t)MIN((uint64_t)(c->segment->bytes - c->skip), most);
	*data = (uint8_t *)c->segment->data + c->skip;
	c->skip += n;
	return n;
}

void segment_advance(struct segment_cursor *c, uint64_t bytes)
{
	uint8_t *at;
	uint32_t n;

	while ((n = segment_next(c, bytes, &at)) > 0)
		bytes -= n;
}

bool segment_copy_from(struct segment_cursor *c, void *to, uint64_t bytes)
{
	uint8_t *out = to, *at;
	uint32_t n;

	while ((n = segment_next(c, bytes, &at)) > 0) {
		memcpy(out, at, n);
		out += n;
		bytes -= n;
	}
	return bytes == 0;
}

bool segment_copy_to(struct segment_cursor *c, const void *from, uint64_t bytes)
{
	const uint8_t *in = from;
	uint8_t *at;
	uint32_t n;

	while ((n = segment_next(c, bytes, &at)) > 0) {
		memcpy(at, in, n);
		in += n;
		bytes -= n;
	}
	return bytes == 0;
}

bool segment_clear(struct segment_cursor *c, uint64_t bytes)
{
	uint8_t *at;
	uint32_t n;

	while ((n = segment_next(c, bytes, &at)) > 0) {
		memset(at, 0, n);
		bytes -= n;
	}
	return bytes == 0;
}
