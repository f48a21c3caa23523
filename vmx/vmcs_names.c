/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names behind the numbers of vmcs.h, for reports: fields, exit reasons
 * (SDM volume 3, appendix C) and VM-instruction errors (section 30.4). Pure.
 */
#include "vmx/vmcs.h"

struct field_row {
	uint16_t encoding;
	const char *name;
};

#define VMCS_ROW(name, encoding) {encoding, #name},
static const struct field_row fields[VMCS_FIELD_COUNT] = {VMCS_FIELDS(VMCS_ROW)};
#undef VMCS_ROW

uint32_t vmcs_encoding(enum vmcs_position at) { return fields[at].encoding; }
const char *vmcs_name(enum vmcs_position at) { return fields[at].name; }

const char *vmcs_name_of(uint32_t encoding)
{
	for (unsigned i = 0; i < VMCS_FIELD_COUNT; i++)
		if (fields[i].encoding == encoding)
			return fields[i].name;
	return "unknown field";
}

static const char *const reasons[VMEXIT_COUNT] = {
	[VMEXIT_EXCEPTION_NMI] = "exception or NMI",
	[VMEXIT_EXTERNAL_INTERRUPT] = "external interrupt",
	[VMEXIT_TRIPLE_FAULT] = "triple fault",
	[VMEXIT_INIT] = "INIT signal",
	[VMEXIT_SIPI] = "start-up IPI",
	[VMEXIT_IO_SMI] = "I/O SMI",
	[VMEXIT_OTHER_SMI] = "other SMI",
	[VMEXIT_INTERRUPT_WINDOW] = "interrupt window",
	[VMEXIT_NMI_WINDOW] = "NMI window",
	[VMEXIT_TASK_SWITCH] = "task switch",
	[VMEXIT_CPUID] = "CPUID",
	[VMEXIT_GETSEC] = "GETSEC",
	[VMEXIT_HLT] = "HLT",
	[VMEXIT_INVD] = "INVD",
	[VMEXIT_INVLPG] = "INVLPG",
	[VMEXIT_RDPMC] = "RDPMC",
	[VMEXIT_RDTSC] = "RDTSC",
	[VMEXIT_RSM] = "RSM",
	[VMEXIT_VMCALL] = "VMCALL",
	[VMEXIT_VMCLEAR] = "VMCLEAR",
	[VMEXIT_VMLAUNCH] = "VMLAUNCH",
	[VMEXIT_VMPTRLD] = "VMPTRLD",
	[VMEXIT_VMPTRST] = "VMPTRST",
	[VMEXIT_VMREAD] = "VMREAD",
	[VMEXIT_VMRESUME] = "VMRESUME",
	[VMEXIT_VMWRITE] = "VMWRITE",
	[VMEXIT_VMXOFF] = "VMXOFF",
	[VMEXIT_VMXON] = "VMXON",
	[VMEXIT_CR_ACCESS] = "control-register access",
	[VMEXIT_MOV_DR] = "MOV DR",
	[VMEXIT_IO] = "I/O instruction",
	[VMEXIT_RDMSR] = "RDMSR",
	[VMEXIT_WRMSR] = "WRMSR",
	[VMEXIT_ENTRY_GUEST_STATE] = "VM-entry failure due to invalid guest state",
	[VMEXIT_ENTRY_MSR_LOAD] = "VM-entry failure due to MSR loading",
	[VMEXIT_MWAIT] = "MWAIT",
	[VMEXIT_MONITOR_TRAP] = "monitor trap flag",
	[VMEXIT_MONITOR] = "MONITOR",
	[VMEXIT_PAUSE] = "PAUSE",
	[VMEXIT_ENTRY_MACHINE_CHECK] = "VM-entry failure due to a machine check",
	[VMEXIT_TPR_BELOW] = "TPR below threshold",
	[VMEXIT_APIC_ACCESS] = "APIC access",
	[VMEXIT_VIRTUAL_EOI] = "virtualized EOI",
	[VMEXIT_GDTR_IDTR] = "access to GDTR or IDTR",
	[VMEXIT_LDTR_TR] = "access to LDTR or TR",
	[VMEXIT_EPT_VIOLATION] = "EPT violation",
	[VMEXIT_EPT_MISCONFIG] = "EPT misconfiguration",
	[VMEXIT_INVEPT] = "INVEPT",
	[VMEXIT_RDTSCP] = "RDTSCP",
	[VMEXIT_PREEMPTION_TIMER] = "preemption timer",
	[VMEXIT_INVVPID] = "INVVPID",
	[VMEXIT_WBINVD] = "WBINVD",
	[VMEXIT_XSETBV] = "XSETBV",
	[VMEXIT_APIC_WRITE] = "APIC write",
	[VMEXIT_RDRAND] = "RDRAND",
	[VMEXIT_INVPCID] = "INVPCID",
	[VMEXIT_VMFUNC] = "VMFUNC",
	[VMEXIT_ENCLS] = "ENCLS",
	[VMEXIT_RDSEED] = "RDSEED",
	[VMEXIT_PML_FULL] = "page-modification log full",
	[VMEXIT_XSAVES] = "XSAVES",
	[VMEXIT_XRSTORS] = "XRSTORS",
	[VMEXIT_PCONFIG] = "PCONFIG",
	[VMEXIT_SPP] = "SPP-related event",
	[VMEXIT_UMWAIT] = "UMWAIT",
	[VMEXIT_TPAUSE] = "TPAUSE",
	[VMEXIT_LOADIWKEY] = "LOADIWKEY",
	[VMEXIT_ENCLV] = "ENCLV",
	[VMEXIT_ENQCMD_PASID] = "ENQCMD PASID translation failure",
	[VMEXIT_ENQCMDS_PASID] = "ENQCMDS PASID translation failure",
	[VMEXIT_BUS_LOCK] = "bus lock",
	[VMEXIT_INSTRUCTION_TIMEOUT] = "instruction timeout",
};

