/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What disks and network interfaces have in common in a VM's definition: maps of names and of devices,
 * { root = virtio { ... } }, on the wire { "root": { "device": "virtio", ... } }. A map has no order, but the guest
 * finds its devices in one: that of their names.
 */
#ifndef CORBEL_LUA_DEFINE_DEVICE_H
#define CORBEL_LUA_DEFINE_DEVICE_H

#include "io/coalesce.h"
#include "lua/decode.h"

#define DEVICE_WORD "virtio" /* the one kind of device in this version */

/* Some devices of a VM. */
struct device_kind {
	const char *what, *plural; /* "disk", "disks" */
	const char *name_example;  /* "root" */
	const char *example;       /* the setting that each must have */
	unsigned max;
	size_t name_bytes; /* with the NUL */
	/* One of them, called @name, by decode_device(). */
	enum status (*read)(struct decoder *d, const char *name, struct cbor_value v);
};

/* A device under construction: its rows and knobs stand in for the VM's meanwhile. */
struct device_rows {
	const struct section *section;
	void *base;
	uint32_t *given;
	const struct knob_table *knobs;
};

/* The whole map @v, by @kind->read for each. The order is the map's. */
MUST_CHECK enum status define_read_devices(struct decoder *d, const char *key, struct cbor_value v,
					   const struct device_kind *kind);
/* @v is a map that says what device it is. For those who look at it themselves before define_read_device(). */
MUST_CHECK enum status define_check_device(struct decoder *d, const char *name, struct cbor_value v, const char *example);
MUST_CHECK enum status define_read_device(struct decoder *d, const char *name, struct cbor_value v,
					  const struct device_rows *rows);
/* KIND_OWN: the row "device". */
MUST_CHECK enum status define_read_device_word(struct decoder *d, const char *key, struct cbor_value v, void *field);

/* The rows of the section "interrupts" of @type, whose settings are its field coalesce; @rate: the first one's name. */
#define DEFINE_INTERRUPT_ROWS(type, rate)                                                                     \
	{                                                                                                      \
		{"policy", KIND_CHOICE, offsetof(type, coalesce.policy), 0, coalesce_policy_names, NULL},         \
		{rate, KIND_NUMBER32, offsetof(type, coalesce.iops_min), 0, NULL, NULL},                          \
		{"cif_min", KIND_NUMBER32, offsetof(type, coalesce.cif_min), 0, NULL, NULL},                      \
		{"epoch", KIND_TIME, offsetof(type, coalesce.epoch_ns), 0, NULL, NULL},                           \
		{"gap", KIND_TIME, offsetof(type, coalesce.gap_ns), 0, NULL, NULL},                               \
	}
/* The way back: what is as without the setting is left out. */
void define_put_interrupts(const struct coalesce_settings *set, const char *rate, struct cbor_writer *w);

#endif
