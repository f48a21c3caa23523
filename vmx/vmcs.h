/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every field of the VMCS (SDM volume 3, appendix B), in the manual's order and
 * with its names, as one list per width. From the lists come typed encodings (a
 * 16-bit field cannot be read by the 64-bit accessor without a diagnostic), an
 * index for images of a whole VMCS, and the names that reports print.
 *
 * The instructions themselves are in vmx/vmx_asm.h; this header is constants and
 * plain data, so the host's tests use it too.
 */
#ifndef CORBEL_VMX_VMCS_H
#define CORBEL_VMX_VMCS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/bits.h"

/* B.1, 16-bit fields. */
#define VMCS_FIELDS_16(X)                          \
	X(VPID, 0x0000)                            \
	X(POSTED_INTERRUPT_VECTOR, 0x0002)         \
	X(EPTP_INDEX, 0x0004)                      \
	X(HLAT_PREFIX_SIZE, 0x0006)                \
	X(LAST_PID_POINTER_INDEX, 0x0008)          \
	X(GUEST_ES_SELECTOR, 0x0800)               \
	X(GUEST_CS_SELECTOR, 0x0802)               \
	X(GUEST_SS_SELECTOR, 0x0804)               \
	X(GUEST_DS_SELECTOR, 0x0806)               \
	X(GUEST_FS_SELECTOR, 0x0808)               \
	X(GUEST_GS_SELECTOR, 0x080a)               \
	X(GUEST_LDTR_SELECTOR, 0x080c)             \
	X(GUEST_TR_SELECTOR, 0x080e)               \
	X(GUEST_INTERRUPT_STATUS, 0x0810)          \
	X(PML_INDEX, 0x0812)                       \
	X(GUEST_UINV, 0x0814)                      \
	X(HOST_ES_SELECTOR, 0x0c00)                \
	X(HOST_CS_SELECTOR, 0x0c02)                \
	X(HOST_SS_SELECTOR, 0x0c04)                \
	X(HOST_DS_SELECTOR, 0x0c06)                \
	X(HOST_FS_SELECTOR, 0x0c08)                \
	X(HOST_GS_SELECTOR, 0x0c0a)                \
	X(HOST_TR_SELECTOR, 0x0c0c)

/* B.2, 64-bit fields (the full access; the high halves are encoding + 1). */
#define VMCS_FIELDS_64(X)                          \
	X(IO_BITMAP_A, 0x2000)                     \
	X(IO_BITMAP_B, 0x2002)                     \
	X(MSR_BITMAP, 0x2004)                      \
	X(EXIT_MSR_STORE_ADDR, 0x2006)             \
	X(EXIT_MSR_LOAD_ADDR, 0x2008)              \
	X(ENTRY_MSR_LOAD_ADDR, 0x200a)             \
	X(EXECUTIVE_VMCS_POINTER, 0x200c)          \
	X(PML_ADDRESS, 0x200e)                     \
	X(TSC_OFFSET, 0x2010)                      \
	X(VIRTUAL_APIC_ADDR, 0x2012)               \
	X(APIC_ACCESS_ADDR, 0x2014)                \
	X(POSTED_INTERRUPT_DESC_ADDR, 0x2016)      \
	X(VM_FUNCTION_CONTROLS, 0x2018)            \
	X(EPT_POINTER, 0x201a)                     \
	X(EOI_EXIT_BITMAP_0, 0x201c)               \
	X(EOI_EXIT_BITMAP_1, 0x201e)               \
	X(EOI_EXIT_BITMAP_2, 0x2020)               \
	X(EOI_EXIT_BITMAP_3, 0x2022)               \
	X(EPTP_LIST_ADDR, 0x2024)                  \
	X(VMREAD_BITMAP_ADDR, 0x2026)              \
	X(VMWRITE_BITMAP_ADDR, 0x2028)             \
	X(VE_INFO_ADDR, 0x202a)                    \
	X(XSS_EXITING_BITMAP, 0x202c)              \
	X(ENCLS_EXITING_BITMAP, 0x202e)            \
	X(SPP_TABLE_POINTER, 0x2030)               \
	X(TSC_MULTIPLIER, 0x2032)                  \
	X(PROCBASED_CTLS3, 0x2034)                 \
	X(ENCLV_EXITING_BITMAP, 0x2036)            \
	X(LOW_PASID_DIRECTORY, 0x2038)             \
	X(HIGH_PASID_DIRECTORY, 0x203a)            \
	X(SHARED_EPT_POINTER, 0x203c)              \
	X(PCONFIG_EXITING_BITMAP, 0x203e)          \
	X(HLAT_POINTER, 0x2040)                    \
	X(PID_POINTER_TABLE_ADDR, 0x2042)          \
	X(EXIT_CTLS2, 0x2044)                      \
	X(SPEC_CTRL_MASK, 0x204a)                  \
	X(SPEC_CTRL_SHADOW, 0x204c)                \
	X(GUEST_PHYSICAL_ADDRESS, 0x2400)          \
	X(VMCS_LINK_POINTER, 0x2800)               \
	X(GUEST_DEBUGCTL, 0x2802)                  \
	X(GUEST_PAT, 0x2804)                       \
	X(GUEST_EFER, 0x2806)                      \
	X(GUEST_PERF_GLOBAL_CTRL, 0x2808)          \
	X(GUEST_PDPTE0, 0x280a)                    \
	X(GUEST_PDPTE1, 0x280c)                    \
	X(GUEST_PDPTE2, 0x280e)                    \
	X(GUEST_PDPTE3, 0x2810)                    \
	X(GUEST_BNDCFGS, 0x2812)                   \
	X(GUEST_RTIT_CTL, 0x2814)                  \
	X(GUEST_LBR_CTL, 0x2816)                   \
	X(GUEST_PKRS, 0x2818)                      \
	X(HOST_PAT, 0x2c00)                        \
	X(HOST_EFER, 0x2c02)                       \
	X(HOST_PERF_GLOBAL_CTRL, 0x2c04)           \
	X(HOST_PKRS, 0x2c06)

