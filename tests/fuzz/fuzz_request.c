/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any request body, through framing, header, CBOR and the command table to two
 * VMs on the fake engine; those of the group of volumes to some volumes and what they begin to its end as well, those
 * of the group of networks to one with an uplink and a capture. Each gets one well-formed reply or none, and the
 * machine's invariants hold after it.
 */
#include <stdlib.h>
#include <string.h>

#include "guest/network.h"
#include "guest/storage.h"
#include "lua/cmd_net.h"
#include "tests/fakes/control_rig.h"
#include "tests/fakes/wire_nic.h"

#define VERSION_2 8
#define MIB (1ull << 20)
#define TURNS_MIN 64u /* commits that nobody waits for */
#define TURNS_MAX 100000u

static void put_request(uint8_t *out, size_t *len, unsigned group, unsigned command, const char *name)
{
	struct cbor_writer w;
	struct cbor_mark map;

	cbor_writer_init(&w, out + SMP_HEADER_BYTES, 200);
	map = cbor_open(&w);
	cbor_put_text(&w, "name");
	cbor_put_text(&w, name);
	cbor_close_map(&w, map);
	smp_header_write(&(struct smp_header){.version = 1, .op = SMP_WRITE, .length = (uint16_t)w.len,
					      .group = (uint16_t)group, .command = (uint8_t)command}, out);
	*len = SMP_HEADER_BYTES + w.len;
}

static void make_pool(const char *name, const char *parent, uint64_t reservation)
{
	struct pool_config cfg;
	struct error err;
	struct pool *p;

	pool_config_init(&cfg);
	memcpy(cfg.name, name, strlen(name) + 1);
	memcpy(cfg.parent, parent, strlen(parent) + 1);
	cfg.cpu.numbers.reservation = reservation;
	if (pool_define(&vm_rig.machine, &cfg, &p, &err) != ST_OK)
		abort();
}

/* ---- volumes ---- */

static void must(bool so_far)
{
	if (!so_far)
		abort();
}

/* What jobs and workers have to do, timers included. */
static void work(struct storage *s)
{
	struct storage_totals totals;

	for (unsigned i = 0; i < TURNS_MAX; i++) {
		enum sched_end end;

		(void)storage_step(s);
		(void)vm_rig_turn(&end);
		storage_totals(s, &totals);
		if (totals.jobs == 0 && i >= TURNS_MIN)
			return;
		fake_host_advance(VM_RIG_HZ / 1000);
	}
	abort(); /* it never ends */
}

static void order(struct storage *s, enum storage_op op, const char *volume, const char *name)
{
	struct storage_order o = {.op = op, .bytes = MIB};
	struct error err;
	uint32_t job;

	memcpy(o.volume, volume, strlen(volume) + 1);
	memcpy(o.name, name, strlen(name) + 1);
	must(storage_begin(s, &o, &job, &err) == ST_OK);
	work(s);
}

/* Memory "r" and "m", a pool on "p" with the layer "l", its snapshot "s" and another volume above that, "c". */
static void make_volumes(void)
{
	struct storage *s;
	struct error err;

	must(storage_create(&vm_rig.machine, &err) == ST_OK);
	s = vm_rig.machine.storage;
	must(storage_add_ram(s, "r", MIB / 4, &err) == ST_OK && storage_add_ram(s, "m", 4096, &err) == ST_OK);
	must(storage_add_ram(s, "p", 4 * MIB, &err) == ST_OK && storage_format_pool(s, "p", 1, &err) == ST_OK);
	order(s, STORAGE_CREATE, "", "l");
	order(s, STORAGE_SNAPSHOT, "l", "s");
	order(s, STORAGE_CLONE, "s", "c");
}

/* All goes that can: what stands on others first. */
static void remove_volumes(struct storage *s)
{
	struct storage_info v;
	struct error err;
	unsigned next;

	for (const char *pool; (pool = storage_next_pool(s, 0, &next));)
		must(storage_close_pool(s, pool, &err) == ST_OK);
	for (bool any = true; any;) {
		any = false;
		for (char at[VOLUME_NAME_MAX] = ""; storage_next(s, at, &v) == ST_OK; memcpy(at, v.name, sizeof at))
			if (storage_remove(s, v.name, &err) == ST_OK) {
				any = true;
				break;
			}
	}
}

static void end_volumes(void)
{
	struct storage *s = vm_rig.machine.storage;
	struct error err;
	struct vm *vm;

	work(s);
	/* A request may have given a VM a disk. */
	while ((vm = vm_next(&vm_rig.machine, NULL))) {
		if (vm->state != VM_DEFINED)
			(void)vm_stop(vm, &err);
		must(vm_destroy(vm, &err) == ST_OK);
	}
	remove_volumes(s);
	storage_destroy(&vm_rig.machine);
}

/* Group 68, in a header of either version: only that one pays for it. */
static bool is_on_volumes(const uint8_t *data, size_t size)
{
	return size >= SMP_HEADER_BYTES && data[4] == 0 && data[5] == GROUP_VOLUME;
}

/* Likewise group 69. */
static bool is_on_networks(const uint8_t *data, size_t size)
{
	return size >= SMP_HEADER_BYTES && data[4] == 0 && data[5] == GROUP_NET;
}

