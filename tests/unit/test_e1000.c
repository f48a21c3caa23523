/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver of Intel's network cards against a card that does its work, and against one that stops, loses its link,
 * answers out of order, twice or never, lies about lengths, and interrupts for nothing. Whatever it does, what the
 * owner gets are whole frames in the driver's memory, and the sums are right.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "tests/fakes/fake_e1000.h"
#include "tests/model/random.h"

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

static uint64_t to_physical(const void *p)
{
	uint64_t offset = (uint64_t)((const uint8_t *)p - memory);

	return (const uint8_t *)p >= memory && offset < E1000_MEMORY_BYTES ? MEMORY_AT + offset : UINT64_MAX;
}

static void on_change(struct nic *n)
{
	assert_ptr_equal(n, nic);
	changes++;
}

static void on_interrupt(struct nic *n)
{
	assert_ptr_equal(n, nic);
	interrupted++;
}

static enum status open_card(uint16_t device)
{
	fake_e1000.model = e1000_model_of(device);
	return e1000_open(&card, fake_e1000.model, &fake_e1000_io, &fake_e1000_clock, "00:02.0", &err);
}

static int make_memory(void **state)
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

static void start_card(uint16_t device)
{
	assert_int_equal(open_card(device), ST_OK);
	assert_int_equal(e1000_start(&card, &dma, memory, &err), ST_OK);
	nic->link_changed = on_change;
	nic->interrupted = on_interrupt;
}

