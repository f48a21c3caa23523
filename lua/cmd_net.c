/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our group of networks (69): which there are, who is on them and what passed, the machine's own interfaces, and what
 * makes and changes them. Captures are in cmd_capture.c.
 */
#include "lua/cmd_net.h"

#include <string.h>

#include "guest/network.h"
#include "lib/bits.h"
#include "lib/log.h"
#include "lua/address.h"
#include "lua/change.h"
#include "lua/control_internal.h"
#include "lua/nets.h"

#define NETWORK_MAX 256u /* bytes that one entry takes in a list, at most */
#define PORT_MAX 1600u
#define ADDRESS_MAX 128u
#define CHANGES_MAX 32u

/* ---- list, show ---- */

static unsigned count_ports(struct network *n)
{
	struct network_port_info info;
	unsigned count = 0;

	for (unsigned i = 0; network_next_port(n, i, &i, &info);)
		count++;
	return count;
}

static struct nic *nic_called(struct control *c, const char *name)
{
	struct nic *nic;

	for (unsigned i = 0; (nic = networks_nic(c->cfg.machine, i)); i++)
		if (strcmp(nic->name, name) == 0)
			return nic;
	return NULL;
}

static void put_flag(struct cbor_writer *w, const char *key, bool flag)
{
	cbor_put_text(w, key);
	cbor_put_bool(w, flag);
}

static void put_some(struct cbor_writer *w, const char *key, uint64_t n)
{
	if (n)
		command_put_uint(w, key, n);
}

static void put_network(struct control *c, struct network *n, struct cbor_writer *w)
{
	const struct network_config *cfg = network_config_of(n);
	const struct nic *nic = nic_called(c, cfg->uplink);

	command_put_text(w, "name", cfg->name);
	if (nic) {
		command_put_text(w, "uplink", nic->name);
		put_flag(w, "up", nic->up);
	}
	command_put_uint(w, "mtu", cfg->mtu);
	command_put_uint(w, "ports", count_ports(n));
}

/* A page begins behind the place @after. */
static enum status list_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	uint64_t place = a->after.value;
	struct cbor_mark list, map;
	bool more = false;

	(void)f;
	cbor_put_text(w, "networks");
	list = cbor_open(w);
	for (; place < NETWORKS_MAX && !more; place++) {
		struct network *n = network_at(c->cfg.machine, (unsigned)place);

		if (!n)
			continue;
		more = !command_fits(w, NETWORK_MAX);
		if (more)
			break;
		map = cbor_open(w);
		put_network(c, n, w);
		cbor_close_map(w, map);
	}
	cbor_close_array(w, list);
	if (more)
		command_put_uint(w, "next", place);
	return ST_OK;
}

static enum status find(struct control *c, const struct command_args *a, struct network **out, struct failure *f)
{
	return nets_find(c, a->name.text, a->name.len, out, &f->error);
}

static enum status find_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct network *n;

	if (a->op == SMP_WRITE)
		audit_on(c, a->name.text, a->name.len);
	return find(c, a, &n, f);
}

static enum status show_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct network *n;
	enum status st = find(c, a, &n, f);

	if (st != ST_OK)
		return st;
	put_network(c, n, w);
	if (network_config_of(n)->origin[0])
		command_put_text(w, "origin", network_config_of(n)->origin);
	cbor_put_text(w, "config");
	define_encode_network(network_config_of(n), w);
	return ST_OK;
}

/* ---- ports ---- */

static void put_addresses(const struct net_port_config *cfg, struct cbor_writer *w)
{
	char mac[ADDRESS_MAC_TEXT], ip[ADDRESS_IP_TEXT];
	struct cbor_mark list;

	if (cfg->locked_mac)
		command_put_text(w, "mac", address_mac_text(cfg->mac, mac));
	if (cfg->ip_count == 0)
		return;
	cbor_put_text(w, "ip");
	list = cbor_open(w);
	for (unsigned i = 0; i < cfg->ip_count; i++)
		cbor_put_text(w, address_ip_text(&cfg->ips[i], ip));
	cbor_close_array(w, list);
}

static void put_port_config(const struct net_port_config *cfg, struct cbor_writer *w)
{
	struct cbor_mark list;

	put_addresses(cfg, w);
	put_some(w, "vlan", cfg->vlan);
	if (cfg->trunk_count && !cfg->trunk_all) {
		cbor_put_text(w, "trunk");
		list = cbor_open(w);
		for (unsigned i = 0; i < cfg->trunk_count; i++)
			cbor_put_uint(w, cfg->trunk[i]);
		cbor_close_array(w, list);
	}
	if (cfg->isolated)
		put_flag(w, "isolated", true);
	command_put_uint(w, "mtu", cfg->mtu);
	put_some(w, "rate", cfg->rate);
	put_some(w, "storm", cfg->storm);
}

