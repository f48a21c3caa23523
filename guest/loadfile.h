/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole file in one piece of memory, for what cannot take it in parts: boot
 * loaders and the parser of scripts. A file of the seed is used where it lies; one
 * of the writable store is copied into frames of the host for as long as it is
 * wanted. The frames are contiguous, a power of two of them: a file can be as
 * large as the largest free block, at most 1 GiB. The control task's.
 */
#ifndef CORBEL_GUEST_LOADFILE_H
#define CORBEL_GUEST_LOADFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"
#include "lib/error.h"

struct machine;

struct loaded_file {
	const void *data;
	size_t size;
	bool copied;    /* the rest is set */
	hfn_t frames;
	unsigned order;
};

/*
 * ST_NOT_FOUND; ST_NO_MEMORY with the size; ST_CORRUPT, ST_IO from the store. On success
 * loadfile_drop() ends it, at the latest when the file is replaced or the seed is given up.
 */
enum status loadfile_get(struct machine *m, const char *name, struct loaded_file *out, struct error *err) MUST_CHECK;
/* Harmless for a zeroed one. */
void loadfile_drop(struct machine *m, struct loaded_file *f);

#endif
