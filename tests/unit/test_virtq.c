/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split ring, by virtio 1.2 section 2.7: chains of all shapes, what no driver
 * may do, pins that come later, who is told when, stopping. And that each word is
 * looked at once, which a guest that rewrites a descriptor meanwhile cannot use.
 */
#include "tests/cmocka_all.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "io/virtq.h"
#include "lib/bits.h"
#include "tests/fakes/virtio_driver.h"

#define PAGES 32u
#define SIZE 16u
#define RING_AT 0x1000u
#define TABLE 0x8000u /* an indirect one */
#define DATA 0x10000u
#define NEXT VIRTQ_DESC_F_NEXT
#define WRITE VIRTQ_DESC_F_WRITE
#define INDIRECT VIRTQ_DESC_F_INDIRECT

static struct fake_guest_mem mem;
static struct virtq q;
static struct driver_ring ring;
static struct virtq_buffer buffers[VIRTQ_SIZE_MAX];
static struct virtq_chain chain;
static unsigned resumes;

static void on_resumed(struct virtq *of)
{
	assert_ptr_equal(of, &q);
	assert_true(of->waiting);
	of->waiting = false;
	resumes++;
}

static void lay(uint64_t at, uint16_t size)
{
	driver_ring_init(&ring, &mem, at, size);
	q.size = size;
	q.at[VIRTQ_DESC] = gpa(ring.desc);
	q.at[VIRTQ_AVAIL] = gpa(ring.avail);
	q.at[VIRTQ_USED] = gpa(ring.used);
}

static int setup(void **state)
{
	(void)state;
	fake_guest_mem_init(&mem, PAGES, 1);
	memset(&q, 0, sizeof q);
	q.size_max = VIRTQ_SIZE_MAX;
	q.mem = &mem.mem;
	q.resumed = on_resumed;
	virtq_init(&q);
	chain = (struct virtq_chain){.buffers = buffers, .room = VIRTQ_SIZE_MAX};
	resumes = 0;
	lay(RING_AT, SIZE);
	q.indirect = true;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	/* Chains that a test left in flight. */
	for (unsigned head = 0; head < VIRTQ_SIZE_MAX; head++)
		if (q.busy[head])
			virtq_drop(&q, (uint16_t)head);
	if (!virtq_stop(&q)) {
		fake_guest_mem_answer(&mem, 1);
		assert_true(virtq_stop(&q));
	}
	fake_guest_mem_fini(&mem);
	return 0;
}

static void start(void) { assert_int_equal(virtq_start(&q), PIN_NOW); }

static void expect_broken(const char *why)
{
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_BROKEN);
	assert_string_equal(q.broken, why);
	assert_int_equal(q.in_flight, 0);
	/* For good. */
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_BROKEN);
}

static void expect_buffer(unsigned i, uint64_t at, uint32_t bytes)
{
	assert_int_equal(buffers[i].at.v, at);
	assert_int_equal(buffers[i].bytes, bytes);
}

/* A chain of three from descriptor @head on. */
static void three(uint16_t head)
{
	driver_desc(&ring, head, DATA, 16, NEXT, (uint16_t)(head + 1));
	driver_desc(&ring, (uint16_t)(head + 1), DATA + 0x1000, 512, NEXT | WRITE, (uint16_t)(head + 2));
	driver_desc(&ring, (uint16_t)(head + 2), DATA + 0x2000, 1, WRITE, 0);
	driver_offer(&ring, head);
}

static void expect_three(uint16_t head)
{
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_CHAIN);
	assert_int_equal(chain.head, head);
	assert_int_equal(chain.readable, 1);
	assert_int_equal(chain.writable, 2);
	assert_int_equal(chain.readable_bytes, 16);
	assert_int_equal(chain.writable_bytes, 513);
	expect_buffer(0, DATA, 16);
	expect_buffer(1, DATA + 0x1000, 512);
	expect_buffer(2, DATA + 0x2000, 1);
}

static void expect_used(uint32_t head, uint32_t written)
{
	uint32_t id, bytes;

	assert_true(driver_used(&ring, &id, &bytes));
	assert_int_equal(id, head);
	assert_int_equal(bytes, written);
}

/* ---- sound chains ---- */

static void a_chain_goes_out_and_back(void **state)
{
	uint32_t id, bytes;

	(void)state;
	start();
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_EMPTY);
	three(4);
	expect_three(4);
	assert_int_equal(q.in_flight, 1);
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_EMPTY);
	assert_false(driver_used(&ring, &id, &bytes));
	virtq_push(&q, 4, 513);
	assert_int_equal(q.in_flight, 0);
	expect_used(4, 513);
	assert_false(driver_used(&ring, &id, &bytes));
}

static void chains_end_in_any_order(void **state)
{
	(void)state;
	start();
	three(0);
	three(3);
	three(6);
	expect_three(0);
	expect_three(3);
	expect_three(6);
	virtq_push(&q, 3, 1);
	virtq_push(&q, 6, 2);
	virtq_push(&q, 0, 3);
	expect_used(3, 1);
	expect_used(6, 2);
	expect_used(0, 3);
}

static void indices_wrap(void **state)
{
	(void)state;
	start();
	for (unsigned i = 0; i < 70000; i++) {
		three((uint16_t)(i % 5 * 3));
		expect_three((uint16_t)(i % 5 * 3));
		virtq_push(&q, chain.head, i);
		expect_used(chain.head, i);
	}
	assert_int_equal(q.next_used, (uint16_t)70000);
}

