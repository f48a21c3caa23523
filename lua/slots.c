/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan is a file of its own that names the image by its hash: a power cut
 * between the two leaves an image without a plan, never a plan for another image.
 */
#include "lua/slots.h"

#include <string.h>

#include "lib/bits.h"
#include "lib/log.h"
#include "lua/control_internal.h"

/* The plan: hash, and whether it is for good. */
#define PLAN_BYTES (SHA256_BYTES + 1)
#define PIECES_PER_STEP 4

static const struct files *files_of(const struct control *c)
{
	return c->cfg.machine->files;
}

static void read_plan(struct control *c)
{
	uint8_t plan[PLAN_BYTES];
	struct file file;
	size_t got = 0;

	c->slots.pending = c->slots.permanent = false;
	if (files_find(files_of(c), SLOT_PLAN_NAME, &file, NULL) != ST_OK ||
	    files_read(files_of(c), &file, 0, plan, sizeof plan, &got, NULL) != ST_OK || got != sizeof plan ||
	    memcmp(plan, c->slots.info.hash, SHA256_BYTES) != 0)
		return;
	c->slots.pending = true;
	c->slots.permanent = plan[SHA256_BYTES] == 1;
}

static void damaged(struct control *c, const struct error *err)
{
	c->slots.state = SLOT_DAMAGED;
	c->slots.pending = c->slots.permanent = false;
	events_post(&c->events, EVENT_STORE, NULL, "image slot 1: %s", err->text);
}

static void read_through(struct control *c, const struct error *none)
{
	struct slots *s = &c->slots;
	uint8_t sha[SHA256_BYTES];
	enum image_fault fault;
	struct error err = *none;

	if (image_end(&s->reader, sha, &fault, &err) != ST_OK) {
		damaged(c, &err);
		return;
	}
	s->info = s->reader.info;
	s->state = SLOT_GOOD;
	read_plan(c);
}

/* One piece of slot 1 through the reader; true when it was the last, or there will be none. */
static bool read_piece(struct control *c)
{
	struct slots *s = &c->slots;
	struct error err = {.text = ""};
	enum image_fault fault;
	uint8_t piece[1024];
	size_t got = 0;
	enum status st = files_read(files_of(c), &s->job.file, s->job.at, piece,
				    (size_t)MIN(sizeof piece, s->job.end - s->job.at), &got, &err);

	if (st == ST_OK && got > 0)
		st = image_add(&s->reader, piece, got, &fault, &err);
	if (st != ST_OK || got == 0) {
		damaged(c, &err);
		return true;
	}
	s->job.at += got;
	if (s->job.at < s->job.end)
		return false;
	read_through(c, &err);
	return true;
}

static void begin_reading(struct control *c, const struct file *file)
{
	struct slots *s = &c->slots;
	enum image_fault fault;
	struct error err;

	s->version = file->version;
	s->state = SLOT_UNKNOWN;
	s->job.file = *file;
	s->job.at = 0;
	s->job.end = file->size;
	if (image_begin(&s->reader, file->size, &fault, &err) != ST_OK)
		damaged(c, &err);
}

bool slots_step(struct control *c)
{
	struct slots *s = &c->slots;
	struct file file;

	if (files_find(files_of(c), SLOT_NAME, &file, NULL) != ST_OK) {
		s->state = SLOT_EMPTY;
		s->version = 0;
		s->pending = s->permanent = false;
		return false;
	}
	if (file.version != s->version || s->state == SLOT_EMPTY)
		begin_reading(c, &file);
	for (int i = 0; i < PIECES_PER_STEP && s->state == SLOT_UNKNOWN; i++)
		read_piece(c);
	return s->state == SLOT_UNKNOWN;
}

enum status slots_plan(struct control *c, bool pending, bool permanent, struct error *err)
{
	struct files *files = c->cfg.machine->files;
	uint8_t plan[PLAN_BYTES];
	enum status st = ST_OK;
	struct file file;

	memcpy(plan, c->slots.info.hash, SHA256_BYTES);
	plan[SHA256_BYTES] = permanent;
	if (pending)
		st = files_put(files, SLOT_PLAN_NAME, plan, sizeof plan, err);
	else if (files_find(files, SLOT_PLAN_NAME, &file, NULL) == ST_OK)
		st = files_delete(files, SLOT_PLAN_NAME, err);
	if (st != ST_OK)
		return st;
	c->slots.pending = pending;
	c->slots.permanent = pending && permanent;
	return ST_OK;
}

enum status slots_erase(struct control *c, struct error *err)
{
	struct file file;

	upload_end(&c->slots.upload);
	if (files_find(files_of(c), SLOT_NAME, &file, NULL) != ST_OK)
		return ST_OK;
	return files_delete(c->cfg.machine->files, SLOT_NAME, err);
}

void slots_uploaded(struct control *c, const struct image_info *info)
{
	struct slots *s = &c->slots;
	struct file file;

	if (files_find(files_of(c), SLOT_NAME, &file, NULL) != ST_OK)
		return;
	s->version = file.version;
	s->info = *info;
	s->state = SLOT_GOOD;
	read_plan(c);
}
