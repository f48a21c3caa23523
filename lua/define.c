/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One row a setting: its key, what kind of value it takes, where it goes. A
 * section is a setting whose value is a map with rows of its own. Reading a map
 * is the same walk at each level: find the row, check for a repeat, read the
 * value by kind.
 */
#include "lua/define.h"

#include <stdarg.h>
#include <string.h>

#include "guest/machine.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/api.h"
#include "lua/bridge.h"
#include "lua/hint.h"

#define PATH_MAX_BYTES 64
#define SHOWN_KEY_MAX 40

enum kind {
	KIND_TEXT, KIND_BOOL, KIND_COUNT, KIND_SIZE, KIND_RESERVATION, KIND_SHARES, KIND_PART, KIND_CPUS, KIND_CHOICE,
	KIND_MODULES, KIND_SECTION
};

struct setting {
	const char *key;
	enum kind kind;
	size_t offset;      /* in struct vm_config */
	size_t size;        /* of a text's field */
	const void *detail; /* KIND_CHOICE: its names, NULL at the end; KIND_SECTION: struct section */
};

struct section {
	const struct setting *rows;
	size_t count;
};

struct decoder {
	const struct define_source *src;
	struct vm_config cfg;
	bool reservation_given;
	struct error *err;
	char path[PATH_MAX_BYTES]; /* "boot." inside section boot, "" at the top */
};

#define AT(field) offsetof(struct vm_config, field)
#define TEXT(key, field) {key, KIND_TEXT, AT(field), sizeof ((struct vm_config *)0)->field, NULL}
#define ROWS(rows) {rows, ARRAY_SIZE(rows)}

static const char *const protocols[] = {
	[BOOT_LINUX] = "linux", [BOOT_PVH] = "pvh", [BOOT_MULTIBOOT] = "multiboot", NULL,
};

static const struct setting boot_rows[] = {
	{"protocol", KIND_CHOICE, AT(boot.protocol), 0, protocols},
	TEXT("image", boot.image),
	TEXT("initrd", boot.initrd),
	TEXT("cmdline", boot.cmdline),
	{"modules", KIND_MODULES, 0, 0, NULL},
};
static const struct setting cpu_rows[] = {
	{"count", KIND_COUNT, AT(cpu.count), 0, NULL},
	{"shares", KIND_SHARES, AT(cpu.numbers.shares), 0, NULL},
	{"reservation", KIND_PART, AT(cpu.numbers.reservation), 0, NULL},
	{"limit", KIND_PART, AT(cpu.numbers.limit), 0, NULL},
	{"affinity", KIND_CPUS, AT(cpu.affinity), 0, NULL},
	{"exclusive", KIND_BOOL, AT(cpu.exclusive), 0, NULL},
	{"latency", KIND_BOOL, AT(cpu.latency), 0, NULL},
};
static const struct setting mem_rows[] = {
	{"size", KIND_SIZE, AT(memory.size), 0, NULL},
	{"reservation", KIND_RESERVATION, AT(memory.reservation), 0, NULL},
};

static const struct section boot_section = ROWS(boot_rows);
static const struct section cpu_section = ROWS(cpu_rows);
static const struct section mem_section = ROWS(mem_rows);

static const struct setting top_rows[] = {
	{"boot", KIND_SECTION, 0, 0, &boot_section},
	{"cpu", KIND_SECTION, 0, 0, &cpu_section},
	{"mem", KIND_SECTION, 0, 0, &mem_section},
	{"on_reset", KIND_CHOICE, AT(on_reset), 0, reset_action_names},
	{"autostart", KIND_BOOL, AT(autostart), 0, NULL},
	{"acpi", KIND_BOOL, AT(acpi), 0, NULL},
	{"debug_exit", KIND_BOOL, AT(debug_exit), 0, NULL},
};
static const struct section top_section = ROWS(top_rows);

_Static_assert(sizeof(enum boot_protocol) == sizeof(unsigned) && sizeof(enum reset_action) == sizeof(unsigned),
	       "KIND_CHOICE writes an unsigned");

/* ---- errors ---- */

