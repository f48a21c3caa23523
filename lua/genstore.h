/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generations in the writable store: the text of number N is the file
 * generations/N/ORIGIN, as it was given, and what it uses generations/N.use/NAME;
 * generations/state says which one is in force.
 */
#ifndef CORBEL_LUA_GENSTORE_H
#define CORBEL_LUA_GENSTORE_H

#include "guest/loadfile.h"
#include "lua/generation.h"

bool genstore_writable(const struct control *c);
/* The name under which generation @number keeps the text used as @path. ST_INVALID: it cannot. */
MUST_CHECK enum status genstore_use_name(uint64_t number, const char *path, char out[VM_PATH_MAX], struct error *err);
/* Deletes what there is of generation @number, which an apply that failed or a lost supply may have left. */
MUST_CHECK enum status genstore_clear(struct control *c, uint64_t number, struct error *err);
MUST_CHECK enum status genstore_put(struct control *c, uint64_t number, const char *origin, const char *text,
				    size_t len, struct error *err);
/* On success loadfile_drop() ends *text. @origin is of GENERATION_ORIGIN_MAX bytes. */
MUST_CHECK enum status genstore_get(struct control *c, uint64_t number, char *origin, struct loaded_file *text,
				    struct error *err);
/* The commit: one record, so it is the old state or the new one after a power cut. */
MUST_CHECK enum status genstore_put_state(struct control *c, const struct generation_state *g, struct error *err);
/* False when there is none, or none that can be read: then @g is as before. */
bool genstore_get_state(struct control *c, struct generation_state *g);
/* Deletes the oldest beyond GENERATIONS_KEPT, never the present or the good one, and texts used by none. */
void genstore_prune(struct control *c, const struct generation_state *g);
/* Puts "generations": number, origin and size of each, rising. */
void genstore_put_list(struct control *c, struct cbor_writer *w);

#endif
