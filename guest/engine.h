/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract between the guest's machine and a virtualisation engine. No
 * VT-x word appears here; vmx/ implements it, tests implement it by a script
 * of exits, AMD-V may stand beside it. Unless said otherwise calls are made
 * with interrupts masked, by the CPU on which the vcpu is loaded.
 */
#ifndef CORBEL_GUEST_ENGINE_H
#define CORBEL_GUEST_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/exit.h"
#include "lib/status.h"
#include "memmgr/stage2.h"

struct vm;
struct vcpu;
struct error;

/* General registers in encoding order: index = ModRM/REX number. */
enum gpr { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI,
	   GPR_R8, GPR_R9, GPR_R10, GPR_R11, GPR_R12, GPR_R13, GPR_R14, GPR_R15, GPR_COUNT };

/* State that the engine keeps. GPRs but rsp live in vcpu->gpr. */
enum engine_reg { REG_RIP, REG_RSP, REG_RFLAGS, REG_CR0, REG_CR2, REG_CR3, REG_CR4, REG_DR7, REG_EFER,
		  REG_XCR0, REG_COUNT };

enum segment_reg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_GDTR, SEG_IDTR, SEG_COUNT };

struct segment {
	uint64_t base;
	uint32_t limit;
	uint16_t selector; /* not for GDTR, IDTR */
	uint16_t access;   /* type, S, DPL, P, AVL, L, D, G as in descriptor bits 40-55 (bits 0-7, 12-15); SEGMENT_UNUSABLE */
};
#define SEGMENT_UNUSABLE 0x0100u

/* Which code runs: enough to find it again. */
struct code_mode {
	uint64_t cr3, efer;
	uint16_t cs_access;
};

/* The registers that decide what an instruction means and may touch. */
struct cpu_mode {
	uint64_t cr0, cr3, cr4, efer, rflags; /* CR0 and CR4 as the guest reads them */
	uint64_t cs_base;
	uint16_t cs_access, ss_access;
};

enum event_type { EVENT_INTERRUPT, EVENT_NMI, EVENT_EXCEPTION };

struct event {
	enum event_type type;
	uint8_t vector;
	bool has_error;
	uint32_t error;
};

/* What this CPU's engine can do; guest/ chooses paths by it. */
struct engine_caps {
	bool virtual_interrupts; /* delivers from the virtual-APIC page by itself */
	bool apic_registers;     /* x2APIC register reads need no exit */
	/* Instructions that need the engine's leave in a guest; without it CPUID hides them. */
	bool rdtscp, invpcid, xsaves;
	bool xsave_compacted; /* the compacted format is stored as it should be: XSAVEC may be shown */
	bool fast_strings;    /* REP MOVS and REP STOS are fast (IA32_MISC_ENABLE bit 0, SDM 4:2.1): guests are told the same */
};

struct engine {
	const char *name;
	struct engine_caps caps;

	/*
	 * Most bytes of host memory that the engine takes for a VM with @pages pages of RAM and @vcpus vcpus:
	 * control structures, state areas, second-stage tables down to 4 KiB leaves. Admission counts them.
	 */
	uint64_t (*overhead_bytes)(uint64_t pages, unsigned vcpus);

	/* Creates vm->hw and vm->stage2 before the guest map exists; frames come from vm->machine->mm. */
	enum status (*vm_create)(struct vm *vm);
	/* After the guest map is gone. All its translations are flushed on return or before the next entry. */
	void (*vm_destroy)(struct vm *vm);
	/* Creates vcpu->hw with architectural reset state (SDM vol 3 table 10-1). */
	enum status (*vcpu_create)(struct vcpu *vcpu);
	/*
	 * Registers as after INIT (the same table, its last column): what INIT keeps is kept. Nothing is staged,
	 * blocked or waited for by a window any more. The vcpu is loaded; its GPRs and its APIC are the caller's.
	 */
	void (*init)(struct vcpu *vcpu);
	void (*vcpu_destroy)(struct vcpu *vcpu);

	/* Makes the vcpu current on this CPU (and whoever was current not). Cheap when it is already. */
	void (*load)(struct vcpu *vcpu);
	/* Leaves nothing of this vcpu in the CPU. Needed before another CPU loads it and before vcpu_destroy. */
	void (*put)(struct vcpu *vcpu);

	/*
	 * Enters the loaded vcpu until an exit, or until host TSC vcpu->deadline at the latest, fills vcpu->exit
	 * and calls @exited; then enters again while that answers RESUME and vcpu->requests is 0. Returns the last
	 * answer. vcpu->entered is the host TSC of the latest entry. Deadline in the past: still enters, exits before
	 * or right after the first instruction. The host's NMI and interrupts end an entry too.
	 */
	enum disposition (*run)(struct vcpu *vcpu, enum disposition (*exited)(struct vcpu *vcpu));
	/*
	 * Completes the instruction that vcpu->exit describes (exit.length, which emulation fills in): rip, interrupt
	 * shadow, single-step trap. Returns RESUME, so that a handler may end in it.
	 */
	enum disposition (*advance)(struct vcpu *vcpu);

