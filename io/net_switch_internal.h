/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of the switch: what a port may send (net_guard.c), how a frame is carried (net_carry.c), and the
 * ports themselves (net_switch.c).
 *
 * Holding a port. Who delivers to a port, or looks at it, found it by its index and must not lose it: it adds itself to
 * the users of that place and then reads who is there. A port that closes takes itself out of the place and then waits
 * for the users to be none; one of the two sees the other. Both do so in sequentially consistent order.
 */
#ifndef CORBEL_IO_NET_SWITCH_INTERNAL_H
#define CORBEL_IO_NET_SWITCH_INTERNAL_H

#include "io/net_switch.h"

/* What of a port's numbers is for receiving, in one word: it changes at once for who reads it without a lock. */
#define NET_GATE_VLAN MASK(11, 0)
#define NET_GATE_UP BIT(12)
#define NET_GATE_ISOLATED BIT(13)
#define NET_GATE_ALL_TAGS BIT(14)
#define NET_GATE_LOCKED BIT(15)
#define NET_GATE_KEEPS BIT(24) /* its ops keep frames and who waits */
#define NET_GATE_TAGS_HI 23
#define NET_GATE_TAGS_LO 16 /* how many of port.tags count */
#define NET_GATE_MTU_HI 47
#define NET_GATE_MTU_LO 32

#define NET_TCI_VLAN 0xfffu

static inline uint64_t net_gate(const struct net_port *p) { return __atomic_load_n(&p->gate, __ATOMIC_ACQUIRE); }

/* Whether a port with @gate is on VLAN @vlan. */
bool net_gate_takes_tag(const struct net_port *p, uint64_t gate, uint16_t vlan);
static inline bool net_gate_takes(const struct net_port *p, uint64_t gate, uint16_t vlan)
{
	return (gate & NET_GATE_VLAN) == vlan || net_gate_takes_tag(p, gate, vlan);
}
/* The same by numbers. */
bool net_config_takes(const struct net_port_config *cfg, uint16_t vlan);
bool net_config_takes_tag(const struct net_port_config *cfg, uint16_t vlan);

static inline struct net_port *net_hold(struct net_switch *sw, unsigned index)
{
	struct net_place *at = &sw->places[index];
	struct net_port *p;

	__atomic_fetch_add(&at->users, 1, __ATOMIC_SEQ_CST);
	p = __atomic_load_n(&at->port, __ATOMIC_SEQ_CST);
	if (unlikely(!p))
		__atomic_fetch_sub(&at->users, 1, __ATOMIC_RELEASE);
	return p;
}

static inline void net_let_go(struct net_switch *sw, unsigned index)
{
	__atomic_fetch_sub(&sw->places[index].users, 1, __ATOMIC_RELEASE);
}

/* Counting what one CPU at a time counts, others may read it; and what several count. */
static inline void net_count_own(uint64_t *n, uint64_t by) { __atomic_store_n(n, *n + by, __ATOMIC_RELAXED); }
static inline void net_count(uint64_t *n, uint64_t by) { __atomic_fetch_add(n, by, __ATOMIC_RELAXED); }

static inline uint64_t net_now(const struct net_switch *sw) { return sw->env.now(sw->env.ctx); }

/*
 * Whether @t->frame may be sent by @p, whose lock is held: its link, addresses and tags. NET_DROP_NONE: t->tci is set.
 */
enum net_drop net_guard_further(const struct net_port *p, struct net_ticket *t);

static inline bool net_same_mac(const uint8_t *a, const uint8_t *b)
{
	return get_le32(a) == get_le32(b) && get_le16(a + 4) == get_le16(b + 4);
}

static ALWAYS_INLINE enum net_drop net_guard(const struct net_port *p, struct net_ticket *t)
{
	const struct net_port_config *cfg = &p->config;
	const struct net_frame *f = t->frame;

	if (unlikely(!cfg->up))
		return NET_DROP_LINK;
	if (unlikely(!cfg->locked_mac))
		return net_guard_further(p, t);
	if (unlikely(!net_same_mac(net_source(f), cfg->mac)))
		return NET_DROP_MAC;
	if (unlikely(cfg->ip_count > 0 || f->l3 == NET_L3_ARP || f->tagged))
		return net_guard_further(p, t);
	t->tci = cfg->vlan;
	return NET_DROP_NONE;
}

/* Bytes of all the frames that @f is on a wire. */
uint32_t net_wire_bytes(const struct net_frame *f);

/* Who waits in @waiters, of @p, is told; the lock is held, and is not any more. */
void net_port_tell(struct net_port *p, struct list *waiters);
/* Moves all of @from to @to, an empty list. */
void net_list_take(struct list *from, struct list *to);

#endif
