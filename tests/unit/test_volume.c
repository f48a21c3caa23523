/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and their memory, the registry of volumes, and the kinds that are a few lines each. */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "io/dma.h"
#include "io/volume.h"
#include "io/volume_copy.h"
#include "tests/fakes/fault_disk.h"

static struct error err;
static uint8_t memory[64 * 512];

static void assert_says(enum status got, enum status want, const char *words)
{
	if (got != want || !strstr(err.text, words))
		fail_msg("%s: \"%s\"; wanted %s, \"%s\"", status_name(got), err.text, status_name(want), words);
}

/* ---- requests ---- */

static void requests_are_checked(void **state)
{
	struct io_segment s[] = {{memory, 600}, {memory, 424}};
	struct block_request r = {.op = BLOCK_READ, .lba = 60, .count = 2, .segments = s, .segment_count = 2};
	struct volume_ram ram;

	(void)state;
	assert_int_equal(volume_ram_init(&ram, memory, sizeof memory, 512, "ram", &err), ST_OK);
	assert_int_equal(block_check(&ram.device, &r, &err), ST_OK);
	r.skip = 1;
	assert_says(block_check(&ram.device, &r, &err), ST_INVALID, "the memory is too small");
	r.skip = 600;
	r.count = 1;
	assert_says(block_check(&ram.device, &r, &err), ST_INVALID, "the memory is too small");
	r.skip = 0;
	r.segment_count = 0;
	assert_says(block_check(&ram.device, &r, &err), ST_INVALID, "the memory is too small");
	r.segment_count = 2;
	r.lba = 63;
	assert_int_equal(block_check(&ram.device, &r, &err), ST_OK);
	r.count = 2;
	assert_says(block_check(&ram.device, &r, &err), ST_INVALID, "ram: reading 2 sectors from 63: it has 64");
	r.lba = UINT64_MAX;
	assert_says(block_check(&ram.device, &r, &err), ST_INVALID, "it has 64");
	r.lba = r.count = 0;
	assert_says(block_check(&ram.device, &r, &err), ST_INVALID, "0 sectors");
	ram.device.max_count = 1;
	r.count = 2;
	assert_says(block_check(&ram.device, &r, &err), ST_INVALID, "at most 1");
	r.op = BLOCK_DISCARD;
	assert_int_equal(block_check(&ram.device, &r, &err), ST_OK);
	ram.device.max_clear = 1;
	assert_says(block_check(&ram.device, &r, &err), ST_INVALID, "discarding 2 sectors: a request has at most 1");
	ram.device.discard = false;
	assert_says(block_check(&ram.device, &r, &err), ST_UNSUPPORTED, "discarding");
	ram.device.read_only = true;
	assert_says(block_check(&ram.device, &r, &err), ST_DENIED, "ram is read-only");
	r.op = BLOCK_FLUSH;
	r.count = 0;
	assert_int_equal(block_check(&ram.device, &r, &err), ST_OK);
}

static void cursors_cross_segments(void **state)
{
	uint8_t from[] = "0123456789", a[4], b[1], c[6], back[11] = {0};
	struct io_segment s[] = {{a, 4}, {b, 0}, {b, 1}, {c, 6}};
	struct block_request r = {.segments = s, .segment_count = 4, .skip = 1};
	struct segment_cursor at = block_begin(&r);
	uint8_t *piece;

	(void)state;
	assert_true(segment_copy_to(&at, from, 10));
	assert_false(segment_copy_to(&at, from, 1));
	assert_memory_equal(a + 1, "012", 3);
	assert_memory_equal(c, "456789", 6);
	at = block_begin(&r);
	segment_advance(&at, 3);
	assert_int_equal(segment_next(&at, 100, &piece), 1);
	assert_ptr_equal(piece, b);
	at = block_begin(&r);
	assert_true(segment_copy_from(&at, back, 10));
	assert_string_equal(back, "0123456789");
	at = block_begin(&r);
	assert_true(segment_clear(&at, 4));
	assert_true(a[3] == 0 && b[0] == 0 && c[0] == '4');
	assert_int_equal(segment_next(&at, 0, &piece), 0);
}

/* ---- kinds ---- */

static enum status run(struct block_device *d, enum block_op op, uint64_t lba, uint64_t count, void *data)
{
	struct block_range all = {d, 0, d->sectors};

	return block_run(&all, op, lba, count, data, &err);
}

