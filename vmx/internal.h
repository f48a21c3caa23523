/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the engine share: a VM's, a vcpu's and a CPU's part, and the
 * list of work that may stand between run() and the guest. Nobody outside vmx/
 * includes it.
 *
 * Three things of a vcpu may be "in" a CPU, and each has an owner in struct
 * vmx_cpu: the current VMCS, the switched MSRs with CR2 and the debug registers,
 * and the XSAVE state. load() brings all three in; an access to another vcpu's
 * fields moves only the VMCS.
 */
#ifndef CORBEL_VMX_INTERNAL_H
#define CORBEL_VMX_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/engine.h"
#include "guest/vcpu.h"
#include "guest/vm.h"
#include "lib/assert.h"
#include "memmgr/memmgr.h"
#include "vmx/check.h"
#include "vmx/ctrl.h"
#include "vmx/ept.h"
#include "vmx/fpu.h"
#include "vmx/mitigations.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

/* Keeps what is rare out of the short ways of entry and exit, so that those are leaves without a frame. */
#define RARE __attribute__((cold, noinline))

/* Work before the next entry. While any bit is set, run() takes the long way. */
#define WORK_LAUNCH BIT(0)      /* the VMCS is clear: VMLAUNCH, not VMRESUME */
#define WORK_FLUSH_EPT BIT(1)   /* the stage-2 generation rose, or another CPU */
#define WORK_FLUSH_VPID BIT(2)  /* guest-linear translations of this VPID are stale */
#define WORK_RVI BIT(3)         /* a virtual interrupt may be waiting (held_interrupt_quirk) */
#define WORK_ARM_TIMER BIT(4)   /* always, without a preemption timer */
#define WORK_GUARD BIT(5)       /* while there are mitigations at entry or exit */
#define WORK_CHECK BIT(6)       /* always, in CORBEL_DEBUG builds */
#define WORK_TPR BIT(7)         /* the guest's task priority is watched (without virtual interrupts) */

/* MSRs that no VMCS field switches and that stay the guest's while it is loaded. */
enum switched_msr { SW_STAR, SW_LSTAR, SW_CSTAR, SW_FMASK, SW_KERNEL_GS_BASE, SW_TSC_AUX, SW_COUNT };

struct vmx_vm {
	struct stage2 stage2;   /* vm->stage2 points here */
	struct ept_frames frames;
	struct vmx_vcpu *vcpus; /* list through next_sibling: they must flush when the stage-2 generation rises. Grows
				 * before the guest runs, shrinks when it runs no more */
	hfn_t frame;            /* this struct's own */
	struct check_stage2 check;
};

/*
 * HOST_RSP points at @vcpu: right after an exit entry.S pushes one register below
 * it and finds the vcpu and the host's stack above. Offsets are in vmx/asm.h.
 */
struct vmx_vcpu {
	uint64_t exit_stack[4];
	struct vcpu *vcpu;
	uint64_t host_rsp;      /* of run()'s caller, while in the guest */

	uint32_t guard;         /* GUARD_* of vmx/asm.h: what entry.S does against side channels */
	uint32_t work;          /* WORK_*: change it by add_work() */
	uint32_t timer_shift;
	struct spec_ctrl spec_ctrl; /* the guest's; entry.S stores its value */
	uint64_t timer_limit;   /* the longest entry that the preemption timer can bound, TSC ticks */
	uint64_t short_limit;   /* the same, or 0 while there is work: one comparison decides run()'s way */

	enum disposition (*exited)(struct vcpu *vcpu); /* whom run() calls at an exit */
	struct vmx_vm *vmx_vm;
	struct vmx_vcpu *next_sibling;
	uint64_t vmcs;          /* host-physical */
	hfn_t frame;            /* this struct's own */
	hfn_t xsave_frame;
	void *xsave;            /* XSAVE area while the state is not in the CPU */
	int cpu;                /* where the VMCS is active, -1: nowhere (clear); others read it, __atomic */
	int host_of;            /* the CPU whose state is in the host fields, where it ran last; -1: none */
	uint16_t vpid;
	uint32_t proc;          /* primary controls as in the VMCS */
	uint32_t proc2;
	bool window_wanted;     /* interrupt window asked for by guest/ */
	bool window_quirk;      /* and by the quirk */
	bool nmi_free;          /* no NMI injected since NMIs were last known to be unblocked: see event_note_nmi() */
	uint8_t tpr_watch;      /* priority class below which the guest must exit, 0: none */
	uint8_t eoi_watched;    /* vector whose end exits because of the quirk; 0: none */
	uint64_t eoi_exits[4];  /* as in the VMCS */
	uint64_t apic_page;     /* host-physical, as in the VMCS; 0: not set yet */

