/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames from the driver. Under the lock a chain is popped into a slot, its memory pinned piece by piece, and the first
 * bytes, the device's header and the frame's, are fetched: nobody looks at them in the guest's memory again. The worker
 * takes what is ready in hand, queue by queue, and gives it to the port without the lock; then, under the lock again,
 * chains go back to the driver, all with one interrupt for each queue.
 *
 * A queue's frames are carried in order. One that has to wait for its receiver, or whose memory is still to come, holds
 * up those behind it and no other queue's: each has its share of the slots.
 */
#include "io/virtio_net_internal.h"

#include <string.h>

#include "lib/assert.h"

_Static_assert(VIRTIO_NET_SLOTS >= VIRTIO_NET_PAIRS_MAX, "a share for each queue");
/* What is left of the budget when another frame is begun: a port that finds less answers AGAIN at once. */
#define CARRY_MIN 1000u

static struct virtq *ring_of(struct virtio_net *n, unsigned pair) { return &n->queues[vnet_tx_index(pair)].ring; }

/* ---- slots ---- */

static struct vnet_slot *take_slot(struct virtio_net *n, unsigned pair)
{
	struct vnet_slot *s;

	if (n->tx[pair].slots >= n->share || list_empty(&n->free_slots)) {
		n->starved |= (uint32_t)BIT(pair);
		return NULL;
	}
	s = list_entry(n->free_slots.next, struct vnet_slot, link);
	list_remove(&s->link);
	n->tx[pair].slots++;
	s->pair = (uint8_t)pair;
	s->place = VNET_FILLING;
	s->pieces = 0;
	s->skip = 0;
	s->begun = false;
	return s;
}

static ALWAYS_INLINE void unpin_slot(struct vnet_slot *s)
{
	const struct guest_mem *mem = &s->net->device.mem;
	uint32_t skip = s->skip;

	for (unsigned i = 0; i < s->pieces; i++, skip = 0)
		vnet_unpin(mem, &s->segments[i], &s->held[i], skip, false);
	s->pieces = 0;
}

/* @s, of which nothing is pinned any more, is free, and queues that found none go on. */
static void release(struct vnet_slot *s)
{
	struct virtio_net *n = s->net;

	s->place = VNET_FREE;
	n->tx[s->pair].slots--;
	list_push_front(&n->free_slots, &s->link);
	for (uint32_t left = n->starved; unlikely(left != 0); left &= left - 1)
		virtio_resume(&n->device, vnet_tx_index(bit_lowest(left)));
	n->starved = 0;
}

/* The driver gets chains back, or, when their queue is being stopped, they are dropped. */
static void return_chains(struct virtio_net *n, unsigned pair, const struct virtq_used *used, unsigned count)
{
	unsigned index = vnet_tx_index(pair);

	if (likely(!virtio_stopping(&n->device, index))) {
		virtq_push_all(ring_of(n, pair), used, count);
		n->tx[pair].tell = true;
		return;
	}
	for (unsigned i = 0; i < count; i++)
		virtio_drop(&n->device, index, (uint16_t)used[i].head);
}

/* @s has come to its end, in no list. */
static void end(struct vnet_slot *s)
{
	struct virtq_used used = {s->head, 0};

	unpin_slot(s);
	release(s);
	return_chains(s->net, s->pair, &used, 1);
}

/* ---- from the ring into a slot ---- */

/* Takes the queue's next chain, to be filled. False: return *@why. */
static bool begin_chain(struct virtio_net *n, unsigned pair, unsigned *budget, enum virtio_progress *why)
{
	struct vnet_tx *q = &n->tx[pair];
	struct virtq *ring = ring_of(n, pair);
	struct vnet_slot *s;

	*why = VIRTIO_IDLE;
	if (virtq_is_empty(ring))
		return false;
	*why = VIRTIO_MORE;
	if (*budget < VNET_POP_MAX)
		return false;
	*why = VIRTIO_BLOCKED;
	if (ring->waiting)
		return false;
	s = take_slot(n, pair);
	if (!s)
		return false;
	switch (virtq_pop(ring, &q->chain)) {
	case VIRTQ_CHAIN:
		break;
	case VIRTQ_LATER:
		release(s);
		return false;
	default:
		release(s);
		*why = VIRTIO_IDLE;
		return false;
	}
	*budget -= VNET_POP_COST + VNET_BUFFER_COST * ((unsigned)q->chain.readable + q->chain.writable);
	s->head = q->chain.head;
	q->at = virtq_readable(&q->chain);
	q->header_left = VIRTIO_NET_HDR_BYTES;
	q->filling = s;
	return true;
}

