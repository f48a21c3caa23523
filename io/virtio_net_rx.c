/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames for the driver, brought by whoever sends them: any CPU, several at a time. Each takes a room, and under the
 * lock pops and pins as many buffers as the frame needs, or puts all of them back; writes them without the lock; and
 * gives them back under the lock again, all at once, as 5.1.6.4 has it. What is pinned cannot move, what is in flight
 * keeps a reset waiting: so nothing that happens meanwhile makes the copy go astray.
 *
 * A frame that the driver cannot take as it is comes as several, each delivered by itself; the ticket says how far it
 * is.
 *
 * Which of several queues: by the frame's flow, over the pairs in use (5.1.6.5.5 leaves that to the device).
 */
#include "io/virtio_net_internal.h"

#include <string.h>

#include "lib/assert.h"

/* Of one call, in host instructions; a frame, and what computing a checksum over a byte costs. */
#define DELIVER_BUDGET 20000u
#define FRAME_COST 1000u
#define SUM_SHIFT 2 /* 4 bytes an instruction, to sum and to copy */
#define COPY_SHIFT 4

enum took {
	TOOK_ALL,
	TOOK_NONE,  /* there are not enough, or memory is to come: later */
	TOOK_SMALL, /* what is there will never do */
	TOOK_STOPPED, /* the driver broke a rule, or resets the queue */
};

void vnet_refilled_now(struct virtio_net *n)
{
	n->awaited = false;
	if (n->port)
		net_port_refilled(n->port);
}

/* ---- buffers ---- */

/* Buffers on their way into a room. */
struct gather {
	struct virtio_net *net;
	struct vnet_room *room;
	struct virtq *ring;
	uint32_t left; /* bytes that have no place yet */
	unsigned pieces, walked;
	/* What is pinned behind the last piece: drivers cut buffers off larger pieces of memory, in order. */
	uint64_t behind;
	uint32_t spare;
};

/* Pins @bytes at @at, as they lie. */
static ALWAYS_INLINE enum took pin_pieces(struct gather *g, uint64_t at, uint32_t bytes)
{
	struct vnet_room *r = g->room;
	const struct guest_pin *pin = &g->ring->wait;

	for (;;) {
		enum pin_result answer;
		uint32_t part;

		if (unlikely(g->pieces == VNET_PIECES))
			return TOOK_SMALL;
		answer = virtq_pin(g->ring, gpa(at), g->left, true);
		if (unlikely(answer != PIN_NOW))
			return answer == PIN_LATER ? TOOK_NONE : TOOK_STOPPED;
		part = MIN(pin->got, bytes);
		r->segments[g->pieces] = (struct io_segment){pin->va, part};
		r->held[g->pieces++] = (struct vnet_held){gpa(at), pin->cookie};
		g->left -= part;
		at += part;
		bytes -= part;
		if (likely(bytes == 0)) {
			g->behind = at;
			g->spare = pin->got - part;
			return TOOK_ALL;
		}
	}
}

/* From buffer @i of @end on, those that lie behind the last piece and are pinned with it. The first that does not. */
static ALWAYS_INLINE unsigned extend(struct gather *g, unsigned i, unsigned end)
{
	const struct vnet_room *r = g->room;
	uint32_t more = 0;

	for (; i < end && r->at[i].v == g->behind + more && r->used[i].written <= g->spare - more; i++)
		more += r->used[i].written;
	g->room->segments[g->pieces - 1].bytes += more;
	g->left -= more;
	return i;
}

/* The next buffer is a chain of any kind, or there is none. */
static NOINLINE enum took take_chain(struct gather *g)
{
	struct virtio_net *n = g->net;
	struct vnet_room *r = g->room;
	struct virtq_chain c = {.buffers = n->scratch, .room = VIRTIO_NET_QUEUE_SIZE};
	enum took took = TOOK_ALL;
	uint32_t left;

	switch (virtq_pop(g->ring, &c)) {
	case VIRTQ_CHAIN:
		break;
	case VIRTQ_BROKEN:
		if (g->ring->state != VIRTQ_BROKEN_STATE)
			return TOOK_NONE; /* it is not on */
		virtio_break(&n->device, g->ring->broken);
		return TOOK_STOPPED;
	default:
		/* When the queue can hold no more of them, more will not come. */
		return r->buffers == g->ring->size ? TOOK_SMALL : TOOK_NONE;
	}
	left = (uint32_t)MIN(g->left, c.writable_bytes);
	g->walked += (unsigned)c.readable + c.writable;
	r->used[r->buffers++] = (struct virtq_used){c.head, left};
	if (left == 0) {
		virtio_break(&n->device, "a receive buffer that is not writable");
		return TOOK_STOPPED;
	}
	for (const struct virtq_buffer *b = c.buffers + c.readable; left != 0 && took == TOOK_ALL; b++) {
		uint32_t part = MIN(left, b->bytes);

		took = pin_pieces(g, b->at.v, part);
		left -= part;
	}
	return took;
}

