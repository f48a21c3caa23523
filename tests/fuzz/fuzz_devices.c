/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that does anything to its devices: port, memory and MSR accesses of
 * all widths, interrupts taken and ended or not, typed input, time in small and
 * huge steps, pause, reset. After each step the state must be one that the
 * devices can be in: priorities as a plain search finds them, no timer left
 * behind, an IO-APIC that owes no EOI it cannot get, an interrupt output of the
 * 8259s that the acknowledge agrees with.
 */
#include <stdalign.h>
#include <string.h>

#include "guest/cpuid.h"
#include "guest/machine.h"
#include "guest/pc.h"
#include "guest/platform.h"
#include "guest/vm_devices.h"
#include "guest/vm_internal.h"
#include "lib/bits.h"
#include "lib/x86_regs.h"
#include "tests/fakes/fake_host.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fuzz/input.h"

#define HZ 50000000ull
#define ARENA_BYTES 65536u
#define TIMERS 5 /* local APIC, PIT, RTC, PM block, UART */
#define STEPS_MAX 2000

static struct machine machine;
static struct vm vm;
static struct vcpu vcpu;
static struct cpuid_table cpuid;
static alignas(4096) uint8_t apic_page[4096];
static alignas(64) uint8_t arena[ARENA_BYTES];
static uint8_t console_log[CONSOLE_LOG_BYTES], console_input_ring[CONSOLE_INPUT_BYTES];
static bool in_service[256]; /* what was taken and not ended, by our own books */

/* ---- the machine ---- */

static void ignore(void *ctx) { (void)ctx; }
static void ignore_vector(void *ctx, uint8_t vector) { (void)ctx, (void)vector; }
static void on_ipi(void *ctx, uint64_t icr) { (void)ctx, (void)icr; }

static void on_init(void *ctx)
{
	(void)ctx;
	memset(in_service, 0, sizeof in_service);
	vlapic_reset(&vcpu.lapic, true);
}

static void on_eoi(void *ctx, uint8_t vector)
{
	(void)ctx;
	platform_eoi(&vm, vector);
}

static void on_mode(void *ctx, enum vlapic_mode mode)
{
	(void)ctx;
	if (mode == VLAPIC_DISABLED)
		memset(in_service, 0, sizeof in_service);
}

static const struct vlapic_ops apic_ops = {ignore, ignore_vector, ignore, on_init, ignore_vector, on_ipi, on_eoi, on_mode};

static void start(bool hw_delivery)
{
	struct error err;

	fake_host_init(HZ);
	machine = (struct machine){.host = &fake_host.ops};
	memset(&vm, 0, sizeof vm);
	memset(&vcpu, 0, sizeof vcpu);
	memset(in_service, 0, sizeof in_service);
	vm.machine = &machine;
	cpuid.physical_mask = BIT(39) - 1;
	vm.cpuid = &cpuid;
	vm.state = VM_RUNNING;
	vm.config.debug_exit = true;
	strcpy(vm.config.name, "fuzz");
	vm.vcpus[0] = &vcpu;
	vm.vcpu_count = 1;
	vcpu.vm = &vm;
	vcpu.host = &fake_host.ops;
	fake_host.cpu.vcpu = &vcpu; /* all is done in its turn */
	arena_init(&vm.arena, arena, sizeof arena);
	console_init(&vm.console, console_log, console_input_ring);
	bus_init(&vm.pio, "pio", 0x10000);
	bus_init(&vm.mmio, "mmio", UINT64_MAX);
	vm_time_init(&vm.time, fake_host.ops.clock);
	timerq_init(&vcpu.timers, vcpu.timer_slots, TIMERS);
	lock_init(&vm.lock, LOCK_VM);
	timerq_init(&vm.timers, vm.timer_slots, VM_TIMERS_MAX);
	vm.timers_told = TIMERQ_NEVER;
	timer_init(&vcpu.devices, vm_devices_due);
	vlapic_init(&vcpu.lapic, 0, apic_page, &vcpu.timers, &vm.time, &apic_ops, &vcpu);
	vcpu.lapic.hw_delivery = hw_delivery;
	REQUIRE(platform_create(&vm, &err) == ST_OK);
	platform_reset(&vm);
	vlapic_virtual_wire(&vcpu.lapic);
	vm_time_resume(&vm.time);
}

/* ---- steps ---- */

