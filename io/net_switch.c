/* SPDX-License-Identifier: Apache-2.0 */
/* The switch and its ports: coming, going, numbers and figures (see net_switch.h). */
#include "io/net_switch.h"

#include "io/net_switch_internal.h"
#include "io/net_table.h"
#include "lib/assert.h"

#define BURST_MS 2u

/* ---- settings ---- */

void net_switch_settings_init(struct net_switch_settings *set)
{
	*set = (struct net_switch_settings){.patience_ns = NET_PATIENCE_DEFAULT_NS, .age_ns = NET_AGE_DEFAULT_NS};
}

static enum status check_settings(const struct net_switch_settings *set, struct error *err)
{
	if (set->patience_ns > NET_PATIENCE_MAX_NS)
		return fail(err, ST_INVALID, "a patience of %llu ns is more than a second",
			    (unsigned long long)set->patience_ns);
	if (set->age_ns < NET_AGE_MIN_NS || set->age_ns > NET_AGE_MAX_NS)
		return fail(err, ST_INVALID, "addresses are kept from a second to an hour, not %llu ns",
			    (unsigned long long)set->age_ns);
	return ST_OK;
}

static void use_settings(struct net_switch *sw, const struct net_switch_settings *set)
{
	sw->settings = *set;
	__atomic_store_n(&sw->age, ns_to_ticks(set->age_ns, sw->env.hz), __ATOMIC_RELAXED);
	__atomic_store_n(&sw->patience, ns_to_ticks(set->patience_ns, sw->env.hz), __ATOMIC_RELAXED);
}

enum status net_switch_init(struct net_switch *sw, const struct net_env *env, const struct net_switch_settings *set,
			    struct error *err)
{
	enum status st = check_settings(set, err);

	if (st != ST_OK)
		return st;
	sw->env = *env;
	lock_init(&sw->lock, LOCK_NET);
	use_settings(sw, set);
	net_table_init(sw, net_now(sw));
	return ST_OK;
}

enum status net_switch_set(struct net_switch *sw, const struct net_switch_settings *set, struct error *err)
{
	enum status st = check_settings(set, err);

	if (st != ST_OK)
		return st;
	lock_acquire(&sw->lock);
	use_settings(sw, set);
	lock_release(&sw->lock);
	return ST_OK;
}

/* ---- a port's numbers ---- */

static enum status check_vlans(const struct net_port_config *cfg, struct error *err)
{
	if (cfg->vlan > NET_VLAN_MAX)
		return fail(err, ST_INVALID, "there is no VLAN %u: they are 1 to %u", cfg->vlan, NET_VLAN_MAX);
	if (cfg->trunk_count > NET_PORT_VLANS_MAX)
		return fail(err, ST_INVALID, "%u VLANs of a trunk are more than %u", cfg->trunk_count, NET_PORT_VLANS_MAX);
	for (unsigned i = 0; i < cfg->trunk_count; i++)
		if (cfg->trunk[i] == 0 || cfg->trunk[i] > NET_VLAN_MAX)
			return fail(err, ST_INVALID, "there is no VLAN %u: they are 1 to %u", cfg->trunk[i], NET_VLAN_MAX);
	if (cfg->trunk_all && cfg->locked_mac)
		return fail(err, ST_INVALID, "a port of all VLANs cannot have a locked address");
	return ST_OK;
}

static enum status check_config(const struct net_port_config *cfg, struct error *err)
{
	static const uint8_t zeroes[NET_MAC_BYTES];

	if (cfg->locked_mac && (net_is_group(cfg->mac) || memcmp(cfg->mac, zeroes, NET_MAC_BYTES) == 0))
		return fail(err, ST_INVALID, "%02x:%02x:%02x:%02x:%02x:%02x is no host's address", cfg->mac[0], cfg->mac[1],
			    cfg->mac[2], cfg->mac[3], cfg->mac[4], cfg->mac[5]);
	if (cfg->ip_count > NET_PORT_IPS_MAX)
		return fail(err, ST_INVALID, "%u IP addresses are more than %u", cfg->ip_count, NET_PORT_IPS_MAX);
	if (cfg->mtu < NET_MTU_MIN || cfg->mtu > NET_MTU_MAX)
		return fail(err, ST_INVALID, "the MTU is %u, it can be %u to %u", cfg->mtu, NET_MTU_MIN, NET_MTU_MAX);
	return check_vlans(cfg, err);
}

/* Two hosts with one address would take each other's frames, even if they are on different VLANs today. */
static enum status check_address(struct net_switch *sw, const struct net_port *p, const struct net_port_config *cfg,
				 struct error *err)
{
	for (unsigned i = 0; i < NET_PORTS_MAX && cfg->locked_mac; i++) {
		const struct net_port *other = sw->places[i].port;

		if (other && other != p && other->config.locked_mac &&
		    memcmp(other->config.mac, cfg->mac, NET_MAC_BYTES) == 0)
			return fail(err, ST_EXISTS, "another port has the address %02x:%02x:%02x:%02x:%02x:%02x",
				    cfg->mac[0], cfg->mac[1], cfg->mac[2], cfg->mac[3], cfg->mac[4], cfg->mac[5]);
	}
	return ST_OK;
}