	/* Valid while the vcpu is not loaded. */
	uint64_t msr[SW_COUNT];
	uint64_t dr[4], dr6, cr2;
	uint64_t xcr0;          /* always valid */

	struct check_vmcs check;
	uint32_t failed_instruction; /* VM-instruction error of a failed entry, 0: none */
};

/* One physical CPU: who is in it, and the host state that exits restore. */
struct vmx_cpu {
	bool on;
	int index;
	struct vmx_vcpu *vmcs, *loaded;
	struct vmx_vcpu *fpu;   /* NULL: a host task's or nobody's */
	struct vmx_vm *last_vm; /* for IBPB between VMs */
	uint64_t cr0, cr3, cr4, efer, pat;
	uint64_t fs_base, gs_base, tr_base, gdt_base, idt_base;
	uint16_t cs, ss, ds, es, fs, gs, tr;
	struct vmcs_image image; /* for reports: too large for some stacks */
	struct check_cpu check;
	struct check_host check_host;
};

/* Which MSR bitmap a vcpu has: bits. */
#define MSR_BITMAP_X2APIC BIT(0)    /* in x2APIC mode with virtual interrupts */
#define MSR_BITMAP_SPEC_CTRL BIT(1) /* has IA32_SPEC_CTRL */
#define MSR_BITMAPS 4u

/* What all CPUs share. */
struct vmx {
	const struct vmx_host *host;
	struct vmx_caps caps;
	struct vmx_controls controls;
	struct fpu_features fpu;
	struct mitigations mitigations;
	bool ready;
	bool rdtscp;            /* IA32_TSC_AUX exists */
	uint64_t io_bitmap_a, io_bitmap_b;
	uint64_t msr_bitmaps[MSR_BITMAPS]; /* host-physical, by MSR_BITMAP_* */
	uint64_t vpids[1024];          /* in use, bit per VPID */
	struct vmx_cpu *cpus[VMX_CPUS_MAX]; /* each in a frame of its own; NULL: not in use */
};
extern struct vmx vmx;

static inline struct vmx_cpu *this_cpu(void) { return vmx.cpus[vmx.host->this_cpu()]; }
static inline struct vmx_vcpu *hw_of(const struct vcpu *vcpu) { return vcpu->hw; }

static inline void add_work(struct vmx_vcpu *hw, uint32_t work)
{
	hw->work |= work;
	hw->short_limit = 0;
}

static inline void drop_work(struct vmx_vcpu *hw, uint32_t work)
{
	hw->work &= ~work;
	hw->short_limit = hw->work ? 0 : hw->timer_limit;
}

/* A cleared frame of the host's; ST_NO_MEMORY. */
MUST_CHECK enum status vmx_frame_alloc(hfn_t *out, void **va);
void vmx_frame_free(hfn_t frame);

/* cpu.c */
void vmx_write_host_state(const struct vmx_cpu *cpu, struct vmx_vcpu *hw);

/* guest_bits.c: bits of CR4 that this guest may change without an exit. */
uint64_t guest_owned_cr4(const struct vm *vm);

/* msr_bitmap.c: @kind: MSR_BITMAP_* */
void msr_bitmap_build(void *bitmap, unsigned kind);
/* The one that fits the vcpu's state. VMCS current. */
void msr_bitmap_choose(struct vmx_vcpu *hw);

/* vmcs.c: makes the VMCS of @hw current on this CPU. */
void vmcs_make_current(struct vmx_vcpu *hw);
/* VMCLEAR: the VMCS may then go to another CPU or away. */
void vmcs_clear(struct vmx_vcpu *hw);
/* Writes each row to the current VMCS; a field that the processor refuses is our bug or a lie of its capabilities:
 * panic. */
void vmcs_write_table(const struct vmcs_setting *table, unsigned count);
void vmcs_capture(struct vmcs_image *image);

/* setup.c: all fields of a new VMCS, with the architectural reset state of the guest. */
void vmcs_set_up(struct vmx_vcpu *hw);
/* What INIT makes of it. */
void vmx_init_state(struct vcpu *vcpu);

/* run.c and entry.S */
enum disposition vmx_run(struct vcpu *vcpu, enum disposition (*exited)(struct vcpu *vcpu));
enum disposition vmx_advance(struct vcpu *vcpu);
enum disposition vmx_loop(struct vcpu *vcpu, struct vmx_vcpu *hw);
unsigned vmx_enter_long(struct vcpu *vcpu);
void vmx_exit_entry(void);
void vmx_exit_entry_guarded(void);
/* The host's IA32_SPEC_CTRL, for entry.S. */
extern uint32_t vmx_host_spec_ctrl;
enum disposition vmx_exited(struct vcpu *vcpu);
enum disposition vmx_entry_refused(struct vcpu *vcpu);

