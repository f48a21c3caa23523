/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device by virtio 1.2 section 5.2, driven through its rings over guest
 * memory that moves: all requests, all that is wrong with one, each pin later and
 * failing, the cache's promises, a full volume, several queues, resets with requests
 * everywhere they can be.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "tests/fakes/late_disk.h"
#include "tests/fakes/virtio_driver.h"

#define PAGES 360u
#define SECTORS 4096u
#define RING_AT(i) (0x1000u + 0x2000u * (i))
#define HEADERS 0x20000u /* 16 bytes a slot, header and status */
#define STATUSES 0x21000u
#define TABLES 0x30000u
#define DATA 0x40000u
#define SLOTS 42u /* chains of three in a ring of 128 */
#define QUEUES 3u
#define ALL (~0ull & ~VIRTIO_F_ACCESS_PLATFORM)

#define NEXT VIRTQ_DESC_F_NEXT
#define WRITE VIRTQ_DESC_F_WRITE

static struct fake_guest_mem mem;
static struct late_disk disk;
static struct virtio_blk *blk;
static void *memory;
static struct driver drv;
static struct driver_ring ring[QUEUES];
static unsigned full;

static void on_full(void *ctx)
{
	assert_ptr_equal(ctx, &full);
	full++;
}

static const struct virtio_blk_config config = {
	.backend = &late_disk_ops, .backend_ctx = &disk, .disk = &disk.device, .serial = "serial-number-of-20b",
	.queues = QUEUES, .requests = 8, .large = 2, .no_space = on_full, .no_space_ctx = &full};

static void make(const struct virtio_blk_config *cfg)
{
	struct virtio_blk_config c = *cfg;
	struct error err;

	c.mem = mem.mem;
	memory = aligned_alloc(64, virtio_blk_bytes(&c));
	assert_int_equal(virtio_blk_init(memory, &c, &blk, &err), ST_OK);
	driver_attach(&drv, virtio_blk_device(blk));
}

static uint64_t offered(void) { return virtio_blk_device(blk)->offered; }

static void bring_up(uint64_t features)
{
	assert_true(driver_negotiate(&drv, features & offered()) & VIRTIO_STATUS_FEATURES_OK);
	for (unsigned i = 0; i < QUEUES; i++) {
		driver_ring_init(&ring[i], &mem, RING_AT(i), VIRTIO_BLK_QUEUE_SIZE);
		driver_queue(&drv, i, &ring[i]);
	}
	driver_ok(&drv);
	driver_work(&drv);
}

static int setup_bare(void **state)
{
	(void)state;
	full = 0;
	fake_guest_mem_init(&mem, PAGES, 1);
	late_disk_init(&disk, SECTORS, 512);
	for (uint64_t i = 0; i < SECTORS * 512ull; i += 4)
		put_le32(disk.view + i, (uint32_t)i);
	return 0;
}

static int setup(void **state)
{
	setup_bare(state);
	make(&config);
	bring_up(ALL);
	return 0;
}

/* Everything that is still under way ends. */
static void settle(void)
{
	for (unsigned i = 0; i < 100000; i++) {
		unsigned moved = fake_guest_mem_answer(&mem, 1000) + late_disk_end(&disk, 1000) + driver_work(&drv);

		fake_guest_mem_move(&mem);
		if (moved == 0)
			return;
	}
	fail_msg("it does not come to rest");
}

static int teardown(void **state)
{
	(void)state;
	driver_status(&drv, 0);
	settle();
	assert_int_equal(driver_read_status(&drv), 0);
	late_disk_fini(&disk);
	fake_guest_mem_fini(&mem);
	free(memory);
	return 0;
}

/* ---- requests ---- */

static uint64_t header_at(unsigned slot) { return HEADERS + 16ull * slot; }
static uint64_t status_at(unsigned slot) { return STATUSES + slot; }

static void header(unsigned slot, uint32_t type, uint64_t sector)
{
	uint8_t h[16] = {0};

	put_le32(h, type);
	put_le64(h + 8, sector);
	fake_guest_mem_write(&mem, header_at(slot), h, sizeof h);
	fake_guest_mem_fill(&mem, status_at(slot), 0xee, 1);
}

static uint8_t status_of(unsigned slot)
{
	uint8_t s;

	fake_guest_mem_read(&mem, status_at(slot), &s, 1);
	return s;
}

/* A chain of header, @bytes of data at @at (none: 0) and status at descriptors 3 * slot. */
static void offer(unsigned queue, unsigned slot, uint32_t type, uint64_t sector, uint64_t at, uint32_t bytes)
{
	uint16_t d = (uint16_t)(3 * slot);
	bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;

	header(slot, type, sector);
	driver_desc(&ring[queue], d, header_at(slot), 16, NEXT, (uint16_t)(bytes ? d + 1 : d + 2));
	driver_desc(&ring[queue], (uint16_t)(d + 1), at, bytes, NEXT | (in ? WRITE : 0), (uint16_t)(d + 2));
	driver_desc(&ring[queue], (uint16_t)(d + 2), status_at(slot), 1, WRITE, 0);
	driver_offer(&ring[queue], d);
}

static uint32_t expect_used(unsigned queue, unsigned slot)
{
	uint32_t head, written;

	assert_true(driver_used(&ring[queue], &head, &written));
	assert_int_equal(head, 3 * slot);
	driver_used_event(&ring[queue], ring[queue].seen);
	return written;
}

static void expect_none(unsigned queue)
{
	uint32_t head, written;

	assert_false(driver_used(&ring[queue], &head, &written));
}

/* One request from start to end; its status. @written: what the used ring must say. */
static uint8_t run(uint32_t type, uint64_t sector, uint64_t at, uint32_t bytes, uint32_t written)
{
	offer(0, 0, type, sector, at, bytes);
	driver_kick(&drv, 0);
	settle();
	assert_int_equal(expect_used(0, 0), written);
	return status_of(0);
}

static void fill_random(uint64_t at, uint32_t bytes, uint32_t seed)
{
	for (uint32_t i = 0; i < bytes; i += 4) {
		uint32_t v = (seed + i) * 2654435761u;

		fake_guest_mem_write(&mem, at + i, &v, 4);
	}
}

static void expect_data(uint64_t at, uint64_t sector, uint32_t bytes)
{
	uint8_t *got = malloc(bytes);

	fake_guest_mem_read(&mem, at, got, bytes);
	assert_memory_equal(got, disk.view + sector * 512, bytes);
	free(got);
}

static void reads(void **state)
{
	(void)state;
	assert_int_equal(run(VIRTIO_BLK_T_IN, 7, DATA, 512, 513), VIRTIO_BLK_S_OK);
	expect_data(DATA, 7, 512);
	assert_int_equal(run(VIRTIO_BLK_T_IN, SECTORS - 8, DATA + 4, 4096, 4097), VIRTIO_BLK_S_OK); /* over a page */
	expect_data(DATA + 4, SECTORS - 8, 4096);
	assert_int_equal(drv.interrupts[1], 2);
	assert_int_equal(disk.submitted[BLOCK_READ], 2);
}

static void writes(void **state)
{
	(void)state;
	fill_random(DATA + 100, 4096, 5);
	assert_int_equal(run(VIRTIO_BLK_T_OUT, 9, DATA + 100, 4096, 1), VIRTIO_BLK_S_OK);
	expect_data(DATA + 100, 9, 4096);
	assert_int_equal(disk.submitted[BLOCK_FLUSH], 0); /* it may stay in the cache */
	assert_int_equal(run(VIRTIO_BLK_T_FLUSH, 0, 0, 0, 1), VIRTIO_BLK_S_OK);
	assert_memory_equal(disk.platter, disk.view, SECTORS * 512);
}

/* One buffer of many pages; a small room would do, the pages are apart in host memory. */
static void large_requests(void **state)
{
	static const uint32_t sizes[] = {28672, 32768, 32768 + 512, 131072, 256 * 4096, 200 * 4096 + 512};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(run(VIRTIO_BLK_T_IN, 16, DATA + 8, sizes[i], sizes[i] + 1), VIRTIO_BLK_S_OK);
		expect_data(DATA + 8, 16, sizes[i]);
		fill_random(DATA + 8, sizes[i], i);
		assert_int_equal(run(VIRTIO_BLK_T_OUT, 16, DATA + 8, sizes[i], 1), VIRTIO_BLK_S_OK);
		expect_data(DATA + 8, 16, sizes[i]);
	}
}

