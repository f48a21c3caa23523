/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMP's image group (1): the state of both slots, upload into slot 1, test and
 * confirm, erase. It keeps what is asked for and reports it; what boots next,
 * and takes a trial back that was not confirmed, is the boot side's (docs/protocol.md).
 */
#include <string.h>

#include "lib/bits.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lua/control_internal.h"

#define SPARE_SLOT 1u

/* The group's own codes (Zephyr's img_mgmt.h). */
enum image_rc {
	IMAGE_RC_NO_IMAGE = 3,
	IMAGE_RC_HASH_NOT_FOUND = 8,
	IMAGE_RC_NO_FREE_SLOT = 9,
	IMAGE_RC_WRITE_FAILED = 12,
	IMAGE_RC_ERASE_FAILED = 13,
	IMAGE_RC_INVALID_SLOT = 14,
	IMAGE_RC_INVALID_LENGTH = 21,
	IMAGE_RC_TOO_SMALL = 22,
	IMAGE_RC_NOT_OURS = 23,
	IMAGE_RC_INVALID_HASH = 24,
	IMAGE_RC_NOT_NEWER = 27,
	IMAGE_RC_PENDING = 28,
	IMAGE_RC_TOO_LARGE = 30,
	IMAGE_RC_OVERRUN = 31,
	IMAGE_RC_ACTIVE = 33,
};

__attribute__((format(printf, 4, 5)))
static enum status refuse(struct failure *f, enum image_rc rc, enum status st, const char *fmt, ...)
{
	va_list ap;

	f->group_rc = (int)rc;
	va_start(ap, fmt);
	format_v(f->error.text, sizeof f->error.text, fmt, ap);
	va_end(ap);
	return st;
}

/* ---- state ---- */

static void put_flag(struct cbor_writer *w, const char *key, bool on)
{
	cbor_put_text(w, key);
	cbor_put_bool(w, on);
}

static bool running_hash(const struct control *c, const uint8_t **out)
{
	static const uint8_t none[SHA256_BYTES];

	*out = c->cfg.image_stamp;
	return *out && memcmp(*out, none, sizeof none) != 0;
}

static void put_slot(struct cbor_writer *w, unsigned slot, const char *version, const uint8_t *hash)
{
	command_put_uint(w, "slot", slot);
	command_put_text(w, "version", version);
	if (hash) {
		cbor_put_text(w, "hash");
		cbor_put_bytes(w, hash, SHA256_BYTES);
	}
}

static void put_state(struct control *c, struct cbor_writer *w)
{
	const struct slots *s = &c->slots;
	const uint8_t *hash;
	bool known = running_hash(c, &hash);
	struct cbor_mark list, map;

	cbor_put_text(w, "images");
	list = cbor_open(w);
	map = cbor_open(w);
	put_slot(w, 0, c->cfg.version, known ? hash : NULL);
	put_flag(w, "bootable", true);
	put_flag(w, "pending", false);
	put_flag(w, "confirmed", true);
	put_flag(w, "active", true);
	put_flag(w, "permanent", false);
	cbor_close_map(w, map);
	if (s->state == SLOT_GOOD || s->state == SLOT_DAMAGED) {
		map = cbor_open(w);
		put_slot(w, SPARE_SLOT, s->state == SLOT_GOOD ? s->info.version : "damaged",
			 s->state == SLOT_GOOD ? s->info.hash : NULL);
		put_flag(w, "bootable", s->state == SLOT_GOOD);
		put_flag(w, "pending", s->pending);
		put_flag(w, "confirmed", false);
		put_flag(w, "active", false);
		put_flag(w, "permanent", s->permanent);
		cbor_close_map(w, map);
	}
	cbor_close_array(w, list);
}

static enum status read_state(struct control *c, const struct command_args *a, struct cbor_writer *w,
			      struct failure *f)
{
	slots_step(c);
	if (c->slots.state == SLOT_UNKNOWN && !a->from_script)
		return later_reply(f, LATER_IMAGE);
	put_state(c, w);
	return ST_OK;
}

static void state_begin(struct control *c)
{
	(void)c;
}

/* The reading itself is housekeeping; here it is waited for. */
static enum status state_step(struct control *c, bool last, bool *busy, struct cbor_writer *w, struct failure *f)
{
	(void)f;
	*busy |= slots_step(c);
	if (c->slots.state == SLOT_UNKNOWN && !last)
		return ST_AGAIN;
	put_state(c, w);
	return ST_OK;
}

