/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wiring of the PC. An ISA interrupt reaches the 8259 pair and the IO-APIC
 * at once, as on a board; which of them the guest listens to is the guest's
 * choice by their masks. The devices live in one block of the VM's arena, their
 * timers on the VM's queue, and both under the VM's lock: whoever accesses a device
 * holds it. What ends the machine (power-off, reset, debug exit) becomes an event
 * of the VM, whose vcpus leave at their next request test.
 */
#include "guest/platform.h"

#include "guest/boot.h"
#include "guest/cpuid.h"
#include "guest/machine.h"
#include "guest/pc.h"
#include "guest/vdebug.h"
#include "guest/vioapic.h"
#include "guest/vm_devices.h"
#include "guest/vm_virtio.h"
#include "guest/vpci.h"
#include "guest/vpic.h"
#include "guest/vpit.h"
#include "guest/vpm.h"
#include "guest/vrtc.h"
#include "guest/vsys.h"
#include "guest/vuart.h"
#include "lib/bits.h"
#include "lib/x86_regs.h"

struct platform {
	struct vm *vm;
	struct vpic pic;
	struct vioapic ioapic;
	struct vpit pit;
	struct vrtc rtc;
	struct vpm pm;
	struct vuart uart;
	struct vsys sys;
	struct vdebug debug;
	struct vpci pci;
	struct vm_virtio *virtio;
};

/* MSI (SDM 3A 11.11): what the address and the data of a message say. */
#define MSI_ADDRESS 0xfee00000ull
#define MSI_ADDRESS_MASK MASK(63, 20)
#define MSI_LOGICAL BIT(2)
#define MSI_LEVEL BIT(15)
#define MSI_BROADCAST 0xffu

uint64_t platform_bytes(const struct vm_config *cfg)
{
	return align_up(sizeof(struct platform), VM_VIRTIO_ALIGN) + vm_virtio_bytes(cfg);
}

static struct vcpu *boot_vcpu(const struct vm *vm) { return vm->vcpus[0]; }

/* ---- interrupts ---- */

/*
 * @gsi: ISA interrupt below 16, with 0 wired to the IO-APIC's input PC_GSI_PIT, and the IO-APIC's own number
 * from 16 on.
 */
void platform_irq(struct vm *vm, unsigned gsi, bool level)
{
	struct platform *p = vm->platform;

	if (gsi < PC_ISA_IRQS && gsi != PC_IRQ_CASCADE)
		vpic_set(&p->pic, gsi, level);
	vioapic_set(&p->ioapic, gsi == PC_IRQ_PIT ? PC_GSI_PIT : gsi, level);
}

static void set_line(void *ctx, unsigned gsi, bool level)
{
	struct platform *p = ctx;

	platform_irq(p->vm, gsi, level);
}

/* INT of the 8259 pair: LINT0 of the boot processor. */
static void pic_output(void *ctx, bool level)
{
	struct platform *p = ctx;

	if (level)
		vcpu_assert_lint0(boot_vcpu(p->vm));
}

bool platform_pic_pending(struct vm *vm) { return vpic_pending(&vm->platform->pic); }

/* The request may have gone since it was seen: then the vector is a spurious one, as on a board. */
uint8_t platform_pic_ack(struct vm *vm)
{
	uint8_t vector;

	vm_enter_devices(vm);
	vector = vpic_ack(&vm->platform->pic);
	vm_leave_devices(vm);
	return vector;
}

void platform_eoi(struct vm *vm, uint8_t vector)
{
	vm_enter_devices(vm);
	vioapic_eoi(&vm->platform->ioapic, vector);
	vm_leave_devices(vm);
}

/*
 * Of those that a lowest-priority message names one takes it, chosen by the vector: the processor priorities are known
 * to the CPUs that run the vcpus alone. All vectors of a device then go to one, which has them in its cache.
 */
static __attribute__((noinline)) struct vcpu *arbitrate(struct vm *vm, uint32_t dest, bool logical, uint8_t vector)
{
	struct vcpu *named[VM_VCPUS_MAX];
	unsigned count = 0;

	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		const struct vlapic *l = &vm->vcpus[i]->lapic;

		if (vlapic_matches(l, dest, logical) && vlapic_listens(l))
			named[count++] = vm->vcpus[i];
	}
	return count ? named[vector % count] : NULL;
}

/* False: @v was not made to look at it, since it was less than @gap ago. */
__attribute__((always_inline)) static inline bool post(struct vcpu *v, const struct apic_message *msg, uint64_t gap)
{
	bool vector = msg->delivery == APIC_DELIVERY_FIXED || msg->delivery == APIC_DELIVERY_LOWEST;

	if (gap != 0 && vector && !msg->level)
		return vcpu_post_after(v, msg->vector, gap);
	vcpu_message(v, msg->delivery, msg->vector, msg->level);
	return true;
}

