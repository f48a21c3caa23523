/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual machine: identity, lifecycle through one transition table, and the
 * handles of its parts. Created in two phases: vm_define() records what it is,
 * vm_start() builds it in an arena that stop drops whole.
 *
 * The calls below belong to the control task (interrupts enabled); they mask
 * around the manager calls they make. Its vcpus run on CPUs of their own: the VM's
 * lock is over its state, its devices and its console, and is never held while
 * somebody waits for a vcpu to leave its CPU.
 */
#ifndef CORBEL_GUEST_VM_H
#define CORBEL_GUEST_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/bus.h"
#include "guest/config.h"
#include "guest/console.h"
#include "guest/vcpu.h"
#include "guest/vm_io.h"
#include "guest/vtime.h"
#include "io/iosched.h"
#include "io/virtio_blk.h"
#include "io/virtio_net.h"
#include "lib/arena.h"
#include "memmgr/memmgr.h"

#define VM_REPORT_MAX 8192
#define VM_TIMERS_MAX 16
#define VM_HELD_MAX 120

enum vm_state { VM_DEFINED, VM_LOADING, VM_RUNNING, VM_PAUSED, VM_STOPPED, VM_CRASHED, VM_STATES };

/* Why a VM left the running state. */
enum vm_reason {
	REASON_NONE,
	REASON_OPERATOR,  /* stop command */
	REASON_POWER_OFF, /* the guest's ACPI power-off */
	REASON_RESET,     /* the guest asked for a reset */
	REASON_DEBUG_EXIT, /* port 0xf4, code in exit_code */
	REASON_CRASH,     /* triple fault, unsupported, entry failure: see report */
};

/* Of all its vcpus, in this start (sched/sched.h). */
struct vm_cpu_info {
	uint64_t blocked_ns, limited_ns, costopped_ns;
	uint64_t dispatches, migrations, wakes, costops;
	uint64_t wake_ns;                  /* of all wakes together, until they ran */
	uint64_t wake_latency[SCHED_WAKE_BUCKETS];
	uint64_t wake_p50_ns, wake_p99_ns; /* from waking to running; upper bounds, powers of two in ticks */
	uint64_t entitled, allowed;        /* ppm of one CPU, now */
};

struct vm_info {
	uint64_t memory_present;  /* bytes of guest RAM populated */
	uint64_t overhead;        /* host bytes besides guest pages that are promised to it while it runs */
	uint64_t cpu_ns;          /* run so far in this start */
	uint64_t waited_ns;       /* ready in this start, and not run */
	struct vm_cpu_info cpu;   /* further figures of the scheduler's */
	uint64_t uptime_ns;       /* guest time */
	uint64_t exits, injected;
	uint64_t denied_msrs, bus_misses;
	uint64_t exits_by_kind[EXIT_KINDS];
};

/* The part of it that is cheap to read. */
struct vm_usage {
	uint64_t memory_present, cpu_ns, uptime_ns;
};

struct cpuid_table;
struct machine;
struct platform;
struct stage2;

/* Disk config.disks[index] of @vm, for who looks at one of its disks alone (guest/vm_disk.h). */
struct vm_disk_place {
	struct vm *vm;
	unsigned index;
};

/* What a disk has done in one start. */
struct vm_disk_figures {
	struct virtio_blk_figures blk;
	struct iosched_figures sched;
};

/* Interface config.nics[index] of @vm, likewise (guest/vm_nic.h). */
struct vm_nic_place {
	struct vm *vm;
	unsigned index;
};

/* What an interface has done in one start. */
struct vm_nic_figures {
	struct virtio_net_figures net;
	struct net_port_figures port;
	uint64_t wire_frames, wire_bytes; /* that went by the uplink; ticks that they waited for their turn, */
	uint64_t wire_queued, wire_throttled; /* and of those, until a limit let them */
	uint64_t held;                    /* frames that wait for it now */
	uint64_t up;                      /* the link */
};