const char *vmx_reason_name(uint32_t basic)
{
	if (basic >= VMEXIT_COUNT || !reasons[basic])
		return "unknown reason";
	return reasons[basic];
}

static const char *const errors[VMX_ERROR_COUNT] = {
	[1] = "VMCALL in VMX root operation",
	[2] = "VMCLEAR with an invalid physical address",
	[3] = "VMCLEAR with the VMXON pointer",
	[VMX_ERROR_VMLAUNCH_NOT_CLEAR] = "VMLAUNCH with a VMCS that is not clear",
	[VMX_ERROR_VMRESUME_NOT_LAUNCHED] = "VMRESUME with a VMCS that is not launched",
	[VMX_ERROR_VMRESUME_AFTER_VMXOFF] = "VMRESUME after VMXOFF",
	[VMX_ERROR_ENTRY_CONTROLS] = "VM entry with invalid control fields",
	[VMX_ERROR_ENTRY_HOST_STATE] = "VM entry with invalid host-state fields",
	[9] = "VMPTRLD with an invalid physical address",
	[10] = "VMPTRLD with the VMXON pointer",
	[11] = "VMPTRLD with an incorrect VMCS revision identifier",
	[VMX_ERROR_UNSUPPORTED_FIELD] = "VMREAD or VMWRITE of a field that the processor does not have",
	[VMX_ERROR_READ_ONLY_FIELD] = "VMWRITE to a read-only field",
	[15] = "VMXON in VMX root operation",
	[16] = "VM entry with an invalid executive-VMCS pointer",
	[17] = "VM entry with an executive VMCS that is not launched",
	[18] = "VM entry with an executive-VMCS pointer that is not the VMXON pointer",
	[19] = "VMCALL with a VMCS that is not clear",
	[20] = "VMCALL with invalid VM-exit control fields",
	[22] = "VMCALL with an incorrect MSEG revision identifier",
	[23] = "VMXOFF under dual-monitor treatment",
	[24] = "VMCALL with invalid SMM-monitor features",
	[25] = "VM entry with invalid controls in the executive VMCS",
	[VMX_ERROR_ENTRY_MOV_SS] = "VM entry with events blocked by MOV SS",
	[28] = "invalid operand to INVEPT or INVVPID",
};

const char *vmx_instruction_error_name(uint32_t error)
{
	if (error >= VMX_ERROR_COUNT || !errors[error])
		return "unknown error";
	return errors[error];
}
