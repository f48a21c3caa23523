/* SPDX-License-Identifier: Apache-2.0 */
/*
 * That the first network interface sends, receives and interrupts (boot argument selftest=nic), against what answers
 * behind the emulator's card: its user network's gateway, 10.0.2.2. A host task asks it by ARP (RFC 826), first once,
 * then in batches, more often than the rings have descriptors, then by pings (RFC 792) in frames as long as they get.
 * It sleeps until it is interrupted, and looks at each answer.
 */
#include "firmware/selftest.h"

#include "firmware/cmdline.h"
#include "firmware/cpuloop.h"
#include "firmware/nic.h"
#include "firmware/tsc.h"
#include "io/net_frame.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/log.h"

#define STACK_PAGES 4u
#define BATCH 32u
#define BATCHES 10u
#define ANSWER_US 500000u
#define ARP_BYTES 42u
#define ARP_TYPE 0x0806u
#define ARP_ETHERNET 1u
#define ARP_REQUEST 1u
#define ARP_REPLY 2u
#define IPV4_TYPE 0x0800u
#define IPV4_BEGIN 0x4500u /* version 4, five words */
#define IPV4_TTL_ICMP 0x4001u
#define PING_BYTES (NET_ETHERNET_BYTES + NET_MTU_DEFAULT)
#define PING_REQUEST 8u
#define PING_REPLY 0u
#define OWN_IP 0x0a00020fu /* 10.0.2.15 */
#define GATEWAY_IP 0x0a000202u

/* Ethernet's header, then ARP's, or IPv4's and ICMP's. */
enum { AT_TO = 0, AT_FROM = 6, AT_TYPE = 12, AT_HARDWARE = 14, AT_PROTOCOL = 16, AT_LENGTHS = 18, AT_OPERATION = 20,
       AT_SENDER = 22, AT_SENDER_IP = 28, AT_TARGET = 32, AT_TARGET_IP = 38 };
enum { AT_IP = 14, AT_IP_BYTES = 16, AT_TTL = 22, AT_IP_SUM = 24, AT_SOURCE_IP = 26, AT_DESTINATION_IP = 30, AT_PING = 34,
       AT_PING_SUM = 36, AT_PING_NUMBER = 40, AT_PING_DATA = 42 };

struct question {
	uint32_t bytes;
	void (*fill)(const struct nic *n, uint8_t *f, unsigned number);
	bool (*is_answer)(const struct nic *n, const struct nic_frame *f);
};

static struct host_task task;
static struct host_alarm alarm;

static void expired(struct timer *t, uint64_t now)
{
	(void)t;
	(void)now;
	host_task_wake(&task);
	host_alarm_done(&alarm);
}

static void interrupted(struct nic *n)
{
	(void)n;
	host_task_wake(&task);
}

static uint8_t gateway[NET_MAC_BYTES];

/* ---- ARP ---- */

static void fill_arp(const struct nic *n, uint8_t *f, unsigned number)
{
	(void)number;
	memset(f + AT_TO, 0xff, NET_MAC_BYTES);
	memcpy(f + AT_FROM, n->mac, NET_MAC_BYTES);
	put_be16(f + AT_TYPE, ARP_TYPE);
	put_be16(f + AT_HARDWARE, ARP_ETHERNET);
	put_be16(f + AT_PROTOCOL, IPV4_TYPE);
	put_be16(f + AT_LENGTHS, NET_MAC_BYTES << 8 | 4);
	put_be16(f + AT_OPERATION, ARP_REQUEST);
	memcpy(f + AT_SENDER, n->mac, NET_MAC_BYTES);
	put_be32(f + AT_SENDER_IP, OWN_IP);
	memset(f + AT_TARGET, 0, NET_MAC_BYTES);
	put_be32(f + AT_TARGET_IP, GATEWAY_IP);
}

static bool is_arp(const struct nic *n, const struct nic_frame *f)
{
	if (f->bytes < ARP_BYTES || memcmp(f->data + AT_TO, n->mac, NET_MAC_BYTES) != 0 ||
	    get_be16(f->data + AT_TYPE) != ARP_TYPE || get_be16(f->data + AT_OPERATION) != ARP_REPLY ||
	    get_be32(f->data + AT_SENDER_IP) != GATEWAY_IP || get_be32(f->data + AT_TARGET_IP) != OWN_IP ||
	    memcmp(f->data + AT_TARGET, n->mac, NET_MAC_BYTES) != 0)
		return false;
	memcpy(gateway, f->data + AT_SENDER, NET_MAC_BYTES);
	return true;
}

/* ---- pings ---- */

static uint8_t ping_data(unsigned number, unsigned i) { return (uint8_t)(number * 31 + i + (i >> 8)); }

