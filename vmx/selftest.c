/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The self-test's host side: builds a VM of 64 KiB by hand, runs one guest of
 * selftest_guest.S after the other, and answers their exits in the simplest way.
 */
#include "vmx/selftest.h"

#include "lib/log.h"
#include "lib/x86_asm.h"
#include "vmx/internal.h"
#include "vmx/vmx_asm.h"

#define DEADLINE_TICKS 2000000ull
#define EXITS_MAX 200u
#define MARK_EBX 0x12345678u
#define VCPUS 2u
#define BLOCK_ORDER 4u /* SELFTEST_BYTES in frames */
#define HANDLER_GATE (BIT(47) | (uint64_t)SEG_TYPE_INT_GATE << 40)

#define DECLARE(name) extern const uint8_t selftest_##name[], selftest_##name##_end[]
DECLARE(real);
DECLARE(registers);
DECLARE(cost);
DECLARE(touch);
DECLARE(remap);
DECLARE(spin);
DECLARE(interrupt);
DECLARE(self_ipi);
DECLARE(step);
DECLARE(undefined);
DECLARE(switch);
DECLARE(nmi);
DECLARE(refused);
DECLARE(handlers);
extern const uint8_t selftest_handler_db[], selftest_handler_ud[], selftest_handler_vector[], selftest_handler_nmi[];

static struct rig {
	struct memmgr *mm;
	void (*irq)(uint8_t vector);
	struct vm vm;
	struct vcpu vcpus[VCPUS];
	hfn_t block, hole[8], apic[VCPUS];
	uint8_t *ram;
	unsigned holes;
	unsigned exits, timers, faults;
	uint32_t result;
	bool ended;
} rig;

static const struct engine *engine;

struct test {
	const char *name;
	const uint8_t *code, *end;
	bool real_mode;
	unsigned vcpus;
	/* The kind-specific answer; true when it dealt with the exit. May be NULL. */
	bool (*answer)(struct vcpu *vcpu);
	/* What must hold afterwards, besides result 0; may be NULL (then the result is 0). */
	bool (*passed)(void);
};

/* ---- the guest's memory and state ---- */

static void map(gfn_t g, hfn_t frame)
{
	ASSERT(engine->stage2->map_prepare(rig.vm.stage2, g, ORDER_4K) == ST_OK);
	engine->stage2->map_commit(rig.vm.stage2, g, frame, ORDER_4K, S2_RWX, S2_WB);
}

static hfn_t take_frame(void)
{
	hfn_t frame;

	if (memmgr_alloc_zero(rig.mm, ORDER_4K, &frame) != ST_OK)
		panic("self-test: no memory");
	return frame;
}

/* Labels of the assembler are objects of their own to the compiler: the distance goes by integers. */
static uint64_t distance(const uint8_t *from, const uint8_t *to)
{
	return (uintptr_t)to - (uintptr_t)from;
}

static void gate(unsigned vector, const uint8_t *handler)
{
	uint64_t address = SELFTEST_HANDLERS + distance(selftest_handlers, handler);

	put_le64(rig.ram + SELFTEST_IDT + 16 * vector,
		 (address & 0xffff) | 8ull << 16 | HANDLER_GATE | FIELD(address, 31, 16) << 48);
	put_le64(rig.ram + SELFTEST_IDT + 16 * vector + 8, 0);
}

static void fill_ram(const struct test *t)
{
	memset(rig.ram, 0, SELFTEST_BYTES);
	put_le64(rig.ram + SELFTEST_PML4, SELFTEST_PDPT | PTE_P | PTE_W);
	put_le64(rig.ram + SELFTEST_PDPT, PTE_P | PTE_W | PTE_PS);
	put_le64(rig.ram + SELFTEST_GDT + 8, 0x00af9b000000ffffull);
	put_le64(rig.ram + SELFTEST_GDT + 16, 0x00cf93000000ffffull);
	memcpy(rig.ram + SELFTEST_CODE, t->code, distance(t->code, t->end));
	memcpy(rig.ram + SELFTEST_HANDLERS, selftest_handlers, distance(selftest_handlers, selftest_handlers_end));
	gate(VEC_DB, selftest_handler_db);
	gate(VEC_NMI, selftest_handler_nmi);
	gate(VEC_UD, selftest_handler_ud);
	gate(SELFTEST_VECTOR, selftest_handler_vector);
}

