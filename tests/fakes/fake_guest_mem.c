/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page is an allocation of its own. To move it is to copy it and free the old
 * one, which the address sanitizer keeps poisoned for a long time.
 */
#include "tests/fakes/fake_guest_mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bits.h"

#define COOKIE 0x5eed0000u

static void must(bool cond, const char *what)
{
	if (cond)
		return;
	fprintf(stderr, "fake_guest_mem: %s\n", what);
	abort();
}

static struct fake_guest_mem *of(void *ctx) { return ctx; }
static bool chance(struct fake_guest_mem *f, unsigned percent)
{
	return percent != 0 && random_below(&f->random, 100) < percent;
}

static bool hits(uint64_t *countdown) { return *countdown != 0 && --*countdown == 0; }

static enum pin_result pin(void *ctx, struct guest_pin *p)
{
	struct fake_guest_mem *f = of(ctx);
	uint64_t page = p->at.v >> PAGE_SHIFT, in_page = PAGE_SIZE - (p->at.v & PAGE_MASK);
	bool later = hits(&f->later_at), fail = hits(&f->fail_at);

	f->asked++;
	must(p->bytes != 0, "a pin of no bytes");
	if (fail || page >= f->count || !f->pages[page].host)
		return PIN_FAIL;
	if ((later || chance(f, f->later)) && p->ready) {
		f->laters++;
		list_push_back(&f->parked, &p->link);
		return PIN_LATER;
	}
	if (f->flat)
		in_page = ((f->count - page) << PAGE_SHIFT) - (p->at.v & PAGE_MASK);
	p->got = (uint32_t)MIN(p->bytes, in_page);
	p->va = f->pages[page].host + (p->at.v & PAGE_MASK);
	p->cookie = COOKIE + page;
	f->pages[page].pins++;
	f->pages[page].write_pins += p->write;
	f->pins++;
	return PIN_NOW;
}

static void unpin(void *ctx, const struct guest_pin *p)
{
	struct fake_guest_mem *f = of(ctx);
	uint64_t page = p->at.v >> PAGE_SHIFT;
	struct fake_page *fp = &f->pages[page];

	must(page < f->count && fp->pins > 0, "an unpin of what is not pinned");
	must(p->cookie == COOKIE + page && p->va == fp->host + (p->at.v & PAGE_MASK), "an unpin of something else");
	must(!p->write || fp->write_pins > 0, "an unpin for writing of what is pinned for reading");
	must(p->got >= 1 && p->got <= p->bytes, "an unpin of another size");
	fp->pins--;
	fp->write_pins -= p->write;
	f->pins--;
}

static bool cancel(void *ctx, struct guest_pin *p)
{
	struct fake_guest_mem *f = of(ctx);

	must(!list_empty(&p->link), "a question is taken back that is not there");
	f->cancels++;
	list_remove(&p->link);
	if (!chance(f, f->too_late))
		return true;
	list_push_back(&f->owed, &p->link);
	return false;
}

static const struct guest_mem_ops ops = {.pin = pin, .unpin = unpin, .cancel = cancel};

static uint8_t *new_page(void)
{
	uint8_t *page = aligned_alloc(PAGE_SIZE, PAGE_SIZE);

	must(page != NULL, "out of memory");
	return page;
}

static void init(struct fake_guest_mem *f, uint64_t pages, uint64_t seed)
{
	memset(f, 0, sizeof *f);
	f->mem = (struct guest_mem){&ops, f};
	f->count = pages;
	f->pages = calloc(pages, sizeof *f->pages);
	must(f->pages != NULL, "out of memory");
	f->random = random_seed(seed);
	list_init(&f->parked);
	list_init(&f->owed);
}

void fake_guest_mem_init(struct fake_guest_mem *f, uint64_t pages, uint64_t seed)
{
	init(f, pages, seed);
	for (uint64_t i = 0; i < pages; i++) {
		f->pages[i].host = new_page();
		memset(f->pages[i].host, 0, PAGE_SIZE);
	}
}

void fake_guest_mem_init_flat(struct fake_guest_mem *f, uint64_t pages)
{
	init(f, pages, 1);
	f->flat = aligned_alloc(PAGE_SIZE, pages << PAGE_SHIFT);
	must(f->flat != NULL, "out of memory");
	memset(f->flat, 0, pages << PAGE_SHIFT);
	for (uint64_t i = 0; i < pages; i++)
		f->pages[i].host = f->flat + (i << PAGE_SHIFT);
}

