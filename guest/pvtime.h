/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time as KVM tells it to its guests, for kernels that know that interface (Linux,
 * the BSDs): kvmclock, the wall clock of the start, and steal time. Numbers and layouts are
 * those of Linux' Documentation/virt/kvm/x86/{cpuid,msr}.rst. The guest names a place in its memory
 * by an MSR, and the structures are written there.
 */
#ifndef CORBEL_GUEST_PVTIME_H
#define CORBEL_GUEST_PVTIME_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/exit.h"
#include "lib/bits.h"
#include "lib/status.h"

struct vcpu;

/* CPUID 40000101h, EAX. */
#define KVM_FEATURE_NOP_IO_DELAY BIT(1)
#define KVM_FEATURE_CLOCKSOURCE2 BIT(3)
#define KVM_FEATURE_STEAL_TIME BIT(5)
#define KVM_FEATURE_CLOCKSOURCE_STABLE BIT(24)

#define MSR_KVM_WALL_CLOCK 0x4b564d00u
#define MSR_KVM_SYSTEM_TIME 0x4b564d01u
#define MSR_KVM_STEAL_TIME 0x4b564d03u
#define MSR_KVM_ENABLED BIT(0)

/* struct pvclock_vcpu_time_info: ns = system_time + ((TSC - tsc_timestamp) << tsc_shift) * tsc_to_system_mul / 2^32 */
struct pvtime_clock {
	uint32_t version; /* odd while it is written, as in the others */
	uint32_t pad0;
	uint64_t tsc_timestamp, system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift; /* negative: to the right */
	uint8_t flags;
	uint8_t pad[2];
};
#define PVTIME_TSC_STABLE BIT(0) /* the clocks of all vcpus are one */

/* struct pvclock_wall_clock: UTC when kvmclock was 0. */
struct pvtime_wall {
	uint32_t version, sec, nsec;
};

/* struct kvm_steal_time. */
struct pvtime_steal {
	uint64_t steal; /* ns that the vcpu wanted a CPU and had none */
	uint32_t version, flags;
	uint8_t preempted; /* 1: it wants one and has none now */
	uint8_t pad[47];
};

_Static_assert(sizeof(struct pvtime_clock) == 32 && sizeof(struct pvtime_wall) == 12, "the guest's layout");
_Static_assert(sizeof(struct pvtime_steal) == 64, "the guest's layout");

#define PVTIME_NS_SHIFT 54 /* off by a nanosecond at most for 2^54 ticks, and room for a tick of a microsecond */

/* What a vcpu has been told to write, and wrote last. */
struct pvtime {
	uint64_t clock_msr, steal_msr; /* as the guest wrote them */
	uint64_t stolen;               /* host ticks behind the number that the guest sees */
	/* Where its steal time lies, good while no page has been taken from the guest since; NULL: to be looked up. */
	struct pvtime_steal *steal_place;
	uint64_t steal_generation;
	uint64_t ns_of_tick;           /* 2^PVTIME_NS_SHIFT ns; set with steal_msr */
	uint32_t clock_version, steal_version;
	bool shown_preempted;
};

/* Numbers by which a guest makes ns of ticks at @hz, in kvmclock's form. */
void pvtime_scale(uint64_t hz, uint32_t *mul, int8_t *shift);

/* In the vcpu's turn. ST_NOT_FOUND: not one of these; ST_INVALID: #GP, also for a place that is not RAM. */
MUST_CHECK enum status pvtime_read_msr(const struct vcpu *v, uint32_t index, uint64_t *out);
MUST_CHECK enum status pvtime_write_msr(struct vcpu *v, uint32_t index, uint64_t value);

/* INIT: nothing is written any more. */
void pvtime_reset(struct vcpu *v);
/* In the turn of @v: its TSC has been moved against the others'. */
void pvtime_tsc_moved(struct vcpu *v);
/* REQ_CLOCK: another vcpu's has. */
void pvtime_show_clock(struct vcpu *v);

/* A turn begins, and has ended with @d. */
void pvtime_show_steal(struct vcpu *v);
void pvtime_show_preempted(struct vcpu *v, enum disposition d);

#endif
