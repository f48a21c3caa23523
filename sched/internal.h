/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this room share: the layout, and who does what. Rates are in
 * RATE_ONE per CPU. A CPU's virtual time is its host time less an offset (omega);
 * an entity's lag is rate x (virtual time - eligible): the ticks it is still owed.
 *
 * Locks: s->lock (rank SCHED) guards the tree, the lists of leaves and the
 * division; c->lock (rank SCHED_CPU) guards the queue of a CPU and all entities
 * that belong to it. What is read without its lock goes through peek() and poke().
 */
#ifndef CORBEL_SCHED_INTERNAL_H
#define CORBEL_SCHED_INTERNAL_H

#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/lock.h"
#include "sched/runq.h"
#include "sched/sched.h"

#define RATE_SHIFT 30
#define RATE_ONE (1u << RATE_SHIFT)
#define INVERSE_SHIFT 32        /* of an entity's inverse: exact to 2^-32 of what it is multiplied with */
#define RATE_MIN 1024u          /* a millionth of a CPU: keeps tags within range */
/* Who is due nearly a whole CPU can hardly ever make good what others take: their deadlines count a slice earlier. */
#define RATE_NEARLY_ONE (RATE_ONE - RATE_ONE / 32)
#define TIME_CAP (1ll << 32)    /* ticks: lags and pieces of service beyond this are cut */
#define NO_LIMIT_TICKS UINT64_MAX
/*
 * Turns until a CPU adds up its lags anew, which have been rounded at each: so many, and some for each entity there, by
 * which the sum is dearer, and the rounding (of a part of a tick, the rate) less.
 */
#define CHARGES_PER_SUM 4096u
#define CHARGES_PER_ENTITY 32u
#define ANYWHERE 0u             /* the mask of who may run on every CPU */
#define MASK_WORDS (SCHED_MASKS_MAX / 64)

#define peek(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define poke(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
/* One writer at a time, readers any time. */
#define bump(p, v) poke((p), *(p) + (v))

/* ---- layout ---- */

/* sched_entity.marks */
enum mark {
	MARK_WOKEN = 1 << 0,   /* has not run since its wake */
	MARK_BOOSTED = 1 << 1, /* goes, or went, before others for its first request */
	MARK_YIELDS = 1 << 2,  /* spun in its last turn: others first, once */
	MARK_GANG = 1 << 3,    /* has a place in its pool's gang */
};

/* Why somebody runs out of turn: a sibling spins for it, for a short turn; or it spun, and goes on with its own. */
enum favour { FAVOUR_NOT, FAVOUR_SHORT, FAVOUR_BACK };

enum park { PARK_NOT, PARK_PACE, PARK_WINDOW, PARK_COSTOP, PARK_CORE };

struct sched_cpu {
	_Alignas(64) struct lock lock;
	unsigned id;
	struct heap ready;      /* eligible, by deadline */
	struct heap future;     /* had more than they were due: by the virtual time at which that is made up for */
	struct heap parked;     /* may not run even when the CPU idles, until a host time */
	struct sched_entity *running;
	struct sched_entity *charged;   /* whose turn ended last, until the next pick or until it is released */
	struct sched_entity *back;      /* READY in no heap: charged, and not yet compared with those who waited */
	struct sched_entity *preferred; /* in a heap here: for whom the last one yielded, or who gets its turn back */
	uint8_t favours;        /* enum favour: how the preferred one will run */
	uint8_t favoured;       /* and how the running one does */
	unsigned spinner;       /* in its gang: gets the CPU back from one that is favoured */
	bool begun;             /* the times below are set */
	bool hurried;           /* the last pick left a division for later, for one that goes before all others */
	bool yielded;           /* the running entity spins and gives way to a sibling */
	unsigned yield_index;   /* in its gang; SCHED_GANG_MAX: the one furthest behind */
	uint64_t started, now;  /* first and latest time seen */
	uint64_t returned;      /* until then those who woke and were put first have used up that right */
	uint64_t balanced;      /* when it last looked at other CPUs */
	uint64_t pulled;
	int64_t omega;          /* host time less virtual time */
	uint64_t epoch;         /* of the division whose rates are in use here */
	uint64_t peopled;       /* since when somebody with demand has belonged here */
	unsigned cursor;        /* where the next look at other CPUs begins */
	int charges;           /* before `behind` is summed up anew */
	uint32_t hint;          /* 1 + a CPU where such a one waits; atomic */
	uint32_t hurry;         /* such a one has been queued since; atomic */
	uint32_t kicked;        /* told to choose again since its last pick; atomic */
	uint32_t long_turn;     /* runs the only entity of a one-CPU machine */
	/* Read by CPUs that look for work or room; atomic. */
	_Alignas(64) uint64_t rate; /* due to the entities here that have demand */
	int64_t behind;         /* sum of their lags at behind_at, when it had run for busy_then ticks in all */
	uint64_t behind_at, busy_then;
	uint64_t since;         /* when the present turn or idle time began */
	/* Ticks in which it ran something: `busy` while it rests, else host time less `unused`. */
	uint64_t busy, unused;
	uint32_t resting;
	int64_t due_at;         /* host time at which one that waits is eligible; 0: now */
	uint32_t waiting;       /* in the first two heaps */
	uint32_t corun;         /* a sibling of what waits here has begun to run elsewhere */
	const struct sched_pool *core_pool; /* what runs here, or NULL */
	/* Where pools are kept apart (core.c): who waits here for the core, or NULL. Written under the core's lock. */
	const struct sched_pool *claim;
	int64_t claim_due;      /* host time */
	struct lock core_lock;  /* of the core whose number is this CPU's */
};

