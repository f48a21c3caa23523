/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Captures: a tap (io/net_tap.h) on a port, with a ring that is the host's memory for as long as somebody reads it.
 * When the port goes, what is in the ring can still be read.
 */
#include <string.h>

#include "guest/machine_memory.h"
#include "guest/network_internal.h"
#include "lib/assert.h"
#include "lib/format.h"
#include "lib/log.h"

#define UNREAD_NS 60000000000ull /* it ends when nobody has read it for so long */

/* ---- whose ---- */

static struct net_port *port_of_vm(struct network *n, const char *name)
{
	char is[NETWORK_PORT_MAX];

	for (unsigned i = 0; i < NET_PORTS_MAX; i++) {
		if (!n->clients[i])
			continue;
		network_port_name(n, i, is);
		if (strcmp(is, name) == 0)
			return &n->clients[i]->port;
	}
	return NULL;
}

static struct net_port *port_of_wire(struct network *n, const char *name)
{
	char is[NETWORK_PORT_MAX];

	format(is, sizeof is, "%s/%s", n->config.name, NETWORK_UPLINK);
	return n->wired && strcmp(is, name) == 0 ? &n->uplink.port : NULL;
}

/* A VM's interface first, should it be called like the uplink of a network that is called like the VM. */
static struct net_port *find_port(struct machine *m, const char *name, struct network **network)
{
	struct net_port *p = NULL;

	for (*network = network_next(m, NULL); *network && !p; *network = p ? *network : network_next(m, *network))
		p = port_of_vm(*network, name);
	if (p)
		return p;
	for (*network = network_next(m, NULL); *network && !p; *network = p ? *network : network_next(m, *network))
		p = port_of_wire(*network, name);
	return p;
}

static struct network_capture *find(struct machine *m, uint32_t id)
{
	for (unsigned i = 0; id && m->networks && i < NETWORK_TAPS_MAX; i++)
		if (m->networks->captures[i].id == id)
			return &m->networks->captures[i];
	return NULL;
}

/* ---- one ---- */

static enum status check_free(struct networks *all, const struct net_port *p, struct network_capture **out,
			      struct error *err)
{
	*out = NULL;
	for (unsigned i = 0; i < NETWORK_TAPS_MAX; i++) {
		if (all->captures[i].id && all->captures[i].port == p)
			return fail(err, ST_BUSY, "somebody captures there already");
		if (!all->captures[i].id)
			*out = &all->captures[i];
	}
	return *out ? ST_OK : fail(err, ST_OVER_LIMIT, "there are %u captures already", NETWORK_TAPS_MAX);
}

static void begin(struct networks *all, struct network_capture *c, struct network *n, struct net_port *p, uint32_t snap)
{
	unsigned long masked = networks_mask(all);

	net_tap_init(&c->tap, c->ring, NETWORK_TAP_RING, snap ? MIN(snap, NET_TAP_SNAP_MAX) : NET_TAP_SNAP_MAX);
	c->id = ++all->last_capture ? all->last_capture : ++all->last_capture;
	c->network = n;
	c->port = p;
	c->asked_at = networks_clock(all)->ticks();
	net_port_tap(p, &c->tap);
	networks_unmask(all, masked);
}

enum status network_capture_begin(struct machine *m, const char *port, uint32_t snap, uint32_t *capture,
				  struct error *err)
{
	struct network_capture *c;
	char shown[NETWORK_PORT_MAX];
	struct network *n;
	struct net_port *p = find_port(m, port, &n);
	enum status st;

	if (!p)
		return fail(err, ST_NOT_FOUND, "there is no port called %s",
			    log_clean(shown, sizeof shown, port, strlen(port)));
	st = check_free(m->networks, p, &c, err);
	if (st == ST_OK)
		st = machine_take(m, NETWORK_TAP_RING, "a capture", &c->ring, err);
	if (st != ST_OK)
		return st;
	begin(m->networks, c, n, p, snap);
	*capture = c->id;
	return ST_OK;
}

bool network_captures_leave(struct network *n, struct net_port *p)
{
	for (unsigned i = 0; i < NETWORK_TAPS_MAX; i++) {
		struct network_capture *c = &n->all->captures[i];

		if (!c->id || c->port != p)
			continue;
		if (!net_port_untap(p))
			return false;
		c->port = NULL;
		c->network = NULL;
	}
	return true;
}

enum status network_capture_read(struct machine *m, uint32_t capture, struct net_tap_record *r, void *data, bool *got,
				 struct error *err)
{
	struct network_capture *c = find(m, capture);
	unsigned long masked;
	bool there;

	if (!c)
		return fail(err, ST_NOT_FOUND, "capture %u has ended", capture);
	c->asked_at = networks_clock(m->networks)->ticks();
	masked = networks_mask(m->networks);
	there = net_tap_read(&c->tap, r, data);
	networks_unmask(m->networks, masked);
	if (!there && !c->port)
		return fail(err, ST_NOT_FOUND, "the port of capture %u is gone", capture);
	*got = there;
	return ST_OK;
}

static void end(struct networks *all, struct network_capture *c)
{
	unsigned long masked = networks_mask(all);

	while (c->port && !network_captures_leave(c->network, c->port)) {
		networks_unmask(all, masked);
		__builtin_ia32_pause();
		masked = networks_mask(all);
	}
	networks_unmask(all, masked);
	machine_give(all->machine, c->ring, NETWORK_TAP_RING);
	*c = (struct network_capture){.id = 0};
}

enum status network_capture_end(struct machine *m, uint32_t capture, uint64_t *lost, struct error *err)
{
	struct network_capture *c = find(m, capture);

	if (!c)
		return fail(err, ST_NOT_FOUND, "capture %u has ended", capture);
	*lost = c->tap.lost;
	end(m->networks, c);
	return ST_OK;
}

/* ---- all ---- */

void network_captures_step(struct networks *all)
{
	const struct clock *clock = networks_clock(all);

	for (unsigned i = 0; i < NETWORK_TAPS_MAX; i++) {
		struct network_capture *c = &all->captures[i];

		if (!c->id || clock->ticks() - c->asked_at < ns_to_ticks(UNREAD_NS, clock->hz))
			continue;
		log_info("capture %u has ended: nobody reads it", c->id);
		end(all, c);
	}
}

void network_captures_end(struct networks *all)
{
	for (unsigned i = 0; i < NETWORK_TAPS_MAX; i++)
		if (all->captures[i].id)
			end(all, &all->captures[i]);
}

unsigned network_captures_of(const struct network *n)
{
	unsigned count = 0;

	for (unsigned i = 0; i < NETWORK_TAPS_MAX; i++)
		count += n->all->captures[i].id && n->all->captures[i].network == n;
	return count;
}
