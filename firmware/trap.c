/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dispatch of all vectors. Three kinds: an exception with a fix-up resumes, any
 * other exception is fatal; the NMI writes a record; vectors from 32 on are
 * interrupts, after which a host task may be preempted.
 */
#include "firmware/trap.h"

#include "firmware/backtrace.h"
#include "firmware/ipi.h"
#include "firmware/irq.h"
#include "firmware/percpu.h"
#include "firmware/report.h"
#include "firmware/task.h"
#include "lib/bits.h"
#include "lib/log.h"
#include "lib/x86_asm.h"

#define STUB_BYTES 16

/* Interrupt gate descriptor, SDM 3A:6.14.1. */
struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_mid;
	uint32_t offset_high, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "SDM 3A:6.14.1");

#define GATE_PRESENT 0x80

extern const uint8_t trap_stubs[]; /* trap_entry.S */
extern const struct extable_entry extable_start[], extable_end[];

static struct gate idt[VEC_COUNT];

const char *(*trap_context)(void);

static uint8_t ist_of(unsigned vector)
{
	switch (vector) {
	case VEC_DF:
		return IST_DOUBLE_FAULT;
	case VEC_NMI:
		return IST_NMI;
	case VEC_MC:
		return IST_MACHINE_CHECK;
	default:
		return vector < VEC_FIRST_EXTERNAL ? IST_FAULT : IST_NONE;
	}
}

void trap_init(void)
{
	for (unsigned v = 0; v < VEC_COUNT; v++) {
		uint64_t at = (uint64_t)trap_stubs + v * STUB_BYTES;

		idt[v] = (struct gate){
			.offset_low = (uint16_t)at,
			.selector = SEL_CODE,
			.ist = ist_of(v),
			.type = GATE_PRESENT | SEG_TYPE_INT_GATE,
			.offset_mid = (uint16_t)(at >> 16),
			.offset_high = (uint32_t)(at >> 32),
		};
	}
	trap_load_idt();
}

void trap_load_idt(void)
{
	struct descriptor_ptr p = {.limit = sizeof(idt) - 1, .base = (uint64_t)idt};

	lidt(&p);
}

static bool fix_up(struct trap_frame *f)
{
	for (const struct extable_entry *e = extable_start; e < extable_end; e++) {
		if (e->fault_rip == f->rip) {
			f->rip = e->fixup_rip;
			return true;
		}
	}
	return false;
}

static const char *exception_name(uint64_t vector)
{
	static const char *const names[VEC_FIRST_EXTERNAL] = {
		[VEC_DE] = "divide error",
		[VEC_DB] = "debug exception",
		[VEC_NMI] = "non-maskable interrupt",
		[VEC_BP] = "breakpoint",
		[VEC_OF] = "overflow",
		[VEC_BR] = "bound range exceeded",
		[VEC_UD] = "invalid opcode",
		[VEC_NM] = "device not available",
		[VEC_DF] = "double fault",
		[VEC_TS] = "invalid TSS",
		[VEC_NP] = "segment not present",
		[VEC_SS] = "stack fault",
		[VEC_GP] = "general protection",
		[VEC_PF] = "page fault",
		[VEC_MF] = "x87 floating-point error",
		[VEC_AC] = "alignment check",
		[VEC_MC] = "machine check",
		[VEC_XM] = "SIMD floating-point exception",
		[VEC_VE] = "virtualization exception",
		[VEC_CP] = "control protection",
	};

	return vector < VEC_FIRST_EXTERNAL && names[vector] ? names[vector] : "reserved exception";
}

