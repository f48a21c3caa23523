/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several vcpus of one VM that do anything to each other: IPIs of every kind in
 * both modes of the APIC, timers, sleep, device accesses, each by the exits that
 * hardware would give, in turns that the real scheduler hands out, and messages
 * that come from another CPU in the middle of one. In between the VM is paused,
 * stopped and started. After each step nothing that was sent may have been lost:
 * who has mail is awake, who can be woken does not sleep, who waits for a start-up
 * message is what a model that takes every message in order says, and starts there.
 */
#include <stdlib.h>
#include <string.h>

#include "guest/pc.h"
#include "guest/platform.h"
#include "guest/vcpu_internal.h"
#include "guest/vm_cpu.h"
#include "guest/vm_devices.h"
#include "guest/vm_internal.h"
#include "lib/x86_regs.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/no_boot.h"
#include "tests/fakes/sched_rig.h"
#include "tests/fakes/vm_rig.h"
#include "tests/fuzz/input.h"

#define RAM_BYTES (16ull << 20)
#define GUEST_BYTES (2ull << 20)
#define STEPS_MAX 400
#define EXITS_MAX 6
#define BROADCAST 0xffu

static struct vm *vm;

/* ---- input ---- */

static struct input in;

static uint8_t byte(void) { return (uint8_t)take(&in, 1); }

/* ---- a model of who waits: each message in the order in which it is sent ---- */

static struct {
	bool known; /* nobody has yet set up a device that sends INIT or start-up by itself */
	bool reset; /* the boot processor was sent INIT */
	bool waits[VM_VCPUS_MAX];
	uint8_t start[VM_VCPUS_MAX];
	bool started[VM_VCPUS_MAX];
} model;

static void model_begin(void)
{
	memset(&model, 0, sizeof model);
	model.known = true;
	for (unsigned i = 1; i < VM_VCPUS_MAX; i++)
		model.waits[i] = true;
}

static uint32_t reg_of(const struct vcpu *v, uint32_t reg) { return get_le32(v->lapic.page + reg); }

/* By the words of the SDM, from the target's registers. */
static bool is_meant(const struct vcpu *v, uint32_t dest, bool logical)
{
	uint32_t ldr = reg_of(v, APIC_REG_LDR);

	if (v->lapic.mode == VLAPIC_DISABLED)
		return false;
	if (v->lapic.mode == VLAPIC_X2APIC)
		return dest == UINT32_MAX || (logical ? ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff) : dest == v->id);
	if (dest == UINT32_MAX || (dest & BROADCAST) == BROADCAST)
		return logical || dest == UINT32_MAX || dest == BROADCAST;
	if (!logical)
		return dest == v->id;
	if (reg_of(v, APIC_REG_DFR) >> 28 == 0xf)
		return ldr >> 24 & dest & 0xff;
	return ldr >> 28 == (dest >> 4 & 0xf) && (ldr >> 24 & dest & 0xf);
}

static bool is_named(const struct vcpu *from, const struct vcpu *v, uint64_t icr)
{
	switch (icr >> 18 & 3) {
	case 0:
		return is_meant(v, (uint32_t)(icr >> 32), icr & APIC_ICR_LOGICAL);
	case 1:
		return v == from;
	case 2:
		return v->lapic.mode != VLAPIC_DISABLED;
	default:
		return v != from && v->lapic.mode != VLAPIC_DISABLED;
	}
}

static void model_take(unsigned id, uint64_t delivery, uint8_t vector)
{
	if (delivery == APIC_DELIVERY_INIT) {
		model.reset |= id == 0;
		model.waits[id] = id != 0;
		model.started[id] = false;
	} else if (delivery == APIC_DELIVERY_STARTUP && model.waits[id]) {
		model.waits[id] = false;
		model.started[id] = true;
		model.start[id] = vector;
	}
}

static void model_send(const struct vcpu *from, uint64_t icr)
{
	uint64_t delivery = icr & APIC_LVT_DELIVERY_MASK;
	bool deassert = (icr & (APIC_ICR_LEVEL | APIC_ICR_ASSERT)) == APIC_ICR_LEVEL;

	if (delivery == APIC_DELIVERY_INIT && deassert)
		return;
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		if (is_named(from, vm->vcpus[i], icr))
			model_take(i, delivery, (uint8_t)icr);
}

