/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tag is kept for the first waiting request only, as the time from which it counts;
 * serving one moves the tag on by what that one cost. For requests of one size this is
 * the paper's max(previous + 1/rate, arrival), with the increment paid after the
 * request instead of before the next. To leave R alone is then the paper's giving back:
 * what shares have served does not move it.
 *
 * P is not tied to time. The paper shifts the tags of all active clients when one
 * returns, so that it meets them where they are; here it is the one that is moved, to the
 * least P of those that could be served, which is the same difference for O(1).
 */
#include "io/mclock.h"

#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/clock.h"

#define ANY_TIME 0u
#define POINT 32u
#define COST_BITS 10u
#define COST_MAX (1u << 24)
#define TURN_STEP (1ull << 30) /* P of one whole request at one share */
/*
 * Requests that a member may be ahead by shares because of its reservation. More would be paid back when the
 * device gets faster, but what a reservation gives beyond the part by shares is nobody's debt; less would
 * forgive what is only the jitter of turns.
 */
#define LEAD 5u
#define FORGET_SECONDS 10u    /* after so long without service nothing is left of a lag by shares */
#define MOVE_MAX (1ull << 60) /* ticks: tags stay comparable, whatever a request costs */

_Static_assert(MCLOCK_COST_ONE == 1u << COST_BITS, "costs are in parts of a request");

static struct mclock_node *by_turn(struct leftist_node *n)
{
	return container_of(n, struct mclock_node, by_turn);
}
static struct mclock_node *by_reservation(struct leftist_node *n)
{
	return container_of(n, struct mclock_node, by_reservation);
}
static struct mclock_pool *as_pool(struct mclock_node *n)
{
	return container_of(n, struct mclock_pool, node);
}
static struct mclock_client *as_client(struct mclock_node *n)
{
	return container_of(n, struct mclock_client, node);
}
static uint64_t first_key(const struct leftist *t)
{
	return t->top ? t->top->key : MCLOCK_NEVER;
}

/* ---- tags ---- */

static inline void tag_at_least(struct mclock_tag *tag, uint64_t at)
{
	if (tag->at >= at)
		return;
	tag->at = at;
	tag->parts = 0;
}

/* Ticks that @units take at the rate of @tag, rounded down. */
static inline uint64_t tag_length(const struct mclock_tag *tag, uint64_t units)
{
	return MIN((uint64_t)(((unsigned __int128)MIN(units, UINT32_MAX) * tag->step) >> POINT), MOVE_MAX);
}

static inline void tag_charge(struct mclock_tag *tag, uint64_t units)
{
	unsigned __int128 move = (unsigned __int128)MIN(units, UINT32_MAX) * tag->step;
	uint64_t parts = (uint64_t)tag->parts + (uint32_t)move;

	tag->at += MIN((uint64_t)(move >> POINT), MOVE_MAX) + (parts >> POINT);
	tag->parts = (uint32_t)parts;
}

/* What @r is for @n's numbers: bytes, or parts of a request. */
static uint64_t units_of(const struct mclock_node *n, const struct mclock_request *r)
{
	return n->unit == MCLOCK_BYTES ? r->bytes : r->cost;
}

static uint64_t step_of(const struct mclock_config *cfg, enum mclock_unit unit, uint64_t rate)
{
	uint64_t step = mul_div(cfg->hz, 1ull << (unit == MCLOCK_BYTES ? POINT : POINT - COST_BITS), rate);

	return MAX(step, 1u);
}

/* The same number of units ahead of @now as before, by another step. */
static void tag_set_step(struct mclock_tag *tag, uint64_t step, uint64_t now)
{
	uint64_t ahead = tag->step && tag->at > now ? tag->at - now : 0;
	uint64_t units = ahead ? mul_div(ahead, 1ull << POINT, tag->step) : 0;

	*tag = (struct mclock_tag){.at = now, .step = step};
	if (step)
		tag_charge(tag, MIN(units, UINT32_MAX));
}

/* ---- places ---- */

static uint64_t waiting_in(struct mclock_node *n)
{
	return n->is_pool ? as_pool(n)->waiting : as_client(n)->count;
}

/* From when on its members can be served by shares, all limits below it considered. */
static uint64_t members_let_at(const struct mclock_pool *p)
{
	return p->ready.top ? ANY_TIME : first_key(&p->limited);
}

