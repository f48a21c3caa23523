/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core of a virtio device by virtio 1.2, chapters 2 and 3: negotiation, status,
 * the life of queues, resets that must wait, the configuration space, and how work is
 * cut into pieces. The device is one that does as the test says.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "io/virtio.h"
#include "lib/bits.h"
#include "tests/fakes/virtio_driver.h"

#define PAGES 32u
#define QUEUES 2u
#define OWN BIT(3)
#define ALL (OWN | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_RESET)
#define CHAIN_COST 1000u

static struct fake_guest_mem mem;
static struct virtio_device dev;
static struct virtio_queue queues[QUEUES];
static struct driver_ring ring[QUEUES];
static struct driver drv;
static uint8_t config[10];

/* What the device is told to do, and what was asked of it. */
static bool refuse, hold, answers_busy, resume_other, late_chain;
static uint16_t held[QUEUES][64];
static unsigned holding[QUEUES], popped[QUEUES], stops, resets, writes, collects;
static uint32_t written_at;
static uint64_t written_value;
static unsigned budget_seen;

static bool on_features(struct virtio_device *d, uint64_t accepted)
{
	assert_ptr_equal(d, &dev);
	assert_true(accepted == dev.accepted);
	return !refuse;
}

static void on_config_write(struct virtio_device *d, uint32_t offset, unsigned bytes, uint64_t value)
{
	(void)d, (void)bytes;
	writes++;
	written_at = offset;
	written_value = value;
}

static enum virtio_progress on_work(struct virtio_device *d, unsigned index, unsigned *budget)
{
	struct virtq_buffer buffers[4];
	struct virtq_chain c = {.buffers = buffers, .room = 4};

	budget_seen = MAX(budget_seen, *budget);
	if (resume_other) {
		resume_other = false;
		virtio_resume(d, 1 - index);
	}
	while (!answers_busy) {
		if (*budget < CHAIN_COST)
			return VIRTIO_MORE;
		switch (virtq_pop(&d->queues[index].ring, &c)) {
		case VIRTQ_CHAIN:
			break;
		case VIRTQ_LATER:
			return VIRTIO_BLOCKED;
		default:
			if (late_chain) { /* the driver is quicker than the request to kick */
				late_chain = false;
				driver_desc(&ring[index], 9, 0x10000, 8, 0, 0);
				driver_offer(&ring[index], 9);
			}
			return VIRTIO_IDLE;
		}
		*budget -= CHAIN_COST;
		popped[index]++;
		if (hold) {
			held[index][holding[index]++] = c.head;
		} else {
			virtio_push(d, index, c.head, 0);
			virtio_notify(d, index);
		}
	}
	return VIRTIO_BLOCKED;
}

static void on_stop(struct virtio_device *d, unsigned index)
{
	assert_true(virtio_stopping(d, index));
	stops++;
}

static void on_reset(struct virtio_device *d)
{
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(d->queues[i].ring.state, VIRTQ_OFF);
	resets++;
}

static void on_collect(struct virtio_device *d)
{
	assert_true(lock_is_mine(&d->lock));
	collects++;
}

static const struct virtio_device_ops ops = {.features_ok = on_features,
					     .config_write = on_config_write,
					     .work = on_work,
					     .stop = on_stop,
					     .collect = on_collect,
					     .reset = on_reset};

static int setup(void **state)
{
	(void)state;
	refuse = hold = answers_busy = resume_other = late_chain = false;
	memset(holding, 0, sizeof holding);
	memset(popped, 0, sizeof popped);
	stops = resets = writes = collects = budget_seen = 0;
	fake_guest_mem_init(&mem, PAGES, 1);
	memset(queues, 0, sizeof queues);
	for (unsigned i = 0; i < sizeof config; i++)
		config[i] = (uint8_t)(0xa0 + i);
	queues[0].ring.size_max = 64;
	queues[1].ring.size_max = 16;
	dev = (struct virtio_device){.ops = &ops, .id = 99, .offered = OWN, .queues = queues, .queue_count = QUEUES,
				     .config = config, .config_bytes = sizeof config, .mem = mem.mem};
	virtio_init(&dev);
	driver_attach(&drv, &dev);
	return 0;
}

