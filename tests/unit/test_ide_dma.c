/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ATA driver by DMA: tables for any pieces of memory, programmed I/O for
 * what the engine cannot do, the errors of drive and bus, and an engine that
 * writes long after everybody has given up: what it writes to must not be
 * anybody else's yet.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "firmware/ata.h"
#include "lib/bits.h"
#include "tests/fakes/fake_ata.h"

#define SECONDS(n) ((n) * 10000000ull)
#define MEMORY_AT 0x10000000u
#define MEMORY_BYTES 0x100000u
#define TABLE_AT 0u
#define DATA_AT 0x8000u /* of memory: the middle of 64 KiB */

static struct ide_channel channel;
static struct ide_drive drive;
static struct block_range range;
static struct error err;
static struct dma_identity identity;
static struct dma dma;
static uint8_t *memory, *data, high[4096];

/* Memory of the machine, but for what is far up. */
static uint64_t to_physical(const void *p)
{
	uint64_t offset = (uint64_t)((const uint8_t *)p - memory);

	return (const uint8_t *)p >= memory && offset < MEMORY_BYTES ? MEMORY_AT + offset : IDE_DMA_LIMIT;
}

static int setup(void **state)
{
	(void)state;
	fake_ata_init();
	memory = aligned_alloc(4096, MEMORY_BYTES);
	memset(memory, 0xee, MEMORY_BYTES);
	data = memory + DATA_AT;
	fake_ata.memory = memory;
	fake_ata.memory_at = MEMORY_AT;
	fake_ata.memory_bytes = MEMORY_BYTES;
	dma_identity_init(&identity, to_physical, &dma);
	ide_channel_init(&channel, &fake_ata_ports, &fake_ata_clock, FAKE_ATA_COMMAND, FAKE_ATA_CONTROL);
	assert_int_equal(ide_use_dma(&channel, FAKE_ATA_ENGINE, &dma, memory + TABLE_AT), ST_OK);
	fake_ata_add(0, 5000, 512, true);
	fake_ata.drive[0].identity[ATA_ID_CAPABILITIES] |= ATA_ID_CAPABILITIES_DMA;
	if (ide_probe(&channel, 0, &drive, &err) != ST_OK)
		fail_msg("%s", err.text);
	range = (struct block_range){&drive.device, 0, drive.device.sectors};
	return 0;
}

/* Whatever has happened: nothing stays mapped but the table. */
static int teardown(void **state)
{
	(void)state;
	assert_int_equal(identity.mapped, 1);
	fake_ata_fini();
	free(memory);
	return 0;
}

static void fill(uint8_t *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)(i * 7 + (i >> 8));
}

static enum status run(enum block_op op, uint64_t lba, uint32_t count, void *buf)
{
	err.text[0] = '\0';
	return block_run(&range, op, lba, count, buf, &err);
}

static void reads_and_writes(void **state)
{
	static const uint32_t counts[] = {1, 2, 64, 255, 256};
	uint8_t *back = data + 0x40000;

	(void)state;
	fill(data, 0x20000);
	for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
		uint64_t lba = i ? 5000 - counts[i] : 0;

		assert_int_equal(run(BLOCK_WRITE, lba, counts[i], data), ST_OK);
		assert_int_equal(fake_ata.drive[0].last_command, ATA_WRITE_DMA);
		assert_int_equal(fake_ata.drive[0].last_lba, lba);
		memset(back, 0, 0x20001);
		assert_int_equal(run(BLOCK_READ, lba, counts[i], back), ST_OK);
		assert_int_equal(fake_ata.drive[0].last_command, ATA_READ_DMA);
		assert_memory_equal(back, data, counts[i] * 512);
		assert_int_equal(back[counts[i] * 512], 0);
	}
	assert_int_equal(fake_ata.transfers, 2 * ARRAY_SIZE(counts));
	assert_int_equal(run(BLOCK_FLUSH, 0, 0, NULL), ST_OK);
	assert_int_equal(fake_ata.drive[0].resets, 0);
}

/* Pieces of any even size, across 64 KiB, with bytes in front that are not wanted. */
static void memory_in_pieces(void **state)
{
	uint8_t *other = memory + 0x5fffe;
	struct io_segment segments[] = {{data + 6, 100}, {other, 0x10000}, {data + 0x2000, 926}, {data + 0x4000, 4096}};
	struct block_request r = {.op = BLOCK_READ, .lba = 100, .count = 130, .segments = segments, .segment_count = 4, .skip = 2};

	(void)state;
	for (unsigned i = 0; i < 130 * 512; i++)
		fake_ata.drive[0].media[100 * 512 + i] = (uint8_t)(i / 3);
	drive.device.ops->submit(&drive.device, &r);
	while (!r.done)
		(void)drive.device.ops->poll(&drive.device);
	assert_int_equal(r.status, ST_OK);
	assert_int_equal(fake_ata.transfers, 1);
	assert_int_equal(data[7], 0xee);
	assert_memory_equal(data + 8, fake_ata.drive[0].media + 51200, 98);
	assert_memory_equal(other, fake_ata.drive[0].media + 51200 + 98, 0x10000);
	assert_memory_equal(data + 0x2000, fake_ata.drive[0].media + 51200 + 98 + 0x10000, 926);
	assert_int_equal(data[0x2000 + 926], 0xee);
}

