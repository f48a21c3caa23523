/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applying a text over a disk that fails and a supply that is cut: at every
 * write, with any part of what was not flushed. Whatever happens, the machine has
 * the old generation or the new one, in memory and after the next start, and
 * what was acknowledged is there.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/generation.h"
#include "lib/log.h"
#include "tests/fakes/control_rig.h"
#include "tests/fakes/hand_clock.h"
#include "tests/model/random.h"

#define VM(name) \
	"vm '" name "' { boot = multiboot { image = 'kernel' }, mem = { size = MiB(1) } }\n"

#define POOLED(name, pool, shares) \
	"vm '" name "' { boot = multiboot { image = 'kernel' }, mem = { size = MiB(2) }, pool = '" pool "'," \
	" cpu = { shares = " shares ", reservation = pct(20) }, autostart = true }\n"

/* "live" runs all the time: its pool, and what it has of it, change with the text. */
static const char first[] = VM("one") "pool 'a' { cpu = { reservation = pct(60) } }\n"
	POOLED("live", "a", "100") "use('part.lua') every(sec(1), print)";
static const char second[] = VM("two") "pool 'a' { parent = 'b' } pool 'b' { cpu = { reservation = pct(70) } }\n"
	POOLED("live", "b", "200") "use 'part.lua' on('vm', print)";
static const char part[] = VM("both");

static struct cbor_writer reply;
static uint8_t reply_buf[SMP_BODY_MAX];
static struct error err;

static struct control *c(void)
{
	return control_rig.control;
}

static enum status apply(const char *text)
{
	err.text[0] = '\0';
	cbor_writer_init(&reply, reply_buf, sizeof reply_buf);
	return generation_apply(c(), "site.lua", text, strlen(text), &reply, &err);
}

/* The file that both texts use. */
static void put_part(const char *text)
{
	assert_int_equal(files_put(&control_rig.files, "part.lua", text, strlen(text), &err), ST_OK);
}

/* The machine loses everything but its disk. */
static void lose_memory(void)
{
	struct vm *vm;

	for (unsigned i = 0; i < SCRIPTS_MAX; i++)
		if (c()->policy.scripts[i].state != SCRIPT_FREE)
			policy_unload(c(), &c()->policy.scripts[i]);
	while ((vm = vm_next(&vm_rig.machine, NULL))) {
		if (vm->state == VM_RUNNING)
			assert_int_equal(vm_stop(vm, &err), ST_OK);
		assert_int_equal(vm_destroy(vm, &err), ST_OK);
	}
	vm_rig_remove_pools();
	assert_int_equal(vm_rig.machine.committed, 0);
}

static void start_again(void)
{
	lose_memory();
	control_rig_restart(true);
	put_part("error('what the generation keeps is what counts')");
	control_run_boot_script(c());
}

static bool there(const char *name)
{
	return vm_find(&vm_rig.machine, name) != NULL;
}

static unsigned scripts(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SCRIPTS_MAX; i++)
		n += c()->policy.scripts[i].state == SCRIPT_READY;
	return n;
}

/* Definitions and what the scheduler has agree on generation @n's pools. */
static void assert_pools(unsigned n)
{
	const struct pool *a = pool_find(&vm_rig.machine, "a"), *b = pool_find(&vm_rig.machine, "b");
	const struct vm *live = vm_find(&vm_rig.machine, "live");

	assert_non_null(a);
	assert_int_equal(b != NULL, n == 2);
	assert_ptr_equal(a->cpu->parent, n == 2 ? b->cpu : sched_root(vm_rig.machine.sched));
	assert_int_equal(a->cpu->numbers.reservation, n == 1 ? 600000 : 0);
	assert_int_equal(live->state, VM_RUNNING);
	assert_string_equal(live->config.pool, n == 1 ? "a" : "b");
	assert_ptr_equal(live->pool.parent, n == 1 ? a->cpu : b->cpu);
	assert_int_equal(live->pool.numbers.shares, 100 * n);
	assert_true(sched_check(vm_rig.machine.sched));
}

