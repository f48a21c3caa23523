/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision, channel by channel. Sources: Intel's guidance on L1TF (deep dive
 * "L1 Terminal Fault"), MDS and TAA ("Microarchitectural Data Sampling"), MMIO
 * stale data, RFDS, branch target injection and post-barrier RSB; the bits are
 * described in SDM volume 4, IA32_ARCH_CAPABILITIES. A processor that does not
 * enumerate the MSR is taken to be vulnerable to all of them.
 */
#include "vmx/mitigations.h"

#include "lib/format.h"
#include "lib/x86_regs.h"

/*
 * L1TF reads through not-present guest page tables whatever lies in L1D. The flush
 * also empties the buffers that VERW clears.
 */
static void decide_l1tf(const struct cpu_facts *f, struct mitigations *m)
{
	bool vulnerable = !(f->arch_capabilities & (ARCH_CAP_RDCL_NO | ARCH_CAP_SKIP_L1DFL_VMENTRY));
	bool can = f->leaf7_edx & CPUID_7D_L1D_FLUSH;

	m->l1d_flush = vulnerable && can;
	m->open_l1tf = vulnerable && !can;
}

static bool buffers_leak(const struct cpu_facts *f)
{
	const uint64_t mmio_no = ARCH_CAP_SBDR_SSDP_NO | ARCH_CAP_FBSDP_NO | ARCH_CAP_PSDP_NO;
	uint64_t caps = f->arch_capabilities;

	if (!(caps & ARCH_CAP_MDS_NO))
		return true;
	if ((f->leaf7_ebx & CPUID_7B_RTM) && !(caps & ARCH_CAP_TAA_NO))
		return true;
	/* FB_CLEAR: VERW was taught to clear fill buffers, because this processor needs it. */
	if ((caps & ARCH_CAP_FB_CLEAR) && (caps & mmio_no) != mmio_no)
		return true;
	return (caps & ARCH_CAP_RFDS_CLEAR) && !(caps & ARCH_CAP_RFDS_NO);
}

static void decide_buffers(const struct cpu_facts *f, struct mitigations *m)
{
	bool can = (f->leaf7_edx & CPUID_7D_MD_CLEAR) ||
		   (f->arch_capabilities & (ARCH_CAP_FB_CLEAR | ARCH_CAP_RFDS_CLEAR));

	if (!buffers_leak(f) || m->l1d_flush)
		return;
	m->verw = can;
	m->open_buffers = !can;
}

/*
 * Enhanced IBRS stays on for good and needs one barrier for the return stack;
 * plain IBRS must be written at each exit. Without either, indirect branches of
 * the host follow what a guest trained.
 */
static void decide_branches(const struct cpu_facts *f, struct mitigations *m)
{
	bool enhanced = f->arch_capabilities & ARCH_CAP_IBRS_ALL;

	m->spec_ctrl = f->spec_ctrl;
	m->open_v2 = !f->spec_ctrl;
	m->rsb = RSB_FULL;
	if (enhanced)
		m->rsb = f->arch_capabilities & ARCH_CAP_PBRSB_NO ? RSB_NONE : RSB_LITE;
	m->ibpb = f->pred_cmd;
	if (!f->spec_ctrl)
		return;
	m->host_spec_ctrl = SPEC_CTRL_IBRS;
	if (f->leaf72_edx & CPUID_7_2D_BHI_CTRL)
		m->host_spec_ctrl |= SPEC_CTRL_BHI_DIS_S;
	m->switch_spec_ctrl = !enhanced;
}

struct mitigations mitigations_decide(const struct cpu_facts *facts, bool on)
{
	struct mitigations m = {.off = !on};

	if (!on)
		return m;
	decide_l1tf(facts, &m);
	decide_buffers(facts, &m);
	decide_branches(facts, &m);
	m.clear_registers = true;
	/* Large executable guest pages on a processor that machine-checks on a page-size change. */
	m.open_itlb = !(facts->arch_capabilities & ARCH_CAP_IF_PSCHANGE_MC_NO);
	return m;
}

void spec_ctrl_written(struct spec_ctrl *s, uint32_t value)
{
	s->value = value;
	if (!spec_ctrl_is_passed(s))
		s->writes++;
}

/*
 * With enhanced IBRS the host's bits may stay on under the guest's, which saves two MSR writes for a guest that sets
 * none; but who reads the MSR itself must find what it has written.
 */
uint32_t spec_ctrl_in_guest(const struct mitigations *m, const struct spec_ctrl *s)
{
	return m->switch_spec_ctrl || spec_ctrl_is_passed(s) ? s->value : s->value | m->host_spec_ctrl;
}

/* What a guest asks for itself is honoured with mitigations=off too. */
bool spec_ctrl_is_switched(const struct mitigations *m, const struct spec_ctrl *s)
{
	return m->switch_spec_ctrl || spec_ctrl_is_passed(s) || spec_ctrl_in_guest(m, s) != m->host_spec_ctrl;
}

struct item {
	bool on;
	const char *name;
};

static size_t add_items(const struct item *items, unsigned count, const char *lead, char *buf, size_t size, size_t used)
{
	for (unsigned i = 0; i < count; i++) {
		if (!items[i].on || used >= size)
			continue;
		used += format(buf + used, size - used, "%s%s", lead, items[i].name);
		lead = ", ";
	}
	return used;
}

size_t mitigations_describe(const struct mitigations *m, char *buf, size_t size)
{
	const struct item done[] = {
		{m->l1d_flush, "L1D flush before entry"},
		{m->verw, "VERW before entry"},
		{m->host_spec_ctrl && m->switch_spec_ctrl, "IBRS at exit"},
		{m->host_spec_ctrl && !m->switch_spec_ctrl, "IBRS always on"},
		{m->rsb == RSB_FULL, "RSB fill at exit"},
		{m->rsb == RSB_LITE, "RSB barrier at exit"},
		{m->ibpb, "IBPB between VMs"},
		{m->clear_registers, "registers cleared at exit"},
	};
	const struct item open[] = {
		{m->open_l1tf, "L1TF"},
		{m->open_buffers, "MDS"},
		{m->open_v2, "Spectre v2"},
		{m->open_itlb, "iTLB multihit"},
	};
	size_t used;

	if (m->off)
		return format(buf, size, "mitigations: off");
	used = format(buf, size, "mitigations: auto");
	used = add_items(done, ARRAY_SIZE(done), ": ", buf, size, used);
	return add_items(open, ARRAY_SIZE(open), "; not covered: ", buf, size, used);
}
