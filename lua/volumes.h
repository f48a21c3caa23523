/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes as they are declared, in a script or over the wire (lua/decode.h): one of
 *
 *	{ ram = MiB(64) }                      memory
 *	{ blob = "images/debian.img" }         a file of the seed's store
 *	{ qcow2 = "debian.qcow2" }             the image on another volume; beside = the volume whose domain it is in
 *	{ layer = "disk0:2", size = GiB(8) }     a layer of the pool on that volume; base = what it stands on
 *	{ model = { base =, iops_max =, service =, depth = } }
 *
 * A layer is kept by its pool, and so is there when a text that declares it runs again;
 * the others live as long as the machine runs.
 */
#ifndef CORBEL_LUA_VOLUMES_H
#define CORBEL_LUA_VOLUMES_H

#include "guest/config.h"
#include "guest/storage.h"
#include "lua/cbor.h"
#include "lua/define.h"

#define VOLUMES_IN_TEXT_MAX 32u

struct volume_config {
	char name[VOLUME_NAME_MAX];
	char origin[VM_PATH_MAX];
	enum volume_kind kind;      /* RAM, BLOB, QCOW2, LAYER or MODEL */
	uint64_t bytes;             /* of memory and of a layer */
	char file[VM_PATH_MAX];     /* a blob's */
	char base[VOLUME_NAME_MAX]; /* what an image, a layer or a model stands on; "": nothing */
	char pool[VOLUME_NAME_MAX]; /* a layer's: its volume, "": the only one there is */
	char beside[VOLUME_NAME_MAX]; /* an image's */
	struct model_config model;
};

struct control;
struct vm;

/* @settings is checked CBOR. Nothing is changed but *out, and that only on success. */
MUST_CHECK enum status volume_decode(const struct define_source *src, struct cbor_value settings,
				     struct volume_config *out, struct error *err);
/*
 * Makes it; of a layer begins to, as *job (0: it is there). ST_UNSUPPORTED: the machine has no storage.
 */
MUST_CHECK enum status volumes_create(struct control *c, const struct volume_config *cfg, uint32_t *job, struct error *err);
/*
 * What a text wants to be there: what is there already, of the same kind and size, stays; a model takes the
 * new numbers. *made: there is something that volumes_undo() can take back.
 */
MUST_CHECK enum status volumes_want(struct control *c, const struct volume_config *cfg, bool *made, struct error *err);
/*
 * A volume that no layer is, with what was set for its domain when that goes with it. As storage_remove().
 */
MUST_CHECK enum status volumes_remove(struct control *c, const char *name, struct error *err);
void volumes_undo(struct control *c, const struct volume_config *cfg);
/* A volume of its disks is being made: the job has not ended. */
bool volumes_are_coming(const struct control *c, const struct vm *vm);
/* ST_UNSUPPORTED with the sentence for a machine that has none. */
MUST_CHECK enum status volumes_storage(struct control *c, struct storage **out, struct error *err);

/* ---- of the text of a generation ---- */

/* A text is about to be run. */
void volumes_begin(void);
/* Of the text that runs: remembers one. ST_EXISTS names both places; ST_OVER_LIMIT. */
MUST_CHECK enum status volumes_collect(const struct volume_config *cfg, struct error *err);
/* All of them, or none: those that were made before one failed are taken back. */
MUST_CHECK enum status volumes_do(struct control *c, struct error *err);
/* Takes back what volumes_do() made. */
void volumes_undo_all(struct control *c);
/* Puts those that the text wants and that are not there, under their key; nothing when there are none. */
void volumes_put_new(struct control *c, struct cbor_writer *w);

#endif
