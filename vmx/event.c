/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events into the guest: staging for the next entry, windows, interruptibility,
 * and events whose delivery an exit cut short (SDM volume 3, sections 24.4.2,
 * 24.8.3, 26.3.1.5, 27.2.4, 29.2).
 *
 * advance() does not clear the shadow of STI and MOV SS, which would cost every
 * exit a VMREAD. The shadow left in the VMCS is over exactly when rip is no longer
 * the rip of the exit, and whoever depends on it settles it first; left alone it
 * delays nothing but what is settled here.
 */
#include "lib/x86_regs.h"
#include "vmx/internal.h"
#include "vmx/vmx_asm.h"

#define SHADOW (BLOCKING_STI | BLOCKING_MOV_SS)

void event_settle_shadow(const struct vcpu *vcpu)
{
	uint32_t blocking = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);

	if ((blocking & SHADOW) && vmcs_readn(VMCS_GUEST_RIP) != vcpu->exit.rip)
		vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, blocking & ~(uint32_t)SHADOW);
}

/* An exit clears the bit (24.8.3). */
static bool is_staged(void) { return vmcs_read32(VMCS_ENTRY_INTR_INFO) & INTR_VALID; }

/*
 * When a vcpu takes the CPU over from another. An entry loads the blocking of NMIs from the VMCS (26.6.1), but the
 * emulator only sets its mask there and never clears it: a vcpu preempted in its NMI handler leaves NMIs blocked for
 * those that run next, which never execute the IRET that would end it. Only an NMI that we injected can block, so
 * blocking that shows without one is not the guest's. On silicon it never shows.
 */
void event_note_nmi(struct vmx_vcpu *hw)
{
	if (!(vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKING_NMI))
		hw->nmi_free = true;
}

/* Blocking that is not the guest's would have the entry refused, too. */
static uint32_t without_stale_nmi(const struct vmx_vcpu *hw, uint32_t blocking)
{
	if (!(blocking & BLOCKING_NMI) || !hw->nmi_free)
		return blocking;
	blocking &= ~(uint32_t)BLOCKING_NMI;
	vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, blocking);
	return blocking;
}

bool vmx_can_inject(struct vcpu *vcpu, enum event_type type)
{
	uint32_t blocking;

	if (is_staged())
		return false;
	if (type == EVENT_EXCEPTION)
		return true;
	if (type == EVENT_INTERRUPT && !(vmcs_readn(VMCS_GUEST_RFLAGS) & RFLAGS_IF))
		return false;
	event_settle_shadow(vcpu);
	blocking = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);
	if (type == EVENT_NMI && (without_stale_nmi(hw_of(vcpu), blocking) & BLOCKING_NMI))
		return false;
	return !(blocking & SHADOW);
}

void vmx_inject(struct vcpu *vcpu, const struct event *event)
{
	static const uint32_t types[] = {
		[EVENT_INTERRUPT] = INTR_EXTERNAL, [EVENT_NMI] = INTR_NMI, [EVENT_EXCEPTION] = INTR_HARD_EXCEPTION,
	};
	uint32_t info = event->vector | types[event->type] | (uint32_t)INTR_VALID;

	event_settle_shadow(vcpu);
	/* Real mode pushes no error code, and an entry that asks for one is refused (26.2.1.3). */
	if (event->has_error && (vmcs_readn(VMCS_GUEST_CR0) & CR0_PE)) {
		info |= INTR_ERROR_CODE;
		vmcs_write32(VMCS_ENTRY_EXCEPTION_ERROR, event->error);
	}
	vmcs_write32(VMCS_ENTRY_INTR_INFO, info);
	if (event->type == EVENT_NMI)
		hw_of(vcpu)->nmi_free = false;
}

void vmx_inject_interrupt(struct vcpu *vcpu, uint8_t vector)
{
	event_settle_shadow(vcpu);
	vmcs_write32(VMCS_ENTRY_INTR_INFO, vector | (uint32_t)INTR_EXTERNAL | (uint32_t)INTR_VALID);
}

void event_restage(uint32_t idt_info, uint32_t idt_error)
{
	uint32_t type = idt_info & INTR_TYPE_MASK;

	if (idt_info & INTR_ERROR_CODE)
		vmcs_write32(VMCS_ENTRY_EXCEPTION_ERROR, idt_error);
	if (type == INTR_SOFT_INTERRUPT || type == INTR_PRIVILEGED_SOFT || type == INTR_SOFT_EXCEPTION)
		vmcs_write32(VMCS_ENTRY_INSTRUCTION_LENGTH, vmcs_read32(VMCS_EXIT_INSTRUCTION_LENGTH));
	/* The cut-short delivery had begun to block NMIs; an entry that injects one wants them unblocked. */
	if (type == INTR_NMI)
		vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY,
			     vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & ~(uint32_t)BLOCKING_NMI);
	/* Bit 12 is undefined here and reserved there. */
	vmcs_write32(VMCS_ENTRY_INTR_INFO, idt_info & ~(uint32_t)INTR_RESERVED);
}