__attribute__((format(printf, 3, 4)))
static enum status refuse(struct decoder *d, enum status st, const char *fmt, ...)
{
	char name[VM_NAME_MAX], text[ERROR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	format_v(text, sizeof text, fmt, ap);
	va_end(ap);
	log_clean(name, sizeof name, d->src->name, d->src->name_len);
	if (d->src->origin[0])
		return fail(d->err, st, "VM %s (%.64s): %s", name, d->src->origin, text);
	return fail(d->err, st, "VM %s: %s", name, text);
}

static enum status wrong_type(struct decoder *d, const char *key, const char *want, struct cbor_value v)
{
	return refuse(d, ST_INVALID, "%s%s takes %s, not %s", d->path, key, want, cbor_type_name(cbor_type_of(v)));
}

static const char *row_key(const void *rows, size_t i)
{
	return ((const struct setting *)rows)[i].key;
}

static enum status unknown_key(struct decoder *d, const struct section *section, const char *key, size_t len)
{
	struct hint_keys known = {.key = row_key, .rows = section->rows, .count = section->count};
	char shown[SHOWN_KEY_MAX], advice[HINT_TEXT_MAX];

	log_clean(shown, sizeof shown, key, len);
	hint_for(shown, d->path, &known, advice, sizeof advice);
	return refuse(d, ST_INVALID, "unknown setting %s%s%s", d->path, shown, advice);
}

/* ---- values ---- */

static enum status copy_text(struct decoder *d, const char *key, struct cbor_value v, char *out, size_t size)
{
	const char *text;
	size_t len;

	if (!cbor_get_text(v, &text, &len))
		return wrong_type(d, key, "text", v);
	if (len >= size)
		return refuse(d, ST_INVALID, "%s%s has %zu bytes, at most %zu are possible", d->path, key, len,
			      size - 1);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return refuse(d, ST_INVALID, "%s%s holds a control character at position %zu", d->path, key,
				      i + 1);
	memcpy(out, text, len);
	out[len] = '\0';
	return ST_OK;
}

static enum status read_bool(struct decoder *d, const char *key, struct cbor_value v, bool *out)
{
	return cbor_get_bool(v, out) ? ST_OK : wrong_type(d, key, "true or false", v);
}

static enum status read_count(struct decoder *d, const char *key, struct cbor_value v, unsigned *out)
{
	uint64_t n;

	if (cbor_type_of(v) == CBOR_TAG)
		return refuse(d, ST_INVALID, "%s%s is a plain number and takes no unit", d->path, key);
	if (!cbor_get_uint(v, &n))
		return wrong_type(d, key, "a whole number", v);
	if (n > UINT16_MAX)
		return refuse(d, ST_INVALID, "%s%s is too large", d->path, key);
	*out = (unsigned)n;
	return ST_OK;
}

/* The unit function that a person who wrote the bare number @n may have meant. */
static enum status needs_unit(struct decoder *d, const char *key, uint64_t n)
{
	uint64_t mib = n >= BIT(20) && is_aligned(n, BIT(20)) ? n >> 20 : n;

	return refuse(d, ST_INVALID, "%s%s needs a unit: write MiB(%llu), not %llu", d->path, key,
		      (unsigned long long)mib, (unsigned long long)n);
}

/* A size in bytes: from a script a quantity, on the wire an integer. */
static enum status read_size(struct decoder *d, const char *key, struct cbor_value v, uint64_t *out)
{
	static const char *const kinds[UNIT_KINDS] = {[UNIT_TIME] = "a time", [UNIT_SHARE] = "a share"};
	struct cbor_value content;
	uint64_t tag, n;

	if (!cbor_get_tag(v, &tag, &content)) {
		if (!cbor_get_uint(v, &n))
			return wrong_type(d, key, d->src->units ? "a size such as MiB(128)" : "a number of bytes", v);
		if (d->src->units)
			return needs_unit(d, key, n);
		*out = n;
		return ST_OK;
	}
	if (!d->src->units || tag < BRIDGE_TAG_QUANTITY || tag >= BRIDGE_TAG_QUANTITY + UNIT_KINDS)
		return wrong_type(d, key, "a number of bytes", v);
	if (tag != BRIDGE_TAG_QUANTITY + UNIT_BYTES)
		return refuse(d, ST_INVALID, "%s%s takes a size such as MiB(128), not %s", d->path, key,
			      kinds[tag - BRIDGE_TAG_QUANTITY]);
	if (!cbor_get_uint(content, &n))
		return refuse(d, ST_INVALID, "%s%s is negative", d->path, key);
	*out = n;
	return ST_OK;
}

static enum status read_reservation(struct decoder *d, const char *key, struct cbor_value v, uint64_t *out)
{
	if (cbor_is_text(v, "all"))
		return ST_OK; /* what it is without the setting */
	if (cbor_type_of(v) == CBOR_TEXT)
		return refuse(d, ST_INVALID, "%s%s takes a size or \"all\"", d->path, key);
	d->reservation_given = true;
	return read_size(d, key, v, out);
}

/* Any whole number that fits the field; what is possible is the definition's rule. */
static enum status read_shares(struct decoder *d, const char *key, struct cbor_value v, uint32_t *out)
{
	uint64_t n;

