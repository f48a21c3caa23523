/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How device code reaches guest memory: it pins a piece, uses it by its host
 * address, and unpins it. A pinned page is neither taken away nor moved; an
 * unpinned one may be gone or elsewhere the next moment, so nobody keeps a host
 * address beyond the pin. The memory side answers at once, or LATER when the page
 * has to be brought in first: then it keeps the guest_pin and calls back, and the
 * device asks again. The real one is in guest/, over memory management's page
 * map; tests have one that answers LATER at random (tests/fakes/fake_guest_mem.h).
 */
#ifndef CORBEL_IO_GUEST_MEM_H
#define CORBEL_IO_GUEST_MEM_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/list.h"

enum pin_result {
	PIN_NOW,   /* pinned: va and got are set */
	PIN_LATER, /* the guest_pin is the memory side's until it calls ready, or until cancel() gave it back */
	PIN_FAIL,  /* no RAM at that address: a hole, a device's page, past the end */
};

/* One piece of guest memory: first a question, then, once pinned, what to unpin by. */
struct guest_pin {
	/* asked */
	gpa_t at;
	uint32_t bytes; /* at least 1; at + bytes may leave memory, the part that is returned does not */
	bool write;     /* the device will write: the page becomes private and dirty */
	/* PIN_NOW */
	uint32_t got;   /* 1 .. bytes: contiguous in host memory from va on; at least to the end of the 4 KiB page */
	void *va;       /* of at; the rest of its 4 KiB page lies around it as in the guest's, and is pinned with it */
	uint64_t cookie; /* the memory side's */
	/* PIN_LATER: called once, masked, no lock held, on any CPU. Ask again; the answer may be LATER again. */
	void (*ready)(struct guest_pin *p);
	struct list link; /* the memory side's while LATER */
};

struct guest_mem_ops {
	/*
	 * Asks for @p, whose at, bytes, write and ready are set. Any context with interrupts masked; a lock of
	 * up to LOCK_IO may be held. Bounded: what takes long is LATER. A page may be pinned many times over.
	 */
	enum pin_result (*pin)(void *ctx, struct guest_pin *p);
	/*
	 * Gives back what PIN_NOW gave. Only at, bytes, write, got, va and cookie are looked at, so @p may be a
	 * copy or be put together again.
	 */
	void (*unpin)(void *ctx, const struct guest_pin *p);
	/*
	 * Takes back a question that was answered LATER. True: ready will not be called, @p is the caller's. False: it
	 * is too late, ready is running or about to. Called with locks held, so it never waits for that.
	 */
	bool (*cancel)(void *ctx, struct guest_pin *p);
};

/* One guest's memory, as its devices have it. */
struct guest_mem {
	const struct guest_mem_ops *ops;
	void *ctx;
};

static inline enum pin_result guest_mem_pin(const struct guest_mem *m, struct guest_pin *p)
{
	return m->ops->pin(m->ctx, p);
}
static inline void guest_mem_unpin(const struct guest_mem *m, const struct guest_pin *p) { m->ops->unpin(m->ctx, p); }
static inline bool guest_mem_cancel(const struct guest_mem *m, struct guest_pin *p) { return m->ops->cancel(m->ctx, p); }

#endif
