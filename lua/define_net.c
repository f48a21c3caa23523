/* SPDX-License-Identifier: Apache-2.0 */
/* See define_net.h. Rates are bytes a second in the struct and on the wire; scripts write Mbps(100), or 100 in mbps. */
#include "lua/define_net.h"

#include <string.h>

#include "guest/vm_nic.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/address.h"
#include "lua/define_device.h"

#define AT(field) offsetof(struct vm_nic, field)
#define FRAMES_FROM "frames_min" /* below interrupts: the rate from which on they are put together */
#define SHOWN_MAX 48

/* ---- addresses ---- */

static enum status read_mac(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	static const uint8_t none[NET_MAC_BYTES]; /* in the struct it asks for one that is made of names */
	uint8_t mac[NET_MAC_BYTES];
	char shown[SHOWN_MAX];
	const char *text;
	size_t len;

	if (!cbor_get_text(v, &text, &len))
		return decode_wrong_type(d, key, "text such as \"52:54:00:12:34:56\"", v);
	if (address_read_mac(text, len, mac) && memcmp(mac, none, sizeof none) != 0) {
		memcpy(field, mac, sizeof mac);
		return ST_OK;
	}
	return decode_refuse(d, ST_INVALID, "%s%s: \"%s\" is no address such as 52:54:00:12:34:56", d->path, key,
			     log_clean(shown, sizeof shown, text, len));
}

static enum status read_ip(struct decoder *d, const char *key, struct cbor_value v, struct vm_nic *nic)
{
	char shown[SHOWN_MAX];
	const char *text;
	size_t len;

	if (!cbor_get_text(v, &text, &len))
		return decode_wrong_type(d, key, "text such as \"10.0.0.5\", or a list of it", v);
	if (nic->ip_count == NET_PORT_IPS_MAX)
		return decode_refuse(d, ST_OVER_LIMIT, "%s%s has more than %u addresses", d->path, key, NET_PORT_IPS_MAX);
	if (address_read_ip(text, len, &nic->ips[nic->ip_count++]))
		return ST_OK;
	return decode_refuse(d, ST_INVALID, "%s%s: \"%s\" is no address such as 10.0.0.5 or fe80::1%s", d->path, key,
			     log_clean(shown, sizeof shown, text, len),
			     memchr(text, '/', len) ? ": write it without its prefix" : "");
}

static bool is_list(struct cbor_value v, struct cbor_iter *it)
{
	bool list = cbor_type_of(v) == CBOR_ARRAY || (cbor_type_of(v) == CBOR_MAP && cbor_count(v) == 0); /* Lua's {} */

	return list && cbor_iterate(v, it);
}

/* One, or a list of them. */
static enum status read_ips(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	enum status st = ST_OK;
	struct cbor_value e;
	struct cbor_iter it;

	(void)field;
	if (!is_list(v, &it))
		return read_ip(d, key, v, d->base);
	while (st == ST_OK && cbor_next(&it, &e))
		st = read_ip(d, key, e, d->base);
	return st;
}

/* ---- VLANs ---- */

enum status define_read_vlan(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	uint16_t *out = field;
	uint64_t n;

	if (!cbor_get_uint(v, &n))
		return decode_wrong_type(d, key, "the number of a VLAN", v);
	if (n > NET_VLAN_MAX)
		return decode_refuse(d, ST_INVALID, "%s%s is %llu, it can be 1 to %u", d->path, key, (unsigned long long)n,
				     NET_VLAN_MAX);
	*out = (uint16_t)n;
	return ST_OK;
}

static enum status read_trunk(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	struct vm_nic *nic = d->base;
	enum status st = ST_OK;
	struct cbor_value e;
	struct cbor_iter it;

	(void)field;
	if (!is_list(v, &it))
		return decode_wrong_type(d, key, "a list of VLANs such as {10, 20}", v);
	while (st == ST_OK && cbor_next(&it, &e)) {
		if (nic->trunk_count == NET_PORT_VLANS_MAX)
			return decode_refuse(d, ST_OVER_LIMIT, "%s%s has more than %u VLANs", d->path, key, NET_PORT_VLANS_MAX);
		st = define_read_vlan(d, key, e, &nic->trunk[nic->trunk_count++]);
	}
	return st;
}

/* ---- the rows ---- */

static const struct setting mbps_rows[] = {
	{"shares", KIND_SHARES, AT(numbers.shares), 0, NULL, NULL},
	{"reservation", KIND_MBPS, AT(numbers.reservation), 0, NULL, NULL},
	{"limit", KIND_MBPS, AT(numbers.limit), 0, NULL, NULL},
};
static const struct section mbps_section = DECODE_ROWS(mbps_rows);
static const struct setting interrupt_rows[] = DEFINE_INTERRUPT_ROWS(struct vm_nic, FRAMES_FROM);
static const struct section interrupt_section = DECODE_ROWS(interrupt_rows);

