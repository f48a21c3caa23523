/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network card, its owner on one CPU, and its interrupts on another, at once. The owner looks at the card only when
 * he was interrupted, so that a wake-up that is lost is the end of it, and is told. Now and then the line is another's.
 */
#include "tests/cmocka_all.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "firmware/e1000.h"
#include "lib/bits.h"
#include "tests/tsan/threads.h"

#define FRAMES 10000u
#define FRAME_BYTES 64u
#define SECONDS_MAX 60

#define REQUIRE(condition)             \
	do {                           \
		if (!(condition))      \
			abort();       \
	} while (0)

static struct e1000 card;
static struct nic *const nic = &card.nic;
static uint8_t *memory;
static uint32_t registers[E1000_REGISTER_BYTES / 4]; /* atomic */
static uint32_t woken, ended;                        /* atomic */
static unsigned received; /* atomic */
static unsigned sent;
static uint64_t now; /* atomic */

#define REG(r) registers[(r) / 4]

/* ---- the card ---- */

static uint32_t get(uint32_t reg) { return __atomic_load_n(&REG(reg), __ATOMIC_SEQ_CST); }

static uint32_t read_register(void *ctx, uint32_t reg)
{
	(void)ctx;
	if (reg == E1000_ICR) {
		sched_yield(); /* the bus is slow: much happens meanwhile */
		return __atomic_exchange_n(&REG(reg), 0, __ATOMIC_SEQ_CST);
	}
	return reg == E1000_CTRL ? get(reg) & ~E1000_CTRL_RST : get(reg);
}

static void write_register(void *ctx, uint32_t reg, uint32_t v)
{
	(void)ctx;
	if (reg == E1000_IMS)
		__atomic_fetch_or(&REG(reg), v, __ATOMIC_SEQ_CST);
	else if (reg == E1000_IMC)
		__atomic_fetch_and(&REG(E1000_IMS), ~v, __ATOMIC_SEQ_CST);
	else if (reg == E1000_ICS)
		__atomic_fetch_or(&REG(E1000_ICR), v, __ATOMIC_SEQ_CST);
	else
		__atomic_store_n(&REG(reg), v, __ATOMIC_SEQ_CST);
}

static const struct e1000_io io = {.read = read_register, .write = write_register};

static struct e1000_descriptor *descriptor(uint32_t ring, unsigned index)
{
	uint64_t base = (uint64_t)get(ring + E1000_RING_HIGH) << 32 | get(ring + E1000_RING_LOW);

	return (struct e1000_descriptor *)base + index;
}

/* One descriptor of @ring, if there is one: @word is what the card has to say of it. */
static bool answer(uint32_t ring, uint64_t word, uint32_t cause)
{
	static unsigned heads[2];
	unsigned *head = &heads[ring == E1000_TX_RING];
	struct e1000_descriptor *d = descriptor(ring, *head);

	if (*head == get(ring + E1000_RING_TAIL))
		return false;
	if (ring == E1000_RX_RING)
		memset((void *)d->address, (int)word, FRAME_BYTES);
	__atomic_store_n(&d->word, word, __ATOMIC_RELEASE);
	*head = (*head + 1) % (get(ring + E1000_RING_LENGTH) / sizeof(*d));
	__atomic_fetch_or(&REG(E1000_ICR), cause, __ATOMIC_SEQ_CST);
	return true;
}

/* A few at a time, and no more before these are fetched: a wake-up that is lost is not made good by the next. */
static void be_card(struct thread *t)
{
	unsigned given = 0, wanted = 1, most;

	while (!__atomic_load_n(&ended, __ATOMIC_ACQUIRE)) {
		if (given < wanted && random_below(&t->random, 3) == 0)
			given += answer(E1000_RX_RING, FRAME_BYTES | E1000_DESC_DD | E1000_RX_EOP, E1000_INT_RXT0);
		most = given + (unsigned)random_below(&t->random, 8) + 1;
		if (given == wanted && __atomic_load_n(&received, __ATOMIC_ACQUIRE) == given)
			wanted = MIN(most, FRAMES);
		(void)answer(E1000_TX_RING, E1000_DESC_DD, E1000_INT_TXDW);
		if (random_below(&t->random, 64) == 0)
			sched_yield();
	}
}

