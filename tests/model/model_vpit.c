/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 8254 against one that ticks: a counting element decremented clock by
 * clock as the data sheet draws it. Counter 2 with a random gate, counter 0 by
 * its interrupt edges. Guest TSC and the 8254 run at one rate, so every tick is
 * looked at.
 */
#include "tests/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "guest/vpit.h"
#include "tests/fakes/device_rig.h"

#define SEEDS 60
#define STEPS 1500
#define CONTROL 3
#define PORT61 4

/* One counter, clock by clock. */
struct naive {
	unsigned mode;
	bool gate, out, loaded;
	bool load_due;     /* the next clock copies the count register into the counting element */
	bool counting;
	bool element_known; /* something was loaded since the control word */
	unsigned reg, ce;  /* count register; counting element, 65536 for 0 */
	unsigned half;     /* mode 3: clocks left of this half */
	unsigned next;     /* modes 2 and 3: a count that waits for the end of the period; 0: none */
	unsigned rises;
};

static struct rig rig;
static struct vpit pit;
static struct naive n0, n2;
static unsigned seed, step;

#define CHECK(cond)                                                                   \
	do {                                                                          \
		if (!(cond))                                                          \
			fail_msg("seed %u step %u: %s", seed, step, #cond);           \
	} while (0)

static void set_out(struct naive *n, bool out)
{
	n->rises += out && !n->out;
	n->out = out;
}

static void naive_control(struct naive *n, unsigned mode)
{
	*n = (struct naive){.mode = mode, .gate = n->gate, .rises = n->rises, .out = n->out};
	set_out(n, mode != 0);
}

static bool periodic(const struct naive *n) { return n->mode == 2 || n->mode == 3; }
static bool triggered(const struct naive *n) { return n->mode == 1 || n->mode == 5; }

static void naive_write(struct naive *n, unsigned count)
{
	count = count ? count : 65536;
	if (periodic(n) && n->counting) {
		n->next = count;
		n->loaded = true;
		return;
	}
	n->reg = count;
	n->loaded = true;
	if (n->mode == 0)
		set_out(n, false);
	if (n->mode == 0 || n->mode == 4 || (periodic(n) && n->gate))
		n->load_due = true;
}

static void naive_gate(struct naive *n, bool gate)
{
	bool rises = gate && !n->gate;

	n->gate = gate;
	if (periodic(n) && !gate) {
		set_out(n, true);
		n->counting = n->load_due = false;
		if (n->next)
			n->reg = n->next, n->next = 0;
	}
	if (rises && n->loaded && (periodic(n) || triggered(n)))
		n->load_due = true;
}

static void load(struct naive *n)
{
	n->load_due = false;
	n->counting = n->element_known = true;
	n->ce = n->reg;
	n->half = (n->reg + 1) / 2;
	if (n->mode == 1)
		set_out(n, false);
	else if (n->mode != 0)
		set_out(n, true);
}

static void tick_rate(struct naive *n)
{
	if (--n->ce == 1)
		set_out(n, false);
	if (n->ce != 0)
		return;
	if (n->next)
		n->reg = n->next, n->next = 0;
	n->ce = n->reg;
	set_out(n, true);
}

static void tick_square(struct naive *n)
{
	if (--n->half > 0)
		return;
	if (n->out && n->reg > 1) {
		n->half = n->reg / 2;
		set_out(n, false);
		return;
	}
	if (n->next)
		n->reg = n->next, n->next = 0;
	n->half = (n->reg + 1) / 2;
	set_out(n, true);
}

static void tick_down(struct naive *n)
{
	bool strobe = n->mode == 4 || n->mode == 5;

	if (strobe && !n->out)
		set_out(n, true);
	n->ce = n->ce == 0 ? 65535 : n->ce - 1;
	if (n->ce != 0 || !n->counting)
		return;
	n->counting = false; /* once; the element counts on */
	set_out(n, !strobe);
}

static void tick(struct naive *n)
{
	if (n->load_due) {
		load(n);
		return;
	}
	if (!n->loaded || (!n->gate && !triggered(n)))
		return;
	if (n->mode == 2 && n->counting)
		tick_rate(n);
	else if (n->mode == 3 && n->counting)
		tick_square(n);
	else if (!periodic(n))
		tick_down(n);
}

/* The number that a mode 3 counter shows: down by two in each half. */
static unsigned square_shows(const struct naive *n)
{
	unsigned length = n->out ? (n->reg + 1) / 2 : n->reg / 2;

	return (n->reg & ~1u) - 2 * (length - n->half);
}

static bool output_2(void) { return dev_in(&pit.dev, PORT61) & 0x20; }

static void check_2(bool element_known)
{
	unsigned low, shows = n2.mode == 3 ? square_shows(&n2) : n2.ce;

	CHECK(output_2() == n2.out);
	if (!element_known)
		return;
	low = dev_in(&pit.dev, 2);
	low |= (unsigned)dev_in(&pit.dev, 2) << 8;
	CHECK(low == (shows & 0xffff));
}

/* Time passes, looked at each tick or all at once. */
static void run(unsigned ticks, bool often)
{
	bool known;

	for (unsigned i = 0; i < ticks; i++) {
		tick(&n0);
		tick(&n2);
		known = n2.element_known && (n2.counting || !periodic(&n2));
		if (!often)
			continue;
		rig_advance(&rig, 1);
		check_2(known);
	}
	if (!often)
		rig_advance(&rig, ticks);
	check_2(false);
	CHECK(rig.rises[0] == n0.rises);
}

static unsigned random_count(void)
{
	unsigned v = rand() % 4 ? (unsigned)rand() % 40 : (unsigned)rand() % 65536;

	return v < 2 ? v + 2 : v; /* 1 is illegal in modes 2 and 3 */
}

static void program(unsigned n, struct naive *model, unsigned mode)
{
	unsigned count = random_count();

	dev_out(&pit.dev, CONTROL, (uint8_t)(n << 6 | 0x30 | mode << 1));
	naive_control(model, mode);
	if (rand() % 8 == 0)
		run(1 + (unsigned)rand() % 5, true);
	dev_out(&pit.dev, n, (uint8_t)count);
	dev_out(&pit.dev, n, (uint8_t)(count >> 8));
	naive_write(model, count);
}

static void new_count(unsigned n, struct naive *model)
{
	unsigned count = random_count();

	if (model->mode == 3)
		return; /* the chip switches at the half, we at the whole */
	dev_out(&pit.dev, n, (uint8_t)count);
	dev_out(&pit.dev, n, (uint8_t)(count >> 8));
	naive_write(model, count);
}

static void random_step(void)
{
	static const unsigned modes_0[] = {0, 2, 3, 4};

	switch (rand() % 8) {
	case 0:
		program(2, &n2, (unsigned)rand() % 6);
		break;
	case 1:
		program(0, &n0, modes_0[rand() % 4]);
		break;
	case 2:
		new_count(2, &n2);
		break;
	case 3:
		new_count(0, &n0);
		break;
	case 4:
		n2.gate ? naive_gate(&n2, false) : naive_gate(&n2, true);
		dev_out(&pit.dev, PORT61, n2.gate);
		break;
	default:
		break;
	}
	run(1 + (unsigned)rand() % 60, rand() % 4 != 0);
	if (rand() % 50 == 0)
		run((unsigned)rand() % 70000, false);
}

static void random_against_ticking(void **state)
{
	(void)state;
	for (seed = 1; seed <= SEEDS; seed++) {
		srand(seed);
		rig_init(&rig, VPIT_HZ);
		vpit_init(&pit, &rig.time, &rig.timers, rig_line(&rig, 0));
		rig.rises[0] = 0;
		n0 = (struct naive){.gate = true, .out = true, .mode = 3};
		n2 = (struct naive){.out = true, .mode = 3};
		for (step = 0; step < STEPS; step++)
			random_step();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_against_ticking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
