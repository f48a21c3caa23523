/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that is as slow as one says, on top of a device that is fast: what tests
 * and measurements of I/O scheduling stand on, for an emulator's disk has no speed
 * of its own. Requests are served first come, first served, at most `depth` at a
 * time, each for `service` nanoseconds, and at most `iops_max` are begun in a second.
 * When its time is over a request goes to the device below, and what that says is its
 * result.
 *
 * With a depth of d, a service time of s seconds and an unlimited rate it does d / s
 * requests a second; what waits longer waits in the queue. Time is the clock's, so
 * tests drive it by hand.
 */
#ifndef CORBEL_IO_MODEL_H
#define CORBEL_IO_MODEL_H

#include "io/block.h"
#include "lib/clock.h"
#include "lib/timerq.h"

#define MODEL_DEPTH_MAX 256u
#define MODEL_IOPS_MAX 10000000u
#define MODEL_SERVICE_MAX_NS 60000000000ull

struct model_config {
	uint32_t iops_max;   /* requests begun in a second, 0: any number */
	uint64_t service_ns; /* of one request, at most MODEL_SERVICE_MAX_NS */
	uint32_t depth;      /* 1 .. MODEL_DEPTH_MAX */
};

struct model {
	struct block_device device;
	struct block_device *base;
	const struct clock *clock;
	struct timerq *timers;
	struct timer timer;          /* the next thing that happens */
	struct list waiting, serving; /* in order of arrival */
	uint64_t ends[MODEL_DEPTH_MAX]; /* ticks, of those being served, in their order: a ring */
	uint32_t first_end, under_way;
	uint32_t depth;
	uint64_t service, apart;     /* ticks: of a request, between two beginnings */
	uint64_t next_start;         /* ticks: none begins before */
	uint64_t served;             /* requests since it was made */
};

/*
 * @base, @clock and @timers stay. @timers is run by whoever holds the domain's lock (io/block.h); NULL: there are only
 * polls. ST_INVALID names the number that is out of range.
 */
enum status model_init(struct model *m, struct block_device *base, const struct model_config *cfg,
		       const struct clock *clock, struct timerq *timers, const char *name, struct error *err) MUST_CHECK;

/* Other numbers, from now on; what is being served keeps its end. */
enum status model_set(struct model *m, const struct model_config *cfg, struct error *err) MUST_CHECK;

#endif
