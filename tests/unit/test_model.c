/* SPDX-License-Identifier: Apache-2.0 */
/* The slow disk keeps its depth, its service time and its rate, on a clock that the test moves. */
#include "tests/cmocka_all.h"

#include <string.h>

#include "io/model.h"
#include "io/volume.h"
#include "tests/fakes/fault_disk.h"

#define MS 1000000ull
#define REQUESTS 200u

static uint64_t now;
static uint64_t ticks(void) { return now; }
static const struct clock clock = {.ticks = ticks, .hz = 1000000000};

static struct timerq timers;
static struct timer *slots[4];
static struct volume_ram ram;
static struct model model;
static struct error err;
static uint8_t memory[1 << 20], buffer[4096];
static struct io_segment segment = {buffer, sizeof buffer};

static struct {
	struct block_request r;
	uint64_t at; /* when it was done */
} asked[REQUESTS];
static unsigned done;

static void complete(struct block_request *r)
{
	unsigned i = (unsigned)((size_t)((uint8_t *)r - (uint8_t *)asked) / sizeof asked[0]);

	assert_true(r->done);
	asked[i].at = now;
	done++;
}

static void ask(unsigned i)
{
	asked[i].r = (struct block_request){
		.op = BLOCK_WRITE, .lba = i, .count = 8, .segments = &segment, .segment_count = 1, .complete = complete};
	model.device.ops->submit(&model.device, &asked[i].r);
	assert_false(asked[i].r.done);
}

static void make(uint32_t iops, uint64_t service, uint32_t depth)
{
	struct model_config cfg = {iops, service, depth};

	now = 5 * MS;
	done = 0;
	timerq_init(&timers, slots, 4);
	assert_int_equal(volume_ram_init(&ram, memory, sizeof memory, 512, "ram", &err), ST_OK);
	assert_int_equal(model_init(&model, &ram.device, &cfg, &clock, &timers, "slow", &err), ST_OK);
}

/* Lets the timers say when something happens. */
static void run_until(uint64_t end)
{
	while (timers.next <= end) {
		now = timers.next > now ? timers.next : now;
		timerq_run(&timers, now);
	}
	now = end;
}

static void service_and_depth(void **state)
{
	(void)state;
	make(0, 2 * MS, 4);
	for (unsigned i = 0; i < 10; i++)
		ask(i);
	run_until(now + 2 * MS - 1);
	assert_int_equal(done, 0);
	run_until(now + 1);
	assert_int_equal(done, 4);
	run_until(now + 2 * MS);
	assert_int_equal(done, 8);
	run_until(now + 2 * MS);
	assert_int_equal(done, 10);
	assert_int_equal(timers.count, 0);
	/* A disk that was idle begins at once. */
	now += 100 * MS;
	ask(10);
	assert_int_equal(timers.next, now + 2 * MS);
	run_until(now + 2 * MS);
	assert_int_equal(done, 11);
}

static void rate(void **state)
{
	uint64_t begin;

	(void)state;
	make(1000, 0, 32);
	begin = now;
	for (unsigned i = 0; i < REQUESTS; i++)
		ask(i);
	run_until(begin + 1000 * MS);
	for (unsigned i = 0; i < REQUESTS; i++)
		assert_int_equal(asked[i].at, begin + i * MS);
}

/* Whoever polls seldom finds what would have been done by then, and no more. */
static void seldom_polls(void **state)
{
	uint64_t begin;

	(void)state;
	make(0, 2 * MS, 4);
	model.timers = NULL;
	begin = now;
	for (unsigned i = 0; i < 100; i++)
		ask(i);
	now = begin + 21 * MS;
	assert_true(model.device.ops->poll(&model.device));
	assert_int_equal(done, 40);
	now = begin + 49 * MS;
	model.device.ops->poll(&model.device);
	assert_int_equal(done, 96);
	now = begin + 50 * MS;
	model.device.ops->poll(&model.device);
	assert_int_equal(done, 100);
	assert_false(model.device.ops->poll(&model.device));
}

static void cancelled(void **state)
{
	(void)state;
	make(0, 2 * MS, 1);
	ask(0);
	ask(1);
	ask(2);
	assert_false(model.device.ops->cancel(&model.device, &asked[0].r));
	assert_true(model.device.ops->cancel(&model.device, &asked[1].r));
	run_until(now + 4 * MS);
	assert_int_equal(done, 2);
	assert_false(asked[1].r.done);
	assert_int_equal(asked[2].at, now);
}

static void changed_while_busy(void **state)
{
	struct model_config faster = {0, MS, 8}, wrong[] = {{0, 0, 0}, {0, 0, 257}, {MODEL_IOPS_MAX + 1, 0, 1},
		{0, MODEL_SERVICE_MAX_NS + 1, 1}};

	(void)state;
	make(0, 10 * MS, 1);
	for (unsigned i = 0; i < 9; i++)
		ask(i);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(model_set(&model, &wrong[i], &err), ST_INVALID);
	assert_int_equal(model_set(&model, &faster, &err), ST_OK);
	/* The first goes first, seven more end with it; the last begins then. */
	run_until(now + 10 * MS - 1);
	assert_int_equal(done, 0);
	run_until(now + 1);
	assert_int_equal(done, 8);
	run_until(now + MS);
	assert_int_equal(done, 9);
}

/* What the device below says is the result, also when it answers later. */
static void results_from_below(void **state)
{
	struct model_config cfg = {0, MS, 2};
	struct fault_disk disk;
	struct block_range all;

	(void)state;
	make(0, MS, 1);
	fault_disk_init(&disk, 1 << 20, 512);
	assert_int_equal(model_init(&model, &disk.device, &cfg, &clock, NULL, "slow", &err), ST_OK);
	ask(0);
	now += MS;
	disk.late = true;
	model.device.ops->poll(&model.device);
	assert_int_equal(done, 0);
	disk.late = false;
	model.device.ops->poll(&model.device);
	assert_int_equal(done, 1);
	assert_int_equal(asked[0].r.status, ST_OK);
	disk.gone = true;
	ask(1);
	now += MS;
	model.device.ops->poll(&model.device);
	assert_int_equal(asked[1].r.status, ST_IO);
	all = (struct block_range){&model.device, 0, model.device.sectors};
	cfg.service_ns = 0;
	assert_int_equal(model_set(&model, &cfg, &err), ST_OK);
	assert_int_equal(block_run(&all, BLOCK_READ, 0, 8, buffer, &err), ST_IO);
	assert_non_null(strstr(err.text, "slow: reading 8 sectors from 0 failed: the disk is gone"));
	fault_disk_fini(&disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(service_and_depth),
		cmocka_unit_test(rate),
		cmocka_unit_test(seldom_polls),
		cmocka_unit_test(cancelled),
		cmocka_unit_test(changed_while_busy),
		cmocka_unit_test(results_from_below),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