/* Why a chain of so many bytes is not looked at any closer. */
static enum net_drop judge_size(uint64_t bytes)
{
	if (bytes < VIRTIO_NET_HDR_BYTES + NET_FRAME_MIN)
		return NET_DROP_SHORT;
	return bytes > VIRTIO_NET_HDR_BYTES + NET_BYTES_MAX ? NET_DROP_LONG : NET_DROP_NONE;
}

/* What the driver says of the frame, in 5.1.6.2's words, as far as it may say that. */
static enum net_drop read_header(const struct virtio_net *n, const uint8_t *header, struct net_offload *o)
{
	const struct virtio_device *d = &n->device;
	uint8_t gso = header[VIRTIO_NET_HDR_GSO_TYPE];
	uint64_t needs;

	*o = (struct net_offload){.needs_checksum = header[VIRTIO_NET_HDR_FLAGS] & VIRTIO_NET_HDR_F_NEEDS_CSUM};
	if (o->needs_checksum) {
		if (!virtio_has(d, VIRTIO_NET_F_CSUM))
			return NET_DROP_CHECKSUM;
		o->checksum_at = get_le16(header + VIRTIO_NET_HDR_CSUM_START);
		o->checksum_offset = get_le16(header + VIRTIO_NET_HDR_CSUM_OFFSET);
	}
	if (gso == VIRTIO_NET_HDR_GSO_NONE)
		return NET_DROP_NONE;
	o->ecn = (gso & VIRTIO_NET_HDR_GSO_ECN) != 0;
	o->gso_size = get_le16(header + VIRTIO_NET_HDR_GSO_SIZE);
	switch (gso & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		o->gso = NET_GSO_TCP4;
		needs = VIRTIO_NET_F_HOST_TSO4;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		o->gso = NET_GSO_TCP6;
		needs = VIRTIO_NET_F_HOST_TSO6;
		break;
	default:
		return NET_DROP_GSO;
	}
	if (!o->needs_checksum || !virtio_has(d, needs) || (o->ecn && !virtio_has(d, VIRTIO_NET_F_HOST_ECN)))
		return NET_DROP_GSO;
	return NET_DROP_NONE;
}

/* All of it is pinned: the frame is fetched as far as it is ever looked at. */
static enum net_drop make_frame(struct virtio_net *n, struct vnet_tx *q)
{
	struct vnet_slot *s = q->filling;
	struct net_frame *f = &s->frame;
	uint32_t at = 0;

	f->segment_count = s->pieces;
	f->bytes = (uint32_t)(q->chain.readable_bytes - VIRTIO_NET_HDR_BYTES);
	f->head_bytes = (uint16_t)MIN(f->bytes, NET_HEAD_MAX);
	for (const struct io_segment *from = s->segments; at < f->head_bytes; from++) {
		uint32_t part = MIN(from->bytes, f->head_bytes - at);

		memcpy(f->head + at, from->data, part);
		at += part;
	}
	return read_header(n, q->header, &f->offload);
}

/* Reads the header's part that lies in the @got bytes at @from; how many that are. */
static NOINLINE uint32_t take_header(struct vnet_tx *q, const void *from, uint32_t got)
{
	uint32_t bytes = MIN(q->header_left, got);

	memcpy(q->header + VIRTIO_NET_HDR_BYTES - q->header_left, from, bytes);
	q->header_left -= bytes;
	return bytes;
}

/* How far a chain is. */
enum fill { FILL_DONE, FILL_LATER, FILL_TIRED, FILL_FAIL, FILL_FULL };

