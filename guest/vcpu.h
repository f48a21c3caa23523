/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtual CPU: what the engine does not keep, and its run loop. Touched only
 * by the CPU that runs it; everyone else leaves mail, posts a request and kicks.
 */
#ifndef CORBEL_GUEST_VCPU_H
#define CORBEL_GUEST_VCPU_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/engine.h"
#include "guest/exit.h"
#include "guest/host.h"
#include "guest/msr.h"
#include "guest/pvtime.h"
#include "guest/vlapic.h"
#include "lib/timerq.h"
#include "sched/sched.h"

struct vm;

/* Requests, posted by anyone with vcpu_request(); tested masked, last before entry. */
#define REQ_EVENT BIT(0)  /* interrupts, NMIs or exceptions to evaluate */
#define REQ_PAUSE BIT(1)  /* leave the CPU: the VM is no longer running */
#define REQ_APIC_MODE BIT(2) /* tell the engine of lapic.mode */
#define REQ_RECOMPUTE BIT(3) /* host or guest deadlines may have changed */
#define REQ_FLUSH BIT(4)  /* pages were taken from the guest: the engine flushes before it enters again */
#define REQ_CLOCK BIT(5)  /* what it was told of its clock has changed */
/* What others left in its mail (guest/vcpu_mail.c). */
#define REQ_POSTED BIT(8)  /* interrupts */
#define REQ_NMI BIT(9)
#define REQ_LINT0 BIT(10)  /* its LINT0 pin was asserted */
#define REQ_INIT BIT(11)
#define REQ_STARTUP BIT(12)
#define REQ_DEVICES BIT(13) /* vcpu 0: the first deadline of the platform's devices changed */
#define REQ_LATER BIT(14)  /* interrupts for which it was not kicked: vcpu_post_after() */
#define REQ_MAIL (REQ_POSTED | REQ_NMI | REQ_LINT0 | REQ_INIT | REQ_STARTUP | REQ_DEVICES | REQ_LATER)

#define VCPU_TRACE_SIZE 64 /* entries, a power of two */
#define VCPU_TIMERS_MAX 8

struct trace_entry {
	uint64_t entered; /* host TSC of the entry that this exit ended */
	uint64_t rip;
	uint32_t kind, length;
	uint64_t detail;  /* the first bytes of exit.u: MSR, port, vector, gpa, by kind */
};

/* One for each vcpu, always on: the crash report prints it. */
struct trace {
	struct trace_entry entries[VCPU_TRACE_SIZE];
	uint32_t next; /* of the entry to be written, in bytes: the exit path saves the multiplication */
};

/* Pages that the guest's page walks went through lately (guest/gwalk.c). */
#define WALK_PAGES 16
struct walk_page {
	uint64_t gfn;
	const uint8_t *page; /* host address, NULL: empty */
};
struct walk_pages {
	uint64_t generation; /* of the guest's memory: when that changes, all are forgotten */
	struct walk_page page[WALK_PAGES];
};

/*
 * What other CPUs have for a vcpu whose local APIC only its own CPU may touch: posted-interrupt requests in memory. In
 * cache lines of its own. The request bit is set after the mail, and cleared before the mail is read.
 */
#define VCPU_VECTORS 256
struct vcpu_mail {
	uint64_t edge[VCPU_VECTORS / 64], level[VCPU_VECTORS / 64]; /* vectors requested */
	uint32_t startup; /* MAIL_STARTUP and the vector of the first start-up message since the last INIT */
} __attribute__((aligned(HOST_CACHE_LINE)));
#define MAIL_STARTUP BIT(8)

struct vcpu {
	uint64_t gpr[GPR_COUNT]; /* saved by the engine at each exit, loaded at entry; slot GPR_RSP unused */
	struct exit exit;
	uint64_t requests;       /* REQ_* */
	void *hw;                /* the engine's */
	uint64_t deadline;       /* host TSC that bounds the next entry */
	uint64_t entered;        /* host TSC of the latest entry; the engine writes it */
	uint64_t bound;          /* the deadline without guest timers */
	uint64_t next_timer;     /* timers.next that the deadline was computed from */
	struct vm *vm;
	const struct engine *engine; /* machine->engine and machine->host, one load away from the exit path */
	const struct host_ops *host;
	struct host_cpu *cpu;    /* where its latest turn is or was */
	unsigned id;
	bool halted;             /* in HLT: blocked until an event */
	bool halted_open;        /* with interrupts enabled */
	bool waiting;            /* for a start-up message: blocked until it comes */
	bool nmi_pending;
	bool irq_window, nmi_window; /* what was asked of the engine */
	int tpr_watch;           /* vector told to sync_apic() without virtual interrupts, -1 for none */
	bool exception_pending;
	struct event exception;  /* from emulation, to be injected next */
	struct vlapic lapic;
	struct timerq timers;    /* guest TSC: the APIC's timer, and on vcpu 0 one for the platform's devices */
	struct timer *timer_slots[VCPU_TIMERS_MAX];
	struct host_alarm wake_alarm; /* wakes the vcpu for timers.next while it is blocked */
	struct sched_entity entity;
	uint64_t used_before, waited_before; /* host ticks run, and waited, in this start before the last pause */
	struct msr_state msr;
	struct pvtime pvtime;
	uint64_t exits[EXIT_KINDS];
	uint64_t injected;
	struct trace trace;
	struct walk_pages walk_pages;
	void *insn_cache;        /* MMIO decode cache (guest/insn.h) */
	struct timer devices;    /* of vcpu 0, on its timers: the first deadline of vm->timers */
	uint64_t kicked_at;      /* host tick of the last kick by vcpu_post_after() or vcpu_nudge(); atomic */
	struct vcpu_mail mail;
};

