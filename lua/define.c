/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of a VM's settings (lua/decode.h), what is particular in them, and the way back. */
#include "lua/define.h"

#include <string.h>

#include "guest/machine.h"
#include "lib/bits.h"
#include "lua/define_disk.h"
#include "lua/define_net.h"

#define AT(field) offsetof(struct vm_config, field)
#define TEXT(key, field) {key, KIND_TEXT, AT(field), sizeof ((struct vm_config *)0)->field, NULL, NULL}

static const char *const protocols[] = {
	[BOOT_LINUX] = "linux", [BOOT_PVH] = "pvh", [BOOT_MULTIBOOT] = "multiboot", NULL,
};

/* ---- what is particular ---- */

static enum status read_reservation(struct decoder *d, const char *key, struct cbor_value v, void *out)
{
	if (cbor_is_text(v, "all"))
		return ST_OK; /* what it is without the setting */
	if (cbor_type_of(v) == CBOR_TEXT)
		return decode_refuse(d, ST_INVALID, "%s%s takes a size or \"all\"", d->path, key);
	d->reservation_given = true;
	return decode_size(d, key, v, out);
}

/* A module is its image's name, or a map of image and cmdline. */
static enum status read_module(struct decoder *d, struct cbor_value v, struct boot_module *out)
{
	struct cbor_value key, value;
	enum status st = ST_OK;
	struct cbor_iter it;

	if (cbor_type_of(v) == CBOR_TEXT)
		return decode_text(d, "modules", v, out->image, sizeof out->image);
	if (cbor_type_of(v) != CBOR_MAP || !cbor_iterate(v, &it))
		return decode_wrong_type(d, "modules", "a list of { image = ..., cmdline = ... }", v);
	while (st == ST_OK && cbor_next_pair(&it, &key, &value)) {
		if (cbor_is_text(key, "image"))
			st = decode_text(d, "modules.image", value, out->image, sizeof out->image);
		else if (cbor_is_text(key, "cmdline"))
			st = decode_text(d, "modules.cmdline", value, out->cmdline, sizeof out->cmdline);
		else
			st = decode_refuse(d, ST_INVALID, "a module of %smodules has image and cmdline, nothing else",
					   d->path);
	}
	return st;
}

static enum status read_modules(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	struct vm_config *cfg = d->base;
	struct cbor_value e;
	enum status st = ST_OK;
	struct cbor_iter it;
	bool list = cbor_type_of(v) == CBOR_ARRAY || cbor_count(v) == 0; /* Lua's {} may be either */

	(void)key;
	(void)field;
	if (!list || !cbor_iterate(v, &it))
		return decode_wrong_type(d, "modules", "a list", v);
	if (cbor_count(v) > VM_MODULES_MAX)
		return decode_refuse(d, ST_OVER_LIMIT, "%smodules has %zu entries, at most %d are possible", d->path,
				     cbor_count(v), VM_MODULES_MAX);
	while (st == ST_OK && cbor_next(&it, &e))
		st = read_module(d, e, &cfg->boot.modules[cfg->boot.module_count++]);
	return st;
}

/* ---- the rows ---- */

static const struct setting boot_rows[] = {
	{"protocol", KIND_CHOICE, AT(boot.protocol), 0, protocols, NULL},
	TEXT("image", boot.image),
	TEXT("initrd", boot.initrd),
	TEXT("cmdline", boot.cmdline),
	{"modules", KIND_OWN, 0, 0, NULL, read_modules},
};
static const struct setting cpu_rows[] = {
	{"count", KIND_COUNT, AT(cpu.count), 0, NULL, NULL},
	{"shares", KIND_SHARES, AT(cpu.numbers.shares), 0, NULL, NULL},
	{"reservation", KIND_PART, AT(cpu.numbers.reservation), 0, NULL, NULL},
	{"limit", KIND_PART, AT(cpu.numbers.limit), 0, NULL, NULL},
	{"affinity", KIND_CPUS, AT(cpu.affinity), 0, NULL, NULL},
	{"exclusive", KIND_BOOL, AT(cpu.exclusive), 0, NULL, NULL},
	{"latency", KIND_BOOL, AT(cpu.latency), 0, NULL, NULL},
};
static const struct setting mem_rows[] = {
	{"size", KIND_SIZE, AT(memory.size), 0, NULL, NULL},
	{"reservation", KIND_OWN, AT(memory.reservation), 0, NULL, read_reservation},
	{"balloon", KIND_SIZE, AT(memory.balloon), 0, NULL, NULL},
};

static const struct section boot_section = DECODE_ROWS(boot_rows);
static const struct section cpu_section = DECODE_ROWS(cpu_rows);
static const struct section mem_section = DECODE_ROWS(mem_rows);

