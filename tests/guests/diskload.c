/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small driver of a virtio disk, modern, over PCI with MSI-X, and a load: random
 * reads of 4 KiB, "depth=N" of them in flight, submitted "batch=N" at a time with one
 * kick, "count=N" in all, in the first "span=N" blocks. What is in the blocks was written
 * before, and each read is compared, unless the word "blind" is given or only "bytes=N" are
 * read of each. It sleeps in HLT while nothing has come back, or runs in a loop until an
 * interrupt comes ("spin"). With "rounds=N" the same is done so many times. Printed as
 * `bench NAME VALUE`, for the last round: ticks, kicks, interrupts, latency (ticks of all
 * together), and how many requests and interrupts came while there were others to submit.
 *
 * "own": what the same code takes of the guest's own instructions, with a disk that answers from
 * memory: the used ring is written by the guest itself, and nobody is kicked.
 */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/virtio.h"

const char guest_name[] = "diskload";

#define VECTOR_DISK 0x61
#define BLOCK_BYTES 4096u
#define BLOCK_SECTORS 8u
#define DEPTH_MAX 32u
#define SLOT_DESCS 3u /* header, data, status */
#define SALT 0x5ca1ab1e00000000ull

#define BLK_T_IN 0u
#define BLK_T_OUT 1u
#define BLK_S_OK 0u

struct blk_header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct slot {
	struct blk_header header;
	volatile uint8_t status;
	uint64_t block;
	uint64_t since; /* tick of its submission */
};

static struct virtio_function disk;
static struct virtio_ring ring;
static struct slot slots[DEPTH_MAX];
static _Alignas(4096) uint8_t data[DEPTH_MAX][BLOCK_BYTES];
static volatile uint32_t interrupts;
static uint64_t latency, seed, span;
static uint32_t kicks, steady, steady_interrupts; /* of the requests that came back while others were submitted */
static bool blind, own, spins;

void disk_handler(void);
__asm__(".text\n"
	"disk_handler:\n\t"
	"pushq %rax\n\tpushq %rcx\n\tpushq %rdx\n\t"
	"incl interrupts\n\t"
	"movl $0x80b, %ecx\n\txorl %eax, %eax\n\txorl %edx, %edx\n\twrmsr\n\t"
	"popq %rdx\n\tpopq %rcx\n\tpopq %rax\n\tiretq");

static void init_slots(uint32_t type, uint32_t bytes)
{
	for (unsigned i = 0; i < DEPTH_MAX; i++) {
		uint16_t d = (uint16_t)(i * SLOT_DESCS);
		uint16_t to_disk = type == BLK_T_IN ? VIRTIO_DESC_WRITE : 0;

		slots[i].header.type = type;
		virtio_desc(&ring, d, &slots[i].header, sizeof slots[i].header, VIRTIO_DESC_NEXT, (uint16_t)(d + 1));
		virtio_desc(&ring, (uint16_t)(d + 1), data[i], bytes, VIRTIO_DESC_NEXT | to_disk, (uint16_t)(d + 2));
		virtio_desc(&ring, (uint16_t)(d + 2), (void *)&slots[i].status, 1, VIRTIO_DESC_WRITE, 0);
	}
}

/* Not seen by the disk before ring_show(). */
static void offer(unsigned i, uint64_t block)
{
	struct slot *s = &slots[i];

	s->block = block;
	s->header.sector = block * BLOCK_SECTORS;
	s->status = 0xff;
	s->since = rdtsc();
	virtio_offer(&ring, (uint16_t)(i * SLOT_DESCS));
}

/* As a disk would, for what was shown. */
static void answer_all(void)
{
	while (ring.used->index != ring.avail->index) {
		uint16_t head = ring.avail->ring[ring.used->index % VIRTIO_RING_SIZE];

		slots[head / SLOT_DESCS].status = BLK_S_OK;
		ring.used->ring[ring.used->index % VIRTIO_RING_SIZE] = (struct virtio_used_elem){head, BLOCK_BYTES + 1};
		ring.used->index++;
	}
}

/* As drivers do, outside of the section with interrupts off: what comes back at once interrupts here. */
static void kick(void)
{
	bool wanted = virtio_show(&ring);

	if (own)
		answer_all();
	sti();
	if (wanted && !own) {
		kicks++;
		virtio_kick(&disk, 0);
	}
	cli();
}

