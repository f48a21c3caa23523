/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A life of storage (storage_life.h) from inside: storage_life.c has the operator, the power and the course of it,
 * storage_users.c the guests, what they ask and what may be read.
 */
#ifndef CORBEL_TESTS_STORAGE_LIFE_INTERNAL_H
#define CORBEL_TESTS_STORAGE_LIFE_INTERNAL_H

#include "guest/storage.h"
#include "guest/storage_internal.h"
#include "io/virtio_blk.h"
#include "tests/fakes/fault_disk.h"
#include "tests/fakes/storage_life.h"
#include "tests/fakes/virtio_driver.h"

#define SECTOR 512u
#define ZONES 12u         /* of a volume; each is one request's at a time */
#define ZONE_SECTORS 20u
#define ZONE_STRIDE 137u  /* they lie across blocks and clusters */
#define SINCE_MAX 12u
#define VOLUMES 9u        /* the first is the raw partition */
#define USERS 3u
#define ZEROES 0x80000000u /* in a value: the sector reads as zeroes */

/* What a sector may hold: each number stands for one content. */
struct sector {
	uint32_t durable, now;
	uint32_t since[SINCE_MAX]; /* written after what is durable, and maybe on the medium, the last ones */
	uint32_t at_flush;         /* what the flush that is under way makes durable */
	uint8_t count;
	bool any;                  /* more than there is room for in since */
	bool unknown;              /* what reads find is one of those, but not known which */
	bool flushing;             /* at_flush holds */
};

enum making { HERE, BEING_MADE, BEING_REMOVED };

struct vol {
	char name[VOLUME_NAME_MAX];  /* "": none */
	enum making making;
	bool frozen;
	struct sector sectors[ZONES][ZONE_SECTORS];
};

struct ask {
	bool busy;
	uint32_t type, value;
	unsigned zone, first, count;
	bool through;
};

struct user {
	struct vm *vm;
	struct vol *on;             /* NULL: its device is not there */
	struct vm_disk_source source;
	struct fake_guest_mem mem;
	struct virtio_blk *blk;
	void *memory;
	struct driver drv;
	struct driver_ring ring;
	struct ask asks[ZONES + 1];
	bool through, starved;
};

struct life_job {
	uint32_t number;            /* 0: none */
	enum storage_op op;
	struct vol *vol, *made;
};

/* All of one life; there is one at a time. */
extern struct life {
	struct life_source source;
	struct life_figures figures;
	struct storage *storage;
	struct fault_disk disk;
	struct vol vols[VOLUMES];
	struct user users[USERS];
	struct life_job job;
	uint32_t last_value;
	unsigned last_name;
} life;

/* ---- storage_life.c ---- */

/* A choice: 0 .. @n - 1; and one in @n. */
uint64_t life_below(uint64_t n);
bool life_once_in(unsigned n);
/* It is not as it must be: says what, and aborts. */
__attribute__((noreturn, format(printf, 1, 2)))
void life_wrong(const char *fmt, ...);

/* ---- storage_users.c ---- */

uint64_t life_lba_of(unsigned zone, unsigned i);
/* The value that is there, of those that may be; aborts when it is none of them. */
uint32_t life_value_of(const struct vol *v, const struct sector *c, const uint8_t *data, uint64_t lba);
/* A device of @u on @v, unless somebody else has it; and away with it. */
void life_plug(struct user *u, struct vol *v);
void life_unplug(struct user *u);
/* Its driver begins; its device is reset; nothing of it is under way any more. */
void life_bring_up(struct user *u);
void life_reset(struct user *u);
void life_quiesce(struct user *u);
bool life_writes(const struct ask *a);
void life_ask_zone(struct user *u);
void life_ask_flush(struct user *u);
/* What has been answered is held against what may be. */
void life_collect(struct user *u);
/* Something happens outside; and all of it at once. */
void life_world(void);
void life_go_on(void);

#endif
