/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver of Intel's network cards against a card that stops, answers out of order, twice or never, is pulled out,
 * or has gone mad. Whatever it does, what the owner gets are whole frames in the driver's memory, and sums are right.
 */
#include "tests/fakes/e1000_rig.h"
#include "tests/model/random.h"

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

/* Behind the last that it was given is one that is not the card's, and is no frame. */
static void more_than_it_was_given(void **state)
{
	uint8_t data[64] = {0};

	(void)state;
	assert_true(give(100, 1));
	check_received(100, 1); /* and is out, so that nothing goes back */
	while (fake_e1000_rx_free() > 0)
		write_piece(GOOD(5));
	for (unsigned i = 0; i < 10; i++)
		assert_true(is_empty());
	fake_e1000_rx_write(0, GOOD(64), data, 64);
	assert_true(is_empty());
	assert_int_equal(nic->figures.bad_descriptors, 0);
	nic->ops->release(nic);
	nic->ops->poll(nic);
	assert_true(is_empty());
	assert_int_equal(nic->figures.bad_descriptors, 1);
	works();
}

static void poll_until_check(void)
{
	uint64_t at = card.check_at;

	while (card.check_at == at && card.state == E1000_RUNNING)
		poll_for(MS(10));
}

static void received_out_of_order(void **state)
{
	uint8_t data[64] = {0};

	(void)state;
	poll_until_check();
	fake_e1000_rx_write(1, GOOD(64), data, 64);
	assert_true(is_empty());
	poll_until_check();
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
	nic->ops->poll(nic);
	assert_int_equal(nic->figures.resets, 0);
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

/* A frame a second is not much, but it is no rest. */
static void it_sends_slowly(void **state)
{
	(void)state;
	fake_e1000.holds = true;
	for (unsigned i = 0; i < 6; i++)
		assert_true(put(100, i));
	nic->ops->kick(nic);
	for (unsigned i = 0; i < 6; i++) {
		poll_for(SECONDS(1));
		fake_e1000_send(1);
	}
	poll_for(MS(10));
	assert_int_equal(nic->figures.resets, 0);
	assert_int_equal(nic->figures.tx_frames, 6);
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
	nic->ops->interrupts(nic, true);
	fake_e1000.gone = true;
	assert_false(e1000_interrupt(&card)); /* another's, on the same line */
	assert_int_equal(interrupted, 0);
	poll_for(MS(150));
	assert_int_equal(nic->figures.resets, 1);
	assert_int_equal(nic->figures.rx_errors + nic->figures.rx_missed, 0);
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
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(written_back_twice),
		T(more_than_it_was_given),
		T(received_out_of_order),
		T(sent_out_of_order),
		T(it_sends_nothing_any_more),
		T(it_sends_slowly),
		T(a_place_that_is_gone),
		T(it_receives_nothing_any_more),
		T(a_reset_that_does_not_end),
		T(a_receiver_that_stays_enabled),
		T(it_is_pulled_out),
		T(frames_that_are_out_while_it_is_reset),
		T(no_call_takes_long),
		T(they_are_on_again_after_a_reset),
		T(a_card_gone_mad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
