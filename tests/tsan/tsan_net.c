/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switch and its uplink between CPUs: three that send for their guests and take back what they sent now and then,
 * one that is the machine's worker and gives receivers buffers, and the control task, under whose hands ports come, go
 * and change, are looked at and counted. What is for a locked address reaches its port and no other; every frame is
 * told of once; what was counted is what happened; and ThreadSanitizer sees every access.
 */
#include "tests/cmocka_all.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "io/net_tap.h"
#include "io/net_uplink.h"
#include "lib/assert.h"
#include "tests/tsan/threads.h"

#define SENDERS 3u
#define CONTROL 3u
#define WORKER 4u
#define CPUS 5u
#define VISITORS 4u /* ports that come and go */
#define LEARNERS 2u /* ports whose addresses are learned, and move between them; the first senders' */
#define SLOTS 6u
#define FRAMES 4000u /* of a sender */
#define FRAME 60u
#define HZ 1000000000ull
#define TICK 500u /* between two looks at the clock */

enum kind { SENDER, LEARNER, VISITOR };

/* A port of the test's. */
struct party {
	struct net_port port;
	enum kind kind;
	uint8_t mac[8];
	unsigned room;     /* atomic */
	bool open;         /* a visitor; the control task's */
	struct lock owner; /* LOCK_DEVICE */
	uint64_t got, got_bytes; /* atomic */
};

struct slot {
	struct net_ticket t;
	struct net_frame f;
	struct io_segment segment;
	uint8_t data[FRAME];
	enum { FREE, WAITS, HELD } state; /* its sender's */
	bool ready, done;                 /* atomic */
};

