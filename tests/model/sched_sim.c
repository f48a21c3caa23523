/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events are timers: one for each CPU (its turn ends, or a kick arrives) and one
 * for each entity (work arrives). The observer accounts a turn when it ends,
 * and all open turns when somebody asks or a limit window begins.
 */
#include "tests/model/sched_sim.h"

#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"

#define SHORTEST_TURN 20u /* entry and exit take some ticks */

static void must(bool holds, const struct sim *m, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "at %llu, after %llu decisions: %s\n", (unsigned long long)m->now,
		(unsigned long long)m->decisions, what);
	abort();
}

/* ---- the observer ---- */

static void account_cpu(struct sim_cpu *c)
{
	struct sim_entity *x = c->running;
	uint64_t ran = c->sim->now - c->from;

	c->from = c->sim->now;
	if (!x) {
		c->idle += ran;
		return;
	}
	c->busy += ran;
	x->used += ran;
	x->e.progress += x->stalled ? 0 : ran;
	if (x->piece != UINT64_MAX)
		x->piece -= MIN(x->piece, ran);
	if (x->work != UINT64_MAX)
		x->work -= MIN(x->work, ran);
	for (struct sim_pool *p = x->pool; p; p = p->parent)
		p->used += ran;
}

void sim_account(struct sim *m)
{
	for (unsigned i = 0; i < m->cfg.cpus; i++)
		account_cpu(&m->cpu[i]);
}

static void close_window(struct sim *m, struct sim_pool *p)
{
	uint64_t used = p->used - p->window_used, most = 0;

	if (p->in_use && p->window_whole && p->numbers.limit != SCHED_NO_LIMIT) {
		most = p->numbers.limit * m->cfg.limit_window / SCHED_ONE_CPU;
		if (used > most && used - most > p->worst_over)
			p->worst_over = used - most;
	}
	p->window_used = p->used;
	p->window_whole = m->now - p->changed_at > m->cfg.slice; /* a turn that began before the change may end in it */
}

static void begin_window(struct sim *m)
{
	sim_account(m);
	for (unsigned i = 0; i < m->pools; i++)
		close_window(m, &m->pool[i]);
	m->window_at += m->cfg.limit_window;
}

/* ---- a CPU's loop ---- */

static void rearm(struct sim_cpu *c)
{
	uint64_t at = MIN(c->look_at, c->kick_at);

	if (c->running && c->running->work != UINT64_MAX)
		at = MIN(at, c->from + MAX(c->running->work, 1ull));
	if (c->running && c->running->code && c->running->piece != UINT64_MAX)
		at = MIN(at, c->from + MAX(c->running->piece, 1ull));
	timerq_set(&c->sim->events, &c->event, at);
}

static void kick(void *ctx, unsigned cpu)
{
	struct sim *m = ctx;
	struct sim_cpu *c = &m->cpu[cpu];

	must(cpu < m->cfg.cpus, m, "a CPU that is not there is kicked");
	m->kicks++;
	c->kick_at = MIN(c->kick_at, m->now + 1 + random_below(&m->random, m->kick_latency));
	if (m->acting != (int)cpu)
		rearm(c);
}

static void put(struct sched_entity *e)
{
	struct sim_entity *x = container_of(e, struct sim_entity, e);

	must(x->held >= 0 && x->held == x->sim->acting, x->sim, "an entity is put by a CPU that does not hold it");
	x->sim->cpu[x->held].holds = NULL;
	x->held = -1;
}

static void put_away(struct sim_cpu *c)
{
	struct sim *m = c->sim;
	struct sim_entity *x = c->holds;

	x->e.put(&x->e);
	sched_release(m->s, (unsigned)(c - m->cpu), &x->e);
}

static void sleep_or_wait(struct sim_entity *x)
{
	struct sim *m = x->sim;

	x->blocked = true;
	if (x->kind == SIM_BURSTY)
		timerq_set(&m->events, &x->arrival, m->now + 1 + random_below(&m->random, 2 * x->period));
}

static void end_turn(struct sim_cpu *c)
{
	struct sim *m = c->sim;
	struct sim_entity *x = c->running;
	bool blocks = x->work == 0;

	c->running = NULL;
	x->on = -1;
	x->charged = x->used;
	x->ready_at = m->now;
	if (blocks)
		sleep_or_wait(x);
	sched_charge(m->s, (unsigned)(c - m->cpu), m->now, blocks ? SCHED_END_BLOCKED : SCHED_END_READY);
}

