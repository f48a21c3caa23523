/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ASSERT states our own invariants and is live in release builds. It never
 * judges outside input. On failure the panic handler, injected by firmware
 * main or by a test, prints what it can and does not return.
 */
#ifndef CORBEL_LIB_ASSERT_H
#define CORBEL_LIB_ASSERT_H

#include "lib/bits.h"

#define ASSERT(cond)                                                          \
	do {                                                                  \
		if (unlikely(!(cond)))                                        \
			panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #cond); \
	} while (0)

/* Stops the machine with a formatted report (lib/format.h conversions). */
__attribute__((noreturn, format(printf, 1, 2))) void panic(const char *fmt, ...);

/*
 * Installs what panic() calls with the finished text. Until then, and if @fn
 * returns, panic() spins.
 */
void panic_set_handler(void (*fn)(const char *text));

#endif
