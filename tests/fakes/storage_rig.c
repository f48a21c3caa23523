/* SPDX-License-Identifier: Apache-2.0 */
/* See storage_rig.h. */
#include "tests/fakes/storage_rig.h"

#include <string.h>

#include "lib/assert.h"
#include "tests/fakes/vm_rig.h"

#define ROUNDS_MAX 200000u

void storage_rig_run_until(uint64_t until)
{
	for (unsigned i = 0; i < ROUNDS_MAX; i++) {
		bool more = storage_step(vm_rig.machine.storage);
		uint64_t now = fake_host.ops.clock->ticks(), next;
		enum sched_end end;

		if (vm_rig_turn(&end) || more)
			continue;
		next = fake_host.cpu.timers.next;
		if (next > until || next == TIMERQ_NEVER)
			return;
		fake_host_advance(next > now ? next - now : 1);
	}
	ASSERT(!"it comes to rest");
}

void storage_rig_run(void) { storage_rig_run_until(TIMERQ_NEVER - 1); }

enum status storage_rig_order(enum storage_op op, const char *volume, const char *name, uint64_t bytes, struct error *err)
{
	struct storage *s = vm_rig.machine.storage;
	struct storage_order o = {.op = op, .bytes = bytes};
	struct storage_job_info info;
	enum status st;
	uint32_t job;

	strcpy(o.volume, volume);
	strcpy(o.name, name);
	st = storage_begin(s, &o, &job, err);
	if (st != ST_OK)
		return st;
	storage_rig_run();
	ASSERT(storage_job(s, job, &info) == ST_OK);
	ASSERT(info.done);
	strcpy(err->text, info.why);
	return info.status;
}
