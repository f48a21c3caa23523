/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switch with ports that are made here, on a clock set by hand: where frames go and where not, what a port may
 * send, what is counted where, who waits for what and for how long, and a port that goes while others send to it.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "io/net_switch.h"
#include "io/net_table.h"
#include "io/net_tap.h"
#include "lib/assert.h"
#include "tests/expect_panic.h"
#include "tests/fakes/hand_clock.h"

#define HZ 1000000000ull
#define MS (HZ / 1000)
#define PORTS 6u
#define UPLINK 5u /* where tests have one */
#define MUCH 1000000u
#define LOG 4096u
#define BYTES 9300u

/* A port of the test's: how many frames it has room for, and what it got. */
struct fake {
	struct net_port port;
	unsigned room;
	bool holds;    /* as an uplink: it keeps what it gets */
	bool partly;   /* the first time it takes a part */
	enum net_drop why;
	struct list held;
	unsigned got, flushed, asked;
	struct received {
		uint32_t bytes;
		int tci; /* -1: no tag */
		unsigned id;
	} log[LOG];
	uint64_t wake;
};

/* A frame of the test's. */
struct sent {
	struct net_ticket t;
	struct net_frame f;
	struct io_segment segment;
	uint8_t data[BYTES];
	unsigned ready, done;
	uint64_t ready_at;
	enum net_drop why;
};

static const struct clock *clock_by_hand;
static struct net_switch sw;
static struct fake ports[NET_PORTS_MAX];
static struct sent frames[40];
static struct error err;
static unsigned id_sent;

/* Done once, at the next look at the clock: what another CPU does meanwhile. */
static void (*meanwhile)(void);

static uint64_t now(void *ctx)
{
	void (*other)(void) = meanwhile;

	(void)ctx;
	meanwhile = NULL;
	if (other)
		other();
	return clock_by_hand->ticks();
}

static struct fake *fake_of(struct net_port *p)
{
	return container_of(p, struct fake, port);
}

static void wake_at(void *ctx, struct net_port *p, uint64_t at)
{
	assert_ptr_equal(ctx, &sw);
	assert_true(lock_is_mine(&p->lock));
	fake_of(p)->wake = at;
}

/* ---- the test's ports ---- */

static struct sent *sent_of(struct net_ticket *t)
{
	return container_of(t, struct sent, t);
}

static enum net_answer take(void *ctx, struct net_ticket *t, enum net_drop *why)
{
	struct fake *k = ctx;
	const struct net_frame *f = t->frame;

	assert_false(lock_is_mine(&k->port.lock) || lock_is_mine(&sw.lock) || lock_is_mine(&t->from->lock));
	k->asked++;
	if (k->why != NET_DROP_NONE) {
		*why = k->why;
		return NET_DONE;
	}
	if (k->room == 0)
		return NET_WAIT;
	if (k->partly && t->progress++ == 0)
		return NET_AGAIN;
	k->room--;
	assert_true(k->got < LOG);
	k->log[k->got++] = (struct received){f->bytes, f->tagged ? f->tci : -1, net_get16(f->head + f->head_bytes - 2)};
	if (!k->holds)
		return NET_DONE;
	list_push_back(&k->held, &t->link);
	return NET_HELD;
}

static void flush(void *ctx)
{
	((struct fake *)ctx)->flushed++;
}

static bool cancel(void *ctx, struct net_ticket *t)
{
	bool held = !list_empty(&t->link);

	(void)ctx;
	list_remove(&t->link);
	return held;
}

static const struct net_port_ops guest_ops = {.deliver = take, .flush = flush};
static const struct net_port_ops uplink_ops = {.deliver = take, .flush = flush, .cancel = cancel};

static void on_ready(struct net_ticket *t)
{
	assert_false(lock_is_mine(&sw.lock) || lock_is_mine(&t->from->lock) || (t->to && lock_is_mine(&t->to->lock)));
	sent_of(t)->ready++;
	sent_of(t)->ready_at = now(NULL);
}

static void on_done(struct net_ticket *t, enum net_drop why)
{
	sent_of(t)->done++;
	sent_of(t)->why = why;
}

/* The address of the @i-th port's guest; its other ones begin with @n. */
static const uint8_t *mac_of(unsigned i, unsigned n)
{
	static uint8_t mac[8][8];
	static unsigned next;
	uint8_t *m = mac[next++ % 8];

	memcpy(m, (uint8_t[8]){0x52, (uint8_t)(n >> 8), (uint8_t)n, 0, 0, (uint8_t)i}, 8);
	return m;
}

static struct net_port_config config_of(unsigned i)
{
	struct net_port_config cfg = {.locked_mac = true, .up = true, .mtu = 1500};

	memcpy(cfg.mac, mac_of(i, 0), NET_MAC_BYTES);
	return cfg;
}

static void open_port(unsigned i, const struct net_port_config *cfg)
{
	ports[i] = (struct fake){.room = MUCH, .wake = MCLOCK_NEVER};
	list_init(&ports[i].held);
	if (net_port_open(&ports[i].port, &sw, &guest_ops, &ports[i], cfg, false, &err) != ST_OK)
		fail_msg("%s", err.text);
}

static void open_uplink(unsigned i)
{
	struct net_port_config cfg = {.trunk_all = true, .up = true, .mtu = 1500};

	ports[i] = (struct fake){.room = MUCH, .wake = MCLOCK_NEVER};
	list_init(&ports[i].held);
	assert_int_equal(net_port_open(&ports[i].port, &sw, &uplink_ops, &ports[i], &cfg, true, &err), ST_OK);
}

static struct net_port_config learning(uint16_t vlan)
{
	return (struct net_port_config){.up = true, .mtu = 1500, .vlan = vlan};
}

