/* SPDX-License-Identifier: Apache-2.0 */
/* See vm_net.h. */
#include "guest/vm_net.h"

#include <string.h>

#include "guest/guest_mem.h"
#include "guest/machine.h"
#include "guest/vm_internal.h"
#include "guest/vm_virtio.h"
#include "lib/assert.h"

static const struct vm_nic *nic_of(const struct vm_net *n) { return &n->vm->config.nics[n->index]; }

static unsigned pairs_of(const struct vm_config *cfg, const struct vm_nic *nic)
{
	unsigned pairs = nic->queues ? nic->queues : cfg->cpu.count;

	return MIN(pairs, VIRTIO_NET_PAIRS_MAX);
}

static struct virtio_net_config net_config(const struct vm_config *cfg, const struct vm_nic *nic)
{
	struct virtio_net_config c = {.pairs = pairs_of(cfg, nic), .mtu = NET_MTU_DEFAULT, .interrupts = nic->coalesce};

	vm_nic_mac(cfg, nic, c.mac);
	return c;
}

static uint64_t padded(uint64_t bytes) { return align_up(bytes, VM_VIRTIO_ALIGN); }

uint64_t vm_net_bytes(const struct vm_config *cfg, const struct vm_nic *nic)
{
	struct virtio_net_config c = net_config(cfg, nic);

	return padded(sizeof(struct vm_net)) + padded(network_client_bytes()) + padded(virtio_net_bytes(&c));
}

/* A guest that is held to its address may have no other; for the rest the switch learns what it uses. */
static bool set_mac(void *ctx, const uint8_t mac[NET_MAC_BYTES])
{
	const struct vm_net *n = ctx;
	uint8_t own[NET_MAC_BYTES];

	if (net_is_group(mac))
		return false;
	vm_nic_mac(&n->vm->config, nic_of(n), own);
	return nic_of(n)->any_mac || memcmp(mac, own, NET_MAC_BYTES) == 0;
}

static void make(struct vm_net *n, void *memory)
{
	const struct clock *clock = n->vm->machine->host->clock;
	struct virtio_net_config c = net_config(&n->vm->config, nic_of(n));

	c.mem = vm_guest_mem(n->vm);
	c.mtu = (uint16_t)network_mtu(n->vm->machine, nic_of(n));
	c.now = clock->ticks;
	c.hz = clock->hz;
	c.set_mac = set_mac;
	c.ctx = n;
	n->net = virtio_net_make(memory, &c);
}

/* Connected at once: nothing is under way. */
static void connect(struct vm_net *n)
{
	unsigned long masked = vm_mask(n->vm);
	bool connected = virtio_net_connect(n->net, network_client_port(n->client));

	ASSERT(connected);
	n->linked = nic_of(n)->connected;
	virtio_net_link(n->net, n->linked);
	vm_unmask(n->vm, masked);
}

enum status vm_net_open(struct vm *vm, unsigned index, void *memory, struct vm_net **out, struct error *err)
{
	uint8_t *at = memory;
	struct vm_net *n = memory;
	struct error why = {""};
	enum status st;

	n->vm = vm;
	n->index = index;
	at += padded(sizeof *n);
	make(n, at + padded(network_client_bytes()));
	*out = n;
	st = network_client_open(vm, nic_of(n), n->net, at, &n->client, &why);
	if (st != ST_OK)
		return fail(err, st, "VM %s: net.%s: %.150s", vm->config.name, nic_of(n)->name, why.text);
	connect(n);
	return ST_OK;
}

/* Whoever carries a frame of another's to it is done before long. */
static bool disconnect(struct vm_net *n)
{
	unsigned long masked = vm_mask(n->vm);
	bool done = virtio_net_connect(n->net, NULL);

	vm_unmask(n->vm, masked);
	return done && network_client_close(n->client);
}

void vm_net_close(struct vm_net *n)
{
	while (n->client && !disconnect(n))
		__builtin_ia32_pause();
	n->client = NULL;
}

void vm_net_renumber(struct vm_net *n)
{
	const struct vm_nic *nic = nic_of(n);

	if (!n->client)
		return;
	virtio_net_set_interrupts(n->net, &nic->coalesce);
	network_client_renumber(n->client, nic);
	if (n->linked == nic->connected)
		return;
	n->linked = nic->connected;
	virtio_net_link(n->net, n->linked);
	if (n->linked)
		virtio_net_announce(n->net);
}

void vm_net_figures(struct vm_net *n, struct vm_nic_figures *out)
{
	memset(out, 0, sizeof *out);
	virtio_net_figures(n->net, &out->net);
	if (n->client)
		network_client_figures(n->client, out);
}
