/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a VM exit's raw fields to struct exit, without reading hardware: which
 * fields an exit reason needs is a table, and what they mean is a pure function.
 * run.c reads the fields and asks.
 */
#ifndef CORBEL_VMX_DECODE_H
#define CORBEL_VMX_DECODE_H

#include <stdint.h>

#include "guest/exit.h"
#include "memmgr/stage2.h"
#include "vmx/vmcs.h"

#define NEED_LENGTH BIT(0)
#define NEED_QUALIFICATION BIT(1)
#define NEED_INTERRUPTION BIT(2) /* exit interruption information and error code */
#define NEED_ADDRESS BIT(3)      /* guest-physical and guest-linear address */
#define NEED_VECTORING BIT(4)    /* an event can have been in delivery (27.2.4) */
#define NEED_STRING BIT(5)       /* linear address and instruction information when the access is INS or OUTS */

/* One basic reason: its kind and what must be read to fill it in. */
struct decode_row {
	uint8_t kind;  /* enum exit_kind */
	uint8_t needs; /* NEED_* */
};
#define DECODE_ROWS 128u /* a power of two: the short way of an exit masks the reason instead of comparing */
extern const struct decode_row decode_rows[DECODE_ROWS];
_Static_assert(VMEXIT_COUNT <= DECODE_ROWS, "every assigned reason has a row");

/* Fields that the reason does not need are 0. */
struct exit_raw {
	uint32_t reason; /* as read, with its flag bits */
	uint32_t length;
	uint64_t rip, qualification, gpa, linear;
	uint32_t intr_info, intr_error;
	uint32_t idt_info, idt_error;
	uint32_t instruction_info;
	uint64_t rcx;    /* the guest's, for RDMSR and WRMSR */
};

/* The two details that come by the hundred thousand, for run.c too: IN or OUT, and a fault outside event delivery. */
static inline void decode_io(struct exit *out, uint64_t qualification)
{
	out->u.io.port = QUAL_IO_PORT(qualification);
	out->u.io.size = (uint8_t)((qualification & QUAL_IO_SIZE_MASK) + 1);
	out->u.io.in = qualification & QUAL_IO_IN;
	out->u.io.string = false;
	out->u.io.rep = false;
}

_Static_assert(QUAL_EPT_READ == S2_READ && QUAL_EPT_WRITE == S2_WRITE && QUAL_EPT_FETCH == S2_EXEC, "bits 2:0");

static inline void decode_fault(struct exit *out, uint64_t qualification, uint64_t address, uint64_t linear)
{
	bool valid = qualification & QUAL_EPT_LINEAR_VALID;

	out->u.fault.gpa = gpa(address);
	out->u.fault.access = qualification & S2_RWX;
	out->u.fault.linear_valid = valid;
	out->u.fault.linear = valid ? linear : 0;
	out->u.fault.during_delivery = false;
}

/* Row of @reason, which may be any value; an entry failure and an unassigned reason get the row of EXIT_UNKNOWN. */
struct decode_row decode_row_of(uint32_t reason);
void exit_decode(const struct exit_raw *raw, struct exit *out);

#endif
