/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A text's use() is answered from one of three places: the files of the store
 * (a new text, which is noted; and whatever is no generation's), or what the
 * generation holds, when it is brought up again and when one of its hooks asks.
 * Nobody writes files between the run that notes them and the copy: both are
 * within one request.
 */
#include "lua/genuse.h"

#include <string.h>

#include "guest/loadfile.h"
#include "lib/format.h"
#include "lua/control_internal.h"
#include "lua/genstore.h"

void genuse_begin(struct control *c, uint64_t from)
{
	c->uses.from = from;
	c->uses.count = 0;
	c->uses.bytes = 0;
}

/* The generation whose texts the running script gets; 0: the store's files. */
static uint64_t holder(const struct control *c)
{
	const struct script *s = c->policy.running;

	if (!genstore_writable(c)) /* then there is the seed alone, which does not change */
		return 0;
	if (c->planning)
		return c->uses.from;
	return s && s->of_generation ? s->generation : 0;
}

static bool noted(const struct genuse *u, const char *path)
{
	for (unsigned i = 0; i < u->count; i++)
		if (strcmp(u->names[i], path) == 0)
			return true;
	return false;
}

static enum status note(struct control *c, const char *path, uint64_t size, struct error *err)
{
	struct genuse *u = &c->uses;
	char name[VM_PATH_MAX];
	enum status st;

	if (noted(u, path))
		return ST_OK;
	if (u->count == GENUSE_FILES_MAX)
		return fail(err, ST_OVER_LIMIT, "%s: a text uses at most %u files", path, GENUSE_FILES_MAX);
	if (u->bytes + size > GENUSE_BYTES_MAX)
		return fail(err, ST_OVER_LIMIT, "%s: the files that a text uses have at most %u bytes together", path,
			    GENUSE_BYTES_MAX);
	st = genstore_use_name(1, path, name, err);
	if (st != ST_OK)
		return st;
	format(u->names[u->count++], sizeof u->names[0], "%s", path);
	u->bytes += size;
	return ST_OK;
}

enum status genuse_find(struct control *c, const char *path, struct file *out, struct error *err)
{
	uint64_t from = holder(c);
	char name[VM_PATH_MAX];
	enum status st;

	if (from != 0) {
		st = genstore_use_name(from, path, name, err);
		if (st == ST_OK && files_find(c->cfg.machine->files, name, out, err) != ST_OK)
			st = fail(err, ST_NOT_FOUND, "generation %llu does not hold %s: its text did not use it when it "
				  "was applied", (unsigned long long)from, path);
	} else {
		st = files_find(c->cfg.machine->files, path, out, err);
	}
	if (st == ST_OK && out->size > GENUSE_FILE_BYTES_MAX)
		st = fail(err, ST_OVER_LIMIT, "%s has more than %u bytes", path, GENUSE_FILE_BYTES_MAX);
	if (st == ST_OK && from == 0 && c->planning && genstore_writable(c))
		st = note(c, path, out->size, err);
	return st;
}

static enum status copy(struct control *c, uint64_t number, const char *path, struct error *err)
{
	struct loaded_file file = {0};
	char name[VM_PATH_MAX];
	enum status st = genstore_use_name(number, path, name, err);

	if (st == ST_OK)
		st = loadfile_get(c->cfg.machine, path, &file, err);
	if (st == ST_OK)
		st = files_put(c->cfg.machine->files, name, file.data, file.size, err);
	loadfile_drop(c->cfg.machine, &file);
	return st;
}

enum status genuse_keep(struct control *c, uint64_t number, struct error *err)
{
	enum status st = ST_OK;

	for (unsigned i = 0; i < c->uses.count && st == ST_OK; i++)
		st = copy(c, number, c->uses.names[i], err);
	return st;
}
