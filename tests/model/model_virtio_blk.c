/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk under a sound driver, against a plain array of sectors: requests of all
 * kinds on several queues, in random framing, direct and indirect, while guest memory
 * answers LATER and moves, the disk ends requests in any order and fails some, and
 * queues and the device are reset in the middle. Requests that are under way at the same time touch
 * different sectors, so the array always knows what a read must find. Power is cut at
 * the end: what was acknowledged as durable is on the platter.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"
#include "tests/fakes/late_disk.h"
#include "tests/fakes/virtio_driver.h"
#include "tests/model/random.h"

#define PAGES 400u
#define QUEUES 2u
#define QUEUE_SIZE 64u
#define SECTOR 512u
#define ZONES 24u       /* each is one request's at a time */
#define ZONE_SECTORS 64u
#define SECTORS (ZONES * ZONE_SECTORS)
#define RING_AT(i) (0x0ff0u + 0x2000u * (i))
#define SLOT_AT(i) (0x8000u + 0x1000u * (i)) /* header, status, table of one request */
#define TABLE_IN_SLOT 0x100u
#define DATA_AT(i) (0x30000u + 0x9000u * (i)) /* a zone's data, and room to be unaligned */
#define BUFFERS_MAX 40u
#define STEPS 3000u
#define RUNS 12u

/* What a sector holds: a number, spread over it. What was not acknowledged may be there or not. */
struct sector {
	uint32_t now;      /* as reads must find it */
	uint32_t durable;  /* as it was at the last moment at which it had to be durable */
	bool loose;        /* written since: the platter may have either, or a write that failed */
	bool unknown;      /* a failed or dropped write: reads may find anything */
};

struct request {
	bool busy;
	unsigned queue;
	uint16_t head;
	uint32_t type, count, value; /* sectors; what is written */
	uint64_t first;
	uint64_t data;               /* where, in guest memory */
	bool through;                /* the cache was off all the time */
};

static struct fake_guest_mem mem;
static struct late_disk disk;
static struct virtio_blk *blk;
static void *memory;
static struct driver drv;
static struct driver_ring ring[QUEUES];
static bool desc_used[QUEUES][QUEUE_SIZE];
static struct sector sectors[SECTORS];
static struct request requests[ZONES];
static struct random_state *rnd;
static bool through;   /* the cache is off */
static uint64_t done_count, read_count, failed_count;

static uint64_t below(uint64_t n) { return random_below(rnd, n); }
static bool once_in(unsigned n) { return below(n) == 0; }

static uint32_t word(uint32_t value, uint64_t sector, unsigned i)
{
	return value == 0 ? 0 : (value * 2654435761u) ^ (uint32_t)(sector * 40503u) ^ i;
}

static void fill_sector(uint8_t *out, uint32_t value, uint64_t sector)
{
	for (unsigned i = 0; i < SECTOR / 4; i++)
		put_le32(out + 4 * i, word(value, sector, i));
}

static bool sector_is(const uint8_t *data, uint32_t value, uint64_t sector)
{
	uint8_t want[SECTOR];

	fill_sector(want, value, sector);
	return memcmp(data, want, SECTOR) == 0;
}

/* ---- the device ---- */

static void on_full(void *ctx) { (void)ctx; }

static void bring_up(void)
{
	uint64_t features = drv.device->offered;

	if (once_in(3))
		features &= ~VIRTIO_F_EVENT_IDX;
	if (once_in(4))
		features &= ~VIRTIO_BLK_F_CONFIG_WCE;
	if (once_in(4))
		features &= ~VIRTIO_BLK_F_FLUSH;
	assert_int_equal(driver_negotiate(&drv, features), 0x0b);
	memset(desc_used, 0, sizeof desc_used);
	for (unsigned i = 0; i < QUEUES; i++) {
		driver_ring_init(&ring[i], &mem, RING_AT(i), QUEUE_SIZE);
		driver_queue(&drv, i, &ring[i]);
	}
	driver_ok(&drv);
	through = driver_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1) == 0;
	if (virtio_has(drv.device, VIRTIO_BLK_F_CONFIG_WCE) && once_in(2)) {
		driver_set_config(&drv, VIRTIO_BLK_CFG_WRITEBACK, 1, !through ? 0 : 1);
		through = !through;
	}
}

