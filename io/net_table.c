/* SPDX-License-Identifier: Apache-2.0 */
/* See net_table.h. */
#include "io/net_table.h"

#include "io/net_switch_internal.h"
#include "lib/assert.h"

#define KEY_NEVER 0ull	      /* of a place that was never used: no row goes on behind it */
#define KEY_GONE UINT64_MAX   /* of one that was given back */
#define TORN_MAX 1000u	      /* looks at an entry that is being written: a handful of stores */
#define REFRESH 16u	      /* parts of the age: so exact is when an address was heard */

_Static_assert(NET_ADDRESSES_MAX == 1u << NET_TABLE_BITS, "a place is some bits of the hash");
_Static_assert(NET_PORTS_MAX < NET_TABLE_LOCKED, "a port's number and its flag are one word");

/* The seed is a time, whose upper half is known: all of its bits go into all (splitmix64's constants). */
void net_table_init(struct net_switch *sw, uint64_t seed)
{
	seed = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9ull;
	seed = (seed ^ seed >> 27) * 0x94d049bb133111ebull;
	sw->multiplier = (seed ^ seed >> 31) | 1;
}

static uint16_t key_vlan(uint64_t key)
{
	return (uint16_t)(key >> 48);
}

/* ---- reading ---- */

struct net_found net_table_find_further(const struct net_switch *sw, uint64_t key)
{
	unsigned first = net_table_first(sw, key), torn = 0;
	struct net_found f;

	for (unsigned i = 0; i < NET_TABLE_WINDOW;) {
		const struct net_address *a = &sw->addresses[(first + i) & NET_TABLE_MASK];
		uint64_t is = __atomic_load_n(&a->key, __ATOMIC_ACQUIRE);
		enum net_look look;

		if (is == KEY_NEVER)
			break;
		if (is != key) {
			i++;
			continue;
		}
		look = net_table_look(a, key, &f);
		if (likely(look == NET_LOOK_RIGHT))
			return f;
		if (look == NET_LOOK_OTHER || torn++ == TORN_MAX)
			i++;
		else
			lock_note_waiting();
	}
	return (struct net_found){0};
}

bool net_table_is_old(const struct net_switch *sw, bool locked, uint64_t heard_at, uint64_t now)
{
	/* Another CPU's clock may be a little ahead. */
	return !locked && (int64_t)(now - heard_at) > (int64_t)__atomic_load_n(&sw->age, __ATOMIC_RELAXED);
}

/* ---- writing ---- */

static inline uint64_t key_of(const struct net_address *a)
{
	return __atomic_load_n(&a->key, __ATOMIC_RELAXED);
}
static inline uint32_t port_of(const struct net_address *a)
{
	return __atomic_load_n(&a->port, __ATOMIC_RELAXED);
}
static inline uint64_t heard_of(const struct net_address *a)
{
	return __atomic_load_n(&a->heard_at, __ATOMIC_RELAXED);
}
static inline bool is_locked(const struct net_address *a)
{
	return (port_of(a) & NET_TABLE_LOCKED) != 0;
}
static inline bool is_of(const struct net_address *a, const struct net_port *p)
{
	return (port_of(a) & ~(uint32_t)NET_TABLE_LOCKED) == p->index + 1;
}
static inline bool is_learned_of(const struct net_address *a, const struct net_port *p)
{
	return port_of(a) == p->index + 1;
}

/* Who learned @a; it is open, for closing begins with forgetting. */
static struct net_port *learner(struct net_switch *sw, const struct net_address *a)
{
	struct net_port *p = __atomic_load_n(&sw->places[port_of(a) - 1].port, __ATOMIC_RELAXED);

	ASSERT(p);
	return p;
}

/* Each store is released, so that nobody sees it before the odd version, or the even one before it. */
static void put(struct net_switch *sw, struct net_address *a, uint64_t key, uint32_t port, uint64_t heard_at)
{
	uint32_t version = __atomic_load_n(&a->version, __ATOMIC_RELAXED);

	if (port_of(a) && !is_locked(a))
		learner(sw, a)->addresses--;
	__atomic_store_n(&a->version, version + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&a->port, port, __ATOMIC_RELEASE);
	__atomic_store_n(&a->heard_at, heard_at, __ATOMIC_RELEASE);
	__atomic_store_n(&a->key, key, __ATOMIC_RELEASE);
	__atomic_store_n(&a->version, version + 2, __ATOMIC_RELEASE);
	if (port && !is_locked(a))
		learner(sw, a)->addresses++;
}

static void clear(struct net_switch *sw, struct net_address *a)
{
	put(sw, a, KEY_GONE, 0, 0);
}

static struct net_address *find_to_write(struct net_switch *sw, uint64_t key)
{
	unsigned first = net_table_first(sw, key);

