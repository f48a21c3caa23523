/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of all stacks, so that a report can say which one overflowed and a
 * backtrace never leaves the stack it walks. Guarded stacks live in a virtual
 * window of their own, each below an unmapped page (paging.c maps them).
 */
#ifndef CORBEL_FIRMWARE_STACK_H
#define CORBEL_FIRMWARE_STACK_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/status.h"

#define STACK_NAME_MAX 24
#define STACKS_FIRST 32  /* before stack_use_table() */
#define STACKS_MAX 2048 /* what the window holds: for 256 CPUs six each, and host tasks */

struct stack {
	char name[STACK_NAME_MAX];
	uint64_t lo, hi; /* [lo, hi); the guard page lies just below lo */
	bool guarded;
};

/* Lists a stack that exists already (the first one, in .bss); it has no guard. */
void stack_register(const char *name, uint64_t lo, uint64_t hi);

/*
 * Maps a new guarded stack of @pages pages. *top is where RSP starts, 16-byte
 * aligned. ST_NO_MEMORY, or ST_OVER_LIMIT when the table is full. The name is cut to fit.
 */
enum status stack_create(const char *name, unsigned pages, uint64_t *top) MUST_CHECK;

/* Goes on with a larger table of @count entries, at most STACKS_MAX, which becomes this file's. Boot only. */
void stack_use_table(struct stack *table, unsigned count);

/* "nmi" on the boot CPU, "cpu 2 nmi" on another. Fills and returns @out of STACK_NAME_MAX bytes. */
const char *stack_name(char *out, unsigned cpu, const char *what);

/* Unmaps a guarded stack and gives its frames back; nothing may run on it. @top as created. */
void stack_destroy(uint64_t top);

/* The stack that holds address @at, NULL when none does. */
const struct stack *stack_of(uint64_t at);

/* The stack whose guard page holds @at, NULL when none does. */
const struct stack *stack_of_guard(uint64_t at);

/* Calls @fn for each listed stack. */
void stack_for_each(void (*fn)(void *ctx, const struct stack *s), void *ctx);

#endif