static void ram(void **state)
{
	uint8_t in[1024], out[1024];
	struct volume_ram v;

	(void)state;
	memset(in, 0x77, sizeof in);
	assert_int_equal(volume_ram_init(&v, memory, sizeof memory, 512, "ram", &err), ST_OK);
	assert_int_equal(run(&v.device, BLOCK_WRITE, 7, 2, in), ST_OK);
	assert_int_equal(run(&v.device, BLOCK_FLUSH, 0, 0, NULL), ST_OK);
	assert_int_equal(run(&v.device, BLOCK_READ, 7, 2, out), ST_OK);
	assert_memory_equal(in, out, sizeof in);
	assert_int_equal(run(&v.device, BLOCK_WRITE_ZEROES, 8, 1, NULL), ST_OK);
	assert_int_equal(run(&v.device, BLOCK_READ, 7, 2, out), ST_OK);
	assert_memory_equal(in, out, 512);
	assert_true(out[512] == 0 && out[1023] == 0);
	assert_says(volume_ram_init(&v, memory, 1000, 512, "odd", &err), ST_INVALID, "odd: 1000 bytes");
	assert_says(volume_ram_init(&v, memory, 0, 512, "odd", &err), ST_INVALID, "odd: 0 bytes");
	assert_says(volume_ram_init(&v, memory, 9000, 3000, "odd", &err), ST_INVALID, "not 3000");
}

static void blob(void **state)
{
	uint8_t out[1024];
	struct volume_blob v;

	(void)state;
	memset(memory, 0x31, sizeof memory);
	assert_int_equal(volume_blob_init(&v, memory, 700, "blob", &err), ST_OK);
	assert_int_equal(v.device.sectors, 2);
	assert_int_equal(run(&v.device, BLOCK_READ, 0, 2, out), ST_OK);
	assert_true(out[0] == 0x31 && out[699] == 0x31 && out[700] == 0 && out[1023] == 0);
	assert_says(run(&v.device, BLOCK_WRITE, 0, 1, out), ST_DENIED, "read-only");
	assert_says(run(&v.device, BLOCK_READ, 1, 2, out), ST_INVALID, "the range has 2");
	assert_says(volume_blob_init(&v, memory, 0, "none", &err), ST_INVALID, "empty");
}

static void part(void **state)
{
	struct fault_disk disk;
	struct block_range range;
	struct volume_part p;
	uint8_t in[512], out[512];
	struct io_segment s = {out, 512};
	struct block_request r = {.op = BLOCK_READ, .lba = 3, .count = 1, .segments = &s, .segment_count = 1};

	(void)state;
	fault_disk_init(&disk, 100 * 512, 512);
	range = (struct block_range){&disk.device, 90, 10};
	assert_int_equal(volume_part_init(&p, &range, "disk1", &err), ST_OK);
	assert_int_equal(p.device.sectors, 10);
	memset(in, 0x42, sizeof in);
	assert_int_equal(run(&p.device, BLOCK_WRITE, 9, 1, in), ST_OK);
	assert_memory_equal(disk.view + 99 * 512, in, 512);
	assert_says(run(&p.device, BLOCK_WRITE, 10, 1, in), ST_INVALID, "has 10");
	p.device.ops->submit(&p.device, &r);
	assert_true(p.device.ops->cancel(&p.device, &r));
	assert_false(p.device.ops->poll(&p.device));
	assert_false(r.done);
	range.count = 11;
	assert_says(volume_part_init(&p, &range, "disk1", &err), ST_INVALID, "11 sectors from 90");
	range.count = 0;
	assert_says(volume_part_init(&p, &range, "disk1", &err), ST_INVALID, "0 sectors");
	fault_disk_fini(&disk);
}

/* ---- the registry ---- */

static struct volumes volumes;
static struct volume_ram rams[4];
static struct volume vols[4];
static unsigned gone;

static void count_removed(struct volume *v)
{
	(void)v;
	gone++;
}

static void setup(void)
{
	static const char *const names[] = {"disk", "base", "top", "other"};

	volumes_init(&volumes);
	gone = 0;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(volume_ram_init(&rams[i], memory, sizeof memory, 512, names[i], &err), ST_OK);
		vols[i] = (struct volume){.removed = count_removed};
		assert_int_equal(volume_add(&volumes, &vols[i], names[i], VOLUME_RAM, &rams[i].device, &err), ST_OK);
	}
}