/* A local vector table or a redirection entry that says INIT: what it sends when is not the model's to know. */
static void note_table_write(uint64_t value)
{
	uint64_t delivery = value & APIC_LVT_DELIVERY_MASK;

	model.known &= delivery != APIC_DELIVERY_INIT && delivery != APIC_DELIVERY_STARTUP;
}

/* ---- what a guest does ---- */

/* Of 64 bits: mostly a message to somebody who is there. */
static uint64_t pick_icr(void)
{
	static const uint64_t deliveries[] = {APIC_DELIVERY_FIXED, APIC_DELIVERY_LOWEST, APIC_DELIVERY_NMI, APIC_DELIVERY_INIT,
					      APIC_DELIVERY_STARTUP, APIC_DELIVERY_INIT, APIC_DELIVERY_STARTUP, 0x300};
	uint8_t how = byte(), vector = byte(), dest = byte();
	uint64_t icr = deliveries[how & 7] | vector | (uint64_t)(how >> 3 & 3) << 18;

	if (how & 0x20)
		icr |= APIC_ICR_LOGICAL;
	icr |= how & 0x40 ? APIC_ICR_ASSERT : 0;
	if (how & 0x80)
		icr |= (uint64_t)take(&in, 4) << 32 | (take(&in, 1) & 1 ? APIC_ICR_LEVEL : 0);
	else
		icr |= (uint64_t)(dest % (vm->vcpu_count + 1)) << 32;
	return icr;
}

static bool icr_is_legal(uint64_t icr) { return !(icr & (MASK(31, 20) | MASK(17, 16) | BIT(13))); }

struct act {
	enum exit_kind kind;
	uint32_t msr;
	uint64_t value, addr;
	unsigned size;
	bool write, interrupts;
	uint8_t other, how; /* what happens on another CPU meanwhile */
};

static struct act acts[EXITS_MAX];

static void pick_msr(struct act *a)
{
	uint8_t which = byte();

	a->msr = which >= 0xf0 ? MSR_IA32_TSC_DEADLINE : which >= 0xe0 ? MSR_IA32_APIC_BASE : MSR_X2APIC_FIRST + which % 64;
	if (which < 0x80 && which >= 0x40)
		a->msr = MSR_X2APIC_ICR;
	if (a->msr == MSR_X2APIC_ICR)
		a->value = pick_icr();
	else if (a->msr == MSR_IA32_APIC_BASE)
		a->value = APIC_BASE_DEFAULT | (byte() & 3) << 10 | (byte() & 1 ? APIC_BASE_BSP : 0);
	else
		a->value = take(&in, 5);
}

static void pick_memory(struct act *a)
{
	static const uint16_t often[] = {APIC_REG_ICR_LOW, APIC_REG_ICR_HIGH, APIC_REG_SVR, APIC_REG_LDR, APIC_REG_DFR,
					 APIC_REG_EOI, APIC_REG_TPR, APIC_REG_LVT_TIMER, APIC_REG_TIMER_INITIAL};
	uint8_t which = byte();

	a->size = 4;
	a->write = which & 1;
	if (which >= 0xf0) {
		a->addr = (which & 2 ? PC_IOAPIC_BASE : VLAPIC_BASE) + take(&in, 2) % 0x1000;
		a->size = 1u << byte() % 4;
	} else if (which >= 0xd0) {
		a->addr = PC_IOAPIC_BASE + (which & 2 ? 0x10 : 0);
	} else {
		a->addr = VLAPIC_BASE + often[which / 2 % ARRAY_SIZE(often)];
	}
	a->value = a->addr == VLAPIC_BASE + APIC_REG_ICR_LOW ? pick_icr() : take(&in, 4);
}

static uint16_t pick_port(void)
{
	static const uint16_t bases[] = {0x20, 0xa0, 0x40, 0x43, 0x61, 0x70, 0x3f8, 0x600, 0x608, 0xcf9, 0xf4, 0x92};
	uint8_t which = byte();

	return (uint16_t)(bases[which % ARRAY_SIZE(bases)] + which / ARRAY_SIZE(bases) % 4);
}

