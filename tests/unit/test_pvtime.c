/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvmclock, wall clock and steal time: what is written where the guest says, read
 * as Linux reads it, and places that are none.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/gmem.h"
#include "guest/pvtime.h"
#include "guest/vm_internal.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/fake_stage2.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (4ull << 20)
#define PLACE 0x20040ull
#define SLICE 10000u
#define WALL 1700000000ull

static struct vm *vm;
static struct vcpu *v;
static struct error err;

static uint64_t wall_clock(void) { return WALL + fake_host.ops.clock->ticks() / VM_RIG_HZ; }

static void make(unsigned vcpus)
{
	memset(&fake_pc, 0, sizeof fake_pc);
	vm_rig_init(RAM);
	fake_host.ops.wall_clock = wall_clock;
	vm = vm_rig_start_with("a", GUEST_BYTES, vcpus);
	v = vm->vcpus[0];
	v->engine->load(v);
}

static int setup(void **state)
{
	(void)state;
	make(1);
	return 0;
}

static int setup_three(void **state)
{
	(void)state;
	make(3);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_rig_fini();
	return 0;
}

/* ---- the guest's side ---- */

static void wr(uint32_t index, uint64_t value)
{
	if (msr_write(v, index, value) != ST_OK)
		fail_msg("WRMSR %x, %llx is #GP", index, (unsigned long long)value);
}

static void wr_gp(uint32_t index, uint64_t value)
{
	if (msr_write(v, index, value) != ST_INVALID)
		fail_msg("WRMSR %x, %llx works", index, (unsigned long long)value);
}

static uint64_t rd(uint32_t index)
{
	uint64_t value = 0;

	assert_int_equal(msr_read(v, index, &value), ST_OK);
	return value;
}

static void fetch(uint64_t at, void *out, size_t size) { assert_int_equal(gmem_read(vm, gpa(at), out, size), ST_OK); }

static struct pvtime_clock clock_at(uint64_t at)
{
	struct pvtime_clock c;

	fetch(at, &c, sizeof c);
	assert_int_equal(c.version % 2, 0);
	return c;
}

static struct pvtime_steal steal_at(uint64_t at)
{
	struct pvtime_steal s;

	fetch(at, &s, sizeof s);
	assert_int_equal(s.version % 2, 0);
	return s;
}

/* As Linux computes it (arch/x86/include/asm/pvclock.h has the formula): 96 bits, of which the middle 64 count. */
static uint64_t clock_ns(const struct pvtime_clock *c, uint64_t tsc)
{
	uint64_t delta = tsc - c->tsc_timestamp;

	delta = c->tsc_shift < 0 ? delta >> -c->tsc_shift : delta << c->tsc_shift;
	return c->system_time + (uint64_t)((unsigned __int128)delta * c->tsc_to_system_mul >> 32);
}

static uint64_t tsc_of(const struct vcpu *of) { return vm_time_tsc(&vm->time) + of->msr.tsc_adjust; }

/* A factor of 32 bits may be off by one in 2^31, and a shift to the right loses a tick. */
static void is_near(uint64_t a, uint64_t b)
{
	uint64_t apart = a > b ? a - b : b - a;

	if (apart > (b >> 31) + 2 * 1000000000ull / VM_RIG_HZ)
		fail_msg("%llu is not %llu", (unsigned long long)a, (unsigned long long)b);
}

/* ---- the clock ---- */

static void the_factor_has_all_its_bits(void **state)
{
	static const uint64_t rates[] = {1000000,    3579545,    10000000,   50000000,   999999999,  1000000000, 1000000001,
					 1999999999, 2000000000, 2000000001, 2400000000, 2999998123, 4000000000, 9000000000};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
		uint64_t hz = rates[i], khz = 1000000ull << 32;
		struct pvtime_clock c = {.version = 0};
		uint64_t hour = 3600 * hz;

		pvtime_scale(hz, &c.tsc_to_system_mul, &c.tsc_shift);
		assert_true(c.tsc_to_system_mul >= BIT(31));
		assert_true(clock_ns(&c, hour) <= 3600000000000ull);
		assert_true(clock_ns(&c, hour) >= 3600000000000ull - 3600000000000ull / BIT(30) - 1000000000ull / hz - 1);
		/* Linux takes the frequency from it, in kHz. */
		khz /= c.tsc_to_system_mul;
		khz = c.tsc_shift < 0 ? khz << -c.tsc_shift : khz >> c.tsc_shift;
		assert_in_range(khz, hz / 1000 - hz / BIT(31) - 8, hz / 1000 + 8);
	}
}

