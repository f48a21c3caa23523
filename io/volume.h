/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: block devices with a name. Whoever uses one opens it, for reading
 * along with others, or for writing and then alone. A volume stands on others (a
 * layer on its pool's partition and on its base, a partition on its disk) and
 * holds them open as long as it exists, so nothing is pulled away from below
 * anything. What a volume is made of is its kind's business: a kind fills in a
 * block_device and calls volume_add().
 *
 * Changed by the control task alone; nothing here is on a request's path.
 */
#ifndef CORBEL_IO_VOLUME_H
#define CORBEL_IO_VOLUME_H

#include "io/block.h"
#include "lib/list.h"

#define VOLUME_NAME_MAX 64u  /* with the NUL */
#define VOLUME_BELOW_MAX 2u

enum volume_kind {
	VOLUME_DISK, VOLUME_PARTITION, VOLUME_RAM, VOLUME_BLOB, VOLUME_LAYER, VOLUME_QCOW2, VOLUME_MODEL, VOLUME_KINDS
};

enum volume_mode {
	VOLUME_READ,  /* together with other readers; no writer meanwhile */
	VOLUME_WRITE, /* alone */
	VOLUME_SHARE  /* for what hands out disjoint parts: partitions of a disk, layers of a pool. With others of its kind */
};

struct volume;

/* One opening of a volume; the user's memory. */
struct volume_user {
	struct list link;
	struct volume *volume; /* NULL: not open */
	enum volume_mode mode;
	const char *who;       /* for sentences and lists, stays as long as it is open: "VM web", "volume data" */
};

struct volumes {
	struct list all; /* in the order in which they were added */
	unsigned count;
};

struct volume {
	struct list link;
	struct volumes *in;
	char name[VOLUME_NAME_MAX];
	enum volume_kind kind;
	struct block_device *device;
	struct list users;
	struct volume_user below[VOLUME_BELOW_MAX]; /* what it stands on */
	/* Called when it has been removed: its memory is the owner's again. May be NULL. */
	void (*removed)(struct volume *v);
};

/* "disk", "partition", "ram", "blob", "layer", "qcow2", "model" */
const char *volume_kind_name(enum volume_kind kind);

void volumes_init(struct volumes *vs);

/* 1 to 63 characters of a-z A-Z 0-9 . _ - : @, the first a letter or a digit. ST_INVALID says what is wrong. */
enum status volume_check_name(const char *name, struct error *err) MUST_CHECK;

/*
 * Makes @device known as @name. @v is the caller's and stays until volume_remove(); @v->removed may be set
 * before. ST_INVALID, ST_EXISTS: the name.
 */
enum status volume_add(struct volumes *vs, struct volume *v, const char *name, enum volume_kind kind,
		       struct block_device *device, struct error *err) MUST_CHECK;

/* Opens @below for @v, which holds it until it is removed. At most VOLUME_BELOW_MAX times. As volume_open(). */
enum status volume_stand_on(struct volume *v, struct volume *below, enum volume_mode mode,
			    struct error *err) MUST_CHECK;

/* ST_BUSY: it is open, the sentence says by whom. */
enum status volume_remove(struct volume *v, struct error *err) MUST_CHECK;

/* ST_NOT_FOUND names it. */
enum status volume_find(const struct volumes *vs, const char *name, struct volume **out, struct error *err) MUST_CHECK;
/* The volume behind @v, NULL: the first; NULL at the end. */
struct volume *volume_next(const struct volumes *vs, const struct volume *v);

/*
 * ST_BUSY: somebody else's use excludes it; the sentence says whose. ST_DENIED: to write to a read-only device.
 */
enum status volume_open(struct volume *v, enum volume_mode mode, const char *who, struct volume_user *out,
			struct error *err) MUST_CHECK;
/* No request of the user is under way any more. */
void volume_close(struct volume_user *u);
unsigned volume_users(const struct volume *v);

/* True when @v is @other, or stands on it at any depth. */
bool volume_stands_on(const struct volume *v, const struct volume *other);

/* ---- kinds without a state of their own ---- */

/* A partition, or any part of a device: requests go to the device below with another address. */
struct volume_part {
	struct block_device device;
	struct block_range range;
};
/* ST_INVALID when @range does not lie inside its device. */
enum status volume_part_init(struct volume_part *p, const struct block_range *range, const char *name,
			     struct error *err) MUST_CHECK;

/* Memory as a disk: what is written is there as long as the machine runs. */
struct volume_ram {
	struct block_device device;
	uint8_t *memory;
};
/* @memory of @bytes, a multiple of @sector_bytes, stays the caller's. */
enum status volume_ram_init(struct volume_ram *v, void *memory, uint64_t bytes, uint32_t sector_bytes,
			    const char *name, struct error *err) MUST_CHECK;

/*
 * A blob of the store, read-only, as it lies in memory. A last sector that the blob does not fill is read
 * with zeroes behind it.
 */
struct volume_blob {
	struct block_device device;
	const uint8_t *data;
	uint64_t bytes;
};
enum status volume_blob_init(struct volume_blob *v, const void *data, uint64_t bytes, const char *name,
			     struct error *err) MUST_CHECK;

#endif
