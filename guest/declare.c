/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counters of the machine and of a VM, and the knobs of both. A VM's knobs are
 * settings of its definition: most count at its next start, because the machine
 * is built from them. A new value has to pass the definition's own rules, on a
 * copy, so there is one set of them.
 */
#include <string.h>

#include "guest/machine.h"
#include "guest/vm_balloon.h"
#include "guest/vm_cpu.h"
#include "lib/bits.h"

#define SLICE_MIN_NS 100000ull
#define SLICE_MAX_NS 100000000ull
#define NS_PER_US 1000ull
#define CPU_PPM_MAX (SCHED_MAX_CPUS * (uint64_t)SCHED_ONE_CPU)
/* Implicit co-scheduling, but for what follows from a pause-loop exit. */
#define COSCHEDULING (SCHED_OFF_SKEW | SCHED_OFF_CATCHUP | SCHED_OFF_CORUN | SCHED_OFF_SPREAD)

/* ---- the machine ---- */

struct machine_figures {
	uint64_t capacity, committed;
	uint64_t by_state[VM_STATES];
};

static void machine_figures(const void *object, void *out)
{
	const struct machine *m = object;
	struct machine_figures f = {.capacity = m->capacity, .committed = m->committed};

	for (unsigned i = 0; i < VMS_MAX; i++)
		if (m->vms[i])
			f.by_state[m->vms[i]->state]++;
	*(struct machine_figures *)out = f;
}

static const char *state_name(unsigned i)
{
	return vm_state_name((enum vm_state)i);
}

static const struct counter_family states = {.label = "state", .count = VM_STATES, .name = state_name};

#define MACHINE(field, name, help) \
	COUNTER(struct machine_figures, field, name, COUNTER_GAUGE, MEASURE_BYTES, help)

static const struct counter machine_rows[] = {
	MACHINE(capacity, "capacity", "Memory that may be promised to VMs"),
	MACHINE(committed, "committed", "Memory promised to VMs, their overhead included"),
	COUNTER_OF(struct machine_figures, by_state, "vms", COUNTER_GAUGE, MEASURE_COUNT, &states, "VMs by state"),
};

const struct counter_table machine_counters = {
	.group = "host", .rows = machine_rows, .count = ARRAY_SIZE(machine_rows),
	.figures_bytes = sizeof(struct machine_figures), .figures = machine_figures,
};

/* To the nearest microsecond: a tick of the clock is no whole number of nanoseconds. */
static uint64_t get_slice(const void *object)
{
	const struct machine *m = object;
	uint64_t ns = ticks_to_ns(sched_slice(m->sched), m->host->clock->hz);

	return (ns + NS_PER_US / 2) / NS_PER_US * NS_PER_US;
}

static void set_slice(void *object, uint64_t ns)
{
	struct machine *m = object;

	sched_set_slice(m->sched, MAX(ns_to_ticks(ns, m->host->clock->hz), 1));
}

static void set_switches(struct machine *m, unsigned which, bool on)
{
	unsigned long state = m->host->mask();
	unsigned off = sched_switches(m->sched);

	sched_set_switches(m->sched, on ? off & ~which : off | which);
	m->host->unmask(state);
}

static uint64_t get_coschedule(const void *object)
{
	return !(sched_switches(((const struct machine *)object)->sched) & COSCHEDULING);
}

static void set_coschedule(void *object, uint64_t on)
{
	set_switches(object, COSCHEDULING, on != 0);
}

static uint64_t get_pause_loops(const void *object)
{
	return !((const struct machine *)object)->pause_loops_off;
}

/* Whether a vcpu leaves by an exit when it spins is in the controls that it gets at its VM's start. */
static void set_pause_loops(void *object, uint64_t on)
{
	struct machine *m = object;

	m->pause_loops_off = !on;
	set_switches(m, SCHED_OFF_YIELD_TO, on != 0);
}

static uint64_t get_separate_cores(const void *object)
{
	return sched_separate_cores(((const struct machine *)object)->sched);
}

static void set_separate_cores(void *object, uint64_t separate)
{
	sched_set_separate_cores(((struct machine *)object)->sched, separate);
}

