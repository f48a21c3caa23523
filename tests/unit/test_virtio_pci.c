/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device on a VM's PCI bus, driven as a guest's driver does it, by ports,
 * ECAM and device memory: the capabilities, the registers, a request from kick to
 * interrupt, each of the ways to kick, pinned rings, and what a VM leaves behind
 * when it is stopped in the middle. The device is the entropy source that every VM
 * has; real VM, real page map, an engine that plays exits.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/gmem.h"
#include "guest/pc.h"
#include "guest/platform.h"
#include "guest/virtio_pci.h"
#include "guest/vm_devices.h"
#include "io/virtio.h"
#include "io/virtio_rng.h"
#include "lib/x86_regs.h"
#include "tests/fakes/no_boot.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (4ull << 20)
#define DESC 0x100000u /* in guest memory */
#define AVAIL 0x101000u
#define USED 0x102000u
#define BUFFER 0x103000u
#define SIZE 8u
#define SLOT 1u
#define VECTOR 0x51u

static struct vm *vm;
static struct vcpu *v;
static uint64_t common, isr, notify_memory; /* where the guest has found them */
static uint16_t notify_port;
static uint16_t offered; /* chains so far */

static int setup(void **state)
{
	(void)state;
	fake_engine.caps.virtual_interrupts = false;
	vm_rig_init(RAM);
	vm = vm_rig_start("a", GUEST_BYTES);
	v = vm->vcpus[0];
	fake_host.cpu.vcpu = v;
	v->engine->load(v);
	offered = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_host.cpu.vcpu = NULL;
	vm_rig_fini();
	return 0;
}

/* ---- a guest's accesses ---- */

static uint64_t rd(uint64_t at, unsigned size) { return vcpu_mmio_read(v, at, size); }
static void wr(uint64_t at, unsigned size, uint64_t value) { vcpu_mmio_write(v, at, size, value); }
static uint32_t cfg(unsigned at, unsigned size) { return (uint32_t)rd(PC_ECAM_BASE + SLOT * 0x8000 + at, size); }
static void set_cfg(unsigned at, unsigned size, uint32_t value) { wr(PC_ECAM_BASE + SLOT * 0x8000 + at, size, value); }

static uint64_t bar(unsigned n)
{
	uint64_t low = cfg(VPCI_BAR0 + n * 4, 4);

	if (low & 1)
		return low & ~3ull;
	return (low & ~0xfull) | (low & 4 ? (uint64_t)cfg(VPCI_BAR0 + n * 4 + 4, 4) << 32 : 0);
}

/* The @nth capability of the vendor's of type @type; 0: none. */
static unsigned find_cap(unsigned type, unsigned nth)
{
	for (unsigned at = cfg(VPCI_CAPABILITIES, 1); at; at = cfg(at + 1, 1))
		if (cfg(at, 1) == VPCI_CAP_VENDOR && cfg(at + 3, 1) == type && nth-- == 0)
			return at;
	return 0;
}

static unsigned find_msix(void)
{
	unsigned at = cfg(VPCI_CAPABILITIES, 1);

	while (at && cfg(at, 1) != VPCI_CAP_MSIX)
		at = cfg(at + 1, 1);
	return at;
}

static uint64_t structure(unsigned cap) { return bar(cfg(cap + 4, 1)) + cfg(cap + 8, 4); }

static void probe(void)
{
	common = structure(find_cap(1, 0));
	notify_port = (uint16_t)structure(find_cap(2, 0));
	notify_memory = structure(find_cap(2, 1));
	isr = structure(find_cap(3, 0));
	set_cfg(VPCI_COMMAND, 2, VPCI_COMMAND_IO | VPCI_COMMAND_MEMORY | VPCI_COMMAND_MASTER);
}

static void set_vector(unsigned n, uint64_t address, uint32_t data, uint32_t masked)
{
	uint64_t entry = bar(VIRTIO_PCI_MSIX_BAR) + n * 16;

	wr(entry, 4, address & UINT32_MAX);
	wr(entry + 4, 4, address >> 32);
	wr(entry + 8, 4, data);
	wr(entry + 12, 4, masked);
}

