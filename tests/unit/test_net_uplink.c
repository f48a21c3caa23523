/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The uplink over an interface that is made here, with a wire of a rate, on a clock set by hand: who sends how much
 * when all want to, what a limit and a reservation are worth, how long a lonely frame waits beside floods, what comes
 * of frames when the wire goes, when they are taken back, when the interface stops. Each frame is told of once.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "io/net_uplink.h"
#include "lib/assert.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/packets.h"
#include "tests/model/random.h"

#define HZ 1000000000ull
#define MS (HZ / 1000)
#define US (HZ / 1000000)
#define RING 64u
#define FRAME 1518u
#define GUESTS 4u
#define SLOTS 32u /* frames that a guest has under way */
#define RECEIVE 64u
#define GIGABIT 125000000ull

static const struct clock *clock_by_hand;
static struct net_switch sw;
static struct net_uplink u;
static struct error err;
static uint64_t wake;
static bool wanted;

static uint64_t now(void)
{
	return clock_by_hand->ticks();
}

/* ---- an interface and its wire ---- */

static struct {
	struct nic nic;
	uint64_t rate; /* bytes a second */
	struct slot {
		uint8_t data[FRAME];
		uint32_t bytes;
		uint64_t sent_at;
	} ring[RING];
	unsigned head, kicked, tail; /* committed, told of, sent */
	unsigned kicks;
	uint64_t busy_until;
	bool wedged, resets, link, link_was_asked;
	bool interrupts;
	unsigned switched; /* interrupts on or off */
	uint8_t received[RECEIVE][FRAME];
	uint32_t received_bytes[RECEIVE];
	unsigned in_head, in_tail, in_released;
	bool promiscuous;
	uint32_t most_waiting;
} wire;

static void on_wire(const struct slot *s);

static uint8_t *wire_reserve(struct nic *n, uint32_t bytes)
{
	assert_true(lock_is_mine(&u.lock) && bytes <= n->max_frame && bytes >= NET_FRAME_MIN);
	return wire.head - wire.tail < RING ? wire.ring[wire.head % RING].data : NULL;
}

static void wire_commit(struct nic *n, uint32_t bytes)
{
	assert_true(lock_is_mine(&u.lock) && wire.head - wire.tail < RING && n->up);
	wire.ring[wire.head++ % RING].bytes = bytes;
	n->waiting_bytes += bytes;
	wire.most_waiting = MAX(wire.most_waiting, n->waiting_bytes);
}

static void wire_kick(struct nic *n)
{
	assert_true(lock_is_mine(&u.lock) && wire.kicked != wire.head);
	(void)n;
	wire.kicks++;
	for (; wire.kicked != wire.head; wire.kicked++) {
		struct slot *s = &wire.ring[wire.kicked % RING];

		wire.busy_until = MAX(wire.busy_until, now()) + s->bytes * HZ / wire.rate;
		s->sent_at = wire.busy_until;
	}
}

static bool wire_sent(void)
{
	return !wire.wedged && wire.tail != wire.kicked && wire.ring[wire.tail % RING].sent_at <= now();
}

static void wire_poll(struct nic *n)
{
	assert_true(lock_is_mine(&u.lock));
	while (wire_sent()) {
		struct slot *s = &wire.ring[wire.tail++ % RING];

		n->waiting_bytes -= s->bytes;
		n->sent_bytes += s->bytes;
		on_wire(s);
	}
	if (wire.resets) {
		wire.resets = wire.wedged = false;
		wire.tail = wire.kicked = wire.head;
		n->waiting_bytes = 0;
		wire.busy_until = now();
	}
	if (wire.link != n->up) {
		n->up = wire.link;
		n->link_changed(n);
	}
}

static bool wire_receive(struct nic *n, struct nic_frame *out)
{
	(void)n;
	assert_true(lock_is_mine(&u.lock) && wire.in_tail - wire.in_released < NIC_RECEIVED_MAX);
	if (wire.in_tail == wire.in_head)
		return false;
	*out = (struct nic_frame){wire.received[wire.in_tail % RECEIVE], wire.received_bytes[wire.in_tail % RECEIVE], true};
	wire.in_tail++;
	return true;
}

static void wire_release(struct nic *n)
{
	(void)n;
	assert_true(lock_is_mine(&u.lock) && wire.in_released != wire.in_tail);
	memset(wire.received[wire.in_released++ % RECEIVE], 0xdd, FRAME);
}

static void wire_interrupts(struct nic *n, bool on)
{
	(void)n;
	assert_true(lock_is_mine(&u.lock));
	wire.interrupts = on;
	wire.switched++;
}

static void wire_promiscuous(struct nic *n, bool on)
{
	(void)n;
	wire.promiscuous = on;
}

static const struct nic_ops wire_ops = {
	.reserve = wire_reserve,
	.commit = wire_commit,
	.kick = wire_kick,
	.poll = wire_poll,
	.receive = wire_receive,
	.release = wire_release,
	.interrupts = wire_interrupts,
	.promiscuous = wire_promiscuous,
};

