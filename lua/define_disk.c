/* SPDX-License-Identifier: Apache-2.0 */
/* See define_disk.h. */
#include "lua/define_disk.h"

#include <string.h>

#include "guest/vm_disk.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lua/define_device.h"

#define AT(field) offsetof(struct vm_disk, field)
#define INTERRUPTS_FROM "iops_min"

/* ---- the rows ---- */

static const struct setting iops_rows[] = {
	{"shares", KIND_SHARES, AT(numbers.shares), 0, NULL, NULL},
	{"reservation", KIND_RATE, AT(numbers.reservation), 0, NULL, NULL},
	{"limit", KIND_RATE, AT(numbers.limit), 0, NULL, NULL},
};
static const struct setting bandwidth_rows[] = {
	{"shares", KIND_SHARES, AT(numbers.shares), 0, NULL, NULL},
	{"reservation", KIND_BYTE_RATE, AT(numbers.reservation), 0, NULL, NULL},
	{"limit", KIND_BYTE_RATE, AT(numbers.limit), 0, NULL, NULL},
};
static const struct section sections[VM_DISK_UNITS] = {
	[VM_DISK_IOPS] = DECODE_ROWS(iops_rows), [VM_DISK_BYTES] = DECODE_ROWS(bandwidth_rows),
};

static enum status read_numbers(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	struct vm_disk *disk = d->base;

	(void)field;
	disk->unit = strcmp(key, vm_disk_unit_names[VM_DISK_IOPS]) == 0 ? VM_DISK_IOPS : VM_DISK_BYTES;
	d->knobs = &vm_disk_knobs[disk->unit];
	return decode_section(d, &sections[disk->unit], key, v);
}

/* The same knobs in both tables; a row's place in them is the same too. */
static const struct setting interrupt_rows[] = DEFINE_INTERRUPT_ROWS(struct vm_disk, INTERRUPTS_FROM);
static const struct section interrupt_section = DECODE_ROWS(interrupt_rows);

static const struct setting disk_rows[] = {
	{"device", KIND_OWN, 0, 0, NULL, define_read_device_word},
	{"volume", KIND_TEXT, AT(volume), sizeof ((struct vm_disk *)0)->volume, NULL, NULL},
	{"readonly", KIND_BOOL, AT(read_only), 0, NULL, NULL},
	{"serial", KIND_TEXT, AT(serial), sizeof ((struct vm_disk *)0)->serial, NULL, NULL},
	{"queues", KIND_COUNT, AT(queues), 0, NULL, NULL},
	{"iops", KIND_OWN, 0, 0, NULL, read_numbers},
	{"bandwidth", KIND_OWN, 0, 0, NULL, read_numbers},
	{"interrupts", KIND_SECTION, 0, 0, &interrupt_section, NULL},
};
static const struct section disk_section = DECODE_ROWS(disk_rows);

/* ---- reading ---- */

/* What the walk over a map does not see: the numbers are given in two units. */
static enum status check_shape(struct decoder *d, const char *name, struct cbor_value v)
{
	struct cbor_value ignored;
	enum status st = define_check_device(d, name, v, "volume");

	if (st == ST_OK && cbor_find(v, "iops", &ignored) && cbor_find(v, "bandwidth", &ignored))
		return decode_refuse(d, ST_INVALID, "%s%s: iops conflicts with bandwidth: a disk is held to one of them",
				     d->path, name);
	return st;
}

static enum status read_disk(struct decoder *d, const char *name, struct cbor_value v)
{
	struct vm_config *cfg = d->base;
	struct vm_disk *out = &cfg->disks[cfg->disk_count++];
	struct device_rows rows = {
		.section = &disk_section, .base = out, .given = &out->given, .knobs = &vm_disk_knobs[VM_DISK_IOPS],
	};
	enum status st = check_shape(d, name, v);

	if (st != ST_OK)
		return st;
	vm_disk_init(out);
	format(out->name, sizeof out->name, "%s", name);
	return define_read_device(d, name, v, &rows);
}

/* By name; there are few. */
static void sort(struct vm_config *cfg)
{
	for (unsigned i = 1; i < cfg->disk_count; i++) {
		struct vm_disk moved = cfg->disks[i];
		unsigned at = i;

		for (; at > 0 && strcmp(cfg->disks[at - 1].name, moved.name) > 0; at--)
			cfg->disks[at] = cfg->disks[at - 1];
		cfg->disks[at] = moved;
	}
}

enum status define_read_disks(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	static const struct device_kind kind = {
		.what = "disk", .plural = "disks", .name_example = "root", .example = "volume", .max = VM_DISKS_MAX,
		.name_bytes = VM_DISK_NAME_MAX, .read = read_disk,
	};
	enum status st = define_read_devices(d, key, v, &kind);

	(void)field;
	sort(d->base);
	return st;
}

/* ---- the way back ---- */

static void put_disk(const struct vm_disk *disk, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w), numbers;

	encode_text(w, "device", DEVICE_WORD);
	encode_text(w, "volume", disk->volume);
	encode_text(w, "serial", disk->serial);
	if (disk->read_only)
		encode_flag(w, "readonly", true);
	if (disk->queues)
		encode_number(w, "queues", disk->queues);
	cbor_put_text(w, vm_disk_unit_names[disk->unit]);
	numbers = cbor_open(w);
	encode_rls(w, &disk->numbers);
	cbor_close_map(w, numbers);
	define_put_interrupts(&disk->coalesce, INTERRUPTS_FROM, w);
	cbor_close_map(w, map);
}

void define_put_disks(const struct vm_config *cfg, struct cbor_writer *w)
{
	struct cbor_mark map;

	if (cfg->disk_count == 0)
		return;
	cbor_put_text(w, "disk");
	map = cbor_open(w);
	for (unsigned i = 0; i < cfg->disk_count; i++) {
		cbor_put_text(w, cfg->disks[i].name);
		put_disk(&cfg->disks[i], w);
	}
	cbor_close_map(w, map);
}