const struct later_ops image_later = {.begin = state_begin, .step = state_step};

/* ---- test and confirm ---- */

static enum status check_hash(struct control *c, const struct command_args *a, bool *running, struct failure *f)
{
	const uint8_t *hash;

	*running = !a->hash.given;
	if (!a->hash.given && a->confirm)
		return ST_OK; /* confirms the image that runs */
	if (!a->hash.given)
		return refuse(f, IMAGE_RC_INVALID_HASH, ST_INVALID, "a test needs the argument hash");
	if (a->hash.len != SHA256_BYTES)
		return refuse(f, IMAGE_RC_INVALID_HASH, ST_INVALID, "hash has %zu bytes, a SHA-256 has %u", a->hash.len,
			      SHA256_BYTES);
	*running = running_hash(c, &hash) && memcmp(hash, a->hash.text, SHA256_BYTES) == 0;
	if (*running && !a->confirm)
		return refuse(f, IMAGE_RC_ACTIVE, ST_BAD_STATE, "the image that runs cannot be tested");
	if (*running)
		return ST_OK;
	if (slots_step(c))
		return fail(&f->error, ST_BUSY, "the image in slot 1 is still being read");
	if (c->slots.state == SLOT_GOOD && memcmp(c->slots.info.hash, a->hash.text, SHA256_BYTES) == 0)
		return ST_OK;
	return refuse(f, IMAGE_RC_HASH_NOT_FOUND, ST_NOT_FOUND, "no slot holds an image with that hash");
}

static enum status write_state(struct control *c, const struct command_args *a, struct cbor_writer *w,
			       struct failure *f)
{
	bool running = false;
	enum status st = check_hash(c, a, &running, f);

	if (st == ST_OK && !running)
		st = slots_plan(c, true, a->confirm, &f->error);
	if (st != ST_OK) {
		if (f->group_rc < 0 && st != ST_BUSY)
			f->group_rc = IMAGE_RC_WRITE_FAILED;
		return st == ST_DENIED ? ST_BAD_STATE : st;
	}
	if (!running)
		log_info("image %s in slot 1: to be booted next, %s", c->slots.info.version,
			 a->confirm ? "for good" : "on trial");
	put_state(c, w);
	return ST_OK;
}

static enum status state_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	return a->op == SMP_READ ? read_state(c, a, w, f) : write_state(c, a, w, f);
}

/* ---- upload ---- */

static enum image_rc rc_of_image(enum image_fault fault)
{
	static const enum image_rc codes[] = {
		[IMAGE_GOOD] = IMAGE_RC_WRITE_FAILED,     [IMAGE_TOO_SMALL] = IMAGE_RC_TOO_SMALL,
		[IMAGE_TOO_LARGE] = IMAGE_RC_TOO_LARGE,   [IMAGE_NOT_OURS] = IMAGE_RC_NOT_OURS,
		[IMAGE_BAD_HASH] = IMAGE_RC_INVALID_HASH,
	};

	return codes[fault];
}

static enum image_rc rc_of_upload(enum upload_fault fault)
{
	switch (fault) {
	case UPLOAD_NO_LENGTH:
	case UPLOAD_LENGTH:
		return IMAGE_RC_INVALID_LENGTH;
	case UPLOAD_OVERRUN:
		return IMAGE_RC_OVERRUN;
	case UPLOAD_TOO_LARGE:
		return IMAGE_RC_TOO_LARGE;
	default:
		return IMAGE_RC_WRITE_FAILED;
	}
}

/* The same upload is begun again, by a client that was cut off: it goes on. */
static bool goes_on(const struct slots *s, const struct command_args *a)
{
	return s->upload.put && s->sha_given && a->sha.len == SHA256_BYTES && a->len.given &&
	       a->len.value == s->upload.size && memcmp(a->sha.text, s->sha, SHA256_BYTES) == 0;
}

static enum status check_begin(struct control *c, const struct command_args *a, struct failure *f)
{
	enum image_fault fault = IMAGE_GOOD;
	enum status st;

	if (a->image.value != 0)
		return refuse(f, IMAGE_RC_INVALID_SLOT, ST_NOT_FOUND, "there is no image %llu, only 0",
			      (unsigned long long)a->image.value);
	if (a->sha.given && a->sha.len != SHA256_BYTES)
		return refuse(f, IMAGE_RC_INVALID_HASH, ST_INVALID, "sha has %zu bytes, a SHA-256 has %u", a->sha.len,
			      SHA256_BYTES);
	if (!a->len.given)
		return refuse(f, IMAGE_RC_INVALID_LENGTH, ST_INVALID, "the first chunk needs len, the image's length");
	if (c->slots.pending)
		return refuse(f, IMAGE_RC_NO_FREE_SLOT, ST_BAD_STATE,
			      "the image in slot 1 is to be booted next: erase it first");
	st = image_begin(&c->slots.arriving, a->len.value, &fault, &f->error);
	if (st != ST_OK)
		f->group_rc = (int)rc_of_image(fault);
	return st;
}

