/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk between CPUs: two vcpus that kick and reset a queue each, a disk that
 * ends requests in any order (now and then from within the submission of
 * another), a memory side that brings pages in, and the I/O worker. Each request is
 * answered once, with its data whole, and ThreadSanitizer sees what is not ordered.
 */
#include "tests/cmocka_all.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "io/virtio_blk.h"
#include "lib/bits.h"
#include "tests/tsan/threads.h"

#define QUEUES 2u
#define SIZE 32u
#define SLOTS 10u /* chains of three */
#define REQUESTS 3000u
#define SECTORS 1024u
#define RAM_BYTES 0x40000u
#define RING_AT(i) (0x1000u + 0x1000u * (i))
#define SLOT_AT(q, s) (0x10000u + 0x10000u * (q) + 0x1000u * (s)) /* header, status, 512 bytes at 0x800 */

struct rig {
	struct virtio_blk *blk;
	struct virtio_device *device;
	struct lock disk_lock, mem_lock;
	struct list held, parked;
	bool asked;       /* the worker is to come; atomic */
	unsigned running; /* drivers that are not done; atomic */
	uint8_t disk[SECTORS * 512];
};

static _Alignas(4096) uint8_t ram[RAM_BYTES];
static struct rig rig;

/* ---- memory ---- */

static enum pin_result pin(void *ctx, struct guest_pin *p)
{
	(void)ctx;
	if (p->at.v >= RAM_BYTES)
		return PIN_FAIL;
	if (random_below(&thread_self()->random, 8) == 0) {
		lock_acquire(&rig.mem_lock);
		list_push_back(&rig.parked, &p->link);
		lock_release(&rig.mem_lock);
		return PIN_LATER;
	}
	p->va = ram + p->at.v;
	p->got = (uint32_t)MIN(p->bytes, PAGE_SIZE - (p->at.v & PAGE_MASK));
	return PIN_NOW;
}

static void unpin(void *ctx, const struct guest_pin *p) { (void)ctx, (void)p; }

static bool on_list(const struct list *head, const struct list *node)
{
	list_for_each(it, head)
		if (it == node)
			return true;
	return false;
}

static bool cancel_pin(void *ctx, struct guest_pin *p)
{
	bool there;

	(void)ctx;
	lock_acquire(&rig.mem_lock);
	there = on_list(&rig.parked, &p->link);
	if (there)
		list_remove(&p->link);
	lock_release(&rig.mem_lock);
	return there;
}

static const struct guest_mem_ops mem_ops = {pin, unpin, cancel_pin};

static bool answer_one(void)
{
	struct guest_pin *p = NULL;

	lock_acquire(&rig.mem_lock);
	if (!list_empty(&rig.parked)) {
		p = list_entry(rig.parked.next, struct guest_pin, link);
		list_remove(&p->link);
	}
	lock_release(&rig.mem_lock);
	if (p)
		p->ready(p);
	return p != NULL;
}

/* ---- the disk ---- */

static struct block_request *take_held(void)
{
	struct block_request *r = NULL;

	lock_acquire(&rig.disk_lock);
	if (!list_empty(&rig.held)) {
		struct list *at = random_below(&thread_self()->random, 2) ? rig.held.next : rig.held.prev;

		r = list_entry(at, struct block_request, link);
		list_remove(at);
	}
	lock_release(&rig.disk_lock);
	return r;
}

static bool end_one(void)
{
	struct block_request *r = take_held();
	uint8_t *at;

	if (!r)
		return false;
	at = rig.disk + 512 * r->lba;
	for (unsigned i = 0; i < r->segment_count; i++) {
		if (r->op == BLOCK_READ)
			memcpy(r->segments[i].data, at, r->segments[i].bytes);
		else
			memcpy(at, r->segments[i].data, r->segments[i].bytes);
		at += r->segments[i].bytes;
	}
	r->status = ST_OK;
	r->complete(r);
	return true;
}

static bool submit(void *ctx, struct block_request *r)
{
	(void)ctx;
	lock_acquire(&rig.disk_lock);
	list_push_back(&rig.held, &r->link);
	lock_release(&rig.disk_lock);
	if (random_below(&thread_self()->random, 4) == 0)
		end_one(); /* maybe this very one: it is not done on return, but told */
	return false;
}

