/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each kind of exit does, by one table. A handler finishes the guest's
 * instruction (engine->advance) or leaves rip alone so that it is tried again;
 * an unknown kind never advances and stops that one VM with a report. Nothing
 * here allocates or logs, and the one lock taken is that of the VM's own devices.
 */
#include "guest/exit.h"

#include "guest/cpuid.h"
#include "guest/creg.h"
#include "guest/insn.h"
#include "guest/machine.h"
#include "guest/vcpu_internal.h"
#include "guest/vm_devices.h"
#include "lib/x86_regs.h"

/* What KVM answers to a hypercall that it does not know; guests that try theirs expect it. */
#define HYPERCALL_UNKNOWN ((uint64_t)-1000)

static enum disposition finish(struct vcpu *v) { return v->engine->advance(v); }

static enum disposition on_hypercall(struct vcpu *v)
{
	v->gpr[GPR_RAX] = HYPERCALL_UNKNOWN;
	return finish(v);
}

/* ---- devices ---- */

/* Not inlined, for its large frame. */
static __attribute__((noinline)) enum disposition on_string_io(struct vcpu *v)
{
	struct error err;

	switch (insn_string_io(v, &err)) {
	case ST_OK:
	case ST_BAD_ADDRESS: /* the exception is queued */
		vcpu_replan(v);
		return RESUME;
	default:
		return vcpu_crash(v, "%s", err.text);
	}
}

/* Apart from the other direction, which has need of fewer registers. */
static __attribute__((noinline)) enum disposition on_in(struct vcpu *v)
{
	unsigned size = v->exit.u.io.size;
	/* A 32-bit result clears the upper half, smaller ones keep it. */
	uint64_t mask = size == 4 ? UINT64_MAX : BIT(size * 8) - 1;

	v->gpr[GPR_RAX] = (v->gpr[GPR_RAX] & ~mask) | vm_port_read(v->vm, v->exit.u.io.port, size);
	vcpu_replan(v);
	return finish(v);
}

static enum disposition on_io(struct vcpu *v)
{
	if (unlikely(v->exit.u.io.string))
		return on_string_io(v);
	if (v->exit.u.io.in)
		return on_in(v);
	vm_port_write(v->vm, v->exit.u.io.port, v->exit.u.io.size, v->gpr[GPR_RAX]);
	vcpu_replan(v);
	return finish(v);
}

/* Nothing there that could be emulated: no instruction names this access. */
static enum disposition on_bad_fault(struct vcpu *v, const char *what)
{
	return vcpu_crash(v, "%s guest-physical 0x%llx, where there is no memory", what,
			  (unsigned long long)v->exit.u.fault.gpa.v);
}

static enum disposition on_hopeless(struct vcpu *v, enum status st)
{
	if (st != ST_BAD_ADDRESS)
		return vcpu_crash(v, "guest-physical 0x%llx could not be given memory: %s",
				  (unsigned long long)v->exit.u.fault.gpa.v, status_name(st));
	if (v->exit.u.fault.access & S2_EXEC)
		return on_bad_fault(v, "instruction fetch from");
	if (v->exit.u.fault.during_delivery)
		return on_bad_fault(v, "event delivery touched");
	return on_bad_fault(v, "a page walk reached");
}

static enum disposition on_fault(struct vcpu *v)
{
	enum status st = gpmap_fault(v->vm->memory, gpa_to_gfn(v->exit.u.fault.gpa), v->exit.u.fault.access);
	bool data;

	if (likely(st == ST_OK))
		return RESUME;
	data = !(v->exit.u.fault.access & S2_EXEC) && !v->exit.u.fault.during_delivery && v->exit.u.fault.linear_valid;
	return likely(st == ST_BAD_ADDRESS && data) ? insn_mmio_exit(v) : on_hopeless(v, st);
}

/* ---- the local APIC ---- */

static enum disposition on_eoi(struct vcpu *v)
{
	vlapic_eoi(&v->lapic, v->exit.u.eoi.vector);
	vcpu_replan(v);
	return RESUME;
}

static enum disposition on_event(struct vcpu *v)
{
	vcpu_note(v, REQ_EVENT);
	return RESUME;
}

/*
 * The engine's window closes with the exit; ours is asked for anew if something still waits. One that we did not ask
 * for was the engine's own (it may hold back what it delivers by itself): there is nothing for us to deliver.
 */
static enum disposition on_irq_window(struct vcpu *v)
{
	v->engine->want_window(v, EVENT_INTERRUPT, false);
	if (!v->irq_window)
		return RESUME;
	v->irq_window = false;
	/* At once: no instruction is under way that could still raise an exception. */
	vcpu_window_opened(v);
	vcpu_replan(v);
	return RESUME;
}

static enum disposition on_nmi_window(struct vcpu *v)
{
	v->nmi_window = false;
	v->engine->want_window(v, EVENT_NMI, false);
	return on_event(v);
}

/* ---- the host ---- */

static enum disposition recompute(struct vcpu *v)
{
	vcpu_note(v, REQ_RECOMPUTE);
	return RESUME;
}

/* Whether anything wakes it is decided where timers are looked at: before the next entry. */
static enum disposition on_hlt(struct vcpu *v)
{
	v->engine->advance(v);
	v->halted = true;
	v->halted_open = v->engine->get_reg(v, REG_RFLAGS) & RFLAGS_IF;
	return recompute(v);
}

