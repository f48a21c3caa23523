/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM without an image, for tests that only want its devices: stands in for
 * guest/boot.h. Definitions: include it in exactly one file of a test program,
 * whose symbols then win over those of the library.
 */
#ifndef CORBEL_TESTS_NO_BOOT_H
#define CORBEL_TESTS_NO_BOOT_H

#include "guest/boot.h"

enum status layout_build(const struct vm_config *cfg, struct guest_layout *out, struct error *err)
{
	(void)err;
	*out = (struct guest_layout){.ram_low = cfg->memory.size};
	return ST_OK;
}

enum status acpi_build(struct vm *vm, const struct guest_layout *layout, struct error *err)
{
	(void)vm, (void)layout, (void)err;
	return ST_OK;
}

enum status boot_load(struct vm *vm, const struct guest_layout *layout, struct error *err)
{
	(void)vm, (void)layout, (void)err;
	return ST_OK;
}

#endif
