/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Call chains by frame pointers (everything is built with them). Never leaves
 * the stack that the first frame lies on and never loops, so it is safe on a
 * damaged stack and in an NMI.
 */
#ifndef CORBEL_FIRMWARE_BACKTRACE_H
#define CORBEL_FIRMWARE_BACKTRACE_H

#include <stddef.h>
#include <stdint.h>

/* Writes up to @max return addresses, the innermost first, starting from @rbp; returns how many. */
unsigned backtrace_capture(uint64_t rbp, uint64_t *out, unsigned max);

/* "name+0x12" or "?" for @address into @out; returns @out. */
const char *backtrace_symbol(uint64_t address, char *out, size_t size);

#endif
