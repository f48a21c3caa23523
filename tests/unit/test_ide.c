/* SPDX-License-Identifier: Apache-2.0 */
/* The ATA driver against drives that keep to the standard, and drives that do not. */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "firmware/ata.h"
#include "lib/bits.h"
#include "tests/fakes/fake_ata.h"

#define SECONDS(n) ((n) * 10000000ull)

static struct ide_channel channel;
static struct ide_drive drive;
static struct block_range range;
static struct error err;
static uint8_t data[257 * 512], back[256 * 512];

static int setup(void **state)
{
	(void)state;
	fake_ata_init();
	ide_channel_init(&channel, &fake_ata_ports, &fake_ata_clock, FAKE_ATA_COMMAND, FAKE_ATA_CONTROL);
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 7 + (i >> 8));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_ata_fini();
	return 0;
}

static void probe(unsigned number)
{
	if (ide_probe(&channel, number, &drive, &err) != ST_OK)
		fail_msg("%s", err.text);
	range = (struct block_range){&drive.device, 0, drive.device.sectors};
}

static enum status run(enum block_op op, uint64_t lba, uint32_t count, void *buf)
{
	err.text[0] = '\0';
	return block_run(&range, op, lba, count, buf, &err);
}

static void assert_failed(enum status st, const char *words)
{
	if (st != ST_IO || !strstr(err.text, words))
		fail_msg("%s: \"%s\"; wanted \"%s\"", status_name(st), err.text, words);
}

static void identifies(void **state)
{
	(void)state;
	fake_ata_add(0, 5000, 512, false);
	fake_ata_add(1, 3000, 4096, true);
	probe(0);
	assert_string_equal(drive.model, "A drive for tests");
	assert_int_equal(drive.device.sectors, 5000);
	assert_int_equal(drive.device.sector_bytes, 512);
	assert_false(drive.lba48);
	assert_true(drive.device.volatile_cache && !drive.flush_ext);
	probe(1);
	assert_int_equal(drive.device.sectors, 3000);
	assert_int_equal(drive.device.sector_bytes, 4096);
	assert_true(drive.lba48 && drive.flush_ext);
}

static void reads_and_writes(void **state)
{
	static const uint32_t counts[] = {1, 2, 64, 255, 256};

	(void)state;
	fake_ata_add(1, 5000, 512, false);
	probe(1);
	for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
		uint64_t lba = i ? 5000 - counts[i] : 0;

		assert_int_equal(run(BLOCK_WRITE, lba, counts[i], data + i), ST_OK);
		assert_int_equal(fake_ata.drive[1].last_command, ATA_WRITE_SECTORS);
		memset(back, 0, sizeof back);
		assert_int_equal(run(BLOCK_READ, lba, counts[i], back), ST_OK);
		assert_memory_equal(back, data + i, counts[i] * 512);
	}
	assert_int_equal(run(BLOCK_FLUSH, 0, 0, NULL), ST_OK);
	assert_int_equal(fake_ata.drive[1].flushes, 1);
	assert_int_equal(fake_ata.drive[1].resets, 0);
	assert_int_equal(run(BLOCK_READ, 4990, 11, back), ST_INVALID);
	assert_int_equal(run(BLOCK_READ, 0, 257, back), ST_INVALID);
	assert_int_equal(run(BLOCK_READ, 0, 0, back), ST_INVALID);
}

static void large_sectors(void **state)
{
	(void)state;
	fake_ata_add(0, 500, 4096, true);
	probe(0);
	assert_int_equal(run(BLOCK_WRITE, 499, 1, data), ST_OK);
	assert_int_equal(run(BLOCK_WRITE, 3, 16, data + 9), ST_OK);
	assert_int_equal(run(BLOCK_READ, 3, 16, back), ST_OK);
	assert_memory_equal(back, data + 9, 65536 - 9);
	assert_int_equal(run(BLOCK_READ, 499, 1, back), ST_OK);
	assert_memory_equal(back, data, 4096);
}

