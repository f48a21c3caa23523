/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All requests take equally long, so they end in the order in which they were
 * begun, and a ring of end times beside the list of requests is all the queue that
 * is needed. A beginning that comes late (nobody polled, no timer ran) counts from
 * when it was due: the rate is kept whatever the caller's rhythm, as a disk
 * would that has its own.
 */
#include "io/model.h"

#include "lib/bits.h"
#include "lib/format.h"

static struct model *model_of(struct block_device *device)
{
	return container_of(device, struct model, device);
}

static struct block_request *first_of(const struct list *l)
{
	return list_entry(l->next, struct block_request, link);
}

/* When the request that waits first may begin: a place and the rate allow it. */
static uint64_t start_of(const struct model *m)
{
	return m->under_way < m->depth ? m->next_start : TIMERQ_NEVER;
}

static void start(struct model *m, uint64_t at)
{
	struct list *node = m->waiting.next;
	uint64_t last = m->under_way ? m->ends[(m->first_end + m->under_way - 1) % MODEL_DEPTH_MAX] : 0;

	list_remove(node);
	list_push_back(&m->serving, node);
	/* After a change to a shorter service those before still go first. */
	m->ends[(m->first_end + m->under_way++) % MODEL_DEPTH_MAX] = MAX(at + m->service, last);
	m->next_start = at + m->apart;
}

static void finish(struct model *m)
{
	struct block_request *r = first_of(&m->serving);

	list_remove(&r->link);
	/* Whoever waited for the place begins when it became free. */
	if (m->under_way == m->depth)
		m->next_start = MAX(m->next_start, m->ends[m->first_end]);
	m->first_end = (m->first_end + 1) % MODEL_DEPTH_MAX;
	m->under_way--;
	m->served++;
	m->base->ops->submit(m->base, r);
	if (r->done && r->complete)
		r->complete(r);
}

/* Ticks of the next thing to happen. */
static uint64_t next_event(const struct model *m)
{
	uint64_t end = m->under_way ? m->ends[m->first_end] : TIMERQ_NEVER;
	uint64_t begin = list_empty(&m->waiting) ? TIMERQ_NEVER : start_of(m);

	return MIN(end, begin);
}

static void set_timer(struct model *m)
{
	if (m->timers)
		timerq_set(m->timers, &m->timer, next_event(m));
}

/* What is due, in the order in which it was; at most as much as a full house. */
static bool step(struct model *m, uint64_t now)
{
	unsigned moved = 0;

	for (uint64_t at; moved < 2 * MODEL_DEPTH_MAX && (at = next_event(m)) <= now; moved++) {
		if (m->under_way && m->ends[m->first_end] <= at)
			finish(m);
		else
			start(m, at);
	}
	set_timer(m);
	return moved > 0;
}

static void expired(struct timer *t, uint64_t now)
{
	step(container_of(t, struct model, timer), now);
}

static void submit(struct block_device *device, struct block_request *r)
{
	struct model *m = model_of(device);
	uint64_t now = m->clock->ticks();
	bool first = list_empty(&m->waiting);

	r->done = false;
	/* A disk that was idle owes nothing for the time before. */
	if (first && m->under_way < m->depth)
		m->next_start = MAX(m->next_start, now);
	list_push_back(&m->waiting, &r->link);
	if (first && start_of(m) <= now)
		start(m, now);
	set_timer(m);
}

static bool poll(struct block_device *device)
{
	struct model *m = model_of(device);
	bool moved = step(m, m->clock->ticks());

	return m->base->ops->poll(m->base) || moved;
}

static bool cancel(struct block_device *device, struct block_request *r)
{
	struct model *m = model_of(device);

	list_for_each(it, &m->waiting) {
		if (it == &r->link) {
			list_remove(it);
			set_timer(m);
			return true;
		}
	}
	return false;
}

static const struct block_ops ops = {.submit = submit, .poll = poll, .cancel = cancel};

enum status model_set(struct model *m, const struct model_config *cfg, struct error *err)
{
	if (cfg->depth == 0 || cfg->depth > MODEL_DEPTH_MAX)
		return fail(err, ST_INVALID, "%s: depth is 1 to %u, not %u", m->device.name, MODEL_DEPTH_MAX, cfg->depth);
	if (cfg->iops_max > MODEL_IOPS_MAX)
		return fail(err, ST_INVALID, "%s: iops_max is at most %u, not %u", m->device.name, MODEL_IOPS_MAX, cfg->iops_max);
	if (cfg->service_ns > MODEL_SERVICE_MAX_NS)
		return fail(err, ST_INVALID, "%s: service is at most %llu ns, not %llu", m->device.name, MODEL_SERVICE_MAX_NS,
			    (unsigned long long)cfg->service_ns);
	m->depth = m->device.at_once = cfg->depth;
	m->service = ns_to_ticks(cfg->service_ns, m->clock->hz);
	m->apart = cfg->iops_max ? MAX(m->clock->hz / cfg->iops_max, 1) : 0;
	/* A place that was not there before is not filled in the past. */
	m->next_start = MAX(m->next_start, m->clock->ticks());
	set_timer(m);
	return ST_OK;
}

enum status model_init(struct model *m, struct block_device *base, const struct model_config *cfg,
		       const struct clock *clock, struct timerq *timers, const char *name, struct error *err)
{
	*m = (struct model){.device = *base, .base = base, .clock = clock, .timers = timers};
	m->device.ops = &ops;
	m->device.immediate = false;
	format(m->device.name, sizeof m->device.name, "%s", name);
	list_init(&m->waiting);
	list_init(&m->serving);
	timer_init(&m->timer, expired);
	return model_set(m, cfg, err);
}