static struct act pick_act(void)
{
	static const enum exit_kind kinds[] = {EXIT_WRMSR, EXIT_WRMSR, EXIT_WRMSR, EXIT_WBINVD, EXIT_WBINVD, EXIT_WBINVD,
					       EXIT_HLT, EXIT_HLT, EXIT_RDMSR, EXIT_IO, EXIT_PAUSE, EXIT_IRQ,
					       EXIT_CPUID, EXIT_TPR_BELOW, EXIT_UNDEFINED, EXIT_IRQ_WINDOW};
	uint8_t op = byte(), meanwhile = byte();
	struct act a = {.kind = kinds[op % 16], .interrupts = op & 0x10, .other = meanwhile & 15, .how = meanwhile >> 4};

	if (a.kind == EXIT_WRMSR || a.kind == EXIT_RDMSR)
		pick_msr(&a);
	else if (a.kind == EXIT_WBINVD)
		pick_memory(&a);
	else if (a.kind == EXIT_IO)
		a.addr = pick_port(), a.size = 1u << byte() % 3, a.write = byte() & 1, a.value = take(&in, a.size);
	return a;
}

static void note_memory_write(struct vcpu *v, const struct act *a)
{
	uint64_t icr = a->value & ~(uint64_t)(MASK(31, 20) | MASK(17, 16) | BIT(13)) & UINT32_MAX;
	uint32_t dest = reg_of(v, APIC_REG_ICR_HIGH) >> 24;

	if (a->addr >= PC_IOAPIC_BASE && a->addr < PC_IOAPIC_BASE + PC_IOAPIC_SIZE)
		note_table_write(a->size == 4 ? a->value : APIC_DELIVERY_INIT);
	if (v->lapic.mode != VLAPIC_XAPIC)
		return;
	if (a->addr - VLAPIC_BASE >= APIC_REG_LVT_TIMER && a->addr - VLAPIC_BASE <= APIC_REG_LVT_ERROR)
		note_table_write(a->value);
	else if (a->addr == VLAPIC_BASE + APIC_REG_ICR_LOW && a->size >= 4)
		model_send(v, (uint64_t)(dest == BROADCAST ? UINT32_MAX : dest) << 32 | icr);
}

static void touch_memory(struct vcpu *v, const struct act *a)
{
	if (a->write) {
		note_memory_write(v, a);
		vcpu_mmio_write(v, a->addr, a->size, a->value);
	} else {
		REQUIRE(a->size == 8 || vcpu_mmio_read(v, a->addr, a->size) < BIT(8 * a->size));
	}
}

static void note_msr_write(const struct vcpu *v, const struct act *a)
{
	if (v->lapic.mode != VLAPIC_X2APIC)
		return;
	if (a->msr == MSR_X2APIC_ICR && icr_is_legal(a->value))
		model_send(v, a->value);
	else if (a->msr >= MSR_X2APIC_FIRST + (APIC_REG_LVT_TIMER >> 4) && a->msr <= MSR_X2APIC_FIRST + (APIC_REG_LVT_ERROR >> 4))
		note_table_write(a->value);
}

/*
 * While @v has its turn, a sibling acts on another CPU: a message to somebody, which may be @v. Its own APIC is the
 * sibling's there.
 */
static void act_elsewhere(struct vcpu *v, const struct act *a)
{
	static const uint64_t deliveries[] = {APIC_DELIVERY_FIXED, APIC_DELIVERY_NMI, APIC_DELIVERY_INIT, APIC_DELIVERY_STARTUP};
	uint64_t delivery = deliveries[a->how & 3];

	if (a->other >= vm->vcpu_count || !(a->how & 8))
		return;
	fake_host.cpu.vcpu = NULL;
	vcpu_message(vm->vcpus[a->other], delivery, (uint8_t)(a->value | 0x20), a->how & 4);
	fake_host.cpu.vcpu = v;
	model_take(a->other, delivery, (uint8_t)(a->value | 0x20));
}

/* An engine that delivers by itself: takes what may be taken. */
static void deliver_as_hardware(struct vcpu *v)
{
	int vector = vlapic_deliverable(&v->lapic);

	if (fake_engine.caps.virtual_interrupts && vector >= 0)
		vlapic_accept(&v->lapic, (uint8_t)vector);
}

/* Just before an exit: what the guest did up to it. */
static void before_exit(struct vcpu *v)
{
	const struct act *a = &acts[fake(v)->next];

	fake(v)->regs[REG_RFLAGS] = RFLAGS_FIXED1 | (a->interrupts ? RFLAGS_IF : 0);
	fake(v)->nmi_blocked &= a->interrupts; /* an IRET */
	if (a->interrupts)
		deliver_as_hardware(v);
	act_elsewhere(v, a);
	v->gpr[GPR_RAX] = (uint32_t)a->value;
	v->gpr[GPR_RDX] = a->value >> 32;
	if (a->kind == EXIT_WRMSR)
		note_msr_write(v, a);
	else if (a->kind == EXIT_WBINVD)
		touch_memory(v, a);
}

