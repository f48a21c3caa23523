/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done is put on a list under the lock and told without it, by one CPU at a
 * time: a submitter that is told may submit at once, and whatever that ends is told by
 * the same loop instead of deeper and deeper calls.
 */
#include "io/iosched.h"

#include "lib/assert.h"
#include "lib/bits.h"

/* What is sent in one pass: with memory as the device, all the work is done in it. */
#define PASS_MAX 16u
#define PASS_BYTES (256u << 10)
#define EPOCH_MIN 32u /* ended requests before the depth is looked at */
#define EPOCH_MS 100u
#define LIMIT_SLACK_MS 10u /* docs/io-scheduling.md: above a few service times of a slow disk, 1 % of a second */

static uint64_t now_of(const struct iosched *s)
{
	return s->cfg.clock->ticks();
}
static uint64_t ms(const struct iosched *s, uint64_t n)
{
	return n * s->cfg.clock->hz / 1000;
}

/* ---- setting up ---- */

void iosched_settings_init(struct iosched_settings *set)
{
	*set = (struct iosched_settings){.burst = IOSCHED_BURST_DEFAULT};
}

static void next_turn(struct timer *t, uint64_t now)
{
	(void)t;
	(void)now; /* the pass that follows does it */
}

void iosched_init(struct iosched *s, const struct iosched_config *cfg)
{
	*s = (struct iosched){.cfg = *cfg, .told = TIMERQ_NEVER, .depth = IOSCHED_DEPTH_UNKNOWN};
	lock_init(&s->lock, LOCK_IO);
	iosched_settings_init(&s->settings);
	s->mclock_cfg = (struct mclock_config){.hz = cfg->clock->hz,
					       .request_bytes = cfg->request_bytes,
					       .limit_slack = ms(s, LIMIT_SLACK_MS),
					       .burst = s->settings.burst};
	mclock_root_init(&s->root, &s->mclock_cfg);
	timerq_init(&s->timers, s->timer_slots, IOSCHED_TIMERS_MAX);
	timer_init(&s->next_turn, next_turn);
	list_init(&s->ended);
}

/* ---- how many at the device ---- */

/* What nothing but a latency's bound goes below. */
static uint32_t depth_max(const struct iosched *s)
{
	if (s->settings.depth_max)
		return s->settings.depth_max;
	return s->at_once ? MIN(MAX(2 * s->at_once, IOSCHED_DEPTH_LEAST), IOSCHED_DEPTH_MAX) : IOSCHED_DEPTH_UNKNOWN;
}

/* After depth_max() has changed: from there down, when a latency is aimed at. */
static void bound_anew(struct iosched *s)
{
	uint32_t *depth = s->depth == 0 ? &s->held_depth : &s->depth;

	*depth = s->settings.latency_ns ? MIN(*depth, depth_max(s)) : depth_max(s);
}

/*
 * PARDA's law, a quarter of the way in each epoch: depth * target / latency, and a little more so that it tries
 * for more when the device is fast.
 */
static uint32_t next_depth(const struct iosched *s, uint64_t mean)
{
	uint64_t target = ns_to_ticks(s->settings.latency_ns, s->cfg.clock->hz);
	uint64_t wanted = mul_div(s->depth, target, MAX(mean, 1u)) + 1;
	uint64_t depth = (3ull * s->depth + MIN(wanted, 2ull * s->depth + 1) + 2) / 4;

	return (uint32_t)MIN(MAX(depth, 1u), depth_max(s));
}

static void count_service(struct iosched *s, uint64_t ticks, uint64_t now)
{
	if (s->settings.latency_ns == 0 || s->depth == 0)
		return;
	s->epoch_ended++;
	s->epoch_ticks += ticks;
	if (s->epoch_ended < EPOCH_MIN && now < s->epoch_ends)
		return;
	s->depth = next_depth(s, s->epoch_ticks / s->epoch_ended);
	s->epoch_ended = 0;
	s->epoch_ticks = 0;
	s->epoch_ends = now + ms(s, EPOCH_MS);
}

/* ---- a request's way ---- */

