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

#define CRC_POLYNOMIAL 0x1021u
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

	while (len--) {
		crc ^= (uint16_t)(*p++ << 8);
		for (int bit = 0; bit < 8; bit++)
			crc = (uint16_t)((unsigned)crc << 1 ^ (crc & 0x8000 ? CRC_POLYNOMIAL : 0));
	}
	return crc;
}

/* ---- sending ---- */

/* One line of kind @kind around @len raw bytes. */
static size_t build_line(enum line_kind kind, const uint8_t *raw, size_t len, uint8_t out[WIRE_LINE_MAX])
{
	uint8_t *p = out;

	*p++ = markers[kind][0];
	*p++ = markers[kind][1];
	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t quad = (uint32_t)raw[i] << 16;

		if (left > 1)
			quad |= (uint32_t)raw[i + 1] << 8;
		if (left > 2)
			quad |= raw[i + 2];
		*p++ = (uint8_t)base64[quad >> 18];
		*p++ = (uint8_t)base64[quad >> 12 & 63];
		*p++ = left > 1 ? (uint8_t)base64[quad >> 6 & 63] : '=';
		*p++ = left > 2 ? (uint8_t)base64[quad & 63] : '=';
	}
	*p++ = '\n';
	return (size_t)(p - out);
}

void wire_send_begin(struct wire_sender *s, const void *body, size_t len)
{
	*s = (struct wire_sender){.body = body, .len = len, .crc = wire_crc16(0, body, len)};
}

/* Byte @at of length field, body and CRC in a row. */
static uint8_t frame_byte(const struct wire_sender *s, size_t at)
{
	size_t stated = s->len + CRC_BYTES;

	if (at < LENGTH_BYTES)
		return (uint8_t)(stated >> (8 * (1 - at)));
	at -= LENGTH_BYTES;
	if (at < s->len)
		return s->body[at];
	return (uint8_t)(s->crc >> (8 * (1 - (at - s->len))));
}

size_t wire_send_line(struct wire_sender *s, uint8_t out[WIRE_LINE_MAX])
{
	size_t total = s->len + WIRE_OVERHEAD, n = MIN(total - s->sent, WIRE_LINE_RAW);
	enum line_kind kind = s->sent == 0 ? LINE_FIRST : LINE_NEXT;
	uint8_t raw[WIRE_LINE_RAW];

	if (n == 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		raw[i] = frame_byte(s, s->sent + i);
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