/* A chain that the device keeps ends. */
static void end_one(unsigned index)
{
	uint16_t head = held[index][--holding[index]];

	lock_acquire(&dev.lock);
	if (virtio_stopping(&dev, index)) {
		virtio_drop(&dev, index, head);
	} else {
		virtio_push(&dev, index, head, 1);
		virtio_notify(&dev, index);
	}
	lock_release(&dev.lock);
}

static int teardown(void **state)
{
	(void)state;
	driver_status(&drv, 0);
	for (unsigned i = 0; i < QUEUES; i++)
		while (holding[i])
			end_one(i);
	fake_guest_mem_answer(&mem, 10);
	assert_int_equal(driver_read_status(&drv), 0);
	fake_guest_mem_fini(&mem);
	return 0;
}

static void queues_on(void)
{
	for (unsigned i = 0; i < QUEUES; i++) {
		driver_ring_init(&ring[i], &mem, 0x1000 + 0x2000 * i, 16);
		driver_queue(&drv, i, &ring[i]);
	}
}

static void bring_up(uint64_t features)
{
	assert_int_equal(driver_negotiate(&drv, features), 0x0b);
	queues_on();
	driver_ok(&drv);
	driver_work(&drv);
}

static void offer(unsigned queue, uint16_t head)
{
	driver_desc(&ring[queue], head, 0x10000, 8, 0, 0);
	driver_offer(&ring[queue], head);
}

static unsigned used(unsigned queue)
{
	uint32_t head, written;
	unsigned n = 0;

	while (driver_used(&ring[queue], &head, &written))
		n++;
	return n;
}

/* ---- features ---- */

static void what_is_offered(void **state)
{
	(void)state;
	assert_int_equal(virtio_features(&dev, 0), OWN | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX);
	assert_int_equal(virtio_features(&dev, 1), (VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET) >> 32);
	assert_int_equal(virtio_features(&dev, 2), 0);
	assert_int_equal(virtio_features(&dev, 0xffffffff), 0);
}

static void sets_that_are_taken(void **state)
{
	(void)state;
	assert_int_equal(driver_negotiate(&drv, ALL), 0x0b);
	driver_status(&drv, 0);
	assert_int_equal(driver_negotiate(&drv, VIRTIO_F_VERSION_1), 0x0b);
	assert_int_equal(virtio_accepted(&dev, 0), 0);
	assert_int_equal(virtio_accepted(&dev, 1), 1);
	assert_int_equal(virtio_accepted(&dev, 2), 0);
	/* Final now. */
	lock_acquire(&dev.lock);
	virtio_accept(&dev, 0, OWN);
	virtio_accept(&dev, 7, 1);
	lock_release(&dev.lock);
	assert_int_equal(virtio_accepted(&dev, 0), 0);
	assert_false(dev.accepted_unknown);
}

static void sets_that_are_refused(void **state)
{
	static const uint64_t sets[] = {0, OWN, ALL & ~VIRTIO_F_VERSION_1, ALL | BIT(0), ALL | VIRTIO_F_ACCESS_PLATFORM,
					ALL | BIT(63), ~0ull};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sets); i++) {
		assert_int_equal(driver_negotiate(&drv, sets[i]), 0x03);
		driver_status(&drv, 0x0f); /* DRIVER_OK all the same */
		assert_int_equal(driver_read_status(&drv), 0x03);
		driver_status(&drv, 0);
	}
	lock_acquire(&dev.lock);
	virtio_accept(&dev, 2, 1); /* beyond what there is */
	lock_release(&dev.lock);
	assert_int_equal(driver_negotiate(&drv, ALL), 0x03);
	driver_status(&drv, 0);
	assert_int_equal(driver_negotiate(&drv, ALL), 0x0b);
	driver_status(&drv, 0);
	refuse = true; /* the device's own judgement */
	assert_int_equal(driver_negotiate(&drv, ALL), 0x03);
	/* It may try another set. */
	refuse = false;
	driver_status(&drv, 0x0b);
	assert_int_equal(driver_read_status(&drv), 0x0b);
}