/* As many buffers as are simple and needed, at most @most. */
static ALWAYS_INLINE enum took take_singles(struct gather *g, unsigned most)
{
	struct vnet_room *r = g->room;
	unsigned i = 0;

	r->buffers = virtq_pop_singles(g->ring, r->used, r->at, most, g->left);
	while (i < r->buffers) {
		enum took took = pin_pieces(g, r->at[i].v, r->used[i].written);

		if (unlikely(took != TOOK_ALL))
			return took;
		i = extend(g, i + 1, r->buffers);
	}
	return TOOK_ALL;
}

static void unpin_room(struct virtio_net *n, struct vnet_room *r)
{
	for (unsigned i = 0; i < r->pieces; i++)
		vnet_unpin(&n->device.mem, &r->segments[i], &r->held[i], 0, true);
	r->pieces = 0;
}

static NOINLINE enum took put_buffers_back(struct gather *g, enum took took)
{
	struct virtio_net *n = g->net;
	struct vnet_room *r = g->room;

	r->pieces = g->pieces;
	unpin_room(n, r);
	for (unsigned i = r->buffers; i-- > 0;)
		virtq_unpop(g->ring, &(struct virtq_chain){.head = (uint16_t)r->used[i].head});
	if (took == TOOK_STOPPED) /* for the first reason that there was */
		virtio_break(&n->device, "a receive buffer outside memory");
	return took;
}

/* Takes what the simple ones did not do for. */
static NOINLINE enum took take_rest(struct gather *g, unsigned most, enum took took)
{
	while (took == TOOK_ALL && g->left != 0) {
		if (g->room->buffers == most || g->walked > VNET_WALK_MAX)
			took = TOOK_SMALL;
		else
			took = take_chain(g);
	}
	if (took != TOOK_ALL)
		return put_buffers_back(g, took);
	g->room->pieces = g->pieces;
	return TOOK_ALL;
}

/* Takes buffers for @bytes from queue @index; on anything but ALL they are put back. */
static enum took take_buffers(struct virtio_net *n, struct vnet_room *r, unsigned index, uint32_t bytes)
{
	struct gather g = {.net = n, .room = r, .ring = &n->queues[index].ring, .left = bytes};
	unsigned most = n->mergeable ? VNET_BUFFERS : 1;
	enum took took;

	took = take_singles(&g, most);
	if (unlikely(g.left != 0)) {
		struct gather slow = g; /* so that this one stays in registers */

		return take_rest(&slow, most, took);
	}
	r->pieces = g.pieces;
	return TOOK_ALL;
}

/* Gives what was written back to the driver. False: its queue is being stopped, and forgets it. */
static bool give_buffers(struct virtio_net *n, struct vnet_room *r, unsigned index)
{
	if (likely(!virtio_stopping(&n->device, index))) {
		virtq_push_all(&n->queues[index].ring, r->used, r->buffers);
		return true;
	}
	for (unsigned i = 0; i < r->buffers; i++)
		virtio_drop(&n->device, index, (uint16_t)r->used[i].head);
	return false;
}

/* ---- interrupts ---- */

static void interrupt(struct virtio_net *n, unsigned pair)
{
	uint64_t before = n->device.interrupts;

	__atomic_store_n(&n->held, n->held & (uint32_t)~BIT(pair), __ATOMIC_RELAXED);
	virtio_notify(&n->device, vnet_rx_index(pair));
	n->figures.rx_interrupts += n->device.interrupts - before;
}

/*
 * A frame was given to the driver, and @behind more are known to come: one of them will do for this one too (vIC).
 * Those that are held when no more come are told of by flush(), so that it takes no more than one in flight to hold
 * one.
 */
static void tell(struct virtio_net *n, unsigned pair, unsigned behind)
{
	const struct coalesce_settings *set = &n->cfg.interrupts;
	struct coalesce *c = &n->coalesce[pair];
	bool now = true;

	if (behind == 0 || set->policy == COALESCE_OFF)
		coalesce_complete_few(c);
	else
		now = behind >= set->cif_min && coalesce_complete(c, set, behind + 1, n->cfg.now(), n->cfg.hz);
	if (now)
		interrupt(n, pair);
	else
		__atomic_store_n(&n->held, n->held | (uint32_t)BIT(pair), __ATOMIC_RELAXED);
}

