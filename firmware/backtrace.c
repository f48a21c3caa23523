/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frame is (caller's RBP, return address) at RBP. A caller's frame lies above
 * its callee's on the same stack; anything else ends the walk.
 */
#include "firmware/backtrace.h"

#include "firmware/stack.h"
#include "firmware/symtab.h"
#include "lib/bits.h"
#include "lib/format.h"

#define FRAME_BYTES 16u

unsigned backtrace_capture(uint64_t rbp, uint64_t *out, unsigned max)
{
	const struct stack *s = stack_of(rbp);
	unsigned n = 0;

	while (s && n < max && is_aligned(rbp, 8) && rbp >= s->lo && rbp <= s->hi - FRAME_BYTES) {
		const uint64_t *frame = (const uint64_t *)rbp;

		if (frame[1] == 0)
			break;
		out[n++] = frame[1];
		if (frame[0] <= rbp)
			break;
		rbp = frame[0];
	}
	return n;
}

const char *backtrace_symbol(uint64_t address, char *out, size_t size)
{
	const char *name;
	uint64_t offset;

	if (symtab_find(address, &name, &offset))
		format(out, size, "%s+0x%llx", name, (unsigned long long)offset);
	else
		format(out, size, "?");
	return out;
}
