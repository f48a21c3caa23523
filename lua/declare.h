/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane's own counters (lib/counter.h); their object is struct control.
 */
#ifndef CORBEL_LUA_DECLARE_H
#define CORBEL_LUA_DECLARE_H

#include "lib/counter.h"

extern const struct counter_table control_counters, lua_counters;

#endif
