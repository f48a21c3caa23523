/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks (guest/network.h) as operators and scripts have them: names with advice on wrong ones, and what else comes
 * and goes with a network: its definition, without the changes that were made since, its settings, events and log
 * lines. All ways in, commands, scripts and generations, go through here.
 */
#ifndef CORBEL_LUA_NETS_H
#define CORBEL_LUA_NETS_H

#include "guest/network.h"

struct control;

/* ST_UNSUPPORTED with the sentence for a machine that has none. */
MUST_CHECK enum status nets_there(struct control *c, struct error *err);
/* The network of that name; ST_NOT_FOUND says what may have been meant. */
MUST_CHECK enum status nets_find(struct control *c, const char *name, size_t len, struct network **out,
				 struct error *err);
/* What @n was defined as, without what operators have changed since. */
const struct network_config *nets_definition(const struct network *n);
/* True when a VM that is not at rest has an interface on the network of that name; *who: the VM, unless NULL. */
bool nets_is_used(struct control *c, const char *name, struct vm **who);

/*
 * Makes the network, and recalls what operators saved for one of that name; or gives the one that is there the new
 * definition, unless it has it. Changes that operators made stay above it.
 */
MUST_CHECK enum status nets_define(struct control *c, const struct network_config *cfg, struct error *err);
MUST_CHECK enum status nets_remove(struct control *c, struct network *n, struct error *err);

/* ---- in two steps, for who makes many at once and may take them back ---- */

/* The same settings; where they were defined is no matter. */
bool nets_same(const struct network_config *a, const struct network_config *b);
/*
 * network_define() has been called with @cfg: remembers that, says so, and recalls or turns its settings. @fresh: the
 * network was not there before.
 */
void nets_defined(struct control *c, const struct network_config *cfg, bool fresh);

#endif
