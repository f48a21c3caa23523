/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All counters and knobs under one tree of names: the rooms' tables (lib/counter.h,
 * lib/knob.h), each with the object it belongs to and the place where it hangs:
 *
 *	host.mem.free    control.frames    vm.alpha.cpu.used    vm.alpha.exits_by_kind.hlt
 *
 * A VM's are below vm.NAME, those of its disks below vm.NAME.disk.DISK and of its network interfaces below
 * vm.NAME.net.INTERFACE, a pool's below pool.NAME, of storage below volume.NAME and domain.NAME, of the network below
 * network.NAME and nic.NAME. Nothing is stored
 * here: a name is looked up in the tables, and a walk goes through them in their
 * order, by a cursor that any number of changes in between leaves usable.
 * docs/knobs.md lists what there is.
 */
#ifndef CORBEL_LUA_REGISTRY_H
#define CORBEL_LUA_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/config.h"
#include "io/volume.h"
#include "lib/counter.h"
#include "lib/error.h"
#include "lib/knob.h"

struct control;
struct pool;
struct vm;

#define TREE_PATH_MAX 96 /* with the NUL */

/* A table where it hangs. Exactly one of counters and knobs is set. */
struct tree_table {
	const struct counter_table *counters;
	const struct knob_table *knobs;
	void *object;
	struct vm *vm;     /* whose it is; both NULL: of the machine */
	struct pool *pool;
	unsigned disk;     /* of the VM's disks, from 1 on; 0: of none */
	unsigned interface; /* of the VM's network interfaces, likewise */
	unsigned volume, domain; /* of storage: their places, from 1 on; 0: of none */
	unsigned network, nic;   /* of networks and of the machine's interfaces, likewise */
};

#define TREE_INSTANCE_MAX VOLUME_NAME_MAX
/* The name of the VM, pool, volume or domain whose table it is, "VM/DISK" of a disk's, "VM/INTERFACE"; "": the
 * machine's. Returns @out. */
const char *tree_instance(const struct tree_table *t, char out[TREE_INSTANCE_MAX]);
/* Tells the VMs, their disks and interfaces, pools, volumes, domains, networks and nics that there are apart; 0: the
 * machine. */
unsigned tree_owner(const struct tree_table *t);
#define TREE_OWNER_POOL 0x8000u
#define TREE_OWNER_DOMAIN 0x4000u
#define TREE_OWNER_VOLUME 0x2000u
#define TREE_OWNER_NETWORK 0x1000u
#define TREE_OWNER_NIC 0x0800u /* with TREE_OWNER_NETWORK */
/* All that are no VM's. */
#define TREE_OWNER_OTHERS (TREE_OWNER_POOL | TREE_OWNER_DOMAIN | TREE_OWNER_VOLUME | TREE_OWNER_NETWORK)
#define TREE_OWNER_DEVICE_SHIFT 8 /* of a VM's: below it the VM, above it its device */
/* The VM's device that @owner is of, from 1 on, disks before interfaces; 0: the VM itself. */
static inline unsigned tree_owner_device(unsigned owner) { return owner >> TREE_OWNER_DEVICE_SHIFT; }
/* The knobs of disk, or interface, @index of @vm. */
struct tree_table tree_disk_knobs(struct vm *vm, unsigned index);
struct tree_table tree_interface_knobs(struct vm *vm, unsigned index);
/* The knobs of the network at @place, which is there. */
struct tree_table tree_network_knobs(struct control *c, unsigned place);

/* The knobs of the domain at @place, which is there. */
struct tree_table tree_domain_knobs(struct control *c, unsigned place);

/* One counter (one of its values, when it has many) or one knob. */
struct tree_item {
	struct tree_table table;
	unsigned row, member;
};

static inline const struct counter *item_counter(const struct tree_item *item)
{
	return item->table.counters ? &item->table.counters->rows[item->row] : NULL;
}

static inline const struct knob *item_knob(const struct tree_item *item)
{
	return item->table.knobs ? &item->table.knobs->rows[item->row] : NULL;
}

/* Figures of one table at one moment; a walk through the table reads them once. */
struct tree_figures {
	const struct counter_table *table;
	const void *object;
	_Alignas(8) uint8_t bytes[COUNTER_FIGURES_MAX];
};

/*
 * The item called @path. ST_NOT_FOUND with a sentence that says what may have been meant: a
 * VM's name, the nearest name in the same place, our word for another product's.
 */
MUST_CHECK enum status tree_find(struct control *c, const char *path, size_t len, struct tree_item *out,
				 struct error *err);

/* The next item from *cursor on, which is 0 at first and is moved behind the item; false at the end. */
bool tree_next(struct control *c, uint32_t *cursor, struct tree_item *out);
/* The next table from *cursor on; likewise. */
bool tree_next_table(struct control *c, uint32_t *cursor, struct tree_table *out);

/* Table @i among the kinds of tables: as tree_next_table(), but for VMs' and pools': once each, and with no object. */
bool tree_kind(struct control *c, unsigned i, struct tree_table *out);

/* "host.mem", "vm.alpha" into @out of TREE_PATH_MAX bytes; its length. */
size_t tree_place(const struct tree_table *t, char *out);
/* The full name of @item into @out of TREE_PATH_MAX bytes; its length. */
size_t tree_path(const struct tree_item *item, char *out);
/* The name of one value of a family, as paths have it: blanks are underscores. @out of TREE_PATH_MAX bytes. */
size_t tree_member(const struct counter *row, unsigned member, char *out);
/* False for a place of a family that has no name: nothing is counted there. */
bool tree_shown(const struct tree_item *item);
/* True when @item's name is @prefix or below it; an empty prefix has all below it. */
bool tree_below(const struct tree_item *item, const char *prefix, size_t len);

/* Fills @f with the table's figures, unless it has them already; f->table NULL at first. */
void tree_read_figures(struct control *c, const struct tree_table *t, struct tree_figures *f);
/* A counter's value in the unit of measure_unit(). @f as above. */
uint64_t tree_counter(struct control *c, const struct tree_item *item, struct tree_figures *f);

#endif
