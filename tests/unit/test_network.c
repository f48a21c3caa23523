/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's networks over the real switch, uplink, memory manager and scheduler: definitions and their memory;
 * frames between VMs whose drivers go by the book; numbers that change while frames flow; VMs that go under load; an
 * uplink whose turns go by the VMs' numbers and by those of their pools; captures.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "guest/network_internal.h"
#include "guest/vm_nic.h"
#include "lib/format.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/net_guest.h"
#include "tests/fakes/paced_nic.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define MIB (1ull << 20)
#define MS 1000000ull
#define SECOND (1000 * MS)
#define FULL 1514u
#define WIRE_RATE 12500000ull /* 100 Mbit/s */

static struct error err;
static struct net_guest a, b, c;
static struct paced_nic wire;
static const uint8_t outside[NET_MAC_BYTES] = {0x52, 0x54, 0, 0, 0, 1};
static const uint8_t everybody[NET_MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static uint8_t frame[NET_GUEST_FRAME];

/* ---- the machine ---- */

static int setup(void **state)
{
	(void)state;
	memset(&fake_pc, 0, sizeof fake_pc);
	vm_rig_init(RAM);
	memset(&a, 0, sizeof a);
	memset(&b, 0, sizeof b);
	memset(&c, 0, sizeof c);
	paced_nic_init(&wire, &fake_host.ops, "nic0", WIRE_RATE);
	assert_int_equal(networks_create(&vm_rig.machine, &err), ST_OK);
	assert_int_equal(networks_add_nic(&vm_rig.machine, &wire.nic, &err), ST_OK);
	return 0;
}

static void close_all(void)
{
	struct net_guest *const all[] = {&a, &b, &c};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i]->client)
			net_guest_close(all[i]);
	memset(&a, 0, sizeof a);
	memset(&b, 0, sizeof b);
	memset(&c, 0, sizeof c);
}

static int teardown(void **state)
{
	struct vm *vm;

	(void)state;
	close_all();
	while ((vm = vm_next(&vm_rig.machine, NULL)))
		assert_int_equal(vm_destroy(vm, &err), ST_OK);
	vm_rig_remove_pools();
	networks_destroy(&vm_rig.machine);
	vm_rig_fini();
	return 0;
}

static struct network_config net_config(const char *name, const char *uplink)
{
	struct network_config cfg;

	network_config_init(&cfg);
	strcpy(cfg.name, name);
	strcpy(cfg.uplink, uplink);
	return cfg;
}

static struct network *define_net(const char *name, const char *uplink)
{
	struct network_config cfg = net_config(name, uplink);

	assert_int_equal(network_define(&vm_rig.machine, &cfg, &err), ST_OK);
	return network_find(&vm_rig.machine, name);
}

static struct vm *define_vm(const char *name, const char *network)
{
	struct vm_config cfg = vm_rig_config(name, 4 * MIB);
	struct vm *vm;

	cfg.nic_count = 1;
	vm_nic_init(&cfg.nics[0]);
	strcpy(cfg.nics[0].name, "lan0");
	strcpy(cfg.nics[0].network, network);
	assert_int_equal(vm_define(&vm_rig.machine, &cfg, &vm, &err), ST_OK);
	return vm;
}

static void open_guest(struct net_guest *g, const char *name, const char *network)
{
	assert_int_equal(net_guest_open(g, define_vm(name, network), &err), ST_OK);
}

static void run(void) { net_guests_run_ns(10 * MS); }

static void send(struct net_guest *from, const uint8_t to[NET_MAC_BYTES], uint8_t mark, uint32_t bytes)
{
	net_guest_frame(from, to, mark, frame, bytes);
	assert_true(net_guest_send(from, frame, bytes));
	net_guest_kick(from);
}

static struct network_port_info info_of(struct network *n, const char *name)
{
	struct network_port_info info;

	for (unsigned i = 0; network_next_port(n, i, &i, &info);)
		if (strcmp(info.name, name) == 0)
			return info;
	fail_msg("there is no port %s", name);
	return info;
}

/* ---- definitions ---- */

static void refused(const struct network_config *cfg, enum status st, const char *part)
{
	assert_int_equal(network_define(&vm_rig.machine, cfg, &err), st);
	assert_non_null(strstr(err.text, part));
}

