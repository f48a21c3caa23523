/* SPDX-License-Identifier: Apache-2.0 */
/* See paced_nic.h. */
#include "tests/fakes/paced_nic.h"

#include <string.h>

#include "lib/assert.h"
#include "lib/format.h"

static struct paced_nic *of(struct nic *n) { return container_of(n, struct paced_nic, nic); }
static uint64_t now_of(const struct paced_nic *n) { return n->host->clock->ticks(); }

/* An interrupt comes whoever has the owner's lock. */
static void tell(struct paced_nic *n)
{
	if (n->nic.silent || !__atomic_exchange_n(&n->interrupts, false, __ATOMIC_SEQ_CST))
		return;
	__atomic_fetch_add(&n->nic.figures.interrupts, 1, __ATOMIC_RELAXED);
	n->nic.interrupted(&n->nic);
}

static void rings(struct timer *t, uint64_t now)
{
	struct paced_nic *n = container_of(container_of(t, struct host_alarm, timer), struct paced_nic, alarm);

	(void)now;
	host_alarm_done(&n->alarm);
	tell(n);
}

static bool has_received(const struct paced_nic *n) { return n->first + n->given < n->received_count; }

static void arm(struct paced_nic *n)
{
	if (!__atomic_load_n(&n->interrupts, __ATOMIC_SEQ_CST))
		return;
	if (has_received(n) || (n->sent_count && n->sending[n->sent_next].at <= now_of(n)))
		tell(n);
	else if (n->sent_count)
		host_alarm_set(n->host, &n->alarm, n->sending[n->sent_next].at);
}

static uint8_t *reserve(struct nic *nic, uint32_t bytes)
{
	struct paced_nic *n = of(nic);

	ASSERT(bytes >= NET_FRAME_MIN && bytes <= nic->max_frame);
	return n->sent_count < PACED_NIC_RING ? n->place : NULL;
}

static void commit(struct nic *nic, uint32_t bytes)
{
	struct paced_nic *n = of(nic);
	unsigned i = (n->sent_next + n->sent_count++) % PACED_NIC_RING;
	uint8_t who = n->place[2 * NET_MAC_BYTES - 1];

	ASSERT(n->sent_count <= PACED_NIC_RING);
	n->busy_until = MAX(n->busy_until, now_of(n)) + mul_div(bytes, n->host->clock->hz, n->rate);
	n->sending[i].bytes = bytes;
	n->sending[i].at = n->busy_until;
	nic->waiting_bytes += bytes;
	nic->figures.tx_frames++;
	nic->figures.tx_bytes += bytes;
	n->bytes_of[who] += bytes;
	n->frames_of[who]++;
	memcpy(n->last, n->place, bytes);
	n->last_bytes = bytes;
}

static void kick(struct nic *nic) { arm(of(nic)); }

static void poll(struct nic *nic)
{
	struct paced_nic *n = of(nic);

	for (; n->sent_count && n->sending[n->sent_next].at <= now_of(n); n->sent_count--) {
		nic->sent_bytes += n->sending[n->sent_next].bytes;
		nic->waiting_bytes -= n->sending[n->sent_next].bytes;
		n->sent_next = (n->sent_next + 1) % PACED_NIC_RING;
	}
}

static bool receive(struct nic *nic, struct nic_frame *out)
{
	struct paced_nic *n = of(nic);
	unsigned i = n->first + n->given;

	if (!has_received(n))
		return false;
	n->given++;
	*out = (struct nic_frame){.data = n->received[i % PACED_NIC_RING].data,
				  .bytes = n->received[i % PACED_NIC_RING].bytes};
	nic->figures.rx_frames++;
	nic->figures.rx_bytes += out->bytes;
	return true;
}

static void release(struct nic *nic)
{
	struct paced_nic *n = of(nic);

	ASSERT(n->given > 0);
	n->given--;
	n->first++;
}

static void interrupts(struct nic *nic, bool on)
{
	__atomic_store_n(&of(nic)->interrupts, on, __ATOMIC_SEQ_CST);
	arm(of(nic));
}

static void promiscuous(struct nic *nic, bool on) { of(nic)->promiscuous = on; }

static const struct nic_ops ops = {.reserve = reserve, .commit = commit, .kick = kick, .poll = poll, .receive = receive,
				   .release = release, .interrupts = interrupts, .promiscuous = promiscuous};

void paced_nic_init(struct paced_nic *n, const struct host_ops *host, const char *name, uint64_t rate)
{
	memset(n, 0, sizeof *n);
	n->nic = (struct nic){.ops = &ops, .mac = {0x52, 0x54, 0, 0, 0, 0xee}, .max_frame = 1518, .up = true,
			      .link_mbps = 1000};
	format(n->nic.name, sizeof n->nic.name, "%s", name);
	n->host = host;
	n->rate = rate;
	host_alarm_init(&n->alarm, rings);
}

bool paced_nic_comes(struct paced_nic *n, const void *frame, uint32_t bytes)
{
	unsigned i = n->received_count % PACED_NIC_RING;

	if (n->received_count - n->first == PACED_NIC_RING || bytes > PACED_NIC_FRAME) {
		n->nic.figures.rx_missed++;
		return false;
	}
	memcpy(n->received[i].data, frame, bytes);
	n->received[i].bytes = bytes;
	n->received_count++;
	tell(n);
	return true;
}
