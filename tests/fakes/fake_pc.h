/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for the platform's devices and the boot protocols in tests of the
 * machine's core: a few controllable functions in place of guest/platform.h and
 * guest/boot.h. Definitions: include it in exactly one file of a test program,
 * whose symbols then win over those of the library.
 */
#ifndef CORBEL_TESTS_FAKE_PC_H
#define CORBEL_TESTS_FAKE_PC_H

#include <string.h>

#include "guest/boot.h"
#include "guest/machine.h"
#include "guest/platform.h"
#include "lib/x86_regs.h"

/* Four ports of plain storage; a write to the last powers the VM off. */
#define FAKE_PC_PORT 0x500
#define FAKE_PC_PORTS 4
#define FAKE_PC_OFF 3
/* Device memory: 4 KiB of plain storage. */
#define FAKE_PC_MMIO 0xd0000000ull

struct platform {
	struct device dev, mem;
	struct vm *vm;
	uint8_t ports[FAKE_PC_PORTS];
	uint8_t memory[PAGE_SIZE];
};

static struct {
	bool pic_pending;
	uint8_t pic_vector;
	unsigned pic_acks, eois, resets, presses, loads;
	uint8_t last_eoi;
	enum status create, acpi, boot; /* what the next making answers */
	uint64_t rip;                   /* entry state that boot_load sets */
	unsigned reads, writes;         /* accesses to the two devices */
	enum status (*plug)(struct vm *vm); /* devices of the definition; may be NULL */
} fake_pc;

static uint64_t fake_pc_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct platform *p = container_of(dev, struct platform, dev);
	uint64_t value = 0;

	fake_pc.reads++;
	memcpy(&value, p->ports + offset, size);
	return value;
}

static void fake_pc_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct platform *p = container_of(dev, struct platform, dev);

	fake_pc.writes++;
	memcpy(p->ports + offset, &value, size);
	if (offset + size > FAKE_PC_OFF)
		vm_event_locked(p->vm, REASON_POWER_OFF, 7);
}

static uint64_t fake_pc_mem_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct platform *p = container_of(dev, struct platform, mem);
	uint64_t value = 0;

	fake_pc.reads++;
	memcpy(&value, p->memory + offset, size);
	return value;
}

static void fake_pc_mem_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct platform *p = container_of(dev, struct platform, mem);

	fake_pc.writes++;
	memcpy(p->memory + offset, &value, size);
}

static const struct device_ops fake_pc_ops = {.name = "ports", .read = fake_pc_read, .write = fake_pc_write};
static const struct device_ops fake_pc_mem_ops = {.name = "memory", .read = fake_pc_mem_read, .write = fake_pc_mem_write};

uint64_t platform_bytes(const struct vm_config *cfg)
{
	(void)cfg;
	return sizeof(struct platform);
}

enum status platform_plug(struct vm *vm, struct error *err)
{
	(void)err;
	return fake_pc.plug ? fake_pc.plug(vm) : ST_OK;
}

void platform_stop(struct vm *vm) { (void)vm; }
bool platform_quiesce(struct vm *vm, uint64_t until, const struct vm_disk **held)
{
	(void)vm, (void)until, (void)held;
	return true;
}
void platform_resumed(struct vm *vm) { (void)vm; }
struct vm_virtio *platform_virtio(const struct vm *vm)
{
	(void)vm;
	return NULL;
}

enum status platform_create(struct vm *vm, struct error *err)
{
	struct platform *p = arena_alloc(&vm->arena, sizeof *p, 8);

	if (fake_pc.create != ST_OK)
		return fail(err, fake_pc.create, "VM %s: no platform", vm->config.name);
	p->dev.ops = &fake_pc_ops;
	p->mem.ops = &fake_pc_mem_ops;
	p->vm = vm;
	vm->platform = p;
	if (bus_add(&vm->pio, FAKE_PC_PORT, FAKE_PC_PORTS, &p->dev, 0) != ST_OK ||
	    bus_add(&vm->mmio, FAKE_PC_MMIO, PAGE_SIZE, &p->mem, 0) != ST_OK)
		return fail(err, ST_EXISTS, "VM %s: overlap", vm->config.name);
	return ST_OK;
}

void platform_reset(struct vm *vm)
{
	(void)vm;
	fake_pc.resets++;
}

void platform_irq(struct vm *vm, unsigned gsi, bool level)
{
	(void)vm;
	(void)gsi;
	(void)level;
}

bool platform_pic_pending(struct vm *vm)
{
	(void)vm;
	return fake_pc.pic_pending;
}

uint8_t platform_pic_ack(struct vm *vm)
{
	(void)vm;
	fake_pc.pic_pending = false;
	fake_pc.pic_acks++;
	return fake_pc.pic_vector;
}

void platform_eoi(struct vm *vm, uint8_t vector)
{
	(void)vm;
	fake_pc.eois++;
	fake_pc.last_eoi = vector;
}

void platform_power_button(struct vm *vm)
{
	(void)vm;
	fake_pc.presses++;
}

enum status layout_build(const struct vm_config *cfg, struct guest_layout *out, struct error *err)
{
	(void)err;
	*out = (struct guest_layout){.ram_low = MIN(cfg->memory.size, LAYOUT_MMIO_START)};
	out->ram_high = cfg->memory.size - out->ram_low;
	return ST_OK;
}

enum status acpi_build(struct vm *vm, const struct guest_layout *layout, struct error *err)
{
	(void)layout;
	return fake_pc.acpi == ST_OK ? ST_OK : fail(err, fake_pc.acpi, "VM %s: no ACPI", vm->config.name);
}

enum status boot_load(struct vm *vm, const struct guest_layout *layout, struct error *err)
{
	struct vcpu *v = vm->vcpus[0];
	unsigned long masked = vm->machine->host->mask();

	(void)layout;
	fake_pc.loads++;
	v->engine->load(v);
	if (fake_pc.rip)
		v->engine->set_reg(v, REG_RIP, fake_pc.rip);
	vm->machine->host->unmask(masked);
	return fake_pc.boot == ST_OK ? ST_OK : fail(err, fake_pc.boot, "VM %s: not a kernel", vm->config.name);
}

#endif