static void make(void)
{
	struct virtio_blk_config cfg = {.backend = &late_disk_ops, .backend_ctx = &disk, .disk = &disk.device,
					.serial = "model", .queues = QUEUES, .requests = 1 + (unsigned)below(12),
					.large = 1 + (unsigned)below(3), .no_space = on_full};

	fake_guest_mem_init(&mem, PAGES, below(1 << 30));
	mem.later = (unsigned)below(50);
	mem.too_late = (unsigned)below(60);
	late_disk_init(&disk, SECTORS, SECTOR);
	disk.random = random_seed(below(1 << 30));
	disk.too_late = (unsigned)below(60);
	disk.device.max_count = 1u << (3 + below(8));
	cfg.mem = mem.mem;
	memory = aligned_alloc(64, virtio_blk_bytes(&cfg));
	assert_int_equal(virtio_blk_init(memory, &cfg, &blk, NULL), ST_OK);
	driver_attach(&drv, virtio_blk_device(blk));
	memset(sectors, 0, sizeof sectors);
	memset(requests, 0, sizeof requests);
}

/* ---- a request in random framing ---- */

struct framing {
	struct driver_desc buffers[BUFFERS_MAX];
	unsigned count;
};

/* @bytes at @at in one to @most buffers. */
static void add_buffers(struct framing *f, uint64_t at, uint32_t bytes, uint16_t flags, unsigned most)
{
	while (bytes != 0) {
		uint32_t n = most <= 1 || bytes == 1 ? bytes : 1 + (uint32_t)below(bytes);

		f->buffers[f->count++] = (struct driver_desc){at, n, flags, 0};
		at += n;
		bytes -= n;
		most--;
	}
}

static bool find_descs(unsigned queue, unsigned count, uint16_t *out)
{
	unsigned found = 0;

	for (unsigned i = 0; i < QUEUE_SIZE && found < count; i++)
		if (!desc_used[queue][i])
			out[found++] = (uint16_t)i;
	return found == count;
}

/* Puts the framing into the ring of @queue. False: it has no room. */
static bool lay_out(const struct framing *f, unsigned queue, uint64_t table, uint16_t *head)
{
	uint16_t where[BUFFERS_MAX];
	bool indirect = once_in(2);
	unsigned direct = indirect ? 1 : f->count;

	if (!find_descs(queue, direct, where))
		return false;
	for (unsigned i = 0; i < f->count; i++) {
		const struct driver_desc *b = &f->buffers[i];
		bool last = i + 1 == f->count;
		uint16_t flags = (uint16_t)(b->flags | (last ? 0 : VIRTQ_DESC_F_NEXT));

		if (indirect)
			driver_table(&ring[queue], table, (uint16_t)i, b->at, b->bytes, flags, (uint16_t)(i + 1));
		else
			driver_desc(&ring[queue], where[i], b->at, b->bytes, flags, last ? 0 : where[i + 1]);
	}
	if (indirect)
		driver_desc(&ring[queue], where[0], table, 16 * f->count, VIRTQ_DESC_F_INDIRECT, 0);
	for (unsigned i = 0; i < direct; i++)
		desc_used[queue][where[i]] = true;
	*head = where[0];
	return true;
}

static void free_descs(unsigned queue, uint16_t head)
{
	for (uint16_t at = head;;) {
		struct driver_desc d;

		fake_guest_mem_read(&mem, ring[queue].desc + 16ull * at, &d, sizeof d);
		desc_used[queue][at] = false;
		if (!(d.flags & VIRTQ_DESC_F_NEXT))
			return;
		at = d.next;
	}
}

static void put_header(uint64_t slot, uint32_t type, uint64_t sector)
{
	uint8_t h[16] = {0};

	put_le32(h, type);
	put_le64(h + 8, sector);
	fake_guest_mem_write(&mem, slot, h, sizeof h);
	fake_guest_mem_fill(&mem, slot + 0x80, 0xee, 1);
}

static uint32_t some_type(void)
{
	static const uint32_t types[] = {VIRTIO_BLK_T_IN, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_OUT,
					 VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_WRITE_ZEROES};

	return types[below(ARRAY_SIZE(types))];
}

/* The data of a request, as it lies in guest memory before it; how many bytes. */
static uint32_t put_data(const struct request *r)
{
	uint8_t sector[SECTOR], g[16] = {0};

	if (r->type == VIRTIO_BLK_T_OUT)
		for (uint64_t i = 0; i < r->count; i++) {
			fill_sector(sector, r->value, r->first + i);
			fake_guest_mem_write(&mem, r->data + SECTOR * i, sector, SECTOR);
		}
	if (r->type == VIRTIO_BLK_T_WRITE_ZEROES) {
		put_le64(g, r->first);
		put_le32(g + 8, r->count);
		fake_guest_mem_write(&mem, r->data, g, sizeof g);
		return sizeof g;
	}
	return r->type == VIRTIO_BLK_T_FLUSH ? 0 : r->count * SECTOR;
}

static bool writes(const struct request *r)
{
	return r->type == VIRTIO_BLK_T_OUT || r->type == VIRTIO_BLK_T_WRITE_ZEROES;
}