static void definitions_are_checked(void **state)
{
	struct network_config cfg = net_config("lan", "");
	uint64_t promised = vm_rig.machine.committed;

	(void)state;
	strcpy(cfg.origin, "boot.lua:3");
	assert_int_equal(network_config_check(&cfg, &err), ST_OK);
	cfg.name[0] = 'L';
	refused(&cfg, ST_INVALID, "(boot.lua:3): name has a character");
	cfg.name[0] = 'l';
	cfg.mtu = NET_MTU_MAX + 1;
	refused(&cfg, ST_INVALID, "network lan (boot.lua:3): mtu is 9217, it can be 68 to 9216");
	cfg.mtu = 1500;
	cfg.settings.age_ns = 1;
	refused(&cfg, ST_INVALID, "age is 1 ns, it can be 1 s to 1 h");
	cfg.settings.age_ns = SECOND;
	cfg.settings.patience_ns = SECOND + 1;
	refused(&cfg, ST_INVALID, "patience is 1000000001 ns");
	cfg.settings.patience_ns = 0;
	cfg.wire.depth_bytes = 1;
	refused(&cfg, ST_INVALID, "uplink.depth is 1 B");
	cfg.wire.depth_bytes = NET_UPLINK_DEPTH_MAX;
	cfg.wire.poll_frames = 0;
	refused(&cfg, ST_INVALID, "uplink.poll is 0");
	cfg.wire.poll_frames = 1;
	cfg.wire.rate = 10;
	refused(&cfg, ST_INVALID, "uplink.rate is 10 B/s, it can be 100 kbit/s");
	cfg.wire.rate = 0;
	cfg.uplink_vlan = 5;
	refused(&cfg, ST_INVALID, "uplink_vlan conflicts");
	cfg.uplink_vlan = 0;
	strcpy(cfg.uplink, "nic7");
	refused(&cfg, ST_NOT_FOUND, "this machine has no interface called nic7");
	strcpy(cfg.uplink, "nic0");
	cfg.mtu = 1501;
	refused(&cfg, ST_INVALID, "nic0 takes frames of at most 1518");
	memset(cfg.uplink, 'x', sizeof cfg.uplink);
	refused(&cfg, ST_INVALID, "uplink is longer than 31");
	assert_int_equal(vm_rig.machine.committed, promised);
	assert_null(network_next(&vm_rig.machine, NULL));
}

static void networks_come_and_go(void **state)
{
	uint64_t promised = vm_rig.machine.committed;
	struct network_config cfg;
	char name[VM_NAME_MAX];
	struct network *n;

	(void)state;
	for (unsigned i = 0; i < NETWORKS_MAX; i++) {
		format(name, sizeof name, "n%u", i);
		n = define_net(name, "");
		assert_int_equal(network_place(n), i);
		assert_ptr_equal(network_at(&vm_rig.machine, i), n);
	}
	cfg = net_config("more", "");
	refused(&cfg, ST_OVER_LIMIT, "there are 16 networks already");
	assert_true(vm_rig.machine.committed > promised);
	assert_int_equal(network_remove(&vm_rig.machine, "more", &err), ST_NOT_FOUND);
	for (unsigned i = NETWORKS_MAX; i-- > 0;) {
		format(name, sizeof name, "n%u", i);
		assert_int_equal(network_remove(&vm_rig.machine, name, &err), ST_OK);
		assert_null(network_find(&vm_rig.machine, name));
	}
	assert_int_equal(vm_rig.machine.committed, promised);
	vm_rig.machine.capacity = promised + PAGE_SIZE;
	refused(&cfg, ST_NOT_ADMITTED, "network more: more: ");
	assert_int_equal(vm_rig.machine.committed, promised);
	vm_rig.machine.capacity = UINT64_MAX;
}

static enum sched_end no_turn(struct sched_entity *e, uint64_t slice_end)
{
	(void)e, (void)slice_end;
	return SCHED_END_BLOCKED;
}

#define ENTITIES 128u
#define BLOCKS 4096u

/* No place for the worker, and no memory: nothing is left of it. */
static void what_cannot_be_made_leaves_nothing(void **state)
{
	static struct sched_entity entities[ENTITIES];
	static hfn_t blocks[BLOCKS];
	static unsigned block_order[BLOCKS];
	uint64_t promised = vm_rig.machine.committed;
	struct network_config cfg = net_config("lan", "nic0");
	struct sched *s = vm_rig.machine.sched;
	unsigned n = 0, order = MEMMGR_MAX_ORDER;
	unsigned long masked;

	(void)state;
	memset(entities, 0, sizeof entities);
	do
		entities[n].run = no_turn;
	while (n < ENTITIES && sched_add(s, &entities[n], NULL, "other", NULL, 0, &err) == ST_OK && ++n);
	refused(&cfg, ST_NO_MEMORY, "network lan: more than");
	assert_int_equal(vm_rig.machine.committed, promised);
	while (n > 0)
		assert_true(sched_remove(s, &entities[--n]));
	masked = fake_host.ops.mask();
	for (;;) {
		if (n < BLOCKS && memmgr_alloc(vm_rig.machine.mm, order, &blocks[n]) == ST_OK)
			block_order[n++] = order;
		else if (order-- == 2)
			break;
	}
	fake_host.ops.unmask(masked);
	refused(&cfg, ST_NO_MEMORY, "no host memory");
	assert_int_equal(vm_rig.machine.committed, promised);
	masked = fake_host.ops.mask();
	while (n > 0) {
		n--;
		memmgr_free(vm_rig.machine.mm, blocks[n], block_order[n]);
	}
	fake_host.ops.unmask(masked);
	assert_int_equal(network_define(&vm_rig.machine, &cfg, &err), ST_OK);
	assert_int_equal(network_remove(&vm_rig.machine, "lan", &err), ST_OK);
}

