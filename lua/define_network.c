/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of a network's settings (lua/decode.h), and the way back:
 *
 *	{ uplink = "nic0", mtu = 1500 }
 *	{ uplink = { nic = "nic0", vlan = 10, rate = Mbps(50), depth = KiB(16), poll = 8 }, patience = ms(10) }
 */
#include <string.h>

#include "guest/network.h"
#include "lib/bits.h"
#include "lua/decode.h"
#include "lua/define_net.h"

#define AT(field) offsetof(struct network_config, field)
#define NIC(key) {key, KIND_TEXT, AT(uplink), NIC_NAME_MAX, NULL, NULL}

static enum status read_depth(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	uint32_t *out = field;
	uint64_t bytes;
	enum status st = decode_size(d, key, v, &bytes);

	if (st == ST_OK && bytes > UINT32_MAX)
		return decode_refuse(d, ST_INVALID, "%s%s is too large", d->path, key);
	if (st == ST_OK)
		*out = (uint32_t)bytes;
	return st;
}

static const struct setting uplink_rows[] = {
	NIC("nic"),
	{"vlan", KIND_OWN, AT(uplink_vlan), 0, NULL, define_read_vlan},
	{"rate", KIND_BIT_RATE, AT(wire.rate), 0, NULL, NULL},
	{"depth", KIND_OWN, AT(wire.depth_bytes), 0, NULL, read_depth},
	{"poll", KIND_NUMBER32, AT(wire.poll_frames), 0, NULL, NULL},
};
static const struct section uplink_section = DECODE_ROWS(uplink_rows);

/* A name alone is that of the interface. */
static enum status read_uplink(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	const char *nic = field;
	enum status st;

	if (cbor_type_of(v) == CBOR_TEXT)
		return decode_text(d, key, v, field, NIC_NAME_MAX);
	if (cbor_type_of(v) != CBOR_MAP)
		return decode_wrong_type(d, key, "an interface's name, or { nic = ..., rate = ... }", v);
	st = decode_section(d, &uplink_section, key, v);
	if (st == ST_OK && !nic[0] && cbor_count(v) > 0)
		return decode_refuse(d, ST_INVALID, "%s%s.nic is missing", d->path, key);
	return st;
}

static const struct setting top_rows[] = {
	{"uplink", KIND_OWN, AT(uplink), 0, NULL, read_uplink},
	{"mtu", KIND_NUMBER32, AT(mtu), 0, NULL, NULL},
	{"patience", KIND_TIME, AT(settings.patience_ns), 0, NULL, NULL},
	{"age", KIND_TIME, AT(settings.age_ns), 0, NULL, NULL},
};
static const struct section top_section = DECODE_ROWS(top_rows);

enum status define_decode_network(const struct define_source *src, struct cbor_value settings,
				  const struct network_config *from, struct network_config *out, struct error *err)
{
	struct network_config cfg;
	struct decoder d = {
		.what = "network", .src = src, .base = &cfg, .knobs = &network_knobs, .given = &cfg.given, .err = err,
	};
	enum status st;

	if (from)
		cfg = *from;
	else
		network_config_init(&cfg);
	st = decode_name(&d, cfg.name, cfg.origin);
	if (st == ST_OK)
		st = decode_settings(&d, &top_section, settings);
	if (st == ST_OK)
		st = network_config_check(&cfg, err);
	if (st == ST_OK)
		*out = cfg;
	return st;
}

static bool value_of(const struct network_config *cfg, const struct section *section, const char *name, uint64_t *out)
{
	for (size_t i = 0; i < section->count; i++) {
		const struct setting *row = &section->rows[i];
		const void *field = (const char *)cfg + row->offset;

		if (strcmp(row->key, name) != 0)
			continue;
		if (row->kind == KIND_NUMBER32 || row->read == read_depth)
			*out = *(const uint32_t *)field;
		else if (row->read == define_read_vlan)
			*out = *(const uint16_t *)field;
		else if (row->kind == KIND_TIME || row->kind == KIND_BIT_RATE)
			*out = *(const uint64_t *)field;
		else
			return false;
		return true;
	}
	return false;
}

bool define_network_value(const struct network_config *cfg, const char *name, uint64_t *out)
{
	static const char uplink[] = "uplink.";

	if (strncmp(name, uplink, sizeof uplink - 1) == 0)
		return value_of(cfg, &uplink_section, name + sizeof uplink - 1, out);
	return value_of(cfg, &top_section, name, out);
}

static void put_uplink(const struct network_config *cfg, struct cbor_writer *w)
{
	struct cbor_mark map;

	if (!cfg->uplink[0])
		return;
	cbor_put_text(w, "uplink");
	map = cbor_open(w);
	encode_text(w, "nic", cfg->uplink);
	if (cfg->uplink_vlan)
		encode_number(w, "vlan", cfg->uplink_vlan);
	if (cfg->wire.rate)
		encode_number(w, "rate", cfg->wire.rate);
	encode_number(w, "depth", cfg->wire.depth_bytes);
	encode_number(w, "poll", cfg->wire.poll_frames);
	cbor_close_map(w, map);
}

void define_encode_network(const struct network_config *cfg, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w);

	put_uplink(cfg, w);
	encode_number(w, "mtu", cfg->mtu);
	encode_number(w, "patience", cfg->settings.patience_ns);
	encode_number(w, "age", cfg->settings.age_ns);
	cbor_close_map(w, map);
}
