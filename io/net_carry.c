/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frame's way through the switch, in the hands of its sender: it is admitted (net_guard.c, its rate), its source is
 * learned, and it is given to the port that has its destination, or to all of the VLAN. What was done is kept in the
 * ticket, so that a frame that had to wait goes on where it was; the destination is looked up anew then.
 *
 * Waiting for buffers. The receiver's owner, asked for some, had none; when it has it calls net_port_refilled(), which
 * may be before the ticket stands among those who wait. So refills are counted, and who finds after taking the port's
 * lock that there was one since it asked, asks again.
 */
#include "io/net_switch_internal.h"

#include "io/net_table.h"
#include "io/net_tap.h"
#include "lib/assert.h"

/* Host instructions, for budgets: about what they take. */
#define COST_DELIVERY 1000u
#define COST_BYTES 16u	 /* bytes copied by one */
#define TRIES 4u	 /* where others' changes make it begin again */
#define FORGIVEN 64u	 /* frames taken for which a whole patience is forgiven */
#define RESERVED_MASK 0xf0u

static inline void spend(unsigned *budget, const struct net_frame *f)
{
	unsigned cost = COST_DELIVERY + f->bytes / COST_BYTES;

	*budget -= MIN(*budget, cost);
}

/* ---- tickets ---- */

void net_list_take(struct list *from, struct list *to)
{
	list_init(to);
	if (list_empty(from))
		return;
	list_insert_between(to, from->prev, from->next);
	list_init(from);
}

void net_port_tell(struct net_port *p, struct list *waiters)
{
	while (!list_empty(waiters)) {
		struct net_ticket *t = list_entry(waiters->next, struct net_ticket, link);

		list_remove(&t->link);
		lock_release(&p->lock);
		t->ready(t);
		lock_acquire(&p->lock);
	}
	lock_release(&p->lock);
}

/* ---- counting ---- */

void net_port_refuse(struct net_port *p, enum net_drop why)
{
	net_count_own(&p->figures.sent_drops[why], 1);
}

static enum net_answer refuse(struct net_port *from, struct net_ticket *t, enum net_drop why)
{
	net_port_refuse(from, why);
	t->begun = false;
	return NET_DONE;
}

/* What is counted of a frame that goes on its way; taken before, for then it may be gone. */
struct size {
	uint32_t bytes;
	bool group;
};

static inline struct size size_of(const struct net_frame *f)
{
	return (struct size){f->bytes, net_is_group(net_destination(f))};
}

static inline void count_sent(struct net_port *from, struct size size)
{
	net_count_own(&from->figures.sent_frames, 1);
	net_count_own(&from->figures.sent_bytes, size.bytes);
	if (size.group)
		net_count_own(&from->figures.sent_groups, 1);
}

static NOINLINE void look(struct net_port *p, struct net_tap *tap, const struct net_frame *f, bool sent)
{
	net_tap_write(tap, f, sent, net_now(p->sw));
}

void net_port_took(struct net_port *p, const struct net_frame *f)
{
	struct net_tap *tap = __atomic_load_n(&p->tap, __ATOMIC_SEQ_CST);

	net_count(&p->figures.received_frames, 1);
	net_count(&p->figures.received_bytes, f->bytes);
	if (net_is_group(net_destination(f)))
		net_count(&p->figures.received_groups, 1);
	if (unlikely(tap))
		look(p, tap, f, false);
}

void net_port_lost(struct net_port *p, enum net_drop why)
{
	net_count(&p->figures.received_drops[why], 1);
}

/* ---- times ---- */

static uint64_t patience_of(const struct net_port *p)
{
	return __atomic_load_n(&p->sw->patience, __ATOMIC_RELAXED);
}

/* Ticks that others have waited for @p. */
static uint64_t waited_for(const struct net_port *p, uint64_t now)
{
	uint64_t since = p->stalled_since;

	return p->stalled + (since && now > since ? now - since : 0);
}

/* Sees to it that net_port_expired() comes at @at, or before. The lock is held. */
static void wake_by(struct net_port *p, uint64_t at)
{
	if (at >= p->told)
		return;
	p->told = at;
	p->sw->env.wake_at(p->sw->env.ctx, p, at);
}

static void wake_in_time(struct net_port *p, uint64_t now)
{
	uint64_t patience = patience_of(p), waited = waited_for(p, now);

	if (!list_empty(&p->waiting))
		wake_by(p, net_bucket_lets_at(&p->rate));
	if (!list_empty(&p->impatient))
		wake_by(p, now + (waited < patience ? patience - waited : 0));
}

