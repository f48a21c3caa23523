/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that writes anything into its rings, descriptors and tables, over memory
 * that answers later and moves. Whatever it does, a chain that comes out is sound:
 * within its bounds, its sums right, no buffer of nothing, none that wraps; what is in
 * flight is accounted for, and a stop ends with nothing pinned.
 */
#include <stdlib.h>
#include <string.h>

#include "io/virtq.h"
#include "lib/bits.h"
#include "tests/fakes/virtio_driver.h"
#include "tests/fuzz/input.h"

#define PAGES 8u
#define RING_AT 0x0ff0u /* in two pages */
#define TABLE_AT 0x3fe8u
#define TABLE_ENTRIES 40u
#define ROOM 64u
#define STEPS_MAX 3000

static struct fake_guest_mem mem;
static struct virtq q;
static struct driver_ring ring;
static struct virtq_buffer buffers[ROOM];
static uint16_t flying[VIRTQ_SIZE_MAX];
static unsigned flying_count;

static void on_resumed(struct virtq *of)
{
	REQUIRE(of == &q && q.waiting);
	q.waiting = false;
	if (q.state == VIRTQ_STARTING)
		(void)virtq_start(&q);
}

static void setup(struct input *in)
{
	static const uint16_t sizes[] = {1, 2, 16, 64, 256, 0, 3, 512};

	driver_ring_init(&ring, &mem, RING_AT, 256);
	ring.size = sizes[take(in, 1) % ARRAY_SIZE(sizes)];
	if (ring.size != 0 && ring.size <= 256)
		driver_ring_init(&ring, &mem, RING_AT, ring.size);
	q.size = ring.size;
	q.at[VIRTQ_DESC] = gpa(ring.desc);
	q.at[VIRTQ_AVAIL] = gpa(ring.avail);
	q.at[VIRTQ_USED] = gpa(ring.used);
	if (take(in, 1) == 0)
		q.at[take(in, 1) % VIRTQ_PARTS] = gpa(take(in, 8));
	q.event_idx = take(in, 1) & 1;
	q.indirect = true;
	flying_count = 0;
	(void)virtq_start(&q);
}

static void check_chain(const struct virtq_chain *c)
{
	uint64_t readable = 0, writable = 0;
	unsigned count = (unsigned)c->readable + c->writable;

	REQUIRE(count >= 1 && count <= ROOM && c->head < q.size);
	for (unsigned i = 0; i < count; i++) {
		REQUIRE(buffers[i].bytes != 0 && buffers[i].at.v + buffers[i].bytes >= buffers[i].at.v);
		if (i < c->readable)
			readable += buffers[i].bytes;
		else
			writable += buffers[i].bytes;
	}
	REQUIRE(readable == c->readable_bytes && writable == c->writable_bytes && readable + writable <= 1ull << 32);
	for (unsigned i = 0; i < flying_count; i++)
		REQUIRE(flying[i] != c->head);
}

static void pop(struct input *in)
{
	struct virtq_chain c = {.buffers = buffers, .room = ROOM};

	if (virtq_pop(&q, &c) != VIRTQ_CHAIN)
		return;
	check_chain(&c);
	if (take(in, 1) % 16 == 0)
		virtq_unpop(&q, &c);
	else
		flying[flying_count++] = c.head;
}

static void end_one(struct input *in)
{
	unsigned i;

	if (flying_count == 0)
		return;
	i = take(in, 1) % flying_count;
	virtq_push(&q, flying[i], (uint32_t)take(in, 1));
	flying[i] = flying[--flying_count];
}

static void stop(struct input *in)
{
	while (!virtq_stop(&q)) {
		if (flying_count != 0)
			end_one(in);
		else
			REQUIRE(fake_guest_mem_answer(&mem, 1) == 1);
	}
	REQUIRE(mem.pins == 0 && q.state == VIRTQ_OFF && q.in_flight == 0);
	setup(in);
}

static void write_desc(struct input *in)
{
	bool table = take(in, 1) & 1;
	uint16_t index = (uint16_t)(take(in, 1) % (table || ring.size == 0 ? TABLE_ENTRIES : ring.size));
	uint8_t how = (uint8_t)take(in, 1);
	uint64_t at = how & 1 ? TABLE_AT + (how >> 4) : take(in, how & 2 ? 8 : 2);
	uint32_t bytes = how & 4 ? (uint32_t)take(in, 4) : 16 * (uint32_t)(take(in, 1) % (TABLE_ENTRIES + 2));
	uint16_t flags = (uint16_t)(take(in, 1) % 8), next = (uint16_t)take(in, how & 8 ? 2 : 1);

	if (table)
		driver_table(&ring, TABLE_AT, index, at, bytes, flags, next);
	else if (ring.size != 0 && ring.size <= 256)
		driver_desc(&ring, index, at, bytes, flags, next);
}

/* A chain without fault, so that not all are refused. */
static void sound_chain(struct input *in)
{
	uint16_t n = (uint16_t)(1 + take(in, 1) % 5), head = (uint16_t)take(in, 1);

	if (ring.size < 16 || ring.size > 256)
		return;
	for (uint16_t i = 0; i < n; i++)
		driver_desc(&ring, (uint16_t)((head + i) % ring.size), take(in, 2), 1 + (uint32_t)take(in, 2),
			    (uint16_t)((i + 1 < n ? VIRTQ_DESC_F_NEXT : 0) | (i >= n / 2 ? VIRTQ_DESC_F_WRITE : 0)),
			    (uint16_t)((head + i + 1) % ring.size));
	driver_offer(&ring, (uint16_t)(head % ring.size));
}

static void step(struct input *in)
{
	switch (take(in, 1) % 14) {
	case 0:
	case 1:
		write_desc(in);
		break;
	case 2:
	case 3:
		sound_chain(in);
		break;
	case 4:
	case 5:
	case 6:
		pop(in);
		break;
	case 7:
		end_one(in);
		break;
	case 8:
		fake_guest_mem_put16(&mem, take(in, 2) % (PAGES * PAGE_SIZE - 2), (uint16_t)take(in, 2));
		break;
	case 9:
		if (ring.size != 0 && ring.size <= 256)
			driver_offer(&ring, (uint16_t)take(in, 1));
		break;
	case 10:
		(void)virtq_interrupt_wanted(&q);
		virtq_kicks_off(&q);
		(void)virtq_kicks_on(&q);
		break;
	case 11:
		fake_guest_mem_answer(&mem, 2);
		break;
	case 12:
		fake_guest_mem_move(&mem);
		mem.later = take(in, 1) % 80;
		mem.too_late = take(in, 1) % 100;
		break;
	default:
		if (take(in, 1) % 4 == 0)
			stop(in);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};

	fake_guest_mem_init(&mem, PAGES, 1);
	memset(&q, 0, sizeof q);
	q.size_max = VIRTQ_SIZE_MAX;
	q.mem = &mem.mem;
	q.resumed = on_resumed;
	virtq_init(&q);
	setup(&in);
	for (unsigned i = 0; in.at < in.end && i < STEPS_MAX; i++) {
		step(&in);
		REQUIRE(q.in_flight == flying_count);
	}
	while (!virtq_stop(&q)) {
		if (flying_count != 0)
			end_one(&in);
		else
			REQUIRE(fake_guest_mem_answer(&mem, 1) == 1);
	}
	fake_guest_mem_fini(&mem);
	return 0;
}
