/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The site's text: one Lua script that says which VMs there are and, by its
 * hooks, what is done about them. Planning runs it with every write recorded and
 * nothing done; applying does all of it or nothing, and makes it a generation: a
 * number and the text, byte for byte, kept in the writable store.
 *
 * A generation is good once it has been in force for GENERATION_TRIAL_NS without
 * losing its script, from apply or from the machine's start on. A machine that
 * starts goes to the last good one when the present one did not become good
 * at its previous start, and to the seed's boot.lua when a good one has failed to
 * come up GENERATION_TRIES times. docs/policy.md is the reference.
 */
#ifndef CORBEL_LUA_GENERATION_H
#define CORBEL_LUA_GENERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/machine.h"
#include "guest/network.h"
#include "lib/error.h"
#include "lua/settings.h"

#define GENERATIONS_KEPT 8u
#define GENERATION_TRIAL_NS 30000000000ull
#define GENERATION_TRIES 3u
#define GENERATION_TEXT_MAX 65536u
#define GENERATION_ORIGIN_MAX 48

struct control;
struct cbor_writer;

struct generation_state {
	uint64_t current; /* in force; 0: the seed's boot.lua */
	uint64_t good;    /* the latest that became good; 0: none */
	uint64_t newest;  /* the highest number given so far */
	uint64_t tries;   /* starts since the current one was last good */
	uint64_t judged_at; /* ticks: when the current one is to be judged; 0: it has been */
	bool owned[VMS_MAX + 1]; /* by id: VMs of the text in force. Others are the operator's own */
	bool owned_pools[POOL_IDS + 1]; /* likewise */
	bool owned_networks[NETWORKS_MAX]; /* by place */
};

/*
 * Runs the text and compares; changes nothing. Puts what would be done into @w: added, changed, removed, settings,
 * hooks. Errors name file and line, or the VM that is in the way.
 */
MUST_CHECK enum status generation_plan(struct control *c, const char *origin, const char *text, size_t len,
				       struct cbor_writer *w, struct error *err);
/*
 * The same, and does it: all, or nothing on failure. Also puts generation, kept (false: there is no writable store,
 * it ends with this start), and what was started.
 */
MUST_CHECK enum status generation_apply(struct control *c, const char *origin, const char *text, size_t len,
					struct cbor_writer *w, struct error *err);
/* Applies a generation that is kept, under its own number. */
MUST_CHECK enum status generation_rollback(struct control *c, uint64_t number, struct cbor_writer *w,
					   struct error *err);
/* Puts the state and the kept generations. */
void generation_list(struct control *c, struct cbor_writer *w);

/* The machine starts: brings a generation up; false when the seed's boot.lua is to run. */
bool generation_boot(struct control *c);
/* The VMs that there are now belong to the text that runs: the seed's, at start. */
void generation_own_all(struct control *c);
/* Judges the current one when its time has come; asks to be woken for it. */
void generation_step(struct control *c);

/* For set() while a plan runs: ST_OVER_LIMIT. */
MUST_CHECK enum status generation_record(struct control *c, const struct setting_change *change, struct error *err);
/* Where the plan that is made sets @item for good already; "" when it does not. */
const char *generation_recorded(struct control *c, const struct tree_item *item);

#endif