/* When it would interrupt next, if nothing new came. */
static uint64_t wire_next(void)
{
	if (wire.in_tail != wire.in_head || wire.link != wire.nic.up)
		return now();
	return wire.wedged || wire.tail == wire.kicked ? UINT64_MAX : wire.ring[wire.tail % RING].sent_at;
}

/* ---- guests ---- */

struct frame_out {
	struct net_ticket t;
	struct net_frame f;
	struct io_segment segments[2];
	uint8_t data[FRAME];
	enum { FREE, UNDER_WAY, WAITING, READY } state;
	struct guest *guest;
	unsigned id;
	bool told;
};

static struct guest {
	struct net_port port;
	struct net_uplink_client client;
	struct frame_out out[SLOTS];
	unsigned bytes;	     /* of its frames; more than a wire's: to be cut */
	bool floods;	     /* it always has more */
	uint64_t every, next; /* else one so often */
	unsigned ids;
	/* What came of it. */
	uint64_t wire_bytes, wire_frames, first_at, last_at;
	unsigned wire_id;
	uint64_t sent, lost[NET_DROPS], waits;
	uint64_t longest, latencies;
	uint64_t came_at[1u << 16]; /* by id */
	unsigned received;
} guests[GUESTS];

static struct mclock_pool pools[3];

static const uint8_t far_away[6] = {2, 0xfa, 0, 0, 0, 1};
static uint8_t nothing[65536];

static void guest_mac(unsigned i, uint8_t *mac)
{
	memcpy(mac, (uint8_t[6]){0x52, 0x54, 0, 0, 0, (uint8_t)i}, 6);
}

static enum net_answer guest_deliver(void *ctx, struct net_ticket *t, enum net_drop *why)
{
	struct guest *g = ctx;

	(void)why;
	assert_false(lock_is_mine(&u.lock));
	assert_true(t->frame->offload.checksum_good && !t->patient);
	g->received++;
	return NET_DONE;
}

static const struct net_port_ops guest_ops = {.deliver = guest_deliver};

static void end(struct frame_out *o, enum net_drop why)
{
	assert_true((o->state == UNDER_WAY || o->state == WAITING) && !o->told);
	o->told = true;
	o->state = FREE;
	if (why == NET_DROP_NONE)
		o->guest->sent++;
	else
		o->guest->lost[why]++;
}

static void on_done(struct net_ticket *t, enum net_drop why)
{
	assert_false(lock_is_mine(&u.lock));
	end(container_of(t, struct frame_out, t), why);
}

static void on_ready(struct net_ticket *t)
{
	struct frame_out *o = container_of(t, struct frame_out, t);

	assert_false(lock_is_mine(&u.lock));
	assert_int_equal(o->state, WAITING);
	o->state = READY;
}

/* The number of a frame stands in TCP's sequence; the kind of service says whether it is to be cut. */
static void make(struct guest *g, struct frame_out *o)
{
	uint32_t payload = g->bytes - 54;
	uint8_t *d = o->data;

	o->id = g->ids++;
	o->told = false;
	g->came_at[o->id % ARRAY_SIZE(g->came_at)] = now();
	memset(d, 0, 54);
	memcpy(d, far_away, 6);
	guest_mac((unsigned)(g - guests), d + 6);
	d[12] = 8;
	d[14] = 0x45;
	put_be16(d + 16, (uint16_t)(g->bytes - 14));
	d[23] = 6;
	d[46] = 0x50;
	d[15] = g->bytes > 1514;
	put_be32(d + 38, o->id);
	o->segments[0] = (struct io_segment){d, 54};
	o->segments[1] = (struct io_segment){nothing, payload};
	o->f = (struct net_frame){.segments = o->segments, .segment_count = 2, .bytes = g->bytes,
				  .head_bytes = (uint16_t)MIN(g->bytes, NET_HEAD_MAX)};
	if (g->bytes > 1514)
		o->f.offload = (struct net_offload){.needs_checksum = true, .gso = NET_GSO_TCP4, .gso_size = 1460,
						    .checksum_at = 34, .checksum_offset = 16};
	memcpy(o->f.head, d, 54);
	memset(o->f.head + 54, 0, o->f.head_bytes - 54u);
	assert_int_equal(net_frame_parse(&o->f, 1500), NET_DROP_NONE);
}

static void send(struct guest *g, struct frame_out *o)
{
	struct net_batch batch = {0};
	unsigned budget = 1000000;
	enum net_answer answer;

	o->guest = g;
	o->t.frame = &o->f;
	o->t.patient = true;
	o->t.ready = on_ready;
	o->t.done = on_done;
	o->state = UNDER_WAY;
	answer = net_switch_send(&g->port, &o->t, &batch, &budget);
	if (answer == NET_DONE)
		end(o, NET_DROP_NONE);
	else if (answer == NET_WAIT)
		o->state = WAITING;
	g->waits += answer == NET_WAIT;
	net_switch_flush(&sw, &batch);
}

