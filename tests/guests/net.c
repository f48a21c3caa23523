/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest on a network, by the words of its command line. Addresses are 52:54:00:00:00:N and 10.0.0.N; "to=N" names the
 * other one.
 *
 * - sink: takes what comes, checks that each sender's frames come whole, in order and once ("loss": gaps are counted),
 *   and says every "report=N" frames what it has had; "count=N" frames end it
 * - source: sends "count=N" frames (0: without end) with "payload=N" bytes of UDP, or of TCP to be cut when that is
 * more than a frame holds, in batches of "batch=N"; "rate=N" frames a second
 * - echo: sends back each ping
 * - ping: sends "count=N" pings, one at a time, "gap=MICROSECONDS" after each answer; says how long the middle one, of
 * a hundred the last but one, and the worst took, in ticks
 *
 * - deaf: takes nothing, and never posts a buffer again
 *
 * "as=N": frames are sent as if from N. "wire": they go to the emulator's gateway, 10.0.2.2.
 * "plain": no offloads are negotiated, and a sink checks each frame's sums.
 */
#include <string.h>

#include "lib/bits.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/net.h"

const char guest_name[] = "net";

#define VECTOR_RX 0x41
#define VECTOR_TX 0x42
#define VECTOR_TIMER 0x51
#define OFFLOADS (NET_F_CSUM | NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_HOST_TSO4)
#define ETHERNET 14u
#define IP 20u
#define UDP 8u
#define TCP 20u
#define MTU 1500u
#define TYPE_IP 0x0800u
#define PROTOCOL_TCP 6u
#define PROTOCOL_UDP 17u
#define PORT_DATA 4000u
#define PORT_PING 4001u
#define PORT_PONG 4002u
#define PINGS_MAX 4096u
#define PEERS 256u
#define PAYLOAD_MAX 65160u
#define PATIENCE_SECONDS 20u

/* What a frame's payload begins with, and what of each page of it is looked at. */
struct stamp {
	uint64_t number, sent;
};

static struct net net;
static uint8_t payload[NET_TX][17 * NET_PAGE] __attribute__((aligned(4096)));
static volatile uint64_t rx_interrupts, tx_interrupts, timers;
static uint64_t frames, bytes, tcp_bytes, lost, next_of[PEERS];
static uint8_t own, to;
static bool wire;

static void on_rx(struct trap_frame *f)
{
	(void)f, rx_interrupts++, apic_eoi();
}
static void on_tx(struct trap_frame *f)
{
	(void)f, tx_interrupts++, apic_eoi();
}
static void on_timer(struct trap_frame *f)
{
	(void)f, timers++, apic_eoi();
}

/* ---- frames ---- */

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v;
}
static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)(p[0] << 8 | p[1]);
}

