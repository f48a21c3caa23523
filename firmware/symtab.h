/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image's own symbol table, for backtraces: made by the build from a first
 * link and put behind the code in a second one (board/symtab.py). The tables are
 * empty in the first link.
 */
#ifndef CORBEL_FIRMWARE_SYMTAB_H
#define CORBEL_FIRMWARE_SYMTAB_H

#include <stdbool.h>
#include <stdint.h>

#define IMAGE_OFFSET 0xffffffff80000000ull /* linked address minus physical address */

extern const uint32_t symtab_count;
extern const uint32_t symtab_addrs[]; /* ascending, offsets from IMAGE_OFFSET */
extern const uint32_t symtab_names[]; /* offsets into symtab_strings */
extern const char symtab_strings[];

/*
 * The last symbol at or below @address. False when there is none; else *name is
 * in static storage and *offset the distance from the symbol.
 */
bool symtab_find(uint64_t address, const char **name, uint64_t *offset);

#endif