static int setup(void **state)
{
	make_memory(state);
	start_card(0x100e);
	nic->ops->promiscuous(nic, true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_e1000_fini();
	free(memory);
	return 0;
}

static void pass(uint64_t ticks) { fake_e1000.ticks += ticks; }

/* As an owner does who has nothing to do. */
static void poll_for(uint64_t ticks)
{
	uint64_t end = fake_e1000.ticks + ticks;

	while (fake_e1000.ticks < end) {
		nic->ops->poll(nic);
		pass(MS(10));
	}
}

/* ---- frames ---- */

static void fill(uint8_t *p, uint32_t bytes, unsigned seed)
{
	static const uint8_t head[] = {0x52, 0x54, 0, 1, 2, 3, 0x52, 0x54, 0, 4, 5, 6, 0x88, 0xb5};

	for (uint32_t i = 0; i < bytes; i++)
		p[i] = i < sizeof head ? head[i] : (uint8_t)(seed * 37 + i + (i >> 8));
}

static bool put(uint32_t bytes, unsigned seed)
{
	uint8_t *at = nic->ops->reserve(nic, bytes);

	if (!at)
		return false;
	fill(at, bytes, seed);
	nic->ops->commit(nic, bytes);
	return true;
}

static void check_sent(unsigned index, uint32_t bytes, unsigned seed)
{
	const struct fake_e1000_frame *f = &fake_e1000.sent[index % FAKE_E1000_SENT];
	uint8_t want[E1000_BUFFER] = {0};

	fill(want, bytes, seed);
	assert_int_equal(f->bytes, MAX(bytes, 60));
	assert_memory_equal(f->data, want, f->bytes);
}

static bool give(uint32_t bytes, unsigned seed)
{
	uint8_t data[E1000_BUFFER * 2];

	fill(data, bytes, seed);
	return fake_e1000_receive(data, bytes);
}

static struct nic_frame check_received(uint32_t bytes, unsigned seed)
{
	uint8_t want[E1000_BUFFER];
	struct nic_frame f;

	assert_true(nic->ops->receive(nic, &f));
	fill(want, bytes, seed);
	assert_int_equal(f.bytes, bytes);
	assert_memory_equal(f.data, want, bytes);
	return f;
}

static bool is_empty(void)
{
	struct nic_frame f;

	return !nic->ops->receive(nic, &f);
}

static void take(uint32_t bytes, unsigned seed)
{
	check_received(bytes, seed);
	nic->ops->release(nic);
}

/* Nothing has been lost by what came before. */
static void works(void)
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

/* ---- its beginning ---- */

static void it_is_found(void **state)
{
	static const uint8_t mac[] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

	(void)state;
	assert_null(e1000_model_of(0x1234));
	for (unsigned i = 0; i < 4; i++) {
		fake_e1000.loads_address = i % 2;
		start_card(i / 2 ? 0x10d3 : 0x100e);
		assert_memory_equal(nic->mac, mac, sizeof mac);
		assert_string_equal(nic->what, i / 2 ? "Intel 82574L at 00:02.0" : "Intel 82540EM at 00:02.0");
		assert_true(nic->up);
		assert_int_equal(nic->link_mbps, 1000);
		assert_int_equal(nic->max_frame, 1518);
		assert_int_equal(nic->figures.link_changes, 0);
		assert_int_equal(nic->figures.resets, 0);
		assert_int_equal(fake_e1000_register(E1000_RAL0), 0x12005452);
		assert_int_equal(fake_e1000_register(E1000_RAH0), E1000_RAH_AV | 0x5634);
		assert_int_equal(fake_e1000_register(E1000_IMS), 0);
		assert_int_equal(fake_e1000_register(E1000_RCTL) & E1000_RCTL_UPE, 0);
		nic->ops->promiscuous(nic, true);
		works();
	}
}

/* As the emulator's: what the boot firmware has left in its registers is still there behind the reset. */
static void a_reset_that_resets_nothing(void **state)
{
	(void)state;
	start_card(0x100e);
	fake_e1000.resets_nothing = true;
	start_card(0x100e);
	nic->ops->promiscuous(nic, true);
	works();
}

static void it_has_no_address(void **state)
{
	(void)state;
	fake_e1000.loads_address = false;
	fake_e1000.no_eeprom = true;
	assert_int_equal(open_card(0x100e), ST_IO);
	assert_string_equal(err.text, "Intel 82540EM at 00:02.0: it has no address");
	fake_e1000.no_eeprom = false;
	fake_e1000.eeprom[0] |= 1; /* a group's */
	assert_int_equal(open_card(0x100e), ST_IO);
	memset(fake_e1000.eeprom, 0, sizeof fake_e1000.eeprom);
	assert_int_equal(open_card(0x100e), ST_IO);
	assert_true(fake_e1000.ticks < SECONDS(1));
}

static void it_does_not_come_out_of_its_reset(void **state)
{
	(void)state;
	fake_e1000.stuck_in_reset = true;
	assert_int_equal(open_card(0x100e), ST_IO);
	assert_string_equal(err.text, "Intel 82540EM at 00:02.0: it does not end its reset");
	assert_in_range(fake_e1000.ticks, SECONDS(2), SECONDS(2) + MS(1));
	fake_e1000.stuck_in_reset = false;
	fake_e1000.gone = true;
	assert_int_equal(open_card(0x10d3), ST_IO);
	assert_in_range(fake_e1000.ticks, SECONDS(4), SECONDS(4) + MS(1));
}

/* Requests that do not end are given 100 ms. */
static void requests_that_do_not_end(void **state)
{
	(void)state;
	fake_e1000.masters = true;
	start_card(0x10d3);
	assert_in_range(fake_e1000.ticks, MS(120), MS(200));
	nic->ops->promiscuous(nic, true);
	works();
}

static unsigned maps_left;

static enum status map_some(void *ctx, void *data, uint32_t bytes, enum dma_direction direction, uint64_t limit,
			    struct dma_mapping *out)
{
	if (maps_left-- == 0)
		return ST_NO_MEMORY;
	return dma.ops->map(ctx, data, bytes, direction, limit, out);
}

/* Each mapping fails in turn: then nothing stays mapped, and the card has not been started. */
static void memory_out_of_reach(void **state)
{
	struct dma_ops ops = *dma.ops;
	struct dma some = {&ops, dma.ctx};

	(void)state;
	ops.map = map_some;
	assert_int_equal(open_card(0x100e), ST_OK);
	for (unsigned n = 0; n < 2 + E1000_RX + E1000_TX; n++) {
		maps_left = n;
		assert_int_equal(e1000_start(&card, &some, memory, &err), ST_NO_MEMORY);
		assert_string_equal(err.text, "Intel 82540EM at 00:02.0: it cannot reach its memory");
		assert_int_equal(identity.mapped, 0);
		assert_int_equal(fake_e1000_register(E1000_RCTL) & E1000_RCTL_EN, 0);
		nic->ops->poll(nic);
		assert_null(nic->ops->reserve(nic, 100));
	}
	assert_int_equal(e1000_start(&card, &dma, memory + 4096, &err), ST_BAD_ADDRESS);
	assert_int_equal(e1000_start(&card, &dma, memory, &err), ST_OK);
	assert_int_equal(identity.mapped, 2 + E1000_RX + E1000_TX);
}

/* ---- sending ---- */

static void frames_are_sent(void **state)
{
	static const uint32_t sizes[] = {14, 15, 42, 59, 60, 61, 1514, 1518};
	uint64_t bytes = 0;

	(void)state;
	/* Often around the ring. */
	for (unsigned i = 0; i < 1000; i++) {
		uint32_t n = sizes[i % ARRAY_SIZE(sizes)];

		assert_true(put(n, i));
		assert_int_equal(fake_e1000.sent_count, i);
		assert_int_equal(nic->waiting_bytes, n);
		nic->ops->kick(nic);
		assert_int_equal(fake_e1000.sent_count, i + 1);
		check_sent(i, n, i);
		nic->ops->poll(nic);
		bytes += n;
		assert_int_equal(nic->sent_bytes, bytes);
		assert_int_equal(nic->waiting_bytes, 0);
	}
	assert_int_equal(nic->figures.tx_frames, 1000);
	assert_int_equal(nic->figures.tx_bytes, bytes);
	assert_int_equal(nic->figures.tx_lost + nic->figures.bad_descriptors + nic->figures.resets, 0);
}

/* What is behind a short frame's end is nothing of the frame that was there before. */
static void short_frames_are_padded_with_zeros(void **state)
{
	(void)state;
	for (unsigned i = 0; i < E1000_TX + 10; i++) {
		assert_true(put(i < E1000_TX ? 1518 : 20, i));
		nic->ops->kick(nic);
		nic->ops->poll(nic);
		check_sent(i, i < E1000_TX ? 1518 : 20, i);
	}
}

static void one_word_for_many(void **state)
{
	unsigned before = fake_e1000.tdt_writes;

	(void)state;
	for (unsigned i = 0; i < 32; i++)
		assert_true(put(100 + i, i));
	nic->ops->kick(nic);
	nic->ops->kick(nic);
	assert_int_equal(fake_e1000.tdt_writes, before + 1);
	assert_int_equal(fake_e1000.sent_count, 32);
	for (unsigned i = 0; i < 32; i++)
		check_sent(i, 100 + i, i);
}

static void a_place_is_the_same_until_it_is_filled(void **state)
{
	uint8_t *first = nic->ops->reserve(nic, 100);

	(void)state;
	assert_ptr_equal(nic->ops->reserve(nic, 1518), first);
	nic->ops->poll(nic);
	assert_ptr_equal(nic->ops->reserve(nic, 14), first);
	nic->ops->commit(nic, 14);
	assert_ptr_not_equal(nic->ops->reserve(nic, 100), first);
}

static void a_full_ring(void **state)
{
	unsigned n = 0;

	(void)state;
	fake_e1000.holds = true;
	while (put(60, n))
		n++;
	assert_int_equal(n, E1000_TX - 1);
	nic->ops->kick(nic);
	nic->ops->poll(nic);
	assert_null(nic->ops->reserve(nic, 60));
	assert_int_equal(nic->waiting_bytes, 60 * n);
	assert_int_equal(fake_e1000_tx_held(), n);
	fake_e1000_send(1);
	nic->ops->poll(nic);
	assert_true(put(60, n));
	assert_null(nic->ops->reserve(nic, 60));
	nic->ops->kick(nic);
	fake_e1000_send(n);
	nic->ops->poll(nic);
	assert_int_equal(nic->sent_bytes, 60 * (n + 1));
	for (unsigned i = 0; i <= n; i++)
		check_sent(i, 60, i);
}

/* ---- receiving ---- */

static void frames_are_received(void **state)
{
	static const uint32_t sizes[] = {14, 60, 61, 1514, 1518};
	uint64_t bytes = 0;

	(void)state;
	assert_true(is_empty());
	for (unsigned i = 0; i < 1000; i++) {
		uint32_t n = sizes[i % ARRAY_SIZE(sizes)];

		assert_true(give(n, i));
		take(n, i);
		assert_true(is_empty());
		bytes += n;
	}
	assert_int_equal(nic->figures.rx_frames, 1000);
	assert_int_equal(nic->figures.rx_bytes, bytes);
	assert_int_equal(nic->figures.rx_errors + nic->figures.bad_descriptors + nic->figures.rx_missed, 0);
	/* The card is told of buffers by the handful. */
	assert_in_range(fake_e1000.rdt_writes, 1000 / 8, 1000 / 8 + 3);
	nic->ops->poll(nic);
	assert_int_equal(fake_e1000_rx_free(), E1000_RX - 1);
}

static void several_are_out(void **state)
{
	struct nic_frame f[NIC_RECEIVED_MAX];

	(void)state;
	for (unsigned round = 0; round < 30; round++) {
		for (unsigned i = 0; i < NIC_RECEIVED_MAX + 5; i++)
			assert_true(give(100 + i, i));
		for (unsigned i = 0; i < NIC_RECEIVED_MAX; i++)
			f[i] = check_received(100 + i, i);
		assert_true(is_empty());
		nic->ops->poll(nic);
		/* What is out is not overwritten, however much comes. */
		for (unsigned i = 0; i < E1000_RX; i++)
			give(1000, 99);
		for (unsigned i = 0; i < NIC_RECEIVED_MAX; i++) {
			uint8_t want[E1000_BUFFER];

			fill(want, 100 + i, i);
			assert_memory_equal(f[i].data, want, 100 + i);
			nic->ops->release(nic);
		}
		while (!is_empty())
			nic->ops->release(nic);
		nic->ops->poll(nic);
		assert_int_equal(fake_e1000_rx_free(), E1000_RX - 1);
	}
	assert_int_equal(nic->figures.bad_descriptors, 0);
	poll_for(MS(200));
	assert_true(nic->figures.rx_missed > 0);
	works();
}

static void what_is_no_frame(void **state)
{
	static const uint64_t bad[] = {
		GOOD(13), GOOD(1519), GOOD(2048), GOOD(100) | BIT(40), GOOD(100) | BIT(41), GOOD(100) | BIT(42),
		GOOD(100) | BIT(44), GOOD(100) | BIT(47),
	};
	static const uint64_t worse[] = {GOOD(0), GOOD(2049), GOOD(65535)};
	uint8_t data[100] = {0};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		fake_e1000_rx_write(0, bad[i], data, sizeof data);
		fake_e1000_rx_advance(1);
		assert_true(is_empty());
		assert_int_equal(nic->figures.rx_errors, i + 1);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(worse); i++) {
		fake_e1000_rx_write(0, worse[i], data, sizeof data);
		fake_e1000_rx_advance(1);
		assert_true(is_empty());
		assert_int_equal(nic->figures.bad_descriptors, i + 1);
	}
	assert_int_equal(nic->figures.rx_errors, ARRAY_SIZE(bad));
	assert_int_equal(nic->figures.rx_frames, 0);
	works();
	nic->ops->poll(nic);
	assert_int_equal(fake_e1000_rx_free(), E1000_RX - 1);
}

