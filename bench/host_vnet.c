/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a frame from guest to guest costs in instructions, without an emulator and without the copy of its payload:
 * bench/host.py runs each case under callgrind, which counts only inside case_*(). io/ is compiled as for the machine.
 * Guests' memory is flat and pinning it costs nothing, so that the figures are io/'s own share: from the sender's kick
 * to the used entries and interrupts of both.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cases.h"
#include "io/virtio_net.h"
#include "lib/bits.h"

#define RAM_BYTES (1u << 20)
#define ROUNDS 256u
#define BATCH 32u
#define SIZE 256u
#define RING_AT(index) (0x1000u + 0x4000u * (index))
#define AVAIL 0x1000u /* behind a ring's descriptors */
#define USED 0x2000u
#define TABLE_AT 0x10000u
#define HEADER_AT 0x11000u
#define SMALL_AT 0x12000u
#define DATA_AT 0x40000u
#define LARGE_PIECES 17u
#define LARGE_BYTES (65226u) /* 45 segments of 1,448 bytes, and headers */
#define SMALL_BYTES 64u
#define CASE __attribute__((noinline, noclone)) static void

/* ---- guests ---- */

struct guest {
	_Alignas(4096) uint8_t ram[RAM_BYTES];
	struct virtio_net *net;
	struct virtio_device *device;
	struct net_port port;
	uint16_t offered[3], seen[3];
	unsigned interrupts;
};
static struct guest sender, receiver;
static struct net_switch sw;

static enum pin_result pin(void *ctx, struct guest_pin *p)
{
	struct guest *g = ctx;

	p->va = g->ram + p->at.v;
	p->got = p->bytes;
	return PIN_NOW;
}
static void unpin(void *ctx, const struct guest_pin *p) { (void)ctx, (void)p; }
static const struct guest_mem_ops mem_ops = {.pin = pin, .unpin = unpin};

static void on_interrupt(void *ctx, uint16_t vector)
{
	struct guest *g = ctx;

	(void)vector;
	g->interrupts++;
}
static void on_defer(void *ctx) { (void)ctx; }
static const struct virtio_transport_ops transport = {.interrupt = on_interrupt, .defer = on_defer};

static void desc(struct guest *g, uint32_t table, unsigned index, uint64_t at, uint32_t bytes, uint16_t flags)
{
	uint8_t *d = g->ram + table + VIRTQ_DESC_BYTES * index;

	put_le64(d, at);
	put_le32(d + 8, bytes);
	put_le16(d + 12, flags);
	put_le16(d + 14, (uint16_t)(index + 1));
}

static void offer(struct guest *g, unsigned queue, uint16_t head)
{
	uint8_t *avail = g->ram + RING_AT(queue) + AVAIL;

	put_le16(avail + 4 + 2 * (g->offered[queue] % SIZE), head);
	put_le16(avail + 2, ++g->offered[queue]);
}

/* All that was used is seen: and buffers of a page each are given anew for it. */
static void look(struct guest *g, unsigned queue, bool repost)
{
	const uint8_t *used = g->ram + RING_AT(queue) + USED;

	for (; g->seen[queue] != get_le16(used + 2); g->seen[queue]++)
		if (repost)
			offer(g, queue, get_le16(used + 4 + 8 * (g->seen[queue] % SIZE)));
	put_le16(g->ram + RING_AT(queue) + AVAIL + 4 + 2 * SIZE, g->seen[queue]); /* used_event */
}

/* 10,000 frames a second: fast enough for interrupts to be held back. */
static uint64_t now(void)
{
	static uint64_t ticks;

	return ticks += 100000;
}