/* More pieces than there is room for, and less in one request than the disk takes. */
static void several_rounds(void **state)
{
	(void)state;
	disk.device.max_count = 128;
	fill_random(DATA, 1 << 20, 3);
	assert_int_equal(run(VIRTIO_BLK_T_OUT, 0, DATA, 1 << 20, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.submitted[BLOCK_WRITE], 16);
	expect_data(DATA, 0, 1 << 20);
	disk.device.max_count = 1 << 20;
	assert_int_equal(run(VIRTIO_BLK_T_IN, 1, DATA + 2, (257 * 4096) & ~511u, 257 * 4096 + 1), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.submitted[BLOCK_READ], 2);
	expect_data(DATA + 2, 1, 257 * 4096);
}

/* Header, data and status in pieces that mean nothing (2.7.4.2). */
static void any_framing(void **state)
{
	uint16_t d = 0;

	(void)state;
	header(0, VIRTIO_BLK_T_OUT, 3);
	fill_random(DATA, 1024, 9);
	/* 16 bytes of header one by one, 1024 of data in buffers of 17, 34, ... */
	for (unsigned i = 0; i < 16; i++, d++)
		driver_desc(&ring[0], d, header_at(0) + i, 1, NEXT, (uint16_t)(d + 1));
	for (unsigned at = 0, n; at < 1024; at += n, d++) {
		n = MIN(17 * (d - 15u), 1024 - at);
		driver_desc(&ring[0], d, DATA + at, n, NEXT, (uint16_t)(d + 1));
	}
	driver_desc(&ring[0], d, status_at(0), 1, WRITE, 0);
	driver_offer(&ring[0], 0);
	driver_kick(&drv, 0);
	settle();
	assert_int_equal(expect_used(0, 0), 1);
	assert_int_equal(status_of(0), VIRTIO_BLK_S_OK);
	expect_data(DATA, 3, 1024);
	/* The header's last bytes and the data in one buffer, data and status in one. */
	header(0, VIRTIO_BLK_T_IN, 5);
	driver_desc(&ring[0], 0, header_at(0), 5, NEXT, 1);
	driver_desc(&ring[0], 1, header_at(0) + 5, 11, NEXT, 2);
	driver_desc(&ring[0], 2, DATA, 513, WRITE, 0);
	driver_offer(&ring[0], 0);
	driver_kick(&drv, 0);
	settle();
	assert_int_equal(expect_used(0, 0), 513);
	expect_data(DATA, 5, 512);
	assert_int_equal(fake_guest_mem_get16(&mem, DATA + 512) & 0xff, VIRTIO_BLK_S_OK);
}

/* As drivers do: then the header is read with the status byte's pin. At each place in a page, and across two. */
static void header_beside_status(void **state)
{
	static const struct {
		uint64_t header, status;
		uint32_t pins;
	} cases[] = {{0x20000, 0x20010, 2}, {0x20ff0, 0x20000, 2}, {0x20001, 0x20fff, 2}, {0x20ff1, 0x20000, 4},
		     {0x20ff0, 0x21000, 3}, {0x21000, 0x20fff, 3}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t asked = mem.asked;
		uint8_t h[16] = {0}, status = 0xee;

		h[8] = 7;
		fake_guest_mem_write(&mem, cases[i].header, h, sizeof h);
		fake_guest_mem_write(&mem, cases[i].status, &status, 1);
		driver_desc(&ring[0], 0, cases[i].header, 16, NEXT, 1);
		driver_desc(&ring[0], 1, DATA, 512, NEXT | WRITE, 2);
		driver_desc(&ring[0], 2, cases[i].status, 1, WRITE, 0);
		driver_offer(&ring[0], 0);
		driver_kick(&drv, 0);
		settle();
		assert_int_equal(expect_used(0, 0), 513);
		fake_guest_mem_read(&mem, cases[i].status, &status, 1);
		assert_int_equal(status, VIRTIO_BLK_S_OK);
		expect_data(DATA, 7, 512);
		assert_int_equal(mem.asked - asked, cases[i].pins);
	}
}

/* The most pieces that a sector can lie in, in a chain as long as it may be. */
static void a_sector_in_crumbs(void **state)
{
	(void)state;
	header(0, VIRTIO_BLK_T_OUT, 0);
	driver_table(&ring[0], TABLES, 0, header_at(0), 16, NEXT, 1);
	for (unsigned i = 0; i < VIRTIO_BLK_SEGMENTS; i++) /* two bytes across each page boundary; the last has the rest */
		driver_table(&ring[0], TABLES, (uint16_t)(i + 1), DATA + 0x1000 * (i + 1) - 1,
			     i + 1 < VIRTIO_BLK_SEGMENTS ? 2 : 512 - 2 * (VIRTIO_BLK_SEGMENTS - 1), NEXT, (uint16_t)(i + 2));
	driver_table(&ring[0], TABLES, VIRTIO_BLK_SEGMENTS + 1, status_at(0), 1, WRITE, 0);
	driver_desc(&ring[0], 0, TABLES, 16 * (VIRTIO_BLK_SEGMENTS + 2), VIRTQ_DESC_F_INDIRECT, 0);
	driver_offer(&ring[0], 0);
	driver_kick(&drv, 0);
	settle();
	assert_int_equal(expect_used(0, 0), 1);
	assert_int_equal(status_of(0), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.submitted[BLOCK_WRITE], 1);
	assert_int_equal(disk.last.segment_count, 2 * VIRTIO_BLK_SEGMENTS);
}

static void one_descriptor_too_many(void **state)
{
	(void)state;
	for (unsigned i = 0; i <= VIRTIO_BLK_QUEUE_SIZE; i++)
		driver_table(&ring[0], TABLES, (uint16_t)i, DATA, 1, NEXT, (uint16_t)(i + 1));
	driver_desc(&ring[0], 0, TABLES, 16 * (VIRTIO_BLK_QUEUE_SIZE + 1), VIRTQ_DESC_F_INDIRECT, 0);
	driver_offer(&ring[0], 0);
	driver_kick(&drv, 0);
	assert_string_equal(drv.why, "a chain longer than the device takes");
	assert_true(driver_read_status(&drv) & VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(drv.interrupts[0], 1);
}

static void the_serial_number(void **state)
{
	uint8_t id[24];

	(void)state;
	fake_guest_mem_fill(&mem, DATA, 0xaa, 64);
	assert_int_equal(run(VIRTIO_BLK_T_GET_ID, 0, DATA, 20, 21), VIRTIO_BLK_S_OK);
	fake_guest_mem_read(&mem, DATA, id, 24);
	assert_memory_equal(id, "serial-number-of-20b\xaa\xaa\xaa\xaa", 24);
	assert_int_equal(run(VIRTIO_BLK_T_GET_ID, 0, DATA + 4086, 30, 20), VIRTIO_BLK_S_OK); /* more room, over a page */
	fake_guest_mem_read(&mem, DATA + 4086, id, 20);
	assert_memory_equal(id, "serial-number-of-20b", 20);
	assert_int_equal(run(VIRTIO_BLK_T_GET_ID, 0, DATA, 19, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(VIRTIO_BLK_T_GET_ID, 0, 0, 0, 1), VIRTIO_BLK_S_IOERR);
}

/* ---- discard and write-zeroes ---- */

static void range(unsigned i, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	uint8_t g[16];

	put_le64(g, sector);
	put_le32(g + 8, sectors);
	put_le32(g + 12, flags);
	fake_guest_mem_write(&mem, DATA + 16ull * i, g, sizeof g);
}

static void expect_bytes(uint64_t sector, uint64_t sectors, int byte)
{
	for (uint64_t i = sector * 512; i < (sector + sectors) * 512; i++)
		if (disk.view[i] != byte)
			fail_msg("byte %llu is %#x", (unsigned long long)i, disk.view[i]);
}

static void discards_and_zeroes(void **state)
{
	(void)state;
	range(0, 10, 2, 0);
	range(1, 0, 0, 0); /* nothing */
	range(2, SECTORS - 1, 1, 0);
	assert_int_equal(run(VIRTIO_BLK_T_DISCARD, 0, DATA, 48, 1), VIRTIO_BLK_S_OK);
	expect_bytes(10, 2, 0xdd);
	expect_bytes(SECTORS - 1, 1, 0xdd);
	assert_int_equal(disk.submitted[BLOCK_DISCARD], 2);
	range(0, 10, 1, 0);
	range(1, 100, 300, VIRTIO_BLK_RANGE_UNMAP);
	assert_int_equal(run(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 32, 1), VIRTIO_BLK_S_OK);
	expect_bytes(10, 1, 0);
	expect_bytes(11, 1, 0xdd);
	expect_bytes(100, 300, 0);
	assert_true(disk.last.unmap);
	for (unsigned i = 0; i < VIRTIO_BLK_RANGES; i++)
		range(i, 2 * i + 1000, 1, 0);
	assert_int_equal(run(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 16 * VIRTIO_BLK_RANGES, 1), VIRTIO_BLK_S_OK);
	assert_false(disk.last.unmap);
	assert_int_equal(disk.submitted[BLOCK_WRITE_ZEROES], 2 + VIRTIO_BLK_RANGES);
}

/* What is wrong with one range keeps all from being begun. */
static void wrong_ranges(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t sectors, flags;
		uint8_t discard, zeroes;
	} cases[] = {
		{SECTORS, 1, 0, 1, 1}, {SECTORS - 1, 2, 0, 1, 1}, {~0ull, 1, 0, 1, 1}, {~0ull, 0xffffffff, 0, 1, 1},
		{0, 0xffffffff, 0, 1, 1}, {0, 1, 2, 2, 2}, {0, 1, 0x80000000, 2, 2}, {0, 1, 1, 2, 0}, {SECTORS, 1, 2, 2, 2},
	};
	static const uint32_t sizes[] = {1, 15, 17, 24, 16 * (VIRTIO_BLK_RANGES + 1)};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		range(0, 5, 1, 0);
		range(1, cases[i].sector, cases[i].sectors, cases[i].flags);
		assert_int_equal(run(VIRTIO_BLK_T_DISCARD, 0, DATA, 32, 1), cases[i].discard);
		assert_int_equal(disk.submitted[BLOCK_DISCARD], 0);
		assert_int_equal(run(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 32, 1), cases[i].zeroes);
		assert_int_equal(disk.submitted[BLOCK_WRITE_ZEROES], cases[i].zeroes == 0 ? 2 : 0);
		disk.submitted[BLOCK_WRITE_ZEROES] = 0;
	}
	fake_guest_mem_fill(&mem, DATA, 0, 512);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		assert_int_equal(run(VIRTIO_BLK_T_DISCARD, 0, DATA, sizes[i], 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(VIRTIO_BLK_T_WRITE_ZEROES, 0, 0, 0, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk.submitted[BLOCK_DISCARD], 0);
}

static void without_the_features(void **state)
{
	(void)state;
	driver_status(&drv, 0);
	bring_up(ALL & ~(VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES | VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE));
	range(0, 0, 1, 0);
	assert_int_equal(run(VIRTIO_BLK_T_DISCARD, 0, DATA, 16, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(run(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 16, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(run(VIRTIO_BLK_T_FLUSH, 0, 0, 0, 1), VIRTIO_BLK_S_UNSUPP);
}

static void large_sectors(void **state)
{
	struct virtio_blk_config c = config;

	(void)state;
	setup_bare(state);
	late_disk_fini(&disk);
	late_disk_init(&disk, SECTORS / 8, 4096);
	disk.device.discard_sectors = 4;
	make(&c);
	bring_up(ALL);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_CAPACITY, 8), SECTORS);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_BLK_SIZE, 4), 4096);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_DISCARD_SECTOR_ALIGNMENT, 4), 32);
	fill_random(DATA, 8192, 1);
	assert_int_equal(run(VIRTIO_BLK_T_OUT, 16, DATA, 8192, 1), VIRTIO_BLK_S_OK);
	expect_data(DATA, 16, 8192);
	assert_int_equal(run(VIRTIO_BLK_T_OUT, 15, DATA, 4096, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(VIRTIO_BLK_T_IN, 16, DATA, 512, 0), VIRTIO_BLK_S_IOERR);
	range(0, 9, 30, 0); /* rounded inwards */
	assert_int_equal(run(VIRTIO_BLK_T_DISCARD, 0, DATA, 16, 1), VIRTIO_BLK_S_OK);
	expect_bytes(16, 16, 0xdd);
	assert_int_not_equal(disk.view[15 * 512], 0xdd);
	assert_int_not_equal(disk.view[32 * 512], 0xdd);
	assert_int_equal(run(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 16, 1), VIRTIO_BLK_S_IOERR); /* that is no advice */
	range(0, 17, 3, 0);
	assert_int_equal(run(VIRTIO_BLK_T_DISCARD, 0, DATA, 16, 1), VIRTIO_BLK_S_OK); /* nothing of it is whole */
	assert_int_equal(disk.submitted[BLOCK_DISCARD], 1);
}

/* ---- what is wrong with a request ---- */

static void wrong_requests(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t bytes;
		uint8_t status;
	} cases[] = {
		{VIRTIO_BLK_T_IN, SECTORS, 512, 1}, {VIRTIO_BLK_T_IN, SECTORS - 1, 1024, 1}, {VIRTIO_BLK_T_IN, ~0ull, 512, 1},
		{VIRTIO_BLK_T_IN, 0, 511, 1}, {VIRTIO_BLK_T_IN, 0, 513, 1}, {VIRTIO_BLK_T_IN, 0, 1, 1},
		{VIRTIO_BLK_T_OUT, SECTORS, 512, 1}, {VIRTIO_BLK_T_OUT, ~0ull - 1, 512, 1}, {VIRTIO_BLK_T_OUT, ~0ull - 1, 2048, 1}, {VIRTIO_BLK_T_OUT, 0, 100, 1},
		{2, 0, 512, 2}, {3, 0, 512, 2}, {10, 0, 512, 2}, {14, 0, 512, 2}, {15, 0, 512, 2}, {26, 0, 0, 2},
		{0xffffffff, 0, 512, 2}, {0x80000001, 0, 512, 2},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		bool in = cases[i].type == VIRTIO_BLK_T_IN;

		assert_int_equal(run(cases[i].type, cases[i].sector, DATA, cases[i].bytes, in ? 0 : 1), cases[i].status);
	}
	assert_int_equal(disk.submitted[BLOCK_READ] + disk.submitted[BLOCK_WRITE], 0);
	/* Nothing to be done is done. */
	assert_int_equal(run(VIRTIO_BLK_T_IN, 5, 0, 0, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(run(VIRTIO_BLK_T_OUT, SECTORS, 0, 0, 1), VIRTIO_BLK_S_OK);
}

static void a_short_header(void **state)
{
	(void)state;
	header(0, VIRTIO_BLK_T_IN, 0);
	driver_desc(&ring[0], 0, header_at(0), 15, NEXT, 1);
	driver_desc(&ring[0], 1, DATA, 512, WRITE | NEXT, 2);
	driver_desc(&ring[0], 2, status_at(0), 1, WRITE, 0);
	driver_offer(&ring[0], 0);
	driver_kick(&drv, 0);
	assert_int_equal(expect_used(0, 0), 0);
	assert_int_equal(status_of(0), VIRTIO_BLK_S_IOERR);
	/* Only a status byte. */
	driver_desc(&ring[0], 0, status_at(1), 1, WRITE, 0);
	driver_offer(&ring[0], 0);
	driver_kick(&drv, 0);
	assert_int_equal(expect_used(0, 0), 1);
	assert_int_equal(status_of(1), VIRTIO_BLK_S_IOERR);
}

/* Data on the wrong side. */
static void data_that_goes_both_ways(void **state)
{
	(void)state;
	for (uint32_t type = VIRTIO_BLK_T_IN; type <= VIRTIO_BLK_T_OUT; type++) {
		header(0, type, 0);
		driver_desc(&ring[0], 0, header_at(0), 16, NEXT, 1);
		driver_desc(&ring[0], 1, DATA, 512, NEXT, 2);
		driver_desc(&ring[0], 2, DATA + 512, 512, NEXT | WRITE, 3);
		driver_desc(&ring[0], 3, status_at(0), 1, WRITE, 0);
		driver_offer(&ring[0], 0);
		driver_kick(&drv, 0);
		expect_used(0, 0);
		assert_int_equal(status_of(0), VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(disk.submitted[BLOCK_READ] + disk.submitted[BLOCK_WRITE], 0);
}

static void no_status_byte(void **state)
{
	(void)state;
	header(0, VIRTIO_BLK_T_OUT, 0);
	driver_desc(&ring[0], 0, header_at(0), 16, 0, 0);
	driver_offer(&ring[0], 0);
	driver_kick(&drv, 0);
	assert_string_equal(drv.why, "a block request without a status byte");
	assert_int_equal(drv.broken, 1);
}

static void a_status_byte_outside(void **state)
{
	(void)state;
	fake_guest_mem_hole(&mem, PAGES - 1);
	header(0, VIRTIO_BLK_T_FLUSH, 0);
	driver_desc(&ring[0], 0, header_at(0), 16, NEXT, 1);
	driver_desc(&ring[0], 1, (PAGES - 1) * PAGE_SIZE, 1, WRITE, 0);
	driver_offer(&ring[0], 0);
	driver_kick(&drv, 0);
	assert_string_equal(drv.why, "a block request whose status byte lies outside memory");
}

static void data_outside(void **state)
{
	static const uint64_t places[] = {(PAGES - 1) * PAGE_SIZE, (PAGES - 1) * PAGE_SIZE - 512, PAGES * PAGE_SIZE, 1ull << 40,
					  ~0ull - 4095};

	(void)state;
	fake_guest_mem_hole(&mem, PAGES - 1);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		assert_int_equal(run(VIRTIO_BLK_T_IN, 0, places[i], 1024, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(run(VIRTIO_BLK_T_OUT, 0, places[i], 1024, 1), VIRTIO_BLK_S_IOERR);
		assert_int_equal(run(VIRTIO_BLK_T_DISCARD, 0, places[i] + 504, 16, 1), VIRTIO_BLK_S_IOERR);
		if (i != 1)
			assert_int_equal(run(VIRTIO_BLK_T_GET_ID, 0, places[i], 20, 0), VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(disk.submitted[BLOCK_READ] + disk.submitted[BLOCK_WRITE] + disk.submitted[BLOCK_DISCARD], 0);
}

static void a_read_only_disk(void **state)
{
	(void)state;
	setup_bare(state);
	disk.device.read_only = true;
	make(&config);
	bring_up(ALL);
	assert_true(offered() & VIRTIO_BLK_F_RO);
	range(0, 0, 1, 0);
	assert_int_equal(run(VIRTIO_BLK_T_OUT, 0, DATA, 512, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(VIRTIO_BLK_T_DISCARD, 0, DATA, 16, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 16, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(VIRTIO_BLK_T_IN, 0, DATA, 512, 513), VIRTIO_BLK_S_OK);
}

/* ---- a disk that fails ---- */

static void the_disk_fails(void **state)
{
	static const struct {
		enum status from;
		uint8_t to;
	} cases[] = {{ST_IO, 1}, {ST_CORRUPT, 1}, {ST_UNSUPPORTED, 2}, {ST_DENIED, 1}, {ST_INVALID, 1}, {ST_NO_MEMORY, 1}};

	(void)state;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		disk.at_once = i & 1;
		disk.fail_with = cases[i / 2].from;
		disk.fail_at = 1;
		assert_int_equal(run(VIRTIO_BLK_T_IN, 0, DATA, 512, 0), cases[i / 2].to);
		disk.fail_at = 1;
		assert_int_equal(run(VIRTIO_BLK_T_OUT, 0, DATA, 512, 1), cases[i / 2].to);
		disk.fail_at = 1;
		assert_int_equal(run(VIRTIO_BLK_T_FLUSH, 0, 0, 0, 1), cases[i / 2].to);
		range(0, 0, 1, 0);
		range(1, 4, 1, 0);
		disk.fail_at = 2;
		assert_int_equal(run(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 32, 1), cases[i / 2].to);
		disk.fail_at = 1;
		assert_int_equal(run(VIRTIO_BLK_T_DISCARD, 0, DATA, 32, 1), cases[i / 2].to);
	}
}

/* In the second round: the first has been written into guest memory, and the driver is told how far. */
static void it_fails_in_a_later_round(void **state)
{
	(void)state;
	disk.device.max_count = 128;
	disk.fail_with = ST_IO;
	disk.fail_at = 2;
	assert_int_equal(run(VIRTIO_BLK_T_IN, 0, DATA, 1 << 18, 65536), VIRTIO_BLK_S_IOERR);
	expect_data(DATA, 0, 65536);
}

/* ---- the cache ---- */

static void expect_durable(uint64_t sector)
{
	assert_memory_equal(disk.platter + sector * 512, disk.view + sector * 512, 512);
}

static void a_write_that_is_flushed(uint64_t sector, bool through)
{
	uint64_t flushes = disk.submitted[BLOCK_FLUSH];

	fill_random(DATA, 512, (uint32_t)sector);
	assert_int_equal(run(VIRTIO_BLK_T_OUT, sector, DATA, 512, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.submitted[BLOCK_FLUSH] - flushes, through);
	if (through)
		expect_durable(sector);
}

/* 5.2.6.2: the four ways in which a driver may have negotiated. */
static void each_cache_mode(void **state)
{
	static const uint64_t without[] = {0, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE,
					   VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE};
	static const bool through[] = {false, true, false, true};

	(void)state;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(without); i++) {
		disk.at_once = i & 1;
		driver_status(&drv, 0);
		bring_up(ALL & ~without[i / 2]);
		assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1),
				 !(without[i / 2] & VIRTIO_BLK_F_FLUSH));
		a_write_that_is_flushed(i, through[i / 2]);
		/* It can be changed when that was negotiated, not otherwise. */
		driver_set_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1, 0);
		a_write_that_is_flushed(20 + i, through[i / 2] || !(without[i / 2] & VIRTIO_BLK_F_CONFIG_WCE));
		driver_set_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1, 1);
		a_write_that_is_flushed(40 + i, without[i / 2] & VIRTIO_BLK_F_CONFIG_WCE ? through[i / 2] : false);
	}
}

static void zeroes_are_flushed_too(void **state)
{
	(void)state;
	driver_set_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1, 0);
	range(0, 3, 1, 0);
	memset(disk.platter, 7, 4096);
	assert_int_equal(run(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 16, 1), VIRTIO_BLK_S_OK);
	expect_durable(3);
	assert_int_equal(run(VIRTIO_BLK_T_IN, 3, DATA, 512, 513), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.submitted[BLOCK_FLUSH], 1);
}

/* Not before the flush is done, and with its error. */
static void a_write_waits_for_its_flush(void **state)
{
	(void)state;
	driver_set_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1, 0);
	offer(0, 0, VIRTIO_BLK_T_OUT, 0, DATA, 512);
	driver_kick(&drv, 0);
	assert_int_equal(late_disk_end(&disk, 1), 1);
	expect_none(0);
	assert_int_equal(disk.last.op, BLOCK_FLUSH);
	assert_int_equal(late_disk_end(&disk, 1), 1);
	assert_int_equal(expect_used(0, 0), 1);
	assert_int_equal(status_of(0), VIRTIO_BLK_S_OK);
	disk.fail_with = ST_IO;
	disk.fail_at = 2;
	assert_int_equal(run(VIRTIO_BLK_T_OUT, 0, DATA, 512, 1), VIRTIO_BLK_S_IOERR);
}

static void a_disk_without_a_cache(void **state)
{
	(void)state;
	disk.device.volatile_cache = false;
	driver_set_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1, 0);
	assert_int_equal(run(VIRTIO_BLK_T_OUT, 0, DATA, 512, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.submitted[BLOCK_FLUSH], 0);
}

/* ---- a volume without space ---- */

static void a_full_volume(void **state)
{
	struct virtio_blk_figures f;

	(void)state;
	disk.fail_with = ST_OVER_LIMIT;
	for (unsigned at_once = 0; at_once < 2; at_once++) {
		disk.at_once = at_once;
		disk.fail_at = 1;
		disk.fail_more = true;
		full = 0;
		fill_random(DATA, 512, 77);
		offer(0, 0, VIRTIO_BLK_T_OUT, 1, DATA, 512);
		range(0x400 / 16, 5, 1, 0);
		offer(1, 1, VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA + 0x400, 16);
		driver_kick(&drv, 0);
		driver_kick(&drv, 1);
		settle();
		assert_int_equal(full, 1); /* told once */
		expect_none(0);
		expect_none(1);
		virtio_blk_figures(blk, &f);
		assert_int_equal(f.waiting_for_space, 2);
		assert_int_equal(f.in_flight, 0);
		/* Tried in vain. */
		virtio_blk_retry(blk);
		settle();
		assert_int_equal(full, 2);
		expect_none(0);
		/* Space was added. */
		disk.fail_at = 0;
		disk.fail_more = false;
		virtio_blk_retry(blk);
		settle();
		assert_int_equal(expect_used(0, 0), 1);
		assert_int_equal(expect_used(1, 1), 1);
		assert_int_equal(status_of(0) | status_of(1), VIRTIO_BLK_S_OK);
		expect_data(DATA, 1, 512);
		expect_bytes(5, 1, 0);
		virtio_blk_figures(blk, &f);
		assert_int_equal(f.waiting_for_space, 0);
		assert_int_equal(f.errors, 0);
	}
}

/* ---- memory that comes later ---- */

/* Each question of each request answered LATER, then FAIL. */
static void later_at_each_pin(void **state)
{
	static const uint32_t types[] = {VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_DISCARD,
					 VIRTIO_BLK_T_FLUSH};

	(void)state;
	for (unsigned t = 0; t < ARRAY_SIZE(types); t++) {
		for (unsigned n = 1;; n++) {
			uint64_t laters = mem.laters;
			bool in = types[t] == VIRTIO_BLK_T_IN || types[t] == VIRTIO_BLK_T_GET_ID;
			uint32_t bytes = types[t] == VIRTIO_BLK_T_GET_ID ? 20 : types[t] == VIRTIO_BLK_T_DISCARD ? 16 : 8192;

			if (types[t] == VIRTIO_BLK_T_FLUSH)
				bytes = 0;
			fake_guest_mem_fill(&mem, DATA, 0, 16384);
			range(0, 1, 1, 0);
			fake_guest_mem_write(&mem, DATA + 4090, "\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 16);
			mem.later_at = n;
			assert_int_equal(run(types[t], 2, DATA + 4090, bytes, in ? bytes + 1 : 1), VIRTIO_BLK_S_OK);
			mem.later_at = 0;
			if (mem.laters == laters)
				break;
			assert_true(n < 20);
		}
	}
}

static void failing_at_each_pin(void **state)
{
	unsigned n;

	(void)state;
	for (n = 1;; n++) {
		uint64_t done = disk.submitted[BLOCK_READ];

		mem.fail_at = n;
		offer(0, 0, VIRTIO_BLK_T_IN, 2, DATA + 4090, 8192);
		driver_kick(&drv, 0);
		settle();
		if (mem.fail_at != 0) {
			mem.fail_at = 0;
			assert_int_equal(expect_used(0, 0), 8193);
			break;
		}
		assert_int_equal(disk.submitted[BLOCK_READ], done);
		if (drv.broken) { /* the status byte */
			assert_int_equal(n, 1);
			driver_status(&drv, 0);
			settle();
			drv.broken = 0;
			bring_up(ALL);
		} else {
			assert_int_equal(expect_used(0, 0), 0);
			assert_int_equal(status_of(0), VIRTIO_BLK_S_IOERR);
		}
	}
	assert_int_equal(n, 1 + 1 + 1 + 3); /* status, header, three pages of data */
}

/* What waits does not keep others back. */
static void others_overtake_who_waits(void **state)
{
	(void)state;
	mem.later_at = 3;
	offer(0, 0, VIRTIO_BLK_T_IN, 2, DATA, 512);
	offer(0, 1, VIRTIO_BLK_T_IN, 3, DATA + 512, 512);
	driver_kick(&drv, 0);
	driver_work(&drv);
	late_disk_end(&disk, 9);
	assert_int_equal(expect_used(0, 1), 513);
	expect_none(0);
	settle();
	assert_int_equal(expect_used(0, 0), 513);
}

static void an_indirect_table_later(void **state)
{
	(void)state;
	header(0, VIRTIO_BLK_T_IN, 4);
	driver_table(&ring[0], TABLES, 0, header_at(0), 16, NEXT, 1);
	driver_table(&ring[0], TABLES, 1, DATA, 512, NEXT | WRITE, 2);
	driver_table(&ring[0], TABLES, 2, status_at(0), 1, WRITE, 0);
	driver_desc(&ring[0], 0, TABLES, 48, VIRTQ_DESC_F_INDIRECT, 0);
	driver_offer(&ring[0], 0);
	mem.later_at = 1;
	driver_kick(&drv, 0);
	assert_int_equal(mem.laters, 1);
	settle();
	assert_int_equal(expect_used(0, 0), 513);
	expect_data(DATA, 4, 512);
}

/* ---- many ---- */

/* More than there is room for: the rest stays in the rings and goes on as room comes free. */
static void more_than_there_is_room_for(void **state)
{
	unsigned used = 0;
	uint32_t head, written;

	(void)state;
	for (unsigned q = 0; q < QUEUES; q++)
		for (unsigned slot = 0; slot < SLOTS; slot++) {
			driver_desc(&ring[q], (uint16_t)(3 * slot), header_at(SLOTS * q + slot), 16, NEXT, (uint16_t)(3 * slot + 1));
			driver_desc(&ring[q], (uint16_t)(3 * slot + 1), DATA + 512 * (SLOTS * q + slot), 512, NEXT | WRITE,
				    (uint16_t)(3 * slot + 2));
			driver_desc(&ring[q], (uint16_t)(3 * slot + 2), status_at(SLOTS * q + slot), 1, WRITE, 0);
			header(SLOTS * q + slot, VIRTIO_BLK_T_IN, SLOTS * q + slot);
			driver_offer(&ring[q], (uint16_t)(3 * slot));
		}
	for (unsigned q = 0; q < QUEUES; q++)
		driver_kick(&drv, q);
	driver_work(&drv);
	assert_int_equal(disk.holding, 8);
	while (disk.holding > 0) {
		assert_int_equal(late_disk_end(&disk, 1), 1);
		driver_work(&drv);
		fake_guest_mem_move(&mem);
	}
	for (unsigned q = 0; q < QUEUES; q++)
		while (driver_used(&ring[q], &head, &written)) {
			assert_int_equal(written, 513);
			used++;
		}
	assert_int_equal(used, QUEUES * SLOTS);
	expect_data(DATA, 0, 512 * QUEUES * SLOTS);
}

static void more_large_ones_than_rooms(void **state)
{
	(void)state;
	for (unsigned slot = 0; slot < 5; slot++)
		offer(0, slot, VIRTIO_BLK_T_IN, 64 * slot, DATA + 32768 * slot, 32768 - 512);
	for (unsigned slot = 0; slot < 5; slot++) /* nine pages each */
		driver_desc(&ring[0], (uint16_t)(3 * slot + 1), DATA + 32768 * slot + 1024, 32768, NEXT | WRITE, (uint16_t)(3 * slot + 2));
	driver_kick(&drv, 0);
	driver_work(&drv);
	assert_int_equal(disk.holding, 2);
	settle();
	for (unsigned slot = 0; slot < 5; slot++) {
		uint32_t head, written;

		assert_true(driver_used(&ring[0], &head, &written));
		assert_int_equal(written, 32769);
	}
	expect_data(DATA + 1024 + 4 * 32768, 64 * 4, 32768);
}

/* A kick does a bounded piece, the worker the rest; the driver is told once for many. */
static void a_long_batch(void **state)
{
	unsigned at_kick;

	(void)state;
	disk.at_once = true;
	for (unsigned slot = 0; slot < SLOTS; slot++)
		offer(0, slot, VIRTIO_BLK_T_IN, slot, DATA + 512 * slot, 512);
	driver_kick(&drv, 0);
	at_kick = (unsigned)disk.submitted[BLOCK_READ];
	assert_in_range(at_kick, 1, SLOTS - 1);
	assert_true(drv.deferred);
	driver_kick(&drv, 0); /* the worker is due: nothing more here */
	assert_int_equal(disk.submitted[BLOCK_READ], at_kick);
	driver_work(&drv);
	assert_int_equal(disk.submitted[BLOCK_READ], SLOTS);
	assert_in_range(drv.interrupts[1], 1, 10);
}

/* The disk tells of one request from within the submission of another: our lock is taken then, by ourselves. */
static void told_while_submitting(void **state)
{
	(void)state;
	disk.nosy = true;
	for (unsigned slot = 0; slot < 8; slot++)
		offer(0, slot, VIRTIO_BLK_T_OUT, slot, DATA + 4096 * slot, 4096);
	driver_kick(&drv, 0);
	assert_int_equal(fake_guest_mem_get16(&mem, ring[0].used + 2), disk.submitted[BLOCK_WRITE] - 1); /* at once */
	driver_work(&drv);
	assert_int_equal(disk.holding, 1);
	for (unsigned i = 0; i < 7; i++) {
		uint32_t head, written;

		assert_true(driver_used(&ring[0], &head, &written));
		assert_int_equal(status_of(head / 3), VIRTIO_BLK_S_OK);
	}
	expect_none(0);
	/* And while somebody else is at a register. */
	lock_acquire(&drv.device->lock);
	drv.deferred = false;
	late_disk_end(&disk, 1);
	assert_true(drv.deferred);
	lock_release(&drv.device->lock);
	expect_none(0);
	driver_work(&drv);
	assert_int_equal(driver_read_status(&drv), 0x0f);
	disk.nosy = false;
	assert_true(fake_guest_mem_get16(&mem, ring[0].used + 2) == 8);
}

/* Many at once are taken in by pieces, in the order in which they were done. */
static void many_are_told_at_once(void **state)
{
	struct virtio_blk_config c = config;
	uint32_t head, written;

	(void)state;
	setup_bare(state);
	c.requests = SLOTS;
	make(&c);
	bring_up(ALL);
	for (unsigned slot = 0; slot < SLOTS; slot++)
		offer(0, slot, VIRTIO_BLK_T_IN, slot, DATA + 512 * slot, 512);
	driver_kick(&drv, 0);
	driver_work(&drv);
	assert_int_equal(disk.holding, SLOTS);
	lock_acquire(&drv.device->lock); /* somebody is at a register meanwhile */
	assert_int_equal(late_disk_end(&disk, SLOTS), SLOTS);
	lock_release(&drv.device->lock);
	expect_none(0);
	lock_acquire(&drv.device->lock);
	drv.deferred = false;
	assert_false(virtio_work(drv.device, VIRTIO_INLINE_BUDGET));
	lock_release(&drv.device->lock);
	assert_in_range(fake_guest_mem_get16(&mem, ring[0].used + 2), 16, 32); /* before the queue's turn, and after it */
	assert_true(drv.deferred);
	driver_work(&drv);
	for (unsigned i = 0; i < SLOTS; i++)
		assert_true(driver_used(&ring[0], &head, &written));
	expect_data(DATA, 0, 512 * SLOTS);
}

/* ---- fewer interrupts ---- */

static uint64_t ticks(void)
{
	static uint64_t now;

	return now += 1000000; /* a millisecond, at 1 GHz */
}

static const struct clock ticking = {.ticks = ticks, .hz = 1000000000};
static const struct coalesce_settings eager = {.policy = COALESCE_CIF, .cif_min = 4, .epoch_ns = 1000000, .gap_ns = 100000};

static void make_coalescing_with(void **state, uint64_t features)
{
	struct virtio_blk_config c = config;

	setup_bare(state);
	c.requests = 40;
	c.coalesce = eager;
	c.clock = &ticking;
	make(&c);
	bring_up(features);
}

static void make_coalescing(void **state) { make_coalescing_with(state, ALL & ~VIRTIO_F_EVENT_IDX); }

/* Keeps @depth requests at the disk for @count completions; the interrupts meanwhile. */
static unsigned steady(unsigned depth, unsigned count)
{
	unsigned before;
	uint32_t head, written;

	for (unsigned slot = 0; slot < depth; slot++)
		offer(0, slot, VIRTIO_BLK_T_IN, slot, DATA + 512 * slot, 512);
	driver_kick(&drv, 0);
	driver_work(&drv);
	before = drv.interrupts[1];
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(late_disk_end(&disk, 1), 1);
		assert_true(driver_used(&ring[0], &head, &written));
		offer(0, head / 3, VIRTIO_BLK_T_IN, 0, DATA + 512 * (head / 3), 512);
		driver_kick(&drv, 0);
		driver_work(&drv);
	}
	before = drv.interrupts[1] - before;
	settle();
	while (driver_used(&ring[0], &head, &written))
		continue;
	return before;
}

static void completions_are_held_back(void **state)
{
	struct virtio_blk_figures f;

	(void)state;
	make_coalescing(state);
	assert_int_equal(steady(1, 100), 100);
	assert_in_range(steady(32, 400), 80, 140); /* 8 of 32 */
	virtio_blk_figures(blk, &f);
	assert_in_range(f.held, 250, 340);
}

/* However many there are, after the last of them the driver has been told of all. */
static void none_is_stranded(void **state)
{
	(void)state;
	make_coalescing(state);
	steady(32, 100); /* the ratio is low now */
	for (unsigned n = 1; n < 40; n++) {
		uint32_t head, written;
		unsigned told = 0, seen = drv.interrupts[1];

		for (unsigned slot = 0; slot < n; slot++)
			offer(0, slot, VIRTIO_BLK_T_IN, slot, DATA, 512);
		driver_kick(&drv, 0);
		driver_work(&drv);
		while (late_disk_end(&disk, 1))
			if (drv.interrupts[1] != seen) {
				seen = drv.interrupts[1];
				while (driver_used(&ring[0], &head, &written))
					told++;
			}
		assert_int_equal(told, n);
	}
}

/*
 * The same when the driver's processor runs elsewhere, and looks only when it is kicked: with event indices it asks for
 * no second interrupt before it has seen the first. The last kick may be too recent all the time, or now and then.
 */
static void none_is_stranded_elsewhere(void **state)
{
	struct virtio_blk_figures f;
	uint32_t head, written;

	make_coalescing_with(state, ALL);
	steady(32, 100);
	driver_used_event(&ring[0], ring[0].seen);
	drv.far = true;
	for (unsigned n = 1; n < 120; n++) {
		unsigned told = 0, seen = drv.interrupts[1], in_flight = 1 + n % 39;

		for (unsigned slot = 0; slot < in_flight; slot++)
			offer(0, slot, VIRTIO_BLK_T_IN, slot, DATA, 512);
		driver_kick(&drv, 0);
		driver_work(&drv);
		drv.too_soon = true;
		for (unsigned i = 0; late_disk_end(&disk, 1); i++) {
			drv.too_soon = n < 40 || i % 4 != 0;
			if (drv.interrupts[1] == seen)
				continue;
			seen = drv.interrupts[1];
			while (driver_used(&ring[0], &head, &written))
				told++;
			driver_used_event(&ring[0], ring[0].seen);
		}
		assert_int_equal(told, in_flight);
		assert_int_equal(drv.unseen, 0);
	}
	virtio_blk_figures(blk, &f);
	assert_true(f.kicks_held > 100);
}

/* Other settings count from the next completion on, and what the old ones have held back is told at once. */
static void settings_change(void **state)
{
	struct coalesce_settings set = eager;
	unsigned before;

	make_coalescing(state);
	steady(32, 100);
	for (unsigned slot = 0; slot < 32; slot++)
		offer(0, slot, VIRTIO_BLK_T_IN, slot, DATA, 512);
	driver_kick(&drv, 0);
	driver_work(&drv);
	before = drv.interrupts[1];
	while (drv.interrupts[1] == before)
		assert_int_equal(late_disk_end(&disk, 1), 1);
	before = drv.interrupts[1];
	assert_int_equal(late_disk_end(&disk, 1), 1);
	assert_int_equal(drv.interrupts[1], before); /* the next is the third after that */
	set.policy = COALESCE_OFF;
	virtio_blk_set_coalesce(blk, &set);
	assert_int_equal(drv.interrupts[1], before + 1);
	for (unsigned i = 2; late_disk_end(&disk, 1); i++)
		assert_int_equal(drv.interrupts[1], before + i);
}

/* Others that wait for memory or space do not complete by themselves: nobody is held back for their sake. */
static void those_that_stand_still_do_not_count(void **state)
{
	unsigned before, held = 0;

	(void)state;
	make_coalescing(state);
	steady(32, 100);
	disk.fail_with = ST_OVER_LIMIT;
	disk.fail_at = 1;
	disk.fail_more = true;
	for (unsigned slot = 0; slot < 20; slot++)
		offer(0, slot, VIRTIO_BLK_T_OUT, slot, DATA, 512);
	driver_kick(&drv, 0);
	settle();
	disk.fail_at = 0;
	before = drv.interrupts[1];
	offer(0, 20, VIRTIO_BLK_T_OUT, 1, DATA, 512);
	driver_kick(&drv, 0);
	settle();
	expect_used(0, 20);
	assert_int_equal(drv.interrupts[1], before + 1);
	virtio_blk_retry(blk);
	settle();
	for (unsigned i = 0; i < 20; i++) {
		uint32_t head, written;

		assert_true(driver_used(&ring[0], &head, &written));
	}
	/* Some are held back, and then the others come to stand still: they are told of after all. */
	for (unsigned round = 0; round < 10; round++) {
		const struct virtq *q = &drv.device->queues[0].ring;

		for (unsigned slot = 0; slot < 20; slot++)
			offer(0, slot, VIRTIO_BLK_T_OUT, slot, DATA, 512);
		driver_kick(&drv, 0);
		driver_work(&drv);
		disk.fail_at = 0;
		late_disk_end(&disk, 3 + round);
		held += q->signalled != q->next_used;
		disk.fail_at = 1;
		late_disk_end(&disk, 20);
		assert_int_equal(q->signalled, q->next_used);
		disk.fail_at = 0;
		virtio_blk_retry(blk);
		settle();
		for (unsigned slot = 0; slot < 20; slot++) {
			uint32_t head, written;

			assert_true(driver_used(&ring[0], &head, &written));
		}
	}
	assert_true(held > 0);
}

/* ---- resets ---- */

static void reset_and_compare(void)
{
	driver_status(&drv, 0);
	assert_int_not_equal(driver_read_status(&drv), 0); /* the driver waits */
	driver_status(&drv, VIRTIO_STATUS_ACKNOWLEDGE); /* too early: nothing happens */
	settle();
	assert_int_equal(driver_read_status(&drv), 0);
	assert_int_equal(drv.resets_done, 1);
	assert_int_equal(mem.pins, 0);
}

static void reset_while_the_disk_works(void **state)
{
	uint32_t head, written;
	uint64_t sum;

	(void)state;
	disk.cancellable = false;
	for (unsigned slot = 0; slot < 4; slot++)
		offer(0, slot, VIRTIO_BLK_T_OUT, slot, DATA + 4096 * slot, 4096);
	driver_kick(&drv, 0);
	driver_work(&drv);
	assert_int_equal(disk.holding, 4);
	sum = fake_guest_mem_sum(&mem);
	reset_and_compare();
	assert_true(fake_guest_mem_sum(&mem) == sum); /* not a byte, neither status nor ring */
	assert_false(driver_used(&ring[0], &head, &written));
	assert_int_equal(drv.interrupts[1], 0);
}

/* What the disk has not begun is called back: the reset is complete at once, and nothing is written afterwards. */
static void reset_calls_back(void **state)
{
	uint64_t sum;

	(void)state;
	mem.later_at = 8; /* the third is parked */
	for (unsigned slot = 0; slot < 5; slot++)
		offer(0, slot, VIRTIO_BLK_T_IN, slot, DATA + 4096 * slot, 4096);
	driver_kick(&drv, 0);
	driver_work(&drv);
	assert_int_equal(mem.laters, 1);
	sum = fake_guest_mem_sum(&mem);
	driver_status(&drv, 0);
	assert_int_equal(driver_read_status(&drv), 0);
	assert_int_equal(disk.cancelled, 4);
	assert_int_equal(mem.cancels, 1);
	assert_int_equal(mem.pins, 0);
	settle();
	assert_true(fake_guest_mem_sum(&mem) == sum);
	/* And it works again from the start. */
	bring_up(ALL);
	assert_int_equal(run(VIRTIO_BLK_T_IN, 7, DATA, 512, 513), VIRTIO_BLK_S_OK);
}

static void reset_too_late_for_a_pin(void **state)
{
	(void)state;
	mem.later_at = 3;
	mem.too_late = 100;
	offer(0, 0, VIRTIO_BLK_T_IN, 0, DATA, 4096);
	driver_kick(&drv, 0);
	reset_and_compare();
}

static void reset_with_a_full_volume(void **state)
{
	struct virtio_blk_figures f;

	(void)state;
	disk.fail_with = ST_OVER_LIMIT;
	disk.fail_at = 1;
	offer(0, 0, VIRTIO_BLK_T_OUT, 0, DATA, 4096);
	driver_kick(&drv, 0);
	settle();
	driver_status(&drv, 0);
	assert_int_equal(driver_read_status(&drv), 0);
	virtio_blk_figures(blk, &f);
	assert_int_equal(f.waiting_for_space, 0);
	virtio_blk_retry(blk);
}

/* One queue alone: the others go on. */
static void a_queue_is_reset(void **state)
{
	(void)state;
	disk.cancellable = false;
	offer(0, 0, VIRTIO_BLK_T_IN, 0, DATA, 512);
	offer(1, 1, VIRTIO_BLK_T_IN, 1, DATA + 512, 512);
	driver_kick(&drv, 0);
	driver_kick(&drv, 1);
	assert_false(driver_queue_reset(&drv, 0));
	settle();
	expect_none(0);
	assert_int_equal(expect_used(1, 1), 513);
	assert_false(virtio_queue_resetting(virtio_queue(drv.device, 0)));
	assert_false(virtio_queue_enabled(virtio_queue(drv.device, 0)));
	driver_ring_init(&ring[0], &mem, RING_AT(0), 64);
	driver_queue(&drv, 0, &ring[0]);
	driver_work(&drv);
	assert_int_equal(run(VIRTIO_BLK_T_IN, 7, DATA, 512, 513), VIRTIO_BLK_S_OK);
}

/* ---- the configuration space ---- */

static void the_configuration_space(void **state)
{
	(void)state;
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_CAPACITY, 8), SECTORS);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_SIZE_MAX, 4), 0);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_SEG_MAX, 4), VIRTIO_BLK_SEGMENTS);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_CYLINDERS, 4), 0);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_BLK_SIZE, 4), 512);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_PHYSICAL_BLOCK_EXP, 1), 0);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_MIN_IO_SIZE, 2), 1);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1), 1);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_NUM_QUEUES, 2), QUEUES);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_MAX_DISCARD_SECTORS, 4), 1 << 21);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_MAX_DISCARD_SEG, 4), VIRTIO_BLK_RANGES);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_DISCARD_SECTOR_ALIGNMENT, 4), 1);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_MAX_WRITE_ZEROES_SECTORS, 4), 1 << 16);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_MAX_WRITE_ZEROES_SEG, 4), VIRTIO_BLK_RANGES);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_WRITE_ZEROES_MAY_UNMAP, 1), 1);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_MAX_SECURE_ERASE_SECTORS, 4), 0);
}

