/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The uplink's worker, its settings, and who may send (see net_uplink.h).
 *
 * As long as there is something to do the worker goes on and the interface does not interrupt. When there is nothing,
 * interrupts are put on and then everything is looked at once more: what came between the last look and then has not
 * interrupted and would lie there until something else came.
 */
#include "io/net_uplink.h"

#include "io/net_uplink_internal.h"
#include "lib/assert.h"

#define LIMIT_SLACK_MS 10u   /* docs/io-scheduling.md */
#define RATE_AHEAD_MS 1u     /* that the worker may come late */
#define COST_BYTES 64u	     /* of what mClock counts as one */
#define SEND_COST 1500u	     /* host instructions for a frame, about */
#define DROPS 16u	     /* frames given up in one step */

static uint64_t now_of(const struct net_uplink *u)
{
	return net_now(u->sw);
}
static uint64_t ms(const struct net_uplink *u, uint64_t n)
{
	return u->sw->env.hz * n / 1000;
}

/* ---- settings ---- */

void net_uplink_settings_init(struct net_uplink_settings *set)
{
	*set = (struct net_uplink_settings){.depth_bytes = NET_UPLINK_DEPTH_DEFAULT,
					    .poll_frames = NET_UPLINK_POLL_DEFAULT};
}

static enum status check(const struct net_uplink_settings *set, struct error *err)
{
	if (set->depth_bytes < NET_UPLINK_DEPTH_MIN || set->depth_bytes > NET_UPLINK_DEPTH_MAX)
		return fail(err, ST_INVALID, "%u bytes at the interface, it can be %u to %u", set->depth_bytes,
			    NET_UPLINK_DEPTH_MIN, NET_UPLINK_DEPTH_MAX);
	if (set->poll_frames == 0 || set->poll_frames > NIC_RECEIVED_MAX)
		return fail(err, ST_INVALID, "%u frames are received at a time, it can be 1 to %u", set->poll_frames,
			    NIC_RECEIVED_MAX);
	return ST_OK;
}

static void use(struct net_uplink *u, const struct net_uplink_settings *set)
{
	uint64_t burst = MAX(set->rate / 1000 * RATE_AHEAD_MS, 2ull * u->nic->max_frame);

	net_bucket_set(&u->rate, set->rate, burst, u->sw->env.hz, now_of(u));
	/*
	 * Turns are given out by what the interface takes at once: a client that had nothing in that moment, because it
	 * is told of its frames only afterwards, comes back with what it missed then.
	 */
	u->clock.burst = set->depth_bytes / COST_BYTES;
	u->settings = *set;
}

enum status net_uplink_set(struct net_uplink *u, const struct net_uplink_settings *set, struct error *err)
{
	enum status st = check(set, err);

	if (st != ST_OK)
		return st;
	lock_acquire(&u->lock);
	use(u, set);
	u->env.wake(u->env.ctx);
	lock_release(&u->lock);
	return ST_OK;
}

/* ---- coming and going ---- */

static void link_changed(struct nic *n)
{
	struct net_uplink *u = n->ctx;

	u->down = !n->up;
}

static void interrupted(struct nic *n)
{
	struct net_uplink *u = n->ctx;

	u->env.wake(u->env.ctx);
}

static void nobody(struct nic *n)
{
	(void)n;
}

static void client_init(struct net_uplink *u, struct net_uplink_client *c, struct net_port *p, struct mclock_pool *pool,
			const struct rls *numbers)
{
	*c = (struct net_uplink_client){.port = p};
	list_init(&c->waiting);
	mclock_client_init(&c->turns, pool ? pool : &u->root, MCLOCK_BYTES, numbers, now_of(u));
}

static void init(struct net_uplink *u, struct net_switch *sw, struct nic *nic, const struct net_uplink_env *env,
		 const struct net_uplink_settings *set)
{
	u->sw = sw;
	u->nic = nic;
	u->env = *env;
	lock_init(&u->lock, LOCK_UPLINK);
	list_init(&u->sent);
	list_init(&u->ready);
	u->told = MCLOCK_NEVER;
	u->clock = (struct mclock_config){
		.hz = sw->env.hz, .request_bytes = 1, .limit_slack = ms(u, LIMIT_SLACK_MS)};
	mclock_root_init(&u->root, &u->clock);
	use(u, set);
	u->down = !nic->up;
	u->polling = true; /* the first step puts interrupts on */
}

