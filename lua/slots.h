/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two slots of images: 0 is the image that runs, wherever the loader took it
 * from; 1 is a file of the writable store, with what is planned for it. What an
 * upload left in slot 1 is read and hashed piece by piece, once for each content.
 */
#ifndef CORBEL_LUA_SLOTS_H
#define CORBEL_LUA_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "lua/image.h"
#include "lua/upload.h"

#define SLOT_NAME IMAGE_FOLDER "1"
#define SLOT_PLAN_NAME IMAGE_FOLDER "plan"

struct control;

/* What is in slot 1. */
enum slot_state { SLOT_UNKNOWN, SLOT_EMPTY, SLOT_GOOD, SLOT_DAMAGED };

struct slots {
	enum slot_state state;
	uint64_t version;           /* of the store's content that state is about */
	struct image_info info;     /* SLOT_GOOD */
	bool pending, permanent;    /* to be booted next; and to stay without a confirmation */

	struct digest_job job;      /* reads slot 1 through; its digest is not used */
	struct image_reader reader; /* of the job */

	struct upload upload;
	struct image_reader arriving;
	uint8_t sha[SHA256_BYTES];  /* what the client says that it uploads */
	bool sha_given, only_upgrade;
};

/* A bounded step on what slot 1 holds; true when there is more. */
bool slots_step(struct control *c);
/* Stores what is planned for the image in slot 1: @pending false for nothing. */
MUST_CHECK enum status slots_plan(struct control *c, bool pending, bool permanent, struct error *err);
/* Empties slot 1. */
MUST_CHECK enum status slots_erase(struct control *c, struct error *err);
/* An upload was committed: what it is is known. */
void slots_uploaded(struct control *c, const struct image_info *info);

#endif