/* From when on all limits, its own and those below, let @n. It has work. */
static uint64_t let_at(struct mclock_node *n)
{
	uint64_t own = n->limited.step ? n->limited.at : ANY_TIME;

	return n->is_pool ? MAX(own, members_let_at(as_pool(n))) : own;
}

/* When a reservation of @n is due that something below it can use. It has work. */
static uint64_t due_at(struct mclock_node *n)
{
	struct mclock_pool *p;

	if (!n->reserved.step)
		return MCLOCK_NEVER;
	if (!n->is_pool)
		return n->reserved.at;
	p = as_pool(n);
	return MAX(n->reserved.at, MIN(first_key(&p->reserved), members_let_at(p)));
}

/* P of a pool's members only moves on. */
static inline void move_on(struct mclock_pool *p, uint64_t turn)
{
	if (leftist_before(p->virtual_time, turn))
		p->virtual_time = turn;
}

static inline void catch_up_pool(struct mclock_pool *p)
{
	if (p->ready.top)
		move_on(p, p->ready.top->key);
}

/* How far it has fallen behind by shares is bounded, wherever it was: idle, or held by its limit. */
static inline void bound_lag(struct mclock_node *n, uint64_t now)
{
	struct mclock_pool *p = n->parent;
	uint64_t least = p->virtual_time - n->turn_step * p->cfg->burst;

	if (now - n->served_at > FORGET_SECONDS * p->cfg->hz)
		n->turn = p->virtual_time;
	else if (leftist_before(n->turn, least))
		n->turn = least;
}

static void catch_up(struct mclock_node *n, uint64_t now)
{
	catch_up_pool(n->parent);
	bound_lag(n, now);
}

static void take_from_turns(struct mclock_node *n)
{
	if (leftist_queued(&n->by_turn))
		leftist_remove(n->ready ? &n->parent->ready : &n->parent->limited, &n->by_turn);
}

static void place_by_turn(struct mclock_node *n, uint64_t now)
{
	uint64_t let = let_at(n);
	bool ready = let <= now, was_ready = leftist_queued(&n->by_turn) && n->ready;

	if (ready != was_ready)
		take_from_turns(n);
	n->ready = ready;
	if (ready && !was_ready)
		catch_up(n, now);
	if (ready)
		leftist_set(&n->parent->ready, &n->by_turn, n->turn);
	else
		leftist_set(&n->parent->limited, &n->by_turn, let);
}

static void place_by_reservation(struct mclock_node *n)
{
	uint64_t due = due_at(n);

	if (due != MCLOCK_NEVER)
		leftist_set(&n->parent->reserved, &n->by_reservation, due);
	else if (leftist_queued(&n->by_reservation))
		leftist_remove(&n->parent->reserved, &n->by_reservation);
}

static void place(struct mclock_node *n, uint64_t now)
{
	if (waiting_in(n)) {
		place_by_turn(n, now);
		place_by_reservation(n);
		return;
	}
	take_from_turns(n);
	if (leftist_queued(&n->by_reservation))
		leftist_remove(&n->parent->reserved, &n->by_reservation);
}

static void place_up(struct mclock_node *n, uint64_t now)
{
	for (; n->parent; n = &n->parent->node)
		place(n, now);
}

/* Those whose limit has let them since. */
static void release(struct mclock_pool *p, uint64_t now)
{
	while (p->limited.top && p->limited.top->key <= now)
		place_by_turn(by_turn(p->limited.top), now);
}

/* ---- the tree ---- */

static void node_init(struct mclock_node *n, struct mclock_pool *parent, bool is_pool)
{
	*n = (struct mclock_node){.parent = parent, .is_pool = is_pool};
	leftist_node_init(&n->by_reservation);
	leftist_node_init(&n->by_turn);
}

void mclock_root_init(struct mclock_pool *root, const struct mclock_config *cfg)
{
	ASSERT(cfg->hz > 0 && cfg->hz < BIT(32) && cfg->request_bytes > 0);
	*root = (struct mclock_pool){.cfg = cfg};
	node_init(&root->node, NULL, true);
}

