/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what somebody wrote to a checked change: find the knob, read the value by
 * its type, hold it to the declaration and the session's role.
 */
#include "lua/change.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/api.h"
#include "lua/bridge.h"
#include "lua/control_internal.h"

enum status change_find(struct control *c, const char *path, size_t len, struct tree_item *out, struct error *err)
{
	struct tree_item item;
	enum status st = tree_find(c, path, len, &item, err);
	char name[TREE_PATH_MAX];

	if (st != ST_OK)
		return st;
	if (!item_knob(&item)) {
		tree_path(&item, name);
		return fail(err, ST_INVALID, "%s is a counter, not a setting", name);
	}
	*out = item;
	return ST_OK;
}

/* ---- values ---- */

/* What a script writes for a number of some measure. */
static const struct measure_kind {
	enum unit_kind unit;
	const char *what, *example;
} measure_kinds[] = {
	{UNIT_BYTES, "a size such as MiB(128)", "MiB(128)"},
	{UNIT_TIME, "a time such as ms(5)", "ms(5)"},
	{UNIT_SHARE, "a part of one CPU such as pct(20) or mhz(500)", "pct(20) or mhz(500)"},
	{UNIT_RATE, "a rate such as Mbps(100)", "Mbps(100)"},
};

static const struct measure_kind *kind_of(const struct knob *k)
{
	switch (k->measure) {
	case MEASURE_NS:
		return &measure_kinds[1];
	case MEASURE_PPM:
		return &measure_kinds[2];
	case MEASURE_RATE:
		return &measure_kinds[3];
	default:
		return &measure_kinds[0];
	}
}

/* A script's bare number where a unit belongs. */
static enum status needs_unit(const struct knob *k, uint64_t n, struct error *err)
{
	return fail(err, ST_INVALID, "it needs a unit: write for example %s, not %llu", kind_of(k)->example,
		    (unsigned long long)n);
}

static bool has_unit(const struct knob *k)
{
	return measure_unit(k->measure)[0] != '\0';
}

/* A quantity of a script's: MiB(128). */
static enum status read_quantity(const struct knob *k, uint64_t tag, struct cbor_value content, uint64_t *out,
				 struct error *err)
{
	if (!has_unit(k))
		return fail(err, ST_INVALID, "it takes a plain number without a unit");
	if (tag != BRIDGE_TAG_QUANTITY + (uint64_t)kind_of(k)->unit)
		return fail(err, ST_INVALID, "it takes %s", kind_of(k)->what);
	return cbor_get_uint(content, out) ? ST_OK : fail(err, ST_INVALID, "it is negative");
}

static enum status wrong_type(const struct knob *k, struct cbor_value v, struct error *err)
{
	static const char *const wanted[] = {
		[KNOB_BOOL] = "true or false", [KNOB_NUMBER] = "a whole number", [KNOB_CHOICE] = "a word",
		[KNOB_CPUS] = "CPUs such as \"0-3,6\"",
	};

	return fail(err, ST_INVALID, "it takes %s, not %s", wanted[k->type], cbor_type_name(cbor_type_of(v)));
}

static enum status read_number(const struct knob *k, struct cbor_value v, bool units, uint64_t *out,
			       struct error *err)
{
	struct cbor_value content;
	uint64_t tag;

	if (cbor_get_tag(v, &tag, &content))
		return units ? read_quantity(k, tag, content, out, err) : wrong_type(k, v, err);
	if (!cbor_get_uint(v, out))
		return wrong_type(k, v, err);
	return units && has_unit(k) ? needs_unit(k, *out, err) : ST_OK;
}

static enum status read_value(const struct knob *k, struct cbor_value v, bool units, uint64_t *out, struct error *err)
{
	const char *text;
	size_t len;
	bool yes;

