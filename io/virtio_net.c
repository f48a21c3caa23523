/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device (virtio 1.2, 5.1): features, configuration space, its queues, the link. What is not offered: the
 * offloads of UDP, RSS and hash reports, notification moderation by the driver, standby; their fields read 0.
 */
#include "io/virtio_net_internal.h"

#include <string.h>

#include "lib/assert.h"

/* Each of @bits needs one of @one_of (5.1.3.1). */
static const struct dependency {
	uint64_t bits, one_of;
} dependencies[] = {
	{VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_CSUM},
	{VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6},
	{VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_CSUM},
	{VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6},
	{VIRTIO_NET_F_CTRL_RX | VIRTIO_NET_F_CTRL_RX_EXTRA | VIRTIO_NET_F_CTRL_VLAN | VIRTIO_NET_F_GUEST_ANNOUNCE |
		 VIRTIO_NET_F_MQ | VIRTIO_NET_F_CTRL_MAC_ADDR | VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
	 VIRTIO_NET_F_CTRL_VQ},
};

static uint64_t features(const struct virtio_net_config *cfg)
{
	return VIRTIO_NET_F_CSUM | VNET_GUEST_OFFLOADS | VIRTIO_NET_F_CTRL_GUEST_OFFLOADS | VIRTIO_NET_F_MTU |
	       VIRTIO_NET_F_MAC | VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_HOST_ECN |
	       VIRTIO_NET_F_MRG_RXBUF | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_CTRL_RX |
	       VIRTIO_NET_F_CTRL_RX_EXTRA | VIRTIO_NET_F_CTRL_VLAN | VIRTIO_NET_F_GUEST_ANNOUNCE |
	       VIRTIO_NET_F_SPEED_DUPLEX | (cfg->pairs > 1 ? VIRTIO_NET_F_MQ : 0) |
	       (cfg->set_mac ? VIRTIO_NET_F_CTRL_MAC_ADDR : 0);
}

static bool features_ok(struct virtio_device *d, uint64_t accepted)
{
	struct virtio_net *n = vnet_of(d);

	for (unsigned i = 0; i < ARRAY_SIZE(dependencies); i++)
		if ((accepted & dependencies[i].bits) && !(accepted & dependencies[i].one_of))
			return false;
	n->mergeable = (accepted & VIRTIO_NET_F_MRG_RXBUF) != 0;
	n->filter.by_vlan = (accepted & VIRTIO_NET_F_CTRL_VLAN) != 0;
	vnet_set_offloads(n, accepted & VNET_GUEST_OFFLOADS);
	return true;
}

/* ---- queues ---- */

static bool is_control(const struct virtio_net *n, unsigned index)
{
	return index == 2 * vnet_pairs(n) && virtio_has(&n->device, VIRTIO_NET_F_CTRL_VQ);
}

static enum virtio_progress work(struct virtio_device *d, unsigned index, unsigned *budget)
{
	struct virtio_net *n = vnet_of(d);

	if (is_control(n, index))
		return vnet_control(n, index, budget);
	if (index >= 2 * vnet_pairs(n))
		return VIRTIO_BLOCKED; /* nobody's, without MQ or CTRL_VQ */
	if (index % 2 == 1)
		return vnet_transmit(n, index / 2, budget);
	/* Buffers for what comes: they lie there until it does, and no kick is asked for but by who waits. */
	vnet_refilled(n);
	return VIRTIO_BLOCKED;
}

static void stop(struct virtio_device *d, unsigned index)
{
	struct virtio_net *n = vnet_of(d);

	if (is_control(n, index))
		virtio_job_stop(d, index, &n->control.job);
	else if (index % 2 == 1)
		vnet_stop_tx(n, index / 2);
	else
		vnet_refilled(n);
}

static void reset(struct virtio_device *d)
{
	struct virtio_net *n = vnet_of(d);

	vnet_use_pairs(n, 1);
	n->mergeable = false;
	vnet_set_offloads(n, 0);
	vnet_reset_filter(n);
	if (memcmp(n->config + VIRTIO_NET_CFG_MAC, n->cfg.mac, NET_MAC_BYTES) != 0)
		(void)vnet_set_mac(n, n->cfg.mac);
	put_le16(n->config + VIRTIO_NET_CFG_STATUS, vnet_connected(n) ? VIRTIO_NET_S_LINK_UP : 0);
}

static const struct virtio_device_ops net_ops = {.features_ok = features_ok,
						 .work = work,
						 .stop = stop,
						 .collect = vnet_collect,
						 .carry = vnet_carry,
						 .reset = reset};

/* ---- the link ---- */

static void change_status(struct virtio_net *n, uint16_t clear, uint16_t set)
{
	uint8_t *status = n->config + VIRTIO_NET_CFG_STATUS;
	uint16_t old = get_le16(status), now = (uint16_t)((old & ~clear) | set);

	put_le16(status, now);
	if (now != old)
		virtio_config_changed(&n->device);
}

