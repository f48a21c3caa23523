/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the control plane costs in instructions, on the host: bench/host.py runs
 * each case under callgrind, which counts only inside case_*(). The list of VMs
 * goes all the way from a request's bytes to the reply's; CBOR is held against
 * libcbor (host_libcbor.c) on the same map in the same run.
 */
#include "bench/cbor_map.h"
#include "lib/bits.h"
#include "lua/cbor.h"
#include "lua/policy.h"
#include "tests/fakes/control_rig.h"
#include "tests/fakes/hand_clock.h"

/* ---- the list of VMs ---- */

#define LIST_VMS 64u
#define INSTRUCTIONS_PER_VM 200u
#define INSTRUCTIONS_PER_BYTE 20u /* on the wire, both ways */

static uint8_t request[WIRE_LINE_MAX];
static size_t request_len;
static uint64_t wire_bytes;

/* A request for the page behind @after, as the line it is. */
static void build_request(uint64_t after)
{
	uint8_t body[64];
	struct smp_header h = {.version = 1, .op = SMP_READ, .group = GROUP_VM, .command = VM_LIST};
	struct cbor_writer w;
	struct cbor_mark map;
	struct wire_sender s;

	cbor_writer_init(&w, body + SMP_HEADER_BYTES, sizeof body - SMP_HEADER_BYTES);
	map = cbor_open(&w);
	command_put_uint(&w, "after", after);
	cbor_close_map(&w, map);
	h.length = (uint16_t)w.len;
	smp_header_write(&h, body);
	wire_send_begin(&s, body, SMP_HEADER_BYTES + w.len);
	request_len = wire_send_line(&s, request);
}

CASE case_vm_list(void)
{
	must(control_rx(control_rig.control, request, request_len) == request_len, "the input is full");
	while (control_step(control_rig.control))
		continue;
}

/* The cursor of the page that is in the line, 0 for the last; empties the line. */
static uint64_t next_page(void)
{
	static uint8_t frame[WIRE_BODY_MAX];
	struct wire_receiver rx;
	struct cbor_value v;
	uint64_t next = 0;

	wire_receiver_init(&rx, frame, sizeof frame);
	for (size_t i = 0; i < control_rig.line_len; i++)
		if (wire_receive(&rx, control_rig.line[i]) == WIRE_FRAME &&
		    cbor_find(cbor_root(frame + SMP_HEADER_BYTES, rx.len - SMP_HEADER_BYTES), "next", &v))
			cbor_get_uint(v, &next);
	wire_bytes += control_rig.line_len + request_len;
	control_rig.line_len = 0;
	return next;
}

static void start_vms(void)
{
	struct error err;

	control_rig_init(512ull << 20);
	for (unsigned i = 0; i < LIST_VMS; i++) {
		char name[16];
		struct vm_config cfg;
		struct vm *vm;

		snprintf(name, sizeof name, "vm%02u", i);
		cfg = vm_rig_config(name, 2 << 20);
		cfg.boot.protocol = BOOT_MULTIBOOT;
		must(vm_define(&vm_rig.machine, &cfg, &vm, &err) == ST_OK && vm_start(vm, &err) == ST_OK, err.text);
	}
}

static unsigned run_vm_list(void)
{
	start_vms();
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t after = 0;

		do {
			build_request(after);
			case_vm_list();
			after = next_page();
		} while (after);
	}
	printf("bar %llu\n", (unsigned long long)(LIST_VMS * INSTRUCTIONS_PER_VM +
						  wire_bytes / ROUNDS * INSTRUCTIONS_PER_BYTE));
	return ROUNDS;
}

/* ---- a policy's tick ---- */

#define TICK_BAR 500000u
#define TICK_ROUNDS 50u
#define TICK_MS 100u

/* What a policy does that watches every VM: reads a few figures of each, keeps some, compares. */
static const char tick_text[] =
	"local last, busy = {}, 0\n"
	"every(ms(100), function(now)\n"
	"  local low = now.host.free < MiB(1)\n"
	"  for name, vm in pairs(now.vm) do\n"
	"    local cpu = vm.cpu_ns\n"
	"    if vm.state == 'running' and cpu > (last[name] or 0) + 50000000 then busy = busy + 1 end\n"
	"    if low and vm.present > MiB(1) then log(name) end\n"
	"    last[name] = cpu\n"
	"  end\n"
	"end)\n";

CASE case_policy_tick(void)
{
	while (control_step(control_rig.control))
		continue;
}

static unsigned run_policy_tick(void)
{
	struct script *script;
	struct error err;

	start_vms();
	must(policy_load(control_rig.control, "tick", tick_text, sizeof tick_text - 1, &script, &err) == ST_OK, err.text);
	policy_keep(control_rig.control, script);
	while (control_step(control_rig.control))
		continue; /* the events of so many starts */
	for (unsigned round = 0; round < TICK_ROUNDS; round++) {
		hand_clock_advance(ns_to_ticks(TICK_MS * 1000000ull, VM_RIG_HZ));
		case_policy_tick();
	}
	must(script->hooks[0].runs == TICK_ROUNDS && script->hooks[0].failures == 0, "the hook did not run each time");
	printf("bar %u\n", TICK_BAR);
	return TICK_ROUNDS;
}

/* ---- what a script takes ---- */

#define STATE_BYTES_MAX (48u * 1024)

CASE case_lua_state_bytes(void)
{
	while (control_step(control_rig.control))
		continue;
}

