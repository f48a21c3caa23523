/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What somebody may have meant who wrote a word we do not know: another product's
 * word for the same thing, a setting that a later version has, or a typing error.
 */
#ifndef CORBEL_LUA_HINT_H
#define CORBEL_LUA_HINT_H

#include <stdbool.h>
#include <stddef.h>

#define HINT_TEXT_MAX 128

/* The words that are known here. */
struct hint_keys {
	const char *(*key)(const void *rows, size_t i);
	const void *rows;
	size_t count;
};

#define HINT_NAMES_MAX 96
/* Some words, put together by who gives advice. */
struct hint_names {
	const char *name[HINT_NAMES_MAX];
	size_t count;
};
/* Of use as long as @names. */
struct hint_keys hint_keys_of(const struct hint_names *names);

/*
 * Writes advice on @word into @out, to stand behind the sentence that calls it
 * unknown: "; did you mean mem.size?". @path is put before the words ("mem.").
 */
void hint_for(const char *word, const char *path, const struct hint_keys *known, char *out, size_t size);

/* The first part of it: advice when @word is another product's or a later version's; false, and @out is empty. */
bool hint_other_word(const char *word, const struct hint_keys *known, char *out, size_t size);
/* The second: the nearest known word, or nothing; and the same of names. */
void hint_nearest(const char *word, const char *path, const struct hint_keys *known, char *out, size_t size);
void hint_nearest_name(const char *word, const char *path, const struct hint_names *known, char *out, size_t size);

#endif
