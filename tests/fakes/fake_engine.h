/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine that plays a script of exits. It keeps registers, segments and MSRs
 * as plain values, delivers staged events when its guest enters, opens windows
 * by RFLAGS.IF, and panics when its caller breaks the contract of
 * guest/engine.h: entering or injecting without load, two staged events, an
 * interrupt into a guest that cannot take it.
 *
 * Time is the hand clock: an entry lasts as long as its step says, or until the
 * deadline. After the script's end every entry lasts until the deadline.
 */
#ifndef CORBEL_TESTS_FAKE_ENGINE_H
#define CORBEL_TESTS_FAKE_ENGINE_H

#include "guest/engine.h"
#include "guest/vcpu.h"

#define FAKE_MSRS 32
#define FAKE_LOG 64

/* One exit; @setup runs just before it, as if the guest had executed something, and may be NULL. */
struct fake_step {
	struct exit exit;
	uint64_t ticks;
	void (*setup)(struct vcpu *v);
};

enum fake_call { CALL_ENTER, CALL_INJECT, CALL_WINDOW, CALL_SYNC_APIC, CALL_POST_INTERRUPT, CALL_APIC_MODE, CALL_TSC_OFFSET, CALL_KICK,
		 CALL_INIT, CALL_KINDS };

/* What the vcpu's engine part was asked to do; filled for the last FAKE_LOG calls that matter. */
struct fake_record {
	enum fake_call call;
	int64_t a, b; /* vector and type, rvi and svi, mode, offset, deadline */
};

struct fake_vcpu {
	uint64_t regs[REG_COUNT];
	struct segment segments[SEG_COUNT];
	struct { uint32_t index; uint64_t value; } msrs[FAKE_MSRS];
	unsigned msr_count;
	bool loaded, nmi_blocked, shadow; /* shadow: STI or MOV SS, until the next advance or entry */
	bool staged;
	struct event event;
	bool want_irq, want_nmi;
	unsigned advances;
	unsigned counts[CALL_KINDS];
	struct fake_record log[FAKE_LOG];
	unsigned logged;
	const struct fake_step *script;
	unsigned steps, next;
};

/* One engine for the process; caps may be changed before a VM is made. */
extern struct engine fake_engine;

static inline struct fake_vcpu *fake(struct vcpu *v) { return v->hw; }

/* The steps stay with the caller. */
void fake_play(struct vcpu *v, const struct fake_step *script, unsigned steps);
/* Lets the engine know an MSR, with a value. Without this get and set answer ST_NOT_FOUND. */
void fake_add_msr(struct vcpu *v, uint32_t index, uint64_t value);
/* MSRs that every new vcpu knows, with value 0. */
void fake_default_msrs(const uint32_t *indexes, unsigned count);
/* The @nth creation from now (1: the next; VMs and vcpus count alike) fails with ST_NO_MEMORY; 0: none. */
void fake_fail_create(unsigned nth);
/* VMs and vcpus that exist. */
unsigned fake_live(void);
/* Index of the last record of @call, -1 for none. */
int fake_last(struct vcpu *v, enum fake_call call);

#endif
