/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching. The one race is between a watcher that goes to sleep because all it
 * watches sleep, and one of those that gets work: each first says what it does, then looks
 * at the other, in one total order. So either the watcher sees it awake and sets its
 * timer, or it sees the watcher without one and kicks it. Who wakes and finds nothing to do
 * kicks nobody: two that watch each other would keep each other awake.
 *
 * A report goes to the log, which the boot CPU sends. When that one is stuck, or whoever
 * is stuck holds the log, it goes to the line by polling.
 */
#include "firmware/watchdog.h"

#include <stdarg.h>

#include "firmware/backtrace.h"
#include "firmware/hostlog.h"
#include "firmware/ipi.h"
#include "firmware/percpu.h"
#include "firmware/report.h"
#include "firmware/tsc.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/x86_asm.h"

#define LOOKS_PER_TIMEOUT 4u
#define TEXT_MAX 120
#define LINE_MAX 200
#define LOG_WAIT_US 1000u

void (*watchdog_notify)(void);

/* ---- who watches whom ---- */

/* Who watches CPU @cpu; CPUS_MAX: nobody, on a machine with one. */
static unsigned watcher_of(unsigned cpu)
{
	if (cpu_count == 1)
		return CPUS_MAX;
	return cpu == 0 ? 1 : 0;
}

static uint64_t timeout_ticks(void) { return ns_to_ticks(watchdog_timeout_ns(), host_clock.hz); }

static bool is_asleep(const struct percpu *p) { return __atomic_load_n(&p->heart.asleep, __ATOMIC_SEQ_CST); }

static bool has_work(const struct percpu *watcher)
{
	for (unsigned i = 0; i < cpu_count; i++)
		if (watcher_of(i) == watcher->id && !is_asleep(percpu_of(i)))
			return true;
	return false;
}

/* ---- reports ---- */

/* One for each watcher: a text that the control task has not taken yet. */
static struct {
	bool full;
	char text[TEXT_MAX];
} news[2];

static void post(const struct percpu *watcher, const char *text)
{
	if (__atomic_load_n(&news[watcher->id].full, __ATOMIC_ACQUIRE))
		return;
	format(news[watcher->id].text, TEXT_MAX, "%s", text);
	__atomic_store_n(&news[watcher->id].full, true, __ATOMIC_RELEASE);
	/* The stuck boot CPU may hold the locks that waking takes: it hears of it once it is back. */
	if (watcher->id == 0 && watchdog_notify)
		watchdog_notify();
}

bool watchdog_take(char *text, size_t size)
{
	for (unsigned i = 0; i < ARRAY_SIZE(news); i++) {
		if (!__atomic_load_n(&news[i].full, __ATOMIC_ACQUIRE))
			continue;
		format(text, size, "%s", news[i].text);
		__atomic_store_n(&news[i].full, false, __ATOMIC_RELEASE);
		return true;
	}
	return false;
}

/* A line of a report: into the log, or straight to the line. */
__attribute__((format(printf, 2, 3))) static void say(bool polled, const char *fmt, ...)
{
	char line[LINE_MAX];
	va_list ap;

	va_start(ap, fmt);
	format_v(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (polled)
		report_printf("*** %s\n", line);
	else
		log_error("%s", line);
}

static void say_where(bool polled, const struct nmi_record *r)
{
	char name[96];

	say(polled, "  at %016llx %s, rsp %016llx, rflags %08llx", (unsigned long long)r->rip,
	    backtrace_symbol(r->rip, name, sizeof(name)), (unsigned long long)r->rsp, (unsigned long long)r->rflags);
	for (unsigned i = 0; i < r->depth; i++)
		say(polled, "  from %016llx %s", (unsigned long long)r->trace[i],
		    backtrace_symbol(r->trace[i] - 1, name, sizeof(name)));
}

static void report_stuck(struct percpu *self, struct percpu *p, uint64_t now)
{
	bool polled = p->id == 0 || !hostlog_free_within(ns_to_ticks(LOG_WAIT_US * 1000ull, host_clock.hz));
	bool answered = ipi_ask_where(p->id);
	char text[TEXT_MAX];

	format(text, sizeof(text), "cpu %u is stuck: it has not passed its loop for %llu ms, running: %s", p->id,
	       (unsigned long long)mul_div(now - p->heart.watch.since, 1000, host_clock.hz),
	       !answered ? "it takes no NMI either" : p->nmi.context ? p->nmi.context : "boot");
	say(polled, "%s", text);
	if (answered)
		say_where(polled, &p->nmi);
	post(self, text);
}

static void look_at(struct percpu *self, struct percpu *p, uint64_t now)
{
	uint64_t beats = __atomic_load_n(&p->heart.beats, __ATOMIC_RELAXED);

	switch (watch_judge(&p->heart.watch, is_asleep(p), beats, now, timeout_ticks())) {
	case WATCH_STUCK:
		report_stuck(self, p, now);
		break;
	case WATCH_BACK:
		log_warn("cpu %u passes its loop again", p->id);
		if (watchdog_notify)
			watchdog_notify();
		break;
	case WATCH_FINE:
	default:
		break;
	}
}

/* ---- the loop's part ---- */

void watchdog_check(struct percpu *p, uint64_t now)
{
	bool watches = false;

	for (unsigned i = 0; i < cpu_count; i++) {
		if (watcher_of(i) != p->id)
			continue;
		watches = true;
		look_at(p, percpu_of(i), now);
	}
	p->heart.watch_at = watches ? now + timeout_ticks() / LOOKS_PER_TIMEOUT : WATCHDOG_NEVER;
}

static uint64_t next_look(void) { return host_clock.ticks() + timeout_ticks() / LOOKS_PER_TIMEOUT; }

static bool is_watcher(const struct percpu *p) { return p->id <= 1 && cpu_count > 1; }

static void set_watch(struct percpu *p)
{
	__atomic_store_n(&p->heart.unset, true, __ATOMIC_SEQ_CST);
	if (!has_work(p)) {
		p->heart.watch_at = WATCHDOG_NEVER;
		return;
	}
	__atomic_store_n(&p->heart.unset, false, __ATOMIC_SEQ_CST);
	if (p->heart.watch_at == WATCHDOG_NEVER)
		p->heart.watch_at = next_look();
}

void watchdog_sleep(struct percpu *p)
{
	if (is_watcher(p))
		set_watch(p);
	__atomic_store_n(&p->heart.asleep, true, __ATOMIC_SEQ_CST);
}

static __attribute__((noinline)) void watch_again(struct percpu *p)
{
	__atomic_store_n(&p->heart.unset, false, __ATOMIC_SEQ_CST);
	p->heart.watch_at = next_look();
}

void watchdog_wake(struct percpu *p)
{
	__atomic_store_n(&p->heart.asleep, false, __ATOMIC_SEQ_CST);
	if (p->heart.unset)
		watch_again(p);
}

void watchdog_work(struct percpu *p)
{
	unsigned watcher = watcher_of(p->id);

	if (watcher < cpu_count && __atomic_load_n(&percpu_of(watcher)->heart.unset, __ATOMIC_SEQ_CST))
		cpu_kick(watcher);
}

void watchdog_start(void)
{
	struct percpu *p = this_cpu();

	heart_beat(&p->heart); /* time counts from here, not from power-on */
	watchdog_check(p, host_clock.ticks());
	watchdog_wake(p);
	watchdog_work(p);
}
