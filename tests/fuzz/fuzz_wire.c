/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line receiver on arbitrary bytes; and whatever a frame it accepted said,
 * sent again, arrives again.
 */
#include <stdlib.h>
#include <string.h>

#include "lua/wire.h"

#define BODY_MAX 512

static void again(const uint8_t *body, size_t len)
{
	uint8_t line[WIRE_LINE_MAX], copy[BODY_MAX];
	enum wire_event event = WIRE_NOTHING;
	struct wire_receiver rx;
	struct wire_sender tx;
	size_t n;

	wire_receiver_init(&rx, copy, sizeof copy);
	wire_send_begin(&tx, body, len);
	while ((n = wire_send_line(&tx, line)) > 0)
		for (size_t i = 0; i < n; i++)
			event = wire_receive(&rx, line[i]);
	if (event != WIRE_FRAME || rx.len != len || memcmp(copy, body, len) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t body[BODY_MAX];
	struct wire_receiver rx;

	wire_receiver_init(&rx, body, sizeof body);
	for (size_t i = 0; i < size; i++) {
		enum wire_event event = wire_receive(&rx, data[i]);

		if (event == WIRE_FRAME)
			again(rx.buf, rx.len);
		if (event == WIRE_PUSHED && rx.push_len > WIRE_PUSH_MAX)
			abort();
		if (event == WIRE_OVERSIZED && rx.len <= sizeof body)
			abort();
	}
	return 0;
}
