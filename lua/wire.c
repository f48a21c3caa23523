/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Framing, a byte at a time: the receiver decodes Base64 as it comes, so the
 * length of a line is of no concern to it, and a marker byte in the wrong place
 * restarts it. A frame that is too long is still followed to its end, so that
 * its sender can be told.
 */
#include "lua/wire.h"

#include <string.h>

#include "lib/bits.h"

/*
 * The CRC of a byte is the sum (exclusive or) of those of its bits; bit k alone
 * gives x^(16+k) modulo x^16 + x^12 + x^5 + 1.
 */
#define CRC_OF(i)                                                                                   \
	(((i)&1 ? 0x1021 : 0) ^ ((i)&2 ? 0x2042 : 0) ^ ((i)&4 ? 0x4084 : 0) ^ ((i)&8 ? 0x8108 : 0) ^    \
	 ((i)&16 ? 0x1231 : 0) ^ ((i)&32 ? 0x2462 : 0) ^ ((i)&64 ? 0x48c4 : 0) ^ ((i)&128 ? 0x9188 : 0))
#define CRC_4(i) CRC_OF(i), CRC_OF((i) + 1), CRC_OF((i) + 2), CRC_OF((i) + 3)
#define CRC_16(i) CRC_4(i), CRC_4((i) + 4), CRC_4((i) + 8), CRC_4((i) + 12)
#define CRC_64(i) CRC_16(i), CRC_16((i) + 16), CRC_16((i) + 32), CRC_16((i) + 48)

static const uint16_t crc_of[256] = {CRC_64(0), CRC_64(64), CRC_64(128), CRC_64(192)};

/* The CRC of a byte with a zero byte behind it, so that two bytes take one step: bit k alone is x^(24+k). */
#undef CRC_OF
#define CRC_OF(i)                                                                                   \
	(((i)&1 ? 0x3331 : 0) ^ ((i)&2 ? 0x6662 : 0) ^ ((i)&4 ? 0xccc4 : 0) ^ ((i)&8 ? 0x89a9 : 0) ^    \
	 ((i)&16 ? 0x0373 : 0) ^ ((i)&32 ? 0x06e6 : 0) ^ ((i)&64 ? 0x0dcc : 0) ^ ((i)&128 ? 0x1b98 : 0))

static const uint16_t crc_of_first[256] = {CRC_64(0), CRC_64(64), CRC_64(128), CRC_64(192)};

#define LENGTH_BYTES 2
#define CRC_BYTES 2

enum line_kind { LINE_FIRST, LINE_NEXT, LINE_PUSH, LINE_KINDS };

static const uint8_t markers[LINE_KINDS][2] = {
	[LINE_FIRST] = {0x06, 0x09},
	[LINE_NEXT] = {0x04, 0x14},
	[LINE_PUSH] = {0x05, 0x0c},
};

enum receive_state { BETWEEN, MARKER, CONTENT };

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

uint16_t wire_crc16(uint16_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (; len >= 2; len -= 2, p += 2) {
		uint16_t both = crc ^ get_be16(p);

		crc = crc_of_first[both >> 8] ^ crc_of[both & 0xff];
	}
	return len ? (uint16_t)(crc << 8 ^ crc_of[crc >> 8 ^ *p]) : crc;
}

/* ---- sending ---- */

/* Four characters for the upper 24 bits of @quad. */
static inline void put_quad(uint8_t *out, uint32_t quad)
{
	out[0] = (uint8_t)base64[quad >> 26];
	out[1] = (uint8_t)base64[quad >> 20 & 63];
	out[2] = (uint8_t)base64[quad >> 14 & 63];
	out[3] = (uint8_t)base64[quad >> 8 & 63];
}