/* A drive of 2 TiB and a bit: the long commands only where the short do not reach. */
static void beyond_28_bits(void **state)
{
	uint64_t sectors = 0x100001234ull;

	(void)state;
	fake_ata_add(0, sectors, 512, true);
	probe(0);
	assert_int_equal(drive.device.sectors, sectors);
	assert_int_equal(run(BLOCK_WRITE, sectors - 256, 256, data), ST_OK);
	assert_int_equal(fake_ata.drive[0].last_command, ATA_WRITE_SECTORS_EXT);
	assert_int_equal(fake_ata.drive[0].last_lba, sectors - 256);
	assert_int_equal(fake_ata.drive[0].last_count, 256);
	assert_int_equal(run(BLOCK_READ, sectors - 256, 256, back), ST_OK);
	assert_memory_equal(back, data, sizeof back);
	assert_int_equal(run(BLOCK_READ, 7, 1, back), ST_OK);
	assert_int_equal(fake_ata.drive[0].last_command, ATA_READ_SECTORS);
	assert_int_equal(run(BLOCK_FLUSH, 0, 0, NULL), ST_OK);
	assert_int_equal(fake_ata.drive[0].last_command, ATA_FLUSH_CACHE_EXT);
}

static void what_is_no_disk(void **state)
{
	(void)state;
	assert_int_equal(ide_probe(&channel, 0, &drive, &err), ST_NOT_FOUND);
	fake_ata.floating = true;
	assert_int_equal(ide_probe(&channel, 0, &drive, &err), ST_NOT_FOUND);
	assert_int_equal(ide_probe(&channel, 1, &drive, &err), ST_NOT_FOUND);
	fake_ata.floating = false;
	fake_ata_add(0, 5000, 512, false);
	assert_int_equal(ide_probe(&channel, 1, &drive, &err), ST_NOT_FOUND);
	assert_string_equal(err.text, "drive 1 at 0x1f0: nothing is there");
	fake_ata.drive[0].packet = true;
	assert_int_equal(ide_probe(&channel, 0, &drive, &err), ST_UNSUPPORTED);
	assert_non_null(strstr(err.text, "packet device"));
	fake_ata.drive[0].packet = false;
	fake_ata.drive[0].identity[ATA_ID_CAPABILITIES] = 0;
	assert_int_equal(ide_probe(&channel, 0, &drive, &err), ST_UNSUPPORTED);
	assert_non_null(strstr(err.text, "cannot be addressed by LBA"));
	fake_ata.drive[0].identity[ATA_ID_CAPABILITIES] = ATA_ID_CAPABILITIES_LBA;
	fake_ata.drive[0].identity[ATA_ID_SECTOR_SIZE] = ATA_ID_VALID | ATA_ID_SECTOR_SIZE_LARGE;
	fake_ata.drive[0].identity[ATA_ID_SECTOR_WORDS] = 260;
	assert_int_equal(ide_probe(&channel, 0, &drive, &err), ST_UNSUPPORTED);
	assert_non_null(strstr(err.text, "sectors of 520 bytes"));
}

static void a_model_of_any_bytes(void **state)
{
	(void)state;
	fake_ata_add(0, 5000, 512, false);
	fake_ata.drive[0].identity[ATA_ID_MODEL] = 0x1b5b;
	fake_ata.drive[0].identity[ATA_ID_MODEL + 19] = 0xff00;
	probe(0);
	assert_null(strchr(drive.model, '\x1b'));
	assert_string_equal(drive.model + 1, "[drive for tests");
}