void mclock_set(struct mclock_node *n, enum mclock_unit unit, const struct rls *numbers, uint64_t now)
{
	const struct mclock_config *cfg = n->parent->cfg;

	ASSERT(rls_valid(numbers) && numbers->limit > 0);
	if (unit != n->unit) /* what is owed in bytes says nothing of requests */
		n->reserved.step = n->limited.step = 0;
	n->unit = unit;
	n->numbers = *numbers;
	tag_set_step(&n->reserved, numbers->reservation ? step_of(cfg, unit, numbers->reservation) : 0, now);
	tag_set_step(&n->limited, numbers->limit != RLS_UNLIMITED ? step_of(cfg, unit, numbers->limit) : 0, now);
	n->turn_step = TURN_STEP / numbers->shares;
	place_up(n, now);
}

static void join(struct mclock_node *n, struct mclock_pool *parent, bool is_pool, enum mclock_unit unit,
		 const struct rls *numbers, uint64_t now)
{
	unsigned depth = 1;

	for (const struct mclock_pool *p = parent; p->node.parent; p = p->node.parent)
		depth++;
	ASSERT(depth + is_pool <= MCLOCK_DEPTH_MAX);
	node_init(n, parent, is_pool);
	mclock_set(n, unit, numbers, now);
}

void mclock_pool_init(struct mclock_pool *pool, struct mclock_pool *parent, enum mclock_unit unit,
		      const struct rls *numbers, uint64_t now)
{
	*pool = (struct mclock_pool){.cfg = parent->cfg};
	join(&pool->node, parent, true, unit, numbers, now);
}

void mclock_client_init(struct mclock_client *client, struct mclock_pool *parent, enum mclock_unit unit,
			const struct rls *numbers, uint64_t now)
{
	*client = (struct mclock_client){0};
	list_init(&client->requests);
	join(&client->node, parent, false, unit, numbers, now);
}

void mclock_leave(struct mclock_node *n)
{
	ASSERT(!waiting_in(n) && !leftist_queued(&n->by_turn) && !leftist_queued(&n->by_reservation));
	n->parent = NULL;
}

/* ---- requests ---- */

uint32_t mclock_cost_large(const struct mclock_config *cfg, uint64_t bytes)
{
	uint64_t beyond = bytes - MCLOCK_SMALL;
	uint64_t length = beyond < BIT(40) ? (beyond << COST_BITS) / cfg->request_bytes : COST_MAX;

	return (uint32_t)MIN(MCLOCK_COST_ONE + length, COST_MAX);
}

/* It comes back from idleness: what it did not use then is gone. */
static inline void wake(struct mclock_node *n, uint64_t now)
{
	tag_at_least(&n->reserved, now);
	tag_at_least(&n->limited, now);
}

void mclock_add(struct mclock_client *client, struct mclock_request *r)
{
	r->client = client;
	list_push_back(&client->requests, &r->link);
	if (client->count++ == 0)
		wake(&client->node, r->arrived);
	for (struct mclock_pool *p = client->node.parent; p; p = p->node.parent)
		if (p->waiting++ == 0)
			wake(&p->node, r->arrived);
	if (client->count == 1)
		place_up(&client->node, r->arrived);
}

/* @r no longer waits. */
static void take_out(struct mclock_request *r)
{
	struct mclock_client *c = r->client;

	list_remove(&r->link);
	c->count--;
	for (struct mclock_pool *p = c->node.parent; p; p = p->node.parent)
		p->waiting--;
	/* What a reservation did not give while there was nothing to be given to is not owed. */
	if (c->count)
		tag_at_least(&c->node.reserved, list_entry(c->requests.next, struct mclock_request, link)->arrived);
}

void mclock_cancel(struct mclock_request *r, uint64_t now)
{
	take_out(r);
	place_up(&r->client->node, now);
}

static inline void charge_tags(struct mclock_node *n, const struct mclock_request *r, bool due, uint64_t now)
{
	if (n->limited.step) {
		uint64_t units = units_of(n, r);
		uint64_t slack = n->parent->cfg->limit_slack + tag_length(&n->limited, units);

		tag_at_least(&n->limited, now - MIN(now, slack));
		tag_charge(&n->limited, units);
	}
	if (due && n->reserved.step) {
		tag_at_least(&n->reserved, r->arrived);
		tag_charge(&n->reserved, units_of(n, r));
	}
}

static inline uint64_t turns_of(const struct mclock_node *n, const struct mclock_request *r)
{
	return (r->cost * n->turn_step) >> COST_BITS;
}

