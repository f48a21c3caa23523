/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools: the rules of their definitions, the registry, what VMs in them get and
 * leave behind.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "guest/machine.h"
#include "guest/vm_cpu.h"
#include "tests/fakes/fake_pc.h"
#include "tests/fakes/vm_rig.h"

#define RAM (64ull << 20)
#define GUEST_BYTES (4ull << 20)
#define CPU SCHED_ONE_CPU

static struct machine *m;
static struct error err;

static int setup(void **state)
{
	(void)state;
	memset(&fake_pc, 0, sizeof fake_pc);
	memset(&err, 0, sizeof err);
	fake_fail_create(0);
	vm_rig_init(RAM);
	m = &vm_rig.machine;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_rig_fini();
	return 0;
}

static struct pool_config config(const char *name, const char *parent, uint64_t reservation)
{
	struct pool_config cfg;

	pool_config_init(&cfg);
	snprintf(cfg.name, sizeof cfg.name, "%s", name);
	snprintf(cfg.parent, sizeof cfg.parent, "%s", parent);
	cfg.cpu.numbers.reservation = reservation;
	return cfg;
}

static struct pool *define(const char *name, const char *parent, uint64_t reservation)
{
	struct pool_config cfg = config(name, parent, reservation);
	struct pool *p = NULL;

	if (pool_define(m, &cfg, &p, &err) != ST_OK)
		fail_msg("%s", err.text);
	return p;
}

static void says(const char *part)
{
	if (!strstr(err.text, part))
		fail_msg("\"%s\" does not say \"%s\"", err.text, part);
}

/* ---- definitions ---- */

static void refused(const struct pool_config *cfg, enum status want, const char *part)
{
	assert_int_equal(pool_config_check(cfg, &err), want);
	says(part);
}

static void rules(void **state)
{
	struct pool_config cfg = config("edge", "", 0);

	(void)state;
	assert_int_equal(pool_config_check(&cfg, &err), ST_OK);
	strcpy(cfg.origin, "site.lua:4");
	cfg.cpu.numbers.shares = 0;
	refused(&cfg, ST_INVALID, "pool edge (site.lua:4): cpu.shares is 0");
	cfg.cpu.numbers.shares = 1u << 31;
	refused(&cfg, ST_INVALID, "cpu.shares is 2147483648, it can be 1 to 1000000");
	cfg.cpu.numbers = (struct rls){.reservation = 2, .limit = 1, .shares = 1};
	refused(&cfg, ST_INVALID, "cpu.reservation (2 ppm) is above cpu.limit (1 ppm)");
	cfg.cpu.numbers = (struct rls){.limit = 0, .shares = 1};
	refused(&cfg, ST_INVALID, "a cpu.limit of 0");
	cfg = config("", "", 0);
	refused(&cfg, ST_INVALID, "pool without a name: name is missing");
	memset(cfg.name, 'x', sizeof cfg.name);
	refused(&cfg, ST_INVALID, "name is longer than 31");
	cfg = config("edge", "edge", 0);
	refused(&cfg, ST_INVALID, "its own parent");
	memset(cfg.parent, 'x', sizeof cfg.parent);
	refused(&cfg, ST_INVALID, "parent is longer than 31");
	cfg = config("a b", "", 0);
	refused(&cfg, ST_INVALID, "at position 2");
	cfg = config(POOL_SYSTEM, "", 0);
	refused(&cfg, ST_EXISTS, "the machine's own");
}

static void the_registry(void **state)
{
	struct pool_config again = config("edge", "", 0), lost = config("lost", "nobody", 0), inner;
	struct pool *edge = define("edge", POOL_ROOT, CPU / 2), *p;

	(void)state;
	assert_ptr_equal(pool_find(m, "edge"), edge);
	assert_ptr_equal(pool_by_id(m, edge->id), edge);
	assert_ptr_equal(pool_next(m, pool_next(m, pool_next(m, NULL))), edge);
	assert_null(pool_by_id(m, 0));
	assert_null(pool_by_id(m, POOL_IDS + 1));
	assert_int_equal(pool_define(m, &again, &p, &err), ST_EXISTS);
	assert_int_equal(pool_define(m, &lost, &p, &err), ST_NOT_FOUND);
	says("there is no pool called nobody");
	assert_true(m->committed == PAGE_SIZE);
	inner = config("inner", "edge", CPU / 2 + 1);
	assert_int_equal(pool_define(m, &inner, &p, &err), ST_NOT_ADMITTED);
	says("reservations of 0 + 500001 ppm do not fit the 500000 ppm of pool edge");
	assert_true(m->committed == PAGE_SIZE);
	define("inner", "edge", CPU / 2);
	assert_true(pool_below(pool_find(m, "inner"), edge) && !pool_below(edge, pool_find(m, "inner")));
	assert_int_equal(pool_remove(edge, &err), ST_BUSY);
	says("pool inner is in it");
	assert_int_equal(pool_remove(pool_by_id(m, POOL_OWN_ROOT), &err), ST_DENIED);
	assert_int_equal(pool_named(m, POOL_SYSTEM, &p, &err), ST_DENIED);
	assert_int_equal(pool_remove(pool_find(m, "inner"), &err), ST_OK);
	assert_int_equal(pool_remove(edge, &err), ST_OK);
	assert_true(m->committed == 0);
}