/* Each part lies across two pages, that are apart in host memory; an entry of the used ring does as well. */
static void parts_across_pages(void **state)
{
	static const uint64_t places[] = {0x2000 - 16 * 7, 0x2000 - 16 * 16 - 8, 0x2000 - 16 * 16 - 38 - 2 - 12};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		if (i > 0)
			assert_true(virtq_stop(&q));
		lay(places[i], SIZE);
		if (i == 2) { /* by hand: entry 1 has its id before the boundary and its length behind it */
			q.at[VIRTQ_USED] = gpa(0x2ff0);
			ring.used = 0x2ff0;
		}
		start();
		for (unsigned n = 0; n < 3 * SIZE; n++) {
			three((uint16_t)(n % 14));
			expect_three((uint16_t)(n % 14));
			virtq_push(&q, chain.head, n + 100);
			expect_used(chain.head, n + 100);
		}
	}
}

static void the_largest_queue(void **state)
{
	(void)state;
	lay(0x1ff0, VIRTQ_SIZE_MAX);
	start();
	for (unsigned i = 0; i < VIRTQ_SIZE_MAX; i++)
		driver_desc(&ring, (uint16_t)i, DATA + i, 1, i + 1 < VIRTQ_SIZE_MAX ? NEXT : 0, (uint16_t)(i + 1));
	driver_offer(&ring, 0);
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_CHAIN);
	assert_int_equal(chain.readable, VIRTQ_SIZE_MAX);
	assert_int_equal(chain.readable_bytes, VIRTQ_SIZE_MAX);
	expect_buffer(255, DATA + 255, 1);
	virtq_push(&q, 0, 0);
	/* All heads at once. */
	for (unsigned i = 0; i < VIRTQ_SIZE_MAX; i++) {
		driver_desc(&ring, (uint16_t)i, DATA + i, 1, 0, 0);
		driver_offer(&ring, (uint16_t)i);
	}
	for (unsigned i = 0; i < VIRTQ_SIZE_MAX; i++) {
		assert_int_equal(virtq_pop(&q, &chain), VIRTQ_CHAIN);
		assert_int_equal(chain.head, i);
	}
	assert_int_equal(q.in_flight, VIRTQ_SIZE_MAX);
	for (unsigned i = 0; i < VIRTQ_SIZE_MAX; i++)
		virtq_push(&q, (uint16_t)i, 0);
}

static void a_chain_is_put_back(void **state)
{
	(void)state;
	start();
	three(0);
	three(3);
	expect_three(0);
	virtq_unpop(&q, &chain);
	assert_int_equal(q.in_flight, 0);
	driver_desc(&ring, 2, DATA + 0x2000, 2, WRITE, 0); /* and is read anew */
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_CHAIN);
	assert_int_equal(chain.writable_bytes, 514);
	expect_three(3);
}

static void what_was_popped_stays(void **state)
{
	(void)state;
	start();
	three(0);
	expect_three(0);
	fake_guest_mem_fill(&mem, ring.desc, 0xff, 16 * SIZE);
	expect_buffer(1, DATA + 0x1000, 512);
	assert_int_equal(chain.writable_bytes, 513);
}

/* ---- indirect tables ---- */

static void indirect_three(uint64_t table)
{
	driver_table(&ring, table, 0, DATA, 16, NEXT, 1);
	driver_table(&ring, table, 1, DATA + 0x1000, 512, NEXT | WRITE, 2);
	driver_table(&ring, table, 2, DATA + 0x2000, 1, WRITE, 0);
}

static void an_indirect_table(void **state)
{
	uint64_t pins;

	(void)state;
	start();
	pins = mem.pins;
	indirect_three(TABLE);
	driver_desc(&ring, 5, TABLE, 48, INDIRECT | WRITE, 0x7777); /* WRITE and next mean nothing here */
	driver_offer(&ring, 5);
	expect_three(5);
	assert_int_equal(mem.pins, pins); /* the table is let go */
	virtq_push(&q, 5, 0);
}

static void a_table_at_any_address(void **state)
{
	(void)state;
	start();
	/* Across a page, in the middle of a descriptor, at each byte of it. */
	for (unsigned shift = 0; shift <= 48; shift++) {
		indirect_three(TABLE + 0x1000 - shift);
		driver_desc(&ring, 5, TABLE + 0x1000 - shift, 48, INDIRECT, 0);
		driver_offer(&ring, 5);
		expect_three(5);
		virtq_push(&q, 5, 0);
	}
}

static void a_table_behind_plain_ones(void **state)
{
	(void)state;
	start();
	driver_desc(&ring, 0, DATA + 0x3000, 7, NEXT, 1);
	driver_desc(&ring, 1, DATA + 0x4000, 9, NEXT, 2);
	driver_desc(&ring, 2, TABLE, 48, INDIRECT, 0);
	indirect_three(TABLE);
	driver_offer(&ring, 0);
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_CHAIN);
	assert_int_equal(chain.readable, 3);
	assert_int_equal(chain.writable, 2);
	expect_buffer(0, DATA + 0x3000, 7);
	expect_buffer(1, DATA + 0x4000, 9);
	expect_buffer(2, DATA, 16);
	expect_buffer(4, DATA + 0x2000, 1);
}

