/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine below the C library: newlib serves the control task alone (Lua's
 * allocator apart). Its heap is one block that firmware gives it; its files are
 * the log for output and nothing else.
 */
#ifndef CORBEL_FIRMWARE_LIBC_H
#define CORBEL_FIRMWARE_LIBC_H

#include <stddef.h>

/* The block that sbrk() hands out, for ever. Once, before the first use of malloc. */
void libc_set_heap(void *base, size_t len);

/* Bytes of it that are in use. */
size_t libc_heap_used(void);

#endif
