/* SPDX-License-Identifier: Apache-2.0 */
/* Chains as settings.c keeps them, for settings_text.c. */
#ifndef CORBEL_LUA_SETTINGS_INTERNAL_H
#define CORBEL_LUA_SETTINGS_INTERNAL_H

#include "lua/settings.h"

bool setting_belongs(const struct setting_entry *e, const struct tree_item *item);
/* True when @a lies above @b in one chain; both belong to it. */
bool setting_above(const struct setting_entry *a, const struct setting_entry *b);
/* The knob that an entry is about, as an item; false when its VM is gone. */
bool setting_item(struct control *c, const struct setting_entry *e, struct tree_item *out);

/* The entry that counts; NULL when the setting was never changed. */
struct setting_entry *settings_top(struct settings *s, const struct tree_item *item);
/* What a setting that nobody changed has, and from where. */
void settings_ground(const struct tree_item *item, struct setting_entry *out);
/* Those behind @e move up. */
void settings_remove(struct settings *s, struct setting_entry *e);
/* Counts the overrides and finds the first to end, after entries came or went. */
void settings_find_next_end(struct settings *s);
/* Gives the knob what its chain says, unless that waits for its VM's next start. */
void settings_turn(struct control *c, const struct tree_item *item);

#endif