static void send(unsigned zone)
{
	struct request *r = &requests[zone];
	uint64_t slot = SLOT_AT(zone);
	struct framing f = {.count = 0};
	uint32_t bytes;

	if (r->busy)
		return;
	*r = (struct request){.type = some_type(), .queue = (unsigned)below(QUEUES), .value = (uint32_t)below(1 << 30) + 1,
			      .through = through, .data = DATA_AT(zone) + below(3) * below(600)};
	r->count = 1 + (uint32_t)below(once_in(4) ? ZONE_SECTORS : 8);
	r->first = zone * ZONE_SECTORS + below(ZONE_SECTORS - r->count + 1);
	if (r->type == VIRTIO_BLK_T_FLUSH && !virtio_has(drv.device, VIRTIO_BLK_F_FLUSH))
		return;
	bytes = put_data(r);
	put_header(slot, r->type, r->first);
	add_buffers(&f, slot, 16, 0, 1 + (unsigned)below(3));
	add_buffers(&f, r->data, bytes, r->type == VIRTIO_BLK_T_IN ? VIRTQ_DESC_F_WRITE : 0, 1 + (unsigned)below(12));
	add_buffers(&f, slot + 0x80, 1, VIRTQ_DESC_F_WRITE, 1);
	if (!lay_out(&f, r->queue, slot + TABLE_IN_SLOT + below(16), &r->head))
		return;
	r->busy = true;
	for (uint64_t i = 0; writes(r) && i < r->count; i++)
		sectors[r->first + i].loose = true; /* it may be done, and flushed with others, any moment */
	driver_offer(&ring[r->queue], r->head);
	if (!once_in(4))
		driver_kick(&drv, r->queue);
}

/* ---- answers ---- */

static void sector_written(uint64_t at, uint32_t value, bool durable)
{
	sectors[at].now = value;
	sectors[at].unknown = false;
	sectors[at].loose = !durable;
	if (durable)
		sectors[at].durable = value;
}

static void check_read(const struct request *r, uint32_t written)
{
	uint8_t data[SECTOR];

	assert_int_equal(written, r->count * SECTOR + 1);
	for (uint64_t i = 0; i < r->count; i++) {
		fake_guest_mem_read(&mem, r->data + SECTOR * i, data, SECTOR);
		if (!sectors[r->first + i].unknown && !sector_is(data, sectors[r->first + i].now, r->first + i))
			fail_msg("sector %llu reads wrong", (unsigned long long)(r->first + i));
	}
	read_count++;
}

/* A flush was acknowledged and nothing else was under way. */
static void flushed(void)
{
	for (unsigned i = 0; i < SECTORS; i++)
		if (!sectors[i].unknown) {
			sectors[i].durable = sectors[i].now;
			sectors[i].loose = false;
		}
}

static void write_failed(const struct request *r)
{
	for (uint64_t i = 0; writes(r) && i < r->count; i++)
		sectors[r->first + i].unknown = sectors[r->first + i].loose = true;
}

static void ended(struct request *r, uint32_t written)
{
	uint8_t status;

	fake_guest_mem_read(&mem, SLOT_AT(r - requests) + 0x80, &status, 1);
	free_descs(r->queue, r->head);
	r->busy = false;
	done_count++;
	if (status != VIRTIO_BLK_S_OK) {
		assert_int_equal(status, VIRTIO_BLK_S_IOERR);
		failed_count++;
		write_failed(r);
		return;
	}
	if (r->type == VIRTIO_BLK_T_IN) {
		check_read(r, written);
		return;
	}
	assert_int_equal(written, 1);
	for (uint64_t i = 0; writes(r) && i < r->count; i++)
		sector_written(r->first + i, r->type == VIRTIO_BLK_T_OUT ? r->value : 0, r->through && through);
}

static void collect(void)
{
	uint32_t head, written;

	for (unsigned queue = 0; queue < QUEUES; queue++)
		while (driver_used(&ring[queue], &head, &written)) {
			unsigned i = 0;

			driver_used_event(&ring[queue], ring[queue].seen);
			while (i < ZONES && !(requests[i].busy && requests[i].queue == queue && requests[i].head == head))
				i++;
			assert_true(i < ZONES);
			ended(&requests[i], written);
		}
}

/* ---- outside ---- */

static void outside(void)
{
	switch (below(4)) {
	case 0:
		fake_guest_mem_answer(&mem, 1 + (unsigned)below(4));
		break;
	case 1:
		late_disk_end(&disk, 1 + (unsigned)below(4));
		break;
	case 2:
		driver_work(&drv);
		break;
	default:
		fake_guest_mem_move(&mem);
	}
}

static void settle(void)
{
	unsigned later = mem.later;

	mem.later = 0;
	while (fake_guest_mem_answer(&mem, 99) + late_disk_end(&disk, 99) + driver_work(&drv) != 0)
		fake_guest_mem_move(&mem);
	mem.later = later;
	collect();
}

