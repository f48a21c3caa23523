/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What applying a text would do. There is one plan at a time, the control task's:
 * made, said, then dropped or carried out by generation.c, whose this header is.
 */
#ifndef CORBEL_LUA_GENPLAN_H
#define CORBEL_LUA_GENPLAN_H

#include "lua/generation.h"

#define PLAN_SETTINGS_MAX 16u

struct script;

/* What a run of the text wants, against what is. */
struct plan {
	struct script *script;      /* loaded, not yet kept */
	struct vm_config *wanted;   /* VMS_MAX of them, in frames of the host */
	unsigned wanted_count;
	struct vm *vms[VMS_MAX];    /* for each wanted: the VM of that name, NULL: it is new */
	bool changed[VMS_MAX];      /* and it differs */
	struct setting_change settings[PLAN_SETTINGS_MAX];
	unsigned setting_count;
};

extern struct plan genplan;

/*
 * Runs the text, with what generation @from holds or, for 0, the store's files, and compares. On success
 * genplan_drop() ends it. Errors name file and line, or the VM that is in the way.
 */
MUST_CHECK enum status genplan_make(struct control *c, uint64_t from, const char *origin, const char *text, size_t len,
				    struct error *err);
void genplan_drop(struct control *c);
/* Puts what it would do: added, changed, removed, settings, dropped, hooks. */
void genplan_put(struct control *c, struct cbor_writer *w);

/* The next VM after @prev, NULL for the first, that the text in force has and the new one has not. */
struct vm *genplan_next_removed(struct control *c, const struct vm *prev);
/* Neither runs nor is paused: its definition can be replaced. */
bool genplan_at_rest(const struct vm *vm);
/*
 * Settings of disks and interfaces are of their places in the new definitions from now on, which are about to come into
 * force.
 */
void genplan_follow_devices(void);
/* What a new definition can change of a VM that is not at rest, into @cfg. */
void genplan_take_live(struct vm_config *cfg, const struct vm_config *from);

#endif