	for (unsigned i = 0; i < NET_TABLE_WINDOW; i++) {
		struct net_address *a = &sw->addresses[(first + i) & NET_TABLE_MASK];

		if (key_of(a) == key && port_of(a))
			return a;
	}
	return NULL;
}

/* The one that was heard of longest ago of those that @fits says, in @key's row. */
static struct net_address *oldest(struct net_switch *sw, uint64_t key, const struct net_port *p,
				  bool (*fits)(struct net_switch *sw, const struct net_address *a, const struct net_port *p))
{
	unsigned first = net_table_first(sw, key);
	struct net_address *found = NULL;

	for (unsigned i = 0; i < NET_TABLE_WINDOW; i++) {
		struct net_address *a = &sw->addresses[(first + i) & NET_TABLE_MASK];

		if (fits(sw, a, p) && (!found || (int64_t)(heard_of(a) - heard_of(found)) < 0))
			found = a;
	}
	return found;
}

static bool fits_learned(struct net_switch *sw, const struct net_address *a, const struct net_port *p)
{
	(void)sw;
	(void)p;
	return !is_locked(a);
}
static bool fits_own(struct net_switch *sw, const struct net_address *a, const struct net_port *p)
{
	(void)sw;
	return is_learned_of(a, p);
}
static bool fits_greater(struct net_switch *sw, const struct net_address *a, const struct net_port *p)
{
	return port_of(a) && !is_locked(a) && !is_learned_of(a, p) && learner(sw, a)->addresses > NET_TABLE_FAIR;
}

static bool is_free(const struct net_switch *sw, const struct net_address *a, uint64_t now)
{
	return !port_of(a) || (!is_locked(a) && (int64_t)(now - heard_of(a)) > (int64_t)sw->age);
}

/* The first in @key's row: rows have no holes in front of what they hold but those that were given back. */
static struct net_address *free_place(struct net_switch *sw, uint64_t key, uint64_t now)
{
	unsigned first = net_table_first(sw, key);

	for (unsigned i = 0; i < NET_TABLE_WINDOW; i++) {
		struct net_address *a = &sw->addresses[(first + i) & NET_TABLE_MASK];

		if (is_free(sw, a, now))
			return a;
	}
	return NULL;
}

/* A port at its bound gives back what is too old anywhere in the table, if that has not been looked for of late. */
static void sweep(struct net_port *p, uint64_t now)
{
	struct net_switch *sw = p->sw;

	if (p->swept_at && now - p->swept_at < sw->age / REFRESH)
		return;
	p->swept_at = MAX(now, 1u);
	for (unsigned i = 0; i < NET_ADDRESSES_MAX; i++)
		if (is_learned_of(&sw->addresses[i], p) && is_free(sw, &sw->addresses[i], now))
			clear(sw, &sw->addresses[i]);
}

static struct net_address *place_for(struct net_port *p, uint64_t key, uint64_t now)
{
	struct net_switch *sw = p->sw;
	struct net_address *a;

	if (p->addresses >= NET_PORT_ADDRESSES_MAX)
		sweep(p, now);
	if (p->addresses >= NET_PORT_ADDRESSES_MAX)
		return oldest(sw, key, p, fits_own);
	a = free_place(sw, key, now);
	if (!a)
		a = oldest(sw, key, p, fits_own);
	if (!a && p->addresses < NET_TABLE_FAIR)
		a = oldest(sw, key, p, fits_greater);
	return a;
}

static enum net_learning write_learned(struct net_port *p, uint64_t key, uint64_t now)
{
	struct net_switch *sw = p->sw;
	struct net_address *a = find_to_write(sw, key), *own;

	if (__atomic_load_n(&sw->places[p->index].port, __ATOMIC_RELAXED) != p ||
	    !net_config_takes(&p->config, key_vlan(key)))
		return NET_NOT_LEARNED; /* it closes, or is not on that VLAN any more */
	if (a && is_locked(a))
		return NET_IS_LOCKED;
	if (a && !is_learned_of(a, p)) {
		own = p->addresses >= NET_PORT_ADDRESSES_MAX ? oldest(sw, key, p, fits_own) : NULL;
		if (own)
			clear(sw, own);
		if (p->addresses >= NET_PORT_ADDRESSES_MAX) {
			clear(sw, a); /* it is not where it was */
			return NET_NOT_LEARNED;
		}
		net_count(&p->figures.moved, 1);
	} else if (!a) {
		a = place_for(p, key, now);
		if (!a)
			return NET_NOT_LEARNED;
		net_count(&p->figures.learned, 1);
	}
	put(sw, a, key, p->index + 1, now);
	return NET_LEARNED;
}

enum net_learning net_table_learn(struct net_port *p, uint64_t key, uint64_t now)
{
	struct net_switch *sw = p->sw;
	enum net_learning answer;
	struct net_found f;