/* The oldest of its frames that is to be sent once more. */
static struct frame_out *oldest_ready(struct guest *g)
{
	struct frame_out *found = NULL;

	for (unsigned i = 0; i < SLOTS; i++)
		if (g->out[i].state == READY && (!found || g->out[i].id < found->id))
			found = &g->out[i];
	return found;
}

static bool waits(const struct guest *g)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (g->out[i].state == WAITING)
			return true;
	return false;
}

static void guest_step(struct guest *g)
{
	struct frame_out *o;

	while ((o = oldest_ready(g)) != NULL)
		send(g, o);
	/* What comes behind one that waits would overtake it. */
	for (unsigned i = 0; i < SLOTS && !waits(g) && (g->floods || (g->every && g->next <= now())); i++) {
		if (g->out[i].state != FREE)
			continue;
		make(g, &g->out[i]);
		send(g, &g->out[i]);
		g->next += g->every;
	}
}

static void on_wire(const struct slot *s)
{
	struct guest *g = &guests[s->data[11]];
	uint32_t id = get_be32(s->data + 38);

	assert_memory_equal(s->data, far_away, 6);
	g->wire_frames++;
	g->wire_bytes += s->bytes;
	g->first_at = g->first_at ? g->first_at : s->sent_at;
	g->last_at = s->sent_at;
	if (s->data[15])
		return; /* the pieces' sequence counts bytes */
	assert_true(id >= g->wire_id && id < g->ids);
	g->wire_id = id + 1;
	g->longest = MAX(g->longest, s->sent_at - g->came_at[id % ARRAY_SIZE(g->came_at)]);
	g->latencies += s->sent_at - g->came_at[id % ARRAY_SIZE(g->came_at)];
}

/* ---- the machine ---- */

static void on_wake(void *ctx)
{
	assert_ptr_equal(ctx, &u);
	wanted = true;
}

static void on_wake_at(void *ctx, uint64_t at)
{
	assert_ptr_equal(ctx, &u);
	assert_true(lock_is_mine(&u.lock));
	wake = at;
}

static uint64_t env_now(void *ctx)
{
	(void)ctx;
	return now();
}
static void port_wake_at(void *ctx, struct net_port *p, uint64_t at)
{
	(void)ctx, (void)p, (void)at;
}

static void work(void)
{
	for (unsigned rounds = 0; wanted; rounds++) {
		wanted = net_uplink_run(&u, 20000);
		assert_true(rounds < 10000);
	}
}

/* Until @at: guests send when they may, the worker works when it is asked to, the wire interrupts when it may. */
static void run_until(uint64_t at)
{
	for (;;) {
		uint64_t next;

		for (unsigned i = 0; i < GUESTS; i++)
			if (guests[i].port.sw)
				guest_step(&guests[i]);
		work();
		next = wake;
		for (unsigned i = 0; i < GUESTS; i++) {
			if (guests[i].every)
				next = MIN(next, guests[i].next);
			for (unsigned k = 0; k < SLOTS; k++)
				if (guests[i].out[k].state == READY)
					next = now();
		}
		if (wire.interrupts)
			next = MIN(next, wire_next());
		if (next > at)
			break;
		hand_clock_set(MAX(next, now()));
		if (wake <= now()) {
			wake = UINT64_MAX;
			wanted = true;
		}
		if (wire.interrupts && wire_next() <= now()) {
			wire.interrupts = false;
			wire.nic.interrupted(&wire.nic);
		}
	}
	hand_clock_set(at);
}

static void run_for(uint64_t ticks)
{
	run_until(now() + ticks);
}

static struct rls numbers(uint64_t reservation, uint64_t limit, uint32_t shares)
{
	return (struct rls){.reservation = reservation, .limit = limit ? limit : RLS_UNLIMITED, .shares = shares};
}

/* Guest @i, whose frames have @bytes. */
static struct guest *begin(unsigned i, struct rls n, struct mclock_pool *pool, unsigned bytes)
{
	struct net_port_config cfg = {.locked_mac = true, .up = true, .mtu = 1500};
	struct guest *g = &guests[i];

	guest_mac(i, cfg.mac);
	assert_int_equal(net_port_open(&g->port, &sw, &guest_ops, g, &cfg, false, &err), ST_OK);
	net_uplink_client_begin(&u, &g->client, &g->port, pool, &n);
	g->bytes = bytes;
	return g;
}

