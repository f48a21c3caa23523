/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All of storage below PCI, as the machine puts it together: drivers, rings, block
 * devices of two VMs, one I/O scheduler, a slow disk, memory that moves and comes
 * later. Data arrives, shares hold, nothing is forgotten, locks are taken in their
 * order (each acquisition is checked), and a reset ends while the disk is busy.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "io/iosched.h"
#include "io/model.h"
#include "io/virtio_blk.h"
#include "io/volume.h"
#include "lib/bits.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/virtio_driver.h"

#define HZ 1000000000ull
#define VMS 2u
#define PAGES 64u
#define SLOTS 32u
#define BYTES (1u << 20)
#define RING_AT 0x1000u
#define SLOT_AT(i) (0x4000u + 64u * (i)) /* header, and the status behind it */
#define DATA_AT(i) (0x10000u + 512u * (i))
#define NEXT VIRTQ_DESC_F_NEXT
#define WRITE VIRTQ_DESC_F_WRITE

static const struct clock *clock_by_hand;
static struct volume_ram ram;
static uint8_t memory[BYTES];
static struct model slow;
static struct iosched s;
static uint64_t wake;

static struct vm {
	struct fake_guest_mem mem;
	struct iosched_client client;
	struct iosched_slot slots[SLOTS];
	void *blk_memory;
	struct virtio_blk *blk;
	struct driver drv;
	struct driver_ring ring;
	unsigned ended;
	bool busy[SLOTS];
} vms[VMS];

/* ---- the machine ---- */

static void on_wake(void *ctx, uint64_t at)
{
	(void)ctx;
	wake = at;
}

static bool submit(void *ctx, struct block_request *r) { return iosched_submit(ctx, r); }
static bool cancel(void *ctx, struct block_request *r) { return iosched_cancel(ctx, r); }
static const struct virtio_blk_backend_ops backend = {.submit = submit, .cancel = cancel};

static void bring_up(struct vm *vm)
{
	assert_int_equal(driver_negotiate(&vm->drv, vm->drv.device->offered), 0x0b);
	driver_ring_init(&vm->ring, &vm->mem, RING_AT, VIRTIO_BLK_QUEUE_SIZE);
	driver_queue(&vm->drv, 0, &vm->ring);
	driver_ok(&vm->drv);
	driver_work(&vm->drv);
	memset(vm->busy, 0, sizeof vm->busy);
}

static void make_vm(struct vm *vm, struct block_device *disk, uint32_t shares)
{
	struct rls numbers = {.limit = RLS_UNLIMITED, .shares = shares};
	struct virtio_blk_config cfg = {.backend = &backend, .backend_ctx = &vm->client, .disk = disk, .queues = 1,
					.requests = SLOTS, .large = 1};

	memset(vm, 0, sizeof *vm);
	fake_guest_mem_init(&vm->mem, PAGES, shares);
	vm->mem.later = 20;
	cfg.mem = vm->mem.mem;
	iosched_client_begin(&vm->client, &s, NULL, disk, MCLOCK_REQUESTS, &numbers, vm->slots, SLOTS);
	vm->blk_memory = aligned_alloc(64, virtio_blk_bytes(&cfg));
	assert_int_equal(virtio_blk_init(vm->blk_memory, &cfg, &vm->blk, NULL), ST_OK);
	driver_attach(&vm->drv, virtio_blk_device(vm->blk));
	bring_up(vm);
}

static void make(struct block_device *disk)
{
	for (unsigned i = 0; i < VMS; i++)
		make_vm(&vms[i], disk, 1000 * (i + 1));
}

static int setup(void **state)
{
	struct iosched_settings set;
	struct error err;

	(void)state;
	clock_by_hand = hand_clock_init(HZ);
	hand_clock_set(HZ);
	wake = TIMERQ_NEVER;
	for (unsigned i = 0; i < BYTES; i += 4)
		put_le32(memory + i, i * 2654435761u);
	assert_int_equal(volume_ram_init(&ram, memory, BYTES, 512, "memory", &err), ST_OK);
	iosched_init(&s, &(struct iosched_config){
				 .clock = clock_by_hand, .wake_at = on_wake, .ctx = &s, .request_bytes = 256 << 10});
	iosched_settings_init(&set);
	set.depth_max = 4;
	set.latency_ns = 0;
	assert_int_equal(iosched_set(&s, &set, &err), ST_OK);
	assert_int_equal(model_init(&slow, &ram.device, &(struct model_config){.service_ns = 1000000, .depth = 2},
				    clock_by_hand, &s.timers, "slow", &err),
			 ST_OK);
	return 0;
}

/* What happens besides the guests: memory and the workers. */
static unsigned others(void)
{
	unsigned moved = 0;

	for (unsigned i = 0; i < VMS; i++) {
		moved += fake_guest_mem_answer(&vms[i].mem, 99) + driver_work(&vms[i].drv);
		fake_guest_mem_move(&vms[i].mem);
	}
	return moved;
}