/* What came newly goes through the reader; a refusal ends the upload. */
static enum status look_at(struct control *c, const struct command_args *a, struct failure *f)
{
	struct slots *s = &c->slots;
	bool before = s->arriving.head_read;
	enum image_fault fault = IMAGE_GOOD;
	enum status st = image_add(&s->arriving, a->data.text, a->data.len, &fault, &f->error);

	if (st == ST_OK && !before && s->arriving.head_read && s->only_upgrade &&
	    image_compare_versions(s->arriving.info.version, c->cfg.version) <= 0) {
		upload_end(&s->upload);
		return refuse(f, IMAGE_RC_NOT_NEWER, ST_BAD_STATE, "version %s is not newer than %s, which runs",
			      s->arriving.info.version, c->cfg.version);
	}
	if (st == ST_OK)
		return ST_OK;
	upload_end(&s->upload);
	f->group_rc = (int)rc_of_image(fault);
	return st;
}

static enum status finish(struct control *c, struct failure *f)
{
	enum upload_fault store_fault = UPLOAD_GOOD;
	enum image_fault fault = IMAGE_GOOD;
	struct slots *s = &c->slots;
	uint8_t sha[SHA256_BYTES];
	enum status st = image_end(&s->arriving, sha, &fault, &f->error);

	if (st == ST_OK && s->sha_given && memcmp(sha, s->sha, sizeof sha) != 0) {
		fault = IMAGE_BAD_HASH;
		st = fail(&f->error, ST_CORRUPT, "the image's SHA-256 is not the one that sha announced");
	}
	if (st != ST_OK) {
		upload_end(&s->upload);
		f->group_rc = (int)rc_of_image(fault);
		return st;
	}
	st = upload_commit(c, &s->upload, &store_fault, &f->error);
	if (st != ST_OK) {
		f->group_rc = (int)rc_of_upload(store_fault);
		return st;
	}
	slots_uploaded(c, &s->arriving.info);
	log_info("image %s was uploaded into slot 1, %llu bytes", s->info.version, (unsigned long long)s->upload.size);
	return ST_OK;
}

static enum status take_chunk(struct control *c, const struct command_args *a, bool *complete, struct failure *f)
{
	struct slots *s = &c->slots;
	struct upload_chunk chunk = {
		.name = SLOT_NAME, .off = a->off.value, .size = a->len.value, .size_given = a->len.given,
		.data = a->data.text, .len = a->data.len,
	};
	enum upload_fault fault = UPLOAD_GOOD;
	uint64_t before = a->off.value == 0 ? 0 : s->upload.at;
	enum status st = upload_take(c, &s->upload, &chunk, complete, &fault, &f->error);

	if (st != ST_OK) {
		f->group_rc = (int)rc_of_upload(fault);
		return st;
	}
	if (a->off.value == 0) {
		s->sha_given = a->sha.given;
		s->only_upgrade = a->upgrade;
		if (a->sha.given)
			memcpy(s->sha, a->sha.text, SHA256_BYTES);
	}
	return s->upload.at > before ? look_at(c, a, f) : ST_OK;
}

/* A chunk for another place is no error: the answer says where it goes on (0: from the beginning). */
static enum status upload_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	struct slots *s = &c->slots;
	bool complete = false;
	enum status st = ST_OK;

	if (a->off.value == 0 ? goes_on(s, a) : s->upload.put && a->off.value != s->upload.at) {
		command_put_uint(w, "off", s->upload.at);
		return ST_OK;
	}
	if (a->off.value > 0 && !s->upload.put && a->off.value != s->upload.last_off) {
		command_put_uint(w, "off", 0);
		return ST_OK;
	}
	if (a->off.value == 0)
		st = check_begin(c, a, f);
	if (st == ST_OK)
		st = take_chunk(c, a, &complete, f);
	if (st == ST_OK && complete)
		st = finish(c, f);
	if (st != ST_OK && a->off.value == 0)
		upload_end(&s->upload); /* the reader has begun anew: what was under way cannot go on */
	if (st != ST_OK)
		return st;
	command_put_uint(w, "off", s->upload.at);
	if (complete && s->sha_given)
		put_flag(w, "match", true);
	return ST_OK;
}