/* How many were not made to look goes to *@unseen. */
__attribute__((always_inline)) static inline bool deliver_after(struct vm *vm, const struct apic_message *msg,
								uint64_t gap, unsigned *unseen)
{
	bool taken = false;

	if (msg->delivery == APIC_DELIVERY_LOWEST) {
		struct vcpu *v = arbitrate(vm, msg->dest, msg->logical, msg->vector);

		if (v)
			*unseen += !post(v, msg, gap);
		return v;
	}
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		struct vcpu *v = vm->vcpus[i];

		if (!vlapic_matches(&v->lapic, msg->dest, msg->logical))
			continue;
		*unseen += !post(v, msg, gap);
		taken = true;
	}
	return taken;
}

static bool deliver(void *ctx, const struct apic_message *msg)
{
	struct platform *p = ctx;
	unsigned unseen = 0;

	return deliver_after(p->vm, msg, 0, &unseen);
}

/*
 * A function's interrupt. Whatever a guest has written for its address goes nowhere but to local APICs. The redirection
 * hint says no more than the delivery mode does.
 */
static bool message_after(void *ctx, uint64_t address, uint32_t data, uint64_t gap)
{
	struct platform *p = ctx;
	unsigned unseen = 0;
	uint8_t dest = (uint8_t)FIELD(address, 19, 12);
	const struct apic_message msg = {
		.dest = dest == MSI_BROADCAST ? UINT32_MAX : dest,
		.logical = address & MSI_LOGICAL,
		.level = data & MSI_LEVEL,
		.vector = (uint8_t)data,
		.delivery = data & APIC_LVT_DELIVERY_MASK,
	};

	if ((address & MSI_ADDRESS_MASK) == MSI_ADDRESS)
		(void)deliver_after(p->vm, &msg, gap, &unseen);
	return unseen == 0;
}

static void message(void *ctx, uint64_t address, uint32_t data) { (void)message_after(ctx, address, data, 0); }

static bool nudge(void *ctx, uint64_t gap)
{
	const struct platform *p = ctx;
	bool all = true;

	for (unsigned i = 0; i < p->vm->vcpu_count; i++)
		all &= vcpu_nudge(p->vm->vcpus[i], gap);
	return all;
}

/* ---- the end of the machine ---- */

static void leave(void *ctx, enum vm_reason reason, uint32_t code)
{
	const struct platform *p = ctx;

	vm_event_locked(p->vm, reason, code);
}

static void power_off(void *ctx) { leave(ctx, REASON_POWER_OFF, 0); }
static void reset(void *ctx) { leave(ctx, REASON_RESET, 0); }
static void debug_exit(void *ctx, uint32_t code) { leave(ctx, REASON_DEBUG_EXIT, code); }

static const struct system_ops system_ops = {.power_off = power_off, .reset = reset, .debug_exit = debug_exit};

void platform_power_button(struct vm *vm) { vpm_power_button(&vm->platform->pm); }

/* ---- console ---- */

static void console_has_input(void *ctx)
{
	struct platform *p = ctx;

	if (console_has_port(&p->vm->console))
		vm_virtio_console_typed(p->virtio);
	else
		vuart_input(&p->uart);
}

/* ---- creation ---- */

static struct irq_line line(struct platform *p, unsigned irq) { return (struct irq_line){set_line, p, irq}; }

static struct vpci_high high_window(const struct vm *vm)
{
	uint64_t size = vm->config.memory.size;

	return vpci_high_window(size - MIN(size, LAYOUT_MMIO_START), vm->cpuid->physical_mask + 1);
}

static void init_devices(struct platform *p)
{
	struct vm *vm = p->vm;
	struct timerq *timers = &vm->timers;
	uint64_t wall = host_wall_seconds(vm->machine->host);

	vpic_init(&p->pic, pic_output, p);
	vioapic_init(&p->ioapic, deliver, p);
	vpit_init(&p->pit, &vm->time, timers, line(p, PC_IRQ_PIT));
	vrtc_init(&p->rtc, wall, &vm->time, timers, line(p, PC_IRQ_RTC));
	vpm_init(&p->pm, &vm->time, timers, line(p, PC_IRQ_SCI), &system_ops, p);
	vuart_init(&p->uart, &vm->console, &vm->time, timers, line(p, PC_IRQ_COM1));
	vsys_init(&p->sys, &system_ops, p);
	vdebug_init(&p->debug, &system_ops, p);
	vpci_init(&p->pci, high_window(vm), &p->sys.dev, VSYS_CONFIG, message, p);
	p->pci.message_after = message_after;
	p->pci.nudge = nudge;
}

struct claim {
	uint64_t start, length;
	struct device *dev;
	uint64_t dev_offset;
};