/* audit.c: CORBEL_DEBUG builds compare what is with what check.c demands. */
void audit_record_host(struct vmx_cpu *cpu);
void audit_entry(struct vmx_vcpu *hw, bool launch);
void audit_exit(void);

/* event.c */
bool vmx_can_inject(struct vcpu *vcpu, enum event_type type);
void vmx_inject(struct vcpu *vcpu, const struct event *event);
void vmx_inject_interrupt(struct vcpu *vcpu, uint8_t vector);
void vmx_want_window(struct vcpu *vcpu, enum event_type type, bool on);
void vmx_post_interrupt(struct vcpu *vcpu, uint8_t vector);
bool vmx_interrupt_due(struct vcpu *vcpu);
bool vmx_offer_interrupt(struct vcpu *vcpu);
void vmx_sync_apic(struct vcpu *vcpu, int rvi, int svi, const uint64_t eoi_exits[4]);
void vmx_set_apic_mode(struct vcpu *vcpu, unsigned mode);
/* After an exit that interrupted the delivery of an event: stage it again. */
void event_restage(uint32_t idt_info, uint32_t idt_error);
/* An exit took back the unblocking of NMIs by IRET (27.2.3). */
void event_block_nmi(struct vmx_vcpu *hw);
void event_note_nmi(struct vmx_vcpu *hw);
/* Before entry with WORK_RVI: opens or closes the window that the quirk needs. */
void event_hold_virtual_interrupt(struct vmx_vcpu *hw);
/* take_back.c: after an exit that may have come with a virtual interrupt that should have been held. */
void event_take_back(struct vmx_vcpu *hw);
/* The same for one whose delivery this exit cut short; false: it is not one of those. */
bool event_take_back_cut_short(struct vmx_vcpu *hw, uint32_t idt_info);
/* Before entry with WORK_TPR: the threshold, which must not lie above the task priority (26.2.1.1). */
void event_watch_tpr(struct vmx_vcpu *hw);
/* The instruction at exit.rip was completed by us: its STI or MOV SS shadow is over. */
void event_settle_shadow(const struct vcpu *vcpu);

/* state.c */
uint64_t vmx_get_reg(struct vcpu *vcpu, enum engine_reg reg);
void vmx_set_reg(struct vcpu *vcpu, enum engine_reg reg, uint64_t value);
void vmx_get_segment(struct vcpu *vcpu, enum segment_reg seg, struct segment *out);
void vmx_get_mode(struct vcpu *vcpu, struct cpu_mode *out);
void vmx_get_code(struct vcpu *vcpu, struct code_mode *out);
void vmx_set_segment(struct vcpu *vcpu, enum segment_reg seg, const struct segment *in);
enum status vmx_get_msr(struct vcpu *vcpu, uint32_t index, uint64_t *out);
enum status vmx_set_msr(struct vcpu *vcpu, uint32_t index, uint64_t value);
/* Moves the switched MSRs and CR2 into or out of the CPU. */
void state_load(struct vmx_vcpu *hw);
void state_save(struct vmx_vcpu *hw);

/* guard.c: the mitigations at work. */
void guard_init_cpu(void);
/* Chooses the guarded or the plain switch; after a change of the guest's IA32_SPEC_CTRL or of the CPU. VMCS current. */
void guard_update(struct vmx_vcpu *hw);
/* The last steps before entry that need no assembler, with WORK_GUARD. */
void guard_before_entry(const struct vmx_vcpu *hw);
/* The entry failed after that. */
void guard_entry_refused(const struct vmx_vcpu *hw);
/* @cpu goes from one VM to another. */
void guard_switch_vm(struct vmx_cpu *cpu, struct vmx_vm *next);

/* debugreg.c */
void debugreg_reset(struct vmx_vcpu *hw);
void debugreg_load(const struct vmx_vcpu *hw);
void debugreg_save(struct vmx_vcpu *hw);
/* A #DB was intercepted: what the processor would have put into DR6 and DR7 (27.1). */
void debugreg_note_exception(uint64_t qualification);

/* fpu.c */
MUST_CHECK enum status fpu_init_cpu(struct error *err);
void fpu_reset(struct vmx_vcpu *hw);
/* The XSAVE state of @hw into the CPU, or out of it. */
void fpu_load(struct vmx_cpu *cpu, struct vmx_vcpu *hw);
void fpu_save(struct vmx_cpu *cpu);

#endif