static void begin_turn(struct sim_cpu *c, struct sim_entity *x)
{
	struct sim *m = c->sim;
	int self = (int)(c - m->cpu);

	must(x->added && x->on < 0, m, "an entity that cannot run is picked");
	must(!x->blocked, m, "a blocked entity is picked");
	must(x->held < 0 || x->held == self, m, "an entity is picked that another CPU holds");
	if (c->holds && c->holds != x)
		put_away(c);
	c->holds = c->running = x;
	x->held = x->on = self;
	if (x->woken_at)
		x->worst_wake = MAX(x->worst_wake, m->now - x->woken_at);
	x->woken_at = 0;
}

/* True when only the entity's own code has something to do, and goes on. */
static bool code_goes_on(struct sim_cpu *c)
{
	struct sim_entity *x = c->running;

	if (!x || !x->code || x->piece)
		return false;
	return x->code(x) && x->work && MIN(c->look_at, c->kick_at) > c->sim->now;
}

static void cpu_event(struct timer *t, uint64_t now)
{
	struct sim_cpu *c = container_of(t, struct sim_cpu, event);
	struct sim *m = c->sim;
	unsigned self = (unsigned)(c - m->cpu);
	struct sched_entity *e;
	uint64_t end = 0;

	(void)now;
	m->acting = (int)self;
	account_cpu(c);
	if (code_goes_on(c)) {
		rearm(c);
		m->acting = -1;
		return;
	}
	if (c->kick_at <= m->now)
		c->kick_at = UINT64_MAX;
	if (c->running)
		end_turn(c);
	c->turn_from = m->now;
	e = sched_pick(m->s, self, m->now, &end);
	m->decisions++;
	must(end > m->now, m, "a turn ends before it begins");
	if (e) {
		begin_turn(c, container_of(e, struct sim_entity, e));
		c->look_at = MAX(end, m->now + SHORTEST_TURN) + random_below(&m->random, m->overrun + 1);
		c->idle_since = UINT64_MAX;
	} else {
		if (c->holds && c->holds->e.release_due)
			put_away(c);
		c->look_at = end == UINT64_MAX ? end : MAX(end, m->now + SHORTEST_TURN);
		c->idle_since = MIN(c->idle_since, m->now);
	}
	rearm(c);
	m->acting = -1;
}

/* ---- what entities want ---- */

static void wake(struct sim_entity *x)
{
	struct sim *m = x->sim;

	x->wakes++;
	if (x->blocked)
		x->woken_at = x->ready_at = m->now;
	x->blocked = false;
	sched_wake(m->s, &x->e, m->now);
}

static void give_work(struct sim_entity *x, uint64_t work)
{
	struct sim *m = x->sim;

	if (x->on >= 0)
		account_cpu(&m->cpu[x->on]);
	x->work = work == UINT64_MAX ? work : x->work + work;
	if (x->on >= 0)
		rearm(&m->cpu[x->on]);
	if (x->blocked)
		wake(x);
}

static void arrival(struct timer *t, uint64_t now)
{
	struct sim_entity *x = container_of(t, struct sim_entity, arrival);
	struct sim *m = x->sim;

	(void)now;
	if (x->kind == SIM_BURSTY) {
		give_work(x, 1 + random_below(&m->random, 2 * x->burst));
		return;
	}
	give_work(x, x->burst);
	timerq_set(&m->events, t, m->now + x->period);
}

void sim_poke(struct sim_entity *x, uint64_t burst)
{
	give_work(x, burst);
}

void sim_want(struct sim_entity *x, enum sim_kind kind, uint64_t period, uint64_t burst)
{
	struct sim *m = x->sim;

	x->kind = kind;
	x->period = period;
	x->burst = burst;
	timerq_cancel(&m->events, &x->arrival);
	if (x->on >= 0)
		account_cpu(&m->cpu[x->on]);
	x->work = 0;
	if (kind == SIM_BURNER)
		give_work(x, UINT64_MAX);
	else if (kind == SIM_PERIODIC)
		timerq_set(&m->events, &x->arrival, m->now + 1 + random_below(&m->random, period));
	else if (kind == SIM_BURSTY)
		give_work(x, 1 + random_below(&m->random, 2 * burst));
	if (x->on >= 0)
		rearm(&m->cpu[x->on]);
}

void sim_set_piece(struct sim_entity *x, uint64_t ticks)
{
	struct sim *m = x->sim;

	if (x->on >= 0)
		account_cpu(&m->cpu[x->on]);
	x->piece = ticks;
	if (x->on >= 0)
		rearm(&m->cpu[x->on]);
}

bool sim_settled(const struct sim *m)
{
	for (unsigned i = 0; i < m->entities; i++) {
		if (m->entity[i].added && m->entity[i].kind == SIM_IDLE && !m->entity[i].blocked)
			return false;
	}
	return true;
}

/* ---- pools and entities ---- */

