/* SPDX-License-Identifier: Apache-2.0 */
/* See guest_mem.h. The page map counts pins and takes its own lock: nothing is kept here. */
#include "guest/guest_mem.h"

#include "guest/vm.h"
#include "lib/assert.h"

static enum pin_result pin(void *ctx, struct guest_pin *p)
{
	struct vm *vm = ctx;
	struct gpmap_pin got;

	if (gpmap_pin(vm->memory, p->at, &got) != ST_OK)
		return PIN_FAIL;
	p->got = (uint32_t)MIN(p->bytes, got.bytes);
	p->va = got.va;
	p->cookie = got.leaf;
	return PIN_NOW;
}

static void unpin(void *ctx, const struct guest_pin *p)
{
	struct vm *vm = ctx;

	gpmap_unpin(vm->memory, (uint32_t)p->cookie);
}

static bool cancel(void *ctx, struct guest_pin *p)
{
	(void)ctx, (void)p;
	panic("a pin was never answered LATER");
}

static const struct guest_mem_ops ops = {.pin = pin, .unpin = unpin, .cancel = cancel};

struct guest_mem vm_guest_mem(struct vm *vm) { return (struct guest_mem){.ops = &ops, .ctx = vm}; }
