/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Lua's own files call instead of the C library's functions: those that work
 * for long charge for it, those that keep state in the C library are sheltered.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/corbel_lua_meter.h"
#include "lua/state.h"

void interp_charge(uint64_t steps)
{
	corbel_lua_steps -= (long)(steps < INT32_MAX ? steps : INT32_MAX);
	if (corbel_lua_steps < 0)
		corbel_lua_slice_end();
}

int corbel_lua_snprintf(char *out, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	interp_shelter();
	va_start(ap, fmt);
	n = vsnprintf(out, size, fmt, ap);
	va_end(ap);
	interp_unshelter();
	return n;
}

double corbel_lua_strtod(const char *s, char **end)
{
	double d;

	interp_shelter();
	d = strtod(s, end);
	interp_unshelter();
	return d;
}

int corbel_lua_memcmp(const void *a, const void *b, size_t n)
{
	interp_charge(n / INTERP_BYTES_PER_STEP);
	return memcmp(a, b, n);
}

void *corbel_lua_memchr(const void *s, int c, size_t n)
{
	interp_charge(n / INTERP_BYTES_PER_STEP);
	return memchr(s, c, n);
}

int corbel_lua_strcoll(const char *a, const char *b)
{
	interp_charge(strlen(a) / INTERP_BYTES_PER_STEP);
	return strcmp(a, b);
}