static void open_uplink(const struct net_uplink_settings *set)
{
	static const struct net_uplink_env env = {.wake = on_wake, .wake_at = on_wake_at, .ctx = &u};

	if (net_uplink_open(&u, &sw, &wire.nic, &env, set, &err) != ST_OK)
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	struct net_switch_settings set;
	struct net_uplink_settings uplink;

	(void)state;
	clock_by_hand = hand_clock_init(HZ);
	hand_clock_set(HZ);
	memset(&sw, 0, sizeof sw);
	memset(&u, 0, sizeof u);
	memset(&wire, 0, sizeof wire);
	memset(guests, 0, sizeof guests);
	wire.nic = (struct nic){.ops = &wire_ops, .name = "nic0", .max_frame = FRAME, .up = true};
	wire.link = true;
	wire.rate = GIGABIT;
	wake = UINT64_MAX;
	wanted = false;
	net_switch_settings_init(&set);
	assert_int_equal(net_switch_init(&sw, &(struct net_env){.now = env_now, .hz = HZ, .wake_at = port_wake_at}, &set, &err),
			 ST_OK);
	net_uplink_settings_init(&uplink);
	open_uplink(&uplink);
	assert_true(wire.promiscuous);
	return 0;
}

static void stop_sending(void)
{
	for (unsigned i = 0; i < GUESTS; i++) {
		guests[i].floods = false;
		guests[i].every = 0;
	}
}

/* Everything that was sent is told of, and everything that was told of as sent is on the wire. */
static int teardown(void **state)
{
	(void)state;
	stop_sending();
	wire.link = true;
	run_for(3000 * MS);
	assert_true(mclock_check(&u.root) && u.root.waiting == 0);
	for (unsigned i = 0; i < GUESTS; i++) {
		struct guest *g = &guests[i];
		uint64_t ended = g->sent;

		if (!g->port.sw)
			continue;
		for (unsigned k = 0; k < NET_DROPS; k++)
			ended += g->lost[k];
		for (unsigned k = 0; k < SLOTS; k++)
			assert_true(g->out[k].state == FREE);
		assert_int_equal(ended, g->ids);
		net_uplink_client_end(&u, &g->client);
		assert_true(net_port_close(&g->port));
	}
	assert_true(net_uplink_close(&u));
	assert_false(wire.interrupts || wire.promiscuous);
	assert_int_equal(wire.in_released, wire.in_tail);
	assert_true(net_switch_check(&sw));
	return 0;
}

static void within(uint64_t is, uint64_t wanted_value, unsigned per_mille)
{
	uint64_t off = MAX(is, wanted_value) - MIN(is, wanted_value);

	if (off * 1000 > wanted_value * per_mille)
		fail_msg("%llu, expected %llu: %llu per mille off", (unsigned long long)is, (unsigned long long)wanted_value,
			 (unsigned long long)(off * 1000 / wanted_value));
}

static void forget(void)
{
	for (unsigned i = 0; i < GUESTS; i++)
		guests[i].wire_bytes = guests[i].wire_frames = guests[i].longest = guests[i].latencies = 0;
}

/* ---- shares and rates ---- */

static void test_shares(void **state)
{
	static const unsigned sizes[][3] = {
		{1514, 1514, 1514}, {1514, 54 + 1460 * 44, 60}, {54 + 1460 * 44, 600, 1514}, {60, 60, 54 + 1460 * 20 + 7}};

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		begin(i, numbers(0, 0, 1000u << i), NULL, 1514)->floods = true;
	for (unsigned k = 0; k < ARRAY_SIZE(sizes); k++) {
		uint64_t all = 0;

		for (unsigned i = 0; i < 3; i++)
			guests[i].bytes = sizes[k][i];
		run_for(20 * MS);
		forget();
		run_for(100 * MS);
		for (unsigned i = 0; i < 3; i++)
			all += guests[i].wire_bytes;
		within(all, GIGABIT / 10, 5);
		for (unsigned i = 0; i < 3; i++)
			within(guests[i].wire_bytes, all * (1u << i) / 7, 30);
	}
	assert_true(guests[0].waits > 0 && u.cut_frames > 0);
	assert_true(wire.most_waiting < 16384 + FRAME);
}

