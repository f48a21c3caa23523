/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in the store, by name: a table of entries, an array of their numbers
 * in the order of names for searching and listing, and for each blob of more
 * than one record a chain of where its pieces lie. An insertion moves half of the
 * array, 1 KiB; at a thousand names that is cheaper than any tree.
 */
#include <string.h>

#include "io/kvlog_internal.h"
#include "lib/assert.h"

void index_init(struct kvlog *kv)
{
	kv->keys = 0;
	kv->live = 0;
	for (uint32_t i = 0; i < KVLOG_KEYS_MAX; i++)
		kv->order[i] = (uint16_t)i;
	for (uint32_t i = 0; i < kv->pool_size; i++)
		kv->pool[i] = (struct piece){NONE, i + 1 < kv->pool_size ? i + 1 : NONE};
	kv->pool_free = 0;
	kv->cursor.first = NONE;
}

uint32_t index_lower(const struct kvlog *kv, const char *key, bool *exact)
{
	uint32_t low = 0, high = kv->keys;

	*exact = false;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		int order = strcmp(kv->entries[kv->order[middle]].key, key);

		if (order < 0)
			low = middle + 1;
		else
			high = middle;
		*exact |= order == 0;
	}
	return low;
}

struct entry *index_find(const struct kvlog *kv, const char *key)
{
	bool exact;
	uint32_t place = index_lower(kv, key, &exact);

	return exact ? &kv->entries[kv->order[place]] : NULL;
}

struct entry *index_add(struct kvlog *kv, const char *key)
{
	bool exact;
	uint32_t place = index_lower(kv, key, &exact);
	uint16_t number;
	struct entry *e;

	ASSERT(!exact);
	if (kv->keys == KVLOG_KEYS_MAX)
		return NULL;
	number = kv->order[kv->keys];
	memmove(kv->order + place + 1, kv->order + place, (kv->keys - place) * sizeof *kv->order);
	kv->order[place] = number;
	kv->keys++;
	e = &kv->entries[number];
	*e = (struct entry){.first = NONE};
	memcpy(e->key, key, strlen(key) + 1);
	return e;
}

void index_remove(struct kvlog *kv, struct entry *e)
{
	bool exact;
	uint32_t place = index_lower(kv, e->key, &exact);
	uint16_t number = kv->order[place];

	ASSERT(exact);
	chain_free(kv, e->first);
	kv->keys--;
	memmove(kv->order + place, kv->order + place + 1, (kv->keys - place) * sizeof *kv->order);
	kv->order[kv->keys] = number;
}

uint64_t entry_units(const struct kvlog *kv, const struct entry *e)
{
	struct record last = {.type = RECORD_COMMIT, .len = (uint32_t)(e->size - (uint64_t)e->pieces * kv->piece_bytes)};

	memcpy(last.key, e->key, sizeof last.key);
	return (uint64_t)e->pieces * kv->record_units + record_units_of(kv, &last);
}

/* ---- chains ---- */

bool chain_add(struct kvlog *kv, uint32_t *first, uint32_t *last, uint32_t at)
{
	uint32_t number = kv->pool_free;

	if (number == NONE)
		return false;
	kv->pool_free = kv->pool[number].next;
	kv->pool[number] = (struct piece){at, NONE};
	if (*first == NONE)
		*first = number;
	else
		kv->pool[*last].next = number;
	*last = number;
	return true;
}

void chain_free(struct kvlog *kv, uint32_t first)
{
	if (first == kv->cursor.first)
		kv->cursor.first = NONE;
	while (first != NONE) {
		uint32_t next = kv->pool[first].next;

		kv->pool[first] = (struct piece){NONE, kv->pool_free};
		kv->pool_free = first;
		first = next;
	}
}

/* Goes on from where the last call for this chain ended, so that reading in order does not start over each time. */
struct piece *chain_at(struct kvlog *kv, uint32_t first, uint32_t n)
{
	bool on = first != NONE && first == kv->cursor.first && n >= kv->cursor.n;
	uint32_t index = on ? kv->cursor.index : first, left = on ? n - kv->cursor.n : n;

	for (; index != NONE && left > 0; left--)
		index = kv->pool[index].next;
	if (index == NONE)
		return NULL;
	kv->cursor.first = first;
	kv->cursor.n = n;
	kv->cursor.index = index;
	return &kv->pool[index];
}
