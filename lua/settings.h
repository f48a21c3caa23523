/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which value a knob has, and why. A setting that was changed is a chain of
 * entries, from the ground (its default, or what a definition or the board gave
 * it) up: a script's lasting value, the operator's, and temporary overrides, the
 * newest on top. The top one counts. An override ends by itself when its time is
 * over, and what lies beneath counts again. Nothing is kept for a setting that
 * nobody changed.
 *
 * A change is checked as a whole first (settings_check) and then made
 * (settings_apply, which cannot fail). The number of entries is bounded; what
 * does not fit is refused by the check.
 */
#ifndef CORBEL_LUA_SETTINGS_H
#define CORBEL_LUA_SETTINGS_H

#include "guest/network.h"
#include "guest/pool.h"
#include "lib/timerq.h"
#include "lua/registry.h"

#define SETTINGS_ENTRIES_MAX 128u  /* all chains together, grounds included */
#define SETTINGS_OVERRIDES_MAX 32u /* temporary overrides among them */
#define SETTINGS_WHERE_MAX 64      /* with the NUL */
#define SETTINGS_WHY_MAX 96
#define SETTINGS_FOR_MIN_NS 1000000ull             /* a temporary override lasts from 1 ms */
#define SETTINGS_FOR_MAX_NS (366ull * 86400000000000ull) /* to a year */

/* Where a value comes from, in rising order of what counts. */
enum origin {
	ORIGIN_DEFAULT,  /* the declaration */
	ORIGIN_BOOT,     /* the board and the firmware */
	ORIGIN_SCRIPT,   /* a definition or a script, for good */
	ORIGIN_OPERATOR, /* for good */
	ORIGIN_OVERRIDE, /* for a time */
	ORIGINS
};

/* "default", "boot", "script", "operator", "override". */
const char *origin_name(enum origin origin);

/* One link of a chain. */
struct setting_entry {
	const struct knob *knob;
	uint16_t owner;      /* tree_owner() */
	enum origin origin;
	bool ground;         /* the lowest: what was there before any change */
	bool by_script;      /* an override's maker */
	bool generation;     /* set by the text of the site's generation, with which it goes */
	uint64_t value;
	uint64_t expires;    /* ticks; an override's */
	char where[SETTINGS_WHERE_MAX]; /* file and line, or empty */
	char why[SETTINGS_WHY_MAX];
};

struct settings {
	struct setting_entry entries[SETTINGS_ENTRIES_MAX]; /* each chain in its order, chains mixed */
	unsigned count, overrides;
	uint64_t next; /* ticks: the earliest end of an override, TIMERQ_NEVER for none; the control task is woken then */
	uint64_t changes, expired;
};

/* A change that is asked for. */
struct setting_change {
	struct tree_item item;
	uint64_t value;
	uint64_t for_ns;    /* 0: for good */
	enum origin origin; /* SCRIPT or OPERATOR: who asks */
	bool generation;    /* the text of a generation does */
	char where[SETTINGS_WHERE_MAX];
	char why[SETTINGS_WHY_MAX];
};

/* A setting as it stands. */
struct setting_state {
	uint64_t value;      /* what counts now */
	uint64_t next_value; /* what will count from the VM's next start on */
	bool pending;        /* and that is another one */
	enum origin origin;  /* of the next value */
};

void settings_init(struct control *c);

/* A new state, @item being a knob's. */
void settings_state(struct control *c, const struct tree_item *item, struct setting_state *out);
/*
 * The chain from what counts down to the ground, into @out; returns its length, at least 1. A
 * setting that nobody changed has one entry, made up here.
 */
#define SETTINGS_CHAIN_MAX (SETTINGS_OVERRIDES_MAX + 4u)
unsigned settings_chain(struct control *c, const struct tree_item *item, struct setting_entry out[SETTINGS_CHAIN_MAX]);

/* ST_INVALID: not this value; ST_OVER_LIMIT: too many changes; ST_DENIED: not for scripts. Changes nothing. */
MUST_CHECK enum status settings_check(struct control *c, const struct setting_change *change, struct error *err);
/* ST_OVER_LIMIT unless there is room for all of @changes, each of which was checked by itself. */
MUST_CHECK enum status settings_check_room(struct control *c, const struct setting_change *changes, unsigned count,
					   struct error *err);
/* Makes a change that was checked, with nothing in between. */
void settings_apply(struct control *c, const struct setting_change *change);
/* Drops every entry of the setting but its ground. */
void settings_reset(struct control *c, const struct tree_item *item);

/* The next setting from *cursor on, 0 at first, that the text of the generation in force sets for good. */
bool settings_next_of_generation(struct control *c, unsigned *cursor, struct tree_item *out);
/* The definition that a setting's VM, pool or network has in the text that comes; NULL: as it is, or it is none's. */
struct settings_next {
	const struct vm_config *vm;
	const struct pool_config *pool;
	const struct network_config *network;
};
/* What will count when that text's value goes, and why. */
void settings_without_generation(struct control *c, const struct tree_item *item, const struct settings_next *next,
				 struct setting_entry *out);
/* Another generation comes: what the text of the last one set for good goes. */
void settings_drop_generation(struct control *c);
/* Ends overrides whose time is over; true when there were any. */
bool settings_step(struct control *c);
/* The VM, pool or network is gone, or about to go: its changes are forgotten. @owner: tree_owner(), not the machine. */
void settings_forget(struct control *c, unsigned owner);

/*
 * @cfg is about to become the definition of @vm: what was changed of its disks and interfaces goes with them to their
 * places there, and is forgotten of those that go, or are counted in another unit.
 */
void settings_redefining(struct control *c, const struct vm *vm, const struct vm_config *cfg);
/* What @vm was defined as, without the changes that were made since. */
void settings_definition(struct control *c, struct vm *vm, struct vm_config *out);
/*
 * @vm has a new definition: its config was replaced. What scripts had set is forgotten with the scripts; what the
 * operator set stays above it, unless the new definition does not allow it, which is logged.
 */
void settings_redefined(struct control *c, struct vm *vm);
/* The same of pools. */
void settings_pool_definition(struct control *c, const struct pool *p, struct pool_config *out);
void settings_pool_redefined(struct control *c, struct pool *p);
/* And of networks, whose definitions are kept elsewhere (lua/nets.h). */
void settings_network_redefined(struct control *c, const struct network *n);
/*
 * What the definition @cfg will come to once it is in force: with what operators set above it and what is set for a
 * time by them.
 */
void settings_after(struct control *c, const struct vm *vm, const struct vm_config *cfg, struct vm_config *out);
void settings_pool_after(struct control *c, const struct pool *p, const struct pool_config *cfg, struct pool_config *out);

#endif