/*
 * What the last division does not know, sched.stale. New numbers are taken up at once, demand changes too often for
 * that. In one word, because every pick asks.
 */
#define STALE_DEMAND BIT(0)  /* some have guessed rates, or it matters who has demand */
#define STALE_NUMBERS BIT(1)
#define STALE_FLAGS (STALE_DEMAND | STALE_NUMBERS)
#define STALE_POOL_SHIFT 32  /* from there on: pools with another demand than then */
#define STALE_POOL BIT(STALE_POOL_SHIFT)

struct mask {
	struct cpuset cpus;
	unsigned users;
	bool is_union;          /* of overlapping ones in use, see affinity.c */
	uint64_t within[MASK_WORDS]; /* masks that are subsets of this one, itself included */
	/* Scratch of the division. */
	uint64_t wanted, taken, promised;
	/* Scratch of admission. */
	uint64_t reserved;
	bool in_common;         /* used by some that have no core of their own */
};

struct sched {
	struct lock lock;
	uint32_t off;           /* enum sched_switch; atomic */
	uint64_t slice;         /* atomic */
	uint64_t tick, window, skew;
	unsigned cpus, entities_max, entities;
	unsigned exclusive;     /* CPUs that have an owner, no less at any time; atomic */
	bool separate_cores;    /* atomic */
	void (*kick)(void *ctx, unsigned cpu);
	void *ctx;
	struct list pools, restricted;
	struct sched_pool root;
	const struct sched_change *planned; /* may be committed, with the pools in this order */
	struct sched_pool *order;
	bool unsettled;         /* some pool is */
	unsigned masks;         /* those in use are below this */
	uint16_t core_of[SCHED_MAX_CPUS], llc_of[SCHED_MAX_CPUS];
	const struct sched_entity *owner[SCHED_MAX_CPUS]; /* of an exclusive core; atomic */
	const struct sched_entity *claimant; /* is to have core `claimed` if that fits, and is not in its own way there */
	uint16_t claimed;
	const struct sched_entity *judged; /* counts for admission as one that is exclusive or confined to mask judged_mask */
	unsigned judged_mask;
	bool judged_exclusive;
	_Alignas(64) uint64_t epoch; /* number of the last division, stored after its results; atomic */
	uint64_t numbers_epoch; /* of the last one that was made for new numbers; atomic */
	uint64_t divided;       /* when it was; atomic */
	int64_t shift;          /* mean lag then, in virtual time; atomic */
	bool numbers_changed;   /* and leaves: what all are entitled to is old */
	uint64_t stale;         /* what has changed since; atomic */
	_Alignas(64) uint64_t idle[CPUSET_WORDS]; /* CPUs that have nothing to run; atomic */
	uint64_t lent[CPUSET_WORDS]; /* CPUs that run somebody who has had what he is due; atomic */
	struct mask mask[SCHED_MASKS_MAX];
	struct sched_cpu *cpu;
};

static inline bool is_boosted(const struct sched_entity *e) { return e->marks & MARK_BOOSTED; }
static inline bool in_gang(const struct sched_entity *e) { return e->marks & MARK_GANG; }
/* A limit above it may bound it. When there is none, nothing strict is left of one that was. */
static inline bool may_be_limited(const struct sched_entity *e) { return peek(&e->pool->limited) != NULL; }