static enum status claim(struct vm *vm, struct bus *bus, const struct claim *claims, unsigned count, struct error *err)
{
	for (unsigned i = 0; i < count; i++) {
		const struct claim *c = &claims[i];
		enum status st = bus_add(bus, c->start, c->length, c->dev, c->dev_offset);

		if (st != ST_OK)
			return fail(err, st, "VM %s: device %s cannot have %s range 0x%llx..0x%llx: %s", vm->config.name,
				    c->dev->ops->name, bus->name, (unsigned long long)c->start,
				    (unsigned long long)(c->start + c->length - 1), status_name(st));
	}
	return ST_OK;
}

static enum status claim_ranges(struct platform *p, struct error *err)
{
	const struct claim ports[] = {
		{PC_PORT_PIC_MASTER, 2, &p->pic.dev, VPIC_MASTER},
		{PC_PORT_PIC_SLAVE, 2, &p->pic.dev, VPIC_SLAVE},
		{PC_PORT_PIC_ELCR, 2, &p->pic.dev, VPIC_ELCR},
		{PC_PORT_PIT, 4, &p->pit.dev, 0},
		{PC_PORT_NMI_SC, 1, &p->pit.dev, VPIT_PORT_61},
		{PC_PORT_KBD_DATA, 1, &p->sys.dev, VSYS_KBD_DATA},
		{PC_PORT_KBD_CMD, 1, &p->sys.dev, VSYS_KBD_CMD},
		{PC_PORT_FAST_A20, 1, &p->sys.dev, VSYS_FAST_A20},
		{PC_PORT_POST, 1, &p->sys.dev, VSYS_POST},
		{PC_PORT_RTC, 2, &p->rtc.dev, 0},
		{PC_PM_BASE, PC_PM_LEN, &p->pm.dev, 0},
		{PC_PORT_COM1, VUART_LEN, &p->uart.dev, 0},
		{PC_PORT_DEBUG_EXIT, VDEBUG_LEN, &p->debug.dev, 0}, /* last: optional */
	};
	const struct claim memory[] = {{PC_IOAPIC_BASE, PC_IOAPIC_SIZE, &p->ioapic.dev, 0}};
	struct vm *vm = p->vm;
	unsigned count = ARRAY_SIZE(ports) - (vm->config.debug_exit ? 0 : 1);
	enum status st = claim(vm, &vm->pio, ports, count, err);

	if (st == ST_OK)
		st = claim(vm, &vm->mmio, memory, ARRAY_SIZE(memory), err);
	return st == ST_OK ? vpci_claim(&p->pci, &vm->pio, &vm->mmio, err) : st;
}

enum status platform_create(struct vm *vm, struct error *err)
{
	struct platform *p = arena_alloc(&vm->arena, sizeof *p, _Alignof(struct platform));
	enum status st;

	if (!p)
		return fail(err, ST_NO_MEMORY, "VM %s: no room for its devices in its arena", vm->config.name);
	p->vm = vm;
	vm->platform = p;
	init_devices(p);
	st = claim_ranges(p, err);
	if (st != ST_OK)
		return st;
	vm->console.input_ctx = p;
	vm->console.input = console_has_input;
	return ST_OK;
}

struct vpci_high platform_pci_high(const struct vm *vm)
{
	const struct vpci_window *w = &vm->platform->pci.high;

	return (struct vpci_high){w->start, w->length};
}

enum status platform_plug(struct vm *vm, struct error *err)
{
	return vm_virtio_create(vm, &vm->platform->pci, &vm->platform->virtio, err);
}

bool platform_quiesce(struct vm *vm, uint64_t until, const struct vm_disk **held)
{
	struct vm_virtio *v = platform_virtio(vm);

	*held = NULL;
	if (!v || vm_virtio_quiesce(v, until))
		return true;
	*held = vm_virtio_held(v);
	return false;
}

void platform_stop(struct vm *vm)
{
	if (vm->platform && vm->platform->virtio)
		vm_virtio_stop(vm->platform->virtio);
}

struct vm_virtio *platform_virtio(const struct vm *vm)
{
	return vm->platform ? vm->platform->virtio : NULL;
}

void platform_resumed(struct vm *vm)
{
	if (vm->platform->virtio)
		vm_virtio_retry(vm->platform->virtio);
}

void platform_reset(struct vm *vm)
{
	struct platform *p = vm->platform;
	/* Interrupt controllers first: the others set their lines. */
	struct device *devices[] = {&p->pic.dev, &p->ioapic.dev, &p->pit.dev,  &p->rtc.dev,
				    &p->pm.dev,	 &p->uart.dev,	 &p->sys.dev};

	for (unsigned i = 0; i < ARRAY_SIZE(devices); i++)
		devices[i]->ops->reset(devices[i]);
}
