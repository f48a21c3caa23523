/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of names and the chains of origins, over the VM rig with a clock that
 * the test moves: every name leads to its item and back, overrides decay, what
 * counts at a start waits for it, and what is bounded says so.
 */
#include "tests/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "lib/log.h"
#include "lua/change.h"
#include "tests/fakes/control_rig.h"
#include "tests/fakes/hand_clock.h"

#define MIB (1ull << 20)
#define SEC 1000000000ull

static struct error err;

static int setup(void **state)
{
	(void)state;
	control_rig_init(64 * MIB);
	log_set_level(LOG_INFO);
	err.text[0] = '\0';
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	control_rig_fini();
	return 0;
}

static struct control *control(void)
{
	return control_rig.control;
}

static struct vm *define(const char *name)
{
	struct vm_config cfg = vm_rig_config(name, 2 * MIB);
	struct vm *vm;

	cfg.boot.protocol = BOOT_MULTIBOOT;
	assert_int_equal(vm_define(&vm_rig.machine, &cfg, &vm, &err), ST_OK);
	return vm;
}

static struct tree_item find(const char *path)
{
	struct tree_item item;

	if (tree_find(control(), path, strlen(path), &item, &err) != ST_OK)
		fail_msg("%s: %s", path, err.text);
	return item;
}

static void pass(uint64_t ns)
{
	hand_clock_advance(ns_to_ticks(ns, VM_RIG_HZ));
	control_rig_settle(100);
}

/* ---- names ---- */

static void every_name_leads_back(void **state)
{
	char path[TREE_PATH_MAX], seen[400][TREE_PATH_MAX];
	struct tree_item item;
	uint32_t cursor = 0;
	unsigned count = 0, knobs = 0;

	(void)state;
	define("a");
	define("a.cpu"); /* a dot in a name must not lead astray */
	while (tree_next(control(), &cursor, &item)) {
		struct tree_item found;
		size_t len = tree_path(&item, path);

		assert_true(len < TREE_PATH_MAX && len == strlen(path));
		assert_int_equal(tree_find(control(), path, len, &found, &err), ST_OK);
		assert_memory_equal(&found, &item, sizeof item);
		for (unsigned i = 0; i < count; i++)
			assert_string_not_equal(path, seen[i]);
		assert_true(count < 400);
		memcpy(seen[count++], path, sizeof path);
		knobs += item_knob(&item) != NULL;
	}
	assert_true(count > 100 && knobs >= 5 + 2 * 6);
	assert_false(tree_next(control(), &cursor, &item));
}

/* Declarations that every face relies on. */
static void declarations_are_whole(void **state)
{
	struct tree_table t;

	(void)state;
	assert_string_equal(vm_counters.group, vm_knobs.group);
	for (unsigned kind = 0; tree_kind(control(), kind, &t); kind++) {
		assert_true((t.counters != NULL) != (t.knobs != NULL));
		for (size_t i = 0; t.counters && i < t.counters->count; i++) {
			const struct counter *c = &t.counters->rows[i];

			assert_true(c->name[0] && c->help[0] && c->help[strlen(c->help) - 1] != '.');
			assert_true(c->offset + (size_t)c->bytes * counter_values(c) <= t.counters->figures_bytes);
			assert_true(c->kind != COUNTER_STATE || c->family);
		}
		for (size_t i = 0; t.knobs && i < t.knobs->count; i++) {
			const struct knob *k = &t.knobs->rows[i];

			assert_true(k->name[0] && k->help[0] && k->get && k->set);
			assert_true(k->type != KNOB_NUMBER || k->min <= k->max);
			assert_true(k->type != KNOB_CHOICE || k->names);
		}
	}
}

static void not_found(const char *path, const char *sentence)
{
	struct tree_item item;

	assert_int_equal(tree_find(control(), path, strlen(path), &item, &err), ST_NOT_FOUND);
	assert_string_equal(err.text, sentence);
}

