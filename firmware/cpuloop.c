/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One turn after the other, with interrupts masked except inside a host task and
 * in HLT. While a vcpu runs no host timer is armed: its entries are bounded by
 * the engine. While a task runs, and in HLT, the local APIC's timer stands at the
 * earliest of the turn's end and the first host timer.
 *
 * Idle work is done in steps short enough that an interrupt never waits long,
 * and only as long as there is some: then the CPU sleeps without a tick.
 */
#include "firmware/cpuloop.h"

#include "firmware/apic.h"
#include "firmware/cpu.h"
#include "firmware/irq.h"
#include "firmware/percpu.h"
#include "firmware/trap.h"
#include "firmware/tsc.h"
#include "firmware/wallclock.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/x86_asm.h"

#define BOOT_CPU 0u
#define HOST_TIMERS_MAX 256u    /* a wake timer for each vcpu, and a few of our own */
#define IDLE_CLEAR_PAGES 4u     /* about 2,000 instructions */
#define SCHED_STORAGE_BYTES 4096u
#define TASK_SLICE_US 2000u     /* a turn of a host task while others wait, at most */

struct sched *host_sched;

static struct memmgr *memory;
static struct timer *timer_slots[HOST_TIMERS_MAX];
static struct timerq timers;
static uint64_t turn_end = TIMERQ_NEVER; /* host TSC at which the running task is told that its turn is over */
static const struct sched_entity *running;
static _Alignas(64) uint8_t sched_storage[SCHED_STORAGE_BYTES];

/* ---- timers ---- */

static void arm_timer(void)
{
	uint64_t deadline = MIN(timers.next, turn_end);

	if (deadline == TIMERQ_NEVER)
		host_timer_disarm();
	else
		host_timer_arm(deadline);
}

/* In the timer's interrupt; may come early (a one-shot timer holds no longer interval). */
static void timer_interrupt(void)
{
	uint64_t now = host_clock.ticks();

	timerq_run(&timers, now);
	if (now >= turn_end) {
		/* Once: a timer set to what is past would be pending at the next turn's start, and end that one too. */
		turn_end = TIMERQ_NEVER;
		this_cpu()->need_resched = true;
	}
	if (task_current() || !running)
		arm_timer();
}

/* A vcpu's entries look at the queue by themselves; the idle loop arms before it sleeps. */
static void timers_changed(void)
{
	if (task_current())
		arm_timer();
}

/* ---- what guest/ asks of the host ---- */

/* An NMI that was taken as an exit has blocked further ones: the handler's IRET ends that. */
static void take_nmi(void)
{
	__asm__ volatile("int $2" ::: "memory");
}

static void poll_interrupts(void)
{
	sti();
	/* One instruction after STI interrupts are still held. */
	__asm__ volatile("nop");
	cli();
}

/*
 * What a task does masked keeps a vcpu waiting: the longest section is measured, also in release builds, since a TSC
 * reading at either end costs little beside the calls in between.
 */
static uint64_t masked_since;
static struct host_masked longest_masked;

static unsigned long mask(void)
{
	unsigned long state = irq_save();

	if (state & RFLAGS_IF)
		masked_since = host_clock.ticks();
	return state;
}

static void unmask(unsigned long state)
{
	uint64_t ticks;

	if (state & RFLAGS_IF) {
		ticks = host_clock.ticks() - masked_since;
		if (ticks > longest_masked.ticks)
			longest_masked = (struct host_masked){ticks, (uint64_t)__builtin_return_address(0)};
	}
	irq_restore(state);
}

static void host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	struct cpuid_regs r = cpuid(leaf, subleaf);

	out[0] = r.eax;
	out[1] = r.ebx;
	out[2] = r.ecx;
	out[3] = r.edx;
}

struct host_ops host_ops = {
	.clock = &host_clock,
	.timers = &timers,
	.irq = irq_dispatch,
	.nmi = take_nmi,
	.poll = poll_interrupts,
	.timers_changed = timers_changed,
	.masked = &longest_masked,
	.mask = mask,
	.unmask = unmask,
	.random = hv_seed,
	.wall_clock = wallclock_seconds,
	.cpuid = host_cpuid,
};

/* ---- host tasks ---- */

static enum sched_end task_turn(struct sched_entity *e, uint64_t slice_end)
{
	struct host_task *t = container_of(e, struct host_task, entity);
	enum task_end end;

	turn_end = slice_end;
	if (sched_others_ready(host_sched, BOOT_CPU))
		turn_end = MIN(turn_end, host_clock.ticks() + mul_div(TASK_SLICE_US, host_clock.hz, 1000000));
	arm_timer();
	end = task_run(&t->task);
	turn_end = TIMERQ_NEVER;
	host_timer_disarm();
	ASSERT(end != TASK_ENDED);
	return end == TASK_BLOCKED ? SCHED_END_BLOCKED : SCHED_END_READY;
}

void host_task_wake(struct host_task *t)
{
	uint64_t flags = irq_save();

	task_wake(&t->task);
	if (sched_wake(host_sched, &t->entity, host_clock.ticks()))
		this_cpu()->need_resched = true;
	irq_restore(flags);
}

enum status host_task_start(struct host_task *t, const char *name, void (*fn)(void *arg), void *arg,
			    unsigned stack_pages)
{
	enum status st = task_create(&t->task, name, fn, arg, stack_pages);

	if (st != ST_OK)
		return st;
	t->entity.run = task_turn;
	sched_add(host_sched, &t->entity, name, BOOT_CPU, host_clock.ticks());
	host_task_wake(t);
	return ST_OK;
}

/* ---- the loop ---- */

const char *cpuloop_context(void) { return running ? running->name : "idle"; }

/* True while there is idle work left. */
static bool idle_work(void)
{
	bool more = memmgr_clear_step(memory, IDLE_CLEAR_PAGES) == ST_AGAIN;

	poll_interrupts();
	return more;
}

static void idle(void)
{
	struct percpu *p = this_cpu();

	memmgr_drain_leaving(memory);
	while (!p->need_resched && host_clock.ticks() < timers.next && idle_work())
		;
	if (p->need_resched)
		return;
	arm_timer();
	sti_hlt_cli();
}

enum status cpuloop_init(struct memmgr *mm, void (*notify)(void), struct error *err)
{
	ASSERT(sched_bytes(1) <= sizeof(sched_storage));
	memory = mm;
	host_ops.notify = notify;
	host_ops.need_resched = &this_cpu()->need_resched;
	timerq_init(&timers, timer_slots, HOST_TIMERS_MAX);
	host_sched = sched_init(sched_storage, 1, ns_to_ticks(SCHED_SLICE_NS, host_clock.hz));
	trap_context = cpuloop_context;
	return host_timer_init(timer_interrupt, err);
}

void cpu_loop(void)
{
	struct percpu *p = this_cpu();

	for (;;) {
		struct sched_entity *e;
		enum sched_end end;
		uint64_t now = host_clock.ticks(), slice_end;

		trap_report_nmi();
		p->need_resched = false;
		timerq_run(&timers, now);
		e = sched_pick(host_sched, BOOT_CPU, now, &slice_end);
		if (!e) {
			idle();
			continue;
		}
		running = e;
		end = e->run(e, slice_end);
		running = NULL;
		sched_charge(host_sched, BOOT_CPU, host_clock.ticks(), end);
	}
}
