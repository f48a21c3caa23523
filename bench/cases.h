/* SPDX-License-Identifier: Apache-2.0 */
/* What the benches on the host have in common: cases by name, of which one at a time is run under the counter. */
#ifndef CORBEL_BENCH_CASES_H
#define CORBEL_BENCH_CASES_H

#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct bench_case {
	const char *name;
	unsigned (*run)(void); /* returns how many rounds it did */
};

/* Without arguments the names of the cases; with one, that case. For main(), whose status it returns. */
static inline int bench_main(const struct bench_case *cases, size_t count, int argc, char **argv)
{
	for (size_t i = 0; i < count; i++) {
		if (argc < 2) {
			printf("%s\n", cases[i].name);
		} else if (strcmp(cases[i].name, argv[1]) == 0) {
			printf("rounds %u\n", cases[i].run());
			return 0;
		}
	}
	return argc < 2 ? 0 : 1;
}

#endif