/* Each fault ends the request with its sentence within its time; the next request, after a reset, goes well. */
static void faults(void **state)
{
	static const struct {
		enum fake_ata_fault fault;
		uint8_t error;
		enum block_op op;
		const char *words;
		uint64_t at_most; /* ticks */
		bool resets;
	} cases[] = {
		{ATA_STAYS_BUSY, 0, BLOCK_READ, "no answer, status 0x80", SECONDS(11), true},
		{ATA_STAYS_BUSY, 0, BLOCK_WRITE, "no answer", SECONDS(11), true},
		{ATA_STAYS_BUSY, 0, BLOCK_FLUSH, "flushing failed: no answer", SECONDS(61), true},
		{ATA_NO_DRQ, 0, BLOCK_READ, "does not ask for data, status 0x40", SECONDS(11), true},
		{ATA_NO_DRQ, 0, BLOCK_WRITE, "does not ask for data", SECONDS(11), true},
		{ATA_ERROR_AT, ATA_ERROR_UNC, BLOCK_READ, "uncorrectable data, error 0x40 at sector 103", SECONDS(1), false},
		{ATA_ERROR_AT, ATA_ERROR_IDNF, BLOCK_READ, "no such sector", SECONDS(1), false},
		{ATA_ERROR_AT, ATA_ERROR_ABRT, BLOCK_WRITE, "command refused", SECONDS(1), false},
		{ATA_ERROR_AT, ATA_ERROR_ICRC, BLOCK_WRITE, "checksum on the cable", SECONDS(1), false},
		{ATA_DEVICE_FAULT, 0, BLOCK_WRITE, "device fault, status 0x60", SECONDS(1), false},
		{ATA_DEVICE_FAULT, 0, BLOCK_FLUSH, "device fault", SECONDS(1), false},
		{ATA_TOO_MUCH, 0, BLOCK_READ, "more data than was asked for", SECONDS(11), true},
		{ATA_NEVER_READY, 0, BLOCK_READ, "does not get ready", SECONDS(2), true},
	};

	(void)state;
	fake_ata_add(0, 5000, 512, false);
	probe(0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fake_ata_drive *d = &fake_ata.drive[0];
		uint64_t before = fake_ata.ticks;
		unsigned resets = d->resets;

		d->fault = cases[i].fault;
		d->fault_error = cases[i].error;
		d->fault_at = 3;
		assert_failed(run(cases[i].op, cases[i].op == BLOCK_FLUSH ? 0 : 100, cases[i].op == BLOCK_FLUSH ? 0 : 8, data),
			      cases[i].words);
		assert_non_null(strstr(err.text, "drive 0 at 0x1f0: "));
		assert_true(fake_ata.ticks - before < cases[i].at_most);
		d->fault = ATA_SOUND;
		assert_int_equal(run(BLOCK_READ, 0, 8, back), ST_OK);
		assert_int_equal(d->resets - resets, cases[i].resets);
		for (size_t k = 0; k < sizeof data; k++)
			data[k] = (uint8_t)(k * 7 + (k >> 8));
	}
}

static void a_channel_that_stays_busy_after_a_reset(void **state)
{
	(void)state;
	fake_ata_add(0, 5000, 512, false);
	probe(0);
	fake_ata.drive[0].fault = ATA_STAYS_BUSY;
	fake_ata.stuck_in_reset = true;
	assert_failed(run(BLOCK_READ, 0, 1, back), "no answer");
	assert_failed(run(BLOCK_READ, 0, 1, back), "stays busy after a reset");
	fake_ata.stuck_in_reset = false;
	fake_ata.drive[0].fault = ATA_SOUND;
	assert_int_equal(run(BLOCK_READ, 0, 1, back), ST_OK);
}

#define MANY 40u

static struct block_request many[MANY];
static unsigned came;
static void comes_back(struct block_request *r)
{
	assert_int_equal(r->status, ST_IO);
	came++;
}

