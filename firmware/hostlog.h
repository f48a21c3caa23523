/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor's log: the last 64 KiB in memory, addressed by sequence number,
 * and a copy on the log UART that its interrupts drain at their own pace. Writing
 * a line costs a copy, never a wait.
 */
#ifndef CORBEL_FIRMWARE_HOSTLOG_H
#define CORBEL_FIRMWARE_HOSTLOG_H

#include <stddef.h>

#include "lib/bytelog.h"

#define HOST_LOG_BYTES 65536u

struct uart;

/* Read it with interrupts masked. */
extern struct bytelog host_log;

/* Makes the log the sink of lib/log.h. First thing at boot. */
void hostlog_init(void);

/* Sends the log from its first byte on to @u, which has been initialised but not started. */
void hostlog_attach(struct uart *u);

/* Appends @len bytes as they are. Any context. */
void hostlog_write(const char *text, size_t len);

/* What the UART has not sent yet, by polling; for reports of a machine that has stopped. */
struct uart_polled;
void hostlog_flush(struct uart_polled *to);

#endif
