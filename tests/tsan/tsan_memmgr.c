/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory management between CPUs: guests' pages touched, read, removed and
 * flushed on all of them at once over the engine's own tables, beside the host's
 * allocations, clearing, polling, and maps that come and go, while memory runs out
 * and the walker looks. Each page holds what its guest wrote: whoever still may
 * reach a page must never find another's bytes there. Built under ASan as
 * tests/unit/test_memmgr_smp.c too.
 */
#include "tests/cmocka_all.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memmgr/internal.h"
#include "tests/tsan/threads.h"
#include "vmx/ept.h"

#define RAM_FRAMES 6144ull /* 24 MiB: some leaves of 2 MiB, and soon used up */
#define CPUS 4u
#define MAPS 2u
#define PAGES 1536ull      /* of each guest */
#define ROUNDS 6u
#define STEPS 1500u
#define LAST_STEPS 4000u
#define COPY_OFFSET 2048u
#define COPY_BYTES 1024u
#define HELD 40u           /* host blocks that one CPU holds at most */
#define OWN_OWNER 100u     /* owner ids of the maps that CPUs make for themselves */
#define SETTLE_POLLS 1000u

#define REQUIRE(condition)                                                           \
	do {                                                                         \
		if (!(condition)) {                                                  \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                     \
		}                                                                    \
	} while (0)

static void *ram;
static struct memmgr *mm;

/* One guest, and what its engine has posted to each CPU. */
static struct guest {
	struct stage2 s2;
	struct gpmap *map;
	bool flush_asked[CPUS];
} guests[MAPS];

static unsigned this_cpu(void) { return thread_self()->cpu; }

static bool table_alloc(void *ctx, hfn_t *out)
{
	(void)ctx;
	return memmgr_alloc(mm, 0, out) == ST_OK;
}

static void table_free(void *ctx, hfn_t frame)
{
	(void)ctx;
	memmgr_free(mm, frame, 0);
}

static void *table_va(void *ctx, hfn_t frame)
{
	(void)ctx;
	return memmgr_va(mm, frame);
}

static const struct ept_frames frames = {.alloc = table_alloc, .free = table_free, .va = table_va};

static void invalidate(struct stage2 *s2) { (void)s2; }

/* What an engine does: it posts, and no more. */
static void raised(struct stage2 *s2)
{
	struct guest *g = s2->owner;

	for (unsigned cpu = 0; g && cpu < CPUS; cpu++)
		if (ept_awaits(s2, cpu, __atomic_load_n(&s2->generation, __ATOMIC_RELAXED)))
			__atomic_store_n(&g->flush_asked[cpu], true, __ATOMIC_RELEASE);
}

static void make_guest(struct stage2 *s2, struct gpmap **map, struct guest *g, uint16_t owner)
{
	*s2 = (struct stage2){.invalidate = invalidate, .raised = raised, .this_cpu = this_cpu, .owner = g};
	REQUIRE(ept_init(s2, &frames) == ST_OK);
	REQUIRE(gpmap_create(mm, owner, PAGES, &ept_ops, s2, map) == ST_OK);
}