/* ---- status ---- */

static void status_bits(void **state)
{
	(void)state;
	assert_int_equal(driver_read_status(&drv), 0);
	driver_status(&drv, VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_ACKNOWLEDGE);
	assert_int_equal(driver_read_status(&drv), 0x01); /* not without FEATURES_OK */
	driver_status(&drv, VIRTIO_STATUS_NEEDS_RESET | 1);
	assert_int_equal(driver_read_status(&drv), 0x01); /* that one is the device's */
	bring_up(ALL);
	driver_status(&drv, 1); /* bits do not go */
	assert_int_equal(driver_read_status(&drv), 0x0f);
	driver_status(&drv, VIRTIO_STATUS_FAILED);
	offer(0, 0);
	driver_kick(&drv, 0);
	driver_work(&drv);
	assert_int_equal(used(0), 0); /* the driver has given up */
}

static void nothing_before_driver_ok(void **state)
{
	(void)state;
	assert_int_equal(driver_negotiate(&drv, ALL), 0x0b);
	queues_on();
	offer(0, 0);
	driver_kick(&drv, 0);
	assert_false(drv.deferred);
	assert_int_equal(used(0), 0);
	assert_int_equal(drv.interrupts[1], 0);
	offer(1, 0); /* was not kicked for at all */
	driver_ok(&drv); /* what came in before is looked after, without another kick */
	driver_work(&drv);
	assert_int_equal(used(0), 1);
	assert_int_equal(used(1), 1);
}

/* What comes in between the last look and the request to kick is found by the look after it. */
static void a_chain_at_the_last_moment(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		driver_status(&drv, 0);
		bring_up(i ? ALL & ~VIRTIO_F_EVENT_IDX : ALL);
		late_chain = true;
		offer(0, 0);
		driver_kick(&drv, 0);
		assert_false(late_chain);
		assert_int_equal(used(0), 2);
	}
}

/* ---- queues ---- */

static void registers_of_a_queue(void **state)
{
	struct virtio_queue *q;

	(void)state;
	lock_acquire(&dev.lock);
	assert_null(virtio_queue(&dev, QUEUES));
	assert_null(virtio_queue(&dev, 0xffff));
	q = virtio_queue(&dev, 1);
	assert_int_equal(q->ring.size, 16);
	for (unsigned part = 0; part < VIRTQ_PARTS; part++) {
		virtio_queue_set_address(q, part, 1, 0x11111111 * (part + 1));
		virtio_queue_set_address(q, part, 0, 0x12345670 + part * 0x10);
		assert_int_equal(virtio_queue_address(q, part, 0), 0x12345670 + part * 0x10);
		assert_int_equal(virtio_queue_address(q, part, 1), 0x11111111 * (part + 1));
	}
	virtio_queue_set_size(q, 3);
	assert_int_equal(q->ring.size, 3); /* judged when it is enabled */
	virtio_queue_enable(q);
	assert_false(virtio_queue_enabled(q)); /* before FEATURES_OK */
	lock_release(&dev.lock);
	driver_status(&drv, 0);
	assert_int_equal(q->ring.size, 16);
	assert_int_equal(virtio_queue_address(q, VIRTQ_USED, 0), 0);
}

static void an_enabled_queue_is_left_alone(void **state)
{
	struct virtio_queue *q = &queues[0];

	(void)state;
	bring_up(ALL);
	lock_acquire(&dev.lock);
	virtio_queue_set_size(q, 8);
	virtio_queue_set_address(q, VIRTQ_DESC, 0, 0x5000);
	virtio_queue_enable(q);
	lock_release(&dev.lock);
	assert_int_equal(q->ring.size, 16);
	assert_int_equal(virtio_queue_address(q, VIRTQ_DESC, 0), ring[0].desc);
	offer(0, 0);
	driver_kick(&drv, 0);
	assert_int_equal(used(0), 1);
}

