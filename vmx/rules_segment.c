/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SDM volume 3, section 26.3.1.2: what VM entry demands of the guest's segment
 * registers. Outside virtual-8086 mode the rules are per register; in it all six
 * have one fixed form.
 */
#include "lib/x86_regs.h"
#include "vmx/rules.h"

#define SECTION "26.3.1.2"
#define V86_ACCESS 0xf3u

struct segment_at {
	enum vmcs_position selector, base, limit, access;
};
#define SEGMENT_AT(name) {VMCS_AT_GUEST_##name##_SELECTOR, VMCS_AT_GUEST_##name##_BASE, VMCS_AT_GUEST_##name##_LIMIT, \
			  VMCS_AT_GUEST_##name##_ACCESS}

static const struct segment_at cs = SEGMENT_AT(CS), ss = SEGMENT_AT(SS), tr = SEGMENT_AT(TR), ldtr = SEGMENT_AT(LDTR);
static const struct segment_at data[] = {SEGMENT_AT(DS), SEGMENT_AT(ES), SEGMENT_AT(FS), SEGMENT_AT(GS)};

static uint64_t access_of(const struct checker *c, const struct segment_at *s) { return value_at(c, s->access); }
static bool usable(const struct checker *c, const struct segment_at *s) { return !(access_of(c, s) & ACCESS_UNUSABLE); }
static uint64_t type_of(const struct checker *c, const struct segment_at *s)
{
	return access_of(c, s) & ACCESS_TYPE_MASK;
}
static uint64_t dpl_of(const struct checker *c, const struct segment_at *s) { return FIELD(access_of(c, s), 6, 5); }
static uint64_t rpl_of(const struct checker *c, const struct segment_at *s)
{
	return value_at(c, s->selector) & SEL_RPL_MASK;
}

/* Present, no reserved bit, granularity that fits the limit. */
static void check_common(struct checker *c, const struct segment_at *s)
{
	uint64_t access = access_of(c, s), limit = value_at(c, s->limit);
	bool g = access & ACCESS_G;

	expect(c, access & ACCESS_P, SECTION, s->access, "P must be 1");
	expect(c, !(access & ACCESS_RESERVED), SECTION, s->access, "a reserved bit is 1");
	expect(c, !g || (limit & 0xfff) == 0xfff, SECTION, s->access,
	       "G must be 0: bits 11:0 of the limit are not all 1");
	expect(c, g || (limit & MASK(31, 20)) == 0, SECTION, s->access, "G must be 1: the limit is above 1 MiB");
}

static void check_code_type(struct checker *c)
{
	uint64_t type = type_of(c, &cs), dpl = dpl_of(c, &cs);
	bool code = type == 9 || type == 11 || type == 13 || type == 15;

	expect(c, code || (unrestricted(c) && type == 3), SECTION, cs.access,
	       "type must be accessed code, or 3 with unrestricted guest");
	expect(c, type != 3 || dpl == 0, SECTION, cs.access, "DPL must be 0 for type 3");
	expect(c, (type != 9 && type != 11) || dpl == dpl_of(c, &ss), SECTION, cs.access,
	       "DPL of a non-conforming code segment must equal that of SS");
	expect(c, (type != 13 && type != 15) || dpl <= dpl_of(c, &ss), SECTION, cs.access,
	       "DPL of a conforming code segment must not be above that of SS");
}

static void check_code(struct checker *c)
{
	uint64_t access = access_of(c, &cs);

	expect(c, value_at(c, cs.base) <= UINT32_MAX, SECTION, cs.base, "bits 63:32 must be 0");
	check_code_type(c);
	expect(c, access & ACCESS_S, SECTION, cs.access, "S must be 1");
	expect(c, !long_mode_guest(c) || !(access & ACCESS_L) || !(access & ACCESS_DB), SECTION, cs.access,
	       "D/B must be 0 in 64-bit mode");
	check_common(c, &cs);
}