static void count_latency(struct iosched_figures *f, uint64_t ticks)
{
	unsigned bucket = ticks ? bit_highest(ticks) + 1 : 0;

	f->latency[MIN(bucket, IOSCHED_LATENCY_BUCKETS - 1)]++;
}

static void count_end(struct iosched_figures *f, const struct block_request *r, uint64_t bytes)
{
	f->requests[r->op]++;
	if (unlikely(r->status != ST_OK))
		f->failed++;
	else if (r->op == BLOCK_READ)
		f->bytes_read += bytes;
	else if (r->op == BLOCK_WRITE)
		f->bytes_written += bytes;
}

static void release(struct iosched_slot *slot)
{
	slot->of->complete = slot->complete;
	slot->of = NULL;
	slot->next_free = slot->client->free;
	slot->client->free = slot;
}

/* By the device, from within a call to it: the lock is held. */
static void device_done(struct block_request *r)
{
	struct iosched_slot *slot = r->turn;
	struct iosched_figures *f = &slot->client->figures;
	struct iosched *s = slot->client->sched;
	uint64_t now = now_of(s);

	s->at_device--;
	f->at_device--;
	f->service += now - slot->sent;
	count_end(f, r, slot->turn.bytes);
	count_latency(f, now - slot->turn.arrived);
	count_service(s, now - slot->sent, now);
	list_push_back(&s->ended, &slot->link);
}

/* To the device; true when it is done already: that took no time worth counting. */
static inline bool send(struct iosched_client *c, struct iosched_slot *slot, struct block_request *r, uint64_t now)
{
	slot->sent = now;
	c->device->ops->submit(c->device, r);
	if (!r->done) {
		c->figures.at_device++;
		c->sched->at_device++;
		return false;
	}
	count_end(&c->figures, r, slot->turn.bytes);
	count_latency(&c->figures, now - slot->turn.arrived);
	return true;
}

static void count_turn(struct iosched_slot *slot, uint64_t now)
{
	struct iosched_figures *f = &slot->client->figures;

	slot->waits = false;
	f->waiting--;
	f->by_reservation += slot->turn.by_reservation;
	f->queued += now - slot->turn.arrived;
	if (slot->turn.let > slot->turn.arrived)
		f->throttled += MIN(slot->turn.let, now) - slot->turn.arrived;
}

/* Sends what may go; when that is too much for a pass, soon more. */
static void pass(struct iosched *s)
{
	uint64_t now = now_of(s), next = MCLOCK_NEVER, bytes = 0;

	for (unsigned sent = 0; s->at_device < s->depth && s->root.waiting; sent++) {
		struct mclock_request *turn;
		struct iosched_slot *slot;

		if (sent == PASS_MAX || bytes >= PASS_BYTES) {
			next = now;
			break;
		}
		turn = mclock_pick(&s->root, now, &next);
		if (!turn)
			break;
		slot = container_of(turn, struct iosched_slot, turn);
		count_turn(slot, now);
		bytes += turn->bytes;
		if (send(slot->client, slot, slot->of, now))
			list_push_back(&s->ended, &slot->link);
	}
	timerq_set(&s->timers, &s->next_turn, next);
}

static inline void tell_timers(struct iosched *s)
{
	if (likely(s->timers.next == s->told))
		return;
	s->told = s->timers.next;
	s->cfg.wake_at(s->cfg.ctx, s->told);
}

/* Hands over what is done; the lock is held before and after. */
static __attribute__((noinline)) void tell(struct iosched *s)
{
	if (s->telling)
		return;
	s->telling = true;
	while (!list_empty(&s->ended)) {
		struct iosched_slot *slot = list_entry(s->ended.next, struct iosched_slot, link);
		struct block_request *r = slot->of;

		list_remove(&slot->link);
		release(slot);
		lock_release(&s->lock);
		r->complete(r);
		lock_acquire(&s->lock);
	}
	s->telling = false;
	tell_timers(s);
}

static inline void leave(struct iosched *s)
{
	tell_timers(s);
	if (unlikely(!list_empty(&s->ended)))
		tell(s);
	lock_release(&s->lock);
}

void iosched_enter(struct iosched *s)
{
	lock_acquire(&s->lock);
}

