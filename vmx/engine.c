/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine as guest/ sees it: creation and destruction of a VM's and a vcpu's
 * parts, loading and putting, and the table of functions.
 */
#include "lib/x86_asm.h"
#include "memmgr/memmgr.h"
#include "vmx/dump.h"
#include "vmx/internal.h"
#include "vmx/vmx_asm.h"

_Static_assert(sizeof(struct vmx_cpu) <= PAGE_SIZE, "one frame each");
_Static_assert(sizeof(struct vmx_vm) <= PAGE_SIZE, "one frame each");
_Static_assert(sizeof(struct vmx_vcpu) <= PAGE_SIZE, "one frame each");

#define VM_FRAMES 2u   /* struct vmx_vm, EPT root */
#define VCPU_FRAMES 3u /* struct vmx_vcpu, VMCS, XSAVE area */

uint64_t vmx_vm_bytes(void) { return VM_FRAMES * PAGE_SIZE; }
uint64_t vmx_vcpu_bytes(void) { return VCPU_FRAMES * PAGE_SIZE; }

enum status vmx_frame_alloc(hfn_t *out, void **va)
{
	hfn_t frame;
	enum status st = memmgr_alloc_zero(vmx.host->mm, ORDER_4K, &frame);

	if (st != ST_OK)
		return st;
	*va = memmgr_va(vmx.host->mm, frame);
	*out = frame;
	return ST_OK;
}

void vmx_frame_free(hfn_t frame) { memmgr_free(vmx.host->mm, frame, ORDER_4K); }

/* ---- stage 2 ---- */

static bool table_alloc(void *ctx, hfn_t *out)
{
	(void)ctx;
	return memmgr_alloc(vmx.host->mm, ORDER_4K, out) == ST_OK;
}

static void table_free(void *ctx, hfn_t frame)
{
	(void)ctx;
	vmx_frame_free(frame);
}

static void *table_va(void *ctx, hfn_t frame)
{
	(void)ctx;
	return memmgr_va(vmx.host->mm, frame);
}

static void invalidate(struct stage2 *s2)
{
	struct vmx_vm *vmx_vm = s2->owner;

	if (!invept(INVEPT_SINGLE, ept_pointer(s2)))
		panic("INVEPT of 0x%lx failed", ept_pointer(s2));
	CHECK_NOTE(check_invept(&vmx_vm->check, (int)vmx.host->this_cpu()));
}

/*
 * A vcpu that runs comes out, and flushes before it enters again; a CPU that idles with one loaded flushes when it
 * polls for leaving frames. The request comes first: the interrupt may be handled at once.
 */
static void raised(struct stage2 *s2)
{
	struct vmx_vm *vmx_vm = s2->owner;
	unsigned self = vmx.host->this_cpu();

	CHECK_NOTE(check_lowered(&vmx_vm->check));
	for (struct vmx_vcpu *hw = vmx_vm->vcpus; hw; hw = hw->next_sibling)
		__atomic_fetch_or(&hw->vcpu->requests, REQ_FLUSH, __ATOMIC_SEQ_CST);
	for (unsigned cpu = cpuset_next(&s2->active, 0); cpu < CPUSET_MAX; cpu = cpuset_next(&s2->active, cpu + 1))
		if (cpu != self && ept_awaits(s2, cpu, __atomic_load_n(&s2->generation, __ATOMIC_RELAXED)))
			vmx.host->kick_cpu(cpu);
}

static enum status create_vm(struct vm *vm)
{
	struct vmx_vm *vmx_vm;
	hfn_t frame;
	enum status st = vmx_frame_alloc(&frame, (void **)&vmx_vm);

	if (st != ST_OK)
		return st;
	vmx_vm->frame = frame;
	vmx_vm->frames = (struct ept_frames){.alloc = table_alloc, .free = table_free, .va = table_va};
	vmx_vm->stage2 = (struct stage2){
		.invalidate = invalidate,
		.this_cpu = vmx.host->this_cpu,
		.raised = raised,
		.owner = vmx_vm,
		.use_1g = vmx.controls.ept_1g,
		.use_accessed_dirty = vmx.controls.ept_accessed_dirty,
	};
	st = ept_init(&vmx_vm->stage2, &vmx_vm->frames);
	if (st != ST_OK) {
		vmx_frame_free(frame);
		return st;
	}
	CHECK_NOTE(check_lowered(&vmx_vm->check));
	vm->hw = vmx_vm;
	vm->stage2 = &vmx_vm->stage2;
	return ST_OK;
}

static void destroy_vm(struct vm *vm)
{
	struct vmx_vm *vmx_vm = vm->hw;

	ASSERT(!vmx_vm->vcpus);
	for (unsigned i = 0; i < VMX_CPUS_MAX; i++)
		if (vmx.cpus[i] && vmx.cpus[i]->last_vm == vmx_vm)
			vmx.cpus[i]->last_vm = NULL;
	/* The root's frame will be another guest's root one day: nothing may be cached under it. */
	invalidate(&vmx_vm->stage2);
	ept_destroy(&vmx_vm->stage2);
	vm->hw = NULL;
	vm->stage2 = NULL;
	vmx_frame_free(vmx_vm->frame);
}