/* All that is under way is answered: no chain was forgotten, and no interrupt. */
static void quiesce(void)
{
	for (unsigned queue = 0; queue < QUEUES; queue++)
		driver_kick(&drv, queue); /* those that were not announced */
	settle();
	disk.fail_at = 0;
	virtio_blk_retry(blk); /* those that found no space */
	settle();
	for (unsigned i = 0; i < ZONES; i++)
		if (requests[i].busy)
			fail_msg("request %u was forgotten", i);
}

static void forget(unsigned queue)
{
	for (unsigned i = 0; i < ZONES; i++)
		if (requests[i].busy && requests[i].queue == queue) {
			requests[i].busy = false;
			write_failed(&requests[i]); /* it may have been done */
		}
}

static void reset_device(void)
{
	driver_status(&drv, 0);
	while (driver_read_status(&drv) != 0)
		outside();
	assert_int_equal(mem.pins, 0);
	for (unsigned queue = 0; queue < QUEUES; queue++)
		forget(queue);
	bring_up();
}

static void reset_queue(unsigned queue)
{
	if (!driver_queue_reset(&drv, queue))
		while (virtio_queue_resetting(virtio_queue(drv.device, queue)))
			outside();
	forget(queue);
	memset(desc_used[queue], 0, sizeof desc_used[queue]);
	driver_ring_init(&ring[queue], &mem, RING_AT(queue), QUEUE_SIZE);
	driver_queue(&drv, queue, &ring[queue]);
}

/* A flush with nothing else under way, so that the array knows what it covers. */
static void flush_alone(void)
{
	struct framing f = {.count = 0};
	uint8_t status;
	uint64_t slot = SLOT_AT(ZONES);
	uint32_t head_used, written;
	uint16_t head;

	quiesce();
	if (!virtio_has(drv.device, VIRTIO_BLK_F_FLUSH))
		return;
	put_header(slot, VIRTIO_BLK_T_FLUSH, 0);
	add_buffers(&f, slot, 16, 0, 1);
	add_buffers(&f, slot + 0x80, 1, VIRTQ_DESC_F_WRITE, 1);
	assert_true(lay_out(&f, 0, slot + TABLE_IN_SLOT, &head));
	driver_offer(&ring[0], head);
	driver_kick(&drv, 0);
	mem.later = 0;
	while (fake_guest_mem_answer(&mem, 99) + late_disk_end(&disk, 99) + driver_work(&drv) != 0)
		continue;
	assert_true(driver_used(&ring[0], &head_used, &written));
	driver_used_event(&ring[0], ring[0].seen);
	assert_int_equal(head_used, head);
	free_descs(0, head);
	fake_guest_mem_read(&mem, slot + 0x80, &status, 1);
	if (status == VIRTIO_BLK_S_OK)
		flushed();
	mem.later = (unsigned)below(50);
}

/* Power is gone: the platter has what had to be durable. */
static void check_platter(void)
{
	for (uint64_t i = 0; i < SECTORS; i++) {
		const uint8_t *data = disk.platter + i * SECTOR;

		if (sectors[i].unknown || sectors[i].loose)
			continue;
		if (!sector_is(data, sectors[i].durable, i))
			fail_msg("sector %llu is not durable", (unsigned long long)i);
	}
}

static void step(void)
{
	uint64_t what = below(100);

	if (what < 35)
		send((unsigned)below(ZONES));
	else if (what < 85)
		outside();
	else if (what < 95)
		collect();
	else if (what == 95)
		check_platter();
	else if (what == 96 && once_in(8))
		reset_device();
	else if (what == 97 && once_in(8))
		reset_queue((unsigned)below(QUEUES));
	else if (what == 98 && once_in(4))
		flush_alone();
	else if (what == 99 && once_in(4)) {
		disk.fail_at = 1 + below(10);
		disk.fail_with = once_in(2) ? ST_OVER_LIMIT : ST_IO;
	} else {
		disk.at_once = once_in(3);
		disk.nosy = once_in(3);
		virtio_blk_retry(blk);
	}
}

static void run(struct random_state *r)
{
	rnd = r;
	done_count = read_count = failed_count = 0;
	make();
	bring_up();
	for (unsigned i = 0; i < STEPS; i++)
		step();
	quiesce();
	check_platter();
	driver_status(&drv, 0);
	settle();
	assert_int_equal(driver_read_status(&drv), 0);
	/* Otherwise nothing was tried. */
	if (done_count < 100 || read_count < 10)
		fail_msg("only %llu requests and %llu reads", (unsigned long long)done_count, (unsigned long long)read_count);
	late_disk_fini(&disk);
	fake_guest_mem_fini(&mem);
	free(memory);
}

static void against_an_array(void **state)
{
	(void)state;
	random_runs(RUNS, run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(against_an_array)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