enum status net_uplink_open(struct net_uplink *u, struct net_switch *sw, struct nic *nic, const struct net_uplink_env *env,
			    const struct net_uplink_settings *set, struct error *err)
{
	static const struct rls numbers = {.limit = RLS_UNLIMITED, .shares = RLS_SHARES_DEFAULT};
	struct net_port_config cfg = {.trunk_all = true, .up = true};
	enum status st = check(set, err);

	if (st != ST_OK)
		return st;
	if (nic->max_frame < NET_MTU_MIN + NET_ETHERNET_BYTES + NET_TAG_BYTES)
		return fail(err, ST_INVALID, "%s sends frames of %u bytes at most", nic->name, nic->max_frame);
	cfg.mtu = MIN(nic->max_frame - NET_ETHERNET_BYTES - NET_TAG_BYTES, NET_MTU_MAX);
	init(u, sw, nic, env, set);
	st = net_port_open(&u->port, sw, &net_uplink_ops, u, &cfg, true, err);
	if (st != ST_OK)
		return st;
	lock_acquire(&u->lock);
	client_init(u, &u->own, &u->port, NULL, &numbers);
	u->clients[u->port.index] = &u->own;
	nic->ctx = u;
	nic->link_changed = link_changed;
	nic->interrupted = interrupted;
	nic->ops->promiscuous(nic, true);
	u->env.wake(u->env.ctx);
	lock_release(&u->lock);
	return ST_OK;
}

static void release_received(struct net_uplink *u)
{
	for (unsigned i = 0; i < u->in_count; i++)
		u->nic->ops->release(u->nic);
	u->in_count = u->in_next = 0;
}

bool net_uplink_close(struct net_uplink *u)
{
	bool more;

	lock_acquire(&u->lock);
	if (!u->closing) {
		u->closing = true;
		u->nic->ops->interrupts(u->nic, false);
		u->nic->ops->promiscuous(u->nic, false);
		u->nic->interrupted = u->nic->link_changed = nobody;
		net_uplink_kick(u);
		release_received(u);
	}
	lock_release(&u->lock);
	do {
		lock_acquire(&u->lock);
		more = net_uplink_drop(u, DROPS);
		lock_release(&u->lock);
		net_uplink_tell(u);
	} while (more);
	return net_port_close(&u->port);
}

/* ---- clients and pools ---- */

void net_uplink_client_begin(struct net_uplink *u, struct net_uplink_client *c, struct net_port *p, struct mclock_pool *pool,
			     const struct rls *numbers)
{
	lock_acquire(&u->lock);
	client_init(u, c, p, pool, numbers);
	u->clients[p->index] = c;
	lock_release(&u->lock);
}

void net_uplink_client_end(struct net_uplink *u, struct net_uplink_client *c)
{
	lock_acquire(&u->lock);
	ASSERT(c->held == 0 && list_empty(&c->waiting));
	mclock_leave(&c->turns.node);
	if (u->clients[c->port->index] == c)
		u->clients[c->port->index] = NULL;
	lock_release(&u->lock);
}

static void set_node(struct net_uplink *u, struct mclock_node *n, const struct rls *numbers)
{
	lock_acquire(&u->lock);
	mclock_set(n, MCLOCK_BYTES, numbers, now_of(u));
	u->env.wake(u->env.ctx); /* a limit may be higher */
	lock_release(&u->lock);
}

void net_uplink_client_set(struct net_uplink *u, struct net_uplink_client *c, const struct rls *numbers)
{
	set_node(u, &c->turns.node, numbers);
}

/* What waits goes with it, in its order; what it had run up by its tags is gone. */
void net_uplink_client_move(struct net_uplink *u, struct net_uplink_client *c, struct mclock_pool *pool)
{
	struct rls numbers;
	struct list waiting;
	uint64_t now;

	list_init(&waiting);
	lock_acquire(&u->lock);
	now = now_of(u);
	numbers = c->turns.node.numbers;
	while (!list_empty(&c->turns.requests)) {
		struct mclock_request *r = list_entry(c->turns.requests.next, struct mclock_request, link);

		mclock_cancel(r, now);
		list_push_back(&waiting, &r->link);
	}
	mclock_leave(&c->turns.node);
	mclock_client_init(&c->turns, pool ? pool : &u->root, MCLOCK_BYTES, &numbers, now);
	while (!list_empty(&waiting)) {
		struct mclock_request *r = list_entry(waiting.next, struct mclock_request, link);

		list_remove(&r->link);
		mclock_add(&c->turns, r);
	}
	u->env.wake(u->env.ctx);
	lock_release(&u->lock);
}

void net_uplink_pool_begin(struct net_uplink *u, struct mclock_pool *p, struct mclock_pool *above, const struct rls *numbers)
{
	lock_acquire(&u->lock);
	mclock_pool_init(p, above ? above : &u->root, MCLOCK_BYTES, numbers, now_of(u));
	lock_release(&u->lock);
}

