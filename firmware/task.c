/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two contexts a CPU: the CPU loop on its own stack, and at most one task. All
 * switches go between these two, by one function that saves the callee-saved
 * registers on the stack that is left (switch.S). A preempted task is left from
 * inside its interrupt: the rest of its registers lie in the trap frame there.
 */
#include "firmware/task.h"

#include "firmware/fpu.h"
#include "firmware/percpu.h"
#include "firmware/stack.h"
#include "firmware/text.h"
#include "firmware/tsc.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/x86_asm.h"

#define FPU_ALIGN 64u
#define SAVED_REGISTERS 6u /* switch.S */

/* Saves the present context, its stack pointer in *@save, and goes on at @load. switch.S */
void task_switch_stack(uint64_t *save, uint64_t load);

/* The first thing on a new stack, entered by the return of task_switch_stack(). */
__attribute__((noreturn)) static void task_start(void)
{
	struct task *t = this_cpu()->task;

	sti();
	t->fn(t->arg);
	cli();
	t->end = TASK_ENDED;
	task_switch_stack(&t->rsp, this_cpu()->loop_rsp);
	panic("task '%s' was run after its end", t->name);
}

enum status task_create(struct task *t, const char *name, void (*fn)(void *arg), void *arg, unsigned stack_pages)
{
	enum status st = stack_create(name, stack_pages, &t->stack_top);
	uint64_t *sp;

	if (st != ST_OK)
		return st;
	text_copy(t->name, sizeof(t->name), name, TASK_NAME_MAX);
	t->fn = fn;
	t->arg = arg;
	t->woken = false;
	t->fpu = (struct xsave_area *)align_down(t->stack_top - fpu_area_bytes(), FPU_ALIGN);
	fpu_area_init(t->fpu);
	/*
	 * As if task_start had been called from nowhere (a return address of 0 ends
	 * backtraces, and keeps RSP + 8 a multiple of 16 at its first instruction).
	 */
	sp = (uint64_t *)t->fpu;
	*--sp = 0;
	*--sp = (uint64_t)task_start;
	for (unsigned i = 0; i < SAVED_REGISTERS; i++)
		*--sp = 0;
	t->rsp = (uint64_t)sp;
	return ST_OK;
}

void task_destroy(struct task *t)
{
	ASSERT(this_cpu()->task != t);
	stack_destroy(t->stack_top);
	t->stack_top = 0;
}

enum task_end task_run(struct task *t)
{
	struct percpu *p = this_cpu();

	ASSERT(!p->task && !(read_rflags() & RFLAGS_IF));
	fpu_switch(t->fpu);
	p->task = t;
	task_switch_stack(&p->loop_rsp, t->rsp);
	p->task = NULL;
	fpu_switch(NULL);
	return t->end;
}

struct task *task_current(void)
{
	return this_cpu()->task;
}

/* Back to the CPU loop; returns when the loop runs the task again. Interrupts masked. */
static void leave(enum task_end why)
{
	struct percpu *p = this_cpu();
	struct task *t = p->task;

	ASSERT(t && p->preempt_held == 0);
	t->end = why;
	task_switch_stack(&t->rsp, p->loop_rsp);
}

void task_block(void)
{
	uint64_t flags = irq_save();
	struct task *t = this_cpu()->task;

	if (!t->woken)
		leave(TASK_BLOCKED);
	t->woken = false;
	irq_restore(flags);
}

void task_wake(struct task *t)
{
	t->woken = true;
}

void task_yield(void)
{
	uint64_t flags = irq_save();

	leave(TASK_YIELDED);
	irq_restore(flags);
}

void task_preempt_point(void)
{
	struct percpu *p = this_cpu();

	if (p->task && p->host.need_resched && p->preempt_held == 0)
		leave(TASK_PREEMPTED);
}

static __attribute__((noinline)) void end_in_task(const struct percpu *p, struct task *t)
{
	uint64_t before = host_clock.ticks();

	task_preempt_point();
	if (t->interrupted && p->preempt_held == 0)
		t->interrupted(host_clock.ticks() - before);
}

void task_interrupt_end(void)
{
	struct percpu *p = this_cpu();

	if (p->task)
		end_in_task(p, p->task);
}

void task_preempt_disable(void)
{
	uint64_t flags = irq_save();

	this_cpu()->preempt_held++;
	irq_restore(flags);
}

void task_preempt_enable(void)
{
	uint64_t flags = irq_save();

	ASSERT(this_cpu()->preempt_held > 0);
	this_cpu()->preempt_held--;
	task_preempt_point();
	irq_restore(flags);
}