/* The memory that a resident script without a word of its own has in use: a state, its libraries and the whole API. */
static unsigned run_lua_state_bytes(void)
{
	struct script *script;
	struct error err;

	control_rig_init(64ull << 20);
	must(policy_load(control_rig.control, "empty", "", 0, &script, &err) == ST_OK, err.text);
	case_lua_state_bytes();
	printf("figure %llu\nbar %u\n", (unsigned long long)script->interp.heap.used, STATE_BYTES_MAX);
	return 1;
}

#define OVERSHOOT_PPM_MAX 10000u

/* Lua code that catches its kill, in coroutines: the dearest of tests/unit/test_state.c. */
static const char endless[] =
	"every(ms(100), function()\n"
	"  local function nest(n) while true do if n > 0 then pcall(coroutine.wrap(nest), n - 1) else\n"
	"    for i = 1, 300 do end return end end end\n"
	"  nest(20)\n"
	"end)\n";

CASE case_lua_overshoot_ppm(void)
{
	while (control_step(control_rig.control))
		continue;
}

/* Steps that a hook took beyond its budget, in millionths of it. */
static unsigned run_lua_overshoot_ppm(void)
{
	struct script *script;
	struct error err;
	uint64_t steps, allowed = interp_hook_budget.call_steps;

	control_rig_init(64ull << 20);
	must(policy_load(control_rig.control, "endless", endless, sizeof endless - 1, &script, &err) == ST_OK, err.text);
	policy_keep(control_rig.control, script);
	hand_clock_advance(ns_to_ticks(TICK_MS * 1000000ull, VM_RIG_HZ));
	case_lua_overshoot_ppm();
	steps = script->interp.last_steps;
	must(script->interp.kills == 1 && steps > allowed, "the hook was not killed");
	printf("figure %llu\nbar %u\n", (unsigned long long)((steps - allowed) * 1000000 / allowed), OVERSHOOT_PPM_MAX);
	return 1;
}

/* ---- a name of the tree ---- */

static struct tree_item found;

/* The last counter of the last of 64 VMs. */
CASE case_tree_find(void)
{
	static const char path[] = "vm.vm63.report";
	struct error err;

	must(tree_find(control_rig.control, path, sizeof path - 1, &found, &err) == ST_OK, "a name is not found");
}
static unsigned run_tree_find(void)
{
	start_vms();
	for (unsigned i = 0; i < ROUNDS; i++)
		case_tree_find();
	return ROUNDS;
}

/* ---- CBOR ---- */

CASE case_cbor_encode(void)
{
	struct cbor_writer w;
	struct cbor_mark map;

	cbor_writer_init(&w, encoded, sizeof encoded);
	map = cbor_open(&w);
	for (unsigned i = 0; i < PAIRS; i++) {
		cbor_put_text_n(&w, keys[i], key_len[i]);
		switch ((enum content)(i % CONTENTS)) {
		case NUMBER:
			cbor_put_uint(&w, number_of(i));
			break;
		case NEGATIVE:
			cbor_put_int(&w, -1 - (int64_t)number_of(i));
			break;
		case WORDS:
			cbor_put_text_n(&w, TEXT, sizeof TEXT - 1);
			break;
		default:
			cbor_put_bool(&w, true);
		}
	}
	cbor_close_map(&w, map);
	must(!w.overflow, "the buffer is too small");
	encoded_len = w.len;
}
static unsigned run_cbor_encode(void)
{
	make_keys();
	for (unsigned i = 0; i < ROUNDS; i++)
		case_cbor_encode();
	print_encoded();
	return ROUNDS;
}

static void prepare_decode(void)
{
	make_keys();
	case_cbor_encode();
}

/* As a request is read: one check of the whole, then the pairs by type. */
CASE case_cbor_decode(void)
{
	struct cbor_value key, value;
	struct cbor_iter it;
	size_t used;

	taken_count = 0;
	must(cbor_check(encoded, encoded_len, &used) == ST_OK && cbor_iterate(cbor_root(encoded, used), &it),
	     "the encoding is wrong");
	while (cbor_next_pair(&it, &key, &value)) {
		struct taken *t = &taken[taken_count++];
		int64_t negative = 0;

		cbor_get_text(key, (const char **)&t->key, &t->key_len);
		switch (cbor_type_of(value)) {
		case CBOR_UINT:
			cbor_get_uint(value, &t->number);
			break;
		case CBOR_NEGATIVE:
			cbor_get_int(value, &negative);
			t->number = ~(uint64_t)negative;
			break;
		case CBOR_TEXT:
			cbor_get_text(value, (const char **)&t->text, &t->text_len);
			break;
		default:
			cbor_get_bool(value, &t->truth);
		}
	}
}
static unsigned run_cbor_decode(void)
{
	prepare_decode();
	for (unsigned i = 0; i < ROUNDS; i++)
		case_cbor_decode();
	check_taken(true);
	return ROUNDS;
}

static const struct bench_case cases[] = {
	{"vm_list", run_vm_list},
	{"policy_tick", run_policy_tick},
	{"lua_state_bytes", run_lua_state_bytes},
	{"lua_overshoot_ppm", run_lua_overshoot_ppm},
	{"tree_find", run_tree_find},
	{"cbor_encode", run_cbor_encode},
	{"cbor_decode", run_cbor_decode},
};

int main(int argc, char **argv)
{
	return bench_main(cases, ARRAY_SIZE(cases), argc, argv);
}
