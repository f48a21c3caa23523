/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network interfaces: what a driver offers to whoever has the wire (io/net_uplink.h). The driver owns the memory that
 * the interface reads and writes: frames are copied in and out, so an interface that wedges, answers out of order or
 * never, holds nobody's memory, and none but the driver's own is ever told to it.
 *
 * Calls into one interface come one at a time: whoever calls holds its owner's lock, interrupts masked. Everything is
 * bounded. A driver notices by itself that the interface has stopped, resets it, and says so.
 */
#ifndef CORBEL_IO_NIC_H
#define CORBEL_IO_NIC_H

#include <stdbool.h>
#include <stdint.h>

#include "io/net_frame.h"

#define NIC_NAME_MAX 32

#define NIC_RECEIVED_MAX 32u
#define NIC_POLL_NS 100000000ull /* at least so often poll() is called, also when nothing interrupts; */
#define NIC_LOOK_NS 200000ull	 /* and so often of one that cannot interrupt */

struct nic;

struct nic_frame {
	const uint8_t *data;
	uint32_t bytes;	    /* without check sequence */
	bool checksum_good; /* of TCP or UDP: the interface has looked */
};

struct nic_ops {
	/*
	 * Where the next frame to be sent is written, NULL: no room now. Of @bytes (NET_FRAME_MIN .. max_frame),
	 * without padding and check sequence. Until commit() the place may be asked for again and is the same.
	 */
	uint8_t *(*reserve)(struct nic *n, uint32_t bytes);
	/* The frame that was reserved last is complete. */
	void (*commit)(struct nic *n, uint32_t bytes);
	/* Tells the interface of what was committed since the last call; once for many. */
	void (*kick)(struct nic *n);
	/*
	 * Takes back what has been sent (sent_bytes goes up), and looks after the link (link_changed()) and the
	 * interface's health. A reset goes on here, and lets a reserved place and what was committed go.
	 */
	void (*poll)(struct nic *n);
	/*
	 * The next frame that was received, in the driver's memory, which stays as it is until release(). False: there
	 * is none now. Several may be out at a time, at most NIC_RECEIVED_MAX; they are released in order.
	 */
	bool (*receive)(struct nic *n, struct nic_frame *out);
	void (*release)(struct nic *n);
	/* Whether received frames, frames sent and changes of the link interrupt. Off at first. */
	void (*interrupts)(struct nic *n, bool on);
	/* All frames, or those for the own address and for groups. Off at first; an uplink of a switch wants all. */
	void (*promiscuous)(struct nic *n, bool on);
};

/* Since the driver has it. */
struct nic_figures {
	uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes;
	uint64_t rx_errors;	  /* frames that the interface found damaged, or that were no frames */
	uint64_t rx_missed;	  /* the interface had no buffer for them */
	uint64_t tx_lost;	  /* committed, and given up when the interface was reset */
	uint64_t resets;	  /* because it had stopped */
	uint64_t bad_descriptors; /* returned out of order, twice, or with impossible contents */
	uint64_t link_changes, interrupts;
};

/* An interface. The driver's, for good. */
struct nic {
	const struct nic_ops *ops;
	char name[NIC_NAME_MAX]; /* "nic0" */
	char what[64];		 /* "Intel 82540EM at 00:02.0", printable */
	uint8_t mac[NET_MAC_BYTES];
	bool silent;	    /* it cannot interrupt: who has it looks every NIC_LOOK_NS */
	uint32_t max_frame; /* bytes with Ethernet's header and one tag, without check sequence */
	/* The owner's. */
	/* From within poll(): up or link_mbps has changed. */
	void (*link_changed)(struct nic *n);
	/* In an interrupt's context, masked, no lock held, any CPU: poll() is due. Interrupts are off again. */
	void (*interrupted)(struct nic *n);
	void *ctx;
	/* The driver's, read by anybody. */
	bool up;
	uint32_t link_mbps;	/* 0: down */
	uint64_t sent_bytes;	/* that are no longer the interface's */
	uint32_t waiting_bytes; /* committed and not sent yet */
	struct nic_figures figures;
};

#endif
