/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMP's serial framing (Zephyr's "SMP over console", docs/protocol.md section
 * 1), both directions. A frame is a 16-bit length, the body and its CRC, in
 * Base64, cut into lines; each line starts with a marker that no text contains:
 *
 *	06 09  first line of a frame
 *	04 14  further line of it
 *	05 0c  a line of its own that was not asked for (ours: pushed console output);
 *	       clients that know only the other two skip it as text
 *
 * Anything else between lines is skipped. Shared with tools/: depends on
 * nothing but lib/bits.h.
 */
#ifndef CORBEL_LUA_WIRE_H
#define CORBEL_LUA_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_LINE_MAX 127  /* bytes of a line that we send: marker, 124 Base64 characters, newline */
#define WIRE_LINE_RAW 93   /* what such a line carries; a multiple of 3, so that only a last line is padded */
#define WIRE_OVERHEAD 4    /* length and CRC around a body */
#define WIRE_BODY_MAX 65533u
#define WIRE_PUSH_MAX (WIRE_LINE_RAW - 2) /* body of a pushed line; its CRC takes the rest */

/* CRC-16/XMODEM (polynomial 0x1021, no reflection), continued from @crc; start with 0. */
uint16_t wire_crc16(uint16_t crc, const void *data, size_t len);

/* ---- sending ---- */

struct wire_sender {
	const uint8_t *body; /* the caller's, until the last line is built */
	size_t len;
	size_t sent;         /* of length field, body and CRC together */
	uint16_t crc;
};

/* @len <= WIRE_BODY_MAX. */
void wire_send_begin(struct wire_sender *s, const void *body, size_t len);
/* Builds the next line; returns its length, newline included, 0 when the frame is out. */
size_t wire_send_line(struct wire_sender *s, uint8_t out[WIRE_LINE_MAX]);
/* Builds a pushed line around a body of at most WIRE_PUSH_MAX bytes; returns its length. */
size_t wire_push_line(const void *body, size_t len, uint8_t out[WIRE_LINE_MAX]);

/* ---- receiving ---- */

enum wire_event {
	WIRE_NOTHING,      /* more bytes are needed */
	WIRE_FRAME,        /* a whole frame: buf, len */
	WIRE_PUSHED,       /* a whole pushed line: push, push_len */
	/* Something was dropped; wire_event_text() says what. */
	WIRE_OVERSIZED,    /* a correct frame whose body does not fit: its start is in buf, len is its length */
	WIRE_BAD_CHECKSUM,
	WIRE_BAD_BASE64,
	WIRE_BAD_LENGTH,   /* fewer bytes stated than a CRC takes, or more sent than stated */
	WIRE_CUT,          /* a frame or a line ended early: another one began */
	WIRE_STRAY,        /* a further line without a first one */
};

struct wire_receiver {
	uint8_t *buf;     /* the caller's, for bodies */
	size_t size;
	size_t len;       /* after WIRE_FRAME or WIRE_OVERSIZED: the body's length */
	uint8_t push[WIRE_PUSH_MAX + 2];
	size_t push_len;

	/* Private from here on. */
	int state;        /* where in a line */
	int line;         /* which kind of line */
	bool in_frame;    /* a frame has begun and is not complete */
	size_t got;       /* raw bytes of the frame, with its length field */
	size_t want;      /* length field: body and CRC */
	uint16_t crc;     /* over body and CRC: 0 when right */
	size_t line_got;  /* raw bytes of the line */
	uint32_t quad;    /* Base64 characters gathered */
	unsigned quad_len, pads;
};

/* @buf of @size bytes (8 at least: an SMP header) outlives the receiver. */
void wire_receiver_init(struct wire_receiver *r, void *buf, size_t size);
/* Takes one byte. A frame stays valid until the next byte. */
enum wire_event wire_receive(struct wire_receiver *r, uint8_t byte);
/* A short clause for a dropped frame ("checksum is wrong"); static storage. */
const char *wire_event_text(enum wire_event event);

#endif
