/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disks of a definition: which functions a guest finds, what a volume that
 * cannot be had says, requests from a guest's ring to a RAM volume and back, a
 * volume without space that pauses the VM, and a VM that is stopped while a disk
 * still has its request.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/gmem.h"
#include "guest/pc.h"
#include "guest/virtio_pci.h"
#include "guest/vm_balloon.h"
#include "guest/vm_console.h"
#include "guest/vm_disk.h"
#include "guest/vm_devices.h"
#include "io/virtio.h"
#include "guest/platform.h"
#include "guest/storage_internal.h"
#include "tests/fakes/fault_disk.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/partition_tables.h"
#include "tests/fakes/no_boot.h"
#include "tests/fakes/ram_disks.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (4ull << 20)
#define DESC 0x100000u
#define AVAIL 0x101000u
#define USED 0x102000u
#define HEADER 0x103000u
#define DATA 0x104000u
#define STATUS 0x105000u
#define SIZE 16u
#define UNTOUCHED 0xeeu

static struct vm_config cfg;
static struct vm *vm;
static struct vcpu *v;
static struct error err;
static uint16_t offered;
static unsigned queue; /* that drive() brings up */

static struct vm_disk *add(const char *name, const char *volume)
{
	struct vm_disk *d = &cfg.disks[cfg.disk_count++];

	vm_disk_init(d);
	strcpy(d->name, name);
	strcpy(d->volume, volume);
	return d;
}

static int setup(void **state)
{
	(void)state;
	fake_engine.caps.virtual_interrupts = false;
	vm_rig_init(RAM);
	ram_disks_init();
	vm_rig.machine.disk_ops = &ram_disk_ops;
	cfg = vm_rig_config("a", GUEST_BYTES);
	vm = NULL;
	offered = 0;
	queue = 0;
	return 0;
}

static void put_vcpu(void)
{
	fake_host.cpu.vcpu = NULL;
	v->engine->put(v);
}

static int teardown(void **state)
{
	(void)state;
	if (vm && vm->state == VM_RUNNING)
		put_vcpu();
	ram_disks.hold = false;
	vm_rig_fini();
	assert_int_equal(ram_disks.disk[0].opened + ram_disks.disk[1].opened, 0);
	return 0;
}

static void in_turn(void)
{
	v = vm->vcpus[0];
	fake_host.cpu.vcpu = v;
	v->engine->load(v);
}

static void start(void)
{
	assert_int_equal(vm_define(&vm_rig.machine, &cfg, &vm, &err), ST_OK);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	in_turn();
}

/* ---- a driver ---- */

static uint64_t rd(uint64_t at, unsigned size) { return vcpu_mmio_read(v, at, size); }
static void wr(uint64_t at, unsigned size, uint64_t value) { vcpu_mmio_write(v, at, size, value); }
static uint32_t id_of(unsigned slot) { return (uint32_t)rd(PC_ECAM_BASE + slot * 0x8000, 4); }
static uint64_t bar(unsigned slot, unsigned n) { return rd(PC_ECAM_BASE + slot * 0x8000 + VPCI_BAR0 + n * 4, 4) & ~0xfull; }

static uint16_t port(unsigned slot, unsigned n)
{
	return (uint16_t)(rd(PC_ECAM_BASE + slot * 0x8000 + VPCI_BAR0 + VIRTIO_PCI_IO_BAR * 4, 4) & ~3u) +
	       (uint16_t)(n * VIRTIO_PCI_NOTIFY_STEP);
}

static void work(void)
{
	fake_host.cpu.need_resched = false;
	(void)vm->io.entity.run(&vm->io.entity, UINT64_MAX);
}

static void drive(unsigned slot)
{
	const uint32_t at[] = {DESC, AVAIL, USED};
	uint64_t common = bar(slot, VIRTIO_PCI_MEMORY_BAR);

	assert_int_equal(gmem_fill(vm, gpa(DESC), 0, 0x6000), ST_OK);
	wr(common + 20, 1, 3);
	for (unsigned half = 0; half < 2; half++) {
		wr(common, 4, half);
		wr(common + 8, 4, half);
		wr(common + 12, 4, rd(common + 4, 4) & ~(half ? 0 : VIRTIO_F_EVENT_IDX));
	}
	wr(common + 20, 1, 0xb);
	wr(common + 22, 2, queue);
	wr(common + 24, 2, SIZE);
	for (unsigned i = 0; i < 3; i++)
		wr(common + 32 + i * 8, 4, at[i]);
	wr(common + 28, 2, 1);
	wr(common + 20, 1, 0xf);
	assert_int_equal(rd(common + 20, 1), 0xf);
	work();
}

static void put_desc(unsigned n, uint64_t at, uint32_t bytes, uint16_t flags)
{
	uint8_t desc[16];

	put_le64(desc, at);
	put_le32(desc + 8, bytes);
	put_le16(desc + 12, flags);
	put_le16(desc + 14, (uint16_t)(n + 1));
	assert_int_equal(gmem_write(vm, gpa(DESC + n * 16), desc, sizeof desc), ST_OK);
}

