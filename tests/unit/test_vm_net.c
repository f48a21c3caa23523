/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network interfaces of running VMs, as the machine puts them together: PCI functions whose drivers go by MMIO and
 * rings in the guest's memory, VMs' workers, ports of a network, and the worker that ends what waits. A VM that is
 * paused, stopped, or started again while frames are for it.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "guest/gmem.h"
#include "guest/network_internal.h"
#include "guest/pc.h"
#include "guest/platform.h"
#include "guest/virtio_pci.h"
#include "guest/vm_devices.h"
#include "guest/vm_net.h"
#include "guest/vm_nic.h"
#include "guest/vm_virtio.h"
#include "tests/fakes/no_boot.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (4ull << 20)
#define SLOT 1u
#define RX 0u
#define TX 1u
#define DESC(q) (0x100000u + (q) * 0x10000u)
#define AVAIL(q) (DESC(q) + 0x1000u)
#define USED(q) (DESC(q) + 0x2000u)
#define BUFFER(q, i) (0x200000u + (q) * 0x20000u + (i) * 0x800u)
#define SIZE 16u
#define HDR VIRTIO_NET_HDR_BYTES
#define BYTES 100u

static struct error err;
static struct network *lan;
static struct guest {
	struct vm *vm;
	struct vcpu *v;
	uint16_t offered[2];
	uint8_t mac[NET_MAC_BYTES];
} a, b;

/* ---- the machine ---- */

static int setup(void **state)
{
	struct network_config cfg;

	(void)state;
	fake_engine.caps.virtual_interrupts = false;
	vm_rig_init(RAM);
	assert_int_equal(networks_create(&vm_rig.machine, &err), ST_OK);
	network_config_init(&cfg);
	strcpy(cfg.name, "lan");
	cfg.mtu = 1400;
	assert_int_equal(network_define(&vm_rig.machine, &cfg, &err), ST_OK);
	lan = network_find(&vm_rig.machine, "lan");
	memset(&a, 0, sizeof a);
	memset(&b, 0, sizeof b);
	return 0;
}

static void put_vcpu(void)
{
	struct vcpu *v = fake_host.cpu.vcpu;

	fake_host.cpu.vcpu = NULL;
	if (v)
		v->engine->put(v);
}

static void in_turn(struct guest *g)
{
	if (fake_host.cpu.vcpu == g->v)
		return;
	put_vcpu();
	fake_host.cpu.vcpu = g->v;
	g->v->engine->load(g->v);
}

static int teardown(void **state)
{
	struct vm *vm;

	(void)state;
	put_vcpu();
	while ((vm = vm_next(&vm_rig.machine, NULL))) {
		if (vm->state == VM_RUNNING || vm->state == VM_PAUSED)
			assert_int_equal(vm_stop(vm, &err), ST_OK);
		assert_int_equal(vm_destroy(vm, &err), ST_OK);
	}
	networks_destroy(&vm_rig.machine);
	vm_rig_fini();
	return 0;
}

static struct vm_config config(const char *name)
{
	struct vm_config cfg = vm_rig_config(name, GUEST_BYTES);

	cfg.nic_count = 1;
	vm_nic_init(&cfg.nics[0]);
	strcpy(cfg.nics[0].name, "lan0");
	strcpy(cfg.nics[0].network, "lan");
	return cfg;
}

static void define(struct guest *g, const struct vm_config *cfg)
{
	assert_int_equal(vm_define(&vm_rig.machine, cfg, &g->vm, &err), ST_OK);
	vm_nic_mac(cfg, &cfg->nics[0], g->mac);
}

static void start(struct guest *g)
{
	put_vcpu();
	assert_int_equal(vm_start(g->vm, &err), ST_OK);
	g->v = g->vm->vcpus[0];
	memset(g->offered, 0, sizeof g->offered);
}

static void stop(struct guest *g)
{
	put_vcpu();
	assert_int_equal(vm_stop(g->vm, &err), ST_OK);
}

static bool turn_of(struct guest *g)
{
	if (!g->vm || g->vm->state != VM_RUNNING || !g->vm->io.asked)
		return false;
	(void)g->vm->io.entity.run(&g->vm->io.entity, UINT64_MAX);
	return true;
}

/* The VMs' workers and the network's, until none was asked. */
static void work(void)
{
	bool more;

	fake_host.cpu.need_resched = false;
	do {
		more = turn_of(&a) | turn_of(&b);
		if (lan->worker.asked) {
			(void)lan->worker.entity.run(&lan->worker.entity, UINT64_MAX);
			more = true;
		}
	} while (more);
}

