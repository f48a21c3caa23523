/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a port may send: from its own addresses alone, on its own VLANs. All is judged by the head that was fetched,
 * which is also what receivers get.
 *
 * With a list of IP addresses a port speaks for these and no others: as the source of IPv4 and IPv6, as the sender in
 * ARP, and in neighbour advertisements (RFC 4861), which are IPv6's ARP. Besides, what a host says before it has an
 * address: DHCP from 0.0.0.0 (RFC 2131), ARP probes (RFC 5227), and from :: to groups of the link (duplicate address
 * detection, RFC 4862; listener reports, RFC 3590); and the link-local address that is made of its Ethernet address
 * (RFC 4291, appendix A).
 */
#include "io/net_switch_internal.h"

#include "io/net_packet.h"
#include "io/net_table.h"

#define VLAN_NONE 0u /* a tag for its priority alone (802.1Q, 9.6) */
#define TAG_AT ETHERNET_TYPE

#define DHCP_CLIENT 68u
#define DHCP_SERVER 67u
#define UDP_DESTINATION 2u

#define ARP_SENDER_MAC 8u
#define ARP_SENDER_IP 14u

#define IPV6_DESTINATION 24u
#define PROTOCOL_FRAGMENT 44u
#define PROTOCOL_ICMP6 58u
#define ICMP6_ADVERTISEMENT 136u
#define ICMP6_TARGET 8u
#define ICMP6_ADVERTISEMENT_BYTES 24u

static const uint8_t zeroes[16];

/* ---- VLANs ---- */

bool net_config_takes_tag(const struct net_port_config *cfg, uint16_t vlan)
{
	if (vlan == VLAN_NONE || vlan > NET_VLAN_MAX)
		return false;
	for (unsigned i = 0; i < cfg->trunk_count; i++)
		if (cfg->trunk[i] == vlan)
			return true;
	return cfg->trunk_all;
}

bool net_config_takes(const struct net_port_config *cfg, uint16_t vlan)
{
	return cfg->vlan == vlan || net_config_takes_tag(cfg, vlan);
}

bool net_gate_takes_tag(const struct net_port *p, uint64_t gate, uint16_t vlan)
{
	unsigned count = (unsigned)FIELD(gate, NET_GATE_TAGS_HI, NET_GATE_TAGS_LO);

	if (vlan == VLAN_NONE)
		return false;
	for (unsigned i = 0; i < count; i++)
		if (__atomic_load_n(&p->tags[i], __ATOMIC_RELAXED) == vlan)
			return true;
	return (gate & NET_GATE_ALL_TAGS) != 0;
}

static NOINLINE enum net_drop guard_tag(const struct net_port_config *cfg, struct net_ticket *t)
{
	const struct net_frame *f = t->frame;
	uint16_t vlan = f->tci & NET_TCI_VLAN;

	if (f->double_tagged || net_get16(f->head + TAG_AT) != ETHERTYPE_TAG)
		return NET_DROP_VLAN;
	t->tci = f->tci;
	if (vlan == VLAN_NONE)
		t->tci |= cfg->vlan;
	else if (!net_config_takes_tag(cfg, vlan))
		return NET_DROP_VLAN;
	return NET_DROP_NONE;
}

/* ---- addresses ---- */

static bool is_listed(const struct net_port_config *cfg, bool v6, const uint8_t *ip)
{
	for (unsigned i = 0; i < cfg->ip_count; i++)
		if (cfg->ips[i].v6 == v6 && memcmp(cfg->ips[i].bytes, ip, v6 ? 16 : 4) == 0)
			return true;
	return false;
}

static bool ipv4_is_own(const struct net_port_config *cfg, const struct net_frame *f)
{
	const uint8_t *source = f->head + f->l3_at + IPV4_SOURCE;

	if (is_listed(cfg, false, source))
		return true;
	return memcmp(source, zeroes, 4) == 0 && f->l4 == NET_L4_UDP && net_get16(f->head + f->l4_at) == DHCP_CLIENT &&
	       net_get16(f->head + f->l4_at + UDP_DESTINATION) == DHCP_SERVER;
}

