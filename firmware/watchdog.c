/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The judgement and the setting. Pure C.
 */
#include "firmware/watchdog.h"

#include "lib/bits.h"

#define SECOND_NS 1000000000ull
#define TIMEOUT_MIN_NS (2 * SECOND_NS) /* the longest turn, of an entity alone at the longest slice, is 1.6 s */

static uint64_t timeout_ns = 10 * SECOND_NS;

uint64_t watchdog_timeout_ns(void)
{
	return timeout_ns;
}

static uint64_t get_timeout(const void *object)
{
	(void)object;
	return timeout_ns;
}

static void set_timeout(void *object, uint64_t value)
{
	(void)object;
	timeout_ns = value;
}

static const struct knob knobs[] = {
	{
		.name = "timeout", .type = KNOB_NUMBER, .measure = MEASURE_NS, .min = TIMEOUT_MIN_NS, .max = 3600 * SECOND_NS,
		.step = SECOND_NS / 1000, .otherwise = 10 * SECOND_NS, .get = get_timeout, .set = set_timeout,
		.help = "How long a processor may fail to pass its loop before it is reported as stuck",
	},
};

const struct knob_table watchdog_knobs = {.group = "host.watchdog", .rows = knobs, .count = ARRAY_SIZE(knobs)};

enum watch_verdict watch_judge(struct watch *w, bool idle, uint64_t beats, uint64_t now, uint64_t patience)
{
	bool was_told = w->told;

	if (idle || beats != w->beats) {
		*w = (struct watch){.beats = beats, .since = now};
		return was_told ? WATCH_BACK : WATCH_FINE;
	}
	if (was_told || now - w->since < patience)
		return WATCH_FINE;
	w->told = true;
	return WATCH_STUCK;
}
