/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VMCS in words: the guest's state for the crash report, and for a failed VM
 * entry each rule of the SDM that the fields break. Pure functions over an image
 * of the fields, so each rule has a host test.
 */
#ifndef CORBEL_VMX_DUMP_H
#define CORBEL_VMX_DUMP_H

#include <stdbool.h>
#include <stddef.h>

#include "vmx/ctrl.h"
#include "vmx/vmcs.h"

/* Text that grows in a fixed buffer; what does not fit is dropped. */
struct text {
	char *buf;
	size_t size, used;
};
__attribute__((format(printf, 2, 3))) void text_add(struct text *t, const char *fmt, ...);

/*
 * Writes the state, one line per subject; with @explain the broken rules come first. Returns the length.
 */
size_t dump_vmcs(const struct vmcs_image *image, bool explain, const struct vmx_caps *caps, char *buf, size_t size);

/*
 * The checks of SDM volume 3, sections 26.2 (controls and host state) and 26.3 (guest state), field by
 * field: one line into @t for each that fails. Returns how many fail. Checks that need memory (addresses of
 * pages that the fields point to) stop at alignment and width. @phys_bits: physical-address width.
 */
unsigned dump_check_controls(const struct vmcs_image *image, const struct vmx_caps *caps, unsigned phys_bits,
			     struct text *t);
unsigned dump_check_host(const struct vmcs_image *image, const struct vmx_caps *caps, unsigned phys_bits,
			 struct text *t);
unsigned dump_check_guest(const struct vmcs_image *image, const struct vmx_caps *caps, unsigned phys_bits,
			  struct text *t);

#endif
