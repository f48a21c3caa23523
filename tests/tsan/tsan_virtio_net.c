/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network devices between CPUs: each guest has a vcpu that sends, receives, and resets its queues, and a worker that
 * carries its frames into the other's device, while a memory side brings pages in and a clock lets patience end. Each
 * frame arrives at most once, whole and in order, and ThreadSanitizer sees what is not ordered.
 */
#include "tests/cmocka_all.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "io/virtio_net.h"
#include "lib/bits.h"
#include "tests/tsan/threads.h"

#define GUESTS 2u
#define SIZE 32u
#define FRAMES 3000u
#define BUFFER_BYTES 400u
#define FRAME_MAX 900u
#define RAM_BYTES 0x40000u
#define RING_AT(i) (0x1000u + 0x1000u * (i))
#define USED_AT(i) (RING_AT(i) + 0x800u)
#define AVAIL_AT(i) (RING_AT(i) + 16 * SIZE)
#define BUFFER_AT(i) (0x8000u + 0x400u * (i))
#define FRAME_AT(i) (0x20000u + 0x800u * (i))
#define RX 0u
#define TX 1u

struct guest {
	_Alignas(4096) uint8_t ram[RAM_BYTES];
	struct virtio_net *net;
	struct virtio_device *device;
	struct net_port port;
	struct lock mem_lock;
	struct list parked;
	bool asked;         /* the worker is to come; atomic */
	uint64_t wake_at;   /* atomic */
	/* The vcpu's alone. */
	uint16_t offered[2], seen[2];
	bool busy[SIZE];
	unsigned flying, sent, received;
	uint32_t last;      /* of the other's numbers */
};

static struct guest guests[GUESTS];
static struct net_switch sw;
static unsigned running; /* guests that still send; atomic */
static unsigned started; /* devices that are up; atomic */
static uint64_t ticks;   /* atomic */

static uint64_t now(void) { return __atomic_load_n(&ticks, __ATOMIC_RELAXED); }
static uint64_t env_now(void *ctx)
{
	(void)ctx;
	return now();
}
static void wake_at(void *ctx, struct net_port *p, uint64_t at)
{
	(void)ctx;
	__atomic_store_n(&container_of(p, struct guest, port)->wake_at, at, __ATOMIC_RELEASE);
}

/* ---- memory ---- */

static enum pin_result pin(void *ctx, struct guest_pin *p)
{
	struct guest *g = ctx;

	if (p->at.v >= RAM_BYTES)
		return PIN_FAIL;
	if (random_below(&thread_self()->random, 50) == 0) {
		lock_acquire(&g->mem_lock);
		list_push_back(&g->parked, &p->link);
		lock_release(&g->mem_lock);
		return PIN_LATER;
	}
	p->va = g->ram + p->at.v;
	p->got = (uint32_t)MIN(p->bytes, PAGE_SIZE - (p->at.v & PAGE_MASK));
	return PIN_NOW;
}

static void unpin(void *ctx, const struct guest_pin *p) { (void)ctx, (void)p; }

static bool cancel_pin(void *ctx, struct guest_pin *p)
{
	struct guest *g = ctx;
	bool there = false;

	lock_acquire(&g->mem_lock);
	list_for_each(it, &g->parked)
		there |= it == &p->link;
	if (there)
		list_remove(&p->link);
	lock_release(&g->mem_lock);
	return there;
}

static const struct guest_mem_ops mem_ops = {pin, unpin, cancel_pin};

static bool answer_one(struct guest *g)
{
	struct guest_pin *p = NULL;

	lock_acquire(&g->mem_lock);
	if (!list_empty(&g->parked)) {
		p = list_entry(g->parked.next, struct guest_pin, link);
		list_remove(&p->link);
	}
	lock_release(&g->mem_lock);
	if (p)
		p->ready(p);
	return p != NULL;
}

/* ---- the transport ---- */

static void on_interrupt(void *ctx, uint16_t vector) { (void)ctx, (void)vector; }
static void on_defer(void *ctx)
{
	struct guest *g = ctx;

	__atomic_store_n(&g->asked, true, __ATOMIC_RELEASE);
}
static const struct virtio_transport_ops transport = {.interrupt = on_interrupt, .defer = on_defer};

static bool work(struct guest *g)
{
	if (!__atomic_exchange_n(&g->asked, false, __ATOMIC_ACQUIRE))
		return false;
	if (virtio_step(g->device, VIRTIO_INLINE_BUDGET))
		on_defer(g);
	return true;
}

/* ---- a driver ---- */

static uint16_t *word(struct guest *g, uint32_t at) { return (uint16_t *)(g->ram + at); }

static void desc(struct guest *g, unsigned queue, unsigned i, uint32_t at, uint32_t bytes, uint16_t flags)
{
	uint8_t *d = g->ram + RING_AT(queue) + 16 * i;

	put_le64(d, at);
	put_le32(d + 8, bytes);
	put_le16(d + 12, flags);
	put_le16(d + 14, 0);
}