/* Every write but the one that is allowed changes nothing. */
static void writes_to_the_configuration_space(void **state)
{
	static const unsigned widths[] = {1, 2, 4, 8};
	uint8_t before[VIRTIO_BLK_CFG_BYTES], after[VIRTIO_BLK_CFG_BYTES];

	(void)state;
	for (unsigned i = 0; i < VIRTIO_BLK_CFG_BYTES; i++)
		before[i] = (uint8_t)driver_config(&drv, i, 1);
	for (uint32_t at = 0; at < 2 * VIRTIO_BLK_CFG_BYTES; at++)
		for (unsigned w = 0; w < 4; w++)
			if (at != VIRTIO_BLK_CFG_WRITEBACK || widths[w] != 1)
				driver_set_config(&drv, at, widths[w], 0x5a5a5a5a5a5a5a5a);
	driver_set_config(&drv, 0xffffffff, 8, 1);
	for (unsigned i = 0; i < VIRTIO_BLK_CFG_BYTES; i++)
		after[i] = (uint8_t)driver_config(&drv, i, 1);
	assert_memory_equal(before, after, sizeof before);
	driver_set_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1, 0);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1), 0);
	driver_set_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1, 0xfe);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1), 1);
	driver_set_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1, 0);
	driver_status(&drv, 0);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1), 1);
}