static void start(uint64_t clear_4k, uint64_t clear_2m)
{
	struct mem_range range = {hfn(0), RAM_FRAMES};
	struct memmgr_config cfg = {
		.ram = &range, .ram_count = 1, .cpus = CPUS, .this_cpu = this_cpu,
		.clear_ahead_4k = clear_4k, .clear_ahead_2m = clear_2m,
	};
	struct error err;

	ram = mmap(NULL, RAM_FRAMES << PAGE_SHIFT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(ram != MAP_FAILED);
	memset(ram, 0xa5, RAM_FRAMES << PAGE_SHIFT);
	cfg.direct_map = ram;
	REQUIRE(memmgr_init(&cfg, &mm, &err) == ST_OK);
	memset(guests, 0, sizeof guests);
	for (unsigned i = 0; i < MAPS; i++) {
		make_guest(&guests[i].s2, &guests[i].map, &guests[i], (uint16_t)(i + 1));
		REQUIRE(gpmap_add_ram(guests[i].map, gfn(0), PAGES - 100) == ST_OK);
	}
}

static void check(void)
{
	struct error err;

	if (memmgr_check(mm, &err))
		return;
	fprintf(stderr, "memmgr_check: %s\n", err.text);
	abort();
}

static void end(void)
{
	struct memmgr_stats stats;

	for (unsigned i = 0; i < MAPS; i++) {
		while (gpmap_release_step(guests[i].map, 500) == ST_AGAIN)
			continue;
		gpmap_destroy(guests[i].map);
		ept_destroy(&guests[i].s2);
	}
	check();
	memmgr_stats(mm, &stats);
	REQUIRE(stats.promised == 0 && stats.frames[FRAME_GUEST] == 0 && stats.frames[FRAME_LEAVING] == 0);
	REQUIRE(stats.frames[FRAME_HOST] == 1 + stats.table_bytes / PAGE_SIZE);
	munmap(ram, RAM_FRAMES << PAGE_SHIFT);
}

/* ---- what one CPU does ---- */

struct cpu {
	struct random_state *random;
	struct guest *loaded;
	uint64_t stamp;
	struct {
		hfn_t frame;
		unsigned order;
		uint64_t stamp;
	} held[HELD];
	unsigned holds;
};

/* The engine's part of an entry: nothing that was looked up before may be used after it. */
static void enter(struct cpu *cpu, struct guest *g)
{
	if (cpu->loaded && cpu->loaded != g)
		ept_put(&cpu->loaded->s2, this_cpu());
	if (cpu->loaded != g || __atomic_exchange_n(&g->flush_asked[this_cpu()], false, __ATOMIC_ACQ_REL))
		ept_sync(&g->s2, this_cpu());
	cpu->loaded = g;
}

static void put(struct cpu *cpu)
{
	if (cpu->loaded)
		ept_put(&cpu->loaded->s2, this_cpu());
	cpu->loaded = NULL;
}

static struct guest *any_guest(struct cpu *cpu) { return &guests[random_below(cpu->random, MAPS)]; }

/* Often one of few, so that CPUs meet. */
static uint64_t any_page(struct cpu *cpu)
{
	return random_below(cpu->random, random_below(cpu->random, 2) ? 24 : PAGES);
}

/* What @cpu wrote to page @at of @g: in a place of its own, so that CPUs do not race for it. */
static uint64_t mark_of(const struct guest *g, uint64_t at, unsigned cpu)
{
	return (uint64_t)(g - guests + 1) << 48 | (at + 1) << 16 | (cpu + 1);
}

static void look_at(const struct guest *g, uint64_t at, uint64_t *page)
{
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		uint64_t found = __atomic_load_n(&page[cpu], __ATOMIC_RELAXED);

		REQUIRE(found == 0 || found == mark_of(g, at, cpu));
	}
}

static void touch(struct cpu *cpu)
{
	struct guest *g = any_guest(cpu);
	uint64_t at = any_page(cpu);
	enum status st;

	enter(cpu, g);
	st = gpmap_fault(g->map, gfn(at), S2_WRITE);
	REQUIRE(st == (at >= PAGES - 100 ? ST_BAD_ADDRESS : ST_OK) || st == ST_NO_MEMORY);
}

/* An emulated access: the page may go meanwhile, and its frame may not. */
static void emulate(struct cpu *cpu)
{
	struct guest *g = any_guest(cpu);
	uint64_t at = any_page(cpu), *page;

	enter(cpu, g);
	if (gpmap_populate(g->map, gfn(at), (void **)&page) != ST_OK)
		return;
	for (unsigned i = 0; i < 4; i++) {
		look_at(g, at, page);
		__atomic_store_n(&page[this_cpu()], mark_of(g, at, this_cpu()), __ATOMIC_RELAXED);
		if (i == 1)
			sched_yield();
	}
}

/* By a CPU that runs no vcpu, far from the marks. */
static void copy(struct cpu *cpu)
{
	struct guest *g = any_guest(cpu);
	uint8_t bytes[COPY_BYTES], own = (uint8_t)(g - guests + 1);
	gpa_t where = gpa(any_page(cpu) * PAGE_SIZE + COPY_OFFSET);
	enum status st;

	if (random_below(cpu->random, 2))
		st = gpmap_fill(g->map, where, own, sizeof bytes);
	else
		st = gpmap_read(g->map, where, bytes, sizeof bytes);
	REQUIRE(st == ST_OK || st == ST_BAD_ADDRESS || st == ST_NO_MEMORY);
	st = gpmap_read(g->map, where, bytes, sizeof bytes);
	for (unsigned i = 0; st == ST_OK && i < sizeof bytes; i++)
		REQUIRE(bytes[i] == 0 || bytes[i] == own);
}

