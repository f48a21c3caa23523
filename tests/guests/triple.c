/* SPDX-License-Identifier: Apache-2.0 */
/* Faults with an empty IDT: a triple fault. */
#include "tests/guests/lib/guest.h"

const char guest_name[] = "triple";

void guest_main(void)
{
	static const struct descriptor_ptr nothing;

	print("triple: now\n");
	lidt(&nothing);
	__asm__ volatile("int3");
	fail_with("is still there");
}