static const struct setting nic_rows[] = {
	{"device", KIND_OWN, 0, 0, NULL, define_read_device_word},
	{"network", KIND_TEXT, AT(network), sizeof ((struct vm_nic *)0)->network, NULL, NULL},
	{"mac", KIND_OWN, AT(mac), 0, NULL, read_mac},
	{"any_mac", KIND_BOOL, AT(any_mac), 0, NULL, NULL},
	{"ip", KIND_OWN, 0, 0, NULL, read_ips},
	{"vlan", KIND_OWN, AT(vlan), 0, NULL, define_read_vlan},
	{"trunk", KIND_OWN, 0, 0, NULL, read_trunk},
	{"isolated", KIND_BOOL, AT(isolated), 0, NULL, NULL},
	{"connected", KIND_BOOL, AT(connected), 0, NULL, NULL},
	{"queues", KIND_COUNT, AT(queues), 0, NULL, NULL},
	{"mtu", KIND_NUMBER32, AT(mtu), 0, NULL, NULL},
	{"rate", KIND_BIT_RATE, AT(rate), 0, NULL, NULL},
	{"storm", KIND_NUMBER32, AT(storm), 0, NULL, NULL},
	{"mbps", KIND_SECTION, 0, 0, &mbps_section, NULL},
	{"interrupts", KIND_SECTION, 0, 0, &interrupt_section, NULL},
};
static const struct section nic_section = DECODE_ROWS(nic_rows);

/* ---- reading ---- */

static enum status read_nic(struct decoder *d, const char *name, struct cbor_value v)
{
	struct vm_config *cfg = d->base;
	struct vm_nic *out = &cfg->nics[cfg->nic_count++];
	struct device_rows rows = {
		.section = &nic_section, .base = out, .given = &out->given, .knobs = &vm_nic_knobs,
	};
	enum status st = define_check_device(d, name, v, "network");

	if (st != ST_OK)
		return st;
	vm_nic_init(out);
	format(out->name, sizeof out->name, "%s", name);
	return define_read_device(d, name, v, &rows);
}

/* By name; there are few. */
static void sort(struct vm_config *cfg)
{
	for (unsigned i = 1; i < cfg->nic_count; i++) {
		struct vm_nic moved = cfg->nics[i];
		unsigned at = i;

		for (; at > 0 && strcmp(cfg->nics[at - 1].name, moved.name) > 0; at--)
			cfg->nics[at] = cfg->nics[at - 1];
		cfg->nics[at] = moved;
	}
}

enum status define_read_nics(struct decoder *d, const char *key, struct cbor_value v, void *field)
{
	static const struct device_kind kind = {
		.what = "network interface", .plural = "network interfaces", .name_example = "lan0", .example = "network",
		.max = VM_NICS_MAX, .name_bytes = VM_NIC_NAME_MAX, .read = read_nic,
	};
	enum status st = define_read_devices(d, key, v, &kind);

	(void)field;
	sort(d->base);
	return st;
}

/* ---- the way back ---- */

static void put_addresses(const struct vm_nic *nic, struct cbor_writer *w)
{
	static const uint8_t made[NET_MAC_BYTES];
	char mac[ADDRESS_MAC_TEXT], ip[ADDRESS_IP_TEXT];
	struct cbor_mark list;

	if (memcmp(nic->mac, made, sizeof made) != 0)
		encode_text(w, "mac", address_mac_text(nic->mac, mac));
	if (nic->any_mac)
		encode_flag(w, "any_mac", true);
	if (nic->ip_count == 0)
		return;
	cbor_put_text(w, "ip");
	list = cbor_open(w);
	for (unsigned i = 0; i < nic->ip_count; i++)
		cbor_put_text(w, address_ip_text(&nic->ips[i], ip));
	cbor_close_array(w, list);
}

static void put_vlans(const struct vm_nic *nic, struct cbor_writer *w)
{
	struct cbor_mark list;

	if (nic->vlan)
		encode_number(w, "vlan", nic->vlan);
	if (nic->trunk_count == 0)
		return;
	cbor_put_text(w, "trunk");
	list = cbor_open(w);
	for (unsigned i = 0; i < nic->trunk_count; i++)
		cbor_put_uint(w, nic->trunk[i]);
	cbor_close_array(w, list);
}

static void put_some(struct cbor_writer *w, const char *key, uint64_t n)
{
	if (n)
		encode_number(w, key, n);
}

static void put_nic(const struct vm_nic *nic, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w), numbers;

	encode_text(w, "device", DEVICE_WORD);
	encode_text(w, "network", nic->network);
	put_addresses(nic, w);
	put_vlans(nic, w);
	if (nic->isolated)
		encode_flag(w, "isolated", true);
	if (!nic->connected)
		encode_flag(w, "connected", false);
	put_some(w, "queues", nic->queues);
	put_some(w, "mtu", nic->mtu);
	put_some(w, "rate", nic->rate);
	put_some(w, "storm", nic->storm);
	cbor_put_text(w, "mbps");
	numbers = cbor_open(w);
	encode_rls(w, &nic->numbers);
	cbor_close_map(w, numbers);
	define_put_interrupts(&nic->coalesce, FRAMES_FROM, w);
	cbor_close_map(w, map);
}

void define_put_nics(const struct vm_config *cfg, struct cbor_writer *w)
{
	struct cbor_mark map;

	if (cfg->nic_count == 0)
		return;
	cbor_put_text(w, "net");
	map = cbor_open(w);
	for (unsigned i = 0; i < cfg->nic_count; i++) {
		cbor_put_text(w, cfg->nics[i].name);
		put_nic(&cfg->nics[i], w);
	}
	cbor_close_map(w, map);
}
