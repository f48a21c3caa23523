/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who runs next: the room's whole interface. An entity is anything that can be
 * given a CPU: a vcpu or a host task, embedded in its owner (container_of leads
 * back). Entities are the leaves of a tree of pools; every pool has the three
 * numbers reservation, limit and shares, the leaves of one pool are equals.
 * docs/scheduler.md has the algorithm and the reasons.
 *
 * Times are host ticks (struct clock). Calls are made with interrupts masked, by
 * any CPU unless said otherwise; sched_wake may come from an interrupt handler.
 * Locks inside have the ranks SCHED and SCHED_CPU, so callers may hold those before.
 */
#ifndef CORBEL_SCHED_SCHED_H
#define CORBEL_SCHED_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/counter.h"
#include "lib/cpuset.h"
#include "lib/error.h"
#include "lib/list.h"
#include "lib/rls.h"
#include "lib/status.h"

#define SCHED_MAX_CPUS CPUSET_MAX
#define SCHED_NAME_MAX 32
#define SCHED_DEPTH_MAX 8u        /* pools above an entity, the root included */
#define SCHED_GANG_MAX 16u        /* entities of one pool that are scheduled with regard to each other */
#define SCHED_MASKS_MAX 256u      /* different affinities in use at a time, "anywhere" included */
#define SCHED_ALONE_SLICES 16u    /* the turn of the only entity of a one-CPU machine, in slices */
#define SCHED_ONE_CPU 1000000u    /* numbers of pools are in ppm of one CPU */
#define SCHED_NO_LIMIT RLS_UNLIMITED
#define SCHED_SHARES_DEFAULT RLS_SHARES_DEFAULT
#define SCHED_SHARES_MAX RLS_SHARES_MAX
#define SCHED_WAKE_BUCKETS 40u    /* of the wake-up latencies: bucket i counts those of 2^(i-1) .. 2^i - 1 ticks */

#define SCHED_SLICE_NS 5000000ull  /* of a turn, unless an operator says otherwise */
#define SCHED_TICK_NS 1000000ull   /* how late a change of demand may be taken up, balancing be done */
#define SCHED_WINDOW_NS 100000000ull /* over which a limit holds */

enum sched_state { SCHED_DETACHED, SCHED_BLOCKED, SCHED_READY, SCHED_RUNNING };

/* What ended a turn. */
enum sched_end { SCHED_END_BLOCKED, SCHED_END_READY };

/* Reservation and limit in ppm of one CPU (2,500,000 is two and a half CPUs), limit SCHED_NO_LIMIT for none. */
#define sched_numbers rls

struct sched_attr {
	struct cpuset affinity; /* the empty set means anywhere */
	bool exclusive; /* a core of its own: nobody else runs there, whether it uses it or not */
	bool latency;   /* runs at once when it wakes, as long as it is within its share and a slice more */
	bool gang;      /* one of the vcpus of a VM: is scheduled with regard to its pool's other such ones */
	uint64_t request; /* ticks that it asks for at a time, where that is less than others do; 0: as they do */
};

/* Mechanisms that can be switched off, to see what each is good for. */
enum sched_switch {
	SCHED_OFF_BALANCE = 1 << 0,  /* what waits is never pulled to another CPU */
	SCHED_OFF_CREDIT = 1 << 1,   /* who wakes has no claim left over from before, and no short first turn */
	SCHED_OFF_LATENCY = 1 << 2,  /* the latency class is ignored */
	SCHED_OFF_LIMIT = 1 << 3,    /* limits neither lower a rate nor stop anybody */
	SCHED_OFF_SKEW = 1 << 4,     /* no co-stop of a leader */
	SCHED_OFF_CATCHUP = 1 << 5,  /* a laggard catches up tick by tick */
	SCHED_OFF_CORUN = 1 << 6,    /* no bonus for running beside siblings */
	SCHED_OFF_SPREAD = 1 << 7,   /* siblings may be put on one CPU: no corun migration */
	SCHED_OFF_YIELD_TO = 1 << 8, /* a pause-loop exit yields to anybody */
};

struct sched;
struct sched_change;