/* B.3, 32-bit fields. */
#define VMCS_FIELDS_32(X)                          \
	X(PINBASED_CTLS, 0x4000)                   \
	X(PROCBASED_CTLS, 0x4002)                  \
	X(EXCEPTION_BITMAP, 0x4004)                \
	X(PF_ERROR_CODE_MASK, 0x4006)              \
	X(PF_ERROR_CODE_MATCH, 0x4008)             \
	X(CR3_TARGET_COUNT, 0x400a)                \
	X(EXIT_CTLS, 0x400c)                       \
	X(EXIT_MSR_STORE_COUNT, 0x400e)            \
	X(EXIT_MSR_LOAD_COUNT, 0x4010)             \
	X(ENTRY_CTLS, 0x4012)                      \
	X(ENTRY_MSR_LOAD_COUNT, 0x4014)            \
	X(ENTRY_INTR_INFO, 0x4016)                 \
	X(ENTRY_EXCEPTION_ERROR, 0x4018)           \
	X(ENTRY_INSTRUCTION_LENGTH, 0x401a)        \
	X(TPR_THRESHOLD, 0x401c)                   \
	X(PROCBASED_CTLS2, 0x401e)                 \
	X(PLE_GAP, 0x4020)                         \
	X(PLE_WINDOW, 0x4022)                      \
	X(INSTRUCTION_TIMEOUT, 0x4024)             \
	X(INSTRUCTION_ERROR, 0x4400)               \
	X(EXIT_REASON, 0x4402)                     \
	X(EXIT_INTR_INFO, 0x4404)                  \
	X(EXIT_INTR_ERROR, 0x4406)                 \
	X(IDT_VECTORING_INFO, 0x4408)              \
	X(IDT_VECTORING_ERROR, 0x440a)             \
	X(EXIT_INSTRUCTION_LENGTH, 0x440c)         \
	X(EXIT_INSTRUCTION_INFO, 0x440e)           \
	X(GUEST_ES_LIMIT, 0x4800)                  \
	X(GUEST_CS_LIMIT, 0x4802)                  \
	X(GUEST_SS_LIMIT, 0x4804)                  \
	X(GUEST_DS_LIMIT, 0x4806)                  \
	X(GUEST_FS_LIMIT, 0x4808)                  \
	X(GUEST_GS_LIMIT, 0x480a)                  \
	X(GUEST_LDTR_LIMIT, 0x480c)                \
	X(GUEST_TR_LIMIT, 0x480e)                  \
	X(GUEST_GDTR_LIMIT, 0x4810)                \
	X(GUEST_IDTR_LIMIT, 0x4812)                \
	X(GUEST_ES_ACCESS, 0x4814)                 \
	X(GUEST_CS_ACCESS, 0x4816)                 \
	X(GUEST_SS_ACCESS, 0x4818)                 \
	X(GUEST_DS_ACCESS, 0x481a)                 \
	X(GUEST_FS_ACCESS, 0x481c)                 \
	X(GUEST_GS_ACCESS, 0x481e)                 \
	X(GUEST_LDTR_ACCESS, 0x4820)               \
	X(GUEST_TR_ACCESS, 0x4822)                 \
	X(GUEST_INTERRUPTIBILITY, 0x4824)          \
	X(GUEST_ACTIVITY_STATE, 0x4826)            \
	X(GUEST_SMBASE, 0x4828)                    \
	X(GUEST_SYSENTER_CS, 0x482a)               \
	X(PREEMPTION_TIMER, 0x482e)                \
	X(HOST_SYSENTER_CS, 0x4c00)