static void set_long_mode(struct vcpu *v)
{
	const struct segment code = {.limit = UINT32_MAX, .selector = 8, .access = 0xa09b};
	const struct segment data = {.limit = UINT32_MAX, .selector = 16, .access = 0xc093};
	const struct segment gdt = {.base = SELFTEST_GDT, .limit = 23}, idt = {.base = SELFTEST_IDT, .limit = 0xfff};

	engine->set_reg(v, REG_CR4, CR4_PAE | CR4_OSFXSR);
	engine->set_reg(v, REG_CR3, SELFTEST_PML4);
	ASSERT(engine->set_msr(v, MSR_IA32_EFER, EFER_LME) == ST_OK);
	engine->set_reg(v, REG_CR0, CR0_PE | CR0_PG | CR0_ET | CR0_NE);
	engine->set_segment(v, SEG_CS, &code);
	for (enum segment_reg s = SEG_ES; s <= SEG_GS; s++)
		if (s != SEG_CS)
			engine->set_segment(v, s, &data);
	engine->set_segment(v, SEG_GDTR, &gdt);
	engine->set_segment(v, SEG_IDTR, &idt);
	engine->set_reg(v, REG_RSP, SELFTEST_STACK + 0x1000 * v->id);
}

static void set_real_mode(struct vcpu *v)
{
	const struct segment code = {.limit = 0xffff, .access = 0x9b};

	engine->set_segment(v, SEG_CS, &code);
}

static void build_vm(const struct test *t)
{
	if (engine->vm_create(&rig.vm) != ST_OK)
		panic("self-test: no memory for the VM");
	for (unsigned i = 0; i < SELFTEST_BYTES / PAGE_SIZE; i++)
		map(gfn(i), hfn(rig.block.v + i));
	for (unsigned i = 0; i < t->vcpus; i++) {
		struct vcpu *v = &rig.vcpus[i];

		memset(v, 0, sizeof *v);
		v->vm = &rig.vm;
		v->id = i;
		v->lapic.page = memmgr_va(rig.mm, rig.apic[i]);
		memset(v->lapic.page, 0, PAGE_SIZE);
		if (engine->vcpu_create(v) != ST_OK)
			panic("self-test: no memory for a vcpu");
		engine->load(v);
		if (t->real_mode)
			set_real_mode(v);
		else
			set_long_mode(v);
		engine->set_reg(v, REG_RIP, SELFTEST_CODE);
		v->gpr[GPR_RDI] = i + 1;
	}
}

static void drop_vm(const struct test *t)
{
	for (unsigned i = 0; i < t->vcpus; i++)
		engine->vcpu_destroy(&rig.vcpus[i]);
	engine->vm_destroy(&rig.vm);
	while (rig.holes)
		memmgr_free(rig.mm, rig.hole[--rig.holes], ORDER_4K);
}

/* ---- answers ---- */

static void answer_fault(struct vcpu *v)
{
	rig.faults++;
	if (rig.holes == ARRAY_SIZE(rig.hole))
		panic("self-test: stray access to 0x%lx", v->exit.u.fault.gpa.v);
	rig.hole[rig.holes] = take_frame();
	map(gpa_to_gfn(v->exit.u.fault.gpa), rig.hole[rig.holes++]);
}

