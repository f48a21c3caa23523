/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control words from capability MSRs (SDM volume 3, appendix A): one table says
 * which bits we want, which of them we need, and their names.
 */
#include "vmx/ctrl.h"

#include "lib/format.h"
#include "lib/x86_regs.h"
#include "vmx/vmcs.h"

enum word { PIN, PROC, PROC2, EXIT, ENTRY, WORDS };
enum need { REQUIRED, OPTIONAL };

struct rule {
	enum word word;
	uint32_t bits;
	enum need need;
	const char *name;
};

static const struct rule rules[] = {
	{PIN, PIN_EXTERNAL_INTERRUPT, REQUIRED, "external-interrupt exiting"},
	{PIN, PIN_NMI, REQUIRED, "NMI exiting"},
	{PIN, PIN_VIRTUAL_NMIS, REQUIRED, "virtual NMIs"},
	{PIN, PIN_PREEMPTION_TIMER, OPTIONAL, "preemption timer"},
	{PROC, PROC_SECONDARY, REQUIRED, "secondary controls"},
	{PROC, PROC_TSC_OFFSETTING, REQUIRED, "TSC offsetting"},
	{PROC, PROC_HLT, REQUIRED, "HLT exiting"},
	{PROC, PROC_MWAIT, REQUIRED, "MWAIT exiting"},
	{PROC, PROC_MONITOR, REQUIRED, "MONITOR exiting"},
	{PROC, PROC_RDPMC, REQUIRED, "RDPMC exiting"},
	{PROC, PROC_TPR_SHADOW, REQUIRED, "TPR shadow"},
	{PROC, PROC_IO_BITMAPS, REQUIRED, "I/O bitmaps"},
	{PROC, PROC_MSR_BITMAPS, REQUIRED, "MSR bitmaps"},
	{PROC2, PROC2_EPT, REQUIRED, "EPT"},
	{PROC2, PROC2_UNRESTRICTED_GUEST, REQUIRED, "unrestricted guest"},
	{PROC2, PROC2_VPID, REQUIRED, "VPID"},
	{PROC2, PROC2_WBINVD, REQUIRED, "WBINVD exiting"},
	{PROC2, PROC2_RDTSCP, OPTIONAL, "RDTSCP"},
	{PROC2, PROC2_INVPCID, OPTIONAL, "INVPCID"},
	{PROC2, PROC2_XSAVES, OPTIONAL, "XSAVES"},
	{PROC2, PROC2_ENCLS, OPTIONAL, "ENCLS exiting"},
	{PROC2, PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS, OPTIONAL, "virtual interrupts"},
	{EXIT, EXIT_CTL_SAVE_DEBUG, REQUIRED, "saving of debug controls"},
	{EXIT, EXIT_CTL_HOST_64, REQUIRED, "64-bit host"},
	{EXIT, EXIT_CTL_ACK_INTERRUPT, REQUIRED, "interrupt acknowledge on exit"},
	{EXIT, EXIT_CTL_LOAD_PAT, REQUIRED, "PAT loading on exit"},
	{EXIT, EXIT_CTL_SAVE_EFER | EXIT_CTL_LOAD_EFER, REQUIRED, "EFER switching on exit"},
	{ENTRY, ENTRY_CTL_LOAD_DEBUG, REQUIRED, "loading of debug controls"},
	{ENTRY, ENTRY_CTL_LOAD_PAT, REQUIRED, "PAT loading on entry"},
	{ENTRY, ENTRY_CTL_LOAD_EFER, REQUIRED, "EFER loading on entry"},
};

/* Bits that are 0 at first and set while running: they must be allowed to be 1. */
static const struct rule allowed[] = {
	{PROC, PROC_INTERRUPT_WINDOW, REQUIRED, "interrupt-window exiting"},
	{PROC, PROC_NMI_WINDOW, REQUIRED, "NMI-window exiting"},
	{ENTRY, ENTRY_CTL_GUEST_64, REQUIRED, "64-bit guests"},
};

struct cap_rule {
	uint64_t bits;
	const char *name;
};

static const struct cap_rule ept_rules[] = {
	{EPT_CAP_WALK_4, "4-level EPT"},
	{EPT_CAP_UC | EPT_CAP_WB, "EPT memory types UC and WB"},
	{EPT_CAP_2M, "2 MiB EPT pages"},
	{EPT_CAP_INVEPT | EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVEPT_ALL, "INVEPT"},
	{VPID_CAP_INVVPID | VPID_CAP_SINGLE | VPID_CAP_ALL, "INVVPID"},
};

/* Collects names into one sentence; what does not fit is counted. */
struct missing {
	char text[160];
	size_t used;
	unsigned count, left_out;
};

static void miss(struct missing *m, const char *name)
{
	char item[48];
	size_t len = format(item, sizeof item, "%s%s", m->count ? ", " : "", name);

	m->count++;
	if (m->left_out || m->used + len >= sizeof m->text) {
		m->left_out++;
		return;
	}
	memcpy(m->text + m->used, item, len + 1);
	m->used += len;
}

static uint64_t capability(const struct vmx_caps *caps, enum word word)
{
	const uint64_t values[WORDS] = {
		[PIN] = caps->pin,   [PROC] = caps->proc,   [PROC2] = caps->proc2,
		[EXIT] = caps->exit, [ENTRY] = caps->entry,
	};

	return values[word];
}

static bool may_be_set(const struct vmx_caps *caps, const struct rule *r)
{
	return (capability(caps, r->word) >> 32 & r->bits) == r->bits;
}