/* The first page of the table at once, the second later: nothing stays pinned meanwhile, and nothing is popped. */
static void a_table_that_comes_later(void **state)
{
	(void)state;
	start();
	indirect_three(TABLE + 0x1000 - 16);
	driver_desc(&ring, 5, TABLE + 0x1000 - 16, 48, INDIRECT, 0);
	driver_offer(&ring, 5);
	for (unsigned which = 1; which <= 2; which++) {
		uint64_t pins = mem.pins;

		mem.later_at = which;
		assert_int_equal(virtq_pop(&q, &chain), VIRTQ_LATER);
		assert_int_equal(mem.pins, pins);
		assert_int_equal(q.in_flight, 0);
		assert_int_equal(virtq_pop(&q, &chain), VIRTQ_LATER); /* asks no second time */
		assert_int_equal(mem.laters, which);
		fake_guest_mem_move(&mem);
		assert_int_equal(fake_guest_mem_answer(&mem, 9), 1);
		assert_int_equal(resumes, which);
	}
	expect_three(5);
}

/* ---- what no driver may do ---- */

static void wrong_sizes(void **state)
{
	static const uint16_t sizes[] = {0, 3, 6, 255, 257, 0xffff};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		q.size = sizes[i];
		assert_int_equal(virtq_start(&q), PIN_FAIL);
		assert_string_equal(q.broken, "the queue size is no power of two");
		assert_true(virtq_stop(&q));
	}
	q.size = 512;
	assert_int_equal(virtq_start(&q), PIN_FAIL);
	assert_string_equal(q.broken, "the queue size is larger than the device's");
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_BROKEN);
	assert_true(virtq_stop(&q));
	lay(RING_AT, 1);
	start();
}

static void wrong_addresses(void **state)
{
	static const uint8_t align[VIRTQ_PARTS] = {16, 2, 4};
	static const uint64_t outside[] = {PAGES * PAGE_SIZE, PAGES * PAGE_SIZE - 16, 1ull << 52, ~0ull << 4};

	(void)state;
	for (unsigned part = 0; part < VIRTQ_PARTS; part++) {
		for (unsigned off = 1; off < align[part]; off <<= 1) {
			lay(RING_AT, SIZE);
			q.at[part].v += off;
			assert_int_equal(virtq_start(&q), PIN_FAIL);
			assert_string_equal(q.broken, "a part of the queue is not aligned");
			assert_true(virtq_stop(&q));
		}
		for (unsigned i = 0; i < ARRAY_SIZE(outside); i++) {
			lay(RING_AT, SIZE);
			q.at[part] = gpa(outside[i]);
			assert_int_equal(virtq_start(&q), PIN_FAIL);
			assert_string_equal(q.broken, "a part of the queue lies outside memory");
			assert_true(virtq_stop(&q));
			assert_int_equal(mem.pins, 0);
		}
	}
}

static void indices_that_jump(void **state)
{
	(void)state;
	start();
	three(0);
	expect_three(0);
	fake_guest_mem_put16(&mem, ring.avail + 2, (uint16_t)(1 + SIZE + 1));
	virtq_push(&q, 0, 0);
	expect_broken("the available index jumps");
}

static void an_index_that_goes_back(void **state)
{
	(void)state;
	start();
	three(0);
	expect_three(0);
	virtq_push(&q, 0, 0);
	fake_guest_mem_put16(&mem, ring.avail + 2, 0);
	expect_broken("the available index jumps");
}

static void a_head_outside(void **state)
{
	(void)state;
	start();
	driver_offer(&ring, SIZE);
	expect_broken("a chain that begins outside the table");
}

static void a_head_in_use(void **state)
{
	(void)state;
	start();
	three(0);
	three(0);
	expect_three(0);
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_BROKEN);
	assert_string_equal(q.broken, "a chain that is in use already");
	/* What is in flight still ends, without a trace. */
	virtq_push(&q, 0, 5);
	assert_int_equal(q.in_flight, 0);
	assert_int_equal(fake_guest_mem_get16(&mem, ring.used + 2), 0);
}

static void one_wrong(uint64_t at, uint32_t bytes, uint16_t flags, uint16_t next, const char *why)
{
	driver_desc(&ring, 0, DATA, 8, NEXT | WRITE, 1);
	driver_desc(&ring, 1, at, bytes, flags, next);
	driver_offer(&ring, 0);
	start();
	expect_broken(why);
	assert_true(virtq_stop(&q));
	lay(RING_AT, SIZE);
}

static void wrong_descriptors(void **state)
{
	(void)state;
	one_wrong(DATA, 0, WRITE, 0, "a buffer of no bytes");
	one_wrong(~0ull, 2, WRITE, 0, "a buffer that wraps around");
	one_wrong(~0ull - 0xfffffffe, 0xffffffff, WRITE, 0, "a buffer that wraps around");
	one_wrong(DATA, 8, 0, 0, "a readable buffer after a writable one");
	one_wrong(DATA, 8, WRITE | NEXT, SIZE, "a chain that leaves its table");
	one_wrong(DATA, 8, WRITE | NEXT, 0xffff, "a chain that leaves its table");
	one_wrong(DATA, 8, WRITE | NEXT, 0, "a chain with a loop");
	one_wrong(DATA, 8, WRITE | NEXT, 1, "a chain with a loop");
	one_wrong(DATA, 0xfffffff9, WRITE, 0, "a chain of more than 4 GiB");
}

