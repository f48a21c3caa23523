/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial framing: the worked vector of docs/protocol.md, every body length
 * there and back, and each way in which a line goes wrong.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/wire.h"

static uint8_t body_buf[600];
static struct wire_receiver rx;

static int setup(void **state)
{
	(void)state;
	wire_receiver_init(&rx, body_buf, sizeof body_buf);
	return 0;
}

/* Feeds bytes and returns the last event that was not WIRE_NOTHING; *events counts them. */
static enum wire_event feed(const void *data, size_t len, unsigned *events)
{
	enum wire_event last = WIRE_NOTHING;
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++) {
		enum wire_event event = wire_receive(&rx, p[i]);

		if (event == WIRE_NOTHING)
			continue;
		last = event;
		if (events)
			++*events;
	}
	return last;
}

static enum wire_event feed_text(const char *text)
{
	return feed(text, strlen(text), NULL);
}

/* All lines of a frame around @body, one after another in @out; returns their length. */
static size_t frame(const void *body, size_t len, uint8_t *out)
{
	struct wire_sender s;
	size_t total = 0, n;

	wire_send_begin(&s, body, len);
	while ((n = wire_send_line(&s, out + total)) > 0) {
		assert_true(n <= WIRE_LINE_MAX);
		assert_int_equal(out[total + n - 1], '\n');
		total += n;
	}
	assert_int_equal(wire_send_line(&s, out + total), 0);
	return total;
}

static void crc_check_value(void **state)
{
	(void)state;
	assert_int_equal(wire_crc16(0, "123456789", 9), 0x31c3);
	assert_int_equal(wire_crc16(wire_crc16(0, "1234", 4), "56789", 5), 0x31c3);
	assert_int_equal(wire_crc16(0, "", 0), 0);
}

/* Echo of "corbel": version 2, write, group 0, command 0, sequence 0x2a. */
static void worked_vector(void **state)
{
	static const uint8_t request[] = {0x0a, 0, 0, 0x0a, 0, 0, 0x2a, 0, 0xa1, 0x61, 0x64, 0x66,
					  'c', 'o', 'r', 'b', 'e', 'l'};
	static const uint8_t reply[] = {0x0b, 0, 0, 0x0a, 0, 0, 0x2a, 0, 0xa1, 0x61, 0x72, 0x66,
					'c', 'o', 'r', 'b', 'e', 'l'};
	static const char request_line[] = "\x06\x09" "ABQKAAAKAAAqAKFhZGZjb3JiZWzH/A==\n";
	static const char reply_line[] = "\x06\x09" "ABQLAAAKAAAqAKFhcmZjb3JiZWyKsg==\n";
	uint8_t out[WIRE_LINE_MAX];

	(void)state;
	assert_int_equal(wire_crc16(0, request, sizeof request), 0xc7fc);
	assert_int_equal(wire_crc16(0, reply, sizeof reply), 0x8ab2);
	assert_int_equal(frame(request, sizeof request, out), sizeof request_line - 1);
	assert_memory_equal(out, request_line, sizeof request_line - 1);
	assert_int_equal(frame(reply, sizeof reply, out), sizeof reply_line - 1);
	assert_memory_equal(out, reply_line, sizeof reply_line - 1);
	assert_int_equal(feed(request_line, sizeof request_line - 1, NULL), WIRE_FRAME);
	assert_int_equal(rx.len, sizeof request);
	assert_memory_equal(rx.buf, request, sizeof request);
}

static void every_length(void **state)
{
	uint8_t body[600], out[1200];

	(void)state;
	srand(1);
	for (size_t i = 0; i < sizeof body; i++)
		body[i] = (uint8_t)rand();
	for (size_t len = 0; len <= sizeof body; len++) {
		size_t sent = frame(body, len, out);
		unsigned events = 0;

		assert_int_equal(feed(out, sent, &events), WIRE_FRAME);
		assert_int_equal(events, 1);
		assert_int_equal(rx.len, len);
		assert_memory_equal(rx.buf, body, len);
	}
}

