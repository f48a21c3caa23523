/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The view has no state of its own: each question goes to the writable store
 * first and then to the seed, and a listing takes the lesser of the two next
 * names. The seed's tens of entries are in no order and are walked each time.
 */
#include "io/files.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/checked.h"
#include "lib/format.h"
#include "lib/log.h"

_Static_assert(KVLOG_KEY_MAX < sizeof ((struct file *)0)->name, "every key is a name");

void files_init(struct files *f, const struct store *seed, const char *why_not)
{
	*f = (struct files){.seed = seed};
	format(f->why_not, sizeof f->why_not, "%s", why_not);
}

void files_attach(struct files *f, struct kvlog *kv)
{
	f->kv = kv;
	f->why_not[0] = '\0';
	f->unreadable = false;
}

static enum status without(struct files *f, enum status st, const struct error *why, struct error *err)
{
	format(f->why_not, sizeof f->why_not, "%s", why->text);
	f->unreadable = true;
	return fail(err, st, "%s", why->text);
}

/* An empty store on the range, opened. */
static enum status make(struct files *f, uint64_t id, struct error *err)
{
	struct error why;
	struct kvlog *kv;
	enum status st = kvlog_format(&f->range, id, f->memory, f->memory_bytes, &why);

	if (st == ST_OK)
		st = kvlog_open(&f->range, false, f->memory, f->memory_bytes, &kv, &why);
	if (st != ST_OK)
		return without(f, st, &why, err);
	files_attach(f, kv);
	return ST_OK;
}

enum status files_mount(struct files *f, const struct block_range *range, uint64_t id, void *memory,
			size_t memory_bytes, bool *formatted, struct error *err)
{
	struct error why;
	struct kvlog *kv;
	enum status st = kvlog_open(range, false, memory, memory_bytes, &kv, &why);

	f->range = *range;
	f->memory = memory;
	f->memory_bytes = memory_bytes;
	*formatted = st == ST_NOT_FOUND;
	if (*formatted)
		return make(f, id, err);
	if (st == ST_OK) {
		files_attach(f, kv);
		return ST_OK;
	}
	return without(f, st, &why, err);
}

enum status files_check_format(const struct files *f, struct error *err)
{
	if (f->range.count == 0)
		return fail(err, ST_NOT_FOUND, "there is nothing to format: %.180s", f->why_not);
	if (f->range.device->read_only)
		return fail(err, ST_DENIED, "%s is read-only", f->range.device->name);
	return ST_OK;
}

enum status files_format(struct files *f, uint64_t id, struct error *err)
{
	f->kv = NULL; /* its memory is used for the new one */
	return make(f, id, err);
}

static bool is_own(const char *name)
{
	return strncmp(name, FILES_OWN, sizeof FILES_OWN - 1) == 0;
}

static enum status check_write(const struct files *f, const char *name, struct error *err)
{
	if (is_own(name))
		return fail(err, ST_DENIED, "names below " FILES_OWN " are the machine's own");
	if (f->kv)
		return ST_OK;
	return fail(err, ST_DENIED, "there is no writable store: %.180s", f->why_not);
}

/* ---- reading ---- */

static void from_seed(const struct blob *b, struct file *out)
{
	memcpy(out->name, b->name, sizeof out->name);
	out->size = b->size;
	out->version = 0;
	out->data = b->data;
}

static void from_kv(const struct kvlog_info *info, struct file *out)
{
	memcpy(out->name, info->key, strlen(info->key) + 1);
	out->size = info->size;
	out->version = info->version;
	out->data = NULL;
}

enum status files_find(const struct files *f, const char *name, struct file *out, struct error *err)
{
	char clean[sizeof out->name];
	struct kvlog_info info;
	struct blob blob;

	/* A name that cannot be in the one may well be in the other. */
	if (!is_own(name) && f->kv && kvlog_stat(f->kv, name, &info, NULL) == ST_OK) {
		from_kv(&info, out);
		return ST_OK;
	}
	if (!is_own(name) && f->seed && store_find(f->seed, name, &blob, NULL) == ST_OK) {
		from_seed(&blob, out);
		return ST_OK;
	}
	return fail(err, ST_NOT_FOUND, "there is no file '%s' in the store",
		    log_clean(clean, sizeof clean, name, strlen(name)));
}

enum status files_read(const struct files *f, const struct file *file, uint64_t offset, void *buf, size_t len,
		       size_t *got, struct error *err)
{
	if (!file->data)
		return kvlog_read(f->kv, file->name, file->version, offset, buf, len, got, err);
	if (offset > file->size)
		return fail(err, ST_INVALID, "'%s' has %llu bytes, none at %llu", file->name,
			    (unsigned long long)file->size, (unsigned long long)offset);
	*got = (size_t)MIN((uint64_t)len, file->size - offset);
	memcpy(buf, (const uint8_t *)file->data + offset, *got);
	return ST_OK;
}

/* The seed's first name behind @after that begins with @prefix. */
static bool seed_next(const struct files *f, const char *prefix, const char *after, struct blob *out)
{
	size_t cursor = 0, len = strlen(prefix);
	struct blob b;
	bool any = false;

	while (f->seed && store_next(f->seed, &cursor, &b) == ST_OK) {
		if (is_own(b.name) || strncmp(b.name, prefix, len) != 0 || strcmp(b.name, after) <= 0)
			continue;
		if (!any || strcmp(b.name, out->name) < 0)
			*out = b;
		any = true;
	}
	return any;
}

/* The writable store's. */
static bool kv_next(const struct files *f, const char *prefix, const char *after, struct kvlog_info *out)
{
	while (f->kv && kvlog_next(f->kv, prefix, after, out) == ST_OK) {
		if (!is_own(out->key))
			return true;
		after = out->key;
	}
	return false;
}

enum status files_next(const struct files *f, const char *prefix, const char *after, struct file *out)
{
	struct kvlog_info info;
	struct blob blob;
	bool in_kv = kv_next(f, prefix, after, &info);
	bool in_seed = seed_next(f, prefix, after, &blob);

	if (!in_kv && !in_seed)
		return ST_NOT_FOUND;
	/* In both: the writable one's. */
	if (in_kv && (!in_seed || strcmp(info.key, blob.name) <= 0))
		from_kv(&info, out);
	else
		from_seed(&blob, out);
	return ST_OK;
}

/* ---- writing ---- */

enum status files_put(struct files *f, const char *name, const void *data, size_t len, struct error *err)
{
	enum status st = check_write(f, name, err);

	return st == ST_OK ? kvlog_put(f->kv, name, data, len, err) : st;
}

enum status files_put_begin(struct files *f, const char *name, uint64_t size_hint, struct kvlog_put **out,
			    struct error *err)
{
	enum status st = check_write(f, name, err);

	return st == ST_OK ? kvlog_put_begin(f->kv, name, size_hint, out, err) : st;
}

enum status files_delete(struct files *f, const char *name, struct error *err)
{
	char clean[sizeof ((struct file *)0)->name];
	struct blob blob;
	struct kvlog_info info;
	bool in_seed = f->seed && store_find(f->seed, name, &blob, NULL) == ST_OK;

	if (is_own(name))
		return check_write(f, name, err);
	if (in_seed && !(f->kv && kvlog_stat(f->kv, name, &info, NULL) == ST_OK))
		return fail(err, ST_DENIED, "'%s' came with the loader and cannot be deleted",
			    log_clean(clean, sizeof clean, name, strlen(name)));
	return f->kv ? kvlog_delete(f->kv, name, err) : check_write(f, name, err);
}