static int setup(void **state)
{
	struct net_switch_settings set;

	(void)state;
	clock_by_hand = hand_clock_init(HZ);
	hand_clock_set(1000 * HZ);
	memset(&sw, 0, sizeof sw);
	memset(frames, 0, sizeof frames);
	net_switch_settings_init(&set);
	assert_int_equal(net_switch_init(&sw, &(struct net_env){.now = now, .hz = HZ, .wake_at = wake_at, .ctx = &sw}, &set,
					 &err),
			 ST_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_true(net_switch_check(&sw));
	for (unsigned i = 0; i < NET_PORTS_MAX; i++)
		if (sw.places[i].port)
			assert_true(net_port_close(sw.places[i].port));
	assert_true(net_switch_check(&sw));
	for (unsigned i = 0; i < NET_PORTS_MAX; i++)
		assert_true(sw.places[i].users == 0 && !sw.places[i].taken);
	return 0;
}

/* ---- frames ---- */

static const uint8_t everybody[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/* A frame of protocol @type whose payload ends in a number of its own; @tci -1: without a tag. */
static struct sent *make(unsigned n, const uint8_t *to, const uint8_t *from, int tci, uint16_t type, const void *payload,
			 unsigned bytes)
{
	struct sent *s = &frames[n];
	unsigned at = 2 * NET_MAC_BYTES;

	memcpy(s->data, to, NET_MAC_BYTES);
	memcpy(s->data + NET_MAC_BYTES, from, NET_MAC_BYTES);
	if (tci >= 0) {
		net_put16(s->data + at, 0x8100);
		net_put16(s->data + at + 2, (uint16_t)tci);
		at += 4;
	}
	net_put16(s->data + at, type);
	memcpy(s->data + at + 2, payload, bytes);
	at += 2 + bytes;
	if (at < 60) {
		memset(s->data + at, 0, 60 - at);
		at = 60;
	}
	net_put16(s->data + at - 2, (uint16_t)++id_sent);
	s->segment = (struct io_segment){s->data, at};
	s->f = (struct net_frame){.segments = &s->segment, .segment_count = 1, .bytes = at,
				  .head_bytes = (uint16_t)MIN(at, NET_HEAD_MAX)};
	memcpy(s->f.head, s->data, s->f.head_bytes);
	s->ready = s->done = 0;
	s->t.frame = &s->f;
	s->t.patient = true;
	s->t.ready = on_ready;
	s->t.done = on_done;
	return s;
}

static struct sent *plain(unsigned n, const uint8_t *to, const uint8_t *from)
{
	return make(n, to, from, -1, 0x88b5, "x", 1); /* IEEE's for experiments */
}

static enum net_answer try_send(unsigned port, struct sent *s)
{
	struct net_batch batch = {0};
	unsigned budget = MUCH;
	enum net_answer answer = net_switch_send(&ports[port].port, &s->t, &batch, &budget);

	net_switch_flush(&sw, &batch);
	return answer;
}

static enum net_answer send(unsigned port, struct sent *s)
{
	assert_int_equal(net_frame_parse(&s->f, 9216), NET_DROP_NONE);
	return try_send(port, s);
}

/* From port @from to all those of the bits @to, and to nobody else. */
static void reaches(unsigned from, struct sent *s, unsigned to)
{
	unsigned before[NET_PORTS_MAX];

	for (unsigned i = 0; i < NET_PORTS_MAX; i++)
		before[i] = ports[i].got;
	assert_int_equal(send(from, s), NET_DONE);
	for (unsigned i = 0; i < NET_PORTS_MAX; i++)
		if (sw.places[i].port && ports[i].got - before[i] != (to >> i & 1))
			fail_msg("port %u got %u, expected %u", i, ports[i].got - before[i], to >> i & 1);
}

static struct net_port_figures figures(unsigned i)
{
	struct net_port_figures f;

	net_port_figures(&ports[i].port, &f);
	return f;
}

/* Sends it, and it is dropped at @from because of @why. */
static void refused(unsigned from, struct sent *s, enum net_drop why)
{
	struct net_port_figures before = figures(from), after;

	reaches(from, s, 0);
	after = figures(from);
	for (unsigned i = 0; i < NET_DROPS; i++)
		if (after.sent_drops[i] - before.sent_drops[i] != (i == why))
			fail_msg("%s: %llu, expected %s", net_drop_names[i],
				 (unsigned long long)(after.sent_drops[i] - before.sent_drops[i]), net_drop_names[why]);
	assert_int_equal(after.sent_frames, before.sent_frames);
}

static void locked_ports(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct net_port_config cfg = config_of(i);

		open_port(i, &cfg);
	}
}

static const struct received *last(unsigned port)
{
	return &ports[port].log[ports[port].got - 1];
}

/* ---- where frames go ---- */

static void test_locked_addresses_are_known(void **state)
{
	struct net_port_figures f;

	(void)state;
	locked_ports(4);
	reaches(0, plain(0, mac_of(2, 0), mac_of(0, 0)), 1 << 2);
	reaches(2, plain(0, mac_of(0, 0), mac_of(2, 0)), 1 << 0);
	reaches(0, plain(0, everybody, mac_of(0, 0)), 0xe);
	/* Nobody learns here, and nobody is asked. */
	refused(0, plain(0, mac_of(9, 0), mac_of(0, 0)), NET_DROP_NOWHERE);
	refused(0, plain(0, mac_of(0, 0), mac_of(0, 0)), NET_DROP_NOWHERE);
	f = figures(0);
	assert_int_equal(f.sent_frames, 2);
	assert_int_equal(f.sent_bytes, 120);
	assert_int_equal(f.sent_groups, 1);
	assert_int_equal(f.received_frames, 1);
	f = figures(2);
	assert_int_equal(f.received_frames, 2);
	assert_int_equal(f.received_groups, 1);
	assert_int_equal(f.received_bytes, 120);
	assert_int_equal(ports[2].flushed, 2);
}

static void test_learning(void **state)
{
	struct net_port_config cfg = learning(0);
	uint8_t mac[6];
	unsigned index = 0, port;
	uint16_t vlan;
	uint64_t age;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		open_port(i, &cfg);
	reaches(0, plain(0, mac_of(1, 1), mac_of(0, 1)), 0xe);
	reaches(1, plain(0, mac_of(0, 1), mac_of(1, 1)), 1 << 0);
	reaches(0, plain(0, mac_of(1, 1), mac_of(0, 1)), 1 << 1);
	/* It moves. */
	reaches(3, plain(0, mac_of(0, 1), mac_of(1, 1)), 1 << 0);
	reaches(0, plain(0, mac_of(1, 1), mac_of(0, 1)), 1 << 3);
	assert_int_equal(figures(1).learned, 1);
	assert_int_equal(figures(3).moved, 1);
	assert_int_equal(ports[1].port.addresses, 0);
	hand_clock_advance(7 * HZ);
	assert_true(net_switch_address(&sw, &index, mac, &vlan, &port, &age));
	assert_true(net_switch_address(&sw, &index, mac, &vlan, &port, &age));
	assert_int_equal(age, 7000000000ull);
	assert_false(net_switch_address(&sw, &index, mac, &vlan, &port, &age));
	/* Unheard of for too long. */
	hand_clock_advance(294 * HZ);
	index = 0;
	assert_false(net_switch_address(&sw, &index, mac, &vlan, &port, &age));
	reaches(0, plain(0, mac_of(1, 1), mac_of(0, 1)), 0xe);
}

static void test_locked_addresses_cannot_be_taken(void **state)
{
	struct net_port_config cfg = learning(0);

	(void)state;
	locked_ports(2);
	open_port(2, &cfg);
	refused(2, plain(0, mac_of(1, 0), mac_of(0, 0)), NET_DROP_MAC);
	reaches(1, plain(0, mac_of(0, 0), mac_of(1, 0)), 1 << 0);
	/* Learned elsewhere before: from now on it is its owner's. */
	reaches(2, plain(0, mac_of(1, 0), mac_of(3, 0)), 1 << 1);
	cfg = config_of(3);
	open_port(3, &cfg);
	reaches(1, plain(0, mac_of(3, 0), mac_of(1, 0)), 1 << 3);
	assert_int_equal(ports[2].port.addresses, 0);
	refused(2, plain(0, mac_of(1, 0), mac_of(3, 0)), NET_DROP_MAC);
	/* And nobody else's. */
	ports[4] = (struct fake){0};
	assert_int_equal(net_port_open(&ports[4].port, &sw, &guest_ops, &ports[4], &cfg, false, &err), ST_EXISTS);
	assert_non_null(strstr(err.text, "52:00:00:00:00:03"));
}

static void test_flood_of_addresses(void **state)
{
	struct net_port_config cfg = learning(0);
	unsigned known = 0, all = 0;

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		open_port(i, &cfg);
	for (unsigned i = 1; i <= 10; i++)
		assert_int_equal(send(0, plain(0, everybody, mac_of(0, i))), NET_DONE);
	for (unsigned i = 1; i < 3000; i++) {
		for (unsigned p = 1; p < 8; p++)
			assert_int_equal(send(p, plain(0, mac_of(0, 1), mac_of(p, i))), NET_DONE);
		for (unsigned p = 0; p < 8; p++)
			ports[p].got = 0;
	}
	assert_true(net_switch_check(&sw));
	for (unsigned p = 1; p < 8; p++) {
		assert_true(ports[p].port.addresses <= NET_PORT_ADDRESSES_MAX);
		all += ports[p].port.addresses;
	}
	assert_true(all > NET_ADDRESSES_MAX - 20);
	for (unsigned i = 1; i <= 10; i++)
		reaches(1, plain(0, mac_of(0, i), mac_of(1, 1)), 1 << 0);
	/* One who comes when the table is full is learned all the same. */
	for (unsigned i = 11; i <= 15; i++) {
		struct net_found f;

		assert_int_equal(send(0, plain(0, everybody, mac_of(0, i))), NET_DONE);
		known += net_table_find(&sw, net_key(0, mac_of(0, i)), &f);
	}
	assert_int_equal(known, 5);
}

/* Old ones give way, wherever they stand. */
static void test_old_addresses_give_way(void **state)
{
	struct net_port_config cfg = learning(0);

	(void)state;
	open_port(0, &cfg);
	open_port(1, &cfg);
	for (unsigned i = 1; i < 600; i++)
		assert_int_equal(send(1, plain(0, everybody, mac_of(1, i))), NET_DONE);
	assert_int_equal(ports[1].port.addresses, NET_PORT_ADDRESSES_MAX);
	hand_clock_advance(400 * HZ);
	assert_int_equal(send(1, plain(0, everybody, mac_of(1, 9999))), NET_DONE);
	assert_int_equal(ports[1].port.addresses, 1);
	reaches(0, plain(0, mac_of(1, 9999), mac_of(0, 1)), 1 << 1);
}

static void test_vlans(void **state)
{
	struct net_port_config cfg;

	(void)state;
	cfg = config_of(0), cfg.vlan = 10, open_port(0, &cfg);
	cfg = config_of(1), cfg.vlan = 10, open_port(1, &cfg);
	cfg = config_of(2), cfg.vlan = 20, open_port(2, &cfg);
	cfg = config_of(3), cfg.vlan = 20, cfg.trunk_count = 2, cfg.trunk[0] = 10, cfg.trunk[1] = 30, open_port(3, &cfg);
	cfg = config_of(4), open_port(4, &cfg);
	open_uplink(UPLINK);
	/* To all of the VLAN, with a tag where it is not the port's own. */
	reaches(0, plain(0, everybody, mac_of(0, 0)), 1 << 1 | 1 << 3 | 1 << UPLINK);
	assert_int_equal(last(1)->tci, -1);
	assert_int_equal(last(1)->bytes, 60);
	assert_int_equal(last(3)->tci, 10);
	assert_int_equal(last(3)->bytes, 64);
	assert_int_equal(last(UPLINK)->tci, 10);
	reaches(2, plain(0, everybody, mac_of(2, 0)), 1 << 3 | 1 << UPLINK);
	assert_int_equal(last(3)->tci, -1);
	assert_int_equal(last(UPLINK)->tci, 20);
	reaches(4, plain(0, everybody, mac_of(4, 0)), 1 << UPLINK);
	assert_int_equal(last(UPLINK)->tci, -1);
	/* An address is known on its own VLANs alone; others know nobody of that name but by the wire. */
	reaches(0, plain(0, mac_of(1, 0), mac_of(0, 0)), 1 << 1);
	reaches(2, plain(0, mac_of(1, 0), mac_of(2, 0)), 1 << UPLINK);
	reaches(4, plain(0, mac_of(1, 0), mac_of(4, 0)), 1 << UPLINK);
	reaches(0, plain(0, mac_of(3, 0), mac_of(0, 0)), 1 << 3);
	reaches(2, plain(0, mac_of(3, 0), mac_of(2, 0)), 1 << 3);
	/* A trunk's frames; the priority stays. */
	reaches(3, make(0, mac_of(1, 0), mac_of(3, 0), 0xa000 | 10, 0x88b5, "x", 1), 1 << 1);
	assert_int_equal(last(1)->tci, -1);
	reaches(3, make(0, everybody, mac_of(3, 0), 0xa000 | 10, 0x88b5, "x", 1), 1 << 0 | 1 << 1 | 1 << UPLINK);
	assert_int_equal(last(UPLINK)->tci, 0xa000 | 10);
	reaches(3, make(0, everybody, mac_of(3, 0), 30, 0x88b5, "x", 1), 1 << UPLINK);
	refused(3, make(0, everybody, mac_of(3, 0), 40, 0x88b5, "x", 1), NET_DROP_VLAN);
	refused(3, make(0, everybody, mac_of(3, 0), 0xfff, 0x88b5, "x", 1), NET_DROP_VLAN);
	/* An access port sends none, but for a priority's. */
	refused(0, make(0, everybody, mac_of(0, 0), 10, 0x88b5, "x", 1), NET_DROP_VLAN);
	reaches(0, make(0, mac_of(1, 0), mac_of(0, 0), 0xe000, 0x88b5, "x", 1), 1 << 1);
	assert_int_equal(last(1)->tci, -1);
	assert_int_equal(last(1)->bytes, 56);
	/* Two, or the tag of another kind. */
	refused(3, make(0, everybody, mac_of(3, 0), 10, 0x8100, "\0\x1e\x88\xb5", 4), NET_DROP_VLAN);
	refused(UPLINK, make(0, everybody, mac_of(9, 0), 10, 0x88a8, "\0\x1e\x88\xb5", 4), NET_DROP_VLAN);
	refused(3, make(0, everybody, mac_of(3, 0), -1, 0x88a8, "\0\x1e\x88\xb5", 4), NET_DROP_VLAN);
	/* From the wire. */
	reaches(UPLINK, make(0, mac_of(3, 0), mac_of(9, 0), 30, 0x88b5, "x", 1), 1 << 3);
	assert_int_equal(last(3)->tci, 30);
	reaches(UPLINK, make(0, everybody, mac_of(9, 0), 0x2000 | 20, 0x88b5, "x", 1), 1 << 2 | 1 << 3);
	reaches(UPLINK, plain(0, everybody, mac_of(9, 0)), 1 << 4);
	/* The same address on another VLAN is another one. */
	refused(UPLINK, make(0, everybody, mac_of(1, 0), 10, 0x88b5, "x", 1), NET_DROP_MAC);
	reaches(UPLINK, make(0, everybody, mac_of(1, 0), 20, 0x88b5, "x", 1), 1 << 2 | 1 << 3);
}

static void test_numbers_change(void **state)
{
	struct net_port_config cfg;

	(void)state;
	locked_ports(3);
	reaches(0, plain(0, mac_of(1, 0), mac_of(0, 0)), 1 << 1);
	cfg = config_of(1);
	cfg.vlan = 7;
	assert_int_equal(net_port_set(&ports[1].port, &cfg, &err), ST_OK);
	refused(0, plain(0, mac_of(1, 0), mac_of(0, 0)), NET_DROP_NOWHERE);
	reaches(0, plain(0, everybody, mac_of(0, 0)), 1 << 2);
	cfg = config_of(1);
	memcpy(cfg.mac, mac_of(8, 0), NET_MAC_BYTES);
	assert_int_equal(net_port_set(&ports[1].port, &cfg, &err), ST_OK);
	reaches(0, plain(0, mac_of(8, 0), mac_of(0, 0)), 1 << 1);
	refused(1, plain(0, everybody, mac_of(1, 0)), NET_DROP_MAC);
	/* Another's. */
	memcpy(cfg.mac, mac_of(0, 0), NET_MAC_BYTES);
	assert_int_equal(net_port_set(&ports[1].port, &cfg, &err), ST_EXISTS);
	reaches(0, plain(0, mac_of(8, 0), mac_of(0, 0)), 1 << 1);
	/* One that learns loses what it learned where it is no more. */
	cfg = learning(0);
	assert_int_equal(net_port_set(&ports[1].port, &cfg, &err), ST_OK);
	reaches(1, plain(0, mac_of(0, 0), mac_of(7, 7)), 1 << 0);
	assert_int_equal(ports[1].port.addresses, 1);
	cfg.vlan = 9;
	assert_int_equal(net_port_set(&ports[1].port, &cfg, &err), ST_OK);
	assert_int_equal(ports[1].port.addresses, 0);
}

static void test_isolated(void **state)
{
	struct net_port_config cfg;

	(void)state;
	cfg = config_of(0), cfg.isolated = true, open_port(0, &cfg);
	cfg = config_of(1), cfg.isolated = true, open_port(1, &cfg);
	cfg = config_of(2), open_port(2, &cfg);
	open_uplink(UPLINK);
	refused(0, plain(0, mac_of(1, 0), mac_of(0, 0)), NET_DROP_NOWHERE);
	reaches(0, plain(0, mac_of(2, 0), mac_of(0, 0)), 1 << 2);
	reaches(2, plain(0, mac_of(0, 0), mac_of(2, 0)), 1 << 0);
	reaches(0, plain(0, everybody, mac_of(0, 0)), 1 << 2 | 1 << UPLINK);
	reaches(0, plain(0, mac_of(9, 9), mac_of(0, 0)), 1 << UPLINK);
	reaches(2, plain(0, everybody, mac_of(2, 0)), 1 << 0 | 1 << 1 | 1 << UPLINK);
}

static void test_reserved_groups(void **state)
{
	uint8_t to[8] = {0x01, 0x80, 0xc2, 0, 0, 0};

	(void)state;
	locked_ports(2);
	for (unsigned i = 0; i < 16; i++) {
		to[5] = (uint8_t)i;
		refused(0, plain(0, to, mac_of(0, 0)), NET_DROP_NOWHERE);
	}
	to[5] = 0x10;
	reaches(0, plain(0, to, mac_of(0, 0)), 1 << 1);
	to[5] = 0, to[4] = 1;
	reaches(0, plain(0, to, mac_of(0, 0)), 1 << 1);
}

static void test_links_and_sizes(void **state)
{
	static const uint8_t payload[9000];
	struct net_port_config cfg;

	(void)state;
	locked_ports(3);
	cfg = config_of(1);
	cfg.up = false;
	assert_int_equal(net_port_set(&ports[1].port, &cfg, &err), ST_OK);
	reaches(0, plain(0, mac_of(1, 0), mac_of(0, 0)), 0);
	assert_int_equal(figures(1).received_drops[NET_DROP_LINK], 1);
	assert_int_equal(figures(0).sent_frames, 1);
	reaches(0, plain(0, everybody, mac_of(0, 0)), 1 << 2);
	refused(1, plain(0, mac_of(0, 0), mac_of(1, 0)), NET_DROP_LINK);
	/* What is longer than the receiver's. */
	cfg = config_of(2);
	cfg.mtu = 1400;
	assert_int_equal(net_port_set(&ports[2].port, &cfg, &err), ST_OK);
	reaches(0, make(0, mac_of(2, 0), mac_of(0, 0), -1, 0x88b5, payload, 1400), 1 << 2);
	reaches(0, make(0, mac_of(2, 0), mac_of(0, 0), -1, 0x88b5, payload, 1401), 0);
	assert_int_equal(figures(2).received_drops[NET_DROP_LONG], 1);
	/* Bad before it came here. */
	net_port_refuse(&ports[0].port, NET_DROP_CHECKSUM);
	assert_int_equal(figures(0).sent_drops[NET_DROP_CHECKSUM], 1);
	/* What a receiver has against it is counted there. */
	ports[2].why = NET_DROP_SMALL_BUFFER;
	reaches(0, plain(0, mac_of(2, 0), mac_of(0, 0)), 0);
	assert_int_equal(figures(2).received_drops[NET_DROP_SMALL_BUFFER], 1);
}

/* ---- what a port may send ---- */

static void test_ethernet_sources(void **state)
{
	static const uint8_t nobody[8];
	struct net_port_config cfg = learning(0);

	(void)state;
	locked_ports(2);
	open_port(2, &cfg);
	refused(0, plain(0, mac_of(1, 0), mac_of(1, 0)), NET_DROP_MAC);
	refused(0, plain(0, mac_of(1, 0), mac_of(7, 7)), NET_DROP_MAC);
	refused(2, plain(0, mac_of(1, 0), everybody), NET_DROP_MAC);
	refused(2, plain(0, mac_of(1, 0), (const uint8_t[8]){0x53, 0, 0, 0, 0, 2}), NET_DROP_MAC);
	refused(2, plain(0, mac_of(1, 0), nobody), NET_DROP_MAC);
	reaches(2, plain(0, mac_of(1, 0), mac_of(7, 7)), 1 << 1);
}

#define IP4(d) {10, 0, 0, d}
#define V6(d) {0xfd, [15] = (d)}
#define EUI64 {0xfe, 0x80, [8] = 0x50, 0, 0, 0xff, 0xfe, 0, 0, 0} /* of 52:00:00:00:00:00 */

/* A packet of 40 bytes of IPv4: @port of UDP, 0: something else. */
static unsigned ipv4(uint8_t *out, const uint8_t *from, uint16_t source, uint16_t destination)
{
	memset(out, 0, 40);
	out[0] = 0x45;
	out[3] = 40;
	out[9] = source ? 17 : 1;
	memcpy(out + 12, from, 4);
	net_put16(out + 20, source);
	net_put16(out + 22, destination);
	net_put16(out + 24, 20);
	return 40;
}

static unsigned arp(uint8_t *out, const uint8_t *mac, const uint8_t *ip)
{
	memcpy(out, (uint8_t[8]){0, 1, 8, 0, 6, 4, 0, 1}, 8);
	memcpy(out + 8, mac, 6);
	memcpy(out + 14, ip, 4);
	memset(out + 18, 0, 10);
	return 28;
}

/* IPv6 from @from to the group ff0@scope::1, with @extensions headers between it and a message of ICMPv6. */
static unsigned ipv6(uint8_t *out, const uint8_t *from, unsigned scope, unsigned extensions, unsigned type, const uint8_t *target)
{
	unsigned at = 40;

	memset(out, 0, 256);
	out[0] = 0x60;
	out[6] = extensions ? 60 : 58;
	memcpy(out + 8, from, 16);
	out[24] = 0xff;
	out[25] = (uint8_t)scope;
	out[39] = 1;
	for (; extensions > 0; extensions--) {
		out[at] = extensions > 1 ? 60 : 58;
		at += 8;
	}
	out[at] = (uint8_t)type;
	memcpy(out + at + 8, target, 16);
	net_put16(out + 4, (uint16_t)(at + 24 - 40));
	return at + 24;
}

/* A frame without the number at its end, which would be the packet's. */
static struct sent *packet(uint16_t type, const uint8_t *p, unsigned bytes)
{
	struct sent *s = make(0, everybody, mac_of(0, 0), -1, type, p, bytes);

	if (bytes >= 46)
		memcpy(s->f.head + 14, p, MIN(bytes, NET_HEAD_MAX - 14u));
	return s;
}

static void test_ip_sources(void **state)
{
	static const uint8_t own[4] = IP4(1), other[4] = IP4(2), zero[16], own6[16] = V6(1), other6[16] = V6(2),
			     link[16] = EUI64, other_link[16] = {0xfe, 0x80, [15] = 9};
	struct net_port_config cfg = config_of(0);
	uint8_t p[256];

	(void)state;
	locked_ports(2);
	/* Without a list any, but for ARP that speaks for another host. */
	reaches(0, packet(0x0800, p, ipv4(p, other, 0, 0)), 1 << 1);
	reaches(0, packet(0x0806, p, arp(p, mac_of(0, 0), other)), 1 << 1);
	refused(0, packet(0x0806, p, arp(p, mac_of(1, 0), own)), NET_DROP_IP);
	cfg.ip_count = 2;
	cfg.ips[0] = (struct net_ip){.bytes = IP4(1)};
	cfg.ips[1] = (struct net_ip){.v6 = true, .bytes = V6(1)};
	assert_int_equal(net_port_set(&ports[0].port, &cfg, &err), ST_OK);
	reaches(0, packet(0x0800, p, ipv4(p, own, 0, 0)), 1 << 1);
	refused(0, packet(0x0800, p, ipv4(p, other, 0, 0)), NET_DROP_IP);
	refused(0, packet(0x0800, p, ipv4(p, own6, 0, 0)), NET_DROP_IP);
	/* DHCP, and nothing that looks like it. */
	reaches(0, packet(0x0800, p, ipv4(p, zero, 68, 67)), 1 << 1);
	refused(0, packet(0x0800, p, ipv4(p, zero, 68, 68)), NET_DROP_IP);
	refused(0, packet(0x0800, p, ipv4(p, zero, 67, 67)), NET_DROP_IP);
	refused(0, packet(0x0800, p, ipv4(p, zero, 0, 0)), NET_DROP_IP);
	reaches(0, packet(0x0806, p, arp(p, mac_of(0, 0), own)), 1 << 1);
	reaches(0, packet(0x0806, p, arp(p, mac_of(0, 0), zero)), 1 << 1);
	refused(0, packet(0x0806, p, arp(p, mac_of(0, 0), other)), NET_DROP_IP);
	refused(0, packet(0x0806, p, arp(p, mac_of(1, 0), own)), NET_DROP_IP);
	/* ARP of something else than IPv4 on Ethernet. */
	(void)arp(p, mac_of(0, 0), own);
	p[5] = 8;
	refused(0, packet(0x0806, p, 28), NET_DROP_IP);
	/* IPv6. */
	reaches(0, packet(0x86dd, p, ipv6(p, own6, 5, 0, 128, zero)), 1 << 1);
	refused(0, packet(0x86dd, p, ipv6(p, other6, 5, 0, 128, zero)), NET_DROP_IP);
	reaches(0, packet(0x86dd, p, ipv6(p, link, 2, 0, 133, zero)), 1 << 1);
	refused(0, packet(0x86dd, p, ipv6(p, other_link, 2, 0, 133, zero)), NET_DROP_IP);
	reaches(0, packet(0x86dd, p, ipv6(p, zero, 2, 0, 135, other6)), 1 << 1);
	refused(0, packet(0x86dd, p, ipv6(p, zero, 5, 0, 135, other6)), NET_DROP_IP);
	/* Advertisements, also behind other headers, and behind more than are looked at. */
	reaches(0, packet(0x86dd, p, ipv6(p, own6, 2, 0, 136, own6)), 1 << 1);
	reaches(0, packet(0x86dd, p, ipv6(p, link, 2, 0, 136, link)), 1 << 1);
	refused(0, packet(0x86dd, p, ipv6(p, own6, 2, 0, 136, other6)), NET_DROP_IP);
	refused(0, packet(0x86dd, p, ipv6(p, own6, 2, 3, 136, other6)), NET_DROP_IP);
	reaches(0, packet(0x86dd, p, ipv6(p, own6, 2, 3, 136, own6)), 1 << 1);
	reaches(0, packet(0x86dd, p, ipv6(p, own6, 2, 14, 128, other6)), 1 << 1);
	refused(0, packet(0x86dd, p, ipv6(p, own6, 2, 15, 136, own6)), NET_DROP_IP);
	refused(0, packet(0x86dd, p, ipv6(p, own6, 2, 18, 128, own6)), NET_DROP_IP);
	/* A protocol without addresses. */
	reaches(0, plain(0, everybody, mac_of(0, 0)), 1 << 1);
}

/* ---- rates ---- */

/* Sends frames of @bytes from port 0 to port 1 for @ticks, whenever it is told to; how many bytes there were. */
static uint64_t flood_for(uint64_t ticks, unsigned bytes, uint64_t late)
{
	static const uint8_t payload[1500];
	uint64_t end = now(NULL) + ticks, before = figures(1).received_bytes;

	for (;;) {
		struct sent *s = make(0, mac_of(1, 0), mac_of(0, 0), -1, 0x88b5, payload, bytes - 14);
		enum net_answer answer = send(0, s);

		ports[1].got = 0;
		while (answer == NET_WAIT) {
			assert_true(ports[0].wake != MCLOCK_NEVER);
			hand_clock_set(MAX(ports[0].wake + late, now(NULL)));
			if (now(NULL) >= end && s->ready == 0) {
				assert_true(net_switch_cancel(&s->t));
				return figures(1).received_bytes - before;
			}
			ports[0].wake = MCLOCK_NEVER;
			net_port_expired(&ports[0].port);
			if (s->ready == 0)
				continue; /* it was for one before */
			s->ready = 0;
			answer = try_send(0, s);
		}
	}
}

static bool within(uint64_t a, uint64_t b, unsigned per_mille)
{
	uint64_t more = MAX(a, b), less = MIN(a, b);

	return (more - less) * 1000 <= b * per_mille;
}

static void test_rate(void **state)
{
	static const uint64_t rates[] = {125000, 1250000, 125000000, 1250000000};
	struct net_port_config cfg = config_of(0);

	(void)state;
	locked_ports(2);
	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
		cfg.rate = rates[i];
		cfg.rate_burst = 3000;
		assert_int_equal(net_port_set(&ports[0].port, &cfg, &err), ST_OK);
		assert_true(within(flood_for(20 * HZ * 125000 / rates[i], 1514, 0), 2500000, 3));
		assert_true(figures(0).throttled > 0);
	}
	/* Being told late takes nothing away as long as the burst makes up for it: 1 ms are 12,500 bytes. */
	cfg.rate = 12500000;
	cfg.rate_burst = 0;
	assert_int_equal(net_port_set(&ports[0].port, &cfg, &err), ST_OK);
	(void)flood_for(HZ, 1514, MS);
	assert_true(within(flood_for(4 * HZ, 1514, MS), 4 * cfg.rate, 10));
}