/* B.4, natural-width fields. */
#define VMCS_FIELDS_N(X)                           \
	X(CR0_MASK, 0x6000)                        \
	X(CR4_MASK, 0x6002)                        \
	X(CR0_SHADOW, 0x6004)                      \
	X(CR4_SHADOW, 0x6006)                      \
	X(CR3_TARGET_0, 0x6008)                    \
	X(CR3_TARGET_1, 0x600a)                    \
	X(CR3_TARGET_2, 0x600c)                    \
	X(CR3_TARGET_3, 0x600e)                    \
	X(EXIT_QUALIFICATION, 0x6400)              \
	X(IO_RCX, 0x6402)                          \
	X(IO_RSI, 0x6404)                          \
	X(IO_RDI, 0x6406)                          \
	X(IO_RIP, 0x6408)                          \
	X(GUEST_LINEAR_ADDRESS, 0x640a)            \
	X(GUEST_CR0, 0x6800)                       \
	X(GUEST_CR3, 0x6802)                       \
	X(GUEST_CR4, 0x6804)                       \
	X(GUEST_ES_BASE, 0x6806)                   \
	X(GUEST_CS_BASE, 0x6808)                   \
	X(GUEST_SS_BASE, 0x680a)                   \
	X(GUEST_DS_BASE, 0x680c)                   \
	X(GUEST_FS_BASE, 0x680e)                   \
	X(GUEST_GS_BASE, 0x6810)                   \
	X(GUEST_LDTR_BASE, 0x6812)                 \
	X(GUEST_TR_BASE, 0x6814)                   \
	X(GUEST_GDTR_BASE, 0x6816)                 \
	X(GUEST_IDTR_BASE, 0x6818)                 \
	X(GUEST_DR7, 0x681a)                       \
	X(GUEST_RSP, 0x681c)                       \
	X(GUEST_RIP, 0x681e)                       \
	X(GUEST_RFLAGS, 0x6820)                    \
	X(GUEST_PENDING_DEBUG, 0x6822)             \
	X(GUEST_SYSENTER_ESP, 0x6824)              \
	X(GUEST_SYSENTER_EIP, 0x6826)              \
	X(GUEST_S_CET, 0x6828)                     \
	X(GUEST_SSP, 0x682a)                       \
	X(GUEST_INTERRUPT_SSP_TABLE, 0x682c)       \
	X(HOST_CR0, 0x6c00)                        \
	X(HOST_CR3, 0x6c02)                        \
	X(HOST_CR4, 0x6c04)                        \
	X(HOST_FS_BASE, 0x6c06)                    \
	X(HOST_GS_BASE, 0x6c08)                    \
	X(HOST_TR_BASE, 0x6c0a)                    \
	X(HOST_GDTR_BASE, 0x6c0c)                  \
	X(HOST_IDTR_BASE, 0x6c0e)                  \
	X(HOST_SYSENTER_ESP, 0x6c10)               \
	X(HOST_SYSENTER_EIP, 0x6c12)               \
	X(HOST_RSP, 0x6c14)                        \
	X(HOST_RIP, 0x6c16)                        \
	X(HOST_S_CET, 0x6c18)                      \
	X(HOST_SSP, 0x6c1a)                        \
	X(HOST_INTERRUPT_SSP_TABLE, 0x6c1c)