static uint8_t status_of(void)
{
	uint8_t status;

	assert_int_equal(gmem_read(vm, gpa(STATUS), &status, 1), ST_OK);
	return status;
}

/* One request of @bytes at DATA, and a kick; the status that is there then, UNTOUCHED while it is under way. */
static uint8_t request(unsigned slot, uint32_t type, uint64_t sector, uint32_t bytes)
{
	uint8_t header[16] = {0};
	uint16_t zero = 0;

	put_le32(header, type);
	put_le64(header + 8, sector);
	assert_int_equal(gmem_write(vm, gpa(HEADER), header, sizeof header), ST_OK);
	assert_int_equal(gmem_fill(vm, gpa(STATUS), UNTOUCHED, 1), ST_OK);
	put_desc(0, HEADER, sizeof header, VIRTQ_DESC_F_NEXT);
	put_desc(1, DATA, bytes, VIRTQ_DESC_F_NEXT | (type == VIRTIO_BLK_T_OUT ? 0 : VIRTQ_DESC_F_WRITE));
	put_desc(2, STATUS, 1, VIRTQ_DESC_F_WRITE);
	assert_int_equal(gmem_write(vm, gpa(AVAIL + 4 + offered % SIZE * 2u), &zero, 2), ST_OK);
	offered++;
	assert_int_equal(gmem_write(vm, gpa(AVAIL + 2), &offered, 2), ST_OK);
	vm_port_write(vm, port(slot, 0), 2, 0);
	return status_of();
}

/* One buffer at DATA, and a kick. */
static void offer(unsigned slot, uint32_t bytes, uint16_t flags)
{
	uint16_t zero = 0;

	put_desc(0, DATA, bytes, flags);
	assert_int_equal(gmem_write(vm, gpa(AVAIL + 4 + offered % SIZE * 2u), &zero, 2), ST_OK);
	offered++;
	assert_int_equal(gmem_write(vm, gpa(AVAIL + 2), &offered, 2), ST_OK);
	vm_port_write(vm, port(slot, queue), 2, 0);
	work();
}

static uint16_t used(void)
{
	uint16_t index;

	assert_int_equal(gmem_read(vm, gpa(USED + 2), &index, 2), ST_OK);
	return index;
}

/* ---- building ---- */

static void disks_come_first_in_order(void **state)
{
	(void)state;
	add("root", "two");
	add("data", "one")->read_only = true;
	start();
	assert_int_equal(id_of(1), 0x10421af4);
	assert_int_equal(id_of(2), 0x10421af4);
	assert_int_equal(id_of(3), 0x10441af4);
	assert_int_equal(id_of(4), 0x10451af4);
	assert_int_equal(id_of(5), UINT32_MAX);
	assert_true(ram_disks.disk[0].opened == 1 && ram_disks.disk[1].opened == 1);
	assert_int_equal(vm->io.count, 4);
	assert_int_equal(rd(bar(1, VIRTIO_PCI_MEMORY_BAR) + VIRTIO_PCI_DEVICE_AT, 8), RAM_DISK_BYTES / 512);
}

static void a_volume_that_is_not_there_is_named(void **state)
{
	(void)state;
	add("root", "one");
	add("data", "three");
	assert_int_equal(vm_define(&vm_rig.machine, &cfg, &vm, &err), ST_OK);
	assert_int_equal(vm_start(vm, &err), ST_NOT_FOUND);
	assert_string_equal(err.text, "VM a: disk.data: there is no volume three");
	/* What was opened before is closed again. */
	assert_int_equal(ram_disks.disk[0].opened, 0);
	assert_int_equal(vm->state, VM_DEFINED);
	vm_rig.machine.disk_ops = NULL;
	assert_int_equal(vm_start(vm, &err), ST_UNSUPPORTED);
	assert_string_equal(err.text, "VM a: disk.root: this machine has no volumes");
}

static void its_memory_is_counted(void **state)
{
	uint64_t without = vm_overhead_bytes(&vm_rig.machine, &cfg), bytes = vm_virtio_bytes(&cfg);

	(void)state;
	for (unsigned i = 0; i < VM_DISKS_MAX; i++) {
		char name[] = {(char)('a' + i), 0};

		add(name, "one")->queues = VM_DISK_QUEUES_MAX;
	}
	assert_true(vm_virtio_bytes(&cfg) > bytes + VM_DISKS_MAX * sizeof(struct virtio_pci));
	assert_true(vm_overhead_bytes(&vm_rig.machine, &cfg) > without);
	start();
	assert_int_equal(vm->io.count, VM_DISKS_MAX + 2);
	assert_int_equal(rd(bar(VM_DISKS_MAX, VIRTIO_PCI_MEMORY_BAR) + 18, 2), VM_DISK_QUEUES_MAX);
}

