/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMCS as a region that is current, active or clear (SDM volume 3, section
 * 24.11.1), and whole-VMCS reads and writes by table.
 */
#include "vmx/vmcs.h"

#include "lib/assert.h"
#include "vmx/internal.h"
#include "vmx/vmx_asm.h"

void vmcs_make_current(struct vmx_vcpu *hw)
{
	struct vmx_cpu *cpu = this_cpu();
	int index = cpu->index;

	if (cpu->vmcs == hw)
		return;
	/* Active on another CPU: that one must put() it first (VMCLEAR), or its cached fields are lost. */
	ASSERT(hw->cpu == -1 || hw->cpu == index);
	CHECK(check_vmptrld(&cpu->check, &hw->check, index));
	if (!vmptrld(hw->vmcs))
		panic("VMPTRLD of 0x%lx failed", hw->vmcs);
	cpu->vmcs = hw;
	if (hw->cpu == index)
		return;
	/* Before its loop looks for requests: whoever posts one first and then finds no CPU to kick is seen there. */
	__atomic_store_n(&hw->cpu, index, __ATOMIC_SEQ_CST);
	ept_activate(&hw->vmx_vm->stage2, (unsigned)index);
	add_work(hw, WORK_LAUNCH | WORK_FLUSH_EPT);
	if (hw->host_of == index)
		return;
	hw->host_of = index;
	vmx_write_host_state(cpu, hw);
	/* What this CPU cached of the vcpu when it ran here before is stale. */
	add_work(hw, WORK_FLUSH_VPID);
}

void vmcs_clear(struct vmx_vcpu *hw)
{
	struct vmx_cpu *cpu = this_cpu();

	ASSERT(hw->cpu == -1 || hw->cpu == cpu->index);
	CHECK(check_vmclear(&cpu->check, &hw->check, cpu->index));
	if (!vmclear(hw->vmcs))
		panic("VMCLEAR of 0x%lx failed", hw->vmcs);
	if (cpu->vmcs == hw)
		cpu->vmcs = NULL;
	__atomic_store_n(&hw->cpu, -1, __ATOMIC_RELAXED);
}

void vmcs_write_table(const struct vmcs_setting *table, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!vmwrite_checked(table[i].encoding, table[i].value))
			panic("VMCS field %s does not take 0x%lx", vmcs_name_of(table[i].encoding), table[i].value);
}

void vmcs_capture(struct vmcs_image *image)
{
	for (unsigned at = 0; at < VMCS_FIELD_COUNT; at++) {
		image->value[at] = 0;
		image->present[at] = vmread_checked(vmcs_encoding(at), &image->value[at]);
	}
}