static const struct setting top_rows[] = {
	{"boot", KIND_SECTION, 0, 0, &boot_section, NULL},
	{"cpu", KIND_SECTION, 0, 0, &cpu_section, NULL},
	{"mem", KIND_SECTION, 0, 0, &mem_section, NULL},
	{"disk", KIND_OWN, 0, 0, NULL, define_read_disks},
	{"net", KIND_OWN, 0, 0, NULL, define_read_nics},
	{"rng", KIND_BOOL, AT(rng), 0, NULL, NULL},
	{"balloon", KIND_BOOL, AT(balloon), 0, NULL, NULL},
	{"console", KIND_CHOICE, AT(console), 0, console_kind_names, NULL},
	TEXT("pool", pool),
	{"on_reset", KIND_CHOICE, AT(on_reset), 0, reset_action_names, NULL},
	{"autostart", KIND_BOOL, AT(autostart), 0, NULL, NULL},
	{"acpi", KIND_BOOL, AT(acpi), 0, NULL, NULL},
	{"debug_exit", KIND_BOOL, AT(debug_exit), 0, NULL, NULL},
};
static const struct section top_section = DECODE_ROWS(top_rows);

#define IS_CHOICE(type) _Static_assert(sizeof(type) == sizeof(unsigned), "KIND_CHOICE writes an unsigned")
IS_CHOICE(enum boot_protocol);
IS_CHOICE(enum reset_action);
IS_CHOICE(enum console_kind);

/* ---- the whole ---- */

enum status define_decode(const struct define_source *src, struct cbor_value settings, struct vm_config *out,
			  struct error *err)
{
	struct vm_config cfg;
	struct decoder d = {
		.what = "VM", .src = src, .base = &cfg, .knobs = &vm_knobs, .given = &cfg.given, .err = err,
	};
	enum status st;

	vm_config_init(&cfg);
	st = decode_name(&d, cfg.name, cfg.origin);
	if (st == ST_OK)
		st = decode_settings(&d, &top_section, settings);
	if (st != ST_OK)
		return st;
	if (!d.reservation_given)
		cfg.memory.reservation = cfg.memory.size;
	if (strcmp(cfg.pool, POOL_ROOT) == 0)
		cfg.pool[0] = '\0';
	st = vm_config_check(&cfg, err);
	if (st != ST_OK)
		return st;
	*out = cfg;
	return ST_OK;
}

static void put_boot(const struct vm_config *cfg, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w), list;

	encode_text(w, "protocol", protocols[cfg->boot.protocol]);
	encode_text(w, "image", cfg->boot.image);
	encode_text(w, "initrd", cfg->boot.initrd);
	encode_text(w, "cmdline", cfg->boot.cmdline);
	if (cfg->boot.module_count) {
		cbor_put_text(w, "modules");
		list = cbor_open(w);
		for (unsigned i = 0; i < cfg->boot.module_count; i++) {
			struct cbor_mark module = cbor_open(w);

			encode_text(w, "image", cfg->boot.modules[i].image);
			encode_text(w, "cmdline", cfg->boot.modules[i].cmdline);
			cbor_close_map(w, module);
		}
		cbor_close_array(w, list);
	}
	cbor_close_map(w, map);
}

/* What is as without the setting is left out, but for the shares: they are what to compare with. */
static void put_cpu(const struct vm_config *cfg, struct cbor_writer *w)
{
	static const struct knob cpus = {.type = KNOB_CPUS};
	char text[KNOB_TEXT_MAX];

	encode_number(w, "count", cfg->cpu.count);
	encode_rls(w, &cfg->cpu.numbers);
	if (cfg->cpu.affinity)
		encode_text(w, "affinity", knob_text(&cpus, cfg->cpu.affinity, text));
	if (cfg->cpu.exclusive)
		encode_flag(w, "exclusive", true);
	if (cfg->cpu.latency)
		encode_flag(w, "latency", true);
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
	encode_text(w, "pool", cfg->pool);
	cbor_put_text(w, "mem");
	sub = cbor_open(w);
	encode_number(w, "size", cfg->memory.size);
	encode_number(w, "reservation", cfg->memory.reservation);
	if (cfg->memory.balloon)
		encode_number(w, "balloon", cfg->memory.balloon);
	cbor_close_map(w, sub);
	define_put_disks(cfg, w);
	define_put_nics(cfg, w);
	encode_flag(w, "rng", cfg->rng);
	encode_flag(w, "balloon", cfg->balloon);
	encode_text(w, "console", console_kind_names[cfg->console]);
	encode_text(w, "on_reset", reset_action_names[cfg->on_reset]);
	encode_flag(w, "autostart", cfg->autostart);
	encode_flag(w, "acpi", cfg->acpi);
	encode_flag(w, "debug_exit", cfg->debug_exit);
	cbor_close_map(w, map);
}
