/* SPDX-License-Identifier: Apache-2.0 */
/* A board's device tree as arbitrary bytes: an answer within the limits or an error with a sentence. */
#include <stdlib.h>
#include <string.h>

#include "firmware/board.h"

const struct board_blob board_blobs[1];
const uint32_t board_blob_count = 0;

static void check_uart(const struct board_uart *u)
{
	if (u->named && (u->port == 0 || u->irq == 0 || u->irq > 15 || u->baud == 0 || u->clock_hz / 16 < u->baud))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *blob = malloc(size + 1); /* aligned as libfdt wants it, and bounded for ASan */
	struct error err = {""};
	struct board b;

	memcpy(blob, data, size);
	if (board_read(blob, size, &b, &err) == ST_OK) {
		check_uart(&b.log);
		check_uart(&b.management);
		if (b.reserved_count > BOARD_RESERVED_MAX)
			abort();
	} else if (err.text[0] == '\0') {
		abort();
	}
	free(blob);
	return 0;
}