static void charge(struct mclock_node *n, const struct mclock_request *r, bool due, uint64_t now)
{
	uint64_t part = turns_of(n, r), most;

	catch_up_pool(n->parent);
	n->served_at = now;
	n->turn += part;
	most = n->parent->virtual_time + LEAD * part;
	if (leftist_before(most, n->turn))
		n->turn = most;
	charge_tags(n, r, due, now);
}

/* The member of @p that goes next; NULL: none may yet. @due: for its reservation. */
static struct mclock_node *choose(struct mclock_pool *p, uint64_t now, bool *due)
{
	struct mclock_node *n;

	*due = p->reserved.top && p->reserved.top->key <= now;
	if (*due)
		return by_reservation(p->reserved.top);
	if (!p->ready.top)
		return NULL;
	n = by_turn(p->ready.top);
	move_on(p, n->turn);
	return n;
}

/* @r is what is served of it now; the cost of the rest. */
static uint32_t take_part(struct mclock_request *r)
{
	uint32_t cost = r->cost;

	if (r->part >= r->bytes)
		return 0;
	r->cost = (uint32_t)mul_div(cost, r->part, r->bytes);
	r->left = r->bytes - r->part;
	r->bytes = r->part;
	return cost - r->cost;
}

struct mclock_request *mclock_pick(struct mclock_pool *root, uint64_t now, uint64_t *next)
{
	bool due[MCLOCK_DEPTH_MAX];
	struct mclock_node *n = &root->node;
	struct mclock_request *r;
	unsigned depth = 0;
	uint32_t left_cost = 0;

	do {
		struct mclock_pool *p = as_pool(n);

		release(p, now);
		n = choose(p, now, &due[depth]);
		if (!n) {
			ASSERT(p == root); /* a pool is chosen for a member that may go */
			*next = MIN(first_key(&p->reserved), first_key(&p->limited));
			return NULL;
		}
		depth++;
	} while (n->is_pool);
	r = list_entry(as_client(n)->requests.next, struct mclock_request, link);
	r->by_reservation = due[depth - 1];
	r->left = 0;
	if (unlikely(r->part != 0))
		left_cost = take_part(r);
	if (likely(r->left == 0))
		take_out(r);
	r->let = ANY_TIME;
	for (; n->parent; n = &n->parent->node) {
		if (n->limited.step)
			r->let = MAX(r->let, n->limited.at);
		charge(n, r, due[--depth], now);
		place(n, now);
	}
	if (unlikely(r->left > 0)) {
		r->bytes = r->left;
		r->cost = left_cost;
	}
	return r;
}

bool mclock_pass(struct mclock_client *client, struct mclock_request *r)
{
	uint64_t now = r->arrived;

	r->by_reservation = client->node.reserved.step && client->node.reserved.at <= now;

	for (struct mclock_node *n = &client->node; n->parent; n = &n->parent->node)
		if (n->limited.step && n->limited.at > now)
			return false;
	for (struct mclock_node *n = &client->node; n->parent; n = &n->parent->node) {
		bool due = n->reserved.at <= now;

		wake(n, now);
		bound_lag(n, now);
		move_on(n->parent, n->turn);
		n->turn += turns_of(n, r);
		n->served_at = now;
		charge_tags(n, r, due, now);
	}
	r->client = client;
	r->let = ANY_TIME;
	return true;
}

/* ---- checks ---- */

static bool node_is_right(const struct mclock_node *n, uint64_t *waiting)
{
	struct mclock_node *m = (struct mclock_node *)n;

	*waiting += waiting_in(m);
	return waiting_in(m) && leftist_queued(&n->by_reservation) == (due_at(m) != MCLOCK_NEVER) &&
	       (!leftist_queued(&n->by_reservation) || n->by_reservation.key == due_at(m)) &&
	       (n->ready ? n->by_turn.key == n->turn : n->by_turn.key == let_at(m)) &&
	       (!n->is_pool || mclock_check(as_pool(m)));
}

static bool tree_is_right(const struct leftist *t, bool ready, uint64_t *waiting)
{
	for (struct leftist_node *n = t->top; n; n = leftist_next(n))
		if (by_turn(n)->ready != ready || !node_is_right(by_turn(n), waiting))
			return false;
	return leftist_check(t);
}

bool mclock_check(const struct mclock_pool *p)
{
	uint64_t waiting = 0;

	return tree_is_right(&p->ready, true, &waiting) && tree_is_right(&p->limited, false, &waiting) &&
	       leftist_check(&p->reserved) && waiting == p->waiting;
}