static void what_the_engine_cannot_do(void **state)
{
	(void)state;
	fill(high, sizeof high);
	assert_int_equal(run(BLOCK_WRITE, 8, 8, high), ST_OK);
	assert_int_equal(fake_ata.drive[0].last_command, ATA_WRITE_SECTORS);
	assert_int_equal(run(BLOCK_READ, 8, 8, data + 1), ST_OK);
	assert_int_equal(fake_ata.drive[0].last_command, ATA_READ_SECTORS);
	assert_memory_equal(data + 1, high, sizeof high);
	assert_int_equal(identity.mapped, 1);
	drive.dma = false;
	assert_int_equal(run(BLOCK_READ, 8, 8, data), ST_OK);
	assert_int_equal(fake_ata.drive[0].last_command, ATA_READ_SECTORS);
	assert_int_equal(fake_ata.transfers, 0);
}

static void too_many_pieces(void **state)
{
	static struct io_segment segments[IDE_PRDS + 1];
	struct block_request r = {.op = BLOCK_READ, .lba = 0, .count = 33, .segments = segments, .segment_count = IDE_PRDS + 1};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(segments); i++)
		segments[i] = (struct io_segment){data + 64 * i, 32};
	segments[IDE_PRDS].bytes = 512;
	fill(fake_ata.drive[0].media, 33 * 512);
	drive.device.ops->submit(&drive.device, &r);
	while (!r.done)
		(void)drive.device.ops->poll(&drive.device);
	assert_int_equal(r.status, ST_OK);
	assert_int_equal(fake_ata.drive[0].last_command, ATA_READ_SECTORS);
	assert_memory_equal(data + 64 * 511, fake_ata.drive[0].media + 32 * 511, 32);
	assert_int_equal(data[64 * 511 + 32], 0xee);
}

static void a_drives_error(void **state)
{
	(void)state;
	fake_ata.drive[0].fault = ATA_ERROR_AT;
	fake_ata.drive[0].fault_error = ATA_ERROR_UNC;
	fake_ata.drive[0].fault_at = 3;
	assert_int_equal(run(BLOCK_READ, 10, 8, data), ST_IO);
	assert_non_null(strstr(err.text, "uncorrectable data"));
	assert_int_equal(fake_ata.drive[0].resets, 0);
	fake_ata.drive[0].fault = ATA_SOUND;
	assert_int_equal(run(BLOCK_READ, 10, 8, data), ST_OK);
}

/* However chipsets tell it, it is an error and no more: no reset, and the drive is not given up for any number of them. */
static void a_drives_error_in_other_words(void **state)
{
	(void)state;
	fake_ata.drive[0].fault = ATA_ERROR_AT;
	fake_ata.drive[0].fault_error = ATA_ERROR_ABRT;
	fake_ata.drive[0].fault_at = 3;
	for (unsigned i = 0; i < 12; i++) {
		fake_ata.error_is_both = i % 2;
		fake_ata.error_is_silent = !fake_ata.error_is_both;
		fake_ata.drive[0].fault = ATA_ERROR_AT;
		assert_int_equal(run(BLOCK_READ, 10, 8, data), ST_IO);
		assert_non_null(strstr(err.text, i % 2 ? "command refused, error 0x04" : "less data than was asked for, error 0x04"));
	}
	assert_int_equal(fake_ata.drive[0].resets, 0);
	fake_ata.drive[0].fault = ATA_SOUND;
	assert_int_equal(run(BLOCK_READ, 10, 8, data), ST_OK);
}

static void an_error_on_the_bus(void **state)
{
	(void)state;
	fake_ata.bus_error = true;
	assert_int_equal(run(BLOCK_READ, 10, 8, data), ST_IO);
	assert_non_null(strstr(err.text, "bus"));
	assert_int_equal(fake_ata.drive[0].resets, 1);
	assert_int_equal(run(BLOCK_READ, 10, 8, data), ST_OK);
}

