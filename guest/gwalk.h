/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's own page walk, for one address in the mode that engine->get_mode()
 * gave. Masked, on the CPU that has the vcpu loaded.
 */
#ifndef CORBEL_GUEST_GWALK_H
#define CORBEL_GUEST_GWALK_H

#include <stdbool.h>

#include "guest/vcpu.h"
#include "lib/addr.h"

/*
 * The entries of a walk through 4-level tables, for whoever wants to know later that they are still the same.
 * Addresses are valid while gpmap_generation() stands.
 */
#define WALK_LEVELS 4
struct walk_path {
	unsigned levels; /* 0: not a walk of this kind */
	const uint64_t *entry[WALK_LEVELS];
	uint64_t value[WALK_LEVELS];
};

/* Bits 63..47 of a 4-level linear address are equal. */
static inline bool gwalk_canonical(uint64_t linear)
{
	int64_t high = (int64_t)linear >> 47;

	return high == 0 || high == -1;
}

/*
 * Translates @linear for @access (one of S2_READ, S2_WRITE, S2_EXEC, or S2_READ | S2_WRITE). ST_BAD_ADDRESS: the
 * guest's page fault, error code in *pf_error. Sets no accessed or dirty bit. Protection keys are not looked at.
 * @path is filled on success; may be NULL.
 */
enum status gwalk_translate(struct vcpu *v, const struct cpu_mode *cpu, gva_t linear, unsigned access,
			    struct walk_path *path, gpa_t *out, uint32_t *pf_error);

/* Host address of the guest's memory at guest-physical @at, populated; NULL when there is no RAM. */
const uint8_t *gwalk_memory(struct vcpu *v, uint64_t at);

/* True when the entries of @path hold what they held; those it does not have name their own value. */
static inline bool gwalk_unchanged(const struct walk_path *path)
{
	/* The guest's processors may be writing there; an aligned load sees the old entry or the new one. */
	return *path->entry[0] == path->value[0] && *path->entry[1] == path->value[1] &&
	       *path->entry[2] == path->value[2] && *path->entry[3] == path->value[3];
}

_Static_assert(WALK_LEVELS == 4, "gwalk_unchanged() knows it");

#endif
