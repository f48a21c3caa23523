/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the driver asks for by the control queue (5.1.6.5), and the filter that comes of it. A command is read whole,
 * carried out, and answered with one byte; what is wrong with it is ERR, and changes nothing. The filter only spares
 * the driver work: what it lets pass beyond what was asked for does no harm, so a table with more addresses than are
 * kept here lets all of that kind pass (5.1.6.5.2).
 */
#include "io/virtio_net_internal.h"

#include <string.h>

#include "lib/assert.h"

/* Bytes of a command in one step, and of class and command in front of its data. */
#define CHUNK 256u
#define COMMAND_BYTES 2u
#define STEP_COST (VIRTIO_JOB_COST + 4000u)
#define VLAN_MASK 0xfffu /* of a tag */
_Static_assert(STEP_COST < VIRTIO_INLINE_BUDGET - 200, "a step fits a kick");

/* ---- the filter ---- */

void vnet_reset_filter(struct virtio_net *n)
{
	n->filter = (struct vnet_filter){.modes[VIRTIO_NET_CTRL_RX_PROMISC] = true};
}

void vnet_set_offloads(struct virtio_net *n, uint64_t offloads)
{
	bool checksum = offloads & VIRTIO_NET_F_GUEST_CSUM;

	n->offloads = offloads;
	n->can = (struct net_abilities){.checksum = checksum,
					.tcp4 = checksum && (offloads & VIRTIO_NET_F_GUEST_TSO4),
					.tcp6 = checksum && (offloads & VIRTIO_NET_F_GUEST_TSO6),
					.ecn = checksum && (offloads & VIRTIO_NET_F_GUEST_ECN)};
}

bool vnet_set_mac(struct virtio_net *n, const uint8_t mac[NET_MAC_BYTES])
{
	if (!n->cfg.set_mac || !n->cfg.set_mac(n->cfg.ctx, mac))
		return false;
	memcpy(n->config + VIRTIO_NET_CFG_MAC, mac, NET_MAC_BYTES);
	n->device.config_generation++;
	return true;
}

static bool same_mac(const uint8_t *a, const uint8_t *b)
{
	return get_le32(a) == get_le32(b) && get_le16(a + 4) == get_le16(b + 4);
}

static bool is_listed(const uint8_t (*table)[NET_MAC_BYTES], unsigned count, const uint8_t *mac)
{
	for (unsigned i = 0; i < count; i++)
		if (same_mac(table[i], mac))
			return true;
	return false;
}

