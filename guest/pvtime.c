/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's TSC is the host's and a constant, so a clock is written once: ns of
 * vm_time since the VM's start, which were 0 at TSC 0, by a factor. Only a guest that moves its
 * TSC makes it be written again. Stolen time is what the scheduler counts as
 * waited, to the tick; it is written at the start of a turn if it has grown,
 * so that an exit costs nothing. What is in the guest's memory is never read.
 *
 * An address is checked when it is given, by writing there: what is no RAM is
 * #GP. If the page goes away later, nothing is written.
 */
#include "guest/pvtime.h"

#include "guest/gmem.h"
#include "guest/machine.h"
#include "guest/vcpu_internal.h"

#define NS_PER_SECOND 1000000000ull
#define CLOCK_RESERVED BIT(1)
#define WALL_RESERVED MASK(1, 0)
#define STEAL_RESERVED MASK(5, 1)
#define BODY offsetof(struct pvtime_clock, tsc_timestamp)
#define PREEMPTED 1u

void pvtime_scale(uint64_t hz, uint32_t *mul, int8_t *shift)
{
	uint64_t ns = NS_PER_SECOND;
	int8_t s = 0;

	/* hz and 10^9 within a factor of two, so that the quotient has all 32 bits: ns / hz in [1/2, 1). */
	while (ns >= hz)
		hz <<= 1, s++;
	while (2 * ns < hz)
		ns <<= 1, s--;
	*shift = s;
	*mul = (uint32_t)mul_div(ns, BIT(32), hz);
}

/* ---- kvmclock ---- */

static enum status write_clock(struct vcpu *v, uint64_t at)
{
	struct vm *vm = v->vm;
	bool apart = __atomic_load_n(&vm->tsc_apart, __ATOMIC_RELAXED);
	struct pvtime_clock c = {
		.version = v->pvtime.clock_version + 1,
		.tsc_timestamp = v->msr.tsc_adjust, /* what its TSC shows when vm_time is 0 */
		.flags = apart ? 0 : (uint8_t)PVTIME_TSC_STABLE,
	};
	enum status st;

	pvtime_scale(vm_time_hz(&vm->time), &c.tsc_to_system_mul, &c.tsc_shift);
	st = gmem_write(vm, gpa(at), &c.version, sizeof c.version);
	if (st == ST_OK)
		st = gmem_write(vm, gpa(at + BODY), (const uint8_t *)&c + BODY, sizeof c - BODY);
	if (st != ST_OK)
		return st;
	c.version = v->pvtime.clock_version += 2;
	return gmem_write(vm, gpa(at), &c.version, sizeof c.version);
}

void pvtime_show_clock(struct vcpu *v)
{
	if (v->pvtime.clock_msr & MSR_KVM_ENABLED)
		(void)write_clock(v, v->pvtime.clock_msr & ~MSR_KVM_ENABLED);
}

/* For good: a guest that does this knows what it does, and no kernel does after its start. */
void pvtime_tsc_moved(struct vcpu *v)
{
	struct vm *vm = v->vm;
	bool apart = vm->vcpu_count > 1 && v->msr.tsc_adjust != 0;

	if (apart && !__atomic_exchange_n(&vm->tsc_apart, true, __ATOMIC_ACQ_REL)) {
		for (unsigned i = 0; i < vm->vcpu_count; i++)
			if (vm->vcpus[i] != v)
				vcpu_request(vm->vcpus[i], REQ_CLOCK);
	}
	pvtime_show_clock(v);
}

static enum status set_clock(struct vcpu *v, uint64_t value)
{
	enum status st = ST_OK;

	if (value & CLOCK_RESERVED)
		return ST_INVALID;
	if (value & MSR_KVM_ENABLED)
		st = write_clock(v, value & ~MSR_KVM_ENABLED);
	if (st == ST_OK)
		v->pvtime.clock_msr = value;
	return st;
}

/* ---- the wall clock ---- */

/* Any vcpu may ask, several at once: each has a pair of versions of its own. */
static enum status set_wall(struct vcpu *v, uint64_t value)
{
	struct vm *vm = v->vm;
	uint64_t now = host_wall_seconds(v->host) * NS_PER_SECOND, up = vm_time_ns(&vm->time), then = now > up ? now - up : 0;
	struct pvtime_wall w = {.sec = (uint32_t)(then / NS_PER_SECOND), .nsec = (uint32_t)(then % NS_PER_SECOND)};
	enum status st;

	if (value & WALL_RESERVED)
		return ST_INVALID;
	w.version = __atomic_fetch_add(&vm->wall_version, 2, __ATOMIC_RELAXED) + 1;
	/* 0 is no place, as with KVM. */
	st = value ? gmem_write(vm, gpa(value), &w, sizeof w) : ST_OK;
	w.version++;
	if (st == ST_OK && value)
		st = gmem_write(vm, gpa(value), &w.version, sizeof w.version);
	if (st == ST_OK)
		__atomic_store_n(&vm->wall_msr, value, __ATOMIC_RELAXED);
	return st;
}

/* ---- steal time ---- */

/* Host ticks in which @v wanted a CPU and had none, since the VM's start. */
static uint64_t stolen(const struct vcpu *v)
{
	return v->waited_before + __atomic_load_n(&v->entity.figures.waited, __ATOMIC_RELAXED);
}

static gpa_t steal_at(uint64_t msr) { return gpa(msr & ~(STEAL_RESERVED | MSR_KVM_ENABLED)); }