	if (cbor_type_of(v) == CBOR_TAG)
		return refuse(d, ST_INVALID, "%s%s is a plain number and takes no unit", d->path, key);
	if (!cbor_get_uint(v, &n))
		return wrong_type(d, key, "a whole number", v);
	if (n > RLS_SHARES_MAX)
		return refuse(d, ST_INVALID, "%s%s is %llu, it can be 1 to %u", d->path, key, (unsigned long long)n,
			      RLS_SHARES_MAX);
	*out = (uint32_t)n;
	return ST_OK;
}

/* Parts of one CPU: from a script a quantity, on the wire millionths. */
static enum status read_part(struct decoder *d, const char *key, struct cbor_value v, uint64_t *out)
{
	static const char want[] = "a part of one CPU such as pct(20) or mhz(500)";
	struct cbor_value content;
	uint64_t tag, n;

	if (strcmp(key, "limit") == 0 && cbor_is_text(v, "none"))
		return ST_OK; /* what it is without the setting */
	if (!cbor_get_tag(v, &tag, &content)) {
		if (!cbor_get_uint(v, &n))
			return wrong_type(d, key, d->src->units ? want : "a number of millionths of one CPU", v);
		if (d->src->units)
			return refuse(d, ST_INVALID, "%s%s needs a unit: write pct(%llu) or mhz(...), not %llu", d->path, key,
				      (unsigned long long)n, (unsigned long long)n);
		*out = n;
		return ST_OK;
	}
	if (!d->src->units || tag != BRIDGE_TAG_QUANTITY + UNIT_SHARE)
		return refuse(d, ST_INVALID, "%s%s takes %s", d->path, key,
			      d->src->units ? want : "a number of millionths of one CPU");
	if (!cbor_get_uint(content, out))
		return refuse(d, ST_INVALID, "%s%s is negative", d->path, key);
	return ST_OK;
}

/* "0-3,6", or a list of numbers. */
static enum status read_cpus(struct decoder *d, const char *key, struct cbor_value v, uint64_t *out)
{
	struct cbor_iter it;
	struct cbor_value e;
	struct error why;
	const char *text;
	uint64_t cpu;
	size_t len;

	if (cbor_get_text(v, &text, &len))
		return knob_parse_cpus(text, len, out, &why) == ST_OK
			       ? ST_OK : refuse(d, ST_INVALID, "%s%s: %.120s", d->path, key, why.text);
	if (cbor_type_of(v) != CBOR_ARRAY || cbor_count(v) == 0 || !cbor_iterate(v, &it))
		return refuse(d, ST_INVALID, "%s%s takes CPUs such as {0, 2} or \"0-3,6\"", d->path, key);
	*out = 0;
	while (cbor_next(&it, &e)) {
		if (!cbor_get_uint(e, &cpu))
			return wrong_type(d, key, "numbers of CPUs", e);
		if (cpu >= KNOB_CPUS_MAX)
			return refuse(d, ST_INVALID, "%s%s: CPU %llu: in this version it names those up to %u", d->path, key,
				      (unsigned long long)cpu, KNOB_CPUS_MAX - 1);
		*out |= BIT(cpu);
	}
	return ST_OK;
}

static enum status read_choice(struct decoder *d, const struct setting *row, struct cbor_value v, unsigned *out)
{
	const char *const *names = row->detail;
	char all[64] = "";
	size_t len = 0;

	for (unsigned i = 0; names[i]; i++) {
		if (cbor_is_text(v, names[i])) {
			*out = i;
			return ST_OK;
		}
		len += format(all + len, sizeof all - len, "%s\"%s\"", i ? " or " : "", names[i]);
	}
	return refuse(d, ST_INVALID, "%s%s takes %s", d->path, row->key, all);
}

/* A module is its image's name, or a map of image and cmdline. */
static enum status read_module(struct decoder *d, struct cbor_value v, struct boot_module *out)
{
	struct cbor_value key, value;
	enum status st = ST_OK;
	struct cbor_iter it;