static void pass_time(uint64_t ticks)
{
	uint64_t end = clock_by_hand->ticks() + ticks;

	while (others() != 0)
		continue;
	while (wake <= end) {
		hand_clock_set(MAX(wake, clock_by_hand->ticks()));
		wake = TIMERQ_NEVER;
		iosched_run(&s);
		assert_true(iosched_check(&s));
		while (others() != 0)
			continue;
	}
	hand_clock_set(end);
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < VMS; i++)
		driver_status(&vms[i].drv, 0);
	pass_time(10 * HZ);
	for (unsigned i = 0; i < VMS; i++) {
		assert_int_equal(driver_read_status(&vms[i].drv), 0);
		iosched_client_end(&vms[i].client);
		fake_guest_mem_fini(&vms[i].mem);
		free(vms[i].blk_memory);
	}
	return 0;
}

/* ---- the guests ---- */

static void send(struct vm *vm, unsigned slot, uint32_t type, uint64_t sector)
{
	uint16_t d = (uint16_t)(3 * slot);
	uint8_t h[16] = {0};

	put_le32(h, type);
	put_le64(h + 8, sector);
	fake_guest_mem_write(&vm->mem, SLOT_AT(slot), h, sizeof h);
	driver_desc(&vm->ring, d, SLOT_AT(slot), 16, NEXT, (uint16_t)(d + 1));
	driver_desc(&vm->ring, (uint16_t)(d + 1), DATA_AT(slot), 512, NEXT | (type == VIRTIO_BLK_T_IN ? WRITE : 0),
		    (uint16_t)(d + 2));
	driver_desc(&vm->ring, (uint16_t)(d + 2), SLOT_AT(slot) + 16, 1, WRITE, 0);
	driver_offer(&vm->ring, d);
	vm->busy[slot] = true;
	driver_kick(&vm->drv, 0);
}

static void collect(struct vm *vm)
{
	uint32_t head, written;

	while (driver_used(&vm->ring, &head, &written)) {
		uint8_t status;

		driver_used_event(&vm->ring, vm->ring.seen);
		fake_guest_mem_read(&vm->mem, SLOT_AT(head / 3) + 16, &status, 1);
		assert_int_equal(status, VIRTIO_BLK_S_OK);
		assert_true(vm->busy[head / 3]);
		vm->busy[head / 3] = false;
		vm->ended++;
	}
}

static void expect_sector(struct vm *vm, unsigned slot, uint64_t sector)
{
	uint8_t got[512];

	fake_guest_mem_read(&vm->mem, DATA_AT(slot), got, sizeof got);
	assert_memory_equal(got, memory + 512 * sector, sizeof got);
}

/* ---- */

/* A disk that answers at once. */
static void straight_through(void **state)
{
	(void)state;
	make(&ram.device);
	for (unsigned slot = 0; slot < SLOTS; slot++)
		send(&vms[slot % VMS], slot, VIRTIO_BLK_T_IN, 7 * slot);
	pass_time(0);
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		collect(&vms[slot % VMS]);
		expect_sector(&vms[slot % VMS], slot, 7 * slot);
	}
	assert_int_equal(vms[0].ended + vms[1].ended, SLOTS);
}

static void writes_arrive(void **state)
{
	uint8_t data[512];

	(void)state;
	make(&slow.device);
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		memset(data, (int)slot + 1, sizeof data);
		fake_guest_mem_write(&vms[0].mem, DATA_AT(slot), data, sizeof data);
		send(&vms[0], slot, VIRTIO_BLK_T_OUT, 100 + slot);
	}
	pass_time(HZ);
	collect(&vms[0]);
	assert_int_equal(vms[0].ended, SLOTS);
	for (unsigned slot = 0; slot < SLOTS; slot++)
		assert_int_equal(memory[512 * (100 + slot) + 511], slot + 1);
}

/* Both always have work: the second has twice the shares. */
static void shares_hold(void **state)
{
	unsigned both;

	(void)state;
	make(&slow.device);
	for (unsigned round = 0; round < 1500; round++) {
		for (unsigned i = 0; i < VMS; i++) {
			collect(&vms[i]);
			for (unsigned slot = 0; slot < SLOTS; slot++)
				if (!vms[i].busy[slot])
					send(&vms[i], slot, VIRTIO_BLK_T_IN, (slot + round) % 2000);
		}
		pass_time(1000000);
	}
	both = vms[0].ended + vms[1].ended;
	assert_in_range(both, 2800, 3000); /* 2 a millisecond */
	assert_in_range(3 * vms[0].ended, both * 97 / 100, both * 103 / 100);
}

/* What the disk has begun ends first; what waits is called back. The other VM's goes on. */
static void a_reset_of_one(void **state)
{
	uint64_t sum;

	(void)state;
	make(&slow.device);
	for (unsigned slot = 0; slot < SLOTS; slot++)
		for (unsigned i = 0; i < VMS; i++)
			send(&vms[i], slot, VIRTIO_BLK_T_IN, slot);
	pass_time(0);
	driver_status(&vms[0].drv, 0);
	pass_time(10000000);
	assert_int_equal(driver_read_status(&vms[0].drv), 0);
	assert_int_equal(vms[0].mem.pins, 0);
	sum = fake_guest_mem_sum(&vms[0].mem);
	pass_time(HZ);
	assert_true(fake_guest_mem_sum(&vms[0].mem) == sum);
	collect(&vms[1]);
	assert_int_equal(vms[1].ended, SLOTS);
	bring_up(&vms[0]);
	send(&vms[0], 3, VIRTIO_BLK_T_IN, 77);
	pass_time(HZ);
	collect(&vms[0]);
	expect_sector(&vms[0], 3, 77);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(straight_through), T(writes_arrive), T(shares_hold), T(a_reset_of_one)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