static void check(const struct slot *s)
{
	const uint64_t *word = (const uint64_t *)data[s - slots];

	CHECK(s->status == BLK_S_OK, "block %llu: status %u", (unsigned long long)s->block, s->status);
	if (!blind && s->header.type == BLK_T_IN)
		CHECK(word[0] == (SALT | s->block) && word[BLOCK_BYTES / 8 - 1] == s->block, "block %llu reads 0x%llx",
		      (unsigned long long)s->block, (unsigned long long)word[0]);
}

/* Without an exit, and without a look at the ring: nobody but an interrupt ends this. */
static void spin(void)
{
	uint32_t before = interrupts;

	sti();
	while (interrupts == before)
		;
	cli();
}

/* The next that has come back; sleeps until there is one. Interrupts are off but while it sleeps, and for an instant. */
static unsigned wait_one(void)
{
	uint32_t head;

	while (!virtio_used(&ring, &head)) {
		if (virtio_has_come(&ring))
			continue;
		if (spins)
			spin();
		else
			halt();
	}
	latency += rdtsc() - slots[head / SLOT_DESCS].since;
	check(&slots[head / SLOT_DESCS]);
	return head / SLOT_DESCS;
}

static void fill(unsigned i, uint64_t block)
{
	uint64_t *word = (uint64_t *)data[i];

	word[0] = SALT | block;
	word[BLOCK_BYTES / 8 - 1] = block;
}

static void write_all(void)
{
	init_slots(BLK_T_OUT, BLOCK_BYTES);
	for (uint64_t block = 0; block < span; block++) {
		fill(0, block);
		offer(0, block);
		kick();
		(void)wait_one();
	}
}

/* Keeps @depth in flight, until @count have been submitted; then waits for the rest. */
static void read_random(unsigned depth, unsigned batch, unsigned count)
{
	unsigned submitted = 0, done = 0, free[DEPTH_MAX], free_count = 0;

	while (free_count < depth) {
		free[free_count] = free_count;
		free_count++;
	}
	while (done < count) {
		while (free_count >= batch && submitted < count) {
			for (unsigned i = 0; i < batch && submitted < count; i++, submitted++)
				offer(free[--free_count], random_next(&seed) % span);
			kick();
		}
		if (submitted < count) {
			steady = done;
			steady_interrupts = interrupts;
		}
		free[free_count++] = wait_one();
		done++;
	}
}

static void find_disk(void)
{
	unsigned slot = virtio_find(&disk, VIRTIO_BLOCK);

	CHECK(slot != 0, "there is no virtio disk");
	virtio_begin(&disk, VIRTIO_F_EVENT_IDX);
	virtio_queue(&disk, 0, &ring, VECTOR_DISK, 0);
	virtio_ready(&disk);
}

void guest_main(void)
{
	unsigned depth = (unsigned)option("depth", 1), batch = (unsigned)option("batch", 1);
	unsigned count = (unsigned)option("count", 1000), rounds = (unsigned)option("rounds", 1);
	uint32_t bytes = (uint32_t)option("bytes", BLOCK_BYTES);
	uint64_t start, took;

	span = option("span", 256);
	seed = option("seed", 1);
	blind = option_word("blind") || bytes != BLOCK_BYTES;
	CHECK(depth >= 1 && depth <= DEPTH_MAX && batch >= 1 && batch <= depth && rounds >= 1, "depth, batch, rounds");
	apic_set_mode(APIC_X2APIC);
	set_gate(VECTOR_DISK, disk_handler);
	find_disk();
	if (!blind)
		write_all();
	init_slots(BLK_T_IN, bytes);
	own = option_word("own");
	spins = option_word("spin");
	blind |= own;
	for (unsigned round = 0; round < rounds; round++) {
		latency = kicks = interrupts = steady = steady_interrupts = 0;
		start = rdtsc();
		read_random(depth, batch, count);
		took = rdtsc() - start;
	}
	print("bench requests %u\nbench ticks %llu\nbench kicks %u\nbench interrupts %u\nbench latency %llu\n", count,
	      (unsigned long long)took, kicks, interrupts, (unsigned long long)latency);
	print("bench steady %u\nbench steady_interrupts %u\n", steady, steady_interrupts);
}