struct vm {
	struct machine *machine;
	uint16_t id;            /* 1.., stable for life; memmgr's owner id */
	struct vm_config config;
	struct vm_disk_place disk_places[VM_DISKS_MAX];
	struct vm_nic_place nic_places[VM_NICS_MAX];
	struct lock lock;       /* LOCK_VM: state, devices; its vcpus take it for those alone */
	enum vm_state state;    /* changed under the lock, read without */
	enum vm_reason reason;  /* these two before the state: see vm_outcome() */
	uint32_t exit_code;
	bool teardown_due;      /* left the running state; the control task releases its parts */
	bool restart_due;       /* and starts it again; before the state, as the reason */
	uint32_t disks_failing; /* BIT(disk) of those that failed a request, until somebody takes note; atomic */
	bool pause_due;         /* asked by a device; the control task does it; atomic */
	bool lingers;           /* left the running state, but a CPU has not let go of one of its vcpus, or of its worker */
	bool disk_lingers;      /* left it, but a disk has not let go of its memory */
	char held_by[VM_HELD_MAX]; /* what that is, in words; empty: nothing holds it */
	bool paused_full;       /* and it has: a volume of its disks is full. Until it is resumed; the control task's */
	enum vm_state before;   /* state that a failed start returns to */
	uint64_t starts;
	uint64_t started_at;    /* host TSC */
	char report[VM_REPORT_MAX]; /* crash report, NUL-terminated; survives teardown: see vm_report() */
	bool report_whole;
	unsigned crashed_vcpu;  /* whose report it is */
	struct console console; /* survives stop and start */
	uint64_t committed;     /* bytes promised while it is built: RAM and overhead */
	struct sched_pool pool; /* of its vcpus, while it is built; pool.name[0] says that the scheduler has it */
	struct vm_info last;    /* what it had come to when it was taken apart */
	struct vm_disk_figures last_disks[VM_DISKS_MAX]; /* and its disks then, */
	char last_disk_names[VM_DISKS_MAX][VM_DISK_NAME_MAX]; /* which were these; "": none */
	struct vm_nic_figures last_nics[VM_NICS_MAX]; /* likewise */
	char last_nic_names[VM_NICS_MAX][VM_NIC_NAME_MAX];

	/* From here on valid from LOADING until teardown. */
	struct arena arena;
	hfn_t arena_frame;
	unsigned arena_order;
	void *hw;               /* the engine's */
	struct stage2 *stage2;
	struct gpmap *memory;
	const uint64_t *memory_generation; /* gpmap_generation() */
	struct bus pio, mmio;
	struct vm_time time;
	struct platform *platform;
	struct vm_io io;        /* its devices' worker */
	struct timerq timers;   /* of the platform's devices, guest TSC; vcpu 0 runs them (guest/vm_devices.h) */
	struct timer *timer_slots[VM_TIMERS_MAX];
	uint64_t timers_told;   /* timers.next as vcpu 0 was told */
	struct vcpu *vcpus[VM_VCPUS_MAX];
	unsigned vcpu_count;
	struct cpuid_table *cpuid; /* precomputed allow-list (guest/cpuid.h) */
	uint64_t wall_msr;      /* MSR_KVM_WALL_CLOCK; atomic, as the next two (guest/pvtime.h) */
	uint32_t wall_version;
	bool tsc_apart;         /* the TSCs of its vcpus are not one: the guest has moved some */
	uint64_t denied_msrs;   /* accesses to MSRs outside the allow-list */
};

const char *vm_state_name(enum vm_state state);
const char *vm_reason_name(enum vm_reason reason);

