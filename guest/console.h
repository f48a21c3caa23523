/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's console: what the guest printed (64 KiB, always on, by sequence
 * number) and what the operator typed. Two devices may write it, the UART and a
 * virtio console; the control plane attaches. Neither side waits for the
 * other.
 *
 * What is typed goes to one of the two: the UART, unless a driver listens at the
 * virtio console. The devices have different locks, so the buffers have one of their own
 * (LOCK_CONSOLE); the calls below take it, with interrupts masked.
 */
#ifndef CORBEL_GUEST_CONSOLE_H
#define CORBEL_GUEST_CONSOLE_H

#include "lib/bytelog.h"
#include "lib/lock.h"
#include "lib/ring.h"

#define CONSOLE_LOG_BYTES 65536u
#define CONSOLE_INPUT_BYTES 1024u

struct console {
	struct lock lock;          /* over all that follows but input and its ctx, which are set while no guest runs */
	struct bytelog out;
	struct ring in;
	bool port_listens;         /* what is typed is for the virtio console; atomic */
	uint16_t columns, rows;    /* of the operator's terminal, as far as known; 0: it is not */
	void (*output)(void *ctx); /* told after the guest wrote; any context, must not block; may be NULL */
	void *output_ctx;
	void (*input)(void *ctx);  /* told after input was queued: the receiving device; may be NULL */
	void *input_ctx;
};

/* @log of CONSOLE_LOG_BYTES and @input of CONSOLE_INPUT_BYTES stay with the caller and outlive it. */
void console_init(struct console *con, void *log, void *input);
/* The guest printed. */
void console_write(struct console *con, const void *data, size_t len);
static inline void console_putc(struct console *con, uint8_t byte) { console_write(con, &byte, 1); }
/* For the UART: a byte that was typed; false when there is none for it. */
bool console_getc(struct console *con, uint8_t *byte);
/* For the virtio console: up to @max bytes that were typed, how many. */
size_t console_take(struct console *con, void *out, size_t max);
/* A driver listens at the virtio console from now on, or no more: what is typed and not taken is for the other. */
void console_port_listens(struct console *con, bool listens);
static inline bool console_has_port(const struct console *con)
{
	return __atomic_load_n(&con->port_listens, __ATOMIC_ACQUIRE);
}

/* The operator's side. Queues input and tells the receiver; returns how many bytes fitted. */
size_t console_input(struct console *con, const void *data, size_t len);
/* As bytelog_read(). */
size_t console_read_output(struct console *con, uint64_t *seq, void *out, size_t max);
/* Who is to be told when the guest prints; @output NULL: nobody. */
void console_listen(struct console *con, void (*output)(void *ctx), void *ctx);

#endif
