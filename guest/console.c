/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console between the guest's devices and the control plane: two buffers and two
 * notices. Output that nobody reads is overwritten in time; input that does not
 * fit is refused, so that the operator's side can hold it and try again.
 */
#include "guest/console.h"

void console_init(struct console *con, void *log, void *input)
{
	*con = (struct console){0};
	lock_init(&con->lock, LOCK_CONSOLE);
	bytelog_init(&con->out, log, CONSOLE_LOG_BYTES);
	ring_init(&con->in, input, CONSOLE_INPUT_BYTES);
}

/* The listener is told with no lock held: it may wake a task. */
void console_write(struct console *con, const void *data, size_t len)
{
	void (*output)(void *ctx);
	void *ctx;

	lock_acquire(&con->lock);
	bytelog_write(&con->out, data, len);
	output = con->output;
	ctx = con->output_ctx;
	lock_release(&con->lock);
	if (output)
		output(ctx);
}

bool console_getc(struct console *con, uint8_t *byte)
{
	bool got;

	if (console_has_port(con) || ring_used(&con->in) == 0)
		return false;
	lock_acquire(&con->lock);
	got = ring_get(&con->in, byte);
	lock_release(&con->lock);
	return got;
}

size_t console_take(struct console *con, void *out, size_t max)
{
	size_t taken;

	lock_acquire(&con->lock);
	taken = ring_read(&con->in, out, max);
	lock_release(&con->lock);
	return taken;
}

void console_port_listens(struct console *con, bool listens)
{
	__atomic_store_n(&con->port_listens, listens, __ATOMIC_RELEASE);
}

size_t console_input(struct console *con, const void *data, size_t len)
{
	size_t taken;

	lock_acquire(&con->lock);
	taken = ring_write(&con->in, data, len);
	lock_release(&con->lock);
	if (taken > 0 && con->input)
		con->input(con->input_ctx);
	return taken;
}

size_t console_read_output(struct console *con, uint64_t *seq, void *out, size_t max)
{
	size_t len;

	lock_acquire(&con->lock);
	len = bytelog_read(&con->out, seq, out, max);
	lock_release(&con->lock);
	return len;
}

void console_listen(struct console *con, void (*output)(void *ctx), void *ctx)
{
	lock_acquire(&con->lock);
	con->output = output;
	con->output_ctx = ctx;
	lock_release(&con->lock);
}