static void give_up(struct net_port *p)
{
	if (p->given_up)
		return;
	p->given_up = true;
	net_count(&p->figures.stalls, 1);
}

void net_port_expired(struct net_port *p)
{
	uint64_t now = net_now(p->sw);
	struct list sender, others;

	list_init(&sender);
	list_init(&others);
	lock_acquire(&p->lock);
	p->told = MCLOCK_NEVER;
	if (net_bucket_lets(&p->rate, now))
		net_list_take(&p->waiting, &sender);
	if (!list_empty(&p->impatient) && waited_for(p, now) >= patience_of(p)) {
		give_up(p);
		net_list_take(&p->impatient, &others);
	}
	wake_in_time(p, now);
	net_port_tell(p, &sender);
	lock_acquire(&p->lock);
	net_port_tell(p, &others);
}

/* Nobody waits for @p now, and @forgiven ticks of what was waited so far are not remembered. The lock is held. */
static void settle(struct net_port *p, uint64_t forgiven)
{
	uint64_t waited = MIN(waited_for(p, net_now(p->sw)), patience_of(p));

	__atomic_store_n(&p->stalled_since, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&p->stalled, waited - MIN(waited, forgiven), __ATOMIC_RELAXED);
}

void net_port_refilled(struct net_port *p)
{
	struct list told;

	lock_acquire(&p->lock);
	__atomic_store_n(&p->refills, p->refills + 1, __ATOMIC_RELEASE);
	if (p->stalled_since)
		settle(p, 0);
	net_list_take(&p->impatient, &told);
	net_port_tell(p, &told);
}

/* @p has taken a frame, and was waited for before. */
static NOINLINE void forgive(struct net_port *p)
{
	lock_acquire(&p->lock);
	settle(p, MAX(patience_of(p) / FORGIVEN, 1u));
	p->given_up = false;
	lock_release(&p->lock);
}

static inline bool was_waited_for(const struct net_port *p)
{
	return (__atomic_load_n(&p->stalled_since, __ATOMIC_RELAXED) | __atomic_load_n(&p->stalled, __ATOMIC_RELAXED)) != 0;
}

/* ---- delivery to one port ---- */

/* @p said to wait when there had been @refills. NET_DONE: its time is over; NET_AGAIN: there was another since. */
static enum net_answer wait_for(struct net_port *p, struct net_ticket *t, unsigned refills)
{
	uint64_t now = net_now(p->sw);
	enum net_answer answer = NET_DONE;

	lock_acquire(&p->lock);
	if (p->refills != refills) {
		answer = NET_AGAIN;
	} else if (!p->closing) {
		if (!p->stalled_since)
			__atomic_store_n(&p->stalled_since, MAX(now, 1u), __ATOMIC_RELAXED);
		if (waited_for(p, now) < patience_of(p)) {
			net_count(&p->figures.waits, 1);
			t->stage = NET_FOR_BUFFERS;
			list_push_back(&p->impatient, &t->link);
			wake_in_time(p, now);
			answer = NET_WAIT;
		} else {
			give_up(p);
		}
	}
	lock_release(&p->lock);
	return answer;
}

/* The tag that @p's guest is to see, and no other. */
static inline void dress(struct net_ticket *t, uint64_t gate)
{
	struct net_frame *f = t->frame;
	bool bare = (t->tci & NET_TCI_VLAN) == (gate & NET_GATE_VLAN);

	if (likely(bare == !f->tagged) && (bare || f->tci == t->tci))
		return;
	if (f->tagged)
		net_frame_untag(f);
	if (!bare)
		net_frame_tag(f, t->tci);
}

static inline bool fits(const struct net_frame *f, uint64_t gate)
{
	uint32_t longest = f->offload.gso == NET_GSO_NONE ? f->bytes : f->header_bytes + f->offload.gso_size;

	return longest <= FIELD(gate, NET_GATE_MTU_HI, NET_GATE_MTU_LO) + NET_ETHERNET_BYTES + (f->tagged ? NET_TAG_BYTES : 0);
}

static enum net_answer lose(struct net_port *p, struct net_ticket *t, enum net_drop why)
{
	net_port_lost(p, why);
	t->progress = 0;
	return NET_DONE;
}