static inline bool is_on(const struct sched *s, enum sched_switch what) { return !(peek(&s->off) & what); }

static inline struct sched_cpu *cpu_of(struct sched *s, unsigned cpu)
{
	ASSERT(cpu < s->cpus);
	return &s->cpu[cpu];
}

/*
 * What an entity asks for at a time. EEVDF alone keeps everybody within one request of the fluid to either side; what
 * CPUs may differ by before something moves comes on top, so with several of them a request is half a slice.
 */
static inline uint64_t request_of(const struct sched *s)
{
	uint64_t slice = peek(&s->slice);

	return s->cpus == 1 ? slice : MAX(slice / 2, 1);
}

/* What @e does, who may ask for less. */
static inline uint64_t request_by(const struct sched *s, const struct sched_entity *e)
{
	return MIN(request_of(s), e->request);
}

static inline bool may_run_on(const struct sched *s, const struct sched_entity *e, unsigned cpu)
{
	const struct sched_entity *owner = peek(&s->owner[cpu]);

	return (peek(&e->mask) == ANYWHERE || cpuset_has(&s->mask[peek(&e->mask)].cpus, cpu)) && (!owner || owner == e);
}

/* ---- tags: pure arithmetic ---- */

static inline int64_t clamp_time(int64_t t, int64_t most) { return t > most ? most : t < -most ? -most : t; }

/* Times wrap like the counter they come from. */
static inline int64_t apart(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - (uint64_t)b); }
static inline int64_t later(int64_t t, int64_t by) { return (int64_t)((uint64_t)t + (uint64_t)by); }

/* @time x @rate, in ticks. */
static inline int64_t served(int64_t time, uint64_t rate) { return (int64_t)(((__int128)time * (int64_t)rate) >> RATE_SHIFT); }

/* How long @ticks of service take at @rate; at most TIME_CAP of them count. */
static inline int64_t stretch(int64_t ticks, uint32_t rate)
{
	return rate == RATE_ONE ? ticks : clamp_time(ticks, TIME_CAP) * (int64_t)RATE_ONE / (int64_t)rate;
}

/* ---- queue.c, wake.c ---- */

static inline int64_t virtual_at(const struct sched_cpu *c, uint64_t host) { return apart((int64_t)host, c->omega); }
static inline int64_t virtual_now(const struct sched_cpu *c) { return virtual_at(c, c->now); }
static inline int64_t lag_of(const struct sched_cpu *c, const struct sched_entity *e)
{
	return clamp_time(served(apart(virtual_now(c), e->eligible), e->rate), TIME_CAP);
}

/* stretch() of at most TIME_CAP ticks at the rate of @e, without its division. */
static inline int64_t stretch_of(const struct sched_entity *e, uint64_t ticks)
{
	return (int64_t)(((unsigned __int128)ticks * e->inverse) >> INVERSE_SHIFT);
}

/* The same for what may be owed or had in advance. */
static inline int64_t stretch_lag(const struct sched_entity *e, int64_t lag)
{
	return lag < 0 ? -stretch_of(e, (uint64_t)-lag) : stretch_of(e, (uint64_t)lag);
}

static inline void set_rate(const struct sched *s, struct sched_entity *e, uint32_t rate)
{
	if (rate == e->rate)
		return;
	e->early = rate >= RATE_NEARLY_ONE && s->cpus > 1 ? (int64_t)peek(&s->slice) : 0;
	e->rate = rate;
	e->rate_row = (uint8_t)bit_highest(rate);
	e->inverse = ((uint64_t)RATE_ONE << INVERSE_SHIFT) / rate;
}

/* Who is due nearly a whole CPU cannot run far ahead, and must not wait because of a rounding or of others' debts. */
static inline int64_t lag_forgiven(const struct sched_entity *e, int64_t lag)
{
	return lag < 0 && lag > -e->early / 8 ? 0 : lag;
}

static inline int64_t deadline_of(const struct sched_entity *e)
{
	return later(e->eligible, stretch_of(e, e->left)) - e->early;
}

