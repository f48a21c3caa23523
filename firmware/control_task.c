/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes go both ways through the UART's rings, so nothing here waits for the
 * line. The task sleeps when there is nothing to do and is woken by received
 * bytes, by a transmit ring that has run low, and by the guests (console output,
 * a VM that stopped).
 */
#include "firmware/control_task.h"

#include "firmware/hardware.h"
#include "firmware/cpu.h"
#include "firmware/cpuloop.h"
#include "firmware/hostlog.h"
#include "firmware/libc.h"
#include "firmware/paging.h"
#include "firmware/power.h"
#include "firmware/tsc.h"
#include "firmware/watchdog.h"
#include "gen/version.h"
#include "lib/assert.h"
#include "lib/bits.h"
#include "lib/log.h"
#include "lib/x86_asm.h"
#include "lua/state.h"

#define CONTROL_MEMORY_ORDER 9u /* 2 MiB for control and its interpreters */
#define LIBC_HEAP_ORDER 7u      /* 512 KiB for the C library */
#define RX_CHUNK 256u
#define FAULT_TEXT_MAX 120u

extern const uint8_t image_stamp[]; /* firmware/image_note.S, at its physical address */

static struct host_task task;
static struct control_config config;
static struct control_counter_source counters[1];
static const struct control_knob_source knobs[] = {{&watchdog_knobs, NULL}};
static struct uart *line;
static bool started;

void control_task_wake(void)
{
	if (started)
		host_task_wake(&task);
}

/* ---- the line ---- */

static bool line_was_dropped;

static void line_dropped(struct uart *u)
{
	(void)u;
	line_was_dropped = true;
	control_task_wake();
}

static void line_received(struct uart *u)
{
	(void)u;
	control_task_wake();
}

/* So little waits that console output may be pushed again. */
static void line_drained(struct uart *u)
{
	(void)u;
	control_task_wake();
}

static size_t line_room(void *ctx)
{
	(void)ctx;
	/* What is written to a line that is not there goes nowhere, at once. */
	return line->present ? uart_tx_room(line) : SIZE_MAX;
}

static size_t line_queued(void *ctx)
{
	(void)ctx;
	return line->present ? uart_tx_queued(line) : 0;
}

static void line_write(void *ctx, const void *data, size_t len)
{
	(void)ctx;
	(void)uart_write(line, data, len);
}

/* ---- the task ---- */

/* Whoever was at the line is gone. Bytes that they had sent are judged as the next one's. */
static void end_session(struct control *c)
{
	unsigned long state = irq_save();
	bool dropped = line_was_dropped;

	line_was_dropped = false;
	irq_restore(state);
	if (dropped)
		control_line_dropped(c);
}

/* True when bytes were moved. What control does not take stays for the next round. */
static bool feed(struct control *c)
{
	static uint8_t chunk[RX_CHUNK];
	static size_t held;
	size_t taken;

	held += uart_read(line, chunk + held, sizeof(chunk) - held);
	taken = control_rx(c, chunk, held);
	for (size_t i = taken; i < held; i++)
		chunk[i - taken] = chunk[i];
	held -= taken;
	return taken > 0;
}

/*
 * Time that others had is not the script's. One that is stuck in a library function is left here, interrupt frame and
 * all: only its memory belongs to it, and nothing that is sheltered is under way.
 */
static void interrupted(uint64_t away)
{
	interp_exclude(away);
	if (!interp_overdue())
		return;
	sti();
	interp_abandon();
}

/* What the watchdogs found is an event, too. */
static void tell_faults(struct control *c)
{
	char text[FAULT_TEXT_MAX];

	while (watchdog_take(text, sizeof(text)))
		control_fault(c, text);
}

static void serve(void *arg)
{
	struct control *c;
	struct error err;

	(void)arg;
	if (control_init(&config, &c, &err) != ST_OK)
		panic("control plane: %s", err.text);
	control_run_boot_script(c);
	log_info("ready");
	for (;;) {
		bool fed;

		tell_faults(c);
		end_session(c);
		fed = feed(c);

		/* A wake that comes after this look is remembered. */
		if (!control_step(c) && !fed)
			task_block();
	}
}

static enum status give_memory(struct memmgr *mm)
{
	hfn_t control, heap;
	enum status st = memmgr_alloc(mm, CONTROL_MEMORY_ORDER, &control);

	if (st == ST_OK)
		st = memmgr_alloc(mm, LIBC_HEAP_ORDER, &heap);
	if (st != ST_OK)
		return st;
	config.memory = memmgr_va(mm, control);
	config.memory_bytes = PAGE_SIZE << CONTROL_MEMORY_ORDER;
	libc_set_heap(memmgr_va(mm, heap), PAGE_SIZE << LIBC_HEAP_ORDER);
	return ST_OK;
}

enum status control_task_start(struct machine *machine, struct uart *management, const struct control_fact *facts,
			       unsigned fact_count, struct error *err)
{
	enum status st = give_memory(machine->mm);

	if (st != ST_OK)
		return fail(err, st, "no memory for the control plane");
	line = management;
	line->received = line_received;
	line->dropped = line_dropped;
	line->drained = line_drained;
	line->drain_mark = CONTROL_PUSH_AHEAD;
	config.machine = machine;
	config.log = &host_log;
	config.log_lock = &host_log_lock;
	config.line = (struct control_line){NULL, line_room, line_queued, line_write};
	config.args = boot_args();
	config.clock = &host_clock;
	config.version = CORBEL_VERSION;
	config.build = CORBEL_COMMIT;
	config.processor = the_cpu.brand;
	config.image_stamp = direct_map((hpa_t){(uint64_t)image_stamp});
	config.image_bytes = memmap_bytes(&hardware.memory, MEMMAP_IMAGE);
	config.facts = facts;
	config.fact_count = fact_count;
	counters[0] = (struct control_counter_source){&uart_counters, management};
	config.counters = counters;
	config.counter_count = ARRAY_SIZE(counters);
	config.knobs = knobs;
	config.knob_count = ARRAY_SIZE(knobs);
	watchdog_notify = control_task_wake;
	config.reset = host_reset;
	config.entropy = cpu_entropy;
	task.task.interrupted = interrupted;
	st = host_task_start(&task, "control", serve, NULL, CONTROL_STACK_BYTES / PAGE_SIZE);
	if (st != ST_OK)
		return fail(err, st, "no memory for the control plane's stack");
	started = true;
	return ST_OK;
}
