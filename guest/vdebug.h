/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The debug exit: a 32-bit write to its port ends the VM with that code. Only
 * there when the VM's definition asks for it; test programs report by it.
 */
#ifndef CORBEL_GUEST_VDEBUG_H
#define CORBEL_GUEST_VDEBUG_H

#include "guest/device.h"
#include "guest/vsys.h"

#define VDEBUG_LEN 4u

struct vdebug {
	struct device dev;
	const struct system_ops *ops;
	void *ctx;
};

void vdebug_init(struct vdebug *debug, const struct system_ops *ops, void *ctx);

#endif