/* False for an exit that no test expects. */
static bool answer_common(struct vcpu *v)
{
	switch (v->exit.kind) {
	case EXIT_CPUID:
		v->gpr[GPR_RAX] = v->gpr[GPR_RCX] = v->gpr[GPR_RDX] = 0;
		v->gpr[GPR_RBX] = MARK_EBX;
		engine->advance(v);
		return true;
	case EXIT_IO:
		rig.ended = v->exit.u.io.port == SELFTEST_PORT && !v->exit.u.io.in && v->exit.u.io.size == 4;
		rig.result = (uint32_t)v->gpr[GPR_RAX];
		return rig.ended;
	case EXIT_FAULT:
		answer_fault(v);
		return true;
	case EXIT_IRQ:
		rig.irq(v->exit.u.irq.vector);
		rig.exits--; /* the host's affair: tests count the guest's */
		return true;
	case EXIT_TIMER:
		rig.timers++;
		return true;
	case EXIT_EXCEPTION: {
		struct event e = {EVENT_EXCEPTION, v->exit.u.exception.vector, v->exit.u.exception.has_error,
				  v->exit.u.exception.error};

		engine->inject(v, &e);
		return true;
	}
	default:
		return false;
	}
}

/* The bound of each entry is 10,000 ticks; the third time the guest is let out of its loop. */
static bool answer_spin(struct vcpu *v)
{
	if (v->exit.kind != EXIT_TIMER)
		return false;
	if (++rig.timers == 3)
		engine->set_reg(v, REG_RIP, v->exit.rip + 2);
	return true;
}

static bool answer_remap(struct vcpu *v)
{
	gfn_t g = gpa_to_gfn(gpa(SELFTEST_HOLE));
	struct flush_ticket ticket;

	if (v->exit.kind != EXIT_HYPERCALL)
		return false;
	ticket = engine->stage2->unmap(rig.vm.stage2, g, ORDER_4K);
	ASSERT(ticket.generation != 0);
	rig.hole[rig.holes] = take_frame();
	put_le64(memmgr_va(rig.mm, rig.hole[rig.holes]), 0x1234567890ull);
	map(g, rig.hole[rig.holes++]);
	engine->advance(v);
	return true;
}

static const struct event interrupt = {.type = EVENT_INTERRUPT, .vector = SELFTEST_VECTOR};

/* The guest has interrupts off: ask for the window, inject there. */
static bool answer_interrupt(struct vcpu *v)
{
	if (v->exit.kind == EXIT_HYPERCALL) {
		ASSERT(!engine->can_inject(v, EVENT_INTERRUPT));
		engine->want_window(v, EVENT_INTERRUPT, true);
		engine->advance(v);
		return true;
	}
	if (v->exit.kind != EXIT_IRQ_WINDOW)
		return false;
	ASSERT(engine->can_inject(v, EVENT_INTERRUPT));
	engine->want_window(v, EVENT_INTERRUPT, false);
	engine->inject(v, &interrupt);
	ASSERT(!engine->can_inject(v, EVENT_INTERRUPT));
	return true;
}

/* The same by the virtual-APIC page. */
static bool answer_virtual(struct vcpu *v)
{
	const uint64_t none[4] = {0};

	if (v->exit.kind == EXIT_IRQ_WINDOW) {
		engine->want_window(v, EVENT_INTERRUPT, false);
		return true;
	}
	if (v->exit.kind != EXIT_HYPERCALL)
		return false;
	put_le32(v->lapic.page + APIC_REG_IRR + APIC_REG_STEP * (SELFTEST_VECTOR / 32), 1u << SELFTEST_VECTOR % 32);
	engine->set_apic_mode(v, VLAPIC_X2APIC);
	engine->sync_apic(v, SELFTEST_VECTOR, -1, none);
	v->gpr[GPR_RSI] = 1;
	engine->advance(v);
	return true;
}

static bool answer_undefined(struct vcpu *v)
{
	const struct event ud = {.type = EVENT_EXCEPTION, .vector = VEC_UD};

	if (v->exit.kind != EXIT_UNDEFINED)
		return false;
	engine->inject(v, &ud);
	return true;
}