static void a_disk_grows(void **state)
{
	uint8_t generation = drv.device->config_generation;

	(void)state;
	disk.device.sectors = 100;
	virtio_blk_resized(blk);
	assert_int_not_equal(drv.device->config_generation, generation);
	assert_int_equal(drv.interrupts[0], 1);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_CAPACITY, 8), 100);
	assert_int_equal(run(VIRTIO_BLK_T_IN, 100, DATA, 512, 0), VIRTIO_BLK_S_IOERR);
	disk.device.sectors = SECTORS;
	virtio_blk_resized(blk);
	assert_int_equal(run(VIRTIO_BLK_T_IN, 100, DATA, 512, 513), VIRTIO_BLK_S_OK);
}

/* It shrinks before the device is told: the request is judged by what the disk is. */
static void a_disk_shrinks_behind_our_back(void **state)
{
	(void)state;
	disk.device.sectors = 10;
	assert_int_equal(run(VIRTIO_BLK_T_IN, 10, DATA, 512, 0), VIRTIO_BLK_S_IOERR);
	disk.device.sectors = SECTORS;
}

/* A disk may bound what it clears in one request. */
static void a_bound_on_clearing(void **state)
{
	(void)state;
	setup_bare(state);
	disk.device.max_clear = 100;
	make(&config);
	bring_up(ALL);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_MAX_DISCARD_SECTORS, 4), 100);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_MAX_WRITE_ZEROES_SECTORS, 4), 100);
	range(0, 0, 101, 0);
	assert_int_equal(run(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 16, 1), VIRTIO_BLK_S_IOERR);
	range(0, 0, 100, 0);
	assert_int_equal(run(VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 16, 1), VIRTIO_BLK_S_OK);
}

