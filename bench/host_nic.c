/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the network card's driver costs in instructions, without an emulator: bench/host.py runs each case under
 * callgrind, which counts only inside case_*(). firmware/ is compiled as for the machine; an access to a register
 * counts as one call, what it costs the bus is not seen here.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/cases.h"
#include "firmware/e1000.h"
#include "lib/bits.h"

#define ROUNDS 1024u
#define FRAME_BYTES 1514u
#define BATCH 32u
#define CASE __attribute__((noinline, noclone)) static void

static _Alignas(4096) uint8_t memory[E1000_MEMORY_BYTES];
static struct e1000 card;
static struct nic *const nic = &card.nic;
static unsigned rx_head, tx_head;

/* A card that is always done. */
static uint32_t read_register(void *ctx, uint32_t reg)
{
	(void)ctx;
	if (reg == E1000_RAL0 || reg == E1000_RAH0)
		return E1000_RAH_AV | 0x5452;
	return reg == E1000_STATUS ? E1000_STATUS_LU : 0;
}
static void write_register(void *ctx, uint32_t reg, uint32_t v) { (void)ctx, (void)reg, (void)v; }
static const struct e1000_io registers = {.read = read_register, .write = write_register};

static uint64_t now;
static uint64_t ticks(void) { return now += 1000; }
static const struct clock host_ticks = {.ticks = ticks, .hz = 1000000000};

static uint64_t to_physical(const void *p) { return (uint64_t)p; }

static void setup(void)
{
	static struct dma_identity identity;
	struct dma dma;

	dma_identity_init(&identity, to_physical, &dma);
	if (e1000_open(&card, e1000_model_of(0x100e), &registers, &host_ticks, "00:02.0", NULL) != ST_OK ||
	    e1000_start(&card, &dma, memory, NULL) != ST_OK || !nic->up)
		abort();
}

static void arrive(void)
{
	card.rx.descriptors[rx_head].word = FRAME_BYTES | E1000_DESC_DD | E1000_RX_EOP;
	rx_head = (rx_head + 1) % E1000_RX;
}

static void depart(void)
{
	card.tx.descriptors[tx_head].word |= E1000_DESC_DD;
	tx_head = (tx_head + 1) % E1000_TX;
}

/* A frame that comes alone: looked for, found, given back, and nothing behind it. */
CASE case_nic_receive(unsigned round)
{
	struct nic_frame f;

	(void)round;
	nic->ops->poll(nic);
	if (!nic->ops->receive(nic, &f) || f.bytes != FRAME_BYTES)
		abort();
	nic->ops->release(nic);
}
static unsigned run_nic_receive(void)
{
	setup();
	for (unsigned i = 0; i < ROUNDS; i++) {
		arrive();
		case_nic_receive(i);
	}
	return ROUNDS;
}

CASE case_nic_receive_batch(unsigned round)
{
	struct nic_frame f;
	unsigned n = 0;

	(void)round;
	nic->ops->poll(nic);
	while (nic->ops->receive(nic, &f)) {
		nic->ops->release(nic);
		n++;
	}
	if (n != BATCH)
		abort();
}
static unsigned run_nic_receive_batch(void)
{
	setup();
	for (unsigned i = 0; i < ROUNDS / BATCH; i++) {
		for (unsigned n = 0; n < BATCH; n++)
			arrive();
		case_nic_receive_batch(i);
	}
	return ROUNDS;
}

/* The frame itself is the owner's to copy. */
CASE case_nic_send(unsigned round)
{
	(void)round;
	if (!nic->ops->reserve(nic, FRAME_BYTES))
		abort();
	nic->ops->commit(nic, FRAME_BYTES);
	nic->ops->kick(nic);
}
static unsigned run_nic_send(void)
{
	setup();
	for (unsigned i = 0; i < ROUNDS; i++) {
		case_nic_send(i);
		depart();
		nic->ops->poll(nic);
	}
	return ROUNDS;
}

/* With what it costs to take them back. */
CASE case_nic_send_batch(unsigned round)
{
	(void)round;
	nic->ops->poll(nic);
	for (unsigned n = 0; n < BATCH; n++) {
		if (!nic->ops->reserve(nic, FRAME_BYTES))
			abort();
		nic->ops->commit(nic, FRAME_BYTES);
	}
	nic->ops->kick(nic);
}
static unsigned run_nic_send_batch(void)
{
	setup();
	for (unsigned i = 0; i < ROUNDS / BATCH; i++) {
		case_nic_send_batch(i);
		for (unsigned n = 0; n < BATCH; n++)
			depart();
	}
	return ROUNDS;
}

static const struct bench_case cases[] = {
	{"nic_receive", run_nic_receive},
	{"nic_receive_batch", run_nic_receive_batch},
	{"nic_send", run_nic_send},
	{"nic_send_batch", run_nic_send_batch},
};

int main(int argc, char **argv) { return bench_main(cases, ARRAY_SIZE(cases), argc, argv); }
