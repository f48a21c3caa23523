/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See the header. The image is the tail of the fuzzer's own buffer, so that a
 * read past its end is seen.
 */
#include "tests/fakes/boot_fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"

static const uint64_t sizes[] = {
	1 * BOOT_RIG_MIB,  2 * BOOT_RIG_MIB,   4 * BOOT_RIG_MIB,    16 * BOOT_RIG_MIB,
	64 * BOOT_RIG_MIB, 128 * BOOT_RIG_MIB, 3072 * BOOT_RIG_MIB, 5120 * BOOT_RIG_MIB,
};

static volatile uint8_t sink;

/* Reads every byte that would be copied: ASan judges the pointers. */
static void read_pieces(const struct boot_plan *plan)
{
	uint8_t sum = 0;

	for (unsigned i = 0; i < plan->count; i++) {
		const uint8_t *p = plan->regions[i].data;

		for (uint64_t k = 0; k < plan->regions[i].data_size; k++)
			sum = (uint8_t)(sum + p[k]);
	}
	sink = sum;
}

static void choose_vm(struct boot_rig *rig, enum boot_protocol protocol, const uint8_t *prefix)
{
	static uint8_t extra[3 * 65536];

	boot_rig_init(rig, protocol, sizes[prefix[0] % ARRAY_SIZE(sizes)]);
	rig->cfg.acpi = prefix[3] & 1;
	memset(rig->cfg.boot.cmdline, 'a', (size_t)prefix[2] * 7);
	if (protocol == BOOT_MULTIBOOT) {
		for (unsigned i = 0; i < prefix[1] % (VM_MODULES_MAX + 1u); i++)
			boot_rig_module(rig, extra, prefix[1] * 700u, "m");
	} else if (prefix[1]) {
		boot_rig_initrd(rig, extra, prefix[1] * 700u);
	}
}

int boot_fuzz_one(enum boot_protocol protocol, const uint8_t *data, size_t size)
{
	static struct boot_rig rig;
	const char *violation;

	if (size < BOOT_FUZZ_PREFIX)
		return 0;
	choose_vm(&rig, protocol, data);
	boot_rig_image(&rig, data + BOOT_FUZZ_PREFIX, size - BOOT_FUZZ_PREFIX);
	if (boot_rig_plan(&rig) != ST_OK) {
		if (rig.err.text[0] == '\0')
			abort(); /* every refusal has its sentence */
		return 0;
	}
	violation = boot_rig_violation(&rig);
	if (violation) {
		fprintf(stderr, "%s\n", violation);
		abort();
	}
	read_pieces(&rig.plan);
	return 0;
}
