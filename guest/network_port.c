/* SPDX-License-Identifier: Apache-2.0 */
/* The ports of VMs' interfaces, and what all ports say of themselves. */
#include <string.h>

#include "guest/network_internal.h"
#include "guest/vm_virtio.h"
#include "io/virtio_net.h"
#include "lib/assert.h"
#include "lib/format.h"
#include "lib/log.h"

/* ---- a VM's interface ---- */

uint64_t network_client_bytes(void) { return align_up(sizeof(struct network_client), VM_VIRTIO_ALIGN); }

static struct net_port_config port_config(const struct network_client *c, const struct vm_nic *nic)
{
	struct net_port_config cfg = {
		.locked_mac = !nic->any_mac, .ip_count = nic->ip_count, .vlan = nic->vlan, .trunk_count = nic->trunk_count,
		.isolated = nic->isolated, .up = nic->connected, .mtu = c->mtu, .rate = nic->rate, .storm = nic->storm,
	};

	vm_nic_mac(&c->vm->config, nic, cfg.mac);
	memcpy(cfg.ips, nic->ips, sizeof cfg.ips);
	memcpy(cfg.trunk, nic->trunk, sizeof cfg.trunk);
	return cfg;
}

static void port_due(struct timer *t, uint64_t now)
{
	struct network_client *c = container_of(container_of(t, struct host_alarm, timer), struct network_client, alarm);

	(void)now;
	network_port_due(c->network, c->port.index);
}

uint32_t network_mtu(struct machine *m, const struct vm_nic *nic)
{
	const struct network *n = network_find(m, nic->network);

	return nic->mtu ? nic->mtu : n ? n->config.mtu : NET_MTU_DEFAULT;
}

static void enter(struct network_client *c)
{
	struct network *n = c->network;

	n->clients[c->port.index] = c;
	n->client_count++;
	network_uplink_join(c);
}

enum status network_client_open(struct vm *vm, const struct vm_nic *nic, void *dev, void *memory,
				struct network_client **out, struct error *err)
{
	struct machine *m = vm->machine;
	struct network *n = network_find(m, nic->network);
	struct network_client *c = memory;
	struct error why = {""};
	unsigned long masked;
	enum status st;

	if (!m->networks)
		return fail(err, ST_UNSUPPORTED, "this machine has no networks");
	if (!n)
		return fail(err, ST_NOT_FOUND, "there is no network called %s", nic->network);
	memset(c, 0, sizeof *c);
	c->network = n;
	c->vm = vm;
	c->nic = (unsigned)(nic - vm->config.nics);
	c->mtu = network_mtu(m, nic);
	c->given = port_config(c, nic);
	host_alarm_init(&c->alarm, port_due);
	masked = networks_mask(n->all);
	st = net_port_open(&c->port, &n->sw, &virtio_net_port_ops, dev, &c->given, false, &why);
	if (st == ST_OK)
		enter(c);
	networks_unmask(n->all, masked);
	if (st != ST_OK)
		return fail(err, st, "network %s: %.140s", n->config.name, why.text);
	*out = c;
	return ST_OK;
}

struct net_port *network_client_port(struct network_client *c) { return &c->port; }

void network_client_renumber(struct network_client *c, const struct vm_nic *nic)
{
	struct net_port_config cfg = port_config(c, nic);
	struct error err;

	if (memcmp(&cfg, &c->given, sizeof cfg) != 0) {
		c->given = cfg; /* also when it is refused: once is enough to say so */
		if (net_port_set(&c->port, &cfg, &err) != ST_OK)
			log_error("VM %s: net.%s: its numbers do not count: %s", c->vm->config.name, nic->name, err.text);
	}
	if (c->network->wired)
		pool_copies_follow_one(&c->network->pools, &c->member);
}

void network_client_follow(struct network_client *c) { network_client_renumber(c, &c->vm->config.nics[c->nic]); }

static void add(struct net_port_figures *to, const struct net_port_figures *f)
{
	_Static_assert(sizeof *f % sizeof(uint64_t) == 0, "all of them count");
	for (unsigned i = 0; i < sizeof *f / sizeof(uint64_t); i++)
		((uint64_t *)to)[i] += ((const uint64_t *)f)[i];
}