static void names_of_volumes(void **state)
{
	static const char *const wrong[] = {"", ".a", "-", "a/b", "a b", "\x1b[m", "\xc3\xa4",
		"a234567890123456789012345678901234567890123456789012345678901234"};
	struct volume v = {.removed = NULL}, *found;

	(void)state;
	setup();
	for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		err.text[0] = '\0';
		assert_int_equal(volume_check_name(wrong[i], &err), ST_INVALID);
		assert_true(err.text[0] && !strchr(err.text, '\x1b'));
	}
	assert_int_equal(volume_check_name("root@2026-01-01.b:1_x", &err), ST_OK);
	assert_says(volume_add(&volumes, &v, "top", VOLUME_RAM, &rams[0].device, &err), ST_EXISTS, "'top' already");
	assert_int_equal(volume_find(&volumes, "base", &found, &err), ST_OK);
	assert_ptr_equal(found, &vols[1]);
	assert_says(volume_find(&volumes, "bas", &found, &err), ST_NOT_FOUND, "no volume 'bas'");
	assert_ptr_equal(volume_next(&volumes, NULL), &vols[0]);
	assert_ptr_equal(volume_next(&volumes, &vols[2]), &vols[3]);
	assert_null(volume_next(&volumes, &vols[3]));
	assert_string_equal(volume_kind_name(VOLUME_QCOW2), "qcow2");
	assert_string_equal(volume_kind_name(VOLUME_MODEL), "model");
}

static void modes(void **state)
{
	/* The second opening beside the first. */
	static const enum status want[3][3] = {
		[VOLUME_READ] = {ST_OK, ST_BUSY, ST_BUSY},
		[VOLUME_WRITE] = {ST_BUSY, ST_BUSY, ST_BUSY},
		[VOLUME_SHARE] = {ST_BUSY, ST_BUSY, ST_OK},
	};
	struct volume_user a, b;

	(void)state;
	setup();
	for (unsigned i = 0; i < 9; i++) {
		assert_int_equal(volume_open(&vols[0], (enum volume_mode)(i / 3), "VM web", &a, &err), ST_OK);
		assert_int_equal(volume_open(&vols[0], (enum volume_mode)(i % 3), "VM db", &b, &err), want[i / 3][i % 3]);
		if (want[i / 3][i % 3] == ST_OK)
			volume_close(&b);
		else
			assert_non_null(strstr(err.text, "VM web"));
		volume_close(&a);
		assert_int_equal(volume_users(&vols[0]), 0);
	}
	rams[0].device.read_only = true;
	assert_says(volume_open(&vols[0], VOLUME_WRITE, "VM web", &a, &err), ST_DENIED, "'disk' is read-only");
	assert_int_equal(volume_open(&vols[0], VOLUME_READ, "VM web", &a, &err), ST_OK);
}

static void stacks(void **state)
{
	struct volume_user u;

	(void)state;
	setup();
	assert_int_equal(volume_stand_on(&vols[1], &vols[0], VOLUME_SHARE, &err), ST_OK);
	assert_int_equal(volume_stand_on(&vols[2], &vols[1], VOLUME_READ, &err), ST_OK);
	assert_true(volume_stands_on(&vols[2], &vols[0]));
	assert_false(volume_stands_on(&vols[0], &vols[2]));
	assert_says(volume_stand_on(&vols[0], &vols[2], VOLUME_READ, &err), ST_INVALID, "stands on 'disk' already");
	assert_says(volume_stand_on(&vols[0], &vols[0], VOLUME_READ, &err), ST_INVALID, "already");
	assert_int_equal(volume_stand_on(&vols[2], &vols[0], VOLUME_SHARE, &err), ST_OK);
	assert_says(volume_stand_on(&vols[2], &vols[3], VOLUME_SHARE, &err), ST_OVER_LIMIT, "2 others");
	assert_says(volume_open(&vols[1], VOLUME_WRITE, "VM web", &u, &err), ST_BUSY, "read by top");
	assert_says(volume_remove(&vols[1], &err), ST_BUSY, "in use by top");
	assert_says(volume_remove(&vols[0], &err), ST_BUSY, "in use by base");
	assert_int_equal(volume_remove(&vols[2], &err), ST_OK);
	assert_int_equal(volume_users(&vols[0]), 1);
	assert_int_equal(volume_remove(&vols[1], &err), ST_OK);
	assert_int_equal(volume_remove(&vols[0], &err), ST_OK);
	assert_int_equal(gone, 3);
	assert_int_equal(volumes.count, 1);
}

/* ---- copying ---- */

static uint8_t source[300 * 512], target[600 * 512], buffer[VOLUME_COPY_BYTES];

