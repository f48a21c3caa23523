/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The instructions that touch device memory, decoded by Zydis and executed here:
 * MOV in its forms, MOVZX, MOVSX(D), string MOVS/STOS/LODS, and the read-modify-write forms that
 * drivers use (AND, OR, XOR, ADD, SUB, TEST, CMP, BT*, XCHG). Anything else is an error
 * that names the bytes. Decoding is a function of bytes and mode; a small per-vcpu cache keyed by
 * rip is always checked against the bytes in memory before use.
 */
#ifndef CORBEL_GUEST_INSN_H
#define CORBEL_GUEST_INSN_H

#include "guest/vcpu.h"

/* Bytes of the per-vcpu decode cache (vcpu->insn_cache), zeroed by the creator. */
uint64_t insn_cache_bytes(void);

/*
 * Emulates the instruction at vcpu->exit.rip whose access faulted at u.fault.gpa, against vm->mmio, and
 * advances rip itself. ST_OK; ST_UNSUPPORTED with @err naming the bytes; ST_BAD_ADDRESS when the
 * fetch faulted (the exception is queued, re-enter).
 */
enum status insn_emulate_mmio(struct vcpu *vcpu, struct error *err);
/* EXIT_FAULT on device memory: the same, with a short way for what is decoded already; an error stops the VM. */
enum disposition insn_mmio_exit(struct vcpu *vcpu);
/* The same for INS/OUTS (EXIT_IO with string set): bounded steps per call, restartable like hardware. */
enum status insn_string_io(struct vcpu *vcpu, struct error *err);

#endif