/* Sizes 0 and 3, and what else is wrong with a queue, break the device when it is enabled. */
static void wrong_queues(void **state)
{
	static const uint16_t sizes[] = {0, 3, 24, 128};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(driver_negotiate(&drv, ALL), 0x0b);
		driver_ring_init(&ring[0], &mem, 0x1000, 16);
		ring[0].size = sizes[i];
		driver_queue(&drv, 0, &ring[0]);
		assert_true(virtio_queue_enabled(&queues[0]));
		assert_int_equal(driver_read_status(&drv), 0x0b | VIRTIO_STATUS_NEEDS_RESET);
		assert_int_equal(drv.broken, i + 1);
		assert_int_equal(drv.interrupts[0], 0); /* not before DRIVER_OK (2.1.2) */
		driver_ok(&drv);
		assert_false(virtio_running(&dev));
		driver_kick(&drv, 0);
		driver_status(&drv, 0);
		assert_int_equal(driver_read_status(&drv), 0);
	}
	assert_string_equal(drv.why, "the queue size is larger than the device's");
}

static void a_broken_ring_needs_a_reset(void **state)
{
	(void)state;
	bring_up(ALL);
	offer(0, 0);
	driver_offer(&ring[0], 999);
	driver_kick(&drv, 0);
	assert_int_equal(driver_read_status(&drv), 0x0f | VIRTIO_STATUS_NEEDS_RESET);
	assert_string_equal(drv.why, "a chain that begins outside the table");
	assert_string_equal(dev.broken, drv.why);
	assert_int_equal(drv.interrupts[0], 1); /* the driver is told by the configuration's vector */
	offer(1, 0);
	driver_kick(&drv, 1);
	driver_kick(&drv, 0);
	driver_work(&drv);
	assert_int_equal(popped[1], 0); /* nothing is done any more, and nothing is said twice */
	assert_int_equal(drv.broken, 1);
	driver_status(&drv, 0);
	bring_up(ALL);
	offer(1, 0);
	driver_kick(&drv, 1);
	assert_int_equal(used(1), 1);
}

static void a_queue_that_starts_later(void **state)
{
	(void)state;
	assert_int_equal(driver_negotiate(&drv, ALL), 0x0b);
	mem.later_at = 2;
	queues_on();
	assert_true(virtio_queue_enabled(&queues[0]));
	driver_ok(&drv);
	offer(0, 0);
	driver_kick(&drv, 0);
	driver_work(&drv);
	assert_int_equal(used(0), 0);
	offer(1, 0); /* the other works */
	driver_kick(&drv, 1);
	assert_int_equal(used(1), 1);
	fake_guest_mem_move(&mem);
	fake_guest_mem_answer(&mem, 9);
	driver_work(&drv);
	assert_int_equal(used(0), 1); /* without another kick */
	/* And one whose memory turns out not to be there. */
	driver_status(&drv, 0);
	assert_int_equal(driver_negotiate(&drv, ALL), 0x0b);
	mem.later_at = 1;
	queues_on();
	mem.fail_at = 1;
	fake_guest_mem_answer(&mem, 9);
	assert_int_equal(drv.broken, 1);
	assert_string_equal(drv.why, "a part of the queue lies outside memory");
}

/* ---- resets ---- */

static void a_reset_waits(void **state)
{
	uint64_t sum;

	(void)state;
	bring_up(ALL);
	hold = true;
	offer(0, 0);
	offer(0, 1);
	offer(1, 0);
	driver_kick(&drv, 0);
	driver_kick(&drv, 1);
	sum = fake_guest_mem_sum(&mem);
	driver_status(&drv, 0);
	assert_int_equal(stops, 2);
	assert_int_equal(driver_read_status(&drv), 0x0f); /* as before, until it is complete */
	assert_int_equal(resets, 0);
	/* Nothing is taken meanwhile. */
	driver_status(&drv, 1);
	driver_status(&drv, 0);
	driver_set_config(&drv, 0, 1, 1);
	driver_kick(&drv, 0);
	driver_work(&drv);
	assert_true(driver_queue_reset(&drv, 0));
	assert_int_equal(writes, 0);
	end_one(0);
	end_one(1);
	assert_int_equal(driver_read_status(&drv), 0x0f);
	assert_int_equal(drv.resets_done, 0);
	end_one(0);
	assert_int_equal(driver_read_status(&drv), 0);
	assert_int_equal(resets, 1);
	assert_int_equal(drv.resets_done, 1);
	assert_int_equal(mem.pins, 0);
	assert_true(fake_guest_mem_sum(&mem) == sum);
	assert_int_equal(drv.interrupts[1] + drv.interrupts[2], 0);
	assert_int_equal(virtio_accepted(&dev, 0), 0);
	assert_int_equal(dev.config_vector, VIRTIO_NO_VECTOR);
	assert_int_equal(queues[0].vector, VIRTIO_NO_VECTOR);
	hold = false;
	bring_up(ALL);
	offer(0, 0);
	driver_kick(&drv, 0);
	assert_int_equal(used(0), 1);
}

