/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which networks there are, and what their definitions may say. Tables are walked: a machine has a few networks, and
 * only its operator asks.
 */
#include "guest/network.h"

#include <string.h>

#include "guest/machine_memory.h"
#include "guest/network_internal.h"
#include "lib/assert.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/measure.h"

#define TEXT_MAX 32

/* ---- rules that need no machine ---- */

void network_config_init(struct network_config *cfg)
{
	*cfg = (struct network_config){.mtu = NET_MTU_DEFAULT};
	net_switch_settings_init(&cfg->settings);
	net_uplink_settings_init(&cfg->wire);
}

static struct config_head head_of(const struct network_config *cfg)
{
	return (struct config_head){.kind = "network", .name = cfg->name, .origin = cfg->origin};
}

#define refuse(cfg, err, st, ...) config_refuse(head_of(cfg), err, st, __VA_ARGS__)

static enum status check_range(const struct network_config *cfg, const char *what, enum measure m, uint64_t value,
			       uint64_t min, uint64_t max, struct error *err)
{
	char is[TEXT_MAX], low[TEXT_MAX], high[TEXT_MAX];

	if (value >= min && value <= max)
		return ST_OK;
	return refuse(cfg, err, ST_INVALID, "%s is %s, it can be %s to %s", what, measure_format(m, value, is, sizeof is),
		      measure_format(m, min, low, sizeof low), measure_format(m, max, high, sizeof high));
}

static enum status check_names(const struct network_config *cfg, struct error *err)
{
	enum status st = config_check_name(head_of(cfg), err);

	if (st != ST_OK)
		return st;
	if (!config_ends(cfg->uplink, sizeof cfg->uplink))
		return refuse(cfg, err, ST_INVALID, "uplink is longer than %d characters", NIC_NAME_MAX - 1);
	if (cfg->uplink_vlan && !cfg->uplink[0])
		return refuse(cfg, err, ST_INVALID, "uplink_vlan conflicts with having no uplink");
	return ST_OK;
}

enum status network_config_check(const struct network_config *cfg, struct error *err)
{
	enum status st = check_names(cfg, err);

	if (st == ST_OK)
		st = check_range(cfg, "uplink.vlan", MEASURE_COUNT, cfg->uplink_vlan, 0, NET_VLAN_MAX, err);
	if (st == ST_OK)
		st = check_range(cfg, "mtu", MEASURE_COUNT, cfg->mtu, NET_MTU_MIN, NET_MTU_MAX, err);
	if (st == ST_OK)
		st = check_range(cfg, "patience", MEASURE_NS, cfg->settings.patience_ns, 0, NET_PATIENCE_MAX_NS, err);
	if (st == ST_OK)
		st = check_range(cfg, "age", MEASURE_NS, cfg->settings.age_ns, NET_AGE_MIN_NS, NET_AGE_MAX_NS, err);
	if (st == ST_OK && cfg->wire.rate)
		st = check_range(cfg, "uplink.rate", MEASURE_RATE, cfg->wire.rate, VM_NIC_RATE_MIN, VM_NIC_RATE_MAX, err);
	if (st == ST_OK)
		st = check_range(cfg, "uplink.depth", MEASURE_BYTES, cfg->wire.depth_bytes, NET_UPLINK_DEPTH_MIN,
				 NET_UPLINK_DEPTH_MAX, err);
	if (st == ST_OK)
		st = check_range(cfg, "uplink.poll", MEASURE_COUNT, cfg->wire.poll_frames, 1, NIC_RECEIVED_MAX, err);
	return st;
}

/* ---- life ---- */

enum status networks_create(struct machine *m, struct error *err)
{
	struct networks *all;
	void *memory;
	enum status st = machine_take(m, sizeof *all, "networks", &memory, err);

	if (st != ST_OK)
		return st;
	all = memory;
	all->machine = m;
	m->networks = all;
	return ST_OK;
}

static void drop(struct network *n)
{
	struct networks *all = n->all;

	network_stop(n);
	all->at[n->place] = NULL;
	machine_give(all->machine, n, sizeof *n);
}

void networks_destroy(struct machine *m)
{
	struct networks *all = m->networks;

	network_captures_end(all);
	for (unsigned i = 0; i < NETWORKS_MAX; i++) {
		if (!all->at[i])
			continue;
		ASSERT(all->at[i]->client_count == 0);
		drop(all->at[i]);
	}
	m->networks = NULL;
	machine_give(m, all, sizeof *all);
}

enum status networks_add_nic(struct machine *m, struct nic *nic, struct error *err)
{
	struct networks *all = m->networks;

	for (unsigned i = 0; i < all->nic_count; i++)
		if (strcmp(all->nics[i]->name, nic->name) == 0)
			return fail(err, ST_EXISTS, "there is an interface called %s", nic->name);
	if (all->nic_count == NETWORK_NICS_MAX)
		return fail(err, ST_OVER_LIMIT, "there are %u interfaces already", NETWORK_NICS_MAX);
	all->nics[all->nic_count++] = nic;
	return ST_OK;
}

struct nic *networks_nic(struct machine *m, unsigned index)
{
	return m->networks && index < m->networks->nic_count ? m->networks->nics[index] : NULL;
}

void networks_changed(struct machine *m)
{
	for (struct network *n = network_next(m, NULL); n; n = network_next(m, n))
		network_follow(n);
}

bool networks_step(struct machine *m)
{
	if (!m->networks)
		return false;
	networks_changed(m);
	network_captures_step(m->networks);
	return false;
}

/* ---- the table ---- */

struct network *network_at(struct machine *m, unsigned place)
{
	return m->networks && place < NETWORKS_MAX ? m->networks->at[place] : NULL;
}