static void write_piece(uint64_t word)
{
	static uint8_t data[E1000_BUFFER];

	fake_e1000_rx_write(0, word, data, sizeof data);
	fake_e1000_rx_advance(1);
}

/* Of one that is longer than a buffer nothing is passed on, its end least of all. */
static void a_frame_over_several_buffers(void **state)
{
	struct nic_frame f;

	(void)state;
	assert_true(give(300, 1));
	write_piece(2048 | E1000_DESC_DD);
	write_piece(2048 | E1000_DESC_DD);
	write_piece(GOOD(500));
	assert_true(give(301, 2));
	write_piece(2048 | E1000_DESC_DD);
	write_piece(GOOD(100));
	/* Between two that are out: they go back in order. */
	check_received(300, 1);
	check_received(301, 2);
	assert_true(is_empty());
	assert_int_equal(nic->figures.rx_errors, 2);
	nic->ops->release(nic);
	nic->ops->release(nic);
	nic->ops->poll(nic);
	assert_int_equal(fake_e1000_rx_free(), E1000_RX - 1);
	works();
	/* The end comes later. */
	write_piece(2048 | E1000_DESC_DD);
	assert_false(nic->ops->receive(nic, &f));
	write_piece(GOOD(500));
	assert_false(nic->ops->receive(nic, &f));
	works();
	assert_int_equal(nic->figures.bad_descriptors, 0);
}

