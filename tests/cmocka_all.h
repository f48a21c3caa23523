/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmocka with the headers that it wants before it, and our own names kept
 * whole: cmocka's fail() macro would hide lib/error.h's function.
 */
#ifndef CORBEL_TESTS_CMOCKA_ALL_H
#define CORBEL_TESTS_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#undef fail
#undef fail_msg
#define fail_msg(...)                        \
	do {                                 \
		print_error("ERROR: " __VA_ARGS__); \
		print_error("\n");           \
		_fail(__FILE__, __LINE__);   \
	} while (0)

#endif