static struct exit exit_of(const struct act *a)
{
	struct exit e = {.kind = a->kind, .length = 2};

	if (a->kind == EXIT_WRMSR || a->kind == EXIT_RDMSR)
		e.u.msr.index = a->msr;
	else if (a->kind == EXIT_IO)
		e.u.io.port = (uint16_t)a->addr, e.u.io.size = (uint8_t)a->size, e.u.io.in = !a->write;
	else if (a->kind == EXIT_IRQ)
		e.u.irq.vector = 0x51;
	return e;
}

/* ---- turns ---- */

static struct vcpu *vcpu_of(struct sched_entity *e) { return container_of(e, struct vcpu, entity); }

/* The scheduler's next, which does some of what the input says. */
static void turn(void)
{
	static struct fake_step script[EXITS_MAX];
	const struct clock *clock = fake_host.ops.clock;
	unsigned long masked = fake_host.ops.mask();
	unsigned count = byte() % (EXITS_MAX + 1);
	struct sched_entity *e;
	uint64_t slice_end;
	enum sched_end end;

	host_run_timers(&fake_host.cpu, clock->ticks());
	fake_host.cpu.need_resched = false;
	e = sched_pick(vm_rig.machine.sched, 0, clock->ticks(), &slice_end);
	if (!e) {
		fake_host.ops.unmask(masked);
		return;
	}
	for (unsigned i = 0; i < count; i++) {
		acts[i] = pick_act();
		script[i] = (struct fake_step){exit_of(&acts[i]), 1 + acts[i].how, before_exit};
	}
	fake_play(vcpu_of(e), script, count);
	end = e->run(e, slice_end);
	sched_rig_end(vm_rig.machine.sched, 0, e, clock->ticks(), end);
	fake_host.ops.unmask(masked);
}

/* ---- what others do to the VM ---- */

static void begin_again(struct error *err)
{
	if (vm_start(vm, err) != ST_OK)
		abort();
	model_begin();
}

static void pass_time(void)
{
	uint8_t shift = byte() % 24;

	fake_host_advance(take(&in, 2) << shift >> 4);
}

static void pause_or_resume(void)
{
	struct error err;

	if (vm->state == VM_RUNNING)
		REQUIRE(vm_pause(vm, &err) == ST_OK);
	else if (vm->state == VM_PAUSED)
		REQUIRE(vm_resume(vm, &err) == ST_OK);
}

static void stop_or_start(void)
{
	struct error err;

	if (vm->state == VM_RUNNING || vm->state == VM_PAUSED)
		REQUIRE(vm_stop(vm, &err) == ST_OK);
	else
		begin_again(&err);
}

static void type(void)
{
	uint8_t text[4] = {byte(), byte(), byte(), byte()};
	struct error err;

	if (vm->state != VM_RUNNING && vm->state != VM_PAUSED)
		return;
	vm_console_input(vm, text, sizeof text);
	if ((text[0] & 7) == 0 && vm->state == VM_RUNNING)
		REQUIRE(vm_power_button(vm, &err) == ST_OK);
}

static void change_class(void)
{
	struct vm_config cfg = vm->config;
	uint8_t what = byte();
	struct error err;

	cfg.cpu.latency = what & 1;
	cfg.cpu.numbers.shares = 1 + (what & 0xf0) * 10u;
	if (vm_cpu_check(vm, &cfg, &err) != ST_OK)
		abort();
	vm->config = cfg;
	vm_cpu_changed(vm);
}

static void step(void)
{
	static void (*const rare[])(void) = {pause_or_resume, stop_or_start, type, change_class};
	uint64_t starts = vm->starts;
	uint8_t op = byte();

	if (op < 0xc0)
		turn();
	else if (op < 0xe0)
		pass_time();
	else
		rare[op % ARRAY_SIZE(rare)]();
	while (vm_reap(&vm_rig.machine))
		;
	if (vm->starts != starts)
		model_begin(); /* after a reset it starts by itself */
}

/* ---- what must hold ---- */