static void flush(void *ctx)
{
	struct virtio_net *n = ctx;

	/* Of this sender's frames it is seen here; those of others are theirs to flush. */
	if (__atomic_load_n(&n->held, __ATOMIC_RELAXED) == 0)
		return;
	lock_acquire(&n->device.lock);
	for (uint32_t left = n->held; left != 0; left &= left - 1)
		interrupt(n, bit_lowest(left));
	lock_release(&n->device.lock);
}

/* ---- a frame ---- */

/* One frame's way in. */
struct delivery {
	struct virtio_net *net;
	struct net_ticket *ticket;
	struct vnet_room *room;
	unsigned pair, index; /* the queue */
	unsigned frames;      /* that come of it */
	unsigned spent;
	struct net_cut cut;
};

/* 5.1.6.4: struct virtio_net_hdr, for the frame that was cut last. */
static ALWAYS_INLINE void make_header(const struct delivery *v, uint8_t header[VIRTIO_NET_HDR_BYTES])
{
	static const uint8_t types[] = {[NET_GSO_NONE] = VIRTIO_NET_HDR_GSO_NONE, [NET_GSO_TCP4] = VIRTIO_NET_HDR_GSO_TCPV4,
					[NET_GSO_TCP6] = VIRTIO_NET_HDR_GSO_TCPV6};
	const struct net_offload *o = &v->cut.offload;

	put_le64(header, 0);
	put_le16(header + VIRTIO_NET_HDR_CSUM_OFFSET, 0);
	put_le16(header + VIRTIO_NET_HDR_NUM_BUFFERS, (uint16_t)v->room->buffers);
	if (o->needs_checksum) {
		header[VIRTIO_NET_HDR_FLAGS] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		put_le16(header + VIRTIO_NET_HDR_CSUM_START, o->checksum_at);
		put_le16(header + VIRTIO_NET_HDR_CSUM_OFFSET, o->checksum_offset);
	} else if (o->checksum_good && v->net->can.checksum) {
		header[VIRTIO_NET_HDR_FLAGS] = VIRTIO_NET_HDR_F_DATA_VALID;
	}
	if (o->gso != NET_GSO_NONE) {
		header[VIRTIO_NET_HDR_GSO_TYPE] = (uint8_t)(types[o->gso] | (o->ecn ? VIRTIO_NET_HDR_GSO_ECN : 0));
		put_le16(header + VIRTIO_NET_HDR_HDR_LEN, v->ticket->frame->header_bytes);
		put_le16(header + VIRTIO_NET_HDR_GSO_SIZE, o->gso_size);
	}
}

/* Without the lock: the buffers are nobody else's. The header lies in one piece but with drivers that try us. */
static ALWAYS_INLINE void write_frame(struct delivery *v, const uint8_t header[VIRTIO_NET_HDR_BYTES])
{
	struct segment_cursor to = {v->room->segments, v->room->pieces, 0};

	if (likely(to.segment->bytes >= VIRTIO_NET_HDR_BYTES)) {
		__builtin_memcpy(to.segment->data, header, VIRTIO_NET_HDR_BYTES);
		to.skip = VIRTIO_NET_HDR_BYTES;
	} else {
		(void)segment_copy_to(&to, header, VIRTIO_NET_HDR_BYTES);
	}
	net_cut_copy(&v->cut, &to);
	unpin_room(v->net, v->room);
}

static void count_received(struct delivery *v, uint32_t bytes)
{
	struct virtio_net_figures *f = &v->net->figures;

	f->rx_frames++;
	f->rx_bytes += bytes;
	f->rx_copied += bytes;
	f->rx_summed += v->cut.sums;
}

/* The frame that was cut last: buffers, the copy, back again. The lock is held before and after. */
static enum took bring_one(struct delivery *v)
{
	struct virtio_net *n = v->net;
	uint8_t header[VIRTIO_NET_HDR_BYTES];
	uint32_t bytes = v->cut.bytes;
	enum took took = take_buffers(n, v->room, v->index, VIRTIO_NET_HDR_BYTES + bytes);

	if (took != TOOK_ALL)
		return took;
	make_header(v, header);
	lock_release(&n->device.lock);
	write_frame(v, header);
	lock_acquire(&n->device.lock);
	if (unlikely(!give_buffers(n, v->room, v->index)))
		return TOOK_STOPPED;
	count_received(v, bytes);
	v->spent += FRAME_COST + (bytes >> (v->cut.sums ? SUM_SHIFT : COPY_SHIFT));
	v->ticket->progress++;
	tell(n, v->pair, v->ticket->behind + (v->frames - v->ticket->progress));
	return TOOK_ALL;
}