static inline enum net_answer ask(struct net_port *p, struct net_ticket *t, enum net_drop *why)
{
	for (unsigned tries = 0; tries < TRIES; tries++) {
		unsigned refills = __atomic_load_n(&p->refills, __ATOMIC_ACQUIRE);
		enum net_answer answer = p->ops->deliver(p->ctx, t, why);

		if (likely(answer != NET_WAIT) || p->ops->cancel)
			return answer;
		if (t->floods || !t->patient)
			break;
		answer = wait_for(p, t, refills);
		if (answer == NET_WAIT)
			return answer;
		if (answer == NET_DONE)
			break;
	}
	*why = NET_DROP_NO_BUFFER;
	return NET_DONE;
}

/* @p, which is held, gets the frame. After NET_WAIT and NET_HELD the ticket may be anybody's already. */
static ALWAYS_INLINE enum net_answer deliver(struct net_port *p, uint64_t gate, struct net_ticket *t, struct net_batch *batch)
{
	enum net_drop why = NET_DROP_NONE;
	enum net_answer answer;

	dress(t, gate);
	if (unlikely(!fits(t->frame, gate)))
		return lose(p, t, NET_DROP_LONG);
	if (t->to != p)
		t->progress = 0;
	t->to = p;
	t->to_index = p->index;
	t->stage = gate & NET_GATE_KEEPS ? NET_AT_PORT : NET_AT_NOBODY;
	answer = ask(p, t, &why);
	if (unlikely(answer == NET_WAIT))
		return answer;
	if (unlikely(why != NET_DROP_NONE))
		return lose(p, t, why);
	batch->touched |= BIT(p->index);
	if (unlikely(answer != NET_DONE))
		return answer;
	t->progress = 0;
	net_port_took(p, t->frame);
	if (unlikely(was_waited_for(p)))
		forgive(p);
	return NET_DONE;
}

/* ---- to one ---- */

enum target { TARGET_UNKNOWN, TARGET_NONE, TARGET_HELD };

/*
 * The port behind @t's destination, held. What was looked up is looked at again once the port is held: between the two
 * another may have come to its place.
 */
static inline enum target find_target(struct net_port *from, const struct net_ticket *t, struct net_port **out)
{
	struct net_switch *sw = from->sw;
	uint64_t key = net_key(t->tci & NET_TCI_VLAN, net_destination(t->frame));

	for (unsigned tries = 0; tries < TRIES; tries++) {
		struct net_found f;

		if (!net_table_find(sw, key, &f))
			return TARGET_UNKNOWN;
		if (unlikely(!f.locked) && net_table_is_old(sw, false, f.heard_at, net_now(sw)))
			return TARGET_UNKNOWN;
		if (f.port == from->index)
			return TARGET_NONE;
		*out = net_hold(sw, f.port);
		if (unlikely(!*out))
			continue;
		if (likely(net_table_holds(&f)))
			return TARGET_HELD;
		net_let_go(sw, f.port);
	}
	return TARGET_NONE;
}

static inline bool reaches(const struct net_port *from, const struct net_port *p, uint64_t gate, uint16_t vlan)
{
	return net_gate_takes(p, gate, vlan) &&
	       (likely(!(gate & NET_GATE_ISOLATED)) || !(net_gate(from) & NET_GATE_ISOLATED));
}

static inline enum net_answer to_one(struct net_port *from, struct net_port *p, struct net_ticket *t,
				     struct net_batch *batch)
{
	uint64_t gate = net_gate(p);
	struct size size = {.bytes = t->frame->bytes};
	enum net_answer answer;

	if (unlikely(!reaches(from, p, gate, t->tci & NET_TCI_VLAN)))
		return refuse(from, t, NET_DROP_NOWHERE);
	answer = likely(gate & NET_GATE_UP) ? deliver(p, gate, t, batch) : lose(p, t, NET_DROP_LINK);
	if (unlikely(answer == NET_WAIT || answer == NET_AGAIN))
		return answer;
	count_sent(from, size);
	if (likely(answer == NET_DONE))
		t->begun = false;
	return answer;
}

/* ---- to many ---- */

static inline bool is_to_flood(const struct net_port *from, const struct net_port *p, uint64_t gate,
			       const struct net_ticket *t)
{
	/* What is behind a locked port is known: this is not for it. */
	bool knows = (gate & NET_GATE_LOCKED) && !net_is_group(net_destination(t->frame));

	return p != from && gate & NET_GATE_UP && !knows && reaches(from, p, gate, t->tci & NET_TCI_VLAN);
}