/* Each VMCALL posts an NMI: at once when possible, else in the window. */
static bool answer_nmi(struct vcpu *v)
{
	const struct event nmi = {.type = EVENT_NMI, .vector = VEC_NMI};
	bool possible;

	if (v->exit.kind != EXIT_HYPERCALL && v->exit.kind != EXIT_NMI_WINDOW)
		return false;
	if (v->exit.kind == EXIT_HYPERCALL)
		engine->advance(v);
	possible = engine->can_inject(v, EVENT_NMI);
	if (possible)
		engine->inject(v, &nmi);
	engine->want_window(v, EVENT_NMI, !possible);
	return true;
}

/* The report must name the section and the field of the SDM's rule. */
static bool explained(struct vcpu *v, const char *line)
{
	static char text[4096];
	size_t len = strlen(line);

	if (v->exit.kind != EXIT_ENTRY_FAILED)
		return false;
	engine->describe(v, text, sizeof text);
	for (const char *at = text; *at; at++)
		if (memcmp(at, line, MIN(len, strlen(at) + 1)) == 0)
			rig.ended = true;
	return rig.ended;
}

static bool answer_bad_guest(struct vcpu *v) { return explained(v, "26.3.1.2 GUEST_CS_ACCESS"); }
static bool answer_bad_host(struct vcpu *v) { return explained(v, "26.2.3 HOST_DS_SELECTOR"); }

static bool answer_switch(struct vcpu *v)
{
	if (v->exit.kind != EXIT_HYPERCALL)
		return false;
	engine->advance(v);
	return true;
}

/* ---- the list ---- */

static bool passed_cost(void)
{
	log_info("self-test: a CPUID round trip takes %u ticks", rig.result);
	return rig.result > 0 && rig.result < 1000000;
}
static bool passed_touch(void) { return rig.result == 0 && rig.faults == 8; }
static bool passed_spin(void) { return rig.result == 0 && rig.timers == 3; }
/* The last exit is the report itself. */
static bool passed_self_ipi(void) { return rig.result == 0 && rig.exits == 1; }

#define CODE(name) selftest_##name, selftest_##name##_end
static const struct test tests[] = {
	{"real mode", CODE(real), true, 1, NULL, NULL},
	{"registers", CODE(registers), false, 1, NULL, NULL},
	{"cost", CODE(cost), false, 1, NULL, passed_cost},
	{"first touch", CODE(touch), false, 1, NULL, passed_touch},
	{"exchange of a frame", CODE(remap), false, 1, answer_remap, NULL},
	{"bound of an entry", CODE(spin), false, 1, answer_spin, passed_spin},
	{"interrupt window", CODE(interrupt), false, 1, answer_interrupt, NULL},
	{"virtual interrupt", CODE(interrupt), false, 1, answer_virtual, NULL},
	{"self-IPI", CODE(self_ipi), false, 1, NULL, passed_self_ipi},
	{"single step", CODE(step), false, 1, NULL, NULL},
	{"undefined instruction", CODE(undefined), false, 1, answer_undefined, NULL},
	{"NMI and its window", CODE(nmi), false, 1, answer_nmi, NULL},
	{"explained guest state", CODE(refused), false, 1, answer_bad_guest, NULL},
	{"explained host state", CODE(refused), false, 1, answer_bad_host, NULL},
	{"two vcpus", CODE(switch), false, 2, answer_switch, NULL},
};

static bool needs_virtual_interrupts(const struct test *t)
{
	return t->answer == answer_virtual || t->passed == passed_self_ipi;
}

static bool breaks_a_rule(const struct test *t)
{
	return t->answer == answer_bad_guest || t->answer == answer_bad_host;
}

/* A field that VM entry refuses, behind the engine's back. */
static void break_rule(const struct test *t)
{
	if (t->answer == answer_bad_guest)
		vmwrite(VMCS_GUEST_CS_ACCESS, 0xa08b);
	if (t->answer == answer_bad_host)
		vmwrite(VMCS_HOST_DS_SELECTOR, 3);
}