/* All totals since the entity was added or the pool made; of a pool: over all entities below it, those that left too. */
struct sched_figures {
	uint64_t used, waited, limited, costopped, blocked;
	uint64_t dispatches, migrations, wakes, costops, yields_to;
	uint64_t wake_ticks; /* of all wakes, until they ran */
	uint64_t wake_latency[SCHED_WAKE_BUCKETS];
};

/* One participant of a division of CPU time, see fill.c. */
struct sched_part {
	struct sched_part *next;
	uint64_t low, cap;  /* bounds of the rate, low <= cap */
	uint64_t rate;      /* result */
	uint64_t shares;
};

struct sched_pool {
	char name[SCHED_NAME_MAX];
	/* The rest is the scheduler's own: the tree under LOCK_SCHED; what CPUs read meanwhile is written atomically. */
	struct sched_pool *parent;     /* NULL: the root, or none */
	struct sched_pool *limited;    /* nearest of itself and its ancestors that has a limit; atomic */
	struct list node;              /* all pools, parents before children */
	struct list leaves;            /* sched_entity.leaf */
	struct rls numbers;
	unsigned depth, children, leaf_count;
	/* Leaves that are READY or RUNNING; above that as many as the last division was made with. One word: atomic. */
	uint64_t demand;
	uint64_t limit_ticks;          /* what it may use in a window; atomic */
	uint64_t window;               /* the present window and its use, see limit.c; atomic */
	/* Results of the last division (entitle.c), in 2^-30 of a CPU; atomic. */
	uint64_t rate, entitled;       /* of all below it */
	uint64_t guess;                /* what it would get if one more below it had demand */
	uint32_t leaf_rate;            /* of each leaf that has demand */
	uint32_t leaf_guess;           /* of one more leaf, where pools compete with leaves; else 0 */
	uint32_t reserved;             /* its reservation is what holds it up: what it is owed is never given up; atomic */
	uint32_t strict;               /* a limit is what bounds it: never runs ahead of it */
	uint32_t leaf_floor;           /* of leaf_rate, what reservations promise; atomic */
	/* Scratch of the division. */
	struct sched_part part, leaf_part;
	uint64_t fixed;                /* what leaves get that are held back by their CPUs */
	uint64_t floor;                /* of its rate, what reservations promise */
	uint32_t wanting, free_leaves, below;
	struct sched_part *parts;
	/* Scratch of a change of many, see change.c. */
	const struct sched_change *change; /* what is asked for; NULL: as it is */
	uint64_t promised, newest;     /* reservations of its children then, and the last changed one of them */
	struct sched_pool *next_then;  /* parents before children */
	uint64_t limit_then;
	unsigned depth_then;
	bool moves;
	bool unsettled;                /* what its entities have come to counts as it did before a change */
	/* The pools that what its entities use counts in: itself and all above it. */
	struct sched_counted {
		struct sched_pool *in[SCHED_DEPTH_MAX];
		unsigned count;
	} counted;
	/* Those of its leaves that are a gang. entity[i] may be followed under the lock of the CPU it belongs to only. */
	struct sched_gang {
		uint32_t size;         /* entries in use are below this; atomic */
		uint32_t favour;       /* how often the turn of one that is favoured is halved; atomic */
		struct sched_entity *entity[SCHED_GANG_MAX];
		uint32_t where[SCHED_GANG_MAX];   /* state and CPU, see cosched.c; atomic */
		uint64_t clock[SCHED_GANG_MAX];   /* progress in ticks at the pool's common rate; atomic */
		uint64_t debt;         /* ticks that those who sleep had too many, see debt.c; atomic */
		uint64_t asleep_since; /* when the last of them that wanted anything blocked; atomic */
	} gang;
	struct sched_figures departed; /* of entities that left it, or anything below it */
};

struct sched_entity {
	char name[SCHED_NAME_MAX];
	/*
	 * Executes one turn on the calling CPU, interrupts masked on entry and return, until it blocks, is asked
	 * to give way, or host tick @slice_end. Set by the owner before sched_add(); the CPU loop calls it.
	 */
	enum sched_end (*run)(struct sched_entity *e, uint64_t slice_end);
	/* Takes out of the calling CPU what the entity left there; NULL: nothing. Set by the owner, called by the loop. */
	void (*put)(struct sched_entity *e);
	uint64_t progress;     /* ticks of its own code (guest mode), added by its owner before a turn ends */

