/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reset ports. 0xcf9 (reset control, ICH9 data sheet 13.7.5) resets when bit 2
 * rises; it sits inside the dword that PCI configuration accesses write, so that
 * guest/vpci.c has 0xcf8..0xcff and hands on what is no such access: of that only
 * byte accesses to 0xcf9 count. There
 * is no keyboard controller: its ports read all ones, which drivers take for
 * absence at once, but the reset pulse that every x86 system tries works. A20
 * cannot be masked.
 */
#include "guest/vsys.h"

#include "guest/pc.h"
#include "lib/bits.h"

#define RESET_CONTROL (VSYS_CONFIG + PC_PORT_RESET % VSYS_CONFIG_LEN)
#define RESET_CPU BIT(2)       /* 0 -> 1: reset, of the kind that the other bits choose */
#define RESET_CONTROL_KEPT (BIT(3) | BIT(2) | BIT(1))
#define FAST_A20_RESET BIT(0)  /* 0 -> 1: INIT */
#define FAST_A20_ENABLED BIT(1)

static uint64_t port_read(struct device *dev, uint64_t offset, unsigned size)
{
	struct vsys *sys = container_of(dev, struct vsys, dev);

	switch (offset) {
	case VSYS_POST:
		return sys->post;
	case VSYS_FAST_A20:
		return sys->fast_a20;
	case RESET_CONTROL:
		return size == 1 ? sys->reset_control : UINT64_MAX;
	default:
		return UINT64_MAX;
	}
}

/* Keeps the bits of @kept; true when @trigger rose. */
static bool write_trigger(uint8_t *reg, uint8_t value, uint64_t kept, uint64_t trigger)
{
	bool rises = value & ~*reg & trigger;

	*reg = value & kept;
	return rises;
}

static void port_write(struct device *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct vsys *sys = container_of(dev, struct vsys, dev);
	bool resets = false;

	switch (offset) {
	case VSYS_POST:
		sys->post = (uint8_t)value;
		break;
	case VSYS_KBD_CMD:
		resets = value == PC_KBD_CMD_RESET;
		break;
	case VSYS_FAST_A20:
		resets = write_trigger(&sys->fast_a20, (uint8_t)value, UINT8_MAX, FAST_A20_RESET);
		break;
	case RESET_CONTROL:
		resets = size == 1 && write_trigger(&sys->reset_control, (uint8_t)value, RESET_CONTROL_KEPT, RESET_CPU);
		break;
	default:
		break;
	}
	if (resets)
		sys->ops->reset(sys->ctx);
}

static void reset(struct device *dev)
{
	struct vsys *sys = container_of(dev, struct vsys, dev);

	sys->post = 0;
	sys->fast_a20 = FAST_A20_ENABLED;
	sys->reset_control = 0;
}

static const struct device_ops device_ops = {.name = "sys", .read = port_read, .write = port_write, .reset = reset};

void vsys_init(struct vsys *sys, const struct system_ops *ops, void *ctx)
{
	*sys = (struct vsys){.dev = {.ops = &device_ops}, .ops = ops, .ctx = ctx};
	reset(&sys->dev);
}