/* The names of all that is needed and not there. */
static void find_missing(const struct vmx_caps *caps, struct missing *m)
{
	if (!(caps->basic & VMX_BASIC_TRUE_CONTROLS))
		miss(m, "true VMX controls");
	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].need == REQUIRED && !may_be_set(caps, &rules[i]))
			miss(m, rules[i].name);
	for (unsigned i = 0; i < ARRAY_SIZE(allowed); i++)
		if (!may_be_set(caps, &allowed[i]))
			miss(m, allowed[i].name);
	for (unsigned i = 0; i < ARRAY_SIZE(ept_rules); i++)
		if ((caps->ept_vpid & ept_rules[i].bits) != ept_rules[i].bits)
			miss(m, ept_rules[i].name);
	if (!(caps->misc & VMX_MISC_STORES_LMA))
		miss(m, "storing of EFER.LMA on exit");
}

static enum status check_usable(const struct vmx_caps *caps, struct error *err)
{
	uint64_t fc = caps->feature_control;
	struct missing m = {.text = ""};

	if (!caps->vmx)
		return fail(err, ST_UNSUPPORTED, "this processor has no VT-x (VMX), EPT or unrestricted guest");
	if ((fc & FEATURE_CONTROL_LOCK) && !(fc & FEATURE_CONTROL_VMX_OUTSIDE_SMX))
		return fail(err, ST_UNSUPPORTED, "VT-x is switched off and locked by the platform's firmware "
			    "(IA32_FEATURE_CONTROL is 0x%lx)", fc);
	find_missing(caps, &m);
	if (m.left_out)
		return fail(err, ST_UNSUPPORTED, "this processor's VT-x lacks %s and %u more", m.text, m.left_out);
	if (m.count)
		return fail(err, ST_UNSUPPORTED, "this processor's VT-x lacks %s", m.text);
	return ST_OK;
}

/* The optional bits that @opt leaves out. */
static bool unwanted(const struct rule *r, const struct vmx_options *opt)
{
	if (!opt)
		return false;
	if (r->word == PROC2 && (r->bits & PROC2_VIRTUAL_INTERRUPTS))
		return opt->no_virtual_interrupts;
	return r->word == PIN && (r->bits & PIN_PREEMPTION_TIMER) && opt->no_preemption_timer;
}

static void note_features(const struct vmx_caps *caps, const struct vmx_options *opt, struct vmx_controls *c)
{
	uint32_t may2 = (uint32_t)(caps->proc2 >> 32);

	c->x2apic = may2 & PROC2_X2APIC;
	/* Register virtualisation alone is of no use to us: the pair comes or goes together, with x2APIC mode. */
	c->virtual_interrupts = (c->proc2 & PROC2_VIRTUAL_INTERRUPTS) && c->x2apic;
	if (!c->virtual_interrupts)
		c->proc2 &= ~(uint32_t)(PROC2_VIRTUAL_INTERRUPTS | PROC2_APIC_REGISTERS);
	c->preemption_timer = c->pin & PIN_PREEMPTION_TIMER;
	c->timer_shift = VMX_MISC_TIMER_SHIFT(caps->misc);
	c->rdtscp = c->proc2 & PROC2_RDTSCP;
	c->invpcid = c->proc2 & PROC2_INVPCID;
	c->xsaves = c->proc2 & PROC2_XSAVES;
	c->encls = c->proc2 & PROC2_ENCLS;
	c->pause_loop = (may2 & PROC2_PAUSE_LOOP) && !(opt && opt->no_pause_loop);
	c->ept_1g = caps->ept_vpid & EPT_CAP_1G;
	c->ept_accessed_dirty = caps->ept_vpid & EPT_CAP_ACCESSED_DIRTY;
	c->ept_exec_only = caps->ept_vpid & EPT_CAP_EXEC_ONLY;
	c->invvpid_retain_globals = caps->ept_vpid & VPID_CAP_SINGLE_RETAIN_GLOBALS;
}

enum status ctrl_compute(const struct vmx_caps *caps, const struct vmx_options *opt, struct vmx_controls *out,
			 struct error *err)
{
	uint32_t want[WORDS] = {0};
	enum status st = check_usable(caps, err);

	if (st != ST_OK)
		return st;
	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++)
		if (may_be_set(caps, &rules[i]) && !unwanted(&rules[i], opt))
			want[rules[i].word] |= rules[i].bits;
	*out = (struct vmx_controls){
		.pin = ctrl_word(caps->pin, want[PIN]),
		.proc = ctrl_word(caps->proc, want[PROC]),
		.proc2 = ctrl_word(caps->proc2, want[PROC2]),
		.exit = ctrl_word(caps->exit, want[EXIT]),
		.entry = ctrl_word(caps->entry, want[ENTRY]),
	};
	note_features(caps, opt, out);
	return ST_OK;
}

size_t ctrl_describe(const struct vmx_controls *c, char *buf, size_t size)
{
	const struct {
		bool on;
		const char *name;
	} list[] = {
		{c->virtual_interrupts, "virtual interrupts"},
		{c->preemption_timer, "preemption timer"},
		{c->x2apic, "x2APIC"},
		{c->ept_1g, "1 GiB pages"},
		{c->ept_accessed_dirty, "accessed and dirty bits"},
		{c->rdtscp, "RDTSCP"},
		{c->invpcid, "INVPCID"},
		{c->xsaves, "XSAVES"},
		{c->pause_loop, "pause-loop exiting"},
	};
	size_t used = 0;

	if (size)
		buf[0] = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
		if (list[i].on && used < size)
			used += format(buf + used, size - used, "%s%s", used ? ", " : "", list[i].name);
	return used;
}
