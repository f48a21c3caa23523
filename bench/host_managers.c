/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one operation of memmgr/ or sched/ costs in instructions, without an
 * emulator: bench/host.py runs each case under callgrind, which counts only
 * inside case_*(). The rooms are compiled as for the machine. The stage 2 does
 * nothing, so that the figures are the room's own share of a VM exit; the cases
 * named ..._ept have the engine's tables under them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench/cases.h"
#include "lib/bits.h"
#include "memmgr/memmgr.h"
#include "sched/sched.h"
#include "vmx/ept.h"

#define RAM_BYTES (1ull << 30)
#define GUEST_PAGES 65536ull
#define ROUNDS 500u
#define CASE __attribute__((noinline, noclone)) static void

/* The target's memset is one `rep stosq`, of which each turn counts as an instruction. */
void *memset(void *dest, int byte, size_t len)
{
	uint64_t pattern = 0x0101010101010101ull * (uint8_t)byte;
	void *to = dest;
	size_t words = len / 8, rest = len % 8;

	__asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(pattern) : "memory");
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(rest) : "a"(pattern) : "memory");
	return dest;
}

/* ---- a stage 2 that costs nothing ---- */

static uint64_t tickets;

static enum status prepare(struct stage2 *s2, gfn_t gfn, unsigned order)
{
	(void)s2, (void)gfn, (void)order;
	return ST_OK;
}

static void map_commit(struct stage2 *s2, gfn_t gfn, hfn_t hfn, unsigned order, unsigned prot, enum s2_memtype mt)
{
	(void)s2, (void)gfn, (void)hfn, (void)order, (void)prot, (void)mt;
}

static struct flush_ticket split_commit(struct stage2 *s2, gfn_t gfn, unsigned order)
{
	(void)s2, (void)gfn, (void)order;
	return (struct flush_ticket){0};
}

static struct flush_ticket unmap(struct stage2 *s2, gfn_t gfn, unsigned order)
{
	(void)s2, (void)gfn, (void)order;
	return (struct flush_ticket){++tickets};
}

static bool flush_done(struct stage2 *s2, struct flush_ticket ticket)
{
	(void)s2, (void)ticket;
	return true;
}

static const struct stage2_ops null_ops = {
	.map_prepare = prepare,
	.map_commit = map_commit,
	.split_prepare = prepare,
	.split_commit = split_commit,
	.unmap = unmap,
	.flush_done = flush_done,
};

static struct memmgr *mm;
static struct gpmap *map;
static struct stage2 s2;
static const struct stage2_ops *ops = &null_ops;

static void must(enum status st)
{
	if (st == ST_OK)
		return;
	fprintf(stderr, "host_managers: %s\n", status_name(st));
	exit(1);
}

static void setup_memory(uint64_t clear_4k, uint64_t clear_2m)
{
	struct mem_range range = {hfn(0), RAM_BYTES >> PAGE_SHIFT};
	struct memmgr_config cfg = {
		.ram = &range, .ram_count = 1, .clear_ahead_4k = clear_4k, .clear_ahead_2m = clear_2m};
	struct error err;

	cfg.direct_map = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (cfg.direct_map == MAP_FAILED)
		must(ST_NO_MEMORY);
	must(memmgr_init(&cfg, &mm, &err));
	while (memmgr_clear_step(mm, 4096) == ST_AGAIN)
		continue;
	must(gpmap_create(mm, 1, GUEST_PAGES, ops, &s2, &map));
	must(gpmap_add_ram(map, gfn(0), GUEST_PAGES));
}

static void touch(uint64_t at)
{
	must(gpmap_fault(map, gfn(at), S2_WRITE));
}

/* ---- the cases; each returns how many operations were measured ---- */

CASE case_touch_4k_pool(unsigned round)
{
	touch(round + 1);
}
static unsigned run_touch_4k_pool(void)
{
	setup_memory(2 * ROUNDS, 0);
	touch(0);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_touch_4k_pool(i);
	return ROUNDS;
}

/* ---- the same over EPT ---- */

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

