/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the 8254x's driver have in common: the driver on the fake card, memory for it behind 4 GiB, an
 * owner who polls, and frames whose contents are known.
 */
#ifndef CORBEL_TESTS_E1000_RIG_H
#define CORBEL_TESTS_E1000_RIG_H

#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "tests/fakes/fake_e1000.h"

#define MS(n) ((n) * 10000ull)
#define SECONDS(n) ((n) * 10000000ull)
#define MEMORY_AT 0x1234500000ull /* behind 4 GiB */
#define GOOD(bytes) ((bytes) | E1000_DESC_DD | E1000_RX_EOP)

static struct e1000 card;
static struct nic *const nic = &card.nic;
static struct dma_identity identity;
static struct dma dma;
static struct error err;
static uint8_t *memory;
static unsigned changes, interrupted;

static inline uint64_t to_physical(const void *p)
{
	uint64_t offset = (uint64_t)((const uint8_t *)p - memory);

	return (const uint8_t *)p >= memory && offset < E1000_MEMORY_BYTES ? MEMORY_AT + offset : UINT64_MAX;
}

static inline void on_change(struct nic *n)
{
	assert_ptr_equal(n, nic);
	changes++;
}

static inline void on_interrupt(struct nic *n)
{
	assert_ptr_equal(n, nic);
	interrupted++;
}

static inline enum status open_card(uint16_t device)
{
	fake_e1000.model = e1000_model_of(device);
	return e1000_open(&card, fake_e1000.model, &fake_e1000_io, &fake_e1000_clock, "00:02.0", &err);
}

static inline int make_memory(void **state)
{
	(void)state;
	fake_e1000_init();
	memory = aligned_alloc(4096, E1000_MEMORY_BYTES);
	memset(memory, 0xee, E1000_MEMORY_BYTES);
	fake_e1000.memory = memory;
	fake_e1000.memory_at = MEMORY_AT;
	fake_e1000.memory_bytes = E1000_MEMORY_BYTES;
	dma_identity_init(&identity, to_physical, &dma);
	changes = interrupted = 0;
	return 0;
}

static inline void start_card(uint16_t device)
{
	assert_int_equal(open_card(device), ST_OK);
	assert_int_equal(e1000_start(&card, &dma, memory, &err), ST_OK);
	nic->link_changed = on_change;
	nic->interrupted = on_interrupt;
}

static inline int setup(void **state)
{
	make_memory(state);
	start_card(0x100e);
	nic->ops->promiscuous(nic, true);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	fake_e1000_fini();
	free(memory);
	return 0;
}

static inline void pass(uint64_t ticks) { fake_e1000.ticks += ticks; }

/* As an owner does who has nothing to do. */
static inline void poll_for(uint64_t ticks)
{
	uint64_t end = fake_e1000.ticks + ticks;

	while (fake_e1000.ticks < end) {
		nic->ops->poll(nic);
		pass(MS(10));
	}
}

/* ---- frames ---- */

static inline void fill(uint8_t *p, uint32_t bytes, unsigned seed)
{
	static const uint8_t head[] = {0x52, 0x54, 0, 1, 2, 3, 0x52, 0x54, 0, 4, 5, 6, 0x88, 0xb5};

	for (uint32_t i = 0; i < bytes; i++)
		p[i] = i < sizeof head ? head[i] : (uint8_t)(seed * 37 + i + (i >> 8));
}

static inline bool put(uint32_t bytes, unsigned seed)
{
	uint8_t *at = nic->ops->reserve(nic, bytes);

	if (!at)
		return false;
	fill(at, bytes, seed);
	nic->ops->commit(nic, bytes);
	return true;
}

static inline void check_sent(unsigned index, uint32_t bytes, unsigned seed)
{
	const struct fake_e1000_frame *f = &fake_e1000.sent[index % FAKE_E1000_SENT];
	uint8_t want[E1000_BUFFER] = {0};

	fill(want, bytes, seed);
	assert_int_equal(f->bytes, MAX(bytes, 60));
	assert_memory_equal(f->data, want, f->bytes);
}

static inline bool give(uint32_t bytes, unsigned seed)
{
	uint8_t data[E1000_BUFFER * 2];

	fill(data, bytes, seed);
	return fake_e1000_receive(data, bytes);
}

static inline struct nic_frame check_received(uint32_t bytes, unsigned seed)
{
	uint8_t want[E1000_BUFFER];
	struct nic_frame f;

	assert_true(nic->ops->receive(nic, &f));
	fill(want, bytes, seed);
	assert_int_equal(f.bytes, bytes);
	assert_memory_equal(f.data, want, bytes);
	return f;
}

static inline bool is_empty(void)
{
	struct nic_frame f;

	return !nic->ops->receive(nic, &f);
}

static inline void take(uint32_t bytes, unsigned seed)
{
	check_received(bytes, seed);
	nic->ops->release(nic);
}

/* Nothing has been lost by what came before. */
static inline void works(void)
{
	unsigned sent = fake_e1000.sent_count;

	assert_true(nic->up);
	assert_true(put(100, 7));
	nic->ops->kick(nic);
	assert_int_equal(fake_e1000.sent_count, sent + 1);
	check_sent(sent, 100, 7);
	nic->ops->poll(nic);
	assert_int_equal(nic->waiting_bytes, 0);
	assert_true(give(200, 9));
	take(200, 9);
	assert_true(is_empty());
}

/* The card says @word of its next descriptor, whatever is in it. */
static inline void write_piece(uint64_t word)
{
	static uint8_t data[E1000_BUFFER];

	fake_e1000_rx_write(0, word, data, sizeof data);
	fake_e1000_rx_advance(1);
}

#endif