static void without_memory_there_is_no_pool(void **state)
{
	struct pool_config cfg = config("edge", "", 0);
	uint64_t capacity = m->capacity;
	unsigned n = 0, orders[64];
	hfn_t frames[64];
	struct pool *p;

	(void)state;
	m->capacity = 0;
	assert_int_equal(pool_define(m, &cfg, &p, &err), ST_NOT_ADMITTED);
	m->capacity = capacity;
	for (unsigned order = MEMMGR_MAX_ORDER + 1; order-- > 0;)
		while (n < ARRAY_SIZE(frames) && memmgr_alloc(m->mm, order, &frames[n]) == ST_OK)
			orders[n++] = order;
	assert_true(n < ARRAY_SIZE(frames)); /* that was all */
	assert_int_equal(pool_define(m, &cfg, &p, &err), ST_NO_MEMORY);
	while (n-- > 0)
		memmgr_free(m->mm, frames[n], orders[n]);
	assert_null(pool_find(m, "edge"));
}

/* ---- VMs in them ---- */

static struct vm *vm_in(const char *name, const char *pool, uint64_t reservation)
{
	struct vm_config cfg = vm_rig_config(name, GUEST_BYTES);
	struct vm *vm;

	snprintf(cfg.pool, sizeof cfg.pool, "%s", pool);
	cfg.cpu.numbers.reservation = reservation;
	if (vm_define(m, &cfg, &vm, &err) != ST_OK)
		fail_msg("%s", err.text);
	return vm;
}

static void run(unsigned turns)
{
	enum sched_end end;

	for (unsigned i = 0; i < turns; i++)
		vm_rig_turn(&end);
}

static uint64_t used(const struct pool *p)
{
	struct pool_info info;

	pool_info(p, &info);
	return info.used;
}

static void what_was_used_stays_where_it_was(void **state)
{
	struct pool *edge = define("edge", "", CPU / 2), *inner = define("inner", "edge", 0), *other = define("other", "", 0);
	struct vm_config nowhere = vm_rig_config("nowhere", GUEST_BYTES);
	struct vm *vm = vm_in("web", "inner", 0);
	uint64_t there, total;

	(void)state;
	strcpy(nowhere.pool, "nobody");
	assert_int_equal(vm_define(m, &nowhere, &vm, &err), ST_NOT_FOUND);
	vm = vm_find(m, "web");
	assert_int_equal(pool_remove(inner, &err), ST_BUSY);
	says("VM web is in it");
	assert_int_equal(vm_start(vm, &err), ST_OK);
	run(5);
	there = used(inner);
	assert_true(there > 0 && used(edge) == there && used(pool_by_id(m, POOL_OWN_ROOT)) == there);
	assert_int_equal(vm_cpu_move(vm, "other", &err), ST_OK);
	assert_true(used(inner) == there && used(edge) == there && used(other) == 0);
	run(5);
	total = used(pool_by_id(m, POOL_OWN_ROOT));
	assert_true(used(inner) == there && used(other) > 0 && total == there + used(other));
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	assert_true(used(pool_by_id(m, POOL_OWN_ROOT)) == total && used(other) == total - there);
	assert_int_equal(vm_cpu_move(vm, POOL_ROOT, &err), ST_OK); /* at rest too */
	assert_string_equal(vm->config.pool, "");
	assert_true(sched_check(m->sched));
}

static void a_reservation_is_the_pools(void **state)
{
	struct vm *a, *b;

	(void)state;
	define("edge", "", CPU / 4);
	a = vm_in("a", "edge", CPU / 5);
	b = vm_in("b", "edge", CPU / 5);
	assert_int_equal(vm_start(a, &err), ST_OK);
	assert_int_equal(vm_start(b, &err), ST_NOT_ADMITTED);
	says("VM b: cpu: reservations of 200000 + 200000 ppm do not fit the 250000 ppm of pool edge");
	assert_int_equal(vm_cpu_move(b, POOL_ROOT, &err), ST_OK);
	assert_int_equal(vm_start(b, &err), ST_OK);
	assert_int_equal(vm_cpu_move(b, "edge", &err), ST_NOT_ADMITTED);
	assert_string_equal(b->config.pool, "");
}

/* ---- many at once; at random in tests/model/model_pools.c ---- */

static void two_change_sides(void **state)
{
	struct pool *a = define("a", "", CPU / 2), *b = define("b", "a", CPU / 4);
	const struct rls half = {.reservation = CPU / 2, .limit = RLS_UNLIMITED, .shares = 1};
	struct regroup r = {.count = 0};

	(void)state;
	regroup_pool(&r, a, b, &half);
	assert_int_equal(regroup_run(m, &r, true, &err), ST_INVALID);
	says("would be below itself");
	regroup_pool(&r, b, NULL, &half);
	assert_int_equal(regroup_run(m, &r, false, &err), ST_OK);
	assert_ptr_equal(b->cpu->parent, a->cpu);
	assert_int_equal(regroup_run(m, &r, true, &err), ST_OK);
	assert_ptr_equal(a->cpu->parent, b->cpu);
	assert_true(sched_check(m->sched));
	r.count = 0;
	regroup_pool(&r, a, NULL, &half);
	regroup_pool(&r, b, NULL, &half);
	assert_int_equal(regroup_run(m, &r, true, &err), ST_OK);
}

int main(void)
{
#define ONE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		ONE(rules), ONE(the_registry), ONE(without_memory_there_is_no_pool), ONE(what_was_used_stays_where_it_was),
		ONE(a_reservation_is_the_pools), ONE(two_change_sides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
