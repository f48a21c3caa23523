/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A switch's table of addresses: which port is behind which address of which VLAN. It is read by every sender without
 * a lock and written under the switch's.
 *
 * An address may stand in any of NET_TABLE_WINDOW places in a row, from one that its hash says; it never moves, and a
 * place that was used once is never taken for the end of a row again, so that a reader finds what is there whatever is
 * written elsewhere meanwhile. Each entry has a version, odd while it is written: a reader believes only what had the
 * same even one before and after, and can ask later whether it still holds. The hash depends on the tick at which the
 * switch was made, so that it cannot be told from outside which addresses contend for places.
 *
 * A port has at most NET_PORT_ADDRESSES_MAX learned ones. A new one takes a place that is empty or too old, else that
 * of an older one of its own port, else, if its port has fewer than its equal part of the table, that of a port with
 * more: so a flood of addresses pushes out nobody's but its own.
 */
#ifndef CORBEL_IO_NET_TABLE_H
#define CORBEL_IO_NET_TABLE_H

#include "io/net_switch.h"

#define NET_TABLE_WINDOW 16u
#define NET_TABLE_FAIR (NET_ADDRESSES_MAX / NET_PORTS_MAX)

/* What was found; holds until the entry is written again. */
struct net_found {
	const struct net_address *entry; /* NULL: nothing was */
	uint32_t version;
	unsigned port; /* index */
	bool locked;
	uint64_t heard_at;
};

enum net_learning { NET_LEARNED, NET_NOT_LEARNED, NET_IS_LOCKED };

/* VLAN and address as one number. @mac is followed by two more bytes, as it is in a frame. */
static inline uint64_t net_key(uint16_t vlan, const uint8_t *mac)
{
	return (get_le64(mac) & MASK(47, 0)) | (uint64_t)vlan << 48;
}

#define NET_TABLE_LOCKED BIT(31) /* of net_address.port */
#define NET_TABLE_MASK (NET_ADDRESSES_MAX - 1u)
#define NET_TABLE_BITS 10u

void net_table_init(struct net_switch *sw, uint64_t seed);

/*
 * The first of the places that @key may stand in: multiply-shift with an odd multiplier that nobody knows
 * (M. Dietzfelbinger et al., "A reliable randomized algorithm for the closest-pair problem", 1997).
 */
static inline unsigned net_table_first(const struct net_switch *sw, uint64_t key)
{
	return (unsigned)(key * sw->multiplier >> (64 - NET_TABLE_BITS));
}

enum net_look { NET_LOOK_OTHER, NET_LOOK_TORN, NET_LOOK_RIGHT };

/*
 * Whether @a is what is known of @key. Acquiring loads keep their order among themselves; each field is read between
 * the two looks at the version.
 */
static inline enum net_look net_table_look(const struct net_address *a, uint64_t key, struct net_found *out)
{
	uint32_t version = __atomic_load_n(&a->version, __ATOMIC_ACQUIRE), port;
	uint64_t is = __atomic_load_n(&a->key, __ATOMIC_ACQUIRE);

	port = __atomic_load_n(&a->port, __ATOMIC_ACQUIRE);
	out->heard_at = __atomic_load_n(&a->heard_at, __ATOMIC_ACQUIRE);
	if (unlikely(version & 1 || __atomic_load_n(&a->version, __ATOMIC_RELAXED) != version))
		return NET_LOOK_TORN;
	if (is != key || port == 0)
		return NET_LOOK_OTHER;
	out->entry = a;
	out->version = version;
	out->port = (port & ~(uint32_t)NET_TABLE_LOCKED) - 1;
	out->locked = (port & NET_TABLE_LOCKED) != 0;
	return NET_LOOK_RIGHT;
}

struct net_found net_table_find_further(const struct net_switch *sw, uint64_t key);
/* False: nobody knows @key. Most stand in their first place; what is found there needs no memory. */
static ALWAYS_INLINE bool net_table_find(const struct net_switch *sw, uint64_t key, struct net_found *out)
{
	struct net_found first;

	if (likely(net_table_look(&sw->addresses[net_table_first(sw, key)], key, &first) == NET_LOOK_RIGHT))
		*out = first;
	else
		*out = net_table_find_further(sw, key);
	return likely(out->entry != NULL);
}
/* Nobody has heard of it for too long. */
bool net_table_is_old(const struct net_switch *sw, bool locked, uint64_t heard_at, uint64_t now);

/* Whether @f is still true. What was read before this is from before the entry was written again. */
static inline bool net_table_holds(const struct net_found *f)
{
	return __atomic_load_n(&f->entry->version, __ATOMIC_ACQUIRE) == f->version;
}

/*
 * Port @p, which has no locked address, has sent from @key. NET_IS_LOCKED: that is another's. Masked; takes the
 * switch's lock when there is something to write.
 */
enum net_learning net_table_learn(struct net_port *p, uint64_t key, uint64_t now);

/* What follows is called with the switch's lock held. */

/* The locked address of @p, by @cfg, on each VLAN that it is on; what its numbers before allowed and @cfg does not is
 * forgotten. False: there is no place, and nothing has changed. */
bool net_table_set(struct net_port *p, const struct net_port_config *cfg);
void net_table_forget(struct net_port *p);
/* The key of the @index-th place, 0: it is empty. */
uint64_t net_table_entry(struct net_switch *sw, unsigned index, struct net_found *out);
bool net_table_check(struct net_switch *sw);

#endif