/* The @index-th port, if there is one and it is to have the frame. */
static enum net_answer flood_to(struct net_port *from, unsigned index, struct net_ticket *t, struct net_batch *batch,
				unsigned *budget)
{
	struct net_port *p = net_hold(from->sw, index);
	enum net_answer answer = NET_DONE;
	uint64_t gate;

	if (!p)
		return NET_DONE;
	gate = net_gate(p);
	if (is_to_flood(from, p, gate, t)) {
		spend(budget, t->frame);
		t->reached = true;
		answer = deliver(p, gate, t, batch);
	}
	net_let_go(from->sw, index);
	return answer;
}

/* All but the uplink, from t->next_port on. */
static enum net_answer flood(struct net_port *from, unsigned uplink, struct net_ticket *t, struct net_batch *batch,
			     unsigned *budget)
{
	const uint64_t *whom = net_is_group(net_destination(t->frame)) ? &from->sw->present : &from->sw->learning;
	uint64_t besides = BIT(from->index) | (uplink < NET_PORTS_MAX ? BIT(uplink) : 0);

	for (bool begun = false; t->next_port < NET_PORTS_MAX; t->next_port++, begun = true) {
		uint64_t on = ~0ull << t->next_port, left = __atomic_load_n(whom, __ATOMIC_ACQUIRE) & on & ~besides;
		enum net_answer answer;

		t->next_port = left ? bit_lowest(left) : NET_PORTS_MAX;
		if (!left)
			break;
		if (begun && *budget == 0)
			return NET_AGAIN;
		answer = flood_to(from, t->next_port, t, batch, budget);
		if (unlikely(answer != NET_DONE))
			return answer;
	}
	return NET_DONE;
}

/* The uplink is the last, since it may keep the frame. It waits for its own port's turn there, group or not. */
static enum net_answer to_many(struct net_port *from, struct net_ticket *t, struct net_batch *batch, unsigned *budget)
{
	unsigned uplink = __atomic_load_n(&from->sw->uplink, __ATOMIC_ACQUIRE) - 1;
	enum net_answer answer = flood(from, uplink, t, batch, budget);
	struct size size = size_of(t->frame);

	if (answer == NET_DONE && uplink < NET_PORTS_MAX)
		answer = flood_to(from, uplink, t, batch, budget);
	if (answer == NET_WAIT || answer == NET_AGAIN)
		return answer;
	if (answer == NET_DONE) {
		bool reached = t->reached;

		t->begun = false;
		if (!size.group && !reached)
			return refuse(from, t, NET_DROP_NOWHERE);
	}
	count_sent(from, size);
	return answer;
}

/* ---- sending ---- */

/* Under the lock. NET_AGAIN: its rate lets it, and is charged. */
static enum net_answer take_rate(struct net_port *from, struct net_ticket *t, enum net_drop *why)
{
	uint64_t now = net_now(from->sw);

	if (list_empty(&from->waiting) && net_bucket_lets(&from->rate, now)) {
		net_bucket_take(&from->rate, net_wire_bytes(t->frame), now);
		return NET_AGAIN;
	}
	if (!t->patient) {
		*why = NET_DROP_QUEUE;
		return NET_DONE;
	}
	net_count(&from->figures.throttled, 1);
	t->stage = NET_FOR_RATE;
	list_push_back(&from->waiting, &t->link);
	wake_in_time(from, now);
	return NET_WAIT;
}

/* The source, of a port that learns: another's locked address is nobody else's. */
static NOINLINE bool learn(struct net_port *from, const struct net_ticket *t)
{
	uint64_t key = net_key(t->tci & NET_TCI_VLAN, net_source(t->frame));

	return net_table_learn(from, key, net_now(from->sw)) != NET_IS_LOCKED;
}

/* NET_AGAIN: it may go on. */
static enum net_answer begin(struct net_port *from, struct net_ticket *t)
{
	enum net_answer answer = NET_AGAIN;
	struct net_tap *tap = NULL;
	enum net_drop why;