/* ---- a driver ---- */

static uint64_t rd(struct guest *g, uint64_t at, unsigned size)
{
	in_turn(g);
	return vcpu_mmio_read(g->v, at, size);
}

static void wr(struct guest *g, uint64_t at, unsigned size, uint64_t value)
{
	in_turn(g);
	vcpu_mmio_write(g->v, at, size, value);
}

static uint64_t bar(struct guest *g, unsigned n)
{
	return rd(g, PC_ECAM_BASE + SLOT * 0x8000 + VPCI_BAR0 + n * 4, 4) & ~0xfull;
}

static uint64_t device(struct guest *g) { return bar(g, VIRTIO_PCI_MEMORY_BAR) + VIRTIO_PCI_DEVICE_AT; }

static void kick(struct guest *g, unsigned q)
{
	uint64_t ports = rd(g, PC_ECAM_BASE + SLOT * 0x8000 + VPCI_BAR0 + VIRTIO_PCI_IO_BAR * 4, 4) & ~3u;

	vm_port_write(g->vm, (uint16_t)(ports + q * VIRTIO_PCI_NOTIFY_STEP), 2, q);
}

static void enable(struct guest *g, uint64_t common, unsigned q)
{
	const uint32_t at[] = {DESC(q), AVAIL(q), USED(q)};

	wr(g, common + 22, 2, q);
	wr(g, common + 24, 2, SIZE);
	for (unsigned i = 0; i < 3; i++)
		wr(g, common + 32 + i * 8, 4, at[i]);
	wr(g, common + 28, 2, 1);
}

static void drive(struct guest *g)
{
	uint64_t common = bar(g, VIRTIO_PCI_MEMORY_BAR);
	const uint32_t wanted[] = {VIRTIO_NET_F_MAC | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_MTU, VIRTIO_F_VERSION_1 >> 32};

	assert_int_equal(gmem_fill(g->vm, gpa(DESC(RX)), 0, 0x20000), ST_OK);
	wr(g, common + 20, 1, 3);
	for (unsigned half = 0; half < 2; half++) {
		wr(g, common, 4, half);
		wr(g, common + 8, 4, half);
		assert_int_equal(rd(g, common + 4, 4) & wanted[half], wanted[half]);
		wr(g, common + 12, 4, wanted[half]);
	}
	wr(g, common + 20, 1, 0xb);
	enable(g, common, RX);
	enable(g, common, TX);
	wr(g, common + 20, 1, 0xf);
	assert_int_equal(rd(g, common + 20, 1), 0xf);
	work();
}

static void offer(struct guest *g, unsigned q, uint32_t bytes, uint16_t flags)
{
	uint16_t n = g->offered[q] % SIZE;
	uint8_t desc[16] = {0};

	put_le64(desc, BUFFER(q, n));
	put_le32(desc + 8, bytes);
	put_le16(desc + 12, flags);
	assert_int_equal(gmem_write(g->vm, gpa(DESC(q) + n * 16u), desc, sizeof desc), ST_OK);
	assert_int_equal(gmem_write(g->vm, gpa(AVAIL(q) + 4 + n * 2u), &n, 2), ST_OK);
	g->offered[q]++;
	assert_int_equal(gmem_write(g->vm, gpa(AVAIL(q) + 2), &g->offered[q], 2), ST_OK);
}

static void post(struct guest *g, unsigned count)
{
	while (count-- > 0)
		offer(g, RX, 0x800, VIRTQ_DESC_F_WRITE);
	kick(g, RX);
	work();
}

static void send(struct guest *g, const struct guest *to, uint8_t mark)
{
	uint8_t buffer[HDR + BYTES] = {0};
	unsigned n = g->offered[TX] % SIZE;

	memset(buffer + HDR, mark, BYTES);
	memcpy(buffer + HDR, to->mac, NET_MAC_BYTES);
	memcpy(buffer + HDR + NET_MAC_BYTES, g->mac, NET_MAC_BYTES);
	net_put16(buffer + HDR + 12, 0x88b5);
	assert_int_equal(gmem_write(g->vm, gpa(BUFFER(TX, n)), buffer, sizeof buffer), ST_OK);
	offer(g, TX, sizeof buffer, 0);
	kick(g, TX);
	work();
}

static uint16_t used(struct guest *g, unsigned q)
{
	uint16_t index;

	assert_int_equal(gmem_read(g->vm, gpa(USED(q) + 2), &index, 2), ST_OK);
	return index;
}

static uint8_t byte_of(struct guest *g, unsigned n)
{
	uint8_t byte;

	assert_int_equal(gmem_read(g->vm, gpa(BUFFER(RX, n) + HDR + BYTES - 1), &byte, 1), ST_OK);
	return byte;
}