/* One call looks at so many and no more, whatever the card does. */
static void bad_ones_without_end(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200; i++)
		write_piece(GOOD(5));
	assert_true(is_empty());
	assert_in_range(nic->figures.rx_errors, 1, 100);
	for (unsigned i = 0; i < 4; i++)
		assert_true(is_empty());
	assert_int_equal(nic->figures.rx_errors, 200);
	works();
}

static void who_has_looked_at_the_checksum(void **state)
{
	static const struct {
		uint64_t status;
		bool good;
	} cases[] = {
		{0, false},
		{E1000_RX_TCPCS, true},
		{E1000_RX_TCPCS | E1000_RX_IXSM, false},
		{E1000_RX_TCPCS | E1000_RX_TCPE, false},
		{E1000_RX_IXSM, false},
		{E1000_RX_TCPCS | BIT(38), true},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		fake_e1000.rx_status = cases[i].status;
		assert_true(give(100, i));
		assert_int_equal(check_received(100, i).checksum_good, cases[i].good);
		nic->ops->release(nic);
	}
	assert_int_equal(fake_e1000_register(E1000_RXCSUM), E1000_RXCSUM_TUOFL);
}

static void who_is_listened_to(void **state)
{
	static uint8_t other[60] = {0x52, 0x54}, group[60] = {1, 0, 0x5e}, own[60];

	(void)state;
	memcpy(own, nic->mac, NET_MAC_BYTES);
	assert_true(fake_e1000_receive(other, 60) && fake_e1000_receive(group, 60) && fake_e1000_receive(own, 60));
	nic->ops->promiscuous(nic, false);
	assert_false(fake_e1000_receive(other, 60));
	assert_true(fake_e1000_receive(group, 60) && fake_e1000_receive(own, 60));
	nic->ops->promiscuous(nic, true);
	assert_true(fake_e1000_receive(other, 60));
}

static void what_the_card_counts(void **state)
{
	(void)state;
	fake_e1000_io.write(NULL, E1000_CRCERRS, 3);
	fake_e1000_io.write(NULL, E1000_ROC, 2);
	fake_e1000_io.write(NULL, E1000_MPC, 7);
	poll_for(MS(300));
	assert_int_equal(nic->figures.rx_errors, 5);
	assert_int_equal(nic->figures.rx_missed, 7);
}

/* ---- descriptors that are not what they should be ---- */

static void written_back_twice(void **state)
{
	uint8_t data[64] = {0};

	(void)state;
	assert_true(give(100, 1));
	check_received(100, 1);
	/* Into the one that is out. */
	fake_e1000_rx_write(E1000_RX - 1, GOOD(64), data, 0);
	nic->ops->release(nic);
	assert_int_equal(nic->figures.bad_descriptors, 1);
	assert_true(is_empty());
	/* One that has been sent and taken back. */
	assert_true(put(100, 2));
	nic->ops->kick(nic);
	nic->ops->poll(nic);
	fake_e1000_tx_write_back(E1000_TX - 1);
	for (unsigned i = 0; i < E1000_TX; i++) {
		assert_true(put(60, i));
		nic->ops->kick(nic);
		nic->ops->poll(nic);
	}
	assert_int_equal(nic->figures.bad_descriptors, 2);
	assert_int_equal(nic->figures.tx_frames, E1000_TX + 1);
	assert_int_equal(nic->waiting_bytes, 0);
	assert_int_equal(nic->figures.resets, 0);
	works();
}