static void negotiate(void)
{
	wr(common + 20, 1, 0);
	assert_int_equal(rd(common + 20, 1), 0);
	wr(common + 20, 1, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	for (unsigned half = 0; half < 2; half++) {
		wr(common, 4, half);
		wr(common + 8, 4, half);
		/* Without EVENT_IDX each answer interrupts. */
		wr(common + 12, 4, rd(common + 4, 4) & ~(half ? 0 : VIRTIO_F_EVENT_IDX));
		assert_int_equal(rd(common + 12, 4), rd(common + 4, 4) & ~(half ? 0 : VIRTIO_F_EVENT_IDX));
	}
	wr(common + 20, 1, 0xb);
	assert_int_equal(rd(common + 20, 1), 0xb);
}

static void set_queue(void)
{
	static const uint8_t zero[0x3000];
	const uint32_t at[] = {DESC, AVAIL, USED};

	assert_int_equal(gmem_write(vm, gpa(DESC), zero, sizeof zero), ST_OK);
	wr(common + 22, 2, 0);
	wr(common + 24, 2, SIZE);
	for (unsigned i = 0; i < 3; i++) {
		wr(common + 32 + i * 8, 4, at[i]);
		wr(common + 36 + i * 8, 4, 0);
		assert_int_equal(rd(common + 32 + i * 8, 8), at[i]);
	}
	wr(common + 26, 2, 1);
	assert_int_equal(rd(common + 26, 2), 1);
	wr(common + 28, 2, 1);
	assert_int_equal(rd(common + 28, 2), 1);
}

/* The worker's turn, in which nobody asks for the CPU. */
static void work(void)
{
	fake_host.cpu.need_resched = false;
	assert_int_equal(vm->io.entity.run(&vm->io.entity, UINT64_MAX), SCHED_END_BLOCKED);
	assert_int_equal(vm->io.asked, 0);
}

static void start_device(void)
{
	probe();
	set_cfg(find_msix() + 2, 2, VPCI_MSIX_ENABLE);
	set_vector(1, VLAPIC_BASE, VECTOR, 0);
	negotiate();
	set_queue();
	wr(common + 20, 1, 0xf);
	assert_int_equal(rd(common + 20, 1), 0xf);
	/* Whether there is something in the ring already is looked at outside of the exit. */
	assert_int_equal(vm->io.asked, 1);
	work();
}

/* Offers a buffer of @bytes. */
static void offer(uint32_t bytes)
{
	uint8_t desc[16] = {0};
	uint16_t head = offered % SIZE;

	put_le64(desc, BUFFER + head * 64u);
	put_le32(desc + 8, bytes);
	put_le16(desc + 12, VIRTQ_DESC_F_WRITE);
	assert_int_equal(gmem_write(vm, gpa(DESC + head * 16u), desc, sizeof desc), ST_OK);
	assert_int_equal(gmem_write(vm, gpa(AVAIL + 4 + head * 2u), &head, 2), ST_OK);
	offered++;
	assert_int_equal(gmem_write(vm, gpa(AVAIL + 2), &offered, 2), ST_OK);
}

/* Bytes that the device wrote into the chain that was offered last, 0 when it has not come back. */
static uint32_t used(void)
{
	uint16_t index;
	uint32_t element[2];

	assert_int_equal(gmem_read(vm, gpa(USED + 2), &index, 2), ST_OK);
	if (index != offered)
		return 0;
	assert_int_equal(gmem_read(vm, gpa(USED + 4 + (index - 1) % SIZE * 8u), element, 8), ST_OK);
	assert_int_equal(element[0], (index - 1) % SIZE);
	return element[1];
}

static int take(void)
{
	int vector = vlapic_deliverable(&v->lapic);

	if (vector >= 0) {
		vlapic_accept(&v->lapic, (uint8_t)vector);
		vcpu_mmio_write(v, VLAPIC_BASE + APIC_REG_EOI, 4, 0);
	}
	return vector;
}

static uint64_t pins(void)
{
	struct gpmap_stats stats;

	gpmap_stats(vm->memory, &stats);
	return stats.pins;
}

/* ---- what the guest finds ---- */

static void the_function_is_a_modern_device(void **state)
{
	(void)state;
	assert_int_equal(cfg(0, 4), 0x10401af4 + (VIRTIO_ID_ENTROPY << 16));
	assert_int_equal(cfg(VPCI_REVISION, 1), 1);
	assert_true(cfg(VPCI_SUBSYSTEM, 2) >= 0x40);
	assert_int_equal(cfg(VPCI_INTERRUPT_PIN, 1), 0);
	assert_int_equal(find_cap(1, 1), 0);
	assert_int_equal(cfg(find_cap(1, 0) + 12, 4), 60);
	/* Notify twice, the ports first. */
	assert_int_equal(cfg(find_cap(2, 0) + 4, 1), VIRTIO_PCI_IO_BAR);
	assert_int_equal(cfg(find_cap(2, 1) + 4, 1), VIRTIO_PCI_MEMORY_BAR);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(cfg(find_cap(2, i) + 2, 1), 20);
		assert_int_equal(cfg(find_cap(2, i) + 16, 4), VIRTIO_PCI_NOTIFY_STEP);
	}
	assert_int_equal(find_cap(2, 2), 0);
	assert_int_equal(cfg(find_cap(3, 0) + 12, 4), 1);
	assert_int_equal(find_cap(4, 0), 0); /* an entropy source has no configuration */
	assert_int_equal(cfg(find_cap(5, 0) + 2, 1), 20);
	assert_int_equal(cfg(find_msix() + 2, 2), 1); /* two vectors */
}

