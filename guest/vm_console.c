/* SPDX-License-Identifier: Apache-2.0 */
/* See vm_console.h. */
#include "guest/vm_console.h"

#include "guest/guest_mem.h"
#include "guest/vm.h"

static void printed(void *ctx, const uint8_t *data, size_t bytes) { console_write(ctx, data, bytes); }
static size_t typed(void *ctx, uint8_t *out, size_t max) { return console_take(ctx, out, max); }
static void listens(void *ctx, bool on) { console_port_listens(ctx, on); }

static const struct virtio_console_ops ops = {.write = printed, .read = typed, .listens = listens};

void vm_console_init(struct vm_console *c, struct vm *vm)
{
	struct guest_mem mem = vm_guest_mem(vm);

	virtio_console_init(&c->port, &mem, &ops, &vm->console);
	put_le16(c->port.config + VIRTIO_CONSOLE_CFG_COLS, vm->console.columns);
	put_le16(c->port.config + VIRTIO_CONSOLE_CFG_ROWS, vm->console.rows);
}

void vm_console_resized(struct vm_console *c, const struct vm *vm)
{
	virtio_console_resize(&c->port, vm->console.columns, vm->console.rows);
}