static void test_pools(void **state)
{
	struct rls n = numbers(0, 0, 3000), inner = numbers(0, GIGABIT / 10, 1000);

	(void)state;
	net_uplink_pool_begin(&u, &pools[0], NULL, &n);
	net_uplink_pool_begin(&u, &pools[1], &pools[0], &inner);
	begin(0, numbers(0, 0, 1000), NULL, 1514)->floods = true;
	begin(1, numbers(0, 0, 1000), &pools[0], 1514)->floods = true;
	begin(2, numbers(0, 0, 9000), &pools[1], 54 + 1460 * 44)->floods = true;
	begin(3, numbers(0, 0, 3000), &pools[1], 60)->floods = true;
	run_for(20 * MS);
	forget();
	run_for(200 * MS);
	within(guests[0].wire_bytes, GIGABIT / 5 / 4, 30);
	within(guests[2].wire_bytes + guests[3].wire_bytes, GIGABIT / 5 / 10, 20);
	within(guests[2].wire_bytes, GIGABIT / 5 / 10 * 3 / 4, 30);
	within(guests[1].wire_bytes, GIGABIT / 5 * 3 / 4 - GIGABIT / 5 / 10, 30);
	/* Somewhere else, while its frames wait. */
	net_uplink_client_move(&u, &guests[3].client, NULL);
	net_uplink_client_set(&u, &guests[2].client, &(struct rls){.limit = 1000000, .shares = 1});
	run_for(40 * MS);
	forget();
	run_for(200 * MS);
	within(guests[3].wire_bytes, GIGABIT / 5 * 3 / 7, 30);
	within(guests[2].wire_bytes, 200000, 20);
	stop_sending();
	run_for(500 * MS);
	for (unsigned i = 1; i < 3; i++)
		net_uplink_client_move(&u, &guests[i].client, NULL);
	net_uplink_pool_end(&u, &pools[1]);
	net_uplink_pool_end(&u, &pools[0]);
}

static void test_limit(void **state)
{
	static const unsigned sizes[] = {1514, 60, 54 + 1460 * 44};

	(void)state;
	begin(0, numbers(0, 5000000, 1000), NULL, 1514)->floods = true;
	begin(1, numbers(0, 0, 1000), NULL, 1514);
	for (unsigned flood = 0; flood < 2; flood++) {
		guests[1].floods = flood;
		for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
			guests[0].bytes = sizes[i];
			run_for(300 * MS);
			forget();
			run_for(300 * MS);
			within(guests[0].wire_bytes, 1500000, 20);
		}
	}
	assert_true(guests[0].client.throttled > 0);
}

static void test_reservation(void **state)
{
	(void)state;
	begin(0, numbers(25000000, 0, 1), NULL, 1514)->floods = true;
	begin(1, numbers(0, 0, 1000000), NULL, 54 + 1460 * 44)->floods = true;
	run_for(100 * MS);
	forget();
	run_for(200 * MS);
	within(guests[0].wire_bytes, 5000000, 20);
	within(guests[1].wire_bytes, 20000000, 20);
	assert_true(guests[0].client.by_reservation > 0);
	guests[0].bytes = 54 + 1460 * 44;
	run_for(100 * MS);
	forget();
	run_for(200 * MS);
	within(guests[0].wire_bytes, 5000000, 20);
}

/* An access line behind the interface, slower than it. */
static void test_rate(void **state)
{
	struct net_uplink_settings set = {.rate = 2500000, .depth_bytes = 16384, .poll_frames = 32};

	(void)state;
	assert_int_equal(net_uplink_set(&u, &set, &err), ST_OK);
	begin(0, numbers(0, 0, 1000), NULL, 1514)->floods = true;
	begin(1, numbers(0, 0, 3000), NULL, 54 + 1460 * 44)->floods = true;
	run_for(200 * MS);
	forget();
	run_for(1000 * MS);
	within(guests[0].wire_bytes + guests[1].wire_bytes, 2500000, 10);
	within(guests[0].wire_bytes, 625000, 30);
}

/* ---- a lonely frame beside a flood ---- */

static uint64_t ping_for(uint64_t ticks)
{
	guests[0].every = 997 * US;
	guests[0].next = now();
	run_for(ticks);
	guests[0].every = 0;
	return guests[0].longest;
}

static void test_latency(void **state)
{
	uint64_t quiet, beside;

	(void)state;
	begin(0, numbers(0, 0, 1000), NULL, 98);
	begin(1, numbers(0, 0, 1000), NULL, 1514);
	begin(2, numbers(0, 0, 1000), NULL, 54 + 1460 * 44);
	quiet = ping_for(100 * MS);
	assert_true(quiet < 2 * US);
	guests[1].floods = guests[2].floods = true;
	run_for(20 * MS);
	forget();
	beside = ping_for(200 * MS);
	assert_true(guests[0].wire_frames >= 200);
	/* What the interface has, and one frame that was begun: 16 KiB and 1,514 bytes at a gigabit a second. */
	assert_true(beside <= (16384 + 2 * 1514 + 98) * HZ / GIGABIT + 2 * US);
	/* Less at the interface, less to wait for. */
	assert_int_equal(net_uplink_set(&u, &(struct net_uplink_settings){.depth_bytes = 3000, .poll_frames = 32}, &err), ST_OK);
	run_for(20 * MS);
	forget();
	beside = ping_for(200 * MS);
	assert_true(beside <= (3000 + 2 * 1514 + 98) * HZ / GIGABIT + 2 * US);
}

/* ---- what can happen to an interface ---- */

static uint64_t lost(const struct guest *g, enum net_drop why)
{
	return g->lost[why];
}