static void a_network_that_is_in_use_stays(void **state)
{
	struct network_config cfg;
	struct network *n = define_net("lan", "");

	(void)state;
	open_guest(&a, "one", "lan");
	assert_int_equal(net_guest_open(&b, define_vm("lost", "wan"), &err), ST_NOT_FOUND);
	assert_non_null(strstr(err.text, "there is no network called wan"));
	memset(&b, 0, sizeof b);
	assert_int_equal(network_remove(&vm_rig.machine, "lan", &err), ST_BUSY);
	assert_non_null(strstr(err.text, "net.lan0 of VM one is on it"));
	cfg = net_config("lan", "nic0");
	refused(&cfg, ST_BUSY, "its uplink cannot change: VM one is on it");
	cfg.uplink[0] = '\0';
	cfg.settings.patience_ns = 7;
	assert_int_equal(network_define(&vm_rig.machine, &cfg, &err), ST_OK);
	assert_ptr_equal(network_find(&vm_rig.machine, "lan"), n);
	assert_int_equal(n->sw.settings.patience_ns, 7);
	close_all();
	assert_int_equal(network_remove(&vm_rig.machine, "lan", &err), ST_OK);
}

static const struct knob *knob(const struct knob_table *t, const char *name)
{
	for (size_t i = 0; i < t->count; i++)
		if (strcmp(t->rows[i].name, name) == 0)
			return &t->rows[i];
	fail_msg("there is no knob %s", name);
	return NULL;
}

static void turn(const struct knob_table *t, const char *name, void *object, uint64_t value)
{
	const struct knob *k = knob(t, name);
	unsigned long masked;

	assert_int_equal(knob_check(k, object, value, &err), ST_OK);
	masked = fake_host.ops.mask();
	k->set(object, value);
	fake_host.ops.unmask(masked);
	assert_int_equal(k->get(object), value);
}

static void settings_are_knobs(void **state)
{
	struct network *n = define_net("lan", "nic0");

	(void)state;
	for (size_t i = 0; i < network_knobs.count; i++) {
		const struct knob *k = &network_knobs.rows[i];

		assert_int_equal(k->get(n), k->otherwise);
	}
	turn(&network_knobs, "patience", n, 0);
	turn(&network_knobs, "age", n, 5 * SECOND);
	turn(&network_knobs, "uplink.rate", n, 125000);
	turn(&network_knobs, "uplink.depth", n, 3200);
	turn(&network_knobs, "uplink.poll", n, 3);
	assert_int_equal(n->sw.settings.age_ns, 5 * SECOND);
	assert_int_equal(n->uplink.settings.rate, 125000);
	assert_int_equal(n->uplink.settings.depth_bytes, 3200);
	assert_int_equal(n->uplink.settings.poll_frames, 3);
	assert_int_equal(knob_check(knob(&network_knobs, "uplink.rate"), n, 10, &err), ST_INVALID);
	assert_int_equal(knob_check(knob(&network_knobs, "age"), n, 10, &err), ST_INVALID);
}

/* ---- between VMs ---- */

static uint64_t figure(const struct counter_table *t, const void *object, const char *name, unsigned member)
{
	static uint64_t figures[COUNTER_FIGURES_MAX / 8];
	unsigned long masked = t->piecewise ? 0 : fake_host.ops.mask();

	t->figures(object, figures);
	if (!t->piecewise)
		fake_host.ops.unmask(masked);
	for (size_t i = 0; i < t->count; i++)
		if (strcmp(t->rows[i].name, name) == 0)
			return counter_value(&t->rows[i], figures, member);
	fail_msg("there is no counter %s", name);
	return 0;
}

static void frames_go_from_one_to_another(void **state)
{
	struct network *n = define_net("lan", "");
	struct network_port_info info;

	(void)state;
	open_guest(&a, "one", "lan");
	open_guest(&b, "two", "lan");
	open_guest(&c, "three", "lan");
	send(&a, b.mac, 0x11, 100);
	send(&a, b.mac, 0x12, FULL);
	run();
	assert_int_equal(b.received, 2);
	assert_int_equal(c.received, 0);
	assert_int_equal(a.sent, 2);
	assert_int_equal(b.last_bytes, FULL);
	assert_memory_equal(b.last, frame, FULL);
	send(&b, everybody, 0x13, 60);
	run();
	assert_true(a.received == 1 && c.received == 1 && b.received == 2);
	info = info_of(n, "one/lan0");
	assert_true(info.figures.sent_frames == 2 && info.figures.sent_bytes == FULL + 100 && info.up);
	assert_int_equal(info.figures.received_groups, 1);
	assert_int_equal(figure(&network_counters, n, "frames", 0), 3);
	assert_int_equal(figure(&network_counters, n, "delivered.frames", 0), 4);
	assert_int_equal(figure(&network_counters, n, "ports", 0), 3);
	/* What has gone counts on. */
	close_all();
	assert_int_equal(figure(&network_counters, n, "frames", 0), 3);
	assert_int_equal(figure(&network_counters, n, "ports", 0), 0);
	assert_true(net_switch_check(&n->sw));
}

