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

#define SECTOR 512u

static struct file_disk *disk_of(struct block_device *device)
{
	return container_of(device, struct file_disk, device);
}

static void submit(struct block_device *device, struct block_request *r)
{
	r->done = false;
	list_push_back(&disk_of(device)->held, &r->link);
}

static bool move_data(struct file_disk *d, const struct block_request *r)
{
	struct segment_cursor c = block_begin(r);
	off_t at = (off_t)(r->lba * SECTOR);
	uint64_t left = r->count * SECTOR;
	uint8_t *data;
	uint32_t n;

	for (; (n = segment_next(&c, left, &data)) > 0; left -= n, at += n)
		if ((r->op == BLOCK_READ ? pread(d->fd, data, n, at) : pwrite(d->fd, data, n, at)) != (ssize_t)n)
			return false;
	return left == 0;
}

static bool poll(struct block_device *device)
{
	struct file_disk *d = disk_of(device);
	struct block_request *r;
	bool good;

	if (list_empty(&d->held))
		return false;
	r = list_entry(d->held.next, struct block_request, link);
	list_remove(&r->link);
	good = r->op == BLOCK_FLUSH ? fdatasync(d->fd) == 0 : move_data(d, r);
	block_end(r, good ? ST_OK : ST_IO, "%s", good ? "" : strerror(errno));
	if (r->complete)
		r->complete(r);
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
	list_init(&d->held);
	if (d->fd < 0 || fstat(d->fd, &st) != 0)
		return false;
	if (st.st_size == 0 && ftruncate(d->fd, (off_t)bytes) != 0)
		return false;
	d->device = (struct block_device){
		.ops = &ops, .name = "file", .sector_bytes = SECTOR, .max_count = 128, .volatile_cache = true,
		.sectors = (st.st_size ? (uint64_t)st.st_size : bytes) / SECTOR,
	};
	return true;
}
