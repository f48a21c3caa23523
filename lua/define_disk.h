/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disks of a VM's definition: { root = virtio { volume = "debian", iops = { limit = 500 } } }, on the
 * wire { "root": { "device": "virtio", "volume": "debian", ... } }. A map has no order, but the guest
 * finds its disks in one: that of their names.
 */
#ifndef CORBEL_LUA_DEFINE_DISK_H
#define CORBEL_LUA_DEFINE_DISK_H

#include "lua/decode.h"

/* KIND_OWN: fills the disks of the struct vm_config at d->base. */
MUST_CHECK enum status define_read_disks(struct decoder *d, const char *key, struct cbor_value v, void *field);
/* The same map, under its key; nothing for a VM without disks. */
void define_put_disks(const struct vm_config *cfg, struct cbor_writer *w);

#endif