#define VMCS_FIELDS(X) VMCS_FIELDS_16(X) VMCS_FIELDS_64(X) VMCS_FIELDS_32(X) VMCS_FIELDS_N(X)

#define VMCS_ENCODING(name, encoding) VMCS_##name = (encoding),
enum vmcs_field16 { VMCS_FIELDS_16(VMCS_ENCODING) };
enum vmcs_field64 { VMCS_FIELDS_64(VMCS_ENCODING) };
enum vmcs_field32 { VMCS_FIELDS_32(VMCS_ENCODING) };
enum vmcs_fieldn { VMCS_FIELDS_N(VMCS_ENCODING) };
#undef VMCS_ENCODING

/* Fields by position, for images of a whole VMCS. */
#define VMCS_POSITION(name, encoding) VMCS_AT_##name,
enum vmcs_position { VMCS_FIELDS(VMCS_POSITION) VMCS_FIELD_COUNT };
#undef VMCS_POSITION

/* B: bits 11:10 of an encoding tell the group, bits 14:13 the width. */
#define VMCS_GROUP(encoding) FIELD(encoding, 11, 10)
#define VMCS_GROUP_CONTROL 0u
#define VMCS_GROUP_READ_ONLY 1u
#define VMCS_GROUP_GUEST 2u
#define VMCS_GROUP_HOST 3u
#define VMCS_WIDTH(encoding) FIELD(encoding, 14, 13)
#define VMCS_WIDTH_16 0u
#define VMCS_WIDTH_64 1u
#define VMCS_WIDTH_32 2u
#define VMCS_WIDTH_NATURAL 3u

/* The segment fields lie two apart in encoding order ES CS SS DS FS GS LDTR TR (GDTR IDTR). */
#define VMCS_SEGMENT_STEP 2u

/* What one processor's VMCS held, at one moment: for explanations and checks. */
struct vmcs_image {
	uint64_t value[VMCS_FIELD_COUNT];   /* by enum vmcs_position */
	bool present[VMCS_FIELD_COUNT];     /* false: the processor has no such field */
};

/* One row of a set-up table. */
struct vmcs_setting {
	uint32_t encoding;
	uint64_t value;
};

uint32_t vmcs_encoding(enum vmcs_position at);
const char *vmcs_name(enum vmcs_position at);
/* Name of the field with @encoding; "unknown field" when there is none. */
const char *vmcs_name_of(uint32_t encoding);

/* Pin-based controls, SDM 3:24.6.1. */
#define PIN_EXTERNAL_INTERRUPT BIT(0)
#define PIN_NMI BIT(3)
#define PIN_VIRTUAL_NMIS BIT(5)
#define PIN_PREEMPTION_TIMER BIT(6)
#define PIN_POSTED_INTERRUPTS BIT(7)

/* Primary processor-based controls, 24.6.2 table 24-6. */
#define PROC_INTERRUPT_WINDOW BIT(2)
#define PROC_TSC_OFFSETTING BIT(3)
#define PROC_HLT BIT(7)
#define PROC_INVLPG BIT(9)
#define PROC_MWAIT BIT(10)
#define PROC_RDPMC BIT(11)
#define PROC_RDTSC BIT(12)
#define PROC_CR3_LOAD BIT(15)
#define PROC_CR3_STORE BIT(16)
#define PROC_TERTIARY BIT(17)
#define PROC_CR8_LOAD BIT(19)
#define PROC_CR8_STORE BIT(20)
#define PROC_TPR_SHADOW BIT(21)
#define PROC_NMI_WINDOW BIT(22)
#define PROC_MOV_DR BIT(23)
#define PROC_UNCONDITIONAL_IO BIT(24)
#define PROC_IO_BITMAPS BIT(25)
#define PROC_MONITOR_TRAP BIT(27)
#define PROC_MSR_BITMAPS BIT(28)
#define PROC_MONITOR BIT(29)
#define PROC_PAUSE BIT(30)
#define PROC_SECONDARY BIT(31)

