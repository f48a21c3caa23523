/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker runs on the CPU loop's stack like a vcpu, interrupts masked. Between
 * two steps it lets them in, and sees whether somebody else should have the CPU.
 *
 * Nothing asked is lost: who asks sets the bit first and wakes then, and a wake
 * that meets the last look of a turn makes another one of it (sched_charge()).
 */
#include "guest/vm_io.h"

#include "guest/machine.h"
#include "guest/vm_internal.h"
#include "lib/assert.h"
#include "lib/format.h"

/* The first that has asked, from @from on, round. */
static unsigned next_of(uint64_t asked, unsigned from)
{
	uint64_t above = asked & (UINT64_MAX << from);

	return bit_lowest(above ? above : asked);
}

static void step(struct vm_io *io, uint64_t asked)
{
	unsigned n = next_of(asked, io->next);

	io->next = (n + 1) % VM_IO_WORKS_MAX;
	io->steps++;
	/* Before the step: what is asked meanwhile is another one. */
	__atomic_fetch_and(&io->asked, ~BIT(n), __ATOMIC_SEQ_CST);
	if (io->works[n]->step(io->works[n]))
		__atomic_fetch_or(&io->asked, BIT(n), __ATOMIC_SEQ_CST);
}

/* What a turn still has to do. */
static uint64_t work_of(const struct vm_io *io)
{
	return __atomic_load_n(&io->off, __ATOMIC_ACQUIRE) ? 0 : __atomic_load_n(&io->asked, __ATOMIC_SEQ_CST);
}

static enum sched_end turn(struct sched_entity *e, uint64_t slice_end)
{
	struct vm_io *io = container_of(e, struct vm_io, entity);
	const struct host_ops *host = io->vm->machine->host;
	const struct host_cpu *cpu = host->this_cpu();
	uint64_t asked;

	while ((asked = work_of(io)) != 0) {
		step(io, asked);
		host->poll();
		if (cpu->need_resched || host->clock->ticks() >= slice_end)
			return work_of(io) ? SCHED_END_READY : SCHED_END_BLOCKED;
	}
	return SCHED_END_BLOCKED;
}

void vm_io_init(struct vm_io *io, struct vm *vm)
{
	*io = (struct vm_io){.vm = vm, .entity = {.run = turn}, .off = true};
}

enum status vm_io_add(struct vm_io *io, struct vm_io_work *w)
{
	if (io->count == VM_IO_WORKS_MAX)
		return ST_OVER_LIMIT;
	w->io = io;
	w->index = io->count;
	io->works[io->count++] = w;
	return ST_OK;
}

void vm_io_ask(struct vm_io_work *w)
{
	struct vm_io *io = w->io;
	const struct machine *m = io->vm->machine;

	bool asked = __atomic_fetch_or(&io->asked, BIT(w->index), __ATOMIC_SEQ_CST) & BIT(w->index);

	if (__atomic_load_n(&io->off, __ATOMIC_SEQ_CST)) {
		m->host->notify(); /* a VM that was stopped may have waited for just that */
		return;
	}
	if (asked)
		return; /* who has asked and not been served has woken it */
	__atomic_fetch_add(&io->asks, 1, __ATOMIC_RELAXED);
	sched_wake(m->sched, &io->entity, m->host->clock->ticks());
}

enum status vm_io_start(struct vm_io *io, struct error *err)
{
	struct machine *m = io->vm->machine;
	uint64_t now = m->host->clock->ticks();
	char name[SCHED_NAME_MAX];
	enum status st;

	format(name, sizeof name, "%.*s/io", SCHED_NAME_MAX - 4, io->vm->config.name);
	__atomic_store_n(&io->off, false, __ATOMIC_SEQ_CST);
	st = sched_add(m->sched, &io->entity, &io->vm->pool, name, NULL, now, err);
	if (st == ST_OK && __atomic_load_n(&io->asked, __ATOMIC_SEQ_CST))
		sched_wake(m->sched, &io->entity, now);
	return st;
}

bool vm_io_take_off(struct vm_io *io, uint64_t until)
{
	const struct machine *m = io->vm->machine;
	unsigned long masked = vm_mask(io->vm);
	bool off = __atomic_load_n(&io->entity.state, __ATOMIC_RELAXED) == SCHED_DETACHED;

	__atomic_store_n(&io->off, true, __ATOMIC_RELEASE);
	while (!off && !(off = sched_remove(m->sched, &io->entity)) && m->host->clock->ticks() < until) {
		vm_unmask(io->vm, masked);
		__builtin_ia32_pause();
		masked = vm_mask(io->vm);
	}
	vm_unmask(io->vm, masked);
	return off;
}
