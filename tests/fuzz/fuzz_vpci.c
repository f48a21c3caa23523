/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that does anything to its PCI bus: configuration space by both ways,
 * base address registers moved, MSI-X tables and the registers of virtio devices
 * written in every width, rings of any content kicked, by a VM with an entropy
 * device and two disks, whose requests are answered at once or late, or find no
 * space. Now and then: what cannot be written stands, and memory management's walk
 * finds its pins. At the end the VM is stopped in the middle of it all and must
 * leave nothing behind.
 *
 * Addresses are drawn from where something is, so that inputs are short; values
 * are the input's.
 */
#include <stdlib.h>
#include <string.h>

#include "guest/gmem.h"
#include "guest/pc.h"
#include "guest/virtio_pci.h"
#include "guest/vm_devices.h"
#include "tests/fakes/no_boot.h"
#include "tests/fakes/ram_disks.h"
#include "tests/fakes/vm_rig.h"

#define HOST_RAM (8ull << 20)
#define GUEST_BYTES (1ull << 20)
#define STEPS_MAX 400
#define FUNCTIONS 4u /* bridge, two disks, entropy */
#define RINGS 0x10000u /* where the rings of whoever takes our advice are */

#define REQUIRE(cond)            \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

static struct vm *vm;
static struct vcpu *v;
static uint8_t ids[FUNCTIONS][16];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at, *end;
};

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes && in->at < in->end; i++)
		value |= (uint64_t)*in->at++ << 8 * i;
	return value;
}

/* ---- what a guest does ---- */

static uint64_t ecam(unsigned slot, unsigned at) { return PC_ECAM_BASE + slot * 0x8000 + at; }
static uint32_t cfg(unsigned slot, unsigned at, unsigned size) { return (uint32_t)vcpu_mmio_read(v, ecam(slot, at), size); }

static uint64_t bar(unsigned slot, unsigned n)
{
	uint64_t low = cfg(slot, VPCI_BAR0 + n * 4, 4);

	if (low & VPCI_BAR_IO)
		return low & ~3ull;
	return (low & ~0xfull) | (low & VPCI_BAR_64 ? (uint64_t)cfg(slot, VPCI_BAR0 + n * 4 + 4, 4) << 32 : 0);
}

static void mmio(struct input *in, uint64_t at, unsigned how)
{
	unsigned size = 1u << (how & 3);

	if (how & 4)
		vcpu_mmio_write(v, at, size, take(in, size));
	else
		REQUIRE(size == 8 || vcpu_mmio_read(v, at, size) < BIT(8 * size));
}

static void port(struct input *in, uint64_t at, unsigned how)
{
	unsigned size = 1u << how % 3;

	if (how & 4)
		vm_port_write(vm, at & 0xffff, size, take(in, size));
	else
		REQUIRE(vm_port_read(vm, at & 0xffff, size) < BIT(8 * size));
}

/* A queue as a sound driver would have it, of which the input then spoils what it likes. */
static void set_up(unsigned slot, unsigned queue)
{
	uint64_t common = bar(slot, VIRTIO_PCI_MEMORY_BAR);

	vcpu_mmio_write(v, ecam(slot, VPCI_COMMAND), 2, VPCI_COMMAND_IO | VPCI_COMMAND_MEMORY | VPCI_COMMAND_MASTER);
	vcpu_mmio_write(v, common + 20, 1, 3);
	for (unsigned half = 0; half < 2; half++) {
		vcpu_mmio_write(v, common, 4, half);
		vcpu_mmio_write(v, common + 8, 4, half);
		vcpu_mmio_write(v, common + 12, 4, vcpu_mmio_read(v, common + 4, 4));
	}
	vcpu_mmio_write(v, common + 20, 1, 0xb);
	vcpu_mmio_write(v, common + 22, 2, queue);
	vcpu_mmio_write(v, common + 24, 2, 16);
	for (unsigned i = 0; i < 3; i++)
		vcpu_mmio_write(v, common + 32 + i * 8, 4, RINGS + slot * 0x4000 + i * 0x1000);
	vcpu_mmio_write(v, common + 26, 2, 1);
	vcpu_mmio_write(v, common + 28, 2, 1);
	vcpu_mmio_write(v, common + 20, 1, 0xf);
}

/* Descriptors, rings and whatever is beside them. */
static void write_memory(struct input *in, unsigned slot)
{
	uint16_t where = (uint16_t)take(in, 2);
	uint8_t bytes[16];
	unsigned count = 1 + (unsigned)take(in, 1) % sizeof bytes;

	for (unsigned i = 0; i < count; i++)
		bytes[i] = (uint8_t)take(in, 1);
	REQUIRE(gmem_write(vm, gpa(RINGS + slot * 0x4000 + where % 0x4000), bytes, count) == ST_OK);
}

static void put_desc(uint64_t table, unsigned n, uint64_t at, uint32_t bytes, uint16_t flags)
{
	uint8_t desc[16];

	put_le64(desc, at);
	put_le32(desc + 8, bytes);
	put_le16(desc + 12, flags);
	put_le16(desc + 14, (uint16_t)(n + 1));
	REQUIRE(gmem_write(vm, gpa(table + n * 16), desc, sizeof desc) == ST_OK);
}

