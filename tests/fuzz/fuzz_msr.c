/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that does anything to its MSRs: on two vcpus, between turns, sleeps and
 * INITs, while pages are taken from it. What it names as places for KVM's clocks is where
 * the host writes: nothing outside its memory may change, no byte of another VM, and what was refused
 * leaves the register as it was. Time goes on by what the input says.
 */
#include <string.h>

#include "guest/gmem.h"
#include "guest/pvtime.h"
#include "guest/vm_internal.h"
#include "lib/x86_regs.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/sched_rig.h"
#include "tests/fakes/vm_rig.h"
#include "tests/fuzz/input.h"

#define RAM (16ull << 20)
#define GUEST_BYTES (1ull << 20)
#define VCPUS 2u
#define STEPS_MAX 500u

static struct vm *vm;

/* ---- steps ---- */

static uint32_t pick_msr(struct input *in)
{
	static const uint32_t some[] = {
		MSR_KVM_WALL_CLOCK, MSR_KVM_SYSTEM_TIME, MSR_KVM_STEAL_TIME, MSR_KVM_SYSTEM_TIME + 1, MSR_IA32_TSC, MSR_IA32_TSC_ADJUST,
		MSR_IA32_TSC_DEADLINE, MSR_IA32_APIC_BASE, MSR_IA32_EFER, MSR_IA32_PAT, MSR_IA32_MTRR_DEF_TYPE, MSR_IA32_MISC_ENABLE,
		MSR_IA32_DEBUGCTL, MSR_IA32_XSS, MSR_IA32_SPEC_CTRL, MSR_IA32_BIOS_SIGN_ID,
	};
	uint8_t which = (uint8_t)take(in, 1);

	if (which < 0x80)
		return some[which % ARRAY_SIZE(some)];
	if (which < 0xa0)
		return MSR_X2APIC_FIRST + (uint32_t)take(in, 1);
	if (which < 0xc0)
		return MSR_IA32_MTRR_PHYSBASE0 + (uint32_t)take(in, 1);
	return (uint32_t)take(in, 4);
}

/* Often a place at an edge. */
static uint64_t pick_value(struct input *in)
{
	uint8_t how = (uint8_t)take(in, 1);

	switch (how % 4) {
	case 0:
		return take(in, 3) | how >> 7;
	case 1:
		return (GUEST_BYTES - 64 + (how >> 2)) | how >> 7;
	case 2:
		return ((uint64_t)(how >> 2) << 12) - (take(in, 1) & 0x3f) + 1;
	default:
		return take(in, 8);
	}
}

static void access_msr(struct vcpu *v, struct input *in)
{
	uint32_t index = pick_msr(in);
	uint64_t before = 0, after = 0, value = pick_value(in);
	bool kvm = index - MSR_KVM_WALL_CLOCK <= MSR_KVM_STEAL_TIME - MSR_KVM_WALL_CLOCK;
	bool known = msr_read(v, index, &before) == ST_OK, done = msr_write(v, index, value) == ST_OK;

	REQUIRE(!done || !kvm || known);
	if (!kvm || !known)
		return;
	REQUIRE(msr_read(v, index, &after) == ST_OK && after == (done ? value : before));
}

/* Of whom the scheduler picks. */
static void turn(bool halts)
{
	static const struct fake_step hlt[] = {{{.kind = EXIT_HLT, .length = 1}, 10, NULL}};
	struct sched *s = vm_rig.machine.sched;
	uint64_t cap, now = fake_host.ops.clock->ticks();
	struct sched_entity *e = sched_pick(s, 0, now, &cap);
	enum disposition d;
	struct vcpu *v;

	if (!e)
		return;
	v = container_of(e, struct vcpu, entity);
	fake_play(v, hlt, halts);
	fake_host.cpu.need_resched = false;
	d = vcpu_run(v, now + 1000);
	sched_rig_end(s, 0, e, fake_host.ops.clock->ticks(), d == YIELD ? SCHED_END_READY : SCHED_END_BLOCKED);
}

/* The second vcpu alone: for the first it is a reset. */
static void init_and_start(void)
{
	vcpu_message(vm->vcpus[1], APIC_DELIVERY_INIT, 0, false);
	vcpu_message(vm->vcpus[1], APIC_DELIVERY_STARTUP, 0x10, false);
}

static void step(struct input *in)
{
	uint8_t op = (uint8_t)take(in, 1);
	struct vcpu *v = vm->vcpus[op >> 7];

	switch (op % 8) {
	case 0:
		hand_clock_advance(take(in, 2));
		break;
	case 1:
		turn(op & 0x40);
		break;
	case 2:
		if (op & 0x40)
			init_and_start();
		else
			vcpu_request(v, REQ_EVENT);
		break;
	case 3:
		/* The page may be absent already. */
		if (gpmap_remove(vm->memory, gfn(take(in, 1))) == ST_OK)
			memmgr_drain_leaving(vm_rig.machine.mm);
		break;
	default:
		v->engine->load(v);
		access_msr(v, in);
		v->engine->put(v);
		break;
	}
}

/* ---- the other VM ---- */

#define PATTERN 0x5a
#define FILLED (64u << PAGE_SHIFT)

static void fill(struct vm *of)
{
	REQUIRE(gmem_fill(of, gpa(0), PATTERN, FILLED) == ST_OK);
}

static void look(struct vm *of)
{
	static uint8_t seen[FILLED], wanted[FILLED];

	memset(wanted, PATTERN, sizeof wanted);
	REQUIRE(gmem_read(of, gpa(0), seen, FILLED) == ST_OK && memcmp(seen, wanted, FILLED) == 0);
}

static struct vm *make(const char *name, unsigned vcpus)
{
	struct vm_config cfg = vm_rig_config(name, GUEST_BYTES);
	struct error err;
	struct vm *made;

	cfg.cpu.count = vcpus;
	REQUIRE(vm_define(&vm_rig.machine, &cfg, &made, &err) == ST_OK && vm_start(made, &err) == ST_OK);
	return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	struct error err;
	struct vm *other;

	memset(&fake_pc, 0, sizeof fake_pc);
	vm_rig_init(RAM);
	other = make("b", 1);
	fill(other);
	REQUIRE(vm_pause(other, &err) == ST_OK);
	vm = make("a", VCPUS);
	for (unsigned steps = 0; in.at < in.end && steps < STEPS_MAX && vm->state == VM_RUNNING; steps++)
		step(&in);
	look(other);
	vm_rig_fini();
	return 0;
}