/* @spare bytes behind @last, from @behind on, are pinned with it: buffers that lie there need no pin of their own. */
static ALWAYS_INLINE void extend(struct io_segment *last, struct virtq_cursor *at, uint64_t behind, uint32_t spare)
{
	const struct virtq_buffer *b = at->buffer;
	uint64_t left = at->left;
	uint32_t more = 0;

	if (at->skip != 0)
		return;
	for (; left != 0 && b->at.v == behind + more && b->bytes <= spare - more; b++) {
		more += b->bytes;
		left -= b->bytes;
	}
	at->buffer = b;
	at->left = left;
	last->bytes += more;
}

/* Pins what is not pinned yet, @budget's worth of it. */
static ALWAYS_INLINE enum fill pin_chain(struct vnet_tx *q, struct vnet_slot *s, struct virtq *ring, unsigned *budget)
{
	struct virtq_cursor at = q->at;
	unsigned pieces = s->pieces, left = *budget;
	const struct guest_pin *pin = &ring->wait;
	enum fill end = FILL_DONE;

	while (at.left != 0) {
		uint64_t address = at.buffer->at.v + at.skip;
		uint32_t part = at.buffer->bytes - at.skip, header = 0;
		enum pin_result answer;

		end = left < VNET_PIN_MAX ? FILL_TIRED : FILL_FULL;
		if (unlikely(left < VNET_PIN_MAX || pieces == NET_SEGMENTS_MAX))
			break;
		left -= VNET_PIN_COST;
		answer = virtq_pin(ring, gpa(address), (uint32_t)MIN(at.left, UINT32_MAX), false);
		end = answer == PIN_LATER ? FILL_LATER : FILL_FAIL;
		if (unlikely(answer != PIN_NOW))
			break;
		end = FILL_DONE;
		part = MIN(part, pin->got);
		virtq_advance(&at, part);
		if (likely(q->header_left == VIRTIO_NET_HDR_BYTES && part > VIRTIO_NET_HDR_BYTES)) {
			__builtin_memcpy(q->header, pin->va, VIRTIO_NET_HDR_BYTES);
			q->header_left = 0;
			s->skip = header = VIRTIO_NET_HDR_BYTES;
		} else if (q->header_left != 0) {
			header = take_header(q, pin->va, part);
			s->skip = header == part ? 0 : header;
			if (header == part) {
				guest_mem_unpin(&s->net->device.mem, pin);
				continue;
			}
		}
		s->segments[pieces] = (struct io_segment){(uint8_t *)pin->va + header, part - header};
		s->held[pieces++] = (struct vnet_held){gpa(address), pin->cookie};
		extend(&s->segments[pieces - 1], &at, address + part, pin->got - part);
	}
	q->at = at;
	s->pieces = pieces;
	*budget = left;
	return end;
}

/* Makes a frame of the chain that is being filled. False: not yet, return *@why. Else: *@drop, if it is none. */
static bool fill(struct virtio_net *n, unsigned pair, unsigned *budget, enum virtio_progress *why, enum net_drop *drop)
{
	struct vnet_tx *q = &n->tx[pair];
	struct virtq *ring = ring_of(n, pair);
	enum fill filled;

	*drop = judge_size(q->chain.readable_bytes);
	if (unlikely(*drop != NET_DROP_NONE))
		return true;
	*why = VIRTIO_BLOCKED;
	if (unlikely(ring->waiting))
		return false;
	filled = pin_chain(q, q->filling, ring, budget);
	if (likely(filled == FILL_DONE)) {
		*drop = make_frame(n, q);
		return true;
	}
	if (filled == FILL_LATER)
		return false;
	*why = VIRTIO_MORE;
	if (filled == FILL_TIRED)
		return false;
	*drop = filled == FILL_FAIL ? NET_DROP_MEMORY : NET_DROP_SEGMENTS;
	return true;
}

static void drop_chain(struct virtio_net *n, const struct vnet_tx *q, struct vnet_slot *s, enum net_drop why)
{
	n->figures.bad_headers += q->chain.readable_bytes < VIRTIO_NET_HDR_BYTES;
	n->figures.tx_drops[why]++;
	end(s);
}

enum virtio_progress vnet_transmit(struct virtio_net *n, unsigned pair, unsigned *budget)
{
	struct vnet_tx *q = &n->tx[pair];
	enum virtio_progress why;
	enum net_drop drop;