static void a_reset_that_need_not_wait(void **state)
{
	(void)state;
	bring_up(ALL);
	lock_acquire(&dev.lock);
	assert_true(virtio_reset(&dev));
	lock_release(&dev.lock);
	assert_int_equal(driver_read_status(&drv), 0);
	assert_int_equal(resets, 1);
	assert_int_equal(drv.resets_done, 0);
	assert_int_equal(mem.pins, 0);
}

static void a_reset_and_a_question_too_late(void **state)
{
	(void)state;
	assert_int_equal(driver_negotiate(&drv, ALL), 0x0b);
	mem.later_at = 2;
	mem.too_late = 100;
	queues_on();
	driver_status(&drv, 0);
	assert_int_equal(driver_read_status(&drv), 0x0b);
	fake_guest_mem_answer(&mem, 9);
	assert_int_equal(driver_read_status(&drv), 0);
	assert_int_equal(drv.resets_done, 1);
}

static void one_queue_is_reset(void **state)
{
	(void)state;
	bring_up(ALL);
	hold = true;
	offer(0, 0);
	driver_kick(&drv, 0);
	assert_false(driver_queue_reset(&drv, 0));
	assert_true(virtio_queue_enabled(&queues[0]));
	hold = false;
	offer(1, 0);
	driver_kick(&drv, 1);
	assert_int_equal(used(1), 1);
	end_one(0);
	assert_false(virtio_queue_resetting(&queues[0]));
	assert_false(virtio_queue_enabled(&queues[0]));
	assert_int_equal(used(0), 0);
	assert_int_equal(resets, 0);
	assert_int_equal(driver_read_status(&drv), 0x0f);
	assert_int_equal(queues[0].ring.size, 64);
	/* Of another size, at another place. */
	driver_ring_init(&ring[0], &mem, 0x6000, 64);
	driver_queue(&drv, 0, &ring[0]);
	offer(0, 5);
	driver_kick(&drv, 0);
	driver_work(&drv);
	assert_int_equal(used(0), 1);
	assert_true(driver_queue_reset(&drv, 0)); /* with nothing under way it is complete at once */
	assert_true(driver_queue_reset(&drv, 0));
}

static void ring_reset_must_be_negotiated(void **state)
{
	(void)state;
	bring_up(ALL & ~VIRTIO_F_RING_RESET);
	assert_true(driver_queue_reset(&drv, 0));
	assert_true(virtio_queue_enabled(&queues[0]));
	assert_int_equal(stops, 0);
}

/* A whole reset in the middle of that of a queue. */
static void both_resets(void **state)
{
	(void)state;
	bring_up(ALL);
	hold = true;
	offer(0, 0);
	driver_kick(&drv, 0);
	driver_queue_reset(&drv, 0);
	driver_status(&drv, 0);
	assert_int_equal(driver_read_status(&drv), 0x0f);
	end_one(0);
	assert_int_equal(driver_read_status(&drv), 0);
	assert_false(virtio_queue_resetting(&queues[0]));
}