/* Reasons that there were, by their names. */
static void put_drops(const uint64_t drops[NET_DROPS], const char *key, struct cbor_writer *w)
{
	struct cbor_mark map;

	cbor_put_text(w, key);
	map = cbor_open(w);
	for (unsigned i = NET_DROP_NONE + 1; i < NET_DROPS; i++)
		put_some(w, net_drop_names[i], drops[i]);
	cbor_close_map(w, map);
}

static void put_figures(const struct net_port_figures *f, struct cbor_writer *w)
{
	command_put_uint(w, "sent_frames", f->sent_frames);
	command_put_uint(w, "sent_bytes", f->sent_bytes);
	command_put_uint(w, "received_frames", f->received_frames);
	command_put_uint(w, "received_bytes", f->received_bytes);
	command_put_uint(w, "sent_groups", f->sent_groups);
	command_put_uint(w, "received_groups", f->received_groups);
	put_drops(f->sent_drops, "sent_drops", w);
	put_drops(f->received_drops, "received_drops", w);
	command_put_uint(w, "waits", f->waits);
	command_put_uint(w, "throttled", f->throttled);
	command_put_uint(w, "stalls", f->stalls);
	command_put_uint(w, "learned", f->learned);
	command_put_uint(w, "moved", f->moved);
}

static void put_wire(const struct control *c, const struct network_port_info *p, struct cbor_writer *w)
{
	struct cbor_mark map;

	cbor_put_text(w, "wire");
	map = cbor_open(w);
	command_put_uint(w, "frames", p->wire_frames);
	command_put_uint(w, "bytes", p->wire_bytes);
	command_put_uint(w, "queued_ns", ticks_to_ns(p->wire_queued, c->cfg.clock->hz));
	command_put_uint(w, "throttled_ns", ticks_to_ns(p->wire_throttled, c->cfg.clock->hz));
	command_put_uint(w, "held", p->held);
	cbor_close_map(w, map);
}

static void put_port(const struct control *c, const struct network_port_info *p, bool wired, struct cbor_writer *w)
{
	struct cbor_mark map = cbor_open(w);

	command_put_text(w, "name", p->name);
	put_flag(w, "up", p->up);
	put_port_config(&p->config, w);
	put_figures(&p->figures, w);
	if (wired)
		put_wire(c, p, w);
	cbor_close_map(w, map);
}

static enum status ports_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	unsigned at = (unsigned)MIN(a->after.value, NET_PORTS_MAX), next;
	static struct network_port_info info; /* the control task's */
	struct network *n;
	struct cbor_mark list;
	bool more = false;
	enum status st = find(c, a, &n, f);

	if (st != ST_OK)
		return st;
	cbor_put_text(w, "ports");
	list = cbor_open(w);
	while (network_next_port(n, at, &next, &info)) {
		more = !command_fits(w, PORT_MAX);
		if (more)
			break;
		put_port(c, &info, network_config_of(n)->uplink[0] != '\0', w);
		at = next;
	}
	cbor_close_array(w, list);
	if (more)
		command_put_uint(w, "next", at);
	return ST_OK;
}

/* ---- addresses ---- */

static enum status addresses_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	char port[NETWORK_PORT_MAX], text[ADDRESS_MAC_TEXT];
	unsigned index = (unsigned)MIN(a->after.value, UINT32_MAX);
	uint8_t mac[NET_MAC_BYTES];
	struct cbor_mark list, map;
	struct network *n;
	uint64_t age_ns;
	uint16_t vlan;
	bool more = false;
	enum status st = find(c, a, &n, f);

	if (st != ST_OK)
		return st;
	cbor_put_text(w, "addresses");
	list = cbor_open(w);
	while (!(more = !command_fits(w, ADDRESS_MAX)) && network_next_address(n, &index, mac, &vlan, port, &age_ns)) {
		map = cbor_open(w);
		command_put_text(w, "mac", address_mac_text(mac, text));
		put_some(w, "vlan", vlan);
		command_put_text(w, "port", port);
		command_put_uint(w, "age_ns", age_ns);
		cbor_close_map(w, map);
	}
	cbor_close_array(w, list);
	if (more)
		command_put_uint(w, "next", index);
	return ST_OK;
}

/* ---- the machine's interfaces ---- */

