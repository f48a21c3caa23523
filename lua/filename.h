/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of files as clients give them, and which of them they may touch: one
 * rule for uploads, downloads, lists and removals. Names are the store's own; a
 * slash in front, which clients of other machines are used to, is taken off.
 */
#ifndef CORBEL_LUA_FILENAME_H
#define CORBEL_LUA_FILENAME_H

#include <stdbool.h>

#include "lua/command.h"

#define FILE_NAME_MAX 256 /* with its NUL */

/* What a client wants with a name. */
enum file_use { FILE_USE_READ, FILE_USE_WRITE };

/*
 * The name in @t as the store has it. ST_INVALID; ST_DENIED when the name is the control plane's own, or is written
 * only through a group of its own.
 */
MUST_CHECK enum status filename_take(const struct arg_text *t, enum file_use use, char out[FILE_NAME_MAX],
				     struct error *err);

/* True for a name that lists leave out. */
bool filename_hidden(const char *name);

#endif