/* Exactly 4 GiB is allowed (2.7.5.2). */
static void a_chain_of_4_gib(void **state)
{
	(void)state;
	start();
	driver_desc(&ring, 0, DATA, 8, NEXT, 1);
	driver_desc(&ring, 1, DATA, 0xfffffff8, WRITE, 0);
	driver_offer(&ring, 0);
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_CHAIN);
	assert_int_equal(chain.readable_bytes + chain.writable_bytes, 1ull << 32);
}

static void one_wrong_table(uint64_t at, uint32_t bytes, uint16_t flags, const char *why)
{
	driver_desc(&ring, 0, at, bytes, flags, 1);
	driver_desc(&ring, 1, DATA, 8, 0, 0);
	driver_offer(&ring, 0);
	q.indirect = true;
	start();
	expect_broken(why);
	assert_true(virtq_stop(&q));
	lay(RING_AT, SIZE);
}

static void wrong_tables(void **state)
{
	(void)state;
	indirect_three(TABLE);
	one_wrong_table(TABLE, 0, INDIRECT, "an indirect table of an odd size");
	one_wrong_table(TABLE, 47, INDIRECT, "an indirect table of an odd size");
	one_wrong_table(TABLE, 16 * (VIRTQ_SIZE_MAX + 1), INDIRECT, "an indirect table that is too large");
	one_wrong_table(TABLE, 0xfffffff0, INDIRECT, "an indirect table that is too large");
	one_wrong_table(TABLE, 48, INDIRECT | NEXT, "an indirect table that is not the last of its chain");
	one_wrong_table(PAGES * PAGE_SIZE, 48, INDIRECT, "an indirect table outside memory");
	one_wrong_table(PAGES * PAGE_SIZE - 16, 48, INDIRECT, "an indirect table outside memory");
	one_wrong_table(~0ull - 15, 48, INDIRECT, "an indirect table outside memory");
	one_wrong_table(TABLE, 32, INDIRECT, "a chain that leaves its table");
	driver_table(&ring, TABLE, 2, DATA, 1, NEXT | WRITE, 0);
	one_wrong_table(TABLE, 48, INDIRECT, "a chain with a loop");
	driver_table(&ring, TABLE, 2, TABLE, 48, INDIRECT, 0);
	one_wrong_table(TABLE, 48, INDIRECT, "an indirect table in an indirect table");
	fake_guest_mem_fill(&mem, TABLE, 0, 48);
	one_wrong_table(TABLE, 48, INDIRECT, "a buffer of no bytes");
}

static void a_table_without_the_feature(void **state)
{
	(void)state;
	start();
	q.indirect = false;
	indirect_three(TABLE);
	driver_desc(&ring, 0, TABLE, 48, INDIRECT, 0);
	driver_offer(&ring, 0);
	expect_broken("an indirect table without the feature");
}

static void more_than_the_device_takes(void **state)
{
	(void)state;
	start();
	chain.room = 3;
	three(0);
	expect_three(0);
	chain.room = 2;
	three(3);
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_BROKEN);
	assert_string_equal(q.broken, "a chain longer than the device takes");
}

/* Plain descriptors and a table share the room. */
static void more_with_a_table(void **state)
{
	struct virtq_buffer *exact = malloc(4 * sizeof *exact);

	(void)state;
	start();
	chain = (struct virtq_chain){.buffers = exact, .room = 4};
	indirect_three(TABLE);
	driver_desc(&ring, 0, DATA, 7, NEXT, 1);
	driver_desc(&ring, 1, TABLE, 48, INDIRECT, 0);
	driver_offer(&ring, 0);
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_CHAIN);
	virtq_push(&q, 0, 0);
	driver_desc(&ring, 1, DATA, 9, NEXT, 2);
	driver_desc(&ring, 2, TABLE, 48, INDIRECT, 0);
	driver_offer(&ring, 0);
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_BROKEN);
	assert_string_equal(q.broken, "a chain longer than the device takes");
	free(exact);
}

/* ---- each word is looked at once ---- */

#define TRAP_FLAG 0x100

static uint8_t *watched; /* a page that cannot be touched without our knowing */
static uintptr_t touched[512];
static unsigned touches;

/* A touch: noted, let through, and one instruction later the page is closed again. */
static void on_touch(int sig, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;

	if (at - (uintptr_t)watched >= PAGE_SIZE || touches == ARRAY_SIZE(touched)) {
		signal(sig, SIG_DFL);
		return;
	}
	touched[touches++] = at;
	mprotect(watched, PAGE_SIZE, PROT_READ | PROT_WRITE);
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	mprotect(watched, PAGE_SIZE, PROT_NONE);
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

/* Pops with @page of guest memory watched. */
static void pop_watching(uint64_t page)
{
	struct sigaction segv = {.sa_sigaction = on_touch, .sa_flags = SA_SIGINFO}, old_segv;
	struct sigaction trap = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO}, old_trap;
	enum virtq_result got;

	watched = mem.pages[page].host;
	touches = 0;
	sigaction(SIGSEGV, &segv, &old_segv);
	sigaction(SIGTRAP, &trap, &old_trap);
	mprotect(watched, PAGE_SIZE, PROT_NONE);
	got = virtq_pop(&q, &chain);
	mprotect(watched, PAGE_SIZE, PROT_READ | PROT_WRITE);
	sigaction(SIGSEGV, &old_segv, NULL);
	sigaction(SIGTRAP, &old_trap, NULL);
	assert_int_equal(got, VIRTQ_CHAIN);
	for (unsigned i = 0; i < touches; i++)
		for (unsigned j = 0; j < i; j++)
			if (touched[i] == touched[j])
				fail_msg("byte %#lx of the page is looked at twice", touched[i] - (uintptr_t)watched);
}