static void an_address_is_one_ports(void **state)
{
	static const uint8_t mac[NET_MAC_BYTES] = {0x52, 0x54, 0, 0, 0, 9};
	struct network *n = define_net("lan", "");
	struct vm *one, *two;
	uint8_t is[NET_MAC_BYTES];
	char port[NETWORK_PORT_MAX];
	unsigned index = 0;
	uint16_t vlan;
	uint64_t age;

	(void)state;
	one = define_vm("one", "lan");
	two = define_vm("two", "lan");
	memcpy(one->config.nics[0].mac, mac, sizeof mac);
	memcpy(two->config.nics[0].mac, mac, sizeof mac);
	assert_int_equal(net_guest_open(&a, one, &err), ST_OK);
	assert_int_equal(net_guest_open(&b, two, &err), ST_EXISTS);
	assert_non_null(strstr(err.text, "network lan: "));
	memset(&b, 0, sizeof b);
	assert_true(network_next_address(n, &index, is, &vlan, port, &age));
	assert_memory_equal(is, mac, sizeof mac);
	assert_string_equal(port, "one/lan0");
	assert_false(network_next_address(n, &index, is, &vlan, port, &age));
	/* Others are not sent from. */
	memcpy(a.mac, outside, sizeof outside);
	send(&a, everybody, 1, 60);
	run();
	assert_int_equal(info_of(n, "one/lan0").figures.sent_drops[NET_DROP_MAC], 1);
	assert_int_equal(figure(&network_counters, n, "drops", NET_DROP_MAC), 1);
	assert_int_equal(figure(&network_counters, n, "drops", NET_DROP_LINK), 0);
}

static struct net_guest *victim; /* of a flood */
static uint32_t flood_bytes;

static void flood(struct net_guest *g)
{
	uint8_t one[NET_GUEST_FRAME];
	bool any = false;

	net_guest_frame(g, victim ? victim->mac : outside, g->mac[5], one, flood_bytes);
	while (net_guest_send(g, one, flood_bytes))
		any = true;
	if (any)
		net_guest_kick(g);
}

static void flood_to(struct net_guest *from, struct net_guest *to, uint32_t bytes)
{
	victim = to;
	flood_bytes = bytes;
	from->acts = flood;
}

static void a_rate_holds_and_may_change(void **state)
{
	uint64_t before;
	struct network *n = define_net("lan", "");
	struct vm *vm;

	(void)state;
	vm = define_vm("one", "lan");
	turn(&vm_nic_knobs, "rate", &vm->nic_places[0], 1250000);
	assert_int_equal(net_guest_open(&a, vm, &err), ST_OK);
	open_guest(&b, "two", "lan");
	flood_to(&a, &b, FULL);
	net_guests_run_ns(100 * MS);
	before = b.received;
	net_guests_run_ns(SECOND);
	assert_in_range((b.received - before) * FULL, 1225000, 1275000);
	turn(&vm_nic_knobs, "rate", &vm->nic_places[0], 2500000);
	net_guests_run_ns(100 * MS);
	before = b.received;
	net_guests_run_ns(SECOND);
	assert_in_range((b.received - before) * FULL, 2450000, 2550000);
	assert_true(info_of(n, "one/lan0").figures.throttled > 0);
	a.acts = NULL;
}

static void links_and_isolation_change_at_once(void **state)
{
	struct network *n = define_net("lan", "");
	uint64_t before;

	(void)state;
	open_guest(&a, "one", "lan");
	open_guest(&b, "two", "lan");
	turn(&vm_nic_knobs, "isolated", &a.vm->nic_places[0], true);
	turn(&vm_nic_knobs, "isolated", &b.vm->nic_places[0], true);
	networks_changed(&vm_rig.machine);
	send(&a, b.mac, 1, 60);
	run();
	assert_int_equal(b.received, 0);
	assert_int_equal(info_of(n, "one/lan0").figures.sent_drops[NET_DROP_NOWHERE], 1);
	turn(&vm_nic_knobs, "isolated", &b.vm->nic_places[0], false);
	networks_changed(&vm_rig.machine);
	send(&a, b.mac, 1, 60);
	run();
	assert_int_equal(b.received, 1);
	turn(&vm_nic_knobs, "connected", &b.vm->nic_places[0], false);
	networks_changed(&vm_rig.machine);
	before = info_of(n, "two/lan0").figures.received_drops[NET_DROP_LINK];
	send(&a, b.mac, 1, 60);
	run();
	assert_int_equal(b.received, 1);
	assert_int_equal(info_of(n, "two/lan0").figures.received_drops[NET_DROP_LINK] - before, 1);
	assert_false(info_of(n, "two/lan0").up);
}