/* All of generation @n, and nothing of the other. */
static void assert_in_force(unsigned n)
{
	assert_int_equal(c()->generation.current, n);
	assert_int_equal(there("one"), n == 1);
	assert_int_equal(there("two"), n == 2);
	assert_true(there("both"));
	assert_int_equal(scripts(), 1);
	if (there("live")) /* some tests have smaller texts */
		assert_pools(n);
}

static void begin(void)
{
	control_rig_init(32ull << 20);
	put_part(part);
	assert_int_equal(apply(first), ST_OK);
	assert_in_force(1);
}

static unsigned names_below(const char *prefix)
{
	struct file f = {.name = ""};
	unsigned n = 0;

	while (files_next(&control_rig.files, prefix, f.name, &f) == ST_OK)
		n++;
	return n;
}

static bool keep_some(void *ctx)
{
	return random_next(ctx) & 1;
}

static void power_is_cut_at_each_write(void **state)
{
	struct random_state random = random_seed(20261121);
	unsigned old = 0, new = 0;
	bool cut = true;

	(void)state;
	for (unsigned at = 1; cut; at++) {
		enum status st;

		begin();
		control_rig.disk.cut_at = control_rig.disk.writes + at;
		st = apply(second);
		cut = control_rig.disk.dead;
		fault_disk_power_on(&control_rig.disk, keep_some, &random);
		start_again();
		if (st == ST_OK && !cut)
			assert_in_force(2);
		else
			assert_in_force(there("two") ? 2 : 1);
		old += there("one");
		new += there("two");
		lose_memory();
		control_rig_fini();
	}
	assert_true(old >= 2 && new >= 1);
}

static void the_disk_fails_at_each_request(void **state)
{
	unsigned refused = 0;
	bool failed = true;

	(void)state;
	for (unsigned at = 1; failed; at++) {
		enum status st;

		begin();
		control_rig.disk.fail_from = control_rig.disk.requests + at;
		control_rig.disk.fail_count = 1;
		st = apply(second);
		failed = control_rig.disk.requests >= control_rig.disk.fail_from;
		assert_in_force(st == ST_OK ? 2 : 1);
		assert_true(st == ST_OK || err.text[0]);
		refused += st != ST_OK;
		lose_memory();
		control_rig_fini();
		assert_true(at < 1000);
	}
	assert_true(refused >= 2);
}

static void without_a_disk_it_ends_with_the_start(void **state)
{
	(void)state;
	control_rig_init(32ull << 20);
	control_rig_restart(false);
	assert_int_equal(apply(VM("one") VM("both") "every(sec(1), print)"), ST_OK);
	assert_in_force(1);
	assert_int_equal(apply(VM("two") VM("both") "on('vm', print)"), ST_OK);
	assert_in_force(2);
	assert_int_equal(generation_rollback(c(), 1, &reply, &err), ST_NOT_FOUND);
	lose_memory();
	control_rig_restart(false);
	control_run_boot_script(c());
	assert_int_equal(c()->generation.current, 0);
	assert_false(there("two"));
	lose_memory();
	control_rig_fini();
}

static void a_damaged_state_is_the_seeds(void **state)
{
	static const char *const damaged[] = {"", "\xa0", "\xa1", "not CBOR at all", "\xa4\x61x\x01\x61y\x02\x61z\x03\x61w\x04"};

	(void)state;
	for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
		begin();
		assert_int_equal(files_put(&control_rig.files, "generations/state", damaged[i], strlen(damaged[i]), &err),
				 ST_OK);
		start_again();
		assert_int_equal(c()->generation.current, 0);
		assert_false(there("one"));
		lose_memory();
		control_rig_fini();
	}
}

/* What an apply wrote before the power went is nobody's: not listed, not to be had, and gone with the next. */
static void remains_are_no_generation(void **state)
{
	(void)state;
	begin();
	assert_int_equal(files_put(&control_rig.files, "generations/0000000002/a.lua", "", 0, &err), ST_OK);
	assert_int_equal(files_put(&control_rig.files, "generations/0000000002.use/old.lua", "x", 1, &err), ST_OK);
	assert_int_equal(files_put(&control_rig.files, "generations/0000000077.use/old.lua", "x", 1, &err), ST_OK);
	assert_int_equal(generation_rollback(c(), 2, &reply, &err), ST_NOT_FOUND);
	assert_int_equal(apply(second), ST_OK);
	assert_int_equal(names_below("generations/0000000002/"), 1);
	assert_int_equal(names_below("generations/0000000002.use/"), 1);
	assert_int_equal(names_below("generations/0000000077"), 0);
	start_again();
	assert_in_force(2);
	lose_memory();
	control_rig_fini();
}