static struct net_switch sw;
static struct net_uplink u;
static struct party senders[SENDERS], learners[LEARNERS], visitors[VISITORS];
static struct net_uplink_client clients[SENDERS];
static struct slot slots[SENDERS][SLOTS];
static uint64_t ended[SENDERS], taken_back[SENDERS], offered[SENDERS + LEARNERS];
static uint64_t ticks;
static unsigned working;
static uint64_t seed = 11;
static const uint8_t everybody[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t outside[8] = {2, 0xfa, 0, 0, 0, 1};
static struct error err;

static uint64_t now(void *ctx)
{
	(void)ctx;
	return __atomic_add_fetch(&ticks, TICK, __ATOMIC_RELAXED);
}
static void wake_at(void *ctx, struct net_port *p, uint64_t at) { (void)ctx, (void)p, (void)at; }
static void uplink_wake(void *ctx) { (void)ctx; }
static void uplink_wake_at(void *ctx, uint64_t at) { (void)ctx, (void)at; }
static bool others_work(void) { return __atomic_load_n(&working, __ATOMIC_ACQUIRE) != 0; }

/* ---- ports ---- */

static void make_mac(uint8_t mac[8], enum kind kind, unsigned i)
{
	memcpy(mac, (uint8_t[8]){0x52, 0x54, (uint8_t)kind, 0, 0, (uint8_t)i}, 8);
}

static enum net_answer take(void *ctx, struct net_ticket *t, enum net_drop *why)
{
	struct party *p = ctx;
	const uint8_t *to = net_destination(t->frame);
	unsigned room;

	(void)why;
	/* A locked port gets its own and groups'; a learner nothing that belongs to one who is always there. */
	if (p->kind == LEARNER)
		assert_false(to[0] == 0x52 && to[2] == SENDER);
	else
		assert_true(net_is_group(to) || memcmp(to, p->mac, NET_MAC_BYTES) == 0);
	lock_acquire(&p->owner);
	room = __atomic_load_n(&p->room, __ATOMIC_RELAXED);
	if (room)
		__atomic_store_n(&p->room, room - 1, __ATOMIC_RELAXED);
	lock_release(&p->owner);
	if (!room)
		return NET_WAIT;
	__atomic_fetch_add(&p->got, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&p->got_bytes, t->frame->bytes, __ATOMIC_RELAXED);
	return NET_DONE;
}

static const struct net_port_ops ops = {.deliver = take};

static struct net_port_config config_of(const struct party *p)
{
	struct net_port_config cfg = {.up = true, .mtu = 1500, .locked_mac = p->kind != LEARNER};

	memcpy(cfg.mac, p->mac, NET_MAC_BYTES);
	return cfg;
}

static void open_party(struct party *p, enum kind kind, unsigned i)
{
	struct net_port_config cfg;

	p->kind = kind;
	p->room = 10;
	p->open = true;
	make_mac(p->mac, kind, i);
	lock_init(&p->owner, LOCK_DEVICE);
	cfg = config_of(p);
	if (net_port_open(&p->port, &sw, &ops, p, &cfg, false, &err) != ST_OK)
		fail_msg("%s", err.text);
}

/* ---- an interface that sends at once ---- */

static struct {
	struct nic nic;
	uint8_t data[2048], in[NIC_RECEIVED_MAX][FRAME];
	unsigned received, released, frames;
	struct random_state random;
} wire;

static uint8_t *wire_reserve(struct nic *n, uint32_t bytes)
{
	(void)bytes;
	return n->waiting_bytes < 10 * FRAME ? wire.data : NULL;
}
static void wire_commit(struct nic *n, uint32_t bytes)
{
	n->waiting_bytes += bytes;
	wire.frames++;
}
static void wire_nothing(struct nic *n) { (void)n; }
static void wire_switch(struct nic *n, bool on) { (void)n, (void)on; }

static void wire_poll(struct nic *n)
{
	n->waiting_bytes = 0;
	if (random_below(&wire.random, 400) == 0) {
		n->up = !n->up;
		n->link_changed(n);
	} else if (!n->up && random_below(&wire.random, 4) == 0) {
		n->up = true;
		n->link_changed(n);
	}
}

/* From outside to anybody. */
static bool wire_receive(struct nic *n, struct nic_frame *out)
{
	uint8_t *d = wire.in[wire.received % NIC_RECEIVED_MAX];
	uint8_t mac[8];

	(void)n;
	if (wire.received - wire.released == NIC_RECEIVED_MAX || random_below(&wire.random, 3) == 0)
		return false;
	make_mac(mac, (enum kind)random_below(&wire.random, 3), (unsigned)random_below(&wire.random, SENDERS));
	memset(d, 0, FRAME);
	memcpy(d, random_below(&wire.random, 8) ? mac : everybody, NET_MAC_BYTES);
	memcpy(d + 6, outside, NET_MAC_BYTES);
	put_be16(d + 12, 0x88b5);
	wire.received++;
	*out = (struct nic_frame){.data = d, .bytes = FRAME};
	return true;
}
static void wire_release(struct nic *n)
{
	(void)n;
	wire.released++;
}

static const struct nic_ops wire_ops = {.reserve = wire_reserve, .commit = wire_commit, .kick = wire_nothing,
					.poll = wire_poll, .receive = wire_receive, .release = wire_release,
					.interrupts = wire_switch, .promiscuous = wire_switch};

/* ---- senders ---- */

static void on_ready(struct net_ticket *t)
{
	__atomic_store_n(&container_of(t, struct slot, t)->ready, true, __ATOMIC_RELEASE);
}
static void on_done(struct net_ticket *t, enum net_drop why)
{
	(void)why;
	assert_false(__atomic_exchange_n(&container_of(t, struct slot, t)->done, true, __ATOMIC_RELEASE));
}

static void fill_in(struct slot *s, struct random_state *r, const uint8_t *from)
{
	uint8_t to[8];

	switch (random_below(r, 10)) {
	case 0:
		memcpy(to, everybody, 8);
		break;
	case 1:
	case 2:
		memcpy(to, outside, 8);
		break;
	case 3:
	case 4:
		make_mac(to, LEARNER, (unsigned)random_below(r, 2));
		break;
	case 5:
	case 6:
	case 7:
		make_mac(to, VISITOR, (unsigned)random_below(r, VISITORS));
		break;
	default:
		make_mac(to, SENDER, (unsigned)random_below(r, SENDERS));
	}
	memset(s->data, 0, sizeof s->data);
	memcpy(s->data, to, NET_MAC_BYTES);
	memcpy(s->data + 6, from, NET_MAC_BYTES);
	put_be16(s->data + 12, 0x88b5);
	s->segment = (struct io_segment){s->data, FRAME};
	s->f = (struct net_frame){.segments = &s->segment, .segment_count = 1, .bytes = FRAME, .head_bytes = FRAME};
	memcpy(s->f.head, s->data, FRAME);
	assert_int_equal(net_frame_parse(&s->f, 1500), NET_DROP_NONE);
	s->t = (struct net_ticket){.frame = &s->f, .patient = true, .ready = on_ready, .done = on_done};
	s->done = false;
}

static void send(unsigned cpu, struct slot *s, struct net_batch *batch)
{
	unsigned budget = 4000;
	enum net_answer answer;

	__atomic_store_n(&s->ready, false, __ATOMIC_RELAXED);
	do
		answer = net_switch_send(&senders[cpu].port, &s->t, batch, &budget), budget = 4000;
	while (answer == NET_AGAIN);
	s->state = answer == NET_DONE ? FREE : answer == NET_WAIT ? WAITS : HELD;
	ended[cpu] += answer == NET_DONE;
}

/* What became of a slot; sometimes it is taken back. */
static void look_at(struct thread *t, struct slot *s, struct net_batch *batch)
{
	if (s->state == HELD && __atomic_load_n(&s->done, __ATOMIC_ACQUIRE)) {
		s->state = FREE;
		ended[t->cpu]++;
	} else if (s->state == WAITS && __atomic_load_n(&s->ready, __ATOMIC_ACQUIRE)) {
		send(t->cpu, s, batch);
	} else if (s->state != FREE && random_below(&t->random, 50) == 0 && net_switch_cancel(&s->t)) {
		if (s->state == WAITS)
			offered[t->cpu]--;
		ended[t->cpu] += s->state == HELD;
		taken_back[t->cpu]++;
		s->state = FREE;
	}
}

/* An address that is heard at one learner's port, then at the other's. Each is one CPU's. */
static void speak_as_learner(struct thread *t)
{
	struct slot s;
	struct net_batch batch = {0};
	unsigned budget = 100000;
	uint8_t mac[8];

	make_mac(mac, LEARNER, (unsigned)random_below(&t->random, 2));
	fill_in(&s, &t->random, mac);
	s.t.patient = false;
	offered[SENDERS + t->cpu]++;
	/* It has no place at the wire: nothing of it waits or is held. */
	while (net_switch_send(&learners[t->cpu].port, &s.t, &batch, &budget) == NET_AGAIN)
		budget = 100000;
	net_switch_flush(&sw, &batch);
}

static void work_for_guest(struct thread *t)
{
	struct slot *mine = slots[t->cpu];
	unsigned left = FRAMES;
	bool busy = true;

	while (left || busy) {
		struct net_batch batch = {0};

		busy = false;
		for (unsigned i = 0; i < SLOTS; i++) {
			look_at(t, &mine[i], &batch);
			if (mine[i].state == FREE && left > 0) {
				left--;
				offered[t->cpu]++;
				fill_in(&mine[i], &t->random, senders[t->cpu].mac);
				send(t->cpu, &mine[i], &batch);
			}
			busy |= mine[i].state != FREE;
		}
		net_switch_flush(&sw, &batch);
		if (t->cpu < LEARNERS && left)
			speak_as_learner(t);
		if (busy)
			sched_yield();
	}
	__atomic_fetch_sub(&working, 1, __ATOMIC_RELEASE);
}

/* ---- the control task ---- */

static void close_party(struct party *p)
{
	while (!net_port_close(&p->port))
		sched_yield();
	p->open = false;
}

static void change_visitor(struct random_state *r, unsigned i)
{
	struct party *p = &visitors[i];
	struct net_port_config cfg;

	if (!p->open) {
		open_party(p, VISITOR, i);
		return;
	}
	if (random_below(r, 2)) {
		close_party(p);
		/* Whoever still had it would read this. */
		memset(p, 0xee, sizeof *p);
		*p = (struct party){.kind = VISITOR};
		return;
	}
	cfg = config_of(p);
	cfg.vlan = random_below(r, 4) ? 0 : 7;
	cfg.up = random_below(r, 4) != 0;
	cfg.isolated = random_below(r, 2);
	assert_int_equal(net_port_set(&p->port, &cfg, &err), ST_OK);
}

static void change_sender(struct random_state *r, unsigned i)
{
	struct net_port_config cfg = config_of(&senders[i]);
	struct rls numbers = {.limit = random_below(r, 2) ? RLS_UNLIMITED : 50000000, .shares = 1 + (uint32_t)random_below(r, 1000)};

	cfg.rate = random_below(r, 2) ? 0 : 40000000;
	cfg.storm = random_below(r, 2) ? 0 : 100000;
	cfg.trunk_count = (unsigned)random_below(r, 4);
	for (unsigned k = 0; k < cfg.trunk_count; k++)
		cfg.trunk[k] = (uint16_t)(100 + k);
	assert_int_equal(net_port_set(&senders[i].port, &cfg, &err), ST_OK);
	net_uplink_client_set(&u, &clients[i], &numbers);
}

static void look_around(void)
{
	struct net_port_figures f;
	uint8_t mac[NET_MAC_BYTES];
	unsigned index = 0, port;
	uint16_t vlan;
	uint64_t age;

	while (net_switch_address(&sw, &index, mac, &vlan, &port, &age))
		assert_true(port < NET_PORTS_MAX);
	net_port_figures(&senders[0].port, &f);
	assert_true(net_switch_check(&sw));
}

static void capture(struct random_state *r, unsigned i)
{
	static _Alignas(64) uint8_t ring[8192], data[256];
	static struct net_tap tap;
	struct net_tap_record record;

	net_tap_init(&tap, ring, sizeof ring, 128);
	net_port_tap(&senders[i].port, &tap);
	for (unsigned n = (unsigned)random_below(r, 50); n > 0; n--)
		if (net_tap_read(&tap, &record, data))
			assert_true(record.bytes == FRAME && record.kept == FRAME);
	while (!net_port_untap(&senders[i].port))
		sched_yield();
	memset(&tap, 0xee, sizeof tap);
}

static void control(struct thread *t)
{
	while (others_work()) {
		switch (random_below(&t->random, 8)) {
		case 0:
			change_sender(&t->random, (unsigned)random_below(&t->random, SENDERS));
			break;
		case 1:
			look_around();
			break;
		case 2:
			capture(&t->random, (unsigned)random_below(&t->random, SENDERS));
			break;
		default:
			change_visitor(&t->random, (unsigned)random_below(&t->random, VISITORS));
		}
		sched_yield();
	}
	for (unsigned i = 0; i < VISITORS; i++)
		if (visitors[i].open)
			close_party(&visitors[i]);
}

/* ---- the worker, and receivers that post buffers ---- */

static void refill(struct party *p)
{
	lock_acquire(&p->owner);
	__atomic_store_n(&p->room, 10, __ATOMIC_RELAXED);
	net_port_refilled(&p->port);
	lock_release(&p->owner);
}

static void work(struct thread *t)
{
	while (others_work()) {
		unsigned i = (unsigned)random_below(&t->random, SENDERS);

		(void)net_uplink_run(&u, 10000);
		if (random_below(&t->random, 3) == 0)
			refill(&senders[i]);
		refill(&learners[i % LEARNERS]);
		net_port_expired(&senders[i].port);
		sched_yield();
	}
}

static void run_cpu(struct thread *t)
{
	if (t->cpu == CONTROL)
		control(t);
	else if (t->cpu == WORKER)
		work(t);
	else
		work_for_guest(t);
}

/* ---- */

static void open_all(void)
{
	static const struct rls numbers = {.limit = RLS_UNLIMITED, .shares = 1000};
	static const struct net_uplink_env env = {.wake = uplink_wake, .wake_at = uplink_wake_at};
	struct net_switch_settings set;
	struct net_uplink_settings uplink;

	memset(&sw, 0, sizeof sw);
	memset(&u, 0, sizeof u);
	memset(&wire, 0, sizeof wire);
	wire.random = random_seed(3);
	wire.nic = (struct nic){.ops = &wire_ops, .max_frame = 1518, .up = true};
	net_switch_settings_init(&set);
	set.patience_ns = 2000000;
	assert_int_equal(net_switch_init(&sw, &(struct net_env){.now = now, .hz = HZ, .wake_at = wake_at}, &set, &err), ST_OK);
	net_uplink_settings_init(&uplink);
	assert_int_equal(net_uplink_open(&u, &sw, &wire.nic, &env, &uplink, &err), ST_OK);
	for (unsigned i = 0; i < SENDERS; i++) {
		open_party(&senders[i], SENDER, i);
		net_uplink_client_begin(&u, &clients[i], &senders[i].port, NULL, &numbers);
	}
	for (unsigned i = 0; i < LEARNERS; i++)
		open_party(&learners[i], LEARNER, i);
}

static uint64_t sum_of_drops(const uint64_t drops[NET_DROPS])
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < NET_DROPS; i++)
		sum += drops[i];
	return sum;
}

