/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ports by which software resets a PC, and the POST code port: 0xcf9, 0x92,
 * 0x64 and 0x80. What such a port does to the VM is its creator's business, told
 * by struct system_ops; the power block and the debug exit use the same calls.
 */
#ifndef CORBEL_GUEST_VSYS_H
#define CORBEL_GUEST_VSYS_H

#include <stdint.h>

#include "guest/device.h"

/* The guest asked for the end of its machine. Called within a device's write; must not free anything. */
struct system_ops {
	void (*power_off)(void *ctx);
	void (*reset)(void *ctx);
	void (*debug_exit)(void *ctx, uint32_t code);
};

/* Register offsets of the device, mapped by the platform. */
#define VSYS_KBD_DATA 0u    /* 0x60 */
#define VSYS_KBD_CMD 1u     /* 0x64 */
#define VSYS_FAST_A20 2u    /* 0x92 */
#define VSYS_POST 3u        /* 0x80 */
#define VSYS_CONFIG 4u      /* 0xcf8..0xcff: only the byte at 0xcf9 is ours */
#define VSYS_CONFIG_LEN 8u

struct vsys {
	struct device dev;
	uint8_t post;           /* last POST code */
	uint8_t fast_a20;
	uint8_t reset_control;
	const struct system_ops *ops;
	void *ctx;
};

void vsys_init(struct vsys *sys, const struct system_ops *ops, void *ctx);

#endif
