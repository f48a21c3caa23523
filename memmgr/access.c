/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's memory read and written by a host that runs none of the guest's
 * vcpus: no address outlives the map's lock, so that the page may be taken from
 * the guest right after. A piece lies in one page, which bounds the hold.
 */
#include "memmgr/internal.h"

/* What happens to a piece: the one of @out, @in and @byte that its caller set. */
struct piece {
	void *out;
	const void *in;
	uint8_t byte;
};

static void copy(uint8_t *at, const struct piece *p, size_t len)
{
	if (p->out)
		memcpy(p->out, at, len);
	else if (p->in)
		memcpy(at, p->in, len);
	else
		memset(at, p->byte, len);
}

static enum status access(struct gpmap *map, gpa_t at, const struct piece *p, size_t len)
{
	size_t offset = at.v & PAGE_MASK;
	enum status st;
	void *page;

	ASSERT(len <= PAGE_SIZE - offset);
	lock_acquire(&map->lock);
	st = gpmap_populate_locked(map, gpa_to_gfn(at), &page);
	if (st == ST_OK)
		copy((uint8_t *)page + offset, p, len);
	lock_release(&map->lock);
	return st;
}

enum status gpmap_read(struct gpmap *map, gpa_t at, void *out, size_t len)
{
	return access(map, at, &(struct piece){.out = out}, len);
}

enum status gpmap_write(struct gpmap *map, gpa_t at, const void *data, size_t len)
{
	return access(map, at, &(struct piece){.in = data}, len);
}

enum status gpmap_fill(struct gpmap *map, gpa_t at, uint8_t byte, size_t len)
{
	return access(map, at, &(struct piece){.byte = byte}, len);
}