	/* The rest is the scheduler's own, under the lock of CPU `cpu`; what others read meanwhile is atomic. */
	struct sched_pool *pool;
	struct sched_attr attr;
	struct list leaf;       /* in pool->leaves, under LOCK_SCHED */
	struct list restricted; /* among those that may not run everywhere, under LOCK_SCHED */
	unsigned state;         /* enum sched_state; atomic */
	unsigned cpu;           /* whose lock it is under: where it runs, waits or last ran; atomic */
	uint32_t held;          /* 1 + the CPU that has its hardware state, 0: none; atomic */
	unsigned mask;          /* index of its affinity; atomic */
	unsigned core;          /* 1 + the CPU of the core that it has or had for itself, 0: none; under LOCK_SCHED */
	unsigned gang_index;    /* in pool->gang; SCHED_GANG_MAX: in no gang */
	bool release_due;       /* somebody waits until it is released; atomic */
	bool moving;            /* READY in no heap and on its way to another CPU, whose lock is waited for */
	bool wake_pending;      /* woken while RUNNING: must not be lost by a block that races with it */
	uint8_t marks;          /* bits: what there is to be asked about beyond the usual */
	uint8_t queue;          /* which heap of the CPU holds it, if any */
	uint8_t rate_row;       /* of such a rate: it stands in that while it is queued */
	struct sched_entity *behind; /* the next one in that row */
	int64_t key;            /* in the heap */
	uint8_t park;           /* why it is parked */
	uint32_t rate;          /* due to it, 2^-30 of a CPU */
	uint64_t inverse;       /* 2^62 / rate: dividing by it is multiplying by this */
	uint32_t advance;       /* part of the rate that its siblings still have until the next division */
	uint64_t advanced_at, advanced_in; /* when it woke with that, and under which division */
	uint32_t pinned_rate;   /* its own from the division, 0: the pool's leaf_rate; atomic */
	int64_t eligible;       /* virtual time of the CPU at which it has had what it is due */
	uint64_t request;       /* ticks that it asks for at a time, at most */
	uint64_t left;          /* ticks until its present request is served */
	uint64_t aftermath;     /* ticks used after its last turn that its tags do not know of yet */
	int64_t lag;            /* while BLOCKED: ticks it was owed, or had too many, when it blocked */
	int64_t early;          /* ticks by which its deadlines count as earlier, see RATE_NEARLY_ONE */
	uint32_t floor;         /* part of the rate that is promised; 0 also from a wake to the next division */
	int64_t promised;       /* ticks that it was short of that at promised_at, when it had used promised_used */
	uint64_t promised_at, promised_used;
	uint64_t grant;         /* ticks taken from the windows above it for this turn */
	uint64_t granted_in;    /* the window they are of */
	uint64_t progress_seen;
	uint64_t since;         /* when the current state began */
	uint64_t parked_since;
	struct sched_figures figures; /* atomic */
};

struct sched_config {
	unsigned cpus;
	unsigned entities_max;  /* that can be added at a time */
	uint64_t slice;         /* ticks of one turn */
	uint64_t tick;          /* ticks; 0: a fifth of the slice */
	uint64_t limit_window;  /* ticks; 0: twenty slices */
	uint64_t skew;          /* ticks of progress by which a vcpu may lead its siblings; 0: two slices */
	const uint16_t *core_of, *llc_of; /* of each CPU; NULL: cores of one CPU, one cache for all. Copied */
	bool separate_cores;    /* different pools never share a core at the same time; see sched_set_separate_cores() */
	unsigned off;           /* enum sched_switch bits */
	/*
	 * Tells @cpu, which may be the caller's, to choose again. Called with locks of this room held: it sets a flag
	 * and sends an interrupt, no more.
	 */
	void (*kick)(void *ctx, unsigned cpu);
	void *ctx;
};

