/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leveled log into one injected sink. Never called on a RESUME exit path. Text
 * that a guest or the wire can influence must pass through log_clean() first,
 * so that it cannot forge lines or terminal sequences.
 *
 * Any CPU, interrupt handlers included, several at once: a line is built on the
 * caller's stack, and the sink keeps lines apart by a lock of its own (LOCK_LOG).
 * log_init() comes before there is a second CPU.
 */
#ifndef CORBEL_LIB_LOG_H
#define CORBEL_LIB_LOG_H

#include <stddef.h>

#include "lib/knob.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Takes one finished line, with its newline, not NUL-terminated. Any context, any CPU; waits for no line or device. */
typedef void (*log_sink_fn)(const char *line, size_t len);

/* @now_us: microseconds since boot for the line's stamp, may be NULL (no stamp). */
void log_init(log_sink_fn sink, unsigned long long (*now_us)(void));
void log_set_level(enum log_level level);

/* The level as a setting; it belongs to no object. */
extern const struct knob_table log_knobs;

/* One line, no newline in @fmt; lines over 240 characters are cut and end in "...". */
__attribute__((format(printf, 2, 3))) void log_at(enum log_level level, const char *fmt, ...);

#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)

/* Copies @in with every byte outside 0x20..0x7e as '?'; always ends @out. Returns @out. */
const char *log_clean(char *out, size_t size, const char *in, size_t len);

#endif