static void registers_keep_what_they_should(void **state)
{
	(void)state;
	probe();
	assert_int_equal(rd(common + 18, 2), 1);
	/* Features beyond the second word: none. */
	wr(common, 4, 2);
	assert_int_equal(rd(common + 4, 4), 0);
	wr(common, 4, 1);
	assert_true(rd(common + 4, 4) & VIRTIO_F_VERSION_1 >> 32);
	assert_false(rd(common + 4, 4) & VIRTIO_F_ACCESS_PLATFORM >> 32);
	/* Vectors that there are, and one that there is not. */
	wr(common + 16, 2, 1);
	assert_int_equal(rd(common + 16, 2), 1);
	wr(common + 16, 2, 2);
	assert_int_equal(rd(common + 16, 2), VIRTIO_NO_VECTOR);
	/* A queue that is not there. */
	wr(common + 22, 2, 1);
	assert_int_equal(rd(common + 22, 2), 1);
	wr(common + 24, 2, 8);
	wr(common + 26, 2, 0);
	wr(common + 28, 2, 1);
	wr(common + 32, 4, 0x1000);
	wr(common + 58, 2, 1);
	assert_int_equal(rd(common + 24, 2), 0);
	assert_int_equal(rd(common + 26, 2), VIRTIO_NO_VECTOR);
	assert_int_equal(rd(common + 28, 4), 0);
	assert_int_equal(rd(common + 32, 8), 0);
	assert_int_equal(rd(common + 58, 2), 0);
	/* Writes of another width than the field's mean nothing; reads have any. */
	wr(common + 22, 2, 0);
	assert_int_equal(rd(common + 24, 2), VIRTIO_RNG_QUEUE_SIZE);
	wr(common + 24, 4, 0x10004);
	wr(common + 24, 1, 4);
	wr(common + 25, 1, 4);
	wr(common + 22, 1, 1);
	assert_int_equal(rd(common + 22, 4), VIRTIO_RNG_QUEUE_SIZE << 16);
	assert_int_equal(rd(common + 25, 1), VIRTIO_RNG_QUEUE_SIZE >> 8);
	assert_int_equal(rd(common + 56, 2), 0);
	wr(common + 56, 2, 7);
	/* Beyond the structures there is nothing. */
	assert_int_equal(rd(common + 60, 4), 0);
	assert_int_equal(rd(common + VIRTIO_PCI_DEVICE_AT, 8), 0);
	assert_int_equal(rd(notify_memory, 4), 0);
	assert_int_equal(vm_port_read(vm, notify_port, 2), 0);
}

/* ---- requests ---- */

static void a_kick_by_port_is_answered(void **state)
{
	static const uint8_t zero[32];
	uint8_t bytes[32];

	(void)state;
	start_device();
	offer(32);
	assert_int_equal(used(), 0);
	vm_port_write(vm, notify_port, 2, 0);
	assert_int_equal(used(), 32);
	assert_int_equal(take(), VECTOR);
	assert_int_equal(take(), -1);
	assert_int_equal(gmem_read(vm, gpa(BUFFER), bytes, 32), ST_OK);
	assert_memory_not_equal(bytes, zero, 32);
	assert_int_equal(rd(isr, 1), 0);
}

static void a_kick_by_memory_is_the_same(void **state)
{
	(void)state;
	start_device();
	for (unsigned i = 0; i < 3 * SIZE; i++) {
		offer(16);
		wr(notify_memory, i % 2 ? 2 : 4, 0);
		assert_int_equal(used(), 16);
		assert_int_equal(take(), VECTOR);
	}
	/* Of queues that are not there nothing comes. */
	offer(16);
	wr(notify_memory + 4, 2, 1);
	wr(notify_memory + 0x800, 2, 0);
	assert_int_equal(used(), 0);
}

