/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor's log: the last 64 KiB in memory, addressed by sequence number,
 * and a copy on the log UART that its interrupts drain at their own pace. Writing
 * a line costs a copy, never a wait for the line. Any CPU writes; the UART is the boot CPU's, and others
 * send it an interrupt when there is something for it to do.
 */
#ifndef CORBEL_FIRMWARE_HOSTLOG_H
#define CORBEL_FIRMWARE_HOSTLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/bytelog.h"

#define HOST_LOG_BYTES 65536u

struct lock;
struct uart;

/* Read it under its lock, with interrupts masked; a report of a machine that stops takes no lock. */
extern struct bytelog host_log;
extern struct lock host_log_lock;

/* Makes the log the sink of lib/log.h. First thing at boot. */
void hostlog_init(void);

/* Sends the log from its first byte on to @u, which has been initialised but not started. Boot CPU. */
void hostlog_attach(struct uart *u);

/* False when somebody holds the log for more than @ticks. Masked. */
bool hostlog_free_within(uint64_t ticks);

/* Appends @len bytes as they are. Any context but an NMI. */
void hostlog_write(const char *text, size_t len);

/* What the UART has not sent yet, by polling; for reports of a machine that has stopped. */
struct uart_polled;
void hostlog_flush(struct uart_polled *to);

#endif