/* A frame to be cut is charged as the frames that it will be. */
static void test_rate_of_segments(void **state)
{
	static uint8_t data[60000];
	struct net_port_config cfg = config_of(0);
	struct sent *s = &frames[0];
	uint32_t wire = 20 * 1514, left = 20 * 1460;

	(void)state;
	locked_ports(2);
	cfg.rate = 1000000;
	assert_int_equal(net_port_set(&ports[0].port, &cfg, &err), ST_OK);
	hand_clock_advance(HZ);
	for (unsigned i = 0; i < 10; i++) {
		(void)plain(0, mac_of(1, 0), mac_of(0, 0));
		memcpy(data, s->data, 12);
		memcpy(data + 12, (uint8_t[]){8, 0, 0x45, 0}, 4);
		net_put16(data + 16, (uint16_t)(40 + left));
		data[23] = 6;
		data[46] = 0x50;
		s->segment = (struct io_segment){data, 54 + left};
		s->f = (struct net_frame){.segments = &s->segment, .segment_count = 1, .bytes = 54 + left, .head_bytes = NET_HEAD_MAX,
					  .offload = {.needs_checksum = true, .gso = NET_GSO_TCP4, .gso_size = 1460,
						      .checksum_at = 34, .checksum_offset = 16}};
		memcpy(s->f.head, data, NET_HEAD_MAX);
		if (send(0, s) == NET_WAIT)
			break;
	}
	/* 64 KiB at once, and the one that went beyond. */
	assert_int_equal(figures(0).sent_frames, (NET_BYTES_MAX + wire - 1) / wire);
	assert_int_equal(figures(1).received_bytes, figures(0).sent_frames * (54 + left));
	assert_true(within(ports[0].wake - now(NULL), (figures(0).sent_frames * wire - NET_BYTES_MAX) * 1000, 1));
	assert_true(net_switch_cancel(&s->t));
	/* One that may not wait is dropped. */
	s->t.patient = false;
	refused(0, s, NET_DROP_QUEUE);
}