static void what_is_offered(void **state)
{
	(void)state;
	setup_bare(state);
	disk.device.discard = disk.device.write_zeroes = false;
	disk.device.block_bytes = 4096;
	make(&(struct virtio_blk_config){.backend = &late_disk_ops, .backend_ctx = &disk, .disk = &disk.device,
					 .queues = 1, .requests = 1, .large = 1});
	assert_int_equal(offered(), VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_RESET |
					    VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_FLUSH |
					    VIRTIO_BLK_F_TOPOLOGY | VIRTIO_BLK_F_CONFIG_WCE);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_PHYSICAL_BLOCK_EXP, 1), 3);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_MIN_IO_SIZE, 2), 8);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_MAX_DISCARD_SEG, 4), 0);
	assert_int_equal(driver_config(&drv, VIRTIO_BLK_CFG_WRITE_ZEROES_MAY_UNMAP, 1), 0);
}

static void wrong_configs(void **state)
{
	struct virtio_blk_config c = config;
	struct virtio_blk *made = NULL;
	struct error err;

	(void)state;
	setup(state);
	c.queues = 0;
	assert_int_equal(virtio_blk_init(memory, &c, &made, &err), ST_INVALID);
	assert_string_equal(err.text, "0 queues for late disk: 1 to 16");
	c.queues = VIRTIO_BLK_QUEUES_MAX + 1;
	assert_int_equal(virtio_blk_init(memory, &c, &made, &err), ST_INVALID);
	c = config;
	c.requests = 0;
	assert_int_equal(virtio_blk_init(memory, &c, &made, &err), ST_INVALID);
	c = config;
	c.large = 0;
	assert_int_equal(virtio_blk_init(memory, &c, &made, &err), ST_INVALID);
	c = config;
	c.coalesce = eager;
	assert_int_equal(virtio_blk_init(memory, &c, &made, &err), ST_INVALID);
	c = config;
	disk.device.sector_bytes = 8192;
	assert_int_equal(virtio_blk_init(memory, &c, &made, &err), ST_INVALID);
	disk.device.sector_bytes = 512;
	assert_null(made);
}

