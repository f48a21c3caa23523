/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot options are few and read a handful of times: each look-up scans the
 * whole line, and nothing is parsed into a table.
 */
#include "firmware/cmdline.h"

#include <string.h>

#define CMDLINE_VALUE_MAX 64

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *word_end(const char *p)
{
	while (*p && !is_blank(*p))
		p++;
	return p;
}

static void copy_value(char *value, size_t size, const char *from, const char *end)
{
	size_t len = (size_t)(end - from);

	if (!value || size == 0)
		return;
	if (len > size - 1)
		len = size - 1;
	memcpy(value, from, len);
	value[len] = '\0';
}

bool cmdline_get(const char *line, const char *key, char *value, size_t size)
{
	size_t key_len = strlen(key);
	bool found = false;

	for (const char *p = line; *p;) {
		const char *end = word_end(p);
		const char *after = p + key_len;

		if ((size_t)(end - p) >= key_len && memcmp(p, key, key_len) == 0 && (after == end || *after == '=')) {
			copy_value(value, size, after == end ? end : after + 1, end);
			found = true;
		}
		p = end;
		while (is_blank(*p))
			p++;
	}
	return found;
}

bool cmdline_is(const char *line, const char *key, const char *want)
{
	char value[CMDLINE_VALUE_MAX];

	return cmdline_get(line, key, value, sizeof(value)) && strcmp(value, want) == 0;
}

bool cmdline_number(const char *line, const char *key, uint64_t *value)
{
	char text[CMDLINE_VALUE_MAX];
	uint64_t v = 0;

	if (!cmdline_get(line, key, text, sizeof(text)) || !text[0])
		return false;
	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9' || v > (UINT64_MAX - 9) / 10)
			return false;
		v = v * 10 + (uint64_t)(*p - '0');
	}
	*value = v;
	return true;
}