static void test_link_goes(void **state)
{
	struct net_port_figures f;
	uint64_t sent;
	unsigned held;

	(void)state;
	begin(0, numbers(0, 0, 1000), NULL, 1514)->floods = true;
	begin(1, numbers(0, 0, 1000), NULL, 54 + 1460 * 44)->floods = true;
	run_for(10 * MS);
	wire.wedged = true;
	run_for(10 * MS);
	stop_sending();
	held = guests[0].client.held;
	assert_true(held > NET_UPLINK_HELD_MAX / 2 && waits(&guests[0]) && guests[1].client.held > NET_UPLINK_HELD_MAX / 2);
	wire.link = false;
	wire.wedged = false;
	run_for(200 * MS);
	/* Those that it held; the one that waited found at once that it is gone. */
	assert_int_equal(lost(&guests[0], NET_DROP_LINK), held);
	assert_true(lost(&guests[1], NET_DROP_LINK) > NET_UPLINK_HELD_MAX / 2);
	assert_true(guests[0].client.lost == held && guests[0].client.held == 0);
	sent = guests[0].wire_frames;
	make(&guests[0], &guests[0].out[0]);
	{
		/* A frame that comes now: it is dropped at once, and counted at the wire's port. */
		struct net_batch batch = {0};
		unsigned budget = 100000;

		net_port_figures(&u.port, &f);
		assert_int_equal(net_switch_send(&guests[0].port, &guests[0].out[0].t, &batch, &budget), NET_DONE);
		assert_int_equal(guests[0].wire_frames, sent);
		sent = f.received_drops[NET_DROP_LINK];
		net_port_figures(&u.port, &f);
		assert_int_equal(f.received_drops[NET_DROP_LINK], sent + 1);
		guests[0].sent++;
	}
	/* And comes back. */
	wire.link = true;
	run_for(200 * MS);
	forget();
	guests[0].floods = true;
	run_for(10 * MS);
	assert_true(guests[0].wire_frames > 700);
}

static void test_wedged(void **state)
{
	(void)state;
	begin(0, numbers(0, 0, 1000), NULL, 1514)->floods = true;
	run_for(10 * MS);
	wire.wedged = true;
	run_for(300 * MS);
	assert_true(guests[0].client.held > NET_UPLINK_HELD_MAX / 2 && waits(&guests[0]));
	forget();
	/* The driver is called although nothing interrupts, and finds out. */
	wire.resets = true;
	run_for(110 * MS);
	assert_true(guests[0].wire_frames > 500);
}

static void test_cancel(void **state)
{
	struct random_state r = random_seed(7);

	(void)state;
	begin(0, numbers(0, 0, 1000), NULL, 1514)->floods = true;
	begin(1, numbers(0, 20000000, 1000), NULL, 54 + 1460 * 44)->floods = true;
	begin(2, numbers(0, 0, 100), NULL, 60)->floods = true;
	for (unsigned i = 0; i < 3000; i++) {
		struct guest *g = &guests[random_below(&r, 3)];
		struct frame_out *o = &g->out[random_below(&r, SLOTS)];

		run_for(random_below(&r, 30 * US));
		if (o->state == UNDER_WAY || o->state == WAITING) {
			assert_true(net_switch_cancel(&o->t));
			assert_false(net_switch_cancel(&o->t));
			end(o, NET_DROP_MEMORY);
		}
		assert_true(mclock_check(&u.root));
	}
	for (unsigned i = 0; i < 3; i++)
		assert_true(guests[i].sent >= 4 && lost(&guests[i], NET_DROP_MEMORY) > 100);
}

/* What waits behind frames that are taken back is told, although nothing else happens. */
static void test_cancel_lets_others_in(void **state)
{
	struct guest *g = begin(0, numbers(0, 0, 1000), NULL, 1514);

	(void)state;
	g->floods = true;
	wire.wedged = true;
	run_for(10 * MS);
	assert_true(waits(g) && wire.interrupts && !wanted);
	stop_sending();
	for (unsigned i = 0; i < SLOTS; i++)
		if (g->out[i].state == UNDER_WAY) {
			assert_true(net_switch_cancel(&g->out[i].t));
			end(&g->out[i], NET_DROP_MEMORY);
		}
	assert_true(wanted);
	work();
	assert_non_null(oldest_ready(g));
	wire.resets = true;
}

/* ---- everything at any time ---- */

static struct rls random_numbers(struct random_state *r)
{
	uint64_t reservation = random_below(r, 3) ? 0 : random_below(r, GIGABIT / 8);
	uint64_t limit = random_below(r, 2) ? RLS_UNLIMITED : reservation + 1 + random_below(r, GIGABIT);

	return (struct rls){.reservation = reservation, .limit = limit, .shares = 1 + (uint32_t)random_below(r, 10000)};
}

static void take_back(struct random_state *r, struct guest *g)
{
	struct frame_out *o = &g->out[random_below(r, SLOTS)];

	if ((o->state == UNDER_WAY || o->state == WAITING) && net_switch_cancel(&o->t))
		end(o, NET_DROP_MEMORY);
}

