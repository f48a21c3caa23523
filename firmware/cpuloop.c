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
#include "firmware/ipi.h"
#include "firmware/irq.h"
#include "firmware/percpu.h"
#include "firmware/smp.h"
#include "firmware/trap.h"
#include "firmware/tsc.h"
#include "firmware/wallclock.h"
#include "firmware/watchdog.h"
#include "guest/machine.h"
#include "guest/storage.h"
#include "guest/trace.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/x86_asm.h"

#define BOOT_CPU 0u
#define IDLE_CLEAR_PAGES 4u     /* about 2,000 instructions */
#define ENTRY_MAX_US 10000u
/*
 * What the host's tasks are due. Beside one vcpu that always runs they have two parts in seven, so that a vcpu waits no
 * longer for them than a slice or two, and mostly for one turn; beside many vcpus a fifth of a CPU is theirs, or the
 * operator would wait.
 */
static const struct rls system_numbers = {
	.reservation = SCHED_ONE_CPU / 5, .limit = RLS_UNLIMITED, .shares = RLS_SHARES_DEFAULT * 2 / 5};
/* Every vcpu, I/O worker and storage domain, and host tasks. */
#define ENTITIES_MAX (VMS_MAX * (VM_VCPUS_MAX + 1) + STORAGE_DOMAINS_MAX + 32u)
#define HOST_TIMERS_MAX ENTITIES_MAX /* of a CPU: all vcpus may sleep on one, each with an alarm; and a few of our own */
#define TASK_SLICE_US 2000u     /* what a host task asks for at a time, and its turns in a row, at most */

struct sched *host_sched;

static struct memmgr *memory;
static struct sched_pool system_pool;

/* ---- timers ---- */

/* At the first of its timers, the turn's end and @limit. */
static void arm_timer_until(const struct percpu *p, uint64_t limit)
{
	uint64_t deadline = MIN(MIN(host_next_timer(&p->host), p->turn_end), limit);

	if (deadline == TIMERQ_NEVER)
		host_timer_disarm();
	else
		host_timer_arm(deadline);
}

static void arm_timer(const struct percpu *p) { arm_timer_until(p, TIMERQ_NEVER); }

/*
 * In the timer's interrupt, which may come early (a one-shot timer holds no longer interval). But who slept goes on
 * with its loop, which looks at the timers first of all.
 */
static __attribute__((noinline)) void run_timers(struct percpu *p)
{
	uint64_t now = host_clock.ticks();

	host_run_timers(&p->host, now);
	if (now >= p->turn_end) {
		/* Once: a timer set to what is past would be pending at the next turn's start, and end that one too. */
		p->turn_end = TIMERQ_NEVER;
		p->host.need_resched = true;
	}
	if (p->task)
		arm_timer(p);
}

static void timer_interrupt(void)
{
	struct percpu *p = this_cpu();

	if (p->task || p->running)
		run_timers(p);
}

