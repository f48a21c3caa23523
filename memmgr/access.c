/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's memory read and written by a host that runs none of the guest's
 * vcpus: no address outlives the map's lock, so that the page may be taken from
 * the guest right after. A piece lies in one page, which bounds the hold.
 */
#include "memmgr/internal.h"

enum status gpmap_edit(struct gpmap *map, gpa_t at, size_t len, void (*edit)(void *ctx, void *va), void *ctx)
{
	size_t offset = at.v & PAGE_MASK;
	enum status st;
	void *page;

	ASSERT(len <= PAGE_SIZE - offset);
	lock_acquire(&map->lock);
	st = gpmap_populate_locked(map, gpa_to_gfn(at), &page);
	if (st == ST_OK)
		edit(ctx, (uint8_t *)page + offset);
	lock_release(&map->lock);
	return st;
}

/* What happens to a piece: the one of @out, @in and @byte that its caller set. */
struct piece {
	void *out;
	const void *in;
	uint8_t byte;
	size_t len;
};

static void copy(void *ctx, void *va)
{
	const struct piece *p = ctx;

	if (p->out)
		memcpy(p->out, va, p->len);
	else if (p->in)
		memcpy(va, p->in, p->len);
	else
		memset(va, p->byte, p->len);
}

enum status gpmap_read(struct gpmap *map, gpa_t at, void *out, size_t len)
{
	return gpmap_edit(map, at, len, copy, &(struct piece){.out = out, .len = len});
}

enum status gpmap_write(struct gpmap *map, gpa_t at, const void *data, size_t len)
{
	return gpmap_edit(map, at, len, copy, &(struct piece){.in = data, .len = len});
}

enum status gpmap_fill(struct gpmap *map, gpa_t at, uint8_t byte, size_t len)
{
	return gpmap_edit(map, at, len, copy, &(struct piece){.byte = byte, .len = len});
}