static void check_stack(struct checker *c)
{
	uint64_t type = type_of(c, &ss);
	bool real = !(VALUE(c, GUEST_CR0) & CR0_PE);

	expect(c, unrestricted(c) || rpl_of(c, &ss) == rpl_of(c, &cs), SECTION, ss.selector,
	       "RPL must equal that of CS");
	expect(c, unrestricted(c) || dpl_of(c, &ss) == rpl_of(c, &ss), SECTION, ss.access, "DPL must equal RPL");
	expect(c, !(real || type_of(c, &cs) == 3) || dpl_of(c, &ss) == 0, SECTION, ss.access,
	       "DPL must be 0 in real mode");
	if (!usable(c, &ss))
		return;
	expect(c, value_at(c, ss.base) <= UINT32_MAX, SECTION, ss.base, "bits 63:32 must be 0");
	expect(c, type == 3 || type == 7, SECTION, ss.access, "type must be 3 or 7");
	expect(c, access_of(c, &ss) & ACCESS_S, SECTION, ss.access, "S must be 1");
	check_common(c, &ss);
}

static void check_data(struct checker *c, const struct segment_at *s)
{
	uint64_t type = type_of(c, s);

	if (!usable(c, s))
		return;
	expect(c, type & SEG_TYPE_ACCESSED, SECTION, s->access, "the segment must be marked accessed");
	expect(c, !(type & SEG_TYPE_CODE) || (type & SEG_TYPE_RW), SECTION, s->access,
	       "a code segment must be readable");
	expect(c, access_of(c, s) & ACCESS_S, SECTION, s->access, "S must be 1");
	expect(c, unrestricted(c) || type > 11 || dpl_of(c, s) >= rpl_of(c, s), SECTION, s->access,
	       "DPL must not be below RPL");
	check_common(c, s);
}

static void check_data_bases(struct checker *c)
{
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		bool wide = i >= 2; /* FS and GS have 64-bit bases */
		uint64_t base = value_at(c, data[i].base);

		if (wide)
			expect(c, is_canonical(base), SECTION, data[i].base, "not canonical");
		else if (usable(c, &data[i]))
			expect(c, base <= UINT32_MAX, SECTION, data[i].base, "bits 63:32 must be 0");
	}
}

static void check_task(struct checker *c)
{
	uint64_t type = type_of(c, &tr);

	expect(c, !(value_at(c, tr.selector) & SEL_TI), SECTION, tr.selector, "TI must be 0");
	expect(c, is_canonical(value_at(c, tr.base)), SECTION, tr.base, "not canonical");
	expect(c, type == SEG_TYPE_TSS_BUSY || (type == SEG_TYPE_TSS16_BUSY && !long_mode_guest(c)), SECTION, tr.access,
	       "type must be a busy TSS (a 32- or 64-bit one in long mode)");
	expect(c, !(access_of(c, &tr) & ACCESS_S), SECTION, tr.access, "S must be 0");
	expect(c, usable(c, &tr), SECTION, tr.access, "TR must be usable");
	check_common(c, &tr);
}

static void check_local(struct checker *c)
{
	if (!usable(c, &ldtr))
		return;
	expect(c, !(value_at(c, ldtr.selector) & SEL_TI), SECTION, ldtr.selector, "TI must be 0");
	expect(c, is_canonical(value_at(c, ldtr.base)), SECTION, ldtr.base, "not canonical");
	expect(c, type_of(c, &ldtr) == SEG_TYPE_LDT, SECTION, ldtr.access, "type must be 2 (LDT)");
	expect(c, !(access_of(c, &ldtr) & ACCESS_S), SECTION, ldtr.access, "S must be 0");
	check_common(c, &ldtr);
}

static void check_v86(struct checker *c, const struct segment_at *s)
{
	expect(c, value_at(c, s->base) == value_at(c, s->selector) << 4, SECTION, s->base,
	       "in virtual-8086 mode the base must be the selector shifted left by 4");
	expect(c, value_at(c, s->limit) == 0xffff, SECTION, s->limit, "in virtual-8086 mode the limit must be 0xffff");
	expect(c, access_of(c, s) == V86_ACCESS, SECTION, s->access,
	       "in virtual-8086 mode the access rights must be 0xf3");
}

void check_segments(struct checker *c)
{
	bool v86 = VALUE(c, GUEST_RFLAGS) & RFLAGS_VM;

	if (v86) {
		check_v86(c, &cs);
		check_v86(c, &ss);
	} else {
		check_code(c);
		check_stack(c);
		check_data_bases(c);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		if (v86)
			check_v86(c, &data[i]);
		else
			check_data(c, &data[i]);
	}
	check_task(c);
	check_local(c);
}
