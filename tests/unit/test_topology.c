/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places from CPUID leaves as real processors give them: with threads, without, of
 * leaf 1Fh with dies, of before leaf 0Bh, lopsided and contradictory ones.
 */
#include "tests/cmocka_all.h"

#include "firmware/topology.h"
#include "lib/bits.h"
#include "lib/x86_regs.h"

#define SMT 1u
#define CORE 2u
#define DIE 5u
#define DATA_CACHE 1u
#define CODE_CACHE 2u
#define UNIFIED 3u

/* One level: ids are shifted by @shift to leave it. */
static struct topology_leaf level(unsigned number, unsigned type, unsigned shift, uint32_t id)
{
	return (struct topology_leaf){.eax = shift, .ebx = 1u << shift, .ecx = type << 8 | number, .edx = id};
}

/* A cache of @kib, 16 ways, lines of 64 bytes, shared by up to @ids ids. */
static struct topology_leaf cache(unsigned type, unsigned number, unsigned ids, unsigned kib, unsigned cores)
{
	return (struct topology_leaf){
		.eax = type | number << 5 | (ids - 1) << 14 | (cores - 1) << 26,
		.ebx = 15u << 22 | 63,
		.ecx = kib - 1,
	};
}

/* As a client processor with two threads a core: id = core * 2 + thread, 4 cores, one L3. */
static struct topology_source client(uint32_t id)
{
	return (struct topology_source){
		.leaf1_ebx = id << 24 | 16u << 16,
		.leaf1_edx = CPUID_1D_HTT,
		.level = {level(0, SMT, 1, id), level(1, CORE, 4, id)},
		.cache = {cache(DATA_CACHE, 1, 2, 48, 8), cache(CODE_CACHE, 1, 2, 32, 8), cache(UNIFIED, 2, 2, 512, 8),
			  cache(UNIFIED, 3, 16, 8192, 8)},
	};
}

static void threads_of_a_core(void **state)
{
	struct topology_source a = client(4), b = client(5), c = client(6), d = client(20);
	struct cpu_place p[4];

	(void)state;
	topology_place(&a, &p[0]);
	topology_place(&b, &p[1]);
	topology_place(&c, &p[2]);
	topology_place(&d, &p[3]);
	assert_int_equal(p[0].apic_id, 4);
	assert_int_equal(p[0].core, p[1].core);
	assert_int_not_equal(p[1].core, p[2].core);
	assert_int_equal(p[0].llc, p[2].llc);
	assert_int_equal(p[0].package, p[2].package);
	assert_int_not_equal(p[0].package, p[3].package);
	assert_int_not_equal(p[0].llc, p[3].llc);
	assert_int_equal(p[0].llc_kib, 8192);
}

/* Leaf 1Fh: dies between cores and package; the cache is a die's. */
static void dies(void **state)
{
	struct cpu_place p[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		uint32_t id = 0x1000u + i * 32; /* an x2APIC id: leaf 1 has its low 8 bits */
		struct topology_source s = {
			.leaf1_ebx = (id & 0xff) << 24 | 64u << 16,
			.leaf1_edx = CPUID_1D_HTT,
			.level = {level(0, SMT, 1, id), level(1, CORE, 5, id), level(2, DIE, 7, id)},
			.cache = {cache(UNIFIED, 3, 32, 32768, 16)},
		};

		topology_place(&s, &p[i]);
	}
	assert_int_equal(p[0].apic_id, 0x1000);
	assert_int_equal(p[0].package, p[1].package);
	assert_int_not_equal(p[0].llc, p[1].llc);
	assert_int_equal(p[1].core, 0x1020 >> 1);
}

/* Before leaf 0Bh: leaf 1 has the ids of a package, leaf 4 its cores. */
static void legacy(void **state)
{
	struct topology_source s = {.leaf1_ebx = 5u << 24 | 4u << 16, .leaf1_edx = CPUID_1D_HTT};
	struct cpu_place p;

	(void)state;
	s.cache[0] = cache(DATA_CACHE, 1, 1, 32, 2);
	s.cache[1] = cache(UNIFIED, 2, 2, 4096, 2);
	topology_place(&s, &p);
	assert_int_equal(p.apic_id, 5);
	assert_int_equal(p.core, 5 >> 1);    /* two threads a core */
	assert_int_equal(p.package, 5 >> 2); /* four ids a package */
	assert_int_equal(p.llc, 5 >> 1);
	s.leaf1_edx = 0;
	topology_place(&s, &p);
	assert_int_equal(p.core, 5);
	assert_int_equal(p.package, 5);
	assert_int_equal(p.llc, 5);
}

static void nothing_told(void **state)
{
	struct topology_source s = {.leaf1_ebx = 7u << 24};
	struct cpu_place p;

	(void)state;
	topology_place(&s, &p);
	assert_int_equal(p.apic_id, 7);
	assert_int_equal(p.core, 7);
	assert_int_equal(p.llc, 7);
	assert_int_equal(p.llc_kib, 0);
}

/* A cache that claims more sharers than the package has; levels without end. */
static void contradictions(void **state)
{
	struct topology_source s = client(6);
	struct cpu_place p;

	(void)state;
	s.level[0] = level(0, SMT, 0, 6);
	s.level[1] = level(1, CORE, 0, 6);
	topology_place(&s, &p);
	assert_int_equal(p.core, 6);
	assert_int_equal(p.llc, 6);
	for (unsigned i = 0; i < TOPOLOGY_LEVELS_MAX; i++)
		s.level[i] = level(i, CORE, 31, UINT32_MAX);
	for (unsigned i = 0; i < TOPOLOGY_CACHES_MAX; i++)
		s.cache[i] = cache(UNIFIED, 7, 4096, 1, 64);
	topology_place(&s, &p);
	assert_int_equal(p.package, 1);
	assert_int_equal(p.llc, UINT32_MAX >> 12);
}

static void numbers(void **state)
{
	/* ids 0 1 2 3 of one package, 16 17 of another; two threads a core */
	static const uint32_t ids[] = {0, 16, 1, 2, 17, 3};
	static const uint16_t cores[] = {0, 1, 0, 3, 1, 3}, caches[] = {0, 1, 0, 0, 1, 0};
	struct cpu_place place[ARRAY_SIZE(ids)];
	uint16_t core_of[ARRAY_SIZE(ids)], llc_of[ARRAY_SIZE(ids)];
	char text[120];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		struct topology_source s = client(ids[i]);

		topology_place(&s, &place[i]);
	}
	topology_number(place, ARRAY_SIZE(ids), core_of, llc_of);
	assert_memory_equal(core_of, cores, sizeof(cores));
	assert_memory_equal(llc_of, caches, sizeof(caches));
	topology_describe(place, ARRAY_SIZE(ids), text, sizeof(text));
	assert_string_equal(text, "2 packages, 3 cores, 6 threads, 2 last-level caches of 8192 KiB");
	assert_int_equal(topology_ids(place, ARRAY_SIZE(ids), text, sizeof(text)), strlen("0 16 1-2 17 3"));
	assert_string_equal(text, "0 16 1-2 17 3");
	assert_int_equal(topology_ids(place, ARRAY_SIZE(ids), text, 8), 7);
	assert_string_equal(text, "0 16 1-");
	topology_describe(place, 1, text, sizeof(text));
	assert_string_equal(text, "1 package, 1 core, 1 thread, 1 last-level cache of 8192 KiB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_of_a_core), cmocka_unit_test(dies),           cmocka_unit_test(legacy),
		cmocka_unit_test(nothing_told),      cmocka_unit_test(contradictions), cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
