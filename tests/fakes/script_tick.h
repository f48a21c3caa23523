/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timer's interrupt for scripts, by a signal: leaves one that does not
 * return, as the firmware does. In a file of its own, because the system's
 * header of signals and guest/engine.h use the same names.
 */
#ifndef CORBEL_TESTS_SCRIPT_TICK_H
#define CORBEL_TESTS_SCRIPT_TICK_H

/*
 * From now on every @us of CPU time: a process that waits is not interrupted. @before, NULL for nothing, runs first
 * each time, in the signal handler.
 */
void script_tick_start(unsigned us, void (*before)(void));

#endif