static void take_away(struct cpu *cpu)
{
	struct guest *g = any_guest(cpu);
	enum status st = gpmap_remove(g->map, gfn(any_page(cpu)));

	REQUIRE(st == ST_OK || st == ST_BAD_ADDRESS || st == ST_BAD_STATE || st == ST_BUSY || st == ST_NO_MEMORY);
}

/* A device's CPU, which runs no vcpu of the guest: others may try to take the page, and it is there. */
static void use_pinned(struct cpu *cpu)
{
	struct guest *g = any_guest(cpu);
	uint64_t at = any_page(cpu), *page;
	struct gpmap_pin p;
	enum status st = gpmap_pin(g->map, gpa(at * PAGE_SIZE), &p);

	REQUIRE(st == ST_OK || st == ST_BAD_ADDRESS || st == ST_NO_MEMORY);
	if (st != ST_OK)
		return;
	page = p.va;
	for (unsigned i = 0; i < 4; i++) {
		look_at(g, at, page);
		__atomic_store_n(&page[this_cpu()], mark_of(g, at, this_cpu()), __ATOMIC_RELAXED);
		REQUIRE(gpmap_remove(g->map, gfn(at)) == ST_BUSY);
		sched_yield();
	}
	REQUIRE(gpmap_va(g->map, gfn(at)) == page);
	gpmap_unpin(g->map, p.leaf);
}

static void give_back(struct cpu *cpu)
{
	unsigned i = (unsigned)random_below(cpu->random, cpu->holds);
	uint64_t *va = memmgr_va(mm, cpu->held[i].frame);

	REQUIRE(*va == cpu->held[i].stamp);
	memmgr_free(mm, cpu->held[i].frame, cpu->held[i].order);
	cpu->held[i] = cpu->held[--cpu->holds];
}

static void allocate(struct cpu *cpu)
{
	unsigned order = random_below(cpu->random, 8) ? 0 : (unsigned)random_below(cpu->random, 9);
	bool zero = random_below(cpu->random, 2);
	uint64_t *va;
	hfn_t frame;

	if (cpu->holds == HELD || (cpu->holds && random_below(cpu->random, 2))) {
		give_back(cpu);
		return;
	}
	if ((zero ? memmgr_alloc_zero(mm, order, &frame) : memmgr_alloc(mm, order, &frame)) != ST_OK)
		return;
	va = memmgr_va(mm, frame);
	REQUIRE(!zero || (*va == 0 && memcmp(va, va + 1, (PAGE_SIZE << order) - 8) == 0));
	cpu->held[cpu->holds].frame = frame;
	cpu->held[cpu->holds].order = order;
	*va = cpu->held[cpu->holds++].stamp = ++cpu->stamp << 8 | this_cpu();
	memset((uint8_t *)va + COPY_OFFSET, 0xee, COPY_BYTES);
}

/* A guest of its own, from creation to destruction. */
static void live_and_die(struct cpu *cpu)
{
	struct stage2 s2 = {.invalidate = invalidate, .raised = raised, .this_cpu = this_cpu};
	uint16_t owner = (uint16_t)(OWN_OWNER + this_cpu());
	struct gpmap *map, *twin;

	if (ept_init(&s2, &frames) != ST_OK)
		return;
	if (gpmap_create(mm, owner, 700, &ept_ops, &s2, &map) == ST_OK) {
		REQUIRE(gpmap_create(mm, owner, 700, &ept_ops, &s2, &twin) != ST_OK);
		if (gpmap_add_ram(map, gfn(3), 600) == ST_OK)
			for (uint64_t at = 0; at < 20; at++)
				(void)!gpmap_fault(map, gfn(random_below(cpu->random, 700)), S2_READ);
		while (gpmap_release_step(map, 300) == ST_AGAIN)
			continue;
		gpmap_destroy(map);
	}
	ept_destroy(&s2);
}

