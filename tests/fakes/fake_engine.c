/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The script player. A guest of this engine executes nothing: its steps say
 * what it did. What is exact is the order of things at an entry: a staged event
 * is delivered first, then an open window ends the entry, then the script goes on.
 */
#include "tests/fakes/fake_engine.h"

#include <stdlib.h>
#include <string.h>

#include "guest/vm.h"
#include "lib/assert.h"
#include "lib/format.h"
#include "lib/x86_regs.h"
#include "tests/fakes/fake_stage2.h"
#include "tests/fakes/hand_clock.h"

#define GFN_LIMIT_MAX (1ull << 28)
#define RESET_CS_BASE 0xffff0000ull
#define RESET_RIP 0xfff0

static _Thread_local struct vcpu *loaded; /* threads stand for CPUs */
static unsigned live, fail_create;
static const uint32_t *default_msrs;
static unsigned default_msr_count;

static bool creation_fails(void) { return fail_create && --fail_create == 0; }

void fake_fail_create(unsigned nth) { fail_create = nth; }
unsigned fake_live(void) { return live; }

void fake_default_msrs(const uint32_t *indexes, unsigned count)
{
	default_msrs = indexes;
	default_msr_count = count;
}

static void log_call(struct vcpu *v, enum fake_call call, int64_t a, int64_t b)
{
	struct fake_vcpu *f = fake(v);

	f->counts[call]++;
	f->log[f->logged++ % FAKE_LOG] = (struct fake_record){call, a, b};
}

int fake_last(struct vcpu *v, enum fake_call call)
{
	struct fake_vcpu *f = fake(v);

	for (unsigned i = f->logged; i > 0 && i + FAKE_LOG > f->logged; i--) {
		if (f->log[(i - 1) % FAKE_LOG].call == call)
			return (int)((i - 1) % FAKE_LOG);
	}
	return -1;
}

/* ---- creation ---- */

static uint64_t overhead_bytes(uint64_t pages, unsigned vcpus)
{
	return (pages / 512 + 4 + vcpus * 4) * PAGE_SIZE;
}

static enum status create_vm(struct vm *vm)
{
	if (creation_fails())
		return ST_NO_MEMORY;
	vm->hw = malloc(1);
	vm->stage2 = fake_stage2_create(GFN_LIMIT_MAX);
	live++;
	return ST_OK;
}

static void destroy_vm(struct vm *vm)
{
	ASSERT(!vm->memory);
	fake_stage2_destroy(vm->stage2);
	free(vm->hw);
	live--;
}

static void reset_registers(struct fake_vcpu *f)
{
	uint64_t kept = f->regs[REG_CR0] & (CR0_CD | CR0_NW), xcr0 = f->regs[REG_XCR0];

	memset(f->regs, 0, sizeof f->regs);
	memset(f->segments, 0, sizeof f->segments);
	f->regs[REG_RIP] = RESET_RIP;
	f->regs[REG_RFLAGS] = RFLAGS_FIXED1;
	f->regs[REG_CR0] = CR0_ET | kept;
	f->regs[REG_XCR0] = xcr0;
	f->segments[SEG_CS] = (struct segment){.base = RESET_CS_BASE, .limit = 0xffff, .selector = 0xf000, .access = 0x9b};
}

static void init(struct vcpu *v)
{
	struct fake_vcpu *f = fake(v);

	ASSERT(f->loaded);
	reset_registers(f);
	f->staged = f->shadow = f->nmi_blocked = f->want_irq = f->want_nmi = false;
	log_call(v, CALL_INIT, 0, 0);
}

static enum status vcpu_create(struct vcpu *v)
{
	struct fake_vcpu *f;

	if (creation_fails())
		return ST_NO_MEMORY;
	f = calloc(1, sizeof *f);
	v->hw = f;
	f->regs[REG_CR0] = CR0_CD | CR0_NW;
	f->regs[REG_XCR0] = XCR0_X87;
	reset_registers(f);
	for (unsigned i = 0; i < default_msr_count; i++)
		fake_add_msr(v, default_msrs[i], 0);
	live++;
	return ST_OK;
}

static void put(struct vcpu *v)
{
	fake(v)->loaded = false;
	if (loaded == v)
		loaded = NULL;
}

static void vcpu_destroy(struct vcpu *v)
{
	ASSERT(!fake(v)->loaded);
	free(v->hw);
	v->hw = NULL;
	live--;
}

static void load(struct vcpu *v)
{
	if (loaded)
		fake(loaded)->loaded = false;
	loaded = v;
	fake(v)->loaded = true;
}

/* ---- running ---- */

void fake_play(struct vcpu *v, const struct fake_step *script, unsigned steps)
{
	struct fake_vcpu *f = fake(v);

	f->script = script;
	f->steps = steps;
	f->next = 0;
}

