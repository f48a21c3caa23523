/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The networks of a plan (genplan.h), as genpools.h has the pools: what the text wants, against what is. Names of
 * networks that VMs of the text name are checked, but when the machine starts: a network that an operator had made does
 * not outlive the machine, and its VMs are all that is to miss it.
 */
#ifndef CORBEL_LUA_GENNETS_H
#define CORBEL_LUA_GENNETS_H

#include "guest/network.h"

struct cbor_writer;
struct control;

/* A text is about to be run. */
void gennets_begin(void);
/* Of the text that runs: remembers one. ST_EXISTS names both places; ST_OVER_LIMIT. */
MUST_CHECK enum status gennets_collect(const struct network_config *cfg, struct error *err);
/* After genplan has compared VMs: compares networks and looks for what cannot be. Changes nothing. */
MUST_CHECK enum status gennets_make(struct control *c, struct error *err);

/* Makes new ones and changes others, all or nothing; gennets_undo() takes it back. */
MUST_CHECK enum status gennets_do(struct control *c, struct error *err);
void gennets_undo(struct control *c);
/* Cannot fail: definitions follow; then what the text has not got any more goes, after its VMs. */
void gennets_commit(struct control *c);
void gennets_remove_old(struct control *c);

/* What the text wants the network called @name to be; NULL: nothing. */
const struct network_config *gennets_wanted(const char *name);
/* Puts networks: added, changed, removed; nothing when there are none of them. */
void gennets_put(struct control *c, struct cbor_writer *w);

#endif