static void words_are_fetched_once(void **state)
{
	(void)state;
	start();
	three(0);
	pop_watching(RING_AT >> PAGE_SHIFT);
	assert_int_equal(touches, 2 + 3 * 2); /* the index, the entry, three times two words */
	indirect_three(TABLE);
	driver_desc(&ring, 5, TABLE, 48, INDIRECT, 0);
	for (unsigned part = 0; part < 2; part++) {
		driver_offer(&ring, (uint16_t)(5 + part));
		driver_desc(&ring, 6, TABLE, 48, INDIRECT, 0);
		pop_watching(part ? TABLE >> PAGE_SHIFT : RING_AT >> PAGE_SHIFT);
		assert_int_equal(touches, part ? 3 * 2 : 2 + 2);
	}
	/* Where a descriptor lies in two pages it is read byte by byte. */
	indirect_three(TABLE + 0x1000 - 21);
	driver_desc(&ring, 7, TABLE + 0x1000 - 21, 48, INDIRECT, 0);
	driver_offer(&ring, 7);
	pop_watching(TABLE >> PAGE_SHIFT);
	assert_int_equal(touches, 2 + 5);
	driver_desc(&ring, 8, TABLE + 0x1000 - 21, 48, INDIRECT, 0);
	driver_offer(&ring, 8);
	pop_watching((TABLE >> PAGE_SHIFT) + 1);
	assert_int_equal(touches, 11 + 2);
}

/* ---- a guest that writes while we read ---- */

static bool flipping;
static uint64_t *flip_at; /* the two words of a descriptor, in host memory */