static void offer(struct guest *g, unsigned queue, unsigned head)
{
	__atomic_store_n(word(g, AVAIL_AT(queue) + 4 + 2 * (g->offered[queue] % SIZE)), (uint16_t)head, __ATOMIC_RELAXED);
	__atomic_store_n(word(g, AVAIL_AT(queue) + 2), ++g->offered[queue], __ATOMIC_RELEASE);
}

static void kick(struct guest *g, unsigned queue)
{
	lock_acquire(&g->device->lock);
	virtio_kick(g->device, queue);
	lock_release(&g->device->lock);
}

static void post(struct guest *g, unsigned i)
{
	desc(g, RX, i, BUFFER_AT(i), BUFFER_BYTES, VIRTQ_DESC_F_WRITE);
	offer(g, RX, i);
}

static void start_queue(struct guest *g, unsigned queue)
{
	struct virtio_queue *q = virtio_queue(g->device, queue);

	g->offered[queue] = g->seen[queue] = 0;
	memset(g->ram + RING_AT(queue), 0, 0x1000);
	if (queue == RX)
		for (unsigned i = 0; i < SIZE; i++)
			post(g, i);
	lock_acquire(&g->device->lock);
	virtio_queue_set_size(q, SIZE);
	virtio_queue_set_address(q, VIRTQ_DESC, 0, RING_AT(queue));
	virtio_queue_set_address(q, VIRTQ_AVAIL, 0, AVAIL_AT(queue));
	virtio_queue_set_address(q, VIRTQ_USED, 0, USED_AT(queue));
	virtio_queue_enable(q);
	lock_release(&g->device->lock);
}

static void reset_queue(struct guest *g, unsigned queue)
{
	struct virtio_queue *q = virtio_queue(g->device, queue);
	bool done = false;

	lock_acquire(&g->device->lock);
	virtio_queue_reset(q);
	lock_release(&g->device->lock);
	while (!done) {
		lock_acquire(&g->device->lock);
		done = !virtio_queue_resetting(q);
		lock_release(&g->device->lock);
		sched_yield();
	}
	if (queue == TX) {
		memset(g->busy, 0, sizeof g->busy);
		g->flying = 0;
	}
	start_queue(g, queue);
}

static void send(struct guest *g, struct thread *t, unsigned slot)
{
	uint8_t *at = g->ram + FRAME_AT(slot), number = (uint8_t)(g - guests);
	uint32_t bytes = 100 + (uint32_t)random_below(&t->random, FRAME_MAX - 100);

	memset(at, 0, VIRTIO_NET_HDR_BYTES);
	memcpy(at + VIRTIO_NET_HDR_BYTES, (const uint8_t[]){2, 0, 0, 0, 0, !number, 2, 0, 0, 0, 0, number, 0x88, 0xb5}, 14);
	put_le32(at + 26, ++g->sent);
	put_le32(at + 30, bytes);
	memset(at + 34, (uint8_t)g->sent, bytes - 22);
	desc(g, TX, slot, FRAME_AT(slot), VIRTIO_NET_HDR_BYTES + bytes, 0);
	g->busy[slot] = true;
	g->flying++;
	offer(g, TX, slot);
	kick(g, TX);
}

static void take_sent(struct guest *g)
{
	while (__atomic_load_n(word(g, USED_AT(TX) + 2), __ATOMIC_ACQUIRE) != g->seen[TX]) {
		uint32_t slot = get_le32(g->ram + USED_AT(TX) + 4 + 8 * (g->seen[TX]++ % SIZE));

		assert_true(slot < SIZE && g->busy[slot]);
		g->busy[slot] = false;
		g->flying--;
	}
}

static void check_frame(struct guest *g, const uint8_t *f, uint32_t bytes)
{
	uint32_t number = get_le32(f + 26);

	assert_int_equal(get_le32(f + 30), bytes - VIRTIO_NET_HDR_BYTES);
	for (uint32_t i = 34; i < bytes; i++)
		assert_int_equal(f[i], (uint8_t)number);
	assert_true(number > g->last);
	g->last = number;
	g->received++;
}

static void receive(struct guest *g)
{
	uint8_t frame[FRAME_MAX + VIRTIO_NET_HDR_BYTES];
	bool some = false;

	while (__atomic_load_n(word(g, USED_AT(RX) + 2), __ATOMIC_ACQUIRE) != g->seen[RX]) {
		uint32_t bytes = 0;
		unsigned buffers = 1;

		for (unsigned i = 0; i < buffers; i++) {
			const uint8_t *entry = g->ram + USED_AT(RX) + 4 + 8 * (g->seen[RX]++ % SIZE);
			uint32_t head = get_le32(entry), written = get_le32(entry + 4);

			assert_true(head < SIZE && bytes + written <= sizeof frame);
			memcpy(frame + bytes, g->ram + BUFFER_AT(head), written);
			bytes += written;
			buffers = get_le16(frame + VIRTIO_NET_HDR_NUM_BUFFERS);
			post(g, head);
		}
		check_frame(g, frame, bytes);
		some = true;
	}
	if (some)
		kick(g, RX);
}