static void a_drive_that_never_ends(void **state)
{
	uint64_t start = fake_ata.ticks;

	(void)state;
	fake_ata.drive[0].fault = ATA_STAYS_BUSY;
	fake_ata.drive[0].fault_times = 2; /* it goes with the second command */
	assert_int_equal(run(BLOCK_READ, 10, 8, data), ST_IO);
	assert_non_null(strstr(err.text, "no end of a transfer"));
	assert_true(fake_ata.ticks - start >= SECONDS(10) && fake_ata.ticks - start < SECONDS(11));
	assert_int_equal(fake_ata.drive[0].resets, 1);
	assert_int_equal(data[0], 0xee);
}

/*
 * The request times out; the engine neither stops nor says so truly, and writes 10 s later. Only after that is the page
 * the submitter's again, and what he gives to the next owner stays as it is.
 */
static void pages_stay_the_devices_until_it_is_at_rest(void **state)
{
	struct io_segment segment = {data, 4096};
	struct block_request r = {.op = BLOCK_READ, .lba = 0, .count = 8, .segments = &segment, .segment_count = 1};
	uint64_t start = fake_ata.ticks, late = start + SECONDS(25);

	(void)state;
	memset(fake_ata.drive[0].media, 0x55, 4096);
	fake_ata.engine_stuck = true;
	fake_ata.late = late;
	drive.device.ops->submit(&drive.device, &r);
	while (!r.done) {
		(void)drive.device.ops->poll(&drive.device);
		if (fake_ata.ticks < late - SECONDS(1))
			assert_int_equal(identity.mapped, 2);
		assert_true(fake_ata.ticks < start + SECONDS(60));
	}
	assert_true(fake_ata.ticks >= late);
	assert_int_equal(r.status, ST_IO);
	assert_int_equal(data[0], 0x55);
	/* Another VM's now. */
	memset(data, 0x77, 4096);
	for (unsigned i = 0; i < 100000; i++)
		(void)drive.device.ops->poll(&drive.device);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(data[i], 0x77);
	/* The channel has been won back. */
	assert_int_equal(run(BLOCK_READ, 0, 8, data), ST_OK);
	assert_int_equal(data[4095], 0x55);
}

/* As long as it takes. What is queued meanwhile has nothing to do with that, and ends. */
static void a_channel_that_stays_in_reset_keeps_its_pages(void **state)
{
	struct io_segment segment = {data, 4096};
	struct block_request r = {.op = BLOCK_READ, .lba = 0, .count = 8, .segments = &segment, .segment_count = 1}, next = r;

	(void)state;
	fake_ata.drive[0].fault = ATA_STAYS_BUSY;
	fake_ata.drive[0].fault_times = 2; /* it goes with the second command */
	fake_ata.stuck_in_reset = true;
	drive.device.ops->submit(&drive.device, &r);
	drive.device.ops->submit(&drive.device, &next);
	for (uint64_t start = fake_ata.ticks; fake_ata.ticks < start + SECONDS(100);)
		(void)drive.device.ops->poll(&drive.device);
	assert_false(r.done);
	assert_true(next.done && next.status == ST_IO);
	assert_int_equal(identity.mapped, 2);
	assert_true(fake_ata.drive[0].resets > 3);
	fake_ata.stuck_in_reset = false;
	while (!r.done)
		(void)drive.device.ops->poll(&drive.device);
	assert_int_equal(r.status, ST_IO);
	fake_ata.ticks += SECONDS(10);
	assert_int_equal(run(BLOCK_READ, 0, 8, data), ST_OK);
}

static void interrupts_are_let_through(void **state)
{
	(void)state;
	fake_ata.interrupts = true;
	ide_use_interrupts(&channel);
	assert_int_equal(run(BLOCK_READ, 10, 8, data), ST_OK);
	assert_int_equal(channel.quiet, 0);
}

static void a_table_out_of_reach(void **state)
{
	static uint8_t far[IDE_TABLE_BYTES] __attribute__((aligned(4096)));

	(void)state;
	assert_int_equal(ide_use_dma(&channel, FAKE_ATA_ENGINE, &dma, far), ST_BAD_ADDRESS);
	identity.mapped = 1; /* the first table's, which is not used any more */
	assert_int_equal(run(BLOCK_READ, 10, 8, data), ST_OK);
	assert_int_equal(fake_ata.drive[0].last_command, ATA_READ_SECTORS);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(reads_and_writes), T(memory_in_pieces), T(what_the_engine_cannot_do), T(too_many_pieces), T(a_drives_error),
		T(a_drives_error_in_other_words),
		T(an_error_on_the_bus), T(a_drive_that_never_ends), T(pages_stay_the_devices_until_it_is_at_rest),
		T(a_channel_that_stays_in_reset_keeps_its_pages), T(interrupts_are_let_through), T(a_table_out_of_reach),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