/* Nobody waits 20 s for each of the requests that are queued. */
static void a_drive_that_went_away(void **state)
{
	struct io_segment segment = {back, 512};
	uint64_t before;

	(void)state;
	fake_ata_add(0, 5000, 512, false);
	probe(0);
	fake_ata.drive[0].fault = ATA_STAYS_BUSY;
	before = fake_ata.ticks;
	came = 0;
	for (unsigned i = 0; i < MANY; i++) {
		many[i] = (struct block_request){.op = BLOCK_READ, .lba = i, .count = 1, .segments = &segment,
						 .segment_count = 1, .complete = comes_back};
		drive.device.ops->submit(&drive.device, &many[i]);
		assert_false(many[i].done);
	}
	while (came < MANY)
		drive.device.ops->poll(&drive.device);
	assert_in_range(fake_ata.ticks - before, SECONDS(30), SECONDS(62));
	/* For a while nothing is asked of it; then it is tried once. */
	before = fake_ata.ticks;
	assert_failed(run(BLOCK_READ, 0, 1, back), "has not answered for some time");
	assert_true(fake_ata.ticks - before < SECONDS(1));
	fake_ata.ticks += SECONDS(10);
	assert_failed(run(BLOCK_READ, 0, 1, back), "no answer");
	assert_failed(run(BLOCK_READ, 0, 1, back), "has not answered for some time");
	fake_ata.drive[0].fault = ATA_SOUND;
	fake_ata.ticks += SECONDS(10);
	assert_int_equal(run(BLOCK_READ, 0, 1, back), ST_OK);
	assert_int_equal(run(BLOCK_READ, 1, 1, back), ST_OK);
}

/* The drive may still be at it: a request that timed out is done when the reset has ended, not before. */
static void a_late_request_stays_until_the_reset(void **state)
{
	struct io_segment segment = {back, 512};
	struct block_request r = {.op = BLOCK_READ, .lba = 5, .count = 1, .segments = &segment, .segment_count = 1, .error = &err};
	struct block_request next = r;
	uint64_t before;

	(void)state;
	fake_ata_add(0, 5000, 512, false);
	probe(0);
	fake_ata.drive[0].fault = ATA_STAYS_BUSY;
	before = fake_ata.ticks;
	drive.device.ops->submit(&drive.device, &r);
	drive.device.ops->submit(&drive.device, &next);
	while (channel.state != IDE_RESET_WAIT) {
		assert_false(r.done);
		drive.device.ops->poll(&drive.device);
	}
	assert_true(fake_ata.ticks - before >= SECONDS(10));
	fake_ata.drive[0].fault = ATA_SOUND;
	while (!r.done) {
		assert_int_equal(channel.state, IDE_RESET_WAIT);
		assert_false(next.done);
		drive.device.ops->poll(&drive.device);
	}
	assert_int_equal(fake_ata.drive[0].resets, 1);
	assert_failed(r.status, "no answer");
	while (!next.done)
		drive.device.ops->poll(&drive.device);
	assert_int_equal(next.status, ST_OK);
}

static void probing_a_dead_drive_ends(void **state)
{
	uint64_t before;

	(void)state;
	fake_ata_add(0, 5000, 512, false);
	fake_ata.drive[0].fault = ATA_STAYS_BUSY;
	before = fake_ata.ticks;
	assert_int_equal(ide_probe(&channel, 0, &drive, &err), ST_IO);
	assert_non_null(strstr(err.text, "IDENTIFY DEVICE failed: no answer"));
	assert_true(fake_ata.ticks - before < SECONDS(12));
}

