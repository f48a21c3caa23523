/* SPDX-License-Identifier: Apache-2.0 */
/* A bar on the error stream while a file travels; nothing when that is no terminal. */
#ifndef CORBEL_TOOLS_PROGRESS_H
#define CORBEL_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *name;
	uint64_t total, start; /* bytes: of all; there before this run */
	long long began;       /* ms */
	long long drawn;
	bool on;
};

void progress_begin(struct progress *p, const char *name, uint64_t start, uint64_t total, bool on);
void progress_show(struct progress *p, uint64_t at);
/* Ends the bar's line. */
void progress_end(struct progress *p, uint64_t at);

#endif
