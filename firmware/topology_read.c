/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one part of the topology that touches the processor.
 */
#include <string.h>

#include "firmware/topology.h"
#include "lib/x86_asm.h"

static struct topology_leaf read_leaf(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r = cpuid(leaf, subleaf);

	return (struct topology_leaf){r.eax, r.ebx, r.ecx, r.edx};
}

void topology_read(struct topology_source *out)
{
	uint32_t max = cpuid(CPUID_VENDOR, 0).eax;
	struct cpuid_regs one = cpuid(CPUID_FEATURES, 0);
	uint32_t levels = max >= CPUID_TOPOLOGY_V2 && cpuid(CPUID_TOPOLOGY_V2, 0).ebx ? CPUID_TOPOLOGY_V2 : CPUID_TOPOLOGY;

	memset(out, 0, sizeof(*out));
	out->leaf1_ebx = one.ebx;
	out->leaf1_edx = one.edx;
	for (uint32_t i = 0; i < TOPOLOGY_LEVELS_MAX && max >= levels; i++)
		out->level[i] = read_leaf(levels, i);
	for (uint32_t i = 0; i < TOPOLOGY_CACHES_MAX && max >= CPUID_CACHE; i++)
		out->cache[i] = read_leaf(CPUID_CACHE, i);
}