/*
 * First phase of a vcpu: its arena part with power-on values, no engine state yet. @storage of vcpu_bytes() bytes,
 * page aligned, zeroed, outlives the vcpu.
 */
uint64_t vcpu_bytes(void);
struct vcpu *vcpu_init(void *storage, struct vm *vm, unsigned id);

/* Posts @req and makes the vcpu notice: kicks it when it runs, wakes it when it blocks. Any context. */
void vcpu_request(struct vcpu *vcpu, uint64_t req);
/* Posts @req; true when nothing was done to make the vcpu notice, since it runs on another CPU. The same. */
MUST_CHECK bool vcpu_request_quietly(struct vcpu *vcpu, uint64_t req);

/*
 * An interrupt message for this vcpu: @delivery is an APIC_DELIVERY_* value (vlapic_receive()). Any CPU, masked; may
 * be called with the lock of its VM held.
 */
void vcpu_message(struct vcpu *vcpu, uint64_t delivery, uint8_t vector, bool level);
/*
 * An edge-triggered interrupt that need not be seen at once: if the vcpu runs on another CPU, it is kicked only when
 * the last kick of this kind is at least @gap host ticks ago. False: it was not kicked, and takes it at its next exit.
 * Whoever sends such interrupts calls vcpu_nudge() later, in case there is no exit. Any CPU, masked.
 */
MUST_CHECK bool vcpu_post_after(struct vcpu *vcpu, uint8_t vector, uint64_t gap);
/* If an interrupt of this kind waits for the vcpu's next exit: kicks it, on the same condition; false: it still waits. */
MUST_CHECK bool vcpu_nudge(struct vcpu *vcpu, uint64_t gap);
/* Posts @req, one of REQ_MAIL: no kick when it is posted already. Any CPU, masked. */
void vcpu_leave_mail(struct vcpu *vcpu, uint64_t req);
/* INIT, which makes start-up messages before it void; also from itself. The same. */
void vcpu_leave_init(struct vcpu *vcpu);
/* LINT0 of its local APIC was asserted. The same. */
void vcpu_assert_lint0(struct vcpu *vcpu);
/* In its own turn: takes what others left. */
void vcpu_take_mail(struct vcpu *vcpu);
/* Is the calling CPU in a turn of @vcpu? Then its local APIC and its timers may be touched. Masked. */
static inline bool vcpu_is_here(const struct vcpu *vcpu) { return vcpu->host->this_cpu()->vcpu == vcpu; }

/*
 * Takes the vcpu off the scheduler, once no CPU has anything of it. Its VM has left the running state, so that its turn
 * ends soon; no lock is held and interrupts are enabled, since that is waited for, until host tick @until at the
 * latest. False: vcpu->cpu has not let go of it, and has been told to; to be called again.
 */
MUST_CHECK bool vcpu_take_off(struct vcpu *vcpu, uint64_t until);

/*
 * Runs the vcpu until it blocks, yields or stops; at most until host TSC @slice_end.
 * Interrupts are masked throughout. BLOCK, YIELD or STOP; never RESUME.
 */
enum disposition vcpu_run(struct vcpu *vcpu, uint64_t slice_end);

/* What the engine calls at each exit: counts it, traces it, and handles it by exit_dispatch(). */
enum disposition vcpu_exited(struct vcpu *vcpu);

/* Handles vcpu->exit: the table by kind. */
typedef enum disposition (*exit_handler)(struct vcpu *vcpu);
extern const exit_handler exit_handlers[EXIT_KINDS];
static inline enum disposition exit_dispatch(struct vcpu *vcpu) { return exit_handlers[vcpu->exit.kind](vcpu); }

/* Queues an exception (#UD, #GP(0), ...) for the next entry; a contributory pair becomes a double fault. */
void vcpu_raise(struct vcpu *vcpu, uint8_t vector, bool has_error, uint32_t error);

/* Stops the VM with a report: the sentence, then registers, exit and trace. Returns STOP. */
__attribute__((format(printf, 2, 3))) enum disposition vcpu_crash(struct vcpu *vcpu, const char *fmt, ...);

#endif
