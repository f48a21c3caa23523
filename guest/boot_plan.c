/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placing a boot image's pieces. Every piece must lie inside one RAM entry of
 * the guest's map and clear of every other piece; pieces without an address get
 * the first gap from the top or the bottom of a window. The pieces are few, so
 * the searches are linear.
 */
#include "guest/boot_plan.h"

#include <string.h>

#include "guest/pc.h"
#include "lib/assert.h"
#include "lib/checked.h"
#include "lib/log.h"

#define INFO_ALIGN 16u
#define INFO_START 0x10000ull

/* BIOS data area, what of it describes the machine. */
#define BDA_START 0x400ull
#define BDA_BYTES 0x100u
#define BDA_COM1 0x00
#define BDA_EBDA_SEGMENT 0x0e
#define BDA_LOW_KIB 0x13

void plan_init(struct boot_plan *plan, const char *image, const struct guest_layout *layout)
{
	memset(plan, 0, sizeof *plan);
	log_clean(plan->image, sizeof plan->image, image, strlen(image));
	plan->layout = layout;
}

void *plan_scratch(struct boot_plan *plan, size_t size)
{
	void *p = plan->scratch + plan->scratch_used;

	ASSERT(size <= BOOT_SCRATCH_BYTES - plan->scratch_used);
	plan->scratch_used = (size_t)align_up(plan->scratch_used + size, 8);
	return p;
}

static bool entry_holds(const struct e820_entry *e, uint64_t start, uint64_t size)
{
	return e->type == E820_RAM && start >= e->start && range_fits(start - e->start, size, e->size);
}

static bool is_ram(const struct guest_layout *l, uint64_t start, uint64_t size)
{
	for (unsigned i = 0; i < l->count; i++) {
		if (entry_holds(&l->map[i], start, size))
			return true;
	}
	return false;
}

/* Ends of regions do not wrap: each lies in RAM. */
static const struct boot_region *overlapping(const struct boot_plan *plan, uint64_t start, uint64_t size)
{
	for (unsigned i = 0; i < plan->count; i++) {
		const struct boot_region *r = &plan->regions[i];

		if (start < r->start + r->size && r->start < start + size)
			return r;
	}
	return NULL;
}

bool plan_covers(const struct boot_plan *plan, uint64_t start, uint64_t size)
{
	for (unsigned i = 0; i < plan->count; i++) {
		const struct boot_region *r = &plan->regions[i];

		if (start >= r->start && range_fits(start - r->start, size, r->size))
			return true;
	}
	return false;
}

static void append(struct boot_plan *plan, const struct boot_region *r)
{
	ASSERT(plan->count < BOOT_REGIONS_MAX);
	plan->regions[plan->count++] = *r;
}

enum status plan_add(struct boot_plan *plan, const struct boot_region *r, struct error *err)
{
	const struct guest_layout *l = plan->layout;
	const struct boot_region *other;

	ASSERT(r->data_size <= r->size);
	if (r->size == 0)
		return ST_OK;
	if (!is_ram(l, r->start, r->size))
		return fail(err, ST_OVER_LIMIT,
			    "image '%s': %s %u needs %llu bytes at 0x%llx, where a VM of %llu MiB has no usable memory",
			    plan->image, r->what, r->number, (unsigned long long)r->size,
			    (unsigned long long)r->start, (unsigned long long)((l->ram_low + l->ram_high) >> 20));
	other = overlapping(plan, r->start, r->size);
	if (other)
		return fail(err, ST_INVALID, "image '%s': %s %u and %s %u overlap at 0x%llx", plan->image, other->what,
			    other->number, r->what, r->number,
			    (unsigned long long)MAX(other->start, r->start));
	if (plan->count == BOOT_SEGMENTS_MAX)
		return fail(err, ST_OVER_LIMIT, "image '%s' has more than %u pieces to load", plan->image,
			    BOOT_SEGMENTS_MAX);
	append(plan, r);
	return ST_OK;
}