/* ---- vcpus ---- */

static bool vpid_alloc(uint16_t *out)
{
	for (unsigned i = 0; i < ARRAY_SIZE(vmx.vpids); i++) {
		uint64_t free = ~vmx.vpids[i];

		if (!free)
			continue;
		vmx.vpids[i] |= free & -free;
		*out = (uint16_t)(i * 64 + bit_lowest(free));
		return true;
	}
	return false;
}

static void vpid_free(uint16_t vpid) { vmx.vpids[vpid / 64] &= ~BIT(vpid % 64); }

/* The virtual-APIC page is the local APIC's own register page. */
static void set_apic_page(struct vmx_vcpu *hw)
{
	uint64_t page = hfn_to_hpa(memmgr_hfn(vmx.host->mm, hw->vcpu->lapic.page)).v;

	if (page == hw->apic_page)
		return;
	hw->apic_page = page;
	vmcs_write64(VMCS_VIRTUAL_APIC_ADDR, page);
}

static void init_vcpu(struct vmx_vcpu *hw, struct vcpu *vcpu)
{
	const struct vmx_controls *c = &vmx.controls;

	hw->vcpu = vcpu;
	hw->vmx_vm = vcpu->vm->hw;
	hw->cpu = hw->host_of = -1;
	check_vmcs_init(&hw->check);
	CHECK(check_region(hw->vmcs, get_le32(memmgr_va(vmx.host->mm, hpa_to_hfn(hpa(hw->vmcs)))), vmx.caps.basic,
			   vmx.caps.phys_bits));
	hw->timer_shift = c->timer_shift;
	hw->timer_limit = (uint64_t)UINT32_MAX << c->timer_shift;
	add_work(hw, (c->preemption_timer ? 0 : WORK_ARM_TIMER) | (CHECKING ? WORK_CHECK : 0));
	fpu_reset(hw);
	debugreg_reset(hw);
}

/* The three frames of a vcpu; on failure none is left. */
static enum status alloc_vcpu(struct vmx_vcpu **out)
{
	struct vmx_vcpu *hw;
	hfn_t frame, vmcs, xsave;
	void *vmcs_va, *xsave_va;
	enum status st;

	if ((st = vmx_frame_alloc(&frame, (void **)&hw)) != ST_OK)
		return st;
	if ((st = vmx_frame_alloc(&vmcs, &vmcs_va)) != ST_OK)
		goto free_frame;
	if ((st = vmx_frame_alloc(&xsave, &xsave_va)) != ST_OK)
		goto free_vmcs;
	put_le32(vmcs_va, (uint32_t)(vmx.caps.basic & VMX_BASIC_REVISION_MASK));
	hw->frame = frame;
	hw->vmcs = hfn_to_hpa(vmcs).v;
	hw->xsave_frame = xsave;
	hw->xsave = xsave_va;
	*out = hw;
	return ST_OK;

free_vmcs:
	vmx_frame_free(vmcs);
free_frame:
	vmx_frame_free(frame);
	return st;
}

static void free_vcpu(struct vmx_vcpu *hw)
{
	vmx_frame_free(hw->xsave_frame);
	vmx_frame_free(hpa_to_hfn(hpa(hw->vmcs)));
	vmx_frame_free(hw->frame);
}

static enum status create_vcpu(struct vcpu *vcpu)
{
	struct vmx_vcpu *hw;
	enum status st = alloc_vcpu(&hw);

	if (st != ST_OK)
		return st;
	if (!vpid_alloc(&hw->vpid)) {
		free_vcpu(hw);
		return ST_OVER_LIMIT;
	}
	init_vcpu(hw, vcpu);
	hw->next_sibling = hw->vmx_vm->vcpus;
	hw->vmx_vm->vcpus = hw;
	vcpu->hw = hw;
	/* VMCLEAR initialises what the processor keeps in the region besides the fields. */
	vmcs_clear(hw);
	vmcs_set_up(hw);
	return ST_OK;
}

static void put(struct vcpu *vcpu)
{
	struct vmx_vcpu *hw = hw_of(vcpu);
	struct vmx_cpu *cpu = this_cpu();

	if (cpu->loaded == hw) {
		state_save(hw);
		debugreg_save(hw);
		cpu->loaded = NULL;
	}
	if (cpu->fpu == hw)
		fpu_save(cpu);
	vmcs_clear(hw);
	ept_put(&hw->vmx_vm->stage2, (unsigned)cpu->index);
}

