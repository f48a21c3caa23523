/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane over the VM rig, with a line that a test reads and fills by
 * hand: for unit tests and fuzz targets. One exists at a time.
 */
#ifndef CORBEL_TESTS_CONTROL_RIG_H
#define CORBEL_TESTS_CONTROL_RIG_H

#include "lua/control_internal.h"
#include "tests/fakes/fault_disk.h"
#include "tests/fakes/vm_rig.h"

#define CONTROL_RIG_LINE 65536u

struct control_rig {
	struct control *control;
	void *memory;
	size_t room;       /* what the line takes in all; taken bytes stay in line[] until the test empties it */
	uint8_t line[CONTROL_RIG_LINE];
	size_t line_len;
	size_t unsent;     /* what queued() answers: the test sets it, or -1 for line_len */
	unsigned writes, resets;
	struct store store; /* kernel: an image that multiboot loads */
	struct files files;
	struct bytelog log;
	uint8_t log_buf[4096];
	struct fault_disk disk; /* of the writable store; outlives control_rig_restart() */
	void *kv_memory;
	bool no_entropy;        /* the source fails from now on */
	uint8_t entropy;        /* what the next byte of it is */
	const char *args;       /* boot arguments of the next restart */
};

extern struct control_rig control_rig;
/* Set before control_rig_init(): a machine without a writable store, which is made five times as fast. */
extern bool control_rig_without_disk;

/* @ram_bytes of host memory below the VM rig; no boot script. Aborts on failure. */
void control_rig_init(uint64_t ram_bytes);
/* The machine is reset: a new control plane with what is in the store and nothing else; without the disk, if so asked. */
void control_rig_restart(bool with_disk);
/* Frees everything; the VM rig checks that nothing is left. */
void control_rig_fini(void);
/* Sends one request body as a frame and steps until nothing is left to do. */
void control_rig_request(const void *body, size_t len);
/* Steps until control_step() answers false, at most @max times; how many did something. */
unsigned control_rig_settle(unsigned max);

#endif
