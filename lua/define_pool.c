/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of a pool's settings (lua/decode.h), and the way back. */
#include <string.h>

#include "guest/pool.h"
#include "lib/bits.h"
#include "lua/decode.h"

#define AT(field) offsetof(struct pool_config, field)

static const struct setting cpu_rows[] = {
	{"shares", KIND_SHARES, AT(cpu.numbers.shares), 0, NULL, NULL},
	{"reservation", KIND_PART, AT(cpu.numbers.reservation), 0, NULL, NULL},
	{"limit", KIND_PART, AT(cpu.numbers.limit), 0, NULL, NULL},
};
static const struct section cpu_section = DECODE_ROWS(cpu_rows);

static const struct setting iops_rows[] = {
	{"shares", KIND_SHARES, AT(io.numbers.shares), 0, NULL, NULL},
	{"reservation", KIND_RATE, AT(io.numbers.reservation), 0, NULL, NULL},
	{"limit", KIND_RATE, AT(io.numbers.limit), 0, NULL, NULL},
};
static const struct setting bandwidth_rows[] = {
	{"shares", KIND_SHARES, AT(io.numbers.shares), 0, NULL, NULL},
	{"reservation", KIND_BYTE_RATE, AT(io.numbers.reservation), 0, NULL, NULL},
	{"limit", KIND_BYTE_RATE, AT(io.numbers.limit), 0, NULL, NULL},
};
static const struct section io_sections[VM_DISK_UNITS] = {
	[VM_DISK_IOPS] = DECODE_ROWS(iops_rows), [VM_DISK_BYTES] = DECODE_ROWS(bandwidth_rows),
};

/* Its knobs stand in for the others' meanwhile. Numbers of another unit say nothing about this one. */
static enum status read_io(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	struct pool_config *cfg = d->base;
	enum vm_disk_unit unit = strcmp(key, vm_disk_unit_names[VM_DISK_IOPS]) == 0 ? VM_DISK_IOPS : VM_DISK_BYTES;
	enum status st;

	(void)field;
	if (unit != cfg->io.unit)
		cfg->io.numbers = (struct rls){.limit = RLS_UNLIMITED, .shares = RLS_SHARES_DEFAULT};
	cfg->io.unit = unit;
	d->knobs = &pool_io_knobs[unit];
	d->given = &cfg->io.given;
	st = decode_section(d, &io_sections[unit], key, v);
	d->knobs = &pool_knobs;
	d->given = &cfg->given;
	return st;
}

static const struct setting mbps_rows[] = {
	{"shares", KIND_SHARES, AT(net.numbers.shares), 0, NULL, NULL},
	{"reservation", KIND_MBPS, AT(net.numbers.reservation), 0, NULL, NULL},
	{"limit", KIND_MBPS, AT(net.numbers.limit), 0, NULL, NULL},
};
static const struct section mbps_section = DECODE_ROWS(mbps_rows);

/* As with storage, its knobs stand in meanwhile. */
static enum status read_mbps(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	struct pool_config *cfg = d->base;
	enum status st;

	(void)field;
	d->knobs = &pool_net_knobs;
	d->given = &cfg->net.given;
	st = decode_section(d, &mbps_section, key, v);
	d->knobs = &pool_knobs;
	d->given = &cfg->given;
	return st;
}

static const struct setting top_rows[] = {
	{"parent", KIND_TEXT, AT(parent), sizeof ((struct pool_config *)0)->parent, NULL, NULL},
	{"cpu", KIND_SECTION, 0, 0, &cpu_section, NULL},
	{"iops", KIND_OWN, 0, 0, NULL, read_io},
	{"bandwidth", KIND_OWN, 0, 0, NULL, read_io},
	{"mbps", KIND_OWN, 0, 0, NULL, read_mbps},
};
static const struct section top_section = DECODE_ROWS(top_rows);

enum status define_decode_pool(const struct define_source *src, struct cbor_value settings, const struct pool_config *from,
			       struct pool_config *out, struct error *err)
{
	struct cbor_value ignored;
	struct pool_config cfg;
	struct decoder d = {
		.what = "pool", .src = src, .base = &cfg, .knobs = &pool_knobs, .given = &cfg.given, .err = err,
	};
	enum status st;

	if (from)
		cfg = *from;
	else
		pool_config_init(&cfg);
	st = decode_name(&d, cfg.name, cfg.origin);
	if (st == ST_OK)
		st = decode_settings(&d, &top_section, settings);
	if (st == ST_OK && cbor_find(settings, "iops", &ignored) && cbor_find(settings, "bandwidth", &ignored))
		st = decode_refuse(&d, ST_INVALID, "iops conflicts with bandwidth: its disks are held to one of them");
	if (st != ST_OK)
		return st;
	if (strcmp(cfg.parent, POOL_ROOT) == 0)
		cfg.parent[0] = '\0';
	st = pool_config_check(&cfg, err);
	if (st == ST_OK)
		*out = cfg;
	return st;
}

void define_encode_pool(const struct pool_config *cfg, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w), sub;

	encode_text(w, "parent", cfg->parent);
	cbor_put_text(w, "cpu");
	sub = cbor_open(w);
	encode_rls(w, &cfg->cpu.numbers);
	cbor_close_map(w, sub);
	if (cfg->io.unit != VM_DISK_IOPS || cfg->io.numbers.shares != RLS_SHARES_DEFAULT || cfg->io.numbers.reservation ||
	    cfg->io.numbers.limit != RLS_UNLIMITED) {
		cbor_put_text(w, vm_disk_unit_names[cfg->io.unit]);
		sub = cbor_open(w);
		encode_rls(w, &cfg->io.numbers);
		cbor_close_map(w, sub);
	}
	if (cfg->net.numbers.shares != RLS_SHARES_DEFAULT || cfg->net.numbers.reservation ||
	    cfg->net.numbers.limit != RLS_UNLIMITED) {
		cbor_put_text(w, "mbps");
		sub = cbor_open(w);
		encode_rls(w, &cfg->net.numbers);
		cbor_close_map(w, sub);
	}
	cbor_close_map(w, map);
}
