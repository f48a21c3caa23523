/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames are taken and given back masked, as the managers want it; the copying,
 * which waits for a disk, is not.
 */
#include "guest/loadfile.h"

#include <string.h>

#include "guest/machine.h"
#include "io/files.h"

/* The order whose block holds @bytes; over the maximum when none does. */
static unsigned order_for(uint64_t bytes)
{
	unsigned order = 0;

	while (order <= MEMMGR_MAX_ORDER && bytes > PAGE_SIZE << order)
		order++;
	return order;
}

static enum status take_frames(struct machine *m, const struct file *file, struct loaded_file *f, struct error *err)
{
	unsigned long masked;
	enum status st = ST_INVALID;

	f->order = order_for(file->size);
	if (f->order <= MEMMGR_MAX_ORDER) {
		masked = m->host->mask();
		st = memmgr_alloc(m->mm, f->order, &f->frames);
		m->host->unmask(masked);
	}
	if (st == ST_OK)
		return ST_OK;
	return fail(err, ST_NO_MEMORY, "'%s' has %llu KiB, and there is no free memory in one piece to copy it to",
		    file->name, (unsigned long long)file->size / 1024);
}

static enum status copy(struct machine *m, const struct file *file, struct loaded_file *out, struct error *err)
{
	struct loaded_file f = {.copied = true, .size = (size_t)file->size};
	enum status st = take_frames(m, file, &f, err);
	size_t got;

	if (st != ST_OK)
		return st;
	f.data = memmgr_va(m->mm, f.frames);
	st = files_read(m->files, file, 0, memmgr_va(m->mm, f.frames), f.size, &got, err);
	if (st != ST_OK) {
		loadfile_drop(m, &f);
		return st;
	}
	*out = f;
	return ST_OK;
}

enum status loadfile_get(struct machine *m, const char *name, struct loaded_file *out, struct error *err)
{
	struct file file;
	enum status st = files_find(m->files, name, &file, err);

	if (st != ST_OK)
		return st;
	if (!file.data)
		return copy(m, &file, out, err);
	*out = (struct loaded_file){.data = file.data, .size = (size_t)file.size};
	return ST_OK;
}

void loadfile_drop(struct machine *m, struct loaded_file *f)
{
	unsigned long masked;

	if (f->copied) {
		masked = m->host->mask();
		memmgr_free(m->mm, f->frames, f->order);
		m->host->unmask(masked);
	}
	*f = (struct loaded_file){0};
}
