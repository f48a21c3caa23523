/* SPDX-License-Identifier: Apache-2.0 */
/* See wire_nic.h. */
#include "tests/fakes/wire_nic.h"

#include <string.h>

#include "lib/format.h"

#define LINK_MBPS 1000u
#define BEACON_TYPE 0x88b5u /* for experiments (IEEE 802, 9.2.4) */

static struct wire_nic *of(struct nic *n)
{
	return (struct wire_nic *)n;
}

static uint8_t *reserve(struct nic *n, uint32_t bytes)
{
	return bytes <= WIRE_NIC_BYTES ? of(n)->out : NULL;
}

static void commit(struct nic *n, uint32_t bytes)
{
	n->figures.tx_frames++;
	n->figures.tx_bytes += bytes;
	n->sent_bytes += bytes;
}

static void nothing(struct nic *n)
{
	(void)n;
}

static bool receive(struct nic *n, struct nic_frame *out)
{
	struct wire_nic *w = of(n);

	if (w->taken == w->head)
		return false;
	*out = (struct nic_frame){
		.data = w->in[w->taken % WIRE_NIC_FRAMES].data, .bytes = w->in[w->taken % WIRE_NIC_FRAMES].bytes,
	};
	w->taken++;
	n->figures.rx_frames++;
	n->figures.rx_bytes += out->bytes;
	return true;
}

static void release(struct nic *n)
{
	of(n)->tail++;
}

static void interrupts(struct nic *n, bool on)
{
	of(n)->interrupts = on;
}

static void promiscuous(struct nic *n, bool on)
{
	(void)n;
	(void)on;
}

void wire_nic_init(struct wire_nic *w, const char *name)
{
	static const struct nic_ops ops = {
		.reserve = reserve, .commit = commit, .kick = nothing, .poll = nothing, .receive = receive,
		.release = release, .interrupts = interrupts, .promiscuous = promiscuous,
	};
	static const uint8_t mac[NET_MAC_BYTES] = {0x52, 0x54, 0, 0, 0xee, 0};

	*w = (struct wire_nic){.nic = {.ops = &ops, .max_frame = 1518, .up = true, .link_mbps = LINK_MBPS}};
	format(w->nic.name, sizeof w->nic.name, "%s", name);
	format(w->nic.what, sizeof w->nic.what, "an interface of a test");
	memcpy(w->nic.mac, mac, sizeof mac);
	w->nic.mac[NET_MAC_BYTES - 1] = (uint8_t)name[strlen(name) - 1];
}

void wire_nic_receive(struct wire_nic *w, const void *data, uint32_t bytes)
{
	if (w->head - w->tail == WIRE_NIC_FRAMES || bytes > WIRE_NIC_BYTES) {
		w->nic.figures.rx_missed++;
		return;
	}
	memcpy(w->in[w->head % WIRE_NIC_FRAMES].data, data, bytes);
	w->in[w->head % WIRE_NIC_FRAMES].bytes = bytes;
	w->head++;
	if (!w->interrupts || !w->nic.interrupted)
		return;
	w->interrupts = false;
	w->nic.figures.interrupts++;
	w->nic.interrupted(&w->nic);
}

void wire_nic_beacon(struct wire_nic *w, uint32_t number, uint32_t bytes)
{
	static const uint8_t head[] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0xbe, 0xac, 0, BEACON_TYPE >> 8, BEACON_TYPE & 0xff,
	};
	uint8_t frame[WIRE_NIC_BYTES];

	for (uint32_t i = 0; i < bytes; i++)
		frame[i] = (uint8_t)i;
	memcpy(frame, head, sizeof head);
	memcpy(frame + sizeof head, &number, sizeof number);
	wire_nic_receive(w, frame, bytes);
}