struct sim_pool *sim_pool(struct sim *m, struct sim_pool *parent, uint64_t reservation, uint64_t limit, uint32_t shares)
{
	struct sim_pool *p = &m->pool[m->pools];
	struct error err;

	must(m->pools < SIM_POOLS, m, "too many pools");
	*p = (struct sim_pool){.parent = parent, .numbers = {reservation, limit, shares}, .in_use = true};
	if (sched_pool_add(m->s, &p->p, parent ? &parent->p : NULL, "pool", &p->numbers, &err) != ST_OK)
		return NULL;
	m->pools++;
	return p;
}

bool sim_pool_set(struct sim *m, struct sim_pool *p, const struct rls *numbers)
{
	struct error err;

	if (sched_pool_set(m->s, &p->p, numbers, &err) != ST_OK)
		return false;
	p->numbers = *numbers;
	p->window_whole = false;
	p->changed_at = m->now;
	for (unsigned i = 0; i < m->entities; i++) {
		if (m->entity[i].added)
			m->entity[i].ready_at = m->now; /* a limit may be gone */
	}
	return true;
}

struct sim_entity *sim_entity(struct sim *m, struct sim_pool *pool, const struct sched_attr *attr)
{
	struct sim_entity *x = NULL;
	struct error err;

	for (unsigned i = 0; i < SIM_ENTITIES && !x; i++)
		x = m->entity[i].added ? NULL : &m->entity[i];
	must(x != NULL, m, "too many entities");
	*x = (struct sim_entity){.sim = m, .pool = pool, .on = -1, .held = -1, .added_at = m->now, .blocked = true,
		.piece = UINT64_MAX};
	x->attr = attr ? *attr : (struct sched_attr){.latency = false};
	x->e.put = put;
	timer_init(&x->arrival, arrival);
	if (sched_add(m->s, &x->e, pool ? &pool->p : NULL, "entity", attr, m->now, &err) != ST_OK)
		return NULL;
	x->added = true;
	m->entities = MAX(m->entities, (unsigned)(x - m->entity) + 1);
	return x;
}

bool sim_set_attr(struct sim_entity *x, const struct sched_attr *attr)
{
	struct error err;

	if (sched_set_attr(x->sim->s, &x->e, attr, x->sim->now, &err) != ST_OK)
		return false;
	if (x->attr.exclusive)
		x->sim->exclusive_until = x->sim->now;
	x->attr = *attr;
	x->ready_at = x->sim->now;
	return true;
}

void sim_remove(struct sim_entity *x)
{
	struct sim *m = x->sim;

	must(x->added && x->on < 0, m, "a running entity is removed");
	timerq_cancel(&m->events, &x->arrival);
	for (unsigned tries = 0; !sched_remove(m->s, &x->e); tries++) {
		must(tries < 100, m, "a CPU does not let go of an entity that is to be removed");
		sim_run(m, m->kick_latency);
	}
	if (x->attr.exclusive)
		m->exclusive_until = m->now;
	x->added = false;
}

/* ---- time ---- */

void sim_start(struct sim *m, const struct sched_config *cfg, uint64_t seed)
{
	free(m->storage); /* of one that a failed test left */
	memset(m, 0, sizeof *m);
	m->cfg = *cfg;
	m->cfg.slice = cfg->slice ? cfg->slice : SIM_SLICE;
	m->cfg.tick = cfg->tick ? cfg->tick : SIM_TICK;
	m->cfg.limit_window = cfg->limit_window ? cfg->limit_window : SIM_WINDOW;
	m->cfg.entities_max = SIM_ENTITIES;
	m->cfg.kick = kick;
	m->cfg.ctx = m;
	m->random = random_seed(seed);
	m->overrun = m->cfg.slice / 250;
	m->kick_latency = m->cfg.tick / 100;
	m->now = m->cfg.limit_window * (1 + random_below(&m->random, 1000000));
	m->window_at = m->now + m->cfg.limit_window;
	m->acting = -1;
	timerq_init(&m->events, m->slots, SIM_CPUS + SIM_ENTITIES);
	m->storage = aligned_alloc(64, (sched_bytes(cfg->cpus, SIM_ENTITIES) + 63) / 64 * 64);
	m->s = sched_init(m->storage, &m->cfg);
	for (unsigned i = 0; i < cfg->cpus; i++) {
		struct sim_cpu *c = &m->cpu[i];

		*c = (struct sim_cpu){.sim = m, .from = m->now, .kick_at = UINT64_MAX, .idle_since = m->now};
		timer_init(&c->event, cpu_event);
		timerq_set(&m->events, &c->event, m->now);
	}
	sim_run(m, 1);
}

void sim_end(struct sim *m)
{
	free(m->storage);
	m->storage = NULL;
}