static bool arp_is_own(const struct net_port_config *cfg, const struct net_frame *f)
{
	const uint8_t *arp = f->head + f->l3_at;

	if (!net_same_mac(arp + ARP_SENDER_MAC, net_source(f)))
		return false;
	return cfg->ip_count == 0 || is_listed(cfg, false, arp + ARP_SENDER_IP) ||
	       memcmp(arp + ARP_SENDER_IP, zeroes, 4) == 0;
}

/* fe80::/64 with the modified EUI-64 of @mac. */
static bool is_made_of(const uint8_t *ip, const uint8_t *mac)
{
	const uint8_t made[16] = {0xfe,	  0x80,	  [8] = mac[0] ^ 2, mac[1], mac[2], 0xff,
				  0xfe,	  mac[3], mac[4],	    mac[5]};

	return memcmp(ip, made, sizeof made) == 0;
}

static bool ipv6_is_own(const struct net_port_config *cfg, const struct net_frame *f, const uint8_t *ip)
{
	return is_listed(cfg, true, ip) || is_made_of(ip, net_source(f));
}

/*
 * Whether a neighbour advertisement in @f is for an address of its own. What is behind more headers than were fetched
 * cannot be known and is not; in fragments nobody believes them (RFC 6980).
 */
static bool advertises_own(const struct net_port_config *cfg, const struct net_frame *f)
{
	unsigned next = f->head[f->l3_at + IPV6_NEXT], at = f->l3_at + IPV6_BYTES;

	while (next == PROTOCOL_HOP_BY_HOP || next == PROTOCOL_ROUTING || next == PROTOCOL_DESTINATION) {
		if (at + IPV6_EXTENSION_UNIT > f->head_bytes)
			return false;
		next = f->head[at];
		at += IPV6_EXTENSION_UNIT * (1u + f->head[at + 1]);
	}
	if (next != PROTOCOL_ICMP6)
		return true;
	if (at >= f->head_bytes)
		return false;
	if (f->head[at] != ICMP6_ADVERTISEMENT)
		return true;
	return at + ICMP6_ADVERTISEMENT_BYTES <= f->head_bytes && ipv6_is_own(cfg, f, f->head + at + ICMP6_TARGET);
}

static bool guard_ipv6(const struct net_port_config *cfg, const struct net_frame *f)
{
	const uint8_t *ip = f->head + f->l3_at, *to = ip + IPV6_DESTINATION;

	if (memcmp(ip + IPV6_SOURCE, zeroes, 16) == 0) {
		if (to[0] != 0xff || (to[1] & 0xf) != 2)
			return false;
	} else if (!ipv6_is_own(cfg, f, ip + IPV6_SOURCE)) {
		return false;
	}
	return advertises_own(cfg, f);
}

/* Other protocols have no addresses that anybody here could check. */
static bool guard_packet(const struct net_port_config *cfg, const struct net_frame *f)
{
	if (f->l3 == NET_L3_ARP)
		return arp_is_own(cfg, f);
	if (cfg->ip_count == 0)
		return true;
	if (f->l3 == NET_L3_IPV4)
		return ipv4_is_own(cfg, f);
	if (f->l3 == NET_L3_IPV6)
		return guard_ipv6(cfg, f);
	return f->type != ETHERTYPE_ARP && f->type != ETHERTYPE_IPV4 && f->type != ETHERTYPE_IPV6;
}

enum net_drop net_guard_further(const struct net_port *p, struct net_ticket *t)
{
	const struct net_port_config *cfg = &p->config;
	const struct net_frame *f = t->frame;

	if (net_is_group(net_source(f)) || net_key(0, net_source(f)) == 0)
		return NET_DROP_MAC;
	if ((cfg->locked_mac || cfg->ip_count > 0) && !guard_packet(cfg, f))
		return NET_DROP_IP;
	t->tci = cfg->vlan;
	return f->tagged ? guard_tag(cfg, t) : NET_DROP_NONE;
}

/* ---- size ---- */

uint32_t net_wire_bytes(const struct net_frame *f)
{
	uint32_t payload, count;

	if (likely(f->offload.gso == NET_GSO_NONE))
		return f->bytes;
	payload = f->bytes - f->header_bytes;
	count = (payload + f->offload.gso_size - 1) / f->offload.gso_size;
	return payload + count * f->header_bytes;
}
