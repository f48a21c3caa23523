/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of the host as a block device of 512-byte sectors, for the control
 * plane in a host process: what it wrote is there when the next process opens it.
 */
#ifndef CORBEL_TESTS_FILE_DISK_H
#define CORBEL_TESTS_FILE_DISK_H

#include "io/block.h"

struct file_disk {
	struct block_device device;
	int fd;
	struct list held;
};

/* @path is made with @bytes of zeroes when it is not there; NULL: a file without a name. False: errno says why. */
bool file_disk_open(struct file_disk *d, const char *path, uint64_t bytes);

#endif
