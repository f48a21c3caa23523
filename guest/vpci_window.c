/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an address in one of the host bridge's windows to the base address
 * register that decodes it. Of each register only the base changes while the
 * guest runs, one aligned word: who looks reads it once, and computes with what it
 * read. So an access that meets a move goes to the register's device at an offset
 * that it has, as an access that was under way on a real bus would. Where two
 * registers overlap, which no bus defines, the first has the access.
 *
 * A small table of hints answers most look-ups; sizes are powers of two and bases
 * aligned to them, so that an aligned access lies in one register or in none.
 */
#include "guest/vpci_internal.h"

#include "guest/pc.h"
#include "lib/addr.h"
#include "lib/assert.h"

#define IO_HINT_SHIFT 4

/* A register that is off is at VPCI_NOWHERE, and what wraps around from there is in no window. */
_Static_assert(PC_PCI_IO_START >= VPCI_IO_BAR_MAX, "an access next to address 0 hits no register that is off");

/* ---- looking up ---- */

static inline uint8_t *hint_of(struct vpci_decodes *all, uint64_t addr)
{
	return &all->hints[(addr >> all->hint_shift) % VPCI_HINTS];
}

static inline bool holds(const struct vpci_decode *d, uint64_t addr, uint64_t *offset)
{
	*offset = addr - __atomic_load_n(&d->base, __ATOMIC_RELAXED);
	return *offset < d->size;
}

static __attribute__((noinline)) struct vpci_decode *search(struct vpci_decodes *all, uint64_t addr, uint64_t *offset)
{
	for (unsigned i = 0; i < all->count; i++) {
		if (!holds(&all->all[i], addr, offset))
			continue;
		__atomic_store_n(hint_of(all, addr), (uint8_t)i, __ATOMIC_RELAXED);
		return &all->all[i];
	}
	return NULL;
}

/* The register that the hint of @addr names. */
static inline struct vpci_decode *near(struct vpci_decodes *all, uint64_t addr)
{
	return &all->all[__atomic_load_n(hint_of(all, addr), __ATOMIC_RELAXED)];
}

/* The register that decodes @addr, and the offset of that in it; NULL: none does. */
static inline struct vpci_decode *find(struct vpci_decodes *all, uint64_t addr, uint64_t *offset)
{
	struct vpci_decode *d = near(all, addr);

	return likely(holds(d, addr, offset)) ? d : search(all, addr, offset);
}

/* ---- the windows ---- */

static uint64_t window_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct vpci_window *w = container_of(dev, struct vpci_window, dev);
	uint64_t at, value = 0;
	struct vpci_decode *d;

	if (unlikely(!is_aligned(offset, size))) {
		for (unsigned i = 0; i < size; i++)
			value |= (window_read(dev, offset + i, 1) & UINT8_MAX) << (i * 8);
		return value;
	}
	d = find(w->decodes, w->start + offset, &at);
	if (likely(d != NULL))
		return d->dev->ops->read(d->dev, d->dev_offset + at, size);
	__atomic_fetch_add(w->misses, 1, __ATOMIC_RELAXED);
	return UINT64_MAX;
}

static inline void decode_write(const struct vpci_decode *d, uint64_t at, unsigned size, uint64_t value)
{
	d->dev->ops->write(d->dev, d->dev_offset + at, size, value);
}

static void window_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value);

/* Not at the hint, or not aligned. Out of line, so that a kick saves no registers. */
static __attribute__((noinline)) void write_far(struct vpci_window *w, uint64_t offset, unsigned size, uint64_t value)
{
	struct vpci_decode *d;
	uint64_t at;

	if (!is_aligned(offset, size)) {
		for (unsigned i = 0; i < size; i++)
			window_write(&w->dev, offset + i, 1, value >> (i * 8) & UINT8_MAX);
		return;
	}
	d = search(w->decodes, w->start + offset, &at);
	if (d)
		decode_write(d, at, size, value);
	else
		__atomic_fetch_add(w->misses, 1, __ATOMIC_RELAXED);
}

static void window_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct vpci_window *w = container_of(dev, struct vpci_window, dev);
	const struct vpci_decode *d = near(w->decodes, w->start + offset);
	uint64_t at;

	if (likely(is_aligned(offset, size) && holds(d, w->start + offset, &at)))
		decode_write(d, at, size, value);
	else
		write_far(w, offset, size, value);
}

static const struct device_ops window_ops = {
	.name = "pci window", .read = window_read, .write = window_write, .own_lock = true};

static void init_decodes(struct vpci_decodes *all, unsigned hint_shift, uint64_t first)
{
	all->hint_shift = hint_shift;
	all->next = first;
	for (unsigned i = 0; i < VPCI_DECODES_MAX; i++)
		all->all[i].base = VPCI_NOWHERE;
}