	/*
	 * A value to be set was checked by the caller. What follows from it is the engine's: EFER.LMA from
	 * EFER.LME and CR0.PG, the PDPTEs of PAE paging, intercepted bits, flushing. CR0 and CR4 are as the guest reads
	 * them.
	 */
	uint64_t (*get_reg)(struct vcpu *vcpu, enum engine_reg reg);
	void (*set_reg)(struct vcpu *vcpu, enum engine_reg reg, uint64_t value);
	void (*get_segment)(struct vcpu *vcpu, enum segment_reg seg, struct segment *out);
	void (*set_segment)(struct vcpu *vcpu, enum segment_reg seg, const struct segment *in);
	/* What emulation needs of an instruction's surroundings; at an exit, the part of it that tells known code. */
	void (*get_mode)(struct vcpu *vcpu, struct cpu_mode *out);
	void (*get_code)(struct vcpu *vcpu, struct code_mode *out);
	/*
	 * MSRs that the engine holds or switches (FS/GS/KERNEL_GS base, SYSENTER_*, STAR, LSTAR, CSTAR, SFMASK,
	 * TSC_AUX, EFER, PAT, SPEC_CTRL, XSS, ...). ST_NOT_FOUND: not the engine's; ST_INVALID: value refused (#GP).
	 */
	enum status (*get_msr)(struct vcpu *vcpu, uint32_t index, uint64_t *out);
	enum status (*set_msr)(struct vcpu *vcpu, uint32_t index, uint64_t value);

	/* True when an interrupt (or NMI) could be delivered at the next instruction and none is already staged. */
	bool (*can_inject)(struct vcpu *vcpu, enum event_type type);
	/*
	 * Stages one event for the next entry. At most one; exceptions win over what was staged (which is put back to
	 * pending by the caller's rules).
	 */
	void (*inject)(struct vcpu *vcpu, const struct event *event);
	/* The same for an interrupt where nothing is staged and IF is set: in a window that has opened, or after HLT. */
	void (*inject_interrupt)(struct vcpu *vcpu, uint8_t vector);
	/* Asks for EXIT_IRQ_WINDOW / EXIT_NMI_WINDOW as soon as delivery becomes possible. */
	void (*want_window)(struct vcpu *vcpu, enum event_type type, bool on);
	/*
	 * With caps.virtual_interrupts: takes the virtual-APIC page (vcpu->lapic.page) as it is now, @rvi the highest
	 * requested vector (or -1), @svi the highest in service (or -1), @eoi_exits the vectors whose EOI must exit.
	 * Without: called for @rvi alone, so that EXIT_TPR_BELOW comes when the guest lowers its task priority below
	 * the class of @rvi; -1 for never.
	 */
	void (*sync_apic)(struct vcpu *vcpu, int rvi, int svi, const uint64_t eoi_exits[4]);
	/*
	 * Without: an interrupt is pending. True when it could be injected now; else EXIT_IRQ_WINDOW is asked for, as
	 * by want_window().
	 */
	bool (*offer_interrupt)(struct vcpu *vcpu);
	/* With caps.virtual_interrupts: what sync_apic() would do if all that changed is that @vector was requested. */
	void (*post_interrupt)(struct vcpu *vcpu, uint8_t vector);
	/*
	 * With caps.virtual_interrupts, of a vcpu that has executed HLT: would the highest vector that these two told
	 * of be delivered by an entry with interrupts enabled?
	 */
	bool (*interrupt_due)(struct vcpu *vcpu);
	/* The guest changed its APIC mode: disabled, xAPIC, or x2APIC (chooses the MSR bitmap and virtualisation). */
	void (*set_apic_mode)(struct vcpu *vcpu, unsigned mode);
	/* The constant added to the host TSC for this guest. */
	void (*set_tsc_offset)(struct vcpu *vcpu, uint64_t offset);

	/*
	 * Makes a running vcpu exit soon; any CPU, any context. The caller has set the request first. Nothing to do
	 * when the vcpu is loaded on the calling CPU: its loop tests requests, masked, before it enters again.
	 */
	void (*kick)(struct vcpu *vcpu);
	/* Text for the crash report: engine state field by field, into @buf; returns the length. Any time. */
	size_t (*describe)(struct vcpu *vcpu, char *buf, size_t size);

	const struct stage2_ops *stage2;
};

#endif