static uint64_t gate_of(const struct net_port *p, const struct net_port_config *cfg)
{
	return cfg->vlan | (p->ops->cancel ? NET_GATE_KEEPS : 0) | (cfg->up ? NET_GATE_UP : 0) |
	       (cfg->isolated ? NET_GATE_ISOLATED : 0) | (cfg->trunk_all ? NET_GATE_ALL_TAGS : 0) |
	       (cfg->locked_mac ? NET_GATE_LOCKED : 0) |
	       (uint64_t)cfg->trunk_count << NET_GATE_TAGS_LO | (uint64_t)cfg->mtu << NET_GATE_MTU_LO;
}

/*
 * @p's lock is held. The tags before the word that says how many there are: whoever reads the one with the other sees
 * tags that the port had or has.
 */
static void use_config(struct net_port *p, const struct net_port_config *cfg, uint64_t now)
{
	uint64_t burst = cfg->rate_burst ? cfg->rate_burst : MAX(cfg->rate / 1000 * BURST_MS, NET_BYTES_MAX);
	uint64_t hz = p->sw->env.hz;

	if (cfg->rate != p->config.rate || cfg->rate_burst != p->config.rate_burst)
		net_bucket_set(&p->rate, cfg->rate, burst, hz, now);
	if (cfg->storm != p->config.storm)
		net_bucket_set(&p->storm, cfg->storm, cfg->storm, hz, now);
	p->config = *cfg;
	for (unsigned i = 0; i < cfg->trunk_count; i++)
		__atomic_store_n(&p->tags[i], cfg->trunk[i], __ATOMIC_RELAXED);
	__atomic_store_n(&p->gate, gate_of(p, cfg), __ATOMIC_RELEASE);
}

/* Whom frames to several are for. The switch's lock is held. */
static void note(struct net_switch *sw, unsigned index, bool present, bool learning)
{
	uint64_t others = ~BIT(index);

	__atomic_store_n(&sw->present, (sw->present & others) | (present ? BIT(index) : 0), __ATOMIC_RELEASE);
	__atomic_store_n(&sw->learning, (sw->learning & others) | (learning ? BIT(index) : 0), __ATOMIC_RELEASE);
}

/* ---- coming and going ---- */

static enum status take_place(struct net_port *p, struct net_switch *sw, struct error *err)
{
	for (unsigned i = 0; i < NET_PORTS_MAX; i++) {
		if (sw->places[i].taken)
			continue;
		p->index = i;
		return ST_OK;
	}
	return fail(err, ST_OVER_LIMIT, "the switch has %u ports, and all are taken", NET_PORTS_MAX);
}

/* The switch's lock is held. */
static enum status admit(struct net_port *p, const struct net_port_config *cfg, bool uplink, struct error *err)
{
	struct net_switch *sw = p->sw;
	enum status st = check_address(sw, p, cfg, err);

	if (st == ST_OK)
		st = take_place(p, sw, err);
	if (st != ST_OK)
		return st;
	if (uplink && sw->uplink)
		return fail(err, ST_EXISTS, "the switch has an uplink already");
	if (!net_table_set(p, cfg))
		return fail(err, ST_OVER_LIMIT, "the table of addresses has no place for the port's");
	return ST_OK;
}

enum status net_port_open(struct net_port *p, struct net_switch *sw, const struct net_port_ops *ops, void *ctx,
			  const struct net_port_config *cfg, bool uplink, struct error *err)
{
	enum status st = check_config(cfg, err);

	if (st != ST_OK)
		return st;
	ASSERT(uplink || !ops->cancel);
	*p = (struct net_port){.sw = sw, .ops = ops, .ctx = ctx, .told = MCLOCK_NEVER};
	lock_init(&p->lock, LOCK_NET_PORT);
	list_init(&p->waiting);
	list_init(&p->impatient);
	lock_acquire(&sw->lock);
	st = admit(p, cfg, uplink, err);
	if (st == ST_OK) {
		use_config(p, cfg, net_now(sw));
		sw->places[p->index].taken = true;
		__atomic_store_n(&sw->places[p->index].port, p, __ATOMIC_SEQ_CST);
		note(sw, p->index, true, !cfg->locked_mac);
		if (uplink)
			__atomic_store_n(&sw->uplink, p->index + 1, __ATOMIC_RELEASE);
	}
	lock_release(&sw->lock);
	return st;
}

enum status net_port_set(struct net_port *p, const struct net_port_config *cfg, struct error *err)
{
	struct net_switch *sw = p->sw;
	enum status st = check_config(cfg, err);
	struct list told;

	if (st != ST_OK)
		return st;
	lock_acquire(&sw->lock);
	st = check_address(sw, p, cfg, err);
	if (st == ST_OK && !net_table_set(p, cfg))
		st = fail(err, ST_OVER_LIMIT, "the table of addresses has no place for the port's");
	if (st != ST_OK) {
		lock_release(&sw->lock);
		return st;
	}
	lock_acquire(&p->lock);
	use_config(p, cfg, net_now(sw));
	lock_release(&p->lock);
	note(sw, p->index, true, !cfg->locked_mac);
	lock_release(&sw->lock);
	/* Who waits may find that it need not, or must not, any more. */
	lock_acquire(&p->lock);
	net_list_take(&p->waiting, &told);
	net_port_tell(p, &told);
	lock_acquire(&p->lock);
	net_list_take(&p->impatient, &told);
	net_port_tell(p, &told);
	return ST_OK;
}

