/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line at a time into the sink: "[seconds.micros] level: text\n". The line
 * is built on the stack, so that interrupt handlers may log too. Control bytes
 * that slip into a text become '?' here as a second wall behind log_clean().
 */
#include "lib/log.h"

#include <stdarg.h>
#include <stdbool.h>

#include "lib/bits.h"
#include "lib/format.h"

#define LINE_MAX_CHARS 240 /* without the newline */
#define US_PER_S 1000000ull

static const char cut_mark[] = "...";

static struct {
	log_sink_fn sink;
	unsigned long long (*now_us)(void);
	enum log_level level;
} the_log = {.level = LOG_INFO};

void log_init(log_sink_fn sink, unsigned long long (*now_us)(void))
{
	the_log.sink = sink;
	the_log.now_us = now_us;
}

void log_set_level(enum log_level level)
{
	__atomic_store_n(&the_log.level, level, __ATOMIC_RELAXED);
}

/* ---- the level as a knob ---- */

static uint64_t get_level(const void *object)
{
	(void)object;
	return __atomic_load_n(&the_log.level, __ATOMIC_RELAXED);
}

static void set_level(void *object, uint64_t level)
{
	(void)object;
	log_set_level((enum log_level)level);
}

static const char *const level_names[] = {
	[LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug", NULL,
};

static const struct knob knobs[] = {
	{
		.name = "level", .type = KNOB_CHOICE, .names = level_names, .otherwise = LOG_INFO, .get = get_level,
		.set = set_level, .help = "The least important lines that the log takes",
	},
};

const struct knob_table log_knobs = {.group = "log", .rows = knobs, .count = ARRAY_SIZE(knobs)};

/* ---- lines ---- */

static const char *level_prefix(enum log_level level)
{
	switch (level) {
	case LOG_ERROR:
		return "error: ";
	case LOG_WARN:
		return "warning: ";
	case LOG_DEBUG:
		return "debug: ";
	case LOG_INFO:
	default:
		return "";
	}
}

static bool printable(char c)
{
	return c >= 0x20 && c <= 0x7e;
}

static size_t stamp(char *line, size_t size)
{
	unsigned long long us;

	if (!the_log.now_us)
		return 0;
	us = the_log.now_us();
	return format(line, size, "[%5llu.%06llu] ", us / US_PER_S, us % US_PER_S);
}

void log_at(enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_CHARS + 1]; /* the byte of the NUL becomes that of the newline */
	va_list ap;
	size_t len;

	if (!the_log.sink || level > __atomic_load_n(&the_log.level, __ATOMIC_RELAXED))
		return;
	len = stamp(line, sizeof line);
	len += format(line + len, sizeof line - len, "%s", level_prefix(level));
	va_start(ap, fmt);
	len += format_v(line + len, sizeof line - len, fmt, ap);
	va_end(ap);
	if (len > LINE_MAX_CHARS) {
		len = LINE_MAX_CHARS;
		memcpy(line + len - strlen(cut_mark), cut_mark, strlen(cut_mark));
	}
	for (size_t i = 0; i < len; i++)
		line[i] = printable(line[i]) ? line[i] : '?';
	line[len] = '\n';
	the_log.sink(line, len + 1);
}

const char *log_clean(char *out, size_t size, const char *in, size_t len)
{
	size_t n;

	if (size == 0)
		return "";
	n = MIN(len, size - 1);
	for (size_t i = 0; i < n; i++)
		out[i] = printable(in[i]) ? in[i] : '?';
	out[n] = '\0';
	return out;
}