static void fill_ping(const struct nic *n, uint8_t *f, unsigned number)
{
	memset(f, 0, AT_PING_DATA);
	memcpy(f + AT_TO, gateway, NET_MAC_BYTES);
	memcpy(f + AT_FROM, n->mac, NET_MAC_BYTES);
	put_be16(f + AT_TYPE, IPV4_TYPE);
	put_be16(f + AT_IP, IPV4_BEGIN);
	put_be16(f + AT_IP_BYTES, NET_MTU_DEFAULT);
	put_be16(f + AT_TTL, IPV4_TTL_ICMP);
	put_be32(f + AT_SOURCE_IP, OWN_IP);
	put_be32(f + AT_DESTINATION_IP, GATEWAY_IP);
	put_be16(f + AT_IP_SUM, net_sum_end(net_sum(0, f + AT_IP, AT_PING - AT_IP, false)));
	f[AT_PING] = PING_REQUEST;
	put_be16(f + AT_PING_NUMBER, (uint16_t)number);
	for (unsigned i = AT_PING_DATA; i < PING_BYTES; i++)
		f[i] = ping_data(number, i);
	put_be16(f + AT_PING_SUM, net_sum_end(net_sum(0, f + AT_PING, PING_BYTES - AT_PING, false)));
}

static bool is_ping(const struct nic *n, const struct nic_frame *f)
{
	unsigned number, good = 0;

	if (f->bytes != PING_BYTES || memcmp(f->data + AT_TO, n->mac, NET_MAC_BYTES) != 0 ||
	    get_be16(f->data + AT_TYPE) != IPV4_TYPE || get_be32(f->data + AT_SOURCE_IP) != GATEWAY_IP ||
	    f->data[AT_PING] != PING_REPLY || net_sum_end(net_sum(0, f->data + AT_PING, PING_BYTES - AT_PING, false)) != 0)
		return false;
	number = get_be16(f->data + AT_PING_NUMBER);
	for (unsigned i = AT_PING_DATA; i < PING_BYTES; i++)
		good += f->data[i] == ping_data(number, i);
	return good == PING_BYTES - AT_PING_DATA;
}

static const struct question arp = {ARP_BYTES, fill_arp, is_arp};
static const struct question ping = {PING_BYTES, fill_ping, is_ping};

/* ---- asking ---- */

static void ask(struct nic *n, const struct question *q, unsigned number)
{
	uint8_t *f = n->ops->reserve(n, q->bytes);

	if (!f)
		return;
	q->fill(n, f, number);
	n->ops->commit(n, q->bytes);
}

/* Calls into an interface come masked. */
static unsigned fetch(struct nic *n, const struct question *q)
{
	unsigned long state = host_ops.mask();
	struct nic_frame f;
	unsigned answers = 0;

	n->ops->poll(n);
	while (n->ops->receive(n, &f)) {
		answers += q->is_answer(n, &f);
		n->ops->release(n);
	}
	n->ops->interrupts(n, true);
	host_ops.unmask(state);
	return answers;
}

/* Answers to @wanted questions that came in time. */
static unsigned exchange(struct nic *n, const struct question *q, unsigned wanted)
{
	uint64_t until = host_clock.ticks() + ns_to_ticks(ANSWER_US * 1000ull, host_clock.hz);
	unsigned long state = host_ops.mask();
	unsigned answers = 0;

	for (unsigned i = 0; i < wanted; i++)
		ask(n, q, i);
	n->ops->kick(n);
	n->ops->interrupts(n, true);
	host_alarm_set(&host_ops, &alarm, until);
	host_ops.unmask(state);
	while (answers < wanted && host_clock.ticks() < until) {
		task_block();
		answers += fetch(n, q);
	}
	state = host_ops.mask();
	host_alarm_cancel(&host_ops, &alarm);
	host_ops.unmask(state);
	return answers;
}

static void ask_in_batches(struct nic *n, const struct question *q, const char *what)
{
	unsigned answers = 0;

	for (unsigned i = 0; i < BATCHES; i++)
		answers += exchange(n, q, BATCH);
	log_info("selftest: nic: %u of %u answers to %s", answers, BATCH * BATCHES, what);
}

static void test_nic(void *arg)
{
	struct nic *n = arg;
	const struct nic_figures *f = &n->figures;
	unsigned answers;

	n->interrupted = interrupted;
	answers = exchange(n, &arp, 1);
	log_info("selftest: nic: %u of 1 answers, 10.0.2.2 is at %02x:%02x:%02x:%02x:%02x:%02x", answers, gateway[0],
		 gateway[1], gateway[2], gateway[3], gateway[4], gateway[5]);
	ask_in_batches(n, &arp, "ARP");
	ask_in_batches(n, &ping, "pings");
	log_info("selftest: nic: %llu interrupts, sent %llu frames, %llu bytes, received %llu, %llu, lost %llu, "
		 "wrong %llu, resets %llu",
		 (unsigned long long)f->interrupts, (unsigned long long)f->tx_frames, (unsigned long long)f->tx_bytes,
		 (unsigned long long)f->rx_frames, (unsigned long long)f->rx_bytes,
		 (unsigned long long)(f->tx_lost + f->rx_missed),
		 (unsigned long long)(f->rx_errors + f->bad_descriptors), (unsigned long long)f->resets);
	n->ops->interrupts(n, false);
	for (;;)
		task_block();
}

void selftest_start_nic(const char *args)
{
	struct nic *n = nic_at(0);

	if (!cmdline_is(args, "selftest", "nic"))
		return;
	if (!n) {
		log_error("selftest: nic: there is none");
		return;
	}
	host_alarm_init(&alarm, expired);
	if (host_task_start(&task, "nic test", test_nic, n, STACK_PAGES) != ST_OK)
		panic("no memory for the self-test's stack");
}