	while (virtio_running(&n->device)) {
		struct vnet_slot *s;

		if (!q->filling && !begin_chain(n, pair, budget, &why))
			return why;
		if (!fill(n, pair, budget, &why, &drop))
			return why;
		s = q->filling;
		q->filling = NULL;
		if (unlikely(drop != NET_DROP_NONE)) {
			drop_chain(n, q, s, drop);
			continue;
		}
		s->place = VNET_READY;
		list_push_back(&q->ready, &s->link);
	}
	return VIRTIO_BLOCKED;
}

/* ---- what ports say later ---- */

/* The receiver has buffers again. Any lock may be held, of any device. */
static void on_ready(struct net_ticket *t)
{
	struct vnet_slot *s = container_of(t, struct vnet_slot, ticket);
	struct virtio_device *d = &s->net->device;

	/* Who holds the device's lock may make another frame of it from here on. */
	__atomic_store_n(&s->told, true, __ATOMIC_RELEASE);
	d->transport->defer(d->transport_ctx);
}

/* It has left, or was dropped, and its port has counted which. */
static void on_done(struct net_ticket *t, enum net_drop why)
{
	struct vnet_slot *s = container_of(t, struct vnet_slot, ticket);
	struct virtio_net *n = s->net;
	struct virtio_device *d = &n->device;

	(void)why;
	__atomic_store_n(&s->told, true, __ATOMIC_RELEASE);
	s->next_done = __atomic_load_n(&n->done, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&n->done, &s->next_done, s, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		continue;
	d->transport->defer(d->transport_ctx);
}

/* Can @s, in its queue's list, be carried? */
static bool is_ready(const struct vnet_slot *s)
{
	return s->place == VNET_READY || __atomic_load_n(&s->told, __ATOMIC_ACQUIRE);
}

/* Puts what was handed back behind what was taken before, in the order in which it was. */
static void take_done(struct virtio_net *n)
{
	struct vnet_slot *s = __atomic_exchange_n(&n->done, NULL, __ATOMIC_ACQUIRE), *in_order = NULL, *last = s;

	while (s) {
		struct vnet_slot *next = s->next_done;

		s->next_done = in_order;
		in_order = s;
		s = next;
	}
	*n->taken_end = in_order;
	if (last)
		n->taken_end = &last->next_done;
}

static void count_sent(struct virtio_net *n, const struct vnet_slot *s)
{
	n->figures.tx_frames++;
	n->figures.tx_bytes += s->frame.bytes;
}

/* Those of stopped queues that ready() has come for. */
static void sweep(struct virtio_net *n)
{
	for (unsigned i = 0; i < VIRTIO_NET_SLOTS; i++) {
		struct vnet_slot *s = &n->slots[i];

		if (s->place != VNET_WAITING || !is_ready(s) || !virtio_stopping(&n->device, vnet_tx_index(s->pair)))
			continue;
		n->orphans--;
		list_remove(&s->link);
		end(s);
	}
}

void vnet_collect(struct virtio_device *d)
{
	struct virtio_net *n = vnet_of(d);
	unsigned pieces = 0;

	if (__atomic_load_n(&n->done, __ATOMIC_RELAXED))
		take_done(n);
	while (n->taken && pieces < VNET_COLLECT_MAX) {
		struct vnet_slot *s = n->taken;

		n->taken = s->next_done;
		if (!n->taken)
			n->taken_end = &n->taken;
		pieces += s->pieces;
		count_sent(n, s);
		end(s);
	}
	if (n->taken)
		d->transport->defer(d->transport_ctx);
	if (unlikely(n->orphans != 0))
		sweep(n);
}

/* ---- stopping ---- */

/* Takes @s back from the port, under the lock. False: ready() is about to come for it, or done(), or that has come. */
static bool recall(struct vnet_slot *s)
{
	if (__atomic_load_n(&s->told, __ATOMIC_ACQUIRE))
		return s->place == VNET_WAITING;
	return net_switch_cancel(&s->ticket);
}

static void abandon(struct vnet_slot *s)
{
	switch (s->place) {
	case VNET_READY:
		break;
	case VNET_WAITING:
		if (recall(s))
			break;
		s->net->orphans++;
		return;
	case VNET_AT_PORT:
		if (recall(s))
			break;
		return; /* vnet_collect() drops it */
	default:
		return; /* carry() does when it has them no more in hand */
	}
	list_remove(&s->link);
	end(s);
}

void vnet_stop_tx(struct virtio_net *n, unsigned pair)
{
	struct vnet_tx *q = &n->tx[pair];

	for (unsigned i = 0; i < VIRTIO_NET_SLOTS; i++)
		if (n->slots[i].pair == pair)
			abandon(&n->slots[i]);
	if (q->filling) {
		struct vnet_slot *s = q->filling;

		q->filling = NULL;
		end(s);
	}
	q->tell = false;
	n->starved &= (uint32_t)~BIT(pair);
}

bool vnet_recall(struct virtio_net *n)
{
	bool all = !n->carrying;

	for (unsigned i = 0; i < VIRTIO_NET_SLOTS && all; i++) {
		struct vnet_slot *s = &n->slots[i];

		if (s->place != VNET_WAITING && s->place != VNET_AT_PORT)
			continue;
		if (!recall(s)) {
			all = false;
			break;
		}
		list_remove(&s->link);
		n->figures.tx_drops[NET_DROP_LINK]++;
		end(s);
	}
	for (unsigned i = 0; i < n->cfg.pairs; i++)
		if (n->tx[i].tell)
			virtio_resume(&n->device, vnet_tx_index(i)); /* the worker tells the driver */
	return all;
}

/* ---- carrying ---- */

static struct vnet_slot *first_ready(const struct virtio_net *n, unsigned pair)
{
	const struct list *ready = &n->tx[pair].ready;
	struct vnet_slot *s;

	if (list_empty(ready) || virtio_stopping(&n->device, vnet_tx_index(pair)))
		return NULL;
	s = list_entry(ready->next, struct vnet_slot, link);
	return is_ready(s) ? s : NULL;
}

/* Takes what is ready in hand, queues in turn; how many, and the port that they go to. */
static unsigned take_in_hand(struct virtio_net *n, struct vnet_slot **batch, struct net_port **port)
{
	unsigned count = 0;

	for (unsigned i = 0; i < n->cfg.pairs; i++) {
		struct vnet_slot *s;

		while ((s = first_ready(n, (n->turn + i) % n->cfg.pairs)) != NULL) {
			list_remove(&s->link);
			s->place = VNET_IN_HAND;
			batch[count++] = s;
		}
	}
	n->turn = (n->turn + 1) % n->cfg.pairs;
	n->carrying = count != 0;
	*port = vnet_connected(n) ? n->port : NULL;
	return count;
}

static void make_ticket(struct vnet_slot *s)
{
	s->ticket = (struct net_ticket){.frame = &s->frame, .patient = true, .ready = on_ready, .done = on_done};
}

/* Gives @s to @port; its answer. s->why is set when it goes no further than here. */
static enum net_answer hand_over(struct vnet_slot *s, struct net_port *port, struct net_batch *batch, unsigned behind,
				 unsigned *budget)
{
	enum net_answer answer;

	s->why = NET_DROP_NONE;
	__atomic_store_n(&s->told, false, __ATOMIC_RELAXED);
	if (!port) {
		s->why = NET_DROP_LINK;
		return NET_DONE;
	}
	if (!s->begun) {
		s->begun = true;
		s->why = net_frame_parse(&s->frame, s->net->cfg.mtu);
		if (s->why != NET_DROP_NONE)
			return NET_DONE;
		if (s->used)
			make_ticket(s);
		s->used = true;
	}
	s->ticket.behind = behind;
	answer = net_switch_send(port, &s->ticket, batch, budget);
	if (answer == NET_DONE)
		s->used = false;
	return answer;
}

static void carry_batch(struct vnet_slot **in_hand, unsigned count, struct net_port *port, unsigned budget)
{
	struct net_batch batch = {0};
	uint32_t stands_still = 0; /* BIT(pair) */

	for (unsigned i = 0; i < count; i++) {
		struct vnet_slot *s = in_hand[i];

		s->answer = NET_AGAIN;
		if ((stands_still & BIT(s->pair)) || budget < CARRY_MIN)
			continue;
		s->answer = hand_over(s, port, &batch, count - 1 - i, &budget);
		if (s->answer == NET_DONE)
			unpin_slot(s);
		if (s->answer == NET_WAIT || s->answer == NET_AGAIN)
			stands_still |= (uint32_t)BIT(s->pair);
	}
	if (port)
		net_switch_flush(port->sw, &batch);
}

/* Puts @s, which was not carried to its end, where it belongs. */
static void put_down(struct vnet_slot *s)
{
	struct vnet_tx *q = &s->net->tx[s->pair];

	s->place = s->answer == NET_HELD ? VNET_AT_PORT : s->answer == NET_WAIT ? VNET_WAITING : VNET_READY;
	if (s->place != VNET_AT_PORT)
		list_push_front(&q->ready, &s->link);
	if (unlikely(virtio_stopping(&s->net->device, vnet_tx_index(s->pair))))
		abandon(s);
}

/* Those still in hand were carried, and are unpinned: the driver gets their chains, all of a queue at once. */
static void give_back(struct virtio_net *n, struct vnet_slot **in_hand, unsigned count)
{
	struct virtq_used used[VIRTIO_NET_SLOTS];
	unsigned waiting = 0;

	for (unsigned i = 0; i < count; i++) {
		struct vnet_slot *s = in_hand[i];
		unsigned pair = s->pair;

		if (s->place == VNET_IN_HAND) {
			if (unlikely(s->why != NET_DROP_NONE))
				n->figures.tx_drops[s->why]++;
			count_sent(n, s);
			used[waiting++] = (struct virtq_used){s->head, 0};
			release(s);
		}
		/* Queues follow one another. */
		if (waiting != 0 && (i + 1 == count || in_hand[i + 1]->pair != pair)) {
			return_chains(n, pair, used, waiting);
			waiting = 0;
		}
	}
}

static void put_all_down(struct virtio_net *n, struct vnet_slot **in_hand, unsigned count)
{
	n->carrying = false;
	/* From the last on, so that those that are left come to stand in their order before those that came meanwhile. */
	for (unsigned i = count; i-- > 0;)
		if (in_hand[i]->answer != NET_DONE)
			put_down(in_hand[i]);
	give_back(n, in_hand, count);
}

static void tell_driver(struct virtio_net *n)
{
	for (unsigned i = 0; i < n->cfg.pairs; i++) {
		uint64_t before = n->device.interrupts;

		if (!n->tx[i].tell)
			continue;
		n->tx[i].tell = false;
		virtio_notify(&n->device, vnet_tx_index(i));
		n->figures.tx_interrupts += n->device.interrupts - before;
	}
}

static bool any_ready(const struct virtio_net *n)
{
	bool any = false;

	for (unsigned i = 0; i < n->cfg.pairs && !any; i++)
		any = !list_empty(&n->tx[i].ready) && first_ready(n, i);
	return any;
}

bool vnet_carry(struct virtio_device *d, unsigned budget)
{
	struct virtio_net *n = vnet_of(d);
	struct vnet_slot *in_hand[VIRTIO_NET_SLOTS];
	struct net_port *port;
	unsigned count;
	bool more;

	lock_acquire(&d->lock);
	count = take_in_hand(n, in_hand, &port);
	if (count != 0) {
		lock_release(&d->lock);
		carry_batch(in_hand, count, port, budget);
		lock_acquire(&d->lock);
		put_all_down(n, in_hand, count);
	}
	tell_driver(n);
	more = any_ready(n);
	lock_release(&d->lock);
	return more;
}

void vnet_init_tx(struct virtio_net *n)
{
	list_init(&n->free_slots);
	n->taken_end = &n->taken;
	for (unsigned i = 0; i < VIRTIO_NET_SLOTS; i++) {
		struct vnet_slot *s = &n->slots[i];

		s->net = n;
		s->frame.segments = s->segments;
		make_ticket(s);
		list_push_back(&n->free_slots, &s->link);
	}
	for (unsigned i = 0; i < n->cfg.pairs; i++) {
		struct vnet_tx *q = &n->tx[i];

		list_init(&q->ready);
		q->chain.buffers = q->buffers;
		q->chain.room = VIRTIO_NET_QUEUE_SIZE;
	}
}