static const struct knob machine_knob_rows[] = {
	{
		.name = "slice", .type = KNOB_NUMBER, .measure = MEASURE_NS, .min = SLICE_MIN_NS, .max = SLICE_MAX_NS,
		.step = NS_PER_US, .otherwise = SCHED_SLICE_NS, .by = KNOB_OWNER, .get = get_slice, .set = set_slice,
		.help = "Longest turn on a processor for which others wait",
	},
	{
		.name = "coschedule", .type = KNOB_BOOL, .otherwise = true, .by = KNOB_OWNER, .get = get_coschedule,
		.set = set_coschedule,
		.help = "Whether the processors of one VM are kept together, none far ahead, rather at once",
	},
	{
		.name = "pause_loops", .type = KNOB_BOOL, .otherwise = true, .by = KNOB_OWNER, .get = get_pause_loops,
		.set = set_pause_loops,
		.help = "Whether a processor that spins gives way to its sibling; of VMs that start from then on",
	},
	{
		.name = "separate_cores", .type = KNOB_BOOL, .by = KNOB_OWNER, .get = get_separate_cores,
		.set = set_separate_cores, .help = "Whether the threads of a core never run different VMs at a time",
	},
};

const struct knob_table machine_cpu_knobs = {
	.group = "host.cpu", .rows = machine_knob_rows, .count = ARRAY_SIZE(machine_knob_rows),
};

/* ---- a VM's counters ---- */

struct vm_figures {
	struct vm_info info;
	struct vm_balloon_figures balloon;
	uint64_t state, starts, printed, report_bytes;
};

static void vm_figures(const void *object, void *out)
{
	const struct vm *vm = object;
	struct vm_figures f = {
		.state = vm->state, .starts = vm->starts, .printed = vm->console.out.head,
		.report_bytes = strlen(vm_report(vm)),
	};

	vm_info(vm, &f.info);
	vm_balloon_figures(vm, &f.balloon);
	memcpy(out, &f, sizeof f);
}

static const char *kind_name(unsigned i)
{
	return exit_kind_name((enum exit_kind)i);
}

static const struct counter_family kinds = {.label = "kind", .count = EXIT_KINDS, .name = kind_name};

static const char *bucket_name(unsigned i)
{
	static const char *const names[SCHED_WAKE_BUCKETS] = {
		"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19",
		"20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31", "32", "33", "34", "35", "36", "37",
		"38", "39",
	};

	return names[i];
}

static const struct counter_family buckets = {.label = "bucket", .count = SCHED_WAKE_BUCKETS, .name = bucket_name};

#define VM(field, name, kind, measure, help) COUNTER(struct vm_figures, field, name, kind, measure, help)

#define GUEST(stat, name, kind, measure, help) VM(balloon.values[stat], name, kind, measure, help)