uint64_t cpu_advance(struct sched_cpu *c, uint64_t now);
/* Ticks that @c has run something for until @now. */
static inline uint64_t cpu_busy(const struct sched_cpu *c, uint64_t now)
{
	return __atomic_load_n(&c->resting, __ATOMIC_ACQUIRE) ? peek(&c->busy) : now - peek(&c->unused);
}
/* The sum of the lags of those who belong to @c at @now: it grows by their rates, less what the CPU serves. */
static inline int64_t cpu_behind(const struct sched_cpu *c, uint64_t now)
{
	int64_t ran = (int64_t)(cpu_busy(c, now) - peek(&c->busy_then));

	return peek(&c->behind) + served((int64_t)(now - peek(&c->behind_at)), peek(&c->rate)) - ran;
}
/* Brings that sum up to c->now, before any change of who belongs here. */
void cpu_drift(struct sched_cpu *c);
/* Into the sums of @c, with its rate and owed @lag; or out of them: returns what it is owed. */
void cpu_join(struct sched_cpu *c, const struct sched_entity *e, int64_t lag);
int64_t cpu_leave(struct sched_cpu *c, const struct sched_entity *e);
/* Into the right heap, READY, or out of the one it is in. */
void cpu_enqueue(struct sched *s, struct sched_cpu *c, struct sched_entity *e);
void cpu_dequeue(struct sched_cpu *c, struct sched_entity *e);
/* Counts the time spent in the present state so far, unless it RUNs. */
void cpu_close_account(struct sched_cpu *c, struct sched_entity *e);
/* What other CPUs see of the queue. */
static inline void cpu_publish(struct sched_cpu *c)
{
	poke(&c->waiting, c->ready.count + c->future.count);
	poke(&c->due_at, c->ready.count ? 0 : c->future.count ? later(c->future.at[0].key, c->omega) : NEVER);
}
/* Queues who became eligible, or may run again, accordingly. */
void cpu_promote(struct sched *s, struct sched_cpu *c);
void cpu_park(struct sched_cpu *c, struct sched_entity *e, enum park why, uint64_t until);
void sched_kick(struct sched *s, unsigned cpu);
/* What @e left in @c is to be put soon. */
void cpu_want_release(struct sched *s, struct sched_cpu *c, struct sched_entity *e);
/* The CPU that @e belongs to, locked. */
struct sched_cpu *cpu_lock_home(struct sched *s, const struct sched_entity *e);
/*
 * @e, BLOCKED or READY in no queue on @home, which is locked, goes to the best CPU, owed @lag. May drop and take
 * home->lock again. @put: home has just let go of it; until it is queued it counts as held, so that nobody takes it
 * apart.
 */
void cpu_place(struct sched *s, struct sched_cpu *home, struct sched_entity *e, int64_t lag, bool put);
/* Counts @change leaves with demand, which asks for a new division. */
void count_demand(struct sched *s, struct sched_entity *e, int change);

/* ---- fill.c ---- */

#define LEVEL_SHIFT 20
#define LEVEL_MAX (1ull << 58)

/* What @shares are worth at @level. */
static inline uint64_t level_rate(uint64_t level, uint64_t shares)
{
	return (uint64_t)(((unsigned __int128)level * shares) >> LEVEL_SHIFT);
}

/*
 * Divides @amount: each gets level x shares, but not less than low nor more than cap. Stores the rates, which sum to
 * @amount or, when that is outside of them, to the lows or the caps; returns the level.
 */
uint64_t fill_divide(struct sched_part *first, uint64_t amount);

/* ---- entitle.c ---- */

/* More than any machine has is as good as that. */
static inline uint64_t rate_of_ppm(uint64_t ppm) { return (MIN(ppm, BIT(33)) << RATE_SHIFT) / SCHED_ONE_CPU; }
static inline uint64_t ppm_of_rate(uint64_t rate) { return (rate * SCHED_ONE_CPU + RATE_ONE / 2) >> RATE_SHIFT; }

