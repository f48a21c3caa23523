/* SPDX-License-Identifier: Apache-2.0 */
/* One line of at most 79 columns, drawn over itself a few times a second. */
#include "tools/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/show.h"

#define BAR_CELLS 20
#define DRAW_MS 200

static long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

void progress_begin(struct progress *p, const char *name, uint64_t start, uint64_t total, bool on)
{
	*p = (struct progress){.name = name, .start = start, .total = total, .began = now_ms(),
			       .on = on && isatty(STDERR_FILENO)};
}

static void draw(const struct progress *p, uint64_t at, long long now)
{
	unsigned filled = p->total ? (unsigned)(at * BAR_CELLS / p->total) : BAR_CELLS;
	unsigned percent = p->total ? (unsigned)(at * 100 / p->total) : 100;
	double seconds = (double)(now - p->began) / 1000;
	uint64_t rate = seconds > 0 ? (uint64_t)((double)(at - p->start) / seconds) : 0, left = 0;
	char bar[BAR_CELLS + 1], speed[24];

	memset(bar, '.', BAR_CELLS);
	memset(bar, '#', filled);
	bar[BAR_CELLS] = '\0';
	if (rate > 0)
		left = (p->total - at) / rate;
	fprintf(stderr, "\r%-28.28s [%s] %3u%% %9s/s %3llu:%02llu", p->name, bar, percent,
		show_bytes(rate < 10240 ? rate : rate / 1024 * 1024, speed, sizeof speed),
		(unsigned long long)(left / 60), (unsigned long long)(left % 60));
}

void progress_show(struct progress *p, uint64_t at)
{
	long long now = now_ms();

	if (!p->on || (p->drawn && now - p->drawn < DRAW_MS))
		return;
	p->drawn = now;
	draw(p, at, now);
}

void progress_end(struct progress *p, uint64_t at)
{
	if (!p->on)
		return;
	draw(p, at, now_ms());
	fputc('\n', stderr);
}
