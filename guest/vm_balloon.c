/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages leave the guest one by one: memory management splits what was larger. A
 * page that a device has pinned, or that is none, stays where it is.
 */
#include "guest/vm_balloon.h"

#include "guest/guest_mem.h"
#include "guest/machine.h"
#include "guest/platform.h"
#include "guest/vm_virtio.h"

/* A page that was never touched holds nothing; it is given away all the same. */
static bool inflate(void *ctx, gfn_t f)
{
	struct vm_balloon *b = ctx;
	enum status st = gpmap_remove(b->vm->memory, f);

	b->freed += st == ST_OK;
	return st == ST_OK || st == ST_BAD_STATE;
}

/* It comes with the guest's next touch, as any page does. */
static void deflate(void *ctx, gfn_t f) { (void)ctx, (void)f; }

static void stats(void *ctx, const uint64_t values[VIRTIO_BALLOON_STATS], uint32_t present)
{
	struct vm_balloon *b = ctx;

	(void)values, (void)present;
	b->told++;
}

static const struct virtio_balloon_ops ops = {
	.inflate = inflate, .deflate = deflate, .stats = stats, .page_cost = VIRTIO_BALLOON_PAGE_COST_MAX};

static uint32_t target_of(const struct vm *vm) { return (uint32_t)(vm->config.memory.balloon / PAGE_SIZE); }

void vm_balloon_init(struct vm_balloon *b, struct vm *vm)
{
	const struct clock *clock = vm->machine->host->clock;
	struct guest_mem mem = vm_guest_mem(vm);

	b->vm = vm;
	b->asked_at = clock->ticks() - clock->hz;
	virtio_balloon_init(&b->balloon, &mem, &ops, b);
	put_le32(b->balloon.config + VIRTIO_BALLOON_CFG_NUM_PAGES, target_of(vm));
}

static struct vm_balloon *balloon_of(const struct vm *vm)
{
	struct vm_virtio *v = platform_virtio(vm);

	return v ? vm_virtio_balloon(v) : NULL;
}

/* A guest that has not answered since is not disturbed by that: it finds the question with its answer. */
static bool to_be_asked(struct vm_balloon *b)
{
	const struct clock *clock = b->vm->machine->host->clock;
	uint64_t now = clock->ticks();

	if (!virtio_has(&b->balloon.device, VIRTIO_BALLOON_F_STATS_VQ))
		return false;
	if (now - b->asked_at < clock->hz)
		return false;
	b->asked_at = now;
	return true;
}

void vm_balloon_figures(const struct vm *vm, struct vm_balloon_figures *out)
{
	struct vm_balloon *b = balloon_of(vm);
	bool ask;

	*out = (struct vm_balloon_figures){.told = 0};
	if (!b)
		return;
	lock_acquire(&b->balloon.device.lock);
	out->held = virtio_balloon_actual(&b->balloon) * (uint64_t)PAGE_SIZE;
	out->freed = b->freed * PAGE_SIZE;
	out->refused = b->balloon.refused * PAGE_SIZE;
	out->told = b->told;
	if (b->told)
		memcpy(out->values, b->balloon.values, sizeof out->values);
	ask = vm->state == VM_RUNNING && to_be_asked(b);
	lock_release(&b->balloon.device.lock);
	if (ask)
		virtio_balloon_ask(&b->balloon);
}

void vm_balloon_changed(struct vm *vm)
{
	struct vm_balloon *b = balloon_of(vm);

	if (b)
		virtio_balloon_target(&b->balloon, target_of(vm));
}
