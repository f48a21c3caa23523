/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's memory as its devices have it (io/guest_mem.h), over memory management's
 * page map: a pin populates the page and keeps it. All of a guest's RAM is backed
 * in this version, so that a pin answers NOW or FAIL.
 */
#ifndef CORBEL_GUEST_GUEST_MEM_H
#define CORBEL_GUEST_GUEST_MEM_H

#include "io/guest_mem.h"

struct vm;

/* Valid while @vm is built. */
struct guest_mem vm_guest_mem(struct vm *vm);

#endif