/* A poll moves one sector at most, and one channel does one thing at a time: the drives take turns. */
static void steps_are_bounded(void **state)
{
	struct io_segment whole = {back, 8 * 512};
	struct block_request r[4];
	struct ide_drive other;
	unsigned moves = 0;

	(void)state;
	fake_ata_add(0, 5000, 512, false);
	fake_ata_add(1, 5000, 512, false);
	probe(0);
	assert_int_equal(ide_probe(&channel, 1, &other, &err), ST_OK);
	for (unsigned i = 0; i < 4; i++) {
		struct block_device *d = i < 3 ? &drive.device : &other.device;

		r[i] = (struct block_request){.op = BLOCK_READ, .lba = 0, .count = 8, .segments = &whole, .segment_count = 1};
		d->ops->submit(d, &r[i]);
		assert_false(r[i].done);
	}
	assert_false(drive.device.ops->cancel(&drive.device, &r[0]));
	assert_true(drive.device.ops->cancel(&drive.device, &r[2]));
	while (!r[0].done) {
		uint64_t before = fake_ata.ticks;

		moves += drive.device.ops->poll(&drive.device);
		assert_true(fake_ata.ticks - before < 1500); /* about 30 looks at a port */
	}
	assert_int_equal(r[0].status, ST_OK);
	assert_true(moves >= 8);
	while (!r[3].done)
		drive.device.ops->poll(&drive.device);
	assert_int_equal(r[3].status, ST_OK);
	assert_false(r[1].done);
	while (!r[1].done)
		other.device.ops->poll(&other.device);
	assert_false(drive.device.ops->poll(&drive.device));
	assert_false(r[2].done);
}

/* Memory in pieces of any size, of which the first bytes are not the request's. */
static void scattered_memory(void **state)
{
	static uint8_t in[10000], out[10000];
	struct io_segment to[] = {{in, 5}, {in + 100, 600}, {in + 1000, 0}, {in + 1001, 1}, {in + 2000, 3000}};
	struct io_segment from[] = {{out + 7, 700}, {out + 800, 3000}};
	struct block_request w = {.op = BLOCK_WRITE, .lba = 9, .count = 4, .segments = from, .segment_count = 2, .skip = 9};
	struct block_request r = {.op = BLOCK_READ, .lba = 9, .count = 4, .segments = to, .segment_count = 5, .skip = 4};
	uint8_t flat[2048], want[2048];
	struct segment_cursor c;

	(void)state;
	fake_ata_add(0, 5000, 512, false);
	probe(0);
	memcpy(out, data, sizeof out);
	assert_int_equal(block_check(&drive.device, &w, &err), ST_OK);
	drive.device.ops->submit(&drive.device, &w);
	drive.device.ops->submit(&drive.device, &r);
	while (!r.done)
		drive.device.ops->poll(&drive.device);
	assert_true(w.done && w.status == ST_OK && r.status == ST_OK);
	c = block_begin(&w);
	assert_true(segment_copy_from(&c, want, sizeof want));
	c = block_begin(&r);
	assert_true(segment_copy_from(&c, flat, sizeof flat));
	assert_memory_equal(flat, want, sizeof want);
	assert_int_equal(in[3], 0);
	assert_int_equal(in[2000 + 2048 - 1 - 600 - 1], 0); /* behind the last byte */
}

static void a_drive_without_flush(void **state)
{
	(void)state;
	fake_ata_add(0, 5000, 512, false);
	fake_ata.drive[0].identity[ATA_ID_COMMANDS] = 0;
	probe(0);
	assert_int_equal(run(BLOCK_FLUSH, 0, 0, NULL), ST_OK);
	assert_int_equal(fake_ata.drive[0].flushes, 0);
}

int main(void)
{
#define WITH_CHANNEL(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_CHANNEL(identifies),
		WITH_CHANNEL(reads_and_writes),
		WITH_CHANNEL(large_sectors),
		WITH_CHANNEL(beyond_28_bits),
		WITH_CHANNEL(what_is_no_disk),
		WITH_CHANNEL(a_model_of_any_bytes),
		WITH_CHANNEL(faults),
		WITH_CHANNEL(a_channel_that_stays_busy_after_a_reset),
		WITH_CHANNEL(a_drive_that_went_away),
		WITH_CHANNEL(a_late_request_stays_until_the_reset),
		WITH_CHANNEL(probing_a_dead_drive_ends),
		WITH_CHANNEL(steps_are_bounded),
		WITH_CHANNEL(scattered_memory),
		WITH_CHANNEL(a_drive_without_flush),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
