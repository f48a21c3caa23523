/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests for the control tests: what the kernel's command line says is played on
 * the fake engine as exits. Words of the command line:
 *
 *	say=TEXT    prints TEXT (underscores are blanks) and a newline
 *	flood=N     prints N bytes of a counting pattern
 *	forge       prints a well-formed SMP frame and terminal sequences, raw
 *	echo        prints what is typed, upper-cased
 *	end=HOW     then off, reset, crash, or exit:CODE; with echo, when a q is typed
 */
#ifndef CORBEL_TESTS_FAKE_GUEST_H
#define CORBEL_TESTS_FAKE_GUEST_H

#include "guest/machine.h"

/* Gives every running VM of @m the next exits to play; call before each turn of the CPU loop. */
void fake_guests_prepare(struct machine *m);

#endif
