/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes for VMs in tests: two RAM disks by name, "one" and "two", which answer
 * at once, or when the test says so, or find no space. One set exists at a time.
 */
#ifndef CORBEL_TESTS_RAM_DISKS_H
#define CORBEL_TESTS_RAM_DISKS_H

#include "guest/vm_virtio.h"
#include "io/volume.h"

#define RAM_DISKS 2u
#define RAM_DISK_BYTES 0x40000u

struct ram_disk {
	struct volume_ram volume;
	uint8_t bytes[RAM_DISK_BYTES];
	unsigned opened;   /* by how many VMs now */
	struct list held;  /* block_request.link, while they are held */
	unsigned set;      /* times that numbers were changed, and to what */
	enum vm_disk_unit unit;
	struct rls numbers;
};

struct ram_disks {
	struct ram_disk disk[RAM_DISKS];
	bool hold;     /* requests wait for ram_disks_answer() */
	bool begun;    /* what is held cannot be called back */
	bool full;     /* writes find no space */
	uint64_t requests;
};
extern struct ram_disks ram_disks;
extern const struct vm_disk_ops ram_disk_ops; /* ctx: not used */

void ram_disks_init(void);
/* Ends at most @most held requests, in the order in which they came; how many. Masked, no lock held. */
unsigned ram_disks_answer(unsigned most);

#endif
