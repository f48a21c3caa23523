/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded strings, of which C11 has none.
 */
#ifndef CORBEL_FIRMWARE_TEXT_H
#define CORBEL_FIRMWARE_TEXT_H

#include <stddef.h>
#include <string.h>

/* Length of @s, @max when it has no end within @max bytes. */
static inline size_t text_length(const char *s, size_t max)
{
	const char *end = memchr(s, '\0', max);

	return end ? (size_t)(end - s) : max;
}

/*
 * Copies the string @from of at most @max bytes, cut to @size - 1, and ends it.
 * @size is not 0. Returns the length that @from had.
 */
static inline size_t text_copy(char *to, size_t size, const char *from, size_t max)
{
	size_t len = text_length(from, max);
	size_t take = len < size ? len : size - 1;

	memcpy(to, from, take);
	to[take] = '\0';
	return len;
}

#endif