/* ---- the line, on a CPU of its own ---- */

static void be_line(struct thread *t)
{
	while (!__atomic_load_n(&ended, __ATOMIC_ACQUIRE)) {
		bool high = (get(E1000_ICR) & get(E1000_IMS)) != 0;

		if (high || random_below(&t->random, 4) == 0)
			(void)e1000_interrupt(&card);
		else
			sched_yield();
	}
}

static void interrupted(struct nic *n)
{
	(void)n;
	__atomic_store_n(&woken, 1, __ATOMIC_RELEASE);
}

/* ---- the owner ---- */

static void work(struct thread *t)
{
	struct nic_frame f;

	if (random_below(&t->random, 4) == 0)
		nic->ops->interrupts(nic, false);
	nic->ops->poll(nic);
	while (nic->ops->receive(nic, &f)) {
		REQUIRE(f.bytes == FRAME_BYTES && f.data[0] == f.data[FRAME_BYTES - 1]);
		nic->ops->release(nic);
		__atomic_fetch_add(&received, 1, __ATOMIC_RELEASE);
	}
	/* All buffers are the card's again, and it has something to send in between. */
	nic->ops->poll(nic);
	if (random_below(&t->random, 16) == 0 && nic->ops->reserve(nic, FRAME_BYTES)) {
		nic->ops->commit(nic, FRAME_BYTES);
		nic->ops->kick(nic);
		sent++;
	}
	nic->ops->interrupts(nic, true);
}

/* Either they are on, or he has been told. */
static void sleep_until_woken(time_t late)
{
	REQUIRE(get(E1000_IMS) != 0 || __atomic_load_n(&woken, __ATOMIC_ACQUIRE) || !__atomic_load_n(&card.armed, __ATOMIC_ACQUIRE));
	while (!__atomic_exchange_n(&woken, 0, __ATOMIC_ACQ_REL)) {
		if (time(NULL) > late)
			fail_msg("a wake-up was lost after %u frames", received);
		sched_yield();
	}
}

static void be_owner(struct thread *t)
{
	time_t late = time(NULL) + SECONDS_MAX;

	nic->ops->interrupts(nic, true);
	while (received < FRAMES) {
		sleep_until_woken(late);
		work(t);
	}
	while (nic->waiting_bytes > 0)
		nic->ops->poll(nic);
	__atomic_store_n(&ended, 1, __ATOMIC_RELEASE);
}

static void body(struct thread *t)
{
	if (t->cpu == 0)
		be_owner(t);
	else if (t->cpu == 1)
		be_card(t);
	else
		be_line(t);
}

/* ---- */

static uint64_t ticks(void) { return __atomic_fetch_add(&now, 1, __ATOMIC_RELAXED); }
static const struct clock ticking = {.ticks = ticks, .hz = 1000000};

static uint64_t to_physical(const void *p) { return (uint64_t)p; }

static void an_owner_who_sleeps(void **state)
{
	struct dma_identity identity;
	struct dma dma;
	struct error err;

	(void)state;
	memory = aligned_alloc(4096, E1000_MEMORY_BYTES);
	memset(memory, 0, E1000_MEMORY_BYTES);
	REG(E1000_RAL0) = 0x12005452;
	REG(E1000_RAH0) = E1000_RAH_AV | 0x5634;
	REG(E1000_STATUS) = E1000_STATUS_LU;
	dma_identity_init(&identity, to_physical, &dma);
	assert_int_equal(e1000_open(&card, e1000_model_of(0x100e), &io, &ticking, "00:02.0", &err), ST_OK);
	assert_int_equal(e1000_start(&card, &dma, memory, &err), ST_OK);
	nic->interrupted = interrupted;
	threads_run(3, 1, false, body, NULL);
	assert_int_equal(received, FRAMES);
	assert_int_equal(nic->figures.rx_frames, FRAMES);
	assert_int_equal(nic->figures.tx_frames, sent);
	assert_int_equal(nic->figures.bad_descriptors + nic->figures.resets + nic->figures.rx_errors + nic->figures.tx_lost, 0);
	assert_true(nic->figures.interrupts > 50);
	print_message("%llu interrupts for %u frames\n", (unsigned long long)nic->figures.interrupts, FRAMES);
	free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(an_owner_who_sleeps)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