static enum disposition on_irq(struct vcpu *v)
{
	v->host->irq(v->exit.u.irq.vector);
	return recompute(v);
}

static enum disposition on_nmi(struct vcpu *v)
{
	v->host->nmi();
	return recompute(v);
}

static enum disposition on_timer(struct vcpu *v)
{
	v->host->poll();
	return recompute(v);
}

static enum disposition on_pause(struct vcpu *v)
{
	v->engine->advance(v);
	return vcpu_spins(v) ? YIELD : RESUME;
}

/* ---- exceptions and the unsupported ---- */

static enum disposition on_undefined(struct vcpu *v)
{
	vcpu_raise(v, VEC_UD, false, 0);
	return RESUME;
}

static enum disposition on_exception(struct vcpu *v)
{
	if (v->exit.u.exception.vector == VEC_PF)
		v->engine->set_reg(v, REG_CR2, v->exit.u.exception.qualification);
	vcpu_raise(v, v->exit.u.exception.vector, v->exit.u.exception.has_error, v->exit.u.exception.error);
	return RESUME;
}

static enum disposition on_unknown(struct vcpu *v)
{
	return vcpu_crash(v, "exit of unknown kind, reason 0x%x, qualification 0x%llx", v->exit.u.raw.hw_reason,
			  (unsigned long long)v->exit.u.raw.qualification);
}

static enum disposition on_triple_fault(struct vcpu *v) { return vcpu_crash(v, "triple fault"); }

static enum disposition on_entry_failed(struct vcpu *v)
{
	return vcpu_crash(v, "%s could not enter the guest", v->engine->name);
}

static enum disposition on_unsupported(struct vcpu *v)
{
	return vcpu_crash(v, "%s is not supported", exit_kind_name(v->exit.kind));
}

/* ---- the table ---- */

const exit_handler exit_handlers[EXIT_KINDS] = {
	[EXIT_UNKNOWN] = on_unknown,
	[EXIT_CPUID] = cpuid_exit,
	[EXIT_RDMSR] = msr_exit_read,
	[EXIT_WRMSR] = msr_exit_write,
	[EXIT_IO] = on_io,
	[EXIT_FAULT] = on_fault,
	[EXIT_HLT] = on_hlt,
	[EXIT_HYPERCALL] = on_hypercall,
	[EXIT_IRQ] = on_irq,
	[EXIT_NMI] = on_nmi,
	[EXIT_TIMER] = on_timer,
	[EXIT_IRQ_WINDOW] = on_irq_window,
	[EXIT_NMI_WINDOW] = on_nmi_window,
	[EXIT_EOI] = on_eoi,
	[EXIT_TPR_BELOW] = on_event,
	[EXIT_CR_ACCESS] = creg_access,
	[EXIT_DR_ACCESS] = on_unsupported,
	[EXIT_XSETBV] = creg_xsetbv,
	/* Guest memory is coherent: there is nothing to write back. */
	[EXIT_WBINVD] = finish,
	[EXIT_PAUSE] = on_pause,
	[EXIT_UNDEFINED] = on_undefined,
	[EXIT_EXCEPTION] = on_exception,
	[EXIT_TASK_SWITCH] = on_unsupported,
	[EXIT_TRIPLE_FAULT] = on_triple_fault,
	[EXIT_INIT] = on_unsupported,
	[EXIT_STARTUP] = on_unsupported,
	[EXIT_ENTRY_FAILED] = on_entry_failed,
};

const char *exit_kind_name(enum exit_kind kind)
{
	static const char *const names[EXIT_KINDS] = {
		[EXIT_UNKNOWN] = "unknown exit",
		[EXIT_CPUID] = "cpuid",
		[EXIT_RDMSR] = "rdmsr",
		[EXIT_WRMSR] = "wrmsr",
		[EXIT_IO] = "port access",
		[EXIT_FAULT] = "memory fault",
		[EXIT_HLT] = "hlt",
		[EXIT_HYPERCALL] = "hypercall",
		[EXIT_IRQ] = "host interrupt",
		[EXIT_NMI] = "host nmi",
		[EXIT_TIMER] = "entry bound",
		[EXIT_IRQ_WINDOW] = "interrupt window",
		[EXIT_NMI_WINDOW] = "nmi window",
		[EXIT_EOI] = "virtual eoi",
		[EXIT_TPR_BELOW] = "task priority lowered",
		[EXIT_CR_ACCESS] = "control register access",
		[EXIT_DR_ACCESS] = "debug register access",
		[EXIT_XSETBV] = "xsetbv",
		[EXIT_WBINVD] = "wbinvd",
		[EXIT_PAUSE] = "pause",
		[EXIT_UNDEFINED] = "absent instruction",
		[EXIT_EXCEPTION] = "exception",
		[EXIT_TASK_SWITCH] = "task switch",
		[EXIT_TRIPLE_FAULT] = "triple fault",
		[EXIT_INIT] = "init signal",
		[EXIT_STARTUP] = "start-up ipi",
		[EXIT_ENTRY_FAILED] = "entry failure",
	};

	return (unsigned)kind < EXIT_KINDS ? names[kind] : names[EXIT_UNKNOWN];
}
