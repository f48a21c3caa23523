/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generators that work, run dry, stick, or are not there: which one is asked,
 * and what is said when none is left.
 */
#include "tests/cmocka_all.h"

#include <string.h>

#include "firmware/entropy.h"

static struct generator {
	unsigned dry;	/* refuses so many times first */
	uint64_t value; /* given next */
	uint64_t step;	/* added to it each time */
	unsigned calls;
} generator[2];

static bool draw_from(struct generator *g, uint64_t *out)
{
	g->calls++;
	if (g->dry > 0) {
		g->dry--;
		return false;
	}
	*out = g->value;
	g->value += g->step;
	return true;
}

static bool first(uint64_t *out)
{
	return draw_from(&generator[0], out);
}
static bool second(uint64_t *out)
{
	return draw_from(&generator[1], out);
}

static struct entropy e;

static int setup(void **state)
{
	(void)state;
	generator[0] = (struct generator){.value = 0x1111, .step = 1};
	generator[1] = (struct generator){.value = 0x2222, .step = 1};
	e = (struct entropy){.source = {{.name = "RDSEED", .next = first, .tries = 5},
					{.name = "RDRAND", .next = second, .tries = 3}}};
	return 0;
}

static void the_first_that_works_is_asked(void **state)
{
	uint64_t got[3];

	(void)state;
	assert_int_equal(entropy_fill(&e, got, sizeof got, NULL), ST_OK);
	/* 1111h was kept back to compare with */
	assert_int_equal(got[0], 0x1112);
	assert_int_equal(got[1], 0x1113);
	assert_int_equal(got[2], 0x1114);
	assert_int_equal(generator[1].calls, 0);
}

static void a_length_that_is_no_multiple_is_filled_exactly(void **state)
{
	uint8_t got[12];

	(void)state;
	memset(got, 0xee, sizeof got);
	assert_int_equal(entropy_fill(&e, got, 11, NULL), ST_OK);
	assert_int_equal(got[8], 0x13);
	assert_int_equal(got[11], 0xee);
}

static void one_that_runs_dry_is_replaced_for_now(void **state)
{
	uint64_t got;

	(void)state;
	generator[0].dry = 5;
	assert_int_equal(entropy_fill(&e, &got, sizeof got, NULL), ST_OK);
	assert_int_equal(got, 0x2223);
	assert_int_equal(entropy_fill(&e, &got, sizeof got, NULL), ST_OK);
	assert_int_equal(got, 0x1112); /* back again */
	generator[0].dry = 4;
	assert_int_equal(entropy_fill(&e, &got, sizeof got, NULL), ST_OK);
	assert_int_equal(got, 0x1113); /* four refusals of five tries */
}

static void one_that_sticks_is_never_asked_again(void **state)
{
	uint64_t got;
	unsigned calls;

	(void)state;
	generator[0].step = 0;
	assert_int_equal(entropy_fill(&e, &got, sizeof got, NULL), ST_OK);
	assert_int_equal(got, 0x2223);
	calls = generator[0].calls;
	generator[0].step = 1;
	assert_int_equal(entropy_fill(&e, &got, sizeof got, NULL), ST_OK);
	assert_int_equal(generator[0].calls, calls);
}

/* It worked for a while, then did not. */
static void one_that_sticks_later_is_noticed(void **state)
{
	uint64_t got[2] = {5, 5};

	(void)state;
	assert_int_equal(entropy_fill(&e, got, sizeof got, NULL), ST_OK);
	generator[0].step = 0;
	assert_int_equal(entropy_fill(&e, got, sizeof got, NULL), ST_OK);
	assert_int_equal(got[1], 0x2223);
	assert_string_equal(e.source[0].broken, "repeats itself");
}

static void all_zeroes_and_all_ones_are_not_believed(void **state)
{
	uint64_t got = 5;
	struct error err;

	(void)state;
	generator[0].value = UINT64_MAX;
	generator[1].value = 0;
	assert_int_equal(entropy_fill(&e, &got, sizeof got, &err), ST_IO);
	assert_int_equal(got, 0);
	assert_string_equal(
		err.text,
		"no source of entropy: RDSEED says all zeroes or all ones, RDRAND says all zeroes or all ones");
}

static void without_a_source_it_says_why(void **state)
{
	uint64_t got;
	struct error err;

	(void)state;
	e.source[0].next = NULL;
	generator[1].dry = 1000;
	assert_int_equal(entropy_fill(&e, &got, sizeof got, &err), ST_IO);
	assert_string_equal(err.text, "no source of entropy: RDSEED is missing, RDRAND gives nothing");
	assert_int_equal(generator[1].calls, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_first_that_works_is_asked, setup),
		cmocka_unit_test_setup(a_length_that_is_no_multiple_is_filled_exactly, setup),
		cmocka_unit_test_setup(one_that_runs_dry_is_replaced_for_now, setup),
		cmocka_unit_test_setup(one_that_sticks_is_never_asked_again, setup),
		cmocka_unit_test_setup(one_that_sticks_later_is_noticed, setup),
		cmocka_unit_test_setup(all_zeroes_and_all_ones_are_not_believed, setup),
		cmocka_unit_test_setup(without_a_source_it_says_why, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
