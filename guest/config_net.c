/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of a VM's network interfaces, and of numbers on an uplink. That the network is there, and that nobody else
 * on it has an address, is found out when the VM starts.
 */
#include <string.h>

#include "guest/config.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/measure.h"

#define NIC_WORDS_MAX (VM_NIC_NAME_MAX + 16)
#define RATE_TEXT_MAX 32
#define MADE_MAC 0xc2 /* first byte of an address that is made of names */

void vm_nic_init(struct vm_nic *nic)
{
	*nic = (struct vm_nic){.connected = true, .numbers = {.limit = RLS_UNLIMITED, .shares = RLS_SHARES_DEFAULT}};
	coalesce_settings_init(&nic->coalesce);
}

static const char *rate_text(uint64_t rate, char out[RATE_TEXT_MAX])
{
	return rate == RLS_UNLIMITED ? "none" : measure_format(MEASURE_RATE, rate, out, RATE_TEXT_MAX);
}

enum status config_check_rates(struct config_head head, const char *words, const struct rls *n, struct error *err)
{
	char one[RATE_TEXT_MAX], other[RATE_TEXT_MAX];

	if (n->shares < 1 || n->shares > RLS_SHARES_MAX)
		return config_refuse(head, err, ST_INVALID, "%smbps.shares is %u, it can be 1 to %u", words, n->shares,
				     RLS_SHARES_MAX);
	if (n->limit < VM_NIC_RATE_MIN)
		return config_refuse(head, err, ST_INVALID, "%smbps.limit is %s, it can be %s or more", words,
				     rate_text(n->limit, one), rate_text(VM_NIC_RATE_MIN, other));
	if (n->reservation > n->limit)
		return config_refuse(head, err, ST_INVALID, "%smbps.reservation (%s) is above mbps.limit (%s)", words,
				     rate_text(n->reservation, one), rate_text(n->limit, other));
	if (n->reservation > VM_NIC_RATE_MAX || (n->limit != RLS_UNLIMITED && n->limit > VM_NIC_RATE_MAX))
		return config_refuse(head, err, ST_OVER_LIMIT, "%smbps.reservation or mbps.limit is above %s", words,
				     rate_text(VM_NIC_RATE_MAX, one));
	return ST_OK;
}

/* ---- addresses ---- */

/* FNV-1a (draft-eastlake-fnv), the NUL included, so that two names cannot run into each other. */
static uint64_t hash_name(uint64_t hash, const char *name, size_t size)
{
	size_t length = config_length(name, size);

	for (size_t i = 0; i <= length; i++)
		hash = (hash ^ (i < length ? (uint8_t)name[i] : 0)) * 0x100000001b3ull;
	return hash;
}

static bool has_mac(const struct vm_nic *nic)
{
	static const uint8_t none[NET_MAC_BYTES];

	return memcmp(nic->mac, none, NET_MAC_BYTES) != 0;
}

void vm_nic_mac(const struct vm_config *cfg, const struct vm_nic *nic, uint8_t mac[NET_MAC_BYTES])
{
	uint64_t hash = hash_name(0xcbf29ce484222325ull, cfg->name, sizeof cfg->name);

	if (has_mac(nic)) {
		memcpy(mac, nic->mac, NET_MAC_BYTES);
		return;
	}
	hash = hash_name(hash, nic->name, sizeof nic->name);
	hash ^= hash >> 40; /* all bits count */
	mac[0] = MADE_MAC;
	for (unsigned i = 1; i < NET_MAC_BYTES; i++)
		mac[i] = (uint8_t)(hash >> (8 * (i - 1)));
}

/* ---- an interface's rules ---- */

static struct config_head head_of(const struct vm_config *cfg)
{
	return (struct config_head){.kind = "VM", .name = cfg->name, .origin = cfg->origin};
}

#define refuse(cfg, err, st, ...) config_refuse(head_of(cfg), err, st, __VA_ARGS__)

static const char *nic_words(const struct vm_config *cfg, unsigned n, char out[NIC_WORDS_MAX])
{
	const struct vm_nic *nic = &cfg->nics[n - 1];
	char name[VM_NIC_NAME_MAX];

	log_clean(name, sizeof name, nic->name, config_length(nic->name, sizeof nic->name));
	if (name[0])
		format(out, NIC_WORDS_MAX, "net.%s", name);
	else
		format(out, NIC_WORDS_MAX, "net %u", n);
	return out;
}

