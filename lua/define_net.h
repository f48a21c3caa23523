/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network interfaces of a VM's definition: { lan0 = virtio { network = "lan", mbps = { limit = 100 } } }, on the
 * wire { "lan0": { "device": "virtio", "network": "lan", ... } }. The guest finds them in the order of their names.
 */
#ifndef CORBEL_LUA_DEFINE_NET_H
#define CORBEL_LUA_DEFINE_NET_H

#include "lua/decode.h"

/* KIND_OWN: fills the interfaces of the struct vm_config at d->base. */
MUST_CHECK enum status define_read_nics(struct decoder *d, const char *key, struct cbor_value v, void *field);
/* The same map, under its key; nothing for a VM without interfaces. */
void define_put_nics(const struct vm_config *cfg, struct cbor_writer *w);

/* KIND_OWN: a VLAN's number into a uint16_t, which the definition's rules judge; what does not fit is refused. */
MUST_CHECK enum status define_read_vlan(struct decoder *d, const char *key, struct cbor_value v, void *field);

#endif
