/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulator delivers a virtual interrupt to code with IF clear when a physical
 * one arrives, which then exits at the handler's first instruction. Those that we
 * know of are held back by a window (event.c); but a guest that sends itself an
 * IPI, or lowers its priority, with IF clear does so without an exit. Here their
 * delivery is taken back: frame off the stack, vector requested again.
 *
 * It is told from any other by what no processor does: the frame at the stack's
 * top has IF clear, while the instruction pointer is at the handler of the vector
 * in service. Done for 64-bit code at one privilege level, where no segment
 * register has changed; a kernel with interrupts off is nothing else.
 */
#include "guest/gwalk.h"
#include "lib/x86_regs.h"
#include "vmx/internal.h"
#include "vmx/vmx_asm.h"

enum { FRAME_RIP, FRAME_CS, FRAME_RFLAGS, FRAME_RSP, FRAME_SS, FRAME_WORDS };

#define FRAME_MISALIGNED 8u /* five words below a multiple of 16 (SDM volume 3, 6.14.2) */
#define GATE_BYTES 16u

/* Eight bytes of the guest's at @linear, a multiple of 8. */
static bool read_word(struct vcpu *vcpu, const struct cpu_mode *mode, uint64_t linear, uint64_t *out)
{
	const uint8_t *at;
	uint32_t error;
	gpa_t gpa;

	if (linear % sizeof *out || !gwalk_canonical(linear) ||
	    gwalk_translate(vcpu, mode, gva(linear), S2_READ, NULL, &gpa, &error) != ST_OK)
		return false;
	at = gwalk_memory(vcpu, gpa.v);
	if (at)
		*out = get_le64(at);
	return at != NULL;
}

/* Does the gate of @vector lead to @rip? */
static bool is_handler(struct vcpu *vcpu, const struct cpu_mode *mode, unsigned vector, uint64_t rip)
{
	uint64_t gate = vmcs_readn(VMCS_GUEST_IDTR_BASE) + vector * GATE_BYTES, low, high;

	if (!read_word(vcpu, mode, gate, &low) || !read_word(vcpu, mode, gate + sizeof low, &high))
		return false;
	return (FIELD(low, 15, 0) | FIELD(low, 63, 48) << 16 | high << 32) == rip;
}

static bool read_frame(struct vcpu *vcpu, const struct cpu_mode *mode, uint64_t frame[FRAME_WORDS])
{
	uint64_t rsp = vmcs_readn(VMCS_GUEST_RSP);

	if (rsp % 16 != FRAME_MISALIGNED)
		return false;
	for (unsigned i = 0; i < FRAME_WORDS; i++)
		if (!read_word(vcpu, mode, rsp + i * sizeof *frame, &frame[i]))
			return false;
	return true;
}

static bool has_quirk(void) { return vmx.host->held_interrupt_quirk && vmx.controls.virtual_interrupts; }

static bool request_again(struct vmx_vcpu *hw, unsigned vector)
{
	struct vlapic *l = &hw->vcpu->lapic;
	int svi;

	if (!vlapic_unaccept(l, (uint8_t)vector))
		return false;
	svi = vlapic_highest_isr(l);
	vmcs_write16(VMCS_GUEST_INTERRUPT_STATUS,
		     (uint16_t)((unsigned)MAX(svi, 0) << STATUS_SVI_SHIFT | (unsigned)vlapic_highest_irr(l)));
	add_work(hw, WORK_RVI);
	return true;
}

RARE static void take_back(struct vmx_vcpu *hw, unsigned vector)
{
	struct vcpu *vcpu = hw->vcpu;
	uint64_t frame[FRAME_WORDS];
	struct cpu_mode mode;

	vmx_get_mode(vcpu, &mode);
	if (!read_frame(vcpu, &mode, frame) || (frame[FRAME_RFLAGS] & RFLAGS_IF) ||
	    frame[FRAME_CS] != vmcs_read16(VMCS_GUEST_CS_SELECTOR) ||
	    !is_handler(vcpu, &mode, vector, vcpu->exit.rip) || !request_again(hw, vector))
		return;
	vmcs_writen(VMCS_GUEST_RIP, frame[FRAME_RIP]);
	vmcs_writen(VMCS_GUEST_RSP, frame[FRAME_RSP]);
	vmcs_writen(VMCS_GUEST_RFLAGS, frame[FRAME_RFLAGS]);
	vcpu->exit.rip = frame[FRAME_RIP];
}

/* An exit has cut its delivery short: nothing of the guest has changed but its APIC. */
bool event_take_back_cut_short(struct vmx_vcpu *hw, uint32_t idt_info)
{
	if (!has_quirk() || (idt_info & INTR_TYPE_MASK) != INTR_EXTERNAL ||
	    (vmcs_readn(VMCS_GUEST_RFLAGS) & RFLAGS_IF))
		return false;
	return request_again(hw, idt_info & INTR_VECTOR_MASK);
}

void event_take_back(struct vmx_vcpu *hw)
{
	uint16_t status;

	if (!has_quirk())
		return;
	status = vmcs_read16(VMCS_GUEST_INTERRUPT_STATUS);
	/* What waits without our knowing. */
	if (STATUS_RVI(status))
		add_work(hw, WORK_RVI);
	if (status >> STATUS_SVI_SHIFT && !(vmcs_readn(VMCS_GUEST_RFLAGS) & RFLAGS_IF) &&
	    (vmcs_read32(VMCS_GUEST_CS_ACCESS) & ACCESS_L) && hw->vcpu->vm->memory) /* self-tests have none */
		take_back(hw, status >> STATUS_SVI_SHIFT);
}
