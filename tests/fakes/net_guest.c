/* SPDX-License-Identifier: Apache-2.0 */
/* See net_guest.h. */
#include "tests/fakes/net_guest.h"

#include <stdlib.h>
#include <string.h>

#include "guest/vm.h"
#include "lib/assert.h"
#include "tests/fakes/vm_rig.h"

#define GUESTS_MAX 8u
#define ROUNDS_MAX 4000000u
#define PAGES 256u
#define RX_RING 0x1000u
#define TX_RING 0x5000u
#define RX_AT(i) (0x10000u + NET_GUEST_FRAME * (i))
#define TX_AT(i) (0x60000u + NET_GUEST_FRAME * (i))
#define RX 0u
#define TX 1u
#define FEATURES                                                                                                   \
	(VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MAC | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_MTU | VIRTIO_NET_F_CSUM |             \
	 VIRTIO_NET_F_GUEST_CSUM)

static struct net_guest *guests[GUESTS_MAX];

static uint64_t host_ticks(void) { return fake_host.ops.clock->ticks(); }

/* ---- one ---- */

static void make(struct net_guest *g)
{
	struct virtio_net_config cfg = {.pairs = 1, .now = host_ticks, .hz = fake_host.ops.clock->hz};
	const struct vm_nic *nic = &g->vm->config.nics[0];

	fake_guest_mem_init_flat(&g->mem, PAGES);
	cfg.mem = g->mem.mem;
	cfg.mtu = (uint16_t)network_mtu(g->vm->machine, nic);
	cfg.interrupts = nic->coalesce;
	vm_nic_mac(&g->vm->config, nic, cfg.mac);
	memcpy(g->mac, cfg.mac, NET_MAC_BYTES);
	g->memory = aligned_alloc(64, align_up(virtio_net_bytes(&cfg), 64));
	g->client_memory = aligned_alloc(64, align_up(network_client_bytes(), 64));
	memset(g->memory, 0, virtio_net_bytes(&cfg));
	g->net = virtio_net_make(g->memory, &cfg);
	driver_attach(&g->drv, virtio_net_device(g->net));
}

static void unmake(struct net_guest *g)
{
	fake_guest_mem_fini(&g->mem);
	free(g->memory);
	free(g->client_memory);
}

static void post(struct net_guest *g, unsigned i)
{
	driver_desc(&g->rx, (uint16_t)i, RX_AT(i), NET_GUEST_FRAME, VIRTQ_DESC_F_WRITE, 0);
	driver_offer(&g->rx, (uint16_t)i);
}

static void bring_up(struct net_guest *g)
{
	uint64_t features = FEATURES & virtio_net_device(g->net)->offered;

	ASSERT(driver_negotiate(&g->drv, features) & VIRTIO_STATUS_FEATURES_OK);
	driver_ring_init(&g->rx, &g->mem, RX_RING, VIRTIO_NET_QUEUE_SIZE);
	driver_ring_init(&g->tx, &g->mem, TX_RING, VIRTIO_NET_QUEUE_SIZE);
	driver_queue(&g->drv, RX, &g->rx);
	driver_queue(&g->drv, TX, &g->tx);
	driver_ok(&g->drv);
	for (unsigned i = 0; i < NET_GUEST_BUFFERS; i++)
		post(g, i);
	driver_kick(&g->drv, RX);
	driver_work(&g->drv);
}

enum status net_guest_open(struct net_guest *g, struct vm *vm, struct error *err)
{
	unsigned long masked;
	unsigned i = 0;
	enum status st;

	memset(g, 0, sizeof *g);
	g->vm = vm;
	make(g);
	st = network_client_open(vm, &vm->config.nics[0], g->net, g->client_memory, &g->client, err);
	if (st != ST_OK) {
		unmake(g);
		return st;
	}
	masked = fake_host.ops.mask();
	ASSERT(virtio_net_connect(g->net, network_client_port(g->client)));
	bring_up(g);
	fake_host.ops.unmask(masked);
	while (guests[i])
		ASSERT(++i < GUESTS_MAX);
	guests[i] = g;
	return ST_OK;
}

