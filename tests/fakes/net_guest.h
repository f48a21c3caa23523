/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's network driver by the book, with one pair of queues, on an interface of a VM that is defined on the machine
 * of vm_rig.h: the device is the real one, the guest's memory is the fake one. And the loop in which such guests, the
 * networks' workers and time go on until all is at rest.
 */
#ifndef CORBEL_TESTS_NET_GUEST_H
#define CORBEL_TESTS_NET_GUEST_H

#include "guest/network.h"
#include "io/virtio_net.h"
#include "tests/fakes/virtio_driver.h"

#define NET_GUEST_BUFFERS 128u /* of each direction */
#define NET_GUEST_FRAME 2048u

struct net_guest {
	struct vm *vm;
	struct fake_guest_mem mem;
	struct virtio_net *net;
	void *memory, *client_memory;
	struct network_client *client;
	struct driver drv;
	struct driver_ring rx, tx;
	uint8_t mac[NET_MAC_BYTES];
	bool busy[NET_GUEST_BUFFERS]; /* of those to be sent */
	bool keeps;                   /* it posts no buffer again, and takes nothing */
	uint64_t sent, received;      /* frames that the device is done with */
	uint8_t last[NET_GUEST_FRAME];
	uint32_t last_bytes;
	/* Called in each round of the loop; may be NULL. */
	void (*acts)(struct net_guest *g);
};

/* Opens interface 0 of @vm's definition and brings its driver up. The statuses of network_client_open(). */
MUST_CHECK enum status net_guest_open(struct net_guest *g, struct vm *vm, struct error *err);
/* The device is reset, the port closed. */
void net_guest_close(struct net_guest *g);
/* Sends @bytes of a frame, with Ethernet's header; false: all buffers are busy. The device is kicked by the caller. */
bool net_guest_send(struct net_guest *g, const void *frame, uint32_t bytes);
void net_guest_kick(struct net_guest *g);
/* A frame of @bytes from @g to @to, whose payload is bytes of @mark. */
void net_guest_frame(const struct net_guest *g, const uint8_t to[NET_MAC_BYTES], uint8_t mark, uint8_t *frame,
		     uint32_t bytes);

/* All that are open, until nothing is left to be done before host tick @until. ASSERTs that they come to rest. */
void net_guests_run_until(uint64_t until);
/* For @ns from now on, and until then time passes. */
void net_guests_run_ns(uint64_t ns);

#endif
