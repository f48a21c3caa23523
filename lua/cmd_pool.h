/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of group 67 that are about pools; its table is in cmd_cpu.c. */
#ifndef CORBEL_LUA_CMD_POOL_H
#define CORBEL_LUA_CMD_POOL_H

#include "lua/command.h"

#define POOL_COMMAND(name) \
	enum status pool_##name##_decode(struct control *c, struct command_args *a, struct failure *f); \
	enum status pool_##name##_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)

POOL_COMMAND(list);
POOL_COMMAND(show);
POOL_COMMAND(create);
POOL_COMMAND(set);
POOL_COMMAND(remove);
POOL_COMMAND(move);

#endif