static enum status check_nic_names(const struct vm_config *cfg, unsigned n, const char *words, struct error *err)
{
	const struct vm_nic *nic = &cfg->nics[n - 1];
	unsigned at;

	if (!config_ends(nic->name, sizeof nic->name))
		return refuse(cfg, err, ST_INVALID, "%s: the name is longer than %d characters", words,
			      VM_NIC_NAME_MAX - 1);
	if (!nic->name[0])
		return refuse(cfg, err, ST_INVALID, "%s has no name", words);
	at = config_name_fault(nic->name);
	if (at)
		return refuse(cfg, err, ST_INVALID,
			      "%s: the name has a character outside a-z, 0-9 and (not first) . _ - at position %u",
			      words, at);
	for (unsigned i = 0; i + 1 < n; i++)
		if (strcmp(cfg->nics[i].name, nic->name) == 0)
			return refuse(cfg, err, ST_EXISTS, "%s is there twice", words);
	if (!config_ends(nic->network, sizeof nic->network))
		return refuse(cfg, err, ST_INVALID, "%s: network is longer than %d characters", words, VM_NAME_MAX - 1);
	if (!nic->network[0])
		return refuse(cfg, err, ST_INVALID, "%s: network is missing", words);
	at = config_name_fault(nic->network);
	if (at)
		return refuse(cfg, err, ST_INVALID, "%s: no network is called so: position %u of the name", words, at);
	return ST_OK;
}

static enum status check_nic_mac(const struct vm_config *cfg, unsigned n, const char *words, struct error *err)
{
	const struct vm_nic *nic = &cfg->nics[n - 1];

	if (net_is_group(nic->mac))
		return refuse(cfg, err, ST_INVALID, "%s: mac is a group's address: its first byte is odd", words);
	for (unsigned i = 0; has_mac(nic) && i + 1 < n; i++)
		if (memcmp(cfg->nics[i].mac, nic->mac, NET_MAC_BYTES) == 0 &&
		    strcmp(cfg->nics[i].network, nic->network) == 0)
			return refuse(cfg, err, ST_EXISTS, "%s: mac is that of net.%s, on the same network", words,
				      cfg->nics[i].name);
	return ST_OK;
}

/* An address that one station can send from: no group's, and not that of nobody. */
static bool is_one_host(const struct net_ip *ip)
{
	static const uint8_t none[sizeof ip->bytes];

	if (memcmp(ip->bytes, none, ip->v6 ? sizeof none : 4) == 0)
		return false;
	return ip->v6 ? ip->bytes[0] != 0xff : ip->bytes[0] < 224; /* RFC 4291, 2.7; RFC 1112 and above it 240/4 */
}

static enum status check_nic_ips(const struct vm_config *cfg, const struct vm_nic *nic, const char *words,
				 struct error *err)
{
	if (nic->ip_count > NET_PORT_IPS_MAX)
		return refuse(cfg, err, ST_OVER_LIMIT, "%s: ip has %u addresses, at most %u are possible", words,
			      nic->ip_count, NET_PORT_IPS_MAX);
	for (unsigned i = 0; i < nic->ip_count; i++)
		if (!is_one_host(&nic->ips[i]))
			return refuse(cfg, err, ST_INVALID, "%s: ip[%u] is no address that one host can have", words,
				      i + 1);
	return ST_OK;
}

static bool is_tag(unsigned vlan) { return vlan >= 1 && vlan <= NET_VLAN_MAX; }