static void received_out_of_order(void **state)
{
	uint8_t data[64] = {0};

	(void)state;
	fake_e1000_rx_write(1, GOOD(64), data, 64);
	assert_true(is_empty());
	poll_for(MS(90));
	/* It was only on its way. */
	fake_e1000_rx_write(0, GOOD(64), data, 64);
	fake_e1000_rx_advance(2);
	poll_for(MS(300));
	assert_false(is_empty());
	assert_false(is_empty());
	nic->ops->release(nic);
	nic->ops->release(nic);
	assert_int_equal(nic->figures.resets, 0);
	/* And this one never comes. */
	fake_e1000_rx_write(3, GOOD(64), data, 64);
	poll_for(MS(400));
	assert_true(is_empty());
	assert_int_equal(nic->figures.resets, 1);
	assert_int_equal(nic->figures.bad_descriptors, 1);
	works();
}

static void sent_out_of_order(void **state)
{
	(void)state;
	fake_e1000.holds = true;
	for (unsigned i = 0; i < 4; i++)
		assert_true(put(100, i));
	nic->ops->kick(nic);
	fake_e1000_tx_write_back(2);
	poll_for(SECONDS(1));
	assert_int_equal(nic->sent_bytes, 0);
	assert_int_equal(nic->figures.resets, 0);
	/* In the end they are all back. */
	fake_e1000_send(4);
	poll_for(SECONDS(3));
	assert_int_equal(nic->figures.tx_frames, 4);
	assert_int_equal(nic->figures.resets + nic->figures.bad_descriptors, 0);
	for (unsigned i = 0; i < 4; i++)
		assert_true(put(100, i));
	nic->ops->kick(nic);
	fake_e1000_tx_write_back(1);
	poll_for(SECONDS(3));
	assert_int_equal(nic->figures.resets, 1);
	assert_int_equal(nic->figures.bad_descriptors, 1);
	assert_int_equal(nic->figures.tx_lost, 4);
	fake_e1000.holds = false;
	works();
}

/* ---- a card that stops ---- */

static void it_sends_nothing_any_more(void **state)
{
	uint64_t start;

	(void)state;
	fake_e1000.holds = true;
	poll_for(SECONDS(10)); /* with nothing to do it is no wonder */
	assert_int_equal(nic->figures.resets, 0);
	for (unsigned i = 0; i < 10; i++)
		assert_true(put(100, i));
	nic->ops->kick(nic);
	fake_e1000_send(3);
	assert_true(put(100, 10)); /* committed, and the card not told of it */
	start = fake_e1000.ticks;
	while (nic->figures.resets == 0) {
		nic->ops->poll(nic);
		pass(MS(10));
	}
	assert_in_range(fake_e1000.ticks - start, SECONDS(2), SECONDS(2) + MS(30));
	assert_int_equal(nic->figures.tx_lost, 0);
	assert_null(nic->ops->reserve(nic, 100));
	assert_true(is_empty());
	poll_for(MS(50));
	assert_int_equal(nic->figures.resets, 1);
	assert_int_equal(nic->figures.tx_frames, 3);
	assert_int_equal(nic->figures.tx_lost, 8);
	assert_int_equal(nic->sent_bytes, 1100);
	assert_int_equal(nic->waiting_bytes, 0);
	assert_int_equal(changes, 0); /* the link was there all the time */
	fake_e1000.holds = false;
	works();
	assert_int_equal(fake_e1000_register(E1000_RCTL) & E1000_RCTL_UPE, E1000_RCTL_UPE);
}

/* The owner has asked for a place, and fills it when it is not there any more. */
static void a_place_that_is_gone(void **state)
{
	(void)state;
	fake_e1000.holds = true;
	assert_true(put(100, 1));
	nic->ops->kick(nic);
	assert_non_null(nic->ops->reserve(nic, 100));
	poll_for(SECONDS(3));
	assert_int_equal(nic->figures.tx_lost, 1);
	nic->ops->commit(nic, 100);
	nic->ops->kick(nic);
	assert_int_equal(nic->figures.tx_lost, 2);
	assert_int_equal(fake_e1000_tx_held(), 0);
	fake_e1000.holds = false;
	works();
}

static void it_receives_nothing_any_more(void **state)
{
	(void)state;
	/* One that nobody fetches has come all the same. */
	assert_true(give(100, 1));
	poll_for(SECONDS(5));
	assert_int_equal(nic->figures.resets, 0);
	take(100, 1);
	fake_e1000.silent = true;
	poll_for(SECONDS(5)); /* a quiet wire */
	assert_int_equal(nic->figures.resets, 0);
	assert_true(give(100, 2));
	poll_for(SECONDS(1));
	fake_e1000.silent = false;
	assert_true(give(101, 3)); /* it has thought better of it */
	take(101, 3);
	poll_for(SECONDS(3));
	assert_int_equal(nic->figures.resets, 0);
	fake_e1000.silent = true;
	assert_true(give(100, 4));
	poll_for(SECONDS(3));
	assert_int_equal(nic->figures.resets, 1);
	fake_e1000.silent = false;
	works();
}