/* A vcpu's entries look at the queue by themselves; the idle loop arms before it sleeps. */
static void timers_changed(void)
{
	if (task_current())
		arm_timer(this_cpu());
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

static struct host_cpu *host_this_cpu(void)
{
	return &this_cpu()->host;
}

static struct host_cpu *host_cpu_at(unsigned i)
{
	return i < cpu_count ? &percpu_of(i)->host : NULL;
}

static void host_cpu_place(unsigned i, struct host_place *out)
{
	const struct cpu_place *place = &percpu_of(i)->place;

	*out = (struct host_place){place->apic_id, smp_core_of()[i], smp_llc_of()[i], (uint16_t)place->package};
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
	.this_cpu = host_this_cpu,
	.cpu_at = host_cpu_at,
	.cpu_place = host_cpu_place,
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

static uint64_t task_slice(void) { return mul_div(TASK_SLICE_US, host_clock.hz, 1000000); }

/* Turns that follow each other without another's in between count as one. */
static void note_task_turn(struct percpu *p, uint64_t ran)
{
	p->task_ran += ran;
	if (p->task_ran >= task_slice())
		p->task_ran = 0;
}

static enum sched_end task_turn(struct sched_entity *e, uint64_t slice_end)
{
	struct host_task *t = container_of(e, struct host_task, entity);
	struct percpu *p = this_cpu();
	struct cputrace *trace = trace_of(&p->host);
	uint64_t begin = host_clock.ticks(), now;
	enum task_end end;

	/*
	 * As long as was picked, from here on. Also when nobody waits: what a task does about being interrupted is due
	 * then (struct task).
	 */
	p->turn_end = begin + MIN(slice_end - e->since, task_slice() - p->task_ran);
	arm_timer(p);
	end = task_run(&t->task);
	p->turn_end = TIMERQ_NEVER;
	host_timer_disarm();
	ASSERT(end != TASK_ENDED);
	now = host_clock.ticks();
	note_task_turn(p, now - begin);
	if (trace)
		trace_turn(trace, 0, 0, begin, now, end == TASK_BLOCKED ? SCHED_END_BLOCKED : SCHED_END_READY);
	return end == TASK_BLOCKED ? SCHED_END_BLOCKED : SCHED_END_READY;
}

void host_task_wake(struct host_task *t)
{
	uint64_t flags = irq_save();

	task_wake(&t->task);
	sched_wake(host_sched, &t->entity, host_clock.ticks());
	irq_restore(flags);
}

enum status host_task_start(struct host_task *t, const char *name, void (*fn)(void *arg), void *arg,
			    unsigned stack_pages)
{
	enum status st = task_create(&t->task, name, fn, arg, stack_pages);
	struct sched_attr attr = {.request = task_slice()};

	if (st != ST_OK)
		return st;
	t->entity.run = task_turn;
	/* Tasks stay on the CPU that the drivers' interrupts go to. */
	cpuset_add(&attr.affinity, BOOT_CPU);
	st = sched_add(host_sched, &t->entity, &system_pool, name, &attr, host_clock.ticks(), NULL);
	if (st == ST_OK)
		host_task_wake(t);
	return st;
}

/* ---- the loop ---- */

const char *cpuloop_context(void)
{
	const struct sched_entity *e = this_cpu()->running;

	return e ? e->name : "idle";
}

/* True while there is idle work left. */
static bool idle_work(struct percpu *p)
{
	bool more = memmgr_clear_step(memory, IDLE_CLEAR_PAGES) == ST_AGAIN;

	heart_beat(&p->heart);
	poll_interrupts();
	return more;
}

/* Until host tick @end at the latest. */
static void idle(uint64_t end)
{
	struct percpu *p = this_cpu();

	/* Every idle CPU frees what has left and clears ahead, each a block of its own. */
	memmgr_drain_leaving(memory);
	do {
		if (p->host.need_resched || host_clock.ticks() >= MIN(host_next_timer(&p->host), end))
			return;
	} while (idle_work(p));
	/* Interrupts were open in between. */
	if (p->host.need_resched)
		return;
	watchdog_sleep(p);
	p->turn_end = end;
	arm_timer_until(p, p->heart.watch_at); /* an interrupt before that leads here again */
	sti_hlt_cli();
	p->turn_end = TIMERQ_NEVER;
	watchdog_wake(p);
}

/* A CPU looks at the flag by itself before it enters a guest, and before it sleeps. */
static void kick(void *ctx, unsigned cpu)
{
	(void)ctx;
	percpu_of(cpu)->host.need_resched = true;
	cpu_kick(cpu);
}

/*
 * After a pick: what has been seen by it must not end the turn that begins. A locked access, since who kicks does the
 * reverse: the scheduler notes it, then the flag is set.
 */
static void forget_kicks(struct percpu *p)
{
	(void)__atomic_exchange_n(&p->host.need_resched, false, __ATOMIC_SEQ_CST);
	if (sched_kicked(host_sched, p->id))
		p->host.need_resched = true;
}

static void *take_memory(struct memmgr *mm, uint64_t bytes)
{
	unsigned order = 0;
	hfn_t frames;

	while (bytes > PAGE_SIZE << order)
		order++;
	return order <= MEMMGR_MAX_ORDER && memmgr_alloc(mm, order, &frames) == ST_OK ? memmgr_va(mm, frames) : NULL;
}

enum status cpuloop_init(struct memmgr *mm, void (*notify)(void), struct error *err)
{
	const struct sched_config cfg = {
		.cpus = cpu_count,
		.entities_max = ENTITIES_MAX,
		.slice = ns_to_ticks(SCHED_SLICE_NS, host_clock.hz),
		.core_of = smp_core_of(),
		.llc_of = smp_llc_of(),
		.kick = kick,
	};

	struct timer **slots = take_memory(mm, sizeof(*slots) * HOST_TIMERS_MAX * cpu_count);
	void *storage = take_memory(mm, sched_bytes(cfg.cpus, cfg.entities_max));
	enum status st;

	if (!slots || !storage)
		return fail(err, ST_NO_MEMORY, "no memory for the run queues of %u CPUs", cpu_count);
	memory = mm;
	host_ops.notify = notify;
	/* Who waits for another CPU's guest waits no longer than this where its interrupts are hidden (host_ops.poll). */
	host_ops.entry_max = cpu_count > 1 ? mul_div(ENTRY_MAX_US, host_clock.hz, 1000000) : 0;
	for (unsigned i = 0; i < cpu_count; i++) {
		host_cpu_init(&percpu_of(i)->host, i, slots + i * HOST_TIMERS_MAX, HOST_TIMERS_MAX);
		percpu_of(i)->turn_end = TIMERQ_NEVER;
	}
	host_sched = sched_init(storage, &cfg);
	st = sched_pool_add(host_sched, &system_pool, NULL, "system", &system_numbers, err);
	if (st != ST_OK)
		return st;
	trap_context = cpuloop_context;
	return host_timer_init(timer_interrupt, err);
}

/*
 * What an entity left in the CPU is taken out when another one comes, or when somebody waits for it. While the CPU is
 * idle it stays: whoever ran last here is the likeliest to run next.
 */
static void put_last(struct percpu *p, const struct sched_entity *next)
{
	struct sched_entity *last = p->last;

	if (!last || last == next || (!next && !__atomic_load_n(&last->release_due, __ATOMIC_RELAXED)))
		return;
	if (last->put)
		last->put(last);
	p->last = NULL;
	sched_release(host_sched, p->id, last);
}

struct sched_pool *cpuloop_system_pool(void)
{
	return &system_pool;
}

void cpu_loop(void)
{
	struct percpu *p = this_cpu();

	for (;;) {
		struct sched_entity *e;
		enum sched_end end;
		uint64_t now = host_clock.ticks(), slice_end;

		trap_report_nmi();
		heart_beat(&p->heart);
		if (now >= p->heart.watch_at)
			watchdog_check(p, now);
		host_run_timers(&p->host, now);
		e = sched_pick(host_sched, p->id, now, &slice_end);
		forget_kicks(p);
		put_last(p, e);
		if (!e) {
			p->task_ran = 0;
			idle(slice_end);
			continue;
		}
		watchdog_work(p);
		if (p->last != e)
			p->task_ran = 0;
		p->last = e;
		p->running = e;
		end = e->run(e, slice_end);
		p->running = NULL;
		sched_charge(host_sched, p->id, host_clock.ticks(), end);
	}
}