/* The senders wait, then lose what is for it, and go on at once when it takes frames again. */
static void a_receiver_that_stands_still_is_waited_for_once(void **state)
{
	struct network *n = define_net("lan", "");
	uint64_t lost;

	(void)state;
	open_guest(&a, "one", "lan");
	open_guest(&b, "two", "lan");
	b.keeps = true;
	for (unsigned i = 0; i < NET_GUEST_BUFFERS; i++)
		send(&a, b.mac, (uint8_t)i, 60);
	run();
	assert_int_equal(a.sent, NET_GUEST_BUFFERS);
	send(&a, b.mac, 0xee, 60);
	net_guests_run_until(fake_host.ops.clock->ticks());
	assert_int_equal(a.sent, NET_GUEST_BUFFERS); /* it waits */
	net_guests_run_ns(NET_PATIENCE_DEFAULT_NS + MS); /* the network's worker ends that */
	assert_int_equal(a.sent, NET_GUEST_BUFFERS + 1);
	lost = info_of(n, "two/lan0").figures.received_drops[NET_DROP_NO_BUFFER];
	assert_int_equal(lost, 1);
	assert_int_equal(info_of(n, "two/lan0").figures.stalls, 1);
	b.keeps = false;
	run();
	assert_int_equal(b.received, NET_GUEST_BUFFERS);
	send(&a, b.mac, 0xef, 60);
	run();
	assert_int_equal(b.received, NET_GUEST_BUFFERS + 1);
}

static void a_vm_goes_while_frames_flow(void **state)
{
	uint64_t promised, sent;
	struct network *n = define_net("lan", "");

	(void)state;
	open_guest(&a, "one", "lan");
	open_guest(&c, "three", "lan");
	promised = vm_rig.machine.committed;
	for (unsigned i = 0; i < 5; i++) {
		if (i == 0)
			open_guest(&b, "two", "lan");
		else
			assert_int_equal(net_guest_open(&b, vm_find(&vm_rig.machine, "two"), &err), ST_OK);
		b.keeps = i & 1; /* with somebody who waits for it, and without */
		turn(&vm_nic_knobs, "rate", &a.vm->nic_places[0], 125000000);
		flood_to(&a, &b, 60);
		net_guests_run_ns(5 * MS);
		assert_true(a.sent > 0);
		net_guest_close(&b);
		sent = a.sent;
		net_guests_run_ns(5 * MS);
		assert_true(a.sent > sent);
		assert_true(net_switch_check(&n->sw));
	}
	memset(&b, 0, sizeof b);
	a.acts = NULL;
	/* The sender goes with all its frames under way. */
	c.keeps = true;
	flood_to(&a, &c, 60);
	net_guests_run_ns(2 * MS);
	a.acts = NULL;
	net_guest_close(&a);
	memset(&a, 0, sizeof a);
	run();
	assert_int_equal(n->client_count, 1);
	assert_true(vm_rig.machine.committed >= promised);
}

/* ---- the uplink ---- */

/* Its address ends with the name's first letter, by which the wire counts. */
static void open_on_wire(struct net_guest *g, const char *name, const char *pool, uint32_t shares)
{
	struct vm *vm = define_vm(name, "lan");
	const uint8_t mac[NET_MAC_BYTES] = {0x52, 0x54, 0, 0, 1, (uint8_t)name[0]};

	memcpy(vm->config.nics[0].mac, mac, sizeof mac);
	strcpy(vm->config.pool, pool);
	vm->config.nics[0].numbers.shares = shares;
	assert_int_equal(net_guest_open(g, vm, &err), ST_OK);
}

static void define_pool(const char *name, uint32_t shares)
{
	struct pool_config cfg;
	struct pool *p;

	pool_config_init(&cfg);
	strcpy(cfg.name, name);
	cfg.net.numbers.shares = shares;
	assert_int_equal(pool_define(&vm_rig.machine, &cfg, &p, &err), ST_OK);
}

static uint64_t by_wire(const struct net_guest *g) { return wire.bytes_of[g->mac[5]]; }

/* Two of these in the ratio of @x to @y, within 3 %. */
static void in_ratio(uint64_t first, uint64_t second, uint64_t x, uint64_t y)
{
	assert_in_range(first * y * 100, second * x * 97, second * x * 103);
}

static struct {
	uint64_t a, b, c;
} got;

/* What each of the three got by the wire in @ns, once it is as it will be. */
static void measure(uint64_t ns)
{
	net_guests_run_ns(100 * MS);
	got.a = by_wire(&a);
	got.b = by_wire(&b);
	got.c = by_wire(&c);
	net_guests_run_ns(ns);
	got.a = by_wire(&a) - got.a;
	got.b = by_wire(&b) - got.b;
	got.c = by_wire(&c) - got.c;
}

