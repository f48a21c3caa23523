/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knobs, declared once: a setting of a manager that exists, with its type, range,
 * default, and who may turn it and when it counts. The room that owns the value
 * has the table and the three functions; scripts, the wire and the operator's
 * command all set it through them. knob_check() may fail and changes nothing,
 * set() cannot fail: a change is decided before anything is touched.
 */
#ifndef CORBEL_LIB_KNOB_H
#define CORBEL_LIB_KNOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/measure.h"

enum knob_type {
	KNOB_BOOL,   /* 0 or 1 */
	KNOB_NUMBER, /* min to max in its measure */
	KNOB_CHOICE, /* an index into names */
	KNOB_CPUS,   /* a bitmap of CPUs 0 to 63; none of them: any */
};

/* Which of the three numbers of a resource (lib/rls.h) it is, if any. A reservation is a floor: see docs/knobs.md. */
enum knob_member { MEMBER_NONE, MEMBER_RESERVATION, MEMBER_LIMIT, MEMBER_SHARES };

enum knob_when {
	KNOB_LIVE,     /* counts at once */
	KNOB_AT_START, /* counts when its VM starts next */
};

enum knob_by { KNOB_OPERATOR, KNOB_OWNER };

struct knob {
	const char *name;       /* dotted, below its table's place */
	const char *help;       /* one sentence without a full stop */
	enum knob_type type;
	enum measure measure;   /* of a number */
	enum knob_member member;
	enum knob_when when;
	enum knob_by by;        /* the least who may set it */
	uint64_t min, max;      /* of a number, both included */
	uint64_t step;          /* a number is a multiple of it; 0: any */
	uint64_t otherwise;     /* the default */
	bool none;              /* a number may also be KNOB_NONE, which is written so */
	const char *const *names; /* of a choice; NULL at the end */
	uint64_t (*get)(const void *object);
	/* Rules beyond type and range; may be NULL. */
	enum status (*check)(const void *object, uint64_t value, struct error *err);
	void (*set)(void *object, uint64_t value);
	bool piecewise;         /* set() takes too long to be masked as a whole: it masks by itself, piece by piece */
};

struct knob_table {
	const char *group;
	const struct knob *rows;
	size_t count;
	/* True when the definition of @object gave row @row, and where; NULL: there is no definition. */
	bool (*given)(const void *object, size_t row, const char **where);
};

#define KNOB_TEXT_MAX 144    /* of a bitmap: pairs of CPUs and commas */
#define KNOB_NONE UINT64_MAX /* "none": no limit */
#define KNOB_CPUS_MAX 64u

/* All that a new value must hold to: type, range, the room's own rules. The sentence says what is possible. */
MUST_CHECK enum status knob_check(const struct knob *k, const void *object, uint64_t value, struct error *err);
/* A value as a person writes it: true, false; a choice's name; a number with or without a unit. */
MUST_CHECK enum status knob_parse(const struct knob *k, const char *text, size_t len, uint64_t *out,
				  struct error *err);
/* The text that knob_parse() reads back: a number in its unit without prefix. Returns @buf of KNOB_TEXT_MAX bytes. */
const char *knob_text(const struct knob *k, uint64_t value, char *buf);
/* "bool", "number", "choice", "cpus". */
const char *knob_type_name(enum knob_type type);
/*
 * Reads "0-3,6": CPUs and ranges of them, with commas between, rising or not; "any" is the empty set. Says what is
 * wrong.
 */
MUST_CHECK enum status knob_parse_cpus(const char *text, size_t len, uint64_t *out, struct error *err);
/* The index of choice @text; false when there is none. */
bool knob_choice(const struct knob *k, const char *text, size_t len, uint64_t *out);

#endif
