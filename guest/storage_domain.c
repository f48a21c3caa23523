/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A domain: what its worker (guest/worker.h) does, its users, and what its copy of the tree of pools
 * (guest/pool_copy.h) is made of.
 */
#include <string.h>

#include "guest/storage_internal.h"
#include "lib/assert.h"
#include "lib/format.h"

#define REQUEST_BYTES (256u << 10) /* as much again as a small request costs on a disk: docs/io-scheduling.md */
#define LOOK_NS 100000ull          /* how often disks without interrupts are looked at, while something is under way; */
#define WATCH_NS 10000000ull       /* and the others, for what ends by a time-out */

_Static_assert((unsigned)VM_DISK_IOPS == MCLOCK_REQUESTS && (unsigned)VM_DISK_BYTES == MCLOCK_BYTES, "one meaning");

static const struct pool_numbers unlimited = {MCLOCK_REQUESTS, {.limit = RLS_UNLIMITED, .shares = RLS_SHARES_DEFAULT}};

static const struct host_ops *host_of(const struct storage_domain *d) { return d->storage->machine->host; }

/* ---- the worker ---- */

void storage_domain_ask(struct storage_domain *d) { worker_ask(&d->worker); }
void storage_interrupt(struct storage_domain *d) { storage_domain_ask(d); }

/* The lock of sched is held. */
static void wake_at(void *ctx, uint64_t at)
{
	struct storage_domain *d = ctx;

	worker_ask_at(&d->worker, at);
}

static void look_again(struct timer *t, uint64_t now)
{
	(void)t, (void)now; /* the step that it is part of polls */
}

static bool poll_one(const struct storage_volume *v)
{
	struct block_device *device = v->volume.device;

	if (v->pool && v->pool->on == v)
		return layer_pool_poll(v->pool->pool);
	return device->ops->poll(device);
}

static bool is_active(const struct storage_domain *d)
{
	if (d->sched.at_device)
		return true;
	list_for_each(it, &d->polls) {
		const struct storage_volume *v = list_entry(it, struct storage_volume, poll);

		if (v->pool && v->pool->on == v && !layer_pool_is_idle(v->pool->pool))
			return true;
	}
	return false;
}

static void set_look(struct storage_domain *d)
{
	const struct clock *clock = host_of(d)->clock;
	uint64_t apart = ns_to_ticks(d->polled ? LOOK_NS : WATCH_NS, clock->hz);

	timerq_set(&d->sched.timers, &d->look, is_active(d) ? clock->ticks() + apart : TIMERQ_NEVER);
}

static bool poll_all(struct storage_domain *d)
{
	bool moved = false;

	list_for_each(it, &d->polls)
		moved |= poll_one(list_entry(it, struct storage_volume, poll));
	if (d->stays)
		set_look(d);
	return moved;
}

bool storage_domain_step(struct storage_domain *d)
{
	bool moved;

	iosched_run(&d->sched);
	iosched_enter(&d->sched);
	moved = poll_all(d);
	iosched_leave(&d->sched);
	return moved;
}

static bool step(struct worker *w) { return storage_domain_step(container_of(w, struct storage_domain, worker)); }

unsigned long storage_domain_enter(struct storage_domain *d)
{
	unsigned long state = storage_mask(d->storage);

	iosched_enter(&d->sched);
	return state;
}

void storage_domain_leave(struct storage_domain *d, unsigned long state)
{
	iosched_leave(&d->sched);
	storage_unmask(d->storage, state);
}

/* Disks tell by interrupts, or there is a timer for them; what is made of memory alone tells nobody. */
static bool needs_looks(const struct storage_domain *d)
{
	list_for_each(it, &d->polls)
		if (list_entry(it, struct storage_volume, poll)->volume.kind != VOLUME_DISK)
			return true;
	return d->polled;
}