static void frames_go_out_and_come_in(void **state)
{
	struct network *n = define_net("lan", "nic0");
	struct network_port_info info;
	unsigned long masked;

	(void)state;
	assert_true(wire.promiscuous);
	open_on_wire(&a, "ann", "", 1000);
	open_on_wire(&b, "bob", "", 1000);
	send(&a, outside, 0x21, 300);
	run();
	assert_int_equal(wire.frames_of['a'], 1);
	assert_int_equal(wire.last_bytes, 300);
	assert_memory_equal(wire.last, frame, 300);
	assert_int_equal(b.received, 0);
	/* What is between guests does not go out. */
	send(&a, b.mac, 0x22, 300);
	run();
	assert_true(wire.frames_of['a'] == 1 && b.received == 1);
	send(&a, everybody, 0x23, 60);
	run();
	assert_true(wire.frames_of['a'] == 2 && b.received == 2);
	/* From the wire. */
	memcpy(frame, b.mac, NET_MAC_BYTES);
	memcpy(frame + NET_MAC_BYTES, outside, NET_MAC_BYTES);
	masked = fake_host.ops.mask();
	assert_true(paced_nic_comes(&wire, frame, 60));
	fake_host.ops.unmask(masked);
	run();
	assert_int_equal(b.received, 3);
	assert_memory_equal(b.last, frame, 60);
	info = info_of(n, "ann/lan0");
	assert_true(info.wire_frames == 2 && info.wire_bytes == 360 && info.held == 0);
	info = info_of(n, "uplink");
	assert_true(info.figures.sent_frames == 1 && info.figures.received_frames == 2);
	assert_int_equal(figure(&network_nic_counters, &wire.nic, "tx.frames", 0), 2);
	assert_int_equal(figure(&network_nic_counters, &wire.nic, "up", 0), 1);
	assert_int_equal(figure(&network_counters, n, "uplink.up", 0), 1);
	assert_int_equal(figure(&network_counters, n, "ports", 0), 3);
}

static void the_wire_is_shared_out(void **state)
{
	(void)state;
	define_net("lan", "nic0");
	open_on_wire(&a, "ann", "", 1000);
	open_on_wire(&b, "bob", "", 2000);
	flood_to(&a, NULL, FULL);
	flood_to(&b, NULL, FULL);
	measure(SECOND);
	in_ratio(got.a, got.b, 1, 2);
	assert_in_range(got.a + got.b, WIRE_RATE * 97 / 100, WIRE_RATE * 103 / 100);
	turn(&vm_nic_knobs, "mbps.shares", &a.vm->nic_places[0], 6000);
	measure(SECOND);
	in_ratio(got.a, got.b, 3, 1);
	/* A limit, and then a reservation. */
	turn(&vm_nic_knobs, "mbps.limit", &a.vm->nic_places[0], 1250000);
	measure(SECOND);
	assert_in_range(got.a, 1225000, 1275000);
	assert_in_range(got.a + got.b, WIRE_RATE * 97 / 100, WIRE_RATE * 103 / 100);
	turn(&vm_nic_knobs, "mbps.limit", &a.vm->nic_places[0], RLS_UNLIMITED);
	turn(&vm_nic_knobs, "mbps.shares", &a.vm->nic_places[0], 1);
	turn(&vm_nic_knobs, "mbps.reservation", &a.vm->nic_places[0], 5000000);
	measure(SECOND);
	assert_in_range(got.a, 4850000, 5300000);
	assert_in_range(got.a + got.b, WIRE_RATE * 97 / 100, WIRE_RATE * 103 / 100);
}

static void the_wire_is_shared_out_by_pools(void **state)
{
	struct network *n = define_net("lan", "nic0");
	struct pool *gold;

	(void)state;
	define_pool("gold", 2000);
	define_pool("lead", 1000);
	gold = pool_find(&vm_rig.machine, "gold");
	open_on_wire(&a, "ann", "lead", 1000);
	open_on_wire(&b, "bob", "lead", 3000);
	open_on_wire(&c, "cid", "gold", 1);
	flood_to(&a, NULL, FULL);
	flood_to(&b, NULL, FULL);
	flood_to(&c, NULL, FULL);
	measure(2 * SECOND);
	in_ratio(got.a + got.b, got.c, 1, 2);
	in_ratio(got.a, got.b, 1, 3);
	/* Other numbers, at once. */
	turn(&pool_net_knobs, "mbps.shares", gold, 1000);
	measure(2 * SECOND);
	in_ratio(got.a + got.b, got.c, 1, 1);
	turn(&pool_net_knobs, "mbps.limit", gold, 1250000);
	measure(SECOND);
	assert_in_range(got.c, 1225000, 1275000);
	turn(&pool_net_knobs, "mbps.limit", gold, RLS_UNLIMITED);
	/* Another place, with frames waiting. */
	strcpy(b.vm->config.pool, "gold");
	b.vm->config.nics[0].numbers.shares = 1;
	measure(2 * SECOND);
	in_ratio(got.b + got.c, got.a, 1, 1);
	in_ratio(got.b, got.c, 1, 1);
	/* A pool that is in another one from now on. */
	strcpy(pool_find(&vm_rig.machine, "lead")->config.parent, "gold");
	measure(2 * SECOND);
	in_ratio(got.b, got.c, 1, 1);
	assert_true(got.a > 100 * got.b); /* 1000 to 1 and 1 */
	strcpy(pool_find(&vm_rig.machine, "lead")->config.parent, "");
	assert_true(net_switch_check(&n->sw));
}