/* Stops it with something to be sent, and lets the owner notice. */
static void stop_it(void)
{
	fake_e1000.holds = true;
	assert_true(put(100, 1));
	nic->ops->kick(nic);
	pass(SECONDS(2));
	nic->ops->poll(nic);
	assert_int_equal(nic->figures.resets, 1);
	fake_e1000.holds = false;
}

/* As long as it takes; it may write all the while, which harms nobody. The fake compares. */
static void a_reset_that_does_not_end(void **state)
{
	uint8_t data[64] = {0};

	(void)state;
	fake_e1000.stuck_in_reset = true;
	stop_it();
	for (unsigned i = 0; i < 10; i++) {
		fake_e1000_rx_write(i, GOOD(64), data, 64);
		fake_e1000_tx_write_back(0);
		poll_for(SECONDS(1));
		assert_true(is_empty());
		assert_null(nic->ops->reserve(nic, 100));
		assert_int_equal(nic->figures.tx_lost, 0);
	}
	assert_int_equal(nic->figures.resets, 1);
	assert_int_equal(changes, 1); /* and it is said */
	assert_false(nic->up);
	assert_true(fake_e1000.resets > 5);
	fake_e1000.stuck_in_reset = false;
	poll_for(MS(1200));
	assert_int_equal(changes, 2);
	assert_int_equal(nic->figures.tx_lost, 1);
	works();
}

static void a_receiver_that_stays_enabled(void **state)
{
	(void)state;
	fake_e1000.stuck_enabled = fake_e1000.resets_nothing = true;
	stop_it();
	poll_for(SECONDS(5));
	assert_false(nic->up);
	assert_null(nic->ops->reserve(nic, 100));
	fake_e1000.stuck_enabled = false;
	poll_for(SECONDS(2));
	works();
}

static void it_is_pulled_out(void **state)
{
	(void)state;
	fake_e1000.gone = true;
	poll_for(SECONDS(5));
	assert_int_equal(nic->figures.resets, 1);
	assert_false(nic->up);
	assert_false(e1000_interrupt(&card));
	assert_int_equal(changes, 1);
	fake_e1000.gone = false;
	poll_for(SECONDS(2));
	works();
}

/* They are the owner's until he gives them back; only then the card begins anew. */
static void frames_that_are_out_while_it_is_reset(void **state)
{
	struct nic_frame a, b;
	uint8_t want[E1000_BUFFER];

	(void)state;
	assert_true(give(100, 1));
	write_piece(GOOD(5));
	assert_true(give(200, 2));
	assert_true(give(300, 3));
	a = check_received(100, 1);
	b = check_received(200, 2);
	stop_it();
	poll_for(SECONDS(3));
	assert_int_equal(fake_e1000_register(E1000_RCTL) & E1000_RCTL_EN, 0);
	fill(want, 100, 1);
	assert_memory_equal(a.data, want, 100);
	nic->ops->release(nic);
	poll_for(MS(100));
	assert_int_equal(fake_e1000_register(E1000_RCTL) & E1000_RCTL_EN, 0);
	fill(want, 200, 2);
	assert_memory_equal(b.data, want, 200);
	nic->ops->release(nic);
	assert_int_equal(fake_e1000_register(E1000_RCTL) & E1000_RCTL_EN, 0);
	poll_for(MS(20));
	works();
}

/* Nobody waits in poll(): so many looks at registers and no more, whatever goes on. */
static void no_call_takes_long(void **state)
{
	unsigned most = 0;

	(void)state;
	fake_e1000.stuck_in_reset = true;
	stop_it();
	for (unsigned i = 0; i < 100000; i++) {
		unsigned before = fake_e1000.accesses;

		if (i == 50000)
			fake_e1000.stuck_in_reset = false;
		nic->ops->poll(nic);
		most = MAX(most, fake_e1000.accesses - before);
		pass(500);
	}
	assert_in_range(most, 20, 50);
	works();
}

/* ---- the link ---- */

static void the_link(void **state)
{
	static const uint32_t mbps[] = {10, 100, 1000, 1000};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		fake_e1000_set_link(false, i);
		poll_for(MS(110));
		assert_false(nic->up);
		assert_int_equal(nic->link_mbps, 0);
		assert_null(nic->ops->reserve(nic, 100));
		assert_int_equal(changes, 2 * i + 1);
		fake_e1000_set_link(true, i);
		poll_for(MS(110));
		assert_true(nic->up);
		assert_int_equal(nic->link_mbps, mbps[i]);
		assert_int_equal(changes, 2 * i + 2);
	}
	fake_e1000_set_link(true, 1);
	poll_for(MS(110));
	assert_int_equal(nic->link_mbps, 100);
	assert_int_equal(nic->figures.link_changes, 9);
	assert_int_equal(nic->figures.resets, 0);
	works();
}

/* By its interrupt it is known at once. */
static void the_link_interrupts(void **state)
{
	(void)state;
	nic->ops->interrupts(nic, true);
	fake_e1000_set_link(false, 2);
	assert_true(fake_e1000_line());
	assert_true(e1000_interrupt(&card));
	assert_int_equal(changes, 0);
	nic->ops->poll(nic);
	assert_int_equal(changes, 1);
	/* And when it changed while interrupts were off. */
	fake_e1000_set_link(true, 2);
	assert_false(fake_e1000_line());
	nic->ops->interrupts(nic, true);
	assert_true(fake_e1000_line());
	assert_true(e1000_interrupt(&card));
	nic->ops->poll(nic);
	assert_int_equal(changes, 2);
}

