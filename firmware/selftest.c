/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only the machine can show: that the fix-up table works, the page tables
 * hold their rules, the timer fires when it says, tasks are preempted and keep
 * their registers and vector state. Each check prints one line; a failure panics.
 */
#include "firmware/selftest.h"

#include <string.h>

#include "firmware/apic.h"
#include "firmware/cmdline.h"
#include "firmware/cpuloop.h"
#include "firmware/irq.h"
#include "firmware/paging.h"
#include "firmware/percpu.h"
#include "firmware/stack.h"
#include "firmware/text.h"
#include "firmware/task.h"
#include "firmware/trap.h"
#include "firmware/tsc.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/log.h"
#include "lib/x86_asm.h"

#define ABSENT_MSR 0x3fffffffu /* no processor has it; some emulators read it as 0 all the same */
#define TIMER_US 2000u
#define TIMER_LATE_MAX_US 100000u /* an emulator may be slow */
#define SLICE_US 500u
#define TASK_STACK_PAGES 4
#define TASK_ROUNDS 5
#define TASK_ROUNDS_MAX 1000
#define MXCSR_ROUND_DOWN BIT(13)
#define SPOILED_BASE 0x123000u  /* of a memory range */
#define SPOILED_TSC 1000000u
#define DIRECT_MAP_HOLE (DIRECT_MAP_BASE + DIRECT_MAP_BYTES - PAGE_SIZE)

static unsigned checks;

static void passed(const char *what)
{
	checks++;
	log_info("selftest: %s: ok", what);
}

static void check_fix_up(void)
{
	uint64_t value = 1, xcr0 = xgetbv(0);

	/* Bit 0 of XCR0 must be set: SDM 2C XSETBV. */
	ASSERT(!xsetbv_safe(0, 0) && xgetbv(0) == xcr0);
	ASSERT(xsetbv_safe(0, xcr0));
	ASSERT(rdmsr_safe(MSR_IA32_EFER, &value) && (value & EFER_NXE));
	value = 1;
	if (!rdmsr_safe(ABSENT_MSR, &value))
		ASSERT(value == 1 && !wrmsr_safe(ABSENT_MSR, 0));
	passed("faults with a fix-up are survived");
}

static void check_page_tables(void)
{
	struct error err;
	unsigned leaves;

	if (!paging_selfcheck(&err, &leaves))
		panic("%s", err.text);
	log_info("selftest: page tables: %u leaves keep the rules", leaves);
	checks++;
}

/* ---- timer ---- */

static uint64_t wanted_at;
static volatile uint64_t fired_at;

/* A timer that counts by itself may be early by its calibration: then it is set again. */
static void note_time(void)
{
	uint64_t now = rdtsc();

	if (now < wanted_at)
		host_timer_arm(wanted_at);
	else
		fired_at = now;
}

/* The timer calls what host_timer_init() was given; tests share one and set this. */
static void (*on_timer)(void);

static void timer_expired(void)
{
	on_timer();
}

static void wait_for_timer(uint64_t limit)
{
	while (!fired_at && rdtsc() < limit)
		sti_hlt_cli();
}

static void check_timer(void)
{
	uint64_t us = host_clock.hz / 1000000;

	on_timer = note_time;
	fired_at = 0;
	wanted_at = rdtsc() + TIMER_US * us;
	host_timer_arm(wanted_at);
	wait_for_timer(wanted_at + TIMER_LATE_MAX_US * us);
	ASSERT(fired_at != 0);
	log_info("selftest: timer: %llu ticks late", (unsigned long long)(fired_at - wanted_at));
	checks++;
}

/* ---- tasks ---- */

struct worker {
	struct task task;
	uint32_t mxcsr;       /* this task's own */
	volatile uint64_t turns;
	volatile bool stop;
};

static uint32_t read_mxcsr(void)
{
	uint32_t v;

	__asm__ volatile("stmxcsr %0" : "=m"(v));
	return v;
}

/* Never yields: only the timer takes the CPU from it. */
static void work(void *arg)
{
	struct worker *w = arg;

	__asm__ volatile("ldmxcsr %0" : : "m"(w->mxcsr));
	while (!w->stop) {
		w->turns++;
		ASSERT(read_mxcsr() == w->mxcsr);
	}
}