static const struct ept_frames table_frames = {.alloc = table_alloc, .free = table_free, .va = table_va};

static void setup_ept(uint64_t clear_4k, uint64_t clear_2m)
{
	ops = &ept_ops;
	setup_memory(clear_4k, clear_2m);
	must(ept_init(&s2, &table_frames));
}

CASE case_touch_4k_pool_ept(unsigned round) { touch(round + 1); }
static unsigned run_touch_4k_pool_ept(void)
{
	setup_ept(2 * ROUNDS, 0);
	touch(0);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_touch_4k_pool_ept(i);
	return ROUNDS;
}

CASE case_touch_4k_inline_ept(unsigned round) { touch(round + 1); }
static unsigned run_touch_4k_inline_ept(void)
{
	setup_ept(0, 0);
	touch(0);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_touch_4k_inline_ept(i);
	return ROUNDS;
}

/* The first of a 2 MiB: a chunk and a table. */
CASE case_touch_4k_new_table_ept(unsigned round) { touch(512ull * (round + 1)); }
static unsigned run_touch_4k_new_table_ept(void)
{
	setup_ept(2 * ROUNDS, 0);
	touch(0);
	for (unsigned i = 0; i < 120; i++)
		case_touch_4k_new_table_ept(i);
	return 120;
}

CASE case_touch_2m_ept(unsigned round) { touch(512ull * (round + 1)); }
static unsigned run_touch_2m_ept(void)
{
	setup_ept(0, 128);
	touch(0);
	for (unsigned i = 0; i < 120; i++)
		case_touch_2m_ept(i);
	return 120;
}

/* ---- more of memmgr/ ---- */

CASE case_touch_4k_inline(unsigned round)
{
	touch(round + 1);
}
static unsigned run_touch_4k_inline(void)
{
	setup_memory(0, 0);
	touch(0);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_touch_4k_inline(i);
	return ROUNDS;
}

/* The first 4 KiB of a 2 MiB, with its chunk. */
CASE case_touch_4k_new_chunk(unsigned round)
{
	touch(512ull * (round % 128));
}
static unsigned run_touch_4k_new_chunk(void)
{
	setup_memory(2 * ROUNDS, 0);
	for (unsigned i = 0; i < 128; i++)
		case_touch_4k_new_chunk(i);
	return 128;
}

CASE case_touch_2m(unsigned round)
{
	touch(512ull * round);
}
static unsigned run_touch_2m(void)
{
	setup_memory(0, 128);
	for (unsigned i = 0; i < 128; i++)
		case_touch_2m(i);
	return 128;
}

static void *volatile seen;
CASE case_look_up_4k(unsigned round)
{
	seen = gpmap_va(map, gfn(round % 512));
}
static unsigned run_look_up_4k(void)
{
	setup_memory(0, 0);
	for (unsigned i = 0; i < 512; i++)
		touch(i);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_look_up_4k(i);
	return ROUNDS;
}

CASE case_remove_4k(unsigned round)
{
	must(gpmap_remove(map, gfn(round + 1)));
}
static unsigned run_remove_4k(void)
{
	setup_memory(0, 0);
	for (unsigned i = 0; i <= ROUNDS; i++)
		touch(i);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_remove_4k(i);
	return ROUNDS;
}

/* One page out of a 2 MiB leaf: the dearest single step but a 1 GiB split. */
CASE case_remove_split_2m(unsigned round)
{
	must(gpmap_remove(map, gfn(512ull * round)));
}
static unsigned run_remove_split_2m(void)
{
	setup_memory(256, 100);
	for (unsigned i = 0; i < 100; i++)
		touch(512ull * i);
	for (unsigned i = 0; i < 100; i++)
		case_remove_split_2m(i);
	return 100;
}

/* A full poll: 64 frames whose flush is done. */
CASE case_drain_64(unsigned round)
{
	(void)round;
	memmgr_drain_leaving(mm);
}
static unsigned run_drain_64(void)
{
	setup_memory(0, 0);
	for (unsigned i = 0; i < 512; i++)
		touch(i);
	for (unsigned i = 0; i < 448; i++)
		must(gpmap_remove(map, gfn(i)));
	for (unsigned i = 0; i < 7; i++)
		case_drain_64(i);
	return 7;
}

