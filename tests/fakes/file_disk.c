/* SPDX-License-Identifier: Apache-2.0 */
/* See file_disk.h. */
#include "tests/fakes/file_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/bits.h"
#include "lib/format.h"

#define SECTOR 512u

static struct file_disk *disk_of(struct block_device *device)
{
	return container_of(device, struct file_disk, device);
}

static enum status submit(struct block_device *device, struct block_request *r)
{
	struct file_disk *d = disk_of(device);

	if (d->held)
		return ST_BUSY;
	r->done = false;
	d->held = r;
	return ST_OK;
}

static bool carry_out(struct file_disk *d, struct block_request *r)
{
	size_t bytes = (size_t)r->count * SECTOR;
	off_t at = (off_t)(r->lba * SECTOR);

	if (r->op == BLOCK_FLUSH)
		return fdatasync(d->fd) == 0;
	if (r->op == BLOCK_READ)
		return pread(d->fd, r->data, bytes, at) == (ssize_t)bytes;
	return pwrite(d->fd, r->data, bytes, at) == (ssize_t)bytes;
}

static bool poll(struct block_device *device)
{
	struct file_disk *d = disk_of(device);
	struct block_request *r = d->held;

	if (!r)
		return false;
	d->held = NULL;
	r->status = carry_out(d, r) ? ST_OK : ST_IO;
	if (r->status != ST_OK)
		format(r->error.text, sizeof r->error.text, "%s", strerror(errno));
	r->done = true;
	return true;
}

static const struct block_ops ops = {.submit = submit, .poll = poll};

static int open_file(const char *path)
{
	FILE *f;

	if (path)
		return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	f = tmpfile();
	return f ? fileno(f) : -1;
}

bool file_disk_open(struct file_disk *d, const char *path, uint64_t bytes)
{
	struct stat st;

	*d = (struct file_disk){.fd = open_file(path)};
	if (d->fd < 0 || fstat(d->fd, &st) != 0)
		return false;
	if (st.st_size == 0 && ftruncate(d->fd, (off_t)bytes) != 0)
		return false;
	d->device = (struct block_device){
		.ops = &ops, .name = "file", .sector_bytes = SECTOR, .max_count = 128,
		.sectors = (st.st_size ? (uint64_t)st.st_size : bytes) / SECTOR,
	};
	return true;
}
