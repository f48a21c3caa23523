/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU loop: picks an entity, runs its turn, charges it; clears memory ahead
 * and sleeps when there is none. One for each CPU. It
 * owns the host's timers and what guest/ asks of the host (struct host_ops).
 */
#ifndef CORBEL_FIRMWARE_CPULOOP_H
#define CORBEL_FIRMWARE_CPULOOP_H

#include "firmware/task.h"
#include "guest/host.h"
#include "lib/error.h"
#include "memmgr/memmgr.h"
#include "sched/sched.h"

/* A host task as the scheduler sees it. Storage is the creator's, for the task's life. */
struct host_task {
	struct task task;
	struct sched_entity entity;
};

/*
 * Makes the scheduler, the CPUs' timer queues and host_ops ready, after smp_start(). @mm outlives the
 * loop; @notify is what host_ops.notify calls (wakes the control task).
 */
enum status cpuloop_init(struct memmgr *mm, void (*notify)(void), struct error *err) MUST_CHECK;

/* The pool of the host's tasks. Valid after cpuloop_init(), as are the next two. */
struct sched_pool *cpuloop_system_pool(void);
extern struct host_ops host_ops;
extern struct sched *host_sched;

/* Creates a task and makes it runnable. Statuses of task_create(). */
enum status host_task_start(struct host_task *t, const char *name, void (*fn)(void *arg), void *arg,
			    unsigned stack_pages) MUST_CHECK;

/* Wakes a blocked task; any context. */
void host_task_wake(struct host_task *t);

/* Name of what runs now ("vm web", "task control"), or "idle"; any context, for reports. */
const char *cpuloop_context(void);

/* Never returns. Interrupts masked on entry. */
__attribute__((noreturn)) void cpu_loop(void);

#endif