/* The network "n" with the uplink nic0, "o" with none; capture 1 is at the uplink's port. */
static void make_networks(void)
{
	static struct wire_nic nic;
	struct network_config cfg;
	struct error err;
	uint8_t body[256];
	struct cbor_writer w;
	struct cbor_mark map;

	wire_nic_init(&nic, "nic0");
	must(networks_create(&vm_rig.machine, &err) == ST_OK && networks_add_nic(&vm_rig.machine, &nic.nic, &err) == ST_OK);
	network_config_init(&cfg);
	memcpy(cfg.name, "o", sizeof "o");
	must(network_define(&vm_rig.machine, &cfg, &err) == ST_OK);
	memcpy(cfg.name, "n", sizeof "n");
	memcpy(cfg.uplink, "nic0", sizeof "nic0");
	must(network_define(&vm_rig.machine, &cfg, &err) == ST_OK);
	cbor_writer_init(&w, body + SMP_HEADER_BYTES, sizeof body - SMP_HEADER_BYTES);
	map = cbor_open(&w);
	cbor_put_text(&w, "port");
	cbor_put_text(&w, "n/uplink");
	cbor_close_map(&w, map);
	smp_header_write(&(struct smp_header){.version = 1, .op = SMP_WRITE, .length = (uint16_t)w.len, .group = GROUP_NET,
					      .command = NET_CMD_CAPTURE}, body);
	control_rig_request(body, SMP_HEADER_BYTES + w.len);
	control_rig.line_len = 0;
	for (uint32_t i = 0; i < 20; i++)
		wire_nic_beacon(&nic, i, 60 + i * 70);
	control_rig_settle(TURNS_MIN);
}

static void end_networks(void)
{
	struct error err;
	struct vm *vm;

	while ((vm = vm_next(&vm_rig.machine, NULL))) {
		if (vm->state != VM_DEFINED)
			(void)vm_stop(vm, &err);
		must(vm_destroy(vm, &err) == ST_OK);
	}
	captures_drop(control_rig.control);
	networks_destroy(&vm_rig.machine);
}

/* ---- a machine ---- */

/* To be found by requests: VM "a", which runs in pool "p" of pool "q", and VM "b", which is defined. */
static void begin(size_t size)
{
	struct error err;
	struct vm *vm;

	control_rig_without_disk = size % 8 != 0; /* most inputs have nothing to do with the store */
	control_rig_init(64 * MIB);
	control_rig.unsent = 0;
	control_rig.control->shell.budget.call_steps = 20000;
	control_rig.control->script.budget.call_steps = 20000;
	make_pool("q", "", SCHED_ONE_CPU / 2);
	make_pool("p", "q", SCHED_ONE_CPU / 4);
	for (const char *name = "a"; name; name = *name == 'a' ? "b" : NULL) {
		struct vm_config cfg = vm_rig_config(name, 2 * MIB);

		cfg.boot.protocol = BOOT_MULTIBOOT;
		if (*name == 'a') {
			memcpy(cfg.pool, "p", sizeof "p");
			cfg.cpu.numbers.reservation = SCHED_ONE_CPU / 8;
		}
		if (vm_define(&vm_rig.machine, &cfg, &vm, &err) != ST_OK)
			abort();
		if (*name == 'a' && vm_start(vm, &err) != ST_OK)
			abort();
	}
}

/* One reply at most besides pushed lines, well-formed, with the request's identity. */
static void check_line(const uint8_t *body, size_t len)
{
	static uint8_t buf[WIRE_BODY_MAX];
	struct wire_receiver rx;
	unsigned frames = 0;
	size_t used;

	wire_receiver_init(&rx, buf, sizeof buf);
	for (size_t i = 0; i < control_rig.line_len; i++) {
		enum wire_event event = wire_receive(&rx, control_rig.line[i]);

		if (event == WIRE_NOTHING || event == WIRE_PUSHED)
			continue;
		if (event != WIRE_FRAME || ++frames > 1 || rx.len < SMP_HEADER_BYTES || len < SMP_HEADER_BYTES)
			abort();
		if (memcmp(buf + 4, body + 4, 4) != 0 || (buf[0] & 7) != (body[0] & 7) + 1)
			abort();
		if (cbor_check(buf + SMP_HEADER_BYTES, rx.len - SMP_HEADER_BYTES, &used) != ST_OK ||
		    used != rx.len - SMP_HEADER_BYTES)
			abort();
	}
	control_rig.line_len = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t attach[256];
	struct error err;
	size_t len;

	if (size > SMP_BODY_MAX)
		return 0;
	begin(size);
	if (is_on_volumes(data, size))
		make_volumes();
	if (is_on_networks(data, size))
		make_networks();
	put_request(attach, &len, GROUP_CONSOLE, CONSOLE_ATTACH, "b");
	control_rig_request(attach, len);
	control_rig.line_len = 0;
	control_rig_request(data, size);
	check_line(data, size);
	if (vm_rig.machine.storage)
		end_volumes();
	if (vm_rig.machine.networks)
		end_networks();
	if (!memmgr_check(vm_rig.machine.mm, &err))
		abort();
	control_rig_fini();
	return 0;
}
