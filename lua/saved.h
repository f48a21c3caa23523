/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings that outlive a reset: what operators set for good, kept in the
 * writable store when they ask for it, and set again at boot. It is text, one
 * `PATH VALUE` a line, so that a person can read what a machine will do. Overrides
 * end with the machine, and what scripts set the scripts set again.
 */
#ifndef CORBEL_LUA_SAVED_H
#define CORBEL_LUA_SAVED_H

#include <stddef.h>

#include "lib/error.h"

struct control;

/*
 * Keeps the operator's lasting value of each setting at @prefix and below; what is kept of others stays. An empty
 * prefix is everything. ST_IO: the store cannot be written; ST_NOT_FOUND: no setting is there.
 */
MUST_CHECK enum status saved_write(struct control *c, const char *prefix, size_t len, struct error *err);

/*
 * Sets what is kept at @prefix and below, as the operator's. A line that is no good any more (its VM is not there, a
 * range has changed) is logged and left out. ST_OK also when nothing is kept.
 */
MUST_CHECK enum status saved_read(struct control *c, const char *prefix, size_t len, struct error *err);

#endif