static void test_nobody_overtakes_who_waits(void **state)
{
	struct net_port_config cfg = config_of(0);

	(void)state;
	locked_ports(2);
	cfg.rate = 1000;
	cfg.rate_burst = 60;
	assert_int_equal(net_port_set(&ports[0].port, &cfg, &err), ST_OK);
	assert_int_equal(send(0, plain(0, mac_of(1, 0), mac_of(0, 0))), NET_DONE);
	assert_int_equal(send(0, plain(1, mac_of(1, 0), mac_of(0, 0))), NET_WAIT);
	hand_clock_advance(HZ);
	assert_int_equal(send(0, plain(2, mac_of(1, 0), mac_of(0, 0))), NET_WAIT);
	assert_true(net_switch_check(&sw));
	net_port_expired(&ports[0].port);
	assert_true(frames[1].ready == 1 && frames[2].ready == 1);
	assert_int_equal(try_send(0, &frames[1]), NET_DONE);
	assert_int_equal(try_send(0, &frames[2]), NET_WAIT);
	/* Any rate, at once. */
	cfg.rate = 0;
	assert_int_equal(net_port_set(&ports[0].port, &cfg, &err), ST_OK);
	assert_int_equal(frames[2].ready, 2);
	assert_int_equal(try_send(0, &frames[2]), NET_DONE);
	assert_false(net_switch_cancel(&frames[2].t));
}

