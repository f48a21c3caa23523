/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random reads of a disk as fast as it goes, "count=N", beside a timer that never rests: what a kernel does that
 * takes requests and completions with interrupts off, sleeps when it has nothing, and must be woken each time. No
 * handler may find that it interrupted code with interrupts off, and no request may stay away: after two seconds, or
 * "patience=N", without one the rings are printed.
 */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/blk.h"
#include "tests/guests/lib/guest.h"

const char guest_name[] = "reads";

#define VECTOR_DISK 0x41
#define VECTOR_TIMER 0xec
#define COUNT 20000u
#define BYTES 4096u
#define SECTORS (BYTES / BLK_SECTOR)
#define POISON 0xee
#define TIMERS_PER_SECOND 500u /* at least */
#define PATIENCE_SECONDS 2u

static struct blk blk;
static uint8_t buffers[BLK_SLOTS][BYTES] __attribute__((aligned(4096)));
static volatile uint64_t disk_interrupts, timers;
static uint64_t seed, timer_ticks, patience;
static volatile bool masked;

static void arm_timer(void) { wrmsr(MSR_IA32_TSC_DEADLINE, rdtsc() + random_next(&seed) % timer_ticks); }

static void check_open(const struct trap_frame *f)
{
	CHECK(f->rflags & RFLAGS_IF, "vector 0x%x came to code with interrupts off", (unsigned)f->vector);
	CHECK(!masked, "vector 0x%x came between CLI and STI", (unsigned)f->vector);
}

static void on_disk(struct trap_frame *f)
{
	apic_eoi();
	check_open(f);
	disk_interrupts++;
}

/* As long as a kernel's tick may be: what comes meanwhile waits. */
static void on_timer(struct trap_frame *f)
{
	apic_eoi();
	check_open(f);
	timers++;
	spin_ticks(random_next(&seed) % 4096);
	cli();
	arm_timer();
}

static void lock(void)
{
	cli();
	masked = true;
}

static void unlock(void)
{
	masked = false;
	sti();
}

static void ask_some(unsigned most)
{
	uint64_t units = blk.sectors / SECTORS;
	unsigned slot;

	for (unsigned n = 0; n < most && (slot = blk_free(&blk)) != BLK_SLOTS; n++) {
		buffers[slot][0] = buffers[slot][BYTES - 1] = POISON;
		blk_ask(&blk, slot, BLK_IN, random_next(&seed) % units * SECTORS, buffers[slot], BYTES);
	}
}

static void back(unsigned slot)
{
	CHECK(blk.slots[slot].status == BLK_OK, "status %u", blk.slots[slot].status);
	CHECK(buffers[slot][0] == 0 && buffers[slot][BYTES - 1] == 0, "what was read has not come");
}

static void stall(void)
{
	fail_with("nothing for %llu s: available %u, used %u, taken %u, free 0x%x, interrupts %llu, IRR 0x%x, ISR 0x%x",
		  (unsigned long long)patience, blk.ring.avail->index, blk.ring.used->index, blk.ring.seen, blk.free,
		  (unsigned long long)disk_interrupts, apic_read(APIC_REG_IRR + VECTOR_DISK / 32 * APIC_REG_STEP),
		  apic_read(APIC_REG_ISR + VECTOR_DISK / 32 * APIC_REG_STEP));
}

/* All there are; the first is waited for, asleep. */
static unsigned take_some(void)
{
	uint64_t end = rdtsc() + patience * tsc_hz();
	unsigned slot, n = 0;

	lock();
	while ((slot = blk_take(&blk)) == BLK_SLOTS) {
		masked = false;
		halt();
		masked = true;
		if (rdtsc() > end)
			stall();
	}
	for (; slot != BLK_SLOTS; slot = blk_take(&blk), n++)
		back(slot);
	unlock();
	return n;
}

void guest_main(void)
{
	uint64_t count = option("count", COUNT), done = 0;

	seed = option("seed", 1);
	patience = option("patience", PATIENCE_SECONDS);
	timer_ticks = 2 * tsc_hz() / TIMERS_PER_SECOND;
	set_handler(VECTOR_DISK, on_disk);
	set_handler(VECTOR_TIMER, on_timer);
	apic_set_mode(APIC_X2APIC);
	CHECK(blk_open(&blk, 0, VECTOR_DISK, VIRTIO_F_INDIRECT), "there is no disk");
	apic_write(APIC_REG_LVT_TIMER, APIC_TIMER_TSC_DEADLINE | VECTOR_TIMER);
	arm_timer();
	sti();
	while (done < count) {
		bool late = random_next(&seed) % 2;

		lock();
		ask_some(1 + (unsigned)(random_next(&seed) % BLK_SLOTS));
		if (!late)
			blk_kick(&blk);
		spin_ticks(random_next(&seed) % 512);
		unlock();
		if (late)
			blk_kick(&blk);
		done += take_some();
	}
	cli();
	print("reads: %llu requests, %llu interrupts of the disk, %llu of the timer\n", (unsigned long long)done,
	      (unsigned long long)disk_interrupts, (unsigned long long)timers);
	CHECK(disk_interrupts > 0 && timers > 0, "an interrupt never came");
}
