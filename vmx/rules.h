/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One rule of VM entry after the other, for dump.c: a checker carries the image
 * and the text, and expect() states a rule with its section of the SDM.
 */
#ifndef CORBEL_VMX_RULES_H
#define CORBEL_VMX_RULES_H

#include "vmx/dump.h"

struct checker {
	const struct vmcs_image *image;
	const struct vmx_caps *caps;
	unsigned phys_bits;
	struct text *text;
	unsigned broken;
};

static inline uint64_t value_at(const struct checker *c, enum vmcs_position at) { return c->image->value[at]; }
#define VALUE(c, name) value_at(c, VMCS_AT_##name)

/* When @holds is false: one line "SECTION FIELD = 0x...: RULE". */
static inline void expect(struct checker *c, bool holds, const char *section, enum vmcs_position at, const char *rule)
{
	if (holds)
		return;
	c->broken++;
	text_add(c->text, "%s %s = 0x%lx: %s\n", section, vmcs_name(at), value_at(c, at), rule);
}
#define EXPECT(c, holds, section, field, rule) expect(c, holds, section, VMCS_AT_##field, rule)

/* Shorthands of the rules below. */
static inline bool is_canonical(uint64_t v) { return (uint64_t)((int64_t)(v << 16) >> 16) == v; }
static inline bool in_width(const struct checker *c, uint64_t address) { return address >> c->phys_bits == 0; }
static inline bool is_page(const struct checker *c, uint64_t address)
{
	return is_aligned(address, 4096) && in_width(c, address);
}
static inline bool is_pat(uint64_t v)
{
	for (unsigned i = 0; i < 8; i++, v >>= 8)
		if ((v & 0xff) > 7 || (v & 0xff) == 2 || (v & 0xff) == 3)
			return false;
	return true;
}
static inline uint64_t proc2_of(const struct checker *c)
{
	return VALUE(c, PROCBASED_CTLS) & PROC_SECONDARY ? VALUE(c, PROCBASED_CTLS2) : 0;
}
static inline bool unrestricted(const struct checker *c) { return proc2_of(c) & PROC2_UNRESTRICTED_GUEST; }
static inline bool long_mode_guest(const struct checker *c) { return VALUE(c, ENTRY_CTLS) & ENTRY_CTL_GUEST_64; }
/* Valid entry interruption information of @type (INTR_*). */
static inline bool injects(const struct checker *c, uint32_t type)
{
	uint64_t info = VALUE(c, ENTRY_INTR_INFO);

	return (info & INTR_VALID) && (info & INTR_TYPE_MASK) == type;
}

/* rules_segment.c: 26.3.1.2, part of dump_check_guest(). */
void check_segments(struct checker *c);

#endif