static const struct counter vm_rows[] = {
	{
		.name = "state", .help = "What the VM is doing", .kind = COUNTER_STATE, .family = &states,
		.offset = offsetof(struct vm_figures, state), .bytes = sizeof(uint64_t),
	},
	VM(starts, "starts", COUNTER_TOTAL, MEASURE_COUNT, "Times the VM was started"),
	VM(info.cpu_ns, "cpu.used", COUNTER_TOTAL, MEASURE_NS, "Time run on a processor in this start"),
	VM(info.waited_ns, "cpu.waited", COUNTER_TOTAL, MEASURE_NS, "Time ready in this start, but not run"),
	VM(info.cpu.blocked_ns, "cpu.blocked", COUNTER_TOTAL, MEASURE_NS, "Time in this start with nothing to do"),
	VM(info.cpu.limited_ns, "cpu.limited", COUNTER_TOTAL, MEASURE_NS, "Time held back by a limit"),
	VM(info.cpu.costopped_ns, "cpu.costopped", COUNTER_TOTAL, MEASURE_NS,
	   "Time that processors were held back until their siblings had caught up"),
	VM(info.cpu.dispatches, "cpu.turns", COUNTER_TOTAL, MEASURE_COUNT, "Turns on a processor"),
	VM(info.cpu.migrations, "cpu.migrations", COUNTER_TOTAL, MEASURE_COUNT, "Turns on another processor than the last"),
	VM(info.cpu.wakes, "cpu.wakes", COUNTER_TOTAL, MEASURE_COUNT, "Times that one of its processors woke"),
	VM(info.cpu.wake_ns, "cpu.wake_time", COUNTER_TOTAL, MEASURE_NS, "Time from waking to running, of all wakes"),
	COUNTER_HISTOGRAM_OF(struct vm_figures, info.cpu.wake_latency, "cpu.wake_latency", &buckets, "cpu.wake_time",
			     "Wakes by the time until they ran"),
	VM(info.cpu.wake_p50_ns, "cpu.wake_p50", COUNTER_GAUGE, MEASURE_NS,
	   "Half of the wakes ran within this time; a power of two in ticks"),
	VM(info.cpu.wake_p99_ns, "cpu.wake_p99", COUNTER_GAUGE, MEASURE_NS, "Of a hundred wakes 99 ran within this time"),
	VM(info.cpu.entitled, "cpu.entitled", COUNTER_GAUGE, MEASURE_PPM, "What it gets when everybody wants all he can use"),
	VM(info.cpu.allowed, "cpu.allowed", COUNTER_GAUGE, MEASURE_PPM, "What it gets at present, with what is lent"),
	VM(info.uptime_ns, "uptime", COUNTER_GAUGE, MEASURE_NS, "The guest's own time since it started"),
	VM(info.memory_present, "mem.present", COUNTER_GAUGE, MEASURE_BYTES, "Memory that the guest has touched"),
	VM(info.overhead, "mem.overhead", COUNTER_GAUGE, MEASURE_BYTES,
	   "Host memory promised to it while it runs, besides the guest's own"),
	VM(balloon.held, "mem.ballooned", COUNTER_GAUGE, MEASURE_BYTES, "What the guest says it has given away by its balloon"),
	VM(balloon.freed, "mem.given_back", COUNTER_TOTAL, MEASURE_BYTES,
	   "Memory that was taken from the guest because it gave it away"),
	VM(balloon.refused, "mem.balloon_refused", COUNTER_TOTAL, MEASURE_BYTES,
	   "What it gave away and could not be taken: a device uses it, or it is none of its memory"),
	GUEST(VIRTIO_BALLOON_S_MEMTOT, "mem.guest.total", COUNTER_GAUGE, MEASURE_BYTES, "Memory as the guest counts it"),
	GUEST(VIRTIO_BALLOON_S_MEMFREE, "mem.guest.free", COUNTER_GAUGE, MEASURE_BYTES, "Of that, what it uses for nothing"),
	GUEST(VIRTIO_BALLOON_S_AVAIL, "mem.guest.available", COUNTER_GAUGE, MEASURE_BYTES,
	      "And what it could give to programs without swapping"),
	GUEST(VIRTIO_BALLOON_S_CACHES, "mem.guest.caches", COUNTER_GAUGE, MEASURE_BYTES, "And what it caches files in"),
	GUEST(VIRTIO_BALLOON_S_SWAP_IN, "mem.guest.swapped_in", COUNTER_TOTAL, MEASURE_BYTES, "What it has swapped in"),
	GUEST(VIRTIO_BALLOON_S_SWAP_OUT, "mem.guest.swapped_out", COUNTER_TOTAL, MEASURE_BYTES, "And out"),
	GUEST(VIRTIO_BALLOON_S_MAJFLT, "mem.guest.major_faults", COUNTER_TOTAL, MEASURE_COUNT,
	      "Its page faults that waited for a disk"),
	GUEST(VIRTIO_BALLOON_S_MINFLT, "mem.guest.minor_faults", COUNTER_TOTAL, MEASURE_COUNT, "And the others"),
	VM(balloon.told, "mem.guest.told", COUNTER_TOTAL, MEASURE_COUNT,
	   "Times that the guest told these; reading them asks anew when the last time is a second ago"),
	VM(info.exits, "exits", COUNTER_TOTAL, MEASURE_COUNT, "Exits from the guest in this start"),
	COUNTER_OF(struct vm_figures, info.exits_by_kind, "exits_by_kind", COUNTER_TOTAL, MEASURE_COUNT, &kinds,
		   "Exits from the guest in this start, by kind"),
	VM(info.injected, "injected", COUNTER_TOTAL, MEASURE_COUNT, "Interrupts and exceptions given to the guest"),
	VM(info.denied_msrs, "denied_msrs", COUNTER_TOTAL, MEASURE_COUNT,
	   "Accesses to model-specific registers that the guest does not have"),
	VM(info.bus_misses, "bus_misses", COUNTER_TOTAL, MEASURE_COUNT, "Accesses to ports and memory of no device"),
	VM(printed, "console.printed", COUNTER_TOTAL, MEASURE_BYTES, "Output of the guest on its console"),
	VM(report_bytes, "report", COUNTER_GAUGE, MEASURE_BYTES, "Length of the crash report"),
};

const struct counter_table vm_counters = {
	.group = "vm", .rows = vm_rows, .count = ARRAY_SIZE(vm_rows), .figures_bytes = sizeof(struct vm_figures),
	.figures = vm_figures,
};

_Static_assert(sizeof(struct vm_figures) <= COUNTER_FIGURES_MAX, "registries have that much room");