static bool can_inject(struct vcpu *v, enum event_type type)
{
	const struct fake_vcpu *f = fake(v);

	ASSERT(f->loaded);
	if (f->staged || f->shadow)
		return false;
	return type == EVENT_NMI ? !f->nmi_blocked : (f->regs[REG_RFLAGS] & RFLAGS_IF) != 0;
}

static void leave(struct vcpu *v, enum exit_kind kind)
{
	v->exit = (struct exit){.kind = kind, .rip = fake(v)->regs[REG_RIP]};
}

static void deliver_staged(struct fake_vcpu *f)
{
	if (!f->staged)
		return;
	f->staged = false;
	if (f->event.type == EVENT_INTERRUPT)
		f->regs[REG_RFLAGS] &= ~RFLAGS_IF;
	if (f->event.type == EVENT_NMI)
		f->nmi_blocked = true;
}

/* A window that is open before the first instruction ends the entry there. */
static bool window_opens(struct vcpu *v)
{
	struct fake_vcpu *f = fake(v);

	if (f->want_nmi && can_inject(v, EVENT_NMI)) {
		leave(v, EXIT_NMI_WINDOW);
		return true;
	}
	if (f->want_irq && can_inject(v, EVENT_INTERRUPT)) {
		leave(v, EXIT_IRQ_WINDOW);
		return true;
	}
	return false;
}

static uint64_t now(const struct vcpu *v) { return v->host->clock->ticks(); }

/* One entry: until a window, the deadline or the script's next exit. */
static void enter(struct vcpu *v, uint64_t deadline)
{
	struct fake_vcpu *f = fake(v);
	const struct fake_step *step = f->next < f->steps ? &f->script[f->next] : NULL;

	ASSERT(f->loaded);
	v->entered = now(v);
	log_call(v, CALL_ENTER, (int64_t)deadline, 0);
	deliver_staged(f);
	f->shadow = false;
	if (window_opens(v))
		return;
	if (!step || (deadline > now(v) && step->ticks > deadline - now(v))) {
		ASSERT(deadline != UINT64_MAX); /* nothing would ever end this entry */
		if (deadline > now(v))
			hand_clock_set(deadline);
		leave(v, EXIT_TIMER);
		return;
	}
	hand_clock_advance(step->ticks);
	if (step->setup)
		step->setup(v);
	v->exit = step->exit;
	v->exit.rip = f->regs[REG_RIP];
	f->next++;
}

static enum disposition run(struct vcpu *v, enum disposition (*exited)(struct vcpu *v))
{
	enum disposition d;

	do {
		enter(v, v->deadline);
		d = exited(v);
	} while (d == RESUME && !v->requests);
	return d;
}

static enum disposition advance(struct vcpu *v)
{
	struct fake_vcpu *f = fake(v);

	ASSERT(f->loaded);
	f->advances++;
	f->shadow = false;
	f->regs[REG_RIP] += v->exit.length;
	return RESUME;
}

static void inject(struct vcpu *v, const struct event *event)
{
	struct fake_vcpu *f = fake(v);

	ASSERT(f->loaded);
	if (event->type != EVENT_EXCEPTION)
		ASSERT(can_inject(v, event->type));
	f->staged = true;
	f->event = *event;
	log_call(v, CALL_INJECT, event->vector, event->type);
}

static void inject_interrupt(struct vcpu *v, uint8_t vector)
{
	inject(v, &(struct event){.type = EVENT_INTERRUPT, .vector = vector});
}

static void want_window(struct vcpu *v, enum event_type type, bool on)
{
	struct fake_vcpu *f = fake(v);

	ASSERT(f->loaded);
	if (type == EVENT_NMI)
		f->want_nmi = on;
	else
		f->want_irq = on;
	log_call(v, CALL_WINDOW, type, on);
}

static bool offer_interrupt(struct vcpu *v)
{
	ASSERT(!fake_engine.caps.virtual_interrupts);
	if (can_inject(v, EVENT_INTERRUPT))
		return true;
	want_window(v, EVENT_INTERRUPT, true);
	return false;
}

static void sync_apic(struct vcpu *v, int rvi, int svi, const uint64_t eoi_exits[4])
{
	ASSERT(fake(v)->loaded && eoi_exits);
	log_call(v, CALL_SYNC_APIC, rvi, svi);
}

static void post_interrupt(struct vcpu *v, uint8_t vector)
{
	ASSERT(fake(v)->loaded && fake_engine.caps.virtual_interrupts);
	ASSERT(vlapic_highest_irr(&v->lapic) >= vector);
	log_call(v, CALL_POST_INTERRUPT, vector, 0);
}

static bool interrupt_due(struct vcpu *v)
{
	int vector = vlapic_highest_irr(&v->lapic);

	ASSERT(fake(v)->loaded && fake_engine.caps.virtual_interrupts);
	return vector >= 0 && vector >> 4 > vlapic_ppr(&v->lapic) >> 4;
}

static void set_apic_mode(struct vcpu *v, unsigned mode)
{
	ASSERT(fake(v)->loaded);
	log_call(v, CALL_APIC_MODE, mode, 0);
}