bool network_client_close(struct network_client *c)
{
	struct network *n = c->network;
	unsigned long masked = networks_mask(n->all);
	bool closed = network_captures_leave(n, &c->port) && net_port_close(&c->port) &&
		      network_port_forget(n, &c->alarm, c->port.index);
	struct net_port_figures last;

	if (closed) {
		network_uplink_leave(c);
		net_port_figures(&c->port, &last);
		add(&n->gone, &last);
		n->clients[c->port.index] = NULL;
		n->client_count--;
	}
	networks_unmask(n->all, masked);
	return closed;
}

void network_client_figures(struct network_client *c, struct vm_nic_figures *out)
{
	struct net_uplink *u = &c->network->uplink;

	net_port_figures(&c->port, &out->port);
	out->up = c->given.up;
	if (!c->network->wired)
		return;
	lock_acquire(&u->lock);
	out->wire_frames = c->sender.sent_frames;
	out->wire_bytes = c->sender.sent_bytes;
	out->wire_queued = c->sender.queued;
	out->wire_throttled = c->sender.throttled;
	out->held = c->sender.held;
	lock_release(&u->lock);
}

/* ---- what there is ---- */

static bool is_uplink(const struct network *n, unsigned index) { return n->wired && n->uplink.port.index == index; }

struct net_port *network_port_at(struct network *n, unsigned index)
{
	if (index >= NET_PORTS_MAX)
		return NULL;
	if (is_uplink(n, index))
		return &n->uplink.port;
	return n->clients[index] ? &n->clients[index]->port : NULL;
}

void network_port_name(const struct network *n, unsigned index, char out[NETWORK_PORT_MAX])
{
	const struct network_client *c = index < NET_PORTS_MAX ? n->clients[index] : NULL;

	out[0] = '\0';
	if (is_uplink(n, index))
		format(out, NETWORK_PORT_MAX, "%s", NETWORK_UPLINK);
	else if (c)
		format(out, NETWORK_PORT_MAX, "%s/%s", c->vm->config.name, c->vm->config.nics[c->nic].name);
}

bool network_next_port(struct network *n, unsigned index, unsigned *next, struct network_port_info *out)
{
	struct vm_nic_figures f = {.held = 0};
	unsigned long masked;
	struct net_port *p;

	while (index < NET_PORTS_MAX && !network_port_at(n, index))
		index++;
	p = network_port_at(n, index);
	if (!p)
		return false;
	masked = networks_mask(n->all);
	if (n->clients[index])
		network_client_figures(n->clients[index], &f);
	else
		net_port_figures(p, &f.port);
	*out = (struct network_port_info){
		.config = p->config, .figures = f.port, .up = p->config.up, .wire_frames = f.wire_frames,
		.wire_bytes = f.wire_bytes, .wire_queued = f.wire_queued, .wire_throttled = f.wire_throttled,
		.held = (unsigned)f.held,
	};
	networks_unmask(n->all, masked);
	network_port_name(n, index, out->name);
	*next = index + 1;
	return true;
}

bool network_next_address(struct network *n, unsigned *index, uint8_t mac[NET_MAC_BYTES], uint16_t *vlan,
			  char port[NETWORK_PORT_MAX], uint64_t *age_ns)
{
	unsigned long masked = networks_mask(n->all);
	unsigned at;
	bool there = net_switch_address(&n->sw, index, mac, vlan, &at, age_ns);

	networks_unmask(n->all, masked);
	if (there)
		network_port_name(n, at, port);
	return there;
}

void network_sum(struct network *n, struct net_port_figures *out)
{
	*out = n->gone;
	for (unsigned i = 0; i < NET_PORTS_MAX; i++) {
		struct net_port *p = network_port_at(n, i);
		struct net_port_figures f;
		unsigned long masked;

		if (!p)
			continue;
		masked = networks_mask(n->all);
		net_port_figures(p, &f);
		networks_unmask(n->all, masked);
		add(out, &f);
	}
}