/* A queue cannot be enabled while the device is being reset, even one that is off already. */
static void no_queue_in_a_reset(void **state)
{
	(void)state;
	assert_int_equal(driver_negotiate(&drv, ALL), 0x0b);
	driver_ring_init(&ring[0], &mem, 0x1000, 16);
	driver_queue(&drv, 0, &ring[0]);
	driver_ok(&drv);
	hold = true;
	offer(0, 0);
	driver_kick(&drv, 0);
	driver_work(&drv);
	driver_status(&drv, 0);
	driver_ring_init(&ring[1], &mem, 0x3000, 16);
	driver_queue(&drv, 1, &ring[1]);
	assert_false(virtio_queue_enabled(&queues[1]));
	end_one(0);
	assert_int_equal(driver_read_status(&drv), 0);
}

/* ---- the configuration space ---- */

static void reading_the_space(void **state)
{
	(void)state;
	assert_int_equal(driver_config(&drv, 0, 1), 0xa0);
	assert_int_equal(driver_config(&drv, 1, 2), 0xa2a1);
	assert_int_equal(driver_config(&drv, 2, 4), 0xa5a4a3a2);
	assert_true(driver_config(&drv, 2, 8) == 0xa9a8a7a6a5a4a3a2);
	assert_int_equal(driver_config(&drv, 8, 4), 0xa9a8); /* what is beyond reads 0 */
	assert_int_equal(driver_config(&drv, 10, 8), 0);
	assert_int_equal(driver_config(&drv, 0xfffffffe, 8), 0);
}

static void writing_the_space(void **state)
{
	(void)state;
	driver_set_config(&drv, 6, 4, 0x1234);
	assert_int_equal(writes, 1);
	assert_int_equal(written_at, 6);
	assert_int_equal(written_value, 0x1234);
	driver_set_config(&drv, 7, 4, 0);
	driver_set_config(&drv, 10, 1, 0);
	driver_set_config(&drv, 0xffffffff, 1, 0);
	driver_set_config(&drv, 0xfffffffc, 8, 0);
	assert_int_equal(writes, 1);
}

static void changes_are_told(void **state)
{
	(void)state;
	lock_acquire(&dev.lock);
	virtio_config_changed(&dev);
	lock_release(&dev.lock);
	assert_int_equal(dev.config_generation, 1);
	bring_up(ALL);
	lock_acquire(&dev.lock);
	virtio_config_changed(&dev);
	lock_release(&dev.lock);
	assert_int_equal(dev.config_generation, 2);
	assert_int_equal(drv.interrupts[0], 1);
}

/* ---- work ---- */

static void a_kick_is_bounded(void **state)
{
	(void)state;
	bring_up(ALL);
	for (unsigned i = 0; i < 16; i++)
		offer(0, (uint16_t)i);
	answers_busy = true;
	driver_kick(&drv, 0); /* blocked: nothing is announced */
	assert_false(drv.deferred);
	answers_busy = false;
	for (unsigned i = 0; i < 16; i++)
		offer(1, (uint16_t)i);
	driver_kick(&drv, 0);
	assert_int_equal(popped[0], 16);
	assert_false(drv.deferred);
	driver_kick(&drv, 1);
	assert_int_equal(popped[1], 16);
	assert_in_range(budget_seen, VIRTIO_INLINE_BUDGET / 2, VIRTIO_INLINE_BUDGET);
	assert_int_equal(drv.defers, 1); /* when it came up: not for kicks */
}

static void what_is_left_is_deferred(void **state)
{
	(void)state;
	bring_up(ALL);
	driver_status(&drv, 0);
	assert_int_equal(driver_negotiate(&drv, ALL), 0x0b);
	driver_ring_init(&ring[0], &mem, 0x1000, 64);
	driver_queue(&drv, 0, &ring[0]);
	driver_ok(&drv);
	driver_work(&drv);
	for (unsigned i = 0; i < 64; i++)
		offer(0, (uint16_t)i);
	driver_kick(&drv, 0);
	assert_int_equal(popped[0], (VIRTIO_INLINE_BUDGET - 100) / CHAIN_COST);
	assert_true(drv.deferred);
	collects = 0;
	driver_kick(&drv, 0); /* the worker is due already */
	assert_int_equal(popped[0], (VIRTIO_INLINE_BUDGET - 100) / CHAIN_COST);
	assert_int_equal(driver_work(&drv), 3);
	assert_int_equal(collects, 3); /* it begins with that */
	assert_int_equal(popped[0], 64);
	assert_int_equal(used(0), 64);
}