static void as_many_queues_as_processors(void **state)
{
	(void)state;
	cfg.cpu.count = 3;
	add("root", "one");
	start();
	assert_int_equal(rd(bar(1, VIRTIO_PCI_MEMORY_BAR) + 18, 2), 3);
}

/* ---- requests ---- */

static void bytes_go_to_the_volume_and_back(void **state)
{
	uint8_t bytes[1024];

	(void)state;
	add("root", "one");
	start();
	drive(1);
	assert_int_equal(gmem_fill(vm, gpa(DATA), 0x5a, sizeof bytes), ST_OK);
	assert_int_equal(request(1, VIRTIO_BLK_T_OUT, 8, sizeof bytes), VIRTIO_BLK_S_OK);
	assert_int_equal(ram_disks.disk[0].bytes[8 * 512], 0x5a);
	assert_int_equal(ram_disks.disk[0].bytes[8 * 512 + sizeof bytes - 1], 0x5a);
	assert_int_equal(ram_disks.disk[0].bytes[8 * 512 + sizeof bytes], 0);
	assert_int_equal(gmem_fill(vm, gpa(DATA), 0, sizeof bytes), ST_OK);
	assert_int_equal(request(1, VIRTIO_BLK_T_IN, 9, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(gmem_read(vm, gpa(DATA), bytes, sizeof bytes), ST_OK);
	assert_true(bytes[0] == 0x5a && bytes[511] == 0x5a && bytes[512] == 0);
	assert_int_equal(request(1, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES), VIRTIO_BLK_S_OK);
	assert_int_equal(gmem_read(vm, gpa(DATA), bytes, 5), ST_OK);
	assert_memory_equal(bytes, "root", 5);
	assert_int_equal(request(1, VIRTIO_BLK_T_IN, RAM_DISK_BYTES / 512, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(1, 99, 0, 512), VIRTIO_BLK_S_UNSUPP);
}

static void a_late_answer_comes_all_the_same(void **state)
{
	struct gpmap_stats before, during, after;

	(void)state;
	add("root", "one");
	start();
	drive(1);
	gpmap_stats(vm->memory, &before);
	ram_disks.hold = true;
	assert_int_equal(request(1, VIRTIO_BLK_T_IN, 0, 512), UNTOUCHED);
	gpmap_stats(vm->memory, &during);
	assert_true(during.pins > before.pins);
	assert_int_equal(ram_disks_answer(1), 1);
	assert_int_equal(status_of(), VIRTIO_BLK_S_OK);
	gpmap_stats(vm->memory, &after);
	assert_int_equal(after.pins, before.pins);
}

static void without_space_the_vm_is_paused(void **state)
{
	(void)state;
	add("root", "one");
	start();
	drive(1);
	ram_disks.full = true;
	assert_int_equal(request(1, VIRTIO_BLK_T_OUT, 0, 512), UNTOUCHED);
	put_vcpu();
	(void)vm_reap(&vm_rig.machine);
	assert_int_equal(vm->state, VM_PAUSED);
	/* Nothing was added: the same again. */
	assert_int_equal(vm_resume(vm, &err), ST_OK);
	work();
	(void)vm_reap(&vm_rig.machine);
	assert_int_equal(vm->state, VM_PAUSED);
	ram_disks.full = false;
	assert_int_equal(vm_resume(vm, &err), ST_OK);
	work();
	assert_int_equal(status_of(), VIRTIO_BLK_S_OK);
	(void)vm_reap(&vm_rig.machine);
	assert_int_equal(vm->state, VM_RUNNING);
	in_turn();
}

/* ---- what is seen and set of a disk ---- */

static uint64_t counted(unsigned disk, const char *name, unsigned member)
{
	_Alignas(8) uint8_t figures[COUNTER_FIGURES_MAX];

	vm_disk_counters.figures(&vm->disk_places[disk], figures);
	for (size_t i = 0; i < vm_disk_counters.count; i++)
		if (strcmp(vm_disk_counters.rows[i].name, name) == 0)
			return counter_value(&vm_disk_counters.rows[i], figures, member);
	fail_msg("no counter %s", name);
	return 0;
}

static void figures_of_the_device_and_of_the_scheduler(void **state)
{
	(void)state;
	add("root", "one");
	add("spare", "two");
	start();
	drive(1);
	assert_int_equal(gmem_fill(vm, gpa(DATA), 0x5a, 1024), ST_OK);
	assert_int_equal(request(1, VIRTIO_BLK_T_OUT, 8, 1024), VIRTIO_BLK_S_OK);
	assert_int_equal(request(1, VIRTIO_BLK_T_IN, 8, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(request(1, VIRTIO_BLK_T_IN, RAM_DISK_BYTES / 512, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(counted(0, "writes", 0), 1);
	assert_int_equal(counted(0, "written", 0), 1024);
	assert_int_equal(counted(0, "read", 0), 512);
	assert_int_equal(counted(0, "errors", 0), 1);
	assert_int_equal(counted(1, "writes", 0), 0);
	assert_int_equal(counted(0, "queue.waiting", 0), 2);
	assert_int_equal(counted(0, "queue.at_device", 0), 3);
	assert_int_equal(counted(0, "time.latency", 0), 1000);
	assert_int_equal(counted(0, "time.throttled", 0), 100);
	assert_int_equal(counted(0, "latency", 4), 98);
	assert_int_equal(counted(0, "latency", 9), 2);
	assert_int_equal(counted(0, "latency_p50", 0), 16);
	assert_int_equal(counted(0, "latency_p99", 0), 512);
	put_vcpu();
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	/* It is known what they did, but for what was under way, until the next start. */
	assert_int_equal(counted(0, "writes", 0), 1);
	assert_int_equal(counted(0, "time.latency", 0), 1000);
	assert_int_equal(counted(0, "latency_p99", 0), 512);
	assert_int_equal(counted(0, "queue.waiting", 0), 0);
	assert_int_equal(counted(1, "writes", 0), 0);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	in_turn();
	assert_int_equal(counted(0, "writes", 0), 0);
}

static const struct knob *knob(unsigned disk, const char *name)
{
	const struct knob_table *t = &vm_disk_knobs[vm->config.disks[disk].unit];

	for (size_t i = 0; i < t->count; i++)
		if (strcmp(t->rows[i].name, name) == 0)
			return &t->rows[i];
	fail_msg("no knob %s", name);
	return NULL;
}

static void turn(unsigned disk, const char *name, uint64_t value)
{
	const struct knob *k = knob(disk, name);

	assert_int_equal(knob_check(k, &vm->disk_places[disk], value, &err), ST_OK);
	k->set(&vm->disk_places[disk], value);
	assert_int_equal(k->get(&vm->disk_places[disk]), value);
}

static void numbers_reach_the_volume_at_once(void **state)
{
	const char *where;

	(void)state;
	add("root", "one")->given = 4;
	add("data", "two")->unit = VM_DISK_BYTES;
	assert_int_equal(vm_define(&vm_rig.machine, &cfg, &vm, &err), ST_OK);
	turn(0, "iops.shares", 5); /* nobody has opened it */
	assert_int_equal(ram_disks.disk[0].set, 0);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	in_turn();
	turn(0, "iops.limit", 500);
	turn(0, "iops.reservation", 500);
	assert_int_equal(ram_disks.disk[0].set, 2);
	assert_int_equal(ram_disks.disk[0].unit, VM_DISK_IOPS);
	assert_true(ram_disks.disk[0].numbers.limit == 500 && ram_disks.disk[0].numbers.shares == 5);
	turn(1, "bandwidth.limit", 1 << 20);
	assert_true(ram_disks.disk[1].unit == VM_DISK_BYTES && ram_disks.disk[1].numbers.limit == 1 << 20);
	assert_int_equal(knob_check(knob(0, "iops.limit"), &vm->disk_places[0], 499, &err), ST_INVALID);
	assert_non_null(strstr(err.text, "disk.root: iops.reservation (500) is above iops.limit (499)"));
	assert_int_equal(knob_check(knob(0, "iops.limit"), &vm->disk_places[0], KNOB_NONE, &err), ST_OK);
	assert_int_equal(knob_check(knob(0, "iops.shares"), &vm->disk_places[0], 0, &err), ST_INVALID);
	assert_true(vm_disk_knobs[VM_DISK_IOPS].given(&vm->disk_places[0], 2, &where));
	assert_false(vm_disk_knobs[VM_DISK_IOPS].given(&vm->disk_places[0], 0, &where));
	vm->config.disks[1].numbers.shares = 77;
	vm_disks_changed(vm);
	assert_int_equal(ram_disks.disk[1].numbers.shares, 77);
	put_vcpu();
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	turn(0, "iops.shares", 6);
	assert_int_equal(ram_disks.disk[0].numbers.shares, 5);
}

static void interrupts_are_set_at_once(void **state)
{
	(void)state;
	add("root", "one")->coalesce.policy = COALESCE_OFF;
	start();
	assert_int_equal(knob(0, "interrupts.policy")->get(&vm->disk_places[0]), COALESCE_OFF);
	turn(0, "interrupts.policy", COALESCE_CIF);
	turn(0, "interrupts.cif_min", 9);
	turn(0, "interrupts.epoch", 5000000);
	turn(0, "interrupts.gap", 0);
	turn(0, "interrupts.iops_min", 7);
	assert_true(vm->config.disks[0].coalesce.cif_min == 9 && vm->config.disks[0].coalesce.epoch_ns == 5000000);
	assert_int_equal(knob_check(knob(0, "interrupts.cif_min"), &vm->disk_places[0], 1, &err), ST_INVALID);
	assert_int_equal(knob_check(knob(0, "interrupts.gap"), &vm->disk_places[0], 1000001, &err), ST_INVALID);
	drive(1);
	assert_int_equal(request(1, VIRTIO_BLK_T_IN, 8, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(counted(0, "interrupts_sent", 0), 1);
	assert_int_equal(counted(0, "interrupts_saved", 0), 0);
	put_vcpu();
	assert_int_equal(vm_stop(vm, &err), ST_OK);
}

static void disks_are_found_by_name(void **state)
{
	(void)state;
	add("root", "one");
	add("data", "two");
	assert_int_equal(vm_define(&vm_rig.machine, &cfg, &vm, &err), ST_OK);
	assert_ptr_equal(vm_disk_find(vm, "data", 4), &vm->disk_places[1]);
	assert_string_equal(vm_disk_at(&vm->disk_places[1])->volume, "two");
	assert_null(vm_disk_find(vm, "data", 3));
	assert_null(vm_disk_find(vm, "datas", 5));
	assert_int_equal(vm_disk_index(&cfg, "data"), 1);
	assert_int_equal(vm_disk_index(&cfg, "other"), 2);
}

/* ---- the console ---- */

#define CONSOLE_SLOT 2u /* behind the entropy device */

static void it_prints_into_the_vms_console(void **state)
{
	uint64_t seq = 0;
	char text[16];

	(void)state;
	cfg.console = CONSOLE_VIRTIO;
	queue = VIRTIO_CONSOLE_TRANSMIT;
	start();
	assert_int_equal(id_of(CONSOLE_SLOT), 0x10431af4);
	drive(CONSOLE_SLOT);
	assert_int_equal(gmem_write(vm, gpa(DATA), "hello", 5), ST_OK);
	offer(CONSOLE_SLOT, 5, 0);
	vm_port_write(vm, PC_PORT_COM1, 1, '!');
	assert_int_equal(used(), 1);
	assert_int_equal(console_read_output(&vm->console, &seq, text, sizeof text), 6);
	assert_memory_equal(text, "hello!", 6);
}

/* By the UART until a driver waits at the virtio console, and again when that is reset. */
static void what_is_typed_goes_where_somebody_listens(void **state)
{
	char text[8] = "";

	(void)state;
	cfg.console = CONSOLE_VIRTIO;
	queue = VIRTIO_CONSOLE_RECEIVE;
	start();
	assert_int_equal(vm_console_input(vm, "u", 1), 1);
	assert_int_equal(vm_port_read(vm, PC_PORT_COM1, 1), 'u');
	drive(CONSOLE_SLOT);
	assert_int_equal(vm_console_input(vm, "v", 1), 1);
	assert_int_equal(vm_port_read(vm, PC_PORT_COM1, 1), 0);
	offer(CONSOLE_SLOT, 8, VIRTQ_DESC_F_WRITE);
	assert_int_equal(used(), 1);
	offer(CONSOLE_SLOT, 8, VIRTQ_DESC_F_WRITE);
	assert_int_equal(vm_console_input(vm, "xyz", 3), 3);
	work();
	assert_int_equal(used(), 2);
	assert_int_equal(gmem_read(vm, gpa(DATA), text, 3), ST_OK);
	assert_string_equal(text, "xyz");
	wr(bar(CONSOLE_SLOT, VIRTIO_PCI_MEMORY_BAR) + 20, 1, 0);
	assert_int_equal(vm_console_input(vm, "w", 1), 1);
	assert_int_equal(vm_port_read(vm, PC_PORT_COM1, 1), 'w');
}

static void the_terminals_size_reaches_the_guest(void **state)
{
	uint64_t at;

	(void)state;
	cfg.console = CONSOLE_VIRTIO;
	assert_int_equal(vm_define(&vm_rig.machine, &cfg, &vm, &err), ST_OK);
	vm_console_size(vm, 80, 25);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	in_turn();
	at = bar(CONSOLE_SLOT, VIRTIO_PCI_MEMORY_BAR) + VIRTIO_PCI_DEVICE_AT;
	assert_true(rd(at, 2) == 80 && rd(at + 2, 2) == 25);
	vm_console_size(vm, 132, 50);
	assert_true(rd(at, 2) == 132 && rd(at + 2, 2) == 50);
}

/* ---- the balloon ---- */

#define BALLOON_SLOT 2u
#define GIVEN 0x200000u /* a page that the guest gives away */

static uint64_t vm_counted(const char *name)
{
	_Alignas(8) uint8_t figures[COUNTER_FIGURES_MAX];

	vm_counters.figures(vm, figures);
	for (size_t i = 0; i < vm_counters.count; i++)
		if (strcmp(vm_counters.rows[i].name, name) == 0)
			return counter_value(&vm_counters.rows[i], figures, 0);
	fail_msg("no counter %s", name);
	return 0;
}

static void give(const uint32_t *pages, unsigned count)
{
	uint8_t list[4 * 8];

	for (unsigned i = 0; i < count; i++)
		put_le32(list + 4 * i, pages[i]);
	assert_int_equal(gmem_write(vm, gpa(DATA), list, 4 * count), ST_OK);
	offer(BALLOON_SLOT, 4 * count, 0);
	while (used() < offered)
		work();
}

static void pages_given_away_are_the_hosts(void **state)
{
	const uint32_t pages[] = {GIVEN / 4096, GIVEN / 4096, GUEST_BYTES / 4096, DESC / 4096, UINT32_MAX};
	struct gpmap_stats before, after;
	struct memmgr_stats host_before, host_after;
	uint8_t byte = 0;

	(void)state;
	start();
	assert_int_equal(id_of(BALLOON_SLOT), 0x10451af4);
	drive(BALLOON_SLOT);
	assert_int_equal(gmem_fill(vm, gpa(GIVEN), 0x5a, 4096), ST_OK);
	gpmap_stats(vm->memory, &before);
	memmgr_stats(vm_rig.machine.mm, &host_before);
	give(pages, ARRAY_SIZE(pages));
	gpmap_stats(vm->memory, &after);
	memmgr_stats(vm_rig.machine.mm, &host_after);
	/* Once, however often it is named; what is no memory, or a ring, stays. */
	assert_int_equal(after.present_pages, before.present_pages - 1);
	assert_int_equal(host_after.promised, host_before.promised + 1);
	assert_int_equal(vm_counted("mem.given_back"), 4096);
	assert_int_equal(vm_counted("mem.balloon_refused"), 3 * 4096);
	/* It may be touched again, told or not, and has nothing of what was there. */
	assert_int_equal(gmem_read(vm, gpa(GIVEN), &byte, 1), ST_OK);
	assert_int_equal(byte, 0);
	gpmap_stats(vm->memory, &after);
	assert_int_equal(after.present_pages, before.present_pages);
}

static void the_guest_is_asked_for_memory(void **state)
{
	const struct knob *k = NULL;
	uint64_t at;

	(void)state;
	cfg.memory.balloon = 1 << 20;
	start();
	drive(BALLOON_SLOT);
	at = bar(BALLOON_SLOT, VIRTIO_PCI_MEMORY_BAR) + VIRTIO_PCI_DEVICE_AT;
	assert_int_equal(rd(at, 4), 256);
	for (size_t i = 0; i < vm_knobs.count; i++)
		if (strcmp(vm_knobs.rows[i].name, "mem.balloon") == 0)
			k = &vm_knobs.rows[i];
	assert_non_null(k);
	assert_int_equal(knob_check(k, vm, 2 << 20, &err), ST_OK);
	k->set(vm, 2 << 20);
	assert_int_equal(rd(at, 4), 512);
	assert_int_equal(knob_check(k, vm, GUEST_BYTES + 4096, &err), ST_INVALID);
	assert_non_null(strstr(err.text, "mem.balloon (4198400 bytes) is above mem.size (4194304 bytes)"));
	wr(at + 4, 4, 100);
	assert_int_equal(vm_counted("mem.ballooned"), 100 * 4096);
}

static void statistics_are_asked_for_by_who_reads(void **state)
{
	uint8_t record[20];

	(void)state;
	queue = VIRTIO_BALLOON_STATSQ;
	start();
	drive(BALLOON_SLOT);
	put_le16(record, VIRTIO_BALLOON_S_MEMFREE);
	put_le64(record + 2, 1 << 20);
	put_le16(record + 10, VIRTIO_BALLOON_S_MAJFLT);
	put_le64(record + 12, 7);
	assert_int_equal(gmem_write(vm, gpa(DATA), record, sizeof record), ST_OK);
	offer(BALLOON_SLOT, sizeof record, 0);
	assert_int_equal(used(), 0); /* it is kept for the next question */
	assert_int_equal(vm_counted("mem.guest.free"), 1 << 20);
	assert_int_equal(vm_counted("mem.guest.told"), 1);
	assert_int_equal(vm_counted("mem.guest.major_faults"), 7);
	assert_int_equal(used(), 1); /* the first reading asked */
	put_le64(record + 2, 2 << 20);
	assert_int_equal(gmem_write(vm, gpa(DATA), record, sizeof record), ST_OK);
	offer(BALLOON_SLOT, sizeof record, 0);
	assert_int_equal(vm_counted("mem.guest.free"), 2 << 20);
	assert_int_equal(used(), 1); /* not twice within a second */
	fake_host_advance(fake_host.ops.clock->hz);
	(void)vm_counted("mem.guest.free");
	assert_int_equal(used(), 2);
}

/* ---- the end ---- */

static unsigned waits;
static void (*real_unmask)(unsigned long state);

/* The disk answers after a while, with interrupts enabled: whoever waits has let them in. */
static void answer_late(unsigned long state)
{
	real_unmask(state);
	if (++waits == 200)
		assert_int_equal(ram_disks_answer(10), 1);
}

static void a_stop_waits_for_what_a_disk_has_begun(void **state)
{
	uint8_t before = 0x77;

	(void)state;
	add("root", "one");
	start();
	drive(1);
	ram_disks.hold = ram_disks.begun = true;
	assert_int_equal(gmem_fill(vm, gpa(DATA), before, 512), ST_OK);
	assert_int_equal(request(1, VIRTIO_BLK_T_IN, 0, 512), UNTOUCHED);
	put_vcpu();
	waits = 0;
	real_unmask = fake_host.ops.unmask;
	fake_host.ops.unmask = answer_late;
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	fake_host.ops.unmask = real_unmask;
	assert_true(waits >= 200);
	assert_int_equal(ram_disks.disk[0].opened, 0);
}

#define WAIT_STEP (VM_RIG_HZ / 1000)

static void unmask_and_wait(unsigned long state)
{
	real_unmask(state);
	hand_clock_advance(WAIT_STEP);
}

static unsigned faults;
static void count_fault(void *ctx, const char *text)
{
	(void)ctx;
	faults++;
	assert_string_equal(text, err.text);
}

/* Nothing lands anywhere else: until it has come back the memory is nobody else's. */
static void a_stop_does_not_wait_for_a_disk_that_is_dead(void **state)
{
	uint64_t began, committed;

	(void)state;
	add("root", "one");
	start();
	drive(1);
	ram_disks.hold = ram_disks.begun = true;
	assert_int_equal(request(1, VIRTIO_BLK_T_IN, 0, 512), UNTOUCHED);
	put_vcpu();
	faults = 0;
	vm_rig.machine.fault = count_fault;
	real_unmask = fake_host.ops.unmask;
	fake_host.ops.unmask = unmask_and_wait;
	committed = vm_rig.machine.committed;
	began = fake_host.ops.clock->ticks();
	assert_int_equal(vm_stop(vm, &err), ST_BUSY);
	assert_string_equal(err.text, "VM a is stopped, but its disk root has not come back with what is under way in its "
				      "memory: volume one");
	assert_in_range(fake_host.ops.clock->ticks() - began, VM_RIG_HZ, VM_RIG_HZ + VM_RIG_HZ / 10);
	assert_string_equal(vm->held_by, strstr(err.text, "its disk"));
	assert_int_equal(vm->state, VM_STOPPED);
	assert_int_equal(vm_rig.machine.committed, committed);
	assert_int_equal(ram_disks.disk[0].opened, 1);
	/* Told once, and nobody waits again. */
	began = fake_host.ops.clock->ticks();
	assert_int_equal(vm_start(vm, &err), ST_BUSY);
	assert_int_equal(vm_destroy(vm, &err), ST_BUSY);
	assert_false(vm_reap(&vm_rig.machine));
	assert_true(fake_host.ops.clock->ticks() - began < VM_RIG_HZ / 10);
	assert_int_equal(faults, 1);
	fake_host.ops.unmask = real_unmask;
	/* Whoever ends it asks for a round of the control task, which finds that nothing holds the VM. */
	fake_host.notifies = 0;
	assert_int_equal(ram_disks_answer(10), 1);
	assert_true(fake_host.notifies > 0);
	assert_non_null(vm->memory);
	assert_false(vm_reap(&vm_rig.machine));
	assert_null(vm->memory);
	assert_string_equal(vm->held_by, "");
	assert_int_equal(ram_disks.disk[0].opened, 0);
	ram_disks.hold = false;
	assert_int_equal(vm_start(vm, &err), ST_OK);
	in_turn();
}

#define DISK_BYTES (1ull << 20)
#define OTHER_BYTES (32ull << 20)

static struct fault_disk host_disk;

static void add_host_disk(void)
{
	struct storage_domain *d;

	vm_rig.machine.disk_ops = NULL;
	assert_int_equal(storage_create(&vm_rig.machine, &err), ST_OK);
	fault_disk_init(&host_disk, DISK_BYTES, 512);
	table_mbr_entry(host_disk.view, 0, 0x83, 8, 1024);
	assert_int_equal(storage_add_domain(vm_rig.machine.storage, "ide0", &d, &err), ST_OK);
	assert_int_equal(storage_add_disk(vm_rig.machine.storage, d, "disk0", &host_disk.device, &err), ST_OK);
}

static void host_disk_answers(void)
{
	unsigned long masked = fake_host.ops.mask();

	while (storage_domain_step(vm_rig.machine.storage->domains[0]))
		continue;
	fake_host.ops.unmask(masked);
}

/* The whole way, through storage: a VM is gone, another one has all memory there is, and then the disk writes. */
static void what_a_disk_writes_late_lands_in_nobodys_memory(void **state)
{
	uint8_t block[4096];
	struct vm *other;

	(void)state;
	add_host_disk();
	memset(host_disk.view + 8 * 512, 0x5a, 4096);
	add("root", "disk0:1");
	start();
	drive(1);
	host_disk.late = host_disk.begun = true;
	assert_int_equal(request(1, VIRTIO_BLK_T_IN, 0, 4096), UNTOUCHED);
	host_disk_answers(); /* it does not */
	put_vcpu();
	real_unmask = fake_host.ops.unmask;
	fake_host.ops.unmask = unmask_and_wait;
	assert_int_equal(vm_stop(vm, &err), ST_BUSY);
	assert_non_null(strstr(err.text, "disk root"));
	fake_host.ops.unmask = real_unmask;
	other = vm_rig_start("b", OTHER_BYTES);
	for (uint64_t at = 0; at < OTHER_BYTES; at += PAGE_SIZE)
		assert_int_equal(gmem_fill(other, gpa(at), 0x11, PAGE_SIZE), ST_OK);
	fake_host_advance(10 * VM_RIG_HZ);
	host_disk.late = false;
	host_disk_answers();
	assert_int_equal(host_disk.reads > 0, true);
	for (uint64_t at = 0; at < OTHER_BYTES; at += PAGE_SIZE) {
		assert_int_equal(gmem_read(other, gpa(at), block, PAGE_SIZE), ST_OK);
		for (unsigned i = 0; i < PAGE_SIZE; i++)
			assert_int_equal(block[i], 0x11);
	}
	/* It landed where the one that is gone had it, and only now that is given back. */
	assert_int_equal(gmem_read(vm, gpa(DATA), block, 1), ST_OK);
	assert_int_equal(block[0], 0x5a);
	assert_false(vm_reap(&vm_rig.machine));
	assert_null(vm->memory);
	assert_int_equal(vm_stop(other, &err), ST_OK);
	assert_int_equal(vm_destroy(other, &err), ST_OK);
	assert_int_equal(vm_destroy(vm, &err), ST_OK);
	vm = NULL;
	storage_destroy(&vm_rig.machine);
	fault_disk_fini(&host_disk);
}

/* The completion meets whoever looks at the device, and is left to a worker that does not run any more. */
static void meet(unsigned long state)
{
	real_unmask(state);
	if (++waits != 50)
		return;
	lock_acquire(&virtio_blk_device(vm_virtio_disk(platform_virtio(vm), 0))->lock);
	assert_int_equal(ram_disks_answer(10), 1);
	lock_release(&virtio_blk_device(vm_virtio_disk(platform_virtio(vm), 0))->lock);
}

static void what_comes_back_while_one_looks_is_not_lost(void **state)
{
	(void)state;
	add("root", "one");
	start();
	drive(1);
	ram_disks.hold = ram_disks.begun = true;
	assert_int_equal(request(1, VIRTIO_BLK_T_IN, 0, 512), UNTOUCHED);
	put_vcpu();
	waits = 0;
	real_unmask = fake_host.ops.unmask;
	fake_host.ops.unmask = meet;
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	fake_host.ops.unmask = real_unmask;
	assert_int_equal(ram_disks.disk[0].opened, 0);
}

static void a_request_not_begun_is_called_back(void **state)
{
	(void)state;
	add("root", "one");
	start();
	drive(1);
	ram_disks.hold = true;
	assert_int_equal(request(1, VIRTIO_BLK_T_IN, 0, 512), UNTOUCHED);
	put_vcpu();
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	assert_int_equal(ram_disks_answer(10), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(disks_come_first_in_order),
		CASE(a_volume_that_is_not_there_is_named),
		CASE(its_memory_is_counted),
		CASE(as_many_queues_as_processors),
		CASE(bytes_go_to_the_volume_and_back),
		CASE(a_late_answer_comes_all_the_same),
		CASE(without_space_the_vm_is_paused),
		CASE(figures_of_the_device_and_of_the_scheduler),
		CASE(numbers_reach_the_volume_at_once),
		CASE(interrupts_are_set_at_once),
		CASE(disks_are_found_by_name),
		CASE(it_prints_into_the_vms_console),
		CASE(what_is_typed_goes_where_somebody_listens),
		CASE(the_terminals_size_reaches_the_guest),
		CASE(pages_given_away_are_the_hosts),
		CASE(the_guest_is_asked_for_memory),
		CASE(statistics_are_asked_for_by_who_reads),
		CASE(a_stop_waits_for_what_a_disk_has_begun),
		CASE(a_stop_does_not_wait_for_a_disk_that_is_dead),
		CASE(what_a_disk_writes_late_lands_in_nobodys_memory),
		CASE(what_comes_back_while_one_looks_is_not_lost),
		CASE(a_request_not_begun_is_called_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