void event_block_nmi(struct vmx_vcpu *hw)
{
	hw->nmi_free = false;
	vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY,
		     vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) | (uint32_t)BLOCKING_NMI);
}

static void update_proc(struct vmx_vcpu *hw, uint32_t bit, bool on)
{
	uint32_t proc = on ? hw->proc | bit : hw->proc & ~bit;

	if (proc == hw->proc)
		return;
	hw->proc = proc;
	vmcs_write32(VMCS_PROCBASED_CTLS, proc);
}

/* Above the processor priority: only IF, a shadow or a staged event can stand in its way. */
static bool outranks(const struct vmx_vcpu *hw)
{
	unsigned rvi = STATUS_RVI(vmcs_read16(VMCS_GUEST_INTERRUPT_STATUS));

	return rvi >> 4 > hw->vcpu->lapic.page[APIC_REG_PPR] >> 4;
}

/* The processor has kept the priority in the page since the entry before the HLT (29.1.3). */
bool vmx_interrupt_due(struct vcpu *vcpu) { return outranks(hw_of(vcpu)); }

/*
 * The window of event_hold_virtual_interrupt() closes. If it opened, IF is set and nothing shadows: what was held
 * back is delivered by the next entry, and needs no holding any more unless something is staged before it, which
 * comes with another vmx_sync_apic(), or another waits behind it.
 */
static void end_hold(struct vmx_vcpu *hw)
{
	unsigned rvi = STATUS_RVI(vmcs_read16(VMCS_GUEST_INTERRUPT_STATUS));

	hw->window_quirk = false;
	if (hw->vcpu->exit.kind == EXIT_IRQ_WINDOW && !is_staged() && outranks(hw) && !vlapic_others_wait(&hw->vcpu->lapic, rvi))
		drop_work(hw, WORK_RVI);
}

void vmx_want_window(struct vcpu *vcpu, enum event_type type, bool on)
{
	struct vmx_vcpu *hw = hw_of(vcpu);

	if (type == EVENT_NMI) {
		update_proc(hw, PROC_NMI_WINDOW, on);
		return;
	}
	hw->window_wanted = on;
	if (!on && hw->window_quirk)
		end_hold(hw);
	if (on)
		event_settle_shadow(vcpu);
	update_proc(hw, PROC_INTERRUPT_WINDOW, on);
}

/* With IF clear it is IF alone that matters: what else may stand in the way has gone by the time it is set, or is new. */
bool vmx_offer_interrupt(struct vcpu *vcpu)
{
	struct vmx_vcpu *hw = hw_of(vcpu);

	if (likely(!(vmcs_readn(VMCS_GUEST_RFLAGS) & RFLAGS_IF))) {
		hw->window_wanted = true;
		update_proc(hw, PROC_INTERRUPT_WINDOW, true);
		return false;
	}
	if (vmx_can_inject(vcpu, EVENT_INTERRUPT))
		return true;
	vmx_want_window(vcpu, EVENT_INTERRUPT, true);
	return false;
}

/* ---- virtual interrupts that wait ---- */

static void set_eoi_exit(struct vmx_vcpu *hw, unsigned vector, bool on)
{
	unsigned i = vector / 64;

	hw->eoi_exits[i] = (hw->eoi_exits[i] & ~BIT(vector % 64)) | (on ? BIT(vector % 64) : 0);
	vmwrite(VMCS_EOI_EXIT_BITMAP_0 + 2 * i, hw->eoi_exits[i]);
}

/* The end of @vector exits, and that of the one before no longer, unless they do anyway. 0: none. */
RARE static void watch_another_eoi(struct vmx_vcpu *hw, unsigned vector)
{
	if (hw->eoi_watched)
		set_eoi_exit(hw, hw->eoi_watched, false);
	hw->eoi_watched = 0;
	if (!vector || (hw->eoi_exits[vector / 64] & BIT(vector % 64)))
		return;
	hw->eoi_watched = (uint8_t)vector;
	set_eoi_exit(hw, vector, true);
}

static inline void watch_eoi(struct vmx_vcpu *hw, unsigned vector)
{
	if (unlikely(vector != hw->eoi_watched))
		watch_another_eoi(hw, vector);
}

/* As the processor would deliver it, but by the entry's injection, which an interrupt window does not suppress. */
RARE static void inject_virtual(struct vmx_vcpu *hw, unsigned vector)
{
	struct vlapic *l = &hw->vcpu->lapic;

	vlapic_accept(l, (uint8_t)vector);
	vmcs_write16(VMCS_GUEST_INTERRUPT_STATUS,
		     (uint16_t)(vector << STATUS_SVI_SHIFT | (unsigned)vlapic_highest_irr(l)));
	vmx_inject_interrupt(hw->vcpu, (uint8_t)vector);
}

