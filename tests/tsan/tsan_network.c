/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network between CPUs: guests that send to each other, to the wire and to one that comes and goes, the network's
 * worker with all timers, and the control task, which opens and closes that one, changes numbers and places, captures,
 * and reads figures. Each frame that a guest gives away comes back, whole ones arrive, and ThreadSanitizer sees every
 * access.
 */
#include "tests/cmocka_all.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "guest/network_internal.h"
#include "guest/vm_internal.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/paced_nic.h"
#include "tests/fakes/virtio_driver.h"
#include "tests/fakes/vm_rig.h"
#include "tests/tsan/threads.h"

#define RAM (64ull << 20)
#define MIB (1ull << 20)
#define TICK 500u /* between two looks at the clock */
#define CONTROL 0u
#define WORKER 1u
#define SENDERS 3u
#define CPUS (2 + SENDERS)
#define GUESTS (SENDERS + 1) /* the last one is the control task's */
#define TIMERS 64u
#define FRAMES 5000u /* of a sender */
#define VISITS 100u   /* of the one that comes and goes */
#define SIZE 16u
#define RX 0u
#define TX 1u
#define GUEST_BYTES 0x40000u
#define DESC(q) (0x1000u + 0x4000u * (q))
#define AVAIL(q) (DESC(q) + 0x1000u)
#define USED(q) (DESC(q) + 0x2000u)
#define BUFFER(q, i) (0x10000u + 0x10000u * (q) + 0x800u * (i))
#define HDR VIRTIO_NET_HDR_BYTES
#define BYTES 200u

static struct host_cpu cpus[THREADS_MAX];
static struct timer *slots[THREADS_MAX][TIMERS];
static uint64_t ticks;
static unsigned working;
static struct network *lan;
static struct paced_nic wire;
static struct error err;

static struct guest {
	struct vm *vm;
	_Alignas(4096) uint8_t ram[GUEST_BYTES];
	struct virtio_net *net;
	struct driver drv;
	void *memory, *client_memory;
	struct network_client *client;
	bool asked; /* atomic */
	uint8_t mac[NET_MAC_BYTES];
	uint16_t offered[2], seen[2];
	bool busy[SIZE]; /* of what is sent: frames for the wire come back later than others */
	uint64_t received;
} guests[GUESTS];

/* ---- a host of several CPUs ---- */

static uint64_t read_ticks(void) { return __atomic_add_fetch(&ticks, TICK, __ATOMIC_RELAXED); }
static const struct clock clock_of_all = {.ticks = read_ticks, .hz = VM_RIG_HZ};
static struct host_cpu *this_cpu(void) { return &cpus[thread_self()->cpu]; }
static unsigned long mask(void) { return 0; }
static void unmask(unsigned long state) { (void)state; }
static void nothing(void) {}

static void make_host(void)
{
	memset(&fake_pc, 0, sizeof fake_pc);
	vm_rig_init(RAM);
	fake_host.ops.clock = &clock_of_all;
	fake_host.ops.this_cpu = this_cpu;
	fake_host.ops.mask = mask;
	fake_host.ops.unmask = unmask;
	fake_host.ops.poll = nothing;
	fake_host.ops.timers_changed = nothing;
	fake_host.ops.notify = nothing;
	for (unsigned i = 0; i < THREADS_MAX; i++)
		host_cpu_init(&cpus[i], i, slots[i], TIMERS);
}

/* ---- a guest ---- */

static enum pin_result pin(void *ctx, struct guest_pin *p)
{
	struct guest *g = ctx;

	if (p->at.v >= GUEST_BYTES)
		return PIN_FAIL;
	p->va = g->ram + p->at.v;
	p->got = (uint32_t)MIN(p->bytes, PAGE_SIZE - (p->at.v & PAGE_MASK));
	return PIN_NOW;
}

static void unpin(void *ctx, const struct guest_pin *p) { (void)ctx, (void)p; }
static bool cancel(void *ctx, struct guest_pin *p)
{
	(void)ctx, (void)p;
	fail_msg("nobody waits");
	return false;
}
static const struct guest_mem_ops mem_ops = {pin, unpin, cancel};

