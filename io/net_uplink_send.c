/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending by the wire. A frame that finds nobody waiting, and room, goes at once; all others stand in mClock's tree
 * until their turn, and stay in their senders' memory until then.
 *
 * A frame that is to be cut is up to 45 of the wire's, or 128 small ones. It stands in the tree as one request that is
 * served in parts, one of the wire's frames in each turn: each part is chosen and charged like a frame of its own, so
 * shares are exact by bytes, and whoever comes meanwhile waits for one frame of a neighbour's, not for 64 KiB of it.
 * What it costs is a choice for each 1,514 bytes, a few hundred instructions against the thousand or more of copying
 * and summing them. Of one client the next frame begins when the one before is wholly sent, so that none overtakes.
 *
 * The lock is held while one frame of the wire is copied: the interface is one, and its ring has one end. Tickets that
 * are done are told without it.
 */
#include "io/net_uplink_internal.h"

#include "lib/assert.h"

#define COST_BYTES 64u	 /* that cost one */
#define BYTES_MIN 60u	 /* of a frame on the wire, without check sequence (802.3, 4.4.2) */
#define PASS_AT_ONCE 4u	 /* frames that a sender sends, its own or others', before the machine's worker goes on */

static uint64_t now_of(const struct net_uplink *u)
{
	return net_now(u->sw);
}

void net_uplink_wake_by(struct net_uplink *u, uint64_t at)
{
	if (at >= u->told)
		return;
	u->told = at;
	u->env.wake_at(u->env.ctx, at);
}

/* ---- tickets that are done ---- */

/* Half of its frames may come at a time: less would wake a client for each. */
static void let_in(struct net_uplink *u, struct net_uplink_client *c)
{
	if (c->held > NET_UPLINK_HELD_MAX / 2)
		return;
	while (!list_empty(&c->waiting)) {
		struct net_ticket *t = list_entry(c->waiting.next, struct net_ticket, link);

		list_remove(&t->link);
		t->held = NET_UPLINK_TELLS;
		list_push_back(&u->ready, &t->link);
	}
}

static void finish(struct net_uplink *u, struct net_uplink_client *c, struct net_ticket *t, enum net_drop why)
{
	c->held--;
	c->cutting = false;
	t->held = NET_UPLINK_TELLS;
	t->begun = false;
	t->why = (uint8_t)why;
	list_push_back(&u->sent, &t->link);
	let_in(u, c);
}

static struct net_ticket *take_told(struct list *l)
{
	struct net_ticket *t = list_empty(l) ? NULL : list_entry(l->next, struct net_ticket, link);

	if (t)
		list_remove(&t->link);
	return t;
}

/* The port is held, as by everybody who looks at its tap. */
static void count(struct net_uplink *u, const struct net_ticket *t)
{
	if (t->why != NET_DROP_NONE) {
		net_port_lost(&u->port, t->why);
	} else if (net_hold(u->sw, u->port.index)) {
		net_port_took(&u->port, t->frame);
		net_let_go(u->sw, u->port.index);
	}
}

void net_uplink_tell(struct net_uplink *u)
{
	struct net_ticket *t;

	lock_acquire(&u->lock);
	while ((t = take_told(&u->sent)) != NULL) {
		lock_release(&u->lock);
		count(u, t);
		t->done(t, t->why);
		lock_acquire(&u->lock);
	}
	while ((t = take_told(&u->ready)) != NULL) {
		lock_release(&u->lock);
		t->ready(t);
		lock_acquire(&u->lock);
	}
	lock_release(&u->lock);
}

/* ---- to the interface ---- */

/* Whether another frame may go to it now. */
static inline bool has_room(const struct net_uplink *u, uint64_t now)
{
	struct nic *n = u->nic;

	return !u->down && !u->on_hold && net_bucket_lets(&u->rate, now) && n->waiting_bytes < u->settings.depth_bytes &&
	       n->ops->reserve(n, n->max_frame) != NULL;
}

/* The next one of those that @c's frame is; there is one, and room. */
static void send_next(struct net_uplink *u, struct net_uplink_client *c, uint64_t now)
{
	struct net_cut *cut = &c->cut;
	struct io_segment segment;
	struct segment_cursor to = {.segment = &segment, .left = 1};
	bool is = net_cut_next(cut);

	ASSERT(is && cut->bytes <= u->nic->max_frame);
	segment = (struct io_segment){u->nic->ops->reserve(u->nic, cut->bytes), cut->bytes};
	ASSERT(segment.data);
	net_cut_copy(cut, &to);
	u->nic->ops->commit(u->nic, cut->bytes);
	u->committed = true;
	net_bucket_take(&u->rate, cut->bytes, now);
	u->cut_frames += cut->cuts;
	c->sent_frames++;
	c->sent_bytes += cut->bytes;
}

static void begin(struct net_uplink_client *c, const struct net_frame *f)
{
	static const struct net_abilities none;

	net_cut_begin(&c->cut, f, &none);
	c->cutting = true;
}

void net_uplink_kick(struct net_uplink *u)
{
	if (!u->committed)
		return;
	u->committed = false;
	u->nic->ops->kick(u->nic);
}

static struct net_uplink_client *client_of(const struct mclock_request *r)
{
	return container_of(r->client, struct net_uplink_client, turns);
}

static void take_turn(struct net_uplink *u, struct mclock_request *r, uint64_t now)
{
	struct net_ticket *t = container_of(r, struct net_ticket, turn);
	struct net_uplink_client *c = client_of(r);

	if (!c->cutting) {
		begin(c, t->frame);
		c->queued += now - r->arrived;
		if (r->let > r->arrived)
			c->throttled += MIN(r->let, now) - r->arrived;
	}
	c->by_reservation += r->by_reservation;
	send_next(u, c, now);
	if (r->left == 0)
		finish(u, c, t, NET_DROP_NONE);
}