/* Secondary processor-based controls, 24.6.2 table 24-7. */
#define PROC2_APIC_ACCESSES BIT(0)
#define PROC2_EPT BIT(1)
#define PROC2_DESCRIPTOR_TABLE BIT(2)
#define PROC2_RDTSCP BIT(3)
#define PROC2_X2APIC BIT(4)
#define PROC2_VPID BIT(5)
#define PROC2_WBINVD BIT(6)
#define PROC2_UNRESTRICTED_GUEST BIT(7)
#define PROC2_APIC_REGISTERS BIT(8)
#define PROC2_VIRTUAL_INTERRUPTS BIT(9)
#define PROC2_PAUSE_LOOP BIT(10)
#define PROC2_RDRAND BIT(11)
#define PROC2_INVPCID BIT(12)
#define PROC2_VM_FUNCTIONS BIT(13)
#define PROC2_VMCS_SHADOWING BIT(14)
#define PROC2_ENCLS BIT(15)
#define PROC2_RDSEED BIT(16)
#define PROC2_PML BIT(17)
#define PROC2_EPT_VE BIT(18)
#define PROC2_CONCEAL_PT BIT(19)
#define PROC2_XSAVES BIT(20)
#define PROC2_PASID BIT(21)
#define PROC2_MODE_BASED_EXEC BIT(22)
#define PROC2_SPP BIT(23)
#define PROC2_PT_GPA BIT(24)
#define PROC2_TSC_SCALING BIT(25)
#define PROC2_USER_WAIT BIT(26)
#define PROC2_PCONFIG BIT(27)
#define PROC2_ENCLV BIT(28)

/* VM-exit controls, 24.7.1. */
#define EXIT_CTL_SAVE_DEBUG BIT(2)
#define EXIT_CTL_HOST_64 BIT(9)
#define EXIT_CTL_LOAD_PERF_GLOBAL BIT(12)
#define EXIT_CTL_ACK_INTERRUPT BIT(15)
#define EXIT_CTL_SAVE_PAT BIT(18)
#define EXIT_CTL_LOAD_PAT BIT(19)
#define EXIT_CTL_SAVE_EFER BIT(20)
#define EXIT_CTL_LOAD_EFER BIT(21)
#define EXIT_CTL_SAVE_PREEMPTION BIT(22)
#define EXIT_CTL_CLEAR_BNDCFGS BIT(23)
#define EXIT_CTL_CONCEAL_PT BIT(24)
#define EXIT_CTL_CLEAR_RTIT BIT(25)
#define EXIT_CTL_CLEAR_LBR BIT(26)
#define EXIT_CTL_CLEAR_UINV BIT(27)
#define EXIT_CTL_LOAD_CET BIT(28)
#define EXIT_CTL_LOAD_PKRS BIT(29)
#define EXIT_CTL_SAVE_PERF_GLOBAL BIT(30)
#define EXIT_CTL_SECONDARY BIT(31)

/* VM-entry controls, 24.8.1. */
#define ENTRY_CTL_LOAD_DEBUG BIT(2)
#define ENTRY_CTL_GUEST_64 BIT(9) /* "IA-32e mode guest" */
#define ENTRY_CTL_TO_SMM BIT(10)
#define ENTRY_CTL_DEACTIVATE_DUAL BIT(11)
#define ENTRY_CTL_LOAD_PERF_GLOBAL BIT(13)
#define ENTRY_CTL_LOAD_PAT BIT(14)
#define ENTRY_CTL_LOAD_EFER BIT(15)
#define ENTRY_CTL_LOAD_BNDCFGS BIT(16)
#define ENTRY_CTL_CONCEAL_PT BIT(17)
#define ENTRY_CTL_LOAD_RTIT BIT(18)
#define ENTRY_CTL_LOAD_UINV BIT(19)
#define ENTRY_CTL_LOAD_CET BIT(20)
#define ENTRY_CTL_LOAD_LBR BIT(21)
#define ENTRY_CTL_LOAD_PKRS BIT(22)

/* Interruption information: entry 24.8.3, exit 24.9.2, IDT-vectoring 24.9.3. */
#define INTR_VECTOR_MASK MASK(7, 0)
#define INTR_TYPE_MASK MASK(10, 8)
#define INTR_TYPE(n) ((uint32_t)(n) << 8)
#define INTR_EXTERNAL INTR_TYPE(0)
#define INTR_NMI INTR_TYPE(2)
#define INTR_HARD_EXCEPTION INTR_TYPE(3)
#define INTR_SOFT_INTERRUPT INTR_TYPE(4)
#define INTR_PRIVILEGED_SOFT INTR_TYPE(5) /* INT1 */
#define INTR_SOFT_EXCEPTION INTR_TYPE(6)  /* INT3, INTO */
#define INTR_OTHER INTR_TYPE(7)           /* entry only: pending MTF */
#define INTR_ERROR_CODE BIT(11)
#define INTR_NMI_UNBLOCKING BIT(12)       /* exit: IRET had removed the blocking */
#define INTR_VALID BIT(31)
#define INTR_RESERVED MASK(30, 12)        /* entry */