static uint64_t pick_port(struct input *in)
{
	static const uint16_t bases[] = {0x20, 0xa0, 0x4d0, 0x40, 0x61, 0x60, 0x64, 0x70, 0x80, 0x92, 0xf4, 0x3f8, 0x600,
					 0x608, 0xcf8, 0};
	uint8_t which = (uint8_t)take(in, 1);
	uint16_t base = bases[which % ARRAY_SIZE(bases)];

	return base ? base + (which / ARRAY_SIZE(bases)) % 8 : take(in, 2);
}

static uint64_t pick_memory(struct input *in)
{
	uint8_t which = (uint8_t)take(in, 1);

	switch (which % 4) {
	case 0:
		return PC_IOAPIC_BASE;
	case 1:
		return PC_IOAPIC_BASE + 0x10;
	case 2:
		return VLAPIC_BASE + ((which / 4) << 4 & 0x3f0);
	default:
		return (which & 4 ? PC_IOAPIC_BASE : VLAPIC_BASE) + take(in, 2) % 0x1000;
	}
}

static uint32_t pick_msr(struct input *in)
{
	uint8_t which = (uint8_t)take(in, 1);

	if (which == 0xff)
		return MSR_IA32_APIC_BASE;
	return which >= 0xf0 ? MSR_IA32_TSC_DEADLINE : MSR_X2APIC_FIRST + which;
}

/* What the books say is ended by an EOI; level or edge is the APIC's business. */
static void note_eoi(void)
{
	for (int v = 255; v >= 0; v--) {
		if (in_service[v]) {
			in_service[v] = false;
			return;
		}
	}
}

static void access_memory(struct input *in, bool write)
{
	uint64_t addr = pick_memory(in);
	unsigned size = 1u << take(in, 1) % 4;
	uint64_t value, got;

	if (!write) {
		got = vcpu_mmio_read(&vcpu, addr, size);
		REQUIRE(size == 8 || got < BIT(8 * size));
		return;
	}
	value = take(in, size);
	if (addr == VLAPIC_BASE + APIC_REG_EOI && size >= 4 && vcpu.lapic.mode == VLAPIC_XAPIC)
		note_eoi();
	vcpu_mmio_write(&vcpu, addr, size, value);
}

static void access_port(struct input *in, bool write)
{
	uint64_t port = pick_port(in);
	unsigned size = 1u << take(in, 1) % 3;

	if (write)
		vm_write(&vm, &vm.pio, port, size, take(in, size));
	else
		REQUIRE(vm_read(&vm, &vm.pio, port, size) < BIT(8 * size));
}

static void access_msr(struct input *in, bool write)
{
	uint32_t index = pick_msr(in);
	uint64_t value = 0;

	if (!write) {
		if (vlapic_read_msr(&vcpu.lapic, index, &value) == ST_OK && index >= MSR_X2APIC_FIRST)
			REQUIRE(index == MSR_X2APIC_ICR || value < BIT(32));
		return;
	}
	value = take(in, 8);
	if (index == MSR_X2APIC_EOI && value == 0 && vcpu.lapic.mode == VLAPIC_X2APIC)
		note_eoi();
	if (vlapic_write_msr(&vcpu.lapic, index, value) == ST_OK && index == MSR_IA32_APIC_BASE)
		REQUIRE((vcpu.lapic.base_msr & ~0xfffull) == APIC_BASE_DEFAULT);
}

static void run_timers(void)
{
	uint64_t now = vm_time_tsc(&vm.time);

	if (vm.time.paused)
		return;
	REQUIRE(timerq_run(&vcpu.timers, now) <= TIMERS);
	/* each has looked at the time, and nobody wants the past again */
	REQUIRE(vcpu.timers.next > now && vm.timers.next > now);
}

static void pass_time(struct input *in)
{
	uint8_t shift = (uint8_t)take(in, 1) % 40;

	hand_clock_advance(take(in, 2) << shift >> 8);
	run_timers();
}

/* The vcpu takes what is deliverable: from the 8259s first, as the run loop does. */
static void take_interrupt(void)
{
	int vector;

	if (platform_pic_pending(&vm)) {
		platform_pic_ack(&vm);
		return;
	}
	vector = vlapic_deliverable(&vcpu.lapic);
	if (vector < 0)
		return;
	REQUIRE(vector >= 16 && !in_service[vector]);
	vlapic_accept(&vcpu.lapic, (uint8_t)vector);
	in_service[vector] = true;
}