static bool cancel(void *ctx, struct block_request *r)
{
	bool there;

	(void)ctx;
	lock_acquire(&rig.disk_lock);
	there = on_list(&rig.held, &r->link);
	if (there)
		list_remove(&r->link);
	lock_release(&rig.disk_lock);
	return there;
}

static const struct virtio_blk_backend_ops backend = {.submit = submit, .cancel = cancel};

/* ---- the transport ---- */

static void on_interrupt(void *ctx, uint16_t vector) { (void)ctx, (void)vector; }
static void on_defer(void *ctx)
{
	(void)ctx;
	__atomic_store_n(&rig.asked, true, __ATOMIC_RELEASE);
}
static const struct virtio_transport_ops transport = {.interrupt = on_interrupt, .defer = on_defer};

static bool work(void)
{
	bool more;

	if (!__atomic_exchange_n(&rig.asked, false, __ATOMIC_ACQUIRE))
		return false;
	lock_acquire(&rig.device->lock);
	more = virtio_work(rig.device, VIRTIO_INLINE_BUDGET);
	lock_release(&rig.device->lock);
	if (more)
		on_defer(NULL);
	return true;
}

/* ---- a driver of one queue ---- */

struct guest {
	unsigned queue;
	uint16_t offered, seen;
	unsigned ended, flying;
	bool busy[SLOTS], writes[SLOTS];
	uint8_t fill[SLOTS];
};

static uint16_t *word(uint32_t at) { return (uint16_t *)(ram + at); }
static uint32_t avail_at(const struct guest *g) { return RING_AT(g->queue) + 16 * SIZE; }
static uint32_t used_at(const struct guest *g) { return RING_AT(g->queue) + 0x800; }

static void start_queue(struct guest *g)
{
	struct virtio_queue *q = virtio_queue(rig.device, g->queue);

	g->offered = g->seen = 0;
	g->flying = 0;
	memset(g->busy, 0, sizeof g->busy);
	memset(ram + RING_AT(g->queue), 0, 0x1000);
	lock_acquire(&rig.device->lock);
	virtio_queue_set_size(q, SIZE);
	virtio_queue_set_address(q, VIRTQ_DESC, 0, RING_AT(g->queue));
	virtio_queue_set_address(q, VIRTQ_AVAIL, 0, avail_at(g));
	virtio_queue_set_address(q, VIRTQ_USED, 0, used_at(g));
	virtio_queue_enable(q);
	lock_release(&rig.device->lock);
}

static void desc(struct guest *g, unsigned i, uint32_t at, uint32_t bytes, uint16_t flags)
{
	uint8_t *d = ram + RING_AT(g->queue) + 16 * i;

	put_le64(d, at);
	put_le32(d + 8, bytes);
	put_le16(d + 12, flags);
	put_le16(d + 14, (uint16_t)(i + 1));
}

/* Each slot has a sector of its own. */
static uint64_t sector_of(const struct guest *g, unsigned slot) { return SLOTS * g->queue + slot; }

static void send(struct guest *g, struct thread *t, unsigned slot)
{
	uint32_t at = SLOT_AT(g->queue, slot);

	g->writes[slot] = random_below(&t->random, 2);
	if (g->writes[slot])
		memset(ram + at + 0x800, ++g->fill[slot], 512);
	put_le32(ram + at, g->writes[slot] ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN);
	put_le64(ram + at + 8, sector_of(g, slot));
	desc(g, 3 * slot, at, 16, VIRTQ_DESC_F_NEXT);
	desc(g, 3 * slot + 1, at + 0x800, 512, VIRTQ_DESC_F_NEXT | (g->writes[slot] ? 0 : VIRTQ_DESC_F_WRITE));
	desc(g, 3 * slot + 2, at + 0x20, 1, VIRTQ_DESC_F_WRITE);
	g->busy[slot] = true;
	g->flying++;
	__atomic_store_n(word(avail_at(g) + 4 + 2 * (g->offered % SIZE)), (uint16_t)(3 * slot), __ATOMIC_RELAXED);
	__atomic_store_n(word(avail_at(g) + 2), ++g->offered, __ATOMIC_RELEASE);
	lock_acquire(&rig.device->lock);
	virtio_kick(rig.device, g->queue);
	lock_release(&rig.device->lock);
}