CASE case_alloc_and_free(unsigned round)
{
	hfn_t frame;

	must(memmgr_alloc(mm, round % 10, &frame));
	memmgr_free(mm, frame, round % 10);
}
static unsigned run_alloc_and_free(void)
{
	setup_memory(0, 0);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_alloc_and_free(i);
	return ROUNDS;
}

static struct sched *sched;
static struct sched_entity entities[1000];
static uint64_t now;

static void no_kick(void *ctx, unsigned cpu)
{
	(void)ctx;
	(void)cpu;
}

static void add(unsigned i)
{
	if (sched_add(sched, &entities[i], NULL, "vcpu", NULL, now, NULL) != ST_OK)
		abort();
}

static void setup_sched(unsigned count)
{
	const struct sched_config cfg = {.cpus = 1, .entities_max = 1000, .slice = 1000, .kick = no_kick};
	uint64_t end;

	sched = sched_init(aligned_alloc(64, sched_bytes(1, 1000)), &cfg);
	for (unsigned i = 0; i < count; i++) {
		add(i);
		sched_wake(sched, &entities[i], now);
	}
	sched_pick(sched, 0, now, &end);
}

static void take_turn(uint64_t ticks)
{
	uint64_t end;

	now += ticks;
	sched_charge(sched, 0, now, SCHED_END_READY);
	sched_pick(sched, 0, now, &end);
}

/* One change of turns among 1,000 entities: charge, then pick. */
CASE case_sched_turn(unsigned round)
{
	(void)round;
	take_turn(1000);
}
static unsigned run_sched_turn(void)
{
	setup_sched(1000);
	/* An entity's first turn is dearer than all others: it takes its place in the tree's accounts then. */
	for (unsigned i = 0; i < 2000; i++)
		take_turn(1000);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_sched_turn(i);
	return ROUNDS;
}

CASE case_sched_wake(unsigned round)
{
	sched_wake(sched, &entities[round + 1], now);
}
static unsigned run_sched_wake(void)
{
	setup_sched(1);
	for (unsigned i = 1; i < 1000; i++)
		add(i);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_sched_wake(i);
	return ROUNDS;
}

/* The only one there is blocks, the CPU finds nothing to do, it wakes a tick later: what a halted vcpu's timer costs. */
CASE case_sched_block_and_wake(unsigned round)
{
	uint64_t end;

	(void)round;
	sched_charge(sched, 0, now, SCHED_END_BLOCKED);
	sched_pick(sched, 0, now, &end);
	now += 10000;
	sched_wake(sched, &entities[0], now);
	sched_pick(sched, 0, now, &end);
}
static unsigned run_sched_block_and_wake(void)
{
	setup_sched(1);
	for (unsigned i = 0; i < ROUNDS; i++)
		case_sched_block_and_wake(i);
	return ROUNDS;
}

static const struct bench_case cases[] = {
	{"touch_4k_pool", run_touch_4k_pool},
	{"touch_4k_inline", run_touch_4k_inline},
	{"touch_4k_new_chunk", run_touch_4k_new_chunk},
	{"touch_2m", run_touch_2m},
	{"touch_4k_pool_ept", run_touch_4k_pool_ept},
	{"touch_4k_inline_ept", run_touch_4k_inline_ept},
	{"touch_4k_new_table_ept", run_touch_4k_new_table_ept},
	{"touch_2m_ept", run_touch_2m_ept},
	{"look_up_4k", run_look_up_4k},
	{"remove_4k", run_remove_4k},
	{"remove_split_2m", run_remove_split_2m},
	{"drain_64", run_drain_64},
	{"alloc_and_free", run_alloc_and_free},
	{"sched_turn", run_sched_turn},
	{"sched_wake", run_sched_wake},
	{"sched_block_and_wake", run_sched_block_and_wake},
};

int main(int argc, char **argv) { return bench_main(cases, ARRAY_SIZE(cases), argc, argv); }