/* Other clients cut where they like, end lines with CR LF, and print text between lines. */
static void liberal_in_what_it_takes(void **state)
{
	uint8_t body[200], out[600];
	char other[2000], *p = other;
	size_t sent, at = 2;

	(void)state;
	memset(body, 'x', sizeof body);
	sent = frame(body, sizeof body, out);
	/* All characters of our lines, again in lines of 4, then in one long line. */
	for (int width = 4; width <= 4000; width += 3996) {
		int in_line = 0;

		p = other + sprintf(other, "some text\r\n\x06\x09");
		for (at = 2; at < sent; at++) {
			if (out[at] == '\n') {
				at += 2;
				continue;
			}
			if (in_line == width) {
				p += sprintf(p, "\r\nlog: a line\n\x04\x14");
				in_line = 0;
			}
			*p++ = (char)out[at];
			in_line++;
		}
		p += sprintf(p, "\r\n");
		assert_int_equal(feed(other, (size_t)(p - other), NULL), WIRE_FRAME);
		assert_int_equal(rx.len, sizeof body);
		assert_memory_equal(rx.buf, body, sizeof body);
	}
}

static void oversized_is_followed_to_its_end(void **state)
{
	uint8_t body[601], out[1200];
	size_t sent;

	(void)state;
	memset(body, 7, sizeof body);
	body[3] = 99;
	sent = frame(body, sizeof body, out);
	assert_int_equal(feed(out, sent, NULL), WIRE_OVERSIZED);
	assert_int_equal(rx.len, 601);
	assert_memory_equal(rx.buf, body, 600);
	out[sent - 5] ^= 1;
	assert_int_equal(feed(out, sent, NULL), WIRE_BAD_CHECKSUM);
	assert_int_equal(feed(out, frame(body, 600, out), NULL), WIRE_FRAME);
}

/* Any one damaged character is found: as Base64, as a length, or by the checksum. */
static void single_damage_is_always_found(void **state)
{
	uint8_t body[100], out[300], good[300];
	size_t sent;

	(void)state;
	for (size_t i = 0; i < sizeof body; i++)
		body[i] = (uint8_t)(i * 7);
	sent = frame(body, sizeof body, good);
	for (size_t at = 2; at < sent - 1; at++) {
		memcpy(out, good, sent);
		if (out[at] == '\n' || out[at] < 0x20)
			continue;
		out[at] = out[at] == 'A' ? 'B' : 'A';
		assert_int_not_equal(feed(out, sent, NULL), WIRE_FRAME);
		assert_int_equal(feed(good, sent, NULL), WIRE_FRAME);
	}
}

static void each_kind_of_damage(void **state)
{
	(void)state;
	assert_int_equal(feed_text("\x06\x09" "ABQK!AAK\n"), WIRE_BAD_BASE64);
	assert_int_equal(feed_text("\x06\x09" "ABQKA\n"), WIRE_BAD_BASE64);      /* a lone character */
	assert_int_equal(feed_text("\x06\x09" "A=QKAAAA\n"), WIRE_BAD_BASE64);   /* padding too early */
	assert_int_equal(feed_text("\x06\x09" "AB==QKAA\n"), WIRE_BAD_BASE64);   /* data behind padding */
	assert_int_equal(feed_text("\x06\x09" "AAAA\n"), WIRE_BAD_LENGTH);       /* states 0 bytes */
	assert_int_equal(feed_text("\x06\x09" "AAEA\n"), WIRE_BAD_LENGTH);       /* states 1 byte */
	assert_int_equal(feed_text("\x06\x09" "AAIAAAAA\n"), WIRE_BAD_LENGTH);   /* more than stated */
	assert_int_equal(feed_text("\x06\x09" "AAIAAA==\n"), WIRE_FRAME);        /* an empty body is a frame */
	assert_int_equal(rx.len, 0);
	assert_int_equal(feed_text("\x04\x14" "AAAA\n"), WIRE_STRAY);
	assert_int_equal(feed_text("\x06\x09" "ABQK\n\x06\x09"), WIRE_CUT);
	assert_int_equal(feed_text("AAIAAA==\n"), WIRE_FRAME);                   /* and the new one goes on */
	assert_int_equal(feed_text("\x06\x09" "ABQK\x06\x09" "AAIAAA==\n"), WIRE_FRAME);
	assert_int_equal(feed_text("\x06\x09" "ABQK\x04\x14" "AAIAAA==\n"), WIRE_STRAY);
}

