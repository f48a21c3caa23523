/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restoring is registered with atexit() and done by the handlers of the signals
 * that would end us, so that no way out leaves a terminal without echo.
 */
#include "tools/terminal.h"

#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;
static volatile sig_atomic_t is_raw, interrupted;
static struct sigaction old_int, old_term;

void terminal_restore(void)
{
	if (!is_raw)
		return;
	is_raw = 0;
	tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
}

/* tcsetattr() may be called in a handler (signal-safety(7)). */
static void restore_and_die(int number)
{
	terminal_restore();
	signal(number, SIG_DFL);
	raise(number);
}

void terminal_raw(void)
{
	static const int deadly[] = {SIGHUP, SIGTERM, SIGQUIT, SIGSEGV, SIGABRT, SIGBUS, SIGPIPE};
	static bool registered;
	struct termios t;

	if (is_raw || tcgetattr(STDIN_FILENO, &before) != 0)
		return;
	if (!registered) {
		atexit(terminal_restore);
		for (unsigned i = 0; i < sizeof deadly / sizeof deadly[0]; i++)
			signal(deadly[i], restore_and_die);
		registered = true;
	}
	t = before;
	cfmakeraw(&t);
	is_raw = 1;
	tcsetattr(STDIN_FILENO, TCSADRAIN, &t);
}

bool terminal_is_raw(void)
{
	return is_raw;
}

static void interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

bool terminal_interrupted(void)
{
	return interrupted;
}

void terminal_catch(void)
{
	struct sigaction sa = {.sa_handler = interrupt};

	interrupted = 0;
	sigaction(SIGINT, &sa, &old_int);
	sigaction(SIGTERM, &sa, &old_term);
}

void terminal_release(void)
{
	sigaction(SIGINT, &old_int, NULL);
	sigaction(SIGTERM, &old_term, NULL);
}