static void count(void)
{
	struct memmgr_stats stats;
	struct gpmap_stats pages;
	uint64_t sum = 0;

	memmgr_stats(mm, &stats);
	for (unsigned state = 0; state < FRAME_STATES; state++)
		sum += stats.frames[state];
	REQUIRE(sum == mm->frames && stats.cleared_4k + 512 * stats.cleared_2m <= stats.frames[FRAME_FREE]);
	gpmap_stats(guests[0].map, &pages);
	REQUIRE(pages.present_pages == pages.leaves_4k + 512 * pages.leaves_2m);
}

static void step(struct cpu *cpu)
{
	switch (random_below(cpu->random, 32)) {
	case 0:
		count();
		break;
	case 1:
		if (random_below(cpu->random, 12) == 0)
			live_and_die(cpu);
		else if (random_below(cpu->random, 12) == 0)
			check();
		break;
	case 2:
	case 3:
		memmgr_clear_step(mm, random_below(cpu->random, 40));
		break;
	case 4:
	case 5:
		memmgr_drain_leaving(mm);
		break;
	case 6:
		put(cpu);
		break;
	case 7:
	case 8:
	case 9:
		take_away(cpu);
		break;
	case 10:
	case 11:
		copy(cpu);
		break;
	case 12:
	case 13:
	case 14:
	case 15:
	case 16:
		allocate(cpu);
		break;
	case 17:
	case 18:
		use_pinned(cpu);
		break;
	case 19:
	case 20:
	case 21:
	case 22:
	case 23:
		emulate(cpu);
		break;
	default:
		touch(cpu);
	}
}

static void mixed(struct thread *t)
{
	struct cpu cpu = {.random = &t->random};

	for (unsigned i = 0; i < STEPS; i++)
		step(&cpu);
	put(&cpu);
	while (cpu.holds)
		give_back(&cpu);
}

/* ---- the tests ---- */

/* With all CPUs out of the guests a few polls free every frame. */
static void settle(void)
{
	unsigned polls = 0;

	while (memmgr_drain_leaving(mm) > 0)
		REQUIRE(polls++ < SETTLE_POLLS);
}

static void everything_at_once(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		start(seed % 3 * 100, seed % 2 * 3);
		for (unsigned part = 0; part < 3; part++) {
			threads_run(CPUS, seed * 3 + part, part > 0, mixed, NULL);
			check();
			settle();
			check();
		}
		end();
	}
}

static uint64_t same_pages;

static void touch_in_step(struct thread *t)
{
	(void)t;
	for (uint64_t at = 0; at < same_pages; at++)
		REQUIRE(gpmap_fault(guests[0].map, gfn(at), S2_WRITE) == ST_OK);
}

/* The vcpus of one guest touch the same pages: each is mapped once, and nobody is told of an error. */
static void one_page_is_mapped_once(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct gpmap_stats pages;
		struct memmgr_stats stats;

		start(round % 2 * 300, 0);
		while (memmgr_clear_step(mm, 100) == ST_AGAIN)
			continue;
		same_pages = 1000;
		threads_run(CPUS, round, round % 2, touch_in_step, NULL);
		gpmap_stats(guests[0].map, &pages);
		memmgr_stats(mm, &stats);
		assert_true(pages.present_pages == same_pages && stats.frames[FRAME_GUEST] == same_pages);
		assert_true(stats.fault_4k_pool + stats.fault_4k_inline == same_pages);
		check();
		end();
	}
}

/* Frames that a CPU takes until there are none, in a list through the frames themselves. */
static hfn_t taken[CPUS];
#define TAKEN_END UINT64_MAX

static void take_all(struct thread *t)
{
	hfn_t frame;

	taken[t->cpu] = hfn(TAKEN_END);
	/* Leave something in the cell on the way. */
	for (unsigned i = 0; i < 20 && memmgr_alloc(mm, 0, &frame) == ST_OK; i++)
		memmgr_free(mm, frame, 0);
	while (memmgr_alloc(mm, 0, &frame) == ST_OK) {
		*(uint64_t *)memmgr_va(mm, frame) = taken[t->cpu].v;
		taken[t->cpu] = frame;
		if (random_below(&t->random, 50) == 0)
			memmgr_clear_step(mm, random_below(&t->random, 3));
	}
}

