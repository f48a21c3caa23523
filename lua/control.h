/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane's face for main: bytes of the management line in, lines
 * out, and one function that does a bounded piece of work. It runs in the
 * control task (a host task with interrupts enabled); libc and Lua belong to
 * it alone. docs/protocol.md is what it speaks, docs/lua-api.md what scripts say.
 *
 * main's loop:
 *	control_init(); control_run_boot_script();
 *	for (;;) {
 *		control_rx(bytes the UART's interrupt queued);
 *		if (!control_step()) block until woken;
 *	}
 * and main wakes the task when bytes arrived, when the line's queue has drained
 * to CONTROL_PUSH_AHEAD bytes, again when it is empty, and from host_ops.notify.
 */
#ifndef CORBEL_LUA_CONTROL_H
#define CORBEL_LUA_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/bytelog.h"
#include "lib/clock.h"
#include "lib/counter.h"
#include "lib/error.h"

struct machine;
struct control;

/* What the control task needs of its stack: nested C calls of Lua are bounded to fit (lua/corbel_luaconf.h). */
#define CONTROL_STACK_BYTES (256u * 1024)
/* Memory for control's own state and two interpreters; more gives scripts a larger heap. */
#define CONTROL_MEMORY_MIN (768u * 1024)
/* Console output is pushed only while no more than this waits in the line, so that a reply is never far behind. */
#define CONTROL_PUSH_AHEAD 512u

/*
 * The management line's transmit side. Nothing here may block. write() is called
 * with whole lines, the newline included, never longer than room().
 */
struct control_line {
	void *ctx;
	size_t (*room)(void *ctx);   /* bytes that write() takes now; must be able to reach 256 */
	size_t (*queued)(void *ctx); /* bytes taken and not yet sent; any context */
	void (*write)(void *ctx, const void *data, size_t len);
};

/* A line of `info` that only main knows: CPU, board, mitigations, calibrated clock. */
struct control_fact {
	const char *name;  /* lower case, no spaces */
	const char *value; /* printable ASCII */
};

/* Counters of main's own, and the object that has them. */
struct control_counter_source {
	const struct counter_table *table;
	void *object;
};

/* Settings of main's own, and the object that has them. */
struct control_knob_source {
	const struct knob_table *table;
	void *object;
};

struct control_config {
	struct machine *machine;     /* host, store, managers and engine are wired; outlives control */
	const struct bytelog *log;   /* the hypervisor's log: console 0 */
	struct lock *log_lock;       /* over it; NULL: one CPU alone writes */
	struct control_line line;
	const char *args;            /* the boot arguments, "" for none; script=NAME is read here */
	const struct clock *clock;
	void *memory;                /* page aligned, of memory_bytes >= CONTROL_MEMORY_MIN; control's for good */
	size_t memory_bytes;
	const char *version, *build; /* "0.1.0", date and commit */
	const char *processor;       /* CPU brand string, or NULL */
	const struct control_fact *facts;
	unsigned fact_count;
	const struct control_counter_source *counters;
	unsigned counter_count;
	const struct control_knob_source *knobs;
	unsigned knob_count;
	const uint8_t *image_stamp;  /* of the image that runs, 32 bytes (lua/image.h); NULL, or zeros: not known */
	uint64_t image_bytes;        /* of memory that it takes; 0: not known */
	void (*reset)(void);         /* resets the machine; called once the reply to a reset has left the line */
	/* Random bytes fit for secrets, or ST_IO and why there are none. NULL: there are none. */
	enum status (*entropy)(void *out, size_t len, struct error *err);
};

/* @cfg is copied; what it points at is not. ST_NO_MEMORY when memory_bytes is too small. */
MUST_CHECK enum status control_init(const struct control_config *cfg, struct control **out, struct error *err);

/*
 * Runs the start-up script (boot argument script=NAME, default boot.lua) and starts the VMs it
 * marked autostart. Every error is logged with file and line; an error leaves the VMs defined before it.
 */
void control_run_boot_script(struct control *c);

/* Takes received bytes; returns how many. What is not taken waits for a control_step() (or is lost, as on any line). */
size_t control_rx(struct control *c, const void *data, size_t len);

/*
 * The line was interrupted (carrier or data-set-ready lost, a break): whoever was logged in is not there any more.
 * In the control task.
 */
void control_line_dropped(struct control *c);

/* Something is wrong with the host: the event `fault`. In the control task. */
void control_fault(struct control *c, const char *text);

/*
 * One bounded piece of work: sends what waits, reaps VMs, runs at most one
 * command, pushes console output. True: call again, more can be done now.
 */
bool control_step(struct control *c);

#endif