/* One line of kind @kind around @len raw bytes. */
static size_t build_line(enum line_kind kind, const uint8_t *raw, size_t len, uint8_t out[WIRE_LINE_MAX])
{
	uint8_t *p = out;

	*p++ = markers[kind][0];
	*p++ = markers[kind][1];
	for (; len > 3; len -= 3, raw += 3, p += 4) /* four bytes are loaded, of which three count */
		put_quad(p, get_be32(raw));
	if (len > 0) {
		put_quad(p, (uint32_t)raw[0] << 24 | (len > 1 ? (uint32_t)raw[1] << 16 : 0) |
				    (len > 2 ? (uint32_t)raw[2] << 8 : 0));
		p[2] = len > 1 ? p[2] : '=';
		p[3] = len > 2 ? p[3] : '=';
		p += 4;
	}
	*p++ = '\n';
	return (size_t)(p - out);
}

void wire_send_begin(struct wire_sender *s, const void *body, size_t len)
{
	*s = (struct wire_sender){.body = body, .len = len, .crc = wire_crc16(0, body, len)};
}

/* Copies the part of @piece, which lies at @start of the frame, that is within @at and @at + @len. */
static void copy_piece(uint8_t *out, size_t at, size_t len, const uint8_t *piece, size_t start, size_t size)
{
	size_t from = at > start ? at : start, to = MIN(at + len, start + size);

	if (from < to)
		memcpy(out + (from - at), piece + (from - start), to - from);
}

size_t wire_send_line(struct wire_sender *s, uint8_t out[WIRE_LINE_MAX])
{
	size_t total = s->len + WIRE_OVERHEAD, n = MIN(total - s->sent, WIRE_LINE_RAW);
	enum line_kind kind = s->sent == 0 ? LINE_FIRST : LINE_NEXT;
	uint8_t raw[WIRE_LINE_RAW], length[LENGTH_BYTES], crc[CRC_BYTES];

	if (n == 0)
		return 0;
	put_be16(length, (uint16_t)(s->len + CRC_BYTES));
	put_be16(crc, s->crc);
	copy_piece(raw, s->sent, n, length, 0, LENGTH_BYTES);
	copy_piece(raw, s->sent, n, s->body, LENGTH_BYTES, s->len);
	copy_piece(raw, s->sent, n, crc, LENGTH_BYTES + s->len, CRC_BYTES);
	s->sent += n;
	return build_line(kind, raw, n, out);
}

size_t wire_push_line(const void *body, size_t len, uint8_t out[WIRE_LINE_MAX])
{
	uint8_t raw[WIRE_LINE_RAW];

	memcpy(raw, body, len);
	put_be16(raw + len, wire_crc16(0, body, len));
	return build_line(LINE_PUSH, raw, len + CRC_BYTES, out);
}

/* ---- receiving ---- */

const char *wire_event_text(enum wire_event event)
{
	static const char *const texts[] = {
		[WIRE_NOTHING] = "nothing", [WIRE_FRAME] = "a frame", [WIRE_PUSHED] = "a pushed line",
		[WIRE_OVERSIZED] = "it is too long", [WIRE_BAD_CHECKSUM] = "its checksum is wrong",
		[WIRE_BAD_BASE64] = "it is not Base64", [WIRE_BAD_LENGTH] = "its length is wrong",
		[WIRE_CUT] = "it ended early", [WIRE_STRAY] = "its first line is missing",
	};

	return event < ARRAY_SIZE(texts) ? texts[event] : "unknown";
}

void wire_receiver_init(struct wire_receiver *r, void *buf, size_t size)
{
	*r = (struct wire_receiver){.buf = buf, .size = size};
}

/* Drops what is left of the line, and the frame that it belongs to. */
static enum wire_event drop(struct wire_receiver *r, enum wire_event why)
{
	if (r->line != LINE_PUSH)
		r->in_frame = false;
	r->state = BETWEEN;
	return why;
}

/* A byte that may start a marker, wherever it comes. */
static int marker_of(uint8_t byte)
{
	for (int kind = 0; kind < LINE_KINDS; kind++)
		if (byte == markers[kind][0])
			return kind;
	return -1;
}

static enum wire_event begin_line(struct wire_receiver *r)
{
	bool was_in_frame = r->in_frame;