static void test_storm(void **state)
{
	struct net_port_config cfg = config_of(0);
	unsigned through = 0;

	(void)state;
	locked_ports(2);
	cfg.storm = 100;
	assert_int_equal(net_port_set(&ports[0].port, &cfg, &err), ST_OK);
	open_uplink(UPLINK);
	/* Groups, and whom nobody knows. */
	for (unsigned i = 0; i < 100; i++)
		reaches(0, plain(0, i & 1 ? everybody : mac_of(9, 9), mac_of(0, 0)), i & 1 ? 1 << 1 | 1 << UPLINK : 1 << UPLINK);
	refused(0, plain(0, everybody, mac_of(0, 0)), NET_DROP_STORM);
	refused(0, plain(0, mac_of(9, 9), mac_of(0, 0)), NET_DROP_STORM);
	reaches(0, plain(0, mac_of(1, 0), mac_of(0, 0)), 1 << 1);
	for (unsigned i = 0; i < 10000; i++) {
		ports[1].got = ports[UPLINK].got = 0;
		hand_clock_advance(MS);
		assert_int_equal(send(0, plain(0, everybody, mac_of(0, 0))), NET_DONE);
		through += ports[1].got;
	}
	assert_in_range(through, 999, 1001);
}

/* ---- waiting for buffers ---- */