/* Guest interruptibility state, 24.4.2 table 24-3. */
#define BLOCKING_STI BIT(0)
#define BLOCKING_MOV_SS BIT(1)
#define BLOCKING_SMI BIT(2)
#define BLOCKING_NMI BIT(3)
#define BLOCKING_ENCLAVE BIT(4)

/* Activity state, 24.4.2. */
#define ACTIVITY_ACTIVE 0u
#define ACTIVITY_HLT 1u
#define ACTIVITY_SHUTDOWN 2u
#define ACTIVITY_WAIT_SIPI 3u

/* Pending debug exceptions, 24.4.2 table 24-4. */
#define PENDING_DEBUG_BPS MASK(3, 0)
#define PENDING_DEBUG_ENABLED BIT(12)
#define PENDING_DEBUG_BS BIT(14)
#define PENDING_DEBUG_RTM BIT(16)

/* Access rights of a segment, 24.4.1 table 24-2. */
#define ACCESS_TYPE_MASK MASK(3, 0)
#define ACCESS_S BIT(4)
#define ACCESS_DPL_SHIFT 5u
#define ACCESS_DPL_MASK MASK(6, 5)
#define ACCESS_P BIT(7)
#define ACCESS_AVL BIT(12)
#define ACCESS_L BIT(13)
#define ACCESS_DB BIT(14)
#define ACCESS_G BIT(15)
#define ACCESS_UNUSABLE BIT(16)
#define ACCESS_RESERVED (MASK(11, 8) | MASK(31, 17))

/* Basic exit reasons, appendix C. */
enum vmx_reason {
	VMEXIT_EXCEPTION_NMI = 0, VMEXIT_EXTERNAL_INTERRUPT = 1, VMEXIT_TRIPLE_FAULT = 2, VMEXIT_INIT = 3,
	VMEXIT_SIPI = 4, VMEXIT_IO_SMI = 5, VMEXIT_OTHER_SMI = 6, VMEXIT_INTERRUPT_WINDOW = 7,
	VMEXIT_NMI_WINDOW = 8, VMEXIT_TASK_SWITCH = 9, VMEXIT_CPUID = 10, VMEXIT_GETSEC = 11, VMEXIT_HLT = 12,
	VMEXIT_INVD = 13, VMEXIT_INVLPG = 14, VMEXIT_RDPMC = 15, VMEXIT_RDTSC = 16, VMEXIT_RSM = 17,
	VMEXIT_VMCALL = 18, VMEXIT_VMCLEAR = 19, VMEXIT_VMLAUNCH = 20, VMEXIT_VMPTRLD = 21,
	VMEXIT_VMPTRST = 22, VMEXIT_VMREAD = 23, VMEXIT_VMRESUME = 24, VMEXIT_VMWRITE = 25,
	VMEXIT_VMXOFF = 26, VMEXIT_VMXON = 27, VMEXIT_CR_ACCESS = 28, VMEXIT_MOV_DR = 29, VMEXIT_IO = 30,
	VMEXIT_RDMSR = 31, VMEXIT_WRMSR = 32, VMEXIT_ENTRY_GUEST_STATE = 33, VMEXIT_ENTRY_MSR_LOAD = 34,
	VMEXIT_MWAIT = 36, VMEXIT_MONITOR_TRAP = 37, VMEXIT_MONITOR = 39, VMEXIT_PAUSE = 40,
	VMEXIT_ENTRY_MACHINE_CHECK = 41, VMEXIT_TPR_BELOW = 43, VMEXIT_APIC_ACCESS = 44,
	VMEXIT_VIRTUAL_EOI = 45, VMEXIT_GDTR_IDTR = 46, VMEXIT_LDTR_TR = 47, VMEXIT_EPT_VIOLATION = 48,
	VMEXIT_EPT_MISCONFIG = 49, VMEXIT_INVEPT = 50, VMEXIT_RDTSCP = 51, VMEXIT_PREEMPTION_TIMER = 52,
	VMEXIT_INVVPID = 53, VMEXIT_WBINVD = 54, VMEXIT_XSETBV = 55, VMEXIT_APIC_WRITE = 56,
	VMEXIT_RDRAND = 57, VMEXIT_INVPCID = 58, VMEXIT_VMFUNC = 59, VMEXIT_ENCLS = 60, VMEXIT_RDSEED = 61,
	VMEXIT_PML_FULL = 62, VMEXIT_XSAVES = 63, VMEXIT_XRSTORS = 64, VMEXIT_PCONFIG = 65, VMEXIT_SPP = 66,
	VMEXIT_UMWAIT = 67, VMEXIT_TPAUSE = 68, VMEXIT_LOADIWKEY = 69, VMEXIT_ENCLV = 70,
	VMEXIT_ENQCMD_PASID = 72, VMEXIT_ENQCMDS_PASID = 73, VMEXIT_BUS_LOCK = 74,
	VMEXIT_INSTRUCTION_TIMEOUT = 75, VMEXIT_COUNT
};
#define VMEXIT_BASIC_MASK MASK(15, 0)
#define VMEXIT_ENTRY_FAILURE BIT(31)