/* What was to go by a link that is gone goes by no other. */
static void frames_for_a_link_that_is_gone(void **state)
{
	(void)state;
	fake_e1000_set_link(false, 2);
	for (unsigned i = 0; i < 5; i++)
		assert_true(put(100, i)); /* nobody has noticed yet */
	nic->ops->kick(nic);
	poll_for(MS(200));
	assert_false(nic->up);
	assert_int_equal(nic->figures.tx_lost, 5);
	assert_int_equal(nic->figures.resets, 0);
	assert_int_equal(nic->sent_bytes, 500);
	poll_for(SECONDS(5));
	assert_int_equal(fake_e1000.resets, 2);
	fake_e1000_set_link(true, 2);
	poll_for(MS(110));
	assert_int_equal(fake_e1000.sent_count, 0);
	works();
}

/* ---- interrupts ---- */

static void interrupts_are_off_at_first(void **state)
{
	(void)state;
	assert_true(give(100, 1));
	assert_false(fake_e1000_line());
	assert_false(e1000_interrupt(&card));
	assert_int_equal(interrupted, 0);
	assert_int_equal(fake_e1000.icr_reads, 0);
}

static void they_come_and_are_off_again(void **state)
{
	(void)state;
	nic->ops->interrupts(nic, true);
	assert_false(fake_e1000_line());
	assert_true(give(100, 1));
	assert_true(fake_e1000_line());
	assert_true(e1000_interrupt(&card));
	assert_int_equal(interrupted, 1);
	assert_int_equal(nic->figures.interrupts, 1);
	assert_false(fake_e1000_line());
	assert_true(give(101, 2));
	assert_false(fake_e1000_line());
	take(100, 1);
	/* What has come in between is not forgotten. */
	nic->ops->interrupts(nic, true);
	assert_true(fake_e1000_line());
	assert_true(e1000_interrupt(&card));
	take(101, 2);
	/* And what has been fetched does not count again. */
	assert_true(give(102, 3));
	take(102, 3);
	nic->ops->interrupts(nic, true);
	assert_false(fake_e1000_line());
	/* A frame that is sent. */
	assert_true(put(100, 4));
	nic->ops->kick(nic);
	assert_true(fake_e1000_line());
	assert_true(e1000_interrupt(&card));
	nic->ops->interrupts(nic, true);
	assert_true(fake_e1000_line()); /* it has not been taken back yet */
	assert_true(e1000_interrupt(&card));
	nic->ops->poll(nic);
	nic->ops->interrupts(nic, true);
	assert_false(fake_e1000_line());
	assert_true(give(103, 5));
	nic->ops->interrupts(nic, false);
	assert_false(fake_e1000_line());
	assert_false(e1000_interrupt(&card));
	assert_int_equal(interrupted, 4);
}

/* The line is another's, or nobody's. */
static void interrupts_for_nothing(void **state)
{
	(void)state;
	nic->ops->interrupts(nic, true);
	for (unsigned i = 0; i < 100; i++) {
		assert_false(e1000_interrupt(&card));
		fake_e1000_cause(BIT(9) | BIT(1)); /* that nobody has asked for */
		assert_false(fake_e1000_line());
		assert_false(e1000_interrupt(&card));
	}
	assert_int_equal(interrupted, 0);
	assert_true(give(100, 1));
	assert_true(fake_e1000_line());
	assert_true(e1000_interrupt(&card));
}

static void they_are_on_again_after_a_reset(void **state)
{
	(void)state;
	nic->ops->interrupts(nic, true);
	stop_it();
	assert_int_equal(fake_e1000_register(E1000_IMS), 0);
	assert_false(e1000_interrupt(&card));
	poll_for(MS(50));
	assert_int_not_equal(fake_e1000_register(E1000_IMS), 0);
	assert_true(give(100, 1));
	assert_true(e1000_interrupt(&card));
	take(100, 1);
	/* Asked for, and asked off, in the middle of it. */
	nic->figures.resets = 0;
	stop_it();
	nic->ops->interrupts(nic, true);
	assert_int_equal(fake_e1000_register(E1000_IMS), 0);
	poll_for(MS(50));
	assert_int_not_equal(fake_e1000_register(E1000_IMS), 0);
	nic->figures.resets = 0;
	stop_it();
	nic->ops->interrupts(nic, false);
	poll_for(MS(50));
	assert_int_equal(fake_e1000_register(E1000_IMS), 0);
	works();
}

/* ---- anything ---- */

/* The owner's view: what he may count on, whatever the card does. */
static void fetch_some(struct random_state *r, unsigned *out)
{
	struct nic_frame f;
	uint64_t sum = 0;

	while (random_below(r, 3) && nic->ops->receive(nic, &f)) {
		assert_true(f.bytes >= NET_FRAME_MIN && f.bytes <= nic->max_frame);
		assert_true(f.data >= memory + 2 * E1000_RING_BYTES && f.data + f.bytes <= memory + E1000_MEMORY_BYTES);
		for (uint32_t i = 0; i < f.bytes; i++)
			sum += f.data[i];
		++*out;
	}
	assert_true(*out <= NIC_RECEIVED_MAX && sum < UINT64_MAX);
	while (*out > 0 && random_below(r, 2)) {
		nic->ops->release(nic);
		--*out;
	}
}