static void type(struct input *in)
{
	uint8_t text[32];
	unsigned n = (unsigned)take(in, 1) % sizeof text;

	for (unsigned i = 0; i < n; i++)
		text[i] = (uint8_t)take(in, 1);
	console_input(&vm.console, text, n);
}

static void rare(struct input *in)
{
	uint8_t which = (uint8_t)take(in, 1);

	switch (which % 8) {
	case 0:
		vm_enter_devices(&vm);
		platform_power_button(&vm);
		vm_leave_devices(&vm);
		break;
	case 1:
		vm.time.paused ? vm_time_resume(&vm.time) : vm_time_pause(&vm.time);
		break;
	case 2:
		vm_enter_devices(&vm);
		platform_reset(&vm);
		vm_leave_devices(&vm);
		break;
	case 3:
		vlapic_reset(&vcpu.lapic, which & 8);
		memset(in_service, 0, sizeof in_service);
		break;
	case 4:
		vlapic_set_cr8(&vcpu.lapic, which >> 4);
		break;
	default:
		if (which % PC_GSI_COUNT == PC_IRQ_CASCADE)
			break;
		vm_enter_devices(&vm);
		platform_irq(&vm, which % PC_GSI_COUNT, which & 0x20);
		vm_leave_devices(&vm);
		break;
	}
}

static void step(struct input *in)
{
	uint8_t op = (uint8_t)take(in, 1);

	switch (op % 12) {
	case 0:
	case 1:
	case 2:
		access_port(in, true);
		break;
	case 3:
		access_port(in, false);
		break;
	case 4:
	case 5:
		access_memory(in, true);
		break;
	case 6:
		access_memory(in, false);
		break;
	case 7:
		access_msr(in, op & 0x80);
		break;
	case 8:
		take_interrupt();
		break;
	case 9:
		pass_time(in);
		break;
	case 10:
		type(in);
		break;
	default:
		rare(in);
		break;
	}
}

/* ---- what must hold ---- */

static int search(uint32_t base)
{
	for (int v = 255; v >= 0; v--)
		if (get_le32(apic_page + base + v / 32 * 16) >> v % 32 & 1)
			return v;
	return -1;
}

static void check_apic(void)
{
	struct vlapic *l = &vcpu.lapic;
	int isr = search(APIC_REG_ISR), irr = search(APIC_REG_IRR), ppr;

	REQUIRE(vlapic_highest_irr(l) == irr && vlapic_highest_isr(l) == isr);
	for (int v = 255; v > isr; v--)
		REQUIRE(!in_service[v]);
	REQUIRE(isr < 0 || in_service[isr]);
	ppr = MAX((int)(get_le32(apic_page + APIC_REG_TPR) & 0xff) >> 4, isr < 0 ? 0 : isr >> 4);
	REQUIRE(vlapic_ppr(l) >> 4 == ppr);
	REQUIRE(vlapic_deliverable(l) == -1 || (vlapic_deliverable(l) == irr && irr >> 4 > ppr));
}

static void check_ioapic(void)
{
	uint8_t select = (uint8_t)vcpu_mmio_read(&vcpu, PC_IOAPIC_BASE, 1);

	for (unsigned pin = 0; pin < PC_GSI_COUNT; pin++) {
		uint64_t low;

		vcpu_mmio_write(&vcpu, PC_IOAPIC_BASE, 1, 0x10 + 2 * pin);
		low = vcpu_mmio_read(&vcpu, PC_IOAPIC_BASE + 0x10, 4);
		REQUIRE(!(low & (MASK(31, 17) | APIC_LVT_PENDING)));
		REQUIRE(!(low & APIC_LVT_REMOTE_IRR) || (low & APIC_LVT_LEVEL));
	}
	vcpu_mmio_write(&vcpu, PC_IOAPIC_BASE, 1, select);
}

static void check(void)
{
	check_apic();
	check_ioapic();
	REQUIRE(vcpu.timers.count <= TIMERS && vm.timers.count <= VM_TIMERS_MAX);
	REQUIRE(vm.state == VM_RUNNING || vm.reason == REASON_POWER_OFF || vm.reason == REASON_RESET ||
		vm.reason == REASON_DEBUG_EXIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};

	start(take(&in, 1) & 1);
	for (unsigned steps = 0; in.at < in.end && steps < STEPS_MAX; steps++) {
		step(&in);
		check();
	}
	return 0;
}