/* What the banks hold, SDM 3B:15.3.2. Emulators have a machine check without the banks: hence the safe reads. */
static void report_machine_check(void)
{
	uint64_t cap = 0, status, address;

	if (!rdmsr_safe(MSR_IA32_MCG_CAP, &cap) || !rdmsr_safe(MSR_IA32_MCG_STATUS, &status))
		return;
	report_printf("machine check status %llx\n", (unsigned long long)status);
	for (uint32_t bank = 0; bank < (cap & MCG_CAP_COUNT_MASK); bank++) {
		if (!rdmsr_safe(MSR_IA32_MC_STATUS(bank), &status) || !(status & MC_STATUS_VAL))
			continue;
		address = 0;
		if (status & MC_STATUS_ADDRV)
			(void)!rdmsr_safe(MSR_IA32_MC_ADDR(bank), &address);
		report_printf("bank %u: status %016llx address %llx\n", bank, (unsigned long long)status,
			      (unsigned long long)address);
	}
}

__attribute__((noreturn)) static void fatal(const struct trap_frame *f)
{
	uint64_t cr2 = read_cr2();

	report_begin();
	report_printf("\n*** corbel: %s (vector %llu, error 0x%llx)", exception_name(f->vector),
		      (unsigned long long)f->vector, (unsigned long long)f->error);
	if (f->vector == VEC_PF)
		report_printf(": %s at 0x%llx, %s", f->error & PF_I ? "fetch" : f->error & PF_W ? "write" : "read",
			      (unsigned long long)cr2, f->error & PF_P ? "not permitted" : "not mapped");
	report_printf("\n");
	if (f->vector == VEC_MC)
		report_machine_check();
	report_context();
	report_registers(f);
	report_control_registers();
	report_backtrace(f->rip, f->rbp);
	report_stack(f->rsp, f->vector == VEC_PF || f->vector == VEC_DF ? cr2 : 0);
	report_end();
}

/* Prints what is in the record and the frame, from the handler: nobody came to read the last one. */
static void report_stuck(const struct nmi_record *r, const struct trap_frame *f)
{
	report_printf("\n*** corbel: NMI %llu, and the one before is still unread: is this CPU stuck?\n",
		      (unsigned long long)r->count);
	report_context();
	report_registers(f);
	report_backtrace(f->rip, f->rbp);
	report_stack(f->rsp, 0);
}

/* No lock, no log: the record is this CPU's own. */
static void nmi(const struct trap_frame *f)
{
	struct nmi_record *r = &this_cpu()->nmi;
	bool unread = r->count != r->reported;

	r->count++;
	r->tsc = rdtsc();
	r->rip = f->rip;
	r->rsp = f->rsp;
	r->rflags = f->rflags;
	r->context = trap_context ? trap_context() : NULL;
	r->depth = backtrace_capture(f->rbp, r->trace, NMI_TRACE_MAX);
	if (ipi_nmi())
		r->reported = r->count;
	else if (unread)
		report_stuck(r, f);
}

/* Out of line, as all that is rare here: what comes with every interrupt and every turn needs no frame then. */
__attribute__((cold, noinline)) static void report_nmi(struct nmi_record *r)
{
	char name[96];

	log_warn("NMI %llu on cpu %u at %016llx %s, rsp %016llx, rflags %08llx, running: %s",
		 (unsigned long long)r->count, this_cpu()->id, (unsigned long long)r->rip,
		 backtrace_symbol(r->rip, name, sizeof(name)), (unsigned long long)r->rsp,
		 (unsigned long long)r->rflags, r->context ? r->context : "boot");
	for (unsigned i = 0; i < r->depth; i++)
		log_warn("  from %016llx %s", (unsigned long long)r->trace[i],
			 backtrace_symbol(r->trace[i] - 1, name, sizeof(name)));
	r->reported = r->count;
}

void trap_report_nmi(void)
{
	struct nmi_record *r = &this_cpu()->nmi;

	if (unlikely(r->count != r->reported))
		report_nmi(r);
}

__attribute__((cold, noinline)) static void exception(struct trap_frame *f)
{
	if (f->vector == VEC_NMI) {
		nmi(f);
		return;
	}
	if (!fix_up(f))
		fatal(f);
}

void trap_dispatch(struct trap_frame *f)
{
	if (unlikely(f->vector < VEC_FIRST_EXTERNAL)) {
		exception(f);
		return;
	}
	irq_dispatch((uint8_t)f->vector);
	task_interrupt_end();
}