struct network *network_next(struct machine *m, const struct network *prev)
{
	for (unsigned i = prev ? prev->place + 1 : 0; i < NETWORKS_MAX; i++)
		if (network_at(m, i))
			return network_at(m, i);
	return NULL;
}

struct network *network_find(struct machine *m, const char *name)
{
	for (struct network *n = network_next(m, NULL); n; n = network_next(m, n))
		if (strcmp(n->config.name, name) == 0)
			return n;
	return NULL;
}

const struct network_config *network_config_of(const struct network *n) { return &n->config; }
unsigned network_place(const struct network *n) { return n->place; }

static const struct network_client *first_client(const struct network *n)
{
	unsigned i = 0;

	while (i < NET_PORTS_MAX && !n->clients[i])
		i++;
	return i < NET_PORTS_MAX ? n->clients[i] : NULL;
}

/* ---- definitions ---- */

/* The interface is there, no other network's, and takes what guests send. */
static enum status check_uplink(struct machine *m, const struct network_config *cfg, struct error *err)
{
	struct nic *nic = NULL;
	char shown[NIC_NAME_MAX];

	for (unsigned i = 0; i < m->networks->nic_count; i++)
		if (strcmp(m->networks->nics[i]->name, cfg->uplink) == 0)
			nic = m->networks->nics[i];
	if (!nic)
		return refuse(cfg, err, ST_NOT_FOUND, "uplink: this machine has no interface called %s",
			      log_clean(shown, sizeof shown, cfg->uplink, strlen(cfg->uplink)));
	for (struct network *n = network_next(m, NULL); n; n = network_next(m, n))
		if (strcmp(n->config.uplink, cfg->uplink) == 0 && strcmp(n->config.name, cfg->name) != 0)
			return refuse(cfg, err, ST_BUSY, "uplink: %s is that of network %s", nic->name, n->config.name);
	if (cfg->mtu + NET_ETHERNET_BYTES + NET_TAG_BYTES > nic->max_frame)
		return refuse(cfg, err, ST_INVALID, "mtu is %u, and %s takes frames of at most %u bytes with headers",
			      cfg->mtu, nic->name, nic->max_frame);
	return ST_OK;
}

static enum status make(struct machine *m, const struct network_config *cfg, struct error *err)
{
	struct networks *all = m->networks;
	struct error why = {""};
	unsigned place = 0;
	struct network *n;
	enum status st;
	void *memory;

	while (place < NETWORKS_MAX && all->at[place])
		place++;
	if (place == NETWORKS_MAX)
		return refuse(cfg, err, ST_OVER_LIMIT, "there are %u networks already", NETWORKS_MAX);
	st = machine_take(m, sizeof *n, cfg->name, &memory, &why);
	if (st != ST_OK)
		return refuse(cfg, err, st, "%.150s", why.text);
	n = memory;
	n->all = all;
	n->place = place;
	n->config = *cfg;
	st = network_start(n, &why);
	if (st != ST_OK) {
		machine_give(m, n, sizeof *n);
		return refuse(cfg, err, st, "%.150s", why.text);
	}
	all->at[place] = n;
	if (cfg->uplink[0])
		st = network_wire(n, &why);
	if (st == ST_OK)
		return ST_OK;
	drop(n);
	return refuse(cfg, err, st, "uplink: %.150s", why.text);
}

/* Another interface, or none; nobody is on the network. On failure it has none. */
static enum status rewire(struct network *n, const struct network_config *cfg, struct error *err)
{
	if (n->wired)
		network_unwire(n);
	n->config = *cfg;
	return cfg->uplink[0] ? network_wire(n, err) : ST_OK;
}

static enum status change(struct network *n, const struct network_config *cfg, struct error *err)
{
	bool same_uplink = strcmp(n->config.uplink, cfg->uplink) == 0;
	const struct network_client *on = first_client(n);
	struct error why = {""};
	unsigned long masked;
	enum status st;

	if (!same_uplink && on)
		return refuse(cfg, err, ST_BUSY, "its uplink cannot change: VM %s is on it", on->vm->config.name);
	masked = networks_mask(n->all);
	st = net_switch_set(&n->sw, &cfg->settings, &why);
	networks_unmask(n->all, masked);
	if (st == ST_OK && !same_uplink) {
		st = rewire(n, cfg, &why);
		if (st != ST_OK)
			n->config.uplink[0] = '\0';
	} else if (st == ST_OK && n->wired) {
		st = network_uplink_set(n, cfg, &why);
	}
	if (st != ST_OK)
		return refuse(cfg, err, st, "%.150s", why.text);
	n->config = *cfg;
	return ST_OK;
}

enum status network_define(struct machine *m, const struct network_config *cfg, struct error *err)
{
	enum status st = network_config_check(cfg, err);
	struct network *n;

	if (st == ST_OK && cfg->uplink[0])
		st = check_uplink(m, cfg, err);
	if (st != ST_OK)
		return st;
	n = network_find(m, cfg->name);
	return n ? change(n, cfg, err) : make(m, cfg, err);
}

enum status network_remove(struct machine *m, const char *name, struct error *err)
{
	struct network *n = network_find(m, name);
	const struct network_client *on;
	char shown[VM_NAME_MAX];

	if (!n)
		return fail(err, ST_NOT_FOUND, "there is no network called %s",
			    log_clean(shown, sizeof shown, name, strlen(name)));
	on = first_client(n);
	if (on)
		return fail(err, ST_BUSY, "network %s cannot be removed: net.%s of VM %s is on it", n->config.name,
			    on->vm->config.nics[on->nic].name, on->vm->config.name);
	drop(n);
	return ST_OK;
}