	t->from = from;
	t->to = NULL;
	t->stage = NET_AT_NOBODY;
	t->next_port = 0;
	t->floods = t->reached = false;
	t->progress = 0;
	list_init(&t->link);
	lock_acquire(&from->lock);
	why = net_guard(from, t);
	if (likely(why == NET_DROP_NONE)) {
		if (unlikely(from->rate.step != 0))
			answer = take_rate(from, t, &why);
		tap = __atomic_load_n(&from->tap, __ATOMIC_RELAXED);
		if (unlikely(tap) && (answer != NET_AGAIN || !net_hold(from->sw, from->index)))
			tap = NULL;
	}
	lock_release(&from->lock);
	if (unlikely(answer == NET_WAIT))
		return answer;
	if (unlikely(why != NET_DROP_NONE))
		return refuse(from, t, why);
	if (unlikely(tap)) {
		look(from, tap, t->frame, true);
		net_let_go(from->sw, from->index);
	}
	if (!(net_gate(from) & NET_GATE_LOCKED) && unlikely(!learn(from, t)))
		return refuse(from, t, NET_DROP_MAC);
	t->begun = true;
	return NET_AGAIN;
}

/* 802.1Q, table 8-1: what goes from one bridge to the next and no further. */
static bool is_for_bridges(const uint8_t *to)
{
	return get_le32(to) == 0x00c28001u && to[4] == 0 && (to[5] & RESERVED_MASK) == 0;
}

static bool storm_lets(struct net_port *from)
{
	uint64_t now = net_now(from->sw);
	bool lets;

	lock_acquire(&from->lock);
	lets = net_bucket_lets(&from->storm, now);
	if (lets)
		net_bucket_take(&from->storm, 1, now);
	lock_release(&from->lock);
	return lets;
}

static NOINLINE enum net_answer begin_flood(struct net_port *from, struct net_ticket *t, struct net_batch *batch,
					    unsigned *budget)
{
	if (is_for_bridges(net_destination(t->frame)))
		return refuse(from, t, NET_DROP_NOWHERE);
	if (!storm_lets(from))
		return refuse(from, t, NET_DROP_STORM);
	t->floods = true;
	return to_many(from, t, batch, budget);
}

enum net_answer net_switch_send(struct net_port *from, struct net_ticket *t, struct net_batch *batch, unsigned *budget)
{
	enum net_answer answer;
	struct net_port *p = NULL;

	spend(budget, t->frame);
	if (likely(!t->begun)) {
		answer = begin(from, t);
		if (unlikely(answer != NET_AGAIN))
			return answer;
	} else if (t->floods) {
		return to_many(from, t, batch, budget);
	}
	if (unlikely(net_is_group(net_destination(t->frame))))
		return begin_flood(from, t, batch, budget);
	switch (find_target(from, t, &p)) {
	case TARGET_HELD:
		break;
	case TARGET_UNKNOWN:
		return begin_flood(from, t, batch, budget);
	default:
		return refuse(from, t, NET_DROP_NOWHERE);
	}
	answer = to_one(from, p, t, batch);
	net_let_go(from->sw, p->index);
	return answer;
}

void net_switch_flush(struct net_switch *sw, struct net_batch *batch)
{
	for (; batch->touched; batch->touched &= batch->touched - 1) {
		unsigned index = bit_lowest(batch->touched);
		struct net_port *p = net_hold(sw, index);

		if (!p)
			continue;
		if (p->ops->flush)
			p->ops->flush(p->ctx);
		net_let_go(sw, index);
	}
}

/* ---- taking back ---- */

static bool unlink(struct net_port *p, struct net_ticket *t)
{
	bool waits;

	lock_acquire(&p->lock);
	waits = !list_empty(&t->link);
	list_remove(&t->link);
	lock_release(&p->lock);
	return waits;
}

/* The port that it waits for may be gone: then it is told, or will be. */
static bool cancel_at(struct net_port *p, struct net_ticket *t)
{
	if (p != t->to)
		return false;
	return t->stage == NET_FOR_BUFFERS ? unlink(p, t) : p->ops->cancel(p->ctx, t);
}

bool net_switch_cancel(struct net_ticket *t)
{
	struct net_switch *sw = t->from->sw;
	bool taken = false;

	if (t->stage == NET_FOR_RATE) {
		taken = unlink(t->from, t);
	} else if (t->stage != NET_AT_NOBODY) {
		struct net_port *p = net_hold(sw, t->to_index);

		if (!p)
			return false;
		taken = cancel_at(p, t);
		net_let_go(sw, t->to_index);
	}
	if (taken)
		t->begun = false;
	return taken;
}
