/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes on in a network by itself: its worker, which sends and receives for the uplink and ends what ports were
 * waiting for, and the copy of the tree of pools in the uplink's.
 *
 * A port's time comes under the lock of a CPU's timers, which may take no port's. So its handler leaves a bit, and the
 * worker calls the port: also for one whose VM is paused, for it is others that wait for it. Who closes a port clears
 * the bit, and the worker says which bit it looks at before it takes it: one of the two sees the other.
 */
#include <string.h>

#include "guest/network_internal.h"
#include "lib/assert.h"
#include "lib/format.h"

#define STEP_BUDGET 20000u /* host instructions */

/* ---- ports whose time has come ---- */

void network_port_due(struct network *n, unsigned index)
{
	__atomic_fetch_or(&n->due, BIT(index), __ATOMIC_SEQ_CST);
	worker_ask(&n->worker);
}

static void uplink_due(struct timer *t, uint64_t now)
{
	struct network *n = container_of(container_of(t, struct host_alarm, timer), struct network, alarm);

	(void)now;
	network_port_due(n, n->uplink.port.index);
}

static void wake_port_at(void *ctx, struct net_port *p, uint64_t at)
{
	struct network *n = ctx;
	const struct host_ops *host = n->all->machine->host;
	struct host_alarm *alarm =
		p == &n->uplink.port ? &n->alarm : &container_of(p, struct network_client, port)->alarm;

	/* One that is not wanted any more costs a look, and taking it back would cost more. */
	if (at == MCLOCK_NEVER)
		return;
	if (at <= host->clock->ticks())
		network_port_due(n, p->index);
	else
		host_alarm_set(host, alarm, at);
}

static void expire(struct network *n, unsigned index)
{
	struct net_port *p;

	__atomic_store_n(&n->expiring, index + 1, __ATOMIC_SEQ_CST);
	if (__atomic_fetch_and(&n->due, ~BIT(index), __ATOMIC_SEQ_CST) & BIT(index)) {
		p = __atomic_load_n(&n->sw.places[index].port, __ATOMIC_ACQUIRE);
		if (p)
			net_port_expired(p);
	}
	__atomic_store_n(&n->expiring, 0, __ATOMIC_SEQ_CST);
}

bool network_port_forget(struct network *n, struct host_alarm *alarm, unsigned index)
{
	host_alarm_cancel(n->all->machine->host, alarm);
	__atomic_fetch_and(&n->due, ~BIT(index), __ATOMIC_SEQ_CST);
	return __atomic_load_n(&n->expiring, __ATOMIC_SEQ_CST) != index + 1;
}

/* ---- the worker ---- */

static bool step(struct worker *w)
{
	struct network *n = container_of(w, struct network, worker);

	for (uint64_t due = __atomic_load_n(&n->due, __ATOMIC_SEQ_CST); due; due &= due - 1)
		expire(n, bit_lowest(due));
	return n->wired && net_uplink_run(&n->uplink, STEP_BUDGET);
}

static uint64_t now_of(void *ctx) { return networks_clock(((struct network *)ctx)->all)->ticks(); }

static enum status start_worker(struct network *n, struct error *err)
{
	char name[SCHED_NAME_MAX];

	format(name, sizeof name, "net/%.24s", n->config.name);
	return worker_start(&n->worker, n->all->machine, name, step, err);
}

enum status network_start(struct network *n, struct error *err)
{
	const struct net_env env = {
		.now = now_of, .hz = networks_clock(n->all)->hz, .wake_at = wake_port_at, .ctx = n};
	unsigned long masked = networks_mask(n->all);
	enum status st = net_switch_init(&n->sw, &env, &n->config.settings, err);

	networks_unmask(n->all, masked);
	host_alarm_init(&n->alarm, uplink_due);
	return st == ST_OK ? start_worker(n, err) : st;
}

void network_stop(struct network *n)
{
	if (n->wired)
		network_unwire(n);
	worker_stop(&n->worker);
}

/* ---- the tree ---- */

static const struct rls unlimited = {.limit = RLS_UNLIMITED, .shares = RLS_SHARES_DEFAULT};

static struct net_uplink *uplink_of(struct pool_copies *c) { return &container_of(c, struct network, pools)->uplink; }

static struct network_client *client_of(const struct pool_member *m)
{
	return container_of(m, struct network_client, member);
}

static void pool_numbers(const struct pool *p, struct pool_numbers *out)
{
	*out = (struct pool_numbers){MCLOCK_BYTES, p->config.net.numbers};
}

static const struct vm *member_numbers(const struct pool_member *m, struct pool_numbers *out)
{
	const struct network_client *c = client_of(m);

	*out = (struct pool_numbers){MCLOCK_BYTES, c->vm->config.nics[c->nic].numbers};
	return c->vm;
}

static void begin_pool(struct pool_copies *c, struct mclock_pool *p, struct mclock_pool *above,
		       const struct pool_numbers *n)
{
	net_uplink_pool_begin(uplink_of(c), p, above, &n->rls);
}

static void end_pool(struct pool_copies *c, struct mclock_pool *p) { net_uplink_pool_end(uplink_of(c), p); }