/* There are too few buffers: who is patient waits, and the driver is asked to kick. */
static enum net_answer no_buffers(struct delivery *v, enum net_drop *why)
{
	struct virtio_net *n = v->net;
	struct virtq *ring = &n->queues[v->index].ring;

	if (!v->ticket->patient) {
		*why = NET_DROP_NO_BUFFER;
		return NET_DONE;
	}
	n->awaited = true;
	/* What came in since they were counted has been kicked for, or not: looked at once more, by our worker. */
	if (!ring->waiting && virtq_kicks_on_beyond(ring, (uint16_t)v->room->buffers))
		virtio_resume(&n->device, v->index);
	return NET_WAIT;
}

static enum net_answer stopped(struct delivery *v, enum took took, enum net_drop *why)
{
	switch (took) {
	case TOOK_NONE:
		return no_buffers(v, why);
	case TOOK_SMALL:
		*why = NET_DROP_SMALL_BUFFER;
		return NET_DONE;
	default:
		*why = NET_DROP_LINK;
		return NET_DONE;
	}
}

/* All frames that come of @v's, from where it was left. */
static enum net_answer bring(struct delivery *v, enum net_drop *why)
{
	struct net_ticket *t = v->ticket;

	net_cut_begin(&v->cut, t->frame, &v->net->can);
	v->frames = v->cut.cuts ? net_cut_count(&v->cut) : 1;
	if (unlikely(t->progress != 0))
		net_cut_skip(&v->cut, t->progress);
	while (net_cut_next(&v->cut)) {
		enum took took = bring_one(v);

		if (unlikely(took != TOOK_ALL))
			return stopped(v, took, why);
		if (likely(t->progress == v->frames))
			break;
		if (v->spent >= DELIVER_BUDGET)
			return NET_AGAIN;
	}
	return NET_DONE;
}

static struct vnet_room *take_room(struct virtio_net *n)
{
	struct vnet_room *r;

	if (list_empty(&n->free_rooms))
		return NULL;
	r = list_entry(n->free_rooms.next, struct vnet_room, link);
	list_remove(&r->link);
	return r;
}

static void give_room(struct virtio_net *n, struct vnet_room *r)
{
	bool first = list_empty(&n->free_rooms);

	list_push_front(&n->free_rooms, &r->link);
	if (unlikely(first))
		vnet_refilled(n);
}

static enum net_answer deliver_locked(struct virtio_net *n, struct net_ticket *t, enum net_drop *why)
{
	struct delivery v;
	enum net_answer answer;

	if (!virtio_running(&n->device) || !vnet_connected(n)) {
		*why = NET_DROP_LINK;
		return NET_DONE;
	}
	if (!vnet_wants(n, t->frame)) {
		n->figures.rx_filtered++;
		return NET_DONE;
	}
	v.room = take_room(n);
	if (!v.room) {
		n->awaited |= t->patient;
		*why = NET_DROP_NO_BUFFER;
		return t->patient ? NET_WAIT : NET_DONE;
	}
	v.net = n;
	v.ticket = t;
	v.pair = n->pairs == 1 ? 0 : (unsigned)((uint64_t)net_frame_hash(t->frame) * n->pairs >> 32);
	v.index = vnet_rx_index(v.pair);
	v.spent = 0;
	answer = bring(&v, why);
	/* The driver gives no buffers while it does not know that some were used. */
	if (answer == NET_WAIT && (n->held & BIT(v.pair)))
		interrupt(n, v.pair);
	n->figures.rx_cut += v.cut.cuts && answer == NET_DONE;
	give_room(n, v.room);
	return answer;
}

static enum net_answer deliver(void *ctx, struct net_ticket *t, enum net_drop *why)
{
	struct virtio_net *n = ctx;
	enum net_answer answer;

	*why = NET_DROP_NONE;
	lock_acquire(&n->device.lock);
	answer = deliver_locked(n, t, why);
	lock_release(&n->device.lock);
	if (answer == NET_DONE)
		t->progress = 0;
	return answer;
}

const struct net_port_ops virtio_net_port_ops = {.deliver = deliver, .flush = flush};

void vnet_init_rx(struct virtio_net *n)
{
	list_init(&n->free_rooms);
	for (unsigned i = 0; i < VNET_ROOMS; i++)
		list_push_back(&n->free_rooms, &n->rooms[i].link);
	for (unsigned i = 0; i < VIRTIO_NET_PAIRS_MAX; i++)
		coalesce_init(&n->coalesce[i]);
}
