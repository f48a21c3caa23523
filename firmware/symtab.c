/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Binary search in the symbol table. Sizes are not recorded: an address between
 * two functions belongs to the one before it, which is right for return
 * addresses and padding alike.
 */
#include "firmware/symtab.h"

bool symtab_find(uint64_t address, const char **name, uint64_t *offset)
{
	uint64_t target = address - IMAGE_OFFSET;
	uint32_t lo = 0, hi = symtab_count;

	if (address < IMAGE_OFFSET)
		return false;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (symtab_addrs[mid] <= target)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == 0)
		return false;
	*name = symtab_strings + symtab_names[lo - 1];
	*offset = target - symtab_addrs[lo - 1];
	return true;
}