static void interrupt(void *ctx, uint16_t vector) { (void)ctx, (void)vector; }
static void defer(void *ctx) { __atomic_store_n(&((struct guest *)ctx)->asked, true, __ATOMIC_SEQ_CST); }
static const struct virtio_transport_ops transport = {.interrupt = interrupt, .defer = defer, .reset_done = defer};

static void make_device(struct guest *g)
{
	struct virtio_net_config cfg = {.mem = {&mem_ops, g}, .pairs = 1, .mtu = 1500, .now = read_ticks, .hz = VM_RIG_HZ};

	coalesce_settings_init(&cfg.interrupts);
	vm_nic_mac(&g->vm->config, &g->vm->config.nics[0], cfg.mac);
	memcpy(g->mac, cfg.mac, NET_MAC_BYTES);
	if (!g->memory) {
		g->memory = aligned_alloc(64, align_up(virtio_net_bytes(&cfg), 64));
		g->client_memory = aligned_alloc(64, align_up(network_client_bytes(), 64));
	}
	memset(g->memory, 0, virtio_net_bytes(&cfg));
	g->net = virtio_net_make(g->memory, &cfg);
	g->drv = (struct driver){.device = virtio_net_device(g->net)};
	g->drv.device->transport = &transport;
	g->drv.device->transport_ctx = g;
}

static uint16_t *index_at(struct guest *g, uint32_t at) { return (uint16_t *)(void *)(g->ram + at + 2); }

static void offer(struct guest *g, unsigned q, uint16_t n, uint32_t bytes, uint16_t flags)
{
	uint8_t *desc = g->ram + DESC(q) + 16u * n;

	put_le64(desc, BUFFER(q, n));
	put_le32(desc + 8, bytes);
	put_le16(desc + 12, flags);
	put_le16(g->ram + AVAIL(q) + 4 + 2u * (g->offered[q] % SIZE), n);
	__atomic_store_n(index_at(g, AVAIL(q)), ++g->offered[q], __ATOMIC_RELEASE);
}

static void kick(struct guest *g, unsigned q) { driver_kick(&g->drv, q); }

static void enable(struct guest *g, unsigned q)
{
	const uint32_t at[] = {DESC(q), AVAIL(q), USED(q)};
	struct virtio_queue *queue = virtio_queue(g->drv.device, q);

	memset(g->ram + DESC(q), 0, 0x3000);
	g->offered[q] = g->seen[q] = 0;
	memset(g->busy, 0, sizeof g->busy);
	lock_acquire(&g->drv.device->lock);
	virtio_queue_set_size(queue, SIZE);
	virtio_queue_set_address(queue, VIRTQ_DESC, 0, at[0]);
	virtio_queue_set_address(queue, VIRTQ_AVAIL, 0, at[1]);
	virtio_queue_set_address(queue, VIRTQ_USED, 0, at[2]);
	virtio_queue_enable(queue);
	lock_release(&g->drv.device->lock);
}

static void open_guest(struct guest *g)
{
	make_device(g);
	assert_int_equal(network_client_open(g->vm, &g->vm->config.nics[0], g->net, g->client_memory, &g->client, &err),
			 ST_OK);
	assert_true(virtio_net_connect(g->net, network_client_port(g->client)));
	assert_true(driver_negotiate(&g->drv, VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MAC) & VIRTIO_STATUS_FEATURES_OK);
	enable(g, RX);
	enable(g, TX);
	driver_ok(&g->drv);
	for (unsigned i = 0; i < SIZE; i++)
		offer(g, RX, (uint16_t)i, 0x800, VIRTQ_DESC_F_WRITE);
	kick(g, RX);
}

static void step(struct guest *g)
{
	if (__atomic_exchange_n(&g->asked, false, __ATOMIC_SEQ_CST) && virtio_step(g->drv.device, 20000))
		__atomic_store_n(&g->asked, true, __ATOMIC_SEQ_CST);
}

static void close_guest(struct guest *g)
{
	driver_status(&g->drv, 0);
	while (driver_read_status(&g->drv) != 0) {
		step(g);
		sched_yield();
	}
	while (!virtio_net_connect(g->net, NULL))
		sched_yield();
	while (!network_client_close(g->client))
		sched_yield();
}

