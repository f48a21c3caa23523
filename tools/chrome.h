/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traces in the JSON form of Chrome's tracing (the "Trace Event Format" document):
 * what Perfetto, chrome://tracing, Speedscope and Trace Compass open. Each
 * processor is a thread of one process; a turn is a slice, and the guest's time
 * between two exits a slice inside it, called after the exit that ended it.
 */
#ifndef CORBEL_TOOLS_CHROME_H
#define CORBEL_TOOLS_CHROME_H

#include <stdio.h>

#include "lib/cputrace.h"

#define CHROME_KINDS_MAX 64u
#define CHROME_VMS_MAX 65u

struct chrome_event {
	uint64_t begin_ns, length_ns;
	unsigned cpu, kind; /* enum cputrace_kind */
	unsigned vm, vcpu;
	uint64_t code, detail;
};

struct chrome_names {
	char vm[CHROME_VMS_MAX][40];      /* by id; "": not known */
	char exit[CHROME_KINDS_MAX][32];  /* by code */
};

/* Sorts @events by time, slices before those inside them, and writes the whole file. */
void chrome_write(FILE *out, struct chrome_event *events, size_t count, unsigned cpus, const struct chrome_names *names);

#endif