void fake_guest_mem_fini(struct fake_guest_mem *f)
{
	must(f->pins == 0, "something is still pinned");
	must(list_empty(&f->parked) && list_empty(&f->owed), "something is still waited for");
	for (uint64_t i = 0; i < f->count && !f->flat; i++)
		free(f->pages[i].host);
	free(f->flat);
	free(f->pages);
}

void fake_guest_mem_hole(struct fake_guest_mem *f, uint64_t page)
{
	must(f->pages[page].pins == 0 && !f->flat, "a hole where something is pinned");
	free(f->pages[page].host);
	f->pages[page].host = NULL;
}

void fake_guest_mem_move(struct fake_guest_mem *f)
{
	for (uint64_t i = 0; i < f->count && !f->flat; i++) {
		struct fake_page *p = &f->pages[i];
		uint8_t *to;

		if (!p->host || p->pins != 0)
			continue;
		to = new_page();
		memcpy(to, p->host, PAGE_SIZE);
		free(p->host);
		p->host = to;
		f->moves++;
	}
}

/* Takes a random one off @l. */
static struct guest_pin *take(struct fake_guest_mem *f, struct list *l)
{
	uint64_t count = 0, chosen;

	list_for_each(it, l)
		count++;
	if (count == 0)
		return NULL;
	chosen = random_below(&f->random, count);
	list_for_each(it, l) {
		if (chosen-- == 0) {
			list_remove(it);
			return list_entry(it, struct guest_pin, link);
		}
	}
	return NULL;
}

unsigned fake_guest_mem_answer(struct fake_guest_mem *f, unsigned most)
{
	unsigned done = 0;

	while (done < most) {
		struct guest_pin *p = take(f, &f->owed);

		if (!p)
			p = take(f, &f->parked);
		if (!p)
			break;
		p->ready(p);
		done++;
	}
	return done;
}

static uint8_t *at(struct fake_guest_mem *f, uint64_t address, size_t *bytes)
{
	uint64_t page = address >> PAGE_SHIFT;
	size_t room = PAGE_SIZE - (address & PAGE_MASK);

	must(page < f->count && f->pages[page].host, "the guest itself goes outside memory");
	*bytes = MIN(*bytes, room);
	return f->pages[page].host + (address & PAGE_MASK);
}

void fake_guest_mem_write(struct fake_guest_mem *f, uint64_t address, const void *data, size_t bytes)
{
	for (size_t done = 0, n; done < bytes; done += n) {
		uint8_t *to;

		n = bytes - done;
		to = at(f, address + done, &n);
		memcpy(to, (const uint8_t *)data + done, n);
	}
}

void fake_guest_mem_read(struct fake_guest_mem *f, uint64_t address, void *out, size_t bytes)
{
	for (size_t done = 0, n; done < bytes; done += n) {
		const uint8_t *from;

		n = bytes - done;
		from = at(f, address + done, &n);
		memcpy((uint8_t *)out + done, from, n);
	}
}

void fake_guest_mem_fill(struct fake_guest_mem *f, uint64_t address, uint8_t byte, size_t bytes)
{
	for (size_t done = 0, n; done < bytes; done += n) {
		uint8_t *to;

		n = bytes - done;
		to = at(f, address + done, &n);
		memset(to, byte, n);
	}
}

uint16_t fake_guest_mem_get16(struct fake_guest_mem *f, uint64_t address)
{
	uint8_t v[2];

	fake_guest_mem_read(f, address, v, sizeof v);
	return get_le16(v);
}

uint32_t fake_guest_mem_get32(struct fake_guest_mem *f, uint64_t address)
{
	uint8_t v[4];

	fake_guest_mem_read(f, address, v, sizeof v);
	return get_le32(v);
}

void fake_guest_mem_put16(struct fake_guest_mem *f, uint64_t address, uint16_t v)
{
	fake_guest_mem_write(f, address, &v, sizeof v);
}

uint64_t fake_guest_mem_sum(struct fake_guest_mem *f)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < f->count; i++) {
		const uint64_t *words = (const uint64_t *)f->pages[i].host;

		/* FNV by words: each step can be undone, so no single change is lost. */
		for (unsigned w = 0; words && w < PAGE_SIZE / 8; w++)
			sum = (sum ^ words[w]) * 0x100000001b3ull;
	}
	return sum;
}