/* Exit qualifications, 27.2.1: EPT violations (table 27-7), I/O (27-5), CR accesses (27-3), MOV DR (27-4). */
#define QUAL_EPT_READ BIT(0)
#define QUAL_EPT_WRITE BIT(1)
#define QUAL_EPT_FETCH BIT(2)
#define QUAL_EPT_LINEAR_VALID BIT(7)
#define QUAL_EPT_NMI_UNBLOCKING BIT(12)
#define QUAL_IO_SIZE_MASK MASK(2, 0) /* size - 1 */
#define QUAL_IO_IN BIT(3)
#define QUAL_IO_STRING BIT(4)
#define QUAL_IO_REP BIT(5)
#define QUAL_IO_PORT(q) ((uint16_t)FIELD(q, 31, 16))
#define QUAL_CR_NUMBER(q) ((uint8_t)FIELD(q, 3, 0))
#define QUAL_CR_TYPE(q) FIELD(q, 5, 4)
#define CR_TYPE_TO_CR 0u
#define CR_TYPE_FROM_CR 1u
#define CR_TYPE_CLTS 2u
#define CR_TYPE_LMSW 3u
#define QUAL_CR_GPR(q) ((uint8_t)FIELD(q, 11, 8))
#define QUAL_CR_LMSW_DATA(q) ((uint16_t)FIELD(q, 31, 16))
#define QUAL_DR_NUMBER(q) ((uint8_t)FIELD(q, 2, 0))
#define QUAL_DR_FROM BIT(4)
#define QUAL_DR_GPR(q) ((uint8_t)FIELD(q, 11, 8))
/* VM-exit instruction information of INS and OUTS, table 27-8: bits 9:7. */
#define INFO_ADDRESS_SIZE(info) (2u << FIELD(info, 9, 7))

/* Guest interrupt status (24.4.2): RVI in bits 7:0, SVI in bits 15:8. */
#define STATUS_RVI(s) ((uint8_t)FIELD(s, 7, 0))
#define STATUS_SVI_SHIFT 8u

/* VM-instruction errors, 30.4. */
enum vmx_instruction_error {
	VMX_ERROR_VMLAUNCH_NOT_CLEAR = 4, VMX_ERROR_VMRESUME_NOT_LAUNCHED = 5, VMX_ERROR_VMRESUME_AFTER_VMXOFF = 6,
	VMX_ERROR_ENTRY_CONTROLS = 7, VMX_ERROR_ENTRY_HOST_STATE = 8, VMX_ERROR_UNSUPPORTED_FIELD = 12,
	VMX_ERROR_READ_ONLY_FIELD = 13, VMX_ERROR_ENTRY_MOV_SS = 26, VMX_ERROR_COUNT = 29
};
/* One clause in lower case, "unknown error" when out of range. */
const char *vmx_instruction_error_name(uint32_t error);
/* Basic exit reason in lower case, "unknown reason" when not assigned. */
const char *vmx_reason_name(uint32_t basic);

#endif
