/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane on this machine: a host task between the management UART and
 * lua/control.h.
 */
#ifndef CORBEL_FIRMWARE_CONTROL_TASK_H
#define CORBEL_FIRMWARE_CONTROL_TASK_H

#include "firmware/uart.h"
#include "guest/machine.h"
#include "lib/error.h"
#include "lua/control.h"

/*
 * Starts the task: it runs the boot script, then serves @line. Memory for Lua and
 * the C library comes from machine->mm. @facts as in control_config, kept.
 */
enum status control_task_start(struct machine *machine, struct uart *line, const struct control_fact *facts,
			       unsigned fact_count, struct error *err) MUST_CHECK;

/* Wakes it; any context. Harmless before the start. */
void control_task_wake(void);

#endif