static void both(void)
{
	struct vm_config cfg = config("a");

	define(&a, &cfg);
	cfg = config("b");
	define(&b, &cfg);
	start(&a);
	drive(&a);
	start(&b);
	drive(&b);
}

static uint64_t counted(const struct guest *g, const char *name, unsigned member)
{
	static uint64_t figures[COUNTER_FIGURES_MAX / 8];

	vm_nic_counters.figures(&g->vm->nic_places[0], figures);
	for (size_t i = 0; i < vm_nic_counters.count; i++)
		if (strcmp(vm_nic_counters.rows[i].name, name) == 0)
			return counter_value(&vm_nic_counters.rows[i], figures, member);
	fail_msg("no counter %s", name);
	return 0;
}

static const struct knob *knob(const char *name)
{
	for (size_t i = 0; i < vm_nic_knobs.count; i++)
		if (strcmp(vm_nic_knobs.rows[i].name, name) == 0)
			return &vm_nic_knobs.rows[i];
	fail_msg("no knob %s", name);
	return NULL;
}

static void set(struct guest *g, const char *name, uint64_t value)
{
	unsigned long masked;

	assert_int_equal(knob_check(knob(name), &g->vm->nic_places[0], value, &err), ST_OK);
	masked = fake_host.ops.mask();
	knob(name)->set(&g->vm->nic_places[0], value);
	fake_host.ops.unmask(masked);
}

/* ---- building ---- */

