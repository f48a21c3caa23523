/* SPDX-License-Identifier: Apache-2.0 */
/* Multiboot 1 images of any bytes: refused with a sentence, or planned by the rules. */
#include "tests/fakes/boot_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return boot_fuzz_one(BOOT_MULTIBOOT, data, size);
}