static void test_everybody_at_once(void **state)
{
	struct net_port_figures f;

	(void)state;
	memset(senders, 0, sizeof senders);
	memset(learners, 0, sizeof learners);
	memset(visitors, 0, sizeof visitors);
	memset(slots, 0, sizeof slots);
	memset(ended, 0, sizeof ended);
	memset(taken_back, 0, sizeof taken_back);
	memset(offered, 0, sizeof offered);
	open_all();
	working = SENDERS;
	threads_run(CPUS, seed++, true, run_cpu, NULL);
	for (unsigned i = 0; i < SENDERS; i++) {
		net_port_figures(&senders[i].port, &f);
		assert_int_equal(ended[i], offered[i]);
		assert_int_equal(f.sent_frames + sum_of_drops(f.sent_drops), offered[i]);
		assert_int_equal(f.received_frames, senders[i].got);
		assert_int_equal(f.received_bytes, senders[i].got_bytes);
		assert_true(f.received_frames > 100 && taken_back[i] > 0);
		net_uplink_client_end(&u, &clients[i]);
		assert_true(net_port_close(&senders[i].port));
	}
	for (unsigned i = 0; i < LEARNERS; i++) {
		net_port_figures(&learners[i].port, &f);
		assert_int_equal(f.sent_frames + sum_of_drops(f.sent_drops), offered[SENDERS + i]);
		assert_true(f.learned + f.moved > 0);
		assert_true(net_port_close(&learners[i].port));
	}
	assert_true(wire.frames > 100 && wire.released > 100);
	assert_true(net_uplink_close(&u));
	assert_true(net_switch_check(&sw));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everybody_at_once),
		cmocka_unit_test(test_everybody_at_once),
		cmocka_unit_test(test_everybody_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
