/* SPDX-License-Identifier: Apache-2.0 */
/* The intrusive list: order, removal while walking, idempotent removal. */
#include "tests/cmocka_all.h"

#include "lib/list.h"

struct item {
	int value;
	struct list node;
};

static void expect(struct list *head, const int *values, unsigned count)
{
	unsigned i = 0;

	list_for_each(it, head) {
		assert_true(i < count);
		assert_int_equal(list_entry(it, struct item, node)->value, values[i++]);
		assert_ptr_equal(it->next->prev, it);
	}
	assert_int_equal(i, count);
}

static void order_and_removal(void **state)
{
	struct item items[4];
	struct list head;

	(void)state;
	list_init(&head);
	assert_true(list_empty(&head));
	for (int i = 0; i < 4; i++) {
		items[i].value = i;
		list_init(&items[i].node);
	}
	list_push_back(&head, &items[1].node);
	list_push_back(&head, &items[2].node);
	list_push_front(&head, &items[0].node);
	list_push_back(&head, &items[3].node);
	expect(&head, (int[]){0, 1, 2, 3}, 4);

	list_remove(&items[2].node);
	list_remove(&items[2].node);
	expect(&head, (int[]){0, 1, 3}, 3);
	assert_true(list_empty(&items[2].node));

	list_for_each_safe(it, &head)
		list_remove(it);
	assert_true(list_empty(&head));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(order_and_removal)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