/* Where the time of one CPU went; busy + idle is all of it up to the last call. */
struct sched_cpu_stats {
	uint64_t busy, idle; /* ticks */
	unsigned ready;      /* entities that wait */
	uint64_t rate;       /* what those that belong here and have demand are due, ppm of one CPU */
	uint64_t pulled;     /* entities taken from other CPUs */
	int64_t behind;      /* ticks that these are owed in sum, negative: had too many */
};

/* The three levels of a software performance unit (Verghese, Gupta, Rosenblum, ASPLOS 1998), ppm of one CPU. */
struct sched_levels {
	uint64_t entitled; /* if everybody wanted all he can use */
	uint64_t allowed;  /* at present: entitled, and what is lent to it or by it */
};

/* Bytes that sched_init needs. */
uint64_t sched_bytes(unsigned cpus, unsigned entities_max);
/* @storage of sched_bytes() bytes, aligned to 64, outlives the scheduler. */
struct sched *sched_init(void *storage, const struct sched_config *cfg);
/* The pool above all: its reservation is what the CPUs offer. */
struct sched_pool *sched_root(struct sched *s);

/*
 * Adds a zeroed pool below @parent (NULL: the root). The name is copied, cut to fit. ST_INVALID for numbers that
 * contradict each other, ST_NOT_ADMITTED when the reservations below @parent would exceed its own, ST_OVER_LIMIT for a
 * tree too deep; @err names the sum.
 */
MUST_CHECK enum status sched_pool_add(struct sched *s, struct sched_pool *p, struct sched_pool *parent, const char *name,
				      const struct rls *numbers, struct error *err);
/* Other numbers for a pool; the same errors, and nothing is changed then. The root's are the machine's (ST_DENIED). */
MUST_CHECK enum status sched_pool_set(struct sched *s, struct sched_pool *p, const struct rls *numbers, struct error *err);
/*
 * Moves a pool with all below it; ST_INVALID when @parent is @p or below it. What was used so far stays with the pools
 * where it was used: nobody's totals jump.
 */
MUST_CHECK enum status sched_pool_move(struct sched *s, struct sched_pool *p, struct sched_pool *parent, struct error *err);
/* What one pool is to be. */
struct sched_change {
	struct sched_pool *pool;
	struct sched_pool *parent; /* NULL: the root */
	struct rls numbers;
};
/*
 * Many pools at once, each at most once: it is what they are together that must be admitted, not any order of getting
 * there. The plan says whether it would be, with the errors of the two above. It takes no lock and may take long:
 * interrupts need not be masked, as the caller is the one who adds, changes and removes pools and entities.
 */
MUST_CHECK enum status sched_pool_plan(struct sched *s, const struct sched_change *changes, unsigned count, struct error *err);
/* What has just been planned, all at one moment; what else has been added or removed since then is a mistake (ASSERT). */
void sched_pool_commit(struct sched *s, const struct sched_change *changes, unsigned count);
/*
 * After a commit, until it returns false: settles what was used before, of one pool that has entities at a time. Until
 * its step, what a pool uses counts where it did before. No pool is removed meanwhile (ASSERT).
 */
bool sched_pool_settle(struct sched *s);
/* All of these at once, under one lock for who has nobody to keep waiting. */
MUST_CHECK enum status sched_pool_change(struct sched *s, const struct sched_change *changes, unsigned count,
					 struct error *err);
/* ST_BUSY while it has children or entities. */
MUST_CHECK enum status sched_pool_remove(struct sched *s, struct sched_pool *p, struct error *err);
void sched_pool_stats(struct sched *s, const struct sched_pool *p, struct sched_figures *out);
/*
 * Parts of that sum for who has no time to be masked for all of it: of those who have left @p or anything below it, and
 * of the entities that are in @p itself.
 */
void sched_pool_left_stats(struct sched *s, const struct sched_pool *p, struct sched_figures *out);
void sched_pool_own_stats(struct sched *s, const struct sched_pool *p, struct sched_figures *out);
void sched_pool_levels(struct sched *s, const struct sched_pool *p, struct sched_levels *out);