/* ---- erase ---- */

static enum status erase_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	enum status st;

	(void)w;
	if (a->slot.given && a->slot.value != SPARE_SLOT)
		return refuse(f, IMAGE_RC_INVALID_SLOT, ST_INVALID,
			      a->slot.value ? "there is no slot %llu" : "slot %llu is the image that runs",
			      (unsigned long long)a->slot.value);
	st = slots_plan(c, false, false, &f->error);
	if (st == ST_OK)
		st = slots_erase(c, &f->error);
	if (st == ST_OK)
		return ST_OK;
	f->group_rc = IMAGE_RC_ERASE_FAILED;
	return st == ST_DENIED ? ST_BAD_STATE : st;
}

/* ---- slot info ---- */

/* Slot 0 is no place that images are written to: its size is the memory that the image takes. */
static enum status slots_apply(struct control *c, struct command_args *a, struct cbor_writer *w, struct failure *f)
{
	const struct kvlog *kv = c->cfg.machine->files->kv;
	struct cbor_mark images, image, slots, slot;
	struct kvlog_stats s = {.writable = false};

	(void)a;
	(void)f;
	if (kv)
		kvlog_stats(kv, &s);
	cbor_put_text(w, "images");
	images = cbor_open(w);
	image = cbor_open(w);
	command_put_uint(w, "image", 0);
	cbor_put_text(w, "slots");
	slots = cbor_open(w);
	slot = cbor_open(w);
	command_put_uint(w, "slot", 0);
	command_put_uint(w, "size", c->cfg.image_bytes);
	cbor_close_map(w, slot);
	slot = cbor_open(w);
	command_put_uint(w, "slot", SPARE_SLOT);
	command_put_uint(w, "size", MIN(s.size_bytes, IMAGE_BYTES_MAX));
	if (s.writable)
		command_put_uint(w, "upload_image_id", 0);
	cbor_close_map(w, slot);
	cbor_close_array(w, slots);
	command_put_uint(w, "max_image_size", kv ? MIN(kvlog_put_max(kv), IMAGE_BYTES_MAX) : 0);
	cbor_close_map(w, image);
	cbor_close_array(w, images);
	return ST_OK;
}

/* ---- the table ---- */

static const struct arg state_args[] = {
	{"hash", ARG_DATA, ARG_OF(hash), false},
	{"confirm", ARG_BOOL, ARG_OF(confirm), false},
};
static const struct arg upload_args[] = {
	{"off", ARG_NUMBER, ARG_OF(off), true},     {"data", ARG_DATA, ARG_OF(data), true},
	{"len", ARG_NUMBER, ARG_OF(len), false},    {"sha", ARG_DATA, ARG_OF(sha), false},
	{"image", ARG_NUMBER, ARG_OF(image), false}, {"upgrade", ARG_BOOL, ARG_OF(upgrade), false},
};
static const struct arg erase_args[] = {{"slot", ARG_NUMBER, ARG_OF(slot), false}};

static const struct command image_commands[] = {
	{
		.id = IMAGE_STATE, .ops = BIT(SMP_READ) | BIT(SMP_WRITE), .role = ROLE_OBSERVER, .write_role = ROLE_OWNER,
		.name = "state", .help = "says what images there are, or which boots next", .args = state_args,
		.arg_count = ARRAY_SIZE(state_args), .apply = state_apply,
	},
	{
		.id = IMAGE_UPLOAD, .ops = BIT(SMP_WRITE), .role = ROLE_OWNER, .name = "upload",
		.help = "uploads an image into slot 1", .args = upload_args,
		.arg_count = ARRAY_SIZE(upload_args), .apply = upload_apply,
	},
	{
		.id = IMAGE_ERASE, .ops = BIT(SMP_WRITE), .role = ROLE_OWNER, .name = "erase", .help = "empties slot 1",
		.args = erase_args, .arg_count = ARRAY_SIZE(erase_args), .apply = erase_apply,
	},
	{
		.id = IMAGE_SLOTS, .ops = BIT(SMP_READ), .role = ROLE_OBSERVER, .name = "slots",
		.help = "says how large images in the slots may be", .apply = slots_apply,
	},
};

const struct command_group image_group = {
	.id = GROUP_IMAGE, .name = "images", .commands = image_commands, .count = ARRAY_SIZE(image_commands),
};