static void test_waiting(void **state)
{
	(void)state;
	locked_ports(3);
	ports[1].room = 0;
	assert_int_equal(send(0, plain(0, mac_of(1, 0), mac_of(0, 0))), NET_WAIT);
	assert_int_equal(send(2, plain(1, mac_of(1, 0), mac_of(2, 0))), NET_WAIT);
	assert_int_equal(figures(1).waits, 2);
	assert_int_equal(figures(0).sent_frames, 0);
	assert_true(net_switch_check(&sw));
	assert_int_equal(ports[1].wake, now(NULL) + 20 * MS);
	ports[1].room = 1;
	net_port_refilled(&ports[1].port);
	assert_true(frames[0].ready == 1 && frames[1].ready == 1);
	assert_int_equal(try_send(2, &frames[1]), NET_DONE);
	assert_int_equal(try_send(0, &frames[0]), NET_WAIT);
	/* Taken back. */
	assert_true(net_switch_cancel(&frames[0].t));
	assert_false(net_switch_cancel(&frames[0].t));
	net_port_refilled(&ports[1].port);
	assert_int_equal(frames[0].ready, 1);
	/* The impatient, and groups, lose it. */
	plain(0, mac_of(1, 0), mac_of(0, 0))->t.patient = false;
	assert_int_equal(send(0, &frames[0]), NET_DONE);
	assert_int_equal(send(0, plain(0, everybody, mac_of(0, 0))), NET_DONE);
	assert_int_equal(ports[2].got, 1);
	assert_int_equal(figures(1).received_drops[NET_DROP_NO_BUFFER], 2);
}

static void test_impatient_ticket(void **state)
{
	(void)state;
	locked_ports(2);
	ports[1].room = 0;
	plain(0, mac_of(1, 0), mac_of(0, 0))->t.patient = false;
	assert_int_equal(send(0, &frames[0]), NET_DONE);
	assert_int_equal(figures(1).received_drops[NET_DROP_NO_BUFFER], 1);
	assert_int_equal(figures(0).sent_frames, 1);
}

static void test_patience(void **state)
{
	(void)state;
	locked_ports(3);
	ports[1].room = 0;
	assert_int_equal(send(0, plain(0, mac_of(1, 0), mac_of(0, 0))), NET_WAIT);
	hand_clock_advance(15 * MS);
	assert_int_equal(send(2, plain(1, mac_of(1, 0), mac_of(2, 0))), NET_WAIT);
	net_port_expired(&ports[1].port);
	assert_int_equal(frames[0].ready, 0);
	assert_int_equal(ports[1].wake, now(NULL) + 5 * MS);
	hand_clock_advance(5 * MS);
	net_port_expired(&ports[1].port);
	/* It is over for both, and for all that come. */
	assert_true(frames[0].ready == 1 && frames[1].ready == 1);
	assert_int_equal(try_send(0, &frames[0]), NET_DONE);
	assert_int_equal(try_send(2, &frames[1]), NET_DONE);
	hand_clock_advance(HZ);
	assert_int_equal(send(0, plain(0, mac_of(1, 0), mac_of(0, 0))), NET_DONE);
	assert_int_equal(figures(1).received_drops[NET_DROP_NO_BUFFER], 3);
	assert_int_equal(figures(1).stalls, 1);
	assert_int_equal(ports[1].got, 0);
	/* Until it posts some; it is not waited for long before it has taken a number of frames. */
	ports[1].room = 1;
	net_port_refilled(&ports[1].port);
	assert_int_equal(send(0, plain(0, mac_of(1, 0), mac_of(0, 0))), NET_DONE);
	assert_int_equal(ports[1].got, 1);
	assert_int_equal(send(0, plain(0, mac_of(1, 0), mac_of(0, 0))), NET_WAIT);
	assert_true(ports[1].wake - now(NULL) <= 20 * MS / 64 + 1);
	hand_clock_advance(MS);
	net_port_expired(&ports[1].port);
	assert_int_equal(frames[0].ready, 1);
	assert_int_equal(try_send(0, &frames[0]), NET_DONE);
	assert_int_equal(figures(1).stalls, 2);
	ports[1].room = 64;
	net_port_refilled(&ports[1].port);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(send(0, plain(0, mac_of(1, 0), mac_of(0, 0))), NET_DONE);
	assert_int_equal(send(0, plain(0, mac_of(1, 0), mac_of(0, 0))), NET_WAIT);
	assert_true(ports[1].wake >= now(NULL) + 20 * MS);
	assert_true(net_switch_cancel(&frames[0].t));
}

/* Until @at, with what port @p asked for on the way. */
static void pass_time(unsigned p, uint64_t at)
{
	while (ports[p].wake <= at) {
		hand_clock_set(MAX(ports[p].wake, now(NULL)));
		ports[p].wake = MCLOCK_NEVER;
		net_port_expired(&ports[p].port);
	}
	hand_clock_set(at);
}