static void what_is_behind_the_wire_may_be_slower(void **state)
{
	struct network *n = define_net("lan", "nic0");

	(void)state;
	turn(&network_knobs, "uplink.rate", n, 1250000);
	open_on_wire(&a, "ann", "", 1000);
	open_on_wire(&b, "bob", "", 3000);
	flood_to(&a, NULL, FULL);
	flood_to(&b, NULL, FULL);
	measure(2 * SECOND);
	assert_in_range(got.a + got.b, 2450000, 2550000);
	in_ratio(got.a, got.b, 1, 3);
}

/* Somebody looks, and soon enough that the wire is busy. */
static void an_interface_that_does_not_interrupt(void **state)
{
	unsigned long masked;

	(void)state;
	wire.nic.silent = true;
	define_net("lan", "nic0");
	open_on_wire(&a, "ann", "", 1000);
	net_guests_run_ns(10 * MS);
	memcpy(frame, a.mac, NET_MAC_BYTES);
	memcpy(frame + NET_MAC_BYTES, outside, NET_MAC_BYTES);
	masked = fake_host.ops.mask();
	assert_true(paced_nic_comes(&wire, frame, 60));
	fake_host.ops.unmask(masked);
	net_guests_run_ns(2 * NIC_LOOK_NS);
	assert_int_equal(a.received, 1);
	flood_to(&a, NULL, FULL);
	measure(100 * MS);
	assert_true(got.a > WIRE_RATE / 10 * 9 / 10);
	assert_int_equal(wire.nic.figures.interrupts, 0);
	a.acts = NULL;
}

static void vms_go_with_frames_for_the_wire(void **state)
{
	uint64_t promised = vm_rig.machine.committed;
	struct network *n = define_net("lan", "nic0");

	(void)state;
	define_pool("gold", 2000);
	turn(&network_knobs, "uplink.rate", n, 125000);
	open_on_wire(&b, "bob", "", 1000);
	for (unsigned i = 0; i < 5; i++) {
		if (i == 0)
			open_on_wire(&a, "ann", "gold", 1000);
		else
			assert_int_equal(net_guest_open(&a, vm_find(&vm_rig.machine, "ann"), &err), ST_OK);
		flood_to(&a, NULL, FULL);
		flood_to(&b, NULL, FULL);
		net_guests_run_ns(50 * MS);
		assert_true(info_of(n, "ann/lan0").held > 0);
		a.acts = NULL;
		net_guest_close(&a);
		memset(&a, 0, sizeof a);
		assert_int_equal(n->pools.at[POOL_OWN_COUNT].users, 0);
	}
	b.acts = NULL;
	close_all();
	assert_int_equal(network_remove(&vm_rig.machine, "lan", &err), ST_OK);
	assert_int_equal(vm_destroy(vm_find(&vm_rig.machine, "ann"), &err), ST_OK);
	assert_int_equal(vm_destroy(vm_find(&vm_rig.machine, "bob"), &err), ST_OK);
	vm_rig_remove_pools();
	assert_int_equal(vm_rig.machine.committed, promised);
	assert_false(wire.interrupts);
}

static void an_uplink_comes_and_goes(void **state)
{
	struct network_config cfg = net_config("lan", "nic0"), other = net_config("wan", "nic0");
	struct network *n = define_net("lan", "");

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(network_define(&vm_rig.machine, &cfg, &err), ST_OK);
		refused(&other, ST_BUSY, "uplink: nic0 is that of network lan");
		open_on_wire(&a, i == 0 ? "ann" : i == 1 ? "bob" : "cid", "", 1000);
		send(&a, outside, 1, 60);
		run();
		assert_int_equal(wire.frames_of[a.mac[5]], 1);
		net_guest_close(&a);
		memset(&a, 0, sizeof a);
		cfg.uplink[0] = '\0';
		assert_int_equal(network_define(&vm_rig.machine, &cfg, &err), ST_OK);
		assert_false(n->wired || wire.interrupts);
		strcpy(cfg.uplink, "nic0");
	}
	assert_int_equal(network_define(&vm_rig.machine, &other, &err), ST_OK);
	refused(&cfg, ST_BUSY, "uplink: nic0 is that of network wan");
	/* With a tag on the wire's frames. */
	other.uplink_vlan = 9;
	assert_int_equal(network_define(&vm_rig.machine, &other, &err), ST_OK);
	assert_int_equal(network_find(&vm_rig.machine, "wan")->uplink.port.config.vlan, 9);
}

/* ---- captures ---- */