/* Records a checked definition. ST_EXISTS, ST_INVALID, ST_OVER_LIMIT (too many VMs). State: defined. */
enum status vm_define(struct machine *m, const struct vm_config *cfg, struct vm **out, struct error *err);
struct vm *vm_find(struct machine *m, const char *name);
struct vm *vm_by_id(struct machine *m, unsigned id);
/* Next VM in id order after @prev (NULL: the first); NULL at the end. */
struct vm *vm_next(struct machine *m, const struct vm *prev);

/*
 * defined, stopped, crashed -> loading -> running. Admits the memory (size + overhead), builds the machine,
 * loads the image. On failure everything is released, the state is as before and @err names the cause.
 */
enum status vm_start(struct vm *vm, struct error *err);
/*
 * running, paused -> stopped at once, like pulling the plug; the parts are released before return. One that is stopped
 * because its guest has reset itself, and about to start again, stays stopped. ST_BUSY: it is
 * stopped, but a CPU, named in @err, is stuck and does not let go of a vcpu, or a disk has not come back with what is
 * under way in the VM's memory. That is released by vm_reap() once it does; until then the VM can be neither started
 * nor destroyed.
 */
enum status vm_stop(struct vm *vm, struct error *err);
/*
 * running -> paused: vcpus off the CPU, guest time frozen. ST_BUSY as above; time freezes when it is resumed or
 * stopped.
 */
enum status vm_pause(struct vm *vm, struct error *err);
enum status vm_resume(struct vm *vm, struct error *err);
/* Presses the power button of a running VM: an orderly stop if the guest listens. */
enum status vm_power_button(struct vm *vm, struct error *err);
/* defined, stopped, crashed -> gone; the pointer is dead. */
enum status vm_destroy(struct vm *vm, struct error *err);

/*
 * A vcpu's CPU, in its turn: the guest left the running state. Tells the other vcpus to leave their CPUs, and posts
 * the teardown to the control task. Of several at once the first counts.
 */
void vm_event(struct vm *vm, enum vm_reason reason, uint32_t code);
/* The same from a device, with the VM's lock held. */
void vm_event_locked(struct vm *vm, enum vm_reason reason, uint32_t code);
/* A device cannot go on before an operator has helped: the control task pauses the VM. Any CPU, masked, any lock. */
void vm_want_pause(struct vm *vm);
/* A request of disk @index failed at its volume. Any CPU, masked, any lock. The control task is told of the first. */
void vm_disk_failed(struct vm *vm, unsigned index);
/* It is stopped because its guest has reset itself, and vm_reap() is to start it again. Control task. */
bool vm_starts_again(const struct vm *vm);
/* The same in words, else the state's name. */
const char *vm_state_words(const struct vm *vm);
/* How a VM is, and once it has ended why, and with what code. */
struct vm_outcome {
	enum vm_state state;
	enum vm_reason reason; /* REASON_NONE unless it is stopped or crashed */
	uint32_t exit_code;    /* of REASON_DEBUG_EXIT */
};
/* The three as they belong together: a vcpu may end the VM on its CPU while another CPU looks. Control task. */
void vm_outcome(const struct vm *vm, struct vm_outcome *out);
/* The crash report, once it is whole; empty when there is none. */
const char *vm_report(const struct vm *vm);
/* Control task: releases what left the running state, restarts and pauses what asked for it. True while work is left. */
bool vm_reap(struct machine *m);

/* Host memory that starting this definition takes besides guest pages, in bytes: what admission counts. */
uint64_t vm_overhead_bytes(const struct machine *m, const struct vm_config *cfg);

/* Once it has ended: what its last start came to, but for the memory that it no longer has. */
void vm_info(const struct vm *vm, struct vm_info *out);
void vm_usage(const struct vm *vm, struct vm_usage *out);

/* Console input from the operator; returns how many bytes fitted. */
size_t vm_console_input(struct vm *vm, const void *data, size_t len);
/* The size of the operator's terminal, 0 for not known. A guest with a virtio console is told, now and when it starts. */
void vm_console_size(struct vm *vm, uint16_t columns, uint16_t rows);

#endif
