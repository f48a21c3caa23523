/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two rings. In each the descriptors from `oldest` to `next` are in our hands or behind such, those from `next` to
 * `told` (receiving) or from `oldest` to `told` (sending) are the card's. Whatever is not the card's has a word without
 * DD: a word that gets one there all the same was written by a card that has lost its place.
 *
 * A tail register is written once for many descriptors: an access to the card is dearer than all else here.
 */
#include "firmware/e1000.h"

#include <string.h>

#include "lib/assert.h"
#include "lib/bits.h"

#define SECOND_NS 1000000000ull
#define STOPPED_NS (2 * SECOND_NS) /* it has something to send and does not: it has stopped */
#define WIRE_MIN 60u               /* bytes of a frame without check sequence: IEEE 802.3, 4A.2.3.2.4 */
#define GIVE_AT_ONCE 8u            /* buffers: then the card is told */
#define LOOKS 64u                  /* at descriptors, for one frame */

static struct e1000 *e1000_of(struct nic *n) { return container_of(n, struct e1000, nic); }

/* ---- receiving ---- */

static NOINLINE void tell_rx(struct e1000 *e)
{
	struct e1000_ring *r = &e->rx;
	/* One descriptor stays ours: head and tail that are equal mean an empty ring (3.2.6). */
	unsigned tail = r->oldest == 0 ? r->count - 1 : r->oldest - 1;

	if (tail == r->told)
		return;
	e1000_sync(e, &r->at);
	if (unlikely(e1000_word(r, r->told) != 0)) {
		e->nic.figures.bad_descriptors++; /* the one behind the last that it was given */
		r->descriptors[r->told].word = 0;
	}
	e->given = 0;
	r->told = tail;
	e1000_write(e, E1000_RDT, tail);
}

static inline void give_one(struct e1000 *e)
{
	struct e1000_ring *r = &e->rx;
	unsigned i = r->oldest;

	if (unlikely(e1000_word(r, i) != 0))
		e->nic.figures.bad_descriptors++; /* twice, or in a frame that was out */
	r->descriptors[i] = (struct e1000_descriptor){r->buffer[i].address, 0};
	r->oldest = e1000_after(r, i);
	e->given++;
}

/* Hands back what was dropped, as far as no frame in front of it is out. */
static NOINLINE void give_dropped(struct e1000 *e)
{
	while (e->rx.oldest != e->rx.next && !e->out[e->rx.oldest])
		give_one(e);
	if (e->given >= GIVE_AT_ONCE)
		tell_rx(e);
}

/* One of several, which has no end here, or is the end of others. */
static bool is_piece(struct e1000 *e, uint64_t word)
{
	bool was = e->in_pieces;

	e->in_pieces = !(word & E1000_RX_EOP);
	if (e->in_pieces && !was)
		e->nic.figures.rx_errors++;
	return e->in_pieces || was;
}

static NOINLINE bool is_frame(struct e1000 *e, uint64_t word)
{
	uint32_t bytes = E1000_DESC_LENGTH(word);

	if (is_piece(e, word))
		return false;
	if (bytes == 0 || bytes > E1000_BUFFER) {
		e->nic.figures.bad_descriptors++;
		return false;
	}
	if (word & E1000_RX_DAMAGED || bytes < NET_FRAME_MIN || bytes > e->nic.max_frame) {
		e->nic.figures.rx_errors++;
		return false;
	}
	return true;
}

/* What nearly all are: whole, sound and of a good length. */
static inline bool is_plain_frame(const struct e1000 *e, uint64_t word)
{
	return (word & (E1000_RX_EOP | E1000_RX_DAMAGED)) == E1000_RX_EOP && !e->in_pieces &&
	       E1000_DESC_LENGTH(word) - NET_FRAME_MIN <= E1000_FRAME_MAX - NET_FRAME_MIN;
}

/* A frame for the owner: in descriptor @i, which says @word. */
static inline void pass_on(struct e1000 *e, unsigned i, uint64_t word, struct nic_frame *out)
{
	e1000_sync(e, &e->rx.buffer[i]);
	e->out[i] = true;
	e->out_count++;
	out->data = e->rx.buffers + i * E1000_BUFFER;
	out->bytes = E1000_DESC_LENGTH(word);
	out->checksum_good = (word & (E1000_RX_TCPCS | E1000_RX_IXSM | E1000_RX_TCPE)) == E1000_RX_TCPCS;
	e->nic.figures.rx_frames++;
	e->nic.figures.rx_bytes += out->bytes;
}

/* The next descriptor, when it is back: its index, and what the card says of it. poll() makes the ring ready for that. */
static inline bool take(struct e1000 *e, unsigned *index, uint64_t *word)
{
	struct e1000_ring *r = &e->rx;
	unsigned i = r->next;

	if (i == r->told)
		return false;
	*word = e1000_word(r, i);
	if (!(*word & E1000_DESC_DD))
		return false;
	r->descriptors[i].word = 0;
	r->next = e1000_after(r, i);
	e->rx_returned++;
	*index = i;
	return true;
}

