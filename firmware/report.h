/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reports of a machine that stops: text goes straight to the log UART by polling,
 * behind whatever of the log was still waiting, and into the log's memory.
 * No lock: the first CPU to begin stops the others by NMI and prints; one that fails meanwhile halts.
 */
#ifndef CORBEL_FIRMWARE_REPORT_H
#define CORBEL_FIRMWARE_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "firmware/trap.h"

/* What report_end() does, chosen by the boot argument `panic=`. */
enum report_action { REPORT_HALT, REPORT_RESET, REPORT_POWER_OFF };

/*
 * Sets the UART for reports (first of its ports; COM1 until then) and what
 * follows one. @set_up: uart_init() has seen to its rate and format.
 */
void report_set_port(uint16_t port, bool set_up);
void report_set_action(enum report_action action);

/*
 * Begins the one fatal report. Interrupts stay masked from here on. A nested
 * call on the same CPU (a fault inside the report) says so in one line and halts.
 */
void report_begin(void);

/* One formatted piece of text, with its own newlines. Usable without report_begin() for what is not fatal. */
__attribute__((format(printf, 1, 2))) void report_printf(const char *fmt, ...);

void report_registers(const struct trap_frame *f);
void report_control_registers(void);
/* What was running, and the call chain: @rip first, then the frames from @rbp on. */
void report_context(void);
void report_backtrace(uint64_t rip, uint64_t rbp);
void report_stack(uint64_t rsp, uint64_t fault_address);

/* Ends the report by the action set. */
__attribute__((noreturn)) void report_end(void);

/* panic()'s handler (lib/assert.h). */
void report_panic(const char *text);

#endif
