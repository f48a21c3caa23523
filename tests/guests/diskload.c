/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A load for a disk: random
 * reads of 4 KiB, "depth=N" of them in flight, submitted "batch=N" at a time with one
 * kick, "count=N" in all, in the first "span=N" blocks. What is in the blocks was written
 * before, and each read is compared, unless the word "blind" is given or only "bytes=N" are
 * read of each. It sleeps in HLT while nothing has come back, or runs in a loop until an
 * interrupt comes ("spin"). Each has an indirect table, as from Debian's driver, or
 * none ("direct"). With "rounds=N" the same is done so many times. Printed as
 * `bench NAME VALUE`, for the last round: ticks, kicks, interrupts, latency (ticks of all
 * together), and how many requests and interrupts came while there were others to submit.
 *
 * "own": what the same code takes of the guest's own instructions, with a disk that answers from
 * memory: the used ring is written by the guest itself, and nobody is kicked.
 */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/blk.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "diskload";

#define VECTOR_DISK 0x61
#define BLOCK_BYTES 4096u
#define BLOCK_SECTORS (BLOCK_BYTES / BLK_SECTOR)
#define SALT 0x5ca1ab1e00000000ull

struct read {
	uint64_t block;
	uint64_t since; /* tick of its submission */
};

static struct blk blk;
static struct read reads[BLK_SLOTS];
static _Alignas(4096) uint8_t data[BLK_SLOTS][BLOCK_BYTES];
static volatile uint32_t interrupts;
static uint64_t latency, seed, span;
static uint32_t kicks, steady, steady_interrupts; /* of the requests that came back while others were submitted */
static uint32_t bytes;                            /* of a request */
static bool blind, own, spins;

void disk_handler(void);
__asm__(".text\n"
	"disk_handler:\n\t"
	"pushq %rax\n\tpushq %rcx\n\tpushq %rdx\n\t"
	"incl interrupts\n\t"
	"movl $0x80b, %ecx\n\txorl %eax, %eax\n\txorl %edx, %edx\n\twrmsr\n\t"
	"popq %rdx\n\tpopq %rcx\n\tpopq %rax\n\tiretq");

/* Not seen by the disk before kick(). */
static void offer(unsigned slot, enum blk_type type, uint64_t block)
{
	reads[slot].block = block;
	reads[slot].since = rdtsc();
	blk_ask(&blk, slot, type, block * BLOCK_SECTORS, data[slot], bytes);
}

/* As a disk would, for what was shown. */
static void answer_all(struct virtio_ring *r)
{
	while (r->used->index != r->avail->index) {
		uint16_t head = r->avail->ring[r->used->index % VIRTIO_RING_SIZE];

		blk.slots[head / BLK_DESCS].status = BLK_OK;
		r->used->ring[r->used->index % VIRTIO_RING_SIZE] = (struct virtio_used_elem){head, BLOCK_BYTES + 1};
		r->used->index++;
	}
}

/* As drivers do, outside of the section with interrupts off: what comes back at once interrupts here. */
static void kick(void)
{
	bool wanted = virtio_show(&blk.ring);

	if (own)
		answer_all(&blk.ring);
	sti();
	if (wanted && !own) {
		kicks++;
		virtio_kick(&blk.function, 0);
	}
	cli();
}

static void check(unsigned slot)
{
	const uint64_t *word = (const uint64_t *)data[slot];
	uint64_t block = reads[slot].block;

	CHECK(blk.slots[slot].status == BLK_OK, "block %llu: status %u", (unsigned long long)block, blk.slots[slot].status);
	if (!blind && blk.slots[slot].header.type == BLK_IN)
		CHECK(word[0] == (SALT | block) && word[BLOCK_BYTES / 8 - 1] == block, "block %llu reads 0x%llx",
		      (unsigned long long)block, (unsigned long long)word[0]);
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
	unsigned slot;

	while ((slot = blk_take(&blk)) == BLK_SLOTS) {
		if (virtio_has_come(&blk.ring))
			continue;
		if (spins)
			spin();
		else
			halt();
	}
	latency += rdtsc() - reads[slot].since;
	check(slot);
	return slot;
}

static void fill(unsigned i, uint64_t block)
{
	uint64_t *word = (uint64_t *)data[i];

	word[0] = SALT | block;
	word[BLOCK_BYTES / 8 - 1] = block;
}

static void write_all(void)
{
	bytes = BLOCK_BYTES;
	for (uint64_t block = 0; block < span; block++) {
		fill(0, block);
		offer(0, BLK_OUT, block);
		kick();
		(void)wait_one();
	}
}

/* Keeps @depth in flight, until @count have been submitted; then waits for the rest. */
static void read_random(unsigned depth, unsigned batch, unsigned count)
{
	unsigned submitted = 0, done = 0;

	while (done < count) {
		while (submitted - done + batch <= depth && submitted < count) {
			for (unsigned i = 0; i < batch && submitted < count; i++, submitted++)
				offer(blk_free(&blk), BLK_IN, random_next(&seed) % span);
			kick();
		}
		if (submitted < count) {
			steady = done;
			steady_interrupts = interrupts;
		}
		(void)wait_one();
		done++;
	}
}

void guest_main(void)
{
	unsigned depth = (unsigned)option("depth", 1), batch = (unsigned)option("batch", 1);
	unsigned count = (unsigned)option("count", 1000), rounds = (unsigned)option("rounds", 1);
	uint32_t some = (uint32_t)option("bytes", BLOCK_BYTES);
	uint64_t features = VIRTIO_F_EVENT_IDX | (option_word("direct") ? 0 : VIRTIO_F_INDIRECT);
	uint64_t start, took;

	span = option("span", 256);
	seed = option("seed", 1);
	blind = option_word("blind") || some != BLOCK_BYTES;
	CHECK(depth >= 1 && depth <= BLK_SLOTS && batch >= 1 && batch <= depth && rounds >= 1, "depth, batch, rounds");
	apic_set_mode(APIC_X2APIC);
	set_gate(VECTOR_DISK, disk_handler);
	CHECK(blk_open(&blk, 0, VECTOR_DISK, features), "there is no disk");
	CHECK((blk.function.features & features) == features, "a feature is not offered");
	if (!blind)
		write_all();
	bytes = some;
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