	if (cbor_type_of(v) == CBOR_TEXT)
		return copy_text(d, "modules", v, out->image, sizeof out->image);
	if (cbor_type_of(v) != CBOR_MAP || !cbor_iterate(v, &it))
		return wrong_type(d, "modules", "a list of { image = ..., cmdline = ... }", v);
	while (st == ST_OK && cbor_next_pair(&it, &key, &value)) {
		if (cbor_is_text(key, "image"))
			st = copy_text(d, "modules.image", value, out->image, sizeof out->image);
		else if (cbor_is_text(key, "cmdline"))
			st = copy_text(d, "modules.cmdline", value, out->cmdline, sizeof out->cmdline);
		else
			st = refuse(d, ST_INVALID, "a module of %smodules has image and cmdline, nothing else",
				    d->path);
	}
	return st;
}

static enum status read_modules(struct decoder *d, struct cbor_value v)
{
	struct cbor_value e;
	enum status st = ST_OK;
	struct cbor_iter it;
	bool list = cbor_type_of(v) == CBOR_ARRAY || cbor_count(v) == 0; /* Lua's {} may be either */

	if (!list || !cbor_iterate(v, &it))
		return wrong_type(d, "modules", "a list", v);
	if (cbor_count(v) > VM_MODULES_MAX)
		return refuse(d, ST_OVER_LIMIT, "%smodules has %zu entries, at most %d are possible", d->path,
			      cbor_count(v), VM_MODULES_MAX);
	while (st == ST_OK && cbor_next(&it, &e))
		st = read_module(d, e, &d->cfg.boot.modules[d->cfg.boot.module_count++]);
	return st;
}

static enum status read_section(struct decoder *d, const struct section *section, struct cbor_value v);

static enum status read_subsection(struct decoder *d, const struct setting *row, struct cbor_value v)
{
	char above[PATH_MAX_BYTES];
	enum status st;

	if (cbor_type_of(v) != CBOR_MAP)
		return wrong_type(d, row->key, "a table of settings", v);
	memcpy(above, d->path, sizeof above);
	format(d->path, sizeof d->path, "%s%s.", above, row->key);
	st = read_section(d, row->detail, v);
	memcpy(d->path, above, sizeof above);
	return st;
}

/* Remembers that the definition gave @key, when that is a knob too. */
static void note_given(struct decoder *d, const char *key)
{
	char name[PATH_MAX_BYTES];

	format(name, sizeof name, "%s%s", d->path, key);
	for (size_t i = 0; i < vm_knobs.count; i++)
		if (strcmp(vm_knobs.rows[i].name, name) == 0)
			d->cfg.given |= (uint32_t)BIT(i);
}

static enum status read_setting(struct decoder *d, const struct setting *row, struct cbor_value v)
{
	void *field = (char *)&d->cfg + row->offset;

	switch (row->kind) {
	case KIND_TEXT:
		return copy_text(d, row->key, v, field, row->size);
	case KIND_BOOL:
		return read_bool(d, row->key, v, field);
	case KIND_COUNT:
		return read_count(d, row->key, v, field);
	case KIND_SIZE:
		return read_size(d, row->key, v, field);
	case KIND_RESERVATION:
		return read_reservation(d, row->key, v, field);
	case KIND_SHARES:
		return read_shares(d, row->key, v, field);
	case KIND_PART:
		return read_part(d, row->key, v, field);
	case KIND_CPUS:
		return read_cpus(d, row->key, v, field);
	case KIND_CHOICE:
		return read_choice(d, row, v, field);
	case KIND_MODULES:
		return read_modules(d, v);
	case KIND_SECTION:
		return read_subsection(d, row, v);
	}
	return ST_UNSUPPORTED;
}

static const struct setting *find_row(const struct section *section, struct cbor_value key)
{
	for (size_t i = 0; i < section->count; i++)
		if (cbor_is_text(key, section->rows[i].key))
			return &section->rows[i];
	return NULL;
}

static enum status read_section(struct decoder *d, const struct section *section, struct cbor_value v)
{
	struct cbor_value key, value;
	struct cbor_iter it;
	uint64_t seen = 0;

	if (!cbor_iterate(v, &it))
		return ST_INVALID;
	while (cbor_next_pair(&it, &key, &value)) {
		const struct setting *row = find_row(section, key);
		const char *text;
		size_t len;
		enum status st;

		if (!cbor_get_text(key, &text, &len))
			return refuse(d, ST_INVALID, "a setting's name is %s, not text",
				      cbor_type_name(cbor_type_of(key)));
		if (!row)
			return unknown_key(d, section, text, len);
		if (seen & BIT(row - section->rows))
			return refuse(d, ST_INVALID, "%s%s is given twice", d->path, row->key);
		seen |= BIT(row - section->rows);
		note_given(d, row->key);
		st = read_setting(d, row, value);
		if (st != ST_OK)
			return st;
	}
	return ST_OK;
}

/* ---- the whole ---- */

static enum status take_name(struct decoder *d)
{
	if (d->src->name_len >= sizeof d->cfg.name)
		return refuse(d, ST_INVALID, "the name has %zu characters, at most %zu are possible", d->src->name_len,
			      sizeof d->cfg.name - 1);
	memcpy(d->cfg.name, d->src->name, d->src->name_len);
	if (memchr(d->cfg.name, '\0', d->src->name_len))
		return refuse(d, ST_INVALID, "the name holds a NUL");
	format(d->cfg.origin, sizeof d->cfg.origin, "%s", d->src->origin);
	return ST_OK;
}

enum status define_decode(const struct define_source *src, struct cbor_value settings, struct vm_config *out,
			  struct error *err)
{
	struct decoder d = {.src = src, .err = err};
	enum status st;

