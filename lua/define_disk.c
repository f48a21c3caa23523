/* SPDX-License-Identifier: Apache-2.0 */
/* See define_disk.h. */
#include "lua/define_disk.h"

#include <string.h>

#include "guest/vm_disk.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"

#define AT(field) offsetof(struct vm_disk, field)
#define DEVICE "virtio"

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
static const struct setting interrupt_rows[] = {
	{"policy", KIND_CHOICE, AT(coalesce.policy), 0, coalesce_policy_names, NULL},
	{"iops_min", KIND_NUMBER32, AT(coalesce.iops_min), 0, NULL, NULL},
	{"cif_min", KIND_NUMBER32, AT(coalesce.cif_min), 0, NULL, NULL},
	{"epoch", KIND_TIME, AT(coalesce.epoch_ns), 0, NULL, NULL},
	{"gap", KIND_TIME, AT(coalesce.gap_ns), 0, NULL, NULL},
};
static const struct section interrupt_section = DECODE_ROWS(interrupt_rows);

static enum status read_device(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	(void)field;
	if (cbor_is_text(v, DEVICE))
		return ST_OK;
	return decode_refuse(d, ST_INVALID, "%s%s takes \"" DEVICE "\": this version has no other", d->path, key);
}

static const struct setting disk_rows[] = {
	{"device", KIND_OWN, 0, 0, NULL, read_device},
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

/* What a map's walk does not see: the device's word is missing, or the numbers are given in two units. */
static enum status check_shape(struct decoder *d, const char *name, struct cbor_value v)
{
	struct cbor_value ignored;

	if (cbor_type_of(v) != CBOR_MAP)
		return decode_refuse(d, ST_INVALID, "%s%s takes " DEVICE " { volume = ... }, not %s", d->path, name,
				     cbor_type_name(cbor_type_of(v)));
	if (!cbor_find(v, "device", &ignored))
		return decode_refuse(d, ST_INVALID, d->src->units ? "%s%s is no device: write %s = " DEVICE " { volume = ... }"
								  : "%s%s has no device: %s is \"" DEVICE "\" in this version",
				     d->path, name, d->src->units ? name : "it");
	if (cbor_find(v, "iops", &ignored) && cbor_find(v, "bandwidth", &ignored))
		return decode_refuse(d, ST_INVALID, "%s%s: iops conflicts with bandwidth: a disk is held to one of them",
				     d->path, name);
	return ST_OK;
}

/* One of them, whose rows and knobs stand in for the VM's meanwhile. */
static enum status read_disk(struct decoder *d, const char *name, struct cbor_value v, struct vm_disk *out)
{
	struct decoder vm = *d;
	enum status st = check_shape(d, name, v);

	if (st != ST_OK)
		return st;
	vm_disk_init(out);
	format(out->name, sizeof out->name, "%s", name);
	d->base = out;
	d->given = &out->given;
	d->knobs = &vm_disk_knobs[VM_DISK_IOPS];
	d->below = strlen(d->path) + strlen(name) + 1;
	st = decode_section(d, &disk_section, name, v);
	d->base = vm.base;
	d->given = vm.given;
	d->knobs = vm.knobs;
	d->below = vm.below;
	return st;
}

static enum status read_name(struct decoder *d, struct cbor_value key, char out[VM_DISK_NAME_MAX])
{
	char shown[VM_DISK_NAME_MAX + 12];
	const char *text;
	size_t len;

	if (!cbor_get_text(key, &text, &len))
		return decode_refuse(d, ST_INVALID, "a disk's name is %s, not text", cbor_type_name(cbor_type_of(key)));
	if (len >= VM_DISK_NAME_MAX)
		return decode_refuse(d, ST_INVALID, "%s%s: the name is longer than %d characters", d->path,
				     log_clean(shown, sizeof shown, text, len), VM_DISK_NAME_MAX - 1);
	if (len == 0 || memchr(text, '\0', len))
		return decode_refuse(d, ST_INVALID, "a disk's name is empty, or holds a NUL");
	log_clean(out, VM_DISK_NAME_MAX, text, len);
	return ST_OK;
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
	struct vm_config *cfg = d->base;
	bool none = cbor_type_of(v) == CBOR_ARRAY && cbor_count(v) == 0; /* Lua's {} may be either */
	char above[DECODE_PATH_MAX], name[VM_DISK_NAME_MAX];
	struct cbor_value k, value;
	enum status st = ST_OK;
	struct cbor_iter it;

	(void)field;
	if (none)
		return ST_OK;
	if (cbor_type_of(v) != CBOR_MAP || !cbor_iterate(v, &it))
		return decode_wrong_type(d, key, "disks by their names, as in { root = " DEVICE " { volume = ... } }", v);
	if (cbor_count(v) > VM_DISKS_MAX)
		return decode_refuse(d, ST_OVER_LIMIT, "%s%s has %zu disks, at most %d are possible", d->path, key,
				     cbor_count(v), VM_DISKS_MAX);
	memcpy(above, d->path, sizeof above);
	format(d->path, sizeof d->path, "%s%s.", above, key);
	while (st == ST_OK && cbor_next_pair(&it, &k, &value)) {
		st = read_name(d, k, name);
		if (st == ST_OK)
			st = read_disk(d, name, value, &cfg->disks[cfg->disk_count++]);
	}
	memcpy(d->path, above, sizeof above);
	sort(cfg);
	return st;
}

/* ---- the way back ---- */

/* What is as without the setting is left out. */
static void put_interrupts(const struct coalesce_settings *set, struct cbor_writer *w)
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
		encode_number(w, "iops_min", set->iops_min);
	if (set->cif_min != plain.cif_min)
		encode_number(w, "cif_min", set->cif_min);
	if (set->epoch_ns != plain.epoch_ns)
		encode_number(w, "epoch", set->epoch_ns);
	if (set->gap_ns != plain.gap_ns)
		encode_number(w, "gap", set->gap_ns);
	cbor_close_map(w, map);
}

static void put_disk(const struct vm_disk *disk, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w), numbers;

	encode_text(w, "device", DEVICE);
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
	put_interrupts(&disk->coalesce, w);
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
