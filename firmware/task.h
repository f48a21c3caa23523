/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host tasks: C functions with a guarded stack of their own that run with
 * interrupts enabled (the control plane; later TCP/IP, page scanning). The CPU
 * loop gives one the CPU with task_run(), which returns when the task blocked,
 * yielded, ended or was preempted; who runs next is the scheduler's business, not
 * this file's. A task may use vector instructions.
 */
#ifndef CORBEL_FIRMWARE_TASK_H
#define CORBEL_FIRMWARE_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/status.h"

#define TASK_NAME_MAX 24

/* Why task_run() returned. */
enum task_end {
	TASK_BLOCKED,   /* wants to be woken */
	TASK_YIELDED,   /* can go on at once */
	TASK_PREEMPTED, /* need_resched was set; can go on */
	TASK_ENDED,     /* its function returned: never run it again */
};

struct xsave_area;

/* Private but for the name and the hook, which is set before task_create(); storage is the creator's. */
struct task {
	char name[TASK_NAME_MAX];
	uint64_t rsp, stack_top;
	void (*fn)(void *arg);
	void *arg;
	struct xsave_area *fpu; /* at the top of the stack */
	enum task_end end;
	bool woken; /* since it last looked for something to do */
	/*
	 * Called at the end of each interrupt that came while the task ran, on its stack, masked; @away: ticks for
	 * which others had the CPU meanwhile. It may leave the task's work by longjmp, once it has enabled interrupts.
	 * NULL: not.
	 */
	void (*interrupted)(uint64_t away);
};

/*
 * Prepares @t to run @fn(@arg) on a new stack of @stack_pages pages, less what
 * the vector state takes (under 3 KiB). Statuses of stack_create().
 */
enum status task_create(struct task *t, const char *name, void (*fn)(void *arg), void *arg,
			unsigned stack_pages) MUST_CHECK;

/* Frees the stack of a task that is not running. */
void task_destroy(struct task *t);

/*
 * Runs @t from the CPU loop, interrupts masked before and after. The vector registers are the task's meanwhile and
 * nobody's afterwards.
 */
enum task_end task_run(struct task *t);

/* The running task, NULL in the CPU loop. */
struct task *task_current(void);

/*
 * From within a task: waits for the next task_wake(). One that has come since the last
 * task_block() returned ends it at once, so none is lost between the task's look for
 * something to do and this call, not even when the task was preempted there.
 */
void task_block(void);
/* For whoever makes the scheduler run the task again. Interrupts masked. */
void task_wake(struct task *t);
void task_yield(void);

/* Holds preemption off for a bounded piece of work; nests. Interrupts stay enabled. */
void task_preempt_disable(void);
void task_preempt_enable(void);

/* Gives the CPU back when it is wanted. Masked. */
void task_preempt_point(void);
/* Called at the end of each interrupt, still masked: the same, and tells the task. */
void task_interrupt_end(void);

#endif