static void the_clock_is_the_vms_time(void **state)
{
	struct pvtime_clock c;

	(void)state;
	hand_clock_set(123456789);
	wr(MSR_KVM_SYSTEM_TIME, PLACE | MSR_KVM_ENABLED);
	assert_int_equal(rd(MSR_KVM_SYSTEM_TIME), PLACE | MSR_KVM_ENABLED);
	c = clock_at(PLACE);
	assert_int_equal(c.version, 2);
	assert_int_equal(c.flags, PVTIME_TSC_STABLE);
	for (unsigned i = 0; i < 40; i++) {
		is_near(clock_ns(&c, tsc_of(v)), vm_time_ns(&vm->time));
		hand_clock_advance(1ull << i);
	}
	/* Nothing is written again while time passes. */
	assert_int_equal(clock_at(PLACE).version, 2);
}

static void a_moved_tsc_moves_no_clock(void **state)
{
	uint64_t before;
	struct pvtime_clock c;

	(void)state;
	wr(MSR_KVM_SYSTEM_TIME, PLACE | MSR_KVM_ENABLED);
	hand_clock_advance(1000000);
	c = clock_at(PLACE);
	before = clock_ns(&c, tsc_of(v));
	wr(MSR_IA32_TSC_ADJUST, (uint64_t)-5000000);
	c = clock_at(PLACE);
	assert_int_equal(c.version, 4);
	assert_int_equal(clock_ns(&c, tsc_of(v)), before);
	wr(MSR_IA32_TSC, 77);
	c = clock_at(PLACE);
	assert_int_equal(clock_ns(&c, tsc_of(v)), before);
	/* One alone has nobody to differ from. */
	assert_int_equal(c.flags, PVTIME_TSC_STABLE);
}

static void no_clock_is_written_when_it_is_off(void **state)
{
	(void)state;
	wr(MSR_KVM_SYSTEM_TIME, PLACE);
	assert_int_equal(clock_at(PLACE).tsc_to_system_mul, 0);
	wr(MSR_KVM_SYSTEM_TIME, PLACE | MSR_KVM_ENABLED);
	wr(MSR_KVM_SYSTEM_TIME, 0);
	wr(MSR_IA32_TSC_ADJUST, 1);
	assert_int_equal(clock_at(PLACE).version, 2);
}

static void siblings_hear_that_tscs_are_apart(void **state)
{
	struct vcpu *other = vm->vcpus[1];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		v = vm->vcpus[i];
		v->engine->load(v);
		wr(MSR_KVM_SYSTEM_TIME, (PLACE + 64 * i) | MSR_KVM_ENABLED);
	}
	v = vm->vcpus[0];
	v->engine->load(v);
	wr(MSR_IA32_TSC_ADJUST, 0); /* as Linux does at its start */
	assert_int_equal(clock_at(PLACE).flags, PVTIME_TSC_STABLE);
	assert_false(other->requests & REQ_CLOCK);
	wr(MSR_IA32_TSC_ADJUST, 1000);
	assert_int_equal(clock_at(PLACE).flags, 0);
	assert_true(other->requests & REQ_CLOCK);
	pvtime_show_clock(other);
	assert_int_equal(clock_at(PLACE + 64).flags, 0);
	assert_int_equal(clock_at(PLACE + 64).tsc_timestamp, 0);
}

static void the_wall_clock_is_of_the_start(void **state)
{
	struct pvtime_wall w;

	(void)state;
	hand_clock_set(5 * VM_RIG_HZ + VM_RIG_HZ / 4);
	wr(MSR_KVM_WALL_CLOCK, PLACE);
	fetch(PLACE, &w, sizeof w);
	assert_int_equal(w.version, 2);
	/* The host knows seconds: it is 5, and the guest a quarter further. */
	assert_int_equal(w.sec, WALL - 1);
	assert_int_equal(w.nsec, 750000000);
	assert_int_equal(rd(MSR_KVM_WALL_CLOCK), PLACE);
	wr(MSR_KVM_WALL_CLOCK, 0);
	fetch(0, &w, sizeof w);
	assert_int_equal(w.version, 0);
	fake_host.ops.wall_clock = NULL;
	wr(MSR_KVM_WALL_CLOCK, PLACE);
	fetch(PLACE, &w, sizeof w);
	assert_int_equal(w.version, 6);
	assert_int_equal(w.sec, HOST_WALL_UNKNOWN - 6);
}