	r->state = CONTENT;
	r->line_got = 0;
	r->quad = r->quad_len = r->pads = 0;
	if (r->line == LINE_NEXT && !r->in_frame)
		return drop(r, WIRE_STRAY);
	if (r->line == LINE_FIRST) {
		r->in_frame = true;
		r->got = r->want = 0;
		r->crc = 0;
		return was_in_frame ? WIRE_CUT : WIRE_NOTHING;
	}
	return WIRE_NOTHING;
}

static void take_frame_byte(struct wire_receiver *r, uint8_t byte)
{
	size_t at = r->got++;

	if (at < LENGTH_BYTES) {
		r->want = r->want << 8 | byte;
		return;
	}
	at -= LENGTH_BYTES;
	r->crc = wire_crc16(r->crc, &byte, 1);
	if (at < r->size)
		r->buf[at] = byte;
}

/* One decoded byte of the line; false when there are more than may be. */
static bool take_raw(struct wire_receiver *r, uint8_t byte)
{
	size_t at = r->line_got++;

	if (r->line == LINE_PUSH) {
		if (at >= sizeof r->push)
			return false;
		r->push[at] = byte;
		return true;
	}
	if (r->got >= LENGTH_BYTES && r->got - LENGTH_BYTES >= r->want)
		return false;
	take_frame_byte(r, byte);
	return true;
}

static int base64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

/* A Base64 character, padding included. */
static enum wire_event take_character(struct wire_receiver *r, uint8_t c)
{
	int value = base64_value(c);

	if (c == '=' && r->quad_len >= 2)
		r->pads++;
	else if (value < 0 || r->pads > 0)
		return drop(r, WIRE_BAD_BASE64);
	r->quad = r->quad << 6 | (c == '=' ? 0 : (uint32_t)value);
	if (++r->quad_len < 4)
		return WIRE_NOTHING;
	for (unsigned i = 0; i < 3 - r->pads; i++)
		if (!take_raw(r, (uint8_t)(r->quad >> (16 - 8 * i))))
			return drop(r, WIRE_BAD_LENGTH);
	/* pads stays: nothing may follow padding in this line. */
	r->quad_len = 0;
	r->quad = 0;
	return WIRE_NOTHING;
}

static enum wire_event end_push(struct wire_receiver *r)
{
	if (r->line_got < CRC_BYTES)
		return drop(r, WIRE_BAD_LENGTH);
	r->push_len = r->line_got - CRC_BYTES;
	return wire_crc16(0, r->push, r->line_got) == 0 ? WIRE_PUSHED : WIRE_BAD_CHECKSUM;
}

static enum wire_event end_line(struct wire_receiver *r)
{
	r->state = BETWEEN;
	if (r->quad_len != 0)
		return drop(r, WIRE_BAD_BASE64);
	if (r->line == LINE_PUSH)
		return end_push(r);
	if (r->got >= LENGTH_BYTES && r->want < CRC_BYTES)
		return drop(r, WIRE_BAD_LENGTH);
	if (r->got < LENGTH_BYTES || r->got - LENGTH_BYTES < r->want)
		return WIRE_NOTHING; /* another line follows */
	r->in_frame = false;
	r->len = r->want - CRC_BYTES;
	if (r->crc != 0)
		return WIRE_BAD_CHECKSUM;
	return r->len > r->size ? WIRE_OVERSIZED : WIRE_FRAME;
}

enum wire_event wire_receive(struct wire_receiver *r, uint8_t byte)
{
	bool in_content = r->state == CONTENT;
	int kind = marker_of(byte);

	if (r->state == MARKER && byte == markers[r->line][1])
		return begin_line(r);
	if (kind >= 0) {
		enum wire_event event = in_content ? drop(r, WIRE_CUT) : WIRE_NOTHING;

		r->state = MARKER;
		r->line = kind;
		return event;
	}
	if (!in_content) {
		r->state = BETWEEN;
		return WIRE_NOTHING;
	}
	if (byte == '\n')
		return end_line(r);
	return byte == '\r' ? WIRE_NOTHING : take_character(r, byte);
}