/* Behind one that is not plain. */
static NOINLINE bool receive_odd(struct e1000 *e, unsigned i, uint64_t word, struct nic_frame *out)
{
	for (unsigned looks = 1; !is_plain_frame(e, word) && !is_frame(e, word); looks++) {
		give_dropped(e);
		if (looks == LOOKS || !take(e, &i, &word))
			return false;
	}
	pass_on(e, i, word, out);
	return true;
}

static bool receive(struct nic *n, struct nic_frame *out)
{
	struct e1000 *e = e1000_of(n);
	uint64_t word;
	unsigned i;

	if (e->state != E1000_RUNNING || e->out_count == NIC_RECEIVED_MAX || !take(e, &i, &word))
		return false;
	if (unlikely(!is_plain_frame(e, word)))
		return receive_odd(e, i, word, out);
	pass_on(e, i, word, out);
	return true;
}

/* During a reset nothing is given, nor written to the ring: it begins anew. */
static NOINLINE void release_unused(struct e1000 *e)
{
	struct e1000_ring *r = &e->rx;

	while (!e->out[r->oldest])
		r->oldest = e1000_after(r, r->oldest);
	e->out[r->oldest] = false;
	e->out_count--;
}

/* What is oldest is out: what was dropped in front of it has been given back. */
static void release(struct nic *n)
{
	struct e1000 *e = e1000_of(n);
	struct e1000_ring *r = &e->rx;

	ASSERT(e->out_count > 0);
	if (unlikely(e->state != E1000_RUNNING)) {
		release_unused(e);
		return;
	}
	e->out[r->oldest] = false;
	e->out_count--;
	give_one(e);
	if (unlikely(r->oldest != r->next && !e->out[r->oldest]))
		give_dropped(e);
	else if (e->given >= GIVE_AT_ONCE)
		tell_rx(e);
}

/* ---- sending ---- */

static uint8_t *reserve(struct nic *n, uint32_t bytes)
{
	struct e1000 *e = e1000_of(n);

	ASSERT(bytes >= NET_FRAME_MIN && bytes <= n->max_frame);
	if (e->state != E1000_RUNNING || !n->up || e1000_after(&e->tx, e->tx.next) == e->tx.oldest)
		return NULL;
	e->reserved = true;
	return e->tx.buffers + e->tx.next * E1000_BUFFER;
}

static void commit(struct nic *n, uint32_t bytes)
{
	struct e1000 *e = e1000_of(n);
	struct e1000_ring *r = &e->tx;
	unsigned i = r->next;
	uint32_t padded = MAX(bytes, WIRE_MIN);

	ASSERT(bytes >= NET_FRAME_MIN && bytes <= n->max_frame);
	if (!e->reserved) {
		n->figures.tx_lost++; /* a reset came in between */
		return;
	}
	e->reserved = false;
	/* Never what an earlier frame had there. */
	if (bytes < WIRE_MIN)
		memset(r->buffers + i * E1000_BUFFER + bytes, 0, WIRE_MIN - bytes);
	if (unlikely(e1000_word(r, i) != 0))
		n->figures.bad_descriptors++;
	e1000_sync(e, &r->buffer[i]);
	r->descriptors[i] = (struct e1000_descriptor){r->buffer[i].address, padded | E1000_TX_EOP | E1000_TX_IFCS | E1000_TX_RS};
	e->bytes[i] = (uint16_t)bytes;
	n->waiting_bytes += bytes;
	r->next = e1000_after(r, i);
}

static void kick(struct nic *n)
{
	struct e1000 *e = e1000_of(n);
	struct e1000_ring *r = &e->tx;

	if (r->told == r->next || e->state != E1000_RUNNING)
		return;
	if (r->told == r->oldest)
		e->tx_moved = e->clock->ticks();
	e1000_sync(e, &r->at);
	r->told = r->next;
	e1000_write(e, E1000_TDT, r->next);
}

static void take_back(struct e1000 *e, uint64_t now)
{
	struct e1000_ring *r = &e->tx;
	struct nic *n = &e->nic;

	if (r->oldest == r->told)
		return;
	e1000_sync(e, &r->at);
	while (r->oldest != r->told && e1000_word(r, r->oldest) & E1000_DESC_DD) {
		uint32_t bytes = e->bytes[r->oldest];

		r->descriptors[r->oldest].word = 0;
		r->oldest = e1000_after(r, r->oldest);
		n->figures.tx_frames++;
		n->figures.tx_bytes += bytes;
		n->sent_bytes += bytes;
		n->waiting_bytes -= bytes;
		e->tx_moved = now;
	}
}

/* Of those that the card has, one is back before the oldest is. */
static bool is_out_of_order(const struct e1000_ring *r)
{
	for (unsigned i = r->oldest; i != r->told; i = e1000_after(r, i))
		if (e1000_word(r, i) & E1000_DESC_DD)
			return true;
	return false;
}

