/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated machine around sched/: CPUs that loop as firmware/cpuloop.c does
 * (charge, put and release, pick, run until the slice ends, the entity blocks or
 * a kick arrives), entities that want CPU time in several ways, and an observer
 * that keeps its own accounts. One thread, discrete events, no wall clock: a seed
 * gives the same run everywhere.
 *
 * What a kick takes to arrive and by how much turns overrun their slices is
 * drawn at random; so are the loads' sleeps and bursts.
 */
#ifndef CORBEL_TESTS_MODEL_SCHED_SIM_H
#define CORBEL_TESTS_MODEL_SCHED_SIM_H

#include "lib/timerq.h"
#include "sched/sched.h"
#include "tests/model/random.h"

#define SIM_CPUS 256u
#define SIM_ENTITIES 1000u
#define SIM_POOLS 512u

/* 10 MHz: the emulator's clock. */
#define SIM_SLICE 50000ull
#define SIM_TICK 10000ull
#define SIM_WINDOW 1000000ull
#define SIM_SECOND 10000000ull

enum sim_kind {
	SIM_IDLE,     /* wants nothing */
	SIM_BURNER,   /* wants all there is */
	SIM_PERIODIC, /* `burst` ticks of work arrive every `period`, done or not */
	SIM_BURSTY,   /* works for about `burst`, then sleeps for about `period` */
};

struct sim_pool {
	struct sched_pool p;
	struct sim_pool *parent;  /* NULL: the root */
	struct rls numbers;
	uint64_t used;            /* observed, of all that ran below it */
	uint64_t window_used;     /* at the beginning of the present window */
	uint64_t worst_over;      /* most that one window had beyond the limit */
	double rate;              /* of the optimum, in CPUs */
	uint64_t changed_at;      /* its numbers */
	bool window_whole;        /* the limit has not changed in this window, nor just before */
	bool in_use;
};

struct sim_entity {
	struct sched_entity e;
	struct sim *sim;
	struct timer arrival;
	struct sim_pool *pool;    /* NULL: the root */
	struct sched_attr attr;
	enum sim_kind kind;
	uint64_t work;            /* ticks until it blocks, UINT64_MAX: never does */
	uint64_t period, burst;
	int on;                   /* the CPU that runs it, -1: none */
	int held;                 /* the CPU that has its state, -1: none */
	bool added, blocked;
	uint64_t used;            /* observed */
	uint64_t charged;         /* of that, in turns that have ended */
	uint64_t added_at;
	uint64_t ready_at;        /* when it began to wait */
	uint64_t woken_at;        /* of the wake that it has not run since, 0: none */
	uint64_t worst_wake;      /* longest from a wake to its run; reset at will */
	uint64_t wakes;
	double rate;              /* of the optimum, in CPUs */
	double low, high;         /* least and greatest of (used - optimum) since the window began */
	uint64_t low_at, high_at;
	uint64_t used_before;     /* at the beginning of the window */
	/* What its code does: called when it has run `piece` more ticks, sets the next one. False: its turn is to end. */
	bool (*code)(struct sim_entity *x);
	uint64_t piece;           /* only with code */
	bool stalled;             /* uses CPU time, but its own code stands still */
};

struct sim_cpu {
	struct sim *sim;
	struct timer event;
	struct sim_entity *running, *holds;
	uint64_t from;     /* since when the present turn or idle time is not accounted */
	uint64_t turn_from; /* when it began */
	uint64_t look_at;  /* slice end with noise, or when an idle CPU asks again */
	uint64_t kick_at;  /* when a kick under way arrives, UINT64_MAX: none */
	uint64_t idle_since;
	uint64_t busy, idle;
};

struct sim {
	struct sched *s;
	void *storage;
	struct sched_config cfg;
	struct random_state random;
	uint64_t now, window_at; /* when the next limit window begins */
	uint64_t overrun, kick_latency; /* most ticks by which a turn ends late, and a kick arrives */
	struct timerq events;
	struct timer *slots[SIM_CPUS + SIM_ENTITIES];
	struct sim_cpu cpu[SIM_CPUS];
	struct sim_entity entity[SIM_ENTITIES];
	struct sim_pool pool[SIM_POOLS];
	unsigned entities, pools;
	uint64_t decisions, kicks, checked;
	uint64_t exclusive_until; /* when somebody had a core of its own last */
	unsigned check_every; /* sched_check() after so many events; 0: never */
	int acting;           /* the CPU whose loop is in the scheduler, -1: none */
};

/* @cfg: cpus, topology and switches; times left 0 are SIM_SLICE and so on. The simulation is large: keep it static. */
void sim_start(struct sim *m, const struct sched_config *cfg, uint64_t seed);
void sim_end(struct sim *m);

/* NULL when refused. */
struct sim_pool *sim_pool(struct sim *m, struct sim_pool *parent, uint64_t reservation, uint64_t limit, uint32_t shares);
bool sim_pool_set(struct sim *m, struct sim_pool *p, const struct rls *numbers);

/* Adds an idle entity; NULL when refused. */
struct sim_entity *sim_entity(struct sim *m, struct sim_pool *pool, const struct sched_attr *attr);
bool sim_set_attr(struct sim_entity *x, const struct sched_attr *attr);
/* Takes one off that has blocked; its CPU puts it first. */
void sim_remove(struct sim_entity *x);

/* Changes what it wants, from now on. One that waits must run once more before it can block: see sim_settled(). */
void sim_want(struct sim_entity *x, enum sim_kind kind, uint64_t period, uint64_t burst);
/* One burst for an idle one. */
void sim_poke(struct sim_entity *x, uint64_t burst);
/* From another entity's code: @x goes on with a piece of @ticks from here, running or not. */
void sim_set_piece(struct sim_entity *x, uint64_t ticks);

/* True when whoever wants nothing has blocked. */
bool sim_settled(const struct sim *m);

void sim_run(struct sim *m, uint64_t ticks);
bool sim_run_until_settled(struct sim *m, uint64_t most);

/* Brings the observer's accounts up to now. */
void sim_account(struct sim *m);

/*
 * How long, up to now, some CPU has idled while somebody waited who could have run there: not held elsewhere, in no
 * pool with a limit, in no gang.
 */
uint64_t sim_idle_beside_work(const struct sim *m);

/* Compares the observer's accounts with the scheduler's; prints the first difference. */
bool sim_sums_agree(struct sim *m);

#endif