static void end_slice(void)
{
	this_cpu()->host.need_resched = true;
}

/* As the CPU loop does: what was asked for before this turn does not end it. */
static enum task_end run_turn(struct task *t)
{
	this_cpu()->host.need_resched = false;
	return task_run(t);
}

static enum task_end run_slice(struct worker *w)
{
	host_timer_arm(rdtsc() + SLICE_US * (host_clock.hz / 1000000));
	return run_turn(&w->task);
}

static void check_tasks(void)
{
	static struct worker a = {.mxcsr = MXCSR_DEFAULT}, b = {.mxcsr = MXCSR_DEFAULT | MXCSR_ROUND_DOWN};

	on_timer = end_slice;
	ASSERT(task_create(&a.task, "selftest a", work, &a, TASK_STACK_PAGES) == ST_OK);
	ASSERT(task_create(&b.task, "selftest b", work, &b, TASK_STACK_PAGES) == ST_OK);
	/* In an emulator whose time is its host's, a slice can pass without one instruction. */
	for (int i = 0; i < TASK_ROUNDS || (i < TASK_ROUNDS_MAX && (!a.turns || !b.turns)); i++) {
		ASSERT(run_slice(&a) == TASK_PREEMPTED);
		ASSERT(run_slice(&b) == TASK_PREEMPTED);
	}
	ASSERT(a.turns && b.turns);
	a.stop = b.stop = true;
	ASSERT(run_slice(&a) == TASK_ENDED && run_slice(&b) == TASK_ENDED);
	host_timer_disarm();
	task_destroy(&a.task);
	task_destroy(&b.task);
	passed("tasks are preempted and keep their state");
}

static void note_and_yield(void *arg)
{
	unsigned *steps = arg;

	++*steps;
	task_yield();
	++*steps;
	task_block();
	++*steps;
}

static void check_voluntary(void)
{
	unsigned steps = 0;
	struct task t = {.interrupted = NULL};

	ASSERT(task_create(&t, "selftest c", note_and_yield, &steps, TASK_STACK_PAGES) == ST_OK);
	ASSERT(run_turn(&t) == TASK_YIELDED && steps == 1);
	ASSERT(run_turn(&t) == TASK_BLOCKED && steps == 2);
	ASSERT(run_turn(&t) == TASK_ENDED && steps == 3);
	task_destroy(&t);
	passed("tasks yield and block");
}

/* Gives way between its look and its block, as if preempted there. */
static void look_and_block(void *arg)
{
	unsigned *looks = arg;

	++*looks;
	task_yield();
	task_block();
	++*looks;
	task_block();
	++*looks;
}

static void check_wake(void)
{
	unsigned looks = 0;
	struct task t = {.interrupted = NULL};

	ASSERT(task_create(&t, "selftest d", look_and_block, &looks, TASK_STACK_PAGES) == ST_OK);
	ASSERT(run_turn(&t) == TASK_YIELDED && looks == 1);
	task_wake(&t);
	ASSERT(run_turn(&t) == TASK_BLOCKED && looks == 2);
	task_wake(&t);
	ASSERT(run_turn(&t) == TASK_ENDED && looks == 3);
	task_destroy(&t);
	passed("no wake is lost, nor counts twice");
}

static void run_all(void)
{
	struct error err;

	check_fix_up();
	check_page_tables();
	if (host_timer_init(timer_expired, &err) != ST_OK)
		panic("%s", err.text);
	check_timer();
	check_tasks();
	check_voluntary();
	check_wake();
	check_page_tables(); /* with the tasks' stacks gone again */
	log_info("selftest: %u checks passed", checks);
}

/* ---- faults on demand: functions of their own, for the backtrace to name ---- */

#define NAMED __attribute__((noinline)) static

/* Touches every page of its stack on the way down; not a tail call. */
NAMED unsigned overflow_stack(unsigned depth)
{
	volatile uint8_t page[PAGE_SIZE / 2];

	page[0] = (uint8_t)depth;
	return depth == UINT32_MAX ? 0 : overflow_stack(depth + 1) + page[0];
}