static void put_nic(struct control *c, const struct nic *nic, struct cbor_writer *w)
{
	const struct nic_figures *f = &nic->figures;
	char mac[ADDRESS_MAC_TEXT];

	command_put_text(w, "name", nic->name);
	command_put_text(w, "what", nic->what);
	command_put_text(w, "mac", address_mac_text(nic->mac, mac));
	put_flag(w, "up", nic->up);
	command_put_uint(w, "mbps", nic->link_mbps);
	for (struct network *n = network_next(c->cfg.machine, NULL); n; n = network_next(c->cfg.machine, n))
		if (strcmp(network_config_of(n)->uplink, nic->name) == 0)
			command_put_text(w, "network", network_config_of(n)->name);
	command_put_uint(w, "sent_frames", f->tx_frames);
	command_put_uint(w, "sent_bytes", f->tx_bytes);
	command_put_uint(w, "received_frames", f->rx_frames);
	command_put_uint(w, "received_bytes", f->rx_bytes);
	command_put_uint(w, "errors", f->rx_errors);
	command_put_uint(w, "missed", f->rx_missed);
	command_put_uint(w, "lost", f->tx_lost);
	command_put_uint(w, "resets", f->resets);
	command_put_uint(w, "bad_descriptors", f->bad_descriptors);
	command_put_uint(w, "link_changes", f->link_changes);
	command_put_uint(w, "interrupts", f->interrupts);
}

/* At most NETWORK_NICS_MAX: they fit. */
static enum status nics_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct cbor_mark list, map;
	struct nic *nic;

	(void)a;
	(void)f;
	cbor_put_text(w, "nics");
	list = cbor_open(w);
	for (unsigned i = 0; (nic = networks_nic(c->cfg.machine, i)); i++) {
		map = cbor_open(w);
		put_nic(c, nic, w);
		cbor_close_map(w, map);
	}
	cbor_close_array(w, list);
	return ST_OK;
}

/* ---- define, remove ---- */

/* An empty map, for a config that is not given. */
static struct cbor_value config_of(const struct command_args *a)
{
	static const uint8_t empty[] = {0xa0};

	return a->config.given ? a->config.value : cbor_root(empty, sizeof empty);
}

static enum status read_config(const struct command_args *a, const struct network_config *from,
			       struct network_config *out, struct failure *f)
{
	char origin[VM_PATH_MAX] = "";
	struct define_source src = {
		.name = a->name.text, .name_len = a->name.len, .origin = from ? from->origin : origin,
		.units = a->from_script,
	};

	if (a->origin.given)
		log_clean(origin, sizeof origin, a->origin.text, a->origin.len);
	return define_decode_network(&src, config_of(a), from, out, &f->error);
}

static enum status define_decode_args(struct control *c, struct command_args *a, struct failure *f)
{
	struct network_config cfg;

	audit_on(c, a->name.text, a->name.len);
	return read_config(a, NULL, &cfg, f);
}

/* What the machine refuses, it refuses here: nothing has been done then. */
static enum status define_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct network_config cfg;
	enum status st = read_config(a, NULL, &cfg, f);

	if (st == ST_OK)
		st = nets_define(c, &cfg, &f->error);
	if (st == ST_OK)
		command_put_text(w, "name", cfg.name);
	return st;
}

static enum status remove_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct network *n;
	enum status st = find(c, a, &n, f);

	(void)w;
	return st == ST_OK ? nets_remove(c, n, &f->error) : st;
}

/* ---- set ---- */

/* Settings of the tree, as an operator's for good: those that the request has. The control task's. */
static struct {
	struct setting_change change[CHANGES_MAX];
	unsigned count;
} changes;

/* The knob @row of @n, as @to has it. */
static enum status add_change(struct control *c, const struct network *n, unsigned row, const struct network_config *to,
			      struct failure *f)
{
	struct setting_change *change = &changes.change[changes.count];

	*change = (struct setting_change){
		.item = {.table = tree_network_knobs(c, network_place(n)), .row = row}, .origin = ORIGIN_OPERATOR,
	};
	if (!define_network_value(to, network_knobs.rows[row].name, &change->value))
		return ST_OK;
	changes.count++;
	return settings_check(c, change, &f->error);
}

static enum status read_changes(struct control *c, const struct command_args *a, struct network **n, struct failure *f)
{
	struct network_config from, to;
	enum status st = find(c, a, n, f);

	changes.count = 0;
	if (st != ST_OK)
		return st;
	from = *network_config_of(*n);
	from.given = 0;
	st = read_config(a, &from, &to, f);
	if (st != ST_OK)
		return st;
	if (strcmp(from.uplink, to.uplink) != 0)
		return fail(&f->error, ST_INVALID, "network %s: only a new definition changes its uplink", from.name);
	for (unsigned row = 0; row < network_knobs.count && st == ST_OK; row++)
		if (to.given & BIT(row))
			st = add_change(c, *n, row, &to, f);
	if (st == ST_OK && changes.count == 0)
		st = fail(&f->error, ST_INVALID, "set needs a setting of network %s", from.name);
	return st == ST_OK ? settings_check_room(c, changes.change, changes.count, &f->error) : st;
}

static enum status set_decode(struct control *c, struct command_args *a, struct failure *f)
{
	struct network *n;

