/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies for people and for programs: CBOR as JSON (RFC 8259) in one line, or
 * as indented "name: value" lines with sizes and times in readable units. Text
 * from the machine loses its control characters: only `console` may drive the
 * operator's terminal.
 */
#ifndef CORBEL_TOOLS_SHOW_H
#define CORBEL_TOOLS_SHOW_H

#include <stdio.h>

#include "lua/cbor.h"

/* Bytes as they are, less control characters (but newline and tab) and malformed UTF-8. */
void show_clean(FILE *out, const char *text, size_t len);
/* One JSON value, no newline. Byte strings become strings of the characters U+0000 to U+00FF. */
void show_json(FILE *out, struct cbor_value v);
void show_json_string(FILE *out, const char *text, size_t len);
/* {"error": ..., "rc": ...} and a newline on the standard output. */
void show_json_error(uint64_t rc, const char *why, size_t len);
/* The pairs of a map, one a line, nested maps below their names. */
void show_pairs(FILE *out, struct cbor_value map, int indent);
/* "128 MiB", "4 KiB", "17 B" into @buf. */
const char *show_bytes(uint64_t bytes, char *buf, size_t size);
/* "3.2 s", "12 ms" into @buf. */
const char *show_ns(uint64_t ns, char *buf, size_t size);

#endif