static void disturb(struct random_state *r)
{
	uint8_t data[64] = {0};

	switch (random_below(r, 24)) {
	case 0: fake_e1000.holds = !fake_e1000.holds; break;
	case 1: fake_e1000.silent = random_below(r, 8) == 0; break;
	case 2: fake_e1000_set_link(random_below(r, 4) > 0, (uint32_t)random_below(r, 4)); break;
	case 3: fake_e1000.stuck_in_reset = random_below(r, 4) == 0; break;
	case 4: fake_e1000.gone = random_below(r, 8) == 0; break;
	case 5: fake_e1000_cause((uint32_t)random_next(r)); break;
	case 6:
		if (fake_e1000_rx_free() > 0)
			fake_e1000_rx_write((unsigned)random_below(r, E1000_RX), random_next(r) | E1000_DESC_DD, data, 64);
		break;
	case 7:
		if (fake_e1000_rx_free() > 2)
			fake_e1000_rx_advance(1);
		break;
	case 8:
		if (fake_e1000_tx_held() > 0)
			fake_e1000_tx_write_back((unsigned)random_below(r, E1000_TX));
		break;
	default: give((uint32_t)random_below(r, 2000) + 14, (unsigned)random_below(r, 100)); break;
	}
}

static void heal(void)
{
	fake_e1000.holds = fake_e1000.silent = fake_e1000.stuck_in_reset = fake_e1000.gone = false;
	fake_e1000_set_link(true, 2);
	nic->ops->kick(nic);
}

static void a_card_gone_mad(void **state)
{
	(void)state;
	fake_e1000.mad = true;
	for (unsigned round = 0; round < 8; round++) {
		struct random_state r = random_seed(round + 1);
		uint64_t committed = nic->sent_bytes + nic->waiting_bytes;
		unsigned out = 0;

		for (unsigned i = 0; i < 3000; i++) {
			uint32_t bytes = (uint32_t)random_below(&r, 1505) + 14;

			disturb(&r);
			fetch_some(&r, &out);
			if (random_below(&r, 2) && put(bytes, i))
				committed += bytes;
			if (random_below(&r, 2))
				nic->ops->kick(nic);
			if (random_below(&r, 8) == 0)
				nic->ops->interrupts(nic, random_below(&r, 2));
			(void)e1000_interrupt(&card);
			nic->ops->poll(nic);
			assert_int_equal(nic->sent_bytes + nic->waiting_bytes, committed);
			assert_true(nic->waiting_bytes <= E1000_TX * nic->max_frame);
			pass(MS(random_below(&r, 20)));
		}
		while (out-- > 0)
			nic->ops->release(nic);
		heal();
		poll_for(SECONDS(6));
		while (!is_empty())
			nic->ops->release(nic);
		poll_for(SECONDS(1));
		assert_int_equal(nic->waiting_bytes, 0);
		/* It may be a descriptor off its place, until that is noticed. */
		fake_e1000.holds = true;
		assert_true(put(100, 1));
		nic->ops->kick(nic);
		poll_for(SECONDS(3));
		fake_e1000.holds = false;
		works();
	}
	assert_true(nic->figures.resets > 8 && nic->figures.tx_lost > 0 && nic->figures.bad_descriptors > 0);
}

int main(void)
{
#define M(fn) cmocka_unit_test_setup_teardown(fn, make_memory, teardown)
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		M(it_is_found),
		M(a_reset_that_resets_nothing),
		M(it_has_no_address),
		M(it_does_not_come_out_of_its_reset),
		M(requests_that_do_not_end),
		M(memory_out_of_reach),
		T(frames_are_sent),
		T(short_frames_are_padded_with_zeros),
		T(one_word_for_many),
		T(a_place_is_the_same_until_it_is_filled),
		T(a_full_ring),
		T(frames_are_received),
		T(several_are_out),
		T(what_is_no_frame),
		T(a_frame_over_several_buffers),
		T(bad_ones_without_end),
		T(who_has_looked_at_the_checksum),
		T(who_is_listened_to),
		T(what_the_card_counts),
		T(written_back_twice),
		T(received_out_of_order),
		T(sent_out_of_order),
		T(it_sends_nothing_any_more),
		T(a_place_that_is_gone),
		T(it_receives_nothing_any_more),
		T(a_reset_that_does_not_end),
		T(a_receiver_that_stays_enabled),
		T(it_is_pulled_out),
		T(frames_that_are_out_while_it_is_reset),
		T(no_call_takes_long),
		T(the_link),
		T(the_link_interrupts),
		T(frames_for_a_link_that_is_gone),
		T(interrupts_are_off_at_first),
		T(they_come_and_are_off_again),
		T(interrupts_for_nothing),
		T(they_are_on_again_after_a_reset),
		T(a_card_gone_mad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