static void unknown_names_get_advice(void **state)
{
	(void)state;
	define("alpha");
	not_found("vm.alpha.mem.sise", "there is no vm.alpha.mem.sise; did you mean vm.alpha.mem.size?");
	not_found("vm.alpha.mem.reserve", "there is no vm.alpha.mem.reserve; it is called reservation");
	not_found("vm.alpha.cpu.pin", "there is no vm.alpha.cpu.pin; it is called cpu.affinity");
	not_found("vm.alpha.mem.limit", "there is no vm.alpha.mem.limit; there is cpu.limit");
	not_found("vm.alpha.bridge", "there is no vm.alpha.bridge");
	not_found("vm.alhpa.mem.size", "vm.alhpa.mem.size: there is no VM called alhpa; did you mean vm.alpha?");
	not_found("vm.zulu.mem.size", "vm.zulu.mem.size: there is no VM called zulu");
	not_found("vm", "vm is no counter or setting, but has some below it");
	not_found("vm.", "vm.: there is no VM called ");
	not_found("host.mem.fre", "there is no host.mem.fre; did you mean host.mem.free?");
	not_found("hots.mem", "there is no hots.mem; did you mean host.mem?");
	not_found("", "there is no ");
	not_found("host", "host is no counter or setting, but has some below it");
	not_found("host.", "there is no host.");
	not_found("vm.alpha.exits_by_kind", "vm.alpha.exits_by_kind is no counter or setting, but has some below it");
	not_found("vm.alpha", "vm.alpha is no counter or setting, but has some below it");
	not_found("vm.alpha.\x1b[2J\n", "there is no vm.alpha.?[2J?");
}

static void counters_are_the_rooms_figures(void **state)
{
	struct tree_figures figures = {.table = NULL};
	struct memmgr_stats stats;
	struct tree_item item;

	(void)state;
	define("alpha");
	memmgr_stats(vm_rig.machine.mm, &stats);
	item = find("host.mem.free");
	assert_true(tree_counter(control(), &item, &figures) == stats.frames[FRAME_FREE] * PAGE_SIZE);
	item = find("host.vms.defined");
	assert_int_equal(tree_counter(control(), &item, &figures), 1);
	item = find("vm.alpha.state");
	assert_int_equal(tree_counter(control(), &item, &figures), VM_DEFINED);
}

/* ---- chains ---- */

static void change(const char *path, uint64_t value, uint64_t for_ns, enum origin origin, const char *where)
{
	struct setting_change ch = {.item = find(path), .value = value, .for_ns = for_ns, .origin = origin};

	snprintf(ch.where, sizeof ch.where, "%s", where);
	if (settings_check(control(), &ch, &err) != ST_OK)
		fail_msg("%s: %s", path, err.text);
	settings_apply(control(), &ch);
}

static uint64_t value_of(const char *path)
{
	struct tree_item item = find(path);
	struct setting_state now;

	settings_state(control(), &item, &now);
	return now.value;
}

static const char *chain_of(const char *path)
{
	static struct setting_entry chain[SETTINGS_CHAIN_MAX];
	static char text[1024];
	struct tree_item item = find(path);
	unsigned count = settings_chain(control(), &item, chain);
	char value[KNOB_TEXT_MAX];
	size_t len = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < count; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, "%s%s=%s%s%s", i ? " " : "",
					origin_name(chain[i].origin), knob_text(chain[i].knob, chain[i].value, value),
					chain[i].where[0] ? "@" : "", chain[i].where);
	return text;
}

static void layers_in_their_order(void **state)
{
	(void)state;
	assert_string_equal(chain_of("log.level"), "default=info");
	change("log.level", LOG_DEBUG, 0, ORIGIN_OPERATOR, "");
	assert_string_equal(chain_of("log.level"), "operator=debug default=info");
	/* What a script wants for good lies below what the operator said. */
	change("log.level", LOG_WARN, 0, ORIGIN_SCRIPT, "x.lua:1");
	assert_string_equal(chain_of("log.level"), "operator=debug script=warn@x.lua:1 default=info");
	assert_int_equal(value_of("log.level"), LOG_DEBUG);
	change("log.level", LOG_ERROR, 10 * SEC, ORIGIN_SCRIPT, "x.lua:2");
	assert_int_equal(value_of("log.level"), LOG_ERROR);
	change("log.level", LOG_WARN, 5 * SEC, ORIGIN_OPERATOR, "");
	assert_string_equal(chain_of("log.level"),
			    "override=warn override=error@x.lua:2 operator=debug script=warn@x.lua:1 default=info");
	/* The same maker's takes its own place, on top. */
	change("log.level", LOG_INFO, 20 * SEC, ORIGIN_SCRIPT, "x.lua:2");
	assert_string_equal(chain_of("log.level"),
			    "override=info@x.lua:2 override=warn operator=debug script=warn@x.lua:1 default=info");
	pass(6 * SEC); /* the one beneath ends unseen */
	assert_string_equal(chain_of("log.level"),
			    "override=info@x.lua:2 operator=debug script=warn@x.lua:1 default=info");
	assert_int_equal(value_of("log.level"), LOG_INFO);
	pass(13 * SEC);
	assert_int_equal(value_of("log.level"), LOG_INFO);
	pass(2 * SEC);
	assert_string_equal(chain_of("log.level"), "operator=debug script=warn@x.lua:1 default=info");
	assert_int_equal(value_of("log.level"), LOG_DEBUG);
	change("log.level", LOG_ERROR, SEC, ORIGIN_OPERATOR, "");
	settings_reset(control(), &(struct tree_item){.table = find("log.level").table});
	assert_string_equal(chain_of("log.level"), "default=info");
	assert_int_equal(value_of("log.level"), LOG_INFO);
	assert_int_equal(control()->settings.count, 0);
	assert_true(control()->settings.next == TIMERQ_NEVER);
}