/* One who posts a buffer now and then, to hold up those who answer it. */
static void test_trickle_holds_nobody_up(void **state)
{
	uint64_t waited = 0;

	(void)state;
	locked_ports(2);
	ports[1].room = 0;
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t begun = now(NULL);

		enum net_answer answer = send(0, plain(0, mac_of(1, 0), mac_of(0, 0)));

		pass_time(1, begun + 19 * MS);
		if (frames[0].ready)
			assert_int_equal(try_send(0, &frames[0]), NET_DONE);
		ports[1].room = 1;
		net_port_refilled(&ports[1].port);
		if (answer == NET_WAIT)
			waited += frames[0].ready_at - begun;
		if (!frames[0].t.begun)
			continue;
		assert_int_equal(frames[0].ready, 1);
		assert_int_equal(try_send(0, &frames[0]), NET_DONE);
	}
	/* Of 19 s; a 64th of the patience for each frame that it took. */
	assert_true(ports[1].got > 400);
	assert_true(waited <= 20 * MS + ports[1].got * 20 * MS / 64);
}

static unsigned refill_left;

static enum net_answer take_and_refill(void *ctx, struct net_ticket *t, enum net_drop *why)
{
	struct fake *k = ctx;
	enum net_answer answer = take(ctx, t, why);

	/* Between the look for buffers and the answer: the guest posts some. */
	if (answer == NET_WAIT && refill_left > 0) {
		k->room = --refill_left == 0;
		net_port_refilled(&k->port);
	}
	return answer;
}

static void test_refill_is_not_missed(void **state)
{
	static const struct net_port_ops ops = {.deliver = take_and_refill};
	struct net_port_config cfg = config_of(1);

	(void)state;
	locked_ports(1);
	ports[1] = (struct fake){.wake = MCLOCK_NEVER};
	assert_int_equal(net_port_open(&ports[1].port, &sw, &ops, &ports[1], &cfg, false, &err), ST_OK);
	refill_left = 1;
	reaches(0, plain(0, mac_of(1, 0), mac_of(0, 0)), 1 << 1);
	refill_left = 3;
	reaches(0, plain(0, mac_of(1, 0), mac_of(0, 0)), 1 << 1);
	assert_int_equal(frames[0].ready, 0);
}

static void test_in_parts(void **state)
{
	(void)state;
	locked_ports(3);
	ports[1].partly = ports[2].partly = true;
	assert_int_equal(send(0, plain(0, mac_of(1, 0), mac_of(0, 0))), NET_AGAIN);
	assert_int_equal(ports[1].got, 0);
	assert_int_equal(try_send(0, &frames[0]), NET_DONE);
	assert_int_equal(ports[1].got, 1);
	/* Each of a group's from its beginning. */
	assert_int_equal(send(0, plain(0, everybody, mac_of(0, 0))), NET_AGAIN);
	assert_int_equal(try_send(0, &frames[0]), NET_AGAIN);
	assert_int_equal(ports[1].got, 2);
	assert_int_equal(try_send(0, &frames[0]), NET_DONE);
	assert_int_equal(ports[2].got, 1);
	assert_int_equal(figures(0).sent_frames, 2);
}

/* ---- groups in pieces, and the uplink ---- */

static void test_groups_in_pieces(void **state)
{
	struct net_batch batch = {0};
	unsigned pieces = 0;

	(void)state;
	for (unsigned i = 0; i < NET_PORTS_MAX - 1; i++) {
		struct net_port_config cfg = config_of(i);

		open_port(i, &cfg);
	}
	open_uplink(NET_PORTS_MAX - 1);
	plain(0, everybody, mac_of(3, 0));
	assert_int_equal(net_frame_parse(&frames[0].f, 1500), NET_DROP_NONE);
	for (;;) {
		unsigned budget = 8000;
		enum net_answer answer = net_switch_send(&ports[3].port, &frames[0].t, &batch, &budget);

		pieces++;
		if (answer == NET_DONE)
			break;
		assert_int_equal(answer, NET_AGAIN);
		assert_int_equal(budget, 0);
		assert_int_equal(ports[NET_PORTS_MAX - 1].got, 0);
	}
	assert_in_range(pieces, 5, 10);
	net_switch_flush(&sw, &batch);
	for (unsigned i = 0; i < NET_PORTS_MAX; i++)
		assert_true(ports[i].got == (i != 3) && ports[i].flushed == (i != 3));
	/* However small the budget is, there is progress. */
	plain(0, everybody, mac_of(3, 0));
	assert_int_equal(net_frame_parse(&frames[0].f, 1500), NET_DROP_NONE);
	for (pieces = 0; pieces < 100; pieces++) {
		unsigned budget = 1;

		if (net_switch_send(&ports[3].port, &frames[0].t, &batch, &budget) == NET_DONE)
			break;
	}
	assert_in_range(pieces, 60, 63);
	assert_int_equal(figures(3).sent_frames, 2);
}

static void test_uplink_holds(void **state)
{
	(void)state;
	locked_ports(2);
	open_uplink(UPLINK);
	ports[UPLINK].holds = true;
	assert_int_equal(send(0, plain(0, mac_of(9, 0), mac_of(0, 0))), NET_HELD);
	assert_int_equal(send(0, plain(1, everybody, mac_of(0, 0))), NET_HELD);
	assert_int_equal(ports[1].got, 1);
	assert_int_equal(figures(0).sent_frames, 2);
	assert_int_equal(figures(UPLINK).received_frames, 0);
	assert_true(net_switch_cancel(&frames[0].t));
	assert_false(net_switch_cancel(&frames[0].t));
	assert_true(net_switch_cancel(&frames[1].t));
	/* It has no room: the group's frame waits for it alone. */
	ports[UPLINK].room = 0;
	assert_int_equal(send(0, plain(2, everybody, mac_of(0, 0))), NET_WAIT);
	assert_int_equal(ports[1].got, 2);
	ports[UPLINK].room = 1;
	ports[UPLINK].holds = false;
	assert_int_equal(try_send(0, &frames[2]), NET_DONE);
	assert_int_equal(ports[1].got, 2);
	assert_int_equal(figures(0).sent_frames, 3);
	assert_int_equal(figures(UPLINK).received_frames, 1);
	ports[PORTS] = (struct fake){0};
	assert_int_equal(net_port_open(&ports[PORTS].port, &sw, &uplink_ops, &ports[PORTS],
				       &(struct net_port_config){.trunk_all = true, .mtu = 1500}, true, &err),
			 ST_EXISTS);
	assert_true(net_port_close(&ports[UPLINK].port));
	refused(0, plain(2, mac_of(9, 0), mac_of(0, 0)), NET_DROP_NOWHERE);
}

/* ---- going ---- */

static void test_close_tells_who_waits(void **state)
{
	(void)state;
	locked_ports(3);
	ports[1].room = 0;
	assert_int_equal(send(0, plain(0, mac_of(1, 0), mac_of(0, 0))), NET_WAIT);
	assert_int_equal(send(2, plain(1, mac_of(1, 0), mac_of(2, 0))), NET_WAIT);
	assert_true(net_port_close(&ports[1].port));
	assert_true(net_port_close(&ports[1].port));
	assert_true(frames[0].ready == 1 && frames[1].ready == 1);
	assert_int_equal(ports[1].wake, MCLOCK_NEVER);
	assert_false(net_switch_cancel(&frames[1].t));
	assert_int_equal(try_send(0, &frames[0]), NET_DONE);
	assert_int_equal(figures(0).sent_drops[NET_DROP_NOWHERE], 1);
	/* Its place is another's, and the ticket that waited for it is not confused. */
	locked_ports(0);
	{
		struct net_port_config cfg = config_of(4);

		open_port(1, &cfg);
	}
	assert_int_equal(ports[1].port.index, 1);
	assert_false(net_switch_cancel(&frames[1].t));
	assert_int_equal(try_send(2, &frames[1]), NET_DONE);
	assert_int_equal(ports[1].got, 0);
}

static struct fake *leaving;
static bool left;