/* Those that are deleted for their age take with them what they used; the one in force keeps it. */
static void used_texts_go_with_their_generation(void **state)
{
	(void)state;
	begin();
	for (unsigned i = 0; i < GENERATIONS_KEPT + 3; i++)
		assert_int_equal(apply(second), ST_OK);
	assert_int_equal(names_below("generations/0"), 2 * GENERATIONS_KEPT);
	lose_memory();
	control_rig_fini();
}

/* A store without room for all that the text uses: nothing is changed, and nothing left in it. */
static void what_does_not_fit_leaves_nothing(void **state)
{
	static char large[GENUSE_FILE_BYTES_MAX];
	static const char uses_two[] = "pool 'a' { cpu = { reservation = pct(30) } }\n" POOLED("live", "a", "300") "use 'l1' use 'l2'";
	unsigned names, filled = 0;
	char name[32];

	(void)state;
	begin();
	memset(large, ' ', sizeof large);
	assert_int_equal(files_put(&control_rig.files, "l1", large, sizeof large, &err), ST_OK);
	assert_int_equal(files_put(&control_rig.files, "l2", large, sizeof large, &err), ST_OK);
	do
		snprintf(name, sizeof name, "fill%u", filled++);
	while (files_put(&control_rig.files, name, large, sizeof large, &err) == ST_OK);
	snprintf(name, sizeof name, "fill%u", filled - 2);
	assert_int_equal(files_delete(&control_rig.files, name, &err), ST_OK);
	names = names_below("");
	assert_int_equal(apply(uses_two), ST_OVER_LIMIT);
	assert_non_null(strstr(err.text, "the store is full"));
	assert_in_force(1);
	assert_int_equal(names_below(""), names);
	/* and too much for any store */
	assert_int_equal(files_put(&control_rig.files, "l3", "--", 2, &err), ST_OK);
	assert_int_equal(apply("use 'l1' use 'l2' use 'l1' use 'l3'"), ST_INVALID);
	assert_non_null(strstr(err.text, "l3: the files that a text uses have at most 131072 bytes together"));
	assert_in_force(1);
	lose_memory();
	control_rig_fini();
}

static void time_makes_it_good(void **state)
{
	(void)state;
	begin();
	assert_int_equal(c()->generation.good, 0);
	hand_clock_advance(ns_to_ticks(GENERATION_TRIAL_NS / 2, VM_RIG_HZ));
	control_rig_settle(1000);
	assert_int_equal(c()->generation.good, 0);
	hand_clock_advance(ns_to_ticks(GENERATION_TRIAL_NS / 2 + 1000000, VM_RIG_HZ));
	control_rig_settle(1000);
	assert_int_equal(c()->generation.good, 1);
	start_again();
	assert_int_equal(c()->generation.good, 1);
	assert_int_equal(c()->generation.tries, 1);
	assert_in_force(1);
	hand_clock_advance(ns_to_ticks(GENERATION_TRIAL_NS + 1000000, VM_RIG_HZ));
	control_rig_settle(1000);
	assert_int_equal(c()->generation.tries, 0);
	/* one that never becomes good is left at its second start */
	put_part(part);
	assert_int_equal(apply(second), ST_OK);
	start_again();
	assert_in_force(2);
	start_again();
	assert_in_force(1);
	/* the good one is tried three times, then the seed's script */
	start_again();
	start_again();
	assert_in_force(1);
	start_again();
	assert_false(there("one"));
	lose_memory();
	control_rig_fini();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(power_is_cut_at_each_write),
		cmocka_unit_test(the_disk_fails_at_each_request),
		cmocka_unit_test(without_a_disk_it_ends_with_the_start),
		cmocka_unit_test(a_damaged_state_is_the_seeds),
		cmocka_unit_test(remains_are_no_generation),
		cmocka_unit_test(used_texts_go_with_their_generation),
		cmocka_unit_test(what_does_not_fit_leaves_nothing),
		cmocka_unit_test(time_makes_it_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
