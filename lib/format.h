/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small bounded formatter for code that may not touch SSE (newlib's printf
 * does). Conversions: %d %i %u %x %X %c %s %p %%, the lengths l, ll, z, h, hh, the flags
 * 0 and -, width and precision as numbers or '*'. No floating point.
 */
#ifndef CORBEL_LIB_FORMAT_H
#define CORBEL_LIB_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

/*
 * Formats into @buf of @size bytes, always ended by NUL when size > 0.
 * Returns the length that the whole text has, which may be >= @size.
 */
__attribute__((format(printf, 3, 4))) size_t format(char *buf, size_t size, const char *fmt, ...);
__attribute__((format(printf, 3, 0))) size_t format_v(char *buf, size_t size, const char *fmt, va_list ap);

#endif