static void a_kick_by_configuration_space_too(void **state)
{
	unsigned cap;

	(void)state;
	start_device();
	cap = find_cap(5, 0);
	/* The status register, read. */
	set_cfg(cap + 4, 1, VIRTIO_PCI_MEMORY_BAR);
	set_cfg(cap + 8, 4, VIRTIO_PCI_COMMON_AT + 20);
	set_cfg(cap + 12, 4, 1);
	assert_int_equal(cfg(cap + 16, 1), 0xf);
	offer(16);
	set_cfg(cap + 8, 4, VIRTIO_PCI_NOTIFY_AT);
	set_cfg(cap + 12, 4, 2);
	set_cfg(cap + 16, 2, 0);
	assert_int_equal(used(), 16);
	offer(16);
	set_cfg(cap + 4, 1, VIRTIO_PCI_IO_BAR);
	set_cfg(cap + 8, 4, 0);
	set_cfg(cap + 16, 4, 0);
	assert_int_equal(used(), 16);
	/* Lengths, BARs and offsets that are none. */
	for (unsigned i = 0; i < 6; i++) {
		static const uint32_t bad[][3] = {{4, 0, 0}, {4, 0, 3}, {4, 0, 8}, {6, 0, 4}, {255, 0, 4}, {4, 0xfffffffe, 4}};

		set_cfg(cap + 4, 1, bad[i][0]);
		set_cfg(cap + 8, 4, bad[i][1]);
		set_cfg(cap + 12, 4, bad[i][2]);
		set_cfg(cap + 16, 4, 0);
		(void)cfg(cap + 16, 4);
	}
	assert_int_equal(rd(common + 20, 1), 0xf);
}

static void a_moved_device_goes_on(void **state)
{
	(void)state;
	start_device();
	set_cfg(VPCI_BAR0, 4, 0xc000);
	set_cfg(VPCI_BAR0 + 16, 4, 0);
	set_cfg(VPCI_BAR0 + 20, 4, 1); /* the window above 4 GiB */
	set_cfg(VPCI_BAR0 + 4, 4, PC_PCI_LOW_START + 0x1000000);
	probe();
	assert_true(common >= BIT(32) && notify_port == 0xc000);
	offer(8);
	vm_port_write(vm, notify_port, 2, 0);
	assert_int_equal(used(), 8);
	assert_int_equal(take(), VECTOR);
	offer(8);
	wr(notify_memory, 2, 0);
	assert_int_equal(used(), 8);
	set_vector(1, VLAPIC_BASE, VECTOR + 1, 0);
	assert_int_equal(take(), VECTOR);
	offer(8);
	wr(notify_memory, 2, 0);
	assert_int_equal(take(), VECTOR + 1);
}

static void a_masked_interrupt_comes_with_the_unmask(void **state)
{
	(void)state;
	start_device();
	set_vector(1, VLAPIC_BASE, VECTOR, 1);
	offer(8);
	vm_port_write(vm, notify_port, 2, 0);
	assert_int_equal(used(), 8);
	assert_int_equal(take(), -1);
	set_vector(1, VLAPIC_BASE, VECTOR + 2, 0);
	assert_int_equal(take(), VECTOR + 2);
}

static void messages_reach_processors_and_nothing_else(void **state)
{
	static const struct { uint64_t address; uint32_t data; int vector; } all[] = {
		{VLAPIC_BASE, VECTOR, VECTOR},
		{VLAPIC_BASE | 0xff000, VECTOR, VECTOR},         /* everybody */
		{VLAPIC_BASE | 0x01000, VECTOR, -1},             /* processor 1, which is not there */
		{VLAPIC_BASE, VECTOR | 0x100, VECTOR},           /* lowest priority */
		{VLAPIC_BASE | 8, VECTOR, VECTOR},               /* redirection hint */
		{VLAPIC_BASE | 4, VECTOR, -1},                   /* logical 0: nobody */
		{0x100000 | BIT(40), VECTOR, -1}, {0x100000, VECTOR, -1}, {0xfed00000, VECTOR, -1},
		{VLAPIC_BASE | BIT(32), VECTOR, -1}, {VLAPIC_BASE + 0x100000, VECTOR, -1},
	};
	uint32_t word;

	(void)state;
	start_device();
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		set_vector(1, all[i].address, all[i].data, 0);
		offer(8);
		vm_port_write(vm, notify_port, 2, 0);
		assert_int_equal(used(), 8);
		assert_int_equal(take(), all[i].vector);
	}
	/* Memory where a message would have been written. */
	assert_int_equal(gmem_read(vm, gpa(0x100000), &word, 4), ST_OK);
	assert_int_not_equal(word, VECTOR);
	set_vector(1, VLAPIC_BASE, 0x400, 0);
	offer(8);
	vm_port_write(vm, notify_port, 2, 0);
	assert_true(v->nmi_pending);
}

