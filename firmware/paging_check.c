/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One leaf at a time: the rules that hold for every leaf first, then those of
 * the region that it lies in. A leaf that straddles two regions is in none.
 */
#include "firmware/paging_check.h"

#include "lib/bits.h"

struct check {
	const struct paging_rules *rules;
	struct error *err;
	unsigned leaves;
	bool ok;
};

static bool inside(struct span s, uint64_t start, uint64_t len)
{
	return start >= s.start && len <= s.end - s.start && start - s.start <= s.end - s.start - len;
}

static bool touches(struct span s, uint64_t start, uint64_t len)
{
	return start < s.end && s.start < start + len;
}

static struct span physical(struct span linked, uint64_t offset)
{
	return (struct span){linked.start - offset, linked.end - offset};
}

static bool complain(struct check *c, const struct ptab_leaf *l, const char *what)
{
	(void)fail(c->err, ST_CORRUPT, "page tables: 0x%llx -> 0x%llx (0x%llx bytes, attributes 0x%llx) %s",
		   (unsigned long long)l->va, (unsigned long long)l->pa.v, (unsigned long long)l->len,
		   (unsigned long long)l->attrs, what);
	c->ok = false;
	return false;
}

static bool is_wb(const struct ptab_leaf *l)
{
	return !(l->attrs & (PTE_PWT | PTE_PCD));
}

static bool is_uc(const struct ptab_leaf *l)
{
	return (l->attrs & PTE_PWT) && (l->attrs & PTE_PCD);
}

/* Memory in the sense of the map: RAM whatever it is used for, without holes. */
static bool is_memory(const struct memmap *map, uint64_t start, uint64_t len)
{
	while (len > 0) {
		const struct memmap_entry *e = memmap_find(map, start);
		uint64_t step;

		if (!e || e->type == MEMMAP_RESERVED || e->type == MEMMAP_UNUSABLE)
			return false;
		step = MIN(len, e->end - start);
		start += step;
		len -= step;
	}
	return true;
}

static bool touches_memory(const struct memmap *map, uint64_t start, uint64_t len)
{
	for (unsigned i = 0; i < map->count; i++) {
		const struct memmap_entry *e = &map->entry[i];

		if (e->type == MEMMAP_RESERVED || e->type == MEMMAP_UNUSABLE)
			continue;
		if (start < e->end && e->start < start + len)
			return true;
	}
	return false;
}

/* Pages that no mapping may write: the image's text and rodata, and the entry code. */
static bool is_sealed(const struct paging_rules *r, const struct ptab_leaf *l)
{
	return touches(physical(r->text, r->image_offset), l->pa.v, l->len) ||
	       touches(physical(r->rodata, r->image_offset), l->pa.v, l->len) ||
	       touches(r->boot_text, l->pa.v, l->len);
}

static bool check_image(struct check *c, const struct ptab_leaf *l)
{
	const struct paging_rules *r = c->rules;
	uint64_t rights = l->attrs & (PTE_W | PTE_NX);

	if (l->pa.v != l->va - r->image_offset)
		return complain(c, l, "does not map the image where it was loaded");
	if (inside(r->text, l->va, l->len))
		return rights == 0 || complain(c, l, "is text but not read and execute");
	if (inside(r->rodata, l->va, l->len))
		return rights == PTE_NX || complain(c, l, "is rodata but not read only");
	return rights == (PTE_W | PTE_NX) || complain(c, l, "is data but not read and write");
}

static bool check_direct(struct check *c, const struct ptab_leaf *l)
{
	const struct paging_rules *r = c->rules;

	if (l->pa.v != l->va - r->direct.start)
		return complain(c, l, "is not at its place in the direct map");
	if (!is_memory(r->map, l->pa.v, l->len))
		return complain(c, l, "maps something that is not RAM in the direct map");
	return is_wb(l) || complain(c, l, "is in the direct map but not write-back");
}

static bool check_window(struct check *c, const struct ptab_leaf *l)
{
	if (is_wb(l))
		return !(l->attrs & PTE_W) || complain(c, l, "is a cached view of a table but writable");
	if (!is_uc(l))
		return complain(c, l, "is in the device window but not uncached");
	return !touches_memory(c->rules->map, l->pa.v, l->len) || complain(c, l, "maps RAM uncached");
}

static bool check_stack(struct check *c, const struct ptab_leaf *l)
{
	if (!(l->attrs & PTE_W) || !is_wb(l))
		return complain(c, l, "is a stack but not write-back and writable");
	return is_memory(c->rules->map, l->pa.v, l->len) || complain(c, l, "is a stack outside RAM");
}

static bool check_leaf(void *ctx, const struct ptab_leaf *l)
{
	struct check *c = ctx;
	const struct paging_rules *r = c->rules;
	struct span image = {r->text.start, r->data.end};

	c->leaves++;
	if (l->attrs & PTE_U)
		return complain(c, l, "is open to user mode");
	if (!(l->attrs & PTE_NX) && (l->attrs & PTE_W))
		return complain(c, l, "is writable and executable");
	if (!(l->attrs & PTE_NX) && !inside(r->text, l->va, l->len))
		return complain(c, l, "is executable outside the image's text");
	if ((l->attrs & PTE_W) && is_sealed(r, l))
		return complain(c, l, "is a writable alias of text or rodata");
	if (inside(image, l->va, l->len))
		return check_image(c, l);
	if (inside(r->direct, l->va, l->len))
		return check_direct(c, l);
	if (inside(r->window, l->va, l->len))
		return check_window(c, l);
	if (inside(r->stacks, l->va, l->len))
		return check_stack(c, l);
	return complain(c, l, "is outside every region");
}

bool paging_check(const struct ptab *t, const struct paging_rules *rules, struct error *err, unsigned *leaves)
{
	struct check c = {.rules = rules, .err = err, .ok = true};

	ptab_walk(t, check_leaf, &c);
	if (leaves)
		*leaves = c.leaves;
	return c.ok;
}