/* ---- places ---- */

static void places_that_are_no_memory_are_refused(void **state)
{
	static const uint32_t msrs[] = {MSR_KVM_WALL_CLOCK, MSR_KVM_SYSTEM_TIME, MSR_KVM_STEAL_TIME};
	static const uint64_t places[] = {GUEST_BYTES, FAKE_PC_MMIO, 0xfee00000, 1ull << 39, 1ull << 52, ~0xfffull, ~0x3full};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++) {
		uint64_t on = msrs[i] == MSR_KVM_WALL_CLOCK ? 0 : MSR_KVM_ENABLED;

		wr(msrs[i], PLACE | on);
		for (unsigned p = 0; p < ARRAY_SIZE(places); p++) {
			wr_gp(msrs[i], places[p] | on);
			assert_int_equal(rd(msrs[i]), PLACE | on);
		}
		wr_gp(msrs[i], PLACE | on | 2);
	}
	for (unsigned bit = 1; bit < 6; bit++)
		wr_gp(MSR_KVM_STEAL_TIME, PLACE | BIT(bit) | MSR_KVM_ENABLED);
	/* The last bytes are beyond the end of RAM. */
	wr_gp(MSR_KVM_SYSTEM_TIME, (GUEST_BYTES - 28) | MSR_KVM_ENABLED);
	wr_gp(MSR_KVM_WALL_CLOCK, GUEST_BYTES - 8);
	wr(MSR_KVM_STEAL_TIME, (GUEST_BYTES - 64) | MSR_KVM_ENABLED);
	/* Off, nobody writes there. */
	wr(MSR_KVM_SYSTEM_TIME, FAKE_PC_MMIO);
	wr(MSR_KVM_STEAL_TIME, FAKE_PC_MMIO);
	assert_int_equal(fake_pc.writes, 0);
	assert_int_equal(vm->denied_msrs, 0);
}

static void a_clock_may_lie_across_two_pages(void **state)
{
	uint64_t at = 0x21000 - 12;
	struct pvtime_clock c;

	(void)state;
	wr(MSR_KVM_SYSTEM_TIME, at | MSR_KVM_ENABLED);
	c = clock_at(at);
	assert_int_equal(c.version, 2);
	is_near(clock_ns(&c, 1000000), ticks_to_ns(1000000, VM_RIG_HZ));
}

/* ---- steal time ---- */

/* Somebody else has the CPU for @ticks. */
static void others_run(uint64_t ticks) { hand_clock_advance(ticks); }

static enum disposition turn(const struct fake_step *script, unsigned steps)
{
	return vm_rig_turn_of(v, script, steps, SLICE);
}

static const struct fake_step hlt[] = {{{.kind = EXIT_HLT, .length = 1}, 10, NULL}};

static void what_others_took_is_stolen(void **state)
{
	uint64_t sum = 0;

	(void)state;
	assert_int_equal(turn(NULL, 0), YIELD);
	v->engine->load(v);
	wr(MSR_KVM_STEAL_TIME, PLACE | MSR_KVM_ENABLED);
	assert_int_equal(steal_at(PLACE).steal, 0);
	assert_int_equal(steal_at(PLACE).version, 2);
	for (uint64_t i = 1; i <= 10; i++) {
		others_run(12345 * i);
		sum += 12345 * i;
		assert_int_equal(turn(NULL, 0), YIELD);
		assert_int_equal(steal_at(PLACE).steal, ticks_to_ns(sum, VM_RIG_HZ));
		assert_int_equal(steal_at(PLACE).version, 2 + 2 * i);
	}
	/* Without a wait nothing is written. */
	assert_int_equal(turn(NULL, 0), YIELD);
	assert_int_equal(steal_at(PLACE).version, 22);
	/* Nor is sleep stolen, or being paused. */
	assert_int_equal(turn(hlt, 1), BLOCK);
	others_run(1000000);
	v->halted = false;
	assert_int_equal(turn(NULL, 0), YIELD);
	assert_int_equal(vm_pause(vm, &err), ST_OK);
	others_run(1000000);
	assert_int_equal(vm_resume(vm, &err), ST_OK);
	assert_int_equal(turn(NULL, 0), YIELD);
	assert_int_equal(steal_at(PLACE).steal, ticks_to_ns(sum, VM_RIG_HZ));
	others_run(50);
	assert_int_equal(turn(NULL, 0), YIELD);
	assert_int_equal(steal_at(PLACE).steal, ticks_to_ns(sum + 50, VM_RIG_HZ));
	assert_int_equal(steal_at(PLACE).flags, 0);
}

