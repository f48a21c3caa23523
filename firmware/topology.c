/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each level of leaf 1Fh (or 0Bh) says by how many bits an APIC id is shifted to
 * name the next level: threads of a core differ below the shift of the SMT level,
 * CPUs of a package below that of the last level. Leaf 4 says how many ids may
 * share a cache, which rounded up to a power of two is a shift as well. Processors
 * without either leaf have packages of as many ids as leaf 1 says, and of as many
 * cores as leaf 4.
 * Source: SDM 3A:8.9.1 (hierarchical mapping), 8.9.2 to 8.9.4; 2A CPUID.
 */
#include "firmware/topology.h"

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/x86_regs.h"

#define LEVEL_TYPE(ecx) FIELD(ecx, 15, 8)
#define LEVEL_INVALID 0u
#define LEVEL_SMT 1u
#define LEVEL_SHIFT(eax) FIELD(eax, 4, 0)
#define CACHE_TYPE(eax) FIELD(eax, 4, 0)
#define CACHE_NONE 0u
#define CACHE_CODE 2u
#define CACHE_LEVEL(eax) FIELD(eax, 7, 5)
#define CACHE_SHARERS(eax) (FIELD(eax, 25, 14) + 1)
#define CACHE_PACKAGE_CORES(eax) (FIELD(eax, 31, 26) + 1)
#define LEAF1_IDS(ebx) FIELD(ebx, 23, 16)
#define LEAF1_ID(ebx) FIELD(ebx, 31, 24)

/* A level's subleaf says that it is one. */
static bool has_levels(const struct topology_source *s)
{
	return LEVEL_TYPE(s->level[0].ecx) != LEVEL_INVALID && s->level[0].ebx != 0;
}

uint32_t topology_apic_id(const struct topology_source *s)
{
	return has_levels(s) ? s->level[0].edx : (uint32_t)LEAF1_ID(s->leaf1_ebx);
}

/* Bits that tell @ids ids apart. */
static unsigned bits_for(uint64_t ids)
{
	return ids > 1 ? bit_highest(ids - 1) + 1 : 0;
}

static void find_shifts(const struct topology_source *s, unsigned *core, unsigned *package)
{
	unsigned cores = bits_for(CACHE_PACKAGE_CORES(s->cache[0].eax));

	*package = s->leaf1_edx & CPUID_1D_HTT ? bits_for(LEAF1_IDS(s->leaf1_ebx)) : 0;
	*core = *package - MIN(cores, *package);
	if (!has_levels(s))
		return;
	*core = *package = 0;
	for (unsigned i = 0; i < TOPOLOGY_LEVELS_MAX && LEVEL_TYPE(s->level[i].ecx) != LEVEL_INVALID; i++) {
		*package = (unsigned)LEVEL_SHIFT(s->level[i].eax);
		if (LEVEL_TYPE(s->level[i].ecx) == LEVEL_SMT)
			*core = *package;
	}
}

static uint32_t cache_kib(const struct topology_leaf *c)
{
	uint64_t ways = FIELD(c->ebx, 31, 22) + 1, partitions = FIELD(c->ebx, 21, 12) + 1, line = FIELD(c->ebx, 11, 0) + 1;

	return (uint32_t)(ways * partitions * line * ((uint64_t)c->ecx + 1) / 1024);
}

/* The highest level of cache that holds data; NULL when none is told. */
static const struct topology_leaf *last_cache(const struct topology_source *s)
{
	const struct topology_leaf *last = NULL;

	for (unsigned i = 0; i < TOPOLOGY_CACHES_MAX && CACHE_TYPE(s->cache[i].eax) != CACHE_NONE; i++) {
		const struct topology_leaf *c = &s->cache[i];

		if (CACHE_TYPE(c->eax) != CACHE_CODE && (!last || CACHE_LEVEL(c->eax) > CACHE_LEVEL(last->eax)))
			last = c;
	}
	return last;
}

void topology_place(const struct topology_source *s, struct cpu_place *out)
{
	const struct topology_leaf *cache = last_cache(s);
	uint32_t id = topology_apic_id(s);
	unsigned core, package, llc;

	find_shifts(s, &core, &package);
	/* Emulators copy leaf 4 from some chip, however many packages they make: no cache spans two. */
	llc = cache ? MIN(bits_for(CACHE_SHARERS(cache->eax)), package) : package;
	*out = (struct cpu_place){
		.apic_id = id,
		.core = id >> core,
		.llc = id >> llc,
		.package = id >> package,
		.llc_kib = cache ? cache_kib(cache) : 0,
	};
}

void topology_number(const struct cpu_place *place, unsigned count, uint16_t *core_of, uint16_t *llc_of)
{
	for (unsigned i = 0; i < count; i++) {
		core_of[i] = llc_of[i] = (uint16_t)i;
		for (unsigned j = i; j-- > 0;) {
			if (place[j].core == place[i].core)
				core_of[i] = (uint16_t)j;
			if (place[j].llc == place[i].llc)
				llc_of[i] = (uint16_t)j;
		}
	}
}

/* How many values the field at @offset takes. */
static unsigned distinct(const struct cpu_place *place, unsigned count, size_t offset)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		uint32_t mine = *(const uint32_t *)((const char *)&place[i] + offset);
		unsigned j = 0;

		while (*(const uint32_t *)((const char *)&place[j] + offset) != mine)
			j++;
		n += j == i;
	}
	return n;
}

static const char *s_of(unsigned n)
{
	return n == 1 ? "" : "s";
}

size_t topology_describe(const struct cpu_place *place, unsigned count, char *buf, size_t size)
{
	unsigned packages = distinct(place, count, offsetof(struct cpu_place, package));
	unsigned cores = distinct(place, count, offsetof(struct cpu_place, core));
	unsigned caches = distinct(place, count, offsetof(struct cpu_place, llc));

	return format(buf, size, "%u package%s, %u core%s, %u thread%s, %u last-level cache%s of %u KiB", packages,
		      s_of(packages), cores, s_of(cores), count, s_of(count), caches, s_of(caches),
		      count ? place[0].llc_kib : 0);
}

size_t topology_ids(const struct cpu_place *place, unsigned count, char *buf, size_t size)
{
	size_t used = 0;
	unsigned last;

	for (unsigned i = 0; i < count && used < size; i = last + 1) {
		last = i;
		while (last + 1 < count && place[last + 1].apic_id == place[last].apic_id + 1)
			last++;
		used += format(buf + used, size - used, "%s%u", i ? " " : "", place[i].apic_id);
		if (last > i && used < size)
			used += format(buf + used, size - used, "-%u", place[last].apic_id);
	}
	return MIN(used, size - 1);
}