static void disturb(struct random_state *r)
{
	static const unsigned sizes[] = {60, 98, 1514, 54 + 1460 * 44, 54 + 1460 * 3 + 1};
	struct guest *g = &guests[random_below(r, GUESTS)];
	struct rls n = random_numbers(r);
	struct net_uplink_settings set = {.rate = random_below(r, 2) ? 0 : 1000000 + random_below(r, 2 * GIGABIT),
					  .depth_bytes = 1600 + (uint32_t)random_below(r, 60000),
					  .poll_frames = 1 + (uint32_t)random_below(r, NIC_RECEIVED_MAX)};

	switch (random_below(r, 12)) {
	case 0:
		wire.link = random_below(r, 2);
		break;
	case 1:
		wire.wedged = true;
		break;
	case 2:
		wire.resets = true;
		break;
	case 3:
		net_uplink_client_set(&u, &g->client, &n);
		break;
	case 4:
		net_uplink_client_move(&u, &g->client, random_below(r, 4) ? &pools[random_below(r, 3)] : NULL);
		break;
	case 5:
		net_uplink_pool_set(&u, &pools[random_below(r, 3)], &n);
		break;
	case 6:
		assert_int_equal(net_uplink_set(&u, &set, &err), ST_OK);
		break;
	case 7:
		g->bytes = sizes[random_below(r, ARRAY_SIZE(sizes))];
		break;
	case 8:
		g->floods = random_below(r, 2);
		break;
	default:
		take_back(r, g);
	}
}

static void anything(struct random_state *r)
{
	static const struct rls numbers_of_pools = {.limit = RLS_UNLIMITED, .shares = 1000};
	uint64_t sent = 0;

	for (unsigned i = 0; i < 3; i++)
		net_uplink_pool_begin(&u, &pools[i], i == 2 ? &pools[1] : NULL, &numbers_of_pools);
	for (unsigned i = 0; i < GUESTS; i++)
		begin(i, random_numbers(r), NULL, 1514)->floods = true;
	for (unsigned i = 0; i < 1500; i++) {
		disturb(r);
		run_for(random_below(r, 100) ? random_below(r, 40 * US) : random_below(r, 20 * MS));
		assert_true(mclock_check(&u.root));
		for (unsigned k = 0; k < GUESTS; k++)
			assert_true(guests[k].client.held <= NET_UPLINK_HELD_MAX);
	}
	/* And all is well afterwards: what waits goes, or is told that it cannot. */
	stop_sending();
	wire.resets = wire.link = true;
	for (unsigned i = 0; i < GUESTS; i++)
		net_uplink_client_move(&u, &guests[i].client, NULL);
	for (unsigned i = 0; i < GUESTS; i++) {
		net_uplink_client_set(&u, &guests[i].client, &numbers_of_pools);
		sent += guests[i].sent;
	}
	for (unsigned i = 3; i-- > 0;)
		net_uplink_pool_end(&u, &pools[i]);
	run_for(2000 * MS);
	assert_true(sent > 100);
}

static void test_anything_at_any_time(void **state)
{
	for (unsigned seed = 1; seed <= 12; seed++) {
		struct random_state r = random_seed(seed);

		print_message("seed %u\n", seed);
		anything(&r);
		(void)teardown(state);
		(void)setup(state);
	}
}

static void test_held_are_counted_once(void **state)
{
	struct net_port_figures f;

	(void)state;
	begin(0, numbers(0, 1000000, 1000), NULL, 1514)->floods = true;
	run_for(50 * MS);
	stop_sending();
	run_for(500 * MS);
	net_port_figures(&u.port, &f);
	assert_int_equal(f.received_frames, guests[0].sent);
	assert_int_equal(f.received_bytes, guests[0].sent * 1514);
	assert_int_equal(guests[0].wire_bytes, guests[0].sent * 1514);
	assert_int_equal(guests[0].client.sent_frames, guests[0].sent);
	net_port_figures(&guests[0].port, &f);
	assert_int_equal(f.sent_frames, guests[0].sent);
}

static void test_no_client(void **state)
{
	struct net_port_figures f;

	(void)state;
	begin(0, numbers(0, 0, 1000), NULL, 1514);
	net_uplink_client_end(&u, &guests[0].client);
	make(&guests[0], &guests[0].out[0]);
	send(&guests[0], &guests[0].out[0]);
	net_port_figures(&u.port, &f);
	assert_int_equal(f.received_drops[NET_DROP_NOWHERE], 1);
	net_uplink_client_begin(&u, &guests[0].client, &guests[0].port, NULL, &(struct rls){.limit = 1, .shares = 1});
}

/* ---- receiving ---- */

static void arrives(const uint8_t *to, uint32_t bytes)
{
	uint8_t *d = wire.received[wire.in_head % RECEIVE];

	assert_true(wire.in_head - wire.in_released < RECEIVE);
	memset(d, 0, FRAME);
	memcpy(d, to, 6);
	memcpy(d + 6, far_away, 6);
	put_be16(d + 12, 0x88b5);
	wire.received_bytes[wire.in_head++ % RECEIVE] = bytes;
}