/* A fault whose stack cannot be pushed to is a double fault. */
NAMED void double_fault(void)
{
	this_cpu()->tss.ist[IST_FAULT - 1] = DIRECT_MAP_HOLE;
	__asm__ volatile("ud2");
}

NAMED void write_rodata(void)
{
	extern const uint8_t rodata_start[];

	*(volatile uint8_t *)(uint64_t)rodata_start = 0;
}

/* Masked, for good: only an NMI gets through. */
NAMED void hang(void)
{
	cli();
	for (;;)
		cpu_pause();
}

NAMED void run_fault(const char *kind)
{
	if (strcmp(kind, "ud") == 0)
		__asm__ volatile("ud2");
	else if (strcmp(kind, "pf") == 0)
		*(volatile uint8_t *)DIRECT_MAP_HOLE = 0;
	else if (strcmp(kind, "wx") == 0)
		write_rodata();
	else if (strcmp(kind, "stack") == 0)
		log_info("%u", overflow_stack(0));
	else if (strcmp(kind, "df") == 0)
		double_fault();
	else if (strcmp(kind, "hang") == 0)
		hang();
	else if (strcmp(kind, "panic") == 0)
		panic("asked for by the boot argument fault=panic");
	else if (strcmp(kind, "nmi") == 0 || strcmp(kind, "stuck") == 0)
		apic_send_nmi(this_cpu()->apic_id);
	else
		log_error("fault=%s: unknown; known are ud pf wx stack df nmi stuck hang mtrr skew panic", kind);
	if (strcmp(kind, "stuck") == 0)
		apic_send_nmi(this_cpu()->apic_id);
	trap_report_nmi();
}

void selftest_run(const char *args)
{
	char kind[16];

#ifdef CORBEL_DEBUG
	check_page_tables();
#endif
	if (cmdline_get(args, "selftest", NULL, 0))
		run_all();
	if (cmdline_get(args, "fault", kind, sizeof(kind)) && !cmdline_get(args, "fault-cpu", NULL, 0))
		run_fault(kind);
}

/* The fault for this CPU, if there is one. */
static bool own_fault(const char *args, char *kind, size_t size)
{
	uint64_t cpu;
	bool named = cmdline_number(args, "fault-cpu", &cpu) && cpu == this_cpu()->id;

	return (named || cmdline_is(args, "fault-cpu", "all")) && cmdline_get(args, "fault", kind, size);
}

void selftest_spoil_cpu(const char *args)
{
	uint64_t registers = rdmsr(MSR_IA32_MTRRCAP) & MTRRCAP_VCNT_MASK;
	char kind[16];

	if (!own_fault(args, kind, sizeof(kind)))
		return;
	/* The last range, which stays invalid. */
	if (strcmp(kind, "mtrr") == 0)
		wrmsr(MSR_IA32_MTRR_PHYSBASE(registers - 1), SPOILED_BASE);
	else if (strcmp(kind, "skew") == 0)
		wrmsr(MSR_IA32_TSC, rdtsc() + SPOILED_TSC);
}

static bool spoils(const char *kind) { return strcmp(kind, "mtrr") == 0 || strcmp(kind, "skew") == 0; }

/* ---- a fault while the machine is at work ---- */

static struct host_alarm late;
static char late_kind[16];

static void fault_late(struct timer *t, uint64_t now)
{
	(void)t;
	(void)now;
	run_fault(late_kind);
}

/* At once, or with fault-after=MS in a timer's interrupt then; that is for one CPU alone. */
static void fault_soon(const char *args, const char *kind)
{
	uint64_t ms;

	if (!cmdline_number(args, "fault-after", &ms)) {
		run_fault(kind);
		return;
	}
	text_copy(late_kind, sizeof(late_kind), kind, sizeof(late_kind));
	host_alarm_init(&late, fault_late);
	host_alarm_set(&host_ops, &late, host_clock.ticks() + ns_to_ticks(ms * 1000000, host_clock.hz));
}

void selftest_run_cpu(const char *args)
{
	char kind[16];

	if (cmdline_get(args, "selftest", NULL, 0))
		check_page_tables();
	if (own_fault(args, kind, sizeof(kind)) && !spoils(kind))
		fault_soon(args, kind);
}
