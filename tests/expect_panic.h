/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests that an ASSERT fires. EXPECT_PANIC(statement) runs the statement with a
 * panic handler that jumps back here; the test fails when nothing panicked. The
 * last text is left in expect_panic_text. Include after tests/cmocka_all.h.
 */
#ifndef CORBEL_TESTS_EXPECT_PANIC_H
#define CORBEL_TESTS_EXPECT_PANIC_H

#include <setjmp.h>
#include <stdio.h>

#include "tests/cmocka_all.h"

static jmp_buf expect_panic_jump;
static char expect_panic_text[512];

static inline void expect_panic_handler(const char *text)
{
	snprintf(expect_panic_text, sizeof expect_panic_text, "%s", text);
	longjmp(expect_panic_jump, 1);
}

#define EXPECT_PANIC(statement)                                              \
	do {                                                                 \
		expect_panic_text[0] = '\0';                                 \
		panic_set_handler(expect_panic_handler);                     \
		if (setjmp(expect_panic_jump) == 0) {                        \
			statement;                                           \
			panic_set_handler(panic_in_test);                    \
			fail_msg("no panic from: %s", #statement);           \
		}                                                            \
		panic_set_handler(panic_in_test);                            \
	} while (0)

#endif