static int search(const struct vcpu *v, uint32_t base)
{
	for (int n = 255; n >= 0; n--)
		if (reg_of(v, base + (uint32_t)n / 32 * APIC_REG_STEP) >> n % 32 & 1)
			return n;
	return -1;
}

static void check_apic(const struct vcpu *v)
{
	const struct vlapic *l = &v->lapic;
	int irr = search(v, APIC_REG_IRR), isr = search(v, APIC_REG_ISR);
	bool on = l->mode != VLAPIC_DISABLED && (reg_of(v, APIC_REG_SVR) & APIC_SVR_ENABLE);

	REQUIRE(vlapic_highest_irr(l) == irr && vlapic_highest_isr(l) == isr);
	REQUIRE(vlapic_listens(l) == on);
	REQUIRE(l->mode == VLAPIC_DISABLED || vlapic_matches(l, UINT32_MAX, false));
	for (unsigned dest = 0; dest < 20; dest++) {
		REQUIRE(vlapic_matches(l, dest, false) == is_meant(v, dest, false));
		REQUIRE(vlapic_matches(l, dest, true) == is_meant(v, dest, true));
	}
}

static bool has_mail(const struct vcpu *v)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < VCPU_VECTORS / 64; i++)
		any |= v->mail.edge[i] | v->mail.level[i];
	return any != 0;
}

static bool would_wake(struct vcpu *v)
{
	bool wakes;

	v->engine->load(v);
	wakes = vcpu_wakes(v);
	v->engine->put(v);
	return wakes;
}

/* Who has something to do is in a queue. */
static void check_awake(struct vcpu *v)
{
	bool sleeps = v->entity.state == SCHED_BLOCKED;

	REQUIRE(v->entity.state == SCHED_READY || sleeps);
	REQUIRE(!has_mail(v) || (v->requests & REQ_POSTED));
	if (!sleeps)
		return;
	REQUIRE(!(v->requests & REQ_MAIL));
	REQUIRE(v->waiting || (v->halted && !would_wake(v)));
	REQUIRE(v->waiting || v->timers.next == TIMERQ_NEVER || v->wake_alarm.cpu);
}

static void check_waiting(const struct vcpu *v)
{
	const struct fake_vcpu *f = v->hw;

	if (v->waiting) {
		REQUIRE(v->id != 0 && !vlapic_listens(&v->lapic) && search(v, APIC_REG_IRR) < 0);
		REQUIRE(!v->nmi_pending && !v->exception_pending && !v->halted);
	}
	/* Its mail is taken. */
	if (!model.known || (v->requests & REQ_MAIL))
		return;
	REQUIRE(v->id == 0 ? !model.reset : v->waiting == model.waits[v->id]);
	if (model.started[v->id])
		REQUIRE(f->segments[SEG_CS].base == (uint64_t)model.start[v->id] << 12);
}

static void check(void)
{
	REQUIRE(vm->state != VM_LOADING && vm->state != VM_DEFINED);
	REQUIRE(sched_check(vm_rig.machine.sched));
	REQUIRE(fake_host.mask_depth == 0 && fake_host.cpu.vcpu == NULL);
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		check_apic(vm->vcpus[i]);
		if (vm->state == VM_PAUSED)
			REQUIRE(vm->vcpus[i]->entity.state == SCHED_DETACHED);
		if (vm->state != VM_RUNNING)
			continue;
		check_awake(vm->vcpus[i]);
		check_waiting(vm->vcpus[i]);
	}
}

/* ---- one input ---- */

static void begin(uint8_t shape)
{
	struct vm_config cfg;
	struct error err;

	fake_engine.caps.virtual_interrupts = shape & 1;
	vm_rig_init(RAM_BYTES);
	cfg = vm_rig_config("fuzz", GUEST_BYTES);
	cfg.cpu.count = shape >= 0xf0 ? VM_VCPUS_MAX : 2 + shape / 2 % 3;
	cfg.on_reset = shape & 8 ? ON_RESET_RESTART : ON_RESET_STOP;
	cfg.debug_exit = true;
	if (vm_define(&vm_rig.machine, &cfg, &vm, &err) != ST_OK)
		abort();
	begin_again(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	in = (struct input){data, data + size};
	begin(byte());
	for (unsigned steps = 0; in.at < in.end && steps < STEPS_MAX; steps++) {
		step();
		check();
	}
	vm_rig_fini();
	return 0;
}
