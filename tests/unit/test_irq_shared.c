/* SPDX-License-Identifier: Apache-2.0 */
/* Lines that PCI functions share: all are asked, and one that comes on and on for nobody is noticed. */
#include "tests/cmocka_all.h"

#include "firmware/irq_shared.h"

#define HZ 1000000ull
#define MS 1000ull

struct device {
	bool did_it;
	unsigned asked;
};

static bool ask(void *arg)
{
	struct device *d = arg;

	d->asked++;
	return d->did_it;
}

static void all_are_asked(void **state)
{
	struct device d[IRQ_SHARERS_MAX] = {{.did_it = true}, {.did_it = true}};
	struct irq_shared s = {.users = 0};

	(void)state;
	for (unsigned i = 0; i < IRQ_SHARERS_MAX; i++)
		assert_true(irq_shared_add(&s, ask, &d[i]));
	assert_false(irq_shared_add(&s, ask, &d[0]));
	for (unsigned i = 0; i < 3 * IRQ_NOBODYS_MAX; i++)
		assert_false(irq_shared_run(&s, i, HZ));
	for (unsigned i = 0; i < IRQ_SHARERS_MAX; i++)
		assert_int_equal(d[i].asked, 3 * IRQ_NOBODYS_MAX);
}

static void on_and_on(void **state)
{
	struct device d = {false, 0};
	struct irq_shared s = {.users = 0};
	uint64_t now = 0;

	(void)state;
	assert_true(irq_shared_add(&s, ask, &d));
	for (unsigned i = 1; i < IRQ_NOBODYS_MAX; i++)
		assert_false(irq_shared_run(&s, now++, HZ));
	assert_true(irq_shared_run(&s, now++, HZ));
	assert_false(irq_shared_run(&s, now++, HZ)); /* told once */
}

static void now_and_then(void **state)
{
	struct device d = {false, 0};
	struct irq_shared s = {.users = 0};
	uint64_t now = 0;

	(void)state;
	assert_true(irq_shared_add(&s, ask, &d));
	for (unsigned i = 0; i < 3 * IRQ_NOBODYS_MAX; i++)
		assert_false(irq_shared_run(&s, now += 11 * MS, HZ));
	/* One that is somebody's begins the count anew. */
	for (unsigned i = 0; i < 3 * IRQ_NOBODYS_MAX; i++) {
		d.did_it = i % IRQ_NOBODYS_MAX == IRQ_NOBODYS_MAX / 2;
		assert_false(irq_shared_run(&s, now++, HZ));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_are_asked),
		cmocka_unit_test(on_and_on),
		cmocka_unit_test(now_and_then),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
