/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How pure parsers read physical memory that others wrote (loader information,
 * ACPI tables): through a callback that knows what is mapped. On the machine it
 * is arithmetic or a read-only window, in tests and fuzzers a bounded buffer.
 */
#ifndef CORBEL_FIRMWARE_PHYS_H
#define CORBEL_FIRMWARE_PHYS_H

#include <stdint.h>

#include "lib/addr.h"

struct phys_reader {
	/*
	 * Address of @len readable bytes at @at, NULL when any of them cannot be
	 * read. Stays valid while the reader is used. @len is not 0.
	 */
	const void *(*map)(void *ctx, hpa_t at, uint64_t len);
	void *ctx;
};

static inline const void *phys_map(const struct phys_reader *r, uint64_t at, uint64_t len)
{
	return r->map(r->ctx, hpa(at), len);
}

#endif
