/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of a number of equal pieces are free: a bit for each, and above the bits
 * two levels that say which words have any, so that finding one is a bounded
 * number of looks even in the largest pool. No policy but one: the piece behind the
 * one taken last comes first, which keeps what is written in a row in a row.
 */
#ifndef CORBEL_IO_SPACE_H
#define CORBEL_IO_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPACE_LEVELS 3u
#define SPACE_MAX (1u << 26) /* pieces: the top level has 256 words then */

struct space {
	uint64_t *level[SPACE_LEVELS]; /* [0]: 1 is free; above: 1 is a word that is not 0 */
	uint32_t count, most, free;
	uint32_t next; /* tried first */
};

/* Bytes of memory for @count pieces. */
size_t space_bytes(uint32_t count);
/*
 * Nothing is free. @memory, aligned to 8, of space_bytes(@most), zeroed. @count pieces, @most of which there may be
 * some day, at most SPACE_MAX.
 */
void space_init(struct space *s, void *memory, uint32_t count, uint32_t most);
/* All of them, of which none is free, become free. */
void space_give_all(struct space *s);
/* More pieces, up to @count, all free; as many as the memory has bits for. How many came. */
uint32_t space_extend(struct space *s, uint32_t count);
/* False: nothing is free. */
bool space_take(struct space *s, uint32_t *out);
bool space_is_free(const struct space *s, uint32_t piece);
/* @piece is not free. */
void space_give(struct space *s, uint32_t piece);
/* @piece is free. */
void space_claim(struct space *s, uint32_t piece);

#endif