static void an_override_wakes_the_control_task(void **state)
{
	unsigned before;

	(void)state;
	change("log.level", LOG_ERROR, SEC, ORIGIN_OPERATOR, "");
	control_rig_settle(10);
	assert_true(timer_is_set(&control()->wake_alarm.timer));
	before = fake_host.notifies;
	hand_clock_advance(ns_to_ticks(SEC, VM_RIG_HZ) - 1);
	timerq_run(&fake_host.cpu.timers, fake_host.ops.clock->ticks());
	assert_int_equal(fake_host.notifies, before);
	assert_int_equal(value_of("log.level"), LOG_ERROR);
	hand_clock_advance(1);
	timerq_run(&fake_host.cpu.timers, fake_host.ops.clock->ticks());
	assert_int_equal(fake_host.notifies, before + 1);
	control_rig_settle(10);
	assert_int_equal(value_of("log.level"), LOG_INFO);
}

static void a_board_is_an_origin(void **state)
{
	(void)state; /* the rig's slice is twice the default, and it clears nothing ahead */
	assert_string_equal(chain_of("host.cpu.slice"), "boot=10000000 default=5000000");
	assert_string_equal(chain_of("host.mem.clear_ahead.4k"), "boot=0 default=512");
	change("host.cpu.slice", 2000000, 0, ORIGIN_OPERATOR, "");
	assert_true(sched_slice(vm_rig.machine.sched) == ns_to_ticks(2000000, VM_RIG_HZ));
	assert_string_equal(chain_of("host.cpu.slice"), "operator=2000000 boot=10000000 default=5000000");
	settings_reset(control(), &(struct tree_item){.table = find("host.cpu.slice").table});
	assert_true(sched_slice(vm_rig.machine.sched) == VM_RIG_SLICE);
}

static void what_counts_at_a_start_waits_for_it(void **state)
{
	struct vm *vm = define("a");
	struct tree_item item;
	struct setting_state now;

	(void)state;
	/* At rest: at once. */
	change("vm.a.mem.size", 3 * MIB, 0, ORIGIN_OPERATOR, "");
	assert_true(vm->config.memory.size == 3 * MIB && vm->config.memory.reservation == 3 * MIB);
	settings_reset(control(), &(struct tree_item){.table = find("vm.a.mem.size").table});
	assert_true(vm->config.memory.size == 2 * MIB && vm->config.memory.reservation == 2 * MIB);
	/* While it runs: the definition stays as what was built from it. */
	assert_int_equal(vm_start(vm, &err), ST_OK);
	change("vm.a.mem.size", 4 * MIB, 0, ORIGIN_OPERATOR, "");
	assert_true(vm->config.memory.size == 2 * MIB);
	item = find("vm.a.mem.size");
	settings_state(control(), &item, &now);
	assert_true(now.pending && now.value == 2 * MIB && now.next_value == 4 * MIB);
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	assert_true(vm->config.memory.size == 4 * MIB);
	settings_state(control(), &item, &now);
	assert_false(now.pending);
	/* Unset while it runs: the ground waits too, and then nothing is kept. */
	settings_reset(control(), &item);
	assert_true(vm->config.memory.size == 4 * MIB);
	assert_int_equal(control()->settings.count, 1);
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	assert_true(vm->config.memory.size == 2 * MIB);
	assert_int_equal(control()->settings.count, 0);
	/* A live one counts at once. */
	change("vm.a.on_reset", ON_RESET_STOP, 0, ORIGIN_OPERATOR, "");
	assert_int_equal(vm->config.on_reset, ON_RESET_STOP);
}

static void an_override_that_ends_while_the_vm_runs(void **state)
{
	struct vm *vm = define("a");

	(void)state;
	change("vm.a.acpi", false, SEC, ORIGIN_OPERATOR, "");
	assert_false(vm->config.acpi);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	pass(2 * SEC);
	assert_false(vm->config.acpi); /* it was built without */
	assert_int_equal(vm_stop(vm, &err), ST_OK);
	assert_int_equal(vm_start(vm, &err), ST_OK);
	assert_true(vm->config.acpi);
	assert_int_equal(control()->settings.count, 0);
}