static void siblings_see_who_was_preempted(void **state)
{
	(void)state;
	v->engine->load(v);
	wr(MSR_KVM_STEAL_TIME, PLACE | MSR_KVM_ENABLED);
	assert_int_equal(steal_at(PLACE).preempted, 0);
	assert_int_equal(turn(NULL, 0), YIELD);
	assert_int_equal(steal_at(PLACE).preempted, 1);
	/* In its turn it is not, though nothing was stolen. */
	assert_int_equal(turn(hlt, 1), BLOCK);
	assert_int_equal(steal_at(PLACE).preempted, 0);
	v->halted = false;
	assert_int_equal(turn(NULL, 0), YIELD);
	wr(MSR_KVM_STEAL_TIME, 0);
	assert_int_equal(turn(hlt, 1), BLOCK);
	assert_int_equal(steal_at(PLACE).preempted, 1);
}

static void a_page_that_goes_away_hurts_nobody(void **state)
{
	struct memmgr_stats stats;
	const struct pvtime_steal *before;
	uint64_t leaving;

	(void)state;
	wr(MSR_KVM_STEAL_TIME, PLACE | MSR_KVM_ENABLED);
	wr(MSR_KVM_SYSTEM_TIME, (PLACE + 64) | MSR_KVM_ENABLED);
	others_run(100);
	assert_int_equal(turn(NULL, 0), YIELD);
	fake_stage2_use_tickets(vm->stage2, true); /* what is taken stays what it is for now */
	before = gpmap_va(vm->memory, gpa_to_gfn(gpa(PLACE)));
	before += PLACE % PAGE_SIZE / sizeof *before;
	assert_int_equal(before->steal, ticks_to_ns(100, VM_RIG_HZ));
	assert_int_equal(gpmap_remove(vm->memory, gpa_to_gfn(gpa(PLACE))), ST_OK);
	/* It is absent memory: another one, cleared, has what was written after; the one that left, nothing. */
	for (uint64_t sum = 877; sum < 5000; sum += 777) {
		others_run(777);
		assert_int_equal(turn(NULL, 0), YIELD);
		assert_int_equal(steal_at(PLACE).steal, ticks_to_ns(sum, VM_RIG_HZ));
		assert_int_equal(before->steal, ticks_to_ns(100, VM_RIG_HZ));
	}
	assert_int_equal(clock_at(PLACE + 64).tsc_to_system_mul, 0);
	fake_stage2_flush_all(vm->stage2);
	fake_stage2_use_tickets(vm->stage2, false);
	memmgr_stats(vm_rig.machine.mm, &stats);
	leaving = stats.frames[FRAME_LEAVING];
	while (leaving)
		leaving = memmgr_drain_leaving(vm_rig.machine.mm);
}

/* ---- INIT ---- */

static void init_ends_it(void **state)
{
	(void)state;
	v = vm->vcpus[1];
	vcpu_message(v, APIC_DELIVERY_INIT, 0, false);
	vcpu_message(v, APIC_DELIVERY_STARTUP, 0x10, false);
	assert_int_equal(turn(NULL, 0), YIELD);
	v->engine->load(v);
	wr(MSR_KVM_STEAL_TIME, PLACE | MSR_KVM_ENABLED);
	wr(MSR_KVM_SYSTEM_TIME, (PLACE + 64) | MSR_KVM_ENABLED);
	vcpu_message(v, APIC_DELIVERY_INIT, 0, false);
	assert_int_equal(turn(NULL, 0), BLOCK);
	v->engine->load(v);
	assert_int_equal(rd(MSR_KVM_STEAL_TIME), 0);
	assert_int_equal(rd(MSR_KVM_SYSTEM_TIME), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define T3(name) cmocka_unit_test_setup_teardown(name, setup_three, teardown)
	const struct CMUnitTest tests[] = {
		T(the_factor_has_all_its_bits),
		T(the_clock_is_the_vms_time),
		T(a_moved_tsc_moves_no_clock),
		T(no_clock_is_written_when_it_is_off),
		T3(siblings_hear_that_tscs_are_apart),
		T(the_wall_clock_is_of_the_start),
		T(places_that_are_no_memory_are_refused),
		T(a_clock_may_lie_across_two_pages),
		T(what_others_took_is_stolen),
		T3(siblings_see_who_was_preempted),
		T(a_page_that_goes_away_hurts_nobody),
		T3(init_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