static void set_pool(struct pool_copies *c, struct mclock_pool *p, const struct pool_numbers *n)
{
	net_uplink_pool_set(uplink_of(c), p, &n->rls);
}

static void move_member(struct pool_member *m, struct mclock_pool *to)
{
	net_uplink_client_move(&client_of(m)->network->uplink, &client_of(m)->sender, to);
}

static void set_member(struct pool_member *m, const struct pool_numbers *n)
{
	net_uplink_client_set(&client_of(m)->network->uplink, &client_of(m)->sender, &n->rls);
}

static void hold(struct pool_copies *c) { net_uplink_hold(uplink_of(c)); }
static void let_go(struct pool_copies *c) { net_uplink_let_go(uplink_of(c)); }

static const struct pool_copies_ops pool_ops = {
	.pool_numbers = pool_numbers, .member_numbers = member_numbers, .begin = begin_pool, .end = end_pool,
	.set = set_pool, .member_move = move_member, .member_set = set_member, .hold = hold, .let_go = let_go,
};

void network_follow(struct network *n)
{
	unsigned long masked;

	for (unsigned i = 0; n->client_count && i < NET_PORTS_MAX; i++) {
		if (!n->clients[i])
			continue;
		masked = networks_mask(n->all);
		network_client_follow(n->clients[i]);
		networks_unmask(n->all, masked);
	}
	if (n->wired)
		pool_copies_follow(&n->pools);
}

void network_uplink_join(struct network_client *c)
{
	struct network *n = c->network;
	const struct pool_numbers first = {MCLOCK_BYTES, unlimited};

	if (!n->wired)
		return;
	net_uplink_client_begin(&n->uplink, &c->sender, &c->port, NULL, &unlimited);
	pool_copies_add(&n->pools, &c->member, &first);
	pool_copies_follow_one(&n->pools, &c->member);
}

void network_uplink_leave(struct network_client *c)
{
	if (!c->network->wired)
		return;
	pool_copies_remove(&c->network->pools, &c->member);
	net_uplink_client_end(&c->network->uplink, &c->sender);
}

/* ---- the uplink ---- */

static void wake(void *ctx) { worker_ask(&((struct network *)ctx)->worker); }
static void wake_at(void *ctx, uint64_t at) { worker_ask_at(&((struct network *)ctx)->worker, at); }

static struct nic *find_nic(const struct networks *all, const char *name)
{
	for (unsigned i = 0; i < all->nic_count; i++)
		if (strcmp(all->nics[i]->name, name) == 0)
			return all->nics[i];
	return NULL;
}

static void set_vlan(struct network *n, uint16_t vlan)
{
	struct net_port_config port = n->uplink.port.config;
	enum status st;

	if (port.vlan == vlan)
		return;
	port.vlan = vlan;
	st = net_port_set(&n->uplink.port, &port, NULL);
	ASSERT(st == ST_OK); /* network_config_check() holds */
}

static void close_uplink(struct network *n)
{
	unsigned long masked = networks_mask(n->all);

	while (!network_captures_leave(n, &n->uplink.port) || !net_uplink_close(&n->uplink) ||
	       !network_port_forget(n, &n->alarm, n->uplink.port.index)) {
		networks_unmask(n->all, masked);
		__builtin_ia32_pause();
		masked = networks_mask(n->all);
	}
	networks_unmask(n->all, masked);
}

static enum status open_uplink(struct network *n, struct error *err)
{
	const struct net_uplink_env env = {.wake = wake, .wake_at = wake_at, .ctx = n};
	unsigned long masked;
	enum status st;

	memset(&n->uplink, 0, sizeof n->uplink);
	memset(&n->pools, 0, sizeof n->pools);
	pool_copies_init(&n->pools, n->all->machine, &pool_ops);
	masked = networks_mask(n->all);
	st = net_uplink_open(&n->uplink, &n->sw, find_nic(n->all, n->config.uplink), &env, &n->config.wire, err);
	if (st == ST_OK)
		set_vlan(n, n->config.uplink_vlan);
	networks_unmask(n->all, masked);
	return st;
}

static void ask_worker(struct network *n)
{
	unsigned long masked = networks_mask(n->all);

	worker_ask(&n->worker);
	networks_unmask(n->all, masked);
}

/* The worker looks at n->wired: it is changed while that is off. */
static void restart_worker(struct network *n, bool wired)
{
	enum status st;

	n->wired = wired;
	st = start_worker(n, NULL);
	ASSERT(st == ST_OK); /* its place was free a moment ago */
	ask_worker(n);
}

enum status network_wire(struct network *n, struct error *err)
{
	enum status st;

	worker_stop(&n->worker);
	st = open_uplink(n, err);
	restart_worker(n, st == ST_OK);
	return st;
}

void network_unwire(struct network *n)
{
	worker_stop(&n->worker);
	close_uplink(n);
	restart_worker(n, false);
}

enum status network_uplink_set(struct network *n, const struct network_config *cfg, struct error *err)
{
	unsigned long masked = networks_mask(n->all);
	enum status st = net_uplink_set(&n->uplink, &cfg->wire, err);

	if (st == ST_OK)
		set_vlan(n, cfg->uplink_vlan);
	networks_unmask(n->all, masked);
	return st;
}