static void destroy_vcpu(struct vcpu *vcpu)
{
	struct vmx_vcpu *hw = hw_of(vcpu), **link = &hw->vmx_vm->vcpus;

	put(vcpu);
	while (*link != hw)
		link = &(*link)->next_sibling;
	*link = hw->next_sibling;
	CHECK(check_vmcs_free(&hw->check));
	vcpu->hw = NULL;
	vpid_free(hw->vpid);
	free_vcpu(hw);
}

static void load(struct vcpu *vcpu)
{
	struct vmx_vcpu *hw = hw_of(vcpu);
	struct vmx_cpu *cpu = this_cpu();

	if (likely(cpu->vmcs == hw && cpu->loaded == hw && cpu->fpu == hw))
		return;
	vmcs_make_current(hw);
	set_apic_page(hw);
	guard_switch_vm(cpu, hw->vmx_vm);
	if (cpu->loaded != hw) {
		if (cpu->loaded) {
			state_save(cpu->loaded);
			debugreg_save(cpu->loaded);
		}
		state_load(hw);
		debugreg_load(hw);
		event_note_nmi(hw);
		cpu->loaded = hw;
	}
	if (cpu->fpu != hw) {
		if (cpu->fpu)
			fpu_save(cpu);
		fpu_load(cpu, hw);
	}
}

static void set_tsc_offset(struct vcpu *vcpu, uint64_t offset)
{
	vmcs_make_current(hw_of(vcpu));
	vmcs_write64(VMCS_TSC_OFFSET, offset);
}

/* Requests are tested masked, last before entry: on its own CPU the vcpu is not in the guest now. */
static void kick(struct vcpu *vcpu)
{
	int cpu = __atomic_load_n(&hw_of(vcpu)->cpu, __ATOMIC_RELAXED);

	if (cpu >= 0 && (unsigned)cpu != vmx.host->this_cpu())
		vmx.host->kick_cpu((unsigned)cpu);
}

static size_t describe(struct vcpu *vcpu, char *buf, size_t size)
{
	struct vmcs_image *image = &this_cpu()->image;
	struct vmx_vcpu *hw = hw_of(vcpu);

	vmcs_make_current(hw);
	vmcs_capture(image);
	return dump_vmcs(image, vcpu->exit.kind == EXIT_ENTRY_FAILED, &vmx.caps, buf, size);
}

/* Guest RAM lies in two blocks, below and above the device hole: each may begin and end inside a table. */
#define RAM_BLOCKS 2u

/* Tables that map @pages pages by 4 KiB leaves, the root apart. */
static uint64_t table_frames(uint64_t pages)
{
	uint64_t frames = 0;

	for (unsigned shift = ORDER_2M; shift <= ORDER_1G + ORDER_2M; shift += ORDER_2M)
		frames += (pages >> shift) + RAM_BLOCKS;
	return frames;
}

static uint64_t overhead_bytes(uint64_t pages, unsigned vcpus)
{
	return vmx_vm_bytes() + vcpus * vmx_vcpu_bytes() + table_frames(pages) * PAGE_SIZE;
}

static bool has_fast_strings(void)
{
	uint64_t value;

	return rdmsr_safe(MSR_IA32_MISC_ENABLE, &value) && (value & MISC_ENABLE_FAST_STRING);
}

const struct engine *vmx_engine(void)
{
	static struct engine engine = {
		.name = "vmx",
		.overhead_bytes = overhead_bytes,
		.vm_create = create_vm,
		.vm_destroy = destroy_vm,
		.vcpu_create = create_vcpu,
		.init = vmx_init_state,
		.vcpu_destroy = destroy_vcpu,
		.load = load,
		.put = put,
		.run = vmx_run,
		.advance = vmx_advance,
		.get_reg = vmx_get_reg,
		.set_reg = vmx_set_reg,
		.get_segment = vmx_get_segment,
		.get_mode = vmx_get_mode,
		.get_code = vmx_get_code,
		.set_segment = vmx_set_segment,
		.get_msr = vmx_get_msr,
		.set_msr = vmx_set_msr,
		.can_inject = vmx_can_inject,
		.inject = vmx_inject,
		.inject_interrupt = vmx_inject_interrupt,
		.want_window = vmx_want_window,
		.sync_apic = vmx_sync_apic,
		.post_interrupt = vmx_post_interrupt,
		.interrupt_due = vmx_interrupt_due,
		.offer_interrupt = vmx_offer_interrupt,
		.set_apic_mode = vmx_set_apic_mode,
		.set_tsc_offset = set_tsc_offset,
		.kick = kick,
		.describe = describe,
		.stage2 = &ept_ops,
	};

	ASSERT(vmx.ready);
	engine.caps.virtual_interrupts = vmx.controls.virtual_interrupts;
	engine.caps.apic_registers = vmx.controls.virtual_interrupts;
	engine.caps.rdtscp = vmx.rdtscp;
	engine.caps.invpcid = vmx.controls.invpcid;
	engine.caps.xsave_compacted = vmx.fpu.compacted;
	engine.caps.fast_strings = has_fast_strings();
	return &engine;
}