static void set_tsc_offset(struct vcpu *v, uint64_t offset)
{
	ASSERT(fake(v)->loaded);
	log_call(v, CALL_TSC_OFFSET, (int64_t)offset, 0);
}

static void kick(struct vcpu *v) { log_call(v, CALL_KICK, 0, 0); }

/* ---- state ---- */

static uint64_t get_reg(struct vcpu *v, enum engine_reg reg)
{
	ASSERT(fake(v)->loaded);
	return fake(v)->regs[reg];
}

static void set_reg(struct vcpu *v, enum engine_reg reg, uint64_t value)
{
	struct fake_vcpu *f = fake(v);

	ASSERT(f->loaded);
	f->regs[reg] = value;
	if ((f->regs[REG_EFER] & EFER_LME) && (f->regs[REG_CR0] & CR0_PG))
		f->regs[REG_EFER] |= EFER_LMA;
	else
		f->regs[REG_EFER] &= ~EFER_LMA;
}

static void get_segment(struct vcpu *v, enum segment_reg seg, struct segment *out)
{
	ASSERT(fake(v)->loaded);
	*out = fake(v)->segments[seg];
}

static void set_segment(struct vcpu *v, enum segment_reg seg, const struct segment *in)
{
	ASSERT(fake(v)->loaded);
	fake(v)->segments[seg] = *in;
}

void fake_add_msr(struct vcpu *v, uint32_t index, uint64_t value)
{
	struct fake_vcpu *f = fake(v);

	ASSERT(f->msr_count < FAKE_MSRS);
	f->msrs[f->msr_count].index = index;
	f->msrs[f->msr_count++].value = value;
}

static void get_mode(struct vcpu *v, struct cpu_mode *out)
{
	const struct fake_vcpu *f = fake(v);

	ASSERT(f->loaded);
	*out = (struct cpu_mode){
		.cr0 = f->regs[REG_CR0],
		.cr3 = f->regs[REG_CR3],
		.cr4 = f->regs[REG_CR4],
		.efer = f->regs[REG_EFER],
		.rflags = f->regs[REG_RFLAGS],
		.cs_base = f->segments[SEG_CS].base,
		.cs_access = f->segments[SEG_CS].access,
		.ss_access = f->segments[SEG_SS].access,
	};
}

static void get_code(struct vcpu *v, struct code_mode *out)
{
	const struct fake_vcpu *f = fake(v);

	ASSERT(f->loaded);
	*out = (struct code_mode){f->regs[REG_CR3], f->regs[REG_EFER], f->segments[SEG_CS].access};
}

static uint64_t *find_msr(struct vcpu *v, uint32_t index)
{
	struct fake_vcpu *f = fake(v);

	for (unsigned i = 0; i < f->msr_count; i++) {
		if (f->msrs[i].index == index)
			return &f->msrs[i].value;
	}
	return NULL;
}

static enum status get_msr(struct vcpu *v, uint32_t index, uint64_t *out)
{
	const uint64_t *at = find_msr(v, index);

	ASSERT(fake(v)->loaded);
	if (!at)
		return ST_NOT_FOUND;
	*out = *at;
	return ST_OK;
}

static enum status set_msr(struct vcpu *v, uint32_t index, uint64_t value)
{
	uint64_t *at = find_msr(v, index);

	ASSERT(fake(v)->loaded);
	if (!at)
		return ST_NOT_FOUND;
	*at = value;
	return ST_OK;
}

static size_t describe(struct vcpu *v, char *buf, size_t size)
{
	return format(buf, size, "fake engine: %u of %u steps played\n", fake(v)->next, fake(v)->steps);
}

struct engine fake_engine = {
	.name = "fake",
	.caps = {.rdtscp = true, .invpcid = true, .xsaves = true, .xsave_compacted = true,
		 .fast_strings = true},
	.overhead_bytes = overhead_bytes,
	.vm_create = create_vm,
	.vm_destroy = destroy_vm,
	.vcpu_create = vcpu_create,
	.init = init,
	.vcpu_destroy = vcpu_destroy,
	.load = load,
	.put = put,
	.run = run,
	.advance = advance,
	.get_reg = get_reg,
	.set_reg = set_reg,
	.get_segment = get_segment,
	.set_segment = set_segment,
	.get_mode = get_mode,
	.get_code = get_code,
	.get_msr = get_msr,
	.set_msr = set_msr,
	.can_inject = can_inject,
	.inject = inject,
	.inject_interrupt = inject_interrupt,
	.want_window = want_window,
	.sync_apic = sync_apic,
	.post_interrupt = post_interrupt,
	.interrupt_due = interrupt_due,
	.offer_interrupt = offer_interrupt,
	.set_apic_mode = set_apic_mode,
	.set_tsc_offset = set_tsc_offset,
	.kick = kick,
	.describe = describe,
	.stage2 = &fake_stage2_ops,
};