static void init_window(struct vpci_window *w, uint64_t start, uint64_t length, struct vpci_decodes *decodes)
{
	*w = (struct vpci_window){.dev = {.ops = &window_ops}, .start = start, .length = length, .decodes = decodes};
}

struct vpci_high vpci_high_window(uint64_t ram_high, uint64_t limit)
{
	uint64_t start = align_up(BIT(32) + ram_high, PC_PCI_HIGH_SIZE);

	if (start + PC_PCI_HIGH_SIZE > limit)
		return (struct vpci_high){0, 0};
	return (struct vpci_high){start, PC_PCI_HIGH_SIZE};
}

void vpci_windows_init(struct vpci *bus, struct vpci_high high)
{
	init_decodes(&bus->spaces[VPCI_MEMORY], PAGE_SHIFT, PC_PCI_LOW_START);
	init_decodes(&bus->spaces[VPCI_IO], IO_HINT_SHIFT, PC_PCI_IO_START);
	init_window(&bus->io, PC_PCI_IO_START, PC_PCI_IO_SIZE, &bus->spaces[VPCI_IO]);
	init_window(&bus->low, PC_PCI_LOW_START, PC_PCI_LOW_SIZE, &bus->spaces[VPCI_MEMORY]);
	init_window(&bus->high, high.start, high.length, &bus->spaces[VPCI_MEMORY]);
}

/* ---- registers ---- */

static bool is_io(const uint8_t *reg) { return *reg & VPCI_BAR_IO; }

static uint64_t base_of(const uint8_t *reg)
{
	if (is_io(reg))
		return get_le32(reg) & MASK(31, 2);
	return (*reg & VPCI_BAR_64 ? get_le64(reg) : get_le32(reg)) & MASK(63, 4);
}

void vpci_decode_update(struct vpci_function *f)
{
	uint16_t command = get_le16(f->config + VPCI_COMMAND);

	for (unsigned i = 0; i < VPCI_BARS; i++) {
		const uint8_t *reg = f->config + VPCI_BAR0 + i * 4;
		bool on;

		if (!f->bars[i])
			continue;
		on = command & (is_io(reg) ? VPCI_COMMAND_IO : VPCI_COMMAND_MEMORY);
		__atomic_store_n(&f->bars[i]->base, on ? base_of(reg) : VPCI_NOWHERE, __ATOMIC_RELAXED);
	}
}

static enum status place(struct vpci_function *f, unsigned index, struct vpci_decodes *all,
			 const struct vpci_window *window, struct error *err)
{
	uint8_t *reg = f->config + VPCI_BAR0 + index * 4;
	uint64_t size = f->bars[index]->size, at = align_up(all->next, size);

	if (at - window->start > window->length || size > window->length - (at - window->start))
		return fail(err, ST_OVER_LIMIT, "PCI function %s: no room for 0x%llx bytes of its BAR %u", f->ops->name,
			    (unsigned long long)size, index);
	/* Below 4 GiB also those of 64 bits: every guest reaches them there. */
	put_le32(reg, get_le32(reg) | (uint32_t)at);
	all->next = at + size;
	return ST_OK;
}

enum status vpci_place(struct vpci *bus, struct vpci_function *f, struct error *err)
{
	enum status st = ST_OK;

	for (unsigned i = 0; i < VPCI_BARS && st == ST_OK; i++) {
		bool io = is_io(f->config + VPCI_BAR0 + i * 4);

		if (f->bars[i])
			st = place(f, i, &bus->spaces[io ? VPCI_IO : VPCI_MEMORY], io ? &bus->io : &bus->low, err);
	}
	return st;
}

/* ---- by the function itself ---- */

static struct vpci_decode *bar_holding(struct vpci_function *f, unsigned index, uint64_t offset, unsigned size)
{
	struct vpci_decode *d = index < VPCI_BARS ? f->bars[index] : NULL;

	return d && offset < d->size && size <= d->size - offset && is_aligned(offset, size) ? d : NULL;
}

uint64_t vpci_bar_read(struct vpci_function *f, unsigned index, uint64_t offset, unsigned size)
{
	struct vpci_decode *d = bar_holding(f, index, offset, size);

	return d ? d->dev->ops->read(d->dev, d->dev_offset + offset, size) & bus_size_mask(size) : bus_size_mask(size);
}

void vpci_bar_write(struct vpci_function *f, unsigned index, uint64_t offset, unsigned size, uint64_t value)
{
	struct vpci_decode *d = bar_holding(f, index, offset, size);

	if (d)
		d->dev->ops->write(d->dev, d->dev_offset + offset, size, value & bus_size_mask(size));
}
