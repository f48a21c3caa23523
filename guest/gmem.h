/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access to guest memory by guest-physical and guest-linear address. Bytes are
 * copied once into host memory; nothing here trusts what it copies. Absent RAM
 * is populated; what is not RAM is ST_BAD_ADDRESS.
 */
#ifndef CORBEL_GUEST_GMEM_H
#define CORBEL_GUEST_GMEM_H

#include <stddef.h>

#include "guest/vm.h"
#include "lib/addr.h"

enum status gmem_read(struct vm *vm, gpa_t addr, void *out, size_t len);
enum status gmem_write(struct vm *vm, gpa_t addr, const void *data, size_t len);
enum status gmem_fill(struct vm *vm, gpa_t addr, uint8_t byte, size_t len);

/*
 * The guest's own translation of a linear address at its current mode and
 * privilege (none, 32-bit, PAE, 4-level). @access: S2_* bits. On a guest page fault ST_BAD_ADDRESS and
 * *pf_error the #PF error code; nothing is raised, accessed bits are not set (a fetch that just ran set them).
 */
enum status gmem_translate(struct vcpu *vcpu, gva_t linear, unsigned access, gpa_t *out, uint32_t *pf_error);
enum status gmem_read_linear(struct vcpu *vcpu, gva_t linear, void *out, size_t len, uint32_t *pf_error, gva_t *fault);
enum status gmem_write_linear(struct vcpu *vcpu, gva_t linear, const void *data, size_t len, uint32_t *pf_error,
			      gva_t *fault);

#endif
