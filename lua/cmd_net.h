/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of group 69 that are about captures (lua/cmd_capture.c), for the table in lua/cmd_net.c. */
#ifndef CORBEL_LUA_CMD_NET_H
#define CORBEL_LUA_CMD_NET_H

#include "lua/command.h"

/* There are none: the machine starts. */
void captures_init(void);
/* Gives back what captures have here. For tests. */
void captures_drop(struct control *c);

enum status capture_begin_decode(struct control *c, struct command_args *a, struct failure *f);
enum status capture_begin_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f);
enum status capture_decode(struct control *c, struct command_args *a, struct failure *f);
enum status capture_records_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f);
enum status capture_end_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f);

#endif