void storage_domain_poll(struct storage_volume *v, bool poll)
{
	struct storage_domain *d = v->domain;
	unsigned long state = storage_domain_enter(d);

	list_remove(&v->poll);
	if (poll)
		list_push_back(&d->polls, &v->poll);
	__atomic_store_n(&d->looks, needs_looks(d), __ATOMIC_RELAXED);
	storage_domain_leave(d, state);
}

/* ---- the copy of the tree: all masked ---- */

static struct storage_domain *domain_of(struct pool_copies *c) { return container_of(c, struct storage_domain, pools); }

static void pool_numbers(const struct pool *p, struct pool_numbers *out)
{
	*out = (struct pool_numbers){(enum mclock_unit)p->config.io.unit, p->config.io.numbers};
}

static const struct vm *member_numbers(const struct pool_member *m, struct pool_numbers *out)
{
	const struct storage_client *c = container_of(m, struct storage_client, member);

	if (c->vm)
		*out = (struct pool_numbers){(enum mclock_unit)c->vm->config.disks[c->disk].unit,
					     c->vm->config.disks[c->disk].numbers};
	return c->vm;
}

static void begin_pool(struct pool_copies *c, struct mclock_pool *p, struct mclock_pool *above,
		       const struct pool_numbers *n)
{
	iosched_pool_begin(&domain_of(c)->sched, p, above, n->unit, &n->rls);
}

static void end_pool(struct pool_copies *c, struct mclock_pool *p) { iosched_pool_end(&domain_of(c)->sched, p); }

static void set_pool(struct pool_copies *c, struct mclock_pool *p, const struct pool_numbers *n)
{
	iosched_pool_set(&domain_of(c)->sched, p, n->unit, &n->rls);
}

static void move_member(struct pool_member *m, struct mclock_pool *to)
{
	iosched_client_move(&container_of(m, struct storage_client, member)->io, to);
}

static void set_member(struct pool_member *m, const struct pool_numbers *n)
{
	iosched_client_set(&container_of(m, struct storage_client, member)->io, n->unit, &n->rls);
}

static void hold(struct pool_copies *c) { iosched_hold(&domain_of(c)->sched); }
static void let_go(struct pool_copies *c) { iosched_let_go(&domain_of(c)->sched); }

static const struct pool_copies_ops pool_ops = {
	.pool_numbers = pool_numbers, .member_numbers = member_numbers, .begin = begin_pool, .end = end_pool,
	.set = set_pool, .member_move = move_member, .member_set = set_member, .hold = hold, .let_go = let_go,
};

void storage_domain_follow(struct storage_domain *d) { pool_copies_follow(&d->pools); }

/* ---- life ---- */

static enum status start_worker(struct storage_domain *d, struct error *err)
{
	char name[SCHED_NAME_MAX];

	format(name, sizeof name, "disk/%.24s", d->name);
	return worker_start(&d->worker, d->storage->machine, name, step, err);
}

static unsigned free_place(const struct storage *s)
{
	unsigned i = 0;

	while (i < STORAGE_DOMAINS_MAX && s->domains[i])
		i++;
	return i;
}

enum status storage_domain_create(struct storage *s, const char *name, struct storage_domain **out, struct error *err)
{
	unsigned place = free_place(s);
	struct storage_domain *d;
	enum status st;
	void *memory;

	if (place == STORAGE_DOMAINS_MAX)
		return fail(err, ST_OVER_LIMIT, "there are %u domains of storage already", STORAGE_DOMAINS_MAX);
	st = storage_take(s, sizeof *d, name, &memory, err);
	if (st != ST_OK)
		return st;
	d = memory;
	d->storage = s;
	format(d->name, sizeof d->name, "%s", name);
	list_init(&d->polls);
	pool_copies_init(&d->pools, s->machine, &pool_ops);
	timer_init(&d->look, look_again);
	iosched_init(&d->sched, &(struct iosched_config){.clock = s->machine->host->clock, .wake_at = wake_at, .ctx = d,
							 .request_bytes = REQUEST_BYTES});
	st = start_worker(d, err);
	if (st != ST_OK) {
		storage_give(s, d, sizeof *d);
		return st;
	}
	s->domains[place] = d;
	*out = d;
	return ST_OK;
}