void iosched_leave(struct iosched *s)
{
	if (s->root.waiting)
		pass(s);
	leave(s);
}

void iosched_run(struct iosched *s)
{
	iosched_enter(s);
	s->told = TIMERQ_NEVER; /* it has come */
	timerq_run(&s->timers, now_of(s));
	iosched_leave(s);
}

/* ---- submitters ---- */

/* Sectors that carry data cost by their length, the others as one request. */
static uint64_t bytes_of(const struct block_device *d, const struct block_request *r)
{
	return r->op == BLOCK_READ || r->op == BLOCK_WRITE ? r->count * d->sector_bytes : 0;
}

static inline struct iosched_slot *take_slot(struct iosched_client *c, struct block_request *r, uint64_t now)
{
	struct iosched_slot *slot = c->free;

	ASSERT(slot);
	c->free = slot->next_free;
	slot->of = r;
	slot->complete = r->complete;
	slot->turn.arrived = now;
	slot->turn.bytes = bytes_of(c->device, r);
	slot->turn.cost = mclock_cost(&c->sched->mclock_cfg, slot->turn.bytes);
	r->turn = slot;
	r->complete = device_done;
	r->done = false;
	return slot;
}

/* It stands behind others, or a limit stands against it. True: done in the pass that followed all the same. */
static bool queue(struct iosched_client *c, struct iosched_slot *slot)
{
	slot->waits = true;
	c->figures.waiting++;
	mclock_add(&c->turns, &slot->turn);
	pass(c->sched);
	if (!slot->of->done)
		return false;
	list_remove(&slot->link); /* the caller is told by the answer */
	return true;
}

bool iosched_submit(struct iosched_client *c, struct block_request *r)
{
	struct iosched *s = c->sched;
	struct iosched_slot *slot;
	uint64_t now;
	bool done;

	iosched_enter(s);
	now = now_of(s);
	slot = take_slot(c, r, now);
	if (likely(s->root.waiting == 0 && s->at_device < s->depth && mclock_pass(&c->turns, &slot->turn))) {
		c->figures.straight++;
		c->figures.by_reservation += slot->turn.by_reservation;
		done = send(c, slot, r, now);
	} else {
		done = queue(c, slot);
	}
	if (done)
		release(slot);
	leave(s);
	return done;
}

bool iosched_cancel(struct iosched_client *c, struct block_request *r)
{
	struct iosched *s = c->sched;
	bool taken = false;

	iosched_enter(s);
	for (unsigned i = 0; i < c->slot_count && !taken; i++) {
		struct iosched_slot *slot = &c->slots[i];

		if (slot->of != r)
			continue;
		if (slot->waits) {
			mclock_cancel(&slot->turn, now_of(s));
			slot->waits = false;
			c->figures.waiting--;
			taken = true;
		} else if (!r->done && c->device->ops->cancel &&
			   c->device->ops->cancel(c->device, r)) {
			c->figures.at_device--;
			s->at_device--;
			taken = true;
		}
		if (taken)
			release(slot);
	}
	iosched_leave(s);
	return taken;
}

/* ---- clients and pools ---- */

void iosched_client_begin(struct iosched_client *c, struct iosched *s, struct mclock_pool *pool,
			  struct block_device *device, enum mclock_unit unit, const struct rls *numbers,
			  struct iosched_slot *slots, unsigned count)
{
	*c = (struct iosched_client){.sched = s, .device = device, .slots = slots, .slot_count = count};
	for (unsigned i = 0; i < count; i++) {
		slots[i] = (struct iosched_slot){.client = c, .next_free = c->free};
		c->free = &slots[i];
	}
	iosched_enter(s);
	mclock_client_init(&c->turns, pool ? pool : &s->root, unit, numbers, now_of(s));
	iosched_leave(s);
}

void iosched_client_end(struct iosched_client *c)
{
	iosched_enter(c->sched);
	for (unsigned i = 0; i < c->slot_count; i++)
		ASSERT(!c->slots[i].of);
	mclock_leave(&c->turns.node);
	iosched_leave(c->sched);
}

