/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pools of a plan (genplan.h), and what it changes of VMs that run: both are
 * decided by what is promised, so they are tried, and then done, in one regrouping
 * (guest/pool.h). New pools are there from the plan on, empty and without any numbers, and go
 * with it; so what a plan says of admission is what applying it would find.
 */
#ifndef CORBEL_LUA_GENPOOLS_H
#define CORBEL_LUA_GENPOOLS_H

#include "guest/pool.h"
#include "lua/genplan.h"

/* A text is about to be run. */
void genpools_begin(void);
/* Of the text that runs: remembers a pool. ST_EXISTS names both places; ST_OVER_LIMIT. */
MUST_CHECK enum status genpools_collect(struct control *c, const struct pool_config *cfg, struct error *err);
/*
 * After genplan has compared VMs: compares pools, looks for what cannot be, makes new ones and tries the whole. On
 * failure nothing is left; on success genpools_drop() ends it, unless it was committed.
 */
MUST_CHECK enum status genpools_make(struct control *c, struct error *err);
void genpools_drop(struct control *c);

/* Does it to what runs, all or nothing; genpools_undo() takes it back. */
MUST_CHECK enum status genpools_do(struct control *c, struct error *err);
void genpools_undo(struct control *c);
/* Cannot fail: definitions follow, before those of VMs; then what the text has not got any more goes, after its VMs. */
void genpools_commit(struct control *c);
void genpools_remove_old(struct control *c);

/* True when the text wants that pool. */
bool genpools_wants(const char *name);
/* What the text wants @p to be; NULL: nothing, or nothing else. */
const struct pool_config *genpools_wanted(const struct pool *p);
/* Puts pools: added, changed, removed; nothing when there are none of them. */
void genpools_put(struct control *c, struct cbor_writer *w);

#endif