/*
 * Adds a detached entity (zeroed but for what the owner sets, or removed before), BLOCKED, to @pool (NULL: the root).
 * @attr may be NULL: anywhere, nothing special. The name is copied, cut to fit. ST_INVALID for an affinity without a
 * CPU of this machine, ST_NOT_ADMITTED when the reservations that must be served by the same CPUs do not fit there or
 * there is no core to be had, ST_NO_MEMORY for one entity or mask too many.
 */
MUST_CHECK enum status sched_add(struct sched *s, struct sched_entity *e, struct sched_pool *pool, const char *name,
				 const struct sched_attr *attr, uint64_t now, struct error *err);
/* Other attributes, at any time; the same errors. A running entity follows at the end of its turn. */
MUST_CHECK enum status sched_set_attr(struct sched *s, struct sched_entity *e, const struct sched_attr *attr, uint64_t now,
				      struct error *err);
/*
 * Takes an entity off, and true; or false when it runs, or is held: then its CPU has been told to let go of it,
 * and the caller (which holds no lock and has made sure that the turn ends) tries again later.
 */
MUST_CHECK bool sched_remove(struct sched *s, struct sched_entity *e);

/*
 * Makes @e READY, on a CPU of the scheduler's choice, which is kicked when it should look; a RUNNING one is
 * remembered as woken, a READY or detached one is left alone.
 */
void sched_wake(struct sched *s, struct sched_entity *e, uint64_t now);

/*
 * Picks for the calling CPU, marks RUNNING and held; NULL when the CPU has nothing to do. *slice_end: when a turn that
 * begins at once ends: who gets to it later ends it as much later than its entity's `since`. With NULL: when to call
 * again though nobody kicks (UINT64_MAX: never). The turn before has been charged (ASSERT).
 */
struct sched_entity *sched_pick(struct sched *s, unsigned cpu, uint64_t now, uint64_t *slice_end);

/*
 * Ends the turn of the RUNNING entity of the calling CPU, charging it up to @now. A wake that came meanwhile turns
 * BLOCKED into READY.
 */
void sched_charge(struct sched *s, unsigned cpu, uint64_t now, enum sched_end end);

/*
 * A CPU keeps what an entity left in it until it has picked another one, or has nothing to run and release_due is set:
 * then it puts that and says so here. Only then can the entity run elsewhere, or be removed. Not while it is RUNNING.
 */
void sched_release(struct sched *s, unsigned cpu, struct sched_entity *e);

/*
 * True when @cpu has been kicked since its last pick: what it was kicked for before, that pick has seen. The CPU loop
 * clears the flag that its kick sets after each pick, and sets it again when this says so.
 */
bool sched_kicked(const struct sched *s, unsigned cpu);

/* True when another entity is READY on @cpu (then an entry is bounded to a tick). */
bool sched_others_ready(const struct sched *s, unsigned cpu);

/*
 * The running entity of the calling CPU spins (a pause-loop exit) and is about to end its turn, READY: the next pick
 * there prefers @e, or when NULL the sibling that waits for a CPU and is furthest behind, wherever it waits.
 */
void sched_yield_to(struct sched *s, unsigned cpu, struct sched_entity *e);

void sched_stats(struct sched *s, const struct sched_entity *e, struct sched_figures *out);
void sched_cpu_stats(struct sched *s, unsigned cpu, struct sched_cpu_stats *out);

/* Ticks of one turn; a new length counts from the next turn on. */
uint64_t sched_slice(const struct sched *s);
void sched_set_slice(struct sched *s, uint64_t ticks);
/* enum sched_switch bits. */
unsigned sched_switches(const struct sched *s);
void sched_set_switches(struct sched *s, unsigned off);

/*
 * Whether the threads of a core run one pool at a time: others wait, and take turns in proportion to what they are due.
 * Anybody may read it at any time.
 */
bool sched_separate_cores(const struct sched *s);
void sched_set_separate_cores(struct sched *s, bool separate);

/* All CPUs together, of a struct sched. */
extern const struct counter_table sched_counters;

/* Walks tree, queues and entities: order, states and sums; true when all hold. Other CPUs wait meanwhile. */
bool sched_check(struct sched *s);

#endif