static uint32_t used_at(struct guest *g, unsigned q)
{
	uint32_t head = get_le32(g->ram + USED(q) + 4 + 8u * (g->seen[q] % SIZE));

	assert_true(head < SIZE);
	return head;
}

/* A frame arrives as it was sent: all of its payload is one byte. */
static void take(struct guest *g)
{
	while (g->seen[RX] != __atomic_load_n(index_at(g, USED(RX)), __ATOMIC_ACQUIRE)) {
		uint32_t head = used_at(g, RX);
		const uint8_t *data = g->ram + BUFFER(RX, head) + HDR + NET_ETHERNET_BYTES;

		for (unsigned i = 1; i < BYTES - NET_ETHERNET_BYTES; i++)
			assert_int_equal(data[i], data[0]);
		g->seen[RX]++;
		g->received++;
		offer(g, RX, (uint16_t)head, 0x800, VIRTQ_DESC_F_WRITE);
	}
	kick(g, RX);
	for (; g->seen[TX] != __atomic_load_n(index_at(g, USED(TX)), __ATOMIC_ACQUIRE); g->seen[TX]++) {
		assert_true(g->busy[used_at(g, TX)]);
		g->busy[used_at(g, TX)] = false;
	}
	assert_null(g->drv.device->broken);
}

static void send_one(struct guest *g, struct thread *t)
{
	static const uint8_t outside[NET_MAC_BYTES] = {0x52, 0x54, 0, 0, 0, 1};
	unsigned to = (unsigned)random_below(&t->random, GUESTS + 1);
	uint8_t *frame;
	uint16_t n = 0;

	while (g->busy[n])
		n++;
	g->busy[n] = true;
	frame = g->ram + BUFFER(TX, n) + HDR;
	memset(frame - HDR, 0, HDR);
	memset(frame, (int)random_below(&t->random, 256), BYTES);
	memcpy(frame, to == GUESTS ? outside : guests[to].mac, NET_MAC_BYTES);
	memcpy(frame + NET_MAC_BYTES, g->mac, NET_MAC_BYTES);
	net_put16(frame + 12, 0x88b5);
	offer(g, TX, n, HDR + BYTES, 0);
	kick(g, TX);
}

static bool others_work(void) { return __atomic_load_n(&working, __ATOMIC_ACQUIRE) != 0; }
static void comes_to_its_end(void) { __atomic_fetch_sub(&working, 1, __ATOMIC_RELEASE); }

static void use(struct thread *t)
{
	struct guest *g = &guests[t->cpu - 2];

	for (unsigned sent = 0; sent < FRAMES;) {
		if ((uint16_t)(g->offered[TX] - g->seen[TX]) < SIZE) {
			send_one(g, t);
			sent++;
		}
		step(g);
		take(g);
	}
	while (g->seen[TX] != g->offered[TX]) {
		step(g);
		take(g);
		sched_yield();
	}
	comes_to_its_end();
	/* Whoever sends to it still is not left waiting. */
	while (others_work()) {
		step(g);
		take(g);
		sched_yield();
	}
}

static void work(void)
{
	for (unsigned i = 0; i < CPUS; i++) {
		lock_acquire(&cpus[i].timers_lock);
		timerq_run(&cpus[i].timers, read_ticks());
		lock_release(&cpus[i].timers_lock);
	}
	__atomic_store_n(&lan->worker.asked, 0, __ATOMIC_SEQ_CST);
	(void)lan->worker.step(&lan->worker);
	sched_yield();
}

/* ---- the control task ---- */

static void look(void)
{
	static uint64_t figures[COUNTER_FIGURES_MAX / 8];
	struct network_port_info info;
	uint8_t mac[NET_MAC_BYTES];
	char port[NETWORK_PORT_MAX];
	uint16_t vlan;
	uint64_t age;

	network_counters.figures(lan, figures);
	for (unsigned i = 0; network_next_port(lan, i, &i, &info);)
		;
	for (unsigned i = 0; network_next_address(lan, &i, mac, &vlan, port, &age);)
		;
	assert_true(net_switch_check(&lan->sw));
}