	/* Text is how a person or a stock client writes any value; Lua has the values themselves. */
	if ((!units || k->type == KNOB_CHOICE || k->type == KNOB_CPUS || k->none) &&
	    (cbor_get_text(v, &text, &len) || cbor_get_bytes(v, (const uint8_t **)&text, &len)))
		return knob_parse(k, text, len, out, err);
	if (k->type == KNOB_NUMBER)
		return read_number(k, v, units, out, err);
	if (k->type != KNOB_BOOL || !cbor_get_bool(v, &yes))
		return wrong_type(k, v, err);
	*out = yes;
	return ST_OK;
}

/* ---- the whole ---- */

enum status change_allowed(struct control *c, const struct tree_item *item, struct error *err)
{
	enum role least = item_knob(item)->by == KNOB_OWNER ? ROLE_OWNER : ROLE_OPERATOR;

	if (!session_is(c, least))
		return fail(err, ST_DENIED, "only the %s sets it", role_name(least));
	if (!session_may(c, item->table.vm))
		return fail(err, ST_DENIED, "the key %s has no rights on it", c->session.who);
	return ST_OK;
}

static enum status check_why(const struct change_request *r, struct error *err)
{
	if (r->why_len >= SETTINGS_WHY_MAX)
		return fail(err, ST_INVALID, "why has %zu bytes, at most %u are possible", r->why_len,
			    SETTINGS_WHY_MAX - 1);
	return ST_OK;
}

enum status change_decode(struct control *c, const struct change_request *r, struct setting_change *out,
			  struct error *err)
{
	struct setting_change change = {.for_ns = r->for_ns, .origin = r->script ? ORIGIN_SCRIPT : ORIGIN_OPERATOR};
	struct error why = {""};
	char path[TREE_PATH_MAX];
	enum status st = change_find(c, r->path, r->path_len, &change.item, err);

	if (st != ST_OK)
		return st;
	st = r->script ? ST_OK : change_allowed(c, &change.item, &why);
	if (st == ST_OK)
		st = check_why(r, &why);
	if (st == ST_OK)
		st = read_value(item_knob(&change.item), r->value, r->units, &change.value, &why);
	if (st != ST_OK) {
		tree_path(&change.item, path);
		return fail(err, st, "%s: %.140s", path, why.text);
	}
	format(change.where, sizeof change.where, "%s", r->where);
	log_clean(change.why, sizeof change.why, r->why ? r->why : "", r->why_len);
	st = settings_check(c, &change, err);
	if (st == ST_OK)
		*out = change;
	return st;
}

void change_apply(struct control *c, const struct setting_change *change)
{
	const struct knob *k = item_knob(&change->item);
	char path[TREE_PATH_MAX], before[KNOB_TEXT_MAX], after[KNOB_TEXT_MAX], time[KNOB_TEXT_MAX];
	struct setting_state old;

	settings_state(c, &change->item, &old);
	settings_apply(c, change);
	tree_path(&change->item, path);
	if (change->for_ns)
		events_post(&c->events, EVENT_OVERRIDE_SET, change->item.table.vm, "%s: %s for %s", path,
			    knob_text(k, change->value, after),
			    measure_format(MEASURE_NS, change->for_ns, time, sizeof time));
	audit_setting(c, change->where, path, knob_text(k, old.next_value, before), knob_text(k, change->value, after));
	log_info("setting %s: %s, was %s%s%s%s%s%s%s", path, knob_text(k, change->value, after),
		 knob_text(k, old.next_value, before), change->for_ns ? ", for " : "",
		 change->for_ns ? measure_format(MEASURE_NS, change->for_ns, time, sizeof time) : "",
		 change->where[0] ? ", by " : "", change->where, change->why[0] ? ": " : "", change->why);
}

void change_reset(struct control *c, const struct tree_item *item, const char *where)
{
	const struct knob *k = item_knob(item);
	char path[TREE_PATH_MAX], text[KNOB_TEXT_MAX], before[KNOB_TEXT_MAX];
	struct setting_state old, now;

	settings_state(c, item, &old);
	settings_reset(c, item);
	settings_state(c, item, &now);
	tree_path(item, path);
	audit_setting(c, where, path, knob_text(k, old.next_value, before), knob_text(k, now.next_value, text));
	log_info("setting %s: unset, %s counts again", path, knob_text(k, now.next_value, text));
}