static void show_link(struct virtio_net *n)
{
	if (vnet_connected(n))
		change_status(n, 0, VIRTIO_NET_S_LINK_UP);
	else
		change_status(n, VIRTIO_NET_S_LINK_UP, 0);
	vnet_refilled(n); /* who waits is to hear of it */
}

void virtio_net_link(struct virtio_net *n, bool up)
{
	lock_acquire(&n->device.lock);
	n->up = up;
	show_link(n);
	lock_release(&n->device.lock);
}

bool virtio_net_connect(struct virtio_net *n, struct net_port *p)
{
	bool free;

	lock_acquire(&n->device.lock);
	free = p == n->port || vnet_recall(n);
	if (free && p != n->port) {
		vnet_refilled(n); /* by the port that they wait at */
		n->port = p;
		show_link(n);
	}
	lock_release(&n->device.lock);
	return free;
}

void virtio_net_announce(struct virtio_net *n)
{
	lock_acquire(&n->device.lock);
	if (virtio_has(&n->device, VIRTIO_NET_F_GUEST_ANNOUNCE) && virtio_running(&n->device))
		change_status(n, 0, VIRTIO_NET_S_ANNOUNCE);
	lock_release(&n->device.lock);
}

/* ---- for the owner ---- */

void virtio_net_set_interrupts(struct virtio_net *n, const struct coalesce_settings *set)
{
	lock_acquire(&n->device.lock);
	n->cfg.interrupts = *set;
	for (unsigned i = 0; i < n->cfg.pairs; i++)
		coalesce_init(&n->coalesce[i]);
	lock_release(&n->device.lock);
}

void virtio_net_figures(struct virtio_net *n, struct virtio_net_figures *out)
{
	lock_acquire(&n->device.lock);
	*out = n->figures;
	lock_release(&n->device.lock);
}

struct virtio_device *virtio_net_device(struct virtio_net *n) { return &n->device; }

/* ---- making it ---- */

static uint64_t queues_at(void) { return align_up(sizeof(struct virtio_net), CACHE_LINE); }
static uint64_t tx_at(const struct virtio_net_config *cfg)
{
	return queues_at() + align_up(sizeof(struct virtio_queue) * (2 * cfg->pairs + 1), CACHE_LINE);
}

uint64_t virtio_net_bytes(const struct virtio_net_config *cfg)
{
	ASSERT(cfg->pairs >= 1 && cfg->pairs <= VIRTIO_NET_PAIRS_MAX);
	return tx_at(cfg) + align_up(sizeof(struct vnet_tx) * cfg->pairs, CACHE_LINE);
}

static void set_config(struct virtio_net *n)
{
	uint8_t *c = n->config;

	memcpy(c + VIRTIO_NET_CFG_MAC, n->cfg.mac, NET_MAC_BYTES);
	put_le16(c + VIRTIO_NET_CFG_PAIRS_MAX, (uint16_t)n->cfg.pairs);
	put_le16(c + VIRTIO_NET_CFG_MTU, n->cfg.mtu);
	put_le32(c + VIRTIO_NET_CFG_SPEED, VIRTIO_NET_SPEED);
	c[VIRTIO_NET_CFG_DUPLEX] = 1; /* full */
}

static void set_queues(struct virtio_net *n)
{
	unsigned count = 2 * n->cfg.pairs + 1;

	for (unsigned i = 0; i < count; i++) {
		/* Without MQ number 2 is the control queue, a short one; all others have the same size. */
		n->queues[i].ring.size_max = i + 1 == count ? VIRTIO_NET_CTRL_SIZE : VIRTIO_NET_QUEUE_SIZE;
		n->queues[i].leave_kicks = i % 2 == 1;
	}
	n->device.queues = n->queues;
	n->device.queue_count = count;
}

struct virtio_net *virtio_net_make(void *memory, const struct virtio_net_config *cfg)
{
	struct virtio_net *n = memory;

	ASSERT(cfg->mtu >= NET_MTU_MIN && cfg->mtu <= NET_MTU_MAX && !net_is_group(cfg->mac));
	n->cfg = *cfg;
	n->queues = (struct virtio_queue *)((uint8_t *)memory + queues_at());
	n->tx = (struct vnet_tx *)((uint8_t *)memory + tx_at(cfg));
	n->up = true;
	vnet_use_pairs(n, 1);
	set_config(n);
	set_queues(n);
	vnet_init_tx(n);
	vnet_init_rx(n);
	vnet_reset_filter(n);
	virtio_job_init(&n->control.job, n->control.buffers, VIRTIO_NET_CTRL_SIZE);
	n->device.ops = &net_ops;
	n->device.id = VIRTIO_ID_NET;
	n->device.offered = features(cfg);
	n->device.config = n->config;
	n->device.config_bytes = VIRTIO_NET_CFG_BYTES;
	n->device.mem = cfg->mem;
	virtio_init(&n->device);
	return n;
}