/* Out of the switch: nobody finds it any more. */
static void leave(struct net_port *p)
{
	struct net_switch *sw = p->sw;

	lock_acquire(&sw->lock);
	net_table_forget(p);
	note(sw, p->index, false, false);
	if (sw->uplink == p->index + 1)
		__atomic_store_n(&sw->uplink, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&sw->places[p->index].port, NULL, __ATOMIC_SEQ_CST);
	lock_release(&sw->lock);
	lock_acquire(&p->lock);
	ASSERT(list_empty(&p->waiting));
	p->closing = true;
	if (p->told != MCLOCK_NEVER)
		sw->env.wake_at(sw->env.ctx, p, MCLOCK_NEVER);
	p->told = MCLOCK_NEVER;
	lock_release(&p->lock);
}

/* Once it is closing nobody begins to wait for it. */
bool net_port_close(struct net_port *p)
{
	struct net_place *place = &p->sw->places[p->index];
	struct list told;

	if (p->closed)
		return true;
	if (!p->closing)
		leave(p);
	lock_acquire(&p->lock);
	net_list_take(&p->impatient, &told);
	net_port_tell(p, &told);
	if (__atomic_load_n(&place->users, __ATOMIC_SEQ_CST) != 0)
		return false;
	lock_acquire(&p->sw->lock);
	place->taken = false;
	p->closed = true;
	lock_release(&p->sw->lock);
	return true;
}

/* ---- taps ---- */

void net_port_tap(struct net_port *p, struct net_tap *tap)
{
	lock_acquire(&p->lock);
	__atomic_store_n(&p->tap, tap, __ATOMIC_SEQ_CST);
	lock_release(&p->lock);
}

/* Its sender holds the port while it writes to the tap, from under the lock on. */
bool net_port_untap(struct net_port *p)
{
	net_port_tap(p, NULL);
	return __atomic_load_n(&p->sw->places[p->index].users, __ATOMIC_SEQ_CST) == 0;
}

/* ---- figures ---- */

void net_port_figures(struct net_port *p, struct net_port_figures *out)
{
	const uint64_t *from = (const uint64_t *)&p->figures;
	uint64_t *to = (uint64_t *)out;

	_Static_assert(sizeof p->figures % sizeof *to == 0, "figures are words");
	for (unsigned i = 0; i < sizeof p->figures / sizeof *to; i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

bool net_switch_address(struct net_switch *sw, unsigned *index, uint8_t mac[NET_MAC_BYTES], uint16_t *vlan,
			unsigned *port, uint64_t *age_ns)
{
	struct net_found f;
	bool found = false;

	lock_acquire(&sw->lock);
	for (; *index < NET_ADDRESSES_MAX && !found; (*index)++) {
		uint64_t key = net_table_entry(sw, *index, &f), now = net_now(sw);

		if (key == 0 || net_table_is_old(sw, f.locked, f.heard_at, now))
			continue;
		found = true;
		for (unsigned i = 0; i < NET_MAC_BYTES; i++)
			mac[i] = (uint8_t)(key >> 8 * i);
		*vlan = (uint16_t)(key >> 48);
		*port = f.port;
		*age_ns = f.locked || now < f.heard_at ? 0 : ticks_to_ns(now - f.heard_at, sw->env.hz);
	}
	lock_release(&sw->lock);
	return found;
}

static bool port_is_right(struct net_switch *sw, unsigned index)
{
	struct net_port *p = sw->places[index].port;
	bool right;

	if (!p)
		return sw->uplink != index + 1 && !((sw->present | sw->learning) & BIT(index));
	if (!(sw->present & BIT(index)) || p->config.locked_mac == !!(sw->learning & BIT(index)))
		return false;
	lock_acquire(&p->lock);
	right = p->sw == sw && p->index == index && sw->places[index].taken && !p->closing &&
		p->gate == gate_of(p, &p->config) && check_config(&p->config, NULL) == ST_OK &&
		check_address(sw, p, &p->config, NULL) == ST_OK &&
		(p->told != MCLOCK_NEVER || (list_empty(&p->waiting) && list_empty(&p->impatient)));
	list_for_each(it, &p->waiting)
		right &= list_entry(it, struct net_ticket, link)->stage == NET_FOR_RATE;
	list_for_each(it, &p->impatient)
		right &= list_entry(it, struct net_ticket, link)->stage == NET_FOR_BUFFERS;
	lock_release(&p->lock);
	return right;
}

bool net_switch_check(struct net_switch *sw)
{
	bool right;

	lock_acquire(&sw->lock);
	right = net_table_check(sw);
	for (unsigned i = 0; i < NET_PORTS_MAX && right; i++)
		right = port_is_right(sw, i);
	lock_release(&sw->lock);
	return right;
}
