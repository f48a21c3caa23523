/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmocka with the headers that it wants before it, and our own names kept
 * whole: cmocka's fail() macro would hide lib/error.h's function. A panic fails
 * the test in which it comes.
 */
#ifndef CORBEL_TESTS_CMOCKA_ALL_H
#define CORBEL_TESTS_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/assert.h"

#undef fail
#undef fail_msg
#define fail_msg(...)                        \
	do {                                 \
		print_error("ERROR: " __VA_ARGS__); \
		print_error("\n");           \
		_fail(__FILE__, __LINE__);   \
	} while (0)

/* panic() never returns: without a handler a test that meets one would last until its time is up. */
static inline void panic_in_test(const char *text)
{
	print_error("ERROR: panic: %s\n", text);
	_fail(__FILE__, __LINE__);
}

static __attribute__((constructor)) void handle_panics(void) { panic_set_handler(panic_in_test); }

#endif