/* ---- rings and the VM's life ---- */

static void rings_are_pinned_while_they_are_on(void **state)
{
	(void)state;
	assert_int_equal(pins(), 0);
	start_device();
	assert_true(pins() >= 3);
	assert_int_equal(gpmap_remove(vm->memory, gpa_to_gfn(gpa(AVAIL))), ST_BUSY);
	offer(8);
	vm_port_write(vm, notify_port, 2, 0);
	assert_true(pins() >= 3 && pins() <= 6); /* and no more: data is pinned for the request */
	wr(common + 20, 1, 0);
	assert_int_equal(rd(common + 20, 1), 0);
	assert_int_equal(pins(), 0);
	assert_int_equal(gpmap_remove(vm->memory, gpa_to_gfn(gpa(AVAIL))), ST_OK);
}

static void rings_in_device_pages_break_the_device(void **state)
{
	static const uint64_t bad[] = {PC_PCI_LOW_START, VLAPIC_BASE, GUEST_BYTES, 0x10000000000, PC_ECAM_BASE};

	(void)state;
	probe();
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		negotiate();
		wr(common + 22, 2, 0);
		wr(common + 24, 2, SIZE);
		wr(common + 32, 4, DESC);
		wr(common + 40, 4, bad[i] & UINT32_MAX);
		wr(common + 44, 4, bad[i] >> 32);
		wr(common + 48, 4, USED);
		wr(common + 28, 2, 1);
		assert_true(rd(common + 20, 1) & VIRTIO_STATUS_NEEDS_RESET);
	}
	wr(common + 20, 1, 0);
	assert_int_equal(pins(), 0);
}

/* What is left of it is what vm_rig_fini() looks for. */
static void a_vm_stopped_with_rings_on_leaves_nothing(void **state)
{
	struct error err;

	(void)state;
	start_device();
	offer(8);
	fake_host.cpu.vcpu = NULL;
	v->engine->put(v);
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	v = vm->vcpus[0];
	fake_host.cpu.vcpu = v;
	v->engine->load(v);
	assert_int_equal(rd(PC_ECAM_BASE + SLOT * 0x8000 + VPCI_COMMAND, 2), VPCI_COMMAND_IO | VPCI_COMMAND_MEMORY);
	offered = 0;
	start_device();
	offer(8);
	vm_port_write(vm, notify_port, 2, 0);
	assert_int_equal(used(), 8);
}

static void who_wants_no_entropy_gets_no_device(void **state)
{
	struct vm_config c = vm_rig_config("b", GUEST_BYTES);
	struct error err;
	struct vm *other;

	(void)state;
	c.rng = c.balloon = false;
	assert_int_equal(vm_define(&vm_rig.machine, &c, &other, &err), ST_OK);
	assert_int_equal(vm_start(other, &err), ST_OK);
	assert_int_equal(other->io.count, 0);
	assert_true(vm_read(other, &other->mmio, PC_ECAM_BASE + SLOT * 0x8000, 4) == UINT32_MAX);
	assert_int_equal(vm->io.count, 2);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_function_is_a_modern_device),
		CASE(registers_keep_what_they_should),
		CASE(a_kick_by_port_is_answered),
		CASE(a_kick_by_memory_is_the_same),
		CASE(a_kick_by_configuration_space_too),
		CASE(a_moved_device_goes_on),
		CASE(a_masked_interrupt_comes_with_the_unmask),
		CASE(messages_reach_processors_and_nothing_else),
		CASE(rings_are_pinned_while_they_are_on),
		CASE(rings_in_device_pages_break_the_device),
		CASE(a_vm_stopped_with_rings_on_leaves_nothing),
		CASE(who_wants_no_entropy_gets_no_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
