/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one walk over outside CBOR: heads, lengths, nesting, UTF-8. It keeps its
 * own small stack, so that no input decides how deep we recurse.
 */
#include "lib/bits.h"
#include "lua/cbor_head.h"

#define ASCII_ONLY 0x8080808080808080ull /* no byte of a word has its top bit set */

/* Length of the UTF-8 sequence at @s (RFC 3629: no overlong form, no surrogate, at most U+10FFFF); 0 when malformed. */
static __attribute__((noinline)) size_t utf8_sequence(const uint8_t *s, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t code;
	size_t len;

	if (s[0] < 0x80)
		return 1;
	len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc2 || s[0] > 0xf4 || len > left)
		return 0;
	code = s[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3fu);
	}
	if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return len;
}

/* True when the text is plain ASCII, which nearly all is: whole words, the last one overlapping. */
static inline bool is_ascii(const uint8_t *s, size_t len)
{
	uint64_t bits = 0;

	if (len >= 8) {
		for (size_t i = 0; i + 8 < len; i += 8)
			bits |= get_le64(s + i);
		bits |= get_le64(s + len - 8);
	} else if (len >= 4) {
		bits = get_le32(s) | get_le32(s + len - 4);
	} else {
		for (size_t i = 0; i < len; i++)
			bits |= s[i];
	}
	return (bits & ASCII_ONLY) == 0;
}

static inline bool utf8_valid(const uint8_t *s, size_t len)
{
	if (likely(is_ascii(s, len)))
		return true;
	for (size_t i = 0, n; i < len; i += n) {
		n = utf8_sequence(s + i, len - i);
		if (n == 0)
			return false;
	}
	return true;
}

bool cbor_utf8_valid(const void *text, size_t len)
{
	return utf8_valid(text, len);
}

/* A container whose end the walk is looking for. */
struct level {
	uint64_t left;   /* items to come; for an indefinite one: items seen */
	bool indefinite, map;
};

static inline __attribute__((always_inline)) enum status check_string(const struct cbor_head *h, const uint8_t *end)
{
	if (cbor_head_indefinite(h))
		return ST_UNSUPPORTED;
	if (h->value > (uint64_t)(end - h->after))
		return ST_TRUNCATED;
	if (h->major == MAJOR_TEXT && !utf8_valid(h->after, (size_t)h->value))
		return ST_CORRUPT;
	return ST_OK;
}

static inline __attribute__((always_inline)) enum status check_simple(const struct cbor_head *h)
{
	if (cbor_head_indefinite(h)) /* a break outside an indefinite container */
		return ST_CORRUPT;
	return h->info == INFO_1_BYTE && h->value < SIMPLE_FIRST_LONG ? ST_CORRUPT : ST_OK;
}

/* The level that @h opens. An item takes a byte at least, which bounds a stated count. */
static enum status open_level(const struct cbor_head *h, const uint8_t *end, struct level *out)
{
	uint64_t room = (uint64_t)(end - h->after), count = h->value;

	*out = (struct level){.indefinite = cbor_head_indefinite(h), .map = h->major == MAJOR_MAP};
	if (h->major == MAJOR_TAG) {
		out->left = 1;
		return out->indefinite ? ST_CORRUPT : ST_OK;
	}
	if (out->indefinite)
		return ST_OK;
	if (count > (out->map ? room / 2 : room))
		return ST_TRUNCATED;
	out->left = out->map ? count * 2 : count;
	return ST_OK;
}

/* Counts a finished item in the level at the top. */
static void count_item(struct level *top)
{
	if (top->indefinite)
		top->left++;
	else
		top->left--;
}

/*
 * Leaves every level that is complete at *at. Returns false when a break comes
 * between a key and its value.
 */
static bool close_levels(struct level *stack, unsigned *depth, const uint8_t **at, const uint8_t *end)
{
	while (*depth > 0) {
		struct level *top = &stack[*depth - 1];

		if (!top->indefinite && top->left > 0)
			break;
		if (top->indefinite) {
			if (!cbor_is_break(*at, end))
				break;
			if (top->map && (top->left & 1))
				return false;
			(*at)++;
		}
		if (--*depth > 0)
			count_item(&stack[*depth - 1]);
	}
	return true;
}

/* One head, and the content of a string; a container's content is the walk's business. */
static inline __attribute__((always_inline)) enum status check_item(const uint8_t **at, const uint8_t *end, struct cbor_head *h)
{
	enum status st = cbor_head_read(*at, end, h);

	if (st != ST_OK)
		return st;
	*at = h->after;
	switch (h->major) {
	case MAJOR_BYTES:
	case MAJOR_TEXT:
		st = check_string(h, end);
		if (st == ST_OK)
			*at += h->value;
		return st;
	case MAJOR_SIMPLE:
		return check_simple(h);
	case MAJOR_UINT:
	case MAJOR_NEGATIVE:
		return cbor_head_indefinite(h) ? ST_CORRUPT : ST_OK;
	default:
		return ST_OK;
	}
}

static bool opens_level(const struct cbor_head *h)
{
	return h->major == MAJOR_ARRAY || h->major == MAJOR_MAP || h->major == MAJOR_TAG;
}

/* Enters the container at @h; false when that is not possible, and *st says why. */
static bool enter(const struct cbor_head *h, const uint8_t *end, struct level *stack, unsigned *depth, enum status *st)
{
	*st = ST_OVER_LIMIT;
	if (*depth < CBOR_DEPTH_MAX)
		*st = open_level(h, end, &stack[*depth]);
	if (*st != ST_OK)
		return false;
	(*depth)++;
	return true;
}

enum status cbor_check(const void *data, size_t len, size_t *used)
{
	const uint8_t *at = data, *end = at + len;
	struct level stack[CBOR_DEPTH_MAX];
	unsigned depth = 0;

	do {
		struct cbor_head h;
		enum status st = check_item(&at, end, &h);

		if (unlikely(st != ST_OK))
			return st;
		if (opens_level(&h)) {
			if (!enter(&h, end, stack, &depth, &st))
				return st;
		} else if (depth > 0) {
			struct level *top = &stack[depth - 1];

			if (likely(!top->indefinite && top->left > 1)) { /* more of it is to come: nothing closes */
				top->left--;
				continue;
			}
			count_item(top);
		}
		if (!close_levels(stack, &depth, &at, end))
			return ST_CORRUPT;
	} while (depth > 0);
	*used = (size_t)(at - (const uint8_t *)data);
	return ST_OK;
}
