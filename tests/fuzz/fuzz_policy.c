/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any sequence of group 70's work with texts: files to use, plan, apply, run,
 * stop, rollback, time that passes and a restart of the machine, over a store in
 * memory. Input: operations, each a letter and, for those that take one, a text up
 * to the next zero byte. After each step what an unsuccessful one may have left is
 * looked for: memory, settings, names in the store, VMs, scripts.
 */
#include <stdlib.h>
#include <string.h>

#include "guest/network.h"
#include "lua/generation.h"
#include "lua/script.h"
#include "tests/fakes/control_rig.h"
#include "tests/fakes/hand_clock.h"
#include "tests/fakes/script_tick.h"
#include "tests/fakes/wire_nic.h"

#define MIB (1ull << 20)
#define STEPS 20000u
#define STEPS_OF_HOOKS 4000u
#define OPERATIONS_MAX 12u
#define SETTLE_MAX 200u

static struct error err;
static uint8_t reply[SMP_BODY_MAX];

static struct control *c(void)
{
	return control_rig.control;
}

/* ---- what there is ---- */

struct picture {
	uint64_t committed, free;
	unsigned vms, pools, networks, scripts, setting_count, names;
	uint64_t values; /* of all settings, folded */
	struct generation_state generation;
};

static unsigned count_names(void)
{
	struct file f = {.name = ""};
	unsigned n = 0;

	while (files_next(&control_rig.files, "generations/", f.name, &f) == ST_OK)
		n++;
	return n;
}

/* FNV-1a (Fowler, Noll, Vo) over the numbers. */
static uint64_t fold(uint64_t hash, uint64_t n)
{
	return (hash ^ n) * 0x100000001b3ull;
}

static uint64_t fold_settings(void)
{
	struct tree_item item;
	uint32_t cursor = 0;
	uint64_t hash = 0xcbf29ce484222325ull;

	while (tree_next(c(), &cursor, &item))
		if (item_knob(&item))
			hash = fold(hash, item_knob(&item)->get(item.table.object));
	return hash;
}

static void take_picture(struct picture *p)
{
	struct memmgr_stats stats;

	memset(p, 0, sizeof *p); /* compared byte by byte */
	memmgr_stats(vm_rig.machine.mm, &stats);
	p->committed = vm_rig.machine.committed;
	p->free = stats.frames[FRAME_FREE];
	for (struct vm *vm = vm_next(&vm_rig.machine, NULL); vm; vm = vm_next(&vm_rig.machine, vm))
		p->vms++;
	for (struct pool *pool = pool_next(&vm_rig.machine, NULL); pool; pool = pool_next(&vm_rig.machine, pool))
		p->pools++;
	for (struct network *n = network_next(&vm_rig.machine, NULL); n; n = network_next(&vm_rig.machine, n))
		p->networks++;
	for (unsigned i = 0; i < SCRIPTS_MAX; i++)
		p->scripts += c()->policy.scripts[i].state != SCRIPT_FREE;
	p->setting_count = c()->settings.count;
	p->names = count_names();
	p->values = fold_settings();
	memcpy(&p->generation, &c()->generation, sizeof p->generation);
}

static void check_sentence(void)
{
	if (err.text[0] == '\0')
		abort();
	for (const char *p = err.text; *p; p++)
		if (*p < ' ' || *p > '~')
			abort();
}

static void check_reply(const struct cbor_writer *w)
{
	size_t used;

	if (w->overflow) /* a plan of 64 VMs need not fit: the caller answers so */
		return;
	if (cbor_check(w->buf, w->len, &used) != ST_OK || used != w->len)
		abort();
}

/* Nothing that is for the moment is left, whatever happened. */
static void check_idle(void)
{
	struct error why;

	if (c()->planning || c()->collect || c()->booting || c()->policy.running || c()->pending)
		abort();
	for (unsigned i = 0; i < SCRIPTS_MAX; i++)
		if (c()->policy.scripts[i].state == SCRIPT_LOADING)
			abort();
	if (!memmgr_check(vm_rig.machine.mm, &why) || !sched_check(vm_rig.machine.sched))
		abort();
	/* A pool's definition, and its node in the scheduler's tree, are one. */
	for (struct pool *p = pool_next(&vm_rig.machine, NULL); p; p = pool_next(&vm_rig.machine, p))
		if (pool_parent(p) ? p->cpu->parent != pool_parent(p)->cpu : p->cpu->parent != NULL)
			abort();
}

/* ---- operations ---- */

static enum status plan_or_apply(char op, const char *text, size_t len)
{
	struct picture before, after;
	struct cbor_writer w;
	struct cbor_mark map;
	enum status st;

