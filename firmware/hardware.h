/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine as found at boot, and the steps that find it. main.c calls the
 * steps in order; what they find stays here for the wiring that follows.
 */
#ifndef CORBEL_FIRMWARE_HARDWARE_H
#define CORBEL_FIRMWARE_HARDWARE_H

#include <stdbool.h>
#include <stdint.h>

#include "firmware/acpi.h"
#include "firmware/board.h"
#include "firmware/bootinfo.h"
#include "firmware/memmap.h"
#include "firmware/mtrr.h"
#include "firmware/uart.h"

struct hardware {
	struct boot_info boot;
	struct board board;
	struct memmap memory;
	struct acpi_info acpi;
	struct mtrr_state mtrr; /* of the boot CPU */
	hpa_t start_page;       /* where other CPUs begin; 0: there is no page for that */
	struct uart log, management;
};

extern struct hardware hardware;

/* The boot arguments. */
static inline const char *boot_args(void)
{
	return hardware.boot.cmdline;
}

/* The seed of CPU @cpu's delays at locks, by the argument lock-seed=N; 0: none are wanted. */
uint32_t lock_seed(const char *args, unsigned cpu);

/* Faults can be reported from here on; the log is kept in memory. */
void hardware_begin(void);

/* Copies what the loader passed, while its memory is still mapped one to one. */
void hardware_read_loader(unsigned protocol, uint32_t info);

/* Names the processor and turns its protections on. */
void hardware_enable_cpu(void);

/* The board's device tree, the memory map with its claims, our own page tables and fault stacks. */
void hardware_read_board(void);
void hardware_map_memory(void);

/* Tables, memory types, interrupts, time, serial lines. */
void hardware_start_devices(void);

/* True while bytes are under way on a serial line (host_ops.line_busy). */
bool hardware_lines_busy(void);

/* One sentence on why this machine cannot go on, then what `panic=` says. */
__attribute__((noreturn)) void hardware_stop(const char *sentence);

/* Goes on with @fn on a guarded stack of @pages pages, for good. */
__attribute__((noreturn)) void hardware_continue_on_stack(const char *name, unsigned pages, void (*fn)(void));

#endif