static bool wants_group(const struct vnet_filter *f, const uint8_t *to)
{
	static const uint8_t broadcast[NET_MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	if (same_mac(to, broadcast))
		return !f->modes[VIRTIO_NET_CTRL_RX_NOBCAST];
	if (f->modes[VIRTIO_NET_CTRL_RX_NOMULTI])
		return false;
	return f->modes[VIRTIO_NET_CTRL_RX_ALLMULTI] || f->all_groups || is_listed(f->group, f->groups, to);
}

static bool wants_unicast(const struct virtio_net *n, const uint8_t *to)
{
	const struct vnet_filter *f = &n->filter;

	if (f->modes[VIRTIO_NET_CTRL_RX_NOUNI])
		return false;
	return f->modes[VIRTIO_NET_CTRL_RX_ALLUNI] || f->all_unicast ||
	       same_mac(to, n->config + VIRTIO_NET_CFG_MAC) || is_listed(f->unicast, f->unicasts, to);
}

bool vnet_wants(const struct virtio_net *n, const struct net_frame *f)
{
	unsigned vlan = f->tci & VLAN_MASK;

	if (n->filter.modes[VIRTIO_NET_CTRL_RX_PROMISC])
		return true;
	if (f->tagged && n->filter.by_vlan && !(n->filter.vlans[vlan / 64] & BIT(vlan % 64)))
		return false;
	return net_is_group(net_destination(f)) ? wants_group(&n->filter, net_destination(f)) :
						  wants_unicast(n, net_destination(f));
}

/* ---- commands ---- */

/* A command's data. */
struct data {
	const uint8_t *at;
	uint32_t bytes;
};

static bool set_mode(struct virtio_net *n, uint8_t mode, struct data data)
{
	uint64_t feature = mode <= VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX : VIRTIO_NET_F_CTRL_RX_EXTRA;

	if (mode >= VIRTIO_NET_CTRL_RX_MODES || !virtio_has(&n->device, feature) || data.bytes != 1)
		return false;
	n->filter.modes[mode] = data.at[0] != 0;
	return true;
}

/* One of the two tables: how many, and their addresses. What it is longer than is passed over. */
static bool take_table(struct data *data, uint32_t *count, const uint8_t **macs)
{
	if (data->bytes < VNET_TABLE_BYTES(0))
		return false;
	*count = get_le32(data->at);
	*macs = data->at + VNET_TABLE_BYTES(0);
	if (*count > (data->bytes - VNET_TABLE_BYTES(0)) / NET_MAC_BYTES)
		return false;
	data->at += VNET_TABLE_BYTES(*count);
	data->bytes -= VNET_TABLE_BYTES(*count);
	return true;
}

static void keep_table(uint8_t (*table)[NET_MAC_BYTES], uint8_t *kept, bool *all, uint32_t count, const uint8_t *macs)
{
	*all = count > VIRTIO_NET_MACS;
	*kept = (uint8_t)(*all ? 0 : count);
	memcpy(table, macs, *kept * NET_MAC_BYTES);
}

static bool set_tables(struct virtio_net *n, struct data data, bool whole)
{
	struct vnet_filter *f = &n->filter;
	const uint8_t *unicast, *group;
	uint32_t unicasts, groups;

	if (!virtio_has(&n->device, VIRTIO_NET_F_CTRL_RX))
		return false;
	if (!whole) {
		f->all_unicast = f->all_groups = true;
		return true;
	}
	if (!take_table(&data, &unicasts, &unicast) || !take_table(&data, &groups, &group) || data.bytes != 0)
		return false;
	keep_table(f->unicast, &f->unicasts, &f->all_unicast, unicasts, unicast);
	keep_table(f->group, &f->groups, &f->all_groups, groups, group);
	return true;
}

static bool set_address(struct virtio_net *n, struct data data)
{
	return virtio_has(&n->device, VIRTIO_NET_F_CTRL_MAC_ADDR) && data.bytes == NET_MAC_BYTES &&
	       !net_is_group(data.at) && vnet_set_mac(n, data.at);
}

static bool set_vlan(struct virtio_net *n, uint8_t command, struct data data)
{
	uint64_t *word;
	unsigned vlan;

	if (!virtio_has(&n->device, VIRTIO_NET_F_CTRL_VLAN) || command > VIRTIO_NET_CTRL_VLAN_DEL || data.bytes != 2)
		return false;
	vlan = get_le16(data.at);
	if (vlan > VLAN_MASK)
		return false;
	word = &n->filter.vlans[vlan / 64];
	*word = command == VIRTIO_NET_CTRL_VLAN_ADD ? *word | BIT(vlan % 64) : *word & ~BIT(vlan % 64);
	return true;
}

/* The driver has told the network where it is. */
static bool acknowledge(struct virtio_net *n, uint8_t command, struct data data)
{
	uint8_t *status = n->config + VIRTIO_NET_CFG_STATUS;

	if (!virtio_has(&n->device, VIRTIO_NET_F_GUEST_ANNOUNCE) || command != VIRTIO_NET_CTRL_ANNOUNCE_ACK ||
	    data.bytes != 0)
		return false;
	put_le16(status, (uint16_t)(get_le16(status) & ~VIRTIO_NET_S_ANNOUNCE));
	n->device.config_generation++;
	return true;
}

static bool set_pairs(struct virtio_net *n, uint8_t command, struct data data)
{
	unsigned pairs;

	if (!virtio_has(&n->device, VIRTIO_NET_F_MQ) || command != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || data.bytes != 2)
		return false;
	pairs = get_le16(data.at);
	if (pairs < 1 || pairs > n->cfg.pairs)
		return false;
	vnet_use_pairs(n, pairs);
	vnet_refilled(n); /* frames may go elsewhere now */
	return true;
}

static bool set_offloads(struct virtio_net *n, uint8_t command, struct data data)
{
	uint64_t offloads;

	if (!virtio_has(&n->device, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) || command != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET ||
	    data.bytes != 8)
		return false;
	offloads = get_le64(data.at);
	if (offloads & ~(n->device.accepted & VNET_GUEST_OFFLOADS))
		return false;
	vnet_set_offloads(n, offloads);
	return true;
}

/* Carries out what was read; @whole: nothing of it had to be left out. */
static bool execute(struct virtio_net *n, bool whole)
{
	const uint8_t *c = n->control.command;
	struct data data;

	if (n->control.read < COMMAND_BYTES)
		return false;
	data = (struct data){c + COMMAND_BYTES, n->control.read - COMMAND_BYTES};
	if (c[0] == VIRTIO_NET_CTRL_MAC && c[1] == VIRTIO_NET_CTRL_MAC_TABLE_SET)
		return set_tables(n, data, whole);
	if (!whole)
		return false;
	switch (c[0]) {
	case VIRTIO_NET_CTRL_RX:
		return set_mode(n, c[1], data);
	case VIRTIO_NET_CTRL_MAC:
		return c[1] == VIRTIO_NET_CTRL_MAC_ADDR_SET && set_address(n, data);
	case VIRTIO_NET_CTRL_VLAN:
		return set_vlan(n, c[1], data);
	case VIRTIO_NET_CTRL_ANNOUNCE:
		return acknowledge(n, c[1], data);
	case VIRTIO_NET_CTRL_MQ:
		return set_pairs(n, c[1], data);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return set_offloads(n, c[1], data);
	default:
		return false;
	}
}

/* ---- the queue ---- */

/* Reads the command, as far as it is kept. False: return *@why. */
static bool read_command(struct virtio_net *n, unsigned index, enum virtio_progress *why)
{
	struct vnet_control *k = &n->control;
	uint64_t most = MIN(k->job.chain.readable_bytes, VNET_COMMAND_MAX);

	while (k->read < most) {
		uint32_t got = virtio_job_read(&n->device, index, &k->job, (uint32_t)MIN(most - k->read, CHUNK),
					       k->command + k->read, why);

		if (got == 0)
			return false;
		k->read += got;
	}
	return true;
}

/* The answer into the first byte that is writable. False: return *@why. */
static bool write_answer(struct virtio_net *n, unsigned index, enum virtio_progress *why)
{
	struct vnet_control *k = &n->control;
	struct guest_pin p;

	if (!virtio_job_pin(&n->device, index, &k->job, 1, true, &p, why))
		return false;
	*(volatile uint8_t *)p.va = k->answer;
	guest_mem_unpin(&n->device.mem, &p);
	k->job.written = 1;
	return true;
}

/* Takes the next command, if none is being carried out. */
static bool begin(struct virtio_net *n, unsigned index, enum virtio_progress *why)
{
	struct vnet_control *k = &n->control;
	bool fresh = !k->job.busy;

	if (!virtio_job_begin(&n->device, index, &k->job, why))
		return false;
	if (!fresh)
		return true;
	k->answered = false;
	k->read = 0;
	k->job.at = virtq_readable(&k->job.chain);
	if (k->job.chain.writable_bytes != 0)
		return true;
	virtio_job_stop(&n->device, index, &k->job);
	virtio_break(&n->device, "a command without a byte for its answer");
	*why = VIRTIO_BLOCKED;
	return false;
}

enum virtio_progress vnet_control(struct virtio_net *n, unsigned index, unsigned *budget)
{
	struct vnet_control *k = &n->control;
	enum virtio_progress why;

	while (k->job.busy || !virtq_is_empty(&n->queues[index].ring)) {
		if (*budget < STEP_COST)
			return VIRTIO_MORE;
		*budget -= STEP_COST;
		if (!begin(n, index, &why))
			return why;
		if (!k->answered) {
			if (!read_command(n, index, &why))
				return why;
			k->answer = execute(n, k->read == k->job.chain.readable_bytes) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
			k->answered = true;
			k->job.at = virtq_writable(&k->job.chain);
		}
		if (!write_answer(n, index, &why))
			return why;
		virtio_job_end(&n->device, index, &k->job);
	}
	return VIRTIO_IDLE;
}