static void poll(struct nic *n)
{
	struct e1000 *e = e1000_of(n);
	uint64_t now;

	if (e->state != E1000_RUNNING) {
		e1000_continue_reset(e);
		return;
	}
	now = e->clock->ticks();
	e1000_sync(e, &e->rx.at);
	take_back(e, now);
	tell_rx(e);
	if (__atomic_load_n(&e->causes, __ATOMIC_RELAXED) || now >= e->check_at) {
		e1000_check(e, now);
		if (e->state != E1000_RUNNING)
			return;
	}
	if (e->tx.oldest != e->tx.told && n->up && now - e->tx_moved >= ns_to_ticks(STOPPED_NS, e->clock->hz)) {
		n->figures.bad_descriptors += is_out_of_order(&e->tx);
		e1000_begin_reset(e, true);
	}
}

/* ---- interrupts ---- */

/*
 * What has come meanwhile has left its cause behind. To be told of it again by an interrupt would be one for nothing
 * each time, so the causes are taken back and only what is really there is asked for anew.
 */
void e1000_arm(struct e1000 *e)
{
	uint32_t due = e1000_read(e, E1000_ICR) & E1000_INT_LSC;

	e1000_sync(e, &e->rx.at);
	e1000_sync(e, &e->tx.at);
	if (e->rx.next != e->rx.told && e1000_word(&e->rx, e->rx.next) & E1000_DESC_DD)
		due |= E1000_INT_RXT0;
	if (e->tx.oldest != e->tx.told && e1000_word(&e->tx, e->tx.oldest) & E1000_DESC_DD)
		due |= E1000_INT_TXDW;
	__atomic_store_n(&e->armed, 1, __ATOMIC_RELEASE);
	e1000_write(e, E1000_IMS, E1000_INTERRUPTS);
	if (due)
		e1000_write(e, E1000_ICS, due);
	/* Another's interrupt on the line may have been taken for ours before ours were let through: then they are off. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&e->armed, __ATOMIC_RELAXED))
		e1000_write(e, E1000_IMC, UINT32_MAX);
}

static void interrupts(struct nic *n, bool on)
{
	struct e1000 *e = e1000_of(n);

	if (e->state != E1000_RUNNING) {
		e->rearm = on;
		return;
	}
	if (on) {
		e1000_arm(e);
		return;
	}
	__atomic_store_n(&e->armed, 0, __ATOMIC_RELEASE);
	e1000_write(e, E1000_IMC, UINT32_MAX);
}

bool e1000_interrupt(struct e1000 *e)
{
	uint32_t causes;

	/* Masked, the card leaves its line alone; and it may be in the middle of a reset, when nobody is to disturb it. */
	if (!__atomic_load_n(&e->armed, __ATOMIC_ACQUIRE))
		return false;
	causes = e1000_read(e, E1000_ICR);
	if (causes == UINT32_MAX || !(causes & E1000_INTERRUPTS))
		return false;
	/* In this order: e1000_arm() looks at the first behind its opposite of the second. */
	__atomic_store_n(&e->armed, 0, __ATOMIC_RELEASE);
	e1000_write(e, E1000_IMC, UINT32_MAX);
	if (causes & E1000_INT_LSC)
		__atomic_store_n(&e->causes, E1000_INT_LSC, __ATOMIC_RELAXED);
	e->nic.figures.interrupts++;
	if (e->nic.interrupted)
		e->nic.interrupted(&e->nic);
	return true;
}

void e1000_provoke(struct e1000 *e) { e1000_write(e, E1000_ICS, E1000_INT_TXDW); }

/* ---- the rings' beginning ---- */

static void rx_init(struct e1000 *e)
{
	struct e1000_ring *r = &e->rx;

	for (unsigned i = 0; i < r->count; i++)
		r->descriptors[i] = (struct e1000_descriptor){r->buffer[i].address, 0};
	r->next = r->oldest = 0;
	r->told = r->count - 1;
	e->given = 0;
	e->in_pieces = e->gap = false;
	e->silent_since = 0;
	e->rx_returned = e->rx_frames = 0;
}

static void tx_init(struct e1000 *e)
{
	struct e1000_ring *r = &e->tx;
	struct nic *n = &e->nic;

	for (; r->oldest != r->next; r->oldest = e1000_after(r, r->oldest))
		n->figures.tx_lost++;
	n->sent_bytes += n->waiting_bytes;
	n->waiting_bytes = 0;
	memset(r->descriptors, 0, r->count * sizeof(struct e1000_descriptor));
	r->next = r->oldest = r->told = 0;
	e->reserved = false;
}

void e1000_rings_init(struct e1000 *e)
{
	ASSERT(e->out_count == 0);
	rx_init(e);
	tx_init(e);
}

static void promiscuous(struct nic *n, bool on)
{
	struct e1000 *e = e1000_of(n);
	uint32_t rctl;

	e->promiscuous = on;
	if (e->state != E1000_RUNNING)
		return;
	rctl = e1000_read(e, E1000_RCTL) & ~E1000_RCTL_UPE;
	e1000_write(e, E1000_RCTL, rctl | (on ? E1000_RCTL_UPE : 0));
}

const struct nic_ops e1000_ops = {
	.reserve = reserve,
	.commit = commit,
	.kick = kick,
	.poll = poll,
	.receive = receive,
	.release = release,
	.interrupts = interrupts,
	.promiscuous = promiscuous,
};