	vm_config_init(&d.cfg);
	st = take_name(&d);
	if (st != ST_OK)
		return st;
	if (cbor_type_of(settings) != CBOR_MAP)
		return refuse(&d, ST_INVALID, "its settings are %s, not a table",
			      cbor_type_name(cbor_type_of(settings)));
	st = read_section(&d, &top_section, settings);
	if (st != ST_OK)
		return st;
	if (!d.reservation_given)
		d.cfg.memory.reservation = d.cfg.memory.size;
	st = vm_config_check(&d.cfg, err);
	if (st != ST_OK)
		return st;
	*out = d.cfg;
	return ST_OK;
}

static void put_text_field(struct cbor_writer *w, const char *key, const char *text)
{
	if (!text[0])
		return;
	cbor_put_text(w, key);
	cbor_put_text(w, text);
}

static void put_boot(const struct vm_config *cfg, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w), list;

	put_text_field(w, "protocol", protocols[cfg->boot.protocol]);
	put_text_field(w, "image", cfg->boot.image);
	put_text_field(w, "initrd", cfg->boot.initrd);
	put_text_field(w, "cmdline", cfg->boot.cmdline);
	if (cfg->boot.module_count) {
		cbor_put_text(w, "modules");
		list = cbor_open(w);
		for (unsigned i = 0; i < cfg->boot.module_count; i++) {
			struct cbor_mark module = cbor_open(w);

			put_text_field(w, "image", cfg->boot.modules[i].image);
			put_text_field(w, "cmdline", cfg->boot.modules[i].cmdline);
			cbor_close_map(w, module);
		}
		cbor_close_array(w, list);
	}
	cbor_close_map(w, map);
}

static void put_number(struct cbor_writer *w, const char *key, uint64_t n)
{
	cbor_put_text(w, key);
	cbor_put_uint(w, n);
}

static void put_flag(struct cbor_writer *w, const char *key, bool flag)
{
	cbor_put_text(w, key);
	cbor_put_bool(w, flag);
}

/* What is as without the setting is left out, but for the shares: they are what to compare with. */
static void put_cpu(const struct vm_config *cfg, struct cbor_writer *w)
{
	static const struct knob cpus = {.type = KNOB_CPUS};
	char text[KNOB_TEXT_MAX];

	put_number(w, "count", cfg->cpu.count);
	put_number(w, "shares", cfg->cpu.numbers.shares);
	if (cfg->cpu.numbers.reservation)
		put_number(w, "reservation", cfg->cpu.numbers.reservation);
	if (cfg->cpu.numbers.limit != RLS_UNLIMITED)
		put_number(w, "limit", cfg->cpu.numbers.limit);
	if (cfg->cpu.affinity)
		put_text_field(w, "affinity", knob_text(&cpus, cfg->cpu.affinity, text));
	if (cfg->cpu.exclusive)
		put_flag(w, "exclusive", true);
	if (cfg->cpu.latency)
		put_flag(w, "latency", true);
}

void define_encode(const struct vm_config *cfg, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w), sub;

	cbor_put_text(w, "boot");
	put_boot(cfg, w);
	cbor_put_text(w, "cpu");
	sub = cbor_open(w);
	put_cpu(cfg, w);
	cbor_close_map(w, sub);
	cbor_put_text(w, "mem");
	sub = cbor_open(w);
	put_number(w, "size", cfg->memory.size);
	put_number(w, "reservation", cfg->memory.reservation);
	cbor_close_map(w, sub);
	put_text_field(w, "on_reset", reset_action_names[cfg->on_reset]);
	put_flag(w, "autostart", cfg->autostart);
	put_flag(w, "acpi", cfg->acpi);
	put_flag(w, "debug_exit", cfg->debug_exit);
	cbor_close_map(w, map);
}
