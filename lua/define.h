/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings of a VM, from CBOR into struct vm_config: one table of settings
 * for scripts (whose tables come as CBOR, lua/bridge.h) and for the wire. Every
 * error names the VM, where it was defined, and the setting.
 */
#ifndef CORBEL_LUA_DEFINE_H
#define CORBEL_LUA_DEFINE_H

#include "guest/config.h"
#include "lua/cbor.h"

struct network_config;
struct pool_config;

struct define_source {
	const char *name;   /* of the VM, pool or network, len bytes, from outside */
	size_t name_len;
	const char *origin; /* "boot.lua:12", NUL-terminated, cleaned; "" when there is none */
	bool units;         /* a script: sizes need a unit. On the wire they are bytes */
};

/*
 * Decodes and checks a whole definition; @settings is checked CBOR. Nothing is
 * changed but *out, and that only on success.
 */
MUST_CHECK enum status define_decode(const struct define_source *src, struct cbor_value settings, struct vm_config *out,
				     struct error *err);

/* Writes @cfg as the map that define_decode() reads: settings in full, sizes in bytes. */
void define_encode(const struct vm_config *cfg, struct cbor_writer *w);

/*
 * The same of a pool; @from: what it is where nothing is given, NULL: the defaults. A limit of "none" and a parent of
 * "root" are taken as given.
 */
MUST_CHECK enum status define_decode_pool(const struct define_source *src, struct cbor_value settings,
					  const struct pool_config *from, struct pool_config *out, struct error *err);
void define_encode_pool(const struct pool_config *cfg, struct cbor_writer *w);

/* The same of a network. */
MUST_CHECK enum status define_decode_network(const struct define_source *src, struct cbor_value settings,
					     const struct network_config *from, struct network_config *out,
					     struct error *err);
void define_encode_network(const struct network_config *cfg, struct cbor_writer *w);
/* What @cfg has for the setting called @name, "uplink.rate"; false: there is no number of that name. */
bool define_network_value(const struct network_config *cfg, const char *name, uint64_t *out);

#endif