static void refused(const char *path, uint64_t value, uint64_t for_ns, enum origin origin, enum status st,
		    const char *sentence)
{
	struct setting_change ch = {.item = find(path), .value = value, .for_ns = for_ns, .origin = origin};

	assert_int_equal(settings_check(control(), &ch, &err), st);
	assert_string_equal(err.text, sentence);
}

static void refusals(void **state)
{
	(void)state;
	define("a");
	refused("log.level", 4, 0, ORIGIN_OPERATOR, ST_INVALID, "log.level: it takes error, warn, info or debug");
	refused("vm.a.mem.reservation", MIB, 0, ORIGIN_OPERATOR, ST_UNSUPPORTED,
		"vm.a.mem.reservation: VM a (test:1): mem.reservation (1048576 bytes) must equal mem.size (2097152 "
		"bytes) in this version");
	refused("vm.a.mem.reservation", 2 * MIB, 0, ORIGIN_SCRIPT, ST_DENIED,
		"vm.a.mem.reservation: a reservation is a floor: a definition or the operator sets it");
	refused("vm.a.cpu.count", 17, 0, ORIGIN_OPERATOR, ST_INVALID, "vm.a.cpu.count: 17 is outside 1 to 16");
	refused("log.level", 0, 999999, ORIGIN_OPERATOR, ST_INVALID,
		"log.level: an override lasts from 1 ms to 366 days");
	refused("log.level", 0, SETTINGS_FOR_MAX_NS + 1, ORIGIN_OPERATOR, ST_INVALID,
		"log.level: an override lasts from 1 ms to 366 days");
	assert_int_equal(control()->settings.count, 0);
}

static void overrides_are_bounded(void **state)
{
	char where[16];

	(void)state;
	for (unsigned i = 0; i < SETTINGS_OVERRIDES_MAX; i++) {
		snprintf(where, sizeof where, "x.lua:%u", i);
		change("log.level", LOG_WARN, SEC, ORIGIN_SCRIPT, where);
	}
	refused("log.level", LOG_WARN, SEC, ORIGIN_SCRIPT, ST_OVER_LIMIT,
		"log.level: there are 32 temporary overrides already: wait, or unset one");
	change("log.level", LOG_ERROR, SEC, ORIGIN_SCRIPT, where); /* its own is renewed */
	change("log.level", LOG_ERROR, 0, ORIGIN_OPERATOR, "");    /* one for good still fits */
	pass(SEC);
	assert_int_equal(control()->settings.overrides, 0);
	assert_int_equal(control()->settings.expired, SETTINGS_OVERRIDES_MAX);
	change("log.level", LOG_WARN, SEC, ORIGIN_SCRIPT, where);
}

static void changes_are_bounded(void **state)
{
	char path[64];
	unsigned made = 0;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		snprintf(path, sizeof path, "v%u", i);
		define(path);
	}
	for (unsigned i = 0; i < 20 && made < SETTINGS_ENTRIES_MAX / 2; i++) {
		static const char *const names[] = {"on_reset", "acpi", "debug_exit", "cpu.count"};

		for (unsigned k = 0; k < 4 && made < SETTINGS_ENTRIES_MAX / 2; k++, made++) {
			snprintf(path, sizeof path, "vm.v%u.%s", i, names[k]);
			change(path, 1, 0, ORIGIN_OPERATOR, "");
		}
	}
	assert_int_equal(control()->settings.count, SETTINGS_ENTRIES_MAX);
	refused("log.level", LOG_WARN, 0, ORIGIN_OPERATOR, ST_OVER_LIMIT,
		"log.level: 128 changes of settings are kept already: unset some");
	change(path, 1, 0, ORIGIN_OPERATOR, ""); /* the same again takes no room */
	settings_forget(control(), 1);
	assert_int_equal(control()->settings.count, SETTINGS_ENTRIES_MAX - 8);
	change("log.level", LOG_WARN, 0, ORIGIN_OPERATOR, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_name_leads_back),
		TEST(declarations_are_whole),
		TEST(unknown_names_get_advice),
		TEST(counters_are_the_rooms_figures),
		TEST(layers_in_their_order),
		TEST(an_override_wakes_the_control_task),
		TEST(a_board_is_an_origin),
		TEST(what_counts_at_a_start_waits_for_it),
		TEST(an_override_that_ends_while_the_vm_runs),
		TEST(refusals),
		TEST(overrides_are_bounded),
		TEST(changes_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
