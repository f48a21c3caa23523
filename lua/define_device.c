/* SPDX-License-Identifier: Apache-2.0 */
/* See define_device.h. */
#include "lua/define_device.h"

#include <string.h>

#include "lib/format.h"
#include "lib/log.h"

#define NAME_MAX 32 /* with the NUL, of any device */

enum status define_read_device_word(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	(void)field;
	if (cbor_is_text(v, DEVICE_WORD))
		return ST_OK;
	return decode_refuse(d, ST_INVALID, "%s%s takes \"" DEVICE_WORD "\": this version has no other", d->path, key);
}

enum status define_check_device(struct decoder *d, const char *name, struct cbor_value v, const char *example)
{
	struct cbor_value ignored;

	if (cbor_type_of(v) != CBOR_MAP)
		return decode_refuse(d, ST_INVALID, "%s%s takes " DEVICE_WORD " { %s = ... }, not %s", d->path, name,
				     example, cbor_type_name(cbor_type_of(v)));
	if (cbor_find(v, "device", &ignored))
		return ST_OK;
	if (d->src->units)
		return decode_refuse(d, ST_INVALID, "%s%s is no device: write %s = " DEVICE_WORD " { %s = ... }",
				     d->path, name, name, example);
	return decode_refuse(d, ST_INVALID, "%s%s has no device: it is \"" DEVICE_WORD "\" in this version", d->path,
			     name);
}

enum status define_read_device(struct decoder *d, const char *name, struct cbor_value v, const struct device_rows *rows)
{
	struct decoder vm = *d;
	enum status st;

	d->base = rows->base;
	d->given = rows->given;
	d->knobs = rows->knobs;
	d->below = strlen(d->path) + strlen(name) + 1;
	st = decode_section(d, rows->section, name, v);
	d->base = vm.base;
	d->given = vm.given;
	d->knobs = vm.knobs;
	d->below = vm.below;
	return st;
}

static enum status read_name(struct decoder *d, struct cbor_value key, const struct device_kind *kind, char out[NAME_MAX])
{
	char shown[NAME_MAX + 12];
	const char *text;
	size_t len;

	if (!cbor_get_text(key, &text, &len))
		return decode_refuse(d, ST_INVALID, "a %s's name is %s, not text", kind->what,
				     cbor_type_name(cbor_type_of(key)));
	if (len >= kind->name_bytes)
		return decode_refuse(d, ST_INVALID, "%s%s: the name is longer than %zu characters", d->path,
				     log_clean(shown, sizeof shown, text, len), kind->name_bytes - 1);
	if (len == 0 || memchr(text, '\0', len))
		return decode_refuse(d, ST_INVALID, "a %s's name is empty, or holds a NUL", kind->what);
	log_clean(out, kind->name_bytes, text, len);
	return ST_OK;
}

enum status define_read_devices(struct decoder *d, const char *key, struct cbor_value v, const struct device_kind *kind)
{
	bool none = cbor_type_of(v) == CBOR_ARRAY && cbor_count(v) == 0; /* Lua's {} may be either */
	char above[DECODE_PATH_MAX], name[NAME_MAX], want[80];
	struct cbor_value k, value;
	enum status st = ST_OK;
	struct cbor_iter it;

	if (none)
		return ST_OK;
	if (cbor_type_of(v) != CBOR_MAP || !cbor_iterate(v, &it)) {
		format(want, sizeof want, "%s by their names, as in { %s = " DEVICE_WORD " { %s = ... } }", kind->plural,
		       kind->name_example, kind->example);
		return decode_wrong_type(d, key, want, v);
	}
	if (cbor_count(v) > kind->max)
		return decode_refuse(d, ST_OVER_LIMIT, "%s%s has %zu %s, at most %u are possible", d->path, key,
				     cbor_count(v), kind->plural, kind->max);
	memcpy(above, d->path, sizeof above);
	format(d->path, sizeof d->path, "%s%s.", above, key);
	while (st == ST_OK && cbor_next_pair(&it, &k, &value)) {
		st = read_name(d, k, kind, name);
		if (st == ST_OK)
			st = kind->read(d, name, value);
	}
	memcpy(d->path, above, sizeof above);
	return st;
}

void define_put_interrupts(const struct coalesce_settings *set, const char *rate, struct cbor_writer *w)
{
	struct coalesce_settings plain;
	struct cbor_mark map;

	coalesce_settings_init(&plain);
	if (set->policy == plain.policy && set->iops_min == plain.iops_min && set->cif_min == plain.cif_min &&
	    set->epoch_ns == plain.epoch_ns && set->gap_ns == plain.gap_ns)
		return;
	cbor_put_text(w, "interrupts");
	map = cbor_open(w);
	if (set->policy != plain.policy)
		encode_text(w, "policy", coalesce_policy_names[set->policy]);
	if (set->iops_min != plain.iops_min)
		encode_number(w, rate, set->iops_min);
	if (set->cif_min != plain.cif_min)
		encode_number(w, "cif_min", set->cif_min);
	if (set->epoch_ns != plain.epoch_ns)
		encode_number(w, "epoch", set->epoch_ns);
	if (set->gap_ns != plain.gap_ns)
		encode_number(w, "gap", set->gap_ns);
	cbor_close_map(w, map);
}
