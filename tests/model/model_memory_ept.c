/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two sides of memmgr/stage2.h together: a guest's memory over the engine's
 * own EPT tables, whose frames come from the same memory. Random touches,
 * writes, removals and late flushes of three sizes of leaf; memory runs out now
 * and then. A processor with a stale translation is played by "seen": frames
 * removed since the last INVEPT must not turn up elsewhere.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "memmgr/internal.h"
#include "tests/fakes/ram.h"
#include "tests/model/random.h"
#include "vmx/ept.h"

#define RAM_BYTES (5ull << 29) /* 2.5 GiB, so that one GiB can be cleared ahead */
#define LIMIT (BIT(ORDER_1G) + 4096)
#define HOGS 8192u
#define STEPS 4000

static struct ram ram;
static struct memmgr *mm;
static struct stage2 s2;
static struct gpmap *map;
static bool on_other_cpu; /* which of two CPUs calls */
static uint8_t written[LIMIT];
static hfn_t hogs[HOGS];
static unsigned hog_count;

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

static void invalidate(struct stage2 *stage2) { (void)stage2; }
static void raised(struct stage2 *stage2) { (void)stage2; }
static unsigned this_cpu(void) { return on_other_cpu; }

static const struct ept_frames frames = {.alloc = table_alloc, .free = table_free, .va = table_va};

static void start(struct random_state *r)
{
	mm = ram_memmgr(&ram, random_below(r, 30), random_below(r, 8), random_below(r, 2));
	memset(&s2, 0, sizeof s2);
	s2.invalidate = invalidate;
	s2.raised = raised;
	s2.this_cpu = this_cpu;
	s2.use_1g = true;
	assert_int_equal(ept_init(&s2, &frames), ST_OK);
	assert_int_equal(gpmap_create(mm, 1, LIMIT, &ept_ops, &s2, &map), ST_OK);
	assert_int_equal(gpmap_add_ram(map, gfn(0), 160), ST_OK);
	assert_int_equal(gpmap_add_ram(map, gfn(256), LIMIT - 256), ST_OK);
	memset(written, 0, sizeof written);
	hog_count = 0;
}

/* Takes most of what is free, or gives it back: in between touches fail. */
static void hog(void)
{
	unsigned order = MEMMGR_MAX_ORDER;

	while (hog_count > 0) {
		hog_count--;
		memmgr_free(mm, hogs[hog_count], frame_get(mm, (uint32_t)hogs[hog_count].v)->order);
	}
	if (on_other_cpu)
		return;
	for (;;) {
		if (hog_count < HOGS && memmgr_alloc(mm, order, &hogs[hog_count]) == ST_OK)
			hog_count++;
		else if (order-- == 0)
			return;
	}
}

static void touch(uint64_t at)
{
	enum status st = gpmap_fault(map, gfn(at), S2_WRITE);
	bool is_ram = at < 160 || at >= 256;

	if (!is_ram) {
		assert_int_equal(st, ST_BAD_ADDRESS);
		return;
	}
	if (st != ST_OK) {
		assert_int_equal(st, ST_NO_MEMORY);
		assert_null(gpmap_va(map, gfn(at)));
	}
}

static void write_page(uint64_t at)
{
	uint8_t *va = gpmap_va(map, gfn(at));

	if (!va)
		return;
	assert_int_equal(va[0], written[at]);
	assert_memory_equal(va, va + 1, PAGE_SIZE - 1);
	written[at] = (uint8_t)(at | 1);
	memset(va, written[at], PAGE_SIZE);
}

static void take_page(uint64_t at)
{
	uint8_t *va = gpmap_va(map, gfn(at));
	enum status st = gpmap_remove(map, gfn(at));

	if (st != ST_OK)
		return;
	/* The other CPU may still read it: what it sees must not change hands before its flush. */
	if (!cpuset_empty(&s2.active))
		assert_int_equal(frame_get(mm, (uint32_t)memmgr_hfn(mm, va).v)->state, FRAME_LEAVING);
	written[at] = 0;
}

static uint64_t near_by(struct random_state *r)
{
	uint64_t region = random_below(r, 3) == 0 ? random_below(r, LIMIT) : BIT(ORDER_1G) * random_below(r, 2);

	return (region + random_below(r, 2048)) % LIMIT;
}

static void step(struct random_state *r)
{
	on_other_cpu = random_below(r, 2) == 0;
	switch (random_below(r, 16)) {
	case 0:
		assert_true(memmgr_clear_step(mm, random_below(r, 600)) != ST_INVALID);
		break;
	case 1:
		ept_sync(&s2, on_other_cpu);
		break;
	case 2:
		memmgr_drain_leaving(mm);
		break;
	case 3:
		if (random_below(r, 20) == 0)
			hog();
		break;
	case 4:
	case 5:
		take_page(near_by(r));
		break;
	case 6:
	case 7:
	case 8:
		write_page(near_by(r));
		break;
	default:
		touch(near_by(r));
	}
}

static void finish(void)
{
	struct memmgr_stats stats;

	on_other_cpu = true;
	hog();
	while (gpmap_release_step(map, 5000) == ST_AGAIN) {
		on_other_cpu = !on_other_cpu;
		ram_check(mm);
	}
	gpmap_destroy(map);
	ept_destroy(&s2);
	memmgr_stats(mm, &stats);
	assert_true(stats.frames[FRAME_HOST] == 1 + stats.table_bytes / PAGE_SIZE);
	ram_check(mm);
}

static void run(struct random_state *r)
{
	start(r);
	if (random_below(r, 2) == 0) /* else the first touches of the GiB come before its block is ready */
		while (memmgr_clear_step(mm, 4096) == ST_AGAIN)
			continue;
	for (int i = 0; i < STEPS; i++) {
		step(r);
		if (i % 16 == 0)
			ram_check(mm);
	}
	finish();
}

static void gpmap_over_ept(void **state)
{
	(void)state;
	ram = ram_map(RAM_BYTES);
	random_runs(6, run);
	ram_unmap(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(gpmap_over_ept)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