/* Takes the requests that wait out of the tree, in their order. */
static void take_waiting(struct iosched_client *c, struct list *out, uint64_t now)
{
	while (!list_empty(&c->turns.requests)) {
		struct mclock_request *r = list_entry(c->turns.requests.next, struct mclock_request, link);

		mclock_cancel(r, now);
		list_push_back(out, &r->link);
	}
}

void iosched_client_move(struct iosched_client *c, struct mclock_pool *pool)
{
	struct iosched *s = c->sched;
	enum mclock_unit unit = c->turns.node.unit;
	struct rls numbers = c->turns.node.numbers;
	struct list waiting;
	uint64_t now;

	list_init(&waiting);
	iosched_enter(s);
	now = now_of(s);
	take_waiting(c, &waiting, now);
	mclock_leave(&c->turns.node);
	mclock_client_init(&c->turns, pool ? pool : &s->root, unit, &numbers, now);
	while (!list_empty(&waiting)) {
		struct mclock_request *r = list_entry(waiting.next, struct mclock_request, link);

		list_remove(&r->link);
		mclock_add(&c->turns, r);
	}
	iosched_leave(s);
}

static void set_node(struct iosched *s, struct mclock_node *n, enum mclock_unit unit, const struct rls *numbers)
{
	iosched_enter(s);
	mclock_set(n, unit, numbers, now_of(s));
	iosched_leave(s);
}

void iosched_client_set(struct iosched_client *c, enum mclock_unit unit, const struct rls *numbers)
{
	set_node(c->sched, &c->turns.node, unit, numbers);
}

void iosched_pool_begin(struct iosched *s, struct mclock_pool *p, struct mclock_pool *above, enum mclock_unit unit,
			const struct rls *numbers)
{
	iosched_enter(s);
	mclock_pool_init(p, above ? above : &s->root, unit, numbers, now_of(s));
	iosched_leave(s);
}

void iosched_pool_end(struct iosched *s, struct mclock_pool *p)
{
	iosched_enter(s);
	mclock_leave(&p->node);
	iosched_leave(s);
}

void iosched_pool_set(struct iosched *s, struct mclock_pool *p, enum mclock_unit unit, const struct rls *numbers)
{
	set_node(s, &p->node, unit, numbers);
}

void iosched_hold(struct iosched *s)
{
	iosched_enter(s);
	s->held_depth = s->depth;
	s->depth = 0;
	iosched_leave(s);
}

void iosched_let_go(struct iosched *s)
{
	iosched_enter(s);
	s->depth = s->held_depth;
	iosched_leave(s);
}

enum status iosched_set(struct iosched *s, const struct iosched_settings *set, struct error *err)
{
	if (set->depth_max > IOSCHED_DEPTH_MAX)
		return fail(err, ST_INVALID, "depth_max is %u, it can be %u at most", set->depth_max, IOSCHED_DEPTH_MAX);
	if (set->latency_ns > IOSCHED_LATENCY_MAX_NS)
		return fail(err, ST_INVALID, "a latency of %llu ns is more than a minute",
			    (unsigned long long)set->latency_ns);
	if (set->burst > IOSCHED_BURST_MAX)
		return fail(err, ST_INVALID, "burst is %u requests, it can be %u at most", set->burst, IOSCHED_BURST_MAX);
	iosched_enter(s);
	s->settings = *set;
	s->mclock_cfg.burst = set->burst;
	bound_anew(s);
	iosched_leave(s);
	return ST_OK;
}

void iosched_works_on(struct iosched *s, uint32_t at_once)
{
	iosched_enter(s);
	s->at_once = MAX(s->at_once, at_once);
	bound_anew(s);
	iosched_leave(s);
}

/* ---- figures ---- */

void iosched_figures(struct iosched_client *c, struct iosched_figures *out)
{
	iosched_enter(c->sched);
	*out = c->figures;
	lock_release(&c->sched->lock);
}

bool iosched_check(struct iosched *s)
{
	bool right;

	iosched_enter(s);
	right = mclock_check(&s->root) &&
		(s->at_device >= s->depth || s->root.waiting == 0 || timer_is_set(&s->next_turn));
	lock_release(&s->lock);
	return right;
}