	take_picture(&before);
	cbor_writer_init(&w, reply, sizeof reply);
	map = cbor_open(&w);
	err.text[0] = '\0';
	if (op == 'r')
		st = generation_rollback(c(), len ? (uint64_t)(uint8_t)(text[0] - '0') % 10 : 1, &w, &err);
	else if (op == 'a')
		st = generation_apply(c(), "fuzz", text, len, &w, &err);
	else
		st = generation_plan(c(), "fuzz", text, len, &w, &err);
	cbor_close_map(&w, map);
	if (st == ST_OK)
		check_reply(&w);
	else
		check_sentence();
	take_picture(&after);
	if ((st != ST_OK || op == 'p') && memcmp(&before, &after, sizeof before) != 0)
		abort();
	return st;
}

static void run(const char *text, size_t len)
{
	struct picture before, after;
	struct script *s = NULL;

	take_picture(&before);
	err.text[0] = '\0';
	if (policy_load(c(), "run", text, len, &s, &err) == ST_OK) {
		policy_keep(c(), s);
		return;
	}
	check_sentence();
	take_picture(&after); /* it may have changed settings and VMs, but has no memory any more */
	if (before.scripts != after.scripts)
		abort();
}

static void stop(void)
{
	struct script *s = policy_find(c(), "run");

	if (s)
		policy_unload(c(), s);
}

/* An interface for networks to have as their uplink. */
static void make_networks(void)
{
	static struct wire_nic nic;

	wire_nic_init(&nic, "nic0");
	if (networks_create(&vm_rig.machine, &err) != ST_OK ||
	    networks_add_nic(&vm_rig.machine, &nic.nic, &err) != ST_OK)
		abort();
}

static void drop_all(void)
{
	struct vm *vm;

	for (unsigned i = 0; i < SCRIPTS_MAX; i++)
		if (c()->policy.scripts[i].state != SCRIPT_FREE)
			policy_unload(c(), &c()->policy.scripts[i]);
	while ((vm = vm_next(&vm_rig.machine, NULL))) {
		if ((vm->state == VM_RUNNING || vm->state == VM_PAUSED) && vm_stop(vm, &err) != ST_OK)
			abort();
		if (vm_destroy(vm, &err) != ST_OK)
			abort();
	}
	vm_rig_remove_pools();
	networks_destroy(&vm_rig.machine);
	if (vm_rig.machine.committed != 0)
		abort();
}

static void lower_budgets(void)
{
	c()->policy.text_budget.call_steps = c()->script.budget.call_steps = STEPS;
	for (unsigned i = 0; i < SCRIPTS_MAX; i++)
		c()->policy.scripts[i].interp.budget.call_steps = STEPS_OF_HOOKS;
}

static void restart(void)
{
	drop_all();
	make_networks();
	control_rig_restart(true);
	lower_budgets();
	control_run_boot_script(c());
}

static void step(char op, const char *text, size_t len)
{
	switch (op) {
	case 'p':
	case 'a':
	case 'r':
		(void)plan_or_apply(op, text, len);
		break;
	case 'u':
		(void)files_put(&control_rig.files, "u", text, len, &err);
		break;
	case 'l':
		run(text, len);
		break;
	case 's':
		stop();
		break;
	case 't':
		hand_clock_advance(ns_to_ticks(GENERATION_TRIAL_NS / 2, VM_RIG_HZ));
		break;
	case 'b':
		restart();
		break;
	default:
		return;
	}
	lower_budgets();
	control_rig_settle(SETTLE_MAX);
	check_idle();
}

#define TICK_US 50000
#define TICK_NS 200000000ull /* four times as long: a function that neither meter nor hook sees is left after 0.15 s */

static void on_tick(void)
{
	hand_clock_advance(ns_to_ticks(TICK_NS, VM_RIG_HZ));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ticking;

	if (size > 8192)
		return 0;
	if (!ticking) /* the hand clock stands still in a script, and so would one in string.rep('', 1e15) */
		script_tick_start(TICK_US, on_tick);
	ticking = true;
	control_rig_init(32 * MIB);
	make_networks();
	lower_budgets();
	for (unsigned i = 0; size > 0 && i < OPERATIONS_MAX; i++) {
		const uint8_t *end = memchr(data, '\0', size);
		size_t len = end ? (size_t)(end - data) : size;
		char *text = malloc(len + !len); /* a copy with nothing behind it: reading on is seen */

		if (!text)
			abort();
		memcpy(text, data, len);
		if (len > 0)
			step(text[0], text + 1, len - 1);
		free(text);
		len += end != NULL;
		data += len;
		size -= len;
	}
	drop_all();
	control_rig_fini();
	return 0;
}
