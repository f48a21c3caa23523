/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A domain: its worker, its users, and its copy of the tree of pools.
 *
 * The worker is asked by a word that takes no lock, like a VM's (guest/vm_io.c):
 * alarms and interrupts set it and wake the entity, and a wake that meets the last look
 * of a turn makes another one. An alarm's handler runs under a lock that comes after
 * the scheduler's, so it can do no more than that.
 *
 * A pool is copied into the tree when the first client below it comes, and goes with the
 * last. The copies do not follow changes one by one: what they should be is compared
 * with what they are, and where a pool has another place than its copy all clients are put in
 * anew, for that is seldom.
 */
#include <string.h>

#include "guest/storage_internal.h"
#include "lib/assert.h"
#include "lib/format.h"

#define REQUEST_BYTES (256u << 10) /* as much again as a small request costs on a disk: docs/io-scheduling.md */
#define LOOK_NS 100000ull          /* how often disks without interrupts are looked at, while something is under way; */
#define WATCH_NS 10000000ull       /* and the others, for what ends by a time-out */

_Static_assert((unsigned)VM_DISK_IOPS == MCLOCK_REQUESTS && (unsigned)VM_DISK_BYTES == MCLOCK_BYTES, "one meaning");
_Static_assert(POOL_DEPTH_MAX + 1 <= MCLOCK_DEPTH_MAX, "each pool has its place in the tree");

static const struct rls unlimited = {.limit = RLS_UNLIMITED, .shares = RLS_SHARES_DEFAULT};

static const struct host_ops *host_of(const struct storage_domain *d) { return d->storage->machine->host; }

/* ---- the worker ---- */

void storage_domain_ask(struct storage_domain *d)
{
	if (__atomic_exchange_n(&d->asked, 1, __ATOMIC_SEQ_CST))
		return; /* who set it has woken it */
	sched_wake(d->storage->machine->sched, &d->entity, host_of(d)->clock->ticks());
}

void storage_interrupt(struct storage_domain *d) { storage_domain_ask(d); }

/* Under the lock of the CPU's timers. */
static void alarm_rings(struct timer *t, uint64_t now)
{
	struct storage_domain *d = container_of(container_of(t, struct host_alarm, timer), struct storage_domain, alarm);

	(void)now;
	storage_domain_ask(d);
}