/*
 * True: a window holds @rvi back. If it can be delivered at once, the processor does so as the guest is entered, and
 * none is needed; but others behind it would then wait for the end of a handler that runs with interrupts off. If it
 * waits for the end of one in service, interrupts being on, it is looked at again when that ends.
 */
static bool needs_window(struct vmx_vcpu *hw, unsigned rvi, unsigned svi)
{
	const struct vlapic *l = &hw->vcpu->lapic;
	bool open = (vmcs_readn(VMCS_GUEST_RFLAGS) & RFLAGS_IF) &&
		    !(vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & SHADOW) && !is_staged();
	bool first = rvi >> 4 > l->page[APIC_REG_PPR] >> 4;

	watch_eoi(hw, open && !first && svi >> 4 >= rvi >> 4 ? svi : 0);
	if (!open)
		return true;
	if (!first || !vlapic_others_wait(l, (uint8_t)rvi))
		return false;
	inject_virtual(hw, rvi);
	return true;
}

/*
 * A virtual interrupt waits in a guest that is about to run. The emulator would
 * deliver it in spite of IF being clear as soon as a physical interrupt arrives, so
 * an interrupt window holds it back: with that control set nothing is delivered
 * virtually, and the exit comes when the guest sets IF.
 */
void event_hold_virtual_interrupt(struct vmx_vcpu *hw)
{
	uint16_t status = vmcs_read16(VMCS_GUEST_INTERRUPT_STATUS);
	unsigned rvi = STATUS_RVI(status);

	hw->window_quirk = false;
	if (!rvi) {
		watch_eoi(hw, 0);
		drop_work(hw, WORK_RVI);
	} else {
		event_settle_shadow(hw->vcpu);
		if (vmx.host->held_interrupt_quirk)
			hw->window_quirk = needs_window(hw, rvi, status >> STATUS_SVI_SHIFT);
	}
	update_proc(hw, PROC_INTERRUPT_WINDOW, hw->window_wanted || hw->window_quirk);
}

static void write_eoi_exits(struct vmx_vcpu *hw, const uint64_t eoi_exits[4])
{
	hw->eoi_watched = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(hw->eoi_exits); i++) {
		if (hw->eoi_exits[i] == eoi_exits[i])
			continue;
		hw->eoi_exits[i] = eoi_exits[i];
		vmwrite(VMCS_EOI_EXIT_BITMAP_0 + 2 * i, eoi_exits[i]);
	}
}

/*
 * The guest lowers its priority in the TPR shadow, and below the threshold it exits
 * (29.1.2). Once the priority is below the watched class only IF can hold the
 * interrupt, which is a window's business.
 */
void event_watch_tpr(struct vmx_vcpu *hw)
{
	uint8_t priority = hw->vcpu->lapic.page[APIC_REG_TPR] >> 4;

	vmcs_write32(VMCS_TPR_THRESHOLD, MIN(hw->tpr_watch, priority));
	if (!hw->tpr_watch)
		drop_work(hw, WORK_TPR);
}

void vmx_sync_apic(struct vcpu *vcpu, int rvi, int svi, const uint64_t eoi_exits[4])
{
	struct vmx_vcpu *hw = hw_of(vcpu);
	uint16_t status = (uint16_t)((svi > 0 ? svi << STATUS_SVI_SHIFT : 0) | (rvi > 0 ? rvi : 0));

	if (!vmx.controls.virtual_interrupts) {
		hw->tpr_watch = rvi > 0 ? (uint8_t)(rvi >> 4) : 0;
		add_work(hw, WORK_TPR);
		return;
	}
	vmcs_write16(VMCS_GUEST_INTERRUPT_STATUS, status);
	write_eoi_exits(hw, eoi_exits);
	if (rvi > 0)
		add_work(hw, WORK_RVI);
}

void vmx_post_interrupt(struct vcpu *vcpu, uint8_t vector)
{
	uint16_t status = vmcs_read16(VMCS_GUEST_INTERRUPT_STATUS);

	if (vector > STATUS_RVI(status))
		vmcs_write16(VMCS_GUEST_INTERRUPT_STATUS, (uint16_t)(status - STATUS_RVI(status) + vector));
	add_work(hw_of(vcpu), WORK_RVI);
}

void vmx_set_apic_mode(struct vcpu *vcpu, unsigned mode)
{
	struct vmx_vcpu *hw = hw_of(vcpu);
	bool x2apic = mode == VLAPIC_X2APIC && vmx.controls.virtual_interrupts;

	vmcs_make_current(hw);
	hw->proc2 = x2apic ? hw->proc2 | (uint32_t)PROC2_X2APIC : hw->proc2 & ~(uint32_t)PROC2_X2APIC;
	vmcs_write32(VMCS_PROCBASED_CTLS2, hw->proc2);
	msr_bitmap_choose(hw);
}