/* The port is taken away while it is delivered to; and what comes to its place is not the one that was meant. */
static enum net_answer take_while_leaving(void *ctx, struct net_ticket *t, enum net_drop *why)
{
	struct fake *k = ctx;

	if (leaving == k)
		left = net_port_close(&k->port);
	return k->room ? take(ctx, t, why) : NET_WAIT;
}

static void test_close_under_delivery(void **state)
{
	static const struct net_port_ops ops = {.deliver = take_while_leaving};

	(void)state;
	locked_ports(1);
	for (unsigned waits = 0; waits < 2; waits++) {
		struct net_port_config cfg = config_of(1);

		ports[1] = (struct fake){.room = !waits, .wake = MCLOCK_NEVER};
		assert_int_equal(net_port_open(&ports[1].port, &sw, &ops, &ports[1], &cfg, false, &err), ST_OK);
		leaving = &ports[1];
		left = true;
		assert_int_equal(send(0, plain(0, mac_of(1, 0), mac_of(0, 0))), NET_DONE);
		assert_false(left);
		assert_int_equal(ports[1].got, !waits);
		/* Not its place either before it is gone. */
		cfg = config_of(2);
		ports[2] = (struct fake){.wake = MCLOCK_NEVER};
		assert_int_equal(net_port_open(&ports[2].port, &sw, &ops, &ports[2], &cfg, false, &err), ST_OK);
		assert_int_equal(ports[2].port.index, 2);
		assert_true(net_port_close(&ports[2].port));
		assert_true(net_port_close(&ports[1].port));
		leaving = NULL;
	}
}

/* The clock is looked at between an address is found and its port is held. */
static void other_takes_the_place(void)
{
	struct net_port_config cfg = config_of(7);

	assert_true(net_port_close(&ports[1].port));
	open_port(2, &cfg);
	assert_int_equal(ports[2].port.index, 1);
}

static void address_moves(void)
{
	assert_int_equal(try_send(2, &frames[1]), NET_DONE);
}

static void test_place_is_anothers_meanwhile(void **state)
{
	struct net_port_config cfg = learning(0);

	(void)state;
	locked_ports(1);
	open_port(1, &cfg);
	reaches(1, plain(0, mac_of(0, 0), mac_of(5, 5)), 1 << 0);
	meanwhile = other_takes_the_place;
	refused(0, plain(0, mac_of(5, 5), mac_of(0, 0)), NET_DROP_NOWHERE);
	assert_null(meanwhile);
	/* It is at another port by then. */
	assert_true(net_port_close(&ports[2].port));
	open_port(1, &cfg);
	open_port(2, &cfg);
	reaches(1, plain(0, mac_of(0, 0), mac_of(5, 5)), 1 << 0);
	plain(1, mac_of(0, 0), mac_of(5, 5));
	assert_int_equal(net_frame_parse(&frames[1].f, 1500), NET_DROP_NONE);
	plain(0, mac_of(5, 5), mac_of(0, 0));
	meanwhile = address_moves;
	assert_int_equal(send(0, &frames[0]), NET_DONE);
	assert_int_equal(ports[1].got, 0);
	assert_int_equal(ports[2].got, 1);
}

static void test_tap(void **state)
{
	static _Alignas(64) uint8_t ring[4096], data[2048];
	struct net_tap tap;
	struct net_tap_record r;

	(void)state;
	locked_ports(2);
	net_tap_init(&tap, ring, sizeof ring, 100);
	net_port_tap(&ports[0].port, &tap);
	reaches(0, plain(0, mac_of(1, 0), mac_of(0, 0)), 1 << 1);
	refused(0, plain(0, mac_of(1, 0), mac_of(1, 0)), NET_DROP_MAC);
	reaches(1, plain(0, mac_of(0, 0), mac_of(1, 0)), 1 << 0);
	assert_true(net_port_untap(&ports[0].port));
	reaches(0, plain(0, mac_of(1, 0), mac_of(0, 0)), 1 << 1);
	assert_true(net_tap_read(&tap, &r, data));
	assert_true(r.sent && r.bytes == 60 && r.at == now(NULL));
	assert_memory_equal(data, mac_of(1, 0), 6);
	assert_true(net_tap_read(&tap, &r, data));
	assert_true(!r.sent && memcmp(data, mac_of(0, 0), 6) == 0);
	assert_false(net_tap_read(&tap, &r, data));
}

/* ---- what is out of range ---- */

static void test_bad_numbers(void **state)
{
	static const struct {
		struct net_port_config cfg;
		const char *says;
	} bad[] = {
		{{.mtu = 67}, "MTU is 67"},
		{{.mtu = 9217}, "MTU is 9217"},
		{{.mtu = 1500, .vlan = 4095}, "VLAN 4095"},
		{{.mtu = 1500, .trunk_count = 1}, "VLAN 0"},
		{{.mtu = 1500, .trunk_count = 17}, "17 VLANs"},
		{{.mtu = 1500, .ip_count = 5}, "5 IP addresses"},
		{{.mtu = 1500, .locked_mac = true}, "00:00:00:00:00:00"},
		{{.mtu = 1500, .locked_mac = true, .mac = {1}}, "01:00:00:00:00:00"},
		{{.mtu = 1500, .locked_mac = true, .mac = {2}, .trunk_all = true}, "all VLANs"},
	};
	struct net_switch_settings set = {.patience_ns = 1000000001, .age_ns = 1000000000};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(net_port_open(&ports[0].port, &sw, &guest_ops, &ports[0], &bad[i].cfg, false, &err), ST_INVALID);
		if (!strstr(err.text, bad[i].says))
			fail_msg("'%s' does not say '%s'", err.text, bad[i].says);
	}
	assert_int_equal(net_switch_set(&sw, &set, &err), ST_INVALID);
	set.patience_ns = 0;
	assert_int_equal(net_switch_set(&sw, &set, &err), ST_OK);
	set.age_ns = 999999999;
	assert_int_equal(net_switch_set(&sw, &set, &err), ST_INVALID);
	for (unsigned i = 0; i < NET_PORTS_MAX; i++) {
		struct net_port_config cfg = config_of(i);

		open_port(i, &cfg);
	}
	{
		static struct fake more;
		struct net_port_config cfg = config_of(99);

		assert_int_equal(net_port_open(&more.port, &sw, &guest_ops, &more, &cfg, false, &err), ST_OVER_LIMIT);
	}
}

static void test_no_patience(void **state)
{
	struct net_switch_settings set = {.patience_ns = 0, .age_ns = 1000000000};

	(void)state;
	assert_int_equal(net_switch_set(&sw, &set, &err), ST_OK);
	locked_ports(2);
	ports[1].room = 0;
	assert_int_equal(send(0, plain(0, mac_of(1, 0), mac_of(0, 0))), NET_DONE);
	assert_int_equal(figures(1).received_drops[NET_DROP_NO_BUFFER], 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(locked_addresses_are_known),
		TEST(learning),
		TEST(locked_addresses_cannot_be_taken),
		TEST(flood_of_addresses),
		TEST(old_addresses_give_way),
		TEST(vlans),
		TEST(numbers_change),
		TEST(isolated),
		TEST(reserved_groups),
		TEST(links_and_sizes),
		TEST(ethernet_sources),
		TEST(ip_sources),
		TEST(rate),
		TEST(rate_of_segments),
		TEST(nobody_overtakes_who_waits),
		TEST(storm),
		TEST(waiting),
		TEST(impatient_ticket),
		TEST(patience),
		TEST(trickle_holds_nobody_up),
		TEST(refill_is_not_missed),
		TEST(in_parts),
		TEST(groups_in_pieces),
		TEST(uplink_holds),
		TEST(close_tells_who_waits),
		TEST(close_under_delivery),
		TEST(place_is_anothers_meanwhile),
		TEST(tap),
		TEST(bad_numbers),
		TEST(no_patience),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