enum status storage_add_domain(struct storage *s, const char *name, struct storage_domain **out, struct error *err)
{
	enum status st = storage_domain_create(s, name, out, err);

	if (st != ST_OK)
		return st;
	(*out)->stays = (*out)->polled = true;
	__atomic_store_n(&(*out)->looks, true, __ATOMIC_RELAXED);
	return ST_OK;
}

void storage_has_interrupts(struct storage_domain *d)
{
	unsigned long state = storage_domain_enter(d);

	d->polled = false;
	__atomic_store_n(&d->looks, needs_looks(d), __ATOMIC_RELAXED);
	storage_domain_leave(d, state);
}

void storage_domain_destroy(struct storage_domain *d)
{
	struct storage *s = d->storage;

	ASSERT(d->volumes == 0 && list_empty(&d->pools.members));
	worker_stop(&d->worker);
	for (unsigned i = 0; i < STORAGE_DOMAINS_MAX; i++)
		if (s->domains[i] == d)
			s->domains[i] = NULL;
	storage_give(s, d, sizeof *d);
}

/* ---- clients ---- */

static void begin(struct storage_client *c, unsigned slots)
{
	unsigned long masked = storage_mask(c->domain->storage);

	iosched_client_begin(&c->io, &c->domain->sched, NULL, c->volume->volume.device, unlimited.unit, &unlimited.rls,
			     c->slots, slots);
	pool_copies_add(&c->domain->pools, &c->member, &unlimited);
	storage_unmask(c->domain->storage, masked);
}

enum status storage_client_open(struct storage_volume *v, enum volume_mode mode, const char *who, unsigned slots,
				struct storage_client **out, struct error *err)
{
	uint64_t bytes = sizeof(struct storage_client) + slots * sizeof(struct iosched_slot);
	struct storage_client *c;
	enum status st;
	void *memory;

	st = storage_take(v->storage, bytes, v->volume.name, &memory, err);
	if (st != ST_OK)
		return st;
	c = memory;
	c->bytes = bytes;
	c->volume = v;
	c->domain = v->domain;
	format(c->who, sizeof c->who, "%s", who);
	st = volume_open(&v->volume, mode, c->who, &c->user, err);
	if (st != ST_OK) {
		storage_give(v->storage, c, bytes);
		return st;
	}
	c->shown = *v->volume.device;
	c->shown.read_only |= mode != VOLUME_WRITE && mode != VOLUME_SHARE;
	begin(c, slots);
	v->storage->totals.clients++;
	*out = c;
	return ST_OK;
}

void storage_client_close(struct storage_client *c)
{
	struct storage_volume *v = c->volume;
	struct storage *s = v->storage;
	unsigned long masked;

	storage_client_keep_figures(c);
	masked = storage_mask(s);
	pool_copies_remove(&c->domain->pools, &c->member);
	iosched_client_end(&c->io);
	storage_unmask(s, masked);
	volume_close(&c->user);
	s->totals.clients--;
	storage_give(s, c, c->bytes);
	storage_volume_unused(v);
}

void storage_client_serve(struct storage_client *c, struct vm *vm, unsigned index)
{
	unsigned long masked = storage_mask(c->domain->storage);

	c->disk = index;
	c->vm = vm;
	pool_copies_follow_one(&c->domain->pools, &c->member);
	storage_unmask(c->domain->storage, masked);
}

/* Where nobody looks on his own, or a disk has begun to be at work and nobody watches that it ends. */
static bool needs_worker(const struct storage_domain *d)
{
	return __atomic_load_n(&d->looks, __ATOMIC_RELAXED) ||
	       (d->stays && __atomic_load_n(&d->look.index, __ATOMIC_RELAXED) == 0);
}

bool storage_client_submit(struct storage_client *c, struct block_request *r)
{
	bool done = iosched_submit(&c->io, r);

	if (!done && needs_worker(c->domain))
		storage_domain_ask(c->domain);
	return done;
}