/* Queues take turns when each has more than a budget. */
static void queues_take_turns(void **state)
{
	(void)state;
	bring_up(ALL);
	hold = true;
	for (unsigned i = 0; i < 16; i++) {
		offer(0, (uint16_t)i);
		offer(1, (uint16_t)i);
	}
	lock_acquire(&dev.lock);
	virtio_resume(&dev, 0);
	virtio_resume(&dev, 1);
	assert_true(virtio_work(&dev, 5 * CHAIN_COST));
	assert_true(virtio_work(&dev, 5 * CHAIN_COST));
	lock_release(&dev.lock);
	assert_int_equal(popped[0], 4);
	assert_int_equal(popped[1], 4);
	driver_work(&drv);
	assert_int_equal(popped[0] + popped[1], 32);
}

/* Work on one queue makes another go on that had its turn: it is not forgotten. */
static void one_queue_resumes_another(void **state)
{
	(void)state;
	bring_up(ALL);
	answers_busy = true;
	offer(0, 0);
	driver_kick(&drv, 0); /* blocked */
	answers_busy = false;
	lock_acquire(&dev.lock);
	queues[1].kicked = true;
	dev.deferred = true; /* the worker is at it: nobody is asked to come again */
	dev.turn = 0;
	resume_other = true;
	assert_true(virtio_work(&dev, VIRTIO_INLINE_BUDGET));
	assert_false(virtio_work(&dev, VIRTIO_INLINE_BUDGET));
	lock_release(&dev.lock);
	assert_int_equal(used(0), 1);
}

static void a_chain_that_waits_for_its_table(void **state)
{
	(void)state;
	bring_up(ALL);
	driver_table(&ring[0], 0x9000, 0, 0x10000, 4, 0, 0);
	driver_desc(&ring[0], 0, 0x9000, 16, VIRTQ_DESC_F_INDIRECT, 0);
	driver_offer(&ring[0], 0);
	mem.later_at = 1;
	driver_kick(&drv, 0);
	assert_int_equal(mem.laters, 1);
	driver_kick(&drv, 0);
	assert_int_equal(mem.laters, 1);
	offer(1, 0);
	driver_kick(&drv, 1);
	assert_int_equal(used(1), 1);
	fake_guest_mem_move(&mem);
	fake_guest_mem_answer(&mem, 1);
	driver_work(&drv);
	assert_int_equal(used(0), 1);
}

static void kicks_of_all_numbers(void **state)
{
	(void)state;
	bring_up(ALL);
	driver_kick(&drv, QUEUES);
	driver_kick(&drv, 0xffff);
	driver_kick(&drv, 0xffffffff);
	assert_int_equal(dev.kicks, 0);
	driver_kick(&drv, 0);
	assert_int_equal(dev.kicks, 1);
}

static void no_vector_no_message(void **state)
{
	(void)state;
	bring_up(ALL);
	queues[0].vector = VIRTIO_NO_VECTOR;
	offer(0, 0);
	driver_kick(&drv, 0);
	assert_int_equal(used(0), 1);
	assert_int_equal(drv.interrupts[1], 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_is_offered), T(sets_that_are_taken), T(sets_that_are_refused), T(status_bits),
		T(nothing_before_driver_ok), T(registers_of_a_queue), T(an_enabled_queue_is_left_alone), T(wrong_queues),
		T(a_broken_ring_needs_a_reset), T(a_queue_that_starts_later), T(a_reset_waits), T(a_reset_that_need_not_wait),
		T(a_reset_and_a_question_too_late), T(one_queue_is_reset), T(ring_reset_must_be_negotiated), T(both_resets),
		T(no_queue_in_a_reset), T(a_chain_at_the_last_moment),
		T(reading_the_space), T(writing_the_space), T(changes_are_told), T(a_kick_is_bounded),
		T(what_is_left_is_deferred), T(queues_take_turns), T(one_queue_resumes_another),
		T(a_chain_that_waits_for_its_table), T(kicks_of_all_numbers), T(no_vector_no_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