/* Why a test is left out on this processor and build; NULL when it is not. */
static const char *left_out(const struct test *t)
{
	if (needs_virtual_interrupts(t) && !engine->caps.virtual_interrupts)
		return "the processor has no virtual interrupts";
	return breaks_a_rule(t) && CHECKING ? "a debug build stops before such an entry" : NULL;
}

static enum disposition leave_at_once(struct vcpu *v)
{
	(void)v;
	return YIELD;
}

/* One exit of @v; false when nothing expected it. */
static bool step(const struct test *t, struct vcpu *v)
{
	engine->load(v);
	v->deadline = rdtsc() + (t->answer == answer_spin ? 10000 : DEADLINE_TICKS);
	engine->run(v, leave_at_once);
	rig.exits++;
	return (t->answer && t->answer(v)) || answer_common(v);
}

static void report_exit(struct vcpu *v)
{
	static char text[2048];

	log_error("self-test: exit kind %d at 0x%lx, raw 0x%x", (int)v->exit.kind, v->exit.rip, v->exit.u.raw.raw);
	engine->describe(v, text, sizeof text);
	for (char *line = text, *end; *line; line = end + 1) {
		for (end = line; *end && *end != '\n'; end++)
			;
		log_error("  %.*s", (int)(end - line), line);
		if (!*end)
			break;
	}
}

static bool run_test(const struct test *t)
{
	bool ok = true;

	rig.exits = rig.timers = rig.faults = rig.result = 0;
	fill_ram(t);
	build_vm(t);
	if (t->passed == passed_self_ipi) {
		engine->set_apic_mode(&rig.vcpus[0], VLAPIC_X2APIC);
		rig.vcpus[0].gpr[GPR_RSI] = 1;
	}
	break_rule(t);
	for (unsigned ended = 0, turn = 0; ok && ended < t->vcpus; turn++) {
		struct vcpu *v = &rig.vcpus[turn % t->vcpus];

		rig.ended = false;
		ok = rig.exits < EXITS_MAX && step(t, v);
		ended += rig.ended;
		if (!ok)
			report_exit(v);
		if (rig.ended && !t->passed)
			ok = ok && rig.result == 0;
	}
	ok = ok && (!t->passed || t->passed());
	drop_vm(t);
	return ok;
}

static void prepare_rig(struct memmgr *mm, void (*irq)(uint8_t vector))
{
	engine = vmx_engine();
	rig.mm = mm;
	rig.irq = irq;
	if (memmgr_alloc(mm, BLOCK_ORDER, &rig.block) != ST_OK)
		panic("self-test: no memory");
	rig.ram = memmgr_va(mm, rig.block);
	for (unsigned i = 0; i < VCPUS; i++)
		rig.apic[i] = take_frame();
}

static void release_rig(void)
{
	for (unsigned i = 0; i < VCPUS; i++)
		memmgr_free(rig.mm, rig.apic[i], ORDER_4K);
	memmgr_free(rig.mm, rig.block, BLOCK_ORDER);
}

bool vmx_selftest(struct memmgr *mm, void (*irq)(uint8_t vector))
{
	unsigned passed = 0, skipped = 0, failed = 0;

	prepare_rig(mm, irq);
	for (unsigned i = 0; i < ARRAY_SIZE(tests); i++) {
		const char *why = left_out(&tests[i]);
		bool ok = why || run_test(&tests[i]);

		if (why) {
			skipped++;
			log_info("self-test: %s: skipped, %s", tests[i].name, why);
			continue;
		}
		passed += ok;
		failed += !ok;
		log_info("self-test: %s: %s (result %u, %u exits)", tests[i].name, ok ? "passed" : "FAILED", rig.result,
			 rig.exits);
	}
	release_rig();
	log_info("self-test of vmx: %u passed, %u failed, %u skipped", passed, failed, skipped);
	return failed == 0;
}
