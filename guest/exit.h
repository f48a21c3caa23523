/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a vcpu stopped executing, in words that no engine owns: plain data, the
 * same record for dispatch, trace, tests and the crash report. The engine's
 * decode fills it; handlers never read hardware.
 */
#ifndef CORBEL_GUEST_EXIT_H
#define CORBEL_GUEST_EXIT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/addr.h"

enum exit_kind {
	EXIT_UNKNOWN = 0, /* raw reason in u.raw: stops the VM, never advances */
	EXIT_CPUID,
	EXIT_RDMSR,
	EXIT_WRMSR,
	EXIT_IO,          /* IN, OUT and their string forms */
	EXIT_FAULT,       /* second-stage fault: first touch, MMIO or a hole */
	EXIT_HLT,
	EXIT_HYPERCALL,   /* VMCALL */
	EXIT_IRQ,         /* a physical interrupt of the host, vector acknowledged */
	EXIT_NMI,         /* a physical NMI: the host's */
	EXIT_TIMER,       /* the bound of this entry was reached */
	EXIT_IRQ_WINDOW,
	EXIT_NMI_WINDOW,
	EXIT_EOI,         /* virtual EOI of a level-triggered vector; trap-like */
	EXIT_TPR_BELOW,
	EXIT_CR_ACCESS,
	EXIT_DR_ACCESS,
	EXIT_XSETBV,
	EXIT_WBINVD,      /* WBINVD, INVD */
	EXIT_PAUSE,
	EXIT_UNDEFINED,   /* an instruction that this machine does not have (VMX, MWAIT, RDPMC, ...): #UD */
	EXIT_EXCEPTION,   /* an exception that the engine intercepts */
	EXIT_TASK_SWITCH,
	EXIT_TRIPLE_FAULT,
	EXIT_INIT,
	EXIT_STARTUP,
	EXIT_ENTRY_FAILED, /* the engine has explained it in its report */
	EXIT_KINDS
};

struct exit {
	enum exit_kind kind;
	uint32_t length;        /* of the instruction, bytes; 0 when not defined for this kind */
	uint64_t rip;
	union {
		struct { uint32_t raw, hw_reason; uint64_t qualification; } raw;
		struct { uint32_t index; } msr;                  /* value in rdx:rax */
		struct {
			uint16_t port;
			uint8_t size;                            /* 1, 2, 4 */
			bool in, string, rep;
			uint64_t linear;                         /* guest linear address of a string access */
			uint8_t address_size;                    /* 2, 4, 8: width of rcx, rsi, rdi in a string access */
		} io;
		struct {
			gpa_t gpa;
			unsigned access;                         /* S2_READ, S2_WRITE, S2_EXEC bits */
			bool linear_valid;
			uint64_t linear;
			bool during_delivery;                    /* while an event was being delivered */
		} fault;
		struct { uint8_t vector; } irq;
		struct { uint8_t vector; } eoi;
		struct { uint8_t cr, gpr; bool write, clts, lmsw; uint16_t lmsw_value; } cr;
		struct { uint8_t dr, gpr; bool write; } dr;
		struct { uint8_t vector; bool has_error; uint32_t error; uint64_t qualification; } exception;
		struct { uint8_t vector; } startup;
	} u;
};

/* What a handler wants to happen next. */
enum disposition {
	RESUME, /* re-enter, the scheduler untouched: no lock shared between VMs, no allocation, no log, no Lua */
	BLOCK,  /* the vcpu waits for an event */
	YIELD,  /* still ready; let the scheduler choose */
	STOP,   /* the VM left the running state; vm->report says why */
};

const char *exit_kind_name(enum exit_kind kind);

#endif