static void operate(struct thread *t)
{
	static uint8_t data[NET_TAP_SNAP_MAX];
	struct guest *mine = &guests[SENDERS];
	struct machine *m = &vm_rig.machine;
	struct net_tap_record r;
	uint32_t capture;
	uint64_t lost;
	bool got;

	for (unsigned i = 0; i < VISITS; i++) {
		struct vm_config *of = &guests[random_below(&t->random, SENDERS)].vm->config;

		open_guest(mine);
		assert_int_equal(network_capture_begin(m, i % 2 ? "n3/lan0" : "n0/lan0", 100, &capture, &err), ST_OK);
		of->nics[0].numbers.shares = 1 + (uint32_t)random_below(&t->random, 999);
		of->nics[0].rate = random_below(&t->random, 2) ? 0 : 50000000;
		strcpy(of->pool, random_below(&t->random, 2) ? "gold" : "");
		(void)networks_step(m);
		for (unsigned k = 0; k < 100; k++) {
			step(mine);
			take(mine);
			assert_int_equal(network_capture_read(m, capture, &r, data, &got, &err), ST_OK);
		}
		look();
		close_guest(mine);
		assert_int_equal(network_capture_end(m, capture, &lost, &err), ST_OK);
	}
	comes_to_its_end();
}

static void body(struct thread *t)
{
	if (t->cpu == WORKER)
		while (others_work())
			work();
	else if (t->cpu == CONTROL)
		operate(t);
	else
		use(t);
}

/* ---- the test ---- */

static void make_network(void)
{
	struct network_config cfg;
	struct pool_config pool;
	struct pool *p;

	paced_nic_init(&wire, &fake_host.ops, "nic0", 125000000);
	assert_int_equal(networks_create(&vm_rig.machine, &err), ST_OK);
	assert_int_equal(networks_add_nic(&vm_rig.machine, &wire.nic, &err), ST_OK);
	network_config_init(&cfg);
	strcpy(cfg.name, "lan");
	strcpy(cfg.uplink, "nic0");
	cfg.settings.patience_ns = 100000;
	assert_int_equal(network_define(&vm_rig.machine, &cfg, &err), ST_OK);
	lan = network_find(&vm_rig.machine, "lan");
	pool_config_init(&pool);
	strcpy(pool.name, "gold");
	assert_int_equal(pool_define(&vm_rig.machine, &pool, &p, &err), ST_OK);
}

static void define(unsigned i)
{
	struct vm_config cfg;
	char name[] = {'n', (char)('0' + i), 0};

	cfg = vm_rig_config(name, MIB);
	cfg.nic_count = 1;
	vm_nic_init(&cfg.nics[0]);
	strcpy(cfg.nics[0].name, "lan0");
	strcpy(cfg.nics[0].network, "lan");
	memset(&guests[i], 0, sizeof guests[i]);
	assert_int_equal(vm_define(&vm_rig.machine, &cfg, &guests[i].vm, &err), ST_OK);
	vm_nic_mac(&cfg, &cfg.nics[0], guests[i].mac);
}

static void guests_and_operations(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 2; seed++) {
		uint64_t received = 0;

		make_host();
		make_network();
		for (unsigned i = 0; i < GUESTS; i++)
			define(i);
		for (unsigned i = 0; i < SENDERS; i++)
			open_guest(&guests[i]);
		working = CPUS - 1;
		threads_run(CPUS, seed, seed % 2, body, NULL);
		for (unsigned i = 0; i < SENDERS; i++) {
			received += guests[i].received;
			close_guest(&guests[i]);
		}
		assert_true(received > FRAMES);
		assert_true(wire.nic.figures.tx_frames > 0);
		for (unsigned i = 0; i < GUESTS; i++) {
			free(guests[i].memory);
			free(guests[i].client_memory);
			assert_int_equal(vm_destroy(guests[i].vm, &err), ST_OK);
		}
		vm_rig_remove_pools();
		networks_destroy(&vm_rig.machine);
		vm_rig_fini();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(guests_and_operations)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