/* Lowest or highest gap of @size bytes in [low, high). */
static bool find_gap(const struct boot_plan *plan, const struct boot_window *w, uint64_t size, uint64_t align,
		     uint64_t *start)
{
	uint64_t at = align_up(w->low, align);

	if (w->high < size)
		return false;
	if (w->top_down)
		at = align_down(w->high - size, align);
	while (at >= w->low && range_fits(at, size, w->high)) {
		const struct boot_region *hit = overlapping(plan, at, size);

		if (!hit) {
			*start = at;
			return true;
		}
		if (w->top_down && hit->start < size)
			return false;
		at = w->top_down ? align_down(hit->start - size, align) : align_up(hit->start + hit->size, align);
	}
	return false;
}

static bool find_in_entry(const struct boot_plan *plan, const struct e820_entry *e, const struct boot_window *w,
			  uint64_t size, uint64_t align, uint64_t *start)
{
	struct boot_window clipped = *w;

	clipped.low = MAX(w->low, e->start);
	clipped.high = MIN(w->high, e->start + e->size);
	return e->type == E820_RAM && clipped.low < clipped.high && find_gap(plan, &clipped, size, align, start);
}

enum status plan_place(struct boot_plan *plan, struct boot_region *r, uint64_t align, const struct boot_window *w)
{
	const struct guest_layout *l = plan->layout;
	uint64_t size = MAX(r->size, 1ull);

	for (unsigned i = 0; i < l->count; i++) {
		const struct e820_entry *e = &l->map[w->top_down ? l->count - 1 - i : i];

		if (!find_in_entry(plan, e, w, size, align, &r->start))
			continue;
		if (r->size > 0)
			append(plan, r);
		return ST_OK;
	}
	return ST_OVER_LIMIT;
}

enum status plan_place_initrd(struct boot_plan *plan, const struct boot_file *file, uint64_t limit, uint64_t *start,
			      struct error *err)
{
	struct boot_region r = {.size = file->size, .data = file->data, .data_size = file->size, .what = "initrd"};
	struct boot_window w = {.low = LAYOUT_EXTENDED_START, .high = limit, .top_down = true};
	char name[sizeof plan->image];

	log_clean(name, sizeof name, file->name, strlen(file->name));
	if (file->size == 0)
		return fail(err, ST_INVALID, "initrd '%s' is empty", name);
	if (plan_place(plan, &r, PAGE_SIZE, &w) != ST_OK)
		return fail(err, ST_OVER_LIMIT,
			    "initrd '%s' of %llu bytes does not fit beside image '%s' in a VM of %llu MiB", name,
			    (unsigned long long)file->size, plan->image,
			    (unsigned long long)((plan->layout->ram_low + plan->layout->ram_high) >> 20));
	*start = r.start;
	return ST_OK;
}

/*
 * Kernels use the first 64 KiB for trampolines and early tables, the end of conventional memory for the same (Xen
 * the last 64 KiB), and what lies behind their image as heap, often without asking the map. GRUB's information is
 * found at 64 KiB, so that is where they cope with it.
 */
enum status plan_place_info(struct boot_plan *plan, struct boot_region *r, struct error *err)
{
	static const struct boot_window conventional = {.low = INFO_START, .high = LAYOUT_LOW_END};
	static const struct boot_window extended = {.low = LAYOUT_EXTENDED_START, .high = LAYOUT_MMIO_START};

	if (plan_place(plan, r, INFO_ALIGN, &conventional) == ST_OK ||
	    plan_place(plan, r, INFO_ALIGN, &extended) == ST_OK)
		return ST_OK;
	return fail(err, ST_OVER_LIMIT, "image '%s' leaves no room for %llu bytes of boot information", plan->image,
		    (unsigned long long)r->size);
}

void plan_add_bios_data(struct boot_plan *plan)
{
	static const struct boot_window here = {.low = BDA_START, .high = BDA_START + BDA_BYTES};
	uint8_t *bda = plan_scratch(plan, BDA_BYTES);
	struct boot_region r = {.size = BDA_BYTES, .data = bda, .data_size = BDA_BYTES, .what = "BIOS data area"};

	put_le16(bda + BDA_COM1, PC_PORT_COM1);
	put_le16(bda + BDA_EBDA_SEGMENT, (uint16_t)(LAYOUT_LOW_END >> 4));
	put_le16(bda + BDA_LOW_KIB, (uint16_t)(LAYOUT_LOW_END >> 10));
	/* Where the image itself lies there, it does without. */
	(void)!plan_place(plan, &r, BDA_BYTES, &here);
}
