/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools (guest/pool.h) as operators and scripts have them: names with advice on
 * wrong ones, and what else comes and goes with a pool: its settings, events and
 * log lines. All ways in, commands, scripts and generations, go through here.
 */
#ifndef CORBEL_LUA_POOLS_H
#define CORBEL_LUA_POOLS_H

#include "guest/pool.h"

struct control;

/* The pool of that name; ST_NOT_FOUND says what may have been meant. */
MUST_CHECK enum status pools_find(struct control *c, const char *name, size_t len, struct pool **out, struct error *err);
/* Can a VM, or a pool, name it as its own? "" and "root" are the root. ST_NOT_FOUND, ST_DENIED. */
MUST_CHECK enum status pools_usable(struct control *c, const char *name, struct error *err);

/* Makes a pool and recalls what operators saved for one of that name. */
MUST_CHECK enum status pools_define(struct control *c, const struct pool_config *cfg, struct pool **out, struct error *err);
/* The second part of that, for who makes it in steps: says that it is there, and recalls. */
void pools_come(struct control *c, struct pool *p);
void pools_changed(struct control *c, const struct pool *p);
MUST_CHECK enum status pools_remove(struct control *c, struct pool *p, struct error *err);

#endif