/* Its leaves or numbers changed; under s->lock. */
void division_stale(struct sched *s);
/* After that, no lock held: tells CPUs that hold somebody back, who may be let go by the next division. */
void division_kick(struct sched *s);
/* A new division when one is due at @now, for a pick on @c. No lock held. */
void divide_stale(struct sched *s, const struct sched_cpu *c, uint64_t now);
/* Not when only what had demand then and has it again came and went in between. */
static inline bool is_stale(const struct sched *s) { return peek(&s->stale); }
/* What @p has from now on is what the division is made with, or nothing is when it leaves; returns it. */
uint32_t note_demand(struct sched *s, struct sched_pool *p);
static inline uint32_t demand_of(const struct sched_pool *p) { return (uint32_t)peek(&p->demand); }
/* Its demand in the division that is being made, or the last one. */
static inline uint32_t demand_noted(const struct sched_pool *p) { return (uint32_t)(peek(&p->demand) >> 32); }
/* One pass over the tree with what leaves want now; under s->lock. */
void divide_tree(struct sched *s, uint64_t capacity);
/* The rate for an entity that begins to have demand. */
uint32_t rate_guessed(const struct sched_entity *e);
/* The same at once, and how much of it is an advance. */
void begin_advance(const struct sched *s, struct sched_entity *e, uint64_t now);
static inline void take_rate(const struct sched *s, struct sched_entity *e, uint64_t now)
{
	uint64_t demand = peek(&e->pool->demand);
	uint32_t own = peek(&e->pinned_rate), leaf = peek(&e->pool->leaf_rate);

	/* The division was made with as many. */
	if (likely((uint32_t)demand == demand >> 32 && leaf && !e->attr.exclusive))
		set_rate(s, e, own ? own : leaf);
	else
		begin_advance(s, e, now);
}
uint32_t rate_of(const struct sched_entity *e);
/* @e blocks at @now, or was part of a division then: what it was due of the advance is taken off its tags. */
void end_advance(struct sched_entity *e, uint64_t now);
/* Is there a division whose rates are not in use on @c, or have its sums been carried on for long? */
static inline bool must_adopt(const struct sched *s, const struct sched_cpu *c)
{
	return __atomic_load_n(&s->epoch, __ATOMIC_ACQUIRE) != c->epoch || c->charges <= 0;
}
/* Takes up the rates of the last division on @c, which runs nothing and has nobody back. */
void cpu_adopt(struct sched *s, struct sched_cpu *c);
/* The same for one entity that is about to leave @c. */
void entity_adopt(struct sched *s, const struct sched_cpu *c, struct sched_entity *e);

/* ---- affinity.c; under s->lock ---- */

MUST_CHECK enum status affinity_use(struct sched *s, const struct cpuset *cpus, unsigned *mask, struct error *err);
void affinity_unuse(struct sched *s, unsigned mask);
/* Lowers the rates of leaves whose CPUs cannot carry them, and divides again. */
void affinity_settle(struct sched *s, uint64_t capacity);
/* Do the reservations of those who are confined to the same CPUs fit there? */
MUST_CHECK enum status affinity_admit(struct sched *s, struct error *err);
unsigned cpus_count(const struct cpuset *set);

/* ---- limit.c ---- */

/* Ticks that @e may run from @now on, at most @want, taken out of the windows above it; 0: none in this window. */
uint64_t limit_take(struct sched *s, struct sched_entity *e, uint64_t now, uint64_t want);
/* After it ran @ran of them, up to @now. */
void limit_settle(struct sched *s, struct sched_entity *e, uint64_t ran, uint64_t now);
/* @p has another limit: the rest of the present window is divided by that. */
void limit_changed(struct sched_pool *p);
static inline uint64_t limit_window_end(const struct sched *s, uint64_t now) { return (now / s->window + 1) * s->window; }

/* ---- pool.c ---- */

/* What the CPUs offer to the pools below the root, ppm. */
uint64_t pool_offered(const struct sched *s);
MUST_CHECK enum status pool_check_numbers(const struct rls *n, struct error *err);
enum status pool_does_not_fit(const struct sched_pool *p, uint64_t others, uint64_t wanted, uint64_t room,
			      struct error *err);
/* What a pool with @numbers may use in a window. */
uint64_t pool_limit_ticks(const struct sched *s, const struct rls *numbers);
/* Of @p, whose parent's are right: the nearest limited pool; the pools that its figures count in. */
void pool_set_limited(struct sched_pool *p);
void pool_set_counted(struct sched_pool *p);
bool pool_counts_in(const struct sched_counted *counted, const struct sched_pool *p);

/* ---- change.c ---- */

/* While a change is being planned: what @p is to have. */
static inline const struct rls *numbers_then(const struct sched_pool *p)
{
	return p->change ? &p->change->numbers : &p->numbers;
}

/* ---- balance.c ---- */