static enum status check_nic_vlans(const struct vm_config *cfg, const struct vm_nic *nic, const char *words,
				   struct error *err)
{
	if (nic->vlan > NET_VLAN_MAX)
		return refuse(cfg, err, ST_INVALID, "%s: vlan is %u, it can be 1 to %u, or 0 for none", words, nic->vlan,
			      NET_VLAN_MAX);
	if (nic->trunk_count > NET_PORT_VLANS_MAX)
		return refuse(cfg, err, ST_OVER_LIMIT, "%s: trunk has %u VLANs, at most %u are possible", words,
			      nic->trunk_count, NET_PORT_VLANS_MAX);
	for (unsigned i = 0; i < nic->trunk_count; i++) {
		if (!is_tag(nic->trunk[i]))
			return refuse(cfg, err, ST_INVALID, "%s: trunk[%u] is %u, it can be 1 to %u", words, i + 1,
				      nic->trunk[i], NET_VLAN_MAX);
		if (nic->trunk[i] == nic->vlan)
			return refuse(cfg, err, ST_INVALID, "%s: trunk conflicts with vlan: %u cannot be with a tag and without",
				      words, nic->vlan);
		for (unsigned j = 0; j < i; j++)
			if (nic->trunk[j] == nic->trunk[i])
				return refuse(cfg, err, ST_EXISTS, "%s: trunk has %u twice", words, nic->trunk[i]);
	}
	return ST_OK;
}

static enum status check_nic_numbers(const struct vm_config *cfg, const struct vm_nic *nic, const char *words,
				     struct error *err)
{
	char front[NIC_WORDS_MAX + 2], one[RATE_TEXT_MAX], other[RATE_TEXT_MAX];

	if (nic->queues > VM_NIC_QUEUES_MAX)
		return refuse(cfg, err, ST_OVER_LIMIT, "%s: queues is %u, an interface has at most %d", words, nic->queues,
			      VM_NIC_QUEUES_MAX);
	if (nic->mtu && (nic->mtu < NET_MTU_MIN || nic->mtu > NET_MTU_MAX))
		return refuse(cfg, err, ST_INVALID, "%s: mtu is %u, it can be %u to %u, or 0 for the network's", words,
			      nic->mtu, NET_MTU_MIN, NET_MTU_MAX);
	if (nic->rate && (nic->rate < VM_NIC_RATE_MIN || nic->rate > VM_NIC_RATE_MAX))
		return refuse(cfg, err, ST_INVALID, "%s: rate is %s, it can be 100 kbit/s to 1000 Gbit/s, or 0 for any",
			      words, rate_text(nic->rate, one));
	if (nic->storm > VM_NIC_STORM_MAX)
		return refuse(cfg, err, ST_OVER_LIMIT, "%s: storm is %u, it can be 1 to %u, or 0 for any", words, nic->storm,
			      VM_NIC_STORM_MAX);
	if (nic->rate && nic->numbers.reservation > nic->rate)
		return refuse(cfg, err, ST_INVALID, "%s: mbps.reservation (%s) is above rate (%s)", words,
			      rate_text(nic->numbers.reservation, one), rate_text(nic->rate, other));
	format(front, sizeof front, "%s: ", words);
	return config_check_rates(head_of(cfg), front, &nic->numbers, err);
}

static enum status check_nic(const struct vm_config *cfg, unsigned n, struct error *err)
{
	const struct vm_nic *nic = &cfg->nics[n - 1];
	char words[NIC_WORDS_MAX];
	struct error why = {""};
	enum status st = check_nic_names(cfg, n, nic_words(cfg, n, words), err);

	if (st == ST_OK)
		st = check_nic_mac(cfg, n, words, err);
	if (st == ST_OK)
		st = check_nic_ips(cfg, nic, words, err);
	if (st == ST_OK)
		st = check_nic_vlans(cfg, nic, words, err);
	if (st == ST_OK)
		st = check_nic_numbers(cfg, nic, words, err);
	if (st != ST_OK)
		return st;
	st = coalesce_check(&nic->coalesce, &why);
	return st == ST_OK ? ST_OK : refuse(cfg, err, st, "%s: interrupts: %.100s", words, why.text);
}

enum status vm_nics_check(const struct vm_config *cfg, struct error *err)
{
	enum status st = ST_OK;

	if (cfg->nic_count > VM_NICS_MAX)
		return refuse(cfg, err, ST_OVER_LIMIT, "it has %u network interfaces, at most %d are possible",
			      cfg->nic_count, VM_NICS_MAX);
	for (unsigned n = 1; n <= cfg->nic_count && st == ST_OK; n++)
		st = check_nic(cfg, n, err);
	return st;
}