static void figures(void **state)
{
	struct virtio_blk_figures f;

	(void)state;
	run(VIRTIO_BLK_T_IN, 0, DATA, 4096, 4097);
	run(VIRTIO_BLK_T_OUT, 0, DATA, 512, 1);
	run(VIRTIO_BLK_T_FLUSH, 0, 0, 0, 1);
	run(VIRTIO_BLK_T_IN, SECTORS, DATA, 512, 0);
	run(77, 0, 0, 0, 1);
	mem.later_at = 1;
	run(VIRTIO_BLK_T_FLUSH, 0, 0, 0, 1);
	virtio_blk_figures(blk, &f);
	assert_int_equal(f.reads, 2);
	assert_int_equal(f.writes, 1);
	assert_int_equal(f.flushes, 2);
	assert_int_equal(f.read_bytes, 4096);
	assert_int_equal(f.written_bytes, 512);
	assert_int_equal(f.errors, 1);
	assert_int_equal(f.unsupported, 1);
	assert_int_equal(f.parked, 1);
	assert_int_equal(f.in_flight, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define BARE(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(reads), T(writes), T(large_requests), T(several_rounds), T(any_framing), T(header_beside_status), T(a_sector_in_crumbs),
		T(one_descriptor_too_many), T(the_serial_number), T(discards_and_zeroes), T(wrong_ranges),
		T(without_the_features), BARE(large_sectors), T(wrong_requests), T(a_short_header),
		T(data_that_goes_both_ways), T(no_status_byte), T(a_status_byte_outside), T(data_outside),
		BARE(a_read_only_disk), T(the_disk_fails), T(it_fails_in_a_later_round), T(each_cache_mode),
		T(zeroes_are_flushed_too), T(a_write_waits_for_its_flush), T(a_disk_without_a_cache), T(a_full_volume),
		T(later_at_each_pin), T(failing_at_each_pin), T(others_overtake_who_waits), T(an_indirect_table_later),
		T(more_than_there_is_room_for), T(more_large_ones_than_rooms), T(a_long_batch),
		T(told_while_submitting), BARE(many_are_told_at_once), BARE(completions_are_held_back), BARE(none_is_stranded_elsewhere), BARE(settings_change), BARE(none_is_stranded),
		BARE(those_that_stand_still_do_not_count), BARE(a_bound_on_clearing),
		T(reset_while_the_disk_works), T(reset_calls_back), T(reset_too_late_for_a_pin),
		T(reset_with_a_full_volume), T(a_queue_is_reset), T(the_configuration_space),
		T(writes_to_the_configuration_space), T(a_disk_grows), T(a_disk_shrinks_behind_our_back),
		BARE(what_is_offered), BARE(wrong_configs), T(figures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