/* Where @e, that wakes or has to leave @home, should wait. */
struct sched_cpu *balance_place(struct sched *s, const struct sched_entity *e, struct sched_cpu *home);
/* Fetches work from another CPU when @c has none that is due, or much less of it. May drop and take c->lock again. */
void balance_pull_slow(struct sched *s, struct sched_cpu *c);
static inline void balance_pull(struct sched *s, struct sched_cpu *c)
{
	if (s->cpus > 1 && (!c->ready.count || c->now - c->balanced >= s->tick))
		balance_pull_slow(s, c);
}
/* @e, queued on @c and just put, is due nearly a whole CPU: takes it to a CPU that is ahead. False when none is. */
bool balance_give(struct sched *s, struct sched_cpu *c, struct sched_entity *e);
/* Moves a queued entity between CPUs whose locks are held. */
void balance_move(struct sched *s, struct sched_entity *e, struct sched_cpu *from, struct sched_cpu *to);
/* Lets an idle CPU, or one that runs lent time, know that something waits on @c. */
void balance_offer_slow(struct sched *s, const struct sched_cpu *c);
static inline void balance_offer(struct sched *s, const struct sched_cpu *c)
{
	uint64_t any = 0;

	for (unsigned w = 0; w <= (s->cpus - 1) / 64; w++)
		any |= peek(&s->idle[w]) | peek(&s->lent[w]);
	if (any)
		balance_offer_slow(s, c);
}
/* Locks a second CPU under @c's lock. False, with nothing locked, when that would have to wait out of order. */
MUST_CHECK bool cpu_lock_second(struct sched_cpu *c, struct sched_cpu *second);

/* ---- core.c ---- */

/*
 * Must @e, about to run on @c, leave the core to another pool that runs there, or waits there and is due first? If not,
 * the core is its pool's now.
 */
bool core_refuses(struct sched *s, struct sched_cpu *c, const struct sched_entity *e);
/* Those who wait on @c for the core may try again. */
void core_retry(struct sched *s, struct sched_cpu *c);
/* @c has nothing to run: who waits for the core on its other threads is told. */
void core_leave(struct sched *s, struct sched_cpu *c);

/* ---- cosched.c ---- */

/* Pure: what a skew counts as once it has been noticed, see docs/scheduler.md. */
uint64_t cosched_catch_up(uint64_t skew, uint64_t threshold);
/* Pure: ticks by which the deadline of an entity counts as earlier beside @siblings that run. */
uint64_t cosched_bonus(unsigned siblings, uint64_t slice);

void gang_join(struct sched_entity *e);
void gang_leave(struct sched_entity *e);
/* State or CPU of @e changed. */
void gang_note(struct sched_entity *e);
/* @e ran for @ran ticks: its progress counts for the skew. */
void gang_progress(struct sched_entity *e, uint64_t ran);
/* @e begins to have demand: the time that it slept is no skew. */
void gang_wake(struct sched_entity *e);
/* Is @e too far ahead of a sibling that wants to run? */
bool gang_leads(struct sched *s, struct sched_entity *e);
/* How many siblings of @e wait or run on @cpu. */
unsigned gang_on_cpu(const struct sched_entity *e, unsigned cpu);
/* Tells CPUs where siblings of @e wait that it begins to run. */
void gang_announce(struct sched *s, const struct sched_entity *e);
/* Does a sibling of @e run now? */
bool gang_coruns(const struct sched *s, const struct sched_entity *e);
/* @e, which ran out of turn, has been charged on @c: who spun gets its turn back. */
void gang_favoured(struct sched *s, struct sched_cpu *c, struct sched_entity *e);
/* Ticks of the turn of @e, for which a sibling spins. */
uint64_t gang_favour(const struct sched *s, const struct sched_entity *e);
/* @e, charged on @c, yields: fetches the sibling to prefer there. */
void gang_yield(struct sched *s, struct sched_cpu *c, struct sched_entity *e);
/* Whom to prefer to the first of the queue: for whom the last one yielded, or beside whom siblings run. NULL: nobody. */
struct sched_entity *gang_prefer(struct sched *s, struct sched_cpu *c);

/* ---- debt.c; of one in a gang ---- */

/* @e, which blocks, had @debt ticks more than it was due. */
void debt_leave(const struct sched *s, struct sched_entity *e, int64_t debt);
/* What @e, which is owed @lag or had that much more, takes over of what its siblings left. */
int64_t debt_take(const struct sched *s, struct sched_entity *e, int64_t lag);
/* @e counts no longer as demand, or not yet. */
void debt_sleep(struct sched_entity *e, uint64_t now);
void debt_wake(struct sched_entity *e, uint64_t now);

/* ---- account.c ---- */

void account_wake_latency(struct sched_entity *e, uint64_t ticks);
void figures_add(struct sched_figures *sum, const struct sched_figures *more);
/* May go below 0: sums come out right, because they wrap. */
void figures_subtract(struct sched_figures *from, const struct sched_figures *less);
/* Adds what the entities in @p have come to; under s->lock. */
void pool_sum_own(struct sched *s, const struct sched_pool *p, struct sched_figures *out);

#endif
