/* SPDX-License-Identifier: Apache-2.0 */
/*
 * That the first network interface sends, receives and interrupts (boot argument selftest=nic), against what answers
 * ARP (RFC 826) behind the emulator's card: its user network's gateway, 10.0.2.2. A host task asks, first once, then in
 * batches, more often than the rings have descriptors; it sleeps until it is interrupted, and looks at each answer.
 */
#include "firmware/selftest.h"

#include "firmware/cmdline.h"
#include "firmware/cpuloop.h"
#include "firmware/nic.h"
#include "firmware/tsc.h"
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
#define ARP_IPV4 0x0800u
#define ARP_REQUEST 1u
#define ARP_REPLY 2u
#define OWN_IP 0x0a00020fu /* 10.0.2.15 */
#define GATEWAY_IP 0x0a000202u

/* Ethernet's header, then ARP's. */
enum { AT_TO = 0, AT_FROM = 6, AT_TYPE = 12, AT_HARDWARE = 14, AT_PROTOCOL = 16, AT_LENGTHS = 18, AT_OPERATION = 20,
       AT_SENDER = 22, AT_SENDER_IP = 28, AT_TARGET = 32, AT_TARGET_IP = 38 };

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

static bool ask(struct nic *n)
{
	uint8_t *f = n->ops->reserve(n, ARP_BYTES);

	if (!f)
		return false;
	memset(f + AT_TO, 0xff, NET_MAC_BYTES);
	memcpy(f + AT_FROM, n->mac, NET_MAC_BYTES);
	put_be16(f + AT_TYPE, ARP_TYPE);
	put_be16(f + AT_HARDWARE, ARP_ETHERNET);
	put_be16(f + AT_PROTOCOL, ARP_IPV4);
	put_be16(f + AT_LENGTHS, NET_MAC_BYTES << 8 | 4);
	put_be16(f + AT_OPERATION, ARP_REQUEST);
	memcpy(f + AT_SENDER, n->mac, NET_MAC_BYTES);
	put_be32(f + AT_SENDER_IP, OWN_IP);
	memset(f + AT_TARGET, 0, NET_MAC_BYTES);
	put_be32(f + AT_TARGET_IP, GATEWAY_IP);
	n->ops->commit(n, ARP_BYTES);
	return true;
}

static bool is_answer(const struct nic *n, const struct nic_frame *f)
{
	return f->bytes >= ARP_BYTES && memcmp(f->data + AT_TO, n->mac, NET_MAC_BYTES) == 0 &&
	       get_be16(f->data + AT_TYPE) == ARP_TYPE && get_be16(f->data + AT_OPERATION) == ARP_REPLY &&
	       get_be32(f->data + AT_SENDER_IP) == GATEWAY_IP && get_be32(f->data + AT_TARGET_IP) == OWN_IP &&
	       memcmp(f->data + AT_TARGET, n->mac, NET_MAC_BYTES) == 0;
}

/* Calls into an interface come masked. */
static unsigned fetch(struct nic *n, uint8_t *mac)
{
	unsigned long state = host_ops.mask();
	struct nic_frame f;
	unsigned answers = 0;

	n->ops->poll(n);
	while (n->ops->receive(n, &f)) {
		answers += is_answer(n, &f);
		memcpy(mac, f.data + AT_SENDER, NET_MAC_BYTES);
		n->ops->release(n);
	}
	n->ops->interrupts(n, true);
	host_ops.unmask(state);
	return answers;
}

/* Answers to @wanted questions that came in time. */
static unsigned exchange(struct nic *n, unsigned wanted, uint8_t *mac)
{
	uint64_t until = host_clock.ticks() + ns_to_ticks(ANSWER_US * 1000ull, host_clock.hz);
	unsigned long state = host_ops.mask();
	unsigned answers = 0;

	for (unsigned i = 0; i < wanted; i++)
		(void)ask(n);
	n->ops->kick(n);
	n->ops->interrupts(n, true);
	host_alarm_set(&host_ops, &alarm, until);
	host_ops.unmask(state);
	while (answers < wanted && host_clock.ticks() < until) {
		task_block();
		answers += fetch(n, mac);
	}
	state = host_ops.mask();
	host_alarm_cancel(&host_ops, &alarm);
	host_ops.unmask(state);
	return answers;
}

static void test_nic(void *arg)
{
	struct nic *n = arg;
	uint8_t mac[NET_MAC_BYTES] = {0};
	unsigned answers;

	n->interrupted = interrupted;
	answers = exchange(n, 1, mac);
	log_info("selftest: nic: %u of 1 answers, 10.0.2.2 is at %02x:%02x:%02x:%02x:%02x:%02x", answers, mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	for (unsigned i = answers = 0; i < BATCHES; i++)
		answers += exchange(n, BATCH, mac);
	log_info("selftest: nic: %u of %u answers, %llu interrupts, sent %llu, received %llu, lost %llu, wrong %llu, "
		 "resets %llu",
		 answers, BATCH * BATCHES, (unsigned long long)n->figures.interrupts,
		 (unsigned long long)n->figures.tx_frames, (unsigned long long)n->figures.rx_frames,
		 (unsigned long long)(n->figures.tx_lost + n->figures.rx_missed),
		 (unsigned long long)(n->figures.rx_errors + n->figures.bad_descriptors),
		 (unsigned long long)n->figures.resets);
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
