/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 8259A pair against a naive one that keeps each chip's inputs as a list in
 * order of priority and walks it. Random lines, command words, acknowledges.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "guest/vpic.h"
#include "tests/fakes/device_rig.h"

#define SEEDS 60
#define STEPS 4000

struct naive {
	bool line[8], irr[8], isr[8], imr[8], level[8];
	unsigned order[8]; /* first: highest priority */
	bool auto_eoi, rotate_auto, special_mask, special_nested;
};

static struct vpic pic;
static struct naive chips[2];
static unsigned seed, step;

static void output(void *ctx, bool level) { (void)ctx, (void)level; }

#define CHECK(cond)                                                                \
	do {                                                                       \
		if (!(cond))                                                       \
			fail_msg("seed %u step %u: %s", seed, step, #cond);        \
	} while (0)

/* ---- the naive pair ---- */

static void make_lowest(struct naive *c, unsigned input)
{
	for (unsigned i = 0; i < 8; i++)
		c->order[i] = (input + 1 + i) % 8;
}

static int wanted(const struct naive *c)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned n = c->order[i];
		bool nested = c == &chips[0] && n == 2 && c->special_nested;

		if (c->irr[n] && !c->imr[n] && (!c->isr[n] || nested || (c->special_mask && c->imr[n])))
			return (int)n;
		/* In service: what comes after it waits, unless a mode says otherwise. */
		if (c->isr[n] && !nested && !(c->special_mask && c->imr[n]))
			return -1;
	}
	return -1;
}

static void line(struct naive *c, unsigned n, bool level)
{
	if (level && (!c->line[n] || c->level[n]))
		c->irr[n] = true;
	if (!level)
		c->irr[n] = false;
	c->line[n] = level;
}

static void cascade(void) { line(&chips[0], 2, wanted(&chips[1]) >= 0); }

static void served(struct naive *c, unsigned n)
{
	if (!c->level[n])
		c->irr[n] = false;
	if (!c->auto_eoi)
		c->isr[n] = true;
	else if (c->rotate_auto)
		make_lowest(c, n);
}

static unsigned naive_ack(void)
{
	int n = wanted(&chips[0]), m;

	if (n < 0)
		return 0x37;
	served(&chips[0], (unsigned)n);
	if (n != 2)
		return 0x30 + (unsigned)n;
	m = wanted(&chips[1]);
	if (m >= 0)
		served(&chips[1], (unsigned)m);
	line(&chips[0], 2, false);
	return m < 0 ? 0x3f : 0x38 + (unsigned)m;
}

static void naive_eoi(struct naive *c, bool rotate)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned n = c->order[i];

		if (!c->isr[n] || (c->special_mask && c->imr[n]))
			continue;
		c->isr[n] = false;
		if (rotate)
			make_lowest(c, n);
		return;
	}
}

static void naive_ocw2(struct naive *c, uint8_t v)
{
	unsigned n = v & 7;

	switch (v & 0xe0) {
	case 0x20: naive_eoi(c, false); break;
	case 0xa0: naive_eoi(c, true); break;
	case 0x60: c->isr[n] = false; break;
	case 0xe0: c->isr[n] = false; make_lowest(c, n); break;
	case 0xc0: make_lowest(c, n); break;
	case 0x80: c->rotate_auto = true; break;
	case 0x00: c->rotate_auto = false; break;
	default: break;
	}
}

/* ---- both, side by side ---- */

static void start(void)
{
	static const uint8_t icw4[] = {0x01, 0x03, 0x11, 0x13};

	srand(seed);
	vpic_init(&pic, output, &pic);
	memset(chips, 0, sizeof chips);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t mode = icw4[rand() % 4];

		dev_out(&pic.dev, 2 * i, 0x11);
		dev_out(&pic.dev, 2 * i + 1, (uint8_t)(0x30 + 8 * i));
		dev_out(&pic.dev, 2 * i + 1, i == 0 ? 4 : 2);
		dev_out(&pic.dev, 2 * i + 1, mode);
		chips[i].auto_eoi = mode & 2;
		chips[i].special_nested = mode & 0x10;
		make_lowest(&chips[i], 7);
	}
}

static void random_line(void)
{
	unsigned irq = (unsigned)rand() % 16;
	bool level = rand() % 2;

	if (irq == 2)
		return;
	vpic_set(&pic, irq, level);
	line(&chips[irq / 8], irq % 8, level);
}

static void random_elcr(unsigned i)
{
	static const uint8_t writable[2] = {0xf8, 0xde};
	uint8_t v = (uint8_t)(rand() & rand() & writable[i]);

	dev_out(&pic.dev, 4 + i, v);
	for (unsigned n = 0; n < 8; n++) {
		bool level = v >> n & 1;

		chips[i].irr[n] |= level && !chips[i].level[n] && chips[i].line[n];
		chips[i].level[n] = level;
	}
}

static void random_command(unsigned i)
{
	uint8_t v = (uint8_t)rand();

	switch (rand() % 6) {
	case 0:
		v &= (uint8_t)rand();
		dev_out(&pic.dev, 2 * i + 1, v);
		for (unsigned n = 0; n < 8; n++)
			chips[i].imr[n] = v >> n & 1;
		break;
	case 1:
		v = rand() % 4 ? 0x48 : 0x68;
		dev_out(&pic.dev, 2 * i, v);
		chips[i].special_mask = v == 0x68;
		break;
	case 2:
		random_elcr(i);
		break;
	default:
		v = rand() % 2 ? 0x20 : v & 0xe7;
		dev_out(&pic.dev, 2 * i, v);
		naive_ocw2(&chips[i], v);
		break;
	}
}

static unsigned bits(const bool *set)
{
	unsigned v = 0;

	for (unsigned n = 0; n < 8; n++)
		v |= (unsigned)set[n] << n;
	return v;
}

static void check(void)
{
	for (unsigned i = 0; i < 2; i++) {
		CHECK(pic.chips[i].irr == bits(chips[i].irr));
		CHECK(pic.chips[i].isr == bits(chips[i].isr));
		CHECK(pic.chips[i].imr == bits(chips[i].imr));
		CHECK(pic.chips[i].top == chips[i].order[0]);
	}
	CHECK(pic.intr == (wanted(&chips[0]) >= 0));
}

static void random_against_naive(void **state)
{
	(void)state;
	for (seed = 1; seed <= SEEDS; seed++) {
		start();
		for (step = 0; step < STEPS; step++) {
			switch (rand() % 4) {
			case 0:
			case 1:
				random_line();
				break;
			case 2:
				random_command((unsigned)rand() % 2);
				break;
			default:
				if (pic.intr || rand() % 10 == 0)
					CHECK(vpic_ack(&pic) == naive_ack());
				break;
			}
			cascade();
			check();
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_against_naive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