static void *flip(void *arg)
{
	static const uint64_t all[4][2] = {
		{DATA, (uint64_t)WRITE << 32 | 64},
		{~0ull, (uint64_t)(WRITE | NEXT) << 32 | (uint64_t)0xffff << 48},
		{DATA, (uint64_t)WRITE << 32 | 4096},
		{DATA, 7},
	};

	(void)arg;
	for (unsigned i = 0; __atomic_load_n(&flipping, __ATOMIC_RELAXED); i++) {
		const uint64_t *d = all[i % 4];

		__atomic_store_n(&flip_at[0], d[0], __ATOMIC_RELAXED);
		__atomic_store_n(&flip_at[1], d[1], __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Whatever mixture was seen, what comes out passed the checks: nothing is looked at a second time. */
static void a_descriptor_changed_under_way(void **state)
{
	unsigned chains = 0, refused = 0;
	pthread_t guest;

	(void)state;
	start();
	driver_desc(&ring, 0, DATA, 64, WRITE, 0);
	flip_at = (uint64_t *)virtq_at(&q.area[VIRTQ_DESC], 0);
	__atomic_store_n(&flipping, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_create(&guest, NULL, flip, NULL), 0);
	for (unsigned i = 0; i < 200000; i++) {
		driver_offer(&ring, 0);
		if (virtq_pop(&q, &chain) == VIRTQ_CHAIN) {
			uint32_t bytes = buffers[0].bytes;

			assert_true(bytes == 64 || bytes == 4096 || bytes == 7);
			assert_int_equal(chain.readable + chain.writable, 1);
			assert_int_equal(chain.writable, bytes != 7);
			assert_int_equal(chain.readable_bytes + chain.writable_bytes, bytes);
			assert_true(buffers[0].at.v == DATA);
			virtq_push(&q, 0, 0);
			chains++;
		} else {
			assert_string_not_equal(q.broken, "");
			q.state = VIRTQ_ON; /* the next try */
			q.broken = NULL;
			q.next_avail = ring.offered;
			refused++;
		}
	}
	__atomic_store_n(&flipping, false, __ATOMIC_RELAXED);
	pthread_join(guest, NULL);
	assert_int_equal(chains + refused, 200000);
	assert_true(chains > 0);
}

/* ---- pins that come later ---- */

static void starting_waits(void **state)
{
	uint64_t asked;

	(void)state;
	lay(0x2000 - 16 * 7, SIZE); /* desc in two pages: four questions */
	for (unsigned which = 1; which <= 4; which++) {
		mem.later_at = which;
		asked = mem.asked;
		assert_int_equal(virtq_start(&q), PIN_LATER);
		assert_int_equal(q.state, VIRTQ_STARTING);
		assert_int_equal(mem.asked, asked + which);
		assert_int_equal(virtq_pop(&q, &chain), VIRTQ_LATER);
		assert_int_equal(virtq_start(&q), PIN_LATER); /* still waiting: nothing is asked */
		assert_int_equal(mem.asked, asked + which);
		assert_int_equal(fake_guest_mem_answer(&mem, 9), 1);
		fake_guest_mem_move(&mem);
		start();
		three(0);
		expect_three(0);
		virtq_push(&q, 0, 0);
		assert_true(virtq_stop(&q));
		assert_int_equal(mem.pins, 0);
		lay(0x2000 - 16 * 7, SIZE);
	}
}

static void starting_fails_at_each_pin(void **state)
{
	(void)state;
	for (unsigned which = 1; which <= 4; which++) {
		lay(0x2000 - 16 * 7, SIZE);
		mem.fail_at = which;
		assert_int_equal(virtq_start(&q), PIN_FAIL);
		assert_string_equal(q.broken, "a part of the queue lies outside memory");
		assert_true(virtq_stop(&q));
		assert_int_equal(mem.pins, 0);
	}
}

/* ---- stopping ---- */

static void stopping_waits_for_chains(void **state)
{
	(void)state;
	start();
	three(0);
	three(3);
	expect_three(0);
	expect_three(3);
	assert_false(virtq_stop(&q));
	assert_int_equal(q.state, VIRTQ_STOPPING);
	assert_true(mem.pins > 0);
	virtq_drop(&q, 3);
	assert_false(virtq_stop(&q));
	virtq_push(&q, 0, 77); /* too late: no trace */
	assert_int_equal(fake_guest_mem_get16(&mem, ring.used + 2), 0);
	assert_true(virtq_stop(&q));
	assert_int_equal(mem.pins, 0);
	assert_int_equal(q.state, VIRTQ_OFF);
	assert_int_equal(q.size, VIRTQ_SIZE_MAX);
	assert_int_equal(q.at[VIRTQ_DESC].v, 0);
	/* And it begins at 0 again. */
	lay(RING_AT, SIZE);
	start();
	three(0);
	expect_three(0);
	virtq_push(&q, 0, 1);
	expect_used(0, 1);
}

static void stopping_takes_a_question_back(void **state)
{
	(void)state;
	mem.later_at = 2;
	assert_int_equal(virtq_start(&q), PIN_LATER);
	assert_true(virtq_stop(&q));
	assert_int_equal(mem.cancels, 1);
	assert_int_equal(fake_guest_mem_answer(&mem, 9), 0);
	assert_int_equal(resumes, 0);
}

static void too_late_to_take_it_back(void **state)
{
	(void)state;
	mem.later_at = 2;
	mem.too_late = 100;
	assert_int_equal(virtq_start(&q), PIN_LATER);
	assert_false(virtq_stop(&q));
	assert_int_equal(fake_guest_mem_answer(&mem, 9), 1);
	assert_int_equal(resumes, 1);
	assert_true(virtq_stop(&q));
}

/* ---- who is told when ---- */

static void use(uint16_t head)
{
	three(head);
	expect_three(head);
	virtq_push(&q, head, 0);
}

static void interrupts_by_flag(void **state)
{
	(void)state;
	start();
	assert_false(virtq_interrupt_wanted(&q)); /* nothing was used */
	use(0);
	assert_true(virtq_interrupt_wanted(&q));
	assert_false(virtq_interrupt_wanted(&q)); /* once */
	driver_no_interrupt(&ring, true);
	use(0);
	assert_false(virtq_interrupt_wanted(&q));
	driver_no_interrupt(&ring, false);
	use(0);
	driver_used_event(&ring, 100); /* means nothing without the feature */
	assert_true(virtq_interrupt_wanted(&q));
}

static void interrupts_by_event_index(void **state)
{
	(void)state;
	q.event_idx = true;
	start();
	driver_no_interrupt(&ring, true); /* means nothing with it */
	driver_used_event(&ring, 0);
	use(0);
	assert_true(virtq_interrupt_wanted(&q));
	driver_used_event(&ring, 3);
	use(0); /* 1 */
	assert_false(virtq_interrupt_wanted(&q));
	use(0); /* 2 */
	use(0); /* 3 */
	use(0); /* 4: 3 lies in between */
	assert_true(virtq_interrupt_wanted(&q));
	use(0);
	assert_false(virtq_interrupt_wanted(&q)); /* it is behind */
	driver_used_event(&ring, 5);
	assert_false(virtq_interrupt_wanted(&q));
}

/* Who holds an interrupt back does not ask; the next question covers what went before. */
static void an_interrupt_held_back(void **state)
{
	(void)state;
	q.event_idx = true;
	start();
	driver_used_event(&ring, 0);
	use(0);
	use(0);
	use(0);
	assert_true(virtq_interrupt_wanted(&q));
}

static void event_index_wraps(void **state)
{
	(void)state;
	q.event_idx = true;
	start();
	for (unsigned i = 0; i < 0x10000; i++) {
		driver_used_event(&ring, (uint16_t)i);
		use(0);
		assert_true(virtq_interrupt_wanted(&q));
		driver_used_event(&ring, (uint16_t)(i - 1));
		assert_false(virtq_interrupt_wanted(&q));
	}
}

static void kicks_by_flag(void **state)
{
	(void)state;
	start();
	virtq_kicks_off(&q);
	assert_true(driver_no_notify(&ring));
	assert_false(virtq_kicks_on(&q));
	assert_false(driver_no_notify(&ring));
	virtq_kicks_off(&q);
	three(0);
	assert_true(virtq_kicks_on(&q)); /* came in unannounced */
	expect_three(0);
	assert_false(virtq_kicks_on(&q));
}

static void kicks_by_event_index(void **state)
{
	(void)state;
	q.event_idx = true;
	start();
	assert_false(virtq_kicks_on(&q));
	assert_int_equal(driver_avail_event(&ring), 0);
	for (unsigned i = 1; i <= 3; i++) {
		use(0);
		virtq_kicks_off(&q);
		assert_false(driver_no_notify(&ring));
		assert_int_equal(driver_avail_event(&ring), i - 1);
		assert_false(virtq_kicks_on(&q));
		assert_int_equal(driver_avail_event(&ring), i);
	}
	three(0);
	assert_true(virtq_kicks_on(&q));
}

static void a_queue_that_is_off_tells_nobody(void **state)
{
	(void)state;
	assert_false(virtq_kicks_on(&q));
	virtq_kicks_off(&q);
	assert_false(virtq_interrupt_wanted(&q));
	start();
	use(0);
	virtq_break(&q, "first");
	virtq_break(&q, "second");
	assert_string_equal(q.broken, "first");
	assert_false(virtq_interrupt_wanted(&q));
	assert_false(virtq_kicks_on(&q));
}

/* Several that were popped are put back from the last on; asked is for more than they are. */
static void several_that_do_not_suffice(void **state)
{
	struct virtq_chain second = {.buffers = buffers, .room = VIRTQ_SIZE_MAX};

	(void)state;
	q.event_idx = true;
	start();
	three(0);
	three(3);
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_CHAIN);
	assert_int_equal(virtq_pop(&q, &second), VIRTQ_CHAIN);
	assert_int_equal(virtq_pop(&q, &(struct virtq_chain){.buffers = buffers, .room = 1}), VIRTQ_EMPTY);
	virtq_unpop(&q, &second);
	virtq_unpop(&q, &chain);
	assert_int_equal(q.in_flight, 0);
	assert_false(virtq_kicks_on_beyond(&q, 2));
	assert_int_equal(driver_avail_event(&ring), 2);
	three(6);
	assert_true(virtq_kicks_on_beyond(&q, 2));
	assert_false(virtq_kicks_on_beyond(&q, 3));
	assert_true(virtq_kicks_on(&q));
	assert_int_equal(driver_avail_event(&ring), 0);
	expect_three(0);
	expect_three(3);
	expect_three(6);
}

/* The short way takes what is simple, as many as are needed, and nothing of what is not; virtq_pop() says why. */
static void singles(void **state)
{
	static const struct {
		uint64_t at;
		uint32_t bytes;
		uint16_t flags;
	} odd[] = {{DATA, 8, WRITE | NEXT}, {DATA, 8, 0}, {TABLE, 16, INDIRECT}, {DATA, 0, WRITE}, {~0ull - 3, 8, WRITE}};
	struct virtq_used list[SIZE];
	gpa_t at[SIZE];

	(void)state;
	assert_int_equal(virtq_pop_singles(&q, list, at, SIZE, 1), 0); /* it is off */
	start();
	assert_int_equal(virtq_pop_singles(&q, list, at, SIZE, 1), 0);
	for (uint16_t i = 0; i < 4; i++) {
		driver_desc(&ring, (uint16_t)(7 - i), DATA + 0x100 * i, 100, WRITE, 0);
		driver_offer(&ring, (uint16_t)(7 - i));
	}
	assert_int_equal(virtq_pop_singles(&q, list, at, SIZE, 250), 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(list[i].head, 7 - i);
		assert_int_equal(list[i].written, i < 2 ? 100 : 50);
		assert_int_equal(at[i].v, DATA + 0x100 * i);
	}
	assert_int_equal(q.in_flight, 3);
	virtq_push_all(&q, list, 3);
	assert_int_equal(virtq_pop_singles(&q, list, at, 0, 250), 0);
	assert_int_equal(virtq_pop_singles(&q, list, at, SIZE, 100), 1);
	assert_int_equal(list[0].written, 100);
	driver_offer(&ring, 4); /* it is in use */
	assert_int_equal(virtq_pop_singles(&q, list + 1, at, SIZE, 1), 0);
	virtq_push_all(&q, list, 1);
	assert_int_equal(virtq_pop_singles(&q, list, at, SIZE, 1), 1);
	assert_int_equal(list[0].written, 1);
	virtq_push_all(&q, list, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(odd); i++) {
		driver_desc(&ring, 0, DATA, 10, WRITE, 0);
		driver_desc(&ring, 1, odd[i].at, odd[i].bytes, odd[i].flags, 2);
		driver_desc(&ring, 2, DATA, 10, WRITE, 0);
		driver_table(&ring, TABLE, 0, DATA, 10, WRITE, 0);
		driver_offer(&ring, 0);
		driver_offer(&ring, 1);
		assert_int_equal(virtq_pop_singles(&q, list, at, SIZE, 100), 1);
		assert_int_equal(q.in_flight, 1);
		virtq_push_all(&q, list, 1);
		assert_int_equal(virtq_pop(&q, &chain), i < 3 ? VIRTQ_CHAIN : VIRTQ_BROKEN);
		if (i >= 3)
			break;
		virtq_push(&q, chain.head, 0);
	}
	assert_int_equal(virtq_pop_singles(&q, list, at, SIZE, 1), 0);
}

/* Across the ring's end; a head outside the table, an index that jumps: left to virtq_pop(). */
static void singles_at_the_edges(void **state)
{
	struct virtq_used list[SIZE];
	gpa_t at[SIZE];

	(void)state;
	start();
	for (unsigned round = 0; round < 10; round++) {
		for (uint16_t i = 0; i < 7; i++) {
			driver_desc(&ring, i, DATA + 0x100 * i, 10 + i, WRITE, 0);
			driver_offer(&ring, i);
		}
		assert_int_equal(virtq_pop_singles(&q, list, at, SIZE, 1000), 7);
		for (unsigned i = 0; i < 7; i++) {
			assert_int_equal(list[i].head, i);
			assert_int_equal(list[i].written, 10 + i);
		}
		virtq_push_all(&q, list, 7);
	}
	driver_offer(&ring, SIZE);
	assert_int_equal(virtq_pop_singles(&q, list, at, SIZE, 1000), 0);
	fake_guest_mem_put16(&mem, ring.avail + 2, (uint16_t)(ring.offered + 100));
	assert_int_equal(virtq_pop_singles(&q, list, at, SIZE, 1000), 0);
	assert_int_equal(virtq_pop(&q, &chain), VIRTQ_BROKEN);
	assert_string_equal(q.broken, "the available index jumps");
}

/* The driver sees all of them by one step of the index, in their order, across the ring's end. */
static void several_go_back_at_once(void **state)
{
	uint32_t head, written;

	(void)state;
	start();
	for (unsigned round = 0; round < 12; round++) {
		struct virtq_used list[3];

		for (unsigned i = 0; i < 3; i++) {
			three((uint16_t)(3 * i));
			expect_three((uint16_t)(3 * i));
			list[2 - i] = (struct virtq_used){3 * i, 10 * round + i};
		}
		virtq_push_all(&q, list, 3);
		assert_int_equal(q.in_flight, 0);
		for (unsigned i = 0; i < 3; i++) {
			assert_true(driver_used(&ring, &head, &written));
			assert_int_equal(head, list[i].head);
			assert_int_equal(written, list[i].written);
		}
		assert_false(driver_used(&ring, &head, &written));
	}
	three(0);
	expect_three(0);
	virtq_break(&q, "beyond use");
	virtq_push_all(&q, &(struct virtq_used){0, 1}, 1);
	assert_int_equal(q.in_flight, 0);
	assert_false(driver_used(&ring, &head, &written));
}

/* ---- cursors ---- */

static void cursors(void **state)
{
	struct virtq_buffer list[] = {{gpa(100), 4, 0, 0}, {gpa(200), 1, 0, 0}, {gpa(300), 8, 0, 0}, {gpa(400), 2, 0, 0}};
	struct virtq_chain c = {.buffers = list, .readable = 2, .writable = 2, .readable_bytes = 5, .writable_bytes = 10};
	struct virtq_cursor at = virtq_readable(&c);
	struct guest_pin p;

	(void)state;
	virtq_piece(&at, &p);
	assert_int_equal(p.at.v, 100);
	assert_int_equal(p.bytes, 4);
	virtq_advance(&at, 3);
	virtq_piece(&at, &p);
	assert_int_equal(p.at.v, 103);
	assert_int_equal(p.bytes, 1);
	virtq_advance(&at, 1);
	virtq_piece(&at, &p);
	assert_int_equal(p.at.v, 200);
	virtq_advance(&at, 1);
	assert_int_equal(at.left, 0);
	at = virtq_writable(&c);
	assert_int_equal(at.left, 10);
	at.left--; /* without the last byte */
	virtq_advance(&at, 8);
	virtq_piece(&at, &p);
	assert_int_equal(p.at.v, 400);
	assert_int_equal(p.bytes, 1);
	at = virtq_writable(&c);
	virtq_advance(&at, 9); /* over a whole buffer at once */
	virtq_piece(&at, &p);
	assert_int_equal(p.at.v, 401);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_chain_goes_out_and_back), T(chains_end_in_any_order), T(indices_wrap), T(parts_across_pages),
		T(the_largest_queue), T(a_chain_is_put_back), T(what_was_popped_stays), T(an_indirect_table),
		T(a_table_at_any_address), T(a_table_behind_plain_ones), T(a_table_that_comes_later), T(wrong_sizes),
		T(wrong_addresses), T(indices_that_jump), T(an_index_that_goes_back), T(a_head_outside), T(a_head_in_use),
		T(wrong_descriptors), T(a_chain_of_4_gib), T(wrong_tables), T(a_table_without_the_feature),
		T(more_than_the_device_takes), T(more_with_a_table), T(words_are_fetched_once), T(a_descriptor_changed_under_way), T(starting_waits),
		T(starting_fails_at_each_pin), T(stopping_waits_for_chains), T(stopping_takes_a_question_back),
		T(too_late_to_take_it_back), T(interrupts_by_flag), T(interrupts_by_event_index), T(an_interrupt_held_back),
		T(event_index_wraps), T(kicks_by_flag), T(kicks_by_event_index), T(a_queue_that_is_off_tells_nobody),
		T(several_that_do_not_suffice), T(several_go_back_at_once), T(singles), T(singles_at_the_edges), T(cursors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