/* ---- a VM's knobs ---- */

/* The rules of a definition, as this one would be after @change. */
static enum status check_with(const struct vm *vm, void (*change)(void *object, uint64_t value), uint64_t value,
			      struct error *err)
{
	static struct vm after; /* the control task's; too large for its stack */

	after.config = vm->config;
	change(&after, value);
	return vm_config_check(&after.config, err);
}

static uint64_t get_size(const void *vm)
{
	return ((const struct vm *)vm)->config.memory.size;
}

/* The reservation is all of it in this version, so it goes along. */
static void set_size(void *object, uint64_t bytes)
{
	struct vm *vm = object;

	if (vm->config.memory.reservation == vm->config.memory.size)
		vm->config.memory.reservation = bytes;
	vm->config.memory.size = bytes;
}

static enum status check_size(const void *vm, uint64_t bytes, struct error *err)
{
	return check_with(vm, set_size, bytes, err);
}

static uint64_t get_reservation(const void *vm)
{
	return ((const struct vm *)vm)->config.memory.reservation;
}

static void set_reservation(void *vm, uint64_t bytes)
{
	((struct vm *)vm)->config.memory.reservation = bytes;
}

static enum status check_reservation(const void *vm, uint64_t bytes, struct error *err)
{
	return check_with(vm, set_reservation, bytes, err);
}

static uint64_t get_count(const void *vm)
{
	return ((const struct vm *)vm)->config.cpu.count;
}

static void set_count(void *vm, uint64_t count)
{
	((struct vm *)vm)->config.cpu.count = (unsigned)count;
}

/* ---- its numbers for the scheduler ---- */

/* By the definition's rules, and by what else has been promised. */
static enum status check_cpu_with(const void *object, void (*change)(struct vm_config *cfg, uint64_t value), uint64_t value,
				  struct error *err)
{
	static struct vm_config after; /* the control task's; too large for its stack */
	struct vm *vm = vm_by_id(((const struct vm *)object)->machine, ((const struct vm *)object)->id);
	enum status st;

	after = vm->config;
	change(&after, value);
	st = vm_config_check(&after, err);
	return st == ST_OK ? vm_cpu_check(vm, &after, err) : st;
}