static void test_receiving(void **state)
{
	static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct net_port_figures f;
	uint8_t mac[6];
	unsigned switched;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		begin(i, numbers(0, 0, 1000), NULL, 60);
	run_for(MS);
	assert_true(wire.interrupts);
	switched = wire.switched;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 40; i++) {
			guest_mac(i % 3, mac);
			arrives(mac, i == 7 ? 13 : i == 8 ? 1515 : 60);
		}
		arrives(everybody, 1514);
		run_for(MS);
	}
	assert_int_equal(guests[0].received, 3 * 15);
	assert_int_equal(guests[1].received, 3 * 13); /* 7 was one of its, 8 of the next one's */
	assert_int_equal(guests[2].received, 3 * 13);
	net_port_figures(&u.port, &f);
	assert_int_equal(f.sent_drops[NET_DROP_SHORT], 3);
	assert_int_equal(f.sent_drops[NET_DROP_LONG], 3);
	assert_int_equal(f.sent_frames, 3 * 39);
	/* One interrupt for each bunch. */
	assert_true(wire.interrupts && wire.switched - switched <= 3 * 6);
	assert_int_equal(u.received_steps, 6);
	assert_int_equal(wire.in_released, wire.in_head);
}

/* Frames that come just before interrupts are put on have interrupted nobody. */
static unsigned late_frames;

static void late_interrupts(struct nic *n, bool on)
{
	uint8_t mac[6];

	guest_mac(0, mac);
	if (on && late_frames > 0) {
		late_frames--;
		arrives(mac, 60);
	}
	wire_interrupts(n, on);
}

static void test_no_frame_is_left_lying(void **state)
{
	struct nic_ops ops = wire_ops;

	(void)state;
	begin(0, numbers(0, 0, 1000), NULL, 60);
	run_for(MS);
	ops.interrupts = late_interrupts;
	wire.nic.ops = &ops;
	late_frames = 5;
	wanted = true;
	work();
	assert_int_equal(late_frames, 0);
	assert_int_equal(guests[0].received, 5);
	wire.nic.ops = &wire_ops;
}

/* A group's frames are carried in pieces, in steps of a small budget. */
static void test_small_steps(void **state)
{
	static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	unsigned steps = 0;

	(void)state;
	for (unsigned i = 0; i < GUESTS; i++)
		begin(i, numbers(0, 0, 1000), NULL, 60);
	run_for(MS);
	for (unsigned i = 0; i < 10; i++)
		arrives(everybody, 60);
	while (net_uplink_run(&u, 1500))
		steps++;
	assert_in_range(steps, 10, 50);
	for (unsigned i = 0; i < GUESTS; i++)
		assert_int_equal(guests[i].received, 10);
}

/* While the tree is rearranged nothing goes out, of who waits and of who comes; then all goes on. */
static void test_hold(void **state)
{
	uint64_t frames;

	(void)state;
	begin(0, numbers(0, 0, 1000), NULL, 1514)->floods = true;
	run_for(10 * MS);
	net_uplink_hold(&u);
	run_for(MS);
	frames = guests[0].wire_frames;
	begin(1, numbers(0, 0, 1000), NULL, 60)->floods = true;
	net_uplink_client_move(&u, &guests[0].client, NULL);
	run_for(10 * MS);
	assert_int_equal(guests[0].wire_frames, frames);
	assert_int_equal(guests[1].wire_frames, 0);
	net_uplink_let_go(&u);
	run_for(10 * MS);
	assert_true(guests[0].wire_frames > frames + 300 && guests[1].wire_frames > 300);
}

static void test_bad_settings(void **state)
{
	struct net_uplink_settings set;

	(void)state;
	net_uplink_settings_init(&set);
	set.depth_bytes = 1599;
	assert_int_equal(net_uplink_set(&u, &set, &err), ST_INVALID);
	assert_non_null(strstr(err.text, "1599"));
	net_uplink_settings_init(&set);
	set.poll_frames = 33;
	assert_int_equal(net_uplink_set(&u, &set, &err), ST_INVALID);
	set.poll_frames = 0;
	assert_int_equal(net_uplink_set(&u, &set, &err), ST_INVALID);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(shares),
		TEST(pools),
		TEST(limit),
		TEST(reservation),
		TEST(rate),
		TEST(latency),
		TEST(link_goes),
		TEST(wedged),
		TEST(cancel),
		TEST(cancel_lets_others_in),
		TEST(anything_at_any_time),
		TEST(held_are_counted_once),
		TEST(no_client),
		TEST(receiving),
		TEST(no_frame_is_left_lying),
		TEST(small_steps),
		TEST(hold),
		TEST(bad_settings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
