/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placeholder for the interface's two calls until the decoder lands: everything
 * is refused by name, which stops the VM with a report.
 */
#include "guest/insn.h"

#include "lib/error.h"

uint64_t insn_cache_bytes(void) { return 0; }

enum status insn_emulate_mmio(struct vcpu *vcpu, struct error *err)
{
	return fail(err, ST_UNSUPPORTED, "device memory at 0x%llx was touched, which is not emulated yet",
		    (unsigned long long)vcpu->exit.u.fault.gpa.v);
}

enum status insn_string_io(struct vcpu *vcpu, struct error *err)
{
	return fail(err, ST_UNSUPPORTED, "string access to port 0x%x, which is not emulated yet",
		    vcpu->exit.u.io.port);
}
