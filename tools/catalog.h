/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine counts (its declarations, read once) and what it has counted
 * (whole tables of values, read often): group 76, commands 5 and 6. For views and
 * exporters, which then know nothing of any counter but its name.
 */
#ifndef CORBEL_TOOLS_CATALOG_H
#define CORBEL_TOOLS_CATALOG_H

#include "tools/client.h"

#define CATALOG_ROWS_MAX 384u
#define CATALOG_NAMES_MAX 64u /* of one counter that has many values */
#define CATALOG_TABLES_MAX 1024u

enum catalog_kind { CATALOG_TOTAL, CATALOG_GAUGE, CATALOG_STATE, CATALOG_HISTOGRAM };

struct catalog_row {
	char group[32], name[48], unit[8], label[24], help[128];
	enum catalog_kind kind;
	unsigned name_count; /* 0: one value */
	char (*names)[32];   /* a state's words, or of each value; "" is not used */
	unsigned at;         /* index of its first value among its table's */
	uint64_t *bounds;    /* of a histogram: up to where each value but the last counts */
	char sum[48];        /* and the counter that sums up */
};

struct catalog {
	struct catalog_row rows[CATALOG_ROWS_MAX];
	unsigned count;
};

/* One table's values. */
struct sample_table {
	char group[32], instance[64]; /* instance: a VM's name, "VM/DISK", or "" */
	uint64_t *values;
	unsigned count;
};

struct sample {
	struct sample_table tables[CATALOG_TABLES_MAX];
	unsigned count;
};

/* How many values the row has in its table. */
unsigned catalog_values(const struct catalog_row *row);

enum exit_status catalog_read(struct client *c, struct catalog *out);
/* @group NULL: all tables. Frees what @out had before; it is zeroed at first. */
enum exit_status sample_read(struct client *c, const char *group, struct sample *out);
void sample_free(struct sample *s);

const struct catalog_row *catalog_find(const struct catalog *cat, const char *group, const char *name);
const struct sample_table *sample_find(const struct sample *s, const char *group, const char *instance);
/* The first value of that counter in @t; 0 when this machine does not have it. */
uint64_t sample_value(const struct catalog *cat, const struct sample_table *t, const char *name);

#endif