static uint32_t sum16(uint32_t sum, const uint8_t *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i += 2)
		sum += get16(p + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Ethernet and IPv4 for @length bytes behind IP's header. */
static void put_ip(uint8_t *h, uint8_t protocol, uint32_t length)
{
	static const uint8_t mac[NET_MAC] = {0x52, 0x54}, gateway[NET_MAC] = {0x52, 0x55, 0x0a, 0x00, 0x02, 0x02};
	uint8_t *ip = h + ETHERNET;

	memcpy(h, mac, NET_MAC);
	memcpy(h + NET_MAC, mac, NET_MAC);
	h[NET_MAC - 1] = to;
	if (wire)
		memcpy(h, gateway, NET_MAC);
	h[2 * NET_MAC - 1] = own;
	put16(h + 2 * NET_MAC, TYPE_IP);
	memset(ip, 0, IP);
	ip[0] = 0x45;
	put16(ip + 2, IP + length);
	ip[6] = 0x40; /* do not fragment */
	ip[8] = 64;
	ip[9] = protocol;
	ip[12] = ip[16] = 10;
	ip[15] = own;
	ip[19] = to;
	ip[14] = ip[18] = wire ? 2 : 0;
	put16(ip + 10, ~sum16(0, ip, IP));
}

/* The pseudo header's sum, which whoever finishes the checksum goes on from. */
static uint32_t pseudo(const uint8_t *h, uint32_t length)
{
	return sum16(h[ETHERNET + 9] + length, h + ETHERNET + 12, 8);
}

/* UDP without a checksum; bytes of headers. */
static uint32_t put_udp(struct net_slot *s, uint32_t port, uint32_t length)
{
	uint8_t *udp = s->head + ETHERNET + IP;

	s->header = (struct net_header){0};
	put_ip(s->head, PROTOCOL_UDP, UDP + length);
	put16(udp, port);
	put16(udp + 2, port);
	put16(udp + 4, UDP + length);
	put16(udp + 6, 0);
	return ETHERNET + IP + UDP;
}

/* TCP that is to be cut, if it is too long, and summed; bytes of headers. */
static uint32_t put_tcp(struct net_slot *s, uint64_t at, uint32_t length)
{
	uint8_t *tcp = s->head + ETHERNET + IP;
	bool cut = ETHERNET + IP + TCP + length > ETHERNET + MTU;

	s->header = (struct net_header){
		.flags = NET_HDR_NEEDS_CSUM,
		.csum_start = ETHERNET + IP,
		.csum_offset = 16,
		.gso_type = cut ? NET_HDR_GSO_TCPV4 : 0,
		.gso_size = cut ? MTU - IP - TCP : 0,
		.hdr_len = cut ? ETHERNET + IP + TCP : 0,
	};
	put_ip(s->head, PROTOCOL_TCP, TCP + length);
	memset(tcp, 0, TCP);
	put16(tcp, PORT_DATA);
	put16(tcp + 2, PORT_DATA);
	put16(tcp + 4, (uint32_t)(at >> 16));
	put16(tcp + 6, (uint32_t)at);
	tcp[12] = TCP / 4 << 4;
	tcp[13] = 0x10; /* ACK */
	put16(tcp + 14, 0xffff);
	put16(tcp + 16, pseudo(s->head, TCP + length));
	return ETHERNET + IP + TCP;
}

/* ---- sleeping ---- */

static void arm(uint64_t at)
{
	wrmsr(MSR_IA32_TSC_DEADLINE, at);
}

/* Interrupts are off but while it sleeps, so none is lost between looking and sleeping. */
static void take_frame(struct net_frame *f, const char *what)
{
	uint64_t end = rdtsc() + PATIENCE_SECONDS * tsc_hz();

	while (!net_receive(&net, f)) {
		net_show_buffers(&net);
		if (!virtio_has_come(&net.rx)) {
			arm(end);
			halt();
		}
		CHECK(rdtsc() < end, "%s: nothing for %u s; %llu frames so far", what, PATIENCE_SECONDS,
		      (unsigned long long)frames);
	}
}

static unsigned take_slot(void)
{
	unsigned slot;

	net_reap(&net);
	while ((slot = net_free(&net)) == NET_TX) {
		net_kick(&net);
		if (!net_ask_reaped(&net))
			halt();
		net_reap(&net);
	}
	return slot;
}

/* ---- sink ---- */

static void check_pages(const struct net_frame *f, const struct stamp *first, uint32_t head)
{
	uint32_t at = f->here;

	/* The pages behind the first: the word of the payload's page that begins in each. */
	for (unsigned i = 1; i < f->buffers; i++) {
		const uint8_t *page = net.pages[f->pages[i]];
		uint32_t skip = (uint32_t)align_up(at - head, NET_PAGE) - (at - head);

		if (skip + sizeof(uint64_t) <= NET_PAGE && at + skip + sizeof(uint64_t) <= f->bytes) {
			uint64_t word;

			memcpy(&word, page + skip, sizeof word);
			CHECK(word == first->number + (at - head + skip) / NET_PAGE, "frame %llu: page %u holds %llx",
			      (unsigned long long)first->number, (at - head + skip) / NET_PAGE,
			      (unsigned long long)word);
		}
		at += NET_PAGE;
	}
}

/* Without offloads: a frame of the wire's, summed. TCP is in the order of its bytes. */
static void check_plain(const struct net_frame *f, uint8_t from)
{
	const uint8_t *ip = f->data + ETHERNET, *tcp = ip + IP;
	uint32_t length = get16(ip + 2) - IP, sum;
	static uint32_t at[PEERS];

	CHECK(f->buffers == 1 && f->bytes <= ETHERNET + MTU && !f->header->flags && !f->header->gso_type,
	      "%u bytes, flags %u, gso %u", f->bytes, f->header->flags, f->header->gso_type);
	CHECK(sum16(0, ip, IP) == 0xffff, "frame %llu: the header's sum is wrong", (unsigned long long)frames);
	if (ip[9] != PROTOCOL_TCP)
		return;
	sum = sum16(pseudo(f->data, length), tcp, length & ~1u);
	if (length & 1)
		sum = sum16(sum + (uint32_t)(tcp[length - 1] << 8), tcp, 0);
	CHECK(sum == 0xffff, "frame %llu: TCP's sum is wrong", (unsigned long long)frames);
	CHECK((get16(tcp + 4) << 16 | get16(tcp + 6)) == at[from], "bytes from %u came, %u were next",
	      get16(tcp + 4) << 16 | get16(tcp + 6), at[from]);
	at[from] += length - TCP;
}

static void check_frame(const struct net_frame *f, bool may_lose)
{
	uint32_t head = ETHERNET + IP + (f->data[ETHERNET + 9] == PROTOCOL_TCP ? TCP : UDP);
	uint8_t from = f->data[2 * NET_MAC - 1];
	struct stamp stamp;

	if (get16(f->data + 2 * NET_MAC) != TYPE_IP || f->here < head + sizeof stamp)
		return; /* some other protocol's */
	CHECK(f->bytes == ETHERNET + get16(f->data + ETHERNET + 2), "%u bytes came of %u", f->bytes,
	      ETHERNET + get16(f->data + ETHERNET + 2));
	CHECK(f->data[NET_MAC - 1] == own, "a frame for %u", f->data[NET_MAC - 1]);
	if (!(net.function.features & NET_F_GUEST_CSUM)) {
		check_plain(f, from);
		if (f->data[ETHERNET + 9] == PROTOCOL_TCP)
			return; /* cut: only the first has a stamp */
	}
	memcpy(&stamp, f->data + head, sizeof stamp);
	CHECK(stamp.number == next_of[from] || (may_lose && stamp.number > next_of[from]),
	      "frame %llu of %u came, %llu was next", (unsigned long long)stamp.number, from,
	      (unsigned long long)next_of[from]);
	lost += stamp.number - next_of[from];
	next_of[from] = stamp.number + 1;
	check_pages(f, &stamp, head);
}

static void sink(void)
{
	uint64_t every = option("report", 1000), count = option("count", 0), began = 0;
	bool may_lose = option_word("loss");

	while (count == 0 || frames < count) {
		struct net_frame f;

		take_frame(&f, "sink");
		if (!began)
			began = rdtsc();
		check_frame(&f, may_lose);
		frames++;
		bytes += f.bytes;
		net_give_back(&net, &f);
		if (frames % every == 0)
			print("sink: frames %llu bytes %llu lost %llu interrupts %llu ticks %llu\n",
			      (unsigned long long)frames, (unsigned long long)bytes, (unsigned long long)lost,
			      (unsigned long long)rx_interrupts, (unsigned long long)(rdtsc() - began));
	}
}

/* ---- source ---- */

static void send_one(uint32_t length)
{
	unsigned slot = take_slot();
	struct net_slot *s = &net.slots[slot];
	struct stamp stamp = {frames, rdtsc()};
	uint32_t head = length > MTU ? put_tcp(s, tcp_bytes, length) : put_udp(s, PORT_DATA, length);

	for (uint32_t page = 0; page * NET_PAGE + sizeof stamp <= length; page++) {
		uint64_t word = stamp.number + page;

		memcpy(payload[slot] + page * NET_PAGE, &word, sizeof word);
	}
	memcpy(payload[slot], &stamp, MIN(sizeof stamp, length));
	net_send(&net, slot, head, payload[slot], length);
	frames++;
	bytes += head + length;
	tcp_bytes += length;
}

static void pace(uint64_t began, uint64_t rate)
{
	uint64_t due = began + frames * tsc_hz() / rate;

	while (rdtsc() < due) {
		arm(due);
		halt();
	}
}

static void source(void)
{
	uint64_t count = option("count", 0), batch = option("batch", 1), rate = option("rate", 0), began;
	uint32_t length = (uint32_t)option("payload", 22);

	CHECK(length <= PAYLOAD_MAX && batch >= 1 && batch <= NET_TX, "what is this to send?");
	CHECK(length <= MTU || net.function.features & NET_F_HOST_TSO4, "the device does not cut");
	spin_ticks(option("delay", 0) * tsc_hz() / 1000);
	began = rdtsc();
	while (count == 0 || frames < count) {
		for (uint64_t n = 0; n < batch && (count == 0 || frames < count); n++)
			send_one(length);
		net_kick(&net);
		if (rate)
			pace(began, rate);
	}
	while (net.free != UINT32_MAX) {
		if (!net_ask_reaped(&net))
			halt();
		net_reap(&net);
	}
	print("source: frames %llu bytes %llu interrupts %llu ticks %llu\n", (unsigned long long)frames,
	      (unsigned long long)bytes, (unsigned long long)tx_interrupts, (unsigned long long)(rdtsc() - began));
}

/* ---- ping and echo ---- */

static void send_stamp(uint32_t port, const struct stamp *stamp)
{
	unsigned slot = take_slot();

	memcpy(payload[slot], stamp, sizeof *stamp);
	net_send(&net, slot, put_udp(&net.slots[slot], port, sizeof *stamp), payload[slot], sizeof *stamp);
	net_kick(&net);
}

/* The next one that came to @port, and who sent it. */
static void take_stamp(uint32_t port, struct stamp *stamp, uint8_t *from)
{
	uint32_t head = ETHERNET + IP + UDP;

	for (;;) {
		struct net_frame f;
		bool it;

		take_frame(&f, "ping");
		it = f.here >= head + sizeof *stamp && f.data[ETHERNET + 9] == PROTOCOL_UDP &&
		     get16(f.data + ETHERNET + IP + 2) == port;
		if (it) {
			*from = f.data[2 * NET_MAC - 1];
			memcpy(stamp, f.data + head, sizeof *stamp);
		}
		net_give_back(&net, &f);
		if (it)
			return;
	}
}

static void echo(void)
{
	for (;;) {
		struct stamp stamp;

		take_stamp(PORT_PING, &stamp, &to);
		send_stamp(PORT_PONG, &stamp);
	}
}

static void sort(uint64_t *v, unsigned n)
{
	for (unsigned i = 1; i < n; i++) {
		uint64_t moved = v[i];
		unsigned at = i;

		for (; at > 0 && v[at - 1] > moved; at--)
			v[at] = v[at - 1];
		v[at] = moved;
	}
}

static void ping(void)
{
	static uint64_t took[PINGS_MAX];
	unsigned count = (unsigned)option("count", 200);
	uint64_t gap = option("gap", 1000) * tsc_hz() / 1000000;

	CHECK(count >= 1 && count <= PINGS_MAX, "so many pings are not kept");
	for (;;) {
		for (unsigned i = 0; i < count; i++) {
			struct stamp stamp = {frames++, rdtsc()}, back;
			uint64_t due;
			uint8_t from;

			send_stamp(PORT_PING, &stamp);
			take_stamp(PORT_PONG, &back, &from);
			CHECK(back.number == stamp.number && from == to, "an answer to ping %llu",
			      (unsigned long long)back.number);
			took[i] = rdtsc() - stamp.sent;
			for (due = rdtsc() + gap; rdtsc() < due;) {
				arm(due);
				halt();
			}
		}
		sort(took, count);
		print("ping: count %u p50 %llu p99 %llu worst %llu\n", count, (unsigned long long)took[count / 2],
		      (unsigned long long)took[count - 1 - count / 100], (unsigned long long)took[count - 1]);
		if (option_word("once"))
			return;
	}
}

void guest_main(void)
{
	uint64_t features = NET_F_MAC | NET_F_MRG_RXBUF | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX;

	set_handler(VECTOR_RX, on_rx);
	set_handler(VECTOR_TX, on_tx);
	set_handler(VECTOR_TIMER, on_timer);
	apic_set_mode(APIC_X2APIC);
	apic_write(APIC_REG_LVT_TIMER, APIC_TIMER_TSC_DEADLINE | VECTOR_TIMER);
	CHECK(net_open(&net, 0, VECTOR_RX, VECTOR_TX, option_word("plain") ? features : features | OFFLOADS),
	      "there is no network device");
	own = (uint8_t)option("as", net.mac[NET_MAC - 1]);
	wire = option_word("wire");
	to = (uint8_t)option("to", 0);
	print("net: %02x:%02x:%02x:%02x:%02x:%02x\n", net.mac[0], net.mac[1], net.mac[2], net.mac[3], net.mac[4],
	      net.mac[5]);
	if (option_word("sink"))
		sink();
	else if (option_word("source"))
		source();
	else if (option_word("echo"))
		echo();
	else if (option_word("ping"))
		ping();
	else if (option_word("deaf"))
		for (;;)
			halt();
	else
		fail_with("nothing to do");
}