static void give_all(struct thread *t)
{
	while (taken[t->cpu].v != TAKEN_END) {
		hfn_t frame = taken[t->cpu];

		taken[t->cpu] = hfn(*(uint64_t *)memmgr_va(mm, frame));
		memmgr_free(mm, frame, 0);
	}
}

/* Memory is out when it is out, and not when what is left lies in other CPUs' cells. */
static void no_frame_is_lost_to_a_cell(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct memmgr_stats stats;
		hfn_t frame;

		start(round % 2 * 200, round % 3);
		threads_run(CPUS, round, true, take_all, NULL);
		memmgr_stats(mm, &stats);
		assert_true(stats.frames[FRAME_FREE] == 0);
		check();
		threads_run(CPUS, round, true, give_all, NULL);
		check();
		/* And blocks merge again, for all that cells hold. */
		assert_int_equal(memmgr_alloc(mm, 11, &frame), ST_OK);
		memmgr_free(mm, frame, 11);
		end();
	}
}

static void take_and_give(struct thread *t)
{
	(void)t;
	for (unsigned i = 0; i < LAST_STEPS; i++) {
		hfn_t frame;

		REQUIRE(memmgr_alloc(mm, 0, &frame) == ST_OK);
		memmgr_free(mm, frame, 0);
		memmgr_clear_step(mm, 1);
	}
}

/* As many frames as CPUs, of which each holds one at most: there is always one, wherever it lies. */
static void the_last_frame_is_found(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		start(round % 2 * 2, 0);
		threads_run(1, round, false, take_all, NULL);
		for (unsigned i = 0; i < CPUS; i++) {
			hfn_t frame = taken[0];

			taken[0] = hfn(*(uint64_t *)memmgr_va(mm, frame));
			memmgr_free(mm, frame, 0);
		}
		threads_run(CPUS, round, round % 3 > 0, take_and_give, NULL);
		check();
		threads_run(1, round, false, give_all, NULL);
		end();
	}
}

static void nothing_is_cached_during_a_search(void **state)
{
	const struct cell *c;
	hfn_t frame;

	(void)state;
	start(50, 0);
	c = &mm->cells[0];
	assert_int_equal(memmgr_alloc(mm, 0, &frame), ST_OK);
	cell_reclaim(mm, 0);
	mm->searching = 1;
	memmgr_free(mm, frame, 0);
	assert_true(c->plain.count == 0);
	assert_int_equal(memmgr_alloc(mm, 0, &frame), ST_OK);
	assert_true(c->plain.count == 0);
	memmgr_free(mm, frame, 0);
	assert_int_equal(memmgr_clear_step(mm, 1), ST_NO_MEMORY);
	assert_int_equal(gpmap_fault(guests[0].map, gfn(0), S2_WRITE), ST_OK);
	assert_true(c->plain.count == 0 && c->cleared[LEAF_4K].count == 0 && c->clearing.frame == FRAME_NIL);
	mm->searching = 0;
	end();
}

/* The touch that finds the cell empty takes the shared lock for a batch; those after it do not. */
static void a_touch_from_the_cell_takes_no_shared_lock(void **state)
{
	uint32_t before;
	unsigned alone = 0;

	(void)state;
	start(400, 0);
	while (memmgr_clear_step(mm, 100) == ST_AGAIN)
		continue;
	for (uint64_t at = 0; at < 160; at++) {
		before = mm->lock.next;
		assert_int_equal(gpmap_fault(guests[1].map, gfn(at), S2_WRITE), ST_OK);
		alone += mm->lock.next == before;
	}
	assert_true(alone >= 160 - 160 / 10);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_touch_from_the_cell_takes_no_shared_lock),
		cmocka_unit_test(one_page_is_mapped_once),
		cmocka_unit_test(no_frame_is_lost_to_a_cell),
		cmocka_unit_test(nothing_is_cached_during_a_search),
		cmocka_unit_test(the_last_frame_is_found),
		cmocka_unit_test(everything_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
