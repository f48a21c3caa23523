/* SPDX-License-Identifier: Apache-2.0 */
/* Between the two files of group 76, cmd_tree.c and cmd_declare.c. For lua/ alone. */
#ifndef CORBEL_LUA_CMD_TREE_H
#define CORBEL_LUA_CMD_TREE_H

#include "lib/measure.h"
#include "lua/command.h"

/* The pair "unit", of what has one. */
void tree_put_unit(enum measure measure, struct cbor_writer *w);
/* Decode of what comes in pages by number. */
MUST_CHECK enum status tree_page_decode(struct control *c, struct command_args *a, struct failure *f);

/* The commands describe and values. */
MUST_CHECK enum status tree_describe(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f);
MUST_CHECK enum status tree_values_decode(struct control *c, struct command_args *a, struct failure *f);
MUST_CHECK enum status tree_values(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f);

#endif
