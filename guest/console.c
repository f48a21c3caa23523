/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console between a UART and the control plane: two buffers and two
 * notices. Output that nobody reads is overwritten in time; input that does not
 * fit is refused, so that the operator's side can hold it and try again.
 */
#include "guest/console.h"

void console_init(struct console *con, void *log, void *input)
{
	*con = (struct console){0};
	bytelog_init(&con->out, log, CONSOLE_LOG_BYTES);
	ring_init(&con->in, input, CONSOLE_INPUT_BYTES);
}

void console_putc(struct console *con, uint8_t byte)
{
	bytelog_putc(&con->out, byte);
	if (con->output)
		con->output(con->output_ctx);
}

bool console_getc(struct console *con, uint8_t *byte) { return ring_get(&con->in, byte); }

size_t console_input(struct console *con, const void *data, size_t len)
{
	size_t taken = ring_write(&con->in, data, len);

	if (taken > 0 && con->input)
		con->input(con->input_ctx);
	return taken;
}