bool net_uplink_pass(struct net_uplink *u, unsigned most)
{
	uint64_t now = now_of(u), next = MCLOCK_NEVER;
	bool more = false;

	for (unsigned sent = 0; u->root.waiting && has_room(u, now); sent++) {
		struct mclock_request *r;

		if (sent == most) {
			more = true;
			break;
		}
		r = mclock_pick(&u->root, now, &next);
		if (!r)
			break;
		take_turn(u, r, now);
	}
	if (u->root.waiting && !net_bucket_lets(&u->rate, now))
		next = MIN(next, net_bucket_lets_at(&u->rate));
	net_uplink_wake_by(u, MIN(next, u->poll_at));
	return more;
}

bool net_uplink_drop(struct net_uplink *u, unsigned most)
{
	uint64_t now = now_of(u);

	for (unsigned i = 0; i < NET_PORTS_MAX && u->root.waiting; i++) {
		struct net_uplink_client *c = u->clients[i];

		while (c && !list_empty(&c->turns.requests)) {
			struct mclock_request *r = list_entry(c->turns.requests.next, struct mclock_request, link);

			if (most-- == 0)
				return true;
			mclock_cancel(r, now);
			c->lost++;
			finish(u, c, container_of(r, struct net_ticket, turn), NET_DROP_LINK);
		}
	}
	return false;
}

/* ---- from the switch ---- */

static void fill_in(struct net_ticket *t, uint64_t now)
{
	const struct net_frame *f = t->frame;
	struct mclock_request *r = &t->turn;

	r->arrived = now;
	r->bytes = net_wire_bytes(f);
	r->cost = (uint32_t)(MAX(r->bytes, BYTES_MIN) * MCLOCK_COST_ONE / COST_BYTES);
	r->part = f->offload.gso == NET_GSO_NONE ? 0 : f->header_bytes + f->offload.gso_size;
}

/* Nobody stands before it. */
static bool goes_at_once(struct net_uplink *u, struct net_uplink_client *c, struct net_ticket *t)
{
	uint64_t now = t->turn.arrived;

	if (u->root.waiting || t->turn.part || !has_room(u, now) || !mclock_pass(&c->turns, &t->turn))
		return false;
	c->by_reservation += t->turn.by_reservation;
	begin(c, t->frame);
	send_next(u, c, now);
	c->cutting = false;
	net_uplink_wake_by(u, u->poll_at);
	return true;
}

static enum net_answer hold(struct net_uplink *u, struct net_uplink_client *c, struct net_ticket *t)
{
	t->held = NET_UPLINK_HOLDS;
	list_init(&t->link);
	c->held++;
	mclock_add(&c->turns, &t->turn);
	if (net_uplink_pass(u, PASS_AT_ONCE) && !u->polling)
		u->env.wake(u->env.ctx);
	if (t->held != NET_UPLINK_TELLS)
		return NET_HELD;
	list_remove(&t->link); /* the answer tells */
	t->held = NET_UPLINK_NOT;
	return NET_DONE;
}

static enum net_answer accept(struct net_uplink *u, struct net_ticket *t, enum net_drop *why)
{
	struct net_uplink_client *c = u->clients[t->from->index];

	t->held = NET_UPLINK_NOT;
	*why = !c || c->port != t->from ? NET_DROP_NOWHERE : u->down || u->closing ? NET_DROP_LINK : NET_DROP_NONE;
	if (*why != NET_DROP_NONE)
		return NET_DONE;
	fill_in(t, now_of(u));
	if (c->held < NET_UPLINK_HELD_MAX && list_empty(&c->waiting))
		return goes_at_once(u, c, t) ? NET_DONE : hold(u, c, t);
	if (!t->patient) {
		*why = NET_DROP_QUEUE;
		return NET_DONE;
	}
	t->held = NET_UPLINK_WAITS;
	list_push_back(&c->waiting, &t->link);
	return NET_WAIT;
}

static enum net_answer deliver(void *ctx, struct net_ticket *t, enum net_drop *why)
{
	struct net_uplink *u = ctx;
	enum net_answer answer;
	bool tell;

	lock_acquire(&u->lock);
	answer = accept(u, t, why);
	tell = !list_empty(&u->sent) || !list_empty(&u->ready);
	lock_release(&u->lock);
	if (tell)
		net_uplink_tell(u);
	return answer;
}

static void flush(void *ctx)
{
	struct net_uplink *u = ctx;

	lock_acquire(&u->lock);
	net_uplink_kick(u);
	lock_release(&u->lock);
}

/* Others that it makes room for are told by the worker: who takes back may hold locks. */
static bool cancel(void *ctx, struct net_ticket *t)
{
	struct net_uplink *u = ctx;
	struct net_uplink_client *c;
	bool taken = true;

	lock_acquire(&u->lock);
	c = u->clients[t->from->index];
	if (t->held == NET_UPLINK_WAITS) {
		list_remove(&t->link);
	} else if (t->held == NET_UPLINK_HOLDS) {
		bool first = t->turn.client->requests.next == &t->turn.link;

		mclock_cancel(&t->turn, now_of(u));
		if (first)
			c->cutting = false;
		c->held--;
		let_in(u, c);
	} else {
		taken = false;
	}
	if (taken)
		t->held = NET_UPLINK_NOT;
	if (!list_empty(&u->ready) && !u->polling)
		u->env.wake(u->env.ctx);
	lock_release(&u->lock);
	return taken;
}

const struct net_port_ops net_uplink_ops = {.deliver = deliver, .flush = flush, .cancel = cancel};
