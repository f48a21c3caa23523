/* SPDX-License-Identifier: Apache-2.0 */
/* See keep.h. */
#include "lua/keep.h"

#include <string.h>

#include "lua/control_internal.h"

static const struct files *files_of(const struct control *c)
{
	return c->cfg.machine->files;
}

/* A store that refuses a write is a device that fails, not a session that may not. */
static enum status not_denied(enum status st)
{
	return st == ST_DENIED ? ST_IO : st;
}

bool keep_lasts(const struct control *c)
{
	struct kvlog_stats stats;

	if (!files_of(c)->kv)
		return false;
	kvlog_stats(files_of(c)->kv, &stats);
	return stats.writable;
}

static enum status read_seed(const struct control *c, const char *name, void *out, size_t size, size_t *len,
			     struct error *err)
{
	struct blob blob;
	enum status st = files_of(c)->seed ? store_find(files_of(c)->seed, name, &blob, err) :
					     fail(err, ST_NOT_FOUND, "there is no %s", name);

	if (st != ST_OK)
		return st;
	if (blob.size > size)
		return fail(err, ST_OVER_LIMIT, "%s is longer than %zu bytes", name, size);
	memcpy(out, blob.data, blob.size);
	*len = blob.size;
	return ST_OK;
}

enum status keep_read(const struct control *c, const char *name, void *out, size_t size, size_t *len, struct error *err)
{
	struct kvlog *kv = files_of(c)->kv;
	struct kvlog_info info;

	if (!kv || kvlog_stat(kv, name, &info, NULL) != ST_OK)
		return read_seed(c, name, out, size, len, err);
	if (info.size > size)
		return fail(err, ST_OVER_LIMIT, "%s is longer than %zu bytes", name, size);
	return kvlog_read(kv, name, info.version, 0, out, size, len, err);
}

enum status keep_write(struct control *c, const char *name, const void *data, size_t len, struct error *err)
{
	struct kvlog *kv = files_of(c)->kv;

	if (!kv)
		return fail(err, ST_IO, "there is no writable store: %.180s", files_of(c)->why_not);
	return not_denied(kvlog_put(kv, name, data, len, err));
}

enum status keep_delete(struct control *c, const char *name, struct error *err)
{
	struct kvlog *kv = files_of(c)->kv;

	if (!kv)
		return fail(err, ST_IO, "there is no writable store: %.180s", files_of(c)->why_not);
	return not_denied(kvlog_delete(kv, name, err));
}

enum status keep_next(const struct control *c, const char *prefix, const char *after, char out[KEEP_NAME_MAX])
{
	struct kvlog *kv = files_of(c)->kv;
	struct kvlog_info info;

	if (!kv || kvlog_next(kv, prefix, after, &info) != ST_OK || strlen(info.key) >= KEEP_NAME_MAX)
		return ST_NOT_FOUND;
	memcpy(out, info.key, strlen(info.key) + 1);
	return ST_OK;
}