void net_guest_close(struct net_guest *g)
{
	unsigned long masked = fake_host.ops.mask();

	enum sched_end end;

	driver_status(&g->drv, 0);
	/* What somebody else is about to hand back comes by his turn. */
	for (unsigned i = 0; i < 1000 && driver_read_status(&g->drv) != 0; i++) {
		(void)vm_rig_turn(&end);
		driver_work(&g->drv);
	}
	ASSERT(driver_read_status(&g->drv) == 0);
	while (!virtio_net_connect(g->net, NULL))
		;
	fake_host.ops.unmask(masked);
	while (!network_client_close(g->client))
		;
	for (unsigned i = 0; i < GUESTS_MAX; i++)
		if (guests[i] == g)
			guests[i] = NULL;
	unmake(g);
}

void net_guest_frame(const struct net_guest *g, const uint8_t to[NET_MAC_BYTES], uint8_t mark, uint8_t *frame,
		     uint32_t bytes)
{
	memset(frame, mark, bytes);
	memcpy(frame, to, NET_MAC_BYTES);
	memcpy(frame + NET_MAC_BYTES, g->mac, NET_MAC_BYTES);
	net_put16(frame + 2 * NET_MAC_BYTES, 0x88b5); /* IEEE 802, for experiments */
}

bool net_guest_send(struct net_guest *g, const void *frame, uint32_t bytes)
{
	static const uint8_t header[VIRTIO_NET_HDR_BYTES];
	unsigned i = 0;

	while (i < NET_GUEST_BUFFERS && g->busy[i])
		i++;
	if (i == NET_GUEST_BUFFERS)
		return false;
	g->busy[i] = true;
	fake_guest_mem_write(&g->mem, TX_AT(i), header, sizeof header);
	fake_guest_mem_write(&g->mem, TX_AT(i) + sizeof header, frame, bytes);
	driver_desc(&g->tx, (uint16_t)i, TX_AT(i), (uint32_t)sizeof header + bytes, 0, 0);
	driver_offer(&g->tx, (uint16_t)i);
	return true;
}

void net_guest_kick(struct net_guest *g)
{
	unsigned long masked = fake_host.ops.mask();

	driver_kick(&g->drv, TX);
	fake_host.ops.unmask(masked);
}

/* ---- all ---- */

static bool take(struct net_guest *g)
{
	uint32_t head, written;
	bool any = false;

	while (driver_used(&g->tx, &head, &written)) {
		g->busy[head] = false;
		g->sent++;
		any = true;
	}
	while (!g->keeps && driver_used(&g->rx, &head, &written)) {
		ASSERT(written > VIRTIO_NET_HDR_BYTES);
		g->last_bytes = written - VIRTIO_NET_HDR_BYTES;
		fake_guest_mem_read(&g->mem, RX_AT(head) + VIRTIO_NET_HDR_BYTES, g->last, g->last_bytes);
		g->received++;
		post(g, head);
		driver_kick(&g->drv, RX);
		any = true;
	}
	return any;
}

static bool round_of(struct net_guest *g)
{
	unsigned long masked = fake_host.ops.mask();
	bool any;

	if (g->acts)
		g->acts(g);
	any = driver_work(&g->drv) > 0;
	any |= take(g);
	fake_host.ops.unmask(masked);
	return any;
}

void net_guests_run_until(uint64_t until)
{
	for (unsigned i = 0; i < ROUNDS_MAX; i++) {
		bool more = networks_step(&vm_rig.machine);
		uint64_t now = host_ticks(), next;
		enum sched_end end;

		for (unsigned k = 0; k < GUESTS_MAX; k++)
			if (guests[k])
				more |= round_of(guests[k]);
		if (vm_rig_turn(&end) || more)
			continue;
		next = fake_host.cpu.timers.next;
		if (next > until || next == TIMERQ_NEVER)
			return;
		fake_host_advance(next > now ? next - now : 1);
	}
	ASSERT(!"they come to rest");
}

void net_guests_run_ns(uint64_t ns)
{
	uint64_t until = host_ticks() + ns_to_ticks(ns, fake_host.ops.clock->hz);

	net_guests_run_until(until);
	if (host_ticks() < until)
		fake_host_advance(until - host_ticks());
}
