/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device's parts, for virtio_net.c (the device), virtio_net_tx.c (what the driver sends), virtio_net_rx.c
 * (what is delivered to it) and virtio_net_ctrl.c (what it asks for) alone.
 *
 * A frame that is sent is at one place at a time: free; being filled, one for each queue; ready, in its queue's list;
 * in the worker's hand, which carries it without the lock; waiting, at the head of its queue's list; held at a port.
 * A frame that is delivered is in a room, whose buffers are popped and pinned; it is written without the lock.
 * Everything else is under the device's lock.
 */
#ifndef CORBEL_IO_VIRTIO_NET_INTERNAL_H
#define CORBEL_IO_VIRTIO_NET_INTERNAL_H

#include "io/virtio_job.h"
#include "io/virtio_net.h"

/* Frames that are delivered at a time, each by another CPU. */
#define VNET_ROOMS 8u
/*
 * Pieces of memory and buffers for one frame: 64 KiB in buffers of an ordinary frame's size, of which each may lie in
 * two pages.
 */
#define VNET_PIECES 96u
#define VNET_BUFFERS 96u
/* Descriptors that are looked at for one frame. */
#define VNET_WALK_MAX 512u
/* What a driver may say at once: two full tables of addresses. */
#define VNET_TABLE_BYTES(entries) (4u + NET_MAC_BYTES * (entries))
#define VNET_COMMAND_MAX (2u + 2 * VNET_TABLE_BYTES(VIRTIO_NET_MACS))

#define VNET_GUEST_OFFLOADS \
	(VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_GUEST_ECN)

/* What is needed to unpin a piece, besides its segment. */
struct vnet_held {
	gpa_t at;
	uint64_t cookie;
};

/* ---- from the driver ---- */

enum vnet_place { VNET_FREE, VNET_FILLING, VNET_READY, VNET_IN_HAND, VNET_WAITING, VNET_AT_PORT };

struct vnet_slot {
	struct list link;   /* free, or in its queue's list while READY or WAITING */
	struct virtio_net *net;
	struct vnet_slot *next_done; /* in virtio_net.done */
	uint8_t place;      /* enum vnet_place */
	uint8_t pair;
	uint8_t answer;     /* IN_HAND: enum net_answer */
	uint8_t why;        /* IN_HAND, when it goes no further than here: enum net_drop */
	bool begun;         /* it was parsed */
	bool used;          /* the ticket, and not as it was when NET_DONE gave it back */
	bool told;          /* ready() or done() came; atomic */
	uint16_t head;
	uint32_t skip;      /* bytes of the first piece before the frame begins */
	unsigned pieces;
	struct net_ticket ticket;
	struct net_frame frame;
	struct io_segment segments[NET_SEGMENTS_MAX];
	struct vnet_held held[NET_SEGMENTS_MAX];
};

/* A queue of frames from the driver. */
struct vnet_tx {
	struct list ready;         /* READY, in order; the first may be WAITING */
	unsigned slots;            /* of it, at any place */
	struct vnet_slot *filling; /* the one whose memory is being pinned; its chain is the one below */
	struct virtq_chain chain;
	struct virtq_cursor at;    /* what is not pinned yet */
	uint32_t header_left;      /* bytes of the header that are not read yet */
	uint8_t header[VIRTIO_NET_HDR_BYTES];
	bool tell;                 /* chains were given back since the driver was told */
	struct virtq_buffer buffers[VIRTIO_NET_QUEUE_SIZE];
};

/* ---- to the driver ---- */

struct vnet_room {
	struct list link; /* while free */
	unsigned buffers, pieces;
	struct virtq_used used[VNET_BUFFERS];
	gpa_t at[VNET_BUFFERS];
	struct io_segment segments[VNET_PIECES];
	struct vnet_held held[VNET_PIECES];
};

/* What the driver wants to hear of (5.1.6.5.1 to 5.1.6.5.3). */
struct vnet_filter {
	bool modes[VIRTIO_NET_CTRL_RX_MODES]; /* by VIRTIO_NET_CTRL_RX_* */
	bool all_unicast, all_groups;         /* more addresses than the table holds */
	bool by_vlan;
	uint8_t unicasts, groups;
	uint8_t unicast[VIRTIO_NET_MACS][NET_MAC_BYTES];
	uint8_t group[VIRTIO_NET_MACS][NET_MAC_BYTES];
	uint64_t vlans[4096 / 64];
};

/* ---- the control queue ---- */

struct vnet_control {
	struct virtio_job job;
	bool answered;    /* the command was carried out, its answer is not written yet */
	uint8_t answer;
	uint32_t read;    /* bytes of the command */
	uint8_t command[VNET_COMMAND_MAX];
	struct virtq_buffer buffers[VIRTIO_NET_CTRL_SIZE];
};