/* A request as disks have them (entropy: buffers that it may not write to), and a kick. */
static void request(struct input *in, unsigned slot)
{
	uint64_t rings = RINGS + slot * 0x4000, header = rings + 0x3000;
	uint8_t head[16] = {(uint8_t)take(in, 1), [8] = (uint8_t)take(in, 1)};
	uint16_t index, zero = 0;

	REQUIRE(gmem_write(vm, gpa(header), head, sizeof head) == ST_OK);
	put_desc(rings, 0, header, sizeof head, VIRTQ_DESC_F_NEXT);
	put_desc(rings, 1, header + 0x200, 512, head[0] == VIRTIO_BLK_T_IN ? 3 : VIRTQ_DESC_F_NEXT);
	put_desc(rings, 2, header + 0x400, 1, VIRTQ_DESC_F_WRITE);
	REQUIRE(gmem_read(vm, gpa(rings + 0x1002), &index, 2) == ST_OK);
	REQUIRE(gmem_write(vm, gpa(rings + 0x1004 + index % 16 * 2), &zero, 2) == ST_OK);
	index++;
	REQUIRE(gmem_write(vm, gpa(rings + 0x1002), &index, 2) == ST_OK);
	vm_port_write(vm, bar(slot, VIRTIO_PCI_IO_BAR) & 0xffff, 2, 0);
}

static void work(void)
{
	fake_host.cpu.need_resched = true; /* one step */
	(void)vm->io.entity.run(&vm->io.entity, UINT64_MAX);
}

static void access(struct input *in, uint8_t op)
{
	unsigned slot = op >> 3 & 3, how = op & 7;

	switch (op >> 5) {
	case 0:
		mmio(in, ecam(slot, (unsigned)take(in, 1)), how);
		break;
	case 1:
		port(in, 0xcf8 + how % 8, (unsigned)take(in, 1));
		break;
	case 2: /* registers and notify addresses of the memory BAR */
		mmio(in, bar(slot, VIRTIO_PCI_MEMORY_BAR) + take(in, 2) % (VIRTIO_PCI_BAR_BYTES + 16) - 8, how);
		break;
	case 3:
		mmio(in, bar(slot, VIRTIO_PCI_MSIX_BAR) + take(in, 2) % (VPCI_MSIX_REGION + 8), how);
		break;
	case 4:
		port(in, bar(slot, VIRTIO_PCI_IO_BAR) + take(in, 1), how);
		break;
	case 5:
		write_memory(in, slot);
		break;
	case 6: /* the capabilities */
		mmio(in, ecam(slot, VPCI_HEADER_BYTES + (unsigned)take(in, 1) % 0xc0), how);
		break;
	default:
		if (how == 0 && slot > 0)
			set_up(slot, 0);
		else if (how == 1)
			work();
		else if (how == 2)
			ram_disks.hold = !ram_disks.hold;
		else if (how == 3)
			(void)ram_disks_answer(1 + slot);
		else if (how == 4)
			ram_disks.full = !ram_disks.full;
		else if (how == 5)
			request(in, slot);
	}
}

/* ---- what must hold ---- */

static void read_fixed(unsigned slot, uint8_t out[16])
{
	static const uint8_t at[16] = {0, 1, 2, 3, 8, 9, 10, 11, 14, 0x2c, 0x2d, 0x2e, 0x2f, 0x34, 0x3d, 6};

	for (unsigned i = 0; i < sizeof at; i++)
		out[i] = (uint8_t)cfg(slot, at[i], 1);
}

static void check(void)
{
	struct error err;
	uint8_t now[16];

	for (unsigned slot = 0; slot < FUNCTIONS; slot++) {
		read_fixed(slot, now);
		REQUIRE(memcmp(now, ids[slot], sizeof now) == 0);
	}
	REQUIRE(memmgr_check(vm_rig.machine.mm, &err));
}

static void start(void)
{
	struct vm_config cfg = vm_rig_config("a", GUEST_BYTES);
	struct error err;

	vm_rig_init(HOST_RAM);
	ram_disks_init();
	vm_rig.machine.disk_ops = &ram_disk_ops;
	cfg.disk_count = 2;
	for (unsigned i = 0; i < 2; i++) {
		vm_disk_init(&cfg.disks[i]);
		strcpy(cfg.disks[i].name, i ? "b" : "a");
		strcpy(cfg.disks[i].volume, i ? "two" : "one");
	}
	cfg.disks[1].read_only = true;
	REQUIRE(vm_define(&vm_rig.machine, &cfg, &vm, &err) == ST_OK);
	REQUIRE(vm_start(vm, &err) == ST_OK);
	v = vm->vcpus[0];
	fake_host.cpu.vcpu = v;
	v->engine->load(v);
	for (unsigned slot = 0; slot < FUNCTIONS; slot++)
		read_fixed(slot, ids[slot]);
}

static void finish(void)
{
	while (ram_disks_answer(100) > 0)
		continue;
	ram_disks.hold = false;
	fake_host.cpu.vcpu = NULL;
	v->engine->put(v);
	vm_rig_fini();
	REQUIRE(ram_disks.disk[0].opened + ram_disks.disk[1].opened == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};

	fake_engine.caps.virtual_interrupts = false;
	start();
	for (unsigned i = 0; i < STEPS_MAX && in.at < in.end; i++) {
		access(&in, (uint8_t)take(&in, 1));
		if (i % 32 == 0)
			check();
	}
	check();
	finish();
	return 0;
}