static void collect(struct guest *g)
{
	while (__atomic_load_n(word(used_at(g) + 2), __ATOMIC_ACQUIRE) != g->seen) {
		unsigned slot = get_le32(ram + used_at(g) + 4 + 8 * (g->seen++ % SIZE)) / 3;
		const uint8_t *at = ram + SLOT_AT(g->queue, slot);

		assert_true(g->busy[slot]);
		assert_int_equal(at[0x20], VIRTIO_BLK_S_OK);
		for (unsigned i = 1; i < 512; i++)
			assert_int_equal(at[0x800 + i], at[0x800]);
		if (!g->writes[slot])
			assert_int_equal(at[0x800], g->fill[slot]);
		g->busy[slot] = false;
		g->flying--;
		g->ended++;
	}
}

static void reset_queue(struct guest *g)
{
	struct virtio_queue *q = virtio_queue(rig.device, g->queue);
	bool done = false;

	lock_acquire(&rig.device->lock);
	virtio_queue_reset(q);
	lock_release(&rig.device->lock);
	while (!done) {
		lock_acquire(&rig.device->lock);
		done = !virtio_queue_resetting(q);
		lock_release(&rig.device->lock);
		sched_yield();
	}
	/* A write that was dropped may have been done or not: from here on it has. */
	for (unsigned slot = 0; slot < SLOTS; slot++)
		memset(rig.disk + 512 * sector_of(g, slot), g->fill[slot], 512);
	start_queue(g);
}

static void drive(struct thread *t)
{
	struct guest g = {.queue = t->cpu};

	start_queue(&g);
	while (g.ended < REQUESTS) {
		unsigned slot = (unsigned)random_below(&t->random, SLOTS);

		if (!g.busy[slot])
			send(&g, t, slot);
		collect(&g);
		if (random_below(&t->random, 400) == 0)
			reset_queue(&g);
		if (g.flying == SLOTS)
			sched_yield();
	}
	while (g.flying != 0) {
		collect(&g);
		sched_yield();
	}
	__atomic_fetch_sub(&rig.running, 1, __ATOMIC_RELEASE);
}

static void a_cpu(struct thread *t)
{
	if (t->cpu < QUEUES) {
		drive(t);
		return;
	}
	while (__atomic_load_n(&rig.running, __ATOMIC_ACQUIRE) != 0) {
		bool moved = t->cpu == QUEUES ? end_one() : answer_one() | work();

		if (!moved)
			sched_yield();
	}
}

static void many_cpus_at_one_device(void **state)
{
	static struct block_device disk = {.name = "disk", .sector_bytes = 512, .max_count = 128, .sectors = SECTORS};
	struct virtio_blk_config cfg = {.mem = {&mem_ops, NULL}, .backend = &backend, .disk = &disk, .queues = QUEUES,
					.requests = 12, .large = 1};
	void *memory = aligned_alloc(64, virtio_blk_bytes(&cfg));
	struct virtio_device *d;

	(void)state;
	assert_int_equal(virtio_blk_init(memory, &cfg, &rig.blk, NULL), ST_OK);
	d = rig.device = virtio_blk_device(rig.blk);
	d->transport = &transport;
	lock_init(&rig.disk_lock, LOCK_IO);
	lock_init(&rig.mem_lock, LOCK_STAGE2);
	list_init(&rig.held);
	list_init(&rig.parked);
	rig.running = QUEUES;
	lock_acquire(&d->lock);
	virtio_accept(d, 0, virtio_features(d, 0));
	virtio_accept(d, 1, virtio_features(d, 1));
	virtio_set_status(d, VIRTIO_STATUS_FEATURES_OK);
	virtio_set_status(d, VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
	lock_release(&d->lock);
	threads_run(QUEUES + 2, 1, true, a_cpu, NULL);
	free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(many_cpus_at_one_device)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
