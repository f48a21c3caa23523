/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Archives of any bytes: refused with a sentence, or every file that is listed
 * lies inside the archive and is found again by its name.
 */
#include <stdlib.h>
#include <string.h>

#include "io/store.h"
#include "lib/checked.h"

static void check_file(const struct store *s, const struct blob *b)
{
	const uint8_t *data = b->data;
	struct blob again;

	if (data < s->image || !range_fits((uint64_t)(data - s->image), b->size, s->size))
		abort();
	if (strlen(b->name) == 0 || store_find(s, b->name, &again, NULL) != ST_OK)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = {{0}};
	unsigned files = 0;
	size_t cursor = 0;
	struct store s;
	struct blob b;

	if (store_open(&s, data, size, &err) != ST_OK) {
		if (err.text[0] == '\0')
			abort();
		return 0;
	}
	for (; store_next(&s, &cursor, &b) == ST_OK; files++)
		check_file(&s, &b);
	if (files != s.files)
		abort();
	return 0;
}
