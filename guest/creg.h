/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control registers and XCR0, when the engine hands an access up: the checks of
 * the SDM (volume 3 sections 2.5, 2.6, 4.1), #GP for what they refuse, and the
 * value for the engine for the rest.
 */
#ifndef CORBEL_GUEST_CREG_H
#define CORBEL_GUEST_CREG_H

#include "guest/vcpu.h"

/* EXIT_CR_ACCESS: MOV to and from CR0, CR3, CR4, CR8; CLTS; LMSW. */
enum disposition creg_access(struct vcpu *v);
/* EXIT_XSETBV; the processor has checked privilege and CR4.OSXSAVE. */
enum disposition creg_xsetbv(struct vcpu *v);

#endif
