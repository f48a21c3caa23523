/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An always-on ring of bytes addressed by a 64-bit sequence number: the oldest
 * bytes are overwritten, a reader that asks for lost bytes is told where the
 * oldest one now is. Used for each VM's console and for the hypervisor's log.
 * The owner serialises all access, readers included: by a lock that writers and
 * readers take (the hypervisor's log, a VM's console), interrupts masked.
 */
#ifndef CORBEL_LIB_BYTELOG_H
#define CORBEL_LIB_BYTELOG_H

#include <stddef.h>
#include <stdint.h>

struct bytelog {
	uint8_t *buf;   /* owned by the creator */
	uint32_t size;  /* power of two */
	uint64_t head;  /* sequence number of the next byte to be written */
};

/* @buf of @size bytes (a power of two) stays with the caller and outlives the log. */
void bytelog_init(struct bytelog *log, void *buf, uint32_t size);
void bytelog_write(struct bytelog *log, const void *data, size_t len);
void bytelog_putc(struct bytelog *log, uint8_t byte);

/* Sequence number of the oldest byte still held. */
uint64_t bytelog_oldest(const struct bytelog *log);

/*
 * Copies up to @max bytes from sequence *seq on. If *seq is older than the
 * oldest byte it is first moved there (the caller sees the gap); a *seq beyond
 * head is moved to head. Returns the count copied; *seq then names the next byte.
 */
size_t bytelog_read(const struct bytelog *log, uint64_t *seq, void *out, size_t max);

#endif
