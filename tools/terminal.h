/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operator's terminal: raw while a console has it, and as it was before
 * again, however we leave.
 */
#ifndef CORBEL_TOOLS_TERMINAL_H
#define CORBEL_TOOLS_TERMINAL_H

#include <stdbool.h>

/* Every key comes at once and unchanged; nothing to do when the input is no terminal. */
void terminal_raw(void);
/* As it was before terminal_raw(). */
void terminal_restore(void);
/* While it is raw a line ends in CR and LF. */
bool terminal_is_raw(void);
/* True once a signal asked us to stop. */
bool terminal_interrupted(void);
/* SIGINT and SIGTERM set terminal_interrupted() from here on, until terminal_release(). */
void terminal_catch(void);
void terminal_release(void);

#endif
