/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wiring: which device answers where, which line ends at which input of the
 * 8259 pair and the IO-APIC, how interrupts reach the vcpu, and what power-off,
 * reset, debug exit and typed input do to the VM. Real VM, real devices, an
 * engine that plays exits.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/pc.h"
#include "guest/platform.h"
#include "guest/vm_devices.h"
#include "lib/x86_regs.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/no_boot.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (4ull << 20)
#define MASKED 0x10000u
#define LEVEL 0x8000u

static struct vm *vm;
static struct vcpu *v;

/* What the test does to devices is done by the vcpu, as vcpu_run() begins a turn; without, by somebody else. */
static void in_its_turn(bool on)
{
	fake_host.cpu.vcpu = on ? v : NULL;
	if (on)
		v->engine->load(v);
}

static int setup(void **state)
{
	struct vm_config cfg;
	struct error err;

	(void)state;
	fake_engine.caps.virtual_interrupts = false;
	vm_rig_init(RAM);
	cfg = vm_rig_config("a", GUEST_BYTES);
	cfg.debug_exit = true;
	assert_int_equal(vm_define(&vm_rig.machine, &cfg, &vm, &err), ST_OK);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	v = vm->vcpus[0];
	in_its_turn(true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_rig_fini();
	return 0;
}

/* ---- the guest's accesses ---- */

static uint8_t in(uint64_t port) { return (uint8_t)vm_port_read(vm, port, 1); }
static void out(uint64_t port, uint8_t value) { vm_port_write(vm, port, 1, value); }

static uint32_t ioapic(uint8_t index)
{
	vcpu_mmio_write(v, PC_IOAPIC_BASE, 4, index);
	return (uint32_t)vcpu_mmio_read(v, PC_IOAPIC_BASE + 0x10, 4);
}

static void set_ioapic(uint8_t index, uint32_t value)
{
	vcpu_mmio_write(v, PC_IOAPIC_BASE, 4, index);
	vcpu_mmio_write(v, PC_IOAPIC_BASE + 0x10, 4, value);
}

static void route(unsigned gsi, uint32_t entry) { set_ioapic((uint8_t)(0x10 + 2 * gsi), entry); }

static void lapic_eoi(void) { vcpu_mmio_write(v, VLAPIC_BASE + APIC_REG_EOI, 4, 0); }

static void init_pic(void)
{
	out(0x20, 0x11), out(0x21, 0x30), out(0x21, 0x04), out(0x21, 0x01);
	out(0xa0, 0x11), out(0xa1, 0x38), out(0xa1, 0x02), out(0xa1, 0x01);
}

static void cmos(uint8_t index, uint8_t value) { out(0x70, index), out(0x71, value); }

/* Time passes while the vcpu is not on the CPU, and its timers run. */
static void pass(uint64_t ticks)
{
	hand_clock_advance(ticks);
	timerq_run(&v->timers, vm_time_tsc(&vm->time));
}

static int take(void)
{
	int vector = vlapic_deliverable(&v->lapic);

	if (vector >= 0)
		vlapic_accept(&v->lapic, (uint8_t)vector);
	return vector;
}

/* ---- ranges ---- */

static void devices_answer_where_they_should(void **state)
{
	static const struct { uint16_t first, last; } claimed[] = {
		{0x20, 0x21}, {0x40, 0x43}, {0x60, 0x61}, {0x64, 0x64}, {0x70, 0x71}, {0x80, 0x80}, {0x92, 0x92},
		{0xa0, 0xa1}, {0xf4, 0xf7}, {0x3f8, 0x3ff}, {0x4d0, 0x4d1}, {0x600, 0x60b}, {0xcf8, 0xcff}, {0x1000, 0xffff}};
	unsigned n = 0;

	(void)state;
	for (unsigned port = 0; port < 0x10000; port++) {
		bool is_claimed = n < ARRAY_SIZE(claimed) && port >= claimed[n].first;

		assert_int_equal(bus_find(&vm->pio, port) != NULL, is_claimed);
		if (is_claimed && port == claimed[n].last)
			n++;
	}
	out(0x80, 0x42);
	assert_int_equal(in(0x80), 0x42);
	out(0x3ff, 0x17);
	assert_int_equal(in(0x3ff), 0x17);
	assert_int_equal(in(0x3fd), 0x60);
	assert_int_equal(in(0x64), 0xff);
	assert_int_equal(in(0x21), 0xff);
	assert_int_equal(in(0xa1), 0xff);
	assert_int_equal(in(0x4d0), 0x00);
	assert_int_equal(in(0x92), 0x02);
	assert_int_equal(in(0x604), 0x01);
	assert_int_equal(in(0xcf9), 0x00);
	assert_int_equal(in(0x61) & 0x0f, 0x00);
	out(0x70, 0x0d);
	assert_int_equal(in(0x71), 0x80);
	assert_int_equal(ioapic(1), 0x00170020);
	assert_int_equal(vcpu_mmio_read(v, VLAPIC_BASE + APIC_REG_VERSION, 4), 0x01050015);
	assert_int_equal(in(0x2f8), 0xff);
	assert_true(vm->pio.misses > 0);
}

static void pci_probing_does_not_reset(void **state)
{
	(void)state;
	vm_port_write(vm, 0xcf8, 4, 0x80000600); /* device and function bits lie over 0xcf9 */
	assert_true(vm_port_read(vm, 0xcf8, 4) == 0x80000600);
	assert_true(vm_port_read(vm, 0xcfc, 4) == 0xffffffff);
	vm_port_write(vm, 0xcfc, 4, 0xffffffff);
	assert_int_equal(vm->state, VM_RUNNING);
}

static void no_debug_exit_unless_asked_for(void **state)
{
	struct vm *other = vm_rig_start("b", GUEST_BYTES);

	(void)state;
	vm_port_write(other, 0xf4, 4, 1);
	assert_int_equal(other->state, VM_RUNNING);
	assert_null(bus_find(&other->pio, 0xf4));
	assert_non_null(bus_find(&other->pio, PC_PORT_COM1));
}

static void a_taken_range_is_named(void **state)
{
	struct platform *before = vm->platform;
	size_t used = vm->arena.used;
	struct error err = {""};

	(void)state;
	vm->arena.used -= platform_bytes(&vm->config); /* room for a second set */
	vm->arena.base = (uint8_t *)before - vm->arena.used;
	vm->arena.size = vm->arena.used;
	assert_int_equal(platform_create(vm, &err), ST_NO_MEMORY);
	assert_string_equal(err.text, "VM a: no room for its devices in its arena");
	vm->arena.size += platform_bytes(&vm->config);
	assert_int_equal(platform_create(vm, &err), ST_EXISTS);
	assert_non_null(strstr(err.text, "VM a: device pic cannot have pio range 0x20..0x21"));
	vm->arena.used = used;
}

/* ---- lines ---- */

static void isa_lines_reach_both_controllers(void **state)
{
	(void)state;
	init_pic();
	for (unsigned gsi = 0; gsi < 24; gsi++) {
		if (gsi == 2)
			continue;
		platform_irq(vm, gsi, false); /* the PIT's rests high */
		route(gsi == 0 ? 2 : gsi, 0x40 + gsi);
		platform_irq(vm, gsi, true);
		assert_int_equal(take(), 0x40 + gsi);
		lapic_eoi();
		assert_int_equal(platform_pic_pending(vm), gsi < 16);
		if (gsi < 16)
			assert_int_equal(platform_pic_ack(vm), 0x30 + gsi);
		out(0x20, 0x20), out(0xa0, 0x20);
		platform_irq(vm, gsi, false);
		route(gsi == 0 ? 2 : gsi, MASKED);
	}
	/* Input 2 alone is the IO-APIC's: the 8259 has its cascade there. */
	route(2, 0x77);
	platform_irq(vm, 2, true);
	assert_int_equal(take(), 0x77);
	assert_false(platform_pic_pending(vm));
}

static void timer_interrupt(void **state)
{
	(void)state;
	init_pic();
	route(PC_GSI_PIT, 0x50);
	out(0x43, 0x34), out(0x40, 0x9c), out(0x40, 0x2e); /* 11932: 100 Hz */
	pass(VM_RIG_HZ / 100 - 1000);
	assert_int_equal(take(), -1);
	assert_false(platform_pic_pending(vm));
	pass(2000);
	assert_int_equal(take(), 0x50);
	assert_true(platform_pic_pending(vm));
	assert_int_equal(platform_pic_ack(vm), 0x30);
	out(0x20, 0x20);
	lapic_eoi();
	pass(VM_RIG_HZ / 100);
	assert_int_equal(take(), 0x50);
	assert_int_equal(platform_pic_ack(vm), 0x30);
}

static void rtc_uart_and_pm_lines(void **state)
{
	(void)state;
	route(PC_GSI_RTC, 0x58);
	route(PC_GSI_COM1, 0x54);
	route(PC_GSI_SCI, LEVEL | 0x59);
	out(0x3f9, 0x02); /* transmitter empty */
	assert_int_equal(take(), 0x54);
	lapic_eoi();
	cmos(0x0b, 0x12);
	pass(VM_RIG_HZ + 10);
	assert_int_equal(take(), 0x58);
	lapic_eoi();
	vm_port_write(vm, 0x602, 2, 0x100);
	platform_power_button(vm);
	assert_int_equal(take(), 0x59);
	lapic_eoi(); /* the button is still noted: the level comes back */
	assert_int_equal(take(), 0x59);
	vm_port_write(vm, 0x600, 2, 0x100);
	lapic_eoi();
	assert_int_equal(take(), -1);
	assert_int_equal(ioapic(0x10 + 2 * PC_GSI_SCI), LEVEL | 0x59);
}

static bool pic_reaches_vcpu(void) { return platform_pic_pending(vm) && vlapic_accepts_pic(&v->lapic); }

static void the_8259_needs_lint0(void **state)
{
	(void)state;
	init_pic();
	platform_irq(vm, 4, true);
	assert_true(pic_reaches_vcpu()); /* as firmware leaves it: virtual wire */
	vcpu_mmio_write(v, VLAPIC_BASE + APIC_REG_LVT_LINT0, 4, MASKED | 0x700);
	assert_false(pic_reaches_vcpu());
	vcpu_mmio_write(v, VLAPIC_BASE + APIC_REG_LVT_LINT0, 4, 0x66); /* a vector of its own */
	assert_false(pic_reaches_vcpu());
	platform_irq(vm, 4, false);
	platform_irq(vm, 4, true);
	assert_int_equal(take(), 0x66);
	lapic_eoi();
	vcpu_mmio_write(v, VLAPIC_BASE + APIC_REG_LVT_LINT0, 4, 0x700);
	assert_true(pic_reaches_vcpu());
	assert_int_equal(platform_pic_ack(vm), 0x34);
}

static void pulse(unsigned gsi)
{
	platform_irq(vm, gsi, true);
	platform_irq(vm, gsi, false);
}

static void messages_find_their_processor(void **state)
{
	(void)state;
	for (unsigned lowest = 0; lowest < 2; lowest++) {
		uint32_t entry = (lowest << 8) | (0x61 + 0x10 * lowest);

		set_ioapic(0x11 + 2 * 5, 7u << 24); /* nobody */
		route(5, entry);
		pulse(5);
		assert_int_equal(take(), -1);
		route(5, LEVEL | entry);
		pulse(5);
		assert_int_equal(ioapic(0x10 + 2 * 5), LEVEL | entry); /* no EOI is waited for */
		set_ioapic(0x11 + 2 * 5, 0xffu << 24);
		pulse(5);
		assert_int_equal(take(), 0x61 + 0x10 * lowest);
		assert_int_equal(ioapic(0x10 + 2 * 5), LEVEL | 0x4000 | entry);
		lapic_eoi();
		assert_int_equal(ioapic(0x10 + 2 * 5), LEVEL | entry);
	}
	set_ioapic(0x11 + 2 * 5, 0);
	route(5, 0x400);
	pulse(5);
	assert_true(v->nmi_pending);
}

/* ---- in the run loop ---- */

static void set_if(bool on)
{
	fake(v)->regs[REG_RFLAGS] = RFLAGS_FIXED1 | (on ? RFLAGS_IF : 0);
}

static int injected(void)
{
	int at = fake_last(v, CALL_INJECT);

	return at < 0 ? -1 : (int)fake(v)->log[at].a;
}

static void a_halted_guest_wakes_by_the_pit_through_the_8259(void **state)
{
	static const struct fake_step script[] = {{.exit = {.kind = EXIT_HLT, .length = 1}, .ticks = 100}};
	enum sched_end end;

	(void)state;
	in_its_turn(false);
	init_pic();
	out(0x43, 0x30), out(0x40, 0x9c), out(0x40, 0x2e); /* one shot, 10 ms */
	set_if(true);
	fake_play(v, script, 1);
	assert_ptr_equal(vm_rig_turn(&end), &v->entity);
	assert_int_equal(end, SCHED_END_BLOCKED);
	assert_null(vm_rig_turn(&end));
	fake_host_advance(VM_RIG_HZ / 100 - 1000);
	assert_null(vm_rig_turn(&end));
	fake_host_advance(2000);
	assert_ptr_equal(vm_rig_turn(&end), &v->entity);
	assert_int_equal(injected(), 0x30);
}

static void typed_input_wakes_a_halted_guest(void **state)
{
	static const struct fake_step script[] = {{.exit = {.kind = EXIT_HLT, .length = 1}, .ticks = 100}};
	enum sched_end end;

	(void)state;
	in_its_turn(false);
	route(PC_GSI_COM1, 0x54);
	out(0x3fa, 0xc1); /* FIFOs, trigger at 14 */
	out(0x3f9, 0x01);
	set_if(true);
	fake_play(v, script, 1);
	vm_rig_turn(&end);
	assert_int_equal(end, SCHED_END_BLOCKED);
	assert_int_equal(vm_console_input(vm, "x", 1), 1);
	/* Below the trigger level: the vcpu is woken to arm its timer, and by it. */
	assert_ptr_equal(vm_rig_turn(&end), &v->entity);
	assert_int_equal(end, SCHED_END_BLOCKED);
	assert_int_equal(injected(), -1);
	fake_host_advance(VM_RIG_HZ / 1000);
	assert_ptr_equal(vm_rig_turn(&end), &v->entity);
	assert_int_equal(injected(), 0x54);
	assert_int_equal(in(0x3fa), 0xcc);
	assert_int_equal(in(0x3f8), 'x');
}

static void output_is_in_the_console(void **state)
{
	char text[3] = "";
	uint64_t seq = 0;

	(void)state;
	out(0x3f8, 'o'), out(0x3f8, 'k');
	assert_int_equal(bytelog_read(&vm->console.out, &seq, text, 2), 2);
	assert_string_equal(text, "ok");
}

/* A port write in the run loop, then the VM must be off the CPU with this state and reason. */
static void leaves_by(uint16_t port, uint8_t size, uint32_t value, enum vm_state st, enum vm_reason reason)
{
	struct fake_step script[2] = {{.ticks = 10}, {.ticks = 10}};
	enum sched_end end;

	in_its_turn(false);
	script[0].exit = (struct exit){.kind = EXIT_IO, .length = 1, .u.io = {.port = port, .size = size}};
	script[1].exit = (struct exit){.kind = EXIT_HYPERCALL, .length = 3};
	v->gpr[GPR_RAX] = value;
	fake_play(v, script, 2);
	assert_ptr_equal(vm_rig_turn(&end), &v->entity);
	assert_int_equal(end, SCHED_END_BLOCKED);
	assert_int_equal(fake(v)->next, 1); /* no instruction after it */
	assert_int_equal(vm->state, st);
	assert_int_equal(vm->reason, reason);
	assert_null(vm_rig_turn(&end));
}

static void power_off_ends_the_vm(void **state)
{
	(void)state;
	leaves_by(0x604, 2, 0x2000 | PC_S5_SLP_TYP << 10, VM_STOPPED, REASON_POWER_OFF);
}

static void debug_exit_ends_the_vm(void **state)
{
	(void)state;
	leaves_by(0xf4, 4, 0xc0ffee, VM_STOPPED, REASON_DEBUG_EXIT);
	assert_int_equal(vm->exit_code, 0xc0ffee);
}

static void a_reset_starts_the_vm_again(void **state)
{
	uint64_t starts = vm->starts;

	(void)state;
	out(0x80, 0x99);
	leaves_by(PC_PORT_RESET, 1, PC_RESET_VALUE, VM_STOPPED, REASON_RESET);
	for (unsigned i = 0; vm_reap(&vm_rig.machine); i++)
		assert_true(i < 1000);
	assert_int_equal(vm->state, VM_RUNNING);
	assert_int_equal(vm->starts, starts + 1);
	v = vm->vcpus[0];
	assert_int_equal(in(0x80), 0);
	assert_int_equal(in(0xcf9), 0);
}

static void a_keyboard_reset_resets(void **state)
{
	(void)state;
	leaves_by(0x64, 1, 0xfe, VM_STOPPED, REASON_RESET);
}

/* ---- time and reset ---- */

static uint64_t wall_clock(void) { return 951782399; } /* 2000-02-28 23:59:59 */

static void the_clock_starts_at_the_hosts_date(void **state)
{
	struct vm *other;

	(void)state;
	out(0x70, 0x32);
	assert_int_equal(in(0x71), 0x20); /* no date known: 2000 */
	out(0x70, 0x09);
	assert_int_equal(in(0x71), 0x00);
	fake_host.ops.wall_clock = wall_clock;
	other = vm_rig_start("b", GUEST_BYTES);
	hand_clock_advance(VM_RIG_HZ + 1);
	vm_port_write(other, 0x70, 1, 0x07);
	assert_int_equal(vm_port_read(other, 0x71, 1), 0x29);
	vm_port_write(other, 0x70, 1, 0x08);
	assert_int_equal(vm_port_read(other, 0x71, 1), 0x02);
}

static void reset_puts_every_device_back(void **state)
{
	(void)state;
	init_pic();
	route(4, 0x54);
	out(0x43, 0x34), out(0x40, 0), out(0x40, 1);
	out(0x3f9, 0x02), out(0x3ff, 1), out(0x80, 1), out(0x4d0, 0x08), out(0x61, 3);
	cmos(0x0b, 0x72);
	vm_port_write(vm, 0x602, 2, 0x101);
	platform_power_button(vm);
	pass(VM_RIG_HZ);
	platform_reset(vm);
	assert_true(vm->timers.next == TIMERQ_NEVER);
	assert_false(platform_pic_pending(vm));
	assert_int_equal(ioapic(0x18), MASKED);
	assert_int_equal(in(0x21) & in(0xa1), 0xff);
	assert_int_equal(in(0x3f9) | in(0x3ff) | in(0x80) | in(0x4d0) | (in(0x61) & 3), 0);
	assert_int_equal(vm_port_read(vm, 0x600, 4), 0);
	out(0x70, 0x0b);
	assert_int_equal(in(0x71), 0x02);
	/* No line was left active: levels make no interrupt, and edges none that nobody sent. */
	init_pic();
	for (unsigned gsi = 3; gsi < 24; gsi++)
		route(gsi, LEVEL | 0x40);
	take();
	lapic_eoi();
	assert_int_equal(take(), -1);
	assert_false(platform_pic_pending(vm));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(devices_answer_where_they_should),
		T(pci_probing_does_not_reset),
		T(no_debug_exit_unless_asked_for),
		T(a_taken_range_is_named),
		T(isa_lines_reach_both_controllers),
		T(timer_interrupt),
		T(rtc_uart_and_pm_lines),
		T(the_8259_needs_lint0),
		T(messages_find_their_processor),
		T(a_halted_guest_wakes_by_the_pit_through_the_8259),
		T(typed_input_wakes_a_halted_guest),
		T(output_is_in_the_console),
		T(power_off_ends_the_vm),
		T(debug_exit_ends_the_vm),
		T(a_reset_starts_the_vm_again),
		T(a_keyboard_reset_resets),
		T(the_clock_starts_at_the_hosts_date),
		T(reset_puts_every_device_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