/* The three functions of knob @name, whose value is @field of a definition. */
#define CPU_KNOB(name, field, type)                                                                              \
	static uint64_t get_cpu_##name(const void *vm) { return ((const struct vm *)vm)->config.cpu.field; }        \
	static void change_##name(struct vm_config *cfg, uint64_t value) { cfg->cpu.field = (type)value; }          \
	static enum status check_cpu_##name(const void *vm, uint64_t value, struct error *err)                       \
	{                                                                                                           \
		return check_cpu_with(vm, change_##name, value, err);                                                 \
	}                                                                                                           \
	static void set_cpu_##name(void *vm, uint64_t value)                                                         \
	{                                                                                                           \
		change_##name(&((struct vm *)vm)->config, value);                                                     \
		vm_cpu_changed(vm);                                                                                   \
	}

CPU_KNOB(shares, numbers.shares, uint32_t)
CPU_KNOB(reservation, numbers.reservation, uint64_t)
CPU_KNOB(limit, numbers.limit, uint64_t)
CPU_KNOB(affinity, affinity, uint64_t)
CPU_KNOB(exclusive, exclusive, bool)
CPU_KNOB(latency, latency, bool)

#define CPU_FUNCTIONS(name) .get = get_cpu_##name, .check = check_cpu_##name, .set = set_cpu_##name, .piecewise = true

static uint64_t get_on_reset(const void *vm)
{
	return ((const struct vm *)vm)->config.on_reset;
}

static void set_on_reset(void *vm, uint64_t action)
{
	((struct vm *)vm)->config.on_reset = (enum reset_action)action;
}

static uint64_t get_acpi(const void *vm)
{
	return ((const struct vm *)vm)->config.acpi;
}

static void set_acpi(void *vm, uint64_t on)
{
	((struct vm *)vm)->config.acpi = on != 0;
}

static uint64_t get_debug_exit(const void *vm)
{
	return ((const struct vm *)vm)->config.debug_exit;
}

static void set_debug_exit(void *vm, uint64_t on)
{
	((struct vm *)vm)->config.debug_exit = on != 0;
}

/* ---- what the guest is asked to give ---- */

static uint64_t get_balloon(const void *vm)
{
	return ((const struct vm *)vm)->config.memory.balloon;
}

static void change_balloon(void *vm, uint64_t bytes)
{
	((struct vm *)vm)->config.memory.balloon = bytes;
}

static enum status check_balloon(const void *vm, uint64_t bytes, struct error *err)
{
	return check_with(vm, change_balloon, bytes, err);
}

static void set_balloon(void *vm, uint64_t bytes)
{
	change_balloon(vm, bytes);
	vm_balloon_changed(vm);
}

static const struct knob vm_knob_rows[] = {
	{
		.name = "mem.size", .type = KNOB_NUMBER, .measure = MEASURE_BYTES, .when = KNOB_AT_START,
		.min = VM_MEMORY_MIN, .max = VM_MEMORY_MAX, .step = PAGE_SIZE, .get = get_size, .check = check_size,
		.set = set_size, .help = "The guest's memory",
	},
	{
		.name = "mem.reservation", .type = KNOB_NUMBER, .measure = MEASURE_BYTES, .when = KNOB_AT_START,
		.member = MEMBER_RESERVATION, .min = VM_MEMORY_MIN, .max = VM_MEMORY_MAX, .step = PAGE_SIZE,
		.get = get_reservation, .check = check_reservation, .set = set_reservation,
		.help = "The part of it that is kept for the guest; all of it in this version",
	},
	{
		.name = "cpu.count", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .when = KNOB_AT_START, .min = 1,
		.max = VM_VCPUS_MAX, .otherwise = 1, .get = get_count, .set = set_count,
		.help = "The guest's processors",
	},
	{
		.name = "cpu.shares", .type = KNOB_NUMBER, .measure = MEASURE_COUNT, .member = MEMBER_SHARES, .min = 1,
		.max = RLS_SHARES_MAX, .otherwise = RLS_SHARES_DEFAULT, CPU_FUNCTIONS(shares),
		.help = "Its weight where others want the processors too",
	},
	{
		.name = "cpu.reservation", .type = KNOB_NUMBER, .measure = MEASURE_PPM, .member = MEMBER_RESERVATION,
		.max = CPU_PPM_MAX, CPU_FUNCTIONS(reservation),
		.help = "What it gets in any case, in parts of one processor",
	},
	{
		.name = "cpu.limit", .type = KNOB_NUMBER, .measure = MEASURE_PPM, .member = MEMBER_LIMIT, .min = 1,
		.max = CPU_PPM_MAX, .none = true, .otherwise = KNOB_NONE, CPU_FUNCTIONS(limit),
		.help = "What it gets at most, in parts of one processor",
	},
	{
		.name = "cpu.affinity", .type = KNOB_CPUS, CPU_FUNCTIONS(affinity),
		.help = "The machine's processors that it may run on",
	},
	{
		.name = "cpu.exclusive", .type = KNOB_BOOL, CPU_FUNCTIONS(exclusive),
		.help = "Whether each of its processors has a core for itself alone",
	},
	{
		.name = "cpu.latency", .type = KNOB_BOOL, CPU_FUNCTIONS(latency),
		.help = "Whether it runs at once when it wakes, as long as that is within its share",
	},
	{
		.name = "on_reset", .type = KNOB_CHOICE, .names = reset_action_names, .otherwise = ON_RESET_RESTART,
		.get = get_on_reset, .set = set_on_reset, .help = "What happens when the guest resets itself",
	},
	{
		.name = "acpi", .type = KNOB_BOOL, .when = KNOB_AT_START, .otherwise = true, .get = get_acpi,
		.set = set_acpi, .help = "Whether the guest gets ACPI tables",
	},
	{
		.name = "debug_exit", .type = KNOB_BOOL, .when = KNOB_AT_START, .get = get_debug_exit,
		.set = set_debug_exit, .help = "Whether a write to port 0xf4 ends the VM",
	},
	{
		.name = "mem.balloon", .type = KNOB_NUMBER, .measure = MEASURE_BYTES, .max = VM_MEMORY_MAX,
		.step = PAGE_SIZE, .get = get_balloon, .check = check_balloon, .set = set_balloon,
		.help = "Memory that the guest is asked to give back, into its balloon",
	},
};

static bool given(const void *object, size_t row, const char **where)
{
	const struct vm *vm = object;

	*where = vm->config.origin;
	return (vm->config.given & BIT(row)) != 0;
}

const struct knob_table vm_knobs = {
	.group = "vm", .rows = vm_knob_rows, .count = ARRAY_SIZE(vm_knob_rows), .given = given,
};

_Static_assert(ARRAY_SIZE(vm_knob_rows) <= 32, "vm_config.given has a bit for each");
