/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boot command line: words separated by blanks, each `key` or `key=value`.
 * No quoting. The last of several equal keys wins. Pure C.
 */
#ifndef CORBEL_FIRMWARE_CMDLINE_H
#define CORBEL_FIRMWARE_CMDLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Looks @key up in @line. True when present; then the value ("" for a bare key)
 * is in @value, cut to @size - 1 characters and NUL-terminated. @value may be
 * NULL when only the presence matters. Unchanged when absent.
 */
bool cmdline_get(const char *line, const char *key, char *value, size_t size);

/* True when @key is present with a decimal number, which is then in @value; unchanged otherwise. */
bool cmdline_number(const char *line, const char *key, uint64_t *value);

/* True when @key is present with exactly the value @want. */
bool cmdline_is(const char *line, const char *key, const char *want);

#endif
