/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ratio of p / q is kept as a round of q completions: of each round the first p - 1 interrupt
 * and the last one does, those in between are held.
 */
#include "io/coalesce.h"

#include "lib/bits.h"
#include "lib/clock.h"

const char *const coalesce_policy_names[] = {
	[COALESCE_OFF] = "off", [COALESCE_VIC] = "vic", [COALESCE_CIF] = "cif", NULL,
};

void coalesce_settings_init(struct coalesce_settings *set)
{
	*set = (struct coalesce_settings){.policy = COALESCE_VIC,
					  .iops_min = COALESCE_IOPS_MIN_DEFAULT,
					  .cif_min = COALESCE_CIF_MIN_DEFAULT,
					  .epoch_ns = COALESCE_EPOCH_DEFAULT_NS,
					  .gap_ns = COALESCE_GAP_DEFAULT_NS};
}

enum status coalesce_check(const struct coalesce_settings *set, struct error *err)
{
	/* With 1 the last command in flight could be held, and nothing would follow that brings it. */
	if (set->cif_min < 2 || set->cif_min > COALESCE_CIF_MIN_MAX)
		return fail(err, ST_INVALID, "cif_min is %u, it can be 2 to %u", set->cif_min, COALESCE_CIF_MIN_MAX);
	if (set->policy >= COALESCE_POLICIES)
		return fail(err, ST_INVALID, "policy %u is unknown", set->policy);
	if (set->iops_min > COALESCE_IOPS_MIN_MAX)
		return fail(err, ST_INVALID, "iops_min is %u, it can be 0 to %u", set->iops_min, COALESCE_IOPS_MIN_MAX);
	if (set->epoch_ns < COALESCE_EPOCH_MIN_NS || set->epoch_ns > COALESCE_EPOCH_MAX_NS)
		return fail(err, ST_INVALID, "epoch is %llu ns, it can be %llu to %llu", (unsigned long long)set->epoch_ns,
			    COALESCE_EPOCH_MIN_NS, COALESCE_EPOCH_MAX_NS);
	if (set->gap_ns > COALESCE_GAP_MAX_NS)
		return fail(err, ST_INVALID, "gap is %llu ns, it can be 0 to %llu", (unsigned long long)set->gap_ns,
			    COALESCE_GAP_MAX_NS);
	return ST_OK;
}

void coalesce_init(struct coalesce *c)
{
	*c = (struct coalesce){.count_up = 1, .skip_up = 1, .counter = 1};
}

static void set_ratio(struct coalesce *c, uint32_t count_up, uint32_t skip_up)
{
	c->count_up = count_up;
	c->skip_up = skip_up;
}

static void choose_ratio(struct coalesce *c, const struct coalesce_settings *set, uint32_t in_flight, uint64_t iops)
{
	uint32_t unit = set->cif_min;

	if (set->policy == COALESCE_VIC && iops < set->iops_min)
		set_ratio(c, 1, 1);
	else if (in_flight < 2 * unit)
		set_ratio(c, 4, 5);
	else if (in_flight < 3 * unit)
		set_ratio(c, 3, 4);
	else if (in_flight < 4 * unit)
		set_ratio(c, 2, 3);
	else
		set_ratio(c, 1, in_flight / (2 * unit));
}

/*
 * The rate is what was completed since the last look, over the time that really passed: after a silence it is
 * low at once. Nobody looks while few are in flight, for then it does not matter.
 */
static void look(struct coalesce *c, const struct coalesce_settings *set, uint32_t in_flight, uint64_t now, uint64_t hz)
{
	uint64_t passed = now - c->epoch_began;

	c->completed++;
	if (c->epoch_began && passed < ns_to_ticks(set->epoch_ns, hz))
		return;
	choose_ratio(c, set, in_flight + c->held, c->epoch_began ? mul_div(c->completed, hz, MAX(passed, 1u)) : 0);
	c->completed = 0;
	c->epoch_began = MAX(now, 1u);
}

static bool in_round(struct coalesce *c)
{
	if (c->counter < c->count_up) {
		c->counter++;
		return true;
	}
	if (c->counter >= c->skip_up) {
		c->counter = 1;
		return true;
	}
	c->counter++;
	return false;
}

bool coalesce_complete(struct coalesce *c, const struct coalesce_settings *set, uint32_t in_flight, uint64_t now,
		       uint64_t hz)
{
	bool interrupt = true;

	if (in_flight < set->cif_min) {
		coalesce_complete_few(c);
		return true;
	}
	c->completions++;
	if (set->policy != COALESCE_OFF) {
		look(c, set, in_flight, now, hz);
		interrupt = in_round(c);
	}
	c->held = interrupt ? 0 : c->held + 1;
	c->interrupts += interrupt;
	return interrupt;
}

uint64_t coalesce_gap(const struct coalesce *c, const struct coalesce_settings *set, uint32_t in_flight, uint64_t hz)
{
	if (set->policy == COALESCE_OFF || in_flight < set->cif_min || c->skip_up == 1)
		return 0;
	return ns_to_ticks(set->gap_ns, hz);
}