	if (likely(net_table_find(sw, key, &f))) {
		if (f.locked)
			return NET_IS_LOCKED;
		if (likely(f.port == p->index && now - f.heard_at < __atomic_load_n(&sw->age, __ATOMIC_RELAXED) / REFRESH))
			return NET_LEARNED;
	}
	lock_acquire(&sw->lock);
	answer = write_learned(p, key, now);
	lock_release(&sw->lock);
	return answer;
}

/* ---- locked addresses ---- */

static bool lock_key(struct net_port *p, uint64_t key)
{
	struct net_switch *sw = p->sw;
	struct net_address *a = find_to_write(sw, key);

	if (!a)
		a = free_place(sw, key, 0);
	if (!a)
		a = oldest(sw, key, p, fits_learned);
	if (!a)
		return false;
	if (port_of(a) != ((p->index + 1) | NET_TABLE_LOCKED))
		put(sw, a, key, (p->index + 1) | (uint32_t)NET_TABLE_LOCKED, 0);
	return true;
}

static uint64_t mac_key(const uint8_t mac[NET_MAC_BYTES], uint16_t vlan)
{
	uint8_t padded[8] = {0};

	memcpy(padded, mac, NET_MAC_BYTES);
	return net_key(vlan, padded);
}

/* Whether @a may be @p's by @cfg. */
static bool belongs(const struct net_address *a, const struct net_port_config *cfg)
{
	uint16_t vlan = key_vlan(key_of(a));

	if (is_locked(a) != cfg->locked_mac || !net_config_takes(cfg, vlan))
		return false;
	return !cfg->locked_mac || key_of(a) == mac_key(cfg->mac, vlan);
}

static void prune(struct net_port *p, const struct net_port_config *cfg)
{
	for (unsigned i = 0; i < NET_ADDRESSES_MAX; i++) {
		struct net_address *a = &p->sw->addresses[i];

		if (is_of(a, p) && !(cfg && belongs(a, cfg)))
			clear(p->sw, a);
	}
}

static bool lock_all(struct net_port *p, const struct net_port_config *cfg)
{
	if (!lock_key(p, mac_key(cfg->mac, cfg->vlan)))
		return false;
	for (unsigned i = 0; i < cfg->trunk_count; i++)
		if (!lock_key(p, mac_key(cfg->mac, cfg->trunk[i])))
			return false;
	return true;
}

/*
 * The new ones before the old ones are taken away, which is what makes nothing of it if they find no place. It matters
 * only then that p->config is what it was; a port that is opened has none of its own there yet.
 */
bool net_table_set(struct net_port *p, const struct net_port_config *cfg)
{
	bool all = !cfg->locked_mac || lock_all(p, cfg);

	prune(p, all ? cfg : &p->config);
	return all;
}

void net_table_forget(struct net_port *p)
{
	prune(p, NULL);
}

uint64_t net_table_entry(struct net_switch *sw, unsigned index, struct net_found *out)
{
	uint64_t key = key_of(&sw->addresses[index]);

	return port_of(&sw->addresses[index]) && net_table_look(&sw->addresses[index], key, out) == NET_LOOK_RIGHT ? key : 0;
}

/* ---- checks ---- */

static bool entry_is_right(struct net_switch *sw, struct net_address *a, unsigned learned[NET_PORTS_MAX])
{
	unsigned index = (port_of(a) & ~(uint32_t)NET_TABLE_LOCKED) - 1;
	struct net_port *p;

	if (a->version & 1 || index >= NET_PORTS_MAX)
		return false;
	p = sw->places[index].port;
	learned[index] += !is_locked(a);
	return p && find_to_write(sw, key_of(a)) == a && belongs(a, &p->config);
}

static bool locked_are_there(struct net_switch *sw, const struct net_port *p)
{
	const struct net_port_config *cfg = &p->config;
	bool there = !cfg->locked_mac || find_to_write(sw, mac_key(cfg->mac, cfg->vlan));

	for (unsigned i = 0; i < cfg->trunk_count && cfg->locked_mac; i++)
		there &= find_to_write(sw, mac_key(cfg->mac, cfg->trunk[i])) != NULL;
	return there;
}

bool net_table_check(struct net_switch *sw)
{
	unsigned learned[NET_PORTS_MAX] = {0};

	for (unsigned i = 0; i < NET_ADDRESSES_MAX; i++)
		if (port_of(&sw->addresses[i]) && !entry_is_right(sw, &sw->addresses[i], learned))
			return false;
	for (unsigned i = 0; i < NET_PORTS_MAX; i++) {
		const struct net_port *p = sw->places[i].port;

		if (p && (p->addresses != learned[i] || learned[i] > NET_PORT_ADDRESSES_MAX || !locked_are_there(sw, p)))
			return false;
	}
	return true;
}