static void a_capture_writes_down_what_passes(void **state)
{
	uint64_t promised, lost;
	static uint8_t data[NET_TAP_SNAP_MAX];
	struct net_tap_record r;
	uint32_t id, other;
	bool there;

	(void)state;
	define_net("lan", "");
	open_guest(&a, "one", "lan");
	open_guest(&b, "two", "lan");
	promised = vm_rig.machine.committed;
	assert_int_equal(network_capture_begin(&vm_rig.machine, "one/lan1", 0, &id, &err), ST_NOT_FOUND);
	assert_int_equal(network_capture_begin(&vm_rig.machine, "lan/uplink", 0, &id, &err), ST_NOT_FOUND);
	assert_int_equal(network_capture_begin(&vm_rig.machine, "one/lan0", 64, &id, &err), ST_OK);
	assert_int_equal(network_capture_begin(&vm_rig.machine, "one/lan0", 0, &other, &err), ST_BUSY);
	assert_int_equal(network_capture_begin(&vm_rig.machine, "two/lan0", 0, &other, &err), ST_OK);
	assert_int_not_equal(id, other);
	assert_true(vm_rig.machine.committed >= promised + 2 * NETWORK_TAP_RING);
	send(&a, b.mac, 0x77, 100);
	run();
	assert_int_equal(network_capture_read(&vm_rig.machine, id, &r, data, &there, &err), ST_OK);
	assert_true(there && r.bytes == 100 && r.kept == 64 && r.sent);
	assert_memory_equal(data, frame, 64);
	assert_int_equal(network_capture_read(&vm_rig.machine, id, &r, data, &there, &err), ST_OK);
	assert_false(there);
	assert_int_equal(network_capture_read(&vm_rig.machine, other, &r, data, &there, &err), ST_OK);
	assert_true(there && r.bytes == 100 && r.kept == 100 && !r.sent);
	assert_int_equal(network_capture_end(&vm_rig.machine, id, &lost, &err), ST_OK);
	assert_int_equal(lost, 0);
	assert_int_equal(network_capture_read(&vm_rig.machine, id, &r, data, &there, &err), ST_NOT_FOUND);
	/* The port goes: what was written can still be read, once. */
	send(&a, b.mac, 0x78, 60);
	run();
	net_guest_close(&b);
	memset(&b, 0, sizeof b);
	assert_int_equal(network_capture_read(&vm_rig.machine, other, &r, data, &there, &err), ST_OK);
	assert_true(there && data[20] == 0x78);
	assert_int_equal(network_capture_read(&vm_rig.machine, other, &r, data, &there, &err), ST_NOT_FOUND);
	assert_non_null(strstr(err.text, "is gone"));
	assert_int_equal(network_capture_end(&vm_rig.machine, other, &lost, &err), ST_OK);
	assert_int_equal(vm_rig.machine.committed, promised);
}

static void a_capture_that_nobody_reads_ends(void **state)
{
	uint64_t promised;
	static uint8_t data[NET_TAP_SNAP_MAX];
	struct net_tap_record r;
	uint32_t id;
	bool there;

	(void)state;
	define_net("lan", "");
	open_guest(&a, "one", "lan");
	promised = vm_rig.machine.committed;
	assert_int_equal(network_capture_begin(&vm_rig.machine, "one/lan0", 64, &id, &err), ST_OK);
	fake_host_advance(59 * VM_RIG_HZ);
	(void)networks_step(&vm_rig.machine);
	assert_int_equal(network_capture_read(&vm_rig.machine, id, &r, data, &there, &err), ST_OK);
	fake_host_advance(59 * VM_RIG_HZ);
	(void)networks_step(&vm_rig.machine);
	assert_int_equal(network_capture_read(&vm_rig.machine, id, &r, data, &there, &err), ST_OK);
	fake_host_advance(61 * VM_RIG_HZ);
	(void)networks_step(&vm_rig.machine);
	assert_int_equal(network_capture_read(&vm_rig.machine, id, &r, data, &there, &err), ST_NOT_FOUND);
	assert_int_equal(vm_rig.machine.committed, promised);
	for (unsigned i = 0; i < NETWORK_TAPS_MAX; i++) {
		char name[VM_NAME_MAX];

		format(name, sizeof name, "n%u", i);
		assert_int_equal(net_guest_open(&b, define_vm(name, "lan"), &err), ST_OK);
		format(name, sizeof name, "n%u/lan0", i);
		assert_int_equal(network_capture_begin(&vm_rig.machine, name, 64, &id, &err), ST_OK);
		net_guest_close(&b);
		memset(&b, 0, sizeof b);
	}
	assert_int_equal(network_capture_begin(&vm_rig.machine, "one/lan0", 64, &id, &err), ST_OVER_LIMIT);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(definitions_are_checked),
		T(networks_come_and_go),
		T(what_cannot_be_made_leaves_nothing),
		T(a_network_that_is_in_use_stays),
		T(settings_are_knobs),
		T(frames_go_from_one_to_another),
		T(an_address_is_one_ports),
		T(a_rate_holds_and_may_change),
		T(links_and_isolation_change_at_once),
		T(a_receiver_that_stands_still_is_waited_for_once),
		T(a_vm_goes_while_frames_flow),
		T(frames_go_out_and_come_in),
		T(the_wire_is_shared_out),
		T(the_wire_is_shared_out_by_pools),
		T(what_is_behind_the_wire_may_be_slower),
		T(an_interface_that_does_not_interrupt),
		T(vms_go_with_frames_for_the_wire),
		T(an_uplink_comes_and_goes),
		T(a_capture_writes_down_what_passes),
		T(a_capture_that_nobody_reads_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