static void noise_is_skipped(void **state)
{
	(void)state;
	assert_int_equal(feed_text("\x06 06\x04\x04\x05\x05 hello \x06\n\x06\x06\x04\n"), WIRE_NOTHING);
	assert_int_equal(feed_text("x\x06\x06\x09" "AAIAAA==\n"), WIRE_FRAME);
	for (int i = 0; i < 256; i++)
		wire_receive(&rx, (uint8_t)i);
	assert_int_equal(feed_text("\n\x06\x09" "AAIAAA==\n"), WIRE_FRAME);
}

static void pushed_lines(void **state)
{
	uint8_t body[WIRE_PUSH_MAX], line[WIRE_LINE_MAX], out[400];
	size_t n, sent;

	(void)state;
	memset(body, 0xa5, sizeof body);
	for (size_t len = 0; len <= sizeof body; len++) {
		n = wire_push_line(body, len, line);
		assert_true(n <= WIRE_LINE_MAX);
		assert_int_equal(feed(line, n, NULL), WIRE_PUSHED);
		assert_int_equal(rx.push_len, len);
		assert_memory_equal(rx.push, body, len);
	}
	assert_true(line[0] == 5 && line[1] == 0x0c);
	/* Between the lines of a frame it harms nothing, not even when it is damaged. */
	sent = frame(body, sizeof body, out);
	for (int damaged = 0; damaged < 2; damaged++) {
		n = wire_push_line(body, 20, line);
		if (damaged)
			line[7] = line[7] == 'A' ? 'B' : 'A';
		feed(out, WIRE_LINE_MAX, NULL);
		assert_int_equal(feed(line, n, NULL), damaged ? WIRE_BAD_CHECKSUM : WIRE_PUSHED);
		line[7] = '!';
		assert_int_equal(feed(line, n, NULL), WIRE_BAD_BASE64);
		assert_int_equal(feed(out + WIRE_LINE_MAX, sent - WIRE_LINE_MAX, NULL), WIRE_FRAME);
	}
	assert_int_equal(feed_text("\x05\x0c" "AA==\n"), WIRE_BAD_LENGTH);
}

static void push_longer_than_may_be(void **state)
{
	char line[300];

	(void)state;
	memset(line, 'A', sizeof line);
	line[0] = 5;
	line[1] = 0x0c;
	line[sizeof line - 1] = '\n';
	assert_int_equal(feed(line, sizeof line, NULL), WIRE_BAD_LENGTH);
}

static void every_event_has_words(void **state)
{
	(void)state;
	for (enum wire_event e = WIRE_OVERSIZED; e <= WIRE_STRAY; e++)
		assert_true(strncmp(wire_event_text(e), "it", 2) == 0);
	assert_string_equal(wire_event_text((enum wire_event)99), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(crc_check_value, setup),
		cmocka_unit_test_setup(worked_vector, setup),
		cmocka_unit_test_setup(every_length, setup),
		cmocka_unit_test_setup(liberal_in_what_it_takes, setup),
		cmocka_unit_test_setup(oversized_is_followed_to_its_end, setup),
		cmocka_unit_test_setup(single_damage_is_always_found, setup),
		cmocka_unit_test_setup(each_kind_of_damage, setup),
		cmocka_unit_test_setup(noise_is_skipped, setup),
		cmocka_unit_test_setup(pushed_lines, setup),
		cmocka_unit_test_setup(push_longer_than_may_be, setup),
		cmocka_unit_test_setup(every_event_has_words, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