static void set_up(struct guest *g, uint8_t number)
{
	struct virtio_net_config cfg = {.mem = {&mem_ops, g}, .pairs = 1, .mac = {2, 0, 0, 0, 0, number}, .mtu = 1500, .now = now,
					.hz = 1000000000};
	void *memory = aligned_alloc(64, align_up(virtio_net_bytes(&cfg), 64));

	coalesce_settings_init(&cfg.interrupts);
	memset(memory, 0, virtio_net_bytes(&cfg));
	g->net = virtio_net_make(memory, &cfg);
	g->device = virtio_net_device(g->net);
	g->device->transport = &transport;
	g->device->transport_ctx = g;
	g->port.sw = &sw;
	if (!virtio_net_connect(g->net, &g->port))
		abort();
	virtio_set_status(g->device, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	virtio_accept(g->device, 0, virtio_features(g->device, 0));
	virtio_accept(g->device, 1, virtio_features(g->device, 1));
	virtio_set_status(g->device, VIRTIO_STATUS_FEATURES_OK);
	for (unsigned i = 0; i < 2; i++) {
		struct virtio_queue *q = virtio_queue(g->device, i);

		virtio_queue_set_address(q, VIRTQ_DESC, 0, RING_AT(i));
		virtio_queue_set_address(q, VIRTQ_AVAIL, 0, RING_AT(i) + AVAIL);
		virtio_queue_set_address(q, VIRTQ_USED, 0, RING_AT(i) + USED);
		q->vector = 1;
		virtio_queue_enable(q);
	}
	virtio_set_status(g->device, VIRTIO_STATUS_DRIVER_OK);
	while (virtio_step(g->device, VIRTIO_INLINE_BUDGET))
		continue;
}

/* Page @i of @count of a guest's data, side by side or with none behind its neighbour. */
static uint32_t page_at(unsigned i, unsigned count, bool scattered)
{
	return DATA_AT + 0x1000 * (scattered ? count - 1 - i : i);
}

static void set_up_both(bool scattered)
{
	set_up(&sender, 1);
	set_up(&receiver, 2);
	for (unsigned i = 0; i < 128; i++) {
		desc(&receiver, RING_AT(0), i, page_at(i, 128, scattered), 4096, VIRTQ_DESC_F_WRITE);
		offer(&receiver, 0, (uint16_t)i);
	}
}

/* ---- what stands for the switch: the frame goes to the other one ---- */

enum net_answer net_switch_send(struct net_port *from, struct net_ticket *t, struct net_batch *batch, unsigned *budget)
{
	enum net_drop why;
	enum net_answer answer = virtio_net_port_ops.deliver(receiver.net, t, &why);

	(void)from;
	if (answer != NET_DONE || why != NET_DROP_NONE)
		abort();
	batch->touched = 1;
	*budget -= 500;
	return answer;
}
void net_switch_flush(struct net_switch *of, struct net_batch *batch)
{
	(void)of;
	if (batch->touched)
		virtio_net_port_ops.flush(receiver.net);
}
bool net_switch_cancel(struct net_ticket *t) { return t != NULL; }
void net_port_refilled(struct net_port *p) { (void)p; }

/* ---- frames ---- */

static void put_frame(uint8_t *at, uint32_t bytes)
{
	uint8_t *ip = at + NET_ETHERNET_BYTES, *tcp = ip + 20;

	memcpy(at, (const uint8_t[]){2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}, NET_ETHERNET_BYTES);
	ip[0] = 0x45;
	net_put16(ip + 2, (uint16_t)(bytes - NET_ETHERNET_BYTES));
	ip[8] = 64;
	ip[9] = 6;
	net_put16(ip + 10, net_sum_end(net_sum(0, ip, 20, false)));
	tcp[12] = 8 << 4;
}

CASE case_vnet_large(unsigned round)
{
	(void)round;
	virtio_kick(sender.device, 1);
	while (virtio_step(sender.device, VIRTIO_INLINE_BUDGET))
		continue;
}
/* Header and headers, then 4 KiB pieces, by an indirect table, as Linux frames it; 4 KiB buffers at the other side. */
static unsigned large(bool scattered, void (*one)(unsigned))
{
	uint8_t *header = sender.ram + HEADER_AT;
	uint32_t left = LARGE_BYTES - 66;

	set_up_both(scattered);
	header[VIRTIO_NET_HDR_FLAGS] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header[VIRTIO_NET_HDR_GSO_TYPE] = VIRTIO_NET_HDR_GSO_TCPV4;
	put_le16(header + VIRTIO_NET_HDR_GSO_SIZE, 1448);
	put_le16(header + VIRTIO_NET_HDR_CSUM_START, 34);
	put_le16(header + VIRTIO_NET_HDR_CSUM_OFFSET, 16);
	put_frame(header + VIRTIO_NET_HDR_BYTES, LARGE_BYTES);
	desc(&sender, TABLE_AT, 0, HEADER_AT, VIRTIO_NET_HDR_BYTES + 66, VIRTQ_DESC_F_NEXT);
	for (unsigned i = 1; i < LARGE_PIECES; i++, left -= MIN(left, 4096u))
		desc(&sender, TABLE_AT, i, page_at(i, LARGE_PIECES, scattered), MIN(left, 4096u),
		     i + 1 < LARGE_PIECES ? VIRTQ_DESC_F_NEXT : 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		desc(&sender, RING_AT(1), i % SIZE, TABLE_AT, 16 * LARGE_PIECES, VIRTQ_DESC_F_INDIRECT);
		offer(&sender, 1, (uint16_t)(i % SIZE));
		one(i);
		look(&sender, 1, false);
		look(&receiver, 0, true);
	}
	if (receiver.seen[0] != ROUNDS * 16 || receiver.interrupts != ROUNDS || sender.interrupts != ROUNDS)
		abort();
	return ROUNDS;
}

static unsigned run_vnet_large(void) { return large(false, case_vnet_large); }

CASE case_vnet_large_scattered(unsigned round)
{
	case_vnet_large(round);
}
static unsigned run_vnet_large_scattered(void) { return large(true, case_vnet_large_scattered); }

CASE case_vnet_small(unsigned round)
{
	case_vnet_large(round);
}
/* 64 bytes, 32 with one kick. */
static unsigned run_vnet_small(void)
{
	set_up_both(false);
	put_frame(sender.ram + SMALL_AT + VIRTIO_NET_HDR_BYTES, SMALL_BYTES);
	for (unsigned i = 0; i < ROUNDS; i++) {
		for (unsigned f = 0; f < BATCH; f++) {
			desc(&sender, RING_AT(1), f, SMALL_AT, VIRTIO_NET_HDR_BYTES + SMALL_BYTES, 0);
			offer(&sender, 1, (uint16_t)f);
		}
		case_vnet_small(i);
		look(&sender, 1, false);
		look(&receiver, 0, true);
	}
	if (receiver.seen[0] != (uint16_t)(ROUNDS * BATCH))
		abort();
	return ROUNDS * BATCH;
}

static const struct bench_case cases[] = {
	{"vnet_large", run_vnet_large},
	{"vnet_large_scattered", run_vnet_large_scattered},
	{"vnet_small", run_vnet_small},
};

int main(int argc, char **argv) { return bench_main(cases, ARRAY_SIZE(cases), argc, argv); }