static void step(struct sim *m, uint64_t to)
{
	m->now = MIN(to, MIN(m->events.next, m->window_at));
	if (m->now == m->window_at)
		begin_window(m);
	if (m->events.next > m->now)
		return;
	timerq_run(&m->events, m->now);
	if (m->check_every && ++m->checked % m->check_every == 0)
		must(sched_check(m->s), m, "sched_check() fails");
}

void sim_run(struct sim *m, uint64_t ticks)
{
	uint64_t to = m->now + ticks;

	while (m->now < to)
		step(m, to);
	sim_account(m);
}

bool sim_run_until_settled(struct sim *m, uint64_t most)
{
	uint64_t to = m->now + most;

	while (!sim_settled(m) && m->now < to)
		step(m, to);
	sim_account(m);
	return sim_settled(m);
}

/* ---- idle beside work ---- */

static bool can_run_on(const struct sim_entity *x, unsigned cpu)
{
	if (!x->added || x->blocked || x->on >= 0 || x->attr.gang || (x->held >= 0 && x->held != (int)cpu))
		return false;
	for (const struct sim_pool *p = x->pool; p; p = p->parent) {
		if (p->numbers.limit != SCHED_NO_LIMIT)
			return false;
	}
	return cpuset_empty(&x->attr.affinity) || cpuset_has(&x->attr.affinity, cpu);
}

/* Which core an exclusive entity has is the scheduler's business: with one about, an idle CPU may be its. */
static bool has_exclusive(const struct sim *m)
{
	for (unsigned i = 0; i < m->entities; i++) {
		if (m->entity[i].added && m->entity[i].attr.exclusive)
			return true;
	}
	return false;
}

uint64_t sim_idle_beside_work(const struct sim *m)
{
	uint64_t longest = 0;

	for (unsigned cpu = 0; cpu < m->cfg.cpus; cpu++) {
		if (m->cpu[cpu].running || has_exclusive(m))
			continue;
		for (unsigned i = 0; i < m->entities; i++) {
			if (can_run_on(&m->entity[i], cpu))
				longest = MAX(longest, m->now - MAX(m->exclusive_until, MAX(m->entity[i].ready_at, m->cpu[cpu].idle_since)));
		}
	}
	return longest;
}

/* ---- sums ---- */

static bool differ(const struct sim *m, const char *what, unsigned i, uint64_t is, uint64_t observed)
{
	if (is == observed)
		return false;
	fprintf(stderr, "at %llu: %s %u is %llu, observed %llu\n", (unsigned long long)m->now, what, i,
		(unsigned long long)is, (unsigned long long)observed);
	return true;
}

/* Between what turns that have ended come to and what has run by now: figures may be as old as their CPU's last call. */
static bool between(const struct sim *m, const char *what, unsigned i, uint64_t least, uint64_t is, uint64_t most)
{
	return !(is < least && differ(m, what, i, is, least)) && !(is > most && differ(m, what, i, is, most));
}

static bool entity_agrees(struct sim *m, unsigned i)
{
	struct sim_entity *x = &m->entity[i];
	struct sched_figures f;

	sched_stats(m->s, &x->e, &f);
	return between(m, "use of entity", i, x->charged, f.used, x->on < 0 ? x->charged : x->used) &&
	       !differ(m, "wakes of entity", i, f.wakes, x->wakes) &&
	       between(m, "all the time of entity", i, 0, f.used + f.waited + f.blocked, m->now - x->added_at) &&
	       between(m, "time held back of entity", i, 0, f.limited + f.costopped, f.waited);
}

static bool cpu_agrees(struct sim *m, unsigned i)
{
	const struct sim_cpu *c = &m->cpu[i];
	uint64_t open = m->now - c->turn_from;
	struct sched_cpu_stats stats;

	sched_cpu_stats(m->s, i, &stats);
	return between(m, "busy of CPU", i, c->busy - (c->running ? open : 0), stats.busy, c->busy) &&
	       between(m, "idle of CPU", i, c->idle - (c->running ? 0 : open), stats.idle, c->idle);
}

bool sim_sums_agree(struct sim *m)
{
	struct sched_figures all;
	uint64_t busy = 0, open = 0;

	sim_account(m);
	for (unsigned i = 0; i < m->cfg.cpus; i++) {
		if (!cpu_agrees(m, i))
			return false;
		busy += m->cpu[i].busy;
		open += m->cpu[i].running ? m->now - m->cpu[i].turn_from : 0;
	}
	for (unsigned i = 0; i < m->entities; i++) {
		if (m->entity[i].added && !entity_agrees(m, i))
			return false;
	}
	sched_pool_stats(m->s, sched_root(m->s), &all);
	return between(m, "use of the root, of pools", m->pools, busy - open, all.used, busy);
}