struct virtio_net {
	struct virtio_device device;
	struct virtio_net_config cfg;
	struct virtio_queue *queues; /* rx0 tx0 rx1 tx1 .., control */
	struct vnet_tx *tx;          /* by pair */
	struct coalesce coalesce[VIRTIO_NET_PAIRS_MAX]; /* of the queues to the driver */
	uint8_t config[VIRTIO_NET_CFG_BYTES];
	struct net_port *port;
	bool up;                     /* what the owner says of the link */
	bool carrying;               /* the worker has slots in hand */
	unsigned pairs;              /* in use */
	unsigned share;              /* slots that each queue may have */
	uint64_t offloads;           /* of VNET_GUEST_OFFLOADS, those that are on */
	struct net_abilities can;    /* by them */
	bool mergeable;
	struct vnet_filter filter;
	struct vnet_control control;
	struct list free_slots, free_rooms;
	uint32_t starved;            /* BIT(pair) of those that found no slot */
	unsigned turn;               /* the pair whose frames go first */
	unsigned orphans;            /* slots of stopped queues that ready() or done() is still to come for */
	struct vnet_slot *done;      /* handed back by a port, the last first; lock-free, for done() has any lock */
	struct vnet_slot *taken, **taken_end; /* those that the holder of the lock has, the first first */
	bool awaited;                /* somebody waits for buffers, or for a room */
	uint32_t held;               /* BIT(pair) of those whose interrupt was held back; atomic */
	struct virtio_net_figures figures;
	struct virtq_buffer scratch[VIRTIO_NET_QUEUE_SIZE]; /* a chain that is popped for a frame to the driver */
	struct vnet_slot slots[VIRTIO_NET_SLOTS];
	struct vnet_room rooms[VNET_ROOMS];
};

/* Host instructions: what a step takes at most, and what it usually takes. */
#define VNET_POP_MAX 6000u
#define VNET_POP_COST 300u
#define VNET_BUFFER_COST 10u
#define VNET_PIN_MAX 800u
#define VNET_PIN_COST 150u
#define VNET_COLLECT_MAX 256u /* pieces */

static inline struct virtio_net *vnet_of(struct virtio_device *d) { return container_of(d, struct virtio_net, device); }

/* Pairs of queues that there are by what was negotiated; the control queue is behind them (5.1.2). */
static inline unsigned vnet_pairs(const struct virtio_net *n)
{
	return virtio_has(&n->device, VIRTIO_NET_F_MQ) ? n->cfg.pairs : 1;
}
static inline unsigned vnet_rx_index(unsigned pair) { return 2 * pair; }
static inline unsigned vnet_tx_index(unsigned pair) { return 2 * pair + 1; }
static inline void vnet_use_pairs(struct virtio_net *n, unsigned pairs)
{
	n->pairs = pairs;
	n->share = VIRTIO_NET_SLOTS / pairs;
}
static inline bool vnet_connected(const struct virtio_net *n) { return n->up && n->port; }

/* Unpins piece @s, of which @skip bytes before it are pinned with it. */
static ALWAYS_INLINE void vnet_unpin(const struct guest_mem *mem, const struct io_segment *s, const struct vnet_held *h,
				     uint32_t skip, bool write)
{
	struct guest_pin p; /* what unpin() looks at, no more */

	p.at = h->at;
	p.cookie = h->cookie;
	p.va = (uint8_t *)s->data - skip;
	p.bytes = p.got = s->bytes + skip;
	p.write = write;
	guest_mem_unpin(mem, &p);
}

/* virtio_net_tx.c. */
void vnet_init_tx(struct virtio_net *n);
enum virtio_progress vnet_transmit(struct virtio_net *n, unsigned pair, unsigned *budget);
void vnet_stop_tx(struct virtio_net *n, unsigned pair);
void vnet_collect(struct virtio_device *d);
bool vnet_carry(struct virtio_device *d, unsigned budget);
/* Calls back what waits or is held at the port, and drops it. False: somebody has one of them in hand. */
bool vnet_recall(struct virtio_net *n);

/* virtio_net_rx.c. */
void vnet_init_rx(struct virtio_net *n);
void vnet_refilled_now(struct virtio_net *n);
/* Whoever waits for buffers or a room may try again. */
static inline void vnet_refilled(struct virtio_net *n)
{
	if (n->awaited)
		vnet_refilled_now(n);
}

/* virtio_net_ctrl.c. */
enum virtio_progress vnet_control(struct virtio_net *n, unsigned index, unsigned *budget);
/* As after power-on, and when features were accepted. */
void vnet_reset_filter(struct virtio_net *n);
void vnet_set_offloads(struct virtio_net *n, uint64_t offloads);
/* Does the driver want to hear of @f? */
bool vnet_wants(const struct virtio_net *n, const struct net_frame *f);
/* The address changes, with the owner's consent. */
bool vnet_set_mac(struct virtio_net *n, const uint8_t mac[NET_MAC_BYTES]);

#endif
