/* SPDX-License-Identifier: Apache-2.0 */
/* See script_tick.h. */
#include "tests/fakes/script_tick.h"

#include <signal.h>
#include <sys/time.h>

#include "lua/state.h"

static void (*before_tick)(void);

static void on_tick(int number)
{
	sigset_t set;

	if (before_tick)
		before_tick();
	if (!interp_overdue())
		return;
	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	interp_abandon();
}

void script_tick_start(unsigned us, void (*before)(void))
{
	const struct itimerval slice = {.it_interval.tv_usec = us, .it_value.tv_usec = us};

	before_tick = before;
	signal(SIGVTALRM, on_tick);
	setitimer(ITIMER_VIRTUAL, &slice, NULL);
}
