/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything here works on a machine of which little can be trusted: no
 * interrupts, no lock, no allocation, no wait without a bound.
 */
#include "firmware/report.h"

#include <stdarg.h>

#include "firmware/backtrace.h"
#include "firmware/hostlog.h"
#include "firmware/ipi.h"
#include "firmware/percpu.h"
#include "firmware/power.h"
#include "firmware/stack.h"
#include "firmware/uart.h"
#include "lib/bits.h"
#include "lib/format.h"
#include "lib/x86_asm.h"

#define REPORT_LINE_MAX 320
#define REPORT_FRAMES_MAX 32
#define COM1_PORT 0x3f8

static struct uart_polled port = {.port = COM1_PORT};
static enum report_action action = REPORT_HALT;
static uint32_t reporting_cpu_plus_1; /* 0 = none; set once, by compare and exchange */

void report_set_port(uint16_t p, bool set_up)
{
	port = (struct uart_polled){.port = p, .set_up = set_up};
}

void report_set_action(enum report_action a)
{
	action = a;
}

__attribute__((noreturn)) static void stop_here(void)
{
	__atomic_store_n(&this_cpu()->stopped, true, __ATOMIC_RELEASE);
	for (;;) {
		cli();
		hlt();
	}
}

void report_begin(void)
{
	struct percpu *cpu = this_cpu();
	uint32_t nobody = 0;

	cli();
	if (cpu->reporting) {
		static const char text[] = "\n*** fault inside the report, halted\n";

		uart_polled_write(&port, text, sizeof(text) - 1);
		stop_here();
	}
	if (!__atomic_compare_exchange_n(&reporting_cpu_plus_1, &nobody, cpu->id + 1, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		stop_here();
	cpu->reporting = true;
	ipi_stop_others();
	/* A fault from here on must not overwrite the frames of the one being reported. */
	cpu->tss.ist[IST_FAULT - 1] = cpu->tss.ist[IST_NESTED - 1];
	hostlog_flush(&port);
}

void report_printf(const char *fmt, ...)
{
	char line[REPORT_LINE_MAX];
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	len = format_v(line, sizeof(line), fmt, ap);
	va_end(ap);
	len = MIN(len, sizeof(line) - 1);
	uart_polled_write(&port, line, len);
	/* Into the history too, unless the machine goes on: then the UART's interrupts would send it again. */
	if (this_cpu()->reporting)
		bytelog_write(&host_log, line, len);
}

void report_registers(const struct trap_frame *f)
{
	report_printf("rax %016llx rbx %016llx rcx %016llx rdx %016llx\n", (unsigned long long)f->rax,
		      (unsigned long long)f->rbx, (unsigned long long)f->rcx, (unsigned long long)f->rdx);
	report_printf("rsi %016llx rdi %016llx rbp %016llx rsp %016llx\n", (unsigned long long)f->rsi,
		      (unsigned long long)f->rdi, (unsigned long long)f->rbp, (unsigned long long)f->rsp);
	report_printf("r8  %016llx r9  %016llx r10 %016llx r11 %016llx\n", (unsigned long long)f->r8,
		      (unsigned long long)f->r9, (unsigned long long)f->r10, (unsigned long long)f->r11);
	report_printf("r12 %016llx r13 %016llx r14 %016llx r15 %016llx\n", (unsigned long long)f->r12,
		      (unsigned long long)f->r13, (unsigned long long)f->r14, (unsigned long long)f->r15);
	report_printf("rip %016llx rflags %08llx cs %04llx ss %04llx\n", (unsigned long long)f->rip,
		      (unsigned long long)f->rflags, (unsigned long long)f->cs, (unsigned long long)f->ss);
}

void report_control_registers(void)
{
	report_printf("cr0 %016llx cr2 %016llx cr3 %016llx cr4 %016llx\n", (unsigned long long)read_cr0(),
		      (unsigned long long)read_cr2(), (unsigned long long)read_cr3(), (unsigned long long)read_cr4());
	report_printf("efer %08llx gs base %016llx dr6 %08llx dr7 %08llx\n", (unsigned long long)rdmsr(MSR_IA32_EFER),
		      (unsigned long long)rdmsr(MSR_IA32_GS_BASE), (unsigned long long)read_dr6(),
		      (unsigned long long)read_dr7());
}

void report_context(void)
{
	const char *what = trap_context ? trap_context() : NULL;

	report_printf("cpu %u, running: %s\n", this_cpu()->id, what ? what : "boot");
}

void report_backtrace(uint64_t rip, uint64_t rbp)
{
	uint64_t trace[REPORT_FRAMES_MAX];
	unsigned n = backtrace_capture(rbp, trace, REPORT_FRAMES_MAX);
	char name[96];

	report_printf("backtrace:\n  %016llx %s\n", (unsigned long long)rip, backtrace_symbol(rip, name, sizeof(name)));
	for (unsigned i = 0; i < n; i++)
		/* The call, not the instruction after it, which may be another function's. */
		report_printf("  %016llx %s\n", (unsigned long long)trace[i],
			      backtrace_symbol(trace[i] - 1, name, sizeof(name)));
}

void report_stack(uint64_t rsp, uint64_t fault_address)
{
	const struct stack *s = stack_of_guard(fault_address);

	if (s) {
		report_printf("stack overflow: guard page of stack '%s' (%llu KiB)\n", s->name,
			      (unsigned long long)(s->hi - s->lo) / 1024);
		return;
	}
	s = stack_of(rsp);
	if (s)
		report_printf("stack '%s', %llu of %llu bytes left\n", s->name, (unsigned long long)(rsp - s->lo),
			      (unsigned long long)(s->hi - s->lo));
	else
		report_printf("rsp is on no known stack\n");
}

/* Where the others were when they were stopped. */
static void report_others(void)
{
	char name[96];

	for (unsigned i = 0; i < cpu_count; i++) {
		const struct percpu *p = percpu_of(i);
		const struct nmi_record *r = &p->nmi;

		if (p == this_cpu())
			continue;
		if (!__atomic_load_n(&p->stopped, __ATOMIC_ACQUIRE))
			report_printf("cpu %u did not stop\n", i);
		else
			report_printf("cpu %u stopped at %016llx %s, running: %s\n", i, (unsigned long long)r->rip,
				      backtrace_symbol(r->rip, name, sizeof(name)), r->context ? r->context : "boot");
	}
}

__attribute__((noreturn)) void report_end(void)
{
	report_others();
	switch (action) {
	case REPORT_RESET:
		report_printf("*** resetting\n");
		host_reset();
	case REPORT_POWER_OFF:
		report_printf("*** powering off\n");
		host_power_off();
	case REPORT_HALT:
	default:
		report_printf("*** halted\n");
		stop_here();
	}
}

void report_panic(const char *text)
{
	const uint64_t *frame = __builtin_frame_address(0);

	report_begin();
	report_printf("\n*** corbel: panic: %s\n", text);
	report_context();
	report_control_registers();
	report_backtrace(frame[1], frame[0]); /* from the caller on */
	report_stack((uint64_t)frame, 0);
	report_end();
}
