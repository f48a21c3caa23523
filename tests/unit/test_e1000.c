/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver of Intel's network cards against a card that does its work: found, sending, receiving, its link,
 * interrupts. What is wrong with the wire belongs here; a card that is broken is test_e1000_faults.c's.
 */
#include "tests/fakes/e1000_rig.h"

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
		T(the_link),
		T(the_link_interrupts),
		T(frames_for_a_link_that_is_gone),
		T(interrupts_are_off_at_first),
		T(they_come_and_are_off_again),
		T(interrupts_for_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
