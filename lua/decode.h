/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a map of settings in CBOR into a plain struct: one row a setting, with its
 * key, what kind of value it takes, and where it goes. A section is a setting whose value
 * is a map with rows of its own. What a VM and a pool are is read by this, from
 * scripts and from the wire; every error names the object, where it was defined,
 * and the setting.
 */
#ifndef CORBEL_LUA_DECODE_H
#define CORBEL_LUA_DECODE_H

#include "guest/config.h"
#include "lib/knob.h"
#include "lua/cbor.h"
#include "lua/define.h"

#define DECODE_PATH_MAX 64

enum decode_kind {
	KIND_TEXT,    /* of the field's size, with the NUL */
	KIND_BOOL,
	KIND_COUNT,   /* unsigned */
	KIND_SIZE,    /* uint64_t, bytes */
	KIND_SHARES,  /* uint32_t */
	KIND_PART,    /* uint64_t, millionths of one CPU; the key limit takes "none" too */
	KIND_RATE,    /* uint64_t, a plain number; the key limit takes "none" too, here and below */
	KIND_BYTE_RATE, /* uint64_t, bytes */
	KIND_BIT_RATE,  /* uint64_t, bytes a second; scripts write Mbps(100) */
	KIND_MBPS,      /* likewise, and a script's bare number counts Mbit/s */
	KIND_NUMBER32, /* uint32_t */
	KIND_TIME,    /* uint64_t, ns */
	KIND_CPUS,    /* uint64_t, a bitmap */
	KIND_CHOICE,  /* unsigned */
	KIND_OWN,     /* read by a function */
	KIND_SECTION
};

struct decoder;

struct setting {
	const char *key;
	enum decode_kind kind;
	size_t offset;      /* of its field in the struct */
	size_t size;        /* of a text's field */
	const void *detail; /* KIND_CHOICE: its names, NULL at the end; KIND_SECTION: struct section */
	enum status (*read)(struct decoder *d, const char *key, struct cbor_value v, void *field); /* KIND_OWN */
};

struct section {
	const struct setting *rows;
	size_t count;
};

struct decoder {
	const char *what;   /* it is: "VM", "pool", "network" */
	const struct define_source *src;
	void *base;         /* the struct that is filled */
	const struct knob_table *knobs; /* those of its settings that are knobs, called by what follows the first */
	size_t below;       /* characters of path, */
	uint32_t *given;    /* and a bit for each of them that was given */
	struct error *err;
	char path[DECODE_PATH_MAX]; /* "boot." inside section boot, "" at the top */
	bool reservation_given;     /* of a VM's memory */
};

#define DECODE_ROWS(rows) {rows, ARRAY_SIZE(rows)}

/* The name that is given in d->src, into @name of VM_NAME_MAX bytes; and @origin of VM_PATH_MAX. */
MUST_CHECK enum status decode_name(struct decoder *d, char *name, char *origin);
/* The whole of @v, which must be a map. */
MUST_CHECK enum status decode_settings(struct decoder *d, const struct section *top, struct cbor_value v);

/* ---- for functions of KIND_OWN ---- */

__attribute__((format(printf, 3, 4))) enum status decode_refuse(struct decoder *d, enum status st, const char *fmt, ...);
/* @v, which must be a map, by @section's rows below @key. */
MUST_CHECK enum status decode_section(struct decoder *d, const struct section *section, const char *key,
				      struct cbor_value v);
enum status decode_wrong_type(struct decoder *d, const char *key, const char *want, struct cbor_value v);
MUST_CHECK enum status decode_text(struct decoder *d, const char *key, struct cbor_value v, char *out, size_t size);
MUST_CHECK enum status decode_size(struct decoder *d, const char *key, struct cbor_value v, uint64_t *out);

/* ---- the other way ---- */

/* Leaves out an empty one. */
void encode_text(struct cbor_writer *w, const char *key, const char *text);
void encode_number(struct cbor_writer *w, const char *key, uint64_t n);
void encode_flag(struct cbor_writer *w, const char *key, bool flag);
/* The three numbers; what is as without the setting is left out, but for the shares: they are what to compare with. */
void encode_rls(struct cbor_writer *w, const struct rls *numbers);

#endif
