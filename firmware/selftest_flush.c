/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What taking a page from a guest costs while its vcpus run (boot argument selftest=flush), for `make bench
 * BENCH=flush`: a host task takes one page of the first VM over and over, and polls until every CPU that could
 * hold the translation has flushed. The least of all rounds is told, and how many exits the guest had for them.
 * That the guest's CPUs see the change, and in one order, is the guest's to check (tests/guests/flush.c).
 */
#include "firmware/selftest.h"

#include "firmware/cmdline.h"
#include "firmware/cpuloop.h"
#include "firmware/tsc.h"
#include "guest/machine.h"
#include "lib/assert.h"
#include "lib/log.h"
#include "lib/x86_asm.h"

#define ROUNDS 64u
#define BETWEEN_US 2000u
#define SETTLE_US 300000u     /* from its start until the guest is at work on all its CPUs */
#define PAGE_AT 0x300000ull   /* behind every test guest's image */
#define STACK_PAGES 4u

static struct host_task task;
static struct host_alarm alarm;

static void expired(struct timer *t, uint64_t now)
{
	(void)t;
	(void)now;
	host_task_wake(&task);
	host_alarm_done(&alarm);
}

static void sleep_us(uint64_t us)
{
	uint64_t until = rdtsc() + ns_to_ticks(us * 1000, host_clock.hz);

	while (rdtsc() < until) {
		unsigned long state = host_ops.mask();

		host_alarm_set(&host_ops, &alarm, until);
		host_ops.unmask(state);
		task_block();
	}
}

static uint64_t exits(const struct vm *vm, enum exit_kind kind)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < vm->vcpu_count; i++)
		sum += vm->vcpus[i]->exits[kind];
	return sum;
}

struct flush_figures {
	uint64_t taken, done, polls; /* ticks for the call, until the frame is free, looks until then; the least */
};

/* False: the guest had no page there. */
static bool take_once(struct machine *m, struct vm *vm, struct flush_figures *least)
{
	uint64_t begin, taken, polls = 0, left;
	unsigned long state = host_ops.mask();
	enum status st;

	begin = rdtsc();
	st = gpmap_remove(vm->memory, gpa_to_gfn(gpa(PAGE_AT)));
	taken = rdtsc() - begin;
	if (st == ST_OK)
		do {
			polls++;
			left = memmgr_drain_leaving(m->mm);
			host_ops.unmask(state);
			state = host_ops.mask();
		} while (left);
	host_ops.unmask(state);
	least->taken = MIN(least->taken, taken);
	least->done = MIN(least->done, rdtsc() - begin);
	least->polls = MIN(least->polls, polls);
	return st == ST_OK;
}

static void flush_rounds(void *arg)
{
	struct machine *m = arg;
	struct flush_figures least = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
	struct vm *vm;
	uint64_t irqs, faults;
	unsigned taken = 0;

	do
		sleep_us(SETTLE_US);
	while (!(vm = vm_next(m, NULL)) || vm->state != VM_RUNNING);
	sleep_us(SETTLE_US);
	irqs = exits(vm, EXIT_IRQ);
	faults = exits(vm, EXIT_FAULT);
	for (unsigned i = 0; i < ROUNDS; i++) {
		taken += take_once(m, vm, &least);
		sleep_us(BETWEEN_US);
	}
	log_info("selftest: flush: %u of %u pages taken, in %llu ticks, free after %llu and %llu looks, %llu exits by "
		 "interrupt, %llu by a fault",
		 taken, ROUNDS, (unsigned long long)least.taken, (unsigned long long)least.done,
		 (unsigned long long)least.polls, (unsigned long long)(exits(vm, EXIT_IRQ) - irqs),
		 (unsigned long long)(exits(vm, EXIT_FAULT) - faults));
	for (;;)
		task_block();
}

void selftest_start_flush(const char *args, struct machine *m)
{
	if (!cmdline_is(args, "selftest", "flush"))
		return;
	host_alarm_init(&alarm, expired);
	if (host_task_start(&task, "flush", flush_rounds, m, STACK_PAGES) != ST_OK)
		panic("no memory for the self-test's stack");
}