static enum status copy_all(struct volume_copy *c)
{
	enum status st = ST_AGAIN;

	for (unsigned i = 0; st == ST_AGAIN && i < 10000; i++)
		st = volume_copy_step(c);
	return st;
}

static void copying(void **state)
{
	struct fault_disk disk;
	struct volume_blob from;
	struct volume_ram to;
	struct volume_copy c;

	(void)state;
	for (unsigned i = 0; i < sizeof source; i++)
		source[i] = i >= 65536 && i < 131072 ? 0 : (uint8_t)(i * 3 + 1);
	memset(target, 0x11, sizeof target);
	assert_int_equal(volume_blob_init(&from, source, sizeof source - 100, "from", &err), ST_OK);
	assert_int_equal(volume_ram_init(&to, target, sizeof target, 4096, "to", &err), ST_OK);
	assert_int_equal(volume_copy_begin(&c, &from.device, &to.device, buffer, &err), ST_OK);
	assert_int_equal(copy_all(&c), ST_OK);
	assert_int_equal(volume_copy_step(&c), ST_OK);
	assert_memory_equal(target, source, 65536);
	assert_memory_equal(target + 131072, source + 131072, sizeof source - 131072 - 100);
	/* Zeroes are not written, but behind the end in the last sector. */
	assert_true(target[65536] == 0x11 && target[131071] == 0x11 && c.written < sizeof source - 65000);
	assert_true(target[sizeof source - 1] == 0 && target[38 * 4096] == 0x11);
	assert_int_equal(c.at, c.bytes);
	to.device.sectors = 30;
	assert_says(volume_copy_begin(&c, &from.device, &to.device, buffer, &err), ST_INVALID, "to only 122880");
	assert_says(volume_copy_begin(&c, &to.device, &from.device, buffer, &err), ST_DENIED, "from is read-only");
	/* A target that fails, and one that is late when the copy is to end. */
	fault_disk_init(&disk, sizeof source, 512);
	disk.fail_from = 2;
	disk.fail_count = 1;
	assert_int_equal(volume_copy_begin(&c, &from.device, &disk.device, buffer, &err), ST_OK);
	assert_int_equal(copy_all(&c), ST_IO);
	assert_string_equal(c.err.text, "made to fail");
	assert_int_equal(volume_copy_begin(&c, &from.device, &disk.device, buffer, &err), ST_OK);
	disk.late = true;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(volume_copy_step(&c), ST_AGAIN);
	assert_int_equal(disk.held_count, 1);
	assert_true(volume_copy_cancel(&c));
	assert_int_equal(disk.held_count, 0);
	assert_int_equal(volume_copy_step(&c), ST_BUSY);
	fault_disk_fini(&disk);
}

/* ---- DMA ---- */

static uint64_t to_physical(const void *data) { return (uint64_t)((const uint8_t *)data - memory) + 0x1000; }

static void dma_by_identity(void **state)
{
	struct dma_identity id;
	struct dma_mapping m;
	struct dma dma;

	(void)state;
	dma_identity_init(&id, to_physical, &dma);
	assert_false(dma.ops->is_protected);
	assert_int_equal(dma.ops->map(dma.ctx, memory + 5, 100, DMA_FROM_DEVICE, BIT(32), &m), ST_OK);
	assert_int_equal(m.address, 0x1005);
	assert_int_equal(m.bytes, 100);
	assert_int_equal(id.mapped, 1);
	dma.ops->sync(dma.ctx, &m);
	dma.ops->unmap(dma.ctx, &m);
	assert_int_equal(id.mapped, 0);
	assert_int_equal(dma.ops->map(dma.ctx, memory, 100, DMA_TO_DEVICE, 0x1063, &m), ST_BAD_ADDRESS);
	assert_int_equal(dma.ops->map(dma.ctx, memory, 100, DMA_TO_DEVICE, 0x1064, &m), ST_OK);
	assert_int_equal(dma.ops->map(dma.ctx, memory, 0, DMA_TO_DEVICE, BIT(32), &m), ST_BAD_ADDRESS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_checked),
		cmocka_unit_test(cursors_cross_segments),
		cmocka_unit_test(ram),
		cmocka_unit_test(blob),
		cmocka_unit_test(part),
		cmocka_unit_test(names_of_volumes),
		cmocka_unit_test(modes),
		cmocka_unit_test(stacks),
		cmocka_unit_test(copying),
		cmocka_unit_test(dma_by_identity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