static void start_device(struct guest *g)
{
	lock_acquire(&g->device->lock);
	virtio_set_status(g->device, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	virtio_accept(g->device, 0, virtio_features(g->device, 0) & (uint32_t)~VIRTIO_F_EVENT_IDX);
	virtio_accept(g->device, 1, virtio_features(g->device, 1));
	virtio_set_status(g->device, VIRTIO_STATUS_FEATURES_OK);
	virtio_set_status(g->device, VIRTIO_STATUS_DRIVER_OK);
	lock_release(&g->device->lock);
	start_queue(g, RX);
	start_queue(g, TX);
	__atomic_fetch_add(&started, 1, __ATOMIC_RELEASE);
}

static void drive(struct guest *g, struct thread *t)
{
	start_device(g);
	while (__atomic_load_n(&started, __ATOMIC_ACQUIRE) != GUESTS)
		sched_yield();
	while (g->sent < FRAMES || g->flying != 0) {
		unsigned slot = (unsigned)random_below(&t->random, SIZE);

		if (g->sent < FRAMES && !g->busy[slot])
			send(g, t, slot);
		take_sent(g);
		receive(g);
		if (random_below(&t->random, 400) == 0)
			reset_queue(g, random_below(&t->random, 2) ? TX : RX);
		if (g->flying > SIZE / 2 || g->sent == FRAMES)
			sched_yield();
	}
	__atomic_fetch_sub(&running, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&running, __ATOMIC_ACQUIRE) != 0) {
		receive(g);
		sched_yield();
	}
	receive(g);
}

/* Memory that comes, and time that passes. */
static bool outside(void)
{
	bool moved = false;
	uint64_t at = __atomic_add_fetch(&ticks, 1, __ATOMIC_RELAXED);

	for (unsigned i = 0; i < GUESTS; i++) {
		struct guest *g = &guests[i];

		moved |= answer_one(g);
		if (__atomic_load_n(&g->wake_at, __ATOMIC_ACQUIRE) <= at) {
			__atomic_store_n(&g->wake_at, MCLOCK_NEVER, __ATOMIC_RELEASE);
			net_port_expired(&g->port);
		}
	}
	return moved;
}

static void a_cpu(struct thread *t)
{
	if (t->cpu < GUESTS) {
		drive(&guests[t->cpu], t);
		return;
	}
	while (__atomic_load_n(&running, __ATOMIC_ACQUIRE) != 0)
		if (!(t->cpu < 2 * GUESTS ? work(&guests[t->cpu - GUESTS]) : outside()))
			sched_yield();
}

static void make(unsigned i)
{
	struct guest *g = &guests[i];
	struct virtio_net_config cfg = {.mem = {&mem_ops, g}, .pairs = 1, .mac = {2, 0, 0, 0, 0, (uint8_t)i}, .mtu = 1500,
					.now = now, .hz = 1000000};
	struct net_port_config port = {.locked_mac = true, .mac = {2, 0, 0, 0, 0, (uint8_t)i}, .up = true, .mtu = 1500};
	void *memory = aligned_alloc(64, align_up(virtio_net_bytes(&cfg), 64));

	memset(g, 0, sizeof *g);
	g->wake_at = MCLOCK_NEVER;
	lock_init(&g->mem_lock, LOCK_IO);
	list_init(&g->parked);
	coalesce_settings_init(&cfg.interrupts);
	memset(memory, 0, virtio_net_bytes(&cfg));
	g->net = virtio_net_make(memory, &cfg);
	g->device = virtio_net_device(g->net);
	g->device->transport = &transport;
	g->device->transport_ctx = g;
	assert_int_equal(net_port_open(&g->port, &sw, &virtio_net_port_ops, g->net, &port, false, NULL), ST_OK);
	assert_true(virtio_net_connect(g->net, &g->port));
}

static void end(struct guest *g)
{
	lock_acquire(&g->device->lock);
	virtio_reset(g->device);
	lock_release(&g->device->lock);
	while (g->device->status != 0)
		if (!answer_one(g) && !work(g))
			on_defer(g);
	assert_true(virtio_net_connect(g->net, NULL));
	assert_true(net_port_close(&g->port));
	free(g->net);
}

static void two_guests_at_once(void **state)
{
	const struct net_env env = {.now = env_now, .hz = 1000000, .wake_at = wake_at};
	struct net_switch_settings set;

	(void)state;
	memset(&sw, 0, sizeof sw);
	ticks = 1;
	started = 0;
	running = GUESTS;
	net_switch_settings_init(&set);
	assert_int_equal(net_switch_init(&sw, &env, &set, NULL), ST_OK);
	for (unsigned i = 0; i < GUESTS; i++)
		make(i);
	threads_run(2 * GUESTS + 1, 7, true, a_cpu, NULL);
	for (unsigned i = 0; i < GUESTS; i++) {
		assert_true(guests[i].received > FRAMES / 20); /* however long the machine leaves a receiver without a CPU */
		end(&guests[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(two_guests_at_once)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