	audit_on(c, a->name.text, a->name.len);
	return read_changes(c, a, &n, f);
}

static enum status set_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct network *n;
	enum status st = read_changes(c, a, &n, f);

	for (unsigned i = 0; i < changes.count && st == ST_OK; i++)
		change_apply(c, &changes.change[i]);
	if (st != ST_OK)
		return st;
	cbor_put_text(w, "config");
	define_encode_network(network_config_of(n), w);
	return ST_OK;
}

/* ---- the table ---- */

static const struct arg list_args[] = {{"after", ARG_NUMBER, ARG_OF(after), false}};
static const struct arg name_args[] = {{"name", ARG_TEXT, ARG_OF(name), true}};
static const struct arg page_args[] = {
	{"name", ARG_TEXT, ARG_OF(name), true},
	{"after", ARG_NUMBER, ARG_OF(after), false},
};
static const struct arg define_args[] = {
	{"name", ARG_TEXT, ARG_OF(name), true},
	{"config", ARG_VALUE, ARG_OF(config), false},
	{"origin", ARG_TEXT, ARG_OF(origin), false},
};
static const struct arg set_args[] = {
	{"name", ARG_TEXT, ARG_OF(name), true},
	{"config", ARG_VALUE, ARG_OF(config), true},
};
static const struct arg begin_args[] = {
	{"port", ARG_TEXT, ARG_OF(port), true},
	{"snap", ARG_NUMBER, ARG_OF(snap), false},
};
static const struct arg capture_args[] = {{"capture", ARG_NUMBER, ARG_OF(capture), true}};
static const struct arg records_args[] = {
	{"capture", ARG_NUMBER, ARG_OF(capture), true},
	{"number", ARG_NUMBER, ARG_OF(number), false},
};

#define COMMAND(number, word, op, who, rows, check, function, text)                                         \
	{                                                                                                     \
		.id = (number), .ops = BIT(op), .role = (who), .name = (word), .help = (text), .args = (rows),   \
		.arg_count = ARRAY_SIZE(rows), .decode = (check), .apply = (function),                           \
	}

/* Without arguments. */
#define PLAIN(number, word, function, text)                                                                  \
	{                                                                                                     \
		.id = (number), .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = (word), .help = (text),     \
		.apply = (function),                                                                             \
	}

/* Whose right it is depends on the port. */
#define CAPTURE(number, word, op, rows, check, function, text)                                               \
	{                                                                                                     \
		.id = (number), .ops = BIT(op), .role = ROLE_OPERATOR, .checks_rights = true, .name = (word),    \
		.help = (text), .args = (rows), .arg_count = ARRAY_SIZE(rows), .decode = (check),                \
		.apply = (function),                                                                             \
	}

static const struct command net_commands[] = {
	COMMAND(NET_CMD_LIST, "list", SMP_READ, ROLE_OBSERVER, list_args, NULL, list_apply, "lists the networks"),
	COMMAND(NET_CMD_SHOW, "show", SMP_READ, ROLE_OBSERVER, name_args, find_decode, show_apply,
		"says all about a network"),
	COMMAND(NET_CMD_PORTS, "ports", SMP_READ, ROLE_OBSERVER, page_args, find_decode, ports_apply,
		"lists the ports of a network, and what passed them"),
	COMMAND(NET_CMD_ADDRESSES, "addresses", SMP_READ, ROLE_OBSERVER, page_args, find_decode, addresses_apply,
		"lists the addresses that a network knows, and where"),
	PLAIN(NET_CMD_NICS, "nics", nics_apply, "lists the machine's network interfaces"),
	COMMAND(NET_CMD_DEFINE, "define", SMP_WRITE, ROLE_OPERATOR, define_args, define_decode_args, define_apply,
		"makes a network, or gives one another definition"),
	COMMAND(NET_CMD_SET, "set", SMP_WRITE, ROLE_OPERATOR, set_args, set_decode, set_apply,
		"changes settings of a network, all at once"),
	COMMAND(NET_CMD_REMOVE, "remove", SMP_WRITE, ROLE_OPERATOR, name_args, find_decode, remove_apply,
		"removes a network that nobody is on"),
	CAPTURE(NET_CMD_CAPTURE, "capture", SMP_WRITE, begin_args, capture_begin_decode, capture_begin_apply,
		"begins to write down what passes a port"),
	CAPTURE(NET_CMD_RECORDS, "records", SMP_READ, records_args, capture_decode, capture_records_apply,
		"reads what was written down"),
	CAPTURE(NET_CMD_CAPTURE_END, "end", SMP_WRITE, capture_args, capture_decode, capture_end_apply, "ends a capture"),
};

const struct command_group net_group = {
	.id = GROUP_NET, .name = "corbel net", .commands = net_commands, .count = ARRAY_SIZE(net_commands),
};
