/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any request body, through framing, header, CBOR and the command table to two
 * VMs on the fake engine; those of the group of volumes to some volumes and what they begin to its end as well. Each
 * gets one well-formed reply or none, and the machine's invariants hold after it.
 */
#include <stdlib.h>
#include <string.h>

#include "guest/storage.h"
#include "tests/fakes/control_rig.h"

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
	put_request(attach, &len, GROUP_CONSOLE, CONSOLE_ATTACH, "b");
	control_rig_request(attach, len);
	control_rig.line_len = 0;
	control_rig_request(data, size);
	check_line(data, size);
	if (vm_rig.machine.storage)
		end_volumes();
	if (!memmgr_check(vm_rig.machine.mm, &err))
		abort();
	control_rig_fini();
	return 0;
}