/* The lock of sched is held. An alarm that is not wanted any more costs a look; taking it back would cost more. */
static void wake_at(void *ctx, uint64_t at)
{
	struct storage_domain *d = ctx;

	if (at == TIMERQ_NEVER)
		return;
	if (at <= host_of(d)->clock->ticks())
		storage_domain_ask(d);
	else
		host_alarm_set(host_of(d), &d->alarm, at);
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

static enum sched_end turn(struct sched_entity *e, uint64_t slice_end)
{
	struct storage_domain *d = container_of(e, struct storage_domain, entity);
	const struct host_ops *host = host_of(d);
	const struct host_cpu *cpu = host->this_cpu();

	d->turns++;
	for (;;) {
		bool more;

		/* Before the step: what is asked meanwhile is another one. */
		__atomic_store_n(&d->asked, 0, __ATOMIC_SEQ_CST);
		more = storage_domain_step(d);
		host->poll();
		if (!more && !__atomic_load_n(&d->asked, __ATOMIC_SEQ_CST))
			return SCHED_END_BLOCKED;
		if (cpu->need_resched || host->clock->ticks() >= slice_end)
			break;
	}
	/* It goes on by itself; who asks need not wake it. */
	__atomic_store_n(&d->asked, 1, __ATOMIC_SEQ_CST);
	return SCHED_END_READY;
}

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

/* ---- life ---- */

static enum status start_worker(struct storage_domain *d, struct error *err)
{
	struct machine *m = d->storage->machine;
	struct pool *system = pool_by_id(m, POOL_OWN_SYSTEM);
	unsigned long masked = storage_mask(d->storage);
	char name[SCHED_NAME_MAX];
	enum status st;

	format(name, sizeof name, "disk/%.24s", d->name);
	d->entity.run = turn;
	st = sched_add(m->sched, &d->entity, system ? system->cpu : NULL, name, NULL, m->host->clock->ticks(), err);
	storage_unmask(d->storage, masked);
	return st;
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
	list_init(&d->clients);
	timer_init(&d->look, look_again);
	host_alarm_init(&d->alarm, alarm_rings);
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

static void stop_worker(struct storage_domain *d)
{
	unsigned long masked = storage_mask(d->storage);

	host_alarm_cancel(host_of(d), &d->alarm);
	while (!sched_remove(d->storage->machine->sched, &d->entity)) {
		storage_unmask(d->storage, masked);
		__builtin_ia32_pause();
		masked = storage_mask(d->storage);
	}
	/* A turn that was under way may have set it again. */
	host_alarm_cancel(host_of(d), &d->alarm);
	storage_unmask(d->storage, masked);
}

void storage_domain_destroy(struct storage_domain *d)
{
	struct storage *s = d->storage;

	ASSERT(d->volumes == 0 && list_empty(&d->clients));
	stop_worker(d);
	for (unsigned i = 0; i < STORAGE_DOMAINS_MAX; i++)
		if (s->domains[i] == d)
			s->domains[i] = NULL;
	storage_give(s, d, sizeof *d);
}

/* ---- the copy of the tree: all masked ---- */

static struct storage_pool_copy *copy_of(struct storage_domain *d, unsigned id)
{
	return id == POOL_OWN_ROOT ? NULL : &d->copies[id - 1];
}

/* Where a user of pool @p stands: NULL is the tree's root. Counts him. */
static struct mclock_pool *enter_pool(struct storage_domain *d, const struct pool *p)
{
	struct storage_pool_copy *copy = copy_of(d, p->id);

	if (!copy)
		return NULL;
	if (copy->users++ == 0) {
		const struct pool *parent = pool_parent(p);
		struct mclock_pool *above = parent ? enter_pool(d, parent) : NULL;

		copy->parent = parent ? parent->id : POOL_OWN_ROOT;
		copy->unit = p->config.io.unit;
		copy->numbers = p->config.io.numbers;
		iosched_pool_begin(&d->sched, &copy->node, above, (enum mclock_unit)copy->unit, &copy->numbers);
	}
	return &copy->node;
}

static void leave_pool(struct storage_domain *d, unsigned id)
{
	for (struct storage_pool_copy *copy = copy_of(d, id); copy && --copy->users == 0; copy = copy_of(d, copy->parent))
		iosched_pool_end(&d->sched, &copy->node);
}

static void place(struct storage_client *c, const struct pool *p)
{
	unsigned before = c->pool;

	iosched_client_move(&c->io, enter_pool(c->domain, p));
	c->pool = p->id;
	leave_pool(c->domain, before);
}

static void to_root(struct storage_client *c)
{
	unsigned before = c->pool;

	if (before == POOL_OWN_ROOT)
		return;
	iosched_client_move(&c->io, NULL);
	c->pool = POOL_OWN_ROOT;
	leave_pool(c->domain, before);
}

static bool same(const struct rls *a, const struct rls *b)
{
	return a->reservation == b->reservation && a->limit == b->limit && a->shares == b->shares;
}

/* False: some copy is of a pool that is gone, or is elsewhere now. */
static bool follow_pools(struct storage_domain *d)
{
	for (unsigned id = 1; id <= POOL_IDS; id++) {
		struct storage_pool_copy *copy = copy_of(d, id);
		const struct pool *p, *parent;

		if (!copy || copy->users == 0)
			continue;
		p = pool_by_id(d->storage->machine, id);
		parent = p ? pool_parent(p) : NULL;
		if (!parent || parent->id != copy->parent)
			return false;
		if (copy->unit == p->config.io.unit && same(&copy->numbers, &p->config.io.numbers))
			continue;
		copy->unit = p->config.io.unit;
		copy->numbers = p->config.io.numbers;
		iosched_pool_set(&d->sched, &copy->node, (enum mclock_unit)copy->unit, &copy->numbers);
	}
	return true;
}

static void follow_client(struct storage_client *c)
{
	struct machine *m = c->domain->storage->machine;
	const struct vm_disk *disk = &c->vm->config.disks[c->disk];
	const struct pool *p = c->vm->config.pool[0] ? pool_find(m, c->vm->config.pool) : pool_by_id(m, POOL_OWN_ROOT);

	if (p && p->id != c->pool)
		place(c, p);
	if (c->unit == disk->unit && same(&c->numbers, &disk->numbers))
		return;
	c->unit = disk->unit;
	c->numbers = disk->numbers;
	iosched_client_set(&c->io, (enum mclock_unit)c->unit, &c->numbers);
}

/* Nothing goes to the device before they are where they belong: at the root nothing limits them. */
static void all_to_root(struct storage_domain *d)
{
	iosched_hold(&d->sched);
	list_for_each(it, &d->clients)
		to_root(list_entry(it, struct storage_client, in_domain));
}

void storage_domain_follow(struct storage_domain *d)
{
	unsigned long masked = storage_mask(d->storage);
	bool right = follow_pools(d);

	if (!right)
		all_to_root(d);
	storage_unmask(d->storage, masked);
	list_for_each(it, &d->clients) {
		struct storage_client *c = list_entry(it, struct storage_client, in_domain);

		masked = storage_mask(d->storage);
		if (c->vm)
			follow_client(c);
		storage_unmask(d->storage, masked);
	}
	masked = storage_mask(d->storage);
	if (!right)
		iosched_let_go(&d->sched);
	storage_unmask(d->storage, masked);
}

/* ---- clients ---- */

static void begin(struct storage_client *c, unsigned slots)
{
	unsigned long masked = storage_mask(c->domain->storage);

	c->pool = POOL_OWN_ROOT;
	c->unit = VM_DISK_IOPS;
	c->numbers = unlimited;
	iosched_client_begin(&c->io, &c->domain->sched, NULL, c->volume->volume.device, MCLOCK_REQUESTS, &unlimited,
			     c->slots, slots);
	list_push_back(&c->domain->clients, &c->in_domain);
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
	to_root(c);
	iosched_client_end(&c->io);
	list_remove(&c->in_domain);
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
	follow_client(c);
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