void net_uplink_pool_end(struct net_uplink *u, struct mclock_pool *p)
{
	lock_acquire(&u->lock);
	mclock_leave(&p->node);
	lock_release(&u->lock);
}

void net_uplink_pool_set(struct net_uplink *u, struct mclock_pool *p, const struct rls *numbers)
{
	set_node(u, &p->node, numbers);
}

void net_uplink_hold(struct net_uplink *u)
{
	lock_acquire(&u->lock);
	u->on_hold = true;
	lock_release(&u->lock);
}

void net_uplink_let_go(struct net_uplink *u)
{
	lock_acquire(&u->lock);
	u->on_hold = false;
	u->env.wake(u->env.ctx);
	lock_release(&u->lock);
}

/* ---- receiving ---- */

/* The next frames, when those before are all carried. The lock is held. */
static void fetch(struct net_uplink *u)
{
	if (u->in_next < u->in_count)
		return;
	release_received(u);
	while (u->in_count < u->settings.poll_frames && u->nic->ops->receive(u->nic, &u->in[u->in_count]))
		u->in_count++;
	u->received_steps += u->in_count > 0;
}

/* The next frame as one of the switch's. False: it is bad, and counted. */
static bool prepare(struct net_uplink *u, const struct nic_frame *in)
{
	struct net_frame *f = &u->frame;
	enum net_drop why;

	u->segment = (struct io_segment){(void *)(uintptr_t)in->data, in->bytes};
	f->segments = &u->segment;
	f->segment_count = 1;
	f->bytes = in->bytes;
	f->offload = (struct net_offload){.checksum_good = in->checksum_good};
	f->head_bytes = (uint16_t)MIN(in->bytes, NET_HEAD_MAX);
	memcpy(f->head, in->data, f->head_bytes);
	why = net_frame_parse(f, (uint32_t)FIELD(net_gate(&u->port), NET_GATE_MTU_HI, NET_GATE_MTU_LO));
	if (why != NET_DROP_NONE)
		net_port_refuse(&u->port, why);
	u->ticket.frame = f;
	u->ticket.behind = u->in_count - u->in_next - 1;
	return why == NET_DROP_NONE;
}

/* Carries what was received into the switch, as far as the budget goes. True: some is left. */
static bool carry(struct net_uplink *u, unsigned budget)
{
	while (u->in_next < u->in_count && budget > 0) {
		enum net_answer answer;

		if (u->ticket.begun || prepare(u, &u->in[u->in_next])) {
			answer = net_switch_send(&u->port, &u->ticket, &u->batch, &budget);
			if (answer == NET_AGAIN)
				break;
			ASSERT(answer == NET_DONE); /* it waits for nobody */
		}
		u->in_next++;
	}
	net_switch_flush(u->sw, &u->batch);
	return u->in_next < u->in_count;
}

/* ---- the worker ---- */

/* The lock is held. True: there is more to send, or to give up. */
static bool look_after(struct net_uplink *u, unsigned most)
{
	uint64_t now = now_of(u);
	bool more;

	if (u->told <= now)
		u->told = MCLOCK_NEVER;
	u->nic->ops->poll(u->nic);
	u->poll_at = now + ns_to_ticks(u->nic->silent ? NIC_LOOK_NS : NIC_POLL_NS, u->sw->env.hz);
	if (u->down) {
		more = net_uplink_drop(u, DROPS);
		net_uplink_wake_by(u, u->poll_at);
	} else {
		more = net_uplink_pass(u, most);
	}
	net_uplink_kick(u);
	fetch(u);
	return more;
}

bool net_uplink_run(struct net_uplink *u, unsigned budget)
{
	unsigned most = MAX(budget / 2 / SEND_COST, 1u), sending = most * SEND_COST;
	bool more;

	lock_acquire(&u->lock);
	if (u->closing) {
		lock_release(&u->lock);
		return false;
	}
	if (!u->polling)
		u->nic->ops->interrupts(u->nic, false);
	u->polling = true;
	more = look_after(u, most);
	lock_release(&u->lock);
	net_uplink_tell(u);
	more |= carry(u, budget > sending ? budget - sending : 1);
	if (more)
		return true;
	lock_acquire(&u->lock);
	u->nic->ops->interrupts(u->nic, true);
	more = look_after(u, 1) || u->in_count > 0;
	if (more)
		u->nic->ops->interrupts(u->nic, false);
	u->polling = more;
	lock_release(&u->lock);
	net_uplink_tell(u);
	return more;
}