/* What the guest's page is to say; siblings read it at the same time. */
struct steal_edit {
	uint64_t ns;
	uint32_t version; /* the even one, when it is done */
};

static void edit_steal(void *ctx, void *va)
{
	const struct steal_edit *e = ctx;
	struct pvtime_steal *at = va;

	__atomic_store_n(&at->version, e->version - 1, __ATOMIC_RELAXED);
	/* None of them comes before the odd version. */
	__atomic_store_n(&at->steal, e->ns, __ATOMIC_RELEASE);
	__atomic_store_n(&at->flags, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&at->preempted, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&at->version, e->version, __ATOMIC_RELEASE);
}

static void edit_preempted(void *ctx, void *va)
{
	struct pvtime_steal *at = va;

	(void)ctx;
	__atomic_store_n(&at->preempted, PREEMPTED, __ATOMIC_RELAXED);
}

/*
 * The vcpu is loaded, so that a page which is taken from the guest from now on stays what it is until the next entry;
 * and none has been taken since the address was looked up (gpmap_va()).
 */
static struct pvtime_steal *known_place(const struct vcpu *v)
{
	const struct pvtime *p = &v->pvtime;

	if (p->steal_generation != __atomic_load_n(v->vm->memory_generation, __ATOMIC_ACQUIRE))
		return NULL;
	return p->steal_place;
}

/* The first time, and after pages were taken: populates it. */
static enum status edit_place(struct vcpu *v, uint64_t msr, void (*edit)(void *ctx, void *va), void *ctx)
{
	struct pvtime *p = &v->pvtime;
	gpa_t at = steal_at(msr);
	enum status st;
	uint8_t *page;

	/* First: a page that is taken after this makes what follows void. */
	p->steal_generation = __atomic_load_n(v->vm->memory_generation, __ATOMIC_ACQUIRE);
	st = gpmap_edit(v->vm->memory, at, sizeof(struct pvtime_steal), edit, ctx);
	page = gpmap_va(v->vm->memory, gpa_to_gfn(at));
	p->steal_place = page ? (void *)(page + (at.v & PAGE_MASK)) : NULL;
	return st;
}

/* @at: its known place, or NULL. */
static enum status write_steal(struct vcpu *v, uint64_t msr, uint64_t ticks, struct pvtime_steal *at)
{
	struct pvtime *p = &v->pvtime;
	/* A product and no division: this is once a turn, and mul_div() goes bit by bit beyond 64. */
	uint64_t ns = (uint64_t)(((unsigned __int128)ticks * p->ns_of_tick) >> PVTIME_NS_SHIFT);
	struct steal_edit e = {ns, p->steal_version += 2};

	p->stolen = ticks;
	p->shown_preempted = false;
	if (unlikely(!at))
		return edit_place(v, msr, edit_steal, &e);
	edit_steal(&e, at);
	return ST_OK;
}

void pvtime_show_steal(struct vcpu *v)
{
	const struct pvtime *p = &v->pvtime;
	uint64_t ticks = stolen(v);

	if ((p->steal_msr & MSR_KVM_ENABLED) && (p->shown_preempted || p->stolen != ticks))
		(void)write_steal(v, p->steal_msr, ticks, known_place(v));
}

/* Nobody could see it but siblings. */
void pvtime_show_preempted(struct vcpu *v, enum disposition d)
{
	struct pvtime *p = &v->pvtime;
	struct pvtime_steal *at;

	if (!(p->steal_msr & MSR_KVM_ENABLED) || d != YIELD || v->vm->vcpu_count == 1)
		return;
	at = known_place(v);
	if (likely(at != NULL))
		edit_preempted(NULL, at);
	p->shown_preempted = at || edit_place(v, p->steal_msr, edit_preempted, NULL) == ST_OK;
}

static enum status set_steal(struct vcpu *v, uint64_t value)
{
	enum status st = ST_OK;

	if (value & STEAL_RESERVED)
		return ST_INVALID;
	v->pvtime.ns_of_tick = mul_div(NS_PER_SECOND, BIT(PVTIME_NS_SHIFT), v->host->clock->hz);
	if (value & MSR_KVM_ENABLED)
		st = write_steal(v, value, stolen(v), NULL);
	if (st == ST_OK)
		v->pvtime.steal_msr = value;
	return st;
}

/* ---- MSRs ---- */

void pvtime_reset(struct vcpu *v) { v->pvtime.clock_msr = v->pvtime.steal_msr = 0; }

enum status pvtime_read_msr(const struct vcpu *v, uint32_t index, uint64_t *out)
{
	switch (index) {
	case MSR_KVM_WALL_CLOCK:
		*out = __atomic_load_n(&v->vm->wall_msr, __ATOMIC_RELAXED);
		return ST_OK;
	case MSR_KVM_SYSTEM_TIME:
		*out = v->pvtime.clock_msr;
		return ST_OK;
	case MSR_KVM_STEAL_TIME:
		*out = v->pvtime.steal_msr;
		return ST_OK;
	default:
		return ST_NOT_FOUND;
	}
}

enum status pvtime_write_msr(struct vcpu *v, uint32_t index, uint64_t value)
{
	enum status st;

	switch (index) {
	case MSR_KVM_WALL_CLOCK:
		st = set_wall(v, value);
		break;
	case MSR_KVM_SYSTEM_TIME:
		st = set_clock(v, value);
		break;
	case MSR_KVM_STEAL_TIME:
		st = set_steal(v, value);
		break;
	default:
		return ST_NOT_FOUND;
	}
	return st == ST_OK ? ST_OK : ST_INVALID;
}
