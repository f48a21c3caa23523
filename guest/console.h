/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's console: what the guest printed (64 KiB, always on, by sequence
 * number) and what the operator typed. The UART writes and reads it; the
 * control plane attaches. Neither side waits for the other.
 */
#ifndef CORBEL_GUEST_CONSOLE_H
#define CORBEL_GUEST_CONSOLE_H

#include "lib/bytelog.h"
#include "lib/ring.h"

#define CONSOLE_LOG_BYTES 65536u
#define CONSOLE_INPUT_BYTES 1024u

struct console {
	struct bytelog out;
	struct ring in;
	void (*output)(void *ctx); /* told after the guest wrote; any context, must not block; may be NULL */
	void *output_ctx;
	void (*input)(void *ctx);  /* told after input was queued: the UART's receive side; may be NULL */
	void *input_ctx;
};

/* @log of CONSOLE_LOG_BYTES and @input of CONSOLE_INPUT_BYTES stay with the caller and outlive it. */
void console_init(struct console *con, void *log, void *input);
/* The guest's side: one byte out; one byte in, false when nothing was typed. */
void console_putc(struct console *con, uint8_t byte);
bool console_getc(struct console *con, uint8_t *byte);
/* The operator's side: queues input and tells the receiver; returns how many bytes fitted. */
size_t console_input(struct console *con, const void *data, size_t len);

#endif
