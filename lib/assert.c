/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of the road. The text is built on the stack, because two CPUs may
 * panic at once; what to do about nesting and about the other CPUs is the
 * handler's business, which knows the machine.
 */
#include "lib/assert.h"

#include <stdarg.h>

#include "lib/format.h"

#define PANIC_TEXT_MAX 512

static void (*panic_handler)(const char *text);

void panic_set_handler(void (*fn)(const char *text))
{
	panic_handler = fn;
}

void panic(const char *fmt, ...)
{
	char text[PANIC_TEXT_MAX];
	volatile bool stopped = true;
	va_list ap;

	va_start(ap, fmt);
	format_v(text, sizeof text, fmt, ap);
	va_end(ap);
	if (panic_handler)
		panic_handler(text);
	/* The volatile read keeps the loop defined (C11 6.8.5) and the function noreturn. */
	while (stopped)
		continue;
	__builtin_unreachable();
}