static void an_interface_is_what_its_definition_says(void **state)
{
	struct vm_config cfg = config("a");
	uint64_t at;

	(void)state;
	cfg.cpu.count = 3;
	define(&a, &cfg);
	start(&a);
	assert_int_equal(rd(&a, PC_ECAM_BASE + SLOT * 0x8000, 4), 0x10411af4);
	assert_int_equal(rd(&a, PC_ECAM_BASE + SLOT * 0x8000 + 8, 4) >> 8, 0x020000);
	assert_int_equal(rd(&a, bar(&a, VIRTIO_PCI_MEMORY_BAR) + 18, 2), 2 * 3 + 1);
	at = device(&a);
	for (unsigned i = 0; i < NET_MAC_BYTES; i++)
		assert_int_equal(rd(&a, at + VIRTIO_NET_CFG_MAC + i, 1), a.mac[i]);
	assert_int_equal(rd(&a, at + VIRTIO_NET_CFG_MTU, 2), 1400);
	assert_int_equal(rd(&a, at + VIRTIO_NET_CFG_STATUS, 2), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(rd(&a, at + VIRTIO_NET_CFG_PAIRS_MAX, 2), 3);
	assert_int_equal(a.vm->io.count, 3);
	stop(&a);
	set(&a, "queues", 1);
	set(&a, "mtu", 9000);
	set(&a, "connected", false);
	start(&a);
	assert_int_equal(rd(&a, bar(&a, VIRTIO_PCI_MEMORY_BAR) + 18, 2), 2 + 1);
	assert_int_equal(rd(&a, device(&a) + VIRTIO_NET_CFG_MTU, 2), 9000);
	assert_int_equal(rd(&a, device(&a) + VIRTIO_NET_CFG_STATUS, 2), 0);
}

static void a_network_that_is_not_there_is_named(void **state)
{
	struct vm_config cfg = config("a");

	(void)state;
	cfg.nic_count = 2;
	cfg.nics[1] = cfg.nics[0];
	strcpy(cfg.nics[1].name, "wan0");
	strcpy(cfg.nics[1].network, "wan");
	define(&a, &cfg);
	assert_int_equal(vm_start(a.vm, &err), ST_NOT_FOUND);
	assert_string_equal(err.text, "VM a: net.wan0: there is no network called wan");
	assert_int_equal(a.vm->state, VM_DEFINED);
	assert_int_equal(lan->client_count, 0);
}

static void a_machine_without_networks_says_so(void **state)
{
	struct networks *all = vm_rig.machine.networks;
	struct vm_config cfg = config("a");

	(void)state;
	define(&a, &cfg);
	vm_rig.machine.networks = NULL;
	assert_int_equal(vm_start(a.vm, &err), ST_UNSUPPORTED);
	assert_string_equal(err.text, "VM a: net.lan0: this machine has no networks");
	vm_rig.machine.networks = all;
}

static void its_memory_is_counted(void **state)
{
	struct vm_config cfg = config("a");
	uint64_t with, promised = vm_rig.machine.committed;

	(void)state;
	with = vm_virtio_bytes(&cfg);
	cfg.nic_count = 0;
	assert_true(with > vm_virtio_bytes(&cfg) + network_client_bytes());
	cfg.nic_count = VM_NICS_MAX;
	for (unsigned i = 0; i < VM_NICS_MAX; i++) {
		vm_nic_init(&cfg.nics[i]);
		cfg.nics[i].name[0] = (char)('a' + i);
		strcpy(cfg.nics[i].network, "lan");
		cfg.nics[i].queues = VM_NIC_QUEUES_MAX;
	}
	define(&a, &cfg);
	start(&a);
	assert_int_equal(lan->client_count, VM_NICS_MAX);
	assert_true(vm_rig.machine.committed >= promised + GUEST_BYTES + vm_virtio_bytes(&cfg));
	stop(&a);
	assert_int_equal(lan->client_count, 0);
	assert_int_equal(vm_destroy(a.vm, &err), ST_OK);
	assert_int_equal(vm_rig.machine.committed, promised);
}

/* ---- frames ---- */

static void frames_go_from_guest_to_guest(void **state)
{
	(void)state;
	both();
	post(&b, 4);
	send(&a, &b, 0x11);
	send(&a, &b, 0x12);
	assert_int_equal(used(&a, TX), 2);
	assert_int_equal(used(&b, RX), 2);
	assert_true(byte_of(&b, 0) == 0x11 && byte_of(&b, 1) == 0x12);
	assert_int_equal(counted(&a, "tx.frames", 0), 2);
	assert_int_equal(counted(&a, "tx.bytes", 0), 2 * BYTES);
	assert_int_equal(counted(&b, "rx.frames", 0), 2);
	assert_int_equal(counted(&b, "rx.copied", 0), 2 * BYTES);
	assert_int_equal(counted(&b, "up", 0), 1);
	/* It is known what they did until the next start. */
	stop(&a);
	assert_int_equal(counted(&a, "tx.frames", 0), 2);
	assert_int_equal(counted(&a, "up", 0), 0);
	start(&a);
	assert_int_equal(counted(&a, "tx.frames", 0), 0);
	drive(&a);
	send(&a, &b, 0x13);
	assert_int_equal(byte_of(&b, 2), 0x13);
}

/* Nobody but the sender's worker carries a frame: a kick only asks for it. */
static void a_kick_asks_for_the_worker(void **state)
{
	uint8_t buffer[HDR + BYTES] = {0};

	(void)state;
	both();
	post(&b, 1);
	memcpy(buffer + HDR, b.mac, NET_MAC_BYTES);
	memcpy(buffer + HDR + NET_MAC_BYTES, a.mac, NET_MAC_BYTES);
	net_put16(buffer + HDR + 12, 0x88b5);
	assert_int_equal(gmem_write(a.vm, gpa(BUFFER(TX, 0)), buffer, sizeof buffer), ST_OK);
	offer(&a, TX, sizeof buffer, 0);
	kick(&a, TX);
	assert_int_equal(used(&b, RX), 0);
	assert_true(a.vm->io.asked != 0 && b.vm->io.asked == 0);
	work();
	assert_int_equal(used(&b, RX), 1);
}

static void its_cable_may_be_pulled(void **state)
{
	(void)state;
	both();
	post(&b, 4);
	set(&b, "connected", false);
	assert_int_equal(rd(&b, device(&b) + VIRTIO_NET_CFG_STATUS, 2) & VIRTIO_NET_S_LINK_UP, 0);
	send(&a, &b, 1);
	assert_int_equal(used(&b, RX), 0);
	assert_int_equal(counted(&b, "rx.drops", NET_DROP_LINK), 1);
	assert_int_equal(counted(&b, "up", 0), 0);
	set(&b, "connected", true);
	assert_int_equal(rd(&b, device(&b) + VIRTIO_NET_CFG_STATUS, 2) & VIRTIO_NET_S_LINK_UP, VIRTIO_NET_S_LINK_UP);
	send(&a, &b, 2);
	assert_int_equal(used(&b, RX), 1);
	vm_nics_changed(b.vm); /* with nothing changed */
	set(&a, "any_mac", true);
	set(&a, "vlan", 7);
	send(&a, &b, 3);
	assert_int_equal(used(&b, RX), 1);
	set(&b, "vlan", 7);
	send(&a, &b, 4);
	assert_int_equal(used(&b, RX), 2);
}

static void pass(uint64_t ns)
{
	fake_host_advance(ns_to_ticks(ns, VM_RIG_HZ));
	work();
}

static void a_vm_that_is_paused_holds_up_nobody(void **state)
{
	(void)state;
	both();
	post(&b, 1);
	put_vcpu();
	assert_int_equal(vm_pause(b.vm, &err), ST_OK);
	send(&a, &b, 1); /* into the buffer that is there */
	send(&a, &b, 2);
	assert_int_equal(used(&a, TX), 1);
	pass(NET_PATIENCE_DEFAULT_NS + 1000000);
	assert_int_equal(used(&a, TX), 2);
	assert_int_equal(counted(&b, "rx.drops", NET_DROP_NO_BUFFER), 1);
	assert_int_equal(counted(&b, "rx.stalls", 0), 1);
	send(&a, &b, 3); /* nobody is waited for twice */
	assert_int_equal(used(&a, TX), 3);
	put_vcpu();
	assert_int_equal(vm_resume(b.vm, &err), ST_OK);
	post(&b, 1);
	send(&a, &b, 4);
	assert_int_equal(used(&b, RX), 2);
	assert_int_equal(byte_of(&b, 1), 4);
}

/* What it had begun to send goes on when it does. */
static void a_sender_that_is_paused_goes_on(void **state)
{
	(void)state;
	both();
	send(&a, &b, 1);
	assert_int_equal(used(&a, TX), 0);
	put_vcpu();
	assert_int_equal(vm_pause(a.vm, &err), ST_OK);
	post(&b, 1); /* its worker is asked, and does nothing */
	assert_true(used(&b, RX) == 0 && a.vm->io.asked != 0);
	put_vcpu();
	assert_int_equal(vm_resume(a.vm, &err), ST_OK);
	work();
	assert_true(used(&b, RX) == 1 && used(&a, TX) == 1);
	assert_int_equal(byte_of(&b, 0), 1);
	/* And a paused one can be stopped. */
	send(&a, &b, 2);
	put_vcpu();
	assert_int_equal(vm_pause(a.vm, &err), ST_OK);
	stop(&a);
	assert_int_equal(lan->client_count, 1);
}

static void vms_stop_with_frames_under_way(void **state)
{
	(void)state;
	both();
	for (unsigned i = 0; i < 3; i++) {
		/* The one that is waited for. */
		send(&a, &b, 1);
		assert_int_equal(used(&a, TX), 2 * i);
		stop(&b);
		work();
		assert_int_equal(used(&a, TX), 2 * i + 1);
		send(&a, &b, 2);
		assert_int_equal(used(&a, TX), 2 * i + 2);
		start(&b);
		drive(&b);
	}
	/* The one that waits. */
	send(&a, &b, 1);
	stop(&a);
	post(&b, 1);
	assert_int_equal(used(&b, RX), 0);
	assert_int_equal(lan->client_count, 1);
	assert_true(net_switch_check(&lan->sw));
}

static void interfaces_are_found_by_name(void **state)
{
	struct vm_config cfg = config("a");
	const char *where;

	(void)state;
	cfg.nics[0].given = 1;
	strcpy(cfg.origin, "boot.lua:9");
	define(&a, &cfg);
	assert_ptr_equal(vm_nic_find(a.vm, "lan0", 4), &a.vm->nic_places[0]);
	assert_null(vm_nic_find(a.vm, "lan", 3));
	assert_int_equal(vm_nic_index(&cfg, "lan0"), 0);
	assert_int_equal(vm_nic_index(&cfg, "x"), 1);
	assert_true(vm_nic_knobs.given(&a.vm->nic_places[0], 0, &where));
	assert_string_equal(where, "boot.lua:9");
	assert_false(vm_nic_knobs.given(&a.vm->nic_places[0], 1, &where));
	for (size_t i = 0; i < vm_nic_knobs.count; i++) {
		const struct knob *k = &vm_nic_knobs.rows[i];

		assert_int_equal(k->get(&a.vm->nic_places[0]), k->otherwise);
	}
	assert_int_equal(knob_check(knob("rate"), &a.vm->nic_places[0], 10, &err), ST_INVALID);
	assert_int_equal(counted(&a, "tx.frames", 0), 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(an_interface_is_what_its_definition_says),
		T(a_network_that_is_not_there_is_named),
		T(a_machine_without_networks_says_so),
		T(its_memory_is_counted),
		T(frames_go_from_guest_to_guest),
		T(a_kick_asks_for_the_worker),
		T(its_cable_may_be_pulled),
		T(a_vm_that_is_paused_holds_up_nobody),
		T(a_sender_that_is_paused_goes_on),
		T(vms_stop_with_frames_under_way),
		T(interfaces_are_found_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
