/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any request body, through framing, header, CBOR and the command table to two
 * VMs on the fake engine. Each gets one well-formed reply or none, and the
 * machine's invariants hold after it.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fakes/control_rig.h"

#define VERSION_2 8
#define MIB (1ull << 20)

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
	put_request(attach, &len, GROUP_CONSOLE, CONSOLE_ATTACH, "b");
	control_rig_request(attach, len);
	control_rig.line_len = 0;
	control_rig_request(data, size);
	check_line(data, size);
	if (!memmgr_check(vm_rig.machine.mm, &err))
		abort();
	control_rig_fini();
	return 0;
}
