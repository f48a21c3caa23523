/* SPDX-License-Identifier: Apache-2.0 */
/* See control_rig.h. */
#include "tests/fakes/control_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/store.h"

#define MEMORY_BYTES (1u << 20)
#define DISK_BYTES (1u << 20)
#define STEPS_MAX 100000u

struct control_rig control_rig;
bool control_rig_without_disk;

static size_t line_room(void *ctx)
{
	(void)ctx;
	return control_rig.room - control_rig.line_len;
}

static size_t line_queued(void *ctx)
{
	(void)ctx;
	return control_rig.unsent == (size_t)-1 ? control_rig.line_len : control_rig.unsent;
}

static void line_write(void *ctx, const void *data, size_t len)
{
	(void)ctx;
	if (len > control_rig.room - control_rig.line_len || len == 0 || ((const uint8_t *)data)[len - 1] != '\n')
		abort(); /* more than there was room for, or no whole line */
	memcpy(control_rig.line + control_rig.line_len, data, len);
	control_rig.line_len += len;
	control_rig.writes++;
}

static void reset(void)
{
	control_rig.resets++;
}

/* A newc entry (cpio(5)); returns its length. */
static size_t cpio_entry(char *out, const char *name, unsigned mode, const void *data, size_t len)
{
	/* inode, mode, uid, gid, links, time, size, four device numbers, length of the name, checksum */
	const unsigned fields[13] = {1, mode, 0, 0, 1, 0, (unsigned)len, 0, 0, 0, 0, (unsigned)strlen(name) + 1, 0};
	size_t at = 6;

	memcpy(out, "070701", at);
	for (unsigned i = 0; i < 13; i++, at += 8)
		snprintf(out + at, 9, "%08X", fields[i]);
	memcpy(out + at, name, strlen(name) + 1);
	at += strlen(name) + 1;
	while (at % 4)
		out[at++] = 0;
	memcpy(out + at, data, len);
	for (at += len; at % 4; at++)
		out[at] = 0;
	return at;
}

#define LOAD 0x100000u
#define MULTIBOOT_MAGIC 0x1badb002u
#define MULTIBOOT_ADDRESSES (1u << 16)

/* The smallest flat image with its addresses (Multiboot 0.6.96, 3.1): a HLT. */
static void open_store(void)
{
	static const uint32_t kernel[] = {
		MULTIBOOT_MAGIC, MULTIBOOT_ADDRESSES, -(MULTIBOOT_MAGIC + MULTIBOOT_ADDRESSES),
		LOAD, LOAD, LOAD + 36, LOAD + 4096, LOAD + 32, 0xfdebf4,
	};
	static char image[1024];
	struct error err;
	size_t len = cpio_entry(image, "kernel", 0100644, kernel, sizeof kernel);

	len += cpio_entry(image + len, "TRAILER!!!", 0, "", 0);
	if (store_open(&control_rig.store, image, len, &err) != ST_OK) {
		fprintf(stderr, "control_rig: %s\n", err.text);
		abort();
	}
}

static enum status entropy(void *out, size_t len, struct error *err)
{
	uint8_t *p = out;

	if (control_rig.no_entropy)
		return fail(err, ST_IO, "no source of entropy: told to fail");
	for (size_t i = 0; i < len; i++)
		p[i] = control_rig.entropy++;
	return ST_OK;
}

static void mount(void)
{
	struct block_range range = fault_disk_range(&control_rig.disk);
	bool formatted;
	struct error err;

	if (files_mount(&control_rig.files, &range, 1, control_rig.kv_memory, kvlog_memory_bytes(&range), &formatted,
			&err) != ST_OK)
		fprintf(stderr, "control_rig: %s\n", err.text);
}

void control_rig_restart(bool with_disk)
{
	struct control_config cfg = {
		.machine = &vm_rig.machine,
		.log = &control_rig.log,
		.line = {.room = line_room, .queued = line_queued, .write = line_write},
		.args = control_rig.args ? control_rig.args : "",
		.clock = fake_host.ops.clock,
		.memory = control_rig.memory,
		.memory_bytes = MEMORY_BYTES,
		.version = "1.2.3",
		.build = "rig",
		.reset = reset,
		.entropy = entropy,
	};
	struct error err;

	files_init(&control_rig.files, &control_rig.store, "a test");
	vm_rig.machine.files = &control_rig.files;
	if (with_disk)
		mount();
	if (control_init(&cfg, &control_rig.control, &err) != ST_OK) {
		fprintf(stderr, "control_rig: %s\n", err.text);
		abort();
	}
}

void control_rig_init(uint64_t ram_bytes)
{
	struct block_range range;

	memset(&control_rig, 0, sizeof control_rig);
	vm_rig_init(ram_bytes);
	open_store();
	bytelog_init(&control_rig.log, control_rig.log_buf, sizeof control_rig.log_buf);
	control_rig.room = CONTROL_RIG_LINE;
	control_rig.memory = aligned_alloc(4096, MEMORY_BYTES);
	if (control_rig_without_disk) {
		control_rig_restart(false);
		return;
	}
	fault_disk_init(&control_rig.disk, DISK_BYTES, 512);
	range = fault_disk_range(&control_rig.disk);
	control_rig.kv_memory = aligned_alloc(64, (kvlog_memory_bytes(&range) + 63) & ~63ul);
	control_rig_restart(true);
}

void control_rig_fini(void)
{
	vm_rig_fini();
	free(control_rig.memory);
	free(control_rig.kv_memory);
	fault_disk_fini(&control_rig.disk);
}

unsigned control_rig_settle(unsigned max)
{
	unsigned n = 0;

	while (n < max && control_step(control_rig.control))
		n++;
	return n;
}

void control_rig_request(const void *body, size_t len)
{
	uint8_t line[WIRE_LINE_MAX];
	struct wire_sender s;
	size_t n;

	wire_send_begin(&s, body, len);
	while ((n = wire_send_line(&s, line)) > 0) {
		if (control_rx(control_rig.control, line, n) != n)
			abort();
	}
	control_rig_settle(STEPS_MAX);
}
