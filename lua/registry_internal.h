/* SPDX-License-Identifier: Apache-2.0 */
/* The tree's tables as registry.c has them, for registry_find.c. */
#ifndef CORBEL_LUA_REGISTRY_INTERNAL_H
#define CORBEL_LUA_REGISTRY_INTERNAL_H

#include "lua/registry.h"

#define DOMAIN_TABLES 2u
#define NETWORK_TABLES 2u
#define DISKS ".disk." /* between the name of a VM and that of its disk */
#define INTERFACES ".net."

/* The rooms' tables and main's, all that are no VM's, come first. */
unsigned registry_fixed_tables(const struct control *c);
/* Table @i; false when there is none of that number now. */
bool registry_table_at(struct control *c, unsigned i, struct tree_table *out);
struct tree_table registry_disk_counters(struct vm *vm, unsigned index);
struct tree_table registry_interface_counters(struct vm *vm, unsigned index);
/* By place; of a domain and a network, place * tables + 0 are the counters. False: there is none. */
bool registry_volume_table(struct control *c, unsigned place, struct tree_table *out);
bool registry_domain_table(struct control *c, unsigned i, struct tree_table *out);
bool registry_network_table(struct control *c, unsigned i, struct tree_table *out);
bool registry_nic_table(struct control *c, unsigned index, struct tree_table *out);

size_t registry_row_count(const struct tree_table *t);
const char *registry_row_name(const struct tree_table *t, unsigned row);
/* 1, or those of a family. */
unsigned registry_row_values(const struct tree_table *t, unsigned row);

/* Of the VM, the pool and so on; "": the machine. */
const char *registry_owner_name(const struct tree_table *t);
/* Of the VM's disk or interface; "": its own table, or no VM's. */
const char *registry_device_name(const struct tree_table *t);
bool registry_is_device(const struct tree_table *t);

#endif
